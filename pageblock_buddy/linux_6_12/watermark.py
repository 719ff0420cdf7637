# SPDX-License-Identifier: GPL-2.0-only
"""Watermarks: how they are computed, and the check before every allocation.

Kernel: mm/page_alloc.c (6.12.117)
"""

from __future__ import annotations

from math import isqrt

from pageblock_buddy import gfp
from pageblock_buddy.linux_6_12.pcp import zone_set_pageset_high_and_batch
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone
from pageblock_buddy.mm.vmstat import refresh_zone_stat_thresholds, zone_free_pages

# --- the check ---------------------------------------------------------------------------------


def zone_watermark_unusable_free(zone: Zone, order: int, alloc_flags: int) -> int:
    """Free pages that this request could not use, in pages.

    Kernel:  __zone_watermark_unusable_free(), mm/page_alloc.c; LPA-11.2
    Status:  source
    """
    unusable = (1 << order) - 1  # LPA-11.2.1
    if not alloc_flags & gfp.ALLOC_RESERVES:
        unusable += zone.nr_free_highatomic  # LPA-11.2.2
    if not alloc_flags & gfp.ALLOC_CMA:
        unusable += zone.nr_free_cma  # LPA-11.2.4
    return unusable


def _zone_watermark_ok(
    k: Kernel, zone: Zone, order: int, mark: int, highest_zoneidx: int, alloc_flags: int, free_pages: int
) -> bool:
    """Whether the zone stays above ``mark`` pages and has a block of this order at all.

    Kernel:  __zone_watermark_ok(), mm/page_alloc.c; LPA-11.2
    Status:  source
    Units:   mark and free_pages are base pages
    """
    free_pages -= k.calls.zone_watermark_unusable_free(zone, order, alloc_flags)  # LPA-11.2.5
    minimum = mark
    if alloc_flags & gfp.ALLOC_RESERVES:
        if alloc_flags & gfp.ALLOC_MIN_RESERVE:
            minimum -= minimum // 2  # LPA-11.2.6
            if alloc_flags & gfp.ALLOC_NON_BLOCK:
                minimum -= minimum // 4  # LPA-11.2.6
        if alloc_flags & gfp.ALLOC_OOM:
            minimum -= minimum // 2  # LPA-11.2.6
    if free_pages <= minimum + zone.lowmem_reserve[highest_zoneidx]:  # LPA-11.2.7
        return False
    if not order:
        return True
    for area in zone.free_area[order:]:
        if not area.nr_free:
            continue
        free_list = area.free_list
        for mt in range(gfp.MIGRATE_PCPTYPES):
            if not free_list[mt].list_empty():
                return True  # LPA-11.2.8
        if alloc_flags & gfp.ALLOC_CMA and not free_list[gfp.MIGRATE_CMA].list_empty():
            return True  # LPA-11.2.8
        if alloc_flags & (gfp.ALLOC_HIGHATOMIC | gfp.ALLOC_OOM) and not free_list[gfp.MIGRATE_HIGHATOMIC].list_empty():
            return True  # LPA-11.2.8
    return False  # LPA-11.2.8


def zone_watermark_fast(k: Kernel, zone: Zone, order: int, mark: int, highest_zoneidx: int, alloc_flags: int) -> bool:
    """The check in the allocation path, with a short cut for order 0.

    Kernel:  zone_watermark_fast(), mm/page_alloc.c; LPA-11.2
    Status:  source
    Units:   mark is base pages
    Cost:    O(1) for order 0, else O(max_page_order)
    """
    free_pages = zone_free_pages(zone)
    if not order:
        # The kernel stops at 0 here; no mark is below that, so a negative number fails as well.
        usable_free = free_pages - k.calls.zone_watermark_unusable_free(zone, 0, alloc_flags)
        if usable_free > mark + zone.lowmem_reserve[highest_zoneidx]:  # LPA-11.2.9
            return True
    if _zone_watermark_ok(k, zone, order, mark, highest_zoneidx, alloc_flags, free_pages):  # LPA-11.2.9
        return True
    if (
        not order
        and alloc_flags & gfp.ALLOC_MIN_RESERVE
        and zone.watermark_boost
        and alloc_flags & gfp.ALLOC_WMARK_MASK == gfp.WMARK_MIN
    ):
        # A boost must not make __GFP_HIGH requests fail.
        mark = zone.watermark[gfp.WMARK_MIN]
        return _zone_watermark_ok(k, zone, order, mark, highest_zoneidx, alloc_flags, free_pages)  # LPA-11.2.10
    return False


def zone_watermark_ok(k: Kernel, zone: Zone, order: int, mark: int, highest_zoneidx: int, alloc_flags: int) -> bool:
    """The check without short cuts.

    Kernel:  zone_watermark_ok(), mm/page_alloc.c; LPA-11.2
    Status:  source
    """
    return _zone_watermark_ok(k, zone, order, mark, highest_zoneidx, alloc_flags, zone_free_pages(zone))


# --- the computation ---------------------------------------------------------------------------


def mult_frac(x: int, numer: int, denom: int) -> int:
    """x * numer / denom as the kernel computes it, without overflow of a C long.

    Kernel:  mult_frac(), include/linux/math.h; LPA-11.1.11
    Status:  source
    """
    return x // denom * numer + x % denom * numer // denom


