# SPDX-License-Identifier: GPL-2.0-only
"""Named invariants that hold between operations, on every variant.

Each ``validate_*`` raises ModelBug with its own name in ``details["invariant"]``; a program under
test cannot make one fail, only a mistake in the model can.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pageblock_buddy import gfp
from pageblock_buddy.errors import ModelBug
from pageblock_buddy.machine.lists import ListHead
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import (
    PG_ALLOCATED,
    PG_BUDDY,
    PG_KIND_MASK,
    PG_LLIST,
    PG_ORDER_MASK,
    PG_PCP,
    PG_PCP_BUDDY,
)
from pageblock_buddy.mm.vmstat import zone_free_pages_exact
from pageblock_buddy.snapshot import pcp_list_orders, zone_blocks


def _fail(invariant: str, message: str, **details: int | str) -> None:
    raise ModelBug(f"{invariant}: {message}", invariant=invariant, **details)


def _free_blocks(zone: Zone) -> Iterator[tuple[int, int, int]]:
    """(PFN, order, list type) of every block on the zone's free lists."""
    for order, area in enumerate(zone.free_area):
        for mt, free_list in enumerate(area.free_list):
            for pfn in free_list:
                yield pfn, order, mt


def _pcp_blocks(k: Kernel, pcp: PerCpuPages) -> Iterator[tuple[int, int]]:
    """(PFN, order) of every block on a CPU's lists."""
    orders = pcp_list_orders(k)
    for pindex, pcp_list in enumerate(pcp.lists):
        for pfn in pcp_list:
            yield pfn, orders[pindex]


def _llist_blocks(zone: Zone) -> Iterator[tuple[int, int]]:
    """(PFN, order) of every block on the zone's and its CPUs' lock-less lists."""
    yield from zone.trylock_free_pages.to_list()
    for pcp in zone.per_cpu_pageset:
        yield from pcp.free_llist.to_list()


def _owned_lists(pcp: PerCpuPages) -> tuple[ListHead, ...]:
    """Every list of owned blocks that a pageset has, whichever of them the variant uses."""
    return (pcp.owned_blocks, *pcp.owned_blocks_by_type)


def _once(pfns: list[int]) -> frozenset[int]:
    """The PFNs, none of which may be on two lists of a kind."""
    found = frozenset(pfns)
    if len(found) != len(pfns):
        pfn = next(pfn for pfn, times in Counter(pfns).items() if times > 1)
        _fail("place", f"pfn {pfn} is on two lists", pfn=pfn)
    return found


def validate_free_lists(k: Kernel, zone: Zone) -> None:
    """Each block on a free list is marked as such, aligned, inside the zone, and counted in nr_free."""
    for order, area in enumerate(zone.free_area):
        on_lists = sum(len(free_list) for free_list in area.free_list)
        if on_lists != area.nr_free:
            _fail("free_lists", f"{zone}: nr_free of order {order} is {area.nr_free}, lists hold {on_lists}")
    for pfn, order, _ in _free_blocks(zone):
        if k.mem_map[pfn] != PG_BUDDY | order:
            _fail("free_lists", f"pfn {pfn} is on the order-{order} list but marked {k.mem_map[pfn]:#x}", pfn=pfn)
        if pfn % (1 << order) or not zone.zone_start_pfn <= pfn <= zone.end_pfn - (1 << order):
            _fail("free_lists", f"pfn {pfn} of order {order} is misaligned or outside {zone}", pfn=pfn)


def validate_list_types(k: Kernel, zone: Zone) -> None:
    """A free block is on the list of its pageblocks' type (6.12 and later)."""
    for pfn, order, mt in _free_blocks(zone):
        for block in range(pfn, pfn + (1 << order), k.block_pages):
            block_mt = k.calls.get_pageblock_migratetype(k, block)
            if block_mt != mt:
                _fail("list_types", f"pfn {pfn} is on list {mt}, its pageblock is of type {block_mt}", pfn=pfn)


def validate_pcp_lists(k: Kernel, zone: Zone, pcp: PerCpuPages) -> None:
    """``pcp->count`` is the base pages on the lists, and each block is marked as on a per-CPU list."""
    orders = pcp_list_orders(k)
    pages = sum(len(pcp_list) << orders[i] for i, pcp_list in enumerate(pcp.lists))
    if pages != pcp.count:
        _fail("pcp_lists", f"{zone} CPU {pcp.cpu}: count is {pcp.count}, lists hold {pages} pages")
    for pfn, order in _pcp_blocks(k, pcp):
        if k.mem_map[pfn] not in (PG_PCP | order, PG_PCP_BUDDY | order):
            _fail("pcp_lists", f"pfn {pfn} is on an order-{order} PCP list but marked {k.mem_map[pfn]:#x}", pfn=pfn)


