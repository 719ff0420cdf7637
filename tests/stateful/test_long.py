# SPDX-License-Identifier: GPL-2.0-only
"""A million random operations: plain chance, no Hypothesis, so that nearly all the time goes into the allocator.

Run with ``pytest -m long -s tests/stateful/test_long.py`` (``-n 2`` splits it by variant).  A failure names the
variant, the machine, the seed and the operation; ``run()`` with these reproduces it.
"""

from __future__ import annotations

import random

import pytest

from pageblock_buddy import PageblockBuddyError
from tests.stateful.driver import CONFIGS, NAMES, Driver, act

#: operations for each variant, over all machines; 29 names: 1.16 million in all
OPERATIONS = 40_000
#: a new machine and seed after so many
PROGRAM_LENGTH = 2_000
#: the whole state is judged each so many operations; each answer is judged at once
EVERY = 20


def run(variant: str, config: str, seed: int, length: int, *, every: int = EVERY) -> Driver:
    """One random program of at least ``length`` operations, on a machine of its own."""
    driver = Driver(variant, CONFIGS[config], every=every)
    chance = random.Random(f"{config} {seed}")
    number = 0
    try:
        while driver.operations < length:
            act(driver, chance, number)
            number += 1
        driver.check()
    except (PageblockBuddyError, AssertionError, LookupError) as error:
        error.add_note(f"variant {variant}, machine {config!r}, seed {seed}: after {driver.operations} operations")
        raise
    return driver


@pytest.mark.long
@pytest.mark.parametrize("variant", NAMES)
def test_a_million_operations(variant: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each answer, and every few operations each page's place, is judged; nothing is lost, and no rule is broken."""
    done, seed = 0, 0
    while done < OPERATIONS:
        for config in CONFIGS:
            done += run(variant, config, seed, PROGRAM_LENGTH).operations
        seed += 1
    with capsys.disabled():
        print(f"\n{variant}: {done} operations on {seed * len(CONFIGS)} machines")


def test_a_thousand_operations() -> None:
    """The driver of the long test itself: the same seed gives the same end, another one another."""
    variant = "llist+recover-cap-2x+owned-per-type"
    first, again, other = (run(variant, "three CPUs, CMA", seed, 500, every=100) for seed in (1, 1, 2))
    assert first.system.digest() == again.system.digest() != other.system.digest()
    assert len(NAMES) * OPERATIONS >= 10**6
