# SPDX-License-Identifier: GPL-2.0-only
"""Explain one operation rule by rule, or collect the rules that a long run carries out.

Both look at the marks (pageblock_buddy.rules); the mirrored code knows nothing of it and pays nothing when nobody
asks.  ``explain`` follows the frames of the mirrored code line by line with ``sys.settrace``.  ``RuleCoverage``
only wants to know which marks are passed, and has to keep up with replays: it lends the functions a code that notes
just that.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from itertools import zip_longest
from types import CodeType, FrameType, FunctionType, ModuleType, TracebackType
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar

from pageblock_buddy.errors import PageblockBuddyError
from pageblock_buddy.machine.lists import ListHead
from pageblock_buddy.mm.alloc_context import RmqueueMode
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone
from pageblock_buddy.rules import Mark, all_marks, kernel_name, load_rules, mirrored_files
from pageblock_buddy.variants import VARIANTS

T = TypeVar("T")
#: What a value becomes in an explanation: a number, or a short text for a structure.
Value = int | str | None
TraceFunction = Callable[[FrameType, str, Any], Any]

#: How many values a line shows at most.
_MAX_VALUES: Final = 6
#: Longest sequence of steps that is looked for as the body of a loop.
_MAX_PERIOD: Final = 16
_MODES: Final = ("NORMAL", "CMA", "CLAIM", "STEAL")
#: The Kernel and other structures that would fill a line and say nothing.
_SILENT: Final = ("k", "self")


# --- what there is to see: functions and marked statements of the mirrored code ----------------


@dataclass(frozen=True, slots=True)
class _Marked:
    """A marked statement: (local,) or (local, attribute) paths that it reads and writes."""

    mark: Mark
    reads: tuple[tuple[str, ...], ...]
    writes: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class _Function:
    file: str
    name: str
    kernel: str | None
    void: bool
    #: every line of a marked statement -> the statement
    lines: dict[int, _Marked]


def _header(node: ast.stmt) -> list[ast.AST]:
    """The expressions of a statement without its body."""
    match node:
        case ast.If() | ast.While():
            return [node.test]
        case ast.For():
            return [node.iter, node.target]
        case ast.With():
            return list(node.items)
    return [node]


def _paths(nodes: Sequence[ast.AST], context: type[ast.expr_context]) -> tuple[tuple[str, ...], ...]:
    """Paths of names that are loaded (or stored) below some nodes, in order of appearance."""
    found: dict[tuple[str, ...], None] = {}

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.AugAssign) and context is ast.Load:
            visit_target(node.target)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if isinstance(node.ctx, context):
                found[(node.value.id, node.attr)] = None
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, context):
                found[(node.id,)] = None
        else:
            for child in ast.iter_child_nodes(node):
                visit(child)

    def visit_target(target: ast.AST) -> None:
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            found[(target.value.id, target.attr)] = None
        elif isinstance(target, ast.Name):
            found[(target.id,)] = None

    for node in nodes:
        visit(node)
    return tuple(path for path in found if path[0] not in _SILENT)


def _functions_in(file: str, source: str, marks: Sequence[Mark]) -> dict[int, _Function]:
    """First line of the code object -> function, for every function of a source text."""
    by_line = {mark.line: mark for mark in marks}
    found: dict[int, _Function] = {}

    def visit(tree: ast.AST, scope: str) -> None:
        for node in ast.iter_child_nodes(tree):
            inner = scope
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                inner = f"{scope}.{node.name}" if scope else node.name
            if isinstance(node, ast.FunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                void = isinstance(node.returns, ast.Constant) and node.returns.value is None
                found[first] = _Function(file, inner, kernel_name(ast.get_docstring(node)), void, lines_of(node))
            visit(node, inner)

    def lines_of(function: ast.FunctionDef) -> dict[int, _Marked]:
        lines: dict[int, _Marked] = {}
        for node in _own_statements(function):
            mark = by_line.get(node.lineno)
            if mark is not None:
                header = _header(node)
                marked = _Marked(mark, _paths(header, ast.Load), _paths(header, ast.Store))
                lines.update((line, marked) for line in range(mark.line, mark.end_line + 1))
        return lines

    visit(ast.parse(source), "")
    return found


def _own_statements(function: ast.AST) -> Iterator[ast.stmt]:
    """The statements of a function, without those of functions inside it."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield from _own_statements(node)


