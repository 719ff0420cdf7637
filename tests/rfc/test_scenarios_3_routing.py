# SPDX-License-Identifier: GPL-2.0-only
"""Scenarios 23 to 43: routing, marks, locks."""

from __future__ import annotations

from typing import Any

import pytest

from pageblock_buddy import Context, gfp
from pageblock_buddy.errors import LockError, LockNotHeld, ModelBug
from pageblock_buddy.gfp import FPI_PCP_BUDDY
from pageblock_buddy.linux_7_0 import free as linux_7_0_free
from pageblock_buddy.machine.spinlock import Spinlock
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import PG_BUDDY, PG_PCP, PG_PCP_BUDDY
from pageblock_buddy.rfc import free as rfc_free
from pageblock_buddy.rfc.pageblock import disown_pageblock, unlist_owned_block
from tests.helpers import M, drawing_of, limits
from tests.rfc.scenario import A, B, C, Scenario, set_owner_raw

#: contexts in which a free only tries the lock
INTERRUPTS = [Context.SOFTIRQ, Context.HARDIRQ, Context.NMI]

# --- an owner that is read without a lock ------------------------------------------------------

#: C holds 0; the rest of B0 is in the zone (23), or on pA (24)
NOBODYS = "order 0: M[1] \n order 1: M[2] \n order 2: M[4]"
OWNED = "pcp0 o0: M[1*] \n pcp0 o1: M[2*] \n pcp0 o2: M[4*] \n owners: 0..."


def test_scenario_23_unlocked_read_against_a_claim() -> None:
    """Scenario 23: between C's read (0) and its commit A refills: it claims another block, and of B0 only phase 2 can
    take what is there, without owner: B0 is not whole while C holds 0."""
    s = Scenario(f"{NOBODYS} \n order 3: M[16]")
    s.at("C wants C", lambda: s.refill(A, 16))
    s.free(C, 0)
    s.expect(
        """
        pcp0 o0: M[1]
        pcp0 o1: M[2]
        pcp0 o2: M[4]
        pcp0 o3: M[16*]
        pcp2 o0: M[0]
        owners: ..0.
        """
    )


#: scenario 24 behind the race
DRAINED = "order 0: M[1] \n order 1: M[2] \n order 2: M[4]"


def test_scenario_24_unlocked_read_against_a_disown() -> None:
    """Scenario 24: between C's read (A) and its commit A drains all that it has of B0: not one chunk, so the tag stays,
    and C's page comes to the right PCP with the right mark."""
    s = Scenario(OWNED)
    s.at("C wants A", lambda: s.drain(A))
    s.free(C, 0)
    s.expect(f"{DRAINED} \n pcp0 o0: M[0*] \n owned0: 0 \n owners: 0...")


def disown_what_has_no_page_here(k: Kernel, zone: Zone, pcp: PerCpuPages, block_pfn: int) -> None:
    """In the place of list_owned_block(): the drain has no more pages of this block, so it is nobody's."""
    k.pcp_buddy.set_pageblock_owner(k, zone, block_pfn, 0)


def test_scenario_24_disowned_before_it_is_one_chunk() -> None:
    """Scenario 24: with a weaker rule for disowning C's commit marks a page of a block that nobody owns: I2 fails.
    Sharpened: the second look that CPU hotplug needs (D-23) would hide the mistake."""
    s = Scenario(OWNED)
    with (
        s.replaced(list_owned_block=disown_what_has_no_page_here),
        pytest.raises(ModelBug, match="ownership: "),
    ):
        s.drain(A)
    t = Scenario(OWNED, variant="rfc+offline-keep", watched=False)
    t.at("C wants A", lambda: t.drain(A))
    with t.replaced(list_owned_block=disown_what_has_no_page_here):
        t.free(C, 0)
    with pytest.raises(ModelBug, match="marks: pfn 0 is marked on CPU 0's lists, its block has tag 0"):
        t.system.validate()
    u = Scenario(OWNED, watched=False)
    u.at("C wants A", lambda: u.drain(A))
    with u.replaced(list_owned_block=disown_what_has_no_page_here):
        u.free(C, 0)
    u.expect(f"{DRAINED} \n pcp2 o0: M[0] \n owners: ....")


def adopt(s: Scenario, cpu: int, pfn: int) -> None:
    """[21/40]: a CPU becomes the owner of a block that is not complete."""
    with s.holding(cpu, s.zone.lock), s.system.on_cpu(cpu):
        s.k.pcp_buddy.set_pageblock_owner(s.k, s.zone, pfn, cpu + 1)


def commit_reading_again(s: Scenario) -> dict[str, Any]:
    """A commit that reads pbd->cpu once more for the mark."""
    real = s.k.calls.free_frozen_page_commit

    def commit(k: Kernel, zone: Zone, pcp: PerCpuPages, pfn: int, mt: int, order: int, fpi_flags: int) -> bool:
        owned = k.pageblock_cpu[pfn >> k.pageblock_order]
        fpi_flags = fpi_flags & ~FPI_PCP_BUDDY | (FPI_PCP_BUDDY if owned else 0)
        return real(k, zone, pcp, pfn, mt, order, fpi_flags)

    return {"free_frozen_page_commit": commit}


