# SPDX-License-Identifier: GPL-2.0-only
"""Frees: onto the running CPU's lists, flushes, batches of folios, references."""

from __future__ import annotations

import pytest

from pageblock_buddy import BadArgument, BadFree, CallerError, Context, DoubleFree, OrderMismatch, System, gfp
from pageblock_buddy.linux_6_12 import free
from tests.helpers import (
    MOVABLE,
    R,
    assert_zone,
    config,
    drawing_of,
    fill,
    interrupt,
    kinds,
    limits,
    machine,
    pcp_of,
    small_zone,
    traced,
)

BELOW = gfp.ZONE_BELOW_HIGH
PREV, BATCH = gfp.PCPF_PREV_FREE_HIGH_ORDER, gfp.PCPF_FREE_HIGH_BATCH


def pages(count: int, first: int = 0) -> str:
    """An ``alloc`` line of ``count`` single pages that are no buddies of each other."""
    return "alloc: " + " ".join(f"{first + 2 * i}/0" for i in range(count))


# --- onto the list -----------------------------------------------------------------------------


def test_free_goes_to_the_head_of_the_list() -> None:
    """LPA-8.4.9, LPA-8.4.8, LPA-14.0.10: hottest first; the zone does not see the page."""
    system = machine("order 0: M[1] \n alloc: 9/0")
    system.free_pages(9)
    assert_zone(system, "order 0: M[1] \n pcp0 o0: M[9]")
    assert (system.kernel.pgfree, pcp_of(system).count) == (1, 1)


def test_the_last_freed_is_allocated_first() -> None:
    """LPA-8.4.9, LPA-8.2.8."""
    system = machine("order 4: M[32] \n " + pages(3))
    for pfn in (0, 4, 2):
        system.free_pages(pfn)
    assert_zone(system, "order 4: M[32] \n pcp0 o0: M[2 4 0]")
    assert [system.alloc_pages(MOVABLE) for _ in range(3)] == [2, 4, 0]


@pytest.mark.parametrize(("block", "on_list"), [("U", "U"), ("M", "M"), ("R", "R"), ("H", "M"), ("C", "M")])
def test_the_pageblock_s_type_chooses_the_list(block: str, on_list: str) -> None:
    """LPA-8.4.3, LPA-8.4.5, LPA-7.0.18, LPA-13.0.2: not the type that was requested; HIGHATOMIC and CMA use
    MOVABLE's."""
    system = machine(f"alloc: 8/1 \n blocks: M{block}MMMMMM")
    system.free_pages(8, 1)
    assert_zone(system, f"pcp0 o1: {on_list}[8] \n blocks: M{block}MMMMMM")


def test_isolated_pages_go_to_the_zone() -> None:
    """LPA-8.4.4: straight to the ISOLATE list, not counted as free (LPA-3.0.5), no PCP field touched."""
    system = machine("alloc: 8/0 \n blocks: MIMMMMMM")
    pcp = limits(pcp_of(system), alloc_factor=4)
    system.free_pages(8)
    assert_zone(system, "order 0: I[8] \n blocks: MIMMMMMM")
    assert (pcp.alloc_factor, system.zones[0].nr_free_pages, system.kernel.pgfree) == (4, 0, 1)


def test_other_orders_go_to_the_zone() -> None:
    """LPA-8.4.1, LPA-4.3.7, LPA-10.0.1, LPA-8.4.2: order 4 has no lists here: FPI_NONE, so the head."""
    system = machine("order 4: M[0] \n alloc: 16/4")
    log = traced(system, outer=True)
    system.free_pages(16, 4)
    assert_zone(system, "order 4: M[16 0]")
    assert log.take() == [("free", 0, 4, 16)]


def test_huge_pages_go_to_the_list() -> None:
    """LPA-8.1.3, LPA-8.1.2: the order of a pageblock has lists; UNMOVABLE and RECLAIMABLE share one."""
    system = machine("alloc: 0/4 16/4 \n blocks: RMMM", pageblock_order=4, max_page_order=5, high_min=99, high_max=99)
    system.free_pages(0, 4)
    system.free_pages(16, 4)
    assert_zone(system, "pcp0 o4: U[0] M[16] \n blocks: RMMM")
    assert pcp_of(system).count == 32


