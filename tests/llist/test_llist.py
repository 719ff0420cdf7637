# SPDX-License-Identifier: GPL-2.0-only
"""Split-path free: own pages by trylock, other CPUs' by a lock-less list that its owner absorbs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest

from pageblock_buddy import BadFree, Context, DoubleFree, OrderMismatch, System, gfp
from pageblock_buddy.machine.llist import LlistHead
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.page import PG_LLIST
from tests.helpers import (
    MOVABLE,
    assert_zone,
    config,
    fill,
    interrupt,
    limits,
    machine,
    pcp_of,
    small_zone,
    traced,
)
from tests.rfc_trylock.locks import Locks

CONTEXTS = list(Context)


def llist(text: str, **overrides: Any) -> System:
    """Four pageblocks and three CPUs."""
    return machine(text, 32, variant="llist", **({"nr_cpus": 3} | overrides))


def drain(system: System, count: int, cpu: int = 0) -> None:
    """free_pcppages_bulk() of CPU ``cpu``'s lists, from list 0."""
    k, pcp = system.kernel, pcp_of(system, cpu)
    pcp.lock.lock()
    k.calls.free_pcppages_bulk(k, system.zones[0], count, pcp, 0)
    pcp.lock.unlock()


# --- the push ----------------------------------------------------------------------------------


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_remote_free_needs_no_lock(context: Context) -> None:
    """RFC-9.6, RFC-9.14, RFC-9.15: CPU 0 is busy, its lock held; CPU 1 pushes, in every context.  The page is on no
    list and in no count; it is not free yet, so PGFREE does not know it either (RFC-9.10)."""
    system = llist("pcp0 o0: M[16] \n alloc: 9/0 10/1 \n owners: .0..")
    locks = Locks(system)
    with system.on_cpu(0):
        pcp_of(system).lock.lock()
    locks.take()
    with system.on_cpu(1, context):
        system.free_pages(9)
        system.free_pages(10, 1)
    assert locks.take() == ""
    with system.on_cpu(0):
        pcp_of(system).lock.unlock()
    assert_zone(system, "pcp0 o0: M[16] \n llist0: 10/1 9/0 \n owners: .0..")
    assert (pcp_of(system).count, system.kernel.pgfree) == (1, 0)


def test_a_nolock_free_is_pushed_too() -> None:
    """RFC-9.15; but with PREEMPT_RT, in a hard interrupt, the zone's llist comes first (RFC-6.1)."""
    system = llist("alloc: 9/0 11/0 \n owners: .0..", preempt_rt=True)
    locks = Locks(system)
    with system.on_cpu(1):
        system.free_pages_nolock(9)
    with system.on_cpu(1, Context.HARDIRQ):
        system.free_pages_nolock(11)
    assert locks.take() == ""
    assert_zone(system, "llist0: 9/0 \n zllist: 11/0 \n owners: .0..")


@pytest.mark.parametrize(
    ("preempt_rt", "context", "nolock"),
    [(False, Context.HARDIRQ, True), (True, Context.HARDIRQ, False), (True, Context.SOFTIRQ, True)],
)
def test_where_a_lock_may_be_tried(preempt_rt: bool, context: Context, nolock: bool) -> None:
    """RFC-6.1, RFC-9.5: an own page, without PREEMPT_RT, by an ordinary free, or outside of hard interrupts."""
    system = llist("alloc: 9/0 \n owners: .1..", preempt_rt=preempt_rt)
    locks = Locks(system)
    with system.on_cpu(1, context):
        (system.free_pages_nolock if nolock else system.free_pages)(9)
    assert locks.take() == "?pcp1 -pcp1"


def test_frees_are_traced() -> None:
    """LPA-15.1.2: by the CPU that frees, at the free: pushed, own and unowned pages, and those of a batch."""
    system = llist("alloc: 1/0 9/0 11/0 17/0 24/1 \n owners: 01..")
    log = traced(system, outer=True)
    with system.on_cpu(1):
        for pfn in (1, 9, 17):
            system.free_pages(pfn)
        system.free_folios([(11, 0), (24, 1)])
    frees = [event for event in log.take() if event[0] == "free"]
    assert frees == [("free", 1, 0, 1), ("free", 1, 0, 9), ("free", 1, 0, 17), ("free", 1, 0, 11), ("free", 1, 1, 24)]


