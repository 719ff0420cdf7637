# SPDX-License-Identifier: GPL-2.0-only
"""/proc/pagetypeinfo: free blocks by migratetype, and how many pageblocks there are of each type.

Kernel: mm/vmstat.c (6.12.117)
"""

from __future__ import annotations

from io import StringIO
from typing import Final

from pageblock_buddy import gfp
from pageblock_buddy.mm.kernel import Kernel, page_zone
from pageblock_buddy.mm.mmzone import Node, Zone
from pageblock_buddy.mm.pageblock import pageblock_start_pfn
from pageblock_buddy.snapshot import BLOCK_NO_MEMMAP, migrate_types
from pageblock_buddy.views.walk import populated_zone, walk_zones_in_node

#: The kernel stops to count a free list here, and says so with a '>'.
FREECOUNT_MAX: Final = 100000


def shown_migratetypes(k: Kernel) -> tuple[int, ...]:
    """The migratetypes in the kernel's order: CMA, where there is CMA, before ISOLATE (decision D-01)."""
    if migrate_types(k) > gfp.MIGRATE_CMA:
        return (*range(gfp.MIGRATE_ISOLATE), gfp.MIGRATE_CMA, gfp.MIGRATE_ISOLATE)
    return tuple(range(gfp.MIGRATE_TYPES - 1))


def pfn_to_online_page(k: Kernel, zone: Zone, pfn: int) -> int | None:
    """``pfn`` if there is a memory map for it, else None.

    There is none for a block that a recording marks so, and for one that lies in holes of the configuration altogether:
    the kernel has memory maps by 2 MiB, the size of a pageblock.

    Kernel:  pfn_to_online_page(), mm/memory_hotplug.c; pfn_section_valid(), include/linux/mmzone.h
    Status:  source for recordings; holes inferred from SUBSECTION_SIZE
    """
    if k.pageblock_flags[pfn >> k.pageblock_order] == BLOCK_NO_MEMMAP:
        return None
    holes = k.config.zones[k.zones.index(zone)].holes
    if holes:
        start = pageblock_start_pfn(k, pfn)
        end = start + k.block_pages
        if sum(max(min(end, first + pages) - max(start, first), 0) for first, pages in holes) == k.block_pages:
            return None
    return pfn


def pagetypeinfo_showfree_print(k: Kernel, m: StringIO, pgdat: Node, zone: Zone) -> None:
    """One zone's free blocks: a line for each migratetype, a column for each order.

    Kernel:  pagetypeinfo_showfree_print(), mm/vmstat.c
    Status:  source
    Cost:    O(migratetypes * max_page_order)
    """
    for mtype in shown_migratetypes(k):
        m.write(f"Node {pgdat.nid:4d}, zone {zone.name:>8}, type {gfp.MIGRATETYPE_NAMES[mtype]:>12} ")
        for area in zone.free_area:
            freecount = min(len(area.free_list[mtype]), FREECOUNT_MAX)
            overflow = ">" if freecount >= FREECOUNT_MAX else ""
            m.write(f"{overflow}{freecount:6d} ")  # LPA-15.2.3
        m.write("\n")


def pagetypeinfo_showfree(k: Kernel, m: StringIO, pgdat: Node) -> None:
    """The first table of a node.

    Kernel:  pagetypeinfo_showfree(), mm/vmstat.c
    Status:  source
    """
    m.write(f"{'Free pages count per migrate type at order':<43} ")
    for order in range(k.config.max_page_order + 1):
        m.write(f"{order:6d} ")
    m.write("\n")
    walk_zones_in_node(k, m, pgdat, pagetypeinfo_showfree_print)


def pagetypeinfo_showblockcount_print(k: Kernel, m: StringIO, pgdat: Node, zone: Zone) -> None:
    """One zone's pageblocks by type.

    The walk goes by pageblocks from the zone's first page, wherever in its block that is, and asks for the block of
    each page that it comes to.  In a zone from PFN 1 to 513 it sees block 0 and not block 1.

    Kernel:  pagetypeinfo_showblockcount_print(), mm/vmstat.c
    Status:  source; page_zone() of a hole's page is inferred: the zone around it
    Cost:    O(pageblocks)
    """
    count = dict.fromkeys(shown_migratetypes(k), 0)
    for pfn in range(zone.zone_start_pfn, zone.end_pfn, k.block_pages):
        page = pfn_to_online_page(k, zone, pfn)
        if page is None:
            continue
        if page_zone(k, page) is not zone:
            continue
        mtype = k.calls.get_pageblock_migratetype(k, page)
        if mtype in count:
            count[mtype] += 1
    m.write(f"Node {pgdat.nid}, zone {zone.name:>8} ")
    for blocks in count.values():
        m.write(f"{blocks:12d} ")  # LPA-15.2.4
    m.write("\n")


def pagetypeinfo_showblockcount(k: Kernel, m: StringIO, pgdat: Node) -> None:
    """The second table of a node.

    Kernel:  pagetypeinfo_showblockcount(), mm/vmstat.c
    Status:  source
    """
    m.write(f"\n{'Number of blocks type ':<23}")
    for mtype in shown_migratetypes(k):
        m.write(f"{gfp.MIGRATETYPE_NAMES[mtype]:>12} ")  # LPA-15.2.5
    m.write("\n")
    walk_zones_in_node(k, m, pgdat, pagetypeinfo_showblockcount_print)


def pagetypeinfo_show(k: Kernel, m: StringIO, pgdat: Node) -> None:
    """One node, with the head again for each.  Nothing for a node without memory.

    Kernel:  pagetypeinfo_show(), mm/vmstat.c
    Status:  source; without pagetypeinfo_showmixedcount(), which needs page_owner
    """
    if not any(zone is not None and populated_zone(zone) for zone in pgdat.node_zones):
        return
    m.write(f"Page block order: {k.pageblock_order}\n")  # LPA-15.2.2
    m.write(f"Pages per block:  {k.block_pages}\n")
    m.write("\n")
    pagetypeinfo_showfree(k, m, pgdat)
    pagetypeinfo_showblockcount(k, m, pgdat)


def pagetypeinfo(k: Kernel) -> str:
    """The text of /proc/pagetypeinfo."""
    m = StringIO()
    for pgdat in k.nodes.values():
        pagetypeinfo_show(k, m, pgdat)
    return m.getvalue()