def test_the_running_cpu_s_list() -> None:
    """LPA-8.4.7: CPU 1 frees what CPU 0 allocated: it goes to CPU 1's list, and comes back from there."""
    system = machine("order 3: M[8]", nr_cpus=2)
    assert system.alloc_pages(MOVABLE) == 8
    with system.on_cpu(1):
        system.free_pages(8)
        assert_zone(system, "order 1: M[10] \n order 2: M[12] \n pcp0 o0: M[9] \n pcp1 o0: M[8]")
        assert system.alloc_pages(MOVABLE) == 8


def test_the_page_s_zone() -> None:
    """LPA-8.4.7: and the zone of the page chooses the pageset."""
    zones = (
        small_zone(gfp.ZONE_DMA, 0, 16, managed_pages=16, reserved=((0, 16),)),
        small_zone(gfp.ZONE_DMA32, 16, 16, managed_pages=16, reserved=((16, 16),)),
    )
    system = System.boot(config(zones=zones, vm_stat_threshold=0))
    fill(system, "alloc: 3/0")
    system.free_pages(3)
    assert_zone(system, "pcp0 o0: M[3]")
    assert_zone(system, "", system.zones[1])


@pytest.mark.parametrize("context", [Context.HARDIRQ, Context.SOFTIRQ])
def test_interrupt_while_the_list_is_locked(context: Context) -> None:
    """LPA-8.4.6, LPA-16.0.3: the trylock fails: free_one_page() to the buddy, where it may merge; only mm_page_free is
    traced, and alloc_factor stays."""
    system = machine("order 0: M[8] \n alloc: 9/0 \n pcp0 o0: M[17]")
    pcp = limits(pcp_of(system), alloc_factor=4)
    log = traced(system, outer=True)
    with interrupt(system, pcp, context):
        system.free_pages(9)
    assert_zone(system, "order 1: M[8] \n pcp0 o0: M[17]")
    assert (kinds(log.take()), pcp.alloc_factor, system.kernel.pgfree) == (["free"], 4, 1)


def test_interrupted_free_into_the_reserve() -> None:
    """LPA-8.4.6: the pageblock's type is read again on the way to the buddy: HIGHATOMIC, not MOVABLE."""
    system = machine("alloc: 9/0 \n blocks: MHMMMMMM")
    with interrupt(system, pcp_of(system)):
        system.free_pages(9)
    assert_zone(system, "order 0: H[9] \n blocks: MHMMMMMM")


# --- counters of a commit ----------------------------------------------------------------------


def test_a_free_halves_the_alloc_factor() -> None:
    """LPA-8.4.8: 5 -> 2 -> 1 -> 0."""
    system = machine(pages(3))
    pcp = limits(pcp_of(system), alloc_factor=5)
    factors = []
    for pfn in (0, 2, 4):
        system.free_pages(pfn)
        factors.append(pcp.alloc_factor)
    assert factors == [2, 1, 0]


def test_free_count() -> None:
    """LPA-8.4.14: grows by the pages freed while it is below batch << 5 (64 here), so it can end above."""
    system = machine("alloc: 0/0 8/2 16/2 24/2", high_min=90, high_max=90)
    pcp = limits(pcp_of(system), free_count=58)
    counts = []
    for pfn, order in ((0, 0), (8, 2), (16, 2), (24, 2)):
        system.free_pages(pfn, order)
        counts.append(pcp.free_count)
    assert counts == [59, 63, 67, 67]


def test_prev_free_high_order() -> None:
    """LPA-8.4.13: set by orders 1..3, cleared by order 0 and by huge pages; FREE_HIGH_BATCH is left alone."""
    system = machine(
        "alloc: 0/0 2/1 8/3 16/4 32/4",
        pageblock_order=4,
        max_page_order=5,
        high_min=99,
        high_max=99,
        llc_pages_per_cpu=100,
    )
    pcp = pcp_of(system)
    flags = []
    for pfn, order in ((2, 1), (0, 0), (8, 3), (16, 4), (32, 4)):
        system.free_pages(pfn, order)
        flags.append(pcp.flags)
    assert flags == [BATCH | PREV, BATCH, BATCH | PREV, BATCH, BATCH]


# --- flush -------------------------------------------------------------------------------------


