# SPDX-License-Identifier: GPL-2.0-only
"""A machine's state as plain values, to go back to it: tens of thousands of times a minute.

Every field that is not CONSTANT by its structure's GUARDS is in it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, Final

from pageblock_buddy.machine.guards import Kind
from pageblock_buddy.machine.lists import ListHead
from pageblock_buddy.machine.llist import LlistHead
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import FreeArea, PerCpuPages, PerCpuZonestat, Zone

#: Fields that hold lists, llists or columns are kept by what is in them.
_CONTENTS: Final = frozenset(
    ("free_list", "lists", "owned_blocks", "owned_blocks_by_type", "free_llist", "trylock_free_pages")
)


def _plain_fields(structure: type[Zone] | type[PerCpuPages] | type[PerCpuZonestat]) -> tuple[str, ...]:
    """The fields of a structure that hold a number and may change."""
    return tuple(
        name
        for name, guard in sorted(structure.GUARDS.items())
        if guard.kind is not Kind.CONSTANT and name not in _CONTENTS
    )


ZONE_FIELDS: Final = _plain_fields(Zone)
PCP_FIELDS: Final = _plain_fields(PerCpuPages)
STAT_FIELDS: Final = _plain_fields(PerCpuZonestat)
_NR_FREE: Final[Any] = FreeArea.__dict__["nr_free"]
COLUMNS: Final = ("pageblock_cpu", "pageblock_cpu_node", "pageblock_nr_free")


def lists_of(k: Kernel) -> list[ListHead]:
    """Every list of a machine, in a fixed order."""
    found: list[ListHead] = []
    for zone in k.zones:
        for area in zone.free_area:
            found += area.free_list
        for pcp in zone.per_cpu_pageset:
            found += [*pcp.lists, pcp.owned_blocks, *pcp.owned_blocks_by_type]
    return found


def llists_of(k: Kernel) -> list[LlistHead]:
    """Every lock-less list of a machine, in a fixed order."""
    return [one for z in k.zones for one in (z.trylock_free_pages, *(pcp.free_llist for pcp in z.per_cpu_pageset))]


class Image:
    """The state of a machine between two operations, and the way back to it.

    ``restore()`` writes below whatever reports accesses, so it makes no point.
    """

    def __init__(self, k: Kernel) -> None:
        self._k = k
        self._lists = [(one, one.to_list()) for one in lists_of(k)]
        self._llists = [(one, one.to_list()[::-1]) for one in llists_of(k)]
        self._mem_map = bytes(k.mem_map)
        self._flags = bytes(k.pageblock_flags)
        self._columns = [(getattr(k, name), array("H", getattr(k, name))) for name in COLUMNS]
        self._online = list(k.machine.online)
        self._page_refs = dict(k.page_refs)
        self._counters = list(k.pgalloc), k.pgfree
        self._nr_free = [(area, _NR_FREE.__get__(area)) for zone in k.zones for area in zone.free_area]
        #: (the slot's own setter, structure, value): past any property that hides the slot
        self._fields: list[tuple[Callable[[Any, Any], None], Any, Any]] = []
        for zone in k.zones:
            self._keep(Zone, zone, ZONE_FIELDS)
            for pcp in zone.per_cpu_pageset:
                self._keep(PerCpuPages, pcp, PCP_FIELDS)
            for stat in zone.per_cpu_zonestats:
                self._keep(PerCpuZonestat, stat, STAT_FIELDS)

    def _keep(self, structure: type, instance: object, fields: tuple[str, ...]) -> None:
        for name in fields:
            slot = structure.__dict__[name]
            self._fields.append((slot.__set__, instance, slot.__get__(instance)))

    def restore(self) -> None:
        """Set the machine back.  O(lists + pages)."""
        k = self._k
        for one, pfns in self._lists:
            if one._entries or pfns:
                one.assign(pfns)
        for llist, entries in self._llists:
            if llist._entries or entries:
                llist.assign(entries)
        for bytes_of, saved in ((k.mem_map, self._mem_map), (k.pageblock_flags, self._flags)):
            assert isinstance(bytes_of, bytearray)  # a program's machine is small
            bytearray.__setitem__(bytes_of, slice(None), saved)
        for column, values in self._columns:
            array.__setitem__(column, slice(None), values)
        list.__setitem__(k.machine.online, slice(None), self._online)
        k.page_refs.clear()
        k.page_refs.update(self._page_refs)
        k.pgalloc[:], k.pgfree = self._counters
        for area, nr_free in self._nr_free:
            _NR_FREE.__set__(area, nr_free)
        for set_slot, instance, value in self._fields:
            set_slot(instance, value)
