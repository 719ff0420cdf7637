# SPDX-License-Identifier: GPL-2.0-only
"""Scenarios 44 to 54: CPU hotplug, isolation, types."""

from __future__ import annotations

import pytest

from pageblock_buddy import gfp
from pageblock_buddy.errors import ModelBug
from pageblock_buddy.invariants import validate_dead_cpus
from pageblock_buddy.linux_6_12.pcp import zone_pcp_disable, zone_pcp_enable
from pageblock_buddy.linux_7_0.pageblock import stored_migratetype
from pageblock_buddy.machine.lists import ListHead
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages
from pageblock_buddy.mm.pageblock import pbd_migratetype, pfn_to_pageblock
from tests.helpers import MOVABLE, I, M, R, U, drawing_of
from tests.rfc.scenario import A, B, C, Scenario, literal_refill

# --- CPU hotplug -------------------------------------------------------------------------------

#: B0 and B1 are A's; all in use but 1
OWNED = "pcp0 o0: M[1*] \n owners: 00.."


def test_scenario_44_a_dead_owner_that_keeps_its_tags() -> None:
    """Scenario 44 (policy offline-keep): what C frees goes to the dead A's PCP, drain_all_pages() passes it over, LA is
    never consumed.  Sharpened: at most high - 1 pages are stranded; the free that reaches high drains the dead PCP."""
    s = Scenario(OWNED, variant="rfc+offline-keep")
    s.offline(A, by=B)
    s.expect("order 0: M[1] \n owned0: 0 \n owners: 00..")
    s.free(C, 0, 2, 3, 4, 5, 6, 7)
    with s.system.on_cpu(C):
        s.system.drain_all_pages()
    stranded = "order 0: M[1] \n pcp0 o0: M[7* 6* 5* 4* 3* 2* 0*] \n owned0: 0 \n owners: 00.."
    s.expect(stranded)
    with pytest.raises(ModelBug, match=r"dead_cpus: .* CPU 0 is offline and holds 7 pages"):
        validate_dead_cpus(s.k)
    s.free(C, 8)
    s.expect("order 0: M[1] \n order 1: M[2] \n order 2: M[4] \n pcp0 o0: M[8* 0*] \n owned0: 0 \n owners: 00..")


def test_scenario_44_a_dead_cpu_owns_nothing() -> None:
    """Scenario 44 (D-23): its blocks are disowned and unlisted; C's free stays with C."""
    s = Scenario(OWNED)
    s.offline(A, by=B)
    s.expect("order 0: M[1] \n owners: ....")
    s.free(C, 0)
    s.expect("order 0: M[1] \n pcp2 o0: M[0] \n owners: ....")


@pytest.mark.parametrize("folios", [False, True])
def test_scenario_45_free_against_the_owner_s_death(folios: bool) -> None:
    """Scenario 45 (D-23): C has read A when A goes offline and its blocks, not complete, are disowned.  C looks
    again once it has the lock, and routes anew."""
    s = Scenario(OWNED)
    s.at("C wants A", lambda: s.offline(A, by=B))
    with s.system.on_cpu(C):
        if folios:
            s.system.free_folios([(0, 0)])
        else:
            s.system.free_pages(0)
    assert s.log[-4:] == ["C locks A", "C unlocks A", "C locks C", "C unlocks C"]
    s.expect("order 0: M[1] \n pcp2 o0: M[0] \n owners: ....")


def test_scenario_45_without_the_second_look() -> None:
    """Scenario 45: C marks a page of a block that nobody owns, on a dead CPU's PCP: I6 and I2 fail."""
    s = Scenario(OWNED)
    s.at("C wants A", lambda: s.offline(A, by=B))
    with (
        s.replaced(still_routed=lambda *_: True),
        pytest.raises(ModelBug, match="stable_read: "),
    ):
        s.free(C, 0)
    t = Scenario(OWNED, watched=False)
    t.at("C wants A", lambda: t.offline(A, by=B))
    with t.replaced(still_routed=lambda *_: True):
        t.free(C, 0)
    with pytest.raises(ModelBug, match="marks: pfn 0 is marked on CPU 0's lists, its block has tag 0"):
        t.system.validate()
    with pytest.raises(ModelBug, match=r"dead_cpus: .* CPU 0 is offline and holds 1 pages"):
        validate_dead_cpus(t.k)


