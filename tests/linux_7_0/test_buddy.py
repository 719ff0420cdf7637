# SPDX-License-Identifier: GPL-2.0-only
"""The zone buddy: frees that may not wait for zone->lock, and the pages that they leave behind."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest

from pageblock_buddy import Context, InputError, System, gfp, snapshot
from pageblock_buddy.errors import SelfDeadlock
from pageblock_buddy.linux_7_0 import buddy
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone
from pageblock_buddy.mm.page import PG_LLIST, PG_NONE
from tests.helpers import MOVABLE, H, M, assert_zone, limits, pcp_of
from tests.linux_7_0.watch import PCP, ZONE, Watch, held, machine, several


def free_one(system: System, pfn: int, order: int = 0, fpi_flags: int = gfp.FPI_NONE) -> None:
    """free_one_page() of an allocation of the first zone."""
    k = system.kernel
    k.mem_map[pfn] = PG_NONE
    buddy.free_one_page(k, system.zones[0], pfn, order, fpi_flags)


# --- under the lock ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fpi_flags", "lists", "events"),
    [
        (gfp.FPI_NONE, "M[4 1]", ZONE),
        (gfp.FPI_TO_TAIL, "M[1 4]", ZONE),
        (gfp.FPI_TRYLOCK, "M[4 1]", ["zone trylock", "zone unlock"]),
        (gfp.FPI_TRYLOCK | gfp.FPI_TO_TAIL, "M[1 4]", ["zone trylock", "zone unlock"]),
    ],
)
def test_free_one_page(fpi_flags: int, lists: str, events: list[str]) -> None:
    """LPA-4.3.1, LPA-4.3.4, LPA-4.0.12, LPA-16.0.6: one hold, waited for or only tried; FPI_TRYLOCK does not mean
    tail."""
    system = machine("order 0: M[1] \n alloc: 4/0")
    watch = Watch(system)
    free_one(system, 4, fpi_flags=fpi_flags)
    assert watch.take() == events
    assert_zone(system, f"order 0: {lists} \n alloc:")
    assert (system.kernel.pgfree, system.zones[0].nr_free_pages) == (1, 2)


def test_a_large_free_is_two_pageblocks() -> None:
    """LPA-4.3.2, LPA-4.3.4: an order-4 free is two order-3 frees, ascending; a mixed pair ends with the type of the
    second; PGFREE counts all 16 pages, once."""
    system = machine("blocks: UMMMMMMM \n alloc: 0/4")
    free_one(system, 0, 4)
    assert_zone(system, "order 4: M[0] \n blocks: MMMMMMMM")
    assert system.kernel.pgfree == 16


# --- nobody waits ------------------------------------------------------------------------------


def test_a_trylock_only_free_that_misses() -> None:
    """LPA-4.3.6: the lock is tried once; the page goes on the zone's list, in a state of its own; it is neither free
    nor counted yet (LPA-14.0.1, LPA-14.0.10), and whoever holds the lock is not disturbed."""
    system = machine("order 0: M[1] \n alloc: 8/2 4/0", nr_cpus=2)
    watch = Watch(system)
    with held(system, system.zones[0].lock):
        free_one(system, 8, 2, gfp.FPI_TRYLOCK)
        free_one(system, 4, 0, gfp.FPI_TRYLOCK)
    assert watch.take() == ["zone busy"] * 2
    assert_zone(system, "order 0: M[1] \n zllist: 4/0 8/2 \n alloc:")
    k = system.kernel
    assert (k.mem_map[4], k.mem_map[8], k.mem_map[9]) == (PG_LLIST | 0, PG_LLIST | 2, PG_NONE)
    assert (k.pgfree, system.zones[0].nr_free_pages) == (0, 1)


def test_an_interrupt_does_not_wait_for_what_it_interrupted() -> None:
    """LPA-4.3.6: the running CPU itself holds zone->lock, in task context; an NMI that waited would never end."""
    system = machine("alloc: 9/0")
    with held(system, system.zones[0].lock, context=Context.NMI):
        free_one(system, 9, 0, gfp.FPI_TRYLOCK)
    assert_zone(system, "zllist: 9/0")


def test_add_page_to_zone_llist() -> None:
    """LPA-4.3.6: no lock is touched; the newest is first."""
    system = machine("alloc: 9/0 16/3")
    watch = Watch(system)
    for pfn, order in ((9, 0), (16, 3)):
        buddy.add_page_to_zone_llist(system.kernel, system.zones[0], pfn, order)
    assert watch.take() == []
    assert_zone(system, "zllist: 16/3 9/0 \n alloc:")


# --- the next ordinary free --------------------------------------------------------------------


def test_the_next_ordinary_free_works_the_list_off() -> None:
    """LPA-4.3.6: in its own hold of the lock, newest first (17, 9, 1), and before its own page, 25: each goes to the
    head, so the one freed last is in front."""
    system = machine("zllist: 17/0 9/0 1/0 \n alloc: 25/0")
    watch = Watch(system)
    free_one(system, 25)
    assert watch.take() == ZONE
    assert_zone(system, "order 0: M[25 1 9 17]")
    assert (system.kernel.pgfree, system.zones[0].nr_free_pages) == (4, 4)


def test_each_deferred_block_is_an_ordinary_free() -> None:
    """LPA-4.3.6, LPA-4.3.2: in pieces of at most a pageblock, each with the type of its block at that time; then the
    main free."""
    system = machine("zllist: 32/4 8/1 \n alloc: 16/4 \n blocks: MHURMHMM")
    k = system.kernel
    pieces: list[tuple[int, int, int, int]] = []

    def record(k: Kernel, pfn: int, zone: Zone, order: int, mt: int, fpi_flags: int) -> None:
        assert zone.lock.owner == 0
        assert k.mem_map[pfn] == PG_NONE
        pieces.append((pfn, order, mt, fpi_flags))

    k.calls = dataclasses.replace(k.calls, _free_one_page=record)
    free_one(system, 16, 4)
    assert pieces == [(32, 3, M, 0), (40, 3, H, 0), (8, 1, H, 0), (16, 3, 0, 0), (24, 3, 2, 0)]
    assert k.pgfree == 16 + 2 + 16  # LPA-4.3.4


def test_the_callers_flags_are_the_deferred_pages_flags() -> None:
    """LPA-4.3.6, LPA-4.0.12: worked off by a free with FPI_TO_TAIL, they go to the tail too."""
    system = machine("order 0: M[40] \n zllist: 1/0 9/0 \n alloc: 25/0")
    free_one(system, 25, fpi_flags=gfp.FPI_TO_TAIL)
    assert_zone(system, "order 0: M[40 1 9 25]")


def test_deferred_pages_merge_when_they_are_freed() -> None:
    """LPA-4.3.6, LPA-4.1.1: while 8 is on the list, 9 (freed by a trylock that succeeds) finds no buddy; later it
    does."""
    system = machine("zllist: 8/0 \n alloc: 9/0 33/0")
    free_one(system, 9, 0, gfp.FPI_TRYLOCK)
    assert_zone(system, "order 0: M[9] \n zllist: 8/0 \n alloc: 33/0")
    free_one(system, 33)
    assert_zone(system, "order 0: M[33] \n order 1: M[8]")


def test_a_trylock_only_free_leaves_the_list() -> None:
    """LPA-4.3.6: even if it gets the lock: working off may take long."""
    system = machine("zllist: 17/0 9/0 \n alloc: 25/0")
    free_one(system, 25, 0, gfp.FPI_TRYLOCK)
    assert_zone(system, "order 0: M[25] \n zllist: 17/0 9/0")
    assert system.kernel.pgfree == 1


def test_only_free_one_page_works_the_list_off() -> None:
    """LPA-4.3.6: a free onto a per-CPU list, a flush, a refill, an allocation from the zone and a drain leave it."""
    system = machine("order 4: M[32] \n zllist: 17/0 \n pcp0 o0: M[0 2] \n alloc: 4/0 6/0", high_min=4, high_max=4)
    system.free_pages(4)
    system.free_pages(6)  # flushes two
    assert_zone(system, "order 0: M[0 2] \n order 4: M[32] \n zllist: 17/0 \n pcp0 o0: M[6 4]")
    assert system.alloc_pages(MOVABLE, 2) == 32
    assert system.alloc_pages(gfp.GFP_KERNEL, 3) == 40
    system.drain_all_pages()
    assert_zone(system, "order 0: M[6 4 0 2] \n order 2: M[36] \n zllist: 17/0 \n alloc: 32/2 40/3 \n blocks: MMMMMUMM")


def test_each_zone_has_its_own_list() -> None:
    """LPA-4.3.6: a free into DMA32 does not look at DMA's list."""
    system = several(
        (0, gfp.ZONE_DMA, 0), (0, gfp.ZONE_DMA32, 16), texts={0: "alloc: 3/0 9/0", 16: "alloc: 16/4"}, nr_cpus=2
    )
    dma, dma32 = system.zones
    with held(system, dma.lock):
        free_one(system, 3, 0, gfp.FPI_TRYLOCK)
    system.free_pages(16, 4)
    assert_zone(system, "zllist: 3/0 \n alloc: 9/0", dma)
    assert_zone(system, "order 4: M[16]", dma32)
    free_one(system, 9)
    assert_zone(system, "order 0: M[9 3]", dma)


