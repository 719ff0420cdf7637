# SPDX-License-Identifier: GPL-2.0-only
"""A program that may do anything, on one machine, under every judge.

``Driver`` has one method for each kind of operation; what it does is decided by its arguments alone, so that
Hypothesis and a plain random generator can both lead it.  It knows what it holds from its own books (``Judge``), and
nothing about lists, types or owners.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

from pageblock_buddy import CallerError, Config, Context, System, ZoneConfig
from pageblock_buddy import gfp as g
from pageblock_buddy.linux_6_12 import pcp as pcp_code
from pageblock_buddy.machine.spinlock import Spinlock
from pageblock_buddy.mm.mmzone import Zone
from pageblock_buddy.monitor import Monitor
from pageblock_buddy.oracle.extents import Judge, memory_of, observe
from pageblock_buddy.rfc.policies import POLICIES
from pageblock_buddy.variants import VARIANTS

#: every variant, every policy alone, and some together
NAMES: Final = (
    *VARIANTS,
    *(f"rfc+{policy}" for policy in POLICIES),
    "rfc+want-block+clear-complete",
    "rfc+recover-cap-2x+owned-per-type",
    "rfc+offline-keep+recover-cycle",
    "rfc-trylock+clear-complete+drain-oldest",
    "rfc-trylock+recover-counter+want-block+claim-cma",
    "llist+want-block",
    "llist+offline-keep",
    "llist+recover-cap-2x+owned-per-type",
    "llist+recover-counter+clear-complete+keep-alloc-factor",
)

GFPS: Final = (
    g.GFP_KERNEL,
    g.GFP_HIGHUSER_MOVABLE,
    g.GFP_HIGHUSER_MOVABLE,
    g.GFP_HIGHUSER_MOVABLE | g.GFP_COMP,
    g.GFP_KERNEL | g.GFP_RECLAIMABLE,
    g.GFP_ATOMIC,
    g.GFP_NOWAIT | g.GFP_MOVABLE,
    g.GFP_KERNEL | g.GFP_DMA32,
    g.GFP_KERNEL | g.GFP_THISNODE,
    g.GFP_KERNEL | g.GFP_MEMALLOC,
)
CONTEXTS: Final = (Context.TASK, Context.TASK, Context.TASK, Context.SOFTIRQ, Context.HARDIRQ)


def _zone(start: int, pages: int, limits: tuple[int, int, int], zone: int = g.ZONE_DMA32, **fields: Any) -> ZoneConfig:
    batch, high_min, high_max = limits
    return ZoneConfig(
        zone=zone,
        start_pfn=start,
        spanned_pages=pages,
        **{"batch": batch, "high_min": high_min, "high_max": high_max, "watermark": (0, 0, 0, 0), **fields},
    )


def _machine(*zones: ZoneConfig, nr_cpus: int, **fields: Any) -> Config:
    return Config(
        zones=zones,
        nr_cpus=nr_cpus,
        **{"pageblock_order": 3, "max_page_order": 4, "watermark_boost_factor": 0, **fields},
    )


#: Small machines in which everything is close to its limit.
CONFIGS: Final[dict[str, Config]] = {
    "one CPU, no batch": _machine(_zone(0, 64, (1, 4, 4)), nr_cpus=1),
    # it believes to be large enough for a reserve of high-order atomic blocks
    "two CPUs, fixed high": _machine(
        _zone(0, 128, (2, 16, 16), managed_pages=1600, watermark=(8, 64, 70, 80)), nr_cpus=2, vm_stat_threshold=0
    ),
    "three CPUs, CMA": _machine(_zone(0, 256, (2, 16, 64), cma=((0, 32),)), nr_cpus=3),
    "four CPUs, two nodes, a hole": _machine(
        _zone(3, 61, (3, 4, 13), watermark=(1, 2, 6, 8), holes=((20, 2),)),
        _zone(64, 96, (4, 8, 64), g.ZONE_NORMAL, node=1, watermark=(1, 3, 6, 9), cma=((80, 8),)),
        nr_cpus=4,
        cpu_node=(0, 0, 1, 1),
        watermark_boost_factor=15000,
        llc_pages_per_cpu=64,
    ),
    "larger pageblocks, THP": _machine(
        _zone(0, 48, (2, 8, 40), g.ZONE_DMA), _zone(48, 208, (4, 32, 64)), nr_cpus=2, pageblock_order=4,
        max_page_order=5,
    ),
    "larger pageblocks, no THP": _machine(
        _zone(0, 128, (1, 24, 48)), nr_cpus=3, pageblock_order=4, max_page_order=4, thp=False, preempt_rt=True
    ),
}  # fmt: skip


class Driver:
    """One machine, what the program holds, and the judges.

    ``operations`` counts calls of the allocator.  ``every``: each how many of them the whole state is judged.
    ``judges`` says which of "extents", "validate" and "monitor" look.
    """

    def __init__(
        self,
        variant: str,
        config: Config,
        *,
        every: int = 1,
        judges: tuple[str, ...] = ("extents", "validate", "monitor"),
    ) -> None:
        self.variant = variant
        self.system = System.boot(config, variant=variant)
        self.judge = Judge(memory_of(config.to_dict()))
        self.every = every
        self.judges = judges
        self.dead_cpus_keep = "offline-keep" in variant.split("+")
        self.offline: set[int] = set()
        self.held: list[int] = []  # first PFNs of the allocations
        self.operations = 0
        self.blocks = [
            pfn
            for zone in config.zones
            for pfn in range(zone.start_pfn, zone.end_pfn, 1 << config.pageblock_order)
        ]  # fmt: skip
        self.monitor: Monitor | None = None
        self._watch()

    def _watch(self) -> None:
        if "monitor" in self.judges:
            self.monitor = Monitor(self.system.kernel, self.variant)

    # --- judging -------------------------------------------------------------------------------

    def step(self, count: int = 1) -> None:
        """An operation is over, and no lock is held on purpose."""
        before = self.operations
        self.done(count)
        if before // self.every != self.operations // self.every:
            self.check()

    def done(self, count: int = 1) -> None:
        """An operation is over; the locks of interrupted code may be held."""
        self.operations += count
        if self.monitor is not None:
            self.monitor.done()

    def check(self) -> None:
        """Judge the whole state."""
        if "extents" in self.judges:
            self.judge._check()
            self.judge.state(observe(self.system.snapshot()), dead_cpus_keep=self.dead_cpus_keep)
        if "validate" in self.judges:
            self.system.validate()

    # --- what it holds -------------------------------------------------------------------------

    def hold(self, pfn: int | None, order: int, gfp: int = 0) -> None:
        """The allocator's answer."""
        if pfn is not None:
            self.judge.alloc(pfn, order, compound=bool(gfp & g.GFP_COMP))
            self.held.append(pfn)

    def pick(self, which: int) -> tuple[int, int] | None:
        """An allocation, (first PFN, order), by a number of any size; None if there is none."""
        if not self.held:
            return None
        pfn = self.held[which % len(self.held)]
        allocation = self.judge.get(pfn)
        assert allocation is not None
        return pfn, allocation.order

    def drop(self, pfn: int) -> None:
        """Forget an allocation, in O(1): the last one takes its place.  Only one that the judge knows no more."""
        if self.judge.get(pfn) is None:
            index = self.held.index(pfn)
            self.held[index] = self.held[-1]
            self.held.pop()

    def online(self, cpu: int) -> int:
        """A CPU that is online, by a number of any size."""
        online = [c for c in range(self.system.kernel.machine.nr_cpus) if c not in self.offline]
        return online[cpu % len(online)]

    @contextlib.contextmanager
    def on(self, cpu: int, context: Context = Context.TASK) -> Iterator[System]:
        """Run on a CPU that is online."""
        with self.system.on_cpu(self.online(cpu), context) as system:
            yield system

    # --- allocate ------------------------------------------------------------------------------

    def order_of(self, order: int) -> int:
        """An order that the machine has."""
        return order % (self.system.kernel.config.max_page_order + 1)

    def count_of(self, count: int) -> int:
        """A number of pages that may be asked for at once."""
        return min(count, 1 << self.system.kernel.config.max_page_order)

    def alloc(self, cpu: int, context: Context, gfp: int, order: int, count: int = 1, node: int | None = None) -> None:
        """Some allocations in a row."""
        order = self.order_of(order)
        if node is not None:
            node = sorted(self.system.kernel.nodes)[node % len(self.system.kernel.nodes)]
        with self.on(cpu, context) as system:
            for _ in range(count):
                self.hold(system.alloc_pages(gfp, order, node=node), order, gfp)
                self.step()

    def alloc_bulk(self, cpu: int, context: Context, gfp: int, count: int) -> None:
        """Single pages at once."""
        count = self.count_of(count)
        with self.on(cpu, context) as system:
            pfns = system.alloc_pages_bulk(gfp, count)
            self.judge.alloc_bulk(pfns, count)
            self.held += pfns
            self.step()

    def alloc_exact(self, cpu: int, context: Context, gfp: int, count: int) -> None:
        """A number of pages that is mostly no power of two."""
        count = self.count_of(count)
        with self.on(cpu, context) as system:
            pfn = system.alloc_pages_exact(gfp, count)
            if pfn is not None:
                self.judge.alloc_exact(pfn, count)
                self.held += range(pfn, pfn + count)
            self.step()

    def alloc_nolock(self, cpu: int, context: Context, order: int) -> None:
        """Without waiting; nothing in variants that have no such call."""
        if self.system.kernel.calls.alloc_pages_nolock is None:
            return
        order = self.order_of(order)
        with self.on(cpu, context) as system:
            self._alloc_nolock(system, order)
            self.step()

    def _alloc_nolock(self, system: System, order: int) -> None:
        if system.kernel.calls.alloc_pages_nolock is None:
            return
        # what alloc_pages_nolock() gives is compound
        self.hold(system.alloc_pages_nolock(order), order, g.GFP_COMP)

    # --- free ----------------------------------------------------------------------------------

    def free(self, cpu: int, context: Context, which: int, count: int = 1) -> None:
        """Some frees in a row."""
        with self.on(cpu, context) as system:
            for i in range(count):
                picked = self.pick(which * (2 * i + 1))
                if picked is None:
                    return
                self._free(system, *picked)
                self.step()

    def _free(self, system: System, pfn: int, order: int, *, nolock: bool = False) -> None:
        if nolock and system.kernel.calls.free_pages_nolock is not None:
            system.free_pages_nolock(pfn, order)
        else:
            system.free_pages(pfn, order)
        self.judge.free(pfn, order)
        self.drop(pfn)

    def free_nolock(self, cpu: int, context: Context, which: int) -> None:
        """Without waiting; an ordinary free in variants that have no such call."""
        picked = self.pick(which)
        if picked is not None:
            with self.on(cpu, context) as system:
                self._free(system, *picked, nolock=True)
                self.step()

    def free_folios(self, cpu: int, context: Context, which: int, count: int) -> None:
        """A batch; each allocation at most once."""
        with self.on(cpu, context) as system:
            system.free_folios(self._batch(which, count))
            self.step()

    def _batch(self, which: int, count: int) -> list[tuple[int, int]]:
        """Judge and forget a batch of folios, before it is freed: a refusal would be an error of this program."""
        picked = dict(filter(None, (self.pick(which + 3 * i) for i in range(count))))
        folios = list(picked.items())
        self.judge.free_folios(folios)
        for pfn, _ in folios:
            self.drop(pfn)
        return folios

    def free_wrongly(self, cpu: int, pfn: int, order: int) -> None:
        """Anything that is no allocation is refused, and nothing changes."""
        order = self.order_of(order)
        allocation = self.judge.get(pfn)
        if allocation is not None and allocation.order == order:
            return
        before = self.system.digest()
        with self.on(cpu) as system:
            try:
                system.free_pages(pfn, order)
            except CallerError:
                self.judge.refused(pfn, order)
            else:
                raise AssertionError(f"a free of pfn {pfn}, order {order} was accepted")
        assert self.system.digest() == before
        self.step()

    # --- references and splitting --------------------------------------------------------------

    def get_page(self, which: int) -> None:
        """Another reference."""
        picked = self.pick(which)
        if picked is not None:
            self.system.get_page(picked[0])
            self.judge.get_page(picked[0])
            self.judge.page_count(picked[0], self.system.page_count(picked[0]))
            self.step()

    def split_page(self, which: int) -> None:
        """Single pages of an allocation; a compound one is refused."""
        picked = self.pick(which)
        if picked is None:
            return
        pfn, order = picked
        allocation = self.judge.get(pfn)
        assert allocation is not None
        if allocation.compound:
            with contextlib.suppress(CallerError):
                self.system.split_page(pfn, order)
                raise AssertionError(f"the compound allocation {pfn} was split")
        else:
            self.system.split_page(pfn, order)
            self.judge.split_page(pfn, order)
            self.held += range(pfn + 1, pfn + (1 << order))
        self.step()

    # --- around it -----------------------------------------------------------------------------

    def drain(self, cpu: int, everything: bool) -> None:
        """Empty lists."""
        with self.on(cpu) as system:
            system.drain_all_pages() if everything else system.drain_local_pages()
            emptied = [c for c in range(system.kernel.machine.nr_cpus) if c not in self.offline]
            for c in emptied if everything else [system.kernel.machine.cpu]:
                for zone in system.zones:
                    pcp = zone.per_cpu_pageset[c]
                    assert not pcp.count, f"CPU {c} has {pcp.count} pages after a drain"
                    assert pcp.free_llist.llist_empty(), f"CPU {c} has remote frees after a drain"
            self.step()

    def vmstat(self, cpu: int, pagesets: bool, times: int = 1) -> None:
        """The vmstat worker."""
        with self.on(cpu) as system:
            for _ in range(times):
                system.refresh_vm_stats(pagesets=pagesets)
                self.step()

    def isolate(self, block: int, drain: bool) -> None:
        """Take a pageblock out of circulation."""
        with self.on(block) as system:
            system.isolate_pageblock(self.blocks[block % len(self.blocks)])
            self.step()
        if drain:
            self.drain(0, True)

    def unisolate(self, block: int, mt: int) -> None:
        """Give it back."""
        with self.on(block) as system:
            system.unisolate_pageblock(self.blocks[block % len(self.blocks)], mt)
            self.step()

    def unreserve(self, cpu: int, gfp: int, force: bool) -> None:
        """What reclaim does with the high-order atomic reserve."""
        with self.on(cpu) as system:
            system.unreserve_highatomic(gfp, force=force)
            self.step()

    def hotplug(self, cpu: int) -> None:
        """A CPU goes, or comes back; one always stays."""
        cpu %= self.system.kernel.machine.nr_cpus
        if cpu in self.offline:
            with self.on(0) as system:
                system.online_cpu(cpu)
            self.offline.remove(cpu)
        elif len(self.offline) + 1 < self.system.kernel.machine.nr_cpus:
            self.offline.add(cpu)
            with self.on(0) as system:
                system.offline_cpu(cpu)
        self.step()

    def zone_flags(self, zone: int, bit: int) -> None:
        """What kswapd does from outside."""
        self.zone(zone).flags ^= bit
        self.step()

    def zone(self, zone: int) -> Zone:
        """A zone, by a number of any size."""
        return self.system.zones[zone % len(self.system.zones)]

    def pcp_off_and_on(self, zone: int) -> None:
        """zone_pcp_disable() and _enable(), and an allocation in between."""
        k = self.system.kernel
        with self.on(zone):
            pcp_code.zone_pcp_disable(k, self.zone(zone))
        assert not any(pcp.count for pcp in self.zone(zone).per_cpu_pageset)
        self.alloc(0, Context.TASK, g.GFP_HIGHUSER_MOVABLE, 0)
        pcp_code.zone_pcp_enable(self.zone(zone))
        self.step()

    # --- interrupts ----------------------------------------------------------------------------

    def interrupt(self, cpu: int, other: int, zone: int, which: int, context: Context, kind: int) -> None:
        """Code on CPU ``cpu`` holds its pcp->lock, interrupts on; an interrupt there, or code on another CPU, frees
        and allocates.

        Only interrupts (and calls that wait for no lock) run meanwhile: a task that waits would wait for ever.
        """
        cpu, other = self.online(cpu), self.online(other)
        lock = self.zone(zone).per_cpu_pageset[cpu].lock
        with self.interrupted(cpu, lock), self.system.on_cpu(other, context) as system:
            if kind == 0:
                self.hold(system.alloc_pages(g.GFP_ATOMIC), 0)
            elif kind == 1:
                self.hold(system.alloc_pages(g.GFP_NOWAIT | g.GFP_MOVABLE, self.order_of(which)), self.order_of(which))
            elif kind == 2:
                picked = self.pick(which)
                if picked is not None:
                    self._free(system, *picked)
            elif kind == 3:
                # The batch free waits for a pcp->lock in no variant but in rfc's task context.
                system.free_folios(self._batch(which, 1 + which % 5))
            elif kind == 4:
                self._alloc_nolock(system, self.order_of(which))
            else:
                picked = self.pick(which)
                if picked is not None:
                    self._free(system, *picked, nolock=True)
            self.done()
        self.step(0)

    def under_zone_lock(self, cpu: int, other: int, zone: int, which: int, free: bool, refill: bool) -> None:
        """Code on CPU ``cpu`` holds zone->lock (in a refill its pcp->lock too); an NMI there, or on another CPU, waits
        for no lock.
        """
        if self.system.kernel.calls.free_pages_nolock is None:
            return
        cpu, other = self.online(cpu), self.online(other)
        locks = [self.zone(zone).lock]
        if refill:
            locks.insert(0, self.zone(zone).per_cpu_pageset[cpu].lock)
        with self.interrupted(cpu, *locks), self.system.on_cpu(other, Context.NMI) as system:
            picked = self.pick(which) if free else None
            if picked is not None:
                self._free(system, *picked, nolock=True)
            else:
                self._alloc_nolock(system, self.order_of(which))
            self.done()
        self.step(0)

    @contextlib.contextmanager
    def interrupted(self, cpu: int, *locks: Spinlock) -> Iterator[None]:
        """Task code on a CPU that holds locks."""
        with self.system.on_cpu(cpu):
            for lock in locks:
                lock.lock()
            yield
            for lock in reversed(locks):
                lock.unlock()

    # --- save and restore ----------------------------------------------------------------------

    def save_and_restore(self, cpu: int, order: int) -> None:
        """The same state has the same digest and the same future; the program goes on with the restored machine."""
        order = self.order_of(order)
        if self.monitor is not None:
            self.monitor.detach()
        old = self.system
        new = System.restore(json.loads(json.dumps(old.snapshot())))
        assert new.digest() == old.digest()
        answers = []
        for system in (old, new):
            with system.on_cpu(self.online(cpu)):
                answers.append(system.alloc_pages(g.GFP_HIGHUSER_MOVABLE, order))
        assert answers[0] == answers[1]
        assert new.digest() == old.digest()
        self.system = new
        self._watch()
        self.hold(answers[1], order)
        self.step()


