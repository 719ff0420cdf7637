# SPDX-License-Identifier: GPL-2.0-only
"""Refills and drains: many pages under one hold of zone->lock."""

from __future__ import annotations

import pytest

from pageblock_buddy import System, gfp
from pageblock_buddy.linux_6_12 import bulk
from tests.helpers import M, R, U, assert_zone, machine, pcp_of, traced


def refill(system: System, order: int, count: int, mt: int) -> int:
    """rmqueue_bulk() into CPU 0's list, counted as its caller does."""
    k, zone = system.kernel, system.zones[0]
    pcp = pcp_of(system)
    taken = bulk.rmqueue_bulk(k, zone, order, count, pcp, mt, 0)
    pcp.count += taken << order
    return taken


def drain(system: System, count: int, pindex: int = 0) -> None:
    """free_pcppages_bulk() of CPU 0's lists."""
    bulk.free_pcppages_bulk(system.kernel, system.zones[0], count, pcp_of(system), pindex)


# --- refill ------------------------------------------------------------------------------------


def test_refill_appends() -> None:
    """LPA-8.2.5, LPA-8.2.6, LPA-5.0.4: 8, 9, 10 are split off one block and go behind page 1: handed out ascending."""
    system = machine("order 3: M[8] \n pcp0 o0: M[1]")
    assert refill(system, 0, 3, M) == 3
    assert_zone(system, "order 0: M[11] \n order 2: M[12] \n pcp0 o0: M[1 8 9 10]")


def test_refill_counts_blocks() -> None:
    """LPA-8.2.5, LPA-8.1.5: two blocks of order 1 are four pages."""
    system = machine("order 3: M[8]")
    assert refill(system, 1, 2, M) == 2
    assert_zone(system, "order 2: M[12] \n pcp0 o1: M[8 10]")
    assert pcp_of(system).count == 4


def test_refill_stops_at_the_first_failure() -> None:
    """LPA-8.2.7: two pages are all there is; the HIGHATOMIC one is out of reach."""
    system = machine("order 0: M[9] U[0] H[16] \n blocks: UMHMMMMM")
    system.kernel.nr_movable[0] = 0
    assert refill(system, 0, 5, M) == 2
    assert_zone(system, "order 0: H[16] \n pcp0 o0: M[9 0] \n blocks: UMHMMMMM")
    assert refill(system, 0, 5, M) == 0
    assert system.zones[0].lock.owner is None


def test_refill_starts_in_mode_normal() -> None:
    """LPA-6.1.1: the first bulk ends in mode STEAL; the next one looks at its own lists first again."""
    system = machine("order 0: M[1 9 17]")
    system.kernel.nr_movable.update({0: 7, 1: 7, 2: 7})
    assert refill(system, 0, 2, U) == 2
    assert_zone(system, "order 0: M[17] \n pcp0 o0: U[1 9]")
    drain(system, 2)
    assert_zone(system, "order 0: M[1 9 17]")


def test_refill_keeps_its_mode() -> None:
    """LPA-6.1.1, LPA-6.1.8: 1 is stolen (its pageblock is full of movable pages); 9's pageblock could be claimed, but
    the bulk is in mode STEAL now."""
    system = machine("order 0: M[1 9]")
    system.kernel.nr_movable[0] = 7
    assert refill(system, 0, 2, U) == 2
    assert_zone(system, "pcp0 o0: U[1 9] \n blocks: MMMMMMMM")


# --- drain -------------------------------------------------------------------------------------


def test_drain_takes_the_oldest() -> None:
    """LPA-8.5.1, LPA-8.5.3: two of three from the tail; 9 first, then 16, each to the head of its free list."""
    system = machine("pcp0 o0: M[4 16 9]")
    drain(system, 2)
    assert_zone(system, "order 0: M[16 9] \n pcp0 o0: M[4]")
    assert pcp_of(system).count == 1


def test_drain_of_more_than_there_is() -> None:
    """LPA-8.5.1: count is cut to what the lists hold."""
    system = machine("pcp0 o0: M[4 9]")
    drain(system, 100)
    assert_zone(system, "order 0: M[4 9]")


