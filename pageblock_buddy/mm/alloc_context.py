# SPDX-License-Identifier: GPL-2.0-only
"""alloc_context and rmqueue_mode: what one allocation carries from function to function.

Kernel: mm/internal.h, mm/page_alloc.c
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy.mm.mmzone import Zone

# enum rmqueue_mode: where __rmqueue() enters; kept across the pages of one bulk call
RMQUEUE_NORMAL: Final = 0
RMQUEUE_CMA: Final = 1
RMQUEUE_CLAIM: Final = 2
RMQUEUE_STEAL: Final = 3


class RmqueueMode:
    """The in-out parameter ``enum rmqueue_mode *mode`` of __rmqueue()."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = RMQUEUE_NORMAL


class AllocContext:
    """What does not change during an allocation.

    ``zonelist`` holds the zones that the request may use, in order, so the preferred zone
    is its first entry.

    Kernel:  struct alloc_context, mm/internal.h
    """

    __slots__ = ("highest_zoneidx", "migratetype", "zonelist")

    def __init__(self, zonelist: tuple[Zone, ...], migratetype: int, highest_zoneidx: int) -> None:
        self.zonelist = zonelist
        self.migratetype = migratetype
        self.highest_zoneidx = highest_zoneidx
