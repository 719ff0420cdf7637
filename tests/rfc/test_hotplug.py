# SPDX-License-Identifier: GPL-2.0-only
"""CPUs that come and go: their pages, their pageblocks, and frees that are on their way meanwhile."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pageblock_buddy import BadArgument, Config, Context, System, ZoneConfig, gfp
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone
from tests.helpers import MOVABLE, assert_zone, config, fill, kinds, limits, machine, pcp_of, small_zone, traced
from tests.rfc_trylock.locks import Locks


def rfc(text: str, **overrides: Any) -> System:
    """Four pageblocks and three CPUs, of which the first two act."""
    return machine(text, 32, variant="rfc", **({"nr_cpus": 3} | overrides))


#: CPU 1 has a page of a partial block, a whole block, an unowned page, and a listed block with a page in the zone
OWNER = """
order 0: M[25]
pcp0 o0: M[2]
pcp1 o0: M[9* 3]
pcp1 o3: M[16*]
alloc: 0/0 8/0 24/0
owners: 0111
owned0: 0
owned1: 24
"""


# --- offline -----------------------------------------------------------------------------------


def test_offline() -> None:
    """RFC-8.1, RFC-7.12, RFC-11.4: all of CPU 1's pages go to the zone; no block is its any more, complete or not, and
    none is listed; CPU 0's pages, block and listing stay."""
    system = rfc(OWNER)
    system.offline_cpu(1)
    assert_zone(
        system,
        "order 0: M[9 3 25] \n order 3: M[16] \n pcp0 o0: M[2] \n alloc: 0/0 8/0 24/0 \n owners: 0... \n owned0: 0",
    )
    assert not system.kernel.machine.online[1]


def test_locks_of_an_offline() -> None:
    """RFC-8.1, RFC-3.21: the drain first (two rounds, the second finds nothing); then one hold of the dead CPU's
    pcp->lock with what is left drained and, under zone->lock, the blocks disowned; LPA-8.7.12: then each pageset's
    flags are set anew under its lock."""
    system = rfc(OWNER)
    locks = Locks(system)
    system.offline_cpu(1)
    drained = "+pcp1 +zone -zone -pcp1 +pcp1 +zone -zone +zone -zone -pcp1"
    assert locks.take() == drained + " +pcp0 -pcp0 +pcp1 -pcp1 +pcp2 -pcp2"


def test_disowned_under_both_locks() -> None:
    """RFC-8.1, RFC-11.9: every tag is written with pcp->lock and zone->lock held, also those of the drain."""
    system = rfc(OWNER)
    k, zone = system.kernel, system.zones[0]
    real = k.pcp_buddy.set_pageblock_owner
    written = []

    def record(k: Kernel, zone: Zone, pfn: int, tag: int) -> None:
        zone.per_cpu_pageset[1].lock.assert_held()
        zone.lock.assert_held()
        written.append((pfn, tag))
        real(k, zone, pfn, tag)

    k.pcp_buddy = dataclasses.replace(k.pcp_buddy, set_pageblock_owner=record)
    system.offline_cpu(1)
    assert written == [(16, 0), (8, 0), (24, 0)]
    assert zone.lock.owner is None


def test_what_came_in_since_the_drain() -> None:
    """RFC-8.1: between the drain and the disown CPU 0 frees a page of CPU 1's block, to CPU 1 still; it is drained with
    the rest."""
    system = rfc("pcp1 o0: M[9*] \n alloc: 8/0 11/0 \n owners: .1..")
    locks = Locks(system)
    locks.at("-pcp1", lambda: system.free_pages(11))
    system.offline_cpu(1)
    assert locks.done()
    assert_zone(system, "order 0: M[11 9] \n alloc: 8/0 \n owners: ....")


