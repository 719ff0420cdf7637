# SPDX-License-Identifier: GPL-2.0-only
"""The drain: merge, choose victims, disown whole blocks, remember partial ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pageblock_buddy import System
from pageblock_buddy.linux_6_12.pcp import zone_pcp_disable
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages
from tests.helpers import assert_zone, config, fill, kinds, limits, machine, pcp_of, small_zone, traced
from tests.rfc_trylock.locks import Locks


def rfc(text: str, **overrides: Any) -> System:
    """Four pageblocks and two CPUs."""
    return machine(text, 32, variant="rfc", **({"nr_cpus": 2} | overrides))


def drain(system: System, count: int, pindex: int = 0, cpu: int = 0) -> int:
    """free_pcppages_bulk() of CPU ``cpu``'s lists, by the running CPU, under that pcp->lock; the pages that went."""
    k, pcp = system.kernel, pcp_of(system, cpu)
    pcp.lock.lock()
    freed = k.calls.free_pcppages_bulk(k, system.zones[0], count, pcp, pindex)
    pcp.lock.unlock()
    return freed


def victims(system: System, count: int, pindex: int = 0) -> list[int]:
    """The PFNs that a drain sends to the zone, in order."""
    log = traced(system)
    drain(system, count, pindex)
    return [int(event[4]) for event in log.take()]


# --- victims -----------------------------------------------------------------------------------

MANY = """
pcp0 o0: U[1 3] M[9 11] R[17 19]
pcp0 o1: U[4] M[12] R[20]
blocks: UMRM
"""


@pytest.mark.parametrize(
    ("pindex", "order"),
    [
        (0, [4, 12, 20, 3, 1, 11, 9, 19, 17]),
        (1, [12, 20, 4, 11, 9, 19, 17, 3, 1]),
        (2, [20, 4, 12, 19, 17, 3, 1, 11, 9]),
        (4, [12, 20, 4, 11, 9, 19, 17, 3, 1]),
        (11, [20, 4, 12, 19, 17, 3, 1, 11, 9]),
    ],
)
def test_order_of_victims(pindex: int, order: list[int]) -> None:
    """RFC-7.10, RFC-7.18: the largest order first; in each order from the type of the given index on, round the three
    types; each list from its tail."""
    assert victims(rfc(MANY), 12, pindex) == order


def test_the_last_victims_stay() -> None:
    """RFC-7.8, RFC-7.10: five pages from UNMOVABLE on: two of order 1 (12 before 20 is not the list's but the types'
    order), then one page."""
    system = rfc(MANY)
    assert victims(system, 5) == [4, 12, 20]
    assert_zone(system, "order 1: U[4] M[12] R[20] \n pcp0 o0: U[1 3] M[9 11] R[17 19] \n blocks: UMRM")
    assert pcp_of(system).count == 6


def test_amount() -> None:
    """RFC-7.8: as many pages as asked for, and no more than there are."""
    system = rfc("pcp0 o0: M[0 2 4 6]")
    assert drain(system, 3) == 3
    assert_zone(system, "order 0: M[2 4 6] \n pcp0 o0: M[0]")
    assert drain(system, 99) == 1
    assert_zone(system, "order 0: M[0 2 4 6]")
    assert drain(system, 5) == 0
    assert_zone(system, "order 0: M[0 2 4 6]")


def test_overshoot() -> None:
    """RFC-7.11: one page asked for, and a whole block goes: seven pages more, which is the bound."""
    system = rfc("pcp0 o0: M[16] \n pcp0 o3: M[8* 0*] \n owners: 00..")
    assert drain(system, 1) == 8
    assert_zone(system, "order 3: M[0] \n pcp0 o0: M[16] \n pcp0 o3: M[8*] \n owners: .0..")
    assert pcp_of(system).count == 9


def test_overshoot_by_what_merged() -> None:
    """RFC-7.11, RFC-7.1: no chunk was larger than a page; together they are one, and it goes as a whole."""
    system = rfc("pcp0 o0: M[8* 9* 10* 11* 12* 13* 14* 15*] \n owners: .0..")
    drain(system, 1)
    assert_zone(system, "order 3: M[8] \n owners: ....")


def test_large_chunks_first() -> None:
    """RFC-7.10, RFC-7.9: two pages are asked for: the merged pair goes, not the oldest page."""
    system = rfc("pcp0 o0: M[8* 9* 24] \n alloc: 10/1 12/2 \n owners: .0..")
    drain(system, 2)
    assert_zone(system, "order 1: M[8] \n pcp0 o0: M[24] \n alloc: 10/1 12/2 \n owners: .0.. \n owned0: 8")


