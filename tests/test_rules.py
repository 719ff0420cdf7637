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

ROOT = Path(__file__).resolve().parents[1]
#: what the marks are about: gfp.py, mm/ and linux_6_12/
VERSION = "6.12"


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


def test_the_rules_are_those_of_the_spec() -> None:
    """rules.json says what the spec says; this part of the generated files needs no recordings."""
    found = builder.parse_spec(builder.SPEC.read_text("utf-8"))
    assert dict(rules.load_rules()) == found
    assert builder.RULES_JSON.read_text("utf-8") == builder.rules_json(found)
    assert list(found) == sorted(found, key=rules.id_key)


def test_a_rule_of_several_lines() -> None:
    text = "- **LPA-8.3.4** [6.12 7.0 mm] Raise high. If `a | b`:\n  `c`. Also\n  d.\n\n  not this\n- other\n"
    assert builder.parse_spec(text) == {
        "LPA-8.3.4": Rule("LPA-8.3.4", ("6.12", "7.0", "mm"), "Raise high", "If `a | b`: `c`. Also d.")
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "no rules"),
        ("- **LPA-1.0.1** [all] no title", "no title"),
        ("- **LPA-1.0.1** [all] A. b\n- **LPA-1.0.1** [all] A. b\n", "twice"),
        ("- **LPA-1.0.1** [6.13] A. b", "unknown version"),
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


@pytest.mark.parametrize(
    "source",
    ["if a:\n    b = 1\nelse:  # LPA-1.0.1\n    b = 2\n", "a = 1\n# LPA-1.0.1\n"],
)
def test_a_mark_without_statement_is_refused(source: str) -> None:
    with pytest.raises(StrayMark, match=r"LPA-1\.0\.1"):
        rules.marks_in(source)


def bad_marks(marks: Iterable[Mark], known: Mapping[str, Rule]) -> list[str]:
    """Marks of rules that do not exist or do not hold in VERSION."""
    return [
        f"{mark.file}:{mark.line}: {rule_id}"
        for mark in marks
        for rule_id in mark.ids
        if rule_id not in known or not known[rule_id].holds_in(VERSION)
    ]


def test_marks_cite_rules_that_hold() -> None:
    assert bad_marks(rules.all_marks(), rules.load_rules()) == []


def test_bad_marks_are_found() -> None:
    source = "a = 1  # LPA-8.3.1\nb = 2  # LPA-8.3.99\nc = 3  # LPA-8.3.10, LPA-8.3.2\n"  # 8.3.10 is of 6.1
    assert bad_marks(rules.marks_in(source, "f"), rules.load_rules()) == ["f:2: LPA-8.3.99", "f:3: LPA-8.3.10"]


def unknown_citations(text: str) -> list[str]:
    """Ids in comments and docstrings that stand for no rule."""
    return [cited for cited in rules.cited_ids(text) if not rules.expand_ids([cited])]


def test_every_citation_in_the_package_stands_for_a_rule() -> None:
    found = {path.name: unknown_citations(path.read_text("utf-8")) for path in sorted(rules.PACKAGE.rglob("*.py"))}
    assert {name: ids for name, ids in found.items() if ids} == {}


def test_unknown_citations_are_found() -> None:
    assert unknown_citations("see LPA-8.3, LPA-8.33 and LPA-99.1.1") == ["LPA-8.33", "LPA-99.1.1"]


def unexplained(marks: Iterable[Mark], reasons: Mapping[str, str], known: Mapping[str, Rule]) -> list[str]:
    """Rules that hold in VERSION and have neither a mark nor a reason, or that have both."""
    marked = {rule_id for mark in marks for rule_id in mark.ids}
    excused = {rule_id for rule_id in rules.expand_ids(reasons, known) if rule_id in reasons or rule_id not in marked}
    return [r.id for r in known.values() if r.holds_in(VERSION) and (r.id in marked) == (r.id in excused)]


def read_reasons() -> tuple[Mapping[str, str], Mapping[str, str]]:
    reasons = builder.Reasons.read(builder.NOT_MODELLED.read_text("utf-8"))
    return reasons.no_code, reasons.no_recording


def test_every_rule_has_a_mark_or_a_reason() -> None:
    assert unexplained(rules.all_marks(), read_reasons()[0], rules.load_rules()) == []


def test_unexplained_rules_are_found() -> None:
    known = {i: Rule(i, ("all",), "T", "x") for i in ("LPA-1.0.1", "LPA-1.0.2", "LPA-1.0.3", "LPA-2.0.1", "LPA-2.0.2")}
    known["LPA-3.0.1"] = Rule("LPA-3.0.1", ("7.0", "mm"), "T", "x")
    marks = rules.marks_in("a = 1  # LPA-1.0.1, LPA-1.0.2\nb = 1  # LPA-2.0.2\n")
    reasons = {"LPA-1.0.2": "both", "LPA-2.0": "the rest of the subsection"}
    assert unexplained(marks, reasons, known) == ["LPA-1.0.2", "LPA-1.0.3"]


def test_reasons_name_rules() -> None:
    """Each key stands for a rule that holds here, and says what kind of reason it is."""
    no_code, no_recording = read_reasons()
    known = rules.load_rules()
    for key in (*no_code, *no_recording):
        assert any(known[i].holds_in(VERSION) for i in rules.expand_ids([key])), key
    kinds = ("unit", "configuration", "consequence", "outside", "boot time", "caller", "format", "gap")
    assert [key for key, reason in no_code.items() if not reason.startswith(kinds)] == []
    marked = {rule_id for mark in rules.all_marks() for rule_id in mark.ids}
    assert set(no_recording) <= marked


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


def test_every_kernel_line_cites_rules() -> None:
    """The Kernel: line of a mirrored function ends with its rules."""
    missing = []
    for file, path in rules.mirrored_files().items():
        missing += [f"{file}: {line}" for line in lines_without_rules(path.read_text("utf-8"))]
    assert missing == []


def lines_without_rules(source: str) -> list[str]:
    """Kernel: lines of functions (not of files and structures) that end with no rule."""
    lines = [line.strip() for line in source.splitlines() if line.startswith("    ") and "Kernel:  " in line]
    return [line for line in lines if "Kernel:  struct" not in line and "; LPA-" not in line]


def test_kernel_lines_without_rules_are_found() -> None:
    source = "    Kernel:  f(), mm/x.c\n    Kernel:  g(), mm/x.c; LPA-8.2\n    Kernel:  struct zone\n"
    assert lines_without_rules(source) == ["Kernel:  f(), mm/x.c"]


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


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    same, other = tmp_path / "same", tmp_path / "other"
    same.write_text("a", "utf-8")
    other.write_text("b", "utf-8")
    assert builder.changed({same: "a", other: "a", tmp_path / "missing": "a"}) == [other, tmp_path / "missing"]


@pytest.mark.ci
def test_generated_files_are_up_to_date() -> None:
    """rules.json and docs/generated/rules.md are what docs/build_rules.py would write now."""
    run = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "build_rules.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
