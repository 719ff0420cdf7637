# SPDX-License-Identifier: GPL-2.0-only
"""The commands of the interleaver: explore, and replay of schedules."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any, Final

from pageblock_buddy.errors import InputError
from pageblock_buddy.interleave.carriers import CARRIERS, get_carrier
from pageblock_buddy.interleave.catalogue import built_in, get_program, program_names
from pageblock_buddy.interleave.checks.invariants import WHEN
from pageblock_buddy.interleave.engine import Strategy
from pageblock_buddy.interleave.journal import Journal
from pageblock_buddy.interleave.parallel import (
    DASK_UNITS,
    MAX_WORKERS,
    PARALLEL,
    Options,
    ParallelSearch,
    dask_cluster,
    processes,
)
from pageblock_buddy.interleave.record import Recorded, full_engine, record, record_path
from pageblock_buddy.interleave.schedule import (
    ScheduleFile,
    first_difference,
    from_text,
    is_schedule_file,
    read_schedule,
    to_text,
)
from pageblock_buddy.interleave.search import (
    ASSUMPTION,
    EXHAUSTED,
    FAULT,
    STRATEGIES,
    Budget,
    Result,
    Search,
    make_strategy,
)
from pageblock_buddy.interleave.strategies.follow import FollowSchedule
from pageblock_buddy.interleave.trace import two_column_lines
from pageblock_buddy.progress import Bar, search_bar
from pageblock_buddy.variants import get_variant

EXIT_GOOD: Final = 0
EXIT_FAULT: Final = 1
EXIT_INCOMPLETE: Final = 3
DEFAULT_VARIANT: Final = "rfc"
#: Where neither --schedules nor --time is given.
DEFAULT_SCHEDULES: Final = 1_000_000

_DESCRIPTION: Final = """\
Run a small program of allocations and frees on simulated CPUs under many schedules, and look for deadlocks, broken
invariants, wrong lock order, stale reads and lost pages.  By default every schedule is covered: by one of each class of
schedules that differ only in the order of steps that do not matter to each other.

exit codes: 0 exhausted and nothing found; 1 a fault; 2 unusable input; 3 a budget was hit, or the strategy cannot
exhaust: never a pass
"""
_EXAMPLES: Final = """\
examples:
  pageblock-buddy explore abba-hardirq --variant rfc      # the deadlock that was found after the RFC
  pageblock-buddy explore abba-hardirq --variant llist    # its fix: exhausted
  pageblock-buddy explore remote-free-drain --strategy random --schedules 10000