def test_state_of_a_pushed_page() -> None:
    """RFC-9.14, RFC-11.1: the head says that it is on an llist, and its order."""
    system = llist("alloc: 8/2 \n owners: .0..")
    with system.on_cpu(1):
        system.free_pages(8, 2)
    assert list(system.kernel.mem_map[8:12]) == [PG_LLIST | 2, 0, 0, 0]


@pytest.mark.parametrize("order", range(4))
def test_every_order_is_pushed(order: int) -> None:
    """RFC-9.6, RFC-6.21, RFC-3.17."""
    system = llist(f"alloc: 8/{order} \n owners: .0..")
    with system.on_cpu(1):
        system.free_pages(8, order)
    assert_zone(system, f"llist0: 8/{order} \n owners: .0..")


def test_what_is_not_pushed() -> None:
    """RFC-6.2, RFC-6.3: a page of an ISOLATE block, and an order that has no PCP, go to the zone."""
    system = llist("alloc: 9/0 16/4 \n blocks: MIMM \n owners: .000")
    with system.on_cpu(1):
        system.free_pages(9)
        system.free_pages(16, 4)
    assert_zone(system, "order 0: I[9] \n order 4: M[16] \n blocks: MIMM \n owners: .000")


def test_double_free() -> None:
    """RFC-11.1, RFC-9.14: a pushed page is free already."""
    system = llist("llist0: 8/2 \n owners: .0..")
    with pytest.raises(DoubleFree):
        system.free_pages(8, 2)


def test_double_free_is_refused() -> None:
    """RFC-11.1: in whatever words, and nothing changes; nor does a free of the pushed block's inside."""
    system = llist("llist0: 8/2 \n owners: .0..")
    for pfn, order in ((8, 2), (8, 0), (9, 0)):
        with pytest.raises((DoubleFree, OrderMismatch, BadFree)):
            system.free_pages(pfn, order)
        with pytest.raises((DoubleFree, OrderMismatch, BadFree)):
            system.free_folios([(pfn, order)])
    assert_zone(system, "llist0: 8/2 \n owners: .0..")


# --- local and unowned frees -------------------------------------------------------------------


@pytest.mark.parametrize(("owners", "page"), [(".1..", "9*"), ("....", "9")])
@pytest.mark.parametrize("context", CONTEXTS)
def test_a_local_free_tries(owners: str, page: str, context: Context) -> None:
    """RFC-9.5, RFC-6.11: an own page, marked, or an unowned one, by a trylock of the running CPU's lock, in every
    context."""
    system = llist(f"alloc: 9/0 \n owners: {owners}")
    locks = Locks(system)
    with system.on_cpu(1, context):
        system.free_pages(9)
    assert locks.take() == "?pcp1 -pcp1"
    assert_zone(system, f"pcp1 o0: M[{page}] \n owners: {owners}")
    assert system.kernel.pgfree == 1


@pytest.mark.parametrize("owners", [".0..", "...."])
@pytest.mark.parametrize("context", CONTEXTS[1:])
def test_an_interrupt_on_the_owner(owners: str, context: Context) -> None:
    """RFC-9.5, RFC-9.15, RFC-6.17: its own lock is held by what it interrupted: to the zone, not to the own llist, and
    unlisted."""
    system = llist(f"alloc: 9/0 \n owners: {owners}")
    locks = Locks(system)
    with interrupt(system, pcp_of(system), context):
        locks.take()
        system.free_pages(9)
        assert locks.take() == "!pcp0 +zone -zone"
    assert_zone(system, f"order 0: M[9] \n owners: {owners}")


def test_a_task_does_not_wait_for_its_own_lock() -> None:
    """RFC-9.5: CPU 1 is draining CPU 0's PCP; CPU 0's task frees its own page to the zone."""
    system = llist("alloc: 9/0 \n owners: .0..")
    locks = Locks(system)
    with system.on_cpu(1):
        pcp_of(system).lock.lock()
    locks.take()
    system.free_pages(9)
    assert locks.take() == "!pcp0 +zone -zone"
    with system.on_cpu(1):
        pcp_of(system).lock.unlock()
    assert_zone(system, "order 0: M[9] \n owners: .0..")


