# SPDX-License-Identifier: GPL-2.0-only
"""Strategies of hypothesis: valid programs, arbitrary JSON, and programs with something wrong in them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from pageblock_buddy import Config
from pageblock_buddy.interleave.catalogue import built_in, program_names
from pageblock_buddy.interleave.program import (
    GFP_NAMES,
    Alloc,
    AllocBulk,
    Decay,
    Drain,
    Free,
    FreeBulk,
    Hold,
    Isolate,
    Migration,
    Offline,
    Online,
    Op,
    Program,
    SetUp,
)

_Draw = Callable[[st.SearchStrategy[Any]], Any]


class _Maker:
    """A program in the making: names are used once, and freed after they are made."""

    def __init__(self, draw: _Draw, config: Config) -> None:
        self.draw = draw
        self.config = config
        self.made = 0
        self.ready: list[str] = []
        #: those that need no waiting: of the set-up, and of the process itself
        self.own: set[str] = set()

    def name(self) -> str:
        self.made += 1
        self.ready.append(f"{self.draw(st.sampled_from(['p', 'page ', 'Ä']))}{self.made}")
        self.own.add(self.ready[-1])
        return self.ready[-1]

    def names(self) -> tuple[str, ...]:
        return tuple(self.name() for _ in range(self.draw(st.integers(1, 3))))

    def taken(self, able: list[str]) -> str:
        name = str(self.draw(st.sampled_from(able)))
        self.ready.remove(name)
        return name

    def gfp(self) -> int:
        return int(self.draw(st.sampled_from(sorted(GFP_NAMES.values()))))

    def op(self, *, task: bool, holding: tuple[str, ...] = (), holds: bool = True) -> Op:
        draw, cpu = self.draw, st.integers(0, self.config.nr_cpus - 1)
        kinds = ["alloc", "alloc_bulk", "isolate"]
        able = [name for name in self.ready if name in self.own or (task and not holding)]
        kinds += ["free", "free_bulk"] if able else []
        kinds += ["drain", "decay"] if task else []
        kinds += ["drain_all", "offline", "online"] if task and not holding else []
        kinds += ["hold"] if holds and len(holding) < 2 else []
        match draw(st.sampled_from(kinds)):
            case "alloc":
                order = draw(st.integers(0, self.config.max_page_order))
                return Alloc(self.name(), order, self.gfp(), draw(st.booleans()))
            case "alloc_bulk":
                return AllocBulk(self.names(), self.gfp())
            case "free":
                return Free(self.taken(able), draw(st.booleans()))
            case "free_bulk":
                return FreeBulk((self.taken(able),))
            case "drain":
                return Drain(draw(cpu))
            case "drain_all":
                return Drain(None)
            case "decay":
                return Decay()
            case "offline":
                return Offline(draw(cpu))
            case "online":
                return Online(draw(cpu))
            case "isolate":
                return Isolate(
                    draw(st.integers(self.config.zones[0].start_pfn, self.config.end_pfn - 1)), draw(st.booleans())
                )
        lock = draw(st.sampled_from([name for name in ("xa_lock", "a", "b", "c") if name not in holding]))
        return Hold(lock, self.ops(task=task, holding=(*holding, lock), least=0), draw(st.booleans()))

    def ops(self, *, task: bool, holding: tuple[str, ...] = (), least: int = 1) -> tuple[Op, ...]:
        count = self.draw(st.integers(least, 2))
        return tuple(self.op(task=task, holding=holding) for _ in range(count))

    def process(self, *, task: bool, least: int = 1) -> tuple[Op, ...]:
        before = set(self.own)
        ops = self.ops(task=task, least=least)
        self.own = before
        return ops

    def handlers(self) -> tuple[tuple[int, tuple[Op, ...]], ...]:
        cpus = self.draw(st.lists(st.integers(0, self.config.nr_cpus - 1), max_size=2))
        return tuple((cpu, self.process(task=False)) for cpu in sorted(cpus))


@st.composite
def programs(draw: _Draw) -> Program:
    """Valid programs: all operations, all contexts."""
    nr_cpus = draw(st.integers(1, 3))
    config = draw(
        st.sampled_from(
            [
                Config.small(pages=32, nr_cpus=nr_cpus),
                Config.small(pages=64, nr_cpus=nr_cpus, batch=1, cma=((8, 8),), holes=((60, 4),), thp=False),
                Config.pc((8, 8), nr_cpus=nr_cpus, cpu_node=(0, 1, 0)[:nr_cpus], node_distance=((10, 20), (20, 10))),
            ]
        )
    )
    maker = _Maker(draw, config)
    cpu = st.integers(0, nr_cpus - 1)
    setup = tuple(SetUp(draw(cpu), maker.op(task=True, holds=False)) for _ in range(draw(st.integers(0, 3))))
    tasks = [maker.process(task=True)] + [maker.process(task=True, least=0) for _ in range(nr_cpus - 1)]
    softirqs, hardirqs = maker.handlers(), maker.handlers()
    moves = [Migration(task, to) for task in range(nr_cpus) for to in range(nr_cpus) if tasks[task] and task != to]
    migrations = draw(st.lists(st.sampled_from(moves), unique=True, max_size=2)) if moves else []
    return Program(
        name=draw(st.sampled_from(["generated", "a name", "ß"])),
        config=config,
        tasks=tuple(tasks),
        hardirqs=hardirqs,
        softirqs=softirqs,
        migrations=tuple(sorted(migrations)),
        setup=setup,
        summary=draw(st.sampled_from(["", "what it is for"])),
    )


#: Names that mean something somewhere, so that what is drawn gets further than the first check.
_WORDS = [
    *("format", "version", "name", "summary", "config", "machine", "setup", "cpus", "task", "softirq", "hardirq"),
    *("migrate", "op", "page", "pages", "order", "gfp", "nolock", "times", "cpu", "pfn", "lock", "ops", "irqs", "on"),
    *("alloc", "free", "alloc_bulk", "free_bulk", "drain", "decay", "offline", "online", "isolate", "hold", "off"),
    *("zones", "nr_cpus", "cpu_node", "holes", "cma", "batch", "watermark", "thp", "a", "s0", "GFP_KERNEL", "xa_lock"),
    *("zone->lock", "GFP_ZONEMASK", "\ud800", "a\nb", "", "x" * 100),
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 70)
    | st.sampled_from([1 << 16, 1 << 32, 1 << 62, 1 << 64, -(1 << 63), 10**30])
    | st.sampled_from([float("nan"), float("inf"), 0.0, 1.0, 1.5, -0.0])
    | st.sampled_from(_WORDS)
    | st.text(max_size=5)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=4),
    max_leaves=12,
)


def nodes(data: Any) -> list[tuple[Any, Any]]:
    """Every place of a JSON value: (container, key)."""
    keys = list(data) if type(data) is dict else range(len(data)) if type(data) is list else ()
    return [place for key in keys for place in [(data, key), *nodes(data[key])]]


@st.composite
def damaged(draw: _Draw) -> Any:
    """A built-in program with up to three places replaced, left out or doubled; or anything."""
    data = copy.deepcopy(built_in(draw(st.sampled_from(program_names()))).to_dict())
    if draw(st.booleans()):
        data["machine"] = {"pages": 32, "nr_cpus": len(data["cpus"])}
        del data["config"]
    for _ in range(draw(st.integers(1, 3))):
        places = nodes(data)
        if not places:
            break
        container, key = places[draw(st.integers(0, len(places) - 1))]
        match draw(st.sampled_from(["replace", "delete", "double", "add"])):
            case "replace":
                container[key] = draw(JSON)
            case "delete":
                del container[key]
            case "double" if type(container) is list:
                container.insert(key, copy.deepcopy(container[key]))
            case _ if type(container) is dict:
                container[draw(st.sampled_from(_WORDS))] = draw(JSON)
    return data
