# SPDX-License-Identifier: GPL-2.0-only
"""An override in a variant's table is used: every entry point is called through ``k.calls``.

Each entry is replaced in turn by one that counts.  A short load on the real variant must reach it, and the call must
come from the code that inherits it; a mirrored function that called another one directly would leave the count at 0.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pageblock_buddy import Config, System, ZoneConfig
from pageblock_buddy import gfp as g
from pageblock_buddy.linux_6_12 import bulk
from pageblock_buddy.mm.calls import Calls, PcpBuddyCalls
from pageblock_buddy.rfc.policies import POLICIES
from pageblock_buddy.variants import VARIANTS, Variant, get_variant

PACKAGE = Path(__file__).resolve().parents[1] / "pageblock_buddy"
#: the table's name in Calls ("" for Calls itself), entry
ENTRY_POINTS = [("", field.name) for field in dataclasses.fields(Calls) if field.name != "pcp_buddy"] + [
    ("pcp_buddy", field.name) for field in dataclasses.fields(PcpBuddyCalls)
]
MIRRORED = tuple(f"{directory}/" for directory in ("mm", *sorted(p.parent.name for p in PACKAGE.glob("*/variant.py"))))
#: Entry points of the kernel's other parts, which no mirrored function calls: who calls them here instead.
CALLED_FROM_ABOVE = {
    "unreserve_highatomic_pageblock": ("system.py",),  # reclaim, which is not modelled
    "drain_all_pages": ("system.py",),  # reclaim, compaction
    "set_migratetype_isolate": ("system.py",),  # memory offlining, contiguous allocation
    "unset_migratetype_isolate": ("system.py",),
    "page_alloc_cpu_dead": ("system.py",),  # CPU hotplug
    "alloc_pages_nolock": ("system.py",),  # BPF
    "free_pages_nolock": ("system.py",),
    "after_load": ("snapshot.py",),
}
NODE_PAGES = 2048
WITHOUT_RESERVE = ("rfc+want-block", "rfc+want-whole-blocks")


def two_nodes() -> Config:
    """Two nodes with a CPU each, large enough for a high-order atomic reserve, with lists that tune themselves."""
    zones = tuple(
        ZoneConfig(
            zone=g.ZONE_NORMAL,
            node=node,
            start_pfn=node * NODE_PAGES,
            spanned_pages=NODE_PAGES,
            batch=4,
            high_min=8,
            high_max=256,
        )
        for node in (0, 1)
    )
    # The threshold leaves counter differences for the vmstat worker to find; without one it takes a CPU for idle.
    return Config(zones=zones, nr_cpus=2, cpu_node=(0, 1), pageblock_order=3, max_page_order=4, vm_stat_threshold=32)


def load(system: System) -> None:
    """A little of everything, so that each entry point has a reason to be called."""
    allocated: list[tuple[int, int]] = []

    def take(gfp: int, order: int, node: int | None = None) -> bool:
        pfn = system.alloc_pages(gfp, order, node=node)
        if pfn is not None:
            allocated.append((pfn, order))
        return pfn is not None

    # Every order and type, some high-order atomic ones (which make a reserve), then until memory is short.
    for gfp in (g.GFP_KERNEL, g.GFP_KERNEL | g.GFP_RECLAIMABLE, g.GFP_HIGHUSER_MOVABLE):
        for order in range(system.kernel.config.max_page_order + 1):
            take(gfp, order)
    while take(g.GFP_KERNEL, 1, 0) or take(g.GFP_HIGHUSER_MOVABLE, 0):
        pass
    for order in (1, 2, 3):
        take(g.GFP_ATOMIC, order)
    # These keep so many pages on the lists that nothing is left to reserve.
    assert system.kernel.zones[0].nr_reserved_highatomic or system.variant in WITHOUT_RESERVE
    # Free singly, as a batch of folios, and through the lists of a CPU of the other node.
    third = len(allocated) // 3
    for pfn, order in allocated[:third]:
        system.free_pages(pfn, order)
    for start in range(third, 2 * third, 31):
        system.free_folios(allocated[start : min(start + 31, 2 * third)])
    with system.on_cpu(1):
        for pfn, order in allocated[2 * third :]:
            system.free_pages(pfn, order)
    system.unreserve_highatomic(g.GFP_KERNEL, force=True)
    # The vmstat worker lets lists decay, and after some idle rounds gives those of another node's zone back.
    with system.on_cpu(1):
        for pfn in system.alloc_pages_bulk(g.GFP_KERNEL, 8, node=0):
            system.free_pages(pfn)
        # Where frees go to owners the lists may be empty now, or all differences folded.
        zone = system.zones[0]
        while not (zone.per_cpu_pageset[1].count and zone.per_cpu_zonestats[1].nr_free_pages_diff):
            assert system.alloc_pages(g.GFP_KERNEL, node=0) is not None
        for _ in range(4):
            system.refresh_vm_stats(pagesets=True)
    system.drain_local_pages()
    system.drain_all_pages()
    assert system.isolate_pageblock(0)
    system.unisolate_pageblock(0)
    if system.kernel.calls.alloc_pages_nolock is not None:
        nolock = system.alloc_pages_nolock()
        assert nolock is not None
        system.free_pages_nolock(nolock)
    long_lived(system)
    system.offline_cpu(1)
    system.online_cpu(1)
    system.validate()


def long_lived(system: System) -> None:
    """Every other page of some whole blocks stays: drains list the blocks, and refills recover what is in the zone."""
    pfns = [pfn for pfn in (system.alloc_pages(g.GFP_HIGHUSER_MOVABLE) for _ in range(128)) if pfn is not None]
    for pfn in pfns[::2]:
        system.free_pages(pfn)
    system.drain_local_pages()
    again = [pfn for pfn in (system.alloc_pages(g.GFP_HIGHUSER_MOVABLE) for _ in range(80)) if pfn is not None]
    for pfn in [*pfns[1::2], *again]:
        system.free_pages(pfn)
    system.drain_local_pages()


def table_of(variant: Variant, table: str) -> Any:
    """One of the two tables of a variant."""
    return getattr(variant.calls, table) if table else variant.calls


def callers(monkeypatch: pytest.MonkeyPatch, variant: Variant, entry: str, table: str = "") -> set[str]:
    """The files that call an entry point of a variant during the load, and when it is restored from a snapshot."""
    original: Callable[..., Any] = getattr(table_of(variant, table), entry)
    files: set[str] = set()

    def counting(*args: Any) -> Any:
        files.add(sys._getframe(1).f_code.co_filename.removeprefix(f"{PACKAGE}/"))
        return original(*args)

    replacement: dict[str, Any] = {entry: counting}
    if table:
        replacement = {table: dataclasses.replace(table_of(variant, table), **replacement)}
    calls = dataclasses.replace(variant.calls, **replacement)
    monkeypatch.setitem(VARIANTS, "counted", dataclasses.replace(variant, name="counted", calls=calls))
    system = System.boot(two_nodes(), variant="counted")
    system.variant = variant.name
    load(system)
    system.variant = "counted"
    if variant.calls.after_load is not None:
        System.restore(system.snapshot())
    return files


def reached(entry: str, files: set[str]) -> bool:
    """Whether one of the files is of those that have to call the entry point."""
    return any(file.startswith(CALLED_FROM_ABOVE.get(entry, MIRRORED)) for file in files)


def entries_of(variant: Variant) -> list[tuple[str, str]]:
    """The entry points that a variant has."""
    tables = ("", "pcp_buddy") if variant.calls.pcp_buddy is not None else ("",)
    return [(t, e) for t, e in ENTRY_POINTS if t in tables and getattr(table_of(variant, t), e) is not None]


@pytest.mark.parametrize(
    ("variant", "table", "entry"),
    [(name, table, entry) for name, variant in VARIANTS.items() for table, entry in entries_of(variant)],
)
def test_an_override_is_used(monkeypatch: pytest.MonkeyPatch, variant: str, table: str, entry: str) -> None:
    files = callers(monkeypatch, get_variant(variant), entry, table)
    assert reached(entry, files), f"called only from: {sorted(files)}"


@pytest.mark.parametrize(
    ("policy", "table", "entry"),
    [
        (name, table, entry)
        for name, policy in POLICIES.items()
        for table, entries in (("", policy.calls), ("pcp_buddy", policy.pcp_buddy))
        for entry in entries
    ],
)
def test_what_a_policy_replaces_is_used(monkeypatch: pytest.MonkeyPatch, policy: str, table: str, entry: str) -> None:
    files = callers(monkeypatch, get_variant(f"rfc+{policy}"), entry, table)
    assert reached(entry, files), f"called only from: {sorted(files)}"


def test_what_is_called_from_above_is_in_the_table() -> None:
    assert CALLED_FROM_ABOVE.keys() <= {entry for _, entry in ENTRY_POINTS}


def test_a_bypass_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of alloc.py that calls rmqueue_bulk() directly: it works, but an override would be dead."""
    path = PACKAGE / "linux_6_12" / "alloc.py"
    source = path.read_text()
    broken_source = source.replace("k.calls.rmqueue_bulk(", "bulk.rmqueue_bulk(")
    assert broken_source != source
    broken = types.ModuleType("broken_alloc")
    broken.__dict__["bulk"] = bulk
    exec(compile(broken_source, str(path), "exec"), broken.__dict__)
    base = VARIANTS["linux-6.12"]
    calls = dataclasses.replace(base.calls, _rmqueue_pcplist=broken.__dict__["_rmqueue_pcplist"])
    variant = dataclasses.replace(base, calls=calls)
    assert not reached("rmqueue_bulk", callers(monkeypatch, variant, "rmqueue_bulk"))
    assert reached("nr_pcp_alloc", callers(monkeypatch, variant, "nr_pcp_alloc"))
