# SPDX-License-Identifier: GPL-2.0-only
"""The rules of docs/architecture.md that can be read off the source text.

Each check is a function from source text to findings, so that it can be shown to fail on a small bad source.
"""

from __future__ import annotations

import ast
import dataclasses
import os
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from pageblock_buddy.mm.calls import Calls, PcpBuddyCalls

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pageblock_buddy"
SOURCES = sorted(PACKAGE.rglob("*.py"))
VARIANT_PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/variant.py"))
#: What is not named here is a tool of the highest layer; so is the package itself, which re-exports the facade.
LAYERS = {
    "errors": 0,
    "gfp": 0,
    "config": 0,
    "machine": 1,
    "mm": 2,
    **dict.fromkeys(VARIANT_PACKAGES, 3),
    "variants": 3,
    "snapshot": 4,
    "invariants": 4,
    "accounting": 4,
    "monitor": 4,
    "system": 4,
}
TOOLS = 5
#: Results must not depend on the clock, on chance, or on the host's scheduler.
NONDETERMINISTIC = ("random", "time", "threading", "asyncio")
MAX_MIRRORED_LINES = 450
SPDX = "SPDX-License-Identifier: GPL-2.0-only"
ENTRY_POINTS = frozenset(field.name for table in (Calls, PcpBuddyCalls) for field in dataclasses.fields(table))

Finding = tuple[int, str]
Check = Callable[[str, str], list[Finding]]


def module_of(path: Path) -> str:
    """The dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(module: str) -> int:
    """The layer of a dotted name, which may go on behind the module's own name."""
    parts = module.split(".")
    return LAYERS.get(parts[1], TOOLS) if len(parts) > 1 else TOOLS


def findings(check: Check, paths: list[Path]) -> list[str]:
    """What a check finds in files, as file:line: message."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {message}"
        for path in paths
        for line, message in check(path.read_text(), module_of(path))
    ]


# --- imports -----------------------------------------------------------------------------------


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported anywhere, under ``if TYPE_CHECKING`` too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, f"{'.' * node.level}{node.module or ''}.{alias.name}"


def upward_imports(source: str, module: str) -> list[Finding]:
    """Imports of a higher layer, and relative imports, which would hide one."""
    own = layer(module)
    found = []
    for line, name in imports(ast.parse(source)):
        if name.startswith("."):
            found.append((line, f"relative import {name}"))
        elif name.split(".")[0] == PACKAGE.name and layer(name) > own:
            found.append((line, f"L{own} imports {name} of L{layer(name)}"))
    return found


def nondeterministic_imports(source: str, module: str) -> list[Finding]:
    """Imports of modules whose results differ from run to run."""
    return [
        (line, f"imports {name}") for line, name in imports(ast.parse(source)) if name.split(".")[0] in NONDETERMINISTIC
    ]


def test_layers_name_what_exists() -> None:
    assert "linux_6_12" in VARIANT_PACKAGES
    assert [name for name in LAYERS if not (PACKAGE / name).is_dir() and not (PACKAGE / f"{name}.py").is_file()] == []


def test_imports_go_down_only() -> None:
    assert findings(upward_imports, SOURCES) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("errors", "import pageblock_buddy.machine.cpu"),
        ("machine.cpu", "from pageblock_buddy.mm import page"),
        ("mm.vmstat", "from pageblock_buddy import system"),
        ("mm.calls", "if TYPE_CHECKING:\n    from pageblock_buddy.linux_6_12.bulk import rmqueue_bulk"),
        ("linux_6_12.alloc", "def f():\n    from pageblock_buddy.snapshot import digest"),
        ("snapshot", "from pageblock_buddy.recording.reader import Meta"),
        ("system", "from pageblock_buddy import System"),
        ("system", "import pageblock_buddy"),
        ("mm.page", "from ..linux_6_12 import pcp"),
    ],
)
def test_an_upward_import_is_found(module: str, source: str) -> None:
    assert upward_imports(source, f"pageblock_buddy.{module}")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("config", "from pageblock_buddy import gfp"),
        ("mm.calls", "if TYPE_CHECKING:\n    from pageblock_buddy.mm.kernel import Kernel"),
        ("linux_6_12.alloc", "from pageblock_buddy.linux_6_12.free import _free_pages_ok"),
        ("variants", "from pageblock_buddy.linux_6_12 import variant"),
        ("views.heat", "from pageblock_buddy import System"),
    ],
)
def test_a_downward_import_is_fine(module: str, source: str) -> None:
    assert upward_imports(source, f"pageblock_buddy.{module}") == []


MODEL_SOURCES = [path for path in SOURCES if layer(module_of(path)) < TOOLS]


def test_the_model_is_deterministic() -> None:
    assert findings(nondeterministic_imports, MODEL_SOURCES) == []


@pytest.mark.parametrize(
    "source", ["import random", "import time as t", "from threading import Lock", "def f():\n    import asyncio.locks"]
)
def test_a_nondeterministic_import_is_found(source: str) -> None:
    assert nondeterministic_imports(source, "pageblock_buddy.system")


# --- sets --------------------------------------------------------------------------------------

#: Callables whose result has the order of their argument.
ORDER_KEEPING = ("dict", "enumerate", "extend", "filter", "fromkeys", "iter", "join", "list", "map", "tuple", "zip")


def name_of(node: ast.AST | None) -> str:
    """The last name of ``a.b.name``, or an empty string."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def is_set(node: ast.AST | None, names: frozenset[str]) -> bool:
    """Whether an expression is a set; ``names`` are the variables known to hold one."""
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.BinOp(left=left, right=right):
            return is_set(left, names) or is_set(right, names)
    return name_of(node) in names