def test_scenario_45_between_drain_and_disown() -> None:
    """Scenario 45: a free between the dead CPU's drain and the disown still finds the owner that it has read; the
    disown drains once more in its own hold of pA's lock, so nothing is left there."""
    s = Scenario(OWNED)
    s.at("B unlocks A", lambda: s.free(C, 0))
    s.offline(A, by=B)
    assert "C locks A" in s.log
    s.expect("order 1: M[0] \n owners: ....")


def goes_offline_under_the_task(s: Scenario) -> None:
    """The task moves from A to B, and A goes offline."""
    s.k.machine.cpu = B
    s.offline(A, by=B)


def test_scenario_46_unowned_free_against_offline() -> None:
    """Scenario 46 (D-23): the task has read CPU A; it is on B, and A dead, when it gets pA's lock.  It looks again and
    takes B's PCP."""
    s = Scenario("owners: ....")
    s.at("A wants A", lambda: goes_offline_under_the_task(s))
    s.free(A, 0)
    assert s.log[-4:] == ["B locks A", "B unlocks A", "B locks B", "B unlocks B"]
    s.expect("pcp1 o0: M[0] \n owners: ....")


def test_scenario_46_without_the_second_look() -> None:
    """Scenario 46: else the page is stranded on a dead CPU's PCP."""
    s = Scenario("owners: ....")
    s.at("A wants A", lambda: goes_offline_under_the_task(s))
    with s.replaced(still_routed=lambda *_: True):
        s.free(A, 0)
    assert drawing_of(s.system).text().startswith("pcp0 o0: M[0]\n")
    with s.system.on_cpu(B):
        s.system.drain_all_pages()
    with pytest.raises(ModelBug, match=r"dead_cpus: .* CPU 0 is offline and holds 1 pages"):
        s.system.validate()


def kept_and_back(*, reset: bool = False) -> Scenario:
    """A goes offline and keeps its blocks, C frees a page of them, A comes back."""
    s = Scenario(OWNED, variant="rfc+offline-keep")
    s.offline(A, by=B)
    s.free(C, 0)
    with s.system.on_cpu(B):
        s.system.online_cpu(A)
    if reset:
        s.pcp(A).owned_blocks = ListHead()
    return s


def test_scenario_47_online_again() -> None:
    """Scenario 47 (policy offline-keep): tags and list are as they were, and useful: phase 0 recovers."""
    s = kept_and_back()
    s.expect("order 0: M[1] \n pcp0 o0: M[0*] \n owned0: 0 \n owners: 00..")
    s.refill(A, 1)
    s.expect("pcp0 o0: M[0* 1*] \n owners: 00..")


def test_scenario_47_with_the_list_head_reset() -> None:
    """Scenario 47: if the pageset is initialised again the nodes stay linked to nothing."""
    s = kept_and_back(reset=True)
    with pytest.raises(ModelBug, match="owned_blocks: pfn 0: cpu_node says 1, the lists 0"):
        s.system.validate()


def test_scenario_47_in_the_rfc() -> None:
    """Scenario 47 (D-23): a CPU that comes back starts from nothing."""
    s = Scenario(OWNED)
    s.offline(A, by=B)
    with s.system.on_cpu(B):
        s.system.online_cpu(A)
    s.expect("order 0: M[1] \n owners: ....")
    s.free(C, 0)
    s.expect("order 0: M[1] \n pcp2 o0: M[0] \n owners: ....")


# --- isolation ---------------------------------------------------------------------------------

LISTED = "order 0: M[1] \n order 4: M[16] \n pcp0 o0: M[0*] \n owned0: 0 \n owners: 0..."