"""


def add_explore_parser(commands: Any) -> None:
    """Add ``explore`` to the subparsers of the command line."""
    parser = commands.add_parser(
        "explore",
        help="run a program under every schedule and look for deadlocks and broken invariants",
        description=_DESCRIPTION,
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("program", metavar="PROGRAM", help="a built-in program, see below, or a file (docs/formats.md)")
    parser.add_argument(
        "--variant", metavar="V", default=DEFAULT_VARIANT, help=f"allocator (default {DEFAULT_VARIANT})"
    )
    parser.add_argument(
        "--strategy", choices=STRATEGIES, default=STRATEGIES[0], help=f"who goes on (default {STRATEGIES[0]})"
    )
    parser.add_argument("--carrier", choices=tuple(CARRIERS), default="threads", help="what the stacks run on")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="for random, pct and pos (default 1)")
    parser.add_argument(
        "--schedules",
        type=int,
        metavar="N",
        help=f"stop after so many schedules (default {DEFAULT_SCHEDULES}, without --time)",
    )
    parser.add_argument("--time", type=float, metavar="S", help="stop after so many seconds")
    parser.add_argument("--outcomes", type=int, metavar="N", help="stop when so many outcomes are kept in memory")
    parser.add_argument("--invariants", choices=WHEN, default=WHEN[0], help="when they are checked (default points)")
    parser.add_argument("--guards", action="store_true", help="check in every schedule that fields are guarded")
    parser.add_argument("--workers", type=int, metavar="N", help="search on N processes, each on a CPU of its own")
    parser.add_argument("--dask", metavar="ADDRESS", help="search on a Dask cluster, by its scheduler's address")
    parser.add_argument("--journal", metavar="FILE", help="keep what is done there, and go on from it when run again")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the faulty schedule there (JSON Lines)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def _epilog() -> str:
    lines = ["built-in programs:"]
    for name in program_names():
        lines.append(f"  {name:<22}{built_in(name).summary}")
    return "\n".join([*lines, "", _EXAMPLES])


def explore(arguments: argparse.Namespace) -> int:
    """Search, say what was found.  Returns the exit code.  Errors: InputError, UnknownVariant, MissingExtra."""
    program = get_program(arguments.program)
    variant = get_variant(arguments.variant).name
    for name in ("schedules", "time", "outcomes"):
        value = getattr(arguments, name)
        if value is not None and not value > 0:  # NaN is not either
            raise InputError(f"--{name} {value}: not a positive number")
    if arguments.workers is not None and not 1 <= arguments.workers <= MAX_WORKERS:
        raise InputError(f"--workers {arguments.workers}: not 1..{MAX_WORKERS}")
    options = Options(
        program,
        variant,
        strategy=arguments.strategy,
        carrier=arguments.carrier,
        seed=arguments.seed,
        budget=_budget(arguments),
        invariants=arguments.invariants,
        guards=arguments.guards,
    )
    with search_bar() as bar:
        in_units = arguments.workers or arguments.dask or arguments.journal
        result, shared = _explore_units(options, arguments, bar) if in_units else _explore_here(options, bar)
    recorded = None
    if result.path is not None:
        carrier = get_carrier(arguments.carrier)
        try:
            recorded = record_path(program, variant, carrier, result.path, shared)
        finally:
            carrier.close()
    if recorded is not None and arguments.output is not None:
        schedule_file(recorded).write(arguments.output)
    if arguments.json:
        found = result.to_dict()
        found["schedule"] = None if recorded is None else to_text(recorded.schedule)
        print(json.dumps(found))
    else:
        print("\n".join(result_lines(result, recorded)))
        if recorded is not None and arguments.output is not None:
            print(f"written: {arguments.output}")
    return {EXHAUSTED: EXIT_GOOD, FAULT: EXIT_FAULT}.get(result.verdict, EXIT_INCOMPLETE)


def _budget(arguments: argparse.Namespace) -> Budget:
    """What was asked for; a search without any end is not wanted by accident."""
    if arguments.schedules is None and arguments.time is None:
        return Budget(DEFAULT_SCHEDULES, None, arguments.outcomes)
    return Budget(arguments.schedules, arguments.time, arguments.outcomes)


def _explore_here(options: Options, bar: Bar | None) -> tuple[Result, frozenset[int]]:
    """Search in this process."""
    with Search(
        options.program,
        options.variant,
        strategy=options.strategy,
        carrier=options.carrier,
        seed=options.seed,
        budget=options.budget,
        invariants=options.invariants,
        guards=options.guards,
        progress=None if bar is None else lambda search: bar(search.result.schedules, len(search.result.outcomes), 0),
    ) as search:
        return search.run(), search.shared


def _explore_units(options: Options, arguments: argparse.Namespace, bar: Bar | None) -> tuple[Result, frozenset[int]]:
    """Search by units, elsewhere; with a journal if one is wanted."""
    # A fault of the options is said before anything is started or written.
    if options.strategy not in PARALLEL:
        raise InputError(f"{options.strategy} cannot be cut into units; these can: {', '.join(PARALLEL)}")
    journal = None if arguments.journal is None else Journal(arguments.journal, options.to_dict())
    workers = arguments.workers or 1
    try:
        with dask_cluster(arguments.dask) if arguments.dask else processes(workers) as executor:
            search = ParallelSearch(
                options,
                executor,
                parallel=workers if not arguments.dask else DASK_UNITS,
                journal=journal,
                progress=None
                if bar is None
                else lambda total, units: bar(total.result.schedules, len(total.digests), units),
            )
            return search.run(), search.known.shared
    finally:
        if journal is not None:
            journal.close()


def schedule_file(recorded: Recorded) -> ScheduleFile:
    """A run as a file's contents."""
    finding = recorded.finding
    return ScheduleFile(
        program=recorded.program,
        variant=recorded.variant,
        schedule=recorded.schedule,
        finding=None if finding is None else finding.to_dict(),
        steps=recorded.steps,
    )


