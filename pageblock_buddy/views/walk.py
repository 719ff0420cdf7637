# SPDX-License-Identifier: GPL-2.0-only
"""How the files of /proc go through nodes and zones.

``m`` stands for the kernel's ``struct seq_file *m``.  The kernel takes zone->lock around a zone; a view is made between
two operations and takes no lock.

Kernel: mm/vmstat.c (6.12.117)
"""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Node, Zone

#: One of the ..._show_print functions.
ShowPrint = Callable[[Kernel, StringIO, Node, Zone], None]


def populated_zone(zone: Zone) -> bool:
    """Whether the zone has memory.

    Kernel:  populated_zone(), include/linux/mmzone.h
    Status:  source
    """
    return zone.present_pages > 0


def walk_zones_in_node(k: Kernel, m: StringIO, pgdat: Node, show_print: ShowPrint) -> None:
    """Print every populated zone of a node, lowest first.

    Kernel:  walk_zones_in_node(), mm/vmstat.c
    Status:  source; without zone->lock.  /proc/zoneinfo also walks zones without memory, which the views leave out
    """
    for zone in pgdat.node_zones:
        if zone is not None and populated_zone(zone):
            show_print(k, m, pgdat, zone)
