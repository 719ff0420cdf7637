# SPDX-License-Identifier: GPL-2.0-only
"""Allocation: the per-CPU lists, the walk over the zones, the slow path, many pages at once."""

from __future__ import annotations

from typing import Any

import pytest

from pageblock_buddy import BadArgument, Context, System, ZoneConfig, gfp
from pageblock_buddy.linux_6_12 import alloc
from pageblock_buddy.linux_6_12.alloc import alloc_flags_nofragment, gfp_to_alloc_flags, gfp_to_alloc_flags_cma
from tests.helpers import (
    MOVABLE,
    RECLAIMABLE,
    UNMOVABLE,
    M,
    R,
    U,
    assert_zone,
    config,
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
#: min, low, high, promo
MARKS = (4, 8, 12, 16)


def zones(*specs: tuple[int, int, int], **fields: Any) -> tuple[ZoneConfig, ...]:
    """Empty zones from (node, zone, first PFN) of 16 pages each."""
    return tuple(
        small_zone(idx, start, 16, node=node, managed_pages=16, reserved=((start, 16),), **fields)
        for node, idx, start in specs
    )


def several(
    *specs: tuple[int, int, int], texts: dict[int, str], fields: dict[str, Any] | None = None, **overrides: Any
) -> System:
    """A machine of several 16-page zones; ``texts`` draws the one at a PFN."""
    system = System.boot(config(zones=zones(*specs, **(fields or {})), vm_stat_threshold=0, **overrides))
    for zone in system.zones:
        fill(system, texts.get(zone.zone_start_pfn, ""), zone)
    system.validate()
    return system


# --- the per-CPU list --------------------------------------------------------------------------


def test_take_the_head_of_the_list() -> None:
    """LPA-8.2.8, LPA-8.2.9, LPA-14.0.9: no look at the zone; PGALLOC counts the page handed out."""
    system = machine("order 0: M[1] \n pcp0 o0: M[9 17]")
    assert system.alloc_pages(MOVABLE) == 9
    assert_zone(system, "order 0: M[1] \n pcp0 o0: M[17] \n alloc: 9/0")
    assert system.kernel.pgalloc == [0, 1, 0, 0, 0]


def test_refill_of_an_empty_list() -> None:
    """LPA-8.2.5, LPA-8.2.6, LPA-8.2.7: batch 2: 8 and 9 are split off 8..15; 8 is handed out."""
    system = machine("order 3: M[8]")
    assert system.alloc_pages(MOVABLE) == 8
    assert_zone(system, "order 1: M[10] \n order 2: M[12] \n pcp0 o0: M[9] \n alloc: 8/0")
    pcp = pcp_of(system)
    assert (pcp.count, pcp.high, pcp.alloc_factor) == (1, 8, 1)
    assert system.kernel.pgalloc[gfp.ZONE_DMA32] == 1


def test_consecutive_refills_double() -> None:
    """LPA-8.3.6, LPA-8.2.5: refills of 2, 4, 6 and 6 pages (high 8 fixed)."""
    system = machine("order 4: M[0 16]")
    counts = []
    for pfn in range(13):
        assert system.alloc_pages(MOVABLE) == pfn
        counts.append(pcp_of(system).count)
    assert counts == [1, 0, 3, 2, 1, 0, 5, 4, 3, 2, 1, 0, 5]


@pytest.mark.parametrize(("request_gfp", "letter"), [(UNMOVABLE, "U"), (MOVABLE, "M"), (RECLAIMABLE, "R")])
def test_list_of_the_requested_type(request_gfp: int, letter: str) -> None:
    """LPA-1.0.13, LPA-8.1.2: gfp bits 3 and 4 choose the type and so the list; the refill asks for that type."""
    system = machine("order 4: M[32] \n pcp0 o1: U[0] M[8] R[16] \n blocks: UMRMMMMM")
    assert system.alloc_pages(request_gfp, 1) == 8 * "UMR".index(letter)


def test_free_count_is_halved_by_every_allocation() -> None:
    """LPA-8.2.2, LPA-8.2.4: 7 -> 3 -> 1 -> 0: also while the list is not empty, and when a refill finds nothing."""
    system = machine("order 0: H[24] \n pcp0 o0: M[9 17] \n blocks: MMMHMMMM")
    system.zones[0].nr_free_pages = 9  # the counter lies: nothing but the reserve is free
    pcp = limits(pcp_of(system), free_count=7)
    assert system.alloc_pages(MOVABLE) == 9
    assert pcp.free_count == 3
    assert system.alloc_pages(MOVABLE) == 17
    assert pcp.free_count == 1
    assert system.alloc_pages(MOVABLE) is None
    assert pcp.free_count == 0


def test_an_empty_zone_fails_the_check_before_the_list() -> None:
    """LPA-9.2.6, LPA-11.2.7: the watermark comes first: with no free page in the zone (0 > 0 is false) not even the
    pages on the list are handed out."""
    system = machine("pcp0 o0: M[9]")
    assert system.alloc_pages(MOVABLE) is None
    assert_zone(system, "pcp0 o0: M[9]")


def test_other_orders_go_to_the_zone() -> None:
    """LPA-9.2.7, LPA-8.1.3, LPA-9.2.17: order 4 has no lists (here 3 is the highest): no PCP field changes."""
    system = machine("order 4: M[16]")
    pcp = limits(pcp_of(system), free_count=7)
    assert system.alloc_pages(MOVABLE, 4) == 16
    assert pcp.free_count == 7
    assert system.kernel.pgalloc[gfp.ZONE_DMA32] == 16


def test_the_list_of_this_cpu() -> None:
    """LPA-8.2.1: CPU 1 has its own; CPU 0's pages are not looked at."""
    system = machine("order 0: M[1] \n pcp0 o0: M[9]", nr_cpus=2)
    with system.on_cpu(1):
        assert system.alloc_pages(MOVABLE) == 1
    assert_zone(system, "pcp0 o0: M[9] \n alloc: 1/0")


@pytest.mark.parametrize("context", [Context.HARDIRQ, Context.SOFTIRQ])
def test_interrupt_while_the_list_is_locked(context: Context) -> None:
    """LPA-16.0.3, LPA-8.2.1, LPA-16.0.2: the trylock fails, so the page comes from the zone, though the list has one;
    the lists and their fields stay as they are."""
    system = machine("order 0: M[1] \n pcp0 o0: M[9]")
    pcp = limits(pcp_of(system), free_count=7)
    log = traced(system)
    with interrupt(system, pcp, context):
        assert system.alloc_pages(MOVABLE) == 1
        assert system.alloc_pages(MOVABLE) is None
    assert pcp.free_count == 7
    assert kinds(log.take())[0] == "zlock"
    assert_zone(system, "pcp0 o0: M[9] \n alloc: 1/0")


def test_huge_pages_have_lists() -> None:
    """LPA-8.1.2, LPA-8.1.3, LPA-8.3.8: the order of a pageblock (4 here, 9 in the kernel): max(2 >> 4, 2) = 2
    blocks."""
    system = machine("order 0: M[50] \n order 5: M[0]", pageblock_order=4, max_page_order=5)
    assert system.alloc_pages(UNMOVABLE, 4) == 0
    assert_zone(system, "order 0: M[50] \n pcp0 o4: U[16] \n alloc: 0/4")
    system = machine("order 5: U[0] \n pcp0 o4: U[32] \n blocks: UUMM", pageblock_order=4, max_page_order=5)
    assert system.alloc_pages(RECLAIMABLE, 4) == 32  # U and R share the list


def test_mobility_grouping_off() -> None:
    """LPA-1.0.13, LPA-1.0.14: every request is UNMOVABLE then."""
    system = machine("order 4: M[32] \n pcp0 o0: U[0] M[9]", page_group_by_mobility_disabled=True)
    log = traced(system, outer=True)
    assert system.alloc_pages(MOVABLE) == 0
    assert log.take() == [("alloc", 0, 0, MOVABLE, U, 0)]


# --- marks of the walk -------------------------------------------------------------------------


def test_above_the_high_mark() -> None:
    """LPA-9.2.4: 16 free > 12: no flag."""
    system = machine("order 4: M[0]", watermark=MARKS)
    assert system.alloc_pages(MOVABLE) == 0
    assert system.zones[0].flags == 0


def test_below_the_high_mark() -> None:
    """LPA-9.2.4, LPA-9.2.6, LPA-11.4.1: 12 free, not more than high: BELOW_HIGH is set, and low (8) lets it pass."""
    system = machine("order 2: M[0 8 16]", watermark=MARKS)
    assert system.alloc_pages(MOVABLE) == 0
    assert system.zones[0].flags == BELOW


def test_below_high_is_set_by_a_request_that_finds_no_block() -> None:
    """LPA-11.4.1: 24 pages are free, far above high, but none in a block of order 3."""
    system = machine("order 2: M[0 8 16 24 32 40]", watermark=MARKS)
    assert system.alloc_pages(MOVABLE, 3) is None
    assert system.zones[0].flags == BELOW


def test_below_high_stays_set() -> None:
    """LPA-9.2.4, LPA-11.4.2: with the flag set the high mark is not looked at, and an allocation never clears it; the
    refill does not raise pcp->high (LPA-8.3.4)."""
    system = machine("order 4: M[0 16]", watermark=MARKS, high_max=100)
    system.zones[0].flags = BELOW
    assert system.alloc_pages(MOVABLE) == 0
    assert system.zones[0].flags == BELOW
    assert pcp_of(system).high == 8


def test_a_failed_attempt_keeps_its_side_effects() -> None:
    """LPA-9.3.11: free pages by count (a HIGHATOMIC block on the counter of another CPU), none to have: each of the
    three attempts runs nr_pcp_alloc: high 8 -> raised by 2, 4 (doubled), 8."""
    system = machine("", high_max=100)
    system.zones[0].nr_free_pages = 50
    assert system.alloc_pages(MOVABLE) is None
    pcp = pcp_of(system)
    assert (pcp.high, pcp.alloc_factor, pcp.count) == (8 + 2 + 4 + 8, 3, 0)


# --- the walk over zones -----------------------------------------------------------------------

UMA = ((0, gfp.ZONE_DMA, 0), (0, gfp.ZONE_DMA32, 16), (0, gfp.ZONE_NORMAL, 32))


@pytest.mark.parametrize(
    ("request_gfp", "pfns"),
    [
        (UNMOVABLE, [32, 16, 0, None]),
        (UNMOVABLE | gfp.GFP_DMA32, [16, 0, None]),
        (UNMOVABLE | gfp.GFP_DMA, [0, None]),
        (UNMOVABLE | gfp.GFP_HIGHMEM, [32, 16, 0, None]),
    ],
)
def test_zonelist_walk(request_gfp: int, pfns: list[int | None]) -> None:
    """LPA-9.1.4, LPA-9.1.5, LPA-9.2.11: from the highest allowed zone down, one order-4 block each."""
    letters = {start: f"order 4: U[{start}] \n blocks: UU" for start in (0, 16, 32)}
    system = several(*UMA, texts=letters)
    assert [system.alloc_pages(request_gfp, 4) for _ in pfns] == pfns


def test_zone_movable() -> None:
    """LPA-9.1.4: only HIGHMEM and MOVABLE together may use ZONE_MOVABLE."""
    specs = ((0, gfp.ZONE_NORMAL, 0), (0, gfp.ZONE_MOVABLE, 16))
    system = several(*specs, texts={0: "order 4: M[0]", 16: "order 4: M[16]"})
    assert system.alloc_pages(gfp.GFP_KERNEL | gfp.GFP_MOVABLE, 4) == 0
    assert system.alloc_pages(MOVABLE, 4) == 16


def test_lowmem_reserve_protects_the_lower_zone() -> None:
    """LPA-11.2.7, LPA-11.1.14: DMA keeps 20 pages from requests that could use NORMAL, but not from DMA requests."""
    system = several(*UMA, texts={0: "order 4: M[0]"}, fields={"lowmem_reserve": (0, 0, 20, 20, 20)})
    assert system.alloc_pages(UNMOVABLE, 2) is None
    assert system.alloc_pages(UNMOVABLE | gfp.GFP_DMA, 2) == 0


def test_nofragment_prefers_the_lower_zone() -> None:
    """LPA-9.1.2, LPA-9.2.12, LPA-6.1.7: an UNMOVABLE request in NORMAL, which has only part blocks of MOVABLE: rather
    than fragment it, DMA32's UNMOVABLE page is used.  When that is gone the walk is repeated without NOFRAGMENT.

    NORMAL's list was found empty twice before, so that refill asks for 6 pages (LPA-9.3.11) and gets all four."""
    system = several(*UMA, texts={16: "order 0: U[20] \n blocks: UM", 32: "order 2: M[36]"})
    log = traced(system)
    assert system.alloc_pages(UNMOVABLE) == 20
    assert system.alloc_pages(UNMOVABLE) == 36
    assert "wakeup_kswapd" not in kinds(log.take())  # all in the fast path
    assert_zone(system, "pcp0 o0: U[37 38 39] \n alloc: 36/0 \n blocks: UM", system.zones[2])


def test_nofragment_still_claims_whole_pageblocks() -> None:
    """LPA-9.2.12, LPA-6.2.1: order 3 is a whole pageblock: claimed in the first pass."""
    system = several(*UMA, texts={16: "order 0: U[20] \n blocks: UM", 32: "order 3: M[32]"})
    assert system.alloc_pages(UNMOVABLE) == 32


def test_no_nofragment_without_zone_normal() -> None:
    """LPA-9.1.2: DMA32 as the preferred zone fragments at once: 20, although DMA has an UNMOVABLE page."""
    system = several(*UMA[:2], texts={0: "order 0: U[1] \n blocks: UM", 16: "order 2: M[20]"})
    assert system.alloc_pages(UNMOVABLE) == 20


@pytest.mark.parametrize(
    ("specs", "nodes", "expected"),
    [
        (UMA, 0, gfp.ALLOC_NOFRAGMENT),
        ((UMA[2],), 0, gfp.ALLOC_NOFRAGMENT),  # one node: no look at DMA32
        ((UMA[2],), 2, 0),  # two nodes, and this one has no DMA32
        (UMA, 2, gfp.ALLOC_NOFRAGMENT),
        (UMA[:2], 0, 0),  # the preferred zone is DMA32
    ],
)
def test_alloc_flags_nofragment(specs: tuple[tuple[int, int, int], ...], nodes: int, expected: int) -> None:
    """LPA-9.1.2, LPA-9.1.1: and KSWAPD follows the gfp bit."""
    system = several(*specs, texts={}, nr_online_nodes=nodes)
    preferred = system.zones[-1]
    assert alloc_flags_nofragment(system.kernel, preferred, gfp.GFP_KERNEL) == expected | gfp.ALLOC_KSWAPD
    assert alloc_flags_nofragment(system.kernel, preferred, gfp.GFP_DIRECT_RECLAIM) == expected


def test_nofragment_wants_a_populated_dma32() -> None:
    """LPA-9.1.2: with two nodes an empty DMA32 counts as none."""
    system = several(*UMA, texts={}, nr_online_nodes=2)
    system.zones[1].present_pages = 0
    assert alloc_flags_nofragment(system.kernel, system.zones[2], 0) == 0


# --- NUMA --------------------------------------------------------------------------------------

NUMA = ((0, gfp.ZONE_DMA32, 0), (0, gfp.ZONE_NORMAL, 16), (1, gfp.ZONE_NORMAL, 32))


def test_numa_walk() -> None:
    """LPA-9.1.6: node 0's zones, highest first, then node 1's; CPU 1 is on node 1 and starts there."""
    texts = {start: f"order 4: U[{start}] \n blocks: UU" for start in (0, 16, 32)}
    system = several(*NUMA, texts=texts, nr_cpus=2, cpu_node=(0, 1))
    with system.on_cpu(1):
        assert [system.alloc_pages(UNMOVABLE, 4) for _ in range(4)] == [32, 16, 0, None]
    system = several(*NUMA, texts=texts, nr_cpus=2, cpu_node=(0, 1))
    assert [system.alloc_pages(UNMOVABLE, 4) for _ in range(4)] == [16, 0, 32, None]


def test_thisnode() -> None:
    """LPA-9.1.6: __GFP_THISNODE uses the local list only; ``node`` is the preferred node."""
    texts = {start: f"order 4: U[{start}] \n blocks: UU" for start in (0, 16, 32)}
    system = several(*NUMA, texts=texts)
    local = UNMOVABLE | gfp.GFP_THISNODE
    assert [system.alloc_pages(local, 4, node=1) for _ in range(2)] == [32, None]
    assert [system.alloc_pages(local, 4) for _ in range(3)] == [16, 0, None]


def test_memoryless_node() -> None:
    """LPA-9.1.6: CPU 1's node has no memory: it falls back to node 0; with THISNODE there is no zone at all, and the
    failure is traced like any other (LPA-15.1.1)."""
    system = several(*NUMA[:2], texts={16: "order 4: U[16] \n blocks: UU"}, nr_cpus=2, cpu_node=(0, 1))
    log = traced(system, outer=True)
    with system.on_cpu(1):
        assert system.alloc_pages(UNMOVABLE | gfp.GFP_THISNODE, 4) is None
        assert system.alloc_pages_bulk(UNMOVABLE | gfp.GFP_THISNODE, 3) == []
        assert kinds(log.take()) == ["alloc", "alloc"]
        assert system.alloc_pages(UNMOVABLE, 4) == 16


def test_locality_beats_fragmentation() -> None:
    """LPA-9.2.2: node 0's NORMAL has only a part block of MOVABLE, node 1 an UNMOVABLE page.  The walk comes to a zone
    of another node, so NOFRAGMENT is dropped and the local zone fragmented.  DMA32, local, was tried before that."""
    system = several(*NUMA, texts={16: "order 2: M[20]", 32: "order 0: U[33] \n blocks: UM"})
    assert system.alloc_pages(UNMOVABLE) == 20
    system = several(*NUMA, texts={0: "order 0: U[1] \n blocks: UM", 16: "order 2: M[20]"})
    assert system.alloc_pages(UNMOVABLE) == 1


def test_locality_with_one_node_online() -> None:
    """LPA-9.2.2: the rule is for more than one online node; else the other node's page comes first."""
    system = several(*NUMA, texts={16: "order 2: M[20]", 32: "order 0: U[33] \n blocks: UM"}, nr_online_nodes=1)
    assert system.alloc_pages(UNMOVABLE) == 33


def test_remote_page_goes_to_this_cpu_s_list_of_that_zone() -> None:
    """LPA-8.4.7, LPA-8.2.1: a pageset belongs to a CPU and a zone."""
    system = several(*NUMA, texts={32: "order 2: U[32] \n blocks: UM"})
    assert system.alloc_pages(UNMOVABLE) == 32
    assert_zone(system, "order 1: U[34] \n pcp0 o0: U[33] \n alloc: 32/0", system.zones[2])


# --- slow path ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_gfp", "order", "flags"),
    [
        # LPA-9.3.1, LPA-9.3.2, LPA-9.3.3: MIN is 0
        (gfp.GFP_KERNEL, 0, gfp.ALLOC_CPUSET | gfp.ALLOC_KSWAPD),
        (gfp.GFP_KERNEL, 3, gfp.ALLOC_CPUSET | gfp.ALLOC_KSWAPD),
        (gfp.GFP_KERNEL | gfp.GFP_HIGH, 3, gfp.ALLOC_CPUSET | gfp.ALLOC_KSWAPD | gfp.ALLOC_MIN_RESERVE),
        (gfp.GFP_DIRECT_RECLAIM, 0, gfp.ALLOC_CPUSET),
        (gfp.GFP_ATOMIC, 0, gfp.ALLOC_KSWAPD | gfp.ALLOC_MIN_RESERVE | gfp.ALLOC_NON_BLOCK),
        (
            gfp.GFP_ATOMIC,
            1,
            gfp.ALLOC_KSWAPD | gfp.ALLOC_MIN_RESERVE | gfp.ALLOC_NON_BLOCK | gfp.ALLOC_HIGHATOMIC,
        ),
        (gfp.GFP_ATOMIC | gfp.GFP_NOMEMALLOC, 1, gfp.ALLOC_KSWAPD | gfp.ALLOC_MIN_RESERVE),
        (gfp.GFP_NOWAIT, 1, gfp.ALLOC_CPUSET | gfp.ALLOC_KSWAPD | gfp.ALLOC_NON_BLOCK),
        (MOVABLE, 0, gfp.ALLOC_CPUSET | gfp.ALLOC_KSWAPD | gfp.ALLOC_CMA),
        (RECLAIMABLE, 0, gfp.ALLOC_CPUSET | gfp.ALLOC_KSWAPD),
    ],
)
def test_slow_path_flags(request_gfp: int, order: int, flags: int) -> None:
    """LPA-9.3.1, LPA-9.3.2, LPA-9.3.3, LPA-9.3.6, LPA-6.1.9, LPA-1.0.21, LPA-1.0.23."""
    assert gfp_to_alloc_flags(machine().kernel, request_gfp, order) == flags


