"""When records are sent, and when they are tried again, step by step: fake clock, fake backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.engine.http.response import Response
from banyan_hp.engine.http.transport import Request
from banyan_hp.engine.records.ledger import Term
from banyan_hp.engine.sync import WakeUp
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine, down, failing


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


def test_a_batch_goes_when_it_is_full(backend: FakeBackend, clock: FakeClock) -> None:
    """With `batch_size` records waiting, nothing lingers."""
    engine = SteppedEngine(backend, clock, batch_size=10, flush_interval=60.0)
    for _ in range(25):
        engine.log()
    engine.run()
    assert [request.body.count(b'"id"') for request in backend.usage()] == [10, 10]
    assert engine.ledger.own[Term.QUEUED] == 5


def test_a_part_of_a_batch_lingers_no_longer_than_the_flush_interval(
    backend: FakeBackend, clock: FakeClock
) -> None:
    """A lonely record waits for company, `flush_interval` seconds at most."""
    engine = SteppedEngine(backend, clock, flush_interval=2.0)
    engine.log()
    engine.run()
    assert backend.usage() == []
    clock.advance(1.9)
    engine.run()
    assert backend.usage() == []
    clock.advance(0.2)
    engine.run()
    assert engine.ledger.own[Term.DELIVERED] == 1


def test_an_idle_worker_sleeps_until_it_is_woken(backend: FakeBackend, clock: FakeClock) -> None:
    """Nothing to do and no interval to keep: one endless wait, no polling."""
    engine = SteppedEngine(backend, clock)
    engine.step(longest_wait=10.0)
    assert clock.waits == [10.0]


class _EventfulClock(FakeClock):
    """Something happens one second after the beginning of the next wait."""

    def __init__(self) -> None:
        super().__init__()
        self.after_a_second: list[Callable[[], object]] = []

    def wait(self, wake_up: WakeUp, seconds: float) -> bool:
        if self.after_a_second and super().wait(wake_up, 1.0):
            return True
        while self.after_a_second:
            self.after_a_second.pop()()
            seconds -= 1.0
        return super().wait(wake_up, seconds)


class _Alarm(WakeUp):
    """A sleeping sender's wake-up, which counts how often it is woken."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def wake(self) -> None:
        self.count += 1
        super().wake()


def test_while_records_keep_coming_only_a_full_batch_wakes_the_sender(
    backend: FakeBackend, clock: FakeClock
) -> None:
    """Behind a batch the sender is back within `flush_interval` by itself; no first record wakes it."""
    engine = SteppedEngine(backend, clock, batch_size=10, flush_interval=2.0, batching="always")
    for _ in range(10):
        engine.log()
    engine.step()
    clock.waits.clear()
    alarm = _Alarm()
    engine.step(longest_wait=60.0)
    assert clock.waits == [2.0]  # it would have been asleep for so long
    engine.add_sleeper(alarm)
    for _ in range(9):
        engine.log()
    assert alarm.count == 0
    engine.log()
    assert alarm.count == 1


def test_a_record_behind_a_batch_lingers_no_longer_than_the_flush_interval(
    backend: FakeBackend,
) -> None:
    """It did not wake the sender, which looks at it in time and sleeps for the rest."""
    clock = _EventfulClock()
    engine = SteppedEngine(backend, clock, flush_interval=2.0, batching="always")
    engine.log()
    clock.advance(2.0)
    engine.step()
    assert engine.ledger.own[Term.DELIVERED] == 1
    clock.waits.clear()
    began = clock.monotonic()
    clock.after_a_second.append(engine.log)
    while engine.ledger.own[Term.DELIVERED] < 2:
        engine.step(longest_wait=60.0)
    assert clock.waits == [1.0, 1.0, 1.0]  # until the record, for the rest of that sleep, for what is left
    assert clock.monotonic() - began == 3.0