def test_flush_at_high() -> None:
    """LPA-8.4.16, LPA-8.4.26, LPA-8.5.3, LPA-8.4.25: high 4 fixed, batch 2.  The fourth free reaches it: free_count 4,
    cut to 4 - 2 = 2: the two oldest, 0 and 2, leave; neither merges (the odd pages are not free)."""
    system = machine(pages(4), high_min=4, high_max=4)
    for pfn in (0, 2, 4):
        system.free_pages(pfn)
    assert_zone(system, "pcp0 o0: M[4 2 0]")
    log = traced(system)
    system.free_pages(6)
    assert_zone(system, "order 0: M[2 0] \n pcp0 o0: M[6 4]")
    assert log.take() == [("drain", 0, 0, 1, 0), ("drain", 0, 0, 1, 2)]
    assert system.kernel.pgfree == 4


def test_flush_starts_with_the_list_of_the_freed_page() -> None:
    """LPA-8.4.16, LPA-8.5.9, LPA-8.5.2: an UNMOVABLE page (list 0) and two MOVABLE ones are there; the free of 24
    (RECLAIMABLE, list 2) reaches high 4.  The flush of two starts at list 2 with 24 itself, and goes on over 3..11 to
    list 0."""
    system = machine("pcp0 o0: U[0] M[8 10] \n alloc: 24/0 \n blocks: UMMRMMMM", high_min=4, high_max=4)
    system.free_pages(24)
    assert_zone(system, "order 0: U[0] R[24] \n pcp0 o0: M[8 10] \n blocks: UMMRMMMM")


def test_flush_size_follows_free_count() -> None:
    """LPA-8.4.25: a long row of frees flushes more: free_count 5 + 1, high 8 - batch 2 = 6."""
    system = machine("pcp0 o0: M[0 2 4 8 10 12 16] \n alloc: 18/0")
    limits(pcp_of(system), free_count=5)
    system.free_pages(18)
    assert_zone(system, "order 0: M[2 4 8 10 12 16] \n pcp0 o0: M[18 0]")


def test_high_grows_but_the_old_one_counts() -> None:
    """LPA-8.4.23, LPA-8.4.24: count 4 >= high 4 and free_count 7 + batch 2 = 9: high becomes 9, but this free still
    flushes by the old one: clamp(7, 2, 4 - 2) = 2 pages; the next frees keep up to 9."""
    system = machine("pcp0 o0: M[0 2 4] \n alloc: 8/0 10/0", high_min=4, high_max=50)
    pcp = limits(pcp_of(system), free_count=6)
    system.free_pages(8)
    assert_zone(system, "order 0: M[2 4] \n pcp0 o0: M[8 0]")
    assert (pcp.high, pcp.free_count) == (9, 7)
    system.free_pages(10)
    assert_zone(system, "order 0: M[2 4] \n pcp0 o0: M[10 8 0]")


def test_boot_pageset_flushes_each_free() -> None:
    """LPA-8.7.11, LPA-8.4.18, LPA-8.4.25: high 0, so count >= high, and one page is flushed."""
    system = machine("pcp0 o0: M[9] \n alloc: 4/0", high_min=0, high_max=0, batch=1)
    system.free_pages(4)
    assert_zone(system, "order 0: M[9] \n pcp0 o0: M[4]")


# --- free_high ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free_count", "flags", "on_list", "order", "flushed"),
    [
        # LPA-8.4.10, LPA-8.4.11: free_count >= batch (2), the free before was high-order, and no FREE_HIGH_BATCH
        (2, PREV, "", 1, True),
        (1, PREV, "", 1, False),  # 1 before this page is added (3 after)
        (2, 0, "", 1, False),  # the free before was not high-order
        (2, PREV, "", 0, False),  # order 0
        (2, PREV, "", 3, True),
        # with FREE_HIGH_BATCH count must reach a batch; it is taken after the add
        (2, PREV | BATCH, "", 1, True),  # 2 pages >= 2
    ],
)
def test_free_high(free_count: int, flags: int, on_list: str, order: int, flushed: bool) -> None:
    """LPA-8.4.10, LPA-8.4.11, LPA-8.4.19: a second high-order free in a row empties the lists: nr_pcp_high() returns
    0."""
    system = machine(f"alloc: 8/{order}", high_min=50, high_max=50)
    limits(pcp_of(system), free_count=free_count, flags=flags)
    system.free_pages(8, order)
    where = f"order {order}" if flushed else f"pcp0 o{order}"
    assert_zone(system, f"{where}: M[8]")


