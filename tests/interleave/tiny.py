# SPDX-License-Identifier: GPL-2.0-only
"""Random tiny programs: small enough for a search without any reduction."""

from __future__ import annotations

from random import Random

from pageblock_buddy import Config, gfp
from pageblock_buddy.interleave.program import (
    Alloc,
    AllocBulk,
    Decay,
    Drain,
    Free,
    FreeBulk,
    Hold,
    Migration,
    Offline,
    Op,
    Program,
    SetUp,
)

GFPS = (gfp.GFP_KERNEL, gfp.GFP_KERNEL, gfp.GFP_HIGHUSER_MOVABLE, gfp.GFP_ATOMIC)


class _Maker:
    """One program in the making."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.nr_cpus = random.choice((2, 2, 2, 3))
        self.config = Config.small(
            pages=random.choice((16, 32)),
            nr_cpus=self.nr_cpus,
            batch=random.choice((1, 2, 8)),
            high_min=random.choice((2, 4, 32)),
            high_max=32,
            vm_stat_threshold=random.choice((None, 0)),
        )
        self.names = 0
        #: pages that may be freed: name
        self.ready: list[str] = []
        self.locks = random.random() < 0.3

    def name(self) -> str:
        self.names += 1
        return f"p{self.names}"

    def setup(self) -> tuple[SetUp, ...]:
        found = []
        for _ in range(self.random.randrange(1, 10)):
            cpu = self.random.randrange(self.nr_cpus)
            if self.random.random() < 0.8 or not self.ready:
                name = self.name()
                found.append(SetUp(cpu, Alloc(name, self.random.choice((0, 0, 0, 1, 3)), self.random.choice(GFPS))))
                self.ready.append(name)
            elif self.random.random() < 0.5:
                found.append(SetUp(cpu, Free(self.ready.pop(self.random.randrange(len(self.ready))))))
            else:
                found.append(SetUp(cpu, Drain(self.random.randrange(self.nr_cpus))))
        return tuple(found)

    def op(self, *, task: bool) -> Op:
        random = self.random
        choice = random.random()
        if choice < 0.45 and self.ready:
            return Free(self.ready.pop(random.randrange(len(self.ready))), nolock=random.random() < 0.15)
        if choice < 0.5 and len(self.ready) > 1:
            return FreeBulk((self.ready.pop(), self.ready.pop()))
        if choice < 0.55:
            return AllocBulk((self.name(), self.name()))
        if task and choice < 0.62:
            return Drain(random.choice((None, *range(self.nr_cpus))))
        if task and choice < 0.65:
            return Decay()
        if task and choice < 0.67 and self.nr_cpus == 3:
            return Offline(2)
        return Alloc(self.name(), random.choice((0, 0, 0, 1, 2, 3)), random.choice(GFPS), nolock=random.random() < 0.1)

    def ops(self, count: int, *, task: bool) -> tuple[Op, ...]:
        found: list[Op] = []
        for _ in range(count):
            op = self.op(task=task)
            sleeps = isinstance(op, Offline) or op == Drain(None)
            if self.locks and self.random.random() < 0.5 and not sleeps:
                op = Hold("L", (op,), self.random.random() < 0.7)
            found.append(op)
        return tuple(found)


def tiny_program(seed: int) -> Program:
    """The program of a seed."""
    random = Random(f"tiny/{seed}")
    maker = _Maker(random)
    setup = maker.setup()
    tasks = [maker.ops(random.choice((1, 1, 2)), task=True) for _ in range(2)]
    tasks += [()] * (maker.nr_cpus - 2)
    hardirqs = softirqs = ()
    migrations: tuple[Migration, ...] = ()
    extra = random.random()
    if extra < 0.25:
        hardirqs = ((random.randrange(2), maker.ops(1, task=False)),)  # type: ignore[assignment]
    elif extra < 0.35:
        softirqs = ((random.randrange(2), maker.ops(1, task=False)),)  # type: ignore[assignment]
    elif extra < 0.5:
        task = random.randrange(2)
        migrations = (Migration(task, 1 - task),)
    return Program(
        name=f"tiny-{seed}",
        config=maker.config,
        tasks=tuple(tasks),
        hardirqs=hardirqs,
        softirqs=softirqs,
        migrations=migrations,
        setup=setup,
    )
