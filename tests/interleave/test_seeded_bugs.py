# SPDX-License-Identifier: GPL-2.0-only
"""Seeded bugs: the interleaver tells every mutant of the mirrored code from that code, or it is argued equivalent.

The golden outcomes work the other way round: whatever changes what the kill programs can end in fails here, whoever
put it into the tree.  After a deliberate change of behaviour write them again and read the difference::

    python -m tests.interleave.kill --write-golden
"""

from __future__ import annotations

import ast
import json
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest

from tests.interleave.equivalent import EQUIVALENT
from tests.interleave.kill import (
    GOLDEN,
    MAX_EXECUTIONS,
    Job,
    Killed,
    Survived,
    baseline,
    golden,
    isolated,
    job_of_bug,
    kill,
)
from tests.interleave.kill_programs import MAX_BASELINE, MAX_OPERATIONS, PROGRAMS, operations, pairs
from tests.interleave.mutants import (
    FILES,
    Mutant,
    all_mutants,
    applied,
    by_name,
    compiled,
    function_object,
    functions_of,
)
from tests.interleave.porter_bugs import PORTER_BUGS, with_bug

#: Every so manieth mutant is in the sample of continuous integration.
SAMPLE = 9
CHUNKS = 8
LONG_CHUNKS = 32
#: A few, of several files and operators.
HANDFUL = (
    "rfc/bulk.py:drain_chunk:1:drop-statement",
    "rfc/pageblock.py:claim_pageblock:5:minus-one",
    "rfc/free.py:lock_pcp_of_owner:23:flip-comparison",
    "rfc/pcp.py:add_refill:8:swap-operator",
    "llist/drain.py:drain_all_pages:5:flip-comparison",
    "linux_6_12/buddy.py:_add_to_free_list:11:minus-one",
)


def _golden() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return found


def _expect_killed(mutants: list[Mutant]) -> None:
    wanted = [mutant for mutant in mutants if mutant.name not in EQUIVALENT]
    results = kill(wanted)
    survivors = [m.name for m, result in zip(wanted, results, strict=True) if isinstance(result, Survived)]
    assert not survivors, "neither killed nor argued equivalent (equivalent.py)"
    assert max((result.executions for result in results), default=0) <= MAX_EXECUTIONS


# --- programs and golden outcomes --------------------------------------------------------------


def test_kill_programs_are_short() -> None:
    """So that a kill needs no shrinking."""
    assert max(map(operations, PROGRAMS.values())) <= MAX_OPERATIONS


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_outcomes_are_the_golden_ones(chunk: int) -> None:
    """What the kill programs can end in has not changed.  The docstring of this file says how to write it again."""
    expected = _golden()
    for pair in list(pairs())[chunk::CHUNKS]:
        assert golden(pair) == expected[f"{pair.program} {pair.variant}"], pair
        assert baseline(pair).executions <= MAX_BASELINE, pair
        assert not baseline(pair).findings, pair


def test_golden_outcomes_are_of_the_kill_programs() -> None:
    """No entry too many, none too few."""
    assert sorted(_golden()) == sorted(f"{pair.program} {pair.variant}" for pair in pairs())


# --- the mutants themselves --------------------------------------------------------------------


def test_mutants_have_names_of_their_own_and_differ_from_the_code() -> None:
    """Each is another change, of a function that there is."""
    mutants = all_mutants()
    assert len({mutant.name for mutant in mutants}) == len(mutants)
    assert len({(mutant.where, mutant.source) for mutant in mutants}) == len(mutants)
    assert {mutant.file for mutant in mutants} == set(FILES)
    for mutant in mutants:
        assert mutant.source != ast.unparse(functions_of(mutant.file)[mutant.function])


def test_mutants_leave_out_what_changes_nothing() -> None:
    """Tracing, docstrings and asserts are not mutated."""
    assert not [m.name for m in all_mutants() if m.before.startswith(("'", '"', "assert ", "if k.trace is not None"))]
    assert not [m.name for m in all_mutants() if "k.trace." in m.before]


def test_a_mutant_is_applied_and_taken_back() -> None:
    """The function object stays; its code changes, and changes back."""
    mutant = by_name("rfc/pcp.py:nr_pcp_lists:0:drop-statement")
    target = function_object(mutant.file, mutant.function)
    before = target.__code__
    with applied(mutant.file, mutant.function, mutant.source):
        assert target.__code__ is not before
        assert target(None) is None  # "return" was dropped
    assert target.__code__ is before


