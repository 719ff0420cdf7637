# SPDX-License-Identifier: GPL-2.0-only
"""Free: to the PCP of the pageblock's owner, whichever CPU frees.

The owner is read without a lock.  It cannot change before the page is on a list: a claim needs the block wholly free in
the zone, a disown needs it wholly merged on the PCP, and whoever frees holds one of its pages.  Only CPU hotplug breaks
this, so what was read is looked at again once the lock is held.

Task context waits for a busy PCP, since the owner is still the best home for the page; elsewhere the page goes to
the zone.

Kernel: mm/page_alloc.c; [RFC 2/2] as quoted in [Weiner 04-10]
"""

from __future__ import annotations

from collections.abc import Sequence

from pageblock_buddy import gfp
from pageblock_buddy.gfp import FPI_NONE, FPI_PCP_BUDDY, FPI_TRYLOCK
from pageblock_buddy.linux_6_12.free import _free_pages_ok, free_pages_prepare
from pageblock_buddy.linux_6_12.pcp import nr_pcp_free, nr_pcp_high
from pageblock_buddy.linux_6_12.watermark import zone_watermark_ok
from pageblock_buddy.linux_7_0.buddy import add_page_to_zone_llist
from pageblock_buddy.mm.kernel import Kernel, page_zone
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone, wmark_pages
from pageblock_buddy.mm.page import PG_PCP, PG_PCP_BUDDY

# --- routing -----------------------------------------------------------------------------------


def pcp_free_lock(k: Kernel, pcp: PerCpuPages, fpi_flags: int) -> bool:
    """Take the target's pcp->lock: task context waits, everybody else tries.  False: it is not held.

    Kernel:  __free_frozen_pages(), mm/page_alloc.c; [RFC 2/2]; RFC-6.8, RFC-6.9
    Status:  source
    Locks:   takes pcp.lock; tries pcp.lock (with FPI_TRYLOCK, or not in task context)
    Points:  pcp.lock lock or trylock
    """
    if fpi_flags & FPI_TRYLOCK or not k.machine.in_task():
        return pcp.lock.trylock_irqsave()  # RFC-6.8
    pcp.lock.lock_irqsave()  # RFC-6.9
    return True


def still_routed(k: Kernel, pfn: int, tag: int, cpu: int) -> bool:
    """Whether what was read before the lock still holds: the owner, or that the CPU whose lists it is are alive.

    Kernel:  none: the RFC does not speak of CPU hotplug; [RFC 2/2]; RFC-8.2
    Status:  decision D-23
    Locks:   holds pcp.lock
    """
    return k.pageblock_cpu[pfn >> k.pageblock_order] == tag and (tag != 0 or k.machine.online[cpu])  # RFC-8.2


def lock_pcp_of_owner(
    k: Kernel, zone: Zone, pfn: int, fpi_flags: int, held: PerCpuPages | None
) -> tuple[PerCpuPages | None, int]:
    """Find and lock the PCP that a page goes to.  Returns it, or None if its lock is busy; and the tag that was read.

    ``held`` is a pageset whose lock is held already: it is kept if it is the right one, and given up before another
    is taken.

    Kernel:  __free_frozen_pages(), mm/page_alloc.c; [RFC 2/2]; RFC-3.20, RFC-6.7, RFC-6.4, RFC-6.5
    Status:  source; decision D-23 (looking again)
    Locks:   takes pcp.lock; tries pcp.lock; drops pcp.lock
    Points:  pcp.lock lock or trylock, unlock
    """
    block = pfn >> k.pageblock_order
    while True:
        tag = k.pageblock_cpu[block]  # RFC-3.20, RFC-6.7
        cpu = tag - 1 if tag else k.machine.cpu  # RFC-6.4, RFC-6.5
        pcp = zone.per_cpu_pageset[cpu]
        if pcp is not held:
            if held is not None:
                held.lock.unlock()  # RFC-6.20
                held = None
            if not k.pcp_buddy.pcp_free_lock(k, pcp, fpi_flags):
                return None, tag
        if k.pcp_buddy.still_routed(k, pfn, tag, cpu):  # RFC-8.2
            return pcp, tag
        if not tag and not k.machine.online[k.machine.cpu]:
            # The running CPU itself is going: reading its number again would not help.
            pcp.lock.unlock()
            return None, tag
        held = pcp


