# SPDX-License-Identifier: GPL-2.0-only
"""Fallbacks, drawn: claim a whole pageblock from the largest order down, else steal one block from the smallest up.

Pageblocks of 8 pages: half a block is 4 pages where the kernel's rule says 256."""

from __future__ import annotations

from typing import Any

import pytest

from pageblock_buddy import Config, System, gfp
from pageblock_buddy.linux_6_12 import bulk, fallback
from pageblock_buddy.linux_6_12.fallback import NO_BLOCK, TOO_LOW
from pageblock_buddy.mm.alloc_context import RMQUEUE_CMA, RMQUEUE_NORMAL, RMQUEUE_STEAL, RmqueueMode
from pageblock_buddy.mm.page import PG_PCP
from tests.helpers import C, H, M, R, U, assert_zone, config, fill, locked, machine, pcp_of, small_zone, traced


def take(system: System, order: int, mt: int, alloc_flags: int = 0, mode: RmqueueMode | None = None) -> int | None:
    """One __rmqueue() under the lock; the pages are then the test's."""
    system.total_pages = None
    zone = system.zones[0]
    with locked(zone):
        return fallback._rmqueue(system.kernel, zone, order, mt, alloc_flags, mode or RmqueueMode())


def take_bulk(system: System, count: int, mt: int, alloc_flags: int = 0) -> list[int]:
    """One rmqueue_bulk() of single pages; the pages are then the test's."""
    system.total_pages = None
    pcp_list = pcp_of(system).lists[mt]
    assert not pcp_list
    bulk.rmqueue_bulk(system.kernel, system.zones[0], 0, count, pcp_of(system), mt, alloc_flags)
    pages = pcp_list.to_list()
    for pfn in pages:
        assert system.kernel.mem_map[pfn] == PG_PCP
        system.kernel.mem_map[pfn] = 0
        pcp_list.list_del(pfn)
    return pages


# --- who falls back to whom --------------------------------------------------------------------

#: every pageblock full of movable pages: no claim can reach half a block, so everything is stolen
FULL = dict.fromkeys(range(8), 7)


@pytest.mark.parametrize(("mt", "order_of_victims"), [(U, "RM"), (M, "RU"), (R, "UM")])
def test_fallback_order(mt: int, order_of_victims: str) -> None:
    """LPA-6.0.1, LPA-6.4.1: UNMOVABLE -> RECLAIMABLE, MOVABLE; MOVABLE -> RECLAIMABLE, UNMOVABLE;
    RECLAIMABLE -> UNMOVABLE, MOVABLE.  HIGHATOMIC, CMA and ISOLATE (24, 32, 40) are never victims (LPA-6.0.2)."""
    lists = "U[0] M[8] R[16] H[24] C[32] I[40]".replace(f"{'UMR'[mt]}[{8 * mt}] ", "")
    system = machine(f"order 0: {lists} \n blocks: UMRHCIMM")
    system.kernel.nr_movable.update(FULL)
    if mt == M:
        system.kernel.nr_movable.clear()  # MOVABLE would count them as alike
    taken = [take(system, 0, mt) for _ in range(3)]
    assert taken == [*(8 * "UMR".index(letter) for letter in order_of_victims), None]
    assert_zone(system, "order 0: H[24] C[32] I[40] \n blocks: UMRHCIMM")


@pytest.mark.parametrize(
    ("order", "mt", "claimable", "found"),
    [
        (2, U, True, M),
        (2, U, False, M),
        (1, U, True, NO_BLOCK),
        (1, M, True, TOO_LOW),
        (1, M, False, NO_BLOCK),
        (3, M, True, NO_BLOCK),
        (4, U, True, NO_BLOCK),
    ],
)
def test_find_suitable_fallback(order: int, mt: int, claimable: bool, found: int) -> None:
    """LPA-6.2.5, LPA-6.2.3: nothing of order 1; only MOVABLE itself at order 2; only HIGHATOMIC at order 4.

    pageblock_order is 4 here, so orders 0 and 1 are below its half: too low for a MOVABLE claim."""
    system = machine("order 2: M[8] \n order 4: H[16] \n blocks: MHMM", pageblock_order=4, max_page_order=5)
    area = system.zones[0].free_area[order]
    assert fallback.find_suitable_fallback(system.kernel, area, order, mt, claimable) == found


