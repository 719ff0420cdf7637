# SPDX-License-Identifier: GPL-2.0-only
"""A recording's operations on any variant: the same requests, without comparing what comes of them.

The machine boots in the state of the recording's first snapshot.  From there on PFNs differ from the kernel's, so each
allocation of the recording is followed by what it got here, and its free frees that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from pageblock_buddy.accounting import Accounting
from pageblock_buddy.errors import CallerError, InputError
from pageblock_buddy.gfp import MIGRATE_MOVABLE, MIGRATE_PCPTYPES, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE
from pageblock_buddy.invariants import pages_by_place
from pageblock_buddy.linux_6_12.free import covering_block
from pageblock_buddy.linux_6_12.pcp import NR_LOWORDER_PCP_LISTS
from pageblock_buddy.machine.cpu import Context
from pageblock_buddy.mm.calls import Calls
from pageblock_buddy.mm.kernel import Kernel, page_zone
from pageblock_buddy.mm.page import PG_ALLOCATED, PG_NONE
from pageblock_buddy.recording.machine_of import boot_recording, config_of_snapshot, cpus_of, snapshot_zones
from pageblock_buddy.recording.reader import RecordingReader
from pageblock_buddy.replay.natural import name_zones
from pageblock_buddy.replay.natural_items import natural_operations
from pageblock_buddy.replay.result import Operation
from pageblock_buddy.replay.scripted import scripted_items
from pageblock_buddy.system import System
from pageblock_buddy.variants import DEFAULT_VARIANT, get_variant

Path = str | os.PathLike[str]
JsonObject = dict[str, Any]

#: Why an operation could not be performed.
FAILED_HERE: Final = "free of what could not be allocated here"
KNOWN_HERE: Final = "free of a page from before the recording that is something else here"
#: folio batches are no longer than this
_FOLIO_BATCH: Final = 31


@dataclass(slots=True)
class ElsewhereResult:
    """What became of a recording's operations on a variant.

    ``operations`` counts what was performed, as ReplayResult does: allocations (failed ones too), frees, pages of bulk
    allocations, drains.  ``not_performed`` counts the others by reason; a reason "refused: ..." has an error's code.
    ``failed_allocations`` failed here; ``failed_in_recording`` failed on the recorded machine.
    """

    recording: str
    variant: str
    system: System
    account: Accounting | None
    operations: int = 0
    failed_allocations: int = 0
    failed_in_recording: int = 0
    not_performed: dict[str, int] = field(default_factory=dict)


def perform_recording(
    path: Path, variant: str, *, validate_every: int | None = None, accounting: bool = False
) -> ElsewhereResult:
    """Perform a recording's operations on a variant.

    With ``validate_every`` n every invariant is checked after n operations each, and at the end; with ``accounting``
    everything behind the first snapshot is counted.
    Errors: InputError for a file that cannot be used; UnknownVariant; ModelBug for an invariant that fails.
    """
    calls = get_variant(variant).calls
    with RecordingReader(path) as reader:
        performer, operations = (_scripted if reader.meta.scripted else _natural)(reader, variant, calls)
        result = performer.result
        k = result.system.kernel
        if accounting:
            result.account = Accounting.attach(k)
        unchecked = 0
        for operation, perform in operations:
            k.machine.cpu = operation.cpu if 0 <= operation.cpu < k.machine.nr_cpus else 0
            k.machine.context = Context.SOFTIRQ if operation.in_irq else Context.TASK
            try:
                perform(operation)
            except CallerError as error:
                performer.pass_over(f"refused: {error.code}")
            unchecked += 1
            if unchecked == validate_every:
                result.system.validate()
                unchecked = 0
        if result.account is not None:
            result.account.detach()
        if validate_every is not None:
            result.system.validate()
        return result


# --- booting -----------------------------------------------------------------------------------


def _boot(reader: RecordingReader, lineno: int, record: object, variant: str, calls: Calls) -> System:
    try:
        kernel = boot_recording(_relisted(record, calls), reader.meta, calls, None)
    except InputError as error:
        raise reader.error(error.message, lineno) from None
    if calls.after_load is not None:
        calls.after_load(kernel)
    return System(kernel, variant, total_pages=sum(pages_by_place(kernel).values()))


def _relisted(record: object, calls: Calls) -> JsonObject:
    """The snapshot with its per-CPU lists where this variant has them.  Errors: InputError.

    The list of huge pages that are not movable is shared by two types: a block there goes by its pageblock's.
    """
    zones = snapshot_zones(record)
    config = config_of_snapshot(zones, (0,) * len(cpus_of(zones)))
    recorded, k = Kernel(config, get_variant(DEFAULT_VARIANT).calls), Kernel(config, calls)
    orders = [recorded.calls.pindex_to_order(recorded, pindex) for pindex in range(recorded.nr_pcp_lists)]
    relisted = []
    for zone in zones:
        types, first_block = str(zone.get("block_mt")), zone["start"] >> k.pageblock_order
        pcps = []
        for pcp in zone["pcp"]:
            lists: list[list[int]] = [[] for _ in range(k.nr_pcp_lists)]
            for pindex, pfn in _on_lists(pcp, len(orders)):
                order, mt = orders[pindex], pindex % MIGRATE_PCPTYPES
                if order == recorded.hpage_order:
                    mt = _huge_page_type(pindex, types, (pfn >> k.pageblock_order) - first_block)
                to = calls.order_to_pindex(k, mt, order)
                if to >= len(lists):
                    raise InputError(f"pfn {pfn} of order {order} is on a per-CPU list that this variant does not have")
                lists[to].append(pfn)
            pcps.append({**pcp, "lists": lists})
        relisted.append({**zone, "pcp": pcps})
    return {"t": "snap", "zones": relisted}


def _on_lists(pcp: JsonObject, nr_lists: int) -> Iterator[tuple[int, int]]:
    """(recorded pindex, PFN) of everything on a recorded CPU's lists, head first."""
    lists = pcp.get("lists")
    if not isinstance(lists, list) or len(lists) != nr_lists or not all(isinstance(one, list) for one in lists):
        raise InputError(f"a zone's per-CPU lists are not {nr_lists} lists")
    for pindex, pfns in enumerate(lists):
        for pfn in pfns:
            if type(pfn) is not int:
                raise InputError(f"{pfn!r} on a per-CPU list is not a PFN")
            yield pindex, pfn


