# SPDX-License-Identifier: GPL-2.0-only
"""The numbered rules of docs/spec, and the marks in the mirrored code that cite them.

There are two families: ``LPA-8.3.4`` (section, subsection, number) are the rules of the Linux page allocator, each with
the versions in which it holds; ``RFC-5.12`` (section, number) are those of the pcp buddy allocator, each with how we
know it.  Both may end with a letter.

A *mark* is a comment that holds nothing but rule ids (several with commas).  It stands at the end of
a statement or alone on a line before one, and says: executing this statement carries out that rule.
Marks at module level are constants, which no operation executes.  A compound statement's mark belongs to its header.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from pageblock_buddy.variants import DEFAULT_VARIANT, VARIANTS, get_variant

PACKAGE: Final = Path(__file__).parent
#: The versions that the spec names, oldest first; between two of them nothing is said.
VERSIONS: Final = ("6.1", "6.12", "6.15", "6.16", "6.19", "7.0", "mm")
#: Naming both of a pair names the versions between them too.
_SPANS: Final = (("6.1", "6.12"), ("6.12", "7.0"), ("7.0", "mm"))

#: an id that stands for one rule
RULE_ID: Final = r"(?:LPA-\d+\.\d+\.\d+[a-z]?|RFC-\d+\.\d+[a-z]?)"
#: an id in a text: a rule, or a subsection or section for all of its rules
ID: Final = re.compile(r"(?:LPA-\d+(?:\.\d+(?:\.\d+[a-z]?)?)?|RFC-\d+(?:\.\d+[a-z]?)?)(?![\w.]*\d)")
_MARK: Final = re.compile(rf"#\s*({RULE_ID}(?:,\s*{RULE_ID})*)\s*")
#: how we know a rule of the RFC family: its bracket
STATUS: Final = re.compile(r"(?:source|inferred|decision D-\d\d)(?:; (?:inferred|decision D-\d\d))*")
_KERNEL_LINE: Final = re.compile(r"^\s*Kernel:\s+(?:(?:struct|enum)\s+)?([\w.]+)", re.MULTILINE)


# --- rules -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Of the LPA family ``versions`` is the bracket, as written: ("all",), ("6.12", "7.0", "mm") or ("6.16+",);
    ``status`` is empty.  Of the RFC family ``status`` is the bracket ("source; decision D-13"), ``versions`` is empty.
    """

    id: str
    versions: tuple[str, ...]
    title: str
    text: str
    status: str = ""

    @property
    def subsection(self) -> str:
        """The id without its last number: LPA-8.3, or the section RFC-5."""
        return self.id.rpartition(".")[0]

    def holds_in(self, version: str) -> bool:
        """Whether the rule holds in one of VERSIONS; never for the RFC family, which is of no version."""
        at = VERSIONS.index(version)
        for tag in self.versions:
            if tag in ("all", version) or (tag.endswith("+") and VERSIONS.index(tag[:-1]) <= at):
                return True
        return any(
            first in self.versions and last in self.versions and VERSIONS.index(first) < at < VERSIONS.index(last)
            for first, last in _SPANS
        )


def id_key(rule_id: str) -> tuple[str, list[int], str]:
    """Sort key of an id: LPA before RFC, numbers as numbers, a letter behind its number."""
    assert ID.fullmatch(rule_id), rule_id
    family, _, rest = rule_id.partition("-")
    numbers = rest.rstrip("abcdefghijklmnopqrstuvwxyz")
    return family, [int(number) for number in numbers.split(".")], rest.removeprefix(numbers)


@cache
def load_rules() -> Mapping[str, Rule]:
    """Every rule by id, in the order of the spec: LPA, then RFC."""
    text = resources.files("pageblock_buddy").joinpath("data", "rules.json").read_text(encoding="utf-8")
    return {
        rule_id: Rule(rule_id, tuple(entry.get("versions", ())), entry["title"], entry["text"], entry.get("status", ""))
        for rule_id, entry in json.loads(text).items()
    }


def cited_ids(text: str) -> tuple[str, ...]:
    """The ids in a text, rules, subsections and sections, in order of appearance."""
    return tuple(dict.fromkeys(match[0] for match in ID.finditer(text)))


def expand_ids(ids: Iterable[str], rules: Mapping[str, Rule] | None = None) -> set[str]:
    """The rules that ids stand for: a rule for itself, a subsection or section for all of its rules."""
    known = load_rules() if rules is None else rules
    found: set[str] = set()
    for cited in ids:
        if cited in known:
            found.add(cited)
        else:
            found.update(rule_id for rule_id in known if rule_id.startswith(f"{cited}."))
    return found


