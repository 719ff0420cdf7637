# SPDX-License-Identifier: GPL-2.0-only
"""Making a counterexample short: fewer operations, then fewer CPUs, then fewer preemptions, then a smaller zone.

A smaller program counts if some schedule of it has the same kind of finding; each candidate is searched anew, so a
fault may need another schedule there.  Candidates come in a fixed order and the number of runs is bounded: the same
input gives the same result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from pageblock_buddy.errors import ConfigError, InputError
from pageblock_buddy.interleave.findings import Finding
from pageblock_buddy.interleave.program import (
    Drain,
    Free,
    FreeBulk,
    Hold,
    Migration,
    Offline,
    Online,
    Op,
    Program,
    SetUp,
    allocated,
    walk,
)
from pageblock_buddy.interleave.record import Recorded, record_path
from pageblock_buddy.interleave.search import Budget, Result, Search
from pageblock_buddy.machine.cpu import Context

#: Runs for one candidate, and in all.
MAX_PER_CANDIDATE: Final = 2_000
MAX_RUNS: Final = 50_000


@dataclass(slots=True)
class Shrunk:
    """The result: the program, a run of it with the finding, and what it took.

    ``finished`` is False if the bound on runs was hit: there may be something smaller.
    """

    program: Program
    recorded: Recorded | None
    finding: Finding
    runs: int
    finished: bool


class Shrinker:
    """Shrinks one finding of one program on one variant."""

    def __init__(self, program: Program, variant: str, finding: Finding, *, carrier: str = "threads") -> None:
        self._variant = variant
        self._finding = finding
        self._carrier = carrier
        self._runs = 0
        self._best = program
        self._tried: set[str] = set()

    def run(self) -> Shrunk:
        """Shrink.  Errors: InputError if the program does not have the finding at all."""
        first = self._search(self._best, MAX_RUNS)
        if first is None:
            raise InputError(f"shrink: {self._best.name} on {self._variant} has no finding {self._finding.kind!r}")
        for smaller in (_fewer_operations, _fewer_cpus, _smaller_zone):
            while self._step(smaller(self._best)):
                pass
        recorded, finding = self._fewest_preemptions()
        return Shrunk(self._best, recorded, finding, self._runs, self._runs < MAX_RUNS)

    def _step(self, candidates: Iterator[Program]) -> bool:
        for candidate in candidates:
            if self._runs >= MAX_RUNS:
                return False
            key = candidate.to_json()
            if key in self._tried:
                continue
            self._tried.add(key)
            if self._search(candidate) is not None:
                self._best = candidate
                return True
        return False

    def _search(self, program: Program, most: int = MAX_PER_CANDIDATE) -> Result | None:
        """The result of a search that met the finding, or None."""
        # Few preemptions are enough for most faults; the reduced search is for the others, and for being done.
        for strategy, schedules in (("bounded", MAX_PER_CANDIDATE // 8), ("reduced", most)):
            try:
                with self._open(program, strategy, schedules) as search:
                    result = search.run()
            except (InputError, ConfigError):
                return None
            self._runs += result.executions
            if any(f.kind == self._finding.kind for f in result.findings):
                return result
        return None

    def _open(self, program: Program, strategy: str, schedules: int) -> Search:
        return Search(
            program,
            self._variant,
            strategy=strategy,
            carrier=self._carrier,
            budget=Budget(schedules=schedules),
            guards=self._finding.code == "guard",
        )

    def _fewest_preemptions(self) -> tuple[Recorded | None, Finding]:
        """A run with the finding and as few preemptions as possible."""
        for strategy in ("bounded", "reduced"):
            with self._open(self._best, strategy, MAX_PER_CANDIDATE) as search:
                result = search.run()
                self._runs += result.executions
                finding = next((f for f in result.findings if f.kind == self._finding.kind), None)
                if finding is not None:
                    if result.path is None:
                        return None, finding
                    return (
                        record_path(self._best, self._variant, search.carrier, result.path, search.shared),
                        finding,
                    )
        raise AssertionError("the finding was there")


def shrink(program: Program, variant: str, finding: Finding, *, carrier: str = "threads") -> Shrunk:
    """Make the program of a finding as small as can be.  Errors: InputError if it does not have the finding."""
    return Shrinker(program, variant, finding, carrier=carrier).run()


# --- fewer operations --------------------------------------------------------------------------


def _fewer_operations(program: Program) -> Iterator[Program]:
    """Programs with something left out: the largest parts first."""
    for process in program.processes():
        if len(program.processes()) > 1:
            yield from _valid(program, {process.name: ()})
    for index in range(len(program.migrations)):
        left = program.migrations[:index] + program.migrations[index + 1 :]
        yield replace(program, migrations=left)
    for process in program.processes():
        for ops in _without_one(process.ops):
            yield from _valid(program, {process.name: ops})
    yield from _shorter_setups(program)


def _without_one(ops: tuple[Op, ...]) -> Iterator[tuple[Op, ...]]:
    """Operations with one left out, or the lock around some."""
    for index in range(len(ops) - 1, -1, -1):
        op = ops[index]
        yield ops[:index] + ops[index + 1 :]
        if isinstance(op, Hold):
            yield ops[:index] + op.ops + ops[index + 1 :]
            for inner in _without_one(op.ops):
                yield (*ops[:index], op._replace(ops=inner), *ops[index + 1 :])


def _shorter_setups(program: Program) -> Iterator[Program]:
    setup = program.setup
    size = len(setup)
    while size:
        for start in range(0, len(setup), size):
            yield from _valid(program, {}, setup[:start] + setup[start + size :])
        size //= 2


def _valid(
    program: Program, changed: dict[str, tuple[Op, ...]], setup: tuple[SetUp, ...] | None = None
) -> Iterator[Program]:
    """The program with these changes, and without the frees of pages that are no longer allocated; if it is one."""
    setup = program.setup if setup is None else setup
    ops = {process.name: changed.get(process.name, process.ops) for process in program.processes()}
    made = {name for entry in setup for name in allocated(entry.op)}
    made |= {name for each in ops.values() for op in walk(each) for name in allocated(op)}
    kept = tuple(SetUp(on, op) for on, old in setup for op in _without_frees((old,), made))
    left = {name: _without_frees(each, made) for name, each in ops.items()}
    tasks = tuple(left.get(str(cpu), ()) for cpu in range(program.config.nr_cpus))
    handlers = [(process.context, process.cpu, left[process.name]) for process in program.processes()]
    try:
        yield replace(
            program,
            setup=kept,
            tasks=tasks,
            softirqs=tuple((cpu, each) for context, cpu, each in handlers if context is Context.SOFTIRQ and each),
            hardirqs=tuple((cpu, each) for context, cpu, each in handlers if context is Context.HARDIRQ and each),
            migrations=tuple(migration for migration in program.migrations if tasks[migration.task]),
        )
    except InputError:
        return


def _without_frees(ops: tuple[Op, ...], made: set[str]) -> tuple[Op, ...]:
    found: list[Op] = []
    for op in ops:
        match op:
            case Free(page) if page not in made:
                continue
            case FreeBulk(pages):
                left = tuple(page for page in pages if page in made)
                if left:
                    found.append(FreeBulk(left))
            case Hold(lock, inner, irqs_off):
                found.append(Hold(lock, _without_frees(inner, made), irqs_off))
            case _:
                found.append(op)
    return tuple(found)


# --- fewer CPUs --------------------------------------------------------------------------------


def _fewer_cpus(program: Program) -> Iterator[Program]:
    """Without a CPU that runs nothing: those above it move down."""
    for cpu in range(program.config.nr_cpus - 1, -1, -1):
        if program.config.nr_cpus > 1 and not program.tasks[cpu] and cpu not in _cpus_named(program):
            try:
                yield _without_cpu(program, cpu)
            except (InputError, ConfigError):
                continue


def _cpus_named(program: Program) -> set[int]:
    cpus = {entry.on for entry in program.setup} | {cpu for cpu, _ in program.hardirqs + program.softirqs}
    cpus |= {cpu for migration in program.migrations for cpu in migration}
    return cpus | {
        op.cpu for op in program.all_ops() if isinstance(op, Drain | Offline | Online) and op.cpu is not None
    }


def _without_cpu(program: Program, gone: int) -> Program:
    def down(cpu: int) -> int:
        return cpu - 1 if cpu > gone else cpu

    def renamed(op: Op) -> Op:
        match op:
            case Drain(int(cpu)):
                return Drain(down(cpu))
            case Offline(cpu):
                return Offline(down(cpu))
            case Online(cpu):
                return Online(down(cpu))
            case Hold(lock, ops, irqs_off):
                return Hold(lock, tuple(renamed(inner) for inner in ops), irqs_off)
        return op

    def all_renamed(ops: tuple[Op, ...]) -> tuple[Op, ...]:
        return tuple(renamed(op) for op in ops)

    config = program.config
    nodes = config.cpu_node[:gone] + config.cpu_node[gone + 1 :]
    return replace(
        program,
        config=replace(config, nr_cpus=config.nr_cpus - 1, cpu_node=nodes),
        tasks=tuple(all_renamed(ops) for cpu, ops in enumerate(program.tasks) if cpu != gone),
        hardirqs=tuple((down(cpu), all_renamed(ops)) for cpu, ops in program.hardirqs),
        softirqs=tuple((down(cpu), all_renamed(ops)) for cpu, ops in program.softirqs),
        migrations=tuple(Migration(down(task), down(to)) for task, to in program.migrations),
        setup=tuple(SetUp(down(on), renamed(op)) for on, op in program.setup),
    )


# --- a smaller zone ----------------------------------------------------------------------------


def _smaller_zone(program: Program) -> Iterator[Program]:
    """One zone, by pageblocks: half of it, then one pageblock less."""
    config = program.config
    if len(config.zones) != 1:
        return
    zone = config.zones[0]
    block = 1 << config.pageblock_order
    for pages in (zone.spanned_pages // 2, zone.spanned_pages - block):
        if pages < block or pages % block:
            continue
        smaller: dict[str, Any] = {"spanned_pages": pages}
        try:
            yield replace(program, config=replace(config, zones=(replace(zone, **smaller),)))
        except (InputError, ConfigError):
            continue


def operations(program: Program) -> int:
    """How many operations a program has, set-up apart; holding a lock around nothing is one."""
    return sum(
        1 for process in program.processes() for op in walk(process.ops) if not isinstance(op, Hold) or not op.ops
    )
