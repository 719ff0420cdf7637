# SPDX-License-Identifier: GPL-2.0-only
"""Stopping before an operation: the right one, in the state that the whole replay has there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pageblock_buddy import gfp as g
from pageblock_buddy.errors import InputError
from pageblock_buddy.replay.at import stop_before
from pageblock_buddy.replay.report import explanation_lines, state_lines, stopped_lines
from pageblock_buddy.snapshot import zone_to_dict
from tests.helpers import MOVABLE, UNMOVABLE
from tests.recording.cut import cut, cut_natural, read_lines, recording, write_lines
from tests.recording.tiny import NaturalRun, ScriptedRun, all_free, write


def zones_at(path: Path, at: int) -> list[dict[str, Any]]:
    k = stop_before(path, at).kernel
    return [zone_to_dict(k, zone) for zone in k.zones]


# --- scripted ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["128M-2cpu-mixc-s1", "kswapd-z3-edge-4cpu-768M-s9", "numa2-512+512-lo-s6"])
def test_the_state_at_each_snapshot_is_the_recorded_one(tmp_path: Path, name: str) -> None:
    lines = cut(read_lines(recording(name)), 230)
    path = write_lines(tmp_path / "cut.jsonl", lines)
    for line in lines[1:]:
        if line.startswith("{"):
            snapshot = json.loads(line)
            assert zones_at(path, snapshot["op"]) == snapshot["zones"]


def whole(tmp_path: Path) -> tuple[Path, ScriptedRun, list[list[dict[str, Any]]]]:
    """A run, and the state before each of its op indices."""
    run = ScriptedRun()
    states = [run.first]
    run.alloc(MOVABLE)  # 1
    states += [run.first, run.zones()]
    run.bulk(MOVABLE, 3)  # 2, pages 3 4 5
    states += [states[-1]] * 3 + [run.zones()]
    run.free(1)  # 6
    states += [run.zones()]
    run.drain()  # 7
    states += [run.zones()]
    run.snap()  # 8
    run.free(4, cpu=1)  # 9
    states += [states[-1], run.zones()]
    return write(tmp_path / "run.jsonl", run.records()), run, states


def test_the_state_before_every_operation(tmp_path: Path) -> None:
    path, run, states = whole(tmp_path)
    assert run.index == 11
    assert len(states) == 11
    for at, state in enumerate(states):
        assert zones_at(path, at) == state, at


def test_the_operation_and_its_answer(tmp_path: Path) -> None:
    path, _, _ = whole(tmp_path)
    names = [(stopped := stop_before(path, at)).operation and stopped.operation.describe() for at in range(11)]
    bulk = f"alloc_pages_bulk(gfp={MOVABLE:#x}, nr_pages=3) on CPU 0"
    assert names == [
        None,
        f"alloc_pages(gfp={MOVABLE:#x}, order=0) on CPU 0",
        *[bulk] * 4,  # one of its pages stands for the operation
        "__free_pages(pfn=0, order=0) on CPU 0",
        "drain_local_pages() on CPU 0",
        None,
        "__free_pages(pfn=2, order=0) on CPU 1",
        None,
    ]
    assert [stop_before(path, at).perform() for at in (1, 2, 6, 7, 8, 9)] == [0, [1, 2, 3], 0, None, None, 2]


def test_no_such_operation(tmp_path: Path) -> None:
    path, _, _ = whole(tmp_path)
    for at in (-1, 11, 10**30):
        with pytest.raises(InputError, match=rf"run.jsonl: there is no operation {at}; operations are 0..10"):
            stop_before(path, at)


def test_differences_on_the_way_are_passed_over(tmp_path: Path) -> None:
    """The state is the model's, so that a mismatch further on can still be looked at."""
    path, run, states = whole(tmp_path)
    records = run.records()
    for record in records:
        if record[0:1] == ["A"] if isinstance(record, list) else False:
            record[4] += 1
    wrong = write(tmp_path / "wrong.jsonl", records)
    assert zones_at(wrong, 9) == states[9] == zones_at(path, 9)


def test_an_operation_that_is_refused_can_be_explained(tmp_path: Path) -> None:
    run = ScriptedRun()
    records = run.records()
    records[0]["nops"] += 1
    path = write(tmp_path / "x.jsonl", [records[0], records[1], ["A", 7, 0, MOVABLE, 1], *records[2:]])
    text = "\n".join(stopped_lines(stop_before(path, 1)))
    assert "CPU 7 is not 0..1" in text


