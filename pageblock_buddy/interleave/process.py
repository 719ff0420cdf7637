# SPDX-License-Identifier: GPL-2.0-only
"""A process of a running program: what it is about to do, what it holds, where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pageblock_buddy.interleave.kinds import START
from pageblock_buddy.interleave.program import Op, Process, op_text
from pageblock_buddy.machine.cpu import Context

if TYPE_CHECKING:
    from pageblock_buddy.interleave.locks import PointSpinlock

_CONTEXT_WORDS: Final = {Context.TASK: "task", Context.SOFTIRQ: "softirq", Context.HARDIRQ: "hardirq"}


class Running:
    """One process in one run.

    ``kind`` and ``oid`` are the step that it takes when it is chosen next.  ``held`` are its locks, each with whether
    IRQs are off for it.
    """

    __slots__ = (
        "acted",
        "alive",
        "bit",
        "call",
        "context",
        "cpu",
        "exposed",
        "handler",
        "held",
        "home",
        "in_hand",
        "index",
        "irqs_off",
        "kind",
        "name",
        "oid",
        "op",
        "op_number",
        "op_points",
        "op_start",
        "ops",
        "owner_read",
        "pinned",
        "preempt_off",
        "pushed",
        "reads",
        "stale",
        "started",
    )

    def __init__(self, index: int, process: Process) -> None:
        self.index = index
        self.bit = 1 << index
        self.name = process.name
        self.home = process.cpu
        self.context = process.context
        self.handler = process.context is not Context.TASK
        self.ops = process.ops
        #: whether handlers, migrations or CPU hotplug may come between its steps
        self.exposed = False
        self.held: list[tuple[PointSpinlock, bool]] = []
        self.reset()

    def reset(self) -> None:
        """Before a run."""
        self.cpu = self.home
        self.alive = True
        self.started = not self.handler
        self.kind = START
        self.oid = -1
        self.held.clear()
        self.irqs_off = 0
        self.preempt_off = 0
        self.pinned = False
        self.op: Op | None = None
        self.op_number = 0
        self.op_points = 0
        self.op_start = 0
        #: whether its operation has taken a lock or stored
        self.acted = False
        #: its operation's number in the history, or -1
        self.call = -1
        #: (pageblock, tag) of the last owner that was read
        self.owner_read: tuple[int, int] | None = None
        #: the pageblock whose owner was read, changed, and was used all the same
        self.stale: int | None = None
        #: whether the page of that block was pushed on a lock-less list since
        self.pushed = False
        #: pages that the operation took off a lock-less list
        self.in_hand = 0
        #: what the operation has read so far, for the key of a state
        self.reads = 0

    def where(self) -> str:
        """CPU and context, for messages."""
        return f"CPU {self.cpu} {_CONTEXT_WORDS[self.context]}"

    def text(self) -> str:
        """What it is performing, in the kernel's names."""
        return "idle" if self.op is None else op_text(self.op)

    def preemptible(self) -> bool:
        """Whether the scheduler may take its CPU away at this point."""
        return not (self.preempt_off or self.irqs_off or self.pinned)
