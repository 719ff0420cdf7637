# SPDX-License-Identifier: GPL-2.0-only
"""The command ``timeline``: a schedule as something to look at."""

from __future__ import annotations

import argparse
import os
from typing import Any, Final

from pageblock_buddy.cli_explore import DEFAULT_VARIANT, EXIT_GOOD
from pageblock_buddy.errors import InputError
from pageblock_buddy.interleave.carriers import get_carrier
from pageblock_buddy.interleave.catalogue import get_program, program_names
from pageblock_buddy.interleave.schedule import first_difference, from_text, is_schedule_file, read_schedule
from pageblock_buddy.interleave.timeline import Timeline, film_schedule, html_page, trace_events
from pageblock_buddy.textfiles import write_text
from pageblock_buddy.variants import get_variant

DEFAULT_OUTPUT: Final = "timeline.html"

_DESCRIPTION: Final = """\
Run a schedule that explore or shrink wrote, or a program with --schedule, and draw what happened: one HTML file with a
lane for each CPU, the locks, who waits for whom, and where the pages of each pageblock are, step by step.  With
--perfetto also (without -o: only) the same as trace events, for Perfetto.
"""
_EPILOG: Final = """\
examples:
  pageblock-buddy explore abba-hardirq -o faulty.jsonl
  pageblock-buddy timeline faulty.jsonl -o faulty.html --perfetto faulty.json
  pageblock-buddy timeline remote-free-drain --schedule '1:0*'

exit codes: 0 written, whatever the run found; 2 unusable input
"""


def add_timeline_parser(commands: Any) -> None:
    """Add ``timeline`` to the subparsers of the command line."""
    parser = commands.add_parser(
        "timeline",
        help="draw a schedule: CPUs, locks, waits and pageblocks, as HTML or for Perfetto",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a schedule (JSON Lines); with --schedule a program")
    parser.add_argument("--schedule", metavar="TEXT", help="draw this schedule; FILE is a program then")
    parser.add_argument("--variant", metavar="V", help=f"allocator (default: the file's, or {DEFAULT_VARIANT})")
    parser.add_argument("-o", "--output", metavar="HTML", help=f"write the page there (default {DEFAULT_OUTPUT})")
    parser.add_argument("--perfetto", metavar="JSON", help="write trace events there")


def timeline(arguments: argparse.Namespace) -> int:
    """Run a schedule, write what was asked for.  Returns the exit code.  Errors: InputError, ReplayDivergence,
    UnknownVariant, MissingExtra."""
    page = arguments.output
    if page is None and arguments.perfetto is None:
        page = DEFAULT_OUTPUT
    _check_outputs(arguments.file, page, arguments.perfetto)
    filmed, notes = _film(arguments)
    # Both are made before either is written: an error leaves nothing behind.
    texts = [] if page is None else [(page, html_page(filmed, notes))]
    if arguments.perfetto is not None:
        texts.append((arguments.perfetto, trace_events(filmed)))
    for path, text in texts:
        write_text(path, text)
    for note in notes:
        print(f"note: {note}")
    for path, _ in texts:
        print(f"written: {path}")
    return EXIT_GOOD


def _film(arguments: argparse.Namespace) -> tuple[Timeline, list[str]]:
    """The run, and what must be said about it."""
    file = None
    if arguments.schedule is not None:
        program, schedule = get_program(arguments.file), from_text(arguments.schedule)
        variant = get_variant(arguments.variant or DEFAULT_VARIANT).name
    else:
        if not is_schedule_file(arguments.file) and arguments.file in program_names():
            raise InputError(f"{arguments.file} is a program: say which schedule of it with --schedule")
        file = read_schedule(arguments.file)
        program, schedule = file.program, file.schedule
        variant = get_variant(arguments.variant or file.variant).name
    carrier = get_carrier("threads")
    try:
        filmed = film_schedule(program, variant, carrier, schedule)
    finally:
        carrier.close()
    difference = first_difference(file.steps, filmed.steps) if file is not None and file.steps else None
    if difference is None:
        return filmed, []
    return filmed, [f"step {difference} is not the one that the file expects: this is the run as it is now"]


def _check_outputs(source: str, *outputs: str | None) -> None:
    """Refuse to write over the input, or two outputs into one file."""
    names = [os.path.realpath(name) for name in outputs if name is not None]
    if len(set(names)) < len(names):
        raise InputError(f"{outputs[0]}: both outputs would go there")
    if os.path.realpath(source) in names and os.path.exists(source):
        raise InputError(f"{source}: the output would replace the input")
