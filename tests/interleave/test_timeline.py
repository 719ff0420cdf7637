# SPDX-License-Identifier: GPL-2.0-only
"""The timeline: the page is whole, safe and the same every time; the trace events are what viewers take."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pageblock_buddy.cli import main
from pageblock_buddy.errors import InputError, MissingExtra
from pageblock_buddy.interleave import timeline as module
from pageblock_buddy.interleave.carriers import get_carrier
from pageblock_buddy.interleave.catalogue import built_in
from pageblock_buddy.interleave.program import Alloc, Free, Hold, Program
from pageblock_buddy.interleave.record import record_schedule
from pageblock_buddy.interleave.schedule import from_text
from pageblock_buddy.interleave.timeline import Timeline, film_schedule, html_page, trace_events
from pageblock_buddy.interleave.trace import two_column_lines

needs_jinja = pytest.mark.skipif(find_spec("jinja2") is None, reason="the extra report is not installed")

ABBA = "1:0*7,0h*1,1*"
#: A deadlock; a wait that ends; a migration; nested handlers; CPU hotplug; three CPUs.
RUNS = [
    ("abba-hardirq", ABBA, "rfc"),
    ("abba-hardirq", "1:0*", "llist"),
    ("abba-remote-drain", "1:0*3,1*14,1h*", "rfc"),
    ("remote-free-drain", "1:0*5,1*2,0*40,1*", "rfc"),
    ("migrate-free", "1:0*2,0>1*1,1*3,0*", "rfc"),
    ("migrate-free", "1:1*2,0>1*1,0*", "llist"),
    ("softirq-and-hardirq", "1:0*2,0s*3,0h*2,1*5,0h*", "rfc"),
    ("offline-migrate", "1:0*2,2*", "rfc"),
    ("three-cpus", "1:0*9,1*4,2*9,0*", "linux-7.0"),
]
#: Elements that have no end tag.
VOID = ("meta", "br", "hr", "img", "input", "link")
HOSTILE = "<script>alert('x')</script>&\""


def film(program: Program, schedule: str, variant: str = "rfc") -> Timeline:
    """The timeline of a schedule."""
    carrier = get_carrier("threads")
    try:
        return film_schedule(program, variant, carrier, from_text(schedule))
    finally:
        carrier.close()


@cache
def filmed(name: str, schedule: str, variant: str) -> Timeline:
    """The timeline of a schedule of a built-in program."""
    return film(built_in(name), schedule, variant)


class Page(HTMLParser):
    """Checks that tags are balanced while it collects them and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


# --- the page ----------------------------------------------------------------------------------


@needs_jinja
@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run[0]}-{run[2]}")
def test_the_page_is_whole_and_alone(run: tuple[str, str, str]) -> None:
    timeline = filmed(*run)
    page = html_page(timeline)
    parsed = Page(page)
    tags = [tag for tag, _ in parsed.tags]
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(tags)
    ids = {attrs["id"] for _, attrs in parsed.tags if "id" in attrs}
    for tag, attrs in parsed.tags:
        assert "src" not in attrs
        assert not [name for name in attrs if name.startswith("on")]
        if "href" in attrs:
            assert tag == "a"
            href = attrs["href"] or ""
            assert href[0] == "#"
            assert href[1:] in ids
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    assert page.count("url(") == page.count("url(#")
    assert {f"step-{number}" for number in range(timeline.end)} <= ids
    assert html_page(film(built_in(run[0]), run[1], run[2])) == page


@needs_jinja
def test_what_the_page_says() -> None:
    texts = Page(html_page(filmed("abba-hardirq", ABBA, "rfc"))).texts
    shown = [text.strip() for text in texts]
    for text in (
        "✗ deadlock",
        "1:0*7,0h*1,1*",
        "CPU 0 hardirq (spin_lock(xa_lock)) waits for xa_lock, held by CPU 1 task",
        "waits for CPU 0 pcp->lock, held by CPU 0 task",
        "is interrupted by CPU 0 hardirq",
        "a = alloc_pages(0)",
        "free_pages(s8)",
        "holds xa_lock",
        "pcp->lock, held by 0",
        "in flight",
        "pcp0",
        "s8",
        "sequential consistency is assumed",
    ):
        assert [line for line in shown if text in line], text


@needs_jinja
def test_names_are_text() -> None:
    program = built_in("abba-hardirq")
    tasks = ((Hold(HOSTILE, (Alloc(HOSTILE), Free(HOSTILE))),), *program.tasks[1:])
    program = replace(program, name=HOSTILE, summary=f"{HOSTILE}\x1b]0;\ud800", tasks=tasks, hardirqs=())
    page = html_page(film(program, "1:0*5,1*"), [HOSTILE])
    assert [tag for tag, _ in Page(page).tags if tag == "script"] == []
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page
    page.encode()


@needs_jinja
def test_too_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STEPS", 3)
    with pytest.raises(InputError, match="11 steps"):
        html_page(filmed("abba-hardirq", ABBA, "rfc"))


