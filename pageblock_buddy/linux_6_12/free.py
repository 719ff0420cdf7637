# SPDX-License-Identifier: GPL-2.0-only
"""Free: from __free_pages() to the running CPU's lists or the zone.

The running CPU and the page's zone decide the per-CPU list, not where the page was
allocated; the type is that of the pageblock now, not the one that was asked for.

In 6.12 __free_frozen_pages() is called free_unref_page() and free_frozen_page_commit() is called
free_unref_page_commit(); the newer names are used in all variants so that files can be compared.

Kernel: mm/page_alloc.c (6.12.117)
"""

from __future__ import annotations

from collections.abc import Sequence

from pageblock_buddy import gfp
from pageblock_buddy.errors import BadArgument, BadFree, DoubleFree, OrderMismatch
from pageblock_buddy.gfp import FPI_NONE
from pageblock_buddy.linux_6_12.pcp import nr_pcp_free, nr_pcp_high
from pageblock_buddy.linux_6_12.watermark import zone_watermark_ok
from pageblock_buddy.mm.kernel import Kernel, page_zone
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone, wmark_pages
from pageblock_buddy.mm.page import (
    PG_ALLOCATED,
    PG_BUDDY,
    PG_COMPOUND,
    PG_KIND_MASK,
    PG_LLIST,
    PG_NONE,
    PG_ORDER_MASK,
    PG_PCP,
)

# --- checks ------------------------------------------------------------------------------------


def free_pages_prepare(k: Kernel, pfn: int, order: int) -> None:
    """Check that the block is an allocation of this order, and take it from the user.

    Kernel:  free_pages_prepare(), mm/page_alloc.c; LPA-8.4.2, LPA-15.1.2
    Status:  source
    Errors:  BadFree, DoubleFree, OrderMismatch; nothing has changed then
    """
    if k.mem_map[pfn] & ~PG_COMPOUND != PG_ALLOCATED | order:
        raise_bad_free(k, pfn, order)
    k.mem_map[pfn] = PG_NONE  # LPA-8.4.2
    if k.trace is not None:
        k.trace.mm_page_free(k.machine.cpu, pfn, order)  # LPA-15.1.2


def check_allocation(k: Kernel, pfn: int, order: int) -> None:
    """Refuse a block that is not an allocation of this order.  Errors: BadFree, DoubleFree, OrderMismatch."""
    if k.mem_map[pfn] & ~PG_COMPOUND != PG_ALLOCATED | order:
        raise_bad_free(k, pfn, order)


def covering_block(k: Kernel, pfn: int) -> tuple[int, int, int] | None:
    """(first PFN, order, state) of the free or allocated block that ``pfn`` lies in, or None."""
    for order in range(k.config.max_page_order + 1):
        head = pfn & -(1 << order)
        state = k.mem_map[head]
        if state != PG_NONE and head + (1 << (state & PG_ORDER_MASK)) > pfn:
            return head, state & PG_ORDER_MASK, state
    return None


def raise_bad_free(k: Kernel, pfn: int, order: int) -> None:
    """Say what is wrong with a free.  Always raises."""
    block = covering_block(k, pfn)
    if block is None:
        raise BadFree(f"pfn {pfn} is not an allocation", pfn=pfn, order=order)
    head, block_order, state = block
    where = f"the block {head}, order {block_order}"
    if state & PG_BUDDY:
        raise DoubleFree(f"pfn {pfn} is free already, in {where} of the zone", pfn=pfn, order=order)
    if state & PG_PCP:
        raise DoubleFree(f"pfn {pfn} is free already, in {where} of a per-CPU list", pfn=pfn, order=order)
    if state & PG_KIND_MASK == PG_LLIST:
        raise DoubleFree(f"pfn {pfn} is free already, in {where} of a lock-less list", pfn=pfn, order=order)
    if head != pfn:
        raise BadFree(f"pfn {pfn} is inside the allocation {head}, order {block_order}", pfn=pfn, order=order)
    raise OrderMismatch(f"pfn {pfn} was allocated with order {block_order}, freed with {order}", pfn=pfn, order=order)


# --- to the per-CPU lists ----------------------------------------------------------------------