def test_an_idle_sender_goes_back_to_sleep_without_a_time_limit(
    backend: FakeBackend, clock: FakeClock
) -> None:
    """One look behind the last batch, then none: no clock wakes an idle process."""
    engine = SteppedEngine(backend, clock, flush_interval=2.0, batching="always")
    engine.log()
    clock.advance(2.0)
    engine.step()
    clock.waits.clear()
    engine.step(longest_wait=60.0)
    engine.step(longest_wait=60.0)
    assert clock.waits == [2.0, 60.0]
    alarm = _Alarm()
    engine.add_sleeper(alarm)
    engine.log()
    assert alarm.count == 1


@pytest.mark.parametrize("batching", ["never", "always"])
def test_where_nothing_lingers_each_first_record_wakes_a_sender(
    backend: FakeBackend, clock: FakeClock, batching: str
) -> None:
    """One by one, and while a flush waits."""
    engine = SteppedEngine(backend, clock, flush_interval=2.0, batching=batching)
    engine.log()
    clock.advance(2.0)
    engine.step()
    flushing = WakeUp()
    if batching == "always":
        engine.waiting.begin(flushing)
    clock.waits.clear()
    engine.step(longest_wait=60.0)
    assert clock.waits == [60.0]
    alarm = _Alarm()
    engine.add_sleeper(alarm)
    engine.log()
    assert alarm.count == 1


