# SPDX-License-Identifier: GPL-2.0-only
"""Random programs on every variant and policy: each answer and each state is judged.

The judges are the extent map (an abstract model that shares no code with the variants), System.validate() and the
monitor of transitions; see driver.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from pageblock_buddy import Context, gfp
from pageblock_buddy.rfc.policies import POLICIES
from pageblock_buddy.variants import VARIANTS, get_variant
from tests.stateful.driver import CONFIGS, CONTEXTS, GFPS, NAMES, Driver

NUMBER = st.integers(0, 255)
CPU = st.integers(0, 3)
ORDER = st.integers(0, 5)
CONTEXT = st.sampled_from(CONTEXTS)
REQUEST = st.sampled_from(GFPS)


class AnyProgram(RuleBasedStateMachine):
    """Any program may do to the allocator what the API lets it do."""

    variant = "linux-6.12"

    @initialize(config=st.sampled_from(sorted(CONFIGS)))
    def boot(self, config: str) -> None:
        self.driver = Driver(self.variant, CONFIGS[config])

    # - allocate: some at a time, or short programs would never fill a list -

    @rule(cpu=CPU, context=CONTEXT, request=REQUEST, order=ORDER, node=st.sampled_from((None, 0, 1)))
    def alloc(self, cpu: int, context: Context, request: int, order: int, node: int | None) -> None:
        self.driver.alloc(cpu, context, request, order, node=node)

    @rule(cpu=CPU, context=CONTEXT, request=REQUEST, count=st.integers(4, 20))
    def alloc_many(self, cpu: int, context: Context, request: int, count: int) -> None:
        self.driver.alloc(cpu, context, request, 0, count)

    @rule(cpu=CPU, context=CONTEXT, request=REQUEST, count=st.integers(1, 16))
    def alloc_bulk(self, cpu: int, context: Context, request: int, count: int) -> None:
        self.driver.alloc_bulk(cpu, context, request, count)

    @rule(cpu=CPU, context=CONTEXT, request=REQUEST, count=st.integers(1, 13))
    def alloc_exact(self, cpu: int, context: Context, request: int, count: int) -> None:
        self.driver.alloc_exact(cpu, context, request, count)

    @rule(cpu=CPU, context=st.sampled_from(Context), order=ORDER)
    def alloc_nolock(self, cpu: int, context: Context, order: int) -> None:
        self.driver.alloc_nolock(cpu, context, order)

    # - free -

    @rule(cpu=CPU, context=CONTEXT, which=NUMBER)
    def free(self, cpu: int, context: Context, which: int) -> None:
        self.driver.free(cpu, context, which)

    @rule(cpu=CPU, context=CONTEXT, which=NUMBER, count=st.integers(4, 20))
    def free_many(self, cpu: int, context: Context, which: int, count: int) -> None:
        self.driver.free(cpu, context, which, count)

    @rule(cpu=CPU, context=CONTEXT, which=NUMBER, count=st.integers(1, 12))
    def free_folios(self, cpu: int, context: Context, which: int, count: int) -> None:
        self.driver.free_folios(cpu, context, which, count)

    @rule(cpu=CPU, context=st.sampled_from(Context), which=NUMBER)
    def free_nolock(self, cpu: int, context: Context, which: int) -> None:
        self.driver.free_nolock(cpu, context, which)

    @rule(cpu=CPU, pfn=st.integers(0, 63), order=ORDER)
    def free_wrongly(self, cpu: int, pfn: int, order: int) -> None:
        self.driver.free_wrongly(cpu, pfn, order)

    # - references and splitting -

    @rule(which=NUMBER)
    def get_page(self, which: int) -> None:
        self.driver.get_page(which)

    @rule(which=NUMBER)
    def split_page(self, which: int) -> None:
        self.driver.split_page(which)

    # - around it -

    @rule(cpu=CPU, everything=st.booleans())
    def drain(self, cpu: int, everything: bool) -> None:
        self.driver.drain(cpu, everything)

    @rule(cpu=CPU, pagesets=st.booleans(), times=st.integers(1, 4))
    def vmstat(self, cpu: int, pagesets: bool, times: int) -> None:
        self.driver.vmstat(cpu, pagesets, times)

    @rule(block=st.integers(0, 31), drain=st.booleans())
    def isolate(self, block: int, drain: bool) -> None:
        self.driver.isolate(block, drain)

    @rule(block=st.integers(0, 31), mt=st.integers(0, 2))
    def unisolate(self, block: int, mt: int) -> None:
        self.driver.unisolate(block, mt)

    @rule(cpu=CPU, request=REQUEST, force=st.booleans())
    def unreserve(self, cpu: int, request: int, force: bool) -> None:
        self.driver.unreserve(cpu, request, force)

    @rule(cpu=CPU)
    def hotplug(self, cpu: int) -> None:
        self.driver.hotplug(cpu)

    @rule(zone=st.integers(0, 1), bit=st.sampled_from((gfp.ZONE_RECLAIM_ACTIVE, gfp.ZONE_BELOW_HIGH)))
    def zone_flags(self, zone: int, bit: int) -> None:
        self.driver.zone_flags(zone, bit)

    @rule(zone=st.integers(0, 1))
    def pcp_off_and_on(self, zone: int) -> None:
        self.driver.pcp_off_and_on(zone)

    @rule(
        cpu=CPU,
        other=CPU,
        zone=st.integers(0, 1),
        which=NUMBER,
        context=st.sampled_from((Context.SOFTIRQ, Context.HARDIRQ)),
        kind=st.integers(0, 5),
    )
    def interrupt(self, cpu: int, other: int, zone: int, which: int, context: Context, kind: int) -> None:
        self.driver.interrupt(cpu, other, zone, which, context, kind)

    @rule(cpu=CPU, other=CPU, zone=st.integers(0, 1), which=NUMBER, free=st.booleans(), refill=st.booleans())
    def under_zone_lock(self, cpu: int, other: int, zone: int, which: int, free: bool, refill: bool) -> None:
        self.driver.under_zone_lock(cpu, other, zone, which, free, refill)

    @rule(cpu=CPU, order=st.integers(0, 2))
    def save_and_restore(self, cpu: int, order: int) -> None:
        self.driver.save_and_restore(cpu, order)


COMMON: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "print_blob": False,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much],
}


def program_on(variant: str) -> type[AnyProgram]:
    """The machine for one variant."""
    return type("AnyProgram", (AnyProgram,), {"variant": variant})


@pytest.mark.parametrize("variant", NAMES)
def test_any_program(variant: str) -> None:
    """No page is lost or owned twice, whatever a program does; every state and every transition is sound."""
    few = settings(max_examples=5, stateful_step_count=40, phases=(Phase.generate,), **COMMON)
    run_state_machine_as_test(program_on(variant), settings=few)


@pytest.mark.long
@pytest.mark.parametrize("variant", NAMES)
def test_many_programs(variant: str) -> None:
    """The same, for long, and shrunk if it fails."""
    many = settings(max_examples=60, stateful_step_count=60, **COMMON)
    run_state_machine_as_test(program_on(variant), settings=many)


def test_nothing_is_left_out() -> None:
    """Every variant, and every policy alone; each name is one that can be booted."""
    assert set(VARIANTS) <= set(NAMES)
    assert {f"rfc+{policy}" for policy in POLICIES} <= set(NAMES)
    assert [get_variant(name).name for name in NAMES] == list(NAMES)
