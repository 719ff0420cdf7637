# SPDX-License-Identifier: GPL-2.0-only
"""[03/45]: the free path only ever tries pcp->lock."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pageblock_buddy import Context, System
from pageblock_buddy.rfc import variant as rfc
from pageblock_buddy.variants import get_variant
from tests.helpers import MOVABLE, assert_zone, limits, machine, pcp_of
from tests.rfc_trylock.locks import Locks

CONTEXTS = list(Context)


def trylock(text: str, **overrides: Any) -> System:
    """Four pageblocks and three CPUs."""
    return machine(text, 32, variant="rfc-trylock", **({"nr_cpus": 3} | overrides))


def busy(system: System, cpu: int, locks: Locks) -> None:
    """CPU ``cpu`` holds its pcp->lock from now on."""
    with system.on_cpu(cpu):
        assert pcp_of(system, cpu).lock.trylock()
    locks.take()


def release(system: System, cpu: int) -> None:
    with system.on_cpu(cpu):
        pcp_of(system, cpu).lock.unlock()


@pytest.mark.parametrize(
    ("owners", "cpu", "page"),
    [(".0..", 0, "9*"), ("....", 1, "9"), (".1..", 1, "9*")],
    ids=["remote", "unowned", "own"],
)
@pytest.mark.parametrize("context", CONTEXTS)
def test_a_free_tries(owners: str, cpu: int, page: str, context: Context) -> None:
    """RFC-9.3, RFC-9.4, RFC-6.4, RFC-6.11: in every context; route and mark are the RFC's."""
    system = trylock(f"alloc: 9/0 \n owners: {owners}")
    locks = Locks(system)
    with system.on_cpu(1, context):
        system.free_pages(9)
    assert locks.take() == f"?pcp{cpu} -pcp{cpu}"
    assert_zone(system, f"pcp{cpu} o0: M[{page}] \n owners: {owners}")


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_busy_owner(context: Context) -> None:
    """RFC-9.3, RFC-6.17: never a wait: to the zone, where it may merge; the block is not listed."""
    system = trylock("order 0: M[8] \n alloc: 9/0 \n owners: .0..")
    locks = Locks(system)
    busy(system, 0, locks)
    with system.on_cpu(1, context):
        system.free_pages(9)
    assert locks.take() == "!pcp0 +zone -zone"
    release(system, 0)
    assert_zone(system, "order 1: M[8] \n owners: .0..")


def test_the_own_lock_is_not_waited_for_either() -> None:
    """RFC-9.2, RFC-9.3, RFC-11.10: CPU 1 drains CPU 0's PCP; CPU 0's task frees an own and an unowned page: no wait, so
    no deadlock, whatever lock CPU 0 may hold."""
    system = trylock("alloc: 9/0 17/0 \n owners: .0..")
    locks = Locks(system)
    with system.on_cpu(1):
        assert pcp_of(system).lock.trylock()
    locks.take()
    system.free_pages(9)
    system.free_pages(17)
    assert locks.take() == "!pcp0 +zone -zone !pcp0 +zone -zone"
    with system.on_cpu(1):
        pcp_of(system).lock.unlock()
    assert_zone(system, "order 0: M[17 9] \n owners: .0..")


def test_nolock_free() -> None:
    """RFC-6.8: owner and zone busy: the zone's llist, as in the RFC."""
    system = trylock("alloc: 9/0 \n owners: .0..")
    locks = Locks(system)
    busy(system, 0, locks)
    with system.on_cpu(0):
        system.zones[0].lock.lock()
    locks.take()
    with system.on_cpu(1):
        system.free_pages_nolock(9)
    assert locks.take() == "!pcp0 !zone"
    with system.on_cpu(0):
        system.zones[0].lock.unlock()
    release(system, 0)
    assert_zone(system, "zllist: 9/0 \n owners: .0..")


