# SPDX-License-Identifier: GPL-2.0-only
"""System: boot a machine, allocate and free on a chosen CPU, look at all of it.

This is the stable API.  It checks arguments and picks the CPU and context; everything else is the mirrored code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pageblock_buddy import gfp as g
from pageblock_buddy import invariants, snapshot
from pageblock_buddy.config import Config
from pageblock_buddy.errors import BadArgument, InputError, ModelBug
from pageblock_buddy.linux_6_12 import alloc, drain, free
from pageblock_buddy.linux_6_12.boot import boot
from pageblock_buddy.linux_6_12.hotplug import page_alloc_cpu_online
from pageblock_buddy.machine.cpu import Context
from pageblock_buddy.machine.tracepoints import Tracer
from pageblock_buddy.mm.kernel import Kernel, page_zone
from pageblock_buddy.mm.mmzone import Zone
from pageblock_buddy.mm.page import PG_ALLOCATED
from pageblock_buddy.mm.vmstat import refresh_cpu_vm_stats
from pageblock_buddy.variants import DEFAULT_VARIANT, get_variant


class System:
    """A booted machine.

    PFNs are integers; orders are log2 of pages; a failed allocation is None.  Operations run on
    the current CPU: 0 in task context, or what :meth:`on_cpu` says.

    >>> system = System.boot(Config.small(pages=64))
    >>> pfn = system.alloc_pages(g.GFP_KERNEL, order=1)
    >>> system.free_pages(pfn, order=1)
    """

    def __init__(self, kernel: Kernel, variant: str, *, total_pages: int | None = None) -> None:
        self.kernel = kernel
        self.variant = variant
        #: How many pages the allocator has in all, for validate(); None: unknown.
        self.total_pages = total_pages
        #: Whether every operation ends with validate().  O(blocks) for each; for tests.
        self.validating = False

    # --- life ----------------------------------------------------------------------------------

    @classmethod
    def boot(cls, config: Config, *, variant: str = DEFAULT_VARIANT) -> System:
        """Boot ``config`` with all memory free.

        Errors: UnknownVariant.  Cost: O(pages / 2^max_page_order).
        """
        kernel = Kernel(config, get_variant(variant).calls)
        boot(kernel)
        total_pages = sum(area.nr_free << order for zone in kernel.zones for order, area in enumerate(zone.free_area))
        return cls(kernel, variant, total_pages=total_pages)

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> System:
        """The machine of a :meth:`snapshot`, in exactly that state.

        Errors: InputError for anything that is not such a snapshot; ConfigError; UnknownVariant.
        """
        checked = snapshot.check_header(state)
        variant = get_variant(str(checked.get("variant")))
        kernel = Kernel(snapshot.config_of(checked), variant.calls)
        snapshot.restore(kernel, checked, variant.state)
        try:
            invariants.validate(kernel, without=variant.breaks)
        except ModelBug as error:
            raise InputError(f"the snapshot contradicts itself: {error.message}") from None
        return cls(kernel, variant.name, total_pages=sum(invariants.pages_by_place(kernel).values()))

    def snapshot(self) -> dict[str, Any]:
        """The whole state as JSON types (docs/formats.md).  Cost: O(pages) scan, O(blocks) size."""
        return snapshot.snapshot(self.kernel, self.variant)

    def digest(self) -> str:
        """SHA-256 of the canonical snapshot: equal states, equal digests, on every machine."""
        return snapshot.digest(self.snapshot())

    def validate(self) -> None:
        """Check every invariant (pageblock_buddy.invariants), and that no page was lost.  Errors: ModelBug."""
        invariants.validate(self.kernel, without=get_variant(self.variant).breaks)
        if self.total_pages is not None:
            invariants.check_total(self.kernel, self.total_pages)

    def _begin(self) -> None:
        """The beginning of an operation: its CPU may have gone offline since it was chosen."""
        machine = self.kernel.machine
        if not machine.online[machine.cpu]:
            raise BadArgument(f"CPU {machine.cpu}, which runs this, is offline: use on_cpu()", cpu=machine.cpu)

    def _done(self) -> None:
        """The end of an operation."""
        if self.validating:
            self.validate()

    # --- where operations run ------------------------------------------------------------------

    @contextmanager
    def on_cpu(self, cpu: int, context: Context = Context.TASK) -> Iterator[System]:
        """Run the operations inside the ``with`` block on CPU ``cpu`` in ``context``.

        Nested blocks model interrupts and task switches: the outer one is in force again behind the block.  The
        context changes nothing in linux-6.12, whose locking is the same in all of them; rfc asks for it when it frees.
        Errors: BadArgument for a CPU that does not exist or is offline.
        """
        machine = self.kernel.machine
        self._check_cpu(cpu)
        if not machine.online[cpu]:
            raise BadArgument(f"CPU {cpu} is offline", cpu=cpu)
        before = machine.cpu, machine.context
        machine.cpu, machine.context = cpu, context
        try:
            yield self
        finally:
            machine.cpu, machine.context = before

    @property
    def trace(self) -> Tracer | None:
        """The consumer of kmem events, or None."""
        return self.kernel.trace

    @trace.setter
    def trace(self, tracer: Tracer | None) -> None:
        self.kernel.trace = tracer

    @property
    def zones(self) -> tuple[Zone, ...]:
        """The zones, node by node, lowest first."""
        return self.kernel.zones

    # --- allocate ------------------------------------------------------------------------------

    def alloc_pages(self, gfp: int, order: int = 0, *, node: int | None = None) -> int | None:
        """Allocate 2^order contiguous pages, aligned to that.

        Returns the first PFN, or None where the kernel would have to reclaim or fails.  ``node`` is the preferred
        node (default: that of the CPU); __GFP_THISNODE forbids others.
        Errors: BadArgument.  Source: alloc_pages(), mm/page_alloc.c.
        """
        self._check_request(gfp, order)
        if node is None:
            pfn = alloc.alloc_pages(self.kernel, gfp, order)
        else:
            pfn = alloc._alloc_pages(self.kernel, gfp, order, self._checked_node(node))
        self._done()
        return pfn

    def alloc_pages_bulk(self, gfp: int, nr_pages: int, *, node: int | None = None) -> list[int]:
        """Allocate up to ``nr_pages`` single pages at once.  Returns their PFNs, possibly fewer.

        Errors: BadArgument.  Source: alloc_pages_bulk(), mm/page_alloc.c.
        """
        slots: list[int | None] = [None] * self._checked_count(nr_pages)
        self.fill_pages_bulk(gfp, slots, node=node)
        return [pfn for pfn in slots if pfn is not None]

    def fill_pages_bulk(self, gfp: int, slots: list[int | None], *, node: int | None = None) -> int:
        """Fill the None entries of ``slots``, as alloc_pages_bulk_array() does.

        Returns how many leading entries are filled then.  Errors: BadArgument.
        """
        self._check_request(gfp, 0)
        nid = self.kernel.config.cpu_node[self.kernel.machine.cpu] if node is None else self._checked_node(node)
        filled = alloc.alloc_pages_bulk(self.kernel, gfp, nid, slots)
        self._done()
        return filled

    def alloc_pages_exact(self, gfp: int, nr_pages: int) -> int | None:
        """Allocate exactly ``nr_pages`` contiguous pages, each of which is freed on its own.

        Errors: BadArgument.  Source: alloc_pages_exact(), mm/page_alloc.c.
        """
        order = (self._checked_count(nr_pages) - 1).bit_length()
        self._check_request(gfp, order)
        pfn = alloc.alloc_pages_exact(self.kernel, gfp, nr_pages)
        self._done()
        return pfn

    # --- free ----------------------------------------------------------------------------------

    def free_pages(self, pfn: int, order: int = 0) -> None:
        """Put one reference to an allocation; the last one frees it.

        Errors: BadFree, DoubleFree, OrderMismatch, BadArgument; the state is unchanged then.
        Source: __free_pages(), mm/page_alloc.c.
        """
        self._begin()
        self._check_block(pfn, order)
        free._free_pages(self.kernel, pfn, order)
        self._done()

    def free_pages_exact(self, pfn: int, nr_pages: int) -> None:
        """Free the pages of :meth:`alloc_pages_exact`, ascending.  Errors: as free_pages, for the first bad page."""
        self._begin()
        pfns = range(pfn, pfn + self._checked_count(nr_pages))
        for page in pfns:
            self._check_block(page, 0)
        alloc.free_pages_exact(self.kernel, pfns)
        self._done()

    def free_folios(self, folios: Sequence[tuple[int, int]]) -> None:
        """Put one reference to each (first PFN, order) and free those without any left as one batch.

        munmap and truncate do this with up to 31 folios.  Errors: as free_pages; the state is unchanged then.
        Source: folios_put_refs(), mm/swap.c; free_unref_folios(), mm/page_alloc.c.
        """
        self._begin()
        for pfn, order in folios:
            self._check_block(pfn, order)
        free.folios_put(self.kernel, folios)
        self._done()

    def split_page(self, pfn: int, order: int) -> None:
        """Turn a non-compound allocation into 2^order allocations of one page.

        Errors: BadFree, DoubleFree, OrderMismatch, BadArgument.  Source: split_page(), mm/page_alloc.c.
        """
        self._check_block(pfn, order)
        free.split_page(self.kernel, pfn, order)
        self._done()

    def get_page(self, pfn: int) -> None:
        """Take another reference to the allocation that starts at ``pfn``.  Errors: BadArgument."""
        self._check_block(pfn, 0)
        free.get_page(self.kernel, pfn)

    def page_count(self, pfn: int) -> int:
        """The references to the allocation that starts at ``pfn``; 0 if none starts there."""
        self._check_block(pfn, 0)
        if not self.kernel.mem_map[pfn] & PG_ALLOCATED:
            return 0
        return free.page_count(self.kernel, pfn)

    # --- around it -----------------------------------------------------------------------------

    def drain_local_pages(self) -> None:
        """Empty the current CPU's lists of all zones.  Source: drain_local_pages()."""
        self._begin()
        drain.drain_local_pages(self.kernel)
        self._done()

    def drain_all_pages(self) -> None:
        """Empty every CPU's lists of all zones.  Source: drain_all_pages()."""
        self._begin()
        self.kernel.calls.drain_all_pages(self.kernel, None)
        self._done()

    def offline_cpu(self, cpu: int) -> None:
        """Take another CPU offline: its lists are emptied.  Source: page_alloc_cpu_dead(), mm/page_alloc.c.

        Errors: BadArgument for a CPU that does not exist, is offline, or runs this.
        """
        self._check_cpu(cpu)
        self._begin()
        machine = self.kernel.machine
        if not machine.online[cpu]:
            raise BadArgument(f"CPU {cpu} is offline already", cpu=cpu)
        if cpu == machine.cpu:
            raise BadArgument(f"CPU {cpu} runs this: take it offline on another one, with on_cpu()", cpu=cpu)
        self.kernel.calls.page_alloc_cpu_dead(self.kernel, cpu)
        self._done()

    def online_cpu(self, cpu: int) -> None:
        """Bring a CPU back.  Source: page_alloc_cpu_online(), mm/page_alloc.c.

        Errors: BadArgument for a CPU that does not exist or is online.
        """
        self._check_cpu(cpu)
        self._begin()
        if self.kernel.machine.online[cpu]:
            raise BadArgument(f"CPU {cpu} is online already", cpu=cpu)
        page_alloc_cpu_online(self.kernel, cpu)
        self._done()

    def refresh_vm_stats(self, *, pagesets: bool = False) -> None:
        """Fold the current CPU's counter differences; with ``pagesets`` let its lists decay too.

        Source: quiet_vmstat() and vmstat_update(), mm/vmstat.c.
        """
        self._begin()
        refresh_cpu_vm_stats(self.kernel, pagesets)
        self._done()

    def unreserve_highatomic(self, gfp: int, *, force: bool = False) -> bool:
        """Give one reserved pageblock back to the type of a request, as reclaim does when it fails.

        Without ``force`` each zone keeps one.  True if free pages came with it.
        Errors: BadArgument.  Source: unreserve_highatomic_pageblock(), mm/page_alloc.c.
        """
        self._check_request(gfp, 0)
        k = self.kernel
        ac = alloc.prepare_alloc_pages(k, gfp, k.config.cpu_node[k.machine.cpu])
        moved = k.calls.unreserve_highatomic_pageblock(k, ac, force)
        self._done()
        return moved

    def isolate_pageblock(self, pfn: int) -> bool:
        """Take the pageblock of ``pfn`` out of circulation.  False if it already is, or straddles its zone.

        Source: set_migratetype_isolate(), mm/page_isolation.c.
        """
        self._begin()
        self._check_block(pfn, 0)
        done = self.kernel.calls.set_migratetype_isolate(self.kernel, page_zone(self.kernel, pfn), pfn)
        self._done()
        return done

    def unisolate_pageblock(self, pfn: int, migratetype: int = g.MIGRATE_MOVABLE) -> None:
        """Give the pageblock of ``pfn`` back with type ``migratetype``; nothing happens if it is not isolated.

        From linux-7.0 on the type survives isolation, and ``migratetype`` is not used.

        Errors: BadArgument.  Source: unset_migratetype_isolate(), mm/page_isolation.c.
        """
        self._begin()
        self._check_block(pfn, 0)
        if not 0 <= migratetype < snapshot.migrate_types(self.kernel) or migratetype == g.MIGRATE_ISOLATE:
            raise BadArgument(f"a pageblock cannot get type {migratetype}", migratetype=migratetype)
        self.kernel.calls.unset_migratetype_isolate(self.kernel, page_zone(self.kernel, pfn), pfn, migratetype)
        self._done()

    def lru_add(self, pfn: int, order: int = 0) -> None:
        """Say that an allocation is on an LRU list: its pages then count as movable when a block is claimed.

        Call :meth:`lru_del` before freeing it, as the kernel does.  Source: folio_add_lru(), mm/swap.c.
        """
        self._count_movable(pfn, order, 1)

    def lru_del(self, pfn: int, order: int = 0) -> None:
        """The inverse of :meth:`lru_add`.  Errors: BadArgument if the pageblock has no such pages."""
        self._count_movable(pfn, order, -1)

    def _count_movable(self, pfn: int, order: int, sign: int) -> None:
        self._check_block(pfn, order)
        k = self.kernel
        if not k.mem_map[pfn] & PG_ALLOCATED:
            raise BadArgument(f"pfn {pfn} is not the first page of an allocation", pfn=pfn)
        pages = min(1 << order, k.block_pages)
        counts: dict[int, int] = {}
        for page in range(pfn, pfn + (1 << order), pages):
            block = page >> k.pageblock_order
            counts[block] = k.nr_movable.get(block, 0) + sign * pages
            if not 0 <= counts[block] <= k.block_pages:
                raise BadArgument(f"the pageblock of pfn {page} would have {counts[block]} pages on the LRU", pfn=page)
        k.nr_movable.update(counts)
        for block in [block for block, count in counts.items() if not count]:
            del k.nr_movable[block]

    # --- trylock only ---------------------------------------------------------------------------

    def alloc_pages_nolock(self, order: int = 0, *, gfp: int = 0, node: int | None = None) -> int | None:
        """Allocate from any context without waiting for a lock; None rather than wait.  linux-7.0 and later.

        ``gfp`` is 0 or __GFP_ACCOUNT.  Errors: BadArgument, also for a variant that has no such call.
        Source: alloc_pages_nolock(), mm/page_alloc.c.
        """
        entry = self.kernel.calls.alloc_pages_nolock
        if entry is None:
            raise BadArgument(f"{self.variant} has no alloc_pages_nolock()", variant=self.variant)
        self._check_request(gfp, order)
        if gfp & ~g.GFP_ACCOUNT:
            raise BadArgument(f"gfp {gfp:#x} is not 0 or __GFP_ACCOUNT", gfp=gfp)
        nid = self.kernel.config.cpu_node[self.kernel.machine.cpu] if node is None else self._checked_node(node)
        pfn = entry(self.kernel, gfp, nid, order)
        self._done()
        return pfn

    def free_pages_nolock(self, pfn: int, order: int = 0) -> None:
        """Put one reference from any context, without waiting for a lock.  linux-7.0 and later.

        Errors: as free_pages; BadArgument also for a variant that has no such call.
        Source: free_pages_nolock(), mm/page_alloc.c.
        """
        self._begin()
        entry = self.kernel.calls.free_pages_nolock
        if entry is None:
            raise BadArgument(f"{self.variant} has no free_pages_nolock()", variant=self.variant)
        self._check_block(pfn, order)
        entry(self.kernel, pfn, order)
        self._done()

    # --- arguments -----------------------------------------------------------------------------

    def _check_request(self, gfp: int, order: int) -> None:
        self._begin()
        if not 0 <= order <= self.kernel.config.max_page_order:
            raise BadArgument(f"order {order} is not 0..{self.kernel.config.max_page_order}", order=order)
        if not 0 <= gfp < 1 << g.GFP_BITS_SHIFT:
            raise BadArgument(f"gfp {gfp:#x} has bits that do not exist", gfp=gfp)
        if g.GFP_ZONE_TABLE[gfp & g.GFP_ZONEMASK] is None:
            raise BadArgument(f"gfp {gfp:#x} names zones that exclude each other", gfp=gfp)
        if gfp & g.GFP_MOVABLE_MASK == g.GFP_MOVABLE_MASK:
            raise BadArgument(f"gfp {gfp:#x} is both movable and reclaimable", gfp=gfp)

    def _check_block(self, pfn: int, order: int) -> None:
        if not 0 <= order <= self.kernel.config.max_page_order:
            raise BadArgument(f"order {order} is not 0..{self.kernel.config.max_page_order}", order=order)
        if not 0 <= pfn or pfn % (1 << order):
            raise BadArgument(f"pfn {pfn} is not the first page of a block of order {order}", pfn=pfn, order=order)
        zone = page_zone(self.kernel, pfn)
        if pfn + (1 << order) > zone.end_pfn:
            raise BadArgument(f"the order-{order} block at pfn {pfn} leaves its zone", pfn=pfn, order=order)

    def _check_cpu(self, cpu: int) -> None:
        if not 0 <= cpu < self.kernel.machine.nr_cpus:
            raise BadArgument(f"CPU {cpu} is not 0..{self.kernel.machine.nr_cpus - 1}", cpu=cpu)

    def _checked_node(self, node: int) -> int:
        if node not in self.kernel.nodes:
            raise BadArgument(f"there is no node {node}", node=node)
        return node

    def _checked_count(self, nr_pages: int) -> int:
        limit = 1 << self.kernel.config.max_page_order
        if not 1 <= nr_pages <= limit:
            raise BadArgument(f"{nr_pages} pages are not 1..{limit}", nr_pages=nr_pages)
        return nr_pages
