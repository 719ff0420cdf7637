# SPDX-License-Identifier: GPL-2.0-only
"""Scenarios 1 to 9: the base path."""

from __future__ import annotations

import pytest

from pageblock_buddy.errors import ModelBug
from pageblock_buddy.machine.lists import ListHead
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages
from pageblock_buddy.mm.page import PG_NONE, PG_PCP_BUDDY
from tests.helpers import M
from tests.rfc.scenario import BLOCK, A, B, C, Scenario, literal_refill

#: scenario 1 up to its end: B0 is A's, PFN 0 is allocated
CLAIMED = """
    order 3: M[8]
    order 4: M[16]
    pcp0 o0: M[1*]
    pcp0 o1: M[2*]
    pcp0 o2: M[4*]
    owners: 0...
    """
#: scenario 3 before its drain: 0 and 5 are allocated
PARTIAL = """
    order 3: M[8]
    order 4: M[16]
    pcp0 o0: M[4* 3* 2* 1*]
    pcp0 o1: M[6*]
    owners: 0...
    """
#: and after it
DRAINED = """
    order 0: M[1 4]
    order 1: M[2 6]
    order 3: M[8]
    order 4: M[16]
    owned0: 0
    owners: 0...
    """


def test_scenario_01_claim_and_split() -> None:
    """Scenario 1: phase 1 takes one block out of the order-4 entry; the PCP splits it, and what is left is marked."""
    s = Scenario("order 4: M[0 16]")
    assert s.refill(A, 8) == 8
    s.expect("order 3: M[8] \n order 4: M[16] \n pcp0 o3: M[0*] \n owners: 0...")
    assert s.alloc(A) == 0
    s.expect(CLAIMED)
    assert s.pcp(A).count == 7
    assert s.locked("Z") == 1  # splitting needed none


def test_scenario_01_two_blocks_of_one_entry() -> None:
    """Scenario 1, U (D-15): wanted 16 makes two owned blocks of the order-4 entry; 15 one, and the rest is phase 3."""
    s = Scenario("order 4: M[0 16]")
    assert s.refill(A, 16) == 16
    s.expect("order 4: M[16] \n pcp0 o3: M[0* 8*] \n owners: 00..")
    s = Scenario("order 4: M[0 16]")
    assert s.refill(A, 15) == 15
    s.expect(
        """
        order 0: M[15]
        order 4: M[16]
        pcp0 o0: M[8 9 10 11 12 13 14]
        pcp0 o3: M[0*]
        owners: 0...
        """
    )


@pytest.mark.parametrize("variant", ["rfc", "rfc+drain-oldest"])
def test_scenario_02_remote_free_drains_a_whole_block(variant: str) -> None:
    """Scenario 2: C's free makes the block whole on pA; it goes to the zone as one, disowned.  2 pages were to go and
    8 went (D-18).  drain-oldest comes to the same: after the merge pass there is nothing else."""
    s = Scenario(CLAIMED, variant=variant)
    with s.recorded("free_pcppages_bulk") as pieces:
        s.free(C, 0)
    assert [piece.args[2] for piece in pieces] == [2]
    s.expect("order 4: M[0 16] \n owners: ....")
    assert s.pcp(A).count == 0


def test_scenario_02_the_other_answer_keeps_the_block() -> None:
    """Scenario 2, U: a drain that passes over chunks larger than its count leaves the block owned and marked; that is
    legal too."""
    s = Scenario(CLAIMED, high=32)
    s.free(C, 0)
    real = s.k.pcp_buddy.drain_order
    with s.replaced(drain_order=lambda k, pindex: [i for i in real(k, pindex) if k.calls.pindex_to_order(k, i) < 2]):
        s.drain_some(A, 2)
    s.expect("order 3: M[8] \n order 4: M[16] \n pcp0 o3: M[0*] \n owners: 0...")
    assert s.pcp(A).count == BLOCK


def test_scenario_03_partial_drain() -> None:
    """Scenario 3: 0 and 5 are in use; the fragments go to the zone, no mark is left, the block stays A's and is listed.
    The zone puts 4 and 1 at the tail because their buddies one order up are free."""
    s = Scenario(CLAIMED)
    assert [s.alloc(A) for _ in range(5)] == [1, 2, 3, 4, 5]
    s.free(A, 1, 2, 3, 4)
    s.expect(PARTIAL)
    s.drain(A)
    s.expect(DRAINED)
    assert s.pcp(A).count == 0


