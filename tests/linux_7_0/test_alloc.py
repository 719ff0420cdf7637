# SPDX-License-Identifier: GPL-2.0-only
"""Allocation: busy nodes, the slow path's second attempt, defrag_mode, and requests that wait for no lock."""

from __future__ import annotations

from typing import Any

import pytest

from pageblock_buddy import BadArgument, Context, System, gfp
from pageblock_buddy.linux_7_0.alloc import alloc_flags_nofragment, gfp_to_alloc_flags, rmqueue_buddy
from pageblock_buddy.machine.spinlock import Spinlock
from tests.helpers import MOVABLE, RECLAIMABLE, UNMOVABLE, M, U, assert_zone, kinds, limits, pcp_of, traced
from tests.linux_7_0.watch import PCP, VARIANT, ZONE, Watch, held, machine, several, walks

BELOW = gfp.ZONE_BELOW_HIGH
OLD = "linux-6.12"
TRY, NOFRAGMENT = gfp.ALLOC_TRYLOCK, gfp.ALLOC_NOFRAGMENT
KSWAPD, CPUSET, CMA = gfp.ALLOC_KSWAPD, gfp.ALLOC_CPUSET, gfp.ALLOC_CMA
RESERVE, NON_BLOCK = gfp.ALLOC_MIN_RESERVE, gfp.ALLOC_NON_BLOCK
#: min, low, high, promo
MARKS = (4, 8, 12, 16)
#: zone->lock, only tried
TRIED = ["zone trylock", "zone unlock"]

UMA = ((0, gfp.ZONE_DMA, 0), (0, gfp.ZONE_DMA32, 16), (0, gfp.ZONE_NORMAL, 32))
NUMA = ((0, gfp.ZONE_DMA32, 0), (0, gfp.ZONE_NORMAL, 16), (1, gfp.ZONE_NORMAL, 32))
#: an UNMOVABLE block of order 4 in each of three zones
WHOLE = {start: f"order 4: U[{start}] \n blocks: UU" for start in (0, 16, 32)}


def singles(count: int, letter: str = "U") -> dict[str, Any]:
    """Arguments of machine(): ``count`` free single pages, each in a pageblock of its own."""
    pfns = " ".join(str(8 * block) for block in range(count))
    return {"text": f"order 0: {letter}[{pfns}] \n blocks: {letter * 9}M", "pages": 80}


# --- rmqueue_buddy() ---------------------------------------------------------------------------


@pytest.mark.parametrize(("alloc_flags", "events"), [(0, ZONE), (TRY, TRIED)])
def test_rmqueue_buddy(alloc_flags: int, events: list[str]) -> None:
    """LPA-9.2.13, LPA-9.2.14, LPA-9.2.17, LPA-5.0.3: one hold, waited for or only tried; PGALLOC counts the pages."""
    system = machine("order 4: M[16]")
    watch = Watch(system)
    assert rmqueue_buddy(system.kernel, system.zones[0], 2, alloc_flags, M) == 16
    assert watch.take() == events
    assert system.kernel.pgalloc == [0, 4, 0, 0, 0]
    assert system.zones[0].nr_free_pages == 12


def test_rmqueue_buddy_without_the_lock() -> None:
    """LPA-9.2.14: somebody holds it: nothing is taken or counted, and the holder keeps it."""
    system = machine("order 4: M[16]", nr_cpus=2)
    watch = Watch(system)
    with held(system, system.zones[0].lock):
        assert rmqueue_buddy(system.kernel, system.zones[0], 2, TRY, M) is None
    assert watch.take() == ["zone busy"]
    assert_zone(system, "order 4: M[16]")
    assert system.kernel.pgalloc == [0] * 5


@pytest.mark.parametrize(
    ("alloc_flags", "text", "pfn"),
    [
        # LPA-7.0.14: with HIGHATOMIC the reserve comes first
        (gfp.ALLOC_HIGHATOMIC, "order 0: U[1] H[16]", 16),
        (0, "order 0: U[1] H[16]", 1),
        (gfp.ALLOC_HIGHATOMIC, "order 0: U[1]", 1),
        # LPA-7.0.15: with OOM or NON_BLOCK it comes last
        (NON_BLOCK, "order 0: U[1] H[16]", 1),
        (NON_BLOCK, "order 0: H[16]", 16),
        (gfp.ALLOC_OOM, "order 0: H[16]", 16),
        (gfp.ALLOC_OOM | TRY, "order 0: H[16]", 16),
        (RESERVE, "order 0: H[16]", None),
        (TRY, "order 0: H[16]", None),
    ],
)
def test_rmqueue_buddy_and_the_reserve(alloc_flags: int, text: str, pfn: int | None) -> None:
    """LPA-9.2.15, LPA-7.0.14, LPA-7.0.15: and the lock is free again, page or not."""
    system = machine(f"{text} \n blocks: UMHMMMMM")
    zone = system.zones[0]
    assert rmqueue_buddy(system.kernel, zone, 0, alloc_flags, U) == pfn
    assert zone.lock.owner is None
    assert system.kernel.pgalloc[1] == (pfn is not None)


