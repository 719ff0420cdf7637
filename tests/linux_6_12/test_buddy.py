# SPDX-License-Identifier: GPL-2.0-only
"""The zone buddy, drawn: pageblocks of 8 pages, largest order 4.

Order 3 stands for the kernel's 9 (pageblock_order) and 4 for its 10 (MAX_PAGE_ORDER).
"""

from __future__ import annotations

import dataclasses

import pytest

from pageblock_buddy import System, gfp
from pageblock_buddy.linux_6_12 import buddy
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone
from pageblock_buddy.mm.page import PG_BUDDY
from tests.helpers import C, H, I, M, R, U, assert_zone, config, fill, locked, machine, small_zone, traced


def free_one(system: System, pfn: int, order: int = 0, fpi_flags: int = gfp.FPI_NONE) -> None:
    """free_one_page() of an allocation in the first zone."""
    system.kernel.mem_map[pfn] = 0
    buddy.free_one_page(system.kernel, system.zones[0], pfn, order, fpi_flags)


# --- head or tail ------------------------------------------------------------------------------


def test_free_goes_to_the_head() -> None:
    """LPA-4.0.14, LPA-4.0.15, LPA-3.0.2: buddy 5 is in use and so is 6, the buddy one level up: no merge is likely.

    The page is hot, so it goes where the next allocation looks."""
    system = machine("order 0: M[1] \n alloc: 4/0 5/0 6/1")
    free_one(system, 4)
    assert_zone(system, "order 0: M[4 1] \n alloc: 5/0 6/1")
    assert system.kernel.mem_map[4] == PG_BUDDY | 0  # LPA-4.0.11


def test_free_goes_to_the_tail_if_a_merge_is_likely() -> None:
    """LPA-4.0.18: 6, order 1, is free.  When 5 is freed too, 4..7 merges: keep 4 back at the tail."""
    system = machine("order 0: M[1] \n order 1: M[6] \n alloc: 4/0 5/0")
    free_one(system, 4)
    assert_zone(system, "order 0: M[1 4] \n order 1: M[6] \n alloc: 5/0")


def test_merge_likely_is_asked_for_the_block_below_as_well() -> None:
    """LPA-4.0.18: freeing 7; its pair starts at 6 (bit 0 cleared), so the block one level up is 4."""
    system = machine("order 0: M[1] \n order 1: M[4] \n alloc: 6/0 7/0")
    free_one(system, 7)
    assert_zone(system, "order 0: M[1 7] \n order 1: M[4] \n alloc: 6/0")


def test_merge_likely_wants_exactly_the_next_order() -> None:
    """LPA-4.0.18: 6 is free, but as order 0 (7 is in use): nothing of order 1 to merge with."""
    system = machine("order 0: M[1 6] \n alloc: 4/0 5/0 7/0")
    free_one(system, 4)
    assert_zone(system, "order 0: M[4 1 6]")


def test_merge_likely_is_asked_at_the_order_that_was_reached() -> None:
    """LPA-4.0.14: 4 merges with 5 to order 1; 6 is in use, but 0, order 2, is free: tail of order 1."""
    system = machine("order 0: M[5] \n order 1: M[10] \n order 2: M[0] \n alloc: 4/0 6/1")
    free_one(system, 4)
    assert_zone(system, "order 1: M[10 4] \n order 2: M[0]")


def test_merge_likely_holds_up_to_the_order_below_a_pageblock() -> None:
    """LPA-4.0.18, LPA-4.0.19: order 2 (8 in the kernel) may still wait for its order-3 neighbour 24."""
    system = machine("order 2: M[0] \n order 3: M[24] \n alloc: 16/2 20/2")
    free_one(system, 16, 2)
    assert_zone(system, "order 2: M[0 16] \n order 3: M[24]")


def test_large_blocks_never_wait() -> None:
    """LPA-4.0.17, LPA-4.0.19: 0, order 4, is free, yet 16, order 3, goes to the head: merge_likely is false there."""
    system = machine("order 3: M[40] \n order 4: M[0] \n alloc: 16/3 24/3")
    free_one(system, 16, 3)
    assert_zone(system, "order 3: M[16 40] \n order 4: M[0]")


