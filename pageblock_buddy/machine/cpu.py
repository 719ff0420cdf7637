# SPDX-License-Identifier: GPL-2.0-only
"""The running CPU and what it is doing.

The model runs one simulated CPU at a time.  ``Machine.cpu`` is what
``smp_processor_id()`` returns; the context says what in_task() and in_hardirq() return.
"""

from __future__ import annotations

from enum import Enum


class Context(Enum):
    """What the running CPU executes."""

    TASK = "task"
    SOFTIRQ = "softirq"
    HARDIRQ = "hardirq"


class Machine:
    """The simulated processors.

    ``cpu`` is the running CPU (0-based), ``context`` its context.  An
    operation in SOFTIRQ or HARDIRQ context interrupts whatever that CPU was doing: the locks that
    the interrupted code holds stay held.
    """

    __slots__ = ("context", "cpu", "nr_cpus")

    def __init__(self, nr_cpus: int) -> None:
        self.nr_cpus = nr_cpus
        self.cpu = 0
        self.context = Context.TASK

    def in_task(self) -> bool:
        """Whether the running CPU is in task context.

        Kernel:  in_task(), include/linux/preempt.h
        Status:  source
        """
        return self.context is Context.TASK
