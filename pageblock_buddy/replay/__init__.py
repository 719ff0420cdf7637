# SPDX-License-Identifier: GPL-2.0-only
"""Replay: perform a recording's operations on a model and compare everything."""

from pageblock_buddy.replay.driver import replay_recording
from pageblock_buddy.replay.result import Mismatch, Operation, ReplayResult

__all__ = ["Mismatch", "Operation", "ReplayResult", "replay_recording"]
