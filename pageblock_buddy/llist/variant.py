# SPDX-License-Identifier: GPL-2.0-only
"""Variant llist: what it replaces of rfc."""

from __future__ import annotations

import dataclasses
from typing import Final

from pageblock_buddy.llist import bulk, drain, free, hotplug, pcp
from pageblock_buddy.rfc import variant as rfc

PCP_BUDDY: Final = dataclasses.replace(
    rfc.PCP_BUDDY,
    pcp_rmqueue_smallest=pcp.pcp_rmqueue_smallest,
    pcp_free_lock=free.pcp_free_lock,
)

CALLS: Final = dataclasses.replace(
    rfc.CALLS,
    free_pcppages_bulk=bulk.free_pcppages_bulk,
    _free_frozen_pages=free._free_frozen_pages,
    free_unref_folios=free.free_unref_folios,
    drain_pages_zone=drain.drain_pages_zone,
    drain_all_pages=drain.drain_all_pages,
    page_alloc_cpu_dead=hotplug.page_alloc_cpu_dead,
    pcp_buddy=PCP_BUDDY,
)
