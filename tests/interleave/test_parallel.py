# SPDX-License-Identifier: GPL-2.0-only
"""Units: disjoint, complete, the same whoever searches them; and a journal that survives a kill at any byte."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pageblock_buddy.errors import InputError
from pageblock_buddy.interleave.catalogue import built_in
from pageblock_buddy.interleave.journal import Journal
from pageblock_buddy.interleave.parallel import (
    UNITS,
    Options,
    ParallelSearch,
    dask_cluster,
    outcome_digest,
    processes,
    split,
)
from pageblock_buddy.interleave.search import EXHAUSTED, FAULT, INCOMPLETE, Budget, Result, Search

NAMES = [("offline-free", "llist"), ("remote-free-drain", "rfc"), ("softirq-and-hardirq", "rfc"), ("decay-free", "rfc")]


class Here(Executor):
    """Runs each unit at once, in this process; after ``limit`` units the search is killed."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.units: list[int] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.limit is not None and len(self.units) >= self.limit:
            raise KeyboardInterrupt
        # What travels is JSON.
        job = json.loads(json.dumps(args[0]))
        self.units.append(job["unit"])
        future: Future[Any] = Future()
        future.set_result(json.loads(json.dumps(fn(job))))
        return future


def serial(name: str, variant: str, strategy: str = "reduced") -> Result:
    with Search(built_in(name), variant, strategy=strategy) as search:
        return search.run()


def parallel(options: Options, executor: Executor, journal: Journal | None = None) -> tuple[Result, list[str]]:
    search = ParallelSearch(options, executor, parallel=1, journal=journal)
    return search.run(), search.digests


@pytest.mark.parametrize(("name", "variant"), NAMES)
def test_units_have_the_outcomes_of_the_whole(name: str, variant: str) -> None:
    alone = serial(name, variant)
    result, digests = parallel(Options(built_in(name), variant), Here())
    assert (result.verdict, alone.verdict) == (EXHAUSTED, EXHAUSTED)
    assert digests == sorted(outcome_digest(key) for key in alone.outcomes)


def test_units_of_a_plain_search_are_disjoint_and_complete() -> None:
    """Every schedule is in exactly one unit: the counts are equal."""
    options = Options(built_in("abba-remote-drain"), "llist", strategy="dfs")
    result, _ = parallel(options, Here())
    assert result.schedules == serial("abba-remote-drain", "llist", "dfs").schedules


def test_a_search_is_cut_into_enough_units() -> None:
    with Search(built_in("offline-free"), "rfc") as search:
        search.run()
        units = split(Options(built_in("offline-free"), "rfc"), search.known, UNITS)
    assert len(units) >= UNITS
    assert len({unit.choices for unit in units}) == len(units)
    # No unit begins like another one goes on.
    assert not any(a.choices == b.choices[: len(a.choices)] for a in units for b in units if a is not b)


def test_a_fault_ends_the_search() -> None:
    result, _ = parallel(Options(built_in("abba-hardirq"), "rfc"), Here())
    assert result.verdict == FAULT
    assert result.findings[0].code == "deadlock"
    assert result.path is not None


def test_a_budget_is_never_a_pass() -> None:
    options = Options(built_in("offline-free"), "rfc", budget=Budget(schedules=5))
    result, _ = parallel(options, Here())
    assert (result.verdict, result.reason) == (INCOMPLETE, "stopped after 5 schedules")


def test_seeded_units_are_the_seeded_search() -> None:
    """Schedule n is the same in whichever unit it is."""
    options = Options(built_in("remote-free-drain"), "rfc", strategy="random", budget=Budget(schedules=600))
    result, digests = parallel(options, Here())
    assert result.verdict == INCOMPLETE
    with Search(
        built_in("remote-free-drain"), "rfc", strategy="random", budget=Budget(schedules=result.schedules)
    ) as search:
        alone = search.run()
    assert set(digests) <= {outcome_digest(key) for key in alone.outcomes} | set(digests)
    assert result.schedules == alone.schedules


