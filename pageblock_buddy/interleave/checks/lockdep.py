# SPDX-License-Identifier: GPL-2.0-only
"""Lock order by classes, as lockdep sees it: across all runs, so also on schedules that do not deadlock.

A class is a lock's kernel name.  Waiting for B with A held makes the dependency A -> B; a trylock makes none, since it
does not wait.  A class is *hardirq-safe* if a hardirq waited for it, *hardirq-unsafe* if it was ever held with IRQs on;
*softirq-safe* and *-unsafe* likewise, and softirqs are off wherever IRQs are off, and in a softirq.  A path from a safe
to an unsafe class deadlocks on two CPUs: one holds the unsafe lock and is interrupted by a handler that wants the safe
one; the other holds the safe one and wants the unsafe one.

Kernel: kernel/locking/lockdep.c: mark_usage(), check_irq_usage(), check_noncircular()
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

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
        #: kind of handler -> class -> who waited for it there; and who held it where such a handler may interrupt
        self.used_in: dict[Context, dict[str, str]] = {Context.SOFTIRQ: {}, Context.HARDIRQ: {}}
        self.held_open_to: dict[Context, dict[str, str]] = {Context.SOFTIRQ: {}, Context.HARDIRQ: {}}
        #: kind -> finding
        self.findings: dict[str, Finding] = {}

    def acquired(self, running: Running, lock: PointSpinlock, irqs_off: bool, waited: bool) -> None:
        """A process is taking a lock."""
        context = running.context
        irqs_on = not (irqs_off or running.irqs_off or context is Context.HARDIRQ)
        held = running.held
        # Nearly always seen before: one look into a set.
        if not held:
            known: tuple[object, ...] = (lock.name, waited, irqs_on, context)
        else:
            known = (lock.name, waited, irqs_on, context, *[other.name for other, _ in held])
        if known not in self._known:
            self._known.add(known)
            self._learn(running, lock, irqs_on, waited)

    def _learn(self, running: Running, lock: PointSpinlock, irqs_on: bool, waited: bool) -> None:
        who = f"{running.where()} in {running.text()}"
        name = lock.name
        if waited and running.context in self.used_in:
            self.used_in[running.context].setdefault(name, who)
        if irqs_on and not lock.sleeps:
            self.held_open_to[Context.HARDIRQ].setdefault(name, who)
            if running.context is Context.TASK:
                self.held_open_to[Context.SOFTIRQ].setdefault(name, who)
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
        for context in (Context.HARDIRQ, Context.SOFTIRQ):
            self._check_handlers(self.used_in[context], self.held_open_to[context])

    def _check_handlers(self, used_in: dict[str, str], held_open: dict[str, str]) -> None:
        for safe, handler in used_in.items():
            for unsafe, holder in held_open.items():
                path = self._path(safe, unsafe)
                if path is None:
                    continue
                lines = [f"{safe} is wanted in a handler: {handler}", f"{unsafe} is held with IRQs on: {holder}"]
                lines += [f"{a} -> {b}: {self.after[a][b]}" for a, b in pairwise(path)]
                text = f"irq inversion: {' -> '.join(path)}, {safe} is used in a handler, {unsafe} is held with IRQs on"
                self._found("irq-inversion", text, " -> ".join(path), lines)

    # --- from one search to another ------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """What is known, as JSON types."""
        return {
            "after": self.after,
            "used_in": {context.value: found for context, found in self.used_in.items()},
            "held_open_to": {context.value: found for context, found in self.held_open_to.items()},
        }

    def merge(self, known: dict[str, Any]) -> None:
        """Learn what another search knows: a cycle may have its parts in several."""
        for context in self.used_in:
            for mine, theirs in ((self.used_in, known["used_in"]), (self.held_open_to, known["held_open_to"])):
                for name, who in theirs[context.value].items():
                    mine[context].setdefault(name, who)
        for first, thens in known["after"].items():
            for then, who in thens.items():
                self._depend(first, then, who)
        self._check_irqs()

    def _found(self, code: str, message: str, detail: str, lines: list[str]) -> None:
        finding = Finding(code, message, "", detail, tuple(lines))
        self.findings.setdefault(finding.kind, finding)
