# SPDX-License-Identifier: GPL-2.0-only
"""Allocation: from alloc_pages() to the page.

The fast path walks the zonelist once with the low watermark; the slow path walks it twice more with
the min watermark and whatever reserves the request may touch.  Reclaim, compaction and OOM are outside this
model: where the kernel would start them the allocation fails, and a failed allocation is None.

Kernel: mm/page_alloc.c (6.12.117)
"""

from __future__ import annotations

from collections.abc import Sequence

from pageblock_buddy import gfp as g
from pageblock_buddy.gfp import FPI_TO_TAIL, GFP_MIGRATETYPE_TABLE
from pageblock_buddy.linux_6_12.free import _free_pages, _free_pages_ok, split_page
from pageblock_buddy.linux_6_12.watermark import zone_watermark_fast
from pageblock_buddy.machine.lists import ListHead
from pageblock_buddy.mm.alloc_context import AllocContext, RmqueueMode
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone, wmark_pages
from pageblock_buddy.mm.page import PG_ALLOCATED, PG_COMPOUND

# --- taking a page from one zone ---------------------------------------------------------------


def _rmqueue_pcplist(
    k: Kernel, zone: Zone, order: int, mt: int, alloc_flags: int, pcp: PerCpuPages, pcp_list: ListHead
) -> int | None:
    """Take the head of a per-CPU list, refilling it first if it is empty.

    Kernel:  __rmqueue_pcplist(), mm/page_alloc.c; LPA-8.2
    Status:  source
    Locks:   holds pcp.lock; takes zone.lock
    Points:  zone.lock lock, unlock
    """
    if pcp_list.list_empty():
        batch = k.calls.nr_pcp_alloc(k, pcp, zone, order)  # LPA-8.2.5
        taken = k.calls.rmqueue_bulk(k, zone, order, batch, pcp, mt, alloc_flags)
        pcp.count += taken << order  # LPA-8.1.5, LPA-8.2.7
        if not taken:
            return None  # LPA-8.2.7
    pfn = pcp_list.pop_first()  # LPA-8.2.8
    pcp.count -= 1 << order
    return pfn


def rmqueue_pcplist(k: Kernel, zone: Zone, order: int, mt: int, alloc_flags: int) -> int | None:
    """Take a block from the running CPU's lists.

    Kernel:  rmqueue_pcplist(), mm/page_alloc.c; LPA-8.2
    Status:  source
    Locks:   tries pcp.lock; takes zone.lock
    Points:  pcp.lock trylock, unlock; zone.lock lock, unlock
    Errors:  none; None when the lock is busy (the caller goes to the zone) or the zone has nothing
    """
    pcp = zone.per_cpu_pageset[k.machine.cpu]
    if not pcp.lock.pcp_spin_trylock():  # LPA-8.2.1, LPA-16.0.2
        return None  # LPA-16.0.3
    # An allocation says that this CPU is not only freeing: flush less next time.
    pcp.free_count >>= 1  # LPA-8.2.2, LPA-8.2.4
    pcp_list = pcp.lists[k.calls.order_to_pindex(k, mt, order)]
    pfn = k.calls._rmqueue_pcplist(k, zone, order, mt, alloc_flags, pcp, pcp_list)
    pcp.lock.unlock()
    if pfn is not None:
        k.pgalloc[zone.idx] += 1 << order  # LPA-8.2.9, LPA-14.0.9
    return pfn


def rmqueue_buddy(k: Kernel, zone: Zone, order: int, alloc_flags: int, mt: int) -> int | None:
    """Take a block straight from the zone.

    Kernel:  rmqueue_buddy(), mm/page_alloc.c; LPA-9.2.13, LPA-9.2.15, LPA-9.2.17
    Status:  source
    Locks:   takes zone.lock
    Points:  zone.lock lock, unlock
    """
    zone.lock.lock()  # LPA-9.2.13, LPA-16.0.6
    pfn = None
    if alloc_flags & g.ALLOC_HIGHATOMIC:
        pfn = k.calls._rmqueue_smallest(k, zone, order, g.MIGRATE_HIGHATOMIC)  # LPA-7.0.14
    if pfn is None:
        pfn = k.calls._rmqueue(k, zone, order, mt, alloc_flags, RmqueueMode())  # LPA-6.1.1, LPA-9.2.15
        if pfn is None and alloc_flags & (g.ALLOC_OOM | g.ALLOC_NON_BLOCK):
            # Failing now is worse than failing a high-order atomic request later.
            pfn = k.calls._rmqueue_smallest(k, zone, order, g.MIGRATE_HIGHATOMIC)  # LPA-7.0.15
    zone.lock.unlock()
    if pfn is not None:
        k.pgalloc[zone.idx] += 1 << order  # LPA-9.2.17, LPA-14.0.9
    return pfn


