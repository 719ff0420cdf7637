# SPDX-License-Identifier: GPL-2.0-only
"""Cuts a recording down to its first operations, so that a test replays it in a moment.

A scripted one is cut at the first snapshot behind the operations asked for.  A natural one has no snapshot
to be cut at: its new end is the state of the model, which has agreed with every event up to there.  Either cut is
a whole recording again: its meta line says how many operations and events are left.

    python -m tests.recording.cut FROM TO OPERATIONS
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any, Final

from pageblock_buddy.errors import InputError
from pageblock_buddy.recording.reader import RecordingReader
from pageblock_buddy.replay.driver import find_cpu_nodes
from pageblock_buddy.replay.natural import NaturalReplay
from pageblock_buddy.snapshot import zone_to_dict
from pageblock_buddy.variants import VARIANTS

RECORDINGS: Final = Path(__file__).parent.parent / "recordings"


def recording(name: str) -> Path:
    """The file of a recording by its short name ("b", "numa2-512+512-lo-s6")."""
    return RECORDINGS / f"6.12-{name}.jsonl.gz"


def read_lines(path: Path) -> list[str]:
    """The lines of a recording, without the newlines."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().splitlines()


def write_lines(path: Path, lines: list[str]) -> Path:
    """Write a recording: gzip (without a time, so always the same bytes) if the name says so, else plain."""
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def cut(lines: list[str], operations: int, **meta: Any) -> list[str]:
    """The first ``operations`` and what follows up to a snapshot.  ``meta``: changes of the meta line."""
    for place in range(2, len(lines)):
        if lines[place].startswith("{"):
            snapshot = json.loads(lines[place])
            if snapshot["op"] >= operations:
                counts = {"nops": snapshot["op"] + 1, "ne": snapshot["nev"], "nev": snapshot["nev"]}
                return [json.dumps(json.loads(lines[0]) | counts | meta), *lines[1 : place + 1]]
    raise ValueError(f"no snapshot behind operation {operations}")


def cut_natural(path: Path, to: Path, events: int) -> Path:
    """About the first ``events``, which must agree without any cause, and the model's state behind them."""
    lines = read_lines(path)
    snapshot = json.loads(lines[1]) | {"op": 1}
    while True:
        snapshot["nev"] = events
        meta = json.dumps(json.loads(lines[0]) | {"ne": events, "nev": events})
        write_lines(to, [meta, *lines[1 : events + 2], json.dumps(snapshot)])
        with RecordingReader(to) as reader:
            try:
                replay = NaturalReplay(reader, VARIANTS["linux-6.12"], find_cpu_nodes(to, None))
            except InputError:  # an operation has not ended yet
                events += 40
                continue
        for _ in replay.operations:
            assert replay._perform_next() is None
        k = replay.model.k
        snapshot["zones"] = [zone_to_dict(k, zone) for zone in k.zones]
        return write_lines(to, [meta, *lines[1 : events + 2], json.dumps(snapshot)])


if __name__ == "__main__":
    source, target, wanted = sys.argv[1:]
    write_lines(Path(target), cut(read_lines(Path(source)), int(wanted)))
