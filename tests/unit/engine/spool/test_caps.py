"""What is given up where the queue or the disk is full, step by step: fake clock, fake backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from banyan_hp.engine.records.ledger import Term
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine, down


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


def test_the_spool_s_cap_gives_up_the_oldest_and_counts_them(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Beyond `spool_max_bytes` the oldest records are dropped as `spool_full`, and the sum still holds."""
    engine = SteppedEngine(
        backend, clock, tmp_path, max_retries=0, spool_max_bytes=100_000, batch_size=10, batching="always"
    )
    backend.behaviour = down
    for number in range(300):
        engine.log(f"{number} " + "x" * 1000)
    engine.flush(10)
    own = engine.ledger.own
    assert own.drops["spool_full"] == own[Term.DROPPED] > 150
    assert own[Term.SPOOLED] + own[Term.DROPPED] == 300
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.jsonl")) <= 100_000
    backend.behaviour = backend.well
    engine.flush(60)
    assert own[Term.DELIVERED] == 300 - own[Term.DROPPED]


def test_records_too_old_are_dropped_and_counted(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """What has waited longer than `spool_max_age` is dropped as `spool_expired`."""
    engine = SteppedEngine(backend, clock, tmp_path, max_retries=0, batching="always")
    backend.behaviour = down
    for _ in range(5):
        engine.log()
    engine.shutdown(1)
    clock.advance(8 * 24 * 3600)
    backend.behaviour = backend.well
    later = SteppedEngine(backend, clock, tmp_path, batching="always")
    later.log()
    for _ in range(20):
        later.step()
    assert later.flush(10)
    assert later.ledger.adopted.drops == {"spool_expired": 5}
    assert backend.taken.total() == 1
    assert later.balanced()


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_a_durable_record_is_never_dropped_by_a_full_queue(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, policy: str
) -> None:
    """With `durability="disk"` a record that the queue can't hold is on disk already, and stays there."""
    engine = SteppedEngine(
        backend, clock, tmp_path, durability="disk", queue_size=10, overflow=policy, batching="always"
    )
    for _ in range(50):
        engine.log()
    assert engine.ledger.own[Term.DROPPED] == 0
    assert engine.balanced()
    assert engine.flush(60)
    assert engine.ledger.own[Term.DELIVERED] == 50
    assert max(backend.taken.values()) == 1


def test_a_write_larger_than_the_room_left_saves_what_fits(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Near the spool's cap a large batch does not take the whole backlog with it and then fail."""
    engine = SteppedEngine(
        backend, clock, tmp_path, batching="always", max_retries=0, spool_max_bytes=1024 * 1024, batch_size=60
    )
    backend.behaviour = down
    for _ in range(100):
        engine.log("x" * 20_000)
    engine.shutdown(1)
    own = engine.ledger.own
    assert own[Term.SPOOLED] >= 35
    assert own[Term.SPOOLED] + own[Term.DROPPED] == 100


def test_the_cap_forgets_what_others_have_sent(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Segments of another process that are gone by now no longer count against the cap."""
    options: dict[str, Any] = {"batching": "always", "max_retries": 0, "spool_max_bytes": 200_000}
    other = SteppedEngine(backend, clock, tmp_path, **options)
    backend.behaviour = down
    for _ in range(150):
        other.log("x" * 1000)
    other.flush(5)
    engine = SteppedEngine(backend, clock, tmp_path, **options)
    engine.log()
    engine.run(3)  # has seen the other's segments
    backend.behaviour = backend.well
    clock.advance(100)
    assert other.flush(60)
    other.shutdown(1)
    backend.behaviour = down
    for _ in range(100):
        engine.log("x" * 1000)
    engine.shutdown(1)
    assert engine.ledger.own[Term.DROPPED] == 0
