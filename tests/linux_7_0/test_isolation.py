# SPDX-License-Identifier: GPL-2.0-only
"""Isolating a pageblock, which keeps its type, and giving it back."""

from __future__ import annotations

import json

import pytest

from pageblock_buddy import BadArgument, InputError, System, gfp, snapshot
from pageblock_buddy.linux_7_0.buddy import nr_free_pages_blocks
from pageblock_buddy.linux_7_0.pageblock import stored_migratetype
from tests.helpers import LETTERS, M, R, U, assert_zone, config, fill, pcp_of, small_zone, traced
from tests.linux_7_0.watch import VARIANT, ZONE, Watch, isolated, machine


def stored(system: System) -> str:
    """The stored types of the first eight pageblocks."""
    return "".join(LETTERS[stored_migratetype(system.kernel, pfn)] for pfn in range(0, 64, 8))


# --- there -------------------------------------------------------------------------------------


def test_isolate_moves_the_free_pages() -> None:
    """LPA-10.0.18, LPA-10.0.21, LPA-3.0.5: ascending, to the ISOLATE tails; 4 pages stop being free; pages in use and
    on PCP lists stay where they are.  LPA-2.0.6: the block reads ISOLATE and stays RECLAIMABLE below that."""
    system = isolated(
        "order 0: M[0 24] R[14 9] \n order 1: R[10] \n alloc: 8/0 \n pcp0 o0: R[12] \n blocks: MRMMMMMM", 24
    )
    watch = Watch(system)
    assert system.isolate_pageblock(13)
    assert watch.take() == ZONE  # LPA-16.0.6
    assert_zone(
        system,
        "order 0: M[0] I[24 9 14] \n order 1: I[10] \n alloc: 8/0 \n pcp0 o0: R[12] \n blocks: MIMIMMMM",
    )
    assert system.zones[0].nr_free_pages == 1
    assert stored(system) == "MRMMMMMM"


def test_isolate_twice() -> None:
    """LPA-2.0.6: an isolated block is not isolated again."""
    system = machine("order 0: M[9]")
    assert system.isolate_pageblock(8)
    assert not system.isolate_pageblock(15)
    assert_zone(system, "order 0: I[9] \n blocks: MIMMMMMM")
    system.unisolate_pageblock(8)
    assert_zone(system, "order 0: M[9] \n blocks: MMMMMMMM")


@pytest.mark.parametrize("letter", ["U", "M", "R"])
def test_isolate_a_whole_free_block(letter: str) -> None:
    """LPA-10.0.18: an order-3 block is the pageblock itself: it is moved, not split, from the list of its own type."""
    lists = "M[24 8]" if letter == "M" else f"M[24] {letter}[8]"
    system = isolated(f"order 3: {lists} \n blocks: M{letter}MMMMMM", 24, 12)
    assert_zone(system, "order 3: I[24 8] \n blocks: MIMIMMMM")
    assert stored(system) == f"M{letter}MMMMMM"
    assert system.zones[0].nr_free_pages == 0


@pytest.mark.parametrize(("pfn", "lists"), [(16, "I[16] M[24 40]"), (24, "M[16 40] I[24]"), (31, "M[16 40] I[24]")])
def test_isolate_half_of_a_larger_block(pfn: int, lists: str) -> None:
    """LPA-10.0.17, LPA-4.0.6: an order-4 block covers 16..31: it is taken apart, this half becomes ISOLATE, and both
    are freed again, ascending; being of different types they do not merge.  The other half comes to the head
    (FPI_NONE)."""
    system = isolated("order 3: M[40] \n order 4: M[0 16]", pfn)
    types = "MMIMMMMM" if pfn == 16 else "MMMIMMMM"
    assert_zone(system, f"order 3: {lists} \n order 4: M[0] \n blocks: {types}")
    assert system.zones[0].nr_free_pages == 8 + 8 + 16
    assert stored(system) == "MMMMMMMM"


def test_isolate_both_halves() -> None:
    """LPA-10.0.18: the second half is then a block of its own and is moved; ISOLATE blocks are not merged by a move."""
    system = isolated("order 4: M[16]", 16, 24)
    assert_zone(system, "order 3: I[16 24] \n blocks: MMIIMMMM")
    assert system.zones[0].nr_free_pages == 0


