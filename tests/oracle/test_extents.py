# SPDX-License-Identifier: GPL-2.0-only
"""The extent map and its rules: what is sound passes, and each rule can fail."""

from __future__ import annotations

import ast
import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pageblock_buddy import InputError, System
from pageblock_buddy.invariants import pages_by_place
from pageblock_buddy.oracle import extents
from pageblock_buddy.oracle.extents import (
    OPERATION_RULES,
    RULES,
    STATE_RULES,
    ExtentMap,
    Judge,
    Violation,
    check_state,
    memory_of,
    observe,
    violations,
)
from tests.helpers import machine
from tests.stateful.driver import CONFIGS

# --- independence ------------------------------------------------------------------------------


def test_it_shares_no_code_with_the_model() -> None:
    """Of this package it imports the errors alone; of others, sortedcontainers alone."""
    names = set()
    for node in ast.walk(ast.parse(Path(extents.__file__).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module or "")
    own = {name for name in names if name.split(".")[0] == "pageblock_buddy"}
    others = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"pageblock_buddy"}
    assert own == {"pageblock_buddy.errors"}
    assert others == {"sortedcontainers"}


# --- the map -----------------------------------------------------------------------------------

Step = tuple[int, int]


@settings(max_examples=60, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=30))
def test_the_map_is_what_a_table_of_pages_would_be(steps: list[Step]) -> None:
    """add, remove, overlap, covers and difference against one entry a page."""
    extent_map: ExtentMap[int] = ExtentMap()
    pages: dict[int, int] = {}
    for number, (first, size) in enumerate(steps):
        wanted = range(first, first + size)
        taken = [page for page in wanted if page in pages]
        overlap = extent_map.overlap(first, first + size)
        assert (overlap is None) == (not taken)
        assert extent_map.covers(first, first + size) == (len(taken) == size)
        if overlap is None:
            extent_map.add(first, first + size, number)
            pages |= dict.fromkeys(wanted, number)
        else:
            assert pages[taken[0]] == overlap[2]
            end, value = extent_map.remove(overlap[0])
            assert all(pages.pop(page) == value for page in range(overlap[0], end))
        extent_map._check()
        assert extent_map.pages == len(pages)
        assert [page for start, end, _ in extent_map for page in range(start, end)] == sorted(pages)
        assert len(extent_map) == len(set(pages.values()))
    whole: ExtentMap[None] = ExtentMap()
    whole.add(0, 64, None)
    assert extent_map.difference(whole) is None
    gap = whole.difference(extent_map)
    assert gap is not None
    assert gap[0] == min(set(range(64)) - pages.keys())
    assert not pages.keys() & set(range(*gap))


@pytest.mark.parametrize(("first", "end"), [(3, 3), (3, 2), (-1, 2), (7, 9), (8, 12), (0, 32)])
def test_an_extent_that_cannot_be_added(first: int, end: int) -> None:
    """Empty, negative, or not free."""
    extent_map: ExtentMap[str] = ExtentMap()
    extent_map.add(8, 16, "x")
    with pytest.raises(Violation, match="structure"):
        extent_map.add(first, end, "y")
    assert extent_map.get(8) == (16, "x")
    assert extent_map.get(9) is None


def test_the_own_structure_is_checked() -> None:
    """A map or a judge that was tampered with says so."""
    judge = Judge([(0, 32)])
    judge.alloc(0, 2)
    judge._check()
    for break_it in (
        lambda j: j._allocated._by_first.update({2: (3, extents.Allocation(0))}),
        lambda j: setattr(j._allocated, "pages", 5),
        lambda j: setattr(j._allocated.get(0)[1], "order", 1),
        lambda j: setattr(j._allocated.get(0)[1], "references", 0),
        lambda j: j._allocated.add(40, 41, extents.Allocation(0)),
        lambda j: j._memory._by_first.update({0: (0, None)}),
    ):
        broken = copy.deepcopy(judge)
        break_it(broken)
        with pytest.raises(Violation, match="structure") as caught:
            broken._check()
        assert caught.value.rule == "structure"


# --- operations --------------------------------------------------------------------------------


def used() -> Judge:
    """Memory 0..31 and 40..47; allocations 0/1, a compound 8/2, and 16/0 with two references."""
    judge = Judge([(0, 16), (16, 16), (40, 8)])
    judge.alloc(0, 1)
    judge.alloc(8, 2, compound=True)
    judge.alloc(16)
    judge.get_page(16)
    judge._check()
    return judge


