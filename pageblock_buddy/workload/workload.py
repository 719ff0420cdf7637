# SPDX-License-Identifier: GPL-2.0-only
"""What a workload is: parameters, and operations for simulated CPUs in a fixed round-robin order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.workload.operations import Operation
from pageblock_buddy.workload.parameters import Parameters


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What a program may know of the machine that it runs on.

    ``high_max`` and ``batch`` are those of the largest zone, in pages; ``block_pages`` is a pageblock.
    """

    cpus: int
    pages: int
    high_max: int
    batch: int
    block_pages: int

    @classmethod
    def of(cls, k: Kernel) -> MachineFacts:
        """The facts about a booted machine."""
        zone = max(k.zones, key=lambda z: z.managed_pages)
        return cls(
            cpus=k.machine.nr_cpus,
            pages=sum(z.managed_pages for z in k.zones),
            high_max=zone.pageset_high_max,
            batch=zone.pageset_batch,
            block_pages=k.block_pages,
        )


@dataclass(frozen=True, slots=True)
class Workload:
    """A named load.

    ``operations(machine, parameters, rng)`` yields what the CPUs do, turn by turn, and StartMeasuring once, when the
    warm-up is over.  ``total_pages(machine, parameters)`` is about how many pages it allocates in all, for a progress
    bar.  The same parameters give the same operations on every machine; only what the allocator answers differs.
    """

    name: str
    summary: str
    parameters: type[Parameters]
    operations: Callable[[MachineFacts, Any, Random], Iterator[Operation]]
    total_pages: Callable[[MachineFacts, Any], int]
