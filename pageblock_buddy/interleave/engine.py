# SPDX-License-Identifier: GPL-2.0-only
"""The engine: runs a program under the choices of a strategy, as often as one likes.

Every point ends in :meth:`Engine.point`: the process says what it is about to do, the strategy says who goes on, and
the carrier switches there.  All that happens in the stack of whichever process is at a point; the engine's own stack
waits until the run is over.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn, Protocol

from pageblock_buddy.errors import CallerError, GuardViolation, InputError
from pageblock_buddy.interleave import perform
from pageblock_buddy.interleave.carriers.carrier import Carrier
from pageblock_buddy.interleave.checks.deadlock import explain_deadlock
from pageblock_buddy.interleave.checks.history import History
from pageblock_buddy.interleave.checks.invariants import PointInvariants
from pageblock_buddy.interleave.checks.lockdep import Lockdep
from pageblock_buddy.interleave.findings import Finding, finding_of_error
from pageblock_buddy.interleave.image import Image
from pageblock_buddy.interleave.kinds import (
    AWAIT,
    CPU_DEAD,
    LOAD,
    LOCK,
    MIGRATE,
    PUBLISH,
    START,
    STORE,
)
from pageblock_buddy.interleave.locks import PointSpinlock
from pageblock_buddy.interleave.points import OWNERS, Instrument, Objects
from pageblock_buddy.interleave.process import Running
from pageblock_buddy.interleave.program import (
    Alloc,
    Free,
    Migration,
    Offline,
    Online,
    Process,
    Program,
    freed,
    freed_by,
    made_by,
    walk,
)
from pageblock_buddy.interleave.state import StateKeys
from pageblock_buddy.interleave.strategies.happens_before import cpus_of
from pageblock_buddy.machine.cpu import Context
from pageblock_buddy.machine.guards import PCP_LOCK
from pageblock_buddy.mm.page import PG_BUDDY, PG_NONE, PG_PCP
from pageblock_buddy.system import System
from pageblock_buddy.variants import get_variant

#: A switch to the engine itself: the run is over.
ENGINE: Final = -1
#: More points than this in one operation are a livelock: the longest that make progress pass a few hundred.
MAX_OP_POINTS: Final = 2000
#: What an object that is no choice does at its point: nothing, or only be recorded.
QUIET: Final = 0
CHOICE: Final = 1
RECORDED: Final = 2


class Unwound(BaseException):
    """Raised in the point of a process whose run is over, to take its stack down."""


class Stability:
    """Owners that frees read without a lock, against the owner right before the page is on a list.

    That is the second read, under the lock (a step like any other, so a search covers it before and after every
    change), and in llist the push.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.compared = 0
        self.changed = 0

    def compare(self, block: int, tag: int) -> None:
        """The running process is about to use the owner of a pageblock, which is ``tag`` now."""
        engine = self._engine
        running = engine.running
        before = running.owner_read
        if before is not None and before[0] == block and not (running.pushed or engine.is_listed(running)):
            self.compared += 1
            self.changed += before[1] != tag


class Strategy(Protocol):
    """Who goes on.

    ``prefix`` are choices that are known before the run, from its beginning: the engine does not ask for those, and
    what is checked at points was checked there before.
    """

    @property
    def prefix(self) -> list[int]:
        """Those choices; empty where there are none."""

    def choose(self, engine: Engine, enabled: int) -> int:
        """The index of the process that takes its step now, out of the bit set ``enabled`` (never empty); or ENGINE, to
        give up the run.  ``engine.current`` is the process at the point, ``engine.events`` what happened so far.
        """


