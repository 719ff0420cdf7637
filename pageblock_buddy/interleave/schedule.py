# SPDX-License-Identifier: GPL-2.0-only
"""Schedules as data: a line of text, and a file (docs/formats.md).

``1:0*14,1*7,0h*3,0*`` is version 1: process 0 passes 14 points, 1 passes 7, the handler 0h three, 0 goes to its end.
Points count whether they matter or not, so a schedule does not depend on what a search had found out when it met it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

from pageblock_buddy.errors import InputError
from pageblock_buddy.interleave.program import Program, shown
from pageblock_buddy.textfiles import read_text, write_text
from pageblock_buddy.variants import get_variant

FORMAT: Final = "pageblock-buddy-schedule"
VERSION: Final = 1
#: A process is named by CPU numbers, a count of points has no more digits than are allowed.
_PART: Final = re.compile(r"([0-9]{1,4}(?:[hs][0-9]{0,4}|>[0-9]{1,4})?)\*([0-9]{0,9})")
MAX_VARIANT: Final = 200
_MAX_STEPS: Final = 1 << 24
#: A schedule of a program that a person can read is a few kB.
_MAX_BYTES: Final = 64 << 20


class Part(NamedTuple):
    """A process passes ``points`` points; None: goes on until it ends or cannot."""

    process: str
    points: int | None


Schedule = tuple[Part, ...]


def schedule_of(processes: Iterable[str]) -> Schedule:
    """The schedule in which these processes took one step after the other.  The last part is open."""
    parts = [Part(process, len(list(steps))) for process, steps in groupby(processes)]
    if parts:
        parts[-1] = Part(parts[-1].process, None)
    return tuple(parts)


def to_text(schedule: Schedule) -> str:
    """The schedule as a line."""
    parts = ",".join(f"{process}*{'' if points is None else points}" for process, points in schedule)
    return f"{VERSION}:{parts}"


def from_text(text: str) -> Schedule:
    """Read a line.  Errors: InputError."""
    version, colon, rest = text.strip().partition(":")
    if not colon or version != str(VERSION):
        raise InputError(f"schedule: it does not start with '{VERSION}:', the version that this release reads")
    parts = []
    for number, part in enumerate(rest.split(",") if rest else []):
        match = _PART.fullmatch(part)
        if match is None:
            raise InputError(f"schedule: part {number + 1}, {part[:40]!r}, is not of the form PROCESS*POINTS")
        points = int(match[2]) if match[2] else None
        if points is not None and not 0 < points <= _MAX_STEPS:
            raise InputError(f"schedule: part {number + 1} passes {points} points")
        parts.append(Part(match[1], points))
    return tuple(parts)


class Step(NamedTuple):
    """One step of a recorded run, for people and for comparison.

    ``operation`` is what the process performs, in the kernel's names; ``value`` what a load read or a store wrote, or
    None.
    """

    process: str
    cpu: int
    context: str
    operation: str
    op_number: int
    kind: str
    object: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class ScheduleFile:
    """A schedule with all that it needs to be run again, and the steps that are expected."""

    program: Program
    variant: str
    schedule: Schedule
    finding: dict[str, Any] | None
    steps: tuple[Step, ...]

    def lines(self) -> Iterator[str]:
        """The file's lines."""
        header = {
            "format": FORMAT,
            "version": VERSION,
            "variant": self.variant,
            "schedule": to_text(self.schedule),
            "finding": self.finding,
            "program": self.program.to_dict(),
        }
        # Not sorted: what the file is stands at its beginning, for is_schedule_file().
        yield json.dumps(header, separators=(",", ":"))
        for step in self.steps:
            yield json.dumps([step.process, step.kind, step.object, step.operation], separators=(",", ":"))

    def write(self, path: str | Path) -> None:
        """Write the file.  Errors: InputError."""
        write_text(path, "".join(f"{line}\n" for line in self.lines()))


def is_schedule_file(path: str | Path) -> bool:
    """Whether a file begins like one."""
    try:
        if not Path(path).is_file():
            return False
        with open(path, "rb") as file:
            return FORMAT.encode() in file.read(4096)
    except (OSError, ValueError):
        return False


def read_schedule(path: str | Path) -> ScheduleFile:
    """Read a file.  Errors: InputError."""
    lines = read_text(path, _MAX_BYTES).split("\n")
    if not lines[-1]:
        lines.pop()
    try:
        header = json.loads(lines[0]) if lines else None
        steps = tuple(_read_step(json.loads(line), number + 2) for number, line in enumerate(lines[1:]))
    except (ValueError, RecursionError):  # ValueError: also a number of too many digits
        raise InputError(f"{path}: not JSON Lines") from None
    if type(header) is not dict or type(header.get("format")) is not str or header["format"] != FORMAT:
        raise InputError(f"{path}: not a schedule: format is not {FORMAT!r}")
    version = header.get("version")
    if type(version) is not int or version != VERSION:
        raise InputError(f"{path}: version {shown(version)} is not {VERSION}, the one that this release reads")
    if type(header.get("schedule")) is not str or type(header.get("variant")) is not str:
        raise InputError(f"{path}: schedule or variant is not text")
    finding = header.get("finding")
    if finding is not None and type(finding) is not dict:
        raise InputError(f"{path}: finding is not an object")
    if len(header["variant"]) > MAX_VARIANT or not header["variant"].isprintable():
        raise InputError(f"{path}: variant is not a name")
    get_variant(header["variant"])
    return ScheduleFile(
        program=Program.from_dict(header.get("program")),
        variant=header["variant"],
        schedule=from_text(header["schedule"]),
        finding=finding,
        steps=steps,
    )


def _read_step(data: object, line: int) -> Step:
    if type(data) is not list or len(data) != 4 or not all(type(item) is str for item in data):
        raise InputError(f"schedule: line {line} is not a list of four texts")
    process, kind, where, operation = data
    return Step(process, -1, "", operation, -1, kind, where)


def first_difference(expected: Sequence[Step], found: Sequence[Step]) -> int | None:
    """The number of the first step that is not as expected, or None."""
    for number, (one, other) in enumerate(zip(expected, found, strict=False)):
        if (one.process, one.kind, one.object) != (other.process, other.kind, other.object):
            return number
    return min(len(expected), len(found)) if len(expected) != len(found) else None
