# SPDX-License-Identifier: GPL-2.0-only
"""Bugs as somebody would make them who ports the mails to C: each is a change of source text, or of an annotation."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from pageblock_buddy.machine.guards import CONSTANT, PCP_LOCK, ZONE_LOCK, Guard, held
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from tests.interleave.mutants import applied, functions_of, module_of


class Edit(NamedTuple):
    """In one function, text that is there once becomes other text."""

    file: str
    function: str
    old: str
    new: str


class Annotation(NamedTuple):
    """A field whose GUARDS entry is wrong: points are missed, or the guard check is."""

    structure: type[PerCpuPages] | type[Zone]
    field: str
    guard: Guard


@dataclass(frozen=True, slots=True)
class PorterBug:
    """A bug by its name: what is changed, and whose programs are to find it."""

    name: str
    changes: tuple[Edit | Annotation, ...]
    #: the file whose mutants run on the same programs
    file: str


def original_source(file: str, function: str) -> str:
    """The function's text."""
    node = functions_of(file)[function]
    lines = inspect.getsource(module_of(file)).splitlines(keepends=True)
    return "".join(lines[node.lineno - 1 : node.end_lineno])


def changed_sources(bug: PorterBug) -> dict[tuple[str, str], str]:
    """The changed functions' sources.  ValueError if an old text is not there exactly once."""
    found: dict[tuple[str, str], str] = {}
    for edit in bug.changes:
        if isinstance(edit, Edit):
            key = edit.file, edit.function
            text = found.get(key) or original_source(*key)
            if text.count(edit.old) != 1:
                raise ValueError(f"{bug.name}: {edit.old!r} is {text.count(edit.old)} times in {edit.function}()")
            found[key] = text.replace(edit.old, edit.new)
    return found


@contextmanager
def with_bug(bug: PorterBug) -> Iterator[None]:
    """Run with a bug."""
    with ExitStack() as stack:
        for (file, function), source in changed_sources(bug).items():
            stack.enter_context(applied(file, function, source))
        for change in bug.changes:
            if isinstance(change, Annotation):
                stack.enter_context(_annotated(change))
        yield


@contextmanager
def _annotated(change: Annotation) -> Iterator[None]:
    before = change.structure.GUARDS[change.field]
    change.structure.GUARDS[change.field] = change.guard
    try:
        yield
    finally:
        change.structure.GUARDS[change.field] = before


def _bug(name: str, file: str, function: str, old: str, new: str) -> PorterBug:
    return PorterBug(name, (Edit(file, function, old, new),), file)


def _annotation(name: str, file: str, structure: type[PerCpuPages] | type[Zone], field: str, to: Guard) -> PorterBug:
    return PorterBug(name, (Annotation(structure, field, to),), file)


_FREE: Final = "rfc/free.py"
_BULK: Final = "rfc/bulk.py"
_BLOCK: Final = "rfc/pageblock.py"
_REFILL: Final = "rfc/refill.py"
_LLIST: Final = "llist/free.py"

_DRAIN_HEAD: Final = "    zone.lock.lock()\n    for victims"
_DRAIN_CALL: Final = "            drain_chunk(k, zone, pcp, pfn, order)\n"
_DRAIN_TAIL: Final = "    zone.lock.unlock()\n    return asked - count"

