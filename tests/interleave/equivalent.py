# SPDX-License-Identifier: GPL-2.0-only
"""Mutants that no kill program tells from the unmutated code, each with the reason.

Most change nothing at all; a few change what only this model, or only programs, cannot see, and say so.
``test_seeded_bugs.py`` checks that each one exists and that the kill programs do not kill it.
"""

from __future__ import annotations

from typing import Final

_ASSERT: Final = "an assertion that holds: what it would catch is caught by the guard check as well"
_IMPLICIT: Final = "a function that ends returns None"
_NO_DEAD_RUNNER: Final = (
    "no process runs on a CPU that is offline, since CPU hotplug moves it away first: the branch is not reached"
)
_TAG_IGNORED: Final = "callers look at the tag only if they got a pageset"
_FLUSH_TOP: Final = (
    "to_free is positive whenever the loop is tested: nr_pcp_free() gives at least 1, and the body leaves before it is "
    "used up"
)
_FLUSH_EMPTY: Final = (
    "a piece of empty lists takes and gives back zone->lock and sends 0 pages, whereupon the loop is left; the state "
    "is the same"
)
_FLUSH_GAP: Final = (
    "one more gap in the hold, with nothing on the lists: what another CPU can do there it can do, with the same end, "
    "in the gap before the last piece"
)
_DRAINED: Final = "with count at 0 the inner loop takes nothing from the lists that are left"
_SCAN_END: Final = (
    "at the end of the block or of the limit the range to search is empty: nothing is found, the loop ends"
)
_TAG_NOT_ZERO: Final = "still_routed() looks at its CPU only for the tag 0, and the tag of a remote owner is not that"
_NO_MOVE: Final = "pcp->lock was taken with pcp_spin_trylock() and is held: the running CPU is pcp->cpu"
_LISTED_TWICE: Final = (
    "ListHead is a set: adding a PFN that is on the list changes nothing, where C would corrupt the list.  The block "
    "cannot be on another CPU's list, since it has marked chunks here"
)
_NOTHING: Final = "llist_del_all() of an empty list gives nothing"
_ONE_ZONE: Final = "drain_all_pages() with a zone is for callers outside: no operation of a program names one"