def test_should_try_claim_block_on_x86() -> None:
    """LPA-6.2.4, LPA-1.0.4: pageblock_order 9, so MOVABLE requests may claim from order 4 on; the others always."""
    system = System.boot(Config.pc(8))
    tries = {mt: [fallback.should_try_claim_block(system.kernel, o, mt) for o in range(11)] for mt in (U, M, R)}
    assert tries[U] == tries[R] == [True] * 11
    assert tries[M] == [False] * 4 + [True] * 7
    off = System.boot(Config.pc(8, page_group_by_mobility_disabled=True))
    assert fallback.should_try_claim_block(off.kernel, 0, M)


# --- big claims --------------------------------------------------------------------------------


def test_claim_of_a_big_block() -> None:
    """LPA-6.3.1, LPA-6.2.2, LPA-6.2.6: an order-4 block (10 in the kernel) becomes UNMOVABLE, both pageblocks of it;
    what remains goes to UNMOVABLE lists.  The head, 16, is taken although 0 is lower."""
    system = machine("order 0: M[50] \n order 3: M[40] \n order 4: M[16 0]")
    assert take(system, 0, U) == 16
    assert_zone(
        system,
        """
        order 0: U[17] M[50]
        order 1: U[18]
        order 2: U[20]
        order 3: U[24] M[40]
        order 4: M[0]
        blocks: MMUUMMMM
        """,
    )


def test_claim_of_one_whole_pageblock() -> None:
    """LPA-6.3.1: order 3 is a pageblock: the same, one block, and it needs no half-full test (FULL does not stop
    it)."""
    system = machine("order 0: M[50] \n order 3: R[40] M[8] \n blocks: MMMMMRMM")
    system.kernel.nr_movable.update(FULL)
    assert take(system, 2, U) == 40
    assert_zone(system, "order 0: M[50] \n order 2: U[44] \n order 3: M[8] \n blocks: MMMMMUMM")


def test_claim_goes_by_order_before_type() -> None:
    """LPA-6.2.2: order 3 MOVABLE before order 2 RECLAIMABLE, although RECLAIMABLE comes first in the table."""
    system = machine("order 2: R[40] \n order 3: M[8] \n blocks: MMMMMRMM")
    assert take(system, 2, U) == 8
    assert_zone(system, "order 2: U[12] R[40] \n blocks: MUMMMRMM")


def test_big_claim_is_traced_as_extfrag_only() -> None:
    """LPA-6.3.2, LPA-15.1.12, LPA-15.1.9, LPA-6.2.8: no zone_locked event and no boost."""
    system = machine("order 4: M[0]", watermark_boost_factor=15000, watermark=(0, 0, 10, 10))
    log = traced(system)
    assert take(system, 1, R, gfp.ALLOC_KSWAPD) == 0
    # alloc order 1, fallback order 4, alloc type R, fallback type M, the block's type now R
    assert log.take() == [("frag", 0, 1, 4, R, M, R, 0)]
    assert (system.zones[0].watermark_boost, system.zones[0].flags) == (0, 0)


def test_big_claim_is_two_changes_of_the_counter() -> None:
    """LPA-14.0.14, LPA-14.0.2: -16 (folds at a threshold of 10), then +15 (folds too): -1 in the counter and nothing in
    the diff. A single change of -1 would have stayed in the diff."""
    system = machine("order 4: M[0]", vm_stat_threshold=10)
    zone = system.zones[0]
    assert take(system, 0, U) == 0
    assert (zone.nr_free_pages, zone.per_cpu_zonestats[0].nr_free_pages_diff) == (15, 0)
    # -8, +7: with a diff of -4 the first one folds (-12), and the second stays
    system = machine("order 3: M[0]", vm_stat_threshold=10)
    zone = system.zones[0]
    zone.nr_free_pages, zone.per_cpu_zonestats[0].nr_free_pages_diff = 12, -4
    assert take(system, 0, U) == 0
    assert (zone.nr_free_pages, zone.per_cpu_zonestats[0].nr_free_pages_diff) == (0, 7)


# --- part-block claims: half a block -----------------------------------------------------------


