# SPDX-License-Identifier: GPL-2.0-only
"""The merge pass over the marked chunks of a PCP."""

from __future__ import annotations

from typing import Any

import pytest

from pageblock_buddy import System
from pageblock_buddy.mm.page import PG_NONE, PG_PCP_BUDDY
from tests.helpers import assert_zone, machine, pcp_of


def rfc(text: str, **overrides: Any) -> System:
    """Four pageblocks and two CPUs."""
    return machine(text, 32, variant="rfc", **({"nr_cpus": 2} | overrides))


def merge(system: System, cpu: int = 0) -> int:
    """The pass over CPU ``cpu``'s lists; returns the merges."""
    return system.kernel.pcp_buddy.merge_pcp_buddies(system.kernel, pcp_of(system, cpu))


@pytest.mark.parametrize("pages", ["8* 9*", "9* 8*"])
def test_two_pages(pages: str) -> None:
    """RFC-7.4, RFC-7.6, RFC-3.10: whichever is the older one; the mark and the order are at the lower page now, and the
    upper one has neither; the count is what it was."""
    system = rfc(f"pcp0 o0: M[{pages}] \n alloc: 10/1 12/2 \n owners: .0..")
    assert merge(system) == 1
    assert_zone(system, "pcp0 o1: M[8*] \n alloc: 10/1 12/2 \n owners: .0..")
    assert [system.kernel.mem_map[8], system.kernel.mem_map[9]] == [PG_PCP_BUDDY | 1, PG_NONE]
    assert pcp_of(system).count == 2


def test_bottom_up_to_a_whole_block() -> None:
    """RFC-7.1, RFC-7.7: eight pages: four, two and one merge in one pass."""
    system = rfc("pcp0 o0: M[8* 9* 10* 11* 12* 13* 14* 15*] \n owners: .0..")
    assert merge(system) == 7
    assert_zone(system, "pcp0 o3: M[8*] \n owners: .0..")


def test_mixed_orders_to_a_whole_block() -> None:
    """RFC-7.7: 8 and 9, with 10 of order 1, with 12 of order 2."""
    system = rfc("pcp0 o0: M[9* 8*] \n pcp0 o1: M[10*] \n pcp0 o2: M[12*] \n owners: .0..")
    assert merge(system) == 3
    assert_zone(system, "pcp0 o3: M[8*] \n owners: .0..")


def test_an_unmarked_page_in_between() -> None:
    """RFC-7.4, RFC-5.33: page 11 came by phase 2 and has no mark: it merges with nothing, and so the pass ends at 8/1,
    10, and 12/2."""
    system = rfc("pcp0 o0: M[8* 9* 10* 11] \n pcp0 o1: M[12* 14*] \n owners: .0..")
    assert merge(system) == 2
    assert_zone(system, "pcp0 o0: M[10* 11] \n pcp0 o1: M[8*] \n pcp0 o2: M[12*] \n owners: .0..")


@pytest.mark.parametrize("pages", ["8 9", "8* 9", "8 9*"])
def test_both_must_be_marked(pages: str) -> None:
    """RFC-7.4, RFC-7.18: two unmarked buddies do not merge, nor a marked and an unmarked one."""
    drawing = f"pcp0 o0: M[{pages}] \n owners: .0.."
    system = rfc(drawing)
    assert merge(system) == 0
    assert_zone(system, drawing)


@pytest.mark.parametrize(
    "drawing",
    [
        "pcp0 o0: M[9* 10*] \n owners: .0..",
        "pcp0 o0: M[8*] \n pcp0 o1: M[10*] \n owners: .0..",
        "pcp0 o1: M[10* 12*] \n owners: .0..",
        "order 0: M[9] \n pcp0 o0: M[8*] \n owners: .0..",
        "pcp0 o0: M[8*] \n alloc: 9/0 \n owners: .0..",
        "pcp0 o0: M[8*] \n pcp1 o0: M[9] \n owners: .0..",
    ],
    ids=["neighbours", "two orders", "neighbours of order 1", "in the zone", "in use", "on another PCP"],
)
def test_no_buddies(drawing: str) -> None:
    """RFC-7.4, LPA-4.1.1: not buddies, or not both on this PCP with the same order."""
    system = rfc(drawing)
    assert merge(system) == 0
    assert_zone(system, drawing)