def test_scenario_48_isolation_of_an_owned_block() -> None:
    """Scenario 48 (D-25): tag and listing stay; frees bypass the PCP; phase 0 skips the block, because its type
    reads as ISOLATE while the stored one is MOVABLE; un-isolated it is recovered."""
    s = Scenario(LISTED)
    assert s.system.isolate_pageblock(0)
    s.drain(A)
    isolated = "order 1: I[0] \n order 4: M[16] \n blocks: IMMM \n owned0: 0 \n owners: 0..."
    s.expect(isolated)
    assert (stored_migratetype(s.k, 0), pbd_migratetype(s.k, pfn_to_pageblock(s.k, 0))) == (M, I)
    s.log.clear()
    s.free(C, 2)
    assert s.log == ["C locks Z", "C unlocks Z"]
    s.expect(f"order 0: I[2] \n {isolated}")
    with s.recorded("recover_block") as scans:
        s.refill(A, 1)
    assert scans == []
    assert s.pcp(A).lists[M].to_list() == [16]  # phase 3
    s.drain(A)
    s.expect("order 0: I[2] \n order 1: I[0] \n order 4: M[16] \n blocks: IMMM \n owned0: 0 \n owners: 0...")
    s.system.unisolate_pageblock(0)
    s.refill(A, 1)
    s.expect("order 4: M[16] \n pcp0 o0: M[2*] \n pcp0 o1: M[0*] \n blocks: MMMM \n owners: 0...")


def test_scenario_48_by_the_stored_type() -> None:
    """Scenario 48: a phase 0 that asks for the type without the isolation bit takes isolated pages back into use."""

    def by_stored_type(k: Kernel, pcp: PerCpuPages, mt: int) -> list[int]:
        return [block_pfn for block_pfn in pcp.owned_blocks if stored_migratetype(k, block_pfn) == mt]

    s = Scenario(LISTED, watched=False)
    s.system.isolate_pageblock(0)
    s.expect("order 0: I[1] \n order 4: M[16] \n pcp0 o0: M[0*] \n blocks: IMMM \n owned0: 0 \n owners: 0...")
    with s.replaced(owned_blocks_to_recover=by_stored_type):
        s.refill(A, 1)
    assert drawing_of(s.system).free[0, I] == []
    with pytest.raises(ModelBug, match="pcp_lists"):  # there is no list for that type on a PCP
        s.system.validate()


def isolation_race() -> Scenario:
    """B isolates B0 and drains A between C's look at the type and its commit."""
    s = Scenario("order 4: M[16] \n owners: 0...")

    def isolate_and_drain() -> None:
        with s.system.on_cpu(B):
            assert s.system.isolate_pageblock(0)
        s.drain(A, by=B)

    s.at("C wants A", isolate_and_drain)
    s.free(C, 0)
    s.expect("order 4: M[16] \n pcp0 o0: M[0*] \n blocks: IMMM \n owners: 0...")
    return s


def test_scenario_49_isolation_race() -> None:
    """Scenario 49 (RFC-8.8): a page of an isolated block is on pA, marked; the next drain puts it on the ISOLATE
    list."""
    s = isolation_race()
    s.drain(A)
    s.expect("order 0: I[0] \n order 4: M[16] \n blocks: IMMM \n owned0: 0 \n owners: 0...")


def test_scenario_49_handed_out_meanwhile() -> None:
    """Scenario 49: A's allocation may have it before that, as today."""
    s = isolation_race()
    assert s.alloc(A) == 0
    s.expect("order 4: M[16] \n blocks: IMMM \n owners: 0...")


#: scenario 50: 12 free pages of two listed blocks
TWELVE = "order 1: M[2 10] \n order 2: M[4 12] \n owned0: 0 8 \n owners: 00.."


def test_scenario_50_disabled_lists_stay_empty() -> None:
    """Scenario 50 (D-12): with high 0 and batch 1 phases 0 to 2 are off; phase 3 brings the one page.  B0 and B1 stay
    listed until the lists are enabled again."""
    s = Scenario(TWELVE)
    zone_pcp_disable(s.k, s.zone)
    assert s.alloc(A) == 2
    assert s.pcp(A).count == 0
    s.expect("order 0: M[3] \n order 1: M[10] \n order 2: M[4 12] \n owned0: 0 8 \n owners: 00..")
    zone_pcp_enable(s.zone)
    assert s.alloc(A) == 3
    s.expect("pcp0 o1: M[10*] \n pcp0 o2: M[4* 12*] \n owners: 00..")


