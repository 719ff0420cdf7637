# SPDX-License-Identifier: GPL-2.0-only
"""Scenarios 10 to 22: a block that becomes whole in the zone while it is owned or listed."""

from __future__ import annotations

from typing import Any

import pytest

from pageblock_buddy import Context
from pageblock_buddy.errors import ModelBug
from pageblock_buddy.linux_6_12.buddy import del_page_from_free_list
from pageblock_buddy.mm.alloc_context import RmqueueMode
from pageblock_buddy.mm.calls import Recovered
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import PG_ALLOCATED, PG_PCP_BUDDY
from pageblock_buddy.rfc.pageblock import claim_pageblock
from pageblock_buddy.rfc.pcp import add_refill
from tests.helpers import M, limits
from tests.rfc.scenario import BLOCK, A, B, C, DoubleAdd, Scenario, list_unconditionally, nothing

#: scenario 10 before its drain; 3 came to the zone by a failed trylock
PARTIAL = """
    order 0: M[3]
    order 3: M[8]
    pcp0 o0: M[2*]
    pcp0 o1: M[0*]
    pcp0 o2: M[4*]
    owners: 0...
    """
#: and after it: B0 is whole in the zone, and still A's, and listed
STALE = "order 4: M[0] \n owned0: 0 \n owners: 0..."


def test_scenario_10_drain_makes_the_block_whole_in_the_zone() -> None:
    """Scenario 10 (D-22): the block was not one chunk on the PCP, so it is not disowned though it is complete now."""
    s = Scenario(PARTIAL)
    with s.recorded("set_pageblock_owner") as stores:
        s.drain(A)
    assert stores == []
    s.expect(STALE)


def test_scenario_10_clear_complete() -> None:
    """Scenario 10, the other answer: the block that became complete is disowned and unlisted in the same hold."""
    s = Scenario(PARTIAL, variant="rfc+clear-complete")
    s.drain(A)
    s.expect("order 4: M[0] \n owners: ....")


def listing_after_the_frees(s: Scenario) -> None:
    """A's full drain, in which list_owned_block() comes last in the hold of zone->lock."""
    late: list[tuple[Any, ...]] = []
    real = s.k.pcp_buddy.list_owned_block
    s.at("A leaves Z", lambda: [real(*args) for args in late])
    with s.replaced(list_owned_block=lambda *args: late.append(args)):
        s.drain(A)


def test_scenario_10_listing_and_free_in_either_order() -> None:
    """Scenario 10: in the literal RFC it does not matter which comes first in the hold.  Sharpened: with clear-complete
    it does: what the free disowned is listed afterwards, and I3 fails."""
    s = Scenario(PARTIAL)
    listing_after_the_frees(s)
    s.expect(STALE)
    s = Scenario(PARTIAL, variant="rfc+clear-complete")
    listing_after_the_frees(s)
    with pytest.raises(ModelBug, match="owned_blocks: pfn 0: listed on CPU 0, tag 0"):
        s.system.validate()


def test_scenario_11_second_claim_of_a_listed_block() -> None:
    """Scenario 11 (D-15, D-20): B's claim changes the tag and unlinks the block from A's list, in one hold."""
    s = Scenario(STALE)
    assert s.refill(B, 8) == 8
    s.expect("order 3: M[8] \n pcp1 o3: M[0*] \n owners: 1...")


def claimed_without_unlink() -> Scenario:
    """Scenario 11 with a claim that leaves the block on the former owner's list."""
    s = Scenario(STALE, watched=False)
    with s.replaced(unlist_owned_block=nothing):
        s.refill(B, 8)
    assert s.owners == "1..."
    return s


