# SPDX-License-Identifier: GPL-2.0-only
"""drain-oldest: a drain takes the lists in today's order, round robin from the freed page's.

Kernel: none; the other reading of [RFC 2/2], decision D-18
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.rfc.policies.policy import Policy


def drain_order(k: Kernel, pindex: int) -> Sequence[int]:
    """The lists in today's order: from ``pindex`` on, cyclically, so small orders before large ones.

    Kernel:  free_pcppages_bulk(), mm/page_alloc.c; LPA-8.5.2
    Status:  decision D-18
    """
    return [(pindex + i) % k.nr_pcp_lists for i in range(k.nr_pcp_lists)]  # RFC-10.8


POLICY: Final = Policy(
    name="drain-oldest",
    summary="a drain takes the lists in today's order, small orders before large ones",
    source="decision D-18",
    pcp_buddy={"drain_order": drain_order},
)
