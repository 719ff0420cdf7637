# SPDX-License-Identifier: GPL-2.0-only
"""mixed-lifetime: long-lived pages scattered among short-lived ones, so that pageblocks come back in part only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Final

from pageblock_buddy.gfp import GFP_HIGHUSER_MOVABLE
from pageblock_buddy.workload.live import LiveSet
from pageblock_buddy.workload.operations import Alloc, FreeFolios, Operation, StartMeasuring
from pageblock_buddy.workload.parameters import Parameters
from pageblock_buddy.workload.workload import MachineFacts, Workload


@dataclass(frozen=True, kw_only=True)
class MixedLifetimeParameters(Parameters):
    """In each wave every CPU faults in ``wave`` times high_max pages, ``extent`` at a turn, and then frees all but a
    share ``long`` of them, picked at random page by page.  A share ``remote`` of the extents is freed by the next CPU.
    Of the long-lived pages ``kept`` (a share of memory) stay, random ones go.  ``warm_up`` and ``measured`` count
    waves.
    """

    cpus: int = 8
    memory: int = 4096
    wave: float = 2.0
    extent: int = 64
    long: float = 0.0625
    remote: float = 0.25
    kept: float = 0.03125
    warm_up: int = 3
    measured: int = 2

    limits: ClassVar = {
        "wave": (0.001, 1024),
        "extent": (1, 1 << 18),
        "long": (0, 1),
        "remote": (0, 1),
        "kept": (0, 0.9),
        "warm_up": (0, 1000),
        "measured": (1, 1000),
    }


def operations(machine: MachineFacts, p: MixedLifetimeParameters, rng: Random) -> Iterator[Operation]:
    """Wave after wave: all fault in, all free, some long-lived pages go."""
    kept = LiveSet(range(machine.cpus), rng, random_victims=True)
    for wave in range(p.warm_up + p.measured):
        if wave == p.warm_up:
            yield StartMeasuring()
        short: list[list[list[int]]] = [[] for _ in range(machine.cpus)]
        for _ in range(0, round(p.wave * machine.high_max), p.extent):
            for cpu in range(machine.cpus):
                extent: list[int] = []
                yield Alloc(cpu, GFP_HIGHUSER_MOVABLE, 0, p.extent, extent)
                long_lived = [rng.random() < p.long for _ in extent]
                short[cpu].append([pfn for pfn, stays in zip(extent, long_lived, strict=True) if not stays])
                for pfn in (pfn for pfn, stays in zip(extent, long_lived, strict=True) if stays):
                    kept.add(cpu, [pfn])
        for turn in zip(*short, strict=True):
            for cpu, extent in enumerate(turn):
                freeing = (cpu + 1) % machine.cpus if rng.random() < p.remote else cpu
                yield FreeFolios(freeing, 0, extent)
        for cpu in range(machine.cpus):
            going: list[int] = []
            while len(kept.extents[cpu]) > p.kept * machine.pages / machine.cpus:
                going += kept.take_of(cpu)
            yield FreeFolios(cpu, 0, going)


MIXED_LIFETIME: Final = Workload(
    name="mixed-lifetime",
    summary="long-lived pages scattered among short-lived ones (partial blocks, phase 0)",
    parameters=MixedLifetimeParameters,
    operations=operations,
    total_pages=lambda machine, p: (p.warm_up + p.measured) * machine.cpus * round(p.wave * machine.high_max),
)
