# SPDX-License-Identifier: GPL-2.0-only
"""Drains: a CPU with nothing but remote frees has something to drain, too.

Kernel: mm/page_alloc.c; [03/40]
"""

from __future__ import annotations

from pageblock_buddy.linux_6_12.drain import drain_pages
from pageblock_buddy.llist.pcp import absorb_remote_frees
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone


def drain_pages_zone(k: Kernel, cpu: int, zone: Zone) -> None:
    """Empty one CPU's lists of one zone, in pieces, remote frees included.

    The one place where another CPU takes this pcp->lock.

    Kernel:  drain_pages_zone(), mm/page_alloc.c; [03/40]; RFC-9.7
    Status:  source
    Locks:   takes pcp.lock, zone.lock
    Context: task
    Points:  pcp.lock lock, unlock; zone.lock lock, unlock
    """
    pcp = zone.per_cpu_pageset[cpu]
    count = 1
    while count:
        pcp.lock.lock()
        absorb_remote_frees(k, pcp)  # RFC-9.7
        count = pcp.count
        if count:
            piece = min(count, pcp.batch << k.config.pcp_batch_scale_max)
            k.calls.free_pcppages_bulk(k, zone, piece, pcp, 0)
            count -= piece
        pcp.lock.unlock()


def drain_all_pages(k: Kernel, zone: Zone | None) -> None:
    """Empty every CPU's lists, of one zone or of all; a CPU whose count is 0 may still have remote frees.

    Kernel:  drain_all_pages(), mm/page_alloc.c; [03/40]; RFC-9.11
    Status:  decision D-27
    """
    if k.trace is not None:
        k.trace.call(k.machine.cpu, "drain_all_pages", 0)
        k.trace.call(k.machine.cpu, "__drain_all_pages", 0)
    zones = k.zones if zone is None else (zone,)
    online = [cpu for cpu in range(k.machine.nr_cpus) if k.machine.online[cpu]]
    pagesets = {cpu: [z.per_cpu_pageset[cpu] for z in zones] for cpu in online}
    # RFC-9.11
    cpus = [cpu for cpu, pcps in pagesets.items() if any(p.count or not p.free_llist.llist_empty() for p in pcps)]
    for cpu in cpus:
        if zone is not None:
            k.calls.drain_pages_zone(k, cpu, zone)
        else:
            drain_pages(k, cpu)
