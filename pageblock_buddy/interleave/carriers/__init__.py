# SPDX-License-Identifier: GPL-2.0-only
"""Carriers: what a simulated CPU's Python stack runs on.  All give the same schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pageblock_buddy.errors import InputError, MissingExtra
from pageblock_buddy.interleave.carriers.carrier import Carrier
from pageblock_buddy.interleave.carriers.threads import Threads


def _greenlets() -> Carrier:
    try:
        from pageblock_buddy.interleave.carriers.greenlets import Greenlets
    except ImportError:
        raise MissingExtra("fast", "the carrier 'greenlet'") from None
    return Greenlets()


CARRIERS: Final[dict[str, Callable[[], Carrier]]] = {"threads": Threads, "greenlet": _greenlets}


def get_carrier(name: str) -> Carrier:
    """A new carrier of this name.  Errors: InputError for an unknown name, MissingExtra."""
    if name not in CARRIERS:
        raise InputError(f"no carrier {name!r}; there are: {', '.join(CARRIERS)}")
    return CARRIERS[name]()
