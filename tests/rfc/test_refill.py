# SPDX-License-Identifier: GPL-2.0-only
"""The four phases of a refill, each by itself."""

from __future__ import annotations

from typing import Any

import pytest

from pageblock_buddy import System, gfp
from pageblock_buddy.mm.calls import Recovered
from tests.helpers import M, R, U, assert_zone, locked, machine, pcp_of, traced


def rfc(text: str, pages: int = 32, **overrides: Any) -> System:
    """Four pageblocks and two CPUs."""
    return machine(text, pages, variant="rfc", **({"nr_cpus": 2} | overrides))


def recover(system: System, wanted: int, mt: int = M, cpu: int = 0) -> int:
    """Phase 0 of CPU ``cpu``."""
    k, zone = system.kernel, system.zones[0]
    with system.on_cpu(cpu), locked(zone):
        return k.pcp_buddy.refill_recover(k, zone, pcp_of(system, cpu), wanted, mt, 0)


def recover_one(system: System, block_pfn: int, limit: int = 8) -> Recovered:
    """Phase 0's work on one block, with at most ``limit`` PFNs."""
    k, zone = system.kernel, system.zones[0]
    with locked(zone):
        return k.pcp_buddy.recover_block(k, zone, pcp_of(system), block_pfn, limit)


def claim(system: System, wanted: int, mt: int = M, alloc_flags: int = 0) -> int:
    """Phase 1 of CPU 0."""
    k, zone = system.kernel, system.zones[0]
    with locked(zone):
        return k.pcp_buddy.refill_claim(k, zone, pcp_of(system), wanted, mt, alloc_flags)


def chunks(system: System, order: int, wanted: int, mt: int = M) -> int:
    """Phase 2 of CPU 0."""
    k, zone = system.kernel, system.zones[0]
    with locked(zone):
        return k.pcp_buddy.refill_chunks(k, zone, pcp_of(system), order, wanted, mt)


def classic(system: System, order: int, wanted: int, mt: int = M, alloc_flags: int = 0) -> int:
    """Phase 3 of CPU 0."""
    k, zone = system.kernel, system.zones[0]
    with locked(zone):
        return k.pcp_buddy.refill_classic(k, zone, pcp_of(system), order, wanted, mt, alloc_flags)


# --- phase 0: which blocks ---------------------------------------------------------------------


def test_recover() -> None:
    """RFC-5.12, RFC-5.13, RFC-5.6, RFC-5.7, RFC-3.11: what is free of the block comes to the tails of the lists of its
    orders, marked; the block is unlisted and stays CPU 0's; the zone's other pages stay."""
    system = rfc(
        """
        order 0: M[1 17]
        order 1: M[2 18]
        pcp0 o0: M[24]
        pcp0 o1: M[26]
        alloc: 0/0 4/2 16/0 20/2
        owners: 0...
        owned0: 0
        """
    )
    assert recover(system, 1) == 3
    assert_zone(
        system,
        """
        order 0: M[17]
        order 1: M[18]
        pcp0 o0: M[24 1*]
        pcp0 o1: M[26 2*]
        alloc: 0/0 4/2 16/0 20/2
        owners: 0...
        """,
    )
    assert pcp_of(system).count == 6


def test_recover_goes_by_the_list() -> None:
    """RFC-5.10, RFC-5.17, RFC-5.6: from the head: block 16 before 0 and 8; inside a block from its first PFN on."""
    system = rfc("order 0: M[1 3 9 17 19] \n alloc: 0/0 8/0 16/0 \n owners: 000. \n owned0: 16 0 8")
    assert recover(system, 5) == 5
    assert_zone(system, "pcp0 o0: M[17* 19* 1* 3* 9*] \n alloc: 0/0 8/0 16/0 \n owners: 000.")


def test_recover_consumes_the_whole_list() -> None:
    """RFC-5.15: one page is wanted, and the first block has it; the others are recovered as well."""
    system = rfc("order 0: M[1 9 17] \n alloc: 0/0 8/0 16/0 \n owners: 000. \n owned0: 0 8 16")
    assert recover(system, 1) == 3
    assert_zone(system, "pcp0 o0: M[1* 9* 17*] \n alloc: 0/0 8/0 16/0 \n owners: 000.")


