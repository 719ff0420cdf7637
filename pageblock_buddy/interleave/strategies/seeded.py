# SPDX-License-Identifier: GPL-2.0-only
"""Schedules drawn from a seed: random walk, PCT, POS.

Each schedule has a generator of its own, made from the seed and the schedule's number, so schedule n is the same
whoever runs it, and after whatever.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pageblock_buddy.interleave.engine import Engine


class Seeded:
    """What the three have in common: ``first`` is the number of the first schedule."""

    exhaustive = False
    redundant = 0

    def __init__(self, engine: Engine, seed: int, first: int = 0) -> None:
        self.prefix: list[int] = []
        self.seed = seed
        self.number = first
        self.random = Random()
        self._begin(engine)

    def _begin(self, engine: Engine) -> None:
        # A string: seeding with one goes through SHA-512, the same on every version and machine.
        self.random.seed(f"{self.seed}/{self.number}")

    def next(self, engine: Engine) -> bool:
        """There is always another schedule."""
        self.number += 1
        self._begin(engine)
        return True


class RandomWalk(Seeded):
    """At every point each process that can go is as likely as any other."""

    def choose(self, engine: Engine, enabled: int) -> int:
        """One of them."""
        able = [process.index for process in engine.processes if enabled & process.bit]
        return able[self.random.randrange(len(able))]


class Pct(Seeded):
    """Probabilistic concurrency testing: random priorities, lowered at ``depth`` - 1 random steps.

    A bug that needs d ordering constraints is found with probability 1/(n k^(d-1)) at least, for n processes and k
    steps. Burckhardt and others, A randomized scheduler with probabilistic guarantees of finding bugs, ASPLOS 2010.
    """

    def __init__(self, engine: Engine, seed: int, first: int = 0, depth: int = 3) -> None:
        self.depth = depth
        self._steps = 64
        super().__init__(engine, seed, first)

    def _begin(self, engine: Engine) -> None:
        super()._begin(engine)
        # A fixed guess of the length: one that follows earlier runs would make schedule n depend on them.
        self._priorities = [self.random.random() + self.depth for _ in engine.processes]
        self._changes = [self.random.randrange(self._steps) for _ in range(self.depth - 1)]

    def choose(self, engine: Engine, enabled: int) -> int:
        """The one of highest priority, after the change that is due at this step."""
        step = len(engine.ev_process)
        for number, change in enumerate(self._changes):
            if change == step:
                self._priorities[engine.current] = float(-number)
        return max(
            (process.index for process in engine.processes if enabled & process.bit),
            key=lambda index: (self._priorities[index], -index),
        )


class Pos(Seeded):
    """Partial order sampling: a random priority for each step; one that races with the step just taken draws a new one.

    Yuan, Yang, Gu, Partial order aware concurrency sampling, CAV 2018.
    """

    def _begin(self, engine: Engine) -> None:
        super()._begin(engine)
        self._priorities = [self.random.random() for _ in engine.processes]

    def choose(self, engine: Engine, enabled: int) -> int:
        """The step of highest priority."""
        chosen = max(
            (process.index for process in engine.processes if enabled & process.bit),
            key=lambda index: (self._priorities[index], -index),
        )
        oid = engine.processes[chosen].oid
        for process in engine.processes:
            if process.index == chosen or (process.oid == oid and oid >= 0):
                self._priorities[process.index] = self.random.random()
        return chosen