def test_drain_empties_a_list_before_the_next() -> None:
    """LPA-8.5.2, LPA-8.5.7, LPA-8.5.9: from list 1 (order 0 MOVABLE): both pages of it, then R (2), then, over the
    empty order-1 lists, M of order 2 (7); list 0 comes last and is not reached."""
    system = machine("pcp0 o0: U[0] M[9 11] R[24] \n pcp0 o2: M[40] \n blocks: UMMRMMMM")
    log = traced(system)
    drain(system, 4, 1)
    assert [event[4] for event in log.take()] == [11, 9, 24, 40]
    assert_zone(system, "order 0: M[9 11] R[24] \n order 2: M[40] \n pcp0 o0: U[0] \n blocks: UMMRMMMM")


def test_drain_wraps_around() -> None:
    """LPA-8.5.2: from list 11, the last, on to list 0."""
    system = machine("pcp0 o0: U[0] M[9] \n blocks: UMMMMMMM")
    drain(system, 1, 11)
    assert_zone(system, "order 0: U[0] \n pcp0 o0: M[9] \n blocks: UMMMMMMM")


def test_drain_starts_with_the_given_list() -> None:
    """LPA-8.5.2, LPA-8.5.9: the start index itself is tried first."""
    system = machine("pcp0 o0: U[0] M[9] \n pcp0 o1: U[2] \n blocks: UMMMMMMM")
    drain(system, 1, 3)
    assert_zone(system, "order 1: U[2] \n pcp0 o0: U[0] M[9] \n blocks: UMMMMMMM")


def test_drain_overshoots_by_part_of_a_block() -> None:
    """LPA-8.5.8, LPA-8.5.3: one page wanted, an order-2 block goes."""
    system = machine("pcp0 o2: M[8 16]")
    drain(system, 1)
    assert_zone(system, "order 2: M[16] \n pcp0 o2: M[8]")
    assert pcp_of(system).count == 4


def test_drain_of_a_huge_page() -> None:
    """LPA-4.3.9, LPA-8.1.2: the lists 12 and 13 hold blocks of the huge page order (here 4)."""
    system = machine("pcp0 o4: U[32] M[0]", pageblock_order=4, max_page_order=5)
    drain(system, 17, 12)
    assert_zone(system, "order 4: M[0 32]")


@pytest.mark.parametrize("block", ["U", "R", "H"])
def test_drain_goes_by_the_pageblock_s_type(block: str) -> None:
    """LPA-8.5.4, LPA-7.0.18: the page is on the MOVABLE list, but its pageblock has changed since; LPA-8.5.6 and
    LPA-15.1.6, LPA-15.1.7: the trace shows the pageblock's type, after the free."""
    system = machine(f"pcp0 o0: M[9] \n blocks: M{block}MMMMMM")
    log = traced(system)
    drain(system, 1)
    assert_zone(system, f"order 0: {block}[9] \n blocks: M{block}MMMMMM")
    assert log.take() == [("drain", 0, 0, "UMRH".index(block), 9)]


def test_drain_merges() -> None:
    """LPA-4.3.9: an ordinary free with FPI_NONE: 5, then 4, which merges."""
    system = machine("pcp0 o0: M[4 5]")
    drain(system, 2)
    assert_zone(system, "order 1: M[4]")
    assert system.kernel.pgfree == 0  # LPA-14.0.10: counted at commit, not at the drain


def test_drain_of_nothing() -> None:
    """LPA-8.5.1: no lists to walk."""
    system = machine("order 0: M[1]")
    drain(system, 5)
    assert_zone(system, "order 0: M[1]")
    assert system.zones[0].lock.owner is None


def test_refill_is_counted_by_the_caller() -> None:
    """LPA-8.2.5: rmqueue_bulk() itself does not count into a pageset (its caller does)."""
    system = machine("order 0: R[16] \n blocks: MMRMMMMM")
    pcp = pcp_of(system)
    assert bulk.rmqueue_bulk(system.kernel, system.zones[0], 0, 4, pcp, R, gfp.ALLOC_NOFRAGMENT) == 1
    assert pcp.lists[R].to_list() == [16]
    assert pcp.count == 0
