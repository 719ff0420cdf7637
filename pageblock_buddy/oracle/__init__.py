# SPDX-License-Identifier: GPL-2.0-only
"""Oracles: judges of an allocator's answers and states that share no code with the mirrored modules."""
