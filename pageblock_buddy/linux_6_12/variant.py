# SPDX-License-Identifier: GPL-2.0-only
"""Variant linux-6.12: the baseline.  Every entry point, and which file it is in."""

from __future__ import annotations

from typing import Final

from pageblock_buddy.linux_6_12 import (
    alloc,
    buddy,
    bulk,
    drain,
    fallback,
    free,
    highatomic,
    hotplug,
    isolation,
    pcp,
    watermark,
)
from pageblock_buddy.mm import pageblock
from pageblock_buddy.mm.calls import Calls

CALLS: Final = Calls(
    get_pageblock_migratetype=pageblock.get_pageblock_migratetype,
    set_pageblock_migratetype=pageblock.set_pageblock_migratetype,
    _add_to_free_list=buddy._add_to_free_list,
    _del_page_from_free_list=buddy._del_page_from_free_list,
    free_blocks_of_pageblock=buddy.free_blocks_of_pageblock,
    _free_one_page=buddy._free_one_page,
    free_one_page=buddy.free_one_page,
    _rmqueue_smallest=buddy._rmqueue_smallest,
    _rmqueue=fallback._rmqueue,
    rmqueue_buddy=alloc.rmqueue_buddy,
    reserve_highatomic_pageblock=highatomic.reserve_highatomic_pageblock,
    unreserve_highatomic_pageblock=highatomic.unreserve_highatomic_pageblock,
    zone_watermark_unusable_free=watermark.zone_watermark_unusable_free,
    nr_pcp_lists=pcp.nr_pcp_lists,
    pcp_allowed_order=pcp.pcp_allowed_order,
    order_to_pindex=pcp.order_to_pindex,
    pindex_to_order=pcp.pindex_to_order,
    nr_pcp_alloc=pcp.nr_pcp_alloc,
    rmqueue_pcplist=alloc.rmqueue_pcplist,
    _rmqueue_pcplist=alloc._rmqueue_pcplist,
    rmqueue_bulk=bulk.rmqueue_bulk,
    free_pcppages_bulk=bulk.free_pcppages_bulk,
    free_frozen_page_commit=free.free_frozen_page_commit,
    alloc_flags_nofragment=alloc.alloc_flags_nofragment,
    gfp_to_alloc_flags=alloc.gfp_to_alloc_flags,
    _alloc_pages_slowpath=alloc._alloc_pages_slowpath,
    get_page_from_freelist=alloc.get_page_from_freelist,
    _free_frozen_pages=free._free_frozen_pages,
    free_unref_folios=free.free_unref_folios,
    drain_pages_zone=drain.drain_pages_zone,
    drain_zone_pages=drain.drain_zone_pages,
    decay_pcp_high=drain.decay_pcp_high,
    drain_all_pages=drain.drain_all_pages,
    page_alloc_cpu_dead=hotplug.page_alloc_cpu_dead,
    set_migratetype_isolate=isolation.set_migratetype_isolate,
    unset_migratetype_isolate=isolation.unset_migratetype_isolate,
)
