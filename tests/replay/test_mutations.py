# SPDX-License-Identifier: GPL-2.0-only
"""The replay can fail: one changed field of a recording is reported, at its line.

Changed is what the kernel answered: a PFN, a field of an event, anything in a later snapshot.  What an operation
asked for, and the first snapshot, are input; changing them makes another recording.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pageblock_buddy.cli import main
from pageblock_buddy.errors import InputError
from pageblock_buddy.replay import replay_recording
from pageblock_buddy.replay.result import INFERRED_INPUTS, RESYNC_CAUSES
from tests.helpers import MOVABLE, UNMOVABLE
from tests.recording.cut import cut, cut_natural, read_lines, recording, write_lines
from tests.recording.tiny import NaturalRun, ScriptedRun, all_free

Zone = dict[str, Any]
SEED = 20260417


def one_zone() -> list[str]:
    """A run on one zone; the real machines all have two or more."""
    run = ScriptedRun(all_free(256), pages=256)
    rng = random.Random(SEED)
    for step in range(400):
        cpu = rng.randrange(2)
        if step % 100 == 99:
            run.snap()
        elif rng.random() < 0.5 or not run.held:
            run.alloc(rng.choice((MOVABLE, UNMOVABLE)), rng.randrange(4), cpu)
        elif rng.random() < 0.1:
            run.bulk(MOVABLE, rng.randrange(1, 6), cpu)
        elif rng.random() < 0.1:
            run.drain(cpu)
        else:
            run.free(rng.choice(list(run.held)), cpu)
    return [json.dumps(record) for record in run.records()]


#: recordings of one, two and three zones and of two nodes, of some thousand lines each
SOURCES: dict[str, Callable[[], list[str]]] = {
    "one zone": one_zone,
    "two zones": lambda: cut(read_lines(recording("128M-2cpu-mixc-s1")), 500),
    "two zones, exhausted": lambda: cut(read_lines(recording("128M-1cpu-edge-s2")), 2000),
    "three zones": lambda: cut(read_lines(recording("kswapd-z3-edge-4cpu-768M-s9")), 400),
    "two nodes": lambda: cut(read_lines(recording("numa2-512+512-lo-s6")), 900),
}


@cache
def source(name: str) -> tuple[str, ...]:
    return tuple(SOURCES[name]())


# --- changes -----------------------------------------------------------------------------------


def other(rng: random.Random, value: int, low: int = 0, high: int = 1 << 20) -> int:
    """A number near this one, or any other."""
    result = rng.choice([value + 1, value - 1, value ^ 1 << rng.randrange(10), rng.randrange(low, high)])
    return result if result != value and result >= low else value + 1


def zone_of(zones: list[Zone], pfn: int) -> int | None:
    """The place of a page's zone."""
    return next((i for i, z in enumerate(zones) if z["start"] <= pfn < z["start"] + z["spanned"]), None)


def answered_pfn(record: Any) -> int | None:
    """A PFN that an operation was answered with."""
    match record:
        case ["A", _, _, _, pfn] | ["F", _, _, _, pfn]:
            return int(pfn)
        case ["B", _, _, _, pfns] if pfns:
            return int(pfns[0])
    return None


def change_answer(rng: random.Random, record: Any) -> str:
    """Change the PFN of an operation."""
    if record[0] == "B":
        place = rng.randrange(len(record[4]))
        record[4][place] = other(rng, record[4][place])
        return "pfn of B"
    record[4] = other(rng, record[4], -1)
    return f"pfn of {record[0]}"


def change_event(rng: random.Random, record: Any) -> str:
    """Change one field of an event: kind, CPU, order, migratetype, PFN, a call's name."""
    place = rng.randrange(1, len(record))
    old = record[place]
    if isinstance(old, str):
        record[place] = rng.choice([name for name in ("zlock", "drain", "frag", "wakeup_kswapd") if name != old])
    else:
        record[place] = other(rng, old, 0, 16)
    return f"{old if place == 1 else record[1]} field {place}"


def swap(rng: random.Random, lists: list[list[int]]) -> bool:
    """Swap two entries of one of the lists."""
    long = [pfns for pfns in lists if len(pfns) > 1]
    if not long:
        return False
    pfns = rng.choice(long)
    a, b = rng.sample(range(len(pfns)), 2)
    pfns[a], pfns[b] = pfns[b], pfns[a]
    return True


ZONE_CHANGES = [
    *("free list order", "pcp list order", "nr_free", "free pfn", "pcp pfn", "pcp field", "counter", "wmark"),
    *("reserve", "block type", "block_lru", "boost", "flags"),
]