@pytest.mark.parametrize(
    ("free_pages", "request_gfp", "fails", "wakeups"),
    [
        (9, gfp.GFP_KERNEL, False, 0),  # above low (8): fast path
        (8, gfp.GFP_KERNEL, False, 1),  # above min (4): slow path, first attempt
        (4, gfp.GFP_KERNEL, True, 2),
        (3, gfp.GFP_ATOMIC, False, 1),  # min 4 less half less a quarter (0): 2
        (2, gfp.GFP_ATOMIC, True, 2),
        (3, gfp.GFP_NOWAIT, True, 2),  # NON_BLOCK alone gives no discount
        (3, gfp.GFP_HIGH, False, 0),  # nobody to wake without KSWAPD_RECLAIM
        (1, gfp.GFP_KERNEL | gfp.GFP_MEMALLOC, False, 2),  # NO_WATERMARKS at the second attempt
        (1, gfp.GFP_KERNEL | gfp.GFP_MEMALLOC | gfp.GFP_NOMEMALLOC, True, 2),
    ],
)
def test_slow_path(free_pages: int, request_gfp: int, fails: bool, wakeups: int) -> None:
    """LPA-9.3.5, LPA-9.3.7, LPA-9.3.8, LPA-9.3.10, LPA-9.3.12, LPA-9.1.1: kswapd is woken before each attempt; where
    the kernel would reclaim (or give up) the model returns None."""
    pages = " ".join(str(8 * block) for block in range(free_pages))
    system = machine(f"order 0: U[{pages}] \n blocks: UUUUUUUUUM", pages=80, watermark=MARKS)
    log = traced(system)
    pfn = system.alloc_pages(request_gfp)
    assert (pfn is None) is fails
    assert kinds(log.take()).count("wakeup_kswapd") == wakeups
    assert system.zones[0].flags == BELOW


