# SPDX-License-Identifier: GPL-2.0-only
"""Policies: what each does otherwise than the RFC, alone, joined, and where it is refused."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import combinations, permutations
from typing import Any

import pytest

from pageblock_buddy import Context, System, UnknownVariant, gfp
from pageblock_buddy.errors import LockNotHeld
from pageblock_buddy.gfp import FPI_NONE
from pageblock_buddy.mm.calls import Recovered
from pageblock_buddy.rfc.policies import POLICIES
from pageblock_buddy.snapshot import clone
from pageblock_buddy.variants import VARIANTS, get_variant
from tests.helpers import MOVABLE, UNMOVABLE, M, U, assert_zone, config, limits, locked, machine, pcp_of, traced
from tests.rfc_trylock.locks import Locks

WITH_OWNERS = ["rfc", "rfc-trylock", "llist"]
#: what policies replace the same entry
ALTERNATIVES = (
    {"recover-cycle", "recover-cap-2x", "recover-cap-4x", "recover-enough"},
    {"claim-own-type", "claim-cma"},
    {"want-block", "want-whole-blocks"},
)
PAIRS = list(combinations(POLICIES, 2))


def excluding(first: str, second: str) -> bool:
    return any({first, second} <= group for group in ALTERNATIVES)


def rfc(policies: str, text: str, **overrides: Any) -> System:
    """Four pageblocks and two CPUs, rfc with policies; CPU 0's lists are in use."""
    variant = f"rfc+{policies}" if policies else "rfc"
    system = machine(text, 32, variant=variant, **({"nr_cpus": 2} | overrides))
    limits(pcp_of(system), high=pcp_of(system).high_min)
    return system


def recover(system: System, wanted: int, mt: int = M, alloc_flags: int = 0) -> int:
    """Phase 0 of CPU 0."""
    k, zone = system.kernel, system.zones[0]
    with locked(zone):
        return k.pcp_buddy.refill_recover(k, zone, pcp_of(system), wanted, mt, alloc_flags)


def claim(system: System, wanted: int, mt: int = M, alloc_flags: int = 0, cpu: int = 0) -> int:
    """Phase 1 of CPU ``cpu``."""
    k, zone = system.kernel, system.zones[0]
    with system.on_cpu(cpu), locked(zone):
        return k.pcp_buddy.refill_claim(k, zone, pcp_of(system, cpu), wanted, mt, alloc_flags)


def refill(system: System, order: int, count: int, alloc_flags: int = 0, mt: int = M) -> int:
    """rmqueue_bulk() to CPU 0's lists."""
    k = system.kernel
    return k.calls.rmqueue_bulk(k, system.zones[0], order, count, pcp_of(system), mt, alloc_flags)


def drain(system: System, count: int, pindex: int = 0, cpu: int = 0) -> None:
    """free_pcppages_bulk() of CPU ``cpu``'s lists."""
    k, pcp = system.kernel, pcp_of(system, cpu)
    pcp.lock.lock()
    k.calls.free_pcppages_bulk(k, system.zones[0], count, pcp, pindex)
    pcp.lock.unlock()


# --- names -------------------------------------------------------------------------------------


def test_the_policies() -> None:
    """RFC-10.1 to RFC-10.12."""
    assert sorted(POLICIES) == [
        "claim-cma",
        "claim-own-type",
        "clear-complete",
        "drain-oldest",
        "keep-alloc-factor",
        "offline-keep",
        "owned-per-type",
        "recover-cap-2x",
        "recover-cap-4x",
        "recover-counter",
        "recover-cycle",
        "recover-enough",
        "want-block",
        "want-whole-blocks",
    ]


@pytest.mark.parametrize("variant", WITH_OWNERS)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_on_every_variant_with_owners(variant: str, policy: str) -> None:
    """A policy replaces what it says, and nothing else."""
    base, joined = get_variant(variant), get_variant(f"{variant}+{policy}")
    assert (joined.name, joined.builds_on, joined.kernels) == (f"{variant}+{policy}", variant, ())
    assert POLICIES[policy].summary in joined.summary
    assert base.calls.pcp_buddy is not None
    assert joined.calls.pcp_buddy is not None
    changed = set()
    for old, new in ((base.calls, joined.calls), (base.calls.pcp_buddy, joined.calls.pcp_buddy)):
        names = set(type(old).__dataclass_fields__) - {"pcp_buddy"}
        changed |= {name for name in names if getattr(old, name) is not getattr(new, name)}
    assert changed == set(POLICIES[policy].entries)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name not in WITH_OWNERS])
def test_variants_without_owners_take_none(variant: str) -> None:
    with pytest.raises(UnknownVariant, match="takes no policies; these do: rfc, rfc-trylock, llist"):
        get_variant(f"{variant}+recover-cycle")


@pytest.mark.parametrize("name", ["rfc+", "rfc+recover", "rfc+recover-cycle+", "rfc+llist", "rfc++recover-cycle"])
def test_unknown_policies(name: str) -> None:
    with pytest.raises(UnknownVariant, match=r"no policy .*; there are: recover-cycle"):
        get_variant(name)


@pytest.mark.parametrize(("first", "second"), [pair for pair in PAIRS if excluding(*pair)])
def test_policies_that_exclude_each_other(first: str, second: str) -> None:
    """The message names both, and what both replace, in whichever order they come."""
    entry = (set(POLICIES[first].entries) & set(POLICIES[second].entries)).pop()
    for one, other in permutations((first, second)):
        with pytest.raises(UnknownVariant) as caught:
            get_variant(f"rfc+{one}+{other}")
        assert caught.value.message == f"{one} and {other} both replace {entry}()"


