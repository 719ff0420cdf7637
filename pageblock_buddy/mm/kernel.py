# SPDX-License-Identifier: GPL-2.0-only
"""Kernel: what the kernel keeps in globals and per-CPU variables, as one object.

Every mirrored function takes it first, as ``k``.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import ClassVar

from pageblock_buddy import gfp
from pageblock_buddy.config import Config
from pageblock_buddy.errors import BadArgument
from pageblock_buddy.machine.cpu import Machine
from pageblock_buddy.machine.guards import CONSTANT, COUNTER, PAGE_STATE, ZONE_LOCK, Guard, held, stores_held
from pageblock_buddy.machine.tracepoints import Tracer
from pageblock_buddy.mm.calls import Calls, PcpBuddyCalls
from pageblock_buddy.mm.mmzone import Node, Zone
from pageblock_buddy.mm.page import new_column
from pageblock_buddy.mm.zonelists import build_zonelists


class Kernel:
    """The allocator's whole state.

    ``mem_map`` is the page state column (mm/page.py), indexed by PFN.  ``pageblock_flags`` has one
    byte per pageblock, indexed by ``pfn >> pageblock_order``: the stored migratetype.
    ``nr_movable`` counts, per pageblock, the allocated pages that are on an LRU list or have
    movable_ops; a claim depends on them (LPA-6.3.6).  ``pageblock_cpu`` and ``pageblock_cpu_node`` are the owner and
    the linkage of struct pageblock_data, each as CPU + 1; ``pageblock_nr_free`` (policy recover-counter) counts the
    block's pages on the zone's free lists.  ``pcp_buddy`` is the second table of entry points, set only where
    pageblocks have owners.  ``page_refs`` holds reference counts
    other than 1.  ``zones`` is in the order of for_each_zone(): node by node.  Cost of the object: one byte a page,
    untouched parts free on large machines.
    """

    __slots__ = (
        "block_pages",
        "calls",
        "config",
        "hpage_order",
        "machine",
        "mem_map",
        "nodes",
        "nr_movable",
        "nr_pcp_lists",
        "page_refs",
        "pageblock_cpu",
        "pageblock_cpu_node",
        "pageblock_flags",
        "pageblock_nr_free",
        "pageblock_order",
        "pcp_buddy",
        "pgalloc",
        "pgfree",
        "trace",
        "zone_starts",
        "zones",
        "zones_by_pfn",
    )

    GUARDS: ClassVar[dict[str, Guard]] = {
        "block_pages": CONSTANT,
        "calls": CONSTANT,
        "config": CONSTANT,
        "hpage_order": CONSTANT,
        "machine": CONSTANT,
        "mem_map": PAGE_STATE,
        "nodes": CONSTANT,
        "nr_movable": CONSTANT,  # an input: lru_add() and lru_del() of the facade
        "nr_pcp_lists": CONSTANT,
        "page_refs": PAGE_STATE,
        "pageblock_cpu": stores_held(ZONE_LOCK),  # a free reads it without, RFC-3.20
        "pageblock_cpu_node": held(ZONE_LOCK),
        "pageblock_flags": stores_held(ZONE_LOCK),  # a free reads the type without, LPA-8.4.3
        "pageblock_nr_free": held(ZONE_LOCK),
        "pageblock_order": CONSTANT,
        "pcp_buddy": CONSTANT,
        "pgalloc": COUNTER,
        "pgfree": COUNTER,
        "trace": CONSTANT,
        "zone_starts": CONSTANT,
        "zones": CONSTANT,
        "zones_by_pfn": CONSTANT,
    }

    def __init__(self, config: Config, calls: Calls) -> None:
        self.config = config
        self.calls = calls
        self.machine = Machine(config.nr_cpus)
        self.trace: Tracer | None = None
        self.pcp_buddy: PcpBuddyCalls
        if calls.pcp_buddy is not None:
            self.pcp_buddy = calls.pcp_buddy
        self.pageblock_order = config.pageblock_order
        self.block_pages = 1 << config.pageblock_order
        #: HPAGE_PMD_ORDER, the one order above 3 that has PCP lists; None without (decision D-02)
        self.hpage_order = (
            config.pageblock_order if config.thp and config.pageblock_order > gfp.PAGE_ALLOC_COSTLY_ORDER else None
        )
        self.nr_pcp_lists = calls.nr_pcp_lists(self)
        self.mem_map = new_column(config.end_pfn)
        nr_pageblocks = (config.end_pfn >> config.pageblock_order) + 1
        self.pageblock_flags = new_column(nr_pageblocks)  # LPA-2.0.4
        self.pageblock_cpu: array[int] = array("H", bytes(2 * nr_pageblocks))
        self.pageblock_cpu_node: array[int] = array("H", bytes(2 * nr_pageblocks))
        self.pageblock_nr_free: array[int] = array("H", bytes(2 * nr_pageblocks))
        self.nr_movable: dict[int, int] = {}  # LPA-2.0.15
        self.page_refs: dict[int, int] = {}
        self.pgalloc = [0] * gfp.MAX_NR_ZONES
        self.pgfree = 0
        self.nodes: dict[int, Node] = {nid: Node(nid) for nid in config.node_ids}
        zones = []
        for zc in config.zones:
            zone = Zone(
                self.machine,
                node=zc.node,
                idx=zc.zone,
                start_pfn=zc.start_pfn,
                spanned=zc.spanned_pages,
                max_page_order=config.max_page_order,
                nr_lists=self.nr_pcp_lists,
            )
            hole_pages = sum(pages for _, pages in zc.holes)
            zone.present_pages = zc.spanned_pages - hole_pages if zc.present_pages is None else zc.present_pages
            reserved = sum(pages for _, pages in zc.reserved)
            zone.managed_pages = zone.present_pages - reserved if zc.managed_pages is None else zc.managed_pages
            self.nodes[zc.node].node_zones[zc.zone] = zone
            zones.append(zone)
        self.zones: tuple[Zone, ...] = tuple(zones)
        by_pfn = sorted(zones, key=lambda z: z.zone_start_pfn)
        self.zones_by_pfn: tuple[Zone, ...] = tuple(by_pfn)
        self.zone_starts = [z.zone_start_pfn for z in by_pfn]
        build_zonelists(list(self.nodes.values()), config.node_distance)


def page_zone(k: Kernel, pfn: int) -> Zone:
    """The zone of a page.  BadArgument for a PFN outside all zones.  O(log zones).

    Kernel:  page_zone(), include/linux/mm.h; LPA-2.0.1
    Status:  source
    """
    index = bisect_right(k.zone_starts, pfn) - 1
    if index >= 0:
        zone = k.zones_by_pfn[index]
        if pfn < zone.end_pfn:
            return zone
    raise BadArgument(f"pfn {pfn} is in no zone", pfn=pfn)
