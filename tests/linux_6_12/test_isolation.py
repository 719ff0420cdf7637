# SPDX-License-Identifier: GPL-2.0-only
"""Isolating a pageblock and giving it back."""

from __future__ import annotations

import pytest

from pageblock_buddy import System, gfp
from tests.helpers import I, M, U, assert_zone, config, fill, machine, small_zone


def test_isolate_moves_the_free_pages() -> None:
    """LPA-10.0.18, LPA-10.0.21, LPA-2.0.5, LPA-3.0.5: ascending, to the ISOLATE tails; 4 pages stop being free; pages
    in use and on PCP lists stay where they are."""
    system = machine("order 0: M[14 0 9] I[24] \n order 1: M[10] \n alloc: 8/0 \n pcp0 o0: M[12] \n blocks: MMMIMMMM")
    assert system.isolate_pageblock(9)
    assert_zone(
        system,
        "order 0: M[0] I[24 9 14] \n order 1: I[10] \n alloc: 8/0 \n pcp0 o0: M[12] \n blocks: MIMIMMMM",
    )
    assert system.zones[0].nr_free_pages == 1
    assert system.zones[0].lock.owner is None


def test_isolate_twice() -> None:
    """An isolated block is not isolated again."""
    system = machine("order 0: M[9]")
    assert system.isolate_pageblock(8)
    assert not system.isolate_pageblock(8)
    assert_zone(system, "order 0: I[9] \n blocks: MIMMMMMM")


def test_isolate_a_whole_free_block() -> None:
    """LPA-10.0.18: an order-3 block is the pageblock itself: it is moved, not split."""
    system = machine("order 3: M[8] I[24] \n blocks: MMMIMMMM")
    assert system.isolate_pageblock(12)
    assert_zone(system, "order 3: I[24 8] \n blocks: MIMIMMMM")


@pytest.mark.parametrize(("pfn", "lists"), [(16, "I[16] M[24 40]"), (24, "M[16 40] I[24]")])
def test_isolate_half_of_a_larger_block(pfn: int, lists: str) -> None:
    """LPA-10.0.17, LPA-4.0.6: an order-4 block covers 16..31: it is taken apart, this half becomes ISOLATE, and both
    are freed again, ascending; being of different types they do not merge.  The other half comes to the head
    (FPI_NONE)."""
    system = machine("order 3: M[40] \n order 4: M[0 16]")
    assert system.isolate_pageblock(pfn)
    types = "MMIMMMMM" if pfn == 16 else "MMMIMMMM"
    assert_zone(system, f"order 3: {lists} \n order 4: M[0] \n blocks: {types}")
    assert system.zones[0].nr_free_pages == 8 + 8 + 16


def test_isolate_both_halves() -> None:
    """LPA-10.0.18: the second half is then a block of its own and is moved; ISOLATE blocks are not merged by a move."""
    system = machine("order 4: M[16]")
    assert system.isolate_pageblock(16)
    assert system.isolate_pageblock(24)
    assert_zone(system, "order 3: I[16 24] \n blocks: MMIIMMMM")
    assert system.zones[0].nr_free_pages == 0


@pytest.mark.parametrize("pfn", [4, 20])
def test_isolate_a_straddling_block(pfn: int) -> None:
    """LPA-6.3.5: the zone is 2..21: its first and last pageblock are not its own alone."""
    zones = (small_zone(gfp.ZONE_DMA32, 2, 20, managed_pages=20, reserved=((2, 20),)),)
    system = System.boot(config(zones=zones, vm_stat_threshold=0))
    fill(system, "order 0: M[4 20] \n blocks: MMM")
    assert not system.isolate_pageblock(pfn)
    assert_zone(system, "order 0: M[4 20] \n blocks: MMM")
    assert system.zones[0].lock.owner is None


def test_isolated_pages_are_not_allocated() -> None:
    """LPA-6.0.2, LPA-14.0.1: neither as own pages nor as a fallback; and frees go to the ISOLATE list (LPA-8.4.4)."""
    system = machine("order 0: M[1] \n order 3: I[8] \n alloc: 16/0 \n blocks: MIIMMMMM")
    assert [system.alloc_pages(gfp.GFP_KERNEL) for _ in range(2)] == [1, None]
    system.free_pages(16)
    assert_zone(system, "order 0: I[16] \n order 3: I[8] \n blocks: UIIMMMMM")


# --- back --------------------------------------------------------------------------------------


def test_unisolate_moves_the_pages_back() -> None:
    """LPA-10.0.20, LPA-10.0.21: to the tails of the type's lists, ascending."""
    system = machine("order 0: U[0] I[14 9] \n order 1: I[10] \n blocks: UIMMMMMM")
    system.unisolate_pageblock(12, U)
    assert_zone(system, "order 0: U[0 9 14] \n order 1: U[10] \n blocks: UUMMMMMM")
    assert system.zones[0].nr_free_pages == 5


