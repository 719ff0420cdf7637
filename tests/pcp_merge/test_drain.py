# SPDX-License-Identifier: GPL-2.0-only
"""Variant pcp-merge: a drain merges its victims among themselves before it takes zone->lock."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pageblock_buddy import System
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone
from tests.helpers import MOVABLE, assert_zone, config, machine, pcp_of, traced
from tests.rfc_trylock.locks import Locks


def pcp_merge(text: str, **overrides: Any) -> System:
    """Four pageblocks and two CPUs."""
    return machine(text, 32, variant="pcp-merge", **({"nr_cpus": 2} | overrides))


def drain(system: System, count: int, pindex: int = 0) -> int:
    """free_pcppages_bulk() of CPU 0's lists; the pages that went."""
    k = system.kernel
    return k.calls.free_pcppages_bulk(k, system.zones[0], count, pcp_of(system), pindex)


def freed(system: System, count: int, pindex: int = 0) -> list[tuple[int, int]]:
    """(PFN, order) of what a drain gives to the zone, in order."""
    log = traced(system)
    drain(system, count, pindex)
    return [(int(event[4]), int(event[2])) for event in log.take() if event[0] == "drain"]


def test_victims_merge() -> None:
    """RFC-10.17: 8 and 9 are one operation under zone->lock, and the zone's list has them as one."""
    system = pcp_merge("pcp0 o0: M[9 8]")
    assert freed(system, 2) == [(8, 1)]
    assert_zone(system, "order 1: M[8]")
    assert pcp_of(system).count == 0


def test_bottom_up_to_a_pageblock() -> None:
    """RFC-10.17: single pages and larger blocks; at most pageblock_order: the two blocks merge in the zone only."""
    system = pcp_merge("pcp0 o0: M[0 1 2 3 8 9] \n pcp0 o1: M[10] \n pcp0 o2: M[12 4]")
    assert freed(system, 16) == [(8, 3), (0, 3)]
    assert_zone(system, "order 4: M[0]")


@pytest.mark.parametrize(("pages", "larger"), [("10", "8"), ("8", "10"), ("11", "8")])
def test_two_orders_do_not_merge(pages: str, larger: str) -> None:
    """RFC-10.17, LPA-4.1.1: where the buddy of the order-1 block is there, it is a single page of it."""
    system = pcp_merge(f"pcp0 o0: M[{pages}] \n pcp0 o1: M[{larger}]")
    assert freed(system, 3) == [(int(pages), 0), (int(larger), 1)]
    assert_zone(system, f"order 0: M[{pages}] \n order 1: M[{larger}]")


def test_only_victims_merge() -> None:
    """RFC-10.17: page 9 stays on the PCP (two pages are asked for, the oldest): 8 goes alone."""
    system = pcp_merge("pcp0 o0: M[9 8 4]")
    assert freed(system, 2) == [(4, 0), (8, 0)]
    assert_zone(system, "order 0: M[8 4] \n pcp0 o0: M[9]")


def test_victims_are_today_s() -> None:
    """RFC-10.17, LPA-8.5.1, LPA-8.5.2, LPA-8.5.3: from the given list on, cyclically, each from its tail: five of seven
    pages."""
    system = pcp_merge("pcp0 o0: U[0] M[8 16 18] R[24] \n pcp0 o1: M[12] \n blocks: UMMR")
    assert freed(system, 5, 1) == [(18, 0), (16, 0), (8, 0), (24, 0), (12, 1)]
    assert_zone(system, "order 0: M[8 16 18] R[24] \n order 1: M[12] \n pcp0 o0: U[0] \n blocks: UMMR")


def test_lists_of_different_types() -> None:
    """RFC-10.17, LPA-8.5.4: victims of one block on two lists, since its type changed, merge, and go by the block's
    type now."""
    system = pcp_merge("pcp0 o0: U[8] M[9] \n blocks: MRMM")
    assert freed(system, 2) == [(8, 1)]
    assert_zone(system, "order 1: R[8] \n blocks: MRMM")


def test_order_of_freeing() -> None:
    """RFC-10.18: in the order in which the first victim of each was taken: 1 (the oldest, with 0, which was taken
    third), then 18, then 10 with 11."""
    system = pcp_merge("pcp0 o0: M[10 11 0 18 1]")
    assert freed(system, 5) == [(0, 1), (18, 0), (10, 1)]
    assert_zone(system, "order 0: M[18] \n order 1: M[10 0]")


