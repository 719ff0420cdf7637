# SPDX-License-Identifier: GPL-2.0-only
"""keep-alloc-factor: what another CPU frees does not make the owner's next refill smaller.

alloc_factor is to tell a CPU that only allocates from one that also frees; a remote free says nothing about the owner.

Kernel: none; decision D-21
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.rfc import variant as rfc
from pageblock_buddy.rfc.policies.policy import Policy


def free_frozen_page_commit(
    k: Kernel, zone: Zone, pcp: PerCpuPages, pfn: int, mt: int, order: int, fpi_flags: int
) -> bool:
    """Put a block on a per-CPU list; if it is another CPU's, its alloc_factor is not halved.

    Kernel:  free_frozen_page_commit(), mm/page_alloc.c; [RFC 2/2]; RFC-10.12
    Status:  decision D-21
    Locks:   holds pcp.lock; takes zone.lock; drops pcp.lock; tries pcp.lock
    """
    if pcp.cpu != k.machine.cpu:
        # RFC-10.12
        pcp.alloc_factor <<= 1  # and the commit halves it
    return rfc.CALLS.free_frozen_page_commit(k, zone, pcp, pfn, mt, order, fpi_flags)


POLICY: Final = Policy(
    name="keep-alloc-factor",
    summary="a free by another CPU does not halve the owner's alloc_factor",
    source="decision D-21",
    calls={"free_frozen_page_commit": free_frozen_page_commit},
    wraps=("free_frozen_page_commit",),
)
