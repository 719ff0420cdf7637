# SPDX-License-Identifier: GPL-2.0-only
"""The first difference of two states or of two sequences of events, and where it is said to be."""

from __future__ import annotations

from typing import Any

import pytest

from pageblock_buddy.machine.tracepoints import Event
from pageblock_buddy.replay.compare import event_difference, first_difference
from pageblock_buddy.replay.report import mismatch_lines, result_lines
from pageblock_buddy.replay.result import Mismatch, ReplayResult

LONG = list(range(20))

DIFFERENCES: list[tuple[Any, Any, tuple[str, Any, Any] | None]] = [
    (1, 1, None),
    ({"a": [1, {"b": "x"}]}, {"a": [1, {"b": "x"}]}, None),
    ({"a": 1}, {"a": 2}, ("a", 1, 2)),
    ({"a": {"b": 1}}, {"a": {"b": 2}}, ("a.b", 1, 2)),
    ({"a": 1}, {}, ("a", 1, "absent")),
    ({}, {"a": 1}, ("a", "absent", 1)),
    ({"b": 1, "a": 1}, {"b": 2, "a": 2}, ("a", 1, 2)),  # by key, so always the same one
    ([{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 3}], ("[1].a", 2, 3)),
    ([{"a": 1}], [{"a": 1}, {"a": 2}], (".length", 1, 2)),
    ([1, 2], [2, 1], ("", [1, 2], [2, 1])),
    (LONG, [*LONG[:15], 99, *LONG[16:]], ("[15:]", LONG[15:], [99, 16, 17, 18, 19])),
    (LONG, LONG[:-1], ("[19:]", [19], [])),
    ("0123", "0124", ("", "0123", "0124")),
    # equal to Python, not to us
    (True, 1, ("", True, 1)),
    (1.0, 1, ("", 1.0, 1)),
    (None, 0, ("", None, 0)),
    ([1, 2], [1, 2.0], ("[1]", 2, 2.0)),
    ([1], [True], ("[0]", 1, True)),
    ([{"a": [[1]]}], [{"a": [[1.0]]}], ("[0].a[0][0]", 1, 1.0)),
]


@pytest.mark.parametrize(("expected", "got", "difference"), DIFFERENCES)
def test_first_difference(expected: Any, got: Any, difference: tuple[str, Any, Any] | None) -> None:
    assert first_difference(expected, got) == difference


def test_what_is_ignored() -> None:
    assert first_difference({"a": 1, "b": [{"a": 2}]}, {"a": 9, "b": [{"a": 8}]}, ignore=("a",)) is None
    assert first_difference({"a": 1, "b": 2}, {"b": 3}, ignore=("a",)) == ("b", 2, 3)


def test_event_difference() -> None:
    recorded: list[tuple[int, Event]] = [(5, ("zlock", 0, 1)), (6, ("drain", 0, 2))]
    assert event_difference(recorded, [("zlock", 0, 1), ("drain", 0, 2)], 7) is None
    assert event_difference(recorded, [("zlock", 0, 1), ("drain", 0, 3)], 7) == (6, ["drain", 0, 2], ["drain", 0, 3])
    assert event_difference(recorded, [("zlock", 0, 1)], 7) == (6, ["drain", 0, 2], None)
    assert event_difference(recorded, [], 7) == (5, ["zlock", 0, 1], None)
    # one that the recording lacks: the operation's own line
    more: list[Event] = [*(event for _, event in recorded), ("frag", 0)]
    assert event_difference(recorded, more, 7) == (7, None, ["frag", 0])


def test_reports() -> None:
    mismatch = Mismatch(12, 3, "pfn", list(range(200)), None, "alloc_pages(gfp=0xcc0, order=0) on CPU 1")
    result = ReplayResult(
        "x.gz", "linux-6.12", operations=7, mismatches=[mismatch], resyncs={"idle-fold": 2, "order": 0}
    )
    lines = mismatch_lines(result, mismatch)
    assert lines[0] == "x.gz: line 12, operation 3: alloc_pages(gfp=0xcc0, order=0) on CPU 1"
    assert lines[2].startswith("  expected [0, 1, 2,")
    assert len(lines[2]) < 220  # a long list is cut
    assert lines[3] == "  got      nothing"
    assert result_lines(result) == [
        "resynchronised: 2 x free_diff folded by an idle CPU",
        "7 operations, 1 mismatches",
    ]
