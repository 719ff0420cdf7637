# SPDX-License-Identifier: GPL-2.0-only
"""Programs: what each CPU does, in which context, with which locks held around it.  JSON; docs/formats.md.

A program names its pages: what ``alloc`` got as ``"a"`` is freed as ``"a"``, on whichever CPU.  A free of a page that
another process is still to allocate waits for it; a page whose allocation failed is not freed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from pageblock_buddy import gfp as g
from pageblock_buddy.config import Config, ZoneConfig
from pageblock_buddy.errors import ConfigError, InputError
from pageblock_buddy.machine.cpu import Context
from pageblock_buddy.machine.guards import PCP_LOCK, ZONE_LOCK
from pageblock_buddy.textfiles import read_text

FORMAT: Final = "pageblock-buddy-program"
VERSION: Final = 1
#: Steps, states and schedules grow with each operation: a program that is longer is a workload.
MAX_OPS: Final = 1000
MAX_PROCESSES: Final = 64
#: A machine that is put back thousands of times a second is small, and its columns are plain bytes.
MAX_PAGES: Final = 1 << 16
MAX_CPUS: Final = 64
MAX_NAME: Final = 64
MAX_SUMMARY: Final = 1000
#: Holds inside each other.
MAX_DEPTH: Final = 8
#: A file with more than this is no program.
MAX_BYTES: Final = 16 << 20
#: The machine's own locks: a lock of the program is another one.
MACHINE_LOCKS: Final = (ZONE_LOCK, PCP_LOCK, "cpu_hotplug_lock", "pcpu_drain_mutex")

# --- operations --------------------------------------------------------------------------------


class Alloc(NamedTuple):
    """alloc_pages(); with ``nolock`` alloc_pages_nolock()."""

    page: str
    order: int = 0
    gfp: int = g.GFP_KERNEL
    nolock: bool = False


class Free(NamedTuple):
    """__free_pages() of a page, by its name; with ``nolock`` free_pages_nolock()."""

    page: str
    nolock: bool = False


class AllocBulk(NamedTuple):
    """alloc_pages_bulk() of as many single pages as there are names."""

    pages: tuple[str, ...]
    gfp: int = g.GFP_KERNEL


class FreeBulk(NamedTuple):
    """free_unref_folios(): one batch."""

    pages: tuple[str, ...]


class Drain(NamedTuple):
    """drain_pages() of a CPU, by whoever runs this; ``cpu`` None: drain_all_pages()."""

    cpu: int | None


class Decay(NamedTuple):
    """The vmstat worker of the running CPU: refresh_cpu_vm_stats() with page sets."""


class Offline(NamedTuple):
    """Another CPU goes offline: page_alloc_cpu_dead()."""

    cpu: int


class Online(NamedTuple):
    """A CPU comes back: page_alloc_cpu_online()."""

    cpu: int


class Isolate(NamedTuple):
    """set_migratetype_isolate() of the pageblock of a PFN; ``undo``: unset_migratetype_isolate()."""

    pfn: int
    undo: bool = False


class Hold(NamedTuple):
    """Operations with a lock of the program held around them; ``irqs_off``: spin_lock_irqsave()."""

    lock: str
    ops: tuple[Op, ...]
    irqs_off: bool = False


Op = Alloc | Free | AllocBulk | FreeBulk | Drain | Decay | Offline | Online | Isolate | Hold
#: These may sleep: task context, no lock held.
SLEEPING: Final = (Offline, Online)


def walk(ops: tuple[Op, ...]) -> Iterator[Op]:
    """Operations, and those inside a hold."""
    for op in ops:
        yield op
        if isinstance(op, Hold):
            yield from walk(op.ops)


def allocated(op: Op) -> tuple[str, ...]:
    """The names of the pages that an operation allocates."""
    if isinstance(op, Alloc):
        return (op.page,)
    return op.pages if isinstance(op, AllocBulk) else ()


def freed(op: Op) -> tuple[str, ...]:
    """The names of the pages that an operation frees."""
    if isinstance(op, Free):
        return (op.page,)
    return op.pages if isinstance(op, FreeBulk) else ()


def made_by(ops: tuple[Op, ...]) -> list[str]:
    """The names of the pages that operations allocate."""
    return [name for op in walk(ops) for name in allocated(op)]


def freed_by(ops: tuple[Op, ...]) -> list[str]:
    """The names of the pages that operations free."""
    return [name for op in walk(ops) for name in freed(op)]


# --- programs ----------------------------------------------------------------------------------


class Process(NamedTuple):
    """A task, or a handler that interrupts its CPU once."""

    name: str
    cpu: int
    context: Context
    ops: tuple[Op, ...]


class Migration(NamedTuple):
    """A task may move to another CPU, once."""

    task: int
    to: int


class SetUp(NamedTuple):
    """An operation that is done on a CPU before all of them start."""

    on: int
    op: Op


@dataclass(frozen=True, slots=True)
class Program:
    """What is run.  ``tasks[c]`` is what CPU c's task does; handlers are (CPU, operations)."""

    name: str
    config: Config
    tasks: tuple[tuple[Op, ...], ...]
    hardirqs: tuple[tuple[int, tuple[Op, ...]], ...] = ()
    softirqs: tuple[tuple[int, tuple[Op, ...]], ...] = ()
    migrations: tuple[Migration, ...] = ()
    setup: tuple[SetUp, ...] = ()
    summary: str = ""

    def __post_init__(self) -> None:
        _check(self)

    def processes(self) -> tuple[Process, ...]:
        """All processes: tasks by CPU, then softirq and hardirq handlers.  A CPU without operations has none."""
        tasks = [Process(str(cpu), cpu, Context.TASK, ops) for cpu, ops in enumerate(self.tasks) if ops]
        return (
            *tasks,
            *_handlers(self.softirqs, Context.SOFTIRQ, "s"),
            *_handlers(self.hardirqs, Context.HARDIRQ, "h"),
        )

    def all_ops(self) -> Iterator[Op]:
        """Every operation, set-up first."""
        yield from walk(tuple(entry.op for entry in self.setup))
        for process in self.processes():
            yield from walk(process.ops)

    def with_ops(self, process: str, ops: tuple[Op, ...]) -> Program:
        """The program with other operations for one process; a handler without any goes away."""
        index = [p.name for p in self.processes()].index(process)
        chosen = self.processes()[index]
        if chosen.context is Context.TASK:
            tasks = list(self.tasks)
            tasks[chosen.cpu] = ops
            migrations = tuple(m for m in self.migrations if ops or m.task != chosen.cpu)
            return replace(self, tasks=tuple(tasks), migrations=migrations)
        names = [p.name for p in self.processes() if p.context is chosen.context]
        softirq = chosen.context is Context.SOFTIRQ
        handlers = list(self.softirqs if softirq else self.hardirqs)
        handlers[names.index(process)] = (chosen.cpu, ops)
        left = tuple(handler for handler in handlers if handler[1])
        return replace(self, softirqs=left) if softirq else replace(self, hardirqs=left)

    def to_dict(self) -> dict[str, Any]:
        """The program as JSON types."""
        found: dict[str, Any] = {"format": FORMAT, "version": VERSION, "name": self.name}
        if self.summary:
            found["summary"] = self.summary
        found["config"] = json.loads(json.dumps(self.config.to_dict()))  # lists for its tuples
        if self.setup:
            found["setup"] = [{"on": entry.on, **op_to_dict(entry.op)} for entry in self.setup]
        cpus: list[dict[str, Any]] = [{} for _ in range(self.config.nr_cpus)]
        for cpu, ops in enumerate(self.tasks):
            if ops:
                cpus[cpu]["task"] = [op_to_dict(op) for op in ops]
        for key, handlers in (("softirq", self.softirqs), ("hardirq", self.hardirqs)):
            for cpu, ops in handlers:
                cpus[cpu].setdefault(key, []).append([op_to_dict(op) for op in ops])
        for migration in self.migrations:
            cpus[migration.task].setdefault("migrate", []).append(migration.to)
        found["cpus"] = cpus
        return found

    def to_json(self) -> str:
        """The program as canonical JSON: one line, the same bytes everywhere."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_dict(cls, data: object) -> Program:
        """Read a program.  Errors: InputError."""
        return _read_program(data)


def _handlers(handlers: tuple[tuple[int, tuple[Op, ...]], ...], context: Context, letter: str) -> list[Process]:
    counts: dict[int, int] = {}
    found = []
    for cpu, ops in handlers:
        counts[cpu] = counts.get(cpu, 0) + 1
        number = "" if counts[cpu] == 1 else str(counts[cpu])
        found.append(Process(f"{cpu}{letter}{number}", cpu, context, ops))
    return found


def _refuse(message: str) -> NoReturn:
    raise InputError(f"program: {message}")


def _check(program: Program) -> None:
    """Raise InputError for a program that cannot be run."""
    nr_cpus = program.config.nr_cpus
    if nr_cpus > MAX_CPUS:
        _refuse(f"{nr_cpus} CPUs, a program's machine has up to {MAX_CPUS}")
    if program.config.end_pfn > MAX_PAGES:
        _refuse(f"memory up to pfn {program.config.end_pfn}, a program's machine has up to {MAX_PAGES} pages")
    if len(program.tasks) != nr_cpus:
        _refuse(f"{len(program.tasks)} CPUs have a task, the machine has {nr_cpus}")
    processes = program.processes()
    if not processes:
        _refuse("no CPU does anything")
    if len(processes) + len(program.migrations) > MAX_PROCESSES:
        _refuse(f"more than {MAX_PROCESSES} tasks, handlers and migrations")
    if len(program.setup) + sum(_size(process.ops) for process in processes) > MAX_OPS:
        _refuse(f"more than {MAX_OPS} operations: cut it into several")
    cpus = [entry.on for entry in program.setup] + [cpu for cpu, _ in program.hardirqs + program.softirqs]
    cpus += [cpu for migration in program.migrations for cpu in migration]
    for op in program.all_ops():
        if isinstance(op, Drain | Offline | Online) and op.cpu is not None:
            cpus.append(op.cpu)
        if isinstance(op, Alloc) and not 0 <= op.order <= program.config.max_page_order:
            _refuse(f"order {op.order} is not 0..{program.config.max_page_order}")
        if isinstance(op, Isolate) and not any(z.start_pfn <= op.pfn < z.end_pfn for z in program.config.zones):
            _refuse(f"pfn {op.pfn} is in no zone")
    for cpu in cpus:
        if not 0 <= cpu < nr_cpus:
            _refuse(f"CPU {cpu} is not 0..{nr_cpus - 1}")
    for migration in program.migrations:
        if migration.task == migration.to or not program.tasks[migration.task]:
            _refuse(f"the task of CPU {migration.task} cannot migrate to CPU {migration.to}")
    if len(set(program.migrations)) < len(program.migrations):
        _refuse("a migration is given twice")
    _check_names(program, processes)
    maker = {name: process.name for process in processes for name in made_by(process.ops)}
    for process in processes:
        _check_context(process, process.ops, (), {name for name, made in maker.items() if made != process.name})


def _check_context(process: Process, ops: tuple[Op, ...], holding: tuple[str, ...], awaited: set[str]) -> None:
    """``awaited`` are the pages that other processes allocate: a free of one waits for it."""
    for op in ops:
        waits = next((name for name in freed(op) if name in awaited), None)
        if waits is not None and (holding or process.context is not Context.TASK):
            where = f"{holding[-1]} is held" if holding else "a handler does not wait"
            _refuse(f"{process.name}: page {waits!r} is allocated by another process, and {where}")
        sleeps = isinstance(op, SLEEPING) or (isinstance(op, Drain) and op.cpu is None)
        if (sleeps or isinstance(op, Drain | Decay)) and process.context is not Context.TASK:
            _refuse(f"{process.name}: {type(op).__name__.lower()} is for task context")
        if sleeps and holding:
            _refuse(f"{process.name}: {type(op).__name__.lower()} may sleep, and {holding[-1]} is held")
        if isinstance(op, Hold):
            if op.lock in MACHINE_LOCKS:
                _refuse(f"{process.name}: {op.lock} is the machine's, not the program's")
            if op.lock in holding:
                _refuse(f"{process.name}: {op.lock} is held already")
            _check_context(process, op.ops, (*holding, op.lock), awaited)


def _check_names(program: Program, processes: tuple[Process, ...]) -> None:
    """Each name is allocated once and freed at most once, after that where one process does both."""
    where: dict[str, int] = {}
    gone: set[str] = set()
    order = [(-1, entry.op) for entry in program.setup]
    order += [(number, op) for number, process in enumerate(processes) for op in walk(process.ops)]
    for number, op in order:
        for name in allocated(op):
            if name in where:
                _refuse(f"page {name!r} is allocated twice")
            where[name] = number
    done: set[str] = set()
    for number, op in order:
        for name in freed(op):
            if name not in where:
                _refuse(f"page {name!r} is freed and never allocated")
            if name in gone:
                _refuse(f"page {name!r} is freed twice")
            if where[name] == number and name not in done:
                _refuse(f"page {name!r} is freed before it is allocated")
            if number < 0 <= where[name]:
                _refuse(f"page {name!r} is freed in the set-up, before it is allocated")
            gone.add(name)
        done.update(allocated(op))


# --- JSON --------------------------------------------------------------------------------------

_KEYS: Final = {
    "alloc": ("page", "order", "gfp", "nolock", "times"),
    "free": ("page", "nolock"),
    "alloc_bulk": ("pages", "gfp"),
    "free_bulk": ("pages",),
    "drain": ("cpu",),
    "decay": (),
    "offline": ("cpu",),
    "online": ("cpu",),
    "isolate": ("pfn",),
    "unisolate": ("pfn",),
    "hold": ("lock", "ops", "irqs"),
}
#: Masks and shifts that are no gfp words, though they are named like some.
_NO_GFP_WORDS: Final = ("GFP_BITS_SHIFT", "GFP_MOVABLE_MASK", "GFP_MOVABLE_SHIFT", "GFP_ZONEMASK")
GFP_NAMES: Final = {
    name: value
    for name, value in sorted(vars(g).items())
    if name.startswith("GFP_") and isinstance(value, int) and name not in _NO_GFP_WORDS
}
#: Numbers from here on are nowhere meant, and turning one into text may take for ever.
_HUGE: Final = 1 << 62
_GFP_WORDS: Final = {
    getattr(g, name): name for name in ("GFP_KERNEL", "GFP_ATOMIC", "GFP_HIGHUSER_MOVABLE") if hasattr(g, name)
}


def op_to_dict(op: Op) -> dict[str, Any]:
    """An operation as JSON types; what is as by default is left out."""
    match op:
        case Alloc(page, order, gfp, nolock):
            found: dict[str, Any] = {"op": "alloc", "page": page}
            if order:
                found["order"] = order
            if gfp != g.GFP_KERNEL:
                found["gfp"] = _GFP_WORDS.get(gfp, gfp)
            if nolock:
                found["nolock"] = True
            return found
        case Free(page, nolock):
            return {"op": "free", "page": page} | ({"nolock": True} if nolock else {})
        case AllocBulk(pages, gfp):
            return {"op": "alloc_bulk", "pages": list(pages)} | (
                {"gfp": _GFP_WORDS.get(gfp, gfp)} if gfp != g.GFP_KERNEL else {}
            )
        case FreeBulk(pages):
            return {"op": "free_bulk", "pages": list(pages)}
        case Drain(cpu):
            return {"op": "drain"} | ({} if cpu is None else {"cpu": cpu})
        case Decay():
            return {"op": "decay"}
        case Offline(cpu):
            return {"op": "offline", "cpu": cpu}
        case Online(cpu):
            return {"op": "online", "cpu": cpu}
        case Isolate(pfn, undo):
            return {"op": "unisolate" if undo else "isolate", "pfn": pfn}
        case Hold(lock, ops, irqs_off):
            held: dict[str, Any] = {"op": "hold", "lock": lock}
            if irqs_off:
                held["irqs"] = "off"
            return held | {"ops": [op_to_dict(inner) for inner in ops]}
    raise AssertionError(op)


def op_text(op: Op) -> str:
    """An operation in a few words, under the kernel's names."""
    match op:
        case Alloc(page, order, _, nolock):
            return f"{page} = alloc_pages{'_nolock' if nolock else ''}({order})"
        case Free(page, nolock):
            return f"free_pages{'_nolock' if nolock else ''}({page})"
        case AllocBulk(pages, _):
            return f"{' '.join(pages)} = alloc_pages_bulk({len(pages)})"
        case FreeBulk(pages):
            return f"free_unref_folios({' '.join(pages)})"
        case Drain(cpu):
            return "drain_all_pages()" if cpu is None else f"drain_pages({cpu})"
        case Decay():
            return "vmstat_update()"
        case Offline(cpu):
            return f"page_alloc_cpu_dead({cpu})"
        case Online(cpu):
            return f"page_alloc_cpu_online({cpu})"
        case Isolate(pfn, undo):
            return f"{'un' if undo else ''}set_migratetype_isolate({pfn})"
        case Hold(lock, _, irqs_off):
            return f"spin_lock{'_irqsave' if irqs_off else ''}({lock})"
    raise AssertionError(op)