@pytest.mark.parametrize(
    ("drawing", "event", "step"),
    [
        (f"{NOBODYS} \n order 3: M[16]", "C wants C", lambda s: s.refill(A, 16)),
        (OWNED, "C wants A", lambda s: s.drain(A)),
    ],
    ids=["23", "24"],
)
def test_scenario_25_two_reads_are_safe_in_the_rfc(drawing: str, event: str, step: Any) -> None:
    """Scenario 25: in the races of 23 and 24 a second read says what the first one said."""
    once, twice = (Scenario(drawing, variant="rfc+offline-keep") for _ in range(2))
    once.at(event, lambda: step(once))
    once.free(C, 0)
    twice.at(event, lambda: step(twice))
    with twice.replaced(**commit_reading_again(twice)):
        twice.free(C, 0)
    outcome = drawing_of(once.system).text()
    once.expect(outcome)
    twice.expect(outcome)


def test_scenario_25_read_once() -> None:
    """Scenario 25 (D-21): A adopts B0 between C's read (0) and its commit.  With one read the page lies unmarked on pC,
    which I2 allows; with two it is marked there: I2 fails."""
    s = Scenario(NOBODYS, variant="rfc+offline-keep", watched=False)
    s.at("C wants C", lambda: adopt(s, A, 0))
    s.free(C, 0)
    s.expect(f"{NOBODYS} \n pcp2 o0: M[0] \n owners: 0...")
    t = Scenario(NOBODYS, variant="rfc+offline-keep", watched=False)
    t.at("C wants C", lambda: adopt(t, A, 0))
    with t.replaced(**commit_reading_again(t)):
        t.free(C, 0)
    with pytest.raises(ModelBug, match="marks: pfn 0 is marked on CPU 2's lists, its block has tag 1"):
        t.system.validate()


def test_scenario_25_adoption_is_not_the_rfc() -> None:
    """Scenario 25: the adoption itself breaks I5; and the second look of D-23 does not help against it, because it can
    come after that: I6 fails."""
    s = Scenario(NOBODYS)
    with pytest.raises(ModelBug, match="ownership: "):
        adopt(s, A, 0)
    t = Scenario(NOBODYS, watched=False)
    with t.recorded("still_routed") as looks:
        t.at("C wants C", lambda: adopt(t, A, 0))
        t.free(C, 0)  # adopted before the look: routed anew
    assert [look.result for look in looks] == [False, True]
    t.expect(f"{NOBODYS} \n pcp0 o0: M[0*] \n owners: 0...")
    u = Scenario(NOBODYS, watched=False)
    real = u.k.pcp_buddy.still_routed

    def look_then_adopt(k: Kernel, pfn: int, tag: int, cpu: int) -> bool:
        still = real(k, pfn, tag, cpu)
        adopt(u, A, 0)
        return still

    with u.replaced(still_routed=look_then_adopt, **commit_reading_again(u)):
        u.free(C, 0)
    with pytest.raises(ModelBug, match="marks: pfn 0 is marked on CPU 2's lists, its block has tag 1"):
        u.system.validate()


# --- when owner and list are written -----------------------------------------------------------


def test_scenario_26_the_owner_is_cleared_before_the_unlock() -> None:
    """Scenario 26 (D-20): B claims the block as soon as A's drain gives zone->lock up; the tag is B's and stays so."""
    s = Scenario("pcp0 o3: M[0*] \n owners: 0...")
    s.at("A unlocks Z", lambda: s.refill(B, 8))
    s.drain(A)
    s.expect("pcp1 o3: M[0*] \n owners: 1...")


def test_scenario_26_cleared_after_the_unlock() -> None:
    """Scenario 26: a store that comes later takes B's block from it: I2 fails, and what is freed of it goes unmarked to
    whoever frees."""
    s = Scenario("pcp0 o3: M[0*] \n owners: 0...", watched=False)
    late: list[tuple[int, int]] = []
    s.at("A unlocks Z", lambda: s.refill(B, 8))
    real = s.k.pcp_buddy.set_pageblock_owner

    def store(k: Kernel, zone: Zone, pfn: int, tag: int) -> None:
        if tag:
            real(k, zone, pfn, tag)
        else:
            late.append((pfn, tag))

    with s.replaced(set_pageblock_owner=store):
        s.drain(A)
    assert s.owners == "1..."
    for pfn, tag in late:
        set_owner_raw(s.k, pfn, tag)
    with pytest.raises(ModelBug, match="marks: pfn 0 is marked on CPU 1's lists, its block has tag 0"):
        s.system.validate()
    assert [s.alloc(B) for _ in range(2)] == [0, 1]
    s.free(A, 0)
    s.free(C, 1)
    assert (s.pcp(A).count, s.pcp(B).count, s.pcp(C).count) == (1, 6, 1)
    t = Scenario("pcp0 o3: M[0*] \n owners: 0...")
    with (
        t.replaced(set_pageblock_owner=lambda *_: None),
        pytest.raises(ModelBug, match="disown: "),
    ):
        t.drain(A)  # the monitor sees it at the unlock