def test_recover_skips_other_types() -> None:
    """RFC-5.10, RFC-5.11: a MOVABLE refill leaves UNMOVABLE and RECLAIMABLE blocks listed, where they were."""
    system = rfc(
        """
        order 0: U[1] M[9 25] R[17]
        alloc: 0/0 8/0 16/0 24/0
        blocks: UMRM
        owners: 0000
        owned0: 0 8 16 24
        """
    )
    assert recover(system, 1) == 2
    assert_zone(
        system,
        """
        order 0: U[1] R[17]
        pcp0 o0: M[9* 25*]
        alloc: 0/0 8/0 16/0 24/0
        blocks: UMRM
        owners: 0000
        owned0: 0 16
        """,
    )


def test_recover_for_the_other_types() -> None:
    """RFC-5.2, RFC-5.6: the request's type chooses the blocks, and so the lists."""
    system = rfc(
        """
        order 0: U[1] R[17]
        alloc: 0/0 16/0
        blocks: UMRM
        owners: 0.0.
        owned0: 0 16
        """
    )
    assert recover(system, 1, R) == 1
    assert_zone(
        system,
        """
        order 0: U[1]
        pcp0 o0: R[17*]
        alloc: 0/0 16/0
        blocks: UMRM
        owners: 0.0.
        owned0: 0
        """,
    )
    assert recover(system, 1, U) == 1
    assert_zone(system, "pcp0 o0: U[1*] R[17*] \n alloc: 0/0 16/0 \n blocks: UMRM \n owners: 0.0.")


def test_recover_is_of_the_own_list() -> None:
    """RFC-5.10: CPU 1's listed block is not CPU 0's to recover, and a block of CPU 0 off the list stays in the zone."""
    drawing = "order 0: M[1 9] \n alloc: 0/0 8/0 \n owners: 01.. \n owned1: 8"
    system = rfc(drawing)
    assert recover(system, 8) == 0
    assert_zone(system, drawing)
    assert recover(system, 8, cpu=1) == 1
    assert_zone(system, "order 0: M[1] \n pcp1 o0: M[9*] \n alloc: 0/0 8/0 \n owners: 01..")


@pytest.mark.parametrize("letter", "HIC")
def test_recover_skips_what_no_request_is_of(letter: str) -> None:
    """RFC-8.7, RFC-8.10: a listed block that is isolated, reserved or CMA by now matches no request."""
    drawing = f"order 0: {letter}[1] \n alloc: 0/0 \n blocks: {letter}MMM \n owners: 0... \n owned0: 0"
    system = rfc(drawing)
    assert [recover(system, 8, mt) for mt in (U, M, R)] == [0, 0, 0]
    assert_zone(system, drawing)


def test_recover_after_the_isolation() -> None:
    """RFC-8.7, RFC-8.10: with its type back the block, still listed, is recovered."""
    system = rfc("order 0: M[1] \n alloc: 0/0 \n owners: 0... \n owned0: 0")
    system.isolate_pageblock(0)
    assert recover(system, 8) == 0
    assert_zone(system, "order 0: I[1] \n alloc: 0/0 \n blocks: IMMM \n owners: 0... \n owned0: 0")
    system.unisolate_pageblock(0)
    assert recover(system, 8) == 1
    assert_zone(system, "pcp0 o0: M[1*] \n alloc: 0/0 \n owners: 0...")


def test_recover_of_a_block_partly_on_the_pcp() -> None:
    """RFC-3.8, RFC-8.16: listed does not mean off the PCP; the rest comes to what is there."""
    system = rfc("order 2: M[4] \n pcp0 o2: M[0*] \n owners: 0... \n owned0: 0")
    assert recover(system, 1) == 4
    assert_zone(system, "pcp0 o2: M[0* 4*] \n owners: 0...")


def test_recover_beyond_high() -> None:
    """RFC-5.21: high is 8 and bounds the PCP, not what listed blocks have in the zone."""
    system = rfc("order 1: M[2 10 18] \n order 2: M[4 12 20] \n alloc: 0/1 8/1 16/1 \n owners: 000. \n owned0: 0 8 16")
    assert recover(system, 2) == 18
    assert pcp_of(system).count == 18 > pcp_of(system).high_max
    assert_zone(system, "pcp0 o1: M[2* 10* 18*] \n pcp0 o2: M[4* 12* 20*] \n alloc: 0/1 8/1 16/1 \n owners: 000.")


# --- phase 0: one block ------------------------------------------------------------------------


