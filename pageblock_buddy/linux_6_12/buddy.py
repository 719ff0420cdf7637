# SPDX-License-Identifier: GPL-2.0-only
"""The zone buddy: free lists per order and migratetype, splitting and merging.

A free block of order o starts at a PFN that is a multiple of 2^o.  Its buddy is the
block whose PFN differs in bit o alone.  Two free buddies merge into one block of the next order; taking a
smaller block than there is splits one, and keeps its lower half.

All functions here run under zone->lock.

Kernel: mm/page_alloc.c (6.12.117)
"""

from __future__ import annotations

import re
from typing import Final

from pageblock_buddy import gfp
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone
from pageblock_buddy.mm.page import PG_BUDDY, PG_NONE, PG_ORDER_MASK
from pageblock_buddy.mm.pageblock import pageblock_start_pfn
from pageblock_buddy.mm.vmstat import mod_zone_free_pages

#: any state with PG_BUDDY
_FREE_HEAD: Final = re.compile(rb"[\x80-\xff]")

# --- free-list primitives ----------------------------------------------------------------------


def account_freepages(k: Kernel, zone: Zone, nr_pages: int, mt: int) -> None:
    """Count pages that come to (or, negative, leave) the free lists of type ``mt``.

    Kernel:  account_freepages(), mm/page_alloc.c; LPA-3.0.5, LPA-3.0.6, LPA-3.0.7
    Status:  source
    Locks:   holds zone.lock
    Units:   nr_pages is base pages
    """
    if mt == gfp.MIGRATE_ISOLATE:
        return  # LPA-3.0.5, LPA-10.0.21
    mod_zone_free_pages(k, zone, nr_pages)  # LPA-14.0.1
    if mt == gfp.MIGRATE_CMA:
        zone.nr_free_cma += nr_pages  # LPA-3.0.6
    elif mt == gfp.MIGRATE_HIGHATOMIC:
        zone.nr_free_highatomic += nr_pages  # LPA-3.0.7


def _add_to_free_list(k: Kernel, pfn: int, zone: Zone, order: int, mt: int, tail: bool) -> None:
    """Put a block on a free list and mark it; does not count its pages.

    Kernel:  __add_to_free_list() and set_buddy_order(), mm/page_alloc.c; LPA-3.0.2
    Status:  source
    Locks:   holds zone.lock
    """
    area = zone.free_area[order]
    if tail:
        area.free_list[mt].list_add_tail(pfn)
    else:
        area.free_list[mt].list_add(pfn)
    area.nr_free += 1  # LPA-3.0.2
    k.mem_map[pfn] = PG_BUDDY | order


def _del_page_from_free_list(k: Kernel, pfn: int, zone: Zone, order: int, mt: int) -> None:
    """Take a block off its free list and clear its mark; does not count its pages.

    Kernel:  __del_page_from_free_list(), mm/page_alloc.c; LPA-3.0.4
    Status:  source
    Locks:   holds zone.lock
    """
    area = zone.free_area[order]
    area.free_list[mt].list_del(pfn)
    area.nr_free -= 1  # LPA-3.0.4
    k.mem_map[pfn] = PG_NONE


def del_page_from_free_list(k: Kernel, pfn: int, zone: Zone, order: int, mt: int) -> None:
    """Take a block off its free list and count it out.

    Kernel:  del_page_from_free_list(), mm/page_alloc.c; LPA-3.0.4
    Status:  source
    Locks:   holds zone.lock
    """
    k.calls._del_page_from_free_list(k, pfn, zone, order, mt)
    account_freepages(k, zone, -(1 << order), mt)


def move_to_free_list(k: Kernel, pfn: int, zone: Zone, order: int, old_mt: int, new_mt: int) -> None:
    """Move a free block to the tail of another type's list of the same order.

    The pages are counted out of the old type and into the new one, which are two
    changes of the counter: the per-CPU diff can fold in between.

    Kernel:  move_to_free_list(), mm/page_alloc.c; LPA-3.0.3, LPA-14.0.14
    Status:  source
    Locks:   holds zone.lock
    """
    area = zone.free_area[order]
    area.free_list[old_mt].list_del(pfn)
    area.free_list[new_mt].list_add_tail(pfn)  # LPA-3.0.3
    account_freepages(k, zone, -(1 << order), old_mt)
    account_freepages(k, zone, 1 << order, new_mt)  # LPA-14.0.14


def change_pageblock_range(k: Kernel, pfn: int, start_order: int, mt: int) -> None:
    """Set the type of every pageblock that a block of at least pageblock_order covers.

    Kernel:  change_pageblock_range(), mm/page_alloc.c; LPA-4.0.8
    Status:  source
    """
    for block in range(pfn, pfn + (1 << start_order), k.block_pages):
        k.calls.set_pageblock_migratetype(k, block, mt)


# --- merging -----------------------------------------------------------------------------------


