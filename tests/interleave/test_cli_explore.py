# SPDX-License-Identifier: GPL-2.0-only
"""explore, and replay of schedules: what they print, and exit codes 0 exhausted, 1 fault, 2 unusable, 3 incomplete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pageblock_buddy.interleave.catalogue import built_in, program_names
from pageblock_buddy.interleave.program import Alloc, Free
from pageblock_buddy.interleave.schedule import from_text, is_schedule_file
from pageblock_buddy.interleave.search import STRATEGIES
from tests.interleave.carried import small
from tests.test_cli import Commands

DEADLOCKS = ("abba-hardirq", "abba-remote-drain")
CYCLES = {
    "abba-hardirq": [
        "deadlock:",
        "  CPU 0 task (a = alloc_pages(0)) is interrupted by CPU 0 hardirq",
        "  CPU 0 hardirq (spin_lock(xa_lock)) waits for xa_lock, held by CPU 1 task",
        "  CPU 1 task (free_pages(s8)) waits for CPU 0 pcp->lock, held by CPU 0 task",
    ],
    "abba-remote-drain": [
        "deadlock:",
        "  CPU 0 task (free_pages(s8)) waits for CPU 0 pcp->lock, held by CPU 1 task",
        "  CPU 1 task (drain_pages(0)) is interrupted by CPU 1 hardirq",
        "  CPU 1 hardirq (spin_lock(xa_lock)) waits for xa_lock, held by CPU 0 task",
    ],
}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


def result_of(run: Commands, *arguments: object) -> dict[str, Any]:
    """What a command prints with --json."""
    result = run(*arguments, "--json")
    assert result.err == ""
    assert len(result.lines) == 1
    found: dict[str, Any] = json.loads(result.out)
    return found


# --- explore -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEADLOCKS)
def test_the_deadlock_is_found(run: Commands, name: str) -> None:
    """With its cycle, lockdep's view, the two columns, and a schedule."""
    result = run("explore", name, "--variant", "rfc")
    assert (result.code, result.err) == (1, "")
    assert result.lines[:4] == CYCLES[name]
    assert result.lines[4] == "irq-inversion:"
    assert any(line.startswith("CPU 0") and line.endswith("CPU 1") for line in result.lines)
    assert any(line.startswith("schedule: 1:") for line in result.lines)
    assert result.lines[-1].startswith(f"{name} on rfc: fault: ")
    assert result.lines[-1].endswith("; sequential consistency is assumed")


def test_rfc_is_the_default(run: Commands) -> None:
    assert run("explore", "abba-hardirq").out == run("explore", "abba-hardirq", "--variant", "rfc").out


@pytest.mark.parametrize("name", DEADLOCKS)
@pytest.mark.parametrize("variant", ["llist", "rfc-trylock"])
def test_both_fixes_are_exhausted(run: Commands, name: str, variant: str) -> None:
    result = run("explore", name, "--variant", variant)
    assert (result.code, result.err) == (0, "")
    assert len(result.lines) == 1
    assert result.out.startswith(f"{name} on {variant}: exhausted: ")
    assert result.out.endswith("sequential consistency is assumed\n")


@pytest.mark.parametrize("strategy", ["random", "pct", "pos", "round-robin"])
def test_what_cannot_exhaust_is_never_a_pass(run: Commands, strategy: str) -> None:
    result = run("explore", "abba-hardirq", "--variant", "llist", "--strategy", strategy, "--schedules", 20)
    assert (result.code, result.err) == (3, "")
    reason = "round-robin cannot exhaust" if strategy == "round-robin" else "stopped after 20 schedules"
    assert result.lines[-1].startswith(f"abba-hardirq on llist: incomplete ({reason}): ")


@pytest.mark.parametrize("strategy", ["reduced", "bounded", "dfs"])
def test_a_budget(run: Commands, strategy: str) -> None:
    result = run("explore", "remote-free-drain", "--strategy", strategy, "--schedules", 2)
    assert result.code == 3
    assert "incomplete (stopped after 2 schedules): 2 schedules" in result.out
    result = run("explore", "remote-free-drain", "--strategy", strategy, "--outcomes", 1)
    assert result.code == 3
    assert "incomplete (stopped with 1 outcomes in memory)" in result.out
    result = run("explore", "three-cpus", "--strategy", strategy, "--time", 0.01)
    assert result.code == 3
    assert "incomplete (stopped after 0.01 s)" in result.out


