# SPDX-License-Identifier: GPL-2.0-only
"""Every recording's operations on every variant: no invariant breaks, no operation is refused.

PFNs may differ from the kernel's, so only requests are taken from the recording.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pageblock_buddy.replay import replay_recording
from pageblock_buddy.replay.elsewhere import perform_recording
from pageblock_buddy.rfc.policies import POLICIES
from pageblock_buddy.variants import VARIANTS

RECORDINGS = sorted((Path(__file__).resolve().parents[1] / "recordings").glob("*.jsonl.gz"))
SCRIPTED, NATURAL = "6.12-a", "6.12-nat"
VALIDATE_EVERY = 5000


def path_of(name: str) -> Path:
    return next(path for path in RECORDINGS if path.name == f"{name}.jsonl.gz")


def check(path: Path, variant: str) -> None:
    """Perform it all; validate() raises ModelBug for an invariant that fails."""
    result = perform_recording(path, variant, validate_every=VALIDATE_EVERY)
    assert result.operations > 1000
    assert not any(reason.startswith("refused") for reason in result.not_performed), result.not_performed


@pytest.mark.ci
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.removesuffix(".jsonl.gz"))
def test_no_invariant_breaks(path: Path, variant: str) -> None:
    check(path, variant)


@pytest.mark.ci
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", [SCRIPTED, NATURAL])
def test_no_invariant_breaks_with_a_policy(name: str, policy: str) -> None:
    check(path_of(name), f"rfc+{policy}")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_scripted_run(variant: str) -> None:
    check(path_of(SCRIPTED), variant)


def test_the_recorded_kernel_s_own_variant_does_the_same_as_a_replay() -> None:
    """linux-6.12 gets as many operations as the exact replay compares, and fails none that the kernel did not."""
    result = perform_recording(path_of(SCRIPTED), "linux-6.12")
    assert result.operations == replay_recording(path_of(SCRIPTED)).operations
    assert result.failed_allocations == result.failed_in_recording
    assert result.not_performed == {}
