# SPDX-License-Identifier: GPL-2.0-only
"""Points: every access of a racy field is one, and what a lock guards is guarded."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from pageblock_buddy import Config, InputError, System, gfp
from pageblock_buddy.errors import GuardViolation
from pageblock_buddy.interleave.checks.invariants import observing
from pageblock_buddy.interleave.engine import CHOICE, Engine
from pageblock_buddy.interleave.kinds import KIND_NAMES
from pageblock_buddy.interleave.locks import PointSpinlock
from pageblock_buddy.interleave.points import FREE_LISTS, OWNERS
from pageblock_buddy.interleave.process import Running
from pageblock_buddy.interleave.program import Alloc, Free, Offline, Online, SetUp
from pageblock_buddy.machine.cpu import Machine
from pageblock_buddy.machine.guards import PCP_LOCK, ZONE_LOCK, Guard, Kind
from pageblock_buddy.machine.lists import ListHead
from pageblock_buddy.machine.llist import LlistHead
from pageblock_buddy.machine.spinlock import Spinlock
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import FreeArea, PerCpuPages, PerCpuZonestat, Zone
from pageblock_buddy.mm.page import PG_ALLOCATED, PG_BUDDY, PG_NONE, PG_PCP
from pageblock_buddy.snapshot import digest, snapshot
from pageblock_buddy.variants import VARIANTS
from tests.interleave.carried import carrying, everything, giving_up, small, staying
from tests.interleave.tiny import tiny_program

STRUCTURES: dict[str, type[Any]] = {
    "Zone": Zone,
    "PerCpuPages": PerCpuPages,
    "PerCpuZonestat": PerCpuZonestat,
    "FreeArea": FreeArea,
    "Kernel": Kernel,
    "Machine": Machine,
}
#: Fields that hold lists or columns: they are used by their operations.
LISTS = ("FreeArea.free_list", "PerCpuPages.lists", "PerCpuPages.owned_blocks", "PerCpuPages.owned_blocks_by_type")
COLUMNS = ("Kernel.pageblock_cpu", "Kernel.pageblock_flags", "Machine.online")
HELD_COLUMNS = ("Kernel.pageblock_cpu_node", "Kernel.pageblock_nr_free")

Fields = list[tuple[str, Guard]]


def of_kind(*kinds: Kind, but: tuple[str, ...] = ()) -> Fields:
    """The annotated fields of these kinds."""
    found = [(f"{name}.{field}", guard) for name, s in STRUCTURES.items() for field, guard in s.GUARDS.items()]
    return [(field, guard) for field, guard in found if guard.kind in kinds and field not in but]


def ids(fields: Fields) -> list[str]:
    return [name for name, _ in fields]


class Probe(NamedTuple):
    """A machine whose points are only noted, with one process that touches it."""

    engine: Engine
    process: Running

    def points(self) -> list[str]:
        """What was noted, and nothing is then."""
        engine = self.engine
        found = [
            f"{KIND_NAMES[kind]} {engine.objects.names[oid]}"
            for kind, oid in zip(engine.ev_kind, engine.ev_oid, strict=True)
        ]
        engine._reset_events()
        engine.last_load = -1
        return found

    def structure(self, field: str) -> Any:
        """The instance that has a field."""
        kernel = self.engine.kernel
        zone = kernel.zones[0]
        return {
            "Zone": zone,
            "PerCpuPages": zone.per_cpu_pageset[0],
            "PerCpuZonestat": zone.per_cpu_zonestats[0],
            "FreeArea": zone.free_area[0],
            "Kernel": kernel,
            "Machine": kernel.machine,
        }[field.partition(".")[0]]

    def get(self, field: str) -> Any:
        return getattr(self.structure(field), field.partition(".")[2])

    def set(self, field: str, value: Any) -> None:
        setattr(self.structure(field), field.partition(".")[2], value)

    def hold(self, lock: str | None) -> None:
        """The process holds the lock of this class."""
        zone = self.engine.kernel.zones[0]
        found = {ZONE_LOCK: zone.lock, PCP_LOCK: zone.per_cpu_pageset[0].lock}[lock or ""]
        assert isinstance(found, PointSpinlock)
        found.holder = self.process
        found.owner = self.process.cpu
        self.process.held.append((found, False))


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Probe]]:
    with carrying() as carrier:

        def probe(variant: str = "rfc", **options: Any) -> Probe:
            program = small([Alloc("a")], [Alloc("b")], setup=[SetUp(0, Alloc("s"))])
            engine = everything(Engine(program, variant, carrier, **options))
            process = engine.processes[0]

            def note(running: Running, kind: int, oid: int) -> None:
                engine.ev_process.append(running.index)
                engine.ev_kind.append(kind)
                engine.ev_oid.append(oid)

            monkeypatch.setattr(engine, "point", note)
            engine.running = process
            engine.machine.cpu = 0
            return Probe(engine, process)

        yield probe


@pytest.fixture
def probe(make: Callable[..., Probe]) -> Probe:
    """With the loads of every field watched, and the guard check."""
    return make(guards=True)


# --- racy fields -------------------------------------------------------------------------------

RACY = of_kind(Kind.RACY, but=COLUMNS)
ATOMIC = of_kind(Kind.ATOMIC)
STORES_HELD = of_kind(Kind.STORES_HELD, but=(*LISTS, *COLUMNS))
HELD = of_kind(Kind.HELD, but=(*LISTS, *HELD_COLUMNS))
QUIET = of_kind(Kind.CONSTANT, Kind.OWN_CPU, Kind.COUNTER, but=("Machine.cpu", "Kernel.pcp_buddy"))


def test_no_field_is_forgotten_here() -> None:
    kinds = (*RACY, *ATOMIC, *STORES_HELD, *HELD, *QUIET, *of_kind(Kind.LLIST, Kind.PAGE_STATE))
    names = {*ids([*kinds]), *LISTS, *COLUMNS, *HELD_COLUMNS, "Machine.cpu", "Kernel.pcp_buddy"}
    assert names == {f"{name}.{field}" for name, s in STRUCTURES.items() for field in s.GUARDS}
    assert len(RACY) >= 8
    assert len(ATOMIC) == 2
    assert len(STORES_HELD) >= 5
    assert len(HELD) == 3


@pytest.mark.parametrize(("field", "guard"), RACY, ids=ids(RACY))
def test_load_and_store_of_a_racy_field(probe: Probe, field: str, guard: Guard) -> None:
    value = probe.get(field)
    (load,) = probe.points()
    assert load.startswith("load ")
    assert load.endswith(field.partition(".")[2])
    probe.set(field, value + 1)
    (store,) = probe.points()
    assert store == load.replace("load ", "store ")
    assert probe.get(field) == value + 1


@pytest.mark.parametrize(("field", "guard"), ATOMIC, ids=ids(ATOMIC))
def test_an_atomic_field(probe: Probe, field: str, guard: Guard) -> None:
    """x |= bit and x += n are one step; a load alone is a load."""
    name = {"Zone.flags": "zone->flags", "Zone.nr_free_pages": "zone->nr_free_pages"}[field]
    zone = probe.structure(field)
    value = probe.get(field)
    assert probe.points() == [f"load {name}"]
    if field == "Zone.flags":
        zone.flags |= 4
        assert probe.points() == [f"store {name}"]
        zone.flags &= ~4
    else:
        zone.nr_free_pages += 4
        assert probe.points() == [f"store {name}"]
        zone.nr_free_pages -= 4
    assert probe.points() == [f"store {name}"]
    assert probe.get(field) == value


@pytest.mark.parametrize(("field", "guard"), ATOMIC, ids=ids(ATOMIC))
def test_a_load_and_a_later_store_of_an_atomic_field_are_two_steps(probe: Probe, field: str, guard: Guard) -> None:
    value = probe.get(field)
    _ = probe.engine.kernel.zones[0].per_cpu_pageset[0].high  # something else between them
    probe.set(field, value)
    assert [point.split()[0] for point in probe.points()] == ["load", "load", "store"]


def test_a_read_modify_write_of_a_racy_field_is_two_steps(probe: Probe) -> None:
    probe.structure("PerCpuPages.high").high += 1
    assert probe.points() == ["load CPU 0 pcp->high", "store CPU 0 pcp->high"]


@pytest.mark.parametrize(("field", "guard"), STORES_HELD, ids=ids(STORES_HELD))
def test_a_field_that_is_stored_under_a_lock(probe: Probe, field: str, guard: Guard) -> None:
    value = probe.get(field)
    (load,) = probe.points()
    assert load.startswith("load ")
    with pytest.raises(GuardViolation, match=f"without .*{guard.lock}"):
        probe.set(field, value + 1)
    assert probe.points() == []
    probe.hold(guard.lock)
    assert probe.get(field) == value
    assert probe.points() == []  # ordered by the lock
    probe.set(field, value + 1)
    assert probe.points() == [load.replace("load ", "store ")]
    assert probe.get(field) == value + 1


@pytest.mark.parametrize("field", COLUMNS[:2])
def test_a_column_that_is_stored_under_a_lock(probe: Probe, field: str) -> None:
    column = probe.get(field)
    value = column[1]
    (load,) = probe.points()
    assert load.startswith("load ")
    assert load.endswith("of block 8")
    with pytest.raises(GuardViolation, match=ZONE_LOCK):
        column[1] = value
    probe.hold(ZONE_LOCK)
    assert column[1] == value
    assert probe.points() == []
    column[1] = 2
    assert probe.points() == [load.replace("load ", "store ")]
    assert column[1] == 2
    assert column[2] != 2 or value == 2


def test_the_mask_of_cpus_that_are_online(probe: Probe) -> None:
    online = probe.get("Machine.online")
    assert online[1] is True
    online[1] = False
    assert probe.points() == ["load cpu_online(1)", "store cpu_online(1)"]
    assert online[1] is False


def test_a_free_list(probe: Probe) -> None:
    """Whether it is empty may be asked without the lock; all lists of an order are one object."""
    area = probe.engine.kernel.zones[0].free_area[3]
    first, second = area.free_list[:2]
    first.list_empty()
    second.list_empty()
    _ = area.nr_free
    assert probe.points() == ["load free_area[3].free_list"] * 3
    changes: list[Callable[[], Any]] = [
        lambda: first.list_add(1),
        lambda: first.list_add_tail(2),
        lambda: first.list_move_tail(1),
        lambda: first.list_del(1),
        lambda: first.pop_first(),
        lambda: first.pop_last(),
    ]
    before = first.to_list()
    for change in changes:
        with pytest.raises(GuardViolation, match=ZONE_LOCK):
            change()
    assert first.to_list() == before
    probe.hold(ZONE_LOCK)
    first.list_add_tail(3)
    for change in changes:
        change()
    assert probe.points() == ["store free_area[3].free_list"] * 7
    first.list_empty()
    _ = area.nr_free
    area.nr_free = area.nr_free
    assert probe.points() == ["store free_area[3].free_list"]


@pytest.mark.parametrize(
    ("field", "name"),
    [("PerCpuPages.free_llist", "CPU 0 pcp->free_llist"), ("Zone.trylock_free_pages", "zone->trylock_free_pages")],
)
def test_an_llist(probe: Probe, field: str, name: str) -> None:
    llist = probe.get(field)
    assert probe.points() == []
    assert llist.llist_empty()
    assert probe.points() == [f"load {name}"]
    llist.llist_add(3, 1)
    assert probe.points() == [f"store {name}"]
    assert llist.llist_del_all() == [(3, 1)]
    assert probe.points() == [f"store {name}"]
    assert probe.process.in_hand == 2


def test_llists_are_covered() -> None:
    assert sorted(ids(of_kind(Kind.LLIST))) == ["PerCpuPages.free_llist", "Zone.trylock_free_pages"]


# --- the guard check ---------------------------------------------------------------------------


@pytest.mark.parametrize(("field", "guard"), HELD, ids=ids(HELD))
def test_a_held_field_without_its_lock(probe: Probe, field: str, guard: Guard) -> None:
    for access in (lambda: probe.get(field), lambda: probe.set(field, 1)):
        with pytest.raises(GuardViolation, match=f"CPU 0 task touches .*{field.partition('.')[2]} without"):
            access()
    probe.hold(guard.lock)
    probe.set(field, probe.get(field) + 1)
    assert probe.points() == []


@pytest.mark.parametrize("field", HELD_COLUMNS)
def test_a_held_column_without_its_lock(probe: Probe, field: str) -> None:
    column = probe.get(field)
    with pytest.raises(GuardViolation, match=ZONE_LOCK):
        _ = column[0]
    with pytest.raises(GuardViolation, match=ZONE_LOCK):
        column[0] = 1
    probe.hold(ZONE_LOCK)
    column[0] = column[0]
    assert probe.points() == []


@pytest.mark.parametrize("field", LISTS[1:])
def test_a_held_list_without_its_lock(probe: Probe, field: str) -> None:
    value = probe.get(field)
    one = value if isinstance(value, ListHead) else value[0]
    uses: list[Callable[[], Any]] = [
        lambda: one.list_add(1),
        lambda: one.list_add_tail(2),
        lambda: one.first_entry_or_null(),
        lambda: one.list_empty(),
        lambda: one.list_move_tail(1),
        lambda: one.list_del(1),
        lambda: one.pop_first(),
        lambda: one.pop_last(),
    ]
    for use in uses:
        with pytest.raises(GuardViolation):
            use()
    probe.hold(PCP_LOCK if field == "PerCpuPages.lists" else ZONE_LOCK)
    one.list_add(3)
    for use in uses:
        use()
    assert probe.points() == []


@pytest.mark.parametrize(("field", "guard"), [*HELD, *STORES_HELD], ids=ids([*HELD, *STORES_HELD]))
def test_another_lock_of_the_class_does_not_help(probe: Probe, field: str, guard: Guard) -> None:
    """CPU 1's pcp->lock guards nothing of CPU 0's; nor does a lock that another process holds."""
    value = 1
    zone = probe.engine.kernel.zones[0]
    lock = zone.per_cpu_pageset[1].lock if guard.lock == PCP_LOCK else zone.lock
    assert isinstance(lock, PointSpinlock)
    lock.holder = probe.process if guard.lock == PCP_LOCK else probe.engine.processes[1]
    with pytest.raises(GuardViolation):
        probe.set(field, value)


def states_of_pages(probe: Probe) -> bytearray:
    pages = probe.engine.kernel.mem_map
    assert isinstance(pages, bytearray)
    return pages


FREE = PG_BUDDY | 3
ON_PCP = PG_PCP
USED = PG_ALLOCATED


@pytest.mark.parametrize(
    ("old", "new", "lock"),
    [
        (PG_NONE, FREE, ZONE_LOCK),
        (FREE, PG_NONE, ZONE_LOCK),
        (PG_NONE, ON_PCP, PCP_LOCK),
        (ON_PCP, PG_NONE, PCP_LOCK),
    ],
)
def test_the_state_of_a_page(probe: Probe, old: int, new: int, lock: str) -> None:
    pages = states_of_pages(probe)
    bytearray.__setitem__(pages, 24, old)
    with pytest.raises(GuardViolation, match="pfn 24"):
        pages[24] = new
    assert pages[24] == old
    pages[24] = old  # no change
    probe.hold(lock)
    pages[24] = new
    assert pages[24] == new
    assert probe.points() == []


def test_a_page_of_its_user_needs_no_lock(probe: Probe) -> None:
    pages = states_of_pages(probe)
    bytearray.__setitem__(pages, 24, PG_NONE)
    pages[24] = USED
    pages[24] = PG_NONE
    bytearray.__setitem__(pages, 24, ON_PCP)
    pages[24] = USED  # up to 7.0 an allocation marks the page when it is on no list any more
    assert probe.points() == []


def test_a_page_does_not_go_from_list_to_list_in_one_step(probe: Probe) -> None:
    probe.hold(ZONE_LOCK)
    probe.hold(PCP_LOCK)
    pages = states_of_pages(probe)
    bytearray.__setitem__(pages, 24, FREE)
    with pytest.raises(GuardViolation, match="in one step"):
        pages[24] = ON_PCP


# --- what makes no point -----------------------------------------------------------------------


@pytest.mark.parametrize(("field", "guard"), QUIET, ids=ids(QUIET))
def test_no_point_for_what_nobody_races_for(probe: Probe, field: str, guard: Guard) -> None:
    value = probe.get(field)
    if guard.kind is not Kind.CONSTANT:
        probe.set(field, value)
    assert probe.points() == []


def test_the_number_of_the_cpu_is_no_point_without_migrations(probe: Probe) -> None:
    assert probe.get("Machine.cpu") == 0
    assert probe.points() == []


def test_nobody_looks_on_behalf_of_a_check(probe: Probe) -> None:
    engine, zone = probe.engine, probe.engine.kernel.zones[0]
    users = engine.users[:]
    with observing(engine):
        for field, _ in (*RACY, *ATOMIC, *STORES_HELD, *HELD):
            probe.get(field)
        zone.free_area[0].free_list[0].list_empty()
        zone.trylock_free_pages.llist_empty()
        _ = engine.kernel.pageblock_cpu[0], engine.kernel.pageblock_flags[0], engine.machine.online[0]
    assert probe.points() == []
    assert engine.users == users


def test_only_choices_are_points(probe: Probe) -> None:
    probe.engine.visible[:] = bytes(len(probe.engine.visible))
    for field, _ in (*RACY, *ATOMIC):
        probe.set(field, probe.get(field))
    assert probe.points() == []
    names = probe.engine.objects.names
    probe.engine.visible[names.index("CPU 0 pcp->high")] = CHOICE
    pageset = probe.engine.kernel.zones[0].per_cpu_pageset
    pageset[0].high = pageset[1].high = 5
    assert probe.points() == ["store CPU 0 pcp->high"]


def test_loads_report_once_they_are_watched(make: Callable[..., Probe]) -> None:
    """Stores always do; and say which loads are missing."""
    plain, watched = make(), make(watch=("PerCpuPages.high", FREE_LISTS, "Kernel.pageblock_flags"))
    for probe, loads in ((plain, 0), (watched, 1)):
        kernel = probe.engine.kernel
        pcp = kernel.zones[0].per_cpu_pageset[0]
        _ = pcp.high
        assert len(probe.points()) == loads
        assert not probe.engine.missing
        pcp.high = 5
        assert probe.points() == ["store CPU 0 pcp->high"]
        assert probe.engine.missing == (set() if loads else {"PerCpuPages.high"})
        _ = kernel.pageblock_flags[0]
        assert len(probe.points()) == loads


def test_owners_are_watched_where_there_are_any(make: Callable[..., Probe]) -> None:
    assert OWNERS in make("rfc").engine.watch
    assert OWNERS in make("llist").engine.watch
    assert OWNERS not in make("linux-6.12").engine.watch


def test_who_uses_what_is_noted(probe: Probe) -> None:
    engine = probe.engine
    oid = engine.objects.names.index("CPU 0 pcp->high")
    engine.users[oid] = engine.writers[oid] = 0
    _ = engine.kernel.zones[0].per_cpu_pageset[0].high
    assert (engine.users[oid], engine.writers[oid]) == (1, 0)
    engine.running = engine.processes[1]
    engine.kernel.zones[0].per_cpu_pageset[0].high = 3
    assert (engine.users[oid], engine.writers[oid]) == (3, 2)


# --- nothing of it on a machine without an interleaver -----------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_system_is_not_instrumented(variant: str, make: Callable[..., Probe]) -> None:
    probe = make(variant, guards=True)
    probe.get("PerCpuPages.high")
    kernel = System.boot(Config.small(nr_cpus=2), variant=variant).kernel
    assert type(kernel) is Kernel
    assert type(kernel.machine) is Machine
    assert type(kernel.machine.online) is list
    assert (type(kernel.pageblock_cpu), type(kernel.pageblock_flags)) == (array, bytearray)
    assert (type(kernel.pageblock_cpu_node), type(kernel.pageblock_nr_free)) == (array, array)
    assert type(kernel.mem_map) is bytearray
    for zone in kernel.zones:
        assert (type(zone), type(zone.lock), type(zone.trylock_free_pages)) == (Zone, Spinlock, LlistHead)
        for area in zone.free_area:
            assert type(area) is FreeArea
            assert {type(one) for one in area.free_list} == {ListHead}
        for pcp in zone.per_cpu_pageset:
            assert (type(pcp), type(pcp.lock), type(pcp.free_llist)) == (PerCpuPages, Spinlock, LlistHead)
            assert {type(one) for one in (*pcp.lists, pcp.owned_blocks, *pcp.owned_blocks_by_type)} == {ListHead}
        assert {type(stat) for stat in zone.per_cpu_zonestats} == {PerCpuZonestat}
    for name, structure in STRUCTURES.items():
        for field in structure.__slots__:
            assert type(structure.__dict__[field]).__name__ == "member_descriptor", f"{name}.{field}"


def test_two_engines_do_not_share_points(make: Callable[..., Probe]) -> None:
    first, second = make(guards=True), make(guards=True)
    _ = second.get("PerCpuPages.high")
    assert first.points() == []
    assert second.points() == ["load CPU 0 pcp->high"]


# --- the image ---------------------------------------------------------------------------------


def state_of(engine: Engine) -> str:
    """The digest of the machine's snapshot."""
    with observing(engine):
        return digest(snapshot(engine.kernel, engine.variant.name))