def test_scenario_50_without_the_gate() -> None:
    """Scenario 50: a phase 0 that runs all the same leaves 11 pages on lists that are meant to be empty."""
    s = Scenario(TWELVE)
    zone_pcp_disable(s.k, s.zone)
    with s.replaced(rmqueue_bulk=literal_refill()):
        assert s.alloc(A) == 2
    assert s.pcp(A).count == 11
    s.expect("pcp0 o0: M[3*] \n pcp0 o1: M[10*] \n pcp0 o2: M[4* 12*] \n owners: 00..")


# --- types -------------------------------------------------------------------------------------


def test_scenario_51_type_change_of_an_owned_block() -> None:
    """Scenario 51 (D-17, D-19, D-25): B's U refill converts A's block; tag, listing and what lies on pA stay as they
    are. The two halves of an order-1 chunk lie on lists of two types and merge, onto that of the present type."""
    s = Scenario("order 0: M[16 18] \n order 2: M[4] \n pcp0 o0: M[0*] \n owned0: 0 \n owners: 0...")
    s.refill(B, 1, mt=U)
    converted = """
        order 0: M[16 18] U[5]
        order 1: U[6]
        pcp1 o0: U[4]
        blocks: UMMM
        owned0: 0
        owners: 0...
        """
    s.expect(f"{converted} \n pcp0 o0: M[0*]")
    s.free(C, 1)
    s.expect(f"{converted} \n pcp0 o0: M[0*] U[1*]")
    assert s.merge(A) == 1
    s.expect(f"{converted} \n pcp0 o1: U[0*]")
    s.refill(A, 2, mt=M)
    s.expect(
        """
        order 0: U[5]
        order 1: U[6]
        pcp0 o0: M[16 18]
        pcp0 o1: U[0*]
        pcp1 o0: U[4]
        blocks: UMMM
        owned0: 0
        owners: 0...
        """
    )
    s.refill(A, 2, mt=U)
    s.expect(
        """
        pcp0 o0: M[16 18] U[5*]
        pcp0 o1: U[0* 6*]
        pcp1 o0: U[4]
        blocks: UMMM
        owners: 0...
        """
    )


def frees_u_allocates_m(variant: str) -> Scenario:
    """Six UNMOVABLE blocks of A's, all in use: A frees a page of each, and again, and allocates MOVABLE pages.  high 4,
    batch 2: the author's cap is 2."""
    drawing = "order 4: M[48] \n blocks: UUUUUUMM \n owners: 000000.."
    s = Scenario(drawing, variant=variant, pages=64, high=4)
    with s.recorded("owned_blocks_to_recover") as walks:
        for pfn in (0, 8, 16, 24, 32, 40, 2, 10, 18, 26, 34, 42):
            s.free(A, pfn)
            assert s.alloc(A, flags=MOVABLE) is not None
    movable = [walk.result for walk in walks if walk.args[2] == M]
    assert len(movable) == 6  # refills of 2 pages
    assert movable == [[]] * 6  # and none found a block to recover
    s.system.validate()
    return s


def test_scenario_52_mismatches_pile_up() -> None:
    """Scenario 52: LA holds every U block that a drain has touched, 3 times the cap, and every M refill walks over it.
    With owned-per-type the walk is empty, but the U list is as long."""
    s = frees_u_allocates_m("rfc")
    assert s.pcp(A).owned_blocks.to_list() == [0, 8, 16, 24, 32, 40]
    assert len(s.pcp(A).owned_blocks) > s.pcp(A).high_max - s.pcp(A).batch
    s = frees_u_allocates_m("rfc+owned-per-type")
    assert [one.to_list() for one in s.pcp(A).owned_blocks_by_type] == [[0, 8, 16, 24, 32, 40], [], []]


