# SPDX-License-Identifier: GPL-2.0-only
"""Schedules: as a line, as a file, replayed, and gone on with."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pageblock_buddy import InputError
from pageblock_buddy.errors import PageblockBuddyError, ReplayDivergence
from pageblock_buddy.interleave.catalogue import built_in
from pageblock_buddy.interleave.program import Alloc, Free
from pageblock_buddy.interleave.record import Recorded, full_engine, record, record_path, record_schedule
from pageblock_buddy.interleave.schedule import (
    Part,
    Schedule,
    ScheduleFile,
    Step,
    first_difference,
    from_text,
    is_schedule_file,
    read_schedule,
    schedule_of,
    to_text,
)
from pageblock_buddy.interleave.search import Search, make_strategy
from pageblock_buddy.interleave.strategies.follow import FollowSchedule
from tests.interleave.carried import CARRIERS, carrying, small
from tests.interleave.generated import JSON, nodes

DEADLOCKS = ("abba-hardirq", "abba-remote-drain")


@cache
def deadlock(name: str) -> Recorded:
    """The run in which a search meets the deadlock."""
    with Search(built_in(name), "rfc") as search:
        result = search.run()
        assert result.path is not None
        return record_path(built_in(name), "rfc", search.carrier, result.path, search.shared)


def file_of(recorded: Recorded) -> ScheduleFile:
    """The run as a file's contents."""
    finding = recorded.finding
    return ScheduleFile(
        recorded.program,
        recorded.variant,
        recorded.schedule,
        None if finding is None else finding.to_dict(),
        recorded.steps,
    )


# --- a line ------------------------------------------------------------------------------------

PROCESSES = st.from_regex(r"[0-9]{1,2}(h[0-9]?|s|>[0-9])?", fullmatch=True)


@given(parts=st.lists(st.tuples(PROCESSES, st.none() | st.integers(1, 1 << 24))))
def test_a_line_is_what_it_writes(parts: list[tuple[str, int | None]]) -> None:
    schedule = tuple(Part(*part) for part in parts)
    assert from_text(to_text(schedule)) == schedule
    assert from_text(f" {to_text(schedule)}\n") == schedule


@given(processes=st.lists(st.sampled_from(["0", "1", "0h", "0>1"])))
def test_the_schedule_of_steps(processes: list[str]) -> None:
    schedule = schedule_of(processes)
    assert all(a.process != b.process for a, b in pairwise(schedule))
    steps = [part.process for part in schedule for _ in range(part.points or 1)]
    assert steps == processes[: len(steps)]
    assert [part.points for part in schedule if part.points is None] == ([None] if schedule else [])


