# SPDX-License-Identifier: GPL-2.0-only
"""An abstract allocator: a map of extents, and the rules that every page allocator has to keep.

It shares no code with the mirrored modules (it imports the errors and nothing else), knows no free lists and decides
nothing: it *judges*.  Whatever answers is judged alike: a variant of this package, or C or Rust code that was run on
the same program.

    judge = Judge(memory_of(config))            # what the allocator was given
    judge.alloc(pfn, order)                     # after each operation: the allocator's answer
    judge.free(pfn, order)
    judge.state(observe(system.snapshot()))     # between two operations: where every page is

A rule that does not hold is raised as :class:`Violation`, with the rule's stable name in ``rule``; :data:`RULES` lists
them all.  Once a judge has raised, throw it away: what it knows and what the allocator did are no longer the same.

An *observation* says where every page is, in JSON types, so that any program can write one::

    {
      "format": "pageblock-buddy-observation", "version": 1,
      "pageblock_order": 3, "max_order": 4,
      "memory": [[first PFN, pages], ...],           what the allocator was given; optional
      "allocated": [[PFN, order, compound 0/1, references], ...],
      "held_locks": ["zone->lock", ...],             optional; locks that nobody released
      "zones": [{
        "name": "0/1", "start": PFN, "end": PFN behind the last,
        "free": [[PFN, order, type], ...],           the zone's free lists, each block with its list's order and type
        "nr_free": [blocks of order 0, 1, ...],      the allocator's own counters; optional
        "deferred": [[PFN, order], ...],             trylock_free_pages
        "types": [[block PFN, type], ...],           of pageblocks; optional
        "owners": [[block PFN, CPU], ...],           owned pageblocks; who is not named is owned by nobody
        "marked": [PFN, ...],                        every page that has PagePCPBuddy, wherever it is
        "cpus": [{
          "cpu": 0, "online": true,
          "count": pages,                            pcp->count; optional
          "chunks": [[PFN, order, order of the list], ...],
          "llist": [[PFN, order], ...],              free_llist
          "listed": [block PFN, ...]                 owned_blocks, all types
        }, ...]
      }, ...]
    }

The order of entries in a list says nothing.  The rules are those of the RFC's invariants I1 to I12 (RFC-11 in
docs/spec/pcp-buddy.md) as far as a single state shows them; changes are for monitor.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NoReturn, TypeVar

# "unused-ignore": with the stubs of the extra "test" there is nothing to ignore
from sortedcontainers import SortedDict  # type: ignore[import-untyped, unused-ignore]

from pageblock_buddy.errors import InputError, JsonValue, PageblockBuddyError

FORMAT: Final = "pageblock-buddy-observation"
VERSION: Final = 1
#: a CPU's lists come in threes, one for each type that has any
PCP_TYPES: Final = 3

#: No allocator has larger orders than this; a hostile observation shall not make us compute 1 << 10^9.
MAX_ORDER_LIMIT: Final = 20

JsonObject = dict[str, Any]

#: Rules of single operations: name -> what it says.
OPERATION_RULES: Final[dict[str, str]] = {
    "alloc-outside": "an allocation lies in the memory that the allocator was given",
    "alloc-misaligned": "an allocation starts at a multiple of its size",
    "alloc-overlap": "an allocation shares no page with another one",
    "alloc-too-many": "a bulk allocation gives no more pages than were asked for",
    "free-unknown": "what is freed starts an allocation",
    "free-order": "what is freed has the order of its allocation",
    "free-references": "no more references are put than there are",
    "free-refused": "a free of an allocation with its own order is accepted",
    "split-unknown": "what is split starts an allocation",
    "split-order": "what is split has the order of its allocation",
    "split-compound": "a compound allocation is not split",
    "get-unknown": "a reference is taken to the first page of an allocation",
    "references": "the allocator counts the references that were taken and not put",
    "books": "the allocator knows the same allocations as its users",
}

#: Rules of single states: name -> what it says.
STATE_RULES: Final[dict[str, str]] = {
    "align": "every block starts at a multiple of its size, and no order is larger than the largest",
    "zone": "every block lies in one zone, and what a zone or its CPUs hold in that zone",
    "place": "I1: no page is in two places",
    "conservation": "I1: the pages of all places are the memory that was given: none is lost, none is foreign",
    "owner": "an owner is a CPU that exists, and owns each block of the zone once",
    "mark": "I2: a marked chunk lies with its block's owner and inside the block",
    "unowned": "I3: a block that nobody owns is on no list of owned blocks and has no marked chunk",
    "listed": "I3: a listed block is a pageblock of that zone and owned by that CPU",
    "listed-twice": "I3: a block is listed once",
    "count": "I7: pcp->count is the pages on the lists",
    "nr-free": "I7: nr_free is the length of the lists of its order",
    "stray-mark": "I8: no page outside a CPU's lists is marked",
    "locks": "I9: no lock is held between operations",
    "merged": "I10: no two free buddies of equal order below pageblock_order in a zone",
    "index": "I12: a CPU's list holds chunks of the order that its index says",
    "list-type": "a free block is on the list of its pageblocks' type",
    "dead-cpu": "RFC-8: a CPU that is offline holds no page, owns no block and lists none",
}

#: All rules, and the one of the map itself.
RULES: Final[dict[str, str]] = {
    **OPERATION_RULES,
    **STATE_RULES,
    "structure": "the judge's own map is sound; a mistake in this module",
}


class Violation(PageblockBuddyError):
    """The allocator under judgement broke a rule.

    ``rule`` is one of :data:`RULES`; it is in ``details`` too, beside the numbers of the message.
    """

    code = "violation"
    fault = "model"
    hint = "the allocator that was judged is wrong: reduce the program to the first operation that raises this"

    def __init__(self, rule: str, message: str, **details: JsonValue) -> None:
        super().__init__(f"{rule}: {message}", rule=rule, **details)
        self.rule = rule


def _fail(rule: str, message: str, **details: JsonValue) -> NoReturn:
    raise Violation(rule, message, **details)


# --- the map -----------------------------------------------------------------------------------

V = TypeVar("V")


class ExtentMap(Generic[V]):
    """Disjoint extents of PFNs, each with a value, in the order of their PFNs.

    n is the number of extents.  ``pages`` is the sum of their sizes.
    """

    __slots__ = ("_by_first", "pages")

    def __init__(self) -> None:
        self._by_first: SortedDict[int, tuple[int, V]] = SortedDict()  # first PFN -> (PFN behind the last, value)
        self.pages = 0

    def add(self, first: int, end: int, value: V) -> None:
        """Add an extent.  Violation "structure" if it is empty or not free: ask overlap() first.  O(log n)."""
        if not 0 <= first < end or self.overlap(first, end) is not None:
            _fail("structure", f"the extent {first}..{end - 1} is empty, or not free", first=first, end=end)
        self._by_first[first] = (end, value)
        self.pages += end - first

    def remove(self, first: int) -> tuple[int, V]:
        """Remove the extent that starts at ``first``.  Its end and value; KeyError if there is none.  O(log n)."""
        end, value = self._by_first.pop(first)
        self.pages -= end - first
        return end, value

    def get(self, first: int) -> tuple[int, V] | None:
        """End and value of the extent that starts at ``first``, or None.  O(1)."""
        found: tuple[int, V] | None = self._by_first.get(first)
        return found

    def overlap(self, first: int, end: int) -> tuple[int, int, V] | None:
        """(first, end, value) of the lowest extent that shares a page with ``first``..``end`` - 1.  O(log n)."""
        by_first = self._by_first
        index = by_first.bisect_right(first) - 1
        if index >= 0:
            start, (stop, value) = by_first.peekitem(index)
            if stop > first:
                return start, stop, value
        if index + 1 < len(by_first):
            start, (stop, value) = by_first.peekitem(index + 1)
            if start < end:
                return start, stop, value
        return None

    def covers(self, first: int, end: int) -> bool:
        """Whether every page of ``first``..``end`` - 1 is in an extent.  O(log n) for each extent that it takes."""
        while first < end:
            found = self.overlap(first, first + 1)
            if found is None:
                return False
            first = found[1]
        return True

    def __iter__(self) -> Iterator[tuple[int, int, V]]:
        """(first, end, value), ascending.  O(n)."""
        for first, (end, value) in self._by_first.items():
            yield first, end, value

    def __len__(self) -> int:
        return len(self._by_first)

    def difference(self, other: ExtentMap[Any]) -> tuple[int, int] | None:
        """The first range that is in this map and not in ``other``, or None.  O(n log n)."""
        for first, end, _ in self:
            start = first
            while start < end:
                found = other.overlap(start, end)
                if found is None:
                    return start, end
                if found[0] > start:
                    return start, found[0]
                start = found[1]
        return None

    def _check(self) -> None:
        """Violation "structure" if extents overlap, are empty, or do not add up.  O(n)."""
        last, pages = 0, 0
        for first, end, _ in self:
            if not last <= first < end:
                _fail("structure", f"the extent {first}..{end - 1} is empty or overlaps", first=first, end=end)
            last = end
            pages += end - first
        if pages != self.pages:
            _fail("structure", f"the extents have {pages} pages, {self.pages} were counted", pages=pages)


# --- operations --------------------------------------------------------------------------------


@dataclass(slots=True)
class Allocation:
    """What a user holds: 2^``order`` pages with ``references``."""

    order: int
    compound: bool = False
    references: int = 1


class Judge:
    """Knows what an allocator was given and gave away, and judges each of its answers.

    ``memory`` is (first PFN, pages) of what it was given; InputError for ranges that overlap.  Each method is called
    after the operation, with the allocator's answer; a failed allocation needs no call.  n is the number of
    allocations; every operation is O(log n) a page or block unless it says otherwise.
    """

    def __init__(self, memory: Iterable[tuple[int, int]]) -> None:
        self._memory = _memory_map(memory)
        self._allocated: ExtentMap[Allocation] = ExtentMap()

    @property
    def given(self) -> int:
        """Pages that the allocator was given.  O(1)."""
        return self._memory.pages

    @property
    def allocated(self) -> int:
        """Pages that users hold.  O(1)."""
        return self._allocated.pages

    @property
    def free_pages(self) -> int:
        """Pages that the allocator must still have somewhere: given = free + allocated.  O(1)."""
        return self._memory.pages - self._allocated.pages

    def __len__(self) -> int:
        return len(self._allocated)

    def get(self, pfn: int) -> Allocation | None:
        """The allocation that starts at ``pfn``, or None.  O(1)."""
        found = self._allocated.get(pfn)
        return None if found is None else found[1]

    def allocations(self) -> list[list[int]]:
        """Every allocation as [first PFN, order, compound 0/1, references], ascending.  O(n)."""
        return [[pfn, a.order, int(a.compound), a.references] for pfn, _, a in self._allocated]

    # - allocate -

    def alloc(self, pfn: int, order: int = 0, *, compound: bool = False) -> None:
        """2^order pages were allocated.  Rules: alloc-misaligned, alloc-outside, alloc-overlap."""
        end = pfn + (1 << order)
        if pfn % (1 << order):
            _fail("alloc-misaligned", f"pfn {pfn} is no multiple of {1 << order}", pfn=pfn, order=order)
        self._take(pfn, end)
        self._allocated.add(pfn, end, Allocation(order, compound and order > 0))

    def alloc_bulk(self, pfns: Sequence[int], asked: int) -> None:
        """Single pages were allocated, ``asked`` for at most.  Rules: alloc-too-many and those of alloc()."""
        if len(pfns) > asked:
            _fail("alloc-too-many", f"{asked} pages were asked for, {len(pfns)} came", asked=asked, got=len(pfns))
        for pfn in pfns:
            self.alloc(pfn)

    def alloc_exact(self, pfn: int, nr_pages: int) -> None:
        """``nr_pages`` contiguous pages were allocated, each to be freed on its own.  Rules: those of alloc().

        They start like the smallest power of two that holds them; its surplus stays free.
        """
        order = (nr_pages - 1).bit_length()
        if pfn % (1 << order):
            _fail("alloc-misaligned", f"pfn {pfn} is no multiple of {1 << order}", pfn=pfn, order=order)
        for page in range(pfn, pfn + nr_pages):
            self.alloc(page)

    def _take(self, pfn: int, end: int) -> None:
        if not self._memory.covers(pfn, end):
            _fail("alloc-outside", f"{pfn}..{end - 1} is not all in the given memory", pfn=pfn, end=end)
        other = self._allocated.overlap(pfn, end)
        if other is not None:
            _fail(
                "alloc-overlap",
                f"{pfn}..{end - 1} overlaps the allocation {other[0]}..{other[1] - 1}",
                pfn=pfn,
                end=end,
                other=other[0],
            )

    # - free -

    def free(self, pfn: int, order: int = 0) -> None:
        """The allocator accepted a free, which puts one reference.  Rules: free-unknown, free-order.

        The last reference frees.  With references left, a block that is not compound loses all pages but the first.
        """
        allocation = self._named(pfn, order, "free")
        if allocation.references == 1:
            self._allocated.remove(pfn)
            return
        allocation.references -= 1
        if not allocation.compound and order:
            self._allocated.remove(pfn)
            allocation.order = 0
            self._allocated.add(pfn, pfn + 1, allocation)

    def free_exact(self, pfn: int, nr_pages: int) -> None:
        """The pages of alloc_exact() were freed.  Rules: as free()."""
        for page in range(pfn, pfn + nr_pages):
            self.free(page)

    def free_folios(self, folios: Sequence[tuple[int, int]]) -> None:
        """The allocator accepted a batch, which puts one reference to each (first PFN, order); a folio may be named
        once for each of its references.

        Folios with references left stay whole.  Rules: as free(), and free-references.
        """
        puts: dict[int, int] = {}
        for pfn, order in folios:
            allocation = self._named(pfn, order, "free")
            puts[pfn] = puts.get(pfn, 0) + 1
            if puts[pfn] > allocation.references:
                _fail("free-references", f"pfn {pfn} has {allocation.references} references", pfn=pfn, puts=puts[pfn])
        for pfn, count in puts.items():
            allocation = self._named(pfn, None, "free")
            allocation.references -= count
            if not allocation.references:
                self._allocated.remove(pfn)

    def refused(self, pfn: int, order: int = 0) -> None:
        """The allocator refused a free.  Rule: free-refused."""
        allocation = self.get(pfn)
        if allocation is not None and allocation.order == order:
            _fail("free-refused", f"pfn {pfn} is an allocation of order {order}", pfn=pfn, order=order)

    # - references and splitting -

    def split_page(self, pfn: int, order: int) -> None:
        """An allocation became 2^order of one page; the first keeps its references.

        Rules: split-unknown, split-order, split-compound.
        """
        allocation = self._named(pfn, order, "split")
        if allocation.compound:
            _fail("split-compound", f"pfn {pfn} is a compound allocation", pfn=pfn, order=order)
        self._allocated.remove(pfn)
        for page in range(pfn, pfn + (1 << order)):
            self._allocated.add(page, page + 1, Allocation(0, references=allocation.references if page == pfn else 1))

    def get_page(self, pfn: int) -> None:
        """Another reference was taken.  Rule: get-unknown."""
        self._named(pfn, None, "get").references += 1

    def page_count(self, pfn: int, references: int) -> None:
        """The allocator said how many references ``pfn`` has; 0: no allocation starts there.  Rule: references."""
        allocation = self.get(pfn)
        expected = 0 if allocation is None else allocation.references
        if references != expected:
            _fail("references", f"pfn {pfn} has {expected} references, not {references}", pfn=pfn, expected=expected)

    def _named(self, pfn: int, order: int | None, what: str) -> Allocation:
        allocation = self.get(pfn)
        if allocation is None:
            inside = self._allocated.overlap(pfn, pfn + 1)
            where = "is not allocated" if inside is None else f"is inside the allocation at {inside[0]}"
            _fail(f"{what}-unknown", f"pfn {pfn} {where}", pfn=pfn)
        if order is not None and allocation.order != order:
            message = f"pfn {pfn} was allocated with order {allocation.order}, not {order}"
            _fail(f"{what}-order", message, pfn=pfn, order=order)
        return allocation

    # - states -

    def state(self, observation: Mapping[str, Any], *, dead_cpus_keep: bool = False) -> None:
        """Judge a state between two operations: every rule of states, and that both sides know the same allocations.

        The memory is this judge's, whatever the observation says.  Rules: STATE_RULES, books; InputError if this is no
        observation.  O(b log b) for b blocks.
        """
        mine = self.allocations()
        theirs = sorted(map(list, _numbers(observation.get("allocated", []), "allocated", 4)))
        if mine != theirs:
            different = next((m for m, t in zip(mine, theirs, strict=False) if m != t), None)
            _fail(
                "books",
                f"users hold {len(mine)} allocations, the allocator knows {len(theirs)}; first difference: {different}",
                users=len(mine),
                allocator=len(theirs),
            )
        check_state({**observation, "memory": self.memory()}, dead_cpus_keep=dead_cpus_keep)

    def memory(self) -> list[list[int]]:
        """What the allocator was given, as [first PFN, pages].  O(ranges)."""
        return [[first, end - first] for first, end, _ in self._memory]

    def _check(self) -> None:
        """The judge's own structure.  Violation "structure".  O(n log n)."""
        self._memory._check()
        self._allocated._check()
        for first, end, allocation in self._allocated:
            if end - first != 1 << allocation.order or allocation.references < 1:
                _fail("structure", f"the allocation at {first} has {end - first} pages", pfn=first)
            if not self._memory.covers(first, end):
                _fail("structure", f"the allocation at {first} is outside the memory", pfn=first)


