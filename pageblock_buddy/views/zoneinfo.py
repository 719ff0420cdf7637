# SPDX-License-Identifier: GPL-2.0-only
"""The part of /proc/zoneinfo that is the allocator's: sizes, watermarks, reserves and per-CPU lists.

Left out are the lines of other counters (per-node stats, nr_... and numa_...), zones without memory, and the two lines
behind the pagesets.  What is left are the kernel's lines in its order.

Kernel: mm/vmstat.c (6.12.117)
"""

from __future__ import annotations

from io import StringIO

from pageblock_buddy import gfp
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Node, Zone, wmark_pages
from pageblock_buddy.mm.vmstat import zone_free_pages
from pageblock_buddy.views.walk import walk_zones_in_node


def zone_cma_pages(k: Kernel, zone: Zone) -> int:
    """Pages of the zone that are CMA's.

    Kernel:  zone_cma_pages(), include/linux/mmzone.h
    Status:  source
    """
    return sum(pages for _, pages in k.config.zones[k.zones.index(zone)].cma)


def zoneinfo_show_print(k: Kernel, m: StringIO, pgdat: Node, zone: Zone) -> None:
    """One zone.  ``pages free`` is the counter without the per-CPU diffs; the watermarks include the boost.

    Kernel:  zoneinfo_show_print(), mm/vmstat.c
    Status:  source; the lines of counters that are not modelled are left out
    Cost:    O(CPUs)
    """
    m.write(f"Node {pgdat.nid}, zone {zone.name:>8}")  # LPA-15.2.6
    m.write(
        f"\n  pages free     {zone_free_pages(zone)}"  # LPA-15.2.7
        f"\n        boost    {zone.watermark_boost}"
        f"\n        min      {wmark_pages(zone, gfp.WMARK_MIN)}"
        f"\n        low      {wmark_pages(zone, gfp.WMARK_LOW)}"
        f"\n        high     {wmark_pages(zone, gfp.WMARK_HIGH)}"
        f"\n        promo    {wmark_pages(zone, gfp.WMARK_PROMO)}"
        f"\n        spanned  {zone.spanned_pages}"
        f"\n        present  {zone.present_pages}"
        f"\n        managed  {zone.managed_pages}"
        f"\n        cma      {zone_cma_pages(k, zone)}"
    )
    m.write(f"\n        protection: ({', '.join(map(str, zone.lowmem_reserve))})")  # LPA-15.2.9
    m.write("\n  pagesets")  # LPA-15.2.10
    for pcp, pzstats in zip(zone.per_cpu_pageset, zone.per_cpu_zonestats, strict=True):
        m.write(
            f"\n    cpu: {pcp.cpu}"  # LPA-15.2.11
            f"\n              count: {pcp.count}"
            f"\n              high:  {pcp.high}"
            f"\n              batch: {pcp.batch}"
        )
        m.write(f"\n  vm stats threshold: {pzstats.stat_threshold}")
    m.write("\n")


def zoneinfo_show(k: Kernel, m: StringIO, pgdat: Node) -> None:
    """One node.

    Kernel:  zoneinfo_show(), mm/vmstat.c
    Status:  source
    """
    walk_zones_in_node(k, m, pgdat, zoneinfo_show_print)


def zoneinfo_pagesets(k: Kernel) -> str:
    """The lines of /proc/zoneinfo that the model knows."""
    m = StringIO()
    for pgdat in k.nodes.values():
        zoneinfo_show(k, m, pgdat)
    return m.getvalue()