def nr_free_buffer_pages(k: Kernel) -> int:
    """Pages of the low zones above their high watermarks.

    Kernel:  nr_free_zone_pages(), mm/page_alloc.c; LPA-11.1.2
    Status:  source
    """
    pages = 0
    for zone in k.zones:
        if zone.idx <= gfp.ZONE_NORMAL:
            high = zone.watermark[gfp.WMARK_HIGH] + zone.watermark_boost
            if zone.managed_pages > high:
                pages += zone.managed_pages - high  # LPA-11.1.2
    return pages


def calculate_min_free_kbytes(k: Kernel) -> int:
    """min_free_kbytes by the square root rule, in kB.

    Kernel:  calculate_min_free_kbytes(), mm/page_alloc.c; LPA-11.1
    Status:  source
    Units:   kB
    """
    lowmem_kbytes = nr_free_buffer_pages(k) * 4
    return min(max(isqrt(lowmem_kbytes * 16), 128), 262144)  # LPA-11.1.1


def setup_per_zone_wmarks(k: Kernel, min_free_kbytes: int) -> None:
    """Compute every zone's watermarks, then its per-CPU limits, which follow from them.

    Kernel:  __setup_per_zone_wmarks(), mm/page_alloc.c; LPA-11.1
    Status:  source
    """
    pages_min = min_free_kbytes // 4  # LPA-11.1.4
    lowmem_pages = sum(z.managed_pages for z in k.zones if z.idx != gfp.ZONE_MOVABLE)  # LPA-11.1.5
    for zone, zone_config in zip(k.zones, k.config.zones, strict=True):
        if zone_config.watermark is not None:
            zone.watermark[:] = zone_config.watermark
            continue
        share = pages_min * zone.managed_pages // max(lowmem_pages, 1)  # LPA-11.1.7
        if zone.idx == gfp.ZONE_MOVABLE:
            minimum = min(max(zone.managed_pages // 1024, 32), 128)  # LPA-11.1.9
        else:
            minimum = share  # LPA-11.1.8
        distance = max(share >> 2, mult_frac(zone.managed_pages, k.config.watermark_scale_factor, 10000))  # LPA-11.1.11
        zone.watermark_boost = 0
        zone.watermark[:] = (minimum, minimum + distance, minimum + 2 * distance, minimum + 3 * distance)  # LPA-11.1.12
    for zone in k.zones:
        zone_set_pageset_high_and_batch(k, zone, 0)  # LPA-8.7.9


def set_recommended_min_free_kbytes(k: Kernel, min_free_kbytes: int) -> None:
    """Raise the watermarks as a starting khugepaged does: two pageblocks free, and some of each type.

    Runs after the first watermarks are there, so it sees fewer pages above the high marks.

    Kernel:  set_recommended_min_free_kbytes(), mm/khugepaged.c; LPA-11.1.3
    Status:  source
    Units:   kB
    """
    nr_zones = sum(1 for zone in k.zones if zone.idx <= gfp.ZONE_NORMAL and zone.present_pages)
    recommended = k.block_pages * nr_zones * 2
    recommended += k.block_pages * nr_zones * gfp.MIGRATE_PCPTYPES * gfp.MIGRATE_PCPTYPES
    recommended = min(recommended, nr_free_buffer_pages(k) // 20)
    setup_per_zone_wmarks(k, max(min_free_kbytes, recommended * 4))  # LPA-11.1.3


def setup_per_zone_lowmem_reserve(k: Kernel) -> None:
    """How many pages of a lower zone a request that could use a higher zone must leave.

    Kernel:  setup_per_zone_lowmem_reserve(), mm/page_alloc.c; LPA-11.1.14
    Status:  source
    """
    for node in k.nodes.values():
        managed = [zone.managed_pages if zone is not None else 0 for zone in node.node_zones]
        for i, zone in enumerate(node.node_zones):
            if zone is None:
                continue
            ratio = k.config.lowmem_reserve_ratio[i]
            clear = not ratio or not managed[i]
            above = 0
            for j in range(i + 1, gfp.MAX_NR_ZONES):
                above += managed[j]
                zone.lowmem_reserve[j] = 0 if clear else above // ratio  # LPA-11.1.14
    for zone, zone_config in zip(k.zones, k.config.zones, strict=True):
        if zone_config.lowmem_reserve is not None:
            zone.lowmem_reserve[:] = zone_config.lowmem_reserve


def init_per_zone_wmark_min(k: Kernel) -> None:
    """Watermarks, statistics thresholds and reserves, as at boot.

    Kernel:  init_per_zone_wmark_min(), mm/page_alloc.c; LPA-12.0.10
    Status:  source
    """
    told = k.config.min_free_kbytes
    min_free_kbytes = calculate_min_free_kbytes(k) if told is None else told
    setup_per_zone_wmarks(k, min_free_kbytes)
    refresh_zone_stat_thresholds(k)
    setup_per_zone_lowmem_reserve(k)
    if k.config.khugepaged and told is None:
        set_recommended_min_free_kbytes(k, min_free_kbytes)
