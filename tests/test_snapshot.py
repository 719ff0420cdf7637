# SPDX-License-Identifier: GPL-2.0-only
"""Snapshots: canonical JSON, digests, and back."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from pageblock_buddy import BadArgument, Config, ConfigError, InputError, System, UnknownVariant, gfp, snapshot
from tests.helpers import MOVABLE, UNMOVABLE, assert_zone, config, fill, limits, machine, pcp_of, small_zone

State = dict[str, Any]

TEXT = """
order 0: M[9] R[17] H[24]
order 1: U[40 36]
order 4: M[48]
pcp0 o0: M[12 11]
pcp1 o1: U[34]
blocks: MMRHUUMM
alloc: 0/0 4/2c 16/0 32/1
"""


def system() -> System:
    """A machine with something in every part of the state."""
    found = machine(TEXT, nr_cpus=2, vm_stat_threshold=3)
    zone = found.zones[0]
    zone.flags, zone.watermark_boost, zone.nr_reserved_highatomic = gfp.ZONE_BELOW_HIGH, 8, 8
    zone.per_cpu_zonestats[1].nr_free_pages_diff, zone.nr_free_pages = -2, zone.nr_free_pages + 2
    limits(pcp_of(found), high=8, free_count=3, alloc_factor=2, flags=1, expire=2)
    found.get_page(16)
    found.lru_add(0)
    found.kernel.pgfree, found.kernel.pgalloc[1] = 7, 9
    return found


def test_zone_in_the_recordings_form() -> None:
    """The keys and the order of a recording: lists head first, a digit per pageblock, a count per pageblock."""
    zone = system().snapshot()["zones"][0]
    assert (zone["node"], zone["zone"], zone["start"], zone["spanned"]) == (0, 1, 0, 64)
    assert (zone["pageblock_order"], zone["max_order"]) == (3, 4)
    assert zone["block_mt"] == "11230011"
    assert zone["block_lru"] == [1, 0, 0, 0, 0, 0, 0, 0]
    assert zone["free_area"][1] == {"nr_free": 2, "lists": [[40, 36], [], [], [], []]}
    assert zone["pcp"][0]["lists"][:3] == [[], [12, 11], []]
    assert {key: zone["pcp"][1][key] for key in ("cpu", "count", "free_diff", "stat_threshold")} == {
        "cpu": 1,
        "count": 2,
        "free_diff": -2,
        "stat_threshold": 3,
    }
    assert (zone["flags"], zone["boost"], zone["nr_reserved_highatomic"], zone["nr_free_highatomic"]) == (4, 8, 8, 1)
    assert (zone["wmark_min"], zone["wmark_promo"], zone["lowmem_reserve"]) == (0, 0, [0] * 5)


def test_the_rest_of_the_state() -> None:
    """Allocations with references, counters, and the configuration."""
    state = system().snapshot()
    assert (state["format"], state["version"], state["variant"]) == ("pageblock-buddy-snapshot", 1, "linux-6.12")
    assert state["allocated"] == [[0, 0, 0, 1], [4, 2, 1, 1], [16, 0, 0, 2], [32, 1, 0, 1]]
    assert (state["pgalloc"], state["pgfree"], state["expire"]) == ([0, 9, 0, 0, 0], 7, [[2, 0]])
    assert Config.from_dict(state["config"]) == system().kernel.config


@pytest.mark.parametrize("through_json", [False, True])
def test_restore(through_json: bool) -> None:
    """The same state again, field by field, and the same digest."""
    before = system()
    state = before.snapshot()
    after = System.restore(json.loads(json.dumps(state)) if through_json else state)
    assert_zone(after, TEXT)
    assert after.digest() == before.digest()
    assert after.page_count(16) == 2
    assert after.kernel.nr_movable == {0: 1}
    assert (pcp_of(after).expire, after.zones[0].per_cpu_zonestats[1].nr_free_pages_diff) == (2, -2)


def test_the_same_future() -> None:
    """Restored, the machine answers the next operations with the same PFNs."""
    first = System.boot(Config.small(128, nr_cpus=2, high_max=40))
    for order in (0, 1, 0, 3, 2, 4):
        first.alloc_pages(MOVABLE, order)
    second = System.restore(first.snapshot())
    for machine_ in (first, second):
        with machine_.on_cpu(1):
            machine_.alloc_pages(UNMOVABLE, 1)
    assert [first.alloc_pages(MOVABLE) for _ in range(9)] == [second.alloc_pages(MOVABLE) for _ in range(9)]
    assert first.digest() == second.digest()


def test_restore_with_cma_and_nodes() -> None:
    """CMA's lists and counters are there where there is CMA; several nodes."""
    first = System.boot(Config.small(64, cma=((16, 16),)))
    assert len(first.snapshot()["zones"][0]["free_area"][0]["lists"]) == 6
    second = System.restore(first.snapshot())
    assert second.zones[0].nr_free_cma == 16
    assert second.digest() == first.digest()
    numa = System.boot(Config.pc((20, 20), nr_cpus=2, cpu_node=(0, 1)))
    assert System.restore(json.loads(json.dumps(numa.snapshot()))).digest() == numa.digest()


