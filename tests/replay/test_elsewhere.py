# SPDX-License-Identifier: GPL-2.0-only
"""A recording's operations on other variants: all of them, on the right pages, and said when one cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pageblock_buddy import InputError, UnknownVariant
from pageblock_buddy.replay.elsewhere import FAILED_HERE, KNOWN_HERE, ElsewhereResult, perform_recording
from pageblock_buddy.snapshot import allocations
from pageblock_buddy.variants import VARIANTS
from tests.helpers import MOVABLE, UNMOVABLE, M, R, U, pcp_of
from tests.recording.cut import cut, cut_natural, read_lines, recording, write_lines
from tests.recording.tiny import NaturalRun, ScriptedRun, write

POLICIES = ("rfc+want-block", "rfc+recover-counter+owned-per-type", "llist+clear-complete")


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = cut(read_lines(recording("128M-2cpu-mixc-s1")), 500)
    return write_lines(tmp_path_factory.mktemp("elsewhere") / "scripted.jsonl", lines)


@pytest.fixture(scope="module")
def natural(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut_natural(recording("nat"), tmp_path_factory.mktemp("elsewhere") / "natural.jsonl", 600)


def allocated(result: ElsewhereResult) -> list[list[int]]:
    """The allocations at the end: [first PFN, order, compound, references]."""
    return allocations(result.system.kernel)


# --- real recordings ---------------------------------------------------------------------------


@pytest.mark.parametrize("variant", [*VARIANTS, *POLICIES])
def test_a_scripted_run(scripted: Path, variant: str) -> None:
    result = perform_recording(scripted, variant, validate_every=200)
    # Where an allocation succeeds that failed on the recorded machine, its free is one operation more.
    assert 543 <= result.operations <= 543 + result.failed_in_recording - result.failed_allocations
    assert (result.not_performed, result.variant, result.failed_in_recording) == ({}, variant, 98)


@pytest.mark.parametrize("variant", [*VARIANTS, *POLICIES])
def test_a_natural_run(natural: Path, variant: str) -> None:
    result = perform_recording(natural, variant, validate_every=300)
    assert result.not_performed == {}
    assert result.operations > 450
    assert (result.failed_allocations, result.failed_in_recording) == (0, 0)


def test_on_the_recorded_allocator_it_is_a_replay(scripted: Path) -> None:
    """The pages in use at the end are those that the recording says."""
    held: dict[int, tuple[int, int]] = {}
    index = 0
    for line in scripted.read_text().splitlines()[1:]:
        record = json.loads(line)
        match record:
            case ["A", _, order, _, pfn]:
                held[index] = (pfn, order)
            case ["F", _, _, ref, _]:
                held.pop(ref, None)
            case ["B", _, nr_pages, _, pfns]:
                held.update((index + 1 + i, (pfn, 0)) for i, pfn in enumerate(pfns))
                index += nr_pages
        index += not (isinstance(record, list) and record[0] == "e")
    result = perform_recording(scripted, "linux-6.12")
    assert [tuple(entry[:2]) for entry in allocated(result)] == sorted(
        block for block in held.values() if block[0] != -1
    )


def test_accounting(scripted: Path) -> None:
    result = perform_recording(scripted, "rfc", accounting=True)
    assert result.account is not None
    assert result.account.pages_allocated == sum(result.system.kernel.pgalloc)
    assert result.account.holds["zone->lock"].acquisitions > 0
    plain = perform_recording(scripted, "rfc")
    assert plain.account is None
    assert plain.system.digest() == result.system.digest()


# --- booting -----------------------------------------------------------------------------------

#: pageblocks of 16 pages, so that there are lists of huge pages
LISTS = """
order 5: M[96]
pcp0 o0: M[80]
pcp1 o0: M[3 1] U[5]
pcp1 o1: R[6]
pcp1 o4: M[64] U[16 48 32]
blocks: MURMMMMM
"""


@pytest.mark.parametrize("variant", ["linux-7.0", "rfc", "llist"])
def test_per_cpu_lists_have_their_place(tmp_path: Path, variant: str) -> None:
    """The list of large blocks that two types share is divided by the pageblocks' types where there are two lists."""
    run = ScriptedRun(LISTS, pages=128, pageblock_order=4, max_page_order=5)
    run.drain(0)
    result = perform_recording(write(tmp_path / "x.jsonl", run.records()), variant, validate_every=1)
    k = result.system.kernel
    assert (result.operations, pcp_of(result.system, 0).count) == (1, 0)
    pcp = pcp_of(result.system, 1)
    by_type = {
        (order, mt): pcp.lists[k.calls.order_to_pindex(k, mt, order)].to_list()
        for order in (0, 1, 4)
        for mt in (U, M, R)
    }
    shared = [16, 48, 32]
    huge = {U: shared, M: [64], R: shared} if variant == "linux-7.0" else {U: [16, 48], M: [64], R: [32]}
    assert by_type == {
        (0, U): [5],
        (0, M): [3, 1],
        (0, R): [],
        (1, U): [],
        (1, M): [],
        (1, R): [6],
        (4, U): huge[U],
        (4, M): huge[M],
        (4, R): huge[R],
    }


