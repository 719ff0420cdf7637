# SPDX-License-Identifier: GPL-2.0-only
"""The shared objects of a machine, and how each access of a racy one becomes a point.

Locks, lists, llists and columns are replaced by reporting ones; a structure's fields are hidden behind properties of a
class of its own. What is replaced follows from the GUARDS of the structures, so no mirrored line names a point.

``watch`` names the fields whose loads report as well: stores always do, loads only of fields that somebody stores to
without a lock around both.  The engine starts with few and adds what it finds missing (docs/interleaver.md).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from pageblock_buddy.errors import GuardViolation
from pageblock_buddy.interleave.locks import PointSpinlock
from pageblock_buddy.machine.cpu import Machine
from pageblock_buddy.machine.guards import PCP_LOCK, ZONE_LOCK, Guard, Kind
from pageblock_buddy.machine.lists import ListHead, WatchedListHead
from pageblock_buddy.machine.llist import LlistHead
from pageblock_buddy.mm.kernel import Kernel, page_zone
from pageblock_buddy.mm.mmzone import FreeArea, PerCpuPages, PerCpuZonestat, Zone
from pageblock_buddy.mm.page import (
    PG_ALLOCATED,
    PG_BUDDY,
    PG_NONE,
    PG_PCP,
)

if TYPE_CHECKING:
    from pageblock_buddy.interleave.engine import Engine

#: Field names as they stand in ``watch``, for what is not a plain field.
FREE_LISTS: Final = "FreeArea.free_list"
OWNERS: Final = "Kernel.pageblock_cpu"
_REPORTING: Final = (Kind.STORES_HELD, Kind.RACY, Kind.ATOMIC)


class Objects:
    """The shared objects by number: their names, and their locks."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.locks: dict[int, PointSpinlock] = {}

    def add(self, name: str) -> int:
        """The number of a new object."""
        self.names.append(name)
        return len(self.names) - 1

    def add_lock(self, lock: PointSpinlock) -> int:
        """The number of a new lock."""
        oid = self.add(lock.label)
        self.locks[oid] = lock
        return oid


# --- lists and columns that report -------------------------------------------------------------


class PointLlist(LlistHead):
    """An llist whose operations are points."""

    __slots__ = ("engine", "oid", "remote")

    def __init__(self, engine: Engine, oid: int, old: LlistHead, *, remote: bool) -> None:
        super().__init__()
        self.engine = engine
        self.oid = oid
        self.remote = remote
        self.assign(old.to_list()[::-1])

    def llist_add(self, pfn: int, order: int) -> None:
        self.engine.store(self.oid)
        if self.remote:
            self.engine.owner_used()
            stability, owner = self.engine.stability, self.engine.running.owner_read
            if stability is not None and owner is not None:
                stability.compared += 1
                stability.changed += self.engine.owner_of(owner[0]) != owner[1]
            self.engine.running.pushed = True
        super().llist_add(pfn, order)

    def llist_del_all(self) -> list[tuple[int, int]]:
        self.engine.store(self.oid)
        entries = super().llist_del_all()
        self.engine.running.in_hand += sum(1 << order for _, order in entries)
        self.engine.saw(tuple(entries))
        return entries

    def llist_empty(self) -> bool:
        self.engine.load(self.oid, None)
        return bool(self.engine.saw(super().llist_empty()))


class PointFreeList(ListHead):
    """A free list whose emptiness may be asked for without zone->lock."""

    __slots__ = ("engine", "lock", "oid")

    def __init__(self, engine: Engine, oid: int, lock: PointSpinlock, old: ListHead) -> None:
        super().__init__(old)
        self.engine = engine
        self.oid = oid
        self.lock = lock

    def list_empty(self) -> bool:
        engine = self.engine
        if self.lock.holder is not engine.running:
            engine.load_unlocked(self.oid, self.lock, FREE_LISTS)
        empty = not self._entries
        if engine.keep_keys or engine.recording:
            engine.saw(empty)
        return empty


class PointStoredFreeList(WatchedListHead, PointFreeList):
    """A free list of a machine where somebody does ask: its changes are points, too."""

    __slots__ = ()

    def before_change(self) -> None:
        self.engine.store_held(self.oid, self.lock)


class GuardedList(WatchedListHead):
    """The guard check: a list that only the holder of a lock may touch."""

    __slots__ = ("engine", "label", "lock")

    def __init__(self, engine: Engine, label: str, lock: PointSpinlock, old: ListHead) -> None:
        super().__init__(old)
        self.engine = engine
        self.label = label
        self.lock = lock

    def before_change(self) -> None:
        self.engine.check_held(self.lock, self.label)

    def pop_first(self) -> int:
        return self.engine.saw_int(super().pop_first())

    def pop_last(self) -> int:
        return self.engine.saw_int(super().pop_last())

    def first_entry_or_null(self) -> int | None:
        self.engine.check_held(self.lock, self.label)
        first = super().first_entry_or_null()
        self.engine.saw(first)
        return first

    def list_empty(self) -> bool:
        self.engine.check_held(self.lock, self.label)
        return bool(self.engine.saw(super().list_empty()))


