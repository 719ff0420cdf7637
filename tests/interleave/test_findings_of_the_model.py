# SPDX-License-Identifier: GPL-2.0-only
"""What the interleaver was built to find, and what it found in this package's own model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pageblock_buddy import Config
from pageblock_buddy.interleave.catalogue import built_in
from pageblock_buddy.interleave.program import Alloc, Decay, Free, Program, SetUp
from pageblock_buddy.interleave.search import EXHAUSTED, FAULT, Result, Search
from pageblock_buddy.llist import free as llist_free
from pageblock_buddy.mm import vmstat
from pageblock_buddy.rfc_trylock import free as trylock_free
from tests.interleave.swap import instead

DEADLOCKS = ("abba-hardirq", "abba-remote-drain")


def search(name: str, variant: str) -> Result:
    with Search(built_in(name), variant) as one:
        return one.run()


@pytest.mark.parametrize("name", DEADLOCKS)
def test_the_deadlock_of_the_rfc_is_found(name: str) -> None:
    """Scenarios 36 and 37: the cycle, in the kernel's names, over three links."""
    result = search(name, "rfc")
    assert result.verdict == FAULT
    finding = result.findings[0]
    assert finding.code == "deadlock"
    assert len(finding.lines) == 3
    text = "; ".join(finding.lines)
    for part in ("waits for xa_lock, held by", "is interrupted by", "waits for CPU 0 pcp->lock, held by"):
        assert part in text
    assert [f.code for f in result.findings[1:]] == ["irq-inversion"]


@pytest.mark.parametrize("name", DEADLOCKS)
@pytest.mark.parametrize("variant", ["rfc-trylock", "llist", "linux-7.0", "linux-6.12"])
def test_the_fixes_do_not_have_it(name: str, variant: str) -> None:
    result = search(name, variant)
    assert (result.verdict, result.findings) == (EXHAUSTED, [])
    assert result.injections > 0


def waits(k: Any, pcp: Any, fpi_flags: int) -> bool:
    """pcp_free_lock() with the fix's one line reverted."""
    pcp.lock.lock_irqsave()
    return True


@pytest.mark.parametrize("name", DEADLOCKS)
@pytest.mark.parametrize(
    ("variant", "function"), [("rfc-trylock", trylock_free.pcp_free_lock), ("llist", llist_free.pcp_free_lock)]
)
def test_with_the_fix_reverted_it_is_back(name: str, variant: str, function: Callable[..., Any]) -> None:
    if (name, variant) == ("abba-hardirq", "llist"):
        pytest.skip("a remote free of llist takes no pcp->lock at all: there is no line to revert")
    with instead(function, waits):
        result = search(name, variant)
    assert result.verdict == FAULT
    assert result.findings[0].code == "deadlock"


def without_the_comparison(k: Any, zone: Any, pfn: int, tag: int, fpi_flags: int, held: Any) -> Any:
    """lock_local_pcp() before decision D-30."""
    pcp = zone.per_cpu_pageset[k.machine.cpu]
    if pcp is not held:
        if held is not None:
            held.lock.unlock()
        if not k.pcp_buddy.pcp_free_lock(k, pcp, fpi_flags):
            return None
    if not k.pcp_buddy.still_routed(k, pfn, tag, pcp.cpu):
        pcp.lock.unlock()
        return None
    return pcp


def test_a_task_that_moves_while_it_frees() -> None:
    """D-30: a marked page on another CPU's lists than its owner's."""
    assert search("migrate-free", "llist").verdict == EXHAUSTED
    with instead(llist_free.lock_local_pcp, without_the_comparison):
        result = search("migrate-free", "llist")
    assert [finding.kind for finding in result.findings] == ["invariant:marks"]


def folded_in_two_steps(k: Any, do_pagesets: bool) -> None:
    """refresh_cpu_vm_stats() as it was: the difference is read, added, and only then set to 0."""
    for zone in k.zones:
        stat = zone.per_cpu_zonestats[k.machine.cpu]
        if stat.nr_free_pages_diff:
            zone.nr_free_pages += stat.nr_free_pages_diff
            stat.nr_free_pages_diff = 0


def test_an_interrupt_while_a_counter_is_folded() -> None:
    """this_cpu_xchg(): a hardirq that frees between the two steps is forgotten by the counter."""
    program = Program(
        name="fold",
        config=Config.small(pages=32, nr_cpus=2, batch=2, high_min=32, high_max=32),
        tasks=((Decay(),), (Alloc("b", 2),)),
        hardirqs=((0, (Free("x"),)),),
        setup=(SetUp(0, Alloc("x", 4)), SetUp(0, Alloc("y", 1))),
    )
    with Search(program, "linux-6.12") as one:
        assert one.run().verdict == EXHAUSTED
    with instead(vmstat.refresh_cpu_vm_stats, folded_in_two_steps), Search(program, "linux-6.12") as one:
        assert {finding.kind for finding in one.run().findings} == {"invariant:counters"}