def test_nolock_free_of_an_own_page() -> None:
    """RFC-9.15, RFC-6.8: both locks busy: on the zone's llist."""
    system = llist("alloc: 9/0 \n owners: .0..")
    zone = system.zones[0]
    with interrupt(system, pcp_of(system)):
        zone.lock.lock()
        system.free_pages_nolock(9)
        zone.lock.unlock()
    assert_zone(system, "zllist: 9/0 \n owners: .0..")


# --- absorbing ---------------------------------------------------------------------------------


def test_absorbed_by_an_allocation() -> None:
    """RFC-9.7, RFC-9.8, RFC-9.9, RFC-9.10: 9 was freed before 11: oldest first, so that 11, the newest, is at the head;
    the request gets it.  Both are marked and counted, PGFREE too, now."""
    system = llist("order 3: M[24] \n pcp0 o0: M[16] \n llist0: 11/0 9/0 \n owners: .0..")
    locks = Locks(system)
    assert system.alloc_pages(MOVABLE) == 11
    assert locks.take() == "?pcp0 -pcp0"
    assert_zone(system, "order 3: M[24] \n pcp0 o0: M[9* 16] \n alloc: 11/0 \n owners: .0..")
    assert (pcp_of(system).count, system.kernel.pgfree) == (2, 2)


def test_absorbing_saves_a_refill() -> None:
    """RFC-9.7, RFC-4.8: the PCP is empty, and what others freed is enough: zone->lock is not needed."""
    system = llist("order 3: M[24] \n llist0: 8/2 \n owners: .0..")
    locks = Locks(system)
    assert system.alloc_pages(MOVABLE, 1) == 8
    assert locks.take() == "?pcp0 -pcp0"
    assert_zone(system, "order 3: M[24] \n pcp0 o1: M[10*] \n alloc: 8/1 \n owners: .0..")


def test_absorbed_by_a_bulk_allocation() -> None:
    """RFC-9.7, LPA-9.4.7."""
    system = llist("order 3: M[24] \n llist0: 12/1 9/0 \n owners: .0..")
    assert system.alloc_pages_bulk(MOVABLE, 3) == [9, 12, 13]
    assert_zone(system, "order 3: M[24] \n alloc: 9/0 12/0 13/0 \n owners: .0..")


def test_absorbed_by_a_drain() -> None:
    """RFC-9.7, RFC-7.8, RFC-7.10: free_pcppages_bulk() of one page: 16 is the oldest on the list, behind what is
    absorbed."""
    system = llist("pcp0 o0: M[16] \n llist0: 11/0 9/0 \n owners: .0..")
    drain(system, 1)
    assert_zone(system, "order 0: M[16] \n pcp0 o0: M[11* 9*] \n owners: .0..")
    assert pcp_of(system).count == 2


def test_absorbed_by_drain_pages_zone() -> None:
    """RFC-9.7, RFC-9.6, RFC-9.11: although the count is 0; a remote drain takes the lock."""
    system = llist("llist0: 11/0 9/0 \n owners: .0..")
    locks = Locks(system)
    with system.on_cpu(1):
        system.kernel.calls.drain_pages_zone(system.kernel, 0, system.zones[0])
    assert locks.take() == "+pcp0 +zone -zone -pcp0"
    assert_zone(system, "order 0: M[11 9] \n owners: .0.. \n owned0: 8")
    assert system.kernel.pgfree == 2


def test_absorbed_by_the_drain_of_a_local_free() -> None:
    """RFC-9.7, RFC-9.13: CPU 0's own free reaches high 8: the drain of two pages absorbs 15 first, so that the block
    merges and goes whole."""
    system = llist(
        "pcp0 o0: M[14*] \n pcp0 o1: M[12*] \n pcp0 o2: M[8*] \n alloc: 16/0 \n llist0: 15/0 \n owners: .0.."
    )
    system.free_pages(16)
    assert_zone(system, "order 3: M[8] \n pcp0 o0: M[16] \n owners: ....")