WRONG: list[tuple[str, Callable[[Judge], None]]] = [
    ("alloc-outside", lambda j: j.alloc(32)),
    ("alloc-outside", lambda j: j.alloc(64, 5)),
    ("alloc-outside", lambda j: j.alloc(32, 4)),  # begins outside and ends inside
    ("alloc-misaligned", lambda j: j.alloc(6, 2)),
    ("alloc-misaligned", lambda j: j.alloc_exact(18, 3)),
    ("alloc-overlap", lambda j: j.alloc(1)),
    ("alloc-overlap", lambda j: j.alloc(0, 1)),
    ("alloc-overlap", lambda j: j.alloc(8, 3)),
    ("alloc-overlap", lambda j: j.alloc(0, 3)),
    ("alloc-overlap", lambda j: j.alloc_exact(0, 1)),
    ("alloc-overlap", lambda j: j.alloc_bulk([20, 21, 20], 3)),
    ("alloc-too-many", lambda j: j.alloc_bulk([20, 21], 1)),
    ("free-unknown", lambda j: j.free(2)),
    ("free-unknown", lambda j: j.free(1)),  # inside an allocation
    ("free-unknown", lambda j: j.free_exact(16, 2)),
    ("free-unknown", lambda j: j.free_folios([(16, 0), (17, 0)])),
    ("free-order", lambda j: j.free(0)),
    ("free-order", lambda j: j.free(8, 3)),
    ("free-order", lambda j: j.free_folios([(8, 1)])),
    ("free-references", lambda j: j.free_folios([(16, 0), (16, 0), (16, 0)])),
    ("free-refused", lambda j: j.refused(8, 2)),
    ("split-unknown", lambda j: j.split_page(2, 0)),
    ("split-order", lambda j: j.split_page(0, 0)),
    ("split-compound", lambda j: j.split_page(8, 2)),
    ("get-unknown", lambda j: j.get_page(9)),
    ("references", lambda j: j.page_count(16, 1)),
    ("references", lambda j: j.page_count(17, 1)),
    ("books", lambda j: j.state({"allocated": [[0, 1, 0, 1], [8, 2, 1, 1], [16, 0, 0, 1]]})),
    ("books", lambda j: j.state({"allocated": [[0, 1, 0, 1], [8, 2, 0, 1], [16, 0, 0, 2]]})),
    ("books", lambda j: j.state({})),
]


@pytest.mark.parametrize(("rule", "operation"), WRONG)
def test_a_wrong_operation(rule: str, operation: Callable[[Judge], None]) -> None:
    """Each rule fails by its name, which is in the details as JSON."""
    with pytest.raises(Violation, match=f"^{rule}: ") as caught:
        operation(used())
    assert caught.value.rule == caught.value.details["rule"] == rule
    assert json.loads(json.dumps(caught.value.to_dict()))["code"] == "violation"


def test_every_rule_is_broken_here() -> None:
    assert {rule for rule, _ in WRONG} == set(OPERATION_RULES)
    assert {rule for rule, _, _ in BROKEN} == set(STATE_RULES)
    assert set(RULES) == {*OPERATION_RULES, *STATE_RULES, "structure"}


def test_right_operations() -> None:
    """Everything that a program may do, and the books after it."""
    judge = used()
    assert (judge.given, judge.allocated, judge.free_pages, len(judge)) == (40, 7, 33, 3)
    judge.page_count(16, 2)
    judge.page_count(17, 0)
    judge.refused(8, 1)
    judge.refused(17)
    judge.alloc_exact(20, 3)
    judge.alloc_bulk([24, 30], 4)
    judge.split_page(0, 1)
    judge.free_folios([(16, 0), (16, 0), (8, 2)])
    judge.free_exact(20, 3)
    judge.free(1)
    judge._check()
    assert judge.allocations() == [[0, 0, 0, 1], [24, 0, 0, 1], [30, 0, 0, 1]]
    assert judge.get(20) is None


def test_an_allocation_may_lie_in_two_ranges_of_memory() -> None:
    """Ranges that touch are one memory."""
    judge = Judge([(0, 12), (12, 20)])
    judge.alloc(8, 3)
    assert judge.allocated == 8


