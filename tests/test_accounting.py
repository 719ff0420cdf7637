# SPDX-License-Identifier: GPL-2.0-only
"""Accounting: exact counts of hand-worked holds, and that counting changes nothing.

A hold is written (PFNs scanned, pages moved, list operations, merges, splits).
"""

from __future__ import annotations

import json
import random

import pytest

from pageblock_buddy import Config, System, gfp
from pageblock_buddy.accounting import Accounting, Histogram, fragmentation_index, zone_fragmentation
from pageblock_buddy.accounting.attach import OPERATIONS, PCP_LOCK, ZONE_LOCK
from pageblock_buddy.accounting.holds import MEASURES, Hold
from pageblock_buddy.variants import VARIANTS
from tests.helpers import MOVABLE, UNMOVABLE, interrupt, machine, pcp_of

#: limits under which a refill of single pages wants a pageblock of 8
BLOCKWISE = {"batch": 8, "high_min": 32, "high_max": 32}
POLICIES = (
    "rfc+recover-cycle",
    "rfc+recover-counter+owned-per-type",
    "rfc+recover-cap-2x",
    "rfc+clear-complete",
    "llist+want-block+keep-alloc-factor",
)


def holds(account: Accounting, lock_class: str) -> dict[Hold, int]:
    """The holds of a lock class, and how often each was."""
    return account.holds[lock_class].counts


# --- holds, by hand ----------------------------------------------------------------------------


def test_a_refill() -> None:
    """Two pages from one block of 8: it leaves its list and three halves come back; one of them leaves again."""
    system = machine("order 3: M[0]", variant="linux-7.0")
    account = Accounting.attach(system.kernel)
    assert system.alloc_pages(MOVABLE) == 0
    # order 3 off; orders 2, 1, 0 on; page 0 to the PCP; page 1 off and to the PCP
    assert holds(account, ZONE_LOCK) == {(0, 2, 7, 0, 3): 1}
    # and page 0 off the PCP again
    assert holds(account, PCP_LOCK) == {(0, 2, 8, 0, 3): 1}
    assert account.zone_holds_of["alloc"].acquisitions == 1
    assert (account.pages_allocated, account.refills.refills, account.refills.wanted.counts) == (1, 1, {2: 1})
    assert account.refills.phase_pages == [0, 0, 0, 2]


def test_a_drain() -> None:
    """Page 5 goes alone; page 4 merges with it, with 6..7 and with 0..3.  The tail of the list goes first."""
    system = machine("order 2: M[0]\norder 1: M[6]\npcp0 o0: M[4 5]", variant="linux-7.0")
    account = Accounting.attach(system.kernel)
    system.drain_local_pages()
    # two off the PCP; page 5 on; 5, 6 and 0 off; the block on
    assert holds(account, ZONE_LOCK) == {(0, 2, 7, 3, 0): 1}
    assert holds(account, PCP_LOCK) == {(0, 2, 7, 3, 0): 1}
    assert account.zone_holds_of["drain"].acquisitions == account.refills.drains == 1
    assert account.operations["drain"] == 1
    assert account.pcp_merges == 0


def test_a_claim() -> None:
    """A refill that wants a block owns one; it is split outside zone->lock."""
    system = machine("order 3: M[0]", variant="rfc", **BLOCKWISE)
    account = Accounting.attach(system.kernel)
    assert system.alloc_pages(MOVABLE) == 0
    assert holds(account, ZONE_LOCK) == {(0, 8, 2, 0, 0): 1}
    # the whole block off the PCP, three halves on
    assert holds(account, PCP_LOCK) == {(0, 8, 6, 0, 3): 1}
    refills = account.refills
    assert (refills.claimed, refills.reached_claim, refills.claiming) == (1, 1, 1)
    assert refills.phase_shares() == {"recover": 0.0, "claim": 1.0, "chunks": 0.0, "classic": 0.0}
    assert account.pcp_splits == 3


def test_a_merge_on_the_pcp() -> None:
    """Two marked pages merge outside zone->lock; the pair goes in one piece, and its block is remembered."""
    system = machine("pcp0 o0: M[4* 5*]\nowners: 0.......", variant="rfc")
    account = Accounting.attach(system.kernel)
    system.drain_local_pages()
    # the pair off the PCP, the block on owned_blocks, the pair on the free list
    assert holds(account, ZONE_LOCK) == {(0, 2, 3, 0, 0): 1}
    # before that two pages off and the pair on
    assert holds(account, PCP_LOCK) == {(0, 2, 6, 1, 0): 1}
    refills = account.refills
    assert (refills.merge_passes, refills.merge_passes_in_vain, refills.merge_chunks_seen) == (1, 0, 2)
    assert account.pcp_merges == 1