def test_absorb_merge_drain() -> None:
    """RFC-9.13, RFC-9.14, RFC-7.12: seven pages are on the PCP and one on the llist: absorbed before the merge pass
    they are a whole block, which is disowned and not listed."""
    system = llist("pcp0 o0: M[8*] \n pcp0 o1: M[10*] \n pcp0 o2: M[12*] \n llist0: 9/0 \n owners: .0..")
    log = traced(system)
    drain(system, 99)
    assert log.take() == [("drain", 0, 3, 1, 8)]
    assert_zone(system, "order 3: M[8] \n owners: ....")


@pytest.mark.parametrize(
    ("letter", "on_list"), [("U", "U"), ("M", "M"), ("R", "R"), ("H", "M"), ("C", "M"), ("I", "M")]
)
def test_lists_of_the_absorbed(letter: str, on_list: str) -> None:
    """RFC-9.9, RFC-6.12, RFC-6.2: by order, and the type that the block has now."""
    system = llist(f"pcp0 o0: U[0] M[16] R[24] \n llist0: 10/1 9/0 \n blocks: U{letter}MR \n owners: .0..")
    pcp = pcp_of(system)
    pcp.lock.lock()
    assert system.kernel.pcp_buddy.pcp_rmqueue_smallest(system.kernel, system.zones[0], pcp, 3, 1) is None
    pcp.lock.unlock()
    singles = {"U": "U[9* 0] M[16] R[24]", "M": "U[0] M[9* 16] R[24]", "R": "U[0] M[16] R[9* 24]"}[on_list]
    assert_zone(system, f"pcp0 o0: {singles} \n pcp0 o1: {on_list}[10*] \n blocks: U{letter}MR \n owners: .0..")


def test_absorbing_tunes_nothing() -> None:
    """RFC-9.9: nor does it start a drain, though count goes to 16, and high is 8."""
    system = llist("order 3: M[24] \n llist0: 16/3 8/3 \n owners: .00.")
    pcp = limits(pcp_of(system), alloc_factor=3, free_count=1, flags=0, high=8)
    assert system.alloc_pages(MOVABLE) == 16
    assert_zone(
        system,
        """
        order 3: M[24]
        pcp0 o0: M[17*]
        pcp0 o1: M[18*]
        pcp0 o2: M[20*]
        pcp0 o3: M[8*]
        alloc: 16/0
        owners: .00.
        """,
    )
    # free_count is halved by the allocation itself
    assert (pcp.count, pcp.alloc_factor, pcp.free_count, pcp.flags, pcp.high) == (15, 3, 0, 0, 8)


def test_absorbed_without_an_owner() -> None:
    """RFC-9.12: the block was disowned meanwhile (its CPU was offline): the page gets no mark."""
    system = llist("order 3: M[24] \n llist0: 11/0 9/0 \n owners: ....")
    assert system.alloc_pages(MOVABLE) == 11
    assert_zone(system, "order 3: M[24] \n pcp0 o0: M[9] \n alloc: 11/0 \n owners: ....")


def test_the_owner_s_pages_of_two_zones() -> None:
    """RFC-9.6: each zone's PCP has an llist of its own."""
    zones = (
        small_zone(gfp.ZONE_DMA, 0, 16, managed_pages=16, reserved=((0, 16),)),
        small_zone(gfp.ZONE_DMA32, 16, 16, managed_pages=16, reserved=((16, 16),)),
    )
    system = System.boot(config(zones=zones, nr_cpus=2, vm_stat_threshold=0), variant="llist")
    fill(system, "alloc: 3/0 \n owners: 1.")
    fill(system, "alloc: 20/0 \n owners: 1.", system.zones[1])
    for pfn in (3, 20):
        system.free_pages(pfn)
    assert_zone(system, "llist1: 3/0 \n owners: 1.")
    assert_zone(system, "llist1: 20/0 \n owners: 1.", system.zones[1])
    system.kernel.calls.drain_all_pages(system.kernel, system.zones[1])
    assert_zone(system, "llist1: 3/0 \n owners: 1.")
    assert_zone(system, "order 0: M[20] \n owners: 1. \n owned1: 16", system.zones[1])


