# SPDX-License-Identifier: GPL-2.0-only
"""owned-per-type: one owned_blocks list per PCP migratetype, so that no refill walks over blocks of other types.

Kernel: none; asked in [Riel 04-03]
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.rfc.pcp import pcp_list_type
from pageblock_buddy.rfc.policies.policy import Policy


def list_owned_block(k: Kernel, zone: Zone, pcp: PerCpuPages, block_pfn: int) -> None:
    """Remember an owned block on the list of the type that it has now; nothing if it is listed already.

    Kernel:  list_add_tail(&pbd->cpu_node, &pcp->owned_blocks[mt]), [Riel 04-03]; RFC-10.5
    Status:  decision D-20
    Locks:   holds pcp.lock, zone.lock
    """
    zone.lock.assert_held()
    index = block_pfn >> k.pageblock_order
    if k.pageblock_cpu_node[index]:
        return
    pcp.owned_blocks_by_type[pcp_list_type(k, block_pfn)].list_add_tail(block_pfn)  # RFC-10.5
    k.pageblock_cpu_node[index] = pcp.cpu + 1


def unlist_owned_block(k: Kernel, zone: Zone, block_pfn: int) -> None:
    """Take a block off whichever list it is on: its type may have changed since it was listed.

    Kernel:  list_del_init(&pbd->cpu_node), [Riel 04-03]; RFC-3.4, RFC-7.16
    Status:  decision D-20
    Locks:   holds zone.lock
    """
    zone.lock.assert_held()
    index = block_pfn >> k.pageblock_order
    linked = k.pageblock_cpu_node[index]
    if not linked:
        return
    lists = zone.per_cpu_pageset[linked - 1].owned_blocks_by_type
    next(one for one in lists if block_pfn in one).list_del(block_pfn)
    k.pageblock_cpu_node[index] = 0


def owned_blocks_to_recover(k: Kernel, pcp: PerCpuPages, mt: int) -> list[int]:
    """The blocks on the list of type ``mt`` that are still of that type.

    Kernel:  list_for_each_entry_safe() over pcp->owned_blocks[mt], [Riel 04-03]; RFC-5.10
    Status:  decision D-20
    Locks:   holds zone.lock
    """
    get_type = k.calls.get_pageblock_migratetype
    return [block_pfn for block_pfn in pcp.owned_blocks_by_type[mt] if get_type(k, block_pfn) == mt]


POLICY: Final = Policy(
    name="owned-per-type",
    summary="one owned_blocks list per PCP migratetype",
    source="[Riel 04-03]",
    pcp_buddy={
        "list_owned_block": list_owned_block,
        "unlist_owned_block": unlist_owned_block,
        "owned_blocks_to_recover": owned_blocks_to_recover,
    },
    state={"owned_blocks": "owned_blocks_by_type"},
)