# --- to the per-CPU lists ----------------------------------------------------------------------


def free_frozen_page_commit(
    k: Kernel, zone: Zone, pcp: PerCpuPages, pfn: int, mt: int, order: int, fpi_flags: int
) -> bool:
    """Put a block on a per-CPU list, marked if FPI_PCP_BUDDY is set, and flush the lists in pieces if they hold too
    much.

    ``pcp`` may be another CPU's; its own count and limits are what matters, and the freeing CPU pays for the flush.
    False: pcp->lock was given up between two pieces and could not be had again; it is not held.

    Kernel:  free_frozen_page_commit(), mm/page_alloc.c; [RFC 2/2]; RFC-6.10, RFC-6.13, RFC-6.12, RFC-3.11
    Status:  inferred, as linux-7.0 with the mark; decision D-21
    Locks:   holds pcp.lock; takes zone.lock; drops pcp.lock; tries pcp.lock
    Points:  zone.lock lock, unlock; pcp.lock unlock, trylock
    """
    pcp.alloc_factor >>= 1  # RFC-6.10, RFC-6.13
    k.pgfree += 1 << order
    pindex = k.calls.order_to_pindex(k, mt, order)
    pcp.lists[pindex].list_add(pfn)  # RFC-6.12
    k.mem_map[pfn] = (PG_PCP_BUDDY if fpi_flags & FPI_PCP_BUDDY else PG_PCP) | order  # RFC-3.11, RFC-6.11
    pcp.count += 1 << order
    batch = pcp.batch
    free_high = False
    if order and order <= gfp.PAGE_ALLOC_COSTLY_ORDER:
        free_high = (
            pcp.free_count >= batch + pcp.high_min // 2
            and bool(pcp.flags & gfp.PCPF_PREV_FREE_HIGH_ORDER)
            and (not pcp.flags & gfp.PCPF_FREE_HIGH_BATCH or pcp.count >= batch)
        )
        pcp.flags |= gfp.PCPF_PREV_FREE_HIGH_ORDER
    elif pcp.flags & gfp.PCPF_PREV_FREE_HIGH_ORDER:
        pcp.flags &= ~gfp.PCPF_PREV_FREE_HIGH_ORDER
    if pcp.free_count < batch << k.config.pcp_batch_scale_max:
        pcp.free_count += 1 << order
    if fpi_flags & FPI_TRYLOCK:  # RFC-6.15
        return True
    high = nr_pcp_high(k, pcp, zone, free_high)
    if pcp.count < high:
        return True
    held = flush_in_pieces(k, zone, pcp, nr_pcp_free(k, pcp, batch, high, free_high), pindex)
    if zone.flags & gfp.ZONE_BELOW_HIGH:
        mark = wmark_pages(zone, gfp.WMARK_HIGH)
        if zone_watermark_ok(k, zone, 0, mark, gfp.ZONE_MOVABLE, 0):
            zone.flags &= ~gfp.ZONE_BELOW_HIGH
    return held


def flush_in_pieces(k: Kernel, zone: Zone, pcp: PerCpuPages, to_free: int, pindex: int) -> bool:
    """Send ``to_free`` pages to the zone, a batch at a time; both locks are free between two pieces.

    Chunks are not split, so what really went counts.  It is this PCP's lock that is tried again, not the running
    CPU's as in linux-7.0.  False: it was busy; the rest stays.

    Kernel:  free_frozen_page_commit(), mm/page_alloc.c; [RFC 2/2]; RFC-6.14
    Status:  decision D-21
    Locks:   holds pcp.lock; takes zone.lock; drops pcp.lock; tries pcp.lock
    Units:   pages
    Points:  zone.lock lock, unlock; pcp.lock unlock, trylock
    """
    batch = pcp.batch
    while to_free > 0 and pcp.count > 0:
        # A piece may take a whole pageblock where a batch was asked for: what went counts.
        went = k.calls.free_pcppages_bulk(k, zone, min(to_free, batch), pcp, pindex)
        to_free -= went  # RFC-6.14
        if to_free <= 0 or pcp.count == 0 or not went:
            break
        pcp.lock.unlock()
        if not k.pcp_buddy.pcp_free_lock(k, pcp, FPI_TRYLOCK):  # RFC-6.14
            return False
    return True