def test_steps_of_the_scan() -> None:
    """RFC-5.17: heads at 0 and 4 (one step each, past their 2 and 4 pages), and PFNs 2 and 3, which are not free: four
    PFNs looked at."""
    system = rfc("order 1: M[0] \n order 2: M[4] \n alloc: 2/0 3/0 \n owners: 0...")
    assert recover_one(system, 0) == Recovered(pages=6, scanned=4, whole=True)
    assert_zone(system, "pcp0 o1: M[0*] \n pcp0 o2: M[4*] \n alloc: 2/0 3/0 \n owners: 0...")


def test_tail_pages_are_single_steps() -> None:
    """RFC-5.17: a PFN inside an allocation, or of a chunk on a PCP, is stepped over by one as well: 0..6, then 7."""
    system = rfc("order 0: M[7] \n alloc: 0/2 \n pcp1 o1: M[4] \n owners: 0...")
    assert recover_one(system, 0) == Recovered(pages=1, scanned=8, whole=True)


@pytest.mark.parametrize("free", ["order 0: M[0 2]", "order 0: M[2 0]"])
def test_recovered_ascend(free: str) -> None:
    """RFC-5.17, RFC-5.6: by PFN, whatever the order on the zone's list."""
    system = rfc(f"{free} \n alloc: 1/0 3/0 4/2 \n owners: 0...")
    assert recover_one(system, 0) == Recovered(pages=2, scanned=8, whole=True)
    assert_zone(system, "pcp0 o0: M[0* 2*] \n alloc: 1/0 3/0 4/2 \n owners: 0...")


def test_a_whole_block_is_recovered_whole() -> None:
    """RFC-5.12, RFC-5.17, RFC-8.13: it is one free buddy: one step, one marked chunk of pageblock_order."""
    system = rfc("order 3: M[8] \n owners: .0..")
    assert recover_one(system, 8) == Recovered(pages=8, scanned=1, whole=True)
    assert_zone(system, "pcp0 o3: M[8*] \n owners: .0..")


def test_lower_half_of_a_larger_buddy() -> None:
    """RFC-5.18: of the order-4 buddy at 0 the listed block 0 is taken; the rest, CPU 1's block, goes back to the head
    of the zone's list, before 24."""
    system = rfc("order 3: M[24] \n order 4: M[0] \n owners: 01.. \n owned0: 0 \n owned1: 8")
    assert recover_one(system, 0) == Recovered(pages=8, scanned=1, whole=True)
    assert_zone(system, "order 3: M[8 24] \n pcp0 o3: M[0*] \n owners: 01.. \n owned0: 0 \n owned1: 8")


def test_lower_half_of_a_much_larger_buddy() -> None:
    """RFC-5.18: an order-5 buddy: 8 and 16 go back, each to its own order's list."""
    system = rfc("order 5: M[0] \n owners: 0...", max_page_order=5)
    assert recover_one(system, 0) == Recovered(pages=8, scanned=1, whole=True)
    assert_zone(system, "order 3: M[8] \n order 4: M[16] \n pcp0 o3: M[0*] \n owners: 0...")


def test_upper_half_of_a_larger_buddy() -> None:
    """RFC-5.19: no head inside the block: eight PFNs for nothing.  The block is unlisted, keeps its owner, and can be
    claimed by anybody."""
    system = rfc("order 4: M[0] \n owners: 10.. \n owned0: 8")
    assert recover_one(system, 8) == Recovered(pages=0, scanned=8, whole=True)
    assert recover(system, 8) == 0
    assert_zone(system, "order 4: M[0] \n owners: 10..")


def test_nothing_found() -> None:
    """RFC-5.20: others took every free page; the block is unlisted, at the cost of a scan."""
    system = rfc("alloc: 0/3 \n owners: 0... \n owned0: 0")
    assert recover_one(system, 0) == Recovered(pages=0, scanned=8, whole=True)
    assert recover(system, 1) == 0
    assert_zone(system, "alloc: 0/3 \n owners: 0...")


def test_unmarked_pages_of_the_block_stay_elsewhere() -> None:
    """RFC-3.8, RFC-5.12: a page of the block on CPU 1's PCP is not in the zone, so it is not found."""
    system = rfc("order 0: M[1] \n pcp1 o0: M[2] \n alloc: 0/0 \n owners: 0... \n owned0: 0")
    assert recover(system, 8) == 1
    assert_zone(system, "pcp0 o0: M[1*] \n pcp1 o0: M[2] \n alloc: 0/0 \n owners: 0...")


