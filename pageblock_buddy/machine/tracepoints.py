# SPDX-License-Identifier: GPL-2.0-only
"""The kmem:* tracepoints, and the calls that the recorder hooks with kprobes.

Kernel: include/trace/events/kmem.h
"""

from __future__ import annotations

from typing import Protocol

#: One event as the recordings write it: ("zlock", cpu, order, mt, pfn, refill) and so on.
Event = tuple[str | int, ...]


class Tracer(Protocol):
    """What a consumer of trace events implements.  PFNs, orders; ``cpu`` is the running CPU.

    Events come while locks are held, as in the kernel: a tracer must neither raise nor call the allocator.
    """

    def mm_page_alloc(self, cpu: int, pfn: int | None, order: int, gfp: int, mt: int) -> None:
        """End of alloc_pages(), also on failure (pfn None)."""

    def mm_page_free(self, cpu: int, pfn: int, order: int) -> None:
        """In prepare, before any placement."""

    def mm_page_free_batched(self, cpu: int, pfn: int) -> None:
        """A folio of a batch, right before it enters a PCP list."""

    def mm_page_alloc_zone_locked(self, cpu: int, pfn: int, order: int, mt: int, percpu_refill: int) -> None:
        """_rmqueue_smallest() took a block from a free list of its own type."""

    def mm_page_pcpu_drain(self, cpu: int, pfn: int, order: int, mt: int) -> None:
        """A block went from a PCP list to the buddy."""

    def mm_page_alloc_extfrag(
        self, cpu: int, pfn: int, alloc_order: int, fallback_order: int, alloc_mt: int, fallback_mt: int, block_mt: int
    ) -> None:
        """A fallback; block_mt is the pageblock's type now."""

    def call(self, cpu: int, name: str, x: int) -> None:
        """A call that the recorder hooks: wakeup_kswapd, drain_local_pages, …"""


class EventLog:
    """Collects events in the recordings' form.

    ``events`` has the zlock, drain, frag and call events in order.  alloc, free and freeb
    repeat the operation itself: they are counted in ``outer_count``, and kept only with ``outer=True``.
    """

    __slots__ = ("events", "outer", "outer_count")

    def __init__(self, *, outer: bool = False) -> None:
        self.events: list[Event] = []
        self.outer = outer
        self.outer_count = 0

    def take(self) -> list[Event]:
        """The events since the last take()."""
        events, self.events = self.events, []
        return events

    def mm_page_alloc(self, cpu: int, pfn: int | None, order: int, gfp: int, mt: int) -> None:
        self.outer_count += 1
        if self.outer:
            self.events.append(("alloc", cpu, order, gfp, mt, -1 if pfn is None else pfn))

    def mm_page_free(self, cpu: int, pfn: int, order: int) -> None:
        self.outer_count += 1
        if self.outer:
            self.events.append(("free", cpu, order, pfn))

    def mm_page_free_batched(self, cpu: int, pfn: int) -> None:
        self.outer_count += 1
        if self.outer:
            self.events.append(("freeb", cpu, pfn))

    def mm_page_alloc_zone_locked(self, cpu: int, pfn: int, order: int, mt: int, percpu_refill: int) -> None:
        self.events.append(("zlock", cpu, order, mt, pfn, percpu_refill))

    def mm_page_pcpu_drain(self, cpu: int, pfn: int, order: int, mt: int) -> None:
        self.events.append(("drain", cpu, order, mt, pfn))

    def mm_page_alloc_extfrag(
        self, cpu: int, pfn: int, alloc_order: int, fallback_order: int, alloc_mt: int, fallback_mt: int, block_mt: int
    ) -> None:
        self.events.append(("frag", cpu, alloc_order, fallback_order, alloc_mt, fallback_mt, block_mt, pfn))

    def call(self, cpu: int, name: str, x: int) -> None:
        self.events.append(("call", cpu, name, x))