def test_a_flush_of_what_it_was_asked_for() -> None:
    """RFC-9.9, RFC-6.14: CPU 0's own free reaches high 8, and two pages are to go.  The five that are absorbed in that
    drain change nothing about it: the two oldest pages go."""
    system = llist("pcp0 o0: M[0 2 4 6 20 22 24] \n alloc: 26/0 \n llist0: 17/0 15/0 13/0 11/0 9/0 \n owners: .00.")
    system.free_pages(26)
    assert_zone(system, "order 0: M[22 24] \n pcp0 o0: M[17* 15* 13* 11* 9* 26 0 2 4 6 20] \n owners: .00.")


# --- drains of everything ----------------------------------------------------------------------


def test_drain_all_pages_looks_at_the_llist() -> None:
    """RFC-9.11: CPU 0 has a count, CPU 1 remote frees only, CPU 2 nothing: two are drained."""
    system = llist("pcp0 o0: M[0] \n llist1: 9/0 \n owners: .1..")
    locks = Locks(system)
    log = traced(system)
    system.drain_all_pages()
    assert locks.take() == "+pcp0 +zone -zone -pcp0 +pcp1 +zone -zone -pcp1"
    calls = [event for event in log.take() if event[0] == "call"]
    assert calls == [("call", 0, "drain_all_pages", 0), ("call", 0, "__drain_all_pages", 0)]
    assert_zone(system, "order 0: M[9 0] \n owners: .1.. \n owned1: 8")


def test_drain_pages_zone_in_pieces() -> None:
    """RFC-9.7, LPA-8.8.6: two pages at a time (batch 2, scale 0), all that was absorbed included."""
    system = llist("pcp0 o0: M[16 18] \n llist0: 13/0 11/0 9/0 \n owners: .0..", pcp_batch_scale_max=0)
    locks = Locks(system)
    system.drain_local_pages()
    assert locks.take() == " ".join(["+pcp0 +zone -zone -pcp0"] * 3)
    assert_zone(system, "order 0: M[13 11 9 16 18] \n owners: .0.. \n owned0: 8")


def test_drain_pages_zone_of_an_empty_cpu() -> None:
    """RFC-9.7: the lock is taken to look; zone->lock is not."""
    system = llist("pcp1 o0: M[0]")
    locks = Locks(system)
    system.drain_local_pages()
    assert locks.take() == "+pcp0 -pcp0"
    assert_zone(system, "pcp1 o0: M[0]")


def test_drain_pages_zone_starts_with_the_first_list() -> None:
    """RFC-7.10, LPA-8.8.6: index 0: UNMOVABLE, then MOVABLE, then RECLAIMABLE."""
    system = llist("pcp0 o0: U[0] M[8] \n llist0: 16/0 \n blocks: UMRM \n owners: ..0.")
    log = traced(system)
    system.drain_local_pages()
    assert [event[4] for event in log.take() if event[0] == "drain"] == [0, 8, 16]


def test_isolation_meanwhile() -> None:
    """RFC-9.11, RFC-8.8, RFC-9.14: the page was pushed before the isolation: drain_all_pages() finds it, and it comes
    to the ISOLATE list, so that the isolation can end."""
    system = llist("order 0: M[11] \n alloc: 9/0 \n owners: .0..")
    with system.on_cpu(1):
        system.free_pages(9)
    assert system.isolate_pageblock(8)
    assert_zone(system, "order 0: I[11] \n llist0: 9/0 \n blocks: MIMM \n owners: .0..")
    system.drain_all_pages()
    assert_zone(system, "order 0: I[9 11] \n blocks: MIMM \n owners: .0.. \n owned0: 8")


def test_an_llist_page_keeps_its_block_incomplete() -> None:
    """RFC-9.14: all other pages are free in the zone: nobody can claim the block."""
    system = llist("order 0: M[8] \n order 1: M[10] \n order 2: M[12] \n llist0: 9/0 \n owners: .0..")
    with system.on_cpu(1):
        assert system.alloc_pages(MOVABLE, 3) is None
    assert_zone(system, "order 0: M[8] \n order 1: M[10] \n order 2: M[12] \n llist0: 9/0 \n owners: .0..")


# --- batches of folios -------------------------------------------------------------------------