def wakeup_kswapd(k: Kernel, zone: Zone, gfp_flags: int, order: int, highest_zoneidx: int) -> None:
    """Ask for background reclaim.  The model has none: only the call is traced.

    Kernel:  wakeup_kswapd(), mm/vmscan.c; LPA-9.2.9, LPA-9.3.5
    Status:  decision D-06
    """
    if k.trace is not None:
        k.trace.call(k.machine.cpu, "wakeup_kswapd", 0)


def rmqueue(k: Kernel, zone: Zone, order: int, gfp: int, alloc_flags: int, mt: int) -> int | None:
    """Take a block from a zone: per-CPU lists if the order has them, else (or failing that) the buddy.

    Kernel:  rmqueue(), mm/page_alloc.c; LPA-9.2.7, LPA-9.2.9
    Status:  source
    Locks:   tries pcp.lock; takes zone.lock
    """
    pfn = None
    if k.calls.pcp_allowed_order(k, order):
        pfn = k.calls.rmqueue_pcplist(k, zone, order, mt, alloc_flags)  # LPA-9.2.7
    if pfn is None:
        pfn = k.calls.rmqueue_buddy(k, zone, order, alloc_flags, mt)  # LPA-9.2.7
    if alloc_flags & g.ALLOC_KSWAPD and zone.flags & g.ZONE_BOOSTED_WATERMARK:
        zone.flags &= ~g.ZONE_BOOSTED_WATERMARK  # LPA-9.2.9
        wakeup_kswapd(k, zone, 0, 0, zone.idx)
    return pfn


def prep_new_page(k: Kernel, pfn: int, order: int, gfp: int) -> None:
    """Mark a block as an allocation with one reference.

    Kernel:  prep_new_page(), mm/page_alloc.c; LPA-9.2.11
    Status:  source
    """
    if order and gfp & g.GFP_COMP:
        k.mem_map[pfn] = PG_ALLOCATED | PG_COMPOUND | order
    else:
        k.mem_map[pfn] = PG_ALLOCATED | order


# --- walking the zones -------------------------------------------------------------------------


def get_page_from_freelist(k: Kernel, gfp: int, order: int, alloc_flags: int, ac: AllocContext) -> int | None:
    """Walk the zonelist and take a page from the first zone that may give one.

    Kernel:  get_page_from_freelist(), mm/page_alloc.c; LPA-9.2
    Status:  source
    Locks:   tries pcp.lock; takes zone.lock
    Cost:    O(zones)
    """
    while True:
        no_fallback = alloc_flags & g.ALLOC_NOFRAGMENT
        restart = False
        preferred = ac.zonelist[0]
        for zone in ac.zonelist:
            if no_fallback and zone is not preferred and zone.node != preferred.node and k.config.nr_online_nodes > 1:
                # Better to fragment the local node than to use a remote one.
                restart = True  # LPA-9.2.2
                break
            if not _zone_has_room(k, zone, order, alloc_flags, ac):
                continue
            pfn = rmqueue(k, zone, order, gfp, alloc_flags, ac.migratetype)
            if pfn is not None:
                prep_new_page(k, pfn, order, gfp)  # LPA-9.2.11
                if alloc_flags & g.ALLOC_HIGHATOMIC:
                    k.calls.reserve_highatomic_pageblock(k, pfn, order, zone)  # LPA-7.0.1
                return pfn
        if not (restart or no_fallback):
            return None  # LPA-9.2.12
        # Every zone would have to fragment: walk again without that care.
        alloc_flags &= ~g.ALLOC_NOFRAGMENT  # LPA-9.2.12


