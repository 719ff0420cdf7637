# SPDX-License-Identifier: GPL-2.0-only
"""Replay of a scripted run: quiet, exact, nothing may differ.

The script of the run is input (which CPU asked for what); every outcome is compared: each PFN, each inner
event in order, each later snapshot as a whole.  The model gets no recorded outcome before it has answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pageblock_buddy import gfp as g
from pageblock_buddy.errors import BadArgument, CallerError, InputError, ModelBug
from pageblock_buddy.machine.tracepoints import Event, EventLog
from pageblock_buddy.recording.machine_of import boot_recording
from pageblock_buddy.recording.reader import RecordingReader
from pageblock_buddy.replay.compare import event_difference, first_difference
from pageblock_buddy.replay.result import Mismatch, Operation, ReplayResult
from pageblock_buddy.snapshot import load_allocations, zone_to_dict
from pageblock_buddy.system import System
from pageblock_buddy.variants import Variant

_EVENT_TYPES = {int, str}
_INT_ONLY = {int}
_NUMBERS_END = 1 << 62
#: kind of line -> length of it
_LINE_LENGTH = {"A": 5, "F": 5, "B": 5, "D": 2}
#: what a bulk operation may ask for (the recorder's limit)
_MAX_BULK = 255
#: inner events of one operation: draining a list of high_max pages shows each of them
_MAX_EVENTS = 1 << 20


class Snapshot:
    """A snapshot line: the state of all zones before operation ``index``."""

    __slots__ = ("index", "lineno", "record")

    def __init__(self, index: int, lineno: int, record: dict[str, Any]) -> None:
        self.index = index
        self.lineno = lineno
        self.record = record


def scripted_items(reader: RecordingReader) -> Iterator[Operation | Snapshot]:
    """The operations and snapshots of a scripted recording, in order.

    Errors: InputError for a line that is neither, or when the file ends early.
    """
    index = 0
    pending: list[tuple[int, Event]] = []
    for lineno, record in reader:
        if isinstance(record, dict):
            if pending:
                raise reader.error("inner events before a snapshot belong to no operation", lineno)
            yield Snapshot(index, lineno, record)
            index += 1
            continue
        if not isinstance(record, list) or not record:
            raise reader.error("neither an operation nor an event nor a snapshot", lineno)
        kind = record[0]
        if kind == "e":
            if not set(map(type, record)) <= _EVENT_TYPES:
                raise reader.error("an event holds numbers and a name only", lineno)
            if len(pending) >= _MAX_EVENTS:
                raise reader.error(f"more than {_MAX_EVENTS} events in one operation", lineno)
            pending.append((lineno, tuple(record[1:])))
            continue
        operation = _operation(reader, record, index, lineno)
        operation.events, pending = pending, []
        index += 1 + operation.nr_pages
        yield operation
    if pending:
        raise reader.error("the file ends after an inner event, before its operation")
    if index != reader.meta.nops:
        raise reader.error(f"not whole: meta says {reader.meta.nops} operations, the file has {index}")


def _operation(reader: RecordingReader, record: list[Any], index: int, lineno: int) -> Operation:
    kind = record[0]
    if type(kind) is not str or _LINE_LENGTH.get(kind) != len(record):
        raise reader.error("not an operation that this release reads", lineno)
    pfns = record[4] if kind == "B" else []
    numbers = record[1:4] + pfns if kind == "B" and type(pfns) is list else record[1:]
    if set(map(type, numbers)) != _INT_ONLY or min(numbers) < -1 or max(numbers) >= _NUMBERS_END:
        raise reader.error("not an operation that this release reads", lineno)
    if kind == "A":
        return Operation(index, lineno, "alloc", record[1], record[2], record[3], expected=record[4])
    if kind == "F":
        return Operation(index, lineno, "free", record[1], record[2], ref=record[3], expected=record[4])
    if kind == "D":
        return Operation(index, lineno, "drain", record[1], name="drain_local_pages")
    if not 0 <= record[2] <= _MAX_BULK:
        raise reader.error(f"a bulk operation asks for 0..{_MAX_BULK} pages", lineno)
    return Operation(index, lineno, "bulk", record[1], gfp=record[3], nr_pages=record[2], expected=pfns)


class ScriptedReplay:
    """Steps a model through a scripted recording.

    ``items()`` yields each operation before it is performed; the caller performs it with ``step()``.
    """

    def __init__(self, reader: RecordingReader, variant: Variant, cpu_node: tuple[int, ...] | None = None) -> None:
        self.reader = reader
        self.cpu_node = cpu_node
        self.variant = variant
        self.log = EventLog()
        self.system: System | None = None
        self.result = ReplayResult(recording=reader.name, variant=variant.name)
        self.events_seen = 0
        #: op index -> PFN that the model handed out and that is not freed yet
        self.handles: dict[int, int] = {}
        self._recorded: dict[int, tuple[int, int, int]] = {}

    # --- one item ------------------------------------------------------------------------------

    def boot(self, item: Operation | Snapshot) -> None:
        """Boot from the first item, which must be a snapshot.  Errors: InputError."""
        if not isinstance(item, Snapshot):
            raise self.reader.error("the first operation comes before any snapshot", item.lineno)
        try:
            kernel = boot_recording(item.record, self.reader.meta, self.variant.calls, self.cpu_node)
        except InputError as error:
            raise self.reader.error(error.message, item.lineno) from None
        kernel.trace = self.log
        self.system = System(kernel, self.variant.name)

    def perform(self, operation: Operation) -> int | list[int] | None:
        """Let the model answer.  Errors: CallerError if it refuses the operation, ModelBug."""
        system = self.system
        assert system is not None
        machine = system.kernel.machine
        if not 0 <= operation.cpu < machine.nr_cpus:
            raise BadArgument(f"CPU {operation.cpu} is not 0..{machine.nr_cpus - 1}", cpu=operation.cpu)
        machine.cpu = operation.cpu
        kind = operation.kind
        if kind == "alloc":
            pfn = system.alloc_pages(operation.gfp, operation.order)
            if pfn is None:
                return -1
            self.handles[operation.index] = pfn
            return pfn
        if kind == "free":
            got = self.handles.pop(operation.ref, -1)
            if got != -1:
                operation.pfn = got
                system.free_pages(got, operation.order)
            return got
        if kind == "bulk":
            slots: list[int | None] = [None] * operation.nr_pages
            system.fill_pages_bulk(operation.gfp, slots)
            for page, got_page in enumerate(slots):
                if got_page is not None:
                    self.handles[operation.index + 1 + page] = got_page
            return [-1 if pfn is None else pfn for pfn in slots]
        system.drain_local_pages()
        return None

    def compare(self, operation: Operation) -> Mismatch | None:
        """Perform one operation and compare.  Returns the first difference or None."""
        try:
            got = self.perform(operation)
        except (CallerError, ModelBug) as error:
            self.log.take()
            return self._mismatch(operation, operation.lineno, "refused", operation.expected, error.message)
        events = self.log.take()
        self.events_seen += len(events)
        difference = event_difference(operation.events, events, operation.lineno)
        if difference is not None:
            line, expected, mine = difference
            return self._mismatch(operation, line, "event", expected, mine)
        if got != operation.expected:
            return self._mismatch(operation, operation.lineno, "pfn", operation.expected, got)
        if operation.kind == "bulk":
            assert isinstance(got, list)
            self.result.operations += operation.nr_pages
            self.events_seen += sum(1 for pfn in got if pfn != -1)
        elif operation.kind != "free" or got != -1:
            self.result.operations += 1
        return None

    def compare_snapshot(self, snapshot: Snapshot) -> Mismatch | None:
        """Compare the whole state.  Returns the first difference or None."""
        assert self.system is not None
        k = self.system.kernel
        mine = {
            "t": "snap",
            "op": snapshot.index,
            "nev": self.events_seen + self.log.outer_count,
            "zones": [zone_to_dict(k, zone) for zone in k.zones],
        }
        recorded = snapshot.record
        found = first_difference(recorded, mine)
        if found is None:
            self.result.snapshots += 1
            return None
        path, expected, got = found
        return Mismatch(snapshot.lineno, snapshot.index, path, expected, got, "snapshot")

    def _mismatch(self, operation: Operation, lineno: int, path: str, expected: Any, got: Any) -> Mismatch:
        return Mismatch(lineno, operation.index, path, expected, got, operation.describe())

    # --- the run -------------------------------------------------------------------------------

    def run(self, *, keep_going: bool = False) -> Iterator[int]:
        """Replay it all; yields the line number of each item that was compared.

        Stops at the first mismatch, or with ``keep_going`` resumes at the snapshot that follows it.
        """
        items = scripted_items(self.reader)
        self.boot(self._first(items))
        resuming = False
        for item in items:
            if resuming:
                if isinstance(item, Snapshot):
                    resuming = not self._resume(item)
                else:
                    self._follow(item)
                continue
            if isinstance(item, Snapshot):
                mismatch = self.compare_snapshot(item)
            else:
                mismatch = self.compare(item)
                if keep_going:
                    self._follow(item)
            if mismatch is not None:
                self.result.mismatches.append(mismatch)
                if not keep_going:
                    return
                resuming = not (isinstance(item, Snapshot) and self._resume(item))
            yield item.lineno

    def position(self) -> int:
        """How far the replay is, as bytes of the file."""
        return self.reader.position()

    def _first(self, items: Iterator[Operation | Snapshot]) -> Operation | Snapshot:
        for item in items:
            return item
        raise self.reader.error("the recording has no snapshot")

    # --- keep going ----------------------------------------------------------------------------

    def _follow(self, operation: Operation) -> None:
        """Keep account of the allocations as the kernel made them, to resume at a snapshot."""
        if operation.kind == "alloc" and isinstance(operation.expected, int) and operation.expected != -1:
            compound = int(bool(operation.order and operation.gfp & g.GFP_COMP))
            self._recorded[operation.index] = (operation.expected, operation.order, compound)
        elif operation.kind == "bulk" and isinstance(operation.expected, list):
            for page, pfn in enumerate(operation.expected):
                if pfn != -1:
                    self._recorded[operation.index + 1 + page] = (pfn, 0, 0)
        elif operation.kind == "free":
            self._recorded.pop(operation.ref, None)
        assert self.system is not None
        if len(self._recorded) > self.system.kernel.config.end_pfn:
            raise self.reader.error("more allocations than the machine has pages", operation.lineno)

    def _resume(self, snapshot: Snapshot) -> bool:
        """Take the recorded state over.  False if it contradicts itself: then the next snapshot has to do.

        An allocation that the recording puts where its snapshot has free pages is left out.
        """
        before = self.system
        try:
            self.boot(snapshot)
            nev = snapshot.record.get("nev")
            if type(nev) is not int:
                raise InputError("a snapshot's nev is not a count")
        except InputError as error:
            self.system = before
            if self.result.mismatches[-1].lineno != snapshot.lineno:
                expected = "a state to resume at"
                mismatch = Mismatch(snapshot.lineno, snapshot.index, "zones", expected, error.message, "snapshot")
                self.result.mismatches.append(mismatch)
            return False
        assert self.system is not None
        self.handles = {}
        for ref, (pfn, order, compound) in self._recorded.items():
            try:
                load_allocations(self.system.kernel, [[pfn, order, compound, 1]])
            except InputError:
                continue
            self.handles[ref] = pfn
        self.events_seen = nev
        self.log.outer_count = 0
        return True
