# SPDX-License-Identifier: GPL-2.0-only
"""offline-keep: CPU hotplug as the RFC leaves it: a dead CPU is drained and keeps its pageblocks.

Kernel: none; the RFC taken literally, decision D-23
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy.linux_7_0 import variant as linux_7_0
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.rfc.policies.policy import Policy


def still_routed(k: Kernel, pfn: int, tag: int, cpu: int) -> bool:
    """Nothing is looked at again.

    Kernel:  none; [RFC 2/2] does not speak of CPU hotplug; RFC-10.10
    Status:  decision D-23
    """
    return True  # RFC-10.10


def page_alloc_cpu_dead(k: Kernel, cpu: int) -> None:
    """Drain and fold as today.

    Kernel:  page_alloc_cpu_dead(), mm/page_alloc.c; LPA-8.8.11
    Status:  decision D-23
    Locks:   takes pcp.lock, zone.lock
    """
    linux_7_0.CALLS.page_alloc_cpu_dead(k, cpu)  # RFC-10.10


POLICY: Final = Policy(
    name="offline-keep",
    summary="a dead CPU keeps its pageblocks, and frees go on to its PCP",
    source="decision D-23",
    calls={"page_alloc_cpu_dead": page_alloc_cpu_dead},
    pcp_buddy={"still_routed": still_routed},
    breaks=("dead_cpus",),
)