def test_free_high_waits_for_a_batch() -> None:
    """LPA-8.4.10: FREE_HIGH_BATCH and batch 4: count is 2, then 4 after the add: only the second free flushes, all
    of it."""
    system = machine("alloc: 8/1 16/1 24/1", batch=4, high_min=50, high_max=50)
    pcp = limits(pcp_of(system), free_count=4, flags=PREV | BATCH)
    system.free_pages(8, 1)
    assert_zone(system, "pcp0 o1: M[8]")
    system.free_pages(16, 1)
    assert_zone(system, "order 1: M[16 8]")
    assert pcp.count == 0


def test_free_high_flushes_everything_and_lowers_high() -> None:
    """LPA-8.4.19, LPA-8.4.25, LPA-8.5.2: min(count, batch << 5): from order 1's list round to order 0's; high: 100 -
    64 = 36."""
    system = machine("pcp0 o0: M[0 2] \n alloc: 8/1", high_min=20, high_max=200)
    pcp = limits(pcp_of(system), free_count=2, flags=PREV, high=100)
    system.free_pages(8, 1)
    assert_zone(system, "order 0: M[0 2] \n order 1: M[8]")
    assert (pcp.high, pcp.flags) == (36, PREV)


def test_huge_pages_never_flush_high() -> None:
    """LPA-8.4.10: above order 3 it is no free_high."""
    system = machine("alloc: 0/4", pageblock_order=4, max_page_order=5, high_min=50, high_max=50)
    limits(pcp_of(system), free_count=40, flags=PREV)
    system.free_pages(0, 4)
    assert_zone(system, "pcp0 o4: M[0]")


# --- BELOW_HIGH and RECLAIM_ACTIVE -------------------------------------------------------------


def test_below_high_is_cleared_by_a_flush() -> None:
    """LPA-8.4.17, LPA-8.4.22, LPA-11.4.2: below high every free is at the limit (max(count, high_min) with count 8),
    and flushes; 10 pages are then free, more than the high mark of 9: the flag goes.

    high: 20 - max(free_count 1, batch 2) = 18."""
    system = machine(
        "order 3: M[48] \n pcp0 o0: M[0 2 4 8 10 12 16] \n alloc: 18/0", watermark=(0, 0, 9, 9), high_max=50
    )
    zone, pcp = system.zones[0], limits(pcp_of(system), high=20)
    zone.flags = BELOW
    system.free_pages(18)
    assert_zone(system, "order 0: M[12 16] \n order 3: M[48] \n pcp0 o0: M[18 0 2 4 8 10]")
    assert (zone.flags, pcp.high) == (0, 18)


def test_below_high_stays_below_the_mark() -> None:
    """LPA-8.4.17: 10 free pages against a high mark of 10: not above it."""
    system = machine(
        "order 3: M[48] \n pcp0 o0: M[0 2 4 8 10 12 16] \n alloc: 18/0", watermark=(0, 0, 10, 10), high_max=50
    )
    system.zones[0].flags = BELOW
    system.free_pages(18)
    assert system.zones[0].flags == BELOW


def test_below_high_check_has_no_flags_and_zone_movable() -> None:
    """LPA-8.4.17, LPA-11.2.2: zone index MOVABLE (its lowmem_reserve counts) and no reserves: HIGHATOMIC pages are
    unusable."""
    text = "order 3: M[48] \n pcp0 o0: M[0 2 4 8 10 12 16] \n alloc: 18/0"
    for fields, flags in (((0, 0, 5, 0, 0), 0), ((0, 0, 0, 5, 0), BELOW)):
        system = machine(text, watermark=(0, 0, 9, 9), lowmem_reserve=fields)
        system.zones[0].flags = BELOW
        system.free_pages(18)
        assert system.zones[0].flags == flags


def test_without_a_flush_below_high_stays() -> None:
    """LPA-11.4.2: a free that does not flush does not look."""
    system = machine("order 4: M[0] \n alloc: 32/0")
    system.zones[0].flags = BELOW
    system.free_pages(32)
    assert_zone(system, "order 4: M[0] \n pcp0 o0: M[32]")
    assert system.zones[0].flags == BELOW


def test_reclaim_active_keeps_four_batches() -> None:
    """LPA-8.4.20, LPA-11.4.3, LPA-8.4.25: high 50, lowered to 48; kept are min(4*2, 48) = 8, so the eighth page flushes
    clamp(free_count 1, 2, 8 - 2) = 2."""
    system = machine("pcp0 o0: M[0 2 4 8 10 12 16] \n alloc: 18/0", high_max=50)
    pcp = limits(pcp_of(system), high=50)
    system.zones[0].flags = gfp.ZONE_RECLAIM_ACTIVE
    system.free_pages(18)
    assert_zone(system, "order 0: M[12 16] \n pcp0 o0: M[18 0 2 4 8 10]")
    assert pcp.high == 48


