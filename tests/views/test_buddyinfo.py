# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import pytest

from pageblock_buddy import Config, System
from pageblock_buddy import gfp as g
from pageblock_buddy.views import render
from tests.views import golden


@pytest.mark.parametrize("name", golden.EXACT)
def test_equals_the_kernels_text(name: str) -> None:
    assert render(golden.boot(name), "buddyinfo") == golden.kernel_text(name, "start", "buddyinfo")


def free_pages(line: str) -> int:
    return sum(int(count) << order for order, count in enumerate(line.split()[4:]))


def pcp_pages(zoneinfo: list[str]) -> int:
    return sum(int(line.split()[1]) for line in zoneinfo if line.strip().startswith("count:"))


@pytest.mark.parametrize("name", golden.REFILLED)
def test_differs_only_by_pages_that_cpus_took_in_between(name: str) -> None:
    ours = render(golden.boot(name), "buddyinfo").splitlines()
    theirs = golden.kernel_text(name, "start", "buddyinfo").splitlines()
    assert ours[0] == theirs[0]  # nobody allocates from DMA
    taken = 0
    for our, their in zip(ours, theirs, strict=True):
        assert our[:22] == their[:22]
        assert len(our) == len(their)
        assert free_pages(our) <= free_pages(their)
        taken += free_pages(their) - free_pages(our)
    assert 0 < taken <= 4 * 63  # a few batches


def test_pages_on_cpu_lists_are_not_free() -> None:
    system = System.boot(Config.small(pages=64))
    assert render(system.kernel, "buddyinfo") == "Node 0, zone    DMA32      0      0      0      0      4 \n"
    pfn = system.alloc_pages(g.GFP_KERNEL, order=0)
    assert pfn is not None
    system.free_pages(pfn, order=0)
    on_lists = sum(pcp.count for pcp in system.kernel.zones[0].per_cpu_pageset)
    assert on_lists > 0
    assert free_pages(render(system.kernel, "buddyinfo")) == 64 - on_lists


def test_large_counts_are_not_cut() -> None:
    k = System.boot(Config.small(pages=64)).kernel
    k.zones[0].free_area[0].nr_free = 100_001
    k.zones[0].free_area[1].nr_free = 12_345_678
    assert render(k, "buddyinfo") == "Node 0, zone    DMA32 100001 12345678      0      0      4 \n"


def test_zones_without_memory_are_left_out() -> None:
    k = System.boot(Config.pc(32)).kernel
    assert [line[:21] for line in render(k, "buddyinfo").splitlines()] == [
        "Node 0, zone      DMA",
        "Node 0, zone    DMA32",
    ]
    k.zones[0].present_pages = 0
    assert [line[:21] for line in render(k, "buddyinfo").splitlines()] == ["Node 0, zone    DMA32"]


def test_two_nodes_in_order() -> None:
    k = System.boot(Config.pc((64, 32), nr_cpus=2, cpu_node=(0, 1))).kernel
    assert [line[:21] for line in render(k, "buddyinfo").splitlines()] == [
        "Node 0, zone      DMA",
        "Node 0, zone    DMA32",
        "Node 1, zone    DMA32",
    ]
