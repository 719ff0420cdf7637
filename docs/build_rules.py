# SPDX-License-Identifier: GPL-2.0-only
"""Makes pageblock_buddy/data/rules.json and docs/generated/rules*.md from the specs, the marks, tests and recordings.

    python docs/build_rules.py            write all
    python docs/build_rules.py --check    write nothing; exit 1 if one would change

rules.md says for each rule that holds in 6.12 which functions carry it out, which tests cite it, and which
recordings of a real kernel make the model execute it.  Recordings that do not replay exactly do not count.
rules-7.0.md and rules-rfc.md say the same, without recordings, of the rules new in 7.0 and of those of the RFC.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import difflib
import json
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pageblock_buddy import rules  # noqa: E402
from pageblock_buddy.errors import PageblockBuddyError  # noqa: E402
from pageblock_buddy.explain import RuleCoverage  # noqa: E402
from pageblock_buddy.replay import replay_recording  # noqa: E402
from pageblock_buddy.variants import VARIANTS, get_variant  # noqa: E402

SPEC: Final = ROOT / "docs" / "spec" / "linux-page-alloc.md"
RFC_SPEC: Final = ROOT / "docs" / "spec" / "pcp-buddy.md"
NOT_MODELLED: Final = ROOT / "docs" / "spec" / "not-modelled.toml"
RULES_JSON: Final = ROOT / "pageblock_buddy" / "data" / "rules.json"
TABLE: Final = ROOT / "docs" / "generated" / "rules.md"
TABLE_7_0: Final = ROOT / "docs" / "generated" / "rules-7.0.md"
TABLE_RFC: Final = ROOT / "docs" / "generated" / "rules-rfc.md"
TESTS: Final = ROOT / "tests"
#: not the packaged one: it is 6.12-b again
RECORDINGS: Final = (TESTS / "recordings",)
#: the version that rules.md is about
VERSION: Final = "6.12"
#: the version that rules-7.0.md compares with it, and the variant that stands for it
NEXT_VERSION: Final = "7.0"
NEXT_VARIANT: Final = "linux-7.0"
#: how many names a cell holds before it only counts
_SHOWN: Final = 3

_START = re.compile(rf"- \*\*({rules.RULE_ID})\*\* \[([^\]]+)\] (.*)")


class SpecError(ValueError):
    """The spec cannot be read: a rule without title, an id used twice, an unknown version or mark."""


# --- the spec ----------------------------------------------------------------------------------


def parse_spec(text: str) -> dict[str, rules.Rule]:
    """The rules of a spec by id, in its order.  SpecError for what is not well-formed."""
    found: dict[str, rules.Rule] = {}
    lines = iter([*text.splitlines(), ""])
    line = next(lines, None)
    while line is not None:
        match = _START.fullmatch(line)
        if match is None and line.startswith("- **RFC-"):
            raise SpecError(f"not the beginning of a rule: {line}")
        line = next(lines, None)
        if match is None:
            continue
        rule_id, bracket, body = match.groups()
        while line is not None and line.startswith("  "):
            body += " " + line.strip()
            line = next(lines, None)
        title, stop, rest = body.partition(". ")
        if not stop:
            raise SpecError(f"{rule_id} has no title that ends with a full stop")
        if rule_id in found:
            raise SpecError(f"{rule_id} is there twice")
        found[rule_id] = make_rule(rule_id, bracket, title, rest)
    if not found:
        raise SpecError("the spec has no rules")
    return found


def make_rule(rule_id: str, bracket: str, title: str, text: str) -> rules.Rule:
    """A rule from its bracket: versions for the LPA family, a status for the RFC family."""
    if is_rfc(rule_id):
        if not rules.STATUS.fullmatch(bracket):
            raise SpecError(f"{rule_id}: unknown mark {bracket!r}")
        return rules.Rule(rule_id, (), title, text, bracket)
    versions = tuple(bracket.split())
    for tag in versions:
        if tag != "all" and tag.removesuffix("+") not in rules.VERSIONS:
            raise SpecError(f"{rule_id}: unknown version {tag!r}")
    return rules.Rule(rule_id, versions, title, text)


def parse_specs() -> dict[str, rules.Rule]:
    """The rules of both specs, LPA before RFC."""
    return {**parse_spec(SPEC.read_text("utf-8")), **parse_spec(RFC_SPEC.read_text("utf-8"))}


def is_rfc(rule_id: str) -> bool:
    """Whether an id is of the RFC family."""
    return rule_id.startswith("RFC-")


def of_family(found: Mapping[str, rules.Rule], *, rfc: bool) -> dict[str, rules.Rule]:
    """The rules of one of the two families."""
    return {rule_id: rule for rule_id, rule in found.items() if is_rfc(rule_id) == rfc}


def rules_json(found: Mapping[str, rules.Rule]) -> str:
    """The content of rules.json."""
    entries = {
        r.id: ({"status": r.status} if is_rfc(r.id) else {"versions": list(r.versions)})
        | {"title": r.title, "text": r.text}
        for r in found.values()
    }
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


# --- the hand-kept reasons ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reasons:
    """docs/spec/not-modelled.toml: id or subsection -> why there is no code, or why no recording can reach it."""

    no_code: Mapping[str, str]
    no_recording: Mapping[str, str]
    no_code_7_0: Mapping[str, str] = field(default_factory=dict)
    no_code_rfc: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Reasons:
        """Parse the file."""
        data = tomllib.loads(text)
        return cls(
            no_code=dict(data.get("no-code", {})),
            no_recording=dict(data.get("no-recording", {})),
            no_code_7_0=dict(data.get("no-code-7-0", {})),
            no_code_rfc=dict(data.get("no-code-rfc", {})),
        )

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


# --- the tables of 7.0 and of the RFC ----------------------------------------------------------


def new_in_7_0(found: Mapping[str, rules.Rule]) -> list[rules.Rule]:
    """The rules that hold in 7.0 and not in 6.12."""
    return [rule for rule in found.values() if rule.holds_in(NEXT_VERSION) and not rule.holds_in(VERSION)]


def marks_of_7_0() -> tuple[rules.Mark, ...]:
    """The marks that linux-7.0 uses; none as long as there is no such variant."""
    return marks_in_use(NEXT_VARIANT) if NEXT_VARIANT in VARIANTS else ()


def rows_with_reasons(
    wanted: Iterable[rules.Rule],
    marks: Iterable[rules.Mark],
    reasons: Mapping[str, str],
    tests: Mapping[str, Sequence[str]],
) -> tuple[list[str], int]:
    """A row for each rule (rule, bracket, code or reason, tests), and how many have code."""
    by_rule: dict[str, list[rules.Mark]] = {}
    for mark in marks:
        for rule_id in mark.ids:
            by_rule.setdefault(rule_id, []).append(mark)
    rows = []
    section = ""
    with_code = 0
    for rule in wanted:
        own = by_rule.get(rule.id, [])
        with_code += bool(own)
        code = _cell(functions_of(own), code=True) or f"*{Reasons.of(reasons, rule) or 'no reason given'}*"
        section_now = rule.id.split(".")[0]
        anchor = f'<a id="{section_now.lower()}"></a>' if section_now != section else ""
        section = section_now
        cells = (
            f"{anchor}{rule.id} {_escape(rule.title)}",
            rule.status or " ".join(rule.versions),
            _escape(code),
            _cell(tests.get(rule.id, []), code=True),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return rows, with_code


def table_7_0(found: Mapping[str, rules.Rule], reasons: Reasons) -> str:
    """The content of rules-7.0.md."""
    wanted = new_in_7_0(found)
    rows, with_code = rows_with_reasons(wanted, marks_of_7_0(), reasons.no_code_7_0, tests_by_rule(found))
    out = [
        "<!-- SPDX-License-Identifier: GPL-2.0-only -->",
        "<!-- Made by docs/build_rules.py; do not edit. -->",
        "",
        "# Rules that are new in 7.0: code, tests",
        "",
        f"One row for each rule of [the specification](../spec/linux-page-alloc.md) that holds in {NEXT_VERSION} and",
        f"not in {VERSION}. *Code*: the functions of the variant whose marked statement carries the rule out; without",
        f"one, the reason. *Tests*: those that cite the rule or its subsection. {NEXT_VERSION} was read, not recorded.",
        "",
        "| rule | versions | code | tests |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        f"Rules: {len(wanted)}, with code: {with_code}.",
    ]
    return "\n".join(out) + "\n"


def table_rfc(found: Mapping[str, rules.Rule], reasons: Reasons) -> str:
    """The content of rules-rfc.md."""
    wanted = of_family(found, rfc=True).values()
    rows, with_code = rows_with_reasons(
        wanted, rules.marks_of_all_variants(), reasons.no_code_rfc, tests_by_rule(found)
    )
    out = [
        "<!-- SPDX-License-Identifier: GPL-2.0-only -->",
        "<!-- Made by docs/build_rules.py; do not edit. -->",
        "",
        "# Rules of the RFC: code, tests",
        "",
        "One row for each rule of [the pcp buddy allocator](../spec/pcp-buddy.md). *Mark*: how we know it. *Code*:",
        "the functions, of any variant, whose marked statement carries the rule out; without one, the reason.",
        "*Tests*: those that cite the rule or its section.",
        "",
        "| rule | mark | code | tests |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        f"Rules: {len(wanted)}, with code: {with_code}.",
    ]
    return "\n".join(out) + "\n"


# --- what a variant uses of those that it builds on --------------------------------------------

#: (file relative to the package, function)
Place = tuple[str, str]


def place_of(function: Callable[..., object]) -> Place:
    """Where a function is."""
    return file_of(function.__module__), function.__qualname__


def file_of(module: str) -> str:
    """The file of a module of the package, relative to it."""
    return module.removeprefix(f"{rules.PACKAGE.name}.").replace(".", "/") + ".py"


def entries(table: object) -> dict[str, Callable[..., object]]:
    """Entry point -> function, of a table and of the second one inside it."""
    found: dict[str, Callable[..., object]] = {}
    for name in (f.name for f in dataclasses.fields(table)):  # type: ignore[arg-type]
        value = getattr(table, name)
        if dataclasses.is_dataclass(value):
            found |= entries(value)
        elif value is not None:
            found[name] = value
    return found


@dataclass(frozen=True, slots=True)
class Names:
    """A file's functions, and (function, or "" at module level; function of the package that it names)."""

    functions: frozenset[str]
    uses: tuple[tuple[str, Place], ...]


