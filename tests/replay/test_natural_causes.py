# SPDX-License-Identifier: GPL-2.0-only
"""Natural runs: each cause that the log does not tell is recognised and counted, and nothing else is.

The runs are tiny and written by the model, which does in between what leaves no event.  Every one also stands
in a form in which the cause cannot have been: then it is a mismatch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pageblock_buddy import Config
from pageblock_buddy import gfp as g
from pageblock_buddy.replay import Mismatch, ReplayResult, replay_recording
from pageblock_buddy.replay.report import result_lines
from tests.helpers import MOVABLE, UNMOVABLE, small_zone
from tests.recording.tiny import NaturalRun, ScriptedRun, write

Records = list[Any]


def replayed(tmp_path: Path, records: Records) -> ReplayResult:
    return replay_recording(write(tmp_path / "natural.jsonl", records))


def causes(result: ReplayResult) -> dict[str, int]:
    """The causes that were counted; none if there is a mismatch."""
    assert not result.mismatches, result.mismatches[0]
    return {cause: count for cause, count in result.resyncs.items() if count}


def only_mismatch(result: ReplayResult) -> Mismatch:
    (mismatch,) = result.mismatches
    return mismatch


def with_context(records: Records, pids: dict[int, int], in_irq: int | None = None) -> Records:
    """The records with other pids (old: new), and all events in or outside interrupts."""
    records = copy.deepcopy(records)
    for record in records:
        if isinstance(record, list):
            record[1] = pids.get(record[1], record[1])
            record[2] = record[2] if in_irq is None else in_irq
    return records


def test_a_run_in_which_nothing_is_hidden(tmp_path: Path) -> None:
    run = NaturalRun()
    held = [run.alloc(MOVABLE, cpu=i % 2) for i in range(12)] + run.bulk(MOVABLE, 4) + [run.alloc(UNMOVABLE)]
    for pfn in held:
        run.free(pfn, cpu=pfn % 2, in_irq=int(pfn % 3 == 0))
    with run.on(1) as system:
        system.drain_all_pages()
    result = replayed(tmp_path, run.records())
    assert causes(result) == {}
    assert (result.operations, result.snapshots) == (35, 1)
    assert result_lines(result) == ["35 operations, 0 mismatches"]


# --- a PCP trylock lost to an interrupt --------------------------------------------------------


def lost_free(pid: int = 7, in_irq: int = 1) -> NaturalRun:
    """An interrupt frees a page while its CPU's own code holds pcp->lock: the page goes to the zone."""
    run = NaturalRun()
    held = [run.alloc(MOVABLE) for _ in range(3)]
    with run.interrupted(0):
        run.free(held[1], pid=pid, in_irq=in_irq)
    return run


def test_a_free_that_lost_its_trylock(tmp_path: Path) -> None:
    """Seen at the next allocation, which does not get that page."""
    run = lost_free()
    assert run.alloc(MOVABLE) != 1
    run.alloc(MOVABLE, cpu=1)
    result = replayed(tmp_path, run.records())
    assert causes(result)["lost-trylock"] == 1
    assert causes(result).keys() <= {"lost-trylock", "order"}
    assert "resynchronised: 1 x PCP trylock lost to an interrupt" in result_lines(result)


def test_a_free_that_lost_its_trylock_seen_at_the_end(tmp_path: Path) -> None:
    """Seen in the last snapshot: the page is not on the per-CPU list."""
    assert causes(replayed(tmp_path, lost_free().records())) == {"lost-trylock": 1}


def test_an_allocation_that_lost_its_trylock(tmp_path: Path) -> None:
    """It takes its page from the zone, which shows as an event where the list has pages."""
    run = NaturalRun()
    run.alloc(MOVABLE)
    with run.interrupted(0):
        run.alloc(MOVABLE, in_irq=1)
    assert [event[4] for event in run.events[-2:]] == ["zlock", "alloc"]
    run.alloc(MOVABLE)
    found = causes(replayed(tmp_path, run.records()))
    assert found["lost-trylock"] == 1
    assert found.keys() <= {"lost-trylock", "order"}


@pytest.mark.parametrize("later", [True, False], ids=["seen later", "seen at the end"])
@pytest.mark.parametrize(
    ("pid", "in_irq"), [(7, 0), (0, 1), (0, 0)], ids=["no interrupt", "idle", "idle, no interrupt"]
)
def test_only_an_interrupt_of_a_task_can_lose_a_trylock(tmp_path: Path, pid: int, in_irq: int, later: bool) -> None:
    """Nobody holds pcp->lock under a task or under the idle loop: the same effect is a mismatch."""
    run = lost_free(pid, in_irq)
    if later:
        run.alloc(MOVABLE)
    mismatch = only_mismatch(replayed(tmp_path, run.records()))
    assert mismatch.path in ("pfn", "event") if later else mismatch.path.startswith("zones[0]")
    assert mismatch.lineno == len(run.records()) - (1 if later else 0)


