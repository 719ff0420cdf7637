# SPDX-License-Identifier: GPL-2.0-only
"""Checks of transitions: what no single state can show.

    monitor = Monitor(system.kernel, system.variant)    # attached
    ...                                                 # any operations
    monitor.done()                                      # at the end of each operation
    monitor.detach()

The mirrored code knows nothing of it.  Attaching puts guarded locks, columns and lists in the place of a booted
kernel's own, and wrapped entries into its two tables; detaching puts back what was there, so that a kernel that is not
watched pays nothing.  What is watched does what it did: the guards only look.

The rules are in :data:`TRANSITIONS`.  Those of locks are raised as LockError, the others as ModelBug; both have the
rule's name in ``details["invariant"]``.  A *flow* is a CPU and what it executes: interrupt code is a flow of its own,
and may try a lock whatever the code that it interrupted holds.

Attach and detach between operations.  If accounting watches the same kernel, attach it first and detach it last.
"""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pageblock_buddy.errors import LockError, ModelBug
from pageblock_buddy.gfp import FPI_PCP_BUDDY
from pageblock_buddy.machine.cpu import Context
from pageblock_buddy.machine.lists import ListHead, WatchedListHead
from pageblock_buddy.machine.spinlock import Spinlock
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import PG_BUDDY, PG_KIND_MASK, PG_NONE, PG_ORDER_MASK, PG_PCP_BUDDY

#: name in details["invariant"] -> what has to hold
TRANSITIONS: Final[dict[str, str]] = {
    "ownership": "I5: a block gets an owner only inside one zone buddy of pageblock_order or more, or taken from one "
    "in this hold of zone->lock and still wholly in the operation's hands; it loses its owner only wholly in the "
    "operation's hands, in the hold that gives it to the zone as one block (or because its CPU goes offline; or, in "
    "clear-complete, inside one zone buddy)",
    "disown": "RFC-7.12, RFC-7.14: a wholly merged block that a drain sends to the zone has no owner when that hold of "
    "zone->lock ends",
    "inherit": "RFC-3.12: an allocation from a PCP changes no mark; the rests of a chunk that it splits keep it",
    "stable_read": "I6, RFC-6.11: the owner that routed a free is the owner when its page comes to a list; the list is "
    "his, and the page is marked there; without an owner it is not",
    "lock_order": "I9: pcp->lock before zone->lock, one lock of each kind at a time",
    "guarded": "I9: owners, owned_blocks and cpu_node are written under zone->lock",
    "merge_pass": "I11: after a merge pass no two marked buddies of equal order below pageblock_order are on that PCP",
    "locks_free": "I9: an operation that is over holds no lock",
}

ZONE_LOCK: Final = "zone->lock"

#: (CPU, what it executes): one flow of control
Flow = tuple[int, Context]


class WatchedLock(Spinlock):
    """A lock in the place of another one, which does the work; what it does is told to the monitor."""

    __slots__ = ("_inner", "_monitor", "zone")

    def __init__(self, monitor: Monitor, inner: Spinlock, zone: Zone) -> None:
        self._monitor = monitor
        self._inner = inner
        self.zone = zone
        self.machine = inner.machine
        self.name = inner.name

    @property
    def owner(self) -> int | None:
        """The holding CPU, or None."""
        return self._inner.owner

    @owner.setter
    def owner(self, cpu: int | None) -> None:
        self._inner.owner = cpu

    def lock(self) -> None:
        """Take the lock."""
        self._monitor.before_lock(self)
        self._inner.lock()
        self._monitor.locked(self)

    def trylock(self) -> bool:
        """Take the lock if it is free."""
        self._monitor.before_lock(self)
        if not self._inner.trylock():
            return False
        self._monitor.locked(self)
        return True

    def unlock(self) -> None:
        """Release the lock."""
        self._monitor.before_unlock(self)
        self._inner.unlock()
        self._monitor.unlocked(self)

    def assert_held(self) -> None:
        """lockdep_assert_held()."""
        self._inner.assert_held()


if TYPE_CHECKING:
    _Array = array[int]
else:
    _Array = array


