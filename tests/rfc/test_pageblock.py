# SPDX-License-Identifier: GPL-2.0-only
"""struct pageblock_data: owner, listing, type; and the four writes that refill and drain make to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pageblock_buddy import Config, System, gfp
from pageblock_buddy.errors import LockNotHeld
from pageblock_buddy.mm.pageblock import pbd_migratetype, pfn_to_pageblock
from pageblock_buddy.rfc import pageblock
from tests.helpers import I, M, R, U, assert_zone, config, fill, locked, machine, pcp_of, small_zone


def rfc(text: str, **overrides: Any) -> System:
    """Four pageblocks and two CPUs."""
    return machine(text, 32, variant="rfc", **({"nr_cpus": 2} | overrides))


# --- the structure -----------------------------------------------------------------------------


def test_nobody_owns_anything_at_boot() -> None:
    """RFC-3.2: 0 is nobody."""
    system = System.boot(Config.small(32, nr_cpus=2), variant="rfc")
    assert_zone(system, "order 4: M[0 16] \n owners: ....")


def test_pageblock_data_of_any_page() -> None:
    """RFC-3.1, RFC-3.2, RFC-3.3, RFC-3.4: PFN 13 is in the block at 8, which CPU 1 (+ 1) owns and has listed."""
    system = rfc("alloc: 13/0 \n blocks: MUMM \n owners: .1.. \n owned1: 8")
    pbd = pfn_to_pageblock(system.kernel, 13)
    assert (pbd.block_pfn, pbd.cpu, pbd.cpu_node, pbd.flags) == (8, 2, 2, U)
    assert pbd_migratetype(system.kernel, pbd) == U
    other = pfn_to_pageblock(system.kernel, 7)
    assert (other.block_pfn, other.cpu, other.cpu_node, other.flags) == (0, 0, 0, M)


def test_migratetype_of_an_isolated_block() -> None:
    """RFC-3.5, RFC-8.7: pbd_migratetype() says ISOLATE while the bit is set; the type below it, the tag and the listing
    outlive the isolation."""
    system = rfc("order 0: R[9] \n alloc: 8/0 \n blocks: MRMM \n owners: .0.. \n owned0: 8")
    pbd = pfn_to_pageblock(system.kernel, 8)
    assert system.isolate_pageblock(8)
    assert pbd_migratetype(system.kernel, pbd) == I
    assert_zone(system, "order 0: I[9] \n alloc: 8/0 \n blocks: MIMM \n owners: .0.. \n owned0: 8")
    system.unisolate_pageblock(8)
    assert pbd_migratetype(system.kernel, pbd) == R
    assert_zone(system, "order 0: R[9] \n alloc: 8/0 \n blocks: MRMM \n owners: .0.. \n owned0: 8")


# --- zone->lock --------------------------------------------------------------------------------


def set_owner(system: System) -> None:
    pageblock.set_pageblock_owner(system.kernel, system.zones[0], 8, 1)


def list_block(system: System) -> None:
    pageblock.list_owned_block(system.kernel, system.zones[0], pcp_of(system), 8)


def unlist_block(system: System) -> None:
    pageblock.unlist_owned_block(system.kernel, system.zones[0], 0)


@pytest.mark.parametrize("write", [set_owner, list_block, unlist_block])
def test_writes_want_zone_lock(write: Callable[[System], None]) -> None:
    """RFC-3.21, RFC-11.9: without it, or held by somebody else, nothing is written."""
    before = "alloc: 0/0 8/0 \n owners: 00.. \n owned0: 0"
    system = rfc(before)
    with pytest.raises(LockNotHeld):
        write(system)
    with system.on_cpu(1):
        system.zones[0].lock.lock()
    with pytest.raises(LockNotHeld):
        write(system)
    with system.on_cpu(1):
        system.zones[0].lock.unlock()
    assert_zone(system, before)


# --- claim and disown --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owners", "listed"),
    [("....", ""), (".1..", ""), (".1..", "owned1: 0 8 16"), (".0..", "owned0: 8")],
    ids=["nobody's", "another's", "on another's list", "on the own list"],
)
def test_claim(owners: str, listed: str) -> None:
    """RFC-5.22, RFC-5.23, RFC-5.29, RFC-8.13: the tag is CPU 0's + 1, and the block is on no list any more, its former
    owner's or the claimer's own; the neighbours on that list stay."""
    others = "1." if listed == "owned1: 0 8 16" else ".."
    before = f"order 3: M[8] \n alloc: 0/0 16/0 \n owners: {others[0]}{owners[1]}{others[0]}. \n {listed}"
    system = rfc(before)
    with locked(system.zones[0]):
        pageblock.claim_pageblock(system.kernel, system.zones[0], pcp_of(system), 8)
    rest = "owned1: 0 16" if others[0] == "1" else ""
    assert_zone(system, f"order 3: M[8] \n alloc: 0/0 16/0 \n owners: {others[0]}0{others[0]}. \n {rest}")
    assert pfn_to_pageblock(system.kernel, 8).cpu_node == 0


def test_disown() -> None:
    """RFC-7.12, RFC-7.14, RFC-11.3: nobody's, and on no list: any page of the block says which one it is."""
    system = rfc("alloc: 0/0 8/3 16/0 \n owners: 000. \n owned0: 16 8 0")
    with locked(system.zones[0]):
        pageblock.disown_pageblock(system.kernel, system.zones[0], 8)
    assert_zone(system, "alloc: 0/0 8/3 16/0 \n owners: 0.0. \n owned0: 16 0")


