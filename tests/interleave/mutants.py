# SPDX-License-Identifier: GPL-2.0-only
"""Mechanical mutants of the mirrored code: small changes of one function, made on its syntax tree.

A mutant has a stable name, ``rfc/bulk.py:drain_chunk:7:drop-statement``: file, function, number within the function,
operator.  It is applied in this process: the function object stays, since tables and imports refer to it, and gets
the code of the changed source.
"""

from __future__ import annotations
import __future__

import ast
import copy
import importlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

#: What is mutated, below pageblock_buddy/.
RFC: Final = tuple(
    f"rfc/{name}.py" for name in ("alloc", "bulk", "drain", "free", "hotplug", "merge", "pageblock", "pcp", "refill")
)
LLIST: Final = tuple(f"llist/{name}.py" for name in ("bulk", "drain", "free", "hotplug", "pcp"))
BUDDY: Final = ("linux_6_12/buddy.py", "linux_7_0/buddy.py")
FILES: Final = (*RFC, *LLIST, *BUDDY)

_ENDS: Final = {
    "list_add": "list_add_tail",
    "list_add_tail": "list_add",
    "pop_first": "pop_last",
    "pop_last": "pop_first",
}
_LOCKS: Final = ("lock", "lock_irqsave", "trylock", "trylock_irqsave", "pcp_spin_trylock")
_PLAIN: Final = {"lock_irqsave": "lock", "trylock_irqsave": "trylock", "pcp_spin_trylock": "trylock"}
_BOUNDARY: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
_NEGATED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
}
_EXTREMES: Final = {"min": "max", "max": "min"}
_LISTS: Final = ("body", "orelse")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed function."""

    name: str
    file: str
    function: str
    operator: str
    #: where the statement begins that has to run for the change to matter
    line: int
    #: what is changed, for people
    before: str
    source: str

    @property
    def where(self) -> str:
        """The function with its file."""
        return f"{self.file}:{self.function}"


def module_of(file: str) -> ModuleType:
    """The module of a file below pageblock_buddy/."""
    return importlib.import_module("pageblock_buddy." + file.removesuffix(".py").replace("/", "."))


@cache
def functions_of(file: str) -> dict[str, ast.FunctionDef]:
    """The module-level functions of a file, as syntax trees."""
    tree = ast.parse(inspect.getsource(module_of(file)))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def lines_of(file: str, name: str) -> range:
    """The lines of a function."""
    node = functions_of(file)[name]
    assert node.end_lineno is not None
    return range(node.lineno, node.end_lineno + 1)


def function_object(file: str, name: str) -> FunctionType:
    """The function itself: what tables and imports refer to."""
    found = getattr(module_of(file), name)
    assert isinstance(found, FunctionType)
    return found


# --- generating --------------------------------------------------------------------------------


@cache
def mutants_of(file: str) -> tuple[Mutant, ...]:
    """Every mutant of a file, in a fixed order."""
    return tuple(mutant for name in functions_of(file) for mutant in _of_function(file, name))


@cache
def all_mutants() -> tuple[Mutant, ...]:
    """Every mutant there is, in a fixed order."""
    return tuple(mutant for file in FILES for mutant in mutants_of(file))


def by_name(name: str) -> Mutant:
    """A mutant by its name.  KeyError if there is none."""
    found = {mutant.name: mutant for mutant in mutants_of(name.split(":", 1)[0])}
    return found[name]


#: a change of the tree that was copied for it
Change = Callable[[ast.FunctionDef], None]
#: (operator, node that is changed, the change)
Found = tuple[str, ast.AST, Change]
#: operators that change when a statement runs: the function has to run, not the statement
_MOVES: Final = ("store-past-unlock", "store-before-lock")


def _of_function(file: str, name: str) -> Iterator[Mutant]:
    original = functions_of(file)[name]
    text = ast.unparse(original)
    seen = {text}
    for number, (operator, node, line, change) in enumerate(_changes(original)):
        tree = copy.deepcopy(original)
        change(tree)
        source = ast.unparse(ast.fix_missing_locations(tree))
        if source in seen:
            continue
        seen.add(source)
        before = ast.unparse(node).splitlines()[0]
        yield Mutant(f"{file}:{name}:{number}:{operator}", file, name, operator, line, before, source)


def _changes(function: ast.FunctionDef) -> Iterator[tuple[str, ast.AST, int, Change]]:
    """Every change of a function, with its line.  Nodes are found again in the copy by their number in ast.walk()."""
    numbers = {id(node): number for number, node in enumerate(ast.walk(function))}

    def at(node: ast.AST, edit: Callable[[Any], None]) -> Change:
        number = numbers[id(node)]

        def change(tree: ast.FunctionDef) -> None:
            edit(list(ast.walk(tree))[number])

        return change

    first = next(statement for statement in function.body if not _is_skipped(statement)).lineno
    for node, line in _mutable(function, first):
        for field in _LISTS:
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                for operator, statement, change in _of_statements(node, field, statements, at):
                    assert isinstance(statement, ast.stmt)
                    yield operator, statement, first if operator in _MOVES else statement.lineno, change
        for operator, changed, change in _of_expression(node, at):
            yield operator, changed, line, change


def _mutable(node: ast.AST, line: int) -> Iterator[tuple[ast.AST, int]]:
    """A function's nodes and where their statement begins, without what changes nothing: docstring, annotations,
    tracing, asserts."""
    if isinstance(node, ast.stmt) and not isinstance(node, ast.FunctionDef):
        line = node.lineno
    yield node, line
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "args") and not isinstance(node, ast.Call):
            continue
        children = value if isinstance(value, list) else [value]
        for child in children:
            if isinstance(child, ast.AST) and not _is_skipped(child):
                yield from _mutable(child, line)


def _is_skipped(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    return isinstance(node, ast.If) and ast.unparse(node.test) == "k.trace is not None"


def _method(node: ast.AST) -> str:
    """The name of the method that a statement or expression calls."""
    if isinstance(node, ast.Expr):
        node = node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr
    return ""


def _is_lock(node: ast.AST) -> bool:
    return _method(node) in _LOCKS


def _is_unlock(node: ast.AST) -> bool:
    return _method(node) == "unlock"


At = Callable[[ast.AST, Callable[[Any], None]], Change]


def _of_statements(parent: ast.AST, field: str, statements: list[ast.stmt], at: At) -> Iterator[Found]:
    for index, statement in enumerate(statements):
        if _is_skipped(statement) or isinstance(statement, ast.Pass):
            continue
        operator = "drop-lock" if _is_lock(statement) else "drop-unlock" if _is_unlock(statement) else "drop-statement"
        yield operator, statement, at(parent, _dropping(field, index))
    for index, statement in enumerate(statements):
        if _is_unlock(statement):
            for moved in range(index):
                if isinstance(statements[moved], ast.Assign | ast.AugAssign | ast.Expr) and not _is_skipped(
                    statements[moved]
                ):
                    yield "store-past-unlock", statements[moved], at(parent, _moving(field, moved, index))
        if _is_lock(statement):
            for moved in range(index + 1, len(statements)):
                if _is_unlock(statements[moved]):
                    break
                if isinstance(statements[moved], ast.Assign | ast.AugAssign | ast.Expr):
                    yield "store-before-lock", statements[moved], at(parent, _moving(field, moved, index))


def _dropping(field: str, index: int) -> Callable[[Any], None]:
    def edit(parent: Any) -> None:
        getattr(parent, field)[index] = ast.Pass()

    return edit


def _moving(field: str, source: int, target: int) -> Callable[[Any], None]:
    def edit(parent: Any) -> None:
        statements = getattr(parent, field)
        statements.insert(target, statements.pop(source))

    return edit


def _setting(field: str, value: object) -> Callable[[Any], None]:
    def edit(node: Any) -> None:
        setattr(node, field, value)

    return edit


def _becoming(text: str) -> Callable[[Any], None]:
    """The node turns into another expression."""

    def edit(node: Any) -> None:
        other = ast.parse(text, mode="eval").body
        # In parentheses by construction: ast.unparse() adds what is needed.
        node.__class__ = other.__class__
        node.__dict__.clear()
        node.__dict__.update(other.__dict__)

    return edit


def _of_expression(node: ast.AST, at: At) -> Iterator[Found]:
    match node:
        case ast.Constant(value=bool(value)):
            yield "flip-constant", node, at(node, _setting("value", not value))
        case ast.Constant(value=int(value)):
            yield "plus-one", node, at(node, _becoming(str(value + 1)))
            yield "minus-one", node, at(node, _becoming(f"{value - 1}"))
        case ast.Compare(ops=ops):
            yield from _of_comparison(node, ops, at)
        case ast.BoolOp(op=op, values=values):
            swapped = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield "swap-and-or", node, at(node, _setting("op", swapped))
            for index, operand in enumerate(values):
                yield "drop-condition", operand, at(node, _dropping_operand(index))
        case ast.UnaryOp(op=ast.Not(), operand=operand) if not isinstance(operand, ast.Compare):
            yield "flip-condition", node, at(node, _becoming(ast.unparse(operand)))
        case ast.BinOp(op=op) if type(op) in _ARITHMETIC:
            yield "swap-operator", node, at(node, _setting("op", _ARITHMETIC[type(op)]()))
        case ast.AugAssign(op=op) if type(op) in _ARITHMETIC:
            yield "swap-operator", node, at(node, _setting("op", _ARITHMETIC[type(op)]()))
        case ast.Call(func=ast.Name(id="reversed"), args=[only]):
            yield "swap-head-tail", node, at(node, _becoming(f"list({ast.unparse(only)})"))
        case ast.Call(func=ast.Name(id=name), args=args) if name in _EXTREMES:
            function = node.func
            yield "swap-min-max", node, at(function, _setting("id", _EXTREMES[name]))
            for arg in args:
                yield "drop-limit", node, at(node, _becoming(ast.unparse(arg)))
        case ast.Call(func=ast.Attribute(attr=name)) if name in _ENDS:
            yield "swap-head-tail", node, at(node.func, _setting("attr", _ENDS[name]))
        case ast.Call(func=ast.Attribute(attr=name)) if name in _PLAIN:
            yield "plain-lock", node, at(node.func, _setting("attr", _PLAIN[name]))
            if name != "lock_irqsave":
                yield "drop-lock", node, at(node, _becoming("True"))
        case ast.Call(func=ast.Attribute(attr="trylock" | "pcp_free_lock")):
            yield "drop-lock", node, at(node, _becoming("True"))
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            if not isinstance(test, ast.Compare) and not (
                isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
            ):
                yield "flip-condition", test, at(test, _becoming(f"not ({ast.unparse(test)})"))
        case ast.Attribute(attr="cpu"):
            text = ast.unparse(node)
            yield "wrong-owner", node, at(node, _becoming("0" if text == "k.machine.cpu" else "k.machine.cpu"))
        case ast.Name(id="tag" | "cpu" | "linked" as name, ctx=ast.Load()):
            yield "wrong-owner", node, at(node, _becoming("k.machine.cpu" if name == "cpu" else "k.machine.cpu + 1"))
        case ast.Subscript(value=ast.Attribute(attr="per_cpu_pageset") as pagesets):
            yield "wrong-owner", node, at(node, _becoming(f"{ast.unparse(pagesets)}[k.machine.cpu]"))
        case ast.BinOp():
            pass


def _of_comparison(node: ast.Compare, ops: list[ast.cmpop], at: At) -> Iterator[Found]:
    for index, op in enumerate(ops):
        for table in (_BOUNDARY, _NEGATED):
            if type(op) in table:
                changed = [copy.deepcopy(one) for one in ops]
                changed[index] = table[type(op)]()
                yield "flip-comparison", node, at(node, _setting("ops", changed))


def _dropping_operand(index: int) -> Callable[[Any], None]:
    def edit(node: Any) -> None:
        del node.values[index]
        if len(node.values) == 1:
            only = node.values[0]
            node.__class__ = only.__class__
            node.__dict__.clear()
            node.__dict__.update(only.__dict__)

    return edit


# --- applying ----------------------------------------------------------------------------------


def compiled(file: str, function: str, source: str) -> CodeType:
    """The code of a changed function, in its module's namespace."""
    module = module_of(file)
    flags = __future__.annotations.compiler_flag
    namespace = dict(vars(module))
    exec(compile(source, f"<{file}:{function}>", "exec", flags=flags, dont_inherit=True), namespace)
    made = namespace[function]
    assert isinstance(made, FunctionType)
    return made.__code__


