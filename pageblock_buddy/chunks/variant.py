# SPDX-License-Identifier: GPL-2.0-only
"""Variant chunks: what it replaces of linux-7.0."""

from __future__ import annotations

import dataclasses
from typing import Final

from pageblock_buddy.chunks import bulk
from pageblock_buddy.linux_7_0 import variant as linux_7_0

CALLS: Final = dataclasses.replace(linux_7_0.CALLS, rmqueue_bulk=bulk.rmqueue_bulk)