@pytest.mark.parametrize(
    ("limit", "found"),
    [
        (1, Recovered(0, 1, False)),
        (2, Recovered(1, 2, False)),
        (4, Recovered(1, 4, False)),
        (5, Recovered(5, 5, True)),
        (6, Recovered(5, 5, True)),
    ],
)
def test_a_limited_scan(limit: int, found: Recovered) -> None:
    """RFC-10.3, RFC-5.17: 0 (in use), 1 (free), 2 and 3 (one allocation), 4 (a head of four pages, and so the end)."""
    system = rfc("order 0: M[1] \n order 2: M[4] \n alloc: 0/0 2/1 \n owners: 0...")
    assert recover_one(system, 0, limit) == found


def test_a_limit_at_the_end_of_the_block() -> None:
    """RFC-10.3: eight PFNs are the whole block; seven are not, although nothing would follow."""
    system = rfc("alloc: 0/3 \n owners: 0...")
    assert recover_one(system, 0, 8) == Recovered(0, 8, True)
    assert recover_one(system, 0, 7) == Recovered(0, 7, False)


# --- phase 1 -----------------------------------------------------------------------------------


def test_claim() -> None:
    """RFC-5.22, RFC-5.6, RFC-5.7, RFC-3.11: the head of the zone's list goes as one marked chunk to the tail of the
    PCP's, and is CPU 0's now; the neighbours are not."""
    system = rfc("order 3: M[16 0] \n pcp0 o3: M[8*] \n owners: .0..")
    assert claim(system, 8) == 8
    assert_zone(system, "order 3: M[0] \n pcp0 o3: M[8* 16*] \n owners: .00.")
    assert pcp_of(system).count == 16


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (0, "order 3: M[0 16]"),
        (7, "order 3: M[0 16]"),
        (8, "order 3: M[16] \n pcp0 o3: M[0*] \n owners: 0..."),
        (15, "order 3: M[16] \n pcp0 o3: M[0*] \n owners: 0..."),
        (16, "pcp0 o3: M[0* 16*] \n owners: 0.0."),
        (99, "pcp0 o3: M[0* 16*] \n owners: 0.0."),
    ],
)
def test_while_a_pageblock_is_wanted(wanted: int, left: str) -> None:
    """RFC-5.26, RFC-5.27: one block for each eight pages wanted; less falls through."""
    system = rfc("order 3: M[0 16]")
    claimed = left.count("*") * 8
    assert claim(system, wanted) == claimed
    assert_zone(system, left)


def test_one_block_of_a_larger_buddy() -> None:
    """RFC-5.28: the order-4 buddy is split in the zone, its lower half taken; the other is nobody's."""
    system = rfc("order 4: M[16 0]")
    assert claim(system, 8) == 8
    assert_zone(system, "order 3: M[24] \n order 4: M[0] \n pcp0 o3: M[16*] \n owners: ..0.")


def test_both_blocks_of_a_larger_buddy() -> None:
    """RFC-5.28, RFC-5.29: two claims, two chunks, two owned blocks, whatever stale tags the halves had (CPU 1's, each
    listed)."""
    system = rfc("order 4: M[16] \n owners: ..11 \n owned1: 16 24")
    assert claim(system, 16) == 16
    assert_zone(system, "pcp0 o3: M[16* 24*] \n owners: ..00")


def test_smaller_buddies_first() -> None:
    """RFC-5.24: as __rmqueue() searches, from pageblock_order upwards."""
    system = rfc("order 3: M[8] \n order 4: M[16]")
    assert claim(system, 8) == 8
    assert_zone(system, "order 4: M[16] \n pcp0 o3: M[8*] \n owners: .0..")


def test_claim_from_a_former_owner() -> None:
    """RFC-5.23, RFC-5.29, RFC-8.13: the block is whole in the zone with CPU 1's tag and on its list; both end."""
    system = rfc("order 3: M[8] \n alloc: 16/0 \n owners: .11. \n owned1: 8 16")
    assert claim(system, 8) == 8
    assert_zone(system, "pcp0 o3: M[8*] \n alloc: 16/0 \n owners: .01. \n owned1: 16")


