# SPDX-License-Identifier: GPL-2.0-only
"""Each workload shows what it is for, on a tiny machine, and gives the same every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pageblock_buddy import InputError, gfp
from pageblock_buddy.workload import WORKLOADS, RunResult, get_workload, run_workload
from tests.workload.tiny import TINY, run_tiny

#: prints digest and JSON of every workload
PROGRAM = """
import json
from tests.workload.tiny import TINY, run_tiny
for name in TINY:
    result = run_tiny(name, "llist+want-block", memory="48")
    print(result.system.digest(), json.dumps(result.to_dict()))
"""


def shares(result: RunResult) -> dict[str, float]:
    """The phases' shares in what refills brought."""
    return result.account.refills.phase_shares()


def printed(hash_seed: str) -> str:
    """What PROGRAM prints under a hash seed."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def test_every_workload_has_a_tiny_machine() -> None:
    assert list(TINY) == list(WORKLOADS)


def test_the_same_every_time() -> None:
    """The same bytes twice, in another process and under another hash seed."""
    here = []
    for name in TINY:
        result = run_tiny(name, "llist+want-block", memory="48")
        here.append(f"{result.system.digest()} {json.dumps(result.to_dict())}")
    assert printed("7").splitlines() == here


def test_another_seed_gives_another_run() -> None:
    first, second = (run_tiny("purger", "rfc", memory="64", seed=seed) for seed in ("1", "2"))
    assert first.system.digest() != second.system.digest()


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("variant", ["linux-6.12", "llist+want-block", "chunks"])
def test_no_invariant_breaks_and_no_allocation_fails(name: str, variant: str) -> None:
    result = run_tiny(name, variant)
    result.system.validate()
    assert result.failed_allocations == 0
    assert result.account.pages_allocated > 0


# --- what each is for --------------------------------------------------------------------------


def test_purger_frees_remotely() -> None:
    """Most frees are by CPUs that own nothing; without owners these pages go through their own lists to the zone."""
    rfc = run_tiny("purger", "rfc")
    assert rfc.account.refills.remote_frees > 0.2 * rfc.account.pages_allocated
    assert shares(rfc)["claim"] < 0.1  # as good as never in the steady state
    linux = run_tiny("purger", "linux-7.0")
    assert linux.account.refills.remote_frees == 0
    assert linux.account.zone_holds_of["free"].acquisitions > rfc.account.zone_holds_of["free"].acquisitions


def test_purgers_keep_the_live_set_and_the_share_of_local_frees() -> None:
    """All pages that the workload holds are allocated: the live set, and what the next burst waits for."""
    result = run_tiny("purger", "linux-7.0", bursts="0.5")
    k = result.system.kernel
    live = round(sum(zone.managed_pages for zone in k.zones) / 12)
    in_use = sum(zone.managed_pages for zone in k.zones) - sum(
        sum(area.nr_free << order for order, area in enumerate(zone.free_area))
        + sum(pcp.count for pcp in zone.per_cpu_pageset)
        for zone in k.zones
    )
    high_max = max(zone.pageset_high_max for zone in k.zones)
    assert live - high_max <= in_use <= live + high_max


def test_exit_storm_overflows_the_lists() -> None:
    """Each CPU frees more than its lists may hold."""
    result = run_tiny("exit-storm", "linux-7.0")
    assert result.account.zone_holds_of["free"].histogram("pages").sum > result.account.pages_allocated / 4
    assert run_tiny("exit-storm", "rfc").account.refills.remote_frees > 0


def test_mixed_lifetime_reaches_phase_0() -> None:
    result = run_tiny("mixed-lifetime", "rfc")
    assert shares(result)["recover"] > 0.2
    assert result.account.fragmentation()[-1].partly_owned_blocks > 0


def test_file_anon_has_several_migratetypes() -> None:
    k = run_tiny("file-anon", "rfc").system.kernel
    blocks = range(k.zones[-1].zone_start_pfn, k.zones[-1].end_pfn, k.block_pages)
    types = {k.calls.get_pageblock_migratetype(k, block) for block in blocks}
    assert types >= {gfp.MIGRATE_UNMOVABLE, gfp.MIGRATE_MOVABLE, gfp.MIGRATE_RECLAIMABLE}


@pytest.mark.parametrize("one_owner", ["0", "1"])
def test_fragmented_has_no_whole_block_free(one_owner: str) -> None:
    """Nothing can be claimed; what is owned was claimed by the one CPU that took all memory page by page."""
    result = run_tiny("fragmented", "rfc+want-block", one_owner=one_owner, memory="64")
    k = result.system.kernel
    assert sum(zone.free_pageblocks for zone in result.account.fragmentation()) == 0
    assert shares(result)["claim"] == 0
    assert [k.pageblock_cpu.count(tag) > 0 for tag in (1, 2)] == [one_owner == "1", False]


def test_small_machine_reaches_no_phase_1() -> None:
    result = run_tiny("small-machine", "rfc")
    assert (result.account.refills.reached_claim, shares(result)["claim"]) == (0, 0)
    # The batch of the machine that it has by default is too small as well.
    k = run_tiny("small-machine", "rfc", memory="256", live="0.01", warm_up="0", measured="0.1").system.kernel
    assert max(z.pageset_batch for z in k.zones) << k.config.pcp_batch_scale_max < k.block_pages


# --- when memory is short ----------------------------------------------------------------------


def test_failed_allocations_are_counted() -> None:
    """A live set that does not fit: the run ends all the same."""
    result = run_tiny("exit-storm", "linux-7.0", space="20", memory="32")
    assert result.failed_allocations > 0
    result.system.validate()


def test_unknown_workload() -> None:
    with pytest.raises(InputError, match="no workload 'x'; there are: purger, "):
        get_workload("x")


def test_progress_goes_up_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    found = get_workload("small-machine")
    parameters = found.parameters.from_text(TINY["small-machine"] | {"live": "1/2"})
    run_workload(found, parameters, "linux-7.0", progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert len({total for _, total in seen}) == 1
    assert seen[-1][1] - seen[-1][0] < 1 << 14