def test_rmqueue_buddy_starts_in_mode_normal() -> None:
    """LPA-6.1.1, LPA-9.2.15: the first one steals; the second looks at its own lists again.  NOFRAGMENT is handed
    on."""
    system = machine("order 0: M[1] U[9] \n blocks: MUMMMMMM")
    k, zone = system.kernel, system.zones[0]
    k.nr_movable[0] = 7
    assert [rmqueue_buddy(k, zone, 0, flags, 2) for flags in (0, NOFRAGMENT, 0, 0)] == [9, None, 1, None]


# --- busy nodes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("running", "pfns"),
    [
        ((), [16, 0, 32, None]),
        ((0,), [32, 16, 0, None]),
        ((1,), [16, 0, 32, None]),
        ((0, 1), [16, 0, 32, None]),
    ],
)
def test_a_node_whose_kswapd_runs_comes_last(running: tuple[int, ...], pfns: list[int | None]) -> None:
    """LPA-9.2.3: skipped at first, and used when nothing else is left; if all are busy the order is the usual one."""
    system = several(*NUMA, texts=WHOLE)
    for nid in running:
        system.kernel.nodes[nid].kswapd_running = True
    assert [system.alloc_pages(UNMOVABLE, 4) for _ in pfns] == pfns


def test_linux_6_12_does_not_look_at_kswapd() -> None:
    """LPA-9.2.3 is of 7.0."""
    system = several(*NUMA, texts=WHOLE, variant=OLD)
    system.kernel.nodes[0].kswapd_running = True
    assert system.alloc_pages(UNMOVABLE, 4) == 16


def test_a_skipped_zone_is_not_looked_at() -> None:
    """LPA-9.2.3, LPA-9.2.4: it comes before the marks: node 0's zones have no room, but BELOW_HIGH is not set there as
    long as node 1 serves."""
    system = several(*NUMA, texts={32: WHOLE[32]})
    system.kernel.nodes[0].kswapd_running = True
    assert system.alloc_pages(UNMOVABLE, 2) == 32
    assert [zone.flags for zone in system.zones] == [0, 0, 0]
    system.kernel.nodes[0].kswapd_running = False
    assert system.alloc_pages(UNMOVABLE, 2) == 36
    assert [zone.flags for zone in system.zones] == [BELOW, BELOW, 0]


def test_a_request_for_one_node_uses_it_busy_or_not() -> None:
    """LPA-9.2.3, LPA-9.1.6: __GFP_THISNODE: there is nothing else, so the walk is repeated without the rule."""
    system = several(*NUMA, texts=WHOLE)
    system.kernel.nodes[0].kswapd_running = True
    local = UNMOVABLE | gfp.GFP_THISNODE
    assert [system.alloc_pages(local, 4) for _ in range(3)] == [16, 0, None]


def test_with_one_node_nothing_is_skipped() -> None:
    """LPA-9.2.3: for more than one online node."""
    system = several(*NUMA, texts=WHOLE, nr_online_nodes=1)
    system.kernel.nodes[0].kswapd_running = True
    assert [system.alloc_pages(UNMOVABLE, 4) for _ in range(3)] == [16, 0, 32]
    system = several(*UMA, texts=WHOLE)
    system.kernel.nodes[0].kswapd_running = True
    assert [system.alloc_pages(UNMOVABLE, 4) for _ in range(4)] == [32, 16, 0, None]


def test_a_busy_node_and_fragmentation() -> None:
    """LPA-9.2.3, LPA-9.2.2: the preferred node is busy, so the first zone that is looked at is another node's: for
    locality NOFRAGMENT is dropped, though here it gains nothing: node 1's part block of MOVABLE is claimed, and node
    0's UNMOVABLE page stays."""
    texts = {0: "order 0: U[1] \n blocks: UM", 16: "order 0: U[17] \n blocks: UM", 32: "order 2: M[36]"}
    system = several(*NUMA, texts=texts)
    system.kernel.nodes[0].kswapd_running = True
    assert system.alloc_pages(UNMOVABLE) == 36
    assert_zone(system, texts[16], system.zones[1])


def test_fragmentation_of_a_busy_node() -> None:
    """LPA-9.2.3, LPA-9.2.12: node 0, busy, has an UNMOVABLE page in DMA32 and a part block of MOVABLE in NORMAL; node 1
    has nothing.  At node 1 NOFRAGMENT is dropped (LPA-9.2.2), so that NORMAL is fragmented once busy nodes are used;
    with THISNODE no other node is met: NOFRAGMENT holds in the repeated walk, and DMA32's page is used."""
    texts = {0: "order 0: U[1] \n blocks: UM", 16: "order 2: M[20]"}
    for mask, pfn in ((UNMOVABLE, 20), (UNMOVABLE | gfp.GFP_THISNODE, 1)):
        system = several(*NUMA, texts=texts)
        system.kernel.nodes[0].kswapd_running = True
        assert system.alloc_pages(mask) == pfn


def test_kswapd_running_is_in_the_snapshot() -> None:
    """LPA-9.2.3, decision D-09: an input, kept like the rest of the state."""
    system = several(*NUMA, texts=WHOLE)
    assert "kswapd_running" not in system.snapshot()
    system.kernel.nodes[1].kswapd_running = True
    restored = System.restore(system.snapshot())
    assert restored.snapshot()["kswapd_running"] == [1]
    assert [node.kswapd_running for node in restored.kernel.nodes.values()] == [False, True]


