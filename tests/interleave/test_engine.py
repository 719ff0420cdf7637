# SPDX-License-Identifier: GPL-2.0-only
"""The engine: who may go on when, and what a run finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest

from pageblock_buddy.interleave import engine as engine_module
from pageblock_buddy.interleave.carriers.carrier import Carrier
from pageblock_buddy.interleave.engine import Engine
from pageblock_buddy.interleave.findings import Finding
from pageblock_buddy.interleave.kinds import CPU_DEAD, KIND_NAMES, LOCK, TRYLOCK
from pageblock_buddy.interleave.process import Running
from pageblock_buddy.interleave.program import (
    Alloc,
    Decay,
    Drain,
    Free,
    Hold,
    Offline,
    Online,
    Op,
    Program,
    SetUp,
)
from pageblock_buddy.linux_6_12 import alloc
from pageblock_buddy.machine.cpu import Context, Machine
from pageblock_buddy.machine.guards import PCP_LOCK, ZONE_LOCK
from pageblock_buddy.mm.kernel import Kernel
from tests.interleave.carried import (
    CARRIERS,
    Chooser,
    carrying,
    enabled_names,
    everything,
    first_choices,
    giving_up,
    index_of,
    lowest,
    small,
    stay,
    staying,
)

#: CPU 0 owns a block, of which it has given out s8; s0 is of a block that nobody owns.
SETUP = [SetUp(0, Alloc(f"s{number}")) for number in range(9)]
IRQ = (Hold("irq_lock", ()),)


@pytest.fixture
def carrier() -> Iterator[Carrier]:
    with carrying() as found:
        yield found


Look = Callable[[Engine, set[str]], None]


def watched(program: Program, variant: str, carrier: Carrier, look: Look, seeds: int = 60) -> Engine:
    """Random runs, with a look at the engine before every choice, and at who can go on."""
    engine = everything(Engine(program, variant, carrier))
    for seed in range(seeds):
        random = Random(f"{seed}")
        lateness = (0.0, 0.9, 0.97)[seed % 3]

        def choose(engine: Engine, enabled: int, random: Random = random, lateness: float = lateness) -> int:
            look(engine, enabled_names(engine, enabled))
            able = [one for one in engine.processes if enabled & one.bit]
            # In two of three runs interrupts and migrations come late.
            late = [one for one in able if one.started and one.index < engine.nr_carried]
            return random.choice(late if late and random.random() < lateness else able).index

        finding = engine.run(Chooser(choose))
        assert finding is None, finding
        assert not engine.given_up
    return engine


def process(engine: Engine, name: str) -> Running:
    """A process by its name."""
    return engine.processes[index_of(engine, name)]


def held(one: Running) -> set[str]:
    """The classes of the locks that a process holds."""
    return {lock.name for lock, _ in one.held}


def steps(engine: Engine) -> list[str]:
    """What a run did: process, kind and object."""
    return [
        f"{engine.processes[index].name} {KIND_NAMES[kind]} {engine.objects.names[oid] if oid >= 0 else ''}".rstrip()
        for index, kind, oid in zip(engine.ev_process, engine.ev_kind, engine.ev_oid, strict=True)
    ]


# --- runs --------------------------------------------------------------------------------------


def test_a_run_performs_the_operations(carrier: Carrier) -> None:
    program = small([Alloc("a"), Free("a"), Alloc("b")], [Free("s8")], setup=SETUP)
    engine = Engine(program, "rfc", carrier)
    assert engine.run(staying()) is None
    assert [(call.process, type(call.op).__name__) for call in engine.history.calls] == [
        ("0", "Alloc"),
        ("0", "Free"),
        ("0", "Alloc"),
        ("1", "Free"),
    ]
    assert engine.pages["a"][0] is not None
    assert set(engine.pages) == {*(f"s{n}" for n in range(9)), "a", "b"}


@pytest.mark.parametrize("name", CARRIERS)
def test_the_same_choices_give_the_same_run(name: str) -> None:
    program = small([Alloc("a"), Free("s0")], [Free("s8"), Alloc("b")], hardirqs=[(0, [Alloc("h")])], setup=SETUP)
    with carrying(name) as carrier:
        engine = everything(Engine(program, "rfc", carrier))
        engine.run(giving_up(1000))
        first = steps(engine), engine.keys.outcome()
        engine.run(staying())
        other = steps(engine)
        engine.run(giving_up(1000))
        assert (steps(engine), engine.keys.outcome()) == first
        again = everything(Engine(program, "rfc", carrier))
        again.run(first_choices([step.split()[0] for step in first[0]]))
        assert (steps(again), again.keys.outcome()) == first
    assert other != first[0]


def test_a_run_does_not_depend_on_the_run_before(carrier: Carrier) -> None:
    """Whoever is current before the first choice."""
    program = small([Alloc("a")], [Alloc("b")])
    current = []

    def choose(engine: Engine, enabled: int) -> int:
        if not engine.ev_process:
            current.append(engine.current)
        return lowest(enabled)

    engine = everything(Engine(program, "rfc", carrier))
    for _ in range(2):
        engine.run(Chooser(choose))
    assert current == [0, 0]


def test_every_handler_runs_once(carrier: Carrier) -> None:
    """Also on a CPU that has nothing else to do, and behind the end of its task."""
    program = small([Alloc("a")], [], hardirqs=[(0, IRQ), (1, IRQ), (0, [Alloc("h")])], softirqs=[(1, [Alloc("s")])])

    def look(engine: Engine, enabled: set[str]) -> None:
        pass

    engine = watched(program, "rfc", carrier, look, 20)
    assert engine.injections == 4
    assert all(not one.alive for one in engine.processes)
    engine.run(first_choices(["0"] * 4))
    assert [step for step in steps(engine) if "interrupt" in step] == [
        "1s interrupt",
        "0h interrupt",
        "1h interrupt",
        "0h2 interrupt",
    ]


def test_a_free_waits_for_its_page(carrier: Carrier) -> None:
    program = small([Free("a")], [Alloc("a")])
    waited = []

    def choose(engine: Engine, enabled: int) -> int:
        waited.append((enabled_names(engine, enabled), "a" in engine.pages))
        return lowest(enabled)

    engine = everything(Engine(program, "rfc", carrier))
    assert engine.run(Chooser(choose)) is None
    assert all(("0" in names) <= there for names, there in waited)
    assert waited[0] == ({"1"}, False)
    assert [step for step in steps(engine) if step.endswith("page a")] == ["1 publish page a", "0 wait page a"]


def test_a_page_that_was_not_got_is_not_freed(carrier: Carrier) -> None:
    everything_taken = [SetUp(0, Alloc(f"t{number}", 3)) for number in range(4)]
    program = small([Alloc("a"), Free("a")], [], setup=everything_taken)
    engine = Engine(program, "linux-6.12", carrier)
    assert engine.run(staying()) is None
    assert engine.pages["a"] == (None, 0)


# --- interrupts --------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["linux-6.12", "rfc", "rfc-trylock", "llist"])
def test_irqs_are_off_under_zone_lock(carrier: Carrier, variant: str) -> None:
    """zone->lock is always irqsave; pcp->lock is not, but in the free path of rfc and rfc-trylock."""
    seen: set[tuple[str, frozenset[str]]] = set()

    def look(engine: Engine, enabled: set[str]) -> None:
        task = process(engine, "0")
        if "0h" in enabled and task.alive:
            assert ZONE_LOCK not in held(task)
            assert not task.irqs_off
            seen.add((type(task.op).__name__, frozenset(held(task))))

    ops: list[Op] = [Alloc("a", 2), Free("s0"), Free("s8"), Drain(0), Alloc("b")]
    program = small(ops, [Alloc("c")], hardirqs=[(0, IRQ)], setup=SETUP, high_min=4, high_max=4)
    watched(program, variant, carrier, look)
    assert ("Alloc", frozenset([PCP_LOCK])) in seen
    assert ("Free", frozenset()) in seen
    irqsave = variant in ("rfc", "rfc-trylock")
    assert (("Free", frozenset([PCP_LOCK])) in seen) == (not irqsave)


@pytest.mark.parametrize("irqs_off", [False, True])
def test_irqs_under_a_lock_of_the_program(carrier: Carrier, irqs_off: bool) -> None:
    held_at = set()

    def look(engine: Engine, enabled: set[str]) -> None:
        if "0h" in enabled:
            held_at.add("L" in held(process(engine, "0")))

    program = small([Hold("L", (Alloc("a"),), irqs_off)], [], hardirqs=[(0, IRQ)])
    watched(program, "rfc", carrier, look, 30)
    assert held_at == ({False} if irqs_off else {False, True})


def test_a_lock_of_another_cpu_turns_nothing_off(carrier: Carrier) -> None:
    seen = set()

    def look(engine: Engine, enabled: set[str]) -> None:
        if "1h" in enabled:
            seen.add(ZONE_LOCK in held(process(engine, "0")))

    program = small([Alloc("a", 3)], [Alloc("b")], hardirqs=[(1, IRQ)])
    watched(program, "rfc", carrier, look, 30)
    assert seen == {False, True}


def test_nesting(carrier: Carrier) -> None:
    """Softirqs interrupt tasks, hardirqs both, nothing a hardirq; only the innermost one goes on."""
    stacks = set()

    def look(engine: Engine, enabled: set[str]) -> None:
        interrupts = engine.interrupts[0]
        stacks.add(tuple(one.context for one in interrupts))
        new = {name for name in enabled if name[0] == "0" and not process(engine, name).started}
        running = {name for name in enabled if name[0] == "0"} - new
        if interrupts:
            assert running <= {interrupts[-1].name}
            if interrupts[-1].context is Context.HARDIRQ:
                assert not new
            else:
                assert not any("s" in name for name in new)

    program = small(
        [Alloc("a"), Free("a")],
        [Alloc("b")],
        hardirqs=[(0, [Alloc("h")]), (0, IRQ)],
        softirqs=[(0, [Free("s8")]), (0, [Hold("soft_lock", (Alloc("q"),))])],
        setup=SETUP,
    )
    watched(program, "rfc", carrier, look, 100)
    assert stacks == {(), (Context.SOFTIRQ,), (Context.HARDIRQ,), (Context.SOFTIRQ, Context.HARDIRQ)}


def test_a_hardirq_waits_for_irqs_of_a_softirq(carrier: Carrier) -> None:
    def look(engine: Engine, enabled: set[str]) -> None:
        if "0h" in enabled:
            assert not any(one.irqs_off for one in engine.interrupts[0])

    program = small(
        [Alloc("a")],
        [],
        hardirqs=[(0, IRQ)],
        softirqs=[(0, [Hold("L", (Alloc("b", 2),), True), Free("s8")])],
        setup=SETUP,
    )
    watched(program, "rfc", carrier, look, 60)


def test_the_context_of_the_machine(monkeypatch: pytest.MonkeyPatch, carrier: Carrier) -> None:
    """in_hardirq() says what the running process is."""
    contexts = set()
    program = small([Alloc("a")], [], hardirqs=[(0, [Alloc("h")])], softirqs=[(0, [Alloc("s")])])
    engine = everything(Engine(program, "rfc", carrier))
    original = engine.point

    def point(running: Running, kind: int, oid: int, must: bool = False) -> None:
        original(running, kind, oid, must)
        contexts.add((running.name, engine.machine.context, engine.machine.cpu))

    monkeypatch.setattr(engine, "point", point)
    engine.run(giving_up(1000))
    assert contexts == {("0", Context.TASK, 0), ("0h", Context.HARDIRQ, 0), ("0s", Context.SOFTIRQ, 0)}


# --- migration ---------------------------------------------------------------------------------

MOVES = small(
    [Alloc("a"), Free("s0"), Free("s8"), Drain(0)],
    [Alloc("b"), Free("s1")],
    migrations=[(0, 1)],
    hardirqs=[(0, IRQ)],
    setup=SETUP,
)


@pytest.mark.parametrize("variant", ["linux-6.12", "rfc", "rfc-trylock", "llist"])
def test_a_migration_needs_a_preemptible_task(carrier: Carrier, variant: str) -> None:
    places = set()

    def look(engine: Engine, enabled: set[str]) -> None:
        task = process(engine, "0")
        if "0>1" not in enabled:
            return
        assert task.alive
        assert task.cpu == 0
        assert not held(task) & {ZONE_LOCK, PCP_LOCK}
        assert not task.pinned
        assert not task.irqs_off
        assert not engine.interrupts[0]
        name = engine.objects.names[task.oid].split()[-1] if task.oid >= 0 else ""
        places.add((type(task.op).__name__, KIND_NAMES[task.kind], name))

    watched(MOVES, variant, carrier, look)
    assert ("Alloc", "trylock", PCP_LOCK) not in places  # pcp_spin_trylock() pins the task
    between = {(op, name) for op, kind, name in places if kind in ("lock", "trylock") and op == "Free"}
    # lock_pcp_of_owner() reads the number of the CPU and takes the lock later.
    assert (("Free", PCP_LOCK) in between) == (variant in ("rfc", "rfc-trylock"))


def test_a_pinned_trylock_is_none_elsewhere(carrier: Carrier) -> None:
    """The task is pinned exactly while it tries its own pcp->lock."""

    def look(engine: Engine, enabled: set[str]) -> None:
        for one in engine.processes[: engine.nr_carried]:
            if one.pinned:
                assert one.kind == TRYLOCK
                assert engine.objects.names[one.oid].endswith(PCP_LOCK)

    watched(MOVES, "linux-6.12", carrier, look, 40)


def test_a_task_goes_on_where_it_was_moved_to(carrier: Carrier) -> None:
    program = small([Alloc("a")], [], migrations=[(0, 1)], setup=[SetUp(1, Alloc("s"))])
    engine = everything(Engine(program, "linux-6.12", carrier))
    assert engine.run(first_choices(["0>1"])) is None
    assert steps(engine)[0] == "0>1 migrate CPU number of 0"
    assert any("CPU 1 pcp->lock" in step for step in steps(engine))
    assert not any("CPU 0 pcp->lock" in step for step in steps(engine))
    assert engine.run(staying()) is None
    assert not any("CPU 1 pcp->lock" in step for step in steps(engine))


@pytest.mark.parametrize("variant", ["linux-6.12", "rfc"])
def test_a_task_that_is_moved_at_its_own_point_is_elsewhere_then(
    monkeypatch: pytest.MonkeyPatch, carrier: Carrier, variant: str
) -> None:
    program = small([Alloc("a"), Free("s0")], [], migrations=[(0, 1)], setup=SETUP)
    engine = everything(Engine(program, variant, carrier))
    where = []
    original = engine.point

    def point(running: Running, kind: int, oid: int, must: bool = False) -> None:
        original(running, kind, oid, must)
        where.append((running.cpu, Machine.__dict__["cpu"].__get__(engine.machine)))  # below the point that it is

    monkeypatch.setattr(engine, "point", point)
    assert engine.run(first_choices(["0", "0>1", "0"])) is None
    assert [machine for _, machine in where] == [cpu for cpu, _ in where]


def test_two_tasks_on_a_cpu_take_turns_where_they_can_be_preempted(carrier: Carrier) -> None:
    together = set()

    def look(engine: Engine, enabled: set[str]) -> None:
        zero, one = process(engine, "0"), process(engine, "1")
        if zero.cpu == one.cpu == 1 and zero.alive and one.alive:
            for this, other in ((zero, one), (one, zero)):
                if this.preempt_off or this.pinned:
                    assert other.name not in enabled
            together.add(bool({"0", "1"} <= enabled))

    watched(MOVES, "rfc", carrier, look)
    assert together == {False, True}


def test_no_migration_to_a_cpu_that_is_offline(carrier: Carrier) -> None:
    program = small([Alloc("a"), Free("a")], [], [Offline(1)], migrations=[(0, 1)])
    moved = []

    def look(engine: Engine, enabled: set[str]) -> None:
        online = list.__getitem__(engine.machine.online, 1)
        moved.append(("0>1" in enabled, online))

    engine = everything(Engine(program, "rfc", carrier))

    def choose(engine: Engine, enabled: int) -> int:
        look(engine, enabled_names(engine, enabled))
        return index_of(engine, "2") if enabled & process(engine, "2").bit else stay(engine, enabled)

    assert engine.run(Chooser(choose)) is None
    assert (True, True) in moved
    assert (False, False) in moved
    assert (True, False) not in moved


# --- CPU hotplug -------------------------------------------------------------------------------


def test_a_cpu_goes_only_when_nothing_keeps_it(carrier: Carrier) -> None:
    kept = 0

    def look(engine: Engine, enabled: set[str]) -> None:
        nonlocal kept
        task, other = process(engine, "0"), process(engine, "2")
        if other.kind != CPU_DEAD or not other.alive:
            return
        busy = bool(engine.interrupts[0]) or (
            task.alive and task.cpu == 0 and bool(task.preempt_off or task.pinned or task.irqs_off)
        )
        assert ("2" in enabled) == (not busy)
        kept += busy

    program = small([Alloc("a"), Free("s8")], [], [Offline(0)], hardirqs=[(0, [Hold("L", (Alloc("h"),))])], setup=SETUP)
    watched(program, "rfc", carrier, look, 80)
    assert kept > 10


def test_what_was_on_the_cpu_goes_on_elsewhere(carrier: Carrier) -> None:
    program = small([Alloc("a")], [], [Offline(0)], hardirqs=[(0, IRQ)], setup=SETUP)
    engine = everything(Engine(program, "rfc", carrier))
    assert engine.run(first_choices(["2", "2"])) is None
    assert "2 hotplug CPU 0" in steps(engine)
    assert {process(engine, name).cpu for name in ("0", "0h", "2")} == {2}
    assert list(engine.machine.online) == [False, True, True]
    assert not engine.kernel.zones[0].per_cpu_pageset[0].count
    engine.image.restore()
    assert list(engine.machine.online) == [True, True, True]


@pytest.mark.parametrize(
    ("ops", "online"),
    [
        ([Offline(0)], [True, True]),  # its own
        ([Offline(1), Offline(1)], [True, False]),
        ([Offline(1), Online(1)], [True, True]),
        ([Online(1)], [True, True]),
    ],
)
def test_hotplug_that_has_nothing_to_do(carrier: Carrier, ops: list[Offline | Online], online: list[bool]) -> None:
    engine = Engine(small(ops, []), "rfc", carrier)
    assert engine.run(staying()) is None
    assert list(engine.machine.online) == online


def test_hotplug_takes_its_lock_which_sleeps(carrier: Carrier) -> None:
    """With it held a task can be interrupted and moved."""
    seen: set[tuple[bool, bool]] = set()

    def look(engine: Engine, enabled: set[str]) -> None:
        if held(process(engine, "0")) == {"cpu_hotplug_lock"}:
            assert not process(engine, "0").preempt_off
            seen.add(("0h" in enabled, "0>1" in enabled))

    program = small([Offline(2)], [Offline(2), Online(2)], [], hardirqs=[(0, IRQ)], migrations=[(0, 1)])
    watched(program, "rfc", carrier, look, 60)
    assert (True, True) in seen


def test_drain_all_takes_its_mutex(carrier: Carrier) -> None:
    program = small([Drain(None)], [Drain(None)], setup=SETUP)
    engine = everything(Engine(program, "rfc", carrier))
    assert engine.run(staying()) is None
    assert steps(engine)[0] == "0 lock pcpu_drain_mutex"
    assert [step for step in steps(engine) if "unlock pcpu" in step] == [
        "0 unlock pcpu_drain_mutex",
        "1 unlock pcpu_drain_mutex",
    ]


# --- locks -------------------------------------------------------------------------------------


def test_who_waits_is_not_run_to_spin(carrier: Carrier) -> None:
    def look(engine: Engine, enabled: set[str]) -> None:
        for one in engine.processes[: engine.nr_carried]:
            if one.kind == LOCK and one.alive and engine.objects.locks[one.oid].holder is not None:
                assert one.name not in enabled

    program = small([Hold("L", (Alloc("a"),)), Drain(1)], [Hold("L", (Free("s8"),), True)], setup=SETUP)
    watched(program, "rfc", carrier, look, 60)


def test_a_trylock_is_taken_or_fails(carrier: Carrier) -> None:
    seen: set[str] = set()

    def look(engine: Engine, enabled: set[str]) -> None:
        seen.update(step for step in steps(engine) if "pcp->lock" in step and step.startswith("1h"))

    program = small([Alloc("a")], [Alloc("b")], hardirqs=[(1, [Alloc("h")])])
    watched(program, "rfc", carrier, look, 40)
    assert {"1h trylock CPU 1 pcp->lock", "1h trylock fails CPU 1 pcp->lock"} <= seen


# --- what goes wrong ---------------------------------------------------------------------------


def run_with(
    monkeypatch: pytest.MonkeyPatch, carrier: Carrier, broken: Callable[[Kernel], int | None], program: Program
) -> Finding | None:
    """A run of a program in which every allocation is done by ``broken``."""
    monkeypatch.setattr(alloc, "alloc_pages", lambda k, gfp, order: broken(k))
    engine = everything(Engine(program, "linux-6.12", carrier, guards=True))
    finding = engine.run(staying())
    # And the next run on the same engine is no worse for it.
    assert engine.run(staying()) == finding
    return finding


ONE = small([Alloc("a")], [])


def zone_lock(k: Kernel) -> None:
    k.zones[0].lock.lock()


def test_held_at_exit(monkeypatch: pytest.MonkeyPatch, carrier: Carrier) -> None:
    finding = run_with(monkeypatch, carrier, zone_lock, ONE)
    assert finding is not None
    assert (finding.code, finding.detail, finding.process) == ("held-at-exit", ZONE_LOCK, "0")
    assert finding.message == "CPU 0 task: a = alloc_pages(0) ends with zone->lock held"


def test_self_deadlock(monkeypatch: pytest.MonkeyPatch, carrier: Carrier) -> None:
    def broken(k: Kernel) -> None:
        zone_lock(k)
        zone_lock(k)

    finding = run_with(monkeypatch, carrier, broken, ONE)
    assert finding is not None
    assert (finding.code, finding.detail) == ("self-deadlock", ZONE_LOCK)


def test_self_deadlock_with_interrupted_code_is_a_deadlock(carrier: Carrier) -> None:
    """A handler wants what the task holds that it interrupts."""
    program = small([Hold("L", (Alloc("a"),))], [], hardirqs=[(0, [Hold("L", ())])])
    engine = everything(Engine(program, "rfc", carrier))
    finding = engine.run(first_choices(["0", "0", "0h"]))
    assert finding is not None
    assert (finding.code, finding.detail) == ("deadlock", "cycle L")


def test_not_held(monkeypatch: pytest.MonkeyPatch, carrier: Carrier) -> None:
    finding = run_with(monkeypatch, carrier, lambda k: k.zones[0].lock.unlock(), ONE)
    assert finding is not None
    assert (finding.code, finding.detail) == ("not-held", ZONE_LOCK)


def test_unlock_by_another_context_of_the_same_cpu(monkeypatch: pytest.MonkeyPatch, carrier: Carrier) -> None:
    def broken(k: Kernel) -> None:
        lock = k.zones[0].per_cpu_pageset[0].lock
        if k.machine.context is Context.HARDIRQ:
            lock.unlock()
        else:
            lock.lock()
            lock.unlock()

    monkeypatch.setattr(alloc, "alloc_pages", lambda k, gfp, order: broken(k))
    engine = everything(Engine(small([Alloc("a")], [], hardirqs=[(0, [Alloc("h")])]), "linux-6.12", carrier))
    finding = engine.run(first_choices(["0", "0h"]))
    assert finding is not None
    assert (finding.code, finding.process) == ("not-held", "0h")


def test_any_error(monkeypatch: pytest.MonkeyPatch, carrier: Carrier) -> None:
    def broken(k: Kernel) -> None:
        raise ZeroDivisionError("no pages")

    finding = run_with(monkeypatch, carrier, broken, ONE)
    assert finding is not None
    assert (finding.code, finding.detail) == ("error", "ZeroDivisionError")
    assert finding.message == "CPU 0 task, a = alloc_pages(0): ZeroDivisionError: no pages"


def test_guard(monkeypatch: pytest.MonkeyPatch, carrier: Carrier) -> None:
    def broken(k: Kernel) -> None:
        k.zones[0].per_cpu_pageset[0].flags |= 1

    finding = run_with(monkeypatch, carrier, broken, ONE)
    assert finding is not None
    assert (finding.code, finding.detail) == ("guard", "CPU 0 pcp->flags")


def test_invariant(monkeypatch: pytest.MonkeyPatch, carrier: Carrier) -> None:
    def broken(k: Kernel) -> None:
        lock = k.zones[0].lock
        lock.lock()
        k.zones[0].free_area[0].nr_free += 1
        lock.unlock()

    finding = run_with(monkeypatch, carrier, broken, small([Alloc("a"), Decay()], [Decay()]))
    assert finding is not None
    assert finding.code == "invariant"


def test_leak(monkeypatch: pytest.MonkeyPatch, carrier: Carrier) -> None:
    """Pages that are in no place and that nobody has."""

    def broken(k: Kernel) -> int | None:
        pfn = original(k, 0xCC0, 0)
        assert pfn is not None
        assert isinstance(k.mem_map, bytearray)
        bytearray.__setitem__(k.mem_map, pfn, 0)
        return int(pfn)

    original = alloc.alloc_pages
    finding = run_with(monkeypatch, carrier, broken, ONE)
    assert finding is not None
    assert (finding.code, finding.detail) == ("leak", "total")


def test_livelock(monkeypatch: pytest.MonkeyPatch, carrier: Carrier) -> None:
    def broken(k: Kernel) -> None:
        while True:
            k.zones[0].lock.lock()
            k.zones[0].lock.unlock()

    monkeypatch.setattr(engine_module, "MAX_OP_POINTS", 100)
    finding = run_with(monkeypatch, carrier, broken, ONE)
    assert finding is not None
    assert finding.code == "livelock"
    assert "passes more than 100 points; the last ones: zone->lock" in finding.message


def test_the_longest_operations_are_no_livelock(carrier: Carrier) -> None:
    """A drain of everything on 64 CPUs."""
    program = small([Drain(None)], *[[]] * 15, setup=[SetUp(cpu, Alloc(f"p{cpu}")) for cpu in range(16)], pages=256)
    engine = everything(Engine(program, "rfc", carrier, guards=True))
    assert engine.run(staying()) is None


def test_first_finding_counts(monkeypatch: pytest.MonkeyPatch, carrier: Carrier) -> None:
    engine = Engine(ONE, "rfc", carrier)
    engine.run(staying())
    engine.fail(Finding("a", "x"))
    engine.fail(Finding("b", "y"))
    assert engine.finding == Finding("a", "x")


def test_an_interrupt_by_the_user_is_no_finding() -> None:
    """With greenlets it is raised in a body."""
    pytest.importorskip("greenlet")

    def choose(engine: Engine, enabled: int) -> int:
        if len(engine.ev_process) == 3:
            raise KeyboardInterrupt
        return stay(engine, enabled)

    with carrying("greenlet") as carrier:
        engine = everything(Engine(small([Alloc("a")], [Alloc("b")]), "rfc", carrier))
        with pytest.raises(KeyboardInterrupt):
            engine.run(Chooser(choose))
