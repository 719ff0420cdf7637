# SPDX-License-Identifier: GPL-2.0-only
"""The words of the allocator have the kernel's values."""

from __future__ import annotations

import pytest

from pageblock_buddy import gfp


def test_gfp_bits() -> None:
    """LPA-1.0.18."""
    names = [
        "DMA", "HIGHMEM", "DMA32", "MOVABLE", "RECLAIMABLE", "HIGH", "IO", "FS", "ZERO", None, "DIRECT_RECLAIM",
        "KSWAPD_RECLAIM", "WRITE", "NOWARN", "RETRY_MAYFAIL", "NOFAIL", "NORETRY", "MEMALLOC", "COMP", "NOMEMALLOC",
        "HARDWALL", "THISNODE", "ACCOUNT", "ZEROTAGS",
    ]  # fmt: skip
    for bit, name in enumerate(names):
        if name is not None:
            assert getattr(gfp, f"GFP_{name}") == 1 << bit


def test_gfp_masks() -> None:
    """LPA-1.0.20, LPA-1.0.21, LPA-1.0.23, LPA-1.0.25."""
    assert gfp.GFP_KERNEL == 0xCC0
    assert gfp.GFP_ATOMIC == 0x820
    assert gfp.GFP_NOWAIT == 0x800 | 0x2000
    assert gfp.GFP_HIGHUSER_MOVABLE == 0xCC0 | 1 << 20 | 2 | 8
    assert gfp.GFP_USER == 0xCC0 | 1 << 20


def test_alloc_flags() -> None:
    """LPA-1.0.26, LPA-1.0.29; two of them are the gfp bits of the same meaning."""
    assert (gfp.ALLOC_WMARK_MIN, gfp.ALLOC_WMARK_LOW, gfp.ALLOC_WMARK_HIGH, gfp.ALLOC_WMARK_MASK) == (0, 1, 2, 3)
    assert [
        gfp.ALLOC_NO_WATERMARKS, gfp.ALLOC_OOM, gfp.ALLOC_NON_BLOCK, gfp.ALLOC_MIN_RESERVE, gfp.ALLOC_CPUSET,
        gfp.ALLOC_CMA, gfp.ALLOC_NOFRAGMENT, gfp.ALLOC_HIGHATOMIC,
    ] == [1 << bit for bit in range(2, 10)]  # fmt: skip
    assert gfp.ALLOC_KSWAPD == 0x800
    assert gfp.ALLOC_RESERVES == 0x10 | 0x20 | 0x200 | 0x8
    assert gfp.ALLOC_KSWAPD == gfp.GFP_KSWAPD_RECLAIM
    assert gfp.ALLOC_MIN_RESERVE == gfp.GFP_HIGH


def test_migratetypes() -> None:
    """LPA-1.0.9, LPA-1.0.10: numbers of a kernel without CMA; CMA itself is last here (decision D-01)."""
    assert (gfp.MIGRATE_UNMOVABLE, gfp.MIGRATE_MOVABLE, gfp.MIGRATE_RECLAIMABLE) == (0, 1, 2)
    assert gfp.MIGRATE_PCPTYPES == gfp.MIGRATE_HIGHATOMIC == 3
    assert (gfp.MIGRATE_ISOLATE, gfp.MIGRATE_CMA, gfp.MIGRATE_TYPES) == (4, 5, 6)
    assert len(gfp.MIGRATETYPE_NAMES) == gfp.MIGRATE_TYPES


def test_mergeable() -> None:
    """LPA-1.0.11: below 3."""
    assert [gfp.is_migrate_mergeable(mt) for mt in range(6)] == [True, True, True, False, False, False]


def test_zones() -> None:
    """LPA-1.0.12."""
    assert [gfp.ZONE_DMA, gfp.ZONE_DMA32, gfp.ZONE_NORMAL, gfp.ZONE_MOVABLE, gfp.ZONE_DEVICE] == [0, 1, 2, 3, 4]
    assert len(gfp.ZONE_NAMES) == gfp.MAX_NR_ZONES == 5


def test_orders() -> None:
    """LPA-1.0.2, LPA-1.0.4, LPA-1.0.8, LPA-1.0.15."""
    assert (gfp.MAX_PAGE_ORDER, gfp.HUGETLB_PAGE_ORDER, gfp.PAGE_ALLOC_COSTLY_ORDER) == (10, 9, 3)
    assert (gfp.CONFIG_PCP_BATCH_SCALE_MAX, gfp.PAGES_PER_SECTION) == (5, 32768)


def test_pcp_flags() -> None:
    """LPA-2.0.16: bit 0 and bit 1; LPA-2.0.10, LPA-2.0.11: three zone flags."""
    assert (gfp.PCPF_PREV_FREE_HIGH_ORDER, gfp.PCPF_FREE_HIGH_BATCH) == (1, 2)
    flags = (gfp.ZONE_BOOSTED_WATERMARK, gfp.ZONE_RECLAIM_ACTIVE, gfp.ZONE_BELOW_HIGH)
    assert len(set(flags)) == 3


def test_migratetype_of_a_mask() -> None:
    """LPA-1.0.13: bits 3 and 4; both at once is a bug in the kernel too."""
    assert gfp.GFP_MIGRATETYPE_TABLE == (0, 1, 2, None)
    assert gfp.GFP_MOVABLE_MASK == 0x18


@pytest.mark.parametrize("bits", [gfp.GFP_DMA | gfp.GFP_HIGHMEM, gfp.GFP_DMA | gfp.GFP_DMA32, 7, 15])
def test_contradicting_zone_bits(bits: int) -> None:
    """LPA-9.1.4: at most one zone modifier."""
    assert gfp.GFP_ZONE_TABLE[bits] is None
    with pytest.raises(AssertionError):
        gfp.gfp_zone(bits)
