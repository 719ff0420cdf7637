# SPDX-License-Identifier: GPL-2.0-only
"""The contract of carriers, for each of them: whoever is switched to runs, nobody else, and nothing is left."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pageblock_buddy import InputError
from pageblock_buddy.errors import MissingExtra
from pageblock_buddy.interleave import carriers
from pageblock_buddy.interleave.carriers import get_carrier
from pageblock_buddy.interleave.carriers.carrier import Body, Carrier
from pageblock_buddy.interleave.catalogue import built_in
from pageblock_buddy.interleave.engine import ENGINE, Engine
from tests.interleave.carried import CARRIERS, carrying, everything, giving_up, staying


@pytest.fixture(params=CARRIERS)
def carrier(request: pytest.FixtureRequest) -> Iterator[Carrier]:
    """Each carrier; afterwards no thread is left."""
    if request.param == "greenlet":
        pytest.importorskip("greenlet")
    before = set(threading.enumerate())
    with carrying(request.param) as found:
        yield found
    assert set(threading.enumerate()) == before


class Log:
    """Bodies that say when they run."""

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.seen: list[object] = []

    def body(self, me: int, *hands_to: int, then: int = ENGINE) -> Body:
        """A body that hands over to these, one after the other, and returns ``then``."""

        def run() -> int:
            self.seen.append(f"{me} begins")
            for number, to in enumerate(hands_to):
                self.carrier.switch(me, to)
                self.seen.append(f"{me} goes on {number}")
            self.seen.append(f"{me} ends")
            return then

        return run


def test_nobody_runs_before_a_switch(carrier: Carrier) -> None:
    log = Log(carrier)
    carrier.start([log.body(0), log.body(1)])
    assert log.seen == []
    carrier.switch(ENGINE, 1)
    assert log.seen == ["1 begins", "1 ends"]
    carrier.switch(ENGINE, 0)
    assert log.seen == ["1 begins", "1 ends", "0 begins", "0 ends"]


def test_order_of_hand_overs(carrier: Carrier) -> None:
    log = Log(carrier)
    carrier.start([log.body(0, 1, 2), log.body(1, 0, ENGINE), log.body(2, 1)])
    carrier.switch(ENGINE, 0)
    log.seen.append("engine")
    carrier.switch(ENGINE, 1)
    log.seen.append("engine")
    carrier.switch(ENGINE, 2)
    log.seen.append("engine")
    carrier.switch(ENGINE, 0)
    assert log.seen == [
        *("0 begins", "1 begins", "0 goes on 0", "2 begins", "1 goes on 0", "engine"),
        *("1 goes on 1", "1 ends", "engine", "2 goes on 0", "2 ends", "engine", "0 goes on 1", "0 ends"),
    ]


def test_what_a_body_returns_goes_on(carrier: Carrier) -> None:
    log = Log(carrier)
    carrier.start([log.body(0, then=2), log.body(1), log.body(2, then=1)])
    carrier.switch(ENGINE, 0)
    assert log.seen == ["0 begins", "0 ends", "2 begins", "2 ends", "1 begins", "1 ends"]


def test_a_body_that_returns_lets_a_suspended_one_go_on(carrier: Carrier) -> None:
    log = Log(carrier)
    carrier.start([log.body(0, 1), log.body(1, then=0)])
    carrier.switch(ENGINE, 0)
    assert log.seen == ["0 begins", "1 begins", "1 ends", "0 goes on 0", "0 ends"]


def test_only_one_runs_at_any_time(carrier: Carrier) -> None:
    running: list[int] = []
    most = 0

    def body(me: int) -> Body:
        def run() -> int:
            nonlocal most
            for _ in range(50):
                running.append(me)
                most = max(most, len(running))
                assert running.pop() == me
                carrier.switch(me, (me + 1) % 3)
            return ENGINE

        return run

    carrier.start([body(0), body(1), body(2)])
    for me in (0, 1, 2):
        carrier.switch(ENGINE, me)
    assert most == 1


def test_it_is_used_again_and_again(carrier: Carrier) -> None:
    for number in range(20):
        log = Log(carrier)
        carrier.start([log.body(0, 1), log.body(1, then=0)])
        carrier.switch(ENGINE, number % 1)
        assert log.seen == ["0 begins", "1 begins", "1 ends", "0 goes on 0", "0 ends"]


def test_threads_are_kept_for_the_next_run() -> None:
    with carrying("threads") as carrier:
        names: list[int] = []

        def body() -> int:
            names.append(threading.get_ident())
            return ENGINE

        for _ in range(3):
            carrier.start([body])
            carrier.switch(ENGINE, 0)
    assert len(set(names)) == 1


@pytest.mark.parametrize("counts", [(1, 3, 2, 5), (3, 1, 3), (2, 0, 4)])
def test_more_and_fewer_bodies_than_before(carrier: Carrier, counts: tuple[int, ...]) -> None:
    for count in counts:
        log = Log(carrier)
        carrier.start([log.body(me, then=me + 1 if me + 1 < count else ENGINE) for me in range(count)])
        if count:
            carrier.switch(ENGINE, 0)
        assert log.seen == [f"{me} {what}" for me in range(count) for what in ("begins", "ends")]


def test_a_body_that_was_never_switched_to_does_not_run(carrier: Carrier) -> None:
    first, second = Log(carrier), Log(carrier)
    carrier.start([first.body(0), first.body(1)])
    carrier.switch(ENGINE, 0)
    carrier.start([second.body(0), second.body(1)])
    carrier.switch(ENGINE, 1)
    assert (first.seen, second.seen) == (["0 begins", "0 ends"], ["1 begins", "1 ends"])


# --- close -------------------------------------------------------------------------------------


def test_close_of_one_that_was_never_used(carrier: Carrier) -> None:
    carrier.close()
    carrier.close()


def test_close_twice(carrier: Carrier) -> None:
    log = Log(carrier)
    carrier.start([log.body(0)])
    carrier.switch(ENGINE, 0)
    carrier.close()
    carrier.close()


def test_it_can_be_used_after_close(carrier: Carrier) -> None:
    for _ in range(2):
        log = Log(carrier)
        carrier.start([log.body(0)])
        carrier.switch(ENGINE, 0)
        assert log.seen == ["0 begins", "0 ends"]
        carrier.close()


def test_close_with_bodies_that_never_ran(carrier: Carrier) -> None:
    log = Log(carrier)
    carrier.start([log.body(0), log.body(1)])
    carrier.close()
    assert log.seen == []


def test_close_leaves_a_suspended_body_by_an_exception(carrier: Carrier) -> None:
    """Its cleanup runs, its handlers of ordinary exceptions do not, and it does not go on."""
    seen: list[str] = []

    def body() -> int:
        try:
            carrier.switch(0, ENGINE)
            seen.append("goes on")
        except Exception:
            seen.append("an ordinary exception")
        finally:
            seen.append("cleanup")
        return ENGINE

    carrier.start([body, body])
    carrier.switch(ENGINE, 0)
    carrier.close()
    assert seen == ["cleanup"]


def test_a_start_after_bodies_that_did_not_return(carrier: Carrier) -> None:
    """The engine was left by an exception of its own: the next run is a fresh one all the same."""
    first, second = Log(carrier), Log(carrier)
    carrier.start([first.body(0, ENGINE), first.body(1, ENGINE)])
    carrier.switch(ENGINE, 0)
    carrier.start([second.body(0), second.body(1, then=0)])
    carrier.switch(ENGINE, 1)
    assert first.seen == ["0 begins"]
    assert second.seen == ["1 begins", "1 ends", "0 begins", "0 ends"]


# --- what goes wrong ---------------------------------------------------------------------------


class Left(BaseException):
    """Something that leaves a body."""


@pytest.mark.parametrize("error", [ValueError("x"), Left("x"), SystemExit(3)], ids=type)
def test_an_exception_in_a_body_is_raised_in_the_engine(carrier: Carrier, error: BaseException) -> None:
    log = Log(carrier)

    def fails() -> int:
        raise error

    for _ in range(2):
        carrier.start([log.body(0, 1), fails])
        with pytest.raises(type(error)) as caught:
            carrier.switch(ENGINE, 0)
        assert caught.value is error
        after = Log(carrier)
        carrier.start([after.body(0, 1), after.body(1, then=0)])
        carrier.switch(ENGINE, 0)
        assert after.seen == ["0 begins", "1 begins", "1 ends", "0 goes on 0", "0 ends"]
    assert log.seen == ["0 begins"] * 2


def interrupting(then: Callable[[], None]) -> Body:
    """A body in which the user interrupts, and which ends by itself where it can."""

    def body() -> int:
        _thread.interrupt_main()
        then()
        return ENGINE

    return body


def test_an_interrupt_while_a_body_runs(carrier: Carrier) -> None:
    """It is raised in the engine, no body runs then, and the carrier is good for the next run."""
    for number in range(3):
        log = Log(carrier)

        def work() -> None:
            for _ in range(5):
                time.sleep(0.002)

        carrier.start([log.body(0, 1), interrupting(work)])
        with pytest.raises(KeyboardInterrupt):
            carrier.switch(ENGINE, number % 2)  # 0 hands over to 1
        seen = list(log.seen)
        time.sleep(0.002)
        assert log.seen == seen
        after = Log(carrier)
        carrier.start([after.body(0, 1), after.body(1, then=0)])
        carrier.switch(ENGINE, 0)
        assert after.seen == ["0 begins", "1 begins", "1 ends", "0 goes on 0", "0 ends"]


def test_close_after_an_interrupt(carrier: Carrier) -> None:
    carrier.start([interrupting(lambda: None)])
    with pytest.raises(KeyboardInterrupt):
        carrier.switch(ENGINE, 0)
    carrier.close()


def test_an_interrupt_of_the_engine_itself(carrier: Carrier) -> None:
    """Between two switches: then bodies wait in theirs."""
    log = Log(carrier)
    carrier.start([log.body(0, ENGINE), log.body(1)])
    carrier.switch(ENGINE, 0)
    with pytest.raises(KeyboardInterrupt):
        interrupting(lambda: time.sleep(1))()
    carrier.close()
    assert log.seen == ["0 begins"]


def test_a_thread_can_be_stopped() -> None:
    """A process that reaches no point: KeyboardInterrupt is raised in it."""
    with carrying("threads") as carrier:

        def body() -> int:
            try:
                while True:
                    pass
            except KeyboardInterrupt:
                return ENGINE

        carrier.start([body])
        timer = threading.Timer(0.02, lambda: carrier.stop(0))
        timer.start()
        carrier.switch(ENGINE, 0)
        timer.join()


def test_names() -> None:
    with pytest.raises(InputError, match="no carrier 'fibres'; there are: threads, greenlet"):
        get_carrier("fibres")


def test_a_carrier_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pageblock_buddy.interleave.carriers.greenlets", None)
    with pytest.raises(MissingExtra, match=r"pageblock-buddy\[fast\]"):
        carriers.get_carrier("greenlet")


# --- unwinding ---------------------------------------------------------------------------------


def seen_by(engine: Engine) -> object:
    """What a run did and how it ended."""
    return engine.ev_process[:], engine.ev_kind[:], engine.ev_oid[:], engine.finding, engine.keys.outcome()


@pytest.mark.parametrize(
    ("program", "variant"),
    [("softirq-and-hardirq", "rfc"), ("offline-migrate", "llist"), ("abba-remote-drain", "rfc-trylock")],
)
def test_unwinding_at_every_point(carrier: Carrier, program: str, variant: str) -> None:
    """A run that is given up leaves nothing behind: the next one is as on a fresh engine."""
    with carrying() as other:
        fresh = everything(Engine(built_in(program), variant, other))
        fresh.run(staying())
        expected = seen_by(fresh)
    engine = everything(Engine(built_in(program), variant, carrier))
    workers = None
    for points in range(1000):
        engine.run(giving_up(points))
        assert len(engine.ev_process) <= points
        assert all(not process.alive or not process.started for process in engine.processes[: engine.nr_carried])
        given_up = engine.given_up
        engine.run(staying())
        assert seen_by(engine) == expected
        workers = workers or threading.active_count()
        assert threading.active_count() == workers
        if not given_up:
            break
    assert points > 10
