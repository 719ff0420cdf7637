# SPDX-License-Identifier: GPL-2.0-only
"""Zonelists."""

from __future__ import annotations

import pytest

from pageblock_buddy import Config, System, ZoneConfig, gfp
from pageblock_buddy.mm.zonelists import find_next_best_node, node_distance, node_orders

DMA, DMA32, NORMAL, MOVABLE = range(4)


def boot(*specs: tuple[int, int], present: dict[int, int] | None = None, **overrides: object) -> System:
    """Zones of 16 pages from (node, zone)."""
    zones = tuple(
        ZoneConfig(zone=idx, node=node, start_pfn=16 * i, spanned_pages=16, present_pages=(present or {}).get(i))
        for i, (node, idx) in enumerate(specs)
    )
    fields: dict[str, object] = {"pageblock_order": 3, "max_page_order": 4}
    return System.boot(Config(zones=zones, **(fields | overrides)))  # type: ignore[arg-type]


def lists(system: System, nid: int, thisnode: int = 0) -> list[list[tuple[int, int]]]:
    """A node's zonelists as (node, zone), for the zone indices DMA..MOVABLE."""
    return [[(z.node, z.idx) for z in zonelist] for zonelist in system.kernel.nodes[nid].zonelists[thisnode][:4]]


def test_one_node() -> None:
    """LPA-9.1.5: the zones up to the index, highest first; ZONE_MOVABLE before NORMAL."""
    system = boot((0, DMA), (0, DMA32), (0, NORMAL), (0, MOVABLE))
    everything = [(0, MOVABLE), (0, NORMAL), (0, DMA32), (0, DMA)]
    assert lists(system, 0) == [everything[3:], everything[2:], everything[1:], everything]
    assert lists(system, 0, 1) == lists(system, 0)


def test_unpopulated_zones_are_left_out() -> None:
    """LPA-9.1.5: populated means present pages."""
    system = boot((0, DMA), (0, DMA32), (0, NORMAL), present={1: 0})
    assert lists(system, 0)[NORMAL] == [(0, NORMAL), (0, DMA)]


def test_two_nodes() -> None:
    """LPA-9.1.6: node by node, each node's zones highest first; the local-only lists for __GFP_THISNODE."""
    system = boot((0, DMA32), (0, NORMAL), (1, NORMAL))
    assert lists(system, 0)[NORMAL] == [(0, NORMAL), (0, DMA32), (1, NORMAL)]
    assert lists(system, 1)[NORMAL] == [(1, NORMAL), (0, NORMAL), (0, DMA32)]
    assert lists(system, 1)[DMA32] == [(0, DMA32)]
    assert lists(system, 1, 1) == [[], [], [(1, NORMAL)], [(1, NORMAL)]]


def test_nodes_by_distance() -> None:
    """LPA-9.1.6: from node 0, node 2 is nearer than node 1."""
    distance = ((10, 31, 21), (31, 10, 21), (21, 21, 10))
    system = boot((0, NORMAL), (1, NORMAL), (2, NORMAL), node_distance=distance)
    assert [node for node, _ in lists(system, 0)[NORMAL]] == [0, 2, 1]
    assert [node for node, _ in lists(system, 1)[NORMAL]] == [1, 2, 0]


def test_equally_far_nodes_are_taken_in_turn() -> None:
    """LPA-9.1.7, LPA-9.1.6: "prefer the next node", and the first of a group gets a load: 0 -> 1 2 3; 1 -> 2 3 0; 2
    -> 3 ..., where
    node 0 and 1 are behind: 0 is unloaded (nobody fell back to it first) and 1 is not; 3 -> 0 1 2 by load."""
    system = boot((0, NORMAL), (1, NORMAL), (2, NORMAL), (3, NORMAL), cpu_node=(0, 1, 2, 3), nr_cpus=4)
    orders = [[node for node, _ in lists(system, nid)[NORMAL]] for nid in range(4)]
    assert orders == [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]]


