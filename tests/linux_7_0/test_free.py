# SPDX-License-Identifier: GPL-2.0-only
"""Frees: when a row of them gives everything back, flushes in pieces, and frees that wait for no lock."""

from __future__ import annotations

import pytest

from pageblock_buddy import (
    BadArgument,
    BadFree,
    CallerError,
    Config,
    Context,
    DoubleFree,
    OrderMismatch,
    System,
    gfp,
)
from tests.helpers import MOVABLE, assert_zone, drawing_of, kinds, limits, pcp_of, traced
from tests.linux_7_0.watch import BETWEEN, PCP, VARIANT, ZONE, Watch, given, held, isolated, machine, several

BELOW = gfp.ZONE_BELOW_HIGH
PREV, BATCH = gfp.PCPF_PREV_FREE_HIGH_ORDER, gfp.PCPF_FREE_HIGH_BATCH
OLD = "linux-6.12"


def pages(count: int, first: int = 0) -> str:
    """An ``alloc`` line of ``count`` single pages that are no buddies of each other."""
    return "alloc: " + " ".join(f"{first + 2 * i}/0" for i in range(count))


def pieces(count: int) -> list[str]:
    """What a free does to the locks that flushes in ``count`` pieces."""
    return [PCP[0], *ZONE, *((BETWEEN + ZONE) * (count - 1)), PCP[1]]


# --- onto the list -----------------------------------------------------------------------------


def test_free_goes_to_the_head_of_the_list() -> None:
    """LPA-8.4.9, LPA-8.4.8, LPA-14.0.10: hottest first; PGFREE at once; the zone's lock is not touched."""
    system = machine("order 0: M[1] \n pcp0 o1: M[24] \n alloc: 16/1", high_min=40, high_max=40)
    pcp = limits(pcp_of(system), alloc_factor=5)
    watch = Watch(system)
    system.free_pages(16, 1)
    assert watch.take() == PCP
    assert_zone(system, "order 0: M[1] \n pcp0 o1: M[16 24]")
    assert (system.kernel.pgfree, pcp.count, pcp.alloc_factor) == (2, 4, 2)


@pytest.mark.parametrize(("block", "on_list"), [("U", "U"), ("M", "M"), ("R", "R"), ("H", "M"), ("C", "M")])
@pytest.mark.parametrize("nolock", [False, True])
def test_the_pageblock_s_type_chooses_the_list(block: str, on_list: str, nolock: bool) -> None:
    """LPA-8.4.3, LPA-8.4.5, LPA-7.0.18, LPA-13.0.2: not the type that was requested; HIGHATOMIC and CMA use
    MOVABLE's."""
    system = machine(f"alloc: 8/1 \n blocks: M{block}MMMMMM")
    if nolock:
        system.free_pages_nolock(8, 1)
    else:
        system.free_pages(8, 1)
    assert_zone(system, f"pcp0 o1: {on_list}[8] \n blocks: M{block}MMMMMM")


def test_other_orders_go_to_the_zone() -> None:
    """LPA-8.4.1, LPA-4.3.7: order 4 has no lists here: FPI_NONE, so the head."""
    system = machine("order 4: M[0] \n alloc: 16/4")
    watch = Watch(system)
    system.free_pages(16, 4)
    assert watch.take() == ZONE
    assert_zone(system, "order 4: M[16 0]")


def test_huge_pages_go_to_the_list() -> None:
    """LPA-8.1.3, LPA-8.1.2: the order of a pageblock has lists; UNMOVABLE and RECLAIMABLE share one."""
    system = machine("alloc: 0/4 16/4 \n blocks: RMMM", pageblock_order=4, max_page_order=5, high_min=99, high_max=99)
    system.free_pages(0, 4)
    system.free_pages_nolock(16, 4)
    assert_zone(system, "pcp0 o4: U[0] M[16] \n blocks: RMMM")


def test_the_running_cpu_s_list() -> None:
    """LPA-8.4.7: CPU 1 frees what CPU 0 allocated: it goes to CPU 1's list of the page's zone."""
    specs = ((0, gfp.ZONE_DMA, 0), (0, gfp.ZONE_DMA32, 16))
    system = several(*specs, texts={0: "alloc: 3/0"}, nr_cpus=2)
    with system.on_cpu(1):
        system.free_pages(3)
    assert_zone(system, "pcp1 o0: M[3]")
    assert_zone(system, "", system.zones[1])


@pytest.mark.parametrize("context", [Context.HARDIRQ, Context.SOFTIRQ])
def test_interrupt_while_the_list_is_locked(context: Context) -> None:
    """LPA-8.4.6, LPA-16.0.3: the trylock fails: free_one_page() to the buddy, where it may merge and where the type is
    read again; alloc_factor stays."""
    system = machine("order 0: H[8] \n alloc: 9/0 \n pcp0 o0: M[17] \n blocks: MHMMMMMM")
    pcp = limits(pcp_of(system), alloc_factor=4)
    watch, log = Watch(system), traced(system, outer=True)
    with held(system, pcp.lock, context=context):
        system.free_pages(9)
    assert watch.take() == ["pcp0 busy", *ZONE]
    assert_zone(system, "order 1: H[8] \n pcp0 o0: M[17] \n blocks: MHMMMMMM")
    assert (kinds(log.take()), pcp.alloc_factor, system.kernel.pgfree) == (["free"], 4, 1)


def test_free_count() -> None:
    """LPA-8.4.14: grows by the pages freed while it is below batch << 5 (64 here), so it can end above."""
    system = machine("alloc: 0/0 8/2 16/2 24/2", high_min=90, high_max=90)
    pcp = limits(pcp_of(system), free_count=58)
    counts = []
    for pfn, order in ((0, 0), (8, 2), (16, 2), (24, 2)):
        system.free_pages(pfn, order)
        counts.append(pcp.free_count)
    assert counts == [59, 63, 67, 67]


def test_free_count_at_the_limit() -> None:
    """LPA-8.4.14: 60 + 4 is batch << 5; from there it does not grow."""
    system = machine("alloc: 8/2 16/0", high_min=90, high_max=90)
    pcp = limits(pcp_of(system), free_count=60)
    system.free_pages(8, 2)
    system.free_pages(16)
    assert pcp.free_count == 64


