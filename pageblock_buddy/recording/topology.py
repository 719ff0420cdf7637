# SPDX-License-Identifier: GPL-2.0-only
"""Which node each CPU is on, as far as a snapshot tells.

A snapshot has zones with nodes and page lists with CPUs, but nothing that joins them.  What it has is
how many CPUs each node has: high_min is the zone's low watermark divided by the CPUs of its node (LPA-8.7.4).
The pages that a CPU got tell more: its requests prefer its own node unless they say otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

JsonObject = dict[str, Any]
#: Lines that are looked at for the busiest nodes.
_SAMPLE: Final = 1 << 20


def cpus_per_node(zones: list[JsonObject], nr_cpus: int) -> dict[int, int]:
    """CPUs of each node that has memory, from the largest of its zones.

    A node without CPUs divides by all CPUs instead; it is given 0 when the numbers say so.  With
    percpu_pagelist_high_fraction the result means nothing, but it is a first guess only.
    """
    counts: dict[int, int] = {}
    for nid in sorted({int(zone["node"]) for zone in zones}):
        largest = max((z for z in zones if z["node"] == nid), key=lambda z: _number(z.get("managed")))
        low = _number(largest.get("wmark_low")) + _number(largest.get("boost"))
        pcps = largest.get("pcp") or [{}]
        counts[nid] = min(max(round(low / (_number(pcps[0].get("high_min")) or 1)), 1), nr_cpus)
    for nid in reversed(counts):
        if sum(counts.values()) > nr_cpus and counts[nid] == nr_cpus:
            counts[nid] = 0
    return counts


def _number(value: object) -> int:
    return value if type(value) is int else 0


def first_guess(zones: list[JsonObject], nr_cpus: int) -> tuple[int, ...]:
    """The node of each CPU if CPUs are numbered node by node.

    CPUs that no node with memory accounts for are on a node without memory, behind the last one.
    """
    counts = cpus_per_node(zones, nr_cpus)
    nodes = [nid for nid, count in counts.items() for _ in range(count)]
    nodes += [max(counts) + 1] * nr_cpus
    return tuple(nodes[:nr_cpus])


def busiest_nodes(
    records: Iterable[tuple[int, Any]], zones: list[JsonObject], guess: tuple[int, ...]
) -> tuple[int, ...]:
    """The node that most of each CPU's allocations came from; ``guess`` for a CPU without any."""
    ranges = [(zone["start"], zone["start"] + zone["spanned"], zone["node"]) for zone in zones]
    seen: dict[int, Counter[int]] = {cpu: Counter() for cpu in range(len(guess))}
    for _, record in islice(records, _SAMPLE):
        match record:
            case ["e", _, _, _, "alloc", int(cpu), _, _, _, int(pfn)] | ["A", int(cpu), _, _, int(pfn)] if cpu in seen:
                seen[cpu].update(node for start, end, node in ranges if start <= pfn < end)
    return tuple(nodes.most_common(1)[0][0] if nodes else guess[cpu] for cpu, nodes in seen.items())