def test_huge_page_lists() -> None:
    """The lists 12 and 13 come back with their order."""
    first = machine("pcp0 o4: U[16] M[0]", pageblock_order=4, max_page_order=5)
    second = System.restore(first.snapshot())
    assert_zone(second, "pcp0 o4: U[16] M[0]")


def test_a_block_without_memory_map() -> None:
    """'.' in block_mt is kept."""
    state = system().snapshot()
    state["zones"][0]["block_mt"] = "1123001."
    state["zones"][0]["free_area"][4] = {"nr_free": 0, "lists": [[] for _ in range(5)]}
    state["zones"][0]["nr_free_pages"] -= 16
    restored = System.restore(state)
    assert restored.kernel.pageblock_flags[7] == snapshot.BLOCK_NO_MEMMAP
    assert restored.snapshot()["zones"][0]["block_mt"] == "1123001."


def test_digest_is_canonical() -> None:
    """Sorted keys, no spaces; a different state has another digest."""
    state = system().snapshot()
    assert snapshot.canonical_json({"b": [1, 2], "a": None}) == '{"a":null,"b":[1,2]}'
    assert snapshot.digest(dict(reversed(state.items()))) == system().digest()
    other = system()
    other.zones[0].free_area[1].free_list[0].list_move_tail(40)
    assert other.digest() != system().digest()


# --- refusals ----------------------------------------------------------------------------------


def change(*path: str | int, to: Any) -> Callable[[State], None]:
    """A change of one entry of a snapshot."""

    def apply(state: State) -> None:
        place: Any = state
        for key in path[:-1]:
            place = place[key]
        if to is KeyError:
            del place[path[-1]]
        else:
            place[path[-1]] = to

    return apply


