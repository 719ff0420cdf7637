# SPDX-License-Identifier: GPL-2.0-only
"""The numbered rules, the marks that cite them, and the files made from both."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from pageblock_buddy import rules
from pageblock_buddy.rules import Mark, Rule, StrayMark
from pageblock_buddy.variants import VARIANTS, get_variant

ROOT = Path(__file__).resolve().parents[1]
#: what the marks of the default variant are about
VERSION = "6.12"
#: what the variants that build on another one are about
NEXT_VERSION = "7.0"
#: rules of older kernels whose marks stand in code that 7.0 shares: what 7.0 writes otherwise comes to the same there
SAME_RESULT = {"LPA-1.0.5", "LPA-1.0.10", "LPA-8.7.2"}


def load_builder() -> ModuleType:
    """docs/build_rules.py as a module."""
    spec = importlib.util.spec_from_file_location("build_rules", ROOT / "docs" / "build_rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


builder = load_builder()


# --- rules -------------------------------------------------------------------------------------


def rule(*versions: str) -> Rule:
    return Rule("LPA-1.0.1", versions, "Title", "Text.")


def rfc_rule(rule_id: str, status: str = "source") -> Rule:
    return Rule(rule_id, (), "Title", "Text.", status)


@pytest.mark.parametrize(
    ("versions", "holding"),
    [
        (("all",), {"6.1", "6.12", "6.15", "6.16", "6.19", "7.0", "mm"}),
        (("6.12",), {"6.12"}),
        (("6.1", "6.12"), {"6.1", "6.12"}),
        (("6.12", "7.0", "mm"), {"6.12", "6.15", "6.16", "6.19", "7.0", "mm"}),
        (("6.1", "6.12", "7.0"), {"6.1", "6.12", "6.15", "6.16", "6.19", "7.0"}),
        (("6.16+",), {"6.16", "6.19", "7.0", "mm"}),
        (("6.19+",), {"6.19", "7.0", "mm"}),
        (("mm",), {"mm"}),
    ],
)
def test_versions(versions: tuple[str, ...], holding: set[str]) -> None:
    assert {v for v in rules.VERSIONS if rule(*versions).holds_in(v)} == holding


def test_a_rule_of_the_rfc_is_of_no_version() -> None:
    assert not any(rfc_rule("RFC-1.1").holds_in(version) for version in rules.VERSIONS)


def test_subsections() -> None:
    assert rule("all").subsection == "LPA-1.0"
    assert rfc_rule("RFC-5.12a").subsection == "RFC-5"


def test_order_of_ids() -> None:
    ids = ["LPA-2.0.1", "LPA-2.0.9", "LPA-2.0.10", "LPA-2.0.10a", "LPA-2.1.1", "LPA-10.0.1", "RFC-1.9", "RFC-1.10"]
    ids += ["RFC-1.10a", "RFC-2.1", "RFC-10.1"]
    assert sorted(ids[1::2] + ids[::2], key=rules.id_key) == ids


def test_the_rules_are_those_of_the_specs() -> None:
    """rules.json says what the specs say; this part of the generated files needs no recordings."""
    found = builder.parse_specs()
    families = (builder.SPEC, False), (builder.RFC_SPEC, True)
    for spec, rfc in families:
        assert builder.parse_spec(spec.read_text("utf-8")) == builder.of_family(found, rfc=rfc)
    assert dict(rules.load_rules()) == found
    assert builder.RULES_JSON.read_text("utf-8") == builder.rules_json(found)
    assert list(found) == sorted(found, key=rules.id_key)


def test_a_rule_of_several_lines() -> None:
    text = "- **LPA-8.3.4** [6.12 7.0 mm] Raise high. If `a | b`:\n  `c`. Also\n  d.\n\n  not this\n- other\n"
    assert builder.parse_spec(text) == {
        "LPA-8.3.4": Rule("LPA-8.3.4", ("6.12", "7.0", "mm"), "Raise high", "If `a | b`: `c`. Also d.")
    }


def test_a_rule_of_the_rfc() -> None:
    text = "- **RFC-5.15** [source; decision D-13] Stop rule. One [key] and\n  more.\n"
    assert builder.parse_spec(text) == {
        "RFC-5.15": Rule("RFC-5.15", (), "Stop rule", "One [key] and more.", "source; decision D-13")
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "no rules"),
        ("- **LPA-1.0.1** [all] no title", "no title"),
        ("- **LPA-1.0.1** [all] A. b\n- **LPA-1.0.1** [all] A. b\n", "twice"),
        ("- **LPA-1.0.1** [6.13] A. b", "unknown version"),
        ("- **RFC-1.1** [all] A. b", "unknown mark"),
        ("- **RFC-1.1** [source, inferred] A. b", "unknown mark"),
        ("- **RFC-1.1** [decision] A. b", "unknown mark"),
        ("- **RFC-1.1.1** [source] A. b", "not the beginning of a rule"),
        ("- **RFC-1.1** A. b", "not the beginning of a rule"),
    ],
)
def test_a_bad_spec_is_refused(text: str, message: str) -> None:
    with pytest.raises(builder.SpecError, match=message):
        builder.parse_spec(text)


def test_cited_ids() -> None:
    text = "LPA-8.3, LPA-8.3.4a; LPA-12 (LPA-4.0.1). LPA-8.3."
    assert rules.cited_ids(text) == ("LPA-8.3", "LPA-8.3.4a", "LPA-12", "LPA-4.0.1")
    known = {i: rule("all") for i in ("LPA-8.3.4", "LPA-8.3.4a", "LPA-8.30.1", "LPA-8.4.1")}
    assert rules.expand_ids(["LPA-8.3"], known) == {"LPA-8.3.4", "LPA-8.3.4a"}
    assert rules.expand_ids(["LPA-8"], known) == set(known)
    assert rules.expand_ids(["LPA-8.4.1", "LPA-9"], known) == {"LPA-8.4.1"}


def test_cited_ids_of_the_rfc() -> None:
    text = "RFC-5, RFC-5.1a; LPA-8.3 (RFC-12.10). RFC-5. [RFC 2/2] RFC-5.1.1 RFC-x"
    assert rules.cited_ids(text) == ("RFC-5", "RFC-5.1a", "LPA-8.3", "RFC-12.10")
    known = {i: rfc_rule(i) for i in ("RFC-5.1", "RFC-5.1a", "RFC-50.1", "LPA-5.1.1")}
    assert rules.expand_ids(["RFC-5"], known) == {"RFC-5.1", "RFC-5.1a"}
    assert rules.expand_ids(["RFC-5.1", "RFC-6"], known) == {"RFC-5.1"}


# --- marks -------------------------------------------------------------------------------------

SOURCE = '''
LIMIT = 3  # LPA-1.0.1

def outer(a, b):
    """Says LPA-9.9.9, which is no mark."""
    # LPA-2.0.1, LPA-2.0.2
    a = max(
        a,
        b,
    )
    if (
        a
    ):  # LPA-3.0.1
        return 1  # a remark (LPA-9.9.9)
    elif b:  # LPA-3.0.2
        # LPA-4.0.1

        # a remark in between
        b = min(
            a,
            b,
        )  # LPA-4.0.2
    while b: b -= 1  # LPA-5.0.1
    return a  # LPA-9.9.9 is not alone here

class Structure:
    size = 4  # LPA-6.0.1
    def method(self):
        def inner():
            return 0  # LPA-7.0.1
        return inner  # LPA-7.0.2
'''


def test_marks_belong_to_statements() -> None:
    assert [(m.line, m.end_line, m.function, m.ids) for m in rules.marks_in(SOURCE)] == [
        (2, 2, "", ("LPA-1.0.1",)),
        (7, 10, "outer", ("LPA-2.0.1", "LPA-2.0.2")),
        (11, 12, "outer", ("LPA-3.0.1",)),
        (15, 15, "outer", ("LPA-3.0.2",)),
        (19, 22, "outer", ("LPA-4.0.1", "LPA-4.0.2")),
        (23, 23, "outer", ("LPA-5.0.1",)),
        (27, 27, "", ("LPA-6.0.1",)),
        (30, 30, "Structure.method.inner", ("LPA-7.0.1",)),
        (31, 31, "Structure.method", ("LPA-7.0.2",)),
    ]


def test_marks_of_both_families() -> None:
    source = "a = 1  # RFC-5.12\nb = 2  # LPA-8.5.1, RFC-7.8a\nc = 3  # RFC-5\nd = 4  # RFC-5.1.2\ne = 5  # LPA-8.5\n"
    assert [(m.line, m.ids) for m in rules.marks_in(source)] == [(1, ("RFC-5.12",)), (2, ("LPA-8.5.1", "RFC-7.8a"))]


@pytest.mark.parametrize(
    "source",
    ["if a:\n    b = 1\nelse:  # LPA-1.0.1\n    b = 2\n", "a = 1\n# LPA-1.0.1\n"],
)
def test_a_mark_without_statement_is_refused(source: str) -> None:
    with pytest.raises(StrayMark, match=r"LPA-1\.0\.1"):
        rules.marks_in(source)


def may_cite(file: str, cited: Rule) -> bool:
    """Whether a rule may be cited in a mirrored file.

    Each kernel's package cites what holds in that kernel, the packages of the RFC its rules and what holds in its base,
    and what all of them share any of these.
    """
    package = file.partition("/")[0]
    if package == "linux_6_12":
        return cited.holds_in(VERSION)
    if cited.holds_in(NEXT_VERSION):
        return True
    if package in ("gfp.py", "mm"):
        return builder.is_rfc(cited.id) or cited.holds_in(VERSION)
    return package != "linux_7_0" and builder.is_rfc(cited.id)


def bad_marks(marks: Iterable[Mark], known: Mapping[str, Rule]) -> list[str]:
    """Marks of rules that do not exist, or that are not what the file is about."""
    return [
        f"{mark.file}:{mark.line}: {rule_id}"
        for mark in marks
        for rule_id in mark.ids
        if rule_id not in known or not may_cite(mark.file, known[rule_id])
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_marks_cite_rules_that_hold(variant: str) -> None:
    assert bad_marks(rules.all_marks(variant), rules.load_rules()) == []


@pytest.mark.parametrize(
    ("file", "bad"),
    [
        ("linux_6_12/f.py", {"LPA-8.3.99", "LPA-8.3.10", "LPA-8.4.12", "RFC-5.1"}),
        ("linux_7_0/f.py", {"LPA-8.3.99", "LPA-8.3.10", "LPA-8.4.11", "RFC-5.1"}),
        ("rfc/policies/f.py", {"LPA-8.3.99", "LPA-8.3.10", "LPA-8.4.11"}),
        ("mm/f.py", {"LPA-8.3.99", "LPA-8.3.10"}),
        ("gfp.py", {"LPA-8.3.99", "LPA-8.3.10"}),
    ],
)
def test_bad_marks_are_found(file: str, bad: set[str]) -> None:
    """8.3.10 is of 6.1, 8.4.11 of 6.12 alone, 8.4.12 of 7.0 and not of 6.12."""
    source = "a = 1  # LPA-8.3.1, LPA-8.3.99, LPA-8.3.10, LPA-8.4.11, LPA-8.4.12, RFC-5.1\n"
    assert bad_marks(rules.marks_in(source, file), rules.load_rules()) == [
        f"{file}:1: {rule_id}" for rule_id in rules.cited_ids(source) if rule_id in bad
    ]


def left_behind(marks: Iterable[Mark], known: Mapping[str, Rule]) -> list[str]:
    """Marks of rules that do not hold any more in 7.0."""
    return [
        f"{mark.file}: {mark.function}: {rule_id}"
        for mark in marks
        for rule_id in mark.ids
        if not builder.is_rfc(rule_id) and not known[rule_id].holds_in(NEXT_VERSION) and rule_id not in SAME_RESULT
    ]


@pytest.mark.parametrize("variant", [name for name in VARIANTS if get_variant(name).builds_on])
def test_no_variant_inherits_a_rule_that_holds_no_more(variant: str) -> None:
    """What a variant takes over from linux-6.12 and does not replace is as in 7.0."""
    assert left_behind(builder.marks_in_use(variant), rules.load_rules()) == []


def test_rules_left_behind_are_found() -> None:
    """linux-7.0 replaces the function that carries these out, for they do not hold there."""
    found = left_behind(rules.all_marks("linux-7.0"), rules.load_rules())
    assert "linux_6_12/free.py: free_frozen_page_commit: LPA-8.4.11" in found


def test_what_a_variant_replaces_is_not_in_use() -> None:
    assert builder.unused_in("linux-6.12") == frozenset()
    unused = builder.unused_in("linux-7.0")
    assert ("linux_6_12/free.py", "free_frozen_page_commit") in unused  # replaced
    assert ("linux_6_12/isolation.py", "_unset_locked") in unused  # only called from what is replaced
    assert ("linux_6_12/alloc.py", "rmqueue") not in unused  # called by name from a file of 7.0
    assert ("linux_6_12/bulk.py", "free_pcppages_bulk") not in unused  # in the table as it was
    unused = builder.unused_in("llist")
    assert ("rfc/free.py", "_free_frozen_pages") in unused  # replaced
    assert ("rfc/bulk.py", "free_pcppages_bulk") not in unused  # replaced, and called through the table of rfc
    in_use = {(mark.file, mark.function) for mark in builder.marks_in_use("linux-7.0")}
    assert ("linux_6_12/free.py", "free_frozen_page_commit") not in in_use
    assert ("linux_7_0/free.py", "free_frozen_page_commit") in in_use


def unknown_citations(text: str) -> list[str]:
    """Ids in comments and docstrings that stand for no rule."""
    return [cited for cited in rules.cited_ids(text) if not rules.expand_ids([cited])]


def test_every_citation_in_the_package_stands_for_a_rule() -> None:
    found = {str(path): unknown_citations(path.read_text("utf-8")) for path in sorted(rules.PACKAGE.rglob("*.py"))}
    assert {name: ids for name, ids in found.items() if ids} == {}


def test_unknown_citations_are_found() -> None:
    text = "see LPA-8.3, LPA-8.33 and LPA-99.1.1; RFC-5, RFC-5.1, RFC-5.99 and RFC-99"
    assert unknown_citations(text) == ["LPA-8.33", "LPA-99.1.1", "RFC-5.99", "RFC-99"]


def unexplained(
    marks: Iterable[Mark], reasons: Mapping[str, str], known: Mapping[str, Rule], wanted: Iterable[Rule] | None = None
) -> list[str]:
    """Of the rules wanted (those that hold in VERSION) those with neither a mark nor a reason, or with both."""
    if wanted is None:
        wanted = [r for r in known.values() if r.holds_in(VERSION)]
    marked = {rule_id for mark in marks for rule_id in mark.ids}
    excused = {rule_id for rule_id in rules.expand_ids(reasons, known) if rule_id in reasons or rule_id not in marked}
    return [r.id for r in wanted if (r.id in marked) == (r.id in excused)]


def read_reasons() -> builder.Reasons:  # type: ignore[name-defined]
    return builder.Reasons.read(builder.NOT_MODELLED.read_text("utf-8"))


def test_every_rule_has_a_mark_or_a_reason() -> None:
    assert unexplained(rules.all_marks(), read_reasons().no_code, rules.load_rules()) == []


def test_every_rule_new_in_7_0_has_a_mark_or_a_reason() -> None:
    known = rules.load_rules()
    new = builder.new_in_7_0(known)
    assert unexplained(builder.marks_of_7_0(), read_reasons().no_code_7_0, known, new) == []


def test_every_rule_that_7_0_keeps_has_a_mark_or_a_reason() -> None:
    """A function that linux-7.0 replaces has not lost a rule that still holds."""
    known = rules.load_rules()
    kept = [r for r in known.values() if r.holds_in(VERSION) and r.holds_in(NEXT_VERSION)]
    assert unexplained(builder.marks_of_7_0(), read_reasons().no_code, known, kept) == []


def test_every_rule_of_the_rfc_has_a_mark_or_a_reason() -> None:
    known = rules.load_rules()
    wanted = builder.of_family(known, rfc=True).values()
    assert unexplained(rules.marks_of_all_variants(), read_reasons().no_code_rfc, known, wanted) == []


def test_unexplained_rules_are_found() -> None:
    known = {i: Rule(i, ("all",), "T", "x") for i in ("LPA-1.0.1", "LPA-1.0.2", "LPA-1.0.3", "LPA-2.0.1", "LPA-2.0.2")}
    known["LPA-3.0.1"] = Rule("LPA-3.0.1", ("7.0", "mm"), "T", "x")
    marks = rules.marks_in("a = 1  # LPA-1.0.1, LPA-1.0.2\nb = 1  # LPA-2.0.2\n")
    reasons = {"LPA-1.0.2": "both", "LPA-2.0": "the rest of the subsection"}
    assert unexplained(marks, reasons, known) == ["LPA-1.0.2", "LPA-1.0.3"]
    assert unexplained(marks, reasons, known, builder.new_in_7_0(known)) == ["LPA-3.0.1"]


def test_unexplained_rules_of_the_rfc_are_found() -> None:
    known = {i: rfc_rule(i) for i in ("RFC-1.1", "RFC-1.2", "RFC-2.1", "RFC-2.2", "RFC-3.1")}
    marks = rules.marks_in("a = 1  # RFC-1.2, RFC-2.1\nb = 1  # RFC-3.1\n")
    reasons = {"RFC-1": "the rest of the section", "RFC-3.1": "both"}
    assert unexplained(marks, reasons, known, known.values()) == ["RFC-2.2", "RFC-3.1"]


#: what the first words of a reason may be
KINDS = ("unit", "configuration", "consequence", "outside", "boot time", "caller", "format", "gap")
KINDS_RFC = (*KINDS, "background", "invariant")


def test_reasons_name_rules() -> None:
    """Each key stands for a rule that the table is about, and says what kind of reason it is."""
    reasons = read_reasons()
    known = rules.load_rules()
    holding = {r.id for r in known.values() if r.holds_in(VERSION)}
    tables = (
        (reasons.no_code, holding, KINDS),
        (reasons.no_recording, holding, ("",)),
        (reasons.no_code_7_0, {r.id for r in builder.new_in_7_0(known)}, KINDS),
        (reasons.no_code_rfc, set(builder.of_family(known, rfc=True)), KINDS_RFC),
    )
    for table, about, kinds in tables:
        assert table
        assert [key for key in table if not rules.expand_ids([key]) & about] == []
        assert [key for key, reason in table.items() if not reason.startswith(kinds)] == []
    marked = {rule_id for mark in rules.all_marks() for rule_id in mark.ids}
    assert set(reasons.no_recording) <= marked


def test_the_bracket_names_decisions_that_exist() -> None:
    decisions = {path.stem for path in (ROOT / "docs" / "decisions").glob("D-*.md")}
    cited = {(r.id, d) for r in rules.load_rules().values() for d in r.status.split("; ") if d.startswith("decision")}
    assert cited
    assert sorted((rule_id, d) for rule_id, d in cited if d.removeprefix("decision ") not in decisions) == []


def test_files_of_a_variant() -> None:
    """A variant has the files of those that it builds on, however deep, and policies change nothing."""
    assert "linux_7_0/variant.py" not in rules.mirrored_files()
    files = rules.mirrored_files("rfc-trylock")
    assert {"gfp.py", "mm/page.py", "linux_6_12/free.py", "linux_7_0/free.py", "rfc/free.py"} <= files.keys()
    assert any(file.startswith("rfc/policies/") for file in files)
    assert "rfc_trylock/free.py" in files
    assert rules.mirrored_files("rfc-trylock+recover-cycle") == files
    assert rules.packages_of("rfc+recover-cap-2x+owned-per-type") == ["rfc", "linux_7_0", "linux_6_12"]


def test_find_marks() -> None:
    """The three kinds of place that marks are for are all there."""
    marks = rules.find_marks()
    assert {"gfp.py", "mm/vmstat.py", "linux_6_12/pcp.py"} <= marks.keys()
    assert all(marks[file] for file in ("gfp.py", "mm/vmstat.py", "linux_6_12/alloc.py", "linux_6_12/free.py"))
    functions = {mark.function for mark in rules.marks_by_rule()["LPA-8.3.1"]}
    assert functions == {"nr_pcp_alloc"}


@pytest.mark.parametrize(
    ("docstring", "name"),
    [
        ("Text.\n\nKernel:  rmqueue_bulk(), mm/page_alloc.c; LPA-8.2\n", "rmqueue_bulk"),
        ("    Kernel:  struct zone\n", "zone"),
        ("    Kernel:  NR_PCP_LISTS, include/linux/mmzone.h", "NR_PCP_LISTS"),
        ("Nothing.", None),
        (None, None),
    ],
)
def test_kernel_name(docstring: str | None, name: str | None) -> None:
    assert rules.kernel_name(docstring) == name


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kernel_line_cites_rules(variant: str) -> None:
    """The Kernel: line of a mirrored function ends with its rules."""
    missing = []
    for file, path in rules.mirrored_files(variant).items():
        missing += [f"{file}: {line}" for line in lines_without_rules(path.read_text("utf-8"))]
    assert missing == []


def lines_without_rules(source: str) -> list[str]:
    """Kernel: lines of functions (not of files and structures) that end with no rule."""
    lines = [line.strip() for line in source.splitlines() if line.startswith("    ") and "Kernel:  " in line]
    return [line for line in lines if "Kernel:  struct" not in line and "; LPA-" not in line and "; RFC-" not in line]


def test_kernel_lines_without_rules_are_found() -> None:
    source = "    Kernel:  f(), mm/x.c\n    Kernel:  g(), mm/x.c; LPA-8.2\n    Kernel:  struct zone\n"
    source += "    Kernel:  h(), [RFC 2/2]\n    Kernel:  i(), [RFC 2/2]; RFC-5.1\n"
    assert lines_without_rules(source) == ["Kernel:  f(), mm/x.c", "Kernel:  h(), [RFC 2/2]"]


# --- generated files ---------------------------------------------------------------------------


def test_the_table_tells_reasons_tests_and_recordings_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = ("LPA-8.3.1", "LPA-8.3.2", "LPA-8.3.3", "LPA-1.0.2", "LPA-0.0.1")
    known = {i: Rule(i, ("all",), "A | b", "x") for i in ids}
    known["LPA-8.3.10"] = Rule("LPA-8.3.10", ("6.1",), "Old", "x")
    reasons = builder.Reasons(no_code={"LPA-0.0": "outside: it is"}, no_recording={"LPA-8.3.3": "no way"})
    runs = ["r1", "r2", "r3", "r4"]
    exercised = builder.Exercised(by_rule={"LPA-8.3.1": runs}, replayed=[*runs, "r5"])
    monkeypatch.setattr(builder, "tests_by_rule", lambda found: {"LPA-8.3.2": ["test_x.py: test_y"]})
    text = builder.table(known, reasons, exercised)
    rows = {row.split("|")[1].split(">")[-1].split()[0]: row for row in text.splitlines() if " | " in row}
    assert rows["LPA-8.3.1"].endswith("|  | r1<br>r2<br>r3<br>and 1 more |")
    assert "A \\| b" in rows["LPA-8.3.1"]
    assert rows["LPA-8.3.2"].endswith("| `test_x.py: test_y` | unexercised |")
    assert rows["LPA-8.3.3"].endswith("none can: no way |")
    assert "`linux_6_12/pcp.py: nr_pcp_alloc`" in rows["LPA-8.3.2"]
    assert rows["LPA-1.0.2"].endswith("| constant |")
    assert rows["LPA-0.0.1"].endswith("| *outside: it is* |  |  |")
    assert rows["LPA-8.3.10"].endswith("| 6.1 |  |  |  |")
    assert text.endswith("Rules holding in 6.12: 5, with code: 4, exercised by a recording: 1.\n")


def test_the_tables_without_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row says which functions carry a rule out or why none does; only rules that the table is about have one."""
    known = {
        "LPA-1.0.1": rule("all"),
        "LPA-8.4.12": Rule("LPA-8.4.12", ("6.16+",), "T | t", "x"),
        "LPA-8.4.15": Rule("LPA-8.4.15", ("7.0", "mm"), "U", "x"),
        "LPA-9.0.1": Rule("LPA-9.0.1", ("mm",), "U", "x"),
        "RFC-3.1": rfc_rule("RFC-3.1", "source; decision D-13"),
        "RFC-3.2": rfc_rule("RFC-3.2", "inferred"),
        "RFC-4.1": rfc_rule("RFC-4.1"),
    }
    source = "def f():\n    a = 1  # LPA-8.4.12, RFC-3.1\n\ndef g():\n    b = 2  # RFC-3.1\n"
    marks = tuple(rules.marks_in(source, "rfc/f.py"))
    monkeypatch.setattr(builder, "tests_by_rule", lambda found: {"LPA-8.4.15": ["t.py: test_x"]})
    monkeypatch.setattr(builder, "marks_of_7_0", lambda: marks)
    monkeypatch.setattr(rules, "marks_of_all_variants", lambda: marks)
    reasons = builder.Reasons({}, {}, {"LPA-8.4": "outside: it is"}, {"RFC-3": "background: it is"})

    def rows(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith("| ")][2:]

    text = builder.table_7_0(known, reasons)
    assert rows(text) == [
        '| <a id="lpa-8"></a>LPA-8.4.12 T \\| t | 6.16+ | `rfc/f.py: f` |  |',
        "| LPA-8.4.15 U | 7.0 mm | *outside: it is* | `t.py: test_x` |",
    ]
    assert text.endswith("\nRules: 2, with code: 1.\n")
    text = builder.table_rfc(known, reasons)
    assert rows(text) == [
        '| <a id="rfc-3"></a>RFC-3.1 Title | source; decision D-13 | `rfc/f.py: f`<br>`rfc/f.py: g` |  |',
        "| RFC-3.2 Title | inferred | *background: it is* |  |",
        '| <a id="rfc-4"></a>RFC-4.1 Title | source | *no reason given* |  |',
    ]
    assert text.endswith("\nRules: 3, with code: 1.\n")


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    same, other = tmp_path / "same", tmp_path / "other"
    same.write_text("a", "utf-8")
    other.write_text("b", "utf-8")
    assert builder.changed({same: "a", other: "a", tmp_path / "missing": "a"}) == [other, tmp_path / "missing"]


@pytest.mark.ci
def test_generated_files_are_up_to_date() -> None:
    """rules.json and the tables of docs/generated are what docs/build_rules.py would write now."""
    run = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "build_rules.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