class StoreColumn(array):  # type: ignore[type-arg]
    """A column whose stores report."""

    engine: Engine
    base: int
    locks: list[PointSpinlock]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.engine.store_held(self.base + index, self.locks[index])
        self.engine.note(value)
        array.__setitem__(self, index, value)


class PointColumn(StoreColumn):
    """A column whose loads report, too."""

    def __getitem__(self, index: Any) -> Any:
        self.engine.load(self.base + index, self.locks[index])
        return self.engine.saw(array.__getitem__(self, index))


class OwnerColumn(StoreColumn):
    """pbd->cpu: who reads it without the lock is remembered."""

    def __getitem__(self, index: Any) -> Any:
        engine = self.engine
        engine.load(self.base + index, self.locks[index])
        tag = array.__getitem__(self, index)
        if engine.stability is not None:
            engine.stability.compare(index, tag)
        engine.running.owner_read = index, tag
        engine.running.pushed = False
        engine.running.stale = None
        return engine.saw(tag)


class HeldColumn(array):  # type: ignore[type-arg]
    """The guard check: a column that only the holder of zone->lock may touch."""

    engine: Engine
    label: str
    locks: list[PointSpinlock]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.engine.check_held(self.locks[index], self.label)
        array.__setitem__(self, index, value)

    def __getitem__(self, index: Any) -> Any:
        self.engine.check_held(self.locks[index], self.label)
        return self.engine.saw(array.__getitem__(self, index))


class StoreTypes(bytearray):
    """pageblock_flags: stores report."""

    engine: Engine
    base: int
    locks: list[PointSpinlock]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.engine.store_held(self.base + index, self.locks[index])
        bytearray.__setitem__(self, index, value)


class PointTypes(StoreTypes):
    """pageblock_flags: loads report, too."""

    def __getitem__(self, index: Any) -> Any:
        self.engine.load(self.base + index, self.locks[index])
        return self.engine.saw(bytearray.__getitem__(self, index))


class PointOnline(list):  # type: ignore[type-arg]
    """cpu_online_mask: loads and stores report."""

    engine: Engine
    base: int

    def __setitem__(self, index: Any, value: Any) -> None:
        self.engine.store(self.base + index)
        list.__setitem__(self, index, value)

    def __getitem__(self, index: Any) -> Any:
        self.engine.load(self.base + index, None)
        return self.engine.saw(list.__getitem__(self, index))


class GuardedPages(bytearray):
    """The guard check: a page's state is changed by whoever has the page.

    From and to a free list of the zone: under zone->lock.  From and to a per-CPU list: under that pcp->lock.
    """

    engine: Engine
    kernel: Kernel

    def __setitem__(self, index: Any, value: Any) -> None:
        old = bytearray.__getitem__(self, index)
        if old != value:
            self._check(index, old, value)
        bytearray.__setitem__(self, index, value)

    def _check(self, pfn: int, old: int, new: int) -> None:
        engine, zone = self.engine, page_zone(self.kernel, pfn)
        if (old | new) & PG_BUDDY:
            engine.check_held(zone.lock, f"the state of pfn {pfn}, a free block of the zone,")
        # Up to 7.0 a page keeps its state while it goes from a per-CPU list to its user: on no list, it is the
        # allocation's.
        if _on_pcp(new) or (_on_pcp(old) and not new & PG_ALLOCATED):
            running = engine.running
            if not any(lock.name == PCP_LOCK for lock, _ in running.held):
                raise GuardViolation(
                    f"guard: {running.where()} changes the state of pfn {pfn}, on a per-CPU list, without a pcp->lock",
                    lock=PCP_LOCK,
                    pfn=pfn,
                )
        if old != PG_NONE and new != PG_NONE and (old ^ new) & PG_BUDDY:
            raise GuardViolation(f"guard: pfn {pfn} goes from state {old:#x} to {new:#x} in one step", pfn=pfn)


def _on_pcp(state: int) -> bool:
    return bool(state & PG_PCP) and not state & PG_BUDDY


# --- fields ------------------------------------------------------------------------------------