def test_zone_by_zone() -> None:
    """RFC-8.1: each zone's PCP and blocks, under its own locks."""
    zones = (
        small_zone(gfp.ZONE_DMA, 0, 16, managed_pages=16, reserved=((0, 16),)),
        small_zone(gfp.ZONE_DMA32, 16, 16, managed_pages=16, reserved=((16, 16),)),
    )
    system = System.boot(config(zones=zones, nr_cpus=2, vm_stat_threshold=0), variant="rfc")
    fill(system, "pcp1 o0: M[9*] \n alloc: 0/0 8/0 \n owners: 11 \n owned1: 0")
    fill(system, "pcp1 o0: M[17*] \n alloc: 16/0 24/0 \n owners: 11 \n owned1: 24", system.zones[1])
    locks = Locks(system)
    system.offline_cpu(1)
    assert_zone(system, "order 0: M[9] \n alloc: 0/0 8/0 \n owners: ..")
    assert_zone(system, "order 0: M[17] \n alloc: 16/0 24/0 \n owners: ..", system.zones[1])
    drained = "+pcp1.DMA +zone.DMA -zone.DMA -pcp1.DMA +pcp1.DMA32 +zone.DMA32 -zone.DMA32 -pcp1.DMA32"
    steps = locks.take()
    assert steps.startswith(drained)
    for name in ("DMA", "DMA32"):
        assert f"+pcp1.{name} +zone.{name} -zone.{name} +zone.{name} -zone.{name} -pcp1.{name}" in steps


def test_offline_of_a_cpu_with_nothing() -> None:
    """RFC-8.1: nothing of the others moves."""
    drawing = "order 0: M[9] \n pcp0 o0: M[10*] \n alloc: 8/0 11/0 \n owners: .0.. \n owned0: 8"
    system = rfc(drawing)
    system.offline_cpu(2)
    assert_zone(system, drawing)


def test_frees_after_an_offline() -> None:
    """RFC-8.1, RFC-6.5, RFC-1.8: the blocks are zone-owned: their pages are cached where they are freed, unmarked, and
    whoever claims the whole block owns it."""
    system = rfc("pcp1 o0: M[9*] \n alloc: 8/0 10/1 12/2 \n owners: .1..", high_min=8, high_max=8)
    system.offline_cpu(1)
    system.free_pages(8)
    with system.on_cpu(2):
        system.free_pages(10, 1)
    assert_zone(system, "order 0: M[9] \n pcp0 o0: M[8] \n pcp2 o1: M[10] \n alloc: 12/2 \n owners: ....")
    system.free_pages(12, 2)
    system.drain_all_pages()
    assert_zone(system, "order 3: M[8] \n owners: ....")


# --- online ------------------------------------------------------------------------------------


def test_online_again() -> None:
    """RFC-8.3: the PCP and its list are empty; then the CPU claims as any other."""
    system = rfc(OWNER)
    system.offline_cpu(1)
    system.online_cpu(1)
    assert_zone(
        system,
        "order 0: M[9 3 25] \n order 3: M[16] \n pcp0 o0: M[2] \n alloc: 0/0 8/0 24/0 \n owners: 0... \n owned0: 0",
    )
    with system.on_cpu(1):
        assert system.alloc_pages(MOVABLE, 3) == 16
    assert_zone(system, "order 0: M[9 3 25] \n pcp0 o0: M[2] \n alloc: 0/0 8/0 16/3 24/0 \n owners: 0.1. \n owned0: 0")


def test_drain_all_pages_skips_offline_cpus() -> None:
    """RFC-8.4, LPA-8.8.8: a page on a dead CPU's PCP (put there by hand) stays for ever."""
    system = rfc("pcp0 o0: M[2] \n pcp1 o0: M[9] \n pcp2 o0: M[16]")
    system.kernel.machine.online[1] = False
    system.drain_all_pages()
    system.kernel.machine.online[1] = True
    assert_zone(system, "order 0: M[16 2] \n pcp1 o0: M[9]")


# --- frees on their way ------------------------------------------------------------------------