# --- batches of folios -------------------------------------------------------------------------


def test_folio_batch() -> None:
    """LPA-10.0.7, LPA-10.0.8, LPA-10.0.9: all are prepared first, and order 4 goes to the zone there; then the others,
    in array order, each traced before its commit."""
    system = machine("order 0: M[50] \n alloc: 8/0 16/4 10/1c 12/0")
    log = traced(system, outer=True)
    system.free_folios([(8, 0), (16, 4), (10, 1), (12, 0)])
    assert_zone(system, "order 0: M[50] \n order 4: M[16] \n pcp0 o0: M[12 8] \n pcp0 o1: M[10]")
    assert log.take() == [
        ("free", 0, 0, 8),
        ("free", 0, 4, 16),
        ("free", 0, 1, 10),
        ("free", 0, 0, 12),
        ("freeb", 0, 8),
        ("freeb", 0, 10),
        ("freeb", 0, 12),
    ]
    assert system.kernel.pgfree == 1 + 16 + 2 + 1


def test_folio_batch_over_two_zones() -> None:
    """LPA-10.0.10, LPA-8.4.7: DMA, DMA32, DMA: each page on its zone's list; no lock stays held."""
    zones = (
        small_zone(gfp.ZONE_DMA, 0, 16, managed_pages=16, reserved=((0, 16),)),
        small_zone(gfp.ZONE_DMA32, 16, 16, managed_pages=16, reserved=((16, 16),)),
    )
    system = System.boot(config(zones=zones, vm_stat_threshold=0))
    fill(system, "alloc: 3/0 5/0")
    fill(system, "alloc: 20/0", system.zones[1])
    system.free_folios([(3, 0), (20, 0), (5, 0)])
    assert_zone(system, "pcp0 o0: M[5 3]")
    assert_zone(system, "pcp0 o0: M[20]", system.zones[1])


def test_folio_batch_with_an_isolated_block() -> None:
    """LPA-10.0.10: 8 is isolated: the lock is dropped, 8 goes to the zone without a batched event, 17 takes it
    again."""
    system = machine("alloc: 1/0 8/0 17/0 24/0 \n blocks: MIMHMMMM")
    log = traced(system, outer=True)
    system.free_folios([(1, 0), (8, 0), (17, 0), (24, 0)])
    assert_zone(system, "order 0: I[8] \n pcp0 o0: M[24 17 1] \n blocks: MIMHMMMM")
    assert log.take()[4:] == [("freeb", 0, 1), ("freeb", 0, 17), ("freeb", 0, 24)]


def test_folio_batch_starts_with_an_isolated_block() -> None:
    """LPA-10.0.10: no lock is held yet."""
    system = machine("alloc: 8/0 \n blocks: MIMMMMMM")
    system.free_folios([(8, 0)])
    system.free_folios([])
    assert_zone(system, "order 0: I[8] \n blocks: MIMMMMMM")


def test_folio_batch_in_an_interrupt() -> None:
    """LPA-10.0.10, LPA-16.0.3: the trylock fails for each: to the zone, without batched events."""
    system = machine("alloc: 9/0 17/0")
    log = traced(system, outer=True)
    with interrupt(system, pcp_of(system)):
        system.free_folios([(9, 0), (17, 0)])
    assert_zone(system, "order 0: M[17 9]")
    assert kinds(log.take()) == ["free", "free"]


def test_folio_batch_flushes() -> None:
    """LPA-10.0.9: each commit is an ordinary one: high 4 is reached at the fourth folio."""
    system = machine(pages(4), high_min=4, high_max=4)
    system.free_folios([(pfn, 0) for pfn in (0, 2, 4, 6)])
    assert_zone(system, "order 0: M[2 0] \n pcp0 o0: M[6 4]")


# --- references --------------------------------------------------------------------------------


