"""Waiting for records, step by step: fake clock, fake backend, no threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest

from banyan_hp.engine.http.response import Response
from banyan_hp.engine.http.transport import Request
from banyan_hp.engine.records.ledger import Term
from banyan_hp.engine.records.record import Record
from banyan_hp.engine.spool.held_segments import Mark
from banyan_hp.engine.sync import WakeUp
from tests.support.clock import FakeClock
from tests.support.stepped import Answer, FakeBackend, SteppedEngine, down, failing, json_answer


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


def test_a_flush_is_woken_once_not_by_each_record(backend: FakeBackend, clock: FakeClock) -> None:
    """A wake-up for each record would double what a record costs where they go one by one."""
    engine = SteppedEngine(backend, clock, batching="never")
    for _ in range(50):
        engine.log()
    engine.parts.epochs.close()
    rings: list[int] = []

    class Flusher(WakeUp):
        def wake(self) -> None:
            rings.append(engine.ledger.own[Term.DELIVERED])

    engine.parts.watchers.watch(Flusher())
    engine.log()
    engine.run(60)
    assert engine.ledger.own[Term.DELIVERED] == 51
    assert rings == [50, 51]


def test_a_flush_that_waits_for_the_disk_hears_of_records_of_later_epochs(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """What is on disk, when all in memory is delivered, may be younger than the flush."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="never", durability="disk")
    engine.step()  # the first look at the disk
    engine.log()
    mark = engine.waiting.mark()
    engine.log()
    wake_up = WakeUp()
    engine.parts.watchers.watch(wake_up)
    while engine.waiting.on_disk(mark):
        assert not wake_up.wait(0)
        engine.step()
    assert wake_up.wait(0)
    assert engine.parts.epochs.current.in_memory == 1


def test_a_caller_who_is_done_leaves_a_retry_to_another_one(backend: FakeBackend, clock: FakeClock) -> None:
    """Two callers, no thread: one sends both's records in one batch, and only its own is delivered."""
    engine = SteppedEngine(backend, clock, batching="always", retry_delay=1)
    mine, other = engine.log({"n": 1}), engine.log({"n": 2})
    assert mine is not None
    assert other is not None
    wake_up = WakeUp()

    def one_of_two(_request: Request) -> Response:
        engine.add_sleeper(wake_up)  # whoever waits for `other`, while it is in our hands
        results = [{"id": mine.id, "status": 201}, {"id": other.id, "status": 503}]
        return json_answer(200, {"results": results})

    backend.behaviour = one_of_two
    assert engine.wait_for(mine)
    assert not other.settled
    assert wake_up.wait(0)