def test_order_of_freeing_of_larger_blocks() -> None:
    """RFC-10.18: a block merged twice has the place of the first of its four pages; list 3 (order 1) comes after."""
    system = pcp_merge("pcp0 o0: M[9 10 16 11 8] \n pcp0 o1: M[20]")
    assert freed(system, 7) == [(8, 2), (16, 0), (20, 1)]
    assert_zone(system, "order 0: M[16] \n order 1: M[20] \n order 2: M[8]")


def test_merging_needs_no_zone_lock() -> None:
    """RFC-10.17: the victims are off the lists before zone->lock is taken; one hold; today's drain does it all under
    the lock."""
    system = pcp_merge("pcp0 o0: M[8 9 16]")
    locks = Locks(system)
    seen: list[int] = []
    locks.at("+zone", lambda: seen.append(pcp_of(system).count))
    assert drain(system, 3) == 3
    assert seen == [0]
    assert locks.take() == "+zone -zone"


@pytest.mark.parametrize(("variant", "operations"), [("linux-7.0", 8), ("pcp-merge", 1)])
def test_fewer_operations_under_the_lock(variant: str, operations: int) -> None:
    """RFC-10.16, RFC-10.17: eight pages of one block: __free_one_page() eight times today, once here; the zone is the
    same."""
    system = machine("pcp0 o0: M[8 9 10 11 12 13 14 15]", 32, variant=variant)
    k = system.kernel
    real = k.calls._free_one_page
    calls: list[tuple[int, int]] = []

    def count(k: Kernel, pfn: int, zone: Zone, order: int, mt: int, fpi_flags: int) -> None:
        zone.lock.assert_held()
        calls.append((pfn, order))
        real(k, pfn, zone, order, mt, fpi_flags)

    k.calls = dataclasses.replace(k.calls, _free_one_page=count)
    drain(system, 8)
    assert len(calls) == operations
    assert_zone(system, "order 3: M[8]")


def test_pages_on_other_cpus_do_not_merge() -> None:
    """RFC-10.16: without owners a block's pages are where they were freed: 8 on CPU 0, 9 on CPU 1; each drain merges
    its own victims, and these two meet in the zone."""
    system = pcp_merge("alloc: 8/0 9/0")
    system.free_pages(8)
    with system.on_cpu(1):
        system.free_pages(9)
    assert_zone(system, "pcp0 o0: M[8] \n pcp1 o0: M[9] \n owners: ....")
    log = traced(system)
    system.drain_all_pages()
    assert [event[3:] for event in log.take() if event[0] == "drain"] == [(1, 8), (1, 9)]
    assert_zone(system, "order 1: M[8]")


def test_a_free_drains() -> None:
    """RFC-10.17, LPA-8.4.27: high 8: the eighth page drains two, the oldest, which are buddies."""
    system = pcp_merge("pcp0 o0: M[2 4 10 12 20 9 8] \n alloc: 24/0")
    log = traced(system)
    system.free_pages(24)
    assert log.take() == [("drain", 0, 1, 1, 8)]
    assert_zone(system, "order 1: M[8] \n pcp0 o0: M[24 2 4 10 12 20]")


def test_more_than_there_is() -> None:
    """LPA-8.5.1: and nothing at all."""
    system = pcp_merge("pcp0 o0: M[8]")
    assert drain(system, 99) == 1
    assert drain(system, 99) == 0
    assert_zone(system, "order 0: M[8]")
    assert system.zones[0].lock.owner is None


def test_holds_of_zone_lock_are_those_of_linux_7_0() -> None:
    """RFC-10.17: the same load takes zone->lock as often, and ends in a zone with the same pages."""
    results = {}
    for variant in ("linux-7.0", "pcp-merge"):
        system = System.boot(config(64, reserved=()), variant=variant)
        locks = Locks(system)
        pages = [system.alloc_pages(MOVABLE) for _ in range(40)]
        for pfn in pages:
            assert pfn is not None
            system.free_pages(pfn)
        system.drain_all_pages()
        results[variant] = locks.holds("zone"), [area.nr_free for area in system.zones[0].free_area]
        system.validate()
    assert results["pcp-merge"] == results["linux-7.0"]
    assert results["pcp-merge"][1] == [0, 0, 0, 0, 4]


def test_refills_are_today_s() -> None:
    """RFC-10.17: one function is replaced."""
    system = pcp_merge("order 1: M[8] \n order 3: M[16]")
    assert system.alloc_pages(MOVABLE) == 8
    assert_zone(system, "order 3: M[16] \n pcp0 o0: M[9] \n alloc: 8/0")