def set_variables(tree: ast.AST) -> frozenset[str]:
    """Variables, parameters and attributes that are assigned a set or annotated as one, in the whole file."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=value) if is_set(value, frozenset()):
                names |= {name_of(target) for target in targets}
            case ast.AnnAssign(target=target, annotation=annotation, value=value):
                names |= {name_of(target)} if annotated_set(annotation) or is_set(value, frozenset()) else set()
            case ast.arg(arg=name, annotation=annotation) if annotated_set(annotation):
                names.add(name)
    return frozenset(names - {""})


def annotated_set(annotation: ast.AST | None) -> bool:
    """Whether an annotation is set or frozenset, with or without what is in it."""
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    return name_of(annotation) in ("set", "frozenset", "Set", "AbstractSet", "MutableSet")


def set_iterations(source: str, module: str) -> list[Finding]:
    """Places where the order of a set, which differs between runs, gets into a result."""
    tree = ast.parse(source)
    names = set_variables(tree)
    found = []
    for node in ast.walk(tree):
        iterated: list[ast.expr] = []
        match node:
            case ast.For(iter=expression) | ast.comprehension(iter=expression) | ast.Starred(value=expression):
                iterated = [expression]
            case ast.Call(func=function, args=arguments) if name_of(function) in ORDER_KEEPING:
                iterated = arguments
        found += [(e.lineno, f"iterates over the set {ast.unparse(e)}") for e in iterated if is_set(e, names)]
    return found


def test_the_model_iterates_over_no_set() -> None:
    assert findings(set_iterations, MODEL_SOURCES) == []


@pytest.mark.parametrize(
    "source",
    [
        "for x in {1, 2}: pass",
        "for x in set(y): pass",
        "for x in frozenset(y) | z: pass",
        "[x for x in {y for y in z}]",
        "{x: 0 for x in set(y)}",
        "list({1, 2})",
        "dict.fromkeys(set(y))",
        "', '.join({'a', 'b'})",
        "f(*{1, 2})",
        "def f():\n    seen = set()\n    for x in seen: pass",
        "def f(seen: set[int]):\n    return [x for x in seen]",
        "class A:\n    def __init__(self):\n        self.seen: frozenset[int] = g()\n"
        "    def f(self):\n        for x in self.seen: pass",
    ],
)
def test_an_iteration_over_a_set_is_found(source: str) -> None:
    assert set_iterations(source, "pageblock_buddy.system")


@pytest.mark.parametrize(
    "source",
    [
        "for x in sorted({1, 2}): pass",
        "sorted({z.node for z in zones} | set(cpu_node))",
        "seen = set()\nif x in seen: seen.add(y)",
        "for x in {1: 2}: pass",
        "for x in (1, 2): pass",
        "len(set(y))",
    ],
)
def test_a_use_of_a_set_without_order_is_fine(source: str) -> None:
    assert set_iterations(source, "pageblock_buddy.system") == []


# --- entry points ------------------------------------------------------------------------------


def root_name(node: ast.AST) -> str:
    """The first name of ``name.a.b``, or an empty string."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def local_names(function: ast.AST) -> frozenset[str]:
    """Parameters and variables of a function."""
    names = set()
    for node in ast.walk(function):
        match node:
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
    return frozenset(names)