TWO_WHOLE = "pcp0 o2: M[4* 0*] \n pcp0 o3: M[8*] \n owners: 00.."


def test_scenario_27_only_what_leaves_is_disowned() -> None:
    """Scenario 27 (D-20): the pass makes B0 whole, but B1 alone is drained: B0 stays A's, marked."""
    s = Scenario(TWO_WHOLE, high=32)
    s.drain_some(A, 2)
    s.expect("order 3: M[8] \n pcp0 o3: M[0*] \n owners: 0...")


def test_scenario_27_disowned_by_the_merge_pass() -> None:
    """Scenario 27: a merge pass that clears the tag leaves B0 on pA without owner: I2 fails; what A splits off it goes
    unmarked to whoever frees it.  disown_pageblock() refuses there: zone->lock is not held."""
    s = Scenario(TWO_WHOLE, high=32, watched=False)
    real = s.k.pcp_buddy.merge_pcp_buddies

    def merge_and_disown(k: Kernel, pcp: PerCpuPages) -> int:
        merges = real(k, pcp)
        for pfn in pcp.lists[k.calls.order_to_pindex(k, M, 3)]:
            set_owner_raw(k, pfn, 0)
        return merges

    with s.replaced(merge_pcp_buddies=merge_and_disown):
        s.drain_some(A, 2)
    with pytest.raises(ModelBug, match="marks: pfn 0 is marked on CPU 0's lists, its block has tag 0"):
        s.system.validate()
    assert s.alloc(A) == 0
    s.free(C, 0)
    assert (s.pcp(A).count, s.pcp(C).count) == (7, 1)
    with s.holding(A), pytest.raises(LockNotHeld, match="does not hold zone->lock"):
        disown_pageblock(s.k, s.zone, 0)


HALVES = "order 2: M[4] \n pcp0 o2: M[0*] \n owners: 0..."


def test_scenario_28_listed_before_the_unlock() -> None:
    """Scenario 28 (D-20): the drain makes B0 whole in the zone and lists it in the same hold; B's claim takes it
    off."""
    s = Scenario(HALVES)
    s.at("A unlocks Z", lambda: s.refill(B, 8))
    s.drain(A)
    s.expect("pcp1 o3: M[0*] \n owners: 1...")


def test_scenario_28_listed_in_a_later_hold() -> None:
    """Scenario 28: if the listing waits for another hold B's block comes to A's list: I3 fails."""
    s = Scenario(HALVES)
    late: list[tuple[Any, ...]] = []
    real = s.k.pcp_buddy.list_owned_block
    s.at("A unlocks Z", lambda: s.refill(B, 8))
    with s.replaced(list_owned_block=lambda *args: late.append(args)):
        s.drain(A)
    with s.system.on_cpu(A), s.holding(A, s.zone.lock):
        for args in late:
            real(*args)
    with pytest.raises(ModelBug, match="owned_blocks: pfn 0: listed on CPU 0, tag 2"):
        s.system.validate()


#: scenario 29: a fragment of B0, and B1 whole, in the zone; both on LA
CYCLE = "order 0: M[1] \n order 3: M[8] \n owned0: 0 8 \n owners: 00.."


def claim_and_list(s: Scenario) -> None:
    """B claims B1, takes a page of it and drains the rest, so that B1 is on LB."""
    s.refill(B, 8)
    assert s.alloc(B) == 8
    s.drain(B)


def test_scenario_29_starts_again_after_the_unlock() -> None:
    """Scenario 29 (D-13): zone->lock is free between two blocks, and B1 is on B's list when A goes on.  A does not find
    it any more; that a fragment of it then comes by phase 2, unmarked, is as it should be."""
    s = Scenario(CYCLE, variant="rfc+recover-cycle")
    s.at("A unlocks Z", lambda: claim_and_list(s))
    assert s.refill(A, 2) == 2
    s.expect(
        """
        order 1: M[10]
        order 2: M[12]
        pcp0 o0: M[1* 9]
        owned1: 8
        owners: 01..
        """
    )