def test_a_remote_free_while_the_owner_dies() -> None:
    """RFC-8.2: CPU 0 read CPU 1's tag and waits for that lock, which the offline has: with the lock it finds the tag
    gone, gives the lock back, and routes anew: the page is zone-owned now, so to CPU 0's PCP, unmarked."""
    system = rfc("pcp1 o0: M[9*] \n alloc: 8/0 11/0 \n owners: .1..")
    locks = Locks(system)

    def die() -> None:
        with system.on_cpu(2):
            system.offline_cpu(1)
        locks.take()

    locks.at("+pcp1", die)
    system.free_pages(11)
    assert locks.take() == "+pcp1 -pcp1 +pcp0 -pcp0"
    assert_zone(system, "order 0: M[9] \n pcp0 o0: M[11] \n alloc: 8/0 \n owners: ....")


def test_a_trylock_free_while_the_owner_dies() -> None:
    """RFC-8.2, RFC-6.8: the same in an interrupt, which tries both locks."""
    system = rfc("pcp1 o0: M[9*] \n alloc: 8/0 11/0 \n owners: .1..")
    locks = Locks(system)

    def die() -> None:
        with system.on_cpu(2):
            system.offline_cpu(1)
        locks.take()

    locks.at("?pcp1", die)
    with system.on_cpu(0, Context.SOFTIRQ):
        system.free_pages(11)
    assert locks.take() == "?pcp1 -pcp1 ?pcp0 -pcp0"
    assert_zone(system, "order 0: M[9] \n pcp0 o0: M[11] \n alloc: 8/0 \n owners: ....")


def test_a_free_while_the_owner_dies_and_the_block_is_claimed() -> None:
    """RFC-8.2: by then the tag may be another CPU's, if the page is not what kept the block from being whole: here the
    new owner's tag is put there by hand."""
    system = rfc("alloc: 8/0 11/0 \n owners: .1..")
    locks = Locks(system)

    def change() -> None:
        system.kernel.pageblock_cpu[1] = 3

    locks.at("+pcp1", change)
    system.free_pages(11)
    assert locks.take() == "+pcp1 -pcp1 +pcp2 -pcp2"
    assert_zone(system, "pcp2 o0: M[11*] \n alloc: 8/0 \n owners: .2..")


def test_an_unowned_free_while_its_cpu_dies() -> None:
    """RFC-8.2, RFC-6.5, RFC-6.6: the task read "CPU 1", was moved to CPU 0 before the lock, and CPU 1 went offline:
    with the lock it finds that CPU dead, and routes anew, from CPU 0."""
    system = rfc("alloc: 9/0")
    locks = Locks(system)

    def move_and_die() -> None:
        system.kernel.machine.cpu = 0
        system.offline_cpu(1)
        locks.take()

    locks.at("+pcp1", move_and_die)
    system.kernel.machine.cpu = 1
    system.free_pages(9)
    assert locks.take() == "+pcp1 -pcp1 +pcp0 -pcp0"
    assert_zone(system, "pcp0 o0: M[9]")


def test_an_unowned_free_of_a_cpu_that_dies_itself() -> None:
    """RFC-8.2: the CPU that frees goes offline while it waits, without moving: routed anew the page would come to the
    same dead PCP, so it goes to the zone."""
    system = rfc("alloc: 9/0")
    locks = Locks(system)

    def die() -> None:
        with system.on_cpu(0):
            system.offline_cpu(1)
        locks.take()

    locks.at("+pcp1", die)
    with system.on_cpu(1):
        system.free_pages(9)
    assert locks.take() == "+pcp1 -pcp1 +zone -zone"
    assert_zone(system, "order 0: M[9]")


def test_a_task_that_moves() -> None:
    """RFC-6.6: CPU 1 stays online: the PCP that was chosen is the one."""
    system = rfc("alloc: 9/0")
    locks = Locks(system)

    def move() -> None:
        system.kernel.machine.cpu = 0

    locks.at("+pcp1", move)
    system.kernel.machine.cpu = 1
    system.free_pages(9)
    assert locks.take() == "+pcp1 -pcp1"
    assert_zone(system, "pcp1 o0: M[9]")


