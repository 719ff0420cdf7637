# SPDX-License-Identifier: GPL-2.0-only
"""Spinlocks whose verbs are points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pageblock_buddy.errors import SelfDeadlock
from pageblock_buddy.interleave.kinds import LOCK, TRY_FAILED, TRY_TAKEN, TRYLOCK, UNLOCK
from pageblock_buddy.machine.guards import ZONE_LOCK
from pageblock_buddy.machine.spinlock import Spinlock

if TYPE_CHECKING:
    from pageblock_buddy.interleave.engine import Engine
    from pageblock_buddy.interleave.process import Running

#: Lock classes that are taken by spin_lock_irqsave() wherever they are taken.
ALWAYS_IRQSAVE: Final = (ZONE_LOCK,)


class PointSpinlock(Spinlock):
    """A spinlock of the machine or of the program.

    ``holder`` is the process that holds it; ``oid`` its number among the shared objects; ``label`` names this very
    lock, ``name`` its class.  With ``sleeps`` it is a mutex: it turns neither preemption nor IRQs off.
    """

    __slots__ = ("engine", "holder", "irqsave", "label", "oid", "sleeps")

    def __init__(self, engine: Engine, name: str, label: str, *, sleeps: bool = False) -> None:
        super().__init__(engine.machine, name)
        self.engine = engine
        self.label = label
        self.holder: Running | None = None
        self.irqsave = name in ALWAYS_IRQSAVE
        self.sleeps = sleeps
        self.oid = engine.objects.add_lock(self)

    # --- waiting -------------------------------------------------------------------------------

    def lock(self) -> None:
        self._wait(self.irqsave)

    def lock_irqsave(self) -> None:
        self._wait(True)

    def _wait(self, irqs_off: bool) -> None:
        engine, oid = self.engine, self.oid
        running = engine.running
        engine.users[oid] |= running.bit
        opens = self._opens(running, irqs_off)
        if engine.visible[oid] or opens or self.holder is not None:
            if self.holder is running:
                raise SelfDeadlock(
                    f"{running.where()} waits for {self.label}, which it holds itself",
                    lock=self.name,
                    process=running.name,
                )
            engine.point(running, LOCK, oid, opens)
        self._take(running, irqs_off, True)

    def _opens(self, running: Running, irqs_off: bool) -> bool:
        """Whether this lock would turn preemption or IRQs off, where a handler or a migration may still come before.

        Such a lock is a choice whoever shares it: behind it they may not come.
        """
        if not running.exposed or self.sleeps:
            return False
        return not running.preempt_off or (irqs_off and not running.irqs_off)

    # --- trying --------------------------------------------------------------------------------

    def trylock(self) -> bool:
        return self._try(self.irqsave, False)

    def trylock_irqsave(self) -> bool:
        return self._try(True, False)

    def pcp_spin_trylock(self) -> bool:
        return self._try(False, True)

    def _try(self, irqs_off: bool, pinned: bool) -> bool:
        engine, oid = self.engine, self.oid
        running = engine.running
        engine.users[oid] |= running.bit
        opens = self._opens(running, irqs_off)
        visible = engine.visible[oid] or opens
        if visible:
            running.pinned = pinned
            engine.point(running, TRYLOCK, oid, opens)
            running.pinned = False
        if self.holder is not None:
            if visible:
                engine.outcome(TRY_FAILED)
            return False
        if visible:
            engine.outcome(TRY_TAKEN)
        self._take(running, irqs_off, False)
        return True

    def _take(self, running: Running, irqs_off: bool, waited: bool) -> None:
        engine = self.engine
        engine.last_load = -1
        running.acted = True
        if engine.fresh:
            engine.lockdep.acquired(running, self, irqs_off, waited)
        self.holder = running
        self.owner = running.cpu
        running.held.append((self, irqs_off))
        if not self.sleeps:
            running.preempt_off += 1
            if irqs_off:
                running.irqs_off += 1
        if engine.keep_keys:
            engine.saw(engine.keys.guarded(self))

    # --- giving back ---------------------------------------------------------------------------

    def unlock(self) -> None:
        engine, oid = self.engine, self.oid
        running = engine.running
        if self.holder is not running:
            self._not_held()
        engine.users[oid] |= running.bit
        if engine.visible[oid]:
            engine.point(running, UNLOCK, oid)
        engine.last_load = -1
        self.holder = self.owner = None
        held = running.held
        for index in range(len(held) - 1, -1, -1):
            if held[index][0] is self:
                _, irqs_off = held.pop(index)
                break
        if not self.sleeps:
            running.preempt_off -= 1
            if irqs_off:
                running.irqs_off -= 1
        engine.unlocked(running, self)

    def assert_held(self) -> None:
        if self.holder is not self.engine.running:
            self._not_held()