@contextmanager
def applied(file: str, function: str, source: str) -> Iterator[None]:
    """Run with a changed function.  If its results are to be compared, it notes them."""
    target = function_object(file, function)
    vars(module_of(file))["__note__"] = _note
    changed = compiled(file, function, noting(f"{file}:{function}", source))
    assert changed.co_freevars == target.__code__.co_freevars, f"{file}:{function} got another closure"
    before = target.__code__
    target.__code__ = changed
    try:
        yield
    finally:
        target.__code__ = before


# --- what functions return -----------------------------------------------------------------------

#: Functions whose result nobody in a program looks at, though a caller might: it belongs to what is compared.
RESULTS: Final = (
    "rfc/bulk.py:rmqueue_bulk",
    "rfc/drain.py:decay_pcp_high",
    "rfc/merge.py:merge_pcp_buddies",
    "rfc/refill.py:scan_and_take",
    "linux_6_12/buddy.py:_move_freepages_block",
    "linux_6_12/buddy.py:move_freepages_block",
)
#: (what tells one run from another, a result) for what they returned to simulated processes
RETURNED: Final[list[tuple[object, str]]] = []
#: says which run this is; None: no run
RUN: Final[list[Callable[[], object]]] = []


def returned_in(run: object) -> list[str]:
    """What functions of RESULTS returned in one run, sorted; forgets everything."""
    found = sorted(value for one, value in RETURNED if one is run)
    RETURNED.clear()
    return found