def test_prev_free_high_order() -> None:
    """LPA-8.4.13: set by orders 1..3, cleared by order 0 and by huge pages; FREE_HIGH_BATCH is left alone."""
    system = machine(
        "alloc: 0/0 2/1 8/3 16/4 32/4",
        pageblock_order=4,
        max_page_order=5,
        high_min=99,
        high_max=99,
        llc_pages_per_cpu=100,
    )
    pcp = pcp_of(system)
    flags = []
    for pfn, order in ((2, 1), (0, 0), (8, 3), (16, 4), (32, 4)):
        system.free_pages(pfn, order)
        flags.append(pcp.flags)
    assert flags == [BATCH | PREV, BATCH, BATCH | PREV, BATCH, BATCH]


# --- free_high: the threshold ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "free_count", "high_min", "flushed"),
    [
        # LPA-8.4.12: batch 2 + 50 / 2 = 27
        (VARIANT, 27, 50, True),
        (VARIANT, 26, 50, False),
        (VARIANT, 2, 50, False),
        # 51 / 2 is 25
        (VARIANT, 27, 51, True),
        (VARIANT, 26, 51, False),
        # 52 / 2 is 26
        (VARIANT, 28, 52, True),
        (VARIANT, 27, 52, False),
        # LPA-8.4.11: 6.12 wants a batch
        (OLD, 26, 50, True),
        (OLD, 2, 50, True),
        (OLD, 1, 50, False),
    ],
)
def test_threshold_of_free_high(variant: str, free_count: int, high_min: int, flushed: bool) -> None:
    """LPA-8.4.10, LPA-8.4.12, LPA-8.4.11: a second high-order free in a row gives everything back, in 7.0 only after
    many; free_count is looked at before the two pages of this free are added."""
    system = machine("alloc: 8/1", high_min=high_min, high_max=60, variant=variant)
    limits(pcp_of(system), free_count=free_count, flags=PREV)
    system.free_pages(8, 1)
    assert_zone(system, "order 1: M[8]" if flushed else "pcp0 o1: M[8]")


@pytest.mark.parametrize(
    ("flags", "order", "flushed"),
    [
        (PREV, 1, True),
        (PREV, 3, True),
        (PREV, 0, False),  # order 0
        (0, 1, False),  # the free before was not high-order
        (BATCH, 1, False),
        (PREV | BATCH, 1, False),  # 2 pages, less than a batch
        (PREV | BATCH, 2, True),  # 4 pages, with this free's
    ],
)
def test_free_high(flags: int, order: int, flushed: bool) -> None:
    """LPA-8.4.10: the other conditions are those of 6.12; batch 4, so T = 4 + 25."""
    system = machine(f"alloc: 8/{order}", batch=4, high_min=50, high_max=50)
    limits(pcp_of(system), free_count=29, flags=flags)
    system.free_pages(8, order)
    where = f"order {order}" if flushed else f"pcp0 o{order}"
    assert_zone(system, f"{where}: M[8]")


def test_huge_pages_never_flush_high() -> None:
    """LPA-8.4.10: above order 3 it is no free_high."""
    system = machine("alloc: 0/4", pageblock_order=4, max_page_order=5, high_min=50, high_max=50)
    limits(pcp_of(system), free_count=60, flags=PREV)
    system.free_pages(0, 4)
    assert_zone(system, "pcp0 o4: M[0]")


@pytest.mark.parametrize(("variant", "first_flush"), [(OLD, 2), (VARIANT, 12)])
def test_a_row_of_high_order_frees(variant: str, first_flush: int) -> None:
    """LPA-8.4.11, LPA-8.4.12: batch 2, high 40: 6.12 flushes at the second free (2 pages before it), 7.0 at the
    twelfth (22 = 2 + 40 / 2 pages before it), all 24 pages of it."""
    blocks = [4 * block for block in range(12)]
    system = machine("alloc:" + "".join(f" {pfn}/1" for pfn in blocks), high_min=40, high_max=40, variant=variant)
    for number, pfn in enumerate(blocks[:first_flush], 1):
        system.free_pages(pfn, 1)
        assert pcp_of(system).count == (0 if number == first_flush else 2 * number)
    freed = blocks[:first_flush]
    assert drawing_of(system).free[1, gfp.MIGRATE_MOVABLE] == freed[::-1]


# --- flush in pieces ---------------------------------------------------------------------------

#: eight single pages; the free of 18 reaches high 8
EIGHT = "pcp0 o0: M[0 2 4 8 10 12 16] \n alloc: 18/0"


@pytest.mark.parametrize(("variant", "events"), [(OLD, pieces(1)), (VARIANT, pieces(3))])
def test_the_same_pages_in_pieces(variant: str, events: list[str]) -> None:
    """LPA-8.4.27, LPA-8.4.28, LPA-8.4.26, LPA-16.0.9, LPA-16.0.8: free_count 5 + 1 = 6 pages go, the oldest first: in
    6.12 at once, in 7.0 in three batches of 2; the same pages, the same lists."""
    system = machine(EIGHT, variant=variant)
    limits(pcp_of(system), free_count=5)
    watch, log = Watch(system), traced(system)
    system.free_pages(18)
    assert watch.take() == events
    assert [event[4] for event in log.take()] == [16, 12, 10, 8, 4, 2]
    assert_zone(system, "order 0: M[2 4 8 10 12 16] \n pcp0 o0: M[18 0]")
    assert (pcp_of(system).count, system.kernel.pgfree) == (2, 1)


@pytest.mark.parametrize(
    ("free_count", "holds", "left"),
    [
        (1, 1, "18 0 2 4 8 10"),  # a batch at least
        (2, 2, "18 0 2 4 8"),  # 2 + 1: the last piece is what is missing
        (3, 2, "18 0 2 4"),
        (4, 3, "18 0 2"),
        (5, 3, "18 0"),
        (9, 3, "18 0"),  # high - batch at most
    ],
)
def test_pieces_of_a_batch(free_count: int, holds: int, left: str) -> None:
    """LPA-8.4.27, LPA-8.4.25: ceil(n / 2) holds of zone->lock, and exactly n pages."""
    system = machine(EIGHT)
    limits(pcp_of(system), free_count=free_count)
    watch = Watch(system)
    system.free_pages(18)
    assert watch.take() == pieces(holds)
    assert drawing_of(system).pcp[0, 0, gfp.MIGRATE_MOVABLE] == [int(pfn) for pfn in left.split()]