def test_a_batch_while_an_owner_dies() -> None:
    """RFC-8.2, RFC-6.20: the second page's owner dies while the batch waits for it: that page goes to CPU 0's PCP; no
    two locks are held at any time."""
    system = rfc("alloc: 1/0 9/0 3/0 \n owners: 21..")
    locks = Locks(system)

    def die() -> None:
        with system.on_cpu(2):
            system.offline_cpu(1)
        locks.take()

    locks.at("+pcp1", die)
    system.free_folios([(1, 0), (9, 0), (3, 0)])
    assert locks.take() == "+pcp1 -pcp1 +pcp0 -pcp0 +pcp2 -pcp2"
    assert_zone(system, "pcp0 o0: M[9] \n pcp2 o0: M[3* 1*] \n owners: 2...")


def test_the_owner_dies_between_two_pieces_of_a_flush() -> None:
    """RFC-6.14, RFC-8.1: CPU 0 drains CPU 1's PCP, and in a gap CPU 1 dies: nothing is left on that PCP, so the flush
    ends."""
    system = rfc("pcp1 o0: M[0 2 4 16 18 20 22] \n alloc: 8/0 9/0 \n owners: .1..")
    limits(pcp_of(system, 1), free_count=5)
    locks = Locks(system)

    def die() -> None:
        with system.on_cpu(2):
            system.offline_cpu(1)

    locks.at("-pcp1", die)
    system.free_pages(9)
    assert_zone(system, "order 0: M[9 0 2 4 16 18 20 22] \n alloc: 8/0 \n owners: ....")


# --- limits, counters, arguments ---------------------------------------------------------------


def four_cpus(variant: str) -> System:
    """Four CPUs of one node, limits by the kernel's formulas: low watermark 240, 1024 pages, batch 2."""
    zone = ZoneConfig(zone=gfp.ZONE_DMA32, start_pfn=0, spanned_pages=1024, batch=2, watermark=(100, 240, 300, 400))
    return System.boot(Config(zones=(zone,), nr_cpus=4, pageblock_order=3, max_page_order=4), variant=variant)


@pytest.mark.parametrize("variant", ["linux-6.12", "linux-7.0", "rfc", "llist"])
def test_limits_follow_the_online_cpus(variant: str) -> None:
    """LPA-8.7.3, LPA-8.7.4, LPA-8.7.5, LPA-8.7.9, RFC-8.1, RFC-8.3: low / CPUs and (managed / 8) / CPUs: with 4, 3, 2,
    3 and 4 CPUs; at online the coming CPU counts although it is not in the mask yet."""
    system = four_cpus(variant)
    seen = []

    def look() -> None:
        seen.append({(pcp.high_min, pcp.high_max) for pcp in system.zones[0].per_cpu_pageset})

    look()
    for step in (system.offline_cpu, system.offline_cpu, system.online_cpu, system.online_cpu):
        step(3 if len(seen) in (1, 4) else 2)
        look()
    assert seen == [{(60, 32)}, {(80, 42)}, {(120, 64)}, {(80, 42)}, {(60, 32)}]


@pytest.mark.parametrize("variant", ["linux-6.12", "rfc"])
def test_thresholds_follow_the_online_cpus(variant: str) -> None:
    """LPA-14.0.3, RFC-8.1: 2 * fls(CPUs) * (1 + fls(0)): 6 with four CPUs, 4 with three or two, 2 with one."""
    system = four_cpus(variant)
    seen = []
    for cpu in (3, 2, 1):
        seen.append(system.zones[0].per_cpu_zonestats[0].stat_threshold)
        system.offline_cpu(cpu)
    seen.append(system.zones[0].per_cpu_zonestats[0].stat_threshold)
    system.online_cpu(1)
    seen.append(system.zones[0].per_cpu_zonestats[0].stat_threshold)
    assert seen == [6, 4, 4, 2, 4]


