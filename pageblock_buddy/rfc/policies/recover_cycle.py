# SPDX-License-Identifier: GPL-2.0-only
"""recover-cycle: phase 0 gives zone->lock up after each block.

Kernel: none; idea a of [Weiner 04-10]
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy import gfp
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.rfc.policies.policy import Policy


def refill_recover(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
    """Phase 0, with zone->lock cycled between two blocks.

    While it is free another CPU may claim any listed block and so unlink it: a saved next entry would lead into
    another CPU's list.  So the walk starts again at the head.  A request that may wait for no lock keeps what it has.

    Kernel:  phase 0 of rmqueue_bulk(), [Weiner 04-10]; RFC-10.1
    Status:  source; decision D-13 (starting again)
    Locks:   holds pcp.lock, zone.lock; drops zone.lock; takes zone.lock
    Units:   wanted and the result are base pages
    Points:  zone.lock unlock, lock
    """
    got = 0
    blocks = k.pcp_buddy.owned_blocks_to_recover(k, pcp, mt)
    while blocks:
        got += k.pcp_buddy.recover_block(k, zone, pcp, blocks[0], k.block_pages).pages
        k.pcp_buddy.unlist_owned_block(k, zone, blocks[0])
        if not alloc_flags & gfp.ALLOC_TRYLOCK:
            zone.lock.unlock()  # RFC-10.1
            zone.lock.lock()
        blocks = k.pcp_buddy.owned_blocks_to_recover(k, pcp, mt)
    return got


POLICY: Final = Policy(
    name="recover-cycle",
    summary="phase 0 gives zone->lock up after each block",
    source="[Weiner 04-10], idea a",
    pcp_buddy={"refill_recover": refill_recover},
)
