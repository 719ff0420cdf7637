# SPDX-License-Identifier: GPL-2.0-only
"""Performing the operations of a natural run on a model.

Events say less than calls: a free event says that a page was prepared, a freeb event that it entered a per-CPU
list.  So this goes below the System facade, to the functions that the events come from.
"""

from __future__ import annotations

from pageblock_buddy import gfp as g
from pageblock_buddy.errors import CallerError
from pageblock_buddy.linux_6_12 import alloc, drain, free
from pageblock_buddy.machine.cpu import Context
from pageblock_buddy.machine.tracepoints import EventLog
from pageblock_buddy.mm.kernel import Kernel, page_zone
from pageblock_buddy.mm.mmzone import Zone
from pageblock_buddy.mm.page import PG_ALLOCATED, PG_COMPOUND, PG_NONE
from pageblock_buddy.replay.result import Operation


class NaturalModel:
    """Performs operations of a natural run on a model."""

    def __init__(self, k: Kernel, splits: dict[int, None]) -> None:
        self.k = k
        #: indices of the frees that showed that an allocation had been split
        self.splits = splits
        self.log = EventLog()
        k.trace = self.log

    def perform(self, operation: Operation, lost_trylock: bool, node: int | None) -> int | list[int] | None:
        """Let the model answer.  ``node`` None: the CPU's.  Errors: CallerError if it refuses."""
        k = self.k
        if not 0 <= operation.cpu < k.machine.nr_cpus:
            raise CallerError(f"CPU {operation.cpu} is not online")
        k.machine.cpu = operation.cpu
        k.machine.context = Context.SOFTIRQ if operation.in_irq else Context.TASK
        held: list[Zone] = []
        if lost_trylock:
            # The interrupted code holds its pcp->lock in the zone that matters; hold all of them.
            held = [z for z in k.zones if z.per_cpu_pageset[operation.cpu].lock.trylock()]
        try:
            return self._dispatch(operation, k.config.cpu_node[operation.cpu] if node is None else node)
        finally:
            for zone in held:
                zone.per_cpu_pageset[operation.cpu].lock.unlock()

    def _dispatch(self, operation: Operation, node: int) -> int | list[int] | None:
        k = self.k
        match operation.kind:
            case "alloc":
                _check_request(k, operation.gfp, operation.order)
                pfn = alloc._alloc_pages(k, operation.gfp, operation.order, node)
                return -1 if pfn is None else pfn
            case "bulk":
                _check_request(k, operation.gfp, 0)
                slots: list[int | None] = [None] * min(operation.nr_pages, 1 << 16)
                alloc.alloc_pages_bulk(k, operation.gfp, node, slots)
                return [pfn for pfn in slots if pfn is not None]
            case "free":
                self._adopt(operation)
                k.calls._free_frozen_pages(k, operation.pfn, operation.order, g.FPI_NONE)
            case "prepare":
                self._adopt(operation)
                free.free_pages_prepare(k, operation.pfn, operation.order)
            case "commit":
                self._commit(operation)
            case _:
                self._call(operation)
        return None

    def _adopt(self, operation: Operation) -> None:
        """Make what is freed an allocation of just that order.

        A page from before the recording is unknown until it is freed.  An allocation may have been split without an
        event (split_page(), a large folio): then it is forgotten, and its parts are such unknown pages.
        """
        k, pfn, order = self.k, operation.pfn, operation.order
        if not 0 <= order <= k.config.max_page_order or pfn < 0 or pfn % (1 << order):
            raise CallerError(f"pfn {pfn} is not the first page of a block of order {order}")
        end = pfn + (1 << order)
        page_zone(k, end - 1)
        if k.mem_map[pfn] & ~PG_COMPOUND == PG_ALLOCATED | order:
            return
        around = free.covering_block(k, pfn)
        known = [page for page in range(pfn, end) if k.mem_map[page] != PG_NONE]
        if around is not None:
            known.append(around[0])
        if not all(k.mem_map[page] & PG_ALLOCATED for page in known):
            return  # part of it is free: the double free is found when it is prepared
        for page in known:
            k.mem_map[page] = PG_NONE
            self.splits[operation.index] = None
        k.mem_map[pfn] = PG_ALLOCATED | order

    def _commit(self, operation: Operation) -> None:
        """The second phase of free_unref_folios() for one folio."""
        k = self.k
        zone = page_zone(k, operation.pfn)
        mt = k.calls.get_pageblock_migratetype(k, operation.pfn)
        pcp = zone.per_cpu_pageset[operation.cpu]
        if not pcp.lock.trylock():
            raise CallerError("a batched free enters a per-CPU list whose lock is held")
        mt = mt if mt < g.MIGRATE_PCPTYPES else g.MIGRATE_MOVABLE
        k.calls.free_frozen_page_commit(k, zone, pcp, operation.pfn, mt, operation.order, g.FPI_NONE)
        pcp.lock.unlock()

    def _call(self, operation: Operation) -> None:
        k = self.k
        match operation.name:
            case "drain_local_pages":
                drain.drain_local_pages(k)
            case "drain_all_pages":
                k.calls.drain_all_pages(k, None)
            case _:
                entry = k.calls.decay_pcp_high if operation.name == "decay_pcp_high" else k.calls.drain_zone_pages
                zone = k.zones[operation.ref]
                entry(k, zone, zone.per_cpu_pageset[operation.cpu])
        # The call's own event is what the operation was made from.
        self.log.events = [event for event in self.log.events if event[0] != "call"]


def _check_request(k: Kernel, gfp: int, order: int) -> None:
    if not 0 <= order <= k.config.max_page_order or g.GFP_ZONE_TABLE[gfp & g.GFP_ZONEMASK] is None:
        raise CallerError(f"no such request: gfp {gfp:#x}, order {order}")
    if gfp & g.GFP_MOVABLE_MASK == g.GFP_MOVABLE_MASK:
        raise CallerError(f"gfp {gfp:#x} is both movable and reclaimable")
