# SPDX-License-Identifier: GPL-2.0-only
"""Files that are no recordings, or damaged ones: one InputError that names the file, whatever they hold."""

from __future__ import annotations

import copy
import gzip
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pageblock_buddy.errors import InputError, PageblockBuddyError, UnknownVariant
from pageblock_buddy.recording.reader import MAX_LINE, RecordingReader
from pageblock_buddy.replay import replay_recording
from pageblock_buddy.replay.at import stop_before
from tests.helpers import MOVABLE, UNMOVABLE
from tests.recording.cut import cut, read_lines, recording
from tests.recording.tiny import NaturalRun, ScriptedRun, meta_line, write

Records = list[Any]


def scripted() -> Records:
    """A scripted recording that has every kind of line, and a snapshot in the middle."""
    run = ScriptedRun()
    held = [run.alloc(MOVABLE), run.alloc(UNMOVABLE, 1, cpu=1), run.alloc(MOVABLE, 3)]
    bulk = run.bulk(MOVABLE, 3)
    run.snap()
    run.free(held[0], cpu=1)
    run.free(bulk + 1)
    run.drain(1)
    run.free(held[2])
    run.alloc(MOVABLE, 2)
    return run.records()


def natural() -> Records:
    """A natural recording that has every kind of operation."""
    run = NaturalRun()
    held = [run.alloc(MOVABLE), run.alloc(UNMOVABLE, 1, cpu=1)]
    run.bulk(MOVABLE, 3)
    run.free(held[0], in_irq=1)
    run.free(held[1], 1, cpu=0)
    with run.on(1) as system:
        system.drain_local_pages()
    return run.records()


@pytest.mark.parametrize("records", [scripted(), natural()], ids=["scripted", "natural"])
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_the_undamaged_ones_are_good(tmp_path: Path, records: Records, suffix: str) -> None:
    result = replay_recording(write(tmp_path / f"good{suffix}", records))
    assert not result.mismatches
    assert (result.operations, result.snapshots) == ((11, 2) if records[0]["nops"] else (8, 1))


# --- no recording at all -----------------------------------------------------------------------

JUNK: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty file"),
    "binary": (bytes(range(256)) * 40, "not JSON"),
    "text": (b"MemTotal:  1024 kB\n", "not JSON"),
    "invalid UTF-8": (b'{"t":"meta","kernel":"\xff\xfe"}\n', "not JSON"),
    "UTF-16": ('{"t":"meta","kernel":"\N{SNOWMAN}"}\n'.encode("utf-16"), "not JSON"),
    "a list": (b"[1,2]\n", "first line is not a meta object"),
    "other JSON": (b'{"t":"snap"}\n', "first line is not a meta object"),
    "no kernel": (b'{"t":"meta"}\n', "no kernel version"),
    "kernel is a number": (b'{"t":"meta","kernel":6.12}\n', "no kernel version"),
    "a long kernel": (b'{"t":"meta","kernel":"' + b"6" * 99 + b'"}\n', "no kernel version"),
    "nothing but meta": (json.dumps(meta_line()).encode() + b"\n", "no snapshot"),
    "no snapshot first": (json.dumps(meta_line(nops=1)).encode() + b'\n["D",0]\n', "comes before any snapshot"),
    "gzip magic only": (b"\x1f\x8b", "damaged"),
    "gzip of nothing": (gzip.compress(b""), "empty file"),
    "blank lines": (b"\n\n\n", "not JSON"),
    "deep nesting": (b"[" * 100_000, "nested too deeply"),
    "deep objects": (b'{"a":' * 100_000, "nested too deeply"),
    "a number of 5000 digits": (b'{"t":"meta","kernel":"6.12.1","nops":1' + b"0" * 5000 + b"}\n", "not JSON"),
    "1e999": (b'{"t":"meta","kernel":"6.12.1","nops":1e999}\n', "nops is not a count"),
    "NaN": (b'{"t":"meta","kernel":"6.12.1","ne":NaN}\n', "ne is not a count"),
    "negative": (b'{"t":"meta","kernel":"6.12.1","nops":-1}\n', "nops is not a count"),
    "true": (b'{"t":"meta","kernel":"6.12.1","nops":true}\n', "nops is not a count"),
    "foreign events": (b'{"t":"meta","kernel":"6.12.1","foreign":3}\n', "foreign"),
    "lost events": (b'{"t":"meta","kernel":"6.12.1","ne":3,"nev":4}\n', "lost events"),
}