@pytest.mark.parametrize(
    ("free_order", "mt", "block_mt", "movable", "claimed"),
    [
        # LPA-6.3.7: UNMOVABLE from MOVABLE: what is neither free nor movable is alike
        (2, U, M, 4, True),  # free 4 are enough
        (1, U, M, 4, True),  # free 2 + alike 8-2-4: exactly half
        (1, U, M, 5, False),  # free 2 + alike 1
        (1, U, M, 6, False),  # free 2 + alike 0
        (0, R, M, 4, True),  # free 1 + alike 3
        (0, R, M, 5, False),  # free 1 + alike 2
        # MOVABLE from another type: the movable pages are alike
        (1, M, U, 2, True),  # free 2 + alike 2
        (1, M, U, 1, False),
        (1, M, R, 2, True),
        (1, M, R, 0, False),
        # UNMOVABLE and RECLAIMABLE from each other: nothing is alike, only free pages count
        (2, U, R, 0, True),
        (1, U, R, 0, False),
        (1, R, U, 6, False),
    ],
)
def test_half_a_block(free_order: int, mt: int, block_mt: int, movable: int, claimed: bool) -> None:
    """LPA-6.3.6, LPA-6.3.7, LPA-6.3.8, LPA-6.3.13: one free block in the pageblock 8..15, the rest of it in use.

    The page comes from the claimed block either way; only the block's type tells a claim from a steal."""
    old, new = "UMR"[block_mt], "UMR"[mt]
    system = machine(f"order {free_order}: {old}[8] \n blocks: H{old}HHHHHH")
    system.kernel.nr_movable[1] = movable
    assert take(system, free_order, mt) == 8
    assert_zone(system, f"blocks: H{new if claimed else old}HHHHHH")


def test_a_pcp_page_is_not_free_for_the_half_rule() -> None:
    """LPA-6.3.6: only buddy blocks count as free: 3 of the free pages are on a PCP list and not on an LRU, so for a
    RECLAIMABLE block they count neither way: 2 < 4."""
    system = machine("order 1: R[8] \n pcp0 o0: R[10 11 12] \n blocks: HRHHHHHH")
    assert take(system, 0, U) == 8
    assert_zone(system, "order 0: R[9] \n pcp0 o0: R[10 11 12] \n blocks: HRHHHHHH")


def test_claim_moves_all_free_blocks_of_the_pageblock() -> None:
    """LPA-6.3.9, LPA-6.3.10, LPA-6.3.11: the candidate is 4, order 2, but the page is the smallest fitting block
    moved: 1.

    1, 2 and 4 go to UNMOVABLE; 16 is in another pageblock."""
    system = machine("order 0: M[16 1] \n order 1: M[2] \n order 2: M[4] \n blocks: MMMMMMMM")
    log = traced(system)
    assert take(system, 0, U) == 1
    assert_zone(system, "order 0: M[16] \n order 1: U[2] \n order 2: U[4] \n blocks: UMMMMMMM")
    # LPA-6.3.12, LPA-15.1.11: zone_locked, then extfrag with the same pfn and the candidate's order
    assert log.take() == [("zlock", 0, 0, U, 1, 1), ("frag", 0, 0, 2, U, M, U, 1)]


def test_claim_takes_the_lowest_pfn_of_an_order() -> None:
    """LPA-6.3.9, LPA-6.3.11: the block's pages were listed 7, 1; they are moved in PFN order, and 1 is taken."""
    system = machine("order 0: M[7 1 16] \n order 1: M[2] \n blocks: MMMMMMMM")
    assert take(system, 0, R) == 1
    assert_zone(system, "order 0: M[16] R[7] \n order 1: R[2] \n blocks: RMMMMMMM")


def test_claim_ends_at_the_requested_order() -> None:
    """LPA-6.2.1: without NOFRAGMENT the lowest order is the request's: order-0 blocks are no candidates for order 1."""
    system = machine("order 0: M[1 8] \n blocks: MMMMMMMM")
    assert take(system, 1, U) is None
    assert_zone(system, "order 0: M[1 8] \n blocks: MMMMMMMM")


def test_one_candidate_an_order() -> None:
    """LPA-6.2.7: at order 1 only the head, 2, is tried; its block is full of movable pages and fails (2 + 0 < 4).
    20 would have done (2 + 6), but the search goes on at order 0: 9, whose block has 7 unmovable pages, is claimed."""
    system = machine("order 0: M[9] \n order 1: M[2 20]")
    system.kernel.nr_movable[0] = 6
    assert take(system, 0, U) == 9
    assert_zone(system, "order 1: M[2 20] \n blocks: MUMMMMMM")


