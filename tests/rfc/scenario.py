# SPDX-License-Identifier: GPL-2.0-only
"""The machine of docs/spec/scenarios.md, its steps, and steps of another CPU at a critical moment.

One zone, PFNs 0..31, pageblocks B0..B3 of 8 pages, CPUs A, B, C, batch 2, high 8.  What a drawing does not mention
is allocated, page by page, so that the pages always add up to 32.

A step of another CPU at a critical moment is planned with ``at``: every lock reports what happens to it, and the
step runs at the report named.  "C wants A" comes before C takes (or tries) A's pcp->lock; "C locks A", "C trylocks
A" or "C misses A" after that; "C leaves A" before it gives the lock up and "C unlocks A" after.  Z is zone->lock.
On llist "C pushes A" comes before C pushes a page on A's free_llist.

A Monitor watches every scenario (changes of owners, stable reads, the order of locks, merge passes), unless it is to
go wrong: ``watched=False``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from pageblock_buddy import Context, System, gfp
from pageblock_buddy.errors import SelfDeadlock
from pageblock_buddy.linux_7_0.bulk import lock_zone_for_alloc
from pageblock_buddy.machine.llist import LlistHead
from pageblock_buddy.machine.spinlock import Spinlock
from pageblock_buddy.mm.calls import Calls
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.monitor import Monitor
from tests.helpers import MOVABLE, M, assert_zone, drawing_of, limits, machine, parse

A, B, C = 0, 1, 2
LETTERS: Final = "ABC"
PAGES: Final = 32
BLOCK: Final = 8
#: MOVABLE requests that no watermark stops: they get what the PCP has even if the zone is empty
ALWAYS: Final = MOVABLE | gfp.GFP_MEMALLOC
Step = Callable[[], object]
_CALLS: Final = frozenset(field.name for field in dataclasses.fields(Calls))


# --- drawings ----------------------------------------------------------------------------------


def completed(text: str, pages: int) -> str:
    """The drawing with an allocation of order 0 for each page that it does not mention."""
    drawing = parse(text)
    blocks = [(pfn, order) for (order, _), pfns in drawing.free.items() for pfn in pfns]
    blocks += [(pfn, order) for (_, order, _), pfns in drawing.pcp.items() for pfn in pfns]
    blocks += [block for entries in drawing.llists.values() for block in entries]
    drawn = drawing.alloc or []
    blocks += [(pfn, order) for pfn, order, _ in drawn]
    mentioned = {page for pfn, order in blocks for page in range(pfn, pfn + (1 << order))}
    entries = [f"{pfn}/{order}" + "c" * compound for pfn, order, compound in drawn]
    entries += [f"{pfn}/0" for pfn in range(pages) if pfn not in mentioned]
    return f"{text}\n alloc: {' '.join(entries)}"


class Call(NamedTuple):
    """One call of an entry point; args[0] is the Kernel."""

    args: tuple[Any, ...]
    result: Any


# --- locks that report -------------------------------------------------------------------------


class ReportingLock(Spinlock):
    """A lock in the place of another one, which does the work; what happens to it is reported to the scenario."""

    __slots__ = ("_inner", "_letter", "_report")

    def __init__(self, inner: Spinlock, letter: str, report: Callable[[str], None]) -> None:
        self._inner = inner
        self._letter = letter
        self._report = report
        self.machine = inner.machine
        self.name = inner.name

    @property
    def owner(self) -> int | None:
        """The holding CPU, or None."""
        return self._inner.owner

    @owner.setter
    def owner(self, cpu: int | None) -> None:
        self._inner.owner = cpu

    def lock(self) -> None:
        """Take the lock."""
        self._report(f"wants {self._letter}")
        self._inner.lock()
        self._report(f"locks {self._letter}")

    def trylock(self) -> bool:
        """Take the lock if it is free."""
        self._report(f"wants {self._letter}")
        if not self._inner.trylock():
            self._report(f"misses {self._letter}")
            return False
        self._report(f"trylocks {self._letter}")
        return True

    def unlock(self) -> None:
        """Release the lock."""
        self._report(f"leaves {self._letter}")
        self._inner.unlock()
        self._report(f"unlocks {self._letter}")

    def assert_held(self) -> None:
        """lockdep_assert_held()."""
        self._inner.assert_held()


class ReportingLlist(LlistHead):
    """A lock-less list that reports before a push."""

    __slots__ = ("_letter", "_report")

    def __init__(self, inner: LlistHead, letter: str, report: Callable[[str], None]) -> None:
        self._entries = inner._entries
        self._letter = letter
        self._report = report

    def llist_add(self, pfn: int, order: int) -> None:
        """Push an entry."""
        self._report(f"pushes {self._letter}")
        super().llist_add(pfn, order)


# --- the scenario ------------------------------------------------------------------------------


class Scenario:
    """A machine in a drawn state, and steps on it.  ``log`` has all lock operations; ``overrides`` go to machine()."""

    def __init__(
        self,
        text: str,
        *,
        variant: str = "rfc",
        pages: int = PAGES,
        high: int = 8,
        batch: int = 2,
        watched: bool = True,
        **overrides: Any,
    ) -> None:
        overrides = {"nr_cpus": 3, "batch": batch, "high_min": high, "high_max": high} | overrides
        self.system: System = machine(completed(text, pages), pages, variant=variant, **overrides)
        self.pages = pages
        self.k: Kernel = self.system.kernel
        self.zone: Zone = self.system.zones[0]
        self.log: list[str] = []
        self._planned: list[tuple[str, int, Step]] = []
        if watched:
            Monitor(self.k, variant)
        self.zone.lock = ReportingLock(self.zone.lock, "Z", self.report)
        for pcp in self.zone.per_cpu_pageset:
            pcp.lock = ReportingLock(pcp.lock, LETTERS[pcp.cpu], self.report)
            pcp.free_llist = ReportingLlist(pcp.free_llist, LETTERS[pcp.cpu], self.report)
            limits(pcp, high=high)  # as if it had been in use

    def pcp(self, cpu: int) -> PerCpuPages:
        """A CPU's pageset."""
        return self.zone.per_cpu_pageset[cpu]

    # steps

    def refill(self, cpu: int, wanted: int, *, order: int = 0, mt: int = M, alloc_flags: int = 0) -> int:
        """rmqueue_bulk() of ``wanted`` blocks of 2^order pages; returns how many it says it got."""
        with self.system.on_cpu(cpu), self.holding(cpu):
            return self.k.calls.rmqueue_bulk(self.k, self.zone, order, wanted, self.pcp(cpu), mt, alloc_flags)

    def alloc(self, cpu: int, order: int = 0, *, flags: int = ALWAYS, context: Context = Context.TASK) -> int | None:
        """alloc_pages() on a CPU."""
        with self.system.on_cpu(cpu, context):
            return self.system.alloc_pages(flags, order)

    def free(self, cpu: int, *pfns: int, order: int = 0, context: Context = Context.TASK) -> None:
        """Free blocks on a CPU, one after the other."""
        with self.system.on_cpu(cpu, context):
            for pfn in pfns:
                self.system.free_pages(pfn, order)

    def free_nolock(self, cpu: int, pfn: int, *, context: Context = Context.TASK) -> None:
        """Free a page with FPI_TRYLOCK."""
        with self.system.on_cpu(cpu, context):
            self.system.free_pages_nolock(pfn)

    def drain(self, cpu: int, *, by: int | None = None) -> None:
        """A full drain: drain_pages_zone() of a CPU's lists, by that CPU or another one."""
        with self.system.on_cpu(cpu if by is None else by):
            self.k.calls.drain_pages_zone(self.k, cpu, self.zone)

    def drain_some(self, cpu: int, count: int, pindex: int = M) -> None:
        """free_pcppages_bulk(): what one piece of a flush does."""
        with self.system.on_cpu(cpu), self.holding(cpu):
            self.k.calls.free_pcppages_bulk(self.k, self.zone, count, self.pcp(cpu), pindex)

    def merge(self, cpu: int) -> int:
        """A merge pass alone; returns the merges."""
        with self.system.on_cpu(cpu), self.holding(cpu):
            return self.k.pcp_buddy.merge_pcp_buddies(self.k, self.pcp(cpu))

    def offline(self, cpu: int, *, by: int) -> None:
        """Take a CPU offline, on another one."""
        with self.system.on_cpu(by):
            self.system.offline_cpu(cpu)

    @contextmanager
    def holding(self, cpu: int, lock: Spinlock | None = None) -> Iterator[None]:
        """Some code on a CPU holds a lock (its own pcp->lock by default) around this."""
        lock = lock or self.pcp(cpu).lock
        with self.system.on_cpu(cpu):
            assert lock.trylock()
        yield
        with self.system.on_cpu(cpu):
            lock.unlock()

    # the critical moment

    def at(self, event: str, step: Step, *, nth: int = 1) -> None:
        """Run ``step`` once, when ``event`` ("C wants A") is reported for the nth time from now on."""
        self._planned.append((event, nth, step))

    def report(self, what: str) -> None:
        """A lock or llist says what happens to it."""
        event = f"{LETTERS[self.k.machine.cpu]} {what}"
        if not what.startswith(("wants", "leaves", "pushes")):
            self.log.append(event)
        due = []
        for plan in [plan for plan in self._planned if plan[0] == event]:
            self._planned.remove(plan)
            if plan[1] > 1:
                self._planned.append((event, plan[1] - 1, plan[2]))
            else:
                due.append(plan[2])
        for step in due:
            step()

    def waits_for(self, cpu: int, step: Step, context: Context = Context.TASK) -> tuple[str, int] | None:
        """What a step on a CPU would spin on for ever, and who holds it: an edge of the wait-for graph.  None: it
        went through."""
        with self.system.on_cpu(cpu, context):
            try:
                step()
            except SelfDeadlock as error:
                return str(error.details["lock"]), int(str(error.details["owner"]))
        return None

    # the outcome

    def expect(self, text: str) -> None:
        """The zone looks as drawn, everything that was planned has happened, no page was lost, all invariants hold."""
        assert not self._planned, f"never happened: {[plan[0] for plan in self._planned]}"
        assert_zone(self.system, text)
        assert self.system.total_pages == self.pages

    @property
    def owners(self) -> str | None:
        """The owners as drawn."""
        return drawing_of(self.system).owners

    def locked(self, letter: str) -> int:
        """How often a lock was taken."""
        return sum(event.split()[1:] in (["locks", letter], ["trylocks", letter]) for event in self.log)

    # the tables

    @contextmanager
    def replaced(self, **entries: Callable[..., Any]) -> Iterator[None]:
        """Put other functions in the place of entries of the two tables: wrong ones, or ones that look on."""
        before = self.k.calls
        self._set_calls(with_entries(before, entries))
        try:
            yield
        finally:
            self._set_calls(before)

    @contextmanager
    def recorded(self, entry: str) -> Iterator[list[Call]]:
        """Look on at an entry of the tables: a list that collects its calls."""
        real = getattr(self.k.calls if entry in _CALLS else self.k.pcp_buddy, entry)
        calls: list[Call] = []

        def recording(*args: Any) -> Any:
            result = real(*args)
            calls.append(Call(args, result))
            return result

        with self.replaced(**{entry: recording}):
            yield calls

    def _set_calls(self, calls: Calls) -> None:
        self.k.calls = calls
        if calls.pcp_buddy is not None:
            self.k.pcp_buddy = calls.pcp_buddy