def test_a_policy_twice() -> None:
    with pytest.raises(UnknownVariant, match="want-block and want-block both replace"):
        get_variant("rfc+want-block+want-block")


def test_others_in_between_do_not_hide_a_conflict() -> None:
    with pytest.raises(UnknownVariant, match="recover-cycle and recover-enough both"):
        get_variant("rfc+recover-cycle+want-block+owned-per-type+recover-enough")


def load(variant: str, steps: int = 60) -> dict[str, Any]:
    """What a machine looks like after operations that are the same for all variants; all but its variant's name."""
    chance = random.Random(20260403)
    system = System.boot(config(64, reserved=(), nr_cpus=2, high_min=8, high_max=24), variant=variant)
    allocated: list[tuple[int, int]] = []
    for step in range(steps):
        with system.on_cpu(chance.randrange(2)):
            if chance.random() < 0.55:
                order = chance.choice((0, 0, 0, 1, 2, 3))
                pfn = system.alloc_pages(chance.choice((MOVABLE, MOVABLE, UNMOVABLE)), order)
                if pfn is not None:
                    allocated.append((pfn, order))
            elif allocated:
                system.free_pages(*allocated.pop(chance.randrange(len(allocated))))
        if step % 20 == 15:
            system.drain_local_pages()
        if step == 40:
            system.offline_cpu(1)
            system.online_cpu(1)
    system.validate()
    state = system.snapshot()
    del state["variant"]
    return state


@pytest.mark.parametrize(("first", "second"), [pair for pair in PAIRS if not excluding(*pair)])
def test_the_order_of_policies_does_not_matter(first: str, second: str) -> None:
    one, other = f"rfc+{first}+{second}", f"rfc+{second}+{first}"
    assert get_variant(one).calls == get_variant(other).calls
    assert load(one) == load(other)


def test_many_policies_at_once() -> None:
    """One of each group, and all that stand alone."""
    names = ["rfc"] + [name for name in POLICIES if name not in ("recover-cap-4x", "recover-enough", "recover-cycle")]
    names = [name for name in names if name not in ("claim-cma", "want-block")]
    assert load("+".join(names)) == load("+".join([names[0], *reversed(names[1:])]))


# --- recover-cycle -----------------------------------------------------------------------------

THREE_BLOCKS = """
order 0: M[1 9 17]
alloc: 0/0 8/0 16/0
owners: 000.
owned0: 0 8 16
"""


@pytest.mark.parametrize(("policies", "steps"), [("", "+zone -zone"), ("recover-cycle", " ".join(["+zone -zone"] * 4))])
def test_the_lock_is_cycled(policies: str, steps: str) -> None:
    """RFC-10.1: dropped and taken again after each of the three blocks; the same is recovered."""
    system = rfc(policies, THREE_BLOCKS)
    locks = Locks(system)
    assert refill(system, 0, 2) == 3
    assert locks.take() == steps
    assert_zone(system, "pcp0 o0: M[1* 9* 17*] \n alloc: 0/0 8/0 16/0 \n owners: 000.")


def test_the_lock_is_free_in_the_gap() -> None:
    """RFC-10.1: after block 0 another CPU gets zone->lock, and sees that block off the list and the others on it."""
    system = rfc("recover-cycle", THREE_BLOCKS)
    locks = Locks(system)
    seen = []

    def look() -> None:
        with system.on_cpu(1), locked(system.zones[0]):
            seen.append(pcp_of(system).owned_blocks.to_list())

    locks.at("-zone", look)
    refill(system, 0, 2)
    assert seen == [[8, 16]]


def test_another_cpu_claims_in_the_gap() -> None:
    """RFC-10.1: block 8, next on CPU 0's list and whole in the zone, is claimed by CPU 1 between two blocks, which
    drains a part of it and so has it on its own list.  CPU 0 starts again at its head: 16 is next, and CPU 1's fragment
    is not touched."""
    system = rfc(
        "recover-cycle", "order 0: M[1 17] \n order 3: M[8] \n alloc: 0/0 16/0 \n owners: 000. \n owned0: 0 8 16"
    )
    locks = Locks(system)

    def steal() -> None:
        with system.on_cpu(1):
            assert system.alloc_pages(MOVABLE, 2) == 8
            system.drain_local_pages()

    locks.at("-zone", steal)
    assert refill(system, 0, 2) == 2
    assert_zone(
        system,
        """
        order 2: M[12]
        pcp0 o0: M[1* 17*]
        alloc: 0/0 8/2 16/0
        owners: 010.
        owned1: 8
        """,
    )


def test_a_type_changes_in_the_gap() -> None:
    """RFC-10.1, RFC-5.10: block 8 becomes UNMOVABLE meanwhile: it stays listed, 16 is recovered."""
    system = rfc(
        "recover-cycle", "order 2: M[12] \n order 0: M[1 17] \n alloc: 0/0 8/2 16/0 \n owners: 000. \n owned0: 0 8 16"
    )
    locks = Locks(system)

    def convert() -> None:
        with system.on_cpu(1):
            assert system.alloc_pages(UNMOVABLE, 2) == 12

    locks.at("-zone", convert)
    assert refill(system, 0, 2) == 2
    assert_zone(
        system,
        "pcp0 o0: M[1* 17*] \n alloc: 0/0 8/2 12/2 16/0 \n blocks: MUMM \n owners: 000. \n owned0: 8",
    )


def test_no_cycle_for_a_request_that_may_not_wait() -> None:
    """RFC-10.1: given up, the lock might not be had again."""
    system = rfc("recover-cycle", THREE_BLOCKS)
    locks = Locks(system)
    assert refill(system, 0, 2, gfp.ALLOC_TRYLOCK) == 3
    assert locks.take() == "?zone -zone"