def test_the_next_type_is_not_tried_at_an_order() -> None:
    """LPA-6.2.6, LPA-6.2.7: RECLAIMABLE is first in the table and fails (2 free, nothing alike); MOVABLE's 20,
    claimable, has the same order and is not looked at.  The steal then takes the RECLAIMABLE block."""
    system = machine("order 1: R[2] M[20] \n blocks: RMMMMMMM")
    assert take(system, 0, U) == 2
    assert_zone(system, "order 0: R[3] \n order 1: M[20] \n blocks: RMMMMMMM")


def test_straddling_pageblock_is_not_claimed() -> None:
    """LPA-6.3.5: the zone ends at 12, inside the pageblock 8..15: stolen from, never converted; the same at a zone that
    starts at pfn 1, as ZONE_DMA does."""
    system = machine("order 2: M[8] \n blocks: MM", pages=12)
    assert take(system, 2, U) == 8
    assert_zone(system, "blocks: MM")
    zones = (small_zone(gfp.ZONE_DMA, 1, 15, managed_pages=15, reserved=((1, 15),)),)
    system = System.boot(config(zones=zones, vm_stat_threshold=0))
    fill(system, "order 2: M[4] \n blocks: MM")
    assert take(system, 2, U) == 4
    assert_zone(system, "blocks: MM")


# --- MOVABLE requests and low orders -----------------------------------------------------------


def test_movable_does_not_claim_low_orders() -> None:
    """LPA-6.2.3: with pageblock_order 4 orders 0 and 1 are too low for a MOVABLE claim: the page is stolen instead,
    although 16..31 could be claimed (1 free + 15 movable)."""
    system = machine("order 0: U[16] \n blocks: HUHH", pageblock_order=4, max_page_order=5)
    system.kernel.nr_movable[1] = 15
    log = traced(system)
    assert take(system, 0, M) == 16
    assert_zone(system, "blocks: HUHH")
    assert log.take() == [("frag", 0, 0, 0, M, U, U, 16)]


def test_movable_claims_from_half_the_pageblock_order_on() -> None:
    """LPA-6.2.4: order 2 is half of pageblock_order 4: claimed."""
    system = machine("order 2: U[16] \n blocks: HUHH", pageblock_order=4, max_page_order=5)
    system.kernel.nr_movable[1] = 12
    assert take(system, 0, M) == 16
    assert_zone(system, "order 0: M[17] \n order 1: M[18] \n blocks: HMHH")


def test_without_mobility_grouping_everything_is_claimed() -> None:
    """LPA-6.2.4, LPA-6.3.8: low orders are tried and the half rule is waived."""
    system = machine(
        "order 0: M[16] \n blocks: HMHH", pageblock_order=4, max_page_order=5, page_group_by_mobility_disabled=True
    )
    system.kernel.nr_movable[1] = 15
    assert take(system, 0, U) == 16
    assert_zone(system, "blocks: HUHH")


# --- NOFRAGMENT --------------------------------------------------------------------------------


def test_nofragment_claims_whole_pageblocks_only() -> None:
    """LPA-6.2.1, LPA-6.1.7: order 2 is below pageblock_order, so it is neither claimed nor stolen; order 3 is
    claimed."""
    system = machine("order 2: M[0]")
    assert take(system, 0, U, gfp.ALLOC_NOFRAGMENT) is None
    assert_zone(system, "order 2: M[0] \n blocks: MMMMMMMM")
    system = machine("order 2: M[0] \n order 3: M[8]")
    assert take(system, 0, U, gfp.ALLOC_NOFRAGMENT) == 8
    assert_zone(system, "order 0: U[9] \n order 1: U[10] \n order 2: M[0] U[12] \n blocks: MUMMMMMM")


def test_nofragment_with_a_large_request() -> None:
    """LPA-6.2.1: for an order of a pageblock and more the lowest order is the request's: order 3 will not do for 4."""
    system = machine("order 3: M[0 16]")
    assert take(system, 4, U, gfp.ALLOC_NOFRAGMENT) is None
    assert take(system, 3, U, gfp.ALLOC_NOFRAGMENT) == 0


# --- steal -------------------------------------------------------------------------------------


def test_steal_takes_the_smallest_and_leaves_the_type() -> None:
    """LPA-6.4.1, LPA-6.4.2, LPA-6.4.3, LPA-6.4.4: the blocks are full of movable pages, so nothing can be claimed;
    order 1 is the smallest that fits.  The remainder stays MOVABLE, at the head; extfrag alone is traced."""
    system = machine("order 0: M[24] \n order 1: M[2 10]")
    system.kernel.nr_movable.update(FULL)
    log = traced(system)
    assert take(system, 0, U) == 24
    assert take(system, 0, U) == 2
    assert_zone(system, "order 0: M[3] \n order 1: M[10] \n blocks: MMMMMMMM")
    assert log.take() == [("frag", 0, 0, 0, U, M, M, 24), ("frag", 0, 0, 1, U, M, M, 2)]