def test_scenario_11_without_the_unlink() -> None:
    """Scenario 11: I3 fails at once; then either B's partial drain adds a linked node, or A's recovery marks pages of
    B's block."""
    s = claimed_without_unlink()
    with pytest.raises(ModelBug, match="owned_blocks: pfn 0: listed on CPU 0, tag 2"):
        s.system.validate()
    assert s.alloc(B) == 0
    with s.replaced(list_owned_block=list_unconditionally), pytest.raises(DoubleAdd, match="linked on CPU 0"):
        s.drain(B)
    s = claimed_without_unlink()
    assert s.alloc(B) == 0
    s.drain(B)  # with the test for being linked: it stays on A's list
    assert s.pcp(A).owned_blocks.to_list() == [0]
    s.refill(A, 1)
    with pytest.raises(ModelBug, match="marks: pfn 1 is marked on CPU 0's lists, its block has tag 2"):
        s.system.validate()


def whole_on_the_pcp_while_listed(*, watched: bool = True) -> Scenario:
    """Scenario 12 up to the last free."""
    s = Scenario("order 4: M[16] \n pcp0 o0: M[0*] \n owners: 0...", watched=watched)
    s.drain(A)
    s.expect("order 0: M[0] \n order 4: M[16] \n owned0: 0 \n owners: 0...")
    with s.holding(C):
        assert s.alloc(C, context=Context.HARDIRQ) == 0  # rmqueue_buddy()
    s.free(C, 1, 2, 3, 4, 5, 6, 7)
    s.expect("order 4: M[16] \n pcp0 o0: M[7* 6* 5* 4* 3* 2* 1*] \n owned0: 0 \n owners: 0...")
    return s


def test_scenario_12_disown_unlinks() -> None:
    """Scenario 12 (D-20): the eighth free makes the listed block whole on pA; its drain disowns it and takes it off
    LA."""
    s = whole_on_the_pcp_while_listed()
    s.free(C, 0)
    s.expect("order 3: M[0] \n order 4: M[16] \n owners: ....")


def test_scenario_12_as_the_mails_have_it() -> None:
    """Scenario 12: without the unlink B0 stays on LA with tag 0: I3 fails, and the next claim is that of 11."""
    s = whole_on_the_pcp_while_listed(watched=False)
    with s.replaced(unlist_owned_block=nothing):
        s.free(C, 0)
        with pytest.raises(ModelBug, match="owned_blocks: pfn 0: listed on CPU 0, tag 0"):
            s.system.validate()
        s.refill(B, 8)
    with pytest.raises(ModelBug, match="owned_blocks: pfn 0: listed on CPU 0, tag 2"):
        s.system.validate()


#: scenario 13: phase 0 of a MOVABLE refill skips B0
MISMATCH = "order 4: U[0] \n blocks: UUMM \n owned0: 0 \n owners: 0..."


def test_scenario_13_own_second_claim() -> None:
    """Scenario 13 (D-15, D-20): A's own claim takes the block off A's list; the next partial drain adds a free node."""
    s = Scenario(MISMATCH)
    assert s.refill(A, 8) == 8
    s.expect("order 3: M[8] \n pcp0 o3: M[0*] \n blocks: MMMM \n owners: 0...")
    assert s.alloc(A, 2) == 0
    with s.replaced(list_owned_block=list_unconditionally):
        s.drain(A)
    s.expect("order 2: M[4] \n order 3: M[8] \n blocks: MMMM \n owned0: 0 \n owners: 0...")


def test_scenario_13_without_the_unlink() -> None:
    """Scenario 13: a claim that leaves it there keeps all invariants, tag and list agree; but then the drain of a
    single fragment adds the node a second time."""
    s = Scenario(MISMATCH, watched=False)
    with s.replaced(unlist_owned_block=nothing):
        s.refill(A, 8)
    s.expect("order 3: M[8] \n pcp0 o3: M[0*] \n blocks: MMMM \n owned0: 0 \n owners: 0...")
    assert s.alloc(A, 2) == 0
    with s.replaced(list_owned_block=list_unconditionally), pytest.raises(DoubleAdd, match="linked on CPU 0"):
        s.drain(A)


