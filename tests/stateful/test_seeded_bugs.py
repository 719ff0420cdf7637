# SPDX-License-Identifier: GPL-2.0-only
"""Random programs find bugs that are put into the tables of a variant, within a stated number of operations.

Each bug says which judges find it *alone*: the extent map, which sees answers and states from outside,
System.validate(), and the monitor of transitions.  Some bugs are legal in every state: only the monitor can see them.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest

from pageblock_buddy import LockError, ModelBug, PageblockBuddyError, gfp
from pageblock_buddy.gfp import FPI_NONE, FPI_PCP_BUDDY
from pageblock_buddy.linux_7_0 import variant as linux_7_0
from pageblock_buddy.llist import variant as llist
from pageblock_buddy.mm.calls import Recovered
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import PG_KIND_MASK, PG_NONE, PG_PCP, PG_PCP_BUDDY
from pageblock_buddy.oracle.extents import Violation
from pageblock_buddy.rfc import merge
from pageblock_buddy.rfc import variant as rfc
from pageblock_buddy.rfc.pcp import add_refill, pcp_list_type
from pageblock_buddy.variants import VARIANTS, get_variant
from tests.stateful.driver import CONFIGS, Driver, act

#: operations within which a bug is found, in all programs together
LIMIT = 2_000
PROGRAM_LENGTH = 500
#: each so many operations the state is judged
EVERY = 4
#: machines on which claims, drains and recoveries are frequent
MACHINES = ("three CPUs, CMA", "four CPUs, two nodes, a hole", "larger pageblocks, THP")

ALL = ("extents", "validate", "monitor")

Entries = dict[str, Callable[..., Any]]


@dataclasses.dataclass(frozen=True)
class Bug:
    """Wrong entries of the two tables, on ``variant``; ``found_by`` the judges that find it alone."""

    name: str
    found_by: str
    variant: str = "rfc"
    calls: Entries = dataclasses.field(default_factory=dict)
    pcp_buddy: Entries = dataclasses.field(default_factory=dict)


# --- the bugs ----------------------------------------------------------------------------------


def list_without_a_test(k: Kernel, zone: Zone, pcp: PerCpuPages, block_pfn: int) -> None:
    """Scenario 14: a block that is listed already is listed again, here under its new type."""
    pcp.owned_blocks_by_type[pcp_list_type(k, block_pfn)].list_add_tail(block_pfn)
    k.pageblock_cpu_node[block_pfn >> k.pageblock_order] = pcp.cpu + 1


def list_on_the_running_cpu(k: Kernel, zone: Zone, pcp: PerCpuPages, block_pfn: int) -> None:
    """Scenario 62 done wrongly: a remote drain lists the block with the CPU that drains."""
    rfc.PCP_BUDDY.list_owned_block(k, zone, zone.per_cpu_pageset[k.machine.cpu], block_pfn)


def no_disown(k: Kernel, zone: Zone, pfn: int, tag: int) -> None:
    """The store of 0 is forgotten."""
    if tag:
        rfc.PCP_BUDDY.set_pageblock_owner(k, zone, pfn, tag)


def wrong_owner(k: Kernel, zone: Zone, pfn: int, tag: int) -> None:
    """A claim in an interrupt or a remote drain: the running CPU + 1 in place of the tag, here the next CPU."""
    nr_cpus = k.machine.nr_cpus
    rfc.PCP_BUDDY.set_pageblock_owner(k, zone, pfn, tag % nr_cpus + 1 if tag else 0)


def cpu_without_the_one(k: Kernel, zone: Zone, pfn: int, tag: int) -> None:
    """The CPU's number is stored without the + 1, so that CPU 0 is nobody."""
    rfc.PCP_BUDDY.set_pageblock_owner(k, zone, pfn, max(tag - 1, 0))


def no_unlist(k: Kernel, zone: Zone, block_pfn: int) -> None:
    """Scenarios 11, 12: neither a claim nor a disown unlinks; phase 0 does."""
    if k.pageblock_cpu[block_pfn >> k.pageblock_order] and k.mem_map[block_pfn] != PG_NONE:
        rfc.PCP_BUDDY.unlist_owned_block(k, zone, block_pfn)


def rests_unmarked(k: Kernel, zone: Zone, pcp: PerCpuPages, order: int, mt: int) -> int | None:
    """The rests of a split do not inherit the mark."""
    before = {pfn for one in pcp.lists for pfn in one}
    pfn = rfc.PCP_BUDDY.pcp_rmqueue_smallest(k, zone, pcp, order, mt)
    for one in pcp.lists:
        for rest in one:
            if rest not in before:
                k.mem_map[rest] &= ~(PG_PCP_BUDDY ^ PG_PCP)
    return pfn


def rests_uncounted(k: Kernel, zone: Zone, pcp: PerCpuPages, order: int, mt: int) -> int | None:
    """A block of order 0 takes too much off the count if a chunk was split."""
    chunks = sum(map(len, pcp.lists))
    pfn = rfc.PCP_BUDDY.pcp_rmqueue_smallest(k, zone, pcp, order, mt)
    if sum(map(len, pcp.lists)) > chunks:
        pcp.count -= 1
    return pfn


