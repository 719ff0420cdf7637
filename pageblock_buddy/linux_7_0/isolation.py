# SPDX-License-Identifier: GPL-2.0-only
"""Isolation with a bit of its own: the pageblock keeps its type.

Kernel: mm/page_isolation.c, mm/page_alloc.c (7.0-rc)
"""

from __future__ import annotations

from pageblock_buddy import gfp
from pageblock_buddy.linux_6_12.buddy import (
    _move_freepages_block,
    block_inside_zone,
    del_page_from_free_list,
    page_is_buddy,
    split_large_buddy,
)
from pageblock_buddy.linux_6_12.free import covering_block
from pageblock_buddy.linux_7_0.pageblock import stored_migratetype, toggle_pageblock_isolate
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone
from pageblock_buddy.mm.page import PG_BUDDY, PG_ORDER_MASK
from pageblock_buddy.mm.pageblock import pageblock_start_pfn


def _move_freepages_block_isolate(k: Kernel, zone: Zone, pfn: int, isolate: bool) -> bool:
    """Move a pageblock's free pages to or from the ISOLATE lists and set or clear its bit.

    Kernel:  __move_freepages_block_isolate(), mm/page_alloc.c; LPA-10.0.17, LPA-10.0.18, LPA-10.0.20
    Status:  source; read, not recorded
    Locks:   holds zone.lock
    """
    if not block_inside_zone(k, zone, pfn):
        return False
    start = pageblock_start_pfn(k, pfn)
    block = covering_block(k, start)
    if block is not None and block[2] & PG_BUDDY and block[1] > k.pageblock_order:
        head, order, _ = block
        del_page_from_free_list(k, head, zone, order, k.calls.get_pageblock_migratetype(k, head))  # LPA-10.0.17
        toggle_pageblock_isolate(k, start, isolate)
        split_large_buddy(k, zone, head, order, gfp.FPI_NONE)
        return True
    own_mt = stored_migratetype(k, start)
    from_mt, to_mt = (own_mt, gfp.MIGRATE_ISOLATE) if isolate else (gfp.MIGRATE_ISOLATE, own_mt)
    _move_freepages_block(k, zone, start, from_mt, to_mt)  # LPA-10.0.18, LPA-10.0.20
    toggle_pageblock_isolate(k, start, isolate)
    return True


def set_migratetype_isolate(k: Kernel, zone: Zone, pfn: int) -> bool:
    """Isolate a pageblock.  False if it is isolated already or straddles the zone.

    Kernel:  set_migratetype_isolate(), mm/page_isolation.c; LPA-2.0.6, LPA-10.0.17, LPA-10.0.18
    Status:  source; without the search for unmovable pages; read, not recorded
    Locks:   takes zone.lock
    Points:  zone.lock lock, unlock
    """
    zone.lock.lock()  # LPA-16.0.6
    done = False
    if k.calls.get_pageblock_migratetype(k, pfn) != gfp.MIGRATE_ISOLATE:
        done = _move_freepages_block_isolate(k, zone, pfn, True)  # LPA-2.0.6
    zone.lock.unlock()
    return done


def unset_migratetype_isolate(k: Kernel, zone: Zone, pfn: int, mt: int) -> None:
    """Give an isolated pageblock its free pages back; its type was never lost, so ``mt`` is not used.

    Kernel:  unset_migratetype_isolate(), mm/page_isolation.c; LPA-10.0.19, LPA-10.0.20
    Status:  source; decision D-09 (mt is a parameter up to 6.15)
    Locks:   takes zone.lock
    Points:  zone.lock lock, unlock
    """
    zone.lock.lock()  # LPA-16.0.6
    if k.calls.get_pageblock_migratetype(k, pfn) == gfp.MIGRATE_ISOLATE:
        _unset_locked(k, zone, pageblock_start_pfn(k, pfn))
    zone.lock.unlock()


def _unset_locked(k: Kernel, zone: Zone, start: int) -> None:
    state = k.mem_map[start]
    order = state & PG_ORDER_MASK
    if state & PG_BUDDY and k.pageblock_order <= order < k.config.max_page_order:
        buddy = start ^ (1 << order)
        if page_is_buddy(k, zone, buddy, order) and k.calls.get_pageblock_migratetype(k, buddy) != gfp.MIGRATE_ISOLATE:
            # Free it again, so that it merges with its neighbour.
            del_page_from_free_list(k, start, zone, order, gfp.MIGRATE_ISOLATE)  # LPA-10.0.19
            toggle_pageblock_isolate(k, start, False)
            own_mt = k.calls.get_pageblock_migratetype(k, start)
            k.calls._free_one_page(k, start, zone, order, own_mt, gfp.FPI_TO_TAIL)  # LPA-4.3.10
            return
    _move_freepages_block_isolate(k, zone, start, False)  # LPA-10.0.20