def _huge_page_type(pindex: int, types: str, block: int) -> int:
    """Whose list a recorded huge page belongs to: the last one is MOVABLE's, the one before it the other types'."""
    if pindex != NR_LOWORDER_PCP_LISTS:
        return MIGRATE_MOVABLE
    return MIGRATE_RECLAIMABLE if types[block : block + 1] == str(MIGRATE_RECLAIMABLE) else MIGRATE_UNMOVABLE


# --- performing --------------------------------------------------------------------------------

Performed = Iterator[tuple[Operation, Callable[[Operation], None]]]


class _Performer:
    """Performs operations and keeps count."""

    def __init__(self, reader: RecordingReader, system: System) -> None:
        self.system = system
        self.result = ElsewhereResult(reader.name, system.variant, system, None)

    def pass_over(self, why: str) -> None:
        """Count an operation that was not performed."""
        self.result.not_performed[why] = self.result.not_performed.get(why, 0) + 1

    def count_pages(self, got: list[int | None], recorded: list[int]) -> None:
        """Count allocations, by what they gave here and on the recorded machine (-1: nothing)."""
        self.result.operations += len(recorded)
        self.result.failed_allocations += got.count(None)
        self.result.failed_in_recording += recorded.count(-1)


class _ScriptedPerformer(_Performer):
    """Scripted runs name the operation that allocated what they free."""

    def __init__(self, reader: RecordingReader, system: System) -> None:
        super().__init__(reader, system)
        #: op index -> PFN that was handed out here and is not freed yet
        self.held: dict[int, int] = {}

    def perform(self, operation: Operation) -> None:
        system, index = self.system, operation.index
        match operation.kind, operation.expected:
            case "alloc", int(recorded):
                self._hold(index, [system.alloc_pages(operation.gfp, operation.order)], [recorded])
            case "bulk", list(recorded_pages):
                slots: list[int | None] = [None] * operation.nr_pages
                system.fill_pages_bulk(operation.gfp, slots)
                self._hold(index + 1, slots, recorded_pages)
            case "free", recorded:
                pfn = self.held.pop(operation.ref, None)
                if pfn is not None:
                    system.free_pages(pfn, operation.order)
                    self.result.operations += 1
                elif recorded != -1:
                    self.pass_over(FAILED_HERE)
            case _:
                system.drain_local_pages()
                self.result.operations += 1

    def _hold(self, index: int, got: list[int | None], recorded: list[int]) -> None:
        self.held.update((index + i, pfn) for i, pfn in enumerate(got) if pfn is not None)
        self.count_pages(got, recorded)


def _scripted(reader: RecordingReader, variant: str, calls: Calls) -> tuple[_Performer, Performed]:
    items = scripted_items(reader)
    first = next(items, None)
    if first is None or isinstance(first, Operation):
        raise reader.error("the recording does not begin with a snapshot")
    performer = _ScriptedPerformer(reader, _boot(reader, first.lineno, first.record, variant, calls))
    return performer, ((item, performer.perform) for item in items if isinstance(item, Operation))


