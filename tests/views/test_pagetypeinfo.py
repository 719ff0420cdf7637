# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pageblock_buddy import Config, System, ZoneConfig
from pageblock_buddy import gfp as g
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.snapshot import BLOCK_NO_MEMMAP
from pageblock_buddy.views import render
from tests.views import golden


def free_row(k: Kernel, mt: int, row: int = 0) -> str:
    rows = [line for line in render(k, "pagetypeinfo").splitlines() if g.MIGRATETYPE_NAMES[mt] + " " in line]
    return [line for line in rows if line.startswith("Node ")][row]


def block_counts(text: str) -> list[list[int]]:
    """The rows of all tables "Number of blocks type"."""
    return [
        [int(count) for count in row.split()] for row in re.findall(r"(?m)^Node \d+, zone +\w+ ((?: +\d+)+) $", text)
    ]


@pytest.mark.parametrize("name", golden.EXACT)
def test_equals_the_kernels_text(name: str) -> None:
    assert render(golden.boot(name), "pagetypeinfo") == golden.kernel_text(name, "start", "pagetypeinfo")


@pytest.mark.parametrize("name", golden.ALL)
def test_block_counts_equal_the_kernels(name: str) -> None:
    ours = render(golden.boot(name), "pagetypeinfo")
    theirs = golden.kernel_text(name, "start", "pagetypeinfo")
    assert block_counts(ours) == block_counts(theirs) != []
    blanked = [re.sub(r" +\d+ (?=[ \d]*$)", "#", text, flags=re.MULTILINE) for text in (ours, theirs)]
    assert blanked[0] == blanked[1]


def test_recordings_have_blocks_without_memory_map() -> None:
    """The golden texts above cover the case: the DMA32 zone spans far more blocks than the kernel counts."""
    name = "6.12-z3-mixb-2cpu-768M-s1"
    k = golden.boot(name)
    assert BLOCK_NO_MEMMAP in k.pageblock_flags[8:2048]
    assert sum(block_counts(golden.kernel_text(name, "start", "pagetypeinfo"))[1]) < k.zones[1].spanned_pages >> 9


@pytest.mark.parametrize(
    ("blocks", "shown"), [(99_999, " 99999 "), (100_000, ">100000 "), (100_001, ">100000 "), (7, "     7 ")]
)
def test_long_free_lists_are_cut(blocks: int, shown: str) -> None:
    k = System.boot(Config.small(pages=1 << 19)).kernel
    area = k.zones[0].free_area[1]
    for pfn in range(0, 4 * blocks, 4):
        area.free_list[g.MIGRATE_RECLAIMABLE].list_add_tail(pfn)
    area.nr_free = blocks
    row = free_row(k, g.MIGRATE_RECLAIMABLE)
    assert row == "Node    0, zone    DMA32, type  Reclaimable      0 " + shown + "     0      0      0 "


def test_holes() -> None:
    # Blocks of 8 pages.  1 and 2 are a hole, 5 is two holes side by side; 3 lacks its tail, 4 its first pages, and both
    # have a memory map: 4 is UNMOVABLE, as its first page was never set up.
    k = System.boot(Config.small(pages=64, holes=((8, 16), (28, 8), (40, 4), (44, 4)))).kernel
    assert block_counts(render(k, "pagetypeinfo")) == [[1, 4, 0, 0, 0]]


def test_blocks_that_a_recording_marks() -> None:
    k = System.boot(Config.small(pages=64)).kernel
    k.pageblock_flags[2] = BLOCK_NO_MEMMAP
    k.pageblock_flags[7] = BLOCK_NO_MEMMAP
    assert block_counts(render(k, "pagetypeinfo")) == [[0, 6, 0, 0, 0]]
    # Also where a variant's reading of the byte gives a type for it.
    k.calls = replace(k.calls, get_pageblock_migratetype=lambda k, pfn: k.pageblock_flags[pfn >> 3] & 3)
    assert block_counts(render(k, "pagetypeinfo")) == [[0, 6, 0, 0, 0]]


def zone_from_1(spanned: int) -> Config:
    zone = ZoneConfig(zone=g.ZONE_DMA, start_pfn=1, spanned_pages=spanned)
    return Config(zones=(zone,), page_group_by_mobility_disabled=True)


@pytest.mark.parametrize(
    ("spanned", "blocks"),
    [
        (4095, 8),
        (512, 1),  # PFN 512 is of block 1, but the walk goes 1, 513, ...
        (513, 2),
        (511, 1),
    ],
)
def test_zone_that_starts_at_pfn_1(spanned: int, blocks: int) -> None:
    k = System.boot(zone_from_1(spanned)).kernel
    assert sum(block_counts(render(k, "pagetypeinfo"))[0]) == blocks


def test_isolated_and_highatomic_blocks_have_columns() -> None:
    k = System.boot(Config.small(pages=64)).kernel
    k.calls.set_pageblock_migratetype(k, 8, g.MIGRATE_ISOLATE)
    k.calls.set_pageblock_migratetype(k, 16, g.MIGRATE_HIGHATOMIC)
    k.calls.set_pageblock_migratetype(k, 24, g.MIGRATE_UNMOVABLE)
    k.calls.set_pageblock_migratetype(k, 32, g.MIGRATE_UNMOVABLE)
    assert block_counts(render(k, "pagetypeinfo")) == [[2, 4, 0, 1, 1]]


def test_cma_comes_before_isolate() -> None:
    text = render(System.boot(Config.small(pages=64, cma=((16, 16),))).kernel, "pagetypeinfo")
    assert re.findall(r"type +(\w+) +\d", text) == [
        "Unmovable",
        "Movable",
        "Reclaimable",
        "HighAtomic",
        "CMA",
        "Isolate",
    ]
    head = "Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic          CMA      Isolate "
    assert head in text.splitlines()
    assert block_counts(text) == [[0, 6, 0, 0, 2, 0]]


def test_whole_text_of_a_small_zone() -> None:
    assert render(System.boot(Config.small(pages=64)).kernel, "pagetypeinfo").splitlines() == [
        "Page block order: 3",
        "Pages per block:  8",
        "",
        "Free pages count per migrate type at order       0      1      2      3      4 ",
        "Node    0, zone    DMA32, type    Unmovable      0      0      0      0      0 ",
        "Node    0, zone    DMA32, type      Movable      0      0      0      0      4 ",
        "Node    0, zone    DMA32, type  Reclaimable      0      0      0      0      0 ",
        "Node    0, zone    DMA32, type   HighAtomic      0      0      0      0      0 ",
        "Node    0, zone    DMA32, type      Isolate      0      0      0      0      0 ",
        "",
        "Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic      Isolate ",
        "Node 0, zone    DMA32            0            8            0            0            0 ",
    ]


def test_each_node_has_a_head_and_memoryless_nodes_have_none() -> None:
    k = System.boot(Config.pc((64, 32), nr_cpus=3, cpu_node=(0, 1, 2))).kernel
    text = render(k, "pagetypeinfo")
    assert list(k.nodes) == [0, 1, 2]
    assert text.count("Page block order: 9\n") == 2
    assert re.findall(r"(?m)^Node (\d), zone +(\w+)", text) == [("0", "DMA"), ("0", "DMA32"), ("1", "DMA32")]
    assert block_counts(text) == [[1, 7, 0, 0, 0], [0, 24, 0, 0, 0], [0, 16, 0, 0, 0]]