def _zone_has_room(k: Kernel, zone: Zone, order: int, alloc_flags: int, ac: AllocContext) -> bool:
    """The watermark part of the walk: below-high detection, then the request's own mark."""
    if not zone.flags & g.ZONE_BELOW_HIGH:
        mark = wmark_pages(zone, g.WMARK_HIGH)  # LPA-9.2.4
        if zone_watermark_fast(k, zone, order, mark, ac.highest_zoneidx, alloc_flags):
            return True
        # From here on frees do not fill the per-CPU lists further.
        zone.flags |= g.ZONE_BELOW_HIGH  # LPA-9.2.4, LPA-11.4.1
    mark = wmark_pages(zone, alloc_flags & g.ALLOC_WMARK_MASK)  # LPA-9.2.6
    if zone_watermark_fast(k, zone, order, mark, ac.highest_zoneidx, alloc_flags):
        return True
    return bool(alloc_flags & g.ALLOC_NO_WATERMARKS)  # LPA-9.2.6


# --- the entry ---------------------------------------------------------------------------------


def gfp_migratetype(k: Kernel, gfp: int) -> int:
    """The migratetype of a request.

    Kernel:  gfp_migratetype(), include/linux/gfp.h; LPA-1.0.13
    Status:  source
    """
    if k.config.page_group_by_mobility_disabled:
        return g.MIGRATE_UNMOVABLE  # LPA-1.0.13
    mt = GFP_MIGRATETYPE_TABLE[(gfp & g.GFP_MOVABLE_MASK) >> g.GFP_MOVABLE_SHIFT]  # LPA-1.0.13
    assert mt is not None
    return mt


def gfp_to_alloc_flags_cma(k: Kernel, gfp: int, alloc_flags: int) -> int:
    """Movable requests may use CMA blocks.

    Kernel:  gfp_to_alloc_flags_cma(), mm/page_alloc.c; LPA-6.1.9
    Status:  source
    """
    if gfp_migratetype(k, gfp) == g.MIGRATE_MOVABLE:
        alloc_flags |= g.ALLOC_CMA  # LPA-6.1.9
    return alloc_flags


def alloc_flags_nofragment(k: Kernel, zone: Zone, gfp: int) -> int:
    """ALLOC_KSWAPD and, where a lower zone can help out, ALLOC_NOFRAGMENT.

    Kernel:  alloc_flags_nofragment(), mm/page_alloc.c; LPA-9.1.1, LPA-9.1.2
    Status:  source
    """
    # the same bit as ALLOC_KSWAPD
    alloc_flags = gfp & g.GFP_KSWAPD_RECLAIM  # LPA-9.1.1
    if zone.idx != g.ZONE_NORMAL:
        return alloc_flags  # LPA-9.1.2
    if k.config.nr_online_nodes > 1:
        dma32 = k.nodes[zone.node].node_zones[g.ZONE_DMA32]
        if dma32 is None or not dma32.present_pages:
            return alloc_flags  # LPA-9.1.2
    return alloc_flags | g.ALLOC_NOFRAGMENT  # LPA-9.1.2


def prepare_alloc_pages(k: Kernel, gfp: int, preferred_nid: int) -> AllocContext:
    """Zonelist, migratetype and highest zone of a request.

    Kernel:  prepare_alloc_pages(), mm/page_alloc.c; LPA-9.1
    Status:  source
    """
    highest_zoneidx = g.gfp_zone(gfp)  # LPA-9.1.4
    thisnode = 1 if gfp & g.GFP_THISNODE else 0
    zonelist = k.nodes[preferred_nid].zonelists[thisnode][highest_zoneidx]  # LPA-9.1.5
    return AllocContext(zonelist, gfp_migratetype(k, gfp), highest_zoneidx)  # LPA-11.2.13


