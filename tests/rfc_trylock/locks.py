# SPDX-License-Identifier: GPL-2.0-only
"""Spinlocks that tell what happens to them, and that let something happen at a given moment.

A log reads ``+pcp0 +zone -zone -pcp0``: CPU 0's pcp->lock taken by waiting, zone->lock inside it, both given back.
``?pcp1`` is a trylock that got the lock, ``!pcp1`` one that did not.  With several zones the labels are
``pcp0.DMA32`` and ``zone.DMA32``.
"""

from __future__ import annotations

from collections.abc import Callable

from pageblock_buddy import System
from pageblock_buddy.machine.cpu import Machine
from pageblock_buddy.machine.spinlock import Spinlock

Hook = Callable[[], object]


class ProbeLock(Spinlock):
    """A spinlock that reports to its Locks."""

    __slots__ = ("label", "locks")

    def __init__(self, machine: Machine, name: str, label: str, locks: Locks) -> None:
        super().__init__(machine, name)
        self.label = label
        self.locks = locks

    def lock(self) -> None:
        self.locks.run(f"+{self.label}")
        super().lock()
        self.locks.log.append(f"+{self.label}")

    def trylock(self) -> bool:
        self.locks.run(f"?{self.label}")
        done = super().trylock()
        self.locks.log.append(f"{'?' if done else '!'}{self.label}")
        return done

    def unlock(self) -> None:
        super().unlock()
        self.locks.log.append(f"-{self.label}")
        self.locks.run(f"-{self.label}")


class Locks:
    """All locks of a machine, replaced by ProbeLocks."""

    def __init__(self, system: System) -> None:
        self.log: list[str] = []
        self._hooks: dict[str, tuple[int, Hook]] = {}
        machine = system.kernel.machine
        several = len(system.zones) > 1
        for zone in system.zones:
            suffix = f".{zone.name}" if several else ""
            zone.lock = ProbeLock(machine, zone.lock.name, f"zone{suffix}", self)
            for pcp in zone.per_cpu_pageset:
                pcp.lock = ProbeLock(machine, pcp.lock.name, f"pcp{pcp.cpu}{suffix}", self)

    def at(self, step: str, hook: Hook, *, skip: int = 0) -> None:
        """Run ``hook`` once: before the lock of ``step`` (``+pcp0``, ``?pcp0``) is asked for, or after it is given
        back (``-pcp0``); not the first ``skip`` times that this happens.
        """
        self._hooks[step] = skip, hook

    def run(self, step: str) -> None:
        """What is to happen at ``step``."""
        if step in self._hooks:
            skip, hook = self._hooks.pop(step)
            if skip:
                self._hooks[step] = skip - 1, hook
            else:
                hook()

    def take(self) -> str:
        """What has happened since the last take()."""
        steps = " ".join(self.log)
        self.log.clear()
        return steps

    def done(self) -> bool:
        """Whether every hook has run."""
        return not self._hooks

    def holds(self, label: str) -> int:
        """How often the lock was taken since the last take()."""
        return sum(step in (f"+{label}", f"?{label}") for step in self.log)
