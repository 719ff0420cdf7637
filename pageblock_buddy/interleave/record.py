# SPDX-License-Identifier: GPL-2.0-only
"""One run in full: every point recorded, every field guarded, every invariant checked.

The same for a run that a search has just found, for a schedule from elsewhere, and for each candidate of the shrinker.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pageblock_buddy.errors import ReplayDivergence
from pageblock_buddy.interleave.carriers.carrier import Carrier
from pageblock_buddy.interleave.engine import CHOICE, RECORDED, Engine, Strategy
from pageblock_buddy.interleave.findings import Finding
from pageblock_buddy.interleave.kinds import KIND_NAMES
from pageblock_buddy.interleave.program import Program, op_text
from pageblock_buddy.interleave.schedule import Schedule, Step, schedule_of
from pageblock_buddy.interleave.strategies.follow import FollowPath, FollowSchedule


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


def record(engine: Engine, strategy: Strategy) -> Recorded:
    """One run of an engine that records."""
    finding = engine.run(strategy)
    steps = tuple(_steps(engine))
    findings = ([] if finding is None else [finding]) + list(engine.lockdep.findings.values())
    return Recorded(
        program=engine.program,
        variant=engine.variant.name,
        schedule=schedule_of(step.process for step in steps),
        steps=steps,
        findings=findings,
        pages=dict(engine.pages),
    )


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