def test_a_whole_block_is_disowned() -> None:
    system = machine("pcp0 o2: M[0* 4*]\nowners: 0.......", variant="rfc")
    account = Accounting.attach(system.kernel)
    system.drain_local_pages()
    assert holds(account, ZONE_LOCK) == {(0, 8, 2, 0, 0): 1}
    assert (account.refills.disowned, account.pcp_merges) == (1, 1)


def test_a_recovery() -> None:
    """The scan looks at 0, 1, 2 (a pair is there), 4, 5 (a page is there), 6, 7."""
    system = machine(
        "order 1: M[2]\norder 0: M[5]\nalloc: 0/1 4/0 6/1\nowners: 00......\nowned0: 0 8", variant="rfc", **BLOCKWISE
    )
    account = Accounting.attach(system.kernel)
    assert system.alloc_pages(MOVABLE) == 5
    ((scanned, pages, operations, _, _),) = holds(account, ZONE_LOCK)
    assert (scanned, pages) == (7 + 8, 3)
    # two fragments off and on the PCP, two blocks off owned_blocks
    assert operations == 6
    assert account.holds[ZONE_LOCK].histogram("pfns").counts == {15 + 6: 1}
    assert (account.refills.recovered, account.refills.recovered_nothing) == (1, 1)
    assert account.refills.phase_pages == [3, 0, 0, 0]


def test_a_converted_pageblock_is_scanned_twice() -> None:
    """A fallback counts what is free in the block, then moves it: each time 0 (four pages) and 4, 5, 6, 7."""
    system = machine("order 2: M[0]\nalloc: 4/2", variant="linux-6.12")
    account = Accounting.attach(system.kernel)
    assert system.alloc_pages(UNMOVABLE) == 0
    assert account.holds[ZONE_LOCK].histogram("scanned").counts == {10: 1}


def test_chunks_are_cut_up_outside_the_lock() -> None:
    """Phase 2 alone: a block of four pages in one piece, then four single pages."""
    system = machine("order 2: M[0]", variant="chunks", batch=4, high_min=16, high_max=16)
    account = Accounting.attach(system.kernel)
    assert system.alloc_pages(MOVABLE) == 0
    assert holds(account, ZONE_LOCK) == {(0, 4, 1, 0, 0): 1}
    assert holds(account, PCP_LOCK) == {(0, 4, 1 + 4 + 1, 0, 3): 1}
    assert account.refills.phase_pages == [0, 0, 4, 0]


def test_pcp_merge_merges_outside_the_lock() -> None:
    system = machine("pcp0 o0: M[4 5]", variant="pcp-merge")
    account = Accounting.attach(system.kernel)
    system.drain_local_pages()
    assert holds(account, ZONE_LOCK) == {(0, 2, 1, 0, 0): 1}
    assert holds(account, PCP_LOCK) == {(0, 2, 3, 1, 0): 1}
    assert account.pcp_merges == 1


def test_absorbed_frees_are_no_splits() -> None:
    """llist: two remote frees come to the lists before one of them is taken."""
    system = machine("order 0: M[16]\nllist0: 4/0 5/0\nowners: 0.......", variant="llist")
    account = Accounting.attach(system.kernel)
    assert system.alloc_pages(MOVABLE) == 4
    assert holds(account, PCP_LOCK) == {(0, 0, 3, 0, 0): 1}
    assert account.pcp_splits == 0


# --- locks and operations ----------------------------------------------------------------------


def test_a_trylock_failure() -> None:
    """An interrupt frees while its CPU's pcp->lock is held: the page goes to the zone."""
    system = machine("alloc: 4/0", nr_cpus=2)
    account = Accounting.attach(system.kernel)
    with interrupt(system, pcp_of(system)):
        system.free_pages(4)
    assert (account.trylock_failures(PCP_LOCK), account.trylock_failures(ZONE_LOCK)) == (1, 0)
    assert account.zone_holds_of["free"].acquisitions == 1
    assert account.to_dict()["locks"][PCP_LOCK]["each"] == {
        "node 0 DMA32 CPU 0": {"acquisitions": 1, "trylock_failures": 1}
    }


