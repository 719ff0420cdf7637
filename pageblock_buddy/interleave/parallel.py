# SPDX-License-Identifier: GPL-2.0-only
"""Long searches: cut into units, on all cores or on a Dask cluster, with a journal.

The first choices are branched in full, until there are enough units; each is then searched by itself.  What is
searched, and what is counted, does not depend on who does it or when.  If a unit finds that another object matters, all
units begin again with it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from time import monotonic
from typing import Any, Final

from pageblock_buddy.errors import InputError, MissingExtra
from pageblock_buddy.interleave.checks.lockdep import Lockdep
from pageblock_buddy.interleave.findings import Finding
from pageblock_buddy.interleave.journal import Journal
from pageblock_buddy.interleave.program import Program
from pageblock_buddy.interleave.search import (
    EXHAUSTED,
    EXHAUSTIVE,
    FAULT,
    INCOMPLETE,
    Budget,
    Known,
    Result,
    Search,
)
from pageblock_buddy.interleave.state import Key
from pageblock_buddy.interleave.strategies.unit import WHOLE, Unit

#: So many units at least, where the program has as many beginnings.
UNITS: Final = 64
#: Schedules of a unit of random, pct and pos.
SEEDED_UNIT: Final = 500
#: Processes of one machine; units that a Dask cluster gets at once, twice.
MAX_WORKERS: Final = 512
DASK_UNITS: Final = 16
#: Strategies that can be cut.
PARALLEL: Final = ("reduced", "dfs", "random", "pct", "pos")
#: Runs before the units are made, to find out which objects matter.
_WARM_UP: Final = 50

Json = dict[str, Any]
#: The CPU that this process searches on.
_own_cpu: int | None = None


def outcome_digest(key: Key) -> str:
    """An outcome in a form that travels between processes."""
    return hashlib.sha256(repr(key).encode()).hexdigest()[:32]


# --- in a worker -------------------------------------------------------------------------------


def run_unit(job: Json) -> Json:
    """Search one unit.  Takes and returns JSON types: the same for a process, a cluster and the journal."""
    program = Program.from_dict(job["program"])
    unit = Unit(tuple(job["choices"]), tuple(job["done"]))
    known = Known(frozenset(job["watch"]), frozenset(job["shared"]))
    budget = Budget(job["schedules"], job["seconds"])
    with Search(
        program,
        job["variant"],
        strategy=job["strategy"],
        carrier=job["carrier"],
        seed=job["seed"],
        budget=budget,
        invariants=job["invariants"],
        guards=job["guards"],
        unit=unit,
        first=job["first"],
        known=known,
    ) as search:
        search.cpu = _own_cpu
        result = search.run()
        grown = search.known != known
        lockdep = search.engine.lockdep.to_dict()
    return {
        "unit": job["unit"],
        "verdict": result.verdict,
        "reason": result.reason,
        "schedules": result.schedules,
        "redundant": result.redundant,
        "points": result.points,
        "injections": result.injections,
        "executions": result.executions,
        "outcomes": sorted(outcome_digest(key) for key in result.outcomes),
        "findings": [finding.to_dict() for finding in result.findings],
        "path": result.path,
        "lockdep": lockdep,
        "grown": grown,
        "watch": sorted(search.known.watch),
        "shared": sorted(search.known.shared),
    }


def _take_a_cpu(counter: Synchronized[int]) -> None:
    """Each worker process gets a CPU of its own while it searches, where the system has that."""
    global _own_cpu
    if not hasattr(os, "sched_getaffinity"):
        return
    with counter.get_lock():
        number = counter.value
        counter.value += 1
    cpus = sorted(os.sched_getaffinity(0))
    _own_cpu = cpus[number % len(cpus)]


# --- executors ---------------------------------------------------------------------------------


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """Worker processes of this machine."""
    context = get_context("spawn")
    counter = context.Value("i", 0)
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_take_a_cpu, initargs=(counter,))
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def dask_cluster(address: str) -> Iterator[Executor]:
    """A Dask cluster by its scheduler's address.  Errors: MissingExtra, InputError if nobody answers."""
    try:
        from distributed import Client
    except ImportError:
        raise MissingExtra("dask", "a Dask cluster") from None
    try:
        client: Any = _client(Client, address)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(f"dask: {address}: no scheduler answers there ({type(error).__name__})") from None
    try:
        yield client.get_executor(pure=False)
    finally:
        client.close()


