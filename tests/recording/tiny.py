# SPDX-License-Identifier: GPL-2.0-only
"""Recordings of tiny machines, written by the model itself.

They are no evidence about the kernel; they show what the replayer notices.  A test lets a run do something that a log
does not tell (a lock held by the interrupted code, a counter folded), or changes the lines afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pageblock_buddy import Config, Context, EventLog, System
from pageblock_buddy.recording.machine_of import boot_from_snapshot, config_of_snapshot
from pageblock_buddy.snapshot import zone_to_dict
from pageblock_buddy.variants import DEFAULT_VARIANT, VARIANTS
from tests.helpers import config, fill
from tests.recording.cut import write_lines


def all_free(pages: int) -> str:
    """The drawing of a zone in which everything is free and movable."""
    return f"order 4: M[{' '.join(map(str, range(0, pages, 16)))}]\nblocks: {'M' * (pages // 8)}"


#: two CPUs, 64 pages in 8 blocks, limits of Config.small()
DRAWING = all_free(64)


def meta_line(**fields: Any) -> dict[str, Any]:
    """The first line of a recording of 6.12 without any operation."""
    return {"t": "meta", "kernel": "6.12.117", "nops": 0, "ne": 0, "nev": 0, "foreign": 0} | fields


class _Run:
    """A machine that is booted from its own first snapshot, as a replay will boot it."""

    def __init__(
        self, drawing: str = DRAWING, machine: Config | None = None, boost: Sequence[int] = (), **overrides: Any
    ) -> None:
        machine = machine or config(**({"nr_cpus": 2} | overrides))
        system = System.boot(machine)
        if drawing:
            fill(system, drawing)
        for zone, pages in zip(system.zones, boost, strict=False):
            zone.watermark_boost = pages
        self.first = [zone_to_dict(system.kernel, zone) for zone in system.zones]
        kernel = boot_from_snapshot(
            self.first, VARIANTS[DEFAULT_VARIANT].calls, config_of_snapshot(self.first, machine.cpu_node)
        )
        self.system = System(kernel, DEFAULT_VARIANT)
        self.meta: dict[str, Any] = {}

    def zones(self) -> list[dict[str, Any]]:
        """The zones as a snapshot line has them."""
        return [zone_to_dict(self.system.kernel, zone) for zone in self.system.zones]

    @contextmanager
    def interrupted(self, cpu: int) -> Iterator[None]:
        """Inside the block, the code on ``cpu`` that was interrupted holds its pcp->lock in every zone."""
        with ExitStack() as stack:
            for zone in self.system.zones:
                with self.system.on_cpu(cpu):
                    assert zone.per_cpu_pageset[cpu].lock.trylock()
                stack.callback(self._unlock, zone.per_cpu_pageset[cpu].lock, cpu)
            yield

    def _unlock(self, lock: Any, cpu: int) -> None:
        with self.system.on_cpu(cpu):
            lock.unlock()

    def fold(self, cpu: int) -> None:
        """What an idle CPU does without an event: fold its free_diff into the counter."""
        for zone in self.system.zones:
            stat = zone.per_cpu_zonestats[cpu]
            zone.nr_free_pages += stat.nr_free_pages_diff
            stat.nr_free_pages_diff = 0


class ScriptedRun(_Run):
    """Writes a scripted recording.  Operations return their index, which free() takes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.log = EventLog()
        self.system.trace = self.log
        self.lines: list[Any] = []
        self.index = 0
        self.events = 0
        self.held: dict[int, tuple[int, int]] = {}
        self.snap()

    def _line(self, record: list[Any], operations: int = 1, outer: int = 0) -> int:
        inner = self.log.take()
        self.lines += [["e", *event] for event in inner]
        self.lines.append(record)
        self.events += len(inner) + outer
        self.index += operations
        return self.index - operations

    def snap(self) -> None:
        """A snapshot."""
        nev = self.events + self.log.outer_count
        self.lines.append({"t": "snap", "op": self.index, "nev": nev, "zones": self.zones()})
        self.index += 1

    def alloc(self, gfp: int, order: int = 0, cpu: int = 0) -> int:
        """alloc_pages(); what it gave is ``held[index]``."""
        with self.system.on_cpu(cpu):
            pfn = self.system.alloc_pages(gfp, order)
        self.held[self.index] = (-1 if pfn is None else pfn, order)
        return self._line(["A", cpu, order, gfp, -1 if pfn is None else pfn])

    def free(self, ref: int, cpu: int = 0) -> int:
        """__free_pages()."""
        pfn, order = self.held.pop(ref)
        if pfn != -1:
            with self.system.on_cpu(cpu):
                self.system.free_pages(pfn, order)
        return self._line(["F", cpu, order, ref, pfn])

    def bulk(self, gfp: int, nr_pages: int, cpu: int = 0) -> int:
        """alloc_pages_bulk()."""
        slots: list[int | None] = [None] * nr_pages
        with self.system.on_cpu(cpu):
            self.system.fill_pages_bulk(gfp, slots)
        pfns = [-1 if pfn is None else pfn for pfn in slots]
        for page, pfn in enumerate(pfns):
            self.held[self.index + 1 + page] = (pfn, 0)
        return self._line(["B", cpu, nr_pages, gfp, pfns], 1 + nr_pages, sum(pfn != -1 for pfn in pfns))

    def drain(self, cpu: int = 0) -> int:
        """drain_local_pages()."""
        with self.system.on_cpu(cpu):
            self.system.drain_local_pages()
        return self._line(["D", cpu])

    def records(self) -> list[Any]:
        """All lines, ending with a snapshot."""
        if not isinstance(self.lines[-1], dict):
            self.snap()
        nev = self.lines[-1]["nev"]
        return [meta_line(nops=self.index, ne=nev, nev=nev, **self.meta), *self.lines]


