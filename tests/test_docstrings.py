# SPDX-License-Identifier: GPL-2.0-only
"""Every mirrored function says where it comes from, in parsed keys of a fixed order."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pageblock_buddy

PACKAGE = Path(pageblock_buddy.__file__).parent
KEYS = ("Kernel", "Status", "Locks", "Context", "Units", "Cost", "Points", "Errors")
#: "read from the source", or what else a function may rest on
STATUS = re.compile(r"^(source|mainline|inferred|decision D-\d\d)([,;] .*| up to .*)?$")
#: "holds pcp.lock; takes zone.lock", from a closed vocabulary
LOCKS = re.compile(r"^((holds|takes|tries|drops) (pcp|zone)\.lock(, (pcp|zone)\.lock)*( \(.*\))?(; )?)+$")
MIRRORED = sorted(
    path
    for directory in ("mm", "linux_6_12")
    for path in (PACKAGE / directory).glob("*.py")
    if path.name not in ("__init__.py", "calls.py", "variant.py")
)


def keys_of(docstring: str) -> list[tuple[str, str]]:
    """The key lines of a docstring, in order."""
    return re.findall(rf"^\s*({'|'.join(KEYS)}):\s+(.*)$", docstring, re.MULTILINE)


def _functions(tree: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef]:
    """Functions and methods, without those inside functions."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node)


def findings(source: str) -> list[str]:
    """What is wrong with the docstrings of the functions of a module."""
    found = []
    for node in _functions(ast.parse(source)):
        if node.name == "__init__":
            continue
        docstring = ast.get_docstring(node)
        if docstring is None:
            # Part of the function above it: cut off for length, without a name in the kernel.
            if not node.name.startswith("_"):
                found.append(f"{node.name}: no docstring")
            continue
        keys = keys_of(docstring)
        names = [name for name, _ in keys]
        if names != sorted(names, key=KEYS.index):
            found.append(f"{node.name}: keys out of order: {names}")
        values = dict(keys)
        if "Kernel" in values and not STATUS.match(values.get("Status", "")):
            found.append(f"{node.name}: Status: {values.get('Status')!r}")
        if "Locks" in values and not LOCKS.match(values["Locks"]):
            found.append(f"{node.name}: Locks: {values['Locks']!r}")
    return found


@pytest.mark.parametrize("path", MIRRORED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_docstrings_have_their_keys(path: Path) -> None:
    assert findings(path.read_text()) == []


def test_every_variant_function_under_a_kernel_name_cites_the_kernel() -> None:
    missing = []
    for path in (PACKAGE / "linux_6_12").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and "Kernel:" not in (ast.get_docstring(node) or ""):
                missing.append(f"{path.name}: {node.name}")
    assert sorted(missing) == HELPERS


#: Python-only helpers; none has a name that the kernel uses.
HELPERS = [
    "alloc.py: _alloc_pages_bulk_pcp",
    "alloc.py: _bulk_zone",
    "alloc.py: _zone_has_room",
    "boot.py: free_memory_ranges",
    "buddy.py: free_blocks_of_pageblock",
    "fallback.py: _trace_extfrag",
    "free.py: _put_page_testzero",
    "free.py: check_allocation",
    "free.py: covering_block",
    "free.py: raise_bad_free",
    "highatomic.py: _reserve_locked",
    "highatomic.py: _unreserve_locked",
    "isolation.py: _unset_locked",
]


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        ("def f():\n    pass\n", "no docstring"),
        ('def f():\n    """x\n\n    Status: source\n    Kernel: f()\n    """\n', "out of order"),
        ('def f():\n    """x\n\n    Kernel: f()\n    Status: made up\n    """\n', "Status"),
        ('def f():\n    """x\n\n    Kernel: f()\n    Status: source\n    Locks: wants zone.lock\n    """\n', "Locks"),
    ],
)
def test_the_check_can_fail(source: str, finding: str) -> None:
    assert any(finding in line for line in findings(source))