@pytest.mark.parametrize(("data", "message"), JUNK.values(), ids=JUNK.keys())
def test_what_is_no_recording(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "junk.jsonl"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        replay_recording(path)
    assert caught.value.message.startswith("junk.jsonl: ")
    assert "\n" not in caught.value.message


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, message in (
        (tmp_path / "missing", "No such file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "fifo", "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path / "nul\0byte", "null byte"),
        (tmp_path / ("x" * 300), "name too long"),
    ):
        with pytest.raises(InputError, match=f"cannot read: .*{message}"):
            replay_recording(path)


def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(InputError, match="cannot read: Input/output error"):
        replay_recording("/proc/self/mem")


# --- versions and kernels ----------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 2, "1", 1.0, None, True, [1], 10**30, -1])
def test_a_version_that_this_release_does_not_read(tmp_path: Path, version: object) -> None:
    records = scripted()
    records[0]["version"] = version
    with pytest.raises(InputError, match=r"version .* is not one that this release reads"):
        replay_recording(write(tmp_path / "x.jsonl", records))


def test_an_absent_version_is_1(tmp_path: Path) -> None:
    records = scripted()
    assert "version" not in records[0]
    assert not replay_recording(write(tmp_path / "x.jsonl", records)).mismatches
    records[0]["version"] = 1
    assert not replay_recording(write(tmp_path / "x.jsonl", records)).mismatches


@pytest.mark.parametrize("kernel", ["6.1.119", "6.120.1", "6", "", "6.12-rc1", "7.0.1", "\ud800"])
def test_a_kernel_without_a_variant(tmp_path: Path, kernel: str) -> None:
    records = scripted()
    records[0]["kernel"] = kernel
    path = write(tmp_path / "x.jsonl", records)
    with pytest.raises(UnknownVariant, match="no variant is exact for kernel"):
        replay_recording(path)
    assert not replay_recording(path, variant="linux-6.12").mismatches
    with pytest.raises(UnknownVariant, match=r"no variant 'linux-5\.0'; there are: linux-6.12"):
        replay_recording(path, variant="linux-5.0")


# --- damaged files -----------------------------------------------------------------------------


def test_a_gzip_file_cut_anywhere(tmp_path: Path) -> None:
    data = recording("128M-2cpu-mixc-s1").read_bytes()
    path = tmp_path / "cut.jsonl.gz"
    for size in (3, 9, 10, 11, 100, 2_000, 10_000):
        path.write_bytes(data[:size])
        with pytest.raises(InputError, match="damaged or truncated"):
            replay_recording(path)
    short = gzip.compress(b"\n".join(line.encode() for line in cut(read_lines(recording("a")), 400)) + b"\n")
    for size in (len(short) - 1, len(short) - 8, len(short) - 9):  # in the checksum, too
        path.write_bytes(short[:size])
        with pytest.raises(InputError, match="damaged or truncated"):
            replay_recording(path)


def test_corrupt_bytes(tmp_path: Path) -> None:
    """A flipped byte inside gzip is found by its checksum at the latest; or it breaks the text first, or a PFN."""
    data = gzip.compress("\n".join(cut(read_lines(recording("a")), 400)).encode() + b"\n", mtime=0)
    path = tmp_path / "corrupt.jsonl.gz"
    rng = random.Random(11)
    for _ in range(60):
        place = rng.randrange(10, len(data))
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :])
        try:
            assert replay_recording(path).mismatches
        except InputError as error:
            assert error.message.startswith("corrupt.jsonl.gz: ")  # noqa: PT017 - either is right
    path.write_bytes(data + b"trailing junk")
    with pytest.raises(InputError, match="damaged"):
        replay_recording(path)
    path.write_bytes(data + gzip.compress(b'["F",0,0,0,-1]\n'))  # a second member continues the text
    with pytest.raises(InputError, match="line 415: not whole: meta says 412 operations, the file has 413"):
        replay_recording(path)


@pytest.mark.parametrize("make", [scripted, natural])
def test_truncated_at_a_line_boundary(tmp_path: Path, make: Callable[[], Records]) -> None:
    """Whole lines are missing at the end: the counts in the meta line tell."""
    records = make()
    for kept in range(1, len(records)):
        with pytest.raises(InputError, match=r"truncated|not whole|no snapshot|file ends after an inner event"):
            replay_recording(write(tmp_path / "short.jsonl.gz", records[:kept]))
    lines = [json.dumps(record) for record in records]
    path = tmp_path / "half.jsonl"
    path.write_text("\n".join(lines)[:-9])
    with pytest.raises(InputError, match="not JSON"):
        replay_recording(path)


