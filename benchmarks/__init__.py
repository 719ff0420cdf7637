# SPDX-License-Identifier: GPL-2.0-only
"""Benchmarks, run by hand: ``python -m benchmarks`` from the top of the repository (docs/performance.md)."""
