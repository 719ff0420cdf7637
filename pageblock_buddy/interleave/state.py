# SPDX-License-Identifier: GPL-2.0-only
"""The shared state as a tuple: to tell outcomes and states apart, tens of thousands of times a second.

Read below whatever reports accesses.  Event counts (pgalloc, pgfree) are left out: no decision reads them, and with
them hardly two schedules would ever end alike.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from pageblock_buddy.interleave.image import PCP_FIELDS, STAT_FIELDS, ZONE_FIELDS, lists_of, llists_of
from pageblock_buddy.machine.guards import PCP_LOCK, ZONE_LOCK
from pageblock_buddy.mm.mmzone import PerCpuPages, PerCpuZonestat, Zone

if TYPE_CHECKING:
    from pageblock_buddy.interleave.engine import Engine
    from pageblock_buddy.interleave.locks import PointSpinlock

Key = tuple[Any, ...]


class StateKeys:
    """Makes keys of one engine's machine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        k = engine.kernel
        self._lists = list(enumerate(lists_of(k)))
        self._llists = llists_of(k)
        self._columns = (k.pageblock_cpu, k.pageblock_cpu_node, k.pageblock_nr_free)
        #: the state at the end of the present run, if somebody made its key already
        self.end: Key = ()
        self._fields: list[tuple[Any, Any]] = []
        for zone in k.zones:
            self._fields += [(Zone.__dict__[name].__get__, zone) for name in ZONE_FIELDS]
            for pcp in zone.per_cpu_pageset:
                self._fields += [(PerCpuPages.__dict__[name].__get__, pcp) for name in PCP_FIELDS]
            for stat in zone.per_cpu_zonestats:
                self._fields += [(PerCpuZonestat.__dict__[name].__get__, stat) for name in STAT_FIELDS]

    def state(self) -> Key:
        """The allocator's state."""
        k = self._engine.kernel
        return (
            bytes(k.mem_map),
            bytes(k.pageblock_flags),
            # Below the lists' own methods: a call for each of some sixty lists would be half of the time.
            tuple([(number, *one._entries) for number, one in self._lists if one._entries]),
            tuple([tuple(one._entries) for one in self._llists]),
            tuple([array.tobytes(column) for column in self._columns]),
            tuple([get(instance) for get, instance in self._fields]),
            tuple(list.__iter__(k.machine.online)),
            tuple(sorted(k.page_refs.items())) if k.page_refs else (),
        )

    def guarded(self, lock: PointSpinlock) -> Key:
        """What the holder of a lock may read without a point: the whole state, which is more than it guards."""
        return self.state() if lock.name in (ZONE_LOCK, PCP_LOCK) else ()

    def outcome(self) -> Key:
        """The state, and what each page name stands for: what one run can be told from another by."""
        return self.end or self.state(), tuple(sorted(self._engine.pages.items()))

    def full(self) -> Key:
        """The state and where each process is, with what its operation has read: equal keys have equal futures.

        Needs an engine with ``keep_keys``.
        """
        engine = self._engine
        return (
            self.state(),
            tuple(sorted(engine.pages.items())),
            tuple(
                (p.alive, p.started, p.op_number, p.op_points, p.kind, p.oid, p.cpu, p.reads, _held(p))
                for p in engine.processes
            ),
        )


def _held(process: Any) -> tuple[tuple[int, bool], ...]:
    return tuple((lock.oid, irqs_off) for lock, irqs_off in process.held)
