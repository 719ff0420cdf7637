# SPDX-License-Identifier: GPL-2.0-only
"""Counterexamples get short, always in the same way, and keep their fault."""

from __future__ import annotations

import dataclasses
from unittest import mock

import pytest

from pageblock_buddy import Config
from pageblock_buddy.errors import InputError
from pageblock_buddy.interleave import shrink as module
from pageblock_buddy.interleave.catalogue import built_in
from pageblock_buddy.interleave.findings import Finding
from pageblock_buddy.interleave.program import Alloc, Free, Hold, Program, SetUp, walk
from pageblock_buddy.interleave.schedule import to_text
from pageblock_buddy.interleave.search import Search
from pageblock_buddy.interleave.shrink import Shrunk, operations, shrink
from pageblock_buddy.rfc import free
from tests.interleave.swap import instead


def padded(program: Program) -> Program:
    """The program with operations, a CPU and pages that its fault does not need."""
    config = Config.small(pages=64, nr_cpus=4, batch=2, high_min=32, high_max=32)
    first, second = program.tasks
    return dataclasses.replace(
        program,
        config=config,
        tasks=((*first, Alloc("u")), (*second, Alloc("v", 1)), (), (Alloc("w"),)),
        setup=(*program.setup, SetUp(3, Alloc("z")), SetUp(3, Free("z"))),
    )


def deadlock_of(program: Program, variant: str = "rfc") -> Finding:
    with Search(program, variant) as search:
        return next(finding for finding in search.run().findings if finding.code == "deadlock")


def shrunk(program: Program) -> Shrunk:
    return shrink(program, "rfc", deadlock_of(program))


@pytest.mark.parametrize("name", ["abba-hardirq", pytest.param("abba-remote-drain", marks=pytest.mark.ci)])
def test_the_known_deadlocks_shrink_to_their_minimum(name: str) -> None:
    """One operation on each side and the interrupt: nothing can be left out."""
    result = shrunk(padded(built_in(name)))
    assert result.finished
    assert operations(result.program) == 3
    assert result.program.config.nr_cpus == 2
    assert result.program.config.zones[0].spanned_pages <= 16
    assert result.recorded is not None
    assert result.recorded.finding is not None
    assert result.recorded.finding.code == "deadlock"
    # Nothing more can go: each smaller program is free of the fault.
    assert shrunk(result.program).program == result.program


@pytest.mark.ci
def test_the_same_twice() -> None:
    program = padded(built_in("abba-hardirq"))
    first, second = shrunk(program), shrunk(program)
    assert first.program == second.program
    assert first.recorded is not None
    assert second.recorded is not None
    assert to_text(first.recorded.schedule) == to_text(second.recorded.schedule)
    assert first.runs == second.runs


def test_a_fault_of_another_kind_is_not_taken_for_it() -> None:
    """With the deadlock goes an irq inversion, which fewer operations have: it does not count."""
    finding = deadlock_of(built_in("abba-hardirq"))
    result = shrink(built_in("abba-hardirq"), "rfc", finding)
    assert result.finding.kind == finding.kind
    inversion = Finding("irq-inversion", "", detail="xa_lock -> pcp->lock")
    assert shrink(built_in("abba-hardirq"), "rfc", inversion).finding.code == "irq-inversion"


def test_a_fault_that_is_not_there() -> None:
    with pytest.raises(InputError, match="has no finding 'deadlock"):
        shrink(built_in("abba-hardirq"), "llist", deadlock_of(built_in("abba-hardirq")))


def test_runs_are_bounded() -> None:
    with mock.patch.object(module, "MAX_RUNS", 30):
        result = shrunk(padded(built_in("abba-hardirq")))
    assert not result.finished
    # The first search, the one that went over the bound, and the last two, for the fewest preemptions.
    assert result.runs < 30 + 4 * module.MAX_PER_CANDIDATE


def not_looked_at_again(k: object, pfn: int, tag: int, cpu: int) -> bool:
    return True


@pytest.mark.ci
def test_a_seeded_bug_shrinks() -> None:
    """The stale owner needs one free and one CPU that goes offline."""
    with instead(free.still_routed, not_looked_at_again):
        with Search(built_in("offline-free"), "rfc", stop_at_fault=False) as search:
            findings = search.run().findings
        result = shrink(built_in("offline-free"), "rfc", next(f for f in findings if f.code == "stale-owner"))
    assert operations(result.program) == 2
    assert sorted(type(op).__name__ for p in result.program.processes() for op in walk(p.ops)) == ["Free", "Offline"]


def test_operations_are_counted() -> None:
    """A lock around nothing is an operation, a lock around operations is not."""
    program = built_in("abba-hardirq")
    assert operations(program) == 3
    assert isinstance(program.hardirqs[0][1][0], Hold)