def test_lines_too_many(tmp_path: Path) -> None:
    records = scripted()
    with pytest.raises(InputError, match="meta says 15 operations, the file has 16"):
        replay_recording(write(tmp_path / "x.jsonl", [*records, ["F", 0, 0, 0, -1]]))
    records = natural()
    with pytest.raises(InputError, match="lines behind the last snapshot"):
        replay_recording(write(tmp_path / "x.jsonl", [*records, records[-2]]))
    with pytest.raises(InputError, match=r"meta says .* events, the file has"):
        replay_recording(write(tmp_path / "x.jsonl", [*records[:-1], records[-2], records[-1]]))


def test_a_line_that_never_ends(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl.gz"
    path.write_bytes(gzip.compress(b" " * (MAX_LINE + 1), 1))
    with pytest.raises(InputError, match="line 1: line longer than"):
        RecordingReader(path)
    path.write_bytes(gzip.compress(b'{"t":"meta","kernel":"6.12.1","x":[' + b"[]," * (1 << 21) + b"0]}\n", 1))
    with pytest.raises(InputError, match="line 1: more than 2097152 objects, lists and strings"):
        RecordingReader(path)


# --- wrong things in the right place -----------------------------------------------------------


def _overlapping(zone: dict[str, Any]) -> None:
    zone["free_area"][3]["lists"][1].append(40)
    zone["free_area"][3]["nr_free"] = 1


SNAPSHOTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "overlapping blocks": (_overlapping, "overlaps another free block"),
    "a block twice": (lambda z: z["free_area"][4]["lists"][1].append(32), "overlaps another free block"),
    "misaligned": (lambda z: z["free_area"][4]["lists"][1].append(40), "not the first PFN of an order-4 block"),
    "outside": (lambda z: z["free_area"][4]["lists"][1].append(64), "not the first PFN of an order-4 block"),
    "far outside": (lambda z: z["free_area"][4]["lists"][1].append(1 << 60), "not the first PFN of an order-4 block"),
    "a negative PFN": (lambda z: z["free_area"][0]["lists"][1].append(-1), "not the first PFN of an order-0 block"),
    "a PFN that is text": (lambda z: z["free_area"][0]["lists"][1].append("1"), "not the first PFN of an order-0"),
    "nr_free": (lambda z: z["free_area"][4].update(nr_free=9), "nr_free is 9 but its lists hold"),
    "a free PCP page": (lambda z: z["pcp"][0]["lists"][0].append(33), "overlaps another free block"),
    "count": (lambda z: z["pcp"][0].update(count=3), "count is 3 but its lists hold 0"),
    "no such list": (lambda z: z["pcp"][0]["lists"].append([]), "lists is not a list of 12"),
    "no such order": (lambda z: z["free_area"].append({}), "free_area is not a list of 5"),
    "no such type": (lambda z: z["free_area"][0]["lists"].append([]), "not a list of 5"),
    "block types": (lambda z: z.update(block_mt="11"), "block_mt is not a string of 8"),
    "a block type": (lambda z: z.update(block_mt="1111111x"), "block_mt is not a string of 8"),
    "block_lru": (lambda z: z["block_lru"].pop(), "block_lru is not a list of 8"),
    "a million CPUs": (lambda z: z["pcp"][1].update(cpu=10**6), "page list of CPU 1000000 where CPU 1's belongs"),
    "no CPU": (lambda z: z["pcp"].clear(), "page lists of 0 CPUs"),
    "a huge zone": (lambda z: z.update(spanned=1 << 40), "do not fit"),
    "a zone from nowhere": (lambda z: z.update(start=-8), "do not fit"),
    "no such zone": (lambda z: z.update(zone=9), "zone index 9"),
    "no such node": (lambda z: z.update(node=5000), "node"),
    "orders": (lambda z: z.update(max_order=2), "pageblock_order"),
    "a huge order": (lambda z: z.update(max_order=64), "pageblock_order"),
    "reserves": (lambda z: z.update(lowmem_reserve=[0]), "lowmem_reserve is not a list of 5"),
    "free_diff": (lambda z: z["pcp"][0].update(free_diff=128), "free_diff is not a whole number"),
}


