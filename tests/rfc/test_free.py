# SPDX-License-Identifier: GPL-2.0-only
"""Frees: routed to the PCP of the pageblock's owner, by one read of the tag."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from pageblock_buddy import BadFree, Context, DoubleFree, OrderMismatch, System, gfp
from pageblock_buddy.errors import SelfDeadlock
from pageblock_buddy.gfp import FPI_PCP_BUDDY
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import PG_PCP_BUDDY
from tests.helpers import (
    MOVABLE,
    assert_zone,
    config,
    fill,
    interrupt,
    kinds,
    limits,
    machine,
    pcp_of,
    small_zone,
    traced,
)
from tests.rfc_trylock.locks import Locks

PREV, HIGH_BATCH = gfp.PCPF_PREV_FREE_HIGH_ORDER, gfp.PCPF_FREE_HIGH_BATCH
INTERRUPTS = [Context.SOFTIRQ, Context.HARDIRQ, Context.NMI]


def rfc(text: str, **overrides: Any) -> System:
    """Four pageblocks and three CPUs."""
    return machine(text, 32, variant="rfc", **({"nr_cpus": 3} | overrides))


def hold(system: System, cpu: int) -> PerCpuPages:
    """CPU ``cpu`` takes its pcp->lock, as an allocation does."""
    pcp = pcp_of(system, cpu)
    with system.on_cpu(cpu):
        assert pcp.lock.trylock()
    return pcp


def release(system: System, cpu: int) -> None:
    """CPU ``cpu`` gives its pcp->lock back."""
    with system.on_cpu(cpu):
        pcp_of(system, cpu).lock.unlock()


# --- routing -----------------------------------------------------------------------------------


def test_local_free() -> None:
    """RFC-6.4, RFC-6.11, RFC-6.12, RFC-3.11: the owner frees: to the head of its own list, marked."""
    system = rfc("pcp0 o0: M[16] \n alloc: 9/0 \n owners: .0..")
    locks = Locks(system)
    system.free_pages(9)
    assert locks.take() == "+pcp0 -pcp0"
    assert_zone(system, "pcp0 o0: M[9* 16] \n owners: .0..")
    assert (pcp_of(system).count, system.kernel.pgfree) == (2, 1)


def test_remote_free() -> None:
    """RFC-1.6, RFC-3.19, RFC-6.4, RFC-6.11, RFC-6.12: CPU 2 frees CPU 0's page: to CPU 0's PCP, under that lock
    alone."""
    system = rfc("pcp0 o1: M[16] \n alloc: 10/1 \n owners: .0..")
    locks = Locks(system)
    with system.on_cpu(2):
        system.free_pages(10, 1)
    assert locks.take() == "+pcp0 -pcp0"
    assert_zone(system, "pcp0 o1: M[10* 16] \n owners: .0..")
    assert [pcp_of(system, cpu).count for cpu in range(3)] == [4, 0, 0]


def test_unowned_free() -> None:
    """RFC-6.5, RFC-6.11: a zone-owned page goes to the running CPU's PCP, without a mark."""
    system = rfc("alloc: 9/0 \n owners: ....")
    locks = Locks(system)
    with system.on_cpu(2):
        system.free_pages(9)
    assert locks.take() == "+pcp2 -pcp2"
    assert_zone(system, "pcp2 o0: M[9] \n owners: ....")


def test_the_owner_decides_not_who_allocated() -> None:
    """RFC-8.14, RFC-5.34, RFC-1.6: CPU 1 allocated from CPU 0's block by phase 2, and frees: to CPU 0, marked."""
    system = rfc("order 1: M[10] \n order 3: M[16] \n alloc: 8/1 12/2 \n owners: .0..")
    with system.on_cpu(1):
        assert system.alloc_pages(MOVABLE, 1) == 10
        system.free_pages(10, 1)
    assert_zone(
        system,
        """
        order 1: M[18]
        order 2: M[20]
        pcp0 o1: M[10*]
        pcp1 o1: M[16]
        alloc: 8/1 12/2
        owners: .0..
        """,
    )


@pytest.mark.parametrize(("letter", "on_list"), [("U", "U"), ("M", "M"), ("R", "R"), ("H", "M"), ("C", "M")])
@pytest.mark.parametrize("owner", [".", "1"])
def test_the_block_s_type_chooses_the_list(letter: str, on_list: str, owner: str) -> None:
    """RFC-6.12, RFC-6.2, LPA-8.4.3, LPA-8.4.5: the type at the free; HIGHATOMIC and CMA count as MOVABLE."""
    system = rfc(f"alloc: 10/1 \n blocks: M{letter}MM \n owners: .{owner}..")
    system.free_pages(10, 1)
    page = "10" if owner == "." else "10*"
    cpu = 0 if owner == "." else 1
    assert_zone(system, f"pcp{cpu} o1: {on_list}[{page}] \n blocks: M{letter}MM \n owners: .{owner}..")


def test_isolated_pages_are_not_routed() -> None:
    """RFC-6.2, RFC-8.7, LPA-8.4.4: to the zone; the owner's PCP does not notice."""
    system = rfc("alloc: 9/0 \n blocks: MIMM \n owners: .1.. \n owned1: 8")
    pcp = limits(pcp_of(system, 1), alloc_factor=3)
    locks = Locks(system)
    system.free_pages(9)
    assert locks.take() == "+zone -zone"
    assert_zone(system, "order 0: I[9] \n blocks: MIMM \n owners: .1.. \n owned1: 8")
    assert pcp.alloc_factor == 3