class Engine:
    """One program on one variant, with everything that does not change from run to run.

    ``users`` and ``writers`` say which processes used and wrote each object without a lock that orders them, as bit
    sets, in all runs so far; ``visible`` which objects are choices.
    """

    def __init__(
        self,
        program: Program,
        variant: str,
        carrier: Carrier,
        *,
        watch: Iterable[str] = (),
        guards: bool = False,
        keep_keys: bool = False,
        recording: bool = False,
        invariants: str = "points",
    ) -> None:
        self.program = program
        self.variant = get_variant(variant)
        self.carrier = carrier
        self.guards = guards
        self.keep_keys = keep_keys
        #: whether each step keeps its operation, CPU and value, for people
        self.recording = recording
        #: with ``recording``: called with each step, before it is taken, and when a run is over but not yet unwound
        self.each_step: Callable[[], None] | None = None
        self.at_end: Callable[[], None] | None = None
        self.watch = frozenset(watch) | ({OWNERS} if self.variant.calls.pcp_buddy is not None else frozenset())
        #: fields whose loads turned out to matter: for the next engine's ``watch``
        self.missing: set[str] = set()
        self.objects = Objects()
        self.field_of: dict[int, str] = {}
        #: objects whose load may turn out to be the first half of a read-modify-write
        self.atomic: set[int] = set()
        self.lockdep = Lockdep()
        system = System.boot(program.config, variant=variant)
        self.system = system
        self.kernel = k = system.kernel
        self.machine = k.machine
        self.total_pages = system.total_pages
        #: page name -> (first PFN or None, order), in this run
        self.pages: dict[str, tuple[int | None, int]] = {}
        self._set_up(system)
        self.pages_at_start = dict(self.pages)
        self._processes()
        self._refuse_unknown_calls()
        #: runs so far: with the steps of the present one, what the watchdog looks at
        self.runs = 0
        for process, cpus in zip(self.processes, cpus_of(self), strict=True):
            process.exposed = self.shares_cpus and bool(cpus)
        #: whether some process runs
        self.inside = False
        Instrument(self, k, self.watch, guards=guards)
        self._program_locks()
        self._name_objects()
        count = len(self.objects.names)
        self.users = [0] * count
        self.writers = [0] * count
        self.visible = bytearray(count)
        self.unwatched = [oid in self.field_of and self.field_of[oid] not in self.watch for oid in range(count)]
        #: what a search need not find out: pages that are handed over, and CPU numbers that change
        self.always = frozenset((*self.page_objects.values(), *self.cpu_number.values()))
        for oid in self.always:
            self.visible[oid] = CHOICE
        #: who reads for a check: nobody
        self.observer = Running(0, Process("observer", 0, Context.TASK, ()))
        self.observer.bit = 0
        self.nothing_visible = bytearray(count)
        self.unwinding = False
        self.last_load = -1
        self.running = self.observer
        self.current = 0
        self.history = History()
        self.invariants = PointInvariants(self, invariants)
        #: counts owners that changed between the read without a lock and the lock; None: nobody wants to know
        self.stability: Stability | None = None
        self._bodies = [self._body(process) for process in self.processes[: self.nr_carried]]
        self.image = Image(k)
        self.keys = StateKeys(self)
        self._reset_events()

    # --- set-up --------------------------------------------------------------------------------

    def _set_up(self, system: System) -> None:
        for entry in self.program.setup:
            try:
                with system.on_cpu(entry.on):
                    perform.set_up(self, entry.op)
            except CallerError as error:
                raise InputError(f"program: set-up: {error.message}") from None
        system.validate()

    def _program_locks(self) -> None:
        self.cpu_hotplug_lock = PointSpinlock(self, "cpu_hotplug_lock", "cpu_hotplug_lock", sleeps=True)
        self.pcpu_drain_mutex = PointSpinlock(self, "pcpu_drain_mutex", "pcpu_drain_mutex", sleeps=True)
        self.program_locks: dict[str, PointSpinlock] = {}
        for op in self.program.all_ops():
            lock = getattr(op, "lock", None)
            if lock is not None and lock not in self.program_locks:
                self.program_locks[lock] = PointSpinlock(self, lock, lock)

    def _refuse_unknown_calls(self) -> None:
        nolock = any(isinstance(op, Alloc | Free) and op.nolock for op in self.program.all_ops())
        if nolock and self.variant.calls.alloc_pages_nolock is None:
            raise InputError(f"program: {self.variant.name} has no alloc_pages_nolock() and free_pages_nolock()")

    def _processes(self) -> None:
        described = self.program.processes()
        self.processes = [Running(index, process) for index, process in enumerate(described)]
        self.migrations: list[tuple[int, Migration]] = []
        for migration in self.program.migrations:
            index = len(self.processes)
            process = Running(index, Process(f"{migration.task}>{migration.to}", migration.task, Context.TASK, ()))
            process.kind = MIGRATE
            self.processes.append(process)
            self.migrations.append((index, migration))
        self._tasks_by_name = {process.name: process for process in self.processes}
        self.nr_carried = len(described)
        self.migration_of = dict(self.migrations)
        self.all_processes = (1 << len(self.processes)) - 1
        #: handlers, migrations and hotplug make one CPU's processes disturb each other
        self.hotplug = any(isinstance(op, Offline | Online) for process in described for op in walk(process.ops))
        self.shares_cpus = bool(self.migrations or self.program.hardirqs or self.program.softirqs or self.hotplug)
        #: tasks whose CPU's number may change while they run
        self.moves = self._moving()
        self.cpu_number: dict[int, int] = {}

    def _places(self) -> dict[str, set[int]]:
        """For each process by name the CPUs that it may ever be on.

        Whoever takes a CPU offline gets what ran there, and may itself have been moved before.
        """
        places = {p.name: {p.home} for p in self.processes[: self.nr_carried]}
        for _, migration in self.migrations:
            places[str(migration.task)].add(migration.to)
        while True:
            before = {name: len(cpus) for name, cpus in places.items()}
            for cpu, mover in self._offlines():
                for cpus in places.values():
                    if cpu in cpus:
                        cpus |= places[mover]
            if before == {name: len(cpus) for name, cpus in places.items()}:
                return places

    def _offlines(self) -> list[tuple[int, str]]:
        """(CPU that goes, process that takes it offline)."""
        carried = self.processes[: self.nr_carried]
        return sorted((op.cpu, p.name) for p in carried for op in walk(p.ops) if isinstance(op, Offline))

    def leaving_cpus(self) -> list[tuple[int, list[int]]]:
        """(CPU, where its processes may go then) for each CPU that some process takes offline."""
        places = self._places()
        return [(cpu, sorted(places[mover])) for cpu, mover in self._offlines()]

    def _moving(self) -> list[Running]:
        """Tasks that may be moved, or find another task on their CPU: where they read its number, others may come."""
        places = self._places()
        tasks = [p for p in self.processes[: self.nr_carried] if not p.handler]
        return [
            task
            for task in tasks
            if len(places[task.name]) > 1
            or any(other is not task and places[other.name] & places[task.name] for other in tasks)
        ]

    def _name_objects(self) -> None:
        described = self.program.processes()
        for process in self.moves:
            self.cpu_number[process.index] = self.objects.add(f"CPU number of {process.name}")
        self.cpu_objects = [self.objects.add(f"CPU {cpu}") for cpu in range(self.machine.nr_cpus)]
        made = {name: index for index, process in enumerate(described) for name in made_by(process.ops)}
        wanted = {name: index for index, process in enumerate(described) for name in freed_by(process.ops)}
        self.page_objects = {
            name: self.objects.add(f"page {name}") for name, maker in made.items() if wanted.get(name, maker) != maker
        }

    def _reset_events(self) -> None:
        self.ev_process: list[int] = []
        self.ev_kind: list[int] = []
        self.ev_oid: list[int] = []
        #: with ``recording``: operation, its number, CPU, value, in which phase a page set is
        self.ev_detail: list[list[Any]] = []

    # --- a run ---------------------------------------------------------------------------------

    def run(self, strategy: Strategy) -> Finding | None:
        """Run the program once.  Returns what was found, or None.  The state is that of the end until the next run."""
        self.image.restore()
        self.keys.end = ()
        self.strategy = strategy
        self._prefix = strategy.prefix
        self._prefix_length = len(self._prefix)
        #: whether this is behind the prefix: what happens now did not happen in an earlier run
        self.fresh = not self._prefix_length
        self.unwinding = False
        self.last_load = -1
        self.finding: Finding | None = None
        self.given_up = False
        self.pages = dict(self.pages_at_start)
        self.history.reset()
        self.invariants.reset()
        self.interrupts: list[list[Running]] = [[] for _ in range(self.machine.nr_cpus)]
        self.alive = self.nr_carried
        self.current = 0
        self.injections = 0
        self.runs += 1
        #: CPUs that no task may go to
        self.gone = {cpu for cpu in range(self.machine.nr_cpus) if not list.__getitem__(self.machine.online, cpu)}
        #: whether the watchdog has stopped a process that reaches no point; whether somebody pressed Ctrl-C
        self.silenced = False
        self._interrupted = False
        self._reset_events()
        for lock in self.objects.locks.values():
            lock.holder = lock.owner = None
        for process in self.processes:
            process.reset()
        for index, migration in self.migrations:
            process = self.processes[index]
            process.kind = MIGRATE
            process.oid = self.cpu_number[self._tasks_by_name[str(migration.task)].index]
            process.started = True
            process.home = migration.task
        self.carrier.start(self._bodies)
        try:
            self._run()
        except BaseException:
            # A strategy's mistake, or an interrupt: not ours, but the stacks are.
            self._unwind()
            raise
        if self.finding is None and not self.given_up:
            self.finding = self._at_the_end()
        if self.at_end is not None:
            self.at_end()
        self._unwind()
        return self.finding

    def _run(self) -> None:
        # Each task comes to its first point; nothing before it is seen by anybody.
        self._first_points = True
        for process in self.processes[: self.nr_carried]:
            if process.started:
                self._enter(process)
                self.carrier.switch(ENGINE, process.index)
        self._first_points = False
        if self.finding is None and not self._interrupted:
            chosen = self._next()
            if chosen >= 0:
                self._enter(self.processes[chosen])
                self.carrier.switch(ENGINE, chosen)
        self.inside = False
        if self._interrupted:
            raise KeyboardInterrupt

    def _unwind(self) -> None:
        self.unwinding = True
        for process in self.processes[: self.nr_carried]:
            if process.alive and (process.started or process.kind != START):
                self._enter(process)
                self.carrier.switch(ENGINE, process.index)

    def _body(self, process: Running) -> Callable[[], int]:
        def body() -> int:
            if self.unwinding:
                process.alive = False
                return ENGINE
            try:
                self.inside = True
                perform.run_ops(self, process)
            except Unwound:
                process.alive = False
                return ENGINE
            except (Exception, KeyboardInterrupt) as error:
                process.alive = False
                if isinstance(error, KeyboardInterrupt) and not self.silenced:
                    self._interrupted = True
                else:
                    self.fail(finding_of_error(self, process, error))
                return ENGINE
            return self._finished(process)

        return body

    def _finished(self, process: Running) -> int:
        process.alive = False
        process.kind = PUBLISH
        self.alive -= 1
        if process.handler:
            self.interrupts[process.cpu].remove(process)
        if self._first_points:
            return ENGINE
        self.current = process.index
        chosen = self._next()
        if chosen >= 0:
            self._enter(self.processes[chosen])
        return chosen

    def fail(self, finding: Finding) -> None:
        """Something was found: the run is over.  The first finding counts."""
        if self.finding is None:
            self.finding = finding

    # --- points --------------------------------------------------------------------------------

    def point(self, process: Running, kind: int, oid: int, must: bool = False) -> None:
        """``process`` is about to do something to an object.  Returns when it is to do it.

        ``must``: it is a choice even where the object is only recorded.
        """
        self._pass_point(process, kind, oid, must)
        if not process.acted and process.call >= 0:
            # It has done nothing yet, so its operation begins now.
            self.history.begin_again(process.call)

    def _pass_point(self, process: Running, kind: int, oid: int, must: bool) -> None:
        if self.unwinding:
            raise Unwound
        process.kind = kind
        process.oid = oid
        process.op_points += 1
        if process.op_points > MAX_OP_POINTS:
            self._livelock(process)
        step = len(self.ev_process)
        if step < self._prefix_length and self._prefix[step] == process.index and not self._first_points:
            self.ev_process.append(process.index)
            self.ev_kind.append(kind)
            self.ev_oid.append(oid)
            self.fresh = step + 1 == self._prefix_length
            return
        if self._first_points:
            if self.visible[oid] == RECORDED and not must:
                self._record(process.index, kind, oid)
                return
            self.carrier.switch(process.index, ENGINE)
        elif (
            self.visible[oid] == RECORDED
            and not must
            and not (kind == LOCK and self.objects.locks[oid].holder is not None)
        ):
            self._record(process.index, kind, oid)
            return
        else:
            self.current = process.index
            chosen = self._next()
            if chosen != process.index:
                if chosen >= 0:
                    self._enter(self.processes[chosen])
                self.carrier.switch(process.index, chosen)
            elif self.moves:
                self._enter(process)  # it may have been moved
        if self.unwinding:
            raise Unwound

    def stop_with(self, finding: Finding) -> NoReturn:
        """Something was found by the running process: end the run."""
        self.fail(finding)
        raise Unwound

    def _livelock(self, process: Running) -> None:
        last = ", ".join(self.objects.names[oid] for oid in self.ev_oid[-6:])
        text = f"{process.where()}: {process.text()} passes more than {MAX_OP_POINTS} points; the last ones: {last}"
        self.stop_with(Finding("livelock", text, process.name))

    def _enter(self, process: Running) -> None:
        """``process`` goes on: the machine is where it is."""
        self.running = process
        self.last_load = -1
        machine = self.machine
        machine.cpu = process.cpu
        machine.context = process.context

    def _record(self, index: int, kind: int, oid: int) -> None:
        self.ev_process.append(index)
        self.ev_kind.append(kind)
        self.ev_oid.append(oid)
        if self.recording:
            process = self.processes[index]
            self.ev_detail.append([process.op, process.op_number, process.cpu, None])
            if self.each_step is not None:
                self.each_step()

    def note(self, value: Any, kind: int = STORE) -> None:
        """The value of the load or store that was just taken; of one without a step, nothing."""
        if self.recording and self.ev_kind and self.ev_kind[-1] == kind and self.ev_detail[-1][3] is None:
            self.ev_detail[-1][3] = value

    def _next(self) -> int:
        """Ask the strategy who goes on, and do what needs no stack.  Returns a process, or ENGINE: the run is over."""
        while True:
            step = len(self.ev_process)
            if step < self._prefix_length:
                chosen = self._prefix[step]
                self.fresh = step + 1 == self._prefix_length
            else:
                if self.invariants.dirty:
                    finding = self.invariants.check()
                    if finding is not None:
                        self.fail(finding)
                        return ENGINE
                enabled = self.enabled()
                if not enabled:
                    return ENGINE
                chosen = self.strategy.choose(self, enabled)
                if chosen < 0:
                    self.given_up = self.finding is None
                    return ENGINE
            process = self.processes[chosen]
            self._record(chosen, process.kind, process.oid)
            if process.kind == MIGRATE:
                self._migrate(chosen)
                continue
            if not process.started:
                self.interrupts[process.cpu].append(process)
                process.started = True
                self.injections += 1
            return chosen

    def outcome(self, kind: int) -> None:
        """The trylock that was last chosen was taken, or not."""
        self.ev_kind[-1] = kind
        if self.keep_keys:
            self.saw(kind)

    def _migrate(self, index: int) -> None:
        migration = self.migration_of[index]
        task = self._tasks_by_name[str(migration.task)]
        task.cpu = migration.to
        self.processes[index].alive = False

    # --- who may go on -------------------------------------------------------------------------

    def enabled(self) -> int:
        """The processes that may take their step now, as a bit set."""
        found = 0
        locks = self.objects.locks
        shares = self.shares_cpus
        for process in self.processes:
            if not process.alive or (shares and not self._cpu_is_free(process)):
                continue
            kind = process.kind
            if kind == LOCK:
                if locks[process.oid].holder is not None:
                    continue
            elif (kind == AWAIT and not self._is_there(process)) or (kind == CPU_DEAD and not self._can_go(process)):
                continue
            found |= process.bit
        return found

    def _is_there(self, process: Running) -> bool:
        return all(name in self.pages for name in freed(process.op)) if process.op is not None else True

    def _cpu_is_free(self, process: Running) -> bool:
        if process.index >= self.nr_carried:
            return self._may_migrate(process)
        interrupts = self.interrupts[process.cpu]
        if not process.started:
            return self._may_interrupt(process, interrupts)
        if process.handler:
            return interrupts[-1] is process
        if interrupts:
            return False
        return all(
            other is process or other.handler or other.cpu != process.cpu or not other.alive or other.preemptible()
            for other in self.processes[: self.nr_carried]
        )

    def _may_interrupt(self, handler: Running, interrupts: list[Running]) -> bool:
        if not self.alive:
            return False
        hardirq = handler.context is Context.HARDIRQ
        if interrupts and (not hardirq or interrupts[-1].context is Context.HARDIRQ or interrupts[-1].irqs_off):
            return False
        return not any(
            task.irqs_off for task in self.processes[: self.nr_carried] if not task.handler and task.cpu == handler.cpu
        )

    def _may_migrate(self, process: Running) -> bool:
        task = self._tasks_by_name[str(self.migration_of[process.index].task)]
        target = self.migration_of[process.index].to
        return (
            task.alive
            and task.cpu != target
            and task.preemptible()
            and not self.interrupts[task.cpu]
            and target not in self.gone
        )

    def _can_go(self, process: Running) -> bool:
        """Whether nothing on the CPU that goes offline keeps it."""
        assert isinstance(process.op, Offline)
        cpu = process.op.cpu
        if self.interrupts[cpu]:
            return False
        return all(
            other.preemptible() for other in self.processes[: self.nr_carried] if other.alive and other.cpu == cpu
        )

    def evacuate(self, cpu: int, to: int) -> None:
        """A CPU is gone: what ran there, or was to interrupt it, goes on elsewhere."""
        self.gone.add(cpu)
        for process in self.processes[: self.nr_carried]:
            if process.cpu == cpu:
                process.cpu = to

    # --- accesses ------------------------------------------------------------------------------

    def load(self, oid: int, lock: PointSpinlock | None) -> None:
        """A load of a racy object; no point while the lock that its stores need is held."""
        running = self.running
        if lock is None or lock.holder is not running:
            self.users[oid] |= running.bit
            if self.visible[oid]:
                self.point(running, LOAD, oid)
            self.last_load = oid

    def load_own(self, oid: int) -> None:
        """A load of what only this CPU touches: a point where an interrupt may come between."""
        running = self.running
        self.users[oid] |= running.bit
        if self.visible[oid] and not (running.irqs_off or running.context is Context.HARDIRQ):
            self.point(running, LOAD, oid)
        self.last_load = oid

    def store_own(self, oid: int) -> None:
        """A store to it; one step with the load right before it: this_cpu_xchg()."""
        running = self.running
        self.users[oid] |= running.bit
        self.writers[oid] |= running.bit
        if self.visible[oid] and self.last_load != oid and not (running.irqs_off or running.context is Context.HARDIRQ):
            self.point(running, STORE, oid)
        self.last_load = -1

    def load_cpu_number(self) -> None:
        """smp_processor_id(): a point where the task may be moved."""
        running = self.running
        oid = self.cpu_number.get(running.index)
        if oid is not None and running.bit and not running.preempt_off and not running.handler:
            self.users[oid] |= running.bit
            if self.visible[oid]:
                self.point(running, LOAD, oid)

    def load_unlocked(self, oid: int, lock: PointSpinlock, field: str) -> None:
        """A load that is under a lock nearly always: only one without it matters."""
        running = self.running
        if lock.holder is running or not running.bit:
            return
        self.users[oid] |= running.bit
        if field not in self.watch:
            self.missing.add(field)
        if self.visible[oid]:
            self.point(running, LOAD, oid)

    def store(self, oid: int) -> None:
        """A store, or an atomic operation."""
        running = self.running
        self.users[oid] |= running.bit
        self.writers[oid] |= running.bit
        if self.unwatched[oid]:
            self._stored(oid)
        if self.visible[oid]:
            self.point(running, STORE, oid)
        running.acted = True
        self.last_load = -1

    def store_held(self, oid: int, lock: PointSpinlock) -> None:
        """A store to what may be loaded without the lock: two stores are ordered by it."""
        running = self.running
        if lock.holder is not running:
            self._guard_violation(lock, self.objects.names[oid])
        self.writers[oid] |= running.bit
        if self.unwatched[oid]:
            self._stored(oid)
        if self.visible[oid]:
            self.point(running, STORE, oid)
        self.last_load = -1

    def read_modify_write(self, oid: int) -> None:
        """A store to an atomic object: one step with the load before it, if that was of the same object."""
        running = self.running
        self.users[oid] |= running.bit
        self.writers[oid] |= running.bit
        if self.unwatched[oid]:
            self._stored(oid)
        if self.visible[oid]:
            if self.last_load == oid and self.ev_oid and self.ev_oid[-1] == oid:
                self.ev_kind[-1] = STORE
            else:
                self.point(running, STORE, oid)
        self.last_load = -1

    def _stored(self, oid: int) -> None:
        """A store to a field whose loads do not report: they should."""
        self.missing.add(self.field_of[oid])

    def check_held(self, lock: Any, what: str) -> None:
        """The guard check.  Errors: GuardViolation if the running process does not hold the lock."""
        if lock.holder is not self.running and self.running.bit:
            self._guard_violation(lock, what)

    def _guard_violation(self, lock: PointSpinlock, what: str) -> None:
        raise GuardViolation(
            f"guard: {self.running.where()} touches {what} without {lock.label}", lock=lock.name, field=what
        )

    # --- locks ---------------------------------------------------------------------------------

    def unlocked(self, running: Running, lock: PointSpinlock) -> None:
        """A lock was given back: what it guards can be checked."""
        if self.fresh:
            self.invariants.touched(lock)
        if lock.name == PCP_LOCK and running.owner_read is not None and self._on_pcp_list(running):
            self.owner_used()

    def _on_pcp_list(self, running: Running) -> bool:
        """As is_listed(), on a per-CPU list: a flush may have sent it on to the zone, and disowned its block."""
        states = [self.kernel.mem_map[pfn] for pfn in self._pfns_freed(running)]
        return any(state & PG_PCP and not state & PG_BUDDY for state in states)

    def is_listed(self, running: Running) -> bool:
        """Whether a page that the running process frees, of the block whose owner it read last, is on a list now."""
        return any(self.kernel.mem_map[pfn] != PG_NONE for pfn in self._pfns_freed(running))

    def _pfns_freed(self, running: Running) -> list[int]:
        """Of the pages that the running process frees, those of the block whose owner it read last."""
        if running.op is None or running.owner_read is None:
            return []
        pfns = [self.pages[name][0] for name in freed(running.op) if name in self.pages]
        order = self.kernel.pageblock_order
        return [pfn for pfn in pfns if pfn is not None and pfn >> order == running.owner_read[0]]

    def owner_used(self) -> None:
        """The page went where the owner that was read says: has it changed since?"""
        running = self.running
        if running.owner_read is not None:
            block, tag = running.owner_read
            if self.owner_of(block) != tag:
                running.stale = block

    def owner_of(self, block: int) -> int:
        """The owner of a pageblock as it is, past the column that reports."""
        return int(array.__getitem__(self.kernel.pageblock_cpu, block))

    # --- what was read, for keys ---------------------------------------------------------------

    def saw(self, value: Any) -> Any:
        """The running process read a value."""
        if self.recording:
            self.note(value, LOAD)
        if self.keep_keys:
            running = self.running
            running.reads = hash((running.reads, value))
        return value

    def saw_int(self, value: int) -> int:
        """The running process read a number."""
        self.saw(value)
        return value

    # --- for the checks ------------------------------------------------------------------------

    def under_way(self) -> list[Running]:
        """The processes that are inside an operation."""
        return [p for p in self.processes[: self.nr_carried] if p.alive and p.started and p.op is not None]

    def busy(self) -> bool:
        """Whether an operation has passed a point and not ended."""
        return any(p.op_points > 1 for p in self.under_way())

    # --- the end -------------------------------------------------------------------------------

    def _at_the_end(self) -> Finding | None:
        if self.alive:
            return explain_deadlock(self)
        return self.invariants.at_the_end() or self.history.check(self)