def bypasses(source: str, module: str) -> list[Finding]:
    """Uses of an entry point of Calls that do not go through a table, so that an override would be missed.

    Not only calls: a reference can be kept and called later.  Fine are ``k.calls.name``, a local name (which can only
    have come from there, as all else is found), ``name=module.name`` and ``"name": name``, which fill a table, and
    ``variant.CALLS.name`` inside an override of that very name: what it builds on.
    """
    tree = ast.parse(source)
    imported = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    found: list[Finding] = []

    def visit(node: ast.AST, local: frozenset[str], function: str) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                local |= local_names(node)
                function = getattr(node, "name", function)
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if not (isinstance(key, ast.Constant) and isinstance(value, ast.Name) and key.value == value.id):
                        visit(value, local, function)
                return
            case ast.Attribute(value=ast.Attribute(attr="CALLS" | "PCP_BUDDY"), attr=name) if name == function:
                return
            case ast.keyword(arg=str(name), value=value) if name in ENTRY_POINTS and name_of(value) == name:
                return
            case ast.ImportFrom(names=names):
                found.extend((node.lineno, f"imports {alias.name}") for alias in names if alias.name in ENTRY_POINTS)
            case ast.Name(id=name, ctx=ast.Load()) if name in ENTRY_POINTS and name not in local:
                found.append((node.lineno, f"uses {name}"))
            case ast.Attribute(attr=name) if name in ENTRY_POINTS and root_name(node) in imported:
                found.append((node.lineno, f"uses {ast.unparse(node)}"))
        for child in ast.iter_child_nodes(node):
            visit(child, local, function)

    visit(tree, frozenset(), "")
    return found


def test_entry_points_are_reached_through_the_table_only() -> None:
    assert findings(bypasses, SOURCES) == []


@pytest.mark.parametrize(
    "source",
    [
        "def f(k):\n    return nr_pcp_alloc(k)",
        "def nr_pcp_alloc(k):\n    return nr_pcp_alloc(k)",
        "from pageblock_buddy.linux_6_12.pcp import nr_pcp_alloc",
        "from pageblock_buddy.linux_6_12.pcp import nr_pcp_alloc as f",
        "from pageblock_buddy.linux_6_12 import pcp\ndef f(k):\n    return pcp.nr_pcp_alloc(k)",
        "from pageblock_buddy.linux_6_12 import pcp as p\ndef f(k):\n    g = p.nr_pcp_alloc\n    return g(k)",
        "import pageblock_buddy.linux_6_12.pcp\ndef f(k):\n    pageblock_buddy.linux_6_12.pcp.nr_pcp_alloc(k)",
        "from pageblock_buddy.linux_6_12.variant import CALLS\ndef f(k):\n    CALLS.nr_pcp_alloc(k)",
        "from pageblock_buddy.linux_6_12 import pcp\nTABLE = {'f': pcp.nr_pcp_alloc}",
        "from pageblock_buddy.linux_6_12 import pcp\nf(rmqueue_bulk=pcp.nr_pcp_alloc)",
        "def f(k):\n    nr_pcp_alloc = k.calls.nr_pcp_alloc\ndef g(k):\n    return nr_pcp_alloc(k)",
        "from pageblock_buddy.rfc import variant\ndef rmqueue_bulk(k):\n    variant.CALLS.nr_pcp_alloc(k)",
        "from pageblock_buddy.rfc.bulk import drain_order",
        "TABLE = {'rmqueue_bulk': nr_pcp_alloc}",
    ],
)
def test_a_bypass_of_the_table_is_found(source: str) -> None:
    assert bypasses(source, "pageblock_buddy.linux_6_12.alloc")