def test_an_allocated_large_block_is_not_taken_apart() -> None:
    """LPA-10.0.17: 16..31 is in use: only a free block is; nothing moves."""
    system = isolated("order 0: M[1] \n alloc: 16/4c", 24)
    assert_zone(system, "order 0: M[1] \n alloc: 16/4c \n blocks: MMMIMMMM")


@pytest.mark.parametrize("pfn", [4, 20])
def test_isolate_a_straddling_block(pfn: int) -> None:
    """LPA-6.3.5: the zone is 2..21: its first and last pageblock are not its own alone."""
    zones = (small_zone(gfp.ZONE_DMA32, 2, 20, managed_pages=20, reserved=((2, 20),)),)
    system = System.boot(config(zones=zones, vm_stat_threshold=0), variant=VARIANT)
    fill(system, "order 0: M[4 20] \n blocks: MMM")
    assert not system.isolate_pageblock(pfn)
    assert_zone(system, "order 0: M[4 20] \n blocks: MMM")


@pytest.mark.parametrize("letter", ["H", "C"])
def test_isolate_a_block_with_a_counter_of_its_own(letter: str) -> None:
    """LPA-3.0.6, LPA-3.0.7, LPA-10.0.21: HIGHATOMIC and CMA pages leave their counters, and come back to them."""
    system = machine(f"order 1: {letter}[10] \n blocks: M{letter}MMMMMM")
    zone = system.zones[0]
    counts = (2, 2, 0) if letter == "H" else (2, 0, 2)
    for isolate, expected in ((True, (0, 0, 0)), (False, counts)):
        if isolate:
            assert system.isolate_pageblock(8)
        else:
            system.unisolate_pageblock(8)
        assert (zone.nr_free_pages, zone.nr_free_highatomic, zone.nr_free_cma) == expected
        assert_zone(system, f"order 1: {'I' if isolate else letter}[10] \n blocks: M{'I' if isolate else letter}MMMMMM")


# --- while it is isolated ----------------------------------------------------------------------


def test_isolated_pages_are_not_allocated() -> None:
    """LPA-6.0.2, LPA-14.0.1: neither as own pages nor as a fallback, though MOVABLE is stored: 1 is stolen or claimed,
    8..15 are never."""
    system = isolated("order 0: M[1] \n order 3: M[8]", 8)
    assert [system.alloc_pages(gfp.GFP_KERNEL) for _ in range(2)] == [1, None]
    assert [system.alloc_pages(gfp.GFP_HIGHUSER_MOVABLE, order) for order in (0, 3)] == [None, None]
    assert_zone(system, "order 3: I[8] \n alloc: 1/0 \n blocks: UIMMMMMM")
    assert stored(system) == "UMMMMMMM"


def test_no_claim_of_an_isolated_block() -> None:
    """LPA-6.0.2, LPA-6.2.6: an UNMOVABLE request claims the block 16 although 8, also whole and MOVABLE below its bit,
    is isolated; 8 keeps bit and type.  The counter lies, so that the walk gets to the lists when only 8 is left."""
    system = isolated("order 3: M[8 16]", 8)
    assert system.alloc_pages(gfp.GFP_KERNEL, 3) == 16
    system.zones[0].nr_free_pages += 50
    assert [system.alloc_pages(gfp.GFP_KERNEL, order) for order in (0, 3)] == [None, None]
    system.zones[0].nr_free_pages -= 50
    assert_zone(system, "order 3: I[8] \n alloc: 16/3 \n blocks: MIUMMMMM")
    assert stored(system) == "MMUMMMMM"


@pytest.mark.parametrize("order", [0, 2])
def test_frees_go_past_the_lists(order: int) -> None:
    """LPA-8.4.4, LPA-3.0.5: into the zone's ISOLATE lists, not counted as free; no PCP field is touched."""
    system = isolated(f"alloc: 8/{order} \n blocks: MRMMMMMM", 8)
    pcp = pcp_of(system)
    pcp.alloc_factor = 4
    watch = Watch(system)
    system.free_pages(8, order)
    assert watch.take() == ZONE
    assert_zone(system, f"order {order}: I[8] \n blocks: MIMMMMMM")
    assert (pcp.alloc_factor, system.zones[0].nr_free_pages, system.kernel.pgfree) == (4, 0, 1 << order)


