# SPDX-License-Identifier: GPL-2.0-only
"""claim-own-type, claim-cma: which whole blocks phase 1 may take.

Kernel: none; the other readings of [RFC 2/2], decision D-15
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import PG_PCP_BUDDY
from pageblock_buddy.rfc.pageblock import claim_pageblock
from pageblock_buddy.rfc.pcp import add_refill
from pageblock_buddy.rfc.policies.policy import Policy
from pageblock_buddy.rfc.refill import claim_by_rmqueue


def refill_claim_own_type(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
    """Phase 1 from the free lists of the request's type alone: nothing is converted.

    Kernel:  phase 1 of rmqueue_bulk(), [RFC 2/2]; RFC-10.6
    Status:  decision D-15
    Locks:   holds pcp.lock, zone.lock
    Units:   wanted and the result are base pages
    """
    if k.pcp_buddy.owned_blocks_to_recover(k, pcp, mt):
        return 0
    got = 0
    while wanted - got >= k.block_pages:
        pfn = k.calls._rmqueue_smallest(k, zone, k.pageblock_order, mt)  # RFC-10.6
        if pfn is None:
            break
        claim_pageblock(k, zone, pcp, pfn)
        add_refill(k, pcp, pfn, k.pageblock_order, mt, PG_PCP_BUDDY)
        got += k.block_pages
    return got


def refill_claim_cma(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
    """Phase 1 with the request's own flags: __rmqueue() may give CMA blocks, by its balance or as the second choice.

    Kernel:  phase 1 of rmqueue_bulk(), [RFC 2/2]; the question of [Linden 04-06]; RFC-10.7
    Status:  decision D-15
    Locks:   holds pcp.lock, zone.lock
    Units:   wanted and the result are base pages
    """
    if wanted < k.block_pages or k.pcp_buddy.owned_blocks_to_recover(k, pcp, mt):
        return 0
    return claim_by_rmqueue(k, zone, pcp, wanted, mt, alloc_flags)  # RFC-10.7


OWN_TYPE: Final = Policy(
    name="claim-own-type",
    summary="phase 1 takes only whole blocks of the request's own type",
    source="decision D-15",
    pcp_buddy={"refill_claim": refill_claim_own_type},
)
CMA: Final = Policy(
    name="claim-cma",
    summary="phase 1 may take CMA blocks, as __rmqueue() would",
    source="decision D-15; [Linden 04-06]",
    pcp_buddy={"refill_claim": refill_claim_cma},
)
