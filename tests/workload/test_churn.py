# SPDX-License-Identifier: GPL-2.0-only
"""The live set, and the order of operations of the load that replaces it steadily."""

from __future__ import annotations

import dataclasses
from collections import Counter
from random import Random

import pytest

from pageblock_buddy.workload.churn import Churn, churn
from pageblock_buddy.workload.live import LiveSet
from pageblock_buddy.workload.operations import Alloc, FreeFolios, Operation, StartMeasuring, VmstatUpdate

LOAD = Churn(
    pages=120,
    extent=4,
    faulting=(0, 1, 2),
    purging=(3, 4),
    local=0.25,
    bursts=(8, 24),
    spread=0,
    random_victims=False,
    warm_up=2,
    measured=1,
    vmstat=1,
)


def performed(load: Churn, seed: int = 1) -> list[Operation]:
    """All operations; each allocation gives pages that never occurred before."""
    operations = []
    pfn = 0
    for operation in churn(load, Random(seed)):
        operations.append(operation)
        if isinstance(operation, Alloc):
            operation.into.extend(range(pfn, pfn + operation.times))
            pfn += operation.times
    return operations


def frees(operations: list[Operation]) -> list[FreeFolios]:
    return [operation for operation in operations if isinstance(operation, FreeFolios)]


def test_cpus_fault_in_turn() -> None:
    faulting = [operation.cpu for operation in performed(LOAD) if isinstance(operation, Alloc)]
    assert faulting[:7] == [0, 1, 2, 0, 1, 2, 0]
    assert len(faulting) * LOAD.extent == LOAD.total_pages == 480


def test_nothing_is_freed_before_the_live_set_is_complete() -> None:
    operations = performed(LOAD)
    first_free = operations.index(frees(operations)[0])
    allocated = sum(operation.times for operation in operations[:first_free] if isinstance(operation, Alloc))
    assert allocated > LOAD.pages


def test_shares_and_bursts() -> None:
    """A quarter of the frees is the faulting CPUs' own; purgers take turns, with bursts of 8 and 24 pages."""
    operations = performed(LOAD)
    by_cpu = Counter[int]()
    for free in frees(operations):
        by_cpu[free.cpu] += len(free.blocks)
    local = sum(by_cpu[cpu] for cpu in LOAD.faulting)
    assert local == pytest.approx(0.25 * 360, abs=3 * LOAD.extent)
    purged = [free for free in frees(operations) if free.cpu in LOAD.purging]
    assert [free.cpu for free in purged[:10]] == [3] * 2 + [4] * 6 + [3] * 2
    assert sum(by_cpu.values()) == pytest.approx(360, abs=32 + 3 * LOAD.extent)


def test_local_frees_are_of_own_pages() -> None:
    operations = performed(dataclasses.replace(LOAD, random_victims=True))
    faulted = {pfn: o.cpu for o in operations if isinstance(o, Alloc) for pfn in o.into}
    for free in frees(operations):
        assert free.cpu in LOAD.purging or {faulted[pfn] for pfn in free.blocks} == {free.cpu}
    gone = [pfn for free in frees(operations) for pfn in free.blocks]
    assert len(gone) == len(set(gone))


def test_oldest_go_first() -> None:
    """Of each CPU the oldest extent, the CPUs in turn."""
    load = dataclasses.replace(LOAD, local=0)
    gone = [free.blocks[0] for free in frees(performed(load))]
    assert sorted(gone[:30]) == list(range(0, 120, 4))


def test_a_burst_may_come_from_few_cpus() -> None:
    operations = performed(dataclasses.replace(LOAD, spread=1, local=0, bursts=(12,)))
    faulted = {pfn: o.cpu for o in operations if isinstance(o, Alloc) for pfn in o.into}
    origins = [faulted[free.blocks[0]] for free in frees(operations)]
    assert origins[:9] == [0] * 3 + [1] * 3 + [2] * 3


def test_measuring_starts_once_after_the_warm_up() -> None:
    operations = performed(LOAD)
    starts = [i for i, operation in enumerate(operations) if isinstance(operation, StartMeasuring)]
    assert len(starts) == 1
    allocated = sum(operation.times for operation in operations[: starts[0]] if isinstance(operation, Alloc))
    assert allocated == LOAD.warm_pages == 360


def test_vmstat_workers_run_in_turn() -> None:
    workers = [operation.cpu for operation in performed(LOAD) if isinstance(operation, VmstatUpdate)]
    assert workers == [0, 1, 2, 3, 4] * 4
    none = performed(dataclasses.replace(LOAD, vmstat=0))
    assert not any(isinstance(operation, VmstatUpdate) for operation in none)


def test_live_set() -> None:
    live = LiveSet((0, 1), Random(1), random_victims=True)
    assert (live.take(), live.take_of(0)) == ([], [])
    live.add(0, [])
    live.add(0, [1, 2])
    live.add(1, [3])
    assert (live.pages, live.take_of(1), live.pages) == (3, [3], 2)
    assert live.take((1,)) == []
    assert (live.take(), live.pages, live.take()) == ([1, 2], 0, [])


def test_random_victims_are_fair() -> None:
    """Each extent has the same chance, however many its CPU has."""
    rng = Random(1)
    first = Counter[int]()
    for _ in range(2000):
        live = LiveSet((0, 1), rng, random_victims=True)
        for pfn in range(4):
            live.add(int(pfn == 0), [pfn])
        first[live.take()[0]] += 1
    assert all(400 < first[pfn] < 600 for pfn in range(4))