@pytest.mark.parametrize("strategy", ["bounded", "dfs", "random", "pct", "pos"])
@pytest.mark.parametrize("name", DEADLOCKS)
def test_other_strategies_find_it_too(run: Commands, name: str, strategy: str) -> None:
    result = run("explore", name, "--strategy", strategy, "--schedules", 20_000)
    assert result.code == 1
    assert any(line in CYCLES[name] for line in result.lines)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_twice(run: Commands, strategy: str) -> None:
    """And with the other carrier."""
    arguments = ("explore", "softirq-and-hardirq", "--strategy", strategy, "--schedules", 30)
    first = run(*arguments)
    assert run(*arguments) == first
    assert run(*arguments, "--carrier", "greenlet") == first
    if strategy in ("random", "pct", "pos"):
        assert run(*arguments, "--seed", 2) != first


@pytest.mark.parametrize("name", DEADLOCKS)
def test_json(run: Commands, name: str) -> None:
    found = result_of(run, "explore", name)
    assert found["verdict"] == "fault"
    assert (found["program"], found["variant"], found["strategy"]) == (name, "rfc", "reduced")
    assert found["findings"][0]["code"] == "deadlock"
    assert found["findings"][0]["lines"] == [line.strip() for line in CYCLES[name][1:]]
    assert found["assumes"] == "sequential consistency is assumed"
    assert from_text(found["schedule"])
    good = result_of(run, "explore", name, "--variant", "llist")
    assert (good["verdict"], good["findings"], good["schedule"]) == ("exhausted", [], None)
    assert good["schedules"] > 1


@pytest.mark.parametrize("option", [(), ("--guards",), ("--invariants", "ends"), ("--invariants", "never")])
def test_options_that_change_no_verdict(run: Commands, option: tuple[str, ...]) -> None:
    assert run("explore", "abba-remote-drain", *option).code == 1
    assert run("explore", "abba-remote-drain", "--variant", "llist", *option).code == 0


def test_help_names_the_programs(run: Commands) -> None:
    out = run("explore", "--help").out
    assert all(f"  {name} " in out and built_in(name).summary in out for name in program_names())
    assert "exit codes: 0 exhausted and nothing found; 1 a fault; 2 unusable input; 3" in out


