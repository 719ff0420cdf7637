# SPDX-License-Identifier: GPL-2.0-only
"""Scenarios 55 to 62: bounds and dynamics."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from pageblock_buddy.machine.tracepoints import Event
from pageblock_buddy.mm.calls import Recovered
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from tests.helpers import M, drawing_of, limits, traced
from tests.rfc.scenario import A, B, C, Call, Scenario

ALL_OF_A = "owners: 0000"


def test_scenario_55_two_drains_without_a_refill() -> None:
    """Scenario 55: cap high_max - batch = 2.  The first ordinary drain lists 2 blocks, the second 2 more."""
    s = Scenario(ALL_OF_A, high=4)
    s.free(C, 0, 8, 16, 24)
    s.expect("order 0: M[8 0] \n pcp0 o0: M[24* 16*] \n owned0: 0 8 \n owners: 0000")
    s.free(C, 19, 27)
    s.expect("order 0: M[24 16 8 0] \n pcp0 o0: M[27* 19*] \n owned0: 0 8 16 24 \n owners: 0000")
    assert len(s.pcp(A).owned_blocks) > s.pcp(A).high_max - s.pcp(A).batch


def test_scenario_55_drain_all() -> None:
    """Scenario 55, text corrected: after ordinary frees drain_all_pages() lists at most high - 1 blocks (count stays
    below high), still more than the cap.  With trylock-only frees, which never drain, not even high is a bound."""
    s = Scenario(ALL_OF_A, high=4)
    s.free(C, 0, 8, 16)
    s.system.drain_all_pages()
    s.expect("order 0: M[16 8 0] \n owned0: 0 8 16 \n owners: 0000")
    s = Scenario("owners: 00000000", pages=64, high=4)
    for pfn in range(0, 64, 8):
        s.free_nolock(C, pfn)
    s.system.drain_all_pages()
    assert len(s.pcp(A).owned_blocks) == 8 > s.pcp(A).high_max
    s.system.validate()


#: scenario 56: 6 free pages of each of three listed blocks; 6 and 7 of each are in use
EIGHTEEN = "order 1: M[4 12 20] \n order 2: M[0 8 16] \n owned0: 0 8 16 \n owners: 000."


def test_scenario_56_full_recovery_overshoots_high() -> None:
    """Scenario 56 (D-13): wanted 2, got 18, high 8.  recover-enough takes one block's 6 pages."""
    s = Scenario(EIGHTEEN)
    assert s.refill(A, 2) == 18
    s.expect("pcp0 o1: M[4* 12* 20*] \n pcp0 o2: M[0* 8* 16*] \n owners: 000.")
    assert s.pcp(A).count == 18 > s.pcp(A).high
    s = Scenario(EIGHTEEN, variant="rfc+recover-enough")
    assert s.refill(A, 2) == 6
    s.expect(
        """
        order 1: M[12 20]
        order 2: M[8 16]
        pcp0 o1: M[4*]
        pcp0 o2: M[0*]
        owned0: 8 16
        owners: 000.
        """
    )


def test_scenario_56_ping_pong() -> None:
    """Scenario 56: the next free drains and lists again; the next refill scans that block again.  Without refills four
    frees in a row drain, each a chunk of 4 pages, until count is below high."""
    s = Scenario(EIGHTEEN)
    s.refill(A, 2)
    s.free(C, 6)
    s.expect(
        """
        order 2: M[16]
        pcp0 o0: M[6*]
        pcp0 o1: M[4* 12* 20*]
        pcp0 o2: M[0* 8*]
        owned0: 16
        owners: 000.
        """
    )
    with s.recorded("recover_block") as scans:
        s.refill(A, 2)
    assert [(scan.args[3], scan.result) for scan in scans] == [(16, Recovered(pages=4, scanned=5, whole=True))]
    s = Scenario(EIGHTEEN)
    s.refill(A, 2)
    s.log.clear()
    counts = []
    for pfn in (6, 14, 22, 15):
        s.free(C, pfn)
        counts.append(s.pcp(A).count)
    assert counts == [15, 12, 9, 6]
    assert s.locked("Z") == 4


