# SPDX-License-Identifier: GPL-2.0-only
"""Performing a process's operations on the mirrored functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pageblock_buddy.gfp import MIGRATE_MOVABLE
from pageblock_buddy.interleave.findings import Finding
from pageblock_buddy.interleave.kinds import AWAIT, CPU_DEAD, PUBLISH
from pageblock_buddy.interleave.program import (
    Alloc,
    AllocBulk,
    Decay,
    Drain,
    Free,
    FreeBulk,
    Hold,
    Isolate,
    Offline,
    Online,
    Op,
    freed,
)
from pageblock_buddy.linux_6_12 import alloc, drain, free
from pageblock_buddy.linux_6_12.hotplug import page_alloc_cpu_online
from pageblock_buddy.mm.kernel import page_zone
from pageblock_buddy.mm.vmstat import refresh_cpu_vm_stats

if TYPE_CHECKING:
    from pageblock_buddy.interleave.engine import Engine
    from pageblock_buddy.interleave.process import Running


def run_ops(engine: Engine, process: Running) -> None:
    """Everything that a process does, from its start to its end."""
    for op in process.ops:
        _run_op(engine, process, op)


def _run_op(engine: Engine, process: Running, op: Op) -> None:
    if isinstance(op, Hold):
        _hold(engine, process, op)
        return
    process.op = op
    process.op_points = 0
    process.reads = 0
    held_before = len(process.held)
    process.acted = False
    number = process.call = engine.history.begin(process, op)
    _await_pages(engine, process, op)
    _perform(engine, process, op)
    engine.history.end(number)
    process.call = -1
    _check_end(engine, process, held_before)
    process.owner_read = None
    process.in_hand = 0
    process.op_number += 1


def _hold(engine: Engine, process: Running, op: Hold) -> None:
    lock = engine.program_locks[op.lock]
    process.op = op
    process.op_points = 0
    if op.irqs_off:
        lock.lock_irqsave()
    else:
        lock.lock()
    for inner in op.ops:
        _run_op(engine, process, inner)
    process.op = op
    lock.unlock()


def _check_end(engine: Engine, process: Running, held_before: int) -> None:
    """The end of an operation: nothing is held that was not held before, nothing was used that had changed."""
    if len(process.held) > held_before:
        names = ", ".join(lock.label for lock, _ in process.held[held_before:])
        classes = ", ".join(lock.name for lock, _ in process.held[held_before:])
        engine.stop_with(
            Finding(
                "held-at-exit", f"{process.where()}: {process.text()} ends with {names} held", process.name, classes
            )
        )
    if process.stale is not None:
        pfn = process.stale << engine.kernel.pageblock_order
        engine.stop_with(
            Finding(
                "stale-owner",
                f"{process.where()}: {process.text()} read the owner of block {pfn} without a lock, it changed, and "
                "the page went where it says all the same",
                process.name,
            )
        )


def _await_pages(engine: Engine, process: Running, op: Op) -> None:
    """Wait for pages that another process is still to allocate."""
    for name in freed(op):
        if name in engine.page_objects:
            oid = engine.page_objects[name]
            engine.users[oid] |= process.bit
            engine.point(process, AWAIT, oid)


def _publish(engine: Engine, process: Running, name: str, pfn: int | None, order: int) -> None:
    oid = engine.page_objects.get(name)
    if oid is not None:
        engine.users[oid] |= process.bit
        engine.writers[oid] |= process.bit
        engine.point(process, PUBLISH, oid)
    engine.pages[name] = pfn, order


def _perform(engine: Engine, process: Running, op: Op) -> None:
    k = engine.kernel
    match op:
        case Alloc(page, order, gfp, nolock):
            if nolock:
                pfn = _nolock(engine, "alloc_pages_nolock")(k, 0, k.config.cpu_node[process.cpu], order)
            else:
                pfn = alloc.alloc_pages(k, gfp, order)
            _publish(engine, process, page, pfn, order)
        case Free(page, nolock):
            pfn, order = engine.pages[page]
            if pfn is not None:
                (_nolock(engine, "free_pages_nolock") if nolock else free._free_pages)(k, pfn, order)
        case AllocBulk(pages, gfp):
            slots: list[int | None] = [None] * len(pages)
            alloc.alloc_pages_bulk(k, gfp, k.config.cpu_node[process.cpu], slots)
            for name, pfn in zip(pages, slots, strict=True):
                _publish(engine, process, name, pfn, 0)
        case FreeBulk(pages):
            blocks = [engine.pages[name] for name in pages]
            free.folios_put(k, [(pfn, order) for pfn, order in blocks if pfn is not None])
        case Drain(None):
            engine.pcpu_drain_mutex.lock()
            k.calls.drain_all_pages(k, None)
            engine.pcpu_drain_mutex.unlock()
        case Drain(int(cpu)):
            drain.drain_pages(k, cpu)
        case Decay():
            refresh_cpu_vm_stats(k, True)
        case Offline(cpu) | Online(cpu):
            _hotplug(engine, process, op, cpu)
        case Isolate(pfn, undo):
            zone = page_zone(k, pfn)
            if undo:
                k.calls.unset_migratetype_isolate(k, zone, pfn, MIGRATE_MOVABLE)
            else:
                k.calls.set_migratetype_isolate(k, zone, pfn)


def _nolock(engine: Engine, name: str) -> Callable[..., Any]:
    """An entry that only some variants have; the engine has seen to it that this one does."""
    entry: Callable[..., Any] = getattr(engine.kernel.calls, name)
    return entry


def _hotplug(engine: Engine, process: Running, op: Op, cpu: int) -> None:
    """Take a CPU offline, or back; nothing happens if it is already, or if it is the one that runs this."""
    engine.cpu_hotplug_lock.lock()
    online = list.__getitem__(engine.machine.online, cpu)
    if isinstance(op, Offline):
        if online and cpu != process.cpu:
            engine.users[engine.cpu_objects[cpu]] |= engine.all_processes
            engine.point(process, CPU_DEAD, engine.cpu_objects[cpu])
            engine.evacuate(cpu, process.cpu)
            engine.kernel.calls.page_alloc_cpu_dead(engine.kernel, cpu)
    elif not online:
        page_alloc_cpu_online(engine.kernel, cpu)
        engine.gone.discard(cpu)
    engine.cpu_hotplug_lock.unlock()


def set_up(engine: Engine, op: Op) -> None:
    """Perform an operation of the set-up: sequentially, through the facade, which checks it."""
    system, pages = engine.system, engine.pages
    match op:
        case Alloc(page, order, gfp, nolock):
            pages[page] = (system.alloc_pages_nolock(order) if nolock else system.alloc_pages(gfp, order)), order
        case Free(page, nolock):
            pfn, order = pages.pop(page)
            if pfn is not None:
                (system.free_pages_nolock if nolock else system.free_pages)(pfn, order)
        case AllocBulk(names, gfp):
            slots: list[int | None] = [None] * len(names)
            system.fill_pages_bulk(gfp, slots)
            pages.update((name, (pfn, 0)) for name, pfn in zip(names, slots, strict=True))
        case FreeBulk(names):
            blocks = [pages.pop(name) for name in names]
            system.free_folios([(pfn, order) for pfn, order in blocks if pfn is not None])
        case Drain(None):
            system.drain_all_pages()
        case Drain(int(cpu)):
            drain.drain_pages(system.kernel, cpu)
        case Decay():
            system.refresh_vm_stats(pagesets=True)
        case Offline(cpu):
            system.offline_cpu(cpu)
        case Online(cpu):
            system.online_cpu(cpu)
        case Isolate(pfn, undo):
            (system.unisolate_pageblock if undo else system.isolate_pageblock)(pfn)
