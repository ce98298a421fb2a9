"""What is said of a destination's trouble, and how often: fake clock, fake backend."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from banyan_hp import logs
from banyan_hp.destinations.banyan import BanyanDestination
from banyan_hp.settings import Settings
from tests.support.clock import FakeClock
from tests.support.stepped import URL, FakeBackend, SteppedEngine, down, failing

HOUR = 3600.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Of the engine, and of the lines' rate."""
    clock = FakeClock()
    monkeypatch.setattr(logs, "monotonic", clock.monotonic)
    return clock


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


def go_on(engine: SteppedEngine, seconds: float) -> None:
    """Log, and let the engine probe for that long."""
    end = engine.clock.monotonic() + seconds
    while engine.clock.monotonic() < end:
        engine.log()
        engine.clock.advance(10)
        engine.run(4)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The beginnings of the lines; forgets them."""
    found = [record.getMessage()[:24] for record in caplog.records]
    caplog.clear()
    return found


def test_an_outage_is_said_once_after_the_retries_and_again_at_the_next_one(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However long it takes, and however many probes fail."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", max_retries=2)
    backend.behaviour = down
    engine.log()
    engine.clock.advance(5)
    engine.step()
    assert said(caplog) == []
    go_on(engine, HOUR)
    assert said(caplog) == ["the backend can't be rea"]
    backend.behaviour = backend.well
    go_on(engine, 300)
    backend.behaviour = down
    go_on(engine, HOUR)
    assert said(caplog) == ["the backend can't be rea"]


def test_an_outage_shortly_after_another_is_said_all_the_same(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As soon as a minute has passed: a line that was held back is not lost."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", max_retries=0, retry_delay=0)
    for behaviour in (down, backend.well, down):
        backend.behaviour = behaviour
        engine.log()
        engine.clock.advance(3)
        engine.run(4)
    assert said(caplog) == ["the backend can't be rea"]
    go_on(engine, HOUR)
    assert said(caplog) == ["the backend can't be rea"]


def test_another_key_that_is_refused_is_said_again(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And another kind of trouble is another line."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always")
    backend.behaviour = failing(401)
    go_on(engine, HOUR)
    assert said(caplog) == ["the backend refuses the "]
    settings = Settings(background_thread=False, spool_dir=tmp_path, previous_keys=["psk_test"])
    engine.reconfigure(BanyanDestination(URL, "psk_new", None), settings)
    go_on(engine, HOUR)
    assert said(caplog) == ["the backend refuses the "]
    backend.behaviour = failing(404)
    go_on(engine, HOUR)
    assert said(caplog) == ["the base URL or the acco"]


def test_the_end_of_an_outage_is_said_for_who_wants_to_know(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At INFO."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always")
    backend.behaviour = down
    go_on(engine, 600)
    caplog.clear()
    backend.behaviour = backend.well
    with caplog.at_level(logging.INFO, "banyan_hp"):
        go_on(engine, 600)
    assert [record.getMessage() for record in caplog.records] == [f"{URL} takes records again"]


def test_a_backend_that_refuses_everything_is_said_once(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without its words, which may repeat the records; `health()` has them."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="never")
    backend.behaviour = failing(422)
    go_on(engine, HOUR)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{URL} refused 5 records in a row")
    assert "status 422" not in line
    assert "status 422" in str(engine.health()["reasons"])
