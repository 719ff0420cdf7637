# SPDX-License-Identifier: GPL-2.0-only
"""The limits of the per-CPU lists and how they tune themselves."""

from __future__ import annotations

from typing import Any

import pytest

from pageblock_buddy import Config, System, gfp
from pageblock_buddy.linux_6_12 import pcp as pcp_code
from pageblock_buddy.linux_6_12.pcp import nr_pcp_alloc, nr_pcp_free, nr_pcp_high
from pageblock_buddy.mm.mmzone import PerCpuPages
from tests.helpers import M, R, U, assert_zone, limits, machine, pcp_of

# --- lists -------------------------------------------------------------------------------------


def test_lists_of_an_x86_kernel() -> None:
    """LPA-8.1.1, LPA-8.1.2, LPA-8.1.3, LPA-1.0.8: orders 0..3 have three lists each, order 9 has two more."""
    k = System.boot(Config.pc(8)).kernel
    assert k.nr_pcp_lists == 14
    assert [order for order in range(11) if pcp_code.pcp_allowed_order(k, order)] == [0, 1, 2, 3, 9]
    for order in range(4):
        assert [pcp_code.order_to_pindex(k, mt, order) for mt in (U, M, R)] == [3 * order, 3 * order + 1, 3 * order + 2]
    assert [pcp_code.order_to_pindex(k, mt, 9) for mt in (U, M, R)] == [12, 13, 12]
    assert [pcp_code.pindex_to_order(k, i) for i in range(14)] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 9, 9]


def test_lists_without_huge_pages() -> None:
    """LPA-8.1.1: 12 lists without THP; the same where a pageblock is no larger than order 3."""
    k = System.boot(Config.pc(8, thp=False)).kernel
    assert k.nr_pcp_lists == 12
    assert [order for order in range(11) if pcp_code.pcp_allowed_order(k, order)] == [0, 1, 2, 3]
    assert System.boot(Config.small()).kernel.nr_pcp_lists == 12


# --- nr_pcp_alloc() ----------------------------------------------------------------------------


def tuned(**fields: int) -> tuple[System, PerCpuPages]:
    """A machine and its pageset with the given fields; batch 63, high 252..100000 else."""
    system = machine()
    return system, limits(pcp_of(system), **({"batch": 63, "high_min": 252, "high_max": 100000} | fields))


def test_refills_double() -> None:
    """LPA-8.3.9, LPA-8.3.1, LPA-8.3.3, LPA-8.3.4, LPA-8.3.6: refills without a free in between, every page used up.

    high starts at 0 (LPA-8.7.10), is clamped to 252, and grows by each batch; alloc_factor stops at 5 (LPA-1.0.15)."""
    system, pcp = tuned()
    sizes = [nr_pcp_alloc(system.kernel, pcp, system.zones[0], 0) for _ in range(7)]
    assert sizes == [63, 126, 252, 504, 1008, 2016, 2016]
    assert pcp.high == 252 + 63 + 126 + 252 + 504 + 1008 + 2016 + 2016
    assert pcp.alloc_factor == 5


def test_high_is_clamped_first() -> None:
    """LPA-8.3.1: 9 is above high_max 8, 1 is below high_min 4; batch 2."""
    for high, clamped in ((9, 8), (1, 6)):  # 1 -> 4, raised by 2 (LPA-8.3.4)
        system, pcp = tuned(batch=2, high_min=4, high_max=8, high=high)
        assert nr_pcp_alloc(system.kernel, pcp, system.zones[0], 0) == 2
        assert pcp.high == clamped


def test_boot_pageset_refills_one_page() -> None:
    """LPA-8.3.2, LPA-8.7.11: high 0 is below batch 1; nothing is tuned."""
    system, pcp = tuned(batch=1, high_min=0, high_max=0, high=100)
    assert [nr_pcp_alloc(system.kernel, pcp, system.zones[0], order) for order in (0, 3)] == [1, 1]
    assert (pcp.high, pcp.alloc_factor) == (0, 0)


def test_high_equal_to_batch_is_enough() -> None:
    """LPA-8.3.2: only high < batch is "disabled"; room is max(2 - 0 - 2, 2)."""
    system, pcp = tuned(batch=2, high_min=2, high_max=2)
    assert nr_pcp_alloc(system.kernel, pcp, system.zones[0], 0) == 2
    assert pcp.alloc_factor == 1


