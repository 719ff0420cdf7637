# SPDX-License-Identifier: GPL-2.0-only
"""The command line.

Exit codes of every command: 0 all good; 1 a difference or a fault was found; 2 unusable input or usage; 3 incomplete,
a budget was hit.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence

from pageblock_buddy import __version__
from pageblock_buddy.cli_cut import add_cut_parser, run_cut
from pageblock_buddy.cli_explore import (
    add_explore_parser,
    add_schedule_arguments,
    explore,
    is_schedule,
    replay_schedule,
)
from pageblock_buddy.cli_run import add_run_parser, run
from pageblock_buddy.cli_shrink import add_shrink_parser, run_shrink
from pageblock_buddy.cli_timeline import add_timeline_parser, timeline
from pageblock_buddy.demo import demo
from pageblock_buddy.errors import InputError, PageblockBuddyError
from pageblock_buddy.explain import explain
from pageblock_buddy.progress import progress_bar
from pageblock_buddy.replay import ReplayResult, replay_recording
from pageblock_buddy.replay.at import stop_before
from pageblock_buddy.replay.report import explanation_lines, mismatch_lines, result_lines, state_lines, stopped_lines
from pageblock_buddy.variants import VARIANTS
from pageblock_buddy.views import FORMATS, render

EXIT_GOOD = 0
EXIT_DIFFERENCE = 1
EXIT_UNUSABLE = 2
EXIT_INCOMPLETE = 3

_DESCRIPTION = "A readable reference implementation of the Linux page allocator, checked against real kernels."
_EPILOG = """\
exit codes: 0 all good; 1 a difference or a fault was found; 2 unusable input or usage; 3 incomplete
start with:  pageblock-buddy demo
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pageblock-buddy",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pageblock-buddy {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    commands.add_parser(
        "demo",
        help="replay the recording of a real kernel that ships with the package",
        description="Replay the recording of a real Linux 6.12 kernel that ships with the package, explain one of its "
        "operations, and say how many matched.",
    )
    replay = commands.add_parser(
        "replay",
        help="replay a recording and compare every PFN, event and snapshot; or replay a schedule of the interleaver",
        description="Boot the model from the first snapshot of a recording, perform every operation, and compare "
        "every PFN, every inner event in order, and every later snapshot. Stops at the first mismatch and explains it. "
        "FILE may also be a schedule that explore or shrink wrote: then that schedule is run, step by step, and the "
        "first step that is not as recorded is named; or a program, with --schedule.",
        epilog="The last line of a recording's replay is: N operations, M mismatches.",
    )
    _recording_arguments(replay)
    add_schedule_arguments(replay)
    replay.add_argument("--keep-going", action="store_true", help="resume at the next snapshot after a mismatch")
    replay.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    why = commands.add_parser(
        "explain",
        help="say rule by rule why an operation gave its PFN",
        description="Replay a recording up to one operation and print, rule by rule with the ids of docs/spec, why "
        "the model answers as it does.",
    )
    _recording_arguments(why)
    why.add_argument(
        "--at",
        type=int,
        required=True,
        metavar="OP",
        help="operation number, from 0, as in mismatch reports; snapshots and (in natural runs) events count",
    )
    why.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    show = commands.add_parser(
        "show",
        help="print the state in the kernel's own text formats",
        description="Print the state of the model before one operation of a recording (default: its first snapshot) as "
        "/proc/buddyinfo, /proc/pagetypeinfo or the page-set part of /proc/zoneinfo would show it, or as JSON.",
    )
    _recording_arguments(show)
    show.add_argument("--at", type=int, default=0, metavar="OP", help="operation number, from 0 (default 0)")
    show.add_argument("--format", choices=FORMATS, default=FORMATS[0], help=f"default: {FORMATS[0]}")
    add_run_parser(commands)
    add_explore_parser(commands)
    add_shrink_parser(commands)
    add_cut_parser(commands)
    add_timeline_parser(commands)
    return parser


def _recording_arguments(parser: argparse.ArgumentParser) -> None:
    comparable = [name for name, variant in VARIANTS.items() if variant.calls.pcp_buddy is None]
    parser.add_argument("file", metavar="FILE", help="a recording: JSON Lines, plain or gzip")
    parser.add_argument(
        "--variant",
        metavar="V",
        help=f"allocator to use: {', '.join(comparable)} (default: the one for the recording's kernel)",
    )