def test_load_of_the_first_of_a_group() -> None:
    """LPA-9.1.7: 0 and 1 are close (15), all others 20.  Node 0 takes 1, then 2 before 3, and loads 2.  So node 1,
    equally far from 2 and 3, takes 3 first."""
    distance = ((10, 15, 20, 20), (15, 10, 20, 20), (20, 20, 10, 20), (20, 20, 20, 10))
    system = boot(
        (0, NORMAL), (1, NORMAL), (2, NORMAL), (3, NORMAL), cpu_node=(0, 1, 2, 3), nr_cpus=4, node_distance=distance
    )
    orders = [[node for node, _ in lists(system, nid)[NORMAL]] for nid in range(4)]
    assert orders == [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 0, 1, 2]]


def test_the_next_best_node() -> None:
    """LPA-9.1.7: itself, the nearest, the next, the least loaded."""
    assert find_next_best_node(0, [1, 2], None, {1: 0, 2: 0}) == 1
    assert find_next_best_node(0, [1, 2], None, {1: 1, 2: 0}) == 2  # the load
    assert find_next_best_node(0, [0, 1], None, {0: 9, 1: 0}) == 0  # itself first
    assert find_next_best_node(2, [1, 3], None, {1: 0, 3: 5}) == 3  # the next node rather than one before


def test_a_node_without_cpus_is_not_preferred() -> None:
    """LPA-9.1.7: at boot the kernel knows of no CPU yet.  Seen in the boot messages of a guest with 4 nodes whose CPUs
    are on 0, 0, 1 and 3: "Fallback order for Node 0: 0 1 2 3", "Node 3: 3 0 1 2"."""
    system = boot((0, NORMAL), (1, NORMAL), (2, NORMAL), (3, NORMAL), cpu_node=(0, 0, 1, 3), nr_cpus=4)
    orders = [[node for node, _ in lists(system, nid)[NORMAL]] for nid in range(4)]
    assert (orders[0], orders[3]) == ([0, 1, 2, 3], [3, 0, 1, 2])


def test_distance() -> None:
    """The SLIT's values, or 10 and 20."""
    assert (node_distance(None, 1, 1), node_distance(None, 1, 2)) == (10, 20)
    assert node_distance(((10, 15), (17, 10)), 1, 0) == 17


def test_memoryless_node() -> None:
    """LPA-9.1.6: a node that has only CPUs falls back to the others and has no list of its own."""
    system = boot((0, NORMAL), nr_cpus=2, cpu_node=(0, 1))
    assert sorted(system.kernel.nodes) == [0, 1]
    assert lists(system, 1)[NORMAL] == [(0, NORMAL)]
    assert lists(system, 1, 1)[NORMAL] == []
    orders = node_orders(list(system.kernel.nodes.values()), None)
    assert orders == {0: [0], 1: [0]}


def test_node_without_present_pages_has_no_memory() -> None:
    """A zone of holes only does not make its node a node with memory."""
    system = boot((0, NORMAL), (1, NORMAL), present={1: 0})
    assert lists(system, 0)[NORMAL] == [(0, NORMAL)]
    assert lists(system, 1)[NORMAL] == [(0, NORMAL)]


@pytest.mark.parametrize(
    ("bits", "index"),
    [
        (0, NORMAL),
        (gfp.GFP_DMA, DMA),
        (gfp.GFP_DMA32, DMA32),
        (gfp.GFP_HIGHMEM, NORMAL),
        (gfp.GFP_MOVABLE, NORMAL),
        (gfp.GFP_MOVABLE | gfp.GFP_DMA, DMA),
        (gfp.GFP_MOVABLE | gfp.GFP_DMA32, DMA32),
        (gfp.GFP_MOVABLE | gfp.GFP_HIGHMEM, MOVABLE),
    ],
)
def test_gfp_zone(bits: int, index: int) -> None:
    """LPA-9.1.4."""
    assert gfp.gfp_zone(bits | gfp.GFP_KERNEL) == index
