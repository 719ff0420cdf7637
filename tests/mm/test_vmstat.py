# SPDX-License-Identifier: GPL-2.0-only
"""NR_FREE_PAGES and its per-CPU differences."""

from __future__ import annotations

import pytest

from pageblock_buddy import System, gfp
from pageblock_buddy.linux_6_12.buddy import free_one_page
from pageblock_buddy.mm import vmstat
from tests.helpers import assert_zone, config, fill, limits, machine, pcp_of, small_zone


def diff(system: System, cpu: int = 0) -> int:
    """A CPU's unfolded difference in the first zone."""
    return system.zones[0].per_cpu_zonestats[cpu].nr_free_pages_diff


@pytest.mark.parametrize(
    ("before", "delta", "counter", "after"),
    [
        (0, 10, 0, 10),  # at the threshold it stays
        (0, 11, 11, 0),  # above it all of it goes
        (0, -10, 0, -10),
        (0, -11, -11, 0),
        (-9, 18, 0, 9),  # a large change may stay
        (9, 2, 11, 0),
        (5, 0, 0, 5),
    ],
)
def test_folding(before: int, delta: int, counter: int, after: int) -> None:
    """LPA-14.0.2, LPA-2.0.12: threshold 10."""
    system = machine(vm_stat_threshold=10)
    zone = system.zones[0]
    zone.per_cpu_zonestats[0].nr_free_pages_diff = before
    vmstat.mod_zone_free_pages(system.kernel, zone, delta)
    assert (zone.nr_free_pages, diff(system)) == (counter, after)
    assert vmstat.zone_free_pages_exact(zone) == before + delta


def test_a_big_delta_does_not_always_fold() -> None:
    """LPA-14.0.2: the example of the rule: diff -100 + 128 = 28 stays, at the largest threshold, 125."""
    system = machine(vm_stat_threshold=125)
    system.zones[0].per_cpu_zonestats[0].nr_free_pages_diff = -100
    vmstat.mod_zone_free_pages(system.kernel, system.zones[0], 128)
    assert (system.zones[0].nr_free_pages, diff(system)) == (0, 28)


def test_each_cpu_has_its_own_diff() -> None:
    """LPA-14.0.2: the running CPU's."""
    system = machine(vm_stat_threshold=10, nr_cpus=2)
    vmstat.mod_zone_free_pages(system.kernel, system.zones[0], 7)
    with system.on_cpu(1):
        vmstat.mod_zone_free_pages(system.kernel, system.zones[0], 8)
    assert (diff(system), diff(system, 1)) == (7, 8)
    assert vmstat.zone_free_pages(system.zones[0]) == 0
    assert vmstat.zone_free_pages_exact(system.zones[0]) == 15


def test_a_negative_counter_reads_as_0() -> None:
    """LPA-14.0.5, LPA-11.2.12: zone_page_state() never shows a negative number."""
    zone = machine().zones[0]
    for value, seen in ((-5, 0), (0, 0), (5, 5)):
        zone.nr_free_pages = value
        assert vmstat.zone_free_pages(zone) == seen


@pytest.mark.parametrize(
    ("cpus", "managed", "threshold"),
    [
        (1, 64, 2),  # 2 * 1 * (1 + 0)
        (2, 64, 4),
        (3, 64, 4),
        (4, 64, 6),
        (1, 1 << 15, 4),  # 128 MiB: 1 + fls(1)
        (2, 772917, 24),  # fls(2) = 2; 23 units: 1 + 5
        (64, 1 << 20, 98),  # 2 * 7 * (1 + 6)
        (256, 1 << 25, 125),  # 2 * 9 * 12 = 216
    ],
)
def test_threshold(cpus: int, managed: int, threshold: int) -> None:
    """LPA-14.0.3."""
    system = machine(nr_cpus=cpus, managed_pages=managed, vm_stat_threshold=None)
    assert {stat.stat_threshold for stat in system.zones[0].per_cpu_zonestats} == {threshold}


def test_configured_threshold() -> None:
    """Config.vm_stat_threshold overrides the formula."""
    assert machine(vm_stat_threshold=7).zones[0].per_cpu_zonestats[0].stat_threshold == 7


@pytest.mark.parametrize(("cpus", "mark"), [(5, 0), (6, 40 + 60)])
def test_drift_mark(cpus: int, mark: int) -> None:
    """LPA-14.0.15: where all CPUs together may be off by more than low - min (50 here), the zone remembers high +
    that drift."""
    system = machine(nr_cpus=cpus, vm_stat_threshold=10, watermark=(10, 60, 40, 70))
    assert system.zones[0].percpu_drift_mark == mark


