# SPDX-License-Identifier: GPL-2.0-only
"""Programs: what is written can be read, and nothing else can."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pageblock_buddy import Config, InputError, gfp
from pageblock_buddy.interleave.catalogue import built_in, program_names
from pageblock_buddy.interleave.engine import Engine
from pageblock_buddy.interleave.program import (
    MACHINE_LOCKS,
    MAX_BYTES,
    MAX_OPS,
    Alloc,
    Drain,
    Free,
    Hold,
    Migration,
    Offline,
    Program,
    SetUp,
    load_program,
    op_text,
    walk,
)
from tests.interleave.carried import carrying
from tests.interleave.generated import JSON, damaged, programs

DATA = files("pageblock_buddy") / "data"
SLOW = [HealthCheck.too_slow]


SCHEMA = json.loads((DATA / "program.schema.json").read_text())


@cache
def schema() -> jsonschema.Draft202012Validator:
    """The schema that ships with the package."""
    return jsonschema.Draft202012Validator(SCHEMA)


def minimal(**changes: Any) -> dict[str, Any]:
    """The smallest program there is, with some keys changed."""
    data: dict[str, Any] = {
        "format": "pageblock-buddy-program",
        "version": 1,
        "name": "x",
        "machine": {"pages": 32, "nr_cpus": 2},
        "cpus": [{"task": [{"op": "alloc", "page": "a"}]}],
    }
    return data | changes


def task(*ops: Any, **more: Any) -> dict[str, Any]:
    """A program whose CPU 0 does this."""
    return minimal(cpus=[{"task": list(ops), **more}])


def refusal(data: object) -> str:
    """The one line with which a program is refused."""
    with pytest.raises(InputError) as caught:
        Program.from_dict(data)
    message = caught.value.message
    assert len(message.splitlines()) == 1
    assert len(message) < 400
    assert message.isprintable()
    return message


# --- round trips -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", program_names())
def test_a_built_in_program_is_what_it_writes(name: str) -> None:
    program = built_in(name)
    assert Program.from_dict(program.to_dict()) == program
    assert Program.from_dict(json.loads(program.to_json())) == program
    assert Program.from_dict(json.loads(program.to_json())).to_json() == program.to_json()


@given(program=programs())
@settings(max_examples=50, deadline=None, suppress_health_check=SLOW)
def test_a_generated_program_is_what_it_writes(program: Program) -> None:
    text = program.to_json()
    again = Program.from_dict(json.loads(text))
    assert again == program
    assert again.to_json() == text
    assert text.isascii()
    assert "\n" not in text
    assert [p.name for p in again.processes()] == [p.name for p in program.processes()]


@given(program=programs())
@settings(max_examples=50, deadline=None, suppress_health_check=SLOW)
def test_a_generated_program_fits_the_schema(program: Program) -> None:
    schema().validate(program.to_dict())


@pytest.mark.parametrize("name", program_names())
def test_a_built_in_program_fits_the_schema(name: str) -> None:
    schema().validate(json.loads((DATA / "programs" / f"{name}.json").read_text()))
    schema().validate(built_in(name).to_dict())


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "data",
    [
        minimal(more=1),
        minimal(config={}),
        minimal(machine={"pages": 1 << 20}),
        minimal(machine={"nr_cpus": 65}),
        minimal(machine={"thp": 1}),
        minimal(machine={"zones": []}),
        task({"op": "allocate", "page": "a"}),
        task({"op": "alloc"}),
        task({"op": "alloc", "page": "a", "on": 1}),
        task({"op": "hold", "lock": "a", "ops": [{"op": "free"}]}),
        task(hardirq=[[]]),
        minimal(setup=[{"op": "hold", "lock": "a", "ops": []}]),
    ],
)
def test_the_schema_refuses(data: Any) -> None:
    assert not schema().is_valid(data)
    refusal(data)


@given(program=programs())
@settings(max_examples=20, deadline=None, suppress_health_check=SLOW)
def test_every_operation_has_a_text(program: Program) -> None:
    for op in program.all_ops():
        assert op_text(op).isprintable()


def test_names_of_processes() -> None:
    hold = (Hold("a", ()),)
    program = Program(
        name="x",
        config=Config.small(nr_cpus=3),
        tasks=((Alloc("a"),), (), (Alloc("b"),)),
        hardirqs=((0, hold), (1, hold), (0, hold)),
        softirqs=((0, hold),),
    )
    assert [process.name for process in program.processes()] == ["0", "2", "0s", "0h", "1h", "0h2"]


def test_times_makes_several() -> None:
    program = Program.from_dict(task({"op": "alloc", "page": "a", "times": 3, "order": 1}))
    assert program.tasks[0] == (Alloc("a0", 1), Alloc("a1", 1), Alloc("a2", 1))


def test_gfp_by_name_and_by_number() -> None:
    for value in ("GFP_ATOMIC", gfp.GFP_ATOMIC):
        program = Program.from_dict(task({"op": "alloc", "page": "a", "gfp": value}))
        assert program.tasks[0] == (Alloc("a", 0, gfp.GFP_ATOMIC),)
        assert program.to_dict()["cpus"][0]["task"][0]["gfp"] == "GFP_ATOMIC"


# --- other operations for one process ----------------------------------------------------------


def test_with_ops_of_a_task() -> None:
    program = Program.from_dict(
        minimal(cpus=[{"task": [{"op": "decay"}], "migrate": [1]}, {"task": [{"op": "drain"}]}])
    )
    assert program.with_ops("0", (Drain(1),)).tasks == ((Drain(1),), (Drain(None),))
    left = program.with_ops("0", ())
    assert (left.tasks, left.migrations) == (((), (Drain(None),)), ())


def test_with_ops_of_handlers() -> None:
    first, second, soft = (Hold("a", ()),), (Hold("b", ()),), (Hold("c", ()),)
    program = Program(
        name="x",
        config=Config.small(nr_cpus=2),
        tasks=((), ()),
        hardirqs=((0, first), (1, first), (0, second)),
        softirqs=((1, soft),),
    )
    assert program.with_ops("0h2", first).hardirqs == ((0, first), (1, first), (0, first))
    assert program.with_ops("0h", ()).hardirqs == ((1, first), (0, second))
    assert program.with_ops("1s", ()).softirqs == ()
    with pytest.raises(InputError, match="no CPU does anything"):
        Program(name="x", config=Config.small(), tasks=((),), hardirqs=((0, first),)).with_ops("0h", ())


# --- refusals ----------------------------------------------------------------------------------

ALLOC = {"op": "alloc", "page": "a"}
FREE = {"op": "free", "page": "a"}


@pytest.mark.parametrize("data", [None, [], "x", 1, {}, {"format": "x"}, {"format": ["pageblock-buddy-program"]}])
def test_no_program(data: Any) -> None:
    assert refusal(data) == "program: not a program: format is not 'pageblock-buddy-program'"


@pytest.mark.parametrize(
    ("version", "shown"),
    [
        (2, "2"),
        (None, "None"),
        (True, "True"),
        (1.0, "1.0"),
        (float("nan"), "nan"),
        ("1", "'1'"),
        ([1], "a list"),
        ({}, "an object"),
        pytest.param(10**5000, "a huge number", id="huge"),
        ("x" * 10000, repr("x" * 64 + "...")),
        ("a\nb", r"'a\nb'"),
    ],
)
def test_another_version(version: Any, shown: str) -> None:
    message = refusal(minimal(version=version))
    assert message == f"program: version {shown} is not 1, the one that this release reads"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (minimal(more=1), "'more' means nothing here"),
        (minimal(name=""), "name: a name is 1 to 64 printable characters"),
        (minimal(name="x" * 65), "name: a name is"),
        (minimal(name="a\nb"), "name: a name is"),
        (minimal(name="\ud800"), "name: a name is"),
        (minimal(name=5), "name: a name is"),
        (minimal(summary=5), "summary is not a line"),
        (minimal(summary="a\nb"), "summary is not a line"),
        (minimal(summary="x" * 1001), "summary is not a line"),
        (minimal(cpus=None), "cpus is not a list of up to 2 objects"),
        (minimal(cpus=[{}, {}, {}]), "cpus is not a list of up to 2 objects"),
        (minimal(cpus=[[]]), "cpus is not a list of up to 2 objects"),
        (minimal(cpus=[]), "no CPU does anything"),
        (minimal(cpus=[{"task": []}]), "no CPU does anything"),
        (minimal(cpus=[{"nmi": []}]), "cpus[0]: 'nmi' is not task, softirq, hardirq or migrate"),
        (minimal(cpus=[{"hardirq": {}}]), "cpus[0]: 'hardirq' is not"),
        (minimal(cpus=[{"hardirq": [[]]}]), "a handler without operations"),
        (minimal(cpus=[{"hardirq": [5]}]), "cpus[0].hardirq[0] is not a list of operations"),
        (minimal(cpus=[{"hardirq": [[ALLOC]] * 65}]), "cpus[0]: more than 64"),
        (minimal(cpus=[{"task": {}}]), "cpus[0].task is not a list of operations"),
        (minimal(setup={}), "setup is not a list of operations"),
        (minimal(setup=[{"op": "hold", "lock": "a"}]), "a hold in the set-up does nothing"),
        (minimal(setup=[ALLOC | {"page": "s", "on": 2}]), "CPU 2 is not 0..1"),
        (minimal(setup=[ALLOC | {"page": "s", "on": "0"}]), "setup[0]: on is not a whole number"),
        (minimal(setup=[ALLOC | {"page": "s", "on": True}]), "setup[0]: on is not a whole number"),
        (minimal(setup=[ALLOC]), "page 'a' is allocated twice"),
        (minimal(setup=[{"op": "free", "page": "a"}]), "page 'a' is freed in the set-up, before it is allocated"),
        (minimal(setup=[{"op": "alloc", "page": "s", "times": 1000}] * 2), "more than 1000 operations"),
        (task(5), "cpus[0].task[0] is not an object"),
        (task({}), "cpus[0].task[0]: op None is none of alloc, "),
        (task({"op": ["alloc"]}), "op a list is none of"),
        (task({"op": "x" * 1000}), "is none of alloc"),
        (task(ALLOC | {"x": 1}), "cpus[0].task[0] (alloc): 'x' means nothing here"),
        (task(ALLOC | {"on": 1}), "'on' means nothing here"),
        (task({"op": "alloc"}), "a name is 1 to 64"),
        (task(ALLOC | {"order": 5}), "order 5 is not 0..4"),
        (task(ALLOC | {"order": -1}), "order -1 is not 0..4"),
        (task(ALLOC | {"order": 10**5000}), "order is not a whole number that can be"),
        (task(ALLOC | {"order": 1.0}), "order is not a whole number"),
        (task(ALLOC | {"order": True}), "order is not a whole number"),
        (task(ALLOC | {"order": float("nan")}), "order is not a whole number"),
        (task(ALLOC | {"nolock": 1}), "nolock is not true or false"),
        (task(ALLOC | {"gfp": "GFP_ZONEMASK"}), "gfp 'GFP_ZONEMASK' is no gfp word"),
        (task(ALLOC | {"gfp": "GFP_NONE"}), "gfp 'GFP_NONE' is no gfp word"),
        (task(ALLOC | {"gfp": -1}), "gfp -1 is no gfp word"),
        (task(ALLOC | {"gfp": 1 << 26}), "is no gfp word"),
        (task(ALLOC | {"gfp": 3}), "gfp 3 is no gfp word"),
        (task(ALLOC | {"gfp": None}), "gfp None is no gfp word"),
        (task(ALLOC | {"gfp": [10**5000]}), "gfp a list is no gfp word"),
        (task(ALLOC | {"gfp": 10**5000}), "gfp a huge number is no gfp word"),
        (task(ALLOC | {"gfp": gfp.GFP_MOVABLE | gfp.GFP_RECLAIMABLE}), "is both movable and reclaimable"),
        (task(ALLOC | {"times": 0}), "times is not 1..1000"),
        (task(ALLOC | {"times": 1001}), "times is not 1..1000"),
        (task(ALLOC | {"times": None}), "times is not a whole number"),
        (task({"op": "alloc", "page": "x" * 64, "times": 1}), "a name is 1 to 64"),
        (task(ALLOC, ALLOC), "page 'a' is allocated twice"),
        (task({"op": "alloc_bulk", "pages": ["a", "a"]}), "page 'a' is allocated twice"),
        (task({"op": "alloc_bulk", "pages": []}), "pages is not a list of 1 to 1000 names"),
        (task({"op": "alloc_bulk", "pages": "ab"}), "pages is not a list"),
        (task({"op": "alloc_bulk", "pages": [1]}), "a name is"),
        (task({"op": "free", "page": "a"}), "page 'a' is freed and never allocated"),
        (task({"op": "free", "page": "a"}, ALLOC), "page 'a' is freed before it is allocated"),
        (task(ALLOC, {"op": "free", "page": "a"}, {"op": "free", "page": "a"}), "page 'a' is freed twice"),
        (task(ALLOC, {"op": "free_bulk", "pages": ["a", "a"]}), "page 'a' is freed twice"),
        (task({"op": "drain", "cpu": 2}), "CPU 2 is not 0..1"),
        (task({"op": "drain", "cpu": None}), "cpu is not a whole number"),
        (task({"op": "offline"}), "cpu is not a whole number"),
        (task({"op": "offline", "cpu": -1}), "CPU -1 is not 0..1"),
        (task({"op": "online", "cpu": 10**5000}), "cpu is not a whole number"),
        (task({"op": "isolate", "pfn": 32}), "pfn 32 is in no zone"),
        (task({"op": "isolate", "pfn": -1}), "pfn -1 is in no zone"),
        (task({"op": "hold"}), "a name is 1 to 64"),
        (task({"op": "hold", "lock": "a", "irqs": True}), "irqs is not 'on' or 'off'"),
        (task({"op": "hold", "lock": "a", "irqs": ["off"]}), "irqs is not 'on' or 'off'"),
        (task({"op": "hold", "lock": "a", "ops": {}}), "is not a list of operations"),
        (task({"op": "hold", "lock": "a", "ops": [{"op": "hold", "lock": "a"}]}), "0: a is held already"),
        (
            task({"op": "hold", "lock": "a", "ops": [{"op": "offline", "cpu": 1}]}),
            "0: offline may sleep, and a is held",
        ),
        (task({"op": "hold", "lock": "a", "ops": [{"op": "drain"}]}), "0: drain may sleep, and a is held"),
        (task(ALLOC, hardirq=[[{"op": "free", "page": "a"}]]), "0h: page 'a' is allocated by another process, and a h"),
        (
            minimal(cpus=[{"task": [ALLOC]}, {"task": [{"op": "hold", "lock": "l", "ops": [FREE]}]}]),
            "1: page 'a' is allocated by another process, and l is held",
        ),
        (task(hardirq=[[{"op": "decay"}]]), "0h: decay is for task context"),
        (task(softirq=[[{"op": "drain", "cpu": 0}]]), "0s: drain is for task context"),
        (task(hardirq=[[{"op": "hold", "lock": "a", "ops": [{"op": "online", "cpu": 0}]}]]), "is for task context"),
        (task(ALLOC, migrate=[0]), "the task of CPU 0 cannot migrate to CPU 0"),
        (task(ALLOC, migrate=[2]), "CPU 2 is not 0..1"),
        (task(ALLOC, migrate=["1"]), "cpus[0].migrate is not a list of CPUs"),
        (task(ALLOC, migrate=[True]), "cpus[0].migrate is not a list of CPUs"),
        (task(ALLOC, migrate=[10**5000]), "cpus[0].migrate is not a list of CPUs"),
        (task(ALLOC, migrate=[1, 1]), "a migration is given twice"),
        (minimal(cpus=[{"task": [ALLOC]}, {"migrate": [0]}]), "the task of CPU 1 cannot migrate to CPU 0"),
    ],
    ids=count(),
)
def test_refused(data: Any, text: str) -> None:
    assert text in refusal(data)


@pytest.mark.parametrize(
    ("machine", "text"),
    [
        (5, "machine is not an object"),
        ({"x": 1}, "machine: 'x' means nothing here"),
        ({"zones": []}, "machine: 'zones' means nothing here"),
        ({"start_pfn": 1}, "machine: 'start_pfn' means nothing here"),
        ({"x\ny" * 100: 1}, "means nothing here"),
        ({"pages": 1 << 17}, "memory up to pfn 131072, a program's machine has up to 65536 pages"),
        ({"pages": 1 << 33}, "machine: zone 1 of node 0: start_pfn 0 and spanned_pages"),
        ({"pages": 10**5000}, "machine.pages is not a whole number that can be"),
        ({"pages": 0}, "machine: zone 1 of node 0"),
        ({"pages": "32"}, "machine.pages is not a whole number"),
        ({"pages": float("nan")}, "machine.pages is not a whole number"),
        ({"pages": None}, "machine.pages is not a whole number"),
        ({"nr_cpus": 65}, "65 CPUs, a program's machine has up to 64"),
        ({"nr_cpus": 0}, "machine: nr_cpus 0 is not 1.."),
        ({"nr_cpus": True}, "machine.nr_cpus is not a whole number"),
        ({"zone": 9}, "machine: zone index 9 is not 0..4"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"cma": 5}, "machine.cma is not a list of lists of whole numbers"),
        ({"cma": [5]}, "machine.cma is not a list"),
        ({"cma": [[1, 2, 3]]}, "machine: "),
        ({"cma": [[0, 1 << 40]]}, "leaves the zone"),
        ({"cpu_node": 0}, "machine.cpu_node is not a list"),
        ({"cpu_node": [0]}, "machine: cpu_node wants one node for each CPU"),
        ({"lowmem_reserve_ratio": [[1], 1, 1, 1, 1]}, "machine.lowmem_reserve_ratio is not a whole number"),
        ({"node_distance": [[10, 20]]}, "machine: node_distance wants 1 rows of 1 distances"),
        ({"thp": 1}, "machine.thp is not true or false"),
        ({"thp": None}, "machine.thp is not true or false"),
        ({"watermark": [1]}, "watermark wants four"),
    ],
    ids=count(),
)
def test_a_machine_that_cannot_be(machine: Any, text: str) -> None:
    assert text in refusal(minimal(machine={"nr_cpus": 2} | machine if type(machine) is dict else machine))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda config: 5, "config is not an object with zones"),
        (lambda config: [], "config is not an object with zones"),
        (lambda config: config | {"zones": 5}, "config is not an object with zones"),
        (lambda config: config | {"zones": []}, "config is not an object with zones"),
        (lambda config: config | {"zones": [5]}, "config.zones[0] is not an object"),
        (lambda config: config | {"zones": [{}]}, "config: "),
        (lambda config: config | {"zones": config["zones"] * 2}, "config: zone 1 of node 0 is given twice"),
        (lambda config: config | {"x": 1}, "config: 'x' means nothing here"),
        (lambda config: config | {"nr_cpus": 65, "cpu_node": [0] * 65}, "65 CPUs"),
        (lambda config: config | {"nr_cpus": 8193}, "config: nr_cpus 8193 is not"),
        (
            lambda config: config | {"zones": [config["zones"][0] | {"start_pfn": 1 << 31}]},
            "memory up to pfn 2147483712, a program's machine has up to 65536 pages",
        ),
        (lambda config: config | {"zones": [config["zones"][0] | {"y": 1}]}, "config.zones[0]: 'y' means nothing"),
    ],
)
def test_a_config_that_cannot_be(change: Callable[[Any], Any], text: str) -> None:
    data = minimal(config=change(json.loads(json.dumps(Config.small(nr_cpus=2).to_dict()))))
    del data["machine"]
    assert text in refusal(data)


def test_config_and_machine() -> None:
    assert refusal(minimal(config={})) == "program: config and machine: one of them"


@pytest.mark.parametrize("lock", MACHINE_LOCKS)
def test_a_lock_of_the_machine_is_no_lock_of_the_program(lock: str) -> None:
    message = refusal(task({"op": "hold", "lock": lock, "ops": []}))
    assert message == f"program: 0: {lock} is the machine's, not the program's"


def test_the_limits_themselves_are_fine() -> None:
    data = minimal(machine={"pages": 1 << 16, "nr_cpus": 64}, name="x" * 64, summary="x" * 1000)
    data["cpus"] = [{"task": [{"op": "alloc", "page": f"{cpu} ", "times": 15}]} for cpu in range(64)]
    assert sum(1 for _ in Program.from_dict(data).all_ops()) == 960


def test_too_many_operations() -> None:
    data = minimal(
        cpus=[{"task": [{"op": "alloc", "page": "a", "times": 600}]}, {"task": [{"op": "decay"}] * (MAX_OPS - 599)}]
    )
    assert "more than 1000 operations" in refusal(data)


def test_many_times_are_not_made() -> None:
    """A small file does not become hundreds of millions of operations first."""
    many = [{"op": "alloc", "page": "a", "times": 1000}] * 1000
    assert "more than 1000 operations" in refusal(task(*many))
    held = [{"op": "hold", "lock": "a", "ops": [{"op": "alloc", "page": "a", "times": 1000}]}] * 1000
    assert "more than 1000 operations" in refusal(task(*held))
    handlers = [[{"op": "alloc", "page": "a", "times": 1000}]] * 64
    assert "more than 1000 operations" in refusal(minimal(cpus=[{"hardirq": handlers}] * 2))


def deep(levels: int, innermost: Any) -> Any:
    """Lists inside each other."""
    for _ in range(levels):
        innermost = [innermost]
    return innermost


@pytest.mark.parametrize("key", ["format", "version", "name", "summary", "config", "setup", "cpus", "machine"])
@pytest.mark.parametrize("levels", [3, 100_000])
def test_deep_nesting(key: str, levels: int) -> None:
    refusal(minimal(**{key: deep(levels, 1)}))
    refusal(minimal(**{key: [deep(levels, 1)]}))


@pytest.mark.parametrize("key", ["page", "order", "gfp", "nolock", "times"])
def test_deep_nesting_in_an_operation(key: str) -> None:
    refusal(task(ALLOC | {key: deep(100_000, 1)}))
    refusal(minimal(machine={"nr_cpus": 2, "cma": deep(100_000, 1)}))


def test_holds_inside_each_other() -> None:
    def held(depth: int) -> dict[str, Any]:
        return {"op": "hold", "lock": f"l{depth}", "ops": [held(depth - 1)] if depth else []}

    assert sum(1 for _ in walk(Program.from_dict(task(held(8))).tasks[0])) == 9
    assert "too many holds inside each other" in refusal(task(held(9)))
    assert "too many holds inside each other" in refusal(task(held(300)))


def read_or_refused(data: Any) -> Program | None:
    """The program, or None if it is refused with a line."""
    program, message = None, "x"
    try:
        program = Program.from_dict(data)
    except InputError as error:
        message = error.message
    assert message.isprintable()
    assert len(message) < 400
    return program


@given(data=JSON)
@settings(max_examples=200, deadline=None)
def test_any_json_is_read_or_refused(data: Any) -> None:
    for value in (data, minimal(**data) if type(data) is dict else minimal(cpus=data), task(data)):
        read_or_refused(value)


@given(data=damaged())
@settings(max_examples=300, deadline=None, suppress_health_check=SLOW)
def test_a_damaged_program_is_read_or_refused(data: Any) -> None:
    """And what can be read fits the schema."""
    program = read_or_refused(data)
    if program is not None:
        schema().validate(data)
        assert Program.from_dict(program.to_dict()) == program


# --- made in Python ----------------------------------------------------------------------------


def test_a_program_made_in_python_is_checked() -> None:
    config = Config.small(nr_cpus=2)
    with pytest.raises(InputError, match="1 CPUs have a task, the machine has 2"):
        Program(name="x", config=config, tasks=((Alloc("a"),),))
    with pytest.raises(InputError, match="memory up to pfn 131072"):
        Program(name="x", config=Config.small(pages=1 << 17), tasks=((Alloc("a"),),))
    with pytest.raises(InputError, match="65 CPUs"):
        Program(name="x", config=Config.small(nr_cpus=65), tasks=((Alloc("a"),),) * 65)
    with pytest.raises(InputError, match="CPU 5 is not"):
        Program(name="x", config=config, tasks=((Alloc("a"),), ()), setup=(SetUp(5, Drain(0)),))
    with pytest.raises(InputError, match="cannot migrate"):
        Program(name="x", config=config, tasks=((Alloc("a"),), ()), migrations=(Migration(1, 0),))
    with pytest.raises(InputError, match="is for task context"):
        Program(name="x", config=config, tasks=((), ()), hardirqs=((0, (Offline(1),)),))
    with pytest.raises(InputError, match="freed and never allocated"):
        Program(name="x", config=config, tasks=((Free("a"),), ()))


# --- files -------------------------------------------------------------------------------------


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(built_in("abba-hardirq").to_json())
    assert load_program(path) == built_in("abba-hardirq")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not text"),
        (b"1" * 5000, "not JSON"),
        (b'{"format": ' + b"1" * 5000 + b"}", "not JSON"),
        (b"[" * 1_000_000, "not JSON"),
        (b"[NaN]", "not a program"),
        (b" " * (MAX_BYTES + 1), "longer than 16 MiB"),
    ],
)
def test_a_file_that_is_no_program(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_program(path)
    assert text in caught.value.message
    assert len(caught.value.message.splitlines()) == 1


@pytest.mark.parametrize("name", ["none.json", "", "a\0b"])
def test_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        load_program(f"{tmp_path}/{name}")


def test_a_set_up_that_fails_is_bad_input() -> None:
    program = Program.from_dict(minimal(setup=[{"op": "alloc", "page": "s", "nolock": True}]))
    with carrying("threads") as carrier, pytest.raises(InputError, match=r"^program: set-up: "):
        Engine(program, "linux-6.12", carrier)


def test_an_operation_that_the_variant_has_not_is_refused() -> None:
    program = Program.from_dict(task(ALLOC | {"nolock": True}))
    with carrying("threads") as carrier, pytest.raises(InputError, match=r"linux-6.12 has no alloc_pages_nolock\(\)"):
        Engine(program, "linux-6.12", carrier)


def test_strategies_of_hypothesis_make_every_operation() -> None:
    """Of the generator, so that the properties above mean something."""
    kinds: set[str] = set()

    @given(st.data())
    @settings(max_examples=60, deadline=None, suppress_health_check=SLOW, database=None, derandomize=True)
    def collect(data: st.DataObject) -> None:
        kinds.update(type(op).__name__ for op in data.draw(programs()).all_ops())

    collect()
    assert kinds == {
        *("Alloc", "Free", "AllocBulk", "FreeBulk", "Drain", "Decay", "Offline", "Online", "Isolate", "Hold")
    }
