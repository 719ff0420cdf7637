# SPDX-License-Identifier: GPL-2.0-only
"""What a workload lets a simulated CPU do in one turn, and how that is performed.

PFNs never go through the workload's hands before they exist: an Alloc names the list that its blocks are appended to.
All operations run in task context.  They call the mirrored functions that the System facade would call, without its
checks, since a run performs millions of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from pageblock_buddy.linux_6_12 import alloc, free
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.vmstat import refresh_cpu_vm_stats

#: PAGEVEC_SIZE: folios that munmap(), MADV_DONTNEED, truncate and reclaim hand to free_unref_folios() at once
FOLIO_BATCH: Final = 31


class Alloc(NamedTuple):
    """``times`` calls of alloc_pages(); the first PFN of each block is appended to ``into``."""

    cpu: int
    gfp: int
    order: int
    times: int
    into: list[int]


class AllocAll(NamedTuple):
    """alloc_pages() until it fails, for a set-up that wants all memory; that failure is not counted."""

    cpu: int
    gfp: int
    order: int
    into: list[int]


class SplitPages(NamedTuple):
    """split_page(): each block becomes allocations of single pages."""

    cpu: int
    order: int
    blocks: Sequence[int]


class FreeFolios(NamedTuple):
    """Free blocks in folio batches, as munmap() does."""

    cpu: int
    order: int
    blocks: Sequence[int]


class FreePages(NamedTuple):
    """Free blocks one by one with __free_pages(), as the kernel does with its own."""

    cpu: int
    order: int
    blocks: Sequence[int]


class VmstatUpdate(NamedTuple):
    """The vmstat worker, which the kernel runs once a second on each CPU: counters fold, per-CPU lists decay."""

    cpu: int


class DrainAll(NamedTuple):
    """drain_all_pages() on a CPU."""

    cpu: int


class StartMeasuring(NamedTuple):
    """The warm-up is over: what follows is counted."""


Operation = Alloc | AllocAll | SplitPages | FreeFolios | FreePages | VmstatUpdate | DrainAll | StartMeasuring


def perform(k: Kernel, operation: Operation) -> int:
    """Perform one operation.  Returns the allocations that failed."""
    if isinstance(operation, StartMeasuring):
        return 0
    k.machine.cpu = operation.cpu
    if isinstance(operation, Alloc):
        return _alloc(k, operation)
    if isinstance(operation, FreeFolios):
        order, blocks = operation.order, operation.blocks
        for start in range(0, len(blocks), FOLIO_BATCH):
            k.calls.free_unref_folios(k, [(pfn, order) for pfn in blocks[start : start + FOLIO_BATCH]])
    elif isinstance(operation, FreePages):
        for pfn in operation.blocks:
            free._free_pages(k, pfn, operation.order)
    elif isinstance(operation, VmstatUpdate):
        refresh_cpu_vm_stats(k, True)
    elif isinstance(operation, AllocAll):
        while (block := alloc.alloc_pages(k, operation.gfp, operation.order)) is not None:
            operation.into.append(block)
    elif isinstance(operation, SplitPages):
        for pfn in operation.blocks:
            free.split_page(k, pfn, operation.order)
    else:
        k.calls.drain_all_pages(k, None)
    return 0


def _alloc(k: Kernel, operation: Alloc) -> int:
    _, gfp, order, times, into = operation
    failed = 0
    for _ in range(times):
        pfn = alloc.alloc_pages(k, gfp, order)
        if pfn is None:
            failed += 1
        else:
            into.append(pfn)
    return failed
