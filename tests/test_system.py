# SPDX-License-Identifier: GPL-2.0-only
"""The facade, and random programs against an independent shadow of what they own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pageblock_buddy import BadArgument, CallerError, Config, Context, ModelBug, System, UnknownVariant, ZoneConfig, gfp
from pageblock_buddy.linux_6_12 import pcp as pcp_code
from pageblock_buddy.variants import VARIANTS, get_variant, variant_for_kernel
from tests.helpers import MOVABLE, RECLAIMABLE, UNMOVABLE, assert_zone, machine, pcp_of

# --- the facade --------------------------------------------------------------------------------


def test_docstring_example() -> None:
    """The example of System."""
    system = System.boot(Config.small(pages=64))
    pfn = system.alloc_pages(gfp.GFP_KERNEL, order=1)
    assert pfn == 0
    system.free_pages(pfn, order=1)
    assert [repr(zone) for zone in system.zones] == ["<Zone node 0 DMA32 pfn 0..63>"]


def test_on_cpu_nests() -> None:
    """The outer CPU and context are in force again behind the block, after an error too."""
    system = machine(nr_cpus=3)
    cpu = system.kernel.machine
    with system.on_cpu(1) as same:
        assert same is system
        with system.on_cpu(2, Context.SOFTIRQ):
            assert (cpu.cpu, cpu.context, cpu.in_task()) == (2, Context.SOFTIRQ, False)
        assert (cpu.cpu, cpu.context) == (1, Context.TASK)
        with pytest.raises(BadArgument), system.on_cpu(2):
            system.free_pages(-1)
        assert cpu.cpu == 1
    assert cpu.cpu == 0


@pytest.mark.parametrize("cpu", [-1, 2])
def test_cpu_that_does_not_exist(cpu: int) -> None:
    """BadArgument."""
    with pytest.raises(BadArgument, match=r"is not 0\.\.1"), machine(nr_cpus=2).on_cpu(cpu):
        pass


def test_variants() -> None:
    """By name, and by the kernel version of a recording."""
    assert get_variant("linux-6.12") is VARIANTS["linux-6.12"] is variant_for_kernel("6.12.117")
    for lookup, name in ((get_variant, "linux-0.01"), (variant_for_kernel, "2.6.32")):
        with pytest.raises(UnknownVariant, match=r"there are: linux-6\.12"):
            lookup(name)
    with pytest.raises(UnknownVariant):
        System.boot(Config.small(), variant="linux-0.01")


def test_arguments() -> None:
    """BadArgument for counts and nodes that do not exist."""
    system = machine("order 4: M[0]")
    for count in (0, 17):
        with pytest.raises(BadArgument, match="pages are not"):
            system.alloc_pages_bulk(MOVABLE, count)
        with pytest.raises(BadArgument):
            system.alloc_pages_exact(MOVABLE, count)
        with pytest.raises(BadArgument):
            system.free_pages_exact(0, count)
    for node in (1, -1):
        with pytest.raises(BadArgument, match="no node"):
            system.alloc_pages(MOVABLE, node=node)
        with pytest.raises(BadArgument, match="no node"):
            system.alloc_pages_bulk(MOVABLE, 2, node=node)
    with pytest.raises(BadArgument):
        system.free_pages_exact(60, 8)
    assert_zone(system, "order 4: M[0] \n alloc:")


def test_lru() -> None:
    """LPA-2.0.15, LPA-6.3.6: pages on an LRU count as movable in their pageblock; a large block in each of its
    pageblocks."""
    system = machine("alloc: 0/1 16/4")
    system.lru_add(0, 1)
    system.lru_add(16, 4)
    assert system.kernel.nr_movable == {0: 2, 2: 8, 3: 8}
    system.lru_del(16, 4)
    assert system.kernel.nr_movable == {0: 2}
    with pytest.raises(BadArgument, match="-8 pages on the LRU"):
        system.lru_del(16, 4)
    with pytest.raises(BadArgument, match="not the first page of an allocation"):
        system.lru_add(8, 3)
    system.lru_del(0, 1)
    assert system.kernel.nr_movable == {}


def test_lru_pages_keep_a_block_from_being_claimed() -> None:
    """LPA-6.3.7, LPA-6.3.8, LPA-2.0.15: six movable pages beside two free ones: stolen; without them: claimed."""
    for on_lru, letter in ((True, "M"), (False, "U")):
        system = machine("order 1: M[0] \n alloc: 2/1 4/2")
        if on_lru:
            system.lru_add(2, 1)
            system.lru_add(4, 2)
        assert system.alloc_pages(UNMOVABLE, 1) == 0
        assert_zone(system, f"alloc: 0/1 2/1 4/2 \n blocks: {letter}MMMMMMM")


# --- random programs ---------------------------------------------------------------------------

CPUS = 3
PAGES = 96
GFPS = (
    UNMOVABLE,
    MOVABLE,
    RECLAIMABLE,
    MOVABLE | gfp.GFP_COMP,
    gfp.GFP_ATOMIC,
    gfp.GFP_NOWAIT | gfp.GFP_MOVABLE,
    UNMOVABLE | gfp.GFP_DMA32,
    UNMOVABLE | gfp.GFP_THISNODE,
    UNMOVABLE | gfp.GFP_MEMALLOC,
)


def random_machine(kind: int) -> Config:
    """A few machines with much going on: two zones on two nodes, tight limits, CMA, odd ends, a boost."""
    fields: dict[str, Any] = {
        "nr_cpus": CPUS,
        "cpu_node": (0, 0, 1),
        "pageblock_order": 3,
        "max_page_order": 4,
        "watermark_boost_factor": 15000,
        "llc_pages_per_cpu": 64 * (kind % 2),
    }
    limits: dict[str, Any] = {"batch": 1 + kind % 3, "high_min": 4 + kind, "high_max": 4 + kind * 3}
    zones = (
        ZoneConfig(zone=gfp.ZONE_DMA32, start_pfn=3 * (kind % 2), spanned_pages=37 - 3 * (kind % 2),
                   watermark=(1, 2, 4 + kind, 8), holes=((20, 2),), **limits),
        ZoneConfig(zone=gfp.ZONE_NORMAL, node=kind % 2, start_pfn=40, spanned_pages=PAGES - 40,
                   watermark=(1, 3, 6, 9), cma=((56, 8),) if kind > 1 else (), **limits),
    )  # fmt: skip
    return Config(zones=zones, **fields)


class RandomProgram(RuleBasedStateMachine):
    """Any program may do to the allocator what the API lets it do.

    ``owned`` is the shadow: first PFN -> (order, compound, references, pages on an LRU).  The test knows nothing else:
    no lists, no types."""

    def __init__(self) -> None:
        super().__init__()
        self.owned: dict[int, tuple[int, bool, int, bool]] = {}
        self.isolated: set[int] = set()
        #: isolated, and no page of it was on a PCP list then
        self.sealed: set[int] = set()

    @initialize(kind=st.integers(0, 3))
    def boot(self, kind: int) -> None:
        self.system = System.boot(random_machine(kind))
        self.block = 8
        self.memory = sum(zone.managed_pages for zone in self.system.zones)

    # - what it owns -

    def own(self, pfn: int, order: int, compound: bool = False) -> None:
        pages = set(range(pfn, pfn + (1 << order)))
        assert pfn % (1 << order) == 0, "misaligned"
        assert not pages & self.pages(), "handed out twice"
        assert not {p // self.block for p in pages} & self.sealed, "handed out from an isolated block"
        zone = next(z for z in self.system.zones if z.zone_start_pfn <= pfn < z.end_pfn)
        assert pfn + (1 << order) <= zone.end_pfn, "outside the zone"
        assert not pages & {20, 21}, "from a hole"
        self.owned[pfn] = (order, compound and order > 0, 1, False)

    def pages(self) -> set[int]:
        return {p for pfn, (order, *_) in self.owned.items() for p in range(pfn, pfn + (1 << order))}

    def pick(self, data: st.DataObject, *, single: bool = False) -> int:
        pfns = sorted(p for p, (_, _, refs, lru) in self.owned.items() if not (single and (refs > 1 or lru)))
        return pfns[data.draw(st.integers(0, len(pfns) - 1), label="which")]

    def has_single(self) -> bool:
        return any(refs == 1 and not lru for _, _, refs, lru in self.owned.values())

    # - allocate -

    @rule(
        cpu=st.integers(0, CPUS - 1),
        request=st.sampled_from(GFPS),
        order=st.integers(0, 4),
        context=st.sampled_from(Context),
    )
    def alloc(self, cpu: int, request: int, order: int, context: Context) -> None:
        with self.system.on_cpu(cpu, context):
            pfn = self.system.alloc_pages(request, order)
        if pfn is not None:
            self.own(pfn, order, bool(request & gfp.GFP_COMP))

    @rule(
        cpu=st.integers(0, CPUS - 1),
        request=st.sampled_from(GFPS),
        count=st.integers(1, 9),
        node=st.sampled_from((None, 0, 1)),
    )
    def alloc_bulk(self, cpu: int, request: int, count: int, node: int | None) -> None:
        with self.system.on_cpu(cpu):
            pfns = self.system.alloc_pages_bulk(request, count, node=node)
        assert len(pfns) <= count
        for pfn in pfns:
            self.own(pfn, 0)

    @rule(cpu=st.integers(0, CPUS - 1), request=st.sampled_from(GFPS), count=st.integers(1, 13))
    def alloc_exact(self, cpu: int, request: int, count: int) -> None:
        with self.system.on_cpu(cpu):
            pfn = self.system.alloc_pages_exact(request, count)
        if pfn is not None:
            for page in range(pfn, pfn + count):
                self.own(page, 0)

    # - free -

    @precondition(lambda self: self.has_single())
    @rule(data=st.data(), cpu=st.integers(0, CPUS - 1), context=st.sampled_from(Context))
    def free(self, data: st.DataObject, cpu: int, context: Context) -> None:
        pfn = self.pick(data, single=True)
        order = self.owned.pop(pfn)[0]
        with self.system.on_cpu(cpu, context):
            self.system.free_pages(pfn, order)

    @precondition(lambda self: self.has_single())
    @rule(data=st.data(), cpu=st.integers(0, CPUS - 1), count=st.integers(1, 6))
    def free_batch(self, data: st.DataObject, cpu: int, count: int) -> None:
        batch: list[tuple[int, int]] = []
        while self.has_single() and len(batch) < count:
            pfn = self.pick(data, single=True)
            batch.append((pfn, self.owned.pop(pfn)[0]))
        with self.system.on_cpu(cpu):
            self.system.free_folios(batch)

    @precondition(lambda self: self.has_single())
    @rule(data=st.data(), cpu=st.integers(0, CPUS - 1))
    def free_in_an_interrupt(self, data: st.DataObject, cpu: int) -> None:
        """While the lists are locked by the interrupted code: free, and allocate something else."""
        pfn = self.pick(data, single=True)
        order = self.owned.pop(pfn)[0]
        with self.system.on_cpu(cpu):
            locks = [pcp_of(self.system, cpu, zone).lock for zone in self.system.zones]
            for lock in locks:
                lock.lock()
            counts = [pcp_of(self.system, cpu, zone).count for zone in self.system.zones]
            with self.system.on_cpu(cpu, Context.HARDIRQ):
                self.system.free_pages(pfn, order)
                got = self.system.alloc_pages(gfp.GFP_ATOMIC)
            assert counts == [pcp_of(self.system, cpu, zone).count for zone in self.system.zones]
            for lock in locks:
                lock.unlock()
        if got is not None:
            self.own(got, 0)

    @precondition(lambda self: self.owned)
    @rule(data=st.data())
    def split(self, data: st.DataObject) -> None:
        pfn = self.pick(data)
        order, compound, refs, lru = self.owned[pfn]
        if compound:
            with pytest.raises(CallerError):
                self.system.split_page(pfn, order)
        elif refs == 1:
            self.system.split_page(pfn, order)
            del self.owned[pfn]
            for page in range(pfn, pfn + (1 << order)):
                self.owned[page] = (0, False, 1, lru)

    @precondition(lambda self: self.owned)
    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        pfn = self.pick(data)
        order, compound, refs, lru = self.owned[pfn]
        self.system.get_page(pfn)
        self.owned[pfn] = (order, compound, refs + 1, lru)
        assert self.system.page_count(pfn) == refs + 1

    @precondition(lambda self: any(refs > 1 for _, _, refs, _ in self.owned.values()))
    @rule(data=st.data(), cpu=st.integers(0, CPUS - 1))
    def put(self, data: st.DataObject, cpu: int) -> None:
        """LPA-10.0.2, LPA-10.0.3: with references left the tail is freed now, unless it is compound."""
        held = sorted(p for p, (_, _, refs, _) in self.owned.items() if refs > 1)
        pfn = held[data.draw(st.integers(0, len(held) - 1), label="which")]
        order, compound, refs, lru = self.owned[pfn]
        if lru:
            self.toggle_lru(pfn)
        with self.system.on_cpu(cpu):
            self.system.free_pages(pfn, order)
        self.owned[pfn] = (order if compound else 0, compound, refs - 1, False)

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), pfn=st.integers(0, PAGES - 1), order=st.integers(0, 4))
    def wrong_free(self, data: st.DataObject, pfn: int, order: int) -> None:
        """A free of anything else is refused and changes nothing."""
        if pfn in self.owned and self.owned[pfn][0] == order:
            return
        before = self.system.digest()
        with pytest.raises(CallerError):
            self.system.free_pages(pfn, order)
        assert self.system.digest() == before

    # - around it -

    def toggle_lru(self, pfn: int) -> None:
        order, compound, refs, lru = self.owned[pfn]
        (self.system.lru_del if lru else self.system.lru_add)(pfn, order)
        self.owned[pfn] = (order, compound, refs, not lru)

    @precondition(lambda self: self.owned)
    @rule(data=st.data())
    def lru(self, data: st.DataObject) -> None:
        self.toggle_lru(self.pick(data))

    @rule(cpu=st.integers(0, CPUS - 1), everything=st.booleans())
    def drain(self, cpu: int, everything: bool) -> None:
        with self.system.on_cpu(cpu):
            if everything:
                self.system.drain_all_pages()
                assert not any(p.count for zone in self.system.zones for p in zone.per_cpu_pageset)
            else:
                self.system.drain_local_pages()
                assert not any(zone.per_cpu_pageset[cpu].count for zone in self.system.zones)

    @rule(cpu=st.integers(0, CPUS - 1), pagesets=st.booleans())
    def vmstat(self, cpu: int, pagesets: bool) -> None:
        with self.system.on_cpu(cpu):
            self.system.refresh_vm_stats(pagesets=pagesets)

    @rule(pfn=st.sampled_from((0, 8, 16, 40, 48, 64, 72, 80, 88)), drain=st.booleans())
    def isolate(self, pfn: int, drain: bool) -> None:
        """LPA-10.0.16: pages on PCP lists can still be handed out, unless the lists are drained behind the
        isolation."""
        if self.system.isolate_pageblock(max(pfn, 3) if pfn == 0 else pfn):
            assert pfn // self.block not in self.isolated
            self.isolated.add(pfn // self.block)
        if drain:
            self.system.drain_all_pages()
            self.sealed |= self.isolated

    @precondition(lambda self: self.isolated)
    @rule(data=st.data(), mt=st.sampled_from((0, 1, 2)))
    def unisolate(self, data: st.DataObject, mt: int) -> None:
        block = data.draw(st.sampled_from(sorted(self.isolated)), label="block")
        self.isolated.remove(block)
        self.sealed.discard(block)
        self.system.unisolate_pageblock(max(block * self.block, 3), mt)

    @rule(which=st.integers(0, 1), bit=st.sampled_from((gfp.ZONE_RECLAIM_ACTIVE, gfp.ZONE_BELOW_HIGH)))
    def zone_flag(self, which: int, bit: int) -> None:
        """What kswapd does from outside."""
        self.system.zones[which].flags ^= bit

    @rule(which=st.integers(0, 1))
    def pcp_off_and_on(self, which: int) -> None:
        zone = self.system.zones[which]
        pcp_code.zone_pcp_disable(self.system.kernel, zone)
        assert not any(p.count for p in zone.per_cpu_pageset)
        pcp_code.zone_pcp_enable(zone)

    @rule(order=st.integers(0, 4), cpu=st.integers(0, CPUS - 1))
    def save_and_restore(self, order: int, cpu: int) -> None:
        """The same state has the same digest and the same future; the program goes on with the restored machine."""
        old = self.system
        new = System.restore(json.loads(json.dumps(old.snapshot())))
        assert new.digest() == old.digest()
        results = []
        for system in (old, new):
            with system.on_cpu(cpu):
                results.append(system.alloc_pages(MOVABLE, order))
        assert results[0] == results[1]
        assert new.digest() == old.digest()
        self.system = new
        if results[1] is not None:
            self.own(results[1], order)

    # - always -

    @invariant()
    def sound(self) -> None:
        if not hasattr(self, "system"):
            return
        self.system.validate()
        # conservation: every page of memory is free, on a PCP list, or owned
        on_lists = sum(
            len(free_list) << order
            for zone in self.system.zones
            for order, area in enumerate(zone.free_area)
            for free_list in area.free_list
        )
        on_pcp = sum(pcp.count for zone in self.system.zones for pcp in zone.per_cpu_pageset)
        assert on_lists + on_pcp + len(self.pages()) == self.memory
        # the allocator's own books agree with the shadow
        books = [[p, order, int(comp), refs] for p, (order, comp, refs, _) in sorted(self.owned.items())]
        assert self.system.snapshot()["allocated"] == books


COMMON: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "print_blob": False,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much],
}


def test_random_programs() -> None:
    """No page is owned twice or lost, whatever a program does; and every invariant holds after each step."""
    run_state_machine_as_test(
        RandomProgram, settings=settings(max_examples=80, stateful_step_count=40, phases=(Phase.generate,), **COMMON)
    )


@pytest.mark.long
def test_many_random_programs() -> None:
    """The same, for long."""
    run_state_machine_as_test(RandomProgram, settings=settings(max_examples=1000, stateful_step_count=100, **COMMON))


def test_validating() -> None:
    """With ``validating`` a broken state is found by the next operation."""
    system = machine("order 4: M[0]")
    system.zones[0].nr_free_pages += 1
    assert system.alloc_pages(MOVABLE, 4) == 0
    system.validating = True
    with pytest.raises(ModelBug, match="counters"):
        system.free_pages(0, 4)


def test_refused_lru_changes_nothing() -> None:
    """BadArgument leaves the state unchanged."""
    system = machine("alloc: 0/4")
    system.lru_add(0, 3)
    with pytest.raises(BadArgument):
        system.lru_add(0, 4)
    with pytest.raises(BadArgument):
        system.lru_del(0, 4)
    assert system.kernel.nr_movable == {0: 8}


def test_nothing_runs_on_a_cpu_that_is_offline() -> None:
    """Also not on the one that a program comes back to."""
    system = System.boot(Config.small(64, nr_cpus=2))
    pfn = system.alloc_pages(gfp.GFP_KERNEL)
    assert pfn is not None
    with pytest.raises(BadArgument, match="CPU 0 runs this"):
        system.offline_cpu(0)
    with system.on_cpu(1):
        system.offline_cpu(0)
        with pytest.raises(BadArgument, match="CPU 0 is offline already"):
            system.offline_cpu(0)
    for operation in (
        lambda: system.alloc_pages(gfp.GFP_KERNEL),
        lambda: system.alloc_pages_bulk(gfp.GFP_KERNEL, 2),
        lambda: system.free_pages(pfn),
        lambda: system.free_folios([(pfn, 0)]),
        lambda: system.isolate_pageblock(0),
        system.drain_local_pages,
        system.drain_all_pages,
        system.refresh_vm_stats,
        lambda: system.online_cpu(0),
    ):
        with pytest.raises(BadArgument, match="CPU 0, which runs this, is offline"):
            operation()
    with system.on_cpu(1):
        system.online_cpu(0)
    system.free_pages(pfn)
