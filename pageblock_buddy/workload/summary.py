# SPDX-License-Identifier: GPL-2.0-only
"""The few numbers that variants are compared by, and the table of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pageblock_buddy.accounting import Accounting
from pageblock_buddy.accounting.attach import PCP_LOCK, ZONE_LOCK

Summary = dict[str, Any]


def summarize(account: Accounting) -> Summary:
    """The compared numbers, as JSON types with stable keys (docs/accounting.md)."""
    holds = account.holds[ZONE_LOCK]
    pfns = holds.histogram("pfns")
    acquisitions = holds.acquisitions
    pages = account.pages_allocated
    fragmentation = account.fragmentation()
    return {
        "pages_allocated": pages,
        "zone_lock_acquisitions": acquisitions,
        "zone_lock_acquisitions_per_1000_pages": round(acquisitions * 1000 / pages, 4) if pages else 0.0,
        "pfns_per_hold": {"p50": pfns.percentile(50), "p99": pfns.percentile(99), "max": pfns.max},
        "pages_per_acquisition": round(holds.histogram("pages").sum / acquisitions, 3) if acquisitions else 0.0,
        "phase_shares": account.refills.phase_shares(),
        "free_pageblocks": sum(zone.free_pageblocks for zone in fragmentation),
        "remote_frees": account.refills.remote_frees,
        "pcp_lock_trylock_failures": account.trylock_failures(PCP_LOCK),
    }


#: The table: a group of columns has a title above it, each column a head and what it shows.
_GROUPS: Final[tuple[tuple[str, dict[str, Callable[[Summary], str]]], ...]] = (
    ("zone->lock", {"per 1000 pages": lambda s: f"{s['zone_lock_acquisitions_per_1000_pages']:.3f}"}),
    (
        "PFNs per hold",
        {
            "p50": lambda s: str(s["pfns_per_hold"]["p50"]),
            "p99": lambda s: str(s["pfns_per_hold"]["p99"]),
            "max": lambda s: str(s["pfns_per_hold"]["max"]),
        },
    ),
    ("pages", {"per hold": lambda s: f"{s['pages_per_acquisition']:.1f}"}),
    (
        "% of refill by phase",
        {
            "0": lambda s: f"{100 * s['phase_shares']['recover']:.1f}",
            "1": lambda s: f"{100 * s['phase_shares']['claim']:.1f}",
            "2": lambda s: f"{100 * s['phase_shares']['chunks']:.1f}",
            "3": lambda s: f"{100 * s['phase_shares']['classic']:.1f}",
        },
    ),
    ("free", {"blocks": lambda s: str(s["free_pageblocks"])}),
    ("pcp->lock", {"trylocks lost": lambda s: str(s["pcp_lock_trylock_failures"])}),
)


def table_lines(rows: Mapping[str, Summary]) -> list[str]:
    """One row a variant, under two lines of heads."""
    names = ["variant", *rows]
    lines = [name.ljust(max(map(len, names))) for name in ["", *names]]
    for title, columns in _GROUPS:
        group = ["", ""] + [""] * len(rows)
        for head, cell in columns.items():
            texts = [head, *map(cell, rows.values())]
            width = max(map(len, texts))
            group[1:] = [f"{line}  {text.rjust(width)}" for line, text in zip(group[1:], texts, strict=True)]
        width = max(len(title) + 2, *map(len, group))
        group[0] = title
        lines = [line + text.rjust(width) for line, text in zip(lines, group, strict=True)]
    return [line.rstrip() for line in lines]
