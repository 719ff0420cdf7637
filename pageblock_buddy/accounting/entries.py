# SPDX-License-Identifier: GPL-2.0-only
"""Counting entry points: each calls the variant's own and counts what it did.

What a wrapper cannot see from arguments and result it takes from the counters before and after the call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from pageblock_buddy.accounting.holds import (
    ADDED,
    FREED,
    MERGED,
    PAGES,
    PCP_LISTS,
    PCP_MERGES,
    PCP_SPLITS,
    SCANNED,
    TAKEN,
)
from pageblock_buddy.mm.alloc_context import RmqueueMode
from pageblock_buddy.mm.calls import Calls, PcpBuddyCalls, Recovered
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone

if TYPE_CHECKING:
    from pageblock_buddy.accounting.attach import Accounting

Entry = Callable[..., Any]
Wrapped = dict[str, Any]

#: Which kind of operation an entry point begins if it is the outermost one.
_KINDS: Final = {
    "get_page_from_freelist": "alloc",
    "_alloc_pages_slowpath": "alloc",
    "_rmqueue_pcplist": "alloc",  # a bulk allocation
    "alloc_pages_nolock": "alloc",
    "unreserve_highatomic_pageblock": "alloc",  # reclaim, for an allocation that failed
    "_free_frozen_pages": "free",
    "free_unref_folios": "free",
    "free_one_page": "free",
    "free_frozen_page_commit": "free",
    "free_pages_nolock": "free",
    "drain_pages_zone": "drain",
    "drain_zone_pages": "drain",
    "drain_all_pages": "drain",
    "decay_pcp_high": "decay",
    "set_migratetype_isolate": "isolate",
    "unset_migratetype_isolate": "isolate",
    "page_alloc_cpu_dead": "hotplug",
}


def counting_calls(account: Accounting, calls: Calls) -> Calls:
    """A variant's tables with counting entries."""
    wrapped: Wrapped = {**_zone_entries(account, calls), **_refill_entries(account, calls)}
    if calls.pcp_buddy is not None:
        wrapped |= _remote_free_entries(account, calls)
        wrapped["pcp_buddy"] = dataclasses.replace(calls.pcp_buddy, **_pcp_buddy_entries(account, calls.pcp_buddy))
    else:
        wrapped |= _entries_without_owners(account, calls, wrapped["rmqueue_bulk"], wrapped["free_pcppages_bulk"])
    for name, kind in _KINDS.items():
        entry = wrapped.get(name, getattr(calls, name))
        if entry is not None:
            wrapped[name] = _outermost(account, kind, entry)
    return dataclasses.replace(calls, **wrapped)


def _outermost(account: Accounting, kind: str, entry: Entry) -> Entry:
    """The entry, which gives the operation its kind unless an outer one did."""

    def call(*args: Any) -> Any:
        if account.operation is not None:
            return entry(*args)
        account.operation = kind
        account.operations[kind] += 1
        try:
            return entry(*args)
        finally:
            account.operation = None

    return call


# --- the zone's free lists ---------------------------------------------------------------------


def _zone_entries(account: Accounting, calls: Calls) -> Wrapped:
    work = account.work

    def _add_to_free_list(k: Kernel, pfn: int, zone: Zone, order: int, mt: int, tail: bool) -> None:
        work[ADDED] += 1
        work[PAGES] += 1 << order
        calls._add_to_free_list(k, pfn, zone, order, mt, tail)

    def _del_page_from_free_list(k: Kernel, pfn: int, zone: Zone, order: int, mt: int) -> None:
        work[TAKEN] += 1
        work[PAGES] -= 1 << order
        calls._del_page_from_free_list(k, pfn, zone, order, mt)

    def _free_one_page(k: Kernel, pfn: int, zone: Zone, order: int, mt: int, fpi_flags: int) -> None:
        taken = work[TAKEN]
        calls._free_one_page(k, pfn, zone, order, mt, fpi_flags)
        work[FREED] += 1
        work[MERGED] += work[TAKEN] - taken

    def free_blocks_of_pageblock(k: Kernel, start_pfn: int) -> list[tuple[int, int]]:
        blocks = calls.free_blocks_of_pageblock(k, start_pfn)
        # The kernel's loop steps over a free block and looks at every other page.
        end = start_pfn + k.block_pages
        stepped_over = sum(min(1 << order, end - pfn) - 1 for pfn, order in blocks)
        work[SCANNED] += k.block_pages - stepped_over
        return blocks

    return {
        "_add_to_free_list": _add_to_free_list,
        "_del_page_from_free_list": _del_page_from_free_list,
        "_free_one_page": _free_one_page,
        "free_blocks_of_pageblock": free_blocks_of_pageblock,
    }


# --- refills and drains ------------------------------------------------------------------------


def _refill_entries(account: Accounting, calls: Calls) -> Wrapped:
    refills = account.refills

    def rmqueue_bulk(k: Kernel, zone: Zone, order: int, count: int, pcp: PerCpuPages, mt: int, alloc_flags: int) -> int:
        refills.refills += 1
        refills.wanted.add(count << order)
        return calls.rmqueue_bulk(k, zone, order, count, pcp, mt, alloc_flags)

    def free_pcppages_bulk(k: Kernel, zone: Zone, count: int, pcp: PerCpuPages, pindex: int) -> int:
        refills.drains += 1
        return calls.free_pcppages_bulk(k, zone, count, pcp, pindex)

    return {"rmqueue_bulk": rmqueue_bulk, "free_pcppages_bulk": free_pcppages_bulk}