def _property(engine: Engine, slot: Any, oid: int, guard: Guard, lock: PointSpinlock | None, loads: bool) -> property:
    """A racy field: a property over its slot."""
    get_slot, set_slot = slot.__get__, slot.__set__
    atomic = guard.kind is Kind.ATOMIC
    if atomic:
        engine.atomic.add(oid)
    load, store, saw = engine.load, engine.store, engine.saw

    if engine.keep_keys or engine.recording:

        def fget(instance: object) -> Any:
            load(oid, lock)
            return saw(get_slot(instance))

    elif lock is not None:

        def fget(instance: object) -> Any:
            # Nearly always the lock is held: then this is no load that matters.
            if lock.holder is not engine.running:
                load(oid, lock)
            return get_slot(instance)

    else:

        def fget(instance: object) -> Any:
            load(oid, lock)
            return get_slot(instance)

    if lock is not None:
        store_held = engine.store_held

        def fset(instance: object, value: Any) -> None:
            store_held(oid, lock)
            set_slot(instance, value)

    elif atomic:
        read_modify_write = engine.read_modify_write

        def fset(instance: object, value: Any) -> None:
            read_modify_write(oid)
            set_slot(instance, value)

    else:

        def fset(instance: object, value: Any) -> None:
            store(oid)
            set_slot(instance, value)

    return property(fget if loads else get_slot, _noting(engine, fset))