@pytest.mark.parametrize(("change", "message"), SNAPSHOTS.values(), ids=SNAPSHOTS.keys())
@pytest.mark.parametrize("make", [scripted, natural])
def test_a_first_snapshot_that_contradicts_itself(
    tmp_path: Path, make: Callable[[], Records], change: Callable[[dict[str, Any]], object], message: str
) -> None:
    records = make()
    records[1] = copy.deepcopy(records[1])
    change(records[1]["zones"][0])
    with pytest.raises(InputError, match=message) as caught:
        replay_recording(write(tmp_path / "x.jsonl", records))
    assert caught.value.message.startswith("x.jsonl: line 2: ")


def test_zones_that_contradict_each_other(tmp_path: Path) -> None:
    records = scripted()
    zone = records[1]["zones"][0]
    for zones, message in (
        ([], "no zones"),
        ([1], "no zones"),
        ([zone, zone], "given twice"),
        ([zone, zone | {"zone": 2}], "zones overlap"),
        ([zone, zone | {"zone": 2, "start": 64, "pcp": zone["pcp"][:1]}], "page lists of 1 CPUs"),
        ([zone, zone | {"zone": 2, "start": 64, "max_order": 5}], "disagree about pageblock_order or max_order"),
        ([zone | {"node": node, "start": 64 * node} for node in range(200)], "more than 128 nodes"),
    ):
        records[1] = records[1] | {"zones": zones}
        with pytest.raises(InputError, match=f"line 2: .*{message}"):
            replay_recording(write(tmp_path / "x.jsonl", records))


META: list[tuple[str, object]] = [
    ("cpu_node", "x"),
    ("cpu_node", [0]),
    ("cpu_node", [0, 0, 0]),
    ("cpu_node", [0, None]),
    ("cpu_node", [0, -1]),
    ("cpu_node", [0, 10**30]),
    ("cpu_node", [0.0, 0.0]),
    ("node_distance", "x"),
    ("node_distance", 5),
    ("node_distance", [10]),
    ("node_distance", [["10"]]),
    ("node_distance", [[10, 20]]),
    ("node_distance", [[float("nan")]]),
    ("node_distance", [[-1]]),
    ("node_distance", {"a": 1}),
]


@pytest.mark.parametrize(("key", "value"), META, ids=str)
def test_a_topology_that_cannot_be(tmp_path: Path, key: str, value: object) -> None:
    records = scripted()
    records[0] |= {"cpu_node": [0, 0], key: value}
    with pytest.raises(InputError, match=r"line 2: .*(cpu_node|node_distance)"):
        replay_recording(write(tmp_path / "x.jsonl", records))


LINES: list[Any] = [
    None,
    0,
    "D",
    [],
    [[]],
    ["X", 0],
    ["A", 0, 0, 0],
    ["A", 0, 0, 0, None],
    ["A", 0, 0, 0, 1.5],
    ["A", 0, 0, 0, 1 << 70],
    ["A", 0, 0, 0, -2],
    ["A", 0, 0, 0, [1]],
    ["F", 0, 0, 0],
    ["B", 0, 256, 0, []],
    ["B", 0, -1, 0, []],
    ["B", 0, 1, 0, None],
    ["B", 0, 1, 0, ["1"]],
    ["D"],
    ["D", "0"],
    ["e", "zlock", 0, None],
    ["e", "zlock", 0, 1.5],
    ["e", {}],
]


@pytest.mark.parametrize("line", LINES, ids=json.dumps)
def test_lines_that_are_neither_operations_nor_events(tmp_path: Path, line: Any) -> None:
    records = scripted()
    for keep_going in (False, True):
        with pytest.raises(InputError, match=r"line 3: "):
            replay_recording(write(tmp_path / "x.jsonl", [*records[:2], line, *records[2:]]), keep_going=keep_going)


NATURAL_LINES: list[Any] = [
    None,
    [],
    ["D", 0],
    ["e", 7, 0, 1, "alloc", 0, 0, 0, 0],
    ["e", 7, 0, 1, "alloc", 0, 0, 0, 0, None],
    ["e", 7, 0, 1, "alloc", 0, 0, 0, 0, 1 << 70],
    ["e", 7, 0, 1, "xyz", 0, 0, 0],
    ["e", 7, 0, 1, None, 0, 0, 0],
    ["e", None, 0, 1, "free", 0, 0, 0],
    ["e", 7, 0, 1, "call", 0, "free_contig_range", 0],
    ["e", 7, 0, 1, "call", 0, None, 0],
    ["e", 7, 0, 1, "drain", 0, 0, 0, 0],
    ["e", 7, 0, 1, "freeb", 0, 9],
]


