# SPDX-License-Identifier: GPL-2.0-only
"""Watermarks: the check, and how they are computed."""

from __future__ import annotations

from typing import Any

import pytest

from pageblock_buddy import Config, System, ZoneConfig, gfp
from pageblock_buddy.linux_6_12 import watermark
from pageblock_buddy.linux_6_12.watermark import (
    _zone_watermark_ok,
    calculate_min_free_kbytes,
    zone_watermark_fast,
    zone_watermark_ok,
    zone_watermark_unusable_free,
)
from pageblock_buddy.mm.mmzone import Zone, wmark_pages
from tests.helpers import machine

NON_BLOCK, MIN_RESERVE, HIGHATOMIC, OOM = (
    gfp.ALLOC_NON_BLOCK,
    gfp.ALLOC_MIN_RESERVE,
    gfp.ALLOC_HIGHATOMIC,
    gfp.ALLOC_OOM,
)

# --- the check ---------------------------------------------------------------------------------


def test_unusable_pages() -> None:
    """LPA-11.2.1, LPA-11.2.2, LPA-11.2.4, LPA-1.0.29: order 2 cannot use 3 pages; HIGHATOMIC's 8 only without any of
    the RESERVES flags; CMA's 16 only without ALLOC_CMA."""
    zone = machine("order 3: H[0] \n order 4: C[16] \n blocks: HMCCMMMM").zones[0]
    assert zone_watermark_unusable_free(zone, 0, 0) == 8 + 16
    assert zone_watermark_unusable_free(zone, 2, 0) == 3 + 8 + 16
    assert zone_watermark_unusable_free(zone, 2, gfp.ALLOC_CMA) == 3 + 8
    for flag in (NON_BLOCK, MIN_RESERVE, HIGHATOMIC, OOM):
        assert zone_watermark_unusable_free(zone, 0, flag) == 16
    for flag in (gfp.ALLOC_KSWAPD, gfp.ALLOC_NOFRAGMENT, gfp.ALLOC_CPUSET, gfp.ALLOC_NO_WATERMARKS):
        assert zone_watermark_unusable_free(zone, 0, flag) == 8 + 16


@pytest.mark.parametrize(
    ("flags", "needed"),
    [
        (0, 101),  # LPA-11.2.7: free must be more than the mark
        (MIN_RESERVE, 51),
        (MIN_RESERVE | NON_BLOCK, 39),  # 50 - 12
        (NON_BLOCK, 101),  # LPA-11.2.6: the quarter comes only together with MIN_RESERVE
        (HIGHATOMIC, 101),
        (OOM, 51),
        (MIN_RESERVE | OOM, 26),
        (MIN_RESERVE | NON_BLOCK | OOM, 20),  # 38 - 19
    ],
)
def test_reserves(flags: int, needed: int) -> None:
    """LPA-11.2.5, LPA-11.2.6, LPA-11.2.7: how far below mark 100 a request may go, order 0."""
    system = machine()
    for free, ok in ((needed - 1, False), (needed, True)):
        assert _zone_watermark_ok(system.kernel, system.zones[0], 0, 100, gfp.ZONE_NORMAL, flags, free) is ok


def test_odd_marks_round_the_reserve_down() -> None:
    """LPA-11.2.6: m -= m/2 in integers: 5 -> 3 -> 3."""
    system = machine()
    for flags, needed in ((MIN_RESERVE, 4), (MIN_RESERVE | NON_BLOCK, 4), (OOM, 4)):
        for free, ok in ((needed - 1, False), (needed, True)):
            assert _zone_watermark_ok(system.kernel, system.zones[0], 0, 5, 0, flags, free) is ok


def test_lowmem_reserve_of_the_request_s_zone() -> None:
    """LPA-11.2.7, LPA-11.2.13: a request that could use ZONE_NORMAL must leave 7 pages more."""
    system = machine("order 4: M[0]", lowmem_reserve=(0, 0, 7, 9, 0))
    k, zone = system.kernel, system.zones[0]
    assert zone_watermark_ok(k, zone, 0, 15, gfp.ZONE_DMA32, 0)
    assert zone_watermark_ok(k, zone, 0, 8, gfp.ZONE_NORMAL, 0)
    assert not zone_watermark_ok(k, zone, 0, 9, gfp.ZONE_NORMAL, 0)
    assert not zone_watermark_ok(k, zone, 0, 7, gfp.ZONE_MOVABLE, 0)
    assert zone_watermark_fast(k, zone, 0, 8, gfp.ZONE_NORMAL, 0)
    assert not zone_watermark_fast(k, zone, 0, 9, gfp.ZONE_NORMAL, 0)


