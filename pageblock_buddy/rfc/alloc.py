# SPDX-License-Identifier: GPL-2.0-only
"""Allocation from the per-CPU lists: any chunk that is large enough will do.

The local pcp->lock is taken as today, by trylock with interrupts on (rmqueue_pcplist() of linux_6_12).

Kernel: mm/page_alloc.c; [RFC 2/2]
"""

from __future__ import annotations

from pageblock_buddy.machine.lists import ListHead
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone


def _rmqueue_pcplist(
    k: Kernel, zone: Zone, order: int, mt: int, alloc_flags: int, pcp: PerCpuPages, pcp_list: ListHead
) -> int | None:
    """Take a block from the per-CPU lists, refilling them if they have nothing for it.

    ``pcp_list`` is what today's code would look at alone; lists of larger orders serve here as well.

    Kernel:  __rmqueue_pcplist(), mm/page_alloc.c; [RFC 2/2]; RFC-4.10, RFC-4.11, RFC-4.8
    Status:  inferred
    Locks:   holds pcp.lock; takes zone.lock
    Points:  zone.lock lock, unlock
    """
    pfn = k.pcp_buddy.pcp_rmqueue_smallest(k, zone, pcp, order, mt)
    if pfn is None:
        count = k.calls.nr_pcp_alloc(k, pcp, zone, order)  # RFC-4.10, RFC-4.11
        k.calls.rmqueue_bulk(k, zone, order, count, pcp, mt, alloc_flags)  # RFC-4.8
        pfn = k.pcp_buddy.pcp_rmqueue_smallest(k, zone, pcp, order, mt)
    return pfn
