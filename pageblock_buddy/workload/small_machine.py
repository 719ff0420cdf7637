# SPDX-License-Identifier: GPL-2.0-only
"""small-machine: purger's load on a machine whose batches never come to a pageblock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pageblock_buddy.workload.purger import PurgerParameters, load_of, operations
from pageblock_buddy.workload.workload import Workload


@dataclass(frozen=True, kw_only=True)
class SmallMachineParameters(PurgerParameters):
    """As purger.  256 MiB make a batch of 15 pages, and 15 << 5 is less than a pageblock; both CPUs do everything."""

    cpus: int = 2
    memory: int = 256
    purgers: int = 2
    purgers_fault: int = 1


SMALL_MACHINE: Final = Workload(
    name="small-machine",
    summary="purger's load on 2 CPUs and 256 MiB (small batches, no phase 1)",
    parameters=SmallMachineParameters,
    operations=operations,
    total_pages=lambda machine, p: load_of(machine, p).total_pages,
)
