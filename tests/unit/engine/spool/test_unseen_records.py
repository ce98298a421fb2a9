"""Records that `before_send` has not seen when a process ends: on disk, marked so, and never sent unseen."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.engine.records.ledger import Term
from banyan_hp.engine.spool.entries import UNSCRUBBED
from banyan_hp.engine.spool.lines import Line, format_line, parse_line
from banyan_hp.engine.spool.quarantine import Quarantine
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine, down


class Scrub:
    """A `before_send` that takes its time."""

    def __init__(self, clock: FakeClock, seconds: float = 0.0) -> None:
        self.clock = clock
        self.seconds = seconds
        self.seen: list[Any] = []

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        self.clock.advance(self.seconds)
        self.seen.append(record["input"])
        return {**record, "input": "scrubbed"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


def lines_on_disk(directory: Path) -> list[Line]:
    lines = [
        parse_line(line)
        for path in sorted(directory.rglob("*.v1.jsonl"))
        if "quarantine" not in path.name
        for line in path.read_bytes().splitlines()
    ]
    return [line for line in lines if line is not None]


def left_unseen(directory: Path, clock: FakeClock, count: int = 3) -> list[str]:
    """A process with a `before_send` has ended; the ids of its records."""
    engine = SteppedEngine(FakeBackend(), clock, directory, before_send=Scrub(clock))
    logged = [engine.log(f"secret {number}") for number in range(count)]
    engine.shutdown(0)
    assert engine.ledger.own[Term.SPOOLED] == count
    assert engine.balanced()
    return [record.id for record in logged if record is not None]


# -- the mark ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ident", ["plain-1", "some one's / id"])
@pytest.mark.parametrize("raw", [False, True])
def test_a_line_says_whether_before_send_has_seen_its_record(ident: str, raw: bool) -> None:
    """By the name of the field that holds it; what looks like such a field inside it does not count."""
    body = b'{"a":1,"raw":{"b":2},"body":{"c":3}}'
    line = format_line(7, ident, 1.5, body, raw=raw)
    assert (b'"t":1.500000,"raw":{' in line) == raw
    assert parse_line(line[:-1]) == Line(7, ident, 1.5, body, raw)


# -- at the end ----------------------------------------------------------------------------------------------


def test_what_before_send_has_not_seen_waits_on_disk(clock: FakeClock, tmp_path: Path) -> None:
    """Marked, as it was logged; `before_send` is not called for it, and nothing is quarantined."""
    logged = left_unseen(tmp_path, clock)
    found = lines_on_disk(tmp_path)
    assert [(line.id, line.raw) for line in found] == [(ident, True) for ident in logged]
    assert b'"secret 0"' in found[0].body
    assert not list(tmp_path.rglob("quarantine*"))


def test_the_next_process_has_its_before_send_see_them(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """They leave under their ids, scrubbed; nothing is left on disk."""
    logged = left_unseen(tmp_path, clock)
    scrub = Scrub(clock)
    engine = SteppedEngine(backend, clock, tmp_path, before_send=scrub, batching="always")
    engine.run()
    assert scrub.seen == ["secret 0", "secret 1", "secret 2"]
    assert backend.order == logged
    assert not any(b"secret" in request.body for request in backend.requests)
    assert lines_on_disk(tmp_path) == []
    assert engine.balanced()


def test_they_stay_unseen_on_disk_while_the_backend_is_down(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """A process that could not deliver them leaves them as it found them, for the one after it."""
    logged = left_unseen(tmp_path, clock)
    backend.behaviour = down
    engine = SteppedEngine(backend, clock, tmp_path, before_send=Scrub(clock), max_retries=0)
    engine.run()
    engine.shutdown(1)
    assert [(line.id, line.raw) for line in lines_on_disk(tmp_path)] == [(ident, True) for ident in logged]
    third = SteppedEngine(FakeBackend(), clock, tmp_path, before_send=Scrub(clock), batching="always")
    third.run()
    assert third.backend.order == logged


def test_a_process_without_a_before_send_quarantines_them(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """None leaves; the quarantine names the reason, and `health()` says so."""
    logged = left_unseen(tmp_path, clock)
    engine = SteppedEngine(backend, clock, tmp_path, batching="always")
    engine.log("mine")
    engine.flush(5)
    assert sum(backend.taken.values()) == 1
    assert not any(b"secret" in request.body for request in backend.requests)
    assert engine.spool is not None
    entries = Quarantine(engine.spool.directory, clock).entries()
    assert [(entry.id, entry.reason) for entry in entries] == [(ident, UNSCRUBBED) for ident in logged]
    assert all("this process has none" in entry.detail for entry in entries)
    health = engine.health()
    assert health["status"] == "degraded"
    assert health["reasons"][0].startswith("3 records quarantined: they were logged with a before_send")


def test_a_before_send_at_work_at_the_end_keeps_nothing_from_the_disk(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """One call hangs in another thread and changes its record meanwhile: all records are on disk, unseen."""
    at_work, go = threading.Event(), threading.Event()

    def hang(record: dict[str, Any]) -> dict[str, Any]:
        record["half"] = "done"
        at_work.set()
        go.wait(10)
        return record

    engine = SteppedEngine(backend, clock, tmp_path, before_send=hang, batching="always")
    for _ in range(5):
        engine.log()
    engine.core.stop_lingering()
    thread = threading.Thread(target=lambda: engine.run(3), daemon=True)
    thread.start()
    assert at_work.wait(10)
    try:
        engine.shutdown(0)
        assert engine.ledger.own[Term.SPOOLED] == 5
        assert [line.raw for line in lines_on_disk(tmp_path)] == [True] * 5
    finally:
        go.set()
        thread.join(10)
    assert not backend.usage()
    assert engine.balanced()


# -- in slices -----------------------------------------------------------------------------------------------


def test_preparing_lets_others_run_every_20_ms(
    backend: FakeBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between slices, and not at each record."""
    scrub = Scrub(clock, 0.005)
    pauses: list[int] = []
    monkeypatch.setattr(clock, "yield_", lambda: pauses.append(len(scrub.seen)), raising=False)
    engine = SteppedEngine(backend, clock, before_send=scrub, batching="always", batch_size=20)
    for _ in range(20):
        engine.log()
    engine.flush(5)
    assert sum(backend.taken.values()) == 20
    assert pauses == [4, 8, 12, 16]


def test_preparing_stops_when_the_engine_stops(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Within a slice; what was not prepared is on disk, unseen."""
    engine: SteppedEngine

    def before_send(record: dict[str, Any]) -> dict[str, Any]:
        clock.advance(0.005)
        if record["input"] == 3:
            engine.core.ending.stop_sending()
        return record

    engine = SteppedEngine(backend, clock, tmp_path, before_send=before_send, batching="always")
    for number in range(20):
        engine.log(number)
    engine.core.stop_lingering()
    engine.run(3)
    engine.shutdown(0)
    assert not backend.usage()
    assert [line.raw for line in lines_on_disk(tmp_path)] == [False] * 4 + [True] * 16
    assert engine.ledger.own[Term.SPOOLED] == 20
    assert engine.balanced()


def test_a_slow_before_send_does_not_outlast_a_flush(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Where the caller does the work: the deadline holds, and what was prepared is not prepared again."""
    scrub = Scrub(clock, 0.01)
    engine = SteppedEngine(backend, clock, tmp_path, before_send=scrub, batching="always")
    for number in range(100):
        engine.log(number)
    began = clock.monotonic()
    assert not engine.flush(0.5)
    assert clock.monotonic() - began < 0.55
    assert engine.flush(5)
    assert scrub.seen == list(range(100))
    assert engine.balanced()
