# SPDX-License-Identifier: GPL-2.0-only
"""Threads that hand over a baton.  Standard library only.

Raw locks and threads that are kept for the next schedule: a Condition, or a fresh thread, costs more than the
schedule.
"""

from __future__ import annotations

import _thread
import ctypes
import threading
from collections.abc import Sequence

from pageblock_buddy.interleave.carriers.carrier import Body


class Threads:
    """The default carrier.  The thread that makes it is the engine's."""

    def __init__(self) -> None:
        #: whoever may run can take its baton; the engine's is the last one, so that -1 finds it
        self._batons: list[_thread.LockType] = []
        self._bodies: list[Body | None] = []
        self._workers: list[threading.Thread] = []

    def start(self, bodies: Sequence[Body]) -> None:
        """Provide for these bodies; none of them runs yet."""
        if len(bodies) > len(self._workers):
            self.close()
            self._batons = [_thread.allocate_lock() for _ in range(len(bodies) + 1)]
            for baton in self._batons:
                baton.acquire()
            self._bodies = [None] * len(bodies)
            self._workers = [
                threading.Thread(target=self._work, args=(me,), name=f"simulated process {me}", daemon=True)
                for me in range(len(bodies))
            ]
            for worker in self._workers:
                worker.start()
        self._bodies[: len(bodies)] = bodies

    def _work(self, me: int) -> None:
        baton = self._batons[me]
        while True:
            baton.acquire()
            body = self._bodies[me]
            if body is None:
                return
            self._batons[body()].release()

    def switch(self, me: int, to: int) -> None:
        """Let ``to`` go on, and wait for one's own turn."""
        self._batons[to].release()
        self._batons[me].acquire()

    def stop(self, process: int) -> None:
        """Make a process that does not reach a point raise KeyboardInterrupt."""
        ident = self._workers[process].ident
        if ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(KeyboardInterrupt))

    def close(self) -> None:
        """End all threads."""
        self._bodies = [None] * len(self._workers)
        for baton in self._batons[:-1]:
            baton.release()
        for worker in self._workers:
            worker.join()
        self._workers = []
        self._batons = []