def test_a_batch() -> None:
    """RFC-9.4, RFC-6.20: the same sequence as the RFC's, with trylocks; CPU 1 is busy, and its page goes to the
    zone."""
    system = trylock("alloc: 1/0 9/0 3/0 17/0 \n owners: 01..")
    locks = Locks(system)
    busy(system, 1, locks)
    with system.on_cpu(2):
        system.free_folios([(1, 0), (9, 0), (3, 0), (17, 0)])
    assert locks.take() == "?pcp0 -pcp0 !pcp1 +zone -zone ?pcp0 -pcp0 ?pcp2 -pcp2"
    release(system, 1)
    assert_zone(system, "order 0: M[9] \n pcp0 o0: M[3* 1*] \n pcp2 o0: M[17] \n owners: 01..")


def test_a_batch_with_one_busy_target() -> None:
    """RFC-9.4, LPA-10.0.10: each page tries anew."""
    system = trylock("alloc: 1/0 3/0 \n owners: 0...")
    locks = Locks(system)
    busy(system, 0, locks)
    with system.on_cpu(1):
        system.free_folios([(1, 0), (3, 0)])
    assert locks.take() == "!pcp0 +zone -zone !pcp0 +zone -zone"
    release(system, 0)
    assert_zone(system, "order 0: M[3 1] \n owners: 0...")


def test_a_flush() -> None:
    """RFC-9.4, RFC-6.13, RFC-6.14: the drain by a free is the RFC's: three pieces by the owner's limits."""
    system = trylock("pcp0 o0: M[0 2 4 16 18 20 22] \n alloc: 9/0 \n owners: .0..")
    limits(pcp_of(system), free_count=5)
    locks = Locks(system)
    with system.on_cpu(1):
        system.free_pages(9)
    assert locks.take() == "?pcp0 +zone -zone -pcp0 ?pcp0 +zone -zone -pcp0 ?pcp0 +zone -zone -pcp0"
    assert_zone(system, "order 0: M[2 4 16 18 20 22] \n pcp0 o0: M[9* 0] \n owners: .0..")


def test_drains_still_wait() -> None:
    """RFC-9.4: a drain of everything takes the locks as today; only frees do not."""
    system = trylock("pcp0 o0: M[9*] \n owners: .0..")
    locks = Locks(system)
    with system.on_cpu(1):
        system.drain_all_pages()
    assert locks.take() == "+pcp0 +zone -zone -pcp0"
    assert_zone(system, "order 0: M[9] \n owners: .0.. \n owned0: 8")


def test_the_owner_dies_meanwhile() -> None:
    """RFC-8.2, RFC-9.4: the re-check is there too."""
    system = trylock("alloc: 8/0 9/0 \n owners: .1..")
    locks = Locks(system)

    def die() -> None:
        with system.on_cpu(2):
            system.offline_cpu(1)
        locks.take()

    locks.at("?pcp1", die)
    system.free_pages(9)
    assert locks.take() == "?pcp1 -pcp1 ?pcp0 -pcp0"
    assert_zone(system, "pcp0 o0: M[9] \n alloc: 8/0 \n owners: ....")


def test_the_rest_is_the_rfc() -> None:
    """RFC-9.4: one entry is replaced."""
    calls = get_variant("rfc-trylock").calls
    assert calls.pcp_buddy is not None
    changed = [
        field.name
        for field in dataclasses.fields(rfc.PCP_BUDDY)
        if getattr(calls.pcp_buddy, field.name) is not getattr(rfc.PCP_BUDDY, field.name)
    ]
    assert changed == ["pcp_free_lock"]
    assert dataclasses.replace(calls, pcp_buddy=rfc.PCP_BUDDY) == rfc.CALLS


def test_no_free_waits_for_a_pcp_lock_under_load() -> None:
    """RFC-9.3: CPUs that allocate and free each other's pages, in all contexts: no pcp->lock is ever waited for."""
    system = machine("order 4: M[0 16 32 48]", 64, variant="rfc-trylock", nr_cpus=3, high_min=16, high_max=16)
    locks = Locks(system)
    allocated = []
    for turn in range(80):
        with system.on_cpu(turn % 3):
            pfn = system.alloc_pages(MOVABLE)
        assert pfn is not None
        allocated.append(pfn)
        if turn % 3:
            with system.on_cpu((turn + 1) % 3, CONTEXTS[turn % 4]):
                system.free_pages(allocated.pop(0))
    assert "+pcp" not in locks.take()
    system.validate()
