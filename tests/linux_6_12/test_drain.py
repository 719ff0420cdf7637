# SPDX-License-Identifier: GPL-2.0-only
"""Drains and the decay of pcp->high."""

from __future__ import annotations

import dataclasses

import pytest

from pageblock_buddy import Context, System, gfp
from pageblock_buddy.errors import SelfDeadlock
from pageblock_buddy.linux_6_12 import drain
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from tests.helpers import assert_zone, config, fill, kinds, limits, machine, pcp_of, small_zone, traced

TWO_CPUS = """
order 0: M[60]
pcp0 o0: M[0 2]
pcp1 o0: M[4] U[8]
pcp1 o1: M[16]
blocks: MUMMMMMM
"""


def pieces(system: System) -> list[int]:
    """Record the counts that free_pcppages_bulk() is called with from now on, and that the lock is held."""
    k = system.kernel
    real = k.calls.free_pcppages_bulk
    counts: list[int] = []

    def record(k: Kernel, zone: Zone, count: int, pcp: PerCpuPages, pindex: int) -> int:
        assert pindex == 0
        pcp.lock.assert_held()
        counts.append(count)
        return real(k, zone, count, pcp, pindex)

    k.calls = dataclasses.replace(k.calls, free_pcppages_bulk=record)
    return counts


# --- draining everything -----------------------------------------------------------------------


def test_drain_local_pages() -> None:
    """LPA-8.8.10, LPA-8.5.9: the running CPU only, from list 0 up: UNMOVABLE, MOVABLE, then order 1."""
    system = machine(TWO_CPUS, nr_cpus=2)
    log = traced(system)
    with system.on_cpu(1):
        system.drain_local_pages()
    assert_zone(system, "order 0: M[4 60] U[8] \n order 1: M[16] \n pcp0 o0: M[0 2] \n blocks: MUMMMMMM")
    events = log.take()
    assert kinds(events) == ["drain_local_pages", "drain", "drain", "drain"]
    assert [event[4] for event in events[1:]] == [8, 4, 16]


def test_drain_all_pages() -> None:
    """LPA-8.8.8: CPU 0 first, then CPU 1; the calling CPU (1) does it all, and it is the one in the trace."""
    system = machine(TWO_CPUS, nr_cpus=2)
    log = traced(system)
    with system.on_cpu(1):
        system.drain_all_pages()
    assert_zone(system, "order 0: M[4 0 2 60] U[8] \n order 1: M[16] \n blocks: MUMMMMMM")
    events = log.take()
    assert kinds(events)[:2] == ["drain_all_pages", "__drain_all_pages"]
    assert [event[1] for event in events] == [1] * len(events)
    assert [event[4] for event in events[2:]] == [2, 0, 8, 4, 16]


def test_drain_all_pages_skips_cpus_without_pages() -> None:
    """LPA-8.8.8: only CPUs with count > 0 are visited: CPU 1's lock is held by somebody, yet nothing happens."""
    system = machine("pcp0 o0: M[0]", nr_cpus=2)
    with system.on_cpu(1):
        pcp_of(system, 1).lock.lock()
    drain.drain_all_pages(system.kernel)
    with system.on_cpu(1):
        pcp_of(system, 1).lock.unlock()
    assert_zone(system, "order 0: M[0]")


def test_drain_of_one_zone() -> None:
    """LPA-8.8.7, LPA-8.8.8, LPA-8.8.10: with a zone only that zone's lists are emptied; zones ascending without."""
    zones = (
        small_zone(gfp.ZONE_DMA, 0, 16, managed_pages=16, reserved=((0, 16),)),
        small_zone(gfp.ZONE_DMA32, 16, 16, managed_pages=16, reserved=((16, 16),)),
    )

    def fresh() -> System:
        system = System.boot(config(zones=zones, vm_stat_threshold=0))
        fill(system, "pcp0 o0: M[3]", system.zones[0])
        fill(system, "pcp0 o0: M[20]", system.zones[1])
        return system

    for function in (drain.drain_all_pages, drain.drain_local_pages):
        system = fresh()
        function(system.kernel, system.zones[1])
        assert_zone(system, "pcp0 o0: M[3]", system.zones[0])
        assert_zone(system, "order 0: M[20]", system.zones[1])
        system = fresh()
        log = traced(system)
        function(system.kernel)
        assert [event[4] for event in log.take() if event[0] == "drain"] == [3, 20]


def test_drain_in_pieces() -> None:
    """LPA-8.8.6, LPA-16.0.5: batch 1, so pieces of 1 << 5 = 32 pages, each under its own hold of the lock: 40 = 32 +
    8."""
    system = machine("pcp0 o3: M[0 16 32 48 64]", pages=80, batch=1)
    counts = pieces(system)
    system.drain_local_pages()
    assert counts == [32, 8]
    assert_zone(system, "order 3: M[0 16 32 48 64]")


def test_drain_reads_the_count_again() -> None:
    """LPA-8.8.6, LPA-8.5.8: batch 3, so pieces of 96 of the 100 pages.  4 pages of order 2 and 11 blocks of 8 are 92; a
    twelfth block is more than was asked for, and all are gone: 4 of the first count are left to do, but not there."""
    text = "pcp0 o2: M[0] \n pcp0 o3: M[" + " ".join(str(16 * i) for i in range(1, 13)) + "]"
    system = machine(text, pages=256, batch=3)
    counts = pieces(system)
    system.drain_local_pages()
    assert counts == [96]


