# SPDX-License-Identifier: GPL-2.0-only
"""Variant chunks: a refill takes large chunks under zone->lock and cuts them up outside of it."""

from __future__ import annotations

from typing import Any

import pytest

from pageblock_buddy import System, gfp
from pageblock_buddy.linux_6_12.pcp import zone_pcp_disable
from tests.helpers import MOVABLE, M, R, U, assert_zone, config, limits, machine, pcp_of, traced
from tests.rfc_trylock.locks import Locks


def chunks(text: str, **overrides: Any) -> System:
    """Four pageblocks and two CPUs."""
    return machine(text, 32, variant="chunks", **({"nr_cpus": 2} | overrides))


def refill(system: System, order: int, count: int, mt: int = M, alloc_flags: int = 0) -> int:
    """rmqueue_bulk() to CPU 0's lists, counted as its caller does; the blocks taken."""
    k, pcp = system.kernel, pcp_of(system)
    taken = k.calls.rmqueue_bulk(k, system.zones[0], order, count, pcp, mt, alloc_flags)
    pcp.count += taken << order
    return taken


def test_one_chunk_for_many_pages() -> None:
    """RFC-10.13, RFC-10.14, RFC-10.15: four pages are one removal from the zone; cut up, they lie on today's list,
    ascending, behind what is there."""
    system = chunks("order 2: M[12 20] \n pcp0 o0: M[1]")
    log = traced(system)
    assert refill(system, 0, 4) == 4
    assert_zone(system, "order 2: M[20] \n pcp0 o0: M[1 12 13 14 15]")
    assert log.take() == []


def test_largest_that_fits_first() -> None:
    """RFC-10.14, RFC-5.35: 7 pages: 4 + 2 + 1; each chunk ascends, in the order in which they were taken."""
    system = chunks("order 0: M[1 3] \n order 1: M[10 14] \n order 2: M[20]")
    assert refill(system, 0, 7) == 7
    assert_zone(system, "order 0: M[3] \n order 1: M[14] \n pcp0 o0: M[20 21 22 23 10 11 1]")


@pytest.mark.parametrize(
    ("order", "count", "expected"),
    [
        (0, 8, "order 1: M[10] \n pcp0 o0: M[16 17 18 19 24 25 26 27]"),
        (1, 4, "order 1: M[10] \n pcp0 o1: M[16 18 24 26]"),
        (2, 2, "order 1: M[10] \n pcp0 o2: M[16 24]"),
        (1, 5, "pcp0 o1: M[16 18 24 26 10]"),
    ],
)
def test_blocks_of_the_request_s_order(order: int, count: int, expected: str) -> None:
    """RFC-10.15: what is wanted is count << order pages; a chunk is cut into blocks of that order."""
    system = chunks("order 1: M[10] \n order 2: M[16 24]")
    assert refill(system, order, count) == count
    assert_zone(system, expected)


def test_the_rest_as_today() -> None:
    """RFC-10.14: the chunk of two fits three; the third page comes from __rmqueue(), split off a whole block, in the
    same hold; the PCP gets it behind the chunk."""
    system = chunks("order 1: M[10] \n order 3: M[16]")
    locks = Locks(system)
    assert refill(system, 0, 3) == 3
    assert locks.take() == "+zone -zone"
    assert_zone(system, "order 0: M[17] \n order 1: M[18] \n order 2: M[20] \n pcp0 o0: M[10 11 16]")


def test_nothing_below_the_request_s_order() -> None:
    """RFC-10.14, RFC-5.35: single pages do not serve an order-1 request; fallback does."""
    system = chunks("order 0: M[1 3] \n order 2: U[28] \n blocks: MMMU")
    assert refill(system, 1, 2) == 2
    assert_zone(system, "order 0: M[1 3] \n pcp0 o1: M[28 30] \n blocks: MMMM")


def test_never_a_whole_block_as_a_chunk() -> None:
    """RFC-10.14, RFC-5.35: eight pages are wanted and a whole block fits: __rmqueue() splits it page by page, as
    today."""
    system = chunks("order 3: M[8]")
    log = traced(system)
    assert refill(system, 0, 8) == 8
    assert_zone(system, "pcp0 o0: M[8 9 10 11 12 13 14 15]")
    assert [event[4] for event in log.take()] == [8, 9, 10, 11, 12, 13, 14, 15]


