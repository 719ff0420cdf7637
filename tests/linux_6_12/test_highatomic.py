# SPDX-License-Identifier: GPL-2.0-only
"""The high-order atomic reserve.

A zone gets one only from 100 pageblocks on: 800 pages here."""

from __future__ import annotations

import pytest

from pageblock_buddy import System, gfp
from pageblock_buddy.linux_6_12 import alloc, highatomic
from tests.helpers import M, R, U, assert_zone, config, context_of, fill, machine, small_zone

#: above all marks' reach: the fast path fails, the slow path (min mark 0) does not
SLOW = (0, 5000, 5000, 5000)


def reserve(system: System, pfn: int, order: int) -> None:
    """reserve_highatomic_pageblock() in the first zone, as behind an allocation."""
    highatomic.reserve_highatomic_pageblock(system.kernel, pfn, order, system.zones[0])
    assert system.zones[0].lock.owner is None


def unreserve(system: System, force: bool, mt: int = U) -> bool:
    """unreserve_highatomic_pageblock() over all zones."""
    return highatomic.unreserve_highatomic_pageblock(system.kernel, context_of(system, mt), force)


def types(**blocks: str) -> str:
    """The block types of 800 pages: all M but the named ones (b0="H")."""
    letters = ["M"] * 100
    for name, letter in blocks.items():
        letters[int(name[1:])] = letter
    return "".join(letters)


# --- reserve -----------------------------------------------------------------------------------


def test_reserve_moves_the_pageblock() -> None:
    """LPA-7.0.11, LPA-3.0.7: the free pages of 8..15 go to the HIGHATOMIC tails, and 8 pages are reserved (not 4)."""
    system = machine("order 0: M[10] H[16] \n order 1: M[12 0] \n alloc: 8/1 \n blocks: " + types(b2="H"), pages=800)
    reserve(system, 8, 1)
    zone = system.zones[0]
    assert (zone.nr_reserved_highatomic, zone.nr_free_highatomic) == (8, 4)
    assert_zone(system, "order 0: H[16 10] \n order 1: M[0] H[12] \n blocks: " + types(b1="H", b2="H"))


def test_reserve_of_a_large_block() -> None:
    """LPA-7.0.12: order 4 is allocated whole: two pageblocks, 16 pages, and no free pages in them."""
    system = machine("alloc: 16/4", pages=1600)
    reserve(system, 16, 4)
    assert system.zones[0].nr_reserved_highatomic == 16
    assert system.kernel.pageblock_flags[1:5] == bytes([M, 3, 3, M])


def test_no_reserve_in_a_small_zone() -> None:
    """LPA-7.0.6: 799/100 = 7 is less than a pageblock."""
    system = machine("alloc: 8/1", pages=800, managed_pages=799)
    reserve(system, 8, 1)
    assert system.zones[0].nr_reserved_highatomic == 0
    assert_zone(system, "blocks: " + types())


@pytest.mark.parametrize(("managed", "limit"), [(800, 8), (899, 8), (900, 16), (1600, 16), (1700, 24)])
def test_limit(managed: int, limit: int) -> None:
    """LPA-7.0.7, LPA-7.0.9: one percent, rounded up to pageblocks; reserving stops when that much is reserved."""
    system = machine("alloc: 8/1 16/1 24/1 32/1", pages=800, managed_pages=managed)
    for pfn in (8, 16, 24, 32):
        reserve(system, pfn, 1)
    assert system.zones[0].nr_reserved_highatomic == limit
    assert bytes(system.kernel.pageblock_flags[1:5]).count(3) == limit // 8


def test_limit_is_checked_again_under_the_lock() -> None:
    """LPA-7.0.9: another CPU reserved a block between the first look and the lock."""
    system = machine("alloc: 8/1", pages=800)
    zone = system.zones[0]
    zone.nr_reserved_highatomic = 8
    highatomic._reserve_locked(system.kernel, 8, 1, zone, 8)
    assert zone.nr_reserved_highatomic == 8
    assert system.kernel.pageblock_flags[1] == M


@pytest.mark.parametrize("letter", ["H", "C", "I"])
def test_only_ordinary_blocks_are_reserved(letter: str) -> None:
    """LPA-7.0.10: a block that is reserved already, CMA or isolated stays what it is."""
    system = machine("alloc: 8/1 \n blocks: " + types(b1=letter), pages=1600)
    reserve(system, 8, 1)
    assert system.zones[0].nr_reserved_highatomic == 0
    assert_zone(system, "blocks: " + types(b1=letter) + "M" * 100)


def test_no_reserve_of_a_straddling_block() -> None:
    """LPA-7.0.11: the zone starts at 4, in the middle of the block 0..7."""
    zones = (small_zone(gfp.ZONE_DMA32, 4, 900, managed_pages=900, reserved=((4, 900),)),)
    system = System.boot(config(zones=zones, vm_stat_threshold=0))
    fill(system, "alloc: 4/1")
    reserve(system, 4, 1)
    assert system.zones[0].nr_reserved_highatomic == 0