def test_frees_merge_inside_the_block() -> None:
    """LPA-4.0.5, LPA-4.0.6: 9 meets 8, 10, 12, and stops at order 3: the neighbour 0 is not isolated."""
    system = isolated("order 0: M[8] \n order 1: M[10] \n order 2: M[12] \n order 3: M[0] \n alloc: 9/0", 8)
    system.free_pages(9)
    assert_zone(system, "order 3: M[0] I[8] \n blocks: MIMMMMMM")


def test_a_free_next_to_an_isolated_block_does_not_merge() -> None:
    """LPA-4.0.6: the other way round: the freed block is MOVABLE, its free neighbour MOVABLE below the bit; and the
    neighbour's type is not rewritten (LPA-4.0.8)."""
    system = isolated("order 3: R[0] \n alloc: 8/3 \n blocks: RMMMMMMM", 0, high_min=4, high_max=4)
    system.free_pages(8, 3)
    assert_zone(system, "order 3: I[0] M[8] \n blocks: IMMMMMMM")
    assert stored(system) == "RMMMMMMM"


def test_a_free_of_two_isolated_blocks_merges() -> None:
    """LPA-4.3.2, LPA-4.0.6: order 4 in two pieces, both ISOLATE to a reader, though U and R are stored: equal types
    merge, and as they are equal nothing is rewritten."""
    system = isolated("alloc: 16/4 \n blocks: MMURMMMM", 16, 24)
    system.free_pages(16, 4)
    assert_zone(system, "order 4: I[16] \n blocks: MMIIMMMM")
    assert stored(system) == "MMURMMMM"


def test_pages_from_a_pcp_list_drain_to_the_isolated_block() -> None:
    """LPA-8.5.4, LPA-10.0.16, LPA-15.1.7: they were on the list when the block was isolated; the drain reads the type:
    ISOLATE, and so says the trace."""
    system = isolated("pcp0 o0: M[9]", 8)
    log = traced(system)
    system.drain_all_pages()
    assert_zone(system, "order 0: I[9] \n blocks: MIMMMMMM")
    assert [event for event in log.take() if event[0] == "drain"] == [("drain", 0, 0, gfp.MIGRATE_ISOLATE, 9)]
    assert system.zones[0].nr_free_pages == 0


def test_deferred_pages_go_to_the_isolated_block() -> None:
    """LPA-4.3.6, LPA-4.3.2: freed before, isolated since: the type is read when the list is worked off."""
    system = isolated("zllist: 9/0 \n alloc: 32/4", 8)
    system.free_pages(32, 4)
    assert_zone(system, "order 0: I[9] \n order 4: M[32] \n blocks: MIMMMMMM")


# --- back --------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["U", "M", "R"])
@pytest.mark.parametrize("asked", [U, M, R])
def test_unisolate_gives_the_stored_type_back(letter: str, asked: int) -> None:
    """LPA-2.0.6, LPA-10.0.20, LPA-10.0.21: whatever type is asked for; to the tails of the lists, ascending."""
    system = isolated(
        f"order 0: {letter}[48] \n order 1: {letter}[10] \n blocks: M{letter}MMMM{letter}M \n alloc: 9/0 14/0 8/0", 8
    )
    system.free_pages(14)
    system.free_pages(9)  # to the tail: 10 is free (LPA-4.0.18)
    assert_zone(system, f"order 0: {letter}[48] I[14 9] \n order 1: I[10] \n alloc: 8/0 \n blocks: MIMMMM{letter}M")
    watch = Watch(system)
    system.unisolate_pageblock(12, asked)
    assert watch.take() == ZONE  # LPA-16.0.6
    assert_zone(
        system,
        f"order 0: {letter}[48 9 14] \n order 1: {letter}[10] \n alloc: 8/0 \n blocks: M{letter}MMMM{letter}M",
    )
    assert system.zones[0].nr_free_pages == 5


def test_linux_6_12_gives_what_is_asked_for() -> None:
    """LPA-2.0.5 against LPA-2.0.6: there the type is overwritten, so the caller has to know it."""
    for variant, letter in (("linux-6.12", "U"), (VARIANT, "R")):
        system = machine("order 0: R[9] \n blocks: MRMMMMMM", variant=variant)
        assert system.isolate_pageblock(8)
        system.unisolate_pageblock(8, U)
        assert_zone(system, f"order 0: {letter}[9] \n blocks: M{letter}MMMMMM")


