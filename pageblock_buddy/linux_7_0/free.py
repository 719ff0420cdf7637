# SPDX-License-Identifier: GPL-2.0-only
"""Free: a flush gives the locks up between pieces, and some frees may wait for no lock.

Kernel: mm/page_alloc.c (7.0-rc)
"""

from __future__ import annotations

from collections.abc import Sequence

from pageblock_buddy import gfp
from pageblock_buddy.gfp import FPI_NONE, FPI_TRYLOCK
from pageblock_buddy.linux_6_12.free import (
    _free_pages_ok,
    _put_page_testzero,
    check_allocation,
    free_pages_prepare,
)
from pageblock_buddy.linux_6_12.pcp import nr_pcp_free, nr_pcp_high
from pageblock_buddy.linux_6_12.watermark import zone_watermark_ok
from pageblock_buddy.linux_7_0.buddy import add_page_to_zone_llist
from pageblock_buddy.mm.kernel import Kernel, page_zone
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone, wmark_pages
from pageblock_buddy.mm.page import PG_ALLOCATED, PG_COMPOUND, PG_PCP


def free_frozen_page_commit(
    k: Kernel, zone: Zone, pcp: PerCpuPages, pfn: int, mt: int, order: int, fpi_flags: int
) -> bool:
    """Put a block on a per-CPU list, and flush the lists in pieces if they hold too much.

    False: pcp->lock was given up between two pieces and could not be had again; it is not held.

    Kernel:  free_frozen_page_commit(), mm/page_alloc.c; LPA-8.4
    Status:  source; read, not recorded
    Locks:   holds pcp.lock; takes zone.lock; drops pcp.lock; tries pcp.lock
    Points:  zone.lock lock, unlock; pcp.lock unlock, trylock
    """
    pcp.alloc_factor >>= 1  # LPA-8.4.8
    k.pgfree += 1 << order  # LPA-8.4.8, LPA-14.0.10
    pindex = k.calls.order_to_pindex(k, mt, order)
    pcp.lists[pindex].list_add(pfn)  # LPA-8.4.9
    k.mem_map[pfn] = PG_PCP | order
    pcp.count += 1 << order  # LPA-8.1.5, LPA-8.4.9
    batch = pcp.batch
    free_high = False
    if order and order <= gfp.PAGE_ALLOC_COSTLY_ORDER:
        # LPA-8.4.10, LPA-8.4.12
        free_high = (
            pcp.free_count >= batch + pcp.high_min // 2
            and bool(pcp.flags & gfp.PCPF_PREV_FREE_HIGH_ORDER)
            and (not pcp.flags & gfp.PCPF_FREE_HIGH_BATCH or pcp.count >= batch)
        )
        pcp.flags |= gfp.PCPF_PREV_FREE_HIGH_ORDER  # LPA-8.4.13
    elif pcp.flags & gfp.PCPF_PREV_FREE_HIGH_ORDER:
        pcp.flags &= ~gfp.PCPF_PREV_FREE_HIGH_ORDER  # LPA-8.4.13
    if pcp.free_count < batch << k.config.pcp_batch_scale_max:
        pcp.free_count += 1 << order  # LPA-8.4.14
    if fpi_flags & FPI_TRYLOCK:
        # No zone->lock may be waited for: the count may stay above high for a while.
        return True  # LPA-8.4.15
    high = nr_pcp_high(k, pcp, zone, free_high)
    if pcp.count < high:  # LPA-8.4.16
        return True
    held = flush_in_pieces(k, zone, pcp, nr_pcp_free(k, pcp, batch, high, free_high), pindex)
    if zone.flags & gfp.ZONE_BELOW_HIGH:
        mark = wmark_pages(zone, gfp.WMARK_HIGH)
        if zone_watermark_ok(k, zone, 0, mark, gfp.ZONE_MOVABLE, 0):
            zone.flags &= ~gfp.ZONE_BELOW_HIGH  # LPA-8.4.17, LPA-11.4.2
    return held


def flush_in_pieces(k: Kernel, zone: Zone, pcp: PerCpuPages, to_free: int, pindex: int) -> bool:
    """Send ``to_free`` pages to the zone, a batch at a time; both locks are free between two pieces.

    False: the running CPU's pcp->lock could not be had again; the rest stays.

    Kernel:  free_frozen_page_commit(), mm/page_alloc.c; LPA-8.4.27, LPA-8.4.28, LPA-16.0.9
    Status:  source; read, not recorded
    Locks:   holds pcp.lock; takes zone.lock; drops pcp.lock; tries pcp.lock
    Units:   pages
    Points:  zone.lock lock, unlock; pcp.lock unlock, trylock
    """
    cpu, batch = k.machine.cpu, pcp.batch
    while to_free > 0 and pcp.count > 0:
        piece = min(to_free, batch)
        k.calls.free_pcppages_bulk(k, zone, piece, pcp, pindex)  # LPA-8.4.27, LPA-8.5.9
        to_free -= piece  # LPA-8.4.28
        if to_free == 0 or pcp.count == 0:
            break
        pcp.lock.unlock()  # LPA-16.0.9
        pcp = zone.per_cpu_pageset[k.machine.cpu]
        if not pcp.lock.pcp_spin_trylock():
            return False  # LPA-8.4.27
        if k.machine.cpu != cpu:
            # The task moved while nothing was held: these are another CPU's lists.
            pcp.lock.unlock()
            return False  # LPA-8.4.27
    return True


