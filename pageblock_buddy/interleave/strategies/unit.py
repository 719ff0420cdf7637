# SPDX-License-Identifier: GPL-2.0-only
"""Units of a search: disjoint parts that can be searched apart, anywhere, in any order."""

from __future__ import annotations

from typing import Final, NamedTuple


class Unit(NamedTuple):
    """All schedules that begin with ``choices``.

    ``done[i]`` are the processes whose choice at the same place is the business of an earlier unit, as a bit set: they
    sleep here, so that what they do first is not done again.
    """

    choices: tuple[int, ...]
    done: tuple[int, ...]


WHOLE: Final = Unit((), ())
