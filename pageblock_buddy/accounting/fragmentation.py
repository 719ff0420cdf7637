# SPDX-License-Identifier: GPL-2.0-only
"""How fragmented a zone is, and how its pageblocks are owned."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Final

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone
from pageblock_buddy.mm.page import PG_ALLOCATED, PG_ORDER_MASK

#: the first page of an allocation
_ALLOCATED_HEAD: Final = re.compile(rb"[\x20-\x3f]")


@dataclass(frozen=True, slots=True)
class ZoneFragmentation:
    """A zone at one moment.

    ``free_pageblocks`` are wholly free in the zone; ``pages_on_pcp`` is what its per-CPU lists hold.  Of the pageblocks
    that have an owner, ``partly_owned_blocks`` have a page in use, and ``listed_blocks`` wait on owned_blocks for their
    fragments to be recovered.  ``extfrag_index[order]`` is :func:`fragmentation_index`.
    """

    zone: str
    free_pageblocks: int
    pages_on_pcp: int
    owned_blocks: int
    partly_owned_blocks: int
    listed_blocks: int
    extfrag_index: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "extfrag_index": list(self.extfrag_index)}


def zone_name(zone: Zone) -> str:
    """The zone in words: "node 0 Normal"."""
    return f"node {zone.node} {zone.name}"


def fragmentation_index(zone: Zone, order: int) -> int:
    """Why a request of this order would fail, in thousandths: near 0 for lack of memory, near 1000 because what is
    free is in pieces; -1000: it would not fail.

    With P free pages in B blocks the index is 1 - (1 + P / 2^order) / B: how far the number of blocks is from the one
    that P pages would make if they lay together in blocks of this order.

    Kernel:  fragmentation_index(), __fragmentation_index(), mm/vmstat.c
    Status:  source
    """
    pages = sum(area.nr_free << block_order for block_order, area in enumerate(zone.free_area))
    blocks = sum(area.nr_free for area in zone.free_area)
    if not blocks:
        return 0
    if any(area.nr_free for area in zone.free_area[order:]):
        return -1000
    return 1000 - (1000 + pages * 1000 // (1 << order)) // blocks


def has_allocation(k: Kernel, block: int) -> bool:
    """Whether a page of the pageblock is in use.  A block larger than a pageblock may begin before it."""
    first = block << k.pageblock_order
    if _ALLOCATED_HEAD.search(k.mem_map, first, first + k.block_pages):
        return True
    for order in range(k.pageblock_order + 1, k.config.max_page_order + 1):
        state = k.mem_map[first & -(1 << order)]
        if state & ~PG_ORDER_MASK & PG_ALLOCATED and state & PG_ORDER_MASK >= order:
            return True
    return False


def zone_fragmentation(k: Kernel, zone: Zone) -> ZoneFragmentation:
    """Look at a zone.  O(pageblocks + pages of owned ones)."""
    blocks = range(zone.zone_start_pfn >> k.pageblock_order, -(-zone.end_pfn // k.block_pages))
    owned = [block for block in blocks if k.pageblock_cpu[block]]
    orders = range(k.config.max_page_order + 1)
    return ZoneFragmentation(
        zone=zone_name(zone),
        free_pageblocks=sum(
            zone.free_area[order].nr_free << (order - k.pageblock_order) for order in orders[k.pageblock_order :]
        ),
        pages_on_pcp=sum(pcp.count for pcp in zone.per_cpu_pageset),
        owned_blocks=len(owned),
        partly_owned_blocks=sum(has_allocation(k, block) for block in owned),
        listed_blocks=sum(k.pageblock_cpu_node[block] != 0 for block in blocks),
        extfrag_index=tuple(fragmentation_index(zone, order) for order in orders),
    )