def test_scenario_56_the_next_refill_is_far_off() -> None:
    """Scenario 56, text corrected: requests of order 0 first use up what overshoots, 14 pages without a refill; the
    ping-pong is between frees and refills of an order that the fragments do not have."""
    s = Scenario(EIGHTEEN)
    s.refill(A, 2)
    s.free(C, 6)
    assert s.pcp(A).count == 15
    with s.recorded("rmqueue_bulk") as refills, s.recorded("recover_block") as scans:
        assert None not in [s.alloc(A) for _ in range(15)]
        assert (refills, scans) == ([], [])
        assert s.alloc(A) == 16
        assert (len(refills), len(scans)) == (1, 1)
    s = Scenario(EIGHTEEN)
    s.refill(A, 2)
    s.free(C, 6)
    with s.recorded("recover_block") as scans:
        s.alloc(A, 3)
    assert [scan.args[3] for scan in scans] == [16]


def scanned(scans: list[Call]) -> tuple[int, int]:
    """(PFNs looked at, pages found) of some calls of recover_block()."""
    return sum(scan.result.scanned for scan in scans), sum(scan.result.pages for scan in scans)


@pytest.mark.parametrize(("variant", "pfns"), [("rfc", 24), ("rfc+recover-counter", 0)])
def test_scenario_57_stolen_last_pages(variant: str, pfns: int) -> None:
    """Scenario 57: B takes the last free page of each listed block; A's phase 0 looks at 24 PFNs for nothing and
    unlists all three.  With a counter for each block at none."""
    s = Scenario("order 0: M[1 9 17] \n owned0: 0 8 16 \n owners: 000.", variant=variant)
    assert s.refill(B, 3) == 3
    with s.recorded("recover_block") as scans:
        assert s.refill(A, 1) == 0
    assert scanned(scans) == (pfns, 0)
    s.expect("pcp1 o0: M[1 9 17] \n owners: 000.")


def test_scenario_58_a_mismatching_block_does_not_bar_a_claim() -> None:
    """Scenario 58 (D-15): B0 is listed and of another type; A's MOVABLE refill claims B2."""
    s = Scenario("order 0: U[0] \n order 4: M[16] \n blocks: UMMM \n owned0: 0 \n owners: 0...")
    assert s.refill(A, 8) == 8
    s.expect(
        """
        order 0: U[0]
        order 3: M[24]
        pcp0 o3: M[16*]
        blocks: UMMM
        owned0: 0
        owners: 0.0.
        """
    )


@pytest.mark.parametrize(
    ("variant", "after"),
    [
        ("rfc", "pcp0 o0: M[17*] \n pcp0 o3: M[24*] \n owners: 0000"),
        ("rfc+recover-cap-4x", "pcp0 o0: M[17*] \n pcp0 o3: M[24*] \n owners: 0000"),
        ("rfc+recover-cap-2x", "pcp0 o0: M[17* 24 25 26 27 28 29 30 31] \n owned0: 16 \n owners: 000."),
    ],
)
def test_scenario_58_a_block_cut_by_idea_c_does(variant: str, after: str) -> None:
    """Scenario 58: wanted 9; nothing is left of B0 and B1, one page of B2 at its second PFN.  At most 18 PFNs: B2 is
    cut short and stays listed, so the whole B3 is not claimed but broken by phase 3.  (A single block is never cut
    where a claim is possible: twice a block is more than a block.)"""
    s = Scenario("order 0: M[17] \n order 3: M[24] \n owned0: 0 8 16 \n owners: 000.", variant=variant)
    assert s.refill(A, 9) == 9
    s.expect(after)