def test_memalloc_keeps_only_kswapd_and_cma() -> None:
    """LPA-9.3.7: the reserve flags replace the others: with GFP_ATOMIC|MEMALLOC nothing is reserved as HIGHATOMIC,
    since that flag went too, but the first attempt had it."""
    assert alloc._gfp_pfmemalloc_flags(gfp.GFP_MEMALLOC) == gfp.ALLOC_NO_WATERMARKS
    assert alloc._gfp_pfmemalloc_flags(gfp.GFP_MEMALLOC | gfp.GFP_NOMEMALLOC) == 0
    assert alloc._gfp_pfmemalloc_flags(gfp.GFP_ATOMIC) == 0
    system = machine("order 2: U[0 8] \n blocks: UU" + "M" * 98, pages=800, watermark=(5000, 5000, 5000, 5000))
    assert system.alloc_pages(gfp.GFP_ATOMIC | gfp.GFP_MEMALLOC, 2) == 0
    assert system.zones[0].nr_reserved_highatomic == 0


def test_kswapd_is_woken_once_a_node() -> None:
    """LPA-9.3.5: three zones on two nodes; the unmanaged one does not count."""
    system = several(*NUMA, texts={})
    log = traced(system)
    assert system.alloc_pages(UNMOVABLE) is None
    assert kinds(log.take()) == ["wakeup_kswapd"] * 4  # two nodes, before each attempt
    system.zones[2].managed_pages = 0
    assert system.alloc_pages(UNMOVABLE) is None
    assert kinds(log.take()) == ["wakeup_kswapd"] * 2