def test_unowned_chunks_go_one_by_one() -> None:
    """RFC-7.18, RFC-7.4: two unmarked buddies are two operations; they merge in the zone."""
    system = rfc("pcp0 o0: M[8 9] \n owners: ....")
    log = traced(system)
    drain(system, 2)
    assert log.take() == [("drain", 0, 0, 1, 9), ("drain", 0, 0, 1, 8)]
    assert_zone(system, "order 1: M[8] \n owners: ....")


# --- the merge pass, and the lock --------------------------------------------------------------


def passes(system: System) -> list[bool]:
    """For each merge pass from now on: whether zone->lock was free and the PCP's lock held."""
    k, zone = system.kernel, system.zones[0]
    real = k.pcp_buddy.merge_pcp_buddies
    seen: list[bool] = []

    def record(k: Kernel, pcp: PerCpuPages) -> int:
        pcp.lock.assert_held()
        seen.append(zone.lock.owner is None)
        return real(k, pcp)

    k.pcp_buddy = dataclasses.replace(k.pcp_buddy, merge_pcp_buddies=record)
    return seen


def test_merging_needs_no_zone_lock() -> None:
    """RFC-7.1, RFC-7.2, RFC-7.9: the pass is before zone->lock is taken, once; then one hold for all victims."""
    system = rfc("pcp0 o0: M[8* 9* 16 17] \n alloc: 10/1 12/2 \n owners: .0..")
    seen = passes(system)
    locks = Locks(system)
    drain(system, 4)
    assert seen == [True]
    assert locks.take() == "+pcp0 +zone -zone -pcp0"


def test_a_pass_for_each_piece() -> None:
    """RFC-7.2, LPA-8.8.6: drain_pages_zone() takes batch << pcp_batch_scale_max pages at a time, 2 here."""
    system = rfc("pcp0 o0: M[8* 16 18 20 22] \n owners: .0..", pcp_batch_scale_max=0)
    seen = passes(system)
    system.drain_local_pages()
    assert seen == [True] * 3


def test_the_pass_is_over_all_lists() -> None:
    """RFC-7.2, RFC-11.8: one UNMOVABLE page is asked for, and MOVABLE's buddies merge as well; they stay."""
    system = rfc("pcp0 o0: M[8* 9*] \n pcp0 o2: U[0] \n blocks: UMMM \n alloc: 10/1 12/2 \n owners: .0..")
    drain(system, 1)
    assert_zone(system, "order 2: U[0] \n pcp0 o1: M[8*] \n blocks: UMMM \n alloc: 10/1 12/2 \n owners: .0..")


# --- whole blocks ------------------------------------------------------------------------------


def test_disown() -> None:
    """RFC-7.12, RFC-7.13, RFC-7.9: the merged block leaves as one chunk, which merges with its free neighbour; nobody
    owns it."""
    system = rfc("order 3: M[0] \n pcp0 o1: M[8*] \n pcp0 o0: M[10* 11*] \n pcp0 o2: M[12*] \n owners: 00..")
    log = traced(system)
    drain(system, 8)
    assert log.take() == [("drain", 0, 3, 1, 8)]
    assert_zone(system, "order 4: M[0] \n owners: 0...")


def test_disown_in_the_hold_that_frees() -> None:
    """RFC-7.14, RFC-3.21, RFC-11.9: before zone->lock is dropped the tag is 0, the block unlisted and in the zone;
    while another CPU could look, under zone->lock or without, before or after, it never sees a part of this."""
    system = rfc("pcp0 o3: M[8*] \n owners: .0.. \n owned0: 8")
    k = system.kernel
    locks = Locks(system)
    seen: list[tuple[int, int, int]] = []

    def look() -> None:
        seen.append((k.pageblock_cpu[1], len(pcp_of(system).owned_blocks), system.zones[0].free_area[3].nr_free))

    locks.at("+zone", look)
    locks.at("-zone", look)
    drain(system, 8)
    assert seen == [(1, 1, 0), (0, 0, 1)]
    assert locks.take() == "+pcp0 +zone -zone -pcp0"
    assert_zone(system, "order 3: M[8] \n owners: ....")


def test_a_whole_block_that_stays_is_kept() -> None:
    """RFC-7.14: both merge; one is enough for the drain (the oldest, 0, which merged first); the other is no victim and
    keeps its owner and its place on the list."""
    system = rfc("pcp0 o2: M[8* 12* 0* 4*] \n owners: 00.. \n owned0: 8")
    drain(system, 4)
    assert_zone(system, "order 3: M[0] \n pcp0 o3: M[8*] \n owners: .0.. \n owned0: 8")