def test_remote_frees() -> None:
    """The owner's own free is not remote, nor is that of a page that nobody owns."""
    system = machine("alloc: 0/0 8/0 16/0\nowners: 011.....", variant="rfc", nr_cpus=2)
    account = Accounting.attach(system.kernel)
    system.free_pages(0)
    system.free_folios([(8, 0), (16, 0)])
    assert account.refills.remote_frees == 2


def test_the_outermost_entry_point_decides() -> None:
    system = machine("order 4: M[0 16 32 48]", nr_cpus=2, variant="rfc", high_min=4, high_max=32)
    account = Accounting.attach(system.kernel)
    pages = system.alloc_pages_bulk(MOVABLE, 16)
    for pfn in pages:
        system.free_pages(pfn)
    system.refresh_vm_stats(pagesets=True)
    system.isolate_pageblock(32)
    system.offline_cpu(1)
    by_operation = {kind: found.acquisitions for kind, found in account.zone_holds_of.items()}
    assert list(by_operation) == list(OPERATIONS)
    assert by_operation["alloc"]
    assert by_operation["isolate"] == 1
    assert by_operation["hotplug"]
    assert by_operation["other"] == 0
    assert sum(by_operation.values()) == account.holds[ZONE_LOCK].acquisitions
    assert account.operations["free"] == len(pages)
    assert (account.operations["decay"], account.operations["hotplug"]) == (1, 1)


# --- histograms --------------------------------------------------------------------------------


def test_percentiles_are_values_that_occurred() -> None:
    histogram = Histogram({10: 98, 20: 1, 5000: 1})
    assert (histogram.count, histogram.sum, histogram.max) == (100, 6000, 5000)
    assert [histogram.percentile(p) for p in (1, 50, 98, 99, 100)] == [10, 10, 10, 20, 5000]
    assert Histogram({1: 1, 2: 1}).percentile(50) == 1
    assert Histogram({1: 1, 2: 2}).percentile(50) == 2


def test_an_empty_histogram() -> None:
    assert Histogram().to_dict() == {"count": 0, "sum": 0, "max": 0, "p50": 0, "p99": 0, "values": []}


# --- fragmentation -----------------------------------------------------------------------------


def test_fragmentation_index() -> None:
    """Three single pages: a pair could almost be had of them, if they lay together: 1 - (1 + 3/2)/3."""
    zone = machine("order 0: M[1 3 5]").zones[0]
    assert [fragmentation_index(zone, order) for order in (0, 1, 2)] == [-1000, 167, 417]
    assert fragmentation_index(machine().zones[0], 0) == 0


def test_fragmentation_of_a_zone() -> None:
    """Of four owned blocks one is whole in the zone (a stale owner), one whole on the PCP, and two are in use."""
    system = machine(
        "order 4: M[48]\norder 3: M[0]\norder 1: M[8]\npcp0 o3: M[16*]\npcp1 o0: M[32]\n"
        "alloc: 10/1 12/2 24/3\nowners: 0000....\nowned0: 8",
        variant="rfc",
        nr_cpus=2,
    )
    found = zone_fragmentation(system.kernel, system.zones[0])
    assert found.to_dict() == {
        "zone": "node 0 DMA32",
        "free_pageblocks": 3,
        "pages_on_pcp": 9,
        "owned_blocks": 4,
        "partly_owned_blocks": 2,
        "listed_blocks": 1,
        "extfrag_index": [-1000] * 5,
    }


def test_an_allocation_larger_than_a_pageblock_is_in_both() -> None:
    system = machine("alloc: 0/4c\nowners: 00......", variant="rfc")
    assert zone_fragmentation(system.kernel, system.zones[0]).partly_owned_blocks == 2


# --- nothing changes ---------------------------------------------------------------------------


def load(system: System, seed: int) -> list[int | None]:
    """A random load; what its allocations gave."""
    rng = random.Random(seed)
    k = system.kernel
    held: list[tuple[int, int]] = []
    answers: list[int | None] = []
    for _ in range(350):
        with system.on_cpu(rng.randrange(k.machine.nr_cpus)):
            what = rng.random()
            if what < 0.5:
                order = rng.choice((0, 0, 0, 0, 1, 2, 3))
                pfn = system.alloc_pages(rng.choice((MOVABLE, MOVABLE, UNMOVABLE)), order)
                answers.append(pfn)
                if pfn is not None:
                    held.append((pfn, order))
            elif what < 0.95 and held:
                rng.shuffle(held)
                going, held[:] = held[:8], held[8:]
                system.free_folios(going)
            elif what < 0.97:
                system.refresh_vm_stats(pagesets=True)
            else:
                system.drain_local_pages()
    return answers