def validate_place(k: Kernel, *, in_flight: bool = False) -> None:
    """Each page is in at most one place: a free list, one CPU's list, a lock-less list, or one allocation.

    Every block is on exactly the list that its state says, and no two blocks overlap.  With ``in_flight`` a block may
    be on its way to or from a lock-less or per-CPU list, whose mark it has then.
    """
    listed = _once([pfn for zone in k.zones for pfn, _, _ in _free_blocks(zone)])
    pcps = [pcp for zone in k.zones for pcp in zone.per_cpu_pageset]
    on_pcp = _once([pfn for pcp in pcps for pfn, _ in _pcp_blocks(k, pcp)])
    llists = [entry for zone in k.zones for entry in _llist_blocks(zone)]
    on_llist = _once([pfn for pfn, _ in llists])
    for pfn, order in llists:
        if k.mem_map[pfn] != PG_LLIST | order:
            _fail("place", f"pfn {pfn} is on a lock-less list with order {order}, marked {k.mem_map[pfn]:#x}", pfn=pfn)
    end_of_last = 0
    for match in re.finditer(rb"[^\x00]", k.mem_map):
        pfn = match.start()
        state = k.mem_map[pfn]
        if pfn < end_of_last:
            _fail("place", f"the block at pfn {pfn} overlaps the block before it", pfn=pfn)
        end_of_last = pfn + (1 << (state & PG_ORDER_MASK))
        where = (pfn in listed, pfn in on_pcp, pfn in on_llist)
        if in_flight and not any(where) and (state & PG_KIND_MASK == PG_LLIST or state & PG_PCP):
            continue
        if where != (bool(state & PG_BUDDY), bool(state & PG_PCP), state & PG_KIND_MASK == PG_LLIST):
            _fail("place", f"pfn {pfn} is marked {state:#x} but is not where that says", pfn=pfn)


def validate_merged(k: Kernel, zone: Zone) -> None:
    """No two free buddies of equal order below pageblock_order: they would have merged."""
    for pfn, order, _ in _free_blocks(zone):
        buddy = pfn ^ (1 << order)
        if order < k.pageblock_order and buddy > pfn and buddy < zone.end_pfn and k.mem_map[buddy] == PG_BUDDY | order:
            _fail("merged", f"pfn {pfn} and its buddy {buddy} of order {order} are both free", pfn=pfn)


def validate_counters(k: Kernel, zone: Zone) -> None:
    """NR_FREE_PAGES with its diffs, and the HIGHATOMIC and CMA counters, are what the lists hold."""
    pages = [0] * gfp.MIGRATE_TYPES
    for _, order, mt in _free_blocks(zone):
        pages[mt] += 1 << order
    usable = sum(pages) - pages[gfp.MIGRATE_ISOLATE]
    if zone_free_pages_exact(zone) != usable:
        _fail("counters", f"{zone}: NR_FREE_PAGES is {zone_free_pages_exact(zone)}, lists hold {usable} pages")
    if zone.nr_free_highatomic != pages[gfp.MIGRATE_HIGHATOMIC]:
        _fail("counters", f"{zone}: nr_free_highatomic is {zone.nr_free_highatomic}")
    if zone.nr_free_cma != pages[gfp.MIGRATE_CMA]:
        _fail("counters", f"{zone}: nr_free_cma is {zone.nr_free_cma}")


def validate_pcp_limits(k: Kernel, zone: Zone, pcp: PerCpuPages) -> None:
    """``alloc_factor`` and ``free_count`` stay inside what their kernel types hold."""
    if not 0 <= pcp.alloc_factor <= k.config.pcp_batch_scale_max or not 0 <= pcp.free_count < 1 << 15:
        _fail("pcp_limits", f"{zone} CPU {pcp.cpu}: alloc_factor {pcp.alloc_factor}, free {pcp.free_count}")


def validate_marks(k: Kernel, zone: Zone, pcp: PerCpuPages) -> None:
    """A marked chunk (PagePCPBuddy) lies on the PCP of its pageblock's owner and inside one pageblock; RFC-11.2."""
    for pfn, order in _pcp_blocks(k, pcp):
        if k.mem_map[pfn] & PG_KIND_MASK != PG_PCP_BUDDY:
            continue
        tag = k.pageblock_cpu[pfn >> k.pageblock_order]
        if tag != pcp.cpu + 1:
            _fail("marks", f"pfn {pfn} is marked on CPU {pcp.cpu}'s lists, its block has tag {tag}", pfn=pfn)
        if order > k.pageblock_order or pfn % (1 << order):
            _fail("marks", f"the marked chunk {pfn} of order {order} leaves its block", pfn=pfn)


def validate_owned_blocks(k: Kernel, zone: Zone) -> None:
    """A listed pageblock is owned by that CPU, linked once, and in that zone; a block that nobody owns is unlinked."""
    linked: dict[int, int] = {}
    for pcp in zone.per_cpu_pageset:
        for owned_list in _owned_lists(pcp):
            for block_pfn in owned_list:
                block = block_pfn >> k.pageblock_order
                if block in linked:
                    _fail("owned_blocks", f"the pageblock at pfn {block_pfn} is listed twice", pfn=block_pfn)
                linked[block] = pcp.cpu + 1
                tag = k.pageblock_cpu[block]
                if tag != pcp.cpu + 1:
                    _fail("owned_blocks", f"pfn {block_pfn}: listed on CPU {pcp.cpu}, tag {tag}", pfn=block_pfn)
                if not zone.zone_start_pfn <= block_pfn < zone.end_pfn:
                    _fail("owned_blocks", f"the listed pageblock at pfn {block_pfn} is not in {zone}", pfn=block_pfn)
    for block in zone_blocks(k, zone):
        linkage = k.pageblock_cpu_node[block]
        if linkage != linked.get(block, 0):
            pfn = block << k.pageblock_order
            _fail("owned_blocks", f"pfn {pfn}: cpu_node says {linkage}, the lists {linked.get(block, 0)}", pfn=pfn)