@cache
def _mirrored() -> dict[str, dict[int, _Function]]:
    """co_filename -> functions by first line, for the mirrored code of every variant."""
    found: dict[str, dict[int, _Function]] = {}
    for variant in VARIANTS:
        marks = all_marks(variant)
        for file, path in mirrored_files(variant).items():
            if str(path) not in found:
                own = [mark for mark in marks if mark.file == file]
                found[str(path)] = _functions_in(file, path.read_text("utf-8"), own)
    return found


def _function_of(code: CodeType) -> _Function | None:
    functions = _mirrored().get(code.co_filename)
    # a comprehension can share its function's first line, but not its name
    function = functions.get(code.co_firstlineno) if functions is not None else None
    return function if function is not None and function.name.endswith(code.co_name) else None


# --- values ------------------------------------------------------------------------------------


def _value(value: object) -> tuple[bool, Value]:
    """(whether it tells something, short form)."""
    if value is None or isinstance(value, int | str):
        return True, value
    if isinstance(value, Zone):
        return True, value.name if not value.node else f"{value.name}/node{value.node}"
    if isinstance(value, PerCpuPages):
        return True, f"cpu{value.cpu}"
    if isinstance(value, RmqueueMode):
        return True, _MODES[value.value]
    if isinstance(value, ListHead):
        return True, f"{len(value)} block{'s' if len(value) != 1 else ''}" if value else "empty"
    return False, None


def _look(frame: FrameType, paths: Sequence[tuple[str, ...]]) -> dict[str, Value]:
    """What some paths hold in a frame now."""
    found: dict[str, Value] = {}
    local = frame.f_locals
    for path in paths:
        if len(found) == _MAX_VALUES:
            break
        name = path[0]
        if name not in local:
            continue
        holder = local[name]
        if len(path) > 1 and not isinstance(holder, RmqueueMode):
            telling, short = _value(getattr(holder, path[1], NotImplemented))
            if telling:
                found[f"{name}.{path[1]}"] = short
                continue
        telling, short = _value(holder)
        if telling:
            found.setdefault(name, short)
    return found


def _shown(name: str, value: Value) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and name.rpartition(".")[2] in _HEXADECIMAL:
        return f"{value:#x}"
    return str(value)


_HEXADECIMAL: Final = frozenset({"gfp", "gfp_flags", "alloc_flags", "fpi_flags", "flags", "reserve_flags"})


# --- steps -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Step:
    """One step of an operation.

    ``kind`` "call": a mirrored function is entered; ``values`` are its arguments, ``returned`` its result
    (``void``: it has none that could be shown), ``raised`` the error that left it.  ``kind`` "rule": a marked
    statement runs; ``ids`` are its rules, ``values`` what it reads, before, and ``changes`` what it wrote.
    ``function`` is the model's name, ``kernel`` the kernel's, or None.
    """

    kind: Literal["call", "rule"]
    depth: int
    file: str
    line: int
    function: str
    kernel: str | None
    ids: tuple[str, ...] = ()
    values: dict[str, Value] = field(default_factory=dict)
    changes: dict[str, Value] = field(default_factory=dict)
    void: bool = True
    returned: Value = None
    raised: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        common = {
            "kind": self.kind,
            "depth": self.depth,
            "file": self.file,
            "line": self.line,
            "function": self.function,
            "kernel": self.kernel,
            "values": dict(self.values),
        }
        if self.kind == "rule":
            return common | {"ids": list(self.ids), "changes": dict(self.changes)}
        return common | {"returned": self.returned, "raised": self.raised}


@dataclass(slots=True)
class Explanation(Generic[T]):
    """What an operation did: its result or its error, and every step in order."""

    steps: list[Step]
    result: T | None = None
    error: PageblockBuddyError | None = None

    @property
    def ids(self) -> list[str]:
        """The rules in the order in which they were carried out, with repetitions."""
        return [rule_id for step in self.steps for rule_id in step.ids]

    def to_text(self, *, everything: bool = False) -> str:
        """The steps as indented text; ``everything`` also shows functions that carry out no rule."""
        return format_explanation(self, everything=everything)

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        result: Any = self.result
        if not isinstance(result, int | str | list | tuple | dict | None):
            result = repr(result)
        return {
            "result": result,
            "error": self.error.to_dict() if self.error is not None else None,
            "steps": [step.to_dict() for step in self.steps],
        }

    def to_json(self) -> str:
        """As one line of JSON."""
        return json.dumps(self.to_dict(), separators=(",", ":"))


