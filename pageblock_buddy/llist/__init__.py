# SPDX-License-Identifier: GPL-2.0-only
"""Variant llist: the RFC with the split-path free of [03/40]: remote frees go on a lock-less list of the owner."""
