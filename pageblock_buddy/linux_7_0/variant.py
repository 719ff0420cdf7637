# SPDX-License-Identifier: GPL-2.0-only
"""Variant linux-7.0: what it replaces of linux-6.12."""

from __future__ import annotations

import dataclasses
from typing import Final

from pageblock_buddy.linux_6_12 import variant as linux_6_12
from pageblock_buddy.linux_7_0 import alloc, buddy, bulk, free, isolation, pageblock

CALLS: Final = dataclasses.replace(
    linux_6_12.CALLS,
    get_pageblock_migratetype=pageblock.get_pageblock_migratetype,
    set_pageblock_migratetype=pageblock.set_pageblock_migratetype,
    free_one_page=buddy.free_one_page,
    rmqueue_bulk=bulk.rmqueue_bulk,
    rmqueue_buddy=alloc.rmqueue_buddy,
    alloc_flags_nofragment=alloc.alloc_flags_nofragment,
    gfp_to_alloc_flags=alloc.gfp_to_alloc_flags,
    get_page_from_freelist=alloc.get_page_from_freelist,
    _alloc_pages_slowpath=alloc._alloc_pages_slowpath,
    free_frozen_page_commit=free.free_frozen_page_commit,
    _free_frozen_pages=free._free_frozen_pages,
    free_unref_folios=free.free_unref_folios,
    set_migratetype_isolate=isolation.set_migratetype_isolate,
    unset_migratetype_isolate=isolation.unset_migratetype_isolate,
    alloc_pages_nolock=alloc.alloc_pages_nolock,
    free_pages_nolock=free.free_pages_nolock,
)