def result_lines(result: Result, recorded: Recorded | None) -> list[str]:
    """What explore prints."""
    lines = []
    for finding in result.findings:
        lines.append(finding.message if not finding.lines else f"{finding.code}:")
        lines += [f"  {line}" for line in finding.lines]
    if recorded is not None:
        lines += ["", *two_column_lines(recorded), "", f"schedule: {to_text(recorded.schedule)}"]
    counts = f"{result.schedules} schedules, {result.points} points, {result.injections} injections"
    if result.redundant:
        counts += f", {result.redundant} cut short as redundant"
    if result.bound is not None:
        counts += f", up to {result.bound} preemptions"
    counts += f"; {len(result.outcomes)} outcomes"
    reason = f" ({result.reason})" if result.reason else ""
    lines.append(f"{result.program} on {result.variant}: {result.verdict}{reason}: {counts}; {ASSUMPTION}")
    return lines


# --- replay ------------------------------------------------------------------------------------


def is_schedule(arguments: argparse.Namespace) -> bool:
    """Whether ``replay`` was given a schedule and not a recording."""
    return arguments.schedule is not None or is_schedule_file(arguments.file)


def add_schedule_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``replay`` takes for schedules."""
    parser.add_argument("--schedule", metavar="TEXT", help="replay this schedule; FILE is a program then")
    parser.add_argument(
        "--continue",
        dest="then",
        choices=("random", "pct", "pos"),
        help="go on behind the schedule's end with a seeded strategy",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="for --continue (default 1)")


def replay_schedule(arguments: argparse.Namespace) -> int:
    """Replay a schedule.  Returns the exit code.  Errors: InputError, ReplayDivergence."""
    expected: Sequence[Any] = ()
    if arguments.schedule is not None:
        program, schedule = get_program(arguments.file), from_text(arguments.schedule)
        variant = get_variant(arguments.variant or DEFAULT_VARIANT).name
    else:
        file = read_schedule(arguments.file)
        program, schedule, expected = file.program, file.schedule, file.steps
        variant = get_variant(arguments.variant or file.variant).name
    carrier = get_carrier("threads")
    try:
        engine = full_engine(program, variant, carrier)
        then: Strategy | None = None
        if arguments.then is not None:
            then = make_strategy(arguments.then, engine, seed=arguments.seed, bound=0)
        strategy = FollowSchedule(engine, schedule, then)
        recorded = record(engine, strategy)
    finally:
        carrier.close()
    difference = None
    if expected and arguments.then is None:
        difference = first_difference(expected, recorded.steps)
    code = EXIT_FAULT if recorded.findings or difference is not None or strategy.diverged else EXIT_GOOD
    if arguments.json:
        print(
            json.dumps(
                {
                    "program": program.name,
                    "variant": variant,
                    "schedule": to_text(recorded.schedule),
                    "steps": len(recorded.steps),
                    "diverges_at": difference if strategy.diverged is None else len(recorded.steps),
                    **recorded.to_dict(),
                }
            )
        )
        return code
    print("\n".join(two_column_lines(recorded)))
    for finding in recorded.findings[1:]:
        print(finding.message)
    if strategy.diverged is not None:
        print(f"the schedule no longer fits: {strategy.diverged}")
    if difference is not None:
        print(_difference_text(difference, expected, recorded.steps))
    print(f"{program.name} on {variant}: {len(recorded.steps)} steps, schedule {to_text(recorded.schedule)}")
    return code


def _difference_text(number: int, expected: Sequence[Any], found: Sequence[Any]) -> str:
    def text(steps: Sequence[Any]) -> str:
        if number >= len(steps):
            return "the end"
        step = steps[number]
        return f"{step.process} {step.kind} {step.object}"

    return f"step {number} differs: recorded {text(expected)}; now {text(found)}"
