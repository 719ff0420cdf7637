# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import json

import pytest

from pageblock_buddy import BadArgument, Config, System
from pageblock_buddy import gfp as g
from pageblock_buddy.snapshot import zone_to_dict
from pageblock_buddy.views import FORMATS, render
from tests.views import golden


def test_formats() -> None:
    assert FORMATS == ("buddyinfo", "pagetypeinfo", "zoneinfo-pagesets", "json")


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_view_changes_nothing_and_ends_with_a_newline(fmt: str) -> None:
    system = System.boot(Config.pc((64, 32), nr_cpus=2, cpu_node=(0, 1)))
    system.alloc_pages(g.GFP_KERNEL, order=0)
    before = system.digest()
    text = render(system.kernel, fmt)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert render(system.kernel, fmt) == text
    assert system.digest() == before


@pytest.mark.parametrize("fmt", ["", "zoneinfo", "JSON"])
def test_unknown_format(fmt: str) -> None:
    with pytest.raises(BadArgument, match="zoneinfo-pagesets") as caught:
        render(System.boot(Config.small()).kernel, fmt)
    assert caught.value.details == {"format": fmt}


def test_json_is_the_recordings_zones_on_one_line() -> None:
    k = golden.boot("6.12-numa2-512+512-mixb-s1")
    text = render(k, "json")
    assert text.count("\n") == 1
    assert " " not in text
    data = json.loads(text)
    assert data == {"zones": [zone_to_dict(k, zone) for zone in k.zones]}
    assert list(data["zones"][0]) == sorted(data["zones"][0])
