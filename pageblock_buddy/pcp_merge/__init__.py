# SPDX-License-Identifier: GPL-2.0-only
"""Variant pcp-merge: linux-7.0 that merges pages before it takes zone->lock, without owners [ZiYan 04-03]."""
