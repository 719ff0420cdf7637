# SPDX-License-Identifier: GPL-2.0-only
"""The small model under this project's carriers and reduced search: an engine with nothing but locks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from benchmarks.small_model import SmallModel
from pageblock_buddy.interleave.carriers.carrier import Carrier
from pageblock_buddy.interleave.kinds import LOCK, TRY_FAILED, TRY_TAKEN, TRYLOCK, UNLOCK
from pageblock_buddy.interleave.strategies.reduced import Reduced


class _Lock:
    """A lock with a point before each operation."""

    def __init__(self, engine: SmallEngine, oid: int) -> None:
        self.engine, self.oid, self.held = engine, oid, False

    def acquire(self, blocking: bool = True) -> bool:
        engine = self.engine
        engine.point(LOCK if blocking else TRYLOCK, self.oid)
        if not blocking:
            engine.ev_kind[-1] = TRY_FAILED if self.held else TRY_TAKEN
            if self.held:
                return False
        self.held = True
        return True

    def release(self) -> None:
        self.engine.point(UNLOCK, self.oid)
        self.held = False


class SmallEngine:
    """Has what Reduced looks at; runs SmallModel."""

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.processes = [
            SimpleNamespace(index=i, bit=1 << i, kind=0, oid=0, alive=True, home=i, name=str(i)) for i in (0, 1)
        ]
        self.objects = SimpleNamespace(names=["zone", "pcp0", "pcp1"])
        self.machine = SimpleNamespace(nr_cpus=2)
        self.cpu_objects: list[int] = []
        self.atomic: set[int] = set()
        self.shares_cpus = False

    def run(self, strategy: Any) -> bool:
        """One schedule.  Whether the model's invariant holds at its end."""
        self.strategy, self.prefix, self.current = strategy, list(strategy.prefix), 0
        self.ev_process: list[int] = []
        self.ev_kind: list[int] = []
        self.ev_oid: list[int] = []
        self.first = True
        self.locks: list[_Lock] = []

        def make() -> _Lock:
            self.locks.append(_Lock(self, len(self.locks)))
            return self.locks[-1]

        model = SmallModel(make)
        for process in self.processes:
            process.alive = True
        self.carrier.start([self._body(model, i) for i in (0, 1)])
        for i in (0, 1):
            self.running = i
            self.carrier.switch(-1, i)
        self.first = False
        chosen = self._next()
        self.carrier.switch(-1, chosen)
        return model.all_there()

    def _body(self, model: SmallModel, cpu: int) -> Any:
        def body() -> int:
            model.run(cpu)
            self.processes[cpu].alive = False
            self.current = cpu
            return self._next()

        return body

    def _next(self) -> int:
        enabled = 0
        for process in self.processes:
            if process.alive and not (process.kind == LOCK and self.locks[process.oid].held):
                enabled |= process.bit
        if not enabled:
            return -1
        step = len(self.ev_process)
        chosen = self.prefix[step] if step < len(self.prefix) else self.strategy.choose(self, enabled)
        if chosen < 0:
            # Redundant: let it run out, there is nothing to unwind for in so small a model.
            chosen = (enabled & -enabled).bit_length() - 1
        process = self.processes[chosen]
        self.ev_process.append(chosen)
        self.ev_kind.append(process.kind)
        self.ev_oid.append(process.oid)
        self.running = chosen
        return int(chosen)

    def point(self, kind: int, oid: int) -> None:
        """The running process is about to do something to a lock."""
        me = self.running
        process = self.processes[me]
        process.kind, process.oid = kind, oid
        if self.first:
            self.carrier.switch(me, -1)
            return
        self.current = me
        chosen = self._next()
        if chosen != me:
            self.carrier.switch(me, chosen)


def explore(engine: SmallEngine) -> int:
    """Search the small model.  Returns the schedules."""
    strategy = Reduced(engine)  # type: ignore[arg-type]
    schedules = 0
    while True:
        assert engine.run(strategy)
        schedules += 1
        if not strategy.next(engine):  # type: ignore[arg-type]
            return schedules