class _Recorder:
    """Collects the steps of one operation."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.depth = 0
        self.functions: dict[CodeType, _Function | None] = {}

    def trace(self, frame: FrameType, event: str, _: Any) -> TraceFunction | None:
        """The global trace function: a frame begins."""
        code = frame.f_code
        try:
            function = self.functions[code]
        except KeyError:
            function = self.functions[code] = _function_of(code)
        if function is None or event != "call":
            return None
        return _Frame(self, frame, function).trace


class _Frame:
    """Follows one frame of the mirrored code."""

    __slots__ = ("call", "function", "pending", "raised", "recorder", "step")

    def __init__(self, recorder: _Recorder, frame: FrameType, function: _Function) -> None:
        code = frame.f_code
        arguments = [(name,) for name in code.co_varnames[: code.co_argcount] if name not in _SILENT]
        self.call = Step(
            "call",
            recorder.depth,
            function.file,
            code.co_firstlineno,
            function.name,
            function.kernel,
            values=_look(frame, arguments),
            void=function.void,
        )
        recorder.steps.append(self.call)
        recorder.depth += 1
        self.recorder = recorder
        self.function = function
        self.pending: _Marked | None = None
        self.step: Step | None = None
        self.raised: str | None = None

    def trace(self, frame: FrameType, event: str, argument: Any) -> TraceFunction:
        """The local trace function."""
        if event == "line":
            self.raised = None
            marked = self.function.lines.get(frame.f_lineno)
            if marked is not None and marked is self.pending and marked.mark.line != marked.mark.end_line:
                return self.trace  # another line of the same statement
            self._finish(frame)
            if marked is not None:
                self._begin(frame, marked)
        elif event == "exception":
            self.raised = argument[0].__name__
        elif event == "return":
            self._finish(frame)
            self.call.raised = self.raised
            telling, short = _value(argument)
            if self.raised is None and telling:
                self.call.returned = short
            else:
                self.call.void = True
            self.recorder.depth -= 1
        return self.trace

    def _begin(self, frame: FrameType, marked: _Marked) -> None:
        self.pending = marked
        self.step = Step(
            "rule",
            self.recorder.depth,
            self.function.file,
            marked.mark.line,
            self.function.name,
            self.function.kernel,
            ids=marked.mark.ids,
            values=_look(frame, marked.reads),
        )
        self.recorder.steps.append(self.step)

    def _finish(self, frame: FrameType) -> None:
        """The pending statement is done: see what it wrote."""
        if self.pending is not None and self.step is not None:
            self.step.changes = _look(frame, self.pending.writes)
        self.pending = self.step = None


def explain(operation: Callable[[], T]) -> Explanation[T]:
    """Run ``operation`` and say which rules it carried out, in order.

    An error of this package that it raises becomes part of the explanation; other exceptions pass.  A trace function
    that was set before (a debugger's) is set again afterwards.
    Cost: some hundred times the operation's own time.
    """
    _mirrored()  # read the sources now and not inside the operation
    recorder = _Recorder()
    explanation: Explanation[T] = Explanation(recorder.steps)
    before = sys.gettrace()
    sys.settrace(recorder.trace)
    try:
        explanation.result = operation()
    except PageblockBuddyError as error:
        explanation.error = error
    finally:
        sys.settrace(before)
    return explanation


# --- text --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Node:
    """A step with the steps inside it, or (``repeats`` > 0) a count of folded repetitions of the nodes before it."""

    step: Step | None
    children: list[_Node] = field(default_factory=list)
    repeats: int = 0
    period: int = 0
    #: the places in the code that this node and those inside it came by
    places: frozenset[tuple[str, int]] = frozenset()
    #: what is inside is left out
    cut: bool = False


def _tree(steps: Sequence[Step]) -> list[_Node]:
    """The steps nested by depth."""
    roots: list[_Node] = []
    path: list[list[_Node]] = [roots]
    for step in steps:
        node = _Node(step)
        del path[step.depth + 1 :]
        path[-1].append(node)
        if step.kind == "call":
            path.append(node.children)
    return roots


def _prune(nodes: Sequence[_Node]) -> list[_Node]:
    """Without the calls inside which no rule is carried out."""
    kept = []
    for node in nodes:
        node.children = _prune(node.children)
        if node.children or (node.step is not None and (node.step.kind == "rule" or node.step.raised)):
            kept.append(node)
    return kept


def _find_places(nodes: Sequence[_Node]) -> None:
    for node in nodes:
        assert node.step is not None
        _find_places(node.children)
        here = (node.step.file, node.step.line)
        node.places = frozenset((here,)).union(*(child.places for child in node.children))


def _fold(nodes: Sequence[_Node]) -> list[_Node]:
    """The nodes with loops folded.

    A loop is a sequence of statements and calls that repeats.  Of its rounds those are kept that come by a place
    in the code where no round before them was (without the inside of calls that bring nothing new); the others are
    counted.  So a bulk of 63 pages is one page and a count, and if the 40th page claims a block, that is there as well.
    """
    at = 0
    folded: list[_Node] = []
    keys = [(node.step.file, node.step.line) for node in nodes if node.step is not None]
    while at < len(nodes):
        period, times = _repetition(keys, at)
        rounds = [list(nodes[at + period * i : at + period * (i + 1)]) for i in range(times)]
        seen: set[tuple[str, int]] = set()
        left_out: list[list[_Node]] = []
        for one in rounds:
            places = frozenset().union(*(node.places for node in one))
            if places <= seen:
                left_out.append(one)
            else:
                folded += _counted(left_out, period)
                left_out = []
                if seen:
                    _cut_known(one, seen)
                folded += _folded_round(one)
                seen |= places
        folded += _counted(left_out, period)
        at += period * times
    return folded


def _cut_known(nodes: Sequence[_Node], seen: Set[tuple[str, int]]) -> None:
    """Leave out what is inside calls that bring nothing new."""
    for node in nodes:
        if node.places <= seen:
            node.cut = bool(node.children)
            node.children = []
        else:
            _cut_known(node.children, seen)


def _folded_round(one: list[_Node]) -> list[_Node]:
    if len(one) > 1:
        return _fold(one)
    one[0].children = _fold(one[0].children)
    return one


def _counted(rounds: Sequence[list[_Node]], period: int) -> list[_Node]:
    """One node for some rounds, unless they would not take more than one line."""
    if len(rounds) == 1 and period == 1 and not rounds[0][0].children:
        return rounds[0]
    return [_Node(None, repeats=len(rounds), period=period)] if rounds else []


def _repetition(keys: Sequence[tuple[str, int]], at: int) -> tuple[int, int]:
    """(period, times) of the repetition that starts here and covers most; (1, 1) if there is none."""
    best = (1, 1)
    for period in range(1, min(_MAX_PERIOD, (len(keys) - at) // 2) + 1):
        body = keys[at : at + period]
        times = 1
        while keys[at + period * times : at + period * (times + 1)] == body:
            times += 1
        if times > 1 and period * times > best[0] * best[1]:
            best = period, times
    return best


def format_explanation(explanation: Explanation[Any], *, everything: bool = False) -> str:
    """An explanation as indented text: calls, the rules inside them with titles and values, loops folded."""
    tree = _tree(explanation.steps)
    if not everything:
        tree = _prune(tree)
    _find_places(tree)
    lines = list(_lines(_fold(tree), "", {}))
    if explanation.error is not None:
        lines.append(f"{explanation.error.code}: {explanation.error.message}")
    return "\n".join(lines)


def _lines(nodes: Sequence[_Node], indent: str, known: dict[str, Value]) -> Iterator[str]:
    """The lines of some nodes; ``known`` is what the line of the call around them says already."""
    for node, following in zip_longest(nodes, nodes[1:]):
        step = node.step
        if step is None:
            what = f"the {node.period} steps above, " if node.period > 1 else ""
            yield f"{indent}... {what}{node.repeats} more time{'s' if node.repeats > 1 else ''}"
        elif step.kind == "call":
            yield indent + _call_text(step) + (" ..." if node.cut else "")
            yield from _lines(node.children, indent + "  ", step.values)
        else:
            said = set(known.items())
            if following is not None and following.step is not None and following.step.kind == "call":
                said |= set(following.step.values.items())
            values = _values_text(step, said)
            for number, rule_id in enumerate(step.ids):
                rule = load_rules().get(rule_id)
                title = rule.title.replace("`", "") if rule is not None else ""
                yield f"{indent}{rule_id:<12}{title}{values if not number else ''}".rstrip()


def _call_text(step: Step) -> str:
    name = (step.kernel or step.function).removesuffix("_noprof")
    arguments = ", ".join(f"{name}={_shown(name, value)}" for name, value in step.values.items())
    if step.raised is not None:
        return f"{name}({arguments}) raises {step.raised}"
    if step.void:
        return f"{name}({arguments})"
    return f"{name}({arguments}) = {_shown('flags' if 'flags' in name else '', step.returned)}"


def _values_text(step: Step, said: set[tuple[str, Value]]) -> str:
    shown = []
    for name, value in step.values.items():
        after = step.changes.get(name, value)
        if after != value:
            shown.append(f"{name}={_shown(name, value)} -> {_shown(name, after)}")
        elif (name, value) not in said:
            shown.append(f"{name}={_shown(name, value)}")
    shown += [f"{n}={_shown(n, value)}" for n, value in step.changes.items() if n not in step.values]
    return f"   [{', '.join(shown)}]" if shown else ""


# --- coverage ----------------------------------------------------------------------------------

#: The name under which instrumented functions find the byte that a mark sets.
_SEEN_NAME: Final = "_rules_seen"


class _Instrumenter(ast.NodeTransformer):
    """Puts ``_rules_seen[n] = 1`` before each marked statement, n being the mark's place in _Instrumented.marks."""

    def __init__(self, numbers: dict[int, int]) -> None:
        self.numbers = numbers

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if isinstance(statements, list):
                setattr(node, name, [new for old in statements for new in self._with_note(old)])
        return node

    def _with_note(self, statement: ast.stmt) -> Iterator[ast.stmt]:
        number = self.numbers.get(statement.lineno)
        if number is not None:
            note = ast.parse(f"{_SEEN_NAME}[{number}] = 1").body[0]
            for part in ast.walk(note):
                ast.copy_location(part, statement)
            yield note
        yield statement


class _Instrumented:
    """The loaded mirrored functions, each with its own code and a code that notes which marks it comes by.

    Tracing every call costs several times the run itself; this costs a few per cent.  An ``elif``
    is an ``if`` inside ``else`` to the parser, so a note can stand before any statement.
    """

    def __init__(self) -> None:
        self.marks: list[Mark] = []
        self.functions: list[tuple[FunctionType, CodeType, CodeType]] = []
        self.modules: list[ModuleType] = []
        added: set[str] = set()
        for variant in VARIANTS:
            marks = all_marks(variant)
            for file, path in mirrored_files(variant).items():
                if file not in added:
                    added.add(file)
                    self._add(file, str(path), path.read_text("utf-8"), [mark for mark in marks if mark.file == file])

    def _add(self, file: str, path: str, source: str, marks: Sequence[Mark]) -> None:
        name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        module = import_module(f"pageblock_buddy.{name}")
        own = [mark for mark in marks if not mark.constant]
        numbers = {mark.line: len(self.marks) + i for i, mark in enumerate(own)}
        self.marks += own
        tree = _Instrumenter(numbers).visit(ast.parse(source))
        codes = {code.co_qualname: code for code in _codes(compile(tree, path, "exec", dont_inherit=True))}
        self.modules.append(module)
        for holder in (module, *(c for c in vars(module).values() if isinstance(c, type))):
            for function in vars(holder).values():
                if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                    noting = codes.get(function.__qualname__)
                    if noting is not None and noting.co_freevars == function.__code__.co_freevars:
                        self.functions.append((function, function.__code__, noting))

    def switch(self, noting: bool) -> None:
        """Let the functions note their marks, or not."""
        for function, plain, instrumented in self.functions:
            function.__code__ = instrumented if noting else plain

    def note_in(self, seen: bytearray | None) -> None:
        """Where the notes go."""
        for module in self.modules:
            if seen is None:
                vars(module).pop(_SEEN_NAME, None)
            else:
                setattr(module, _SEEN_NAME, seen)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code objects of functions and methods in a module's code."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


@cache
def _instrumented() -> _Instrumented:
    return _Instrumented()


class RuleCoverage:
    """Collects the rules that the code inside the ``with`` block carries out.

    ``ids`` are the rules, known when the block is left.  Blocks may be nested: the outer one gets what
    the inner one saw.  One thread only.
    """

    #: the open blocks, innermost last
    _open: ClassVar[list[bytearray]] = []

    def __init__(self) -> None:
        self.ids: set[str] = set()

    def __enter__(self) -> RuleCoverage:
        instrumented = _instrumented()
        seen = bytearray(len(instrumented.marks))
        instrumented.note_in(seen)
        if not self._open:
            instrumented.switch(True)
        self._open.append(seen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        instrumented = _instrumented()
        seen = self._open.pop()
        if self._open:
            outer = self._open[-1]
            outer[:] = bytes(a | b for a, b in zip(outer, seen, strict=True))
            instrumented.note_in(outer)
        else:
            instrumented.switch(False)
            instrumented.note_in(None)
        for mark, was_seen in zip(instrumented.marks, seen, strict=True):
            if was_seen:
                self.ids.update(mark.ids)
