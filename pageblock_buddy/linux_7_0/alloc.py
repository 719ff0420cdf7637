# SPDX-License-Identifier: GPL-2.0-only
"""Allocation: defrag_mode, nodes whose kswapd is busy, and requests that may wait for no lock.

Kernel: mm/page_alloc.c (7.0-rc)
"""

from __future__ import annotations

from pageblock_buddy import gfp as g
from pageblock_buddy.linux_6_12.alloc import (
    _gfp_pfmemalloc_flags,
    _zone_has_room,
    gfp_to_alloc_flags_cma,
    prep_new_page,
    prepare_alloc_pages,
    rmqueue,
    wake_all_kswapds,
)
from pageblock_buddy.linux_7_0.bulk import lock_zone_for_alloc
from pageblock_buddy.mm.alloc_context import AllocContext, RmqueueMode
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone


def rmqueue_buddy(k: Kernel, zone: Zone, order: int, alloc_flags: int, mt: int) -> int | None:
    """Take a block straight from the zone.

    Kernel:  rmqueue_buddy(), mm/page_alloc.c; LPA-9.2.13, LPA-9.2.14, LPA-9.2.15, LPA-9.2.17
    Status:  source; read, not recorded
    Locks:   takes zone.lock; tries zone.lock (with ALLOC_TRYLOCK)
    Points:  zone.lock lock or trylock, unlock
    """
    if not lock_zone_for_alloc(zone, alloc_flags):  # LPA-9.2.13, LPA-9.2.14
        return None
    pfn = None
    if alloc_flags & g.ALLOC_HIGHATOMIC:
        pfn = k.calls._rmqueue_smallest(k, zone, order, g.MIGRATE_HIGHATOMIC)  # LPA-7.0.14
    if pfn is None:
        pfn = k.calls._rmqueue(k, zone, order, mt, alloc_flags, RmqueueMode())  # LPA-6.1.1, LPA-9.2.15
        if pfn is None and alloc_flags & (g.ALLOC_OOM | g.ALLOC_NON_BLOCK):
            pfn = k.calls._rmqueue_smallest(k, zone, order, g.MIGRATE_HIGHATOMIC)  # LPA-7.0.15
    zone.lock.unlock()
    if pfn is not None:
        k.pgalloc[zone.idx] += 1 << order  # LPA-9.2.17, LPA-14.0.9
    return pfn


def get_page_from_freelist(k: Kernel, gfp: int, order: int, alloc_flags: int, ac: AllocContext) -> int | None:
    """Walk the zonelist and take a page from the first zone that may give one.

    Kernel:  get_page_from_freelist(), mm/page_alloc.c; LPA-9.2
    Status:  source; read, not recorded
    Locks:   tries pcp.lock; takes zone.lock
    Cost:    O(zones)
    """
    several_nodes = k.config.nr_online_nodes > 1
    skip_kswapd_nodes = several_nodes
    while True:
        no_fallback = alloc_flags & g.ALLOC_NOFRAGMENT and not k.config.defrag_mode  # LPA-9.1.3
        restart = skipped_kswapd_nodes = False
        preferred = ac.zonelist[0]
        for zone in ac.zonelist:
            if no_fallback and several_nodes and zone is not preferred and zone.node != preferred.node:
                restart = True  # LPA-9.2.2
                break
            if skip_kswapd_nodes and k.nodes[zone.node].kswapd_running:
                # Its kswapd works: try nodes that may be idle first.
                skipped_kswapd_nodes = True  # LPA-9.2.3
                continue
            if not _zone_has_room(k, zone, order, alloc_flags, ac):
                continue
            pfn = rmqueue(k, zone, order, gfp, alloc_flags, ac.migratetype)
            if pfn is not None:
                prep_new_page(k, pfn, order, gfp)  # LPA-9.2.11
                if alloc_flags & g.ALLOC_HIGHATOMIC:
                    k.calls.reserve_highatomic_pageblock(k, pfn, order, zone)  # LPA-7.0.1
                return pfn
        if not restart and skipped_kswapd_nodes:
            skip_kswapd_nodes = False  # LPA-9.2.3
        elif restart or no_fallback:
            alloc_flags &= ~g.ALLOC_NOFRAGMENT  # LPA-9.2.12
        else:
            return None  # LPA-9.2.12


def alloc_flags_nofragment(k: Kernel, zone: Zone, gfp: int) -> int:
    """ALLOC_KSWAPD and, in defrag_mode or where a lower zone can help out, ALLOC_NOFRAGMENT.

    Kernel:  alloc_flags_nofragment(), mm/page_alloc.c; LPA-9.1.1, LPA-9.1.2, LPA-9.1.3
    Status:  source; read, not recorded
    """
    # the same bit as ALLOC_KSWAPD
    alloc_flags = gfp & g.GFP_KSWAPD_RECLAIM  # LPA-9.1.1
    if k.config.defrag_mode:
        return alloc_flags | g.ALLOC_NOFRAGMENT  # LPA-9.1.3
    if zone.idx != g.ZONE_NORMAL:
        return alloc_flags  # LPA-9.1.2
    if k.config.nr_online_nodes > 1:
        dma32 = k.nodes[zone.node].node_zones[g.ZONE_DMA32]
        if dma32 is None or not dma32.present_pages:
            return alloc_flags  # LPA-9.1.2
    return alloc_flags | g.ALLOC_NOFRAGMENT  # LPA-9.1.2


