# SPDX-License-Identifier: GPL-2.0-only
"""Which steps depend on each other, and what happened before what.

A vector clock for each step: for each process the number of its last step (plus one) that happened before.
Two steps in a *race* could have come in the other order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pageblock_buddy.interleave.kinds import AWAIT, CPU_DEAD, LOAD, LOCK, LOOKS, PUBLISH, STORE, UNLOCK

if TYPE_CHECKING:
    from pageblock_buddy.interleave.engine import Engine


def cpus_of(engine: Engine) -> list[list[int]]:
    """For each process the CPUs that it may ever be on and where others can disturb it.

    An interrupt keeps a task from going on, a migration and a CPU that goes offline change where it is; so all steps of
    different processes on such a CPU depend on each other.  A CPU with one task and nothing else disturbs nobody.
    """
    may_be_on = [{process.home} for process in engine.processes]
    for index, migration in engine.migrations:
        may_be_on[index].add(migration.to)
        for process in engine.processes:
            if process.name == str(migration.task):
                may_be_on[process.index].add(migration.to)
    leaving = engine.leaving_cpus()
    for cpu, movers in leaving:
        for places in may_be_on:
            if cpu in places:
                places.update(movers)
    crowded = [cpu for cpu in range(engine.machine.nr_cpus) if sum(cpu in places for places in may_be_on) > 1]
    crowded += [cpu for cpu, _ in leaving]
    return [[cpu for cpu in sorted(places) if cpu in crowded] for places in may_be_on]


class HappensBefore:
    """The steps of one run so far."""

    def __init__(self, engine: Engine) -> None:
        processes = len(engine.processes)
        self._zeros = [0] * processes
        self._atomic = engine.atomic
        self._cpus = cpus_of(engine) if engine.shares_cpus else [[] for _ in engine.processes]
        #: object -> CPU, for steps that take a CPU offline
        self._cpu_of_object = {oid: cpu for cpu, oid in enumerate(engine.cpu_objects)}
        self.clocks: list[list[int]] = []
        self._process: list[int] = []
        self._kind: list[int] = []
        self._oid: list[int] = []
        self._step_cpus: list[list[int]] = []
        self._last: list[list[int]] = [[] for _ in range(processes)]
        #: by object; the last list is for -1, of steps that touch none: each has its own place, nobody looks there
        self._of_object: list[list[int]] = [[] for _ in range(len(engine.objects.names) + 1)]
        self._of_cpu: list[list[int]] = [[] for _ in range(engine.machine.nr_cpus)]

    def truncate(self, length: int) -> None:
        """Forget the steps from ``length`` on."""
        of_object, last, of_cpu = self._of_object, self._last, self._of_cpu
        for oid, process, cpus in zip(
            self._oid[length:], self._process[length:], self._step_cpus[length:], strict=True
        ):
            of_object[oid].pop()
            last[process].pop()
            for cpu in cpus:
                of_cpu[cpu].pop()
        for column in (self.clocks, self._process, self._kind, self._oid, self._step_cpus):
            del column[length:]

    def add(self, process: int, kind: int, oid: int) -> list[list[int]]:
        """Append a step.  Returns the earlier steps that it is in a race with, in groups, the last step first.

        Of a group one is enough: the first before which the other order is possible at all.
        """
        clocks, last, history = self.clocks, self._last[process], self._of_object[oid]
        number = len(clocks)
        before = clocks[last[-1]] if last else self._zeros
        clock = before.copy()
        races: list[list[int]] = []
        # The same process was there last: all before that happened before this, too.
        if (
            history
            and oid >= 0
            and (self._process[history[-1]] != process or kind in LOOKS or self._kind[history[-1]] in LOOKS)
        ):
            self._look_at_object(process, kind, history, before, clock, races)
        cpus = self._cpus[process]
        if cpus or kind == CPU_DEAD:
            cpus = self._cpus_of_step(process, kind, oid)
            for cpu in cpus:
                self._look_at_cpu(process, self._of_cpu[cpu], before, clock, races)
                self._of_cpu[cpu].append(number)
        clock[process] = number + 1
        clocks.append(clock)
        self._process.append(process)
        self._kind.append(kind)
        self._oid.append(oid)
        self._step_cpus.append(cpus)
        last.append(number)
        history.append(number)
        return races

    def _cpus_of_step(self, process: int, kind: int, oid: int) -> list[int]:
        cpus = self._cpus[process]
        if kind == CPU_DEAD:
            cpu = self._cpu_of_object[oid]
            return cpus if cpu in cpus else [*cpus, cpu]
        return cpus

    def races_of_pending(self, process: int, kind: int, oid: int) -> tuple[list[list[int]], list[int]]:
        """The races of a step that was never taken, since its process was kept from it; and its clock."""
        last = self._last[process]
        before = self.clocks[last[-1]] if last else self._zeros
        clock = before.copy()
        races: list[list[int]] = []
        if kind == LOAD and oid in self._atomic:
            kind = STORE  # it may have been the first half of a read-modify-write
        if oid >= 0:
            self._look_at_object(process, kind, self._of_object[oid], before, clock, races)
        for cpu in self._cpus_of_step(process, kind, oid):
            self._look_at_cpu(process, self._of_cpu[cpu], before, clock, races)
        return races, clock

    def _look_at_object(
        self, process: int, kind: int, history: list[int], before: list[int], clock: list[int], races: list[list[int]]
    ) -> None:
        looks = kind in LOOKS
        kinds, processes, clocks = self._kind, self._process, self.clocks
        joined = raced = False
        for number in reversed(history):
            other, other_kind = processes[number], kinds[number]
            if other == process or before[other] > number:
                # All before it happened before as well, but for looks of third processes.
                if other_kind not in LOOKS:
                    break
                continue
            if looks and other_kind in LOOKS:
                continue
            if not joined:
                theirs = clocks[number]
                for index, value in enumerate(theirs):
                    if value > clock[index]:
                        clock[index] = value
                joined = other_kind not in LOOKS
            if not raced and _may_swap(other_kind, kind):
                races.append([number])
                raced = other_kind not in LOOKS
            if joined and raced:
                break

    def _look_at_cpu(
        self, process: int, history: list[int], before: list[int], clock: list[int], races: list[list[int]]
    ) -> None:
        group: list[int] = []
        for number in reversed(history):
            other = self._process[number]
            if other == process or before[other] > number:
                break
            if not group:
                for index, value in enumerate(self.clocks[number]):
                    if value > clock[index]:
                        clock[index] = value
            group.append(number)
        if group:
            races.append(group)

    # --- for sleep sets ------------------------------------------------------------------------

    def depends(self, process: int, kind: int, oid: int, number: int) -> bool:
        """Whether a step that is yet to be taken depends on a step that was."""
        there = self._step_cpus[number]
        if there and any(cpu in there for cpu in self._cpus_of_step(process, kind, oid)):
            return True
        if oid != self._oid[number] or oid < 0:
            return False
        looks = kind in LOOKS and not (kind == LOAD and oid in self._atomic)
        return not (looks and self._kind[number] in LOOKS)

    def initials(self, first: int, last: int, last_process: int, last_clock: list[int]) -> int:
        """The processes that could go first in the other order: those that begin what does not come after step
        ``first``, up to the racing step ``last`` itself.  As a bit set.
        """
        found = seen = 0
        clocks, processes = self.clocks, self._process
        owner = processes[first]
        kept: list[int] = []
        for number in range(first + 1, last):
            clock = clocks[number]
            if clock[owner] > first:
                continue
            process = processes[number]
            if not seen >> process & 1:
                seen |= 1 << process
                if not any(clock[processes[earlier]] > earlier for earlier in kept):
                    found |= 1 << process
            kept.append(number)
        if not seen >> last_process & 1 and not any(last_clock[processes[earlier]] > earlier for earlier in kept):
            found |= 1 << last_process
        return found


def _may_swap(first: int, then: int) -> bool:
    """Whether two dependent steps of different processes can both be possible in one state."""
    if first == UNLOCK:
        return then != LOCK
    return not (first == PUBLISH and then == AWAIT)
