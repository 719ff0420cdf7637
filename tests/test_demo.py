# SPDX-License-Identifier: GPL-2.0-only
"""The demonstration: what ships with the package, and what it prints."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout

import pytest

from pageblock_buddy.cli import main
from pageblock_buddy.demo import recording_path
from pageblock_buddy.replay import ReplayResult
from tests.recording.cut import read_lines, recording


@pytest.fixture(scope="module")
def shown() -> str:
    """What the command prints."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["demo"]) == 0
    return out.getvalue()


def test_the_packaged_recording_is_scenario_b() -> None:
    assert recording_path().is_file()
    assert read_lines(recording_path()) == read_lines(recording("b"))


def test_everything_agrees(shown: str) -> None:
    assert "\n30225 operations, 0 mismatches\n" in shown


def test_it_ends_with_what_other_allocators_cost(shown: str) -> None:
    """A row a variant; phase 1 of the RFC brings most pages here, and the others have no phases."""
    rows = {cells[0]: cells[1:] for cells in (line.split() for line in shown.splitlines()[-3:])}
    assert list(rows) == ["linux-6.12", "linux-7.0", "rfc"]
    shares = {variant: [float(cell) for cell in cells[5:9]] for variant, cells in rows.items()}
    assert shares["linux-6.12"] == shares["linux-7.0"] == [0.0, 0.0, 0.0, 100.0]
    assert shares["rfc"][1] > 50
    assert all(float(cells[0]) > 0 for cells in rows.values())


def test_the_kernels_own_buddyinfo_is_in_it(shown: str) -> None:
    assert (
        "\nNode 0, zone      DMA      0      0      0      0      0      1      1      1      0      1      3 \n"
        in shown
    )
    assert (
        "\nNode 0, zone    DMA32      2      1      1      2      0      1      2      3      3      2    214 \n"
        in shown
    )


def test_one_operation_is_explained_by_rules(shown: str) -> None:
    """It claims a block; the explanation is cut to the call that does."""
    assert "Operation 7144: alloc_pages(gfp=0x20c0, order=7) on CPU 1" in shown
    assert "The kernel answered with pfn 45056." in shown
    assert "try_to_claim_block(" in shown
    assert len(set(re.findall(r"LPA-[\d.]+", shown))) > 10


def test_a_difference_would_be_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    result = ReplayResult(recording="x", variant="linux-6.12")
    monkeypatch.setattr("pageblock_buddy.cli.demo", lambda out: result)
    assert main(["demo"]) == 0
    result.mismatches.append(None)  # type: ignore[arg-type]
    assert main(["demo"]) == 1
