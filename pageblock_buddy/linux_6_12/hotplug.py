# SPDX-License-Identifier: GPL-2.0-only
"""CPU hotplug: what the allocator does when a CPU comes or goes.

Kernel: mm/page_alloc.c (6.12.117)
"""

from __future__ import annotations

from pageblock_buddy.linux_6_12.drain import drain_pages
from pageblock_buddy.linux_6_12.pcp import zone_set_pageset_high_and_batch
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone
from pageblock_buddy.mm.vmstat import cpu_vm_stats_fold, refresh_zone_stat_thresholds


def zone_pcp_update(k: Kernel, zone: Zone, cpu_online: int) -> None:
    """Compute the limits of a zone's pagesets again.

    Kernel:  zone_pcp_update(), mm/page_alloc.c; LPA-8.7.9
    Status:  source
    """
    zone_set_pageset_high_and_batch(k, zone, cpu_online)  # LPA-8.7.9


def page_alloc_cpu_online(k: Kernel, cpu: int) -> None:
    """A CPU comes: the limits are computed as if it were in its node's mask already.

    Kernel:  page_alloc_cpu_online(), mm/page_alloc.c; LPA-8.7.3, LPA-8.7.9
    Status:  source
    """
    for zone in k.zones:
        zone_pcp_update(k, zone, 1)  # LPA-8.7.3
    k.machine.online[cpu] = True
    refresh_zone_stat_thresholds(k)


def page_alloc_cpu_dead(k: Kernel, cpu: int) -> None:
    """A CPU is gone: empty its lists and fold its counters, on another CPU.

    Kernel:  page_alloc_cpu_dead(), mm/page_alloc.c; LPA-8.8.11, LPA-8.7.9
    Status:  source
    Locks:   takes pcp.lock, zone.lock
    Context: task
    """
    k.machine.online[cpu] = False
    drain_pages(k, cpu)  # LPA-8.8.11
    cpu_vm_stats_fold(k, cpu)
    for zone in k.zones:
        zone_pcp_update(k, zone, 0)
    refresh_zone_stat_thresholds(k)
