# SPDX-License-Identifier: GPL-2.0-only
"""The journal of a long search: which units are done, so that a search that was killed goes on where it was.

JSON Lines.  A unit is written when it is done, in one line that reaches the disk before the next one begins; a line
that was torn by the kill is dropped.  Units that were under way are searched again, from their beginning: nothing is
lost, nothing is counted twice.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from pageblock_buddy.errors import InputError

FORMAT: Final = "pageblock-buddy-journal"
VERSION: Final = 1

Json = dict[str, Any]


class Journal:
    """A journal, new or continued.  Errors: InputError if the file is another search's, or none at all."""

    def __init__(self, path: str | Path, search: Json) -> None:
        self._path = Path(path)
        self._passes: list[Json] = []
        self._units: dict[int, list[Json]] = {}
        header = {"format": FORMAT, "version": VERSION, "search": search}
        try:
            good = self._read(header)
            self._file = open(self._path, "ab")  # noqa: SIM115 (held until close)
            self._file.truncate(good)
            if not good:
                self._write(header)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None

    def _read(self, header: Json) -> int:
        """Take what is there.  Returns the bytes of whole lines."""
        if not self._path.exists():
            return 0
        if not self._path.is_file():
            raise InputError(f"{self._path}: not a regular file")
        good = 0
        with open(self._path, "rb") as file:
            for number, line in enumerate(file):
                try:
                    found = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    found = None
                if type(found) is not dict:
                    if number == 0:
                        raise InputError(f"{self._path}: not a journal")
                    break
                self._take(number, found, header)
                good += len(line)
        return good

    def _take(self, number: int, found: Json, header: Json) -> None:
        if number == 0:
            if found.get("format") != FORMAT or found.get("version") != VERSION:
                raise InputError(f"{self._path}: not a journal of version {VERSION}")
            if found != json.loads(json.dumps(header)):
                raise InputError(f"{self._path}: the journal of another search: program, variant or options differ")
        elif "watch" in found and "pass" in found and "unit" not in found:
            self._passes.append(found)
        else:
            self._units.setdefault(int(found["pass"]), []).append(found)

    def _write(self, line: Json) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def last_pass(self) -> Json | None:
        """The pass that was under way, or None at the beginning."""
        return self._passes[-1] if self._passes else None

    def begin_pass(self, number: int, watch: list[str], shared: list[int]) -> None:
        """A pass begins; nothing is written if it had begun before."""
        last = self.last_pass()
        if last is None or last["pass"] != number:
            entry = {"pass": number, "watch": watch, "shared": shared}
            self._passes.append(entry)
            self._write(entry)

    def units_of_pass(self, number: int) -> list[Json]:
        """The units of a pass that are done."""
        return self._units.get(number, [])

    def end_unit(self, number: int, found: Json) -> None:
        """A unit of a pass is done."""
        self._write({"pass": number, **found})

    def close(self) -> None:
        """Close the file."""
        self._file.close()