def test_a_batch() -> None:
    """RFC-6.20, RFC-9.5, RFC-9.6: CPU 2's own and the unowned page under one hold of its lock, in which the remote ones
    of CPU 0 and CPU 1 are pushed."""
    system = llist("alloc: 16/0 1/0 9/0 18/0 24/1 \n owners: 012.")
    locks = Locks(system)
    with system.on_cpu(2):
        system.free_folios([(16, 0), (1, 0), (9, 0), (18, 0), (24, 1)])
    assert locks.take() == "?pcp2 -pcp2"
    assert_zone(system, "pcp2 o0: M[18* 16*] \n pcp2 o1: M[24] \n llist0: 1/0 \n llist1: 9/0 \n owners: 012.")
    assert system.kernel.pgfree == 4


def test_a_batch_with_the_zone_in_between() -> None:
    """RFC-6.20, RFC-6.3, RFC-6.2, LPA-10.0.10: order 4 first; the lock is given up for an ISOLATE page."""
    system = llist("alloc: 0/0 8/0 2/0 16/4 \n blocks: MIMM \n owners: 00..")
    locks = Locks(system)
    system.free_folios([(0, 0), (8, 0), (2, 0), (16, 4)])
    assert locks.take() == "+zone -zone ?pcp0 -pcp0 +zone -zone ?pcp0 -pcp0"
    assert_zone(system, "order 0: I[8] \n order 4: M[16] \n pcp0 o0: M[2* 0*] \n blocks: MIMM \n owners: 00..")


def test_a_batch_in_an_interrupt_on_the_owner() -> None:
    """RFC-9.15: own pages to the zone, one by one; remote ones to their llists."""
    system = llist("alloc: 0/0 9/0 2/0 \n owners: 01..")
    with interrupt(system, pcp_of(system)):
        system.free_folios([(0, 0), (9, 0), (2, 0)])
    assert_zone(system, "order 0: M[2 0] \n llist1: 9/0 \n owners: 01..")


def test_a_batch_over_two_zones() -> None:
    """RFC-6.20: two PCPs of one CPU: the first lock is given back; single events for what comes to a PCP."""
    zones = (
        small_zone(gfp.ZONE_DMA, 0, 16, managed_pages=16, reserved=((0, 16),)),
        small_zone(gfp.ZONE_DMA32, 16, 16, managed_pages=16, reserved=((16, 16),)),
    )
    system = System.boot(config(zones=zones, nr_cpus=2, vm_stat_threshold=0), variant="llist")
    fill(system, "alloc: 3/0 5/0 \n owners: 0.")
    fill(system, "alloc: 20/0 30/0 \n owners: 1.", system.zones[1])
    locks = Locks(system)
    log = traced(system, outer=True)
    system.free_folios([(3, 0), (20, 0), (30, 0), (5, 0)])
    assert locks.take() == "?pcp0.DMA -pcp0.DMA ?pcp0.DMA32 -pcp0.DMA32 ?pcp0.DMA -pcp0.DMA"
    assert [event[2] for event in log.take() if event[0] == "freeb" and event[2] != 20] == [3, 30, 5]
    assert_zone(system, "pcp0 o0: M[5* 3*] \n owners: 0.")
    assert_zone(system, "pcp0 o0: M[30] \n llist1: 20/0 \n owners: 1.", system.zones[1])


@pytest.mark.parametrize(
    ("letter", "lists"),
    [("H", "M[0 10* 8*]"), ("C", "M[0 10* 8*]"), ("U", "U[10* 8*] M[0]"), ("R", "M[0] R[10* 8*]")],
)
def test_lists_of_own_frees(letter: str, lists: str) -> None:
    """RFC-6.2, RFC-6.12: by the block's type, alone and in a batch; HIGHATOMIC and CMA count as MOVABLE.  An ISOLATE
    page first of all finds no lock held."""
    system = llist(f"alloc: 0/0 8/0 10/0 16/0 \n blocks: M{letter}IM \n owners: .0..")
    system.free_pages(8)
    system.free_folios([(16, 0), (10, 0), (0, 0)])
    assert_zone(system, f"order 0: I[16] \n pcp0 o0: {lists} \n blocks: M{letter}IM \n owners: .0..")


