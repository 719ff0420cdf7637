# SPDX-License-Identifier: GPL-2.0-only
"""Pageblock migratetypes.

Kernel: mm/page_alloc.c, include/linux/pageblock-flags.h
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pageblock_buddy.mm.kernel import Kernel


def get_pageblock_migratetype(k: Kernel, pfn: int) -> int:
    """The type of the pageblock of ``pfn``.

    Kernel:  get_pfnblock_migratetype(), mm/page_alloc.c; LPA-2.0.4
    Status:  source
    """
    return k.pageblock_flags[pfn >> k.pageblock_order]


def set_pageblock_migratetype(k: Kernel, pfn: int, mt: int) -> None:
    """Set the type of the pageblock of ``pfn``.

    Kernel:  set_pageblock_migratetype(), mm/page_alloc.c; LPA-2.0.4, LPA-2.0.5
    Status:  source
    """
    k.pageblock_flags[pfn >> k.pageblock_order] = mt


def pageblock_start_pfn(k: Kernel, pfn: int) -> int:
    """First PFN of the pageblock of ``pfn``.

    Kernel:  pageblock_start_pfn(), include/linux/pageblock-flags.h; LPA-1.0.6
    Status:  source
    """
    return pfn & -k.block_pages
