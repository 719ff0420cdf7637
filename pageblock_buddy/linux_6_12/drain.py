# SPDX-License-Identifier: GPL-2.0-only
"""Drains: emptying per-CPU lists from outside the allocation and free paths.

Kernel: mm/page_alloc.c (6.12.117)
"""

from __future__ import annotations

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone


def decay_pcp_high(k: Kernel, zone: Zone, pcp: PerCpuPages) -> int:
    """Lower pcp->high a little and flush what is above it; the vmstat worker calls this.

    Returns how much is left to do, as a count of steps.

    Kernel:  decay_pcp_high(), mm/page_alloc.c; LPA-8.8.2, LPA-8.8.3
    Status:  source
    Locks:   takes pcp.lock, zone.lock
    Points:  pcp.lock lock, unlock; zone.lock lock, unlock
    """
    high_min, batch = pcp.high_min, pcp.batch
    todo = 0
    if pcp.high > high_min:
        decayed = pcp.high - (pcp.high >> 3)
        pcp.high = max(pcp.count - (batch << k.config.pcp_batch_scale_max), decayed, high_min)  # LPA-8.8.2
        if pcp.high > high_min:
            todo += 1
    to_drain = pcp.count - pcp.high
    while to_drain > 0:
        piece = min(to_drain, batch)
        pcp.lock.lock()  # LPA-16.0.4
        k.calls.free_pcppages_bulk(k, zone, piece, pcp, 0)  # LPA-8.5.9, LPA-8.8.3
        pcp.lock.unlock()  # LPA-16.0.5
        todo += 1
        to_drain -= piece
    return todo


def drain_zone_pages(k: Kernel, zone: Zone, pcp: PerCpuPages) -> None:
    """Flush one batch of a pageset of a remote node's zone.

    Kernel:  drain_zone_pages(), mm/page_alloc.c; LPA-8.8.5
    Status:  source
    Locks:   takes pcp.lock, zone.lock
    Points:  pcp.lock lock, unlock; zone.lock lock, unlock
    """
    if k.trace is not None:
        k.trace.call(k.machine.cpu, "drain_zone_pages", zone.idx)
    to_drain = min(pcp.count, pcp.batch)
    if to_drain > 0:
        pcp.lock.lock()  # LPA-16.0.4
        k.calls.free_pcppages_bulk(k, zone, to_drain, pcp, 0)  # LPA-8.5.9, LPA-8.8.5
        pcp.lock.unlock()


def drain_pages_zone(k: Kernel, cpu: int, zone: Zone) -> None:
    """Empty one CPU's lists of one zone, in pieces.

    Kernel:  drain_pages_zone(), mm/page_alloc.c; LPA-8.8.6
    Status:  source
    Locks:   takes pcp.lock, zone.lock
    Context: task
    Points:  pcp.lock lock, unlock; zone.lock lock, unlock
    """
    pcp = zone.per_cpu_pageset[cpu]
    count = 1
    while count:
        pcp.lock.lock()  # LPA-16.0.4
        # Read again for every piece: between two the CPU itself may have freed more.
        count = pcp.count
        if count:
            piece = min(count, pcp.batch << k.config.pcp_batch_scale_max)
            k.calls.free_pcppages_bulk(k, zone, piece, pcp, 0)  # LPA-8.5.9, LPA-8.8.6
            count -= piece
        pcp.lock.unlock()  # LPA-16.0.5


def drain_pages(k: Kernel, cpu: int) -> None:
    """Empty one CPU's lists of all zones.

    Kernel:  drain_pages(), mm/page_alloc.c; LPA-8.8.6, LPA-8.8.8, LPA-8.8.12
    Status:  source
    """
    for zone in k.zones:  # LPA-8.8.12
        k.calls.drain_pages_zone(k, cpu, zone)


def drain_local_pages(k: Kernel, zone: Zone | None = None) -> None:
    """Empty the running CPU's lists, of one zone or of all.

    Kernel:  drain_local_pages(), mm/page_alloc.c; LPA-8.8.10
    Status:  source
    """
    if k.trace is not None:
        k.trace.call(k.machine.cpu, "drain_local_pages", 0)
    if zone is not None:
        k.calls.drain_pages_zone(k, k.machine.cpu, zone)  # LPA-8.8.10
    else:
        drain_pages(k, k.machine.cpu)  # LPA-8.8.10


def drain_all_pages(k: Kernel, zone: Zone | None = None) -> None:
    """Empty every CPU's lists, of one zone or of all; the running CPU does it all.

    Kernel:  drain_all_pages(), mm/page_alloc.c; LPA-8.8.7, LPA-8.8.8
    Status:  source
    """
    if k.trace is not None:
        k.trace.call(k.machine.cpu, "drain_all_pages", 0)
        k.trace.call(k.machine.cpu, "__drain_all_pages", 0)
    # The CPUs that hold pages are picked first, without locks.
    zones = k.zones if zone is None else (zone,)
    # LPA-8.8.8, LPA-16.0.13
    online = [cpu for cpu in range(k.machine.nr_cpus) if k.machine.online[cpu]]
    cpus = [cpu for cpu in online if any(z.per_cpu_pageset[cpu].count for z in zones)]
    for cpu in cpus:
        if zone is not None:
            k.calls.drain_pages_zone(k, cpu, zone)
        else:
            drain_pages(k, cpu)