@pytest.mark.parametrize("batch", [False, True])
def test_a_flush_that_loses_the_lock(batch: bool) -> None:
    """RFC-9.5, RFC-6.14: somebody drains CPU 0's PCP between two pieces: the flush ends, the lock is not ours; the next
    page of a batch tries anew, and goes to the zone."""
    system = llist("pcp0 o0: M[0 2 4 16 18 20 22] \n alloc: 9/0 11/0 \n owners: .0..")
    limits(pcp_of(system), free_count=5)
    locks = Locks(system)

    def seize() -> None:
        with system.on_cpu(1):
            assert pcp_of(system).lock.trylock()

    locks.at("-pcp0", seize)
    if batch:
        system.free_folios([(9, 0), (11, 0)])
    else:
        system.free_pages(9)
        system.free_pages(11)
    assert locks.take() == "?pcp0 +zone -zone -pcp0 ?pcp0 !pcp0 !pcp0 +zone -zone"
    with system.on_cpu(1):
        pcp_of(system).lock.unlock()
    assert_zone(system, "order 0: M[11 20 22] \n pcp0 o0: M[9* 0 2 4 16 18] \n owners: .0..")


# --- CPU hotplug -------------------------------------------------------------------------------


def before_the_look(system: System, happens: Callable[[], None]) -> None:
    """``happens`` once, after a push and before the pusher looks whether the owner lives."""
    k = system.kernel
    real = k.pcp_buddy.still_routed
    todo = [happens]

    def look(k: Kernel, pfn: int, tag: int, cpu: int) -> bool:
        if todo:
            todo.pop()()
        return real(k, pfn, tag, cpu)

    k.pcp_buddy = dataclasses.replace(k.pcp_buddy, still_routed=look)


class LateLlist(LlistHead):
    """An llist whose next push is delayed by something that happens before it."""

    __slots__ = ("happens",)

    def __init__(self, happens: Callable[[], None]) -> None:
        super().__init__()
        self.happens: Callable[[], None] | None = happens

    def llist_add(self, pfn: int, order: int) -> None:
        happens, self.happens = self.happens, None
        if happens is not None:
            happens()
        super().llist_add(pfn, order)


def test_offline_absorbs_first() -> None:
    """RFC-9.12, RFC-9.13, RFC-8.1: what others pushed goes to the zone with the rest; then the blocks are disowned."""
    system = llist("pcp1 o0: M[9*] \n alloc: 8/0 \n llist1: 3/0 12/2 11/0 \n owners: 01..")
    system.offline_cpu(1)
    assert_zone(system, "order 0: M[3 11 9] \n order 2: M[12] \n alloc: 8/0 \n owners: 0...")
    assert system.kernel.pgfree == 6


def test_pushed_before_the_owner_died() -> None:
    """RFC-9.12: the offline absorbed the page; the pusher finds the owner gone and nothing to do."""
    system = llist("alloc: 8/0 9/0 \n owners: .1..")

    def die() -> None:
        with system.on_cpu(2):
            system.offline_cpu(1)

    before_the_look(system, die)
    system.free_pages(9)
    assert_zone(system, "order 0: M[9] \n alloc: 8/0 \n owners: ....")
    assert system.kernel.pgfree == 1


def test_pushed_after_the_owner_died() -> None:
    """RFC-9.12, RFC-9.10: the tag was read, then the owner died, then the page is pushed, and another one meanwhile:
    the pusher takes all and gives it to the zone, where each counts once."""
    system = llist("order 0: M[8] \n alloc: 9/0 10/0 \n owners: .1..")

    def die() -> None:
        with system.on_cpu(2):
            system.offline_cpu(1)

    pcp_of(system, 1).free_llist = LateLlist(die)
    system.free_pages(9)
    assert_zone(system, "order 1: M[8] \n alloc: 10/0 \n owners: ....")
    assert system.kernel.pgfree == 1


def test_pushed_after_the_owner_died_by_a_nolock_free() -> None:
    """RFC-9.12, RFC-6.8: a trylock-only free waits for no zone->lock there either: the zone's llist."""
    system = llist("alloc: 8/0 9/0 \n owners: .1..")
    zone = system.zones[0]

    def die() -> None:
        with system.on_cpu(2):
            system.offline_cpu(1)
            zone.lock.lock()

    pcp_of(system, 1).free_llist = LateLlist(die)
    system.free_pages_nolock(9)
    with system.on_cpu(2):
        zone.lock.unlock()
    assert_zone(system, "alloc: 8/0 \n zllist: 9/0 \n owners: ....")