def test_not_beyond_the_pageblock() -> None:
    """RFC-7.3, RFC-11.2: both halves of an order-4 block are whole and CPU 0's: they stay two chunks."""
    system = rfc("pcp0 o0: M[0* 1*] \n pcp0 o1: M[2*] \n pcp0 o2: M[4*] \n pcp0 o3: M[8*] \n owners: 00..")
    assert merge(system) == 3
    assert_zone(system, "pcp0 o3: M[0* 8*] \n owners: 00..")


def test_merged_chunks_go_to_the_head() -> None:
    """RFC-7.5, RFC-7.2: before what is there; every list of the PCP is gone through, and the chunk that merged last (of
    the younger pages) is at the head."""
    system = rfc("pcp0 o0: M[24* 25* 8* 9* 16] \n pcp0 o1: M[18 28*] \n alloc: 10/1 \n owners: .0.0")
    assert merge(system) == 2
    assert_zone(system, "pcp0 o0: M[16] \n pcp0 o1: M[24* 8* 18 28*] \n alloc: 10/1 \n owners: .0.0")


@pytest.mark.parametrize(("block", "target"), [("U", "U"), ("M", "M"), ("R", "R"), ("H", "M"), ("C", "M"), ("I", "M")])
def test_lists_of_different_types(block: str, target: str) -> None:
    """RFC-7.4, RFC-7.5, RFC-8.9: the block's type changed between two frees.  Where the two lie does not matter; the
    merged chunk goes to the list of the type that the block has now, or to MOVABLE's if that type has none."""
    system = rfc(f"pcp0 o0: U[9*] M[8*] \n pcp0 o1: U[4] M[16] R[24] \n blocks: U{block}MR \n owners: .0..")
    assert merge(system) == 1
    lists = {"U": "U[8* 4] M[16] R[24]", "M": "U[4] M[8* 16] R[24]", "R": "U[4] M[16] R[8* 24]"}
    assert_zone(system, f"pcp0 o1: {lists[target]} \n blocks: U{block}MR \n owners: .0..")


def test_every_type_merges() -> None:
    """RFC-7.2: the pass covers all lists."""
    system = rfc("pcp0 o0: U[0* 1*] M[8* 9*] R[16* 17*] \n blocks: UMRM \n owners: 000.")
    assert merge(system) == 3
    assert_zone(system, "pcp0 o1: U[0*] M[8*] R[16*] \n blocks: UMRM \n owners: 000.")


def test_only_this_pcp() -> None:
    """RFC-7.2, RFC-7.21: CPU 1's pages wait for a pass over CPU 1's lists."""
    system = rfc("pcp0 o0: M[0* 1*] \n pcp1 o0: M[8* 9*] \n owners: 01..")
    assert merge(system, 1) == 1
    assert_zone(system, "pcp0 o0: M[0* 1*] \n pcp1 o1: M[8*] \n owners: 01..")


def test_an_idle_pass() -> None:
    """RFC-11.8: what one pass leaves the next one does not merge, and nothing moves."""
    system = rfc("pcp0 o0: M[8* 9* 10* 12* 13*] \n pcp0 o1: M[16 18*] \n owners: .00.")
    assert merge(system) == 2
    after = "pcp0 o0: M[10*] \n pcp0 o1: M[8* 12* 16 18*] \n owners: .00."
    assert_zone(system, after)
    assert merge(system) == 0
    assert_zone(system, after)


def test_an_empty_pcp() -> None:
    """RFC-7.1."""
    system = rfc("order 3: M[8]")
    assert merge(system) == 0
    assert_zone(system, "order 3: M[8]")


def test_the_owner_stays_the_owner() -> None:
    """RFC-7.14: a whole block is not disowned by the pass, nor is a listed one unlisted."""
    system = rfc("pcp0 o2: M[8* 12*] \n owners: .0.. \n owned0: 8")
    assert merge(system) == 1
    assert_zone(system, "pcp0 o3: M[8*] \n owners: .0.. \n owned0: 8")
