# SPDX-License-Identifier: GPL-2.0-only
"""The monitor: silent on what is right, and each of its rules fails on an implementation that is wrong in one place."""

from __future__ import annotations

import dataclasses
import random
import re
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pageblock_buddy import Context, LockError, ModelBug, System, gfp
from pageblock_buddy.accounting import Accounting
from pageblock_buddy.errors import LockNotHeld, SelfDeadlock
from pageblock_buddy.gfp import FPI_PCP_BUDDY
from pageblock_buddy.machine.lists import ListHead
from pageblock_buddy.machine.spinlock import Spinlock
from pageblock_buddy.mm.alloc_context import RmqueueMode
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import PG_PCP, PG_PCP_BUDDY
from pageblock_buddy.monitor import TRANSITIONS, Monitor
from pageblock_buddy.rfc import merge, pcp
from pageblock_buddy.rfc import variant as rfc
from pageblock_buddy.rfc.pageblock import disown_pageblock
from pageblock_buddy.rfc.policies import clear_complete
from pageblock_buddy.variants import VARIANTS
from tests.helpers import MOVABLE, machine, pcp_of
from tests.stateful.driver import CONFIGS, Driver, act

Entries = dict[str, Callable[..., Any]]

# --- attaching ---------------------------------------------------------------------------------


def kept(system: System) -> list[object]:
    """Everything that a monitor may swap."""
    k = system.kernel
    return [
        k.calls,
        getattr(k, "pcp_buddy", None),
        *(zone.lock for zone in k.zones),
        *(p.lock for zone in k.zones for p in zone.per_cpu_pageset),
        *(p.owned_blocks for zone in k.zones for p in zone.per_cpu_pageset),
        *(p.owned_blocks_by_type for zone in k.zones for p in zone.per_cpu_pageset),
    ]


@pytest.mark.parametrize("variant", [*VARIANTS, "rfc+owned-per-type"])
def test_detaching_puts_everything_back(variant: str) -> None:
    """The same objects, plain columns, and the state that the watched kernel came to."""
    watched, free = (System.boot(CONFIGS["three CPUs, CMA"], variant=variant) for _ in range(2))
    before = kept(watched)
    monitor = Monitor(watched.kernel, variant)
    assert all(type(lock) is not Spinlock for lock in kept(watched)[2:4])
    for system in (watched, free):
        held = [pfn for pfn in (system.alloc_pages(MOVABLE) for _ in range(150)) if pfn is not None]
        with system.on_cpu(1):
            for pfn in held[::3]:
                system.free_pages(pfn)
        system.alloc_pages(MOVABLE)
        system.drain_all_pages()
    monitor.detach()
    assert all(new is old for new, old in zip(kept(watched), before, strict=True))
    assert type(watched.kernel.pageblock_cpu) is type(watched.kernel.pageblock_cpu_node) is array
    assert type(pcp_of(watched).owned_blocks) is ListHead
    assert watched.digest() == free.digest()
    watched.validate()
    if VARIANTS[variant.split("+")[0]].calls.pcp_buddy is not None:
        assert any(watched.kernel.pageblock_cpu_node)


def stumble(k: Kernel, zone: Zone | None) -> None:
    """An operation that fails with a lock held."""
    k.zones[0].lock.lock()
    raise ZeroDivisionError


def test_as_a_context_manager() -> None:
    """It is detached at the end; an error inside is not hidden behind another one."""
    system = machine("order 4: M[0 16]", variant="rfc")
    calls = system.kernel.calls
    with Monitor(system.kernel, "rfc"):
        assert system.kernel.calls is not calls
        system.alloc_pages(MOVABLE)
    assert system.kernel.calls is calls
    system.kernel.calls = dataclasses.replace(system.kernel.calls, drain_all_pages=stumble)
    with pytest.raises(ZeroDivisionError), Monitor(system.kernel, "rfc"):
        system.drain_all_pages()


