# SPDX-License-Identifier: GPL-2.0-only
"""Do the hand-worked tests of linux-7.0 notice a mistake?  The machinery is that of tests/linux_6_12."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.linux_6_12.test_seeded_bugs import Bug, Verdict, bugs, copy_of, judge, run_tests, sampled

BUGS: list[Bug] = [
    *bugs(
        "linux_7_0/buddy.py",
        "linux_7_0/test_buddy.py",
        ("    k.mem_map[pfn] = PG_LLIST | order\n", "    k.mem_map[pfn] = PG_LLIST\n"),
        ("        if not zone.lock.trylock():\n", "        zone.lock.lock()\n        if False:\n"),
        (
            "            add_page_to_zone_llist(k, zone, pfn, order)  # LPA-4.3.6\n            return\n",
            "            return\n",
        ),
        (
            "            add_page_to_zone_llist(k, zone, pfn, order)  # LPA-4.3.6\n",
            "            add_page_to_zone_llist(k, zone, pfn, order)\n            k.pgfree += 1 << order\n",
        ),
        # a trylock-only free works the list off; an ordinary one never does
        ("    if not fpi_flags & gfp.FPI_TRYLOCK and not zone", "    if not zone"),
        ("and not zone.trylock_free_pages.llist_empty():", "and zone.trylock_free_pages.llist_empty():"),
        # oldest first
        ("in zone.trylock_free_pages.llist_del_all():", "in reversed(zone.trylock_free_pages.llist_del_all()):"),
        ("            k.mem_map[deferred] = PG_NONE\n", ""),
        (
            "split_large_buddy(k, zone, deferred, deferred_order, fpi_flags)",
            "split_large_buddy(k, zone, deferred, deferred_order, gfp.FPI_NONE)",
        ),
        ("            k.pgfree += 1 << deferred_order  # LPA-4.3.4\n", ""),
        ("            k.pgfree += 1 << deferred_order", "            k.pgfree += 1"),
        # the own page first
        (
            "        for deferred, deferred_order in zone.trylock_free_pages.llist_del_all():  # LPA-4.3.6\n",
            "        queue = [(pfn, order), *zone.trylock_free_pages.llist_del_all()]\n"
            "        pfn, order = queue.pop()\n"
            "        k.mem_map[pfn] = PG_NONE\n"
            "        for deferred, deferred_order in queue:\n",
        ),
        ("    k.pgfree += 1 << order  # LPA-4.3.4, LPA-14.0.10", "    k.pgfree += 1"),
        ("range(k.pageblock_order, k.config.max_page_order + 1)", "range(k.config.max_page_order + 1)"),
        ("range(k.pageblock_order, k.config.max_page_order + 1)", "range(k.pageblock_order, k.config.max_page_order)"),
        ("pages += len(free_list) << order", "pages += len(free_list)"),
        ("            if mt != gfp.MIGRATE_ISOLATE:", "            if mt < gfp.MIGRATE_ISOLATE:"),
    ),
    *bugs(
        "linux_7_0/buddy.py",
        "linux_7_0/test_isolation.py",
        ("            if mt != gfp.MIGRATE_ISOLATE:", "            if True:"),
    ),
    *bugs(
        "linux_7_0/bulk.py",
        "linux_7_0/test_bulk.py",
        ("    if alloc_flags & gfp.ALLOC_TRYLOCK:", "    if False:"),
        ("    if alloc_flags & gfp.ALLOC_TRYLOCK:", "    if True:"),
        ("pcp_list.list_add_tail(pfn)", "pcp_list.list_add(pfn)"),
        ("mt, alloc_flags, mode)", "mt, alloc_flags, RmqueueMode())"),
        ("mt, alloc_flags, mode)", "mt, 0, mode)"),
        ("        taken += 1\n", "        taken += 1 << order\n"),
        ("        k.mem_map[pfn] = PG_PCP | order\n", "        k.mem_map[pfn] = PG_PCP\n"),
        ("            break  # LPA-8.2.7\n", "            return taken\n"),
    ),
    *bugs(
        "linux_7_0/free.py",
        "linux_7_0/test_free.py",
        ("pcp.free_count >= batch + pcp.high_min // 2\n", "pcp.free_count >= batch\n"),
        ("pcp.free_count >= batch + pcp.high_min // 2\n", "pcp.free_count > batch + pcp.high_min // 2\n"),
        ("pcp.free_count >= batch + pcp.high_min // 2\n", "pcp.free_count >= batch + pcp.high_min\n"),
        ("pcp.free_count >= batch + pcp.high_min // 2\n", "pcp.free_count >= batch + -(-pcp.high_min // 2)\n"),
        ("pcp.free_count >= batch + pcp.high_min // 2\n", "pcp.free_count >= batch + pcp.high_max // 2\n"),
        (
            "pcp.free_count >= batch + pcp.high_min // 2\n",
            "pcp.free_count + (1 << order) >= batch + pcp.high_min // 2\n",
        ),
        ("or pcp.count >= batch)", "or pcp.count > batch)"),
        ("    if pcp.free_count < batch <<", "    if pcp.free_count <= batch <<"),
        ("    pcp.alloc_factor >>= 1", "    pass"),
        ("pcp.lists[pindex].list_add(pfn)", "pcp.lists[pindex].list_add_tail(pfn)"),
        ("        pcp.flags &= ~gfp.PCPF_PREV_FREE_HIGH_ORDER", "        pass"),
        # a trylock-only free flushes, or does not even count
        ("    if fpi_flags & FPI_TRYLOCK:\n", "    if False:\n"),
        (
            "    pcp.alloc_factor >>= 1  #",
            "    if fpi_flags & FPI_TRYLOCK:\n        return True\n    pcp.alloc_factor >>= 1  #",
        ),
        (
            "        return True  # LPA-8.4.15\n",
            "        nr_pcp_high(k, pcp, zone, free_high)\n        return True\n",
        ),
        ("    if pcp.count < high:", "    if pcp.count <= high:"),
        ("0, mark, gfp.ZONE_MOVABLE, 0)", "0, mark, gfp.ZONE_NORMAL, 0)"),
        ("    if zone.flags & gfp.ZONE_BELOW_HIGH:", "    if held and zone.flags & gfp.ZONE_BELOW_HIGH:"),
        ("            zone.flags &= ~gfp.ZONE_BELOW_HIGH", "            pass"),
        ("    return held\n", "    return True\n"),
        # pieces
        ("piece = min(to_free, batch)", "piece = to_free"),
        ("piece = min(to_free, batch)", "piece = batch"),
        ("piece = min(to_free, batch)", "piece = min(to_free, 1)"),
        ("free_pcppages_bulk(k, zone, piece, pcp, pindex)", "free_pcppages_bulk(k, zone, piece, pcp, 0)"),
        # count what really left
        (
            "        k.calls.free_pcppages_bulk(k, zone, piece, pcp, pindex)",
            "        before = pcp.count\n        k.calls.free_pcppages_bulk(k, zone, piece, pcp, pindex)\n"
            "        piece = min(before - pcp.count, to_free)",
        ),
        ("    while to_free > 0 and pcp.count > 0:", "    while to_free > 0:"),
        ("        if to_free == 0 or pcp.count == 0:\n            break\n", ""),
        ("        if to_free == 0 or pcp.count == 0:", "        if to_free == 0:"),
        ("            return False  # LPA-8.4.27\n        if", "            return True\n        if"),
        ("        if k.machine.cpu != cpu:", "        if False:"),
        ("            pcp.lock.unlock()\n            return False", "            return False"),
        ("        pcp = zone.per_cpu_pageset[k.machine.cpu]\n        if not", "        if not"),
        # the entries
        ("    if fpi_flags & FPI_TRYLOCK and k.config.preempt_rt and", "    if k.config.preempt_rt and"),
        ("and k.config.preempt_rt and k.machine.in_hardirq_or_nmi():", "and k.machine.in_hardirq_or_nmi():"),
        ("and k.config.preempt_rt and k.machine.in_hardirq_or_nmi():", "and k.config.preempt_rt:"),
        (
            "        if k.calls.free_frozen_page_commit(k, zone, pcp, pfn, mt, order, fpi_flags):\n            pcp",
            "        k.calls.free_frozen_page_commit(k, zone, pcp, pfn, mt, order, fpi_flags)\n"
            "        if True:\n            pcp",
        ),
        (
            "            k.calls.free_one_page(k, zone, pfn, order, fpi_flags)  # LPA-8.4.4",
            "            k.calls.free_one_page(k, zone, pfn, order, FPI_NONE)",
        ),
        ("        _free_pages_ok(k, pfn, order, fpi_flags)", "        _free_pages_ok(k, pfn, order, FPI_NONE)"),
        ("            pcp = None  # LPA-10.0.10\n    if", "            pass\n    if"),
        ("            pcp = None  # LPA-10.0.10\n    if", "            return\n    if"),
        ("(zone is not locked_zone or isolated)", "isolated"),
        ("(zone is not locked_zone or isolated)", "zone is not locked_zone"),
        ("_free_frozen_pages(k, pfn, order, FPI_TRYLOCK)", "_free_frozen_pages(k, pfn, order, FPI_NONE)"),
        ("    elif not state & PG_COMPOUND:", "    else:"),
        ("for part in range(order - 1, -1, -1):", "for part in range(order):"),
        ("pfn + (1 << part), part, FPI_TRYLOCK)", "pfn + (1 << part), part, FPI_NONE)"),
        ("    check_allocation(k, pfn, order)\n    state", "    state"),
    ),
    *bugs(
        "linux_6_12/free.py",
        "linux_7_0/test_free.py",
        # a page on the zone's list is taken for an allocation
        ("    if state & PG_KIND_MASK == PG_LLIST:", "    if False:"),
    ),
    *bugs(
        "linux_7_0/alloc.py",
        "linux_7_0/test_alloc.py",
        ("    if not lock_zone_for_alloc(zone, alloc_flags):", "    if not lock_zone_for_alloc(zone, 0):"),
        (
            "if pfn is None and alloc_flags & (g.ALLOC_OOM | g.ALLOC_NON_BLOCK):",
            "if pfn is None and alloc_flags & g.ALLOC_OOM:",
        ),
        ("    if alloc_flags & g.ALLOC_HIGHATOMIC:\n        pfn", "    if False:\n        pfn"),
        ("        k.pgalloc[zone.idx] += 1 << order", "        k.pgalloc[zone.idx] += 1"),
        # busy nodes
        ("    skip_kswapd_nodes = several_nodes\n", "    skip_kswapd_nodes = True\n"),
        ("    skip_kswapd_nodes = several_nodes\n", "    skip_kswapd_nodes = False\n"),
        ("            skip_kswapd_nodes = False  # LPA-9.2.3", "            return None"),
        ("        if not restart and skipped_kswapd_nodes:", "        if skipped_kswapd_nodes:"),
        # fragmentation
        (" and not k.config.defrag_mode  # LPA-9.1.3", ""),
        ("                restart = True  # LPA-9.2.2\n                break\n", "                continue\n"),
        ("            alloc_flags &= ~g.ALLOC_NOFRAGMENT", "            return None"),
        ("        return alloc_flags | g.ALLOC_NOFRAGMENT  # LPA-9.1.3", "        pass"),
        ("    if k.config.defrag_mode:\n        alloc_flags |= g.ALLOC_NOFRAGMENT", "    if False:\n        pass"),
        ("    if k.config.defrag_mode:\n        alloc_flags |=", "    if True:\n        alloc_flags |="),
        ("    if zone.idx != g.ZONE_NORMAL:", "    if zone.idx < g.ZONE_DMA32:"),
        # the slow path
        (
            "    if not reserve_flags and alloc_flags & g.ALLOC_CPUSET:\n        return None",
            "    if False:\n        return None",
        ),
        ("    if not reserve_flags and alloc_flags & g.ALLOC_CPUSET:\n", "    if not reserve_flags:\n"),
        (
            "    if not reserve_flags and alloc_flags & g.ALLOC_CPUSET:\n",
            "    if alloc_flags & g.ALLOC_CPUSET or reserve_flags:\n",
        ),
        ("            alloc_flags &= ~g.ALLOC_CPUSET", "            pass"),
        ("    if gfp & g.GFP_DIRECT_RECLAIM and costly and not reserve_flags:", "    if costly and not reserve_flags:"),
        ("if order > 0 and alloc_flags & g.ALLOC_MIN_RESERVE:", "if alloc_flags & g.ALLOC_MIN_RESERVE:"),
        # trylock only
        ("g.ALLOC_TRYLOCK | g.ALLOC_WMARK_MIN", "g.ALLOC_WMARK_MIN"),
        ("g.ALLOC_TRYLOCK | g.ALLOC_WMARK_MIN", "g.ALLOC_TRYLOCK | g.ALLOC_WMARK_LOW"),
        ("    if not k.calls.pcp_allowed_order(k, order):\n        return None", "    if False:\n        return None"),
        ("    if k.config.preempt_rt and k.machine.in_hardirq_or_nmi():", "    if k.machine.in_hardirq_or_nmi():"),
        (
            "    if k.config.preempt_rt and k.machine.in_hardirq_or_nmi():",
            "    if k.config.preempt_rt and not k.machine.in_task():",
        ),
        ("    if k.config.preempt_rt and k.machine.in_hardirq_or_nmi():", "    if False:"),
        ("g.GFP_NOMEMALLOC | g.GFP_COMP\n", "g.GFP_NOMEMALLOC\n"),
        ("    if ac.zonelist:\n", "    if False:\n"),
    ),
    *bugs(
        "linux_7_0/isolation.py",
        "linux_7_0/test_isolation.py",
        ("block[1] > k.pageblock_order:", "block[1] >= k.pageblock_order:"),
        ("block[1] > k.pageblock_order:", "False:"),
        ("block[2] & PG_BUDDY and ", ""),
        ("        toggle_pageblock_isolate(k, start, isolate)\n        split", "        split"),
        ("    own_mt = stored_migratetype(k, start)\n", "    own_mt = gfp.MIGRATE_MOVABLE\n"),
        (
            "if isolate else (gfp.MIGRATE_ISOLATE, own_mt)",
            "if isolate else (gfp.MIGRATE_ISOLATE, gfp.MIGRATE_MOVABLE)",
        ),
        ("    if not block_inside_zone(k, zone, pfn):\n        return False\n", ""),
        ("    if k.calls.get_pageblock_migratetype(k, pfn) != gfp.MIGRATE_ISOLATE:\n", "    if True:\n"),
        ("zone, order, own_mt, gfp.FPI_TO_TAIL)", "zone, order, own_mt, gfp.FPI_NONE)"),
        ("k.pageblock_order <= order <", "k.pageblock_order < order <"),
        ("order < k.config.max_page_order:", "order <= k.config.max_page_order:"),
        ("        _unset_locked(k, zone, pageblock_start_pfn(k, pfn))", "        _unset_locked(k, zone, pfn)"),
        (
            "        _unset_locked(k, zone, pageblock_start_pfn(k, pfn))",
            "        _unset_locked(k, zone, pageblock_start_pfn(k, pfn))\n"
            "        k.calls.set_pageblock_migratetype(k, pfn, mt)",
        ),
    ),
    *bugs(
        "linux_7_0/pageblock.py",
        "linux_7_0/test_pageblock.py",
        ("    if flags & PB_MIGRATE_ISOLATE:", "    if False:"),
        ("PB_MIGRATE_ISOLATE: Final = 0x10", "PB_MIGRATE_ISOLATE: Final = 0x04"),
        ("MIGRATETYPE_MASK: Final = 0x0F", "MIGRATETYPE_MASK: Final = 0x03"),
        ("MIGRATETYPE_MASK: Final = 0x0F", "MIGRATETYPE_MASK: Final = 0x1F"),
        (
            "    k.pageblock_flags[pfn >> k.pageblock_order] = mt",
            "    k.pageblock_flags[pfn >> k.pageblock_order] = (\n"
            "        mt | k.pageblock_flags[pfn >> k.pageblock_order] & PB_MIGRATE_ISOLATE\n    )",
        ),
        ("[index] |= PB_MIGRATE_ISOLATE", "[index] = PB_MIGRATE_ISOLATE"),
        ("[index] |= PB_MIGRATE_ISOLATE", "[index] ^= PB_MIGRATE_ISOLATE"),
        ("[index] &= ~PB_MIGRATE_ISOLATE", "[index] ^= PB_MIGRATE_ISOLATE"),
    ),
    *[
        Bug("linux_7_0/variant.py", f"    {entry}={module}.{entry},\n", "", f"linux_7_0/{tests}")
        for entry, module, tests in (
            ("get_pageblock_migratetype", "pageblock", "test_isolation.py"),
            ("free_one_page", "buddy", "test_free.py"),
            ("rmqueue_bulk", "bulk", "test_alloc.py"),
            ("rmqueue_buddy", "alloc", "test_alloc.py"),
            ("alloc_flags_nofragment", "alloc", "test_alloc.py"),
            ("gfp_to_alloc_flags", "alloc", "test_alloc.py"),
            ("get_page_from_freelist", "alloc", "test_alloc.py"),
            ("_alloc_pages_slowpath", "alloc", "test_alloc.py"),
            ("free_frozen_page_commit", "free", "test_free.py"),
            ("_free_frozen_pages", "free", "test_free.py"),
            ("free_unref_folios", "free", "test_free.py"),
            ("set_migratetype_isolate", "isolation", "test_isolation.py"),
            ("unset_migratetype_isolate", "isolation", "test_isolation.py"),
        )
    ],
]


@pytest.fixture(scope="module")
def verdicts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Verdict]:
    """Those of all bugs that were selected (-k), one process for each CPU."""
    base = tmp_path_factory.mktemp("seeded-7.0")
    calls = [item.callspec for item in request.session.items if isinstance(item, pytest.Function) and _is_bug(item)]
    numbers = [n for call in calls if isinstance(n := call.params["number"], int)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(zip(numbers, pool.map(lambda n: judge(base / str(n), BUGS[n]), numbers), strict=True))


def _is_bug(item: pytest.Function) -> bool:
    return item.function is test_bug_is_found


@pytest.mark.parametrize("number", sampled(BUGS, 3))
def test_bug_is_found(number: int, verdicts: dict[int, Verdict]) -> None:
    """A test fails (exit status 1); a copy that cannot even be imported (2) does not count."""
    status, output = verdicts[number]
    assert status == 1, f"{BUGS[number]}\n{output[-2000:]}"


@pytest.mark.ci
def test_without_a_bug_nothing_fails(tmp_path: Path) -> None:
    """The unchanged copy passes, so that it is the bugs that are found."""
    status, output = run_tests(copy_of(tmp_path / "copy"), sorted({bug.tests for bug in BUGS}))
    assert status == 0, output[-2000:]