@pytest.mark.parametrize("variant", ["linux-6.12", "rfc"])
def test_counters_are_folded(variant: str) -> None:
    """LPA-14.0.4, RFC-8.1: CPU 1's difference (two pages allocated, which no watermark check saw) goes to the zone's
    counter; CPU 0's, which got the drained page, is its own."""
    system = machine("order 3: M[8]", 32, variant=variant, nr_cpus=2, vm_stat_threshold=30)
    zone = system.zones[0]
    with system.on_cpu(1):
        assert system.alloc_pages(MOVABLE) == 8
    before = zone.nr_free_pages, [stat.nr_free_pages_diff for stat in zone.per_cpu_zonestats]
    system.offline_cpu(1)
    after = zone.nr_free_pages, [stat.nr_free_pages_diff for stat in zone.per_cpu_zonestats]
    assert (before, after) == ((8, [0, -2]), (6, [1, 0]))
    assert_zone(system, "order 0: M[9] \n order 1: M[10] \n order 2: M[12] \n alloc: 8/0")


@pytest.mark.parametrize("variant", ["linux-6.12", "linux-7.0"])
def test_offline_of_today(variant: str) -> None:
    """LPA-8.8.11, LPA-8.5.9: the dead CPU's lists are drained by the one that runs, list by list; the others' stay."""
    drawing = "pcp0 o0: M[2] \n pcp1 o0: U[8 10] M[1 3] \n pcp1 o2: M[16] \n blocks: MUMM"
    system = machine(drawing, 32, variant=variant, nr_cpus=2)
    log = traced(system)
    system.offline_cpu(1)
    assert_zone(system, "order 0: U[8 10] M[1 3] \n order 2: M[16] \n pcp0 o0: M[2] \n blocks: MUMM")
    events = log.take()
    assert kinds(events) == ["drain"] * 5
    assert [event[4] for event in events] == [10, 8, 3, 1, 16]
    assert {event[1] for event in events} == {0}


def test_drain_all_pages_of_today_skips_offline_cpus() -> None:
    """LPA-8.8.8: only online CPUs are looked at."""
    system = machine("pcp0 o0: M[2] \n pcp1 o0: M[9]", 32, nr_cpus=2)
    system.kernel.machine.online[1] = False
    system.drain_all_pages()
    system.kernel.machine.online[1] = True
    assert_zone(system, "order 0: M[2] \n pcp1 o0: M[9]")


@pytest.mark.parametrize("variant", ["linux-6.12", "rfc"])
def test_bad_arguments(variant: str) -> None:
    """LPA-8.8.11: no CPU goes twice, comes twice, ends itself, or runs while it is offline."""
    system = four_cpus(variant)
    for cpu in (-1, 4, 0):
        with pytest.raises(BadArgument):
            system.offline_cpu(cpu)
    with pytest.raises(BadArgument):
        system.online_cpu(1)
    system.offline_cpu(1)
    with pytest.raises(BadArgument):
        system.offline_cpu(1)
    with pytest.raises(BadArgument), system.on_cpu(1):
        pass
    with system.on_cpu(2):
        system.offline_cpu(0)
        system.online_cpu(1)
    assert system.kernel.machine.online == [False, True, True, True]


def test_a_free_that_finishes_on_a_dying_cpu() -> None:
    """RFC-8.2: whose own number says an offline CPU is not asked again for ever: the page goes to the zone."""
    system = machine("alloc: 9/0", 32, variant="rfc", nr_cpus=2)
    k = system.kernel
    k.machine.cpu, k.machine.online[1] = 1, False
    k.calls._free_frozen_pages(k, 9, 0, gfp.FPI_NONE)
    k.machine.cpu, k.machine.online[1] = 0, True
    assert_zone(system, "order 0: M[9]")