def test_the_example_of_the_documentation() -> None:
    text = "1:0*14,1*7,0h*3,0*"
    assert from_text(text) == (Part("0", 14), Part("1", 7), Part("0h", 3), Part("0", None))
    assert to_text(from_text(text)) == text
    assert from_text("1:") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it does not start with '1:', the version that this release reads"),
        ("0*1", "it does not start with '1:'"),
        ("2:0*1", "it does not start with '1:'"),
        ("01:0*1", "it does not start with '1:'"),
        ("1:0", "part 1, '0', is not of the form PROCESS*POINTS"),
        ("1:0*1,,1*1", "part 2, '', is not of the form"),
        ("1:0*1,", "part 2, '', is not of the form"),
        ("1:x*1", "part 1, 'x*1', is not"),
        ("1:0*-1", "part 1, '0*-1', is not"),
        ("1:0*1.5", "is not of the form"),
        ("1:0*0", "part 1 passes 0 points"),
        ("1:0*16777217", "part 1 passes 16777217 points"),
        ("1:0*" + "9" * 5000, "is not of the form"),
        ("1:" + "9" * 5000 + "*1", "is not of the form"),
        ("1:\u0660*1", "is not of the form"),  # a digit, but not one of ours
        ("1:0*\u0661", "is not of the form"),
        ("1:0h*1 ,1*1", "is not of the form"),
        ("1:0*1\n1*1", "is not of the form"),
        ("1:0n*1", "is not of the form"),
    ],
)
def test_a_line_that_is_none(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        from_text(text)
    assert message in caught.value.message
    assert len(caught.value.message.splitlines()) == 1
    assert len(caught.value.message) < 200


@given(text=st.text(alphabet="0123456789:*,hs> \n\u0660", max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    for one in (text, f"1:{text}"):
        try:
            schedule = from_text(one)
        except InputError:
            continue
        assert from_text(to_text(schedule)) == schedule


# --- a file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEADLOCKS)
def test_a_file_is_what_it_writes(tmp_path: Path, name: str) -> None:
    written = file_of(deadlock(name))
    path = tmp_path / "x.jsonl"
    written.write(path)
    assert is_schedule_file(path)
    read = read_schedule(path)
    assert (read.program, read.variant, read.schedule) == (written.program, written.variant, written.schedule)
    assert json.dumps(read.finding) == json.dumps(written.finding)
    assert first_difference(written.steps, read.steps) is None
    assert [step.operation for step in read.steps] == [step.operation for step in written.steps]
    path_again = tmp_path / "y.jsonl"
    read.write(path_again)
    assert path_again.read_bytes() == path.read_bytes()


def test_a_file_is_known_by_its_beginning(tmp_path: Path) -> None:
    """However long the finding is."""
    recorded = deadlock("abba-hardirq")
    long = ScheduleFile(recorded.program, "rfc", recorded.schedule, {"message": "x" * 100_000}, ())
    path = tmp_path / "x.jsonl"
    long.write(path)
    assert is_schedule_file(path)
    assert read_schedule(path).finding == {"message": "x" * 100_000}
    assert not is_schedule_file(tmp_path / "none")
    assert not is_schedule_file(tmp_path)
    assert not is_schedule_file("x" * 10_000)
    assert not is_schedule_file("a\0b")
    (tmp_path / "program.json").write_text(recorded.program.to_json())
    assert not is_schedule_file(tmp_path / "program.json")


def test_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file or directory"):
        file_of(deadlock("abba-hardirq")).write(tmp_path / "none" / "x")


def lines_of(**changes: Any) -> list[Any]:
    """A file's lines as JSON values, with some keys of the first one changed."""
    header, *steps = [json.loads(line) for line in file_of(deadlock("abba-hardirq")).lines()]
    return [header | changes, *steps]


def written(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "x"}, "not a schedule: format is not 'pageblock-buddy-schedule'"),
        ({"format": []}, "not a schedule"),
        ({"version": 2}, "version 2 is not 1"),
        ({"version": True}, "version True is not 1"),
        ({"version": {}}, "version an object is not 1"),
        ({"variant": 5}, "schedule or variant is not text"),
        ({"variant": "none"}, "none"),
        ({"variant": "a\nb"}, "variant is not a name"),
        ({"variant": "x" * 1000}, "variant is not a name"),
        ({"schedule": None}, "schedule or variant is not text"),
        ({"schedule": "x"}, "schedule: it does not start with"),
        ({"finding": 5}, "finding is not an object"),
        ({"program": None}, "program: not a program"),
        ({"program": {"format": "pageblock-buddy-program", "version": 1}}, "program: "),
    ],
)
def test_a_header_that_is_none(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_schedule(written(tmp_path / "x.jsonl", lines_of(**changes)))
    assert message in caught.value.message
    assert len(caught.value.message.splitlines()) == 1


@pytest.mark.parametrize("step", [5, [], ["0", "lock", "L"], ["0", "lock", "L", 5], ["0", "lock", "L", "x", "y"], None])
def test_a_step_that_is_none(tmp_path: Path, step: Any) -> None:
    with pytest.raises(InputError, match="line 3 is not a list of four texts"):
        read_schedule(written(tmp_path / "x.jsonl", [*lines_of()[:2], step]))


@pytest.mark.parametrize("content", [b"", b"\n", b"{", b"\xff", b"[" * 100_000, b"1" * 5000, b"[1]\n" + b"9" * 5000])
def test_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_schedule(path)
    assert len(caught.value.message.splitlines()) == 1


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    lines = lines_of()
    places = nodes(lines)
    container, key = places[data.draw(st.integers(0, len(places) - 1))]
    container[key] = data.draw(JSON)
    path = tmp_path_factory.mktemp("damaged") / "x.jsonl"
    try:
        read_schedule(written(path, lines))
    except InputError as error:
        message = error.message
    else:
        message = ""
    assert len(message.splitlines()) <= 1


# --- replay ------------------------------------------------------------------------------------


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("name", DEADLOCKS)
def test_a_schedule_gives_the_same_run(name: str, carrier: str) -> None:
    expected = deadlock(name)
    with carrying(carrier) as one:
        for _ in range(2):
            again = record_schedule(expected.program, "rfc", one, from_text(to_text(expected.schedule)))
            assert again.steps == expected.steps
            assert again.findings == expected.findings
            assert again.schedule == expected.schedule
            assert again.pages == expected.pages
            assert again.digest == expected.digest


@pytest.mark.parametrize("variant", ["llist", "rfc-trylock", "linux-6.12", "rfc+recover-cycle"])
@pytest.mark.parametrize("name", DEADLOCKS)
def test_a_schedule_on_another_variant_differs(name: str, variant: str) -> None:
    """It asks for what cannot be, or some step is another one; where neither, the run is the same."""
    expected = deadlock(name)
    with carrying() as carrier:
        engine = full_engine(expected.program, variant, carrier)
        strategy = FollowSchedule(engine, expected.schedule)
        found = record(engine, strategy)
        difference = first_difference(expected.steps, found.steps)
        if variant.startswith("rfc+"):
            assert (difference, strategy.diverged) == (None, None)
            return
        assert difference is not None
        assert found.finding is None
        if strategy.diverged is not None:
            with pytest.raises(ReplayDivergence, match="the schedule no longer fits: step"):
                record_schedule(expected.program, variant, carrier, expected.schedule)


def test_a_schedule_that_asks_for_what_cannot_be() -> None:
    program = built_in("abba-hardirq")
    with carrying() as carrier:
        with pytest.raises(ReplayDivergence, match="no process '7h'"):
            record_schedule(program, "rfc", carrier, from_text("1:7h*1"))
        with pytest.raises(ReplayDivergence, match="the schedule no longer fits: step 3: process 0h cannot go on"):
            record_schedule(program, "rfc", carrier, from_text("1:0h*1,0h*9"))


def step(process: str, kind: str = "lock", where: str = "L") -> Step:
    return Step(process, 0, "task", "op", 0, kind, where)


def test_the_first_difference() -> None:
    a, b = step("0"), step("1")
    assert first_difference([a, b], [a, b]) is None
    assert first_difference([], []) is None
    assert first_difference([a, b], [a, a]) == 1
    assert first_difference([a, b], [a]) == 1
    assert first_difference([a], [a, b]) == 1
    assert first_difference([a], [step("0", "unlock")]) == 0
    assert first_difference([a], [step("0", "lock", "M")]) == 0
    assert first_difference([a], [a._replace(cpu=5, value=3, operation="other")]) is None


# --- a prefix, and on --------------------------------------------------------------------------


def prefix(schedule: Schedule) -> Schedule:
    """The first part, closed."""
    return schedule[:1]


@pytest.mark.parametrize("strategy", ["random", "pct", "pos"])
@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_prefix_and_a_seed_give_one_run(strategy: str, carrier: str) -> None:
    start = deadlock("abba-hardirq")
    runs = []
    for name, seed in ((carrier, 7), (carrier, 7), ("threads", 7), (carrier, 8)):
        with carrying(name) as one:
            engine = full_engine(start.program, "llist", one)
            then = make_strategy(strategy, engine, seed=seed, bound=0)
            runs.append(record(engine, FollowSchedule(engine, from_text("1:0*3"), then)))
    assert [step.process for step in runs[0].steps[:3]] == ["0", "0", "0"]
    assert runs[0].steps == runs[1].steps == runs[2].steps
    assert runs[0].schedule == runs[1].schedule
    with carrying(carrier) as one:
        again = record_schedule(start.program, "llist", one, runs[0].schedule)
    assert again.steps == runs[0].steps


def test_an_open_part_goes_as_far_as_it_can() -> None:
    program = small([Alloc("b")], [Alloc("c")], [Alloc("e"), Free("b")])
    with carrying() as carrier:
        recorded = record_schedule(program, "rfc", carrier, from_text("1:2*,1*,0*,2*"))
    processes = [step.process for step in recorded.steps]
    assert [name for number, name in enumerate(processes) if not number or processes[number - 1] != name] == [
        *("2", "1", "0", "2")
    ]
    assert to_text(recorded.schedule).endswith(",2*")


def test_errors_are_of_the_package() -> None:
    assert issubclass(ReplayDivergence, PageblockBuddyError)