def free_frozen_page_commit(
    k: Kernel, zone: Zone, pcp: PerCpuPages, pfn: int, mt: int, order: int, fpi_flags: int
) -> bool:
    """Put a block on a per-CPU list, and flush the lists if they hold too much.

    True: pcp->lock is still held, which in 6.12 it always is.

    Kernel:  free_unref_page_commit(), mm/page_alloc.c (free_frozen_page_commit() from 6.14 on); LPA-8.4
    Status:  source; decision D-09 (6.12 has no fpi_flags here and returns nothing)
    Locks:   holds pcp.lock; takes zone.lock
    Points:  zone.lock lock, unlock
    """
    # A free says that this CPU is not only allocating: refill less next time.
    pcp.alloc_factor >>= 1  # LPA-8.4.8
    k.pgfree += 1 << order  # LPA-8.4.8, LPA-14.0.10
    pindex = k.calls.order_to_pindex(k, mt, order)
    pcp.lists[pindex].list_add(pfn)  # LPA-8.4.9
    k.mem_map[pfn] = PG_PCP | order
    pcp.count += 1 << order  # LPA-8.1.5, LPA-8.4.9
    batch = pcp.batch
    free_high = False
    # High-order blocks that are freed one after the other (network receive, say) are better
    # given back soon, so that another CPU can allocate them.
    if order and order <= gfp.PAGE_ALLOC_COSTLY_ORDER:
        # LPA-8.4.10, LPA-8.4.11
        free_high = (
            pcp.free_count >= batch
            and bool(pcp.flags & gfp.PCPF_PREV_FREE_HIGH_ORDER)
            and (not pcp.flags & gfp.PCPF_FREE_HIGH_BATCH or pcp.count >= batch)
        )
        pcp.flags |= gfp.PCPF_PREV_FREE_HIGH_ORDER  # LPA-8.4.13
    elif pcp.flags & gfp.PCPF_PREV_FREE_HIGH_ORDER:
        pcp.flags &= ~gfp.PCPF_PREV_FREE_HIGH_ORDER  # LPA-8.4.13
    if pcp.free_count < batch << k.config.pcp_batch_scale_max:
        pcp.free_count += 1 << order  # LPA-8.4.14
    high = nr_pcp_high(k, pcp, zone, free_high)
    if pcp.count < high:  # LPA-8.4.16
        return True
    # LPA-8.4.26, LPA-8.5.9
    k.calls.free_pcppages_bulk(k, zone, nr_pcp_free(k, pcp, batch, high, free_high), pcp, pindex)
    if zone.flags & gfp.ZONE_BELOW_HIGH:
        mark = wmark_pages(zone, gfp.WMARK_HIGH)
        if zone_watermark_ok(k, zone, 0, mark, gfp.ZONE_MOVABLE, 0):
            zone.flags &= ~gfp.ZONE_BELOW_HIGH  # LPA-8.4.17, LPA-11.4.2
    return True


def _free_pages_ok(k: Kernel, pfn: int, order: int, fpi_flags: int) -> None:
    """Free a block straight to the zone.

    Kernel:  __free_pages_ok(), mm/page_alloc.c; LPA-4.3.7
    Status:  source
    Locks:   takes zone.lock
    """
    free_pages_prepare(k, pfn, order)
    k.calls.free_one_page(k, page_zone(k, pfn), pfn, order, fpi_flags)  # LPA-4.3.7


def _free_frozen_pages(k: Kernel, pfn: int, order: int, fpi_flags: int) -> None:
    """Free a block whose last reference is gone.

    Kernel:  free_unref_page(), mm/page_alloc.c (__free_frozen_pages() from 6.14 on); LPA-8.4
    Status:  source; decision D-09 (6.12 has no fpi_flags here)
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
        # The drain reads the block's type again, so the page still comes back to its own lists.
        mt = gfp.MIGRATE_MOVABLE  # LPA-8.4.5
    pcp = zone.per_cpu_pageset[k.machine.cpu]  # LPA-8.4.7
    if pcp.lock.pcp_spin_trylock():  # LPA-8.4.6, LPA-16.0.2
        k.calls.free_frozen_page_commit(k, zone, pcp, pfn, mt, order, fpi_flags)  # LPA-16.0.8
        pcp.lock.unlock()
    else:
        k.calls.free_one_page(k, zone, pfn, order, fpi_flags)  # LPA-8.4.6, LPA-16.0.3


def free_unref_folios(k: Kernel, folios: Sequence[tuple[int, int]]) -> None:
    """Free a batch of (PFN, order), as munmap and truncate do, under as few pcp->lock holds as possible.

    Kernel:  free_unref_folios(), mm/page_alloc.c; LPA-10.0.8, LPA-10.0.9, LPA-10.0.10
    Status:  source
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
        k.calls.free_frozen_page_commit(k, zone, pcp, pfn, mt, order, FPI_NONE)  # LPA-10.0.9, LPA-16.0.8
    if pcp is not None:
        pcp.lock.unlock()