def change_zone(rng: random.Random, zone: Zone) -> str:
    """Change one thing in a zone of a snapshot."""
    kind = rng.choice(ZONE_CHANGES)
    areas, pcps = zone["free_area"], zone["pcp"]
    free, held = ([pfns for entry in entries for pfns in entry["lists"]] for entries in (areas, pcps))
    if kind == "free list order" and swap(rng, free):
        return kind
    if kind == "pcp list order" and swap(rng, held):
        return kind
    if kind in ("free pfn", "pcp pfn") and any(lists := free if kind == "free pfn" else held):
        pfns = rng.choice([pfns for pfns in lists if pfns])
        pfns[rng.randrange(len(pfns))] += rng.choice((-1, 1, 512))
        return kind
    if kind == "nr_free":
        area = rng.choice(areas)
        area["nr_free"] = other(rng, area["nr_free"], 0, 99)
        return kind
    if kind == "block type":
        place = rng.randrange(len(zone["block_mt"]))
        new = rng.choice([digit for digit in "01234." if digit != zone["block_mt"][place]])
        zone["block_mt"] = zone["block_mt"][:place] + new + zone["block_mt"][place + 1 :]
        return kind
    if kind == "block_lru":
        place = rng.randrange(len(zone["block_lru"]))
        zone["block_lru"][place] = other(rng, zone["block_lru"][place], 0, 512)
        return kind
    if kind == "reserve":
        zone["lowmem_reserve"][rng.randrange(5)] += 1
        return kind
    holder, key = {
        "pcp field": (rng.choice(pcps), ""),
        "wmark": (zone, rng.choice(("wmark_min", "wmark_low", "wmark_high", "wmark_promo"))),
        "boost": (zone, "boost"),
        "flags": (zone, "flags"),
    }.get(
        kind,
        (
            zone,
            rng.choice(
                ("nr_free_pages", "nr_reserved_highatomic", "nr_free_highatomic", "drift_mark", "managed", "present")
            ),
        ),
    )
    key = key or rng.choice([name for name, value in holder.items() if isinstance(value, int)])
    holder[key] = other(rng, holder[key], 0, 1 << 12)
    return f"{'pcp ' if kind == 'pcp field' else ''}{key}"


def mutate(rng: random.Random, lines: list[str], wanted: int, number: int) -> tuple[int, str]:
    """Change one field, in zone ``wanted`` if there is such a line.  Returns the line number and what it was."""
    zones = json.loads(lines[1])["zones"]
    if number % 3 == 0:
        place = rng.choice([i for i, line in enumerate(lines) if i > 1 and line.startswith("{")])
        record = json.loads(lines[place])
        zone = record["zones"][wanted]
        what = f"snapshot: {change_zone(rng, zone)}"
    elif number % 3 == 1:
        candidates = [(i, json.loads(lines[i])) for i in range(2, len(lines)) if lines[i][:3] in ('["A', '["F', '["B')]
        candidates = [(i, record) for i, record in candidates if answered_pfn(record) is not None]
        own = [(i, record) for i, record in candidates if zone_of(zones, answered_pfn(record) or 0) == wanted]
        place, record = rng.choice(own or candidates)
        what = change_answer(rng, record)
    else:
        place = rng.choice([i for i, line in enumerate(lines) if line.startswith('["e"')])
        record = json.loads(lines[place])
        what = f"event: {change_event(rng, record)}"
    lines[place] = json.dumps(record)
    return place + 1, what


