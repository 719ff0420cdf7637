# SPDX-License-Identifier: GPL-2.0-only
"""Finding the node of each CPU, which a recording does not say (decision D-07), and taking it where one does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pageblock_buddy import Config
from pageblock_buddy import gfp as g
from pageblock_buddy.recording.machine_of import told_cpu_nodes
from pageblock_buddy.recording.reader import RecordingReader
from pageblock_buddy.recording.topology import busiest_nodes, cpus_per_node, first_guess
from pageblock_buddy.replay import replay_recording
from pageblock_buddy.replay.driver import find_cpu_nodes
from tests.helpers import MOVABLE, UNMOVABLE, small_zone
from tests.recording.cut import cut, cut_natural, read_lines, recording, write_lines
from tests.recording.tiny import NaturalRun, ScriptedRun, write

DISTANCES = [[10, 12, 22, 32], [12, 10, 32, 22], [22, 32, 10, 12], [32, 22, 12, 10]]

#: recording, operations to cut it to, the guest's CPUs
MACHINES = [
    ("numa2-512+512-lo-s6", 900, (0, 0, 1, 1)),
    ("numa2-interleaved-edge-s2", 3500, (0, 1, 0, 1)),
    ("numa2-n0nocpu-edge-s4", 3700, (0, 0)),
    ("numa2-n1nomem-edge-s6", 3400, (0, 0, 1, 1)),
]


@pytest.mark.parametrize(("name", "operations", "nodes"), MACHINES, ids=[name for name, *_ in MACHINES])
def test_the_node_of_each_cpu_is_found(tmp_path: Path, name: str, operations: int, nodes: tuple[int, ...]) -> None:
    """Contiguous, interleaved, a node without CPUs, a node without memory.

    (The guest without CPUs on its node 0 numbered its nodes anew: its node 0 is the one with the CPUs.)
    """
    lines = cut(read_lines(recording(name)), operations)
    path = write_lines(tmp_path / "cut.jsonl", lines)
    assert find_cpu_nodes(path, None) == nodes
    assert not replay_recording(path).mismatches
    # told is used as it is
    told = write_lines(tmp_path / "told.jsonl", [json.dumps(json.loads(lines[0]) | {"cpu_node": nodes}), *lines[1:]])
    assert find_cpu_nodes(told, None) is None
    assert not replay_recording(told).mismatches


@pytest.mark.parametrize(("name", "operations", "nodes"), MACHINES[:1], ids=[name for name, *_ in MACHINES[:1]])
def test_no_map_explains_a_changed_pfn_away(tmp_path: Path, name: str, operations: int, nodes: tuple[int, ...]) -> None:
    lines = cut(read_lines(recording(name)), operations)
    places = [i for i, line in enumerate(lines) if line.startswith('["A"') and not line.endswith(",-1]")]
    for place in (places[3], places[len(places) // 2], places[-1]):
        record = json.loads(lines[place])
        record[4] += 1
        changed = [*lines[:place], json.dumps(record), *lines[place + 1 :]]
        result = replay_recording(write_lines(tmp_path / "changed.jsonl", changed))
        assert [mismatch.lineno for mismatch in result.mismatches] == [place + 1]


def test_a_wrong_map_is_a_mismatch(tmp_path: Path) -> None:
    """Told is told: nothing is searched then."""
    lines = cut(read_lines(recording("numa2-512+512-lo-s6")), 900)
    meta = json.loads(lines[0]) | {"cpu_node": [0, 1, 0, 1]}
    path = write_lines(tmp_path / "wrong.jsonl", [json.dumps(meta), *lines[1:]])
    assert replay_recording(path).mismatches


def test_distances() -> None:
    """Four nodes whose fallback order is not by number: the guest's table is in the meta line, and needed."""
    path = recording("numa4-dist-cut")
    with RecordingReader(path) as reader:
        assert reader.meta.raw["node_distance"] == DISTANCES
    assert not replay_recording(path).mismatches


@pytest.mark.ci
def test_without_the_distances_it_is_another_machine(tmp_path: Path) -> None:
    lines = read_lines(recording("numa4-dist-cut"))
    meta = json.loads(lines[0])
    del meta["node_distance"]
    path = write_lines(tmp_path / "cut.jsonl", [json.dumps(meta), *lines[1:]])
    (mismatch,) = replay_recording(path).mismatches
    assert mismatch.operation.startswith("alloc_pages")


# --- tiny machines -----------------------------------------------------------------------------


def machine(cpu_node: tuple[int, ...], nodes: int = 2) -> Config:
    zones = tuple(small_zone(g.ZONE_DMA32, 64 * node, 64, node=node) for node in range(nodes))
    return Config(zones=zones, nr_cpus=len(cpu_node), cpu_node=cpu_node, pageblock_order=3, max_page_order=4)