def test_nothing_listed_no_cycle() -> None:
    """RFC-10.1."""
    system = rfc("recover-cycle", "order 3: M[8]")
    locks = Locks(system)
    refill(system, 0, 2)
    assert locks.take() == "+zone -zone"


# --- recover-counter ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "plain", "counted"),
    [
        ("order 0: M[9] \n alloc: 8/0 10/1 12/2", Recovered(1, 8, True), Recovered(1, 2, True)),
        ("alloc: 8/3", Recovered(0, 8, True), Recovered(0, 0, True)),
        ("order 0: M[15] \n alloc: 8/2 12/1 14/0", Recovered(1, 8, True), Recovered(1, 8, True)),
        ("order 1: M[8] \n order 0: M[11] \n alloc: 10/0 12/2", Recovered(3, 7, True), Recovered(3, 3, True)),
        ("order 3: M[8]", Recovered(8, 1, True), Recovered(8, 1, True)),
        ("pcp0 o0: M[9*] \n alloc: 8/0 10/1 12/2", Recovered(0, 8, True), Recovered(0, 0, True)),
    ],
    ids=["one page", "none", "the last", "two pieces", "whole", "on the PCP"],
)
def test_the_counter_ends_a_scan(text: str, plain: Recovered, counted: Recovered) -> None:
    """RFC-10.2: the same pages, fewer PFNs: none after the last free page."""
    for policies, expected in (("", plain), ("recover-counter", counted)):
        system = rfc(policies, f"{text} \n owners: .0..")
        k, zone = system.kernel, system.zones[0]
        with locked(zone):
            assert k.pcp_buddy.recover_block(k, zone, pcp_of(system), 8, 8) == expected


def test_the_upper_half_is_scanned_in_vain() -> None:
    """RFC-10.2, RFC-5.19: the count says eight pages, and no head is there."""
    system = rfc("recover-counter", "order 4: M[0] \n owners: 10..")
    k, zone = system.kernel, system.zones[0]
    with locked(zone):
        assert k.pcp_buddy.recover_block(k, zone, pcp_of(system), 8, 8) == Recovered(0, 8, True)


def test_stolen_pages_cost_no_scan() -> None:
    """RFC-10.2, RFC-5.20, RFC-12.2: three listed blocks whose last pages CPU 1 took: unlisted without a look."""
    system = rfc("recover-counter", THREE_BLOCKS)
    k, thief = system.kernel, limits(pcp_of(system, 1), high=8)
    with system.on_cpu(1):
        assert k.calls.rmqueue_bulk(k, system.zones[0], 0, 3, thief, M, 0) == 3
    assert list(k.pageblock_nr_free) == [0] * 5
    assert recover(system, 2) == 0
    assert_zone(system, "pcp1 o0: M[1 9 17] \n alloc: 0/0 8/0 16/0 \n owners: 000.")


def real_counts(system: System) -> list[int]:
    """Pages of each pageblock on the zone's free lists."""
    counts = [0] * len(system.kernel.pageblock_nr_free)
    for zone in system.zones:
        for order, area in enumerate(zone.free_area):
            for free_list in area.free_list:
                for pfn in free_list:
                    for page in range(pfn, pfn + (1 << order)):
                        counts[page >> system.kernel.pageblock_order] += 1
    return counts


@pytest.mark.parametrize("variant", ["rfc+recover-counter", "llist+recover-counter+clear-complete+recover-cycle"])
def test_the_counter_is_right(variant: str) -> None:
    """RFC-10.2: after every one of many operations, and after a restore and in a copy: what the lists hold."""
    chance = random.Random(3)
    system = System.boot(
        config(128, reserved=(), nr_cpus=2, high_min=8, high_max=24, max_page_order=5), variant=variant
    )
    assert list(system.kernel.pageblock_nr_free) == real_counts(system) == [8] * 16 + [0]
    allocated: list[tuple[int, int]] = []
    for step in range(300):
        with system.on_cpu(chance.randrange(2)):
            if chance.random() < 0.5:
                order = chance.choice((0, 0, 0, 1, 2, 3, 4, 5))
                pfn = system.alloc_pages(
                    chance.choice((MOVABLE, UNMOVABLE, gfp.GFP_KERNEL | gfp.GFP_RECLAIMABLE)), order
                )
                if pfn is not None:
                    allocated.append((pfn, order))
            elif allocated:
                system.free_pages(*allocated.pop(chance.randrange(len(allocated))))
        if step % 30 == 20:
            system.drain_all_pages()
        if step % 50 == 30:
            system.isolate_pageblock(8 * (step % 16))
        if step % 50 == 45:
            system.unisolate_pageblock(8 * ((step - 15) % 16))
        assert list(system.kernel.pageblock_nr_free) == real_counts(system)
    system.validate()
    restored = System.restore(system.snapshot())
    assert list(restored.kernel.pageblock_nr_free) == real_counts(restored)
    assert list(clone(system.kernel).pageblock_nr_free) == real_counts(system)


# --- recover-cap -------------------------------------------------------------------------------

#: block 0 has pages 1 and 5, block 8 page 9
CAPPED = "order 0: M[1 5 9] \n order 3: M[16 24] \n alloc: 0/0 4/0 8/0 \n owners: 00.. \n owned0: 0 8"