ZONE = ("zones", 0)
PCP = (*ZONE, "pcp", 0)
AREA = (*ZONE, "free_area", 0)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change("format", to="other"), "not a snapshot"),
        (change("format", to=KeyError), "not a snapshot"),
        (change("version", to=2), "version 2"),
        (change("config", to=[]), "config is not an object"),
        (change("zones", to={}), "zones is not a list"),
        (change("zones", to=[]), "list of 1"),
        (change("zones", 0, to=5), "zone is not an object"),
        (change("expire", to=[[1]]), "expire is not a list of 2"),
        (change("expire", to=[[0, 256]]), "expire is not a whole number"),
        (change("nr_free_cma", to=[True]), "nr_free_cma"),
        (change("pgalloc", to=[0]), "pgalloc"),
        (change("pgfree", to=-1), "pgfree"),
        (change("allocated", to=[[1, 2]]), "allocated entry"),
        (change("allocated", to=[[1.5, 0, 0, 1]]), "allocated pfn"),
        (change("allocated", to=[[8, 5, 0, 1]]), "allocated order"),
        (change("allocated", to=[[64, 0, 0, 1]]), "in no zone"),
        (change("allocated", to=[[5, 1, 0, 1]]), "not the first PFN"),
        (change("allocated", to=[[9, 0, 0, 1]]), "overlaps"),
        (change("allocated", to=[[8, 2, 0, 1]]), "overlaps"),
        (change("allocated", to=[[50, 0, 0, 1]]), "overlaps"),
        (change("allocated", to=[[0, 0, 2, 1]]), "compound"),
        (change("allocated", to=[[0, 0, 0, 0]]), "references"),
        (change(*ZONE, "managed", to="x"), "managed"),
        (change(*ZONE, "flags", to=KeyError), "flags"),
        (change(*ZONE, "wmark_low", to=None), "wmark_low"),
        (change(*ZONE, "lowmem_reserve", to=3), "lowmem_reserve is not a list"),
        (change(*ZONE, "lowmem_reserve", to=[-1, 0, 0, 0, 0]), "lowmem_reserve is not a whole number"),
        (change(*ZONE, "block_mt", to="111"), "block_mt"),
        (change(*ZONE, "block_mt", to="1123001x"), "block_mt"),
        (change(*ZONE, "block_mt", to=11230011), "block_mt"),
        (change(*ZONE, "block_lru", to=[0]), "block_lru"),
        (change(*ZONE, "block_lru", to=[9, 0, 0, 0, 0, 0, 0, 0]), "block_lru"),
        (change(*ZONE, "free_area", to=[]), "free_area"),
        (change(*AREA, to=None), "not an object"),
        (change(*AREA, "nr_free", to=5), "lists hold 3 blocks"),
        (change(*AREA, "lists", to=[]), "lists is not a list of 5"),
        (change(*AREA, "lists", 1, to=7), "is not a list"),
        (change(*AREA, "lists", 1, to=["9"]), "not the first PFN"),
        (change(*AREA, "lists", 1, to=[99]), "not the first PFN"),
        (change(*AREA, "lists", 1, to=[-1]), "not the first PFN"),
        (change(*AREA, "lists", 1, to=[9, 9]), "overlaps"),
        (change(*ZONE, "free_area", 1, "lists", 0, to=[41]), "not the first PFN"),
        (change(*ZONE, "free_area", 1, "lists", 0, to=[40, 8]), "overlaps"),
        (change(*ZONE, "pcp", to=1), "pcp is not a list"),
        (change(*PCP, to=1), "pcp is not an object"),
        (change(*PCP, "cpu", to=2), "cpu"),
        (change(*PCP, "count", to=1), "count is 1 but its lists hold 2"),
        (change(*PCP, "batch", to="2"), "batch"),
        (change(*PCP, "free_diff", to=200), "free_diff"),
        (change(*PCP, "stat_threshold", to=-1), "stat_threshold"),
        (change(*PCP, "lists", to=[]), "lists is not a list of 12"),
        (change(*PCP, "lists", 0, to=None), "lists"),
        (change(*PCP, "lists", 1, to=[12, 12]), "overlaps"),
    ],
)
def test_impossible_snapshots(edit: Callable[[State], None], message: str) -> None:
    """InputError says what is wrong with the snapshot."""
    state = copy.deepcopy(json.loads(json.dumps(system().snapshot())))
    edit(state)
    with pytest.raises(InputError, match=message) as caught:
        System.restore(state)
    assert caught.value.fault == "input"


@pytest.mark.parametrize("state", [None, 5, [], "x"])
def test_not_even_an_object(state: Any) -> None:
    """InputError."""
    with pytest.raises(InputError, match="not an object"):
        System.restore(state)


def test_unknown_variant_and_bad_config() -> None:
    """UnknownVariant and ConfigError keep their own kinds."""
    state = system().snapshot()
    with pytest.raises(UnknownVariant):
        System.restore({**state, "variant": "plan9"})
    with pytest.raises(ConfigError):
        System.restore({**state, "config": {"zones": []}})