# --- the walk else -----------------------------------------------------------------------------


def test_zonelist_walk() -> None:
    """LPA-9.1.5, LPA-9.2.11: from the highest allowed zone down."""
    system = several(*UMA, texts=WHOLE)
    assert [system.alloc_pages(UNMOVABLE | gfp.GFP_DMA32, 4) for _ in range(3)] == [16, 0, None]


def test_nofragment_prefers_the_lower_zone() -> None:
    """LPA-9.1.2, LPA-9.2.12, LPA-6.1.7: rather than fragment NORMAL, DMA32's UNMOVABLE page is used.  When that is gone
    the walk is repeated without NOFRAGMENT, all in the fast path."""
    system = several(*UMA, texts={16: "order 0: U[20] \n blocks: UM", 32: "order 2: M[36]"})
    flags = walks(system)
    assert [system.alloc_pages(UNMOVABLE) for _ in range(2)] == [20, 36]
    assert flags == [gfp.ALLOC_WMARK_LOW | KSWAPD | NOFRAGMENT] * 2


def test_locality_beats_fragmentation() -> None:
    """LPA-9.2.2: node 0's NORMAL has only a part block of MOVABLE, node 1 an UNMOVABLE page: the local zone is
    fragmented.  DMA32, local, is tried before that.  One online node: no such rule."""
    texts = {16: "order 2: M[20]", 32: "order 0: U[33] \n blocks: UM"}
    assert several(*NUMA, texts=texts).alloc_pages(UNMOVABLE) == 20
    assert several(*NUMA, texts=texts | {0: "order 0: U[1] \n blocks: UM"}).alloc_pages(UNMOVABLE) == 1
    assert several(*NUMA, texts=texts, nr_online_nodes=1).alloc_pages(UNMOVABLE) == 33


def test_the_marks() -> None:
    """LPA-9.2.4, LPA-9.2.6: 12 free pages are not more than the high mark: BELOW_HIGH; more than low: a page."""
    system = machine("order 2: M[0 8 16]", watermark=MARKS)
    assert system.alloc_pages(MOVABLE) == 0
    assert system.zones[0].flags == BELOW


def test_highatomic_is_reserved_behind_the_allocation() -> None:
    """LPA-7.0.1, LPA-7.0.3, LPA-7.0.4: 1 % of 800 pages is a pageblock; only in the slow path, of order > 0."""
    text = "order 2: U[0 8 16] \n blocks: UUU" + "M" * 97
    system = machine(text, pages=800, watermark=(8, 12, 12, 12))
    assert system.alloc_pages(gfp.GFP_ATOMIC, 2) == 0
    assert system.zones[0].nr_reserved_highatomic == 8
    system = machine(text, pages=800, watermark=(0, 0, 12, 12))
    assert system.alloc_pages(gfp.GFP_ATOMIC, 2) == 0
    assert system.zones[0].nr_reserved_highatomic == 0


# --- the slow path -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_gfp", "order", "flags"),
    [
        # LPA-9.3.1, LPA-9.3.2, LPA-9.3.3: MIN is 0
        (gfp.GFP_KERNEL, 0, CPUSET | KSWAPD),
        (gfp.GFP_KERNEL | gfp.GFP_HIGH, 3, CPUSET | KSWAPD | RESERVE),
        (gfp.GFP_DIRECT_RECLAIM, 0, CPUSET),
        (gfp.GFP_ATOMIC, 0, KSWAPD | RESERVE | NON_BLOCK),
        (gfp.GFP_ATOMIC, 1, KSWAPD | RESERVE | NON_BLOCK | gfp.ALLOC_HIGHATOMIC),
        (gfp.GFP_ATOMIC | gfp.GFP_NOMEMALLOC, 1, KSWAPD | RESERVE),
        (gfp.GFP_NOWAIT, 1, CPUSET | KSWAPD | NON_BLOCK),
        (MOVABLE, 0, CPUSET | KSWAPD | CMA),
        (RECLAIMABLE, 0, CPUSET | KSWAPD),
    ],
)
@pytest.mark.parametrize("defrag_mode", [False, True])
def test_slow_path_flags(request_gfp: int, order: int, flags: int, defrag_mode: bool) -> None:
    """LPA-9.3.1, LPA-9.3.2, LPA-9.3.3, LPA-6.1.9; LPA-9.3.6: NOFRAGMENT is not set here unless defrag_mode."""
    k = machine(defrag_mode=defrag_mode).kernel
    assert gfp_to_alloc_flags(k, request_gfp, order) == flags | (NOFRAGMENT if defrag_mode else 0)


MEMALLOC = gfp.GFP_KERNEL | gfp.GFP_MEMALLOC


