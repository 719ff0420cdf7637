# SPDX-License-Identifier: GPL-2.0-only
"""Stopping a replay before one operation: for explaining it, and for looking at the state there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from pageblock_buddy.errors import InputError
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.recording.reader import RecordingReader
from pageblock_buddy.replay.driver import choose_variant, find_cpu_nodes, open_replay
from pageblock_buddy.replay.natural import NaturalReplay
from pageblock_buddy.replay.result import Operation
from pageblock_buddy.replay.scripted import ScriptedReplay, Snapshot, scripted_items

Path = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Stopped:
    """A model in the state before an operation.

    ``operation`` is None where a snapshot stands; ``perform`` then does nothing.  ``perform()`` lets the
    model carry the operation out and returns what it hands out.
    """

    kernel: Kernel
    operation: Operation | None
    perform: Callable[[], int | list[int] | None]


def stop_before(path: Path, at: int, *, variant: str | None = None) -> Stopped:
    """Replay a recording up to operation ``at`` (the index that mismatch reports name).

    Differences on the way are passed over: the state is the model's.
    Errors: InputError if the file cannot be used or has no such operation.
    """
    cpu_node = find_cpu_nodes(path, variant)
    with RecordingReader(path) as reader:
        replay = open_replay(reader, choose_variant(reader, variant), cpu_node)
        if isinstance(replay, NaturalReplay):
            return _stop_natural(replay, at)
        return _stop_scripted(replay, at)


def _no_such(name: str, at: int, last: int) -> InputError:
    return InputError(f"{name}: there is no operation {at}; operations are 0..{last}", at=at)


def _stop_scripted(replay: ScriptedReplay, at: int) -> Stopped:
    last = replay.reader.meta.nops - 1
    if not 0 <= at <= last:
        raise _no_such(replay.reader.name, at, last)
    items = scripted_items(replay.reader)
    first = next(items, None)
    if first is None:
        raise replay.reader.error("the recording has no snapshot")
    replay.boot(first)
    assert replay.system is not None
    item = first
    while item.index < at:
        following = next(items, None)
        # an index inside a bulk operation names one of its pages
        if following is None or following.index > at:
            break
        item = following
        if item.index < at and isinstance(item, Operation) and item.index + item.nr_pages < at:
            replay.compare(item)
    if isinstance(item, Snapshot):
        return Stopped(replay.system.kernel, None, lambda: None)
    operation = item
    if operation.kind == "free":
        operation.pfn = replay.handles.get(operation.ref, -1)
    return Stopped(replay.system.kernel, operation, lambda: replay.perform(operation))


def _stop_natural(replay: NaturalReplay, at: int) -> Stopped:
    last = replay.reader.meta.events - 1
    if not 0 <= at <= last or not replay.operations:
        raise _no_such(replay.reader.name, at, last)
    operation = replay.rewind_to(at)
    return Stopped(replay.model.k, operation, lambda: replay.perform(operation))
