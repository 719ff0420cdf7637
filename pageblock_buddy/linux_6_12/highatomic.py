# SPDX-License-Identifier: GPL-2.0-only
"""The reserve of pageblocks for high-order atomic allocations.

Kernel: mm/page_alloc.c (6.12.117)
"""

from __future__ import annotations

from pageblock_buddy import gfp
from pageblock_buddy.linux_6_12.buddy import change_pageblock_range, move_freepages_block, move_to_free_list
from pageblock_buddy.mm.alloc_context import AllocContext
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone


def reserve_highatomic_pageblock(k: Kernel, pfn: int, order: int, zone: Zone) -> None:
    """Reserve the pageblock of a page that was just allocated with ALLOC_HIGHATOMIC.

    Kernel:  reserve_highatomic_pageblock(), mm/page_alloc.c; LPA-7.0
    Status:  source
    Locks:   takes zone.lock
    Points:  zone.lock lock, unlock
    """
    one_percent = zone.managed_pages // 100
    if one_percent < k.block_pages:
        return  # LPA-7.0.6
    max_managed = -(-one_percent // k.block_pages) * k.block_pages  # LPA-7.0.7
    if zone.nr_reserved_highatomic >= max_managed:
        return  # LPA-7.0.9
    zone.lock.lock()  # LPA-16.0.6
    _reserve_locked(k, pfn, order, zone, max_managed)
    zone.lock.unlock()


def _reserve_locked(k: Kernel, pfn: int, order: int, zone: Zone, max_managed: int) -> None:
    # Looked at again: the first look was without the lock.
    if zone.nr_reserved_highatomic >= max_managed:
        return  # LPA-7.0.9
    mt = k.calls.get_pageblock_migratetype(k, pfn)
    if not gfp.is_migrate_mergeable(mt):
        return  # LPA-7.0.10
    if order < k.pageblock_order:
        if move_freepages_block(k, zone, pfn, mt, gfp.MIGRATE_HIGHATOMIC) is None:  # LPA-7.0.11
            return
        zone.nr_reserved_highatomic += k.block_pages
    else:
        change_pageblock_range(k, pfn, order, gfp.MIGRATE_HIGHATOMIC)  # LPA-7.0.12
        zone.nr_reserved_highatomic += 1 << order


def unreserve_highatomic_pageblock(k: Kernel, ac: AllocContext, force: bool) -> bool:
    """Give one reserved pageblock back to the request's type.  True if free pages came with it.

    Reclaim calls this; it is here for those who model reclaim above this package.

    Kernel:  unreserve_highatomic_pageblock(), mm/page_alloc.c; LPA-7.0
    Status:  source
    Locks:   takes zone.lock
    Points:  zone.lock lock, unlock
    """
    for zone in ac.zonelist:
        # One pageblock is kept unless memory is really tight.
        if not force and zone.nr_reserved_highatomic <= k.block_pages:
            continue  # LPA-7.0.20
        zone.lock.lock()  # LPA-16.0.6
        moved = _unreserve_locked(k, zone, ac.migratetype)
        zone.lock.unlock()
        if moved:
            return True
    return False


def _unreserve_locked(k: Kernel, zone: Zone, mt: int) -> bool:
    for order, area in enumerate(zone.free_area):
        pfn = area.free_list[gfp.MIGRATE_HIGHATOMIC].first_entry_or_null()
        if pfn is None:
            continue
        # Frees race with the count in the kernel, so it is clamped there and here.
        # LPA-7.0.21, LPA-7.0.22
        zone.nr_reserved_highatomic -= min(max(k.block_pages, 1 << order), zone.nr_reserved_highatomic)
        if order < k.pageblock_order:
            moved = move_freepages_block(k, zone, pfn, gfp.MIGRATE_HIGHATOMIC, mt)  # LPA-7.0.23
            if moved is None:
                continue
            return moved > 0
        move_to_free_list(k, pfn, zone, order, gfp.MIGRATE_HIGHATOMIC, mt)  # LPA-7.0.24
        change_pageblock_range(k, pfn, order, mt)
        return True
    return False
