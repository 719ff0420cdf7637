# SPDX-License-Identifier: GPL-2.0-only
"""The table and its JSON form."""

from __future__ import annotations

from pageblock_buddy.accounting import Accounting
from pageblock_buddy.workload import summarize, table_lines
from tests.helpers import MOVABLE, machine


def test_a_summary_by_hand() -> None:
    """One page, one refill of two: tests/test_accounting.py draws it."""
    system = machine("order 3: M[0 8]", variant="linux-7.0")
    account = Accounting.attach(system.kernel)
    system.alloc_pages(MOVABLE)
    assert summarize(account) == {
        "pages_allocated": 1,
        "zone_lock_acquisitions": 1,
        "zone_lock_acquisitions_per_1000_pages": 1000.0,
        "pfns_per_hold": {"p50": 7, "p99": 7, "max": 7},
        "pages_per_acquisition": 2.0,
        "phase_shares": {"recover": 0.0, "claim": 0.0, "chunks": 0.0, "classic": 1.0},
        "free_pageblocks": 1,
        "remote_frees": 0,
        "pcp_lock_trylock_failures": 0,
    }


def test_nothing_happened() -> None:
    account = Accounting.attach(machine().kernel)
    assert summarize(account)["zone_lock_acquisitions_per_1000_pages"] == 0.0
    assert summarize(account)["pages_per_acquisition"] == 0.0


def test_the_table() -> None:
    summary = {
        "zone_lock_acquisitions_per_1000_pages": 19.09123,
        "pfns_per_hold": {"p50": 179, "p99": 374, "max": 123456},
        "pages_per_acquisition": 73.64,
        "phase_shares": {"recover": 0.0, "claim": 0.25, "chunks": 0.75, "classic": 0.0},
        "free_pageblocks": 6026,
        "pcp_lock_trylock_failures": 12,
    }
    assert table_lines({"linux-7.0": summary, "rfc": summary}) == [
        "               zone->lock     PFNs per hold     pages  % of refill by phase    free      pcp->lock",
        "variant    per 1000 pages  p50  p99     max  per hold    0     1     2    3  blocks  trylocks lost",
        "linux-7.0          19.091  179  374  123456      73.6  0.0  25.0  75.0  0.0    6026             12",
        "rfc                19.091  179  374  123456      73.6  0.0  25.0  75.0  0.0    6026             12",
    ]
