# SPDX-License-Identifier: GPL-2.0-only
"""Refill, which may not wait for zone->lock if the caller may not.

Kernel: mm/page_alloc.c (7.0-rc)
"""

from __future__ import annotations

from pageblock_buddy import gfp
from pageblock_buddy.mm.alloc_context import RmqueueMode
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import PG_PCP


def lock_zone_for_alloc(zone: Zone, alloc_flags: int) -> bool:
    """Take zone->lock; with ALLOC_TRYLOCK only if it is free.  False: it is not held.

    Kernel:  the head of rmqueue_bulk() and rmqueue_buddy(), mm/page_alloc.c; LPA-9.2.14, LPA-9.5.1
    Status:  source; read, not recorded
    Locks:   takes zone.lock; tries zone.lock (with ALLOC_TRYLOCK)
    """
    if alloc_flags & gfp.ALLOC_TRYLOCK:
        return zone.lock.trylock()  # LPA-9.2.14, LPA-9.5.1
    zone.lock.lock()  # LPA-8.2.5, LPA-9.2.13, LPA-16.0.6
    return True


def rmqueue_bulk(k: Kernel, zone: Zone, order: int, count: int, pcp: PerCpuPages, mt: int, alloc_flags: int) -> int:
    """Take up to ``count`` blocks from the zone and append them to their per-CPU list.

    Returns the blocks taken, which the caller counts; 0 also where zone->lock was busy and may not be waited for.

    Kernel:  rmqueue_bulk(), mm/page_alloc.c; LPA-8.2
    Status:  source; read, not recorded
    Locks:   holds pcp.lock; takes zone.lock
    Units:   count and the result are blocks of 2^order pages
    Cost:    O(count * max_page_order)
    Points:  zone.lock lock or trylock, unlock
    """
    mode = RmqueueMode()  # LPA-6.1.1
    pcp_list = pcp.lists[k.calls.order_to_pindex(k, mt, order)]
    taken = 0
    if not lock_zone_for_alloc(zone, alloc_flags):
        return 0
    while taken < count:
        pfn = k.calls._rmqueue(k, zone, order, mt, alloc_flags, mode)
        if pfn is None:
            break  # LPA-8.2.7
        pcp_list.list_add_tail(pfn)  # LPA-8.2.6
        k.mem_map[pfn] = PG_PCP | order
        taken += 1
    zone.lock.unlock()
    return taken
