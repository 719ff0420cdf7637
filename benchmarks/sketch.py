# SPDX-License-Identifier: GPL-2.0-only
"""The yardstick: the hot path of linux-6.12 for one page, inlined by hand into one function each way.

It works on the same :class:`Kernel`, the same OrderedDicts and the same columns, and does what the mirrored functions
do for an order-0 request that the running CPU's list serves, in the same order: every test, every store, the lock's
owner, both looks at the page's state.  Left out is only what calls cost: arguments, the table of entry points, the
alloc_context object, min() and max().  Whatever leaves the hot path goes to the mirrored functions, so a sketch and
a model that did the same operations are in the same state, which the benchmark checks.
"""

from __future__ import annotations

from bisect import bisect_right

from pageblock_buddy.errors import BadArgument
from pageblock_buddy.gfp import (
    ALLOC_CMA,
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_NOFRAGMENT,
    ALLOC_RESERVES,
    ALLOC_WMARK_LOW,
    GFP_KSWAPD_RECLAIM,
    GFP_MIGRATETYPE_TABLE,
    GFP_MOVABLE,
    GFP_MOVABLE_MASK,
    GFP_MOVABLE_SHIFT,
    GFP_THISNODE,
    GFP_ZONE_TABLE,
    GFP_ZONEMASK,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    MIGRATE_UNMOVABLE,
    PCPF_PREV_FREE_HIGH_ORDER,
    WMARK_HIGH,
    ZONE_BELOW_HIGH,
    ZONE_BOOSTED_WATERMARK,
    ZONE_DMA32,
    ZONE_MOVABLE,
    ZONE_NORMAL,
    ZONE_RECLAIM_ACTIVE,
)
from pageblock_buddy.linux_6_12 import alloc, free
from pageblock_buddy.linux_6_12.pcp import clamp, nr_pcp_free, nr_pcp_high
from pageblock_buddy.linux_6_12.watermark import zone_watermark_ok
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import wmark_pages
from pageblock_buddy.mm.page import PG_ALLOCATED, PG_COMPOUND, PG_NONE, PG_PCP


def alloc_page(k: Kernel, gfp: int) -> int | None:
    """alloc_pages(gfp, 0) from the running CPU's list."""
    machine = k.machine
    cpu = machine.cpu
    config = k.config
    # prepare_alloc_pages()
    highest_zoneidx = GFP_ZONE_TABLE[gfp & GFP_ZONEMASK]
    mt = GFP_MIGRATETYPE_TABLE[(gfp & GFP_MOVABLE_MASK) >> GFP_MOVABLE_SHIFT]
    assert highest_zoneidx is not None
    assert mt is not None
    if config.page_group_by_mobility_disabled:
        mt = MIGRATE_UNMOVABLE
    zonelist = k.nodes[config.cpu_node[cpu]].zonelists[1 if gfp & GFP_THISNODE else 0][highest_zoneidx]
    if not zonelist:
        return alloc.alloc_pages(k, gfp, 0)
    zone = zonelist[0]
    # gfp_to_alloc_flags_cma(), alloc_flags_nofragment()
    alloc_flags = ALLOC_WMARK_LOW
    if gfp & GFP_MOVABLE_MASK == GFP_MOVABLE:
        alloc_flags |= ALLOC_CMA
    alloc_flags |= gfp & GFP_KSWAPD_RECLAIM
    if zone.idx == ZONE_NORMAL:
        if config.nr_online_nodes > 1:
            dma32 = k.nodes[zone.node].node_zones[ZONE_DMA32]
            if dma32 is not None and dma32.present_pages:
                alloc_flags |= ALLOC_NOFRAGMENT
        else:
            alloc_flags |= ALLOC_NOFRAGMENT
    # get_page_from_freelist(): below-high detection and zone_watermark_fast()
    if zone.flags & ZONE_BELOW_HIGH:
        return alloc.alloc_pages(k, gfp, 0)
    free_pages = zone.nr_free_pages
    if not alloc_flags & ALLOC_RESERVES:
        free_pages -= zone.nr_free_highatomic
    if not alloc_flags & ALLOC_CMA:
        free_pages -= zone.nr_free_cma
    if free_pages <= zone.watermark[WMARK_HIGH] + zone.watermark_boost + zone.lowmem_reserve[highest_zoneidx]:
        return alloc.alloc_pages(k, gfp, 0)
    # rmqueue_pcplist()
    pcp = zone.per_cpu_pageset[cpu]
    lock = pcp.lock
    if lock.owner is not None:
        return alloc.alloc_pages(k, gfp, 0)
    lock.owner = cpu
    pcp.free_count >>= 1
    pcp_list = pcp.lists[mt]
    entries = pcp_list._entries
    # __rmqueue_pcplist()
    if not entries:
        batch = k.calls.nr_pcp_alloc(k, pcp, zone, 0)
        taken = k.calls.rmqueue_bulk(k, zone, 0, batch, pcp, mt, alloc_flags)
        pcp.count += taken
        if not taken:
            lock.owner = None
            return alloc.alloc_pages(k, gfp, 0)
    pfn: int = entries.popitem(last=False)[0]
    pcp.count -= 1
    if lock.owner != cpu:
        lock._not_held()
    lock.owner = None
    k.pgalloc[zone.idx] += 1
    # rmqueue(), prep_new_page()
    if alloc_flags & ALLOC_KSWAPD and zone.flags & ZONE_BOOSTED_WATERMARK:
        zone.flags &= ~ZONE_BOOSTED_WATERMARK
        alloc.wakeup_kswapd(k, zone, 0, 0, zone.idx)
    k.mem_map[pfn] = PG_ALLOCATED
    if alloc_flags & ALLOC_HIGHATOMIC:
        k.calls.reserve_highatomic_pageblock(k, pfn, 0, zone)
    if k.trace is not None:
        k.trace.mm_page_alloc(cpu, pfn, 0, gfp, mt)
    return pfn