def _client(make: Any, address: str) -> Any:
    """A client: distributed has no types of its own for this."""
    return make(address, timeout=10, set_as_default=False)


# --- the master --------------------------------------------------------------------------------


@dataclass(slots=True)
class Options:
    """What all units of a search have in common."""

    program: Program
    variant: str
    strategy: str = "reduced"
    carrier: str = "threads"
    seed: int = 1
    invariants: str = "points"
    guards: bool = False
    budget: Budget = field(default_factory=Budget)

    def to_dict(self) -> Json:
        """What makes two searches the same one, for the journal.  Budgets may differ from one sitting to the next."""
        return {
            "program": json.loads(self.program.to_json()),
            "variant": self.variant,
            "strategy": self.strategy,
            "seed": self.seed,
            "invariants": self.invariants,
            "guards": self.guards,
            "code": code_digest(),
        }


def code_digest() -> str:
    """SHA-256 of the package's sources: units that other code searched say nothing about this one."""
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parents[1]
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


@dataclass(slots=True)
class Total:
    """The units that are done, added up."""

    result: Result
    digests: dict[str, None] = field(default_factory=dict)
    done: dict[int, None] = field(default_factory=dict)
    lockdep: Lockdep = field(default_factory=Lockdep)

    def add(self, found: Json) -> None:
        """Add a unit, once."""
        if found["unit"] in self.done:
            return
        self.done[found["unit"]] = None
        result = self.result
        for name in ("schedules", "redundant", "points", "injections", "executions"):
            setattr(result, name, getattr(result, name) + found[name])
        self.digests.update(dict.fromkeys(found["outcomes"]))
        for data in found["findings"]:
            finding = Finding(data["code"], data["message"], data["process"], data["detail"], tuple(data["lines"]))
            if all(finding.kind != known.kind for known in result.findings):
                result.findings.append(finding)
        self.lockdep.merge(found["lockdep"])
        for finding in self.lockdep.findings.values():
            if all(finding.kind != known.kind for known in result.findings):
                result.findings.append(finding)
        if result.path is None:
            result.path = found["path"]


