# SPDX-License-Identifier: GPL-2.0-only
"""Drawings of a zone: how the tests say what is on which list, before and after.

    order 0: M[1 16] R[9]        free lists, head first; the letters are U M R H I C
    order 4: U[32]
    pcp0 o0: M[5 4]              CPU 0's list of order-0 MOVABLE blocks, head first
    pcp0 o1: M[6* 8]             a star: the chunk is marked PagePCPBuddy
    owners: 0.1.                 the pageblocks' owners, a digit each; . is nobody
    owned0: 0 16                 CPU 0's owned_blocks by first PFN, head first (in owned-per-type: owned0 M: 0 16)
    zllist: 3/0 5/0              the zone's trylock_free_pages, first PFN / order, newest first
    llist0: 3/0                  CPU 0's free_llist, newest first
    blocks: MMUUMM               the pageblocks' types
    alloc: 4/0 8/2 16/1c         allocations, first PFN / order; c is compound

What a drawing does not mention is empty.  ``blocks``, ``owners`` and ``alloc`` are compared only if they are drawn.
In variants without owners PCP lists above order 3 are drawn as M (MOVABLE) and U (the list that UNMOVABLE and
RECLAIMABLE share).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from pageblock_buddy import Config, Context, EventLog, System, ZoneConfig, gfp
from pageblock_buddy.invariants import pages_by_place
from pageblock_buddy.machine.tracepoints import Event
from pageblock_buddy.mm.alloc_context import AllocContext
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import (
    PG_ALLOCATED,
    PG_BUDDY,
    PG_COMPOUND,
    PG_KIND_MASK,
    PG_LLIST,
    PG_PCP,
    PG_PCP_BUDDY,
)
from pageblock_buddy.snapshot import allocations, pcp_list_orders
from pageblock_buddy.variants import DEFAULT_VARIANT

LETTERS: Final = "UMRHIC"
#: key of Drawing.llists for the zone's list, which belongs to no CPU
ZONE_LLIST: Final = -1
U, M, R, H, I, C = range(6)  # noqa: E741

UNMOVABLE: Final = gfp.GFP_KERNEL
MOVABLE: Final = gfp.GFP_HIGHUSER_MOVABLE
RECLAIMABLE: Final = gfp.GFP_KERNEL | gfp.GFP_RECLAIMABLE

_LIST = re.compile(r"([UMRHIC])\[([\d* ]*)\]")


@dataclass
class Drawing:
    """A parsed drawing."""

    free: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    pcp: dict[tuple[int, int, int], list[int]] = field(default_factory=dict)
    marked: set[int] = field(default_factory=set)
    owned: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    llists: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    blocks: str | None = None
    owners: str | None = None
    alloc: list[tuple[int, int, bool]] | None = None

    def text(self) -> str:
        """The drawing in one canonical form, for comparison and for pytest's diff."""
        lines = []
        for order in sorted({order for order, _ in self.free}):
            lists = [(mt, pfns) for (o, mt), pfns in sorted(self.free.items()) if o == order and pfns]
            if lists:
                lines.append(f"order {order}:" + "".join(_list_text(mt, pfns) for mt, pfns in lists))
        for (cpu, order, mt), pfns in sorted(self.pcp.items()):
            if pfns:
                lines.append(f"pcp{cpu} o{order}:" + _list_text(mt, pfns, self.marked))
        for (cpu, mt), pfns in sorted(self.owned.items()):
            if pfns:
                lines.append(f"owned{cpu}{'' if mt < 0 else ' ' + LETTERS[mt]}: {' '.join(map(str, pfns))}")
        for cpu, entries in sorted(self.llists.items()):
            if entries:
                name = "zllist" if cpu == ZONE_LLIST else f"llist{cpu}"
                lines.append(f"{name}: {' '.join(f'{pfn}/{order}' for pfn, order in entries)}")
        if self.blocks is not None:
            lines.append(f"blocks: {self.blocks}")
        if self.owners is not None:
            lines.append(f"owners: {self.owners}")
        if self.alloc is not None:
            lines.append("alloc:" + "".join(f" {pfn}/{o}{'c' * comp}" for pfn, o, comp in sorted(self.alloc)))
        return "\n".join(lines)


def _list_text(mt: int, pfns: list[int], marked: Set[int] = frozenset()) -> str:
    return f" {LETTERS[mt]}[{' '.join(f'{pfn}*' if pfn in marked else str(pfn) for pfn in pfns)}]"


