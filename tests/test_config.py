# SPDX-License-Identifier: GPL-2.0-only
"""Config: defaults, refusals, and JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pageblock_buddy import Config, ConfigError, System, ZoneConfig, gfp

ZONE = ZoneConfig(zone=gfp.ZONE_DMA32, start_pfn=0, spanned_pages=64)


def test_defaults_are_the_kernel_s() -> None:
    """LPA-1.0.2, LPA-1.0.4, LPA-1.0.15, LPA-11.1.11, LPA-11.1.14, LPA-11.3.1: Debian's 6.12 on x86-64."""
    config = Config(zones=(ZONE,))
    assert (config.pageblock_order, config.max_page_order, config.pcp_batch_scale_max) == (9, 10, 5)
    assert (config.watermark_boost_factor, config.watermark_scale_factor) == (15000, 10)
    assert config.lowmem_reserve_ratio == (256, 256, 32, 0, 0)
    assert (config.nr_cpus, config.cpu_node, config.nr_online_nodes, config.thp) == (1, (0,), 1, True)


def test_small() -> None:
    """A single zone for tests; overrides go to the zone or to the machine."""
    config = Config.small(32, zone=gfp.ZONE_NORMAL, nr_cpus=2, batch=3, holes=((8, 8),))
    zone = config.zones[0]
    assert (zone.zone, zone.start_pfn, zone.end_pfn, zone.batch, zone.high_min, zone.watermark) == (
        2,
        0,
        32,
        3,
        8,
        (0, 0, 0, 0),
    )
    assert (config.pageblock_order, config.max_page_order, config.nr_cpus, config.end_pfn) == (3, 4, 2, 32)
    assert Config.small(watermark=(1, 2, 3, 4)).zones[0].watermark == (1, 2, 3, 4)


def test_pc() -> None:
    """LPA-1.0.12: DMA from pfn 1, DMA32 from 16 MiB, NORMAL from 4 GiB."""
    assert [(z.zone, z.start_pfn, z.end_pfn) for z in Config.pc(8).zones] == [(0, 1, 2048)]
    assert [(z.zone, z.start_pfn, z.end_pfn) for z in Config.pc(8192).zones] == [
        (0, 1, 4096),
        (1, 4096, 1 << 20),
        (2, 1 << 20, 1 << 21),
    ]


def test_pc_with_nodes() -> None:
    """One size per node, one behind the other; the zones are node by node."""
    config = Config.pc((16, 4096), nr_cpus=2, cpu_node=(0, 1))
    assert [(z.node, z.zone, z.start_pfn) for z in config.zones] == [(0, 0, 1), (1, 1, 4096), (1, 2, 1 << 20)]
    assert (config.node_ids, config.nr_online_nodes) == ((0, 1), 2)


def test_online_nodes() -> None:
    """Nodes with CPUs count as well; a given number wins."""
    assert Config(zones=(ZONE,), nr_cpus=2, cpu_node=(0, 3)).nr_online_nodes == 2
    assert Config(zones=(ZONE,), nr_online_nodes=7).nr_online_nodes == 7


