# SPDX-License-Identifier: GPL-2.0-only
"""What a replay found: operations, mismatches, resynchronisations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pageblock_buddy.machine.tracepoints import Event

#: Why a natural run may be brought back into step (docs/decisions/D-04.md).
RESYNC_CAUSES = {
    "idle-fold": "free_diff folded by an idle CPU",
    "lost-trylock": "PCP trylock lost to an interrupt",
    "boost-cleared": "boost cleared by kswapd",
}

#: What a natural run's log leaves open and the replayer settles.
INFERRED_INPUTS = {
    "order": "operations that took effect in another order than they were logged in",
    "preferred-node": "requests for another node than their CPU's",
    "split": "allocations that were split before they were freed",
}


@dataclass(slots=True)
class Operation:
    """One operation of a recording, with what the kernel did.

    ``index`` is what ``--at`` takes: the op index of a scripted run, the number of the event (from 0)
    of a natural one.  ``lineno`` is its line.  ``ref`` is, of a scripted free, the index of its allocation.
    ``expected`` is the recorded PFN (-1: it failed), or for a bulk allocation the list of them; ``events`` are the
    inner events with their lines, in order.
    """

    index: int
    lineno: int
    kind: str
    cpu: int
    order: int = 0
    gfp: int = 0
    pfn: int = -1
    ref: int = -1
    nr_pages: int = 0
    name: str = ""
    migratetype: int = -1
    in_irq: bool = False
    idle: bool = False
    expected: int | list[int] | None = None
    events: list[tuple[int, Event]] = field(default_factory=list)

    def describe(self) -> str:
        """The call in kernel terms."""
        where = f"on CPU {self.cpu}" + (" in interrupt" if self.in_irq else "")
        match self.kind:
            case "alloc":
                return f"alloc_pages(gfp={self.gfp:#x}, order={self.order}) {where}"
            case "bulk":
                return f"alloc_pages_bulk(gfp={self.gfp:#x}, nr_pages={self.nr_pages}) {where}"
            case "free":
                return f"__free_pages(pfn={self.pfn}, order={self.order}) {where}"
            case "prepare":
                return f"free_pages_prepare(pfn={self.pfn}, order={self.order}) {where}"
            case "commit":
                return f"free_frozen_page_commit(pfn={self.pfn}, order={self.order}) {where}"
        return f"{self.name}() {where}"


@dataclass(slots=True)
class Mismatch:
    """A difference between the recording and the model.

    ``path`` says what differs: "pfn", "event", "refused", "count", or a path into a snapshot
    such as "zones[1].pcp[0].count".
    """

    lineno: int
    index: int
    path: str
    expected: Any
    got: Any
    operation: str

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "line": self.lineno,
            "op": self.index,
            "path": self.path,
            "expected": self.expected,
            "got": self.got,
            "operation": self.operation,
        }


@dataclass(slots=True)
class ReplayResult:
    """The outcome of one replay.

    ``operations`` counts allocations, frees, bulk pages and drains that were compared; ``resyncs`` counts the
    permitted causes of a natural run.
    """

    recording: str
    variant: str
    operations: int = 0
    snapshots: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    resyncs: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "recording": self.recording,
            "variant": self.variant,
            "operations": self.operations,
            "snapshots": self.snapshots,
            "mismatches": [m.to_dict() for m in self.mismatches],
            "resyncs": dict(self.resyncs),
        }