def test_free_with_another_reference() -> None:
    """LPA-10.0.2: somebody holds the first page of an order-3 block.  The tails are freed now, top half first: 12
    (order 2), 10 (order 1), 9 (order 0); 8 goes with its last reference, as order 0."""
    system = machine("alloc: 8/3", batch=16, high_min=64, high_max=64)
    log = traced(system, outer=True)
    system.get_page(8)
    system.free_pages(8, 3)
    assert_zone(system, "pcp0 o0: M[9] \n pcp0 o1: M[10] \n pcp0 o2: M[12] \n alloc: 8/0")
    assert log.take() == [("free", 0, 2, 12), ("free", 0, 1, 10), ("free", 0, 0, 9)]
    system.free_pages(8)
    assert_zone(system, "pcp0 o0: M[8 9] \n pcp0 o1: M[10] \n pcp0 o2: M[12] \n alloc:")


def test_free_of_a_large_block_with_another_reference() -> None:
    """LPA-10.0.2, LPA-8.4.10: order 4: 24 (order 3) goes onto its list.  With batch 2 the second high-order free, 20,
    is a free_high: both leave, 20's list first; the same for 18; 17, order 0, stays on its list."""
    system = machine("alloc: 16/4", high_min=50, high_max=50)
    system.get_page(16)
    log = traced(system)
    system.free_pages(16, 4)
    assert_zone(system, "order 1: M[18] \n order 2: M[20] \n order 3: M[24] \n pcp0 o0: M[17] \n alloc: 16/0")
    assert [event[4] for event in log.take()] == [20, 24, 18]


def test_free_of_a_compound_page_with_another_reference() -> None:
    """LPA-10.0.3, LPA-10.0.1: nothing is freed; the last reference frees it whole."""
    system = machine("alloc: 8/2c")
    system.get_page(8)
    system.free_pages(8, 2)
    assert_zone(system, "alloc: 8/2c")
    system.free_pages(8, 2)
    assert_zone(system, "pcp0 o2: M[8] \n alloc:")


def test_references_are_counted() -> None:
    """get_page(), put_page(): three references on an order-0 page."""
    system = machine("alloc: 8/0")
    system.get_page(8)
    system.get_page(8)
    counts = []
    for _ in range(2):
        counts.append(system.page_count(8))
        system.free_pages(8)
        assert_zone(system, "alloc: 8/0")
    assert [*counts, system.page_count(8)] == [3, 2, 1]
    system.free_pages(8)
    assert_zone(system, "pcp0 o0: M[8] \n alloc:")


def test_split_page() -> None:
    """LPA-10.0.4: no list changes; each page is then an allocation of its own."""
    system = machine("alloc: 8/2")
    system.split_page(8, 2)
    assert_zone(system, "alloc: 8/0 9/0 10/0 11/0")
    system.free_pages(10)
    assert_zone(system, "pcp0 o0: M[10] \n alloc: 8/0 9/0 11/0")


@pytest.mark.parametrize(
    ("pfn", "order", "error"), [(8, 2, BadArgument), (8, 1, OrderMismatch), (16, 0, BadFree), (24, 1, DoubleFree)]
)
def test_split_page_of_something_else(pfn: int, order: int, error: type[CallerError]) -> None:
    """A compound page, another order, no allocation, a free block."""
    system = machine("order 1: M[24] \n alloc: 8/2c")
    with pytest.raises(error):
        system.split_page(pfn, order)
    assert_zone(system, "order 1: M[24] \n alloc: 8/2c")


def test_split_page_with_references() -> None:
    """set_page_refcounted(): the tail pages get one reference each, however many the first page has."""
    system = machine("alloc: 8/1")
    system.get_page(8)
    system.split_page(8, 1)
    assert (system.page_count(8), system.page_count(9)) == (2, 1)


def test_page_count_of_a_free_page() -> None:
    """System.page_count(): 0 if there is no allocation."""
    system = machine("order 0: M[9]")
    assert system.page_count(9) == 0
    assert system.page_count(10) == 0


@pytest.mark.parametrize("pfn", [9, 16, 25])
def test_get_page_of_something_else(pfn: int) -> None:
    """BadArgument: a free page, nothing, the inside of an allocation."""
    system = machine("order 0: M[9] \n alloc: 24/1")
    with pytest.raises(BadArgument):
        system.get_page(pfn)
    assert system.page_count(pfn) == 0


def test_folio_batch_and_references() -> None:
    """LPA-10.0.8: folios_put_refs() puts a reference and frees only those without any left."""
    system = machine("alloc: 8/0 16/1c")
    system.get_page(8)
    system.free_folios([(8, 0), (16, 1)])
    assert_zone(system, "pcp0 o1: M[16] \n alloc: 8/0")
    assert system.page_count(8) == 1
    system.free_folios([(8, 0)])
    assert_zone(system, "pcp0 o0: M[8] \n pcp0 o1: M[16] \n alloc:")


