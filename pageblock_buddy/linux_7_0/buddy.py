# SPDX-License-Identifier: GPL-2.0-only
"""The zone buddy: frees that may not wait for zone->lock, and the pages that they leave behind.

Kernel: mm/page_alloc.c (7.0-rc)
"""

from __future__ import annotations

from pageblock_buddy import gfp
from pageblock_buddy.linux_6_12.buddy import split_large_buddy
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone
from pageblock_buddy.mm.page import PG_LLIST, PG_NONE


def add_page_to_zone_llist(k: Kernel, zone: Zone, pfn: int, order: int) -> None:
    """Leave a block for the next ordinary free_one_page() of this zone.

    Kernel:  add_page_to_zone_llist(), mm/page_alloc.c; LPA-4.3.6
    Status:  source; read, not recorded
    """
    k.mem_map[pfn] = PG_LLIST | order
    zone.trylock_free_pages.llist_add(pfn, order)


def free_one_page(k: Kernel, zone: Zone, pfn: int, order: int, fpi_flags: int) -> None:
    """Free a block straight to the zone; with FPI_TRYLOCK only if zone->lock is free.

    Kernel:  free_one_page(), mm/page_alloc.c; LPA-4.3
    Status:  source; read, not recorded
    Locks:   takes zone.lock; tries zone.lock (with FPI_TRYLOCK)
    Cost:    O(max_page_order) a pageblock, and as much for each deferred block
    Points:  zone.lock lock or trylock, unlock
    """
    if fpi_flags & gfp.FPI_TRYLOCK:
        if not zone.lock.trylock():
            add_page_to_zone_llist(k, zone, pfn, order)  # LPA-4.3.6
            return
    else:
        zone.lock.lock()  # LPA-4.3.1, LPA-16.0.6
    if not fpi_flags & gfp.FPI_TRYLOCK and not zone.trylock_free_pages.llist_empty():
        for deferred, deferred_order in zone.trylock_free_pages.llist_del_all():  # LPA-4.3.6
            k.mem_map[deferred] = PG_NONE
            split_large_buddy(k, zone, deferred, deferred_order, fpi_flags)
            k.pgfree += 1 << deferred_order  # LPA-4.3.4
    split_large_buddy(k, zone, pfn, order, fpi_flags)
    zone.lock.unlock()
    k.pgfree += 1 << order  # LPA-4.3.4, LPA-14.0.10


def nr_free_pages_blocks(k: Kernel, zone: Zone) -> int:
    """NR_FREE_PAGES_BLOCKS: pages in free blocks of at least pageblock_order that are not isolated.

    The kernel keeps a counter with per-CPU differences; no decision of the allocator reads it, so here the lists are
    asked.

    Kernel:  NR_FREE_PAGES_BLOCKS, include/linux/mmzone.h; LPA-3.0.8
    Status:  source; decision D-09
    Units:   base pages
    Cost:    O(max_page_order)
    """
    pages = 0
    for order in range(k.pageblock_order, k.config.max_page_order + 1):
        for mt, free_list in enumerate(zone.free_area[order].free_list):
            if mt != gfp.MIGRATE_ISOLATE:
                pages += len(free_list) << order  # LPA-3.0.8
    return pages