def chunks_marked(k: Kernel, zone: Zone, pcp: PerCpuPages, order: int, wanted: int, mt: int) -> int:
    """Phase 2 marks what it takes."""
    before = {pfn for one in pcp.lists for pfn in one}
    got = rfc.PCP_BUDDY.refill_chunks(k, zone, pcp, order, wanted, mt)
    for one in pcp.lists:
        for pfn in one:
            if pfn not in before:
                k.mem_map[pfn] |= PG_PCP_BUDDY
    return got


def recover_with_the_neighbour(k: Kernel, zone: Zone, pcp: PerCpuPages, block_pfn: int, limit: int) -> Recovered:
    """Scenario 15: of a larger buddy both halves come to the PCP, marked."""
    found = rfc.PCP_BUDDY.recover_block(k, zone, pcp, block_pfn, limit)
    order = k.pageblock_order
    neighbour = block_pfn ^ k.block_pages
    mt = k.calls.get_pageblock_migratetype(k, block_pfn)
    if found.pages == k.block_pages and neighbour in zone.free_area[order].free_list[mt]:
        k.calls._del_page_from_free_list(k, neighbour, zone, order, mt)
        zone.nr_free_pages -= k.block_pages
        add_refill(k, pcp, neighbour, order, mt, PG_PCP_BUDDY)
    return found


def merges_in_one_list(k: Kernel, pcp: PerCpuPages) -> int:
    """Scenario 51: buddies on lists of two types are not merged."""
    merges = 0
    for order in range(k.pageblock_order):
        for mt in range(gfp.MIGRATE_PCPTYPES):
            pcp_list = pcp.lists[3 * order + mt]
            for pfn in pcp_list.to_list():
                buddy = pfn ^ (1 << order)
                state = PG_PCP_BUDDY | order
                if pfn in pcp_list and buddy in pcp_list and k.mem_map[pfn] == k.mem_map[buddy] == state:
                    pcp_list.list_del(pfn)
                    pcp_list.list_del(buddy)
                    k.mem_map[pfn] = k.mem_map[buddy] = PG_NONE
                    k.mem_map[pfn & buddy] = state + 1
                    pcp.lists[3 * order + 3 + mt].list_add(pfn & buddy)
                    merges += 1
    return merges


def merges_unmarked(k: Kernel, pcp: PerCpuPages) -> int:
    """Buddies merge although one is not marked, and the result is marked."""
    for one in pcp.lists:
        for pfn in one:
            k.mem_map[pfn] |= PG_PCP_BUDDY
    return merge.merge_pcp_buddies(k, pcp)


def always_marked(k: Kernel, zone: Zone, pcp: PerCpuPages, pfn: int, mt: int, order: int, fpi_flags: int) -> bool:
    """Every freed page is marked."""
    return rfc.CALLS.free_frozen_page_commit(k, zone, pcp, pfn, mt, order, fpi_flags | FPI_PCP_BUDDY)


def never_marked(k: Kernel, zone: Zone, pcp: PerCpuPages, pfn: int, mt: int, order: int, fpi_flags: int) -> bool:
    """No freed page is marked: nothing merges any more, and every state is legal."""
    return rfc.CALLS.free_frozen_page_commit(k, zone, pcp, pfn, mt, order, fpi_flags & ~FPI_PCP_BUDDY)


def counts_one_page(k: Kernel, zone: Zone, pcp: PerCpuPages, pfn: int, mt: int, order: int, fpi_flags: int) -> bool:
    """A free of a larger block is counted as one page."""
    pcp.count -= (1 << order) - 1
    return rfc.CALLS.free_frozen_page_commit(k, zone, pcp, pfn, mt, order, fpi_flags)


def drain_disowns_late(k: Kernel, zone: Zone, count: int, pcp: PerCpuPages, pindex: int) -> int:
    """Scenario 26: the stores of 0 come behind the unlock that publishes the blocks."""
    before = pcp.count
    k.pcp_buddy.merge_pcp_buddies(k, pcp)
    gone = []
    zone.lock.lock()
    for victims in k.pcp_buddy.drain_order(k, pindex):
        order = k.calls.pindex_to_order(k, victims)
        while count > 0 and not pcp.lists[victims].list_empty():
            pfn = pcp.lists[victims].pop_last()
            count -= 1 << order
            pcp.count -= 1 << order
            if k.mem_map[pfn] & PG_KIND_MASK == PG_PCP_BUDDY:
                block = pfn & -k.block_pages
                if order == k.pageblock_order:
                    k.pcp_buddy.unlist_owned_block(k, zone, block)
                    gone.append(block)
                else:
                    k.pcp_buddy.list_owned_block(k, zone, pcp, block)
            k.mem_map[pfn] = PG_NONE
            k.calls._free_one_page(k, pfn, zone, order, k.calls.get_pageblock_migratetype(k, pfn), FPI_NONE)
    zone.lock.unlock()
    for block in gone:
        k.pageblock_cpu[block >> k.pageblock_order] = 0
    return before - pcp.count