def with_entries(calls: Calls, entries: dict[str, Callable[..., Any]]) -> Calls:
    """The tables with some entries replaced, each in the table that has it."""
    own: dict[str, Any] = {name: entry for name, entry in entries.items() if name in _CALLS}
    others: dict[str, Any] = {name: entry for name, entry in entries.items() if name not in _CALLS}
    if others:
        assert calls.pcp_buddy is not None
        own["pcp_buddy"] = dataclasses.replace(calls.pcp_buddy, **others)
    return dataclasses.replace(calls, **own)


# --- wrong behaviour that several scenarios need -----------------------------------------------


def literal_refill(*, unit: int = 1) -> Callable[..., int]:
    """A rmqueue_bulk() that runs all phases even if the lists are disabled, and counts pages alone, whatever the order.

    ``unit`` 1: n blocks of the order are wanted; 0: n is read as pages.
    """

    def rmqueue_bulk(k: Kernel, zone: Zone, order: int, count: int, pcp: PerCpuPages, mt: int, alloc_flags: int) -> int:
        wanted = count << order * unit
        if not lock_zone_for_alloc(zone, alloc_flags):
            return 0
        got = k.pcp_buddy.refill_recover(k, zone, pcp, wanted, mt, alloc_flags)
        got += k.pcp_buddy.refill_claim(k, zone, pcp, wanted - got, mt, alloc_flags)
        got += k.pcp_buddy.refill_chunks(k, zone, pcp, order, max(wanted - got, 0), mt)
        got += k.pcp_buddy.refill_classic(k, zone, pcp, order, wanted - got, mt, alloc_flags)
        zone.lock.unlock()
        return got >> order

    return rmqueue_bulk


def nothing(*_: object) -> None:
    """A step that was forgotten."""


class DoubleAdd(Exception):
    """list_add() of a node that is linked already: from here on both lists are corrupt.  (Lists of the model are sets
    and would not notice.)
    """


def list_unconditionally(k: Kernel, zone: Zone, pcp: PerCpuPages, block_pfn: int) -> None:
    """list_owned_block() without the test whether the block is linked."""
    index = block_pfn >> k.pageblock_order
    if k.pageblock_cpu_node[index]:
        raise DoubleAdd(f"the block at pfn {block_pfn} is linked on CPU {k.pageblock_cpu_node[index] - 1}")
    pcp.owned_blocks.list_add_tail(block_pfn)
    k.pageblock_cpu_node[index] = pcp.cpu + 1


def set_owner_raw(k: Kernel, pfn: int, tag: int) -> None:
    """A store to pbd->cpu by code that asks nobody."""
    k.pageblock_cpu[pfn >> k.pageblock_order] = tag
