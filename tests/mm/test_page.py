# SPDX-License-Identifier: GPL-2.0-only
"""Page state columns, pageblock types, and the zone of a page."""

from __future__ import annotations

import mmap

import pytest

from pageblock_buddy import BadArgument, Config, System, ZoneConfig, gfp
from pageblock_buddy.mm import page
from pageblock_buddy.mm.kernel import page_zone
from pageblock_buddy.mm.pageblock import get_pageblock_migratetype, pageblock_start_pfn, set_pageblock_migratetype
from tests.helpers import M, U, machine


def test_small_column() -> None:
    """A bytearray, all zero: nothing is known of any page."""
    column = page.new_column(100)
    assert isinstance(column, bytearray)
    assert len(column) == 100
    assert set(column) == {page.PG_NONE}
    page.free_column(column)
    assert len(column) == 100


def test_large_column() -> None:
    """From 4 Mi entries on an anonymous mapping, which costs no memory before it is touched."""
    entries = 1 << 22
    column = page.new_column(entries)
    assert isinstance(column, mmap.mmap)
    assert len(column) == entries
    assert (column[0], column[entries - 1]) == (0, 0)
    column[entries - 1] = page.PG_BUDDY | 4
    assert column[entries - 1] == 0x84
    page.free_column(column)
    with pytest.raises(ValueError, match="closed"):
        column[0]


def test_states_do_not_overlap() -> None:
    """LPA-2.0.13: the mark and the order share a byte."""
    kinds = (page.PG_BUDDY, page.PG_PCP, page.PG_ALLOCATED, page.PG_COMPOUND)
    assert sum(kinds) | page.PG_ORDER_MASK == 0xFF
    assert all(kind & page.PG_ORDER_MASK == 0 for kind in kinds)


def test_large_machines_boot_without_memory() -> None:
    """64 GiB: 16 Mi pages in a mapped column, and the free lists hold order-10 blocks only behind the first MiB."""
    system = System.boot(Config.pc(64 * 1024))
    normal = system.zones[2]
    assert isinstance(system.kernel.mem_map, mmap.mmap)
    assert normal.free_area[10].nr_free == (1 << 24) // 1024 - 1024
    assert system.alloc_pages(gfp.GFP_KERNEL) == 1 << 20
    page.free_column(system.kernel.mem_map)


def test_pageblock_types() -> None:
    """LPA-2.0.4, LPA-1.0.6: one per pageblock, for any page of it."""
    k = machine().kernel
    set_pageblock_migratetype(k, 13, U)
    assert [get_pageblock_migratetype(k, pfn) for pfn in (7, 8, 15, 16)] == [M, U, U, M]
    assert [pageblock_start_pfn(k, pfn) for pfn in (7, 8, 15, 16)] == [0, 8, 8, 16]
    big = System.boot(Config.pc(8)).kernel
    assert (big.block_pages, pageblock_start_pfn(big, 1535)) == (512, 1024)


def test_page_zone() -> None:
    """The zone that spans the PFN; BadArgument between and behind the zones."""
    zones = (
        ZoneConfig(zone=gfp.ZONE_NORMAL, node=1, start_pfn=8, spanned_pages=8),
        ZoneConfig(zone=gfp.ZONE_NORMAL, node=0, start_pfn=32, spanned_pages=16),
    )
    k = System.boot(Config(zones=zones, pageblock_order=3, max_page_order=4)).kernel
    assert [z.node for z in k.zones] == [0, 1]  # for_each_zone(): node by node
    assert [page_zone(k, pfn).node for pfn in (8, 15, 32, 47)] == [1, 1, 0, 0]
    for pfn in (0, 7, 16, 31, 48, -1):
        with pytest.raises(BadArgument) as caught:
            page_zone(k, pfn)
        assert caught.value.details["pfn"] == pfn


def test_huge_page_order() -> None:
    """LPA-1.0.7, LPA-1.0.8: HPAGE_PMD_ORDER is the pageblock's order; with a small pageblock, or without THP, there
    is none."""
    assert System.boot(Config.pc(8)).kernel.hpage_order == 9
    assert System.boot(Config.pc(8, thp=False)).kernel.hpage_order is None
    assert machine().kernel.hpage_order is None


def test_types_without_mobility_grouping() -> None:
    """Decision D-05: the stored type does not change, so that lists and pageblocks keep one type."""
    k = machine(page_group_by_mobility_disabled=True).kernel
    stored = []
    for mt in range(6):
        set_pageblock_migratetype(k, 0, mt)
        stored.append(get_pageblock_migratetype(k, 0))
    assert stored == [0, 1, 2, 3, 4, 5]