def test_scenario_13_claim_own_type() -> None:
    """Scenario 13, the other answer of D-15: phase 1 leaves the U block alone; then phase 3 converts and breaks it all
    the same: eight unmarked pages of A's own block, which is still listed and matches MOVABLE refills now."""
    s = Scenario(MISMATCH, variant="rfc+claim-own-type")
    assert s.refill(A, 8) == 8
    s.expect("order 3: M[8] \n pcp0 o0: M[0 1 2 3 4 5 6 7] \n blocks: MMMM \n owned0: 0 \n owners: 0...")


LISTED = "order 0: M[0] \n pcp0 o1: M[6*] \n owned0: 0 \n owners: 0..."


def test_scenario_14_a_listed_block_is_not_listed_again() -> None:
    """Scenario 14 (D-20): its next fragment goes to the zone without a second list_add()."""
    s = Scenario(LISTED)
    s.drain(A)
    s.expect("order 0: M[0] \n order 1: M[6] \n owned0: 0 \n owners: 0...")
    s = Scenario(LISTED, watched=False)
    with s.replaced(list_owned_block=list_unconditionally), pytest.raises(DoubleAdd, match="linked on CPU 0"):
        s.drain(A)


def test_scenario_14_unlink_initialises_the_node() -> None:
    """Scenario 14: recovery leaves a node that says it is unlinked, so the next drain lists the block.  With list_del()
    instead of list_del_init() it would not, ever again."""
    s = Scenario(LISTED)
    s.refill(A, 1)
    s.expect("pcp0 o0: M[0*] \n pcp0 o1: M[6*] \n owners: 0...")
    s.drain(A)
    s.expect("order 0: M[0] \n order 1: M[6] \n owned0: 0 \n owners: 0...")

    def list_del(k: Kernel, zone: Zone, block_pfn: int) -> None:
        zone.per_cpu_pageset[A].owned_blocks.list_del(block_pfn)

    s = Scenario(LISTED, watched=False)
    with s.replaced(unlist_owned_block=list_del):
        s.refill(A, 1)
    with pytest.raises(ModelBug, match="owned_blocks: pfn 0: cpu_node says 1, the lists 0"):
        s.system.validate()
    s.drain(A)
    assert s.pcp(A).owned_blocks.to_list() == []


@pytest.mark.parametrize("other", [".", "1"])
def test_scenario_15_phase_0_takes_its_half(other: str) -> None:
    """Scenario 15 (D-14): the block is the lower half of an order-4 buddy: that is split, (8,3) goes back to the
    head of its list, B0 stays A's and is unlisted; B1 is nobody's business, whoever owns it."""
    s = Scenario(f"order 3: M[24] \n order 4: M[0] \n owned0: 0 \n owners: 0{other}..")
    assert s.refill(A, 2) == 8
    s.expect(f"order 3: M[8 24] \n pcp0 o3: M[0*] \n owners: 0{other}..")


@pytest.mark.parametrize(("other", "tag"), [(".", 0), ("1", 2)])
def test_scenario_15_taken_whole(other: str, tag: int) -> None:
    """Scenario 15: taking the order-4 buddy as it is brings B1's pages to pA with a mark: I2 fails."""

    def take_whole(k: Kernel, zone: Zone, pcp: PerCpuPages, block_pfn: int, limit: int) -> Recovered:
        del_page_from_free_list(k, block_pfn, zone, 4, M)
        for block in (block_pfn, block_pfn + BLOCK):
            add_refill(k, pcp, block, 3, M, PG_PCP_BUDDY)
        return Recovered(2 * BLOCK, 1, True)

    s = Scenario(f"order 4: M[0] \n owned0: 0 \n owners: 0{other}..", watched=False)
    with s.replaced(recover_block=take_whole):
        s.refill(A, 2)
    with pytest.raises(ModelBug, match=f"marks: pfn 8 is marked on CPU 0's lists, its block has tag {tag}"):
        s.system.validate()


