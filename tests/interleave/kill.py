# SPDX-License-Identifier: GPL-2.0-only
"""Running a mutant on the kill programs: which of them tells it from the unmutated code, and after how many runs.

``python -m tests.interleave.kill [--all] [--only SUBSTRING]`` prints a table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from pageblock_buddy.interleave.search import EXHAUSTED, Budget, Result, Search
from pageblock_buddy.linux_7_0.buddy import nr_free_pages_blocks
from tests.interleave.equivalent import EQUIVALENT
from tests.interleave.kill_programs import MAX_BASELINE, PROGRAMS, Pair, pairs
from tests.interleave.mutants import (
    BUDDY,
    FILES,
    LLIST,
    RUN,
    Mutant,
    all_mutants,
    applied,
    lines_of,
    results_noted,
    returned_in,
    watched,
)
from tests.interleave.porter_bugs import PORTER_BUGS, Edit, PorterBug, with_bug

#: A mutant is killed within so many executions of a program, all kill programs together, or it survives.
MAX_EXECUTIONS: Final = 3000
#: With fewer changes than this a child finds out itself what it needs to know.
FEW: Final = 10
#: CPU seconds that one execution may take; a whole search of the unmutated code takes less.
MAX_SECONDS: Final = 1.0
#: Bytes that a mutant that collects for ever may have more than it started with.
MAX_BYTES: Final = 1 << 30
GOLDEN: Final = Path(__file__).with_name("golden_outcomes.json")
CARRIER: Final = "greenlet" if find_spec("greenlet") else "threads"


class Killed(NamedTuple):
    """What told a mutant from the unmutated code."""

    by: str
    program: str
    variant: str
    executions: int


class Survived(NamedTuple):
    """Nothing did."""

    executions: int


class Baseline(NamedTuple):
    """What the unmutated code does on one program and variant."""

    outcomes: frozenset[str]
    findings: frozenset[str]
    executions: int


class Unlike(BaseException):
    """An outcome that the unmutated code does not have: the search need not go on."""


# --- one search --------------------------------------------------------------------------------


def outcome_of(search: Search) -> str:
    """The digest of what a run did: the state that it ended in with its event counts, and what functions returned."""
    engine = search.engine
    k = engine.kernel
    whole = [nr_free_pages_blocks(k, zone) for zone in k.zones] if search.variant != "linux-6.12" else []
    state = (engine.keys.outcome(), tuple(k.pgalloc), k.pgfree, whole, returned_in(engine.ev_process))
    return hashlib.sha256(repr(state).encode()).hexdigest()[:20]


class Observed(NamedTuple):
    """What a search saw."""

    outcomes: frozenset[str]
    findings: frozenset[str]
    executions: int
    exhausted: bool


def observe(pair: Pair, *, known: Baseline | None = None, executions: int = MAX_EXECUTIONS) -> Observed:
    """Search one program on one variant.  With ``known`` stop at the first outcome that is not among those."""
    outcomes: set[str] = set()
    last: Result | None = None

    def progress(search: Search) -> None:
        nonlocal last
        _arm()
        last = search.result
        if not search.engine.given_up and search.engine.finding is None:
            outcome = outcome_of(search)
            outcomes.add(outcome)
            if known is not None and outcome not in known.outcomes:
                raise Unlike
        if last.executions >= executions:
            raise Unlike

    _arm()
    try:
        with Search(
            PROGRAMS[pair.program], pair.variant, carrier=CARRIER, guards=True, budget=Budget(), progress=progress
        ) as search:
            # A run has a list of events of its own; a search also makes runs that it does not count.
            RUN.append(lambda: search.engine.ev_process)
            result = search.run()
    except Unlike:
        assert last is not None
        return Observed(frozenset(outcomes), frozenset(f.kind for f in last.findings), last.executions, False)
    finally:
        RUN.clear()
        _disarm()
    findings = frozenset(finding.kind for finding in result.findings)
    return Observed(frozenset(outcomes), findings, result.executions, result.verdict == EXHAUSTED)


_armed = False


def _arm() -> None:
    """One execution that takes too long ends this process: only where it is one of its own."""
    if _armed:
        signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)


def _disarm() -> None:
    if _armed:
        signal.setitimer(signal.ITIMER_PROF, 0)


@cache
def baseline(pair: Pair) -> Baseline:
    """What the unmutated code does, searched once."""
    with results_noted():
        seen = observe(pair)
    assert seen.exhausted or seen.findings, f"{pair}: not exhausted"
    return Baseline(seen.outcomes, seen.findings, seen.executions)


def golden(pair: Pair) -> dict[str, Any]:
    """What stands in golden_outcomes.json for one program and variant."""
    known = baseline(pair)
    text = "\n".join([*sorted(known.outcomes), *sorted(known.findings)])
    found: dict[str, Any] = {"outcomes": len(known.outcomes), "digest": hashlib.sha256(text.encode()).hexdigest()}
    return found | ({"findings": sorted(known.findings)} if known.findings else {})


# --- which programs run a statement ------------------------------------------------------------


@cache
def statements_run(pair: Pair) -> frozenset[tuple[str, int]]:
    """The statements (file, line) of the mutable functions that a program runs: no other can matter to it."""
    with watched() as seen:
        observe(pair)
        return frozenset(seen)


def variants_for(file: str) -> tuple[str, ...]:
    """The variants that run a file's functions."""
    if file in LLIST:
        return ("llist",)
    if file in BUDDY:
        return ("linux-7.0", "linux-6.12", "rfc", "llist")
    return ("rfc", "rfc-trylock", "llist")


