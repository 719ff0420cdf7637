# SPDX-License-Identifier: GPL-2.0-only
"""Fallback: what happens when a request's own migratetype has nothing left.

First a whole pageblock of another type is *claimed* (converted, with the free pages in it), from the
largest order downwards; if that fails a single block is *stolen*, from the smallest order upwards, and its pageblock
keeps its type.  All functions here run under zone->lock.

Kernel: mm/page_alloc.c (6.12.117)
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy import gfp
from pageblock_buddy.linux_6_12.buddy import (
    _move_freepages_block,
    account_freepages,
    block_inside_zone,
    change_pageblock_range,
    del_page_from_free_list,
    expand,
    page_del_and_expand,
)
from pageblock_buddy.linux_6_12.watermark import mult_frac
from pageblock_buddy.mm.alloc_context import RMQUEUE_CLAIM, RMQUEUE_CMA, RMQUEUE_NORMAL, RMQUEUE_STEAL, RmqueueMode
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import FreeArea, Zone
from pageblock_buddy.mm.pageblock import pageblock_start_pfn
from pageblock_buddy.mm.vmstat import zone_free_pages

# LPA-6.0.1, LPA-6.0.2
FALLBACKS: Final = (
    (gfp.MIGRATE_RECLAIMABLE, gfp.MIGRATE_MOVABLE),  # UNMOVABLE
    (gfp.MIGRATE_RECLAIMABLE, gfp.MIGRATE_UNMOVABLE),  # MOVABLE
    (gfp.MIGRATE_UNMOVABLE, gfp.MIGRATE_MOVABLE),  # RECLAIMABLE
)

#: find_suitable_fallback(): no block of that order; order too low to claim
NO_BLOCK: Final = -1
TOO_LOW: Final = -2


def boost_watermark(k: Kernel, zone: Zone) -> bool:
    """Raise the zone's watermarks by a pageblock, up to a cap.  True if it was (or is) boosted.

    Kernel:  boost_watermark(), mm/page_alloc.c; LPA-11.3
    Status:  source
    Locks:   holds zone.lock
    """
    factor = k.config.watermark_boost_factor
    if not factor:
        return False  # LPA-11.3.1
    if k.block_pages * 4 > zone.managed_pages:
        return False  # LPA-11.3.1
    max_boost = mult_frac(zone.watermark[gfp.WMARK_HIGH], factor, 10000)
    if not max_boost:
        return False  # LPA-11.3.1
    max_boost = max(k.block_pages, max_boost)  # LPA-11.3.3
    zone.watermark_boost = min(zone.watermark_boost + k.block_pages, max_boost)  # LPA-11.3.4
    return True


def should_try_claim_block(k: Kernel, order: int, start_mt: int) -> bool:
    """Whether a fallback of this order may convert the block.

    Kernel:  should_try_claim_block(), mm/page_alloc.c; LPA-6.2.4
    Status:  source
    """
    if order >= k.pageblock_order // 2:
        return True  # LPA-6.2.4
    if start_mt in (gfp.MIGRATE_UNMOVABLE, gfp.MIGRATE_RECLAIMABLE):
        return True  # LPA-6.2.4
    return k.config.page_group_by_mobility_disabled  # LPA-6.2.4


def find_suitable_fallback(k: Kernel, area: FreeArea, order: int, mt: int, claimable: bool) -> int:
    """The first other type with a block on this order's lists, NO_BLOCK or TOO_LOW.

    Kernel:  find_suitable_fallback(), mm/page_alloc.c; LPA-6.0, LPA-6.2
    Status:  source
    Locks:   holds zone.lock
    """
    if claimable and not should_try_claim_block(k, order, mt):
        return TOO_LOW
    if area.nr_free == 0:
        return NO_BLOCK
    for fallback_mt in FALLBACKS[mt]:
        if not area.free_list[fallback_mt].list_empty():
            return fallback_mt  # LPA-6.0.1
    return NO_BLOCK


def try_to_claim_block(
    k: Kernel, zone: Zone, pfn: int, current_order: int, order: int, start_mt: int, block_mt: int, alloc_flags: int
) -> int | None:
    """Convert the block of a fallback candidate to ``start_mt`` and take 2^order pages of it.

    Kernel:  try_to_claim_block(), mm/page_alloc.c; LPA-6.3
    Status:  source
    Locks:   holds zone.lock
    Cost:    O(pages of the block)
    """
    if current_order >= k.pageblock_order:
        del_page_from_free_list(k, pfn, zone, current_order, block_mt)  # LPA-6.3.1
        change_pageblock_range(k, pfn, current_order, start_mt)
        nr_added = expand(k, zone, pfn, order, current_order, start_mt)
        account_freepages(k, zone, nr_added, start_mt)  # LPA-14.0.14
        return pfn  # LPA-6.3.2, LPA-6.4.4, LPA-15.1.12
    # Boosted even if the claim then fails: kswapd should make room either way.
    if boost_watermark(k, zone) and alloc_flags & gfp.ALLOC_KSWAPD:  # LPA-6.3.3
        zone.flags |= gfp.ZONE_BOOSTED_WATERMARK  # LPA-6.3.4
    if not block_inside_zone(k, zone, pfn):
        return None  # LPA-6.3.5
    start_pfn = pageblock_start_pfn(k, pfn)
    free_pages = sum(1 << o for _, o in k.calls.free_blocks_of_pageblock(k, start_pfn))
    movable_pages = k.nr_movable.get(start_pfn >> k.pageblock_order, 0)  # LPA-6.3.6
    if start_mt == gfp.MIGRATE_MOVABLE:
        alike_pages = movable_pages  # LPA-6.3.7
    elif block_mt == gfp.MIGRATE_MOVABLE:
        # What is neither free nor movable in a movable block is unmovable or reclaimable.
        alike_pages = k.block_pages - (free_pages + movable_pages)  # LPA-6.3.7
    else:
        alike_pages = 0  # LPA-6.3.7
    if free_pages + alike_pages >= k.block_pages >> 1 or k.config.page_group_by_mobility_disabled:  # LPA-6.3.8
        _move_freepages_block(k, zone, start_pfn, block_mt, start_mt)  # LPA-6.3.9
        k.calls.set_pageblock_migratetype(k, start_pfn, start_mt)  # LPA-6.3.10
        return k.calls._rmqueue_smallest(k, zone, order, start_mt)  # LPA-6.3.11, LPA-6.3.12, LPA-15.1.11
    return None  # LPA-6.3.13


def _trace_extfrag(k: Kernel, pfn: int, order: int, fallback_order: int, mt: int, fallback_mt: int) -> None:
    if k.trace is not None:
        block_mt = k.calls.get_pageblock_migratetype(k, pfn)  # LPA-15.1.10
        # LPA-15.1.9
        k.trace.mm_page_alloc_extfrag(k.machine.cpu, pfn, order, fallback_order, mt, fallback_mt, block_mt)


def _rmqueue_claim(k: Kernel, zone: Zone, order: int, start_mt: int, alloc_flags: int) -> int | None:
    """Claim from the largest order downwards; one candidate an order.

    Kernel:  __rmqueue_claim(), mm/page_alloc.c; LPA-6.2
    Status:  source
    Locks:   holds zone.lock
    """
    min_order = order
    if order < k.pageblock_order and alloc_flags & gfp.ALLOC_NOFRAGMENT:  # LPA-6.2.1
        min_order = k.pageblock_order
    for current_order in range(k.config.max_page_order, min_order - 1, -1):  # LPA-6.2.2
        area = zone.free_area[current_order]
        fallback_mt = find_suitable_fallback(k, area, current_order, start_mt, True)
        if fallback_mt == NO_BLOCK:
            continue  # LPA-6.2.5
        if fallback_mt == TOO_LOW:
            break  # LPA-6.2.3
        candidate = area.free_list[fallback_mt].first_entry_or_null()  # LPA-3.0.1, LPA-6.2.6
        assert candidate is not None
        # LPA-6.2.7
        pfn = try_to_claim_block(k, zone, candidate, current_order, order, start_mt, fallback_mt, alloc_flags)
        if pfn is not None:
            _trace_extfrag(k, pfn, order, current_order, start_mt, fallback_mt)  # LPA-6.2.8
            return pfn
    return None


def _rmqueue_steal(k: Kernel, zone: Zone, order: int, start_mt: int) -> int | None:
    """Take one block of another type, the smallest that will do; remainders stay with that type.

    Kernel:  __rmqueue_steal(), mm/page_alloc.c; LPA-6.4
    Status:  source
    Locks:   holds zone.lock
    """
    for current_order in range(order, k.config.max_page_order + 1):
        area = zone.free_area[current_order]
        fallback_mt = find_suitable_fallback(k, area, current_order, start_mt, False)
        if fallback_mt == NO_BLOCK:
            continue
        pfn = area.free_list[fallback_mt].first_entry_or_null()  # LPA-3.0.1, LPA-6.4.1
        assert pfn is not None
        page_del_and_expand(k, zone, pfn, order, current_order, fallback_mt)  # LPA-6.4.2
        _trace_extfrag(k, pfn, order, current_order, start_mt, fallback_mt)  # LPA-6.4.3
        return pfn  # LPA-6.4.4, LPA-15.1.12
    return None


def _rmqueue(k: Kernel, zone: Zone, order: int, mt: int, alloc_flags: int, mode: RmqueueMode) -> int | None:
    """Take a block of 2^order pages: own lists, CMA, claim, steal.

    ``mode`` remembers, across the pages of one bulk call, which of these was needed last:
    after the first steal the rest of the batch does not look at its own lists again.

    Kernel:  __rmqueue(), mm/page_alloc.c; LPA-6.1
    Status:  source
    Locks:   holds zone.lock
    """
    smallest = k.calls._rmqueue_smallest
    if alloc_flags & gfp.ALLOC_CMA and zone.nr_free_cma > zone_free_pages(zone) // 2:
        # Balance: use CMA first while more than half of the free pages are in it.
        pfn = smallest(k, zone, order, gfp.MIGRATE_CMA)  # LPA-6.1.2
        if pfn is not None:
            return pfn
    if mode.value <= RMQUEUE_NORMAL:  # LPA-6.1.3
        pfn = smallest(k, zone, order, mt)  # LPA-6.1.4
        if pfn is not None:
            return pfn
    if mode.value <= RMQUEUE_CMA and alloc_flags & gfp.ALLOC_CMA:
        pfn = smallest(k, zone, order, gfp.MIGRATE_CMA)  # LPA-6.1.5
        if pfn is not None:
            mode.value = RMQUEUE_CMA  # LPA-6.1.8
            return pfn
    if mode.value <= RMQUEUE_CLAIM:
        pfn = _rmqueue_claim(k, zone, order, mt, alloc_flags)  # LPA-6.1.6
        if pfn is not None:
            # The claim filled our own lists: start over there.
            mode.value = RMQUEUE_NORMAL
            return pfn
    if not alloc_flags & gfp.ALLOC_NOFRAGMENT:
        pfn = _rmqueue_steal(k, zone, order, mt)  # LPA-6.1.7
        if pfn is not None:
            mode.value = RMQUEUE_STEAL  # LPA-6.1.8
            return pfn
    return None
