# SPDX-License-Identifier: GPL-2.0-only
"""One run in full: every point recorded, every field guarded, every invariant checked.

The same for a run that a search has just found, for a schedule from elsewhere, and for each candidate of the shrinker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pageblock_buddy.errors import ReplayDivergence
from pageblock_buddy.interleave.carriers.carrier import Carrier
from pageblock_buddy.interleave.checks.deadlock import waits_for
from pageblock_buddy.interleave.engine import CHOICE, RECORDED, Engine, Strategy
from pageblock_buddy.interleave.findings import Finding
from pageblock_buddy.interleave.kinds import KIND_NAMES
from pageblock_buddy.interleave.program import Program, op_text
from pageblock_buddy.interleave.schedule import Schedule, Step, schedule_of
from pageblock_buddy.interleave.strategies.follow import FollowPath, FollowSchedule


class Waiting(NamedTuple):
    """A process that has begun and not ended, at the end of a run.

    ``kind`` and ``object`` are the step that it is about to take, ``operation`` what it performs, as in Step.
    ``holder`` is the process that keeps it from going on, in ``where``, its CPU and context; both are empty if there is
    none.  ``how`` says it in words, and is empty if it could have gone on: the run ended for another reason.
    """

    process: str
    cpu: int
    context: str
    operation: str
    op_number: int
    kind: str
    object: str
    holder: str
    where: str
    how: str


@dataclass(slots=True)
class Recorded:
    """A run in full.  ``findings``: its fault, then what lockdep saw in it."""

    program: Program
    variant: str
    schedule: Schedule
    steps: tuple[Step, ...]
    findings: list[Finding] = field(default_factory=list)
    #: page name -> (first PFN or None, order)
    pages: dict[str, tuple[int | None, int]] = field(default_factory=dict)
    digest: str = ""
    #: the unfinished processes, in the order of the program
    waiting: tuple[Waiting, ...] = ()

    @property
    def finding(self) -> Finding | None:
        """The fault that ended the run, if there was one."""
        return self.findings[0] if self.findings else None

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {"findings": [finding.to_dict() for finding in self.findings], "digest": self.digest}


def full_engine(program: Program, variant: str, carrier: Carrier) -> Engine:
    """An engine that sees everything.  All objects are choices."""
    engine = Engine(program, variant, carrier, guards=True, recording=True)
    engine.visible[:] = bytes([CHOICE]) * len(engine.visible)
    return engine


def record_path(program: Program, variant: str, carrier: Carrier, path: list[int], shared: frozenset[int]) -> Recorded:
    """Run again what a search ran: ``path`` are its choices, ``shared`` the objects that were choices in it."""
    engine = full_engine(program, variant, carrier)
    for oid in range(len(engine.visible)):
        engine.visible[oid] = CHOICE if oid in shared or oid in engine.always else RECORDED
    return record(engine, FollowPath(path))


def record_schedule(
    program: Program, variant: str, carrier: Carrier, schedule: Schedule, then: Strategy | None = None
) -> Recorded:
    """Run a schedule.  Errors: ReplayDivergence where it asks for what cannot be."""
    engine = full_engine(program, variant, carrier)
    strategy = FollowSchedule(engine, schedule, then)
    recorded = record(engine, strategy)
    if strategy.diverged is not None:
        raise ReplayDivergence(f"the schedule no longer fits: {strategy.diverged}")
    return recorded


def record(engine: Engine, strategy: Strategy, each_step: Callable[[], None] | None = None) -> Recorded:
    """One run of an engine that records.  ``each_step`` is called before each step is taken, and at the end."""
    waiting: list[Waiting] = []

    def at_end() -> None:
        waiting.extend(_waiting(engine))
        if each_step is not None:
            each_step()

    engine.each_step, engine.at_end = each_step, at_end
    try:
        finding = engine.run(strategy)
    finally:
        engine.each_step = engine.at_end = None
    steps = tuple(_steps(engine))
    findings = ([] if finding is None else [finding]) + list(engine.lockdep.findings.values())
    return Recorded(
        program=engine.program,
        variant=engine.variant.name,
        schedule=schedule_of(step.process for step in steps),
        steps=steps,
        findings=findings,
        pages=dict(engine.pages),
        waiting=tuple(waiting),
    )


def _waiting(engine: Engine) -> list[Waiting]:
    """Who has not ended, and why."""
    found = []
    enabled = engine.enabled()
    for process in engine.processes[: engine.nr_carried]:
        if not process.alive or not process.started:
            continue
        holder, how = waits_for(engine, process)
        if enabled & process.bit:
            holder, how = None, ""
        found.append(
            Waiting(
                process=process.name,
                cpu=process.cpu,
                context=process.context.value,
                operation="" if process.op is None else op_text(process.op),
                op_number=process.op_number,
                kind=KIND_NAMES[process.kind],
                object=engine.objects.names[process.oid] if process.oid >= 0 else f"CPU {process.cpu}",
                holder="" if holder is None else holder.name,
                where="" if holder is None else holder.where(),
                how=how,
            )
        )
    return found


def _steps(engine: Engine) -> list[Step]:
    steps = []
    for index, kind, oid, (op, op_number, cpu, value) in zip(
        engine.ev_process, engine.ev_kind, engine.ev_oid, engine.ev_detail, strict=True
    ):
        process = engine.processes[index]
        steps.append(
            Step(
                process=process.name,
                cpu=cpu,
                context=process.context.value,
                operation="" if op is None else op_text(op),
                op_number=op_number,
                kind=KIND_NAMES[kind],
                object=engine.objects.names[oid] if oid >= 0 else f"CPU {cpu}",
                value=value,
            )
        )
    return steps
