# SPDX-License-Identifier: GPL-2.0-only
"""CPU hotplug: nothing is left behind on a dead CPU's lock-less list.

Kernel: mm/page_alloc.c; [03/40] is silent
"""

from __future__ import annotations

from pageblock_buddy.gfp import FPI_NONE
from pageblock_buddy.llist.free import free_stranded
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.rfc import variant as rfc


def page_alloc_cpu_dead(k: Kernel, cpu: int) -> None:
    """A CPU is gone: as in rfc, and then what was pushed before its blocks lost their owner.

    Whoever pushes later finds the tag changed and looks after the page itself.

    Kernel:  page_alloc_cpu_dead(), mm/page_alloc.c; RFC-8.1, RFC-9.12
    Status:  decision D-27
    Locks:   takes pcp.lock, zone.lock
    Context: task
    """
    rfc.CALLS.page_alloc_cpu_dead(k, cpu)
    for zone in k.zones:
        free_stranded(k, zone, zone.per_cpu_pageset[cpu], FPI_NONE)  # RFC-9.12
