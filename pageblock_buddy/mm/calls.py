# SPDX-License-Identifier: GPL-2.0-only
"""Calls: the table of entry points that a variant may replace.

Mirrored code reaches each of these only through ``k.calls``, so an override is used by the inherited
files as well (docs/architecture.md).  The comment behind a field names the variants that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pageblock_buddy.machine.lists import ListHead
    from pageblock_buddy.mm.alloc_context import AllocContext, RmqueueMode
    from pageblock_buddy.mm.kernel import Kernel
    from pageblock_buddy.mm.mmzone import PerCpuPages, Zone


@dataclass(frozen=True, slots=True, kw_only=True)
class PcpBuddyCalls:
    """The entry points that exist only where pageblocks have owners: rfc and what builds on it.

    Mirrored code reaches them as ``k.pcp_buddy``.  The comment behind a field names who replaces it.
    """

    # taking from the PCP
    pcp_rmqueue_smallest: Callable[[Kernel, Zone, PerCpuPages, int, int], int | None]  # llist: absorbs first
    # refill, phase by phase; each returns the pages that it got
    refill_recover: Callable[[Kernel, Zone, PerCpuPages, int, int, int], int]  # recover-enough, -cycle, -cap
    refill_claim: Callable[[Kernel, Zone, PerCpuPages, int, int, int], int]  # claim-own-type, claim-cma
    refill_chunks: Callable[[Kernel, Zone, PerCpuPages, int, int, int], int]
    refill_classic: Callable[[Kernel, Zone, PerCpuPages, int, int, int, int], int]
    recover_block: Callable[[Kernel, Zone, PerCpuPages, int, int], Recovered]  # recover-counter
    # pageblock_data
    set_pageblock_owner: Callable[[Kernel, Zone, int, int], None]  # monitors
    list_owned_block: Callable[[Kernel, Zone, PerCpuPages, int], None]  # owned-per-type
    unlist_owned_block: Callable[[Kernel, Zone, int], None]  # owned-per-type
    owned_blocks_to_recover: Callable[[Kernel, PerCpuPages, int], list[int]]  # owned-per-type
    # free
    pcp_free_lock: Callable[[Kernel, PerCpuPages, int], bool]  # rfc-trylock
    still_routed: Callable[[Kernel, int, int, int], bool]  # offline-keep
    # drain
    merge_pcp_buddies: Callable[[Kernel, PerCpuPages], int]
    drain_order: Callable[[Kernel, int], Sequence[int]]  # drain-oldest


class Recovered(NamedTuple):
    """What phase 0 found in one pageblock: pages taken, PFNs looked at, and whether it saw the block to its end."""

    pages: int
    scanned: int
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """One variant's entry points.  Frozen: built once, when the variant's package is imported."""

    # pageblock types
    get_pageblock_migratetype: Callable[[Kernel, int], int]  # 7.0: isolation bit
    set_pageblock_migratetype: Callable[[Kernel, int, int], None]  # 7.0: isolation bit
    # free-list primitives
    _add_to_free_list: Callable[[Kernel, int, Zone, int, int, bool], None]  # rfc policy: a counter per pageblock
    _del_page_from_free_list: Callable[[Kernel, int, Zone, int, int], None]  # rfc policy: the same
    free_blocks_of_pageblock: Callable[[Kernel, int], list[tuple[int, int]]]  # accounting: a scan under zone->lock
    # buddy
    _free_one_page: Callable[[Kernel, int, Zone, int, int, int], None]  # 6.1: types on merge
    free_one_page: Callable[[Kernel, Zone, int, int, int], None]  # 6.1: whole order; 7.0: deferred llist
    _rmqueue_smallest: Callable[[Kernel, Zone, int, int], int | None]  # 6.1: accounting
    _rmqueue: Callable[[Kernel, Zone, int, int, int, RmqueueMode], int | None]  # 6.1: fallback
    rmqueue_buddy: Callable[[Kernel, Zone, int, int, int], int | None]  # 7.0: trylock
    # highatomic
    reserve_highatomic_pageblock: Callable[[Kernel, int, int, Zone], None]  # 6.1
    unreserve_highatomic_pageblock: Callable[[Kernel, AllocContext, bool], bool]  # 6.1
    zone_watermark_unusable_free: Callable[[Zone, int, int], int]  # 6.1
    # per-CPU lists
    nr_pcp_lists: Callable[[Kernel], int]  # rfc: a list for every order
    pcp_allowed_order: Callable[[Kernel, int], bool]  # rfc
    order_to_pindex: Callable[[Kernel, int, int], int]  # rfc
    pindex_to_order: Callable[[Kernel, int], int]  # rfc
    nr_pcp_alloc: Callable[[Kernel, PerCpuPages, Zone, int], int]  # 6.1
    rmqueue_pcplist: Callable[[Kernel, Zone, int, int, int], int | None]  # 6.1: free_factor; rfc: splitting
    _rmqueue_pcplist: Callable[[Kernel, Zone, int, int, int, PerCpuPages, ListHead], int | None]  # rfc
    rmqueue_bulk: Callable[[Kernel, Zone, int, int, PerCpuPages, int, int], int]  # 7.0: trylock; rfc: four phases
    free_pcppages_bulk: Callable[[Kernel, Zone, int, PerCpuPages, int], int]  # 6.1, rfc: merge pass
    free_frozen_page_commit: Callable[[Kernel, Zone, PerCpuPages, int, int, int, int], bool]  # 6.1, 7.0
    # allocation
    alloc_flags_nofragment: Callable[[Kernel, Zone, int], int]  # 7.0: defrag_mode
    gfp_to_alloc_flags: Callable[[Kernel, int, int], int]  # 7.0: defrag_mode
    _alloc_pages_slowpath: Callable[[Kernel, int, int, AllocContext], int | None]  # 7.0: second attempt
    get_page_from_freelist: Callable[[Kernel, int, int, int, AllocContext], int | None]  # 6.1, 7.0
    # free
    _free_frozen_pages: Callable[[Kernel, int, int, int], None]  # 7.0: trylock-only; rfc: owner routing
    free_unref_folios: Callable[[Kernel, Sequence[tuple[int, int]]], None]  # 6.1, rfc
    # drains
    drain_pages_zone: Callable[[Kernel, int, Zone], None]  # rfc, llist
    drain_zone_pages: Callable[[Kernel, Zone, PerCpuPages], None]  # rfc
    decay_pcp_high: Callable[[Kernel, Zone, PerCpuPages], int]  # 6.1: none
    drain_all_pages: Callable[[Kernel, Zone | None], None]  # llist: CPUs with remote frees
    page_alloc_cpu_dead: Callable[[Kernel, int], None]  # rfc: disowning; llist: absorbing
    # isolation
    set_migratetype_isolate: Callable[[Kernel, Zone, int], bool]  # 7.0: isolation bit
    unset_migratetype_isolate: Callable[[Kernel, Zone, int, int], None]  # 7.0: isolation bit
    # what only some variants have; None elsewhere
    alloc_pages_nolock: Callable[[Kernel, int, int, int], int | None] | None = None  # 7.0
    free_pages_nolock: Callable[[Kernel, int, int], None] | None = None  # 7.0
    after_load: Callable[[Kernel], None] | None = None  # recover-counter: what follows from a loaded state
    pcp_buddy: PcpBuddyCalls | None = None  # rfc