def shown(value: object) -> str:
    """A value in a message: one short line, whatever it is."""
    match value:
        case str():
            return repr(value if len(value) <= MAX_NAME else f"{value[:MAX_NAME]}...")
        case int() if abs(value) >= _HUGE:
            return "a huge number"
        case None | bool() | int() | float():
            return repr(value)
        case list():
            return "a list"
        case dict():
            return "an object"
    return f"a {type(value).__name__}"


def _int(data: Mapping[str, Any], key: str, default: int | None, what: str) -> int:
    value = data.get(key, default)
    if type(value) is not int or abs(value) >= _HUGE:
        _refuse(f"{what}: {key} is not a whole number that can be")
    return value


def _name(value: object, what: str) -> str:
    if type(value) is not str or not value or len(value) > MAX_NAME or not value.isprintable():
        _refuse(f"{what}: a name is 1 to {MAX_NAME} printable characters")
    return value


def _names(data: Mapping[str, Any], what: str) -> tuple[str, ...]:
    pages = data.get("pages")
    if type(pages) is not list or not 0 < len(pages) <= MAX_OPS:
        _refuse(f"{what}: pages is not a list of 1 to {MAX_OPS} names")
    return tuple(_name(name, what) for name in pages)


def _gfp(data: Mapping[str, Any], what: str) -> int:
    given = data.get("gfp", g.GFP_KERNEL)
    value = GFP_NAMES.get(given, -1) if type(given) is str else given
    if (
        type(value) is not int
        or not 0 <= value < 1 << g.GFP_BITS_SHIFT
        or g.GFP_ZONE_TABLE[value & g.GFP_ZONEMASK] is None
    ):
        _refuse(f"{what}: gfp {shown(given)} is no gfp word")
    if value & g.GFP_MOVABLE_MASK == g.GFP_MOVABLE_MASK:
        _refuse(f"{what}: gfp {shown(given)} is both movable and reclaimable")
    return value


