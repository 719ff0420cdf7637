# SPDX-License-Identifier: GPL-2.0-only
"""The whole state as canonical JSON, back from it, and its digest.

A zone is written as the recordings write it (docs/formats.md), so one can be compared with the other
field by field.  Sets do not occur; keys are sorted when a digest is made.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pageblock_buddy import gfp
from pageblock_buddy.config import MAX_PFN, Config
from pageblock_buddy.errors import InputError
from pageblock_buddy.linux_7_0.pageblock import PB_MIGRATE_ISOLATE
from pageblock_buddy.machine.lists import ListHead
from pageblock_buddy.machine.llist import LlistHead
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import (
    PG_ALLOCATED,
    PG_BUDDY,
    PG_COMPOUND,
    PG_KIND_MASK,
    PG_LLIST,
    PG_NONE,
    PG_ORDER_MASK,
    PG_PCP,
    PG_PCP_BUDDY,
)

FORMAT: Final = "pageblock-buddy-snapshot"
VERSION: Final = 1
#: pageblock_flags of a block without a memory map, '.' in block_mt
BLOCK_NO_MEMMAP: Final = 0xFF

#: keys of a zone that only some variants have
_VARIANT_KEYS: Final = (
    "isolated",
    "trylock_free_pages",
    "pageblock_cpu",
    "pcp_buddy",
    "owned_blocks",
    "owned_blocks_by_type",
    "free_llist",
)
#: recording key -> attribute of Zone
_ZONE_FIELDS: Final = (
    ("present", "present_pages"),
    ("managed", "managed_pages"),
    ("flags", "flags"),
    ("boost", "watermark_boost"),
    ("nr_free_pages", "nr_free_pages"),
    ("nr_reserved_highatomic", "nr_reserved_highatomic"),
    ("nr_free_highatomic", "nr_free_highatomic"),
    ("drift_mark", "percpu_drift_mark"),
)
_WMARK_FIELDS: Final = ("wmark_min", "wmark_low", "wmark_high", "wmark_promo")
#: field of PerCpuPages -> what its kernel type, or its use, can hold
_PCP_LIMITS: Final = {
    "count": (0, 1 << 31),
    "high": (0, 1 << 31),
    "high_min": (0, 1 << 31),
    "high_max": (0, 1 << 31),
    "batch": (1, 1 << 31),
    "flags": (0, 3),
    "alloc_factor": (0, 15),
    "free_count": (0, (1 << 15) - 1),
}
_PCP_FIELDS: Final = tuple(_PCP_LIMITS)

JsonObject = dict[str, Any]

# --- out ---------------------------------------------------------------------------------------


def migrate_types(k: Kernel) -> int:
    """How many free lists an order has here: CMA's only where there is CMA."""
    return gfp.MIGRATE_TYPES if any(z.cma for z in k.config.zones) else gfp.MIGRATE_CMA


