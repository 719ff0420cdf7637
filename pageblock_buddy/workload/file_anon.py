# SPDX-License-Identifier: GPL-2.0-only
"""file-anon: anonymous memory, page cache, inodes and kernel pages at once: several migratetypes and orders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Final

from pageblock_buddy import gfp as g
from pageblock_buddy.workload.live import LiveSet
from pageblock_buddy.workload.operations import Alloc, FreeFolios, FreePages, Operation, StartMeasuring
from pageblock_buddy.workload.parameters import Parameters
from pageblock_buddy.workload.workload import MachineFacts, Workload


@dataclass(frozen=True, kw_only=True)
class FileAnonParameters(Parameters):
    """Each turn of a CPU allocates ``extent`` pages of one use; ``anon``, ``file``, ``slab`` and ``kernel`` are how
    often each use comes up, relative to each other.  ``live_*`` is how much of each stays, as a share of memory.
    Page cache comes in folios of order ``file_order``.  ``warm_up`` and ``measured`` are pages to allocate, in
    multiples of memory.
    """

    cpus: int = 8
    memory: int = 4096
    extent: int = 64
    anon: float = 0.45
    file: float = 0.35
    slab: float = 0.1
    kernel: float = 0.1
    live_anon: float = 0.2
    live_file: float = 0.4
    live_slab: float = 0.05
    live_kernel: float = 0.03
    file_order: int = 2
    warm_up: float = 1.0
    measured: float = 0.5

    limits: ClassVar = {
        "extent": (1, 1 << 18),
        **dict.fromkeys(("anon", "file", "slab", "kernel"), (0.0001, 1e6)),
        **dict.fromkeys(("live_anon", "live_file", "live_slab", "live_kernel"), (0, 0.9)),
        "file_order": (0, 9),
        "warm_up": (0, 1000),
        "measured": (0.01, 1000),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """What memory is used for.  ``oldest``: reclaim takes the oldest first, on one CPU; else random extents go, freed
    by the CPU that has them.  ``folios``: freed in batches; else one by one.
    """

    gfp: int
    order: int
    weight: float
    live: float
    oldest: bool
    folios: bool


def _uses(p: FileAnonParameters) -> list[_Use]:
    movable = g.GFP_HIGHUSER_MOVABLE
    file_gfp = movable | g.GFP_COMP if p.file_order else movable
    reclaimable = g.GFP_KERNEL | g.GFP_RECLAIMABLE
    return [
        _Use(gfp=movable, order=0, weight=p.anon, live=p.live_anon, oldest=False, folios=True),
        _Use(gfp=file_gfp, order=p.file_order, weight=p.file, live=p.live_file, oldest=True, folios=True),
        _Use(gfp=reclaimable, order=1, weight=p.slab, live=p.live_slab, oldest=False, folios=False),
        _Use(gfp=g.GFP_KERNEL, order=0, weight=p.kernel, live=p.live_kernel, oldest=False, folios=False),
    ]


def operations(machine: MachineFacts, p: FileAnonParameters, rng: Random) -> Iterator[Operation]:
    """Turn by turn one use of memory; what is too much of it goes at once."""
    cpus = range(machine.cpus)
    uses = _uses(p)
    lives = [LiveSet(cpus, rng, random_victims=not use.oldest) for use in uses]
    weights = [use.weight for use in uses]
    asked = 0
    warm_pages = round(p.warm_up * machine.pages)
    total = warm_pages + round(p.measured * machine.pages)
    measuring = False
    while asked < total:
        for cpu in cpus:
            if asked >= warm_pages and not measuring:
                measuring = True
                yield StartMeasuring()
            (which,) = rng.choices(range(len(uses)), weights)
            use, live = uses[which], lives[which]
            blocks: list[int] = []
            yield Alloc(cpu, use.gfp, use.order, max(p.extent >> use.order, 1), blocks)
            live.add(cpu, blocks)
            asked += p.extent
            while live.pages << use.order > use.live * machine.pages:
                yield _free(use, live, cpu, cpus[-1])


def _free(use: _Use, live: LiveSet, cpu: int, reclaiming_cpu: int) -> Operation:
    if use.oldest:
        return FreeFolios(reclaiming_cpu, use.order, live.take())
    blocks = live.take_of(cpu) or live.take()
    return FreeFolios(cpu, use.order, blocks) if use.folios else FreePages(cpu, use.order, blocks)


FILE_ANON: Final = Workload(
    name="file-anon",
    summary="anonymous memory, page cache, inodes and kernel pages at once (several migratetypes)",
    parameters=FileAnonParameters,
    operations=operations,
    total_pages=lambda machine, p: round((p.warm_up + p.measured) * machine.pages),
)