@pytest.mark.parametrize(
    ("letter", "order", "flags", "ok"),
    [
        ("U", 2, 0, True),
        ("M", 2, 0, True),
        ("R", 2, 0, True),
        ("M", 3, 0, False),  # large enough: no block
        ("M", 1, 0, True),
        ("I", 2, 0, False),
        ("C", 2, 0, False),
        ("C", 2, gfp.ALLOC_CMA, True),
        ("C", 3, gfp.ALLOC_CMA, False),
        ("H", 2, 0, False),
        ("H", 2, NON_BLOCK | MIN_RESERVE, False),
        ("H", 2, HIGHATOMIC, True),
        ("H", 2, OOM, True),
        ("M", 2, OOM, True),
        ("M", 2, gfp.ALLOC_CMA, True),
    ],
)
def test_high_orders_need_a_block(letter: str, order: int, flags: int, ok: bool) -> None:
    """LPA-11.2.8: enough pages, but only order-2 blocks of one type (and order-0 pages of MOVABLE)."""
    system = machine(
        f"order 0: M[40 42 44 46 48 50 52 54 56 58 60 62] \n order 2: {letter}[0] \n blocks: {letter}MMMMMMM"
        if letter != "M"
        else "order 0: M[40 42 44 46 48 50 52 54 56 58 60 62] \n order 2: M[0]"
    )
    assert _zone_watermark_ok(system.kernel, system.zones[0], order, 0, gfp.ZONE_NORMAL, flags, 100) is ok
    assert zone_watermark_fast(system.kernel, system.zones[0], order, 0, gfp.ZONE_NORMAL, flags) is ok


def test_high_orders_count_their_own_size() -> None:
    """LPA-11.2.1, LPA-11.2.7: 16 free, order 2, mark 12: 16 - 3 > 12."""
    system = machine("order 4: M[0]")
    assert zone_watermark_ok(system.kernel, system.zones[0], 2, 12, 0, 0)
    assert not zone_watermark_ok(system.kernel, system.zones[0], 2, 13, 0, 0)


def test_fast_check_has_no_discount_but_falls_back_to_the_full_one() -> None:
    """LPA-11.2.9: 16 free, mark 20: the short cut says no, ok() with MIN_RESERVE says yes (10)."""
    system = machine("order 4: M[0]")
    k, zone = system.kernel, system.zones[0]
    assert not zone_watermark_fast(k, zone, 0, 20, 0, 0)
    assert zone_watermark_fast(k, zone, 0, 20, 0, MIN_RESERVE)


def test_fast_check_of_unusable_pages() -> None:
    """LPA-11.2.9: usable = free - min(free, unusable): the counter lags behind (8 of 16), the reserve has 16: 0 usable,
    and 0 > 0 is false; ok() is then asked with 8 - 16."""
    system = machine("order 4: H[0] \n blocks: HHMMMMMM")
    zone = system.zones[0]
    zone.nr_free_pages = 8
    assert not zone_watermark_fast(system.kernel, zone, 0, 0, 0, 0)
    assert zone_watermark_fast(system.kernel, zone, 0, 0, 0, HIGHATOMIC)


def test_fast_check_passes_where_the_full_one_would_not() -> None:
    """LPA-11.2.9: order 0 passes by the short cut without a look at the lists."""
    system = machine("order 0: M[0]")
    zone = system.zones[0]
    assert zone_watermark_fast(system.kernel, zone, 0, 0, 0, 0)
    assert not zone_watermark_fast(system.kernel, zone, 0, 1, 0, 0)


@pytest.mark.parametrize(
    ("order", "flags", "boost", "ok"),
    [
        (0, MIN_RESERVE | gfp.ALLOC_WMARK_MIN, 20, True),
        (0, MIN_RESERVE | gfp.ALLOC_WMARK_LOW, 20, False),  # another mark
        (0, gfp.ALLOC_WMARK_MIN, 20, False),  # no MIN_RESERVE
        (0, MIN_RESERVE | gfp.ALLOC_WMARK_MIN, 0, False),  # no boost
        (1, MIN_RESERVE | gfp.ALLOC_WMARK_MIN, 20, False),  # order 0 only
    ],
)
def test_unboosted_min(order: int, flags: int, boost: int, ok: bool) -> None:
    """LPA-11.2.10: 16 free; mark 40, of which half (20) is too much; the stored min of 30, halved, is not."""
    system = machine("order 4: M[0]", watermark=(30, 30, 30, 30))
    zone = system.zones[0]
    zone.watermark_boost = boost
    assert zone_watermark_fast(system.kernel, zone, order, 40, gfp.ZONE_NORMAL, flags) is ok


