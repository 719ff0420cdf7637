# SPDX-License-Identifier: GPL-2.0-only
"""The scenarios' own machine: what is planned happens, and what is watched is seen."""

from __future__ import annotations

import pytest

from pageblock_buddy.errors import LockError, ModelBug
from pageblock_buddy.machine.spinlock import Spinlock
from pageblock_buddy.rfc.pageblock import list_owned_block
from tests.rfc.scenario import A, B, C, DoubleAdd, Scenario, completed, list_unconditionally, nothing, set_owner_raw


def test_what_is_not_drawn_is_allocated() -> None:
    """Free, PCP and llist blocks and drawn allocations cover their pages; the others get an allocation each."""
    text = "order 1: M[2] \n pcp0 o0: M[1] \n llist0: 4/0 \n zllist: 5/0 \n alloc: 8/3c"
    assert completed(text, 18).splitlines()[-1] == " alloc: 8/3c 0/0 6/0 7/0 16/0 17/0"
    s = Scenario(text)
    assert s.system.total_pages == 32
    s.expect(completed(text, 32))


def test_a_planned_step_runs_once_at_its_event() -> None:
    """The second time that C has unlocked A, and never again."""
    s = Scenario("owners: 0...")
    seen: list[str] = []
    s.at("C unlocks A", lambda: seen.append(s.log[-1]), nth=2)
    for pfn in range(3):
        s.free(C, pfn)
        assert seen == ["C unlocks A"] * (pfn > 0)
    s.expect("pcp0 o0: M[2* 1* 0*] \n owners: 0...")


def test_a_planned_step_that_never_runs_is_an_error() -> None:
    """A race that did not happen must not look like one that was survived."""
    s = Scenario("owners: 0...")
    s.at("C unlocks B", lambda: None)
    s.free(C, 0)
    with pytest.raises(AssertionError, match="never happened: \\['C unlocks B'\\]"):
        s.expect("pcp0 o0: M[0*] \n owners: 0...")


def test_the_log_and_how_often_a_lock_was_taken() -> None:
    """Locks and trylocks count, unlocks and misses do not."""
    s = Scenario("order 0: M[1] \n owners: 0...")
    assert s.alloc(A) == 1
    with s.holding(B, s.zone.lock):
        s.free_nolock(C, 0)
    assert s.log == [
        *("A trylocks A", "A locks Z", "A unlocks Z", "A unlocks A"),
        *("B trylocks Z", "C trylocks A", "C unlocks A", "B unlocks Z"),
    ]
    assert (s.locked("A"), s.locked("Z"), s.locked("B")) == (2, 2, 0)


def test_an_edge_of_the_wait_for_graph() -> None:
    """Lock and holder; None if the step goes through."""
    s = Scenario("")
    lock = Spinlock(s.k.machine, "some lock")
    assert s.waits_for(B, lock.lock) is None
    assert s.waits_for(C, lock.lock) == ("some lock", B)


def test_it_is_watched() -> None:
    """Unless the scenario says otherwise a Monitor sees a store without lock, and one to a block that is not
    complete."""
    s = Scenario("owners: 0...")
    with pytest.raises(LockError, match="guarded"):
        set_owner_raw(s.k, 0, 0)
    with s.holding(A, s.zone.lock), pytest.raises(ModelBug, match="ownership"):
        s.k.pcp_buddy.set_pageblock_owner(s.k, s.zone, 0, 2)
    t = Scenario("owners: 0...", watched=False)
    set_owner_raw(t.k, 0, 0)
    t.expect("owners: ....")


def test_entries_are_put_back() -> None:
    """Behind the block, and behind an error, the tables are as they were."""
    s = Scenario("")
    before = s.k.calls
    with s.replaced(merge_pcp_buddies=lambda *_: 59, drain_all_pages=nothing):
        assert s.merge(A) == 59
        assert s.k.calls.drain_all_pages != before.drain_all_pages
    assert s.k.calls is before
    assert s.k.pcp_buddy is before.pcp_buddy
    with pytest.raises(ZeroDivisionError), s.replaced(merge_pcp_buddies=lambda *_: 1 // 0):
        s.merge(A)
    assert s.k.pcp_buddy is before.pcp_buddy


def test_a_node_is_added_twice() -> None:
    """list_unconditionally() lists a free node as the rfc does, and notices a linked one."""
    s = Scenario("owners: 0...")
    with s.holding(A, s.zone.lock):
        list_unconditionally(s.k, s.zone, s.pcp(A), 0)
        with pytest.raises(DoubleAdd, match="linked on CPU 0"):
            list_unconditionally(s.k, s.zone, s.pcp(A), 0)
        list_owned_block(s.k, s.zone, s.pcp(A), 0)
    s.expect("owned0: 0 \n owners: 0...")
