# SPDX-License-Identifier: GPL-2.0-only
"""Variant rfc-trylock: the RFC with the free path of [03/45], which only ever tries pcp->lock."""