PORTER_BUGS: Final = (
    # --- owners ---
    _bug("owner-not-checked", _FREE, "lock_pcp_of_owner", "if k.pcp_buddy.still_routed(k, pfn, tag, cpu):", "if True:"),
    _bug("dead-cpu-not-checked", _FREE, "still_routed", " and (tag != 0 or k.machine.online[cpu])", ""),
    _bug(
        "not-unlisted-on-disown",
        _BLOCK,
        "disown_pageblock",
        "    k.pcp_buddy.unlist_owned_block(k, zone, pfn)  # RFC-7.14\n",
        "",
    ),
    _bug(
        "not-unlisted-on-claim",
        _BLOCK,
        "claim_pageblock",
        "    k.pcp_buddy.unlist_owned_block(k, zone, pfn)  # RFC-5.29\n",
        "",
    ),
    _bug("tag-is-cpu", _BLOCK, "claim_pageblock", "pcp.cpu + 1", "pcp.cpu"),
    _bug(
        "not-listed",
        _BULK,
        "drain_chunk",
        "k.pcp_buddy.list_owned_block(k, zone, pcp, pageblock_start_pfn(k, pfn))  # RFC-7.15",
        "pass",
    ),
    PorterBug(
        "disown-after-unlock",
        (
            Edit(_BULK, "drain_chunk", "disown_pageblock(k, zone, pfn)  # RFC-7.12", "pass"),
            Edit(_BULK, "free_pcppages_bulk", _DRAIN_HEAD, f"    later = []\n{_DRAIN_HEAD}"),
            Edit(
                _BULK,
                "free_pcppages_bulk",
                _DRAIN_CALL,
                "            if k.mem_map[pfn] == PG_PCP_BUDDY | k.pageblock_order:\n"
                f"                later.append(pfn)\n{_DRAIN_CALL}",
            ),
            Edit(
                _BULK,
                "free_pcppages_bulk",
                _DRAIN_TAIL,
                "    zone.lock.unlock()\n    zone.lock.lock()\n    for pfn in later:\n"
                f"        disown_pageblock(k, zone, pfn)\n{_DRAIN_TAIL}",
            ),
        ),
        _BULK,
    ),
    PorterBug(
        "listed-after-unlock",
        (
            Edit(
                _BULK,
                "drain_chunk",
                "k.pcp_buddy.list_owned_block(k, zone, pcp, pageblock_start_pfn(k, pfn))  # RFC-7.15",
                "pass",
            ),
            Edit(_BULK, "free_pcppages_bulk", _DRAIN_HEAD, f"    later = []\n{_DRAIN_HEAD}"),
            Edit(
                _BULK,
                "free_pcppages_bulk",
                _DRAIN_CALL,
                "            if order < k.pageblock_order and k.mem_map[pfn] == PG_PCP_BUDDY | order:\n"
                f"                later.append(pageblock_start_pfn(k, pfn))\n{_DRAIN_CALL}",
            ),
            Edit(
                _BULK,
                "free_pcppages_bulk",
                _DRAIN_TAIL,
                "    zone.lock.unlock()\n    zone.lock.lock()\n    for pfn in later:\n"
                f"        k.pcp_buddy.list_owned_block(k, zone, pcp, pfn)\n{_DRAIN_TAIL}",
            ),
        ),
        _BULK,
    ),
    _bug(
        "early-disown",
        "rfc/merge.py",
        "merge_pcp_buddies",
        "                merges += 1\n",
        "                merges += 1\n"
        "                if order + 1 == k.pageblock_order:\n"
        "                    k.pageblock_cpu[merged >> k.pageblock_order] = 0\n",
    ),
    # --- merging and counting ---
    _bug(
        "merge-across-owners",
        "rfc/merge.py",
        "merge_pcp_buddies",
        "range(k.pageblock_order)",
        "range(k.pageblock_order + 1)",
    ),
    _bug(
        "merge-unmarked",
        "rfc/merge.py",
        "merge_pcp_buddies",
        "if mem_map[buddy] != marked or",
        "if mem_map[buddy] & 0xF != order or",
    ),
    _bug("count-off-by-one", "rfc/pcp.py", "pcp_rmqueue_smallest", "pcp.count -= 1 << order", "pcp.count -= 1"),
    _bug("count-of-the-chunk", "rfc/pcp.py", "add_refill", "pcp.count += 1 << order", "pcp.count += 1"),
    _bug("mark-lost-on-split", "rfc/pcp.py", "pcp_rmqueue_smallest", "kind | current_order", "0x40 | current_order"),
    _bug("marks-kept-to-zone", _BULK, "drain_chunk", "    k.mem_map[pfn] = PG_NONE  # RFC-3.13\n", ""),
    # --- locks ---
    _bug(
        "unlock-forgotten-for-isolated",
        _FREE,
        "free_unref_folios",
        "                pcp.lock.unlock()\n                pcp = None\n",
        "                pcp = None\n",
    ),
    _bug(
        "trylock-ignored",
        _FREE,
        "lock_pcp_of_owner",
        "            if not k.pcp_buddy.pcp_free_lock(k, pcp, fpi_flags):\n                return None, tag\n",
        "            k.pcp_buddy.pcp_free_lock(k, pcp, fpi_flags)\n",
    ),
    _bug(
        "trylock-ignored-between-pieces",
        _FREE,
        "flush_in_pieces",
        "        if not k.pcp_buddy.pcp_free_lock(k, pcp, FPI_TRYLOCK):  # RFC-6.14\n            return False\n",
        "        k.pcp_buddy.pcp_free_lock(k, pcp, FPI_TRYLOCK)\n",
    ),
    _bug(
        "flush-locks-own-pcp",
        _FREE,
        "flush_in_pieces",
        "        pcp.lock.unlock()\n",
        "        pcp.lock.unlock()\n        pcp = zone.per_cpu_pageset[k.machine.cpu]\n",
    ),
    _bug("interrupt-waits", _FREE, "pcp_free_lock", " or not k.machine.in_task()", ""),
    _bug("lock-without-irqsave", _FREE, "pcp_free_lock", "pcp.lock.lock_irqsave()", "pcp.lock.lock()"),
    PorterBug(
        "two-pcp-locks",
        (
            Edit(
                _FREE,
                "lock_pcp_of_owner",
                "                held.lock.unlock()  # RFC-6.20\n                held = None\n",
                "                pass\n",
            ),
            Edit(
                _FREE,
                "lock_pcp_of_owner",
                "                return None, tag\n",
                "                return None, tag\n"
                "            if held is not None:\n                held.lock.unlock()\n",
            ),
        ),
        _FREE,
    ),
    _bug(
        "offline-in-two-holds",
        "rfc/hotplug.py",
        "disown_pageblocks_of",
        "    zone.lock.lock()\n    first",
        "    pcp.lock.unlock()\n    pcp.lock.lock()\n    zone.lock.lock()\n    first",
    ),
    # --- refill ---
    _bug(
        "recovered-stays-listed",
        _REFILL,
        "refill_recover",
        "        k.pcp_buddy.unlist_owned_block(k, zone, block_pfn)  # RFC-5.13\n",
        "",
    ),
    _bug("recover-takes-larger", _REFILL, "scan_and_take", "if order > k.pageblock_order:", "if False:"),
    _bug("recover-other-types", _BLOCK, "owned_blocks_to_recover", " if get_type(k, block_pfn) == mt", ""),
    _bug("claim-with-cma", _REFILL, "refill_claim", "alloc_flags & ~gfp.ALLOC_CMA", "alloc_flags"),
    _bug(
        "chunks-take-blocks",
        _REFILL,
        "refill_chunks",
        "min(k.pageblock_order, wanted.bit_length())",
        "wanted.bit_length()",
    ),
    _bug("disabled-lists-fill", _BULK, "rmqueue_bulk", "if pcp.high >= pcp.batch:", "if True:"),
    # --- llist ---
    _bug(
        "absorbed-after-merge",
        "llist/bulk.py",
        "free_pcppages_bulk",
        "    absorb_remote_frees(k, pcp)  # RFC-9.7, RFC-9.13\n"
        "    return rfc.CALLS.free_pcppages_bulk(k, zone, count, pcp, pindex)",
        "    went = rfc.CALLS.free_pcppages_bulk(k, zone, count, pcp, pindex)\n"
        "    absorb_remote_frees(k, pcp)\n"
        "    return went",
    ),
    _bug(
        "drain-all-by-count",
        "llist/drain.py",
        "drain_all_pages",
        "p.count or not p.free_llist.llist_empty()",
        "p.count",
    ),
    _bug(
        "absorbed-always-marked",
        "llist/pcp.py",
        "absorb_remote_frees",
        "PG_PCP_BUDDY if owned else PG_PCP",
        "PG_PCP_BUDDY",
    ),
    _bug(
        "pushed-to-dead-owner",
        _LLIST,
        "free_to_remote_owner",
        "if not k.pcp_buddy.still_routed(k, pfn, tag, tag - 1):",
        "if False:",
    ),
    _bug(
        "state-after-push",
        _LLIST,
        "free_to_remote_owner",
        "    k.mem_map[pfn] = PG_LLIST | order\n    pcp.free_llist.llist_add(pfn, order)  # RFC-9.6, RFC-9.15\n",
        "    pcp.free_llist.llist_add(pfn, order)\n"
        "    k.pageblock_cpu[pfn >> k.pageblock_order]\n    k.mem_map[pfn] = PG_LLIST | order\n",
    ),
    _bug("wrong-pcp-after-migration", _LLIST, "lock_local_pcp", "(tag and tag - 1 != pcp.cpu) or ", ""),
    _bug(
        "stranded-forgotten",
        "llist/hotplug.py",
        "page_alloc_cpu_dead",
        "        free_stranded(k, zone, zone.per_cpu_pageset[cpu], FPI_NONE)  # RFC-9.12",
        "        pass",
    ),
    # --- points missed: annotations that are not true ---
    _annotation("high-called-held", "rfc/drain.py", PerCpuPages, "high", held(PCP_LOCK)),
    _annotation("count-called-held", "rfc/drain.py", PerCpuPages, "count", held(PCP_LOCK)),
    _annotation("count-called-constant", "rfc/drain.py", PerCpuPages, "count", CONSTANT),
    _annotation("free-pages-called-held", "rfc/free.py", Zone, "nr_free_pages", held(ZONE_LOCK)),
    _annotation("batch-called-held", "rfc/bulk.py", PerCpuPages, "batch", held(PCP_LOCK)),
)
