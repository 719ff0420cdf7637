# SPDX-License-Identifier: GPL-2.0-only
"""The command ``run``: a workload on one or more variants, and a table of what it cost there."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from pageblock_buddy.progress import progress_bar
from pageblock_buddy.rfc.policies import POLICIES
from pageblock_buddy.variants import DEFAULT_VARIANT, VARIANTS, get_variant
from pageblock_buddy.workload import WORKLOADS, RunResult, Workload, get_workload, run_workload, table_lines
from pageblock_buddy.workload.parameters import Parameters, parse_settings, parse_size

_PAGE_BYTES = 4096

_DESCRIPTION = """\
Boot a machine, let its simulated CPUs perform a built-in workload in a fixed round-robin order, and count, after a
warm-up, how often zone->lock is taken and how much is done while it is held. The same command always prints the same.
"""
_EXAMPLES = """\
examples:
  pageblock-buddy run purger --variant linux-7.0 --compare rfc rfc+want-block
  pageblock-buddy run purger --variant rfc --memory 4G --cpus 8 --set live=1/8 bursts=0.25
"""


def add_run_parser(commands: Any) -> None:
    """Add ``run`` to the subparsers of the command line."""
    parser = commands.add_parser(
        "run",
        help="run a workload on simulated CPUs and compare what it costs on each variant",
        description=_DESCRIPTION,
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workload", metavar="WORKLOAD", help="one of the workloads below")
    parser.add_argument(
        "--variant", metavar="V", default=DEFAULT_VARIANT, help=f"allocator to run on (default {DEFAULT_VARIANT})"
    )
    parser.add_argument("--compare", metavar="V", nargs="+", default=[], help="more allocators to run on")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.add_argument("--seed", metavar="N", help="where the workload's random numbers start (default 1)")
    parser.add_argument("--cpus", metavar="N", help="number of CPUs")
    parser.add_argument("--memory", metavar="SIZE", help="memory, such as 512M or 16G")
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        nargs="+",
        action="extend",
        default=[],
        dest="settings",
        help="set parameters of the workload; fractions such as 1/4 and lists such as 1,4 are fine",
    )


def _epilog() -> str:
    lines = ["workloads, with their parameters (docs/workloads.md):"]
    for workload in WORKLOADS.values():
        lines.append(f"  {workload.name:<16}{workload.summary}")
        lines += [f"  {'':<16}  {line}" for line in _wrapped(_settings_of(workload.parameters()), 90)]
    lines += ["", "variants:"]
    lines += [f"  {variant.name:<16}{variant.summary}" for variant in VARIANTS.values()]
    with_owners = ", ".join(variant.name for variant in VARIANTS.values() if variant.calls.pcp_buddy is not None)
    lines += ["", f"policies, joined with + to {with_owners}:"]
    lines += [f"  {'+' + policy.name:<20}{policy.summary}" for policy in POLICIES.values()]
    return "\n".join([*lines, "", _EXAMPLES])


def _settings_of(parameters: Parameters) -> list[str]:
    """The parameters as ``--set`` takes them."""
    return [
        f"{name}={','.join(f'{part:g}' for part in value) if isinstance(value, list) else value}"
        for name, value in parameters.to_dict().items()
    ]


def _wrapped(words: Sequence[str], width: int) -> list[str]:
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += word + " "
    return [line.rstrip() for line in lines]


def run(arguments: argparse.Namespace) -> None:
    """Run the workload on each variant and print the comparison.

    Errors: InputError, UnknownVariant, ConfigError; then nothing was run.
    """
    workload = get_workload(arguments.workload)
    parameters = workload.parameters.from_text(_given(arguments))
    variants = [get_variant(name).name for name in dict.fromkeys([arguments.variant, *arguments.compare])]
    parameters.config()
    results = {variant: _run_one(workload, parameters, variant).to_dict() for variant in variants}
    if arguments.json:
        print(json.dumps({"workload": workload.name, "parameters": parameters.to_dict(), "variants": results}))
        return
    print(f"{workload.name}: {workload.summary}")
    print("\n".join(_wrapped(_settings_of(parameters), 100)))
    print()
    print("\n".join(table_lines(results)))
    for variant, result in results.items():
        if result["failed_allocations"]:
            print(f"{variant}: {result['failed_allocations']} allocations failed")


def _given(arguments: argparse.Namespace) -> dict[str, str]:
    """The parameters of the command line, as text."""
    given = parse_settings(arguments.settings)
    if arguments.seed is not None:
        given["seed"] = arguments.seed
    if arguments.cpus is not None:
        given["cpus"] = arguments.cpus
    if arguments.memory is not None:
        given["memory"] = str(parse_size(arguments.memory))
    return given


def _run_one(workload: Workload, parameters: Parameters, variant: str) -> RunResult:
    with progress_bar(f"{workload.name} on {variant}", parameters.pages * _PAGE_BYTES) as bar:

        def progress(done: int, total: int) -> None:
            assert bar is not None
            bar(done * _PAGE_BYTES, total * _PAGE_BYTES)

        return run_workload(workload, parameters, variant, progress=None if bar is None else progress)
