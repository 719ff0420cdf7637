# SPDX-License-Identifier: GPL-2.0-only
"""Reading recordings: JSON Lines, plain or gzip, streamed, with bounds on everything.

A recording may be damaged or hostile.  Lines are read one at a time and never longer than
MAX_LINE bytes after decompression, so a gzip bomb ends at its first line; whatever cannot be read is one InputError
with the line's number.

Format: docs/formats.md
"""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

from pageblock_buddy.errors import InputError

#: Longest line in bytes: the snapshot of a badly fragmented 16 GiB machine fits.
MAX_LINE: Final = 64 << 20
#: Objects, lists and string ends of one line: thousands of CPUs fit.  They take far more memory than a PFN does.
MAX_PARTS: Final = 1 << 21
READABLE_VERSIONS: Final = (1,)
_CHUNK: Final = 1 << 18
#: json.loads() without its guesses at the encoding, which cost as much as the parsing of a short line
_raw_decode: Final = json.JSONDecoder().raw_decode

Record = Any  # a JSON value: dict for meta and snap, list for operations and events


@dataclass(frozen=True, slots=True)
class Meta:
    """The first line of a recording.

    ``kernel`` is the version ("6.12.117"), ``nops`` the operations of a scripted run (0: a natural one), ``events``
    the inner events.
    """

    kernel: str
    nops: int
    events: int
    foreign: int
    raw: dict[str, Any] = field(repr=False)

    @property
    def scripted(self) -> bool:
        """Whether the run was scripted, that is quiet and exact."""
        return self.nops > 0


class RecordingReader:
    """Streams a recording.  Use as a context manager; iterate to get (line number, record).

    ``meta`` is there at once; iteration starts with line 2.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.name = self.path.name
        self.size = 0
        self._raw: BinaryIO | None = None
        self._stream: io.BufferedIOBase | None = None
        self._lineno = 0
        try:
            status = os.stat(self.path)
            if not stat.S_ISREG(status.st_mode):
                # opening a FIFO would wait for a writer; and a replay reads its file more than once
                raise OSError("not a regular file")
            self.size = status.st_size
            self._raw = open(self.path, "rb")  # noqa: SIM115 - closed in close()
            head = self._raw.read(2)
            self._raw.seek(0)
        except (OSError, ValueError) as error:
            self.close()
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{self.name}: cannot read: {reason}", path=self.name) from None
        if head == b"\x1f\x8b":
            self._stream = io.BufferedReader(gzip.GzipFile(fileobj=self._raw), _CHUNK)
        else:
            self._stream = io.BufferedReader(self._raw, _CHUNK)
        try:
            self.meta = self._read_meta()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RecordingReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._raw is not None:
            self._raw.close()
            self._raw = None

    def position(self) -> int:
        """Bytes of the file (compressed, if it is) that were read so far."""
        return self._raw.tell() if self._raw is not None else self.size

    def error(self, message: str, lineno: int | None = None) -> InputError:
        """An InputError that names the file and the line."""
        at = self._lineno if lineno is None else lineno
        return InputError(f"{self.name}: line {at}: {message}", path=self.name, line=at)

    def _readline(self) -> bytes:
        assert self._stream is not None
        self._lineno += 1
        try:
            line = self._stream.readline(MAX_LINE + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise self.error(f"damaged or truncated file: {error}") from None
        if len(line) > MAX_LINE:
            raise self.error(f"line longer than {MAX_LINE} bytes")
        return line

    def _parse(self, line: bytes) -> Record:
        if len(line) > MAX_PARTS and sum(map(line.count, (b"{", b"[", b'"'))) > MAX_PARTS:
            raise self.error(f"more than {MAX_PARTS} objects, lists and strings in a line")
        try:
            text = line.strip().decode()
            value, end = _raw_decode(text)
        except RecursionError:
            raise self.error("nested too deeply") from None
        except ValueError:
            raise self.error("not JSON") from None
        if end != len(text):
            raise self.error("more than one JSON value")
        return value

    def _read_meta(self) -> Meta:
        line = self._readline()
        if not line:
            raise self.error("empty file, not a recording")
        raw = self._parse(line)
        if not isinstance(raw, dict) or raw.get("t") != "meta":
            raise self.error("not a recording: the first line is not a meta object")
        version = raw.get("version", 1)
        if type(version) is not int or version not in READABLE_VERSIONS:
            raise self.error(f"recording version {version!r} is not one that this release reads {READABLE_VERSIONS}")
        kernel = raw.get("kernel")
        if not isinstance(kernel, str) or len(kernel) > 64:
            raise self.error("meta has no kernel version")
        numbers = []
        for key in ("nops", "ne", "foreign"):
            value = raw.get(key, 0)
            if type(value) is not int or not 0 <= value < 1 << 40:
                raise self.error(f"meta: {key} is not a count")
            numbers.append(value)
        nops, events, foreign = numbers
        if foreign:
            raise self.error(f"{foreign} events belong to no operation (foreign): the run was disturbed")
        lost = raw.get("nev", events)
        if type(lost) is not int or lost != events:
            raise self.error(f"the recorder lost events: it saw {lost}, kept {events}")
        return Meta(kernel=kernel, nops=nops, events=events, foreign=foreign, raw=raw)

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        while line := self._readline():
            yield self._lineno, self._parse(line)