def candidates(file: str) -> Iterator[Pair]:
    """The kill programs for a file's mutants, in the order in which they are run."""
    wanted = variants_for(file)
    for pair in pairs():
        if pair.variant.partition("+")[0] in wanted:
            yield pair


# --- one mutant --------------------------------------------------------------------------------


class Job(NamedTuple):
    """A change, and which programs can notice it."""

    change: Callable[[], AbstractContextManager[None]]
    file: str
    runs: Callable[[Pair], bool]


def try_to_kill(job: Job) -> Killed | Survived:
    """Run programs under a change until one of them tells it from the unmutated code.  In this process."""
    executions = 0
    for pair in candidates(job.file):
        if not job.runs(pair):
            continue
        expected = baseline(pair)
        _ANNOUNCE(pair, executions)
        # A change that multiplies the schedules of one program must not take the others' turn.
        limit = min(MAX_EXECUTIONS - executions, MAX_BASELINE)
        with results_noted(), job.change():
            try:
                seen = observe(pair, known=expected, executions=limit)
            except Exception as error:
                return Killed(f"set-up: {type(error).__name__}", *pair, executions + 1)
        executions += seen.executions
        new = sorted(seen.findings - expected.findings)
        if new:
            return Killed(new[0], *pair, executions)
        if not seen.outcomes <= expected.outcomes or (seen.exhausted and seen.outcomes != expected.outcomes):
            return Killed("outcomes", *pair, executions)
        if executions >= MAX_EXECUTIONS:
            break
    return Survived(executions)


def _announce_nothing(pair: Pair, executions: int) -> None:
    pass


_ANNOUNCE: Callable[[Pair, int], None] = _announce_nothing


def isolated(jobs: Sequence[Job]) -> list[Killed | Survived]:
    """Try to kill changes in a process of their own.

    One of them may run for ever or eat memory: then the process dies, and the next one goes on behind it.
    """
    if len(jobs) > FEW:
        # Once here, and not in each child again.
        for pair in {pair: None for job in jobs for pair in candidates(job.file)}:
            baseline(pair)
            statements_run(pair)
    results: list[Killed | Survived] = []
    while len(results) < len(jobs):
        results += _some(jobs[len(results) :])
    return results


def _some(jobs: Sequence[Job]) -> list[Killed | Survived]:
    """Results up to the first change that ends the process."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # 3.12 warns of threads, of which pytest-xdist has one; the child uses none of what they hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        _in_child(reader, writer, jobs)
    os.close(writer)
    results: list[Killed | Survived] = []
    pair, executions = Pair("", ""), 0
    with os.fdopen(reader, "rb") as file:
        while True:
            try:
                sent = pickle.load(file)
            except EOFError:
                break
            if isinstance(sent, Killed | Survived):
                results.append(sent)
                pair, executions = Pair("", ""), 0
            else:
                pair, executions = sent
    _, status = os.waitpid(child, 0)
    if len(results) < len(jobs):
        timers = (signal.SIGPROF, signal.SIGALRM)
        hangs = os.WIFSIGNALED(status) and os.WTERMSIG(status) in timers
        results.append(Killed("hang" if hangs else "crash", *pair, executions + 1))
    return results


def _in_child(reader: int, writer: int, jobs: Sequence[Job]) -> None:
    """Never returns."""
    global _armed, _ANNOUNCE
    try:
        os.close(reader)
        for number in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        _armed = True
        limit = _bytes_now() + MAX_BYTES
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))

        def send(message: object) -> None:
            os.write(writer, pickle.dumps(message))

        _ANNOUNCE = lambda pair, executions: send((pair, executions))  # noqa: E731
        for job in jobs:
            # The clock on the wall only for what waits and uses no CPU.
            signal.alarm(600)
            send(try_to_kill(job))
    finally:
        os._exit(0)


def _bytes_now() -> int:
    """The address space of this process."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 1 << 32


def job_of(mutant: Mutant) -> Job:
    """A mutant, with the kill programs that run its statement."""
    where = mutant.file, mutant.line
    return Job(
        lambda: applied(mutant.file, mutant.function, mutant.source),
        mutant.file,
        lambda pair: where in statements_run(pair),
    )