def parse(text: str) -> Drawing:
    """Read a drawing."""
    drawing = Drawing()
    for line in filter(None, (line.split("#")[0].strip() for line in text.splitlines())):
        where, colon, rest = line.partition(":")
        words = where.split()
        assert colon, f"no colon in {line!r}"
        if where == "blocks":
            drawing.blocks = rest.strip()
        elif where == "owners":
            drawing.owners = rest.strip()
        elif words[0].startswith("owned"):
            mt = LETTERS.index(words[1]) if len(words) > 1 else -1
            drawing.owned[int(words[0][5:]), mt] = [int(pfn) for pfn in rest.split()]
        elif "llist" in where:
            cpu = ZONE_LLIST if where == "zllist" else int(where.removeprefix("llist"))
            drawing.llists[cpu] = [(int(pfn), int(order)) for pfn, order in (e.split("/") for e in rest.split())]
        elif where == "alloc":
            drawing.alloc = [
                (int(entry.rstrip("c").split("/")[0]), int(entry.rstrip("c").split("/")[1]), entry.endswith("c"))
                for entry in rest.split()
            ]
        else:
            assert not _LIST.sub("", rest).strip(), f"cannot read {line!r}"
            lists = {
                LETTERS.index(letter): [int(p.rstrip("*")) for p in pfns.split()]
                for letter, pfns in _LIST.findall(rest)
            }
            drawing.marked.update(int(p) for p in re.findall(r"(\d+)\*", rest))
            for mt, pfns in lists.items():
                if words[0] == "order":
                    drawing.free[int(words[1]), mt] = pfns
                else:
                    assert words[0].startswith("pcp"), f"cannot read {line!r}"
                    drawing.pcp[int(words[0][3:]), int(words[1][1:]), mt] = pfns
    return drawing