def page_is_buddy(k: Kernel, zone: Zone, buddy_pfn: int, order: int) -> bool:
    """Whether ``buddy_pfn`` is a free block of exactly this order in the same zone.

    Kernel:  page_is_buddy(), mm/internal.h; LPA-4.1
    Status:  source
    """
    if not zone.zone_start_pfn <= buddy_pfn < zone.end_pfn:
        return False  # LPA-4.1.1
    return k.mem_map[buddy_pfn] == PG_BUDDY | order  # LPA-4.1.1


def buddy_merge_likely(k: Kernel, zone: Zone, pfn: int, order: int) -> bool:
    """Whether the block one level up has a free buddy, so that waiting at the tail may pay.

    Kernel:  buddy_merge_likely(), mm/page_alloc.c; LPA-4.0.17, LPA-4.0.18
    Status:  source
    """
    if order >= k.config.max_page_order - 1:
        return False  # LPA-4.0.17, LPA-4.0.19
    higher_pfn = pfn & ~(1 << order)
    return page_is_buddy(k, zone, higher_pfn ^ (1 << (order + 1)), order + 1)  # LPA-4.0.18


def _free_one_page(k: Kernel, pfn: int, zone: Zone, order: int, mt: int, fpi_flags: int) -> None:
    """Free one block to the buddy, merging it as far as it goes.

    Kernel:  __free_one_page(), mm/page_alloc.c; LPA-4.0
    Status:  source
    Locks:   holds zone.lock
    Units:   order is log2 of pages
    Cost:    O(max_page_order)
    """
    max_order = k.config.max_page_order
    account_freepages(k, zone, 1 << order, mt)  # LPA-4.0.1, LPA-14.0.6
    while order < max_order:  # LPA-4.0.2
        buddy_pfn = pfn ^ (1 << order)
        if not page_is_buddy(k, zone, buddy_pfn, order):  # LPA-4.0.4
            break
        if order < k.pageblock_order:
            buddy_mt = mt  # LPA-4.0.5, LPA-4.1.3
        else:
            # Only here can the buddies be of different types, since a smaller block
            # never leaves its pageblock.
            buddy_mt = k.calls.get_pageblock_migratetype(k, buddy_pfn)
            # LPA-4.0.6
            if buddy_mt != mt and not (gfp.is_migrate_mergeable(mt) and gfp.is_migrate_mergeable(buddy_mt)):
                break
        k.calls._del_page_from_free_list(k, buddy_pfn, zone, order, buddy_mt)  # LPA-4.0.7
        if buddy_mt != mt:
            # The whole merged block takes the type of the page that is freed.
            change_pageblock_range(k, buddy_pfn, order, mt)  # LPA-4.0.8
        pfn &= buddy_pfn  # LPA-4.0.10
        order += 1
    if fpi_flags & gfp.FPI_TO_TAIL:
        to_tail = True  # LPA-4.0.12
    else:
        to_tail = buddy_merge_likely(k, zone, pfn, order)  # LPA-4.0.14
    k.calls._add_to_free_list(k, pfn, zone, order, mt, to_tail)  # LPA-4.0.11, LPA-4.0.15


def split_large_buddy(k: Kernel, zone: Zone, pfn: int, order: int, fpi_flags: int) -> None:
    """Free a block pageblock by pageblock, each with its own type, in ascending order.

    Kernel:  split_large_buddy(), mm/page_alloc.c; LPA-4.3.2
    Status:  source
    Locks:   holds zone.lock
    """
    end = pfn + (1 << order)
    step = min(order, k.pageblock_order)  # LPA-4.3.2
    for piece in range(pfn, end, 1 << step):
        mt = k.calls.get_pageblock_migratetype(k, piece)
        k.calls._free_one_page(k, piece, zone, step, mt, fpi_flags)


def free_one_page(k: Kernel, zone: Zone, pfn: int, order: int, fpi_flags: int) -> None:
    """Free a block straight to the zone.

    Kernel:  free_one_page(), mm/page_alloc.c; LPA-4.3
    Status:  source
    Locks:   takes zone.lock
    Cost:    O(max_page_order) a pageblock
    Points:  zone.lock lock, unlock
    """
    zone.lock.lock()  # LPA-4.3.1, LPA-16.0.6
    split_large_buddy(k, zone, pfn, order, fpi_flags)
    zone.lock.unlock()
    k.pgfree += 1 << order  # LPA-4.3.4, LPA-14.0.10


# --- splitting and taking ----------------------------------------------------------------------


def expand(k: Kernel, zone: Zone, pfn: int, low: int, high: int, mt: int) -> int:
    """Give back the upper halves of a block of order ``high`` until ``low`` is left.

    Largest first, each at the head of its list.  Returns the pages given back, which the caller counts.

    Kernel:  expand(), mm/page_alloc.c; LPA-5.0.3
    Status:  source
    Locks:   holds zone.lock
    """
    nr_added = (1 << high) - (1 << low)
    while high > low:
        high -= 1
        k.calls._add_to_free_list(k, pfn + (1 << high), zone, high, mt, False)  # LPA-5.0.3
    return nr_added


