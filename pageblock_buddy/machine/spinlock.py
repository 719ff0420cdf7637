# SPDX-License-Identifier: GPL-2.0-only
"""Spinlocks: the only place where a simulated CPU can be suspended.

Nothing above this class knows whether an interleaver exists.  Run sequentially, a
lock that is taken can only be held by the running CPU's own interrupted code (or by a test that
holds it on purpose), so spinning on it would never end: that is reported, not simulated.

Kernel: include/linux/spinlock.h
"""

from __future__ import annotations

from pageblock_buddy.errors import LockNotHeld, SelfDeadlock
from pageblock_buddy.machine.cpu import Machine


class Spinlock:
    """A spinlock with an owner.

    ``owner`` is the holding CPU, or None.  ``name`` is the kernel's name for it (``zone->lock``).
    """

    __slots__ = ("machine", "name", "owner")

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name
        self.owner: int | None = None

    def lock(self) -> None:
        """Take the lock.  SelfDeadlock if it is held: sequentially nobody could release it."""
        if self.owner is not None:
            raise SelfDeadlock(
                f"CPU {self.machine.cpu} spins on {self.name}, held by CPU {self.owner}",
                cpu=self.machine.cpu,
                lock=self.name,
                owner=self.owner,
            )
        self.owner = self.machine.cpu

    def trylock(self) -> bool:
        """Take the lock if it is free.  False: somebody holds it."""
        if self.owner is not None:
            return False
        self.owner = self.machine.cpu
        return True

    def unlock(self) -> None:
        """Release the lock.  LockNotHeld if the running CPU does not hold it."""
        if self.owner != self.machine.cpu:
            self._not_held()
        self.owner = None

    def assert_held(self) -> None:
        """lockdep_assert_held(): the running CPU holds the lock."""
        if self.owner != self.machine.cpu:
            self._not_held()

    def _not_held(self) -> None:
        raise LockNotHeld(
            f"CPU {self.machine.cpu} does not hold {self.name} (held by {self.owner})",
            cpu=self.machine.cpu,
            lock=self.name,
            owner=self.owner,
        )
