# SPDX-License-Identifier: GPL-2.0-only
"""Variant linux-7.0: the base of the RFC.  Read, not recorded; what it does not hold is as in linux_6_12."""
