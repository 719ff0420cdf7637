# SPDX-License-Identifier: GPL-2.0-only
"""Variant chunks: phase 2 alone, on the lists of linux-7.0 [Babka 04-10]."""
