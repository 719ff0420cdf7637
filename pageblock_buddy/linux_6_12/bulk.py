# SPDX-License-Identifier: GPL-2.0-only
"""Moving many pages between a per-CPU list and the zone under one hold of zone->lock.

Kernel: mm/page_alloc.c (6.12.117)
"""

from __future__ import annotations

from pageblock_buddy.gfp import FPI_NONE
from pageblock_buddy.mm.alloc_context import RmqueueMode
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import PG_NONE, PG_PCP


def rmqueue_bulk(k: Kernel, zone: Zone, order: int, count: int, pcp: PerCpuPages, mt: int, alloc_flags: int) -> int:
    """Take up to ``count`` blocks from the zone and append them to their per-CPU list.

    Returns the blocks taken, which the caller counts.  (C passes the list; variants that fill several lists want the
    pageset.)

    Kernel:  rmqueue_bulk(), mm/page_alloc.c; LPA-8.2
    Status:  source
    Locks:   holds pcp.lock; takes zone.lock
    Units:   count and the result are blocks of 2^order pages
    Cost:    O(count * max_page_order)
    Points:  zone.lock lock, unlock
    Errors:  none; 0 means the zone had nothing to give
    """
    mode = RmqueueMode()  # LPA-6.1.1
    pcp_list = pcp.lists[k.calls.order_to_pindex(k, mt, order)]
    taken = 0
    zone.lock.lock()  # LPA-8.2.5, LPA-16.0.6
    while taken < count:
        pfn = k.calls._rmqueue(k, zone, order, mt, alloc_flags, mode)
        if pfn is None:
            break  # LPA-8.2.7
        # At the tail, so that the pages are handed out in the order in which they were
        # split off: ascending, which hardware likes.
        pcp_list.list_add_tail(pfn)  # LPA-8.2.6
        k.mem_map[pfn] = PG_PCP | order
        taken += 1
    zone.lock.unlock()
    return taken


def free_pcppages_bulk(k: Kernel, zone: Zone, count: int, pcp: PerCpuPages, pindex: int) -> int:
    """Send at least ``count`` pages (or all) from per-CPU lists to the zone, oldest first.

    Starts with the list ``pindex`` and empties each list before it goes to the next one.  Returns the pages that went
    (in C nothing; rfc wants to know).

    Kernel:  free_pcppages_bulk(), mm/page_alloc.c; LPA-8.5
    Status:  source
    Locks:   holds pcp.lock; takes zone.lock
    Units:   count is base pages; the last block may take it past count
    Cost:    O(pages * max_page_order)
    Points:  zone.lock lock, unlock
    """
    asked = count = min(pcp.count, count)  # LPA-8.5.1
    lists = pcp.lists
    pindex -= 1
    zone.lock.lock()  # LPA-16.0.6
    while count > 0:
        pindex = (pindex + 1) % len(lists)  # LPA-8.5.2
        while lists[pindex].list_empty():
            pindex = (pindex + 1) % len(lists)
        pcp_list = lists[pindex]
        order = k.calls.pindex_to_order(k, pindex)
        while count > 0 and not pcp_list.list_empty():  # LPA-8.5.7
            pfn = pcp_list.pop_last()  # LPA-8.5.3
            k.mem_map[pfn] = PG_NONE
            # The block's type now, not the list's: it may have changed since.
            mt = k.calls.get_pageblock_migratetype(k, pfn)  # LPA-8.5.4
            count -= 1 << order
            pcp.count -= 1 << order
            k.calls._free_one_page(k, pfn, zone, order, mt, FPI_NONE)  # LPA-4.3.9
            if k.trace is not None:
                k.trace.mm_page_pcpu_drain(k.machine.cpu, pfn, order, mt)  # LPA-8.5.6, LPA-15.1.6, LPA-15.1.7
    zone.lock.unlock()
    return asked - count
