# SPDX-License-Identifier: GPL-2.0-only
"""Invariants at points.

Each invariant names its locks and is checked at every point at which these are free, if one of them was held since the
last check: what it speaks of changes under these locks only, which the guard check proves.  Pages in flight are in no
place: each operation under way may have as many as it frees or allocates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from pageblock_buddy import invariants
from pageblock_buddy.errors import InputError, ModelBug
from pageblock_buddy.interleave.findings import Finding
from pageblock_buddy.interleave.locks import PointSpinlock
from pageblock_buddy.interleave.program import Alloc, AllocBulk, Decay, Offline, Online, freed
from pageblock_buddy.interleave.state import Key
from pageblock_buddy.machine.spinlock import Spinlock
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone

if TYPE_CHECKING:
    from pageblock_buddy.interleave.engine import Engine
    from pageblock_buddy.interleave.process import Running

WHEN: Final = ("points", "ends", "never")
#: These change counters, and what is derived from them, in several steps.
_MOVING_COUNTERS: Final = (Decay, Offline, Online)

#: States that are remembered as good; then all are forgotten.
_MAX_REMEMBERED: Final = 200_000

_ALL_FREE: Final = 1
_END: Final = 2

Check = tuple[str, Callable[[Kernel], None]]


class PointInvariants:
    """Checks of one engine's machine.  ``when``: at points, at the ends of operations, or never."""

    def __init__(self, engine: Engine, when: str) -> None:
        if when not in WHEN:
            raise InputError(f"invariants {when!r} is none of {', '.join(WHEN)}")
        self._engine = engine
        self._when = when
        breaks = engine.variant.breaks
        #: lock -> (bit, checks of what it guards)
        self._checks: dict[PointSpinlock, tuple[int, list[Check]]] = {}
        for zone in engine.kernel.zones:
            of_zone = {name: partial(_in_zone, check, zone) for name, check in invariants.OF_ZONE.items()}
            self._add(zone.lock, of_zone, breaks)
            for pcp in zone.per_cpu_pageset:
                of_pcp = {name: partial(_on_pcp, check, zone, pcp) for name, check in invariants.OF_PCP.items()}
                self._add(pcp.lock, of_pcp, breaks)
        #: the locks that were held since what they guard was checked
        self.dirty: dict[PointSpinlock, None] = {}
        self._skipped = False
        self._placed: dict[bytes, int] = {}
        self._total_check: list[Check] = [("total", self._total)]
        self._all_free_checks: list[Check] = [
            ("place", partial(invariants.validate_place, in_flight=True)),
            *self._total_check,
        ]
        #: state -> what was found good in it once: bits of locks, _ALL_FREE, _END
        self._good: dict[Key, int] = {}

    def _add(self, lock: Spinlock, checks: Mapping[str, Callable[[Kernel], None]], breaks: tuple[str, ...]) -> None:
        assert isinstance(lock, PointSpinlock)
        bit = 4 << len(self._checks)
        self._checks[lock] = bit, [(name, check) for name, check in checks.items() if name not in breaks]

    def reset(self) -> None:
        """Before a run."""
        self.dirty.clear()

    def touched(self, lock: PointSpinlock) -> None:
        """A lock was given back."""
        if lock in self._checks:
            self.dirty[lock] = None

    # --- at a point ----------------------------------------------------------------------------

    def check(self) -> Finding | None:
        """What is wrong at this point, or None."""
        dirty = self.dirty
        if not dirty or self._when == "never" or (self._when == "ends" and self._engine.busy()):
            return None
        free = [lock for lock in dirty if lock.holder is None]
        for lock in free:
            del dirty[lock]
        if not free:
            return None
        # A search comes to the same states again and again.
        state = self._engine.keys.state()
        good = known = self._good.get(state, 0)
        for lock in free:
            bit, checks = self._checks[lock]
            if not good & bit:
                finding = self._first_failure(checks)
                if finding is not None:
                    return finding
                if not self._skipped:
                    good |= bit
        for lock in self._checks:
            if lock.holder is not None:
                break
        else:
            # Every page has one place.
            finding = self._first_failure(self._total_check if good & _ALL_FREE else self._all_free_checks)
            if finding is not None:
                return finding
            good |= _ALL_FREE
        if good != known:
            self._remember(state, good)
        return None

    def _remember(self, state: Key, good: int) -> None:
        if len(self._good) >= _MAX_REMEMBERED:
            self._good.clear()
        self._good[state] = good

    def _first_failure(self, checks: list[Check]) -> Finding | None:
        engine = self._engine
        self._skipped = False
        with observing(engine):
            for name, check in checks:
                if name == "counters" and any(isinstance(p.op, _MOVING_COUNTERS) for p in engine.under_way()):
                    self._skipped = True
                    continue
                try:
                    check(engine.kernel)
                except ModelBug as error:
                    return Finding("leak" if name == "total" else "invariant", error.message, "", name)
        return None

    def _total(self, k: Kernel) -> None:
        """All pages are in a place or in flight."""
        engine = self._engine
        if engine.total_pages is None:
            return
        placed = self._placed.get(bytes(k.mem_map))
        if placed is None:
            if len(self._placed) >= _MAX_REMEMBERED:
                self._placed.clear()
            placed = self._placed[bytes(k.mem_map)] = sum(invariants.pages_by_place(k).values())
        missing = engine.total_pages - placed
        flying = sum(in_flight(engine, process) for process in engine.under_way())
        if not 0 <= missing <= flying:
            raise ModelBug(f"total: {missing} pages are in no place, {flying} may be in flight", invariant="total")

    def at_the_end(self) -> Finding | None:
        """All of them, and that no page was lost."""
        engine = self._engine
        if self._when == "never":
            return None
        state = engine.keys.end = engine.keys.state()
        good = self._good.get(state, 0)
        if good & _END:
            return None
        with observing(engine):
            try:
                invariants.validate(engine.kernel, without=engine.variant.breaks)
                if engine.total_pages is not None:
                    invariants.check_total(engine.kernel, engine.total_pages)
            except ModelBug as error:
                name = str(error.details.get("invariant"))
                return Finding("leak" if name == "total" else "invariant", error.message, "", name)
        self._remember(state, good | _END)
        return None


def _in_zone(check: Callable[[Kernel, Zone], None], zone: Zone, k: Kernel) -> None:
    check(k, zone)


def _on_pcp(check: Callable[[Kernel, Zone, PerCpuPages], None], zone: Zone, pcp: PerCpuPages, k: Kernel) -> None:
    check(k, zone, pcp)


@contextmanager
def observing(engine: Engine) -> Iterator[None]:
    """Whatever is read now is read by nobody: it is no point and no use of an object."""
    running, visible, last_load = engine.running, engine.visible, engine.last_load
    engine.running, engine.visible = engine.observer, engine.nothing_visible
    try:
        yield
    finally:
        engine.running, engine.visible, engine.last_load = running, visible, last_load


def in_flight(engine: Engine, process: Running) -> int:
    """How many pages the operation of a process may have in no place."""
    own = 0
    match process.op:
        case None:
            pass
        case Alloc(order=order):
            own = 1 << order
        case AllocBulk(pages=pages):
            own = len(pages)
        case op:
            own = sum(1 << engine.pages[name][1] for name in freed(op) if name in engine.pages)
    return own + process.in_hand
