# SPDX-License-Identifier: GPL-2.0-only
"""Reduced exhaustive search: dynamic partial-order reduction with source sets and sleep sets.

After each run the races between its steps are looked at.  For each race the other order is to be run as well: some
process that can begin it goes into the backtrack set of the state before the race.  Sleep sets keep what was run
already from being run again.

C. Flanagan, P. Godefroid, Dynamic partial-order reduction for model checking software, POPL 2005 (races of steps that
may be enabled together; locks); P. Abdulla, S. Aronis, B. Jonsson, K. Sagonas, Source sets, JACM 2017.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pageblock_buddy.interleave.strategies.happens_before import HappensBefore
from pageblock_buddy.interleave.strategies.unit import WHOLE, Unit

if TYPE_CHECKING:
    from pageblock_buddy.interleave.engine import Engine

_ENGINE = -1


class Reduced:
    """Depth-first over one schedule of each happens-before trace.

    ``pending`` are (kind, object) of every process in each state on the path.
    """

    exhaustive = True

    def __init__(self, engine: Engine, unit: Unit = WHOLE) -> None:
        self._happens_before = HappensBefore(engine)
        #: choices that are given: their alternatives are other units
        self._unit = unit
        self.prefix: list[int] = []
        self._chosen = self.prefix
        self._enabled: list[int] = []
        self._backtrack: list[int] = []
        self._done: list[int] = []
        self._sleep: list[int] = []
        self._pending: list[list[tuple[int, int]]] = []
        #: steps up to here were looked at in an earlier run
        self._looked = 0
        #: runs that were given up since all that was left had been run before
        self.redundant = 0

    def choose(self, engine: Engine, enabled: int) -> int:
        """The same process as long as it goes."""
        depth = len(engine.ev_process)
        self._catch_up(engine, depth)
        sleep = 0
        if depth:
            asleep = (self._sleep[-1] | self._done[-1]) & ~(1 << self._chosen[-1])
            if asleep:
                sleep = self._still_asleep(asleep, depth - 1)
        awake = enabled & ~sleep
        done = 0
        if depth < len(self._unit.choices):
            chosen = self._unit.choices[depth]
            done = self._unit.done[depth]
            awake &= 1 << chosen
        if not awake:
            self.redundant += 1
            return _ENGINE
        if depth >= len(self._unit.choices):
            current = engine.current
            chosen = current if awake >> current & 1 else (awake & -awake).bit_length() - 1
        self._chosen.append(chosen)
        self._enabled.append(enabled)
        self._backtrack.append(1 << chosen)
        self._done.append(done)
        self._sleep.append(sleep)
        self._pending.append([(process.kind, process.oid) for process in engine.processes])
        return chosen

    def _still_asleep(self, asleep: int, number: int) -> int:
        """Those who slept, or were done, before step ``number`` and are not woken by it."""
        pending, depends = self._pending[number], self._happens_before.depends
        left = asleep
        while left:
            bit = left & -left
            left ^= bit
            process = bit.bit_length() - 1
            if depends(process, *pending[process], number):
                asleep ^= bit
        return asleep

    def _catch_up(self, engine: Engine, depth: int) -> None:
        """Look at the steps that were taken since."""
        happens_before = self._happens_before
        for number in range(len(happens_before.clocks), depth):
            process = engine.ev_process[number]
            races = happens_before.add(process, engine.ev_kind[number], engine.ev_oid[number])
            if races and number >= self._looked:
                self._add_backtracks(races, number, process, happens_before.clocks[number])

    def _add_backtracks(self, races: list[list[int]], number: int, process: int, clock: list[int]) -> None:
        for group in races:
            # The other order may be impossible right before the last step: IRQs are off there, or a lock is held.
            if not any(self._add_backtrack(first, number, process, clock) for first in group):
                self._backtrack[group[0]] |= self._enabled[group[0]]

    def _add_backtrack(self, first: int, number: int, process: int, clock: list[int]) -> bool:
        """See to it that the other order of a race is run.  False: it is not possible in the state before ``first``."""
        if first < len(self._unit.choices):
            return True
        initials = self._happens_before.initials(first, number, process, clock)
        if initials & self._backtrack[first]:
            return True
        possible = initials & self._enabled[first]
        if possible:
            self._backtrack[first] |= 1 << process if possible >> process & 1 else possible & -possible
        return possible != 0

    def next(self, engine: Engine) -> bool:
        """After a run: whether there is another one to do."""
        self._catch_up(engine, len(engine.ev_process))
        happens_before = self._happens_before
        for process in engine.processes:
            # Whoever was kept from its step for ever: it could have come first.
            if process.alive and len(happens_before.clocks) >= self._looked:
                races, clock = happens_before.races_of_pending(process.index, process.kind, process.oid)
                self._add_backtracks(races, len(happens_before.clocks), process.index, clock)
        chosen, backtrack, done, sleep = self._chosen, self._backtrack, self._done, self._sleep
        depth = len(chosen) - 1
        while depth >= len(self._unit.choices):
            done[depth] |= 1 << chosen[depth]
            left = backtrack[depth] & ~done[depth] & ~sleep[depth]
            if left:
                chosen[depth] = (left & -left).bit_length() - 1
                for column in (chosen, backtrack, done, sleep, self._enabled, self._pending):
                    del column[depth + 1 :]
                happens_before.truncate(depth)
                self._looked = depth
                return True
            depth -= 1
        return False