class _Noting(ast.NodeTransformer):
    """``return x`` becomes a note of x, too."""

    def visit_Return(self, node: ast.Return) -> ast.AST:
        if node.value is None:
            return node
        noted = ast.parse("__note__(None)", mode="eval").body
        assert isinstance(noted, ast.Call)
        noted.args = [node.value]
        return ast.Return(noted)


def _note(value: object) -> object:
    if RUN:
        RETURNED.append((RUN[-1](), repr(value)))
    return value


def noting(where: str, source: str) -> str:
    """The source of a function; if its results are to be compared, one that notes them."""
    if where not in RESULTS:
        return source
    return ast.unparse(ast.fix_missing_locations(_Noting().visit(ast.parse(source))))


@contextmanager
def results_noted() -> Iterator[None]:
    """Run with the functions of RESULTS noting what they return."""
    with ExitStack() as stack:
        for where in RESULTS:
            file, _, function = where.partition(":")
            stack.enter_context(applied(file, function, ast.unparse(functions_of(file)[function])))
        yield


# --- what ran ----------------------------------------------------------------------------------

#: (file, line) of each statement that ran while :func:`watched` was in force
SEEN: Final[set[tuple[str, int]]] = set()


class _Watching(ast.NodeTransformer):
    """Puts a note before each statement.  A profiler would not do: greenlets have their own."""

    def __init__(self, file: str) -> None:
        self.file = file

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for field in _LISTS:
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                setattr(node, field, [one for statement in statements for one in self._noted(statement)])
        return node

    def _noted(self, statement: ast.stmt) -> list[ast.stmt]:
        return [ast.parse(f"__SEEN__.add(({self.file!r}, {statement.lineno}))").body[0], statement]


@cache
def _watching(file: str, function: str) -> CodeType:
    tree = _Watching(file).visit(copy.deepcopy(functions_of(file)[function]))
    source = ast.unparse(ast.fix_missing_locations(tree))
    return compiled(file, function, source)


@contextmanager
def watched() -> Iterator[set[tuple[str, int]]]:
    """Run with every mutable function noting its statements."""
    before = []
    SEEN.clear()
    for file in FILES:
        vars(module_of(file))["__SEEN__"] = SEEN
        for name in functions_of(file):
            target = function_object(file, name)
            before.append((target, target.__code__))
            target.__code__ = _watching(file, name)
    try:
        yield SEEN
    finally:
        for target, code in before:
            target.__code__ = code
        for file in FILES:
            del vars(module_of(file))["__SEEN__"]