@cache
def names_in(path: Path) -> Names:
    """Who names which function in a file: directly, as ``module.function``, or as ``variant.CALLS.function``."""
    tree = ast.parse(path.read_text("utf-8"))
    imports = {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(rules.PACKAGE.name)
        for alias in node.names
    }
    functions = frozenset(top.name for top in tree.body if isinstance(top, ast.FunctionDef))
    uses: list[tuple[str, Place]] = []
    for top in tree.body:
        user = top.name if isinstance(top, ast.FunctionDef) else ""
        for node in ast.walk(top):
            match node:
                case ast.Name(name) if name in functions:
                    uses.append((user, (path.relative_to(rules.PACKAGE).as_posix(), name)))
                case ast.Name(name) if name in imports:
                    uses.append((user, (file_of(imports[name][0]), imports[name][1])))
                case ast.Attribute(ast.Name(name), attribute) if name in imports:
                    uses.append((user, (file_of(".".join(imports[name])), attribute)))
                case ast.Attribute(ast.Attribute(ast.Name(name), "CALLS" | "PCP_BUDDY" as table), entry) if (
                    name in imports and entry != "pcp_buddy"
                ):
                    module = import_module(".".join(imports[name]))
                    uses.append((user, place_of(entries(getattr(module, table))[entry])))
    return Names(functions, tuple(uses))


