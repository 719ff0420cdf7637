# SPDX-License-Identifier: GPL-2.0-only
"""Mismatch reports: the operation, expected and got, the state around it, and the rules behind the answer."""

from __future__ import annotations

from typing import Any

from pageblock_buddy import gfp as g
from pageblock_buddy.errors import PageblockBuddyError
from pageblock_buddy.explain import explain, format_explanation
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone, wmark_pages
from pageblock_buddy.replay.at import Stopped
from pageblock_buddy.replay.result import INFERRED_INPUTS, RESYNC_CAUSES, Mismatch, ReplayResult

_SHOWN = 8
_WHERE = {"refused": "  the model refuses the operation"}


def result_lines(result: ReplayResult) -> list[str]:
    """The counts at the end of a replay; the last line is "N operations, M mismatches"."""
    lines = []
    for causes, verb in ((RESYNC_CAUSES, "resynchronised"), (INFERRED_INPUTS, "inferred from the log")):
        for cause, text in causes.items():
            if result.resyncs.get(cause):
                lines.append(f"{verb}: {result.resyncs[cause]} x {text}")
    lines.append(f"{result.operations} operations, {len(result.mismatches)} mismatches")
    return lines


def mismatch_lines(result: ReplayResult, mismatch: Mismatch) -> list[str]:
    """One mismatch: where, what was expected and what the model did."""
    return [
        f"{result.recording}: line {mismatch.lineno}, operation {mismatch.index}: {mismatch.operation}",
        _WHERE.get(mismatch.path, f"  differs in {mismatch.path}") + " (expected: the kernel; got: the model)",
        f"  expected {_shown(mismatch.expected)}",
        f"  got      {_shown(mismatch.got)}",
    ]


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def state_lines(k: Kernel, cpu: int) -> list[str]:
    """The zones as this CPU sees them: counters, marks, its page lists, the heads of the free lists."""
    lines = []
    for zone in k.zones:
        lines += _zone_lines(zone)
        if 0 <= cpu < k.machine.nr_cpus:
            lines += _pcp_lines(zone, cpu)
    return lines


def _zone_lines(zone: Zone) -> list[str]:
    marks = "/".join(str(wmark_pages(zone, i)) for i in (g.WMARK_MIN, g.WMARK_LOW, g.WMARK_HIGH))
    flags = [
        name
        for bit, name in (
            (g.ZONE_BOOSTED_WATERMARK, "BOOSTED_WATERMARK"),
            (g.ZONE_RECLAIM_ACTIVE, "RECLAIM_ACTIVE"),
            (g.ZONE_BELOW_HIGH, "BELOW_HIGH"),
        )
        if zone.flags & bit
    ]
    lines = [
        f"  node {zone.node} zone {zone.name}: NR_FREE_PAGES {zone.nr_free_pages}, "
        f"min/low/high {marks}, flags {' '.join(flags) or 'none'}"
    ]
    for order, area in enumerate(zone.free_area):
        heads = [
            f"{g.MIGRATETYPE_NAMES[mt]} {_heads(free_list)}" for mt, free_list in enumerate(area.free_list) if free_list
        ]
        if heads:
            lines.append(f"    order {order:2}: {', '.join(heads)}")
    return lines


def _pcp_lines(zone: Zone, cpu: int) -> list[str]:
    pcp = zone.per_cpu_pageset[cpu]
    diff = zone.per_cpu_zonestats[cpu].nr_free_pages_diff
    lines = [
        f"    pcp of CPU {cpu}: count {pcp.count}, high {pcp.high} ({pcp.high_min}..{pcp.high_max}), "
        f"batch {pcp.batch}, alloc_factor {pcp.alloc_factor}, free_count {pcp.free_count}, "
        f"flags {pcp.flags:#x}, free_diff {diff}"
    ]
    lines += [f"      list {i:2}: {_heads(pcp_list)}" for i, pcp_list in enumerate(pcp.lists) if pcp_list]
    return lines


def _heads(pfns: Any) -> str:
    shown: list[str] = []
    for pfn in pfns:
        if len(shown) == _SHOWN:
            break
        shown.append(str(pfn))
    more = len(pfns) - len(shown)
    return "[" + " ".join(shown) + (f" … {more} more" if more else "") + "]"


def stopped_lines(stopped: Stopped) -> list[str]:
    """The state before the operation, and the explanation of the model's answer."""
    if stopped.operation is None:
        return []
    lines = ["state before it:", *state_lines(stopped.kernel, stopped.operation.cpu), "why the model answers so:"]
    return lines + explanation_lines(stopped)


def explanation_lines(stopped: Stopped) -> list[str]:
    """The model's answer to the operation, rule by rule."""
    try:
        explanation = explain(stopped.perform)
    except PageblockBuddyError as error:  # pragma: no cover - explain() keeps errors of the operation itself
        return [f"  {error.message}"]
    return [f"  {line}" for line in format_explanation(explanation).splitlines()]
