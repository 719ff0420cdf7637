# SPDX-License-Identifier: GPL-2.0-only
"""Zonelists: which zones a request walks, and in which order.

Kernel: build_all_zonelists(), mm/page_alloc.c
"""

from __future__ import annotations

from collections.abc import Sequence

from pageblock_buddy import gfp
from pageblock_buddy.mm.mmzone import Node, Zone

LOCAL_DISTANCE = 10
REMOTE_DISTANCE = 20


#: Any number larger than every node_load will do (MAX_NUMNODES in the kernel).
_LOAD_SCALE = 1024


def node_distance(distance: Sequence[Sequence[int]] | None, a: int, b: int) -> int:
    """The SLIT distance of two nodes; without a table 10 to itself and 20 to others.

    Kernel:  node_distance(), arch/x86/mm/numa.c; LPA-9.1.6
    Status:  source
    """
    if distance is not None:
        return distance[a][b]
    return LOCAL_DISTANCE if a == b else REMOTE_DISTANCE


def find_next_best_node(
    nid: int,
    candidates: Sequence[int],
    distance: Sequence[Sequence[int]] | None,
    node_load: dict[int, int],
) -> int:
    """The nearest of the candidates; of equally near ones a later node, then the least loaded.

    The kernel also prefers nodes without CPUs, but builds the lists at boot before it knows of any CPU, so
    that this shows only after memory hotplug.

    Kernel:  find_next_best_node(), mm/page_alloc.c; LPA-9.1.6, LPA-9.1.7
    Status:  source
    """
    if nid in candidates:
        return nid

    def cost(other: int) -> int:
        value = node_distance(distance, nid, other)
        value += other < nid  # prefer the next node
        return value * _LOAD_SCALE + node_load[other]

    return min(candidates, key=cost)  # LPA-9.1.6, LPA-9.1.7


def node_orders(nodes: Sequence[Node], distance: Sequence[Sequence[int]] | None) -> dict[int, list[int]]:
    """For each node the nodes with memory, in the order in which it falls back to them.

    The first node of each group of equally distant ones gets a load, so that the next node
    that looks starts with another one.

    Kernel:  build_zonelists(), mm/page_alloc.c; LPA-9.1.6
    Status:  source
    """
    with_memory = [n.nid for n in nodes if any(z is not None and z.present_pages for z in n.node_zones)]
    node_load = dict.fromkeys(with_memory, 0)
    orders: dict[int, list[int]] = {}
    for node in nodes:
        order: list[int] = []
        previous = node.nid
        rest = list(with_memory)
        while rest:
            best = find_next_best_node(node.nid, rest, distance, node_load)
            if node_distance(distance, node.nid, best) != node_distance(distance, node.nid, previous):
                node_load[best] += 1  # LPA-9.1.7
            rest.remove(best)
            order.append(best)
            previous = best
        orders[node.nid] = order
    return orders


def build_zonelists(nodes: Sequence[Node], distance: Sequence[Sequence[int]] | None) -> None:
    """Fill every node's zonelists.

    Kernel:  __build_all_zonelists(), mm/page_alloc.c; LPA-9.1.5, LPA-9.1.6
    Status:  source
    """
    by_nid = {node.nid: node for node in nodes}
    orders = node_orders(nodes, distance)
    for node in nodes:
        fallback = [by_nid[n] for n in orders[node.nid]]
        node.zonelists = (
            tuple(_zonelist(fallback, top) for top in range(gfp.MAX_NR_ZONES)),
            tuple(_zonelist([node], top) for top in range(gfp.MAX_NR_ZONES)),
        )


def _zonelist(nodes: Sequence[Node], highest_zoneidx: int) -> tuple[Zone, ...]:
    """Populated zones up to ``highest_zoneidx``: node by node, each node's highest zone first."""
    zones = []
    for node in nodes:
        for zone in reversed(node.node_zones[: highest_zoneidx + 1]):  # LPA-9.1.5
            if zone is not None and zone.present_pages:
                zones.append(zone)
    return tuple(zones)
