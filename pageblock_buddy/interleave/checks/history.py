# SPDX-License-Identifier: GPL-2.0-only
"""Linearizability of the page set: is there an order of the operations that explains the pages that they got?

The page set: an allocation takes pages that are in it, a free puts them back.  An order explains a run if nobody takes
a page that somebody has, and an operation that ended before another one began comes before it.  A failed allocation is
always explained: pages may be where it could not look.

No search is needed.  Names say which free gives back what which allocation took, so for two allocations of one page the
free of one of them must come before the other; it can unless it began after that one had ended.  All constraints are of
the form "this began before that ended", and between two of those along a cycle lies a pair "ended before it began": so
if each can be met, all can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pageblock_buddy.interleave.findings import Finding
from pageblock_buddy.interleave.program import Op, allocated, freed, op_text

if TYPE_CHECKING:
    from pageblock_buddy.interleave.engine import Engine
    from pageblock_buddy.interleave.process import Running

NEVER = 1 << 60


class Call(NamedTuple):
    """One operation of a run: who, what, and from when to when, as places in the order of all beginnings and ends.

    ``end`` NEVER: it was under way at the end.
    """

    process: str
    op: Op
    start: int
    end: int


class History:
    """The operations of the present run, in the order in which they began."""

    def __init__(self) -> None:
        self._calls: list[tuple[str, Op, int]] = []
        self._ends: list[int] = []
        self._now = 0

    def reset(self) -> None:
        """Before a run."""
        self._calls = []
        self._ends = []
        self._now = 0

    def begin(self, process: Running, op: Op) -> int:
        """An operation begins.  Returns its number."""
        self._now += 1
        self._calls.append((process.name, op, self._now))
        self._ends.append(NEVER)
        return len(self._ends) - 1

    def begin_again(self, number: int) -> None:
        """An operation has waited at its first point, and does its first step only now."""
        self._now += 1
        process, op, _ = self._calls[number]
        self._calls[number] = process, op, self._now

    def end(self, number: int) -> None:
        """An operation ends."""
        self._now += 1
        self._ends[number] = self._now

    @property
    def calls(self) -> list[Call]:
        """The operations so far."""
        return [Call(process, op, start, self._ends[i]) for i, (process, op, start) in enumerate(self._calls)]

    def check(self, engine: Engine) -> Finding | None:
        """A finding if no order explains the run.  O(pages log pages) of the pages that the program names, if none is
        given out twice."""
        places = sorted([(pfn, order) for pfn, order in engine.pages.values() if pfn is not None])
        end = 0
        for pfn, order in places:
            if pfn < end:
                return self._explain(engine)
            end = pfn + (1 << order)
        return None

    def _explain(self, engine: Engine) -> Finding | None:
        """Some page was given out twice: not at the same time, one hopes."""
        had: dict[str, tuple[int | None, int, int, str]] = {}
        given: dict[str, int] = {}
        for call in self.calls:
            for name in allocated(call.op):
                pfn, order = engine.pages.get(name, (None, 0))
                had[name] = pfn, order, call.end, f"{call.process}: {op_text(call.op)}"
            given.update((name, call.start) for name in freed(call.op))
        for name, (pfn, order) in engine.pages_at_start.items():
            had[name] = pfn, order, -1, f"set-up: {name}"
        blocks = [
            (pfn, pfn + (1 << order), end, given.get(name, NEVER), text)
            for name, (pfn, order, end, text) in had.items()
            if pfn is not None
        ]
        blocks.sort()
        for i, (first, stop, end, gives, text) in enumerate(blocks):
            for other_first, _, other_end, other_gives, other_text in blocks[i + 1 :]:
                if other_first >= stop:
                    break
                if gives >= other_end and other_gives >= end:
                    return Finding(
                        "not-linearizable",
                        f"pfn {other_first} was given out twice: {text} and {other_text} have it at the same time",
                        lines=(f"from pfn {first}: {text}", f"from pfn {other_first}: {other_text}"),
                    )
        return None