# --- the list ----------------------------------------------------------------------------------


def test_listing_is_at_the_tail() -> None:
    """RFC-7.16, RFC-3.7."""
    system = rfc("alloc: 0/0 8/0 16/0 \n owners: 000. \n owned0: 16 0")
    with locked(system.zones[0]):
        pageblock.list_owned_block(system.kernel, system.zones[0], pcp_of(system), 8)
    assert_zone(system, "alloc: 0/0 8/0 16/0 \n owners: 000. \n owned0: 16 0 8")


def test_a_listed_block_keeps_its_place() -> None:
    """RFC-7.16: only if it is not linked yet, wherever it is on the list."""
    drawing = "alloc: 0/0 8/0 16/0 \n owners: 000. \n owned0: 16 0 8"
    system = rfc(drawing)
    for block_pfn in (16, 0, 8):
        with locked(system.zones[0]):
            pageblock.list_owned_block(system.kernel, system.zones[0], pcp_of(system), block_pfn)
        assert_zone(system, drawing)


def test_an_unlisted_block_can_be_listed_again() -> None:
    """RFC-5.13, RFC-7.16: the unlink leaves a node that shows it; now the block is the last one."""
    system = rfc("alloc: 0/0 8/0 16/0 \n owners: 000. \n owned0: 16 0 8")
    with locked(system.zones[0]):
        pageblock.unlist_owned_block(system.kernel, system.zones[0], 16)
    assert_zone(system, "alloc: 0/0 8/0 16/0 \n owners: 000. \n owned0: 0 8")
    with locked(system.zones[0]):
        pageblock.unlist_owned_block(system.kernel, system.zones[0], 16)
        pageblock.list_owned_block(system.kernel, system.zones[0], pcp_of(system), 16)
    assert_zone(system, "alloc: 0/0 8/0 16/0 \n owners: 000. \n owned0: 0 8 16")


def test_unlisting_needs_no_owner_s_lock() -> None:
    """RFC-3.21: CPU 1's block is unlisted although CPU 1 holds its pcp->lock; zone->lock alone guards the list."""
    system = rfc("alloc: 0/0 8/0 \n owners: 01.. \n owned0: 0 \n owned1: 8")
    with system.on_cpu(1):
        pcp_of(system, 1).lock.lock()
    with locked(system.zones[0]):
        pageblock.unlist_owned_block(system.kernel, system.zones[0], 8)
    with system.on_cpu(1):
        pcp_of(system, 1).lock.unlock()
    assert_zone(system, "alloc: 0/0 8/0 \n owners: 01.. \n owned0: 0")


@pytest.mark.parametrize(("mt", "blocks"), [(U, [0, 16]), (M, [24]), (R, [])])
def test_blocks_to_recover(mt: int, blocks: list[int]) -> None:
    """RFC-5.10, RFC-5.11: those of the request's type, as the list has them (24 is the head), and of this CPU alone;
    looking at them unlists nothing."""
    drawing = "alloc: 0/0 8/0 16/0 24/0 \n blocks: UUUM \n owners: 0100 \n owned0: 24 0 16 \n owned1: 8"
    system = rfc(drawing)
    with locked(system.zones[0]):
        assert pageblock.owned_blocks_to_recover(system.kernel, pcp_of(system), mt) == blocks
    assert_zone(system, drawing)


def test_each_zone_has_its_own_lists() -> None:
    """RFC-3.7, RFC-11.3: the pageset of the block's zone has it."""
    zones = (
        small_zone(gfp.ZONE_DMA, 0, 16, managed_pages=16, reserved=((0, 16),)),
        small_zone(gfp.ZONE_DMA32, 16, 16, managed_pages=16, reserved=((16, 16),)),
    )
    system = System.boot(config(zones=zones, vm_stat_threshold=0), variant="rfc")
    dma32 = system.zones[1]
    fill(system, "alloc: 0/0 16/0 24/0 \n owners: 0.")
    fill(system, "owners: 00", dma32)
    for zone, pfn in ((system.zones[0], 0), (dma32, 24), (dma32, 16)):
        with locked(zone):
            pageblock.list_owned_block(system.kernel, zone, zone.per_cpu_pageset[0], pfn)
    assert_zone(system, "alloc: 0/0 \n owners: 0. \n owned0: 0")
    assert_zone(system, "alloc: 16/0 24/0 \n owners: 00 \n owned0: 24 16", dma32)