@needs_jinja
def test_a_large_machine_has_no_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PAGES", 8)
    timeline = film(built_in("abba-hardirq"), ABBA)
    assert "no map of its pageblocks" in html_page(timeline)
    assert '"ph":"C"' not in trace_events(timeline)


def test_without_jinja(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match="'report'"):
        html_page(filmed("abba-hardirq", ABBA, "rfc"))


# --- what is filmed ----------------------------------------------------------------------------


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run[0]}-{run[2]}")
def test_filming_changes_nothing(run: tuple[str, str, str]) -> None:
    name, schedule, variant = run
    carrier = get_carrier("threads")
    try:
        plain = record_schedule(built_in(name), variant, carrier, from_text(schedule))
    finally:
        carrier.close()
    timeline = filmed(*run)
    assert timeline.recorded == plain
    assert len(timeline.film.frames) == timeline.end + 1


def test_every_page_is_somewhere() -> None:
    """Places add up: what is in no place is in the hands of an operation, and at the end of a good run nothing is."""
    timeline = filmed("remote-free-drain", "1:0*5,1*2,0*40,1*", "rfc")
    pages = {sum(timeline.counts(frame).values()) for frame in timeline.film.frames}
    assert pages == {32}
    assert module.NOWHERE not in timeline.counts(timeline.film.frames[-1])
    owners = {frame.owners[1] for frame in timeline.film.frames}
    listed = [frame.listed[1] for frame in timeline.film.frames]
    assert owners == {1}
    assert [a for a, b in pairwise(listed) if a != b] == [0, 1]


def test_waits() -> None:
    timeline = filmed("remote-free-drain", "1:0*5,1*2,0*40,1*", "rfc")
    waits = [(w.process, w.object, w.holder, span.open) for w, span in timeline.waits]
    assert waits == [("1", "CPU 0 pcp->lock", "0", False)] * 3
    for wait, span in timeline.waits:
        held = timeline.lock_of(wait.object, span.start)
        assert held is not None
        assert held.process == wait.holder
        assert held.start < span.start < span.end <= held.end


def test_migrations() -> None:
    timeline = filmed("migrate-free", "1:0*2,0>1*1,1*3,0*", "rfc")
    assert timeline.moves == [(2, "0", 0, 1)]
    assert {span.cpu for span in timeline.operations if span.process == "0"} == {0, 1}


# --- who waits at the end ----------------------------------------------------------------------


def test_waiting_at_the_end() -> None:
    recorded = filmed("abba-hardirq", ABBA, "rfc").recorded
    assert [(w.process, w.cpu, w.kind, w.object, w.holder, w.where) for w in recorded.waiting] == [
        ("0", 0, "unlock", "CPU 0 pcp->lock", "0h", "CPU 0 hardirq"),
        ("1", 1, "lock", "CPU 0 pcp->lock", "0", "CPU 0 task"),
        ("0h", 0, "lock", "xa_lock", "1", "CPU 1 task"),
    ]
    lines = two_column_lines(recorded)
    assert [line.strip() for line in lines if "..." in line] == [
        "... is interrupted by CPU 0 hardirq",
        "spin_lock(CPU 0 pcp->lock)  ... waits, held by CPU 0 task",
        "[hardirq] spin_lock(xa_lock)  ... waits, held by CPU 1 task",
    ]


def test_nobody_waits_when_all_have_ended() -> None:
    recorded = filmed("remote-free-drain", "1:0*5,1*2,0*40,1*", "rfc").recorded
    assert recorded.waiting == ()
    assert not [line for line in two_column_lines(recorded) if "..." in line]


# --- trace events ------------------------------------------------------------------------------


def events_of(run: tuple[str, str, str]) -> list[dict[str, Any]]:
    """The trace events of a run."""
    data = json.loads(trace_events(filmed(*run)))
    assert list(data) == ["traceEvents", "otherData"]
    events: list[dict[str, Any]] = data["traceEvents"]
    return events


