# SPDX-License-Identifier: GPL-2.0-only
"""The refill as a whole: what each phase is given, one hold of zone->lock, and requests of every order."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pageblock_buddy import Context, System, gfp
from pageblock_buddy.linux_6_12.pcp import zone_pcp_disable, zone_pcp_enable
from pageblock_buddy.mm.alloc_context import RmqueueMode
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from tests.helpers import MOVABLE, M, assert_zone, limits, machine, pcp_of
from tests.rfc_trylock.locks import Locks

#: a listed block with a page in the zone, a whole block, a chunk, and a page of another type
EVERYTHING = """
order 0: M[1] R[30]
order 1: M[18]
order 3: M[8]
alloc: 0/0 2/1 4/2 16/1 20/2 24/2 28/1 31/0
blocks: MMMR
owners: 0...
owned0: 0
"""


def rfc(text: str, **overrides: Any) -> System:
    """Four pageblocks and two CPUs; CPU 0's lists are in use (high is not below batch)."""
    system = machine(text, 32, variant="rfc", **({"nr_cpus": 2} | overrides))
    limits(pcp_of(system), high=pcp_of(system).high_min)
    return system


def refill(system: System, order: int, count: int, alloc_flags: int = 0, mt: int = M) -> int:
    """rmqueue_bulk() to CPU 0's lists."""
    k = system.kernel
    return k.calls.rmqueue_bulk(k, system.zones[0], order, count, pcp_of(system), mt, alloc_flags)