def test_failure_is_traced() -> None:
    """LPA-15.1.1: mm_page_alloc also when there is no page; the type is the requested one."""
    system = machine("")
    log = traced(system, outer=True)
    assert system.alloc_pages(RECLAIMABLE, 2) is None
    assert log.take()[-1] == ("alloc", 0, 2, RECLAIMABLE, R, -1)


# --- boosted zone ------------------------------------------------------------------------------


def test_boosted_zone_wakes_kswapd() -> None:
    """LPA-9.2.9, LPA-6.3.4: the claim boosted the zone; behind rmqueue() the flag is cleared and kswapd woken, for a
    request with KSWAPD only.  The boost itself stays: only kswapd takes it back (LPA-11.3.5)."""
    system = machine("order 2: M[0 8]", watermark=(0, 0, 1, 1), watermark_boost_factor=15000)
    log = traced(system)
    assert system.alloc_pages(gfp.GFP_KERNEL, 2) == 0
    assert kinds(log.take()) == ["zlock", "frag", "zlock", "frag", "wakeup_kswapd"]
    assert (system.zones[0].flags & gfp.ZONE_BOOSTED_WATERMARK, system.zones[0].watermark_boost) == (0, 8)


def test_boosted_zone_without_kswapd() -> None:
    """LPA-9.2.9: a request without KSWAPD_RECLAIM neither sets nor clears the flag."""
    system = machine("order 2: M[0]")
    system.zones[0].flags = gfp.ZONE_BOOSTED_WATERMARK
    log = traced(system)
    assert system.alloc_pages(gfp.GFP_DIRECT_RECLAIM | gfp.GFP_MOVABLE, 2) == 0
    assert system.zones[0].flags == gfp.ZONE_BOOSTED_WATERMARK
    assert kinds(log.take()) == ["zlock"]
    assert system.alloc_pages(gfp.GFP_DIRECT_RECLAIM | gfp.GFP_MOVABLE, 2) is None