def test_order_0_is_cut_to_the_room() -> None:
    """LPA-8.3.5, LPA-8.3.7, LPA-8.3.6: high 8 fixed, batch 2: room 8 - count - 2.  2, 4, then 8 is cut to 6 and the
    factor stays."""
    system, pcp = tuned(batch=2, high_min=8, high_max=8)
    assert [nr_pcp_alloc(system.kernel, pcp, system.zones[0], 0) for _ in range(4)] == [2, 4, 6, 6]
    assert pcp.alloc_factor == 2
    pcp.count = 5  # on other lists: room is max(1, batch)
    assert nr_pcp_alloc(system.kernel, pcp, system.zones[0], 0) == 2


def test_a_batch_that_just_fits_doubles() -> None:
    """LPA-8.3.6: b <= room, with equality: 8 - 4 - 2 = 2."""
    system, pcp = tuned(batch=2, high_min=8, high_max=8, count=4)
    assert nr_pcp_alloc(system.kernel, pcp, system.zones[0], 0) == 2
    assert pcp.alloc_factor == 1


@pytest.mark.parametrize(("order", "blocks"), [(1, 31), (2, 15), (3, 7), (9, 2)])
def test_higher_orders(order: int, blocks: int) -> None:
    """LPA-8.3.8, LPA-8.3.9, LPA-8.3.3, LPA-8.3.4: batch 63 >> order but at least 2; alloc_factor plays no part and
    stays; high grows by the unscaled 63."""
    system, pcp = tuned(alloc_factor=4)
    assert nr_pcp_alloc(system.kernel, pcp, system.zones[0], order) == blocks
    assert (pcp.high, pcp.alloc_factor) == (252 + 63, 4)


def test_batch_of_one() -> None:
    """LPA-8.3.8: b = 1 is not raised to 2."""
    system, pcp = tuned(batch=1, high_min=4, high_max=4)
    assert [nr_pcp_alloc(system.kernel, pcp, system.zones[0], order) for order in (3, 0)] == [1, 1]
    assert nr_pcp_alloc(system.kernel, pcp, system.zones[0], 0) == 2  # 1 << alloc_factor


def test_high_does_not_grow_below_the_high_mark() -> None:
    """LPA-8.3.4: with BELOW_HIGH the CPU does not keep more; room: max(252 - 63, 63) = 189."""
    system, pcp = tuned(alloc_factor=2)
    system.zones[0].flags |= gfp.ZONE_BELOW_HIGH
    assert nr_pcp_alloc(system.kernel, pcp, system.zones[0], 0) == 189
    assert (pcp.high, pcp.alloc_factor) == (252, 2)


def test_high_grows_to_high_max_only() -> None:
    """LPA-8.3.4: min(252 + 63, 300)."""
    system, pcp = tuned(high_max=300)
    nr_pcp_alloc(system.kernel, pcp, system.zones[0], 0)
    assert pcp.high == 300


# --- nr_pcp_high() -----------------------------------------------------------------------------

BELOW, ACTIVE = gfp.ZONE_BELOW_HIGH, gfp.ZONE_RECLAIM_ACTIVE


@pytest.mark.parametrize(
    ("high", "count", "free_count", "flags", "free_high", "result", "new_high"),
    [
        # LPA-8.4.18: clamped to 16..500
        (5, 0, 0, 0, False, 16, 16),
        (900, 0, 0, 0, False, 500, 500),
        # LPA-8.4.19: 4 << 5 = 128 less, at least high_min
        (300, 200, 0, 0, True, 0, 172),
        (100, 200, 0, 0, True, 0, 16),
        (300, 200, 0, ACTIVE, True, 0, 172),
        # LPA-8.4.20: less by what was freed in a row, at least a batch; four batches are kept
        (100, 200, 30, ACTIVE, False, 16, 70),
        (100, 200, 2, ACTIVE, False, 16, 96),
        (20, 200, 30, ACTIVE | BELOW, False, 16, 16),
        # LPA-8.4.22: below high as well, but what is there stays
        (100, 40, 30, BELOW, False, 40, 70),
        (100, 5, 2, BELOW, False, 16, 96),
        (20, 40, 30, BELOW, False, 40, 16),
        # LPA-8.4.23, LPA-8.4.24: raised for the next time; the old high is returned
        (20, 20, 30, 0, False, 20, 34),
        (20, 25, 600, 0, False, 20, 500),
        (40, 40, 36, 0, False, 40, 40),  # need 40: not less
        (40, 40, 37, 0, False, 40, 41),
        (20, 19, 30, 0, False, 20, 20),  # count < high
    ],
)
def test_nr_pcp_high(
    high: int, count: int, free_count: int, flags: int, free_high: bool, result: int, new_high: int
) -> None:
    """nr_pcp_high() with batch 4 and high_min 16, high_max 500."""
    system, pcp = tuned(batch=4, high_min=16, high_max=500, high=high, count=count, free_count=free_count)
    system.zones[0].flags = flags
    assert nr_pcp_high(system.kernel, pcp, system.zones[0], free_high) == result
    assert pcp.high == new_high


