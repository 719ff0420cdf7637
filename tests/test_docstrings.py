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
VARIANT_PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/variant.py"))
MIRRORED = sorted(
    path
    for directory in ("mm", *VARIANT_PACKAGES)
    for path in (PACKAGE / directory).rglob("*.py")
    if path.name not in ("__init__.py", "calls.py", "variant.py", "policy.py")
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
    for path in MIRRORED:
        if "mm" in path.relative_to(PACKAGE).parts:
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and "Kernel:" not in (ast.get_docstring(node) or ""):
                missing.append(f"{path.relative_to(PACKAGE).as_posix()}: {node.name}")
    assert sorted(missing) == HELPERS


#: Python-only helpers; none has a name that the kernel uses.
HELPERS = [
    "chunks/bulk.py: take_chunks",
    "linux_6_12/alloc.py: _alloc_pages_bulk_pcp",
    "linux_6_12/alloc.py: _bulk_zone",
    "linux_6_12/alloc.py: _zone_has_room",
    "linux_6_12/boot.py: free_memory_ranges",
    "linux_6_12/buddy.py: free_blocks_of_pageblock",
    "linux_6_12/buddy.py: next_free_head",
    "linux_6_12/fallback.py: _trace_extfrag",
    "linux_6_12/free.py: _put_page_testzero",
    "linux_6_12/free.py: check_allocation",
    "linux_6_12/free.py: covering_block",
    "linux_6_12/free.py: raise_bad_free",
    "linux_6_12/highatomic.py: _reserve_locked",
    "linux_6_12/highatomic.py: _unreserve_locked",
    "linux_6_12/isolation.py: _unset_locked",
    "linux_7_0/isolation.py: _unset_locked",
    "pcp_merge/bulk.py: merge_victims",
    "pcp_merge/bulk.py: take_victims",
    "rfc/bulk.py: still_wanted",
    "rfc/pcp.py: add_refill",
    "rfc/pcp.py: has_chunk",
    "rfc/pcp.py: pcp_list_type",
    "rfc/policies/recover_cap.py: recover_capped",
    "rfc/policies/recover_counter.py: count_free_block",
    "rfc/policies/recover_counter.py: recount",
    "rfc/policies/want_block.py: room_for_a_block",
    "rfc/refill.py: _never",
    "rfc/refill.py: claim_by_rmqueue",
    "rfc/refill.py: scan_and_take",
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