def test_the_page_s_zone() -> None:
    """RFC-6.4: the owner's PCP of the page's zone."""
    zones = (
        small_zone(gfp.ZONE_DMA, 0, 16, managed_pages=16, reserved=((0, 16),)),
        small_zone(gfp.ZONE_DMA32, 16, 16, managed_pages=16, reserved=((16, 16),)),
    )
    system = System.boot(config(zones=zones, nr_cpus=2, vm_stat_threshold=0), variant="rfc")
    fill(system, "alloc: 3/0 \n owners: 1.")
    fill(system, "alloc: 20/0 30/0 \n owners: 1.", system.zones[1])
    for pfn in (3, 20, 30):
        system.free_pages(pfn)
    assert_zone(system, "pcp1 o0: M[3*] \n owners: 1.")
    assert_zone(system, "pcp0 o0: M[30] \n pcp1 o0: M[20*] \n owners: 1.", system.zones[1])


@pytest.mark.parametrize(("owners", "tag", "flag", "page"), [(".0..", 0, FPI_PCP_BUDDY, "9*"), ("....", 1, 0, "9")])
def test_one_read_routes_and_marks(owners: str, tag: int, flag: int, page: str) -> None:
    """RFC-6.7: whatever the tag says by the time of the commit (nobody, or CPU 0), the page is marked as it was
    routed."""
    system = rfc(f"alloc: 9/0 \n owners: {owners}")
    k = system.kernel
    real = k.calls.free_frozen_page_commit

    def commit(k: Kernel, zone: Zone, pcp: PerCpuPages, pfn: int, mt: int, order: int, fpi_flags: int) -> bool:
        assert fpi_flags == flag
        before, k.pageblock_cpu[1] = k.pageblock_cpu[1], tag
        done = real(k, zone, pcp, pfn, mt, order, fpi_flags)
        k.pageblock_cpu[1] = before
        return done

    k.calls = dataclasses.replace(k.calls, free_frozen_page_commit=commit)
    system.free_pages(9)
    assert_zone(system, f"pcp0 o0: M[{page}] \n owners: {owners}")


def test_a_page_of_the_own_block_that_came_unmarked() -> None:
    """RFC-6.11, RFC-7.4: phase 2 had brought it without a mark; once allocated and freed it has one and merges."""
    system = rfc(
        "order 3: M[16] \n pcp0 o0: M[11 10*] \n pcp0 o1: M[8*] \n pcp0 o2: M[12*] \n owners: .0..",
        high_min=99,
        high_max=99,
    )
    assert system.alloc_pages(MOVABLE) == 11
    system.free_pages(11)
    assert_zone(system, "order 3: M[16] \n pcp0 o0: M[11* 10*] \n pcp0 o1: M[8*] \n pcp0 o2: M[12*] \n owners: .0..")
    system.drain_local_pages()
    assert_zone(system, "order 3: M[8 16] \n owners: ....")


# --- the lock ----------------------------------------------------------------------------------


def test_a_task_waits_for_a_busy_owner() -> None:
    """RFC-6.9: CPU 0 is in the middle of an allocation; CPU 1, in a task, waits, and the page gets to its owner."""
    system = rfc("alloc: 9/0 \n owners: .0..")
    locks = Locks(system)
    hold(system, 0)
    locks.at("+pcp0", lambda: release(system, 0))
    locks.take()
    with system.on_cpu(1):
        system.free_pages(9)
    assert locks.take() == "-pcp0 +pcp0 -pcp0"
    assert_zone(system, "pcp0 o0: M[9*] \n owners: .0..")


def test_a_task_waits_for_ever() -> None:
    """RFC-6.9, RFC-9.1: if nobody gives the lock back the wait does not end; the zone is no way out."""
    system = rfc("alloc: 9/0 \n owners: .0..")
    hold(system, 0)
    with system.on_cpu(1), pytest.raises(SelfDeadlock):
        system.free_pages(9)
    release(system, 0)


def test_a_task_waits_for_its_own_pcp() -> None:
    """RFC-6.9, RFC-9.2, RFC-6.5: an unowned page as well: a remote drain may hold the lock."""
    system = rfc("alloc: 9/0")
    locks = Locks(system)
    with system.on_cpu(1):
        assert pcp_of(system).lock.trylock()
        locks.take()

    def drained() -> None:
        with system.on_cpu(1):
            pcp_of(system).lock.unlock()

    locks.at("+pcp0", drained)
    system.free_pages(9)
    assert locks.take() == "-pcp0 +pcp0 -pcp0"
    assert_zone(system, "pcp0 o0: M[9]")


@pytest.mark.parametrize("context", INTERRUPTS)
def test_an_interrupt_tries(context: Context) -> None:
    """RFC-6.8: outside of task context the owner's lock is tried; got, it is a free as any other."""
    system = rfc("alloc: 9/0 \n owners: .0..")
    locks = Locks(system)
    with system.on_cpu(1, context):
        system.free_pages(9)
    assert locks.take() == "?pcp0 -pcp0"
    assert_zone(system, "pcp0 o0: M[9*] \n owners: .0..")


