# SPDX-License-Identifier: GPL-2.0-only
"""Variant pcp-merge: what it replaces of linux-7.0."""

from __future__ import annotations

import dataclasses
from typing import Final

from pageblock_buddy.linux_7_0 import variant as linux_7_0
from pageblock_buddy.pcp_merge import bulk

CALLS: Final = dataclasses.replace(linux_7_0.CALLS, free_pcppages_bulk=bulk.free_pcppages_bulk)
