# SPDX-License-Identifier: GPL-2.0-only
"""The four phases of a refill, one function each.  All run under pcp->lock and zone->lock.

    0  recover   fragments of owned blocks that a drain sent to the zone        marked
    1  claim     whole pageblocks, which this CPU then owns                     marked
    2  chunks    blocks smaller than a pageblock, of the own type               unmarked
    3  classic   __rmqueue() with fallback, as today                            unmarked

Each takes what is wanted in base pages and returns the pages that it got.

Kernel: rmqueue_bulk(), mm/page_alloc.c; [RFC 2/2]
"""

from __future__ import annotations

from collections.abc import Callable

from pageblock_buddy import gfp
from pageblock_buddy.linux_6_12.buddy import del_page_from_free_list, next_free_head, page_del_and_expand
from pageblock_buddy.mm.alloc_context import RmqueueMode
from pageblock_buddy.mm.calls import Recovered
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import PG_ORDER_MASK, PG_PCP, PG_PCP_BUDDY
from pageblock_buddy.rfc.pageblock import claim_pageblock
from pageblock_buddy.rfc.pcp import add_refill

# --- phase 0 -----------------------------------------------------------------------------------


def refill_recover(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
    """Phase 0: take back what is in the zone of every listed block of type ``mt``, and unlist it.

    ``wanted`` ends nothing: the list is consumed as a whole.

    Kernel:  phase 0 of rmqueue_bulk(), [RFC 2/2]; RFC-5.15, RFC-5.13
    Status:  source; decision D-13
    Locks:   holds pcp.lock, zone.lock
    Units:   wanted and the result are base pages
    Cost:    O(listed blocks * pages of a pageblock)
    """
    got = 0
    for block_pfn in k.pcp_buddy.owned_blocks_to_recover(k, pcp, mt):
        got += k.pcp_buddy.recover_block(k, zone, pcp, block_pfn, k.block_pages).pages  # RFC-5.15
        k.pcp_buddy.unlist_owned_block(k, zone, block_pfn)  # RFC-5.13
    return got


def recover_block(k: Kernel, zone: Zone, pcp: PerCpuPages, block_pfn: int, limit: int) -> Recovered:
    """Move the free blocks of one owned pageblock from the zone to the PCP, marked; look at no more than ``limit``
    PFNs.

    If the pageblock is the lower half of a larger free block, that is split and its upper half put back; if it is
    the upper half, no free block starts in it, and nothing is found.

    Kernel:  phase 0 of rmqueue_bulk(), [RFC 2/2]; RFC-5.12, RFC-5.17, RFC-5.18, RFC-5.19
    Status:  source; decision D-14 (steps, larger blocks)
    Locks:   holds pcp.lock, zone.lock
    Units:   limit and scanned are PFNs looked at; pages are base pages
    Cost:    O(pages of a pageblock)
    """
    return scan_and_take(k, zone, pcp, block_pfn, limit, _never)


def _never() -> bool:
    return False


def scan_and_take(
    k: Kernel, zone: Zone, pcp: PerCpuPages, block_pfn: int, limit: int, none_left: Callable[[], bool]
) -> Recovered:
    """Look at one PFN after the other for a free block; a free block is taken and stepped over.

    The scan ends at the end of the pageblock, after ``limit`` PFNs, or when ``none_left()`` knows that there is no
    more.
    """
    end = block_pfn + k.block_pages
    block_mt = k.calls.get_pageblock_migratetype(k, block_pfn)
    pages = scanned = 0
    pfn = block_pfn
    while pfn < end and scanned < limit and not none_left():
        stop = min(end, pfn + limit - scanned)
        head = next_free_head(k, pfn, stop)  # RFC-5.17, RFC-5.19
        if head is None:
            scanned += stop - pfn
            pfn = stop
            break
        scanned += head - pfn + 1
        order = k.mem_map[head] & PG_ORDER_MASK
        if order > k.pageblock_order:
            page_del_and_expand(k, zone, head, k.pageblock_order, order, block_mt)  # RFC-5.18
            order = k.pageblock_order
        else:
            del_page_from_free_list(k, head, zone, order, block_mt)  # RFC-5.12
        add_refill(k, pcp, head, order, block_mt, PG_PCP_BUDDY)
        pages += 1 << order
        pfn = head + (1 << order)  # RFC-5.17
    return Recovered(pages, scanned, pfn >= end or none_left())


# --- phase 1 -----------------------------------------------------------------------------------


def refill_claim(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
    """Phase 1: take whole pageblocks and own them, while at least a pageblock is wanted.

    None while a listed block of this type waits for recovery.  __rmqueue() may convert a whole free block of another
    type, which mixes nothing; CMA blocks are left alone.

    Kernel:  phase 1 of rmqueue_bulk(), [RFC 2/2]; RFC-5.26, RFC-5.30, RFC-5.25
    Status:  source; inferred that it goes through __rmqueue() [12/40]; decision D-15
    Locks:   holds pcp.lock, zone.lock
    Units:   wanted and the result are base pages
    """
    if wanted < k.block_pages or k.pcp_buddy.owned_blocks_to_recover(k, pcp, mt):  # RFC-5.26, RFC-5.30
        return 0
    return claim_by_rmqueue(k, zone, pcp, wanted, mt, alloc_flags & ~gfp.ALLOC_CMA)  # RFC-5.25


def claim_by_rmqueue(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
    """Claim pageblocks as __rmqueue() gives them with these flags.  Returns the pages."""
    mode = RmqueueMode()
    got = 0
    while wanted - got >= k.block_pages:  # RFC-5.26
        pfn = k.calls._rmqueue(k, zone, k.pageblock_order, mt, alloc_flags, mode)  # RFC-5.24, RFC-5.28
        if pfn is None:
            break
        claim_pageblock(k, zone, pcp, pfn)
        add_refill(k, pcp, pfn, k.pageblock_order, mt, PG_PCP_BUDDY)  # RFC-5.22
        got += k.block_pages
    return got


# --- phase 2 -----------------------------------------------------------------------------------


def refill_chunks(k: Kernel, zone: Zone, pcp: PerCpuPages, order: int, wanted: int, mt: int) -> int:
    """Phase 2: take blocks of the own type as they are, the largest that fit what is wanted first.

    Never a whole pageblock, and nothing smaller than the request.  Who owns the pageblock is neither read nor changed.

    Kernel:  phase 2 of rmqueue_bulk(), [RFC 2/2]; RFC-5.31, RFC-5.35, RFC-5.33
    Status:  source; decision D-16 (which ones)
    Locks:   holds pcp.lock, zone.lock
    Units:   wanted and the result are base pages
    """
    got = 0
    for current_order in range(min(k.pageblock_order, wanted.bit_length()) - 1, order - 1, -1):
        free_list = zone.free_area[current_order].free_list[mt]
        while wanted - got >= 1 << current_order:
            pfn = free_list.first_entry_or_null()
            if pfn is None:
                break
            del_page_from_free_list(k, pfn, zone, current_order, mt)  # RFC-5.31, RFC-5.35
            add_refill(k, pcp, pfn, current_order, mt, PG_PCP)  # RFC-5.33
            got += 1 << current_order
    return got


# --- phase 3 -----------------------------------------------------------------------------------


def refill_classic(k: Kernel, zone: Zone, pcp: PerCpuPages, order: int, wanted: int, mt: int, alloc_flags: int) -> int:
    """Phase 3: as today, block by block of the request's order, with fallback to other types.

    Kernel:  phase 3 of rmqueue_bulk(), [RFC 2/2]; RFC-5.36, RFC-5.37
    Status:  source; decision D-16 (it fills up what is wanted)
    Locks:   holds pcp.lock, zone.lock
    Units:   wanted and the result are base pages
    """
    mode = RmqueueMode()
    got = 0
    while wanted - got >= 1 << order:
        pfn = k.calls._rmqueue(k, zone, order, mt, alloc_flags, mode)  # RFC-5.36, RFC-5.37
        if pfn is None:
            break
        add_refill(k, pcp, pfn, order, mt, PG_PCP)
        got += 1 << order
    return got
