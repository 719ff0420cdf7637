# SPDX-License-Identifier: GPL-2.0-only
"""Per-CPU lists of every order up to pageblock_order, and splitting on them.

A chunk is *marked* (PagePCPBuddy) if it belongs to an owned pageblock and lies on its owner's PCP; marked chunks
merge in a drain.  What phases 2 and 3 bring, and frees of pages that nobody owns, lie there unmarked, for batching
only.

Kernel: mm/page_alloc.c, include/linux/mmzone.h; [RFC 2/2]
"""

from __future__ import annotations

from pageblock_buddy import gfp
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import PG_KIND_MASK, PG_NONE


def nr_pcp_lists(k: Kernel) -> int:
    """How many lists a per-CPU pageset has.

    Kernel:  NR_PCP_LISTS, include/linux/mmzone.h; [RFC 2/2]; RFC-3.15
    Status:  decision D-10
    """
    return gfp.MIGRATE_PCPTYPES * (k.pageblock_order + 1)  # RFC-3.15


def pcp_allowed_order(k: Kernel, order: int) -> bool:
    """Whether requests of this order are served from per-CPU lists: today's orders, inside one pageblock.

    Kernel:  pcp_allowed_order(), mm/page_alloc.c; RFC-3.17
    Status:  decision D-11
    """
    # RFC-3.17
    return order <= k.pageblock_order and (order <= gfp.PAGE_ALLOC_COSTLY_ORDER or order == k.hpage_order)


def order_to_pindex(k: Kernel, mt: int, order: int) -> int:
    """The list of a type (0..2) and order.

    Kernel:  order_to_pindex(), mm/page_alloc.c; [RFC 2/2]; RFC-3.16
    Status:  decision D-10
    """
    return gfp.MIGRATE_PCPTYPES * order + mt  # RFC-3.16


def pindex_to_order(k: Kernel, pindex: int) -> int:
    """The order of the chunks on a list.

    Kernel:  pindex_to_order(), mm/page_alloc.c; [RFC 2/2]; RFC-3.16
    Status:  decision D-10
    """
    return pindex // gfp.MIGRATE_PCPTYPES  # RFC-3.16


def pcp_list_type(k: Kernel, pfn: int) -> int:
    """The PCP type (0..2) that a block's pages are listed under now: HIGHATOMIC, CMA and ISOLATE count as MOVABLE."""
    mt = k.calls.get_pageblock_migratetype(k, pfn)
    return mt if mt < gfp.MIGRATE_PCPTYPES else gfp.MIGRATE_MOVABLE


def add_refill(k: Kernel, pcp: PerCpuPages, pfn: int, order: int, mt: int, kind: int) -> None:
    """Append a chunk that came from the zone; ``kind`` is PG_PCP_BUDDY for a marked one, else PG_PCP."""
    pcp.lists[gfp.MIGRATE_PCPTYPES * order + mt].list_add_tail(pfn)  # RFC-5.6
    k.mem_map[pfn] = kind | order  # RFC-3.10, RFC-3.11
    pcp.count += 1 << order  # RFC-3.24, RFC-5.7


def has_chunk(k: Kernel, pcp: PerCpuPages, order: int, mt: int) -> bool:
    """Whether a request of this order and type could be served from the lists."""
    return not all(
        pcp_list.list_empty() for pcp_list in pcp.lists[gfp.MIGRATE_PCPTYPES * order + mt :: gfp.MIGRATE_PCPTYPES]
    )


def pcp_rmqueue_smallest(k: Kernel, zone: Zone, pcp: PerCpuPages, order: int, mt: int) -> int | None:
    """Take a block from the smallest sufficient chunk on the lists, or None.

    The lower half is kept at each split; the upper halves go to the heads of their lists and inherit the mark.

    Kernel:  pcp_rmqueue_smallest(), mm/page_alloc.c; [RFC 2/2]; RFC-4.2, RFC-4.3, RFC-4.7, RFC-3.13
    Status:  inferred, the name from [03/40] and [21/40]; decision D-17
    Locks:   holds pcp.lock
    Cost:    O(pageblock_order)
    """
    lists = pcp.lists
    pindex = gfp.MIGRATE_PCPTYPES * order + mt
    while pindex < len(lists):
        if not lists[pindex].list_empty():
            pfn = lists[pindex].pop_first()  # RFC-4.2, RFC-4.3
            pcp.count -= 1 << order  # RFC-4.7
            kind = k.mem_map[pfn] & PG_KIND_MASK
            # The mark goes while pcp->lock is held: a merge pass must not take the page for a chunk on its lists.
            k.mem_map[pfn] = PG_NONE  # RFC-3.13
            current_order = pindex // gfp.MIGRATE_PCPTYPES
            while current_order > order:
                current_order -= 1
                upper = pfn + (1 << current_order)
                lists[gfp.MIGRATE_PCPTYPES * current_order + mt].list_add(upper)  # RFC-4.4, RFC-4.5
                k.mem_map[upper] = kind | current_order  # RFC-3.12
            return pfn
        pindex += gfp.MIGRATE_PCPTYPES
    return None