def test_every_piece_starts_with_the_list_of_the_freed_page() -> None:
    """LPA-8.5.9, LPA-8.4.16, LPA-8.5.2: 4 pages from list 2 (RECLAIMABLE): 24 itself and then, over 3..11, list 0; the
    second piece looks at list 2 again, which is empty, and goes on with list 0 before list 1."""
    system = machine("pcp0 o0: U[0 2 4 6] M[8 10 12] \n alloc: 24/0 \n blocks: UMMRMMMM")
    limits(pcp_of(system), free_count=3)
    log = traced(system)
    system.free_pages(24)
    assert [event[4] for event in log.take()] == [24, 6, 4, 2]
    assert_zone(system, "order 0: U[2 4 6] R[24] \n pcp0 o0: U[0] M[8 10 12] \n blocks: UMMRMMMM")


@pytest.mark.parametrize(
    ("variant", "left", "freed", "events"),
    [
        (OLD, "24 0", "8 16", pieces(1)),
        (VARIANT, "24", "0 8 16", pieces(3)),
    ],
)
def test_pieces_overshoot(variant: str, left: str, freed: str, events: list[str]) -> None:
    """LPA-8.4.28, LPA-8.5.8: 6 pages of order-2 blocks.  At once that is two blocks, 8 pages; each of three pieces of 2
    frees a whole block of 4, so 12 pages leave."""
    system = machine("pcp0 o2: M[0 8 16] \n alloc: 24/2", high_min=16, high_max=16, variant=variant)
    limits(pcp_of(system), free_count=2)
    watch = Watch(system)
    system.free_pages(24, 2)
    assert watch.take() == events
    assert_zone(system, f"order 2: M[{freed}] \n pcp0 o2: M[{left}]")
    assert pcp_of(system).count == 4 * len(left.split())