def test_nr_pcp_high_under_four_batches() -> None:
    """LPA-8.4.20: min(4 * batch, pcp.high), the lowered one: high_min 10 < 16."""
    system, pcp = tuned(batch=4, high_min=10, high_max=500, high=20, free_count=30)
    system.zones[0].flags = ACTIVE
    assert (nr_pcp_high(system.kernel, pcp, system.zones[0], False), pcp.high) == (10, 10)


@pytest.mark.parametrize("flags", [0, BELOW])
def test_a_fixed_high_is_not_tuned(flags: int) -> None:
    """LPA-8.4.21, LPA-8.7.6: high_min == high_max."""
    system, pcp = tuned(batch=4, high_min=16, high_max=16, count=40, free_count=30)
    system.zones[0].flags = flags
    assert (nr_pcp_high(system.kernel, pcp, system.zones[0], False), pcp.high) == (16, 16)


def test_disabled_lists_keep_nothing() -> None:
    """LPA-8.4.18: high 0 at once, before free_high and RECLAIM_ACTIVE."""
    system, pcp = tuned(batch=1, high_min=0, high_max=0, high=50, count=1)
    assert (nr_pcp_high(system.kernel, pcp, system.zones[0], True), pcp.high) == (0, 0)


# --- nr_pcp_free() -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("high", "count", "free_count", "free_high", "pages"),
    [
        (100, 200, 50, False, 50),
        (100, 200, 1, False, 4),  # at least a batch
        (100, 200, 99, False, 96),  # a batch stays below high
        (3, 200, 50, False, 1),  # disabled
        (4, 200, 50, False, 0),  # the bounds cross: the upper one wins, as in clamp_t()
        (0, 200, 50, True, 128),  # batch << 5
        (0, 100, 50, True, 100),  # no more than there is
    ],
)
def test_nr_pcp_free(high: int, count: int, free_count: int, free_high: bool, pages: int) -> None:
    """LPA-8.4.25, with batch 4."""
    system, pcp = tuned(count=count, free_count=free_count)
    assert nr_pcp_free(system.kernel, pcp, 4, high, free_high) == pages


# --- limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("managed", "batch"),
    [(0, 1), (3840, 1), (8191, 1), (12288, 3), (115169, 31), (176127, 31), (176128, 63), (655360, 63), (1 << 28, 63)],
)
def test_zone_batchsize(managed: int, batch: int) -> None:
    """LPA-8.7.1: managed/4096 up to 64, times 1.5, rounded down to a power of two, less 1.

    12288: 3 + 1 = 4 -> 3.  63 needs 43 * 1.5 >= 64, that is 176128 pages (688 MiB)."""
    system = machine(managed_pages=managed)
    assert pcp_code.zone_batchsize(system.zones[0]) == batch


def limits_of(system: System) -> list[tuple[int, int, int]]:
    """(batch, high_min, high_max) of each CPU in the first zone."""
    return [(p.batch, p.high_min, p.high_max) for p in system.zones[0].per_cpu_pageset]


def booted(nr_cpus: int = 1, **fields: Any) -> System:
    """A zone of 655360 managed pages with low watermark 9663, none of them really there."""
    zone: dict[str, Any] = {
        "managed_pages": 655360,
        "watermark": (7731, 9663, 11595, 13527),
        "batch": None,
        "high_min": None,
        "high_max": None,
    }
    return machine(nr_cpus=nr_cpus, **(zone | fields))


def test_high_min_and_high_max() -> None:
    """LPA-8.7.4, LPA-8.7.5: low watermark 9663 and an eighth of the zone, for each of the node's CPUs."""
    assert limits_of(booted()) == [(63, 9663, 81920)]
    assert limits_of(booted(2)) == [(63, 4831, 40960)] * 2
    # four batches are the least
    assert limits_of(booted(watermark=(0, 100, 200, 300))) == [(63, 252, 81920)]
    assert limits_of(booted(managed_pages=3840, watermark=(0, 0, 0, 0))) == [(1, 4, 480)]


def test_high_counts_the_boost() -> None:
    """LPA-8.7.8, LPA-11.1.15: low_wmark includes the boost."""
    system = booted()
    system.zones[0].watermark_boost = 512
    pcp_code.zone_set_pageset_high_and_batch(system.kernel, system.zones[0], 0)
    assert limits_of(system) == [(63, 9663 + 512, 81920)]