class _NaturalPerformer(_Performer):
    """Natural runs name what they free by its PFN on the recorded machine."""

    def __init__(self, reader: RecordingReader, system: System) -> None:
        super().__init__(reader, system)
        #: first PFN on the recorded machine -> first PFN here (None: it could not be allocated), and order
        self.held: dict[int, tuple[int | None, int]] = {}

    def perform(self, operation: Operation) -> None:
        system = self.system
        match operation.kind, operation.expected:
            case "alloc", int(recorded):
                pfn = system.alloc_pages(operation.gfp, operation.order)
                self.held[recorded] = pfn, operation.order
                self.count_pages([pfn], [recorded])
            case "bulk", list(recorded_pages):
                # As many as the kernel got, so that the run goes on with as many pages in use.
                slots: list[int | None] = [None] * len(recorded_pages)
                system.fill_pages_bulk(operation.gfp, slots)
                self.held.update((page, (pfn, 0)) for page, pfn in zip(recorded_pages, slots, strict=True))
                self.count_pages(slots, recorded_pages)
            case "free", _:
                pfn = self._take(operation)
                if pfn is not None:
                    system.free_pages(pfn, operation.order)
                    self.result.operations += 1
            case _:
                self._call(operation)
                self.result.operations += 1

    def perform_batch(self, commits: list[Operation]) -> Callable[[Operation], None]:
        """A batch of folios that entered the per-CPU lists one right after the other."""

        def perform(_: Operation) -> None:
            found = [(self._take(commit), commit.order) for commit in commits]
            folios = [(pfn, order) for pfn, order in found if pfn is not None]
            self.system.free_folios(folios)
            self.result.operations += len(folios)

        return perform

    def _call(self, operation: Operation) -> None:
        k = self.system.kernel
        if operation.name == "drain_local_pages":
            self.system.drain_local_pages()
        elif operation.name == "drain_all_pages":
            self.system.drain_all_pages()
        else:
            entry = k.calls.decay_pcp_high if operation.name == "decay_pcp_high" else k.calls.drain_zone_pages
            zone = k.zones[operation.ref]
            entry(k, zone, zone.per_cpu_pageset[k.machine.cpu])

    def _take(self, operation: Operation) -> int | None:
        """What a free of the recording frees here; None (and counted) if that cannot be said."""
        pfn, order = operation.pfn, operation.order
        if self._split_down_to(pfn, order):
            here, _ = self.held.pop(pfn)
            if here is None:
                self.pass_over(FAILED_HERE)
            return here
        if self._adopt(pfn, order):
            return pfn
        self.pass_over(KNOWN_HERE)
        return None

    def _split_down_to(self, pfn: int, order: int) -> bool:
        """Make the part of an allocation that begins at ``pfn`` an allocation of its own.  False: there is none.

        Nothing in the log tells of a split, but that a part is freed does.
        """
        k = self.system.kernel
        for held_order in range(order, k.config.max_page_order + 1):
            head = pfn & -(1 << held_order)
            here, found_order = self.held.get(head, (None, -1))
            if found_order == held_order:
                break
        else:
            return False
        while found_order > order:
            found_order -= 1
            size = 1 << found_order
            lower, upper = (here, found_order), (None if here is None else here + size, found_order)
            self.held[head], self.held[head + size] = lower, upper
            for half, _ in (lower, upper):
                if half is not None:
                    k.mem_map[half] = PG_ALLOCATED | found_order
            if pfn >= head + size:
                head, here = head + size, upper[0]
        return True

    def _adopt(self, pfn: int, order: int) -> bool:
        """Make a page from before the recording an allocation.  False if this machine knows it as something else."""
        k = self.system.kernel
        if not 0 <= order <= k.config.max_page_order or pfn < 0 or pfn % (1 << order):
            return False
        page_zone(k, pfn + (1 << order) - 1)
        if covering_block(k, pfn) is not None or any(k.mem_map[page] for page in range(pfn, pfn + (1 << order))):
            return False
        assert k.mem_map[pfn] == PG_NONE
        k.mem_map[pfn] = PG_ALLOCATED | order
        if self.system.total_pages is not None:
            self.system.total_pages += 1 << order
        return True


def _natural(reader: RecordingReader, variant: str, calls: Calls) -> tuple[_Performer, Performed]:
    items = iter(reader)
    first = next(items, None)
    if first is None:
        raise reader.error("the recording has no snapshot")
    performer = _NaturalPerformer(reader, _boot(reader, *first, variant, calls))
    operations, _, _ = natural_operations(reader, items)
    name_zones(operations, performer.system.kernel)
    return performer, _batched(performer, operations)


def _batched(performer: _NaturalPerformer, operations: list[Operation]) -> Performed:
    """Natural operations, with the frees of one folio batch together again."""
    # A prepared page is still held: it goes when it enters a list.
    performed = (operation for operation in operations if operation.kind != "prepare")
    for (committing, _, _), group in groupby(performed, lambda o: (o.kind == "commit", o.cpu, o.in_irq)):
        if not committing:
            yield from ((operation, performer.perform) for operation in group)
            continue
        commits = list(group)
        for start in range(0, len(commits), _FOLIO_BATCH):
            yield commits[start], performer.perform_batch(commits[start : start + _FOLIO_BATCH])
