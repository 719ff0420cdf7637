# SPDX-License-Identifier: GPL-2.0-only
"""Spinlocks and the running CPU."""

from __future__ import annotations

import pytest

from pageblock_buddy import Context
from pageblock_buddy.errors import LockError, LockNotHeld, SelfDeadlock
from pageblock_buddy.machine.cpu import Machine
from pageblock_buddy.machine.spinlock import Spinlock


def test_lock_and_unlock() -> None:
    """The owner is the running CPU."""
    machine = Machine(2)
    lock = Spinlock(machine, "zone->lock")
    assert lock.owner is None
    machine.cpu = 1
    lock.lock()
    assert lock.owner == 1
    lock.assert_held()
    lock.unlock()
    assert lock.owner is None


def test_trylock() -> None:
    """LPA-16.0.2, LPA-16.0.3: fails while anybody holds it, the running CPU too."""
    machine = Machine(2)
    lock = Spinlock(machine, "pcp->lock")
    assert lock.trylock()
    assert not lock.trylock()
    machine.cpu = 1
    assert not lock.trylock()
    assert lock.owner == 0
    machine.cpu = 0
    lock.unlock()
    assert lock.trylock()


def test_spinning_for_ever_is_reported() -> None:
    """Sequentially nobody could release it."""
    machine = Machine(2)
    lock = Spinlock(machine, "zone->lock")
    lock.lock()
    for cpu in (0, 1):
        machine.cpu = cpu
        with pytest.raises(SelfDeadlock, match="zone->lock") as caught:
            lock.lock()
        assert caught.value.details == {"cpu": cpu, "lock": "zone->lock", "owner": 0}


def test_not_held() -> None:
    """unlock() and assert_held() by a CPU that does not hold it."""
    machine = Machine(2)
    lock = Spinlock(machine, "zone->lock")
    for use in (lock.unlock, lock.assert_held):
        with pytest.raises(LockNotHeld) as caught:
            use()
        assert isinstance(caught.value, LockError)
        assert caught.value.details["owner"] is None
    lock.lock()
    machine.cpu = 1
    for use in (lock.unlock, lock.assert_held):
        with pytest.raises(LockNotHeld):
            use()
    assert lock.owner == 0


def test_context() -> None:
    """in_task() is false in both kinds of interrupt."""
    machine = Machine(3)
    assert (machine.cpu, machine.nr_cpus, machine.context) == (0, 3, Context.TASK)
    assert machine.in_task()
    for context in (Context.SOFTIRQ, Context.HARDIRQ):
        machine.context = context
        assert not machine.in_task()
