# SPDX-License-Identifier: GPL-2.0-only
"""A search: engine and strategy, run after run, until a fault, the end, or a budget.

The objects that matter are found on the way (docs/interleaver.md): a search that finds another one begins again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

from pageblock_buddy.errors import InputError
from pageblock_buddy.interleave.carriers import get_carrier
from pageblock_buddy.interleave.engine import CHOICE, Engine
from pageblock_buddy.interleave.findings import Finding
from pageblock_buddy.interleave.program import Program
from pageblock_buddy.interleave.state import Key
from pageblock_buddy.interleave.strategies.reduced import Reduced
from pageblock_buddy.interleave.strategies.seeded import Pct, Pos, RandomWalk
from pageblock_buddy.interleave.strategies.simple import DepthFirst, RoundRobin
from pageblock_buddy.interleave.strategies.unit import WHOLE, Unit
from pageblock_buddy.interleave.watchdog import watched

EXHAUSTED: Final = "exhausted"
INCOMPLETE: Final = "incomplete"
FAULT: Final = "fault"
#: Said in every result.
ASSUMPTION: Final = "sequential consistency is assumed"
MAX_BOUND: Final = 64
#: Random schedules of the guard check before a search.
_LOOKS_AROUND: Final = 6


class Searching(Protocol):
    """A strategy that also knows which schedule comes next."""

    exhaustive: bool
    redundant: int

    @property
    def prefix(self) -> list[int]:
        """Choices that are known before the run."""

    def choose(self, engine: Engine, enabled: int) -> int:
        """Who goes on."""

    def next(self, engine: Engine) -> bool:
        """After a run: whether there is another one to do."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Where a search stops: schedules, seconds, states.  None: nowhere."""

    schedules: int | None = None
    seconds: float | None = None
    states: int | None = None