def test_scenario_53_highatomic_block_listed() -> None:
    """Scenario 53 (D-25): B0 becomes HIGHATOMIC; no PCP type ever equals that, so it stays listed and is not recovered
    until the reserve is given back."""
    s = Scenario("order 0: M[0] \n order 2: M[4] \n owned0: 0 \n owners: 0...", managed_pages=800)
    s.k.calls.reserve_highatomic_pageblock(s.k, 1, 0, s.zone)
    reserved = "order 0: H[0] \n order 2: H[4] \n blocks: HMMM \n owned0: 0 \n owners: 0..."
    s.expect(reserved)
    for mt in (U, M, R):
        assert s.refill(A, 1, mt=mt) == 0
    s.expect(reserved)
    assert s.system.unreserve_highatomic(MOVABLE, force=True)
    s.refill(A, 1)
    s.expect("pcp0 o0: M[0*] \n pcp0 o2: M[4*] \n blocks: MMMM \n owners: 0...")


def test_scenario_53_a_highatomic_block_cannot_be_claimed() -> None:
    """Scenario 53, text corrected: "never unlisted until claimed" means never: phase 1 does not get at HIGHATOMIC
    blocks, even whole ones."""
    s = Scenario("order 3: H[0] \n blocks: HMMM \n owned0: 0 \n owners: 0...")
    for cpu in (A, B):
        assert s.refill(cpu, 8) == 0
    s.expect("order 3: H[0] \n blocks: HMMM \n owned0: 0 \n owners: 0...")


def test_scenario_53_cma_block_listed() -> None:
    """Scenario 53: with claim-cma A claims a CMA block; its fragments are listed by a drain, and a MOVABLE refill,
    which claimed it, does not recover them.  The rfc does not claim CMA: phase 3 takes its pages, unowned."""
    cma = "order 3: C[0] \n blocks: CMMM"
    s = Scenario(cma, variant="rfc+claim-cma")
    s.refill(A, 8, alloc_flags=gfp.ALLOC_CMA)
    s.expect("pcp0 o3: M[0*] \n blocks: CMMM \n owners: 0...")
    assert s.alloc(A, 2) == 0
    s.drain(A)
    listed = "order 2: C[4] \n blocks: CMMM \n owned0: 0 \n owners: 0..."
    s.expect(listed)
    with s.recorded("recover_block") as scans:
        assert s.refill(A, 1) == 0
    assert scans == []
    s.expect(listed)
    s = Scenario(cma)
    s.refill(A, 8, alloc_flags=gfp.ALLOC_CMA)
    s.expect("pcp0 o0: M[0 1 2 3 4 5 6 7] \n blocks: CMMM \n owners: ....")


@pytest.mark.parametrize(
    ("listed", "other", "after"),
    [
        (8, 0, "order 1: M[2] \n order 2: M[4] \n order 3: M[8] \n pcp0 o0: M[0 1]"),
        (0, 8, "order 3: M[8] \n pcp0 o3: M[0*]"),
    ],
    ids=["16", "15"],
)
def test_scenario_54_types_rewritten_by_a_merge(listed: int, other: int, after: str) -> None:
    """Scenario 54: the free of a whole M block next to a whole U block of A's gives both type M; tag and listing stay,
    and an M refill of A meets the listed block as the upper (16) or lower (15) half of an order-4 buddy."""
    blocks, owners = ("MUMM", ".0..") if listed else ("UMMM", "0...")
    s = Scenario(
        f"order 3: U[{listed}] \n pcp1 o3: M[{other}] \n blocks: {blocks} \n owned0: {listed} \n owners: {owners}"
    )
    assert s.k.pcp_buddy.owned_blocks_to_recover(s.k, s.pcp(A), M) == []
    s.drain(B)
    s.expect(f"order 4: M[0] \n blocks: MMMM \n owned0: {listed} \n owners: {owners}")
    s.refill(A, 2)
    s.expect(f"{after} \n blocks: MMMM \n owners: {owners}")
