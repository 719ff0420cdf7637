# SPDX-License-Identifier: GPL-2.0-only
"""recover-enough: phase 0 stops between two blocks once it has what is wanted.

Kernel: none; the other reading of [Weiner 04-10], decision D-13
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.rfc.policies.policy import Policy


def refill_recover(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
    """Phase 0 until enough is found; a block that was begun is finished, since a listed block is scanned from its
    start.

    Kernel:  phase 0 of rmqueue_bulk(), [Weiner 04-10]; RFC-10.4
    Status:  decision D-13
    Locks:   holds pcp.lock, zone.lock
    Units:   wanted and the result are base pages
    """
    got = 0
    for block_pfn in k.pcp_buddy.owned_blocks_to_recover(k, pcp, mt):
        if got >= wanted:  # RFC-10.4
            break
        got += k.pcp_buddy.recover_block(k, zone, pcp, block_pfn, k.block_pages).pages
        k.pcp_buddy.unlist_owned_block(k, zone, block_pfn)
    return got


POLICY: Final = Policy(
    name="recover-enough",
    summary="phase 0 stops between two blocks once it has what is wanted",
    source="decision D-13",
    pcp_buddy={"refill_recover": refill_recover},
)
