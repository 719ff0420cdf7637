# SPDX-License-Identifier: GPL-2.0-only
"""llist_head: the kernel's lock-less list of entries that many may add and one takes as a whole.

Here it holds blocks of pages: (first PFN, order).  Newest first, as llist_del_all() returns them.

Kernel: include/linux/llist.h
"""

from __future__ import annotations

from collections.abc import Sequence


class LlistHead:
    """A lock-less list of (first PFN, order)."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[tuple[int, int]] = []  # oldest first

    def assign(self, entries: Sequence[tuple[int, int]]) -> None:
        """Hold exactly these, oldest first.  O(n)."""
        self._entries = list(entries)

    def llist_add(self, pfn: int, order: int) -> None:
        """Push an entry.  O(1); needs no lock."""
        self._entries.append((pfn, order))

    def llist_del_all(self) -> list[tuple[int, int]]:
        """Take all entries off, newest first.  O(n); needs no lock."""
        entries, self._entries = self._entries, []
        entries.reverse()
        return entries

    def llist_empty(self) -> bool:
        """Whether there is no entry.  O(1)."""
        return not self._entries

    def to_list(self) -> list[tuple[int, int]]:
        """The entries, newest first.  O(n)."""
        return self._entries[::-1]

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"LlistHead({self.to_list()})"
