# SPDX-License-Identifier: GPL-2.0-only
"""The RFC's stability argument, checked: the owner that a free reads without a lock is still the owner under the lock.

A family of small programs: a free that reads an owner, against everything that could change it, from every state that a
block can be in.  Each program is searched exhaustively (docs/stability.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pageblock_buddy.config import Config
from pageblock_buddy.interleave.engine import Stability
from pageblock_buddy.interleave.program import (
    Alloc,
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
from pageblock_buddy.interleave.search import Budget, Result, Search

#: A program that needs more schedules than this is reported as incomplete.
MAX_SCHEDULES: Final = 20_000
_Setup = tuple[SetUp, ...]


def _config(nr_cpus: int) -> Config:
    return Config.small(pages=32, nr_cpus=nr_cpus, batch=8, high_min=32, high_max=32)


def _allocs(*names: str, on: int = 0) -> _Setup:
    return tuple(SetUp(on, Alloc(name)) for name in names)


#: name -> (what the state is, set-up); x and y are pages of one block, x is freed
STATES: Final[dict[str, tuple[str, _Setup]]] = {
    "owned": ("CPU 0 owns the block, x and y are out", _allocs("x", "y")),
    "owned-last": ("CPU 0 owns the block, only x is out", _allocs("x")),
    "listed": (
        "CPU 0 owns the block, its fragments are in the zone and it is on owned_blocks",
        (*_allocs("x", "y"), SetUp(0, Drain(0))),
    ),
    "other-owner": ("CPU 1 owns the block", _allocs("x", "y", on=1)),
    "nobody": (
        "nobody owns the block: x and y came by phase 3, after CPU 1 took the rest",
        (SetUp(1, Alloc("big", 4)), SetUp(1, Alloc("half", 3)), *_allocs("x", "y")),
    ),
    "stale-tag": (
        "the block of x is owned; another one is whole in the zone, with the tag of CPU 0 and on its owned_blocks",
        (*_allocs("z"), SetUp(0, Drain(0)), SetUp(1, Free("z")), SetUp(0, Drain(0)), *_allocs("x", "y")),
    ),
    "stolen": (
        "CPU 0 owns the block; a fragment of it is on CPU 1's lists",
        (*_allocs("x", "y"), SetUp(0, Drain(0)), SetUp(1, Alloc("t", 1))),
    ),
}

#: name -> (what frees x, task of CPU 1, CPU whose hardirq frees it)
FREES: Final[dict[str, tuple[str, tuple[Op, ...], int | None]]] = {
    "free": ("CPU 1 frees x", (Free("x"),), None),
    "batch": ("CPU 1 frees x and y as a batch", (FreeBulk(("x", "y")),), None),
    "nolock": ("CPU 1 frees x with free_pages_nolock()", (Free("x", nolock=True),), None),
    "locked": ("CPU 1 frees x with a lock held and IRQs off", (Hold("xa_lock", (Free("x"),), True),), None),
    "hardirq": ("a hardirq of CPU 1 frees x, and its trylock may fail", (), 1),
    "self": ("a hardirq of CPU 0 frees x, and its trylock may fail", (), 0),
}

#: name -> (what happens meanwhile on CPU 0; on CPU 2 where CPU 0 goes offline)
RIVALS: Final[dict[str, tuple[str, tuple[Op, ...]]]] = {
    "refill": ("CPU 0 allocates until it refills", (Alloc("a"), Alloc("b", 2))),
    "claim": ("CPU 0 claims blocks", (Alloc("a", 3), Alloc("b", 3))),
    "drain": ("CPU 0 drains its lists, then allocates", (Drain(0), Alloc("a"))),
    "drain-all": ("CPU 0 drains all lists, then claims", (Drain(None), Alloc("a", 3))),
    "offline": ("CPU 2 takes CPU 0 offline, then claims", (Offline(0), Alloc("a", 3))),
}


def program(state: str, frees: str, rival: str) -> Program:
    """One program of the family."""
    _, setup = STATES[state]
    _, task, interrupted = FREES[frees]
    if state == "owned-last" and frees == "batch":
        task = (FreeBulk(("x",)),)
    _, against = RIVALS[rival]
    offline = rival == "offline"
    tasks = ((), task, against) if offline else (against, task)
    return Program(
        name=f"{state}/{frees}/{rival}",
        config=_config(3 if offline else 2),
        tasks=tasks,
        hardirqs=() if interrupted is None else ((interrupted, (Free("x"),)),),
        setup=setup,
    )


def migrating_program(state: str) -> Program:
    """A task that frees its own page and moves between reading the owner, its CPU's number, and taking the lock."""
    _, setup = STATES[state]
    return Program(
        name=f"{state}/migrating",
        config=_config(2),
        tasks=((Free("x"),), (Alloc("a", 3),)),
        migrations=(Migration(0, 1),),
        setup=setup,
    )


def family() -> list[Program]:
    """All programs, in a fixed order."""
    programs = [program(state, frees, rival) for rival in RIVALS for state in STATES for frees in FREES]
    return [*programs, *(migrating_program(state) for state in STATES)]


@dataclass(slots=True)
class Checked:
    """What a search of one program said: ``compared`` owners right before their use, ``changed`` of them."""

    program: str
    result: Result
    compared: int
    changed: int


def check(one: Program, variant: str, *, carrier: str = "threads") -> Checked:
    """Search one program of the family."""
    with Search(one, variant, carrier=carrier, budget=Budget(schedules=MAX_SCHEDULES), stop_at_fault=False) as search:
        counters: list[Stability] = []

        def count(running: Search) -> None:
            if running.engine.stability is None:
                running.engine.stability = Stability(running.engine)
                counters.append(running.engine.stability)

        search.progress = count
        result = search.run()
    last = counters[-1]
    return Checked(one.name, result, last.compared, last.changed)