def _flag(data: Mapping[str, Any], key: str, what: str) -> bool:
    value = data.get(key, False)
    if type(value) is not bool:
        _refuse(f"{what}: {key} is not true or false")
    return value


def _read_op(data: object, what: str, extra: tuple[str, ...] = (), depth: int = 0) -> Iterator[Op]:
    """One operation; an alloc with ``times`` gives several, named page0, page1, …"""
    if type(data) is not dict:
        _refuse(f"{what} is not an object")
    kind = data.get("op")
    if type(kind) is not str or kind not in _KEYS:
        _refuse(f"{what}: op {shown(kind)} is none of {', '.join(_KEYS)}")
    what = f"{what} ({kind})"
    for key in data:
        if key not in ("op", *_KEYS[kind], *extra):
            _refuse(f"{what}: {shown(key)} means nothing here")
    if depth > MAX_DEPTH:
        _refuse(f"{what}: too many holds inside each other")
    yield from _READERS[kind](data, what, depth)


def _read_alloc(data: Mapping[str, Any], what: str, _: int) -> Iterator[Op]:
    page, order = _name(data.get("page"), what), _int(data, "order", 0, what)
    gfp, nolock = _gfp(data, what), _flag(data, "nolock", what)
    if "times" not in data:
        yield Alloc(page, order, gfp, nolock)
        return
    times = _int(data, "times", None, what)
    if not 1 <= times <= MAX_OPS:
        _refuse(f"{what}: times is not 1..{MAX_OPS}")
    for number in range(times):
        yield Alloc(_name(f"{page}{number}", what), order, gfp, nolock)


