# SPDX-License-Identifier: GPL-2.0-only
"""CPU hotplug: a dead CPU owns nothing.

Kernel: mm/page_alloc.c; the RFC is silent
"""

from __future__ import annotations

from pageblock_buddy.linux_6_12.drain import drain_pages
from pageblock_buddy.linux_6_12.hotplug import zone_pcp_update
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone
from pageblock_buddy.mm.vmstat import cpu_vm_stats_fold, refresh_zone_stat_thresholds
from pageblock_buddy.rfc.pageblock import disown_pageblock


def disown_pageblocks_of(k: Kernel, zone: Zone, cpu: int) -> None:
    """Empty a dead CPU's lists once more and disown its pageblocks, in one hold of its pcp->lock.

    The blocks are not complete here, so a free may have read this owner: it looks again when it has the lock.

    Kernel:  none: the RFC does not speak of CPU hotplug; [RFC 2/2]; RFC-8.1
    Status:  decision D-23
    Locks:   takes pcp.lock, zone.lock
    Context: task
    Cost:    O(pageblocks of the zone)
    """
    pcp = zone.per_cpu_pageset[cpu]
    pcp.lock.lock()
    # RFC-8.1
    k.calls.free_pcppages_bulk(k, zone, zone.spanned_pages, pcp, 0)  # all there is
    zone.lock.lock()
    first, end = zone.zone_start_pfn >> k.pageblock_order, -(-zone.end_pfn // k.block_pages)
    for block in range(first, end):
        if k.pageblock_cpu[block] == cpu + 1:
            disown_pageblock(k, zone, block << k.pageblock_order)  # RFC-8.1
    zone.lock.unlock()
    pcp.lock.unlock()


def page_alloc_cpu_dead(k: Kernel, cpu: int) -> None:
    """A CPU is gone: empty its lists, disown its pageblocks and fold its counters, on another CPU.

    Kernel:  page_alloc_cpu_dead(), mm/page_alloc.c; LPA-8.8.11
    Status:  decision D-23
    Locks:   takes pcp.lock, zone.lock
    Context: task
    """
    k.machine.online[cpu] = False
    drain_pages(k, cpu)  # LPA-8.8.11
    for zone in k.zones:
        disown_pageblocks_of(k, zone, cpu)
    cpu_vm_stats_fold(k, cpu)
    for zone in k.zones:
        zone_pcp_update(k, zone, 0)
    refresh_zone_stat_thresholds(k)
