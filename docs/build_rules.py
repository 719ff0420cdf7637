# SPDX-License-Identifier: GPL-2.0-only
"""Makes pageblock_buddy/data/rules.json and docs/generated/rules.md from the spec, the marks, tests and recordings.

    python docs/build_rules.py            write both
    python docs/build_rules.py --check    write nothing; exit 1 if one would change

The table says for each rule that holds in 6.12 which functions carry it out, which tests cite it, and which
recordings of a real kernel make the model execute it.  Recordings that do not replay exactly do not count.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pageblock_buddy import rules  # noqa: E402
from pageblock_buddy.errors import PageblockBuddyError  # noqa: E402
from pageblock_buddy.explain import RuleCoverage  # noqa: E402
from pageblock_buddy.replay import replay_recording  # noqa: E402

SPEC: Final = ROOT / "docs" / "spec" / "linux-page-alloc.md"
NOT_MODELLED: Final = ROOT / "docs" / "spec" / "not-modelled.toml"
RULES_JSON: Final = ROOT / "pageblock_buddy" / "data" / "rules.json"
TABLE: Final = ROOT / "docs" / "generated" / "rules.md"
TESTS: Final = ROOT / "tests"
#: not the packaged one: it is 6.12-b again
RECORDINGS: Final = (TESTS / "recordings",)
#: the version that the table is about
VERSION: Final = "6.12"
#: how many names a cell holds before it only counts
_SHOWN: Final = 3

_START = re.compile(r"- \*\*(LPA-\d+\.\d+\.\d+[a-z]?)\*\* \[([^\]]+)\] (.*)")


class SpecError(ValueError):
    """The spec cannot be read: a rule without title, an id used twice, an unknown version."""


# --- the spec ----------------------------------------------------------------------------------


def parse_spec(text: str) -> dict[str, rules.Rule]:
    """The rules of the spec by id, in its order.  SpecError for what is not well-formed."""
    found: dict[str, rules.Rule] = {}
    lines = iter([*text.splitlines(), ""])
    line = next(lines, None)
    while line is not None:
        match = _START.fullmatch(line)
        line = next(lines, None)
        if match is None:
            continue
        rule_id, tags, body = match.groups()
        while line is not None and line.startswith("  "):
            body += " " + line.strip()
            line = next(lines, None)
        title, stop, rest = body.partition(". ")
        if not stop:
            raise SpecError(f"{rule_id} has no title that ends with a full stop")
        if rule_id in found:
            raise SpecError(f"{rule_id} is there twice")
        versions = tuple(tags.split())
        for tag in versions:
            if tag != "all" and tag.removesuffix("+") not in rules.VERSIONS:
                raise SpecError(f"{rule_id}: unknown version {tag!r}")
        found[rule_id] = rules.Rule(rule_id, versions, title, rest)
    if not found:
        raise SpecError("the spec has no rules")
    return found


def rules_json(found: Mapping[str, rules.Rule]) -> str:
    """The content of rules.json."""
    entries = {r.id: {"versions": list(r.versions), "title": r.title, "text": r.text} for r in found.values()}
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


# --- the hand-kept reasons ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reasons:
    """docs/spec/not-modelled.toml: id or subsection -> why there is no code, or why no recording can reach it."""

    no_code: Mapping[str, str]
    no_recording: Mapping[str, str]

    @classmethod
    def read(cls, text: str) -> Reasons:
        """Parse the file."""
        data = tomllib.loads(text)
        return cls(no_code=dict(data.get("no-code", {})), no_recording=dict(data.get("no-recording", {})))

    @staticmethod
    def of(table: Mapping[str, str], rule: rules.Rule) -> str | None:
        """The entry for a rule, its subsection or its section."""
        section = rule.subsection.rpartition(".")[0]
        return table.get(rule.id) or table.get(rule.subsection) or table.get(section)


# --- tests and recordings ----------------------------------------------------------------------


def tests_by_rule(found: Mapping[str, rules.Rule]) -> dict[str, list[str]]:
    """For each rule the test functions whose source cites it, or its subsection."""
    result: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        if path.name in ("test_rules.py", "test_explain.py"):
            continue  # these cite ids as examples
        source = path.read_text("utf-8")
        lines = source.splitlines()
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                continue
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            # a comment right above the function is about it
            while first > 1 and lines[first - 2].lstrip().startswith("#"):
                first -= 1
            text = "\n".join(lines[first - 1 : node.end_lineno])
            for rule_id in rules.expand_ids(rules.cited_ids(text), found):
                result.setdefault(rule_id, []).append(f"{path.relative_to(TESTS).as_posix()}: {node.name}")
    return {rule_id: sorted(set(names)) for rule_id, names in result.items()}


def recordings() -> list[Path]:
    """The recordings that the project carries, by name."""
    return sorted((p for d in RECORDINGS for p in d.glob("*.jsonl.gz")), key=lambda p: p.name)


def covered_by(path: Path) -> tuple[str, list[str], str]:
    """(name, ids that a replay executes, why it does not count or "")."""
    name = path.name.removesuffix(".jsonl.gz")
    try:
        with RuleCoverage() as coverage:
            result = replay_recording(path)
    except PageblockBuddyError as error:
        return name, [], error.message
    if result.mismatches:
        return name, [], f"mismatch at line {result.mismatches[0].lineno}"
    return name, sorted(coverage.ids), ""


@dataclass
class Exercised:
    """Which recordings execute which rule."""

    by_rule: dict[str, list[str]] = field(default_factory=dict)
    replayed: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def replay_all(paths: Sequence[Path]) -> Exercised:
    """Replay every recording, each in a process of its own."""
    exercised = Exercised()
    if not paths:
        return exercised
    with ProcessPoolExecutor(max_workers=min(len(paths), os.cpu_count() or 1)) as pool:
        for name, ids, problem in pool.map(covered_by, paths):
            if problem:
                exercised.left_out[name] = problem
                continue
            exercised.replayed.append(name)
            for rule_id in ids:
                exercised.by_rule.setdefault(rule_id, []).append(name)
    return exercised


# --- the table ---------------------------------------------------------------------------------


def _cell(names: Sequence[str], *, code: bool = False) -> str:
    quoted = [f"`{name}`" if code else name for name in names[:_SHOWN]]
    more = len(names) - _SHOWN
    return "<br>".join(quoted + ([f"and {more} more"] if more > 0 else []))


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def functions_of(marks: Iterable[rules.Mark]) -> list[str]:
    """The functions that carry a rule out, "file: function"; constants by file."""
    return list(dict.fromkeys(f"{m.file}: {m.function}" if m.function else f"{m.file}: constant" for m in marks))


def table(found: Mapping[str, rules.Rule], reasons: Reasons, exercised: Exercised) -> str:
    """The content of rules.md."""
    marks = rules.marks_by_rule()
    tests = tests_by_rule(found)
    holding = [r for r in found.values() if r.holds_in(VERSION)]
    out = [
        "<!-- SPDX-License-Identifier: GPL-2.0-only -->",
        "<!-- Made by docs/build_rules.py; do not edit. -->",
        "",
        "# Rules: code, tests, recordings",
        "",
        "One row for each rule of [the specification](../spec/linux-page-alloc.md). *Code*: the functions whose marked",
        f"statement carries the rule out; without one, for a rule that holds in {VERSION}, the reason. *Tests*: those",
        "that cite the rule or its subsection. *Recordings*: runs of a real kernel in whose replay the marked",
        "statement is executed and nothing differs.",
        "",
    ]
    out.append("| rule | versions | code | tests | recordings |")
    out.append("| --- | --- | --- | --- | --- |")
    section = ""
    with_code = with_recording = 0
    for rule in found.values():
        own = marks.get(rule.id, [])
        code = _cell(functions_of(own), code=True)
        runs = exercised.by_rule.get(rule.id, [])
        seen = ""
        if rule.holds_in(VERSION):
            if own:
                with_code += 1
                cannot = Reasons.of(reasons.no_recording, rule)
                if all(mark.constant for mark in own):
                    seen = "constant"
                elif cannot is not None:
                    seen = f"none can: {cannot}"
                elif runs:
                    with_recording += 1
                    seen = _cell(runs)
                    if len(runs) == len(exercised.replayed) > 1:
                        seen = f"all {len(runs)}"
                else:
                    seen = "unexercised"
            else:
                code = f"*{Reasons.of(reasons.no_code, rule) or 'no reason given'}*"
        section_now = rule.id.split(".")[0]
        anchor = f'<a id="{section_now.lower()}"></a>' if section_now != section else ""
        section = section_now
        cells = (
            f"{anchor}{rule.id} {_escape(rule.title)}",
            " ".join(rule.versions),
            _escape(code),
            _cell(tests.get(rule.id, []), code=True),
            seen,
        )
        out.append("| " + " | ".join(cells) + " |")
    out += ["", f"Recordings replayed: {', '.join(exercised.replayed) or 'none'}.", ""]
    out += [f"Left out: {name}: {problem}.\n" for name, problem in exercised.left_out.items()]
    out.append(
        f"Rules holding in {VERSION}: {len(holding)}, with code: {with_code}, "
        f"exercised by a recording: {with_recording}."
    )
    return "\n".join(out) + "\n"


# --- writing -----------------------------------------------------------------------------------


def build() -> dict[Path, str]:
    """Every file that this makes, with its content.  Cost: one replay of each recording."""
    found = parse_spec(SPEC.read_text("utf-8"))
    reasons = Reasons.read(NOT_MODELLED.read_text("utf-8"))
    return {RULES_JSON: rules_json(found), TABLE: table(found, reasons, replay_all(recordings()))}


def changed(files: Mapping[Path, str]) -> list[Path]:
    """The files whose content on disk is another one."""
    return [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]


def difference(path: Path, text: str, limit: int = 20) -> list[str]:
    """The first lines that differ between a file and what it should be."""
    old = path.read_text("utf-8").splitlines() if path.exists() else []
    lines = list(difflib.unified_diff(old, text.splitlines(), "on disk", "made now", n=0, lineterm=""))
    return lines[:limit] + ([f"... {len(lines) - limit} more lines"] if len(lines) > limit else [])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command.  Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file would change")
    check = parser.parse_args(arguments).check
    if not RULES_JSON.exists() and not check:  # the very first run: the modules below need it
        RULES_JSON.write_text(rules_json(parse_spec(SPEC.read_text("utf-8"))), "utf-8")
    files = build()
    stale = changed(files)
    for path in stale:
        print(f"{'would change' if check else 'wrote'} {path.relative_to(ROOT)}")
        if check:
            print("\n".join(difference(path, files[path])))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], "utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
