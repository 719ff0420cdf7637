# SPDX-License-Identifier: GPL-2.0-only
"""Kinds of steps: what a process does right behind a point."""

from __future__ import annotations

from typing import Final

LOCK: Final = 0  # take a lock, when it is free
TRYLOCK: Final = 1  # not yet done: it may be taken or not
TRY_TAKEN: Final = 2
TRY_FAILED: Final = 3
UNLOCK: Final = 4
LOAD: Final = 5
STORE: Final = 6  # also a read-modify-write
START: Final = 7  # a handler interrupts its CPU
MIGRATE: Final = 8  # a task goes to another CPU
AWAIT: Final = 9  # a page that another process allocates
PUBLISH: Final = 10  # a page that another process waits for
CPU_DEAD: Final = 11  # a CPU goes offline or comes back

KIND_NAMES: Final = (
    "lock",
    "trylock",
    "trylock",
    "trylock fails",
    "unlock",
    "load",
    "store",
    "interrupt",
    "migrate",
    "wait",
    "publish",
    "hotplug",
)

#: Steps that only look: two of them on one object do not depend on each other.
LOOKS: Final = frozenset((TRY_FAILED, LOAD, AWAIT))
