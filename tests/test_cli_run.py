# SPDX-License-Identifier: GPL-2.0-only
"""The command ``run``: its table, its JSON, and one clear line for whatever cannot be run."""

from __future__ import annotations

import json
import sys

import pytest

from pageblock_buddy.cli import main
from pageblock_buddy.rfc.policies import POLICIES
from pageblock_buddy.variants import VARIANTS
from pageblock_buddy.workload import WORKLOADS

TINY = ("purger", "--cpus", "4", "--memory", "64M", "--set", "purgers=1", "live=1/16", "warm_up=1", "extent=16")
KEYS = [
    "pages_allocated",
    "zone_lock_acquisitions",
    "zone_lock_acquisitions_per_1000_pages",
    "pfns_per_hold",
    "pages_per_acquisition",
    "phase_shares",
    "free_pageblocks",
    "remote_frees",
    "pcp_lock_trylock_failures",
    "failed_allocations",
    "accounting",
]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of ``pageblock-buddy run``."""
    capsys.readouterr()
    try:
        code = main(["run", *arguments])
    except SystemExit as stop:  # argparse
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *TINY, "--variant", "linux-7.0", "--compare", "rfc", "rfc+want-block")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("purger: many CPUs fault pages in")
    assert "cpus=4 memory=64 seed=1 purgers=1" in lines[1]
    rows = [line.split() for line in lines[-3:]]
    assert [row[0] for row in rows] == ["linux-7.0", "rfc", "rfc+want-block"]
    assert all(len(row) == 12 for row in rows)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*TINY, "--variant", "linux-7.0", "--compare", "rfc", "--json"]
    code, out, err = run(capsys, *arguments)
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    found = json.loads(out)
    assert list(found) == ["workload", "parameters", "variants"]
    assert (found["workload"], found["parameters"]["live"]) == ("purger", 0.0625)
    assert list(found["variants"]) == ["linux-7.0", "rfc"]
    for result in found["variants"].values():
        assert list(result) == KEYS
        assert list(result["pfns_per_hold"]) == ["p50", "p99", "max"]
        assert list(result["phase_shares"]) == ["recover", "claim", "chunks", "classic"]
        acquisitions = result["accounting"]["locks"]["zone->lock"]["acquisitions"]
        assert result["zone_lock_acquisitions"] == acquisitions
        per_1000 = acquisitions * 1000 / result["accounting"]["pages_allocated"]
        assert result["zone_lock_acquisitions_per_1000_pages"] == round(per_1000, 4)
    assert run(capsys, *arguments)[1] == out


def test_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    """--seed, --cpus and --memory are parameters like those of --set, which may be given more than once."""
    json_of = [*TINY, "--json", "--seed", "7", "--set", "bursts=0.5,2", "--set", "measured=0.5"]
    parameters = json.loads(run(capsys, *json_of)[1])["parameters"]
    assert (parameters["seed"], parameters["memory"], parameters["cpus"]) == (7, 64, 4)
    assert (parameters["bursts"], parameters["measured"], parameters["purgers"]) == ([0.5, 2.0], 0.5, 1)


def test_a_variant_runs_once(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, *TINY, "--variant", "rfc", "--compare", "rfc", "--json")[1]
    assert list(json.loads(out)["variants"]) == ["rfc"]


def test_failed_allocations_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "exit-storm", "--cpus", "2", "--memory", "16M", "--set", "space=9", "measured=1")
    assert code == 0
    assert out.splitlines()[-1].startswith("linux-6.12: ")
    assert out.endswith(" allocations failed\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no workload 'nothing'; there are: purger, exit-storm,"),
        ([*TINY, "--variant", "linux-9"], "no variant 'linux-9'; there are: linux-6.12,"),
        ([*TINY, "--compare", "rfc", "rfc+x"], "no policy 'x'; there are:"),
        ([*TINY, "--variant", "chunks+want-block"], "chunks takes no policies"),
        (["purger", "--set", "x=1"], "no parameter 'x'; there are: cpus, memory, seed,"),
        (["purger", "--set", "live"], "--set live: not of the form NAME=VALUE"),
        (["purger", "--set", "live=2"], "live 2 is not 0.001..0.9"),
        (["purger", "--seed", "one"], "seed: 'one' is not a whole number"),
        (["purger", "--cpus", "0"], "cpus 0 is not 1..8192"),
        (["purger", "--memory", "16 GB"], "memory: '16 GB' is not a size such as 512M or 16G"),
        (["purger", "--memory", "2000T"], "memory"),
    ],
)
def test_what_cannot_be_run(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("pageblock-buddy: ")
    assert err.count("\n") == 1
    assert message in err


def test_an_error_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "nothing", "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "bad-input"


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys)[0] == 2
    assert run(capsys, "purger", "--compare")[0] == 2


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    """Every workload with its parameters, every variant, every policy."""
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for workload in WORKLOADS.values():
        assert f"  {workload.name:<16}{workload.summary}\n" in out
        assert all(f"{field}=" in out for field in workload.parameters().to_dict())
    for variant in VARIANTS.values():
        assert f"  {variant.name:<16}{variant.summary}\n" in out
    assert all(f"+{policy}" in out for policy in POLICIES)
    assert "pageblock-buddy run purger --variant linux-7.0 --compare rfc" in out


class Terminal:
    """A stderr that is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_progress_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr alone, and without tqdm too."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    code, out, _ = run(capsys, *TINY, "--set", "live=1/4", "measured=4")
    assert code == 0
    assert "purger on linux-6.12: " in terminal.text
    assert "%" not in out.replace("% of refill by phase", "")