class ParallelSearch:
    """A search by units on an executor."""

    def __init__(
        self,
        options: Options,
        executor: Executor,
        *,
        parallel: int,
        journal: Journal | None = None,
        progress: Callable[[Total, int], None] | None = None,
    ) -> None:
        if options.strategy not in PARALLEL:
            raise InputError(f"{options.strategy} cannot be cut into units; these can: {', '.join(PARALLEL)}")
        self._options = options
        self._executor = executor
        self._parallel = parallel
        self._journal = journal
        self._progress = progress
        self._started = monotonic()
        self.known = Known(frozenset(), frozenset())
        self.digests: list[str] = []

    def run(self) -> Result:
        """Search until a fault, the end, or a budget."""
        passes = 1
        pass_record = None if self._journal is None else self._journal.last_pass()
        if pass_record is not None:
            passes = pass_record["pass"]
            self.known = Known(frozenset(pass_record["watch"]), frozenset(pass_record["shared"]))
        fault = self._warm_up(pass_record is None)
        if fault is not None:
            return fault
        while True:
            total = Total(Result(self._options.program.name, self._options.variant, self._options.strategy))
            total.result.passes = passes
            if self._journal is not None:
                self._journal.begin_pass(passes, sorted(self.known.watch), sorted(self.known.shared))
                for found in self._journal.units_of_pass(passes):
                    total.add(found)
            grown = self._pass(total)
            if not grown:
                self.digests = sorted(total.digests)
                total.result.outcomes = {(digest,): 1 for digest in self.digests}
                return total.result
            self.known = grown
            passes += 1

    def _warm_up(self, learn: bool) -> Result | None:
        """A few schedules here: which objects matter, if that is not known; and the guard check.  Returns a fault."""
        options = self._options
        with Search(
            options.program,
            options.variant,
            strategy="reduced" if options.strategy in EXHAUSTIVE else options.strategy,
            carrier=options.carrier,
            seed=options.seed,
            budget=Budget(schedules=_WARM_UP),
            invariants="never",
            stop_at_fault=False,
        ) as search:
            result = search.run()
            if learn or any(finding.code == "guard" for finding in result.findings):
                self.known = search.known
        if any(finding.code in ("guard", "livelock") for finding in result.findings):
            return result
        return None

    def _pass(self, total: Total) -> Known | None:
        """Search all units.  None: done, or stopped; else what they found out, to begin again with."""
        jobs = self._jobs(total)
        running: dict[Future[Json], None] = {}
        watch, shared = self.known
        stopped = ""
        exhausted = True
        while True:
            while not stopped and len(running) < 2 * self._parallel:
                stopped = self._out_of_budget(total)
                job = None if stopped else next(jobs, None)
                if job is None:
                    break
                running[self._executor.submit(run_unit, job)] = None
            if not running:
                break
            for future in list(wait(list(running), return_when=FIRST_COMPLETED).done):
                del running[future]
                found = future.result()
                if found["grown"]:
                    watch, shared = watch | set(found["watch"]), shared | set(found["shared"])
                    if self._options.strategy in EXHAUSTIVE:
                        stopped = "begins again"
                if found["verdict"] == INCOMPLETE and self._options.strategy in EXHAUSTIVE:
                    # Not done: it will be searched again, from its beginning, when the search goes on.
                    exhausted, stopped = False, stopped or found["reason"]
                    continue
                total.add(found)
                if self._journal is not None:
                    self._journal.end_unit(total.result.passes, found)
                if found["verdict"] == FAULT:
                    stopped = "fault"
                if self._progress is not None:
                    self._progress(total, self._units)
        result = total.result
        if result.findings:
            result.verdict = FAULT
        elif stopped == "begins again":
            return Known(frozenset(watch), frozenset(shared))
        elif stopped or not exhausted or self._options.strategy not in EXHAUSTIVE:
            result.verdict = INCOMPLETE
            result.reason = stopped or f"{self._options.strategy} cannot exhaust"
        else:
            result.verdict = EXHAUSTED
        return None

    def _out_of_budget(self, total: Total) -> str:
        budget = self._options.budget
        if total.result.findings:
            return "fault"
        if budget.schedules is not None and total.result.schedules >= budget.schedules:
            return f"stopped after {total.result.schedules} schedules"
        if budget.seconds is not None and monotonic() - self._started >= budget.seconds:
            return f"stopped after {budget.seconds:g} s"
        if budget.states is not None and len(total.digests) >= budget.states:
            return f"stopped with {len(total.digests)} outcomes in memory"
        return ""

    # --- units ---------------------------------------------------------------------------------

    def _jobs(self, total: Total) -> Iterator[Json]:
        """What is still to be done, in order."""
        if self._options.strategy in EXHAUSTIVE:
            units = split(self._options, self.known, UNITS)
            self._units = len(units)
            for number, unit in enumerate(units):
                if number not in total.done:
                    yield self._job(number, unit)
            return
        self._units = 0
        number = 0
        while True:
            if number not in total.done:
                yield self._job(number, WHOLE)
            number += 1

    def _job(self, number: int, unit: Unit) -> Json:
        options = self._options
        seeded = options.strategy not in EXHAUSTIVE
        seconds = options.budget.seconds
        return {
            **options.to_dict(),
            "carrier": options.carrier,
            "unit": number,
            "choices": list(unit.choices),
            "done": list(unit.done),
            "first": number * SEEDED_UNIT if seeded else 0,
            "schedules": SEEDED_UNIT if seeded else options.budget.schedules,
            "seconds": None if seconds is None else max(0.1, seconds - (monotonic() - self._started)),
            "watch": sorted(self.known.watch),
            "shared": sorted(self.known.shared),
        }


def split(options: Options, known: Known, at_least: int) -> list[Unit]:
    """Cut a search: branch at the first choices in full, the shortest beginning first, until there are enough."""
    units = [WHOLE]
    ended: list[Unit] = []
    with Search(options.program, options.variant, carrier=options.carrier, invariants="never", known=known) as search:
        engine = search.engine
        while units and len(units) + len(ended) < at_least:
            unit = units.pop(0)
            probe = _Probe(unit)
            engine.run(probe)
            if not probe.enabled:
                ended.append(unit)
                continue
            done = 0
            for process in range(len(engine.processes)):
                if probe.enabled >> process & 1:
                    units.append(Unit((*unit.choices, process), (*unit.done, done)))
                    done |= 1 << process
    return ended + units


class _Probe:
    """Goes along a unit's choices and stops behind them: who could go on there?"""

    def __init__(self, unit: Unit) -> None:
        self.prefix = list(unit.choices)
        self.enabled = 0

    def choose(self, engine: object, enabled: int) -> int:
        """Remember, and give up."""
        self.enabled = enabled
        return -1
