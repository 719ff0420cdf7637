# SPDX-License-Identifier: GPL-2.0-only
"""Variant rfc: Johannes Weiner's "mm: page_alloc: pcp buddy allocator", on linux-7.0.

Reading order: pageblock.py (who owns a block), pcp.py (lists of every order), alloc.py, bulk.py with refill.py
(the four phases), free.py (routing), merge.py, and bulk.py again (the drain).  policies/ holds the other answers.
"""
