# SPDX-License-Identifier: GPL-2.0-only
"""Page state: one byte a page, in a column indexed by PFN.

The kernel keeps this in page_type, private, _refcount and compound_head of struct page.  Here the
byte of a block's *first* page says where the block is, and its order; every other byte of the block is 0:

    0x80 | order           PageBuddy: head of a free block on a zone free list
    0x40 | order           head of a block on a per-CPU list
    0x40 | 0x10 | order    the same, PagePCPBuddy: it belongs to an owned pageblock and may merge there (rfc)
    0x20 | order           first page of an allocation
    0x20 | 0x10 | order    first page of a compound allocation (__GFP_COMP)
    0x10 | order           first page of a block on a lock-less list: freed, not yet on any other list (7.0, llist)
    0x00                   none of these: a tail page, a hole, or memory that the allocator was never given

Kernel: include/linux/page-flags.h, include/linux/mm_types.h
"""

from __future__ import annotations

import mmap
from typing import Final

PG_BUDDY: Final = 0x80  # LPA-2.0.13
PG_PCP: Final = 0x40
PG_ALLOCATED: Final = 0x20
PG_COMPOUND: Final = 0x10
PG_PCP_BUDDY: Final = PG_PCP | 0x10  # RFC-3.9
PG_LLIST: Final = 0x10
#: what kind of place a state names, without the order
PG_KIND_MASK: Final = 0xF0
PG_ORDER_MASK: Final = 0x0F
PG_NONE: Final = 0x00  # LPA-4.1.2

#: A column of bytes.  Both kinds index to int and take int.
Column = bytearray | mmap.mmap

#: Above this many entries a column is an anonymous mapping, whose untouched pages cost no memory.
_MMAP_FROM: Final = 1 << 22


def new_column(entries: int) -> Column:
    """A column of ``entries`` zero bytes.  O(1) memory until written if large."""
    return bytearray(entries) if entries < _MMAP_FROM else mmap.mmap(-1, entries)


def free_column(column: Column) -> None:
    """Give a large column's memory back now instead of at garbage collection."""
    if isinstance(column, mmap.mmap):
        column.close()