def test_fpi_to_tail() -> None:
    """LPA-4.0.12: the flag beats merge_likely, which is false here (6 is in use)."""
    system = machine("order 0: M[1] \n alloc: 4/0 5/0 6/1")
    free_one(system, 4, fpi_flags=gfp.FPI_TO_TAIL)
    assert_zone(system, "order 0: M[1 4]")


def test_other_fpi_flags_do_not_mean_tail() -> None:
    """LPA-4.0.12: only FPI_TO_TAIL, not FPI_SKIP_REPORT_NOTIFY."""
    system = machine("order 0: M[1] \n alloc: 4/0")
    free_one(system, 4, fpi_flags=gfp.FPI_SKIP_REPORT_NOTIFY)
    assert_zone(system, "order 0: M[4 1]")


# --- merging -----------------------------------------------------------------------------------


def test_merging_climbs_to_the_largest_order_and_stops() -> None:
    """LPA-4.0.2, LPA-4.0.4, LPA-4.0.7, LPA-4.0.10: 9 meets 8, then 10, 12 and 0, and ends as order 4 at pfn 0.

    16..31 is a free order-4 block and its buddy, but order 4 is the end."""
    system = machine(
        "order 0: M[8] \n order 1: M[10] \n order 2: M[12] \n order 3: M[0] \n order 4: M[16] \n alloc: 9/0"
    )
    free_one(system, 9)
    assert_zone(system, "order 4: M[0 16]")
    assert [system.kernel.mem_map[pfn] for pfn in (0, 8, 9, 10, 12)] == [PG_BUDDY | 4, 0, 0, 0, 0]  # LPA-3.0.4


def test_a_buddy_of_another_order_does_not_merge() -> None:
    """LPA-4.0.4, LPA-4.1.1: 6 is free but split (order 0), so 4..5 cannot merge with 6..7."""
    system = machine("order 0: M[6] \n alloc: 4/1 7/0")
    free_one(system, 4, 1)
    assert_zone(system, "order 0: M[6] \n order 1: M[4]")


def test_a_page_on_a_pcp_list_is_no_buddy() -> None:
    """LPA-4.1.1: 5 is free to the user, but it has no buddy mark while it is on a per-CPU list."""
    system = machine("pcp0 o0: M[5] \n alloc: 4/0")
    free_one(system, 4)
    assert_zone(system, "order 0: M[4] \n pcp0 o0: M[5]")


def test_the_zone_ends_the_merging() -> None:
    """LPA-4.1.1, LPA-4.1.2: 12..15 does not exist (the machine ends at 12), and 8..11 stays order 2."""
    system = machine("alloc: 8/2", pages=12)
    free_one(system, 8, 2)
    assert_zone(system, "order 2: M[8]")


def test_zones_do_not_merge() -> None:
    """LPA-4.0.4, LPA-4.1.1: 12..15 is free, and the right order, but in the next zone; likewise for merge_likely."""
    zones = (
        small_zone(gfp.ZONE_DMA, 0, 12, managed_pages=12, reserved=((0, 12),)),
        small_zone(gfp.ZONE_DMA32, 12, 20, managed_pages=20, reserved=((12, 20),)),
    )
    system = System.boot(config(zones=zones, vm_stat_threshold=0))
    fill(system, "order 2: M[12]", system.zones[1])
    fill(system, "order 1: M[4] \n alloc: 8/2 0/0")
    free_one(system, 8, 2)
    assert_zone(system, "order 1: M[4] \n order 2: M[8]")
    assert_zone(system, "order 2: M[12]", system.zones[1])
    buddy.free_one_page(system.kernel, system.zones[1], 16, 1, gfp.FPI_NONE)
    assert not buddy.page_is_buddy(system.kernel, system.zones[1], 8, 2)
    assert not buddy.page_is_buddy(system.kernel, system.zones[0], 12, 2)