def test_a_zone_that_is_not_boosted_wakes_nobody() -> None:
    """LPA-9.2.9: KSWAPD alone is no reason."""
    system = machine("order 2: M[0]")
    log = traced(system)
    assert system.alloc_pages(MOVABLE, 2) == 0
    assert kinds(log.take()) == ["zlock"]


# --- CMA ---------------------------------------------------------------------------------------


def test_movable_requests_may_use_cma() -> None:
    """LPA-6.1.9, LPA-13.0.1, LPA-9.1.1: CMA serves MOVABLE when nothing else is free; UNMOVABLE does not see it."""
    system = machine("order 2: C[8] \n blocks: MCMMMMMM")
    assert system.alloc_pages(UNMOVABLE, 2) is None
    assert system.alloc_pages(MOVABLE, 2) == 8
    assert gfp_to_alloc_flags_cma(system.kernel, MOVABLE, 1) == gfp.ALLOC_CMA | 1
    assert gfp_to_alloc_flags_cma(system.kernel, RECLAIMABLE, 1) == 1


# --- compound, order, marks of an allocation ---------------------------------------------------


def test_compound_mark() -> None:
    """__GFP_COMP makes a compound page of order > 0; order 0 is never compound."""
    system = machine("order 4: M[0 16]")
    assert system.alloc_pages(MOVABLE | gfp.GFP_COMP, 2) == 0
    assert system.alloc_pages(MOVABLE | gfp.GFP_COMP, 0) == 8
    assert_zone(
        system,
        "order 1: M[10] \n order 2: M[12] \n order 4: M[16] \n pcp0 o0: M[9] \n pcp0 o2: M[4] \n alloc: 0/2c 8/0",
    )


