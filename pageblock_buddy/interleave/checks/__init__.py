# SPDX-License-Identifier: GPL-2.0-only
"""What is looked for in every run."""