@pytest.mark.parametrize("context", INTERRUPTS)
def test_an_interrupt_finds_the_owner_busy(context: Context) -> None:
    """RFC-6.8, RFC-6.17: to the zone, where it may merge; the block is not listed, and the owner's fields stay."""
    system = rfc("order 0: M[8] \n alloc: 9/0 \n owners: .0..")
    pcp = limits(hold(system, 0), alloc_factor=4, free_count=3)
    with system.on_cpu(1, context):
        system.free_pages(9)
    release(system, 0)
    assert_zone(system, "order 1: M[8] \n owners: .0..")
    assert (pcp.alloc_factor, pcp.free_count, system.kernel.pgfree) == (4, 3, 1)


def test_an_interrupt_on_the_owner() -> None:
    """RFC-6.8, RFC-6.17, LPA-8.4.6: it interrupts its own CPU's allocation: no deadlock, to the zone."""
    system = rfc("alloc: 9/0 17/0 \n owners: .0..")
    with interrupt(system, pcp_of(system)):
        system.free_pages(9)
        system.free_pages(17)
    assert_zone(system, "order 0: M[17 9] \n owners: .0..")


def test_a_whole_block_that_missed_the_lock() -> None:
    """RFC-8.13, RFC-6.17, RFC-6.8: the block is whole in the zone with a stale tag, unlisted; a claim takes it over."""
    system = rfc("alloc: 8/3 \n owners: .0..")
    hold(system, 0)
    with system.on_cpu(1, Context.HARDIRQ):
        system.free_pages(8, 3)
    release(system, 0)
    assert_zone(system, "order 3: M[8] \n owners: .0..")
    with system.on_cpu(1):
        assert system.alloc_pages(MOVABLE, 3) == 8
    assert_zone(system, "alloc: 8/3 \n owners: .1..")


def test_an_owner_cannot_change_under_a_free() -> None:
    """RFC-6.16, RFC-11.5, RFC-3.20: CPU 2 has read "CPU 0" and waits.  Meanwhile CPU 0 drains all it has of the block,
    which is partial, since CPU 2 holds page 9 of it, and CPU 1 takes every block that it can claim: the tag stays what
    it was."""
    system = rfc(
        """
        order 3: M[16]
        pcp0 o0: M[8*]
        pcp0 o1: M[10*]
        pcp0 o2: M[12*]
        alloc: 9/0
        owners: .0..
        """
    )
    locks = Locks(system)

    def meanwhile() -> None:
        system.drain_local_pages()
        with system.on_cpu(1):
            assert system.alloc_pages(MOVABLE, 3) == 16
            assert system.alloc_pages(MOVABLE, 3) is None

    system.kernel.machine.cpu = 2
    locks.at("+pcp0", meanwhile_on_cpu_0(system, meanwhile))
    system.free_pages(9)
    system.kernel.machine.cpu = 0
    assert_zone(
        system,
        """
        order 0: M[8]
        order 1: M[10]
        order 2: M[12]
        pcp0 o0: M[9*]
        alloc: 16/3
        owners: .01.
        owned0: 8
        """,
    )


def meanwhile_on_cpu_0(system: System, what: Callable[[], None]) -> Callable[[], None]:
    """``what``, run on CPU 0."""

    def run() -> None:
        with system.on_cpu(0):
            what()

    return run


def test_an_unowned_block_cannot_get_an_owner_under_a_free() -> None:
    """RFC-6.16, RFC-11.5: CPU 2 has read "nobody"; the rest of the block is free in the zone, and not whole without
    page 9: CPU 0 claims another one."""
    system = rfc("order 0: M[8] \n order 1: M[10] \n order 2: M[12] \n order 3: M[16] \n alloc: 9/0")
    locks = Locks(system)

    def claim() -> None:
        assert system.alloc_pages(MOVABLE, 3) == 16
        assert system.alloc_pages(MOVABLE, 3) is None

    locks.at("+pcp2", meanwhile_on_cpu_0(system, claim))
    with system.on_cpu(2):
        system.free_pages(9)
    assert_zone(
        system,
        """
        order 0: M[8]
        order 1: M[10]
        order 2: M[12]
        pcp2 o0: M[9]
        alloc: 16/3
        owners: ..0.
        """,
    )


# --- trylock only ------------------------------------------------------------------------------


def test_nolock_free() -> None:
    """RFC-6.8, RFC-6.11: even a task only tries; the page is routed and marked."""
    system = rfc("alloc: 9/0 \n owners: .0..")
    locks = Locks(system)
    with system.on_cpu(1):
        system.free_pages_nolock(9)
    assert locks.take() == "?pcp0 -pcp0"
    assert_zone(system, "pcp0 o0: M[9*] \n owners: .0..")


def test_nolock_free_to_the_zone() -> None:
    """RFC-6.8, RFC-6.17: the owner is busy, zone->lock is tried as well."""
    system = rfc("alloc: 9/0 \n owners: .0..")
    locks = Locks(system)
    hold(system, 0)
    locks.take()
    with system.on_cpu(1):
        system.free_pages_nolock(9)
    assert locks.take() == "!pcp0 ?zone -zone"
    release(system, 0)
    assert_zone(system, "order 0: M[9] \n owners: .0..")