def test_cap_2x() -> None:
    """RFC-10.3: two wanted: four PFNs: page 1; block 0 was cut short and stays listed, where it was."""
    system = rfc("recover-cap-2x", CAPPED)
    assert recover(system, 2) == 1
    assert_zone(
        system,
        "order 0: M[5 9] \n order 3: M[16 24] \n pcp0 o0: M[1*] \n alloc: 0/0 4/0 8/0 \n owners: 00.. \n owned0: 0 8",
    )


def test_cap_4x() -> None:
    """RFC-10.3: eight PFNs: all of block 0, which is unlisted; block 8 is not looked at."""
    system = rfc("recover-cap-4x", CAPPED)
    assert recover(system, 2) == 2
    assert_zone(
        system,
        "order 0: M[9] \n order 3: M[16 24] \n pcp0 o0: M[1* 5*] \n alloc: 0/0 4/0 8/0 \n owners: 00.. \n owned0: 8",
    )


@pytest.mark.parametrize(
    ("wanted", "got", "listed"), [(1, 1, "0 8"), (2, 1, "0 8"), (3, 2, "0 8"), (4, 2, "8"), (5, 3, "8"), (8, 3, "")]
)
def test_the_cap_goes_over_blocks(wanted: int, got: int, listed: str) -> None:
    """RFC-10.3: twice what is wanted, in PFNs: with 5 wanted the 8 of block 0, then 8 and 9; block 8 was not seen to
    its end."""
    system = rfc("recover-cap-2x", CAPPED)
    assert recover(system, wanted) == got
    assert pcp_of(system).owned_blocks.to_list() == [int(pfn) for pfn in listed.split()]


def test_no_new_block_while_one_waits() -> None:
    """RFC-10.3, RFC-5.30: eight wanted: the first two of three listed blocks are seen (16 PFNs) and nothing is found;
    the third waits, so nothing is claimed although two blocks are whole: phase 3 takes single pages of one.  The RFC
    looks at all three, and claims."""
    text = "order 0: M[17] \n order 3: M[24] \n alloc: 0/3 8/3 16/0 18/1 20/2 \n owners: 000. \n owned0: 0 8 16"
    system = rfc("recover-cap-2x", text)
    assert refill(system, 0, 8) == 8
    assert_zone(
        system,
        """
        order 0: M[31]
        pcp0 o0: M[17 24 25 26 27 28 29 30]
        alloc: 0/3 8/3 16/0 18/1 20/2
        owners: 000.
        owned0: 16
        """,
    )
    system = rfc("", text)
    assert refill(system, 0, 9) == 9
    assert_zone(system, "pcp0 o0: M[17*] \n pcp0 o3: M[24*] \n alloc: 0/3 8/3 16/0 18/1 20/2 \n owners: 0000")


def test_starvation_under_the_cap() -> None:
    """RFC-10.3, RFC-5.30: refills of two pages look at four PFNs, always the first four of block 0, whose free pages
    are the last two: never recovered (phase 2 takes them, unmarked, when nothing else is left), never unlisted; and
    while the block is listed CPU 0 claims no block."""
    system = rfc(
        "recover-cap-2x", "order 1: M[10 14 18 6] \n order 3: M[24] \n alloc: 0/2 4/1 \n owners: 0... \n owned0: 0"
    )
    for _ in range(4):
        assert refill(system, 0, 2) == 2
    assert_zone(system, "order 3: M[24] \n pcp0 o1: M[10 14 18 6] \n alloc: 0/2 4/1 \n owners: 0... \n owned0: 0")
    assert claim(system, 8) == 0


def test_the_cap_with_the_counter() -> None:
    """RFC-10.2, RFC-10.3: once nothing of the block is left in the zone, the count shows it, and the block is unlisted
    within any cap."""
    system = rfc(
        "recover-cap-2x+recover-counter",
        "order 1: M[10] \n order 3: M[24] \n alloc: 0/2 4/2 \n owners: 0... \n owned0: 0",
    )
    assert refill(system, 0, 2) == 2
    assert_zone(system, "order 3: M[24] \n pcp0 o1: M[10] \n alloc: 0/2 4/2 \n owners: 0...")


# --- recover-enough ----------------------------------------------------------------------------

ENOUGH = "order 0: M[1 3 5 9 17] \n alloc: 0/0 8/0 16/0 \n owners: 000. \n owned0: 0 8 16"


@pytest.mark.parametrize(
    ("wanted", "recovered", "left", "listed"),
    [
        (1, "1* 3* 5*", "order 0: M[9 17]", "owned0: 8 16"),
        (3, "1* 3* 5*", "order 0: M[9 17]", "owned0: 8 16"),
        (4, "1* 3* 5* 9*", "order 0: M[17]", "owned0: 16"),
        (5, "1* 3* 5* 9* 17*", "", ""),
        (9, "1* 3* 5* 9* 17*", "", ""),
    ],
)
def test_enough(wanted: int, recovered: str, left: str, listed: str) -> None:
    """RFC-10.4, RFC-5.16: between two blocks; one that was begun is finished; the others stay listed."""
    system = rfc("recover-enough", ENOUGH)
    assert recover(system, wanted) == len(recovered.split())
    assert_zone(system, f"{left} \n pcp0 o0: M[{recovered}] \n alloc: 0/0 8/0 16/0 \n owners: 000. \n {listed}")


def test_enough_pages_and_no_chunk() -> None:
    """RFC-10.4, RFC-5.4, RFC-5.30: order 3, eight pages are wanted and found in two pieces; a whole block stays wanted,
    and is not claimed, since block 16 waits: phase 3 takes one."""
    system = rfc(
        "recover-enough",
        "order 0: M[17] \n order 2: M[4 12] \n order 3: M[24] \n alloc: 0/2 8/2 16/0 \n owners: 000. \n owned0: 0 8 16",
    )
    assert refill(system, 3, 1) == 2
    assert_zone(
        system,
        "order 0: M[17] \n pcp0 o2: M[4* 12*] \n pcp0 o3: M[24] \n alloc: 0/2 8/2 16/0 \n owners: 000. \n owned0: 16",
    )