@pytest.mark.parametrize(
    ("request_gfp", "order", "attempts"),
    [
        # no reserve flags, CPUSET set: the first attempt is the last
        (gfp.GFP_KERNEL, 0, [CPUSET | KSWAPD]),
        (MOVABLE, 0, [CPUSET | KSWAPD | CMA]),
        (gfp.GFP_NOWAIT, 0, [CPUSET | KSWAPD | NON_BLOCK]),
        (gfp.GFP_KERNEL | gfp.GFP_HIGH, 0, [CPUSET | KSWAPD | RESERVE]),
        (MEMALLOC | gfp.GFP_NOMEMALLOC, 0, [CPUSET | KSWAPD]),
        (gfp.GFP_DIRECT_RECLAIM, 0, [CPUSET]),
        # costly orders: direct compaction would start behind the first one anyhow
        (gfp.GFP_KERNEL, 4, [CPUSET | KSWAPD]),
        (MOVABLE, 4, [CPUSET | KSWAPD | CMA]),
        (gfp.GFP_KERNEL, 1, [CPUSET | KSWAPD]),
        (MOVABLE, 1, [CPUSET | KSWAPD | CMA]),
        # MIN_RESERVE without direct reclaim drops CPUSET: the same once more
        (gfp.GFP_ATOMIC, 0, [KSWAPD | RESERVE | NON_BLOCK] * 2),
        (gfp.GFP_ATOMIC, 1, [KSWAPD | RESERVE | NON_BLOCK | gfp.ALLOC_HIGHATOMIC] * 2),
        (gfp.GFP_ATOMIC | gfp.GFP_NOMEMALLOC, 0, [KSWAPD | RESERVE] * 2),
        (gfp.GFP_HIGH, 0, [RESERVE | NON_BLOCK] * 2),
        # reserve flags replace the others
        (MEMALLOC, 0, [CPUSET | KSWAPD, gfp.ALLOC_NO_WATERMARKS | KSWAPD]),
        (MEMALLOC, 4, [CPUSET | KSWAPD, gfp.ALLOC_NO_WATERMARKS | KSWAPD]),
        (
            MOVABLE | gfp.GFP_MEMALLOC,
            0,
            [CPUSET | KSWAPD | CMA, gfp.ALLOC_NO_WATERMARKS | KSWAPD | CMA],
        ),
        (
            gfp.GFP_ATOMIC | gfp.GFP_MEMALLOC,
            0,
            [KSWAPD | RESERVE | NON_BLOCK, gfp.ALLOC_NO_WATERMARKS | KSWAPD],
        ),
        (gfp.GFP_HIGH | gfp.GFP_MEMALLOC, 0, [RESERVE | NON_BLOCK, gfp.ALLOC_NO_WATERMARKS]),
    ],
)
def test_attempts_of_a_request_that_fails(request_gfp: int, order: int, attempts: list[int]) -> None:
    """LPA-9.3.9, LPA-9.3.5, LPA-9.3.7, LPA-9.3.10: behind the fast path one attempt, and a second one only with reserve
    flags or without CPUSET."""
    system = machine("")
    flags = walks(system)
    assert system.alloc_pages(request_gfp, order) is None
    assert flags[1:] == attempts
    assert flags[0] & gfp.ALLOC_WMARK_MASK == gfp.ALLOC_WMARK_LOW


@pytest.mark.parametrize(
    ("variant", "request_gfp", "count"),
    [
        (OLD, gfp.GFP_KERNEL, 3),
        (VARIANT, gfp.GFP_KERNEL, 2),
        (OLD, gfp.GFP_ATOMIC, 3),
        (VARIANT, gfp.GFP_ATOMIC, 3),
        (OLD, MEMALLOC, 3),
        (VARIANT, MEMALLOC, 3),
    ],
)
def test_attempts_of_6_12_and_7_0(variant: str, request_gfp: int, count: int) -> None:
    """LPA-9.3.8 against LPA-9.3.9: 6.12 always tries a second time."""
    system = machine("", variant=variant)
    flags = walks(system)
    assert system.alloc_pages(request_gfp) is None
    assert len(flags) == count


@pytest.mark.parametrize(
    ("request_gfp", "high", "factor"),
    [
        (MOVABLE, 8 + 2 + 4, 2),
        (MOVABLE | gfp.GFP_HIGH, 8 + 2 + 4, 2),
        ((MOVABLE | gfp.GFP_HIGH) & ~gfp.GFP_DIRECT_RECLAIM, 8 + 2 + 4 + 8, 3),
    ],
)
def test_a_failed_attempt_keeps_its_side_effects(request_gfp: int, high: int, factor: int) -> None:
    """LPA-9.3.11, LPA-9.3.9: free pages by count, none to have: each attempt runs nr_pcp_alloc(), so what an attempt
    less means can be seen: high 8 -> raised by 2, 4 (doubled), and 8 at the third one only."""
    system = machine("", high_max=100)
    system.zones[0].nr_free_pages = 50
    assert system.alloc_pages(request_gfp) is None
    pcp = pcp_of(system)
    assert (pcp.high, pcp.alloc_factor, pcp.count) == (high, factor, 0)


