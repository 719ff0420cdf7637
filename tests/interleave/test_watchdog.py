# SPDX-License-Identifier: GPL-2.0-only
"""A process that reaches no point is stopped, and its run says so."""

from __future__ import annotations

import threading
from unittest import mock

import pytest

from pageblock_buddy.interleave import watchdog
from pageblock_buddy.interleave.catalogue import built_in
from pageblock_buddy.interleave.search import FAULT, Search
from pageblock_buddy.rfc import pcp
from tests.interleave.carried import CARRIERS
from tests.interleave.swap import instead


def never_ends(k: object, pcp: object, order: int, mt: int) -> bool:
    """has_chunk() with a loop whose step was forgotten."""
    while True:
        pass


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_loop_without_points_is_a_livelock(carrier: str) -> None:
    before = threading.active_count()
    with (
        mock.patch.object(watchdog, "SILENCE", 0.2),
        instead(pcp.has_chunk, never_ends),
        Search(built_in("refill-storm"), "rfc", carrier=carrier) as search,
    ):
        result = search.run()
    assert result.verdict == FAULT
    assert [finding.code for finding in result.findings] == ["livelock"]
    assert "reaches no point" in result.findings[0].message
    assert threading.active_count() == before
