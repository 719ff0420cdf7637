# SPDX-License-Identifier: GPL-2.0-only
"""Schedule counts of the built-in programs, with and without reduction: a ratchet.

``python -m tests.interleave.test_counts`` prints the table anew.  A count may only go down, with the same outcomes;
then the table is written anew in the commit that did it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from pageblock_buddy.errors import ExplorationIncomplete
from pageblock_buddy.interleave.catalogue import built_in, program_names
from pageblock_buddy.interleave.plain import count_plain
from pageblock_buddy.interleave.search import EXHAUSTED, FAULT, Budget, Search

TABLE: Final = Path(__file__).with_name("counts.json")
VARIANTS: Final = ("rfc", "rfc-trylock", "llist")
#: Above these the search is said to be incomplete: schedules, and states of a plain search.
CAP: Final = 5_000
MAX_STATES: Final = 25_000

COUNTS: Final[dict[str, Any]] = json.loads(TABLE.read_text()) if TABLE.exists() else {}
KEYS: Final = [f"{name}/{variant}" for name in program_names() for variant in VARIANTS]
#: What takes more than a second or two.
LONG: Final = [key for key in KEYS if COUNTS.get(key, {}).get("schedules", 0) > 800]


def measured(key: str) -> dict[str, Any]:
    """The counts of one program on one variant: schedules in all, those cut short, outcomes, verdict."""
    name, variant = key.split("/")
    with Search(built_in(name), variant, budget=Budget(schedules=CAP), stop_at_fault=False) as search:
        result = search.run()
    return {
        "verdict": result.verdict if not result.reason else result.reason,
        "schedules": result.schedules,
        "redundant": result.redundant,
        "outcomes": len(result.outcomes),
        "findings": sorted(finding.kind for finding in result.findings),
    }


def plain(key: str) -> int | None:
    """How many schedules a plain search of the same points runs; None: more states than are kept."""
    name, variant = key.split("/")
    with Search(built_in(name), variant, budget=Budget(schedules=200), stop_at_fault=False) as search:
        search.run()
    try:
        return count_plain(built_in(name), variant, search.shared, max_states=MAX_STATES)[0]
    except ExplorationIncomplete:
        return None


def test_the_table_is_of_these_programs() -> None:
    assert sorted(COUNTS) == sorted(KEYS)


@pytest.mark.parametrize("key", [key for key in KEYS if key not in LONG])
def test_counts(key: str) -> None:
    pinned = COUNTS[key]
    assert measured(key) == {name: pinned[name] for name in pinned if name != "plain"}


@pytest.mark.ci
@pytest.mark.parametrize("key", LONG)
def test_counts_of_the_long_ones(key: str) -> None:
    test_counts(key)


@pytest.mark.ci
@pytest.mark.parametrize("key", KEYS)
def test_plain_counts(key: str) -> None:
    pinned = COUNTS[key]
    if pinned["plain"] is not None:
        assert plain(key) == pinned["plain"]
        assert pinned["schedules"] <= pinned["plain"]


@pytest.mark.ci
@pytest.mark.parametrize("key", [key for key in KEYS if (COUNTS.get(key, {}).get("plain") or CAP) <= 2000])
def test_a_plain_search_has_the_same_outcomes(key: str) -> None:
    name, variant = key.split("/")
    results = []
    for strategy in ("reduced", "dfs"):
        with Search(built_in(name), variant, strategy=strategy, stop_at_fault=False) as search:
            results.append(search.run())
    reduced, full = results
    assert full.schedules == COUNTS[key]["plain"]
    assert reduced.outcomes.keys() == full.outcomes.keys()
    assert reduced.verdict == full.verdict
    assert reduced.verdict in (EXHAUSTED, FAULT)


if __name__ == "__main__":
    found = {}
    for each in KEYS:
        found[each] = {**measured(each), "plain": plain(each)}
        print(each, found[each], flush=True)
    lines = [f"{json.dumps(each)}: {json.dumps(row)}" for each, row in found.items()]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