@pytest.mark.parametrize(
    ("free_pages", "request_gfp", "walked"),
    [
        (9, gfp.GFP_KERNEL, 1),  # above low (8): fast path
        (8, gfp.GFP_KERNEL, 2),  # above min (4)
        (5, gfp.GFP_KERNEL, 2),
        (3, gfp.GFP_ATOMIC, 2),  # min 4 less half less a quarter (0): 2
        (1, MEMALLOC, 3),  # NO_WATERMARKS at the second attempt
    ],
)
def test_the_attempt_that_succeeds(free_pages: int, request_gfp: int, walked: int) -> None:
    """LPA-9.3.5, LPA-9.3.7: the first attempt with the min mark, the second with the reserve."""
    system = machine(**singles(free_pages), watermark=MARKS)
    flags = walks(system)
    assert system.alloc_pages(request_gfp) is not None
    assert len(flags) == walked


@pytest.mark.parametrize(("free_pages", "request_gfp"), [(4, gfp.GFP_KERNEL), (2, gfp.GFP_ATOMIC), (0, MEMALLOC)])
def test_the_marks_of_the_slow_path(free_pages: int, request_gfp: int) -> None:
    """LPA-9.3.1, LPA-9.3.10, LPA-9.3.12: at the mark there is nothing."""
    system = machine(**singles(free_pages), watermark=MARKS)
    log = traced(system, outer=True)
    assert system.alloc_pages(request_gfp) is None
    assert log.take()[-1] == ("alloc", 0, 0, request_gfp, U, -1)  # LPA-15.1.1


def test_kswapd_is_woken() -> None:
    """LPA-9.3.5: before the first attempt, each node once; not for a request without KSWAPD_RECLAIM."""
    for mask, woken in ((gfp.GFP_KERNEL, True), (gfp.GFP_DIRECT_RECLAIM, False)):
        system = machine(**singles(8), watermark=MARKS)
        log = traced(system)
        assert system.alloc_pages(mask) == 0
        assert ("wakeup_kswapd" in kinds(log.take())) is woken


@pytest.mark.parametrize(
    ("request_gfp", "order", "wakeups"),
    [
        # one attempt, at whose end compaction would start
        (gfp.GFP_KERNEL, 4, 1),
        (MOVABLE, 4, 1),
        (gfp.GFP_KERNEL, 1, 1),
        # two attempts
        (gfp.GFP_ATOMIC, 0, 2),
        (MEMALLOC, 0, 2),
        (MEMALLOC, 4, 2),
        # nobody to wake
        (gfp.GFP_HIGH, 0, 0),
        (gfp.GFP_DIRECT_RECLAIM, 0, 0),
    ],
)
def test_kswapd_is_woken_before_each_attempt(request_gfp: int, order: int, wakeups: int) -> None:
    """LPA-9.3.5, LPA-9.3.9: one zone, so one wakeup each."""
    system = machine("")
    log = traced(system)
    assert system.alloc_pages(request_gfp, order) is None
    assert kinds(log.take()).count("wakeup_kswapd") == wakeups


# --- defrag_mode -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("specs", "nodes", "defrag_mode", "expected"),
    [
        (UMA, 0, False, NOFRAGMENT),
        ((UMA[2],), 0, False, NOFRAGMENT),  # one node: no look at DMA32
        ((UMA[2],), 2, False, 0),  # two nodes, and this one has no DMA32
        (UMA, 2, False, NOFRAGMENT),
        (UMA[:2], 0, False, 0),  # the preferred zone is DMA32
        (UMA, 0, True, NOFRAGMENT),
        ((UMA[2],), 2, True, NOFRAGMENT),
        (UMA[:2], 0, True, NOFRAGMENT),
        (UMA[:1], 0, True, NOFRAGMENT),
    ],
)
def test_alloc_flags_nofragment(
    specs: tuple[tuple[int, int, int], ...], nodes: int, defrag_mode: bool, expected: int
) -> None:
    """LPA-9.1.3, LPA-9.1.2, LPA-9.1.1: defrag_mode sets it whatever the zone; KSWAPD follows the gfp bit."""
    system = several(*specs, texts={}, nr_online_nodes=nodes, defrag_mode=defrag_mode)
    preferred = system.zones[-1]
    assert alloc_flags_nofragment(system.kernel, preferred, gfp.GFP_KERNEL) == expected | KSWAPD
    assert alloc_flags_nofragment(system.kernel, preferred, gfp.GFP_DIRECT_RECLAIM) == expected


def test_nofragment_wants_a_populated_dma32() -> None:
    """LPA-9.1.2: with two nodes an empty DMA32 counts as none."""
    system = several(*UMA, texts={}, nr_online_nodes=2)
    system.zones[1].present_pages = 0
    assert alloc_flags_nofragment(system.kernel, system.zones[2], 0) == 0


#: part blocks of other types only: nothing to have without fragmenting
PARTS = "order 0: M[1] R[9] \n order 2: M[20] \n blocks: MRMMMMMM"


@pytest.mark.parametrize("request_gfp", [gfp.GFP_KERNEL, gfp.GFP_ATOMIC, gfp.GFP_NOWAIT, gfp.GFP_HIGH])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_defrag_mode_never_fragments(request_gfp: int, order: int) -> None:
    """LPA-9.1.3, LPA-9.3.6, LPA-6.1.7, LPA-6.2.1: no steal and no claim of a part block, in no attempt; the request
    fails, and nothing is moved.  Without defrag_mode it gets a page."""
    system = machine(PARTS, defrag_mode=True)
    flags = walks(system)
    assert system.alloc_pages(request_gfp, order) is None
    assert len(flags) >= 2
    assert all(f & NOFRAGMENT for f in flags)
    assert_zone(system, PARTS)
    assert machine(PARTS).alloc_pages(request_gfp, order) is not None


