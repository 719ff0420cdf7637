# SPDX-License-Identifier: GPL-2.0-only
"""Refills, which may not wait for zone->lock if the caller may not."""

from __future__ import annotations

import pytest

from pageblock_buddy import System, gfp
from pageblock_buddy.linux_7_0 import bulk
from pageblock_buddy.mm.page import PG_PCP
from tests.helpers import M, R, U, assert_zone, pcp_of
from tests.linux_7_0.watch import ZONE, Watch, held, machine

TRY = gfp.ALLOC_TRYLOCK


def refill(system: System, order: int, count: int, mt: int, alloc_flags: int = 0) -> int:
    """rmqueue_bulk() into CPU 0's list, counted as its caller does."""
    k, zone = system.kernel, system.zones[0]
    pcp = pcp_of(system)
    taken = bulk.rmqueue_bulk(k, zone, order, count, pcp, mt, alloc_flags)
    pcp.count += taken << order
    return taken


# --- the lock ----------------------------------------------------------------------------------


def test_the_bit() -> None:
    """LPA-1.0.27: 0x400; and no reserve (LPA-1.0.29)."""
    assert TRY == 0x400
    assert not TRY & gfp.ALLOC_RESERVES


@pytest.mark.parametrize(("alloc_flags", "event"), [(0, "zone lock"), (TRY, "zone trylock")])
def test_lock_zone_for_alloc(alloc_flags: int, event: str) -> None:
    """LPA-9.2.13, LPA-9.2.14: True, and the lock is held; it is tried only where the flag says so."""
    system = machine(nr_cpus=2)
    zone = system.zones[0]
    watch = Watch(system)
    assert bulk.lock_zone_for_alloc(zone, alloc_flags)
    assert (zone.lock.owner, watch.take()) == (0, [event])
    zone.lock.unlock()
    watch.take()
    with held(system, zone.lock):
        assert not bulk.lock_zone_for_alloc(zone, TRY)
    assert watch.take() == ["zone busy"]


@pytest.mark.parametrize(("alloc_flags", "events"), [(0, ZONE), (TRY, ["zone trylock", "zone unlock"])])
def test_refill_is_one_hold(alloc_flags: int, events: list[str]) -> None:
    """LPA-8.2.5, LPA-16.0.6, LPA-9.2.14, LPA-9.5.1: four blocks, one hold, with the flag one that was tried for."""
    system = machine("order 3: M[8]")
    watch = Watch(system)
    assert refill(system, 0, 4, M, alloc_flags) == 4
    assert watch.take() == events
    assert_zone(system, "order 2: M[12] \n pcp0 o0: M[8 9 10 11]")


def test_refill_without_the_lock() -> None:
    """LPA-9.5.1, LPA-9.2.14: somebody holds it: 0, and nothing has changed; the holder keeps it."""
    system = machine("order 3: M[8] \n pcp0 o0: M[1]", nr_cpus=2)
    watch = Watch(system)
    with held(system, system.zones[0].lock):
        assert refill(system, 0, 4, M, TRY) == 0
    assert watch.take() == ["zone busy"]
    assert_zone(system, "order 3: M[8] \n pcp0 o0: M[1]")


# --- what is taken -----------------------------------------------------------------------------


def test_refill_appends() -> None:
    """LPA-8.2.6, LPA-5.0.4: 8, 9, 10 are split off one block and go behind page 1: handed out ascending."""
    system = machine("order 3: M[8] \n pcp0 o0: M[1]")
    assert refill(system, 0, 3, M) == 3
    assert_zone(system, "order 0: M[11] \n order 2: M[12] \n pcp0 o0: M[1 8 9 10]")


@pytest.mark.parametrize("alloc_flags", [0, TRY])
def test_refill_counts_blocks(alloc_flags: int) -> None:
    """LPA-8.2.5, LPA-8.1.5: two blocks of order 1 are four pages, each marked with its order."""
    system = machine("order 3: M[8]")
    assert refill(system, 1, 2, M, alloc_flags) == 2
    assert_zone(system, "order 2: M[12] \n pcp0 o1: M[8 10]")
    assert [system.kernel.mem_map[pfn] for pfn in range(8, 12)] == [PG_PCP | 1, 0, PG_PCP | 1, 0]


def test_refill_stops_at_the_first_failure() -> None:
    """LPA-8.2.7: two pages are all there is; the HIGHATOMIC one is out of reach.  The lock is free again."""
    system = machine("order 0: M[9] U[0] H[16] \n blocks: UMHMMMMM")
    assert refill(system, 0, 5, M) == 2
    assert_zone(system, "order 0: H[16] \n pcp0 o0: M[9 0] \n blocks: UMHMMMMM")
    assert [refill(system, 0, 5, M, flags) for flags in (0, TRY)] == [0, 0]
    assert system.zones[0].lock.owner is None


def test_refill_keeps_its_mode() -> None:
    """LPA-6.1.1, LPA-6.1.8: 1 is stolen (its pageblock is full of movable pages); 9's pageblock could be claimed, but
    the bulk is in mode STEAL now.  The next bulk starts in mode NORMAL and claims."""
    system = machine("order 0: M[1 9 17]")
    system.kernel.nr_movable[0] = 7
    assert refill(system, 0, 2, U) == 2
    assert_zone(system, "order 0: M[17] \n pcp0 o0: U[1 9] \n blocks: MMMMMMMM")
    assert refill(system, 0, 2, U) == 1
    assert_zone(system, "pcp0 o0: U[1 9 17] \n blocks: MMUMMMMM")


def test_refill_passes_its_flags_on() -> None:
    """LPA-6.1.7, LPA-6.2.1: NOFRAGMENT: no steal and no claim of a part block."""
    system = machine("order 0: R[16] M[1] \n blocks: MMRMMMMM")
    assert refill(system, 0, 4, R, gfp.ALLOC_NOFRAGMENT | TRY) == 1
    assert_zone(system, "order 0: M[1] \n pcp0 o0: R[16] \n blocks: MMRMMMMM")


def test_refill_is_counted_by_the_caller() -> None:
    """LPA-8.2.7: rmqueue_bulk() itself does not count into a pageset."""
    system = machine("order 0: R[16] \n blocks: MMRMMMMM")
    pcp = pcp_of(system)
    assert bulk.rmqueue_bulk(system.kernel, system.zones[0], 0, 4, pcp, R, gfp.ALLOC_NOFRAGMENT) == 1
    assert pcp.lists[R].to_list() == [16]
    assert pcp.count == 0
