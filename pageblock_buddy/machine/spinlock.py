# SPDX-License-Identifier: GPL-2.0-only
"""Spinlocks.

Nothing above this class knows whether an interleaver exists; that puts locks in their place at which a simulated CPU
can be suspended (docs/interleaver.md).  Run sequentially, a
lock that is taken can only be held by the running CPU's own interrupted code (or by a test that
holds it on purpose), so spinning on it would never end: that is reported, not simulated.

Kernel: include/linux/spinlock.h
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy.errors import LockNotHeld, SelfDeadlock
from pageblock_buddy.machine.cpu import Machine

#: Other names of the two verbs.  They differ in what they do to IRQs and preemption, which only an interleaver sees.
_ALIASES: Final = {"lock_irqsave": "lock", "trylock_irqsave": "trylock", "pcp_spin_trylock": "trylock"}


class Spinlock:
    """A spinlock with an owner.

    ``owner`` is the holding CPU, or None.  ``name`` is the kernel's name for it (``zone->lock``), which is its lockdep
    class.  ``lock_irqsave()`` and ``trylock_irqsave()`` hold it with IRQs off; zone->lock always is.
    ``pcp_spin_trylock()`` is for the running CPU's own pcp->lock: preemption is off since its
    number was read.
    """

    __slots__ = ("machine", "name", "owner")

    def __init_subclass__(cls) -> None:
        # An alias and not a method that calls the other one: a call more would cost on the hottest paths.
        for alias, verb in _ALIASES.items():
            if verb in cls.__dict__ and alias not in cls.__dict__:
                setattr(cls, alias, cls.__dict__[verb])

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

    lock_irqsave = lock
    trylock_irqsave = trylock
    pcp_spin_trylock = trylock

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
