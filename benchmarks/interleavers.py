# SPDX-License-Identifier: GPL-2.0-only
"""Measure the interleaver: ``python -m benchmarks.interleavers [--other-python PYTHON] [--write]``.

Other interleavers are measured in the same run where they are installed: frontrun through its own command,
interleave-test (Python 3.12 and later) through ``--other-python``, an interpreter that has it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import threading
from math import exp, log
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.small_engine import SmallEngine, explore
from benchmarks.small_model import SmallModel
from pageblock_buddy.interleave.carriers import CARRIERS, get_carrier
from pageblock_buddy.interleave.catalogue import built_in
from pageblock_buddy.interleave.parallel import Options, ParallelSearch, processes
from pageblock_buddy.interleave.search import Search, pinned
from pageblock_buddy.interleave.strategies.reduced import Reduced

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
COUNTS = ROOT / "tests" / "interleave" / "counts.json"
BEGIN, END = (
    "<!-- begin: written by python -m benchmarks.interleavers --write -->",
    "<!-- end: written by interleavers -->",
)
SECONDS = 2.0
#: Two CPUs with three operations each, and two larger ones.
REAL = (("remote-free-drain", "rfc"), ("claim-stale-tag", "rfc"), ("batch-crosswise", "rfc"), ("four-each", "rfc"))


def small(carrier: str) -> float:
    """Schedules a second on the small model."""
    stack = get_carrier(carrier)
    try:
        engine = SmallEngine(stack)
        with pinned():
            explore(engine)
            schedules, start = 0, perf_counter()
            while perf_counter() - start < SECONDS:
                schedules += explore(engine)
            return schedules / (perf_counter() - start)
    finally:
        stack.close()


def real(name: str, variant: str, carrier: str) -> float:
    """Schedules a second on the real code, with invariants, lockdep and reduction; whole searches, again and again."""
    with Search(built_in(name), variant, carrier=carrier) as search:
        search.run()
        engine = search.engine
        with pinned():
            schedules, start = 0, perf_counter()
            while perf_counter() - start < SECONDS:
                strategy = Reduced(engine)
                while True:
                    assert engine.run(strategy) is None
                    schedules += 1
                    if not strategy.next(engine):
                        break
            return schedules / (perf_counter() - start)


def frontrun() -> None:
    """Runs under ``frontrun python -m benchmarks.interleavers --frontrun``."""
    import frontrun as other  # type: ignore[import-not-found, unused-ignore]

    explored, start = 0, perf_counter()
    while perf_counter() - start < SECONDS:
        result = other.explore(
            setup=lambda: SmallModel(threading.Lock),
            workers=[lambda model: model.run(0), lambda model: model.run(1)],
            invariant=lambda model: model.all_there(),
            preemption_bound=None,
            detect_io=False,
            warn_nondeterministic_sql=False,
        )
        explored += result.num_explored
    print(explored / (perf_counter() - start))


_INTERLEAVE_TEST = """
import time, interleave_test as it
from benchmarks.small_model import SmallModel
def model():
    m = SmallModel(it.Lock)
    tasks = [it.spawn(m.run, 0), it.spawn(m.run, 1)]
    [task.join() for task in tasks]
    assert m.all_there()
start, runs = time.perf_counter(), 0
while time.perf_counter() - start < 2:
    runs += it.explore(model, iterations=100, seed=runs).schedules_run
print(runs / (time.perf_counter() - start))
"""


def others(python: str | None) -> dict[str, float]:
    """Schedules a second of other interleavers on the small model."""
    found = {}
    command = shutil.which("frontrun")
    runs: dict[str, list[str]] = {}
    if command is not None:
        runs["frontrun"] = [command, sys.executable, "-m", "benchmarks.interleavers", "--frontrun"]
    if python is not None:
        runs["interleave-test"] = [python, "-c", _INTERLEAVE_TEST]
    for name, arguments in runs.items():
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=300)
        if done.returncode == 0:
            found[name] = float(done.stdout.split()[-1])
    return found


def workers(count: int) -> float:
    """Schedules a second of a search in units on so many processes, their start apart."""
    options = Options(built_in("refill-storm"), "rfc", carrier="greenlet")
    with processes(count) as executor:
        # Both are up before the clock starts.
        list(executor.map(abs, range(8 * count)))
        options.budget = type(options.budget)(seconds=10.0)
        options.strategy = "random"
        search = ParallelSearch(options, executor, parallel=count)
        start = perf_counter()
        result = search.run()
        return result.schedules / (perf_counter() - start)


def reduction() -> list[str]:
    """Table rows: plain schedules against reduced ones, from the pinned counts; the geometric mean last."""
    counts: dict[str, dict[str, Any]] = json.loads(COUNTS.read_text())
    rows, logs = [], []
    for key, row in counts.items():
        name, variant = key.split("/")
        run = row["schedules"] + row["redundant"]
        if row["plain"] is None:
            plain, factor = "more states than are kept", ""
            if row["verdict"].startswith("stopped"):
                plain = row["verdict"]
        else:
            plain, factor = str(row["plain"]), f"{row['plain'] / run:.1f}"
            logs.append(log(row["plain"] / run))
        rows.append(f"| {name} | `{variant}` | {run} | {plain} | {factor} |")
    rows.append(f"| **geometric mean** of {len(logs)} | | | | **{exp(sum(logs) / len(logs)):.0f}** |")
    return rows


def report(python: str | None) -> str:
    """All tables, in Markdown."""
    lines = ["| on the small model | schedules/s |", "|---|---:|"]
    ours = {carrier: small(carrier) for carrier in CARRIERS}
    lines += [f"| this project, carrier `{carrier}` | {rate:.0f} |" for carrier, rate in ours.items()]
    theirs = others(python)
    lines += [f"| {name} | {rate:.0f} |" for name, rate in theirs.items()]
    if theirs:
        best = max(theirs.values())
        ratios = ", ".join(f"`{carrier}` {rate / best:.0f}" for carrier, rate in ours.items())
        lines.append(f"| times the best of the others | {ratios} |")
    lines += [
        "",
        "| on the real code | " + " | ".join(f"`{c}`, schedules/s" for c in CARRIERS) + " |",
        "|---|---:|---:|",
    ]
    for name, variant in REAL:
        rates = " | ".join(f"{real(name, variant, carrier):.0f}" for carrier in CARRIERS)
        lines.append(f"| {name} on `{variant}` | {rates} |")
    one, two = workers(1), workers(2)
    lines += [
        "",
        f"Two workers against one, each on its own CPU: {two / one:.2f} times ({one:.0f} and {two:.0f} schedules/s).",
    ]
    lines += ["", "| program | variant | reduced | plain | factor |", "|---|---|---:|---:|---:|", *reduction()]
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interleavers")
    parser.add_argument("--other-python", metavar="PYTHON", help="an interpreter with interleave-test")
    parser.add_argument("--write", action="store_true", help="rewrite the tables of docs/performance.md")
    parser.add_argument("--frontrun", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.frontrun:
        frontrun()
        return
    text = report(options.other_python)
    print(text)
    if options.write:
        page = PAGE.read_text()
        PAGE.write_text(f"{page.split(BEGIN)[0]}{BEGIN}\n\n{text}\n\n{END}{page.split(END)[1]}")


if __name__ == "__main__":
    main()
