# SPDX-License-Identifier: GPL-2.0-only
"""NR_FREE_PAGES with its per-CPU differences.

A change first goes to the running CPU's diff, and from there to the zone's counter when it is
larger than the threshold.  Watermark checks read the counter alone, so they are off by up to a threshold per
CPU.

Kernel: mm/vmstat.c
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pageblock_buddy import gfp
from pageblock_buddy.config import MAX_STAT_THRESHOLD
from pageblock_buddy.mm.mmzone import Zone, wmark_pages

if TYPE_CHECKING:
    from pageblock_buddy.mm.kernel import Kernel


def mod_zone_free_pages(k: Kernel, zone: Zone, delta: int) -> None:
    """Change NR_FREE_PAGES by ``delta`` pages.

    Kernel:  __mod_zone_page_state(zone, NR_FREE_PAGES, delta), mm/vmstat.c; LPA-14.0.1, LPA-14.0.2
    Status:  source
    Units:   delta is base pages
    Cost:    O(1)
    """
    stat = zone.per_cpu_zonestats[k.machine.cpu]
    diff = stat.nr_free_pages_diff + delta  # LPA-14.0.2
    if diff > stat.stat_threshold or -diff > stat.stat_threshold:
        zone.nr_free_pages += diff  # LPA-14.0.2
        diff = 0
    stat.nr_free_pages_diff = diff


def zone_free_pages(zone: Zone) -> int:
    """The counter that watermark checks see: without the diffs, never negative.

    Kernel:  zone_page_state(zone, NR_FREE_PAGES), include/linux/vmstat.h; LPA-11.2.12, LPA-14.0.5
    Status:  source
    """
    free = zone.nr_free_pages  # LPA-11.2.12, LPA-14.0.5
    return free if free > 0 else 0


def zone_free_pages_exact(zone: Zone) -> int:
    """The counter plus all diffs: the pages on the free lists that are not isolated."""
    return zone.nr_free_pages + sum(stat.nr_free_pages_diff for stat in zone.per_cpu_zonestats)


def calculate_normal_threshold(k: Kernel, zone: Zone) -> int:
    """How far a CPU's diff may run before it is folded, in pages.

    Kernel:  calculate_normal_threshold(), mm/vmstat.c; LPA-14.0.3, LPA-14.0.15
    Status:  source
    """
    if k.config.vm_stat_threshold is not None:
        return k.config.vm_stat_threshold
    mem = zone.managed_pages >> 15  # 128 MiB units
    return min(MAX_STAT_THRESHOLD, 2 * k.machine.num_online_cpus().bit_length() * (1 + mem.bit_length()))  # LPA-14.0.3


def refresh_zone_stat_thresholds(k: Kernel) -> None:
    """Set every zone's threshold and its drift mark.

    Kernel:  refresh_zone_stat_thresholds(), mm/vmstat.c; LPA-14.0.3, LPA-14.0.15
    Status:  source
    """
    for zone in k.zones:
        threshold = calculate_normal_threshold(k, zone)
        for stat in zone.per_cpu_zonestats:
            stat.stat_threshold = threshold
        # Where the counters could lie by more than the gap between low and min, the kernel
        # remembers up to which free count it must not trust them.
        tolerate_drift = wmark_pages(zone, gfp.WMARK_LOW) - wmark_pages(zone, gfp.WMARK_MIN)
        max_drift = k.machine.num_online_cpus() * threshold
        if max_drift > tolerate_drift:
            zone.percpu_drift_mark = wmark_pages(zone, gfp.WMARK_HIGH) + max_drift  # LPA-14.0.15


def cpu_vm_stats_fold(k: Kernel, cpu: int) -> None:
    """Fold the diffs of a CPU that is gone.

    Kernel:  cpu_vm_stats_fold(), mm/vmstat.c; LPA-14.0.4
    Status:  source
    """
    for zone in k.zones:
        stat = zone.per_cpu_zonestats[cpu]
        diff, stat.nr_free_pages_diff = stat.nr_free_pages_diff, 0
        zone.nr_free_pages += diff  # LPA-14.0.4


def refresh_cpu_vm_stats(k: Kernel, do_pagesets: bool) -> None:
    """Fold the running CPU's diffs; with ``do_pagesets`` also let its page lists decay.

    An idle CPU calls this without page lists (quiet_vmstat), the vmstat worker with them.

    Kernel:  refresh_cpu_vm_stats(), mm/vmstat.c; LPA-14.0.4, LPA-8.8.1, LPA-8.8.5
    Status:  source
    Locks:   takes pcp.lock, zone.lock (only with do_pagesets)
    """
    cpu = k.machine.cpu
    for zone in k.zones:
        stat = zone.per_cpu_zonestats[cpu]
        pcp = zone.per_cpu_pageset[cpu]
        # this_cpu_xchg(): an interrupt that comes now counts into the fresh difference.
        diff, stat.nr_free_pages_diff = stat.nr_free_pages_diff, 0
        if diff:
            zone.nr_free_pages += diff  # LPA-14.0.4
            # In use: keep a remote zone's pages for three more rounds.
            pcp.expire = 3
        if not do_pagesets:
            continue
        k.calls.decay_pcp_high(k, zone, pcp)  # LPA-8.8.1
        if not pcp.expire or not pcp.count:
            continue
        if zone.node == k.config.cpu_node[cpu]:
            pcp.expire = 0
            continue
        pcp.expire -= 1
        if pcp.expire == 0 and pcp.count:
            k.calls.drain_zone_pages(k, zone, pcp)  # LPA-8.8.5
