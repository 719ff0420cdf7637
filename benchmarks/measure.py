# SPDX-License-Identifier: GPL-2.0-only
"""The measurements.  Each runs in a fresh process that run.py starts, and returns JSON types.

Everything runs in one thread, and time is CPU seconds of the process (user and system), so that other work on the
machine disturbs little; boots and replays show the elapsed seconds too.  All loops of a round are measured one
after the other, so that a ratio compares what ran under the same load.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, Final

from benchmarks import loads
from pageblock_buddy import Config, System, ZoneConfig
from pageblock_buddy import gfp as g
from pageblock_buddy.linux_6_12 import alloc, free
from pageblock_buddy.replay import replay_recording
from pageblock_buddy.variants import VARIANTS

try:
    import resource
except ImportError:  # not on this platform
    resource = None  # type: ignore[assignment]

Json = dict[str, Any]

#: name -> MiB
SIZES: Final = {"256 MiB": 256, "16 GiB": 16 << 10, "1 TiB": 1 << 20}
#: Machines that differ in nothing but their size: one NORMAL zone with these limits, whatever the formulas say.
ALIKE: Final = {"256 MiB, alike": SIZES["256 MiB"], "1 TiB, alike": SIZES["1 TiB"]}
_ALIKE_LIMITS: Final = {"batch": 63, "high_min": 1024, "high_max": 1024, "watermark": (512, 640, 768, 896)}
#: The machine on which the variants are compared with each other.
VARIANTS_SIZE: Final = "16 GiB"
RECORDINGS: Final = ("6.12-a", "6.12-b", "6.12-c", "6.12-nat")
RECORDINGS_DIR: Final = Path(__file__).resolve().parents[1] / "tests" / "recordings"
#: After so many random operations the sketch and the model must be in the same state.
_CHECKED_OPERATIONS: Final = 20_000


def _alike(mib: int) -> Config:
    """A machine of ALIKE."""
    zone = ZoneConfig(zone=g.ZONE_NORMAL, start_pfn=1 << 20, spanned_pages=mib << 8, **_ALIKE_LIMITS)  # type: ignore[arg-type]
    return Config(zones=(zone,), vm_stat_threshold=20)


# --- speed -------------------------------------------------------------------------------------


def check_sketch() -> None:
    """Show that the sketch does the work: it leaves a machine in the very state in which the model leaves it."""
    from random import Random

    from benchmarks import sketch

    digests = []
    for take, give in (
        (lambda k, gfp: alloc.alloc_pages(k, gfp, 0), lambda k, pfn: free._free_pages(k, pfn, 0)),
        (sketch.alloc_page, sketch.free_page),
    ):
        random = Random(loads.SEED)
        system = System.boot(Config.pc(256))
        held: list[int] = []
        for _ in range(_CHECKED_OPERATIONS):
            if not held or random.random() < 0.52:
                pfn = take(system.kernel, random.choice((g.GFP_KERNEL, g.GFP_HIGHUSER_MOVABLE, g.GFP_ATOMIC)))
                assert pfn is not None
                held.append(pfn)
            else:
                give(system.kernel, held.pop(random.randrange(len(held))))
        digests.append(system.digest())
    if digests[0] != digests[1]:
        raise SystemExit("the sketch and the model end in different states: the comparison would mean nothing")


def _cells(system: System) -> dict[tuple[str, str], Callable[[], int]]:
    """(load, api) -> a function that performs it once and returns the operations."""
    requests = loads.mixed_requests()
    cells: dict[tuple[str, str], Callable[[], int]] = {}
    for api in (loads.FACADE, loads.MIRRORED):
        cells["hot pair", api.name] = lambda api=api: loads.hot_pairs(api, system, loads.HOT_PAIRS)  # type: ignore[misc]
    cells["hot pair", "sketch"] = lambda: loads.hot_pairs_of_sketch(system, loads.HOT_PAIRS)
    for api in (loads.FACADE, loads.MIRRORED):
        cells["mixed", api.name] = lambda api=api: loads.mixed(api, system, requests)  # type: ignore[misc]
        cells["drain", api.name] = lambda api=api: loads.drain_bursts(api, system, loads.BURSTS)  # type: ignore[misc]
    return cells


def speed(rounds: int) -> Json:
    """µs per operation of every load at every size, ``rounds`` times in turn."""
    check_sketch()
    configs = {size: Config.pc(mib) for size, mib in SIZES.items()}
    configs |= {size: _alike(mib) for size, mib in ALIKE.items()}
    cells = {
        (size, *cell): function
        for size, config in configs.items()
        for cell, function in _cells(System.boot(config)).items()
        if size in SIZES or "mirrored" in cell
    }
    for variant in VARIANTS:
        system = System.boot(configs[VARIANTS_SIZE], variant=variant)
        cells["variants", "hot pair", variant] = lambda system=system: loads.hot_pairs(  # type: ignore[misc]
            loads.MIRRORED, system, loads.HOT_PAIRS
        )
    samples: dict[tuple[str, str, str], list[float]] = {cell: [] for cell in cells}
    for number in range(rounds + 1):
        gc.collect()
        for cell, function in cells.items():
            start = process_time()
            operations = function()
            spent = process_time() - start
            if number:  # the first round warms up
                samples[cell].append(spent / operations * 1e6)
    return {
        "rounds": rounds,
        "cells": [
            {"size": size, "load": load, "api": api, "min_us": min(times), "median_us": median(times)}
            for (size, load, api), times in samples.items()
        ],
        "ratios": {size: _ratio(samples, size) for size in SIZES},
    }


def _ratio(samples: dict[tuple[str, str, str], list[float]], size: str) -> Json:
    """How many sketches a pair of the mirrored functions costs: of the minima, and the median of the rounds."""
    model, flat = samples[size, "hot pair", "mirrored"], samples[size, "hot pair", "sketch"]
    return {"of_minima": min(model) / min(flat), "median": median(m / f for m, f in zip(model, flat, strict=True))}


# --- memory and boot ---------------------------------------------------------------------------


def resident_bytes() -> int | None:
    """Resident memory of this process now, or None where the system does not tell."""
    try:
        text = Path("/proc/self/smaps_rollup").read_text()
    except OSError:
        return None
    return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Rss:"))


def peak_bytes() -> int | None:
    """The largest resident size so far."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def boot(size: str) -> Json:
    """Boot one machine, put a load on it: seconds and resident bytes."""
    config = Config.pc(SIZES[size])
    gc.collect()
    before = resident_bytes()
    wall, cpu = perf_counter(), process_time()
    system = System.boot(config)
    wall, cpu = perf_counter() - wall, process_time() - cpu
    booted = resident_bytes()
    for function in _cells(system).values():
        function()
    return {
        "size": size,
        "boot_wall_s": wall,
        "boot_cpu_s": cpu,
        "rss_before": before,
        "rss_booted": booted,
        "rss_loaded": resident_bytes(),
        "maxrss": peak_bytes(),
    }


# --- replay ------------------------------------------------------------------------------------


def replay(name: str) -> Json:
    """Replay one recording: operations, seconds, and the CPU seconds of its pieces of 512 items."""
    wall, cpu = perf_counter(), process_time()
    marks = [cpu]
    path = RECORDINGS_DIR / f"{name}.jsonl.gz"
    result = replay_recording(path, progress=lambda done, size: marks.append(process_time()))
    marks.append(process_time())
    wall, cpu = perf_counter() - wall, process_time() - cpu
    if result.mismatches:
        raise SystemExit(f"{name} does not replay: a time would mean nothing")
    return {
        "recording": name,
        "operations": result.operations,
        "snapshots": result.snapshots,
        "wall_s": wall,
        "cpu_s": cpu,
        "pieces_s": [end - begin for begin, end in pairwise(marks)],
        "maxrss": peak_bytes(),
    }


def load_average() -> list[float] | None:
    """Of 1, 5 and 15 minutes, or None."""
    return [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None
