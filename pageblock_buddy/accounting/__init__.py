# SPDX-License-Identifier: GPL-2.0-only
"""Accounting: how often each lock is taken, and how much is done while it is held.

``Accounting.attach(kernel)`` puts counting locks, lists and entry points in the place of a booted kernel's own; the
mirrored code knows nothing of it and pays nothing while it is off.  docs/accounting.md says what each number means.
"""

from pageblock_buddy.accounting.attach import Accounting
from pageblock_buddy.accounting.fragmentation import ZoneFragmentation, fragmentation_index, zone_fragmentation
from pageblock_buddy.accounting.histogram import Histogram
from pageblock_buddy.accounting.holds import Holds
from pageblock_buddy.accounting.refills import Refills

__all__ = [
    "Accounting",
    "Histogram",
    "Holds",
    "Refills",
    "ZoneFragmentation",
    "fragmentation_index",
    "zone_fragmentation",
]