def test_nothing_left_at_all() -> None:
    """LPA-6.4.1: own lists, claim and steal all empty."""
    system = machine("order 0: H[24] \n blocks: MMMHMMMM")
    assert take(system, 0, M) is None


# --- boost -------------------------------------------------------------------------------------


def test_a_failed_claim_boosts() -> None:
    """LPA-6.3.3, LPA-6.3.4, LPA-11.3.3, LPA-11.3.4: two candidates (orders 1 and 0) fail, each boosts by a pageblock;
    the cap is 10 * 1.5 = 15.  KSWAPD sets the flag."""
    system = machine("order 0: M[24] \n order 1: M[2]", watermark_boost_factor=15000, watermark=(0, 0, 10, 0))
    system.kernel.nr_movable.update(FULL)
    zone = system.zones[0]
    assert take(system, 0, U, gfp.ALLOC_KSWAPD) == 24
    assert (zone.watermark_boost, zone.flags) == (15, gfp.ZONE_BOOSTED_WATERMARK)


def test_boost_without_kswapd() -> None:
    """LPA-6.3.4, LPA-11.3.4: one part-block claim, 8 pages; without KSWAPD nobody is to be woken."""
    system = machine("order 2: M[0]", watermark_boost_factor=15000, watermark=(0, 0, 10, 0))
    assert take(system, 2, U) == 0
    assert (system.zones[0].watermark_boost, system.zones[0].flags) == (8, 0)