def free_page(k: Kernel, pfn: int) -> None:
    """__free_pages(pfn, 0) to the running CPU's list."""
    mem_map = k.mem_map
    # __free_pages()
    if mem_map[pfn] & ~PG_COMPOUND != PG_ALLOCATED:
        free.raise_bad_free(k, pfn, 0)
    if pfn in k.page_refs:
        free._free_pages(k, pfn, 0)
        return
    # free_pages_prepare()
    if mem_map[pfn] & ~PG_COMPOUND != PG_ALLOCATED:
        free.raise_bad_free(k, pfn, 0)
    mem_map[pfn] = PG_NONE
    cpu = k.machine.cpu
    if k.trace is not None:
        k.trace.mm_page_free(cpu, pfn, 0)
    # page_zone(), get_pfnblock_migratetype()
    index = bisect_right(k.zone_starts, pfn) - 1
    if index < 0:
        raise BadArgument(f"pfn {pfn} is in no zone", pfn=pfn)
    zone = k.zones_by_pfn[index]
    if pfn >= zone.end_pfn:
        raise BadArgument(f"pfn {pfn} is in no zone", pfn=pfn)
    mt = k.pageblock_flags[pfn >> k.pageblock_order]
    if mt >= MIGRATE_PCPTYPES:
        if mt == MIGRATE_ISOLATE:
            k.calls.free_one_page(k, zone, pfn, 0, 0)
            return
        mt = MIGRATE_MOVABLE
    pcp = zone.per_cpu_pageset[cpu]
    lock = pcp.lock
    if lock.owner is not None:
        k.calls.free_one_page(k, zone, pfn, 0, 0)
        return
    lock.owner = cpu
    # free_frozen_page_commit()
    pcp.alloc_factor >>= 1
    k.pgfree += 1
    entries = pcp.lists[mt]._entries
    entries[pfn] = None
    entries.move_to_end(pfn, last=False)
    mem_map[pfn] = PG_PCP
    count = pcp.count = pcp.count + 1
    batch = pcp.batch
    if pcp.flags & PCPF_PREV_FREE_HIGH_ORDER:
        pcp.flags &= ~PCPF_PREV_FREE_HIGH_ORDER
    if pcp.free_count < batch << k.config.pcp_batch_scale_max:
        pcp.free_count += 1
    # nr_pcp_high()
    high = pcp.high
    high_min = pcp.high_min
    high_max = pcp.high_max
    if high >= high_max:
        high = high_max
    elif high <= high_min:
        high = high_min
    pcp.high = high
    if high:
        if zone.flags & ZONE_RECLAIM_ACTIVE:
            high = nr_pcp_high(k, pcp, zone, False)
        elif high_min != high_max:
            if zone.flags & ZONE_BELOW_HIGH:
                high = nr_pcp_high(k, pcp, zone, False)
            elif count >= high:
                need_high = pcp.free_count + batch
                if high < need_high:
                    pcp.high = clamp(need_high, high_min, high_max)
    if count >= high:
        k.calls.free_pcppages_bulk(k, zone, nr_pcp_free(k, pcp, batch, high, False), pcp, mt)
        if zone.flags & ZONE_BELOW_HIGH:
            mark = wmark_pages(zone, WMARK_HIGH)
            if zone_watermark_ok(k, zone, 0, mark, ZONE_MOVABLE, 0):
                zone.flags &= ~ZONE_BELOW_HIGH
    if lock.owner != cpu:
        lock._not_held()
    lock.owner = None
