# SPDX-License-Identifier: GPL-2.0-only
"""Following what is given: the choices of an earlier run, or a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pageblock_buddy.errors import ReplayDivergence
from pageblock_buddy.interleave.schedule import Schedule

if TYPE_CHECKING:
    from pageblock_buddy.interleave.engine import Engine, Strategy


class FollowPath:
    """The choices of an earlier run, one after the other; where they end, the same process as long as it goes."""

    def __init__(self, path: list[int]) -> None:
        self.prefix: list[int] = []
        self._path = path
        self._next = 0

    def choose(self, engine: Engine, enabled: int) -> int:
        """The next choice of the path."""
        if self._next < len(self._path):
            chosen = self._path[self._next]
            self._next += 1
            if enabled >> chosen & 1:
                return chosen
        return engine.current if enabled >> engine.current & 1 else (enabled & -enabled).bit_length() - 1


class FollowSchedule:
    """A schedule, point by point.  Behind its end ``then`` goes on, or whoever can.

    ``diverged`` says where the schedule asked for a process that could not go; the run is given up there.
    """

    def __init__(self, engine: Engine, schedule: Schedule, then: Strategy | None = None) -> None:
        self.prefix: list[int] = []
        names = {process.name: process.index for process in engine.processes}
        for process, _ in schedule:
            if process not in names:
                raise ReplayDivergence(f"the program has no process {process!r}", process=process)
        self._parts = [(names[process], points) for process, points in schedule]
        self._part = 0
        self._passed = 0
        self._then = then
        self.diverged: str | None = None
        self.steps_given = 0

    def choose(self, engine: Engine, enabled: int) -> int:
        """The next step of the schedule."""
        while self._part < len(self._parts):
            process, points = self._parts[self._part]
            can = enabled >> process & 1
            if (points is None and not can) or (points is not None and self._passed >= points):
                self._next_part()
            elif can:
                self._passed += 1
                self.steps_given += 1
                return process
            else:
                name = engine.processes[process].name
                self.diverged = f"step {len(engine.ev_process)}: process {name} cannot go on"
                return -1
        if self._then is not None:
            return self._then.choose(engine, enabled)
        return engine.current if enabled >> engine.current & 1 else (enabled & -enabled).bit_length() - 1

    def _next_part(self) -> None:
        self._part += 1
        self._passed = 0