def kill(mutants: Sequence[Mutant]) -> list[Killed | Survived]:
    """Run mutants, in a process of their own."""
    return isolated([job_of(mutant) for mutant in mutants])


def job_of_bug(bug: PorterBug) -> Job:
    """A porter's bug with the kill programs that run a function that it changes."""
    functions = {(change.file, change.function) for change in bug.changes if isinstance(change, Edit)}

    def runs(pair: Pair) -> bool:
        ran = statements_run(pair)
        return not functions or any((file, line) in ran for file, name in functions for line in lines_of(file, name))

    return Job(lambda: with_bug(bug), bug.file, runs)


# --- golden outcomes ---------------------------------------------------------------------------


def write_golden() -> None:
    """Write what the kill programs can end in."""
    found = {f"{pair.program} {pair.variant}": golden(pair) for pair in pairs()}
    lines = ",\n".join(
        f"{json.dumps(key)}: {json.dumps(value, sort_keys=True)}" for key, value in sorted(found.items())
    )
    GOLDEN.write_text("{\n" + lines + "\n}\n", encoding="utf-8")


# --- a table -----------------------------------------------------------------------------------


class Row(NamedTuple):
    """A mutant or bug with what became of it."""

    group: str
    name: str
    result: Killed | Survived


def _all_rows(only: str, step: int) -> Iterator[Row]:
    mutants = [mutant for mutant in all_mutants()[::step] if only in mutant.name]
    for start in range(0, len(mutants), 50):
        some = mutants[start : start + 50]
        for mutant, result in zip(some, kill(some), strict=True):
            yield Row(mutant.file, mutant.name, result)
        if sys.stderr.isatty():
            print(f"\r{start + len(some)}/{len(mutants)}", end="\r", file=sys.stderr)
    bugs = [bug for bug in PORTER_BUGS if only in f"porter:{bug.name}"]
    for bug in bugs:
        yield Row("porter bugs", f"porter:{bug.name}", isolated([job_of_bug(bug)])[0])


def table(rows: Sequence[Row]) -> str:
    """Mutants by file: how many, killed by what, after how many executions; then the survivors that nobody explains."""
    lines = [f"{'':24}{'mutants':>8}{'killed':>8}{'equiv.':>8}{'open':>6}{'max ex.':>9}{'mean':>7}  by"]
    groups = list(dict.fromkeys(row.group for row in rows))
    for group in [*groups, "all"]:
        some = [row for row in rows if group in (row.group, "all")]
        killed = [row.result for row in some if isinstance(row.result, Killed)]
        survivors = [row.name for row in some if isinstance(row.result, Survived)]
        equivalent = sum(name in EQUIVALENT for name in survivors)
        by = Counter(result.by.partition(":")[0] for result in killed)
        most = max((result.executions for result in killed), default=0)
        mean = sum(result.executions for result in killed) / (len(killed) or 1)
        lines.append(
            f"{group:24}{len(some):8}{len(killed):8}{equivalent:8}{len(survivors) - equivalent:6}{most:9}{mean:7.0f}  "
            + ", ".join(f"{code} {count}" for code, count in by.most_common())
        )
    left = [row.name for row in rows if isinstance(row.result, Survived) and row.name not in EQUIVALENT]
    lines += ["", f"not killed and not explained: {len(left)}", *left]
    wrong = [row.name for row in rows if isinstance(row.result, Killed) and row.name in EQUIVALENT]
    lines += [f"called equivalent and killed: {name}" for name in wrong]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table.  Returns 1 if a mutant survives that nobody explains."""
    parser = argparse.ArgumentParser(prog="python -m tests.interleave.kill", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--all", action="store_true", help="all mutants, not every 9th")
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="mutants with this in their name")
    parser.add_argument("--workers", type=int, default=1, help="processes at a time")
    parser.add_argument("--list", action="store_true", help="also a line for each mutant")
    parser.add_argument("--write-golden", action="store_true", help="write golden_outcomes.json")
    options = parser.parse_args(arguments)
    if options.write_golden:
        write_golden()
        return 0
    step = 1 if options.all or options.only else 9
    if options.workers > 1:
        with multiprocessing.Pool(options.workers) as pool:
            parts = pool.map(_rows_of, [(f"{file}:", options.only, step) for file in [*FILES, "porter"]], chunksize=1)
        rows = [row for part in parts for row in part]
    else:
        rows = list(_all_rows(options.only, step))
    if options.list:
        for row in rows:
            print(row.name, *row.result)
    print(table(rows))
    return int(any(isinstance(row.result, Survived) and row.name not in EQUIVALENT for row in rows))


def _rows_of(part: tuple[str, str, int]) -> list[Row]:
    prefix, only, step = part
    return [row for row in _all_rows(prefix, step) if only in row.name]


if __name__ == "__main__":
    sys.exit(main())
