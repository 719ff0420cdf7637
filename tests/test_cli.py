# SPDX-License-Identifier: GPL-2.0-only
"""The command line: what it prints, and its exit codes 0 good, 1 difference, 2 unusable, 3 incomplete."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pageblock_buddy import __version__, cli
from pageblock_buddy.cli import main
from pageblock_buddy.views import FORMATS
from tests.helpers import MOVABLE
from tests.recording.cut import cut, cut_natural, read_lines, recording, write_lines
from tests.recording.tiny import NaturalRun, ScriptedRun, write
from tests.views.golden import kernel_text


@dataclass
class Run:
    """One command: exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Commands:
    """Runs commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object) -> Run:
        self.capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            code = int(stop.code or 0)
        out, err = self.capsys.readouterr()
        return Run(code, out, err)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


def process(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pageblock_buddy", *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        **{"stdout": subprocess.PIPE} | options,
    )


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = cut(read_lines(recording("128M-2cpu-mixc-s1")), 500)
    return write_lines(tmp_path_factory.mktemp("cli") / "good.jsonl.gz", lines)


def changed(path: Path, to: Path, place: int, value: int = 1) -> Path:
    """The recording with the last number of a line raised."""
    lines = read_lines(path)
    record = json.loads(lines[place])
    record[-1] += value
    lines[place] = json.dumps(record)
    return write_lines(to, lines)


def operation_lines(path: Path, kind: str) -> list[int]:
    """Places of the operations (or, "e", events) of a kind."""
    return [place for place, line in enumerate(read_lines(path)) if line.startswith(f'["{kind}"')]


# --- replay ------------------------------------------------------------------------------------


def test_replay_of_a_good_one(run: Commands, good: Path) -> None:
    result = run("replay", good)
    assert (result.code, result.err) == (0, "")
    assert result.out == "543 operations, 0 mismatches\n"


def test_operations_are_allocations_frees_bulk_pages_and_drains(run: Commands, tmp_path: Path) -> None:
    tiny = ScriptedRun()
    tiny.alloc(MOVABLE)
    tiny.bulk(MOVABLE, 5)
    tiny.free(1)
    tiny.snap()
    tiny.drain(1)
    assert run("replay", write(tmp_path / "x.jsonl", tiny.records())).out == "8 operations, 0 mismatches\n"


def test_plain_text_is_read_as_well(run: Commands, good: Path, tmp_path: Path) -> None:
    assert run("replay", write_lines(tmp_path / "good.jsonl", read_lines(good))).out == run("replay", good).out


def test_nothing_to_compare_is_unusable(run: Commands, tmp_path: Path) -> None:
    """Not "0 operations, 0 mismatches": that would look like success."""
    for records in (ScriptedRun().records(), NaturalRun().records()):
        result = run("replay", write(tmp_path / "x.jsonl", records))
        assert (result.code, result.out) == (2, "")
        assert result.err == "pageblock-buddy: x.jsonl: no operation in it, nothing was compared\n"


def test_a_mismatch_is_shown_with_state_and_rules(run: Commands, good: Path, tmp_path: Path) -> None:
    """The operation, what was expected and what the model did, the state around it, the rules behind it."""
    place = operation_lines(good, "A")[40]
    record = json.loads(read_lines(good)[place])
    result = run("replay", changed(good, tmp_path / "wrong.jsonl.gz", place))
    assert (result.code, result.err) == (1, "")
    assert result.lines[0].startswith(f"wrong.jsonl.gz: line {place + 1}, operation ")
    assert result.lines[0].endswith(f": alloc_pages(gfp={record[3]:#x}, order={record[2]}) on CPU {record[1]}")
    assert result.lines[1:4] == [
        "  differs in pfn (expected: the kernel; got: the model)",
        f"  expected {record[4] + 1}",
        f"  got      {record[4]}",
    ]
    state = result.lines.index("state before it:")
    rules = result.lines.index("why the model answers so:")
    assert any("NR_FREE_PAGES" in line and "min/low/high" in line for line in result.lines[state:rules])
    assert any(f"pcp of CPU {record[1]}: count" in line for line in result.lines[state:rules])
    assert any("order " in line and "[" in line for line in result.lines[state:rules])
    assert sum("LPA-" in line for line in result.lines[rules:]) > 3
    assert result.lines[-1].endswith(" operations, 1 mismatches")


def test_it_stops_at_the_first_mismatch(run: Commands, good: Path, tmp_path: Path) -> None:
    first, second = operation_lines(good, "A")[10], operation_lines(good, "A")[-1]
    lines = read_lines(good)
    for place in (first, second):
        record = json.loads(lines[place])
        record[-1] += 1
        lines[place] = json.dumps(record)
    path = write_lines(tmp_path / "x.jsonl", lines)
    result = run("replay", path)
    assert result.code == 1
    assert f"line {first + 1}," in result.out
    assert f"line {second + 1}," not in result.out
    counted = int(result.lines[-1].split()[0])
    assert counted < 543


def test_keep_going_resumes_at_the_next_snapshot(run: Commands, good: Path, tmp_path: Path) -> None:
    lines = read_lines(good)
    events = operation_lines(good, "e")
    first, second = events[3], events[-3]
    for place in (first, second):
        record = json.loads(lines[place])
        record[-1] += 1
        lines[place] = json.dumps(record)
    path = write_lines(tmp_path / "x.jsonl", lines)
    result = run("replay", path, "--keep-going")
    assert result.code == 1
    assert f"x.jsonl: line {first + 1}," in result.out
    assert f"x.jsonl: line {second + 1}," in result.out
    assert result.lines[-1].endswith(" operations, 2 mismatches")
    # nothing to keep going for: the same as without
    assert run("replay", good, "--keep-going") == run("replay", good)


def test_a_difference_in_a_snapshot(run: Commands, good: Path, tmp_path: Path) -> None:
    lines = read_lines(good)
    record = json.loads(lines[-1])
    record["zones"][1]["nr_free_pages"] += 1
    lines[-1] = json.dumps(record)
    result = run("replay", write_lines(tmp_path / "x.jsonl", lines))
    assert result.code == 1
    assert result.lines[0] == f"x.jsonl: line {len(lines)}, operation {record['op']}: snapshot"
    assert result.lines[1] == "  differs in zones[1].nr_free_pages (expected: the kernel; got: the model)"
    assert result.lines[-1] == "543 operations, 1 mismatches"


def test_causes_have_lines_of_their_own(run: Commands, tmp_path: Path) -> None:
    tiny = NaturalRun()
    held = [tiny.alloc(MOVABLE) for _ in range(3)]
    with tiny.interrupted(0):
        tiny.free(held[1], in_irq=1)
    path = write(tmp_path / "x.jsonl", tiny.records())
    result = run("replay", path)
    assert result.code == 0
    assert result.lines == ["resynchronised: 1 x PCP trylock lost to an interrupt", "4 operations, 0 mismatches"]


def test_a_mismatch_of_a_natural_run(run: Commands, tmp_path: Path) -> None:
    tiny = NaturalRun()
    tiny.alloc(MOVABLE)
    tiny.alloc(MOVABLE, cpu=1)
    records = tiny.records()
    records[-2][-1] += 1
    result = run("replay", write(tmp_path / "x.jsonl", records))
    assert result.code == 1
    assert result.lines[0] == f"x.jsonl: line 8, operation 5: alloc_pages(gfp={MOVABLE:#x}, order=0) on CPU 1"
    assert "why the model answers so:" in result.lines
    assert result.lines[-1] == "1 operations, 1 mismatches" or result.lines[-1] == "2 operations, 1 mismatches"


def test_replay_as_json(run: Commands, good: Path, tmp_path: Path) -> None:
    result = run("replay", good, "--json")
    assert result.code == 0
    assert len(result.lines) == 1
    assert json.loads(result.out) == {
        "recording": "good.jsonl.gz",
        "variant": "linux-6.12",
        "operations": 543,
        "snapshots": 2,
        "mismatches": [],
        "resyncs": {},
    }
    place = operation_lines(good, "A")[0]
    result = run("replay", changed(good, tmp_path / "x.jsonl", place), "--json")
    assert result.code == 1
    (mismatch,) = json.loads(result.out)["mismatches"]
    assert mismatch.keys() == {"line", "op", "path", "expected", "got", "operation"}
    assert (mismatch["line"], mismatch["path"]) == (place + 1, "pfn")
    assert mismatch["expected"] == mismatch["got"] + 1


# --- unusable input ----------------------------------------------------------------------------


def one_line(result: Run, message: str) -> None:
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("pageblock-buddy: ")
    assert result.err.count("\n") == 1
    assert message in result.err


@pytest.mark.parametrize("command", [["replay"], ["explain", "--at", "1"], ["show"]], ids=lambda c: str(c[0]))
def test_unusable_files(run: Commands, command: list[str], tmp_path: Path, good: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "junk").write_bytes(bytes(range(256)))
    (tmp_path / "cut.gz").write_bytes(good.read_bytes()[:3000])
    os.mkfifo(tmp_path / "fifo")
    for name, message in (
        ("missing", "missing: cannot read: No such file or directory"),
        (".", "cannot read: not a regular file"),
        ("fifo", "fifo: cannot read: not a regular file"),
        ("empty", "empty: line 1: empty file, not a recording"),
        ("junk", "junk: line 1: not JSON"),
        ("cut.gz", "cut.gz: line "),
    ):
        one_line(run(command[0], tmp_path / name, *command[1:]), message)


def test_a_kernel_that_no_variant_is_exact_for(run: Commands, good: Path, tmp_path: Path) -> None:
    lines = read_lines(good)
    meta = json.loads(lines[0]) | {"kernel": "6.1.119"}
    path = write_lines(tmp_path / "x.jsonl", [json.dumps(meta), *lines[1:]])
    one_line(run("replay", path), "no variant is exact for kernel '6.1.119'; there are: linux-6.12")
    assert run("replay", path, "--variant", "linux-6.12").code == 0
    one_line(run("replay", good, "--variant", "6.13"), "no variant '6.13'; there are: linux-6.12")


def test_a_variant_with_other_lists_cannot_be_compared(run: Commands, good: Path) -> None:
    one_line(run("replay", good, "--variant", "rfc"), "rfc keeps other per-CPU lists than the recorded kernel")


def test_a_version_of_the_format(run: Commands, good: Path, tmp_path: Path) -> None:
    lines = read_lines(good)
    for version, code in ((1, 0), (2, 2), ("1", 2)):
        meta = json.loads(lines[0]) | {"version": version}
        path = write_lines(tmp_path / "x.jsonl", [json.dumps(meta), *lines[1:]])
        assert run("replay", path).code == code


def test_an_error_as_json(run: Commands, tmp_path: Path) -> None:
    result = run("replay", tmp_path / "missing", "--json")
    assert result.code == 2
    error = json.loads(result.out)["error"]
    assert (error["code"], error["fault"]) == ("bad-input", "input")
    assert result.err == f"pageblock-buddy: {error['message']}\n"
    result = run("replay", recording("b"), "--variant", "x", "--json")
    assert json.loads(result.out)["error"]["code"] == "unknown-variant"


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["replay"], ["explain", "x"], ["explain", "x", "--at", "one"], ["show", "x", "--format", "xml"]],
    ids=lambda a: " ".join(a) or "none",
)
def test_usage(run: Commands, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.code == 2
    assert "usage: pageblock-buddy" in result.out + result.err


def test_help_and_version(run: Commands) -> None:
    assert run("--version").out == f"pageblock-buddy {__version__}\n"
    result = run("--help")
    assert result.code == 0
    for word in ("demo", "replay", "explain", "show", "exit codes: 0 all good"):
        assert word in result.out
    for command in ("demo", "replay", "explain", "show"):
        assert run(command, "--help").code == 0


# --- explain -----------------------------------------------------------------------------------


def test_explain(run: Commands, good: Path) -> None:
    place = operation_lines(good, "A")[40]
    record = json.loads(read_lines(good)[place])
    at = json.loads(run("replay", changed(good, good.parent / "x.jsonl", place), "--json").out)["mismatches"][0]["op"]
    result = run("explain", good, "--at", at)
    assert (result.code, result.err) == (0, "")
    request = f"alloc_pages(gfp={record[3]:#x}, order={record[2]}) on CPU {record[1]}"
    assert result.lines[0] == f"operation {at}, line {place + 1}: {request}"
    assert result.lines[1] == "state before it:"
    assert "rule by rule:" in result.lines
    assert f" = {record[4]}" in result.out
    as_json = run("explain", good, "--at", at, "--json")
    assert as_json.code == 0
    assert json.loads(as_json.out)["operation"] == request


def test_explain_a_snapshot(run: Commands, good: Path) -> None:
    one_line(run("explain", good, "--at", 0), "operation 0 is a snapshot; there is nothing to explain")


def test_explain_a_page_of_a_bulk_allocation(run: Commands, tmp_path: Path) -> None:
    tiny = ScriptedRun()
    bulk = tiny.bulk(MOVABLE, 4)
    tiny.alloc(MOVABLE)
    path = write(tmp_path / "x.jsonl", tiny.records())
    whole = run("explain", path, "--at", bulk).out
    assert whole.startswith(f"operation {bulk}, line ")
    for page in range(1, 5):
        assert run("explain", path, "--at", bulk + page).out == f"{bulk + page} is part of operation {bulk}:\n{whole}"
    assert "nr_pages" not in run("explain", path, "--at", bulk + 5).lines[0]


@pytest.mark.parametrize("command", ["explain", "show"])
def test_operations_that_are_not_there(run: Commands, good: Path, command: str) -> None:
    for at in (-1, 587, 10**12):
        one_line(run(command, good, f"--at={at}"), f"there is no operation {at}; operations are 0..584")
    assert run(command, good, "--at", "1" * 5000).code == 2


def test_explain_a_natural_run(run: Commands, tmp_path: Path) -> None:
    path = cut_natural(recording("nat"), tmp_path / "cut.jsonl.gz", 500)
    lines = read_lines(path)
    at = next(i for i, line in enumerate(lines[2:]) if '"alloc"' in line and i > 200)
    event = json.loads(lines[at + 2])
    result = run("explain", path, "--at", at)
    assert result.code == 0
    order, gfp, _, pfn = event[6:]
    assert (
        result.lines[0] == f"operation {at}, line {at + 3}: alloc_pages(gfp={gfp:#x}, order={order}) on CPU {event[5]}"
    )
    assert f" = {pfn}" in result.out
    one_line(run("explain", path, "--at", len(lines)), "there is no operation")


# --- show --------------------------------------------------------------------------------------

PROC = {"buddyinfo": "buddyinfo", "pagetypeinfo": "pagetypeinfo"}


@pytest.mark.parametrize("name", ["6.12-b", "6.12-c"])
@pytest.mark.parametrize("view", PROC)
def test_show_is_the_kernels_own_text(run: Commands, name: str, view: str) -> None:
    """The first snapshot as the kernel printed it on the machine; `views` has the other texts."""
    result = run("show", recording(name.removeprefix("6.12-")), "--format", view)
    assert (result.code, result.err) == (0, "")
    assert result.out == kernel_text(name, "start", PROC[view])


def test_show_defaults_to_buddyinfo(run: Commands) -> None:
    assert run("show", recording("b")).out == kernel_text("6.12-b", "start", "buddyinfo")


@pytest.mark.parametrize("fmt", FORMATS)
def test_show_in_every_format(run: Commands, good: Path, fmt: str) -> None:
    first, later = run("show", good, "--format", fmt), run("show", good, "--at", 300, "--format", fmt)
    assert (first.code, later.code) == (0, 0)
    assert first.out.endswith("\n")
    assert first.out != later.out


def test_show_is_the_recorded_state_at_a_snapshot(run: Commands, good: Path) -> None:
    lines = read_lines(good)
    for line in lines[1:]:
        if line.startswith("{"):
            snapshot = json.loads(line)
            result = run("show", good, "--at", snapshot["op"], "--format", "json")
            assert json.loads(result.out) == {"zones": snapshot["zones"]}


# --- as a process ------------------------------------------------------------------------------


def test_a_closed_pipe_is_not_an_error(good: Path, tmp_path: Path) -> None:
    """Whoever reads our output may stop; the exit code still says whether all agreed."""
    wrong = changed(good, tmp_path / "x.jsonl", operation_lines(good, "A")[40])
    for path, code in ((good, 0), (wrong, 1)):
        with process("replay", path) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            child.stdout.close()
            assert child.stderr.read() == ""
            assert child.wait(60) == code


def test_a_full_disk_is_not_a_traceback(good: Path) -> None:
    with open("/dev/full", "w") as full, process("replay", good, stdout=full) as child:
        assert child.communicate(timeout=60)[1] == "pageblock-buddy: No space left on device\n"
        assert child.returncode == 3


def opened(pid: int, path: Path) -> bool:
    """Whether a process has a file open."""
    try:
        return any(os.readlink(link) == str(path) for link in Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:  # one was closed just now
        return False


def test_control_c() -> None:
    # Once in a hundred times CPython loses the signal inside its json scanner, and the replay goes on to its end.
    for _ in range(3):
        with process("replay", recording("c")) as child:
            while not opened(child.pid, recording("c")):
                assert child.poll() is None
                time.sleep(0.01)
            child.send_signal(signal.SIGINT)
            _, err = child.communicate(timeout=60)
            if (child.returncode, err) != (0, ""):
                break
    assert (child.returncode, err) == (3, "pageblock-buddy: interrupted\n")


def test_names_and_output_that_are_not_utf8(good: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"m\xe9moire-\xff.jsonl")
    path = write_lines(
        tmp_path / name, read_lines(changed(good, tmp_path / "x.jsonl.gz", operation_lines(good, "A")[9]))
    )
    with process("replay", path, env={**os.environ, "PYTHONIOENCODING": "ascii"}) as child:
        out, err = child.communicate(timeout=60)
        assert (child.returncode, err) == (1, "")
        assert out.startswith("m\\udce9moire-\\udcff.jsonl: line ")


def test_the_module_is_the_command(good: Path) -> None:
    with process("replay", good) as child:
        assert child.communicate(timeout=60) == ("543 operations, 0 mismatches\n", "")
        assert child.returncode == 0


def test_an_interrupt_inside_the_json_scanner(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CPython 3.11 makes it a SystemError caused by the KeyboardInterrupt; any other SystemError is a real fault."""

    def scanner(_: object) -> int:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise SystemError("returned a result with an exception set") from interrupt

    monkeypatch.setitem(cli._COMMANDS, "demo", scanner)
    assert cli.main(["demo"]) == 3
    assert capsys.readouterr().err == "pageblock-buddy: interrupted\n"

    def broken(_: object) -> int:
        raise SystemError("something else")

    monkeypatch.setitem(cli._COMMANDS, "demo", broken)
    with pytest.raises(SystemError, match="something else"):
        cli.main(["demo"])