@pytest.mark.parametrize(
    ("fields", "boosts", "boost"),
    [
        ({"watermark_boost_factor": 0}, False, 0),  # LPA-11.3.1: turned off
        ({"managed_pages": 31}, False, 0),  # LPA-11.3.1: fewer than four pageblocks
        ({"managed_pages": 32}, True, 8),
        ({"watermark": (0, 0, 0, 0)}, False, 0),  # LPA-11.3.1: early in boot there are no marks
        ({"watermark": (0, 0, 2, 0)}, True, 8),  # LPA-11.3.3: the cap is at least a pageblock
        ({"watermark": (0, 0, 20000, 0), "watermark_boost_factor": 4}, True, 8),  # 2*4 + 0
    ],
)
def test_boost_watermark(fields: dict[str, Any], boosts: bool, boost: int) -> None:
    """LPA-11.3.1, LPA-11.3.3, LPA-11.3.4."""
    boosted: dict[str, Any] = {"watermark_boost_factor": 15000, "watermark": (0, 0, 10, 0)}
    system = machine(**(boosted | fields))
    zone = system.zones[0]
    assert fallback.boost_watermark(system.kernel, zone) is boosts
    assert zone.watermark_boost == boost
    if boosts:
        for _ in range(4):
            assert fallback.boost_watermark(system.kernel, zone)
        high, factor = zone.watermark[2], system.kernel.config.watermark_boost_factor
        assert zone.watermark_boost == min(40, max(8, high * factor // 10000))


def test_boost_cap_on_a_live_machine() -> None:
    """LPA-11.3.3: high 11595: cap = 1*15000 + 1595*15000/10000 = 17392; after 34 steps of 512 the cap is reached."""
    system = machine(
        pages=4096, pageblock_order=9, max_page_order=10, watermark=(0, 0, 11595, 0), watermark_boost_factor=15000
    )
    boosts = []
    for _ in range(35):
        fallback.boost_watermark(system.kernel, system.zones[0])
        boosts.append(system.zones[0].watermark_boost)
    assert boosts[:2] == [512, 1024]
    assert boosts[32:] == [33 * 512, 17392, 17392]


# --- CMA ---------------------------------------------------------------------------------------


def test_cma_is_used_when_own_lists_are_empty() -> None:
    """LPA-6.1.5, LPA-13.0.1: with ALLOC_CMA the CMA block comes before any claim; the mode then stays CMA."""
    system = machine("order 0: C[8] \n order 2: U[0] \n blocks: UCMMMMMM")
    mode = RmqueueMode()
    assert take(system, 0, M, gfp.ALLOC_CMA, mode) == 8
    assert mode.value == RMQUEUE_CMA
    assert_zone(system, "order 2: U[0] \n blocks: UCMMMMMM")


def test_cma_is_not_used_without_the_flag() -> None:
    """LPA-6.1.5: CMA pages are for requests that can be migrated away."""
    system = machine("order 0: C[8] \n order 2: M[0] \n blocks: MCMMMMMM")
    assert take(system, 0, U) == 0
    assert take_bulk(system, 5, U) == [1, 2, 3]


def test_own_lists_come_before_cma() -> None:
    """LPA-6.1.4: 8 pages of CMA against 8 others: not more than half, so MOVABLE's own lists come first."""
    system = machine("order 2: M[0 16] C[8 24] \n blocks: MCMCMMMM")
    mode = RmqueueMode()
    assert take(system, 0, M, gfp.ALLOC_CMA, mode) == 0
    assert mode.value == RMQUEUE_NORMAL


def test_cma_balance() -> None:
    """LPA-6.1.2: 12 of 20 free pages are CMA, more than half: CMA first, in any mode, and the mode stays."""
    system = machine("order 3: C[8] \n order 2: M[0 16] C[24] \n blocks: MCMCMMMM")
    for value in (RMQUEUE_NORMAL, RMQUEUE_STEAL):
        mode = RmqueueMode()
        mode.value = value
        assert take(system, 1, M, gfp.ALLOC_CMA, mode) == (24 if value == RMQUEUE_NORMAL else 26)
        assert mode.value == value
    # LPA-6.1.9: no ALLOC_CMA, no balance
    assert take(system, 1, M) == 0


def test_cma_balance_without_a_fitting_block() -> None:
    """LPA-6.1.2: more than half of the free pages are CMA, but not in a block of this order: own lists."""
    system = machine("order 0: C[8 10 12] \n order 1: M[0] \n blocks: MCMMMMMM")
    assert take(system, 1, M, gfp.ALLOC_CMA) == 0


# --- the mode, over the pages of one bulk ------------------------------------------------------


def test_after_a_steal_the_bulk_only_steals() -> None:
    """LPA-6.1.1, LPA-6.1.7, LPA-6.1.8: 1's block is full of movable pages, so 1 is stolen; 9 could be claimed (its
    block is not), but in mode STEAL claiming is skipped.  A new bulk starts NORMAL and claims 17's block."""
    system = machine("order 0: M[1 9 17]")
    system.kernel.nr_movable[0] = 7
    assert take_bulk(system, 2, U) == [1, 9]
    assert_zone(system, "order 0: M[17] \n blocks: MMMMMMMM")
    assert take_bulk(system, 2, U) == [17]
    assert_zone(system, "blocks: MMUMMMMM")


def test_after_a_claim_the_bulk_goes_on_with_its_own_lists() -> None:
    """LPA-6.1.6: 8..15 is claimed for the first page; the other seven come from it, and then 16..23 is claimed."""
    system = machine("order 3: M[8 16]")
    log = traced(system)
    assert take_bulk(system, 9, U) == [*range(8, 17)]
    assert [event[0] for event in log.take()] == ["frag", *["zlock"] * 7, "frag"]
    assert_zone(system, "order 0: U[17] \n order 1: U[18] \n order 2: U[20] \n blocks: MUUMMMMM")


def test_mode_cma_skips_own_lists() -> None:
    """LPA-6.1.8: with mode CMA the own page 0 is passed over as long as there is CMA, then comes the claim step."""
    system = machine("order 0: M[0] C[8] U[16] \n blocks: MCUMMMMM")
    system.kernel.nr_movable[2] = 7
    mode = RmqueueMode()
    mode.value = RMQUEUE_CMA
    assert take(system, 0, M, gfp.ALLOC_CMA, mode) == 8
    assert mode.value == RMQUEUE_CMA
    assert take(system, 0, M, gfp.ALLOC_CMA, mode) == 16  # pageblock_order 3: half is order 1, so this is stolen
    assert mode.value == RMQUEUE_STEAL
    assert_zone(system, "order 0: M[0] \n blocks: MCUMMMMM")


def test_highatomic_is_no_victim() -> None:
    """LPA-6.0.2: not even for a big claim."""
    system = machine("order 4: H[0] \n order 3: C[16] \n blocks: HHCMMMMM")
    assert take(system, 0, U) is None
    assert system.zones[0].nr_free_highatomic == 16
    assert [len(system.zones[0].free_area[o].free_list[mt]) for o, mt in ((4, H), (3, C))] == [1, 1]