@pytest.mark.parametrize(
    ("order", "rest"),
    [
        (0, "order 1: U[26] \n order 2: M[20] U[28] \n pcp0 o0: U[25]"),
        (2, "order 2: M[20] \n pcp0 o2: U[28]"),
        (3, "order 2: M[20]"),
    ],
)
def test_defrag_mode_claims_whole_blocks(order: int, rest: str) -> None:
    """LPA-9.1.3, LPA-6.2.1: 24 is a whole free pageblock: converted; the part blocks stay."""
    system = machine(f"{PARTS} \n order 3: M[24]", defrag_mode=True)
    assert system.alloc_pages(UNMOVABLE, order) == 24
    assert_zone(system, f"order 0: M[1] R[9] \n {rest} \n alloc: 24/{order} \n blocks: MRMUMMMM")


def test_defrag_mode_claims_two_blocks_at_once() -> None:
    """LPA-6.3.1, LPA-9.1.3: an order-4 block is two pageblocks."""
    system = machine("order 2: M[4] \n order 4: M[16]", defrag_mode=True)
    assert system.alloc_pages(RECLAIMABLE, 4) == 16
    assert_zone(system, "order 2: M[4] \n alloc: 16/4 \n blocks: MMRRMMMM")


def test_defrag_mode_serves_own_pages() -> None:
    """LPA-6.1.4: of the own type part blocks are taken as ever."""
    system = machine("order 2: U[4] M[12] \n blocks: UMMMMMMM", defrag_mode=True)
    assert [system.alloc_pages(UNMOVABLE, 2) for _ in range(2)] == [4, None]
    assert_zone(system, "order 2: M[12] \n alloc: 4/2 \n blocks: UMMMMMMM")


def test_defrag_mode_does_not_restart_for_locality() -> None:
    """LPA-9.1.3, LPA-9.2.2, LPA-9.2.12: NOFRAGMENT is not dropped at another node either: its page is used, and when
    there is none the local part block is left alone."""
    texts = {16: "order 2: M[20]", 32: "order 0: U[33] \n blocks: UM"}
    system = several(*NUMA, texts=texts, defrag_mode=True)
    assert [system.alloc_pages(UNMOVABLE) for _ in range(2)] == [33, None]
    assert_zone(system, "order 2: M[20]", system.zones[1])


def test_defrag_mode_and_busy_nodes() -> None:
    """LPA-9.1.3, LPA-9.2.3: the walk is repeated with busy nodes, still without fragmenting."""
    texts = {16: "order 0: U[17] \n order 2: M[28] \n blocks: UM", 32: "order 2: M[36]"}
    system = several(*NUMA, texts=texts, defrag_mode=True)
    system.kernel.nodes[0].kswapd_running = True
    assert [system.alloc_pages(UNMOVABLE) for _ in range(2)] == [17, None]
    assert_zone(system, "order 2: M[36]", system.zones[2])


def test_bulk_has_no_nofragment() -> None:
    """LPA-9.4.2: not even in defrag_mode: many at once are stolen."""
    system = machine("order 0: M[1 9 17]", defrag_mode=True)
    system.kernel.nr_movable.update({0: 7, 1: 7, 2: 7})
    assert system.alloc_pages_bulk(UNMOVABLE, 2) == [1, 9]


# --- trylock only: alloc_pages_nolock() --------------------------------------------------------


def test_nolock() -> None:
    """LPA-9.5.1, LPA-8.2.5, LPA-8.2.8: UNMOVABLE, refilled like any other list, under a lock that is only tried."""
    system = machine("order 0: M[33] \n order 3: U[8] \n blocks: MUMMMMMM")
    watch = Watch(system)
    assert system.alloc_pages_nolock() == 8
    assert watch.take() == [PCP[0], *TRIED, PCP[1]]
    assert system.alloc_pages_nolock() == 9
    assert watch.take() == PCP
    assert_zone(system, "order 0: M[33] \n order 1: U[10] \n order 2: U[12] \n alloc: 8/0 9/0 \n blocks: MUMMMMMM")
    assert system.kernel.pgalloc[gfp.ZONE_DMA32] == 2


def test_nolock_pages_are_compound_and_traced() -> None:
    """LPA-15.1.1: the mask of the event has what the call adds; an order-1 page is a compound one."""
    system = machine("order 3: U[8] \n blocks: MUMMMMMM", nr_cpus=2)
    log = traced(system, outer=True)
    mask = gfp.GFP_NOWARN | gfp.GFP_ZERO | gfp.GFP_NOMEMALLOC | gfp.GFP_COMP
    assert system.alloc_pages_nolock(1) == 8
    assert log.take()[-1] == ("alloc", 0, 1, mask, U, 8)
    assert system.kernel.mem_map[8] == 0x31
    with system.on_cpu(1, Context.NMI):
        assert system.alloc_pages_nolock(gfp=gfp.GFP_ACCOUNT) == 12
    assert log.take()[-1] == ("alloc", 1, 0, mask | gfp.GFP_ACCOUNT, U, 12)
    assert system.alloc_pages_nolock(3) is None
    assert log.take()[-1] == ("alloc", 0, 3, mask, U, -1)