def changed_lists(path: Path, lists: object) -> Path:
    """A recording whose first CPU has other lists."""
    run = ScriptedRun()
    run.drain()
    run.lines[0]["zones"][0]["pcp"][0]["lists"] = lists
    return write(path, run.records())


@pytest.mark.parametrize("lists", [None, [[]], 12 * [None], [["x"], *11 * [[]]], [[10**9], *11 * [[]]]])
def test_lists_that_cannot_be(tmp_path: Path, lists: object) -> None:
    with pytest.raises(InputError, match=r"x\.jsonl: line 2: "):
        perform_recording(changed_lists(tmp_path / "x.jsonl", lists), "rfc")


def test_unusable_recordings(tmp_path: Path) -> None:
    run = ScriptedRun()
    run.drain()
    meta, snapshot, *rest = run.records()
    for records in ([meta], [meta, *rest], [meta, {**snapshot, "zones": []}, *rest]):
        with pytest.raises(InputError):
            perform_recording(write(tmp_path / "x.jsonl", records), "rfc")
    natural_meta, *_ = NaturalRun().records()
    with pytest.raises(InputError):
        perform_recording(write(tmp_path / "x.jsonl", [natural_meta]), "rfc")
    with pytest.raises(UnknownVariant):
        perform_recording(write(tmp_path / "x.jsonl", run.records()), "none")


# --- what cannot be performed ------------------------------------------------------------------


def test_a_free_of_what_failed_here(tmp_path: Path) -> None:
    """The recording got a page where this machine cannot give a block of 16."""
    run = ScriptedRun("order 0: M[1 3]\nblocks: MMMMMMMM")
    run.alloc(MOVABLE)
    allocation = len(run.lines) - 1
    run.free(1)
    run.lines[allocation][2] = run.lines[-1][2] = 4
    result = perform_recording(write(tmp_path / "x.jsonl", run.records()), "linux-7.0")
    assert (result.operations, result.failed_allocations, result.failed_in_recording) == (1, 1, 0)
    assert result.not_performed == {FAILED_HERE: 1}


def test_a_free_of_what_failed_there(tmp_path: Path) -> None:
    """The recording had nothing to free; here there is something, and it goes too."""
    run = ScriptedRun("order 0: M[1 3]\nblocks: MMMMMMMM")
    run.alloc(MOVABLE, 4)
    allocation = len(run.lines) - 1
    run.free(1)
    run.lines[allocation][2] = run.lines[-1][2] = 0
    result = perform_recording(write(tmp_path / "x.jsonl", run.records()), "linux-7.0")
    assert (result.operations, result.failed_allocations, result.failed_in_recording) == (2, 0, 1)
    assert (allocated(result), result.not_performed) == ([], {})


def test_an_operation_that_is_refused(tmp_path: Path) -> None:
    run = ScriptedRun()
    run.alloc(MOVABLE)
    run.lines[-1][2] = 99
    result = perform_recording(write(tmp_path / "x.jsonl", run.records()), "rfc")
    assert result.not_performed == {"refused: bad-argument": 1}


def test_bulk_allocations(tmp_path: Path) -> None:
    """Page by page; of the second one most fail, here and there, and there is nothing to free of these."""
    run = ScriptedRun("order 0: M[1 3 5 17 19 21 33 35]\nblocks: MMMMMMMM")
    pages = [index + 1 + page for index in (run.bulk(MOVABLE, 5), run.bulk(MOVABLE, 5)) for page in range(5)]
    got = sum(run.held[page][0] != -1 for page in pages)
    assert 5 < got < 10
    for page in pages:
        run.free(page, cpu=1)
    result = perform_recording(write(tmp_path / "x.jsonl", run.records()), "rfc", validate_every=2)
    assert (result.operations, result.not_performed) == (10 + got, {})
    assert result.failed_allocations == result.failed_in_recording == 10 - got
    assert allocated(result) == []


