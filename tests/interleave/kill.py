# SPDX-License-Identifier: GPL-2.0-only
"""Running a mutant on the kill programs: which of them tells it from the unmutated code, and after how many runs.

``python -m tests.interleave.kill [--all] [--only SUBSTRING]`` prints a table.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import resource
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.util import find_spec
from time import monotonic
from typing import Any, Final, NamedTuple

from pageblock_buddy.interleave.search import EXHAUSTED, Budget, Result, Search
from pageblock_buddy.linux_7_0.buddy import nr_free_pages_blocks
from tests.interleave.equivalent import EQUIVALENT
from tests.interleave.kill_programs import PROGRAMS, Pair, pairs
from tests.interleave.mutants import BUDDY, LLIST, RETURNED, Mutant, all_mutants, applied, results_noted, watched
from tests.interleave.porter_bugs import PORTER_BUGS

#: A mutant is killed within so many executions of a program, all kill programs together, or it survives.
MAX_EXECUTIONS: Final = 3000
#: CPU seconds that one execution may take; a whole search of the unmutated code takes less.
MAX_SECONDS: Final = 1.0
#: Bytes that a mutant that collects for ever may have more than it started with.
MAX_BYTES: Final = 1 << 30
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
    state = (engine.keys.outcome(), tuple(k.pgalloc), k.pgfree, whole, sorted(RETURNED))
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
    RETURNED.clear()
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
        RETURNED.clear()
        if last.executions >= executions:
            raise Unlike

    _arm()
    try:
        with Search(
            PROGRAMS[pair.program], pair.variant, carrier=CARRIER, guards=True, budget=Budget(), progress=progress
        ) as search:
            result = search.run()
    except Unlike:
        assert last is not None
        return Observed(frozenset(outcomes), frozenset(f.kind for f in last.findings), last.executions, False)
    finally:
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


def try_to_kill(change: AbstractContextManager[None], to_run: Iterable[Pair]) -> Killed | Survived:
    """Run programs under a change until one of them tells it from the unmutated code.  In this process."""
    executions = 0
    known = [(pair, baseline(pair)) for pair in to_run]
    with results_noted(), change:
        for pair, expected in known:
            _ANNOUNCE(pair, executions)
            try:
                seen = observe(pair, known=expected, executions=MAX_EXECUTIONS - executions)
            except Exception as error:
                return Killed(f"set-up: {type(error).__name__}", *pair, executions + 1)
            executions += seen.executions
            new = sorted(seen.findings - expected.findings)
            if new:
                return Killed(new[0], *pair, executions)
            if not seen.outcomes <= expected.outcomes or (seen.exhausted and seen.outcomes != expected.outcomes):
                return Killed("outcomes", *pair, executions)
            if seen.exhausted and expected.findings - seen.findings:
                return Killed("a finding less", *pair, executions)
            if executions >= MAX_EXECUTIONS:
                break
    return Survived(executions)


def _announce_nothing(pair: Pair, executions: int) -> None:
    pass


_ANNOUNCE: Callable[[Pair, int], None] = _announce_nothing


class Job(NamedTuple):
    """A change, and the programs that are to notice it."""

    change: Callable[[], AbstractContextManager[None]]
    to_run: Sequence[Pair]


def isolated(jobs: Sequence[Job]) -> list[Killed | Survived]:
    """Try to kill changes in a process of their own.

    One of them may run for ever or eat memory: then the process dies, and the next one goes on behind it.
    """
    for pair in {pair: None for job in jobs for pair in job.to_run}:
        baseline(pair)
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
            signal.alarm(60)
            send(try_to_kill(job.change(), job.to_run))
    finally:
        os._exit(0)


def _bytes_now() -> int:
    """The address space of this process."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 1 << 32


def to_run_for(mutant: Mutant) -> list[Pair]:
    """The kill programs that run the statement of a mutant."""
    return [pair for pair in candidates(mutant.file) if (mutant.file, mutant.line) in statements_run(pair)]


def job_of(mutant: Mutant) -> Job:
    """A mutant with the kill programs that run its function."""
    return Job(lambda: applied(mutant.file, mutant.function, mutant.source), to_run_for(mutant))


def kill(mutants: Sequence[Mutant]) -> list[Killed | Survived]:
    """Run mutants, in a process of their own."""
    return isolated([job_of(mutant) for mutant in mutants])
