# SPDX-License-Identifier: GPL-2.0-only
"""The author's bound on phase 0: at most ``high_max - batch`` listed blocks, so a walk of at most that many pageblocks.

RFC-12.1, RFC-12.2: "The list is built from PCP fragments on drain, and fully consumed on refill" [Weiner 04-10].  It is
reached; it holds under the premise of one ordinary drain per refill of the same type (RFC-12.3); and without that
premise it is exceeded in three ways.
"""

from __future__ import annotations

import dataclasses
from random import Random
from typing import Any

import pytest

from pageblock_buddy import System
from pageblock_buddy.mm.calls import Recovered
from tests.helpers import MOVABLE, UNMOVABLE, assert_zone, machine, pcp_of

A, C = 0, 1
#: eight pageblocks of eight pages, all of CPU 0, all allocated; high = high_max = 4, batch 1: the bound is three blocks
HIGH_MAX, BATCH = 4, 1
BOUND = HIGH_MAX - BATCH
ALL_ALLOCATED = "owners: 00000000 \n alloc: " + " ".join(f"{pfn}/0" for pfn in range(64))


def owner_of_everything(text: str = ALL_ALLOCATED, batch: int = BATCH) -> System:
    """A machine in which CPU 0 owns every block."""
    return machine(text, nr_cpus=2, variant="rfc", batch=batch, high_min=HIGH_MAX, high_max=HIGH_MAX)


def listed(system: System) -> int:
    """How many blocks the next refill of CPU 0 may have to scan."""
    return len(pcp_of(system, A).owned_blocks)


def free_remotely(system: System, *pfns: int) -> None:
    """CPU 1 frees pages of CPU 0's blocks."""
    with system.on_cpu(C):
        for pfn in pfns:
            system.free_pages(pfn)


def scans(system: System) -> list[int]:
    """A list that collects, from now on, how many PFNs phase 0 looks at in each block."""
    k = system.kernel
    real = k.pcp_buddy
    scanned: list[int] = []

    def recover_block(*args: Any) -> Recovered:
        found = real.recover_block(*args)
        scanned.append(found.scanned)
        return found

    k.pcp_buddy = dataclasses.replace(real, recover_block=recover_block)
    return scanned


def test_the_bound_is_reached() -> None:
    """Four frees in four blocks; the fourth reaches high, and all that a drain may take, high - batch pages, goes."""
    system = owner_of_everything()
    free_remotely(system, 0, 8, 16, 24)
    assert listed(system) == BOUND
    # the oldest three went; each to the head
    assert_zone(
        system,
        """
        order 0: M[16 8 0]
        pcp0 o0: M[24*]
        owned0: 0 8 16
        owners: 00000000
        """,
    )


def test_the_walk_is_reached() -> None:
    """RFC-12.2: the last free page of each listed block is stolen, and the refill scans them all for nothing."""
    text = ALL_ALLOCATED.replace(" 63/0", "").replace("00000000", "0000000.")
    system = owner_of_everything(text + "\n order 0: U[63] \n blocks: MMMMMMMU")  # keeps the zone above its watermark
    free_remotely(system, 0, 8, 16, 24)
    with system.on_cpu(C):  # its refills take what is in the zone: phase 2 does not ask who owns the block
        assert [system.alloc_pages(MOVABLE) for _ in range(3)] == [16, 8, 0]
    scanned = scans(system)
    with system.on_cpu(A):
        assert system.alloc_pages(MOVABLE) == 24  # the PCP still has one
        assert scanned == []
        assert system.alloc_pages(MOVABLE) == 63  # phase 3
    assert sum(scanned) == BOUND * system.kernel.block_pages
    assert listed(system) == 0


def test_two_drains_without_a_refill_exceed_it() -> None:
    """Scenario 55: nothing lets a refill come between two drains of a CPU whose pages others free."""
    system = owner_of_everything()
    free_remotely(system, *range(0, 64, 8))
    assert listed(system) == 6 > BOUND
    assert_zone(
        system,
        """
        order 0: M[40 32 24 16 8 0]
        pcp0 o0: M[56* 48*]
        owned0: 0 8 16 24 32 40
        owners: 00000000
        """,
    )


def test_drain_all_exceeds_it() -> None:
    """drain_all_pages() lists a block for each page that the PCP holds: up to high, where the bound is high - batch."""
    system = owner_of_everything(batch=2)
    free_remotely(system, 0, 8, 16)
    assert listed(system) == 0
    system.drain_all_pages()
    assert listed(system) == 3 > HIGH_MAX - 2


def test_blocks_of_a_type_that_is_not_refilled_exceed_it() -> None:
    """Scenario 52: who frees pages of one type and allocates another piles listed blocks up; each refill walks past."""
    system = owner_of_everything(ALL_ALLOCATED + "\n blocks: UUUUUUMM")
    for pfn in range(0, 48, 8):
        free_remotely(system, pfn)
        system.drain_all_pages()
        free_remotely(system, 48 + pfn // 8)  # a MOVABLE page
        system.drain_all_pages()
        with system.on_cpu(A):
            assert system.alloc_pages(MOVABLE) == 48 + pfn // 8  # phase 0 recovers it: there was a refill
    assert listed(system) == 6 > BOUND


@pytest.mark.parametrize("seed", range(20))
def test_under_the_premise_it_holds(seed: int) -> None:
    """RFC-12.3: an ordinary drain, then a refill of the same type, then the next drain: never more than the bound."""
    random = Random(seed)
    system = owner_of_everything()
    held = list(range(64))
    most = 0
    for _ in range(60):
        while not listed(system) and held:  # frees, up to and including one ordinary drain
            free_remotely(system, held.pop(random.randrange(len(held))))
        most = max(most, listed(system))
        with system.on_cpu(A):  # allocations, until a refill has consumed the list
            while listed(system):
                pfn = system.alloc_pages(MOVABLE)
                assert pfn is not None
                held.append(pfn)
    assert most == BOUND


def test_the_premise_is_about_one_type() -> None:
    """The same rhythm with refills of another type than the frees: the list is not consumed."""
    system = owner_of_everything(ALL_ALLOCATED + "\n blocks: UUUUUUUU")
    free_remotely(system, *range(0, 32, 8))
    assert listed(system) == BOUND
    with system.on_cpu(A):
        assert system.alloc_pages(MOVABLE) is not None  # phase 3 steals from an UNMOVABLE block
    assert listed(system) == BOUND
    with system.on_cpu(A):
        while listed(system):
            assert system.alloc_pages(UNMOVABLE) is not None
