# SPDX-License-Identifier: GPL-2.0-only
"""zone, free_area, per_cpu_pages, per_cpu_zonestat, pglist_data: the structures of mmzone.h.

Structures are the union of what the variants use; a field that only some use
names them.  Counts are base pages, addresses PFNs, orders log2 of pages.

Kernel: include/linux/mmzone.h
"""

from __future__ import annotations

from typing import ClassVar

from pageblock_buddy import gfp
from pageblock_buddy.machine.cpu import Machine
from pageblock_buddy.machine.guards import (
    ATOMIC,
    CONSTANT,
    LLIST,
    OWN_CPU,
    PCP_LOCK,
    RACY,
    ZONE_LOCK,
    Guard,
    held,
    stores_held,
)
from pageblock_buddy.machine.lists import ListHead
from pageblock_buddy.machine.llist import LlistHead
from pageblock_buddy.machine.spinlock import Spinlock


class FreeArea:
    """The free blocks of one order: a list per migratetype, and their number.

    Kernel:  struct free_area
    """

    __slots__ = ("free_list", "nr_free")

    #: zone_watermark_ok() asks without the lock whether there is a block at all
    GUARDS: ClassVar[dict[str, Guard]] = {"free_list": stores_held(ZONE_LOCK), "nr_free": stores_held(ZONE_LOCK)}

    def __init__(self) -> None:
        # LPA-2.0.2, LPA-2.0.18
        self.free_list: tuple[ListHead, ...] = tuple(ListHead() for _ in range(gfp.MIGRATE_TYPES))
        self.nr_free = 0  # LPA-2.0.3, LPA-14.0.8


class PerCpuPages:
    """One CPU's cache of pages of one zone.

    ``count``, ``high*``, ``batch`` and ``free_count`` are base pages; ``lists`` is indexed by pindex.

    Used by variants with owners only: ``owned_blocks`` holds the first PFN of each owned pageblock whose fragments a
    drain sent to the zone; ``owned_blocks_by_type`` is its form in the policy owned-per-type; ``free_llist`` (llist)
    holds what other CPUs freed.

    Kernel:  struct per_cpu_pages
    """

    __slots__ = (
        "alloc_factor",
        "batch",
        "count",
        "cpu",
        "expire",
        "flags",
        "free_count",
        "free_llist",
        "high",
        "high_max",
        "high_min",
        "lists",
        "lock",
        "owned_blocks",
        "owned_blocks_by_type",
    )

    GUARDS: ClassVar[dict[str, Guard]] = {
        "alloc_factor": held(PCP_LOCK),
        "batch": RACY,  # CPU hotplug stores it, LPA-8.7.10
        "count": stores_held(PCP_LOCK),  # drain_all_pages() and decay_pcp_high() look first
        "cpu": CONSTANT,
        "expire": OWN_CPU,
        "flags": held(PCP_LOCK),
        "free_count": held(PCP_LOCK),
        "free_llist": LLIST,
        "high": RACY,  # decay_pcp_high() lowers it
        "high_max": RACY,
        "high_min": RACY,
        "lists": held(PCP_LOCK),
        "lock": CONSTANT,
        "owned_blocks": held(ZONE_LOCK),  # decision D-20
        "owned_blocks_by_type": held(ZONE_LOCK),
    }

    def __init__(self, machine: Machine, cpu: int, nr_lists: int) -> None:
        self.cpu = cpu
        self.lock = Spinlock(machine, "pcp->lock")
        # The boot pageset: every free is flushed at once, every refill is one page (LPA-8.7.11).
        self.count = 0
        self.high = 0  # LPA-8.7.10
        self.high_min = 0
        self.high_max = 0
        self.batch = 1  # LPA-8.7.11
        self.flags = 0  # LPA-2.0.16
        self.alloc_factor = 0
        self.expire = 0
        self.free_count = 0
        self.lists: tuple[ListHead, ...] = tuple(ListHead() for _ in range(nr_lists))
        self.owned_blocks = ListHead()
        self.owned_blocks_by_type: tuple[ListHead, ...] = tuple(ListHead() for _ in range(gfp.MIGRATE_PCPTYPES))
        self.free_llist = LlistHead()


class PerCpuZonestat:
    """One CPU's not yet folded changes of a zone's counters.

    Kernel:  struct per_cpu_zonestat
    """

    __slots__ = ("nr_free_pages_diff", "stat_threshold")

    GUARDS: ClassVar[dict[str, Guard]] = {"nr_free_pages_diff": OWN_CPU, "stat_threshold": RACY}

    def __init__(self) -> None:
        self.stat_threshold = 0
        self.nr_free_pages_diff = 0  # LPA-2.0.12