def _free_frozen_pages(k: Kernel, pfn: int, order: int, fpi_flags: int) -> None:
    """Free a block whose last reference is gone.

    Kernel:  __free_frozen_pages(), mm/page_alloc.c; LPA-8.4
    Status:  source; read, not recorded
    Locks:   tries pcp.lock; takes zone.lock
    Points:  pcp.lock trylock, unlock; zone.lock lock, unlock
    Errors:  BadFree, DoubleFree, OrderMismatch
    """
    if not k.calls.pcp_allowed_order(k, order):
        _free_pages_ok(k, pfn, order, fpi_flags)  # LPA-8.4.1
        return
    free_pages_prepare(k, pfn, order)
    zone = page_zone(k, pfn)
    mt = k.calls.get_pageblock_migratetype(k, pfn)  # LPA-8.4.3, LPA-16.0.13
    if mt >= gfp.MIGRATE_PCPTYPES:
        if mt == gfp.MIGRATE_ISOLATE:
            k.calls.free_one_page(k, zone, pfn, order, fpi_flags)  # LPA-8.4.4
            return
        mt = gfp.MIGRATE_MOVABLE  # LPA-8.4.5
    if fpi_flags & FPI_TRYLOCK and k.config.preempt_rt and k.machine.in_hardirq_or_nmi():
        # Under PREEMPT_RT a spinlock sleeps, and may not even be tried here.
        add_page_to_zone_llist(k, zone, pfn, order)  # LPA-4.3.6
        return
    pcp = zone.per_cpu_pageset[k.machine.cpu]  # LPA-8.4.7
    if pcp.lock.pcp_spin_trylock():  # LPA-8.4.6, LPA-16.0.2
        if k.calls.free_frozen_page_commit(k, zone, pcp, pfn, mt, order, fpi_flags):
            pcp.lock.unlock()
    else:
        k.calls.free_one_page(k, zone, pfn, order, fpi_flags)  # LPA-8.4.6, LPA-16.0.3


def free_unref_folios(k: Kernel, folios: Sequence[tuple[int, int]]) -> None:
    """Free a batch of (PFN, order), as munmap and truncate do, under as few pcp->lock holds as possible.

    Kernel:  free_unref_folios(), mm/page_alloc.c; LPA-10.0.8, LPA-10.0.9, LPA-10.0.10
    Status:  source; read, not recorded
    Locks:   tries pcp.lock; takes zone.lock
    Points:  pcp.lock trylock, unlock; zone.lock lock, unlock
    """
    prepared = []
    for pfn, order in folios:
        free_pages_prepare(k, pfn, order)  # LPA-10.0.8
        if k.calls.pcp_allowed_order(k, order):
            prepared.append((pfn, order))
        else:
            k.calls.free_one_page(k, page_zone(k, pfn), pfn, order, FPI_NONE)  # LPA-10.0.8
    pcp: PerCpuPages | None = None
    locked_zone: Zone | None = None
    for pfn, order in prepared:
        zone = page_zone(k, pfn)
        mt = k.calls.get_pageblock_migratetype(k, pfn)
        isolated = mt == gfp.MIGRATE_ISOLATE
        if pcp is not None and (zone is not locked_zone or isolated):
            pcp.lock.unlock()  # LPA-10.0.10
            pcp = None
        if isolated:
            k.calls.free_one_page(k, zone, pfn, order, FPI_NONE)  # LPA-10.0.10
            continue
        if pcp is None:
            pcp = zone.per_cpu_pageset[k.machine.cpu]
            locked_zone = zone
            if not pcp.lock.pcp_spin_trylock():
                pcp = None
                k.calls.free_one_page(k, zone, pfn, order, FPI_NONE)  # LPA-10.0.10, LPA-16.0.3
                continue
        if mt >= gfp.MIGRATE_PCPTYPES:
            mt = gfp.MIGRATE_MOVABLE  # LPA-8.4.5
        if k.trace is not None:
            k.trace.mm_page_free_batched(k.machine.cpu, pfn)  # LPA-15.1.3
        if not k.calls.free_frozen_page_commit(k, zone, pcp, pfn, mt, order, FPI_NONE):  # LPA-10.0.9
            pcp = None  # LPA-10.0.10
    if pcp is not None:
        pcp.lock.unlock()


def free_pages_nolock(k: Kernel, pfn: int, order: int) -> None:
    """Put one reference from any context, without waiting for a lock.

    Kernel:  free_pages_nolock() through ___free_pages(…, FPI_TRYLOCK), mm/page_alloc.c; LPA-9.5.1, LPA-10.0.1
    Status:  source; read, not recorded
    Locks:   tries pcp.lock, zone.lock
    Errors:  BadFree, DoubleFree, OrderMismatch; nothing has changed then
    """
    check_allocation(k, pfn, order)
    state = k.mem_map[pfn]
    if _put_page_testzero(k, pfn):
        k.calls._free_frozen_pages(k, pfn, order, FPI_TRYLOCK)  # LPA-10.0.1
    elif not state & PG_COMPOUND:
        k.mem_map[pfn] = PG_ALLOCATED  # LPA-10.0.2
        for part in range(order - 1, -1, -1):
            k.mem_map[pfn + (1 << part)] = PG_ALLOCATED | part
            k.calls._free_frozen_pages(k, pfn + (1 << part), part, FPI_TRYLOCK)
