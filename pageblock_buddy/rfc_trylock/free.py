# SPDX-License-Identifier: GPL-2.0-only
"""Free: never wait for a pcp->lock.

An allocation holds its pcp->lock with interrupts on.  If an interrupt there wants a lock whose holder waits, in the
free path, for that pcp->lock, neither ever goes on.  Whoever only tries cannot close that cycle.

Kernel: mm/page_alloc.c; [03/45]
"""

from __future__ import annotations

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages


def pcp_free_lock(k: Kernel, pcp: PerCpuPages, fpi_flags: int) -> bool:
    """Try the target's pcp->lock, in every context.  False: it is busy, and the page goes to the zone.

    Kernel:  __free_frozen_pages(), free_unref_folios(), mm/page_alloc.c; [03/45]; RFC-9.3
    Status:  source
    Locks:   tries pcp.lock
    Points:  pcp.lock trylock
    """
    return pcp.lock.trylock_irqsave()  # RFC-9.3