@pytest.mark.parametrize(
    "source",
    [
        "def f(k):\n    return k.calls.nr_pcp_alloc(k)",
        "def f(k):\n    nr_pcp_alloc = k.calls.nr_pcp_alloc\n    return nr_pcp_alloc(k)",
        "def nr_pcp_alloc(k):\n    return 1",
        "from pageblock_buddy.linux_6_12 import pcp\nCALLS = replace(BASE, nr_pcp_alloc=pcp.nr_pcp_alloc)",
        "class Kernel:\n    def __init__(self, calls):\n        self.nr_pcp_lists = calls.nr_pcp_lists(self)",
        "from pageblock_buddy.rfc import variant\ndef nr_pcp_alloc(k):\n    return 2 * variant.CALLS.nr_pcp_alloc(k)",
        "def nr_pcp_alloc(k):\n    return 1\nTABLE = {'nr_pcp_alloc': nr_pcp_alloc}",
    ],
)
def test_a_use_of_the_table_is_fine(source: str) -> None:
    assert bypasses(source, "pageblock_buddy.linux_6_12.alloc") == []


def test_a_bypass_in_the_real_code_is_found() -> None:
    path = PACKAGE / "linux_6_12" / "alloc.py"
    broken = path.read_text().replace("k.calls.rmqueue_bulk(", "rmqueue_bulk(")
    assert [message for _, message in bypasses(broken, module_of(path))] == ["uses rmqueue_bulk"]


# --- files -------------------------------------------------------------------------------------


def too_long(source: str, module: str) -> list[Finding]:
    """A file with more lines than one reads in one go."""
    lines = source.count("\n")
    return [(lines, f"has {lines} lines, more than {MAX_MIRRORED_LINES}")] if lines > MAX_MIRRORED_LINES else []


def test_mirrored_files_are_short() -> None:
    mirrored = [path for name in ("mm", *VARIANT_PACKAGES) for path in sorted((PACKAGE / name).rglob("*.py"))]
    assert findings(too_long, mirrored) == []


def test_a_long_file_is_found() -> None:
    assert not too_long("x = 1\n" * MAX_MIRRORED_LINES, "pageblock_buddy.mm.page")
    assert too_long("x = 1\n" * (MAX_MIRRORED_LINES + 1), "pageblock_buddy.mm.page")


def project_files() -> Iterator[Path]:
    """All files outside the directories that .gitignore names."""
    ignored = [".git/", *(ROOT / ".gitignore").read_text().split()]
    for directory, subdirectories, files in os.walk(ROOT):
        subdirectories[:] = [s for s in subdirectories if not any(fnmatch(f"{s}/", pattern) for pattern in ignored)]
        yield from (Path(directory) / file for file in files)


def has_spdx_line(text: str) -> bool:
    """Whether the licence is in the first line, or in the second one below ``#!``."""
    lines = text.splitlines()
    if lines and lines[0].startswith("#!"):
        del lines[0]
    return bool(lines) and SPDX in lines[0]


def wants_spdx_line(path: Path) -> bool:
    """Source text, documentation, configuration, and whatever is run by a shell."""
    if path.suffix in (".py", ".md", ".toml", ".sh", ".yml", ".yaml"):
        return True
    return path.suffix == "" and path.read_bytes()[:2] == b"#!"


def test_every_file_names_its_licence() -> None:
    files = [path for path in project_files() if wants_spdx_line(path)]
    assert {ROOT / "pyproject.toml", ROOT / ".ci" / "run", Path(__file__).resolve()} <= set(files)
    assert [str(path.relative_to(ROOT)) for path in sorted(files) if not has_spdx_line(path.read_text())] == []


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (f"# {SPDX}\n", True),
        (f"<!-- {SPDX} -->\n# Title\n", True),
        (f"#!/usr/bin/env bash\n# {SPDX}\n", True),
        ("", False),
        ("x = 1\n", False),
        (f"x = 1\n# {SPDX}\n", False),
        ("# SPDX-License-Identifier: MIT\n", False),
    ],
)
def test_a_missing_licence_is_found(text: str, good: bool) -> None:
    assert has_spdx_line(text) is good