def test_drain_waits_for_the_lock() -> None:
    """LPA-8.8.6, LPA-16.0.4: spin_lock, not trylock: run in an interrupt of the holder it would never return."""
    system = machine("pcp0 o0: M[0]")
    pcp_of(system).lock.lock()
    with pytest.raises(SelfDeadlock), system.on_cpu(0, Context.HARDIRQ):
        system.drain_local_pages()


def test_nothing_to_drain() -> None:
    """LPA-8.8.6: an empty pageset is not locked."""
    system = machine("order 0: M[0]")
    counts = pieces(system)
    system.drain_all_pages()
    system.drain_local_pages()
    assert counts == []


# --- decay -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("high", "count", "new_high", "todo", "drained"),
    [
        (909, 0, 796, 1, []),  # LPA-8.8.2, seen live: less an eighth (113)
        (252, 0, 252, 0, []),  # at high_min: nothing
        (255, 0, 252, 0, []),  # 255 - 31 = 224: high_min
        (100, 0, 100, 0, []),  # below high_min: left alone, it is clamped at its next use
        (2000, 64, 1750, 1, []),
        # LPA-8.8.2: never by more than it takes to drain batch << 5 = 2016 pages: 4096 - 2016
        (2400, 4096, 2100, 1 + 32, [63] * 31 + [43]),
        (2200, 4096, 2080, 1 + 32, [63] * 32),
    ],
)
def test_decay(high: int, count: int, new_high: int, todo: int, drained: list[int]) -> None:
    """LPA-8.8.2, LPA-8.8.3: batch 63, high_min 252; the pages are order-3 blocks."""
    text = "pcp0 o3: M[" + " ".join(str(16 * i) for i in range(count // 8)) + "]"
    system = machine(text, pages=max(64, 2 * count), batch=63, high_min=252, high_max=5000)
    pcp = limits(pcp_of(system), high=high)
    assert pcp.count == count
    counts = pieces(system)
    assert drain.decay_pcp_high(system.kernel, system.zones[0], pcp) == todo
    assert pcp.high == new_high
    assert counts == drained


def test_decay_drains_what_is_above_high() -> None:
    """LPA-8.8.3, LPA-8.8.1: high 8 fixed and 11 pages: three leave, 2 and 1, from list 0 (UNMOVABLE first), oldest
    first."""
    system = machine("pcp0 o0: U[0] M[16 18 20 24 26 28 32 34 36 40] \n blocks: UMMMMMMM")
    limits(pcp_of(system), high=8)
    counts = pieces(system)
    system.refresh_vm_stats(pagesets=True)
    assert counts == [2, 1]
    assert_zone(system, "order 0: U[0] M[36 40] \n pcp0 o0: M[16 18 20 24 26 28 32 34] \n blocks: UMMMMMMM")


def test_decay_counts_once() -> None:
    """LPA-8.8.3: what is above high is computed once: 10 - 8 = 2, and one order-2 block (4 pages) goes for it."""
    system = machine("pcp0 o0: M[0 2] \n pcp0 o2: M[8 16]", batch=1)
    limits(pcp_of(system), high=8)
    system.zones[0].per_cpu_pageset[0].batch = 4
    assert drain.decay_pcp_high(system.kernel, system.zones[0], pcp_of(system)) == 1
    assert_zone(system, "order 0: M[0 2] \n pcp0 o2: M[8 16]")


def test_decay_overshoot() -> None:
    """LPA-8.8.3, LPA-8.5.8: 12 pages against 8: 4 to go in pieces of 2: each piece takes an order-2 block, so all but
    one of the three leave (8 pages)."""
    system = machine("pcp0 o2: M[0 8 16]")
    limits(pcp_of(system), high=8)
    drain.decay_pcp_high(system.kernel, system.zones[0], pcp_of(system))
    assert_zone(system, "order 2: M[8 16] \n pcp0 o2: M[0]")


# --- remote pagesets ---------------------------------------------------------------------------


def test_drain_zone_pages() -> None:
    """LPA-8.8.5: one batch (2), from list 0."""
    system = machine("pcp0 o0: M[0 2 4]")
    log = traced(system)
    drain.drain_zone_pages(system.kernel, system.zones[0], pcp_of(system))
    assert_zone(system, "order 0: M[2 4] \n pcp0 o0: M[0]")
    assert log.take()[0] == ("call", 0, "drain_zone_pages", gfp.ZONE_DMA32)
    drain.drain_zone_pages(system.kernel, system.zones[0], pcp_of(system))
    drain.drain_zone_pages(system.kernel, system.zones[0], pcp_of(system))
    assert_zone(system, "order 0: M[0 2 4]")


def test_drain_goes_node_by_node() -> None:
    """LPA-8.8.12, LPA-8.8.8: node 0's memory lies above node 1's, and is drained first all the same."""
    zones = (
        small_zone(gfp.ZONE_DMA32, 16, 16, node=0, managed_pages=16, reserved=((16, 16),)),
        small_zone(gfp.ZONE_DMA32, 0, 16, node=1, managed_pages=16, reserved=((0, 16),)),
    )
    for function in (drain.drain_all_pages, drain.drain_local_pages):
        system = System.boot(config(zones=zones, vm_stat_threshold=0))
        fill(system, "pcp0 o0: M[20]", system.zones[0])
        fill(system, "pcp0 o0: M[3]", system.zones[1])
        log = traced(system)
        function(system.kernel)
        assert [event[4] for event in log.take() if event[0] == "drain"] == [20, 3]