# --- owned-per-type ----------------------------------------------------------------------------


def test_a_list_for_each_type() -> None:
    """RFC-10.5: blocks come to the list of their type; one without PCP lists counts as MOVABLE."""
    system = rfc("owned-per-type", "pcp0 o0: U[1*] M[9*] R[17*] \n pcp0 o1: M[26*] \n blocks: UMRH \n owners: 0000")
    drain(system, 5)
    assert_zone(
        system,
        """
        order 0: U[1] M[9] R[17]
        order 1: H[26]
        blocks: UMRH
        owners: 0000
        owned0 U: 0
        owned0 M: 24 8
        owned0 R: 16
        """,
    )


def test_listed_once_per_type() -> None:
    """RFC-10.5, RFC-7.16: whichever list it is on: block 0 is UNMOVABLE by now and stays where it was."""
    drawing = "pcp0 o0: M[1*] \n alloc: 0/0 8/0 \n blocks: UMMM \n owners: 00.. \n owned0 M: 0 8"
    system = rfc("owned-per-type", drawing)
    drain(system, 1)
    assert_zone(system, "order 0: U[1] \n alloc: 0/0 8/0 \n blocks: UMMM \n owners: 00.. \n owned0 M: 0 8")


def test_the_lists_per_type_want_zone_lock() -> None:
    """RFC-10.5, RFC-3.21."""
    drawing = "alloc: 0/0 8/0 \n owners: 00.. \n owned0 M: 0"
    system = rfc("owned-per-type", drawing)
    k, zone = system.kernel, system.zones[0]
    with pytest.raises(LockNotHeld):
        k.pcp_buddy.list_owned_block(k, zone, pcp_of(system), 8)
    with pytest.raises(LockNotHeld):
        k.pcp_buddy.unlist_owned_block(k, zone, 0)
    assert_zone(system, drawing)


def test_recover_from_the_type_s_list() -> None:
    """RFC-10.5, RFC-5.10: the MOVABLE list alone; block 16 has another type since, and stays."""
    system = rfc(
        "owned-per-type",
        """
        order 0: U[1] M[9] R[17]
        alloc: 0/0 8/0 16/0
        blocks: UMRM
        owners: 000.
        owned0 U: 0
        owned0 M: 16 8
        """,
    )
    assert recover(system, 4) == 1
    assert_zone(
        system,
        """
        order 0: U[1] R[17]
        pcp0 o0: M[9*]
        alloc: 0/0 8/0 16/0
        blocks: UMRM
        owners: 000.
        owned0 U: 0
        owned0 M: 16
        """,
    )


def test_a_claim_unlists_from_any_list() -> None:
    """RFC-10.5, RFC-5.29, RFC-5.30: CPU 1's block 8 was listed as UNMOVABLE; other types' lists bar nothing."""
    system = rfc(
        "owned-per-type", "order 3: M[8] \n alloc: 0/0 \n blocks: UMMM \n owners: 01.. \n owned0 U: 0 \n owned1 U: 8"
    )
    assert claim(system, 8) == 8
    assert_zone(system, "pcp0 o3: M[8*] \n alloc: 0/0 \n blocks: UMMM \n owners: 00.. \n owned0 U: 0")
    assert claim(system, 8, U) == 0


def test_a_disown_unlists_from_any_list() -> None:
    """RFC-10.5, RFC-7.14."""
    system = rfc("owned-per-type", "pcp0 o3: M[8*] \n alloc: 16/0 \n owners: .00. \n owned0 R: 8 16")
    drain(system, 8)
    assert_zone(system, "order 3: M[8] \n alloc: 16/0 \n owners: ..0. \n owned0 R: 16")


def test_the_lists_per_type_are_in_a_snapshot() -> None:
    """RFC-10.5."""
    drawing = (
        "order 0: U[1] M[9 17] \n alloc: 0/0 8/0 16/0 \n blocks: UMMM \n owners: 000. \n owned0 U: 0 \n owned0 M: 16 8"
    )
    assert_zone(System.restore(rfc("owned-per-type", drawing).snapshot()), drawing)


# --- claim-own-type, claim-cma -----------------------------------------------------------------


def test_claim_own_type() -> None:
    """RFC-10.6: an UNMOVABLE block is not converted, as the RFC does; nor are eight pages enough by stealing."""
    text = "order 3: U[8] \n order 4: M[16] \n blocks: MUMM"
    system = rfc("claim-own-type", text)
    assert claim(system, 24) == 16
    assert_zone(system, "order 3: U[8] \n pcp0 o3: M[16* 24*] \n blocks: MUMM \n owners: ..00")
    system = rfc("", text)
    assert claim(system, 24) == 24
    assert_zone(system, "pcp0 o3: M[16* 24* 8*] \n blocks: MMMM \n owners: .000")


def test_claim_own_type_is_otherwise_the_rfc_s() -> None:
    """RFC-10.6, RFC-5.26, RFC-5.28, RFC-5.29, RFC-5.30."""
    system = rfc("claim-own-type", "order 4: M[16] \n owners: ..1. \n owned1: 16")
    assert claim(system, 7) == 0
    assert claim(system, 8) == 8
    assert_zone(system, "order 3: M[24] \n pcp0 o3: M[16*] \n owners: ..0.")
    drawing = "order 3: M[8] \n alloc: 0/0 \n owners: 0... \n owned0: 0"
    system = rfc("claim-own-type", drawing)
    assert claim(system, 8) == 0
    assert_zone(system, drawing)


