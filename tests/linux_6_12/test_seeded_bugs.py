# SPDX-License-Identifier: GPL-2.0-only
"""Do the hand-worked tests notice a mistake?  Each small mistake below is made in a copy of the package, and the
tests of that file must fail for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from _pytest.mark.structures import ParameterSet

pytestmark = pytest.mark.ci

#: Seconds for one run; a bug that makes the model loop for ever tells nothing about the tests.
LIMIT = 120
ROOT = Path(__file__).resolve().parents[2]


def sampled(bugs: Sequence[Bug], every: int) -> list[ParameterSet]:
    """The numbers of many bugs: each ``every``-th is for CI, the others are for long runs."""
    marks = (pytest.mark.ci, pytest.mark.long)
    return [
        pytest.param(number, id=f"{bug.file}:{bug.old.strip()[:40]}", marks=marks[bool(number % every)])
        for number, bug in enumerate(bugs)
    ]


class Bug(NamedTuple):
    """In ``file`` (below pageblock_buddy/) ``old`` becomes ``new``; the tests of ``tests`` (below tests/) see it."""

    file: str
    old: str
    new: str
    tests: str


def bugs(file: str, tests: str, *changes: tuple[str, str]) -> list[Bug]:
    """Several bugs of one file."""
    return [Bug(file, old, new, tests) for old, new in changes]


BUGS: list[Bug] = [
    *bugs(
        "linux_6_12/buddy.py",
        "linux_6_12/test_buddy.py",
        ("    if tail:\n", "    if not tail:\n"),
        ("area.free_list[new_mt].list_add_tail(pfn)", "area.free_list[new_mt].list_add(pfn)"),
        ("    area.nr_free -= 1", "    pass"),
        ("if order >= k.config.max_page_order - 1:", "if order >= k.config.max_page_order:"),
        ("if order >= k.config.max_page_order - 1:", "if order >= k.config.max_page_order - 2:"),
        ("higher_pfn = pfn & ~(1 << order)", "higher_pfn = pfn"),
        ("zone, higher_pfn ^ (1 << (order + 1)), order + 1)", "zone, higher_pfn ^ (1 << (order + 1)), order)"),
        ("if not zone.zone_start_pfn <= buddy_pfn < zone.end_pfn:", "if not 0 <= buddy_pfn < len(k.mem_map):"),
        ("if order < k.pageblock_order:", "if order <= k.pageblock_order:"),
        ("change_pageblock_range(k, buddy_pfn, order, mt)", "pass"),
        ("change_pageblock_range(k, buddy_pfn, order, mt)", "mt = buddy_mt"),
        ("not (gfp.is_migrate_mergeable(mt) and ", "not (gfp.is_migrate_mergeable(mt) or "),
        ("pfn &= buddy_pfn", "pfn |= buddy_pfn"),
        ("    if fpi_flags & gfp.FPI_TO_TAIL:", "    if fpi_flags:"),
        ("step = min(order, k.pageblock_order)", "step = order"),
        ("k.pgfree += 1 << order", "k.pgfree += 1"),
        (
            "_add_to_free_list(k, pfn + (1 << high), zone, high, mt, False)",
            "_add_to_free_list(k, pfn + (1 << high), zone, high, mt, True)",
        ),
        (
            "for current_order in range(order, len(free_area)):",
            "for current_order in reversed(range(order, len(free_area))):",
        ),
        ("    if mt == gfp.MIGRATE_ISOLATE:\n        return", "    if False:\n        return"),
        ("zone.nr_free_highatomic += nr_pages", "zone.nr_free_highatomic += abs(nr_pages)"),
        ("start + k.block_pages <= zone.end_pfn", "start <= zone.end_pfn"),
        (
            "    account_freepages(k, zone, -(1 << order), old_mt)\n",
            "    account_freepages(k, zone, 0, old_mt)\n    return\n",
        ),
    ),
    *bugs(
        "linux_6_12/fallback.py",
        "linux_6_12/test_fallback.py",
        ("(gfp.MIGRATE_RECLAIMABLE, gfp.MIGRATE_UNMOVABLE),", "(gfp.MIGRATE_UNMOVABLE, gfp.MIGRATE_RECLAIMABLE),"),
        (">= k.block_pages >> 1", "> k.block_pages >> 1"),
        (">= k.block_pages >> 1", ">= k.block_pages >> 2"),
        ("alike_pages = movable_pages", "alike_pages = 0"),
        ("k.block_pages - (free_pages + movable_pages)", "k.block_pages - free_pages"),
        ("    if boost_watermark(k, zone) and ", "    if k.nr_movable and boost_watermark(k, zone) and "),
        ("max_boost = max(k.block_pages, max_boost)", "max_boost = min(k.block_pages, max_boost)"),
        ("range(k.config.max_page_order, min_order - 1, -1)", "range(min_order, k.config.max_page_order + 1)"),
        ("range(k.config.max_page_order, min_order - 1, -1)", "range(k.config.max_page_order, min_order, -1)"),
        ("        min_order = k.pageblock_order", "        min_order = k.pageblock_order - 1"),
        (
            "for current_order in range(order, k.config.max_page_order + 1):",
            "for current_order in range(k.config.max_page_order, order - 1, -1):",
        ),
        ("mode.value = RMQUEUE_STEAL", "mode.value = RMQUEUE_NORMAL"),
        ("mode.value = RMQUEUE_CMA", "mode.value = RMQUEUE_NORMAL"),
        ("if order >= k.pageblock_order // 2:", "if order > k.pageblock_order // 2:"),
        ("zone.nr_free_cma > zone_free_pages(zone) // 2", "zone.nr_free_cma >= zone_free_pages(zone) // 2"),
        ("    if not alloc_flags & gfp.ALLOC_NOFRAGMENT:", "    if True:"),
        (
            "_move_freepages_block(k, zone, start_pfn, block_mt, start_mt)",
            "_move_freepages_block(k, zone, start_pfn, block_mt, block_mt)",
        ),
    ),
    *bugs(
        "linux_6_12/highatomic.py",
        "linux_6_12/test_highatomic.py",
        ("-(-one_percent // k.block_pages)", "(one_percent // k.block_pages)"),
        ("zone.nr_reserved_highatomic <= k.block_pages", "zone.nr_reserved_highatomic < k.block_pages"),
        ("zone.nr_reserved_highatomic += k.block_pages", "zone.nr_reserved_highatomic += 1 << order"),
        ("if not gfp.is_migrate_mergeable(mt):", "if mt == gfp.MIGRATE_HIGHATOMIC:"),
    ),
    *bugs(
        "linux_6_12/watermark.py",
        "linux_6_12/test_watermark.py",
        ("if free_pages <= minimum + ", "if free_pages < minimum + "),
        ("minimum -= minimum // 4", "minimum -= minimum // 2"),
        ("zone.free_area[order:]", "zone.free_area[order + 1 :]"),
        ("minimum + 2 * distance", "minimum + distance"),
        ("above += managed[j]", "above = managed[j]"),
        ("unusable = (1 << order) - 1", "unusable = 1 << order"),
        ("share >> 2", "share >> 1"),
    ),
    *bugs(
        "linux_6_12/pcp.py",
        "linux_6_12/test_pcp.py",
        ("base_batch << pcp.alloc_factor", "base_batch"),
        ("if batch <= max_nr_alloc and", "if batch < max_nr_alloc and"),
        ("max(batch >> order, 2)", "max(batch >> order, 1)"),
        ("pcp.high = clamp(need_high, high_min, high_max)", "high = pcp.high = clamp(need_high, high_min, high_max)"),
        ("return min(batch << 2, pcp.high)", "return min(batch << 2, high)"),
        ("return max(pcp.count, high_min)", "return min(pcp.count, high_min)"),
        ("high - pcp.count - base_batch", "high - pcp.count"),
        ("    if value >= high:\n", "    if value >= high >= low:\n"),
    ),
    *bugs(
        "linux_6_12/bulk.py",
        "linux_6_12/test_bulk.py",
        ("pcp_list.list_add_tail(pfn)", "pcp_list.list_add(pfn)"),
        ("pcp_list.pop_last()", "pcp_list.pop_first()"),
        ("    pindex -= 1\n", ""),
        ("\n            count -= 1 << order", "\n            count -= 2 << order"),
        ("mt, alloc_flags, mode)", "mt, alloc_flags, RmqueueMode())"),
    ),
    *bugs(
        "linux_6_12/alloc.py",
        "linux_6_12/test_alloc.py",
        ("pcp.free_count >>= 1", "pass"),
        ("pcp_list.pop_first()", "pcp_list.pop_last()"),
        ("zone.flags |= g.ZONE_BELOW_HIGH", "pass"),
        ("alloc_flags &= ~g.ALLOC_NOFRAGMENT", "return None"),
        ("alloc_flags & g.ALLOC_WMARK_MASK) + nr_pages", "alloc_flags & g.ALLOC_WMARK_MASK)"),
        ("if order > 0 and alloc_flags & g.ALLOC_MIN_RESERVE:", "if alloc_flags & g.ALLOC_MIN_RESERVE:"),
        ("mark, preferred.idx, alloc_flags)", "mark, ac.highest_zoneidx, alloc_flags)"),
        ("zone.flags &= ~g.ZONE_BOOSTED_WATERMARK", "pass"),
    ),
    *bugs(
        "linux_6_12/free.py",
        "linux_6_12/test_free.py",
        ("pcp.alloc_factor >>= 1", "pass"),
        ("pcp.lists[pindex].list_add(pfn)", "pcp.lists[pindex].list_add_tail(pfn)"),
        ("pcp.free_count >= batch\n", "pcp.free_count + (1 << order) >= batch\n"),
        ("mt = gfp.MIGRATE_MOVABLE", "mt = gfp.MIGRATE_RECLAIMABLE"),
        ("for part in range(order - 1, -1, -1):", "for part in range(order):"),
        ("if order and order <= gfp.PAGE_ALLOC_COSTLY_ORDER:", "if order:"),
        ("        pcp.flags &= ~gfp.PCPF_PREV_FREE_HIGH_ORDER", "        pass"),
        ("if pcp.count < high:", "if pcp.count <= high:"),
        ("0, mark, gfp.ZONE_MOVABLE, 0)", "0, mark, gfp.ZONE_NORMAL, 0)"),
    ),
    *bugs(
        "linux_6_12/drain.py",
        "linux_6_12/test_drain.py",
        ("pcp.high >> 3", "pcp.high >> 2"),
        ("piece = min(count, pcp.batch << k.config.pcp_batch_scale_max)", "piece = min(count, pcp.batch)"),
        ("to_drain = min(pcp.count, pcp.batch)", "to_drain = pcp.count"),
    ),
    *bugs(
        "linux_6_12/isolation.py",
        "linux_6_12/test_isolation.py",
        ("zone, order, mt, gfp.FPI_TO_TAIL)", "zone, order, mt, gfp.FPI_NONE)"),
        ("k.pageblock_order <= order <", "k.pageblock_order < order <"),
        ("block[1] > k.pageblock_order:", "block[1] >= k.pageblock_order:"),
    ),
    *bugs(
        "linux_6_12/boot.py",
        "linux_6_12/test_boot.py",
        (
            "split_large_buddy(k, zone, pfn, order, gfp.FPI_TO_TAIL)",
            "split_large_buddy(k, zone, pfn, order, gfp.FPI_NONE)",
        ),
        (
            "first_block = -(-zone.zone_start_pfn // k.block_pages)",
            "first_block = zone.zone_start_pfn // k.block_pages",
        ),
    ),
    *bugs(
        "mm/vmstat.py",
        "mm/test_vmstat.py",
        ("if diff > stat.stat_threshold or", "if diff >= stat.stat_threshold or"),
        ("        zone.nr_free_pages += diff", "        zone.nr_free_pages += delta"),
        ("pcp.expire -= 1", "pcp.expire = 0"),
    ),
    *bugs(
        "mm/zonelists.py",
        "mm/test_zonelists.py",
        ("value += other < nid", "value += 0"),
        ("node_load[best] += 1", "node_load[best] += 0"),
        (
            "for zone in reversed(node.node_zones[: highest_zoneidx + 1]):",
            "for zone in node.node_zones[: highest_zoneidx + 1]:",
        ),
    ),
]

Verdict = tuple[int, str]


def run_tests(root: Path, tests: list[str]) -> Verdict:
    """Run test files of the copy at ``root`` in a process of their own.  pytest's exit status and output."""
    env = os.environ | {"PYTHONPATH": str(root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider"]
    files = [f"tests/{name}" for name in tests]
    try:
        done = subprocess.run(
            [*command, *files], cwd=root, env=env, capture_output=True, text=True, check=False, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return -2, f"still running after {LIMIT} s"
    return done.returncode, done.stdout + done.stderr


def copy_of(root: Path) -> Path:
    """The package and the tests, compiled files too, so that only what changes is compiled again."""
    for part in ("pageblock_buddy", "tests"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("*.gz"))
    (root / "pytest.ini").write_text("[pytest]\nxfail_strict = true\nmarkers =\n    ci\n    long\n")
    return root


def judge(root: Path, bug: Bug) -> Verdict:
    """The tests' verdict on one bug."""
    path = copy_of(root) / "pageblock_buddy" / bug.file
    source = path.read_text()
    if bug.old not in source:
        return -1, f"{bug.file} has no {bug.old!r}"
    path.write_text(source.replace(bug.old, bug.new))
    verdict = run_tests(root, [bug.tests])
    shutil.rmtree(root)
    return verdict


@pytest.fixture(scope="module")
def verdicts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Verdict]:
    """Those of all bugs that were selected (-k), one process for each CPU."""
    base = tmp_path_factory.mktemp("seeded")
    calls = [item.callspec for item in request.session.items if isinstance(item, pytest.Function) and _is_bug(item)]
    numbers = [n for call in calls if isinstance(n := call.params["number"], int)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(zip(numbers, pool.map(lambda n: judge(base / str(n), BUGS[n]), numbers), strict=True))


def _is_bug(item: pytest.Function) -> bool:
    return item.function is test_bug_is_found


@pytest.mark.parametrize("number", range(len(BUGS)), ids=[f"{bug.file}:{bug.old.strip()[:40]}" for bug in BUGS])
def test_bug_is_found(number: int, verdicts: dict[int, Verdict]) -> None:
    """A test fails (exit status 1); a copy that cannot even be imported (2) does not count."""
    status, output = verdicts[number]
    assert status == 1, f"{BUGS[number]}\n{output[-2000:]}"


def test_without_a_bug_nothing_fails(tmp_path: Path) -> None:
    """The unchanged copy passes, so that it is the bugs that are found."""
    status, output = run_tests(copy_of(tmp_path / "copy"), sorted({bug.tests for bug in BUGS}))
    assert status == 0, output[-2000:]
