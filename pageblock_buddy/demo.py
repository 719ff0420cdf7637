# SPDX-License-Identifier: GPL-2.0-only
"""The demonstration: a real kernel's recording, replayed on the model.

The recording ships inside the package: Debian's stock 6.12.117, 4 CPUs, 1 GiB, orders 0 to 10, frees on other CPUs
than the pages came from, drains.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TextIO

from pageblock_buddy.replay import ReplayResult, replay_recording
from pageblock_buddy.replay.at import Stopped, stop_before
from pageblock_buddy.replay.report import explanation_lines, result_lines
from pageblock_buddy.replay.result import Operation
from pageblock_buddy.views import render

RECORDING = "linux-6.12.117.jsonl.gz"
#: an allocation that refills its list from the zone
_SHOWN_OPERATION = 12


def recording_path() -> Path:
    """The packaged recording as a file."""
    return Path(str(resources.files("pageblock_buddy") / "data" / RECORDING))


def demo(out: TextIO) -> ReplayResult:
    """Replay the packaged recording and say what it shows."""
    path = recording_path()
    print("A recording of a real Linux 6.12.117 kernel (4 CPUs, 1 GiB, orders 0..10), replayed on the model.", file=out)
    print("Its first free lists, as /proc/buddyinfo showed them:\n", file=out)
    first = stop_before(path, 0)
    print(render(first.kernel, "buddyinfo"), file=out)
    stopped = _first_refill(path)
    assert stopped.operation is not None
    print(f"Operation {stopped.operation.index}: {stopped.operation.describe()}", file=out)
    print(f"The kernel answered with pfn {stopped.operation.expected}.  Why the model does too:\n", file=out)
    print("\n".join(explanation_lines(stopped)), file=out)
    result = replay_recording(path)
    print("\nEvery PFN, every zone-lock event and every later snapshot compared:", file=out)
    print("\n".join(result_lines(result)), file=out)
    return result


def _first_refill(path: Path) -> Stopped:
    return stop_before(path, _SHOWN_OPERATION)


__all__ = ["Operation", "demo", "recording_path"]