def validate_dead_cpus(k: Kernel) -> None:
    """A CPU that is offline holds no page and owns no pageblock (not in the policy offline-keep); RFC-8."""
    for cpu, online in enumerate(k.machine.online):
        if online:
            continue
        for zone in k.zones:
            pcp = zone.per_cpu_pageset[cpu]
            if pcp.count or not pcp.free_llist.llist_empty():
                _fail("dead_cpus", f"{zone}: CPU {cpu} is offline and holds {pcp.count} pages")
        if cpu + 1 in k.pageblock_cpu:
            pfn = k.pageblock_cpu.index(cpu + 1) << k.pageblock_order
            _fail("dead_cpus", f"CPU {cpu} is offline and owns the pageblock at pfn {pfn}", pfn=pfn)


def validate_locks(k: Kernel) -> None:
    """No lock is held between operations."""
    for zone in k.zones:
        for lock in (zone.lock, *(pcp.lock for pcp in zone.per_cpu_pageset)):
            if lock.owner is not None:
                _fail("locks", f"{lock.name} is still held by CPU {lock.owner}")


#: By scope: of a zone, of one CPU's pageset, of the machine.  The first are guarded by zone->lock, the second by
#: pcp->lock; the last hold when all locks are free (place) or when nobody is under way.
OF_ZONE: Final[dict[str, Callable[[Kernel, Zone], None]]] = {
    "free_lists": validate_free_lists,
    "list_types": validate_list_types,
    "merged": validate_merged,
    "counters": validate_counters,
    "owned_blocks": validate_owned_blocks,
}
OF_PCP: Final[dict[str, Callable[[Kernel, Zone, PerCpuPages], None]]] = {
    "pcp_lists": validate_pcp_lists,
    "pcp_limits": validate_pcp_limits,
    "marks": validate_marks,
}
OF_MACHINE: Final[dict[str, Callable[[Kernel], None]]] = {
    "place": validate_place,
    "dead_cpus": validate_dead_cpus,
    "locks": validate_locks,
}


def _everywhere_in_zones(check: Callable[[Kernel, Zone], None]) -> Callable[[Kernel], None]:
    def validate_zones(k: Kernel) -> None:
        for zone in k.zones:
            check(k, zone)

    return validate_zones


def _everywhere_on_pcps(check: Callable[[Kernel, Zone, PerCpuPages], None]) -> Callable[[Kernel], None]:
    def validate_pcps(k: Kernel) -> None:
        for zone in k.zones:
            for pcp in zone.per_cpu_pageset:
                check(k, zone, pcp)

    return validate_pcps


_ALL: Final[dict[str, Callable[[Kernel], None]]] = {
    **{name: _everywhere_in_zones(of_zone) for name, of_zone in OF_ZONE.items()},
    **{name: _everywhere_on_pcps(of_pcp) for name, of_pcp in OF_PCP.items()},
    **OF_MACHINE,
}
#: All of them, each on the whole machine, in the order in which validate() looks: what explains more comes first.
INVARIANTS: Final[dict[str, Callable[[Kernel], None]]] = {
    name: _ALL[name]
    for name in (
        "free_lists",
        "list_types",
        "pcp_lists",
        "place",
        "merged",
        "counters",
        "pcp_limits",
        "marks",
        "owned_blocks",
        "dead_cpus",
        "locks",
    )
}


def pages_by_place(k: Kernel) -> dict[str, int]:
    """Base pages in each kind of place: zone lists, per-CPU lists, lock-less lists, allocations.  O(pages)."""
    pages = {"zone": 0, "pcp": 0, "llist": 0, "allocated": 0}
    for match in re.finditer(rb"[^\x00]", k.mem_map):
        state = k.mem_map[match.start()]
        if state & PG_BUDDY:
            place = "zone"
        elif state & PG_PCP:
            place = "pcp"
        else:
            place = "allocated" if state & PG_ALLOCATED else "llist"
        pages[place] += 1 << (state & PG_ORDER_MASK)
    return pages


def check_total(k: Kernel, total: int) -> None:
    """The pages of all places add up to ``total``.  ModelBug else: a page was lost or made."""
    pages = pages_by_place(k)
    if sum(pages.values()) != total:
        _fail("total", f"{total} pages are now {pages}")


def validate(k: Kernel, *, without: Sequence[str] = ()) -> None:
    """Check every invariant but those in ``without``.  ModelBug for the first that fails.  At worst O(pages)."""
    for name, check in INVARIANTS.items():
        if name not in without:
            check(k)