def test_claim_of_the_own_listed_block() -> None:
    """RFC-5.29, RFC-5.24, RFC-5.30: CPU 0's own block is listed as UNMOVABLE, which bars no MOVABLE claim; it is
    converted, claimed again, and not listed any more."""
    system = rfc("order 3: U[8] \n blocks: MUMM \n owners: .0.. \n owned0: 8")
    assert claim(system, 8) == 8
    assert_zone(system, "pcp0 o3: M[8*] \n blocks: MMMM \n owners: .0..")


def test_claim_converts() -> None:
    """RFC-5.24: no MOVABLE block is whole, an UNMOVABLE one is: it is converted, and lies on MOVABLE's list."""
    system = rfc("order 2: M[0] \n order 3: U[8] \n blocks: MUMM")
    assert claim(system, 8) == 8
    assert_zone(system, "order 2: M[0] \n pcp0 o3: M[8*] \n blocks: MMMM \n owners: .0..")


def test_claim_converts_a_larger_buddy_whole() -> None:
    """RFC-5.24, RFC-5.28, LPA-6.3.1: both halves change their type, one is claimed."""
    system = rfc("order 4: R[16] \n blocks: MMRR")
    log = traced(system)
    assert claim(system, 8, U) == 8
    assert_zone(system, "order 3: U[24] \n pcp0 o3: U[16*] \n blocks: MMUU \n owners: ..0.")
    assert log.take() == [("frag", 0, 3, 4, U, R, U, 16)]


def test_own_type_before_conversion() -> None:
    """RFC-5.24: a larger buddy of the own type comes before a block of another type that would fit."""
    system = rfc("order 3: U[8] \n order 4: M[16] \n blocks: MUMM")
    assert claim(system, 8) == 8
    assert_zone(system, "order 3: U[8] M[24] \n pcp0 o3: M[16*] \n blocks: MUMM \n owners: ..0.")


def test_claim_converts_with_nofragment() -> None:
    """RFC-5.24, LPA-6.2.1: ALLOC_NOFRAGMENT forbids mixing, and a whole block mixes nothing."""
    system = rfc("order 3: U[8] \n blocks: MUMM")
    assert claim(system, 8, alloc_flags=gfp.ALLOC_NOFRAGMENT) == 8
    assert_zone(system, "pcp0 o3: M[8*] \n blocks: MMMM \n owners: .0..")


@pytest.mark.parametrize("letter", "HIC")
def test_what_claims_leave_alone(letter: str) -> None:
    """RFC-5.25, RFC-5.24: neither CMA, with ALLOC_CMA in the request's flags, nor the reserve nor isolated blocks."""
    drawing = f"order 3: {letter}[8] \n blocks: M{letter}MM"
    system = rfc(drawing)
    assert claim(system, 8, alloc_flags=gfp.ALLOC_CMA) == 0
    assert_zone(system, drawing)


def test_claims_do_not_balance_cma() -> None:
    """RFC-5.25, LPA-6.1.2: two thirds of the free pages are CMA's, yet the MOVABLE block is taken."""
    system = rfc("order 3: M[8] C[16 24] \n blocks: MMCC")
    assert claim(system, 8, alloc_flags=gfp.ALLOC_CMA) == 8
    assert_zone(system, "order 3: C[16 24] \n pcp0 o3: M[8*] \n blocks: MMCC \n owners: .0..")


def test_no_claim_while_a_partial_block_waits() -> None:
    """RFC-5.30: a listed block of the request's type bars the claim, whatever it still has in the zone."""
    drawing = "order 3: M[8] \n alloc: 0/3 \n owners: 0... \n owned0: 0"
    system = rfc(drawing)
    assert claim(system, 8) == 0
    assert_zone(system, drawing)


def test_waiting_blocks_of_other_types_bar_nothing() -> None:
    """RFC-5.30: nor do another CPU's."""
    system = rfc("order 3: M[24] \n alloc: 0/3 8/3 16/3 \n blocks: UMRM \n owners: 010. \n owned0: 0 16 \n owned1: 8")
    assert claim(system, 8) == 8
    assert_zone(
        system, "pcp0 o3: M[24*] \n alloc: 0/3 8/3 16/3 \n blocks: UMRM \n owners: 0100 \n owned0: 0 16 \n owned1: 8"
    )


