# SPDX-License-Identifier: GPL-2.0-only
"""Scenarios 63 to 66: variant llist, [03/40]."""

from __future__ import annotations

from typing import Any

import pytest

from pageblock_buddy import Context
from pageblock_buddy.errors import ModelBug
from pageblock_buddy.invariants import validate_dead_cpus
from pageblock_buddy.linux_6_12 import drain as linux_6_12_drain
from pageblock_buddy.llist.pcp import absorb_remote_frees
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages
from pageblock_buddy.rfc import variant as rfc
from tests.rfc.scenario import A, B, C, Scenario

OWNED = "owners: 0..."
#: B0 is A's; 3 is in use (66) or on A's llist (65), the rest on pA
ALL_BUT_3 = "pcp0 o0: M[2*] \n pcp0 o1: M[0*] \n pcp0 o2: M[4*] \n owners: 0..."


def isolated_with_a_page_on_the_llist() -> Scenario:
    """C has freed a page of A's block, which is isolated now; A's count is 0."""
    s = Scenario(OWNED, variant="llist")
    s.free(C, 0)
    assert s.pcp(A).count == 0
    assert s.system.isolate_pageblock(0)
    s.expect("llist0: 0/0 \n blocks: IMMM \n owners: 0...")
    return s


def test_scenario_63_drain_all_looks_at_the_llist() -> None:
    """Scenario 63 (D-27): A, whose count is 0, is drained: the page gets to the ISOLATE list."""
    s = isolated_with_a_page_on_the_llist()
    with s.system.on_cpu(C):
        s.system.drain_all_pages()
    s.expect("order 0: I[0] \n blocks: IMMM \n owned0: 0 \n owners: 0...")


def test_scenario_63_by_count_alone() -> None:
    """Scenario 63: today's drain_all_pages() passes A over, however often it is called: isolation never completes."""
    s = isolated_with_a_page_on_the_llist()
    with s.replaced(drain_all_pages=linux_6_12_drain.drain_all_pages), s.system.on_cpu(C):
        s.system.drain_all_pages()
        s.system.drain_all_pages()
    assert "C locks A" not in s.log
    s.expect("llist0: 0/0 \n blocks: IMMM \n owners: 0...")


def test_scenario_64_push_to_a_dead_cpu() -> None:
    """Scenario 64 (D-27): A goes offline between C's read and its push; C looks again after the push and gives what
    is on the llist to the zone."""
    s = Scenario("pcp0 o0: M[1*] \n owners: 0...", variant="llist")
    s.at("C pushes A", lambda: s.offline(A, by=B))
    s.free(C, 0)
    s.expect("order 1: M[0] \n owners: ....")


def test_scenario_64_without_the_second_look() -> None:
    """Scenario 64: else the page is stranded on a dead CPU's llist; drain_all_pages() passes a dead CPU over."""
    s = Scenario("pcp0 o0: M[1*] \n owners: 0...", variant="llist")
    s.at("C pushes A", lambda: s.offline(A, by=B))
    with s.replaced(still_routed=lambda *_: True):
        s.free(C, 0)
    with s.system.on_cpu(C):
        s.system.drain_all_pages()
    assert s.pcp(A).free_llist.to_list() == [(0, 0)]
    with pytest.raises(ModelBug, match="dead_cpus"):
        s.system.validate()


def test_scenario_64_push_between_the_last_absorb_and_the_disown() -> None:
    """Scenario 64, sharpened: a push takes no lock, so it can also come while A's blocks are about to lose their
    owner. C still reads A then, before and after its push; the CPU that takes A offline has to look at the llist
    once more.  Not so in rfc, where pA's lock is held from the last drain to the disown."""
    s = Scenario("pcp0 o0: M[1*] \n owners: 0...", variant="llist")
    s.at("B unlocks Z", lambda: s.free(C, 0), nth=2)  # the first is the drain's, the second that of the last absorb
    with s.recorded("still_routed") as looks:
        s.offline(A, by=B)
    assert [look.result for look in looks] == [True]
    s.expect("order 1: M[0] \n owners: ....")


def test_scenario_64_the_same_moment_in_rfc() -> None:
    """Scenario 64: there C waits for pA's lock, which B holds."""
    s = Scenario("pcp0 o0: M[1*] \n owners: 0...")
    edges = []
    s.at("B unlocks Z", lambda: edges.append(s.waits_for(C, lambda: s.system.free_pages(0))), nth=2)
    s.offline(A, by=B)
    assert edges == [("pcp->lock", B)]