def test_nolock_free_to_the_deferred_list() -> None:
    """RFC-6.8, RFC-6.18, LPA-4.3.6: zone->lock is busy too: the page waits, uncounted, for the next free_one_page() of
    the zone, and goes to the zone then although its block has an owner."""
    system = rfc("order 0: M[8] \n alloc: 9/0 16/4 \n owners: .0..")
    zone = system.zones[0]
    hold(system, 0)
    with system.on_cpu(0):
        zone.lock.lock()
    with system.on_cpu(1):
        system.free_pages_nolock(9)
    with system.on_cpu(0):
        zone.lock.unlock()
    release(system, 0)
    assert_zone(system, "order 0: M[8] \n alloc: 16/4 \n owners: .0.. \n zllist: 9/0")
    assert system.kernel.pgfree == 0
    system.free_pages(16, 4)
    assert_zone(system, "order 1: M[8] \n order 4: M[16] \n owners: .0..")
    assert system.kernel.pgfree == 17


def test_no_lock_at_all() -> None:
    """RFC-6.1: PREEMPT_RT, in a hard interrupt: no lock may even be tried; before the tag is looked at."""
    system = rfc("alloc: 9/0 11/0 \n owners: .0..", preempt_rt=True)
    locks = Locks(system)
    with system.on_cpu(1, Context.HARDIRQ):
        system.free_pages_nolock(9)
    assert locks.take() == ""
    assert_zone(system, "alloc: 11/0 \n owners: .0.. \n zllist: 9/0")
    with system.on_cpu(1, Context.SOFTIRQ):
        system.free_pages_nolock(11)
    assert locks.take() == "?pcp0 -pcp0"
    assert_zone(system, "pcp0 o0: M[11*] \n owners: .0.. \n zllist: 9/0")


@pytest.mark.parametrize(
    ("preempt_rt", "context", "nolock"),
    [(False, Context.HARDIRQ, True), (True, Context.HARDIRQ, False), (True, Context.SOFTIRQ, True)],
)
def test_where_a_lock_may_be_tried(preempt_rt: bool, context: Context, nolock: bool) -> None:
    """RFC-6.1, RFC-6.8: without PREEMPT_RT, by an ordinary free, or outside of hard interrupts, the owner's lock is
    tried."""
    system = rfc("alloc: 9/0 \n owners: .0..", preempt_rt=preempt_rt)
    locks = Locks(system)
    with system.on_cpu(1, context):
        (system.free_pages_nolock if nolock else system.free_pages)(9)
    assert locks.take() == "?pcp0 -pcp0"
    assert_zone(system, "pcp0 o0: M[9*] \n owners: .0..")


def test_nolock_commit_never_drains() -> None:
    """RFC-6.15, LPA-8.4.15: eight pages and high 8: the ninth stays too, and the next ordinary free drains (two)."""
    system = rfc("pcp0 o0: M[0 2 4 6 16 18 20 22] \n alloc: 9/0 11/0 \n owners: .0..")
    limits(pcp_of(system), high=8)
    with system.on_cpu(1):
        system.free_pages_nolock(9)
    assert_zone(system, "pcp0 o0: M[9* 0 2 4 6 16 18 20 22] \n alloc: 11/0 \n owners: .0..")
    system.free_pages(11)
    assert_zone(system, "order 0: M[20 22] \n pcp0 o0: M[11* 9* 0 2 4 6 16 18] \n owners: .0..")


# --- orders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", range(4))
def test_every_order_is_routed(order: int) -> None:
    """RFC-6.4, RFC-6.12, RFC-6.21, RFC-3.17: a free of pageblock_order is one marked chunk."""
    system = rfc(f"alloc: 8/{order} \n owners: .0..", high_min=99, high_max=99)
    with system.on_cpu(1):
        system.free_pages(8, order)
    assert_zone(system, f"pcp0 o{order}: M[8*] \n owners: .0..")
    assert (pcp_of(system).count, system.kernel.pgfree) == (1 << order, 1 << order)


def test_orders_without_pcp() -> None:
    """RFC-6.3: pageblocks of 32 pages: order 4 has no PCP: to the zone; tag and listing stay."""
    system = machine(
        "order 3: M[0] \n alloc: 16/4 8/3 \n owners: 0. \n owned0: 0",
        64,
        variant="rfc",
        pageblock_order=5,
        max_page_order=6,
    )
    locks = Locks(system)
    system.free_pages(16, 4)
    assert locks.take() == "+zone -zone"
    assert_zone(system, "order 3: M[0] \n order 4: M[16] \n alloc: 8/3 \n owners: 0. \n owned0: 0")


def test_orders_above_a_pageblock() -> None:
    """RFC-6.3, RFC-8.15, LPA-4.3.2: order 4 spans two blocks, of two owners and types: piece by piece to the zone; no
    tag, no listing and no PCP is touched."""
    system = rfc("alloc: 16/4 \n blocks: MMMU \n owners: ..01 \n owned0: 16")
    locks = Locks(system)
    system.free_pages(16, 4)
    assert locks.take() == "+zone -zone"
    assert_zone(system, "order 4: U[16] \n blocks: MMUU \n owners: ..01 \n owned0: 16")
    assert system.alloc_pages(gfp.GFP_KERNEL, 4) == 16
    assert_zone(system, "alloc: 16/4 \n blocks: MMUU \n owners: ..01 \n owned0: 16")


def test_a_block_in_pieces() -> None:
    """RFC-6.4, LPA-10.0.2: somebody else holds the first page: the upper half, page 9's pair and page 9 are freed one
    by one to the owner, the first page with its last reference; all of it merges then."""
    system = rfc("alloc: 8/3 \n owners: .0..", high_min=99, high_max=99)
    system.get_page(8)
    with system.on_cpu(1):
        system.free_pages(8, 3)
    assert_zone(system, "pcp0 o0: M[9*] \n pcp0 o1: M[10*] \n pcp0 o2: M[12*] \n alloc: 8/0 \n owners: .0..")
    system.free_pages(8)
    system.drain_all_pages()
    assert_zone(system, "order 3: M[8] \n owners: ....")