def test_an_ordinary_free_waits() -> None:
    """LPA-4.3.1: no FPI_TRYLOCK, no list: another CPU that holds the lock would be waited for."""
    system = machine("alloc: 9/0", nr_cpus=2)
    with held(system, system.zones[0].lock), pytest.raises(SelfDeadlock):
        buddy.free_one_page(system.kernel, system.zones[0], 9, 0, gfp.FPI_NONE)
    assert_zone(system, "alloc: 9/0")


# --- snapshots ---------------------------------------------------------------------------------


def test_snapshot() -> None:
    """LPA-4.3.6: the list, newest first, in the snapshot; restored and copied machines work it off in
    the same order."""
    first = machine("order 0: M[40] \n zllist: 17/0 32/2 1/0 \n alloc: 25/0 48/4")
    state = json.loads(json.dumps(first.snapshot()))
    assert state["zones"][0]["trylock_free_pages"] == [[17, 0], [32, 2], [1, 0]]
    assert state["allocated"] == [[25, 0, 0, 1], [48, 4, 0, 1]]
    second = System.restore(state)
    assert second.total_pages == 1 + 6 + 1 + 16
    copied = System(snapshot.clone(first.kernel), first.variant)
    assert first.digest() == second.digest() == copied.digest()
    for system in (first, second, copied):
        assert_zone(system, "order 0: M[40] \n zllist: 17/0 32/2 1/0 \n alloc: 25/0 48/4")
    for system in (first, second, copied):
        system.free_pages(48, 4)
        assert_zone(system, "order 0: M[1 17 40] \n order 2: M[32] \n order 4: M[48] \n alloc: 25/0")
    assert first.digest() == second.digest() == copied.digest()
    assert "trylock_free_pages" not in first.snapshot()["zones"][0]


