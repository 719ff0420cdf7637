# SPDX-License-Identifier: GPL-2.0-only
"""Programs cut out of recordings and workloads are what was done there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pageblock_buddy.cli import main
from pageblock_buddy.errors import InputError
from pageblock_buddy.interleave.cut import cut_recording, cut_workload
from pageblock_buddy.interleave.program import Alloc, Free, Program, SetUp, load_program
from pageblock_buddy.interleave.search import EXHAUSTED, Search
from tests.workload.tiny import TINY

LINES = [
    {"t": "meta", "version": 1, "kernel": "6.12.117", "nops": 6, "ne": 0, "nev": 0, "foreign": 0},
    ["A", 0, 0, 3264, 100],
    ["A", 1, 1, 3264, 200],
    ["F", 0, 0, 1, 200],
    ["D", 1],
    ["F", 1, 0, 0, 100],
    ["B", 0, 2, 3264, [7, 8]],
]


@pytest.fixture
def recording(tmp_path: Path) -> str:
    path = tmp_path / "recording.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return str(path)


def test_a_window_of_a_recording(recording: str) -> None:
    """Operations 2 to 4: a free of what CPU 1 got, a drain, a free of what CPU 0 got."""
    program = cut_recording(recording, 2, 3)
    assert program.setup == (SetUp(0, Alloc("p0", 0, 3264)), SetUp(1, Alloc("p1", 1, 3264)))
    assert program.tasks[0] == (Free("p1"),)
    assert [type(op).__name__ for op in program.tasks[1]] == ["Drain", "Free"]
    with Search(program, "rfc") as search:
        assert search.run().verdict == EXHAUSTED


def test_bulk_allocations_are_single_pages(recording: str) -> None:
    assert cut_recording(recording, 5, 2).tasks[0] == (Alloc("p6", 0, 3264), Alloc("p7", 0, 3264))


@pytest.mark.parametrize(
    ("start", "count", "text"), [(99, 1, "there is no operation 99"), (-1, 2, "at most"), (0, 0, "at most")]
)
def test_a_window_that_is_not_there(recording: str, start: int, count: int, text: str) -> None:
    with pytest.raises(InputError, match=text):
        cut_recording(recording, start, count)


def test_a_window_of_a_workload() -> None:
    program = cut_workload("small-machine", TINY["small-machine"], 300, 8)
    assert sum(len(ops) for ops in program.tasks) >= 1
    assert Program.from_dict(json.loads(program.to_json())) == program


def test_the_command(recording: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "program.json"
    assert main(["cut", recording, "--start", "2", "--count", "3", "-o", str(output)]) == 0
    assert load_program(output) == cut_recording(recording, 2, 3)
    assert main(["explore", str(output)]) == 0
    assert "exhausted" in capsys.readouterr().out
    assert main(["cut", recording, "--set", "x=1"]) == 2
    assert main(["cut", str(tmp_path / "none"), "--start", "1"]) == 2
