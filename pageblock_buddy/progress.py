# SPDX-License-Identifier: GPL-2.0-only
"""A progress bar on stderr, if that is a terminal.

With the extra ``progress`` it is tqdm's; without it a plain percentage.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Files below this size replay in a moment.
_LONG_FILE = 64 << 10


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int, int], None] | None]:
    """Yields a callback for (done, total), or None where no bar is wanted."""
    if not sys.stderr.isatty() or total < _LONG_FILE:
        yield None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        try:
            yield lambda done, size: print(f"\r{what}: {done * 100 // max(size, 1):3} %", end="", file=sys.stderr)
        finally:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        return
    with tqdm(total=total, desc=what, unit="B", unit_scale=True, leave=False) as bar:

        def advance(done: int, _: int) -> None:
            bar.update(done - bar.n)

        yield advance


#: Takes schedules, outcomes and, where they are known, units in all.
Bar = Callable[[int, int, int], None]


@contextmanager
def search_bar() -> Iterator[Bar | None]:
    """Yields a callback for (schedules, outcomes, units), or None where no bar is wanted."""
    if not sys.stderr.isatty():
        yield None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        try:
            yield lambda schedules, outcomes, _: print(
                f"\r{schedules} schedules, {outcomes} outcomes", end="", file=sys.stderr
            )
        finally:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        return
    with tqdm(unit=" schedules", leave=False, mininterval=0.5) as bar:

        def advance(schedules: int, outcomes: int, units: int) -> None:
            bar.set_postfix_str(f"{outcomes} outcomes" + (f", {units} units" if units else ""), refresh=False)
            # A search that begins again counts from 0.
            bar.update(schedules - bar.n if schedules >= bar.n else 0)

        yield advance
