# SPDX-License-Identifier: GPL-2.0-only
"""Lock order by classes, as lockdep sees it: across all runs, so also on schedules that do not deadlock.

A class is a lock's kernel name.  Waiting for B with A held makes the dependency A -> B; a trylock makes none, since it
does not wait.  A class is *irq-safe* if a handler waited for it, *irq-unsafe* if it was ever held with IRQs on.  A path
from an irq-safe to an irq-unsafe class deadlocks on two CPUs: one holds the unsafe lock and is interrupted by a handler
that wants the safe one; the other holds the safe one and wants the unsafe one.

Kernel: kernel/locking/lockdep.c: mark_usage(), check_irq_usage(), check_noncircular()
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from pageblock_buddy.interleave.findings import Finding
from pageblock_buddy.machine.cpu import Context

if TYPE_CHECKING:
    from pageblock_buddy.interleave.locks import PointSpinlock
    from pageblock_buddy.interleave.process import Running


class Lockdep:
    """What is known of the lock classes so far."""

    def __init__(self) -> None:
        self._known: set[tuple[object, ...]] = set()
        #: class -> classes that were waited for while it was held, each with who did
        self.after: dict[str, dict[str, str]] = {}
        #: class -> who waited for it in a handler; class -> who held it with IRQs on
        self.in_handler: dict[str, str] = {}
        self.irqs_on: dict[str, str] = {}
        #: kind -> finding
        self.findings: dict[str, Finding] = {}

    def acquired(self, running: Running, lock: PointSpinlock, irqs_off: bool, waited: bool) -> None:
        """A process is taking a lock."""
        handler = running.handler
        irqs_on = not (irqs_off or running.irqs_off or running.context is Context.HARDIRQ)
        held = running.held
        # Nearly always seen before: one look into a set.
        if not held:
            known: tuple[object, ...] = (lock.name, waited, irqs_on, handler)
        else:
            known = (lock.name, waited, irqs_on, handler, *[other.name for other, _ in held])
        if known not in self._known:
            self._known.add(known)
            self._learn(running, lock, irqs_on, waited)

    def _learn(self, running: Running, lock: PointSpinlock, irqs_on: bool, waited: bool) -> None:
        who = f"{running.where()} in {running.text()}"
        name = lock.name
        if waited and running.handler:
            self.in_handler.setdefault(name, who)
        if irqs_on and not lock.sleeps:
            self.irqs_on.setdefault(name, who)
        if waited:
            for other, _ in running.held:
                self._depend(other.name, name, who)
        self._check_irqs()

    def _depend(self, first: str, then: str, who: str) -> None:
        if then in self.after.setdefault(first, {}):
            return
        self.after[first][then] = who
        path = self._path(then, first)
        if path is not None:
            cycle = [first, *path]
            lines = [f"{a} -> {b}: {self.after[a][b]}" for a, b in pairwise(cycle)]
            self._found("lock-order", f"lock order: {' -> '.join(cycle)}", " -> ".join(sorted(set(cycle))), lines)

    def _path(self, start: str, end: str) -> list[str] | None:
        """A way along dependencies, shortest first."""
        ways = [[start]]
        seen = {start}
        for way in ways:
            if way[-1] == end:
                return way
            for following in self.after.get(way[-1], {}):
                if following not in seen:
                    seen.add(following)
                    ways.append([*way, following])
        return None

    def _check_irqs(self) -> None:
        for safe, handler in self.in_handler.items():
            for unsafe, holder in self.irqs_on.items():
                path = self._path(safe, unsafe)
                if path is None:
                    continue
                lines = [f"{safe} is wanted in a handler: {handler}", f"{unsafe} is held with IRQs on: {holder}"]
                lines += [f"{a} -> {b}: {self.after[a][b]}" for a, b in pairwise(path)]
                text = f"irq inversion: {' -> '.join(path)}, {safe} is used in a handler, {unsafe} is held with IRQs on"
                self._found("irq-inversion", text, " -> ".join(path), lines)

    def _found(self, code: str, message: str, detail: str, lines: list[str]) -> None:
        finding = Finding(code, message, "", detail, tuple(lines))
        self.findings.setdefault(finding.kind, finding)
