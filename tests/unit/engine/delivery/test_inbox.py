"""Records of callers that find the engine's lock taken: left in the inbox, taken in before anything else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from banyan_hp.engine.records.ledger import Term
from banyan_hp.engine.records.record import Record
from banyan_hp.engine.sync import WakeUp
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine

_SECONDS = 30.0


@pytest.fixture
def engine() -> SteppedEngine:
    return _engine()


def _engine(**options: Any) -> SteppedEngine:
    """One that has a thread, so it seems: it works when the test says so."""
    made = SteppedEngine(FakeBackend(), FakeClock(), **{"batching": "always", **options})
    made.worker.threads.append(threading.current_thread())
    return made


@contextmanager
def held(engine: SteppedEngine) -> Iterator[None]:
    """Another thread is in a section of the engine's lock, and does not run on until the end."""
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with engine.lock:
            entered.set()
            leave.wait(_SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert entered.wait(_SECONDS)
        yield
    finally:
        leave.set()
        thread.join()


def test_a_caller_does_not_wait_for_a_thread_in_a_section(engine: SteppedEngine) -> None:
    """The record is accepted at once, and in the ledger as soon as somebody looks at that."""
    with held(engine):
        assert isinstance(engine.log("first"), Record)
        assert len(engine.parts.inbox.records) == 1
    assert engine.stats()["logs_queued"] == 1
    assert len(engine.queue) == 1
    assert engine.balanced()


@pytest.mark.parametrize(
    "look",
    [
        lambda engine: engine.stats()["logs_queued"],
        lambda engine: engine.ledger_now()["accepted"],
        lambda engine: not engine.core.is_drained(),
        lambda engine: engine.health()["status"] == "ok" and len(engine.queue),
        lambda engine: len(engine.flush(0).ledger) and engine.ledger.own.accepted,
    ],
)
def test_who_looks_sees_the_inbox_and_the_ledger_as_one(
    engine: SteppedEngine, look: Callable[[SteppedEngine], int]
) -> None:
    """A record whose log call has returned True is counted in all that is read after it."""
    with held(engine):
        engine.log()
    assert look(engine) == 1


def test_the_records_of_a_thread_stay_in_order(engine: SteppedEngine) -> None:
    """Whether it found the lock taken or not: what waits in the inbox is taken in first."""
    engine.log("a")
    with held(engine):
        engine.log("b")
        engine.log("c")
    engine.log("d")
    values = [record.value["input"] for record in engine.queue.records]
    assert values == ["a", "b", "c", "d"]


def test_a_flush_waits_for_what_was_in_the_inbox(engine: SteppedEngine) -> None:
    """It was accepted before the flush."""
    with held(engine):
        engine.log()
    engine.worker.threads.clear()  # the flush works itself
    result = engine.flush(_SECONDS)
    assert result.delivered
    assert engine.ledger.own[Term.DELIVERED] == 1


def test_closing_takes_in_what_came_before_and_nothing_after(engine: SteppedEngine) -> None:
    """Whoever returned before the seal is accepted; whoever comes behind it is turned away."""
    with held(engine):
        engine.log()
    engine.core.ending.close(0.0)
    assert engine.ledger.own[Term.QUEUED] == 1
    assert engine.log() is None
    assert engine.ledger.own.accepted == 1
    assert engine.stats()["logs_rejected"] == 1


def test_a_caller_between_its_step_and_the_seal_takes_its_record_back(engine: SteppedEngine) -> None:
    """It has appended the record when the seal comes: what the seal did not take in is the caller's again."""
    inbox = engine.parts.inbox
    with engine.lock:
        inbox.seal()
    record = Record("id", 0.0, {}, 1, 0.0, engine.ledger.own)
    assert not inbox.offer(record)
    assert not inbox.records
    assert engine.ledger.own.accepted == 0


def test_a_seal_that_is_broken_again_loses_nothing(engine: SteppedEngine) -> None:
    """A successor asks whether all is drained; it is not, so this engine goes on."""
    with held(engine):
        engine.log()
    assert not engine.core.supersede(only_if_drained=True)
    with held(engine):
        assert isinstance(engine.log(), Record)
    assert engine.stats()["logs_queued"] == 2


def test_the_queue_keeps_its_bounds(engine: SteppedEngine) -> None:
    """The inbox never holds more than fits into the half of the queue that is free: then callers wait."""
    engine = _engine(queue_size=10, overflow="drop_newest", flush_interval=60.0)
    with held(engine):
        for _ in range(5):
            assert engine.parts.inbox.offer(Record("id", 0.0, {}, 1, 0.0, engine.ledger.own))
        assert not engine.parts.inbox.offer(Record("id", 0.0, {}, 1, 0.0, engine.ledger.own))
    engine.log()
    assert len(engine.queue) == 6
    with held(engine):
        assert not engine.parts.inbox.offer(Record("id", 0.0, {}, 1, 0.0, engine.ledger.own))
    assert engine.balanced()


def test_a_large_record_waits_for_the_lock() -> None:
    """A hundred of the largest that the inbox takes fit into half of `queue_bytes`."""
    engine = _engine(queue_bytes=200_000, max_record_bytes=100_000)
    with held(engine):
        assert not engine.parts.inbox.offer(Record("id", 0.0, {}, 1_001, 0.0, engine.ledger.own))
        assert engine.parts.inbox.offer(Record("id", 0.0, {}, 1_000, 0.0, engine.ledger.own))


def test_a_sleeping_sender_is_woken_once_for_what_comes_together(engine: SteppedEngine) -> None:
    """Nobody else might look: the thread with the lock need not be one that logs or sends."""
    alarm = WakeUp()
    engine.add_sleeper(alarm)
    with held(engine):
        engine.log()
        assert alarm.wait(0)
        engine.log()
        assert not alarm.wait(0)
    engine.step()
    assert len(engine.queue) == 2


def test_a_sender_that_is_about_to_sleep_looks_once_more(engine: SteppedEngine) -> None:
    """A record that came after its look at the queue keeps it awake, although it was not yet asleep."""
    clock = engine.clock
    engine.parts.inbox.records.append(Record("id", 0.0, {}, 1, 0.0, engine.ledger.own))
    engine.parts.inbox.take_in = lambda: None  # type: ignore[method-assign]  # the record came behind it
    engine.step(longest_wait=60.0)
    assert clock.waits == []
