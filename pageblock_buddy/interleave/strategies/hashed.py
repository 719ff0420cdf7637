# SPDX-License-Identifier: GPL-2.0-only
"""Depth-first search that does not go on from a state that it has been in.

It visits each state once and still knows how many schedules a plain search would run: the schedules from a state are
the sum of those from the states behind each choice.  Sound only if equal keys have equal futures: functions keep what
they read in locals, so a key of the shared state alone will not do (state.py: full()).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pageblock_buddy.interleave.state import Key

if TYPE_CHECKING:
    from pageblock_buddy.interleave.engine import Engine

_ENGINE = -1


class Hashed:
    """``key`` makes the key of the present state; ``schedules`` is the number of plain schedules, when all is done."""

    exhaustive = True

    def __init__(self, engine: Engine, key: Callable[[], Key]) -> None:
        self._key = key
        self.redundant = 0
        self.prefix: list[int] = []
        self._left: list[int] = []
        self._keys: list[Key] = []
        #: schedules behind the choices that were made at each place of the path
        self._sums: list[int] = []
        self._known: dict[Key, int] = {}
        self._reached: int | None = None
        self.schedules = 0

    @property
    def states(self) -> int:
        """The states that were visited."""
        return len(self._known)

    def choose(self, engine: Engine, enabled: int) -> int:
        """The same process as long as it goes; nobody in a state that is known."""
        key = self._key()
        if key in self._known:
            self._reached = self._known[key]
            self.redundant += 1
            return _ENGINE
        current = engine.current
        chosen = current if enabled >> current & 1 else (enabled & -enabled).bit_length() - 1
        self.prefix.append(chosen)
        self._left.append(enabled & ~(1 << chosen))
        self._keys.append(key)
        self._sums.append(0)
        return chosen

    def next(self, engine: Engine) -> bool:
        """After a run: whether there is another one to do."""
        behind = 1 if self._reached is None else self._reached
        self._reached = None
        while self.prefix:
            self._sums[-1] += behind
            left = self._left[-1]
            if left:
                chosen = (left & -left).bit_length() - 1
                self._left[-1] ^= 1 << chosen
                self.prefix[-1] = chosen
                return True
            behind = self._sums.pop()
            self._known[self._keys.pop()] = behind
            self.prefix.pop()
            self._left.pop()
        self.schedules = behind
        return False
