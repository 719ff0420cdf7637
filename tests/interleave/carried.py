# SPDX-License-Identifier: GPL-2.0-only
"""Engines, carriers and strategies for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pageblock_buddy import Config
from pageblock_buddy.interleave.carriers import get_carrier
from pageblock_buddy.interleave.carriers.carrier import Carrier
from pageblock_buddy.interleave.engine import CHOICE, ENGINE, Engine, Strategy
from pageblock_buddy.interleave.program import Op, Program, SetUp

CARRIERS = ("threads", "greenlet")


@contextmanager
def carrying(name: str = "threads") -> Iterator[Carrier]:
    """A carrier that is closed in the end."""
    carrier = get_carrier(name)
    try:
        yield carrier
    finally:
        carrier.close()


class Chooser:
    """A strategy that is a function of the engine and of the bit set of who can go on."""

    def __init__(self, choose: Callable[[Engine, int], int]) -> None:
        self.prefix: list[int] = []
        self._choose = choose

    def choose(self, engine: Engine, enabled: int) -> int:
        return self._choose(engine, enabled)


def lowest(enabled: int) -> int:
    """The first process that can go on."""
    return (enabled & -enabled).bit_length() - 1


def stay(engine: Engine, enabled: int) -> int:
    """The same process as long as it can go on."""
    if not engine.ev_process:
        return lowest(enabled)
    return engine.current if enabled >> engine.current & 1 else lowest(enabled)


def staying() -> Strategy:
    """Each process to its end."""
    return Chooser(stay)


def first_choices(choices: Sequence[str]) -> Strategy:
    """These processes first, by name, each of which must be able to go on; then each to its end."""

    def choose(engine: Engine, enabled: int) -> int:
        step = len(engine.ev_process)
        if step >= len(choices):
            return stay(engine, enabled)
        index = index_of(engine, choices[step])
        assert enabled >> index & 1, f"{choices[step]} cannot go on at step {step}"
        return index

    return Chooser(choose)


def giving_up(after: int) -> Strategy:
    """Round robin that gives up the run after so many choices."""

    def choose(engine: Engine, enabled: int) -> int:
        if len(engine.ev_process) >= after:
            return ENGINE
        last = engine.ev_process[-1] if engine.ev_process else -1
        return next(i for d in range(1, 65) if enabled >> (i := (last + d) % 64) & 1)

    return Chooser(choose)


def index_of(engine: Engine, name: str) -> int:
    """The index of a process."""
    return next(process.index for process in engine.processes if process.name == name)


def everything(engine: Engine) -> Engine:
    """The engine with every object a choice."""
    engine.visible[:] = bytes([CHOICE]) * len(engine.visible)
    return engine


def enabled_names(engine: Engine, enabled: int) -> set[str]:
    """The processes of a bit set, by name."""
    return {process.name for process in engine.processes if enabled & process.bit}


def small(
    *tasks: Sequence[Op],
    hardirqs: Sequence[tuple[int, Sequence[Op]]] = (),
    softirqs: Sequence[tuple[int, Sequence[Op]]] = (),
    migrations: Sequence[tuple[int, int]] = (),
    setup: Sequence[SetUp] = (),
    **machine: int,
) -> Program:
    """A program on a machine of 32 pages, like most of the built-in ones."""
    from pageblock_buddy.interleave.program import Migration

    config = Config.small(**{"pages": 32, "nr_cpus": len(tasks), "batch": 2, "high_min": 32, "high_max": 32} | machine)
    return Program(
        name="small",
        config=config,
        tasks=tuple(tuple(ops) for ops in tasks),
        hardirqs=tuple((cpu, tuple(ops)) for cpu, ops in hardirqs),
        softirqs=tuple((cpu, tuple(ops)) for cpu, ops in softirqs),
        migrations=tuple(Migration(*migration) for migration in migrations),
        setup=tuple(setup),
    )