def _noting(engine: Engine, fset: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """A setter that also says what it stored, where somebody wants to know."""
    if not engine.recording:
        return fset

    def noting(instance: object, value: Any) -> None:
        fset(instance, value)
        engine.note(value)

    return noting


def _own_property(engine: Engine, slot: Any, oid: int) -> property:
    """A field of one CPU, where handlers can come between a load and a store."""
    get_slot, set_slot = slot.__get__, slot.__set__

    def fget(instance: object) -> Any:
        engine.load_own(oid)
        return engine.saw(get_slot(instance))

    def fset(instance: object, value: Any) -> None:
        engine.store_own(oid)
        set_slot(instance, value)

    return property(fget, fset)


def _held_property(engine: Engine, slot: Any, label: str, lock: PointSpinlock) -> property:
    """The guard check: a field that only the holder of its lock may touch."""
    get_slot, set_slot, check_held, saw = slot.__get__, slot.__set__, engine.check_held, engine.saw

    def fget(instance: object) -> Any:
        check_held(lock, label)
        return saw(get_slot(instance))

    def fset(instance: object, value: Any) -> None:
        check_held(lock, label)
        set_slot(instance, value)

    return property(fget, fset)


def _nr_free_property(engine: Engine, slot: Any, oid: int, lock: PointSpinlock, stores: bool) -> property:
    """nr_free: asked for without the lock now and then, changed under it all the time."""
    get_slot, set_slot = slot.__get__, slot.__set__

    def fget(instance: object) -> Any:
        if lock.holder is not engine.running:
            engine.load_unlocked(oid, lock, FREE_LISTS)
        return engine.saw(get_slot(instance)) if engine.keep_keys or engine.recording else get_slot(instance)

    def fset(instance: object, value: Any) -> None:
        engine.store_held(oid, lock)
        set_slot(instance, value)

    return property(fget, fset if stores else set_slot)


class Instrument:
    """Puts points into a booted machine, once and for good."""

    def __init__(self, engine: Engine, k: Kernel, watch: Iterable[str], *, guards: bool) -> None:
        self._engine = engine
        self._k = k
        self._watch = frozenset(watch)
        self._guards = guards
        several = len(k.zones) > 1
        for zone in k.zones:
            self._zone(zone, f"{zone.name} " if several else "")
        self._columns()

    def _zone(self, zone: Zone, prefix: str) -> None:
        engine, objects = self._engine, self._engine.objects
        lock = zone.lock = PointSpinlock(engine, ZONE_LOCK, f"{prefix}zone->lock")
        for order, area in enumerate(zone.free_area):
            self._free_area(area, lock, f"{prefix}free_area[{order}]")
        zone.trylock_free_pages = PointLlist(
            engine, objects.add(f"{prefix}zone->trylock_free_pages"), zone.trylock_free_pages, remote=False
        )
        self._fields(Zone, zone, lock, f"{prefix}zone->")
        for stat in zone.per_cpu_zonestats:
            self._fields(PerCpuZonestat, stat, lock, f"{prefix}zonestat->")
        for pcp in zone.per_cpu_pageset:
            where = f"{prefix}CPU {pcp.cpu} "
            pcp.lock = PointSpinlock(engine, PCP_LOCK, f"{where}pcp->lock")
            pcp.free_llist = PointLlist(engine, objects.add(f"{where}pcp->free_llist"), pcp.free_llist, remote=True)
            if self._guards:
                pcp.lists = tuple(GuardedList(engine, f"{where}pcp->lists", pcp.lock, one) for one in pcp.lists)
                pcp.owned_blocks = GuardedList(engine, f"{where}pcp->owned_blocks", lock, pcp.owned_blocks)
                pcp.owned_blocks_by_type = tuple(
                    GuardedList(engine, f"{where}pcp->owned_blocks", lock, one) for one in pcp.owned_blocks_by_type
                )
            self._fields(PerCpuPages, pcp, pcp.lock, f"{where}pcp->")

    def _free_area(self, area: FreeArea, lock: PointSpinlock, where: str) -> None:
        """The lists of one order, which are one object: who asks for one asks for the others."""
        engine = self._engine
        oid = engine.objects.add(f"{where}.free_list")
        stored = FREE_LISTS in self._watch or self._guards
        kind = PointStoredFreeList if stored else PointFreeList
        area.free_list = tuple(kind(engine, oid, lock, one) for one in area.free_list)
        nr_free = _nr_free_property(engine, FreeArea.__dict__["nr_free"], oid, lock, stored)
        area.__class__ = type("PointFreeArea", (FreeArea,), {"__slots__": (), "nr_free": nr_free})

    def _fields(self, structure: type, instance: Any, lock: PointSpinlock, where: str) -> None:
        """Hide the fields of one instance behind properties."""
        engine = self._engine
        properties: dict[str, Any] = {"__slots__": ()}
        for name, guard in sorted(structure.GUARDS.items()):  # type: ignore[attr-defined]
            slot = structure.__dict__[name]
            if guard.kind in _REPORTING:
                oid = engine.objects.add(f"{where}{name}")
                engine.field_of[oid] = f"{structure.__name__}.{name}"
                loads = self._guards or f"{structure.__name__}.{name}" in self._watch
                of_lock = lock if guard.kind is Kind.STORES_HELD else None
                properties[name] = _property(engine, slot, oid, guard, of_lock, loads)
            elif guard.kind is Kind.OWN_CPU and engine.shares_cpus:
                properties[name] = _own_property(engine, slot, engine.objects.add(f"{where}{name}"))
            elif (
                self._guards
                and guard.kind is Kind.HELD
                and name not in ("lists", "owned_blocks", "owned_blocks_by_type")
            ):
                properties[name] = _held_property(engine, slot, f"{where}{name}", lock)
        instance.__class__ = type(f"Point{structure.__name__}", (structure,), properties)

    # --- columns -------------------------------------------------------------------------------

    def _columns(self) -> None:
        k, engine = self._k, self._engine
        locks = self._locks_of_blocks()
        owners = OwnerColumn("H", k.pageblock_cpu)
        owners.base = self._block_objects("pbd->cpu", OWNERS)
        types_field = "Kernel.pageblock_flags"
        loads = self._guards or types_field in self._watch
        types = (PointTypes if loads else StoreTypes)(k.pageblock_flags)
        types.base = self._block_objects("pbd->flags", types_field)
        for column in (owners, types):
            column.engine = engine
            column.locks = locks
        k.pageblock_cpu, k.pageblock_flags = owners, types
        self._cpu_number()
        online = k.machine.online = PointOnline(k.machine.online)
        online.engine = engine
        online.base = len(engine.objects.names)
        for cpu in range(k.machine.nr_cpus):
            engine.field_of[engine.objects.add(f"cpu_online({cpu})")] = "Machine.online"
        if self._guards:
            for name, label in (("pageblock_cpu_node", "pbd->cpu_node"), ("pageblock_nr_free", "pbd->nr_free")):
                held = HeldColumn("H", getattr(k, name))
                held.engine, held.label, held.locks = engine, label, locks
                setattr(k, name, held)
            pages = GuardedPages(k.mem_map)
            pages.engine, pages.kernel = engine, k
            k.mem_map = pages

    def _cpu_number(self) -> None:
        """smp_processor_id(): a migration stores to it."""
        engine, machine = self._engine, self._k.machine
        if not engine.moves:
            return
        slot = Machine.__dict__["cpu"]
        get_slot, set_slot = slot.__get__, slot.__set__

        def fget(instance: object) -> Any:
            engine.load_cpu_number()
            return engine.saw(get_slot(instance))

        machine.__class__ = type("PointMachine", (Machine,), {"__slots__": (), "cpu": property(fget, set_slot)})

    def _locks_of_blocks(self) -> list[PointSpinlock]:
        k = self._k
        locks = []
        for block in range(len(k.pageblock_cpu)):
            first, end = block << k.pageblock_order, (block + 1) << k.pageblock_order
            zone = next((z for z in k.zones if z.zone_start_pfn < end and first < z.end_pfn), k.zones[0])
            assert isinstance(zone.lock, PointSpinlock)
            locks.append(zone.lock)
        return locks

    def _block_objects(self, label: str, field: str) -> int:
        """Numbers for a column's elements.  Returns the first one."""
        engine, k = self._engine, self._k
        base = len(engine.objects.names)
        for block in range(len(k.pageblock_cpu)):
            engine.field_of[engine.objects.add(f"{label} of block {block << k.pageblock_order}")] = field
        return base
