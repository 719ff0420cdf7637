# SPDX-License-Identifier: GPL-2.0-only
"""The command ``cut``: a program out of a recording or a workload."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from pageblock_buddy.errors import InputError
from pageblock_buddy.interleave.cut import cut_recording, cut_workload
from pageblock_buddy.textfiles import write_text
from pageblock_buddy.workload import WORKLOADS
from pageblock_buddy.workload.parameters import parse_settings

_DESCRIPTION: Final = """\
Cut a few operations out of a scripted recording or a built-in workload and write them as a program for explore: each
operation on its own CPU, in any interleaving. The machine is a small one; pages that are freed but were allocated
before are allocated in the set-up.
"""


def add_cut_parser(commands: Any) -> None:
    """Add ``cut`` to the subparsers of the command line."""
    parser = commands.add_parser(
        "cut",
        help="cut a program for explore out of a recording or a workload",
        description=_DESCRIPTION,
        epilog="example:\n  pageblock-buddy cut tests/recordings/6.12-a.jsonl.gz --start 5000 --count 6 -o cut.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help=f"a recording, or one of: {', '.join(WORKLOADS)}")
    parser.add_argument("--start", type=int, default=0, metavar="N", help="number of the first operation (default 0)")
    parser.add_argument("--count", type=int, default=6, metavar="N", help="how many operations (default 6)")
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        nargs="+",
        action="extend",
        default=[],
        dest="settings",
        help="parameters of the workload, as run takes them",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write the program there (default: print it)")


def run_cut(arguments: argparse.Namespace) -> int:
    """Cut, write.  Returns the exit code.  Errors: InputError."""
    settings = parse_settings(arguments.settings)
    if arguments.source in WORKLOADS:
        program = cut_workload(arguments.source, settings, arguments.start, arguments.count)
    elif settings:
        raise InputError("--set is for workloads")
    else:
        program = cut_recording(arguments.source, arguments.start, arguments.count)
    text = json.dumps(program.to_dict(), indent=1) + "\n"
    if arguments.output is None:
        print(text, end="")
        return 0
    write_text(arguments.output, text)
    print(f"written: {arguments.output}")
    return 0