@pytest.mark.parametrize(
    ("order", "pageblock_order", "pfn"), [(0, 3, 0), (3, 3, 0), (4, 3, None), (4, 4, 0), (3, 4, 0), (5, 4, None)]
)
def test_nolock_orders(order: int, pageblock_order: int, pfn: int | None) -> None:
    """LPA-9.5.1, LPA-8.1.3: only orders that have per-CPU lists; for another one nothing is even tried or traced."""
    text = f"order {pageblock_order + 1}: U[0] \n blocks: {'U' * (64 >> pageblock_order)}"
    system = machine(text, pageblock_order=pageblock_order, max_page_order=pageblock_order + 1)
    watch, log = Watch(system), traced(system, outer=True)
    assert system.alloc_pages_nolock(order) == pfn
    if pfn is None:
        assert (watch.take(), log.take()) == ([], [])
        assert_zone(system, text)


@pytest.mark.parametrize(("free_pages", "found"), [(9, True), (5, True), (4, False)])
def test_nolock_mark(free_pages: int, found: bool) -> None:
    """LPA-9.5.1, LPA-9.2.4: the min mark (4) at once; the high one is looked at for BELOW_HIGH as ever."""
    system = machine(**singles(free_pages), watermark=MARKS)
    log, flags = traced(system), walks(system)
    assert (system.alloc_pages_nolock() is not None) is found
    assert flags == [gfp.ALLOC_WMARK_MIN | TRY]  # and no slow path
    assert "wakeup_kswapd" not in kinds(log.take())
    assert system.zones[0].flags == BELOW


def test_nolock_has_no_reserve() -> None:
    """LPA-9.5.1, LPA-7.0.15: no NON_BLOCK, no MIN_RESERVE: HIGHATOMIC pages are out of reach.  The counter lies, so
    that the walk gets to the lists."""
    system = machine("order 0: H[9] \n blocks: MHMMMMMM")
    system.zones[0].nr_free_pages += 50
    assert system.alloc_pages_nolock() is None
    assert system.alloc_pages(gfp.GFP_ATOMIC) == 9


@pytest.mark.parametrize("context", [Context.TASK, Context.SOFTIRQ, Context.HARDIRQ, Context.NMI])
@pytest.mark.parametrize(
    ("on_list", "pcp_busy", "zone_busy", "events", "pfn"),
    [
        ("9", False, True, PCP, 9),  # a page on the list needs no zone->lock
        ("9", True, False, ["pcp0 busy", *TRIED], 16),  # past the list
        ("9", True, True, ["pcp0 busy", "zone busy"], None),
        ("", False, False, [PCP[0], *TRIED, PCP[1]], 16),
        ("", False, True, [PCP[0], "zone busy", PCP[1], "zone busy"], None),  # no refill, and not past the list
        ("", True, False, ["pcp0 busy", *TRIED], 16),
        ("", True, True, ["pcp0 busy", "zone busy"], None),
    ],
)
def test_nolock_and_busy_locks(
    context: Context, on_list: str, pcp_busy: bool, zone_busy: bool, events: list[str], pfn: int | None
) -> None:
    """LPA-9.5.1, LPA-8.2.1, LPA-9.2.14: each lock is tried, once at each place; None rather than a wait."""
    text = f"order 1: U[16] \n pcp0 o0: U[{on_list}] \n blocks: UUUMMMMM"
    system = machine(text, nr_cpus=2)
    zone, pcp = system.zones[0], pcp_of(system)
    watch = Watch(system)
    locks: list[Spinlock] = [lock for lock, busy in ((pcp.lock, pcp_busy), (zone.lock, zone_busy)) if busy]
    with held(system, *locks, context=context):
        assert system.alloc_pages_nolock() == pfn
    assert watch.take() == events
    if pfn is None:
        assert_zone(system, text)
        assert system.kernel.pgalloc[gfp.ZONE_DMA32] == 0
    system.validate()


def test_a_refill_without_the_lock_keeps_its_side_effects() -> None:
    """LPA-9.3.11, LPA-9.5.1, LPA-8.2.2: nr_pcp_alloc() ran, and free_count was halved."""
    system = machine("order 3: U[8] \n blocks: MUMMMMMM", nr_cpus=2)
    pcp = limits(pcp_of(system), free_count=6)
    with held(system, system.zones[0].lock):
        assert system.alloc_pages_nolock() is None
    assert (pcp.free_count, pcp.alloc_factor, pcp.high, pcp.count) == (3, 1, 8, 0)


def test_nolock_goes_on_to_the_next_zone() -> None:
    """LPA-9.2.11, LPA-9.5.1: NORMAL's lock is busy: DMA32 is asked."""
    system = several(*UMA, texts=WHOLE, nr_cpus=2)
    with held(system, system.zones[2].lock):
        assert system.alloc_pages_nolock(3) == 16
    assert system.alloc_pages_nolock(3) == 32