@dataclass(slots=True)
class Result:
    """What a search found.

    ``schedules`` were run to their end in the last pass; ``redundant`` were cut short, since what was left had been
    run; ``passes`` counts how often it began again.  ``injections`` are starts of handlers at a point.  ``findings``
    has the fault that ended the search first, then what lockdep saw.
    """

    program: str
    variant: str
    strategy: str
    verdict: str = INCOMPLETE
    reason: str = ""
    schedules: int = 0
    redundant: int = 0
    points: int = 0
    injections: int = 0
    passes: int = 1
    executions: int = 0
    bound: int | None = None
    findings: list[Finding] = field(default_factory=list)
    #: the processes of the faulty run, step by step, and which objects were choices in it
    path: list[int] | None = None
    shared: list[str] = field(default_factory=list)
    outcomes: dict[Key, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON types, without outcomes."""
        return {
            "program": self.program,
            "variant": self.variant,
            "strategy": self.strategy,
            "verdict": self.verdict,
            "reason": self.reason,
            "assumes": ASSUMPTION,
            "schedules": self.schedules,
            "redundant": self.redundant,
            "points": self.points,
            "injections": self.injections,
            "passes": self.passes,
            "executions": self.executions,
            "bound": self.bound,
            "outcomes": len(self.outcomes),
            "shared": self.shared,
            "findings": [finding.to_dict() for finding in self.findings],
        }


STRATEGIES: Final = ("reduced", "bounded", "dfs", "random", "pct", "pos", "round-robin")
#: These run out of schedules; the others never say "exhausted".
EXHAUSTIVE: Final = ("reduced", "bounded", "dfs")


def make_strategy(name: str, engine: Engine, *, seed: int, bound: int, first: int = 0, unit: Unit = WHOLE) -> Searching:
    """A fresh strategy.  Errors: InputError for an unknown name."""
    match name:
        case "reduced":
            return Reduced(engine, unit)
        case "dfs":
            return DepthFirst(engine, unit=unit)
        case "bounded":
            return DepthFirst(engine, bound)
        case "random":
            return RandomWalk(engine, seed, first)
        case "pct":
            return Pct(engine, seed, first)
        case "pos":
            return Pos(engine, seed, first)
        case "round-robin":
            return RoundRobin(engine)
    raise InputError(f"no strategy {name!r}; there are: {', '.join(STRATEGIES)}")


class Known(NamedTuple):
    """Which fields' loads report, and which objects are choices."""

    watch: frozenset[str]
    shared: frozenset[int]


class Search:
    """One search of one program on one variant.  Use as a context manager: it has a carrier."""

    def __init__(
        self,
        program: Program,
        variant: str,
        *,
        strategy: str = "reduced",
        carrier: str = "threads",
        seed: int = 1,
        budget: Budget | None = None,
        invariants: str = "points",
        guards: bool = False,
        stop_at_fault: bool = True,
        unit: Unit = WHOLE,
        first: int = 0,
        known: Known | None = None,
        progress: Callable[[Search], None] | None = None,
    ) -> None:
        if strategy not in STRATEGIES:
            raise InputError(f"no strategy {strategy!r}; there are: {', '.join(STRATEGIES)}")
        self.program = program
        self.variant = variant
        self.strategy = strategy
        self.seed = seed
        self.budget = budget or Budget()
        self.invariants = invariants
        self.guards = guards
        self.stop_at_fault = stop_at_fault
        self.unit = unit
        self.first = first
        self.progress = progress
        self.carrier = get_carrier(carrier)
        self.result = Result(program.name, variant, strategy)
        self._watch = frozenset[str]() if known is None else known.watch
        self._visible = frozenset[int]() if known is None else known.shared
        self.engine = self._new_engine()
        self._started = monotonic()
        #: the CPU of this machine to run on; None: any one
        self.cpu: int | None = None

    def __enter__(self) -> Search:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the carrier."""
        self.carrier.close()

    def _new_engine(self) -> Engine:
        engine = Engine(
            self.program,
            self.variant,
            self.carrier,
            watch=self._watch,
            guards=self.guards,
            invariants=self.invariants,
        )
        for oid in self._visible:
            engine.visible[oid] = CHOICE
        return engine

    @property
    def known(self) -> Known:
        """What the search has found out: for others that begin where this one is."""
        return Known(self._watch, self._visible)

    @property
    def shared(self) -> frozenset[int]:
        """The objects that were choices in the last pass."""
        return self._visible

    # --- the search ----------------------------------------------------------------------------

    def run(self) -> Result:
        """Search until a fault, the end, or a budget."""
        result = self.result
        bound = 0
        strategy: Searching | None = None
        with pinned(self.cpu), watched(lambda: self.engine):
            ended: str | None = self._look_around()
            while ended is None or ended == EXHAUSTED:
                result.bound = bound if self.strategy == "bounded" else None
                strategy = make_strategy(
                    self.strategy, self.engine, seed=self.seed, bound=bound, first=self.first, unit=self.unit
                )
                ended = self._pass(strategy)
                if ended is None:
                    result.passes += 1
                    continue
                if ended == EXHAUSTED and isinstance(strategy, DepthFirst) and strategy.cut and bound < MAX_BOUND:
                    bound += 1
                    continue
                break
        assert ended is not None
        result.verdict = ended
        if ended == EXHAUSTED and isinstance(strategy, DepthFirst) and strategy.cut:
            result.verdict, result.reason = INCOMPLETE, f"more than {MAX_BOUND} preemptions were not tried"
        result.findings += [f for f in self.engine.lockdep.findings.values() if f not in result.findings]
        if result.findings:
            result.verdict = FAULT
        result.shared = [self.engine.objects.names[oid] for oid in sorted(self._visible)]
        return result

    def _look_around(self) -> str | None:
        """Some schedules with every field reporting: the guard check, and a first look at which objects matter.

        Of what is found there a broken guard counts, and a livelock, which one does not want to wait for again; the
        rest is for the search.  FAULT, or None: go on.
        """
        if self.unit.choices or self._visible or self.first:
            return None
        engine = Engine(self.program, self.variant, self.carrier, guards=True, invariants="never")
        before, self.engine = self.engine, engine
        engine.visible[:] = bytes([CHOICE]) * len(engine.visible)
        strategies: list[Searching] = [RoundRobin(engine)]
        strategies += [RandomWalk(engine, seed) for seed in range(_LOOKS_AROUND)]
        for strategy in strategies:
            finding = engine.run(strategy)
            self.result.executions += 1
            if finding is not None and finding.code in ("guard", "livelock"):
                self.result.findings.append(finding)
                self.result.path = list(engine.ev_process)
                self._visible = frozenset(range(len(engine.visible)))
                return FAULT
        if self.strategy in EXHAUSTIVE:
            self._visible = shared_objects(engine)
            self._watch = frozenset(name for name in engine.missing)
            self.engine = self._new_engine()
        else:
            self.engine = before
        return None

    def _pass(self, strategy: Searching) -> str | None:
        """Run schedules.  Returns the verdict, or None: begin again, another object matters."""
        result, engine = self.result, self.engine
        result.schedules = result.redundant = result.points = result.injections = 0
        result.outcomes = {}
        while True:
            reason = self._out_of_budget()
            if reason:
                result.reason = reason
                return INCOMPLETE
            finding = engine.run(strategy)
            result.executions += 1
            result.points += len(engine.ev_process)
            result.injections += engine.injections
            if engine.given_up:
                result.redundant += 1
            else:
                result.schedules += 1
                key = engine.keys.outcome() if finding is None else ("finding", finding.kind)
                result.outcomes[key] = result.outcomes.get(key, 0) + 1
            if finding is not None:
                if all(finding.kind != known.kind for known in result.findings):
                    result.findings.append(finding)
                if result.path is None:
                    result.path = list(engine.ev_process)
                if self.stop_at_fault and not self.engine.missing - self._watch:
                    return FAULT
            if self.progress is not None:
                self.progress(self)
            if self._grown():
                if self.unit.choices:
                    # The unit's choices are of the old objects: whoever cut it has to cut anew.
                    result.reason = "another object matters"
                    return INCOMPLETE
                return None
            if not strategy.next(engine):
                if strategy.exhaustive:
                    return EXHAUSTED
                result.reason = f"{self.strategy} cannot exhaust"
                return INCOMPLETE

    def _out_of_budget(self) -> str:
        budget, result = self.budget, self.result
        if budget.schedules is not None and result.schedules >= budget.schedules:
            return f"stopped after {result.schedules} schedules"
        if budget.seconds is not None and monotonic() - self._started >= budget.seconds:
            return f"stopped after {budget.seconds:g} s"
        if budget.states is not None and len(result.outcomes) >= budget.states:
            return f"stopped with {len(result.outcomes)} outcomes in memory"
        return ""

    def _grown(self) -> bool:
        """Whether another object turned out to matter; then the next engine has it."""
        engine = self.engine
        shared = shared_objects(engine)
        missing = {name for name in engine.missing if name not in self._watch}
        if shared <= self._visible and not missing:
            return False
        lockdep = engine.lockdep
        self._visible |= shared
        if self.strategy in EXHAUSTIVE or missing:
            self._watch |= missing
            self.engine = self._new_engine()
            self.engine.lockdep = lockdep
            return True
        for oid in self._visible:
            engine.visible[oid] = CHOICE
        return False


def shared_objects(engine: Engine) -> frozenset[int]:
    """Objects that two processes used and one of them wrote; a lock is written by taking it.

    Stores that a lock orders count as written, not as used: with those alone nothing is shared.
    """
    locks = engine.objects.locks
    found = []
    for oid, users in enumerate(engine.users):
        writers = users if oid in locks else engine.writers[oid]
        both = users | writers
        if users and writers and both & (both - 1):
            found.append(oid)
    return frozenset(found)


@contextmanager
def pinned(cpu: int | None = None) -> Iterator[None]:
    """One CPU of this machine, where that can be said: threads that hand over a baton are twice as fast there."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before) if cpu is None else cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