def memory_of(config: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(first PFN, pages) of what a booted machine's allocator is given, from Config.to_dict(): the zones without their
    holes and reserved ranges.  O(ranges log ranges).
    """
    memory = []
    for zone in config["zones"]:
        start, end = zone["start_pfn"], zone["start_pfn"] + zone["spanned_pages"]
        for first, pages in sorted([*map(tuple, zone["holes"]), *map(tuple, zone["reserved"])]):
            if start < first:
                memory.append((start, first - start))
            start = first + pages
        if start < end:
            memory.append((start, end - start))
    return memory


# --- states ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Cpu:
    cpu: int
    online: bool
    count: int | None
    chunks: list[tuple[int, int, int]]
    llist: list[tuple[int, int]]
    listed: list[int]


@dataclass(slots=True)
class _Zone:
    name: str
    start: int
    end: int
    free: list[tuple[int, int, int]]
    nr_free: list[int] | None
    deferred: list[tuple[int, int]]
    types: dict[int, int] | None
    owner_entries: list[tuple[int, int]]
    marked: list[int]
    owners: dict[int, int]
    cpus: list[_Cpu]

    def places(self) -> Iterator[tuple[int, int, str]]:
        """(PFN, order, place) of every block that the zone and its CPUs hold."""
        for pfn, order, _ in self.free:
            yield pfn, order, "a free list"
        for pfn, order in self.deferred:
            yield pfn, order, "the deferred list"
        for cpu in self.cpus:
            for pfn, order, _ in cpu.chunks:
                yield pfn, order, f"a list of CPU {cpu.cpu}"
            for pfn, order in cpu.llist:
                yield pfn, order, f"the llist of CPU {cpu.cpu}"


@dataclass(slots=True)
class _State:
    pageblock_order: int
    max_order: int
    memory: ExtentMap[None] | None
    allocated: list[tuple[int, int]]
    held_locks: list[str]
    zones: list[_Zone]

    @property
    def block_pages(self) -> int:
        return 1 << self.pageblock_order

    def block_of(self, pfn: int) -> int:
        """First PFN of the pageblock."""
        return pfn - pfn % self.block_pages

    def blocks_of(self, pfn: int, order: int) -> range:
        """First PFNs of the pageblocks that a block touches."""
        return range(self.block_of(pfn), pfn + (1 << order), self.block_pages)


def _numbers(value: Any, what: str, width: int) -> list[Any]:
    """A list of tuples of ``width`` whole numbers; the observation may come from any program."""
    entries = [tuple(_flat(entry, what)) for entry in _sequence(value, what)]
    if not all(len(entry) == width for entry in entries):
        raise InputError(f"observation: {what} is not a list of {width} whole numbers each")
    return entries


def _objects(value: Any, what: str) -> list[Mapping[str, Any]]:
    objects = [entry for entry in _sequence(value, what) if isinstance(entry, Mapping)]
    if len(objects) != len(value):
        raise InputError(f"observation: {what} is not a list of objects")
    return objects


def _sequence(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise InputError(f"observation: {what} is not a list")
    return value


def _whole(value: Any, what: str, largest: int = 1 << 62) -> int:
    if type(value) is not int or not 0 <= value <= largest:
        raise InputError(f"observation: {what} is not a whole number from 0 to {largest}")
    return value


def _flat(value: Any, what: str) -> list[int]:
    return [_whole(entry, what) for entry in _sequence(value, what)]


def _read(observation: Mapping[str, Any]) -> _State:
    """The observation in our own structures.  InputError if it is none."""
    if observation.get("format") != FORMAT or observation.get("version") != VERSION:
        raise InputError(f"not an observation: format and version are not {FORMAT!r} and {VERSION}")
    memory = observation.get("memory")
    return _State(
        pageblock_order=_whole(observation.get("pageblock_order"), "pageblock_order", MAX_ORDER_LIMIT),
        max_order=_whole(observation.get("max_order"), "max_order", MAX_ORDER_LIMIT),
        memory=None if memory is None else _memory_map(_numbers(memory, "memory", 2)),
        allocated=[(pfn, order) for pfn, order, _, _ in _numbers(observation.get("allocated", []), "allocated", 4)],
        held_locks=[str(name) for name in _sequence(observation.get("held_locks", []), "held_locks")],
        zones=[_read_zone(zone) for zone in _objects(observation.get("zones"), "zones")],
    )


def _read_zone(zone: Mapping[str, Any]) -> _Zone:
    types, nr_free = zone.get("types"), zone.get("nr_free")
    owner_entries = _numbers(zone.get("owners", []), "owners", 2)
    return _Zone(
        name=str(zone.get("name")),
        start=_whole(zone.get("start"), "start"),
        end=_whole(zone.get("end"), "end"),
        free=_numbers(zone.get("free", []), "free", 3),
        nr_free=None if nr_free is None else _flat(nr_free, "nr_free"),
        deferred=_numbers(zone.get("deferred", []), "deferred", 2),
        types=None if types is None else dict(_numbers(types, "types", 2)),
        owner_entries=owner_entries,
        owners=dict(owner_entries),
        marked=_flat(zone.get("marked", []), "marked"),
        cpus=[_read_cpu(cpu) for cpu in _objects(zone.get("cpus"), "cpus")],
    )


def _read_cpu(cpu: Mapping[str, Any]) -> _Cpu:
    return _Cpu(
        cpu=_whole(cpu.get("cpu"), "cpu"),
        online=bool(cpu.get("online", True)),
        count=None if cpu.get("count") is None else _whole(cpu["count"], "count"),
        chunks=_numbers(cpu.get("chunks", []), "chunks", 3),
        llist=_numbers(cpu.get("llist", []), "llist", 2),
        listed=_flat(cpu.get("listed", []), "listed"),
    )


def _memory_map(ranges: Iterable[tuple[int, int]]) -> ExtentMap[None]:
    memory: ExtentMap[None] = ExtentMap()
    for first, pages in ranges:
        if first < 0 or pages < 1 or memory.overlap(first, first + pages) is not None:
            raise InputError(f"the memory range ({first}, {pages}) is empty or overlaps another one", pfn=first)
        memory.add(first, first + pages, None)
    return memory


def violations(observation: Mapping[str, Any], *, dead_cpus_keep: bool = False) -> Iterator[Violation]:
    """Every rule of states that does not hold, each as often as it is broken; nothing if the state is sound.

    ``dead_cpus_keep`` switches "dead-cpu" off, for allocators (policy offline-keep) that leave a dead CPU what it has.
    InputError if this is no observation.  O(b log b) for b blocks of all places.
    """
    state = _read(observation)
    for zone in state.zones:
        yield from _blocks(state, zone)
        yield from _owners(state, zone)
        yield from _marks(state, zone)
        yield from _lists(state, zone)
        yield from _counts(state, zone)
        yield from _merged(state, zone)
        yield from _list_types(state, zone)
        if not dead_cpus_keep:
            yield from _dead_cpus(zone)
    yield from _places(state)
    for name in state.held_locks:
        yield Violation("locks", f"{name} is held", lock=name)


def check_state(observation: Mapping[str, Any], *, dead_cpus_keep: bool = False) -> None:
    """Raise the first of violations()."""
    for violation in violations(observation, dead_cpus_keep=dead_cpus_keep):
        raise violation


def _blocks(state: _State, zone: _Zone) -> Iterator[Violation]:
    """align, zone, index: what each block shows on its own."""
    for pfn, order, place in zone.places():
        if order > state.max_order or pfn % (1 << order):
            yield Violation("align", f"pfn {pfn} of order {order} on {place}", pfn=pfn, order=order)
        elif not zone.start <= pfn or pfn + (1 << order) > zone.end:
            yield Violation("zone", f"pfn {pfn} of order {order} on {place} of zone {zone.name}", pfn=pfn, order=order)
    for cpu in zone.cpus:
        for pfn, order, list_order in cpu.chunks:
            if order != list_order:
                message = f"pfn {pfn} of order {order} is on CPU {cpu.cpu}'s list for order {list_order}"
                yield Violation("index", message, pfn=pfn, order=order)


def _owners(state: _State, zone: _Zone) -> Iterator[Violation]:
    """owner: the entries themselves."""
    cpus = {cpu.cpu for cpu in zone.cpus}
    seen: dict[int, int] = {}
    for block, cpu in zone.owner_entries:
        if cpu not in cpus:
            yield Violation("owner", f"the block at pfn {block} is owned by CPU {cpu}", pfn=block, cpu=cpu)
        if state.block_of(block) != block or not zone.start - state.block_pages < block < zone.end or block in seen:
            yield Violation("owner", f"pfn {block} is no block of zone {zone.name}, or named twice", pfn=block)
        seen[block] = cpu


def _marks(state: _State, zone: _Zone) -> Iterator[Violation]:
    """mark, unowned, stray-mark: who is marked, and where."""
    chunks = {pfn: (cpu.cpu, order) for cpu in zone.cpus for pfn, order, _ in cpu.chunks}
    for pfn in zone.marked:
        if pfn not in chunks:
            yield Violation("stray-mark", f"pfn {pfn} is marked and on no CPU's list", pfn=pfn)
            continue
        cpu, order = chunks[pfn]
        owner = zone.owners.get(state.block_of(pfn))
        if owner is None:
            yield Violation("unowned", f"pfn {pfn} is marked, and nobody owns its block", pfn=pfn)
        elif owner != cpu:
            yield Violation("mark", f"pfn {pfn} is marked on CPU {cpu}, the owner is {owner}", pfn=pfn, owner=owner)
        if order > state.pageblock_order or pfn % (1 << order):
            yield Violation("mark", f"the marked chunk {pfn} of order {order} leaves its block", pfn=pfn, order=order)


def _lists(state: _State, zone: _Zone) -> Iterator[Violation]:
    """listed, listed-twice, unowned: the lists of owned blocks."""
    listed_on: dict[int, int] = {}
    for cpu in zone.cpus:
        for block in cpu.listed:
            if block in listed_on:
                message = f"the block at pfn {block} is listed on CPU {listed_on[block]} and on CPU {cpu.cpu}"
                yield Violation("listed-twice", message, pfn=block)
            listed_on[block] = cpu.cpu
            owner = zone.owners.get(block)
            if state.block_of(block) != block or not zone.start <= block < zone.end:
                yield Violation("listed", f"pfn {block} is no block of zone {zone.name}", pfn=block)
            elif owner is None:
                yield Violation("unowned", f"the block at pfn {block} is listed, and nobody owns it", pfn=block)
            elif owner != cpu.cpu:
                message = f"the block at pfn {block} of CPU {owner} is listed on CPU {cpu.cpu}"
                yield Violation("listed", message, pfn=block, owner=owner)


def _counts(state: _State, zone: _Zone) -> Iterator[Violation]:
    """count, nr-free: the allocator's own counters."""
    for cpu in zone.cpus:
        pages = sum(1 << list_order for _, _, list_order in cpu.chunks if list_order <= state.max_order)
        if cpu.count is not None and cpu.count != pages:
            yield Violation("count", f"CPU {cpu.cpu} counts {cpu.count} pages of {pages}", cpu=cpu.cpu, pages=pages)
    if zone.nr_free is not None:
        for order, nr_free in enumerate(zone.nr_free):
            blocks = sum(1 for _, block_order, _ in zone.free if block_order == order)
            if nr_free != blocks:
                yield Violation("nr-free", f"order {order}: nr_free {nr_free}, {blocks} blocks", order=order)


def _merged(state: _State, zone: _Zone) -> Iterator[Violation]:
    """merged: the zone's free lists below pageblock_order."""
    heads = {(pfn, order) for pfn, order, _ in zone.free}
    for pfn, order, _ in zone.free:
        if order < state.pageblock_order and not pfn & 1 << order and (pfn + (1 << order), order) in heads:
            message = f"pfn {pfn} and {pfn + (1 << order)} of order {order} are both free"
            yield Violation("merged", message, pfn=pfn, order=order)


def _list_types(state: _State, zone: _Zone) -> Iterator[Violation]:
    """list-type: every pageblock of a free block has the type of its list."""
    if zone.types is None:
        return
    for pfn, order, mt in zone.free:
        for block in state.blocks_of(pfn, min(order, state.max_order)):
            if zone.types.get(block) != mt:
                message = f"pfn {pfn} is on the list of type {mt}, the block at {block} has {zone.types.get(block)}"
                yield Violation("list-type", message, pfn=pfn, type=mt)


def _dead_cpus(zone: _Zone) -> Iterator[Violation]:
    """dead-cpu."""
    for cpu in zone.cpus:
        if not cpu.online and (cpu.chunks or cpu.llist or cpu.listed or cpu.cpu in zone.owners.values()):
            yield Violation("dead-cpu", f"CPU {cpu.cpu} is offline, and has pages or blocks", cpu=cpu.cpu)


def _places(state: _State) -> Iterator[Violation]:
    """place, conservation, and align and zone of allocations: all places together."""
    places: ExtentMap[str] = ExtentMap()
    allocated = [(pfn, order, "an allocation") for pfn, order in state.allocated]
    for pfn, order, _ in allocated:
        if order > state.max_order or pfn % (1 << order):
            yield Violation("align", f"the allocation at pfn {pfn} of order {order}", pfn=pfn, order=order)
        elif not any(zone.start <= pfn and pfn + (1 << order) <= zone.end for zone in state.zones):
            yield Violation("zone", f"the allocation at pfn {pfn} of order {order} is in no zone", pfn=pfn, order=order)
    for pfn, order, place in [*allocated, *(block for zone in state.zones for block in zone.places())]:
        if order > state.max_order:
            continue
        other = places.overlap(pfn, pfn + (1 << order))
        if other is not None:
            yield Violation("place", f"pfn {pfn} on {place}, and {other[0]} in {other[2]}", pfn=pfn, other=other[0])
        else:
            places.add(pfn, pfn + (1 << order), place)
    memory = state.memory
    if memory is None:
        return
    for lost, message in (
        (memory.difference(places), "in no place"),
        (places.difference(memory), "in a place, and was never given"),
    ):
        if lost is not None:
            text = f"{lost[0]}..{lost[1] - 1} is {message}; {memory.pages} pages given, {places.pages} in places"
            yield Violation("conservation", text, pfn=lost[0], given=memory.pages, placed=places.pages)


# --- from a snapshot ---------------------------------------------------------------------------


def observe(snapshot: Mapping[str, Any], *, memory: Iterable[tuple[int, int]] | None = None) -> JsonObject:
    """The observation of a System.snapshot(), from its JSON alone (docs/formats.md).

    ``memory`` is what the allocator was given; memory_of(snapshot["config"]) for a machine that was booted.  A snapshot
    holds no locks, and marks on no page outside the CPUs' lists: those two rules need an observer who sees the
    structures.  O(blocks).
    """
    offline = snapshot.get("offline", [])
    observation: JsonObject = {
        "format": FORMAT,
        "version": VERSION,
        "pageblock_order": snapshot["config"]["pageblock_order"],
        "max_order": snapshot["config"]["max_page_order"],
        "allocated": [list(entry) for entry in snapshot["allocated"]],
        "zones": [_observe_zone(zone, offline) for zone in snapshot["zones"]],
    }
    if memory is not None:
        observation["memory"] = [list(extent) for extent in memory]
    return observation


def _observe_zone(zone: Mapping[str, Any], offline: Sequence[int]) -> JsonObject:
    order = zone["pageblock_order"]
    first_block = zone["start"] >> order << order
    listed = zone.get("owned_blocks") or [[] for _ in zone["pcp"]]
    by_type = zone.get("owned_blocks_by_type") or [[] for _ in zone["pcp"]]
    llists = zone.get("free_llist") or [[] for _ in zone["pcp"]]
    return {
        "name": f"{zone['node']}/{zone['zone']}",
        "start": zone["start"],
        "end": zone["start"] + zone["spanned"],
        "free": [
            [pfn, area_order, mt]
            for area_order, area in enumerate(zone["free_area"])
            for mt, pfns in enumerate(area["lists"])
            for pfn in pfns
        ],
        "nr_free": [area["nr_free"] for area in zone["free_area"]],
        "deferred": [list(entry) for entry in zone.get("trylock_free_pages", [])],
        "types": [
            [first_block + (index << order), int(mt)] for index, mt in enumerate(zone["block_mt"]) if mt.isdigit()
        ],
        "owners": [[pfn, tag - 1] for pfn, tag in zone.get("pageblock_cpu", [])],
        "marked": list(zone.get("pcp_buddy", [])),
        "cpus": [
            {
                "cpu": pcp["cpu"],
                "online": pcp["cpu"] not in offline,
                "count": pcp["count"],
                "chunks": [
                    [pfn, list_order, list_order]
                    for list_order, pfns in zip(_list_orders(len(pcp["lists"]), order), pcp["lists"], strict=True)
                    for pfn in pfns
                ],
                "llist": [list(entry) for entry in llists[index]],
                "listed": [*listed[index], *(pfn for pfns in by_type[index] for pfn in pfns)],
            }
            for index, pcp in enumerate(zone["pcp"])
        ],
    }


def _list_orders(nr_lists: int, pageblock_order: int) -> list[int]:
    """The order of each of a CPU's lists: three types an order; Linux itself has two more lists for huge pages."""
    threes, huge = divmod(nr_lists, PCP_TYPES)
    return [order for order in range(threes) for _ in range(PCP_TYPES)] + [pageblock_order] * huge