# --- input that cannot be used -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no-such",), "no-such: no such file, nor a built-in program; these are: abba-hardirq, "),
        (("x" * 5000,), "no such file, nor a built-in program"),
        (("abba-hardirq", "--variant", "none"), "none"),
        (("abba-hardirq", "--schedules", "0"), "--schedules 0: not a positive number"),
        (("abba-hardirq", "--schedules", "-1"), "--schedules -1: not a positive number"),
        (("abba-hardirq", "--time", "0"), "--time 0.0: not a positive number"),
        (("abba-hardirq", "--time", "nan"), "--time nan: not a positive number"),
        (("abba-hardirq", "--outcomes", "0"), "--outcomes 0: not a positive number"),
    ],
)
def test_unusable(run: Commands, arguments: tuple[str, ...], message: str) -> None:
    result = run("explore", *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("pageblock-buddy: ")
    assert message in result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    "option", [("--strategy", "x"), ("--carrier", "x"), ("--invariants", "x"), ("--seed", "x"), ("--schedules", "1.5")]
)
def test_usage(run: Commands, option: tuple[str, str]) -> None:
    result = run("explore", "abba-hardirq", *option)
    assert (result.code, result.out) == (2, "")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format": "pageblock-buddy-program", "version": 1}',
        '{"format": "pageblock-buddy-program", "version": ' + "1" * 5000 + "}",
        "[" * 100_000,
    ],
)
def test_a_file_that_is_no_program(run: Commands, tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    for arguments in (("explore", path), ("replay", path, "--schedule", "1:0*")):
        result = run(*arguments)
        assert (result.code, result.out) == (2, "")
        assert len(result.err.splitlines()) == 1


def test_a_folder(run: Commands, tmp_path: Path) -> None:
    result = run("explore", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert "Is a directory" in result.err


def test_an_operation_that_the_variant_has_not_is_an_error(run: Commands) -> None:
    result = run("explore", "trylock-only", "--variant", "linux-6.12")
    assert (result.code, result.out) == (2, "")
    assert "linux-6.12 has no alloc_pages_nolock()" in result.err


def test_json_of_an_error(run: Commands) -> None:
    result = run("explore", "no-such", "--json")
    assert result.code == 2
    assert json.loads(result.out)["error"]["code"] == "bad-input"


def test_the_output_cannot_be_written(run: Commands, tmp_path: Path) -> None:
    result = run("explore", "abba-hardirq", "-o", tmp_path / "none" / "x.jsonl")
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1


# --- replay ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEADLOCKS)
def test_what_explore_writes_can_be_replayed(run: Commands, tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.jsonl"
    result = run("explore", name, "-o", path)
    assert result.lines[-1] == f"written: {path}"
    assert is_schedule_file(path)
    again = run("replay", path)
    assert (again.code, again.err) == (1, "")
    schedule = next(line for line in result.lines if line.startswith("schedule: ")).removeprefix("schedule: ")
    assert again.lines[-1].endswith(f"schedule {schedule}")
    assert all(line in again.lines for line in CYCLES[name])
    line = run("replay", name, "--schedule", schedule)
    assert (line.code, line.out, line.err) == (1, again.out, "")
    found = result_of(run, "replay", path)
    assert (found["diverges_at"], found["schedule"]) == (None, schedule)
    assert found["findings"][0]["code"] == "deadlock"


def test_nothing_is_written_where_nothing_is_found(run: Commands, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    assert run("explore", "abba-hardirq", "--variant", "llist", "-o", path).code == 0
    assert not path.exists()


@pytest.mark.parametrize("name", DEADLOCKS)
@pytest.mark.parametrize("variant", ["llist", "rfc-trylock"])
def test_replay_on_another_variant_names_the_first_difference(
    run: Commands, tmp_path: Path, name: str, variant: str
) -> None:
    path = tmp_path / "x.jsonl"
    run("explore", name, "-o", path)
    result = run("replay", path, "--variant", variant)
    assert (result.code, result.err) == (1, "")
    assert any(line.startswith("step ") and " differs: recorded " in line for line in result.lines)
    assert result_of(run, "replay", path, "--variant", variant)["diverges_at"] is not None


def test_replay_of_a_good_schedule(run: Commands) -> None:
    result = run("replay", "abba-hardirq", "--schedule", "1:0*,1*,0h*")
    assert (result.code, result.err) == (1, "")  # lockdep sees it without a deadlock
    assert "irq-inversion" in result.out or "irq inversion" in result.out
    result = run("replay", "abba-hardirq", "--variant", "llist", "--schedule", "1:0*,1*,0h*")
    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize("strategy", ["random", "pct", "pos"])
def test_a_schedule_is_gone_on_with(run: Commands, tmp_path: Path, strategy: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(small([Alloc("b"), Free("b")], [Alloc("c")], [Alloc("e"), Alloc("f")]).to_json())
    arguments = ("replay", path, "--schedule", "1:2*3", "--continue", strategy)
    first = run(*arguments, "--seed", 3)
    assert first.code == 0
    assert run(*arguments, "--seed", 3) == first
    assert run(*arguments, "--seed", 4) != first


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("x", "schedule: it does not start with '1:'"),
        ("1:9h*1", "the program has no process '9h'"),
        ("1:0*0", "passes 0 points"),
    ],
)
def test_a_schedule_that_cannot_be_used(run: Commands, schedule: str, message: str) -> None:
    result = run("replay", "abba-hardirq", "--schedule", schedule)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_a_schedule_that_does_not_fit(run: Commands) -> None:
    result = run("replay", "abba-hardirq", "--variant", "llist", "--schedule", "1:0h*9")
    assert result.code == 1
    assert "the schedule no longer fits: step 3: process 0h cannot go on" in result.out


def test_a_damaged_schedule_file(run: Commands, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    run("explore", "abba-hardirq", "-o", path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "5", *lines[2:]]))
    result = run("replay", path)
    assert (result.code, result.out) == (2, "")
    assert "line 2 is not a list of four texts" in result.err
    path.write_text("\n".join([lines[0], json.dumps(["1", "lock", "other", ""]), *lines[2:]]))
    result = run("replay", path)
    assert result.code == 1
    assert "step 0 differs: recorded 1 lock other; now 0 " in result.out
