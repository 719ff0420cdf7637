# SPDX-License-Identifier: GPL-2.0-only
"""Pageblock types, of which isolation is a bit of its own."""

from __future__ import annotations

import pytest

from pageblock_buddy import Config, System, gfp
from pageblock_buddy.linux_7_0.pageblock import (
    get_pageblock_migratetype,
    set_pageblock_migratetype,
    stored_migratetype,
    toggle_pageblock_isolate,
)
from pageblock_buddy.mm.kernel import Kernel
from tests.helpers import C, H, I, M, R, U
from tests.linux_7_0.watch import VARIANT, machine


def types(k: Kernel) -> list[int]:
    """What a reader sees, block by block."""
    return [get_pageblock_migratetype(k, pfn) for pfn in range(0, 64, 8)]


def test_boot() -> None:
    """LPA-12.0.1, LPA-2.0.4: MOVABLE, and nothing is isolated."""
    k = System.boot(Config.small(64), variant=VARIANT).kernel
    assert types(k) == [M] * 8
    assert [stored_migratetype(k, pfn) for pfn in range(0, 64, 8)] == [M] * 8


def test_size_of_a_pageblock() -> None:
    """LPA-1.0.4, LPA-1.0.6: order 9, 512 pages; order 10 is the largest (LPA-1.0.2).  The first block starts before the
    zone, at 0, so it is UNMOVABLE (LPA-12.0.2)."""
    k = System.boot(Config.pc(8), variant=VARIANT).kernel
    assert (k.pageblock_order, k.block_pages, k.config.max_page_order) == (9, 512, 10)
    set_pageblock_migratetype(k, 512, R)
    assert [get_pageblock_migratetype(k, pfn) for pfn in (511, 512, 1023, 1024)] == [U, R, R, M]


@pytest.mark.parametrize("pfn", [8, 12, 15])
def test_one_type_a_pageblock(pfn: int) -> None:
    """LPA-2.0.4: any page of the block 8..15 sets and reads it; the neighbours keep theirs."""
    k = machine().kernel
    set_pageblock_migratetype(k, pfn, R)
    assert types(k) == [M, R, M, M, M, M, M, M]
    assert [get_pageblock_migratetype(k, page) for page in (7, 8, 11, 15, 16)] == [M, R, R, R, M]
    assert [stored_migratetype(k, page) for page in (7, 8, 11, 15, 16)] == [M, R, R, R, M]


@pytest.mark.parametrize("mt", [U, M, R, H, C])
def test_the_type_survives_isolation(mt: int) -> None:
    """LPA-2.0.6: a reader sees ISOLATE while the bit is set; the stored type is there all the time."""
    k = machine().kernel
    set_pageblock_migratetype(k, 8, mt)
    toggle_pageblock_isolate(k, 13, True)
    assert types(k) == [M, I, M, M, M, M, M, M]
    assert [get_pageblock_migratetype(k, pfn) for pfn in (8, 15)] == [I, I]
    assert [stored_migratetype(k, pfn) for pfn in (8, 15)] == [mt, mt]
    toggle_pageblock_isolate(k, 10, False)
    assert types(k) == [M, mt, M, M, M, M, M, M]


def test_the_bit_is_set_not_flipped() -> None:
    """LPA-2.0.6: isolating twice isolates; giving back twice gives back."""
    k = machine().kernel
    for isolate, seen in ((True, I), (True, I), (False, M), (False, M)):
        toggle_pageblock_isolate(k, 8, isolate)
        assert types(k) == [M, seen, M, M, M, M, M, M]


@pytest.mark.parametrize("mt", [U, M, R, H, C])
def test_setting_a_type_ends_isolation(mt: int) -> None:
    """LPA-2.0.6: set_pageblock_migratetype() writes type and bit."""
    k = machine().kernel
    for pfn in (0, 8):
        toggle_pageblock_isolate(k, pfn, True)
    set_pageblock_migratetype(k, 9, mt)
    assert types(k) == [I, mt, M, M, M, M, M, M]
    assert stored_migratetype(k, 8) == mt


def test_isolate_is_no_mergeable_type() -> None:
    """LPA-1.0.11, LPA-6.0.2: what a reader sees of an isolated block is not mergeable, whatever is stored."""
    k = machine().kernel
    toggle_pageblock_isolate(k, 8, True)
    assert not gfp.is_migrate_mergeable(get_pageblock_migratetype(k, 8))
    assert gfp.is_migrate_mergeable(stored_migratetype(k, 8))