@pytest.mark.parametrize("entry", [[64, 0], [3, 1], [40, 0], [17, 5], [25, 0], [17], [17.0, 0]])
def test_impossible_snapshots(entry: object) -> None:
    """LPA-4.3.6: InputError: outside, misaligned, free, no such order, allocated, no pair, no whole number."""
    state = copy.deepcopy(machine("order 0: M[40] \n zllist: 17/0 \n alloc: 25/0").snapshot())
    state["zones"][0]["trylock_free_pages"] = [entry]
    with pytest.raises(InputError):
        System.restore(state)


def test_a_page_twice_on_the_list() -> None:
    """LPA-4.3.6: InputError."""
    state = machine("zllist: 17/0").snapshot()
    state["zones"][0]["trylock_free_pages"] = [[17, 0], [17, 0]]
    with pytest.raises(InputError, match="overlaps"):
        System.restore(state)


# --- NR_FREE_PAGES_BLOCKS ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "pages"),
    [
        ("", 0),
        ("order 0: M[0] \n order 2: M[8]", 0),  # smaller than a pageblock
        ("order 3: M[8]", 8),
        ("order 4: M[16]", 16),
        ("order 2: M[0] \n order 3: M[8 24] U[40] \n order 4: R[48] \n blocks: MMMMMURR", 3 * 8 + 16),
        ("order 3: H[8] C[24] \n blocks: MHMCMMMM", 16),  # not isolated is all that counts
        ("pcp0 o3: M[8] \n zllist: 16/3 \n alloc: 24/3", 0),
    ],
)
def test_nr_free_pages_blocks(text: str, pages: int) -> None:
    """LPA-3.0.8: pages, not blocks, in free blocks of at least pageblock_order (3 here, 9 in the kernel)."""
    system = machine(text)
    assert buddy.nr_free_pages_blocks(system.kernel, system.zones[0]) == pages


def test_nr_free_pages_blocks_is_the_zones() -> None:
    """LPA-3.0.8: a counter of each zone."""
    system = several((0, gfp.ZONE_DMA, 0), (0, gfp.ZONE_DMA32, 16), texts={0: "order 3: M[8]", 16: "order 4: M[16]"})
    assert [buddy.nr_free_pages_blocks(system.kernel, zone) for zone in system.zones] == [8, 16]


# --- the whole way -----------------------------------------------------------------------------


def test_from_free_pages_nolock_and_back() -> None:
    """LPA-4.3.6, LPA-8.4.6, LPA-14.0.10: both locks busy: on the list, uncounted; an interrupt's ordinary free, which
    misses pcp->lock only, works it off; the pages are then allocated again."""
    system = machine("alloc: 8/1 16/0 24/0", nr_cpus=2)
    zone, pcp = system.zones[0], limits(pcp_of(system), alloc_factor=4)
    watch = Watch(system)
    with held(system, zone.lock, pcp.lock):
        system.free_pages_nolock(8, 1)
        system.free_pages_nolock(16)
    assert watch.take() == ["pcp0 busy", "zone busy"] * 2
    assert_zone(system, "zllist: 16/0 8/1 \n alloc: 24/0")
    assert (system.kernel.pgfree, pcp.alloc_factor, pcp.count) == (0, 4, 0)
    assert system.alloc_pages(MOVABLE) is None
    with held(system, pcp.lock, context=Context.HARDIRQ):
        system.free_pages(24)
    assert_zone(system, "order 0: M[24 16] \n order 1: M[8]")
    assert (system.kernel.pgfree, zone.nr_free_pages) == (4, 4)
    watch.take()
    assert system.alloc_pages(MOVABLE, 1) == 8
    assert watch.take() == [PCP[0], *ZONE, PCP[1]]
