# SPDX-License-Identifier: GPL-2.0-only
"""What is kept per pageblock: the migratetype, and in variants with owners struct pageblock_data.

Kernel: mm/page_alloc.c, include/linux/pageblock-flags.h; [RFC 1/2], [RFC 2/2]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pageblock_buddy.mm.kernel import Kernel


def get_pageblock_migratetype(k: Kernel, pfn: int) -> int:
    """The type of the pageblock of ``pfn``.

    Kernel:  get_pfnblock_migratetype(), mm/page_alloc.c; LPA-2.0.4
    Status:  source
    """
    return k.pageblock_flags[pfn >> k.pageblock_order]


def set_pageblock_migratetype(k: Kernel, pfn: int, mt: int) -> None:
    """Set the type of the pageblock of ``pfn``.

    Kernel:  set_pageblock_migratetype(), mm/page_alloc.c; LPA-2.0.4, LPA-2.0.5
    Status:  source
    """
    k.pageblock_flags[pfn >> k.pageblock_order] = mt


def pageblock_start_pfn(k: Kernel, pfn: int) -> int:
    """First PFN of the pageblock of ``pfn``.

    Kernel:  pageblock_start_pfn(), include/linux/pageblock-flags.h; LPA-1.0.6
    Status:  source
    """
    return pfn & -k.block_pages


class PageblockData:
    """A pageblock's data, read from the columns of the Kernel.

    ``cpu`` is the owner + 1, 0 for nobody ("zone-owned"); ``block_pfn`` the first PFN; ``cpu_node`` the CPU + 1 on
    whose owned_blocks the block is linked, 0 if it is unlinked; ``flags`` the migratetype word.

    Kernel:  struct pageblock_data, [RFC 1/2], [RFC 2/2]
    """

    __slots__ = ("_index", "_k")

    def __init__(self, k: Kernel, index: int) -> None:
        self._k = k
        self._index = index

    @property
    def flags(self) -> int:
        """The stored flags word."""
        return self._k.pageblock_flags[self._index]

    @property
    def cpu(self) -> int:
        """Owner + 1; 0: nobody."""
        return self._k.pageblock_cpu[self._index]

    @property
    def block_pfn(self) -> int:
        """First PFN of the block."""
        return self._index << self._k.pageblock_order

    @property
    def cpu_node(self) -> int:
        """CPU + 1 on whose owned_blocks it is linked; 0: unlinked."""
        return self._k.pageblock_cpu_node[self._index]

    def __repr__(self) -> str:
        return f"<PageblockData pfn {self.block_pfn} cpu {self.cpu} cpu_node {self.cpu_node}>"


def pfn_to_pageblock(k: Kernel, pfn: int) -> PageblockData:
    """The data of the pageblock of ``pfn``, made on demand; for any PFN of the machine.

    Kernel:  pfn_to_pageblock(), [RFC 1/2]; RFC-3.1
    Status:  inferred
    """
    return PageblockData(k, pfn >> k.pageblock_order)  # RFC-3.1


def pbd_migratetype(k: Kernel, pbd: PageblockData) -> int:
    """The migratetype of a pageblock; ISOLATE while it is isolated.

    Kernel:  pbd_migratetype(), [RFC 1/2]; RFC-3.5
    Status:  source; decision D-25 (it reports ISOLATE)
    """
    return k.calls.get_pageblock_migratetype(k, pbd.block_pfn)  # RFC-3.5