def _replay(arguments: argparse.Namespace) -> int:
    if is_schedule(arguments):
        return replay_schedule(arguments)
    try:
        size = os.path.getsize(arguments.file)
    except OSError:
        size = 0
    with progress_bar("replay", size) as progress:
        result = replay_recording(
            arguments.file, variant=arguments.variant, keep_going=arguments.keep_going, progress=progress
        )
    if not result.operations and not result.mismatches:
        raise InputError(f"{result.recording}: no operation in it, nothing was compared")
    # Known before anything is printed: it holds even if nobody reads on.
    arguments.code = EXIT_DIFFERENCE if result.mismatches else EXIT_GOOD
    if arguments.json:
        print(json.dumps(result.to_dict()))
    else:
        _print_result(arguments, result)
    return int(arguments.code)


def _print_result(arguments: argparse.Namespace, result: ReplayResult) -> None:
    for mismatch in result.mismatches:
        print("\n".join(mismatch_lines(result, mismatch)))
        if mismatch is result.mismatches[0] and mismatch.operation != "snapshot":
            stopped = stop_before(arguments.file, mismatch.index, variant=arguments.variant)
            print("\n".join(stopped_lines(stopped)))
    print("\n".join(result_lines(result)))


def _explain(arguments: argparse.Namespace) -> int:
    stopped = stop_before(arguments.file, arguments.at, variant=arguments.variant)
    operation = stopped.operation
    if operation is None:
        raise InputError(f"operation {arguments.at} is a snapshot; there is nothing to explain")
    if arguments.json:
        print(json.dumps({"operation": operation.describe(), **explain(stopped.perform).to_dict()}))
        return EXIT_GOOD
    if operation.index != arguments.at:
        print(f"{arguments.at} is part of operation {operation.index}:")
    print(f"operation {operation.index}, line {operation.lineno}: {operation.describe()}")
    print("\n".join(["state before it:", *state_lines(stopped.kernel, operation.cpu), "rule by rule:"]))
    print("\n".join(explanation_lines(stopped)))
    return EXIT_GOOD


def _show(arguments: argparse.Namespace) -> int:
    stopped = stop_before(arguments.file, arguments.at, variant=arguments.variant)
    sys.stdout.write(render(stopped.kernel, arguments.format))
    return EXIT_GOOD


def _demo(_: argparse.Namespace) -> int:
    return EXIT_DIFFERENCE if demo(sys.stdout).mismatches else EXIT_GOOD


def _run(arguments: argparse.Namespace) -> int:
    run(arguments)
    return EXIT_GOOD


_COMMANDS = {
    "demo": _demo,
    "replay": _replay,
    "explain": _explain,
    "show": _show,
    "run": _run,
    "explore": explore,
    "timeline": timeline,
    "shrink": run_shrink,
    "cut": run_cut,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.  Returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return EXIT_UNUSABLE
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name need not be text, and the terminal need not know our characters.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _COMMANDS[arguments.command](arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of our output went away (head, less): nothing is wrong, and nobody is listening.
        _drop_output()
        return int(getattr(arguments, "code", EXIT_GOOD))
    except (KeyboardInterrupt, SystemError) as error:
        # CPython's json scanner can turn an interrupt into a SystemError that was caused by it.
        if isinstance(error, SystemError) and not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        print("pageblock-buddy: interrupted", file=sys.stderr)
        return EXIT_INCOMPLETE
    except (MemoryError, OSError) as error:
        print(f"pageblock-buddy: {getattr(error, 'strerror', None) or 'not enough memory'}", file=sys.stderr)
        _drop_output()
        return EXIT_INCOMPLETE
    except PageblockBuddyError as error:
        if getattr(arguments, "json", False):
            print(json.dumps({"error": error.to_dict()}))
        print(f"pageblock-buddy: {error.message}", file=sys.stderr)
        return EXIT_UNUSABLE


def _drop_output() -> None:
    """Keep what could not be written from being tried again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
