"""The end of an engine, step by step: fake clock, fake backend, no threads."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.engine.records.ledger import Term
from banyan_hp.engine.records.record import Record
from banyan_hp.engine.sync import WakeUp
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine, down, failing


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.mark.parametrize("max_retries", [3, 0])
def test_shutdown_does_not_wait_for_a_retry_after_it_cannot_keep(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, max_retries: int
) -> None:
    """Told to wait a minute and given a second: to disk at once, without another request."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", max_retries=max_retries)
    engine.log()
    backend.behaviour = failing(429, **{"retry-after": "60"})
    engine.flush(0.5)
    began = clock.monotonic()
    assert not engine.shutdown(1)
    assert clock.monotonic() - began < 0.5
    assert (len(backend.usage()), engine.ledger.own[Term.SPOOLED]) == (1, 1)


def test_shutdown_tries_once_more(backend: FakeBackend, clock: FakeClock, tmp_path: Path) -> None:
    """In the middle of a back-off shutdown makes one attempt at once; if it fails, all is on disk."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", retry_delay=30.0, batch_size=5)
    backend.behaviour = down
    for _ in range(20):
        engine.log()
    engine.run(1)
    before = len(backend.usage())
    assert not engine.shutdown(60)
    assert len(backend.usage()) == before + 1
    assert engine.ledger.own[Term.SPOOLED] == 20


def test_without_a_disk_records_wait_in_memory(backend: FakeBackend, clock: FakeClock) -> None:
    """`spool=False`: exhausted retries drop nothing; the records wait, and are sent when it works again."""
    engine = SteppedEngine(backend, clock, batching="always", max_retries=1)
    backend.behaviour = down
    for _ in range(30):
        engine.log()
    assert not engine.flush(60)
    assert engine.ledger.own[Term.DROPPED] == 0
    assert engine.ledger.own[Term.QUEUED] + engine.ledger.own[Term.IN_FLIGHT] == 30
    backend.behaviour = backend.well
    assert engine.flush(60)
    assert engine.ledger.own[Term.DELIVERED] == 30


def test_shutdown_without_a_disk_counts_what_it_loses(backend: FakeBackend, clock: FakeClock) -> None:
    """`spool=False` and the backend down at the end: dropped, with the reason `shutdown`."""
    drops: list[tuple[str, int]] = []
    engine = SteppedEngine(
        backend,
        clock,
        batching="always",
        max_retries=0,
        on_drop=lambda reason, count: drops.append((reason, count)),
    )
    backend.behaviour = down
    for _ in range(7):
        engine.log()
    result = engine.shutdown(5)
    assert (bool(result), result.lost) == (False, 7)
    assert drops == [("shutdown", 7)]
    assert engine.balanced()


def test_shutdown_does_not_wait_for_a_backlog_it_cannot_send(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Records read back from disk for a probe go back to disk when the last attempt has failed."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", max_retries=0)
    backend.behaviour = down
    for _ in range(50):
        engine.log()
    engine.flush(5)
    for _ in range(20):
        engine.step(longest_wait=10.0)
    began = clock.monotonic()
    assert not engine.shutdown(30)
    assert clock.monotonic() - began < 1.0
    assert engine.ledger.own[Term.SPOOLED] == 50


def test_a_flush_after_shutdown_tells_the_truth(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Records that shutdown left on disk are not delivered, whoever asks."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", max_retries=0)
    backend.behaviour = down
    engine.log()
    engine.shutdown(1)
    assert not engine.flush(1)


def test_a_failed_write_at_the_end_is_a_counted_loss(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shutdown finds a record being written; the write fails: it is dropped as `shutdown`, not in limbo."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", max_retries=0)
    backend.behaviour = down
    engine.log()

    def shut_down_and_fail(*_args: object, **_options: object) -> None:
        engine.shutdown(0)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("banyan_hp.engine.spool.segment.Segment.write", shut_down_and_fail)
    engine.flush(5)
    assert engine.ledger.own.drops == {"shutdown": 1}
    assert engine.balanced()


def test_a_record_that_comes_after_the_end_is_not_queued(
    backend: FakeBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepted before the end, placed after it: counted as dropped, not left in a queue nobody empties."""
    engine = SteppedEngine(backend, clock, queue_size=1, batching="always")
    engine.log()
    # private: there is no other moment between the acceptance of a record and its place
    overflow = engine.core.intake._overflow

    def end_first(record: Record) -> None:
        engine.shutdown(0)
        overflow(record)

    # private: likewise
    monkeypatch.setattr(engine.core.intake, "_overflow", end_first)
    engine.log()
    own = engine.ledger.own
    assert own[Term.QUEUED] == own[Term.IN_FLIGHT] == 0
    assert engine.balanced()


class _Releasing(FakeClock):
    """Opens a gate as soon as somebody waits, and waits for what comes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def wait(self, wake_up: WakeUp, seconds: float) -> bool:
        self.gate.set()
        return wake_up.wait(10)


def test_shutdown_closes_the_disk_behind_a_record_that_a_caller_is_writing(
    backend: FakeBackend, tmp_path: Path
) -> None:
    """Another thread's `log` was accepted and is not on disk yet when all else of the end is done."""
    clock, accepted = _Releasing(), threading.Event()

    def slow(body: dict[str, Any]) -> dict[str, Any]:
        accepted.set()
        clock.gate.wait(10)
        return body

    engine = SteppedEngine(backend, clock, tmp_path, durability="disk", before_send=slow)
    caller = threading.Thread(target=engine.log)
    caller.start()
    assert accepted.wait(10)
    engine.shutdown(0)
    clock.gate.set()
    caller.join()
    own = engine.ledger.own
    assert (own[Term.SPOOLED], own[Term.DROPPED]) == (1, 0)
