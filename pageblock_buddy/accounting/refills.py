# SPDX-License-Identifier: GPL-2.0-only
"""What refills brought and where from, and what became of owned pageblocks."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final

from pageblock_buddy.accounting.histogram import Histogram

#: Phases of a refill in their order; a variant without phases has only the last, ``chunks`` the last two.
PHASES: Final = ("recover", "claim", "chunks", "classic")


@dataclass(slots=True)
class Refills:
    """Counts of what happens between the zone and the per-CPU lists.

    ``phase_pages`` are the pages that each phase brought.  ``wanted`` is how many pages each refill asked for;
    ``reached_claim`` counts the refills that still wanted a whole pageblock when phase 1 began, and
    ``claiming`` those that got one there.  ``recovered`` pageblocks were scanned by phase 0 and had free pages,
    ``recovered_nothing`` had none.  ``disowned`` pageblocks lost their owner by a drain, hotplug or policy.
    ``remote_frees`` are frees by another CPU than the pageblock's owner.  ``merge_passes`` ran over
    ``merge_chunks_seen`` chunks in all, and ``merge_passes_in_vain`` found no two that merge.
    """

    refills: int = 0
    drains: int = 0
    phase_pages: list[int] = field(default_factory=lambda: [0] * len(PHASES))
    wanted: Histogram = field(default_factory=Histogram)
    reached_claim: int = 0
    claiming: int = 0
    claimed: int = 0
    recovered: int = 0
    recovered_nothing: int = 0
    disowned: int = 0
    remote_frees: int = 0
    merge_passes: int = 0
    merge_passes_in_vain: int = 0
    merge_chunks_seen: int = 0

    def phase_shares(self) -> dict[str, float]:
        """The share of each phase in what refills brought: 0..1; all 0 if they brought nothing."""
        pages = sum(self.phase_pages)
        return {
            phase: round(brought / pages, 6) if pages else 0.0
            for phase, brought in zip(PHASES, self.phase_pages, strict=True)
        }

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        state = {one.name: getattr(self, one.name) for one in fields(self)}
        state["phase_pages"] = dict(zip(PHASES, self.phase_pages, strict=True))
        state["wanted"] = self.wanted.to_dict()
        return state