# --- wrong frees -------------------------------------------------------------------------------

WRONG = """
order 1: M[0]
pcp0 o0: M[5]
pcp0 o2: M[32]
alloc: 8/2 16/1c 20/0
"""


@pytest.mark.parametrize(
    ("pfn", "order", "error"),
    [
        (40, 0, BadFree),  # nothing there
        (0, 1, DoubleFree),  # the head of a free block
        (1, 0, DoubleFree),  # inside one
        (5, 0, DoubleFree),  # on a PCP list
        (33, 0, DoubleFree),  # inside a block on one
        (32, 2, DoubleFree),
        (9, 0, BadFree),  # inside an allocation
        (10, 1, BadFree),
        (8, 0, OrderMismatch),
        (8, 3, OrderMismatch),
        (16, 0, OrderMismatch),
        (20, 2, OrderMismatch),
    ],
)
def test_wrong_frees(pfn: int, order: int, error: type[CallerError]) -> None:
    """BadFree, DoubleFree, OrderMismatch: and nothing has changed, on either way in."""
    system = machine(WRONG)
    for batch in (False, True):
        with pytest.raises(error) as caught:
            system.free_folios([(pfn, order)]) if batch else system.free_pages(pfn, order)
        assert caught.value.details["pfn"] == pfn
        assert type(caught.value) is error
        assert_zone(system, WRONG)
    assert system.kernel.pgfree == 0


def test_free_twice() -> None:
    """DoubleFree also after the page was merged into a larger block."""
    system = machine("order 0: M[8] \n alloc: 9/0")
    free._free_pages_ok(system.kernel, 9, 0, gfp.FPI_NONE)
    assert_zone(system, "order 1: M[8]")
    with pytest.raises(DoubleFree, match="block 8, order 1"):
        system.free_pages(9)


@pytest.mark.parametrize(("pfn", "order"), [(64, 0), (-1, 0), (9, 1), (0, 5), (0, -1), (10**12, 0)])
def test_frees_of_no_block(pfn: int, order: int) -> None:
    """BadArgument: outside the machine, misaligned, or no such order."""
    system = machine("alloc: 8/1")
    for wrong in (system.free_pages, system.split_page):
        with pytest.raises(BadArgument):
            wrong(pfn, order)


def test_free_of_a_block_that_leaves_its_zone() -> None:
    """BadArgument: the machine ends at 12."""
    system = machine("", pages=12)
    with pytest.raises(BadArgument, match="leaves its zone"):
        system.free_pages(8, 3)


def test_folio_batch_with_a_bad_folio() -> None:
    """A batch is checked before anything of it is freed: the state is unchanged."""
    system = machine("alloc: 8/0 16/0")
    with pytest.raises(BadFree):
        system.free_folios([(8, 0), (40, 0), (16, 0)])
    assert_zone(system, "alloc: 8/0 16/0")


def test_folio_batch_with_a_folio_twice() -> None:
    """The caller's mistake must not make the allocator lose the page."""
    system = machine("alloc: 8/0")
    with pytest.raises(CallerError):
        system.free_folios([(8, 0), (8, 0)])
    assert drawing_of(system).text() != drawing_of(machine()).text()


def test_tail_of_a_reference_holder_s_block_is_free() -> None:
    """LPA-10.0.2: freeing the block's old tail again is a double free."""
    system = machine("alloc: 8/1")
    system.get_page(8)
    system.free_pages(8, 1)
    with pytest.raises(DoubleFree):
        system.free_pages(9)
    with pytest.raises(OrderMismatch):
        system.free_pages(8, 1)


def test_pageblock_type_is_read_at_free_time() -> None:
    """LPA-8.4.3: the block was converted after the allocation."""
    system = machine("alloc: 9/0")
    system.kernel.pageblock_flags[1] = R
    system.free_pages(9)
    assert_zone(system, "pcp0 o0: R[9]")


def test_prepare_checks_for_itself() -> None:
    """free_pages_prepare(): the last check, for callers that do not come through the facade."""
    system = machine(WRONG)
    for pfn, order, error in ((0, 1, DoubleFree), (40, 0, BadFree), (8, 0, OrderMismatch)):
        with pytest.raises(error):
            free._free_pages_ok(system.kernel, pfn, order, gfp.FPI_NONE)
    assert_zone(system, WRONG)