def test_references() -> None:
    """LPA-10.0.2, LPA-10.0.3: with references left a block loses all but its first page, unless it is compound; a batch
    leaves it whole; split_page() leaves the references to the first page."""
    judge = Judge([(0, 64)])
    for pfn, compound in ((0, False), (8, True), (16, False), (24, False)):
        judge.alloc(pfn, 3, compound=compound)
        judge.get_page(pfn)
    judge.free(0, 3)
    judge.free(8, 3)
    judge.free_folios([(16, 3)])
    judge.split_page(24, 3)
    assert judge.allocations() == [
        [0, 0, 0, 1],
        [8, 3, 1, 1],
        [16, 3, 0, 1],
        [24, 0, 0, 2],
        *([pfn, 0, 0, 1] for pfn in range(25, 32)),
    ]
    judge.alloc(4, 2)
    judge._check()


@pytest.mark.parametrize("memory", [[(0, 0)], [(-1, 2)], [(0, 8), (7, 1)], [(8, 8), (0, 9)]])
def test_memory_that_cannot_be(memory: list[tuple[int, int]]) -> None:
    """InputError: nobody to judge."""
    with pytest.raises(InputError):
        Judge(memory)


@pytest.mark.parametrize("name", CONFIGS)
def test_memory_of_a_config(name: str) -> None:
    """It is what the booted allocator has, page for page."""
    system = System.boot(CONFIGS[name])
    memory = memory_of(CONFIGS[name].to_dict())
    assert sum(pages for _, pages in memory) == sum(pages_by_place(system.kernel).values())
    check_state(observe(system.snapshot(), memory=memory))


def test_memory_between_holes() -> None:
    """Ranges without memory at the ends, side by side, and one that was never the allocator's."""
    zones = [
        {"start_pfn": 0, "spanned_pages": 32, "holes": [[28, 4], [0, 3]], "reserved": [[8, 4], [12, 1]]},
        {"start_pfn": 40, "spanned_pages": 8, "holes": [], "reserved": [[40, 8]]},
        {"start_pfn": 64, "spanned_pages": 8, "holes": [], "reserved": []},
    ]
    assert memory_of({"zones": zones}) == [(3, 5), (13, 15), (64, 8)]


# --- states ------------------------------------------------------------------------------------

M, U = 1, 0


def sound() -> dict[str, Any]:
    """A page in every kind of place, owners, marks and listings."""
    return {
        "format": "pageblock-buddy-observation",
        "version": 1,
        "pageblock_order": 3,
        "max_order": 4,
        "memory": [[0, 64], [72, 8]],
        "allocated": [[0, 0, 0, 1], [9, 0, 0, 2], [12, 2, 1, 1], [48, 4, 0, 1]],
        "held_locks": [],
        "zones": [
            {
                "name": "0/1",
                "start": 0,
                "end": 64,
                "free": [[4, 2, M], [10, 1, M], [26, 1, U], [28, 2, U], [32, 4, M]],
                "nr_free": [0, 2, 2, 0, 1],
                "deferred": [[24, 0]],
                "types": [[0, M], [8, M], [16, M], [24, U], [32, M], [40, M], [48, M], [56, M]],
                "owners": [[0, 0], [16, 1], [24, 0]],
                "marked": [1, 2, 16],
                "cpus": [
                    {
                        "cpu": 0,
                        "online": True,
                        "count": 3,
                        "chunks": [[1, 0, 0], [2, 1, 1]],
                        "llist": [[25, 0]],
                        "listed": [0],
                    },
                    {"cpu": 1, "online": True, "count": 9, "chunks": [[8, 0, 0], [16, 3, 3]], "listed": []},
                    {"cpu": 2, "online": False, "count": 0},
                ],
            },
            {
                "name": "0/2",
                "start": 72,
                "end": 80,
                "free": [[72, 3, M]],
                "cpus": [{"cpu": 0}, {"cpu": 1}, {"cpu": 2}],
            },
        ],
    }


Change = Callable[[dict[str, Any]], object]


def zone(o: dict[str, Any]) -> dict[str, Any]:
    """The first zone."""
    first: dict[str, Any] = o["zones"][0]
    return first


def cpu(o: dict[str, Any], number: int = 0) -> dict[str, Any]:
    """One of its CPUs."""
    found: dict[str, Any] = zone(o)["cpus"][number]
    return found


def replaced(where: Callable[[dict[str, Any]], dict[str, Any]], key: str, value: Any) -> Change:
    """Another value under a key."""
    return lambda o: where(o).update({key: value})


