# SPDX-License-Identifier: GPL-2.0-only
"""Mutants that no program can tell from the unmutated code, with the reason."""

from __future__ import annotations

from typing import Final

EQUIVALENT: Final[dict[str, str]] = {}
