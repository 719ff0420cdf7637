# SPDX-License-Identifier: GPL-2.0-only
"""Replay of a natural run: everything is compared, and three causes may bring it back into step.

Changes that leave no event (docs/decisions/D-04.md) *resynchronise*:

- an idle CPU folds its free_diff into the counter;
- an interrupt frees or allocates while its own CPU holds pcp->lock: the trylock fails, and
  the page goes to (or comes from) the zone;
- kswapd takes the watermark boost away.

Two things are *input* that the event log does not settle: in which order an operation and an interrupt (or
another CPU) that came between its first and last event took effect, and the node that a NUMA request preferred.  Where
the obvious reading disagrees the replayer tries the other ones.

At a difference it looks for the one such cause that explains it: it goes back to the state before the suspected
operation, performs it as if that had happened, and accepts the cause only if the difference is gone.
Each accepted cause is counted; whatever no cause explains is a mismatch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pageblock_buddy import gfp as g
from pageblock_buddy.errors import CallerError, InputError, ModelBug
from pageblock_buddy.linux_6_12 import alloc
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone
from pageblock_buddy.mm.vmstat import zone_free_pages_exact
from pageblock_buddy.recording.machine_of import boot_recording
from pageblock_buddy.recording.reader import RecordingReader
from pageblock_buddy.replay.compare import event_difference, first_difference
from pageblock_buddy.replay.natural_items import natural_operations
from pageblock_buddy.replay.natural_model import NaturalModel
from pageblock_buddy.replay.result import INFERRED_INPUTS, RESYNC_CAUSES, Mismatch, Operation, ReplayResult
from pageblock_buddy.snapshot import clone, zone_to_dict
from pageblock_buddy.variants import Variant

#: Operations between two saved states, at least.
_CHECKPOINT = 4000
#: What saved states may take together, at one byte a page; and the largest machine (256 GiB).
_CHECKPOINT_BYTES = 1 << 31
_MAX_PFN = 1 << 26
#: Operations that may be performed again in search of causes: then what is left is a mismatch.
_BUDGET_BASE = 100_000
_BUDGET_FACTOR = 10
#: Suspects near the pages of a difference that are tried.
_MAX_NEAR = 24
#: Suspects tried for one difference that concern none of the pages in it.
_MAX_UNRELATED = 6
#: The line of event 0.
_FIRST_LINE = 3
#: How far back a free that waited for zone->lock may be logged, in operations.
_LATE_WINDOW = 64
#: Input, not outcome: the pages of a block that are on an LRU list (no event reports them).
_NOT_THE_ALLOCATORS = ("block_lru",)


@dataclass(frozen=True, slots=True)
class _Cause:
    """Something that the log does not say: what happened, at which operation (its index), and to whom.

    ``subject`` is a CPU (idle-fold), the place of a zone (boost-cleared), a node (preferred-node), or the index of the
    operation before which this one took effect (order).
    """

    kind: str
    index: int
    subject: int = 0


class NaturalReplay:
    """Replays a natural recording.

    ``operations`` are in order of effect.  ``run()`` drives; ``result`` is complete when it ends.
    """

    def __init__(self, reader: RecordingReader, variant: Variant, cpu_node: tuple[int, ...] | None = None) -> None:
        self.reader = reader
        self.result = ReplayResult(recording=reader.name, variant=variant.name)
        items = iter(reader)
        first = next(items, None)
        if first is None:
            raise reader.error("the recording has no snapshot")
        try:
            kernel = boot_recording(first[1], reader.meta, variant.calls, cpu_node)
        except InputError as error:
            raise reader.error(error.message, first[0]) from None
        self.operations, self.last_line, self.last_snapshot = natural_operations(reader, items)
        self._splits: dict[int, None] = {}
        self.model = NaturalModel(kernel, self._splits)
        name_zones(self.operations, kernel)
        self._performed = 0
        self._budget = _BUDGET_BASE + _BUDGET_FACTOR * len(self.operations)
        self.causes: dict[_Cause, None] = {}
        self._by_operation: dict[int, list[_Cause]] = {}
        end_pfn = kernel.config.end_pfn
        if end_pfn > _MAX_PFN:
            raise reader.error(f"a natural run on a machine of {end_pfn} pages; {_MAX_PFN} can be replayed", first[0])
        self._interval = max(_CHECKPOINT, len(self.operations) * end_pfn // _CHECKPOINT_BYTES)
        self._checkpoints: list[Kernel] = []
        self._at = 0
        self._final_folds = self._final_boosts = 0

    # --- performing ----------------------------------------------------------------------------

    def _rewind(self, at: int) -> None:
        """Go back to the state before operation ``at``, performing again what lies behind the saved state."""
        number = min(at // self._interval, len(self._checkpoints) - 1)
        del self._checkpoints[number + 1 :]
        self.model = NaturalModel(clone(self._checkpoints[number]), self._splits)
        self._at = number * self._interval
        while self._at < at:
            self._perform_next()

    def rewind_to(self, index: int) -> Operation:
        """Replay until ``index`` is understood, then stand before the operation of that event; return it.

        An inner event belongs to the operation that it is part of.
        """
        for _ in self.run():
            pass
        lineno = _FIRST_LINE + index
        known = [o for o in self.operations if o.index == index or any(line == lineno for line, _ in o.events)]
        # What is left are the further pages of a bulk allocation, and calls that belong to nothing.
        operation = known[0] if known else max(self.operations, key=lambda o: (o.index <= index, o.index))
        self._rewind(self._place(operation.index))
        return operation

    def perform(self, operation: Operation) -> int | list[int] | None:
        """Carry out the operation that the model stands before, without comparing."""
        lost, node = self._inputs(operation)
        return self.model.perform(operation, lost, node)

    def _inputs(self, operation: Operation) -> tuple[bool, int | None]:
        """Whether the operation loses its trylock, and its node; silent changes before it are made."""
        lost, node = False, None
        for cause in self._by_operation.get(operation.index, ()):
            lost = lost or cause.kind == "lost-trylock"
            if cause.kind == "preferred-node":
                node = cause.subject
            self._apply(cause)
        return lost, node

    def _perform_next(self) -> Mismatch | None:
        """Perform the next operation and compare.  Returns the first difference or None."""
        at = self._at
        if at % self._interval == 0 and at // self._interval == len(self._checkpoints):
            self._checkpoints.append(clone(self.model.k))
        operation = self.operations[at]
        lost, node = self._inputs(operation)
        self._at = at + 1
        self._performed += 1
        try:
            got = self.model.perform(operation, lost, node)
        except (CallerError, ModelBug) as error:
            self.model.log.take()
            return _mismatch(operation, operation.lineno, "refused", operation.expected, error.message)
        difference = event_difference(operation.events, self.model.log.take(), operation.lineno)
        if difference is not None:
            line, expected, mine = difference
            return _mismatch(operation, line, "event", expected, mine)
        if operation.kind == "alloc":
            mt = alloc.gfp_migratetype(self.model.k, operation.gfp)
            if mt != operation.migratetype:
                return _mismatch(operation, operation.lineno, "migratetype", operation.migratetype, mt)
        if got != operation.expected:
            return _mismatch(operation, operation.lineno, "pfn", operation.expected, got)
        return None

    def _apply(self, cause: _Cause) -> None:
        k = self.model.k
        if cause.kind == "boost-cleared":
            k.zones[cause.subject].watermark_boost = 0
        elif cause.kind == "idle-fold":
            for zone in k.zones:
                stat = zone.per_cpu_zonestats[cause.subject]
                zone.nr_free_pages += stat.nr_free_pages_diff
                stat.nr_free_pages_diff = 0

    # --- explaining a difference ---------------------------------------------------------------

    def _place(self, index: int) -> int:
        """Where the operation with this index stands now."""
        return next(at for at, operation in enumerate(self.operations) if operation.index == index)

    def _accept(self, cause: _Cause) -> int:
        """Take a cause as given.  Returns the place from which on the run changes."""
        self.causes[cause] = None
        self._by_operation.setdefault(cause.index, []).append(cause)
        at = self._place(cause.index)
        if cause.kind != "order":
            return at
        operation = self.operations.pop(at)
        to = self._place(cause.subject)
        self.operations.insert(to, operation)
        return min(at, to)

    def _withdraw(self, cause: _Cause, place: int) -> None:
        """Undo _accept(); ``place`` is where the operation stood."""
        del self.causes[cause]
        self._by_operation[cause.index].remove(cause)
        if cause.kind == "order":
            self.operations.insert(place, self.operations.pop(self._place(cause.index)))

    def _on_cpu(self, at: int, direction: int) -> int | None:
        """The place of the next (or, -1, previous) operation on the same CPU as the one at ``at``."""
        cpu = self.operations[at].cpu
        at += direction
        while 0 <= at < len(self.operations):
            if self.operations[at].cpu == cpu:
                return at
            at += direction
        return None

    def _suspects(self, at: int, pages: set[int]) -> Iterator[_Cause]:
        """Causes that could explain a difference at operation ``at``, likeliest first.

        Orders of effect come first: a wrong one shows soon, and a lost trylock still explains it then.
        """
        end = len(self.operations)
        if at < end:
            yield from self._nested_before(at)
            yield from self._late_frees(at)
        near: list[_Cause] = []
        others: list[_Cause] = []
        for earlier in range(min(at, end - 1), -1, -1):
            operation = self.operations[earlier]
            # An idle CPU holds no lock that an interrupt could find taken, and is in no operation.
            if not operation.in_irq or operation.idle or operation.kind not in ("free", "alloc", "bulk"):
                continue
            lost = _Cause("lost-trylock", operation.index)
            if operation.pfn in pages or earlier == at:
                yield from self._around(earlier)
                yield lost
            elif any(operation.pfn >> g.MAX_PAGE_ORDER == page >> g.MAX_PAGE_ORDER for page in pages):
                if len(near) < _MAX_NEAR:
                    near.append(lost)
            elif len(others) < _MAX_UNRELATED:
                others.append(lost)
        yield from near
        yield from others
        if at < end:
            yield from self._silent_changes(at)

    def _nested_before(self, at: int) -> Iterator[_Cause]:
        """The operation took its page before the interrupts that are logged before its event.

        Where an interrupt came to an idle CPU, the operation had not begun yet.
        """
        operation = self.operations[at]
        interrupts = []
        earlier = self._on_cpu(at, -1)
        while earlier is not None and self.operations[earlier].in_irq and not operation.in_irq:
            if self.operations[earlier].idle:
                break
            interrupts.append(self.operations[earlier].index)
            earlier = self._on_cpu(earlier, -1)
        for index in reversed(interrupts):
            yield _Cause("order", operation.index, index)

    def _around(self, at: int) -> Iterator[_Cause]:
        """An interrupt's operation before the free that it interrupted, and behind the allocation."""
        before, behind = self._on_cpu(at, -1), self._on_cpu(at, 1)
        if before is not None and self.operations[before].kind == "free" and not self.operations[before].in_irq:
            yield _Cause("order", self.operations[at].index, self.operations[before].index)
        while behind is not None and self.operations[behind].in_irq:
            behind = self._on_cpu(behind, 1)
        if behind is not None and self.operations[behind].kind in ("alloc", "bulk"):
            yield _Cause("order", self.operations[behind].index, self.operations[at].index)

    def _late_frees(self, at: int) -> Iterator[_Cause]:
        """A free to the zone on another CPU, logged before this operation, that got zone->lock after it."""
        k = self.model.k
        if at + 1 >= len(self.operations) or not self.operations[at].events:
            return
        for earlier in range(at - 1, max(at - _LATE_WINDOW, -1), -1):
            operation = self.operations[earlier]
            if operation.kind != "free" or operation.cpu == self.operations[at].cpu:
                continue
            following = self._on_cpu(earlier, 1)
            if not k.calls.pcp_allowed_order(k, operation.order) and (following is None or following > at):
                yield _Cause("order", operation.index, self.operations[at + 1].index)

    def _silent_changes(self, at: int) -> Iterator[_Cause]:
        """Changes of the counters and marks right before this operation, and its node."""
        k = self.model.k
        operation = self.operations[at]
        if operation.kind in ("alloc", "bulk"):
            for nid in k.nodes:
                if nid != k.config.cpu_node[operation.cpu]:
                    yield _Cause("preferred-node", operation.index, nid)
        for place, zone in enumerate(k.zones):
            if zone.watermark_boost:
                yield _Cause("boost-cleared", operation.index, place)
        for cpu in range(k.machine.nr_cpus):
            if any(zone.per_cpu_zonestats[cpu].nr_free_pages_diff for zone in k.zones):
                yield _Cause("idle-fold", operation.index, cpu)

    def _try(self, cause: _Cause, until: int) -> bool:
        """Whether, with this cause, all operations up to place ``until`` agree.  If not, it is withdrawn."""
        if cause in self.causes or self._performed > self._budget:
            return False
        place = self._place(cause.index)
        failing = self.operations[until].index
        self._rewind(self._accept(cause))
        # Another order may put the operation that disagreed further back: it has to agree there.
        until = max(until, self._place(failing))
        while self._at <= until:
            if self._perform_next() is not None:
                self._withdraw(cause, place)
                return False
        return True

    def _explain(self, at: int, mismatch: Mismatch) -> bool:
        """Find a cause after which operation ``at`` agrees; the model then stands behind it."""
        suspects = list(self._suspects(at, _pages_of(mismatch)))
        return any(self._try(cause, at) for cause in suspects)

    # --- the end -------------------------------------------------------------------------------

    def _final_difference(self) -> Mismatch | None:
        """Compare the last snapshot, after what the kernel changed silently: folded diffs, cleared boosts."""
        k = self.model.k
        self._final_folds = self._final_boosts = 0
        for zone in k.zones:
            state = self._recorded_zone(zone)
            self._final_folds += _fold_as_recorded(k, zone, state)
            if zone.watermark_boost and state.get("boost") == 0:
                zone.watermark_boost = 0
                self._final_boosts += 1
        mine = {
            "t": "snap",
            "op": 1,
            "nev": self.reader.meta.events,
            "zones": [zone_to_dict(k, zone) for zone in k.zones],
        }
        found = first_difference(self.last_snapshot, mine, ignore=_NOT_THE_ALLOCATORS)
        if found is None:
            return None
        path, expected, got = found
        return Mismatch(self.last_line, self.reader.meta.events, path, expected, got, "snapshot")

    def _recorded_zone(self, zone: Zone) -> dict[str, Any]:
        states = self.last_snapshot.get("zones")
        if not isinstance(states, list):
            return {}
        for state in states:
            if isinstance(state, dict) and (state.get("node"), state.get("zone")) == (zone.node, zone.idx):
                return state
        return {}

    def _misplaced(self) -> set[int]:
        """PFNs that are on a per-CPU list of the model or of the recording, but not of both."""
        moved: set[int] = set()
        for zone in self.model.k.zones:
            pcps = self._recorded_zone(zone).get("pcp")
            for pcp, entry in zip(zone.per_cpu_pageset, pcps if isinstance(pcps, list) else [], strict=False):
                lists = entry.get("lists") if isinstance(entry, dict) else None
                for mine, theirs in zip(pcp.lists, lists if isinstance(lists, list) else [], strict=False):
                    pfns = theirs if isinstance(theirs, list) else []
                    moved ^= set(mine) ^ {pfn for pfn in pfns if type(pfn) is int}
        return moved

    def _explain_end(self, mismatch: Mismatch) -> bool:
        """Find one more lost trylock or order after which fewer pages are out of place at the end."""
        misplaced = self._misplaced()
        end = len(self.operations)
        for cause in list(self._suspects(end, _pages_of(mismatch) | misplaced)):
            place = self._place(cause.index)
            if self._try(cause, end - 1):
                if len(self._misplaced()) < len(misplaced):
                    return True
                self._withdraw(cause, place)
        self._rewind(end)
        return False

    # --- the run -------------------------------------------------------------------------------

    def run(self, *, keep_going: bool = False) -> Iterator[int]:
        """Replay it all; yields line numbers as it goes.

        A mismatch ends it: a natural recording has no snapshot to resume at but the last one,
        so ``keep_going`` changes nothing.
        """
        end = len(self.operations)
        while self._at < end:
            at = self._at
            mismatch = self._perform_next()
            if mismatch is not None and not self._explain(at, mismatch):
                self.result.mismatches.append(mismatch)
                self._count(at)
                return
            yield self.operations[at].lineno
        mismatch = self._final_difference()
        while mismatch is not None and self._explain_end(mismatch):
            mismatch = self._final_difference()
        self._count(end)
        if mismatch is not None:
            self.result.mismatches.append(mismatch)
        else:
            self.result.snapshots += 1
        yield self.last_line

    def position(self) -> int:
        """How far the replay is, as bytes of the file (which is read at once)."""
        return self.reader.size * self._at // max(len(self.operations), 1)

    def _count(self, end: int) -> None:
        result = self.result
        for operation in self.operations[:end]:
            if operation.kind == "bulk":
                assert isinstance(operation.expected, list)
                result.operations += len(operation.expected)
            elif operation.kind != "prepare":
                result.operations += 1
        counts = dict.fromkeys((*RESYNC_CAUSES, *INFERRED_INPUTS), 0)
        for cause in self.causes:
            counts[cause.kind] += 1
        counts["split"] = len(self._splits)
        counts["idle-fold"] += self._final_folds
        counts["boost-cleared"] += self._final_boosts
        result.resyncs = counts


