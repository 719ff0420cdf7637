# SPDX-License-Identifier: GPL-2.0-only
"""From the events of a natural run to operations in order of effect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pageblock_buddy.errors import InputError
from pageblock_buddy.recording.reader import RecordingReader
from pageblock_buddy.replay import natural_items
from pageblock_buddy.replay.natural_items import natural_operations
from pageblock_buddy.replay.result import Operation
from tests.recording.cut import write_lines
from tests.recording.tiny import meta_line

TASK, IRQ = (7, 0), (7, 1)


def assembled(tmp_path: Path, *events: tuple[tuple[int, int], list[Any]]) -> list[Operation]:
    """Operations of events, each given as ((pid, in_irq), [kind, cpu, ...])."""
    records: list[Any] = [meta_line(ne=len(events), nev=len(events))]
    records += [["e", pid, in_irq, 0, *event] for (pid, in_irq), event in events]
    records.append({"t": "snap"})
    path = write_lines(tmp_path / "x.jsonl", [json.dumps(record) for record in records])
    with RecordingReader(path) as reader:
        return natural_operations(reader, iter(reader))[0]


def shapes(operations: list[Operation]) -> list[tuple[str, int, int, list[str]]]:
    """kind, CPU, PFN, kinds of the inner events"""
    return [
        (
            o.kind,
            o.cpu,
            o.pfn if o.pfn != -1 else o.expected if isinstance(o.expected, int) else -1,
            [str(e[0]) for _, e in o.events],
        )
        for o in operations
    ]


def test_an_allocation_ends_with_its_event(tmp_path: Path) -> None:
    operations = assembled(
        tmp_path,
        (TASK, ["frag", 0, 0, 4, 0, 1, 0, 16]),
        (TASK, ["zlock", 0, 0, 0, 17, 1]),
        (TASK, ["call", 0, "wakeup_kswapd", 0]),
        (TASK, ["alloc", 0, 0, 3264, 0, 16]),
    )
    assert shapes(operations) == [("alloc", 0, 16, ["frag", "zlock", "call"])]
    assert [line for line, _ in operations[0].events] == [2, 3, 4]


def test_a_free_is_followed_by_what_it_flushed(tmp_path: Path) -> None:
    operations = assembled(
        tmp_path, (TASK, ["free", 0, 0, 9]), (TASK, ["drain", 0, 0, 1, 8]), (TASK, ["drain", 0, 0, 1, 9])
    )
    assert shapes(operations) == [("free", 0, 9, ["drain", "drain"])]


def test_each_context_has_operations_of_its_own(tmp_path: Path) -> None:
    """A task, an interrupt on the same CPU, another CPU: their events are mixed in the log."""
    operations = assembled(
        tmp_path,
        (TASK, ["zlock", 0, 0, 1, 4, 1]),
        (TASK, ["zlock", 1, 0, 1, 8, 1]),
        (IRQ, ["alloc", 0, 0, 3264, 1, 2]),
        (TASK, ["alloc", 1, 0, 3264, 1, 8]),
        (TASK, ["alloc", 0, 0, 3264, 1, 4]),
    )
    # in order of effect: at the first inner event
    assert shapes(operations) == [("alloc", 0, 4, ["zlock"]), ("alloc", 1, 8, ["zlock"]), ("alloc", 0, 2, [])]
    assert [o.in_irq for o in operations] == [False, False, True]


def test_a_batch(tmp_path: Path) -> None:
    """free: prepared; freeb: on the list; a page without freeb was freed at once."""
    operations = assembled(
        tmp_path,
        (TASK, ["free", 0, 0, 5]),
        (TASK, ["free", 0, 0, 6]),
        (TASK, ["free", 0, 0, 7]),
        (TASK, ["freeb", 0, 5]),
        (TASK, ["drain", 0, 0, 1, 5]),
        (TASK, ["freeb", 0, 7]),
    )
    assert shapes(operations) == [
        ("prepare", 0, 5, []),
        ("free", 0, 6, []),
        ("prepare", 0, 7, []),
        ("commit", 0, 5, ["drain"]),
        ("commit", 0, 7, []),
    ]


def test_a_bulk_allocation(tmp_path: Path) -> None:
    """One event a page; as many as were asked for at most; another request begins another operation."""
    bulk = [(TASK, ["bulk", 0, 2, 3264, pfn]) for pfn in (4, 5, 6)]
    operations = assembled(tmp_path, (TASK, ["zlock", 0, 0, 0, 4, 1]), *bulk)
    assert [(o.kind, o.nr_pages, o.expected) for o in operations] == [("bulk", 2, [4, 5]), ("bulk", 2, [6])]
    assert [len(o.events) for o in operations] == [1, 0]


def test_a_bulk_allocation_that_took_a_single_page(tmp_path: Path) -> None:
    """Its one page comes with an alloc event; a page freed and got again in between is another's."""
    single = [(TASK, ["alloc", 0, 0, 3264, 0, 4]), (TASK, ["bulk", 0, 3, 3264, 4])]
    operations = assembled(tmp_path, *single)
    assert [(o.kind, o.nr_pages, o.expected) for o in operations] == [("bulk", 3, [4])]


def test_calls(tmp_path: Path) -> None:
    operations = assembled(
        tmp_path,
        (TASK, ["call", 0, "drain_all_pages", 0]),
        (TASK, ["call", 0, "__drain_all_pages", 0]),
        (TASK, ["drain", 0, 0, 1, 8]),
        ((0, 0), ["call", 1, "decay_pcp_high", 1]),
    )
    assert [(o.kind, o.name, o.order, o.idle) for o in operations] == [
        ("call", "drain_all_pages", 0, False),
        ("call", "decay_pcp_high", 1, True),
    ]
    assert len(operations[0].events) == 1


def test_too_many_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(natural_items, "MAX_EVENTS", 2)
    events = [(TASK, ["alloc", 0, 0, 3264, 0, pfn]) for pfn in (4, 5, 6)]
    assert len(assembled(tmp_path, *events[:2])) == 2
    with pytest.raises(InputError, match="line 4: more than 2 events in a natural run"):
        assembled(tmp_path, *events)