def test_one_page_in_the_wrong_place_needs_an_interrupt_that_moved_it(tmp_path: Path) -> None:
    """An interrupt freed a page, but the page that is missing on the list is another."""
    run = NaturalRun()
    held = [run.alloc(MOVABLE) for _ in range(5)]
    run.free(held[1])
    run.free(held[3], in_irq=1)
    records = run.records()
    lists = records[-1]["zones"][0]["pcp"][0]["lists"]
    assert lists[1][:2] == [3, 1]
    lists[1].remove(1)
    records[-1]["zones"][0]["pcp"][0]["count"] -= 1
    records[-1]["zones"][0]["free_area"][0]["lists"][1].append(1)
    records[-1]["zones"][0]["free_area"][0]["nr_free"] += 1
    records[-1]["zones"][0]["nr_free_pages"] += 1
    assert only_mismatch(replayed(tmp_path, records)).lineno == len(records)


# --- free_diff folded by an idle CPU -----------------------------------------------------------

#: per-CPU diffs up to 20 pages, and marks that bite at 20 free pages
EDGE: dict[str, Any] = {
    "vm_stat_threshold": 20,
    "watermark": (20, 24, 28, 32),
    "batch": 1,
    "high_min": 0,
    "high_max": 0,
}


def at_the_edge() -> NaturalRun:
    """CPU 1 allocates down to the marks, then CPU 0 frees 16 pages, which its diff keeps from the counter."""
    run = NaturalRun("order 3: M[0 8 16 24 32 40 48 56]\nblocks: MMMMMMMM", **EDGE)
    held = [run.alloc(MOVABLE, 3, cpu=1) for _ in range(6)]
    for pfn in held[:2]:
        run.free(pfn, 3, cpu=0)
    zone = run.system.zones[0]
    assert (zone.nr_free_pages, zone.per_cpu_zonestats[0].nr_free_pages_diff) == (16, 16)
    return run


def test_a_fold_that_decides_an_allocation(tmp_path: Path) -> None:
    """The counter alone is below the mark; with the folded diff it is not."""
    run = at_the_edge()
    run.fold(0)
    run.alloc(MOVABLE, 3, cpu=1)
    result = replayed(tmp_path, run.records())
    assert causes(result) == {"idle-fold": 1}
    assert "resynchronised: 1 x free_diff folded by an idle CPU" in result_lines(result)


def test_a_fold_at_the_end(tmp_path: Path) -> None:
    run = at_the_edge()
    run.fold(0)
    assert causes(replayed(tmp_path, run.records())) == {"idle-fold": 1}


def test_a_counter_that_no_fold_explains(tmp_path: Path) -> None:
    """Folding keeps the sum of the counter and the diffs, and leaves no diff beyond its threshold."""
    for counter, diff in ((-1, 0), (1, 0), (0, 1), (-1, 2), (-21, 21)):
        run = at_the_edge()
        run.fold(0)
        records = run.records()
        zone = records[-1]["zones"][0]
        zone["nr_free_pages"] += counter
        zone["pcp"][0]["free_diff"] += diff
        mismatch = only_mismatch(replayed(tmp_path, records))
        assert (mismatch.lineno, mismatch.operation) == (len(records), "snapshot")


# --- a boost cleared by kswapd -----------------------------------------------------------------


def boosted() -> NaturalRun:
    """Half of the memory is free, and the boosted marks are above that."""
    run = NaturalRun(boost=(20,), watermark=(8, 10, 12, 14))
    for _ in range(3):
        run.alloc(MOVABLE, 3)
    assert run.system.zones[0].nr_free_pages == 32
    return run


def test_a_boost_that_is_gone(tmp_path: Path) -> None:
    """Without the boost an allocation succeeds that would have found too little."""
    run = boosted()
    run.system.zones[0].watermark_boost = 0
    run.alloc(MOVABLE, 4)
    result = replayed(tmp_path, run.records())
    assert causes(result) == {"boost-cleared": 1}
    assert "resynchronised: 1 x boost cleared by kswapd" in result_lines(result)


def test_a_boost_that_is_gone_at_the_end(tmp_path: Path) -> None:
    run = boosted()
    run.system.zones[0].watermark_boost = 0
    assert causes(replayed(tmp_path, run.records())) == {"boost-cleared": 1}


def test_a_boost_that_is_another(tmp_path: Path) -> None:
    """kswapd takes the whole boost away; a part of it, or a boost from nowhere, is a mismatch."""
    for boost in (19, 21, 1):
        records = boosted().records()
        records[-1]["zones"][0]["boost"] = boost
        assert only_mismatch(replayed(tmp_path, records)).path == "zones[0].boost"
    run = NaturalRun(watermark=(8, 10, 12, 14))
    run.alloc(MOVABLE)
    records = run.records()
    records[-1]["zones"][0]["boost"] = 20
    assert only_mismatch(replayed(tmp_path, records)).path == "zones[0].boost"


# --- another order of effect -------------------------------------------------------------------


