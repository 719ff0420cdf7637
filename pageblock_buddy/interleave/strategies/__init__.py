# SPDX-License-Identifier: GPL-2.0-only
"""Strategies: who goes on at a point, and which schedule comes next."""