def test_pageblock_order() -> None:
    """RFC-10.14: an order-3 refill has no chunks; it is today's."""
    system = chunks("order 2: M[4] \n order 4: M[16]")
    assert refill(system, 3, 2) == 2
    assert_zone(system, "order 2: M[4] \n pcp0 o3: M[16 24]")


@pytest.mark.parametrize(
    ("mt", "left"),
    [(U, "order 2: M[12] R[20] \n pcp0 o0: U[4 5 6 7]"), (R, "order 2: U[4] M[12] \n pcp0 o0: R[20 21 22 23]")],
)
def test_own_type(mt: int, left: str) -> None:
    """RFC-10.14, RFC-5.31: chunks of the own type alone."""
    system = chunks("order 2: U[4] M[12] R[20] \n blocks: UMRM")
    assert refill(system, 0, 4, mt) == 4
    assert_zone(system, left + "\n blocks: UMRM")


def test_nobody_owns_anything() -> None:
    """RFC-10.13: no owner, no mark, and a free goes to the running CPU's list."""
    system = chunks("order 2: M[12] \n order 4: M[16]", high_min=8, high_max=8)
    pcp = limits(pcp_of(system), alloc_factor=1)
    assert system.alloc_pages(MOVABLE) == 12
    assert pcp.count == 3
    with system.on_cpu(1):
        system.free_pages(12)
    assert_zone(system, "order 4: M[16] \n pcp0 o0: M[13 14 15] \n pcp1 o0: M[12] \n owners: ....")


def test_requests_of_linux_7_0() -> None:
    """RFC-10.14: the same refill on linux-7.0 takes the pages one by one from the smallest entries."""
    text = "order 0: M[1] \n order 1: M[10] \n order 2: M[20] \n order 3: M[24]"
    expected = {"linux-7.0": "1 10 11 20", "chunks": "20 21 22 23"}
    left = {
        "linux-7.0": "order 0: M[21] \n order 1: M[22]",
        "chunks": "order 0: M[1] \n order 1: M[10]",
    }
    for variant, pfns in expected.items():
        system = machine(text, 32, variant=variant)
        assert refill(system, 0, 4) == 4
        assert_zone(system, f"{left[variant]} \n order 3: M[24] \n pcp0 o0: M[{pfns}]")


def test_holds_of_zone_lock_are_those_of_linux_7_0() -> None:
    """RFC-10.14: chunks change what is done in a hold, not how many there are; frees and drains are today's."""
    holds = {}
    for variant in ("linux-7.0", "chunks"):
        system = System.boot(config(64, reserved=()), variant=variant)
        locks = Locks(system)
        pages = [system.alloc_pages(MOVABLE) for _ in range(40)]
        for pfn in pages:
            assert pfn is not None
            system.free_pages(pfn)
        system.drain_all_pages()
        holds[variant] = locks.holds("zone")
        system.validate()
    assert holds["chunks"] == holds["linux-7.0"]


def test_trylock() -> None:
    """RFC-10.14, LPA-9.5.1: zone->lock busy, and the request may not wait: nothing."""
    system = chunks("order 2: M[12]")
    with system.on_cpu(1):
        system.zones[0].lock.lock()
    assert refill(system, 0, 4, alloc_flags=gfp.ALLOC_TRYLOCK) == 0
    with system.on_cpu(1):
        system.zones[0].lock.unlock()
    assert refill(system, 0, 4, alloc_flags=gfp.ALLOC_TRYLOCK) == 4
    assert_zone(system, "pcp0 o0: M[12 13 14 15]")


def test_nothing_to_give() -> None:
    """LPA-8.2.7: the zone has one page of three."""
    system = chunks("order 0: M[9] H[16] \n blocks: MMHM")
    assert refill(system, 0, 3) == 1
    assert refill(system, 0, 3) == 0
    assert_zone(system, "order 0: H[16] \n pcp0 o0: M[9] \n blocks: MMHM")
    assert system.zones[0].lock.owner is None


def test_disabled_lists() -> None:
    """LPA-8.7.13: one page, though a chunk is there."""
    system = chunks("order 0: M[1] \n order 2: M[12]")
    zone_pcp_disable(system.kernel, system.zones[0])
    assert system.alloc_pages(MOVABLE) == 1
    assert_zone(system, "order 2: M[12] \n alloc: 1/0")