# --- bulk --------------------------------------------------------------------------------------


def test_bulk() -> None:
    """LPA-9.4.7, LPA-9.4.8, LPA-9.4.9: one list again and again; free_count stays; no mm_page_alloc; PGALLOC once.

    The list has 9; then refills of 2 (8's block: 16, 17) and 4 (18..21): 9, 16, 17, 18."""
    system = machine("order 3: M[16] \n pcp0 o0: M[9]")
    pcp = limits(pcp_of(system), free_count=7)
    log = traced(system, outer=True)
    assert system.alloc_pages_bulk(MOVABLE, 4) == [9, 16, 17, 18]
    assert_zone(system, "order 1: M[22] \n pcp0 o0: M[19 20 21] \n alloc: 9/0 16/0 17/0 18/0")
    assert pcp.free_count == 7
    assert "alloc" not in kinds(log.take())
    assert system.kernel.pgalloc[gfp.ZONE_DMA32] == 4


def test_bulk_fills_the_empty_slots() -> None:
    """LPA-9.4.1: occupied slots are skipped; the result is the number of leading slots that are filled."""
    system = machine("pcp0 o0: M[9 17 25] \n order 3: M[32]")
    slots: list[int | None] = [1, None, 2, None, 3]
    assert system.fill_pages_bulk(MOVABLE, slots) == 5
    assert slots == [1, 9, 2, 17, 3]
    assert system.fill_pages_bulk(MOVABLE, slots) == 5  # nothing to do
    assert system.fill_pages_bulk(MOVABLE, []) == 0
    assert_zone(system, "order 3: M[32] \n pcp0 o0: M[25] \n alloc: 9/0 17/0")