def test_unisolate_merges_with_its_neighbour() -> None:
    """LPA-10.0.19: the block is one free order-3 block and its neighbour 0 is free: taken off and freed again, so that
    they merge to order 4, at the tail (FPI_TO_TAIL)."""
    system = machine("order 3: M[0] I[8] \n order 4: M[16] \n blocks: MIMMMMMM")
    system.unisolate_pageblock(8)
    assert_zone(system, "order 4: M[16 0] \n blocks: MMMMMMMM")
    assert system.zones[0].nr_free_pages == 32


def test_unisolate_merges_over_types() -> None:
    """LPA-10.0.19, LPA-4.0.8: the neighbour is UNMOVABLE; the block comes back as MOVABLE: the merged block is
    MOVABLE."""
    system = machine("order 3: U[0] I[8] \n blocks: UIMMMMMM")
    system.unisolate_pageblock(8, M)
    assert_zone(system, "order 4: M[0] \n blocks: MMMMMMMM")


@pytest.mark.parametrize(
    ("text", "after"),
    [
        # the neighbour is isolated too
        ("order 3: I[0 8] \n blocks: IIMMMMMM", "order 3: M[8] I[0] \n blocks: IMMMMMMM"),
        # the neighbour is in use in part
        (
            "order 2: M[0] \n order 3: M[16] I[8] \n blocks: MIMMMMMM",
            "order 2: M[0] \n order 3: M[16 8] \n blocks: MMMMMMMM",
        ),
        # the block is free in part only
        ("order 2: I[8] \n order 3: M[0] \n blocks: MIMMMMMM", "order 2: M[8] \n order 3: M[0] \n blocks: MMMMMMMM"),
    ],
)
def test_unisolate_without_a_merge(text: str, after: str) -> None:
    """LPA-10.0.19, LPA-10.0.20: moved, to the tail."""
    system = machine(text)
    system.unisolate_pageblock(8)
    assert_zone(system, after)


def test_unisolate_half_of_an_isolated_block() -> None:
    """LPA-10.0.17, LPA-10.0.19: both pageblocks are isolated and one free order-4 block: largest order, so no merge; it
    is taken apart, and only this half becomes free."""
    system = machine("order 4: I[16] \n blocks: MMIIMMMM")
    system.unisolate_pageblock(24)
    assert_zone(system, "order 3: I[16] M[24] \n blocks: MMIMMMMM")
    assert system.zones[0].nr_free_pages == 8


def test_unisolate_of_a_block_that_is_not_isolated() -> None:
    """Nothing happens."""
    system = machine("order 0: U[9] \n blocks: MUMMMMMM")
    system.unisolate_pageblock(9)
    assert_zone(system, "order 0: U[9] \n blocks: MUMMMMMM")


def test_isolate_and_back_is_the_identity_on_counters() -> None:
    """LPA-10.0.21."""
    system = machine("order 1: M[8] \n order 4: M[16]")
    before = system.zones[0].nr_free_pages
    for pfn in (8, 16, 24):
        assert system.isolate_pageblock(pfn)
    assert system.zones[0].nr_free_pages == 0
    for pfn in (8, 24, 16):
        system.unisolate_pageblock(pfn)
    assert_zone(system, "order 1: M[8] \n order 4: M[16] \n blocks: MMMMMMMM")
    assert system.zones[0].nr_free_pages == before


def test_unisolate_checks_the_type() -> None:
    """A type that does not exist is the caller's mistake, and must not leave the zone locked."""
    from pageblock_buddy import BadArgument

    system = machine("order 0: I[9] \n blocks: MIMMMMMM")
    with pytest.raises(BadArgument):
        system.unisolate_pageblock(9, 7)


def test_pages_from_a_pcp_list_drain_to_the_isolated_block() -> None:
    """LPA-8.5.4, LPA-10.0.16: they were on the list when the block was isolated; the drain reads the type: ISOLATE."""
    system = machine("pcp0 o0: M[9]")
    assert system.isolate_pageblock(8)
    system.drain_all_pages()
    assert_zone(system, "order 0: I[9] \n blocks: MIMMMMMM")
    assert system.kernel.pageblock_flags[1] == I


def test_unisolate_without_mobility_grouping() -> None:
    """LPA-10.0.20, decision D-05: list and pageblock must have one type in the model, which later deletes by it."""
    system = machine("order 0: I[9] \n blocks: MIMMMMMM", page_group_by_mobility_disabled=True)
    system.unisolate_pageblock(8)
    system.validate()
    assert system.isolate_pageblock(8)