def test_nolock_nodes() -> None:
    """LPA-9.1.6: the running CPU's node, or the one that is asked for; another one where that has nothing."""
    system = several(*NUMA, texts=WHOLE, nr_cpus=2, cpu_node=(0, 1))
    assert system.alloc_pages_nolock(2) == 16
    assert system.alloc_pages_nolock(2, node=1) == 32
    with system.on_cpu(1):
        assert [system.alloc_pages_nolock(2) for _ in range(3)] == [40, 24, 0]
    for node in (2, -1):
        with pytest.raises(BadArgument):
            system.alloc_pages_nolock(node=node)


def test_nolock_on_a_node_without_memory() -> None:
    """LPA-9.1.6: CPU 1's node has none: it starts at node 0."""
    system = several(*NUMA[:2], texts=WHOLE, nr_cpus=2, cpu_node=(0, 1))
    with system.on_cpu(1):
        assert system.alloc_pages_nolock(3) == 16


def test_nolock_without_a_zone() -> None:
    """LPA-9.1.4, LPA-9.5.1, LPA-15.1.1: there is only ZONE_MOVABLE, which an UNMOVABLE request may not use: None, and
    traced like any other failure."""
    system = several((0, gfp.ZONE_MOVABLE, 0), texts={0: "order 4: M[0]"})
    log = traced(system, outer=True)
    assert system.alloc_pages_nolock() is None
    assert kinds(log.take()) == ["alloc"]


def test_nolock_skips_busy_nodes() -> None:
    """LPA-9.2.3, LPA-9.5.1: the same walk."""
    system = several(*NUMA, texts=WHOLE)
    system.kernel.nodes[0].kswapd_running = True
    assert system.alloc_pages_nolock(3) == 32


@pytest.mark.parametrize(
    ("preempt_rt", "context", "pfn"),
    [
        (True, Context.HARDIRQ, None),
        (True, Context.NMI, None),
        (True, Context.SOFTIRQ, 9),
        (True, Context.TASK, 9),
        (False, Context.HARDIRQ, 9),
        (False, Context.NMI, 9),
    ],
)
def test_nolock_under_preempt_rt(preempt_rt: bool, context: Context, pfn: int | None) -> None:
    """LPA-9.5.1, LPA-16.0.12, decision D-09: in hardirq and NMI a sleeping lock may not even be tried: None at once,
    with no event."""
    system = machine("order 0: U[1] \n pcp0 o0: U[9] \n blocks: UUMMMMMM", preempt_rt=preempt_rt)
    watch, log = Watch(system), traced(system, outer=True)
    with system.on_cpu(0, context):
        assert system.alloc_pages_nolock() == pfn
    if pfn is None:
        assert (watch.take(), log.take()) == ([], [])
        assert_zone(system, "order 0: U[1] \n pcp0 o0: U[9] \n blocks: UUMMMMMM")


def test_an_ordinary_allocation_under_preempt_rt() -> None:
    """LPA-16.0.12, decision D-09: preempt_rt changes nothing else."""
    system = machine("order 0: U[1] \n pcp0 o0: U[9] \n blocks: UUMMMMMM", preempt_rt=True)
    with system.on_cpu(0, Context.HARDIRQ):
        assert system.alloc_pages(gfp.GFP_ATOMIC) == 9


@pytest.mark.parametrize("mask", [gfp.GFP_KERNEL, gfp.GFP_ZERO, gfp.GFP_ATOMIC, gfp.GFP_MOVABLE, -1, 1 << 26])
def test_nolock_masks(mask: int) -> None:
    """LPA-9.5.1: BadArgument: only __GFP_ACCOUNT may be given."""
    system = machine("order 0: U[1] \n blocks: UMMMMMMM")
    with pytest.raises(BadArgument):
        system.alloc_pages_nolock(gfp=mask)
    for order in (-1, 5):
        with pytest.raises(BadArgument):
            system.alloc_pages_nolock(order)
    assert_zone(system, "order 0: U[1] \n blocks: UMMMMMMM")


def test_linux_6_12_has_no_alloc_pages_nolock() -> None:
    """LPA-9.5.1 is of 7.0."""
    system = machine("order 0: U[1] \n blocks: UMMMMMMM", variant=OLD)
    with pytest.raises(BadArgument, match=r"linux-6.12 has no alloc_pages_nolock"):
        system.alloc_pages_nolock()


def test_back_and_forth() -> None:
    """LPA-9.5.1, LPA-8.4.15: what was freed trylock-only is allocated next."""
    system = machine("order 4: U[0] \n blocks: UUMMMMMM")
    system.validating = True
    with system.on_cpu(0, Context.NMI):
        pfns = [system.alloc_pages_nolock(order) for order in (0, 2, 0, 1)]
        assert pfns == [0, 4, 1, 2]
        for pfn, order in zip((0, 4, 1, 2), (0, 2, 0, 1), strict=True):
            system.free_pages_nolock(pfn, order)
        assert [system.alloc_pages_nolock() for _ in range(2)] == [1, 0]
