# SPDX-License-Identifier: GPL-2.0-only
"""The kill programs: what the mutants run on.

Each has at most six operations in its tasks and handlers, so whatever it finds is as short as that without shrinking.
``kill_programs.json`` has them in the order in which they are run, with the variants that each of them is for.  On
these variants the unmutated code has no finding, and the search is exhausted within :data:`MAX_BASELINE` executions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from pageblock_buddy.interleave.program import Hold, Program, walk

#: Operations of all tasks and handlers together.
MAX_OPERATIONS: Final = 6
#: Executions of one search of the unmutated code.
MAX_BASELINE: Final = 600
FILE: Final = Path(__file__).with_name("kill_programs.json")


class Pair(NamedTuple):
    """A program, by its name, on a variant."""

    program: str
    variant: str


def operations(program: Program) -> int:
    """How many operations a program has, without its set-up; a hold is none of its own."""
    return sum(1 for process in program.processes() for op in walk(process.ops) if not isinstance(op, Hold))


def _load() -> tuple[dict[str, Program], tuple[Pair, ...]]:
    entries: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    programs: dict[str, Program] = {}
    found: list[Pair] = []
    for entry in entries:
        program = Program.from_dict(entry["program"])
        programs[program.name] = program
        found += [Pair(program.name, variant) for variant in entry["variants"]]
    return programs, tuple(found)


PROGRAMS, _PAIRS = _load()


def pairs() -> Iterator[Pair]:
    """Every program on each of its variants, in the order in which they are run."""
    yield from _PAIRS
