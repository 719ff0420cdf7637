# SPDX-License-Identifier: GPL-2.0-only
"""The workloads.  Deterministic: the same seed gives the same requests on every machine and Python.

A load takes the functions that it calls and the object that they want first, so the facade
(``System.alloc_pages``, a System) and the mirrored functions (``alloc.alloc_pages``, a Kernel) run the same loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from benchmarks import sketch
from pageblock_buddy import System
from pageblock_buddy import gfp as g
from pageblock_buddy.linux_6_12 import alloc, drain, free
from pageblock_buddy.mm.kernel import Kernel

SEED: Final = 612
HOT_PAIRS: Final = 1000
MIXED_OPERATIONS: Final = 2000
BURSTS: Final = 3
BURST_PAGES: Final = 256
#: Pages that the mixed load holds at most: 32 MiB, so that it never runs dry at 256 MiB.
MIXED_PAGES: Final = 8192
MIXED_GFPS: Final = (
    g.GFP_KERNEL,
    g.GFP_HIGHUSER_MOVABLE,
    g.GFP_HIGHUSER_MOVABLE | g.GFP_COMP,
    g.GFP_KERNEL | g.GFP_RECLAIMABLE,
    g.GFP_ATOMIC,
    g.GFP_NOWAIT,
)
#: Of 1000 allocations, how many have order 0, 1, …, 10.
MIXED_ORDERS: Final = (560, 130, 90, 80, 30, 25, 20, 15, 10, 25, 15)


@dataclass(frozen=True, slots=True)
class Api:
    """A way to call the model: the three functions, and which object they take first."""

    name: str
    alloc: Callable[[Any, int, int], int | None]
    free: Callable[[Any, int, int], None]
    drain: Callable[[Any], None]

    def target(self, system: System) -> System | Kernel:
        """What the functions take first."""
        return system if self is FACADE else system.kernel


FACADE: Final = Api("facade", System.alloc_pages, System.free_pages, System.drain_local_pages)
MIRRORED: Final = Api("mirrored", alloc.alloc_pages, free._free_pages, drain.drain_local_pages)

# --- one page out, the same page in ------------------------------------------------------------


def hot_pairs(api: Api, system: System, pairs: int) -> int:
    """Allocate and free one page; the CPU's list serves all but the first.  Returns the operations: pairs."""
    x, take, give, gfp = api.target(system), api.alloc, api.free, g.GFP_KERNEL
    for _ in range(pairs):
        give(x, take(x, gfp, 0), 0)  # type: ignore[arg-type]
    return pairs


def hot_pairs_of_sketch(system: System, pairs: int) -> int:
    """hot_pairs() for the hand-inlined functions."""
    k, take, give, gfp = system.kernel, sketch.alloc_page, sketch.free_page, g.GFP_KERNEL
    for _ in range(pairs):
        give(k, take(k, gfp))  # type: ignore[arg-type]
    return pairs


# --- orders 0 to 10 ----------------------------------------------------------------------------

#: (number of the allocation, gfp, order); gfp -1: free it
Request = tuple[int, int, int]


def mixed_requests(operations: int = MIXED_OPERATIONS, seed: int = SEED) -> list[Request]:
    """Allocations of all orders and types, freed in random order; every page is free again at the end."""
    random = Random(seed)
    requests: list[Request] = []
    held: list[tuple[int, int]] = []
    pages = number = 0
    while len(requests) + len(held) < operations:
        order = random.choices(range(len(MIXED_ORDERS)), MIXED_ORDERS)[0]
        if held and (pages + (1 << order) > MIXED_PAGES or random.random() < 0.45):
            requests.append((_taken(random, held), -1, 0))
        else:
            requests.append((number, random.choice(MIXED_GFPS), order))
            held.append((number, order))
            number += 1
        pages = sum(1 << order for _, order in held)
    while held:
        requests.append((_taken(random, held), -1, 0))
    return requests


def _taken(random: Random, held: list[tuple[int, int]]) -> int:
    """The number of one that is held, which is not held any more."""
    at = random.randrange(len(held))
    held[at], held[-1] = held[-1], held[at]
    return held.pop()[0]


def mixed(api: Api, system: System, requests: list[Request]) -> int:
    """Perform mixed_requests().  Returns the operations."""
    x, take, give = api.target(system), api.alloc, api.free
    held: list[tuple[int, int]] = []
    for number, gfp, order in requests:
        if gfp == -1:
            give(x, *held[number])
        else:
            held.append((take(x, gfp, order), order))  # type: ignore[arg-type]
    return len(requests)


# --- bursts and drains -------------------------------------------------------------------------


def drain_bursts(api: Api, system: System, bursts: int, burst_pages: int = BURST_PAGES) -> int:
    """Allocate many pages, free them all, drain.  Returns the operations: allocations and frees."""
    x, take, give, empty = api.target(system), api.alloc, api.free, api.drain
    for burst in range(bursts):
        gfp = MIXED_GFPS[burst % len(MIXED_GFPS)] & ~g.GFP_COMP
        for pfn in [take(x, gfp, 0) for _ in range(burst_pages)]:
            give(x, pfn, 0)  # type: ignore[arg-type]
        empty(x)
    return 2 * bursts * burst_pages