class Zone:
    """A zone of a node.

    ``nr_free_pages`` is the global counter vm_stat[NR_FREE_PAGES], without the per-CPU diffs.
    ``trylock_free_pages`` (7.0) holds what was freed by somebody who could take no lock.

    Kernel:  struct zone
    """

    __slots__ = (
        "end_pfn",
        "flags",
        "free_area",
        "idx",
        "lock",
        "lowmem_reserve",
        "managed_pages",
        "name",
        "node",
        "nr_free_cma",
        "nr_free_highatomic",
        "nr_free_pages",
        "nr_reserved_highatomic",
        "pageset_batch",
        "pageset_high_max",
        "pageset_high_min",
        "per_cpu_pageset",
        "per_cpu_zonestats",
        "percpu_drift_mark",
        "present_pages",
        "spanned_pages",
        "trylock_free_pages",
        "watermark",
        "watermark_boost",
        "zone_start_pfn",
    )

    GUARDS: ClassVar[dict[str, Guard]] = {
        "end_pfn": CONSTANT,
        "flags": ATOMIC,
        "free_area": CONSTANT,
        "idx": CONSTANT,
        "lock": CONSTANT,
        "lowmem_reserve": CONSTANT,
        "managed_pages": CONSTANT,
        "name": CONSTANT,
        "node": CONSTANT,
        "nr_free_cma": stores_held(ZONE_LOCK),
        "nr_free_highatomic": stores_held(ZONE_LOCK),
        "nr_free_pages": ATOMIC,
        "nr_reserved_highatomic": stores_held(ZONE_LOCK),
        "pageset_batch": RACY,
        "pageset_high_max": RACY,
        "pageset_high_min": RACY,
        "per_cpu_pageset": CONSTANT,
        "per_cpu_zonestats": CONSTANT,
        "percpu_drift_mark": RACY,
        "present_pages": CONSTANT,
        "spanned_pages": CONSTANT,
        "trylock_free_pages": LLIST,
        "watermark": CONSTANT,
        "watermark_boost": stores_held(ZONE_LOCK),
        "zone_start_pfn": CONSTANT,
    }

    def __init__(
        self, machine: Machine, *, node: int, idx: int, start_pfn: int, spanned: int, max_page_order: int, nr_lists: int
    ) -> None:
        self.node = node
        self.idx = idx
        self.name = gfp.ZONE_NAMES[idx]
        self.zone_start_pfn = start_pfn  # LPA-2.0.1
        self.spanned_pages = spanned
        self.end_pfn = start_pfn + spanned
        self.present_pages = 0
        self.managed_pages = 0
        self.watermark = [0, 0, 0, 0]  # LPA-2.0.7
        self.watermark_boost = 0
        self.lowmem_reserve = [0] * gfp.MAX_NR_ZONES
        self.flags = 0
        self.nr_free_pages = 0  # LPA-2.0.12
        self.nr_free_cma = 0
        self.nr_reserved_highatomic = 0  # LPA-2.0.8
        self.nr_free_highatomic = 0  # LPA-2.0.9
        self.percpu_drift_mark = 0
        self.pageset_high_min = 0
        self.pageset_high_max = 0
        self.pageset_batch = 1
        self.trylock_free_pages = LlistHead()
        self.lock = Spinlock(machine, "zone->lock")
        self.free_area: tuple[FreeArea, ...] = tuple(FreeArea() for _ in range(max_page_order + 1))
        self.per_cpu_pageset: tuple[PerCpuPages, ...] = tuple(
            PerCpuPages(machine, cpu, nr_lists) for cpu in range(machine.nr_cpus)
        )
        self.per_cpu_zonestats: tuple[PerCpuZonestat, ...] = tuple(PerCpuZonestat() for _ in range(machine.nr_cpus))

    def __repr__(self) -> str:
        return f"<Zone node {self.node} {self.name} pfn {self.zone_start_pfn}..{self.end_pfn - 1}>"


class Node:
    """A NUMA node: its zones by index and its zonelists.

    ``zonelists[thisnode][highest_zoneidx]`` is the tuple of zones that a request may use, in
    order; ``thisnode`` is 1 for __GFP_THISNODE.  ``kswapd_running`` (7.0) is an input: the model has no kswapd.

    Kernel:  struct pglist_data
    """

    __slots__ = ("kswapd_running", "nid", "node_zones", "zonelists")

    GUARDS: ClassVar[dict[str, Guard]] = {
        "kswapd_running": CONSTANT,  # an input
        "nid": CONSTANT,
        "node_zones": CONSTANT,
        "zonelists": CONSTANT,
    }

    def __init__(self, nid: int) -> None:
        self.nid = nid
        self.kswapd_running = False
        self.node_zones: list[Zone | None] = [None] * gfp.MAX_NR_ZONES
        self.zonelists: tuple[tuple[tuple[Zone, ...], ...], tuple[tuple[Zone, ...], ...]] = ((), ())


def wmark_pages(zone: Zone, index: int) -> int:
    """A watermark including the boost, in pages.

    Kernel:  wmark_pages(), include/linux/mmzone.h; LPA-11.1.15
    Status:  source
    """
    return zone.watermark[index] + zone.watermark_boost  # LPA-11.1.15