# --- through the allocation --------------------------------------------------------------------


def test_atomic_allocation_reserves() -> None:
    """LPA-7.0.1, LPA-7.0.3, LPA-7.0.4, LPA-7.0.16: the low mark fails, so the slow path runs with ALLOC_HIGHATOMIC. The
    per-CPU list is refilled (2 of order 1, claimed for UNMOVABLE) and gives 0; then the block is reserved.  The other
    refilled page stays on its UNMOVABLE list."""
    system = machine("order 3: M[0 8]", pages=800, watermark=SLOW)
    assert system.alloc_pages(gfp.GFP_ATOMIC, 1) == 0
    assert_zone(system, "order 2: H[4] \n order 3: M[8] \n pcp0 o1: U[2] \n alloc: 0/1 \n blocks: " + types(b0="H"))
    assert system.zones[0].nr_reserved_highatomic == 8


@pytest.mark.parametrize(
    ("request_flags", "order"),
    [
        (gfp.GFP_ATOMIC, 0),  # order 0
        (gfp.GFP_NOWAIT, 1),  # no GFP_HIGH
        (gfp.GFP_KERNEL | gfp.GFP_HIGH, 1),  # may reclaim
        (gfp.GFP_ATOMIC | gfp.GFP_NOMEMALLOC, 1),  # LPA-9.3.2
    ],
)
def test_other_allocations_do_not_reserve(request_flags: int, order: int) -> None:
    """LPA-7.0.3, LPA-9.3.2."""
    system = machine("order 3: M[0 8]", pages=800, watermark=SLOW)
    assert system.alloc_pages(request_flags, order) == 0
    assert system.zones[0].nr_reserved_highatomic == 0


def test_the_fast_path_does_not_reserve() -> None:
    """LPA-7.0.4: above the marks there is no ALLOC_HIGHATOMIC in 6.12."""
    system = machine("order 3: M[0 8]", pages=800)
    assert system.alloc_pages(gfp.GFP_ATOMIC, 1) == 0
    assert system.zones[0].nr_reserved_highatomic == 0


def test_the_reserve_is_used_first() -> None:
    """LPA-7.0.14, LPA-9.2.15: an order-4 atomic request (no PCP list) takes the reserved block, not MOVABLE's."""
    system = machine("order 4: M[0] H[16] \n blocks: " + types(b2="H", b3="H"), pages=800, watermark=SLOW)
    assert system.alloc_pages(gfp.GFP_ATOMIC, 4) == 16
    assert_zone(system, "order 4: M[0] \n alloc: 16/4 \n blocks: " + types(b2="H", b3="H"))


def test_pcp_wins_over_the_reserve() -> None:
    """LPA-7.0.16: order 1 has PCP lists: the page there is taken although the reserve has one."""
    system = machine(
        "order 1: H[16] \n pcp0 o1: U[8] \n blocks: " + types(b2="H"), pages=800, watermark=SLOW, managed_pages=799
    )
    system.zones[0].nr_free_pages += 10  # so that the zone is not empty for the min mark
    system.zones[0].per_cpu_zonestats[0].nr_free_pages_diff -= 10
    assert system.alloc_pages(gfp.GFP_ATOMIC, 1) == 8


def test_the_reserve_is_used_last() -> None:
    """LPA-7.0.15: order 0, everything else is gone: NON_BLOCK (GFP_ATOMIC, GFP_NOWAIT) and OOM may take it."""
    for flags, pfn in ((gfp.ALLOC_NON_BLOCK, 16), (gfp.ALLOC_OOM, 16), (gfp.ALLOC_MIN_RESERVE, None), (0, None)):
        system = machine("order 0: H[16] \n blocks: " + types(b2="H"), pages=800)
        assert alloc.rmqueue_buddy(system.kernel, system.zones[0], 0, flags, M) == pfn
        assert system.zones[0].nr_free_highatomic == (0 if pfn else 1)


def test_other_types_come_before_the_last_resort() -> None:
    """LPA-7.0.15: with NON_BLOCK alone the reserve waits until the fallbacks failed."""
    system = machine("order 0: M[8] H[16] \n blocks: " + types(b2="H"), pages=800)
    k, zone = system.kernel, system.zones[0]
    assert [alloc.rmqueue_buddy(k, zone, 0, gfp.ALLOC_NON_BLOCK, U) for _ in range(3)] == [8, 16, None]


def test_frees_into_the_reserve() -> None:
    """LPA-7.0.18, LPA-8.4.5: via the MOVABLE PCP list; the drain reads the block's type again."""
    system = machine("alloc: 16/0 17/0 \n blocks: " + types(b2="H"), pages=800)
    system.free_pages(16)
    assert_zone(system, "pcp0 o0: M[16] \n alloc: 17/0 \n blocks: " + types(b2="H"))
    system.drain_local_pages()
    assert_zone(system, "order 0: H[16] \n alloc: 17/0 \n blocks: " + types(b2="H"))


