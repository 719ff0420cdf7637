# SPDX-License-Identifier: GPL-2.0-only
"""One digest of many runs: whatever the process, hash seed, carrier and Python version."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import pageblock_buddy
from pageblock_buddy.interleave.catalogue import built_in
from pageblock_buddy.interleave.engine import Engine
from pageblock_buddy.interleave.kinds import KIND_NAMES
from pageblock_buddy.interleave.record import record_path
from pageblock_buddy.interleave.schedule import schedule_of, to_text
from pageblock_buddy.interleave.search import Budget, Search

RUNS = (
    ("abba-hardirq", "rfc", "reduced"),
    ("abba-hardirq", "llist", "reduced"),
    ("abba-remote-drain", "rfc", "reduced"),
    ("abba-remote-drain", "llist", "bounded"),
    ("remote-free-drain", "rfc", "reduced"),
    ("remote-free-drain", "llist", "pct"),
    ("offline-free", "rfc", "reduced"),
    ("offline-migrate", "llist", "random"),
    ("softirq-and-hardirq", "rfc", "pos"),
    ("softirq-and-hardirq", "llist", "reduced"),
    ("migrate-free", "rfc", "reduced"),
    ("isolate-free", "llist", "dfs"),
    ("trylock-only", "rfc", "round-robin"),
)
CARRIERS = ("threads", "greenlet")


def digest_of_runs(carrier: str) -> str:
    """Events, schedules, outcomes and verdicts of some searches.  hash() of text would depend on the process."""
    digest = hashlib.sha256()

    def add(*values: object) -> None:
        digest.update(json.dumps(values).encode())

    for program, variant, strategy in RUNS:

        def note(search: Search) -> None:
            engine = search.engine
            add(steps_of(engine), to_text(schedule_of(engine.processes[i].name for i in engine.ev_process)))
            add({name: list(page) for name, page in sorted(engine.pages.items())}, engine.given_up)

        options = {"strategy": strategy, "carrier": carrier, "seed": 5, "budget": Budget(schedules=60)}
        with Search(built_in(program), variant, progress=note, **options) as search:  # type: ignore[arg-type]
            result = search.run()
            add(result.to_dict(), sorted(result.outcomes.values()))
            if result.path is not None:
                recorded = record_path(built_in(program), variant, search.carrier, result.path, search.shared)
                add(recorded.steps, to_text(recorded.schedule), recorded.to_dict())
    return digest.hexdigest()


def steps_of(engine: Engine) -> list[str]:
    """The events of a run, by names."""
    return [
        f"{engine.processes[index].name} {KIND_NAMES[kind]} {engine.objects.names[oid] if oid >= 0 else ''}"
        for index, kind, oid in zip(engine.ev_process, engine.ev_kind, engine.ev_oid, strict=True)
    ]


def in_a_process(python: str, carrier: str, **environment: str) -> str:
    """The digest as another process gets it."""
    result = subprocess.run(
        [python, "-m", "tests.interleave.test_determinism", carrier],
        cwd=Path(__file__).resolve().parents[2],
        env={"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "")} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@cache
def expected() -> str:
    """The digest as this process gets it."""
    return digest_of_runs("threads")


def test_the_same_twice_and_with_both_carriers() -> None:
    assert digest_of_runs("threads") == expected()
    pytest.importorskip("greenlet")
    assert digest_of_runs("greenlet") == expected()


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_whatever_the_hash_seed(seed: str, carrier: str) -> None:
    if carrier == "greenlet":
        pytest.importorskip("greenlet")
    assert in_a_process(sys.executable, carrier, PYTHONHASHSEED=seed) == expected()


def interpreter(version: str) -> tuple[str, dict[str, str]]:
    """Another Python, and the environment in which it runs this package."""
    python = shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"no python{version} here")
    environment = {"PYTHONHASHSEED": "random"}
    # A shim of pyenv wants to be told which release.
    full = {"3.12": "3.12.1", "3.13": "3.13.0"}[version]
    for extra in ({}, {"PYENV_VERSION": full}):
        found = subprocess.run(
            [python, "-c", "import sys; print(sys.version_info[:2])"],
            env=os.environ | extra,
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode == 0:
            return python, environment | extra | {"PYTHONPATH": python_path()}
    pytest.skip(f"python{version} does not start: {found.stderr.strip()}")


def python_path() -> str:
    """Where this package and sortedcontainers, which is pure Python, are."""
    import sortedcontainers

    folders = [Path(pageblock_buddy.__file__).parents[1], Path(sortedcontainers.__file__).parents[1]]
    return os.pathsep.join(map(str, folders))


def has_greenlet(python: str, environment: dict[str, str]) -> bool:
    command = [python, "-c", "import greenlet; greenlet.greenlet"]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, check=False).returncode == 0


@pytest.mark.ci
@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_whatever_the_python(version: str, carrier: str) -> None:
    python, environment = interpreter(version)
    if carrier == "greenlet" and not has_greenlet(python, environment):
        pytest.skip(f"no greenlet for python{version}")
    assert in_a_process(python, carrier, **environment) == expected()


def test_the_digest_depends_on_what_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the digest itself."""
    change: Callable[[Engine], list[str]] = lambda engine: steps_of_real(engine)[:-1]  # noqa: E731
    steps_of_real = steps_of
    monkeypatch.setitem(globals(), "steps_of", change)
    assert digest_of_runs("threads") != expected()


if __name__ == "__main__":
    print(digest_of_runs(sys.argv[1]))
