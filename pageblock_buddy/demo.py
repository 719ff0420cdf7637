# SPDX-License-Identifier: GPL-2.0-only
"""The demonstration: a real kernel's recording, replayed on the model.

The recording ships inside the package: Debian's stock 6.12.117, 4 CPUs, 1 GiB, orders 0 to 10, frees on other CPUs
than the pages came from, drains.  At the end its operations are performed on other allocators too.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, TextIO

from pageblock_buddy.replay import ReplayResult, replay_recording
from pageblock_buddy.replay.at import stop_before
from pageblock_buddy.replay.elsewhere import perform_recording
from pageblock_buddy.replay.report import explanation_lines, result_lines
from pageblock_buddy.views import render
from pageblock_buddy.workload import summarize, table_lines

RECORDING = "linux-6.12.117.jsonl.gz"
#: an unmovable order-7 request that has to claim a movable block of order 10
_SHOWN_OPERATION = 7144
#: the allocators that its operations are performed on
_COMPARED = ("linux-6.12", "linux-7.0", "rfc")


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
    stopped = stop_before(path, _SHOWN_OPERATION)
    assert stopped.operation is not None
    print(f"Operation {stopped.operation.index}: {stopped.operation.describe()}", file=out)
    print(f"The kernel answered with pfn {stopped.operation.expected}.  Why the model does too:\n", file=out)
    print("\n".join(_inside(explanation_lines(stopped), "__rmqueue(")), file=out)
    print(f"\n(the whole of it: pageblock-buddy explain {path} --at {_SHOWN_OPERATION})", file=out)
    result = replay_recording(path)
    print("\nEvery PFN, every zone-lock event and every later snapshot compared:", file=out)
    print("\n".join(result_lines(result)), file=out)
    print("\nThe same operations on other allocators, and what they cost there (docs/accounting.md):\n", file=out)
    print("\n".join(table_lines({variant: _cost(path, variant) for variant in _COMPARED})), file=out)
    return result


def _cost(path: Path, variant: str) -> dict[str, Any]:
    """What the recording's operations cost on a variant."""
    account = perform_recording(path, variant, accounting=True).account
    assert account is not None
    return summarize(account)


def _inside(lines: list[str], call: str) -> list[str]:
    """The lines of one call and of what it calls, moved to the left."""
    first = next(i for i, line in enumerate(lines) if line.lstrip().startswith(call))
    indent = len(lines[first]) - len(lines[first].lstrip())
    part = [lines[first]]
    for line in lines[first + 1 :]:
        if len(line) - len(line.lstrip()) <= indent:
            break
        part.append(line)
    return ["  " + line[indent:] for line in part]