def test_quiet_vmstat_folds() -> None:
    """LPA-14.0.4: the running CPU's diffs of all zones; lists are left alone without ``pagesets``."""
    zones = (
        small_zone(gfp.ZONE_DMA, 0, 16, managed_pages=16, reserved=((0, 16),)),
        small_zone(gfp.ZONE_DMA32, 16, 16, managed_pages=16, reserved=((16, 16),)),
    )
    system = System.boot(config(zones=zones, vm_stat_threshold=10, nr_cpus=2))
    fill(system, "pcp0 o0: M[1]")
    for zone in system.zones:
        for stat, value in zip(zone.per_cpu_zonestats, (3, -4), strict=True):
            stat.nr_free_pages_diff = value
    limits(pcp_of(system), high=100)
    system.refresh_vm_stats()
    assert [zone.nr_free_pages for zone in system.zones] == [3, 3]
    assert (diff(system), diff(system, 1)) == (0, -4)
    assert pcp_of(system).high == 100
    with system.on_cpu(1):
        system.refresh_vm_stats(pagesets=True)
    assert [zone.nr_free_pages for zone in system.zones] == [-1, -1]
    assert pcp_of(system).high == 100


def test_the_vmstat_worker_decays() -> None:
    """LPA-8.8.1: with page lists: pcp->high of every zone of this CPU."""
    system = machine("pcp0 o0: M[1]", nr_cpus=2, high_max=200)
    for cpu in (0, 1):
        limits(pcp_of(system, cpu), high=80)
    system.refresh_vm_stats(pagesets=True)
    assert (pcp_of(system).high, pcp_of(system, 1).high) == (70, 80)
    assert_zone(system, "pcp0 o0: M[1]")


# --- remote nodes ------------------------------------------------------------------------------


def remote() -> System:
    """CPU 0 on node 0 with pages of node 1's zone on its lists."""
    zones = (
        small_zone(gfp.ZONE_DMA32, 0, 16, managed_pages=16, reserved=((0, 16),), high_min=64, high_max=64),
        small_zone(gfp.ZONE_DMA32, 16, 16, node=1, managed_pages=16, reserved=((16, 16),), high_min=64, high_max=64),
    )
    system = System.boot(config(zones=zones, vm_stat_threshold=10))
    fill(system, "pcp0 o0: M[1 3 5]", system.zones[0])
    fill(system, "pcp0 o0: M[17 19 21 23] \n alloc: 24/3", system.zones[1])
    for zone in system.zones:
        limits(pcp_of(system, 0, zone), high=64)  # in use: else the decay would flush down to 0
    return system


def test_idle_remote_lists_are_drained() -> None:
    """LPA-8.8.5: a round with changes of the remote zone arms the counter (3) and counts it down to 2; two idle rounds
    later one batch (2) goes.  The counter is then 0: nothing more happens until there are changes again."""
    system = remote()
    near, far = system.zones
    near.per_cpu_zonestats[0].nr_free_pages_diff = far.per_cpu_zonestats[0].nr_free_pages_diff = 1
    near.nr_free_pages = far.nr_free_pages = -1  # the invariant: nothing is free
    expires, counts = [], []
    for _ in range(4):
        system.refresh_vm_stats(pagesets=True)
        expires.append(pcp_of(system, 0, far).expire)
        counts.append(pcp_of(system, 0, far).count)
    # the drain's own two pages are a change: armed again, 3 - 1
    assert (expires, counts) == ([2, 1, 0, 2], [4, 4, 2, 2])
    assert_zone(system, "pcp0 o0: M[1 3 5]", near)
    assert_zone(system, "order 0: M[21 23] \n pcp0 o0: M[17 19] \n alloc: 24/3", far)
    assert pcp_of(system, 0, near).expire == 0


def test_empty_remote_lists_do_not_count_down() -> None:
    """LPA-8.8.5: with no pages the counter stays where it is."""
    system = remote()
    far = system.zones[1]
    for pfn in list(pcp_of(system, 0, far).lists[1]):
        pcp_of(system, 0, far).lists[1].list_del(pfn)
        system.kernel.mem_map[pfn] = 0
    limits(pcp_of(system, 0, far), count=0, expire=2)
    system.refresh_vm_stats(pagesets=True)
    assert pcp_of(system, 0, far).expire == 2


def test_quiet_vmstat_arms_the_counter() -> None:
    """LPA-8.8.5: folding a remote zone's change restarts the three seconds, also from quiet_vmstat()."""
    system = remote()
    far = system.zones[1]
    far.per_cpu_zonestats[0].nr_free_pages_diff, far.nr_free_pages = 1, -1
    system.refresh_vm_stats()
    assert pcp_of(system, 0, far).expire == 3


def test_counted_by_the_running_cpu() -> None:
    """LPA-14.0.6, LPA-14.0.2: one change per free, on the CPU that frees."""
    system = machine("alloc: 8/2", vm_stat_threshold=4, nr_cpus=2)
    with system.on_cpu(1):
        system.kernel.mem_map[8] = 0
        free_one_page(system.kernel, system.zones[0], 8, 2, gfp.FPI_NONE)
    assert (system.zones[0].nr_free_pages, diff(system), diff(system, 1)) == (0, 0, 4)
