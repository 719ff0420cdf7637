# SPDX-License-Identifier: GPL-2.0-only
"""Refill and drain of a CPU's lists under one hold of zone->lock.

Kernel: mm/page_alloc.c; [RFC 2/2]
"""

from __future__ import annotations

from collections.abc import Sequence

from pageblock_buddy import gfp
from pageblock_buddy.gfp import FPI_NONE
from pageblock_buddy.linux_7_0.bulk import lock_zone_for_alloc
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import PG_KIND_MASK, PG_NONE, PG_PCP_BUDDY
from pageblock_buddy.mm.pageblock import pageblock_start_pfn
from pageblock_buddy.rfc.pageblock import disown_pageblock
from pageblock_buddy.rfc.pcp import has_chunk

# --- refill ------------------------------------------------------------------------------------


def rmqueue_bulk(k: Kernel, zone: Zone, order: int, count: int, pcp: PerCpuPages, mt: int, alloc_flags: int) -> int:
    """Fill the lists with the pages of ``count`` blocks of 2^order, phase by phase.

    Returns what it got in blocks of 2^order, rounded down; the phases count into the pageset.  Recovered blocks
    and whole pageblocks may bring more than was asked for.

    Kernel:  rmqueue_bulk(), mm/page_alloc.c; [RFC 2/2]; RFC-4.10, RFC-5.3, RFC-5.9, RFC-5.5
    Status:  source; decision D-12 (what is wanted after each phase)
    Locks:   holds pcp.lock; takes zone.lock
    Units:   count and the result are blocks of 2^order pages
    Cost:    O(count + PFNs scanned)
    Points:  zone.lock lock or trylock, unlock
    Errors:  none; 0 means the zone had nothing to give
    """
    phases = k.pcp_buddy
    wanted = count << order  # RFC-4.10
    if not lock_zone_for_alloc(zone, alloc_flags):  # RFC-5.3, RFC-5.9
        return 0
    got = 0
    # Disabled lists (and the boot pageset) are to stay empty: nothing but the page that is asked for.
    if pcp.high >= pcp.batch:  # RFC-5.5
        got += phases.refill_recover(k, zone, pcp, wanted, mt, alloc_flags)  # RFC-5.1, RFC-5.2
        got += phases.refill_claim(k, zone, pcp, still_wanted(k, pcp, order, mt, wanted - got), mt, alloc_flags)
        got += phases.refill_chunks(k, zone, pcp, order, still_wanted(k, pcp, order, mt, wanted - got), mt)
    rest = still_wanted(k, pcp, order, mt, wanted - got)  # RFC-5.3
    got += phases.refill_classic(k, zone, pcp, order, rest, mt, alloc_flags)
    zone.lock.unlock()
    return got >> order


def still_wanted(k: Kernel, pcp: PerCpuPages, order: int, mt: int, rest: int) -> int:
    """What the next phase is to bring, in pages: the rest, but at least one block if no chunk would serve the
    request.
    """
    if rest < 1 << order and not has_chunk(k, pcp, order, mt):
        return 1 << order  # RFC-5.4
    return rest


# --- drain -------------------------------------------------------------------------------------


def free_pcppages_bulk(k: Kernel, zone: Zone, count: int, pcp: PerCpuPages, pindex: int) -> int:
    """Send at least ``count`` pages (or all) from a CPU's lists to the zone.  Returns the pages that went.

    First marked buddies merge, outside zone->lock; then the largest chunks go first.  A chunk is never split, so up to
    a pageblock less one page more than ``count`` may go.

    Kernel:  free_pcppages_bulk(), mm/page_alloc.c; [RFC 2/2]; RFC-7.8, RFC-7.1, RFC-7.2, RFC-7.10
    Status:  source; decision D-18 (victims)
    Locks:   holds pcp.lock; takes zone.lock
    Units:   count is base pages
    Cost:    O(chunks on the lists + chunks freed * max_page_order)
    Points:  zone.lock lock, unlock
    """
    asked = count = min(pcp.count, count)  # RFC-7.8
    if count > 0:
        k.pcp_buddy.merge_pcp_buddies(k, pcp)  # RFC-7.1, RFC-7.2
    zone.lock.lock()
    for victims in k.pcp_buddy.drain_order(k, pindex):
        if count <= 0:
            break
        pcp_list = pcp.lists[victims]
        order = k.calls.pindex_to_order(k, victims)
        while count > 0 and not pcp_list.list_empty():
            pfn = pcp_list.pop_last()  # RFC-7.10, RFC-7.11
            count -= 1 << order
            pcp.count -= 1 << order
            drain_chunk(k, zone, pcp, pfn, order)
    zone.lock.unlock()
    return asked - count


def drain_order(k: Kernel, pindex: int) -> Sequence[int]:
    """The lists in the order in which a drain empties them: largest order first, types from that of ``pindex`` on.

    Kernel:  the choice of victims in free_pcppages_bulk(), [RFC 2/2]; RFC-7.10
    Status:  decision D-18
    """
    types = gfp.MIGRATE_PCPTYPES
    first = pindex % types
    # RFC-7.10
    return [types * order + (first + i) % types for order in range(k.pageblock_order, -1, -1) for i in range(types)]


def drain_chunk(k: Kernel, zone: Zone, pcp: PerCpuPages, pfn: int, order: int) -> None:
    """Give one chunk to the zone: a whole owned block is disowned, a part of one puts its block on owned_blocks.

    Kernel:  the loop of free_pcppages_bulk(), mm/page_alloc.c; [RFC 2/2]; RFC-3.13, RFC-7.12, RFC-7.15, RFC-7.19
    Status:  source; decision D-20 (listing)
    Locks:   holds pcp.lock, zone.lock
    """
    owned = k.mem_map[pfn] & PG_KIND_MASK == PG_PCP_BUDDY
    k.mem_map[pfn] = PG_NONE  # RFC-3.13
    if owned:
        if order == k.pageblock_order:
            disown_pageblock(k, zone, pfn)  # RFC-7.12
        else:
            k.pcp_buddy.list_owned_block(k, zone, pcp, pageblock_start_pfn(k, pfn))  # RFC-7.15
    mt = k.calls.get_pageblock_migratetype(k, pfn)  # RFC-7.19
    k.calls._free_one_page(k, pfn, zone, order, mt, FPI_NONE)  # RFC-7.18
    if k.trace is not None:
        k.trace.mm_page_pcpu_drain(k.machine.cpu, pfn, order, mt)