def test_types_are_not_compared_inside_a_pageblock() -> None:
    """LPA-4.0.5, LPA-4.1.3: the list of the buddy is that of the freed page's type, without a look at the block."""
    system = machine("order 2: R[20] \n alloc: 16/2 \n blocks: MMRMMMMM")
    free_one(system, 16, 2)
    assert_zone(system, "order 3: R[16] \n blocks: MMRMMMMM")


@pytest.mark.parametrize(("freed", "other"), [("U", "M"), ("M", "U"), ("R", "M"), ("M", "R"), ("U", "R")])
def test_mergeable_types_merge_and_take_the_freed_type(freed: str, other: str) -> None:
    """LPA-4.0.6, LPA-4.0.8, LPA-1.0.11: 8..15 is freed next to 0..7 of another mergeable type.

    They merge, and the neighbour's pageblock is rewritten to the type of the freed one."""
    system = machine(f"order 3: {other}[0] \n blocks: {other}{freed}MMMMMM \n alloc: 8/3")
    free_one(system, 8, 3)
    assert_zone(system, f"order 4: {freed}[0] \n blocks: {freed}{freed}MMMMMM")


@pytest.mark.parametrize(("freed", "other"), [("H", "M"), ("M", "H"), ("I", "U"), ("R", "I"), ("C", "M"), ("M", "C")])
def test_other_types_do_not_merge(freed: str, other: str) -> None:
    """LPA-4.0.6: HIGHATOMIC, ISOLATE and CMA pageblocks keep to themselves, whichever side is freed."""
    system = machine(f"order 3: {other}[0] \n blocks: {other}{freed}MMMMMM \n alloc: 8/3")
    free_one(system, 8, 3)
    lists = f"order 3: {other}[0] {freed}[8]"
    assert_zone(system, f"{lists} \n blocks: {other}{freed}MMMMMM")


@pytest.mark.parametrize("mt", ["M", "H", "I", "C"])
def test_equal_types_merge(mt: str) -> None:
    """LPA-4.0.6: the test is about differing types only."""
    system = machine(f"order 3: {mt}[0] \n blocks: {mt}{mt}MMMMMM \n alloc: 8/3")
    free_one(system, 8, 3)
    assert_zone(system, f"order 4: {mt}[0] \n blocks: {mt}{mt}MMMMMM")


# --- free_one_page(): pieces -------------------------------------------------------------------


def test_a_large_free_is_two_pageblocks() -> None:
    """LPA-4.3.2: an order-4 free is two order-3 frees, ascending; a mixed pair ends with the type of the second."""
    system = machine("blocks: UMMMMMMM \n alloc: 0/4")
    free_one(system, 0, 4)
    assert_zone(system, "order 4: M[0] \n blocks: MMMMMMMM")


def test_a_large_free_of_unmergeable_halves() -> None:
    """LPA-4.3.2: each half goes to the list of its own pageblock."""
    system = machine("blocks: HMMMMMMM \n alloc: 0/4")
    free_one(system, 0, 4)
    assert_zone(system, "order 3: H[0] M[8] \n blocks: HMMMMMMM")


def test_large_pieces_are_freed_in_ascending_order() -> None:
    """LPA-4.3.2: 16 first, then 24, each with order 3 and the type of its own block."""
    system = machine("blocks: MMIHMMMM")
    k = system.kernel
    pieces: list[tuple[int, int, int]] = []

    def record(k: Kernel, pfn: int, zone: Zone, order: int, mt: int, fpi_flags: int) -> None:
        pieces.append((pfn, order, mt))

    k.calls = dataclasses.replace(k.calls, _free_one_page=record)
    buddy.free_one_page(k, system.zones[0], 16, 4, gfp.FPI_NONE)
    buddy.free_one_page(k, system.zones[0], 4, 2, gfp.FPI_NONE)
    assert pieces == [(16, 3, I), (24, 3, H), (4, 2, M)]