#: rule, what else is broken then, the change
BROKEN: list[tuple[str, set[str], Change]] = [
    ("align", {"place", "conservation"}, lambda o: zone(o)["free"].__setitem__(1, [11, 1, M])),
    ("align", {"place", "count"}, lambda o: cpu(o, 1)["chunks"].append([27, 1, 1])),
    ("align", set(), lambda o: o["allocated"].__setitem__(
        slice(3, 4), [[48, 3, 0, 1], [56, 0, 0, 1], [57, 1, 0, 1], [59, 0, 0, 1], [60, 2, 0, 1]])),
    ("align", {"conservation"}, lambda o: o["allocated"].__setitem__(3, [48, 5, 0, 1])),
    ("zone", {"conservation"}, lambda o: zone(o)["deferred"].append([64, 3])),
    ("zone", set(), lambda o: (o["zones"][1]["free"].clear(), zone(o)["deferred"].append([72, 3]))),
    ("zone", {"conservation"}, lambda o: o["allocated"].append([80, 3, 0, 1])),
    ("place", set(), lambda o: o["allocated"].append([8, 0, 0, 1])),
    ("place", set(), lambda o: cpu(o)["llist"].append([24, 0])),
    ("place", {"count"}, lambda o: cpu(o, 1)["chunks"].append([10, 0, 0])),
    ("conservation", set(), lambda o: o["allocated"].pop(0)),
    ("conservation", {"nr-free"}, lambda o: zone(o)["free"].pop()),
    ("conservation", set(), lambda o: zone(o)["deferred"].clear()),
    ("conservation", set(), lambda o: cpu(o)["llist"].clear()),
    ("conservation", set(), lambda o: o["memory"].__setitem__(0, [0, 56])),  # 56..63 was never given
    ("owner", set(), lambda o: zone(o)["owners"].append([56, 3])),
    ("owner", set(), lambda o: zone(o)["owners"].append([36, 0])),
    ("owner", set(), lambda o: zone(o)["owners"].append([64, 0])),
    ("owner", set(), lambda o: zone(o)["owners"].append([0, 0])),
    ("mark", set(), lambda o: zone(o)["owners"].__setitem__(1, [16, 0])),
    ("mark", {"conservation", "index", "place"}, lambda o: cpu(o, 1).update(chunks=[[8, 0, 0], [16, 4, 3]])),
    ("unowned", set(), lambda o: zone(o)["marked"].append(8)),
    ("unowned", set(), lambda o: cpu(o)["listed"].append(32)),
    ("listed", set(), lambda o: (cpu(o)["listed"].append(16))),
    ("listed", set(), lambda o: cpu(o)["listed"].append(4)),
    ("listed", set(), lambda o: (o["zones"][1].update(owners=[[72, 0]]), cpu(o)["listed"].append(72))),
    ("listed-twice", set(), lambda o: cpu(o)["listed"].append(0)),
    ("listed-twice", {"listed"}, lambda o: cpu(o, 1)["listed"].append(0)),
    ("count", set(), replaced(cpu, "count", 2)),
    ("count", set(), replaced(cpu, "count", 4)),  # the llist is no part of it
    ("nr-free", set(), replaced(zone, "nr_free", [0, 1, 2, 0, 1])),
    ("stray-mark", set(), lambda o: zone(o)["marked"].append(0)),  # allocated
    ("stray-mark", set(), lambda o: zone(o)["marked"].append(4)),  # on a free list
    ("stray-mark", set(), lambda o: zone(o)["marked"].append(25)),  # on the llist
    ("locks", set(), lambda o: o["held_locks"].append("zone->lock")),
    ("merged", {"nr-free"}, lambda o: zone(o)["free"].__setitem__(slice(4, 5), [[32, 2, M], [36, 2, M], [40, 3, M]])),
    ("index", {"count"}, lambda o: cpu(o)["chunks"].__setitem__(1, [2, 1, 0])),
    ("list-type", set(), lambda o: zone(o)["free"].__setitem__(0, [4, 2, U])),
    ("list-type", set(), lambda o: zone(o)["types"].__setitem__(5, [40, U])),  # the upper half of 32..47
    ("dead-cpu", set(), replaced(cpu, "online", False)),
    ("dead-cpu", {"conservation"}, lambda o: cpu(o, 2).update(llist=[[64, 0]]) or zone(o).update(end=72)),
    ("dead-cpu", set(), lambda o: zone(o)["owners"].append([56, 2])),
]  # fmt: skip