class OwnerColumn(_Array):
    """Kernel.pageblock_cpu or .pageblock_cpu_node; each store is shown to ``before_store`` first."""

    before_store: Callable[[int, int], None]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.before_store(index, value)
        super().__setitem__(index, value)


class OwnedList(WatchedListHead):
    """An owned_blocks list that wants zone->lock for each change; it shares the entries of the list it stands for."""

    __slots__ = ("_guard",)

    def __init__(self, inner: ListHead, guard: Callable[[], None]) -> None:
        super().__init__()
        self._entries = inner._entries
        self._guard = guard

    def before_change(self) -> None:
        """Check the lock."""
        self._guard()


@dataclasses.dataclass(slots=True)
class _Hold:
    """What happened in the present hold of one zone->lock."""

    flow: Flow
    #: (first PFN, order) of the buddies of pageblock_order and more that were taken off the zone's lists
    taken: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    #: first PFNs of the blocks that lost their owner, and have to be in the zone when the hold ends
    disowned: list[int] = dataclasses.field(default_factory=list)


class Monitor:
    """Watches one kernel.

    ``variant`` is the name that the kernel was booted with: its policies decide what may change an owner.  LockError
    if a lock is held: attach between operations.
    """

    def __init__(self, kernel: Kernel, variant: str) -> None:
        self._k = kernel
        self._clear_complete = "clear-complete" in variant.split("+")[1:]
        #: locks that a flow holds, in the order in which it took them
        self._held: dict[Flow, list[WatchedLock]] = {}
        self._holds: dict[int, _Hold] = {}  # index of the zone -> its present hold
        self._routed: dict[Flow, tuple[int, int]] = {}  # flow -> (PFN, tag) of its last routed free
        self._committing: dict[Flow, tuple[int, bool]] = {}  # flow -> page that comes to a list, whether marked
        #: flow -> its last merge pass: the PCP, and the wholly merged blocks on it
        self._merged: dict[Flow, tuple[PerCpuPages, list[int]]] = {}
        self._offline: int | None = None  # the CPU that goes offline
        self._restore: list[Callable[[], None]] = []
        self._attach()

    # --- attaching -----------------------------------------------------------------------------

    def _attach(self) -> None:
        k = self._k
        for zone in k.zones:
            for lock in (zone.lock, *(pcp.lock for pcp in zone.per_cpu_pageset)):
                if lock.owner is not None:
                    raise LockError(f"{lock.name} is held: attach between operations", invariant="locks_free")
        for zone in k.zones:
            self._swap(zone, "lock", WatchedLock(self, zone.lock, zone))
            for pcp in zone.per_cpu_pageset:
                self._swap(pcp, "lock", WatchedLock(self, pcp.lock, zone))
        self._swap_tables()
        if k.calls.pcp_buddy is not None:
            self._swap_columns()

    def _swap_tables(self) -> None:
        k, old = self._k, self._k.calls
        self._old = old
        replaced: dict[str, Any] = {
            "_del_page_from_free_list": self._taken_off_a_free_list,
            "page_alloc_cpu_dead": self._cpu_dead,
        }
        if old.pcp_buddy is not None:
            self._old_pcp_buddy = old.pcp_buddy
            replaced["free_frozen_page_commit"] = self._commit
            replaced["free_pcppages_bulk"] = self._bulk
            replaced["pcp_buddy"] = dataclasses.replace(
                old.pcp_buddy,
                still_routed=self._still_routed,
                merge_pcp_buddies=self._merge,
                pcp_rmqueue_smallest=self._taken_from_pcp,
            )
            self._swap(k, "pcp_buddy", replaced["pcp_buddy"])
        self._swap(k, "calls", dataclasses.replace(old, **replaced))

    def _swap_columns(self) -> None:
        k = self._k
        for name, before_store in (
            ("pageblock_cpu", self._before_owner),
            ("pageblock_cpu_node", self._before_cpu_node),
        ):
            old = getattr(k, name)
            column = OwnerColumn("H", old)
            column.before_store = before_store
            setattr(k, name, column)
            self._restore.append(lambda name=name, column=column: setattr(k, name, array("H", column)))  # type: ignore[misc]
        for zone in k.zones:
            for pcp in zone.per_cpu_pageset:
                guard = self._guard(zone)
                self._swap(pcp, "owned_blocks", OwnedList(pcp.owned_blocks, guard))
                by_type = tuple(OwnedList(one, guard) for one in pcp.owned_blocks_by_type)
                self._swap(pcp, "owned_blocks_by_type", by_type)

    def _swap(self, target: object, name: str, new: object) -> None:
        old = getattr(target, name)
        setattr(target, name, new)
        self._restore.append(lambda: setattr(target, name, old))

    def detach(self) -> None:
        """Put back what was there.  LockError if a lock is held."""
        self.done()
        while self._restore:
            self._restore.pop()()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.detach()

    # --- the end of operations -----------------------------------------------------------------

    def done(self) -> None:
        """The running flow's operation is over: it holds no lock (locks_free).

        The locks of code that it interrupted are another flow's.  Also drops what was remembered for the operation.
        """
        flow = self._flow()
        held = self._held.get(flow)
        if held:
            names = ", ".join(lock.name for lock in held)
            self._lock_error("locks_free", f"the operation ended with {names} held", held=names)
        self._routed.pop(flow, None)
        self._merged.pop(flow, None)

    # --- locks ---------------------------------------------------------------------------------

    def _flow(self) -> Flow:
        machine = self._k.machine
        return machine.cpu, machine.context

    def before_lock(self, lock: WatchedLock) -> None:
        """A flow wants a lock: lock_order."""
        for other in self._held.get(self._flow(), ()):
            if other.name == lock.name:
                self._lock_error("lock_order", f"a second {lock.name} is wanted", lock=lock.name)
            if other.name == ZONE_LOCK:
                self._lock_error("lock_order", f"{lock.name} is wanted with zone->lock held", lock=lock.name)

    def locked(self, lock: WatchedLock) -> None:
        """A flow has a lock."""
        flow = self._flow()
        self._held.setdefault(flow, []).append(lock)
        if lock.name == ZONE_LOCK:
            self._holds[id(lock.zone)] = _Hold(flow)

    def before_unlock(self, lock: WatchedLock) -> None:
        """A flow gives a lock up.  At the end of a hold of zone->lock: ownership, disown."""
        if lock not in self._held.get(self._flow(), ()):
            if lock.owner == self._k.machine.cpu:
                self._lock_error("lock_order", f"{lock.name} is released by another flow", lock=lock.name)
            return  # the lock itself says that it is not held
        if lock.name == ZONE_LOCK:
            for block in self._holds[id(lock.zone)].disowned:
                if not self._inside_zone_buddy(block):
                    self._fail("ownership", f"the block at pfn {block} lost its owner and is not in the zone", block)
            self._check_disowned()

    def _check_disowned(self) -> None:
        k = self._k
        pcp, blocks = self._merged.pop(self._flow(), (None, []))
        for block in blocks:
            tag = k.pageblock_cpu[block >> k.pageblock_order]
            if k.mem_map[block] != PG_PCP_BUDDY | k.pageblock_order and tag:
                assert pcp is not None
                self._fail(
                    "disown", f"CPU {pcp.cpu} sent the block at pfn {block} to the zone, its tag is {tag}", block
                )

    def unlocked(self, lock: WatchedLock) -> None:
        """A flow has given a lock up."""
        self._held[self._flow()].remove(lock)
        if lock.name == ZONE_LOCK:
            del self._holds[id(lock.zone)]

    def _hold_of(self, zone: Zone) -> _Hold | None:
        """The hold of the zone's lock, if it is the running flow's."""
        hold = self._holds.get(id(zone))
        return hold if hold is not None and hold.flow == self._flow() else None

    def _guard(self, zone: Zone) -> Callable[[], None]:
        def guard() -> None:
            if self._hold_of(zone) is None:
                self._lock_error("guarded", "owned_blocks is changed without zone->lock")

        return guard

    # --- owners --------------------------------------------------------------------------------

    def _zone_of_block(self, block: int) -> Zone:
        k = self._k
        for zone in k.zones:
            if zone.zone_start_pfn < block + k.block_pages and block < zone.end_pfn:
                return zone
        raise ModelBug(f"guarded: the block at pfn {block} is in no zone", invariant="guarded", pfn=block)

    def _locked_hold(self, block: int, what: str) -> _Hold:
        hold = self._hold_of(self._zone_of_block(block))
        if hold is None:
            self._lock_error("guarded", f"{what} of the block at pfn {block} is written without zone->lock", pfn=block)
        return hold

    def _before_cpu_node(self, index: int, value: int) -> None:
        self._locked_hold(index << self._k.pageblock_order, "cpu_node")

    def _before_owner(self, index: int, tag: int) -> None:
        """A store to pbd->cpu: guarded, ownership."""
        k = self._k
        block = index << k.pageblock_order
        hold = self._locked_hold(block, "the owner")
        old = k.pageblock_cpu[index]
        if tag:
            taken = any(pfn <= block and block + k.block_pages <= pfn + (1 << order) for pfn, order in hold.taken)
            if not (taken and self._in_hands(block)) and not self._inside_zone_buddy(block):
                self._fail("ownership", f"the block at pfn {block} goes to CPU {tag - 1} and is not whole", block)
        elif old:
            if self._offline is not None and old == self._offline + 1:
                return
            if self._clear_complete and self._inside_zone_buddy(block):
                return
            if not self._in_hands(block):
                self._fail("ownership", f"CPU {old - 1} loses the block at pfn {block}, which is not whole", block)
            hold.disowned.append(block)

    def _covering_head(self, pfn: int) -> tuple[int, int] | None:
        """(first PFN, state) of whatever ``pfn`` lies in, or None: in nobody's place."""
        mem_map = self._k.mem_map
        for order in range(self._k.config.max_page_order + 1):
            head = pfn & -(1 << order)
            state = mem_map[head]
            if state != PG_NONE and head + (1 << (state & PG_ORDER_MASK)) > pfn:
                return head, state
        return None

    def _inside_zone_buddy(self, block: int) -> bool:
        """Whether a pageblock lies wholly inside one free block of the zone."""
        head = self._covering_head(block)
        return head is not None and bool(head[1] & PG_BUDDY) and head[1] & PG_ORDER_MASK >= self._k.pageblock_order

    def _in_hands(self, block: int) -> bool:
        """Whether no page of a pageblock is in any place: somebody's operation has them."""
        k = self._k
        return self._covering_head(block) is None and k.mem_map[block : block + k.block_pages] == bytes(k.block_pages)

    # --- wrapped entries -----------------------------------------------------------------------

    def _taken_off_a_free_list(self, k: Kernel, pfn: int, zone: Zone, order: int, mt: int) -> None:
        self._old._del_page_from_free_list(k, pfn, zone, order, mt)
        hold = self._hold_of(zone)
        if hold is not None and order >= k.pageblock_order:
            hold.taken.append((pfn, order))

    def _cpu_dead(self, k: Kernel, cpu: int) -> None:
        self._offline = cpu
        try:
            self._old.page_alloc_cpu_dead(k, cpu)
        finally:
            self._offline = None

    def _still_routed(self, k: Kernel, pfn: int, tag: int, cpu: int) -> bool:
        """The owner that a free has read is looked at again: if it is let through, it is still the owner."""
        routed = self._old_pcp_buddy.still_routed(k, pfn, tag, cpu)
        if routed:
            self._check_tag(pfn, tag, "routed")
            self._routed[self._flow()] = pfn, tag
        return routed

    def _commit(self, k: Kernel, zone: Zone, pcp: PerCpuPages, pfn: int, mt: int, order: int, fpi_flags: int) -> bool:
        """A page comes to a PCP list: by the owner that was read, and marked if there was one."""
        routed = self._routed.pop(self._flow(), None)
        marked = bool(fpi_flags & FPI_PCP_BUDDY)
        if routed is not None and routed[0] == pfn:
            self._check_tag(pfn, routed[1], "committed")
        tag = k.pageblock_cpu[pfn >> k.pageblock_order]
        if marked != bool(tag) or (tag and pcp.cpu != tag - 1):
            where = f"{'marked' if marked else 'unmarked'} on CPU {pcp.cpu}, its block has tag {tag}"
            self._fail("stable_read", f"pfn {pfn} is committed {where}", pfn)
        self._committing[self._flow()] = pfn, marked
        held = self._old.free_frozen_page_commit(k, zone, pcp, pfn, mt, order, fpi_flags)
        self._check_committed()
        return held

    def _bulk(self, k: Kernel, zone: Zone, count: int, pcp: PerCpuPages, pindex: int) -> int:
        """A drain: if it is that of a commit, the page is on its list now, and may be gone behind it."""
        self._check_committed()
        return self._old.free_pcppages_bulk(k, zone, count, pcp, pindex)

    def _check_committed(self) -> None:
        pfn, marked = self._committing.pop(self._flow(), (None, False))
        if pfn is not None and (self._k.mem_map[pfn] & PG_KIND_MASK == PG_PCP_BUDDY) != marked:
            self._fail("stable_read", f"pfn {pfn} came to a list {'un' * marked}marked", pfn)

    def _check_tag(self, pfn: int, tag: int, when: str) -> None:
        now = self._k.pageblock_cpu[pfn >> self._k.pageblock_order]
        if now != tag:
            self._fail("stable_read", f"pfn {pfn} is {when} by tag {tag}, its block has tag {now}", pfn)

    def _merge(self, k: Kernel, pcp: PerCpuPages) -> int:
        """merge_pass, after each pass.  What is whole then will be looked at again when the drain is over: disown."""
        merges = self._old_pcp_buddy.merge_pcp_buddies(k, pcp)
        whole = []
        for pfn, order, marked in self._chunks(pcp):
            buddy = pfn ^ (1 << order)
            if marked and order == k.pageblock_order:
                whole.append(pfn)
            elif marked and k.mem_map[buddy] == k.mem_map[pfn]:
                self._fail("merge_pass", f"pfn {pfn} and {buddy} of order {order} are both left, marked", pfn)
        self._merged[self._flow()] = pcp, whole
        return merges

    def _chunks(self, pcp: PerCpuPages) -> list[tuple[int, int, bool]]:
        """(PFN, order, whether it is marked) of every chunk on a PCP."""
        k = self._k
        return [
            (pfn, k.mem_map[pfn] & PG_ORDER_MASK, k.mem_map[pfn] & PG_KIND_MASK == PG_PCP_BUDDY)
            for pcp_list in pcp.lists
            for pfn in pcp_list
        ]

    def _taken_from_pcp(self, k: Kernel, zone: Zone, pcp: PerCpuPages, order: int, mt: int) -> int | None:
        """An allocation: it takes its pages, and no mark of any other page changes.  inherit; O(chunks of the PCP)."""
        tag = pcp.cpu + 1
        remote = [
            (1 << remote_order, k.pageblock_cpu[pfn >> k.pageblock_order] == tag)
            for pfn, remote_order in pcp.free_llist.to_list()
        ]
        before = sum(pages for pages, owned in remote if owned), sum(pages for pages, owned in remote if not owned)
        marked, unmarked = (old + now for old, now in zip(before, self._pages(pcp), strict=True))
        pfn = self._old_pcp_buddy.pcp_rmqueue_smallest(k, zone, pcp, order, mt)
        marked_now, unmarked_now = self._pages(pcp)
        gone = sorted((marked - marked_now, unmarked - unmarked_now))
        if gone != [0, 0 if pfn is None else 1 << order]:
            message = f"of {marked} marked and {unmarked} other pages {marked_now} and {unmarked_now} are left"
            self._fail("inherit", f"{message} on CPU {pcp.cpu}", -1 if pfn is None else pfn)
        return pfn

    def _pages(self, pcp: PerCpuPages) -> tuple[int, int]:
        """Marked and other pages on a PCP."""
        chunks = self._chunks(pcp)
        marked = sum(1 << order for _, order, mark in chunks if mark)
        return marked, sum(1 << order for _, order, _ in chunks) - marked

    # --- errors --------------------------------------------------------------------------------

    def _fail(self, invariant: str, message: str, pfn: int) -> NoReturn:
        raise ModelBug(f"{invariant}: {message}", invariant=invariant, pfn=pfn)

    def _lock_error(self, invariant: str, message: str, **details: int | str) -> NoReturn:
        cpu, context = self._flow()
        message = f"{invariant}: {message} (CPU {cpu}, {context.value})"
        raise LockError(message, invariant=invariant, cpu=cpu, context=context.value, **details)