def test_a_listed_block_that_is_whole_again() -> None:
    """RFC-7.14, RFC-11.3: it was listed by an earlier drain, and all of it came back since: disowned and unlisted."""
    system = rfc("pcp0 o2: M[8* 12*] \n alloc: 0/0 16/0 \n owners: 000. \n owned0: 0 8 16")
    drain(system, 8)
    assert_zone(system, "order 3: M[8] \n alloc: 0/0 16/0 \n owners: 0.0. \n owned0: 0 16")


def test_an_unmarked_whole_block() -> None:
    """RFC-7.12, RFC-7.17, RFC-8.14: phase 3 took it whole from the zone with CPU 0's stale tag: not owned by this stay,
    so neither disowned nor listed."""
    system = rfc("pcp0 o3: M[8] \n owners: .0..")
    drain(system, 8)
    assert_zone(system, "order 3: M[8] \n owners: .0..")


# --- partial blocks ----------------------------------------------------------------------------


def test_a_partial_block_is_listed() -> None:
    """RFC-7.15, RFC-7.16, RFC-3.7, RFC-3.13: its fragments go to the zone, without marks (14, 10, and to the tail of
    their list, since the blocks above may merge, 12 and 9); it stays CPU 0's, and is listed once, at the tail."""
    system = rfc("pcp0 o0: M[9* 12*] \n pcp0 o1: M[10* 14*] \n alloc: 0/0 8/0 13/0 \n owners: 00.. \n owned0: 0")
    drain(system, 6)
    assert_zone(system, "order 0: M[12 9] \n order 1: M[10 14] \n alloc: 0/0 8/0 13/0 \n owners: 00.. \n owned0: 0 8")


def test_blocks_are_listed_as_they_are_drained() -> None:
    """RFC-7.16, RFC-7.10: 18 is the largest, then 25, 9 and 1 from the tail; each block comes with its first fragment,
    and the second page of block 16 does not move it."""
    system = rfc("pcp0 o0: M[16* 1* 9* 25*] \n pcp0 o1: M[18*] \n owners: 0000")
    drain(system, 6)
    assert_zone(system, "order 0: M[1 9 25 16] \n order 1: M[18] \n owners: 0000 \n owned0: 16 24 8 0")


def test_a_listed_block_is_not_listed_again() -> None:
    """RFC-7.16: it keeps its place before 16."""
    system = rfc("pcp0 o0: M[9*] \n alloc: 8/0 16/0 \n owners: .00. \n owned0: 8 16")
    drain(system, 1)
    assert_zone(system, "order 0: M[9] \n alloc: 8/0 16/0 \n owners: .00. \n owned0: 8 16")


def test_listing_in_the_hold_that_frees() -> None:
    """RFC-7.16, RFC-3.21: when zone->lock is dropped, the block is listed; nothing happens to it later."""
    system = rfc("pcp0 o0: M[9*] \n alloc: 8/0 \n owners: .0..")
    locks = Locks(system)
    seen: list[tuple[list[int], int]] = []
    locks.at("-zone", lambda: seen.append((pcp_of(system).owned_blocks.to_list(), system.kernel.pageblock_cpu_node[1])))
    drain(system, 1)
    assert seen == [([8], 1)]
    assert locks.take() == "+pcp0 +zone -zone -pcp0"


@pytest.mark.parametrize("owners", ["....", ".0..", ".1.."])
def test_unmarked_pages_list_nothing(owners: str) -> None:
    """RFC-7.17: a page that phase 2 or 3 brought, whoever owns its block."""
    system = rfc(f"pcp0 o0: M[9] \n alloc: 8/0 \n owners: {owners}")
    drain(system, 1)
    assert_zone(system, f"order 0: M[9] \n alloc: 8/0 \n owners: {owners}")


def test_whole_only_in_the_zone() -> None:
    """RFC-7.20, RFC-8.13, RFC-8.16: page 11 is in the zone already, so the block never is one chunk on the PCP; its
    last fragments make it whole in the zone, with its owner, and listed.  The next claim takes it from both."""
    system = rfc(
        "order 0: M[11] \n order 3: M[0] \n pcp0 o0: M[10*] \n pcp0 o1: M[8*] \n pcp0 o2: M[12*] \n owners: .0.."
    )
    drain(system, 7)
    assert_zone(system, "order 4: M[0] \n owners: .0.. \n owned0: 8")