def test_a_sound_state() -> None:
    """No rule is broken, also if nothing optional is there."""
    check_state(sound())
    bare = sound()
    del bare["memory"], bare["held_locks"]
    for key in ("nr_free", "types"):
        del zone(bare)[key]
    for one in zone(bare)["cpus"]:
        del one["count"]
    check_state(json.loads(json.dumps(bare)))


@pytest.mark.parametrize(("rule", "others", "change"), BROKEN)
def test_a_broken_state(rule: str, others: set[str], change: Change) -> None:
    """Each rule fails by its name, and nothing fails that still holds."""
    observation = sound()
    change(observation)
    found = list(violations(observation))
    assert {violation.rule for violation in found} == {rule, *others}
    assert all(violation.message.startswith(violation.rule) for violation in found)
    with pytest.raises(Violation):
        check_state(observation)


def test_legal_states() -> None:
    """RFC-11.11: a stale tag on a block that is whole in the zone, zone fragments of an owned block off the list, a
    listed block without any, unmarked chunks of an owned block anywhere; mergeable pairs from pageblock_order on."""
    observation = sound()
    zone(observation)["owners"] += [[8, 0], [32, 1], [48, 0]]
    cpu(observation)["listed"] += [48]
    zone(observation)["marked"].remove(2)
    zone(observation)["free"][4:] = [[32, 3, M], [40, 3, M]]
    zone(observation)["nr_free"] = [0, 2, 2, 2, 0]
    check_state(observation)


def test_dead_cpus_may_keep_what_they_have() -> None:
    """In the policy offline-keep."""
    observation = sound()
    cpu(observation)["online"] = False
    check_state(observation, dead_cpus_keep=True)


def test_a_zone_may_begin_inside_a_pageblock() -> None:
    """Its first block can be of a type, and is no whole block."""
    observation = sound()
    observation["memory"] = [[3, 5]]
    observation["allocated"] = [[3, 0, 0, 1]]
    observation["zones"] = [
        {"name": "0/0", "start": 3, "end": 8, "free": [[4, 2, M]], "types": [[0, M]], "cpus": [{"cpu": 0}]}
    ]
    check_state(observation)
    observation["zones"][0]["owners"] = [[0, 0]]
    observation["zones"][0]["cpus"][0]["listed"] = [0]
    assert {violation.rule for violation in violations(observation)} == {"listed"}


@pytest.mark.parametrize(
    "change",
    [
        lambda o: o.update(format="x"),
        lambda o: o.update(version=2),
        lambda o: o.pop("zones"),
        lambda o: o.update(zones=[1]),
        lambda o: o.update(zones={}),
        lambda o: o.update(pageblock_order="3"),
        lambda o: o.update(max_order=1 << 40),
        lambda o: o.update(memory=[[0, 8], [4, 8]]),
        lambda o: o.update(memory=[[0, 0]]),
        lambda o: o.update(allocated=[[0, 0]]),
        lambda o: o.update(allocated=[0]),
        lambda o: o.update(held_locks=1),
        lambda o: zone(o).pop("start"),
        lambda o: zone(o).update(end=-1),
        lambda o: zone(o).update(free=[[0, 0, True]]),
        lambda o: zone(o).update(types=[[0, 1, 2]]),
        lambda o: zone(o).update(cpus=None),
        lambda o: cpu(o).update(chunks=[[0, 0]]),
        lambda o: cpu(o).update(count=1.5),
        lambda o: cpu(o).update(listed=["0"]),
        lambda o: cpu(o).pop("cpu"),
    ],
)
def test_what_is_no_observation(change: Change) -> None:
    """InputError: it may come from any program."""
    observation = sound()
    change(observation)
    with pytest.raises(InputError):
        check_state(observation)


@pytest.mark.parametrize("allocated", [1, [0], [[0, 0, 0]], [[0, 0, 0, "1"]], [[0, 0, 0, 1], [None, 0, 0, 1]]])
def test_a_judge_wants_an_observation(allocated: object) -> None:
    """InputError, before anything is compared."""
    with pytest.raises(InputError):
        Judge([(0, 8)]).state({"allocated": allocated})


def test_a_judge_accepts_a_sound_state() -> None:
    """If it saw the same allocations; whatever the observation says of memory."""
    judge = Judge([(0, 64), (72, 8)])
    for pfn, order, compound, references in sound()["allocated"]:
        judge.alloc(pfn, order, compound=bool(compound))
        if references > 1:
            judge.get_page(pfn)
    judge.state(sound())
    judge.state(sound() | {"memory": [[0, 0]]})
    other = Judge([(0, 64), (72, 8), (80, 8)])
    for pfn, order, compound, _ in sound()["allocated"]:
        other.alloc(pfn, order, compound=bool(compound))
    other.get_page(9)
    with pytest.raises(Violation, match=r"^conservation: 80\.\.87 is in no place"):
        other.state(sound())


