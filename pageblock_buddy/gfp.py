# SPDX-License-Identifier: GPL-2.0-only
"""The words of the allocator: gfp bits, ALLOC_ flags, FPI_ flags, migratetypes, zones.

Plain ``Final[int]`` constants, as in the kernel: an ``IntFlag`` costs most of a
microsecond per ``|``.

Kernel: include/linux/gfp_types.h, include/linux/mmzone.h, mm/internal.h (6.12)
"""

from __future__ import annotations

from typing import Final

# --- migratetypes (enum migratetype) -----------------------------------------------------------
# Numbers are those of a kernel without CONFIG_CMA, which is what Debian builds (LPA-1.0.10).
# MIGRATE_CMA therefore comes last here, not fourth (decision D-01).
MIGRATE_UNMOVABLE: Final = 0
MIGRATE_MOVABLE: Final = 1
MIGRATE_RECLAIMABLE: Final = 2
MIGRATE_PCPTYPES: Final = 3  # LPA-1.0.9
MIGRATE_HIGHATOMIC: Final = 3
MIGRATE_ISOLATE: Final = 4  # LPA-1.0.10
MIGRATE_CMA: Final = 5
MIGRATE_TYPES: Final = 6

MIGRATETYPE_NAMES: Final = ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate", "CMA")

# --- zones (enum zone_type, x86-64) ------------------------------------------------------------
ZONE_DMA: Final = 0  # LPA-1.0.12
ZONE_DMA32: Final = 1
ZONE_NORMAL: Final = 2
ZONE_MOVABLE: Final = 3
ZONE_DEVICE: Final = 4
MAX_NR_ZONES: Final = 5

ZONE_NAMES: Final = ("DMA", "DMA32", "Normal", "Movable", "Device")

# --- watermark index (enum zone_watermarks) ----------------------------------------------------
WMARK_MIN: Final = 0
WMARK_LOW: Final = 1
WMARK_HIGH: Final = 2
WMARK_PROMO: Final = 3
NR_WMARK: Final = 4

# --- gfp bits ----------------------------------------------------------------------------------
GFP_DMA: Final = 1 << 0  # LPA-1.0.18
GFP_HIGHMEM: Final = 1 << 1
GFP_DMA32: Final = 1 << 2
GFP_MOVABLE: Final = 1 << 3
GFP_RECLAIMABLE: Final = 1 << 4
GFP_HIGH: Final = 1 << 5
GFP_IO: Final = 1 << 6
GFP_FS: Final = 1 << 7
GFP_ZERO: Final = 1 << 8
GFP_DIRECT_RECLAIM: Final = 1 << 10
GFP_KSWAPD_RECLAIM: Final = 1 << 11
GFP_WRITE: Final = 1 << 12
GFP_NOWARN: Final = 1 << 13
GFP_RETRY_MAYFAIL: Final = 1 << 14
GFP_NOFAIL: Final = 1 << 15
GFP_NORETRY: Final = 1 << 16
GFP_MEMALLOC: Final = 1 << 17
GFP_COMP: Final = 1 << 18
GFP_NOMEMALLOC: Final = 1 << 19
GFP_HARDWALL: Final = 1 << 20
GFP_THISNODE: Final = 1 << 21
GFP_ACCOUNT: Final = 1 << 22
GFP_ZEROTAGS: Final = 1 << 23
GFP_BITS_SHIFT: Final = 26

GFP_RECLAIM: Final = GFP_DIRECT_RECLAIM | GFP_KSWAPD_RECLAIM
GFP_KERNEL: Final = GFP_RECLAIM | GFP_IO | GFP_FS  # LPA-1.0.20
GFP_ATOMIC: Final = GFP_HIGH | GFP_KSWAPD_RECLAIM  # LPA-1.0.21
GFP_NOWAIT: Final = GFP_KSWAPD_RECLAIM | GFP_NOWARN  # LPA-1.0.23
GFP_USER: Final = GFP_KERNEL | GFP_HARDWALL
GFP_HIGHUSER: Final = GFP_USER | GFP_HIGHMEM
GFP_HIGHUSER_MOVABLE: Final = GFP_HIGHUSER | GFP_MOVABLE  # LPA-1.0.25

GFP_MOVABLE_MASK: Final = GFP_MOVABLE | GFP_RECLAIMABLE
GFP_MOVABLE_SHIFT: Final = 3
GFP_ZONEMASK: Final = GFP_DMA | GFP_HIGHMEM | GFP_DMA32 | GFP_MOVABLE