def gfp_to_alloc_flags(k: Kernel, gfp: int, order: int) -> int:
    """The slow path's flags: min watermark, and the reserves that the request may touch.

    Kernel:  gfp_to_alloc_flags(), mm/page_alloc.c; LPA-9.3.1, LPA-9.3.2, LPA-9.3.3
    Status:  source
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
    return gfp_to_alloc_flags_cma(k, gfp, alloc_flags)


def _gfp_pfmemalloc_flags(gfp: int) -> int:
    """Flags of a request that may ignore watermarks because it frees memory soon.

    PF_MEMALLOC tasks and OOM victims are not modelled, only the gfp bit.

    Kernel:  __gfp_pfmemalloc_flags(), mm/page_alloc.c; LPA-9.3.7
    Status:  decision D-06
    """
    if gfp & g.GFP_MEMALLOC and not gfp & g.GFP_NOMEMALLOC:
        return g.ALLOC_NO_WATERMARKS
    return 0


def wake_all_kswapds(k: Kernel, order: int, gfp: int, ac: AllocContext) -> None:
    """Wake the kswapd of each node of the zonelist.

    Kernel:  wake_all_kswapds(), mm/page_alloc.c; LPA-9.3.5
    Status:  source
    """
    last_node = None
    for zone in ac.zonelist:
        if zone.managed_pages and zone.node != last_node:
            wakeup_kswapd(k, zone, gfp, order, ac.highest_zoneidx)
            last_node = zone.node


def _alloc_pages_slowpath(k: Kernel, gfp: int, order: int, ac: AllocContext) -> int | None:
    """Try again with the min watermark, then once more with special reserves.

    Kernel:  __alloc_pages_slowpath(), mm/page_alloc.c; LPA-9.3
    Status:  source up to the point where reclaim would start; decision D-06
    Locks:   tries pcp.lock; takes zone.lock
    """
    alloc_flags = k.calls.gfp_to_alloc_flags(k, gfp, order)  # LPA-9.3.6
    if alloc_flags & g.ALLOC_KSWAPD:
        wake_all_kswapds(k, order, gfp, ac)
    pfn = k.calls.get_page_from_freelist(k, gfp, order, alloc_flags, ac)  # LPA-9.3.5
    if pfn is not None:
        return pfn
    costly = order > g.PAGE_ALLOC_COSTLY_ORDER or (order > 0 and ac.migratetype != g.MIGRATE_MOVABLE)
    if gfp & g.GFP_DIRECT_RECLAIM and costly and not _gfp_pfmemalloc_flags(gfp):
        return None  # direct compaction would start here
    if alloc_flags & g.ALLOC_KSWAPD:
        wake_all_kswapds(k, order, gfp, ac)
    reserve_flags = _gfp_pfmemalloc_flags(gfp)
    if reserve_flags:
        alloc_flags = gfp_to_alloc_flags_cma(k, gfp, reserve_flags) | alloc_flags & g.ALLOC_KSWAPD  # LPA-9.3.7
    return k.calls.get_page_from_freelist(k, gfp, order, alloc_flags, ac)  # LPA-9.3.8, LPA-9.3.10


def _alloc_pages(k: Kernel, gfp: int, order: int, preferred_nid: int) -> int | None:
    """Allocate 2^order contiguous, aligned pages.  Returns the first PFN or None.

    Kernel:  __alloc_pages_noprof(), mm/page_alloc.c; LPA-9.1
    Status:  source
    Locks:   tries pcp.lock; takes zone.lock
    """
    ac = prepare_alloc_pages(k, gfp, preferred_nid)
    pfn = None
    if ac.zonelist:
        alloc_flags = gfp_to_alloc_flags_cma(k, gfp, g.ALLOC_WMARK_LOW)  # LPA-9.1.1
        alloc_flags |= k.calls.alloc_flags_nofragment(k, ac.zonelist[0], gfp)
        pfn = k.calls.get_page_from_freelist(k, gfp, order, alloc_flags, ac)
        if pfn is None:
            pfn = k.calls._alloc_pages_slowpath(k, gfp, order, ac)
    if k.trace is not None:
        k.trace.mm_page_alloc(k.machine.cpu, pfn, order, gfp, ac.migratetype)  # LPA-15.1.1
    return pfn


def alloc_pages(k: Kernel, gfp: int, order: int) -> int | None:
    """Allocate from the running CPU's node.

    Kernel:  alloc_pages_noprof(), mm/mempolicy.c; LPA-9.1
    Status:  source
    """
    return _alloc_pages(k, gfp, order, k.config.cpu_node[k.machine.cpu])


# --- many at once ------------------------------------------------------------------------------


def alloc_pages_bulk(k: Kernel, gfp: int, preferred_nid: int, pages: list[int | None]) -> int:
    """Fill the empty slots of ``pages`` with single pages.  Returns how many leading slots are filled.

    Kernel:  alloc_pages_bulk_noprof(), mm/page_alloc.c; LPA-9.4
    Status:  source
    Locks:   tries pcp.lock; takes zone.lock
    Units:   order 0 only
    """
    nr_pages = len(pages)
    nr_populated = 0
    while nr_populated < nr_pages and pages[nr_populated] is not None:
        nr_populated += 1
    if nr_populated == nr_pages:
        return nr_populated
    # One page is quicker alone, and the bulk path cannot charge to a memory cgroup.
    single = nr_pages - nr_populated == 1 or (gfp & g.GFP_ACCOUNT and k.config.memcg_kmem)  # LPA-9.4.1
    if not single:
        filled = _alloc_pages_bulk_pcp(k, gfp, preferred_nid, pages, nr_populated)
        if filled is not None:
            return filled
    pfn = _alloc_pages(k, gfp, 0, preferred_nid)
    if pfn is not None:
        pages[nr_populated] = pfn
        nr_populated += 1
    return nr_populated


def _alloc_pages_bulk_pcp(
    k: Kernel, gfp: int, preferred_nid: int, pages: list[int | None], nr_populated: int
) -> int | None:
    """The bulk path proper.  None: fall back to a single allocation."""
    ac = prepare_alloc_pages(k, gfp, preferred_nid)
    if not ac.zonelist:
        return None  # LPA-9.4.5
    alloc_flags = gfp_to_alloc_flags_cma(k, gfp, g.ALLOC_WMARK_LOW)  # LPA-9.4.2
    zone = _bulk_zone(k, ac, alloc_flags, len(pages))
    if zone is None:
        return None  # LPA-9.4.5
    pcp = zone.per_cpu_pageset[k.machine.cpu]
    if not pcp.lock.pcp_spin_trylock():
        return None  # LPA-9.4.6, LPA-16.0.3
    pcp_list = pcp.lists[k.calls.order_to_pindex(k, ac.migratetype, 0)]
    nr_account = 0
    while nr_populated < len(pages):
        if pages[nr_populated] is None:
            pfn = k.calls._rmqueue_pcplist(k, zone, 0, ac.migratetype, alloc_flags, pcp, pcp_list)  # LPA-9.4.7
            if pfn is None:
                break
            nr_account += 1
            prep_new_page(k, pfn, 0, gfp)  # LPA-9.4.9
            pages[nr_populated] = pfn
        nr_populated += 1
    pcp.lock.unlock()
    k.pgalloc[zone.idx] += nr_account  # LPA-9.4.8, LPA-14.0.9
    return nr_populated if nr_account else None


def _bulk_zone(k: Kernel, ac: AllocContext, alloc_flags: int, nr_pages: int) -> Zone | None:
    """The first zone of the preferred node that stays above low with all the pages gone."""
    preferred = ac.zonelist[0]
    for zone in ac.zonelist:
        if k.config.nr_online_nodes > 1 and zone.node != preferred.node:
            return None
        mark = wmark_pages(zone, alloc_flags & g.ALLOC_WMARK_MASK) + nr_pages  # LPA-9.4.3
        if zone_watermark_fast(k, zone, 0, mark, preferred.idx, alloc_flags):
            return zone  # LPA-9.4.10
    return None


def alloc_pages_exact(k: Kernel, gfp: int, nr_pages: int) -> int | None:
    """Allocate exactly ``nr_pages`` contiguous pages; each is an order-0 page of its own.

    The surplus of the power of two goes straight to the tail of the zone's lists.

    Kernel:  alloc_pages_exact_noprof(), mm/page_alloc.c; LPA-10.0.5
    Status:  source
    Locks:   tries pcp.lock; takes zone.lock
    Units:   nr_pages is base pages
    """
    order = (nr_pages - 1).bit_length()
    pfn = alloc_pages(k, gfp & ~(g.GFP_COMP | g.GFP_HIGHMEM), order)
    if pfn is None:
        return None
    split_page(k, pfn, order)
    for surplus in range(pfn + nr_pages, pfn + (1 << order)):
        _free_pages_ok(k, surplus, 0, FPI_TO_TAIL)  # LPA-10.0.5
    return pfn


def free_pages_exact(k: Kernel, pfns: Sequence[int]) -> None:
    """Free the pages of alloc_pages_exact(), ascending, through the per-CPU lists.

    Kernel:  free_pages_exact(), mm/page_alloc.c; LPA-10.0.6
    Status:  source
    """
    for pfn in pfns:
        _free_pages(k, pfn, 0)  # LPA-10.0.6
