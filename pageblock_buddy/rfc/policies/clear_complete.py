# SPDX-License-Identifier: GPL-2.0-only
"""clear-complete: a pageblock that becomes whole in the zone belongs to nobody.

In the RFC as described it keeps its owner until the next claim, so that whoever takes its pages otherwise sends them,
freed, to a CPU that may be idle.

Kernel: none; decision D-22
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy.linux_6_12.free import covering_block
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import Zone
from pageblock_buddy.rfc import variant as rfc
from pageblock_buddy.rfc.pageblock import disown_pageblock
from pageblock_buddy.rfc.policies.policy import Policy


def _free_one_page(k: Kernel, pfn: int, zone: Zone, order: int, mt: int, fpi_flags: int) -> None:
    """Free one block to the buddy; if that made pageblocks whole, they are disowned.

    They are complete and zone->lock is held, so the stability of an owner that is read without a lock is not hurt.

    Kernel:  __free_one_page(), mm/page_alloc.c; RFC-10.9
    Status:  decision D-22
    Locks:   holds zone.lock
    """
    rfc.CALLS._free_one_page(k, pfn, zone, order, mt, fpi_flags)
    block = covering_block(k, pfn)
    assert block is not None
    head, merged_order, _ = block
    for block_pfn in range(head, head + (1 << merged_order) - k.block_pages + 1, k.block_pages):
        if k.pageblock_cpu[block_pfn >> k.pageblock_order]:
            disown_pageblock(k, zone, block_pfn)  # RFC-10.9


POLICY: Final = Policy(
    name="clear-complete",
    summary="a pageblock that becomes whole in the zone loses its owner",
    source="decision D-22",
    calls={"_free_one_page": _free_one_page},
    wraps=("_free_one_page",),
)
