# SPDX-License-Identifier: GPL-2.0-only
"""From the first snapshot of a recording to a booted model of that machine."""

from __future__ import annotations

from typing import Any

from pageblock_buddy.config import MAX_CPUS, Config, ZoneConfig
from pageblock_buddy.errors import ConfigError, InputError
from pageblock_buddy.mm.calls import Calls
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.snapshot import load_zone

JsonObject = dict[str, Any]


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
    return sorted(zones, key=lambda z: (int(z["node"]), int(z["zone"])))


def cpus_of(zones: list[JsonObject]) -> list[int]:
    """The CPUs that the snapshot has page lists for, ascending."""
    found: dict[int, None] = {}
    for zone in zones:
        pcps = zone.get("pcp")
        if not isinstance(pcps, list) or not all(isinstance(p, dict) for p in pcps):
            raise InputError("a zone's pcp is not a list of objects")
        for pcp in pcps:
            cpu = pcp.get("cpu")
            if type(cpu) is not int or not 0 <= cpu < MAX_CPUS:
                raise InputError(f"CPU {cpu!r} is not 0..{MAX_CPUS - 1}")
            found[cpu] = None
    if not found:
        raise InputError("the snapshot has no CPU")
    return sorted(found)


def config_of_snapshot(zones: list[JsonObject], cpu_node: tuple[int, ...]) -> Config:
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
        )
    except ConfigError as error:
        raise InputError(f"the snapshot's machine is impossible: {error.message}") from None


def boot_from_snapshot(zones: list[JsonObject], calls: Calls, config: Config) -> Kernel:
    """A Kernel in the state of the snapshot.  InputError if the snapshot contradicts itself."""
    k = Kernel(config, calls)
    for zone, state in zip(k.zones, zones, strict=True):
        if (state["pageblock_order"], state["max_order"]) != (config.pageblock_order, config.max_page_order):
            raise InputError("the zones disagree about pageblock_order or max_order")
        load_zone(k, zone, state)
    return k