def test_zones_are_sorted_node_by_node() -> None:
    """for_each_zone(), whatever the order given."""
    zones = tuple(
        ZoneConfig(zone=z, node=n, start_pfn=s, spanned_pages=8) for n, z, s in ((1, 2, 0), (0, 2, 8), (0, 1, 16))
    )
    assert [(z.node, z.zone) for z in Config(zones=zones).zones] == [(0, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"zone": 5}, "zone index"),
        ({"zone": -1}, "zone index"),
        ({"node": 1024}, "node is not"),
        ({"node": -1}, "node is not"),
        ({"start_pfn": -8}, "do not fit"),
        ({"spanned_pages": 0}, "do not fit"),
        ({"spanned_pages": (1 << 32) + 1}, "do not fit"),
        ({"holes": ((60, 8),)}, "holes range"),
        ({"holes": ((8, 0),)}, "holes range"),
        ({"holes": ((16, 8), (20, 8))}, "overlaps"),
        ({"reserved": ((0, 8), (7, 8))}, "reserved range"),
        ({"cma": ((-8, 8),)}, "cma range"),
        ({"cma": ((4, 8),)}, "not whole pageblocks"),
        ({"reserved": ((8, 8),), "holes": ((8, 8),)}, "overlaps"),
        ({"managed_pages": -5}, "managed_pages -5"),
        ({"batch": 501}, "batch 501"),
        ({"start_pfn": 1.5}, "whole numbers"),
        ({"batch": 0}, "at least 1"),
        ({"batch": -1}, "batch -1"),
        ({"high_min": 1 << 31}, "high_min"),
        ({"high_max": -1}, "high_max"),
        ({"watermark": (1, 2, 3)}, "four page counts"),
        ({"watermark": (1, 2, 3, -4)}, "four page counts"),
        ({"lowmem_reserve": (0, 0)}, "5 page counts"),
        ({"lowmem_reserve": (0, 0, 0, 0, -1)}, "5 page counts"),
    ],
)
def test_impossible_zones(fields: dict[str, Any], message: str) -> None:
    """ConfigError names the field."""
    with pytest.raises(ConfigError, match=message):
        Config(zones=(ZoneConfig(**({"zone": 1, "start_pfn": 0, "spanned_pages": 64} | fields)),))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"zones": ()}, "at least one zone"),
        ({"nr_cpus": 0}, "nr_cpus"),
        ({"nr_cpus": 8193}, "nr_cpus"),
        ({"pageblock_order": -1}, "pageblock_order"),
        ({"pageblock_order": 5, "max_page_order": 4}, "pageblock_order"),
        ({"max_page_order": 16}, "max_page_order"),
        ({"cpu_node": (0, 0)}, "one node for each CPU"),
        ({"cpu_node": (-1,)}, "cpu_node entries"),
        ({"pcp_batch_scale_max": 7}, "pcp_batch_scale_max"),
        ({"percpu_pagelist_high_fraction": 7}, "at least 8"),
        ({"lowmem_reserve_ratio": (1,)}, "five ratios"),
        ({"zones": (ZONE, ZoneConfig(zone=1, start_pfn=64, spanned_pages=8))}, "given twice"),
        ({"zones": (ZONE, ZoneConfig(zone=2, start_pfn=60, spanned_pages=8))}, "overlap at pfn 60"),
        ({"node_distance": ((10, 20),)}, "1 rows of 1"),
        ({"node_distance": ((10,), (20,))}, "1 rows of 1"),
    ],
)
def test_impossible_machines(fields: dict[str, Any], message: str) -> None:
    """ConfigError names the field; it is the configuration's fault."""
    with pytest.raises(ConfigError, match=message) as caught:
        Config(**({"zones": (ZONE,)} | fields))
    assert caught.value.fault == "config"


@pytest.mark.parametrize("mib", [0, -1, (), (8, 0)])
def test_impossible_sizes(mib: Any) -> None:
    """Config.pc() wants positive sizes."""
    with pytest.raises(ConfigError, match="MiB"):
        Config.pc(mib)


@pytest.mark.parametrize(
    "config",
    [
        Config.small(),
        Config.pc(64),
        Config.pc((16, 16), nr_cpus=2, cpu_node=(0, 1), node_distance=((10, 15), (15, 10))),
        Config.small(holes=((8, 8),), reserved=((0, 4),), cma=((16, 16),), lowmem_reserve=(0, 1, 2, 3, 4)),
    ],
)
def test_json_round_trip(config: Config) -> None:
    """to_dict() is JSON, and from_dict() gives an equal Config."""
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert Config.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"zones": 5},
        {"zones": [5]},
        {"zones": [{"zone": 1}]},
        {"zones": [{"zone": 1, "start_pfn": 0, "spanned_pages": "x"}]},
        {"zones": [{"zone": 1, "start_pfn": 0, "spanned_pages": 8, "colour": 1}]},
        {"zones": [{"zone": 1, "start_pfn": 0, "spanned_pages": 8, "holes": 3}]},
        {"zones": [{"zone": 1, "start_pfn": 0, "spanned_pages": 8}], "speed": 1},
        {"zones": [{"zone": 1, "start_pfn": 0, "spanned_pages": 8}], "nr_cpus": None},
    ],
)
def test_from_dict_refuses(data: dict[str, Any]) -> None:
    """ConfigError, never a bare TypeError."""
    with pytest.raises(ConfigError):
        Config.from_dict(data)


def test_holes_up_to_the_end() -> None:
    """A zone may end in a hole or in reserved memory, and touch the next one."""
    config = Config(
        zones=(
            ZoneConfig(zone=1, start_pfn=0, spanned_pages=16, holes=((8, 8),)),
            ZoneConfig(zone=2, start_pfn=16, spanned_pages=16, reserved=((16, 16),)),
        ),
        pageblock_order=3,
        max_page_order=4,
    )
    assert [zone.managed_pages for zone in System.boot(config).zones] == [8, 0]


def test_threshold_is_limited() -> None:
    """LPA-14.0.2, LPA-14.0.3: the diff is an s8; the kernel never goes beyond 125."""
    with pytest.raises(ConfigError):
        Config.small(vm_stat_threshold=1000)