def _read_drain(data: Mapping[str, Any], what: str, _: int) -> Iterator[Op]:
    yield Drain(_int(data, "cpu", None, what) if "cpu" in data else None)


def _read_hold(data: Mapping[str, Any], what: str, depth: int) -> Iterator[Op]:
    irqs = data.get("irqs", "on")
    if type(irqs) is not str or irqs not in ("on", "off"):
        _refuse(f"{what}: irqs is not 'on' or 'off'")
    ops = _read_ops(data.get("ops", []), f"{what}.ops", depth + 1)
    yield Hold(_name(data.get("lock"), what), ops, irqs == "off")


_READERS: Final[dict[str, Callable[[Mapping[str, Any], str, int], Iterator[Op]]]] = {
    "alloc": _read_alloc,
    "free": lambda data, what, _: iter([Free(_name(data.get("page"), what), _flag(data, "nolock", what))]),
    "alloc_bulk": lambda data, what, _: iter([AllocBulk(_names(data, what), _gfp(data, what))]),
    "free_bulk": lambda data, what, _: iter([FreeBulk(_names(data, what))]),
    "drain": _read_drain,
    "decay": lambda data, what, _: iter([Decay()]),
    "offline": lambda data, what, _: iter([Offline(_int(data, "cpu", None, what))]),
    "online": lambda data, what, _: iter([Online(_int(data, "cpu", None, what))]),
    "isolate": lambda data, what, _: iter([Isolate(_int(data, "pfn", None, what))]),
    "unisolate": lambda data, what, _: iter([Isolate(_int(data, "pfn", None, what), True)]),
    "hold": _read_hold,
}


