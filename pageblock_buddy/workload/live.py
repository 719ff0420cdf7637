# SPDX-License-Identifier: GPL-2.0-only
"""The pages that a workload holds, and which of them go next."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random


class LiveSet:
    """Extents (runs of pages that one CPU faulted in together) by the CPU that faulted them.

    ``pages`` counts base pages.  With ``random`` victims any extent may go next, with the same chance; else the CPUs
    take turns and each gives its oldest.
    """

    def __init__(self, cpus: Sequence[int], rng: Random, *, random_victims: bool) -> None:
        self.extents: dict[int, list[list[int]]] = {cpu: [] for cpu in cpus}
        self.pages = 0
        self._cpus = list(cpus)
        self._rng = rng
        self._random = random_victims
        self._turn = 0

    def add(self, cpu: int, extent: list[int]) -> None:
        """An extent that a CPU faulted in; an empty one (every page failed) is not kept."""
        if extent:
            self.extents[cpu].append(extent)
            self.pages += len(extent)

    def take_of(self, cpu: int) -> list[int]:
        """An extent of one CPU; empty if it has none."""
        extents = self.extents[cpu]
        if not extents:
            return []
        if self._random:
            # The last one takes the place of the one that goes: O(1), and any place is as good as another.
            at = self._rng.randrange(len(extents))
            extents[at], extents[-1] = extents[-1], extents[at]
            extent = extents.pop()
        else:
            extent = extents.pop(0)
        self.pages -= len(extent)
        return extent

    def take(self, cpus: Sequence[int] | None = None) -> list[int]:
        """An extent of any of ``cpus`` (None: of all); empty if they have none."""
        cpus = self._cpus if cpus is None else cpus
        if not self._random:
            for _ in cpus:
                self._turn += 1
                cpu = cpus[self._turn % len(cpus)]
                if self.extents[cpu]:
                    return self.take_of(cpu)
            return []
        place = int(self._rng.random() * sum(len(self.extents[cpu]) for cpu in cpus))
        for cpu in cpus:
            place -= len(self.extents[cpu])
            if place < 0:
                return self.take_of(cpu)
        return []