@pytest.mark.parametrize("variant", ["rfc", "rfc+recover-enough"])
def test_scenario_04_recovery(variant: str) -> None:
    """Scenario 4: phase 0 takes all 6 pages though 2 are wanted, marked, and unlists the block.  recover-enough too: a
    block once begun is finished."""
    s = Scenario(DRAINED, variant=variant)
    assert s.refill(A, 2) == 6
    s.expect(
        """
        order 3: M[8]
        order 4: M[16]
        pcp0 o0: M[1* 4*]
        pcp0 o1: M[2* 6*]
        owners: 0...
        """
    )
    assert s.alloc(A) == 1
    assert s.pcp(A).count == 5


@pytest.mark.parametrize(
    ("variant", "after"),
    [
        ("rfc", "pcp0 o0: M[1* 9*] \n pcp0 o1: M[2* 10*] \n owners: 00.."),
        (
            "rfc+recover-enough",
            "order 0: M[9] \n order 1: M[10] \n pcp0 o0: M[1*] \n pcp0 o1: M[2*] \n owned0: 8 \n owners: 00..",
        ),
    ],
)
def test_scenario_04_stop_between_blocks(variant: str, after: str) -> None:
    """Scenario 4, U (D-13): the list is consumed as a whole; recover-enough stops after the first block."""
    s = Scenario("order 0: M[1 9] \n order 1: M[2 10] \n owned0: 0 8 \n owners: 00..", variant=variant)
    s.refill(A, 2)
    s.expect(after)


def test_scenario_05_theft_of_a_fragment() -> None:
    """Scenario 5, U (D-20): B takes (2,1) by phase 2: unmarked, the tag stays A's.  What B frees of it goes to A, with
    a mark; what B drains of it lists nothing.  So (3,0) ends in the zone off the list, legally."""
    s = Scenario(DRAINED)
    assert s.refill(B, 2) == 2
    assert s.alloc(B) == 2
    s.expect(
        """
        order 0: M[1 4]
        order 1: M[6]
        order 3: M[8]
        order 4: M[16]
        pcp1 o0: M[3]
        owned0: 0
        owners: 0...
        """
    )
    s.refill(A, 2)
    s.free(B, 2)
    s.expect(
        """
        order 3: M[8]
        order 4: M[16]
        pcp0 o0: M[2* 1* 4*]
        pcp0 o1: M[6*]
        pcp1 o0: M[3]
        owners: 0...
        """
    )
    s.drain(B)
    s.expect(
        """
        order 0: M[3]
        order 3: M[8]
        order 4: M[16]
        pcp0 o0: M[2* 1* 4*]
        pcp0 o1: M[6*]
        owners: 0...
        """
    )


def test_scenario_06_free_of_a_whole_block() -> None:
    """Scenario 6: an order-3 free of an owned block puts one marked chunk on the owner's PCP, 8 pages in one step."""
    s = Scenario("order 4: M[16] \n alloc: 0/3 \n owners: 0...", high=32)
    s.free(C, 0, order=3)
    s.expect("order 4: M[16] \n pcp0 o3: M[0*] \n owners: 0...")
    assert (s.pcp(A).count, s.pcp(C).count) == (8, 0)


def test_scenario_06_with_high_8_it_does_not_stay() -> None:
    """Scenario 6, sharpened: where high is no more than a pageblock the same free drains the block at once, by the CPU
    that freed it: to the zone, disowned."""
    s = Scenario("order 4: M[16] \n alloc: 0/3 \n owners: 0...")
    s.free(C, 0, order=3)
    s.expect("order 3: M[0] \n order 4: M[16] \n owners: ....")
    assert s.log == ["C locks A", "C locks Z", "C unlocks Z", "C unlocks A"]


HALVES = "pcp0 o2: M[0* 4* 8* 12*] \n owners: 00.."


