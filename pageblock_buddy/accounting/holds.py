# SPDX-License-Identifier: GPL-2.0-only
"""Counting locks and lists: what happens between lock and unlock.

All work goes into one list of counters.  A lock reads them when it is taken and when it is released; the difference is
what was done in that hold, nested holds and interrupts included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pageblock_buddy.accounting.histogram import Histogram
from pageblock_buddy.machine.lists import ListHead
from pageblock_buddy.machine.spinlock import Spinlock

#: Places in the list of counters.
SCANNED: Final = 0  # PFNs that a scan of a pageblock looked at
PAGES: Final = 1  # pages that came to the zone's free lists less those that left
ZONE_LISTS: Final = 2  # list operations on free lists, per-CPU lists and lists of owned blocks
PCP_LISTS: Final = 3
OWNED_LISTS: Final = 4
ADDED: Final = 5  # blocks that came to the zone's free lists
TAKEN: Final = 6  # blocks that left them
FREED: Final = 7  # calls of __free_one_page(), each of which adds one block
MERGED: Final = 8  # blocks that these took off again to merge with
PCP_MERGES: Final = 9
PCP_SPLITS: Final = 10
NR_COUNTERS: Final = 11

Work = list[int]
#: What was done while a lock was held: PFNs scanned, pages moved, list operations, merges, splits.
Hold = tuple[int, int, int, int, int]
#: What Holds has a histogram of.  "pfns" are struct pages looked at or written: PFNs scanned and list operations.
MEASURES: Final[dict[str, Callable[[Hold], int]]] = {
    "pfns": lambda hold: hold[0] + hold[2],
    "scanned": lambda hold: hold[0],
    "pages": lambda hold: hold[1],
    "list_operations": lambda hold: hold[2],
    "merges": lambda hold: hold[3],
    "splits": lambda hold: hold[4],
}


class Holds:
    """All holds of a class of locks."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[Hold, int] = {}

    def add(self, hold: Hold) -> None:
        """A lock was held."""
        self.counts[hold] = self.counts.get(hold, 0) + 1

    @property
    def acquisitions(self) -> int:
        """How often the locks were taken (and released again)."""
        return sum(self.counts.values())

    def histogram(self, measure: str) -> Histogram:
        """How the holds spread over one of MEASURES."""
        histogram, value_of = Histogram(), MEASURES[measure]
        for hold, times in self.counts.items():
            histogram.add(value_of(hold), times)
        return histogram

    def to_dict(self) -> dict[str, Any]:
        """As JSON types: acquisitions, then a histogram for each measure."""
        return {
            "acquisitions": self.acquisitions,
            **{measure: self.histogram(measure).to_dict() for measure in MEASURES},
        }


class CountingSpinlock(Spinlock):
    """A spinlock that reports each hold to ``report`` and counts how often it was taken, and tried in vain."""

    __slots__ = ("_before", "_report", "_work", "acquisitions", "trylock_failures")

    def __init__(self, original: Spinlock, work: Work, report: Callable[[Hold], None]) -> None:
        super().__init__(original.machine, original.name)
        self.owner = original.owner
        self._work = work
        self._before = work.copy()
        self._report = report
        self.acquisitions = 0
        self.trylock_failures = 0

    def lock(self) -> None:
        Spinlock.lock(self)
        self.acquisitions += 1
        self._before = self._work.copy()

    def trylock(self) -> bool:
        if not Spinlock.trylock(self):
            self.trylock_failures += 1
            return False
        self.acquisitions += 1
        self._before = self._work.copy()
        return True

    def unlock(self) -> None:
        before, now = self._before, self._work
        hold = (
            now[SCANNED] - before[SCANNED],
            abs(now[PAGES] - before[PAGES]),
            now[ZONE_LISTS]
            + now[PCP_LISTS]
            + now[OWNED_LISTS]
            - before[ZONE_LISTS]
            - before[PCP_LISTS]
            - before[OWNED_LISTS],
            now[MERGED] + now[PCP_MERGES] - before[MERGED] - before[PCP_MERGES],
            # What is added without being freed is the rest of a block that was split.
            now[ADDED] - now[FREED] + now[PCP_SPLITS] - before[ADDED] + before[FREED] - before[PCP_SPLITS],
        )
        Spinlock.unlock(self)
        self._report(hold)


class CountingListHead(ListHead):
    """A list that counts operations.  It shares its entries with the list that it stands for."""

    __slots__ = ("_kind", "_work")

    def __init__(self, original: ListHead, work: Work, kind: int) -> None:
        self._entries = original._entries
        self._work = work
        self._kind = kind

    def list_add(self, pfn: int) -> None:
        self._work[self._kind] += 1
        ListHead.list_add(self, pfn)

    def list_add_tail(self, pfn: int) -> None:
        self._work[self._kind] += 1
        ListHead.list_add_tail(self, pfn)

    def list_del(self, pfn: int) -> None:
        self._work[self._kind] += 1
        ListHead.list_del(self, pfn)

    def list_move_tail(self, pfn: int) -> None:
        self._work[self._kind] += 1
        ListHead.list_move_tail(self, pfn)

    def pop_first(self) -> int:
        self._work[self._kind] += 1
        return ListHead.pop_first(self)

    def pop_last(self) -> int:
        self._work[self._kind] += 1
        return ListHead.pop_last(self)
