# SPDX-License-Identifier: GPL-2.0-only
"""explain: the rules that an operation carries out, in order; RuleCoverage: the same as a set, for long runs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from pageblock_buddy import Config, EventLog, System, gfp
from pageblock_buddy.errors import OrderMismatch
from pageblock_buddy.explain import Explanation, RuleCoverage, Step, explain, format_explanation
from pageblock_buddy.linux_6_12 import alloc, buddy, pcp
from pageblock_buddy.rules import load_rules

MOVABLE = gfp.GFP_HIGHUSER_MOVABLE
UNMOVABLE = gfp.GFP_KERNEL


def boot(**overrides: Any) -> System:
    """64 pages, pageblocks of 8, largest order 4; batch 2, high 8."""
    system = System.boot(Config.small(**overrides))
    system.trace = EventLog()
    return system


def ids(explanation: Explanation[Any], *sections: str) -> list[str]:
    """The ids of some sections, in order."""
    return [i.removeprefix("LPA-") for i in explanation.ids if i.removeprefix("LPA-").startswith(sections)]


def rules_in(explanation: Explanation[Any], function: str) -> list[tuple[str, ...]]:
    """The marked statements that one function came by, in order."""
    return [step.ids for step in explanation.steps if step.kind == "rule" and step.function == function]


def step_of(explanation: Explanation[Any], rule_id: str) -> Step:
    """The first statement that carries a rule out."""
    return next(step for step in explanation.steps if rule_id in step.ids)


def call_of(explanation: Explanation[Any], function: str) -> Step:
    """The first call of a function."""
    return next(step for step in explanation.steps if step.kind == "call" and step.function == function)


# --- explanations ------------------------------------------------------------------------------


def test_allocation_with_refill() -> None:
    system = boot()
    explanation = explain(lambda: system.alloc_pages(MOVABLE))
    assert explanation.result == 0
    assert explanation.error is None
    assert ids(explanation, "8.") == [
        *("8.1.3", "8.2.1", "8.2.2", "8.2.4", "8.1.2"),  # may be on a list; trylock; halve; which list
        "8.2.5",  # empty: refill
        *("8.3.1", "8.3.3", "8.3.5", "8.3.6", "8.3.7", "8.3.8"),  # how many
        *("8.1.2", "8.2.5"),  # the list again, as C passes it; under one hold of zone->lock
        *("8.1.3", "8.2.6"),  # the tracepoint asks whether the order may be on a list; to the tail
        *("8.1.3", "8.2.6"),
        *("8.1.5", "8.2.7", "8.2.8", "8.2.9"),  # count; take the head; PGALLOC
    ]
    # The first page is split off the order-4 block at 0: four halves go back.  The second one is there then.
    assert ids(explanation, "5.0.3", "5.0.1") == ["5.0.1", *["5.0.3"] * 4, "5.0.1"]


def test_second_allocation_hits_the_list() -> None:
    system = boot()
    system.alloc_pages(MOVABLE)
    explanation = explain(lambda: system.alloc_pages(MOVABLE))
    assert explanation.result == 1
    assert ids(explanation, "8.") == ["8.1.3", "8.2.1", "8.2.2", "8.2.4", "8.1.2", "8.2.8", "8.2.9"]


def test_free_with_flush() -> None:
    system = boot()
    pfns = [system.alloc_pages(MOVABLE) for _ in range(8)]
    for pfn in pfns[:-1]:
        assert pfn is not None
        system.free_pages(pfn)
    last = pfns[-1]
    assert last is not None
    explanation = explain(lambda: system.free_pages(last))
    entry = ["10.0.1", "8.1.3", "8.4.2", "8.4.3", "8.4.7", "8.4.6", "8.4.8", "8.4.8"]
    assert ids(explanation, "8.", "10.")[: len(entry)] == entry
    commit = rules_in(explanation, "free_frozen_page_commit")
    assert [ids_[0] for ids_ in commit[-3:]] == ["LPA-8.4.14", "LPA-8.4.16", "LPA-8.4.26"]
    flush = [ids_[0] for ids_ in rules_in(explanation, "free_pcppages_bulk")]
    block = ["LPA-8.5.7", "LPA-8.5.3", "LPA-8.5.4", "LPA-4.3.9", "LPA-8.5.6"]
    nr_blocks = call_of(explanation, "free_pcppages_bulk").values["count"]
    assert isinstance(nr_blocks, int)
    assert nr_blocks > 1
    # the last look at the inner loop's condition ends it
    assert flush == ["LPA-8.5.1", "LPA-16.0.6", "LPA-8.5.2", *block * nr_blocks, "LPA-8.5.7"]
    text = explanation.to_text()
    assert text.count("LPA-8.5.3") < nr_blocks
    assert re.search(r"^ +\.\.\. the 6 steps above, \d more times$", text, re.MULTILINE)


def test_claim_of_a_large_block() -> None:
    system = boot()
    explanation = explain(lambda: system.alloc_pages(UNMOVABLE, 4))
    assert explanation.result == 0
    assert ids(explanation, "6.") == [
        *("6.1.1", "6.1.3", "6.1.4", "6.1.6"),  # own lists are empty: claim
        *("6.2.1", "6.2.2", "6.2.4", "6.0.1", "6.2.6", "6.2.7"),
        *("6.3.1", "6.3.2", "6.4.4"),
        "6.2.8",
    ]
    assert step_of(explanation, "LPA-6.3.1").values["current_order"] == 4


def test_steal() -> None:
    """A quarter of a pageblock is free, the rest movable and in use: not enough to claim it."""
    system = boot(pages=8, max_page_order=3, nr_cpus=1)
    pages = [system.alloc_pages(MOVABLE) for _ in range(8)]
    for pfn in pages[:2]:
        assert pfn is not None
        system.free_pages(pfn)
    for pfn in pages[2:]:
        assert pfn is not None
        system.lru_add(pfn)
    system.drain_local_pages()
    explanation = explain(lambda: system.alloc_pages(UNMOVABLE, 1))
    assert explanation.result == 0
    assert ids(explanation, "6.3") == ["6.3.3", "6.3.6", "6.3.7", "6.3.8", "6.3.13"]
    assert ids(explanation, "6.1")[:5] == ["6.1.1", "6.1.3", "6.1.4", "6.1.6", "6.1.7"]
    assert ids(explanation, "6.4") == ["6.4.1", "6.4.2", "6.4.3", "6.4.4"]


def test_failing_allocation() -> None:
    system = boot(pages=8, max_page_order=3)
    assert system.alloc_pages(MOVABLE, 3) == 0
    explanation = explain(lambda: system.alloc_pages(MOVABLE, 3))
    assert explanation.result is None
    assert explanation.error is None
    # each walk: high mark, BELOW_HIGH, own mark; then the slow path's two attempts, which skip the high mark
    assert ids(explanation, "9.2.4", "9.2.6", "9.2.12", "9.3") == [
        *("9.2.4", "9.2.4", "9.2.6", "9.2.6", "9.2.12"),
        *("9.3.6", "9.3.1", "9.3.5", "9.2.6", "9.2.6", "9.2.12"),
        *("9.3.8", "9.3.10", "9.2.6", "9.2.6", "9.2.12"),
    ]
    assert ids(explanation, "15.1") == ["15.1.1"]


def test_drain_of_a_large_list_is_short() -> None:
    """Rounds of a loop that bring no new rule are counted, those that bring one are shown."""
    system = boot(pages=512, batch=64, high_min=600, high_max=600)
    system.alloc_pages(MOVABLE)
    explanation = explain(system.drain_local_pages)
    blocks = ids(explanation, "8.5.3")
    assert len(blocks) > 60
    lines = explanation.to_text().splitlines()
    assert len(lines) < len(explanation.steps) / 4
    folded = [line for line in lines if "more time" in line]
    assert folded
    assert sum(line.count("LPA-8.5.3") for line in lines) < len(blocks) / 6
    # no rule is lost
    text = explanation.to_text()
    assert [i for i in explanation.ids if i not in text] == []


# --- steps and text ----------------------------------------------------------------------------


def test_values_of_a_step() -> None:
    system = boot()
    explanation = explain(lambda: system.alloc_pages(MOVABLE))
    refill = call_of(explanation, "rmqueue_pcplist")
    assert refill.kernel == "rmqueue_pcplist"
    assert (refill.values["zone"], refill.values["order"], refill.values["mt"]) == ("DMA32", 0, 1)
    assert (refill.returned, refill.raised, refill.void) == (0, None, False)
    clamp = step_of(explanation, "LPA-8.3.1")
    assert clamp.values == {"pcp.high": 0, "high_min": 8, "high_max": 8}
    assert clamp.changes == {"high": 8, "pcp.high": 8}
    taken = step_of(explanation, "LPA-8.2.7")
    assert taken.values["pcp.count"] == 0
    assert taken.changes == {"pcp.count": 2}
    assert step_of(explanation, "LPA-8.2.1").values == {"pcp": "cpu0"}
    assert step_of(explanation, "LPA-6.1.3").values == {"mode": "NORMAL"}
    assert step_of(explanation, "LPA-8.2.6").values == {"pcp_list": "empty", "pfn": 0}
    depths = {step.function: step.depth for step in explanation.steps if step.kind == "call"}
    assert depths["alloc_pages"] == 0
    assert depths["_alloc_pages"] == 1
    assert depths["nr_pcp_alloc"] > depths["rmqueue_pcplist"] > depths["rmqueue"]


def test_a_statement_of_several_lines_is_one_step() -> None:
    """free_high is computed over five lines."""
    system = boot()
    pfn = system.alloc_pages(MOVABLE, 1)
    assert pfn is not None
    explanation = explain(lambda: system.free_pages(pfn, 1))
    assert ids(explanation, "8.4.10") == ["8.4.10"]
    assert step_of(explanation, "LPA-8.4.10").changes == {"free_high": False}


def test_text() -> None:
    system = boot()
    text = explain(lambda: system.alloc_pages(MOVABLE)).to_text().splitlines()
    assert text[0] == "alloc_pages(gfp=0x100cca, order=0) = 0"
    assert text[1] == "  __alloc_pages(gfp=0x100cca, order=0, preferred_nid=0) = 0"
    title = load_rules()["LPA-8.3.6"].title
    line = next(line for line in text if "LPA-8.3.6" in line)
    assert line.strip() == f"LPA-8.3.6   {title}   [pcp.alloc_factor=0 -> 1]"
    expand = next(i for i, line in enumerate(text) if "LPA-5.0.3" in line)
    assert [line.strip().split("(")[0] for line in text[expand + 1 : expand + 3]] == [
        "__add_to_free_list",
        "LPA-3.0.2   Add   [area.nr_free=0 -> 1]",
    ]
    assert text[expand + 3].strip() == "... the 2 steps above, 3 more times"
    # a statement of two rules: two lines, the values once
    trylock = next(i for i, line in enumerate(text) if "LPA-8.2.1" in line)
    assert text[trylock].endswith("[pcp=cpu0]")
    assert text[trylock + 1].strip() == "LPA-16.0.2  Local access"


def test_functions_without_rules_are_left_out_unless_asked_for() -> None:
    system = boot()
    pfn = system.alloc_pages(MOVABLE)
    assert pfn is not None
    explanation = explain(lambda: system.free_pages(pfn))
    assert "page_zone(" not in explanation.to_text()
    assert "page_zone(" in explanation.to_text(everything=True)


def folded(*keys: str, inside: dict[int, str] | None = None) -> list[str]:
    """The text of steps with these letters as lines; some are calls with a rule inside."""
    steps = []
    for number, key in enumerate(keys):
        call = inside is not None and number in inside
        steps.append(Step("call" if call else "rule", 0, "f", ord(key), key, None, () if call else (key,)))
        if call and inside is not None:
            steps.append(Step("rule", 1, "f", ord(inside[number]), key, None, (inside[number],)))
    return [line.strip() for line in format_explanation(Explanation(steps)).splitlines()]


@pytest.mark.parametrize(
    ("keys", "lines"),
    [
        ("abc", ["a", "b", "c"]),
        ("aa", ["a", "a"]),
        ("aaa", ["a", "... 2 more times"]),
        ("xababy", ["x", "a", "b", "... the 2 steps above, 1 more time", "y"]),
        ("aabaabaab", ["a", "a", "b", "... the 3 steps above, 2 more times"]),
        ("", []),
    ],
)
def test_folding(keys: str, lines: list[str]) -> None:
    assert folded(*keys) == lines


def test_a_round_with_a_new_rule_is_shown() -> None:
    same = dict.fromkeys(range(6), "p") | {3: "q"}
    assert folded(*"aaaaaa", inside=same) == ["a()", "p", "... 2 more times", "a()", "q", "... 2 more times"]


def test_in_such_a_round_what_is_known_is_left_out() -> None:
    inside = {0: "p", 1: "x", 2: "p", 3: "y"}
    assert folded(*"abab", inside=inside) == ["a()", "p", "b()", "x", "a() ...", "b()", "y"]


def test_json() -> None:
    system = boot()
    explanation = explain(lambda: system.alloc_pages(MOVABLE))
    data = json.loads(explanation.to_json())
    assert data == explanation.to_dict()
    assert data["result"] == 0
    assert data["error"] is None
    assert data["steps"][0]["kind"] == "call"
    assert data["steps"][0]["function"] == "alloc_pages"
    first = next(step for step in data["steps"] if step["kind"] == "rule")
    assert first["ids"] == ["LPA-9.1.4"]
    assert first["file"] == "linux_6_12/alloc.py"
    assert explain(lambda: system).to_dict()["result"] == repr(system)


# --- what the tracing leaves behind ------------------------------------------------------------


@pytest.fixture
def own_tracer() -> Iterator[Callable[[FrameType, str, Any], None]]:
    """A trace function that does nothing, set during the test."""
    before = sys.gettrace()

    def tracer(frame: FrameType, event: str, argument: Any) -> None:
        """Trace nothing."""

    sys.settrace(tracer)
    yield tracer
    sys.settrace(before)


def test_an_error_is_part_of_the_explanation(own_tracer: Callable[[FrameType, str, Any], None]) -> None:
    system = boot()
    pfn = system.alloc_pages(MOVABLE)
    assert pfn is not None
    before = system.digest()
    explanation = explain(lambda: system.free_pages(pfn, 1))
    assert sys.gettrace() is own_tracer
    assert system.digest() == before
    assert isinstance(explanation.error, OrderMismatch)
    assert explanation.to_dict()["error"]["code"] == "order-mismatch"
    lines = explanation.to_text().splitlines()
    assert lines[0] == f"__free_pages(pfn={pfn}, order=1) raises OrderMismatch"
    assert lines[-1].startswith("order-mismatch: ")


def test_other_exceptions_pass(own_tracer: Callable[[FrameType, str, Any], None]) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        explain(fail)
    assert sys.gettrace() is own_tracer
    explain(lambda: None)
    assert sys.gettrace() is own_tracer


def test_explaining_changes_nothing() -> None:
    plain, explained = boot(), boot()
    some_operations(plain)
    assert explain(lambda: some_operations(explained)).ids
    assert plain.digest() == explained.digest()


# --- coverage ----------------------------------------------------------------------------------


def some_operations(system: System) -> None:
    pfns = [system.alloc_pages(gfp_flags, order) for gfp_flags in (MOVABLE, UNMOVABLE) for order in (0, 1, 0, 3, 4)]
    for pfn, order in zip(pfns, (0, 1, 0, 3, 4) * 2, strict=True):
        if pfn is not None:
            system.free_pages(pfn, order)
    system.drain_all_pages()
    system.isolate_pageblock(8)
    system.unisolate_pageblock(8)
    system.refresh_vm_stats(pagesets=True)


def test_coverage_is_what_explain_sees() -> None:
    with RuleCoverage() as coverage:
        some_operations(boot())
    system = boot()
    assert len(coverage.ids) > 100
    without_boot = set(explain(lambda: some_operations(system)).ids)
    assert coverage.ids == set(explain(lambda: some_operations(boot())).ids)
    assert without_boot < coverage.ids
    assert {"LPA-12.0.3", "LPA-2.0.2"} <= coverage.ids - without_boot
    assert coverage.ids <= load_rules().keys()


def test_coverage_leaves_the_functions_as_they_were() -> None:
    functions = (alloc.rmqueue_pcplist, pcp.nr_pcp_alloc, buddy._free_one_page)
    codes = [function.__code__ for function in functions]
    coverage = RuleCoverage()

    def fail() -> None:
        with coverage:
            boot().alloc_pages(MOVABLE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "LPA-8.3.1" in coverage.ids
    assert [function.__code__ for function in functions] == codes
    assert not [name for name in vars(pcp) if "seen" in name]


def test_coverage_ends_with_the_block() -> None:
    system = boot()
    with RuleCoverage() as first:
        system.alloc_pages(MOVABLE)
    system.drain_local_pages()
    with RuleCoverage() as second:
        system.alloc_pages(MOVABLE)
    assert "LPA-8.5.3" not in first.ids | second.ids
    assert "LPA-8.3.1" in second.ids


def test_nested_coverage() -> None:
    system = boot()
    with RuleCoverage() as outer:
        pfn = system.alloc_pages(MOVABLE)
        assert pfn is not None
        with RuleCoverage() as inner:
            system.free_pages(pfn)
        system.drain_local_pages()
    assert "LPA-8.4.9" in inner.ids
    assert "LPA-8.2.8" not in inner.ids
    assert inner.ids | {"LPA-8.2.8", "LPA-8.5.3"} <= outer.ids
