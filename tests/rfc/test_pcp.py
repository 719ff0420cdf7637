# SPDX-License-Identifier: GPL-2.0-only
"""Lists of every order, and an allocation that splits what lies on them."""

from __future__ import annotations

from typing import Any

import pytest

from pageblock_buddy import Config, System, gfp
from pageblock_buddy.linux_6_12.alloc import prep_new_page
from pageblock_buddy.rfc import pcp
from tests.helpers import (
    MOVABLE,
    RECLAIMABLE,
    UNMOVABLE,
    M,
    R,
    U,
    assert_zone,
    interrupt,
    limits,
    machine,
    pcp_of,
)
from tests.rfc_trylock.locks import Locks


def rfc(text: str = "", **overrides: Any) -> System:
    """Four pageblocks and two CPUs."""
    return machine(text, 32, variant="rfc", **({"nr_cpus": 2} | overrides))


def take(system: System, order: int, mt: int) -> int | None:
    """pcp_rmqueue_smallest() from CPU 0's lists; the block is an allocation then."""
    k = system.kernel
    pfn = pcp.pcp_rmqueue_smallest(k, system.zones[0], pcp_of(system), order, mt)
    if pfn is not None:
        prep_new_page(k, pfn, order, 0)
    return pfn


# --- index -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pageblock_order", "lists"), [(9, 30), (3, 12), (4, 15), (1, 6), (0, 3)])
def test_number_of_lists(pageblock_order: int, lists: int) -> None:
    """RFC-3.14, RFC-3.15: three types, orders 0 to pageblock_order, however small that is."""
    config = Config.small(64, pageblock_order=pageblock_order, max_page_order=10)
    system = System.boot(config, variant="rfc")
    assert len(pcp_of(system).lists) == system.kernel.nr_pcp_lists == lists


def test_no_lists_apart_for_huge_pages() -> None:
    """RFC-3.15: with and without THP."""
    for thp in (False, True):
        system = System.boot(Config.small(64, pageblock_order=9, max_page_order=10, thp=thp), variant="rfc")
        assert len(pcp_of(system).lists) == 30