def _entries_without_owners(account: Accounting, calls: Calls, refill: Entry, drain: Entry) -> Wrapped:
    """What a refill takes with __rmqueue() is classic, the rest came as chunks that were cut up; what a drain takes
    off the lists and does not free as it is has merged with its neighbour.
    """
    work, phase_pages = account.work, account.refills.phase_pages
    rmqueued = [0, 0]  # blocks that __rmqueue() gave, blocks that it took off free lists for that

    def _rmqueue(k: Kernel, zone: Zone, order: int, mt: int, alloc_flags: int, mode: RmqueueMode) -> int | None:
        taken = work[TAKEN]
        pfn = calls._rmqueue(k, zone, order, mt, alloc_flags, mode)
        rmqueued[0] += pfn is not None
        rmqueued[1] += work[TAKEN] - taken
        return pfn

    def rmqueue_bulk(k: Kernel, zone: Zone, order: int, count: int, pcp: PerCpuPages, mt: int, alloc_flags: int) -> int:
        classic, classic_taken, taken = *rmqueued, work[TAKEN]
        got: int = refill(k, zone, order, count, pcp, mt, alloc_flags)
        classic, classic_taken, taken = rmqueued[0] - classic, rmqueued[1] - classic_taken, work[TAKEN] - taken
        phase_pages[2] += (got - classic) << order
        phase_pages[3] += classic << order
        chunks = taken - classic_taken
        work[PCP_SPLITS] += got - classic - chunks
        return got

    def free_pcppages_bulk(k: Kernel, zone: Zone, count: int, pcp: PerCpuPages, pindex: int) -> int:
        victims, freed = work[PCP_LISTS], work[FREED]
        went: int = drain(k, zone, count, pcp, pindex)
        work[PCP_MERGES] += work[PCP_LISTS] - victims - (work[FREED] - freed)
        return went

    return {"_rmqueue": _rmqueue, "rmqueue_bulk": rmqueue_bulk, "free_pcppages_bulk": free_pcppages_bulk}


# --- variants with owners ----------------------------------------------------------------------


def _remote_free_entries(account: Accounting, calls: Calls) -> Wrapped:
    refills = account.refills

    def _free_frozen_pages(k: Kernel, pfn: int, order: int, fpi_flags: int) -> None:
        refills.remote_frees += k.pageblock_cpu[pfn >> k.pageblock_order] not in (0, k.machine.cpu + 1)
        calls._free_frozen_pages(k, pfn, order, fpi_flags)

    def free_unref_folios(k: Kernel, folios: Sequence[tuple[int, int]]) -> None:
        mine = (0, k.machine.cpu + 1)
        for pfn, _ in folios:
            refills.remote_frees += k.pageblock_cpu[pfn >> k.pageblock_order] not in mine
        calls.free_unref_folios(k, folios)

    return {"_free_frozen_pages": _free_frozen_pages, "free_unref_folios": free_unref_folios}


def _pcp_buddy_entries(account: Accounting, table: PcpBuddyCalls) -> Wrapped:
    work, refills = account.work, account.refills
    phase_pages = refills.phase_pages

    def pcp_rmqueue_smallest(k: Kernel, zone: Zone, pcp: PerCpuPages, order: int, mt: int) -> int | None:
        # Beside splits, which add one chunk each, there may be one taken and (llist) many absorbed.
        operations = work[PCP_LISTS] + len(pcp.free_llist)
        pfn = table.pcp_rmqueue_smallest(k, zone, pcp, order, mt)
        work[PCP_SPLITS] += work[PCP_LISTS] - operations - (pfn is not None)
        return pfn

    def refill_recover(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
        got = table.refill_recover(k, zone, pcp, wanted, mt, alloc_flags)
        phase_pages[0] += got
        return got

    def refill_claim(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
        refills.reached_claim += wanted >= k.block_pages
        got = table.refill_claim(k, zone, pcp, wanted, mt, alloc_flags)
        refills.claiming += got > 0
        phase_pages[1] += got
        return got

    def refill_chunks(k: Kernel, zone: Zone, pcp: PerCpuPages, order: int, wanted: int, mt: int) -> int:
        got = table.refill_chunks(k, zone, pcp, order, wanted, mt)
        phase_pages[2] += got
        return got

    def refill_classic(
        k: Kernel, zone: Zone, pcp: PerCpuPages, order: int, wanted: int, mt: int, alloc_flags: int
    ) -> int:
        got = table.refill_classic(k, zone, pcp, order, wanted, mt, alloc_flags)
        phase_pages[3] += got
        return got

    def recover_block(k: Kernel, zone: Zone, pcp: PerCpuPages, block_pfn: int, limit: int) -> Recovered:
        found = table.recover_block(k, zone, pcp, block_pfn, limit)
        work[SCANNED] += found.scanned
        refills.recovered += found.pages > 0
        refills.recovered_nothing += found.pages == 0
        return found

    def set_pageblock_owner(k: Kernel, zone: Zone, pfn: int, tag: int) -> None:
        refills.claimed += tag != 0
        refills.disowned += tag == 0
        table.set_pageblock_owner(k, zone, pfn, tag)

    def merge_pcp_buddies(k: Kernel, pcp: PerCpuPages) -> int:
        refills.merge_passes += 1
        refills.merge_chunks_seen += sum(map(len, pcp.lists))
        merges = table.merge_pcp_buddies(k, pcp)
        refills.merge_passes_in_vain += merges == 0
        work[PCP_MERGES] += merges
        return merges

    return {
        "pcp_rmqueue_smallest": pcp_rmqueue_smallest,
        "refill_recover": refill_recover,
        "refill_claim": refill_claim,
        "refill_chunks": refill_chunks,
        "refill_classic": refill_classic,
        "recover_block": recover_block,
        "set_pageblock_owner": set_pageblock_owner,
        "merge_pcp_buddies": merge_pcp_buddies,
    }
