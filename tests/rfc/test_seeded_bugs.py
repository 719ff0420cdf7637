# SPDX-License-Identifier: GPL-2.0-only
"""Do the hand-worked tests of the pcp buddy variants notice a mistake?  As tests/linux_6_12/test_seeded_bugs.py, with
the mistakes that a porter of the RFC would make: the wrong PCP's lock or limits, a mark or a listing forgotten, the
wrong end of a list, an order or a type too many."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.linux_6_12.test_seeded_bugs import Bug, Verdict, bugs, copy_of, judge, run_tests, sampled

OWN_PCP = "zone.per_cpu_pageset[k.machine.cpu]"

BUGS: list[Bug] = [
    *bugs(
        "rfc/pageblock.py",
        "rfc/test_pageblock.py",
        ("zone.lock.assert_held()", "pass"),
        ("set_pageblock_owner(k, zone, pfn, pcp.cpu + 1)", "set_pageblock_owner(k, zone, pfn, pcp.cpu)"),
        ("k.pcp_buddy.unlist_owned_block(k, zone, pfn)", "pass"),
        ("pcp.owned_blocks.list_add_tail(block_pfn)", "pcp.owned_blocks.list_add(block_pfn)"),
        # Not here: listing without the test whether the block is linked.  A ListHead keeps an entry that is added again
        # where it is, so nothing can be seen; in owned-per-type, with several lists, it can (below).
        ("k.pageblock_cpu_node[index] = 0", "pass"),
        ("zone.per_cpu_pageset[linked - 1]", OWN_PCP),
        ("get_type(k, block_pfn) == mt]", "get_type(k, block_pfn) != mt]"),
        ("for block_pfn in pcp.owned_blocks if", "for block_pfn in reversed(pcp.owned_blocks) if"),
        ("k.pageblock_cpu_node[index] = pcp.cpu + 1", "k.pageblock_cpu_node[index] = k.machine.cpu"),
    ),
    *bugs(
        "rfc/pcp.py",
        "rfc/test_pcp.py",
        ("gfp.MIGRATE_PCPTYPES * (k.pageblock_order + 1)", "gfp.MIGRATE_PCPTYPES * k.pageblock_order"),
        ("gfp.MIGRATE_PCPTYPES * (k.pageblock_order + 1)", "gfp.MIGRATE_PCPTYPES * (max(k.pageblock_order, 3) + 1)"),
        ("return gfp.MIGRATE_PCPTYPES * order + mt", "return (k.pageblock_order + 1) * mt + order"),
        ("lists[pindex].pop_first()", "lists[pindex].pop_last()"),
        ("pcp.count -= 1 << order", "pcp.count -= 1 << pindex // gfp.MIGRATE_PCPTYPES"),
        ("upper = pfn + (1 << current_order)", "upper, pfn = pfn, pfn + (1 << current_order)"),
        ("k.mem_map[upper] = kind | current_order", "k.mem_map[upper] = 0x40 | current_order"),
        ("k.mem_map[upper] = kind | current_order", "k.mem_map[upper] = 0x50 | current_order"),
        ("k.mem_map[pfn] = PG_NONE", "pass"),
        ("        pindex += gfp.MIGRATE_PCPTYPES", "        pindex += 1"),
        ("current_order + mt].list_add(upper)", "current_order + pcp_list_type(k, upper)].list_add(upper)"),
        ("order <= k.pageblock_order and (", "("),
        ("while pindex < len(lists):", "while pindex < len(lists) - gfp.MIGRATE_PCPTYPES:"),
    ),
    *bugs(
        "rfc/pcp.py",
        "rfc/test_refill.py",
        ("order + mt].list_add_tail(pfn)", "order + mt].list_add(pfn)"),
        ("    pcp.count += 1 << order", "    pcp.count += 1"),
    ),
    *bugs(
        "rfc/pcp.py",
        "rfc/test_bulk.py",
        ("order + mt :: gfp.MIGRATE_PCPTYPES]", "order + mt :][:1]"),
        ("order + mt :: gfp.MIGRATE_PCPTYPES]", "order :]"),
    ),
    *bugs(
        "rfc/alloc.py",
        "rfc/test_pcp.py",
        ("k.calls.rmqueue_bulk(", "pcp.count += k.calls.rmqueue_bulk("),
        ("    if pfn is None:", "    if pfn is None and pcp_list.list_empty() and not pcp.count:"),
    ),
    *bugs(
        "rfc/alloc.py",
        "rfc/test_bulk.py",
        ("count = k.calls.nr_pcp_alloc(k, pcp, zone, order)", "count = 1"),
        ("k.calls.nr_pcp_alloc(k, pcp, zone, order)", "k.calls.nr_pcp_alloc(k, pcp, zone, order) << order"),
    ),
    *bugs(
        "rfc/bulk.py",
        "rfc/test_bulk.py",
        ("wanted = count << order", "wanted = count"),
        ("if pcp.high >= pcp.batch:", "if True:"),
        ("if pcp.high >= pcp.batch:", "if pcp.high > pcp.batch:"),
        ("got += phases.refill_recover(", "phases.refill_recover("),
        ("still_wanted(k, pcp, order, mt, wanted - got), mt, alloc_flags)", "wanted - got, mt, alloc_flags)"),
        ("still_wanted(k, pcp, order, mt, wanted - got), mt)", "wanted - got, mt)"),
        ("rest = still_wanted(k, pcp, order, mt, wanted - got)", "rest = wanted - got"),
        ("if rest < 1 << order and not", "if rest <= 0 and not"),
        ("        return 1 << order", "        return 1"),
        ("return got >> order", "return got"),
        ("lock_zone_for_alloc(zone, alloc_flags)", "lock_zone_for_alloc(zone, 0)"),
        ("phases.refill_chunks(k, zone, pcp, order,", "phases.refill_chunks(k, zone, pcp, 0,"),
    ),
    *bugs(
        "rfc/bulk.py",
        "rfc/test_drain.py",
        ("k.pcp_buddy.merge_pcp_buddies(k, pcp)", "pass"),
        (
            "k.pcp_buddy.merge_pcp_buddies(k, pcp)",
            "zone.lock.lock(); k.pcp_buddy.merge_pcp_buddies(k, pcp); zone.lock.unlock()",
        ),
        ("pcp_list.pop_last()", "pcp_list.pop_first()"),
        ("            count -= 1 << order", "            count -= 1"),
        ("            pcp.count -= 1 << order", "            pcp.count -= 1"),
        ("range(k.pageblock_order, -1, -1)", "range(k.pageblock_order + 1)"),
        ("(first + i) % types", "i"),
        ("first = pindex % types", "first = pindex // types"),
        ("k.mem_map[pfn] & PG_KIND_MASK == PG_PCP_BUDDY", "k.pageblock_cpu[pfn >> k.pageblock_order] == pcp.cpu + 1"),
        ("if order == k.pageblock_order:", "if False:"),
        ("if order == k.pageblock_order:", "if order >= k.pageblock_order - 1:"),
        ("list_owned_block(k, zone, pcp, pageblock_start_pfn(k, pfn))", "list_owned_block(k, zone, pcp, pfn)"),
        ("list_owned_block(k, zone, pcp,", f"list_owned_block(k, zone, {OWN_PCP},"),
        ("k.pcp_buddy.list_owned_block(", "0 and k.pcp_buddy.list_owned_block("),
        ("mt = k.calls.get_pageblock_migratetype(k, pfn)", "mt = gfp.MIGRATE_MOVABLE"),
        ("disown_pageblock(k, zone, pfn)", "k.pcp_buddy.set_pageblock_owner(k, zone, pfn, 0)"),
        ("    k.mem_map[pfn] = PG_NONE", "    pass"),
    ),
    *bugs(
        "rfc/merge.py",
        "rfc/test_merge.py",
        ("range(k.pageblock_order)", "range(k.pageblock_order - 1)"),
        ("range(k.pageblock_order)", "range(k.pageblock_order + 1)"),
        ("range(k.pageblock_order)", "reversed(range(k.pageblock_order))"),
        ("reversed(pcp_list.to_list())", "pcp_list.to_list()"),
        ("mem_map[buddy] != marked or mem_map[pfn] != marked", "mem_map[buddy] & 0xEF != marked & 0xEF"),
        (".list_add(merged)", ".list_add_tail(merged)"),
        ("pcp_list_type(k, merged)", "lists.index(pcp_list)"),
        ("merged = pfn & buddy", "merged = pfn"),
        ("mem_map[merged] = PG_PCP_BUDDY | (order + 1)", "mem_map[merged] = 0x40 | (order + 1)"),
        ("next(one for one in lists if buddy in one)", "pcp_list"),
        ("merges += 1", "merges = 1"),
        ("gfp.MIGRATE_PCPTYPES + pcp_list_type", "pcp_list_type"),
    ),
    *bugs(
        "rfc/pcp.py",
        "rfc/test_merge.py",
        ("else gfp.MIGRATE_MOVABLE", "else gfp.MIGRATE_UNMOVABLE"),
    ),
    *bugs(
        "rfc/refill.py",
        "rfc/test_refill.py",
        ("k.pcp_buddy.unlist_owned_block(k, zone, block_pfn)", "pass"),
        (
            "got += k.pcp_buddy.recover_block(",
            "if got >= wanted:\n            break\n        got += k.pcp_buddy.recover_block(",
        ),
        ("k.block_pages).pages", "k.block_pages).scanned"),
        ("scanned += head - pfn + 1", "scanned += head - pfn"),
        ("        if order > k.pageblock_order:", "        if False:"),
        (
            "add_refill(k, pcp, head, order, block_mt, PG_PCP_BUDDY)",
            "add_refill(k, pcp, head, order, block_mt, PG_PCP)",
        ),
        ("pages += 1 << order", "pages += 1"),
        ("pfn = head + (1 << order)", "pfn = head + 1"),
        ("pfn >= end or none_left())", "True)"),
        ("wanted < k.block_pages or k.pcp_buddy.owned_blocks_to_recover(k, pcp, mt)", "wanted < k.block_pages"),
        ("alloc_flags & ~gfp.ALLOC_CMA", "alloc_flags"),
        ("while wanted - got >= k.block_pages:", "while wanted - got > 0:"),
        ("claim_pageblock(k, zone, pcp, pfn)", "k.pcp_buddy.set_pageblock_owner(k, zone, pfn, pcp.cpu + 1)"),
        ("claim_pageblock(k, zone, pcp, pfn)", "pass"),
        (
            "_rmqueue(k, zone, k.pageblock_order, mt, alloc_flags, mode)",
            "_rmqueue_smallest(k, zone, k.pageblock_order, mt)",
        ),
        (
            "add_refill(k, pcp, pfn, k.pageblock_order, mt, PG_PCP_BUDDY)",
            "add_refill(k, pcp, pfn, k.pageblock_order, mt, PG_PCP)",
        ),
        ("got += k.block_pages", "got += 1"),
        ("range(min(k.pageblock_order, wanted.bit_length()) - 1, order - 1, -1)", "range(order, k.pageblock_order)"),
        ("min(k.pageblock_order, wanted.bit_length())", "min(k.pageblock_order + 1, wanted.bit_length())"),
        ("- 1, order - 1, -1)", "- 1, -1, -1)"),
        ("while wanted - got >= 1 << current_order:", "if wanted - got >= 1 << current_order:"),
        ("while wanted - got >= 1 << current_order:", "while wanted - got > 0:"),
        (
            "add_refill(k, pcp, pfn, current_order, mt, PG_PCP)",
            "add_refill(k, pcp, pfn, current_order, mt, PG_PCP_BUDDY)",
        ),
        ("add_refill(k, pcp, pfn, order, mt, PG_PCP)", "add_refill(k, pcp, pfn, order, mt, PG_PCP_BUDDY)"),
        (
            "k.calls._rmqueue(k, zone, order, mt, alloc_flags, mode)",
            "k.calls._rmqueue(k, zone, order, mt, alloc_flags, RmqueueMode())",
        ),
        ("        got += 1 << order", "        got += 1"),
    ),
    *bugs(
        "rfc/free.py",
        "rfc/test_free.py",
        ("if fpi_flags & FPI_TRYLOCK or not k.machine.in_task():", "if fpi_flags & FPI_TRYLOCK:"),
        ("if fpi_flags & FPI_TRYLOCK or not k.machine.in_task():", "if not k.machine.in_task():"),
        ("if fpi_flags & FPI_TRYLOCK or not k.machine.in_task():", "if True:"),
        ("not k.machine.in_task()", "k.machine.in_hardirq_or_nmi()"),
        ("cpu = tag - 1 if tag else k.machine.cpu", "cpu = k.machine.cpu"),
        ("cpu = tag - 1 if tag else k.machine.cpu", "cpu = tag - 1 if tag else 0"),
        ("held.lock.unlock()", "pass"),
        ("if pcp is not held:", "if True:"),
        ("    pcp.alloc_factor >>= 1", f"    {OWN_PCP}.alloc_factor >>= 1"),
        ("pcp.lists[pindex].list_add(pfn)", "pcp.lists[pindex].list_add_tail(pfn)"),
        (
            "(PG_PCP_BUDDY if fpi_flags & FPI_PCP_BUDDY else",
            "(PG_PCP_BUDDY if k.pageblock_cpu[pfn >> k.pageblock_order] else",
        ),
        ("(PG_PCP_BUDDY if fpi_flags & FPI_PCP_BUDDY else PG_PCP)", "PG_PCP_BUDDY"),
        ("batch = pcp.batch", f"batch = {OWN_PCP}.batch"),
        ("batch + pcp.high_min // 2", "batch"),
        ("pcp.free_count >= batch +", "pcp.free_count > batch +"),
        ("pcp.free_count += 1 << order", "pcp.free_count += 1"),
        ("    if fpi_flags & FPI_TRYLOCK:", "    if False:"),
        ("if pcp.count < high:", "if pcp.count <= high:"),
        ("held = flush_in_pieces(k, zone, pcp,", f"held = flush_in_pieces(k, zone, {OWN_PCP},"),
        (
            "        if not k.pcp_buddy.pcp_free_lock(k, pcp, FPI_TRYLOCK):  # RFC-6.14",
            f"        pcp = {OWN_PCP}\n        if not pcp.lock.trylock():",
        ),
        ("        if not k.pcp_buddy.pcp_free_lock(k, pcp, FPI_TRYLOCK):  # RFC-6.14", "        if pcp.lock.lock():"),
        ("            return False", "            return True"),
        ("to_free -= went", "to_free -= batch"),
        ("pcp.flags & gfp.PCPF_PREV_FREE_HIGH_ORDER)\n", "True)\n"),
        ("pcp.free_count < batch << ", "pcp.free_count <= batch << "),
        ("if order and order <= gfp.PAGE_ALLOC_COSTLY_ORDER:", "if order:"),
        ("if order and order <= gfp.PAGE_ALLOC_COSTLY_ORDER:", "if order and order < gfp.PAGE_ALLOC_COSTLY_ORDER:"),
        ("(not pcp.flags & gfp.PCPF_FREE_HIGH_BATCH or pcp.count >= batch)", "pcp.count >= batch"),
        ("pcp.flags |= gfp.PCPF_PREV_FREE_HIGH_ORDER", "pass"),
        ("pcp.flags &= ~gfp.PCPF_PREV_FREE_HIGH_ORDER", "pass"),
        ("            pcp = None\n    if pcp", "            pass\n    if pcp"),
        ("nr_pcp_high(k, pcp, zone, free_high)", f"nr_pcp_high(k, {OWN_PCP}, zone, free_high)"),
        ("zone.flags &= ~gfp.ZONE_BELOW_HIGH", "pass"),
        ("        if mt == gfp.MIGRATE_ISOLATE:", "        if False:"),
        ("mt = gfp.MIGRATE_MOVABLE", "mt = gfp.MIGRATE_RECLAIMABLE"),
        ("FPI_TRYLOCK and k.config.preempt_rt and", "FPI_TRYLOCK and False and"),
        ("    if not k.calls.pcp_allowed_order(k, order):", "    if order > k.pageblock_order:"),
        (
            "return None, tag",
            "return (zone.lock.lock(), k.pcp_buddy.list_owned_block(k, zone, pcp, pfn & -8), zone.lock.unlock(),"
            " None)[3], tag",
        ),
        (
            "    pcp, tag = lock_pcp_of_owner(k, zone, pfn, fpi_flags, None)",
            "    pcp, tag = lock_pcp_of_owner(k, zone, pfn, FPI_NONE, None)",
        ),
        ("free_one_page(k, zone, pfn, order, fpi_flags)", "free_one_page(k, zone, pfn, order, FPI_NONE)"),
        ("fpi_flags |= FPI_PCP_BUDDY", "pass"),
        ("FPI_PCP_BUDDY if tag else FPI_NONE", "FPI_NONE"),
        ("FPI_PCP_BUDDY if tag else FPI_NONE", "FPI_PCP_BUDDY"),
        ("lock_pcp_of_owner(k, zone, pfn, FPI_NONE, pcp)", "lock_pcp_of_owner(k, zone, pfn, FPI_NONE, None)"),
        ("k.pgfree += 1 << order", "k.pgfree += 1"),
    ),
    *bugs(
        "rfc/free.py",
        "rfc/test_hotplug.py",
        ("(tag != 0 or k.machine.online[cpu])", "True"),
        ("== tag and (", "== k.pageblock_cpu[pfn >> k.pageblock_order] and ("),
        ("(tag != 0 or k.machine.online[cpu])", "k.machine.online[k.machine.cpu]"),
    ),
    *bugs(
        "rfc/hotplug.py",
        "rfc/test_hotplug.py",
        (
            "disown_pageblock(k, zone, block << k.pageblock_order)",
            "k.pcp_buddy.set_pageblock_owner(k, zone, block << k.pageblock_order, 0)",
        ),
        ("== cpu + 1:", "== cpu:"),
        ("k.calls.free_pcppages_bulk(k, zone, zone.spanned_pages, pcp, 0)", "pass"),
        ("        disown_pageblocks_of(k, zone, cpu)", "        pass"),
        ("    k.machine.online[cpu] = False", "    pass"),
        ("    drain_pages(k, cpu)", "    pass"),
        ("    cpu_vm_stats_fold(k, cpu)", "    pass"),
        ("zone_pcp_update(k, zone, 0)", "zone_pcp_update(k, zone, 1)"),
        ("    refresh_zone_stat_thresholds(k)", "    pass"),
        ("-(-zone.end_pfn // k.block_pages)", "len(k.pageblock_cpu)"),
        (
            "for block in range(first, end):",
            "for block in [b >> k.pageblock_order for b in pcp.owned_blocks.to_list()]:",
        ),
    ),
    *bugs(
        "linux_6_12/hotplug.py",
        "rfc/test_hotplug.py",
        ("zone_pcp_update(k, zone, 1)", "zone_pcp_update(k, zone, 0)"),
        ("    drain_pages(k, cpu)", "    pass"),
        ("    cpu_vm_stats_fold(k, cpu)", "    pass"),
        ("    k.machine.online[cpu] = False", "    pass"),
        ("    k.machine.online[cpu] = True", "    pass"),
        ("zone_pcp_update(k, zone, 0)", "pass"),
    ),
    *bugs(
        "rfc_trylock/free.py",
        "rfc_trylock/test_free.py",
        (
            "return pcp.lock.trylock_irqsave()",
            "return pcp.lock.trylock() if not k.machine.in_task() else not pcp.lock.lock()",
        ),
    ),
    *bugs(
        "llist/free.py",
        "llist/test_llist.py",
        ("k.mem_map[pfn] = PG_LLIST | order", "pass"),
        ("if not k.pcp_buddy.still_routed(k, pfn, tag, tag - 1):", "if False:"),
        ("k.mem_map[pfn] = PG_NONE", "pass"),
        (
            "        k.calls.free_one_page(k, zone, pfn, order, fpi_flags)\n\n",
            "        k.calls.free_one_page(k, zone, pfn, order, FPI_NONE)\n\n",
        ),
        ("free_stranded(k, zone, pcp, fpi_flags)  #", "pass  #"),
        ("if tag and tag - 1 != k.machine.cpu:", "if tag:"),
        ("if tag and tag - 1 != k.machine.cpu:", "if tag and tag - 1 != k.machine.cpu and k.machine.in_task():"),
        ("return pcp.lock.pcp_spin_trylock()", "return not pcp.lock.lock()"),
        ("            held.lock.unlock()", "            pass"),
        ("if not k.pcp_buddy.still_routed(k, pfn, tag, pcp.cpu):", "if False:"),
        ("fpi_flags |= FPI_PCP_BUDDY", "pass"),
        ("FPI_PCP_BUDDY if tag else FPI_NONE", "FPI_NONE"),
        ("        if mt == gfp.MIGRATE_ISOLATE:", "        if False:"),
        ("mt = gfp.MIGRATE_MOVABLE", "mt = gfp.MIGRATE_UNMOVABLE"),
        ("pcp = zone.per_cpu_pageset[tag - 1]", f"pcp = {OWN_PCP}"),
    ),
    *bugs(
        "llist/pcp.py",
        "llist/test_llist.py",
        ("reversed(pcp.free_llist.llist_del_all())", "pcp.free_llist.llist_del_all()"),
        (".list_add(pfn)", ".list_add_tail(pfn)"),
        ("pcp.count += 1 << order", "pass"),
        ("k.pgfree += 1 << order", "pass"),
        ("(PG_PCP_BUDDY if owned else PG_PCP)", "PG_PCP_BUDDY"),
        ("(PG_PCP_BUDDY if owned else PG_PCP)", "PG_PCP"),
        ("pcp_list_type(k, pfn), order)", "1, order)"),
        ("    absorb_remote_frees(k, pcp)", "    pass"),
        (
            "        k.pgfree += 1 << order",
            "        k.pgfree += 1 << order; pcp.alloc_factor >>= 1; pcp.free_count += 1",
        ),
    ),
    *bugs(
        "llist/bulk.py",
        "llist/test_llist.py",
        ("    absorb_remote_frees(k, pcp)", "    pass"),
    ),
    *bugs(
        "llist/hotplug.py",
        "llist/test_llist.py",
        ("        free_stranded(k, zone, zone.per_cpu_pageset[cpu], FPI_NONE)", "        pass"),
    ),
    *bugs(
        "llist/drain.py",
        "llist/test_llist.py",
        ("        absorb_remote_frees(k, pcp)", "        pass"),
        (" or not p.free_llist.llist_empty()", ""),
        ("if k.machine.online[cpu]]", "if True]"),
        ("        pcp.lock.lock()", "        pcp = zone.per_cpu_pageset[k.machine.cpu]; pcp.lock.lock()"),
    ),
    *bugs(
        "rfc/policies/recover_cycle.py",
        "rfc/test_policies.py",
        ("if not alloc_flags & gfp.ALLOC_TRYLOCK:", "if False:"),
        ("if not alloc_flags & gfp.ALLOC_TRYLOCK:", "if True:"),
        ("        blocks = k.pcp_buddy.owned_blocks_to_recover(k, pcp, mt)", "        blocks = blocks[1:]"),
    ),
    *bugs(
        "rfc/policies/recover_counter.py",
        "rfc/test_policies.py",
        ("lambda: not k.pageblock_nr_free[block]", "lambda: False"),
        ("min(1 << order, k.block_pages) * sign", "(1 << order) * sign"),
        ("max(1 << order >> k.pageblock_order, 1)", "1"),
        ("    count_free_block(k, pfn, order, -1)", "    pass"),
        ("    count_free_block(k, pfn, order, 1)\n\n\ndef _del", "    pass\n\n\ndef _del"),
        ('        "after_load": recount,\n', ""),
    ),
    *bugs(
        "rfc/policies/recover_cap.py",
        "rfc/test_policies.py",
        ("mt, 2 * wanted)", "mt, wanted)"),
        ("mt, 4 * wanted)", "mt, 2 * wanted)"),
        ("if found.whole:", "if True:"),
        ("if found.whole:", "if found.pages:"),
        ("limit -= found.scanned", "limit -= found.pages"),
        ("limit -= found.scanned", "pass"),
    ),
    *bugs(
        "rfc/policies/recover_enough.py",
        "rfc/test_policies.py",
        ("if got >= wanted:", "if got > wanted:"),
        ("if got >= wanted:", "if False:"),
        ("block_pfn, k.block_pages).pages", "block_pfn, wanted - got).pages"),
    ),
    *bugs(
        "rfc/policies/owned_per_type.py",
        "rfc/test_policies.py",
        ("pcp.owned_blocks_by_type[pcp_list_type(k, block_pfn)]", "pcp.owned_blocks_by_type[1]"),
        ("next(one for one in lists if block_pfn in one)", "lists[pcp_list_type(k, block_pfn)]"),
        (" if get_type(k, block_pfn) == mt]", "]"),
        (".list_add_tail(block_pfn)", ".list_add(block_pfn)"),
        ("    if k.pageblock_cpu_node[index]:", "    if False:"),
    ),
    *bugs(
        "rfc/policies/claim.py",
        "rfc/test_policies.py",
        ("_rmqueue_smallest(k, zone, k.pageblock_order, mt)", "_rmqueue_smallest(k, zone, k.pageblock_order, 0)"),
        ("    if k.pcp_buddy.owned_blocks_to_recover(k, pcp, mt):", "    if False:"),
        ("wanted < k.block_pages or k.pcp_buddy.owned_blocks_to_recover(k, pcp, mt)", "wanted < k.block_pages"),
        ("claim_by_rmqueue(k, zone, pcp, wanted, mt, alloc_flags)", "claim_by_rmqueue(k, zone, pcp, wanted, mt, 0)"),
        ("claim_pageblock(k, zone, pcp, pfn)", "k.pcp_buddy.set_pageblock_owner(k, zone, pfn, pcp.cpu + 1)"),
    ),
    *bugs(
        "rfc/policies/drain_oldest.py",
        "rfc/test_policies.py",
        ("(pindex + i) % k.nr_pcp_lists", "i"),
        ("for i in range(k.nr_pcp_lists)", "for i in reversed(range(k.nr_pcp_lists))"),
    ),
    *bugs(
        "rfc/policies/clear_complete.py",
        "rfc/test_policies.py",
        (" - k.block_pages + 1, k.block_pages)", ", k.block_pages)"),
        ("disown_pageblock(k, zone, block_pfn)", "k.pcp_buddy.set_pageblock_owner(k, zone, block_pfn, 0)"),
        (
            "for block_pfn in range(head, head + (1 << merged_order)",
            "for block_pfn in range(head, head + k.block_pages",
        ),
    ),
    *bugs(
        "rfc/policies/offline_keep.py",
        "rfc/test_policies.py",
        ("linux_7_0.CALLS.page_alloc_cpu_dead(k, cpu)", "k.machine.online[cpu] = False"),
    ),
    *bugs(
        "rfc/policies/want_block.py",
        "rfc/test_policies.py",
        ("max(count, k.block_pages)", "k.block_pages"),
        ("return order == 0 and ", "return "),
        ("pcp.high >= pcp.batch and ", ""),
        ("pcp.high_max >= k.block_pages", "pcp.high_max > k.block_pages"),
        (" and pcp.high_max >= k.block_pages", ""),
    ),
    *bugs(
        "rfc/policies/want_whole_blocks.py",
        "rfc/test_policies.py",
        ("-(-count // k.block_pages) * k.block_pages", "max(count, k.block_pages)"),
        ("-(-count // k.block_pages) * k.block_pages", "(count // k.block_pages + 1) * k.block_pages"),
    ),
    *bugs(
        "rfc/drain.py",
        "rfc/test_drain.py",
        ("to_drain -= went", "to_drain -= batch"),
        ("min(to_drain, batch)", "to_drain"),
        ("max(pcp.count - (batch << k.config.pcp_batch_scale_max), decayed, high_min)", "decayed"),
    ),
    *bugs(
        "rfc/policies/keep_alloc_factor.py",
        "rfc/test_policies.py",
        ("if pcp.cpu != k.machine.cpu:", "if True:"),
        ("if pcp.cpu != k.machine.cpu:", "if pcp.cpu == k.machine.cpu:"),
    ),
    *bugs(
        "variants.py",
        "rfc/test_policies.py",
        ("            if entry in replaced:", "            if False:"),
        ("if base.calls.pcp_buddy is None:", "if False:"),
    ),
    *bugs(
        "chunks/bulk.py",
        "chunks/test_refill.py",
        ("wanted = count << order", "wanted = count"),
        ("sum(1 << (chunk_order - order)", "sum(1 << chunk_order"),
        (
            "for pfn in range(chunk, chunk + (1 << chunk_order), 1 << order):",
            "for pfn in reversed(range(chunk, chunk + (1 << chunk_order), 1 << order)):",
        ),
        ("pcp_list.list_add_tail(pfn)", "pcp_list.list_add(pfn)"),
        ("min(k.pageblock_order, wanted.bit_length())", "min(k.pageblock_order + 1, wanted.bit_length())"),
        ("- 1, order - 1, -1)", "- 1, -1, -1)"),
        ("lock_zone_for_alloc(zone, alloc_flags)", "lock_zone_for_alloc(zone, 0)"),
    ),
    *bugs(
        "pcp_merge/bulk.py",
        "pcp_merge/test_drain.py",
        ("min(place[pfn], place[buddy])", "max(place[pfn], place[buddy])"),
        ("range(k.pageblock_order)", "range(k.pageblock_order - 1)"),
        ("range(k.pageblock_order)", "range(k.pageblock_order + 1)"),
        ("lists[pindex].pop_last()", "lists[pindex].pop_first()"),
        (" and victims.get(buddy) == order:", " and buddy in victims:"),
        ("pcp.count -= 1 << order", "pass"),
        ("    pindex -= 1\n", ""),
        ("    zone.lock.lock()", "    zone.lock.lock(); k.trace = None"),
    ),
]


@pytest.fixture(scope="module")
def verdicts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Verdict]:
    """Those of all bugs that were selected (-k), one process for each CPU."""
    base = tmp_path_factory.mktemp("seeded")
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    found = [item.callspec.params["number"] for item in items if item.function is test_bug_is_found]
    numbers = [number for number in found if isinstance(number, int)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(zip(numbers, pool.map(lambda n: judge(base / str(n), BUGS[n]), numbers), strict=True))


@pytest.mark.parametrize("number", sampled(BUGS, 4))
def test_bug_is_found(number: int, verdicts: dict[int, Verdict]) -> None:
    """A test fails (exit status 1); a copy that cannot even be imported (2) does not count."""
    status, output = verdicts[number]
    assert status == 1, f"{BUGS[number]}\n{output[-2000:]}"


@pytest.mark.ci
def test_without_a_bug_nothing_fails(tmp_path: Path) -> None:
    """The unchanged copy passes, so that it is the bugs that are found."""
    status, output = run_tests(copy_of(tmp_path / "copy"), sorted({bug.tests for bug in BUGS}))
    assert status == 0, output[-2000:]