@pytest.mark.parametrize("key", ["chunks", "llist"])
def test_an_order_beyond_all_sense(key: str) -> None:
    """It is a violation, and no attempt to compute 2^(10^9)."""
    observation = sound()
    cpu(observation)[key] = [[0, 10**9, 10**9][: 3 if key == "chunks" else 2]]
    assert "align" in {violation.rule for violation in violations(observation)}


# --- from a snapshot ---------------------------------------------------------------------------

DRAWING = """
order 1: M[10]
order 2: M[4] U[28]
order 4: M[32]
pcp0 o0: M[1*]
pcp0 o1: M[2*]
pcp1 o0: M[8]
pcp1 o3: M[16*]
zllist: 24/0
llist0: 26/1 25/0
owners: 0.10....
owned0: 0
blocks: MMMUMMMM
alloc: 0/0 9/0 12/2c 48/4
"""


def test_observing_a_snapshot() -> None:
    """Every place of a drawn zone is in its observation, which is sound; it is JSON alone."""
    system = machine(DRAWING, nr_cpus=2, variant="llist")
    snapshot = json.loads(json.dumps(system.snapshot()))
    observation = observe(snapshot, memory=[(0, 64)])
    assert json.loads(json.dumps(observation)) == observation
    check_state(observation)
    expected = sound()
    expected["allocated"][1][3] = 1
    expected["memory"] = [[0, 64]]
    del expected["held_locks"], expected["zones"][1]
    zone(expected)["free"] = sorted([[10, 1, M], [4, 2, M], [28, 2, U], [32, 4, M]])
    zone(expected)["nr_free"] = [0, 1, 2, 0, 1]
    cpu(expected)["llist"] = [[26, 1], [25, 0]]
    cpu(expected, 1)["llist"] = []
    del zone(expected)["cpus"][2]
    zone(observation)["free"].sort()
    assert observation == expected


def test_observing_other_places() -> None:
    """The lists of owned-per-type, CPUs that are offline, and the lists of Linux without owners."""
    text = "order 3: M[0] U[8] \n owners: 01.. \n owned0 M: 0 \n owned1 U: 8 \n blocks: MUMM"
    system = machine(text, pages=32, nr_cpus=2, variant="rfc+owned-per-type")
    observation = observe(system.snapshot())
    assert [one["listed"] for one in zone(observation)["cpus"]] == [[0], [8]]
    assert "memory" not in observation
    system.offline_cpu(1)
    assert [one["online"] for one in zone(observe(system.snapshot()))["cpus"]] == [True, False]
    for pageblock_order, thp, orders in ((3, True, 12), (5, True, 14), (5, False, 12)):
        fields = {"pageblock_order": pageblock_order, "max_page_order": 6, "thp": thp}
        system = machine("pcp0 o2: M[4] \n alloc: 8/0", **fields)
        assert len(system.zones[0].per_cpu_pageset[0].lists) == orders
        if orders == 14:
            system.zones[0].per_cpu_pageset[0].lists[13].list_add(32)
        chunks = cpu(observe(system.snapshot()))["chunks"]
        assert chunks == [[4, 2, 2], [32, 5, 5]][: 2 if orders == 14 else 1]


def test_a_snapshot_that_is_wrong_is_found() -> None:
    """A judge that saw the operations, against states that do not fit them."""
    system = System.boot(CONFIGS["two CPUs, fixed high"], variant="rfc")
    judge = Judge(memory_of(system.kernel.config.to_dict()))
    judge.state(observe(system.snapshot()))
    pfn = system.alloc_pages(0)
    assert pfn is not None
    with pytest.raises(Violation, match=r"^books: "):
        judge.state(observe(system.snapshot()))
    judge.alloc(pfn)
    judge.state(observe(system.snapshot()))
    assert judge.memory() == [[0, 128]]
    snapshot = system.snapshot()
    snapshot["zones"][0]["free_area"][4]["lists"][1].pop()
    with pytest.raises(Violation, match=r"^nr-free: "):
        judge.state(observe(snapshot))
    snapshot["zones"][0]["free_area"][4]["nr_free"] -= 1
    with pytest.raises(Violation, match=r"^conservation: "):
        judge.state(observe(snapshot))
