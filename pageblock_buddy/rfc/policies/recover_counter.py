# SPDX-License-Identifier: GPL-2.0-only
"""recover-counter: pageblock_data counts the block's pages on the zone's free lists, which ends a scan early.

The count changes with every free-list operation, under zone->lock.  A free block larger than a pageblock counts fully
for each pageblock that it covers.

Kernel: none; idea b of [Weiner 04-10]
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy.mm.calls import Recovered
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.rfc import variant as rfc
from pageblock_buddy.rfc.policies.policy import Policy
from pageblock_buddy.rfc.refill import scan_and_take


def count_free_block(k: Kernel, pfn: int, order: int, sign: int) -> None:
    """A free block came to the lists (``sign`` 1) or left them (-1)."""
    pages = min(1 << order, k.block_pages) * sign
    first = pfn >> k.pageblock_order
    for block in range(first, first + max(1 << order >> k.pageblock_order, 1)):
        k.pageblock_nr_free[block] += pages


def _add_to_free_list(k: Kernel, pfn: int, zone: Zone, order: int, mt: int, tail: bool) -> None:
    """Put a block on a free list, mark it and count it for its pageblock.

    Kernel:  __add_to_free_list(), mm/page_alloc.c; [Weiner 04-10]; RFC-10.2
    Status:  source
    Locks:   holds zone.lock
    """
    rfc.CALLS._add_to_free_list(k, pfn, zone, order, mt, tail)
    count_free_block(k, pfn, order, 1)


def _del_page_from_free_list(k: Kernel, pfn: int, zone: Zone, order: int, mt: int) -> None:
    """Take a block off its free list and out of its pageblock's count.

    Kernel:  __del_page_from_free_list(), mm/page_alloc.c; [Weiner 04-10]; RFC-10.2
    Status:  source
    Locks:   holds zone.lock
    """
    rfc.CALLS._del_page_from_free_list(k, pfn, zone, order, mt)
    count_free_block(k, pfn, order, -1)


def recover_block(k: Kernel, zone: Zone, pcp: PerCpuPages, block_pfn: int, limit: int) -> Recovered:
    """Move the free blocks of one owned pageblock to the PCP, and stop when the count says that none is left.

    Kernel:  phase 0 of rmqueue_bulk(), [Weiner 04-10]; RFC-10.2
    Status:  source; decision D-14 (steps, larger blocks)
    Locks:   holds pcp.lock, zone.lock
    Units:   limit and scanned are PFNs looked at; pages are base pages
    """
    block = block_pfn >> k.pageblock_order
    return scan_and_take(k, zone, pcp, block_pfn, limit, lambda: not k.pageblock_nr_free[block])  # RFC-10.2


def recount(k: Kernel) -> None:
    """Count a loaded state."""
    for block in range(len(k.pageblock_nr_free)):
        k.pageblock_nr_free[block] = 0
    for zone in k.zones:
        for order, area in enumerate(zone.free_area):
            for free_list in area.free_list:
                for pfn in free_list:
                    count_free_block(k, pfn, order, 1)


POLICY: Final = Policy(
    name="recover-counter",
    summary="a count of free pages in pageblock_data ends phase 0's scan of a block early",
    source="[Weiner 04-10], idea b",
    calls={
        "_add_to_free_list": _add_to_free_list,
        "_del_page_from_free_list": _del_page_from_free_list,
        "after_load": recount,
    },
    pcp_buddy={"recover_block": recover_block},
    wraps=(
        "_add_to_free_list",
        "_del_page_from_free_list",
    ),
)
