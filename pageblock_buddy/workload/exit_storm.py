# SPDX-License-Identifier: GPL-2.0-only
"""exit-storm: every CPU tears down a large address space at the same time.  The RFC's second problem."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Final

from pageblock_buddy.gfp import GFP_HIGHUSER_MOVABLE
from pageblock_buddy.workload.operations import Alloc, FreeFolios, Operation, StartMeasuring
from pageblock_buddy.workload.parameters import Parameters
from pageblock_buddy.workload.workload import MachineFacts, Workload


@dataclass(frozen=True, kw_only=True)
class ExitStormParameters(Parameters):
    """``space`` is the size of an address space in multiples of high_max; ``extent`` pages are faulted in, and
    ``gather`` pages are freed, in one turn of a CPU.  A share ``migrated`` of the processes exits on another CPU than
    it ran on.  ``warm_up`` and ``measured`` count storms.
    """

    cpus: int = 16
    memory: int = 8192
    space: float = 4.0
    extent: int = 64
    gather: int = 510
    migrated: float = 0.25
    warm_up: int = 2
    measured: int = 2

    limits: ClassVar = {
        "space": (0.001, 1024),
        "extent": (1, 1 << 18),
        "gather": (1, 1 << 18),
        "migrated": (0, 1),
        "warm_up": (0, 1000),
        "measured": (1, 1000),
    }


def operations(machine: MachineFacts, p: ExitStormParameters, rng: Random) -> Iterator[Operation]:
    """Storm after storm: all processes start and fault their pages in, then all exit."""
    for storm in range(p.warm_up + p.measured):
        if storm == p.warm_up:
            yield StartMeasuring()
        spaces: list[list[int]] = [[] for _ in range(machine.cpus)]
        for _ in range(0, round(p.space * machine.high_max), p.extent):
            for cpu in range(machine.cpus):
                yield Alloc(cpu, GFP_HIGHUSER_MOVABLE, 0, p.extent, spaces[cpu])
        exits = _exit_cpus(machine.cpus, p.migrated, rng)
        for start in range(0, max(map(len, spaces)), p.gather):
            for space, cpu in zip(spaces, exits, strict=True):
                yield FreeFolios(cpu, 0, space[start : start + p.gather])


def _exit_cpus(cpus: int, migrated: float, rng: Random) -> list[int]:
    """Where the process of each CPU exits: those that migrate exchange their CPUs in a ring."""
    exits = list(range(cpus))
    moving = rng.sample(exits, round(migrated * cpus))
    for process, cpu in zip(moving, [*moving[1:], *moving[:1]], strict=True):
        exits[process] = cpu
    return exits


EXIT_STORM: Final = Workload(
    name="exit-storm",
    summary="every CPU tears down a large address space at the same time",
    parameters=ExitStormParameters,
    operations=operations,
    total_pages=lambda machine, p: (p.warm_up + p.measured) * machine.cpus * round(p.space * machine.high_max),
)
