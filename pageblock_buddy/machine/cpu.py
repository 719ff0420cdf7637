# SPDX-License-Identifier: GPL-2.0-only
"""The running CPU and what it is doing.

The model runs one simulated CPU at a time.  ``Machine.cpu`` is what
``smp_processor_id()`` returns; the context says what in_task() and in_hardirq() return.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

from pageblock_buddy.machine.guards import CONSTANT, OWN_CPU, RACY, Guard


class Context(Enum):
    """What the running CPU executes."""

    TASK = "task"
    SOFTIRQ = "softirq"
    HARDIRQ = "hardirq"
    NMI = "nmi"


class Machine:
    """The simulated processors.

    ``cpu`` is the running CPU (0-based), ``context`` its context, ``online`` says for each CPU whether it is.  An
    operation in SOFTIRQ, HARDIRQ or NMI context interrupts whatever that CPU was doing: the locks that
    the interrupted code holds stay held.
    """

    __slots__ = ("context", "cpu", "nr_cpus", "online")

    GUARDS: ClassVar[dict[str, Guard]] = {"context": OWN_CPU, "cpu": OWN_CPU, "nr_cpus": CONSTANT, "online": RACY}

    def __init__(self, nr_cpus: int) -> None:
        self.nr_cpus = nr_cpus
        self.cpu = 0
        self.context = Context.TASK
        self.online = [True] * nr_cpus

    def in_task(self) -> bool:
        """Whether the running CPU is in task context.

        Kernel:  in_task(), include/linux/preempt.h
        Status:  source
        """
        return self.context is Context.TASK

    def in_hardirq_or_nmi(self) -> bool:
        """Whether the running CPU is in an interrupt that PREEMPT_RT does not turn into a thread.

        Kernel:  in_nmi() || in_hardirq(), include/linux/preempt.h
        Status:  source
        """
        return self.context is Context.HARDIRQ or self.context is Context.NMI

    def num_online_cpus(self) -> int:
        """CPUs that are online.

        Kernel:  num_online_cpus(), include/linux/cpumask.h
        Status:  source
        """
        return sum(self.online)
