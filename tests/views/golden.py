# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own texts around a recording, and the machine of its first or last snapshot."""

from __future__ import annotations

import gzip
import json
import re
from functools import cache
from pathlib import Path

from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.recording.machine_of import boot_from_snapshot, config_of_snapshot, cpus_of, snapshot_zones
from pageblock_buddy.variants import get_variant

RECORDINGS = Path(__file__).resolve().parents[1] / "recordings"

#: Between the kernel's text and the first snapshot no CPU's page list touched the zones' free lists.
EXACT = (
    "6.12-a",
    "6.12-b",
    "6.12-c",
    "6.12-nat",
    "6.12-z3-mixb-2cpu-768M-s1",
    "6.12-numa2-1G+1G-n1normal-mixb-s1",
)
#: Here CPUs refilled their page lists in between: blocks left the zones' free lists.
REFILLED = ("6.12-numa2-512+512-mixb-s1",)
ALL = EXACT + REFILLED


@cache
def kernel_text(name: str, when: str, file: str) -> str:
    """/proc/``file`` as read at the ``when`` ("start" or "end") of the recording."""
    with gzip.open(RECORDINGS / f"{name}.info.txt.gz", "rt", encoding="ascii") as stream:
        text = stream.read()
    found = re.search(rf"(?ms)^=== {when} {file}\n(.*?)(?=^=== |\Z)", text)
    assert found, f"{name}: no {when} {file}"
    return found[1]


@cache
def boot(name: str, when: str = "start") -> Kernel:
    """The machine in the state of the recording's first ("start") or last ("end") snapshot.  Do not change it.

    All CPUs are on node 0: no view depends on it.
    """
    record: object = None
    with gzip.open(RECORDINGS / f"{name}.jsonl.gz", "rb") as stream:
        for line in stream:
            if line.startswith(b'{"t":"snap"'):
                record = json.loads(line)
                if when == "start":
                    break
    zones = snapshot_zones(record)
    config = config_of_snapshot(zones, (0,) * len(cpus_of(zones)))
    return boot_from_snapshot(zones, get_variant("linux-6.12").calls, config)


def known_lines(zoneinfo: str) -> list[str]:
    """The lines of /proc/zoneinfo that the view has: populated zones without other counters and the last two lines."""
    known = re.compile(r"Node |  pages free|        \S|  pagesets|    cpu:|              \S|  vm stats threshold")
    lines: list[str] = []
    for zone in re.split(r"(?m)^(?=Node )", zoneinfo):
        if "\n  pagesets\n" in zone:
            lines += [line for line in zone.splitlines() if known.match(line)]
    return lines