def test_claim_cma_balances() -> None:
    """RFC-10.7, LPA-6.1.2, LPA-6.1.9: more than half of the free pages are CMA's: such a block is claimed first; it
    lies as MOVABLE, and its pages are freed as MOVABLE to the owner (RFC-6.2)."""
    system = rfc("claim-cma", "order 3: M[8] C[16 24] \n blocks: MMCC", high_min=99, high_max=99)
    assert claim(system, 8, alloc_flags=gfp.ALLOC_CMA) == 8
    assert_zone(system, "order 3: M[8] C[24] \n pcp0 o3: M[16*] \n blocks: MMCC \n owners: ..0.")


def test_claim_cma_as_a_second_choice() -> None:
    """RFC-10.7, LPA-6.1.5: before a block of another type is converted."""
    system = rfc("claim-cma", "order 3: U[0 8 24] C[16] \n blocks: UUCU")
    assert claim(system, 8, alloc_flags=gfp.ALLOC_CMA) == 8
    assert_zone(system, "order 3: U[0 8 24] \n pcp0 o3: M[16*] \n blocks: UUCU \n owners: ..0.")


def test_claim_cma_only_for_requests_that_may() -> None:
    """RFC-10.7: a request without ALLOC_CMA claims what the RFC's does; so do the threshold and the bar hold."""
    system = rfc("claim-cma", "order 3: U[8] C[16 24] \n blocks: MUCC")
    assert claim(system, 8) == 8
    assert_zone(system, "order 3: C[16 24] \n pcp0 o3: M[8*] \n blocks: MMCC \n owners: .0..")
    assert claim(system, 7, alloc_flags=gfp.ALLOC_CMA) == 0
    system = rfc("claim-cma", "order 3: C[16 24] \n alloc: 0/3 \n blocks: MMCC \n owners: 0... \n owned0: 0")
    assert claim(system, 8, alloc_flags=gfp.ALLOC_CMA) == 0


def test_claim_cma_leaves_phase_3_its_mode() -> None:
    """RFC-10.7, RFC-5.25, RFC-5.37: the claim took a CMA block because no other was whole; phase 3 starts at its own
    lists all the same."""
    system = rfc("claim-cma", "order 0: M[1] \n order 2: M[8] C[24] \n order 3: C[16] \n blocks: MMCC")
    assert refill(system, 0, 9, gfp.ALLOC_CMA) == 9
    assert_zone(system, "order 2: M[8] C[24] \n pcp0 o0: M[1] \n pcp0 o3: M[16*] \n blocks: MMCC \n owners: ..0.")


# --- drain-oldest ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policies", "pindex", "order"),
    [
        ("", 1, [12, 20, 4, 11, 9, 17, 1]),
        ("drain-oldest", 1, [11, 9, 17, 4, 12, 20, 1]),
        ("drain-oldest", 0, [1, 11, 9, 17, 4, 12, 20]),
        ("drain-oldest", 4, [12, 20, 1, 11, 9, 17, 4]),
        ("drain-oldest", 11, [1, 11, 9, 17, 4, 12, 20]),
    ],
)
def test_drain_oldest(policies: str, pindex: int, order: list[int]) -> None:
    """RFC-10.8, LPA-8.5.2, LPA-8.5.7: from the given list on, cyclically, each from its tail; the RFC takes the larger
    order first."""
    system = rfc(policies, "pcp0 o0: U[1] M[9 11] R[17] \n pcp0 o1: U[4] M[12] R[20] \n blocks: UMRM")
    log = traced(system)
    drain(system, 11, pindex)
    assert [event[4] for event in log.take()] == order


def test_drain_oldest_keeps_what_merged() -> None:
    """RFC-10.8, RFC-7.2, RFC-7.10: the pass is the RFC's; then the oldest page of the first list goes, not the whole
    block, which stays and is nobody's victim."""
    for policies, left in (
        ("drain-oldest", "order 0: M[16] \n pcp0 o3: M[8*] \n owners: .0.."),
        ("", "order 3: M[8] \n pcp0 o0: M[16] \n owners: ...."),
    ):
        system = rfc(policies, "pcp0 o0: M[16] \n pcp0 o2: M[8* 12*] \n owners: .0..")
        drain(system, 1, 1)
        assert_zone(system, left)


# --- clear-complete ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policies", "after"),
    [("", "order 3: M[8] \n owners: .0.. \n owned0: 8"), ("clear-complete", "order 3: M[8] \n owners: ....")],
)
def test_a_drain_completes_the_block(policies: str, after: str) -> None:
    """RFC-10.9, RFC-7.20, RFC-8.13: one page was in the zone already; the last fragment makes the block whole there: no
    owner, no listing."""
    system = rfc(policies, "order 0: M[11] \n pcp0 o0: M[10*] \n pcp0 o1: M[8*] \n pcp0 o2: M[12*] \n owners: .0..")
    drain(system, 99)
    assert_zone(system, after)


@pytest.mark.parametrize(("policies", "owners"), [("", ".1.."), ("clear-complete", "....")])
def test_a_missed_lock_completes_the_block(policies: str, owners: str) -> None:
    """RFC-10.9, RFC-6.17: an interrupt's free to the zone, the owner being busy."""
    system = rfc(policies, "order 0: M[8] \n order 1: M[10] \n order 2: M[12] \n alloc: 9/0 \n owners: .1..")
    with system.on_cpu(1):
        pcp_of(system, 1).lock.lock()
    with system.on_cpu(0, Context.HARDIRQ):
        system.free_pages(9)
    with system.on_cpu(1):
        pcp_of(system, 1).lock.unlock()
    assert_zone(system, f"order 3: M[8] \n owners: {owners}")