def test_short_lowmem_reserve() -> None:
    """InputError at once, not a broken machine."""
    state = system().snapshot()
    state["zones"][0]["lowmem_reserve"] = []
    with pytest.raises(InputError):
        System.restore(state)


def test_lru_counts_are_limited() -> None:
    """A pageblock has no more movable pages than pages; every state that can be reached can be restored."""
    found = machine("alloc: 0/3")
    found.lru_add(0, 3)
    with pytest.raises(BadArgument):
        found.lru_add(0, 3)
    assert System.restore(found.snapshot()).digest() == found.digest()


def test_helpers_read_what_they_draw() -> None:
    """The drawings of these tests: an unreadable one is refused, so that no test passes for a typing error."""
    for wrong in ("order 0 M[1]", "order 0: X[1]", "order 0: M[1", "zone 0: M[1]"):
        with pytest.raises(AssertionError):
            fill(machine(), wrong)
    with pytest.raises(AssertionError):
        assert_zone(machine("order 0: M[1]"), "order 0: M[2]")


def test_clone() -> None:
    """snapshot.clone(): the same state, and a life of its own."""
    first = system()
    second = System(snapshot.clone(first.kernel), first.variant)
    assert second.digest() == first.digest()
    assert second.kernel.pageblock_flags == first.kernel.pageblock_flags
    before = first.digest()
    second.free_pages(0)
    second.free_pages(16)
    second.kernel.nr_movable.clear()
    second.zones[0].watermark[0] = 1
    second.zones[0].lowmem_reserve[0] = 1
    assert first.digest() == before != second.digest()
    with_cma = System.boot(Config.small(64, cma=((16, 16),)))
    assert System(snapshot.clone(with_cma.kernel), with_cma.variant).digest() == with_cma.digest()


def test_cma_by_unisolation() -> None:
    """No CMA block on a machine whose snapshots have no CMA lists."""
    found = machine("order 0: I[9] \n blocks: MIMMMMMM")
    with pytest.raises(BadArgument):
        found.unisolate_pageblock(9, gfp.MIGRATE_CMA)


@pytest.mark.parametrize("cpus", [[0], [0, 0], [0, 1, 1]])
def test_every_cpu_once(cpus: list[int]) -> None:
    """InputError if the page lists are not those of the machine's CPUs."""
    state = json.loads(json.dumps(machine("pcp0 o0: M[1]", nr_cpus=2).snapshot()))
    pcps = state["zones"][0]["pcp"]
    pcps[:] = [copy.deepcopy(pcps[cpu]) for cpu in cpus]
    for extra in pcps[1:]:
        extra["lists"], extra["count"] = [[] for _ in extra["lists"]], 0
    with pytest.raises(InputError):
        System.restore(state)


# --- what only some variants have --------------------------------------------------------------

OWNED = """
order 0: M[9]
pcp0 o0: M[1* 3]
pcp1 o1: M[18* 12]
zllist: 60/0
llist1: 16/0
owners: 011.....
owned0: 0
owned1: 8
alloc: 0/0 24/2 40/3
"""


def owned(variant: str = "llist", text: str = OWNED) -> dict[str, Any]:
    """A snapshot with everything that only some variants have, as a file would hold it."""
    system = machine(text, nr_cpus=2, variant=variant)
    system.validate()
    state: dict[str, Any] = json.loads(json.dumps(system.snapshot()))
    return state