def test_an_unmarked_page_keeps_the_block_partial() -> None:
    """RFC-7.4, RFC-7.20: all of the block is on the PCP, page 11 without a mark: not wholly merged, so not disowned."""
    system = rfc("pcp0 o0: M[10* 11] \n pcp0 o1: M[8*] \n pcp0 o2: M[12*] \n owners: .0..")
    drain(system, 8)
    assert_zone(system, "order 3: M[8] \n owners: .0.. \n owned0: 8")


# --- types -------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", "URHCI")
def test_the_block_s_type_now(letter: str) -> None:
    """RFC-7.19, RFC-8.8, RFC-8.9, RFC-8.10: the chunks lie on MOVABLE's lists, and the block changed its type since: to
    another one, into the reserve, to CMA, or it was isolated.  They go to the lists of that type; a whole block is
    disowned and a partial one listed all the same."""
    system = rfc(f"pcp0 o0: M[9*] \n pcp0 o3: M[0*] \n alloc: 8/0 \n blocks: {letter * 2}MM \n owners: 00..")
    drain(system, 9)
    assert_zone(
        system,
        f"""
        order 0: {letter}[9]
        order 3: {letter}[0]
        alloc: 8/0
        blocks: {letter * 2}MM
        owners: .0..
        owned0: 8
        """,
    )


def test_isolated_while_on_the_pcp() -> None:
    """RFC-8.7, RFC-8.8: the isolation finds nothing in the zone, the drain completes it, and the type comes back with
    the page."""
    system = rfc("pcp0 o0: M[9*] \n alloc: 8/0 \n owners: .0..")
    system.isolate_pageblock(8)
    system.drain_all_pages()
    assert_zone(system, "order 0: I[9] \n alloc: 8/0 \n blocks: MIMM \n owners: .0.. \n owned0: 8")
    assert system.zones[0].nr_free_pages == 0
    system.unisolate_pageblock(8)
    assert_zone(system, "order 0: M[9] \n alloc: 8/0 \n blocks: MMMM \n owners: .0.. \n owned0: 8")


def test_type_rewrite_in_the_zone() -> None:
    """RFC-8.11, LPA-4.0.8: the MOVABLE block merges with the UNMOVABLE one, whose type is rewritten; its tag and
    listing are not."""
    system = rfc("order 3: U[0] \n pcp0 o3: M[8*] \n blocks: UMMM \n owners: 10.. \n owned1: 0")
    drain(system, 8)
    assert_zone(system, "order 4: M[0] \n blocks: MMMM \n owners: 1... \n owned1: 0")


# --- who drains what ---------------------------------------------------------------------------


def test_remote_drain() -> None:
    """RFC-7.21: CPU 1 drains CPU 0's PCP: it is CPU 0 that gets the block listed, and CPU 0's whole block that is
    disowned; the trace has CPU 1."""
    system = rfc(
        "pcp0 o0: M[9* 2* 3*] \n pcp0 o1: M[0*] \n pcp0 o2: M[4*] \n alloc: 8/0 24/0 \n owners: 00.1 \n owned1: 24"
    )
    log = traced(system)
    with system.on_cpu(1):
        drain(system, 9)
    assert log.take() == [("drain", 1, 3, 1, 0), ("drain", 1, 0, 1, 9)]
    assert_zone(system, "order 0: M[9] \n order 3: M[0] \n alloc: 8/0 24/0 \n owners: .0.1 \n owned0: 8 \n owned1: 24")


def test_draining_everything() -> None:
    """RFC-8.4, RFC-8.5, RFC-8.6: three pages on two PCPs are three listed blocks, and the block that was listed before
    stays; a second time nothing happens."""
    system = rfc("order 0: M[25] \n pcp0 o0: M[9* 1*] \n pcp1 o0: M[17*] \n owners: 0010 \n owned0: 24")
    after = "order 0: M[17 9 1 25] \n owners: 0010 \n owned0: 24 0 8 \n owned1: 16"
    for _ in range(2):
        system.drain_all_pages()
        assert_zone(system, after)


def test_zone_pcp_disable_lists_as_well() -> None:
    """RFC-8.4, LPA-8.7.13: it is drain_pages_zone() of every CPU."""
    system = rfc("pcp0 o0: M[9*] \n pcp1 o3: M[16*] \n owners: .01.")
    zone_pcp_disable(system.kernel, system.zones[0])
    assert_zone(system, "order 0: M[9] \n order 3: M[16] \n owners: .0.. \n owned0: 8")


