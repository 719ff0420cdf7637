# SPDX-License-Identifier: GPL-2.0-only
"""The built-in programs."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

from pageblock_buddy import InputError
from pageblock_buddy.interleave.catalogue import built_in, get_program, program_names
from pageblock_buddy.interleave.engine import Engine
from tests.interleave.carried import carrying, everything, staying


def test_there_are_some() -> None:
    assert len(program_names()) >= 20
    assert list(program_names()) == sorted(program_names())
    assert {"abba-hardirq", "abba-remote-drain"} <= set(program_names())


@pytest.mark.parametrize("name", program_names())
def test_a_built_in_program(name: str) -> None:
    program = built_in(name)
    assert program.name == name
    assert program.summary
    assert len(program.summary) < 160
    assert not program.summary.endswith(".")
    assert len(program.processes()) + len(program.migrations) > 1


@pytest.mark.parametrize("name", program_names())
def test_a_built_in_program_is_small_and_says_what_it_is_first(name: str) -> None:
    path = files("pageblock_buddy") / "data" / "programs" / f"{name}.json"
    assert list(json.loads(path.read_text()))[:4] == ["format", "version", "name", "summary"]


@pytest.mark.parametrize("name", program_names())
@pytest.mark.parametrize("variant", ["rfc", "rfc-trylock", "llist"])
def test_a_built_in_program_runs(name: str, variant: str) -> None:
    """Each process to its end finds nothing, with every guard."""
    with carrying() as carrier:
        engine = everything(Engine(built_in(name), variant, carrier, guards=True))
        assert engine.run(staying()) is None


def test_no_such_program(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^no built-in program 'x'; there are: abba-hardirq, "):
        built_in("x")
    for name in ("x", f"{tmp_path}/x", "x" * 10_000, "a\0b", "x" * 200 + "/" + "y" * 10_000):
        with pytest.raises(InputError, match="no such file, nor a built-in program; these are: abba-hardirq, "):
            get_program(name)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(built_in("three-cpus").to_json())
    assert get_program(str(path)) == built_in("three-cpus")
    assert get_program("three-cpus") is built_in("three-cpus")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="directory"):
        get_program(str(tmp_path))
