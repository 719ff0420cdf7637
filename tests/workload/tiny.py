# SPDX-License-Identifier: GPL-2.0-only
"""Every workload on a machine that it runs through in a moment, and still shows there what it is for."""

from __future__ import annotations

from typing import Final

from pageblock_buddy.workload import RunResult, get_workload, run_workload

#: parameters by workload, as --set takes them
TINY: Final[dict[str, dict[str, str]]] = {
    # 384 MiB are the least with which batches can come to a pageblock.
    "purger": {"cpus": "3", "memory": "384", "purgers": "1", "live": "1/12", "warm_up": "1/2", "measured": "1/2"},
    "exit-storm": {"cpus": "2", "memory": "384", "space": "1.3", "migrated": "1", "warm_up": "1", "measured": "1"},
    "mixed-lifetime": {"cpus": "2", "memory": "384", "wave": "1.2", "warm_up": "1", "measured": "1"},
    "file-anon": {"cpus": "2", "memory": "48", "warm_up": "0.7", "measured": "0.3", "extent": "16"},
    "fragmented": {"cpus": "2", "memory": "32", "purgers": "1", "warm_up": "1/2", "extent": "16"},
    "small-machine": {"memory": "64", "live": "1/8", "warm_up": "1", "extent": "16"},
}


def run_tiny(workload: str, variant: str, **settings: str) -> RunResult:
    """Run a workload with its tiny parameters, or other ones."""
    found = get_workload(workload)
    return run_workload(found, found.parameters.from_text(TINY[workload] | settings), variant)