def test_no_whole_block() -> None:
    """RFC-1.8, RFC-8.16: a block that is free in pieces is no block, and one half on a PCP is not either."""
    drawing = "order 2: M[0] \n pcp1 o2: M[4*] \n order 1: M[8] \n alloc: 10/1 12/2 \n owners: 1..."
    system = rfc(drawing)
    assert claim(system, 8) == 0
    assert_zone(system, drawing)


# --- phase 2 -----------------------------------------------------------------------------------


def test_largest_that_fits_first() -> None:
    """RFC-5.35, RFC-5.31, RFC-5.32, RFC-5.8: 7 wanted: 4 + 2 + 1, one entry of each order, the heads of their lists."""
    system = rfc("order 0: M[1 3] \n order 1: M[10 14] \n order 2: M[20 28]")
    assert chunks(system, 0, 7) == 7
    assert_zone(
        system, "order 0: M[3] \n order 1: M[14] \n order 2: M[28] \n pcp0 o0: M[1] \n pcp0 o1: M[10] \n pcp0 o2: M[20]"
    )
    assert pcp_of(system).count == 7


def test_an_order_again_and_again() -> None:
    """RFC-5.35: while it fits: two of order 2 in 9 wanted; the third would be too much; then one page."""
    system = rfc("order 0: M[1] \n order 2: M[20 12 28] \n pcp0 o2: M[4]")
    assert chunks(system, 0, 9) == 9
    assert_zone(system, "order 2: M[28] \n pcp0 o0: M[1] \n pcp0 o2: M[4 20 12]")


@pytest.mark.parametrize(("wanted", "taken"), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 3)])
def test_never_more_than_wanted(wanted: int, taken: int) -> None:
    """RFC-5.35: not larger than what is still wanted."""
    system = rfc("order 0: M[1] \n order 1: M[10]")
    assert chunks(system, 0, wanted) == taken
    left = {
        0: "order 0: M[1] \n order 1: M[10]",
        1: "order 1: M[10] \n pcp0 o0: M[1]",
        2: "order 0: M[1] \n pcp0 o1: M[10]",
    }
    assert_zone(system, left.get(taken, "pcp0 o0: M[1] \n pcp0 o1: M[10]"))


def test_a_chunk_too_large_is_left() -> None:
    """RFC-5.35: 3 are wanted and only four pages in one piece are there: phase 2 splits nothing."""
    system = rfc("order 2: M[4]")
    assert chunks(system, 0, 3) == 0
    assert_zone(system, "order 2: M[4]")


@pytest.mark.parametrize(
    ("order", "left"),
    [
        (0, "pcp0 o0: M[1] \n pcp0 o1: M[10] \n pcp0 o2: M[20]"),
        (1, "order 0: M[1] \n pcp0 o1: M[10] \n pcp0 o2: M[20]"),
        (2, "order 0: M[1] \n order 1: M[10] \n pcp0 o2: M[20]"),
        (3, "order 0: M[1] \n order 1: M[10] \n order 2: M[20]"),
    ],
)
def test_nothing_below_the_request_s_order(order: int, left: str) -> None:
    """RFC-5.35: and a request of pageblock_order has no phase 2."""
    system = rfc("order 0: M[1] \n order 1: M[10] \n order 2: M[20]")
    chunks(system, order, 32)
    assert_zone(system, left)


def test_never_a_whole_block() -> None:
    """RFC-5.35: 32 are wanted, and whole blocks are free; they are for phase 1."""
    system = rfc("order 2: M[20] \n order 3: M[8 0]")
    assert chunks(system, 0, 32) == 4
    assert_zone(system, "order 3: M[8 0] \n pcp0 o2: M[20]")


def test_own_type_alone() -> None:
    """RFC-5.31: nothing is stolen, not even from a block that could be converted; nor CMA taken."""
    system = rfc("order 2: U[4] C[28] \n order 1: M[10] \n blocks: UMMC")
    assert chunks(system, 0, 8) == 2
    assert_zone(system, "order 2: U[4] C[28] \n pcp0 o1: M[10] \n blocks: UMMC")
    assert chunks(system, 0, 8, U) == 4
    assert_zone(system, "order 2: C[28] \n pcp0 o1: M[10] \n pcp0 o2: U[4] \n blocks: UMMC")