def test_a_piece_of_63_frees_eight_blocks_of_order_3() -> None:
    """LPA-8.4.28: batch 63 as in a large zone; 9 pieces of 63 and one of 13 are 580 pages; 74 blocks leave, 592 pages:
    one more than the 73 of one bulk."""
    blocks = [8 * number for number in range(100)]
    text = f"pcp0 o3: M[{' '.join(map(str, blocks[1:]))}] \n alloc: 0/3"
    counts = []
    for variant in (OLD, VARIANT):
        system = machine(
            text,
            pages=1024,
            batch=63,
            high_min=800,
            high_max=800,
            pageblock_order=9,
            max_page_order=10,
            variant=variant,
        )
        limits(pcp_of(system), free_count=572)
        watch = Watch(system)
        system.free_pages(0, 3)
        counts.append((800 - pcp_of(system).count) // 8)
        assert watch.take() == pieces(1 if variant == OLD else 10)
        system.validate()
    assert counts == [73, 9 * 8 + 2]


def test_the_end_of_the_lists_ends_the_flush() -> None:
    """LPA-8.4.27: free_high wants all 4 pages; the first piece of 2 frees the one block of 4: count is 0, so the lock
    is not given up for a second one."""
    system = machine("alloc: 8/2", high_min=50, high_max=50)
    limits(pcp_of(system), free_count=27, flags=PREV)
    watch = Watch(system)
    system.free_pages(8, 2)
    assert watch.take() == pieces(1)
    assert_zone(system, "order 2: M[8]")


def test_free_high_flushes_everything_and_lowers_high() -> None:
    """LPA-8.4.19, LPA-8.4.25, LPA-8.4.27: min(count, batch << 5), from order 1's list round to order 0's, in two
    pieces; high: 100 - 64 = 36."""
    system = machine("pcp0 o0: M[0 2] \n alloc: 8/1", high_min=20, high_max=200)
    pcp = limits(pcp_of(system), free_count=12, flags=PREV, high=100)
    watch = Watch(system)
    system.free_pages(8, 1)
    assert watch.take() == pieces(2)
    assert_zone(system, "order 0: M[0 2] \n order 1: M[8]")
    assert (pcp.high, pcp.flags) == (36, PREV)


def test_boot_pageset_flushes_each_free() -> None:
    """LPA-8.7.11, LPA-8.4.18, LPA-8.4.25: high 0, so count >= high, and one page is flushed."""
    system = machine("pcp0 o0: M[9] \n alloc: 4/0", high_min=0, high_max=0, batch=1)
    watch = Watch(system)
    system.free_pages(4)
    assert watch.take() == pieces(1)
    assert_zone(system, "order 0: M[9] \n pcp0 o0: M[4]")
    system = machine("alloc: 4/0", high_min=0, high_max=0, batch=1)
    system.free_pages(4)
    assert_zone(system, "order 0: M[4]")


def test_below_the_limit_nothing_is_flushed() -> None:
    """LPA-8.4.16: seven pages, high 8."""
    system = machine("pcp0 o0: M[0 2 4 8 10 12] \n alloc: 18/0")
    watch = Watch(system)
    system.free_pages(18)
    assert watch.take() == PCP


# --- between two pieces ------------------------------------------------------------------------


def test_both_locks_are_free_between_two_pieces() -> None:
    """LPA-8.4.27, LPA-16.0.9, LPA-16.0.7: the state is in order there; CPU 1 allocates from the zone what the first
    piece left (a refill of two from the head), and CPU 0 goes on."""
    system = machine(EIGHT, nr_cpus=2)
    limits(pcp_of(system), free_count=5)
    watch = Watch(system)
    got: list[int | None] = []

    def other_cpu() -> None:
        system.validate()
        assert_zone(system, "order 0: M[12 16] \n pcp0 o0: M[18 0 2 4 8 10]")
        with system.on_cpu(1):
            got.append(system.alloc_pages(MOVABLE))

    watch.once("pcp0 unlock", other_cpu)
    system.free_pages(18)
    assert got == [12]
    assert_zone(system, "order 0: M[2 4 8 10] \n pcp0 o0: M[18 0] \n pcp1 o0: M[16] \n alloc: 12/0")
    assert watch.take() == [
        *(PCP[0], *ZONE, "pcp0 unlock"),
        *("pcp1 trylock", *ZONE, "pcp1 unlock"),
        *("pcp0 trylock", *ZONE, *BETWEEN, *ZONE, "pcp0 unlock"),
    ]


def test_an_interrupt_between_two_pieces() -> None:
    """LPA-16.0.9, LPA-8.4.27: pcp->lock is free there, so an interrupt on the same CPU frees onto its list, and the
    flush goes on to what was asked for; nothing is counted twice."""
    system = machine(f"{EIGHT} 24/0")
    limits(pcp_of(system), free_count=3)
    watch = Watch(system)

    def interrupt() -> None:
        with system.on_cpu(0, Context.HARDIRQ):
            system.free_pages(24)

    watch.once("pcp0 unlock", interrupt)
    system.free_pages(18)
    assert_zone(system, "order 0: M[8 10 12 16] \n pcp0 o0: M[24 18 0 2 4]")
    assert watch.take() == [PCP[0], *ZONE, "pcp0 unlock", *PCP, "pcp0 trylock", *ZONE, PCP[1]]
    assert system.kernel.pgfree == 2


def test_the_lists_are_emptied_between_two_pieces() -> None:
    """LPA-8.4.27: CPU 1 drains CPU 0's lists there: while n > 0 **and count > 0**; the lock was got again and is
    released by the free."""
    system = machine(EIGHT, nr_cpus=2)
    limits(pcp_of(system), free_count=5)
    watch = Watch(system)

    def drain() -> None:
        with system.on_cpu(1):
            system.drain_all_pages()

    watch.once("pcp0 unlock", drain)
    system.free_pages(18)
    assert watch.take()[-3:] == ["pcp0 unlock", "pcp0 trylock", "pcp0 unlock"]
    assert_zone(system, "order 0: M[18 0 2 4 8 10 12 16]")
    assert pcp_of(system).count == 0


def test_the_lock_is_lost_between_two_pieces() -> None:
    """LPA-8.4.27, LPA-16.0.4: CPU 1 drains this CPU's lists at that moment: the trylock fails, and the free ends
    without the lock, which it must not release; the rest of the pages stays."""
    system = machine(EIGHT, nr_cpus=2)
    pcp = limits(pcp_of(system), free_count=5)
    watch = Watch(system)
    watch.once("pcp0 unlock", given(pcp.lock, 1))
    system.free_pages(18)
    assert watch.take() == [PCP[0], *ZONE, "pcp0 unlock", "pcp0 busy"]
    assert pcp.lock.owner == 1
    pcp.lock.owner = None
    assert_zone(system, "order 0: M[12 16] \n pcp0 o0: M[18 0 2 4 8 10]")
    assert (pcp.count, pcp.free_count, system.kernel.pgfree) == (6, 6, 1)


@pytest.mark.parametrize("busy", [False, True])
def test_the_task_moves_between_two_pieces(busy: bool) -> None:
    """LPA-8.4.27: it goes on on CPU 1, whose lists it must not flush: if it got that CPU's lock it gives it back.  What
    is left stays on both CPUs' lists."""
    system = machine(f"{EIGHT} \n pcp1 o0: M[32 34 36]", nr_cpus=2)
    pcp, other = limits(pcp_of(system), free_count=5), pcp_of(system, 1)
    watch = Watch(system)

    def move() -> None:
        system.kernel.machine.cpu = 1
        other.lock.owner = 0 if busy else None

    watch.once("pcp0 unlock", move)
    with system.on_cpu(0):
        system.free_pages(18)
    after = ["pcp1 busy"] if busy else ["pcp1 trylock", "pcp1 unlock"]
    assert watch.take() == [PCP[0], *ZONE, "pcp0 unlock", *after]
    assert (pcp.lock.owner, other.lock.owner) == (None, 0 if busy else None)
    other.lock.owner = None
    assert_zone(system, "order 0: M[12 16] \n pcp0 o0: M[18 0 2 4 8 10] \n pcp1 o0: M[32 34 36]")
    assert (pcp.count, other.count) == (6, 3)


def test_the_lock_is_lost_behind_a_later_piece() -> None:
    """LPA-8.4.27: at the second relock: two pieces are gone."""
    system = machine(EIGHT, nr_cpus=2)
    pcp = limits(pcp_of(system), free_count=5)
    watch = Watch(system)
    watch.once("pcp0 unlock", lambda: None)
    watch.once("pcp0 unlock", given(pcp.lock, 1))
    system.free_pages(18)
    assert watch.take() == [PCP[0], *ZONE, *BETWEEN, *ZONE, "pcp0 unlock", "pcp0 busy"]
    pcp.lock.owner = None
    assert_zone(system, "order 0: M[8 10 12 16] \n pcp0 o0: M[18 0 2 4]")


def test_a_commit_says_whether_it_holds_the_lock() -> None:
    """LPA-8.4.27: True with the lock held (nothing flushed; one piece; several), False without it."""
    for text, free_count, lost, result in (
        ("pcp0 o0: M[0] \n alloc: 18/0", 0, False, True),
        (EIGHT, 0, False, True),
        (EIGHT, 5, False, True),
        (EIGHT, 5, True, False),
    ):
        system = machine(text, nr_cpus=2)
        k, zone, pcp = system.kernel, system.zones[0], limits(pcp_of(system), free_count=free_count)
        watch = Watch(system)
        if lost:
            watch.once("pcp0 unlock", given(pcp.lock, 1))
        k.mem_map[18] = 0
        assert pcp.lock.trylock()
        args = (k, zone, pcp, 18, gfp.MIGRATE_MOVABLE, 0, gfp.FPI_NONE)
        assert k.calls.free_frozen_page_commit(*args) is result
        assert pcp.lock.owner == (0 if result else 1)
        assert zone.lock.owner is None


# --- BELOW_HIGH --------------------------------------------------------------------------------

BELOW_TEXT = "order 3: M[48] \n pcp0 o0: M[0 2 4 8 10 12 16] \n alloc: 18/0"


@pytest.mark.parametrize(("high", "flags"), [(9, 0), (10, BELOW)])
def test_below_high_is_cleared_by_a_flush(high: int, flags: int) -> None:
    """LPA-8.4.17, LPA-8.4.22, LPA-11.4.2: below high every free is at the limit and flushes; 10 pages are then free:
    more than a mark of 9, not more than one of 10.  high: 20 - max(free_count 1, batch 2) = 18."""
    system = machine(BELOW_TEXT, watermark=(0, 0, high, high), high_max=50)
    zone, pcp = system.zones[0], limits(pcp_of(system), high=20)
    zone.flags = BELOW
    system.free_pages(18)
    assert_zone(system, "order 0: M[12 16] \n order 3: M[48] \n pcp0 o0: M[18 0 2 4 8 10]")
    assert (zone.flags, pcp.high) == (flags, 18)


@pytest.mark.parametrize(("reserve", "flags"), [((0, 0, 5, 0, 0), 0), ((0, 0, 0, 5, 0), BELOW)])
def test_below_high_check_is_for_zone_movable(reserve: tuple[int, ...], flags: int) -> None:
    """LPA-8.4.17: zone index MOVABLE: its lowmem_reserve counts."""
    system = machine(BELOW_TEXT, watermark=(0, 0, 9, 9), lowmem_reserve=reserve)
    system.zones[0].flags = BELOW
    system.free_pages(18)
    assert system.zones[0].flags == flags


def test_below_high_is_looked_at_also_without_the_lock() -> None:
    """LPA-8.4.17, LPA-8.4.27: two pieces were due (free_count 4); the lock was lost behind the first, which was enough
    to get above the mark."""
    system = machine(BELOW_TEXT, watermark=(0, 0, 9, 9), high_max=50, nr_cpus=2)
    zone, pcp = system.zones[0], limits(pcp_of(system), high=20, free_count=3)
    zone.flags = BELOW
    watch = Watch(system)
    watch.once("pcp0 unlock", given(pcp.lock, 1))
    system.free_pages(18)
    assert watch.take()[-1] == "pcp0 busy"
    pcp.lock.owner = None
    assert_zone(system, "order 0: M[12 16] \n order 3: M[48] \n pcp0 o0: M[18 0 2 4 8 10]")
    assert zone.flags == 0


def test_without_a_flush_below_high_stays() -> None:
    """LPA-11.4.2: a free that does not flush does not look."""
    system = machine("order 4: M[0] \n alloc: 32/0")
    system.zones[0].flags = BELOW
    system.free_pages(32)
    assert_zone(system, "order 4: M[0] \n pcp0 o0: M[32]")
    assert system.zones[0].flags == BELOW


# --- batches of folios -------------------------------------------------------------------------


def test_folio_batch() -> None:
    """LPA-10.0.7, LPA-10.0.8, LPA-10.0.9: all are prepared first, and order 4 goes to the zone there; then the others,
    in array order, each traced before its commit, under one hold of pcp->lock."""
    system = machine("order 0: M[50] \n alloc: 8/0 16/4 10/1c 12/0")
    watch, log = Watch(system), traced(system, outer=True)
    system.free_folios([(8, 0), (16, 4), (10, 1), (12, 0)])
    assert watch.take() == [*ZONE, *PCP]
    assert_zone(system, "order 0: M[50] \n order 4: M[16] \n pcp0 o0: M[12 8] \n pcp0 o1: M[10]")
    assert log.take() == [
        ("free", 0, 0, 8),
        ("free", 0, 4, 16),
        ("free", 0, 1, 10),
        ("free", 0, 0, 12),
        ("freeb", 0, 8),
        ("freeb", 0, 10),
        ("freeb", 0, 12),
    ]
    assert system.kernel.pgfree == 1 + 16 + 2 + 1


def test_folio_batch_of_all_types() -> None:
    """LPA-10.0.9, LPA-8.4.3, LPA-8.4.5: each goes onto the list of its pageblock's type; HIGHATOMIC and CMA onto
    MOVABLE's."""
    system = machine("alloc: 1/0 9/0 17/0 25/0 33/0 \n blocks: UMRHCMMM")
    system.free_folios([(pfn, 0) for pfn in (1, 9, 17, 25, 33)])
    assert_zone(system, "pcp0 o0: U[1] M[33 25 9] R[17] \n blocks: UMRHCMMM")


def test_folio_batch_over_two_zones() -> None:
    """LPA-10.0.10, LPA-8.4.7: DMA, DMA32, DMA: each page on its zone's list; no lock stays held."""
    specs = ((0, gfp.ZONE_DMA, 0), (0, gfp.ZONE_DMA32, 16))
    system = several(*specs, texts={0: "alloc: 3/0 5/0", 16: "alloc: 20/0"})
    watch, other = Watch(system), Watch(system, system.zones[1])
    system.free_folios([(3, 0), (20, 0), (5, 0)])
    assert (watch.take(), other.take()) == (PCP * 2, PCP)
    assert_zone(system, "pcp0 o0: M[5 3]")
    assert_zone(system, "pcp0 o0: M[20]", system.zones[1])


def test_folio_batch_with_an_isolated_block() -> None:
    """LPA-10.0.10: 8 is isolated: the lock is dropped, 8 goes to the zone without a batched event, 17 takes it again;
    HIGHATOMIC (24) goes to the MOVABLE list (LPA-8.4.5)."""
    system = isolated("alloc: 1/0 8/0 17/0 24/0 \n blocks: MMMHMMMM", 8)
    watch, log = Watch(system), traced(system, outer=True)
    system.free_folios([(1, 0), (8, 0), (17, 0), (24, 0)])
    assert watch.take() == [*PCP, *ZONE, *PCP]
    assert_zone(system, "order 0: I[8] \n pcp0 o0: M[24 17 1] \n blocks: MIMHMMMM")
    assert log.take()[4:] == [("freeb", 0, 1), ("freeb", 0, 17), ("freeb", 0, 24)]


def test_folio_batch_starts_with_an_isolated_block() -> None:
    """LPA-10.0.10: no lock is held yet; and an empty batch does nothing."""
    system = isolated("alloc: 8/0", 8)
    watch = Watch(system)
    system.free_folios([(8, 0)])
    system.free_folios([])
    assert watch.take() == ZONE
    assert_zone(system, "order 0: I[8] \n blocks: MIMMMMMM")


def test_folio_batch_in_an_interrupt() -> None:
    """LPA-10.0.10, LPA-16.0.3: the trylock fails for each: to the zone, without batched events."""
    system = machine("alloc: 9/0 17/0")
    watch, log = Watch(system), traced(system, outer=True)
    with held(system, pcp_of(system).lock, context=Context.SOFTIRQ):
        system.free_folios([(9, 0), (17, 0)])
    assert watch.take() == ["pcp0 busy", *ZONE] * 2
    assert_zone(system, "order 0: M[17 9]")
    assert kinds(log.take()) == ["free", "free"]


def test_folio_batch_flushes_and_goes_on() -> None:
    """LPA-10.0.9, LPA-8.4.27: the commit of 18 flushes 4 pages in two pieces and holds the lock again: 20 follows
    under that hold."""
    system = machine(f"{EIGHT} 20/0")
    limits(pcp_of(system), free_count=3)
    watch = Watch(system)
    system.free_folios([(18, 0), (20, 0)])
    assert watch.take() == pieces(2)
    assert_zone(system, "order 0: M[8 10 12 16] \n pcp0 o0: M[20 18 0 2 4]")


def test_folio_batch_after_a_lost_lock() -> None:
    """LPA-10.0.10, LPA-8.4.27: the commit of 18 loses the lock; it is free again when the next folio, 24, takes it."""
    system = machine(f"{EIGHT} 24/0", nr_cpus=2)
    pcp = limits(pcp_of(system), free_count=3)
    watch, log = Watch(system), traced(system, outer=True)
    watch.once("pcp0 unlock", given(pcp.lock, 1))
    watch.once("pcp0 busy", given(pcp.lock, None))
    system.free_folios([(18, 0), (24, 0)])
    assert watch.take() == [PCP[0], *ZONE, "pcp0 unlock", "pcp0 busy", *PCP]
    assert_zone(system, "order 0: M[12 16] \n pcp0 o0: M[24 18 0 2 4 8 10]")
    assert [event[2] for event in log.take() if event[0] == "freeb"] == [18, 24]


def test_folio_batch_after_a_lock_lost_for_long() -> None:
    """LPA-10.0.10, LPA-8.4.27: it is still busy when 24 tries: 24 goes to the zone, without a batched event; 32 tries
    once more."""
    system = machine(f"{EIGHT} 24/0 32/0", nr_cpus=2)
    pcp = limits(pcp_of(system), free_count=3)
    watch, log = Watch(system), traced(system, outer=True)
    watch.once("pcp0 unlock", given(pcp.lock, 1))
    watch.once("pcp0 busy", lambda: None)
    watch.once("pcp0 busy", given(pcp.lock, None))
    system.free_folios([(18, 0), (24, 0), (32, 0)])
    assert watch.take() == [PCP[0], *ZONE, "pcp0 unlock", "pcp0 busy", "pcp0 busy", *ZONE, *PCP]
    assert_zone(system, "order 0: M[24 12 16] \n pcp0 o0: M[32 18 0 2 4 8 10]")
    assert [event[2] for event in log.take() if event[0] == "freeb"] == [18, 32]
    assert system.kernel.pgfree == 3


def test_folio_batch_after_a_move() -> None:
    """LPA-8.4.27, LPA-8.4.7: the task is on CPU 1 since the first piece: the next folio goes onto CPU 1's list."""
    system = machine(f"{EIGHT} 24/0 \n pcp1 o0: M[40]", nr_cpus=2)
    limits(pcp_of(system), free_count=3)
    watch = Watch(system)
    watch.once("pcp0 unlock", lambda: setattr(system.kernel.machine, "cpu", 1))
    with system.on_cpu(0):
        system.free_folios([(18, 0), (24, 0)])
    assert watch.take() == [PCP[0], *ZONE, "pcp0 unlock", *["pcp1 trylock", "pcp1 unlock"] * 2]
    assert_zone(system, "order 0: M[12 16] \n pcp0 o0: M[18 0 2 4 8 10] \n pcp1 o0: M[24 40]")


def test_folio_batch_ends_with_a_lost_lock() -> None:
    """LPA-8.4.27: the last folio's commit loses it: nothing is left to release."""
    system = machine(EIGHT, nr_cpus=2)
    pcp = limits(pcp_of(system), free_count=3)
    watch = Watch(system)
    watch.once("pcp0 unlock", given(pcp.lock, 1))
    system.free_folios([(18, 0)])
    assert watch.take()[-1] == "pcp0 busy"
    assert pcp.lock.owner == 1
    pcp.lock.owner = None
    assert_zone(system, "order 0: M[12 16] \n pcp0 o0: M[18 0 2 4 8 10]")


def test_folio_batch_with_another_zone_behind_a_lost_lock() -> None:
    """LPA-10.0.10: the zone changes at the same time: there is no lock to drop."""
    specs = ((0, gfp.ZONE_DMA, 0), (0, gfp.ZONE_DMA32, 32))
    system = several(*specs, texts={0: EIGHT, 32: "alloc: 40/0"}, nr_cpus=2, pages=32)
    pcp = limits(pcp_of(system), free_count=3)
    watch, other = Watch(system), Watch(system, system.zones[1])
    watch.once("pcp0 unlock", given(pcp.lock, 1))
    system.free_folios([(18, 0), (40, 0)])
    pcp.lock.owner = None
    assert watch.take()[-1] == "pcp0 busy"
    assert other.take() == PCP
    assert_zone(system, "pcp0 o0: M[40]", system.zones[1])


# --- trylock only: free_pages_nolock() ---------------------------------------------------------


def test_nolock_free_goes_to_the_list() -> None:
    """LPA-8.4.8, LPA-8.4.9, LPA-8.4.13, LPA-8.4.14: the same commit."""
    system = machine("pcp0 o1: M[0] \n alloc: 8/1 16/0")
    pcp = limits(pcp_of(system), alloc_factor=5, free_count=3)
    watch = Watch(system)
    system.free_pages_nolock(8, 1)
    assert (pcp.alloc_factor, pcp.free_count, pcp.flags, system.kernel.pgfree) == (2, 5, PREV, 2)
    system.free_pages_nolock(16)
    assert (pcp.alloc_factor, pcp.free_count, pcp.flags, system.kernel.pgfree) == (1, 6, 0, 3)
    assert watch.take() == PCP * 2
    assert_zone(system, "pcp0 o0: M[16] \n pcp0 o1: M[8 0] \n alloc:")


def test_nolock_frees_never_flush() -> None:
    """LPA-8.4.15: the commit ends before any flush, so that count may exceed high (8); pcp->high is not looked at
    either (it starts at 0, LPA-8.7.10).  The next ordinary free flushes: clamp(5, 2, 6) = 5 of then 12 pages."""
    system = machine("pcp0 o0: M[0 2 4 8 10 12 16] \n " + pages(4, 18) + " 40/0")
    pcp = pcp_of(system)
    watch = Watch(system)
    for pfn in (18, 20, 22, 24):
        system.free_pages_nolock(pfn)
    assert watch.take() == PCP * 4
    assert (pcp.count, pcp.high, pcp.free_count) == (11, 0, 4)
    system.free_pages(40)
    assert watch.take() == pieces(3)
    assert_zone(system, "order 0: M[4 8 10 12 16] \n pcp0 o0: M[40 24 22 20 18 0 2]")
    assert pcp.high == 8


def test_nolock_free_high_does_not_flush() -> None:
    """LPA-8.4.15, LPA-8.4.13: also where a high-order free would give everything back; the flag for the next one is
    set all the same, and that one does."""
    system = machine("alloc: 8/1 16/1", high_min=50, high_max=50)
    pcp = limits(pcp_of(system), free_count=27, flags=PREV)
    system.free_pages_nolock(8, 1)
    assert_zone(system, "pcp0 o1: M[8] \n alloc: 16/1")
    assert (pcp.flags, pcp.free_count) == (PREV, 29)
    system.free_pages(16, 1)
    assert_zone(system, "order 1: M[16 8]")


def test_nolock_free_leaves_below_high() -> None:
    """LPA-8.4.15, LPA-8.4.17: no flush, no look at BELOW_HIGH."""
    system = machine("order 4: M[32] \n " + EIGHT)
    system.zones[0].flags = BELOW
    system.free_pages_nolock(18)
    assert system.zones[0].flags == BELOW


@pytest.mark.parametrize("context", [Context.TASK, Context.SOFTIRQ, Context.HARDIRQ, Context.NMI])
@pytest.mark.parametrize(
    ("pcp_busy", "zone_busy", "events", "after"),
    [
        (False, False, PCP, "order 0: M[8] \n pcp0 o0: M[9]"),
        (False, True, PCP, "order 0: M[8] \n pcp0 o0: M[9]"),
        (True, False, ["pcp0 busy", "zone trylock", "zone unlock"], "order 1: M[8]"),
        (True, True, ["pcp0 busy", "zone busy"], "order 0: M[8] \n zllist: 9/0"),
    ],
)
def test_nolock_free_and_busy_locks(
    context: Context, pcp_busy: bool, zone_busy: bool, events: list[str], after: str
) -> None:
    """LPA-8.4.6, LPA-4.3.6: pcp->lock, then zone->lock, then the list; PGFREE counts when the page is freed."""
    system = machine("order 0: M[8] \n alloc: 9/0", nr_cpus=2)
    zone = system.zones[0]
    watch = Watch(system)
    locks = [lock for lock, busy in ((pcp_of(system).lock, pcp_busy), (zone.lock, zone_busy)) if busy]
    with held(system, *locks, context=context):
        system.free_pages_nolock(9)
    assert watch.take() == events
    assert_zone(system, after)
    assert system.kernel.pgfree == (0 if "zllist" in after else 1)


@pytest.mark.parametrize(("zone_busy", "after"), [(False, "order 4: M[16 0]"), (True, "order 4: M[0] \n zllist: 16/4")])
def test_nolock_free_of_another_order(zone_busy: bool, after: str) -> None:
    """LPA-8.4.1, LPA-4.3.7, LPA-4.3.6: order 4 has no lists here: zone->lock is tried, and the whole block may end on
    the list."""
    system = machine("order 4: M[0] \n alloc: 16/4", nr_cpus=2)
    watch = Watch(system)
    with held(system, *[system.zones[0].lock] * zone_busy):
        system.free_pages_nolock(16, 4)
    assert watch.take() == (["zone busy"] if zone_busy else ["zone trylock", "zone unlock"])
    assert_zone(system, after)


@pytest.mark.parametrize(("zone_busy", "after"), [(False, "order 0: I[8]"), (True, "zllist: 8/0")])
def test_nolock_free_into_an_isolated_block(zone_busy: bool, after: str) -> None:
    """LPA-8.4.4, LPA-4.3.6: past the per-CPU lists, but still without a wait."""
    system = isolated("alloc: 8/0", 8, nr_cpus=2)
    watch = Watch(system)
    with held(system, *[system.zones[0].lock] * zone_busy):
        system.free_pages_nolock(8)
    assert watch.take() == (["zone busy"] if zone_busy else ["zone trylock", "zone unlock"])
    assert_zone(system, f"{after} \n blocks: MIMMMMMM")


@pytest.mark.parametrize(
    ("preempt_rt", "context", "no_lock"),
    [
        (True, Context.HARDIRQ, True),
        (True, Context.NMI, True),
        (True, Context.SOFTIRQ, False),
        (True, Context.TASK, False),
        (False, Context.HARDIRQ, False),
        (False, Context.NMI, False),
    ],
)
def test_nolock_free_under_preempt_rt(preempt_rt: bool, context: Context, no_lock: bool) -> None:
    """LPA-4.3.6, LPA-16.0.12, decision D-09: in hardirq and NMI a sleeping lock may not even be tried: to the list,
    though both locks are free; the page counts with the next ordinary free_one_page()."""
    system = machine("alloc: 9/0 16/4", preempt_rt=preempt_rt)
    pcp = limits(pcp_of(system), alloc_factor=4)
    watch = Watch(system)
    with system.on_cpu(0, context):
        system.free_pages_nolock(9)
    assert watch.take() == ([] if no_lock else PCP)
    assert_zone(system, "zllist: 9/0 \n alloc: 16/4" if no_lock else "pcp0 o0: M[9] \n alloc: 16/4")
    assert (pcp.alloc_factor, system.kernel.pgfree) == ((4, 0) if no_lock else (2, 1))
    system.free_pages(16, 4)
    assert system.kernel.pgfree == 17


def test_an_ordinary_free_under_preempt_rt() -> None:
    """LPA-16.0.12, decision D-09: the rule is for trylock-only frees; preempt_rt changes nothing else."""
    system = machine("alloc: 9/0", preempt_rt=True)
    with system.on_cpu(0, Context.HARDIRQ):
        system.free_pages(9)
    assert_zone(system, "pcp0 o0: M[9]")


# --- references --------------------------------------------------------------------------------


def test_nolock_frees_put_references() -> None:
    """LPA-10.0.1: three references on an order-0 page: the third put frees it, whichever way the others went."""
    system = machine("alloc: 8/0")
    system.get_page(8)
    system.get_page(8)
    watch = Watch(system)
    system.free_pages_nolock(8)
    assert system.page_count(8) == 2
    system.free_pages(8)
    assert system.page_count(8) == 1
    assert watch.take() == []
    assert_zone(system, "alloc: 8/0")
    system.free_pages_nolock(8)
    assert_zone(system, "pcp0 o0: M[8] \n alloc:")


def test_nolock_free_with_another_reference() -> None:
    """LPA-10.0.2, LPA-8.4.15: an order-3 block: the tails go now, the top half first: 12 (order 2), 10 (order 1), 9
    (order 0), each trylock-only, so nothing is flushed although count (7) exceeds high (4)."""
    system = machine("alloc: 8/3", high_min=4, high_max=4)
    watch, log = Watch(system), traced(system, outer=True)
    system.get_page(8)
    system.free_pages_nolock(8, 3)
    assert watch.take() == PCP * 3
    assert_zone(system, "pcp0 o0: M[9] \n pcp0 o1: M[10] \n pcp0 o2: M[12] \n alloc: 8/0")
    assert log.take() == [("free", 0, 2, 12), ("free", 0, 1, 10), ("free", 0, 0, 9)]
    system.free_pages_nolock(8)
    assert_zone(system, "pcp0 o0: M[8 9] \n pcp0 o1: M[10] \n pcp0 o2: M[12] \n alloc:")


def test_nolock_free_with_another_reference_and_busy_locks() -> None:
    """LPA-10.0.2, LPA-4.3.6: 12, 10 and 9 end on the list in that order; the next free takes 9, 10, 12."""
    system = machine("alloc: 8/3 32/4", nr_cpus=2)
    system.get_page(8)
    with held(system, pcp_of(system).lock, system.zones[0].lock):
        system.free_pages_nolock(8, 3)
    assert_zone(system, "zllist: 9/0 10/1 12/2 \n alloc: 8/0 32/4")
    system.free_pages(32, 4)
    assert_zone(system, "order 0: M[9] \n order 1: M[10] \n order 2: M[12] \n order 4: M[32] \n alloc: 8/0")


def test_nolock_free_of_a_compound_page_with_another_reference() -> None:
    """LPA-10.0.3: nothing is freed; the last reference frees it whole."""
    system = machine("alloc: 8/2c")
    system.get_page(8)
    system.free_pages_nolock(8, 2)
    assert_zone(system, "alloc: 8/2c")
    system.free_pages_nolock(8, 2)
    assert_zone(system, "pcp0 o2: M[8] \n alloc:")


# --- wrong frees -------------------------------------------------------------------------------

WRONG = """
order 1: M[0]
pcp0 o0: M[5]
alloc: 8/2 16/1c 20/0
zllist: 32/2
"""


@pytest.mark.parametrize(
    ("pfn", "order", "error"),
    [
        (40, 0, BadFree),
        (0, 1, DoubleFree),
        (5, 0, DoubleFree),
        (9, 0, BadFree),
        (8, 0, OrderMismatch),
        (16, 0, OrderMismatch),
        (64, 0, BadArgument),
        (9, 1, BadArgument),
        (0, 5, BadArgument),
    ],
)
def test_wrong_nolock_frees(pfn: int, order: int, error: type[CallerError]) -> None:
    """LPA-10.0.1: the errors of free_pages(); nothing has changed then, no reference was put."""
    system = machine(WRONG)
    system.get_page(16)
    with pytest.raises(error) as caught:
        system.free_pages_nolock(pfn, order)
    assert type(caught.value) is error
    assert_zone(system, WRONG)
    assert (system.kernel.pgfree, system.page_count(16)) == (0, 2)


@pytest.mark.parametrize(("pfn", "order"), [(32, 2), (32, 0), (33, 0), (34, 1)])
@pytest.mark.parametrize("way", ["free_pages", "free_pages_nolock", "split_page", "free_folios"])
def test_free_of_a_page_on_the_zone_s_list(pfn: int, order: int, way: str) -> None:
    """LPA-4.3.6: a page there is freed already, only not yet on a free list: DoubleFree, and nothing changes."""
    system = machine(WRONG)
    arguments = ([(pfn, order)],) if way == "free_folios" else (pfn, order)
    with pytest.raises(CallerError) as caught:
        getattr(system, way)(*arguments)
    assert_zone(system, WRONG)
    assert type(caught.value) is DoubleFree
    assert caught.value.details["pfn"] == pfn


def test_a_page_on_the_zone_s_list_is_no_allocation() -> None:
    """LPA-4.3.6, LPA-10.0.1: it has no references, gets none, and is on no LRU list."""
    system = machine(WRONG)
    for other in (system.get_page, system.lru_add):
        with pytest.raises(BadArgument):
            other(32)
    assert system.page_count(32) == 0
    assert_zone(system, WRONG)


@pytest.mark.parametrize("busy", [False, True])
def test_nolock_free_twice(busy: bool) -> None:
    """LPA-8.4.6, LPA-4.3.6: the second one is refused wherever the first one put the page."""
    system = machine("alloc: 9/0", nr_cpus=2)
    locks = (pcp_of(system).lock, system.zones[0].lock) if busy else ()
    with held(system, *locks):
        system.free_pages_nolock(9)
        with pytest.raises(CallerError):
            system.free_pages_nolock(9)
    assert_zone(system, "zllist: 9/0" if busy else "pcp0 o0: M[9]")


def test_linux_6_12_has_no_free_pages_nolock() -> None:
    """LPA-8.4.15 is of 7.0."""
    system = machine("alloc: 9/0", variant=OLD)
    with pytest.raises(BadArgument, match=r"linux-6.12 has no free_pages_nolock"):
        system.free_pages_nolock(9)
    assert_zone(system, "alloc: 9/0")


# --- the whole ---------------------------------------------------------------------------------


def test_order_0_loads_are_as_in_6_12() -> None:
    """LPA-8.4.28, section 17: of what changed nothing shows in a load of single pages on one node above the
    watermarks, flushes in pieces included: the same PFNs and the same lists after every step."""
    booted = Config.small(512, vm_stat_threshold=0, batch=4, high_min=16, high_max=32)
    old, new = (System.boot(booted, variant=variant) for variant in (OLD, VARIANT))
    watch = Watch(new)
    holds = []
    mine: list[int] = []
    dice = 1
    for step in range(600):
        dice = (dice * 1103515245 + 12345) & 0x7FFFFFFF
        chosen = dice >> 20
        if not mine or step % 100 < 60:
            request = (MOVABLE, gfp.GFP_KERNEL)[chosen % 2]
            pfns = [system.alloc_pages(request) for system in (old, new)]
            assert pfns[0] == pfns[1]
            assert pfns[0] is not None
            mine.append(pfns[0])
        else:
            pfn = mine.pop(chosen % len(mine))
            for system in (old, new):
                system.free_pages(pfn)
        assert drawing_of(old).text() == drawing_of(new).text()
        new.validate()
        holds.append(watch.take().count("zone lock"))
    assert max(holds) > 1
    before, after = old.snapshot(), new.snapshot()
    assert {key for key in before if before[key] != after[key]} == {"variant"}