def _read_ops(data: object, what: str, depth: int = 0) -> tuple[Op, ...]:
    if type(data) is not list:
        _refuse(f"{what} is not a list of operations")
    found: list[Op] = []
    size = 0
    for number, entry in enumerate(data):
        ops = tuple(_read_op(entry, f"{what}[{number}]", depth=depth))
        found += ops
        size += _size(ops)
        if size > MAX_OPS:
            _refuse(f"{what}: more than {MAX_OPS} operations: cut it into several")
    return tuple(found)


def _size(ops: tuple[Op, ...]) -> int:
    return sum(1 for _ in walk(ops))


_ZONE_KEYS: Final = {field.name: str(field.type) for field in fields(ZoneConfig)}
_CONFIG_KEYS: Final = {field.name: str(field.type) for field in fields(Config) if field.name != "zones"}
#: What Config.small() takes; it makes the one zone itself.
_MACHINE_KEYS: Final = {
    name: kind
    for name, kind in (_ZONE_KEYS | _CONFIG_KEYS | {"pages": "int"}).items()
    if name not in ("start_pfn", "spanned_pages")
}


def _read_config(data: Mapping[str, Any]) -> Config:
    """``config``: a whole Config; or ``machine``: what Config.small() takes."""
    if "config" in data and "machine" in data:
        _refuse("config and machine: one of them")
    what = "config" if "config" in data else "machine"
    given = data.get(what, {})
    try:
        if what == "machine":
            return Config.small(**_parameters(given, _MACHINE_KEYS, what))
        zones = given.get("zones") if type(given) is dict else None
        if type(zones) is not list or not zones:
            _refuse("config is not an object with zones, a list of objects")
        own = _parameters({key: value for key, value in given.items() if key != "zones"}, _CONFIG_KEYS, what)
        read = [_parameters(zone, _ZONE_KEYS, f"config.zones[{number}]") for number, zone in enumerate(zones)]
        return Config(zones=tuple(ZoneConfig(**zone) for zone in read), **own)
    except ConfigError as error:
        raise InputError(f"program: {what}: {error.message}") from None
    except (TypeError, ValueError) as error:
        # A list where a number is meant, a list of the wrong length: the text is Python's, and one line.
        raise InputError(f"program: {what}: {error}") from None


