# SPDX-License-Identifier: GPL-2.0-only
"""Variant rfc: what it replaces of linux-7.0, and the table of what only variants with owners have."""

from __future__ import annotations

import dataclasses
from typing import Final

from pageblock_buddy.linux_7_0 import variant as linux_7_0
from pageblock_buddy.mm.calls import PcpBuddyCalls
from pageblock_buddy.rfc import alloc, bulk, drain, free, hotplug, merge, pageblock, pcp, refill

PCP_BUDDY: Final = PcpBuddyCalls(
    pcp_rmqueue_smallest=pcp.pcp_rmqueue_smallest,
    refill_recover=refill.refill_recover,
    refill_claim=refill.refill_claim,
    refill_chunks=refill.refill_chunks,
    refill_classic=refill.refill_classic,
    recover_block=refill.recover_block,
    set_pageblock_owner=pageblock.set_pageblock_owner,
    list_owned_block=pageblock.list_owned_block,
    unlist_owned_block=pageblock.unlist_owned_block,
    owned_blocks_to_recover=pageblock.owned_blocks_to_recover,
    pcp_free_lock=free.pcp_free_lock,
    still_routed=free.still_routed,
    merge_pcp_buddies=merge.merge_pcp_buddies,
    drain_order=bulk.drain_order,
)

CALLS: Final = dataclasses.replace(
    linux_7_0.CALLS,
    nr_pcp_lists=pcp.nr_pcp_lists,
    pcp_allowed_order=pcp.pcp_allowed_order,
    order_to_pindex=pcp.order_to_pindex,
    pindex_to_order=pcp.pindex_to_order,
    _rmqueue_pcplist=alloc._rmqueue_pcplist,
    rmqueue_bulk=bulk.rmqueue_bulk,
    free_pcppages_bulk=bulk.free_pcppages_bulk,
    free_frozen_page_commit=free.free_frozen_page_commit,
    _free_frozen_pages=free._free_frozen_pages,
    free_unref_folios=free.free_unref_folios,
    decay_pcp_high=drain.decay_pcp_high,
    page_alloc_cpu_dead=hotplug.page_alloc_cpu_dead,
    pcp_buddy=PCP_BUDDY,
)
