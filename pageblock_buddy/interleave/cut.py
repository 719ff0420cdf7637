# SPDX-License-Identifier: GPL-2.0-only
"""Programs cut out of recordings and workloads: some operations in a row, each on its own CPU.

The operations of the window become the tasks; pages that it frees and that were allocated before it are allocated in
the set-up, by the CPU that allocated them.  The machine is a small one (32 MiB, the kernel's own formulas), not the one
that was recorded: a program is about schedules, and those of a whole machine's state are too many.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Final, NamedTuple

from pageblock_buddy import gfp as g
from pageblock_buddy.config import Config, ZoneConfig
from pageblock_buddy.errors import InputError
from pageblock_buddy.interleave.program import MAX_OPS, Alloc, Drain, Free, FreeBulk, Op, Program, SetUp
from pageblock_buddy.recording.reader import RecordingReader
from pageblock_buddy.system import System
from pageblock_buddy.workload import get_workload, operations
from pageblock_buddy.workload.workload import MachineFacts

#: Pages of the machine of a cut program.
PAGES: Final = 8192


class Did(NamedTuple):
    """One operation of the source: who, what, and the blocks that it allocates or frees, as (name, order)."""

    cpu: int
    kind: str
    blocks: tuple[tuple[str, int], ...]
    gfp: int = 0


def cut_recording(path: str, start: int, count: int) -> Program:
    """Operations ``start``.. of a scripted recording.  Errors: InputError."""
    return _program(f"cut-{start}", _of_recording(path), start, count)


def cut_workload(name: str, settings: dict[str, str], start: int, count: int, *, variant: str = "rfc") -> Program:
    """Operations ``start``.. of a workload, which is run on ``variant`` up to there.  Errors: InputError."""
    return _program(f"cut-{name}-{start}", _of_workload(name, settings, variant), start, count)


# --- sources -----------------------------------------------------------------------------------


def _of_recording(path: str) -> Iterator[Did]:
    orders: dict[int, int] = {}
    index = 0
    with RecordingReader(path) as reader:
        if not reader.meta.scripted:
            raise InputError(f"{path}: a natural run; only scripted ones can be cut")
        for _, record in reader:
            if type(record) is not list:
                index += 1  # a snapshot is an operation, too
                continue
            match record:
                case ["A", int(cpu), int(order), int(gfp), int()]:
                    orders[index] = order
                    yield Did(cpu, "alloc", ((f"p{index}", order),), gfp)
                case ["F", int(cpu), int(), int(ref), int()]:
                    yield Did(cpu, "free", ((f"p{ref}", orders.get(ref, 0)),))
                case ["B", int(cpu), int(number), int(gfp), _]:
                    for page in range(number):
                        orders[index + 1 + page] = 0
                        yield Did(cpu, "alloc", ((f"p{index + 1 + page}", 0),), gfp)
                    index += number
                case ["D", int(cpu)]:
                    yield Did(cpu, "drain", ())
                case _:
                    continue
            index += 1


def _of_workload(name: str, settings: dict[str, str], variant: str) -> Iterator[Did]:
    workload = get_workload(name)
    parameters = workload.parameters.from_text(settings)
    system = System.boot(parameters.config(), variant=variant)
    k = system.kernel
    names: dict[int, str] = {}
    made = 0
    for operation in workload.operations(MachineFacts.of(k), parameters, Random(parameters.seed)):
        if isinstance(operation, operations.Alloc | operations.AllocAll):
            before = len(operation.into)
            operations.perform(k, operation)
            for pfn in operation.into[before:]:
                names[pfn] = f"p{made}"
                made += 1
                yield Did(operation.cpu, "alloc", ((names[pfn], operation.order),), operation.gfp)
            continue
        if isinstance(operation, operations.FreePages | operations.FreeFolios):
            blocks = [(names.pop(pfn, ""), operation.order) for pfn in operation.blocks]
            operations.perform(k, operation)
            size = operations.FOLIO_BATCH if isinstance(operation, operations.FreeFolios) else 1
            for first in range(0, len(blocks), size):
                yield Did(operation.cpu, "free", tuple(blocks[first : first + size]))
            continue
        if isinstance(operation, operations.SplitPages):
            for pfn in operation.blocks:
                names.pop(pfn, None)
        elif isinstance(operation, operations.DrainAll):
            yield Did(operation.cpu, "drain-all", ())
        operations.perform(k, operation)


# --- the program -------------------------------------------------------------------------------


def _program(name: str, source: Iterator[Did], start: int, count: int) -> Program:
    if start < 0 or not 1 <= count <= MAX_OPS:
        raise InputError(f"cut: operations {start} and {count} more; at most {MAX_OPS} can be cut")
    alive: dict[str, tuple[int, int, int]] = {}
    window: list[Did] = []
    for number, did in enumerate(source):
        if number >= start + count:
            break
        if number >= start:
            window.append(did)
        elif did.kind == "alloc":
            page, order = did.blocks[0]
            alive[page] = did.cpu, order, did.gfp
        else:
            for page, _ in did.blocks:
                alive.pop(page, None)
    if not window:
        raise InputError(f"cut: there is no operation {start}")
    nr_cpus = 1 + max(
        cpu for cpu in [did.cpu for did in window] + [cpu for cpu, _, _ in _needed(window, alive).values()]
    )
    tasks: list[list[Op]] = [[] for _ in range(nr_cpus)]
    made: set[str] = set()
    for did in window:
        tasks[did.cpu] += _ops(did, alive, made)
    setup = tuple(SetUp(cpu, Alloc(page, order, gfp)) for page, (cpu, order, gfp) in _needed(window, alive).items())
    zone = ZoneConfig(zone=g.ZONE_DMA32, start_pfn=0, spanned_pages=PAGES)
    return Program(
        name=name,
        config=Config(zones=(zone,), nr_cpus=nr_cpus),
        tasks=tuple(tuple(ops) for ops in tasks),
        setup=setup,
        summary=f"{len(window)} operations from number {start} on",
    )


def _needed(window: list[Did], alive: dict[str, tuple[int, int, int]]) -> dict[str, tuple[int, int, int]]:
    """The pages that the window frees and that were there before it, in the order of their allocation."""
    freed = {page for did in window if did.kind == "free" for page, _ in did.blocks}
    return {page: how for page, how in alive.items() if page in freed}


def _ops(did: Did, alive: dict[str, Any], made: set[str]) -> list[Op]:
    """An operation in a program's words; frees of what was split or failed are left out."""
    if did.kind == "alloc":
        page, order = did.blocks[0]
        made.add(page)
        return [Alloc(page, order, did.gfp)]
    if did.kind == "drain":
        return [Drain(did.cpu)]
    if did.kind == "drain-all":
        return [Drain(None)]
    pages = tuple(page for page, _ in did.blocks if page in alive or page in made)
    if len(pages) > 1:
        return [FreeBulk(pages)]
    return [Free(page) for page in pages]
