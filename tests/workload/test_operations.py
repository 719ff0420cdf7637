# SPDX-License-Identifier: GPL-2.0-only
"""Operations do what the System facade would do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pageblock_buddy import Config, System
from pageblock_buddy.workload.operations import (
    Alloc,
    AllocAll,
    DrainAll,
    FreeFolios,
    FreePages,
    Operation,
    SplitPages,
    StartMeasuring,
    VmstatUpdate,
    perform,
)
from tests.helpers import MOVABLE, UNMOVABLE


def booted() -> System:
    return System.boot(Config.small(256, nr_cpus=2, batch=4, high_min=8, high_max=32), variant="rfc")


def facade(system: System) -> None:
    """What OPERATIONS do."""
    with system.on_cpu(1):
        pages = [system.alloc_pages(MOVABLE) for _ in range(70)]
        pairs = [system.alloc_pages(UNMOVABLE, 1) for _ in range(5)]
    with system.on_cpu(0):
        for start in range(0, 70, 31):
            system.free_folios([(pfn, 0) for pfn in pages[start : start + 31] if pfn is not None])
        for pfn in pairs[:4]:
            assert pfn is not None
            system.free_pages(pfn, 1)
        assert pairs[4] is not None
        system.split_page(pairs[4], 1)
    with system.on_cpu(1):
        system.refresh_vm_stats(pagesets=True)
        system.drain_all_pages()


def operations(system: System) -> list[Callable[[], Operation]]:
    pages: list[int] = []
    pairs: list[int] = []
    return [
        lambda: Alloc(1, MOVABLE, 0, 70, pages),
        lambda: Alloc(1, UNMOVABLE, 1, 5, pairs),
        StartMeasuring,
        lambda: FreeFolios(0, 0, pages),
        lambda: FreePages(0, 1, pairs[:4]),
        lambda: SplitPages(0, 1, pairs[4:]),
        lambda: VmstatUpdate(1),
        lambda: DrainAll(1),
    ]


def test_operations_are_the_facades() -> None:
    one, other = booted(), booted()
    facade(one)
    assert [perform(other.kernel, make()) for make in operations(other)] == [0] * 8
    assert other.digest() == one.digest()


def test_failures_are_counted() -> None:
    system = booted()
    pages: list[int] = []
    failed = perform(system.kernel, Alloc(0, MOVABLE, 0, 300, pages))
    assert failed == 300 - len(pages) > 0


@pytest.mark.parametrize("order", [0, 2])
def test_alloc_all_takes_what_there_is(order: int) -> None:
    system = booted()
    blocks: list[int] = []
    assert perform(system.kernel, AllocAll(0, MOVABLE, order, blocks)) == 0
    assert system.alloc_pages(MOVABLE, order) is None
    assert len(blocks) << order >= 200
