# SPDX-License-Identifier: GPL-2.0-only
"""Deadlock: nobody can go on.  Who waits for whom, as a cycle in the kernel's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pageblock_buddy.interleave.findings import Finding
from pageblock_buddy.interleave.kinds import AWAIT, CPU_DEAD, LOCK
from pageblock_buddy.interleave.program import made_by

if TYPE_CHECKING:
    from pageblock_buddy.interleave.engine import Engine
    from pageblock_buddy.interleave.process import Running


def waits_for(engine: Engine, process: Running) -> tuple[Running | None, str]:
    """The process that keeps another one from going on, and how; None: nobody will ever let it."""
    carried = engine.processes[: engine.nr_carried]
    interrupts = engine.interrupts[process.cpu]
    above = interrupts[interrupts.index(process) + 1 :] if process in interrupts else interrupts
    if above:
        return above[-1], f"is interrupted by {above[-1].where()}"
    if process.kind == LOCK:
        lock = engine.objects.locks[process.oid]
        if lock.holder is not None:
            ended = "" if lock.holder.alive else ", which has ended"
            return lock.holder if lock.holder.alive else None, (
                f"waits for {lock.label}, held by {lock.holder.where()}{ended}"
            )
    if process.kind == AWAIT:
        name = engine.objects.names[process.oid]
        maker = next((p for p in carried if p.alive and name in [f"page {page}" for page in made_by(p.ops)]), None)
        return maker, f"waits for {name}"
    others = [p for p in carried if p is not process and p.alive and not p.preemptible()]
    if process.kind == CPU_DEAD:
        others = [p for p in others if engine.cpu_objects[p.cpu] == process.oid]
    else:
        others = [p for p in others if p.cpu == process.cpu]
    if others:
        return others[0], f"waits for the CPU, which {others[0].where()} does not give up"
    return None, "waits"


def explain_deadlock(engine: Engine) -> Finding:
    """The finding: the cycle, or the chain to somebody who waits for nobody."""
    stuck = [process for process in engine.processes[: engine.nr_carried] if process.alive and process.started]
    if not stuck:
        stuck = [process for process in engine.processes[: engine.nr_carried] if process.alive]
    longest: list[tuple[Running, str]] = []
    for process in stuck:
        chain: list[tuple[Running, str]] = []
        at: Running | None = process
        while at is not None and all(at is not p for p, _ in chain):
            following, how = waits_for(engine, at)
            chain.append((at, how))
            at = following
        if at is not None:
            start = next(i for i, (p, _) in enumerate(chain) if p is at)
            return _finding(engine, chain[start:], "cycle")
        if len(chain) > len(longest):
            longest = chain
    return _finding(engine, longest, "chain")


def _finding(engine: Engine, chain: list[tuple[Running, str]], what: str) -> Finding:
    # A cycle has no first one: start with the lowest process, so that equal cycles read alike.
    first = min(range(len(chain)), key=lambda i: chain[i][0].index) if what == "cycle" else 0
    chain = chain[first:] + chain[:first]
    lines = tuple(f"{process.where()} ({process.text()}) {how}" for process, how in chain)
    wanted = sorted(
        {engine.objects.locks[p.oid].name for p, how in chain if p.kind == LOCK and how.startswith("waits")}
    )
    return Finding("deadlock", f"deadlock: {'; '.join(lines)}", chain[0][0].name, f"{what} {', '.join(wanted)}", lines)
