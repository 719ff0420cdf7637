# SPDX-License-Identifier: GPL-2.0-only
"""Every scenario of docs/spec/scenarios.md is run by a test that says so."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TEXT = HERE.parents[1] / "docs" / "spec" / "scenarios.md"
NUMBERS = range(1, 67)


def numbers_of(text: str) -> list[int]:
    """The numbers of the scenarios of a text, by anchor and title: <a id="s1"></a>**1. Claim and split.**"""
    titles = re.findall(r'^<a id="s(\d+)"></a>\*\*(\d+)\. ', text, re.MULTILINE)
    return [int(title) for anchor, title in titles if anchor == title]


def scenario_tests_of(source: str) -> dict[str, str]:
    """Name and docstring of the scenario tests of a module."""
    return {
        node.name: ast.get_docstring(node) or ""
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_scenario_")
    }


def covered_by(tests: dict[str, str]) -> set[int]:
    """The scenarios that tests are about: the number in the name, which the docstring repeats."""
    found = set()
    for name, docstring in tests.items():
        match = re.match(r"test_scenario_(\d\d)_", name)
        if match and re.match(rf"Scenario {int(match[1])}\b", docstring):
            found.add(int(match[1]))
    return found


def all_tests() -> dict[str, str]:
    """The scenario tests of this directory."""
    tests: dict[str, str] = {}
    for path in sorted(HERE.glob("test_scenarios_*.py")):
        tests |= scenario_tests_of(path.read_text())
    return tests


def test_every_scenario_has_a_test() -> None:
    """1 to 66, by name."""
    assert sorted(set(NUMBERS) - covered_by(all_tests())) == []


def test_every_test_names_its_scenario() -> None:
    """The docstring of each begins with the number of its name, and that is one of 1 to 66."""
    tests = all_tests()
    assert len(tests) > len(NUMBERS)
    assert [name for name, docstring in tests.items() if not covered_by({name: docstring}) & set(NUMBERS)] == []


def test_the_text_has_the_same_scenarios() -> None:
    """The text has exactly 1 to 66, in order."""
    if not TEXT.exists():
        pytest.skip(f"{TEXT.name} is not written yet")
    assert numbers_of(TEXT.read_text()) == list(NUMBERS)


def test_the_checks_can_fail() -> None:
    """A scenario without a test, a test without a docstring, one that speaks of another scenario, a wrong anchor."""
    source = """
def test_scenario_07_one() -> None:
    '''Scenario 7: yes.'''
def test_scenario_08_two() -> None:
    '''Scenario 9: no.'''
def test_scenario_10_three() -> None: ...
def other() -> None:
    '''Scenario 11.'''
"""
    tests = scenario_tests_of(source)
    assert list(tests) == ["test_scenario_07_one", "test_scenario_08_two", "test_scenario_10_three"]
    assert covered_by(tests) == {7}
    assert numbers_of('<a id="s1"></a>**1. One.** x\n<a id="s2"></a>**3. Two.** x\n**4. Four.**') == [1]