def test_free_one_page_counts_pgfree() -> None:
    """LPA-4.3.4, LPA-14.0.10: 1<<order, once; LPA-4.3.1: under the zone lock, which is free again behind it."""
    system = machine("alloc: 0/4")
    free_one(system, 0, 4)
    assert system.kernel.pgfree == 16
    assert system.zones[0].lock.owner is None


# --- counters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mt", "free", "highatomic", "cma"), [(M, 8, 0, 0), (U, 8, 0, 0), (H, 8, 8, 0), (C, 8, 0, 8), (I, 0, 0, 0)]
)
def test_what_is_counted(mt: int, free: int, highatomic: int, cma: int) -> None:
    """LPA-4.0.1, LPA-3.0.5, LPA-3.0.6, LPA-3.0.7, LPA-14.0.1: isolated pages are not free; HIGHATOMIC and CMA have
    counters of their own; nr_free counts all of them (LPA-14.0.8, LPA-2.0.3)."""
    system = machine("alloc: 8/3")
    system.kernel.pageblock_flags[1] = mt
    free_one(system, 8, 3)
    zone = system.zones[0]
    assert (zone.nr_free_pages, zone.nr_free_highatomic, zone.nr_free_cma) == (free, highatomic, cma)
    assert zone.free_area[3].nr_free == 1
    with locked(zone):
        buddy.del_page_from_free_list(system.kernel, 8, zone, 3, mt)
    assert (zone.nr_free_pages, zone.nr_free_highatomic, zone.nr_free_cma) == (0, 0, 0)
    assert zone.free_area[3].nr_free == 0


def test_moving_is_two_changes_of_the_counter() -> None:
    """LPA-14.0.14, LPA-3.0.3, LPA-14.0.2: -4 and then +4.  With a diff of -5 and a threshold of 6 the first one folds
    (-9), so the counter reads 9 less although nothing left the zone."""
    system = machine("order 2: M[0 8 16] \n blocks: MMMMMMMM", vm_stat_threshold=6)
    zone = system.zones[0]
    stat = zone.per_cpu_zonestats[0]
    stat.nr_free_pages_diff, zone.nr_free_pages = -5, 12 + 5
    with locked(zone):
        buddy.move_to_free_list(system.kernel, 8, zone, 2, M, U)
    assert (zone.nr_free_pages, stat.nr_free_pages_diff) == (17 - 9, 4)
    system.kernel.pageblock_flags[1] = U
    assert_zone(system, "order 2: M[0 16] U[8]")
    assert zone.free_area[2].nr_free == 3


def test_taking_is_one_change_of_the_counter() -> None:
    """LPA-5.0.5, LPA-14.0.6: -16 + 15 = -1 in one change; with a threshold of 6 it stays in the diff."""
    system = machine("order 4: M[0]", vm_stat_threshold=6)
    zone = system.zones[0]
    with locked(zone):
        assert buddy._rmqueue_smallest(system.kernel, zone, 0, M) == 0
    assert (zone.nr_free_pages, zone.per_cpu_zonestats[0].nr_free_pages_diff) == (16, -1)


# --- splitting and taking ----------------------------------------------------------------------


def test_smallest_takes_the_lowest_order_first() -> None:
    """LPA-5.0.1, LPA-3.0.1: order 1 has nothing; the head of order 2 is taken although an order-3 block is there."""
    system = machine("order 0: M[1] \n order 2: M[20 8] \n order 3: M[32]")
    system.total_pages = None  # the pages are the test's
    with locked(system.zones[0]):
        assert buddy._rmqueue_smallest(system.kernel, system.zones[0], 1, M) == 20
    assert_zone(system, "order 0: M[1] \n order 1: M[22] \n order 2: M[8] \n order 3: M[32]")


def test_smallest_of_nothing() -> None:
    """LPA-5.0.1: blocks that are too small or of another type do not count."""
    system = machine("order 0: M[1] \n order 4: U[16] \n blocks: MMUUMMMM")
    with locked(system.zones[0]):
        assert buddy._rmqueue_smallest(system.kernel, system.zones[0], 1, M) is None
        assert buddy._rmqueue_smallest(system.kernel, system.zones[0], 0, R) is None