def test_scenario_15_the_alternative_skips() -> None:
    """Scenario 15, U: skipping and unlisting is legal too; phase 3 then breaks the same buddy, and its pages have no
    mark though the block is A's."""
    s = Scenario("order 4: M[0] \n owned0: 0 \n owners: 0...")
    with s.replaced(recover_block=lambda *_: Recovered(0, 1, True)):
        s.refill(A, 2)
    s.expect("order 1: M[2] \n order 2: M[4] \n order 3: M[8] \n pcp0 o0: M[0 1] \n owners: 0...")


def test_scenario_16_phase_0_misses_the_upper_half() -> None:
    """Scenario 16 (D-14): no head lies in B1: 8 PFNs, no page; B1 is unlisted and keeps its stale tag.  What is wanted
    comes from the same buddy, by phase 3.  Not the mirror image of 15."""
    s = Scenario("order 4: M[0] \n owned0: 8 \n owners: .0..")
    with s.recorded("recover_block") as scans:
        assert s.refill(A, 2) == 2
    assert [scan.result for scan in scans] == [Recovered(pages=0, scanned=8, whole=True)]
    s.expect("order 1: M[2] \n order 2: M[4] \n order 3: M[8] \n pcp0 o0: M[0 1] \n owners: .0..")


#: scenario 17; the U page only keeps the zone above its watermark
TWO_STALE_TAGS = "order 0: U[24] \n order 4: M[0] \n blocks: MMMU \n owned0: 0 \n owned1: 8 \n owners: 01.."


def test_scenario_17_claims_block_by_block() -> None:
    """Scenario 17 (D-15): two claims out of one order-4 entry: both tags C's, both unlinked, two chunks."""
    s = Scenario(TWO_STALE_TAGS, high=32)
    assert s.refill(C, 16) == 16
    s.expect("order 0: U[24] \n pcp2 o3: M[0* 8*] \n blocks: MMMU \n owners: 22..")


