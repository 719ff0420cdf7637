# SPDX-License-Identifier: GPL-2.0-only
"""The contract of carriers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

#: A process from its start to its end.  Returns who goes on then: the index of a process, or -1 for the engine.
Body = Callable[[], int]


class Carrier(Protocol):
    """Runs several bodies, one at a time, each on a stack of its own.

    A process is a number from 0; the engine, which called :meth:`start`, is -1.  Exactly one of them runs at any time:
    the one that was last switched to.  A body must return before the next :meth:`start`, unless the engine's switch()
    raised something.
    """

    def start(self, bodies: Sequence[Body]) -> None:
        """Provide for these bodies; none of them runs yet."""

    def switch(self, me: int, to: int) -> None:
        """Let ``to`` go on, from the start of its body or behind its own switch().  Returns when somebody switches to
        ``me`` or, where ``me`` is the engine, when a body returns -1.

        Raises in the engine what leaves a body, and an interrupt that came while somebody else ran.
        """

    def stop(self, process: int) -> None:
        """Make a process that does not reach a point raise KeyboardInterrupt, where this carrier can."""

    def close(self) -> None:
        """End: no thread is left.  A body that has not returned is left by an exception in its switch() that is no
        Exception.  A second call does nothing.
        """
