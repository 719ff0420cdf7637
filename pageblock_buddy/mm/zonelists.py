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


def node_order(nid: int, nodes: Sequence[Node], distance: Sequence[Sequence[int]] | None) -> list[int]:
    """The node itself, then the others, nearest first.

    Among equally near nodes the kernel starts at the one that follows ``nid`` and prefers a
    node without CPUs; both only matter from three nodes on, where it also spreads load
    between equally distant nodes.  We order by distance, then cyclically from ``nid``.

    Kernel:  find_next_best_node(), mm/page_alloc.c
    Status:  decision D-04
    """

    def key(other: int) -> tuple[int, int]:
        if distance is None:
            far = LOCAL_DISTANCE if other == nid else REMOTE_DISTANCE
        else:
            far = distance[nid][other]
        return far, (other - nid) % (max(n.nid for n in nodes) + 1)

    rest = sorted((n.nid for n in nodes if n.nid != nid), key=key)
    return [nid, *rest]


def build_zonelists(nodes: Sequence[Node], distance: Sequence[Sequence[int]] | None) -> None:
    """Fill every node's zonelists.

    Kernel:  build_zonelists(), mm/page_alloc.c
    Status:  source
    """
    by_nid = {node.nid: node for node in nodes}
    for node in nodes:
        order = node_order(node.nid, nodes, distance)
        node.zonelists = (
            tuple(_zonelist([by_nid[n] for n in order], top) for top in range(gfp.MAX_NR_ZONES)),
            tuple(_zonelist([node], top) for top in range(gfp.MAX_NR_ZONES)),
        )


def _zonelist(nodes: Sequence[Node], highest_zoneidx: int) -> tuple[Zone, ...]:
    """Populated zones up to ``highest_zoneidx``: node by node, each node's highest zone first."""
    zones = []
    for node in nodes:  # LPA-9.1.6
        for zone in reversed(node.node_zones[: highest_zoneidx + 1]):  # LPA-9.1.5
            if zone is not None and zone.present_pages:
                zones.append(zone)
    return tuple(zones)