# --- marks -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark: the statement that it belongs to, and the rules that the statement carries out.

    ``file`` is relative to the package, with slashes.  ``line`` and ``end_line`` are the statement's, for
    a compound statement its header's.  ``function`` is the qualified name, "" at module level.
    """

    file: str
    line: int
    end_line: int
    function: str
    ids: tuple[str, ...]

    @property
    def constant(self) -> bool:
        """Whether no operation executes it."""
        return not self.function


class StrayMark(ValueError):
    """A comment that looks like a mark but belongs to no statement."""


@dataclass(frozen=True, slots=True)
class _Statement:
    """``end_line`` is the last line of its own code, ``last_line`` the last one where a comment is still its own."""

    line: int
    end_line: int
    last_line: int
    function: str


def _statement(node: ast.stmt, function: str) -> _Statement:
    """A statement without its body, if it has one."""
    body: list[ast.AST] = getattr(node, "body", None) or getattr(node, "cases", None) or []
    if not body:
        end = node.end_lineno or node.lineno
        return _Statement(node.lineno, end, end, function)
    inside = [item for name in ("body", "orelse", "finalbody", "handlers", "cases") for item in getattr(node, name, [])]
    header = [child for child in ast.iter_child_nodes(node) if child not in inside]
    end = max([node.lineno, *(getattr(part, "end_lineno", 0) or 0 for child in header for part in ast.walk(child))])
    first = body[0].pattern if isinstance(body[0], ast.match_case) else body[0]
    return _Statement(node.lineno, end, max(end, getattr(first, "lineno", end) - 1), function)


def _statements(tree: ast.AST, scope: str = "", function: str = "") -> list[_Statement]:
    """Every statement below ``tree`` with the function that it is in."""
    found: list[_Statement] = []
    for node in ast.iter_child_nodes(tree):
        inner_scope, inner_function = scope, function
        if isinstance(node, ast.stmt):
            found.append(_statement(node, function))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner_scope = f"{scope}.{node.name}" if scope else node.name
            inner_function = "" if isinstance(node, ast.ClassDef) else inner_scope
        found.extend(_statements(node, inner_scope, inner_function))
    return found


def marks_in(source: str, file: str = "<string>") -> list[Mark]:
    """The marks of a source text, by line.  StrayMark for one that belongs to no statement."""
    statements = _statements(ast.parse(source))
    starting = sorted({s.line for s in statements})
    by_start: dict[int, _Statement] = {}
    for statement in statements:  # of several that start in one line the innermost is last
        by_start[statement.line] = statement
    ids_of: dict[int, list[str]] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        match = _MARK.fullmatch(token.string)
        if match is None:
            continue
        line = token.start[0]
        if token.line[: token.start[1]].strip():
            holding = [s for s in by_start.values() if s.line <= line <= s.last_line]
            if not holding:
                raise StrayMark(f"{file}:{line}: the mark {match[1]} belongs to no statement")
            start = max(s.line for s in holding)
        else:
            later = [s for s in starting if s > line]
            if not later:
                raise StrayMark(f"{file}:{line}: no statement follows the mark {match[1]}")
            start = later[0]
        ids_of.setdefault(start, []).extend(re.split(r",\s*", match[1]))
    return [
        Mark(file, line, by_start[line].end_line, by_start[line].function, tuple(ids))
        for line, ids in sorted(ids_of.items())
    ]


def packages_of(variant: str) -> list[str]:
    """The packages of a variant, its own first and then those that it builds on.

    Policies behind a "+" have no package of their own: they are in rfc/policies/.
    """
    names = []
    name: str | None = variant.partition("+")[0]
    while name is not None:
        names.append(name.replace("-", "_").replace(".", "_"))
        name = get_variant(name).builds_on
    return names


@cache
def mirrored_files(variant: str = DEFAULT_VARIANT) -> Mapping[str, Path]:
    """The mirrored code of a variant: gfp.py, mm/, its own package and those that it builds on."""
    files = [PACKAGE / "gfp.py", *sorted((PACKAGE / "mm").glob("*.py"))]
    for directory in reversed(packages_of(variant)):
        files += sorted((PACKAGE / directory).rglob("*.py"))
    return {path.relative_to(PACKAGE).as_posix(): path for path in files}


@cache
def all_marks(variant: str = DEFAULT_VARIANT) -> tuple[Mark, ...]:
    """Every mark in a variant's mirrored code, file by file, line by line."""
    return tuple(
        mark for file, path in mirrored_files(variant).items() for mark in marks_in(path.read_text("utf-8"), file)
    )


def find_marks(variant: str = DEFAULT_VARIANT) -> dict[str, dict[int, tuple[str, ...]]]:
    """For each mirrored file: line of the marked statement -> ids."""
    found: dict[str, dict[int, tuple[str, ...]]] = {file: {} for file in mirrored_files(variant)}
    for mark in all_marks(variant):
        found[mark.file][mark.line] = mark.ids
    return found


def marks_by_rule(variant: str = DEFAULT_VARIANT) -> dict[str, list[Mark]]:
    """For each marked rule its marks."""
    found: dict[str, list[Mark]] = {}
    for mark in all_marks(variant):
        for rule_id in mark.ids:
            found.setdefault(rule_id, []).append(mark)
    return found


def marks_of_all_variants() -> tuple[Mark, ...]:
    """Every mark in the mirrored code of any variant, once."""
    return tuple(dict.fromkeys(mark for variant in VARIANTS for mark in all_marks(variant)))


def kernel_name(docstring: str | None) -> str | None:
    """The kernel function that a docstring's ``Kernel:`` line names, or None."""
    match = _KERNEL_LINE.search(docstring or "")
    return match[1] if match is not None else None
