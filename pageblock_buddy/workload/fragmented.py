# SPDX-License-Identifier: GPL-2.0-only
"""fragmented: purger's load where no whole pageblock is free."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from random import Random
from typing import ClassVar, Final

from pageblock_buddy import gfp as g
from pageblock_buddy.workload.churn import churn
from pageblock_buddy.workload.operations import AllocAll, DrainAll, FreeFolios, Operation, SplitPages
from pageblock_buddy.workload.purger import PurgerParameters, load_of
from pageblock_buddy.workload.workload import MachineFacts, Workload


@dataclass(frozen=True, kw_only=True)
class FragmentedParameters(PurgerParameters):
    """As purger, after one page, picked at random, of every 2^``pin_order`` has been pinned for good.

    The memory is taken in blocks of that order, for which no variant makes anybody the owner; with ``one_owner`` CPU 0
    takes it page by page and, in variants with owners, owns all of it then.
    """

    cpus: int = 8
    memory: int = 1024
    pin_order: int = 6
    one_owner: int = 0

    limits: ClassVar = {**PurgerParameters.limits, "pin_order": (4, 8), "one_owner": (0, 1)}


def operations(machine: MachineFacts, p: FragmentedParameters, rng: Random) -> Iterator[Operation]:
    """Take all memory, give all but the pinned pages back in random order, then go on as purger does."""
    # __GFP_MEMALLOC: not even the watermarks leave a block whole.
    gfp, order = g.GFP_HIGHUSER_MOVABLE | g.GFP_MEMALLOC, 0 if p.one_owner else p.pin_order
    blocks: list[int] = []
    yield AllocAll(0, gfp, order, blocks)
    yield SplitPages(0, order, blocks)
    everything = sorted(page for block in blocks for page in range(block, block + (1 << order)))
    going: list[int] = []
    for _, group in groupby(everything, lambda pfn: pfn >> p.pin_order):
        pages = list(group)
        del pages[rng.randrange(len(pages))]
        going += pages
    rng.shuffle(going)
    yield FreeFolios(0, 0, going)
    yield DrainAll(0)
    yield from churn(load_of(machine, p), rng)


FRAGMENTED: Final = Workload(
    name="fragmented",
    summary="purger's load on a machine without a whole free pageblock",
    parameters=FragmentedParameters,
    operations=operations,
    total_pages=lambda machine, p: machine.pages + load_of(machine, p).total_pages,
)
