# SPDX-License-Identifier: GPL-2.0-only
"""The model is exact against every recording of a real kernel that we have here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pageblock_buddy.recording.reader import RecordingReader
from pageblock_buddy.replay import replay_recording
from pageblock_buddy.replay.result import INFERRED_INPUTS, RESYNC_CAUSES
from tests.recording.cut import RECORDINGS, cut, cut_natural, read_lines, recording, write_lines

ALL = sorted(path.name.removeprefix("6.12-").removesuffix(".jsonl.gz") for path in RECORDINGS.glob("*.jsonl.gz"))
SCRIPTED = [name for name in ALL if not name.startswith("nat")]
#: the first snapshot is far from the start: for test_all_of_each
FAR = {"b", "c", "numa2-1G+1G-n1normal-mixb-s1", "numa2-512+512-mixb-s1", "numa4-dist-cut"}


def operations_in(path: Path) -> int:
    """Allocations, frees, bulk pages and drains of a scripted recording, counted in its lines."""
    count = 0
    with RecordingReader(path) as reader:
        for _, record in reader:
            match record:
                case ["A", *_] | ["D", *_]:
                    count += 1
                case ["F", _, _, _, pfn] if pfn != -1:
                    count += 1
                case ["B", _, pages, *_]:
                    count += pages
    return count


def snapshots_in(path: Path) -> int:
    with RecordingReader(path) as reader:
        return sum(isinstance(record, dict) for _, record in reader)


def test_the_set_covers_what_it_should() -> None:
    """Zones, nodes, CPUs and kinds of load that the recordings here are of."""
    machines, cpus = set(), set()
    for name in ALL:
        with RecordingReader(recording(name)) as reader:
            _, first = next(iter(reader))
        machines.add(" ".join(f"{zone['node']}:{zone['zone']}" for zone in first["zones"]))
        cpus.add(len(first["zones"][0]["pcp"]))
    # node:zone; DMA, DMA32 and Normal alone and together, on one, two and four nodes
    assert machines == {
        "0:0 0:1",
        "0:0 0:1 0:2",
        "0:0 0:1 1:1",
        "0:0 0:1 1:2",
        "0:1 1:0 1:1",
        "0:0 0:1 1:1 2:1 3:1",
    }
    assert cpus >= {1, 2, 4}
    assert {name.split("-")[0] for name in ALL} >= {"a", "b", "c", "nat", "z3", "numa2"}


@pytest.mark.parametrize("name", [name for name in SCRIPTED if name not in FAR])
def test_the_start_of_each(tmp_path: Path, name: str) -> None:
    """Up to the first snapshot behind 300 operations; no difference in anything."""
    path = write_lines(tmp_path / "cut.jsonl", cut(read_lines(recording(name)), 300))
    result = replay_recording(path)
    assert not result.mismatches
    assert result.operations == operations_in(path)
    assert result.snapshots == snapshots_in(path) - 1


@pytest.mark.parametrize("name", ["nat", "nat-numa2-std-4cpu-1G-s1"])
def test_the_start_of_the_natural_ones(tmp_path: Path, name: str) -> None:
    result = replay_recording(cut_natural(recording(name), tmp_path / "cut.jsonl", 5000))
    assert not result.mismatches
    assert result.operations > 2000
    assert not any(result.resyncs.values())


@pytest.mark.ci
def test_one_whole_recording() -> None:
    path = recording("128M-1cpu-edge-s2")
    result = replay_recording(path)
    assert (len(result.mismatches), result.operations) == (0, 18947)
    assert result.operations == operations_in(path)
    assert result.variant == "linux-6.12"


@pytest.mark.ci
@pytest.mark.parametrize("name", ALL)
def test_all_of_each(name: str) -> None:
    path = recording(name)
    result = replay_recording(path)
    assert not result.mismatches
    if name in SCRIPTED:
        assert result.operations == operations_in(path)
        assert result.snapshots == snapshots_in(path) - 1
        assert result.resyncs == {}
    else:
        assert result.operations > 40_000
        assert result.snapshots == 1
        # what the log does not tell is rare: a handful in tens of thousands
        assert sum(result.resyncs.values()) <= 6


@pytest.mark.ci
def test_the_causes_in_the_natural_recordings() -> None:
    """Each of these was looked at by hand: the numbers are what happened on the machine."""
    found = {name: replay_recording(recording(name)).resyncs for name in ("nat", "nat-mix-4cpu-1G-s1")}
    none = dict.fromkeys((*RESYNC_CAUSES, *INFERRED_INPUTS), 0)
    mixed = {"idle-fold": 2, "lost-trylock": 1, "order": 1}
    assert found["nat"] == none | {"idle-fold": 3, "lost-trylock": 1}
    assert found["nat-mix-4cpu-1G-s1"] == none | mixed


def test_cutting(tmp_path: Path) -> None:
    """A cut is a recording of its own, with the counts of what is left."""
    lines = cut(read_lines(recording("a")), 412, seed="7")
    meta, last = json.loads(lines[0]), json.loads(lines[-1])
    assert (meta["nops"], meta["seed"], meta["kernel"]) == (last["op"] + 1, "7", "6.12.117")
    assert meta["ne"] == meta["nev"] == last["nev"]
    with pytest.raises(ValueError, match="no snapshot behind operation"):
        cut(lines, 10**6)
    path = write_lines(tmp_path / "cut.jsonl.gz", lines)
    assert read_lines(path) == lines