@pytest.mark.parametrize("owner", [".", "0", "1"])
def test_the_owner_is_left_alone(owner: str) -> None:
    """RFC-5.33, RFC-5.34, RFC-3.11, RFC-8.14: unmarked, and tag and listing as they were, even if the block is the
    CPU's own."""
    listed = "" if owner == "." else f"owned{owner}: 8"
    system = rfc(f"order 1: M[10] \n alloc: 8/1 \n owners: .{owner}.. \n {listed}")
    assert chunks(system, 0, 2) == 2
    assert_zone(system, f"pcp0 o1: M[10] \n alloc: 8/1 \n owners: .{owner}.. \n {listed}")


# --- phase 3 -----------------------------------------------------------------------------------


def test_classic() -> None:
    """RFC-5.36, RFC-5.37, RFC-5.6: block by block of the request's order, ascending as they are split off, unmarked, at
    the tail; the block stays nobody's."""
    system = rfc("order 3: M[8] \n pcp0 o1: M[0]")
    assert classic(system, 1, 4) == 4
    assert_zone(system, "order 2: M[12] \n pcp0 o1: M[0 8 10] \n owners: ....")
    assert pcp_of(system).count == 6


def test_classic_takes_a_stale_block() -> None:
    """RFC-8.14, RFC-5.33: the tag stays CPU 1's, and the pages are not marked."""
    system = rfc("order 3: M[8] \n owners: .1.. \n owned1: 8")
    assert classic(system, 2, 4) == 4
    assert_zone(system, "order 2: M[12] \n pcp0 o2: M[8] \n owners: .1.. \n owned1: 8")


def test_classic_falls_back() -> None:
    """RFC-5.36, RFC-11.12: MOVABLE takes what RECLAIMABLE has, page by page, and lists it as MOVABLE; the block keeps
    its type, since three of its pages are in use."""
    system = rfc("order 0: R[8 10] \n alloc: 9/0 11/0 12/2 \n blocks: MRMM")
    assert classic(system, 0, 2) == 2
    assert_zone(system, "pcp0 o0: M[8 10] \n alloc: 9/0 11/0 12/2 \n blocks: MRMM")


def test_classic_keeps_its_mode() -> None:
    """RFC-5.37, LPA-6.1.1, LPA-6.1.8: 1 is stolen (its block is full of movable pages); 9's block could be claimed, but
    this refill steals now."""
    system = rfc("order 0: M[1 9]")
    system.kernel.nr_movable[0] = 7
    assert classic(system, 0, 2, U) == 2
    assert_zone(system, "pcp0 o0: U[1 9] \n blocks: MMMM")


def test_classic_without_fragmenting() -> None:
    """RFC-5.37, LPA-6.2.1: the request's flags hold: with ALLOC_NOFRAGMENT nothing is stolen."""
    drawing = "order 0: R[8] \n alloc: 9/0 10/1 12/2 \n blocks: MRMM"
    system = rfc(drawing)
    assert classic(system, 0, 1, alloc_flags=gfp.ALLOC_NOFRAGMENT) == 0
    assert_zone(system, drawing)


def test_classic_stops_at_the_first_failure() -> None:
    """RFC-5.37, LPA-8.2.7."""
    system = rfc("order 0: M[9] H[16] \n blocks: MMHM")
    assert classic(system, 0, 5) == 1
    assert_zone(system, "order 0: H[16] \n pcp0 o0: M[9] \n blocks: MMHM")


def test_classic_balances_cma() -> None:
    """RFC-5.38, LPA-6.1.2, LPA-6.1.9: with ALLOC_CMA, and more than half of the free pages in CMA blocks, CMA first;
    without it never."""
    system = rfc("order 0: M[1] C[24 26] \n blocks: MMMC")
    assert classic(system, 0, 1, alloc_flags=gfp.ALLOC_CMA) == 1
    assert_zone(system, "order 0: M[1] C[26] \n pcp0 o0: M[24] \n blocks: MMMC")
    assert classic(system, 0, 2) == 1
    assert_zone(system, "order 0: C[26] \n pcp0 o0: M[24 1] \n blocks: MMMC")


def test_nothing_wanted() -> None:
    """RFC-5.3: a phase runs only if more than nothing is wanted."""
    drawing = "order 0: M[1] \n order 3: M[8]"
    system = rfc(drawing)
    for wanted in (0, -5):
        assert (claim(system, wanted), chunks(system, 0, wanted), classic(system, 0, wanted)) == (0, 0, 0)
    assert_zone(system, drawing)
