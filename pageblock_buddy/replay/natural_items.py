# SPDX-License-Identifier: GPL-2.0-only
"""From the event stream of a natural run to operations in the order in which they took effect.

Events of all CPUs are interleaved in one global order.  An operation is put together from the events of one
execution context (CPU, task, interrupt or not):

- an allocation ends with its alloc event; what it took from the zone (zlock, frag) comes before;
- a free begins with its free event; what it flushed (drain) comes after; a page of a batch
  enters the per-CPU list at its freeb event;
- a bulk allocation shows one bulk event a page, all at its end.

An operation is performed where it held zone->lock, that is at its first inner event; one without inner events
touches only its CPU's lists and is performed at its own event.  When operations happen is input; what they
return is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pageblock_buddy.machine.tracepoints import Event
from pageblock_buddy.recording.reader import RecordingReader
from pageblock_buddy.replay.result import Operation

#: Events that one natural recording may hold; all are kept in memory.
MAX_EVENTS = 4_000_000
#: kind -> arguments behind the CPU
_ARGUMENTS = {"alloc": 4, "free": 2, "freeb": 1, "zlock": 4, "drain": 3, "frag": 6, "bulk": 3, "call": 2}
#: calls that belong to the allocation in progress
_INNER_CALLS = ("wakeup_kswapd",)
#: calls that the replayer performs as operations of their own
_PERFORMED_CALLS = ("decay_pcp_high", "drain_zone_pages", "drain_local_pages", "drain_all_pages")
#: second half of a call that is performed already
_IGNORED_CALLS = ("__drain_all_pages",)

_Context = tuple[int, int, int]


class _Assembler:
    """Puts operations together; ``finish()`` returns them in order of effect."""

    def __init__(self, reader: RecordingReader) -> None:
        self.reader = reader
        self.operations: list[tuple[int, Operation]] = []
        #: inner events of an allocation that has not ended yet
        self.inner: dict[_Context, list[tuple[int, int, Event]]] = {}
        #: the last operation of a context, and its place in ``operations``
        self.last: dict[_Context, int] = {}
        #: frees that may still turn out to be part of a batch: PFN -> place
        self.prepared: dict[int, int] = {}
        #: who holds a page: PFN -> place of its allocation
        self.held: dict[int, int] = {}

    def add(self, index: int, lineno: int, context: _Context, kind: str, arguments: list[Any]) -> None:
        """One event.  Errors: InputError for a call that the model cannot follow."""
        cpu = context[0]
        if kind in ("zlock", "frag") or (kind == "call" and arguments[0] in _INNER_CALLS):
            self.inner.setdefault(context, []).append((index, lineno, (kind, cpu, *arguments)))
        elif kind == "drain":
            self._drain(index, lineno, context, (kind, cpu, *arguments))
        elif kind == "alloc":
            order, gfp, mt, pfn = arguments
            self.prepared.pop(pfn, None)
            self._begin(index, lineno, context, "alloc", order=order, gfp=gfp, migratetype=mt, expected=pfn)
            self.held[pfn] = len(self.operations) - 1
        elif kind == "bulk":
            self._bulk(index, lineno, context, *arguments)
        elif kind == "free":
            order, pfn = arguments
            self._begin(index, lineno, context, "free", order=order, pfn=pfn)
            self.prepared[pfn] = len(self.operations) - 1
            self.held.pop(pfn, None)
        elif kind == "freeb":
            self._freeb(index, lineno, context, arguments[0])
        elif kind == "call" and arguments[0] in _PERFORMED_CALLS:
            self._begin(index, lineno, context, "call", name=arguments[0], order=arguments[1])
        elif kind == "call" and arguments[0] in _IGNORED_CALLS:
            pass
        else:
            raise self.reader.error(f"the run used {arguments[0]}, which the model leaves out", lineno)

    def _begin(self, index: int, lineno: int, context: _Context, kind: str, **fields: Any) -> Operation:
        cpu, pid, in_irq = context
        operation = Operation(index, lineno, kind, cpu, in_irq=bool(in_irq), idle=pid == 0, **fields)
        inner = self.inner.pop(context, [])
        operation.events = [(line, event) for _, line, event in inner]
        self.operations.append((inner[0][0] if inner else index, operation))
        self.last[context] = len(self.operations) - 1
        return operation

    def _drain(self, index: int, lineno: int, context: _Context, event: Event) -> None:
        place = self.last.get(context)
        if place is None:
            raise self.reader.error("a drain event that belongs to no operation", lineno)
        at, operation = self.operations[place]
        if not operation.events:
            self.operations[place] = (max(at, index), operation)
        operation.events.append((lineno, event))

    def _bulk(self, index: int, lineno: int, context: _Context, nr_pages: int, gfp: int, pfn: int) -> None:
        place = self.last.get(context)
        operation = self.operations[place][1] if place is not None else None
        same_call = operation is not None and (operation.kind, operation.nr_pages, operation.gfp) == (
            "bulk",
            nr_pages,
            gfp,
        )
        pages = operation.expected if operation is not None and same_call else None
        if isinstance(pages, list) and len(pages) < nr_pages:
            pages.append(pfn)
            return
        if operation is not None and operation.kind == "alloc" and self.held.get(pfn) == place:
            # The bulk path gave up and used the single one, whose event came first.
            operation.kind = "bulk"
            operation.nr_pages = nr_pages
            operation.expected = [pfn]
            return
        self._begin(index, lineno, context, "bulk", gfp=gfp, nr_pages=nr_pages, expected=[pfn])

    def _freeb(self, index: int, lineno: int, context: _Context, pfn: int) -> None:
        place = self.prepared.pop(pfn, None)
        if place is None:
            raise self.reader.error(f"pfn {pfn} enters a per-CPU list without having been freed", lineno)
        prepared = self.operations[place][1]
        prepared.kind = "prepare"
        self._begin(index, lineno, context, "commit", order=prepared.order, pfn=pfn)

    def finish(self) -> list[Operation]:
        """The operations in order of effect.  Errors: InputError when one is incomplete."""
        for inner in self.inner.values():
            _, lineno, event = inner[0]
            raise self.reader.error(f"a {event[0]} event that belongs to no operation", lineno)
        self.operations.sort(key=lambda entry: entry[0])
        return [operation for _, operation in self.operations]


def natural_operations(
    reader: RecordingReader, items: Iterator[tuple[int, Any]]
) -> tuple[list[Operation], int, dict[str, Any]]:
    """The operations behind the first snapshot, and the last snapshot with its line.

    Errors: InputError for anything that is not an event, and for a file that ends early.
    """
    assembler = _Assembler(reader)
    for index, (lineno, record) in enumerate(items):
        if isinstance(record, dict):
            if index != reader.meta.events:
                raise reader.error(f"not whole: meta says {reader.meta.events} events, the file has {index}", lineno)
            if next(items, None) is not None:
                raise reader.error("lines behind the last snapshot")
            return assembler.finish(), lineno, record
        if not isinstance(record, list) or len(record) < 7 or record[0] != "e" or not isinstance(record[4], str):
            raise reader.error("not an event of a natural run", lineno)
        _, pid, in_irq, _, kind, cpu, *arguments = record
        numbers = (pid, in_irq, cpu, *(arguments[1:] if kind == "call" else arguments))
        if _ARGUMENTS.get(kind) != len(arguments) or not all(type(n) is int and -1 <= n < 1 << 62 for n in numbers):
            raise reader.error("not an event that this release reads", lineno)
        if index >= MAX_EVENTS:
            raise reader.error(f"more than {MAX_EVENTS} events in a natural run", lineno)
        assembler.add(index, lineno, (cpu, pid, in_irq), kind, arguments)
    raise reader.error("truncated: no snapshot at the end")
