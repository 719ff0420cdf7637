# SPDX-License-Identifier: GPL-2.0-only
"""The bottom-up merge pass over marked chunks, under pcp->lock alone.

Kernel: [RFC 2/2]
"""

from __future__ import annotations

from pageblock_buddy import gfp
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages
from pageblock_buddy.mm.page import PG_NONE, PG_PCP_BUDDY
from pageblock_buddy.rfc.pcp import pcp_list_type


def merge_pcp_buddies(k: Kernel, pcp: PerCpuPages) -> int:
    """Merge marked buddies on a CPU's lists up to pageblock_order.  Returns the merges.

    Order by order, oldest chunk first.  A marked buddy of equal order lies on the same PCP, since both belong to
    one owned block, but not always on the same list: the block may have changed its type between two frees.  The
    merged chunk goes to the head of the list of the block's present type.

    Kernel:  the merge pass of free_pcppages_bulk(), [RFC 2/2]; RFC-7.3, RFC-7.7, RFC-7.4, RFC-7.6
    Status:  source; decision D-17 (places), decision D-18 (scope), decision D-19 (limit)
    Locks:   holds pcp.lock
    Cost:    O(chunks on the lists)
    """
    mem_map = k.mem_map
    merges = 0
    for order in range(k.pageblock_order):  # RFC-7.3, RFC-7.7
        marked = PG_PCP_BUDDY | order
        size = 1 << order
        first = gfp.MIGRATE_PCPTYPES * order
        lists = pcp.lists[first : first + gfp.MIGRATE_PCPTYPES]
        for pcp_list in lists:
            for pfn in reversed(pcp_list.to_list()):
                buddy = pfn ^ size
                # A chunk that just merged as the other's buddy has another state by now.
                if mem_map[buddy] != marked or mem_map[pfn] != marked:  # RFC-7.4
                    continue
                pcp_list.list_del(pfn)
                next(one for one in lists if buddy in one).list_del(buddy)
                mem_map[pfn] = mem_map[buddy] = PG_NONE
                merged = pfn & buddy
                mem_map[merged] = PG_PCP_BUDDY | (order + 1)  # RFC-7.6
                pcp.lists[first + gfp.MIGRATE_PCPTYPES + pcp_list_type(k, merged)].list_add(merged)  # RFC-7.5
                merges += 1
    return merges