# --- whose heuristics --------------------------------------------------------------------------


def test_the_owner_s_fields() -> None:
    """RFC-6.13, LPA-8.4.8, LPA-8.4.13, LPA-8.4.14: alloc_factor halved, free_count and the flag for high orders: the
    owner's; the freeing CPU's fields stay."""
    system = rfc("alloc: 10/1 \n owners: .0..", high_min=8, high_max=40)
    own, other = (
        limits(pcp_of(system), alloc_factor=5, free_count=3),
        limits(pcp_of(system, 1), alloc_factor=5, free_count=3),
    )
    with system.on_cpu(1):
        system.free_pages(10, 1)
    assert (own.alloc_factor, own.free_count, own.flags, own.high, own.count) == (2, 5, PREV, 8, 2)
    assert (other.alloc_factor, other.free_count, other.flags, other.high, other.count) == (5, 3, 0, 0, 0)


def test_the_owner_s_high() -> None:
    """RFC-6.13, LPA-8.4.23: the owner's count reaches its high 4; with free_count 7 + batch 2 that becomes 9, while
    this free drains by the old one: clamp(7, 2, 4 - 2) pages."""
    system = rfc(
        "pcp0 o0: M[0 2 4] \n pcp1 o0: M[16 18 20 22 24 26 28 30] \n alloc: 9/0 \n owners: .0..",
        high_min=4,
        high_max=50,
    )
    own, other = limits(pcp_of(system), free_count=6), limits(pcp_of(system, 1), high=4)
    with system.on_cpu(1):
        system.free_pages(9)
    assert_zone(system, "order 0: M[2 4] \n pcp0 o0: M[9* 0] \n pcp1 o0: M[16 18 20 22 24 26 28 30] \n owners: .0..")
    assert (own.high, own.free_count, other.high) == (9, 7, 4)


@pytest.mark.parametrize(
    ("free_count", "flags", "order", "drained"),
    [
        (5, PREV, 1, False),
        (6, PREV, 1, True),
        (6, PREV, 3, True),
        (6, 0, 1, False),
        (6, HIGH_BATCH, 1, False),
        (6, PREV, 0, False),
    ],
)
def test_high_orders_in_a_row(free_count: int, flags: int, order: int, drained: bool) -> None:
    """RFC-6.13, LPA-8.4.12, LPA-8.4.13: the second high-order free in a row (orders 1 to 3) empties the owner's PCP, if
    its free_count is at least batch + high_min / 2 (4 + 4 / 2); without FREE_HIGH_BATCH its count need not reach a
    batch."""
    system = rfc(f"pcp0 o0: M[0] \n alloc: 8/{order} \n owners: .0..", batch=4, high_min=4, high_max=60, nr_cpus=2)
    limits(pcp_of(system), free_count=free_count, flags=flags, high=60)
    with system.on_cpu(1):
        system.free_pages(8, order)
    listed = "" if order == 3 else "owned0: 8"
    owners = "...." if order == 3 else ".0.."
    if drained:
        assert_zone(system, f"order 0: M[0] \n order {order}: M[8] \n owners: {owners} \n {listed}")
    elif order:
        assert_zone(system, f"pcp0 o0: M[0] \n pcp0 o{order}: M[8*] \n owners: .0..")
    else:
        assert_zone(system, "pcp0 o0: M[8* 0] \n owners: .0..")


def test_free_count_has_a_limit() -> None:
    """RFC-6.13, LPA-8.4.14: the owner's free_count grows while it is below batch << pcp_batch_scale_max (4 here)."""
    for before, after in ((2, [3, 5, 5]), (3, [4, 4, 4])):
        system = rfc("alloc: 8/0 10/1 12/2 \n owners: .0..", pcp_batch_scale_max=1, high_min=30, high_max=30)
        pcp = limits(pcp_of(system), free_count=before)
        seen = []
        with system.on_cpu(1):
            for pfn, order in ((8, 0), (10, 1), (12, 2)):
                system.free_pages(pfn, order)
                seen.append(pcp.free_count)
        assert seen == after


def test_order_0_and_pageblocks_end_the_row() -> None:
    """RFC-6.13, LPA-8.4.13: with pageblock_order 4 (above 3) a whole block is no high order in this sense."""
    system = machine(
        "alloc: 0/4 18/1 20/0 24/1 32/4 \n owners: 0000",
        64,
        variant="rfc",
        pageblock_order=4,
        max_page_order=5,
        high_min=99,
        high_max=99,
    )
    seen = []
    for pfn, order in ((18, 1), (20, 0), (24, 1), (0, 4), (32, 4)):
        system.free_pages(pfn, order)
        seen.append(pcp_of(system).flags)
    assert seen == [PREV, 0, PREV, 0, 0]


def test_high_batch() -> None:
    """RFC-6.13, LPA-8.4.12: with FREE_HIGH_BATCH the owner's count has to reach its batch of 4 first."""
    system = rfc("alloc: 10/1 12/1 \n owners: .0..", batch=4, high_min=30, high_max=30)
    limits(pcp_of(system), free_count=19, flags=PREV | HIGH_BATCH)
    with system.on_cpu(1):
        system.free_pages(10, 1)
        assert_zone(system, "pcp0 o1: M[10*] \n alloc: 12/1 \n owners: .0..")
        system.free_pages(12, 1)
    assert_zone(system, "order 1: M[12 10] \n owners: .0.. \n owned0: 8")


