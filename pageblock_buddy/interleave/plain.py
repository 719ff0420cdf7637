# SPDX-License-Identifier: GPL-2.0-only
"""How many schedules a plain depth-first search would run, without running them."""

from __future__ import annotations

from typing import Final

from pageblock_buddy.errors import ExplorationIncomplete
from pageblock_buddy.interleave.carriers import get_carrier
from pageblock_buddy.interleave.engine import CHOICE, Engine
from pageblock_buddy.interleave.program import Program
from pageblock_buddy.interleave.strategies.hashed import Hashed

#: States that are kept in memory at most.
MAX_STATES: Final = 200_000


def count_plain(
    program: Program, variant: str, shared: frozenset[int], *, carrier: str = "threads", max_states: int = MAX_STATES
) -> tuple[int, int]:
    """(schedules, states) of a plain search whose choices are the objects ``shared``.

    Errors: ExplorationIncomplete if there are more than ``max_states`` states.
    """
    stack = get_carrier(carrier)
    try:
        engine = Engine(program, variant, stack, guards=True, keep_keys=True, invariants="never")
        for oid in shared:
            engine.visible[oid] = CHOICE
        strategy = Hashed(engine, engine.keys.full)
        engine.run(strategy)
        while strategy.next(engine):
            if strategy.states > max_states:
                raise ExplorationIncomplete(f"more than {max_states} states", states=max_states)
            engine.run(strategy)
        return strategy.schedules, strategy.states
    finally:
        stack.close()