def test_scenario_64_offline_keep_strands_them() -> None:
    """Scenario 64 (and 44): with offline-keep nobody looks after a dead CPU's llist."""
    s = Scenario(OWNED, variant="llist+offline-keep")
    s.offline(A, by=B)
    s.free(C, 0)
    with s.system.on_cpu(C):
        s.system.drain_all_pages()
    s.expect("llist0: 0/0 \n owners: 0...")
    with pytest.raises(ModelBug, match="dead_cpus"):
        validate_dead_cpus(s.k)


def test_scenario_65_absorb_merge_drain() -> None:
    """Scenario 65 (RFC-9.13): the page on the llist is absorbed before the merge pass: the block is whole and
    disowned."""
    s = Scenario(f"{ALL_BUT_3} \n llist0: 3/0", variant="llist")
    s.drain(A)
    s.expect("order 3: M[0] \n owners: ....")


def test_scenario_65_in_a_flush() -> None:
    """Scenario 65: a flush absorbs, too: A's own free reaches high, and with the page on the llist the block is
    whole."""
    s = Scenario("pcp0 o1: M[0*] \n pcp0 o2: M[4*] \n llist0: 3/0 \n owners: 0...", variant="llist", high=7)
    s.free(A, 2)
    s.expect("order 3: M[0] \n owners: ....")


def test_scenario_65_absorbed_in_the_order_of_the_frees() -> None:
    """Scenario 65 (D-27): the newest free comes to the head, as if each had been freed there."""
    s = Scenario(OWNED, variant="llist")
    s.free(C, 0, 5, 3)
    s.expect("llist0: 3/0 5/0 0/0 \n owners: 0...")
    assert s.alloc(A) == 3
    s.expect("pcp0 o0: M[5* 0*] \n owners: 0...")


def test_scenario_65_merge_absorb_drain() -> None:
    """Scenario 65: absorbed after the merge pass it keeps the block partial: listed, still owned, in pieces."""
    s = Scenario(f"{ALL_BUT_3} \n llist0: 3/0", variant="llist")
    real = s.k.pcp_buddy.merge_pcp_buddies

    def merge_then_absorb(k: Kernel, pcp: PerCpuPages) -> int:
        merges = real(k, pcp)
        absorb_remote_frees(k, pcp)
        return merges

    late: dict[str, Any] = {
        "merge_pcp_buddies": merge_then_absorb,
        "free_pcppages_bulk": rfc.CALLS.free_pcppages_bulk,
        "drain_pages_zone": linux_6_12_drain.drain_pages_zone,
    }
    with s.replaced(**late):
        s.drain(A)
        s.expect("order 0: M[2] \n order 1: M[0] \n order 2: M[4] \n pcp0 o0: M[3*] \n owned0: 0 \n owners: 0...")
        s.drain(A)
    s.expect("order 3: M[0] \n owned0: 0 \n owners: 0...")


@pytest.mark.parametrize("context", [Context.SOFTIRQ, Context.HARDIRQ, Context.NMI])
def test_scenario_66_interrupt_on_the_owner_itself(context: Context) -> None:
    """Scenario 66 (RFC-9.15): pA's lock is held by the interrupted code: the zone, as in 31, not A's own llist.  With
    FPI_TRYLOCK and a busy zone->lock it is the zone's llist.  Another CPU's interrupt pushes."""
    s = Scenario(ALL_BUT_3, variant="llist")
    with s.holding(A):
        s.free(A, 3, context=context)
    assert "A misses A" in s.log
    s.expect(f"order 0: M[3] \n {ALL_BUT_3}")
    s = Scenario(ALL_BUT_3, variant="llist")
    with s.holding(A), s.holding(B, s.zone.lock):
        s.free_nolock(A, 3, context=context)
    s.expect(f"{ALL_BUT_3} \n zllist: 3/0")
    s = Scenario(ALL_BUT_3, variant="llist")
    with s.holding(A):
        s.log.clear()
        s.free(C, 3, context=context)
        assert s.log == []
    s.expect(f"{ALL_BUT_3} \n llist0: 3/0")