def traffic(variant: str, **overrides: Any) -> tuple[list[int | None], Scenario]:
    """The same random single pages on three CPUs."""
    random = Random(59)
    s = Scenario("order 4: M[0 16]", variant=variant, **overrides)
    pfns: list[int | None] = []
    held: list[int] = []
    for _ in range(600):
        cpu = random.randrange(3)
        if held and random.random() < 0.5:
            s.free(cpu, held.pop(random.randrange(len(held))))
        else:
            pfn = s.alloc(cpu)
            pfns.append(pfn)
            held += [] if pfn is None else [pfn]
    return pfns, s


def test_scenario_59_a_batch_of_1_is_today_s_pcp() -> None:
    """Scenario 59 (D-16): every refill wants one page: the same pages come in the same order as in linux-7.0, the zone
    and the lists end alike, and no block is ever claimed."""
    today, s7 = traffic("linux-7.0", batch=1, pcp_batch_scale_max=0)
    pfns, s = traffic("rfc", batch=1, pcp_batch_scale_max=0)
    assert len(pfns) > 300
    assert pfns == today
    assert not any(s.k.pageblock_cpu)
    s.expect(drawing_of(s7.system).text())


def test_scenario_59_no_claim_below_a_pageblock() -> None:
    """Scenario 59: with growing refills (up to 7 pages, high 8) there is still no claim."""
    with_claims = Scenario("order 4: M[0 16]")
    with with_claims.recorded("nr_pcp_alloc") as amounts:
        while with_claims.alloc(A) is not None:
            pass
    assert max(amount.result for amount in amounts) == 6
    with_claims.expect("owners: ....")
    _, s = traffic("rfc", batch=1)
    assert not any(s.k.pageblock_cpu)


def test_scenario_59_differs_at_phase_2() -> None:
    """Scenario 59: wanted 2: today two pages, 5 and the half of (2,1); phase 2 takes (2,1) as it is, and 5 stays."""
    drawing = "order 0: M[5] \n order 1: M[2]"
    today = Scenario(drawing, variant="linux-7.0")
    with today.recorded("rmqueue_bulk") as refills:
        assert today.alloc(A) == 5
    assert [refill.result for refill in refills] == [2]
    today.expect("order 0: M[3] \n pcp0 o0: M[2]")
    s = Scenario(drawing)
    assert s.alloc(A) == 2
    s.expect("order 0: M[5] \n pcp0 o0: M[3]")


def test_scenario_59_phase_2_is_capped() -> None:
    """Scenario 59 (D-16): wanted 1 takes one page of (4,2), wanted 3 does not take 4 pages.  A phase 2 without the
    cap would take all four."""
    s = Scenario("order 2: M[4]")
    assert s.refill(A, 1) == 1
    s.expect("order 0: M[5] \n order 1: M[6] \n pcp0 o0: M[4]")
    s = Scenario("order 1: M[2 6]")
    assert s.refill(A, 3) == 3  # one chunk of 2, and no second one
    s.expect("order 0: M[7] \n pcp0 o0: M[6] \n pcp0 o1: M[2]")
    s = Scenario("order 2: M[4]")
    real = s.k.pcp_buddy.refill_chunks
    with s.replaced(refill_chunks=lambda k, zone, pcp, order, wanted, mt: real(k, zone, pcp, order, 7, mt)):
        assert s.refill(A, 1) == 4
    s.expect("pcp0 o2: M[4]")


@pytest.mark.parametrize(("batch", "owners", "left"), [(2, "00..", "pcp0 o3: M[8*]"), (1, "0...", "order 3: M[8]")])
def test_scenario_60_order_3_refill_with_a_small_batch(batch: int, owners: str, left: str) -> None:
    """Scenario 60: an order of a pageblock claims at any batch: two blocks, at batch 1 (sharpened) one."""
    s = Scenario("order 4: M[0 16]", batch=batch)
    assert s.alloc(A, 3) == 0
    s.expect(f"order 4: M[16] \n {left} \n owners: {owners}")