def _parameters(data: object, known: Mapping[str, str], what: str) -> dict[str, Any]:
    """Parameters by name, each of the type that its field has."""
    if type(data) is not dict:
        _refuse(f"{what} is not an object")
    for key in data:
        if key not in known:
            _refuse(f"{what}: {shown(key)} means nothing here")
    return {key: _parameter(value, known[key], f"{what}.{key}") for key, value in data.items()}


def _parameter(value: object, kind: str, what: str) -> Any:
    if value is None and "None" in kind:
        return None
    if kind == "bool":
        if type(value) is not bool:
            _refuse(f"{what} is not true or false")
        return value
    depth = 0 if not kind.startswith("tuple") else 2 if "PfnRange" in kind or "tuple[tuple" in kind else 1
    return _numbers(value, depth, what)


def _numbers(value: object, depth: int, what: str) -> Any:
    if depth:
        if type(value) is not list or len(value) > MAX_PAGES:
            _refuse(f"{what} is not a list of {'lists of ' if depth > 1 else ''}whole numbers")
        return tuple(_numbers(item, depth - 1, what) for item in value)
    if type(value) is not int or abs(value) >= _HUGE:
        _refuse(f"{what} is not a whole number that can be")
    return value


def _read_program(data: object) -> Program:
    if type(data) is not dict or type(data.get("format")) is not str or data["format"] != FORMAT:
        _refuse(f"not a program: format is not {FORMAT!r}")
    version = data.get("version")
    if type(version) is not int or version != VERSION:
        _refuse(f"version {shown(version)} is not {VERSION}, the one that this release reads")
    for key in data:
        if key not in ("format", "version", "name", "summary", "config", "machine", "setup", "cpus"):
            _refuse(f"{shown(key)} means nothing here")
    config = _read_config(data)
    cpus = data.get("cpus")
    if type(cpus) is not list or len(cpus) > config.nr_cpus or not all(type(cpu) is dict for cpu in cpus):
        _refuse(f"cpus is not a list of up to {config.nr_cpus} objects, one for each CPU of the machine")
    tasks: list[tuple[Op, ...]] = [()] * config.nr_cpus
    handlers: dict[str, list[tuple[int, tuple[Op, ...]]]] = {"softirq": [], "hardirq": []}
    migrations: list[Migration] = []
    size = 0
    for cpu, entry in enumerate(cpus):
        for key, value in entry.items():
            if key == "task":
                tasks[cpu] = _read_ops(value, f"cpus[{cpu}].task")
                continue
            if key not in ("softirq", "hardirq", "migrate") or type(value) is not list:
                _refuse(f"cpus[{cpu}]: {shown(key)} is not task, softirq, hardirq or migrate, or not a list")
            if len(value) > MAX_PROCESSES:
                _refuse(f"cpus[{cpu}]: more than {MAX_PROCESSES} tasks, handlers and migrations")
            for number, item in enumerate(value):
                if key != "migrate":
                    handlers[key].append((cpu, _read_ops(item, f"cpus[{cpu}].{key}[{number}]")))
                    size += _size(handlers[key][-1][1])
                    if size > MAX_OPS:
                        _refuse(f"more than {MAX_OPS} operations: cut it into several")
                elif type(item) is int and abs(item) < _HUGE:
                    migrations.append(Migration(cpu, item))
                else:
                    _refuse(f"cpus[{cpu}].migrate is not a list of CPUs")
    if any(not ops for entries in handlers.values() for _, ops in entries):
        _refuse("a handler without operations")
    summary = data.get("summary", "")
    if type(summary) is not str or len(summary) > MAX_SUMMARY or not summary.isprintable():
        _refuse(f"summary is not a line of up to {MAX_SUMMARY} printable characters")
    return Program(
        name=_name(data.get("name"), "name"),
        config=config,
        tasks=tuple(tasks),
        hardirqs=tuple(handlers["hardirq"]),
        softirqs=tuple(handlers["softirq"]),
        migrations=tuple(migrations),
        setup=_read_setup(data.get("setup", [])),
        summary=summary,
    )


def _read_setup(data: object) -> tuple[SetUp, ...]:
    if type(data) is not list:
        _refuse("setup is not a list of operations")
    found: list[SetUp] = []
    for number, entry in enumerate(data):
        what = f"setup[{number}]"
        if len(found) > MAX_OPS:
            _refuse(f"setup: more than {MAX_OPS} operations: cut it into several")
        for op in _read_op(entry, what, extra=("on",)):
            if isinstance(op, Hold):
                _refuse(f"{what}: a hold in the set-up does nothing")
            found.append(SetUp(_int(entry, "on", 0, what), op))
    return tuple(found)


def load_program(path: str | Path) -> Program:
    """Read a program from a file.  Errors: InputError."""
    try:
        data = json.loads(read_text(path, MAX_BYTES))
    except (ValueError, RecursionError):  # ValueError: also a number of too many digits
        raise InputError(f"{path}: not JSON") from None
    return Program.from_dict(data)
