# SPDX-License-Identifier: GPL-2.0-only
"""An exact histogram: how often each value occurred."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Histogram:
    """Value -> how often.  Nothing is rounded or put into buckets."""

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    def add(self, value: int, times: int = 1) -> None:
        """The value occurred."""
        self.counts[value] = self.counts.get(value, 0) + times

    @property
    def count(self) -> int:
        """How many values."""
        return sum(self.counts.values())

    @property
    def sum(self) -> int:
        """All values added up."""
        return sum(value * times for value, times in self.counts.items())

    @property
    def max(self) -> int:
        """The largest value; 0 if there is none."""
        return max(self.counts, default=0)

    def percentile(self, percent: int) -> int:
        """The smallest value that is not exceeded by ``percent`` % of all (nearest rank); 0 if there is none."""
        rank = -(-self.count * percent // 100)
        for value in sorted(self.counts):
            rank -= self.counts[value]
            if rank <= 0:
                return value
        return 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; ``values`` holds [value, how often], ascending."""
        return {
            "count": self.count,
            "sum": self.sum,
            "max": self.max,
            "p50": self.percentile(50),
            "p99": self.percentile(99),
            "values": [[value, self.counts[value]] for value in sorted(self.counts)],
        }
