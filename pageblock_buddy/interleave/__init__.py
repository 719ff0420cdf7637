# SPDX-License-Identifier: GPL-2.0-only
"""The deterministic interleaver: simulated CPUs run real allocator code, and every schedule can be found, replayed
and made short (docs/interleaver.md).
"""
