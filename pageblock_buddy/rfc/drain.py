# SPDX-License-Identifier: GPL-2.0-only
"""Decay: what a piece sent to the zone counts, since a chunk is not split.

Kernel: mm/page_alloc.c; [RFC 2/2]
"""

from __future__ import annotations

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone


def decay_pcp_high(k: Kernel, zone: Zone, pcp: PerCpuPages) -> int:
    """Lower pcp->high a little and flush what is above it; the vmstat worker calls this.

    Returns how much is left to do, as a count of steps.

    Kernel:  decay_pcp_high(), mm/page_alloc.c; RFC-8.4
    Status:  inferred, as linux-6.12; decision D-24 (what went counts)
    Locks:   takes pcp.lock, zone.lock
    Points:  pcp.lock lock, unlock; zone.lock lock, unlock
    """
    high_min, batch = pcp.high_min, pcp.batch
    todo = 0
    if pcp.high > high_min:
        decayed = pcp.high - (pcp.high >> 3)
        pcp.high = max(pcp.count - (batch << k.config.pcp_batch_scale_max), decayed, high_min)
        if pcp.high > high_min:
            todo += 1
    to_drain = pcp.count - pcp.high
    while to_drain > 0:
        pcp.lock.lock()
        went = k.calls.free_pcppages_bulk(k, zone, min(to_drain, batch), pcp, 0)  # RFC-8.4
        pcp.lock.unlock()
        todo += 1
        to_drain -= went
        if not went:
            break  # others drained it meanwhile
    return todo