# --- chance ------------------------------------------------------------------------------------

MANY: Final = 1 << 20


def _alloc(d: Driver, r: random.Random) -> None:
    order = r.choice((0, 0, 0, 0, 0, 1, 2, 3, 4, 5))
    count = r.choice((1, 1, 2, 8)) if order < 3 else 1
    d.alloc(r.randrange(MANY), r.choice(CONTEXTS), r.choice(GFPS), order, count, r.choice((None, None, 0, 1)))


def _free(d: Driver, r: random.Random) -> None:
    d.free(r.randrange(MANY), r.choice(CONTEXTS), r.randrange(MANY), r.choice((1, 1, 2, 8)))


Action = Callable[[Driver, random.Random], None]

#: weight (that of the first two changes with the phase), operation
ACTIONS: Final[tuple[tuple[int, Action], ...]] = (
    (32, _alloc),
    (32, _free),
    (3, lambda d, r: d.alloc_bulk(r.randrange(MANY), r.choice(CONTEXTS), r.choice(GFPS), r.randint(1, 9))),
    (2, lambda d, r: d.alloc_exact(r.randrange(MANY), r.choice(CONTEXTS), r.choice(GFPS), r.randint(1, 13))),
    (2, lambda d, r: d.alloc_nolock(r.randrange(MANY), r.choice(list(Context)), r.randrange(5))),
    (3, lambda d, r: d.free_nolock(r.randrange(MANY), r.choice(list(Context)), r.randrange(MANY))),
    (7, lambda d, r: d.free_folios(r.randrange(MANY), r.choice(CONTEXTS), r.randrange(MANY), r.randint(1, 12))),
    (2, lambda d, r: d.get_page(r.randrange(MANY))),
    (2, lambda d, r: d.split_page(r.randrange(MANY))),
    (2, lambda d, r: d.drain(r.randrange(MANY), r.random() < 0.4)),
    (2, lambda d, r: d.vmstat(r.randrange(MANY), r.random() < 0.8, r.randint(1, 4))),
    (1, lambda d, r: d.isolate(r.randrange(MANY), r.random() < 0.5)),
    (3, lambda d, r: d.unisolate(r.randrange(MANY), r.randrange(3))),
    (1, lambda d, r: d.unreserve(r.randrange(MANY), r.choice(GFPS), r.random() < 0.5)),
    (1, lambda d, r: d.hotplug(r.randrange(MANY))),
    (1, lambda d, r: d.zone_flags(r.randrange(MANY), r.choice((g.ZONE_RECLAIM_ACTIVE, g.ZONE_BELOW_HIGH)))),
    (8, lambda d, r: d.interrupt(r.randrange(MANY), r.randrange(MANY), r.randrange(MANY), r.randrange(MANY),
                                 r.choice((Context.SOFTIRQ, Context.HARDIRQ)), r.randrange(6))),
    (3, lambda d, r: d.under_zone_lock(r.randrange(MANY), r.randrange(MANY), r.randrange(MANY), r.randrange(MANY),
                                       r.random() < 0.6, r.random() < 0.7)),
)  # fmt: skip
#: what costs much and finds little: once in so many actions
RARE: Final[tuple[tuple[int, Action], ...]] = (
    (97, lambda d, r: d.free_wrongly(r.randrange(MANY), r.randrange(48), r.randrange(5))),
    (199, lambda d, r: d.pcp_off_and_on(r.randrange(MANY))),
    (499, lambda d, r: d.save_and_restore(r.randrange(MANY), r.randrange(3))),
)
_OTHERS: Final = [weight for weight, _ in ACTIONS[2:]]
#: actions in which memory fills, stays as full as it is, and empties
_PHASES: Final = ([52, 8, *_OTHERS], [36, 22, *_OTHERS], [12, 48, *_OTHERS])
PHASE_LENGTH: Final = 60
_FUNCTIONS: Final = [action for _, action in ACTIONS]


def act(driver: Driver, chance: random.Random, number: int) -> None:
    """One random action, the ``number``-th of its program."""
    for period, rare in RARE:
        if number % period == period - 1:
            rare(driver, chance)
    chance.choices(_FUNCTIONS, _PHASES[number // PHASE_LENGTH % 3])[0](driver, chance)
