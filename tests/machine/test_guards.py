# SPDX-License-Identifier: GPL-2.0-only
"""Every field of every shared structure says what guards it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from pageblock_buddy.machine.cpu import Machine
from pageblock_buddy.machine.guards import PCP_LOCK, ZONE_LOCK, Kind, held
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import FreeArea, Node, PerCpuPages, PerCpuZonestat, Zone

STRUCTURES = (Machine, Kernel, FreeArea, Node, PerCpuPages, PerCpuZonestat, Zone)
PACKAGE = Path(__file__).resolve().parents[2] / "pageblock_buddy"


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.__name__)
def test_every_field_has_a_guard(structure: type[Zone]) -> None:
    assert sorted(structure.GUARDS) == sorted(structure.__slots__)


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.__name__)
def test_a_lock_is_named_where_one_is_meant(structure: type[Zone]) -> None:
    for guard in structure.GUARDS.values():
        assert (guard.lock in (ZONE_LOCK, PCP_LOCK)) == (guard.kind in (Kind.HELD, Kind.STORES_HELD))


def test_the_structures_are_all_there_are() -> None:
    """A class of mm/ with a lock, a list or a counter in it, which is not one of the above, would go unwatched."""
    classes = {
        node.name
        for path in [*(PACKAGE / "mm").glob("*.py"), PACKAGE / "machine" / "cpu.py"]
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    # what a function makes for itself, tables of functions, and the view of columns
    local = {"AllocContext", "RmqueueMode", "Calls", "PcpBuddyCalls", "Recovered", "PageblockData", "Context"}
    assert classes - local == {structure.__name__ for structure in STRUCTURES}


def test_held_names_its_lock() -> None:
    assert held(PCP_LOCK) == (Kind.HELD, PCP_LOCK)


# --- columns are reached by index only ---------------------------------------------------------

#: Columns, and lists of a racy content, that the interleaver replaces by reporting ones.
COLUMNS = ("mem_map", "pageblock_flags", "pageblock_cpu", "pageblock_cpu_node", "online")
VARIANTS = sorted(path.parent.name for path in PACKAGE.glob("*/variant.py"))
#: Uses that a report misses, each with the reason why that is fine.
FINE = {
    "linux_6_12/boot.py": "boot, before there is a second CPU",
    "linux_6_12/buddy.py: _FREE_HEAD.search(k.mem_map, pfn, end)": "a predicate that zone->lock guards",
    "linux_6_12/pcp.py: online = k.machine.online": "under cpu_hotplug_lock; read by index",
    "machine/cpu.py: self.online = [True] * nr_cpus": "where it is made",
    "machine/cpu.py: sum(self.online)": "under cpu_hotplug_lock",
    "rfc/merge.py: mem_map = k.mem_map": "a name for the column; read and written by index",
}


def unreported(source: str) -> list[str]:
    """Statements of a module that use a column other than as ``column[index]``."""
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr not in COLUMNS:
            continue
        parent = parents[node]
        if isinstance(parent, ast.Subscript) and parent.value is node and not isinstance(parent.slice, ast.Slice):
            continue
        found.append(re.sub(r"\s+", " ", ast.unparse(_statement(parents, node))))
    return found


def _statement(parents: dict[ast.AST, ast.AST], node: ast.AST) -> ast.AST:
    """The innermost call or the statement around a node."""
    while not isinstance(node, ast.stmt | ast.Call):
        node = parents[node]
    return node


def test_columns_are_reached_by_index_only() -> None:
    paths = [path for name in ("mm", "machine", *VARIANTS) for path in sorted((PACKAGE / name).rglob("*.py"))]
    found = {
        f"{path.relative_to(PACKAGE).as_posix()}: {use}"
        for path in paths
        if path.name != "kernel.py"
        for use in unreported(path.read_text())
    }
    assert sorted(use for use in found if use not in FINE and use.split(":")[0] not in FINE) == []
    assert sorted(use for use in FINE if use not in found | {use.split(":")[0] for use in found}) == []


@pytest.mark.parametrize(
    "statement",
    [
        "x = k.pageblock_cpu[a:b]",
        "if tag in k.pageblock_cpu: pass",
        "k.pageblock_cpu.index(tag)",
        "for tag in k.pageblock_cpu: pass",
        "f(k.pageblock_cpu)",
        "owners = k.pageblock_cpu",
    ],
)
def test_another_use_of_a_column_is_found(statement: str) -> None:
    assert unreported(statement) != []


def test_a_use_by_index_is_fine() -> None:
    assert unreported("x = k.pageblock_cpu[pfn >> 3]\nk.mem_map[pfn] = k.mem_map[pfn ^ 1] = 0") == []
