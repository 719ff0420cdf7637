# SPDX-License-Identifier: GPL-2.0-only
"""Depth-first search, with and without a bound on preemptions; and one schedule of turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pageblock_buddy.interleave.strategies.unit import WHOLE, Unit

if TYPE_CHECKING:
    from pageblock_buddy.interleave.engine import Engine

_UNBOUNDED = 1 << 30


class DepthFirst:
    """Every schedule with at most ``bound`` preemptions: switches away from a process that could have gone on.

    An interrupt counts as a preemption, going back behind it does not.
    """

    exhaustive = True

    def __init__(self, engine: Engine, bound: int = _UNBOUNDED, unit: Unit = WHOLE) -> None:
        self.bound = bound
        self._unit = unit
        #: whether some schedule was left out for the bound
        self.cut = False
        self.redundant = 0
        self.prefix: list[int] = []
        self._chosen = self.prefix
        self._left: list[int] = []
        #: preemptions up to and with each choice
        self._used: list[int] = []
        #: who is preempted by another choice, or -1
        self._current: list[int] = []

    def choose(self, engine: Engine, enabled: int) -> int:
        """The same process as long as it goes."""
        depth = len(self._chosen)
        if depth < len(self._unit.choices):
            self._append(self._unit.choices[depth], 0, 0, -1)
            return self._unit.choices[depth]
        current = engine.current
        used = self._used[-1] if self._used else 0
        if enabled >> current & 1:
            chosen = current
            left = enabled & ~(1 << current)
            if used >= self.bound and left:
                self.cut = True
                left = 0
        else:
            chosen = (enabled & -enabled).bit_length() - 1
            left = enabled & ~(1 << chosen)
            # Nobody is preempted: the alternatives cost nothing.
            current = -1
        self._append(chosen, left, used, current)
        return chosen

    def _append(self, chosen: int, left: int, used: int, current: int) -> None:
        self._chosen.append(chosen)
        self._left.append(left)
        self._used.append(used)
        self._current.append(current)

    def next(self, engine: Engine) -> bool:
        """After a run: whether there is another one to do."""
        while self._chosen:
            left = self._left[-1]
            if left:
                chosen = (left & -left).bit_length() - 1
                self._left[-1] ^= 1 << chosen
                self._chosen[-1] = chosen
                if self._current[-1] >= 0:
                    before = self._used[-2] if len(self._used) > 1 else 0
                    self._used[-1] = before + 1
                return True
            for column in (self._chosen, self._left, self._used, self._current):
                column.pop()
        return False


class RoundRobin:
    """One schedule: a step each, in turn.  Handlers come as soon as they may."""

    exhaustive = False
    redundant = 0

    def __init__(self, engine: Engine) -> None:
        self._count = len(engine.processes)
        self.prefix: list[int] = []

    def choose(self, engine: Engine, enabled: int) -> int:
        """The next one in turn that can go."""
        for distance in range(1, self._count + 1):
            process = (engine.current + distance) % self._count
            if enabled >> process & 1:
                return process
        raise AssertionError("nobody is enabled")

    def next(self, engine: Engine) -> bool:
        """There is no other."""
        return False
