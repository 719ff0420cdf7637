# SPDX-License-Identifier: GPL-2.0-only
"""Putting the counting parts into a kernel, and taking them out again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from pageblock_buddy.accounting import entries
from pageblock_buddy.accounting.fragmentation import ZoneFragmentation, zone_fragmentation, zone_name
from pageblock_buddy.accounting.holds import (
    NR_COUNTERS,
    OWNED_LISTS,
    PCP_LISTS,
    PCP_MERGES,
    PCP_SPLITS,
    ZONE_LISTS,
    CountingListHead,
    CountingSpinlock,
    Hold,
    Holds,
    Work,
)
from pageblock_buddy.accounting.refills import Refills
from pageblock_buddy.machine.lists import ListHead
from pageblock_buddy.machine.spinlock import Spinlock
from pageblock_buddy.mm.kernel import Kernel

#: Kinds of operations; the outermost entry point decides.  "other": no entry point of the table is being executed.
OPERATIONS: Final = ("alloc", "free", "drain", "decay", "isolate", "hotplug", "other")
ZONE_LOCK: Final = "zone->lock"
PCP_LOCK: Final = "pcp->lock"


class Accounting:
    """What a kernel did since :meth:`attach`.

    ``holds`` are all holds of a lock class, ``zone_holds_of`` those of zone->lock by kind of operation.
    ``operations`` counts the operations themselves.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.work: Work = [0] * NR_COUNTERS
        self.operation: str | None = None
        self.operations: dict[str, int] = dict.fromkeys(OPERATIONS, 0)
        self.holds: dict[str, Holds] = {ZONE_LOCK: Holds(), PCP_LOCK: Holds()}
        self.zone_holds_of: dict[str, Holds] = {kind: Holds() for kind in OPERATIONS}
        self.refills = Refills()
        self.locks: dict[str, dict[str, CountingSpinlock]] = {ZONE_LOCK: {}, PCP_LOCK: {}}
        self._pgalloc_before = sum(kernel.pgalloc)
        self._restore: list[Callable[[], None]] = []

    # --- on and off ----------------------------------------------------------------------------

    @classmethod
    def attach(cls, kernel: Kernel) -> Accounting:
        """Start to count.  Changes no state; costs time until :meth:`detach`.  To be done between two operations."""
        account = cls(kernel)
        for zone in kernel.zones:
            name = zone_name(zone)
            account._swap_lock(zone, ZONE_LOCK, name, account._zone_hold)
            for area in zone.free_area:
                account._swap(area, "free_list", account._counting(area.free_list, ZONE_LISTS))
            for pcp in zone.per_cpu_pageset:
                account._swap_lock(pcp, PCP_LOCK, f"{name} CPU {pcp.cpu}", account.holds[PCP_LOCK].add)
                account._swap(pcp, "lists", account._counting(pcp.lists, PCP_LISTS))
                (owned_blocks,) = account._counting([pcp.owned_blocks], OWNED_LISTS)
                account._swap(pcp, "owned_blocks", owned_blocks)
                by_type = account._counting(pcp.owned_blocks_by_type, OWNED_LISTS)
                account._swap(pcp, "owned_blocks_by_type", by_type)
        calls = entries.counting_calls(account, kernel.calls)
        account._swap(kernel, "calls", calls)
        if calls.pcp_buddy is not None:
            account._swap(kernel, "pcp_buddy", calls.pcp_buddy)
        return account

    def detach(self) -> None:
        """Stop to count and put everything back; the numbers stay.  A second call does nothing."""
        while self._restore:
            self._restore.pop()()

    def _swap(self, holder: object, attribute: str, replacement: object) -> None:
        original = getattr(holder, attribute)
        setattr(holder, attribute, replacement)
        self._restore.append(lambda: setattr(holder, attribute, original))

    def _swap_lock(self, holder: Any, lock_class: str, name: str, report: Callable[[Hold], None]) -> None:
        original: Spinlock = holder.lock
        counting = self.locks[lock_class][name] = CountingSpinlock(original, self.work, report)

        def put_back() -> None:
            original.owner = counting.owner
            holder.lock = original

        holder.lock = counting
        self._restore.append(put_back)

    def _counting(self, lists: Sequence[ListHead], kind: int) -> tuple[CountingListHead, ...]:
        return tuple(CountingListHead(one, self.work, kind) for one in lists)

    def _zone_hold(self, hold: Hold) -> None:
        self.holds[ZONE_LOCK].add(hold)
        self.zone_holds_of[self.operation or "other"].add(hold)

    # --- the numbers ---------------------------------------------------------------------------

    @property
    def pages_allocated(self) -> int:
        """Pages handed out since the start."""
        return sum(self.kernel.pgalloc) - self._pgalloc_before

    @property
    def pcp_merges(self) -> int:
        """Merges of chunks on per-CPU lists, outside zone->lock."""
        return self.work[PCP_MERGES]

    @property
    def pcp_splits(self) -> int:
        """Splits of chunks on per-CPU lists, outside zone->lock."""
        return self.work[PCP_SPLITS]

    def trylock_failures(self, lock_class: str) -> int:
        """How often a lock of the class was tried in vain."""
        return sum(lock.trylock_failures for lock in self.locks[lock_class].values())

    def fragmentation(self) -> list[ZoneFragmentation]:
        """The zones as they are now, node by node."""
        return [zone_fragmentation(self.kernel, zone) for zone in self.kernel.zones]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types, fragmentation as it is now included.  Locks that nobody touched are left out."""
        return {
            "pages_allocated": self.pages_allocated,
            "operations": dict(self.operations),
            "locks": {name: self._lock_class_to_dict(name) for name in self.locks},
            "zone_lock_by_operation": {kind: holds.to_dict() for kind, holds in self.zone_holds_of.items()},
            "refill": self.refills.to_dict(),
            "pcp_merges": self.pcp_merges,
            "pcp_splits": self.pcp_splits,
            "fragmentation": [zone.to_dict() for zone in self.fragmentation()],
        }

    def _lock_class_to_dict(self, lock_class: str) -> dict[str, Any]:
        return {
            "trylock_failures": self.trylock_failures(lock_class),
            **self.holds[lock_class].to_dict(),
            "each": {
                name: {"acquisitions": lock.acquisitions, "trylock_failures": lock.trylock_failures}
                for name, lock in self.locks[lock_class].items()
                if lock.acquisitions or lock.trylock_failures
            },
        }
