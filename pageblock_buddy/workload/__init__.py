# SPDX-License-Identifier: GPL-2.0-only
"""Workloads: named loads that run on any variant, to compare what they cost there.

docs/workloads.md describes each with its parameters.
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy.errors import InputError
from pageblock_buddy.workload import exit_storm, file_anon, fragmented, mixed_lifetime, purger, small_machine
from pageblock_buddy.workload.runner import RunResult, run_workload
from pageblock_buddy.workload.summary import summarize, table_lines
from pageblock_buddy.workload.workload import Workload

_ALL: Final = (
    purger.PURGER,
    exit_storm.EXIT_STORM,
    mixed_lifetime.MIXED_LIFETIME,
    file_anon.FILE_ANON,
    fragmented.FRAGMENTED,
    small_machine.SMALL_MACHINE,
)

WORKLOADS: Final[dict[str, Workload]] = {workload.name: workload for workload in _ALL}

__all__ = ["WORKLOADS", "RunResult", "Workload", "get_workload", "run_workload", "summarize", "table_lines"]


def get_workload(name: str) -> Workload:
    """The workload of this name.  InputError if there is none."""
    if name not in WORKLOADS:
        raise InputError(f"no workload {name!r}; there are: {', '.join(WORKLOADS)}", workload=name)
    return WORKLOADS[name]
