# SPDX-License-Identifier: GPL-2.0-only
"""Drain: what others freed is absorbed before the merge pass.

Kernel: mm/page_alloc.c; [03/40]
"""

from __future__ import annotations

from pageblock_buddy.llist.pcp import absorb_remote_frees
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.rfc import variant as rfc


def free_pcppages_bulk(k: Kernel, zone: Zone, count: int, pcp: PerCpuPages, pindex: int) -> int:
    """Send at least ``count`` pages (or all) from a CPU's lists to the zone: absorb, merge, drain.  Returns them.

    Kernel:  free_pcppages_bulk(), mm/page_alloc.c; [03/40]; RFC-9.7, RFC-9.13
    Status:  source
    Locks:   holds pcp.lock; takes zone.lock
    Units:   count is base pages
    Points:  zone.lock lock, unlock
    """
    absorb_remote_frees(k, pcp)  # RFC-9.7, RFC-9.13
    return rfc.CALLS.free_pcppages_bulk(k, zone, count, pcp, pindex)