def booted(variant: str) -> System:
    """Pageblocks of 8 pages and batches that come to one."""
    return System.boot(Config.small(512, nr_cpus=3, batch=4, high_min=16, high_max=64), variant=variant)


@pytest.mark.parametrize("variant", [*VARIANTS, *POLICIES])
def test_counting_changes_nothing(variant: str) -> None:
    plain, counted = booted(variant), booted(variant)
    account = Accounting.attach(counted.kernel)
    assert load(counted, 1) == load(plain, 1)
    assert counted.digest() == plain.digest()
    counted.validate()
    account.detach()
    # The state is whole without the counting parts too, and goes on like the other one.
    assert load(counted, 2) == load(plain, 2)
    assert counted.digest() == plain.digest()
    counted.validate()


@pytest.mark.parametrize("variant", [*VARIANTS, *POLICIES])
def test_the_numbers_agree_with_each_other(variant: str) -> None:
    system = booted(variant)
    account = Accounting.attach(system.kernel)
    before = system.kernel.pgfree
    load(system, 3)
    zone, pcp = account.holds[ZONE_LOCK], account.holds[PCP_LOCK]
    for lock_class in (ZONE_LOCK, PCP_LOCK):
        taken = sum(lock.acquisitions for lock in account.locks[lock_class].values())
        assert taken == account.holds[lock_class].acquisitions > 0
    assert all(min(hold) >= 0 for hold in (*zone.counts, *pcp.counts))
    # What happens outside zone->lock happens under pcp->lock.
    splits = pcp.histogram("splits").sum - account.pcp_splits
    assert 0 <= splits <= zone.histogram("splits").sum
    assert pcp.histogram("merges").sum - account.pcp_merges <= zone.histogram("merges").sum
    assert account.pages_allocated >= system.kernel.pgfree - before
    assert sum(account.refills.phase_pages) <= zone.histogram("pages").sum
    assert json.loads(json.dumps(account.to_dict())) == account.to_dict()


def test_detach_puts_everything_back() -> None:
    system = booted("rfc")
    k, zone = system.kernel, system.zones[0]
    parts = [k.calls, k.pcp_buddy, zone.lock, zone.free_area[0].free_list, pcp_of(system).lock, pcp_of(system).lists]
    account = Accounting.attach(k)
    system.alloc_pages(MOVABLE)
    account.detach()
    counted = account.to_dict()
    now = [k.calls, k.pcp_buddy, zone.lock, zone.free_area[0].free_list, pcp_of(system).lock, pcp_of(system).lists]
    assert all(one is other for one, other in zip(parts, now, strict=True))
    system.drain_local_pages()
    account.detach()
    counted_now = account.to_dict()
    del counted["fragmentation"], counted_now["fragmentation"]
    assert counted_now == counted


def test_a_lock_may_be_held_meanwhile() -> None:
    """Whoever holds a lock when counting starts or ends still holds it."""
    system = machine()
    zone = system.zones[0]
    zone.lock.lock()
    account = Accounting.attach(system.kernel)
    zone.lock.assert_held()
    account.detach()
    zone.lock.unlock()


def test_keys_of_the_dictionary() -> None:
    """Stable, and in this order; docs/accounting.md explains them."""
    system = machine("order 3: M[0]")
    account = Accounting.attach(system.kernel)
    system.alloc_pages(gfp.GFP_KERNEL)
    state = account.to_dict()
    assert list(state) == [
        "pages_allocated",
        "operations",
        "locks",
        "zone_lock_by_operation",
        "refill",
        "pcp_merges",
        "pcp_splits",
        "fragmentation",
    ]
    assert list(state["locks"]) == [ZONE_LOCK, PCP_LOCK]
    assert list(state["locks"][ZONE_LOCK]) == ["trylock_failures", "acquisitions", *MEASURES, "each"]
    assert list(state["zone_lock_by_operation"]) == list(OPERATIONS)
    assert list(state["zone_lock_by_operation"]["alloc"]) == ["acquisitions", *MEASURES]