def slices(events: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The slices of each thread."""
    for tid in sorted({event["tid"] for event in events}):
        yield [event for event in events if event["ph"] == "X" and event["tid"] == tid]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run[0]}-{run[2]}")
def test_trace_events(run: tuple[str, str, str]) -> None:
    timeline = filmed(*run)
    events = events_of(run)
    assert {event["ph"] for event in events} <= set("MXbesfCi")
    for event in events:
        assert {"ph", "ts", "pid", "tid", "name"} <= set(event)
        assert type(event["ts"]) is int
        assert event["pid"] == 1
    times = [event["ts"] for event in events]
    assert times == sorted(times)
    cpus = timeline.recorded.program.config.nr_cpus
    threads = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert threads == {cpu + 1: f"CPU {cpu}" for cpu in range(cpus)}
    assert {event["tid"] for event in events} == set(threads)
    assert len([event for event in events if event.get("cat") == "step"]) == timeline.end
    balanced(events)
    for own in slices(events):
        nested(own)


def balanced(events: list[dict[str, Any]]) -> None:
    """Each async event and each flow begins once and ends once, not before it began."""
    for begin, end in ("be", "sf"):
        begins = {event["id"]: event for event in events if event["ph"] == begin}
        ends = {event["id"]: event for event in events if event["ph"] == end}
        assert len(begins) == len([event for event in events if event["ph"] == begin])
        assert list(begins) == list(dict.fromkeys(begins))
        assert set(begins) == set(ends)
        for key, event in begins.items():
            assert event["ts"] < ends[key]["ts"] or begin == "s"
            assert (event["cat"], event["name"]) == (ends[key]["cat"], ends[key]["name"])
    for event in events:
        if event["ph"] in "sf":
            own = [other for other in events if other["ph"] == "X" and other["tid"] == event["tid"]]
            assert any(other["ts"] <= event["ts"] < other["ts"] + other["dur"] for other in own)


def nested(own: list[dict[str, Any]]) -> None:
    """Slices of one thread lie inside or beside each other, and what encloses comes first."""
    stack: list[int] = []
    for event in own:
        assert event["dur"] > 0
        while stack and stack[-1] <= event["ts"]:
            stack.pop()
        end = event["ts"] + event["dur"]
        assert not stack or end <= stack[-1], event
        stack.append(end)


def test_counters() -> None:
    events = events_of(RUNS[3])
    counters = [event for event in events if event["ph"] == "C"]
    assert {"pages: zone free", "pages: pcp0", "pages: pcp1"} <= {event["name"] for event in counters}
    now: dict[str, int] = {}
    for ts in sorted({event["ts"] for event in counters}):
        now.update({event["name"]: event["args"]["pages"] for event in counters if event["ts"] == ts})
        assert sum(now.values()) == 32


def test_flows_and_the_finding() -> None:
    events = events_of(RUNS[0])
    assert [event["name"] for event in events if event["ph"] == "i"] == ["deadlock"]
    starts = [(event["ts"], event["tid"]) for event in events if event["ph"] == "s"]
    assert starts == [(5, 1), (8, 2)]  # pcp->lock is taken on CPU 0, xa_lock on CPU 1


# --- the command -------------------------------------------------------------------------------


def run_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of ``pageblock-buddy timeline``."""
    capsys.readouterr()
    code = main(["timeline", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def schedule_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The schedule that explore writes for the deadlock."""
    path = tmp_path / "abba.jsonl"
    assert main(["explore", "abba-hardirq", "-o", str(path)]) == 1
    capsys.readouterr()
    return str(path)


@needs_jinja
def test_both_files(tmp_path: Path, schedule_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    page, events = tmp_path / "out.html", tmp_path / "out.json"
    arguments = [schedule_file, "-o", str(page), "--perfetto", str(events)]
    assert run_command(capsys, *arguments) == (0, f"written: {page}\nwritten: {events}\n", "")
    first = page.read_bytes(), events.read_bytes()
    assert run_command(capsys, *arguments)[0] == 0
    assert (page.read_bytes(), events.read_bytes()) == first


@needs_jinja
def test_a_program_and_the_default_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run_command(capsys, "remote-free-drain", "--schedule", "1:0*")
    assert (code, out, err) == (0, "written: timeline.html\n", "")
    assert "nothing found" in (tmp_path / "timeline.html").read_text(encoding="utf-8")


def test_only_trace_events(
    tmp_path: Path, schedule_file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert run_command(capsys, schedule_file, "--perfetto", "out.json") == (0, "written: out.json\n", "")
    assert not (tmp_path / "timeline.html").exists()


@needs_jinja
def test_a_step_that_is_not_as_recorded(tmp_path: Path, schedule_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Path(schedule_file).read_text(encoding="utf-8").splitlines()
    lines[3] = lines[3].replace("zone->", "other->")
    (tmp_path / "changed.jsonl").write_text("\n".join(lines), encoding="utf-8")
    page = tmp_path / "out.html"
    code, out, _ = run_command(capsys, str(tmp_path / "changed.jsonl"), "-o", str(page))
    assert (code, out.splitlines()[0][:14]) == (0, "note: step 2 i")
    assert "step 2 is not the one that the file expects" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("abba-hardirq",), "say which schedule"),
        (("no-such-file",), "No such file"),
        (("abba-hardirq", "--schedule", "1:7*"), "no process '7'"),
        (("abba-hardirq", "--schedule", "nonsense"), "schedule:"),
        (("abba-hardirq", "--schedule", "1:0*7,0h*1,0*1"), "step 8: process 0 cannot go on"),
        (("abba-hardirq", "--schedule", "1:0*", "--variant", "none"), "none"),
        (("FILE", "-o", "FILE"), "would replace the input"),
        (("FILE", "-o", "x", "--perfetto", "x"), "both outputs"),
        (("FILE", "--perfetto", "/no/such/folder/x"), "No such file"),
    ],
)
def test_errors(
    arguments: tuple[str, ...], message: str, schedule_file: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    code, out, err = run_command(capsys, *[schedule_file if a == "FILE" else a for a in arguments])
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("pageblock-buddy: ")
    assert message in err
    assert sorted(path.name for path in tmp_path.iterdir()) == before
