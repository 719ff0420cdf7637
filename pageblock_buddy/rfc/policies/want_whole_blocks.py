# SPDX-License-Identifier: GPL-2.0-only
"""want-whole-blocks: a refill of single pages wants whole pageblocks, so that nothing is left to phases 2 and 3.

What a refill wants beyond whole blocks comes from phases 2 and 3: pages that nobody owns, which go wherever they are
freed.  In the steady state they are all that still needs zone->lock (docs/workloads.md).

Kernel: none; decision D-12
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.rfc import variant as rfc
from pageblock_buddy.rfc.policies.policy import Policy
from pageblock_buddy.rfc.policies.want_block import room_for_a_block


def nr_pcp_alloc(k: Kernel, pcp: PerCpuPages, zone: Zone, order: int) -> int:
    """How many blocks of this order a refill asks for: of order 0 today's amount, rounded up to whole pageblocks.

    Kernel:  nr_pcp_alloc(), mm/page_alloc.c; RFC-10.11a
    Status:  decision D-12
    Locks:   holds pcp.lock
    Units:   the result counts blocks of 2^order pages
    """
    count = rfc.CALLS.nr_pcp_alloc(k, pcp, zone, order)
    if room_for_a_block(k, pcp, order):
        return -(-count // k.block_pages) * k.block_pages  # RFC-10.11a
    return count


POLICY: Final = Policy(
    name="want-whole-blocks",
    summary="a refill of single pages wants whole pageblocks and nothing else",
    source="decision D-12",
    calls={"nr_pcp_alloc": nr_pcp_alloc},
    wraps=("nr_pcp_alloc",),
)