def test_a_bounded_search_cannot_be_cut() -> None:
    with pytest.raises(InputError, match="bounded cannot be cut into units"):
        ParallelSearch(Options(built_in("decay-free"), "rfc", strategy="bounded"), Here(), parallel=1)


# --- the journal -------------------------------------------------------------------------------


@contextmanager
def journal_of(path: Path, options: Options) -> Iterator[Journal]:
    journal = Journal(path, options.to_dict())
    try:
        yield journal
    finally:
        journal.close()


def counts(result: Result) -> tuple[int, int, int, int]:
    return result.schedules, result.redundant, result.points, len(result.outcomes)


def test_a_killed_search_goes_on(tmp_path: Path) -> None:
    """Killed after each number of units: all units are searched once, and the counts are those of one sitting."""
    options = Options(built_in("remote-free-drain"), "rfc")
    whole, _ = parallel(options, Here())
    for limit in (0, 1, 7, 30):
        path = tmp_path / f"journal-{limit}"
        executor = Here(limit)
        with journal_of(path, options) as journal, pytest.raises(KeyboardInterrupt):
            parallel(options, executor, journal)
        rest = Here()
        with journal_of(path, options) as journal:
            result, _ = parallel(options, rest, journal)
        assert result.verdict == EXHAUSTED
        assert counts(result) == counts(whole)
        assert len(executor.units) + len(rest.units) >= len(set(executor.units) | set(rest.units))
        # Again: there is nothing left to do.
        again = Here()
        with journal_of(path, options) as journal:
            assert counts(parallel(options, again, journal)[0]) == counts(whole)
        assert again.units == []


def test_a_journal_that_was_torn_anywhere(tmp_path: Path) -> None:
    options = Options(built_in("decay-free"), "rfc")
    path = tmp_path / "journal"
    with journal_of(path, options) as journal:
        whole, _ = parallel(options, Here(), journal)
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    for cut in [*range(first, len(data), 997), len(data) - 1]:
        path.write_bytes(data[:cut])
        with journal_of(path, options) as journal:
            result, _ = parallel(options, Here(), journal)
        assert counts(result) == counts(whole), cut


def test_the_journal_of_another_search_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    Journal(path, Options(built_in("decay-free"), "rfc").to_dict()).close()
    before = path.read_bytes()
    with pytest.raises(InputError, match="the journal of another search"):
        Journal(path, Options(built_in("decay-free"), "llist").to_dict())
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"x\n", b'{"format":"other"}\n', b"[1]\n", b"\xff\xfe"])
def test_what_is_no_journal_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a journal"):
        Journal(path, Options(built_in("decay-free"), "rfc").to_dict())
    assert path.read_bytes() == content


# --- real executors ----------------------------------------------------------------------------


@pytest.mark.ci
def test_two_processes() -> None:
    options = Options(built_in("offline-free"), "rfc")
    here, digests = parallel(options, Here())
    with processes(2) as executor:
        search = ParallelSearch(options, executor, parallel=2)
        result = search.run()
    assert counts(result) == counts(here)
    assert search.digests == digests


@pytest.mark.ci
@pytest.mark.filterwarnings("default")
def test_a_local_dask_cluster() -> None:
    distributed = pytest.importorskip("distributed", reason="the extra 'dask' is not installed")
    options = Options(built_in("offline-free"), "rfc")
    here, digests = parallel(options, Here())
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        dask_cluster(cluster.scheduler_address) as executor,
    ):
        search = ParallelSearch(options, executor, parallel=2)
        result = search.run()
    assert counts(result) == counts(here)
    assert search.digests == digests


@pytest.mark.ci
@pytest.mark.filterwarnings("default")
def test_a_cluster_that_is_not_there() -> None:
    pytest.importorskip("distributed", reason="the extra 'dask' is not installed")
    with pytest.raises(InputError, match="no scheduler answers there"), dask_cluster("tcp://127.0.0.1:1"):
        pass
