# SPDX-License-Identifier: GPL-2.0-only
"""Refill with chunks: take large blocks under zone->lock, cut them up outside of it.

No owners, no marks; frees and drains are today's.

Kernel: mm/page_alloc.c; proposed in [Babka 04-10]
"""

from __future__ import annotations

from pageblock_buddy.linux_6_12.buddy import del_page_from_free_list
from pageblock_buddy.linux_7_0.bulk import lock_zone_for_alloc
from pageblock_buddy.mm.alloc_context import RmqueueMode
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import PG_PCP


def rmqueue_bulk(k: Kernel, zone: Zone, order: int, count: int, pcp: PerCpuPages, mt: int, alloc_flags: int) -> int:
    """Take up to ``count`` blocks' worth of pages in chunks of the own type, the rest as today, and cut the chunks up.

    Returns the blocks of 2^order taken, which the caller counts.

    Kernel:  rmqueue_bulk(), mm/page_alloc.c; [Babka 04-10]; RFC-10.14, RFC-10.15
    Status:  decision D-28
    Locks:   holds pcp.lock; takes zone.lock
    Units:   count and the result are blocks of 2^order pages
    Points:  zone.lock lock or trylock, unlock
    """
    if not lock_zone_for_alloc(zone, alloc_flags):
        return 0
    chunks = take_chunks(k, zone, order, count, mt)  # RFC-10.14
    taken = sum(1 << (chunk_order - order) for _, chunk_order in chunks)
    mode = RmqueueMode()
    while taken < count:
        pfn = k.calls._rmqueue(k, zone, order, mt, alloc_flags, mode)
        if pfn is None:
            break
        chunks.append((pfn, order))
        taken += 1
    zone.lock.unlock()
    pcp_list = pcp.lists[k.calls.order_to_pindex(k, mt, order)]
    for chunk, chunk_order in chunks:
        for pfn in range(chunk, chunk + (1 << chunk_order), 1 << order):
            pcp_list.list_add_tail(pfn)  # RFC-10.15
            k.mem_map[pfn] = PG_PCP | order
    return taken


def take_chunks(k: Kernel, zone: Zone, order: int, count: int, mt: int) -> list[tuple[int, int]]:
    """(PFN, order) of free blocks of the own type, smaller than a pageblock, the largest that still fit first."""
    wanted = count << order
    chunks = []
    for current_order in range(min(k.pageblock_order, wanted.bit_length()) - 1, order - 1, -1):
        free_list = zone.free_area[current_order].free_list[mt]
        while wanted >= 1 << current_order:
            pfn = free_list.first_entry_or_null()
            if pfn is None:
                break
            del_page_from_free_list(k, pfn, zone, current_order, mt)
            chunks.append((pfn, current_order))
            wanted -= 1 << current_order
    return chunks
