# SPDX-License-Identifier: GPL-2.0-only
"""Isolation: taking a pageblock's free pages out of circulation, and giving them back.

Memory offlining and contiguous allocation isolate first, then migrate what is in use.  The
search for unmovable pages is not modelled: isolation here always succeeds inside a zone.

Kernel: mm/page_isolation.c, mm/page_alloc.c (6.12.117)
"""

from __future__ import annotations

from pageblock_buddy import gfp
from pageblock_buddy.linux_6_12.buddy import (
    block_inside_zone,
    del_page_from_free_list,
    move_freepages_block,
    page_is_buddy,
    split_large_buddy,
)
from pageblock_buddy.linux_6_12.free import covering_block
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone
from pageblock_buddy.mm.page import PG_BUDDY, PG_ORDER_MASK
from pageblock_buddy.mm.pageblock import pageblock_start_pfn


def move_freepages_block_isolate(k: Kernel, zone: Zone, pfn: int, old_mt: int, new_mt: int) -> bool:
    """Move a pageblock's free pages to or from the ISOLATE lists and set its type.

    A free block larger than a pageblock is first taken apart, so that one half can have another
    type.

    Kernel:  move_freepages_block_isolate(), mm/page_alloc.c; LPA-10.0.17, LPA-10.0.18, LPA-10.0.20
    Status:  source
    Locks:   holds zone.lock
    """
    if not block_inside_zone(k, zone, pfn):
        return False
    start = pageblock_start_pfn(k, pfn)
    block = covering_block(k, start)
    if block is not None and block[2] & PG_BUDDY and block[1] > k.pageblock_order:
        head, order, _ = block
        head_mt = k.calls.get_pageblock_migratetype(k, head)
        del_page_from_free_list(k, head, zone, order, head_mt)  # LPA-10.0.17
        k.calls.set_pageblock_migratetype(k, start, new_mt)
        split_large_buddy(k, zone, head, order, gfp.FPI_NONE)
        return True
    return move_freepages_block(k, zone, start, old_mt, new_mt) is not None


def set_migratetype_isolate(k: Kernel, zone: Zone, pfn: int) -> bool:
    """Isolate a pageblock.  False if it is isolated already or straddles the zone.

    Kernel:  set_migratetype_isolate(), mm/page_isolation.c; LPA-10.0.17, LPA-10.0.18
    Status:  source, without the search for unmovable pages
    Locks:   takes zone.lock
    Points:  zone.lock lock, unlock
    """
    zone.lock.lock()  # LPA-16.0.6
    mt = k.calls.get_pageblock_migratetype(k, pfn)
    done = False
    if mt != gfp.MIGRATE_ISOLATE:
        done = move_freepages_block_isolate(k, zone, pfn, mt, gfp.MIGRATE_ISOLATE)  # LPA-2.0.5, LPA-10.0.18
    zone.lock.unlock()
    return done


def unset_migratetype_isolate(k: Kernel, zone: Zone, pfn: int, mt: int) -> None:
    """Give an isolated pageblock its type ``mt`` and its free pages back.

    Kernel:  unset_migratetype_isolate(), mm/page_isolation.c; LPA-10.0.19, LPA-10.0.20
    Status:  source
    Locks:   takes zone.lock
    Points:  zone.lock lock, unlock
    """
    zone.lock.lock()  # LPA-16.0.6
    if k.calls.get_pageblock_migratetype(k, pfn) == gfp.MIGRATE_ISOLATE:
        _unset_locked(k, zone, pageblock_start_pfn(k, pfn), mt)
    zone.lock.unlock()


def _unset_locked(k: Kernel, zone: Zone, start: int, mt: int) -> None:
    state = k.mem_map[start]
    order = state & PG_ORDER_MASK
    if state & PG_BUDDY and k.pageblock_order <= order < k.config.max_page_order:
        buddy = start ^ (1 << order)
        if page_is_buddy(k, zone, buddy, order):
            buddy_mt = k.calls.get_pageblock_migratetype(k, buddy)
            if buddy_mt != gfp.MIGRATE_ISOLATE:
                # Free it again, so that it merges with its neighbour.
                del_page_from_free_list(k, start, zone, order, gfp.MIGRATE_ISOLATE)  # LPA-10.0.19
                k.calls.set_pageblock_migratetype(k, start, mt)
                k.calls._free_one_page(k, start, zone, order, mt, gfp.FPI_TO_TAIL)  # LPA-4.3.10
                return
    move_freepages_block_isolate(k, zone, start, gfp.MIGRATE_ISOLATE, mt)  # LPA-10.0.20
