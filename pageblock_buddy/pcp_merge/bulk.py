# SPDX-License-Identifier: GPL-2.0-only
"""Drain with merging first: what is about to go to the zone merges among itself, outside zone->lock.

No owners: the pages of a block are on as many CPUs' lists as freed them, so only what this CPU drains can merge.

Kernel: mm/page_alloc.c; asked in [ZiYan 04-03]
"""

from __future__ import annotations

from pageblock_buddy.gfp import FPI_NONE
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import PG_NONE


def free_pcppages_bulk(k: Kernel, zone: Zone, count: int, pcp: PerCpuPages, pindex: int) -> int:
    """Send at least ``count`` pages (or all) from per-CPU lists to the zone, merged as far as they go among themselves.

    Returns the pages that went.

    Kernel:  free_pcppages_bulk(), mm/page_alloc.c; [ZiYan 04-03]; RFC-10.17, RFC-10.18
    Status:  decision D-28
    Locks:   holds pcp.lock; takes zone.lock
    Units:   count is base pages
    Cost:    O(pages * max_page_order)
    Points:  zone.lock lock, unlock
    """
    chunks = merge_victims(k, take_victims(k, count, pcp, pindex))  # RFC-10.17
    zone.lock.lock()
    for pfn, order in chunks.items():
        mt = k.calls.get_pageblock_migratetype(k, pfn)
        k.calls._free_one_page(k, pfn, zone, order, mt, FPI_NONE)  # RFC-10.18
        if k.trace is not None:
            k.trace.mm_page_pcpu_drain(k.machine.cpu, pfn, order, mt)
    zone.lock.unlock()
    return sum(1 << order for order in chunks.values())


def take_victims(k: Kernel, count: int, pcp: PerCpuPages, pindex: int) -> dict[int, int]:
    """PFN -> order of the blocks that today's drain would free, in its order; they are off the lists then."""
    count = min(pcp.count, count)
    lists = pcp.lists
    pindex -= 1
    victims: dict[int, int] = {}
    while count > 0:
        pindex = (pindex + 1) % len(lists)
        while lists[pindex].list_empty():
            pindex = (pindex + 1) % len(lists)
        order = k.calls.pindex_to_order(k, pindex)
        while count > 0 and not lists[pindex].list_empty():
            pfn = lists[pindex].pop_last()
            k.mem_map[pfn] = PG_NONE
            count -= 1 << order
            pcp.count -= 1 << order
            victims[pfn] = order
    return victims


def merge_victims(k: Kernel, victims: dict[int, int]) -> dict[int, int]:
    """The victims with buddies merged, bottom up to pageblock_order, each in the place of its first one."""
    place = {pfn: i for i, pfn in enumerate(victims)}
    for order in range(k.pageblock_order):
        for pfn in [pfn for pfn, victim_order in victims.items() if victim_order == order]:
            buddy = pfn ^ (1 << order)
            if victims.get(pfn) == order and victims.get(buddy) == order:
                del victims[pfn], victims[buddy]
                victims[pfn & buddy] = order + 1
                place[pfn & buddy] = min(place[pfn], place[buddy])
    return dict(sorted(victims.items(), key=lambda victim: place[victim[0]]))
