# SPDX-License-Identifier: GPL-2.0-only
"""Small files that unpack to a lot, and machines that claim to be huge: an error in bounded memory and time.

Each case runs in a process of its own, under a limit on its address space.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pageblock_buddy.cli import main
from pageblock_buddy.errors import InputError
from pageblock_buddy.replay import replay_recording
from tests.recording.test_bad_input import natural, scripted
from tests.recording.tiny import write

MIB = 1 << 20


@dataclass
class Outcome:
    """What a process did: exit code, output, and the most memory that it had (bytes)."""

    code: int
    out: str
    err: str
    peak: int
    seconds: float


def replay(path: Path, *arguments: str, limit: int = 1024 * MIB, timeout: float = 120) -> Outcome:
    """Run ``pageblock-buddy replay`` with a limit on its address space."""
    program = (
        "import resource, sys; from pageblock_buddy.cli import main; code = main(sys.argv[1:]); "
        "print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(code)"
    )
    start = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-c", program, "replay", str(path), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    err, _, peak = process.stderr.rpartition("PEAK ")
    assert peak, process.stderr[-2000:]
    return Outcome(process.returncode, process.stdout, err, int(peak) * 1024, time.monotonic() - start)


def bomb(path: Path, head: list[Any], piece: bytes, size: int) -> Path:
    """A gzip file: some records, then ``piece`` over and over, ``size`` bytes in all."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    block = piece * (MIB // len(piece))
    with path.open("wb") as file:
        file.write(packer.compress("".join(f"{json.dumps(record)}\n" for record in head).encode()))
        for _ in range(size // MIB):
            file.write(packer.compress(block))
        file.write(packer.flush())
    return path


def head(records: list[Any]) -> list[Any]:
    """The start of a recording that promises to be endless."""
    return [records[0] | {"nops": records[0]["nops"] and 1 << 39, "ne": 1 << 39, "nev": 1 << 39}, records[1]]


def one_line_of_error(outcome: Outcome, message: str) -> None:
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("pageblock-buddy: ")
    assert message in outcome.err


def test_one_line_that_never_ends(tmp_path: Path) -> None:
    path = bomb(tmp_path / "x.gz", [], b"[", 128 * MIB)
    assert path.stat().st_size < MIB
    outcome = replay(path, limit=512 * MIB)
    one_line_of_error(outcome, "line 1: line longer than 67108864 bytes")
    assert outcome.peak < 256 * MIB


@pytest.mark.parametrize(
    "piece",
    [b"[],", pytest.param(b"{},", marks=pytest.mark.ci), pytest.param(b'"a",', marks=pytest.mark.ci)],
    ids=["lists", "objects", "texts"],
)
def test_a_line_of_many_small_things(tmp_path: Path, piece: bytes) -> None:
    """62 MB of text would be 1.7 GB of Python objects."""
    path = bomb(tmp_path / "x.gz", head(scripted()), piece, 40 * MIB)
    outcome = replay(path, limit=512 * MIB)
    one_line_of_error(outcome, "line 3: more than 2097152 objects, lists and strings in a line")
    assert outcome.peak < 256 * MIB


def test_deep_nesting(tmp_path: Path) -> None:
    outcome = replay(bomb(tmp_path / "x.gz", head(scripted()), b"[", MIB))
    one_line_of_error(outcome, "line 3: nested too deeply")


def test_as_deep_as_the_reader_allows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A later snapshot that nests as deeply as can be parsed: shown, or refused, but no traceback."""
    lines = [json.dumps(record) for record in scripted()]
    path = tmp_path / "deep.jsonl"
    codes = set()
    for depth in (500, *range(900, 1000, 7)):
        path.write_text("\n".join([*lines[:-1], lines[-1][:-1] + f',"x":{"[" * depth}{"]" * depth}}}\n']))
        for arguments in ([], ["--json"]):
            codes.add(main(["replay", str(path), *arguments]))
            capsys.readouterr()
    assert codes == {1, 2}


@pytest.mark.ci
def test_many_valid_lines(tmp_path: Path) -> None:
    """Events without an operation, and allocations after a mismatch, are counted, not hoarded."""
    path = bomb(tmp_path / "x.gz", head(scripted()), b'["e","zlock",0,0,1,0,1]\n', 64 * MIB)
    outcome = replay(path)
    one_line_of_error(outcome, "more than 1048576 events in one operation")
    assert outcome.peak < 512 * MIB
    outcome = replay(bomb(path, head(scripted()), b'["A",0,0,0,1]\n', 64 * MIB), "--keep-going")
    one_line_of_error(outcome, "line 67: more allocations than the machine has pages")
    path = bomb(tmp_path / "natural.gz", head(natural()), b'["e",7,0,1,"call",0,"__drain_all_pages",1]\n', 8 * MIB)
    one_line_of_error(replay(path), "truncated: no snapshot at the end")


@pytest.mark.ci
def test_a_small_file_of_several_gigabytes(tmp_path: Path) -> None:
    path = bomb(tmp_path / "x.gz", [], b'{"t":"meta","kernel":"' + b"6" * 1000, 64 * MIB)
    member = path.read_bytes()
    with path.open("ab") as file:
        for _ in range(64):  # gzip files may be put behind one another: 4 GiB
            file.write(member)
    assert path.stat().st_size < 40 * MIB
    outcome = replay(path, limit=512 * MIB)
    one_line_of_error(outcome, "line 1: line longer than")
    assert outcome.seconds < 30


def test_a_million_cpus(tmp_path: Path) -> None:
    """Naming one CPU of a large number costs nothing; naming thousands is possible."""
    records = scripted()
    zone = records[1]["zones"][0]
    records[1] = records[1] | {"zones": [zone | {"pcp": [zone["pcp"][0] | {"cpu": 8191}]}]}
    one_line_of_error(replay(write(tmp_path / "x", records)), "page list of CPU 8191 where CPU 0's belongs")
    many = [zone["pcp"][0] | {"cpu": cpu} for cpu in range(10_000)]
    records[1] = records[1] | {"zones": [zone | {"pcp": many}]}
    one_line_of_error(replay(write(tmp_path / "x", records)), "page lists of 10000 CPUs, not of 1..8192")


def huge(records: list[Any], pages: int) -> list[Any]:
    """The recording with a zone of ``pages`` pages, as few blocks as possible, of which the first is given."""
    result = []
    for record in records:
        if isinstance(record, dict) and "zones" in record:
            zone = record["zones"][0]
            blocks = pages >> 15
            areas = zone["free_area"] + [{"nr_free": 0, "lists": [[], [], [], [], []]} for _ in range(11)]
            pcp = [entry | {"lists": [*entry["lists"], [], []]} for entry in zone["pcp"]]
            orders = {"pageblock_order": 15, "max_order": 15, "free_area": areas, "pcp": pcp}
            zone = zone | orders | {"spanned": pages, "block_mt": "1" * blocks, "block_lru": [0] * blocks}
            record = record | {"zones": [zone]}
        result.append(record)
    return result


@pytest.mark.ci
def test_a_machine_of_16_tib(tmp_path: Path) -> None:
    """The largest machine that a scripted recording may be of; a natural one is kept in memory several times."""
    limit = 6 << 30  # the column of 2^32 pages is 4 GiB of addresses, of which hardly any is touched
    records = huge(scripted(), 1 << 32)
    # the blocks of order 4 do not merge as they did in the small zone: let it stop there
    outcome = replay(write(tmp_path / "x", records), limit=limit)
    assert outcome.code == 1
    assert outcome.peak < 256 * MIB
    outcome = replay(write(tmp_path / "x", huge(natural(), 1 << 32)), limit=limit)
    one_line_of_error(outcome, "a natural run on a machine of 4294967296 pages; 67108864 can be replayed")
    assert outcome.peak < 256 * MIB


def test_a_limit_on_memory_is_not_a_traceback(tmp_path: Path) -> None:
    outcome = replay(write(tmp_path / "x", huge(scripted(), 1 << 32)), limit=2 << 30)
    assert (outcome.code, outcome.err) == (3, "pageblock-buddy: Cannot allocate memory\n")


def test_an_unreadable_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", scripted())
    path.chmod(0)
    me = os.geteuid()
    if me == 0:  # root reads everything: be nobody for a moment
        os.seteuid(65534)
    try:
        with pytest.raises(InputError, match=r"x.jsonl: cannot read: Permission denied"):
            replay_recording(path)
    finally:
        os.seteuid(me)


@pytest.mark.ci
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    """A recording of many operations that agree takes no more memory than a short one."""
    records = scripted()
    nothing = ["F", 0, 0, 10**6, -1]
    outcomes = []
    for count in (10, 8_000):
        meta, last = records[0] | {"nops": count + 2}, records[1] | {"op": count + 1}
        outcomes.append(replay(write(tmp_path / "x", [meta, records[1], *[nothing] * count, last])))
    short, long = outcomes
    assert (short.code, long.code) == (2, 2)  # nothing was compared
    assert long.peak < short.peak + 16 * MIB