# --- unreserve ---------------------------------------------------------------------------------


def test_unreserve_keeps_one_block_unless_forced() -> None:
    """LPA-7.0.20, LPA-7.0.23, LPA-7.0.22: a single reserved block goes back only with force: all free pages of it, to
    the tail of the request's type."""
    text = "order 0: R[24] H[18] \n order 2: H[20] \n blocks: " + types(b2="H", b3="R")
    system = machine(text, pages=800)
    system.zones[0].nr_reserved_highatomic = 8
    assert not unreserve(system, False, R)
    assert_zone(system, text)
    assert unreserve(system, True, R)
    assert_zone(system, "order 0: R[24 18] \n order 2: R[20] \n blocks: " + types(b2="R", b3="R"))
    assert system.zones[0].nr_reserved_highatomic == 0


def test_unreserve_takes_the_smallest_order_s_head() -> None:
    """LPA-7.0.21: two blocks are reserved; order 0 has none, order 1 has 26 in front: block 24..31 goes."""
    system = machine("order 1: H[26 16] \n order 2: H[20 28] \n blocks: " + types(b2="H", b3="H"), pages=1600)
    system.zones[0].nr_reserved_highatomic = 16
    assert unreserve(system, False)
    assert_zone(system, "order 1: U[26] H[16] \n order 2: U[28] H[20] \n blocks: " + types(b2="H", b3="U") + "M" * 100)
    assert system.zones[0].nr_reserved_highatomic == 8
    assert not unreserve(system, False)


def test_unreserve_of_a_large_block() -> None:
    """LPA-7.0.24, LPA-7.0.22: an order-4 block goes back whole: 16 pages, two pageblocks."""
    system = machine("order 4: M[0] H[16] \n blocks: " + types(b2="H", b3="H"), pages=1600)
    system.zones[0].nr_reserved_highatomic = 24
    assert unreserve(system, False, M)
    assert_zone(system, "order 4: M[0 16] \n blocks: " + "M" * 200)
    assert system.zones[0].nr_reserved_highatomic == 8


def test_unreserve_counts_at_least_a_pageblock() -> None:
    """LPA-7.0.22: clamped to what is counted as reserved."""
    system = machine("order 0: H[16] \n blocks: " + types(b2="H"), pages=800)
    system.zones[0].nr_reserved_highatomic = 5
    assert unreserve(system, True)
    assert system.zones[0].nr_reserved_highatomic == 0


def test_unreserve_with_nothing_free() -> None:
    """LPA-7.0.21: the reserved block is in use entirely."""
    system = machine("alloc: 16/3 \n blocks: " + types(b2="H"), pages=800)
    system.zones[0].nr_reserved_highatomic = 8
    assert not unreserve(system, True)
    assert system.zones[0].nr_reserved_highatomic == 8


def test_unreserve_walks_the_zonelist() -> None:
    """LPA-7.0.20: DMA32 first; it has nothing reserved, so DMA gives."""
    zones = (
        small_zone(gfp.ZONE_DMA, 0, 16, managed_pages=16, reserved=((0, 16),)),
        small_zone(gfp.ZONE_DMA32, 16, 16, managed_pages=16, reserved=((16, 16),)),
    )
    system = System.boot(config(zones=zones, vm_stat_threshold=0))
    fill(system, "order 0: H[0] \n blocks: HM")
    system.zones[0].nr_reserved_highatomic = 16
    assert unreserve(system, False)
    assert_zone(system, "order 0: U[0] \n blocks: UM")


def test_a_straddling_reserved_block_is_passed_over() -> None:
    """LPA-7.0.21, LPA-6.3.5: no such block is ever reserved (LPA-7.0.11); if there were one, the next order is
    tried."""
    zones = (small_zone(gfp.ZONE_DMA32, 4, 60, managed_pages=60, reserved=((4, 60),)),)
    system = System.boot(config(zones=zones, vm_stat_threshold=0))
    fill(system, "order 0: H[4] \n order 1: H[8] \n blocks: HHMMMMMM")
    system.zones[0].nr_reserved_highatomic = 16
    assert unreserve(system, True, R)
    assert_zone(system, "order 0: H[4] \n order 1: R[8] \n blocks: HRMMMMMM")
    assert system.zones[0].nr_reserved_highatomic == 0


def test_facade() -> None:
    """LPA-7.0.20, LPA-7.0.23: System.unreserve_highatomic() uses the request's type and zonelist."""
    system = machine("order 0: H[16] \n blocks: " + types(b2="H"), pages=800)
    system.zones[0].nr_reserved_highatomic = 8
    request = gfp.GFP_KERNEL | gfp.GFP_RECLAIMABLE
    assert not system.unreserve_highatomic(request)
    assert not system.unreserve_highatomic(request | gfp.GFP_DMA, force=True)
    assert system.unreserve_highatomic(request, force=True)
    assert_zone(system, "order 0: R[16] \n blocks: " + types(b2="R"))
