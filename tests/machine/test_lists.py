# SPDX-License-Identifier: GPL-2.0-only
"""ListHead: the kernel's list_head."""

from __future__ import annotations

import pytest

from pageblock_buddy.machine.lists import ListHead, WatchedListHead


def test_both_ends() -> None:
    """LPA-2.0.18: insertion at either end; "head" is the end that is taken next."""
    entries = ListHead()
    entries.list_add_tail(5)
    entries.list_add(3)
    entries.list_add(9)
    entries.list_add_tail(1)
    assert entries.to_list() == list(entries) == [9, 3, 5, 1]
    assert list(reversed(entries)) == [1, 5, 3, 9]
    assert entries.first_entry_or_null() == 9
    assert (entries.pop_first(), entries.pop_last()) == (9, 1)
    assert entries.to_list() == [3, 5]
    assert repr(entries) == "ListHead([3, 5])"


def test_delete_from_the_middle() -> None:
    """LPA-2.0.18: doubly linked: no search."""
    entries = ListHead([1, 2, 3])
    entries.list_del(2)
    assert entries.to_list() == [1, 3]
    with pytest.raises(KeyError):
        entries.list_del(2)


def test_list_move_tail() -> None:
    """list_move_tail() inside one list."""
    entries = ListHead([1, 2, 3])
    entries.list_move_tail(1)
    assert entries.to_list() == [2, 3, 1]
    with pytest.raises(KeyError):
        entries.list_move_tail(7)


def test_adding_again_at_the_head_moves() -> None:
    """A PFN is on a list at most once."""
    entries = ListHead([1, 2, 2, 3])
    entries.list_add(3)
    assert entries.to_list() == [3, 1, 2]


def test_empty() -> None:
    """An empty list has no first entry and is false."""
    entries = ListHead()
    assert not entries
    assert entries.first_entry_or_null() is None
    for pop in (entries.pop_first, entries.pop_last):
        with pytest.raises(KeyError):
            pop()


def test_membership_and_length() -> None:
    """``in``, len() and truth."""
    entries = ListHead([4, 8])
    assert 4 in entries
    assert 5 not in entries
    assert "4" not in entries
    assert len(entries) == 2
    assert entries


def test_used_as_a_queue_it_stays_quick() -> None:
    """A plain dict would walk over all deleted entries: quadratic.  100 000 rounds take well under a second."""
    entries = ListHead(range(1000))
    for pfn in range(1000, 101_000):
        assert entries.pop_first() == pfn - 1000
        entries.list_add_tail(pfn)


class Told(WatchedListHead):
    """Remembers what the list was at each change."""

    __slots__ = ("seen",)

    def __init__(self, pfns: list[int]) -> None:
        super().__init__(pfns)
        self.seen: list[list[int]] = []

    def before_change(self) -> None:
        self.seen.append(self.to_list())


def test_a_watched_list_tells_each_change_before_it_is_made() -> None:
    one = Told([1, 2, 3])
    one.list_add(0)
    one.list_add_tail(4)
    one.list_del(2)
    one.list_move_tail(1)
    assert (one.pop_first(), one.pop_last()) == (0, 1)
    assert one.seen == [[1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3, 4], [0, 1, 3, 4], [0, 3, 4, 1], [3, 4, 1]]
    assert one.to_list() == [3, 4]
    assert len(one.seen) == 6, "looking at the list is no change"
