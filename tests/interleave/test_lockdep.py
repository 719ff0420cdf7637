# SPDX-License-Identifier: GPL-2.0-only
"""Lock order by classes: dependencies, cycles, and what handlers make of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pageblock_buddy.interleave.catalogue import built_in, program_names
from pageblock_buddy.interleave.checks.lockdep import Lockdep
from pageblock_buddy.interleave.engine import Engine
from pageblock_buddy.interleave.program import Alloc, Drain, Free, Hold, Program, SetUp
from pageblock_buddy.machine.cpu import Context
from tests.interleave.carried import carrying, first_choices, small, staying


class Taker:
    """A process that takes locks, without an engine."""

    def __init__(self, lockdep: Lockdep, context: Context = Context.TASK) -> None:
        self.lockdep = lockdep
        self.running: Any = SimpleNamespace(
            context=context,
            handler=context is not Context.TASK,
            held=[],
            irqs_off=0,
            where=lambda: f"CPU 0 {context.value}",
            text=lambda: "op",
        )

    def take(self, *names: str, irqs_off: bool = False, waited: bool = True, sleeps: bool = False) -> Taker:
        """Take these, the next one with the earlier ones held."""
        for name in names:
            lock: Any = SimpleNamespace(name=name, sleeps=sleeps)
            self.lockdep.acquired(self.running, lock, irqs_off, waited)
            self.running.held.append((lock, irqs_off))
            self.running.irqs_off += irqs_off
        return self

    def drop(self) -> Taker:
        """Give all back."""
        self.running.held.clear()
        self.running.irqs_off = 0
        return self


@pytest.fixture
def lockdep() -> Lockdep:
    return Lockdep()


def found(lockdep: Lockdep) -> list[str]:
    return sorted(lockdep.findings)


def test_an_order_is_fine(lockdep: Lockdep) -> None:
    task = Taker(lockdep)
    for _ in range(3):
        task.take("a", "b", "c").drop().take("a", "c").drop()
    assert lockdep.after == {"a": {"b": "CPU 0 task in op", "c": "CPU 0 task in op"}, "b": {"c": "CPU 0 task in op"}}
    assert found(lockdep) == []


def test_two_orders_are_a_cycle(lockdep: Lockdep) -> None:
    Taker(lockdep).take("a", "b").drop().take("b", "a")
    assert found(lockdep) == ["lock-order:a -> b"]
    finding = lockdep.findings["lock-order:a -> b"]
    assert finding.message == "lock order: b -> a -> b"
    assert finding.lines == ("b -> a: CPU 0 task in op", "a -> b: CPU 0 task in op")


def test_a_longer_cycle(lockdep: Lockdep) -> None:
    Taker(lockdep).take("a", "b").drop().take("b", "c").drop().take("c", "a")
    assert found(lockdep) == ["lock-order:a -> b -> c"]
    assert len(lockdep.findings["lock-order:a -> b -> c"].lines) == 3


def test_two_locks_of_one_class(lockdep: Lockdep) -> None:
    """Two pcp->locks at once: nothing says in which order."""
    Taker(lockdep).take("a", "a")
    assert found(lockdep) == ["lock-order:a"]
    assert lockdep.findings["lock-order:a"].message == "lock order: a -> a"


def test_a_trylock_makes_no_dependency(lockdep: Lockdep) -> None:
    """It does not wait; what is taken while it is held does."""
    task = Taker(lockdep).take("a", "b").drop().take("b").take("a", waited=False)
    assert found(lockdep) == []
    task.drop().take("b", waited=False).take("a")
    assert found(lockdep) == ["lock-order:a -> b"]


def test_irq_inversion(lockdep: Lockdep) -> None:
    """A handler wants x; x is held and p wanted; p is held with IRQs on: CPU 0 holds p, is interrupted ..."""
    Taker(lockdep, Context.HARDIRQ).take("x")
    Taker(lockdep).take("x", irqs_off=True).take("p", irqs_off=True)
    assert found(lockdep) == []
    Taker(lockdep).take("p", waited=False)
    assert found(lockdep) == ["irq-inversion:x -> p"]
    assert lockdep.findings["irq-inversion:x -> p"].lines == (
        "x is wanted in a handler: CPU 0 hardirq in op",
        "p is held with IRQs on: CPU 0 task in op",
        "x -> p: CPU 0 task in op",
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (2, 0, 1)])
def test_irq_inversion_in_whatever_order_it_is_learnt(lockdep: Lockdep, order: tuple[int, ...]) -> None:
    steps = [
        lambda: Taker(lockdep, Context.SOFTIRQ).take("x"),
        lambda: Taker(lockdep).take("x", "y", irqs_off=True).drop().take("y", "p", irqs_off=True),
        lambda: Taker(lockdep).take("p", waited=False),
    ]
    for number in order:
        steps[number]()
    assert found(lockdep) == ["irq-inversion:x -> y -> p"]


def test_a_class_that_is_wanted_in_a_handler_and_held_with_irqs_on(lockdep: Lockdep) -> None:
    Taker(lockdep).take("x")
    Taker(lockdep, Context.HARDIRQ).take("x")
    assert found(lockdep) == ["irq-inversion:x"]


def test_a_handler_that_tries_does_not_wait(lockdep: Lockdep) -> None:
    Taker(lockdep).take("x")
    Taker(lockdep, Context.HARDIRQ).take("x", waited=False)
    assert found(lockdep) == []


def test_irqs_are_off_in_a_hardirq_and_under_an_outer_lock(lockdep: Lockdep) -> None:
    Taker(lockdep, Context.HARDIRQ).take("x")
    Taker(lockdep).take("o", irqs_off=True).take("x")
    assert found(lockdep) == []
    assert not any(lockdep.held_open_to.values())


def test_irqs_are_on_in_a_softirq(lockdep: Lockdep) -> None:
    """A hardirq may come, another softirq not: a lock that only softirqs take needs no irqsave."""
    Taker(lockdep, Context.SOFTIRQ).take("x")
    assert found(lockdep) == []
    Taker(lockdep, Context.HARDIRQ).take("x")
    assert found(lockdep) == ["irq-inversion:x"]


def test_a_task_and_a_softirq(lockdep: Lockdep) -> None:
    Taker(lockdep, Context.SOFTIRQ).take("x")
    Taker(lockdep).take("x", irqs_off=True)
    assert found(lockdep) == []
    Taker(lockdep).take("x")
    assert found(lockdep) == ["irq-inversion:x"]


def test_a_sleeping_lock_turns_nothing_off_and_is_not_unsafe(lockdep: Lockdep) -> None:
    Taker(lockdep).take("m", sleeps=True)
    assert not any(lockdep.held_open_to.values())


# --- in runs -----------------------------------------------------------------------------------


def learnt(program: Program, variant: str, *choices: str) -> list[str]:
    """What lockdep says after one run that finds nothing itself."""
    with carrying() as carrier:
        engine = Engine(program, variant, carrier)
        assert engine.run(first_choices(choices) if choices else staying()) is None
        return found(engine.lockdep)


def test_a_cycle_on_a_schedule_that_does_not_deadlock() -> None:
    program = small([Hold("a", (Hold("b", ()),))], [Hold("b", (Hold("a", ()),))])
    assert learnt(program, "rfc") == ["lock-order:a -> b"]


def test_the_deadlock_that_was_found_after_the_rfc() -> None:
    """Without running into it."""
    assert learnt(built_in("abba-hardirq"), "rfc") == ["irq-inversion:xa_lock -> pcp->lock"]
    assert learnt(built_in("abba-hardirq"), "llist") == []
    assert learnt(built_in("abba-hardirq"), "rfc-trylock") == []
    assert learnt(built_in("abba-remote-drain"), "rfc") == ["irq-inversion:xa_lock -> pcp->lock"]
    assert learnt(built_in("abba-remote-drain"), "llist") == []


def test_a_mutex_outside_a_spinlock_is_fine() -> None:
    setup = [SetUp(0, Alloc("s"))]
    program = small([Drain(None), Free("s")], [Drain(None)], hardirqs=[(0, [Hold("x", ())])], setup=setup)
    assert learnt(program, "rfc") == []


@pytest.mark.parametrize("variant", ["linux-6.12", "rfc-trylock", "llist"])
def test_nothing_in_the_built_in_programs(variant: str) -> None:
    names = [name for name in program_names() if name != "trylock-only" or variant != "linux-6.12"]
    assert {name: learnt(built_in(name), variant) for name in names} == {name: [] for name in names}
