# SPDX-License-Identifier: GPL-2.0-only
"""docs/stability.md: the owner that a free reads without a lock is still the owner under the lock."""

from __future__ import annotations

import dataclasses

import pytest

from pageblock_buddy.interleave.program import Drain, SetUp
from pageblock_buddy.interleave.search import EXHAUSTED
from pageblock_buddy.interleave.stability import FREES, RIVALS, STATES, check, family, program
from pageblock_buddy.rfc import free, refill
from tests.interleave import stability_table
from tests.interleave.swap import instead

VARIANTS = stability_table.VARIANTS


def test_the_family_is_what_the_page_says() -> None:
    assert len(family()) == len(STATES) * (len(FREES) * len(RIVALS) + 1) == 217
    assert len({one.name for one in family()}) == 217


@pytest.mark.parametrize("variant", VARIANTS)
def test_holds_without_offline(variant: str) -> None:
    """A sample: one free against every rival, and every free against claims, from the state with the stale tag."""
    names = [("stale-tag", "free", rival) for rival in RIVALS if rival != "offline"]
    names += [("stale-tag", frees, "claim") for frees in FREES]
    for name in names:
        checked = check(program(*name), variant)
        assert (checked.result.verdict, checked.changed) == (EXHAUSTED, 0), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_offline_changes_owners_and_nothing_comes_of_it(variant: str) -> None:
    checked = check(program("owned", "free", "offline"), variant)
    assert checked.result.verdict == EXHAUSTED
    assert checked.changed > 0


def no_second_look(k: object, pfn: int, tag: int, cpu: int) -> bool:
    return True


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_the_second_look_offline_is_a_fault(variant: str) -> None:
    with instead(free.still_routed, no_second_look):
        checked = check(program("owned", "free", "offline"), variant)
    # rfc: the page is on a dead CPU's lists, marked.  llist: it is on a dead CPU's llist.
    codes = {finding.code for finding in checked.result.findings}
    assert codes & {"stale-owner", "invariant"}, codes


def claims_what_is_not_whole(k, zone, pcp, wanted, mt, alloc_flags):  # type: ignore[no-untyped-def]
    """Adopt the block of the first free page, as [21/40] would: it need not be complete."""
    got = 0
    while wanted - got >= k.block_pages:
        pfn = k.calls._rmqueue(k, zone, 0, mt, alloc_flags, RmqueueMode())  # type: ignore[name-defined]  # noqa: F821
        if pfn is None:
            break
        claim_pageblock(k, zone, pcp, pfn & -k.block_pages)  # type: ignore[name-defined]  # noqa: F821
        add_refill(k, pcp, pfn, 0, mt, PG_PCP_BUDDY)  # type: ignore[name-defined]  # noqa: F821
        got += 1
    return got


def test_the_check_can_fail_without_offline() -> None:
    """If blocks are claimed that are not complete, owners change under a free that has read them."""
    one = program("other-owner", "free", "claim")
    one = dataclasses.replace(one, setup=(*one.setup, SetUp(1, Drain(1))))
    assert check(one, "rfc").changed == 0
    with instead(refill.claim_by_rmqueue, claims_what_is_not_whole):
        assert check(one, "rfc").changed > 0


@pytest.mark.ci
def test_the_table_of_the_page() -> None:
    """All programs on all variants; after a deliberate change: python -m tests.interleave.stability_table"""
    assert stability_table.table() == stability_table.written(stability_table.PAGE.read_text())