def test_only_between_operations() -> None:
    """A lock that is held when the monitor comes would never be seen."""
    system = machine("order 4: M[0]", variant="rfc")
    system.zones[0].lock.lock()
    with pytest.raises(LockError, match="attach between operations"):
        Monitor(system.kernel, "rfc")


def test_on_top_of_accounting() -> None:
    """Both watch the same kernel: accounting counts, and the monitor sees the same locks."""
    system = System.boot(CONFIGS["two CPUs, fixed high"], variant="rfc")
    account = Accounting.attach(system.kernel)
    with Monitor(system.kernel, "rfc") as monitor:
        assert system.alloc_pages(MOVABLE) is not None
        monitor.done()
        system.zones[0].lock.lock()
        with pytest.raises(LockError, match=r"^locks_free"):
            monitor.done()
        system.zones[0].lock.unlock()
    account.detach()
    assert account.locks["zone->lock"]
    system.validate()


@pytest.mark.parametrize("variant", ["rfc", "rfc+clear-complete", "llist+want-block", "linux-6.12"])
def test_it_sees_nothing_wrong_in_what_is_right(variant: str) -> None:
    """A random program under the monitor alone; tests/stateful does this for all variants."""
    driver = Driver(variant, CONFIGS["three CPUs, CMA"], judges=("monitor",))
    chance = random.Random(1)
    for number in range(400):
        act(driver, chance, number)


# --- wrong implementations ---------------------------------------------------------------------


def wrong(text: str, calls: Entries | None = None, pcp_buddy: Entries | None = None, **overrides: Any) -> System:
    """A machine in a drawn state whose tables have wrong entries.  High is far away unless asked for."""
    fields: dict[str, Any] = {"variant": "rfc", "nr_cpus": 2, "batch": 2, "high_min": 32, "high_max": 32}
    system = machine(text, **(fields | overrides))
    k = system.kernel
    assert k.calls.pcp_buddy is not None
    k.pcp_buddy = dataclasses.replace(k.calls.pcp_buddy, **(pcp_buddy or {}))
    k.calls = dataclasses.replace(k.calls, pcp_buddy=k.pcp_buddy, **(calls or {}))
    return system


@contextmanager
def breaks(invariant: str, system: System, variant: str = "rfc", match: str = "") -> Iterator[Monitor]:
    """The block fails by this invariant under the monitor."""
    monitor = Monitor(system.kernel, variant)
    with pytest.raises((ModelBug, LockError), match=f"^{invariant}: .*{match}") as caught:
        yield monitor
    assert caught.value.details["invariant"] == invariant


WHOLE = "order 4: M[0 16]"
#: CPU 0 owns block 0, of which pfn 0 is in use and the rest on its lists, and block 1, which is whole on its lists
OWNED = """
order 4: M[16 32]
pcp0 o0: M[1*]
pcp0 o1: M[2*]
pcp0 o2: M[4*]
pcp0 o3: M[8*]
owners: 00......
alloc: 0/0
"""


# - ownership: getting an owner -