@cache
def used_in(variant: str) -> frozenset[Place]:
    """The functions of a variant's mirrored files that it uses.

    Those that its table holds, that module level names, or that a used function names.  The tables' own files
    (variant.py) do not count; what stands above the variants (System) does.
    """
    files = {file: path for file, path in rules.mirrored_files(variant).items() if not file.endswith("variant.py")}
    above = {path.name: path for path in rules.PACKAGE.glob("*.py") if path.name != "variants.py"}
    functions = {(file, name) for file, path in files.items() for name in names_in(path).functions}
    edges: dict[Place, set[Place]] = {}
    for file, path in (above | files).items():
        for user, used in names_in(path).uses:
            edges.setdefault((file, user), set()).add(used)
    live = {place_of(function) for function in entries(get_variant(variant).calls).values()}
    live |= edges.keys() - functions
    while new := {used for user in live for used in edges.get(user, ())} - live:
        live |= new
    return frozenset(live & functions)


def unused_in(variant: str) -> frozenset[Place]:
    """The functions that some variant which this one builds on uses, and this one does not: it replaces them."""
    inherited: set[Place] = set()
    name = get_variant(variant).builds_on
    while name is not None:
        inherited |= used_in(name)
        name = get_variant(name).builds_on
    return frozenset(inherited - used_in(variant))


def marks_in_use(variant: str) -> tuple[rules.Mark, ...]:
    """The marks of a variant without those in inherited functions that it does not use."""
    unused = unused_in(variant)
    return tuple(m for m in rules.all_marks(variant) if (m.file, m.function.partition(".")[0]) not in unused)


# --- writing -----------------------------------------------------------------------------------


def build() -> dict[Path, str]:
    """Every file that this makes, with its content.  Cost: one replay of each recording."""
    found = parse_specs()
    reasons = Reasons.read(NOT_MODELLED.read_text("utf-8"))
    return {
        RULES_JSON: rules_json(found),
        TABLE: table(of_family(found, rfc=False), reasons, replay_all(recordings())),
        TABLE_7_0: table_7_0(found, reasons),
        TABLE_RFC: table_rfc(found, reasons),
    }


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
        RULES_JSON.write_text(rules_json(parse_specs()), "utf-8")
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