def test_expand_keeps_the_lower_half() -> None:
    """LPA-5.0.3: an order-4 block at 16, order 0 wanted: 24, 20, 18 and 17 go back."""
    system = machine("order 4: M[16 0]")
    system.total_pages = None  # the pages are the test's
    with locked(system.zones[0]):
        assert buddy._rmqueue_smallest(system.kernel, system.zones[0], 0, M) == 16
    assert_zone(system, "order 0: M[17] \n order 1: M[18] \n order 2: M[20] \n order 3: M[24] \n order 4: M[0]")


def test_expand_adds_at_the_head() -> None:
    """LPA-5.0.3: each half goes in front of what is on its list."""
    system = machine("order 1: M[40] \n order 2: M[48]")
    system.total_pages = None  # the pages are the test's
    zone = system.zones[0]
    with locked(zone):
        assert buddy.expand(system.kernel, zone, 16, 1, 3, M) == 6
    zone.nr_free_pages += 6
    assert_zone(system, "order 1: M[18 40] \n order 2: M[20 48]")


def test_single_pages_from_one_block_ascend() -> None:
    """LPA-5.0.4: consecutive takes from one block give consecutive PFNs."""
    system = machine("order 3: M[8]")
    system.total_pages = None  # the pages are the test's
    zone = system.zones[0]
    with locked(zone):
        assert [buddy._rmqueue_smallest(system.kernel, zone, 0, M) for _ in range(9)] == [*range(8, 16), None]
    assert_zone(system, "")


@pytest.mark.parametrize(("order", "mt", "refill"), [(0, M, 1), (3, U, 1), (4, M, 0), (0, H, 0)])
def test_smallest_is_traced(order: int, mt: int, refill: int) -> None:
    """LPA-5.0.2, LPA-15.1.4, LPA-15.1.5: percpu_refill says that the order and type have PCP lists, no more."""
    system = machine("order 4: M[0]")
    system.kernel.pageblock_flags[0:2] = bytes([mt, mt])
    area = system.zones[0].free_area[4]
    area.free_list[M].list_del(0)
    area.free_list[mt].list_add(0)
    log = traced(system)
    with locked(system.zones[0]):
        buddy._rmqueue_smallest(system.kernel, system.zones[0], order, mt)
    assert log.take() == [("zlock", 0, order, mt, 0, refill)]


# --- moving a pageblock's free pages -----------------------------------------------------------


def test_move_freepages_block() -> None:
    """LPA-3.0.3, LPA-6.3.9, LPA-6.3.10: the free blocks of 8..15, ascending, to the tails; 0 and 16 stay."""
    system = machine(
        """
        order 0: M[13 16 9] R[24]
        order 1: M[0 10] R[26]
        blocks: MMMRMMMM
        alloc: 8/0 12/0
        pcp0 o0: M[14]
        """
    )
    zone = system.zones[0]
    with locked(zone):
        assert buddy.move_freepages_block(system.kernel, zone, 12, M, R) == 4
    assert_zone(
        system,
        """
        order 0: M[16] R[24 9 13]
        order 1: M[0] R[26 10]
        blocks: MRMRMMMM
        pcp0 o0: M[14]
        """,
    )


@pytest.mark.parametrize("pfn", [4, 20])
def test_a_straddling_pageblock_is_not_moved(pfn: int) -> None:
    """LPA-6.3.5: the zone is 2..21, so the blocks 0..7 and 16..23 belong to it only in part."""
    zones = (small_zone(gfp.ZONE_DMA32, 2, 20, managed_pages=20, reserved=((2, 20),)),)
    system = System.boot(config(zones=zones, vm_stat_threshold=0))
    fill(system, "order 0: M[4 20] \n blocks: MMM")
    zone = system.zones[0]
    with locked(zone):
        assert buddy.move_freepages_block(system.kernel, zone, pfn, M, U) is None
        assert buddy.block_inside_zone(system.kernel, zone, 8)
    assert_zone(system, "order 0: M[4 20] \n blocks: MMM")