# --- references and splitting ------------------------------------------------------------------


def page_count(k: Kernel, pfn: int) -> int:
    """References on an allocation.

    Kernel:  page_count(), include/linux/page_ref.h; LPA-10.0.1
    Status:  source
    """
    return k.page_refs.get(pfn, 1)


def get_page(k: Kernel, pfn: int) -> None:
    """Take another reference to an allocation, by its first page.

    Kernel:  get_page(), include/linux/mm.h; LPA-10.0.1
    Status:  source
    Errors:  BadArgument for a page that is not the first one of an allocation
    """
    if not k.mem_map[pfn] & PG_ALLOCATED:
        raise BadArgument(f"pfn {pfn} is not the first page of an allocation", pfn=pfn)
    k.page_refs[pfn] = page_count(k, pfn) + 1


def _put_page_testzero(k: Kernel, pfn: int) -> bool:
    if pfn not in k.page_refs:
        return True
    refs = k.page_refs[pfn] - 1
    if refs > 1:
        k.page_refs[pfn] = refs
    else:
        del k.page_refs[pfn]
    return False


def _free_pages(k: Kernel, pfn: int, order: int) -> None:
    """Put one reference; the block is freed with the last one.

    If somebody else holds a reference to the first page of a non-compound block, all pages but that
    one are freed now, the upper half first; the first page goes with its last reference.

    Kernel:  __free_pages(), mm/page_alloc.c; LPA-10.0.1, LPA-10.0.2, LPA-10.0.3
    Status:  source
    Errors:  BadFree, DoubleFree, OrderMismatch; nothing has changed then
    """
    check_allocation(k, pfn, order)
    state = k.mem_map[pfn]
    if _put_page_testzero(k, pfn):
        k.calls._free_frozen_pages(k, pfn, order, FPI_NONE)  # LPA-10.0.1
        return
    if state & PG_COMPOUND:
        return  # LPA-10.0.3
    k.mem_map[pfn] = PG_ALLOCATED  # LPA-10.0.2
    for part in range(order - 1, -1, -1):
        k.mem_map[pfn + (1 << part)] = PG_ALLOCATED | part
        k.calls._free_frozen_pages(k, pfn + (1 << part), part, FPI_NONE)


def folios_put(k: Kernel, folios: Sequence[tuple[int, int]]) -> None:
    """Put one reference to each (first PFN, order); those that were the last are freed as a batch.

    Kernel:  folios_put_refs(), mm/swap.c; LPA-10.0.8
    Status:  source
    Errors:  BadFree, DoubleFree, OrderMismatch; nothing has changed then
    """
    puts: dict[int, int] = {}
    for pfn, order in folios:
        check_allocation(k, pfn, order)
        puts[pfn] = puts.get(pfn, 0) + 1
        if puts[pfn] > page_count(k, pfn):
            raise DoubleFree(f"pfn {pfn} is named {puts[pfn]} times, more than it has references", pfn=pfn)
    k.calls.free_unref_folios(k, [folio for folio in folios if _put_page_testzero(k, folio[0])])


def split_page(k: Kernel, pfn: int, order: int) -> None:
    """Turn a non-compound allocation into 2^order allocations of order 0.

    Kernel:  split_page(), mm/page_alloc.c; LPA-10.0.4
    Status:  source
    Errors:  BadFree, DoubleFree, OrderMismatch; BadArgument for a compound allocation
    """
    check_allocation(k, pfn, order)
    if k.mem_map[pfn] & PG_COMPOUND:
        raise BadArgument(f"pfn {pfn} is a compound allocation, which split_page() cannot split", pfn=pfn)
    # The first page keeps its references; the others get one each.
    for page in range(pfn, pfn + (1 << order)):
        k.mem_map[page] = PG_ALLOCATED  # LPA-10.0.4