def test_back_off_doubles_and_the_attempts_are_counted(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """One attempt and `max_retries` more; then the records are on disk and the breaker is open."""
    engine = SteppedEngine(backend, clock, tmp_path, max_retries=3, retry_delay=1.0, batching="always")
    engine.log()
    backend.behaviour = failing(503)
    began = clock.monotonic()
    assert not engine.flush(3600)
    assert len(backend.usage()) == 4
    assert clock.monotonic() - began <= 1 + 2 + 4
    assert engine.breaker.state == "offline"
    assert engine.ledger.own[Term.SPOOLED] == 1
    counters = engine.ledger.counters
    assert (counters.attempts_failed, counters.retries_attempted) == (4, 3)


def test_an_open_breaker_lets_one_record_through_as_a_probe(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """While the backend is down each probe is one request with one record, ever more seldom."""
    engine = SteppedEngine(backend, clock, tmp_path, max_retries=0, batching="always")
    backend.behaviour = down
    for _ in range(10):
        engine.log()
    engine.flush(10)
    before = len(backend.usage())
    for _ in range(200):
        engine.step(longest_wait=600.0)
    probes = backend.usage()[before:]
    assert len(probes) >= 2
    assert {request.body.count(b'"id"') for request in probes} == {1}
    assert clock.monotonic() - 1000.0 >= 15.0 * (len(probes) - 6)


def test_the_backlog_is_delivered_when_the_backend_is_back(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """A probe that succeeds closes the breaker; the backlog follows in order, each record once."""
    engine = SteppedEngine(backend, clock, tmp_path, max_retries=0, batching="always", batch_size=10)
    backend.behaviour = down
    ids = [record.id for record in (engine.log() for _ in range(55)) if record is not None]
    engine.flush(10)
    assert engine.ledger.own[Term.SPOOLED] == 55
    backend.behaviour = backend.well
    assert engine.flush(60)
    assert sorted(backend.order) == sorted(ids)
    assert max(backend.taken.values()) == 1


def test_fresh_records_and_the_backlog_take_turns(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """While both wait, every other request carries fresh records: neither holds up the other."""
    old = SteppedEngine(backend, clock, tmp_path, batching="always", batch_size=10, max_retries=0)
    backend.behaviour = down
    stale = {record.id for record in (old.log() for _ in range(100)) if record is not None}
    old.shutdown(1)
    backend.behaviour = backend.well
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", batch_size=10)
    for _ in range(100):
        engine.log()
    engine.run(40)
    kinds = [ident in stale for ident in backend.order][::10]
    assert kinds[:6] in ([False, True] * 3, [True, False] * 3)
    assert engine.ledger.adopted[Term.DELIVERED] == engine.ledger.own[Term.DELIVERED] == 100


def test_retry_after_is_waited_for(backend: FakeBackend, clock: FakeClock) -> None:
    """`Retry-After: 90` keeps the engine quiet for 90 seconds, however short the back-off is."""
    engine = SteppedEngine(backend, clock, batching="always", retry_delay=0.1)
    engine.log()
    backend.behaviour = failing(429, **{"retry-after": "90"})
    engine.flush(1)
    assert len(backend.usage()) == 1
    backend.behaviour = backend.well
    engine.flush(88)
    assert len(backend.usage()) == 1
    assert engine.flush(5)


def test_an_outage_brings_the_queue_to_disk(backend: FakeBackend, clock: FakeClock, tmp_path: Path) -> None:
    """With the breaker open nothing waits in memory longer than `flush_interval`: a kill would lose it."""
    engine = SteppedEngine(backend, clock, tmp_path, max_retries=0, flush_interval=1.0)
    backend.behaviour = down
    engine.log()
    engine.flush(1)
    for _ in range(20):
        engine.log()
    clock.advance(1.0)
    engine.run(3)
    assert engine.ledger.own[Term.SPOOLED] == 21


def test_fsync_interval_syncs_within_its_interval(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`fsync="interval"`: the worker syncs about half a second after a write, once."""
    synced: list[float] = []
    monkeypatch.setattr("os.fsync", lambda _fd: synced.append(clock.monotonic()))
    engine = SteppedEngine(backend, clock, tmp_path, durability="disk", fsync="interval", flush_interval=60.0)
    engine.log()
    engine.run(3)
    before = len(synced)
    engine.log()
    engine.run(3)
    assert len(synced) == before
    clock.advance(0.6)
    engine.run(3)
    assert len(synced) == before + 1
    engine.run(5)
    assert len(synced) == before + 1


def test_a_crash_of_the_worker_s_step_keeps_its_records(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """A bug in the middle of a delivery: the records in hand are still there and are sent later."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always")
    engine.log()

    def bug(_request: Request) -> Response:
        raise RuntimeError("a bug")

    backend.behaviour = bug
    clock.advance(5)
    engine.step()  # looks what is on disk
    with pytest.raises(RuntimeError):
        engine.step()
    assert engine.ledger.own[Term.IN_FLIGHT] == 1
    backend.behaviour = backend.well
    assert engine.flush(10)


def test_records_do_not_wake_a_sender_that_waits_for_its_back_off(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """It has nothing to do before the queue fills up; the caller pays for each ring."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", batch_size=10, queue_size=1000)
    backend.behaviour = failing(503, **{"retry-after": "60"})
    engine.log()
    clock.advance(2)
    engine.run()
    rings: list[int] = []

    class Sleeper(WakeUp):
        def wake(self) -> None:
            rings.append(len(engine.queue))

    engine.add_sleeper(Sleeper())
    for _ in range(800):
        engine.log()
    assert len(backend.usage()) == 1
    assert [750 <= held <= 751 for held in rings] == [True]


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
def test_a_drop_in_a_caller_is_told_though_the_senders_wait_for_their_back_off(
    backend: FakeBackend, clock: FakeClock, overflow: str
) -> None:
    """Nothing else wakes them: `on_drop` would be called when the back-off is over."""
    drops: list[tuple[str, int]] = []
    options: dict[str, Any] = {"overflow": overflow, "on_drop": lambda *drop: drops.append(drop)}
    engine = SteppedEngine(backend, clock, batching="never", queue_size=2, **options)
    backend.behaviour = failing(503, **{"retry-after": "60"})
    engine.log()
    engine.run()
    sleeper = WakeUp()
    engine.add_sleeper(sleeper)
    engine.log()
    engine.log()
    assert not sleeper.wait(0)
    engine.log()
    assert sleeper.wait(0)
    engine.step()
    assert drops == [("queue_full", 1)]