EQUIVALENT: Final[dict[str, str]] = {
    "rfc/bulk.py:still_wanted:7:flip-comparison": "for rest == 1 << order both branches return the same number",
    "rfc/bulk.py:still_wanted:10:plus-one": (
        "for a rest of one block and less than two, phases that take blocks of the order and above take one either way"
    ),
    "rfc/bulk.py:free_pcppages_bulk:16:drop-statement": _DRAINED,
    "rfc/bulk.py:free_pcppages_bulk:20:drop-statement": _DRAINED,
    "rfc/bulk.py:free_pcppages_bulk:21:flip-comparison": _DRAINED,
    "rfc/bulk.py:free_pcppages_bulk:24:minus-one": _DRAINED,
    "rfc/bulk.py:drain_order:8:plus-one": (
        "order -1 is behind order 0: its indices are those of the largest order, whose lists are empty by then"
    ),
    "rfc/free.py:lock_pcp_of_owner:8:drop-statement": _NO_DEAD_RUNNER,
    "rfc/free.py:lock_pcp_of_owner:25:drop-statement": "held is assigned again before it is read",
    "rfc/free.py:lock_pcp_of_owner:30:wrong-owner": _TAG_IGNORED,
    "rfc/free.py:lock_pcp_of_owner:36:drop-unlock": _NO_DEAD_RUNNER,
    "rfc/free.py:lock_pcp_of_owner:37:drop-statement": _NO_DEAD_RUNNER,
    "rfc/free.py:lock_pcp_of_owner:40:drop-condition": _NO_DEAD_RUNNER,
    "rfc/free.py:lock_pcp_of_owner:42:flip-condition": _NO_DEAD_RUNNER,
    "rfc/free.py:lock_pcp_of_owner:43:wrong-owner": _NO_DEAD_RUNNER,
    "rfc/free.py:lock_pcp_of_owner:46:wrong-owner": _TAG_IGNORED,
    "rfc/free.py:free_frozen_page_commit:62:swap-operator": "clearing a flag that is not set changes nothing",
    "rfc/free.py:free_frozen_page_commit:83:swap-operator": "clearing a flag that is not set changes nothing",
    "rfc/free.py:free_frozen_page_commit:88:plus-one": (
        "1 is ALLOC_WMARK_LOW: zone_watermark_ok() is given the mark and does not look at that bit"
    ),
    "rfc/free.py:flush_in_pieces:11:swap-and-or": _FLUSH_EMPTY,
    "rfc/free.py:flush_in_pieces:12:drop-condition": _FLUSH_TOP,
    "rfc/free.py:flush_in_pieces:13:drop-condition": _FLUSH_EMPTY,
    "rfc/free.py:flush_in_pieces:14:flip-comparison": _FLUSH_TOP,
    "rfc/free.py:flush_in_pieces:17:minus-one": _FLUSH_TOP,
    "rfc/free.py:flush_in_pieces:18:flip-comparison": _FLUSH_EMPTY,
    "rfc/free.py:flush_in_pieces:21:minus-one": _FLUSH_EMPTY,
    "rfc/free.py:flush_in_pieces:30:drop-condition": _FLUSH_GAP,
    "rfc/free.py:flush_in_pieces:31:drop-condition": (
        "the loop is tested with pages on the lists, so a piece of at least one page sends something"
    ),
    "rfc/free.py:flush_in_pieces:38:minus-one": _FLUSH_GAP,
    "rfc/hotplug.py:disown_pageblocks_of:10:store-before-lock": "a computation with constants of the zone",
    "rfc/hotplug.py:disown_pageblocks_of:11:store-before-lock": "a computation with constants of the zone",
    "rfc/hotplug.py:disown_pageblocks_of:22:store-past-unlock": (
        "the order of two unlocks: whoever gets pcp->lock first waits for zone->lock, or does not need it"
    ),
    "rfc/pageblock.py:set_pageblock_owner:0:drop-statement": _ASSERT,
    "rfc/pageblock.py:claim_pageblock:3:wrong-owner": (
        "only its own CPU refills a pageset, with preemption off: pcp->cpu is the running CPU"
    ),
    "rfc/pageblock.py:list_owned_block:0:drop-statement": _ASSERT,
    "rfc/pageblock.py:list_owned_block:2:drop-statement": _LISTED_TWICE,
    "rfc/pageblock.py:list_owned_block:6:drop-statement": _LISTED_TWICE,
    "rfc/pageblock.py:unlist_owned_block:0:drop-statement": _ASSERT,
    "rfc/pcp.py:pcp_rmqueue_smallest:3:drop-statement": _IMPLICIT,
    "rfc/pcp.py:pcp_rmqueue_smallest:38:swap-head-tail": (
        "the chunk is the smallest that serves, so the lists that its upper halves go to are empty"
    ),
    "rfc/refill.py:scan_and_take:20:drop-condition": _SCAN_END,
    "rfc/refill.py:scan_and_take:21:drop-condition": _SCAN_END,
    "rfc/refill.py:scan_and_take:23:flip-comparison": _SCAN_END,
    "rfc/refill.py:scan_and_take:25:flip-comparison": _SCAN_END,
    "rfc/refill.py:scan_and_take:48:flip-comparison": (
        "page_del_and_expand() of a block of the wanted order splits nothing and counts the same"
    ),
    "rfc/refill.py:refill_claim:5:drop-condition": "claim_by_rmqueue() tests the same condition before each block",
    "rfc/refill.py:refill_chunks:9:drop-limit": "of an order above what is wanted the inner loop takes nothing",
    "llist/drain.py:drain_pages_zone:5:plus-one": "any number but 0 enters the loop, where it is assigned",
    "llist/drain.py:drain_all_pages:7:wrong-owner": (
        "a dead CPU has nothing to drain; one that is going may be drained in any case, since it may have been picked "
        "before"
    ),
    "llist/drain.py:drain_all_pages:17:drop-statement": _ONE_ZONE,
    "llist/drain.py:drain_all_pages:20:wrong-owner": _ONE_ZONE,
    "llist/free.py:free_to_remote_owner:13:swap-operator": _TAG_NOT_ZERO,
    "llist/free.py:free_to_remote_owner:14:wrong-owner": _TAG_NOT_ZERO,
    "llist/free.py:free_to_remote_owner:15:plus-one": _TAG_NOT_ZERO,
    "llist/free.py:free_to_remote_owner:16:minus-one": _TAG_NOT_ZERO,
    "llist/free.py:lock_local_pcp:19:drop-condition": (
        "a CPU's own tag goes only with the CPU, and then the task is on another one, which the first condition sees: "
        "no task of a program comes back"
    ),
    "llist/free.py:lock_local_pcp:29:wrong-owner": _NO_MOVE,
    "llist/free.py:lock_local_pcp:32:wrong-owner": _NO_MOVE,
    "llist/pcp.py:absorb_remote_frees:0:drop-statement": _NOTHING,
    "llist/pcp.py:absorb_remote_frees:2:drop-statement": _NOTHING,
    "linux_6_12/buddy.py:_rmqueue_smallest:2:drop-statement": _IMPLICIT,
    "linux_7_0/buddy.py:free_one_page:18:drop-condition": _NOTHING,
}
