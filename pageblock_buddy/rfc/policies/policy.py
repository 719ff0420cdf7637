# SPDX-License-Identifier: GPL-2.0-only
"""What a policy is: a few entries of the two tables, under a name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from pageblock_buddy.mm.calls import Calls


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Another answer to one question, for any variant with owners.

    ``source`` says whose idea it is (a mail's key or a decision); ``calls`` and ``pcp_buddy`` map entry points to the
    functions that take their place.  ``breaks`` names the invariants that do not hold with it, as a finding.  ``wraps``
    names the entries whose rfc version it calls: a variant that replaces one cannot take the policy.  ``state``
    renames keys of a snapshot.
    """

    name: str
    summary: str
    source: str
    calls: Mapping[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)
    pcp_buddy: Mapping[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)
    breaks: tuple[str, ...] = ()
    wraps: tuple[str, ...] = ()
    state: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def entries(self) -> tuple[str, ...]:
        """What it replaces."""
        return (*self.calls, *self.pcp_buddy)

    def applied(self, calls: Calls) -> Calls:
        """``calls`` with this policy's entries."""
        assert calls.pcp_buddy is not None
        pcp_buddy = dataclasses.replace(calls.pcp_buddy, **self.pcp_buddy)
        return dataclasses.replace(calls, **self.calls, pcp_buddy=pcp_buddy)