# --- natural runs ------------------------------------------------------------------------------


def natural_run(tmp_path: Path, run: NaturalRun, variant: str = "rfc", accounting: bool = False) -> ElsewhereResult:
    path = write(tmp_path / "x.jsonl", run.records())
    return perform_recording(path, variant, validate_every=1, accounting=accounting)


def event(run: NaturalRun, kind: str, *fields: int | str) -> None:
    """Something that the model behind the recording did not do."""
    run.events.append(["e", 7, 0, 1000 + len(run.events), kind, 0, *fields])


def test_frees_find_what_was_allocated_here(tmp_path: Path) -> None:
    """PFNs differ from the recording's; nothing is left at the end."""
    run = NaturalRun()
    pfns = [run.alloc(gfp, order) for gfp in (MOVABLE, UNMOVABLE) for order in (0, 1, 0)]
    pages = run.bulk(MOVABLE, 5)
    for pfn, order in zip(pfns, (0, 1, 0) * 2, strict=True):
        run.free(pfn, order, cpu=1)
    for pfn in pages:
        run.free(pfn)
    result = natural_run(tmp_path, run, "llist")
    assert (allocated(result), result.not_performed, result.operations) == ([], {}, 22)


def test_an_allocation_that_was_split(tmp_path: Path) -> None:
    """Its parts are freed in other pieces and in another order than they lie in."""
    run = NaturalRun()
    run.alloc(MOVABLE)
    pfn = run.alloc(MOVABLE, 3)
    for part, order in ((6, 0), (2, 1), (7, 0), (4, 1), (0, 0)):
        event(run, "free", order, pfn + part)
    result = natural_run(tmp_path, run)
    assert result.not_performed == {}
    assert [entry[1] for entry in allocated(result)] == [0, 0]


def test_a_page_from_before_the_recording(tmp_path: Path) -> None:
    """Nobody knew it, and it is a page of this machine from then on; a page that is free here is passed over."""
    run = NaturalRun("order 3: M[32]\norder 0: M[3]\nblocks: MMMMMMMM")
    event(run, "free", 1, 8)
    event(run, "free", 0, 3)
    event(run, "free", 0, 33)
    result = natural_run(tmp_path, run)
    assert (result.operations, result.not_performed) == (1, {KNOWN_HERE: 2})
    assert result.system.total_pages == 8 + 1 + 2


def test_what_failed_here_in_a_natural_run(tmp_path: Path) -> None:
    run = NaturalRun("order 0: M[1 3]\nblocks: MMMMMMMM")
    event(run, "alloc", 3, MOVABLE, M, 16)
    event(run, "free", 1, 18)
    event(run, "free", 1, 16)
    event(run, "free", 2, 20)
    event(run, "alloc", 77, MOVABLE, M, 32)
    result = natural_run(tmp_path, run)
    assert (result.failed_allocations, result.operations) == (1, 1)
    assert result.not_performed == {FAILED_HERE: 3, "refused: bad-argument": 1}


def test_a_batch_of_folios_is_one_hold(tmp_path: Path) -> None:
    run = NaturalRun()
    pfns = [run.alloc(MOVABLE) for _ in range(3)]
    with run.on() as system:
        system.free_folios([(pfn, 0) for pfn in pfns])
    result = natural_run(tmp_path, run, accounting=True)
    assert (result.operations, allocated(result)) == (6, [])
    assert result.account is not None
    assert result.account.operations["free"] == 1


def test_calls(tmp_path: Path) -> None:
    run = NaturalRun()
    run.alloc(MOVABLE)
    event(run, "call", "decay_pcp_high", 1)
    event(run, "call", "drain_zone_pages", 1)
    event(run, "call", "drain_local_pages", 0)
    event(run, "call", "drain_all_pages", 0)
    result = natural_run(tmp_path, run, accounting=True)
    assert (result.operations, pcp_of(result.system).count) == (5, 0)
    assert result.account is not None
    assert result.account.operations == {
        **dict.fromkeys(result.account.operations, 0),
        "alloc": 1,
        "decay": 1,
        "drain": 3,
    }