def zone_blocks(k: Kernel, zone: Zone) -> range:
    """Indices of the pageblocks of a zone, from the one that holds its first page."""
    return range(zone.zone_start_pfn >> k.pageblock_order, -(-zone.end_pfn // k.block_pages))


def zone_to_dict(k: Kernel, zone: Zone) -> JsonObject:
    """A zone in the recordings' form.  O(free blocks + PCP blocks + pageblocks)."""
    blocks = zone_blocks(k, zone)
    state: JsonObject = {
        "node": zone.node,
        "zone": zone.idx,
        "start": zone.zone_start_pfn,
        "spanned": zone.spanned_pages,
        "lowmem_reserve": list(zone.lowmem_reserve),
        "pageblock_order": k.pageblock_order,
        "max_order": k.config.max_page_order,
        "pcp": [_pcp_to_dict(zone, pcp) for pcp in zone.per_cpu_pageset],
        "free_area": [
            {"nr_free": area.nr_free, "lists": [pfns.to_list() for pfns in area.free_list[: migrate_types(k)]]}
            for area in zone.free_area
        ],
        "block_mt": "".join(_block_type(k, block) for block in blocks),
        "block_lru": [k.nr_movable.get(block, 0) for block in blocks],
    }
    state.update((key, getattr(zone, attribute)) for key, attribute in _ZONE_FIELDS)
    state.update(zip(_WMARK_FIELDS, zone.watermark, strict=True))
    state.update((key, value) for key, value in _variant_state(k, zone, blocks).items() if value)
    return state


def _block_type(k: Kernel, block: int) -> str:
    flags = k.pageblock_flags[block]
    return "." if flags == BLOCK_NO_MEMMAP else str(k.calls.get_pageblock_migratetype(k, block << k.pageblock_order))


def _variant_state(k: Kernel, zone: Zone, blocks: range) -> JsonObject:
    """What only some variants have; a key without anything to say is left out."""
    order = k.pageblock_order
    pcps = zone.per_cpu_pageset
    listed = [list(map(list, pcp.free_llist.to_list())) for pcp in pcps]
    owned = [pcp.owned_blocks.to_list() for pcp in pcps]
    by_type = [[one.to_list() for one in pcp.owned_blocks_by_type] for pcp in pcps]
    return {
        "isolated": [
            [block << order, k.pageblock_flags[block] & ~PB_MIGRATE_ISOLATE]
            for block in blocks
            if k.pageblock_flags[block] & PB_MIGRATE_ISOLATE and k.pageblock_flags[block] != BLOCK_NO_MEMMAP
        ],
        "trylock_free_pages": list(map(list, zone.trylock_free_pages.to_list())),
        "pageblock_cpu": [[block << order, k.pageblock_cpu[block]] for block in blocks if k.pageblock_cpu[block]],
        "pcp_buddy": [
            pfn
            for pcp in pcps
            for pcp_list in pcp.lists
            for pfn in pcp_list
            if k.mem_map[pfn] & PG_KIND_MASK == PG_PCP_BUDDY
        ],
        "owned_blocks": owned if any(owned) else [],
        "owned_blocks_by_type": by_type if any(any(lists) for lists in by_type) else [],
        "free_llist": listed if any(listed) else [],
    }


def _pcp_to_dict(zone: Zone, pcp: PerCpuPages) -> JsonObject:
    stat = zone.per_cpu_zonestats[pcp.cpu]
    state: JsonObject = {
        "cpu": pcp.cpu,
        "free_diff": stat.nr_free_pages_diff,
        "stat_threshold": stat.stat_threshold,
        "lists": [pcp_list.to_list() for pcp_list in pcp.lists],
    }
    state.update((field, getattr(pcp, field)) for field in _PCP_FIELDS)
    return state


def allocations(k: Kernel) -> list[list[int]]:
    """Every allocation as [first PFN, order, compound 0/1, references], ascending.

    Scans the page state column: O(pages), at the speed of ``re``.
    """
    result = []
    for match in re.finditer(rb"[\x20-\x3f]", k.mem_map):
        pfn = match.start()
        state = k.mem_map[pfn]
        result.append([pfn, state & PG_ORDER_MASK, int(bool(state & PG_COMPOUND)), k.page_refs.get(pfn, 1)])
    return result


def snapshot(k: Kernel, variant: str) -> JsonObject:
    """The whole state between two operations."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "variant": variant,
        "config": k.config.to_dict(),
        "zones": [zone_to_dict(k, zone) for zone in k.zones],
        "expire": [[pcp.expire for pcp in zone.per_cpu_pageset] for zone in k.zones],
        "nr_free_cma": [zone.nr_free_cma for zone in k.zones],
        "allocated": allocations(k),
        "pgalloc": list(k.pgalloc),
        "pgfree": k.pgfree,
    } | {key: value for key, value in _machine_state(k).items() if value}


def _machine_state(k: Kernel) -> JsonObject:
    """What differs from a machine as it booted; a key without anything to say is left out."""
    return {
        "offline": [cpu for cpu, online in enumerate(k.machine.online) if not online],
        "kswapd_running": [node.nid for node in k.nodes.values() if node.kswapd_running],
    }


def canonical_json(state: Mapping[str, Any]) -> str:
    """One line, sorted keys, no spaces: the same state gives the same bytes everywhere."""
    return json.dumps(state, sort_keys=True, separators=(",", ":"))


def digest(state: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON, as hex."""
    return hashlib.sha256(canonical_json(state).encode()).hexdigest()


def clone(k: Kernel) -> Kernel:
    """An independent copy of the whole state, without the tracer.  O(pages) bytes copied.

    For going back to a state; a small test zone is cheaper to boot again.
    """
    other = Kernel(k.config, k.calls)
    other.mem_map[:] = k.mem_map[:]
    other.pageblock_flags[:] = k.pageblock_flags[:]
    other.pageblock_cpu[:] = k.pageblock_cpu
    other.pageblock_cpu_node[:] = k.pageblock_cpu_node
    other.pageblock_nr_free[:] = k.pageblock_nr_free
    other.machine.online[:] = k.machine.online
    for nid, node in k.nodes.items():
        other.nodes[nid].kswapd_running = node.kswapd_running
    other.nr_movable = dict(k.nr_movable)
    other.page_refs = dict(k.page_refs)
    other.pgalloc = list(k.pgalloc)
    other.pgfree = k.pgfree
    for old, new in zip(k.zones, other.zones, strict=True):
        new.watermark = list(old.watermark)
        new.lowmem_reserve = list(old.lowmem_reserve)
        new.nr_free_cma = old.nr_free_cma
        new.pageset_high_min, new.pageset_high_max = old.pageset_high_min, old.pageset_high_max
        new.pageset_batch = old.pageset_batch
        _copy_llist(old.trylock_free_pages, new.trylock_free_pages)
        for _, attribute in _ZONE_FIELDS:
            setattr(new, attribute, getattr(old, attribute))
        for old_area, new_area in zip(old.free_area, new.free_area, strict=True):
            new_area.nr_free = old_area.nr_free
            new_area.free_list = tuple(ListHead(pfns) for pfns in old_area.free_list)
        for old_pcp, new_pcp in zip(old.per_cpu_pageset, new.per_cpu_pageset, strict=True):
            new_pcp.expire = old_pcp.expire
            new_pcp.owned_blocks = ListHead(old_pcp.owned_blocks)
            new_pcp.owned_blocks_by_type = tuple(ListHead(blocks) for blocks in old_pcp.owned_blocks_by_type)
            _copy_llist(old_pcp.free_llist, new_pcp.free_llist)
            new_pcp.lists = tuple(ListHead(pfns) for pfns in old_pcp.lists)
            for field in _PCP_FIELDS:
                setattr(new_pcp, field, getattr(old_pcp, field))
        for old_stat, new_stat in zip(old.per_cpu_zonestats, new.per_cpu_zonestats, strict=True):
            new_stat.stat_threshold = old_stat.stat_threshold
            new_stat.nr_free_pages_diff = old_stat.nr_free_pages_diff
    return other


def _copy_llist(old: LlistHead, new: LlistHead) -> None:
    for pfn, order in reversed(old.to_list()):
        new.llist_add(pfn, order)


# --- in ----------------------------------------------------------------------------------------


def _int(value: object, what: str, low: int = 0, high: int = 1 << 62) -> int:
    if type(value) is not int or not low <= value <= high:
        raise InputError(f"{what} is not a whole number from {low} to {high}")
    return value


def _list(value: object, what: str, length: int | None = None) -> list[Any]:
    if type(value) is not list or (length is not None and len(value) != length):
        raise InputError(f"{what} is not a list" + (f" of {length}" if length is not None else ""))
    return value


def _object(value: object, what: str) -> JsonObject:
    if type(value) is not dict:
        raise InputError(f"{what} is not an object")
    return value


def load_zone(k: Kernel, zone: Zone, state: JsonObject) -> None:
    """Set a freshly made zone to a recorded state.

    InputError if the state contradicts itself or the machine: a block that is misaligned, outside the zone, there
    twice or on a list that its pageblock's type does not have, a wrong nr_free or count, a list length that this
    machine does not have.
    """
    name = f"zone {zone.idx} of node {zone.node}"
    machine = {
        "node": zone.node,
        "zone": zone.idx,
        "start": zone.zone_start_pfn,
        "spanned": zone.spanned_pages,
        "pageblock_order": k.pageblock_order,
        "max_order": k.config.max_page_order,
    }
    for key, value in machine.items():
        _int(state.get(key), f"{name}: {key}", value, value)
    for key, attribute in _ZONE_FIELDS:
        low = -(1 << 62) if key == "nr_free_pages" else 0
        high = 7 if key == "flags" else 1 << 62
        setattr(zone, attribute, _int(state.get(key), f"{name}: {key}", low, high))
    zone.watermark[:] = [_int(state.get(key), f"{name}: {key}") for key in _WMARK_FIELDS]
    reserve = _list(state.get("lowmem_reserve"), f"{name}: lowmem_reserve", gfp.MAX_NR_ZONES)
    zone.lowmem_reserve[:] = [_int(r, f"{name}: lowmem_reserve") for r in reserve]
    _load_blocks(k, zone, state, name)
    areas = _list(state.get("free_area"), f"{name}: free_area", len(zone.free_area))
    for order, (area, entry) in enumerate(zip(zone.free_area, areas, strict=True)):
        where = f"{name}: free_area[{order}]"
        lists = _list(_object(entry, where).get("lists"), f"{where}.lists", migrate_types(k))
        for mt, pfns in enumerate(lists):
            for pfn in _list(pfns, f"{where}.lists[{mt}]"):
                _place(k, zone, pfn, order, PG_BUDDY, where)
                _check_type(k, pfn, order, mt, f"{where}.lists[{mt}]")
                area.free_list[mt].list_add_tail(pfn)
                area.nr_free += 1
        if _int(entry.get("nr_free"), f"{where}.nr_free") != area.nr_free:
            raise InputError(f"{where}: nr_free is {entry['nr_free']} but its lists hold {area.nr_free} blocks")
    for cpu, entry in enumerate(_list(state.get("pcp"), f"{name}: pcp", k.machine.nr_cpus)):
        _load_pcp(k, zone, cpu, _object(entry, f"{name}: pcp"), f"{name}: pcp of CPU {cpu}")


def _load_variant_state(k: Kernel, zone: Zone, state: JsonObject, keys: Sequence[str]) -> None:
    """What _variant_state() wrote; that it fits together is for the invariants to say.

    InputError for a key that is not in ``keys``, those of the variant: it has no code that would look after it.
    """
    name = f"zone {zone.idx} of node {zone.node}"
    found = {key: _list(state.get(key, []), f"{name}: {key}") for key in _VARIANT_KEYS}
    for key, value in found.items():
        if value and key not in keys:
            raise InputError(f"{name}: this variant has no {key}")
    blocks, pcps = zone_blocks(k, zone), zone.per_cpu_pageset
    for pair in found["isolated"]:
        pfn, mt = _list(pair, f"{name}: isolated entry", 2)
        block = _block_of(k, zone, pfn, f"{name}: isolated")
        if k.pageblock_flags[block] != gfp.MIGRATE_ISOLATE:
            raise InputError(f"{name}: isolated: the pageblock at pfn {pfn} is not of type {gfp.MIGRATE_ISOLATE}")
        if _int(mt, f"{name}: isolated", 0, migrate_types(k) - 1) == gfp.MIGRATE_ISOLATE:
            raise InputError(f"{name}: isolated: the pageblock at pfn {pfn} has no type to come back to")
        k.pageblock_flags[block] = PB_MIGRATE_ISOLATE | mt
    if "isolated" in keys and gfp.MIGRATE_ISOLATE in k.pageblock_flags[blocks.start : blocks.stop]:
        raise InputError(f"{name}: block_mt: a pageblock is isolated, and isolated does not say what type it had")
    _load_llist(k, zone, found["trylock_free_pages"], zone.trylock_free_pages, f"{name}: trylock_free_pages")
    for pair in found["pageblock_cpu"]:
        pfn, tag = _list(pair, f"{name}: pageblock_cpu entry", 2)
        block = _block_of(k, zone, pfn, f"{name}: pageblock_cpu")
        k.pageblock_cpu[block] = _int(tag, f"{name}: pageblock_cpu", 1, k.machine.nr_cpus)
    for pfn in found["pcp_buddy"]:
        if not any(_int(pfn, f"{name}: pcp_buddy") in pcp_list for pcp in pcps for pcp_list in pcp.lists):
            raise InputError(f"{name}: pcp_buddy: pfn {pfn} is on no per-CPU list")
        k.mem_map[pfn] |= PG_PCP_BUDDY
    for pcp, pfns in _for_each_cpu(pcps, found["owned_blocks"], f"{name}: owned_blocks"):
        _load_owned(k, zone, pcp, pfns, pcp.owned_blocks, f"{name}: owned_blocks")
    where = f"{name}: owned_blocks_by_type"
    for pcp, lists in _for_each_cpu(pcps, found["owned_blocks_by_type"], where):
        heads = pcp.owned_blocks_by_type
        for head, pfns in zip(heads, _list(lists, where, len(heads)), strict=True):
            _load_owned(k, zone, pcp, pfns, head, where)
    for pcp, entries in _for_each_cpu(pcps, found["free_llist"], f"{name}: free_llist"):
        _load_llist(k, zone, entries, pcp.free_llist, f"{name}: free_llist")


def _for_each_cpu(pcps: Sequence[PerCpuPages], value: list[Any], where: str) -> Iterable[tuple[PerCpuPages, Any]]:
    """The CPUs with their entries; none if there are no entries at all."""
    return zip(pcps, _list(value, where, len(pcps)), strict=True) if value else ()


def _block_of(k: Kernel, zone: Zone, pfn: object, where: str) -> int:
    """The index of a pageblock that is wholly in the zone."""
    if (
        type(pfn) is not int
        or pfn % k.block_pages
        or not (zone.zone_start_pfn <= pfn and pfn + k.block_pages <= zone.end_pfn)
    ):
        raise InputError(f"{where}: {pfn!r} is not the first PFN of a pageblock that is wholly in the zone")
    return pfn >> k.pageblock_order


def _load_owned(k: Kernel, zone: Zone, pcp: PerCpuPages, pfns: object, head: ListHead, where: str) -> None:
    for pfn in _list(pfns, where):
        block = _block_of(k, zone, pfn, where)
        if k.pageblock_cpu_node[block]:
            raise InputError(f"{where}: the pageblock at pfn {pfn} is listed twice")
        head.list_add_tail(pfn)
        k.pageblock_cpu_node[block] = pcp.cpu + 1


def _load_llist(k: Kernel, zone: Zone, entries: object, llist: LlistHead, where: str) -> None:
    for entry in reversed(_list(entries, where)):
        pfn, order = _list(entry, where, 2)
        _place(k, zone, pfn, _int(order, f"{where}: order", 0, k.config.max_page_order), PG_LLIST, where)
        llist.llist_add(pfn, order)


def _load_pcp(k: Kernel, zone: Zone, cpu: int, entry: JsonObject, where: str) -> None:
    _int(entry.get("cpu"), f"{where}: cpu", cpu, cpu)
    pcp = zone.per_cpu_pageset[cpu]
    stat = zone.per_cpu_zonestats[cpu]
    stat.nr_free_pages_diff = _int(entry.get("free_diff"), f"{where}: free_diff", -128, 127)
    stat.stat_threshold = _int(entry.get("stat_threshold"), f"{where}: stat_threshold", 0, 127)
    for field in _PCP_FIELDS:
        setattr(pcp, field, _int(entry.get(field), f"{where}: {field}", *_PCP_LIMITS[field]))
    zone.pageset_high_min, zone.pageset_high_max, zone.pageset_batch = pcp.high_min, pcp.high_max, pcp.batch
    pages = 0
    lists = _list(entry.get("lists"), f"{where}: lists", len(pcp.lists))
    orders = pcp_list_orders(k)
    for pindex, pfns in enumerate(lists):
        for pfn in _list(pfns, f"{where}: lists[{pindex}]"):
            _place(k, zone, pfn, orders[pindex], PG_PCP, where)
            pcp.lists[pindex].list_add_tail(pfn)
            pages += 1 << orders[pindex]
    if pages != pcp.count:
        raise InputError(f"{where}: count is {pcp.count} but its lists hold {pages} pages")


def pcp_list_orders(k: Kernel) -> list[int]:
    """The order of each per-CPU list."""
    return [k.calls.pindex_to_order(k, pindex) for pindex in range(k.nr_pcp_lists)]


def _place(k: Kernel, zone: Zone, pfn: object, order: int, kind: int, where: str) -> None:
    """Mark a block as free, refusing one that cannot be there."""
    pages = 1 << order
    if type(pfn) is not int or not zone.zone_start_pfn <= pfn or pfn + pages > zone.end_pfn or pfn % pages:
        raise InputError(f"{where}: {pfn!r} is not the first PFN of an order-{order} block of the zone")
    taken = k.mem_map[pfn : pfn + pages] != bytes(pages)
    for larger in range(order, k.config.max_page_order + 1):
        head = pfn & -(1 << larger)
        state = k.mem_map[head]
        taken = taken or (state != PG_NONE and state & PG_ORDER_MASK >= larger)
    if taken:
        raise InputError(f"{where}: the order-{order} block at pfn {pfn} overlaps another free block")
    if k.pageblock_flags[pfn >> k.pageblock_order] == BLOCK_NO_MEMMAP:
        raise InputError(f"{where}: pfn {pfn} is in a pageblock without a memory map")
    k.mem_map[pfn] = kind | order


def _check_type(k: Kernel, pfn: int, order: int, mt: int, where: str) -> None:
    """Refuse a free block on another list than its pageblocks' type says (they agree from 6.12 on)."""
    first = pfn >> k.pageblock_order
    for block in range(first, first + max(1 << order >> k.pageblock_order, 1)):
        if _block_type(k, block) != str(mt):
            raise InputError(f"{where}: the pageblock of pfn {pfn} is of type {_block_type(k, block)}")


def _load_blocks(k: Kernel, zone: Zone, state: JsonObject, name: str) -> None:
    blocks = zone_blocks(k, zone)
    types = state.get("block_mt")
    digits = "." + "".join(map(str, range(migrate_types(k))))
    if type(types) is not str or len(types) != len(blocks) or types.strip(digits):
        raise InputError(f"{name}: block_mt is not a string of {len(blocks)} characters of {digits}")
    movable = _list(state.get("block_lru"), f"{name}: block_lru", len(blocks))
    for block, mt, lru in zip(blocks, types, movable, strict=True):
        k.pageblock_flags[block] = BLOCK_NO_MEMMAP if mt == "." else int(mt)
        if _int(lru, f"{name}: block_lru", 0, k.block_pages):
            k.nr_movable[block] = lru


def load_allocations(k: Kernel, entries: Iterable[Any]) -> None:
    """Mark allocations as allocations() lists them.  InputError for an impossible one."""
    for entry in entries:
        pfn, order, compound, refs = _list(entry, "allocated entry", 4)
        _int(pfn, "allocated pfn", 0, MAX_PFN)
        _int(order, "allocated order", 0, k.config.max_page_order)
        zone = next((z for z in k.zones if z.zone_start_pfn <= pfn < z.end_pfn), None)
        if zone is None:
            raise InputError(f"allocated: pfn {pfn} is in no zone")
        _place(k, zone, pfn, order, PG_ALLOCATED, "allocated")
        if _int(compound, "allocated compound", 0, 1):
            k.mem_map[pfn] |= PG_COMPOUND
        if _int(refs, "allocated references", 1) > 1:
            k.page_refs[pfn] = refs


def check_header(state: object) -> JsonObject:
    """The snapshot if it is one that this version can read.  InputError else."""
    found = _object(state, "snapshot")
    if found.get("format") != FORMAT:
        raise InputError(f"not a snapshot: format is {found.get('format')!r}, expected {FORMAT!r}")
    if found.get("version") != VERSION:
        raise InputError(f"snapshot version {found.get('version')!r} is not {VERSION}, the one that this release reads")
    return found


def restore(k: Kernel, state: JsonObject, keys: Sequence[str]) -> None:
    """Set a freshly made Kernel of the snapshot's configuration to the snapshot's state.

    ``keys`` are those of a zone that only some variants have and this one has (Variant.state).
    """
    zones = _list(state.get("zones"), "zones", len(k.zones))
    expires = _list(state.get("expire"), "expire", len(k.zones))
    cma = _list(state.get("nr_free_cma"), "nr_free_cma", len(k.zones))
    for zone, entry, expire, free_cma in zip(k.zones, zones, expires, cma, strict=True):
        load_zone(k, zone, _object(entry, "zone"))
        _load_variant_state(k, zone, entry, keys)
        zone.nr_free_cma = _int(free_cma, "nr_free_cma")
        for pcp, value in zip(zone.per_cpu_pageset, _list(expire, "expire", k.machine.nr_cpus), strict=True):
            pcp.expire = _int(value, "expire", 0, 255)
    load_allocations(k, _list(state.get("allocated"), "allocated"))
    k.pgalloc = [_int(n, "pgalloc") for n in _list(state.get("pgalloc"), "pgalloc", gfp.MAX_NR_ZONES)]
    k.pgfree = _int(state.get("pgfree"), "pgfree")
    for cpu in _list(state.get("offline", []), "offline"):
        if not k.machine.online[_int(cpu, "offline", 0, k.machine.nr_cpus - 1)]:
            raise InputError(f"offline: CPU {cpu} is there twice")
        k.machine.online[cpu] = False
    if not any(k.machine.online):
        raise InputError("offline: no CPU is left to run anything")
    for nid in _list(state.get("kswapd_running", []), "kswapd_running"):
        if _int(nid, "kswapd_running") not in k.nodes:
            raise InputError(f"kswapd_running: there is no node {nid}")
        k.nodes[nid].kswapd_running = True
    if k.calls.after_load is not None:
        k.calls.after_load(k)


def config_of(state: JsonObject) -> Config:
    """The configuration inside a snapshot."""
    return Config.from_dict(_object(state.get("config"), "config"))
