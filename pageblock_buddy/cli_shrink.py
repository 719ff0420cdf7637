# SPDX-License-Identifier: GPL-2.0-only
"""The command ``shrink``: a counterexample with as few operations, CPUs, preemptions and pages as can be."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from pageblock_buddy.cli_explore import DEFAULT_VARIANT, EXIT_FAULT, EXIT_GOOD, EXIT_INCOMPLETE, schedule_file
from pageblock_buddy.errors import InputError
from pageblock_buddy.interleave.carriers import CARRIERS
from pageblock_buddy.interleave.catalogue import get_program
from pageblock_buddy.interleave.findings import Finding
from pageblock_buddy.interleave.program import Program, op_text
from pageblock_buddy.interleave.schedule import is_schedule_file, read_schedule, to_text
from pageblock_buddy.interleave.search import ASSUMPTION, EXHAUSTED, Search
from pageblock_buddy.interleave.shrink import Shrunk, operations, shrink
from pageblock_buddy.interleave.trace import two_column_lines
from pageblock_buddy.variants import get_variant

_DESCRIPTION: Final = """\
Make a counterexample short: fewer operations, then fewer CPUs, then fewer preemptions, then a smaller zone. Prints the
program that is left and its run, one column a CPU.

exit codes: 1 there is a fault, and this is its shortest form; 0 exhausted, nothing to shrink; 2 unusable input;
3 nothing was found, but not everything was searched
"""


def add_shrink_parser(commands: Any) -> None:
    """Add ``shrink`` to the subparsers of the command line."""
    parser = commands.add_parser(
        "shrink",
        help="make a counterexample of explore as short as it can be",
        description=_DESCRIPTION,
        epilog="example:\n  pageblock-buddy shrink abba-hardirq --variant rfc",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", metavar="FILE", help="a schedule that explore -o wrote; or a program, which is explored first"
    )
    parser.add_argument("--variant", metavar="V", help=f"allocator (default {DEFAULT_VARIANT}, or the schedule's)")
    parser.add_argument("--carrier", choices=tuple(CARRIERS), default="threads", help="what the stacks run on")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the shortest schedule there (JSON Lines)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run_shrink(arguments: argparse.Namespace) -> int:
    """Shrink, print.  Returns the exit code.  Errors: InputError, UnknownVariant."""
    if is_schedule_file(arguments.file):
        file = read_schedule(arguments.file)
        program, variant = file.program, get_variant(arguments.variant or file.variant).name
        if file.finding is None:
            raise InputError(f"{arguments.file}: a schedule without a finding, there is nothing to shrink")
        finding = Finding(str(file.finding.get("code")), "", detail=str(file.finding.get("detail", "")))
    else:
        program, variant = get_program(arguments.file), get_variant(arguments.variant or DEFAULT_VARIANT).name
        with Search(program, variant, carrier=arguments.carrier) as search:
            result = search.run()
        if not result.findings:
            print(f"{program.name} on {variant}: {result.verdict}: nothing to shrink; {ASSUMPTION}")
            return EXIT_GOOD if result.verdict == EXHAUSTED else EXIT_INCOMPLETE
        finding = result.findings[0]
    shrunk = shrink(program, variant, finding, carrier=arguments.carrier)
    if shrunk.recorded is not None and arguments.output is not None:
        schedule_file(shrunk.recorded).write(arguments.output)
    if arguments.json:
        print(json.dumps(_to_dict(shrunk)))
        return EXIT_FAULT
    print("\n".join(program_lines(shrunk.program)))
    print()
    if shrunk.recorded is not None:
        print("\n".join(two_column_lines(shrunk.recorded)))
        print(f"\nschedule: {to_text(shrunk.recorded.schedule)}")
    else:
        print("\n".join([f"{shrunk.finding.message}", *(f"  {line}" for line in shrunk.finding.lines)]))
    more = "" if shrunk.finished else ", stopped by the bound on runs"
    was, now = operations(program), operations(shrunk.program)
    print(f"{program.name} on {variant}: {was} operations shrunk to {now} in {shrunk.runs} runs{more}; {ASSUMPTION}")
    if shrunk.recorded is not None and arguments.output is not None:
        print(f"written: {arguments.output}")
    return EXIT_FAULT


def program_lines(program: Program) -> list[str]:
    """A program for people."""
    config = program.config
    zones = ", ".join(f"{zone.spanned_pages} pages" for zone in config.zones)
    lines = [f"machine: {config.nr_cpus} CPUs, {zones}, pageblocks of {1 << config.pageblock_order} pages"]
    if program.setup:
        lines.append("before:  " + "; ".join(f"CPU {entry.on}: {op_text(entry.op)}" for entry in program.setup))
    for process in program.processes():
        where = f"CPU {process.cpu} {process.context.value}"
        lines.append(f"{where}: " + "; ".join(_text(op) for op in process.ops))
    lines += [f"CPU {task} task may migrate to CPU {to}" for task, to in program.migrations]
    return lines


def _text(op: Any) -> str:
    inner = getattr(op, "ops", None)
    if inner is None:
        return op_text(op)
    return f"{op_text(op)} {{ {'; '.join(_text(one) for one in inner)} }}"


def _to_dict(shrunk: Shrunk) -> dict[str, Any]:
    return {
        "program": shrunk.program.to_dict(),
        "finding": shrunk.finding.to_dict(),
        "schedule": None if shrunk.recorded is None else to_text(shrunk.recorded.schedule),
        "operations": operations(shrunk.program),
        "runs": shrunk.runs,
        "finished": shrunk.finished,
    }
