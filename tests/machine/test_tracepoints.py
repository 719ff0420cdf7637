# SPDX-License-Identifier: GPL-2.0-only
"""The kmem trace events as the recordings write them."""

from __future__ import annotations

from pageblock_buddy import EventLog, Tracer, gfp
from tests.helpers import MOVABLE, UNMOVABLE, M, U, machine, traced


def emit(tracer: Tracer) -> None:
    """One of each."""
    tracer.mm_page_alloc(0, 9, 1, 0xCC0, 2)
    tracer.mm_page_alloc(0, None, 1, 0xCC0, 2)
    tracer.mm_page_free(1, 9, 1)
    tracer.mm_page_free_batched(1, 9)
    tracer.mm_page_alloc_zone_locked(2, 9, 1, 0, 1)
    tracer.mm_page_pcpu_drain(3, 9, 1, 2)
    tracer.mm_page_alloc_extfrag(4, 9, 1, 4, 0, 2, 1)
    tracer.call(5, "wakeup_kswapd", 7)


INNER = [
    ("zlock", 2, 1, 0, 9, 1),
    ("drain", 3, 1, 2, 9),
    ("frag", 4, 1, 4, 0, 2, 1, 9),
    ("call", 5, "wakeup_kswapd", 7),
]


def test_event_log() -> None:
    """LPA-15.1.4, LPA-15.1.6, LPA-15.1.9: without ``outer`` only what happens inside an operation."""
    log = EventLog()
    emit(log)
    assert log.events == INNER
    assert log.take() == INNER
    assert log.take() == []


def test_outer_events() -> None:
    """LPA-15.1.1, LPA-15.1.2, LPA-15.1.3: alloc (a failure has -1), free, freeb."""
    log = EventLog(outer=True)
    emit(log)
    assert log.take() == [
        ("alloc", 0, 1, 0xCC0, 2, 9),
        ("alloc", 0, 1, 0xCC0, 2, -1),
        ("free", 1, 1, 9),
        ("freeb", 1, 9),
        *INNER,
    ]


def test_events_of_an_operation() -> None:
    """LPA-15.1.1, LPA-15.1.2, LPA-15.1.11, LPA-15.1.10: CPU 1 claims a part block: per refilled page, then the
    allocation; a free is traced before it is placed."""
    system = machine("order 0: M[1] \n order 1: M[2]", nr_cpus=2)
    log = traced(system, outer=True)
    with system.on_cpu(1):
        assert system.alloc_pages(UNMOVABLE) == 1
        system.free_pages(1)
    # order 1's candidate first: the block's pages 1 and 2..3 move, and 1 is the smallest
    assert log.take() == [
        ("zlock", 1, 0, U, 1, 1),
        ("frag", 1, 0, 1, U, M, U, 1),
        ("zlock", 1, 0, U, 2, 1),
        ("alloc", 1, 0, UNMOVABLE, U, 1),
        ("free", 1, 0, 1),
    ]


def test_no_tracer() -> None:
    """Tracing is off by default and can be turned off again; the results are the same."""
    system = machine("order 3: M[0 8 16]")
    assert system.trace is None
    log = traced(system)
    assert system.alloc_pages(MOVABLE, 2) == 0
    assert log.take()
    system.trace = None
    assert system.alloc_pages(MOVABLE | gfp.GFP_COMP, 3) == 8
    assert log.take() == []
