# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import re

import pytest

from pageblock_buddy import Config, System
from pageblock_buddy.views import render
from tests.views import golden

#: Lines whose numbers move while nothing happens but page lists being filled.
MOVING = (r"  pages free     \d+", r"              count: \d+", r"              high:  \d+")


def moving(line: str) -> str | None:
    return next((pattern for pattern in MOVING if re.fullmatch(pattern, line)), None)


@pytest.mark.parametrize("name", golden.ALL)
def test_lines_are_the_kernels(name: str) -> None:
    ours = render(golden.boot(name), "zoneinfo-pagesets").splitlines()
    theirs = golden.known_lines(golden.kernel_text(name, "start", "zoneinfo"))
    assert len(theirs) > 30
    for our, their in zip(ours, theirs, strict=True):
        if moving(their):
            assert moving(our) == moving(their)
        else:
            assert our == their


@pytest.mark.parametrize("name", golden.EXACT)
def test_free_counts_are_the_kernels(name: str) -> None:
    """``pages free`` is the counter; it moves only when a CPU folds its diff, by less than thresholds."""
    ours = render(golden.boot(name), "zoneinfo-pagesets").splitlines()
    theirs = golden.known_lines(golden.kernel_text(name, "start", "zoneinfo"))
    pairs = [(our, their) for our, their in zip(ours, theirs, strict=True) if "pages free" in our]
    for (our, their), zone in zip(pairs, golden.boot(name).zones, strict=True):
        slack = sum(stat.stat_threshold for stat in zone.per_cpu_zonestats)
        assert abs(int(our.split()[-1]) - int(their.split()[-1])) <= slack


def test_watermarks_include_the_boost() -> None:
    """6.12-c ends with boosted watermarks: 29 + 512 prints as 541."""
    k = golden.boot("6.12-c", "end")
    assert [zone.watermark_boost for zone in k.zones] == [512, 1101]
    ours = render(k, "zoneinfo-pagesets").splitlines()
    theirs = golden.known_lines(golden.kernel_text("6.12-c", "end", "zoneinfo"))
    marks = re.compile(r"        (boost|min|low|high|promo) ")
    assert [line for line in ours if marks.match(line)] == [line for line in theirs if marks.match(line)]
    assert "        min      541" in ours
    assert k.zones[0].watermark[0] == 29


def test_whole_text_of_a_small_machine() -> None:
    k = System.boot(Config.small(pages=64, nr_cpus=2, watermark=(1, 2, 3, 4), cma=((0, 16),), holes=((56, 8),))).kernel
    k.zones[0].watermark_boost = 10
    k.zones[0].per_cpu_zonestats[1].nr_free_pages_diff = 5
    threshold = k.zones[0].per_cpu_zonestats[0].stat_threshold
    assert render(k, "zoneinfo-pagesets").splitlines() == [
        "Node 0, zone    DMA32",
        f"  pages free     {k.zones[0].nr_free_pages}",
        "        boost    10",
        "        min      11",
        "        low      12",
        "        high     13",
        "        promo    14",
        "        spanned  64",
        "        present  56",
        "        managed  56",
        "        cma      16",
        "        protection: (0, 0, 0, 0, 0)",
        "  pagesets",
        "    cpu: 0",
        "              count: 0",
        "              high:  0",
        "              batch: 2",
        f"  vm stats threshold: {threshold}",
        "    cpu: 1",
        "              count: 0",
        "              high:  0",
        "              batch: 2",
        f"  vm stats threshold: {threshold}",
    ]


def test_a_negative_counter_shows_as_0() -> None:
    k = System.boot(Config.small(pages=64)).kernel
    k.zones[0].nr_free_pages = -3
    assert "  pages free     0\n" in render(k, "zoneinfo-pagesets")


def test_two_nodes_with_all_cpus_each() -> None:
    k = System.boot(Config.pc((64, 32), nr_cpus=3, cpu_node=(0, 0, 1))).kernel
    text = render(k, "zoneinfo-pagesets")
    assert re.findall(r"(?m)^Node (\d), zone +(\w+)$", text) == [("0", "DMA"), ("0", "DMA32"), ("1", "DMA32")]
    assert re.findall(r"(?m)^    cpu: (\d+)$", text) == ["0", "1", "2"] * 3
