# SPDX-License-Identifier: GPL-2.0-only
"""The watchdog: a process that reaches no point for a while is stopped, which its run reports as a livelock.

The only place of the interleaver that looks at the clock, and only a run that would never end depends on it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pageblock_buddy.interleave.engine import Engine

#: Seconds between two looks.  Two that see the same step of the same run are silence.
SILENCE: Final = 5.0


@contextmanager
def watched(engine_of: Callable[[], Engine]) -> Iterator[None]:
    """Watch the runs of an engine within the block; ``engine_of`` says which one it is now."""
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(engine_of, over), name="watchdog", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _watch(engine_of: Callable[[], Engine], over: threading.Event) -> None:
    seen: tuple[int, int, int] | None = None
    while not over.wait(SILENCE):
        engine = engine_of()
        now = id(engine), engine.runs, len(engine.ev_process)
        if now == seen and engine.inside and not engine.silenced:
            engine.silenced = True
            engine.carrier.stop(engine.running.index)
        seen = now
