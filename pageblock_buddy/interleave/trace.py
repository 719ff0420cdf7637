# SPDX-License-Identifier: GPL-2.0-only
"""A run as a kernel developer writes it in a mail: a column for each CPU, time downwards."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from pageblock_buddy.interleave.record import Recorded, Waiting
from pageblock_buddy.interleave.schedule import Step

_WIDTH: Final = 46
#: Verbs of the kernel for the kinds of steps.
_VERBS: Final = {
    "lock": "spin_lock({0})",
    "trylock": "spin_trylock({0}): taken",
    "trylock fails": "spin_trylock({0}): busy",
    "unlock": "spin_unlock({0})",
    "interrupt": "<{1}>",
    "migrate": "migrates",
    "wait": "waits for {0}",
    "publish": "hands over {0}",
    "hotplug": "goes offline: {0}",
}


def step_text(step: Step) -> str:
    """A step in the kernel's words, without the CPU that its column names."""
    where = step.object.removeprefix(f"CPU {step.cpu} ") if step.object != f"CPU {step.cpu}" else step.object
    if step.kind == "load":
        return f"read {where}{_value(step)}"
    if step.kind == "store":
        return f"write {where}{_value(step)}"
    return _VERBS[step.kind].format(where, step.context)


def waiting_text(waiting: Waiting) -> str:
    """What keeps a process from going on; for a lock the call in which it spins or sleeps, too."""
    prefix = f"waits for {waiting.object}, "
    if waiting.kind != "lock" or not waiting.how.startswith(prefix):
        return f"... {waiting.how}"
    step = Step(waiting.process, waiting.cpu, waiting.context, waiting.operation, 0, waiting.kind, waiting.object)
    return f"{step_text(step)}  ... waits, {waiting.how.removeprefix(prefix)}"


def _value(step: Step) -> str:
    value = step.value
    if value is None or isinstance(value, tuple):
        return ""
    return f" = {int(value)}" if not isinstance(value, bool) else f" = {str(value).lower()}"


def columns_of(recorded: Recorded) -> list[int]:
    """The CPUs that get a column."""
    return sorted({step.cpu for step in recorded.steps} | {waiting.cpu for waiting in recorded.waiting if waiting.how})


def two_column_lines(recorded: Recorded, *, quiet: bool = True) -> list[str]:
    """The trace: each operation's name where it begins, its steps indented, each in the column of its CPU.

    ``quiet`` leaves out loads that nobody stores to between them, so that what matters is seen.
    """
    cpus = columns_of(recorded)
    lines = ["".join(f"CPU {cpu}".ljust(_WIDTH) for cpu in cpus).rstrip()]
    shown: dict[str, tuple[int, str]] = {}
    contested = _contested(recorded.steps)
    for _, run in groupby(recorded.steps, key=lambda step: step.process):
        for step in run:
            column = cpus.index(step.cpu)
            operation = (step.op_number, step.operation)
            if step.operation and shown.get(step.process) != operation:
                shown[step.process] = operation
                lines.append(_line(column, step.operation, step.context))
            if quiet and step.kind in ("load", "store") and step.object not in contested:
                continue
            lines.append(_line(column, f"  {step_text(step)}", step.context))
    for waiting in recorded.waiting:
        if not waiting.how:
            continue
        column = cpus.index(waiting.cpu)
        if waiting.operation and shown.get(waiting.process) != (waiting.op_number, waiting.operation):
            lines.append(_line(column, waiting.operation, waiting.context))
        lines.append(_line(column, f"  {waiting_text(waiting)}", waiting.context))
    if recorded.finding is not None:
        lines += ["", *_finding_lines(recorded)]
    return lines


def _contested(steps: Sequence[Step]) -> frozenset[str]:
    """Objects that one process stores to and another one uses."""
    users: dict[str, set[str]] = {}
    writers: dict[str, set[str]] = {}
    for step in steps:
        users.setdefault(step.object, set()).add(step.process)
        if step.kind == "store":
            writers.setdefault(step.object, set()).add(step.process)
    return frozenset(name for name, processes in users.items() if name in writers and len(processes) > 1)


def _line(column: int, text: str, context: str) -> str:
    mark = {"task": "", "softirq": "[softirq] ", "hardirq": "[hardirq] "}[context]
    indent = len(text) - len(text.lstrip())
    return " " * (column * _WIDTH) + text[:indent] + mark + text[indent:]


def _finding_lines(recorded: Recorded) -> list[str]:
    finding = recorded.finding
    assert finding is not None
    if not finding.lines:
        return [finding.message]
    return [f"{finding.code}:", *(f"  {line}" for line in finding.lines)]