def test_pushed_while_the_owner_dies() -> None:
    """RFC-9.12: CPU 1 is offline and drained; before its blocks are disowned (zone->lock is free just then) CPU 0
    pushes and finds the tag unchanged.  The page must not stay on a dead CPU's llist."""
    system = llist("alloc: 8/0 9/0 \n owners: .1..")
    locks = Locks(system)
    locks.at("-zone", lambda: system.free_pages(9))
    with system.on_cpu(2):
        system.offline_cpu(1)
    assert locks.done()
    assert_zone(system, "order 0: M[9] \n alloc: 8/0 \n owners: ....")


def test_an_unowned_free_while_its_cpu_dies() -> None:
    """RFC-8.2, RFC-9.5: the trylock gets a dead CPU's lock: given back, and the page goes to the zone."""
    system = llist("alloc: 9/0")
    locks = Locks(system)

    def move_and_die() -> None:
        system.kernel.machine.cpu = 0
        system.offline_cpu(1)
        locks.take()

    locks.at("?pcp1", move_and_die)
    system.kernel.machine.cpu = 1
    system.free_pages(9)
    assert locks.take() == "?pcp1 -pcp1 +zone -zone"
    assert_zone(system, "order 0: M[9]")


def test_drain_all_pages_skips_offline_cpus() -> None:
    """RFC-9.11, LPA-8.8.8: online CPUs only (CPU 1 is put offline by hand)."""
    system = llist("llist1: 9/0 \n llist2: 16/0 \n owners: .12.")
    system.kernel.machine.online[1] = False
    system.drain_all_pages()
    system.kernel.machine.online[1] = True
    assert_zone(system, "order 0: M[16] \n llist1: 9/0 \n owners: .12. \n owned2: 16")


# --- the rest is the RFC's ---------------------------------------------------------------------


def test_refill_and_drain_are_the_rfc_s() -> None:
    """RFC-5.22, RFC-7.15: a claim, a remote free, a partial drain and a recovery."""
    system = llist("order 4: M[0 16]", high_min=32, high_max=32)
    limits(pcp_of(system), alloc_factor=2)
    assert [system.alloc_pages(MOVABLE) for _ in range(2)] == [0, 1]
    with system.on_cpu(1):
        system.free_pages(1)
    assert_zone(
        system,
        """
        order 3: M[8]
        order 4: M[16]
        pcp0 o1: M[2*]
        pcp0 o2: M[4*]
        llist0: 1/0
        alloc: 0/0
        owners: 0...
        """,
    )
    system.drain_all_pages()
    assert_zone(
        system,
        """
        order 0: M[1]
        order 1: M[2]
        order 2: M[4]
        order 3: M[8]
        order 4: M[16]
        alloc: 0/0
        owners: 0...
        owned0: 0
        """,
    )
    assert system.alloc_pages(MOVABLE) == 1


def test_no_lock_of_another_cpu_but_to_drain() -> None:
    """RFC-9.6: three CPUs free each other's pages under load; no CPU ever takes another one's pcp->lock."""
    system = machine("order 4: M[0 16 32 48]", 64, variant="llist", nr_cpus=3, high_min=32, high_max=32)
    locks = Locks(system)
    allocated = []
    for turn in range(60):
        with system.on_cpu(turn % 3):
            pfn = system.alloc_pages(MOVABLE)
        assert set(re.findall(r"pcp(.)", locks.take())) == {str(turn % 3)}
        assert pfn is not None
        allocated.append(pfn)
        if turn % 2:
            with system.on_cpu((turn + 1) % 3):
                system.free_pages(allocated.pop(0))
            assert set(re.findall(r"pcp(.)", locks.take())) <= {str((turn + 1) % 3)}
    system.validate()


def test_snapshot_keeps_the_llist() -> None:
    """RFC-9.14, RFC-11.1: newest first, and restored in that order."""
    system = llist("llist0: 12/2 11/0 9/0 \n alloc: 8/0 \n owners: .0..")
    restored = System.restore(system.snapshot())
    assert_zone(restored, "llist0: 12/2 11/0 9/0 \n alloc: 8/0 \n owners: .0..")
    assert restored.digest() == system.digest()