def check_mutations(tmp_path: Path, name: str, count: int, seed: int) -> None:
    """Each of ``count`` changes is reported at its line."""
    path = tmp_path / "mutated.jsonl"
    rng = random.Random(f"{seed} {name}")
    zones = len(json.loads(source(name)[1])["zones"])
    for number in range(count):
        lines = list(source(name))
        line, what = mutate(rng, lines, number // 3 % zones, number)
        mismatches = replay_recording(write_lines(path, lines)).mismatches
        assert [mismatch.lineno for mismatch in mismatches] == [line], (what, lines[line - 1][:200])


@pytest.mark.parametrize("name", SOURCES)
def test_the_sources_agree(tmp_path: Path, name: str) -> None:
    result = replay_recording(write_lines(tmp_path / "whole.jsonl", list(source(name))))
    assert not result.mismatches
    assert result.operations > 300
    assert result.snapshots >= 1


@pytest.mark.parametrize("name", SOURCES)
def test_a_changed_field_is_reported_at_its_line(tmp_path: Path, name: str) -> None:
    check_mutations(tmp_path, name, 4, SEED)


@pytest.mark.ci
@pytest.mark.parametrize("name", SOURCES)
def test_many_changed_fields_are_reported_at_their_lines(tmp_path: Path, name: str) -> None:
    check_mutations(tmp_path, name, 60, SEED + 1)


def test_a_mutation_is_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = list(source("two zones"))
    line, _ = mutate(random.Random(3), lines, 1, 1)
    path = write_lines(tmp_path / "mutated.jsonl.gz", lines)
    assert main(["replay", str(path)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(f"mutated.jsonl.gz: line {line}, operation ")
    assert out[-1].endswith(" operations, 1 mismatches")


@pytest.mark.parametrize("name", ["two zones", pytest.param("two nodes", marks=pytest.mark.ci)])
def test_keep_going_finds_each_of_two(tmp_path: Path, name: str) -> None:
    """Two segments, a change in each: both are reported, and what lies behind is compared again."""
    lines = list(source(name)) if name == "two zones" else cut(read_lines(recording("numa2-512+512-lo-s6")), 4200)
    whole = replay_recording(write_lines(tmp_path / "whole.jsonl", lines))
    snaps = [place for place, line in enumerate(lines) if line.startswith("{") and place]
    rng = random.Random(SEED)
    changed = []
    for first, last in pairwise(snaps):
        place = rng.choice([p for p in range(first + 1, (first + last) // 2) if lines[p].startswith('["e"')])
        record = json.loads(lines[place])
        record[-1] += 1
        lines[place] = json.dumps(record)
        changed.append(place + 1)
    assert len(changed) == 2
    path = write_lines(tmp_path / "mutated.jsonl", lines)
    first_only = replay_recording(path)
    assert [m.lineno for m in first_only.mismatches] == changed[:1]
    result = replay_recording(path, keep_going=True)
    assert [m.lineno for m in result.mismatches] == changed
    # operations up to the first change, then from the snapshot behind it up to the second
    assert first_only.operations < result.operations < whole.operations
    # with the second change only: the first segment is compared in full
    record = json.loads(lines[changed[0] - 1])
    record[-1] -= 1
    lines[changed[0] - 1] = json.dumps(record)
    second_only = replay_recording(write_lines(path, lines), keep_going=True)
    assert [m.lineno for m in second_only.mismatches] == changed[1:]
    first_segment = sum(1 for line in lines[2 : snaps[1]] if not line.startswith(('["e"', "{"))) + sum(
        json.loads(line)[2] - 1 for line in lines[2 : snaps[1]] if line.startswith('["B"')
    )
    nothing_done = sum(
        1 for line in lines[2 : snaps[1]] if line.startswith('["F"') and line.endswith((",-1]", ", -1]"))
    )
    behind = second_only.operations - (first_segment - nothing_done)
    assert result.operations == first_only.operations + behind


def test_keep_going_through_a_changed_pfn(tmp_path: Path) -> None:
    """The recording contradicts itself from there on: the free names the page that was really given."""
    lines = list(source("two zones"))
    place = next(p for p, line in enumerate(lines) if line.startswith('["A"') and p > 100)
    record = json.loads(lines[place])
    record[4] ^= 1
    lines[place] = json.dumps(record)
    result = replay_recording(write_lines(tmp_path / "mutated.jsonl", lines), keep_going=True)
    assert result.mismatches[0].lineno == place + 1
    assert len(result.mismatches) <= 2
    assert all(m.operation.startswith("__free_pages") for m in result.mismatches[1:])


def test_keep_going_over_a_snapshot_that_cannot_be(tmp_path: Path) -> None:
    """One that contradicts itself is a mismatch, and nothing resumes there: the next one has to do."""
    lines = cut(read_lines(recording("a")), 1900)
    snaps = [place for place, line in enumerate(lines) if line.startswith("{") and place]
    assert len(snaps) == 3
    record = json.loads(lines[snaps[1]])
    record["zones"][1]["free_area"][0]["nr_free"] += 1
    lines[snaps[1]] = json.dumps(record)
    path = write_lines(tmp_path / "mutated.jsonl", lines)
    result = replay_recording(path, keep_going=True)
    assert [(m.lineno, m.path) for m in result.mismatches] == [(snaps[1] + 1, "zones[1].free_area[0].nr_free")]
    # and after an operation that differs, when that snapshot is where to resume
    record = json.loads(lines[50])
    record[4] += 1
    lines[50] = json.dumps(record)
    result = replay_recording(write_lines(path, lines), keep_going=True)
    assert [m.lineno for m in result.mismatches] == [51, snaps[1] + 1]
    assert "nr_free is" in result.mismatches[1].got


# --- natural runs ------------------------------------------------------------------------------


@cache
def cut_source(directory: Path) -> tuple[str, ...]:
    """The start of a real run; interrupts are rare."""
    path = cut_natural(recording("nat"), directory / "natural.jsonl", 6000)
    return tuple(path.read_text().splitlines())


@cache
def interrupted_source() -> tuple[str, ...]:
    """A run of the model in which every other operation is an interrupt's: anything could have lost a trylock."""
    run = NaturalRun(all_free(512), pages=512)
    rng = random.Random(SEED)
    held: list[tuple[int, int]] = []
    for _ in range(500):
        context = {"cpu": rng.randrange(2), "in_irq": rng.randrange(2)}
        if len(held) < 20 or (rng.random() < 0.5 and len(held) < 150):
            order = rng.choice((0, 0, 0, 1, 3))
            held.append((run.alloc(rng.choice((MOVABLE, UNMOVABLE)), order, **context), order))
        else:
            run.free(*held.pop(rng.randrange(len(held))), **context)
    return tuple(json.dumps(record) for record in run.records())


def mutate_natural(rng: random.Random, lines: list[str], number: int) -> tuple[int, str]:
    """Change one PFN (or an allocation's migratetype) of a natural run, or anything in its last snapshot.

    Returns the line number and what it was.
    """
    kinds = ("alloc", "free", "zlock", "drain", "frag", "freeb", "bulk", "snapshot")
    kind = kinds[number % len(kinds)]
    places = [i for i, line in enumerate(lines) if f'"{kind}"' in line and i > 1]
    if kind == "free":
        # of a batch only the freeb events are left: a free without its freeb is no recording
        batched = {json.loads(line)[-1] for line in lines if '"freeb"' in line}
        places = [i for i in places if json.loads(lines[i])[-1] not in batched]
    if kind == "snapshot" or not places:
        place = len(lines) - 1
        record = json.loads(lines[place])
        what = "block_lru"
        while what == "block_lru":  # input of a natural run: no event tells of LRU pages
            record = json.loads(lines[place])
            what = change_zone(rng, rng.choice(record["zones"]))
        lines[place] = json.dumps(record)
        return place + 1, f"snapshot: {what}"
    place = rng.choice(places)
    record = json.loads(lines[place])
    field = {"zlock": 8, "drain": 8}.get(kind, len(record) - 1)
    if kind == "alloc" and rng.random() < 0.2:
        field = 8
    near = [json.loads(lines[i])[-1] for i in places if place < i < place + 200 and kind in ("alloc", "free")]
    new = rng.choice(near) if near and rng.random() < 0.5 else other(rng, record[field])
    record[field] = new if new != record[field] else new + 1
    lines[place] = json.dumps(record)
    return place + 1, kind


def natural_statistics(path: Path, source_lines: tuple[str, ...], count: int, seed: int) -> Counter[str]:
    """How changes of a natural run were reported.  Every one must be."""
    rng = random.Random(seed)
    seen: Counter[str] = Counter()
    for number in range(count):
        lines = list(source_lines)
        line, what = mutate_natural(rng, lines, number)
        try:
            result = replay_recording(write_lines(path, lines))
        except InputError:
            seen[f"{what.split(':')[0]}: unusable"] += 1
            continue
        assert result.mismatches, (what, line, result.resyncs)
        where = result.mismatches[0].lineno
        how = (
            "its line"
            if where == line
            else "the end"
            if where == len(lines)
            else "later"
            if where > line
            else "earlier"
        )
        seen[f"{what.split(':')[0]}: {how}"] += 1
    return seen


def test_a_change_in_a_natural_run_is_reported(tmp_path: Path) -> None:
    assert not replay_recording(write_lines(tmp_path / "whole.jsonl", list(interrupted_source()))).mismatches
    natural_statistics(tmp_path / "mutated.jsonl", interrupted_source(), 4, SEED)


@pytest.mark.ci
@pytest.mark.parametrize("real", [True, False], ids=["real", "half interrupts"])
def test_many_changes_in_a_natural_run_are_reported(tmp_path: Path, real: bool) -> None:
    """All are reported; most at their line.

    Not at its line: a freed PFN is what the operation asks for, so if that page is an allocation too, the difference
    shows where the right one is missing (later, or at the end); a freeb without its free is no recording; a page of
    a bulk allocation is reported at the operation's first line.
    """
    cut_lines = cut_source(tmp_path)
    seen = natural_statistics(tmp_path / "mutated.jsonl", cut_lines if real else interrupted_source(), 48, SEED + 2)
    total = sum(seen.values())
    exact = sum(count for how, count in seen.items() if how.endswith("its line"))
    assert total == 48
    assert exact > total * 0.7
    assert {how for how in seen if how.startswith("snapshot")} == {"snapshot: its line"}
    assert {how for how in seen if how.endswith("earlier")} <= {"bulk: earlier"}


def test_the_causes_that_there_are() -> None:
    """Three causes resynchronise, those of the recordings' note 5; what is inferred is input."""
    assert set(RESYNC_CAUSES) == {"idle-fold", "lost-trylock", "boost-cleared"}
    assert set(INFERRED_INPUTS) == {"order", "preferred-node", "split"}
