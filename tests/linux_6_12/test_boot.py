# SPDX-License-Identifier: GPL-2.0-only
"""Boot: what is on which list before the first allocation."""

from __future__ import annotations

from typing import Any

import pytest

from pageblock_buddy import Config, System, ZoneConfig, gfp
from pageblock_buddy.linux_6_12 import boot as boot_module
from pageblock_buddy.linux_6_12 import buddy
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone
from tests.helpers import MOVABLE, UNMOVABLE, assert_zone


def boot(start: int = 0, pages: int = 64, **fields: Any) -> System:
    """One zone of DMA32."""
    zone = ZoneConfig(
        zone=gfp.ZONE_DMA32,
        start_pfn=start,
        spanned_pages=pages,
        batch=2,
        high_min=8,
        high_max=8,
        watermark=(0, 0, 0, 0),
        **fields,
    )
    return System.boot(Config(zones=(zone,), pageblock_order=3, max_page_order=4))


def test_lists_start_ascending() -> None:
    """LPA-12.0.4, LPA-12.0.1, LPA-4.3.8: everything MOVABLE, freed ascending to the tail: the head is the lowest
    PFN."""
    system = boot()
    assert_zone(system, "order 4: M[0 16 32 48] \n blocks: MMMMMMMM \n alloc:")
    zone = system.zones[0]
    assert (zone.present_pages, zone.managed_pages, zone.nr_free_pages) == (64, 64, 64)
    assert (system.kernel.pgfree, system.kernel.pgalloc) == (0, [0] * 5)
    assert zone.per_cpu_zonestats[0].nr_free_pages_diff == 0


def test_unaligned_zone() -> None:
    """LPA-12.0.3, LPA-12.0.2: 3..30.  3 and 4..7 are in the block 0..7, whose first page is not in the zone: UNMOVABLE.
    Then 8 and 16 (order 3), 24 (order 2), 28 (order 1), 30: each chunk as large as its PFN and the end allow."""
    system = boot(3, 28)
    assert_zone(
        system, "order 0: U[3] M[30] \n order 1: M[28] \n order 2: U[4] M[24] \n order 3: M[8 16] \n blocks: UMMM"
    )


def test_zone_dma_starts_at_1() -> None:
    """LPA-1.0.12, LPA-12.0.2, LPA-12.0.3: the pages 1..7 are in a pageblock without its first page: UNMOVABLE."""
    system = boot(1, 31)
    assert_zone(
        system, "order 0: U[1] \n order 1: U[2] \n order 2: U[4] \n order 3: M[8] \n order 4: M[16] \n blocks: UMMM"
    )


def test_pfn_0() -> None:
    """LPA-12.0.3: pfn 0 is aligned to everything; the chunk is cut to the end of memory: 0..10 is 8 + 2 + 1."""
    assert_zone(boot(0, 11), "order 0: M[10] \n order 1: M[8] \n order 3: M[0] \n blocks: MM")


def test_holes() -> None:
    """LPA-12.0.2, LPA-12.0.3, LPA-4.1.2: the hole 20..41 has no memory.  The blocks 24..31, 32..39 and 40..47 begin in
    it and keep UNMOVABLE; 16..23 begins in memory."""
    system = boot(holes=((20, 22),))
    assert_zone(
        system,
        """
        order 1: U[42]
        order 2: M[16] U[44]
        order 4: M[0 48]
        blocks: MMMUUUMM
        """,
    )
    assert (system.zones[0].present_pages, system.zones[0].managed_pages) == (42, 42)


def test_hole_at_the_start_of_a_block() -> None:
    """LPA-12.0.2: a hole of one page, the first of 8..15; and one that ends with a block's start."""
    system = boot(0, 32, holes=((8, 1), (20, 4)))
    assert_zone(system, "order 0: U[9] \n order 1: U[10] \n order 2: U[12] M[16] \n order 3: M[0 24] \n blocks: MUMM")


def test_reserved_memory() -> None:
    """Decision D-03: memory that boot allocations took is present and MOVABLE, but never freed to the lists."""
    system = boot(0, 32, reserved=((0, 5), (16, 16)))
    assert_zone(system, "order 0: M[5] \n order 1: M[6] \n order 3: M[8] \n blocks: MMMM")
    assert (system.zones[0].present_pages, system.zones[0].managed_pages) == (32, 11)


