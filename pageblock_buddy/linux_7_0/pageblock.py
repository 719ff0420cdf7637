# SPDX-License-Identifier: GPL-2.0-only
"""Pageblock types with isolation as a bit of its own.

The stored type survives isolation; a reader sees ISOLATE while the bit is set.

Kernel: mm/page_alloc.c (7.0-rc)
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy import gfp
from pageblock_buddy.mm.kernel import Kernel

#: the bit of the flags word; the types are below it
PB_MIGRATE_ISOLATE: Final = 0x10
MIGRATETYPE_MASK: Final = 0x0F


def get_pageblock_migratetype(k: Kernel, pfn: int) -> int:
    """The type of the pageblock of ``pfn``; ISOLATE while it is isolated.

    Kernel:  get_pfnblock_migratetype(), mm/page_alloc.c; LPA-2.0.4, LPA-2.0.6
    Status:  source; read, not recorded
    """
    flags = k.pageblock_flags[pfn >> k.pageblock_order]
    if flags & PB_MIGRATE_ISOLATE:
        return gfp.MIGRATE_ISOLATE  # LPA-2.0.6
    return flags


def set_pageblock_migratetype(k: Kernel, pfn: int, mt: int) -> None:
    """Set the stored type; the block is not isolated then.

    Kernel:  set_pageblock_migratetype(), mm/page_alloc.c; LPA-2.0.4, LPA-2.0.6
    Status:  source; read, not recorded
    """
    k.pageblock_flags[pfn >> k.pageblock_order] = mt


def stored_migratetype(k: Kernel, pfn: int) -> int:
    """The type without regard to isolation.

    Kernel:  __get_pfnblock_flags_mask(…, MIGRATETYPE_MASK), mm/page_alloc.c; LPA-2.0.6
    Status:  source; read, not recorded
    """
    return k.pageblock_flags[pfn >> k.pageblock_order] & MIGRATETYPE_MASK  # LPA-2.0.6


def toggle_pageblock_isolate(k: Kernel, pfn: int, isolate: bool) -> None:
    """Set or clear the isolation bit.

    Kernel:  toggle_pageblock_isolate(), mm/page_alloc.c; LPA-2.0.6
    Status:  source; read, not recorded
    """
    index = pfn >> k.pageblock_order
    if isolate:
        k.pageblock_flags[index] |= PB_MIGRATE_ISOLATE  # LPA-2.0.6
    else:
        k.pageblock_flags[index] &= ~PB_MIGRATE_ISOLATE  # LPA-2.0.6