def test_the_check_reads_the_counter_without_diffs() -> None:
    """LPA-11.2.12, LPA-14.0.5: 16 pages are free, but the counter says 10; and a negative counter reads as 0."""
    system = machine("order 4: M[0]")
    zone = system.zones[0]
    zone.nr_free_pages, zone.per_cpu_zonestats[0].nr_free_pages_diff = 10, 6
    assert zone_watermark_ok(system.kernel, zone, 0, 9, 0, 0)
    assert not zone_watermark_ok(system.kernel, zone, 0, 10, 0, 0)
    zone.nr_free_pages = -3
    assert not zone_watermark_fast(system.kernel, zone, 0, 0, 0, 0)


def test_marks_include_the_boost() -> None:
    """LPA-11.1.15, LPA-11.3.6, LPA-2.0.7."""
    zone = machine(watermark=(1, 2, 3, 4)).zones[0]
    zone.watermark_boost = 10
    assert [wmark_pages(zone, index) for index in range(4)] == [11, 12, 13, 14]


# --- the computation ---------------------------------------------------------------------------


def zone(idx: int, start: int, pages: int, managed: int, **fields: Any) -> ZoneConfig:
    """A zone with so many managed pages, none of them really there."""
    return ZoneConfig(
        zone=idx, start_pfn=start, spanned_pages=pages, managed_pages=managed, reserved=((start, pages),), **fields
    )


def three_zones(**overrides: Any) -> System:
    """The live machine of LPA-11.1.13: DMA 3840, DMA32 772917, NORMAL 655360 managed pages."""
    zones = (zone(0, 1, 4095, 3840), zone(1, 4096, 1044480, 772917), zone(2, 1048576, 655360, 655360))
    return System.boot(Config(zones=zones, **overrides))


def test_watermarks_of_a_live_machine() -> None:
    """LPA-11.1.13, LPA-11.1.3, LPA-11.1.4, LPA-11.1.5, LPA-11.1.7, LPA-11.1.8, LPA-11.1.11, LPA-11.1.12.

    khugepaged asks for 512*3*2 + 512*3*9 = 16896 pages = 67584 kB; the zones share it by their sizes.  NORMAL:
    16896 * 655360 / 1432117 = 7731, a quarter 1932.  DMA: 45, a quarter 11 (10/10000 of it is 3)."""
    system = three_zones(khugepaged=True)
    assert [z.watermark for z in system.zones] == [
        [45, 56, 67, 78],
        [9118, 11397, 13676, 15955],
        [7731, 9663, 11595, 13527],
    ]
    assert [z.watermark_boost for z in system.zones] == [0, 0, 0]


def test_watermarks_without_khugepaged() -> None:
    """LPA-11.1.1, LPA-11.1.2, LPA-11.1.11: isqrt(16 * 5728468 kB) = 9573 kB, 2393 pages.  NORMAL gets 1095; a quarter
    of it (273) is less than 10/10000 of the zone: 65*10 + 5360*10/10000 = 655."""
    system = three_zones()
    assert system.zones[2].watermark == [1095, 1750, 2405, 3060]


def test_min_free_reads_the_current_high_marks() -> None:
    """LPA-11.1.2: the high marks are 0 at the first run; later they are subtracted, boost and all, zone by zone where
    positive."""
    system = three_zones()
    highs = sum(z.watermark[2] for z in system.zones)
    assert watermark.nr_free_buffer_pages(system.kernel) == 1432117 - highs
    system.zones[0].watermark_boost = 5000  # more than DMA has: counts as 0
    assert watermark.nr_free_buffer_pages(system.kernel) == 772917 + 655360 - sum(
        z.watermark[2] for z in system.zones[1:]
    )


@pytest.mark.parametrize(
    ("managed", "kbytes"),
    [(200, 128), (256, 128), (260, 128), (3840, 495), (1 << 31, 262144), (1 << 32, 262144)],
)
def test_min_free_kbytes_is_clamped(managed: int, kbytes: int) -> None:
    """LPA-11.1.1: 3840 pages are 15360 kB: isqrt(245760) = 495; at least 128, at most 262144."""
    system = System.boot(Config(zones=(zone(1, 4096, 8, managed),)))
    system.zones[0].watermark[:] = [0, 0, 0, 0]
    assert calculate_min_free_kbytes(system.kernel) == kbytes


def test_khugepaged_asks_for_at_most_a_twentieth() -> None:
    """LPA-11.1.3, LPA-11.1.2: one zone: 512*11 = 5632 pages, but 5% of what is above its first high mark is less:
    isqrt(16 * 160000 kB) = 1600 kB = 400 pages, high 600; (40000 - 600) / 20 = 1970.  ZONE_MOVABLE does not count."""
    zones = (zone(1, 4096, 40000, 40000), zone(3, 1 << 20, 100, 1 << 20))
    system = System.boot(Config(zones=zones, khugepaged=True))
    assert system.zones[0].watermark[0] == 1970