def nested(in_irq: int, cpu: int = 0) -> Records:
    """An allocation that took its page before the interrupt, and told of it behind the interrupt's."""
    run = NaturalRun(batch=4)
    run.alloc(MOVABLE, cpu=cpu)  # the list holds some pages now
    run.alloc(MOVABLE, cpu=cpu)
    run.alloc(MOVABLE, cpu=cpu, pid=8, in_irq=in_irq)
    run.events[-2:] = [run.events[-1], run.events[-2]]
    assert [event[4] for event in run.events[-2:]] == ["alloc", "alloc"]
    return run.records()


def test_an_interrupt_inside_an_allocation(tmp_path: Path) -> None:
    result = replayed(tmp_path, nested(1))
    assert causes(result) == {"order": 1}
    assert result_lines(result)[0] == (
        "inferred from the log: 1 x operations that took effect in another order than they were logged in"
    )


def test_tasks_do_not_nest(tmp_path: Path) -> None:
    records = nested(0)
    mismatch = only_mismatch(replayed(tmp_path, records))
    assert (mismatch.path, mismatch.lineno) == ("pfn", len(records) - 2)


def test_interrupts_do_not_nest_inside_interrupts(tmp_path: Path) -> None:
    """Both in interrupt context: softirqs of one CPU run one after the other."""
    only_mismatch(replayed(tmp_path, with_context(nested(1), {}, in_irq=1)))


def test_an_order_does_not_make_up_pages(tmp_path: Path) -> None:
    """With an interrupt in between, a wrong PFN stays a mismatch."""
    for place in (-2, -3):
        records = nested(1)
        records[place] = [*records[place][:-1], 61]
        assert only_mismatch(replayed(tmp_path, records)).path == "pfn"


def test_a_free_that_got_the_zone_lock_late(tmp_path: Path) -> None:
    """A large block is freed on CPU 1, logged first; CPU 0 took zone->lock before it, and so found it not merged."""
    run = NaturalRun("order 4: M[0 16]\nblocks: MMMMMMMM", max_page_order=5)
    large = run.alloc(MOVABLE, 4, cpu=1)
    start = len(run.events)
    run.alloc(MOVABLE, 1)
    run.free(large, 4, cpu=1)
    assert run.events[-1][4] == "free"
    run.events.insert(start, run.events.pop())
    run.alloc(MOVABLE)
    assert causes(replayed(tmp_path, run.records())) == {"order": 1}


# --- a node other than the CPU's ---------------------------------------------------------------


def two_nodes() -> Config:
    zones = tuple(small_zone(g.ZONE_DMA32, 64 * node, 64, node=node) for node in range(2))
    return Config(zones=zones, nr_cpus=2, cpu_node=(0, 1), pageblock_order=3, max_page_order=4)


def test_a_request_for_another_node(tmp_path: Path) -> None:
    """Input, not outcome: no event says which node a request preferred."""
    run = NaturalRun("", two_nodes())
    for cpu in (0, 1, 0, 1):
        assert run.alloc(MOVABLE, 1, cpu=cpu) >> 6 == cpu
    assert run.alloc(MOVABLE, 1, cpu=0, node=1) >> 6 == 1
    result = replayed(tmp_path, run.records())
    assert causes(result) == {"preferred-node": 1}
    assert result_lines(result)[0] == "inferred from the log: 1 x requests for another node than their CPU's"


def test_no_node_gives_a_page_that_is_not_its_next(tmp_path: Path) -> None:
    run = NaturalRun("", two_nodes())
    for cpu in (0, 1, 0, 1):
        run.alloc(MOVABLE, 1, cpu=cpu)
    run.alloc(MOVABLE, 1, cpu=0, node=1)
    for wrong in (60, 124):
        records = run.records()
        records[-2] = [*records[-2][:-1], wrong]
        # The line is that of the request's first event: for the CPU's own node that one differs already.
        assert only_mismatch(replayed(tmp_path, records)).lineno == len(records) - 3


# --- none of it in a scripted run --------------------------------------------------------------


def scripted_with(hidden: Callable[[ScriptedRun], None]) -> Records:
    run = ScriptedRun(boost=(5,), vm_stat_threshold=20, watermark=(1, 2, 3, 4))
    held = [run.alloc(MOVABLE) for _ in range(3)]
    hidden(run)
    run.free(held[1])
    return run.records()


def free_in_interrupt(run: ScriptedRun) -> None:
    with run.interrupted(0):
        run.free(1 + 2)  # the third allocation


def clear_boost(run: ScriptedRun) -> None:
    run.system.zones[0].watermark_boost = 0


@pytest.mark.parametrize(
    "hidden", [free_in_interrupt, lambda run: run.fold(0), clear_boost], ids=["lock", "fold", "boost"]
)
def test_a_scripted_run_resynchronises_for_nothing(tmp_path: Path, hidden: Callable[[ScriptedRun], None]) -> None:
    records = scripted_with(hidden)
    result = replayed(tmp_path, records)
    assert only_mismatch(result).lineno == len(records)
    assert result.resyncs == {}
    assert replayed(tmp_path, scripted_with(lambda _: None)).mismatches == []