def _free_frozen_pages(k: Kernel, pfn: int, order: int, fpi_flags: int) -> None:
    """Free a block whose last reference is gone.

    Kernel:  __free_frozen_pages(), mm/page_alloc.c; [RFC 2/2]; RFC-3.17, RFC-6.3, RFC-6.2, RFC-6.1
    Status:  source
    Locks:   takes pcp.lock; tries pcp.lock; takes zone.lock
    Points:  pcp.lock lock or trylock, unlock; zone.lock lock, unlock
    Errors:  BadFree, DoubleFree, OrderMismatch
    """
    if not k.calls.pcp_allowed_order(k, order):
        _free_pages_ok(k, pfn, order, fpi_flags)  # RFC-3.17, RFC-6.3
        return
    free_pages_prepare(k, pfn, order)
    zone = page_zone(k, pfn)
    mt = k.calls.get_pageblock_migratetype(k, pfn)
    if mt >= gfp.MIGRATE_PCPTYPES:
        if mt == gfp.MIGRATE_ISOLATE:
            k.calls.free_one_page(k, zone, pfn, order, fpi_flags)  # RFC-6.2
            return
        mt = gfp.MIGRATE_MOVABLE
    if fpi_flags & FPI_TRYLOCK and k.config.preempt_rt and k.machine.in_hardirq_or_nmi():
        add_page_to_zone_llist(k, zone, pfn, order)  # RFC-6.1
        return
    pcp, tag = lock_pcp_of_owner(k, zone, pfn, fpi_flags, None)
    if pcp is None:
        k.calls.free_one_page(k, zone, pfn, order, fpi_flags)  # RFC-6.8
        return
    if tag:
        fpi_flags |= FPI_PCP_BUDDY  # RFC-6.7
    if k.calls.free_frozen_page_commit(k, zone, pcp, pfn, mt, order, fpi_flags):
        pcp.lock.unlock()


def free_unref_folios(k: Kernel, folios: Sequence[tuple[int, int]]) -> None:
    """Free a batch of (PFN, order) to their owners, never holding two pcp->locks.

    Kernel:  free_unref_folios(), mm/page_alloc.c; [RFC 2/2], [03/45]; RFC-6.19, RFC-6.20
    Status:  inferred, as linux-7.0 with the routing of __free_frozen_pages()
    Locks:   takes pcp.lock; tries pcp.lock; drops pcp.lock; takes zone.lock
    Points:  pcp.lock lock or trylock, unlock; zone.lock lock, unlock
    """
    prepared = []
    for pfn, order in folios:
        free_pages_prepare(k, pfn, order)
        if k.calls.pcp_allowed_order(k, order):
            prepared.append((pfn, order))
        else:
            k.calls.free_one_page(k, page_zone(k, pfn), pfn, order, FPI_NONE)
    pcp: PerCpuPages | None = None
    for pfn, order in prepared:
        zone = page_zone(k, pfn)
        mt = k.calls.get_pageblock_migratetype(k, pfn)
        if mt == gfp.MIGRATE_ISOLATE:
            if pcp is not None:
                pcp.lock.unlock()
                pcp = None
            k.calls.free_one_page(k, zone, pfn, order, FPI_NONE)
            continue
        pcp, tag = lock_pcp_of_owner(k, zone, pfn, FPI_NONE, pcp)  # RFC-6.19, RFC-6.20
        if pcp is None:
            k.calls.free_one_page(k, zone, pfn, order, FPI_NONE)
            continue
        if mt >= gfp.MIGRATE_PCPTYPES:
            mt = gfp.MIGRATE_MOVABLE
        if k.trace is not None:
            k.trace.mm_page_free_batched(k.machine.cpu, pfn)
        fpi_flags = FPI_PCP_BUDDY if tag else FPI_NONE
        if not k.calls.free_frozen_page_commit(k, zone, pcp, pfn, mt, order, fpi_flags):
            pcp = None
    if pcp is not None:
        pcp.lock.unlock()
