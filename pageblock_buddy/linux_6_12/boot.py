# SPDX-License-Identifier: GPL-2.0-only
"""Boot: how the free lists come to be.

All memory starts MOVABLE and is freed in ascending order, to the tails, in the largest aligned
chunks; so every list starts ascending with the lowest PFN at its head.

Kernel: mm/memblock.c, mm/mm_init.c, mm/page_alloc.c (6.12.117)
"""

from __future__ import annotations

from collections.abc import Iterator

from pageblock_buddy import gfp
from pageblock_buddy.config import ZoneConfig
from pageblock_buddy.linux_6_12.buddy import account_freepages, split_large_buddy
from pageblock_buddy.linux_6_12.watermark import init_per_zone_wmark_min
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone


def memmap_init_zone(k: Kernel, zone: Zone, zone_config: ZoneConfig) -> None:
    """Set the pageblock types: MOVABLE where the block's first page exists.

    A block whose first page is outside the zone or in a hole keeps 0, UNMOVABLE.

    Kernel:  memmap_init_range(), mm/mm_init.c; LPA-12.0.1, LPA-12.0.2
    Status:  source
    """
    holes = zone_config.holes
    first_block = -(-zone.zone_start_pfn // k.block_pages)
    end_block = -(-zone.end_pfn // k.block_pages)
    flags, block_order = k.pageblock_flags, k.pageblock_order
    flags[first_block:end_block] = bytes([gfp.MIGRATE_MOVABLE]) * (end_block - first_block)  # LPA-12.0.1
    for start, pages in holes:
        for block in range(-(-start >> block_order), -(-(start + pages) >> block_order)):
            flags[block] = gfp.MIGRATE_UNMOVABLE  # LPA-12.0.2


def free_memory_ranges(zone_config: ZoneConfig) -> Iterator[tuple[int, int]]:
    """(first, end) PFN of the memory that the allocator gets, ascending."""
    start = zone_config.start_pfn
    for first, pages in sorted(zone_config.holes + zone_config.reserved + zone_config.cma):
        if start < first:
            yield start, first
        start = max(start, first + pages)
    if start < zone_config.end_pfn:
        yield start, zone_config.end_pfn


def _free_pages_memory(k: Kernel, zone: Zone, start: int, end: int) -> None:
    """Free a range in the largest naturally aligned chunks.

    Kernel:  __free_pages_memory(), mm/memblock.c; LPA-12.0.3
    Status:  source
    """
    while start < end:
        order = k.config.max_page_order
        if start:
            order = min(order, (start & -start).bit_length() - 1)
        while start + (1 << order) > end:
            order -= 1
        _free_pages_core(k, zone, start, order)  # LPA-12.0.3
        start += 1 << order


def _free_pages_core(k: Kernel, zone: Zone, pfn: int, order: int) -> None:
    """Free memory for the first time: to the tail, and never through the per-CPU lists.

    A chunk of the largest order whose pageblocks are of one type merges back to itself, piece by piece; with a
    million such chunks that is done in one step.

    Kernel:  __free_pages_core(), mm/page_alloc.c; LPA-4.3.8, LPA-12.0.4
    Status:  source
    Locks:   takes zone.lock
    Points:  zone.lock lock, unlock
    """
    zone.lock.lock()
    types = k.pageblock_flags[pfn >> k.pageblock_order : (pfn + (1 << order)) >> k.pageblock_order]
    if order == k.config.max_page_order and types.count(types[:1]) == len(types):
        account_freepages(k, zone, 1 << order, types[0])
        k.calls._add_to_free_list(k, pfn, zone, order, types[0], True)  # LPA-4.3.8, LPA-12.0.4
    else:
        split_large_buddy(k, zone, pfn, order, gfp.FPI_TO_TAIL)  # LPA-4.3.8, LPA-12.0.4
    zone.lock.unlock()


def init_cma_reserved_pageblock(k: Kernel, zone: Zone, pfn: int) -> None:
    """Give one pageblock to CMA.

    The kernel frees it with __free_pages(), which at that time flushes the per-CPU list at once.

    Kernel:  init_cma_reserved_pageblock(), mm/mm_init.c; LPA-13.0.1
    Status:  decision D-08
    """
    k.calls.set_pageblock_migratetype(k, pfn, gfp.MIGRATE_CMA)  # LPA-13.0.1
    zone.lock.lock()
    k.calls._free_one_page(k, pfn, zone, k.pageblock_order, gfp.MIGRATE_CMA, gfp.FPI_NONE)
    zone.lock.unlock()


def boot(k: Kernel) -> None:
    """Fill the free lists, then compute watermarks and limits.

    Kernel:  memblock_free_all(), init_per_zone_wmark_min(); LPA-12.0
    Status:  source; boot allocations are ZoneConfig.reserved (decision D-03)
    """
    for zone, zone_config in zip(k.zones, k.config.zones, strict=True):
        memmap_init_zone(k, zone, zone_config)
        for start, end in free_memory_ranges(zone_config):
            _free_pages_memory(k, zone, start, end)
        for start, pages in zone_config.cma:
            for pfn in range(start, start + pages, k.block_pages):
                init_cma_reserved_pageblock(k, zone, pfn)
    init_per_zone_wmark_min(k)
    # The boot pages went through per-CPU counters; start with them folded.
    for zone in k.zones:
        for stat in zone.per_cpu_zonestats:
            zone.nr_free_pages += stat.nr_free_pages_diff
            stat.nr_free_pages_diff = 0
    k.pgfree = 0
