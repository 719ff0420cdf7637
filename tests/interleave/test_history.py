# SPDX-License-Identifier: GPL-2.0-only
"""Linearizability of the page set: histories that were worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pageblock_buddy.interleave.checks.history import NEVER, History
from pageblock_buddy.interleave.engine import Engine
from pageblock_buddy.interleave.findings import Finding
from pageblock_buddy.interleave.program import Alloc, AllocBulk, Free, FreeBulk, Op
from pageblock_buddy.linux_6_12 import alloc
from tests.interleave.carried import carrying, small, staying

Pages = dict[str, tuple[int | None, int]]


def check(events: str, ops: dict[str, Op], pages: Pages, at_start: Pages | None = None) -> Finding | None:
    """What a history says.  ``events``: a capital letter begins the operation of that letter, a small one ends it."""
    history = History()
    numbers: dict[str, int] = {}
    for event in events.replace(" ", ""):
        if event.isupper():
            running: Any = SimpleNamespace(name=event)
            numbers[event] = history.begin(running, ops[event])
        else:
            history.end(numbers[event.upper()])
    engine: Any = SimpleNamespace(pages=(at_start or {}) | pages, pages_at_start=at_start or {})
    return history.check(engine)


#: A allocates a, F frees it, B allocates b.
OPS: dict[str, Op] = {"A": Alloc("a"), "F": Free("a"), "B": Alloc("b"), "G": Free("b")}
SAME: Pages = {"a": (5, 0), "b": (5, 0)}


@pytest.mark.parametrize(
    "events",
    [
        "Aa Ff Bb",  # one after the other
        "Aa F B f b",  # the free and the second allocation overlap: the free came first
        "Aa F B b f",
        "Aa B F f b",  # the allocation began before the free did, and took the page that it gave
        "Aa B F b f",
        "A B a F f b",
        "Aa Ff B",  # under way at the end
        "Bb Gg Aa Ff",  # the other way round
        "A B b G a g Ff",  # B has it before A: G overlaps with A
    ],
)
def test_a_page_that_was_freed_in_between(events: str) -> None:
    assert check(events, OPS, SAME) is None


@pytest.mark.parametrize(
    "events",
    [
        "Aa Bb Ff",  # B ended before the free began
        "A B a b Ff",
        "A B b a Ff",
        "Aa Bb",  # never freed
        "A B a b",
        "Bb Aa Ff Gg",  # neither free began before the other allocation had ended
        "B A b a F G f g",
    ],
)
def test_a_page_that_two_have(events: str) -> None:
    finding = check(events, OPS, SAME)
    assert finding is not None
    assert finding.code == "not-linearizable"
    assert finding.message.startswith("pfn 5 was given out twice: ")
    assert sorted(finding.lines) == ["from pfn 5: A: a = alloc_pages(0)", "from pfn 5: B: b = alloc_pages(0)"]


def test_three_owners_of_one_page() -> None:
    ops = OPS | {"C": Alloc("c")}
    pages = SAME | {"c": (5, 0)}
    assert check("Aa Ff Bb Gg Cc", ops, pages) is None
    assert check("Aa F B f b G C c g", ops, pages) is None
    assert check("Aa F B f b Cc Gg", ops, pages) is not None


@pytest.mark.parametrize(
    ("a", "b", "fine"),
    [
        ((8, 2), (12, 2), True),
        ((8, 2), (11, 0), False),
        ((11, 0), (8, 2), False),
        ((8, 3), (12, 2), False),
        ((8, 2), (7, 0), True),
        ((8, 2), (8, 0), False),
    ],
)
def test_blocks_that_overlap(a: tuple[int, int], b: tuple[int, int], fine: bool) -> None:
    assert (check("Aa Bb", OPS, {"a": a, "b": b}) is None) == fine


def test_a_block_inside_another_one_with_one_between() -> None:
    """The first one is longer than the second: the third must be compared with it as well."""
    ops = OPS | {"C": Alloc("c")}
    assert check("Aa Cc Ff Bb", ops, {"a": (0, 3), "b": (1, 0), "c": (9, 0)}) is None
    assert check("Aa Ff Bb Cc", ops, {"a": (0, 3), "b": (1, 0), "c": (5, 0)}) is None
    assert check("Aa Cc Ff Bb", ops, {"a": (0, 3), "b": (1, 0), "c": (5, 0)}) is not None


def test_a_failed_allocation_is_always_explained() -> None:
    assert check("Aa Bb", OPS, {"a": (None, 0), "b": (5, 0)}) is None
    assert check("Aa Bb", OPS, {"a": (None, 0), "b": (None, 0)}) is None


def test_pages_of_the_set_up() -> None:
    at_start: Pages = {"s": (5, 0)}
    ops: dict[str, Op] = {"B": Alloc("b"), "F": Free("s")}
    assert check("Bb", ops, {"b": (6, 0)}, at_start) is None
    assert check("Ff Bb", ops, {"b": (5, 0)}, at_start) is None
    assert check("B Ff b", ops, {"b": (5, 0)}, at_start) is None
    finding = check("Bb Ff", ops, {"b": (5, 0)}, at_start)
    assert finding is not None
    assert sorted(finding.lines) == ["from pfn 5: B: b = alloc_pages(0)", "from pfn 5: set-up: s"]


def test_bulk_operations() -> None:
    ops: dict[str, Op] = {"A": AllocBulk(("a", "b")), "F": FreeBulk(("a", "b")), "C": Alloc("c")}
    pages: Pages = {"a": (5, 0), "b": (6, 0), "c": (6, 0)}
    assert check("Aa Ff Cc", ops, pages) is None
    assert check("Aa C F f c", ops, pages) is None
    assert check("Aa Cc Ff", ops, pages) is not None
    assert check("Aa", {"A": AllocBulk(("a", "b"))}, {"a": (5, 0), "b": (5, 0)}) is not None


def test_begin_and_end() -> None:
    history = History()
    first, second = Alloc("a"), Free("a")
    process: Any = SimpleNamespace(name="0")
    one = history.begin(process, first)
    two = history.begin(process, second)
    history.end(one)
    assert [tuple(call) for call in history.calls] == [("0", first, 1, 3), ("0", second, 2, NEVER)]
    history.end(two)
    assert history.calls[1].end == 4
    history.reset()
    assert history.calls == []


def test_a_run_that_gives_a_page_out_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    original = alloc.alloc_pages
    pfns: list[int | None] = []

    def broken(k: Any, gfp: int, order: int) -> int | None:
        pfns.append(pfns[0] if pfns else original(k, gfp, order))
        return pfns[-1]

    monkeypatch.setattr(alloc, "alloc_pages", broken)
    with carrying() as carrier:
        finding = Engine(small([Alloc("a")], [Alloc("b")]), "rfc", carrier).run(staying())
    assert finding is not None
    assert finding.code == "not-linearizable"
    assert finding.message == (
        f"pfn {pfns[0]} was given out twice: 0: a = alloc_pages(0) and 1: b = alloc_pages(0) have it at the same time"
    )
