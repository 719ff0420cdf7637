# SPDX-License-Identifier: GPL-2.0-only
"""Each invariant is broken on purpose, and fails by its name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pageblock_buddy import ModelBug, System, ZoneConfig, gfp, invariants
from pageblock_buddy.mm.page import PG_ALLOCATED, PG_BUDDY, PG_LLIST, PG_PCP, PG_PCP_BUDDY
from tests.helpers import M, U, config, fill, machine, pcp_of, small_zone

TEXT = """
order 0: M[9 50] C[56] H[32]
order 1: M[4] I[40]
order 2: U[16]
pcp0 o0: M[1 3]
pcp1 o1: M[12]
blocks: MMUMHIMC
alloc: 0/0 24/3
"""

Break = Callable[[System], None]


def sound() -> System:
    """A machine in which everything holds."""
    system = machine(TEXT, nr_cpus=2)
    system.validate()
    return system


def mark(pfn: int, state: int) -> Break:
    """Overwrite a page's state."""

    def apply(system: System) -> None:
        system.kernel.mem_map[pfn] = state

    return apply


def attribute(name: str, value: int) -> Break:
    """Overwrite a field of the zone."""

    def apply(system: System) -> None:
        setattr(system.zones[0], name, value)

    return apply


def pcp_field(name: str, value: int) -> Break:
    """Overwrite a field of CPU 0's pageset."""

    def apply(system: System) -> None:
        setattr(pcp_of(system), name, value)

    return apply


def nr_free(system: System) -> None:
    system.zones[0].free_area[0].nr_free += 1


def misaligned(system: System) -> None:
    area = system.zones[0].free_area[1]
    area.free_list[M].list_add(21)
    area.nr_free += 1
    system.kernel.mem_map[21] = PG_BUDDY | 1


def block_type(system: System) -> None:
    system.kernel.pageblock_flags[1] = U


def other_list(system: System) -> None:
    lists = system.zones[0].free_area[2].free_list
    lists[U].list_del(16)
    lists[M].list_add(16)


def lost_from_a_list(system: System) -> None:
    system.zones[0].free_area[0].free_list[M].list_del(9)
    system.zones[0].free_area[0].nr_free -= 1


def lost_from_a_pcp_list(system: System) -> None:
    pcp_of(system).lists[1].list_del(3)
    pcp_of(system).count -= 1


def unmerged(system: System) -> None:
    fill(system, "order 0: M[8]")


def diff(system: System) -> None:
    system.zones[0].per_cpu_zonestats[1].nr_free_pages_diff += 1


def zone_lock(system: System) -> None:
    system.zones[0].lock.lock()


def pcp_lock(system: System) -> None:
    with system.on_cpu(1):
        assert pcp_of(system, 1).lock.trylock()


BREAKS: list[tuple[Break, str]] = [
    (nr_free, "free_lists"),
    (mark(9, PG_BUDDY | 1), "free_lists"),  # marked with another order
    (mark(9, 0), "free_lists"),
    (misaligned, "free_lists"),
    (block_type, "list_types"),
    (other_list, "list_types"),
    (pcp_field("count", 3), "pcp_lists"),
    (mark(3, PG_PCP | 1), "pcp_lists"),
    (mark(3, PG_ALLOCATED), "pcp_lists"),
    (lost_from_a_list, "place"),  # marked as free, but on no list
    (lost_from_a_pcp_list, "place"),
    (mark(60, PG_BUDDY), "place"),
    (mark(60, PG_PCP | 2), "place"),
    (mark(25, PG_ALLOCATED), "place"),  # inside the allocation 24..31
    (mark(2, PG_ALLOCATED | 1), "place"),  # reaches over page 3
    (unmerged, "merged"),
    (attribute("nr_free_pages", 0), "counters"),
    (diff, "counters"),
    (attribute("nr_free_highatomic", 0), "counters"),
    (attribute("nr_free_cma", 7), "counters"),
    (pcp_field("alloc_factor", 6), "pcp_limits"),
    (pcp_field("alloc_factor", -1), "pcp_limits"),
    (pcp_field("free_count", 1 << 15), "pcp_limits"),
    (pcp_field("free_count", -1), "pcp_limits"),
    (zone_lock, "locks"),
    (pcp_lock, "locks"),
]


OWNED_TEXT = """
order 0: M[9 50]
order 2: M[28]
pcp0 o0: M[1* 3 22]
pcp1 o1: M[18* 12]
zllist: 60/0
llist1: 16/0
blocks: MMMMMMMM
owners: 01101...
owned0: 0
owned1: 8
alloc: 0/0 24/2 40/3
"""


def owned() -> System:
    """A machine with owners in which everything holds; CPU 2 is offline."""
    system = machine(OWNED_TEXT, nr_cpus=3, variant="llist")
    system.offline_cpu(2)
    system.validate()
    return system