@pytest.mark.parametrize(("high_mark", "flags"), [(9, 0), (10, gfp.ZONE_BELOW_HIGH)])
def test_below_high_is_cleared(high_mark: int, flags: int) -> None:
    """RFC-6.10, RFC-6.13, LPA-8.4.17: a drain by a remote free leaves 10 free pages, all of them single: above a high
    mark of 9, not of 10."""
    system = rfc(
        """
        order 0: M[1 3 5 7 17 19 21 23]
        pcp0 o0: M[24 26 28 30 12 14 10]
        alloc: 9/0
        owners: .0..
        """,
        watermark=(0, 0, high_mark, high_mark),
    )
    system.zones[0].flags = gfp.ZONE_BELOW_HIGH
    with system.on_cpu(1):
        system.free_pages(9)
    assert_zone(system, "order 0: M[14 10 1 3 5 7 17 19 21 23] \n pcp0 o0: M[9* 24 26 28 30 12] \n owners: .0..")
    assert system.zones[0].flags == flags


# --- the drain by a free -----------------------------------------------------------------------

#: seven pages of CPU 0; with free_count 5 and high 8 the eighth drains six, in three pieces
SEVEN = "pcp0 o0: M[0 2 4 16 18 20 22] \n alloc: 9/0 \n owners: .0.."


def test_the_freeing_cpu_pays() -> None:
    """RFC-6.13, RFC-6.14, RFC-3.22, LPA-8.4.25, LPA-8.4.27: CPU 1 drains CPU 0's PCP by that one's limits, and between
    two pieces gives that lock back and tries it again."""
    system = rfc(SEVEN)
    limits(pcp_of(system), free_count=5)
    limits(pcp_of(system, 1), batch=63, high_min=900, high_max=900)
    locks = Locks(system)
    log = traced(system)
    with system.on_cpu(1):
        system.free_pages(9)
    assert locks.take() == "+pcp0 +zone -zone -pcp0 ?pcp0 +zone -zone -pcp0 ?pcp0 +zone -zone -pcp0"
    assert [(event[1], event[4]) for event in log.take()] == [(1, 22), (1, 20), (1, 18), (1, 16), (1, 4), (1, 2)]
    assert_zone(system, "order 0: M[2 4 16 18 20 22] \n pcp0 o0: M[9* 0] \n owners: .0..")


@pytest.mark.parametrize(
    ("free_count", "holds", "left"), [(5, 1, "9* 0 2 4 6 24 26 28"), (8, 2, "9* 0 2 4 6 24 26"), (10, 3, "9* 0 2 4 6")]
)
def test_what_really_went_is_counted(free_count: int, holds: int, left: str) -> None:
    """RFC-6.14, RFC-7.11: 6, 9 or 11 pages are to go, two at a time: the first piece is a whole block of eight; then
    there is nothing left to do, or one page, or two pages and one."""
    system = rfc(
        "pcp0 o0: M[0 2 4 6 24 26 28] \n pcp0 o3: M[16*] \n alloc: 9/0 \n owners: .00.", high_min=16, high_max=16
    )
    limits(pcp_of(system), free_count=free_count)
    locks = Locks(system)
    with system.on_cpu(1):
        system.free_pages(9)
    assert locks.take() == "+pcp0 " + "-pcp0 ?pcp0 ".join(["+zone -zone "] * holds) + "-pcp0"
    assert pcp_of(system).lists[1].to_list() == [int(page.rstrip("*")) for page in left.split()]
    gone = [pfn for pfn in (24, 26, 28) if str(pfn) not in left]
    order_0 = f"order 0: M[{' '.join(map(str, gone))}]" if gone else ""
    assert_zone(system, f"{order_0} \n order 3: M[16] \n pcp0 o0: M[{left}] \n owners: .0..")


def test_no_drain_by_the_freeing_cpu_s_limits() -> None:
    """RFC-6.13: CPU 1's lists are disabled (high 0); CPU 0's are not full."""
    system = rfc("alloc: 9/0 \n owners: .0..")
    limits(pcp_of(system, 1), batch=1, high_min=0, high_max=0)
    with system.on_cpu(1):
        system.free_pages(9)
    assert_zone(system, "pcp0 o0: M[9*] \n owners: .0..")


def test_the_owner_is_busy_between_two_pieces() -> None:
    """RFC-6.14: the flush ends; the rest stays, and the lock is CPU 0's.  CPU 1's own PCP has nothing to do with it."""
    system = rfc(SEVEN + "\n pcp1 o0: M[24 26]")
    limits(pcp_of(system), free_count=5)
    locks = Locks(system)
    locks.at("-pcp0", lambda: hold(system, 0))
    with system.on_cpu(1):
        system.free_pages(9)
    assert locks.take() == "+pcp0 +zone -zone -pcp0 ?pcp0 !pcp0"
    release(system, 0)
    assert_zone(system, "order 0: M[20 22] \n pcp0 o0: M[9* 0 2 4 16 18] \n pcp1 o0: M[24 26] \n owners: .0..")


