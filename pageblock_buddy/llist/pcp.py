# SPDX-License-Identifier: GPL-2.0-only
"""Remote frees: how they come from the owner's lock-less list to its lists.

Kernel: mm/page_alloc.c; [03/40]
"""

from __future__ import annotations

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.mm.page import PG_PCP, PG_PCP_BUDDY
from pageblock_buddy.rfc import variant as rfc
from pageblock_buddy.rfc.pcp import pcp_list_type


def absorb_remote_frees(k: Kernel, pcp: PerCpuPages) -> None:
    """Move everything from the lock-less list to the lists, so that the newest free ends at the head.

    While a page is on the lock-less list its block is not complete, so the owner that its free read is still the
    owner and the page is marked; only if this CPU died meanwhile, the block belongs to nobody.

    Kernel:  absorb_remote_frees(), mm/page_alloc.c; [03/40]; RFC-9.7, RFC-9.8, RFC-9.9, RFC-9.12
    Status:  source; decision D-27 (order; no limit is looked at or tuned)
    Locks:   holds pcp.lock
    """
    if pcp.free_llist.llist_empty():
        return
    for pfn, order in reversed(pcp.free_llist.llist_del_all()):  # RFC-9.7, RFC-9.8
        pcp.lists[k.calls.order_to_pindex(k, pcp_list_type(k, pfn), order)].list_add(pfn)
        owned = k.pageblock_cpu[pfn >> k.pageblock_order] == pcp.cpu + 1
        k.mem_map[pfn] = (PG_PCP_BUDDY if owned else PG_PCP) | order  # RFC-9.9, RFC-9.12
        pcp.count += 1 << order
        k.pgfree += 1 << order  # RFC-9.10


def pcp_rmqueue_smallest(k: Kernel, zone: Zone, pcp: PerCpuPages, order: int, mt: int) -> int | None:
    """Take a block from the lists, after what others freed is on them.

    Kernel:  pcp_rmqueue_smallest(), mm/page_alloc.c; [03/40]; RFC-9.7
    Status:  source
    Locks:   holds pcp.lock
    """
    absorb_remote_frees(k, pcp)  # RFC-9.7
    return rfc.PCP_BUDDY.pcp_rmqueue_smallest(k, zone, pcp, order, mt)