def test_bulk_of_one_is_a_single_allocation() -> None:
    """LPA-9.4.1: with an mm_page_alloc event, and free_count halved."""
    system = machine("pcp0 o0: M[9]")
    pcp = limits(pcp_of(system), free_count=6)
    log = traced(system, outer=True)
    slots: list[int | None] = [1, None]
    system.zones[0].nr_free_pages = 9
    assert system.fill_pages_bulk(MOVABLE, slots) == 2
    assert (slots, pcp.free_count, kinds(log.take())) == ([1, 9], 3, ["alloc"])


@pytest.mark.parametrize(("memcg", "pages"), [(True, 1), (False, 3)])
def test_bulk_with_accounting(memcg: bool, pages: int) -> None:
    """LPA-9.4.1: __GFP_ACCOUNT with memcg kmem is a single allocation."""
    system = machine("order 4: M[0]", memcg_kmem=memcg)
    assert len(system.alloc_pages_bulk(MOVABLE | gfp.GFP_ACCOUNT, 3)) == pages
    assert len(system.alloc_pages_bulk(MOVABLE, 3)) == 3


def test_bulk_mark() -> None:
    """LPA-9.4.3, LPA-9.4.2, LPA-9.4.10: low + the pages wanted: 16 free against 8 + 8 is not enough (LPA-9.4.5: a
    single one then), against 8 + 7 it is.  The high mark plays no part and BELOW_HIGH is not set."""
    system = machine("order 4: M[0]", watermark=MARKS)
    assert system.alloc_pages_bulk(MOVABLE, 8) == [0]
    system = machine("order 4: M[0]", watermark=MARKS)
    assert system.alloc_pages_bulk(MOVABLE, 7) == [*range(7)]
    system = machine("order 3: M[0]", watermark=(0, 0, 12, 16))
    assert system.alloc_pages_bulk(MOVABLE, 3) == [0, 1, 2]
    assert system.zones[0].flags == 0  # below high, but bulk does not look


def test_bulk_mark_counts_all_slots() -> None:
    """LPA-9.4.3: in 6.12 nr_pages, occupied slots too: 16 free, low 8 and 9 slots of which 6 are filled."""
    system = machine("order 4: M[0]", watermark=MARKS)
    slots: list[int | None] = [1, 2, 3, 4, 5, 6, None, None, None]
    assert system.fill_pages_bulk(MOVABLE, slots) == 7
    assert slots[6:] == [0, None, None]


def test_bulk_stops_at_the_first_failure() -> None:
    """LPA-9.4.7: three pages are all; what was got is kept.  The counter lies on purpose, as with drift."""
    system = machine("order 0: M[1 9 17]")
    system.zones[0].nr_free_pages += 20
    assert system.alloc_pages_bulk(MOVABLE, 5) == [1, 9, 17]
    # LPA-9.4.7: none at all: a single allocation, which fails as well
    log = traced(system, outer=True)
    assert system.alloc_pages_bulk(MOVABLE, 5) == []
    assert kinds(log.take())[-1] == "alloc"


def test_bulk_in_an_interrupt() -> None:
    """LPA-9.4.6: the trylock fails: a single allocation, from the zone."""
    system = machine("order 3: M[0] \n pcp0 o0: M[9]")
    with interrupt(system, pcp_of(system)):
        assert system.alloc_pages_bulk(MOVABLE, 4) == [0]
    assert_zone(system, "order 0: M[1] \n order 1: M[2] \n order 2: M[4] \n pcp0 o0: M[9] \n alloc: 0/0")