def test_the_task_moves_between_two_pieces() -> None:
    """RFC-6.14, RFC-6.6: it is the same PCP still, so the flush goes on, on another CPU."""
    system = rfc(SEVEN)
    limits(pcp_of(system), free_count=5)
    locks = Locks(system)
    machine_ = system.kernel.machine

    def move() -> None:
        machine_.cpu = 2

    machine_.cpu = 1
    locks.at("-pcp0", move)
    log = traced(system)
    system.free_pages(9)
    assert [event[1] for event in log.take()] == [1, 1, 2, 2, 2, 2]
    assert_zone(system, "order 0: M[2 4 16 18 20 22] \n pcp0 o0: M[9* 0] \n owners: .0..")


def test_a_drain_by_a_free_merges_and_disowns() -> None:
    """RFC-6.13, RFC-7.1, RFC-7.11, RFC-7.12, RFC-1.7: CPU 1 frees the last page of a block: all eight are on CPU 0's
    PCP, which is full: they merge and go to the zone as one, although two pages would have done."""
    system = rfc(
        """
        order 4: M[16]
        order 3: M[0]
        pcp0 o0: M[9*]
        pcp0 o1: M[10*]
        pcp0 o2: M[12*]
        alloc: 8/0
        owners: .0..
        """
    )
    locks = Locks(system)
    with system.on_cpu(1):
        system.free_pages(8)
    assert locks.take() == "+pcp0 +zone -zone -pcp0"
    assert_zone(system, "order 4: M[0 16] \n owners: ....")


def test_boot_pageset_and_disabled_lists() -> None:
    """RFC-6.10, RFC-7.15, LPA-8.7.11: high 0: each free is drained at once, which lists the owner's block."""
    system = rfc("alloc: 9/0 \n owners: .0..", batch=1, high_min=0, high_max=0)
    with system.on_cpu(1):
        system.free_pages(9)
    assert_zone(system, "order 0: M[9] \n owners: .0.. \n owned0: 8")


# --- batches of folios -------------------------------------------------------------------------


def test_batch_over_several_owners() -> None:
    """RFC-6.19, RFC-6.20, RFC-3.23: CPU 2 frees pages of CPU 0, CPU 1, CPU 0 and nobody: each lock is given back before
    the next one is taken."""
    system = rfc("alloc: 1/0 9/0 3/0 17/0 \n owners: 01..")
    locks = Locks(system)
    with system.on_cpu(2):
        system.free_folios([(1, 0), (9, 0), (3, 0), (17, 0)])
    assert locks.take() == "+pcp0 -pcp0 +pcp1 -pcp1 +pcp0 -pcp0 +pcp2 -pcp2"
    assert_zone(system, "pcp0 o0: M[3* 1*] \n pcp1 o0: M[9*] \n pcp2 o0: M[17] \n owners: 01..")


def test_batch_with_one_target() -> None:
    """RFC-6.20: the lock is kept while the target is the same, over blocks and orders: CPU 0's own, another block of
    CPU 0, and an unowned page that CPU 0 frees."""
    system = rfc("alloc: 1/0 10/1 17/0 24/2 \n owners: 00..", high_min=99, high_max=99)
    locks = Locks(system)
    log = traced(system, outer=True)
    system.free_folios([(1, 0), (10, 1), (17, 0), (24, 2)])
    assert locks.take() == "+pcp0 -pcp0"
    assert_zone(system, "pcp0 o0: M[17 1*] \n pcp0 o1: M[10*] \n pcp0 o2: M[24] \n owners: 00..")
    assert kinds(log.take()) == ["free"] * 4 + ["freeb"] * 4
    assert system.kernel.pgfree == 8


def test_batch_with_isolated_and_large_blocks() -> None:
    """RFC-6.20, RFC-6.3, RFC-6.2: order 4 goes to the zone first of all; an ISOLATE page in between costs the lock."""
    system = rfc("alloc: 1/0 9/0 3/0 16/4 \n blocks: MIMM \n owners: 00..")
    locks = Locks(system)
    with system.on_cpu(1):
        system.free_folios([(1, 0), (9, 0), (3, 0), (16, 4)])
    assert locks.take() == "+zone -zone +pcp0 -pcp0 +zone -zone +pcp0 -pcp0"
    assert_zone(system, "order 0: I[9] \n order 4: M[16] \n pcp0 o0: M[3* 1*] \n blocks: MIMM \n owners: 00..")


@pytest.mark.parametrize(
    ("letter", "lists"), [("H", "M[9* 1]"), ("C", "M[9* 1]"), ("U", "U[9*] M[1]"), ("R", "M[1] R[9*]")]
)
def test_batch_with_other_types(letter: str, lists: str) -> None:
    """RFC-6.2, RFC-6.12: by the block's type; HIGHATOMIC and CMA count as MOVABLE here too.  An ISOLATE page first of
    all finds no lock held."""
    system = rfc(f"alloc: 1/0 9/0 17/0 \n blocks: M{letter}IM \n owners: .0..")
    system.free_folios([(17, 0), (1, 0), (9, 0)])
    assert_zone(system, f"order 0: I[17] \n pcp0 o0: {lists} \n blocks: M{letter}IM \n owners: .0..")


def test_batch_that_ends_at_a_busy_owner() -> None:
    """RFC-6.8, RFC-6.20: no lock is left to be given back."""
    system = rfc("alloc: 1/0 9/0 \n owners: 01..")
    hold(system, 0)
    with system.on_cpu(2, Context.SOFTIRQ):
        system.free_folios([(9, 0), (1, 0)])
    release(system, 0)
    assert_zone(system, "order 0: M[1] \n pcp1 o0: M[9*] \n owners: 01..")