def name_zones(operations: list[Operation], k: Kernel) -> None:
    """Find the zone of each decay: the log has its index alone, and a CPU goes through the zones node by node.

    The place in `Kernel.zones` goes into the operation's `ref`.  Raises `InputError`, with the line of the log, for
    an index that no zone has.
    """
    last: dict[tuple[int, str], int] = {}
    for operation in operations:
        if operation.name in ("decay_pcp_high", "drain_zone_pages"):
            places = [place for place, zone in enumerate(k.zones) if zone.idx == operation.order]
            if not places:
                raise InputError(f"line {operation.lineno}: there is no zone {operation.order}")
            before = last.get((operation.cpu, operation.name), -1)
            operation.ref = next((place for place in places if place > before), places[0])
            last[operation.cpu, operation.name] = operation.ref


def _mismatch(operation: Operation, lineno: int, path: str, expected: Any, got: Any) -> Mismatch:
    return Mismatch(lineno, operation.index, path, expected, got, operation.describe())


def _fold_as_recorded(k: Kernel, zone: Zone, state: dict[str, Any]) -> int:
    """Bring the per-CPU diffs to what was recorded if only folding explains the difference.

    Folding moves pages between a diff and the counter and keeps their sum.  Returns the CPUs that folded.
    """
    pcps, counter = state.get("pcp"), state.get("nr_free_pages")
    if not isinstance(pcps, list) or type(counter) is not int:
        return 0
    recorded = [pcp.get("free_diff") if isinstance(pcp, dict) else None for pcp in pcps]
    diffs = [diff for diff in recorded if type(diff) is int]
    if len(diffs) != k.machine.nr_cpus:
        return 0
    if counter + sum(diffs) != zone_free_pages_exact(zone):
        return 0
    folded = 0
    for stat, diff in zip(zone.per_cpu_zonestats, diffs, strict=True):
        if abs(diff) > stat.stat_threshold:
            return 0
        folded += stat.nr_free_pages_diff != diff
    zone.nr_free_pages = counter
    for stat, diff in zip(zone.per_cpu_zonestats, diffs, strict=True):
        stat.nr_free_pages_diff = diff
    return folded


def _pages_of(mismatch: Mismatch) -> set[int]:
    """The PFNs that a difference is about."""
    pages: set[int] = set()
    for side in (mismatch.expected, mismatch.got):
        for value in side if isinstance(side, list) else [side]:
            if type(value) is int and value > 0:
                pages.add(value)
    return pages
