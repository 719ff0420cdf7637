# SPDX-License-Identifier: GPL-2.0-only
"""Running a workload on a variant, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from pageblock_buddy.accounting import Accounting
from pageblock_buddy.system import System
from pageblock_buddy.workload.operations import Alloc, StartMeasuring, perform
from pageblock_buddy.workload.parameters import Parameters
from pageblock_buddy.workload.summary import summarize
from pageblock_buddy.workload.workload import MachineFacts, Workload

#: called now and then with (pages allocated, pages in all)
Progress = Callable[[int, int], None]
_PROGRESS_PAGES = 1 << 14


@dataclass(frozen=True, slots=True)
class RunResult:
    """One variant's run: the machine at its end, and what was counted after the warm-up."""

    system: System
    account: Accounting
    failed_allocations: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; docs/accounting.md says what each number means."""
        return {
            **summarize(self.account),
            "failed_allocations": self.failed_allocations,
            "accounting": self.account.to_dict(),
        }


def run_workload(
    workload: Workload, parameters: Parameters, variant: str, *, progress: Progress | None = None
) -> RunResult:
    """Boot the machine, perform the workload, count what happens from StartMeasuring on.

    Failed allocations are counted over the whole run.  Errors: UnknownVariant, ConfigError.
    """
    system = System.boot(parameters.config(), variant=variant)
    k = system.kernel
    machine = MachineFacts.of(k)
    total = workload.total_pages(machine, parameters)
    account = None
    failed = asked = reported = 0
    for operation in workload.operations(machine, parameters, Random(parameters.seed)):
        if isinstance(operation, StartMeasuring):
            account = Accounting.attach(k)
            continue
        failed += perform(k, operation)
        if progress is not None and isinstance(operation, Alloc):
            asked += operation.times << operation.order
            if asked - reported >= _PROGRESS_PAGES:
                reported = asked
                progress(asked, max(total, asked))
    assert account is not None, f"{workload.name} never started to measure"
    account.detach()
    return RunResult(system, account, failed)