def test_scenario_07_merge_stops_at_the_pageblock() -> None:
    """Scenario 7: two whole blocks of one owner do not become one chunk; each is disowned by itself, and the merge to
    order 4 happens in the zone."""
    s = Scenario(HALVES, high=32)
    assert s.merge(A) == 2
    s.expect("pcp0 o3: M[0* 8*] \n owners: 00..")
    with s.recorded("set_pageblock_owner") as stores:
        s.drain(A)
    assert [store.args[2:] for store in stores] == [(8, 0), (0, 0)]
    s.expect("order 4: M[0] \n owners: ....")


def test_scenario_07_without_the_limit() -> None:
    """Scenario 7: a pass that also merges whole blocks (and has lists for that) makes a chunk over two: I2 fails."""
    s = Scenario(HALVES, high=32, watched=False)
    s.k.nr_pcp_lists += 3
    for pcp in s.zone.per_cpu_pageset:
        pcp.lists += (ListHead(), ListHead(), ListHead())
    real = s.k.pcp_buddy.merge_pcp_buddies

    def merge_without_limit(k: Kernel, pcp: PerCpuPages) -> int:
        merges = real(k, pcp)
        blocks, larger = pcp.lists[9 + M], pcp.lists[12 + M]
        blocks.list_del(0)
        blocks.list_del(8)
        k.mem_map[0], k.mem_map[8] = PG_PCP_BUDDY | 4, PG_NONE
        larger.list_add(0)
        return merges + 1

    with s.replaced(merge_pcp_buddies=merge_without_limit):
        assert s.merge(A) == 3
    with pytest.raises(ModelBug, match="marks: the marked chunk 0 of order 4 leaves its block"):
        s.system.validate()


def test_scenario_08_no_merge_on_allocation() -> None:
    """Scenario 8: an order-1 request refills although the buddies 0 and 1 lie on the PCP, marked.  The refill wants 2
    blocks of order 1, which is too little for a claim; phase 3 splits them off 16."""
    s = Scenario("order 4: M[16] \n pcp0 o0: M[0* 1*] \n owners: 0...")
    assert s.alloc(A, 1) == 16
    s.expect(
        """
        order 2: M[20]
        order 3: M[24]
        pcp0 o0: M[0* 1*]
        pcp0 o1: M[18]
        owners: 0...
        """
    )
    assert s.locked("Z") == 1
    assert s.merge(A) == 1  # the next drain would have served it


def test_scenario_09_wanted_is_blocks_of_the_order() -> None:
    """Scenario 9, U (D-12): 2 blocks of order 2 are 8 pages.  Phase 0 brings 2 of them, phase 3 one block of the order:
    the request is served from the PCP.  If n is read as pages it falls to the zone, with a second hold."""
    drawing = "order 0: M[1 4] \n order 4: M[16] \n owned0: 0 \n owners: 0..."
    s = Scenario(drawing)
    assert s.alloc(A, 2) == 16
    after = "order 2: M[20] \n order 3: M[24] \n pcp0 o0: M[1* 4*] \n owners: 0..."
    s.expect(after)
    assert s.locked("Z") == 1
    s = Scenario(drawing)
    with s.replaced(rmqueue_bulk=literal_refill(unit=0)):
        assert s.alloc(A, 2) == 16
    s.expect(after)
    assert s.locked("Z") == 2


def test_scenario_09_pages_enough_but_none_of_the_order() -> None:
    """Scenario 9, U (D-12): phase 0 brings all 8 pages that are wanted, none of them of order 2; so one block of the
    order stays wanted.  A refill that counts pages alone sends the request to the zone."""
    drawing = "order 0: M[1] \n order 1: M[2 6 10] \n order 0: M[1 9] \n order 4: M[16] \n owned0: 0 8 \n owners: 00.."
    after = """
        order 2: M[20]
        order 3: M[24]
        pcp0 o0: M[1* 9*]
        pcp0 o1: M[2* 6* 10*]
        owners: 00..
        """
    s = Scenario(drawing)
    assert s.alloc(A, 2) == 16
    s.expect(after)
    assert s.locked("Z") == 1
    s = Scenario(drawing)
    with s.replaced(rmqueue_bulk=literal_refill()):
        assert s.alloc(A, 2) == 16
    s.expect(after)
    assert s.locked("Z") == 2