def test_a_wait_that_is_interrupted_leaves_no_bell_behind(
    backend: FakeBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in a caller, a greenlet that is killed: else a ring goes to it, and the others sleep on."""
    engine = SteppedEngine(backend, clock)
    scheduler = engine.scheduler

    def interrupted(*_: object) -> NoReturn:
        assert len(scheduler.sleepers.idle) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(clock, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    assert scheduler.sleepers.idle == []


def test_asking_again_and_again_for_a_record_leaves_nothing_behind(
    backend: FakeBackend, clock: FakeClock
) -> None:
    """`receipt.result(timeout=…)` in a loop: waiters nested in waiters are too deep to be told."""
    engine = SteppedEngine(backend, clock, batching="never")
    record = engine.log()
    assert record is not None
    backend.behaviour = down
    assert not engine.wait_for(record, 0.0)
    engine.waiting.add_waiter(record, loop := Loop())
    for _ in range(2000):
        assert not engine.wait_for(record, 0.0)
        engine.waiting.add_waiter(record, loop)
    backend.behaviour = backend.well
    assert engine.wait_for(record, 60.0)
    assert loop.reported == [record]


class Loop(WakeUp):
    """Waits without a thread."""

    __slots__ = ("reported",)

    def __init__(self) -> None:
        super().__init__()
        self.reported: list[Record] = []

    def settled(self, record: Record) -> None:
        self.reported.append(record)


def test_a_flush_does_not_linger(backend: FakeBackend, clock: FakeClock) -> None:
    """What a flush waits for goes at once."""
    engine = SteppedEngine(backend, clock, flush_interval=60.0)
    engine.log()
    began = clock.monotonic()
    assert engine.flush(30)
    assert clock.monotonic() == began


@pytest.mark.parametrize("state", ["broken", "held", "backing off"])
def test_waiting_without_a_disk_is_waiting(backend: FakeBackend, clock: FakeClock, state: str) -> None:
    """With the gate closed and no spool the worker sleeps until the next attempt is due; it does not spin."""
    engine = SteppedEngine(backend, clock, batching="always", max_retries=3 if state == "backing off" else 0)
    backend.behaviour = failing(401) if state == "held" else down
    for _ in range(5):
        engine.log()
    clock.advance(2)
    began, before = clock.monotonic(), len(clock.waits)
    for _ in range(20):
        engine.step(longest_wait=1000.0)
    waits = [wait for wait in clock.waits[before:] if wait <= 0]
    assert waits == []
    assert clock.monotonic() > began


def test_flushing_in_a_loop_does_not_hammer_a_backend_that_is_down(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Each flush may hurry a probe, but not more than four a second."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", max_retries=0)
    backend.behaviour = down
    began = clock.monotonic()
    for _ in range(100):
        engine.log()
        engine.flush(5)
    assert len(backend.usage()) <= 4 * (clock.monotonic() - began) + 1


@pytest.mark.parametrize("has_disk", [True, False])
def test_a_flush_does_not_wait_for_a_retry_after_it_cannot_keep(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, *, has_disk: bool
) -> None:
    """The backend is down, and has asked for a minute: of five seconds none is spent."""
    engine = SteppedEngine(backend, clock, tmp_path if has_disk else None, batching="always", max_retries=0)
    backend.behaviour = failing(503, **{"retry-after": "60"})
    for _ in range(2):
        engine.log()
        began = clock.monotonic()
        result = engine.flush(5)
        assert clock.monotonic() == began
    assert (bool(result), result.spooled, result.pending) == (False, *((2, 0) if has_disk else (0, 2)))
    assert len(backend.usage()) == 1
    backend.behaviour = backend.well
    assert engine.flush(90)


def test_a_flush_counts_what_arrives_while_it_ends(
    backend: FakeBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never "not delivered" beside a ledger in which nothing is left and nothing lost."""
    engine = SteppedEngine(backend, clock)
    engine.log()
    counted = engine.waiting.on_disk

    def counted_just_before_it_arrives(mark: Mark) -> int:
        return counted(mark) + 1

    monkeypatch.setattr(engine.waiting, "on_disk", counted_just_before_it_arrives)
    assert engine.flush(30)


@pytest.mark.parametrize("statuses", [(503,), (401,), (503, 422)])
def test_whoever_sees_that_the_destination_is_unwell_finds_why(
    backend: FakeBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, statuses: tuple[int, ...]
) -> None:
    """A flush on another thread may return as soon as the breaker is open, and ask for the reason."""
    engine = SteppedEngine(backend, clock, batching="never", max_retries=0)
    reasons: list[str] = []

    def then_ask(change: Callable[..., None]) -> Callable[..., None]:
        def asking(*args: Any) -> None:
            change(*args)
            reasons.extend(engine.health()["reasons"][:1])

        return asking

    for change in ("fail", "refuse"):
        monkeypatch.setattr(engine.breaker, change, then_ask(getattr(engine.breaker, change)))
    engine.log()
    for status in statuses:
        backend.behaviour = failing(status)
        engine.flush(30)
        assert f"status {status}" in reasons.pop()


def test_a_flush_that_waits_for_the_disk_counts_no_loss_of_later_records(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Another thread logs meanwhile, and its record is dropped: that is for its own flush to report."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", max_retries=0)
    backend.behaviour = down
    engine.log()
    assert engine.flush(5).spooled == 1

    def while_another_logs(request: Request) -> Answer:
        with ThreadPoolExecutor(1) as another:
            later = another.submit(engine.log).result()
        assert later is not None
        engine.parts.settlement.dropped([later], "queue_full")
        backend.behaviour = backend.well
        return backend.well(request)

    backend.behaviour = while_another_logs
    clock.advance(60)
    first, second = engine.flush(30), engine.flush(30)
    assert (first.lost, second.lost) == (0, 1)
    assert first
    assert engine.flush(30).lost == 0


@pytest.mark.parametrize("durability", ["memory", "disk"])
def test_a_flush_reports_once_what_is_lost_while_it_waits_for_the_disk(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, durability: str
) -> None:
    """Refused records that had gone to disk."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", max_retries=0, durability=durability)
    backend.behaviour = down
    for number in range(4):
        engine.log({"n": number})
    assert engine.flush(5).spooled == 4
    backend.refuses = lambda body: body["input"]["n"] in (1, 2)
    backend.behaviour = backend.well
    clock.advance(60)
    result = engine.flush(30)
    assert (result.lost, result.spooled, bool(result)) == (2, 0, False)
    assert engine.flush(30).lost == 0


def test_a_flush_reports_once_what_is_deleted_under_it(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Somebody empties the spool's directory while a flush waits for what is in there."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="never", max_retries=0)
    backend.behaviour = down
    for number in range(300):
        engine.log({"n": number, "text": "x" * 10_000})
    spooled = engine.flush(5).spooled

    def while_somebody_deletes(request: Request) -> Answer:
        for path in tmp_path.rglob("*.v1.jsonl"):
            path.unlink()
        return backend.well(request)

    backend.behaviour = while_somebody_deletes
    clock.advance(60)
    result = engine.flush(30)
    assert result.lost == engine.ledger.own[Term.DROPPED] > 0
    assert result.lost + len(backend.taken) == spooled
    assert engine.flush(30).lost == 0
