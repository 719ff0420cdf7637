# SPDX-License-Identifier: GPL-2.0-only
"""The load that most workloads are made of: a live set whose pages are replaced steadily.

CPU by CPU in a fixed order, each faults in an extent.  Once the live set has its size, for every page that comes
another one goes: a share is freed by the CPU that faulted it, the others by purging CPUs in bursts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from random import Random

from pageblock_buddy.gfp import GFP_HIGHUSER_MOVABLE
from pageblock_buddy.workload.live import LiveSet
from pageblock_buddy.workload.operations import Alloc, FreeFolios, Operation, StartMeasuring, VmstatUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class Churn:
    """``pages`` live, ``extent`` pages at a time; ``local`` of the frees are by the CPU that faulted the page.

    ``bursts`` are the pages that a purging CPU frees in one turn, one size after the other; the pages of one burst come
    from ``spread`` CPUs (0: from all).  ``warm_up`` and ``measured`` are turnovers: times ``pages`` allocated.  Each
    CPU runs its vmstat worker ``vmstat`` times a turnover.
    """

    pages: int
    extent: int
    faulting: Sequence[int]
    purging: Sequence[int]
    local: float
    bursts: Sequence[int]
    spread: int
    random_victims: bool
    warm_up: float
    measured: float
    vmstat: float

    @property
    def warm_pages(self) -> int:
        """Pages to allocate before measuring: the live set, and the turnovers after it."""
        return self.pages + round(self.warm_up * self.pages)

    @property
    def total_pages(self) -> int:
        """Pages to allocate in all."""
        return self.warm_pages + round(self.measured * self.pages)


def churn(load: Churn, rng: Random) -> Iterator[Operation]:
    """The operations of a Churn."""
    live = LiveSet(load.faulting, rng, random_victims=load.random_victims)
    cpus = sorted({*load.faulting, *load.purging})
    vmstat_interval = round(load.pages / (load.vmstat * len(cpus))) if load.vmstat else 0
    workers = cycle(cpus)
    purgers = cycle(load.purging)
    bursts = cycle(load.bursts)
    origins = cycle(_groups(load.faulting, load.spread or len(load.faulting)))
    burst = next(bursts)
    local_due = dict.fromkeys(load.faulting, 0.0)
    purge_due = 0.0
    asked = 0
    next_vmstat = vmstat_interval
    measuring = False
    while asked < load.total_pages:
        for cpu in load.faulting:
            if asked >= load.warm_pages and not measuring:
                measuring = True
                yield StartMeasuring()
            extent: list[int] = []
            yield Alloc(cpu, GFP_HIGHUSER_MOVABLE, 0, load.extent, extent)
            live.add(cpu, extent)
            asked += load.extent
            while vmstat_interval and asked >= next_vmstat:
                next_vmstat += vmstat_interval
                yield VmstatUpdate(next(workers))
            if asked <= load.pages:
                continue
            local_due[cpu] += load.local * load.extent
            purge_due += (1 - load.local) * load.extent
            while local_due[cpu] >= load.extent:
                local_due[cpu] -= load.extent
                yield FreeFolios(cpu, 0, live.take_of(cpu))
            while purge_due >= burst:
                purge_due -= burst
                yield from _purge(live, next(purgers), burst, next(origins))
                burst = next(bursts)


def _groups(cpus: Sequence[int], size: int) -> list[Sequence[int]]:
    """The CPUs in groups of ``size``, the last one filled up with some of the one before it."""
    return [cpus[min(start, len(cpus) - size) :][:size] for start in range(0, len(cpus), size)]


def _purge(live: LiveSet, cpu: int, pages: int, origin: Sequence[int]) -> Iterator[Operation]:
    """One burst: extent after extent (a madvise() each), until enough pages are gone."""
    while pages > 0:
        extent = live.take(origin)
        if not extent:
            return
        pages -= len(extent)
        yield FreeFolios(cpu, 0, extent)
