# SPDX-License-Identifier: GPL-2.0-only
"""A small model of per-CPU lists and a zone, the same for every interleaver: two CPUs, three operations each.

Locks come from a factory: ``acquire()``, ``release()`` and ``acquire(blocking=False)`` as in threading.Lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class SmallModel:
    """Pages 0..7: four on the zone's list, two on each CPU's."""

    def __init__(self, make_lock: Callable[[], Any]) -> None:
        self.zone_lock = make_lock()
        self.pcp_locks = [make_lock(), make_lock()]
        self.zone = [0, 1, 2, 3]
        self.pcps = [[4, 5], [6, 7]]
        self.held: list[list[int]] = [[], []]

    def alloc(self, cpu: int) -> None:
        """From the CPU's list, or from the zone if that is empty or busy."""
        if self.pcp_locks[cpu].acquire(blocking=False):
            page = self.pcps[cpu].pop() if self.pcps[cpu] else None
            self.pcp_locks[cpu].release()
            if page is not None:
                self.held[cpu].append(page)
                return
        self.zone_lock.acquire()
        page = self.zone.pop()
        self.zone_lock.release()
        self.held[cpu].append(page)

    def free(self, cpu: int, owner: int) -> None:
        """To the owner's list, or to the zone if that is busy."""
        page = self.held[cpu].pop()
        if self.pcp_locks[owner].acquire(blocking=False):
            self.pcps[owner].append(page)
            self.pcp_locks[owner].release()
            return
        self.zone_lock.acquire()
        self.zone.append(page)
        self.zone_lock.release()

    def run(self, cpu: int) -> None:
        """What one CPU does."""
        self.alloc(cpu)
        self.alloc(cpu)
        self.free(cpu, 1 - cpu)

    def all_there(self) -> bool:
        """Every page is in one place."""
        return sorted(self.zone + self.pcps[0] + self.pcps[1] + self.held[0] + self.held[1]) == list(range(8))