def test_both_blocks_of_a_larger_buddy_are_cleared() -> None:
    """RFC-10.9, RFC-6.3: an order-4 free makes two blocks whole, of two owners; both listings end, a third block's does
    not."""
    system = rfc("clear-complete", "alloc: 0/4 16/0 \n owners: 010. \n owned0: 16 0 \n owned1: 8")
    system.free_pages(0, 4)
    assert_zone(system, "order 4: M[0] \n alloc: 16/0 \n owners: ..0. \n owned0: 16")


def test_a_partial_block_keeps_its_owner() -> None:
    """RFC-10.9: seven of eight pages, and a neighbour that is whole."""
    system = rfc(
        "clear-complete",
        "order 3: M[0] \n pcp0 o0: M[9*] \n pcp0 o1: M[10*] \n pcp0 o2: M[12*] \n alloc: 8/0 \n owners: .0..",
    )
    drain(system, 99)
    assert_zone(
        system,
        "order 0: M[9] \n order 1: M[10] \n order 2: M[12] \n order 3: M[0] \n alloc: 8/0 \n owners: .0.. \n owned0: 8",
    )


def test_a_cleared_block_under_zone_lock() -> None:
    """RFC-10.9, RFC-3.21, RFC-11.9: in the hold that frees."""
    system = rfc("clear-complete", "order 0: M[8] \n order 1: M[10] \n order 2: M[12] \n owners: .0..")
    k, zone = system.kernel, system.zones[0]
    system.total_pages = None
    with locked(zone):
        k.calls._free_one_page(k, 9, zone, 0, M, FPI_NONE)
        assert k.pageblock_cpu[1] == 0
    assert_zone(system, "order 3: M[8] \n owners: ....")


# --- offline-keep ------------------------------------------------------------------------------


def test_a_dead_cpu_keeps_its_blocks() -> None:
    """RFC-10.10: drained as today, so that the partial block is listed; nothing is disowned but what is whole."""
    system = rfc("offline-keep", "pcp1 o0: M[9*] \n pcp1 o3: M[16*] \n alloc: 8/0 10/0 \n owners: .11.")
    system.offline_cpu(1)
    assert_zone(system, "order 0: M[9] \n order 3: M[16] \n alloc: 8/0 10/0 \n owners: .1.. \n owned1: 8")


def test_frees_go_to_the_dead_cpu() -> None:
    """RFC-10.10, LPA-8.8.8: to its PCP, which drain_all_pages() passes over, and a free that waited for its lock while
    it died as well; with its return it has its blocks and recovers them."""
    system = rfc("offline-keep", "pcp1 o0: M[9*] \n alloc: 8/0 10/0 11/0 \n owners: .1..")
    locks = Locks(system)
    locks.at("+pcp1", lambda: system.offline_cpu(1))
    system.free_pages(10)
    assert locks.done()
    system.free_pages(11)
    system.drain_all_pages()
    assert_zone(system, "order 0: M[9] \n pcp1 o0: M[11* 10*] \n alloc: 8/0 \n owners: .1.. \n owned1: 8")
    system.online_cpu(1)
    with system.on_cpu(1):
        assert [system.alloc_pages(MOVABLE) for _ in range(3)] == [11, 10, 9]
    assert_zone(system, "alloc: 8/0 9/0 10/0 11/0 \n owners: .1..")


def test_a_dead_cpu_s_pages_are_in_a_snapshot() -> None:
    """RFC-10.10: that a dead CPU holds pages and blocks is no contradiction here."""
    system = rfc("offline-keep", "alloc: 8/0 9/0 \n owners: .1..")
    system.offline_cpu(1)
    system.free_pages(9)
    restored = System.restore(system.snapshot())
    assert_zone(restored, "pcp1 o0: M[9*] \n alloc: 8/0 \n owners: .1..")


def test_offline_keep_on_llist() -> None:
    """RFC-10.10, RFC-9.6: remote frees stay on the dead CPU's llist until it returns."""
    system = machine("alloc: 8/0 9/0 \n owners: .1..", 32, variant="llist+offline-keep", nr_cpus=2)
    system.offline_cpu(1)
    system.free_pages(9)
    system.drain_all_pages()
    assert_zone(system, "alloc: 8/0 \n llist1: 9/0 \n owners: .1..")
    system.online_cpu(1)
    system.drain_all_pages()
    assert_zone(system, "order 0: M[9] \n alloc: 8/0 \n owners: .1.. \n owned1: 8")


# --- want-block --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policies", "overrides", "after"),
    [
        ("", {}, "order 1: M[18] \n order 2: M[20] \n order 3: M[24] \n pcp0 o0: M[17] \n owners: ...."),
        (
            "want-block",
            {},
            "order 3: M[24] \n pcp0 o0: M[17*] \n pcp0 o1: M[18*] \n pcp0 o2: M[20*] \n owners: ..0.",
        ),
        (
            "want-block",
            {"high_min": 7, "high_max": 7},
            "order 1: M[18] \n order 2: M[20] \n order 3: M[24] \n pcp0 o0: M[17] \n owners: ....",
        ),
        (
            "want-block",
            {"high_min": 0, "high_max": 0, "batch": 1},
            "order 0: M[17] \n order 1: M[18] \n order 2: M[20] \n order 3: M[24] \n owners: ....",
        ),
        (
            "want-block",
            {"high_min": 0, "high_max": 8},
            "order 0: M[17] \n order 1: M[18] \n order 2: M[20] \n order 3: M[24] \n owners: ....",
        ),
    ],
    ids=["rfc", "want-block", "no room for a block", "disabled", "not in use yet"],
)
def test_want_block(policies: str, overrides: Mapping[str, int], after: str) -> None:
    """RFC-10.11, RFC-5.26, RFC-5.5: batch 2 makes an order-0 refill of two pages, or of a pageblock, if high_max leaves
    room for it and the lists are in use."""
    system = machine("order 4: M[16 0]", 32, variant=f"rfc+{policies}".rstrip("+"), **overrides)
    assert system.alloc_pages(MOVABLE) == 16
    assert_zone(system, f"order 4: M[0] \n {after} \n alloc: 16/0")