def test_khugepaged_never_lowers() -> None:
    """LPA-11.1.3: max(): a single zone of 16 GiB: isqrt(16 * 2^24) = 16384 kB < 5632*4 = 22528; 64 GiB: 32768 kB
    stays.  A quarter of that in pages is the min mark."""
    for managed, kbytes in ((1 << 22, 22528), (1 << 24, 32768)):
        system = System.boot(Config(zones=(zone(1, 4096, 8, managed),), khugepaged=True))
        assert system.zones[0].watermark[0] == kbytes // 4


def test_min_free_kbytes_can_be_given() -> None:
    """LPA-11.1.4: 1000 kB are 250 pages; DMA32 gets 250 * 772917 / 1432117 = 134."""
    system = three_zones(min_free_kbytes=1000)
    assert system.zones[1].watermark[0] == 134


def test_watermark_scale_factor() -> None:
    """LPA-11.1.11: 655360 * 1000 / 10000 = 65*1000 + 5360*1000/10000 = 65536."""
    system = three_zones(watermark_scale_factor=1000)
    assert system.zones[2].watermark == [1095, 1095 + 65536, 1095 + 2 * 65536, 1095 + 3 * 65536]


@pytest.mark.parametrize(("managed", "minimum"), [(1024, 32), (65536, 64), (1 << 20, 128)])
def test_movable_zone(managed: int, minimum: int) -> None:
    """LPA-11.1.9, LPA-11.1.5: ZONE_MOVABLE's min is clamp(managed/1024, 32, 128), and it takes no share from the
    others; the distance comes from the share all the same."""
    zones = (zone(1, 4096, 100000, 100000), zone(3, 1 << 20, 8, managed))
    system = System.boot(Config(zones=zones, min_free_kbytes=4000))
    low, movable = system.zones
    assert low.watermark[0] == 1000
    share = 1000 * managed // 100000
    distance = max(share // 4, managed * 10 // 10000)
    assert movable.watermark == [minimum, minimum + distance, minimum + 2 * distance, minimum + 3 * distance]


def test_given_watermarks_win() -> None:
    """ZoneConfig.watermark overrides the computation, for that zone only."""
    zones = (zone(1, 4096, 100000, 100000, watermark=(1, 2, 3, 4)), zone(2, 1 << 20, 100000, 100000))
    system = System.boot(Config(zones=zones, min_free_kbytes=4000))
    assert system.zones[0].watermark == [1, 2, 3, 4]
    assert system.zones[1].watermark == [500, 625, 750, 875]


def test_lowmem_reserve() -> None:
    """LPA-11.1.14: DMA keeps (772917)/256 from DMA32 requests and (772917+655360)/256 from NORMAL ones; NORMAL has
    nothing above it, until there is a ZONE_MOVABLE of 64000 pages: 64000/32."""
    system = three_zones()
    assert [z.lowmem_reserve for z in system.zones] == [
        [0, 3019, 5579, 5579, 5579],
        [0, 0, 2560, 2560, 2560],
        [0, 0, 0, 0, 0],
    ]
    zones = (zone(2, 1 << 20, 8, 640), zone(3, 1 << 21, 8, 64000))
    system = System.boot(Config(zones=zones))
    assert [z.lowmem_reserve for z in system.zones] == [[0, 0, 0, 2000, 2000], [0] * 5]


def test_lowmem_reserve_of_an_unmanaged_zone() -> None:
    """LPA-11.1.14: 0 if zone i is unmanaged; also with a ratio of 0."""
    zones = (zone(0, 0, 8, 0), zone(1, 4096, 8, 25600))
    assert System.boot(Config(zones=zones)).zones[0].lowmem_reserve == [0] * 5
    zones = (zone(0, 0, 8, 8), zone(1, 4096, 8, 25600))
    assert System.boot(Config(zones=zones)).zones[0].lowmem_reserve == [0, 100, 100, 100, 100]
    system = System.boot(Config(zones=zones, lowmem_reserve_ratio=(0, 256, 32, 0, 0)))
    assert system.zones[0].lowmem_reserve == [0] * 5


def test_lowmem_reserve_is_per_node() -> None:
    """LPA-11.1.14: the zones above are those of the same node."""
    zones = (zone(1, 0, 8, 25600), zone(2, 4096, 8, 2560), zone(2, 8192, 8, 1 << 20, node=1))
    system = System.boot(Config(zones=zones))
    assert [z.lowmem_reserve for z in system.zones] == [[0, 0, 10, 10, 10], [0] * 5, [0] * 5]


def test_mult_frac() -> None:
    """LPA-11.1.11: (m/10000)*10 + (m%10000)*10/10000."""
    assert watermark.mult_frac(772917, 10, 10000) == 772
    assert watermark.mult_frac(19999, 15000, 10000) == 15000 + 14998


def test_zone_repr() -> None:
    """A zone names itself in messages."""
    some: Zone = machine().zones[0]
    assert repr(some) == "<Zone node 0 DMA32 pfn 0..63>"
