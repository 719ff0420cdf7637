# SPDX-License-Identifier: GPL-2.0-only
"""purger: many CPUs fault pages in, a few free them in bulk.  The affinity violation of the RFC's cover letter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Final

from pageblock_buddy.errors import InputError
from pageblock_buddy.workload.churn import Churn, churn
from pageblock_buddy.workload.operations import Operation
from pageblock_buddy.workload.parameters import Parameters
from pageblock_buddy.workload.workload import MachineFacts, Workload

VICTIMS: Final = ("random", "oldest")


@dataclass(frozen=True, kw_only=True)
class PurgerParameters(Parameters):
    """docs/workloads.md says why each default is what it is.

    ``purgers`` CPUs (the last ones) free; they fault pages in too if ``purgers_fault`` is 1.  ``live`` is the live set
    as a share of memory, ``local`` the share of frees by the CPU that faulted the page.  ``bursts`` are multiples of
    high_max, taken in turn.  ``extent`` is in pages, ``victims`` random or oldest, ``spread`` how many CPUs a burst's
    pages come from (0: all).  ``warm_up`` and ``measured`` are turnovers of the live set, ``vmstat`` runs of each CPU's
    vmstat worker in a turnover.
    """

    cpus: int = 32
    memory: int = 16384
    purgers: int = 4
    purgers_fault: int = 0
    live: float = 0.25
    local: float = 0.3
    bursts: tuple[float, ...] = (1.0, 4.0)
    extent: int = 64
    victims: str = "random"
    spread: int = 0
    warm_up: float = 3.0
    measured: float = 1.0
    vmstat: float = 1.0

    limits: ClassVar = {
        "purgers": (1, 4096),
        "purgers_fault": (0, 1),
        "live": (0.001, 0.9),
        "local": (0, 1),
        "bursts": (0.001, 1024),
        "extent": (1, 1 << 18),
        "spread": (0, 8192),
        "warm_up": (0, 1000),
        "measured": (0.01, 1000),
        "vmstat": (0, 1000),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.purgers >= self.cpus and not self.purgers_fault:
            raise InputError(f"{self.purgers} purgers on {self.cpus} cpus leave none that faults pages in")
        if self.purgers > self.cpus:
            raise InputError(f"{self.purgers} purgers are more than {self.cpus} cpus")
        if self.victims not in VICTIMS:
            raise InputError(f"victims {self.victims!r} is not one of: {', '.join(VICTIMS)}")


def load_of(machine: MachineFacts, p: PurgerParameters) -> Churn:
    """The load on this machine."""
    faulting = range(machine.cpus if p.purgers_fault else machine.cpus - p.purgers)
    return Churn(
        pages=max(round(p.live * machine.pages), p.extent),
        extent=p.extent,
        faulting=faulting,
        purging=range(machine.cpus - p.purgers, machine.cpus),
        local=p.local,
        bursts=[max(round(burst * machine.high_max), 1) for burst in p.bursts],
        spread=min(p.spread, len(faulting)),
        random_victims=p.victims == "random",
        warm_up=p.warm_up,
        measured=p.measured,
        vmstat=p.vmstat,
    )


def operations(machine: MachineFacts, p: PurgerParameters, rng: Random) -> Iterator[Operation]:
    """Fault, free a share locally, purge the rest in bursts."""
    return churn(load_of(machine, p), rng)


PURGER: Final = Workload(
    name="purger",
    summary="many CPUs fault pages in, a few free them in bulk (the affinity violation)",
    parameters=PurgerParameters,
    operations=operations,
    total_pages=lambda machine, p: load_of(machine, p).total_pages,
)