def test_bulk_uses_a_lower_zone_of_the_node() -> None:
    """LPA-9.4.3: NORMAL has not enough; DMA32 has, on the same node; the walk ends at the next node (LPA-9.4.5)."""
    texts = {0: "order 4: M[0]", 16: "order 0: M[16]", 32: "order 4: M[32]"}
    system = several(*NUMA, texts=texts)
    assert system.alloc_pages_bulk(MOVABLE, 3) == [0, 1, 2]
    system = several(*NUMA, texts={**texts, 0: "order 0: M[0]"})
    assert system.alloc_pages_bulk(MOVABLE, 3) == [16]  # no local zone has 3 pages to spare: a single one


def test_bulk_without_a_zone() -> None:
    """LPA-9.4.5: one node, no zone has room: a single allocation."""
    system = several(*UMA, texts={32: "order 0: M[33 35]"})
    assert system.alloc_pages_bulk(MOVABLE, 3) == [33]


def test_bulk_lowmem_reserve_goes_by_the_preferred_zone() -> None:
    """LPA-9.4.3: a HIGHUSER_MOVABLE request on a machine without ZONE_MOVABLE: index NORMAL, not MOVABLE.  DMA keeps 20
    pages from index MOVABLE but none from NORMAL; the ordinary check would not let it pass."""
    system = several(*UMA, texts={0: "order 4: M[0]"}, fields={"lowmem_reserve": (0, 0, 0, 20, 0)})
    assert system.alloc_pages_bulk(MOVABLE, 3) == [0, 1, 2]
    assert system.alloc_pages(MOVABLE, 2) is None


# --- exact -------------------------------------------------------------------------------------


def test_alloc_pages_exact() -> None:
    """LPA-10.0.5: five pages: order 3, split; 13, 14, 15 go one by one to the zone's tails, past the PCP.

    13 stays single (12 is in use); 14 goes to the tail; 15 merges with it."""
    system = machine("order 0: M[40] \n order 1: M[42] \n order 3: M[8]")
    assert system.alloc_pages_exact(UNMOVABLE | gfp.GFP_MOVABLE, 5) == 8
    assert_zone(system, "order 0: M[40 13] \n order 1: M[42 14] \n alloc: 8/0 9/0 10/0 11/0 12/0")
    assert (system.kernel.pgfree, pcp_of(system).count) == (3, 0)


def test_alloc_pages_exact_of_a_power_of_two() -> None:
    """LPA-10.0.5: no surplus; COMP and HIGHMEM are dropped from the mask."""
    system = machine("order 3: M[8]")
    log = traced(system, outer=True)
    assert system.alloc_pages_exact(MOVABLE | gfp.GFP_COMP, 8) == 8
    assert log.take()[-1] == ("alloc", 0, 3, MOVABLE & ~gfp.GFP_HIGHMEM, M, 8)
    assert_zone(system, "alloc: " + " ".join(f"{pfn}/0" for pfn in range(8, 16)))
    assert system.alloc_pages_exact(MOVABLE, 1) is None


def test_free_pages_exact() -> None:
    """LPA-10.0.6: order-0 frees, ascending, through the PCP: 10 ends at the head."""
    system = machine("alloc: 8/0 9/0 10/0")
    system.free_pages_exact(8, 3)
    assert_zone(system, "pcp0 o0: M[10 9 8] \n alloc:")


def test_free_pages_exact_puts_references() -> None:
    """LPA-10.0.6, LPA-10.0.1: a page that somebody else holds is not freed yet."""
    system = machine("alloc: 8/0 9/0")
    system.get_page(8)
    system.free_pages_exact(8, 2)
    assert_zone(system, "pcp0 o0: M[9] \n alloc: 8/0")


def test_requests_are_checked() -> None:
    """System refuses what has no meaning in the kernel, before anything changes."""
    system = machine("order 4: M[0]")
    for bad in (-1, 5):
        with pytest.raises(BadArgument):
            system.alloc_pages(MOVABLE, bad)
    for mask in (gfp.GFP_DMA | gfp.GFP_DMA32, gfp.GFP_MOVABLE | gfp.GFP_RECLAIMABLE, -1, 1 << 26):
        with pytest.raises(BadArgument):
            system.alloc_pages(mask)
    assert_zone(system, "order 4: M[0] \n alloc:")


def test_cma_without_mobility_grouping() -> None:
    """LPA-6.1.9, LPA-1.0.13: with mobility grouping off no request is MOVABLE, so none has ALLOC_CMA."""
    system = machine("order 2: C[8] \n blocks: MCMMMMMM", page_group_by_mobility_disabled=True)
    assert system.alloc_pages(MOVABLE, 2) is None
