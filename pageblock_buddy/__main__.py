# SPDX-License-Identifier: GPL-2.0-only
"""``python -m pageblock_buddy`` is the console script."""

import sys

from pageblock_buddy.cli import main

if __name__ == "__main__":
    sys.exit(main())