def gfp_to_alloc_flags(k: Kernel, gfp: int, order: int) -> int:
    """The slow path's flags.

    Kernel:  gfp_to_alloc_flags(), mm/page_alloc.c; LPA-9.3.1, LPA-9.3.2, LPA-9.3.3, LPA-9.3.6
    Status:  source; read, not recorded
    """
    alloc_flags = g.ALLOC_WMARK_MIN | g.ALLOC_CPUSET
    # __GFP_HIGH and ALLOC_MIN_RESERVE, and the two KSWAPD words, are the same bits.
    alloc_flags |= gfp & (g.GFP_HIGH | g.GFP_KSWAPD_RECLAIM)  # LPA-9.3.1
    if not gfp & g.GFP_DIRECT_RECLAIM:
        if not gfp & g.GFP_NOMEMALLOC:
            alloc_flags |= g.ALLOC_NON_BLOCK  # LPA-9.3.2
            if order > 0 and alloc_flags & g.ALLOC_MIN_RESERVE:
                alloc_flags |= g.ALLOC_HIGHATOMIC  # LPA-7.0.3, LPA-7.0.4, LPA-9.3.2
        if alloc_flags & g.ALLOC_MIN_RESERVE:
            alloc_flags &= ~g.ALLOC_CPUSET  # LPA-9.3.3
    if k.config.defrag_mode:
        alloc_flags |= g.ALLOC_NOFRAGMENT  # LPA-9.3.6
    return gfp_to_alloc_flags_cma(k, gfp, alloc_flags)


def _alloc_pages_slowpath(k: Kernel, gfp: int, order: int, ac: AllocContext) -> int | None:
    """Try again with the min watermark, then once more if the request may go beyond it.

    Kernel:  __alloc_pages_slowpath(), mm/page_alloc.c; LPA-9.3
    Status:  source up to the point where reclaim would start; decision D-06; read, not recorded
    Locks:   tries pcp.lock; takes zone.lock
    """
    alloc_flags = k.calls.gfp_to_alloc_flags(k, gfp, order)  # LPA-9.3.6
    if alloc_flags & g.ALLOC_KSWAPD:
        wake_all_kswapds(k, order, gfp, ac)
    pfn = k.calls.get_page_from_freelist(k, gfp, order, alloc_flags, ac)  # LPA-9.3.5
    if pfn is not None:
        return pfn
    costly = order > g.PAGE_ALLOC_COSTLY_ORDER or (order > 0 and ac.migratetype != g.MIGRATE_MOVABLE)
    reserve_flags = _gfp_pfmemalloc_flags(gfp)
    if gfp & g.GFP_DIRECT_RECLAIM and costly and not reserve_flags:
        return None  # direct compaction would start here
    if alloc_flags & g.ALLOC_KSWAPD:
        wake_all_kswapds(k, order, gfp, ac)
    if reserve_flags:
        alloc_flags = gfp_to_alloc_flags_cma(k, gfp, reserve_flags) | alloc_flags & g.ALLOC_KSWAPD  # LPA-9.3.7
    if not reserve_flags and alloc_flags & g.ALLOC_CPUSET:
        return None  # LPA-9.3.9, LPA-9.3.10
    return k.calls.get_page_from_freelist(k, gfp, order, alloc_flags, ac)  # LPA-9.3.9, LPA-9.3.10


def alloc_pages_nolock(k: Kernel, gfp: int, nid: int, order: int) -> int | None:
    """Allocate from any context; every lock is only tried, and None is the answer rather than a wait.

    Kernel:  alloc_pages_nolock(), mm/page_alloc.c; LPA-9.5.1
    Status:  source; read, not recorded
    Locks:   tries pcp.lock, zone.lock
    """
    if k.config.preempt_rt and k.machine.in_hardirq_or_nmi():
        return None
    if not k.calls.pcp_allowed_order(k, order):
        return None  # LPA-9.5.1
    gfp |= g.GFP_NOWARN | g.GFP_ZERO | g.GFP_NOMEMALLOC | g.GFP_COMP
    ac = prepare_alloc_pages(k, gfp, nid)
    pfn = None
    if ac.zonelist:
        alloc_flags = gfp_to_alloc_flags_cma(k, gfp, g.ALLOC_TRYLOCK | g.ALLOC_WMARK_MIN)  # LPA-9.5.1
        pfn = k.calls.get_page_from_freelist(k, gfp, order, alloc_flags, ac)
    if k.trace is not None:
        k.trace.mm_page_alloc(k.machine.cpu, pfn, order, gfp, ac.migratetype)  # LPA-15.1.1
    return pfn
