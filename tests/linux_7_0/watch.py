# SPDX-License-Identifier: GPL-2.0-only
"""Locks that tell what happens to them, and machines of the variant under test.

zone lock                    taken after a wait, if need be
zone trylock                 tried, and taken
zone busy                    tried in vain
zone unlock
pcp0 …                       the same of CPU 0's pcp->lock
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from pageblock_buddy import Context, System
from pageblock_buddy.machine.spinlock import Spinlock
from pageblock_buddy.mm.alloc_context import AllocContext
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone
from tests import helpers
from tests.helpers import config, fill

VARIANT: Final = "linux-7.0"
#: what a short commit or a taken page does to the running CPU's lock
PCP: Final = ["pcp0 trylock", "pcp0 unlock"]
#: a piece of a flush, a refill, a free to the zone
ZONE: Final = ["zone lock", "zone unlock"]
#: between two pieces
BETWEEN: Final = ["pcp0 unlock", "pcp0 trylock"]


def machine(text: str = "", pages: int = 64, **overrides: Any) -> System:
    """helpers.machine() of linux-7.0.  No I in ``blocks``: the stored type of an isolated block is not ISOLATE."""
    return helpers.machine(text, pages, **({"variant": VARIANT} | overrides))


def isolated(text: str, *pfns: int, **overrides: Any) -> System:
    """The drawn machine, whose pageblocks of ``pfns`` are then isolated."""
    system = machine(text, **overrides)
    for pfn in pfns:
        assert system.isolate_pageblock(pfn)
    return system


def several(
    *specs: tuple[int, int, int], texts: dict[int, str], variant: str = VARIANT, pages: int = 16, **overrides: Any
) -> System:
    """A machine of several zones, (node, zone, first PFN) each; ``texts`` draws the one at a PFN."""
    zones = tuple(
        helpers.small_zone(idx, start, pages, node=node, managed_pages=pages, reserved=((start, pages),))
        for node, idx, start in specs
    )
    system = System.boot(config(zones=zones, vm_stat_threshold=0, **overrides), variant=variant)
    for zone in system.zones:
        fill(system, texts.get(zone.zone_start_pfn, ""), zone)
    system.validate()
    return system


class WatchedLock(Spinlock):
    """A spinlock that reports to a Watch."""

    __slots__ = ("called", "watch")

    def __init__(self, lock: Spinlock, called: str, watch: Watch) -> None:
        super().__init__(lock.machine, lock.name)
        self.called = called
        self.watch = watch

    def lock(self) -> None:
        super().lock()
        self.watch.saw(f"{self.called} lock")

    def trylock(self) -> bool:
        taken = super().trylock()
        self.watch.saw(f"{self.called} {'trylock' if taken else 'busy'}")
        return taken

    def unlock(self) -> None:
        super().unlock()
        self.watch.saw(f"{self.called} unlock")


class Watch:
    """The log of a zone's locks, and what is to happen when an event is seen."""

    def __init__(self, system: System, zone: Zone | None = None) -> None:
        self.events: list[str] = []
        self._actions: list[tuple[str, Callable[[], None]]] = []
        zone = zone or system.zones[0]
        zone.lock = WatchedLock(zone.lock, "zone", self)
        for pcp in zone.per_cpu_pageset:
            pcp.lock = WatchedLock(pcp.lock, f"pcp{pcp.cpu}", self)

    def once(self, event: str, action: Callable[[], None]) -> None:
        """Run ``action`` behind the next ``event`` for which no other action is waiting."""
        self._actions.append((event, action))

    def saw(self, event: str) -> None:
        """A lock reports."""
        self.events.append(event)
        for number, (awaited, action) in enumerate(self._actions):
            if awaited == event:
                del self._actions[number]
                action()
                return

    def take(self) -> list[str]:
        """The events since the last take(); all that was to happen has happened."""
        assert self._actions == []
        events, self.events = self.events, []
        return events


def given(lock: Spinlock, cpu: int | None) -> Callable[[], None]:
    """An action for Watch.once(): a free lock is CPU ``cpu``'s from now on, or (None) free again."""

    def give() -> None:
        lock.owner = cpu

    return give


@contextmanager
def held(system: System, *locks: Spinlock, by: int = 1, context: Context | None = None) -> Iterator[None]:
    """CPU ``by`` holds the locks; with ``context`` the running CPU does, and is interrupted by it."""
    cpu = system.kernel.machine.cpu
    for lock in locks:
        assert lock.owner is None
        lock.owner = by if context is None else cpu
    with system.on_cpu(cpu, context or Context.TASK):
        yield
    for lock in locks:
        assert lock.owner == (by if context is None else cpu)
        lock.owner = None


def walks(system: System) -> list[int]:
    """The alloc_flags of each call of get_page_from_freelist() from now on."""
    k = system.kernel
    original = k.calls.get_page_from_freelist
    flags: list[int] = []

    def noting(k: Kernel, gfp: int, order: int, alloc_flags: int, ac: AllocContext) -> int | None:
        flags.append(alloc_flags)
        return original(k, gfp, order, alloc_flags, ac)

    k.calls = dataclasses.replace(k.calls, get_page_from_freelist=noting)
    return flags