def drawing_of(system: System, zone: Zone | None = None) -> Drawing:
    """The drawing of a zone (the first by default) as it is now."""
    k = system.kernel
    zone = zone or system.zones[0]
    drawing = Drawing()
    for order, area in enumerate(zone.free_area):
        for mt, free_list in enumerate(area.free_list):
            drawing.free[order, mt] = free_list.to_list()
    orders = pcp_list_orders(k)
    for pcp in zone.per_cpu_pageset:
        for pindex, pcp_list in enumerate(pcp.lists):
            order = orders[pindex]
            mt = next(mt for mt in (U, M, R) if k.calls.order_to_pindex(k, mt, order) == pindex)
            drawing.pcp[pcp.cpu, order, mt] = pcp_list.to_list()
            drawing.marked.update(pfn for pfn in pcp_list if k.mem_map[pfn] & PG_KIND_MASK == PG_PCP_BUDDY)
        drawing.owned[pcp.cpu, -1] = pcp.owned_blocks.to_list()
        for mt, owned in enumerate(pcp.owned_blocks_by_type):
            drawing.owned[pcp.cpu, mt] = owned.to_list()
        drawing.llists[pcp.cpu] = pcp.free_llist.to_list()
    drawing.llists[ZONE_LLIST] = zone.trylock_free_pages.to_list()
    first, end = zone.zone_start_pfn >> k.pageblock_order, -(-zone.end_pfn // k.block_pages)
    block_pfns = [block << k.pageblock_order for block in range(first, end)]
    drawing.blocks = "".join(LETTERS[k.calls.get_pageblock_migratetype(k, pfn)] for pfn in block_pfns)
    drawing.owners = "".join(str(tag - 1) if tag else "." for tag in k.pageblock_cpu[first:end])
    drawing.alloc = [
        (pfn, order, bool(compound))
        for pfn, order, compound, _ in allocations(k)
        if zone.zone_start_pfn <= pfn < zone.end_pfn
    ]
    return drawing


def assert_zone(system: System, text: str, zone: Zone | None = None) -> None:
    """The zone looks as drawn, in every list and order, and every invariant holds."""
    expected, actual = parse(text), drawing_of(system, zone)
    if expected.blocks is None:
        actual.blocks = None
    if expected.owners is None:
        actual.owners = None
    if expected.alloc is None:
        actual.alloc = None
    assert actual.text() == expected.text()
    system.validate()


def config(pages: int = 64, **overrides: Any) -> Config:
    """Config.small() with nothing free and counters that are folded at once."""
    fields: dict[str, Any] = {"managed_pages": pages, "reserved": ((0, pages),), "vm_stat_threshold": 0}
    if "zones" in overrides:
        return Config(**{"pageblock_order": 3, "max_page_order": 4, "watermark_boost_factor": 0} | overrides)
    return Config.small(pages, **(fields | overrides))


def small_zone(zone: int, start_pfn: int, pages: int, **overrides: Any) -> ZoneConfig:
    """A zone for config(zones=…), with the limits of Config.small()."""
    fields: dict[str, Any] = {"batch": 2, "high_min": 8, "high_max": 8, "watermark": (0, 0, 0, 0)}
    return ZoneConfig(zone=zone, start_pfn=start_pfn, spanned_pages=pages, **(fields | overrides))


def fill(system: System, text: str, zone: Zone | None = None) -> None:
    """Put an empty zone into the drawn state."""
    k = system.kernel
    zone = zone or system.zones[0]
    drawing = parse(text)
    if drawing.blocks is not None:
        first = zone.zone_start_pfn >> k.pageblock_order
        for block, letter in enumerate(drawing.blocks, first):
            k.pageblock_flags[block] = LETTERS.index(letter)
    for (order, mt), pfns in drawing.free.items():
        pages = len(pfns) << order
        for pfn in pfns:
            k.mem_map[pfn] = PG_BUDDY | order
            zone.free_area[order].free_list[mt].list_add_tail(pfn)
        zone.free_area[order].nr_free += len(pfns)
        zone.nr_free_pages += 0 if mt == I else pages
        zone.nr_free_highatomic += pages if mt == H else 0
        zone.nr_free_cma += pages if mt == C else 0
    for (cpu, order, mt), pfns in drawing.pcp.items():
        pcp = zone.per_cpu_pageset[cpu]
        for pfn in pfns:
            k.mem_map[pfn] = (PG_PCP_BUDDY if pfn in drawing.marked else PG_PCP) | order
            pcp.lists[k.calls.order_to_pindex(k, mt, order)].list_add_tail(pfn)
        pcp.count += len(pfns) << order
    for pfn, order, compound in drawing.alloc or ():
        k.mem_map[pfn] = PG_ALLOCATED | (PG_COMPOUND if compound else 0) | order
    for block, owner in enumerate(drawing.owners or "", zone.zone_start_pfn >> k.pageblock_order):
        k.pageblock_cpu[block] = 0 if owner == "." else int(owner) + 1
    for (cpu, mt), pfns in drawing.owned.items():
        pcp = zone.per_cpu_pageset[cpu]
        for pfn in pfns:
            (pcp.owned_blocks if mt < 0 else pcp.owned_blocks_by_type[mt]).list_add_tail(pfn)
            k.pageblock_cpu_node[pfn >> k.pageblock_order] = cpu + 1
    for cpu, entries in drawing.llists.items():
        llist = zone.trylock_free_pages if cpu == ZONE_LLIST else zone.per_cpu_pageset[cpu].free_llist
        for pfn, order in reversed(entries):
            k.mem_map[pfn] = PG_LLIST | order
            llist.llist_add(pfn, order)
    if k.calls.after_load is not None:
        k.calls.after_load(k)
    system.total_pages = sum(pages_by_place(k).values())


def machine(text: str = "", pages: int = 64, **overrides: Any) -> System:
    """A machine of one zone in the drawn state; ``overrides`` are fields of Config or ZoneConfig, or ``variant``.

    Pages that the drawing does not mention are not the allocator's.
    """
    variant = overrides.pop("variant", DEFAULT_VARIANT)
    system = System.boot(config(pages, **overrides), variant=variant)
    fill(system, text)
    system.validate()
    return system


def pcp_of(system: System, cpu: int = 0, zone: Zone | None = None) -> PerCpuPages:
    """A CPU's pageset of a zone (the first by default)."""
    return (zone or system.zones[0]).per_cpu_pageset[cpu]


def limits(pcp: PerCpuPages, **fields: int) -> PerCpuPages:
    """Set fields of a pageset."""
    for name, value in fields.items():
        assert isinstance(getattr(pcp, name), int)
        setattr(pcp, name, value)
    return pcp


@contextmanager
def locked(zone: Zone) -> Iterator[None]:
    """Hold zone->lock around a function that wants it held."""
    zone.lock.lock()
    yield
    zone.lock.unlock()


@contextmanager
def interrupt(system: System, pcp: PerCpuPages, context: Context = Context.HARDIRQ) -> Iterator[None]:
    """Run the block as an interrupt that came while ``pcp``'s CPU held its pcp->lock."""
    with system.on_cpu(pcp.cpu):
        assert pcp.lock.trylock()
        with system.on_cpu(pcp.cpu, context):
            yield
        pcp.lock.unlock()


def traced(system: System, *, outer: bool = False) -> EventLog:
    """Start to collect trace events."""
    log = EventLog(outer=outer)
    system.trace = log
    return log


def kinds(events: list[Event]) -> list[str]:
    """The events' kinds; a call event is its function's name."""
    return [str(event[2]) if event[0] == "call" else str(event[0]) for event in events]


def context_of(system: System, mt: int = U, highest_zoneidx: int = gfp.ZONE_NORMAL) -> AllocContext:
    """An alloc_context over all zones, highest first."""
    return AllocContext(tuple(reversed(system.zones)), mt, highest_zoneidx)