@pytest.mark.parametrize("pfn", [8, 12])
def test_unisolate_merges_with_its_neighbour(pfn: int) -> None:
    """LPA-10.0.19: the block is one free order-3 block and its neighbour 0 is free: taken off and freed again, so that
    they merge to order 4, at the tail (FPI_TO_TAIL)."""
    system = isolated("order 4: M[16 0]", 8)
    assert_zone(system, "order 3: M[0] I[8] \n order 4: M[16] \n blocks: MIMMMMMM")
    system.unisolate_pageblock(pfn)
    assert_zone(system, "order 4: M[16 0] \n blocks: MMMMMMMM")
    assert system.zones[0].nr_free_pages == 32


@pytest.mark.parametrize("asked", [U, M, R])
def test_unisolate_merges_over_types(asked: int) -> None:
    """LPA-10.0.19, LPA-4.0.8: the neighbour is UNMOVABLE, the isolated block RECLAIMABLE: the merged block is
    RECLAIMABLE, the type of the freed one, not what was asked for."""
    system = isolated("order 3: U[0] R[8] \n blocks: URMMMMMM", 8)
    system.unisolate_pageblock(8, asked)
    assert_zone(system, "order 4: R[0] \n blocks: RRMMMMMM")
    assert stored(system) == "RRMMMMMM"
    assert system.zones[0].nr_free_pages == 16


def test_unisolate_next_to_the_reserve() -> None:
    """LPA-10.0.19, LPA-4.0.6: the neighbour is free and not isolated, so the block is freed again; HIGHATOMIC does not
    merge with it, but it goes to the tail."""
    system = isolated("order 3: M[8 40] H[0] \n blocks: HMMMMMMM", 8)
    system.unisolate_pageblock(8)
    assert_zone(system, "order 3: H[0] M[40 8] \n blocks: HMMMMMMM")


@pytest.mark.parametrize(
    ("text", "also", "after"),
    [
        # the neighbour is isolated too
        ("order 3: M[0 8]", (0,), "order 3: M[8] I[0] \n blocks: IMMMMMMM"),
        # the neighbour is in use in part
        ("order 2: M[0] \n order 3: M[16 8]", (), "order 2: M[0] \n order 3: M[16 8] \n blocks: MMMMMMMM"),
        # the block is free in part only
        ("order 2: M[8] \n order 3: M[0]", (), "order 2: M[8] \n order 3: M[0] \n blocks: MMMMMMMM"),
        # the block is in use as a whole, or lies on a lock-less list
        ("order 3: M[0] \n alloc: 8/3", (), "order 3: M[0] \n alloc: 8/3 \n blocks: MMMMMMMM"),
        ("order 3: M[0] \n zllist: 8/3", (), "order 3: M[0] \n zllist: 8/3 \n blocks: MMMMMMMM"),
    ],
)
def test_unisolate_without_a_merge(text: str, also: tuple[int, ...], after: str) -> None:
    """LPA-10.0.19, LPA-10.0.20: moved, to the tail."""
    system = isolated(text, *also, 8)
    system.unisolate_pageblock(8)
    assert_zone(system, after)


def test_unisolate_half_of_an_isolated_block() -> None:
    """LPA-10.0.17, LPA-10.0.19: both pageblocks are isolated and one free order-4 block: the largest order, so no
    merge; it is taken apart, and only this half becomes free."""
    system = isolated("alloc: 16/4 \n blocks: MMURMMMM", 16, 24)
    system.free_pages(16, 4)
    system.unisolate_pageblock(24, U)
    assert_zone(system, "order 3: I[16] R[24] \n blocks: MMIRMMMM")
    assert stored(system) == "MMURMMMM"
    assert system.zones[0].nr_free_pages == 8


def test_unisolate_the_lower_half_of_an_isolated_block() -> None:
    """LPA-10.0.19, LPA-10.0.17: its neighbour of order 4, 0, is free; but only a block below the largest order is taken
    off to merge: this one is taken apart."""
    system = isolated("order 4: M[0] \n alloc: 16/4 \n blocks: MMURMMMM", 16, 24)
    system.free_pages(16, 4)
    system.unisolate_pageblock(16)
    assert_zone(system, "order 3: U[16] I[24] \n order 4: M[0] \n blocks: MMUIMMMM")
    assert system.zones[0].nr_free_pages == 24