def test_want_block_with_high_at_batch() -> None:
    """RFC-10.11, RFC-5.5: below the high watermark high does not grow: it stays at 2, the batch, which is in use."""
    system = machine("order 4: M[16 0]", 32, variant="rfc+want-block", high_min=2, high_max=8)
    system.zones[0].flags = gfp.ZONE_BELOW_HIGH
    assert system.alloc_pages(MOVABLE) == 16
    assert (pcp_of(system).high, pcp_of(system).count) == (2, 7)


@pytest.mark.parametrize(
    ("alloc_factor", "after"),
    [
        (0, "order 3: M[24] \n order 4: M[0] \n pcp0 o0: M[17*] \n pcp0 o1: M[18*] \n pcp0 o2: M[20*] \n owners: ..0."),
        (
            2,  # 12 are wanted by today's rule with batch 3; want-block takes the other 4 from phase 3, unmarked
            "order 4: M[0] \n pcp0 o0: M[17*] \n pcp0 o1: M[18*] \n pcp0 o2: M[20*] \n pcp0 o3: M[24*] \n owners: ..00",
        ),
    ],
)
def test_want_whole_blocks(alloc_factor: int, after: str) -> None:
    """RFC-10.11a: the amount is rounded up to whole pageblocks, so that everything that comes has an owner."""
    system = machine(
        "order 4: M[16 0]", 32, variant="rfc+want-whole-blocks", nr_cpus=1, batch=3, high_min=99, high_max=99
    )
    limits(pcp_of(system), alloc_factor=alloc_factor)
    assert system.alloc_pages(MOVABLE) == 16
    assert_zone(system, f"{after} \n alloc: 16/0")


def test_want_whole_blocks_of_whole_blocks() -> None:
    """RFC-10.11a: what is whole blocks already stays: eight pages (batch 2, alloc_factor 2) are one block; nor is a
    request of another order touched: two blocks of order 1 are four pages."""
    for order, left in (
        (0, "order 3: M[24] \n order 4: M[0]"),
        (1, "order 2: M[20] \n order 3: M[24] \n order 4: M[0]"),
    ):
        system = rfc("want-whole-blocks", "order 4: M[16 0]", high_min=99, high_max=99)
        limits(pcp_of(system), alloc_factor=2)
        assert system.alloc_pages(MOVABLE, order) == 16
        owned = "pcp0 o0: M[17*] \n pcp0 o1: M[18*] \n pcp0 o2: M[20*] \n owners: ..0."
        after = owned if order == 0 else "pcp0 o1: M[18] \n owners: ...."
        assert_zone(system, f"{left} \n {after} \n alloc: 16/{order}")


def test_want_block_is_about_order_0() -> None:
    """RFC-10.11: two blocks of order 1 as in the RFC; and an order-0 refill that wants more keeps that: 16 at
    alloc_factor 3."""
    system = rfc("want-block", "order 4: M[16 0]", high_min=99, high_max=99)
    assert system.alloc_pages(MOVABLE, 1) == 16
    assert_zone(
        system, "order 2: M[20] \n order 3: M[24] \n order 4: M[0] \n pcp0 o1: M[18] \n alloc: 16/1 \n owners: ...."
    )
    system = rfc("want-block", "order 4: M[16 0]", high_min=99, high_max=99)
    limits(pcp_of(system), alloc_factor=3)
    assert system.alloc_pages(MOVABLE) == 16
    assert pcp_of(system).count == 15


# --- keep-alloc-factor -------------------------------------------------------------------------


@pytest.mark.parametrize(("policies", "factor"), [("", 2), ("keep-alloc-factor", 5)])
def test_keep_alloc_factor(policies: str, factor: int) -> None:
    """RFC-10.12, RFC-6.13: CPU 1 frees CPU 0's page: the rest of CPU 0's fields move as in the RFC."""
    system = rfc(policies, "alloc: 10/1 \n owners: .0..", high_min=8, high_max=40)
    own, other = limits(pcp_of(system), alloc_factor=5, free_count=3), limits(pcp_of(system, 1), alloc_factor=4)
    with system.on_cpu(1):
        system.free_pages(10, 1)
    assert (own.alloc_factor, own.free_count, own.flags, own.count) == (factor, 5, gfp.PCPF_PREV_FREE_HIGH_ORDER, 2)
    assert other.alloc_factor == 4


@pytest.mark.parametrize("owners", [".0..", "...."])
def test_own_frees_still_halve_it(owners: str) -> None:
    """RFC-10.12: what the CPU itself frees to its PCP, its own or unowned."""
    system = rfc("keep-alloc-factor", f"alloc: 9/0 \n owners: {owners}")
    pcp = limits(pcp_of(system), alloc_factor=5)
    system.free_pages(9)
    assert pcp.alloc_factor == 2