def scripted_on(cpu_node: tuple[int, ...], nodes: int = 2) -> list[Any]:
    run = ScriptedRun("", machine(cpu_node, nodes))
    for step in range(40):
        run.alloc((MOVABLE, UNMOVABLE)[step % 2], step % 3, step * 7 % len(cpu_node))
    return run.records()


@pytest.mark.parametrize(
    "cpu_node",
    [(0, 0, 1, 1), (1, 1, 0, 0), (0, 1, 0, 1), (1, 0, 0, 1), (0, 0, 0, 1), (1, 1, 1, 0), (0, 0, 0, 0), (1, 1, 1, 1)],
    ids=str,
)
def test_any_map_of_two_nodes_is_found(tmp_path: Path, cpu_node: tuple[int, ...]) -> None:
    path = write(tmp_path / "x.jsonl", scripted_on(cpu_node))
    assert find_cpu_nodes(path, None) == cpu_node
    assert not replay_recording(path).mismatches


def test_a_map_of_three_nodes_is_found(tmp_path: Path) -> None:
    for cpu_node in ((2, 1, 0), (1, 2, 0), (2, 2, 1), (0, 1, 2)):
        path = write(tmp_path / "x.jsonl", scripted_on(cpu_node, 3))
        assert find_cpu_nodes(path, None) == cpu_node


def test_a_cpu_that_asks_for_nothing_can_be_anywhere(tmp_path: Path) -> None:
    run = ScriptedRun("", machine((1, 0)))
    run.alloc(MOVABLE)
    path = write(tmp_path / "x.jsonl", run.records())
    found = find_cpu_nodes(path, None)
    assert found is not None
    assert found[0] == 1
    assert not replay_recording(path).mismatches


@pytest.mark.parametrize("cpu_node", [(0, 1), (1, 0), (1, 1)], ids=str)
def test_natural_runs_go_by_the_busiest_node(tmp_path: Path, cpu_node: tuple[int, ...]) -> None:
    """Otherwise each request of a misplaced CPU would pass for one that preferred another node."""
    run = NaturalRun("", machine(cpu_node))
    for step in range(20):
        run.alloc(MOVABLE, cpu=step % 2)
    run.alloc(MOVABLE, cpu=0, node=1 - cpu_node[0])
    path = write(tmp_path / "x.jsonl", run.records())
    assert find_cpu_nodes(path, None) == cpu_node
    result = replay_recording(path)
    assert not result.mismatches
    assert {cause: count for cause, count in result.resyncs.items() if count} == {"preferred-node": 1}


def test_the_busiest_nodes_need_allocations() -> None:
    zones = [{"node": node, "start": 64 * node, "spanned": 64} for node in range(3)]
    events = [["e", 1, 0, 0, "alloc", cpu, 0, 0, 0, pfn] for cpu, pfn in ((1, 130), (1, 5), (1, 140), (9, 5), (0, -1))]
    others: list[Any] = [["e", 1, 0, 0, "free", 2, 0, 9], {"t": "snap"}, ["e"], None]
    assert busiest_nodes(enumerate([*events, *others]), zones, (1, 1, 1)) == (1, 2, 1)


def test_a_real_natural_run(tmp_path: Path) -> None:
    path = cut_natural(recording("nat-numa2-std-4cpu-1G-s1"), tmp_path / "cut.jsonl", 3000)
    assert find_cpu_nodes(path, None) == (0, 0, 1, 1)
    assert not any(replay_recording(path).resyncs.values())


# --- the first guess ---------------------------------------------------------------------------


def first_zones(name: str) -> list[dict[str, Any]]:
    with RecordingReader(recording(name)) as reader:
        _, snapshot = next(iter(reader))
    zones: list[dict[str, Any]] = snapshot["zones"]
    return zones


def test_cpus_of_each_node_from_high_min() -> None:
    assert cpus_per_node(first_zones("numa2-512+512-lo-s6"), 4) == {0: 2, 1: 2}
    assert cpus_per_node(first_zones("numa2-n0nocpu-edge-s4"), 2) == {0: 2, 1: 0}
    assert cpus_per_node(first_zones("numa4-dist-cut"), 4) == {0: 1, 1: 1, 2: 1, 3: 1}
    assert first_guess(first_zones("numa2-interleaved-edge-s2"), 4) == (0, 0, 1, 1)
    assert first_guess(first_zones("b"), 4) == (0, 0, 0, 0)


def test_a_guess_from_nothing() -> None:
    """Fields that are missing or wrong make a bad guess, not an error: the snapshot is checked later."""
    for zone in ({"node": 0}, {"node": 0, "managed": "x", "pcp": [{"high_min": None}]}, {"node": 0, "pcp": []}):
        assert len(first_guess([zone], 3)) == 3


def test_told(tmp_path: Path) -> None:
    records = scripted_on((0, 1))
    records[0]["cpu_node"] = [1, 0]
    with RecordingReader(write(tmp_path / "x.jsonl", records)) as reader:
        assert told_cpu_nodes(reader.meta, 2) == (1, 0)
