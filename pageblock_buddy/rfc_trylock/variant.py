# SPDX-License-Identifier: GPL-2.0-only
"""Variant rfc-trylock: what it replaces of rfc."""

from __future__ import annotations

import dataclasses
from typing import Final

from pageblock_buddy.rfc import variant as rfc
from pageblock_buddy.rfc_trylock import free

PCP_BUDDY: Final = dataclasses.replace(rfc.PCP_BUDDY, pcp_free_lock=free.pcp_free_lock)

CALLS: Final = dataclasses.replace(rfc.CALLS, pcp_buddy=PCP_BUDDY)