def test_high_is_shared_by_the_node_s_cpus() -> None:
    """LPA-8.7.3: the zone is on node 0, which has one of the three CPUs; a node without CPUs counts all online ones."""
    assert limits_of(booted(3, cpu_node=(0, 1, 1))) == [(63, 9663, 81920)] * 3
    assert limits_of(booted(3, cpu_node=(1, 1, 1))) == [(63, 3221, 27306)] * 3


@pytest.mark.parametrize(("fraction", "high"), [(8, 40960), (100, 3276), (100000, 252)])
def test_percpu_pagelist_high_fraction(fraction: int, high: int) -> None:
    """LPA-8.7.6: high_min = high_max = managed / F / CPUs, at least four batches: 655360 / 100 / 2."""
    assert limits_of(booted(2, percpu_pagelist_high_fraction=fraction)) == [(63, high, high)] * 2


def test_configured_limits_win() -> None:
    """Config: batch, high_min and high_max of a zone override the formulas, with or without a fraction."""
    system = machine(batch=5, high_min=6, high_max=7, percpu_pagelist_high_fraction=8)
    assert limits_of(system) == [(5, 6, 7)]


@pytest.mark.parametrize(("llc", "flag"), [(189, 0), (190, gfp.PCPF_FREE_HIGH_BATCH)])
def test_free_high_batch(llc: int, flag: int) -> None:
    """LPA-8.7.12: the cache share of a CPU must be larger than three batches of 63."""
    system = booted(llc_pages_per_cpu=llc)
    pcp = pcp_of(system)
    assert pcp.flags == flag
    pcp.flags = 0b11
    pcp_code.zone_set_pageset_high_and_batch(system.kernel, system.zones[0], 0)
    assert pcp.flags == gfp.PCPF_PREV_FREE_HIGH_ORDER | flag


def test_boot_pageset() -> None:
    """LPA-8.7.11, LPA-8.7.10, LPA-2.0.16: high 0, batch 1 until setup; high itself stays 0 until the first use."""
    pcp = PerCpuPages(machine().kernel.machine, 0, 14)
    assert (pcp.high, pcp.high_min, pcp.high_max, pcp.batch, pcp.count) == (0, 0, 0, 1, 0)
    assert pcp_of(machine()).high == 0


def test_zone_pcp_disable_and_enable() -> None:
    """LPA-8.7.13: high_min = high_max = 0, batch 1, and all CPUs' lists are drained; a free then goes right through."""
    system = machine("pcp0 o0: M[1] \n pcp1 o1: M[2] \n alloc: 16/0 17/0 18/0", nr_cpus=2)
    zone = system.zones[0]
    pcp_code.zone_pcp_disable(system.kernel, zone)
    assert limits_of(system) == [(1, 0, 0)] * 2
    assert_zone(system, "order 0: M[1] \n order 1: M[2]")
    system.free_pages(16)
    assert_zone(system, "order 0: M[16 1] \n order 1: M[2]")
    pcp_code.zone_pcp_enable(zone)
    assert limits_of(system) == [(2, 8, 8)] * 2
    system.free_pages(17)
    assert_zone(system, "order 0: M[16 1] \n order 1: M[2] \n pcp0 o0: M[17]")


# --- the kernel's clamp ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "low", "high", "result"),
    [(5, 2, 8, 5), (1, 2, 8, 2), (9, 2, 8, 8), (2, 2, 8, 2), (8, 2, 8, 8), (1, 4, 2, 4), (2, 4, 2, 2), (9, 4, 2, 2)],
)
def test_clamp(value: int, low: int, high: int, result: int) -> None:
    """LPA-8.3.11: the upper limit is looked at first, which shows when the limits cross."""
    assert pcp_code.clamp(value, low, high) == result


def test_crossed_limits() -> None:
    """LPA-8.3.11, LPA-8.3.1, LPA-8.4.18: high_min 300 follows the low watermark and is above high_max 252: a high of 0
    becomes 300, and then 252; so it alternates.  A flush between 63 and 252 - 63 is not affected."""
    system, pcp = tuned(high_min=300, high_max=252)
    highs = []
    for _ in range(3):
        nr_pcp_high(system.kernel, pcp, system.zones[0], False)
        highs.append(pcp.high)
    assert highs == [300, 252, 252]
    system, pcp = tuned(free_count=1)
    assert nr_pcp_free(system.kernel, pcp, 4, 6, False) == 4