@pytest.mark.parametrize("variant", ["linux-6.12", "linux-7.0", "rfc", "rfc-trylock", "llist"])
@pytest.mark.parametrize("guards", [False, True])
def test_restore_gives_the_image_back(variant: str, guards: bool) -> None:
    """After whole and after half runs of arbitrary programs."""
    changed = 0
    with carrying() as carrier:
        for seed in range(12):
            program = tiny_program(seed)
            try:
                engine = everything(Engine(program, variant, carrier, guards=guards))
            except InputError:  # an operation that the variant has not
                continue
            image, key = state_of(engine), engine.keys.state()
            for strategy in (staying(), giving_up(5 + seed), staying()):
                engine.run(strategy)
                changed += state_of(engine) != image
                engine.image.restore()
                assert state_of(engine) == image
                assert engine.keys.state() == key
    assert changed > 20


def test_restore_after_hotplug() -> None:
    program = small([Offline(1), Alloc("a")], [Alloc("b")], [Online(1)], setup=[SetUp(1, Alloc("s"))])
    with carrying() as carrier:
        engine = everything(Engine(program, "rfc", carrier))
        image = state_of(engine)
        for _ in range(2):
            engine.run(staying())
            assert state_of(engine) != image
            engine.image.restore()
            assert state_of(engine) == image


def test_the_image_has_references_of_pages() -> None:
    program = small(
        [Free("s"), Alloc("a", 1, gfp.GFP_KERNEL | gfp.GFP_COMP)],
        [Alloc("b")],
        setup=[SetUp(0, Alloc("s", 1, gfp.GFP_KERNEL | gfp.GFP_COMP))],
    )
    with carrying() as carrier:
        engine = Engine(program, "linux-6.12", carrier)
        image = state_of(engine)
        engine.run(staying())
        assert state_of(engine) != image
        engine.image.restore()
        assert state_of(engine) == image