def test_scenario_17_one_claim_for_the_entry() -> None:
    """Scenario 17: setting the head block's tag alone leaves B1 with B's tag and a marked chunk on pC: I2 fails, and
    what C frees is split between B and C."""

    def claim_entry(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
        pfn = k.calls._rmqueue(k, zone, 4, mt, alloc_flags, RmqueueMode())
        assert pfn is not None
        claim_pageblock(k, zone, pcp, pfn)
        for block in (pfn, pfn + BLOCK):
            add_refill(k, pcp, block, 3, mt, PG_PCP_BUDDY)
        return 2 * BLOCK

    s = Scenario(TWO_STALE_TAGS, high=32, watched=False)
    with s.replaced(refill_claim=claim_entry):
        s.refill(C, 16)
    with pytest.raises(ModelBug, match="marks: pfn 8 is marked on CPU 2's lists, its block has tag 2"):
        s.system.validate()
    with s.system.on_cpu(C), s.holding(C):
        taken = [s.k.pcp_buddy.pcp_rmqueue_smallest(s.k, s.zone, s.pcp(C), 3, M) for _ in range(2)]
    assert taken == [0, 8]
    for pfn in (0, 8):
        s.k.mem_map[pfn] = PG_ALLOCATED | 3
        s.free(C, pfn, order=3)
    s.expect(
        """
        order 0: U[24]
        pcp1 o3: M[8*]
        pcp2 o3: M[0*]
        blocks: MMMU
        owned1: 8
        owners: 21..
        """
    )


def test_scenario_18_order_4_is_never_routed() -> None:
    """Scenario 18 (D-11): allocated and freed straight from and to the zone; tags and lists stay, no pcp->lock is
    taken."""
    drawing = "order 4: M[0] \n owned0: 0 \n owned1: 8 \n owners: 01.."
    s = Scenario(drawing)
    assert s.alloc(C, 4) == 0
    s.expect("owned0: 0 \n owned1: 8 \n owners: 01..")
    with s.recorded("_free_one_page") as pieces:
        s.free(C, 0, order=4)
    assert [(piece.args[1], piece.args[3]) for piece in pieces] == [(0, 3), (8, 3)]
    s.expect(drawing)
    assert s.log == ["C locks Z", "C unlocks Z"] * 2


@pytest.mark.parametrize("by_rmqueue_buddy", [False, True])
@pytest.mark.parametrize(
    ("variant", "whole", "after"),
    [
        ("rfc", "owned0: 0 \n owners: 0...", "pcp0 o0: M[0*] \n owned0: 0 \n owners: 0..."),
        ("rfc+clear-complete", "owners: ....", "pcp1 o0: M[0] \n owners: ...."),
    ],
)
def test_scenario_19_unowned_takers(variant: str, whole: str, after: str, by_rmqueue_buddy: bool) -> None:
    """Scenario 19 (D-22): B breaks the whole block without a claim; the stale tag stays, and B's page goes to idle A.
    With clear-complete there was no tag any more, and the page is B's."""
    s = Scenario(PARTIAL.replace("order 3: M[8]", ""), variant=variant)
    s.drain(A)
    s.expect(f"order 3: M[0] \n {whole}")
    if by_rmqueue_buddy:
        with s.holding(B):
            assert s.alloc(B, context=Context.HARDIRQ) == 0
    else:
        s.refill(B, 1)  # phase 3: there is nothing smaller than a pageblock
        assert s.alloc(B) == 0
    broken = "order 0: M[1] \n order 1: M[2] \n order 2: M[4]"
    s.expect(f"{broken} \n {whole}")
    s.free(B, 0)
    s.expect(f"{broken} \n {after}")


def ping_pong(s: Scenario, rounds: int) -> tuple[int, int]:
    """CPU B allocates a page and frees it again, many times.  Returns refills and drains."""
    with s.recorded("rmqueue_bulk") as refills, s.recorded("free_pcppages_bulk") as drains:
        for _ in range(rounds):
            pfn = s.alloc(B)
            assert pfn is not None
            s.free(B, pfn)
            s.system.validate()
    return len(refills), len(drains)


#: scenario 20: 7 is in use for long, so that B0 is never whole
IN_USE = "order 0: M[6] \n order 1: M[4] \n order 2: M[0]"


@pytest.mark.parametrize("variant", ["rfc", "rfc+clear-complete", "rfc-trylock"])
def test_scenario_20_ping_pong_over_a_stale_tag(variant: str) -> None:
    """Scenario 20: in 64 rounds linux-7.0 takes zone->lock once, to refill.  Here B never gets a page back: it refills
    every other round, and from the fourth free on every other one drains A's lists, which A does not use: 63 times."""
    today = Scenario(IN_USE, variant="linux-7.0", high=4)
    assert ping_pong(today, 64) == (1, 0)
    assert today.locked("Z") == 1
    s = Scenario(f"{IN_USE} \n owners: 0...", variant=variant, high=4)
    assert ping_pong(s, 64) == (32, 31)
    assert s.locked("Z") == 63
    assert s.pcp(B).count == 0
    assert s.owners == "0..."


def test_scenario_20_ends_when_the_block_comes_whole() -> None:
    """Scenario 20, sharpened: if the whole block goes through A's lists (no page in use, high not below a pageblock)
    the eighth free merges and disowns it, and B keeps its pages from then on: 5 holds of zone->lock, not one more."""
    s = Scenario("order 3: M[0] \n owners: 0...")
    assert ping_pong(s, 8) == (3, 1)
    s.expect("order 3: M[0] \n owners: ....")
    assert ping_pong(s, 56) == (1, 0)
    assert s.locked("Z") == 5


def test_scenario_20_on_llist_the_pages_pile_up() -> None:
    """Scenario 20 on llist, sharpened: no ping-pong, but nobody absorbs an idle CPU's llist, and no limit is looked at:
    after 7 rounds all 7 pages are there (high is 4), B's refill finds nothing, and only drain_all_pages() helps."""
    s = Scenario(f"{IN_USE} \n owners: 0...", variant="llist", high=4)
    assert ping_pong(s, 7) == (4, 0)
    s.expect("llist0: 1/0 3/0 2/0 0/0 6/0 5/0 4/0 \n owners: 0...")
    assert s.alloc(B) is None
    with s.system.on_cpu(B):
        s.system.drain_all_pages()
    s.expect("order 0: M[6] \n order 1: M[4] \n order 2: M[0] \n owned0: 0 \n owners: 0...")


#: scenario 21: free everywhere, complete nowhere
HALVES = "order 2: M[4] \n pcp0 o2: M[0*] \n owned0: 0 \n owners: 0..."


def test_scenario_21_wholly_free_is_not_complete() -> None:
    """Scenario 21 (RFC-8.16): half of B0 on pA, half in the zone.  B's refill finds no whole block to claim (phase 2
    then takes the half as a chunk); A's drain does not disown it, and leads to 10."""
    s = Scenario(HALVES)
    with s.recorded("refill_claim") as claims:
        s.refill(B, 8)
    assert [(claim.args[3], claim.result) for claim in claims] == [(8, 0)]
    s.expect("pcp0 o2: M[0*] \n pcp1 o2: M[4] \n owned0: 0 \n owners: 0...")
    s = Scenario(HALVES)
    with s.recorded("set_pageblock_owner") as stores:
        s.drain(A)
    assert stores == []
    s.expect("order 3: M[0] \n owned0: 0 \n owners: 0...")


def test_scenario_21_ways_out() -> None:
    """Scenario 21: A's phase 0 brings the halves together, and the next drain disowns the block."""
    s = Scenario(HALVES)
    s.refill(A, 1)
    s.expect("pcp0 o2: M[0* 4*] \n owners: 0...")
    s.drain(A)
    s.expect("order 3: M[0] \n owners: ....")


def decay(s: Scenario) -> None:
    """A's vmstat worker runs."""
    with s.system.on_cpu(A):
        s.system.refresh_vm_stats(pagesets=True)


def test_scenario_21_an_idle_owner() -> None:
    """Scenario 21, text corrected: the decay of an idle A changes nothing as long as count is not above high, and high
    stops at high_min, or at 7, an eighth of which is nothing.  drain_all_pages() always ends this."""
    s = Scenario(HALVES)
    decay(s)  # high_min is 8
    s.expect(HALVES)
    limits(s.pcp(A), high_min=2, high_max=64, high=64)
    for _ in range(100):
        decay(s)
    assert s.pcp(A).high == 7
    s.expect(HALVES)
    with s.system.on_cpu(B):
        s.system.drain_all_pages()
    s.expect("order 3: M[0] \n owned0: 0 \n owners: 0...")
    s = Scenario(HALVES)
    limits(s.pcp(A), high_min=2, high=2)
    decay(s)  # 2 of the 4 pages are above high, and a chunk is not split
    s.expect("order 3: M[0] \n owned0: 0 \n owners: 0...")


@pytest.mark.parametrize(
    ("variant", "count", "after"),
    [
        ("rfc", 2, "order 2: M[0] \n pcp0 o0: M[24 4*] \n pcp0 o1: M[6*]"),
        ("rfc+drain-oldest", 2, "order 0: M[24 4] \n pcp0 o1: M[6*] \n pcp0 o2: M[0*]"),
        ("rfc+drain-oldest", 3, "order 0: M[24 4] \n order 1: M[6] \n pcp0 o2: M[0*]"),
    ],
)
def test_scenario_22_choice_of_victims(variant: str, count: int, after: str) -> None:
    """Scenario 22 (D-18): 2 pages are to go: the largest chunk (4 pages), or with drain-oldest the oldest of the list
    that the drain begins with, then those of the lists behind it.  Either way B0 is listed while much of it is still on
    the PCP."""
    s = Scenario("pcp0 o0: M[24 4*] \n pcp0 o1: M[6*] \n pcp0 o2: M[0*] \n owners: 0...", variant=variant)
    s.drain_some(A, count, pindex=M)
    s.expect(f"{after} \n owned0: 0 \n owners: 0...")
