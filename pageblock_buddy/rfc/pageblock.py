# SPDX-License-Identifier: GPL-2.0-only
"""Ownership of pageblocks, and the list of owned blocks that have fragments in the zone.

A block gets an owner while it is wholly free in the zone (a claim), and loses it when it goes back to the zone
whole, from the owner's PCP (a drain).  In between every free of one of its pages goes to the owner.
``owned_blocks`` is not the list of all owned blocks: it remembers those whose fragments a drain sent to the zone, so
that the next refill can take them back.

Writes to the owner, to owned_blocks and to cpu_node need zone->lock; a free reads the owner without any lock.

Kernel: [RFC 1/2], [RFC 2/2]
"""

from __future__ import annotations

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone


def set_pageblock_owner(k: Kernel, zone: Zone, pfn: int, tag: int) -> None:
    """Store ``tag`` (CPU + 1, or 0 for nobody) in pbd->cpu.

    Kernel:  the store to pbd->cpu, [RFC 2/2]; RFC-3.2, RFC-3.21
    Status:  inferred
    Locks:   holds zone.lock
    """
    zone.lock.assert_held()
    k.pageblock_cpu[pfn >> k.pageblock_order] = tag  # RFC-3.2, RFC-3.21


def claim_pageblock(k: Kernel, zone: Zone, pcp: PerCpuPages, pfn: int) -> None:
    """Make the CPU of ``pcp`` the owner of a block that was wholly free in the zone.

    It may still be tagged with, and listed on, a former owner: it became whole in the zone without a
    drain that could disown it.

    Kernel:  phase 1 of rmqueue_bulk(), [RFC 2/2]; RFC-5.29, RFC-5.22, RFC-5.23
    Status:  source; decision D-15, decision D-20 (the former listing)
    Locks:   holds zone.lock
    """
    k.pcp_buddy.unlist_owned_block(k, zone, pfn)  # RFC-5.29
    k.pcp_buddy.set_pageblock_owner(k, zone, pfn, pcp.cpu + 1)  # RFC-5.22, RFC-5.23, RFC-5.29


def disown_pageblock(k: Kernel, zone: Zone, pfn: int) -> None:
    """Leave the block of ``pfn`` to nobody, in the hold of zone->lock that gives it to the zone.

    Kernel:  the disown of free_pcppages_bulk(), [RFC 2/2]; RFC-7.14, RFC-7.12
    Status:  source; decision D-20 (unlinking)
    Locks:   holds zone.lock
    """
    k.pcp_buddy.unlist_owned_block(k, zone, pfn)  # RFC-7.14
    k.pcp_buddy.set_pageblock_owner(k, zone, pfn, 0)  # RFC-7.12, RFC-7.14


def list_owned_block(k: Kernel, zone: Zone, pcp: PerCpuPages, block_pfn: int) -> None:
    """Remember that fragments of an owned block are in the zone; nothing if it is listed already.

    Kernel:  list_add_tail(&pbd->cpu_node, &pcp->owned_blocks), [RFC 2/2]; RFC-7.16, RFC-3.3, RFC-3.7, RFC-7.15
    Status:  source; decision D-20 (the end of the list, the test)
    Locks:   holds pcp.lock, zone.lock
    """
    zone.lock.assert_held()
    index = block_pfn >> k.pageblock_order
    if k.pageblock_cpu_node[index]:  # RFC-7.16
        return
    pcp.owned_blocks.list_add_tail(block_pfn)  # RFC-3.3, RFC-3.7, RFC-7.15, RFC-7.16
    k.pageblock_cpu_node[index] = pcp.cpu + 1  # RFC-3.4, RFC-7.16


def unlist_owned_block(k: Kernel, zone: Zone, block_pfn: int) -> None:
    """Take a block off whichever CPU's list it is on; nothing if it is on none.

    Kernel:  list_del_init(&pbd->cpu_node), [RFC 2/2]; RFC-5.29, RFC-7.16
    Status:  source; decision D-20 (on claim and disown)
    Locks:   holds zone.lock
    """
    zone.lock.assert_held()
    index = block_pfn >> k.pageblock_order
    linked = k.pageblock_cpu_node[index]
    if not linked:
        return
    zone.per_cpu_pageset[linked - 1].owned_blocks.list_del(block_pfn)  # RFC-5.29
    k.pageblock_cpu_node[index] = 0  # RFC-7.16


def owned_blocks_to_recover(k: Kernel, pcp: PerCpuPages, mt: int) -> list[int]:
    """The listed blocks of type ``mt``, oldest listing first: what phase 0 would visit.

    Kernel:  list_for_each_entry_safe() over pcp->owned_blocks in rmqueue_bulk(), [RFC 2/2]; RFC-5.10, RFC-5.11
    Status:  source
    Locks:   holds zone.lock
    Cost:    O(listed blocks), mismatching ones included
    """
    get_type = k.calls.get_pageblock_migratetype
    return [block_pfn for block_pfn in pcp.owned_blocks if get_type(k, block_pfn) == mt]  # RFC-5.10, RFC-5.11
