# SPDX-License-Identifier: GPL-2.0-only
"""/proc/buddyinfo: the number of free blocks of each order.

Kernel: mm/vmstat.c (6.12.117)
"""

from __future__ import annotations

from io import StringIO

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Node, Zone
from pageblock_buddy.views.walk import walk_zones_in_node


def frag_show_print(k: Kernel, m: StringIO, pgdat: Node, zone: Zone) -> None:
    """One zone's line: nr_free of each order, isolated and highatomic blocks included, per-CPU lists not.

    Kernel:  frag_show_print(), mm/vmstat.c
    Status:  source
    Cost:    O(max_page_order)
    """
    m.write(f"Node {pgdat.nid}, zone {zone.name:>8} ")
    for area in zone.free_area:
        m.write(f"{area.nr_free:6d} ")  # LPA-15.2.1
    m.write("\n")


def frag_show(k: Kernel, m: StringIO, pgdat: Node) -> None:
    """One node.

    Kernel:  frag_show(), mm/vmstat.c
    Status:  source
    """
    walk_zones_in_node(k, m, pgdat, frag_show_print)


def buddyinfo(k: Kernel) -> str:
    """The text of /proc/buddyinfo."""
    m = StringIO()
    for pgdat in k.nodes.values():
        frag_show(k, m, pgdat)
    return m.getvalue()