def absorbs_without_counting(k: Kernel, zone: Zone, pcp: PerCpuPages, order: int, mt: int) -> int | None:
    """Remote frees come to the lists, and not into the count."""
    pages = sum(1 << order for _, order in pcp.free_llist.to_list())
    pfn = llist.PCP_BUDDY.pcp_rmqueue_smallest(k, zone, pcp, order, mt)
    pcp.count -= pages
    return pfn


BUGS = (
    Bug("list_owned_block without test", "extents validate", "rfc+owned-per-type",
        pcp_buddy={"list_owned_block": list_without_a_test}),
    Bug("listed on the running CPU", "extents validate", pcp_buddy={"list_owned_block": list_on_the_running_cpu}),
    Bug("disown forgotten", "extents validate monitor", pcp_buddy={"set_pageblock_owner": no_disown}),
    Bug("disown behind the unlock", "monitor", calls={"free_pcppages_bulk": drain_disowns_late}),
    Bug("wrong owner", "extents validate", pcp_buddy={"set_pageblock_owner": wrong_owner}),
    Bug("owner without + 1", "extents validate", pcp_buddy={"set_pageblock_owner": cpu_without_the_one}),
    Bug("unlist forgotten", "extents validate", pcp_buddy={"unlist_owned_block": no_unlist}),
    Bug("mark not inherited", "monitor", pcp_buddy={"pcp_rmqueue_smallest": rests_unmarked}),
    Bug("phase 2 marks", "extents validate", pcp_buddy={"refill_chunks": chunks_marked}),
    Bug("every free is marked", "extents validate monitor", calls={"free_frozen_page_commit": always_marked}),
    Bug("no free is marked", "monitor", calls={"free_frozen_page_commit": never_marked}),
    Bug("unmarked chunks merge", "extents validate", pcp_buddy={"merge_pcp_buddies": merges_unmarked}),
    Bug("merge within one list", "monitor", pcp_buddy={"merge_pcp_buddies": merges_in_one_list}),
    Bug("count off after a split", "extents validate", pcp_buddy={"pcp_rmqueue_smallest": rests_uncounted}),
    Bug("count off after a free", "extents validate", calls={"free_frozen_page_commit": counts_one_page}),
    Bug("neighbour recovered too", "extents validate", pcp_buddy={"recover_block": recover_with_the_neighbour}),
    Bug("dead CPU keeps its blocks", "extents validate",
        calls={"page_alloc_cpu_dead": linux_7_0.CALLS.page_alloc_cpu_dead}),
    Bug("absorbed and not counted", "extents validate", "llist",
        pcp_buddy={"pcp_rmqueue_smallest": absorbs_without_counting}),
    # found by the program itself: a drained list holds pages
    Bug("drain_all passes over remote frees", "", "llist",
        calls={"drain_all_pages": linux_7_0.CALLS.drain_all_pages}),
)  # fmt: skip


def verdict(monkeypatch: pytest.MonkeyPatch, bug: Bug, judges: tuple[str, ...]) -> tuple[int, str] | None:
    """How many operations it takes these judges to find the bug, and how they do; None if not within the limit.

    "stumbled": no judge found it, but the variant itself, or the program, came upon something impossible.
    """
    base = get_variant(bug.variant).calls
    assert base.pcp_buddy is not None
    calls = dataclasses.replace(base, pcp_buddy=dataclasses.replace(base.pcp_buddy, **bug.pcp_buddy), **bug.calls)
    monkeypatch.setitem(VARIANTS, "seeded", dataclasses.replace(get_variant(bug.variant), name="seeded", calls=calls))
    done, seed = 0, 0
    while done < LIMIT:
        driver = Driver("seeded", CONFIGS[MACHINES[seed % len(MACHINES)]], judges=judges, every=EVERY)
        chance = random.Random(seed)
        number = 0
        try:
            while driver.operations < PROGRAM_LENGTH:
                act(driver, chance, number)
                number += 1
        except (Violation, ModelBug, LockError) as error:
            return done + driver.operations, error.message
        except (PageblockBuddyError, AssertionError, LookupError, StopIteration) as error:
            return done + driver.operations, f"stumbled: {error}"
        done += driver.operations
        seed += 1
    return None


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: Bug) -> None:
    """All judges together find it; so does each one that is named, alone."""
    for judges in (ALL, *((judge,) for judge in bug.found_by.split())):
        found = verdict(monkeypatch, bug, judges)
        assert found is not None, judges
        assert not (bug.found_by and found[1].startswith("stumbled")), (judges, found)


@pytest.mark.ci
@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_what_a_judge_cannot_see(monkeypatch: pytest.MonkeyPatch, bug: Bug) -> None:
    """A judge that is not named does not find it: so the table says what each judge is for."""
    for judge in sorted(set(ALL) - set(bug.found_by.split())):
        found = verdict(monkeypatch, bug, (judge,))
        assert found is None or found[1].startswith("stumbled"), (judge, found)


@pytest.mark.ci
def test_without_a_bug_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same programs on the variants as they are."""
    for variant in sorted({bug.variant for bug in BUGS}):
        assert verdict(monkeypatch, Bug("none", "", variant), ALL) is None
