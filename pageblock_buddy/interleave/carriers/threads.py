# SPDX-License-Identifier: GPL-2.0-only
"""Threads that hand over a baton.  Standard library only.

Raw locks and threads that are kept for the next schedule: a Condition, or a fresh thread, costs more than the
schedule.
"""

from __future__ import annotations

import _thread
import ctypes
import threading
import time
from collections.abc import Sequence
from typing import Final

from pageblock_buddy.interleave.carriers.carrier import Body

#: How many seconds close() waits for a thread that does not come to an end.
_PATIENCE: Final = 1.0


class _Closed(BaseException):
    """Raised in a body that did not return, to end its thread."""


class Threads:
    """The default carrier.  The thread that makes it is the engine's."""

    def __init__(self) -> None:
        #: whoever may run can take its baton; the engine's is the last one, so that -1 finds it
        self._batons: list[_thread.LockType] = []
        self._bodies: list[Body] = []
        self._workers: list[threading.Thread] = []
        #: whose body began and has not returned
        self._inside: list[bool] = []
        #: what left a body
        self._error: BaseException | None = None
        #: how often the engine was given its baton
        self._returns = 0
        #: whether the engine did not take it, since it was interrupted
        self._interrupted = False
        self._closing = False

    def start(self, bodies: Sequence[Body]) -> None:
        """Provide for these bodies; none of them runs yet."""
        if len(bodies) > len(self._workers) or self._interrupted or any(self._inside):
            self.close()
            if self._closing:
                raise RuntimeError("a process of the last run reaches no point")
            self._batons = [_thread.allocate_lock() for _ in range(len(bodies) + 1)]
            for baton in self._batons:
                baton.acquire()
            self._inside = [False] * len(bodies)
            self._workers = [
                threading.Thread(target=self._work, args=(me,), name=f"simulated process {me}", daemon=True)
                for me in range(len(bodies))
            ]
            for worker in self._workers:
                worker.start()
        self._bodies = list(bodies)

    def _work(self, me: int) -> None:
        baton, inside = self._batons[me], self._inside
        while True:
            baton.acquire()
            if self._closing:
                return
            inside[me] = True
            try:
                to = self._bodies[me]()
                inside[me] = False
            except _Closed:
                return
            except BaseException as error:
                self._error = error
                to = -1
            if self._closing:
                return
            if to < 0:
                self._returns += 1
            self._batons[to].release()

    def switch(self, me: int, to: int) -> None:
        """Let ``to`` go on, and wait for one's own turn."""
        if me < 0:
            self._switch_from_engine(to)
            return
        if to < 0:
            self._returns += 1
        self._batons[to].release()
        self._batons[me].acquire()
        if self._closing:
            raise _Closed

    def _switch_from_engine(self, to: int) -> None:
        returns = self._returns
        try:
            self._batons[to].release()
            self._batons[-1].acquire()
        except BaseException:
            # An interrupt, while some worker runs.  Let it come to the end of the run: a worker that runs on would
            # share the machine with whoever is next.  A second interrupt does not wait.
            self._interrupted = True
            while self._returns == returns:
                time.sleep(0.001)
            raise
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def stop(self, process: int) -> None:
        """Make a process that does not reach a point raise KeyboardInterrupt."""
        ident = self._workers[process].ident
        if ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(KeyboardInterrupt))

    def close(self) -> None:
        """End all threads."""
        self._closing = True
        for baton in self._batons[:-1]:
            if baton.locked():
                baton.release()
        for worker in self._workers:
            worker.join(_PATIENCE)
        self._closing = any(worker.is_alive() for worker in self._workers)
        self._workers, self._batons, self._inside = [], [], []
        self._error, self._interrupted = None, False