def test_a_file_without_operations_at_all(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [{"t": "meta", "kernel": "6.12.1", "nops": 3}])
    with pytest.raises(InputError, match="no snapshot"):
        stop_before(path, 1)


# --- natural -----------------------------------------------------------------------------------


def natural(tmp_path: Path) -> tuple[Path, NaturalRun]:
    run = NaturalRun(all_free(128), pages=128)
    held = [run.alloc(MOVABLE) for _ in range(20)]
    for pfn in held:
        run.free(pfn)
    run.bulk(UNMOVABLE, 3)
    run.alloc(MOVABLE, 3, cpu=1)
    with run.on(1) as system:
        system.drain_local_pages()
    return write(tmp_path / "natural.jsonl", run.records()), run


def described(path: Path, ats: Sequence[int]) -> list[str]:
    operations = [stop_before(path, at).operation for at in ats]
    return [operation.describe() if operation is not None else "" for operation in operations]


def test_each_event_stands_for_its_operation(tmp_path: Path) -> None:
    """What an allocation took comes before its event, what a free flushed behind it."""
    path, run = natural(tmp_path)
    expected = {"alloc": "alloc_pages(", "free": "__free_pages(", "drain": "__free_pages(", "bulk": "alloc_pages_bulk("}
    operations = described(path, range(len(run.events)))
    for at, (event, text) in enumerate(zip(run.events, operations, strict=True)):
        kind = event[4]
        if kind in expected and not (kind == "drain" and "drain_local_pages" in text):
            assert text.startswith(expected[kind]), at
        if kind in ("alloc", "free"):
            assert f"order={event[6]})" in text
        if kind == "free":
            assert f"pfn={event[7]}," in text
    assert operations[-1] == "drain_local_pages() on CPU 1"
    zlock = next(at for at, event in enumerate(run.events) if event[4] == "zlock" and event[5] == 1)
    assert operations[zlock] == f"alloc_pages(gfp={MOVABLE:#x}, order=3) on CPU 1"


def test_the_state_of_a_natural_run(tmp_path: Path) -> None:
    path, run = natural(tmp_path)
    assert zones_at(path, 0) == run.first
    again = NaturalRun(all_free(128), pages=128)
    for _ in range(20):
        again.alloc(MOVABLE)
    at = next(i for i, event in enumerate(run.events) if event[4] == "free")
    assert zones_at(path, at) == again.zones()
    again.free(0)
    assert zones_at(path, at + 1) == again.zones()


def test_the_answer_in_a_natural_run(tmp_path: Path) -> None:
    path, run = natural(tmp_path)
    for at, event in enumerate(run.events):
        if event[4] == "alloc":
            assert stop_before(path, at).perform() == event[9]


def test_a_cause_belongs_to_the_state(tmp_path: Path) -> None:
    """Behind a lost trylock the page is in the zone, and the free itself is performed so."""
    run = NaturalRun()
    held = [run.alloc(MOVABLE) for _ in range(3)]
    with run.interrupted(0):
        run.free(held[1], in_irq=1)
    after = run.zones()
    run.alloc(g.GFP_KERNEL, cpu=1)
    path = write(tmp_path / "x.jsonl", run.records())
    lost = next(i for i, event in enumerate(run.events) if event[2])
    assert zones_at(path, lost + 1) == after
    stopped = stop_before(path, lost)
    stopped.perform()
    assert [zone_to_dict(stopped.kernel, zone) for zone in stopped.kernel.zones] == after


def test_no_such_event(tmp_path: Path) -> None:
    path, run = natural(tmp_path)
    for at in (-1, len(run.events)):
        with pytest.raises(InputError, match=rf"there is no operation {at}; operations are 0..{len(run.events) - 1}"):
            stop_before(path, at)
    calls = NaturalRun()
    calls.events.append(["e", 1, 0, 0, "call", 0, "__drain_all_pages", 0])
    for records in (NaturalRun().records(), calls.records()):
        with pytest.raises(InputError, match="there is no operation 0"):
            stop_before(write(tmp_path / "none.jsonl", records), 0)


def test_a_real_one(tmp_path: Path) -> None:
    path = cut_natural(recording("nat"), tmp_path / "cut.jsonl", 600)
    lines = read_lines(recording("nat"))
    for at in (0, 77, 300, 599):
        event = json.loads(lines[at + 2])
        stopped = stop_before(path, at)
        assert stopped.operation is not None
        assert f"on CPU {event[5]}" in stopped.operation.describe()
        text = "\n".join([*state_lines(stopped.kernel, event[5]), *explanation_lines(stopped)])
        assert f"pcp of CPU {event[5]}: count" in text
        assert "LPA-" in text
