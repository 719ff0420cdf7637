# SPDX-License-Identifier: GPL-2.0-only
"""The table of docs/stability.md: ``python -m tests.interleave.stability_table`` writes it anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pageblock_buddy.interleave.search import EXHAUSTED
from pageblock_buddy.interleave.stability import RIVALS, check, family

PAGE = Path(__file__).resolve().parents[2] / "docs" / "stability.md"
BEGIN, END = "<!-- begin: written by python -m tests.interleave.stability_table -->", "<!-- end: written -->"
VARIANTS = ("rfc", "rfc-trylock", "llist")
GROUPS = {**{name: text for name, (text, _) in RIVALS.items()}, "migrating": "CPU 0's task frees x and migrates"}


def rows(variant: str, carrier: str = "threads") -> Iterator[tuple[str, Counter[str]]]:
    """(rival, counts) of a variant, over all states and frees."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in GROUPS}
    for program in family():
        checked = check(program, variant, carrier=carrier)
        row = counts[program.name.rsplit("/", 1)[-1]]
        row.update(
            programs=1,
            exhausted=checked.result.verdict == EXHAUSTED,
            faults=len(checked.result.findings),
            schedules=checked.result.schedules,
            compared=checked.compared,
            changed=checked.changed,
        )
    yield from counts.items()


def table(carrier: str = "threads") -> str:
    """The table, in Markdown."""
    lines = [
        "| rival | variant | programs | exhausted | schedules | owners compared | changed | faults |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    found = {variant: dict(rows(variant, carrier)) for variant in VARIANTS}
    for name, text in GROUPS.items():
        for variant in VARIANTS:
            row = found[variant][name]
            numbers = " | ".join(
                str(row[key]) for key in ("programs", "exhausted", "schedules", "compared", "changed", "faults")
            )
            lines.append(f"| {text} | `{variant}` | {numbers} |")
    return "\n".join(lines)


def written(text: str) -> str:
    """The table that stands in the page."""
    return text.split(BEGIN)[1].split(END)[0].strip()


if __name__ == "__main__":
    page = PAGE.read_text()
    head, rest = page.split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}")