def test_unisolate_of_a_block_that_is_not_isolated() -> None:
    """LPA-10.0.20: nothing happens: there is no bit to clear."""
    system = machine("order 0: U[9] \n blocks: MUMMMMMM")
    system.unisolate_pageblock(9, R)
    assert_zone(system, "order 0: U[9] \n blocks: MUMMMMMM")


def test_isolate_and_back_is_the_identity_on_types_and_counters() -> None:
    """LPA-2.0.6, LPA-10.0.21: four types, each given back as something else."""
    text = "order 0: U[0] H[24] \n order 1: R[8] \n order 3: M[16] \n blocks: URMHMMMM"
    system = isolated(text, 0, 8, 16, 24)
    zone = system.zones[0]
    assert (zone.nr_free_pages, zone.nr_free_highatomic, stored(system)) == (0, 0, "URMHMMMM")
    for pfn in (0, 8, 16, 24):
        system.unisolate_pageblock(pfn, U)
    assert_zone(system, text)
    assert (zone.nr_free_pages, zone.nr_free_highatomic) == (12, 1)


def test_unisolate_checks_the_type() -> None:
    """LPA-1.0.9: a type that does not exist is the caller's mistake, used or not."""
    system = isolated("order 0: M[9]", 8)
    for mt in (7, gfp.MIGRATE_ISOLATE):
        with pytest.raises(BadArgument):
            system.unisolate_pageblock(9, mt)
    assert_zone(system, "order 0: I[9] \n blocks: MIMMMMMM")


def test_without_mobility_grouping() -> None:
    """LPA-10.0.20, decision D-05: list and pageblock have one type."""
    system = isolated("order 0: M[9]", 8, page_group_by_mobility_disabled=True)
    system.unisolate_pageblock(8)
    assert_zone(system, "order 0: M[9] \n blocks: MMMMMMMM")


# --- NR_FREE_PAGES_BLOCKS ----------------------------------------------------------------------


def test_nr_free_pages_blocks_without_isolated_ones() -> None:
    """LPA-3.0.8: 16 + 8 pages, until 8 of them are isolated."""
    system = machine("order 0: M[33] \n order 3: M[40] \n order 4: M[0]")
    assert nr_free_pages_blocks(system.kernel, system.zones[0]) == 24
    assert system.isolate_pageblock(8)
    assert nr_free_pages_blocks(system.kernel, system.zones[0]) == 16
    system.unisolate_pageblock(8)
    assert nr_free_pages_blocks(system.kernel, system.zones[0]) == 24


# --- snapshots ---------------------------------------------------------------------------------


def test_snapshot() -> None:
    """LPA-2.0.6: block_mt says what a reader sees, "isolated" what is stored; restored, the type is still known."""
    text = "order 0: R[9] \n order 3: U[16] M[24] \n blocks: MRUMMMMM"
    first = isolated(text, 8, 24)
    state = json.loads(json.dumps(first.snapshot()))
    assert state["zones"][0]["block_mt"] == "14041111"
    assert state["zones"][0]["isolated"] == [[8, R], [24, M]]
    second = System.restore(state)
    assert second.digest() == first.digest()
    assert_zone(second, "order 0: I[9] \n order 3: U[16] I[24] \n blocks: MIUIMMMM")
    assert stored(second) == "MRUMMMMM"
    copied = System(snapshot.clone(first.kernel), first.variant)
    for system in (first, second, copied):
        system.unisolate_pageblock(8)
        assert_zone(system, "order 0: R[9] \n order 3: U[16] I[24] \n blocks: MRUIMMMM")
    assert first.digest() == second.digest() == copied.digest()


def test_snapshot_without_isolated_blocks() -> None:
    """LPA-2.0.6: nothing is isolated: no key."""
    system = isolated("order 0: M[9]", 8)
    system.unisolate_pageblock(8)
    assert "isolated" not in system.snapshot()["zones"][0]


@pytest.mark.parametrize("entry", [[9, R], [16, R], [8, 6], [8, -1], [64, R], [8], "x"])
def test_impossible_snapshots(entry: object) -> None:
    """LPA-2.0.6: InputError: no pageblock's first page, not isolated, no type, outside, no pair."""
    state = isolated("order 0: R[9] \n blocks: MRMMMMMM", 8).snapshot()
    state["zones"][0]["isolated"] = [entry]
    with pytest.raises(InputError, match="isolated"):
        System.restore(state)