def page_del_and_expand(k: Kernel, zone: Zone, pfn: int, low: int, high: int, mt: int) -> None:
    """Take a free block of order ``high``, keep its lowest 2^low pages, give the rest back.

    Kernel:  page_del_and_expand(), mm/page_alloc.c; LPA-5.0
    Status:  source
    Locks:   holds zone.lock
    """
    k.calls._del_page_from_free_list(k, pfn, zone, high, mt)
    nr_added = expand(k, zone, pfn, low, high, mt)
    # one change of the counter: what left minus what came back
    account_freepages(k, zone, nr_added - (1 << high), mt)  # LPA-5.0.5, LPA-14.0.6


def _rmqueue_smallest(k: Kernel, zone: Zone, order: int, mt: int) -> int | None:
    """The head of the smallest sufficient block of this type, or None.

    Kernel:  __rmqueue_smallest(), mm/page_alloc.c; LPA-5.0
    Status:  source
    Locks:   holds zone.lock
    Cost:    O(max_page_order)
    """
    free_area = zone.free_area
    for current_order in range(order, len(free_area)):
        pfn = free_area[current_order].free_list[mt].first_entry_or_null()
        if pfn is None:
            continue
        page_del_and_expand(k, zone, pfn, order, current_order, mt)  # LPA-3.0.1, LPA-5.0.1
        if k.trace is not None:
            refill = k.calls.pcp_allowed_order(k, order) and mt < gfp.MIGRATE_PCPTYPES  # LPA-15.1.5
            k.trace.mm_page_alloc_zone_locked(k.machine.cpu, pfn, order, mt, int(refill))  # LPA-5.0.2, LPA-15.1.4
        return pfn
    return None


# --- moving the free pages of a pageblock ------------------------------------------------------


def block_inside_zone(k: Kernel, zone: Zone, pfn: int) -> bool:
    """Whether the pageblock of ``pfn`` lies wholly in the zone.

    Only this zone's lock is held, so a block that straddles into another zone must not be touched.

    Kernel:  prep_move_freepages_block(), mm/page_alloc.c; LPA-6.3.5
    Status:  source
    """
    start = pageblock_start_pfn(k, pfn)
    return zone.zone_start_pfn <= start and start + k.block_pages <= zone.end_pfn


def next_free_head(k: Kernel, pfn: int, end: int) -> int | None:
    """The first PFN of ``pfn``..``end`` - 1 at which a free block starts, or None.

    The kernel looks at one page after the other; ``re`` does the same, a hundred times faster than a loop here.
    Inside a free block no other starts, so it does not matter whether the search enters one.
    """
    match = _FREE_HEAD.search(k.mem_map, pfn, end)
    return None if match is None else match.start()


def free_blocks_of_pageblock(k: Kernel, start_pfn: int) -> list[tuple[int, int]]:
    """(PFN, order) of the free blocks inside a pageblock, ascending.  O(pages of the block)."""
    blocks = []
    pfn = next_free_head(k, start_pfn, start_pfn + k.block_pages)
    while pfn is not None:
        order = k.mem_map[pfn] & PG_ORDER_MASK
        blocks.append((pfn, order))
        pfn = next_free_head(k, pfn + (1 << order), start_pfn + k.block_pages)
    return blocks


def _move_freepages_block(k: Kernel, zone: Zone, start_pfn: int, old_mt: int, new_mt: int) -> int:
    """Move the pageblock's free blocks to the tails of the new type's lists, ascending.

    Returns the pages moved.

    Kernel:  __move_freepages_block(), mm/page_alloc.c; LPA-6.3.9
    Status:  source
    Locks:   holds zone.lock
    Cost:    O(pages of the block)
    """
    moved = 0
    for pfn, order in k.calls.free_blocks_of_pageblock(k, start_pfn):
        move_to_free_list(k, pfn, zone, order, old_mt, new_mt)
        moved += 1 << order
    return moved


def move_freepages_block(k: Kernel, zone: Zone, pfn: int, old_mt: int, new_mt: int) -> int | None:
    """Move a pageblock's free pages to another type and set the block's type.

    Returns the pages moved; None if the block straddles the zone's end.

    Kernel:  move_freepages_block(), mm/page_alloc.c; LPA-6.3.9, LPA-6.3.10, LPA-7.0.11, LPA-10.0.18
    Status:  source
    Locks:   holds zone.lock
    """
    if not block_inside_zone(k, zone, pfn):
        return None
    start = pageblock_start_pfn(k, pfn)
    moved = _move_freepages_block(k, zone, start, old_mt, new_mt)
    k.calls.set_pageblock_migratetype(k, start, new_mt)
    return moved
