# SPDX-License-Identifier: GPL-2.0-only
"""Runs every measurement in a fresh process, prints tables, and keeps the raw numbers.

python -m benchmarks                      print the tables
python -m benchmarks --json results.json  keep the numbers too
python -m benchmarks --write              rewrite the tables of docs/performance.md
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import measure, tables
from pageblock_buddy import __version__

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]


def _fresh(*arguments: str) -> Json:
    """Run one measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", "--measure", *arguments]
    print(" ".join(command[1:]), file=sys.stderr, flush=True)
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: Json = json.loads(result.stdout)
    return found


def _measure(what: str, argument: str) -> Json:
    """What a fresh process does."""
    if what == "speed":
        return measure.speed(int(argument))
    if what == "boot":
        return measure.boot(argument)
    return measure.replay(argument)


def _summary(runs: list[Json], times: Sequence[str]) -> Json:
    """Several runs as one: minimum and median of the times, the largest of the rest (sizes; the same otherwise)."""
    found: Json = {}
    for key, value in runs[0].items():
        values = [run[key] for run in runs]
        if key in times:
            found[key] = {"min": min(values), "median": median(values)}
        else:
            found[key] = max(values) if isinstance(value, int) else value
    return found


def _undisturbed(runs: list[Json]) -> Json:
    """Several replays as one, with the sum of what each piece took at best.

    Replays take seconds and always meet some disturbance; a piece takes milliseconds and is the same work in each run.
    """
    found = _summary(runs, ("wall_s", "cpu_s"))
    del found["pieces_s"]
    found["undisturbed_s"] = sum(map(min, zip(*(run["pieces_s"] for run in runs), strict=True)))
    return found


def measure_all(rounds: int, repeat: int) -> Json:
    """Everything."""
    results: Json = {
        "pageblock_buddy": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "rounds": rounds,
        "repeat": repeat,
        "load_before": measure.load_average(),
    }
    results["speed"] = _fresh("speed", str(rounds))
    boots = [[_fresh("boot", size) for _ in range(repeat)] for size in measure.SIZES]
    results["boot"] = [_summary(runs, ("boot_wall_s", "boot_cpu_s")) for runs in boots]
    replays = [[_fresh("replay", name) for _ in range(repeat)] for name in measure.RECORDINGS]
    results["replay"] = [_undisturbed(runs) for runs in replays]
    results["load_after"] = measure.load_average()
    results["aims"] = tables.aims(results)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.  Exit code 1: an aim is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure pageblock-buddy.")
    parser.add_argument("--rounds", type=int, default=60, help="repetitions of each loop (default: 60)")
    parser.add_argument("--repeat", type=int, default=5, help="fresh processes for each boot and replay (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    parser.add_argument("--write", action="store_true", help="rewrite the tables of docs/performance.md")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "ARGUMENT"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure is not None:
        print(json.dumps(_measure(*options.measure)))
        return 0
    results = measure_all(options.rounds, options.repeat)
    text = tables.render(results)
    print(text)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.write:
        page = ROOT / "docs" / "performance.md"
        page.write_text(tables.replaced(page.read_text(), text))
    return 0 if all(aim["met"] for aim in results["aims"]) else 1
