# SPDX-License-Identifier: GPL-2.0-only
"""want-block: a refill of single pages wants at least a pageblock, so that phase 1 is reached whenever it could be.

Today's nr_pcp_alloc() halves its batch with every free; with frees routed to the owner it seldom comes to a whole
pageblock.

Kernel: none; decision D-12
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.rfc import variant as rfc
from pageblock_buddy.rfc.policies.policy import Policy


def room_for_a_block(k: Kernel, pcp: PerCpuPages, order: int) -> bool:
    """Whether this refill may ask for a pageblock: of order 0, on lists that are enabled and may hold as much."""
    return order == 0 and pcp.high >= pcp.batch and pcp.high_max >= k.block_pages


def nr_pcp_alloc(k: Kernel, pcp: PerCpuPages, zone: Zone, order: int) -> int:
    """How many blocks of this order a refill asks for: of order 0 at least a pageblock's pages.

    Kernel:  nr_pcp_alloc(), mm/page_alloc.c; RFC-10.11
    Status:  decision D-12
    Locks:   holds pcp.lock
    Units:   the result counts blocks of 2^order pages
    """
    count = rfc.CALLS.nr_pcp_alloc(k, pcp, zone, order)
    if room_for_a_block(k, pcp, order):
        return max(count, k.block_pages)  # RFC-10.11
    return count


POLICY: Final = Policy(
    name="want-block",
    summary="a refill of single pages wants at least a pageblock",
    source="decision D-12",
    calls={"nr_pcp_alloc": nr_pcp_alloc},
    wraps=("nr_pcp_alloc",),
)