def test_scenario_29_a_saved_next_entry() -> None:
    """Scenario 29: with list_for_each_entry_safe() A goes on with B1, on whatever list it is, and takes B's fragments
    with a mark: I2 fails; and B's list has lost it."""

    def recover(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
        got = 0
        for block_pfn in k.pcp_buddy.owned_blocks_to_recover(k, pcp, mt):  # saved
            got += k.pcp_buddy.recover_block(k, zone, pcp, block_pfn, k.block_pages).pages
            k.pcp_buddy.unlist_owned_block(k, zone, block_pfn)
            zone.lock.unlock()
            zone.lock.lock()
        return got

    s = Scenario(CYCLE, watched=False)
    s.at("A unlocks Z", lambda: claim_and_list(s))
    with s.replaced(refill_recover=recover):
        s.refill(A, 2)
    assert s.pcp(B).owned_blocks.to_list() == []
    with pytest.raises(ModelBug, match="marks: pfn 9 is marked on CPU 0's lists, its block has tag 2"):
        s.system.validate()


def unlist_under_pcp_lock(k: Kernel, zone: Zone, block_pfn: int) -> None:
    """unlist_owned_block() where each owned_blocks list has its own CPU's pcp->lock for a guard."""
    linked = k.pageblock_cpu_node[block_pfn >> k.pageblock_order]
    former = zone.per_cpu_pageset[linked - 1].lock if linked else zone.lock
    if former.owner == k.machine.cpu:
        unlist_owned_block(k, zone, block_pfn)
    else:
        former.lock()
        unlist_owned_block(k, zone, block_pfn)
        former.unlock()


def test_scenario_30_pcp_lock_cannot_guard_the_list() -> None:
    """Scenario 30 (D-20): a claim would take the former owner's pcp->lock with its own and zone->lock held: I9 fails.
    Sharpened: no second claim is needed for a deadlock; A waiting for zone->lock in any refill closes the cycle."""
    stale = "order 4: M[0] \n owned0: 0 \n owners: 0..."
    s = Scenario(stale)
    with (
        s.replaced(unlist_owned_block=unlist_under_pcp_lock),
        pytest.raises(LockError, match="lock_order: "),
    ):
        s.refill(B, 8)
    t = Scenario(stale, watched=False)
    with t.replaced(unlist_owned_block=unlist_under_pcp_lock), t.holding(A):
        assert t.waits_for(B, lambda: t.refill(B, 8)) == ("pcp->lock", A)
        assert t.waits_for(A, t.zone.lock.lock) == ("zone->lock", B)


# --- a busy PCP --------------------------------------------------------------------------------

#: B0 is A's; 3 is in use, the rest on pA
ALL_BUT_3 = "pcp0 o0: M[2*] \n pcp0 o1: M[0*] \n pcp0 o2: M[4*] \n owners: 0..."


@pytest.mark.parametrize("context", INTERRUPTS)
def test_scenario_31_failed_trylock(context: Context) -> None:
    """Scenario 31 (D-20): outside of task context a busy pA means the zone; the block is not listed."""
    s = Scenario(ALL_BUT_3)
    with s.holding(A):
        s.log.clear()
        s.free(C, 3, context=context)
        assert s.log == ["C misses A", "C locks Z", "C unlocks Z"]
    s.expect(f"order 0: M[3] \n {ALL_BUT_3}")


def test_scenario_31_phase_0_does_not_reach_the_fragment() -> None:
    """Scenario 31: A's refill gets the fragment by phase 2, unmarked; a drain of B0 has to list the block first."""
    s = Scenario(f"order 0: M[3] \n {ALL_BUT_3}")
    s.refill(A, 1)
    s.expect("pcp0 o0: M[2* 3] \n pcp0 o1: M[0*] \n pcp0 o2: M[4*] \n owners: 0...")
    s = Scenario(f"order 0: M[3] \n {ALL_BUT_3}")
    s.drain_some(A, 1)
    s.expect("order 0: M[3] \n order 2: M[4] \n pcp0 o0: M[2*] \n pcp0 o1: M[0*] \n owned0: 0 \n owners: 0...")
    s.refill(A, 1)
    s.expect("pcp0 o0: M[2* 3*] \n pcp0 o1: M[0*] \n pcp0 o2: M[4*] \n owners: 0...")


def test_scenario_32_failed_trylock_of_a_whole_block() -> None:
    """Scenario 32 (D-22): B0 is whole in the zone with a stale tag, unlisted, nothing of it is allocated or on a
    PCP, and nobody claimed or drained; the next claim sets the tag."""
    s = Scenario("alloc: 0/3 \n owners: 0...")
    with s.holding(A):
        s.free(C, 0, order=3, context=Context.HARDIRQ)
    s.expect("order 3: M[0] \n owners: 0...")
    s.refill(B, 8)
    s.expect("pcp1 o3: M[0*] \n owners: 1...")


def test_scenario_33_the_chain_of_a_trylock_only_free() -> None:
    """Scenario 33: pA busy, then zone->lock busy: the zone's llist.  B0 is not complete there: A's full drain lists it.
    The next ordinary free_one_page() gives the page to the zone, whatever the tag."""
    s = Scenario(f"{ALL_BUT_3} \n alloc: 16/4")
    with s.holding(A), s.holding(B, s.zone.lock):
        s.log.clear()
        s.free_nolock(C, 3)
        assert s.log == ["C misses A", "C misses Z"]
    s.expect(f"{ALL_BUT_3} \n zllist: 3/0")
    with s.recorded("set_pageblock_owner") as stores:
        s.drain(A)
    assert stores == []
    s.expect("order 0: M[2] \n order 1: M[0] \n order 2: M[4] \n zllist: 3/0 \n owned0: 0 \n owners: 0...")
    s.free(C, 16, order=4)
    s.expect("order 3: M[0] \n order 4: M[16] \n owned0: 0 \n owners: 0...")


def test_scenario_33_a_trylock_only_commit_never_drains() -> None:
    """Scenario 33: count 9 at high 8; the next ordinary free drains (the whole B0: more than the 3 pages due)."""
    s = Scenario(ALL_BUT_3.replace("0...", "00.."))
    s.free_nolock(C, 3)
    s.free_nolock(C, 8)
    assert s.log == ["C trylocks A", "C unlocks A"] * 2
    s.expect("pcp0 o0: M[8* 3* 2*] \n pcp0 o1: M[0*] \n pcp0 o2: M[4*] \n owners: 00..")
    assert s.pcp(A).count == 9 > s.pcp(A).high
    s.free(C, 9)
    s.expect("order 3: M[0] \n pcp0 o1: M[8*] \n owners: .0..")


@pytest.mark.parametrize("context", [Context.HARDIRQ, Context.NMI])
def test_scenario_34_zone_llist_before_the_routing(context: Context) -> None:
    """Scenario 34: where no lock may be tried (PREEMPT_RT) the page goes to the zone's llist; no lock is touched,
    and the owner is not asked: what a read of it would say changes nothing."""
    s = Scenario(ALL_BUT_3, preempt_rt=True)
    with s.recorded("still_routed") as looks:
        s.free_nolock(C, 3, context=context)
    assert (s.log, looks) == ([], [])
    s.expect(f"{ALL_BUT_3} \n zllist: 3/0")
    s = Scenario(ALL_BUT_3, preempt_rt=True)
    s.free_nolock(C, 3)  # a task may try
    s.expect(ALL_BUT_3.replace("M[2*]", "M[3* 2*]"))


@pytest.mark.parametrize("context", INTERRUPTS)
def test_scenario_35_interrupt_on_the_owner_itself(context: Context) -> None:
    """Scenario 35: A's allocation holds pA, and A's own interrupt frees a page of A's block: the zone, as in 31."""
    s = Scenario(f"{ALL_BUT_3} \n order 4: M[16]".replace("pcp0 o1: M[0*]", ""))  # 0 and 1 are in use, too
    s.at("A unlocks Z", lambda: s.free(A, 3, context=context))
    assert s.alloc(A, 3) == 16
    assert s.log == [
        *("A trylocks A", "A locks Z", "A unlocks Z"),
        *("A misses A", "A locks Z", "A unlocks Z"),  # the interrupt
        "A unlocks A",
    ]
    s.expect("order 0: M[3] \n pcp0 o0: M[2*] \n pcp0 o2: M[4*] \n pcp0 o3: M[24*] \n owners: 0.00")


Edges = dict[int, tuple[str, int] | None]
XA_LOCK = "xa_lock"


def is_cycle(edges: Edges) -> bool:
    """Whether CPUs A and C wait for each other."""
    a, c = edges[A], edges[C]
    return a is not None and c is not None and (a[1], c[1]) == (C, A)


def deadlock_36(s: Scenario, folios: bool) -> Edges:
    """A's allocation holds pA, A's interrupt wants L; C holds L and frees a page of A's.  Who waits for whom."""
    xa_lock = Spinlock(s.k.machine, XA_LOCK)
    with s.system.on_cpu(C):
        xa_lock.lock()
    edges: Edges = {}

    def critical_moment() -> None:
        edges[C] = s.waits_for(C, lambda: s.system.free_folios([(0, 0)]) if folios else s.system.free_pages(0))
        edges[A] = s.waits_for(A, xa_lock.lock, Context.HARDIRQ)

    s.at("A unlocks Z", critical_moment)
    s.alloc(A)
    return edges


@pytest.mark.parametrize("folios", [False, True])
def test_scenario_36_the_deadlock(folios: bool) -> None:
    """Scenario 36: the RFC's free waits for pA, which A holds; A's interrupt waits for L, which C holds.  A cycle."""
    s = Scenario("order 4: M[16] \n owners: 0...")
    edges = deadlock_36(s, folios)
    assert edges == {C: ("pcp->lock", A), A: (XA_LOCK, C)}
    assert is_cycle(edges)


@pytest.mark.parametrize("folios", [False, True])
@pytest.mark.parametrize(
    ("variant", "after"),
    [("rfc-trylock", "order 0: M[0] \n pcp0 o0: M[17]"), ("llist", "pcp0 o0: M[16 17]")],
)
def test_scenario_36_the_fixes(variant: str, after: str, folios: bool) -> None:
    """Scenario 36: with [03/45] C's page goes to the zone; with [03/40] to A's llist, from where A's allocation,
    once it goes on, takes it.  C does not wait, so A's interrupt gets L as soon as C gives it up."""
    s = Scenario("order 4: M[16] \n owners: 0...", variant=variant)
    edges = deadlock_36(s, folios)
    assert edges == {C: None, A: (XA_LOCK, C)}
    assert not is_cycle(edges)
    s.expect(f"{after} \n order 1: M[18] \n order 2: M[20] \n order 3: M[24] \n owners: 0...")


def deadlock_37(s: Scenario) -> Edges:
    """C drains A's lists, C's interrupt wants L; A holds L and frees a page of its own."""
    xa_lock = Spinlock(s.k.machine, XA_LOCK)
    with s.system.on_cpu(A):
        xa_lock.lock()
    edges: Edges = {}

    def critical_moment() -> None:
        assert s.pcp(A).lock.owner == C  # holder and owner of the lock differ
        edges[A] = s.waits_for(A, lambda: s.system.free_pages(0))
        edges[C] = s.waits_for(C, xa_lock.lock, Context.HARDIRQ)

    s.at("C locks A", critical_moment)
    s.drain(A, by=C)
    return edges


def test_scenario_37_the_deadlock_through_a_remote_drain() -> None:
    """Scenario 37: the same cycle with a local free: pA is held by C, which drains it."""
    edges = deadlock_37(Scenario("pcp0 o0: M[1*] \n owners: 0..."))
    assert edges == {A: ("pcp->lock", C), C: (XA_LOCK, A)}
    assert is_cycle(edges)


@pytest.mark.parametrize("variant", ["rfc-trylock", "llist"])
def test_scenario_37_the_fixes(variant: str) -> None:
    """Scenario 37: both fixes try the local lock and go to the zone; there 0 meets 1, which C drains."""
    s = Scenario("pcp0 o0: M[1*] \n owners: 0...", variant=variant)
    edges = deadlock_37(s)
    assert edges == {A: None, C: (XA_LOCK, A)}
    s.expect("order 1: M[0] \n owned0: 0 \n owners: 0...")


# --- several PCPs ------------------------------------------------------------------------------

FOLIOS = [(0, 0), (8, 0), (1, 0), (16, 0)]


@pytest.mark.parametrize(
    ("variant", "log"),
    [
        (
            "rfc",
            [f"C {does} {lock}" for lock in "ABAC" for does in ("locks", "unlocks")],
        ),
        (
            "rfc-trylock",
            [f"C {does} {lock}" for lock in "ABAC" for does in ("trylocks", "unlocks")],
        ),
        ("llist", ["C trylocks C", "C unlocks C"]),
    ],
)
def test_scenario_38_folio_batch_over_several_owners(variant: str, log: list[str]) -> None:
    """Scenario 38: pA, pB, pA, pC, each given up before the next is taken; on llist only the own one."""
    s = Scenario("owners: 01..", variant=variant)
    with s.system.on_cpu(C):
        s.system.free_folios(FOLIOS)
    assert s.log == log
    on_owners = "llist0: 1/0 0/0 \n llist1: 8/0" if variant == "llist" else "pcp0 o0: M[1* 0*] \n pcp1 o0: M[8*]"
    s.expect(f"{on_owners} \n pcp2 o0: M[16] \n owners: 01..")


def test_scenario_38_one_hold_for_neighbours() -> None:
    """Scenario 38: the lock is kept while the next page has the same target."""
    s = Scenario("owners: 01..")
    with s.system.on_cpu(C):
        s.system.free_folios([(0, 0), (1, 0), (8, 0), (9, 0)])
    assert s.log == ["C locks A", "C unlocks A", "C locks B", "C unlocks B"]
    s.expect("pcp0 o0: M[1* 0*] \n pcp1 o0: M[9* 8*] \n owners: 01..")


def lock_owners(s: Scenario, pfns: list[int]) -> None:
    """A batch free that takes the next owner's lock before it gives the last one up."""
    held: list[Spinlock] = []
    for pfn in pfns:
        lock = s.pcp(s.k.pageblock_cpu[pfn >> s.k.pageblock_order] - 1).lock
        lock.lock()
        held.append(lock)
        if len(held) > 1:
            held.pop(0).unlock()
    held.pop().unlock()


def test_scenario_38_two_locks_at_once() -> None:
    """Scenario 38: otherwise C's batch over A and B and A's over B and A wait for each other."""
    with pytest.raises(LockError, match="lock_order: "):
        lock_owners(Scenario("owners: 01.."), [0, 8])
    s = Scenario("owners: 01..", watched=False)
    edges: Edges = {}

    def the_other_way_round() -> None:
        edges[A] = s.waits_for(A, lambda: lock_owners(s, [8, 0]))

    s.at("C wants B", the_other_way_round)
    edges[C] = s.waits_for(C, lambda: lock_owners(s, [0, 8]))
    assert edges == {A: ("pcp->lock", C), C: ("pcp->lock", A)}
    assert is_cycle(edges)


#: scenario 39: seven pages of A's that cannot merge, and three of C's own
SEVEN = "pcp0 o0: M[12* 10* 8* 6* 4* 2* 0*] \n pcp2 o0: M[26 25 24] \n owners: 00.."


def flushing(*, watched: bool = True) -> Scenario:
    """The next free to pA makes 6 pages go, in 3 pieces."""
    s = Scenario(SEVEN, watched=watched)
    limits(s.pcp(A), free_count=6)
    return s


def test_scenario_39_flush_in_pieces_on_a_remote_pcp() -> None:
    """Scenario 39 (D-21): C gives pA's lock up between the pieces and tries that one again; the invariants hold then;
    its own PCP is not touched."""
    s = flushing()
    s.at("C unlocks A", s.system.validate)
    s.at("C unlocks A", s.system.validate, nth=2)
    s.free(C, 14)
    piece = ["C locks Z", "C unlocks Z", "C unlocks A"]
    assert s.log == ["C locks A", *piece, "C trylocks A", *piece, "C trylocks A", *piece]
    s.expect(
        """
        order 0: M[10 8 6 4 2 0]
        pcp0 o0: M[14* 12*]
        pcp2 o0: M[26 25 24]
        owned0: 0 8
        owners: 00..
        """
    )


def test_scenario_39_stops_if_the_lock_is_taken() -> None:
    """Scenario 39 (D-21): A has its lock when C tries it again: what is left stays, and C holds nothing."""
    s = flushing()

    def a_allocates() -> None:
        with s.system.on_cpu(A):
            s.pcp(A).lock.lock()

    s.at("C unlocks A", a_allocates)
    s.free(C, 14)
    assert s.log[-2:] == ["A locks A", "C misses A"]
    with s.system.on_cpu(A):
        s.pcp(A).lock.unlock()
    s.expect(
        """
        order 0: M[2 0]
        pcp0 o0: M[14* 12* 10* 8* 6* 4*]
        pcp2 o0: M[26 25 24]
        owned0: 0
        owners: 00..
        """
    )


def test_scenario_39_stops_in_a_batch() -> None:
    """Scenario 39 (D-21): a batch goes on with the next page and its PCP, and does not give A's lock up, which it has
    not any more."""
    s = flushing()

    def a_allocates() -> None:
        with s.system.on_cpu(A):
            s.pcp(A).lock.lock()

    s.at("C unlocks A", a_allocates)
    with s.system.on_cpu(C):
        s.system.free_folios([(14, 0), (27, 0)])
    assert s.log[-4:] == ["A locks A", "C misses A", "C locks C", "C unlocks C"]
    with s.system.on_cpu(A):
        s.pcp(A).lock.unlock()
    s.expect(
        """
        order 0: M[2 0]
        pcp0 o0: M[14* 12* 10* 8* 6* 4*]
        pcp2 o0: M[27 26 25 24]
        owned0: 0
        owners: 00..
        """
    )


def test_scenario_39_reused_literally(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenario 39: the flush of linux-7.0 re-locks the running CPU's PCP: C's own pages go by A's count, C's lock stays
    held, and A's is given up twice."""
    monkeypatch.setattr(rfc_free, "flush_in_pieces", linux_7_0_free.flush_in_pieces)
    s = flushing(watched=False)
    with pytest.raises(LockNotHeld, match="does not hold pcp->lock"):
        s.free(C, 14)
    assert (s.pcp(A).count, s.pcp(C).count) == (6, 0)
    assert s.pcp(C).lock.owner == C


# --- heuristics, CPU numbers, marks ------------------------------------------------------------


def test_scenario_40_the_owner_s_heuristics() -> None:
    """Scenario 40 (D-21): C's free of order 1 changes A's free_count, alloc_factor and flags, not C's."""
    s = Scenario("alloc: 0/1 \n owners: 0...")
    for cpu in (A, C):
        limits(s.pcp(cpu), alloc_factor=3)
    s.free(C, 0, order=1)
    a, c = s.pcp(A), s.pcp(C)
    assert (a.alloc_factor, a.free_count, a.flags & gfp.PCPF_PREV_FREE_HIGH_ORDER) == (1, 2, 1)
    assert (c.alloc_factor, c.free_count, c.flags & gfp.PCPF_PREV_FREE_HIGH_ORDER) == (3, 0, 0)
    s.expect("pcp0 o1: M[0*] \n owners: 0...")


def produce_and_consume(variant: str, at_once: int, rounds: int, high: int = 16) -> tuple[list[int], int]:
    """A holds 16 pages; then, again and again, it allocates some, and C frees as many, the oldest first.

    Returns what the refills behind the start asked for, and how many of those claimed a block (8 pages).
    """
    pages = 256
    heads = " ".join(map(str, range(0, pages, 16)))
    s = Scenario(f"order 4: M[{heads}]", variant=variant, pages=pages, high=high)
    held = [s.alloc(A) for _ in range(16)]
    with s.recorded("nr_pcp_alloc") as amounts, s.recorded("refill_claim") as claims:
        for _ in range(rounds):
            held += [s.alloc(A) for _ in range(at_once)]
            for pfn in held[:at_once]:
                assert pfn is not None
                s.free(C, pfn)
            del held[:at_once]
        s.system.validate()
    return [amount.result for amount in amounts], sum(claim.result > 0 for claim in claims)


def test_scenario_40_page_by_page_phase_1_is_not_reached() -> None:
    """Scenario 40: one page allocated on A, one freed on C: alloc_factor is 0 at every refill, each asks for a
    batch, and none claims.  With keep-alloc-factor the one refill that there is asks for 14 and claims; want-block
    claims, too."""
    assert produce_and_consume("rfc", 1, 200) == ([2] * 6, 0)
    assert produce_and_consume("rfc+keep-alloc-factor", 1, 200) == ([14], 1)
    assert produce_and_consume("rfc+want-block", 1, 200) == ([8], 1)


def test_scenario_40_in_bursts_it_is() -> None:
    """Scenario 40, text corrected: "never" is true of frees between any two refills.  If A allocates 24 pages before C
    frees 24, alloc_factor grows again in each burst: 2, 4, 8 pages are asked for, and the 8 claim, for ever."""
    amounts, claims = produce_and_consume("rfc", 24, 8)
    assert amounts[-3:] == [2, 4, 8]
    assert (len(amounts), claims) == (19, 6)
    amounts, claims = produce_and_consume("rfc", 24, 16)
    assert amounts[-3:] == [2, 4, 8]
    assert (len(amounts), claims) == (39, 10)


def test_scenario_41_migration_between_cpu_number_and_lock() -> None:
    """Scenario 41: the task reads CPU C, moves to B, and locks and fills pC from there: harmless."""
    s = Scenario("owners: ....")

    def moves_to_b() -> None:
        s.k.machine.cpu = B

    s.at("C wants C", moves_to_b)
    s.free(C, 0)
    assert s.log == ["B locks C", "B unlocks C"]
    s.expect("pcp2 o0: M[0] \n owners: ....")


#: scenario 42: 3 came from the zone by phase 2
UNMARKED_3 = "pcp0 o0: M[2* 3] \n pcp0 o1: M[0*] \n pcp0 o2: M[4*] \n owners: 0..."


def test_scenario_42_an_unmarked_page_stops_the_merge() -> None:
    """Scenario 42 (D-19): all of B0 is on its owner's PCP, but 3 is unmarked: nothing merges, and the drain ends as 10:
    whole in the zone, listed, owned."""
    s = Scenario(f"order 0: M[3] \n {ALL_BUT_3}", high=32)
    s.refill(A, 1)
    assert s.merge(A) == 0
    s.expect(UNMARKED_3)
    s.drain(A)
    s.expect("order 3: M[0] \n owned0: 0 \n owners: 0...")


def test_scenario_42_once_allocated_and_freed_it_merges() -> None:
    """Scenario 42: a free marks it, and the block comes whole."""
    s = Scenario(UNMARKED_3, high=32)
    assert [s.alloc(A) for _ in range(2)] == [2, 3]
    s.free(C, 3, 2)
    assert s.merge(A) == 3
    s.expect("pcp0 o3: M[0*] \n owners: 0...")
    s.drain(A)
    s.expect("order 3: M[0] \n owners: ....")


def test_scenario_43_marks_are_cleared_on_the_way_out() -> None:
    """Scenario 43: in the zone, in B's hands and on pB the page that A drained has no mark."""
    s = Scenario("pcp0 o0: M[1*] \n owners: 0...")
    s.drain(A)
    assert s.k.mem_map[1] == PG_BUDDY
    s.refill(B, 1)
    assert s.k.mem_map[1] == PG_PCP
    s.expect("pcp1 o0: M[1] \n owned0: 0 \n owners: 0...")


def test_scenario_43_a_mark_left_on() -> None:
    """Scenario 43: with the mark still on it B's page is against I8, and A's merge pass, which asks marks alone,
    wants to unlink it from pB under pA's lock.  On an allocation it is against I1."""
    s = Scenario("order 0: M[1] \n pcp0 o0: M[0*] \n owned0: 0 \n owners: 0...", watched=False)
    s.refill(B, 1)
    s.k.mem_map[1] |= PG_PCP_BUDDY
    with pytest.raises(ModelBug, match="marks: pfn 1 is marked on CPU 1's lists, its block has tag 1"):
        s.system.validate()
    with pytest.raises(StopIteration):  # 1 is on none of A's lists
        s.merge(A)
    s = Scenario("pcp0 o0: M[1*] \n owners: 0...", watched=False)
    assert s.alloc(A) == 1
    s.k.mem_map[1] = PG_PCP_BUDDY
    with pytest.raises(ModelBug, match="place: pfn 1 is marked 0x50 but is not where that says"):
        s.system.validate()