def test_batch_in_an_interrupt() -> None:
    """RFC-6.8, RFC-6.19: every target is tried; CPU 0 is busy, so its pages go to the zone, unlisted and without a
    batched event; CPU 1's lock, held for the page before, is given back."""
    system = rfc("alloc: 1/0 9/0 3/0 11/0 \n owners: 01..")
    locks = Locks(system)
    hold(system, 0)
    locks.take()
    log = traced(system, outer=True)
    with system.on_cpu(2, Context.SOFTIRQ):
        system.free_folios([(9, 0), (1, 0), (3, 0), (11, 0)])
    assert locks.take() == "?pcp1 -pcp1 !pcp0 +zone -zone !pcp0 +zone -zone ?pcp1 -pcp1"
    release(system, 0)
    assert log.take()[4:] == [("freeb", 2, 9), ("freeb", 2, 11)]
    assert_zone(system, "order 0: M[3 1] \n pcp1 o0: M[11* 9*] \n owners: 01..")


def test_batch_over_two_zones() -> None:
    """RFC-6.20: the same CPU's PCPs of two zones are two targets."""
    zones = (
        small_zone(gfp.ZONE_DMA, 0, 16, managed_pages=16, reserved=((0, 16),)),
        small_zone(gfp.ZONE_DMA32, 16, 16, managed_pages=16, reserved=((16, 16),)),
    )
    system = System.boot(config(zones=zones, nr_cpus=2, vm_stat_threshold=0), variant="rfc")
    fill(system, "alloc: 3/0 5/0 \n owners: 1.")
    fill(system, "alloc: 20/0 \n owners: 1.", system.zones[1])
    locks = Locks(system)
    system.free_folios([(3, 0), (20, 0), (5, 0)])
    assert locks.take() == "+pcp1.DMA -pcp1.DMA +pcp1.DMA32 -pcp1.DMA32 +pcp1.DMA -pcp1.DMA"
    assert_zone(system, "pcp1 o0: M[5* 3*] \n owners: 1.")
    assert_zone(system, "pcp1 o0: M[20*] \n owners: 1.", system.zones[1])


def test_batch_that_loses_the_lock() -> None:
    """RFC-6.14, RFC-6.20: the first page's flush cannot get the lock again; the next page for the same CPU waits for it
    anew."""
    system = rfc("pcp0 o0: M[0 2 4 16 18 20 22] \n alloc: 9/0 11/0 \n owners: .0..")
    limits(pcp_of(system), free_count=5)
    locks = Locks(system)

    def seize() -> None:
        hold(system, 0)
        locks.at("+pcp0", lambda: release(system, 0))

    locks.at("-pcp0", seize)
    with system.on_cpu(1):
        system.free_folios([(9, 0), (11, 0)])
    assert locks.take() == "+pcp0 +zone -zone -pcp0 ?pcp0 !pcp0 -pcp0 +pcp0 -pcp0"
    assert_zone(system, "order 0: M[20 22] \n pcp0 o0: M[11* 9* 0 2 4 16 18] \n owners: .0..")


# --- errors ------------------------------------------------------------------------------------


def test_bad_frees_change_nothing() -> None:
    """RFC-11.1: a chunk on a PCP, marked or not, its inside, a page in the zone, an allocation's inside and order."""
    drawing = "order 0: M[16] \n pcp0 o0: M[20] \n pcp0 o2: M[8*] \n alloc: 24/1 \n owners: .0.."
    system = rfc(drawing)
    for pfn in (8, 9, 16, 20):
        with pytest.raises(DoubleFree):
            system.free_pages(pfn)
    with pytest.raises(BadFree):
        system.free_pages(25)
    with pytest.raises(OrderMismatch):
        system.free_pages(24, 2)
    assert_zone(system, drawing)


def test_double_free_of_a_deferred_page() -> None:
    """RFC-11.1, LPA-4.3.6: a page on the zone's llist is free already, too."""
    system = rfc("zllist: 9/0")
    with pytest.raises(DoubleFree):
        system.free_pages(9)


# --- one CPU -----------------------------------------------------------------------------------


def test_uniprocessor() -> None:
    """RFC-8.12: the one CPU owns what it claims; no free is remote; the block goes back whole."""
    system = machine("order 4: M[0 16]", 32, variant="rfc", nr_cpus=1, high_min=32, high_max=32)
    limits(pcp_of(system), alloc_factor=2)
    locks = Locks(system)
    assert system.alloc_pages(MOVABLE) == 0
    assert_zone(
        system,
        """
        order 3: M[8]
        order 4: M[16]
        pcp0 o0: M[1*]
        pcp0 o1: M[2*]
        pcp0 o2: M[4*]
        alloc: 0/0
        owners: 0...
        """,
    )
    system.free_pages(0)
    system.drain_local_pages()
    assert_zone(system, "order 4: M[0 16] \n owners: ....")
    assert locks.take() == "?pcp0 +zone -zone -pcp0 +pcp0 -pcp0 +pcp0 +zone -zone -pcp0"


def test_the_mark_in_the_page_state() -> None:
    """RFC-3.9, RFC-3.10: the state of the head says marked and which order; the other pages of the chunk say
    nothing."""
    system = rfc("alloc: 8/2 \n owners: .0..")
    system.free_pages(8, 2)
    assert list(system.kernel.mem_map[8:12]) == [PG_PCP_BUDDY | 2, 0, 0, 0]