def test_every_mutant_compiles() -> None:
    """Without free variables, like every function of a module."""
    for mutant in all_mutants():
        assert not compiled(mutant.file, mutant.function, mutant.source).co_freevars


# --- killing -----------------------------------------------------------------------------------


def test_the_unmutated_code_is_not_killed() -> None:
    """Recompiled from its own source a function does what it did."""
    first = list(pairs())[:3]
    jobs = []
    for where in ("rfc/bulk.py:free_pcppages_bulk", "rfc/merge.py:merge_pcp_buddies", "linux_6_12/buddy.py:expand"):
        file, _, function = where.partition(":")
        source = ast.unparse(functions_of(file)[function])
        jobs.append(Job(partial(applied, file, function, source), file, first.__contains__))
    assert [type(result) for result in isolated(jobs)] == [Survived] * len(jobs)


def test_a_handful_is_killed() -> None:
    """A few mutants of each kind."""
    _expect_killed([by_name(name) for name in HANDFUL])


def test_a_hang_is_killed() -> None:
    """Code that runs for ever without a point ends its process, and the next mutant is tried behind it."""
    endless = "def expand(k, zone, pfn, low, high, mt):\n    while True:\n        pass\n"
    first = list(pairs())[:1]
    jobs = [
        Job(lambda: applied("linux_6_12/buddy.py", "expand", endless), "linux_6_12/buddy.py", first.__contains__),
        Job(nullcontext, "linux_6_12/buddy.py", first.__contains__),
    ]
    hang, unchanged = isolated(jobs)
    assert isinstance(hang, Killed)
    assert hang.by == "hang"
    assert isinstance(unchanged, Survived)


@pytest.mark.ci
@pytest.mark.parametrize("chunk", range(4))
def test_a_sample_is_killed(chunk: int) -> None:
    """A fixed sample of the mechanical mutants."""
    _expect_killed(list(all_mutants()[::SAMPLE])[chunk::4])


@pytest.mark.long
@pytest.mark.parametrize("chunk", range(LONG_CHUNKS))
def test_all_are_killed(chunk: int) -> None:
    """Every mechanical mutant."""
    _expect_killed(list(all_mutants())[chunk::LONG_CHUNKS])


# --- bugs of porters ---------------------------------------------------------------------------


def test_porter_bugs_are_many() -> None:
    """With names of their own."""
    assert len({bug.name for bug in PORTER_BUGS}) == len(PORTER_BUGS) >= 20


def test_porter_bugs_apply_and_are_taken_back() -> None:
    """Each text that is to be changed is there once."""
    before = {(f, n): function_object(f, n).__code__ for f in FILES for n in functions_of(f)}
    for bug in PORTER_BUGS:
        with with_bug(bug):
            pass
    assert before == {(f, n): function_object(f, n).__code__ for f in FILES for n in functions_of(f)}


@pytest.mark.ci
@pytest.mark.parametrize("chunk", range(3))
def test_porter_bugs_are_killed(chunk: int) -> None:
    """Each is found."""
    bugs = PORTER_BUGS[chunk::3]
    results = isolated([job_of_bug(bug) for bug in bugs])
    assert not [bug.name for bug, result in zip(bugs, results, strict=True) if isinstance(result, Survived)]
    assert max(result.executions for result in results) <= MAX_EXECUTIONS


# --- equivalent mutants ------------------------------------------------------------------------


def test_equivalent_mutants_exist_and_have_a_reason() -> None:
    """The list names mutants that there are, and says why."""
    names = {mutant.name for mutant in all_mutants()}
    assert not sorted(set(EQUIVALENT) - names)
    assert all(len(reason.split()) >= 5 for reason in EQUIVALENT.values())


def _expect_surviving(names: list[str]) -> None:
    mutants = [by_name(name) for name in names]
    killed = {m.name: r for m, r in zip(mutants, kill(mutants), strict=True) if isinstance(r, Killed)}
    assert not killed


@pytest.mark.ci
@pytest.mark.parametrize("chunk", range(2))
def test_some_equivalent_mutants_survive(chunk: int) -> None:
    """The list hides no mutant that can be killed: a sample."""
    _expect_surviving(sorted(EQUIVALENT)[::5][chunk::2])


@pytest.mark.long
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_equivalent_mutants_survive(chunk: int) -> None:
    """The list hides no mutant that can be killed."""
    _expect_surviving(sorted(EQUIVALENT)[chunk::CHUNKS])