def test_drain_local_pages_of_all_zones() -> None:
    """RFC-8.4, LPA-8.8.10: each zone's PCP has its own owned blocks."""
    zones = (
        small_zone(0, 0, 16, managed_pages=16, reserved=((0, 16),)),
        small_zone(1, 16, 16, managed_pages=16, reserved=((16, 16),)),
    )
    system = System.boot(config(zones=zones, vm_stat_threshold=0), variant="rfc")
    fill(system, "pcp0 o0: M[9*] \n owners: .0")
    fill(system, "pcp0 o0: M[17*] \n owners: 0.", system.zones[1])
    system.drain_local_pages()
    assert_zone(system, "order 0: M[9] \n owners: .0 \n owned0: 8")
    assert_zone(system, "order 0: M[17] \n owners: 0. \n owned0: 16", system.zones[1])


def test_decay() -> None:
    """RFC-8.4, LPA-8.8.2, LPA-8.8.3: high 16 decays to 14 and the count, 16, is two pages above it: one piece, whose
    victim is the whole block, the larger of the two chunks."""
    system = rfc("pcp0 o0: M[16 18 20 22] \n pcp0 o2: M[24] \n pcp0 o3: M[8*] \n owners: .0..", high_min=2, high_max=64)
    pcp = limits(pcp_of(system), high=16)
    system.refresh_vm_stats(pagesets=True)
    assert_zone(system, "order 3: M[8] \n pcp0 o0: M[16 18 20 22] \n pcp0 o2: M[24] \n owners: ....")
    assert (pcp.high, pcp.count) == (14, 8)


@pytest.mark.parametrize("variant", ["rfc", "rfc-trylock", "llist"])
def test_decay_counts_what_went(variant: str) -> None:
    """RFC-8.4, RFC-6.14, RFC-7.11: high 13 decays to 12, and 22 pages are there: ten are to go, two at a time.  Two
    pieces of a whole block each are more than that; today's count of pieces would ask three times more."""
    system = machine(
        "pcp0 o0: M[0 2 4 6 24 26] \n pcp0 o3: M[8* 16*] \n owners: .00.", 32, variant=variant, high_min=2, high_max=64
    )
    pcp = limits(pcp_of(system), high=13)
    locks = Locks(system)
    system.refresh_vm_stats(pagesets=True)
    assert locks.take() == " ".join(["+pcp0 +zone -zone -pcp0"] * 2)
    assert_zone(system, "order 3: M[8 16] \n pcp0 o0: M[0 2 4 6 24 26] \n owners: ....")
    assert (pcp.high, pcp.count) == (12, 6)


@pytest.mark.parametrize(("overrides", "high"), [({}, 14), ({"high_min": 15}, 15), ({"pcp_batch_scale_max": 1}, 18)])
def test_high_after_a_decay(overrides: dict[str, int], high: int) -> None:
    """RFC-8.4, LPA-8.8.2: an eighth less than 16, but not below high_min, nor more than batch << pcp_batch_scale_max
    below the count, which is 22."""
    system = rfc(
        "pcp0 o1: M[0 4 24] \n pcp0 o3: M[8* 16*] \n owners: .00.", **({"high_min": 2, "high_max": 64} | overrides)
    )
    pcp = limits(pcp_of(system), high=16)
    system.refresh_vm_stats(pagesets=True)
    assert (pcp.high, pcp.count) == (high, 14)


def test_decay_of_what_others_drained() -> None:
    """RFC-8.4: six pages are to go; after the first piece CPU 1 drains the rest, and nothing is left to send."""
    system = rfc("pcp0 o0: M[0 2 4 6 8 10 12 14 16 18]", high_min=2, high_max=64)
    limits(pcp_of(system), high=4)
    locks = Locks(system)

    def drain_all() -> None:
        with system.on_cpu(1):
            system.drain_all_pages()
        locks.take()

    locks.at("+pcp0", drain_all, skip=1)
    system.refresh_vm_stats(pagesets=True)
    assert locks.done()
    assert locks.take() == "+pcp0 +zone -zone -pcp0"
    assert_zone(system, "order 0: M[0 2 4 6 8 10 12 14 16 18]")


def test_drain_of_a_remote_node_s_pages() -> None:
    """RFC-8.4, LPA-8.8.5: a batch of what an idle CPU has of another node's zone; the largest chunk is a victim
    whole."""
    system = machine(
        "pcp0 o0: M[16] \n pcp0 o2: M[8*] \n alloc: 12/2 \n owners: .0..", 32, variant="rfc", cpu_node=(1,), nr_cpus=1
    )
    limits(pcp_of(system), expire=1, high=8)
    log = traced(system)
    system.refresh_vm_stats(pagesets=True)
    assert kinds(log.take()) == ["drain_zone_pages", "drain"]
    assert_zone(system, "order 2: M[8] \n pcp0 o0: M[16] \n alloc: 12/2 \n owners: .0.. \n owned0: 8")