def test_ranges_that_touch() -> None:
    """Holes and reserved memory side by side, up to the zone's end."""
    system = boot(0, 32, holes=((4, 4), (24, 8)), reserved=((8, 2), (16, 4), (20, 4)))
    assert_zone(system, "order 1: M[10] \n order 2: M[0 12] \n blocks: MMMU")


def test_cma() -> None:
    """LPA-13.0.1, LPA-1.0.9: CMA blocks are freed after the rest, pageblock by pageblock; two neighbours merge."""
    system = boot(0, 64, cma=((16, 24),))
    assert_zone(system, "order 3: M[40] C[32] \n order 4: M[0 48] C[16] \n blocks: MMCCCMMM")
    assert (system.zones[0].nr_free_cma, system.zones[0].nr_free_pages) == (24, 64)


def test_several_zones() -> None:
    """LPA-12.0.3: zone by zone; a pageblock that two zones share has its type from the one that holds its first
    page."""
    zones = tuple(
        ZoneConfig(zone=idx, start_pfn=start, spanned_pages=pages, watermark=(0, 0, 0, 0))
        for idx, start, pages in ((gfp.ZONE_DMA, 0, 12), (gfp.ZONE_DMA32, 12, 20))
    )
    system = System.boot(Config(zones=zones, pageblock_order=3, max_page_order=4))
    assert_zone(system, "order 2: M[8] \n order 3: M[0] \n blocks: MM")
    assert_zone(system, "order 2: M[12] \n order 4: M[16] \n blocks: MMM", system.zones[1])


def test_boot_allocations_take_the_low_end() -> None:
    """LPA-12.0.9: UNMOVABLE claims the whole order-4 block at the head, 0..15; MOVABLE then starts at 16."""
    system = boot()
    assert system.alloc_pages(UNMOVABLE) == 0
    assert system.alloc_pages(MOVABLE) == 16
    assert system.kernel.pageblock_flags[:4] == bytes([0, 0, 1, 1])


def test_an_x86_machine() -> None:
    """LPA-1.0.2, LPA-1.0.4, LPA-1.0.6, LPA-1.0.12, LPA-12.0.4: 20 MiB: DMA 1..4095 and DMA32 4096..5119; DMA's first
    block lacks page 0."""
    system = System.boot(Config.pc(20))
    dma, dma32 = system.zones
    assert (dma.zone_start_pfn, dma.end_pfn, dma32.zone_start_pfn, dma32.end_pfn) == (1, 4096, 4096, 5120)
    assert [area.free_list[1].to_list() for area in dma32.free_area] == [[]] * 10 + [[4096]]
    assert dma.free_area[10].free_list[1].to_list() == [1024, 2048, 3072]
    assert dma.free_area[9].free_list[1].to_list() == [512]
    assert [area.free_list[0].to_list() for area in dma.free_area] == [[1 << order] for order in range(9)] + [[], []]
    system.validate()


def test_order_of_a_zone_s_parts() -> None:
    """LPA-12.0.10: the marks are computed from the free memory; until then the pageset is the boot pageset."""
    system = System.boot(Config.pc(20))
    assert system.zones[1].watermark[0] > 0
    assert system.zones[1].per_cpu_pageset[0].batch == 1
    assert system.zones[1].per_cpu_pageset[0].high == 0


def test_pageblock_order_0() -> None:
    """A pageblock of one page: every order is larger than a pageblock."""
    zone = ZoneConfig(zone=1, start_pfn=0, spanned_pages=8, watermark=(0, 0, 0, 0))
    system = System.boot(Config(zones=(zone,), pageblock_order=0, max_page_order=2))
    assert_zone(system, "order 2: M[0 4] \n blocks: MMMMMMMM")


@pytest.mark.parametrize("holes", [(), ((20, 22),), ((8, 1),)])
def test_large_chunks_end_as_if_freed_piece_by_piece(monkeypatch: pytest.MonkeyPatch, holes: tuple[Any, ...]) -> None:
    """LPA-4.3.8: the short cut for whole chunks of the largest order leaves the same state."""
    short = boot(pages=100, holes=holes)

    def piece_by_piece(k: Kernel, zone: Zone, pfn: int, order: int) -> None:
        zone.lock.lock()
        buddy.split_large_buddy(k, zone, pfn, order, gfp.FPI_TO_TAIL)
        zone.lock.unlock()

    monkeypatch.setattr(boot_module, "_free_pages_core", piece_by_piece)
    assert boot(pages=100, holes=holes).digest() == short.digest()