class NaturalRun(_Run):
    """Writes a natural recording: every event of whatever is done with ``system`` inside task() or irq().

    ``events`` may be changed before records() is called.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.log = EventLog(outer=True)
        self.system.trace = self.log
        self.events: list[list[Any]] = []

    @contextmanager
    def on(self, cpu: int = 0, pid: int = 7, in_irq: int = 0) -> Iterator[System]:
        """Operations inside the block are this task's, or (``in_irq`` 1) an interrupt's that came to it."""
        with self.system.on_cpu(cpu, Context.SOFTIRQ if in_irq else Context.TASK):
            yield self.system
        self.events += [["e", pid, in_irq, 1000 + len(self.events), *event] for event in self.log.take()]

    def alloc(self, gfp: int, order: int = 0, *, node: int | None = None, **context: int) -> int:
        """alloc_pages(); must succeed."""
        with self.on(**context) as system:
            pfn = system.alloc_pages(gfp, order, node=node)
        assert pfn is not None
        return pfn

    def free(self, pfn: int, order: int = 0, **context: int) -> None:
        """__free_pages()."""
        with self.on(**context) as system:
            system.free_pages(pfn, order)

    def bulk(self, gfp: int, nr_pages: int, cpu: int = 0, pid: int = 7) -> list[int]:
        """alloc_pages_bulk(), whose pages a return probe reports at the end."""
        with self.on(cpu, pid) as system:
            pfns = system.alloc_pages_bulk(gfp, nr_pages)
        self.events += [["e", pid, 0, 1000 + len(self.events), "bulk", cpu, nr_pages, gfp, pfn] for pfn in pfns]
        return pfns

    def records(self) -> list[Any]:
        """All lines, with a snapshot at both ends."""
        nev = len(self.events)
        return [
            meta_line(ne=nev, nev=nev, **self.meta),
            {"t": "snap", "op": 0, "nev": 0, "zones": self.first},
            *self.events,
            {"t": "snap", "op": 1, "nev": nev, "zones": self.zones()},
        ]


def write(path: Path, records: list[Any]) -> Path:
    """Write records as a recording, one JSON value a line."""
    return write_lines(path, [json.dumps(record) for record in records])
