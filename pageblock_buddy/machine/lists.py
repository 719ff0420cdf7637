# SPDX-License-Identifier: GPL-2.0-only
"""list_head: the kernel's doubly linked list, as an ordered set of PFNs.

The *head* end is what the allocator takes next (LPA-2.0.18).  Everything is O(1) except
iteration, which goes from head to tail.  An ``OrderedDict`` and not a ``dict``: a dict used as a queue
skips over its deleted entries again and again and turns quadratic.

Kernel: include/linux/list.h
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence


class ListHead:
    """A list of PFNs.  Each PFN is on the list at most once."""

    __slots__ = ("_entries",)

    def __init__(self, pfns: Iterable[int] = ()) -> None:
        self._entries: OrderedDict[int, None] = OrderedDict.fromkeys(pfns)

    def list_add(self, pfn: int) -> None:
        """Insert at the head.  O(1)."""
        entries = self._entries
        entries[pfn] = None
        entries.move_to_end(pfn, False)

    def list_add_tail(self, pfn: int) -> None:
        """Insert at the tail.  O(1)."""
        self._entries[pfn] = None

    def list_del(self, pfn: int) -> None:
        """Remove ``pfn`` from wherever it is on this list.  O(1).  KeyError if absent."""
        del self._entries[pfn]

    def list_move_tail(self, pfn: int) -> None:
        """Move an entry of this list to its tail.  O(1)."""
        self._entries.move_to_end(pfn)

    def first_entry_or_null(self) -> int | None:
        """The head entry, or None.  O(1)."""
        return next(iter(self._entries), None)

    def pop_first(self) -> int:
        """Remove and return the head entry.  O(1).  KeyError if empty."""
        return self._entries.popitem(False)[0]

    def pop_last(self) -> int:
        """Remove and return the tail entry.  O(1).  KeyError if empty."""
        return self._entries.popitem()[0]

    def assign(self, pfns: Sequence[int]) -> None:
        """Hold exactly these, head first.  O(n) of what was and is there."""
        if self._entries or pfns:
            self._entries = OrderedDict.fromkeys(pfns)

    def to_list(self) -> list[int]:
        """The entries, head first.  O(n)."""
        return list(self._entries)

    def __iter__(self) -> Iterator[int]:
        return iter(self._entries)

    def __reversed__(self) -> Iterator[int]:
        return reversed(self._entries)

    def __contains__(self, pfn: object) -> bool:
        return pfn in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def list_empty(self) -> bool:
        """Whether there is no entry.  O(1)."""
        return not self._entries

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __repr__(self) -> str:
        return f"ListHead({list(self._entries)})"


class WatchedListHead(ListHead):
    """A list whose subclass looks at each change before it is made."""

    __slots__ = ()

    def before_change(self) -> None:
        """Called before each change of one entry; raises if the change must not be made."""
        raise NotImplementedError

    def list_add(self, pfn: int) -> None:
        """Insert at the head."""
        self.before_change()
        super().list_add(pfn)

    def list_add_tail(self, pfn: int) -> None:
        """Insert at the tail."""
        self.before_change()
        super().list_add_tail(pfn)

    def list_del(self, pfn: int) -> None:
        """Remove."""
        self.before_change()
        super().list_del(pfn)

    def list_move_tail(self, pfn: int) -> None:
        """Move to the tail."""
        self.before_change()
        super().list_move_tail(pfn)

    def pop_first(self) -> int:
        """Remove the head."""
        self.before_change()
        return super().pop_first()

    def pop_last(self) -> int:
        """Remove the tail."""
        self.before_change()
        return super().pop_last()
