# SPDX-License-Identifier: GPL-2.0-only
"""Deadlocks: found when nobody can go on, and explained as a cycle."""

from __future__ import annotations

import pytest

from pageblock_buddy.interleave.catalogue import built_in
from pageblock_buddy.interleave.engine import Engine
from pageblock_buddy.interleave.findings import Finding
from pageblock_buddy.interleave.program import Alloc, Free, Hold, Offline, Op, Program
from pageblock_buddy.interleave.search import FAULT, Search
from tests.interleave.carried import CARRIERS, carrying, everything, first_choices, small


def nested(*locks: str) -> list[Op]:
    """These locks inside each other."""
    found: tuple[Op, ...] = ()
    for lock in reversed(locks):
        found = (Hold(lock, found),)
    return list(found)


def run(program: Program, *choices: str, variant: str = "rfc") -> Finding:
    """What a run finds."""
    with carrying() as carrier:
        finding = everything(Engine(program, variant, carrier)).run(first_choices(choices))
    assert finding is not None
    return finding


def test_two_locks_in_two_orders() -> None:
    finding = run(small(nested("a", "b"), nested("b", "a")), "0", "1")
    assert (finding.code, finding.detail, finding.process) == ("deadlock", "cycle a, b", "0")
    assert finding.lines == (
        "CPU 0 task (spin_lock(b)) waits for b, held by CPU 1 task",
        "CPU 1 task (spin_lock(a)) waits for a, held by CPU 0 task",
    )
    assert finding.message == f"deadlock: {'; '.join(finding.lines)}"
    assert finding.kind == "deadlock:cycle a, b"


def test_a_cycle_of_three_with_one_who_waits_for_it() -> None:
    """Whoever only waits for the cycle is not part of it."""
    program = small(nested("a"), nested("a", "b"), nested("b", "c"), nested("c", "a"))
    finding = run(program, "1", "2", "3")
    assert finding.detail == "cycle a, b, c"
    assert [line.split(" (")[0] for line in finding.lines] == ["CPU 1 task", "CPU 2 task", "CPU 3 task"]


def test_equal_cycles_read_alike() -> None:
    """Whoever comes upon it."""
    program = small(nested("a", "b"), nested("b", "a"))
    assert run(program, "0", "1") == run(program, "1", "0")


def test_a_handler_and_what_it_interrupts() -> None:
    finding = run(small(nested("L"), [], hardirqs=[(0, nested("L"))]), "0", "0h")
    assert finding.detail == "cycle L"
    assert finding.lines == (
        "CPU 0 task (spin_lock(L)) is interrupted by CPU 0 hardirq",
        "CPU 0 hardirq (spin_lock(L)) waits for L, held by CPU 0 task",
    )


def test_a_hardirq_in_a_softirq() -> None:
    program = small([Alloc("a")], [], softirqs=[(0, nested("L"))], hardirqs=[(0, nested("L"))])
    finding = run(program, "0s", "0s", "0h")
    assert finding.detail == "cycle L"
    assert [line.split(" (")[0] for line in finding.lines] == ["CPU 0 softirq", "CPU 0 hardirq"]


def test_pages_that_wait_for_each_other() -> None:
    program = small([Free("p"), Alloc("q")], [Free("q"), Alloc("p")])
    finding = run(program)
    assert finding.code == "deadlock"
    assert [line.split(") ")[1] for line in finding.lines] == ["waits for page p", "waits for page q"]


def test_a_page_that_never_comes() -> None:
    """Who waits for the page waits for the two that are in a cycle."""
    program = small([Free("p")], [*nested("a", "b"), Alloc("p")], nested("b", "a"))
    finding = run(program, "1", "2")
    assert finding.detail == "cycle a, b"
    assert len(finding.lines) == 2


def test_a_cpu_that_cannot_go() -> None:
    """Both CPUs take the other one offline, with the lock held that the other one wants."""
    program = small([Offline(1)], nested("a", "b"), nested("b", "a"))
    finding = run(program, "1", "2", "0")
    assert finding.code == "deadlock"
    assert finding.detail == "cycle a, b"


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "abba-hardirq",
            (
                "CPU 0 task (a = alloc_pages(0)) is interrupted by CPU 0 hardirq",
                "CPU 0 hardirq (spin_lock(xa_lock)) waits for xa_lock, held by CPU 1 task",
                "CPU 1 task (free_pages(s8)) waits for CPU 0 pcp->lock, held by CPU 0 task",
            ),
        ),
        (
            "abba-remote-drain",
            (
                "CPU 0 task (free_pages(s8)) waits for CPU 0 pcp->lock, held by CPU 1 task",
                "CPU 1 task (drain_pages(0)) is interrupted by CPU 1 hardirq",
                "CPU 1 hardirq (spin_lock(xa_lock)) waits for xa_lock, held by CPU 0 task",
            ),
        ),
    ],
)
def test_the_deadlocks_of_the_rfc(carrier: str, name: str, lines: tuple[str, ...]) -> None:
    with Search(built_in(name), "rfc", carrier=carrier) as search:
        result = search.run()
    assert result.verdict == FAULT
    assert result.findings[0].code == "deadlock"
    assert result.findings[0].lines == lines
    assert [finding.kind for finding in result.findings[1:]] == ["irq-inversion:xa_lock -> pcp->lock"]
