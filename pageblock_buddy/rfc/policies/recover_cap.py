# SPDX-License-Identifier: GPL-2.0-only
"""recover-cap-2x, recover-cap-4x: phase 0 looks at no more than 2 or 4 times as many PFNs as pages are wanted.

What is left stays listed, and while it does phase 1 takes no new block: phases 2 and 3 serve the rest.

Kernel: none; idea c of [Weiner 04-10]
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.rfc.policies.policy import Policy


def recover_capped(k: Kernel, zone: Zone, pcp: PerCpuPages, mt: int, limit: int) -> int:
    """Phase 0 with at most ``limit`` PFNs; a block that was cut off stays listed and is scanned from its start next
    time.
    """
    got = 0
    for block_pfn in k.pcp_buddy.owned_blocks_to_recover(k, pcp, mt):
        if limit <= 0:
            break
        found = k.pcp_buddy.recover_block(k, zone, pcp, block_pfn, limit)
        got += found.pages
        limit -= found.scanned
        if found.whole:  # RFC-10.3
            k.pcp_buddy.unlist_owned_block(k, zone, block_pfn)
    return got


def refill_recover_2x(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
    """Phase 0 with at most twice as many PFNs as pages are wanted.

    Kernel:  phase 0 of rmqueue_bulk(), [Weiner 04-10]; RFC-10.3
    Status:  source; decision D-13 (what stays listed)
    Locks:   holds pcp.lock, zone.lock
    Units:   wanted and the result are base pages
    """
    return recover_capped(k, zone, pcp, mt, 2 * wanted)  # RFC-10.3


def refill_recover_4x(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
    """Phase 0 with at most four times as many PFNs as pages are wanted.

    Kernel:  phase 0 of rmqueue_bulk(), [Weiner 04-10]; RFC-10.3
    Status:  source; decision D-13 (what stays listed)
    Locks:   holds pcp.lock, zone.lock
    Units:   wanted and the result are base pages
    """
    return recover_capped(k, zone, pcp, mt, 4 * wanted)  # RFC-10.3


CAP_2X: Final = Policy(
    name="recover-cap-2x",
    summary="phase 0 looks at no more than twice as many PFNs as pages are wanted",
    source="[Weiner 04-10], idea c",
    pcp_buddy={"refill_recover": refill_recover_2x},
)
CAP_4X: Final = Policy(
    name="recover-cap-4x",
    summary="phase 0 looks at no more than four times as many PFNs as pages are wanted",
    source="[Weiner 04-10], idea c",
    pcp_buddy={"refill_recover": refill_recover_4x},
)
