# SPDX-License-Identifier: GPL-2.0-only
"""Reduced search finds what a full search finds; and a key of the shared state alone would not."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import pytest

from pageblock_buddy import Config
from pageblock_buddy.interleave.carriers import get_carrier
from pageblock_buddy.interleave.catalogue import built_in
from pageblock_buddy.interleave.engine import CHOICE, Engine
from pageblock_buddy.interleave.plain import count_plain
from pageblock_buddy.interleave.program import Alloc, Free, Hold, Migration, Program, SetUp
from pageblock_buddy.interleave.search import EXHAUSTED, Budget, Result, Search
from pageblock_buddy.interleave.state import Key
from pageblock_buddy.interleave.strategies.hashed import Hashed
from pageblock_buddy.interleave.strategies.reduced import Reduced
from pageblock_buddy.interleave.strategies.seeded import RandomWalk
from pageblock_buddy.rfc import free
from tests.interleave.swap import instead
from tests.interleave.tiny import tiny_program

VARIANTS = ("rfc", "llist", "rfc-trylock", "linux-7.0")
#: Full searches up to this size are compared; larger ones say nothing that they do not.
CAP = 150


def searched(seed: int, strategy: str, budget: int | None = None) -> Result:
    with Search(
        tiny_program(seed),
        VARIANTS[seed % len(VARIANTS)],
        strategy=strategy,
        budget=Budget(schedules=budget),
        stop_at_fault=False,
    ) as search:
        return search.run()


def compare(seeds: range) -> int:
    """Compare the two searches on random programs.  Returns how many were small enough for that."""
    compared = 0
    for seed in seeds:
        full = searched(seed, "dfs", CAP)
        if full.reason:
            continue
        reduced = searched(seed, "reduced")
        assert reduced.outcomes.keys() == full.outcomes.keys(), f"seed {seed}"
        assert {f.kind for f in reduced.findings} == {f.kind for f in full.findings}, f"seed {seed}"
        assert reduced.schedules <= full.schedules
        compared += 1
    return compared


def test_same_outcomes_on_random_programs() -> None:
    assert compare(range(40)) > 20


@pytest.mark.ci
@pytest.mark.parametrize("part", range(8))
def test_same_outcomes_on_many_random_programs(part: int) -> None:
    """Over all parts more than a thousand are compared."""
    assert compare(range(part * 240, (part + 1) * 240)) > 125


def test_the_comparison_can_fail() -> None:
    """Without backtracking the reduced search runs one schedule, and misses outcomes."""
    with (
        mock.patch.object(Reduced, "_add_backtrack", return_value=True),
        pytest.raises(AssertionError, match="seed"),
    ):
        compare(range(40))


def test_full_counts_are_plain_counts() -> None:
    """What the counting by states says, against searches that run every schedule."""
    counted = 0
    for seed in range(12):
        program, variant = tiny_program(seed), VARIANTS[seed % len(VARIANTS)]
        with Search(
            program, variant, strategy="dfs", budget=Budget(schedules=CAP), stop_at_fault=False, invariants="never"
        ) as search:
            full = search.run()
        if full.reason or full.findings:
            continue
        assert count_plain(program, variant, search.shared)[0] == full.schedules, f"seed {seed}"
        counted += 1
    assert counted >= 5


# --- what a key must have in it ----------------------------------------------------------------


def not_looked_at_again(k: object, pfn: int, tag: int, cpu: int) -> bool:
    """The seeded bug: a free believes the owner that it read before it had the lock."""
    return True


class LastFirst(Hashed):
    """The CPU that goes offline first: so the owner is read late before it is read early."""

    def choose(self, engine: Engine, enabled: int) -> int:
        engine.current = enabled.bit_length() - 1
        return super().choose(engine, enabled)


def findings_with(make_key: Callable[[Engine], Callable[[], Key]]) -> list[str]:
    """The kinds of what a search that does not go on from known states finds in a program with the stale-owner bug."""
    carrier = get_carrier("threads")
    with instead(free.still_routed, not_looked_at_again):
        try:
            with Search(built_in("offline-free"), "rfc", stop_at_fault=False, budget=Budget(schedules=20)) as search:
                search.run()
            engine = Engine(built_in("offline-free"), "rfc", carrier, guards=True, keep_keys=True)
            for oid in search.shared:
                engine.visible[oid] = CHOICE
            strategy = LastFirst(engine, make_key(engine))
            found: dict[str, None] = {}
            while True:
                finding = engine.run(strategy)
                if finding is not None:
                    found[finding.kind] = None
                if not strategy.next(engine):
                    return sorted(found)
        finally:
            carrier.close()


def test_a_key_of_the_shared_state_alone_loses_the_stale_owner() -> None:
    """The owner that was read is in a local variable of a suspended function: two states that look alike are not."""

    def state_and_places(engine: Engine) -> Callable[[], Key]:
        """The shared state, and at which point of which operation each process is: but nothing of what it read."""

        def key() -> Key:
            places = tuple((p.alive, p.started, p.op_number, p.op_points, p.kind) for p in engine.processes)
            return engine.keys.state(), places

        return key

    sound = findings_with(lambda engine: engine.keys.full)
    assert "stale-owner" in sound
    assert "stale-owner" not in findings_with(state_and_places)


def test_reduced_finds_the_stale_owner() -> None:
    with (
        instead(free.still_routed, not_looked_at_again),
        Search(built_in("offline-free"), "rfc", stop_at_fault=False) as search,
    ):
        assert "stale-owner" in {finding.code for finding in search.run().findings}


# --- what is no choice loses nothing -----------------------------------------------------------


def lost_outcomes(program: Program, variant: str, walks: int) -> int:
    """Random walks at which *every* point is a choice: how many end where the exhausted search never was."""
    with Search(program, variant, stop_at_fault=False, budget=Budget(schedules=3000)) as search:
        result = search.run()
        if result.reason:
            return 0
        engine = Engine(program, variant, search.carrier, guards=True)
        engine.visible[:] = bytes([CHOICE]) * len(engine.visible)
        lost = 0
        for seed in range(walks):
            finding = engine.run(RandomWalk(engine, seed))
            key = engine.keys.outcome() if finding is None else ("finding", finding.kind)
            lost += key not in result.outcomes
        return lost


SMALL = Config.small(pages=16, nr_cpus=2, batch=1)
P, Q = SetUp(0, Alloc("p")), SetUp(0, Alloc("q"))
#: An interrupt, or a migration, before a section that nobody else can be seen in.
SECTIONS = {
    "irq before an irqsave hold": Program(
        name="a",
        config=SMALL,
        tasks=((Hold("L", (Free("p"),), True),), ()),
        hardirqs=((0, (Alloc("a"),)),),
        setup=(P,),
    ),
    "migration before a hold": Program(
        name="b", config=SMALL, tasks=((Hold("L", (Free("p"),)),), ()), migrations=(Migration(0, 1),), setup=(P,)
    ),
    "irq between two": Program(
        name="c",
        config=SMALL,
        tasks=((Free("p"), Hold("L", (Free("q"),), True)), ()),
        hardirqs=((0, (Alloc("a"),)),),
        setup=(P, Q),
    ),
}


@pytest.mark.parametrize("program", SECTIONS.values(), ids=SECTIONS.keys())
def test_handlers_and_migrations_before_sections(program: Program) -> None:
    for variant in ("rfc", "linux-7.0"):
        assert lost_outcomes(program, variant, 40) == 0
        with Search(program, variant) as search:
            assert len(search.run().outcomes) > 1


def test_random_programs_lose_nothing() -> None:
    assert [seed for seed in range(25) if lost_outcomes(tiny_program(seed), VARIANTS[seed % 4], 15)] == []


@pytest.mark.ci
def test_many_random_programs_lose_nothing() -> None:
    assert [seed for seed in range(25, 250) if lost_outcomes(tiny_program(seed), VARIANTS[seed % 4], 25)] == []


# --- points that matter ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["remote-free-drain", "drain-all-free", "failed-trylock", "migrate-free"])
def test_a_search_ends_with_all_objects_that_matter(name: str) -> None:
    """After the last pass no object is shared that was no choice."""
    with Search(built_in(name), "rfc") as search:
        result = search.run()
        assert result.verdict == EXHAUSTED
        engine = search.engine
        for oid, users in enumerate(engine.users):
            writers = users if oid in engine.objects.locks else engine.writers[oid]
            shared = users and writers and (users | writers) & ((users | writers) - 1)
            assert engine.visible[oid] or not shared, engine.objects.names[oid]