def amounts(system: System) -> list[tuple[str, int]]:
    """What each phase is given from now on, in pages."""
    k = system.kernel
    given: list[tuple[str, int]] = []
    phases = k.pcp_buddy

    def recover(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
        given.append(("recover", wanted))
        return phases.refill_recover(k, zone, pcp, wanted, mt, alloc_flags)

    def claim(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
        given.append(("claim", wanted))
        return phases.refill_claim(k, zone, pcp, wanted, mt, alloc_flags)

    def chunks(k: Kernel, zone: Zone, pcp: PerCpuPages, order: int, wanted: int, mt: int) -> int:
        given.append(("chunks", wanted))
        return phases.refill_chunks(k, zone, pcp, order, wanted, mt)

    def classic(k: Kernel, zone: Zone, pcp: PerCpuPages, order: int, wanted: int, mt: int, alloc_flags: int) -> int:
        given.append(("classic", wanted))
        return phases.refill_classic(k, zone, pcp, order, wanted, mt, alloc_flags)

    k.pcp_buddy = dataclasses.replace(
        phases, refill_recover=recover, refill_claim=claim, refill_chunks=chunks, refill_classic=classic
    )
    return given


# --- four phases -------------------------------------------------------------------------------


def test_four_phases() -> None:
    """RFC-5.1, RFC-5.3, RFC-5.7, RFC-5.8, RFC-4.10: 12 wanted: 1 recovered, 8 claimed, 2 as a chunk, 1 stolen from
    RECLAIMABLE; all in one hold of zone->lock."""
    system = rfc(EVERYTHING)
    given = amounts(system)
    locks = Locks(system)
    assert refill(system, 0, 12) == 12
    assert given == [("recover", 12), ("claim", 11), ("chunks", 3), ("classic", 1)]
    assert locks.take() == "+zone -zone"
    assert_zone(
        system,
        """
        pcp0 o0: M[1* 30]
        pcp0 o1: M[18]
        pcp0 o3: M[8*]
        alloc: 0/0 2/1 4/2 16/1 20/2 24/2 28/1 31/0
        blocks: MMMR
        owners: 00..
        """,
    )
    assert pcp_of(system).count == 12


def test_small_amounts_fall_through() -> None:
    """RFC-5.27, RFC-1.8, RFC-5.26: 4 wanted with nothing listed: no block, the chunk, then two pages of the whole
    block by phase 3, which leaves it nobody's."""
    system = rfc("order 1: M[18] \n order 3: M[8]")
    assert refill(system, 0, 4) == 4
    assert_zone(system, "order 1: M[10] \n order 2: M[12] \n pcp0 o0: M[8 9] \n pcp0 o1: M[18] \n owners: ....")


def test_single_pages_do_not_serve_a_larger_request() -> None:
    """RFC-5.35, RFC-5.3: four pages are wanted in blocks of two: the chunk of two, and two pages split off a whole
    block by phase 3; the single pages stay in the zone."""
    system = rfc("order 0: M[1 3] \n order 1: M[18] \n order 3: M[8]")
    assert refill(system, 1, 2) == 2
    assert_zone(system, "order 0: M[1 3] \n order 1: M[10] \n order 2: M[12] \n pcp0 o1: M[18 8]")


def test_enough_recovered() -> None:
    """RFC-5.3, RFC-5.14, RFC-5.15: two wanted and six recovered: no other phase brings anything, though a whole block
    and a chunk are free."""
    system = rfc("order 1: M[2 18] \n order 2: M[4] \n order 3: M[8] \n alloc: 0/1 \n owners: 0... \n owned0: 0")
    assert refill(system, 0, 2) == 6
    assert_zone(
        system, "order 1: M[18] \n order 3: M[8] \n pcp0 o1: M[2*] \n pcp0 o2: M[4*] \n alloc: 0/1 \n owners: 0..."
    )


def test_recovered_blocks_do_not_bar_the_claim() -> None:
    """RFC-5.30, RFC-5.13: phase 0 has taken them off the list by then: 9 wanted, 1 recovered, so one block is
    claimed."""
    system = rfc("order 0: M[1] \n order 3: M[8 16] \n alloc: 0/0 2/1 4/2 \n owners: 0... \n owned0: 0")
    assert refill(system, 0, 9) == 9
    assert_zone(system, "order 3: M[16] \n pcp0 o0: M[1*] \n pcp0 o3: M[8*] \n alloc: 0/0 2/1 4/2 \n owners: 00..")


def test_nothing_at_all() -> None:
    """RFC-5.37: 0, and the lock is given back."""
    system = rfc("order 0: H[0] \n blocks: HMMM")
    locks = Locks(system)
    assert refill(system, 0, 8) == 0
    assert locks.take() == "+zone -zone"
    assert_zone(system, "order 0: H[0] \n blocks: HMMM")


def test_one_mode_for_claims_and_another_for_the_rest() -> None:
    """RFC-5.25, RFC-5.37: two claims share a mode, phase 3 starts with a new one and keeps it; ALLOC_CMA is for phase 3
    alone."""
    system = rfc("order 3: M[8 16] \n order 1: R[24 28] \n alloc: 26/1 30/1 \n blocks: MMMR")
    k = system.kernel
    real = k.calls._rmqueue
    asked: list[tuple[int, int, RmqueueMode]] = []

    def record(k: Kernel, zone: Zone, order: int, mt: int, alloc_flags: int, mode: RmqueueMode) -> int | None:
        asked.append((order, alloc_flags, mode))
        return real(k, zone, order, mt, alloc_flags, mode)

    k.calls = dataclasses.replace(k.calls, _rmqueue=record)
    flags = gfp.ALLOC_CMA | gfp.ALLOC_KSWAPD
    assert refill(system, 0, 18, flags) == 18
    assert [order for order, _, _ in asked] == [3, 3, 0, 0]
    assert [alloc_flags for _, alloc_flags, _ in asked] == [gfp.ALLOC_KSWAPD] * 2 + [flags] * 2
    first, second, third, fourth = (mode for _, _, mode in asked)
    assert first is second
    assert third is fourth
    assert first is not third


# --- wanted pages and the wanted order ---------------------------------------------------------


def test_fragments_alone_are_not_enough() -> None:
    """RFC-5.4: order 2, four pages wanted; five single pages are recovered, none of which serves the request: a chunk
    of that order stays wanted, and phase 2 brings one."""
    system = rfc(
        """
        order 0: M[1 3 5 7 9]
        order 2: M[20]
        alloc: 0/0 2/0 4/0 6/0 8/0 10/0
        owners: 00..
        owned0: 0 8
        """
    )
    given = amounts(system)
    assert refill(system, 2, 1) == 2
    assert given == [("recover", 4), ("claim", 4), ("chunks", 4), ("classic", -5)]
    assert_zone(
        system,
        "pcp0 o0: M[1* 3* 5* 7* 9*] \n pcp0 o2: M[20] \n alloc: 0/0 2/0 4/0 6/0 8/0 10/0 \n owners: 00..",
    )


def test_a_page_short_of_the_order() -> None:
    """RFC-5.4: order 2, four pages wanted and three recovered: one page is not what is missing, but a block of four."""
    system = rfc("order 0: M[1 3 5] \n order 2: M[20] \n alloc: 0/0 2/0 4/0 \n owners: 0... \n owned0: 0")
    given = amounts(system)
    assert refill(system, 2, 1) == 1
    assert given == [("recover", 4), ("claim", 4), ("chunks", 4), ("classic", -3)]
    assert_zone(system, "pcp0 o0: M[1* 3* 5*] \n pcp0 o2: M[20] \n alloc: 0/0 2/0 4/0 \n owners: 0...")


def test_the_order_stays_wanted_until_phase_3() -> None:
    """RFC-5.4: no chunk fits, so __rmqueue() splits a whole block."""
    system = rfc("order 0: M[1 3 5 7] \n order 3: M[16] \n alloc: 0/0 2/0 4/0 6/0 \n owners: 0... \n owned0: 0")
    given = amounts(system)
    assert refill(system, 2, 1) == 2
    assert given == [("recover", 4), ("claim", 4), ("chunks", 4), ("classic", 4)]
    assert_zone(
        system, "order 2: M[20] \n pcp0 o0: M[1* 3* 5* 7*] \n pcp0 o2: M[16] \n alloc: 0/0 2/0 4/0 6/0 \n owners: 0..."
    )


def test_a_whole_block_stays_wanted() -> None:
    """RFC-5.4, RFC-5.26: order 3, eight pages wanted and eight recovered in pieces: one block is claimed after all."""
    system = rfc(
        "order 2: M[4 12] \n order 3: M[16] \n alloc: 0/2 8/2 \n owners: 00.. \n owned0: 0 8",
    )
    given = amounts(system)
    assert refill(system, 3, 1) == 2
    assert given == [("recover", 8), ("claim", 8), ("chunks", -8), ("classic", -8)]
    assert_zone(system, "pcp0 o2: M[4* 12*] \n pcp0 o3: M[16*] \n alloc: 0/2 8/2 \n owners: 000.")


def test_a_chunk_of_the_order_on_the_pcp_will_do() -> None:
    """RFC-5.4: of the order or above: with an order-2 chunk there, an order-1 request wants no more than its pages."""
    system = rfc("order 0: M[1 3] \n order 1: M[28] \n pcp0 o2: M[20] \n alloc: 0/0 2/0 \n owners: 0... \n owned0: 0")
    given = amounts(system)
    assert refill(system, 1, 1) == 1
    assert given == [("recover", 2), ("claim", 0), ("chunks", 0), ("classic", 0)]
    assert_zone(system, "order 1: M[28] \n pcp0 o0: M[1* 3*] \n pcp0 o2: M[20] \n alloc: 0/0 2/0 \n owners: 0...")


def test_a_chunk_of_another_type_will_not_do() -> None:
    """RFC-5.4, RFC-4.2: an UNMOVABLE chunk serves no MOVABLE request."""
    system = rfc(
        """
        order 0: M[1 3]
        order 1: M[28]
        pcp0 o2: U[20]
        alloc: 0/0 2/0
        blocks: MMUM
        owners: 0...
        owned0: 0
        """
    )
    assert refill(system, 1, 1) == 2
    assert_zone(
        system,
        """
        pcp0 o0: M[1* 3*]
        pcp0 o1: M[28]
        pcp0 o2: U[20]
        alloc: 0/0 2/0
        blocks: MMUM
        owners: 0...
        """,
    )


# --- disabled lists ----------------------------------------------------------------------------


def test_disabled_lists_are_not_filled() -> None:
    """RFC-5.5: high below batch: neither recovery nor claim nor chunks; the listed block waits."""
    system = rfc(EVERYTHING)
    given = amounts(system)
    limits(pcp_of(system), high=0, batch=1)
    assert refill(system, 0, 1) == 1
    assert given == [("classic", 1)]
    assert_zone(
        system,
        """
        order 0: R[30]
        order 1: M[18]
        order 3: M[8]
        pcp0 o0: M[1]
        alloc: 0/0 2/1 4/2 16/1 20/2 24/2 28/1 31/0
        blocks: MMMR
        owners: 0...
        owned0: 0
        """,
    )


def test_high_equal_to_batch_is_in_use() -> None:
    """RFC-5.5: only below."""
    system = rfc("order 0: M[1] \n alloc: 0/0 \n owners: 0... \n owned0: 0")
    limits(pcp_of(system), high=2, batch=2)
    refill(system, 0, 1)
    assert_zone(system, "pcp0 o0: M[1*] \n alloc: 0/0 \n owners: 0...")


def test_allocating_with_zone_pcp_disable() -> None:
    """RFC-5.5, LPA-8.7.13, LPA-8.3.2: one page, which is handed out; the PCP stays empty and the block listed."""
    drawing = "order 1: M[2] \n order 2: M[4] \n {} \n owners: 0... \n owned0: 0"
    system = rfc(drawing.format("order 0: M[1] \n alloc: 0/0"))
    zone_pcp_disable(system.kernel, system.zones[0])
    assert system.alloc_pages(MOVABLE) == 1
    assert_zone(system, drawing.format("alloc: 0/0 1/0"))
    zone_pcp_enable(system.zones[0])
    assert system.alloc_pages(MOVABLE) == 2
    assert_zone(system, "pcp0 o0: M[3*] \n pcp0 o2: M[4*] \n alloc: 0/0 1/0 2/0 \n owners: 0...")


def test_boot_pageset() -> None:
    """RFC-5.5, LPA-8.7.11: high 0 and batch 1, as at boot: the page that is asked for and no more."""
    system = machine("order 3: M[8]", 32, variant="rfc", batch=1, high_min=0, high_max=0)
    assert system.alloc_pages(MOVABLE) == 8
    assert_zone(system, "order 0: M[9] \n order 1: M[10] \n order 2: M[12] \n alloc: 8/0 \n owners: ....")


# --- requests that may wait for no lock ---------------------------------------------------------


def test_trylock_refill() -> None:
    """RFC-5.9: zone->lock is tried; free, it is a refill like any other."""
    system = rfc(EVERYTHING)
    locks = Locks(system)
    assert refill(system, 0, 2, gfp.ALLOC_TRYLOCK) == 2
    assert locks.take() == "?zone -zone"


def test_trylock_refill_that_fails() -> None:
    """RFC-5.9, LPA-9.2.14: CPU 1 holds zone->lock: the refill brings nothing, rmqueue_buddy() tries once more, and the
    request fails; the listed block waits."""
    system = rfc(EVERYTHING)
    with system.on_cpu(1):
        system.zones[0].lock.lock()
    assert refill(system, 0, 2, gfp.ALLOC_TRYLOCK) == 0
    with system.on_cpu(1):
        system.zones[0].lock.unlock()
    locks = Locks(system)
    with system.on_cpu(1):
        system.zones[0].lock.lock()
    locks.take()
    with system.on_cpu(0, Context.NMI):
        assert system.alloc_pages_nolock() is None
    assert locks.take() == "?pcp0 !zone -pcp0 !zone"
    with system.on_cpu(1):
        system.zones[0].lock.unlock()
    assert_zone(system, EVERYTHING)


def test_nolock_allocation_from_the_pcp() -> None:
    """RFC-4.6: what lies on the PCP needs no zone->lock, so it is there for such a request too."""
    system = rfc("order 3: U[0] \n pcp0 o3: U[8*] \n blocks: UUMM \n owners: .0..")
    locks = Locks(system)
    with system.on_cpu(1):
        system.zones[0].lock.lock()
    locks.take()
    assert system.alloc_pages_nolock(1) == 8
    assert locks.take() == "?pcp0 -pcp0"
    with system.on_cpu(1):
        system.zones[0].lock.unlock()
    assert_zone(
        system, "order 3: U[0] \n pcp0 o1: U[10*] \n pcp0 o2: U[12*] \n blocks: UUMM \n owners: .0.. \n alloc: 8/1c"
    )


# --- requests ----------------------------------------------------------------------------------

REQUESTS = {
    0: "order 1: M[18] \n order 2: M[20] \n order 3: M[24] \n pcp0 o0: M[17] \n owners: ....",
    1: "order 2: M[20] \n order 3: M[24] \n pcp0 o1: M[18] \n owners: ....",
    2: "order 3: M[24] \n pcp0 o2: M[20*] \n owners: ..0.",
    3: "pcp0 o3: M[24*] \n owners: ..00",
}


@pytest.mark.parametrize("order", REQUESTS)
def test_a_request_of_each_order(order: int) -> None:
    """RFC-4.8, RFC-4.10, RFC-5.26, RFC-12.13, LPA-8.3.8: batch 2 means two blocks of any order: 2 or 4 pages come by
    phase 3, while 8 and 16 are one and two pageblocks, which CPU 0 owns then."""
    system = machine("order 4: M[16 0]", 32, variant="rfc")
    assert system.alloc_pages(MOVABLE, order) == 16
    assert_zone(system, f"order 4: M[0] \n {REQUESTS[order]} \n alloc: 16/{order}")
    assert system.kernel.pgalloc[gfp.ZONE_DMA32] == 1 << order


def test_when_order_0_claims() -> None:
    """RFC-12.12, RFC-4.11, RFC-4.10: batch 2: refills of 2 (phase 3), 4 (the chunk that this left) and, at alloc_factor
    2, 8 pages: only the third one is a pageblock."""
    system = machine("order 3: M[0 8 16 24]", 32, variant="rfc", high_min=32, high_max=32)
    pcp = pcp_of(system)
    assert [system.alloc_pages(MOVABLE) for _ in range(6)] == [0, 1, 4, 5, 6, 7]
    assert_zone(system, "order 1: M[2] \n order 3: M[8 16 24] \n alloc: 0/0 1/0 4/0 5/0 6/0 7/0 \n owners: ....")
    assert pcp.alloc_factor == 2
    assert system.alloc_pages(MOVABLE) == 8
    assert_zone(
        system,
        """
        order 1: M[2]
        order 3: M[16 24]
        pcp0 o0: M[9*]
        pcp0 o1: M[10*]
        pcp0 o2: M[12*]
        alloc: 0/0 1/0 4/0 5/0 6/0 7/0 8/0
        owners: .0..
        """,
    )


def test_bulk_allocation() -> None:
    """RFC-4.2, RFC-4.8, LPA-9.4.7: five pages at once from one claimed block, split under one hold of pcp->lock and one
    of zone->lock; free_count is left alone."""
    system = machine("order 3: M[8 16]", 32, variant="rfc", high_min=32, high_max=32)
    pcp = limits(pcp_of(system), alloc_factor=2, free_count=6)
    locks = Locks(system)
    assert system.alloc_pages_bulk(MOVABLE, 5) == [8, 9, 10, 11, 12]
    assert locks.take() == "?pcp0 +zone -zone -pcp0"
    assert_zone(
        system,
        """
        order 3: M[16]
        pcp0 o0: M[13*]
        pcp0 o1: M[14*]
        alloc: 8/0 9/0 10/0 11/0 12/0
        owners: .0..
        """,
    )
    assert (pcp.count, pcp.free_count, system.kernel.pgalloc[gfp.ZONE_DMA32]) == (3, 6, 5)


def test_bulk_allocation_over_several_refills() -> None:
    """RFC-4.8: two recovered pages, then (nothing is left of the block) a refill of four by phase 3."""
    system = machine(
        "order 0: M[1 3] \n order 3: M[8] \n alloc: 0/0 2/0 4/2 \n owners: 0... \n owned0: 0", 32, variant="rfc"
    )
    assert system.alloc_pages_bulk(MOVABLE, 4) == [1, 3, 8, 9]
    assert_zone(
        system,
        "pcp0 o0: M[10 11] \n order 2: M[12] \n alloc: 0/0 1/0 2/0 3/0 4/2 8/0 9/0 \n owners: 0...",
    )


def test_bulk_allocation_while_the_list_is_locked() -> None:
    """RFC-4.1, LPA-9.4.6: a single page, which comes from the zone."""
    system = machine("order 3: M[8 16]", 32, variant="rfc")
    pcp = pcp_of(system)
    assert pcp.lock.trylock()
    with system.on_cpu(0, Context.HARDIRQ):
        assert system.alloc_pages_bulk(MOVABLE, 4) == [8]
    pcp.lock.unlock()
    assert_zone(system, "order 0: M[9] \n order 1: M[10] \n order 2: M[12] \n order 3: M[16] \n alloc: 8/0")