def test_index_map() -> None:
    """RFC-3.16: 3 * order + type, and back by index / 3; each list has an order and a type of its own."""
    k = System.boot(Config.small(64, pageblock_order=9, max_page_order=10), variant="rfc").kernel
    indices = [k.calls.order_to_pindex(k, mt, order) for order in range(10) for mt in (U, M, R)]
    assert indices == list(range(30))
    assert [k.calls.pindex_to_order(k, pindex) for pindex in indices] == [n // 3 for n in range(30)]
    assert k.calls.order_to_pindex(k, M, 9) == 28
    assert k.calls.order_to_pindex(k, R, 9) == 29  # not UNMOVABLE's, as it is today


@pytest.mark.parametrize(("order", "allowed"), [(0, True), (3, True), (4, False), (5, True), (6, False)])
def test_orders_served(order: int, allowed: bool) -> None:
    """RFC-3.17, LPA-8.1.3: 0 to 3 and HPAGE_PMD_ORDER (5 here), although there are lists for order 4."""
    k = System.boot(Config.small(64, pageblock_order=5, max_page_order=6), variant="rfc").kernel
    assert k.calls.pcp_allowed_order(k, order) is allowed
    assert k.nr_pcp_lists == 18


# --- the smallest sufficient chunk -------------------------------------------------------------


@pytest.mark.parametrize("order", range(4))
def test_exact_fit(order: int) -> None:
    """RFC-4.2, RFC-4.3, RFC-4.7, RFC-3.24: the head of the list of that order, whole; 1 << order off the count."""
    lists = ("M[3 5]", "M[10 4]", "M[20 12]", "M[24 8]")
    system = rfc(f"pcp0 o{order}: {lists[order]}")
    first, second = ((3, 5), (10, 4), (20, 12), (24, 8))[order]
    assert take(system, order, M) == first
    assert_zone(system, f"pcp0 o{order}: M[{second}] \n alloc: {first}/{order}")
    assert pcp_of(system).count == 1 << order


SPLITS = {
    (1, 0): "pcp0 o0: M[9*]",
    (2, 0): "pcp0 o0: M[9*] \n pcp0 o1: M[10*]",
    (2, 1): "pcp0 o1: M[10*]",
    (3, 0): "pcp0 o0: M[9*] \n pcp0 o1: M[10*] \n pcp0 o2: M[12*]",
    (3, 1): "pcp0 o1: M[10*] \n pcp0 o2: M[12*]",
    (3, 2): "pcp0 o2: M[12*]",
}


@pytest.mark.parametrize(("orders", "left"), SPLITS.items(), ids=lambda value: str(value)[:9])
def test_split(orders: tuple[int, int], left: str) -> None:
    """RFC-4.4, RFC-3.12, RFC-4.7: the lower half is kept at each step, the upper halves stay, marked as the chunk
    was."""
    chunk_order, order = orders
    system = rfc(f"pcp0 o{chunk_order}: M[8*] \n owners: .0..")
    assert take(system, order, M) == 8
    assert_zone(system, f"{left} \n owners: .0.. \n alloc: 8/{order}")
    assert pcp_of(system).count == (1 << chunk_order) - (1 << order)


@pytest.mark.parametrize(("orders", "left"), SPLITS.items(), ids=lambda value: str(value)[:9])
def test_split_of_an_unmarked_chunk(orders: tuple[int, int], left: str) -> None:
    """RFC-3.12: what phase 2 brought has no mark, and neither have its remainders, whoever owns the block."""
    chunk_order, order = orders
    system = rfc(f"pcp0 o{chunk_order}: M[8] \n owners: .0..")
    assert take(system, order, M) == 8
    assert_zone(system, f"{left.replace('*', '')} \n owners: .0.. \n alloc: 8/{order}")


def test_smallest_chunk_first() -> None:
    """RFC-4.2: from the request's order upwards; order 1 has nothing, so order 2 is split though order 3 is there; what
    is too small does not count."""
    system = rfc("pcp0 o0: M[3] \n pcp0 o2: M[12 20] \n pcp0 o3: M[24]")
    assert take(system, 1, M) == 12
    assert_zone(system, "pcp0 o0: M[3] \n pcp0 o1: M[14] \n pcp0 o2: M[20] \n pcp0 o3: M[24] \n alloc: 12/1")


def test_a_broken_chunk_is_used_up_first() -> None:
    """RFC-4.5, RFC-4.2, RFC-4.3: one block, split once, serves eight single pages, ascending, before the next one."""
    system = rfc("pcp0 o3: M[16* 8*] \n owners: .00.")
    assert [take(system, 0, M) for _ in range(9)] == [16, 17, 18, 19, 20, 21, 22, 23, 8]
    left = "pcp0 o0: M[9*] \n pcp0 o1: M[10*] \n pcp0 o2: M[12*] \n owners: .00."
    assert_zone(system, left)


def test_types_are_kept_apart() -> None:
    """RFC-4.2, RFC-4.5: UNMOVABLE's and RECLAIMABLE's chunks are smaller and come first, and are not for MOVABLE; the
    remainders go to MOVABLE's lists."""
    system = rfc("pcp0 o0: U[0] R[16] \n pcp0 o1: U[2] \n pcp0 o2: M[8] \n blocks: UMRM")
    assert take(system, 0, M) == 8
    assert_zone(
        system,
        """
        pcp0 o0: U[0] M[9] R[16]
        pcp0 o1: U[2] M[10]
        blocks: UMRM
        alloc: 8/0
        """,
    )


def test_remainders_stay_with_the_list_s_type() -> None:
    """RFC-4.5, RFC-8.9, RFC-11.12: the list that the chunk came from, though its block is MOVABLE by now."""
    system = rfc("pcp0 o2: R[8*] \n blocks: MMMM \n owners: .0..")
    assert take(system, 0, R) == 8
    assert_zone(system, "pcp0 o0: R[9*] \n pcp0 o1: R[10*] \n blocks: MMMM \n owners: .0.. \n alloc: 8/0")


@pytest.mark.parametrize(
    ("drawing", "order"),
    [
        ("", 0),
        ("pcp0 o0: M[2 4] \n pcp0 o1: M[8]", 2),
        ("pcp0 o0: U[0] R[16] \n blocks: UMRM", 0),
        ("pcp1 o0: M[0]", 0),
    ],
    ids=["nothing", "too small", "other types", "another CPU's"],
)
def test_nothing_sufficient(drawing: str, order: int) -> None:
    """RFC-4.2, RFC-4.9: two free pages are no block of two, and two buddies are not merged for a request."""
    system = rfc(drawing)
    assert take(system, order, M) is None
    assert_zone(system, drawing)


# --- allocating --------------------------------------------------------------------------------


def test_allocation_splits_without_zone_lock() -> None:
    """RFC-4.1, RFC-4.6, RFC-1.5: the local pcp->lock is tried; nothing else is taken."""
    system = rfc("order 3: M[16] \n pcp0 o3: M[8*] \n owners: .0..")
    locks = Locks(system)
    assert system.alloc_pages(MOVABLE, 1) == 8
    assert locks.take() == "?pcp0 -pcp0"
    assert_zone(system, "order 3: M[16] \n pcp0 o1: M[10*] \n pcp0 o2: M[12*] \n owners: .0.. \n alloc: 8/1")


def test_allocation_while_the_list_is_locked() -> None:
    """RFC-4.1: an interrupt finds its CPU's lock busy: straight to the zone; nothing of the pageset moves."""
    system = rfc("order 0: M[17] \n pcp0 o3: M[8*] \n owners: .0..")
    pageset = limits(pcp_of(system), free_count=6)
    with interrupt(system, pageset):
        assert system.alloc_pages(MOVABLE) == 17
    assert_zone(system, "pcp0 o3: M[8*] \n owners: .0.. \n alloc: 17/0")
    assert pageset.free_count == 6


def test_an_allocation_from_the_own_lists_alone() -> None:
    """RFC-4.8: CPU 1's chunks are no help to CPU 0, which refills: two pages (batch 2) of one block by phase 3."""
    system = rfc("order 3: M[16] \n pcp1 o3: M[8*] \n owners: .1..")
    assert system.alloc_pages(MOVABLE) == 16
    assert_zone(
        system, "order 1: M[18] \n order 2: M[20] \n pcp0 o0: M[17] \n pcp1 o3: M[8*] \n owners: .1.. \n alloc: 16/0"
    )


def test_one_more_search_then_the_zone() -> None:
    """RFC-4.8, LPA-7.0.15: the refill finds nothing for MOVABLE; rmqueue_buddy() takes a page of the high-order atomic
    reserve for a request that may not wait, in a second hold of zone->lock."""
    system = rfc("order 0: H[9] \n blocks: MHMM")
    locks = Locks(system)
    assert system.alloc_pages(gfp.GFP_ATOMIC) == 9
    assert locks.take().endswith("?pcp0 +zone -zone -pcp0 +zone -zone")
    assert_zone(system, "alloc: 9/0 \n blocks: MHMM")


def test_no_merge_on_allocation() -> None:
    """RFC-4.9: 8* and 9* are buddies; a request of order 1 refills all the same (two blocks: batch 2)."""
    system = rfc("order 2: M[16] \n pcp0 o0: M[8* 9*] \n owners: .0.. \n alloc: 10/1 12/2")
    assert system.alloc_pages(MOVABLE, 1) == 16
    assert_zone(system, "pcp0 o0: M[8* 9*] \n pcp0 o1: M[18] \n owners: .0.. \n alloc: 10/1 12/2 16/1")


def test_heuristics_of_an_allocation() -> None:
    """RFC-4.11, LPA-8.2.2, LPA-8.3.6, LPA-8.3.4: free_count is halved by every allocation; alloc_factor and high grow
    by a refill alone: 2 pages at factor 0, and high by these 2 from its minimum 8."""
    system = rfc("order 2: M[16]", high_min=8, high_max=20)
    pageset = limits(pcp_of(system), free_count=21)
    seen = []
    for _ in range(2):
        system.alloc_pages(MOVABLE)
        seen.append((pageset.free_count, pageset.alloc_factor, pageset.high))
    assert seen == [(10, 1, 10), (5, 1, 10)]


def test_a_whole_pageblock() -> None:
    """RFC-4.12, RFC-6.21: it stays owned while its pages are out, and comes back as one marked chunk."""
    system = rfc("order 3: M[16] \n pcp0 o3: M[8*] \n owners: .0..", high_min=30, high_max=30)
    assert system.alloc_pages(MOVABLE, 3) == 8
    assert_zone(system, "order 3: M[16] \n alloc: 8/3 \n owners: .0..")
    with system.on_cpu(1):
        system.free_pages(8, 3)
    assert_zone(system, "order 3: M[16] \n pcp0 o3: M[8*] \n owners: .0..")
    assert pcp_of(system).count == 8


def test_orders_that_only_lie_there() -> None:
    """RFC-3.18: pageblocks of 32 pages; an order-4 remainder lies on the PCP, and a request of order 4 goes to the zone
    past it.  An order-3 request splits it."""
    drawing = "order 4: M[48] \n order 5: M[64] \n pcp0 o4: M[16*] \n owners: 0..."
    system = machine(drawing, 128, variant="rfc", pageblock_order=5, max_page_order=6)
    assert system.alloc_pages(MOVABLE, 4) == 48
    assert_zone(system, "order 5: M[64] \n pcp0 o4: M[16*] \n owners: 0... \n alloc: 48/4")
    assert system.alloc_pages(MOVABLE, 3) == 16
    assert_zone(system, "order 5: M[64] \n pcp0 o3: M[24*] \n owners: 0... \n alloc: 16/3 48/4")


@pytest.mark.parametrize(("request_gfp", "pfn"), [(UNMOVABLE, 0), (MOVABLE, 8), (RECLAIMABLE, 16)])
def test_the_type_of_the_request(request_gfp: int, pfn: int) -> None:
    """RFC-4.2, RFC-5.2: each type is served from its own lists."""
    system = rfc("order 3: M[24] \n pcp0 o1: U[0] M[8] R[16] \n blocks: UMRM")
    assert system.alloc_pages(request_gfp, 1) == pfn


def test_the_mark_ends_with_the_stay() -> None:
    """RFC-3.13: CPU 0 takes 8*, and before it has prepared its page CPU 1 frees 9 to CPU 0's PCP and drains that: the
    merge pass must not take 8 for a chunk on the list."""
    system = rfc("order 3: M[24] \n pcp0 o0: M[8*] \n owners: .0.. \n alloc: 9/0 10/1 12/2")
    locks = Locks(system)

    def free_and_drain() -> None:
        with system.on_cpu(1):
            system.free_pages(9)
            system.kernel.calls.drain_pages_zone(system.kernel, 0, system.zones[0])

    locks.at("-pcp0", free_and_drain)
    assert system.alloc_pages(MOVABLE) == 8
    assert locks.done()
    assert_zone(system, "order 0: M[9] \n order 3: M[24] \n owners: .0.. \n owned0: 8 \n alloc: 8/0 10/1 12/2")


@pytest.mark.parametrize("order", [2, 3])
def test_requests_above_a_small_pageblock(order: int) -> None:
    """RFC-3.15, RFC-3.17, RFC-6.3: with pageblocks of two pages there are lists for orders 0 and 1 alone; a block of
    order 2 or 3 spans pageblocks, so it goes to the zone and comes from there."""
    system = machine("order 4: M[16]", 32, variant="rfc", pageblock_order=1)
    assert system.alloc_pages(MOVABLE, order) == 16
    system.free_pages(16, order)
    assert_zone(system, "order 4: M[16]")
