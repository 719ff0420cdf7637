# SPDX-License-Identifier: GPL-2.0-only
"""From the first snapshot of a recording to a booted model of that machine."""

from __future__ import annotations

from typing import Any, Final

from pageblock_buddy.config import MAX_CPUS, Config, ZoneConfig
from pageblock_buddy.errors import ConfigError, InputError
from pageblock_buddy.mm.calls import Calls
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.recording.reader import Meta
from pageblock_buddy.recording.topology import first_guess
from pageblock_buddy.snapshot import load_zone

JsonObject = dict[str, Any]
#: Nodes that a recording may have: the fallback order of n nodes takes n^3 steps.
MAX_RECORDED_NODES: Final = 128


def snapshot_zones(record: object) -> list[JsonObject]:
    """The zones of a snapshot line, node by node.  InputError if it is none."""
    if not isinstance(record, dict) or record.get("t") != "snap":
        raise InputError("expected a snapshot")
    zones = record.get("zones")
    if not isinstance(zones, list) or not zones or not all(isinstance(z, dict) for z in zones):
        raise InputError("the snapshot has no zones")
    for zone in zones:
        for key in ("node", "zone", "start", "spanned", "pageblock_order", "max_order"):
            if type(zone.get(key)) is not int:
                raise InputError(f"a zone's {key} is not a whole number")
    if len({zone["node"] for zone in zones}) > MAX_RECORDED_NODES:
        raise InputError(f"more than {MAX_RECORDED_NODES} nodes")
    return sorted(zones, key=lambda z: (int(z["node"]), int(z["zone"])))


def cpus_of(zones: list[JsonObject]) -> list[int]:
    """The CPUs that each zone of the snapshot has page lists for: 0 to some last one.

    InputError if a zone leaves one out: a few page lists must not make a machine of thousands of CPUs.
    """
    cpus: list[int] = []
    for zone in zones:
        pcps = zone.get("pcp")
        if not isinstance(pcps, list) or not all(isinstance(p, dict) for p in pcps):
            raise InputError("a zone's pcp is not a list of objects")
        for expected, pcp in enumerate(pcps):
            if type(pcp.get("cpu")) is not int or pcp["cpu"] != expected:
                raise InputError(f"a zone has a page list of CPU {pcp.get('cpu')!r} where CPU {expected}'s belongs")
        cpus = cpus or list(range(len(pcps)))
        if len(pcps) != len(cpus) or not 0 < len(cpus) <= MAX_CPUS:
            raise InputError(f"a zone has page lists of {len(pcps)} CPUs, not of 1..{MAX_CPUS} as all zones have")
    return cpus


def config_of_snapshot(zones: list[JsonObject], cpu_node: tuple[int, ...], distance: Any = None) -> Config:
    """The machine that a snapshot was taken on.  Limits and marks are in the snapshot itself."""
    try:
        return Config(
            zones=tuple(
                ZoneConfig(zone=z["zone"], node=z["node"], start_pfn=z["start"], spanned_pages=z["spanned"])
                for z in zones
            ),
            nr_cpus=len(cpu_node),
            cpu_node=cpu_node,
            pageblock_order=zones[0]["pageblock_order"],
            max_page_order=zones[0]["max_order"],
            node_distance=_distances(distance),
        )
    except ConfigError as error:
        raise InputError(f"the snapshot's machine is impossible: {error.message}") from None


def _distances(told: Any) -> tuple[tuple[int, ...], ...] | None:
    if told is None:
        return None
    rows = told if isinstance(told, list) else [told]
    if not all(isinstance(row, list) and all(type(d) is int and 0 <= d <= 255 for d in row) for row in rows):
        raise InputError("meta: node_distance is not a table of distances 0..255")
    return tuple(tuple(row) for row in rows)


def told_cpu_nodes(meta: Meta, nr_cpus: int) -> tuple[int, ...] | None:
    """The node of each CPU if the recording's meta line says it (docs/formats.md), else None."""
    told = meta.raw.get("cpu_node")
    if told is None:
        return None
    if not isinstance(told, list) or len(told) != nr_cpus or not all(type(n) is int for n in told):
        raise InputError(f"meta: cpu_node is not a list of {nr_cpus} nodes")
    return tuple(told)


def boot_from_snapshot(zones: list[JsonObject], calls: Calls, config: Config) -> Kernel:
    """A Kernel in the state of the snapshot.  InputError if the snapshot contradicts itself."""
    k = Kernel(config, calls)
    for zone, state in zip(k.zones, zones, strict=True):
        if (state["pageblock_order"], state["max_order"]) != (config.pageblock_order, config.max_page_order):
            raise InputError("the zones disagree about pageblock_order or max_order")
        load_zone(k, zone, state)
    return k


def boot_recording(record: object, meta: Meta, calls: Calls, cpu_node: tuple[int, ...] | None) -> Kernel:
    """Boot from a snapshot line.  ``cpu_node`` None: what meta says, else the first guess.  Errors: InputError."""
    zones = snapshot_zones(record)
    if cpu_node is None:
        nr_cpus = cpus_of(zones)[-1] + 1
        cpu_node = told_cpu_nodes(meta, nr_cpus) or first_guess(zones, nr_cpus)
    config = config_of_snapshot(zones, cpu_node, meta.raw.get("node_distance"))
    return boot_from_snapshot(zones, calls, config)