def tag(block: int, value: int) -> Break:
    """Overwrite a pageblock's owner."""

    def apply(system: System) -> None:
        system.kernel.pageblock_cpu[block] = value

    return apply


def linkage(block: int, value: int) -> Break:
    """Overwrite a pageblock's cpu_node."""

    def apply(system: System) -> None:
        system.kernel.pageblock_cpu_node[block] = value

    return apply


def listed(cpu: int, pfn: int) -> Break:
    """Put a pageblock on a list without linking it."""

    def apply(system: System) -> None:
        pcp_of(system, cpu).owned_blocks.list_add(pfn)

    return apply


def too_large(system: System) -> None:
    pcp = pcp_of(system)
    pcp.lists[3 * 3 + M].list_add(4)  # an order-3 chunk has to start at a multiple of 8
    system.kernel.mem_map[4] = PG_PCP_BUDDY | 3
    pcp.count += 8


def stranded(system: System) -> None:
    system.kernel.mem_map[62] = PG_LLIST
    pcp_of(system, 2).free_llist.llist_add(62, 0)


def lost_from_an_llist(system: System) -> None:
    system.zones[0].trylock_free_pages.llist_del_all()


def on_two_cpus(system: System) -> None:
    pcp_of(system, 1).lists[1].list_add(3)
    pcp_of(system, 1).count += 1


def on_two_llists(system: System) -> None:
    pcp_of(system, 0).free_llist.llist_add(16, 0)


def other_order_on_an_llist(system: System) -> None:
    pcp_of(system, 1).free_llist.llist_del_all()
    pcp_of(system, 1).free_llist.llist_add(16, 1)


OWNED_BREAKS: list[tuple[Break, str]] = [
    (on_two_cpus, "place"),
    (on_two_llists, "place"),
    (other_order_on_an_llist, "place"),
    (mark(22, PG_PCP_BUDDY), "marks"),  # on CPU 0's list, of a block of CPU 1
    (tag(0, 2), "marks"),
    (tag(2, 0), "marks"),
    (too_large, "marks"),
    (tag(1, 0), "owned_blocks"),
    (tag(1, 1), "owned_blocks"),
    (linkage(1, 0), "owned_blocks"),
    (linkage(4, 1), "owned_blocks"),
    (listed(1, 16), "owned_blocks"),
    (listed(1, 0), "owned_blocks"),
    (tag(6, 3), "dead_cpus"),
    (stranded, "dead_cpus"),
    (lost_from_an_llist, "place"),
    (mark(61, PG_LLIST), "place"),
]


@pytest.mark.parametrize(("broken", "invariant"), OWNED_BREAKS)
def test_broken_with_owners(broken: Break, invariant: str) -> None:
    """The invariants of the variants with owners, each under its own name."""
    system = owned()
    broken(system)
    with pytest.raises(ModelBug, match=f"^{invariant}: "):
        invariants.INVARIANTS[invariant](system.kernel)
    with pytest.raises(ModelBug):
        system.validate()


def test_a_lost_page_is_found() -> None:
    """An allocation that vanishes breaks no rule of place: only the sum tells."""
    system = owned()
    system.kernel.mem_map[40] = 0
    invariants.validate(system.kernel)
    with pytest.raises(ModelBug, match=r"^total: "):
        system.validate()


@pytest.mark.parametrize(("broken", "invariant"), BREAKS)
def test_broken(broken: Break, invariant: str) -> None:
    """The invariant fails under its own name, alone and among all."""
    system = sound()
    broken(system)
    with pytest.raises(ModelBug, match=f"^{invariant}: ") as caught:
        invariants.INVARIANTS[invariant](system.kernel)
    assert caught.value.details["invariant"] == invariant
    assert caught.value.fault == "model"
    with pytest.raises(ModelBug):
        system.validate()


def test_every_invariant_is_broken_here() -> None:
    """And the table holds each validate_* of the module."""
    assert {invariant for _, invariant in BREAKS + OWNED_BREAKS} == set(invariants.INVARIANTS)
    assert {f"validate_{name}" for name in invariants.INVARIANTS} == {
        name for name in dir(invariants) if name.startswith("validate_")
    }


def test_what_is_allowed() -> None:
    """No false alarms: isolated pages do not count, unmerged buddies of a pageblock and more may stand side by side
    (their types may differ), a zone's end is no buddy."""
    system = machine("order 3: M[0] I[8] H[16 24] \n blocks: MIHHMMMM")
    system.validate()
    zones: tuple[ZoneConfig, ...] = (
        small_zone(gfp.ZONE_DMA, 0, 12, managed_pages=12, reserved=((0, 12),)),
        small_zone(gfp.ZONE_DMA32, 12, 20, managed_pages=20, reserved=((12, 20),)),
    )
    system = System.boot(config(zones=zones, vm_stat_threshold=0))
    fill(system, "order 2: M[8]")
    fill(system, "order 2: M[12]", system.zones[1])
    system.validate()
