# SPDX-License-Identifier: GPL-2.0-only
"""Split-path free: the running CPU's own pages by trylock, everybody else's by llist.

No CPU ever takes another one's pcp->lock to free a page, and none waits for its own.

Kernel: mm/page_alloc.c; [03/40]
"""

from __future__ import annotations

from collections.abc import Sequence

from pageblock_buddy import gfp
from pageblock_buddy.gfp import FPI_NONE, FPI_PCP_BUDDY, FPI_TRYLOCK
from pageblock_buddy.linux_6_12.free import _free_pages_ok, free_pages_prepare
from pageblock_buddy.linux_7_0.buddy import add_page_to_zone_llist
from pageblock_buddy.mm.kernel import Kernel, page_zone
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import PG_LLIST, PG_NONE


def free_stranded(k: Kernel, zone: Zone, pcp: PerCpuPages, fpi_flags: int) -> None:
    """Give what is on a dead CPU's lock-less list to the zone: nobody else will.

    Kernel:  none: [03/40] does not speak of CPU hotplug; RFC-9.12
    Status:  decision D-27
    Locks:   takes zone.lock; tries zone.lock (with FPI_TRYLOCK)
    Points:  llist take; zone.lock lock or trylock, unlock
    """
    for pfn, order in pcp.free_llist.llist_del_all():  # RFC-9.12
        k.mem_map[pfn] = PG_NONE
        k.calls.free_one_page(k, zone, pfn, order, fpi_flags)


def free_to_remote_owner(k: Kernel, zone: Zone, pfn: int, order: int, tag: int, fpi_flags: int) -> None:
    """Push a block on its owner's lock-less list; no lock, no flush.

    If the owner died after its tag was read, nobody would ever absorb: then the pusher takes all that is there and
    gives it to the zone.

    Kernel:  __free_frozen_pages(), mm/page_alloc.c; [03/40]; RFC-9.6, RFC-9.15, RFC-9.12
    Status:  source; decision D-27 (a dead owner)
    Locks:   takes zone.lock; tries zone.lock (only for a dead owner)
    Points:  llist push, llist take
    """
    pcp = zone.per_cpu_pageset[tag - 1]
    k.mem_map[pfn] = PG_LLIST | order
    pcp.free_llist.llist_add(pfn, order)  # RFC-9.6, RFC-9.15
    if not k.pcp_buddy.still_routed(k, pfn, tag, tag - 1):
        free_stranded(k, zone, pcp, fpi_flags)  # RFC-9.12


def pcp_free_lock(k: Kernel, pcp: PerCpuPages, fpi_flags: int) -> bool:
    """Try the running CPU's own pcp->lock, in every context.  False: it is busy.

    Kernel:  __free_frozen_pages(), mm/page_alloc.c; [03/40]; RFC-9.5
    Status:  source
    Locks:   tries pcp.lock
    Points:  pcp.lock trylock
    """
    return pcp.lock.pcp_spin_trylock()  # RFC-9.5


def lock_local_pcp(
    k: Kernel, zone: Zone, pfn: int, tag: int, fpi_flags: int, held: PerCpuPages | None
) -> PerCpuPages | None:
    """Lock the running CPU's PCP for a page of its own or of nobody; None if that is busy or the wrong one by now.
    ``held`` is kept if it is that.

    Kernel:  __free_frozen_pages(), mm/page_alloc.c; [03/40]; RFC-9.5
    Status:  source; decision D-23 (looking again), decision D-30 (a task that moves)
    Locks:   tries pcp.lock; drops pcp.lock
    Points:  pcp.lock trylock, unlock
    """
    pcp = zone.per_cpu_pageset[k.machine.cpu]
    if pcp is not held:
        if held is not None:
            held.lock.unlock()
        if not k.pcp_buddy.pcp_free_lock(k, pcp, fpi_flags):
            return None
    # The task may have moved since the tag was compared with its CPU: then these are not the owner's lists.
    if (tag and tag - 1 != pcp.cpu) or not k.pcp_buddy.still_routed(k, pfn, tag, pcp.cpu):
        pcp.lock.unlock()
        return None
    return pcp


def _free_frozen_pages(k: Kernel, pfn: int, order: int, fpi_flags: int) -> None:
    """Free a block whose last reference is gone.

    Kernel:  __free_frozen_pages(), mm/page_alloc.c; [03/40]; RFC-6.1, RFC-6.2, RFC-6.3
    Status:  source
    Locks:   tries pcp.lock; takes zone.lock
    Points:  llist push; pcp.lock trylock, unlock; zone.lock lock, unlock
    Errors:  BadFree, DoubleFree, OrderMismatch
    """
    if not k.calls.pcp_allowed_order(k, order):
        _free_pages_ok(k, pfn, order, fpi_flags)
        return
    free_pages_prepare(k, pfn, order)
    zone = page_zone(k, pfn)
    mt = k.calls.get_pageblock_migratetype(k, pfn)
    if mt >= gfp.MIGRATE_PCPTYPES:
        if mt == gfp.MIGRATE_ISOLATE:
            k.calls.free_one_page(k, zone, pfn, order, fpi_flags)
            return
        mt = gfp.MIGRATE_MOVABLE
    if fpi_flags & FPI_TRYLOCK and k.config.preempt_rt and k.machine.in_hardirq_or_nmi():
        add_page_to_zone_llist(k, zone, pfn, order)
        return
    tag = k.pageblock_cpu[pfn >> k.pageblock_order]
    if tag and tag - 1 != k.machine.cpu:
        free_to_remote_owner(k, zone, pfn, order, tag, fpi_flags)
        return
    pcp = lock_local_pcp(k, zone, pfn, tag, fpi_flags, None)
    if pcp is None:
        k.calls.free_one_page(k, zone, pfn, order, fpi_flags)
        return
    if tag:
        fpi_flags |= FPI_PCP_BUDDY
    if k.calls.free_frozen_page_commit(k, zone, pcp, pfn, mt, order, fpi_flags):
        pcp.lock.unlock()


def free_unref_folios(k: Kernel, folios: Sequence[tuple[int, int]]) -> None:
    """Free a batch of (PFN, order): remote ones are pushed, the others go under as few pcp->lock holds as possible.

    Kernel:  free_unref_folios(), mm/page_alloc.c; [03/40]; RFC-6.19, RFC-6.20
    Status:  inferred, the routing of __free_frozen_pages()
    Locks:   tries pcp.lock; drops pcp.lock; takes zone.lock
    Points:  llist push; pcp.lock trylock, unlock; zone.lock lock, unlock
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
        tag = k.pageblock_cpu[pfn >> k.pageblock_order]
        if tag and tag - 1 != k.machine.cpu:
            free_to_remote_owner(k, zone, pfn, order, tag, FPI_NONE)
            continue
        pcp = lock_local_pcp(k, zone, pfn, tag, FPI_NONE, pcp)
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