def adopt(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
    """[21/40] in place of phase 1: the block of the first free chunk is adopted although it is not whole."""
    pfn = zone.free_area[2].free_list[mt].first_entry_or_null()
    assert pfn is not None
    k.pcp_buddy.set_pageblock_owner(k, zone, pfn, pcp.cpu + 1)
    return 0


def test_a_block_that_is_not_whole_gets_no_owner() -> None:
    system = wrong("order 2: M[4] \n alloc: 0/2", pcp_buddy={"refill_claim": adopt})
    with breaks("ownership", system, match="goes to CPU 0 and is not whole"):
        system.alloc_pages(MOVABLE)


def claim_from_the_pcp(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
    """In place of phase 1: an unmarked chunk of pageblock_order that lies on the PCP already is made an owned one."""
    pfn = pcp.lists[10].first_entry_or_null()
    assert pfn is not None
    k.pcp_buddy.set_pageblock_owner(k, zone, pfn, pcp.cpu + 1)
    k.mem_map[pfn] |= PG_PCP_BUDDY
    return 0


def test_a_block_on_a_pcp_gets_no_owner() -> None:
    """It is wholly free, and was not in the zone in this hold."""
    system = wrong(
        "order 0: U[16] \n pcp0 o3: M[0] \n blocks: MMUMMMMM", pcp_buddy={"refill_claim": claim_from_the_pcp}
    )
    with breaks("ownership", system, match="goes to CPU 0"):
        system.alloc_pages(gfp.GFP_KERNEL)  # the other type's lists are empty: a refill


def claim_late(k: Kernel, zone: Zone, pcp: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
    """Phase 1 that gives zone->lock up between taking the block and becoming its owner."""
    pfn = k.calls._rmqueue(k, zone, k.pageblock_order, mt, 0, RmqueueMode())
    assert pfn is not None
    zone.lock.unlock()
    zone.lock.lock()
    k.pcp_buddy.set_pageblock_owner(k, zone, pfn, pcp.cpu + 1)
    pcp.lists[9 + mt].list_add(pfn)
    k.mem_map[pfn] = PG_PCP_BUDDY | 3
    pcp.count += 8
    return 8


def test_a_claim_is_one_hold() -> None:
    """In two holds the block is nobody's for a while, and whoever frees into it reads the old owner."""
    system = wrong(WHOLE, pcp_buddy={"refill_claim": claim_late})
    with breaks("ownership", system, match="goes to CPU 0"):
        system.alloc_pages(MOVABLE)


# - ownership: losing it -


def disown_partial(k: Kernel, zone: Zone, pcp: PerCpuPages, block_pfn: int) -> None:
    """Where a fragment goes to the zone the block is disowned and not listed."""
    disown_pageblock(k, zone, block_pfn)


def test_a_block_in_use_keeps_its_owner() -> None:
    system = wrong(OWNED, pcp_buddy={"list_owned_block": disown_partial})
    with breaks("ownership", system, match="loses the block at pfn 0"):
        system.drain_local_pages()


def keep_what_was_disowned(k: Kernel, zone: Zone, count: int, pcp: PerCpuPages, pindex: int) -> None:
    """Disowns a whole chunk and puts it back on the list (scenario 27 under the right lock)."""
    zone.lock.lock()
    pfn = pcp.lists[10].pop_first()
    k.mem_map[pfn] = 0
    disown_pageblock(k, zone, pfn)
    k.mem_map[pfn] = PG_PCP | 3
    pcp.lists[10].list_add(pfn)
    zone.lock.unlock()


def test_who_loses_a_block_gives_it_to_the_zone() -> None:
    system = wrong(OWNED, {"free_pcppages_bulk": keep_what_was_disowned})
    with breaks("ownership", system, match="is not in the zone"):
        system.drain_local_pages()


def test_disowning_in_the_zone_is_a_policy() -> None:
    """clear-complete may, rfc may not."""
    entries: Entries = {"_free_one_page": clear_complete._free_one_page}
    text = "order 0: M[1] \n order 1: M[2] \n order 2: M[4] \n owners: 0....... \n alloc: 0/0"
    system = wrong(text, entries)
    with breaks("ownership", system, match="CPU 0 loses the block"):
        pcp_of(system).lock.lock()
        with system.on_cpu(0, Context.HARDIRQ):
            system.free_pages(0)  # the PCP is busy: to the zone, where the block becomes whole
    system = machine(text, variant="rfc+clear-complete")
    with Monitor(system.kernel, "rfc+clear-complete"):
        assert pcp_of(system).lock.trylock()
        with system.on_cpu(0, Context.HARDIRQ):
            system.free_pages(0)
        pcp_of(system).lock.unlock()
        assert not system.kernel.pageblock_cpu[0]


def test_a_dead_cpu_loses_its_blocks_only() -> None:
    """CPU offline may disown blocks in use, of the CPU that goes."""
    text = "order 4: M[16] \n owners: 10...... \n alloc: 0/0 8/0"
    system = machine(text, variant="rfc", nr_cpus=2)
    with Monitor(system.kernel, "rfc"):
        system.offline_cpu(1)
        assert list(system.kernel.pageblock_cpu[:2]) == [0, 1]

    def disown_all(k: Kernel, cpu: int) -> None:
        zone = k.zones[0]
        zone.lock.lock()
        for block in (0, 8):
            disown_pageblock(k, zone, block)
        zone.lock.unlock()

    system = wrong(text, {"page_alloc_cpu_dead": disown_all})
    with breaks("ownership", system, match="CPU 0 loses the block at pfn 8"):
        system.offline_cpu(1)


# - disown, inherit, merge_pass -


def no_disown(k: Kernel, zone: Zone, pfn: int, tag: int) -> None:
    """Forgets to store that nobody owns a block."""
    if tag:
        k.pageblock_cpu[pfn >> k.pageblock_order] = tag


def test_a_whole_block_is_disowned() -> None:
    """Its stale owner would be legal in any state: only the transition shows that it was forgotten."""
    system = wrong(OWNED, pcp_buddy={"set_pageblock_owner": no_disown})
    system.drain_local_pages()
    system.validate()
    system = wrong(OWNED, pcp_buddy={"set_pageblock_owner": no_disown})
    with breaks("disown", system, match="block at pfn 8 to the zone, its tag is 1"):
        system.drain_local_pages()


def forgets_marks(k: Kernel, zone: Zone, pcp_: PerCpuPages, order: int, mt: int) -> int | None:
    """The rests of a split are not marked."""
    before = {pfn for one in pcp_.lists for pfn in one}
    pfn = pcp.pcp_rmqueue_smallest(k, zone, pcp_, order, mt)
    for one in pcp_.lists:
        for rest in one:
            if rest not in before:
                k.mem_map[rest] &= ~0x10
    return pfn


def test_rests_keep_the_mark() -> None:
    """Unmarked chunks of an owned block are legal in any state; they would never merge."""
    system = wrong(OWNED, pcp_buddy={"pcp_rmqueue_smallest": forgets_marks})
    with breaks("inherit", system, match="marked and 0 other pages"):
        system.alloc_pages(MOVABLE)
        system.alloc_pages(MOVABLE, 1)
        system.alloc_pages(MOVABLE, 2)
        system.alloc_pages(MOVABLE)


def loses_rests(k: Kernel, zone: Zone, pcp_: PerCpuPages, order: int, mt: int) -> int | None:
    """A larger chunk is taken whole."""
    pfn = pcp.pcp_rmqueue_smallest(k, zone, pcp_, order, mt)
    pcp_.lists[6 + mt].pop_first()
    return pfn


def test_an_allocation_takes_its_pages_alone() -> None:
    system = wrong(OWNED, pcp_buddy={"pcp_rmqueue_smallest": loses_rests})
    with breaks("inherit", system):
        system.alloc_pages(MOVABLE)


def test_what_others_freed_is_absorbed_by_an_allocation() -> None:
    """llist: the marked and other pages of the lock-less list come to the lists in the same step."""
    text = OWNED.replace("pcp0 o0: M[1*]", "llist0: 1/0 24/1 \n pcp0 o0: M[26]").replace("M[16 32]", "M[32]")
    system = machine(text, variant="llist", nr_cpus=2)
    with Monitor(system.kernel, "llist"):
        assert system.alloc_pages(MOVABLE) == 1
        assert pcp_of(system).count == 17


def merges_one_order(k: Kernel, pcp_: PerCpuPages) -> int:
    """The pass stops after order 0."""
    order, k.pageblock_order = k.pageblock_order, 1
    merges = merge.merge_pcp_buddies(k, pcp_)
    k.pageblock_order = order
    return merges


def test_a_merge_pass_leaves_nothing() -> None:
    text = "pcp0 o0: M[0*] U[1*] \n pcp0 o1: M[2*] \n order 2: M[4] \n owners: 0......."
    right = machine(text, variant="rfc")
    with Monitor(right.kernel, "rfc"):
        right.drain_local_pages()
    system = wrong(text, pcp_buddy={"merge_pcp_buddies": merges_one_order})
    with breaks("merge_pass", system, match="pfn 0 and 2 of order 1|pfn 2 and 0 of order 1"):
        system.drain_local_pages()


# - stable_read -


def adopted_meanwhile(k: Kernel, pcp_: PerCpuPages, fpi_flags: int) -> bool:
    """While a free waits for the lock, another CPU adopts its block ([21/40])."""
    pcp_.lock.lock()
    zone = k.zones[0]
    zone.lock.lock()
    array.__setitem__(k.pageblock_cpu, 0, 2)  # past the guard: this test is about the read
    zone.lock.unlock()
    return True


def looks_never_again(k: Kernel, pfn: int, tag: int, cpu: int) -> bool:
    """still_routed() of offline-keep."""
    return True


def test_the_owner_that_was_read_is_the_owner() -> None:
    """Scenario 25; with the second look of rfc the free is routed again."""
    text = "alloc: 0/0 1/0 \n order 1: M[2] \n order 2: M[4] \n owners: ........"
    entries: Entries = {"pcp_free_lock": adopted_meanwhile}
    system = wrong(text, pcp_buddy=entries)
    with Monitor(system.kernel, "rfc"):
        system.free_pages(0)
        assert pcp_of(system, 1).count == 1
    system = wrong(text, pcp_buddy=entries | {"still_routed": looks_never_again})
    with breaks("stable_read", system, match="pfn 0 is routed by tag 0, its block has tag 2"):
        system.free_pages(0)


def test_nothing_changes_between_the_look_and_the_commit() -> None:
    """Whatever comes between, the commit's owner is the one that was looked at."""
    system = wrong("alloc: 0/0 8/0 \n order 2: M[4] \n owners: 01......")
    with breaks("stable_read", system, match="pfn 0 is committed by tag 1, its block has tag 2"):
        k = system.kernel
        assert k.pcp_buddy.still_routed(k, 0, 1, 0)
        array.__setitem__(k.pageblock_cpu, 0, 2)
        pcp_of(system).lock.lock()
        k.calls.free_frozen_page_commit(k, system.zones[0], pcp_of(system), 0, 1, 0, FPI_PCP_BUDDY)


@pytest.mark.parametrize(
    ("pfn", "cpu", "fpi_flags"),
    [
        (0, 0, 0),  # of an owned block, and not marked
        (0, 1, FPI_PCP_BUDDY),  # to another one than the owner
        (16, 0, FPI_PCP_BUDDY),  # of nobody's block, and marked
    ],
)
def test_a_commit_that_does_not_fit_the_owner(pfn: int, cpu: int, fpi_flags: int) -> None:
    """Mark and target come from the same read."""
    system = wrong("alloc: 0/0 8/0 16/0 \n owners: 01......")
    with breaks("stable_read", system, match="is committed"):
        target = pcp_of(system, cpu)
        target.lock.lock()
        k = system.kernel
        k.calls.free_frozen_page_commit(k, system.zones[0], target, pfn, 1, 0, fpi_flags)


def unmarks(k: Kernel, zone: Zone, pcp_: PerCpuPages, pfn: int, mt: int, order: int, fpi_flags: int) -> bool:
    """A commit that marks nothing: legal in every state, and nothing would ever merge."""
    return rfc.CALLS.free_frozen_page_commit(k, zone, pcp_, pfn, mt, order, fpi_flags & ~FPI_PCP_BUDDY)


@pytest.mark.parametrize("high", [32, 1])
def test_a_page_of_an_owner_is_marked(high: int) -> None:
    """Also if the commit drains it at once."""
    system = wrong("alloc: 0/0 \n owners: 0.......", {"free_frozen_page_commit": unmarks}, high_min=high, high_max=high)
    with breaks("stable_read", system, match="pfn 0 came to a list unmarked"):
        system.free_pages(0)


# - guarded -


def early_disown(k: Kernel, pcp_: PerCpuPages) -> int:
    """Scenario 27: the merge pass disowns what is whole, under pcp->lock alone."""
    merges = merge.merge_pcp_buddies(k, pcp_)
    for pfn in pcp_.lists[10]:
        k.pageblock_cpu[pfn >> k.pageblock_order] = 0
    return merges


def list_late(k: Kernel, zone: Zone, count: int, pcp_: PerCpuPages, pindex: int) -> None:
    """Scenario 28: the block is put on owned_blocks behind the hold of zone->lock."""
    pcp_.owned_blocks.list_add_tail(0)


def link_late(k: Kernel, zone: Zone, count: int, pcp_: PerCpuPages, pindex: int) -> None:
    """The same for cpu_node."""
    k.pageblock_cpu_node[0] = 1


@pytest.mark.parametrize(
    ("calls", "pcp_buddy", "what"),
    [
        ({}, {"merge_pcp_buddies": early_disown}, "the owner of the block at pfn 8"),
        ({"free_pcppages_bulk": list_late}, {}, "owned_blocks"),
        ({"free_pcppages_bulk": link_late}, {}, "cpu_node of the block at pfn 0"),
    ],
)
def test_written_under_zone_lock_only(calls: Entries, pcp_buddy: Entries, what: str) -> None:
    system = wrong(OWNED, calls, pcp_buddy)
    with breaks("guarded", system, match=what):
        system.drain_local_pages()


@pytest.mark.parametrize("change", ["list_add", "list_add_tail", "list_del", "list_move_tail", "pop_first", "pop_last"])
@pytest.mark.parametrize("by_type", [False, True])
def test_each_change_of_owned_blocks_is_guarded(change: str, by_type: bool) -> None:
    """And does what it did: under zone->lock."""
    system = wrong("alloc: 0/0 8/0 \n owners: 00...... \n owned0: 0 8")
    pcp_ = pcp_of(system)
    if by_type:
        pcp_.owned_blocks, pcp_.owned_blocks_by_type = ListHead(), (pcp_.owned_blocks, ListHead(), ListHead())
    arguments = () if change.startswith("pop") else (0,)
    twin = ListHead([0, 8])
    getattr(twin, change)(*arguments)
    monitor = Monitor(system.kernel, "rfc")
    watched = pcp_.owned_blocks_by_type[0] if by_type else pcp_.owned_blocks
    system.zones[0].lock.lock()
    getattr(watched, change)(*arguments)
    assert watched.to_list() == twin.to_list()
    system.zones[0].lock.unlock()
    with pytest.raises(LockError, match=r"^guarded"):
        getattr(watched, change)(*arguments)
    monitor.detach()
    assert (pcp_.owned_blocks_by_type[0] if by_type else pcp_.owned_blocks).to_list() == twin.to_list()


def test_the_lock_of_another_flow_guards_nothing() -> None:
    """The interrupted code's hold of zone->lock is not the interrupt's."""
    system = wrong(OWNED)
    with breaks("guarded", system):
        system.zones[0].lock.lock()
        with system.on_cpu(0, Context.NMI):
            system.kernel.pageblock_cpu_node[0] = 1


def test_a_block_outside_all_zones() -> None:
    system = wrong("alloc: 0/0", pages=24)
    with breaks("guarded", system, match="in no zone"):
        system.zones[0].lock.lock()
        system.kernel.pageblock_cpu[3] = 1


# - lock_order -


def test_the_order_of_locks() -> None:
    """pcp->lock, then zone->lock; one of each."""
    system = wrong(WHOLE)
    zone_lock, pcp_lock, other = system.zones[0].lock, pcp_of(system).lock, pcp_of(system, 1).lock
    with Monitor(system.kernel, "rfc"):
        pass
    for first, second, match in (
        ("zone", "pcp", "pcp->lock is wanted with zone->lock held"),
        ("pcp", "other", "a second pcp->lock"),
        ("zone", "zone", "a second zone->lock"),
    ):
        for trying in (False, True):
            system = wrong(WHOLE)
            with breaks("lock_order", system, match=match):
                locks = {"zone": system.zones[0].lock, "pcp": pcp_of(system).lock, "other": pcp_of(system, 1).lock}
                locks[first].lock()
                locks[second].trylock() if trying else locks[second].lock()
    assert zone_lock.owner is pcp_lock.owner is other.owner is None


def two_at_once(k: Kernel, folios: Any) -> None:
    """free_unref_folios() that takes the next owner's lock before it drops the last one's (scenario 38)."""
    k.zones[0].per_cpu_pageset[0].lock.lock()
    k.zones[0].per_cpu_pageset[1].lock.lock()


def drain_with_the_lock_held(k: Kernel, zone: Zone, pcp_: PerCpuPages, wanted: int, mt: int, alloc_flags: int) -> int:
    """A refill that, under zone->lock, empties another CPU's lists."""
    if zone.per_cpu_pageset[1].lock.trylock():
        zone.per_cpu_pageset[1].lock.unlock()
    return 0


def test_functions_that_take_locks_the_wrong_way_round() -> None:
    system = wrong("alloc: 0/0 8/0 \n owners: 01......", {"free_unref_folios": two_at_once})
    with breaks("lock_order", system, match="a second pcp->lock"):
        system.free_folios([(0, 0), (8, 0)])
    system = wrong(WHOLE, pcp_buddy={"refill_recover": drain_with_the_lock_held})
    with breaks("lock_order", system):
        system.alloc_pages(MOVABLE)


def test_an_interrupt_is_a_flow_of_its_own() -> None:
    """It may try another CPU's pcp->lock while the interrupted code holds one, and give up only its own."""
    system = wrong(WHOLE)
    monitor = Monitor(system.kernel, "rfc")
    mine, other = pcp_of(system).lock, pcp_of(system, 1).lock
    mine.lock()
    with system.on_cpu(0, Context.HARDIRQ):
        assert not mine.trylock()
        assert other.trylock()
        other.unlock()
        monitor.done()
        with pytest.raises(LockError, match=r"^lock_order: pcp->lock is released by another flow"):
            mine.unlock()
        with pytest.raises(SelfDeadlock):
            mine.lock()
    with pytest.raises(LockNotHeld):
        other.unlock()
    with pytest.raises(LockNotHeld):
        other.assert_held()
    mine.assert_held()
    mine.owner = 1  # what a test may do that plays another CPU
    with pytest.raises(LockNotHeld):
        mine.unlock()
    mine.owner = 0
    mine.unlock()
    monitor.detach()


# - locks_free -


def forgets_to_unlock(k: Kernel, zone: Zone, order: int, mt: int, alloc_flags: int) -> int | None:
    """rmqueue_pcplist() that keeps the lock."""
    zone.per_cpu_pageset[0].lock.lock()
    return None


def test_an_operation_ends_without_locks() -> None:
    system = wrong(WHOLE, {"rmqueue_pcplist": forgets_to_unlock})
    with breaks("locks_free", system, match="with pcp->lock held") as monitor:
        assert system.alloc_pages(MOVABLE) == 0
        monitor.done()


# --- all of them -------------------------------------------------------------------------------


def test_every_transition_is_broken_here() -> None:
    """Each ``breaks(…)`` above fails if its invariant does not."""
    assert set(re.findall(r'with breaks\("(\w+)"', Path(__file__).read_text())) == set(TRANSITIONS)