@pytest.mark.parametrize("line", NATURAL_LINES, ids=json.dumps)
def test_lines_that_are_no_events_of_a_natural_run(tmp_path: Path, line: Any) -> None:
    records = natural()
    records[0]["ne"] = records[0]["nev"] = records[0]["ne"] + 1
    with pytest.raises(InputError, match=r"line 3: "):
        replay_recording(write(tmp_path / "x.jsonl", [*records[:2], line, *records[2:]]))


def test_inner_events_that_no_operation_ends(tmp_path: Path) -> None:
    records = natural()
    records[0]["ne"] = records[0]["nev"] = records[0]["ne"] + 1
    event = ["e", 9, 0, 1, "zlock", 0, 0, 1, 0, 1]
    with pytest.raises(InputError, match="a zlock event that belongs to no operation"):
        replay_recording(write(tmp_path / "x.jsonl", [*records[:-1], event, records[-1]]))


# --- every field -------------------------------------------------------------------------------

VALUES: list[Any] = [None, "x", [], {}, True, -1, 0, 1, 255, 1 << 40, 10**30, 1.5, float("nan"), [None], [0], [[]]]


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths to everything inside a JSON value; of a long list, the first two."""
    if at:
        yield at
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*at, key))
    elif isinstance(value, list):
        for index in range(min(len(value), 2)):
            yield from places(value[index], (*at, index))


def changed(record: Any, place: tuple[str | int, ...], value: Any) -> Any:
    """A copy of a JSON value in which one thing is another."""
    record = copy.deepcopy(record)
    inside = record
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    return record


def never_a_traceback(path: Path, *, keep_going: bool = False) -> None:
    """Replay; whatever happens is an error of ours, and a mismatch can be looked at."""
    refused: PageblockBuddyError | None = None
    try:
        result = replay_recording(path, keep_going=keep_going)
        if result.mismatches:
            stop_before(path, min(result.mismatches[0].index, 1))
    except PageblockBuddyError as error:
        refused = error
    if refused is not None:
        assert isinstance(refused, InputError), refused.to_dict()
        assert "\n" not in refused.message


def fuzz(tmp_path: Path, records: Records, lines: range, tries: int | None, seed: int) -> None:
    """Put each of VALUES at each place of the lines (or at as many random ones)."""
    cases = [(line, place, value) for line in lines for place in places(records[line]) for value in VALUES]
    if tries is not None:
        cases = random.Random(seed).sample(cases, min(tries, len(cases)))
    for number, (line, place, value) in enumerate(cases):
        bad = [*records[:line], changed(records[line], place, value), *records[line + 1 :]]
        if number % 2 and line:
            bad[0] = bad[0] | {"cpu_node": [0, 0]}
        never_a_traceback(write(tmp_path / "fuzz.jsonl", bad), keep_going=number % 4 > 1)


@pytest.mark.parametrize("make", [scripted, natural])
def test_any_value_in_any_field(tmp_path: Path, make: Callable[[], Records]) -> None:
    records = make()
    records[0] |= {"node_distance": [[10]], "cpu_node": [0, 0]}
    fuzz(tmp_path, records, range(2), 100, 1)
    del records[0]["node_distance"], records[0]["cpu_node"]
    fuzz(tmp_path, records, range(2, len(records)), 100, 2)


@pytest.mark.ci
@pytest.mark.parametrize("make", [scripted, natural])
def test_every_value_in_every_field(tmp_path: Path, make: Callable[[], Records]) -> None:
    records = make()
    fuzz(tmp_path, records, range(1, 2), None, 0)
    fuzz(tmp_path, records, range(2, len(records)), 2000, 3)
    records[0] |= {"node_distance": [[10]], "cpu_node": [0, 0]}
    fuzz(tmp_path, records, range(1), None, 0)


def test_an_operation_that_no_machine_can_do_is_a_mismatch(tmp_path: Path) -> None:
    """What an operation asks for is the script's; the model refuses what the kernel could not have done."""
    for line in (["A", 9, 0, MOVABLE, 1], ["A", -1, 0, MOVABLE, 1], ["A", 0, 99, MOVABLE, 1], ["D", 10**6],
                 ["A", 0, 0, 1 << 61, 1], ["F", 0, 0, 10**9, 7], ["B", 5, 1, MOVABLE, [1]]):  # fmt: skip
        records = scripted()
        result = replay_recording(write(tmp_path / "x.jsonl", [*records[:2], line, *records[2:]]))
        assert [mismatch.lineno for mismatch in result.mismatches] == [3], line