def test_what_only_some_variants_have_comes_back() -> None:
    state = owned()
    assert System.restore(state).digest() == snapshot.digest(state)
    by_type = owned("rfc+owned-per-type", "order 0: M[9] \n owners: .0...... \n owned0 M: 8 \n alloc: 8/0")
    assert System.restore(by_type).digest() == snapshot.digest(by_type)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("pageblock_cpu", None, "is not a list"),
        ("pageblock_cpu", 0, "is not a list"),
        ("pageblock_cpu", [[0]], "is not a list of 2"),
        ("pageblock_cpu", [[0, 3]], "not a whole number from 1 to 2"),
        ("pageblock_cpu", [[4, 1]], "not the first PFN of a pageblock"),
        ("pageblock_cpu", [[1 << 40, 1]], "not the first PFN of a pageblock"),
        ("pageblock_cpu", [], "marks: "),
        ("pcp_buddy", [5], "on no per-CPU list"),
        ("pcp_buddy", ["1"], "not a whole number"),
        ("owned_blocks", [[0]], "is not a list of 2"),
        ("owned_blocks", [[0], [0]], "listed twice"),
        ("owned_blocks", [[8], [0]], "owned_blocks: "),
        ("owned_blocks", None, "is not a list"),
        ("owned_blocks_by_type", [[[], [0], []], [[], [], []]], "has no owned_blocks_by_type"),
        ("free_llist", [[], [[16, 0], [16, 0]]], "overlaps"),
        ("free_llist", [[], [[16, 99]]], "not a whole number"),
        ("trylock_free_pages", [[9, 0]], "overlaps"),
        ("isolated", [[56, 1]], "is not of type"),
    ],
)
def test_a_wrong_value_of_such_a_key_is_refused(key: str, value: object, message: str) -> None:
    state = owned()
    state["zones"][0][key] = value
    with pytest.raises(InputError, match=message):
        System.restore(state)


@pytest.mark.parametrize(
    ("variant", "keys"),
    [
        ("linux-6.12", ("isolated", "trylock_free_pages", "pageblock_cpu", "owned_blocks", "free_llist")),
        ("linux-7.0", ("pageblock_cpu", "owned_blocks", "free_llist")),
        ("rfc", ("free_llist",)),
        ("rfc+owned-per-type", ("owned_blocks", "free_llist")),
    ],
)
def test_a_variant_without_the_code_for_it_refuses_it(variant: str, keys: tuple[str, ...]) -> None:
    """Else the pages would be lost for ever, or an invariant would fail later that no program can break."""
    empty = machine(nr_cpus=2, variant=variant).snapshot()
    values = owned()["zones"][0]
    for key in keys:
        state = json.loads(json.dumps(empty))
        state["zones"][0][key] = values.get(key) or [[8, 1]]
        with pytest.raises(InputError, match=f"this variant has no {key}"):
            System.restore(state)


@pytest.mark.parametrize("stored", [4, 5, -1])
def test_an_isolated_block_has_a_type_to_come_back_to(stored: int) -> None:
    system = machine("order 0: M[9]", variant="linux-7.0")
    assert system.isolate_pageblock(8)
    state = json.loads(json.dumps(system.snapshot()))
    assert System.restore(state).digest() == snapshot.digest(state)
    state["zones"][0]["isolated"] = [[8, stored]]
    with pytest.raises(InputError, match="isolated"):
        System.restore(state)
    del state["zones"][0]["isolated"]
    with pytest.raises(InputError, match="isolated does not say what type it had"):
        System.restore(state)


def test_a_block_of_two_zones_has_no_owner() -> None:
    zones = (small_zone(gfp.ZONE_DMA, 0, 12), small_zone(gfp.ZONE_DMA32, 12, 20))
    state = json.loads(json.dumps(System.boot(config(zones=zones), variant="rfc").snapshot()))
    state["zones"][0]["pageblock_cpu"] = [[8, 1]]
    with pytest.raises(InputError, match="wholly in the zone"):
        System.restore(state)


@pytest.mark.parametrize(("offline", "message"), [([0, 1], "no CPU is left"), ([1, 1], "twice"), ([2], "offline")])
def test_some_cpu_is_online(offline: list[int], message: str) -> None:
    state = machine(nr_cpus=2).snapshot() | {"offline": offline}
    with pytest.raises(InputError, match=message):
        System.restore(state)