# --- ALLOC_ flags (mm/internal.h): the low two bits are the watermark index --------------------
ALLOC_WMARK_MIN: Final = WMARK_MIN  # LPA-1.0.26
ALLOC_WMARK_LOW: Final = WMARK_LOW
ALLOC_WMARK_HIGH: Final = WMARK_HIGH
ALLOC_NO_WATERMARKS: Final = 0x4
ALLOC_WMARK_MASK: Final = ALLOC_NO_WATERMARKS - 1
ALLOC_OOM: Final = 0x8
ALLOC_NON_BLOCK: Final = 0x10
ALLOC_MIN_RESERVE: Final = 0x20
ALLOC_CPUSET: Final = 0x40
ALLOC_CMA: Final = 0x80
ALLOC_NOFRAGMENT: Final = 0x100
ALLOC_HIGHATOMIC: Final = 0x200
ALLOC_TRYLOCK: Final = 0x400
ALLOC_KSWAPD: Final = 0x800
ALLOC_RESERVES: Final = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM  # LPA-1.0.29

# --- FPI_ flags (free page internal) -----------------------------------------------------------
FPI_NONE: Final = 0
FPI_SKIP_REPORT_NOTIFY: Final = 1 << 0
FPI_TO_TAIL: Final = 1 << 1
FPI_TRYLOCK: Final = 1 << 2  # 7.0: no lock may be waited for
#: Not the kernel's: carries the one read of pbd->cpu from the routing of a free to its commit (decision D-21).
FPI_PCP_BUDDY: Final = 1 << 8

# --- zone->flags bits --------------------------------------------------------------------------
ZONE_BOOSTED_WATERMARK: Final = 1 << 0  # LPA-2.0.10
ZONE_RECLAIM_ACTIVE: Final = 1 << 1
ZONE_BELOW_HIGH: Final = 1 << 2  # LPA-2.0.11

# --- pcp->flags bits ---------------------------------------------------------------------------
PCPF_PREV_FREE_HIGH_ORDER: Final = 1 << 0  # LPA-2.0.16
PCPF_FREE_HIGH_BATCH: Final = 1 << 1

# --- orders ------------------------------------------------------------------------------------
PAGE_ALLOC_COSTLY_ORDER: Final = 3  # LPA-1.0.8
MAX_PAGE_ORDER: Final = 10  # LPA-1.0.2
HUGETLB_PAGE_ORDER: Final = 9  # LPA-1.0.5, LPA-1.0.6
CONFIG_PCP_BATCH_SCALE_MAX: Final = 5  # LPA-1.0.15
PAGES_PER_SECTION: Final = 1 << 15  # LPA-1.0.8

#: gfp zone bits -> highest zone index, without GFP_MOVABLE (LPA-9.1.4)
_ZONE_OF_MODIFIER: Final = {
    0: ZONE_NORMAL,
    GFP_DMA: ZONE_DMA,
    GFP_HIGHMEM: ZONE_NORMAL,
    GFP_DMA32: ZONE_DMA32,
}


def _build_gfp_zone_table() -> tuple[int | None, ...]:
    """Index: the low four gfp bits.  None: a combination that the kernel calls a bug.

    Status: source
    """
    table: list[int | None] = []
    for bits in range(16):
        zone = _ZONE_OF_MODIFIER.get(bits & ~GFP_MOVABLE)
        # GFP_MOVABLE alone never leaves the zone of its modifier; only together with
        # GFP_HIGHMEM may the page come from ZONE_MOVABLE.
        if zone is not None and bits == GFP_MOVABLE | GFP_HIGHMEM:
            zone = ZONE_MOVABLE
        table.append(zone)
    return tuple(table)


GFP_ZONE_TABLE: Final = _build_gfp_zone_table()

#: gfp bits 3 and 4 -> migratetype; both together is a bug in the kernel
GFP_MIGRATETYPE_TABLE: Final = (MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, None)


def gfp_zone(gfp: int) -> int:
    """The highest zone index that a request may use.

    Kernel:  gfp_zone(), include/linux/gfp.h; LPA-9.1.4
    Status:  source
    """
    zone = GFP_ZONE_TABLE[gfp & GFP_ZONEMASK]
    assert zone is not None
    return zone  # LPA-9.1.4


def is_migrate_mergeable(mt: int) -> bool:
    """Whether free blocks of this type may merge across types and be converted.

    Kernel:  migratetype_is_mergeable(), include/linux/mmzone.h; LPA-1.0.11
    Status:  source
    """
    return mt < MIGRATE_PCPTYPES  # LPA-1.0.11
