# SPDX-License-Identifier: GPL-2.0-only
"""A recorded run to look at: a page with a lane for each CPU and a map of the pageblocks, and the trace-event format.

Time is the number of the step: step n is the time from n to n + 1, and what it changes is seen from there on.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import groupby, pairwise
from typing import Any, Final, NamedTuple

from pageblock_buddy.errors import InputError, MissingExtra
from pageblock_buddy.interleave.carriers.carrier import Carrier
from pageblock_buddy.interleave.checks.invariants import observing
from pageblock_buddy.interleave.engine import Engine
from pageblock_buddy.interleave.kinds import LOCK
from pageblock_buddy.interleave.program import Program
from pageblock_buddy.interleave.record import Recorded, Waiting, full_engine, record
from pageblock_buddy.interleave.schedule import Schedule, Step, to_text
from pageblock_buddy.interleave.search import ASSUMPTION
from pageblock_buddy.interleave.strategies.follow import FollowSchedule
from pageblock_buddy.interleave.trace import step_text, two_column_lines
from pageblock_buddy.machine.cpu import Context
from pageblock_buddy.mm.page import PG_ALLOCATED, PG_ORDER_MASK
from pageblock_buddy.snapshot import pcp_list_orders

#: More steps than this are a page that no browser scrolls through well.
MAX_STEPS: Final = 4000
#: A map of more pages than this has rows that are thinner than a pixel.
MAX_PAGES: Final = 1 << 13

# --- places ------------------------------------------------------------------------------------

#: Where a page is.  NOWHERE: in flight, or not the allocator's.  A CPU's lists follow: pcp 4, 6, …; free_llist 5, 7, …
NOWHERE: Final = 0
ZONE: Final = 1
ALLOCATED: Final = 2
ZONE_LLIST: Final = 3


def _pcp(cpu: int) -> int:
    return 4 + 2 * cpu


def _llist(cpu: int) -> int:
    return 5 + 2 * cpu


def place_text(place: int) -> str:
    """A place in words."""
    words = ("in flight", "zone free", "allocated", "zone llist")
    if place < len(words):
        return words[place]
    return f"{'llist' if place & 1 else 'pcp'}{(place - 4) // 2}"


def _place_class(place: int) -> str:
    if place < 4:
        return ("flight", "zone", "allocated", "llist")[place]
    return "llist" if place & 1 else f"pcp{(place - 4) // 2 % 4}"


def _somewhere(frame: Frame) -> set[int]:
    return {pfn for pfn, place in enumerate(frame.places) if place != NOWHERE}


# --- what is filmed ----------------------------------------------------------------------------


class Wait(NamedTuple):
    """A process that cannot go on because another one holds a lock."""

    process: str
    cpu: int
    context: str
    object: str
    holder: str
    where: str
    holder_cpu: int


class Frame(NamedTuple):
    """The state at one moment: a place for each PFN, owner and linkage (CPU + 1) for each pageblock, who waits."""

    places: array[int]
    owners: tuple[int, ...]
    listed: tuple[int, ...]
    waits: tuple[Wait, ...]


class Film:
    """The states of a run: ``frames[n]`` is the one before step n, the last one that at the end.

    ``named`` says for each page name in which frame it is there first.  With ``pages`` False (a large machine) no
    places, owners or linkages are kept.  Filming a frame is O(pages).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        k = engine.kernel
        self.pages = k.config.end_pfn <= MAX_PAGES
        self.block_order = k.pageblock_order
        self.has_owners = k.calls.pcp_buddy is not None
        self.frames: list[Frame] = []
        self.named: dict[str, int] = {}
        self._orders = pcp_list_orders(k)
        #: the pages of the set-up; a free may have taken them into flight before the first step
        self.at_start: set[int] = set()
        for first, order in engine.pages_at_start.values():
            if first is not None and self.pages:
                self.at_start.update(range(first, first + (1 << order)))

    def shoot(self) -> None:
        """Keep the state as it is now.  No access of it is a point."""
        engine = self._engine
        for name in engine.pages:
            self.named.setdefault(name, len(self.frames))
        with observing(engine):
            frame = Frame(self._places(), *self._columns(), tuple(self._waits()))
        if self.frames and self.frames[-1].places == frame.places:
            frame = frame._replace(places=self.frames[-1].places)
        self.frames.append(frame)

    def _columns(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        k = self._engine.kernel
        if not self.pages:
            return (), ()
        owners, listed = (array("H", array.tobytes(c)) for c in (k.pageblock_cpu, k.pageblock_cpu_node))
        return tuple(owners), tuple(listed)

    def _places(self) -> array[int]:
        places = array("H", bytes(2 * self._engine.kernel.config.end_pfn if self.pages else 0))
        for pfn, order, place in self._blocks() if self.pages else ():
            places[pfn : pfn + (1 << order)] = array("H", [place]) * (1 << order)
        return places

    def _blocks(self) -> Iterator[tuple[int, int, int]]:
        """(PFN, order, place).  The lists come last: they say more than a page's mark."""
        k = self._engine.kernel
        for pfn, state in enumerate(bytes(k.mem_map)):
            if state & PG_ALLOCATED:
                yield pfn, state & PG_ORDER_MASK, ALLOCATED
        for zone in k.zones:
            for order, area in enumerate(zone.free_area):
                for free_list in area.free_list:
                    yield from ((pfn, order, ZONE) for pfn in free_list.to_list())
            yield from ((pfn, order, ZONE_LLIST) for pfn, order in zone.trylock_free_pages.to_list())
            for pcp in zone.per_cpu_pageset:
                for order, pcp_list in zip(self._orders, pcp.lists, strict=True):
                    yield from ((pfn, order, _pcp(pcp.cpu)) for pfn in pcp_list.to_list())
                yield from ((pfn, order, _llist(pcp.cpu)) for pfn, order in pcp.free_llist.to_list())

    def _waits(self) -> Iterator[Wait]:
        engine = self._engine
        for process in engine.processes[: engine.nr_carried]:
            if not process.alive or not process.started or process.kind != LOCK:
                continue
            holder = engine.objects.locks[process.oid].holder
            interrupts = engine.interrupts[process.cpu]
            if holder is None or holder is process or (interrupts and interrupts[-1] is not process):
                continue
            label = engine.objects.names[process.oid]
            yield Wait(process.name, process.cpu, process.context.value, label, holder.name, holder.where(), holder.cpu)


def film_schedule(program: Program, variant: str, carrier: Carrier, schedule: Schedule) -> Timeline:
    """Run a schedule and keep all that can be drawn.  Errors: ReplayDivergence inside the schedule, InputError."""
    engine = full_engine(program, variant, carrier)
    strategy = FollowSchedule(engine, schedule)
    film = Film(engine)
    recorded = record(engine, strategy, film.shoot)
    if strategy.diverged is not None:
        raise InputError(f"the schedule does not fit the program: {strategy.diverged}")
    return Timeline(recorded, film)


# --- spans -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Span:
    """Something that lasts from step ``start`` to before step ``end``; ``open`` if it still does at the end of the run.

    ``steps`` are the steps that its process takes in it.
    """

    process: str
    cpu: int
    context: str
    text: str
    start: int
    end: int
    open: bool = False
    steps: list[int] = field(default_factory=list)


class Move(NamedTuple):
    """A migration: in this step a task leaves a CPU for another one."""

    step: int
    task: str
    origin: int
    to: int


class Timeline:
    """What happened in a run, as spans: operations, handlers, locks, waits; and migrations."""

    def __init__(self, recorded: Recorded, film: Film) -> None:
        self.recorded = recorded
        self.film = film
        self.steps = recorded.steps
        self.end = len(recorded.steps)
        #: the PFNs of the allocator's pages: those of the program, and whatever is in some place some time
        self.known_pages = sorted(film.at_start.union(*map(_somewhere, film.frames)))
        self.moves = self._moves()
        self.operations = self._operations()
        self.handlers = self._handlers()
        self.locks = self._locks()
        self.waits = self._waits()

    def _moves(self) -> list[Move]:
        at: dict[str, int] = {}
        moves = []
        for number, step in enumerate(self.steps):
            if step.kind == "migrate":
                task, _, to = step.process.partition(">")
                moves.append(Move(number, task, at.get(task, int(task)), int(to)))
                at[task] = int(to)
            else:
                at[step.process] = step.cpu
        return moves

    def _operations(self) -> list[Span]:
        found: list[Span] = []
        current: dict[str, tuple[tuple[int, int, str], Span]] = {}
        for number, step in enumerate(self.steps):
            if not step.operation:
                continue
            key = step.cpu, step.op_number, step.operation
            if step.process not in current or current[step.process][0] != key:
                span = Span(step.process, step.cpu, step.context, step.operation, number, number + 1)
                current[step.process] = key, span
                found.append(span)
            span = current[step.process][1]
            span.steps.append(number)
            span.end = number + 1
        for waiting in self.recorded.waiting:
            key = waiting.cpu, waiting.op_number, waiting.operation
            if waiting.process in current and current[waiting.process][0] == key:
                span = current[waiting.process][1]
            elif waiting.operation:
                start = min(self._waits_since(waiting), self.end)
                span = Span(waiting.process, waiting.cpu, waiting.context, waiting.operation, start, self.end)
                found.append(span)
            else:
                continue
            span.end, span.open = self.end, True
        for span in found:
            span.text = self._operation_text(span)
        return found

    def _operation_text(self, span: Span) -> str:
        """The end of a hold is an operation of its own here: it has the unlock's name."""
        steps = [self.steps[number] for number in span.steps]
        if span.open or any(step.kind != "unlock" or not span.text.endswith(f"({step.object})") for step in steps):
            return span.text
        text = span.text.replace("spin_lock_irqsave(", "spin_unlock_irqrestore(", 1)
        return text.replace("spin_lock(", "spin_unlock(", 1)

    def _waits_since(self, waiting: Waiting) -> int:
        """The first frame of those at the end in which a process waits for what it waits for at the end."""
        since = self.end
        for number in range(self.end, -1, -1):
            waits = self.film.frames[number].waits
            if not any(w.process == waiting.process and w.object == waiting.object for w in waits):
                break
            since = number
        return since

    def _handlers(self) -> list[Span]:
        found: dict[str, Span] = {}
        for number, step in enumerate(self.steps):
            if step.kind == "interrupt":
                found[step.process] = Span(step.process, step.cpu, step.context, step.context, number, number + 1)
            if step.process in found:
                found[step.process].end = number + 1
                found[step.process].steps.append(number)
        for waiting in self.recorded.waiting:
            if waiting.process in found:
                found[waiting.process].end, found[waiting.process].open = self.end, True
        return list(found.values())

    def _locks(self) -> list[Span]:
        found: list[Span] = []
        held: dict[str, Span] = {}
        for number, step in enumerate(self.steps):
            if step.kind in ("lock", "trylock"):
                held[step.object] = Span(step.process, step.cpu, step.context, step.object, number, self.end, True)
                found.append(held[step.object])
            elif step.kind == "unlock" and step.object in held:
                span = held.pop(step.object)
                span.end, span.open = number + 1, False
        return found

    def _waits(self) -> list[tuple[Wait, Span]]:
        """Those of two steps or more, and those at the end."""
        found: list[tuple[Wait, Span]] = []
        current: dict[Wait, Span] = {}
        for number, frame in enumerate(self.film.frames):
            current = {wait: span for wait, span in current.items() if wait in frame.waits}
            for wait in frame.waits:
                if wait not in current:
                    current[wait] = Span(wait.process, wait.cpu, wait.context, wait.object, number, number)
                    found.append((wait, current[wait]))
                current[wait].end = number + 1
        for span in current.values():
            span.end, span.open = self.end, True
        return [(wait, span) for wait, span in found if span.open or span.end - span.start > 1]

    def lock_of(self, name: str, at: int) -> Span | None:
        """The span in which a lock is held at a step."""
        spans = [span for span in self.locks if span.text == name and span.start <= at and (span.open or at < span.end)]
        return spans[-1] if spans else None

    def counts(self, frame: Frame) -> dict[int, int]:
        """Pages by place; in flight are those that some frame has in a place."""
        found: dict[int, int] = {}
        for pfn in self.known_pages:
            place = frame.places[pfn]
            found[place] = found.get(place, 0) + 1
        return found


# --- geometry ----------------------------------------------------------------------------------

#: findings of lockdep: they end no run
_NO_END: Final = ("lock-order", "irq-inversion")
_CHAR: Final = 6.4  # width of a character of the drawing, px
_START: Final = 64  # width of the column before step 0, px
_OP_HEIGHT: Final = 19
_CELL_HEIGHT: Final = 15
_LOCK_HEIGHT: Final = 16
_STRIP_HEIGHT: Final = 14
_SLOT_HEIGHT: Final = 11
_MAX_BLOCK_HEIGHT: Final = 176
_LABEL_WIDTH: Final = 178

#: One character for each kind of step, and what it means.
GLYPHS: Final = {
    "lock": ("L", "lock taken"),
    "trylock": ("T", "trylock: taken"),
    "trylock fails": ("t", "trylock: busy"),
    "unlock": ("U", "unlock"),
    "load": ("r", "read"),
    "store": ("w", "write"),
    "interrupt": ("!", "interrupt comes"),
    "migrate": (">", "task migrates"),
    "wait": ("p", "gets a page from another process"),
    "publish": ("P", "hands a page over"),
    "hotplug": ("o", "CPU goes offline"),
}


class Box(NamedTuple):
    """A rectangle, px: its CSS class, its text (at ``tx``) and the whole text that it stands for; ``step`` links."""

    x: float
    y: float
    w: float
    h: float
    kind: str
    text: str = ""
    title: str = ""
    step: int | None = None


class Label(NamedTuple):
    """A text at the left of a row."""

    y: float
    kind: str
    text: str
    title: str = ""


class Arrow(NamedTuple):
    """A vertical arrow from a row to another one."""

    x: float
    y1: float
    y2: float
    kind: str
    title: str


class Tick(NamedTuple):
    """A number of the axis, or without text a line where another process goes on."""

    x: float
    text: str


def _fit(width: float, *texts: str) -> str:
    """The first text that fits, or the beginning of the last."""
    room = int(width / _CHAR)
    for text in texts:
        if len(text) <= room:
            return text
    return f"{texts[-1][: room - 1]}…" if room > 3 else ""


class Drawing:
    """The timeline in px, top to bottom: a lane for each CPU, then a row for each pageblock."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.boxes: list[Box] = []
        self.labels: list[Label] = []
        self.arrows: list[Arrow] = []
        self.lines: list[float] = []
        self.axes: list[float] = []
        steps = timeline.end
        self.step_width = max(14, min(84, 900 // max(steps, 1)))
        self._waiting = [w for w in timeline.recorded.waiting if w.how]
        self._arrow_room = 14 * len(self._waiting) + 8 if self._waiting else 0
        texts = [w.how for w in self._waiting] + [self._fault_text()]
        self._x_end = _START + steps * self.step_width
        self.width = self._x_end + max(28, self._arrow_room + int(_CHAR * max(map(len, texts))) + 20)
        self._cell_y: dict[tuple[int, str], float] = {}
        self._lock_y: dict[tuple[int, str], float] = {}
        self.y = 0.0
        self._axis()
        self._lanes()
        self._arrows()
        self.map_y = self.y
        if timeline.film.pages:
            self._axis()
            self._map()
        self.height = self.y + 4
        self.label_width = _LABEL_WIDTH
        self.x_end = self._x_end

    def x(self, step: int) -> int:
        """Where a step begins, px."""
        return _START + step * self.step_width

    def ticks(self) -> list[Tick]:
        """The numbers of the axis: as many as have room."""
        every = next(n for n in (1, 2, 5, 10, 20, 50, 100) if n * self.step_width >= 26)
        return [Tick(self.x(n) + self.step_width / 2, str(n)) for n in range(0, self.timeline.end, every)]

    def switches(self) -> list[int]:
        """Where another process goes on than did before, px."""
        steps = self.timeline.steps
        return [self.x(n) for n, (a, b) in enumerate(pairwise(steps), 1) if a.process != b.process]

    def _axis(self) -> None:
        self.axes.append(self.y + 12)
        self.y += 18

    # --- lanes ---------------------------------------------------------------------------------

    def _lanes(self) -> None:
        timeline = self.timeline
        rows: dict[int, list[str]] = {cpu: [] for cpu in range(timeline.recorded.program.config.nr_cpus)}
        present = {(step.cpu, step.process) for step in timeline.steps}
        present |= {(waiting.cpu, waiting.process) for waiting in timeline.recorded.waiting}
        present |= {(move.origin, move.task) for move in timeline.moves}
        present |= {(move.to, move.task) for move in timeline.moves}
        idle = []
        for process in timeline.recorded.program.processes():
            for cpu in rows:
                if (cpu, process.name) in present:
                    rows[cpu].append(process.name)
        for cpu, names in rows.items():
            if not names:
                idle.append(cpu)
                continue
            self._lane(cpu, names)
        if idle:
            self.labels.append(Label(self.y + 13, "cpu", f"CPU {', '.join(map(str, idle[:8]))}: idle"))
            self.y += 22
            self.lines.append(self.y)

    def _lane(self, cpu: int, names: list[str]) -> None:
        contexts = {p.name: p.context for p in self.timeline.recorded.program.processes()}
        self.y += 4
        self.labels.append(Label(self.y + 14, "cpu", f"CPU {cpu}"))
        for name in names:
            context = contexts[name]
            handler = context is not Context.TASK
            text = f"{'└ ' if handler else ''}{context.value} {name}"
            self.labels.append(Label(self.y + 14, "process", text, f"process {name}, {context.value}"))
            self._process_row(cpu, name, context.value)
        self._lock_rows(cpu)
        self.y += 4
        self.lines.append(self.y)

    def _process_row(self, cpu: int, name: str, context: str) -> None:
        timeline, y = self.timeline, self.y
        spans = [span for span in timeline.operations if (span.cpu, span.process) == (cpu, name)]
        starts = [self.x(span.start) for span in spans[1:]] + [self.width]
        for handler in timeline.handlers:
            if (handler.cpu, handler.process) == (cpu, name):
                x = self.x(handler.start)
                w = (self.width - 4 if handler.open else self.x(handler.end)) - x
                self.boxes.append(Box(x, y - 1, w, _OP_HEIGHT + _CELL_HEIGHT + 2, f"frame {context}"))
        for span, following in zip(spans, starts, strict=False):
            x = self.x(span.start)
            w = (self.width - 6 if span.open else self.x(span.end)) - x
            text = _fit(max(w, following - x) - 8, span.text)
            unfinished = ", not finished" if span.open else ""
            title = f"{span.text}: process {name} ({context}) on CPU {cpu}, {_range(span)}{unfinished}"
            self.boxes.append(Box(x + 1, y, w - 2, _OP_HEIGHT - 2, f"op {context}{' open' * span.open}", text, title))
        y += _OP_HEIGHT
        self._cell_y[cpu, name] = y
        for number, step in enumerate(timeline.steps):
            moved = next((move for move in timeline.moves if move.step == number), None)
            if (moved.origin, moved.task) == (cpu, name) if moved else (step.cpu, step.process) == (cpu, name):
                self._cell(number, step, y)
        self._wait_boxes(cpu, name, y)
        self.y = y + _CELL_HEIGHT + 2

    def _cell(self, number: int, step: Step, y: float) -> None:
        text = GLYPHS[step.kind][0]
        room = int(self.step_width / _CHAR)
        if room > 9 and step.kind not in ("interrupt", "migrate"):
            what = step.object.removeprefix(f"CPU {step.cpu} ")
            if step.kind in ("load", "store"):
                what = what.rpartition("->")[2]
            text = _fit(self.step_width - 4, f"{text} {what}")
        kind = f"cell {step.kind.replace(' ', '-')}"
        title = f"step {number}: {step_text(step)}"
        self.boxes.append(Box(self.x(number), y, self.step_width, _CELL_HEIGHT - 2, kind, text, title, number))

    def _wait_boxes(self, cpu: int, name: str, y: float) -> None:
        timeline = self.timeline
        for wait, span in timeline.waits:
            if (wait.cpu, wait.process) != (cpu, name):
                continue
            x, end = self.x(span.start), self.x(span.end)
            full = f"waits for {wait.object}, held by {wait.where}"
            if end > x:
                text = _fit(end - x - 6, full, f"waits for {wait.object}, CPU {wait.holder_cpu}",
                            f"waits for CPU {wait.holder_cpu}", f"⏸ CPU {wait.holder_cpu}", "⏸")  # fmt: skip
                self.boxes.append(Box(x, y, end - x, _CELL_HEIGHT - 2, "wait", text, f"{full}: {_range(span)}"))
        x = self._x_end + 4
        for waiting in self._waiting:
            if (waiting.cpu, waiting.process) == (cpu, name):
                text = waiting.how
                at = x + self._arrow_room
                self.boxes.append(Box(at, y, self.width - at - 10, _CELL_HEIGHT - 2, "wait end", text, text))
        finding = timeline.recorded.finding
        waits = any(waiting.process == name for waiting in self._waiting)
        if (
            finding is not None
            and self._fault_text()
            and finding.process == name
            and not waits
            and self._last_cpu(name) == cpu
        ):
            text = self._fault_text()
            self.boxes.append(Box(x, y, self.width - x - 10, _CELL_HEIGHT - 2, "fault", text, finding.message))

    def _fault_text(self) -> str:
        finding = self.timeline.recorded.finding
        return "" if finding is None or finding.code in _NO_END else f"✗ {finding.code}"

    def _last_cpu(self, name: str) -> int:
        return next((step.cpu for step in reversed(self.timeline.steps) if step.process == name), -1)

    def _lock_rows(self, cpu: int) -> None:
        timeline = self.timeline
        spans = [span for span in timeline.locks if span.cpu == cpu]
        for name in dict.fromkeys(span.text for span in spans):
            short = name.removeprefix(f"CPU {cpu} ")
            self.labels.append(Label(self.y + 12, "lock", _fit(_LABEL_WIDTH - 24, f"holds {short}", short), name))
            self._lock_y[cpu, name] = self.y
            of_lock = [span for span in spans if span.text == name]
            for span in of_lock:
                x = self.x(span.start)
                w = (self.width - 6 if span.open else self.x(span.end)) - x
                who = f"held by {span.process}"
                text = _fit(w - 8, f"{short}, {who}", short, who) if w > 50 else _fit(w - 4, span.process)
                kept = ", not given back" if span.open else ""
                title = f"{name} {who} ({span.context}) on CPU {cpu}, {_range(span)}{kept}"
                self.boxes.append(
                    Box(x + 1, self.y, w - 2, _LOCK_HEIGHT - 3, f"lock{' open' * span.open}", text, title)
                )
            self.y += _LOCK_HEIGHT

    # --- who waits for whom --------------------------------------------------------------------

    def _arrows(self) -> None:
        timeline = self.timeline
        for number, (wait, span) in enumerate(timeline.waits):
            held = timeline.lock_of(wait.object, span.start)
            if held is None or span.open:
                continue
            x = self.x(span.start) + 5 + number % 3 * 4
            title = f"{wait.process} waits for {wait.object}, held by {wait.where}"
            self._arrow(x, (wait.cpu, wait.process), self._lock_y[held.cpu, held.text], "arrow", title)
        for number, waiting in enumerate(self._waiting):
            x = self._x_end + 12 + 14 * number
            held = timeline.lock_of(waiting.object, timeline.end) if waiting.kind == "lock" else None
            if held is not None and held.process == waiting.holder:
                to: float | None = self._lock_y[held.cpu, held.text]
            else:
                row = next((y for (_, name), y in self._cell_y.items() if name == waiting.holder), None)
                to = None if row is None else row - _OP_HEIGHT + 2
            if to is not None:
                title = f"{waiting.process} {waiting.how}"
                self._arrow(x, (waiting.cpu, waiting.process), to, "arrow end", title)
        for move in timeline.moves:
            y1, y2 = (self._cell_y[cpu, move.task] for cpu in (move.origin, move.to))
            middle = self.x(move.step) + self.step_width / 2
            title = f"step {move.step}: task {move.task} migrates from CPU {move.origin} to CPU {move.to}"
            self._arrow(middle, (move.origin, move.task), y2, "arrow move", title)
            text = f"to CPU {move.to}"
            at = self.x(move.step + 1) + 2
            self.boxes.append(Box(at, y1, _CHAR * len(text), _CELL_HEIGHT - 2, "note", text, title))

    def _arrow(self, x: float, origin: tuple[int, str], to: float, kind: str, title: str) -> None:
        y = self._cell_y[origin] + (_CELL_HEIGHT - 2) / 2
        below = to > y
        self.arrows.append(Arrow(x, y, to if below else to + _LOCK_HEIGHT - 3, kind, title))

    # --- the pageblocks ------------------------------------------------------------------------

    def _map(self) -> None:
        film = self.timeline.film
        known = self.timeline.known_pages
        for block, pfns in groupby(known, key=lambda pfn: pfn >> film.block_order):
            self._block(block, list(pfns))

    def _runs(self, value: Callable[[Frame], Any]) -> list[tuple[int, int, Any]]:
        """(from frame, to before frame, value) while a value stays the same."""
        found = []
        for same, frames in groupby(enumerate(self.timeline.film.frames), key=lambda item: value(item[1])):
            numbers = [number for number, _ in frames]
            found.append((numbers[0], numbers[-1] + 1, same))
        return found

    def _columns(self, start: int, end: int) -> tuple[float, float]:
        """Left and right of some frames: frame n is seen in step n - 1, the first one before step 0."""
        last = end == len(self.timeline.film.frames)
        return self.x(start - 1) if start else 0, self.width - 4 if last else self.x(end - 1)

    def _block(self, block: int, pfns: list[int]) -> None:
        film = self.timeline.film
        y = self.y + 5
        first, last = pfns[0], pfns[-1]
        rows = [
            [
                (start, end, place, self._page_text(pfn, start, end, place))
                for start, end, place in self._place_runs(pfn)
            ]
            for pfn in pfns
        ]
        owners = self._runs(lambda frame: (frame.owners[block], frame.listed[block]))
        title = f"pageblock {block}: pfn {first} to {last}"
        if len(owners) == 1 and all(len(row) == 1 for row in rows):
            self._quiet_block(block, [row[0] for row in rows], owners[0][2], title)
            return
        self.labels.append(Label(y + 11, "block", f"block {block << film.block_order}", title))
        height = float(_SLOT_HEIGHT) if len(pfns) * _SLOT_HEIGHT <= _MAX_BLOCK_HEIGHT else _MAX_BLOCK_HEIGHT / len(pfns)
        for slot, pfn in enumerate(pfns):
            if height >= _SLOT_HEIGHT:
                self.labels.append(Label(y + slot * height + 9, "pfn", f"pfn {pfn}"))
        for slot, count, (start, end, place, text) in _merged(rows):
            left, right = self._columns(start, end)
            top, h = y + slot * height, count * height
            pages = f"pfn {pfns[slot]}" + (f" to {pfns[slot + count - 1]}" if count > 1 else "")
            shown = _fit(right - left - 6, text, place_text(place)) if h >= _SLOT_HEIGHT else ""
            whole = f"{pages}: {place_text(place)}{f', {text}' if place == ALLOCATED else ''}, {self._when(start, end)}"
            self.boxes.append(Box(left, round(top, 2), right - left, round(h, 2), _place_class(place), shown, whole))
        self.y = y + round(len(pfns) * height, 2) + 1
        if film.has_owners:
            self._strip("owner (pbd->cpu)", "owner", lambda frame: frame.owners[block], "nobody")
            self._strip("listed (cpu_node)", "listed", lambda frame: frame.listed[block], "on no list")
        self.y += 6
        self.lines.append(self.y)

    def _place_runs(self, pfn: int) -> list[tuple[int, int, int]]:
        return self._runs(lambda frame: frame.places[pfn])

    def _quiet_block(
        self, block: int, pages: list[tuple[int, int, int, str]], tags: tuple[int, int], title: str
    ) -> None:
        """A pageblock in which nothing happens: one line."""
        parts = []
        for place, run in groupby(pages, key=lambda page: page[2]):
            texts = [page[3] for page in run]
            names = f" ({texts[0]}{f' … {texts[-1]}' if len(texts) > 1 else ''})" if place == ALLOCATED else ""
            parts.append(f"{len(texts)} {place_text(place)}{names}")
        text = f"unchanged: {', '.join(parts)}"
        if self.timeline.film.has_owners:
            text += f"; owner: {_tag_text(tags[0], 'nobody')}; listed: {_tag_text(tags[1], 'on no list')}"
        self.labels.append(Label(self.y + 15, "block", f"block {block << self.timeline.film.block_order}", title))
        places = [page[2] for page in pages]
        kind = _place_class(places[0]) if len(set(places)) == 1 else "mixed"
        self.boxes.append(Box(0, self.y + 5, self.width - 4, 14, kind, _fit(self.width - 14, text), f"{title}; {text}"))
        self.y += 24
        self.lines.append(self.y)

    def _strip(self, label: str, kind: str, value: Callable[[Frame], int], nobody: str) -> None:
        self.labels.append(Label(self.y + 10, "strip", label))
        for start, end, tag in self._runs(value):
            left, right = self._columns(start, end)
            text = _tag_text(tag, nobody)
            short = f"{tag - 1}" if tag else "-"
            self.boxes.append(
                Box(left, self.y, right - left, _STRIP_HEIGHT - 2, f"{kind}{' none' * (not tag)}",
                    _fit(right - left - 6, text, short), f"{label}: {text}, {self._when(start, end)}")
            )  # fmt: skip
        self.y += _STRIP_HEIGHT

    def _page_text(self, pfn: int, start: int, end: int, place: int) -> str:
        """What is written on a page: its name while it is allocated."""
        if place != ALLOCATED:
            return place_text(place)
        recorded, named = self.timeline.recorded, self.timeline.film.named
        for name, (first, order) in reversed(recorded.pages.items()):
            if first is not None and first <= pfn < first + (1 << order) and start <= named.get(name, end) < end:
                return name
        return place_text(place)

    def _when(self, start: int, end: int) -> str:
        """In which steps some frames are seen."""
        since = f"after step {start - 1}" if start else "from the start"
        last = end == len(self.timeline.film.frames)
        return f"{since} to the end" if last else f"{since} until step {end - 1}"


def _range(span: Span) -> str:
    if span.open:
        return f"from step {span.start} to the end"
    return f"step {span.start}" if span.end - span.start == 1 else f"steps {span.start} to {span.end - 1}"


def _tag_text(tag: int, nobody: str) -> str:
    return f"CPU {tag - 1}" if tag else nobody


def _merged(rows: list[list[tuple[int, int, int, str]]]) -> Iterator[tuple[int, int, tuple[int, int, int, str]]]:
    """(first row, rows, run): neighbours with the same run are one rectangle."""
    for number, row in enumerate(rows):
        for run in row:
            if number and run in rows[number - 1]:
                continue
            count = 1
            while number + count < len(rows) and run in rows[number + count]:
                count += 1
            yield number, count, run


# --- the page ----------------------------------------------------------------------------------


def value_text(value: Any) -> str:
    """What a step read or wrote, as text; entries of an llist as PFN/order."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return " ".join("/".join(map(str, entry)) if isinstance(entry, tuple) else str(entry) for entry in value)
    return str(value)


def _step_rows(steps: Sequence[Step]) -> list[dict[str, Any]]:
    rows = []
    for number, step in enumerate(steps):
        before = steps[number - 1].process if number else None
        rows.append(
            {
                "number": number,
                "step": step,
                "text": step_text(step._replace(value=None)),
                "value": value_text(step.value),
                "switch": number > 0 and before != step.process,
                "glyph": GLYPHS[step.kind][0],
            }
        )
    return rows


def _printable(text: str) -> str:
    """Text that a page can show: what a terminal or a browser would act on is a space."""
    return "".join(c if c.isprintable() else " " for c in text)


def html_page(timeline: Timeline, notes: Sequence[str] = ()) -> str:
    """The timeline as one HTML file that needs nothing else.  Errors: MissingExtra, InputError for too many steps."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise MissingExtra("report", "the HTML timeline") from None
    if timeline.end > MAX_STEPS:
        raise InputError(f"the run has {timeline.end} steps; a timeline is drawn up to {MAX_STEPS}")
    recorded = timeline.recorded
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = (files("pageblock_buddy.interleave") / "templates" / "timeline.html.j2").read_text(encoding="utf-8")
    kinds = {step.kind for step in timeline.steps}
    page: str = environment.from_string(source).render(
        program=recorded.program.name,
        summary=_printable(recorded.program.summary),
        variant=recorded.variant,
        findings=[(f.code, list(f.lines) or [f.message]) for f in recorded.findings],
        fault=recorded.finding is not None,
        schedule=to_text(recorded.schedule),
        steps=timeline.end,
        cpus=recorded.program.config.nr_cpus,
        assumption=ASSUMPTION,
        notes=list(notes),
        drawing=Drawing(timeline),
        owners=timeline.film.has_owners,
        map=timeline.film.pages,
        max_pages=MAX_PAGES,
        glyphs=[pair for kind, pair in GLYPHS.items() if kind in kinds],
        pcps=[(f"pcp{cpu % 4}", f"pcp{cpu}") for cpu in range(min(recorded.program.config.nr_cpus, 8))],
        llists=any(
            place == ZONE_LLIST or (place > 3 and place & 1) for f in timeline.film.frames for place in f.places
        ),
        trace="\n".join(two_column_lines(recorded)),
        rows=_step_rows(timeline.steps),
    )
    return page


# --- trace events ------------------------------------------------------------------------------

_PID: Final = 1
_ENDS_FIRST: Final = -1_000_000


def _tid(cpu: int) -> int:
    """Thread ids are CPU + 1: viewers keep 0 for the idle task."""
    return cpu + 1


class _TraceEvents:
    """The events of a run, in the order that the format wants: by time, and what encloses before what is inside."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._end = timeline.end + 1
        self._found: list[tuple[tuple[int, int, int], dict[str, Any]]] = []

    def all(self) -> list[dict[str, Any]]:
        """Every event."""
        timeline = self._timeline
        for handler in timeline.handlers:
            name, whole = f"{handler.context} {handler.process}", (handler.start, self._to(handler))
            self._slices("handler", handler, name, [whole])
        for span in timeline.operations:
            self._slices("operation", span, span.text, self._pieces(span))
        for number, step in enumerate(timeline.steps):
            cpu = next((move.origin for move in timeline.moves if move.step == number), step.cpu)
            args = {"step": number, "process": step.process, "context": step.context, "object": step.object}
            if step.value is not None:
                args["value"] = value_text(step.value)
            name = step_text(step._replace(value=None))
            self._add("X", number, _tid(cpu), name, cat="step", rank=-1, dur=1, args=args)
        self._lock_tracks()
        self._waits()
        self._moves()
        self._counters()
        for finding in timeline.recorded.findings[:1]:
            args = {"message": finding.message, "lines": list(finding.lines)}
            self._add("i", timeline.end, _tid(0), finding.code, cat="finding", rank=1, s="g", args=args)
        return self._names() + [event for _, event in sorted(self._found, key=lambda item: item[0])]

    def _add(self, ph: str, ts: int, tid: int, name: str, *, rank: int, **more: Any) -> None:
        """``rank`` orders the events of one time: ends, long slices, short ones, what points at them, counters."""
        event = {"ph": ph, "ts": ts, "pid": _PID, "tid": tid, "name": name, **more}
        self._found.append(((ts, rank, len(self._found)), event))

    def _to(self, span: Span) -> int:
        """What is open goes on for one step behind the last."""
        return self._end if span.open else span.end

    def _slices(self, cat: str, span: Span, name: str, pieces: list[tuple[int, int]]) -> None:
        args = {"process": span.process, "context": span.context, "finished": not span.open}
        for start, end in pieces:
            self._add("X", start, _tid(span.cpu), name, cat=cat, rank=start - end, dur=end - start, args=args)

    def _pieces(self, span: Span) -> list[tuple[int, int]]:
        """A task's operation, cut where another task has its CPU: the slices of a thread nest."""
        if span.context != "task":
            return [(span.start, self._to(span))]
        others = [
            number
            for number, step in enumerate(self._timeline.steps)
            if (step.cpu, step.context) == (span.cpu, "task")
            and step.kind != "migrate"
            and step.process != span.process
        ]
        if not span.steps:
            interrupted = any(handler.open and handler.cpu == span.cpu for handler in self._timeline.handlers)
            start = max([span.start, *(number + 1 for number in others)])
            return [] if interrupted else [(start, self._to(span))]
        pieces = []
        start = span.steps[0]
        for one, following in pairwise(span.steps):
            if any(one < other < following for other in others):
                pieces.append((start, one + 1))
                start = following
        gone = span.open and any(other > span.steps[-1] for other in others)
        return [*pieces, (start, span.steps[-1] + 1 if gone else self._to(span))]

    def _lock_tracks(self) -> None:
        for number, span in enumerate(self._timeline.locks):
            name = f"CPU {span.cpu} holds {span.text.removeprefix(f'CPU {span.cpu} ')}"
            args = {"process": span.process, "context": span.context, "given back": not span.open}
            more = {"cat": "lock", "id": f"lock{number}"}
            self._add("b", span.start, _tid(span.cpu), name, rank=0, args=args, **more)
            self._add("e", self._to(span), _tid(span.cpu), name, rank=_ENDS_FIRST, **more)

    def _waits(self) -> None:
        timeline = self._timeline
        for number, (wait, span) in enumerate(timeline.waits):
            name = f"waits for {wait.object}, held by {wait.where}"
            args = {"process": wait.process, "holder": wait.holder}
            busy = [n for n, step in enumerate(timeline.steps) if step.cpu == span.cpu]
            bounds = [n for n in busy if span.start <= n < self._to(span)]
            first = None
            for start, end in pairwise([span.start - 1, *bounds, self._to(span)]):
                length = end - start - 1
                if length:
                    first = start + 1 if first is None else first
                    self._add("X", start + 1, _tid(wait.cpu), name, cat="wait", rank=-length, dur=length, args=args)
            held = timeline.lock_of(wait.object, span.start)
            if held is not None and first is not None:
                self._flow(f"wait{number}", "wait", name, (held.start, held.cpu), (first, wait.cpu))

    def _moves(self) -> None:
        for number, move in enumerate(self._timeline.moves):
            later = [n for n, step in enumerate(self._timeline.steps) if n > move.step and step.process == move.task]
            if later:
                name = f"task {move.task} migrates"
                self._flow(f"move{number}", "migration", name, (move.step, move.origin), (later[0], move.to))

    def _flow(self, key: str, cat: str, name: str, origin: tuple[int, int], to: tuple[int, int]) -> None:
        """An arrow between slices, each given by a step in which it is there, and its CPU."""
        self._add("s", origin[0], _tid(origin[1]), name, cat=cat, rank=1, id=key)
        self._add("f", to[0], _tid(to[1]), name, cat=cat, rank=1, id=key, bp="e")

    def _counters(self) -> None:
        timeline = self._timeline
        if not timeline.film.pages:
            return
        counts = [timeline.counts(frame) for frame in timeline.film.frames]
        cpus = range(timeline.recorded.program.config.nr_cpus)
        places = [ZONE, *map(_pcp, cpus), ALLOCATED, NOWHERE]
        places += sorted({place for found in counts for place in found} - set(places))
        for place in places:
            shown = None
            for number, found in enumerate(counts):
                pages = found.get(place, 0)
                if pages != shown:
                    shown = pages
                    name = f"pages: {place_text(place)}"
                    self._add("C", number, _tid(0), name, cat="pages", rank=2, args={"pages": pages})

    def _names(self) -> list[dict[str, Any]]:
        named: list[tuple[str, int, dict[str, Any]]] = [("process_name", _tid(0), {"name": "machine"})]
        for cpu in range(self._timeline.recorded.program.config.nr_cpus):
            named.append(("thread_name", _tid(cpu), {"name": f"CPU {cpu}"}))
            named.append(("thread_sort_index", _tid(cpu), {"sort_index": cpu}))
        return [{"ph": "M", "ts": 0, "pid": _PID, "tid": tid, "name": name, "args": args} for name, tid, args in named]


def trace_events(timeline: Timeline) -> str:
    """The run in the trace-event format, which Perfetto and chrome://tracing open; a step is a microsecond."""
    recorded = timeline.recorded
    data = {
        "traceEvents": _TraceEvents(timeline).all(),
        "otherData": {
            "program": recorded.program.name,
            "variant": recorded.variant,
            "schedule": to_text(recorded.schedule),
            "assumes": ASSUMPTION,
        },
    }
    return json.dumps(data, separators=(",", ":")) + "\n"
