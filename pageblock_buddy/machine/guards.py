# SPDX-License-Identifier: GPL-2.0-only
"""What guards a field of a shared structure: the words of the ``GUARDS`` tables.

Each structure says in ``GUARDS``, for each of its fields, who may touch it when.  The sequential model does not read
these tables; the interleaver makes its points from them and checks that they are true (docs/interleaver.md).
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

ZONE_LOCK: Final = "zone->lock"
PCP_LOCK: Final = "pcp->lock"


class Kind(Enum):
    """Who may touch a field when."""

    CONSTANT = "constant"  # nobody writes it after boot
    HELD = "held"  # loads and stores hold the lock
    STORES_HELD = "stores-held"  # stores hold the lock, loads need not: READ_ONCE(), data_race()
    RACY = "racy"  # no lock
    ATOMIC = "atomic"  # no lock; a read-modify-write is one step: atomic_long_t, set_bit()
    LLIST = "llist"  # a lock-less list: each operation is one step
    PAGE_STATE = "page-state"  # mem_map: whoever has the page; see docs/interleaver.md
    OWN_CPU = "own-cpu"  # its own CPU with preemption off, or CPU hotplug
    COUNTER = "counter"  # an event count that no decision reads


class Guard(NamedTuple):
    """A kind and, for HELD and STORES_HELD, the class of the lock: of the same zone, or the pageset's own."""

    kind: Kind
    lock: str | None = None


CONSTANT: Final = Guard(Kind.CONSTANT)
RACY: Final = Guard(Kind.RACY)
ATOMIC: Final = Guard(Kind.ATOMIC)
LLIST: Final = Guard(Kind.LLIST)
PAGE_STATE: Final = Guard(Kind.PAGE_STATE)
OWN_CPU: Final = Guard(Kind.OWN_CPU)
COUNTER: Final = Guard(Kind.COUNTER)


def held(lock: str) -> Guard:
    """Loads and stores hold ``lock``."""
    return Guard(Kind.HELD, lock)


def stores_held(lock: str) -> Guard:
    """Stores hold ``lock``; loads need not."""
    return Guard(Kind.STORES_HELD, lock)