def test_scenario_61_a_merge_pass_for_each_piece() -> None:
    """Scenario 61 (D-18): a flush of 8 pages in 4 pieces runs 4 passes; the first merges 0 and 1, the others find
    nothing."""
    even = " ".join(f"{pfn}*" for pfn in range(28, -1, -2))
    s = Scenario(f"pcp0 o0: M[{even}] \n owners: 0000", high=16)
    limits(s.pcp(A), free_count=7)
    with s.recorded("merge_pcp_buddies") as passes, s.recorded("free_pcppages_bulk") as pieces:
        s.free(C, 1)
    assert [one.result for one in passes] == [1, 0, 0, 0]
    assert [piece.args[2] for piece in pieces] == [2, 2, 2, 2]
    s.expect(
        """
        order 0: M[12 10 8 6 4 2]
        order 1: M[0]
        pcp0 o0: M[28* 26* 24* 22* 20* 18* 16* 14*]
        owned0: 0 8
        owners: 0000
        """
    )


WHOLE = "pcp0 o3: M[16* 8* 0*] \n owners: 0000"


def flush_of_6(*, by_what_was_asked: bool) -> Scenario:
    """C's free makes 6 pages due on pA, in pieces of 2."""
    s = Scenario(WHOLE, high=24)
    limits(s.pcp(A), free_count=5)
    real = s.k.calls.free_pcppages_bulk

    def bulk(k: Kernel, zone: Zone, count: int, pcp: PerCpuPages, pindex: int) -> int:
        went = real(k, zone, count, pcp, pindex)
        return count if by_what_was_asked else went

    with s.replaced(free_pcppages_bulk=bulk):
        s.free(C, 24)
    return s


def test_scenario_61_a_flush_overshoots_once() -> None:
    """Scenario 61, sharpened (and 2): a piece of 2 takes a block of 8.  The flush counts what went: 8 pages where 6
    were due.  If it counted what was asked, as linux-7.0 does, each piece would take another block: 24 pages."""
    flush_of_6(by_what_was_asked=False).expect("order 3: M[0] \n pcp0 o0: M[24*] \n pcp0 o3: M[16* 8*] \n owners: .000")
    flush_of_6(by_what_was_asked=True).expect("order 3: M[16] \n order 4: M[0] \n pcp0 o0: M[24*] \n owners: ...0")


def test_scenario_61_a_decay_overshoots_once() -> None:
    """Scenario 61, sharpened (and 2): high decays from 24 to 21, so 3 pages are due; the bound of D-18 allows 10."""
    s = Scenario(WHOLE.replace("0000", "000."), high=24)
    limits(s.pcp(A), high_min=2)
    with s.system.on_cpu(A):
        s.system.refresh_vm_stats(pagesets=True)
    assert s.pcp(A).high == 21
    s.expect("order 3: M[0] \n pcp0 o3: M[16* 8*] \n owners: .00.")


def test_scenario_62_drain_by_a_remote_cpu() -> None:
    """Scenario 62 (RFC-7.21): C's free overflows pA.  Merge, disown and listing act on A's PCP and list, the lock is
    A's; the work, and the drain events, are C's."""
    s = Scenario("pcp0 o0: M[1* 8*] \n pcp0 o2: M[16* 20*] \n owners: 000.", high=11)
    limits(s.pcp(A), free_count=8)
    log = traced(s.system)
    with s.recorded("merge_pcp_buddies") as passes:
        s.free(C, 0)
    assert [one.args[1].cpu for one in passes] == [A, A]
    assert {event.split()[0] for event in s.log} == {"C"}
    assert [event.split()[2] for event in s.log if event.split()[1] == "locks"] == ["A", "Z", "Z"]
    drains: list[Event] = [("drain", C, 3, M, 16), ("drain", C, 1, M, 0)]
    assert log.events == drains
    s.expect("order 1: M[0] \n order 3: M[16] \n pcp0 o0: M[8*] \n owned0: 0 \n owners: 00..")
