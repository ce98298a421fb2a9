"""One of a collector's endpoints is missing: what belongs there waits, and all else goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from banyan_hp.destinations.collector import collector_of
from banyan_hp.destinations.otlp import OtlpDestination
from banyan_hp.engine.http.response import Response
from banyan_hp.engine.http.transport import Request
from banyan_hp.engine.policy.endpoints import MOST_IN_MEMORY
from banyan_hp.settings import Settings
from tests.support.clock import FakeClock
from tests.support.otlp import attributes, log_records_in, parsed_body
from tests.support.stepped import FakeBackend, SteppedEngine, json_answer

LOGS = "http://host:4318/v1/logs"
SCORE = {"kind": "score", "v": 1, "name": "thumbs", "value": True, "record_id": "r9"}


class Collector(FakeBackend):
    """Has an endpoint for logs, or has none."""

    def __init__(self) -> None:
        super().__init__()
        self.has_logs = False
        self.scores: list[str] = []
        self.behaviour = self.respond

    def respond(self, request: Request) -> Response:
        if request.url != LOGS:
            return json_answer(200, {})
        if not self.has_logs:
            return json_answer(404, {"message": "Not Found"})
        found = log_records_in(parsed_body(request.url, "application/json", request.body))
        self.scores += [attributes(each)["banyan.record.id"] for each in found]
        return json_answer(200, {})

    def asked(self) -> int:
        return sum(request.url == LOGS for request in self.requests)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def engine_of(collector: Collector, clock: FakeClock, directory: Path | None) -> SteppedEngine:
    settings = Settings(export_to="otlp", otlp_endpoint="http://host:4318", otlp_protocol="http/json")
    return SteppedEngine(collector, clock, directory, destination=OtlpDestination(collector_of(settings)))


def log(engine: SteppedEngine, **metadata: Any) -> None:
    engine.submit({"input": "", "output": "", "metadata": metadata})


def run(engine: SteppedEngine, clock: FakeClock, seconds: float) -> None:
    for _ in range(20):
        clock.advance(seconds / 20)
        engine.run(20)
        assert engine.balanced()


def test_scores_wait_until_the_endpoint_is_there(clock: FakeClock, tmp_path: Path) -> None:
    """Meanwhile one request a minute asks for it; then all go, each once."""
    collector = Collector()
    engine = engine_of(collector, clock, tmp_path)
    for number in range(300):
        log(engine, banyan_hp=SCORE)
        log(engine, number=number)
    run(engine, clock, 10)
    stats = engine.stats()
    assert (stats["logs_sent"], stats["logs_spooled"], stats["logs_quarantined"]) == (300, 300, 0)
    assert collector.asked() == 1
    run(engine, clock, 600)
    assert 6 <= collector.asked() <= 14
    assert engine.stats()["logs_spooled"] == 300
    collector.has_logs = True
    run(engine, clock, 120)
    assert engine.stats()["logs_sent"] == 600
    assert len(collector.scores) == len(set(collector.scores)) == 300
    assert engine.health()["status"] == "ok"


def test_a_flush_and_the_end_do_not_wait_for_the_endpoint(clock: FakeClock, tmp_path: Path) -> None:
    """The result says that not all is delivered; the next process takes over what is on disk."""
    collector = Collector()
    engine = engine_of(collector, clock, tmp_path)
    log(engine, banyan_hp=SCORE)
    log(engine)
    before = clock.monotonic()
    result = engine.flush(60)
    assert (result.delivered, result.spooled, result.pending, result.lost) == (False, 1, 0, 0)
    assert engine.shutdown(60).spooled == 1
    assert clock.monotonic() - before < 5
    collector.has_logs = True
    later = engine_of(collector, clock, tmp_path)
    run(later, clock, 120)
    assert later.stats()["logs_recovered"] == 1


def test_what_others_left_for_a_missing_endpoint_is_read_once(clock: FakeClock, tmp_path: Path) -> None:
    """More segments than can be held at once make no busy circle."""
    collector = Collector()
    for _ in range(20):
        earlier = engine_of(collector, clock, tmp_path)
        log(earlier, banyan_hp=SCORE)
        earlier.shutdown(1)
        clock.advance(1)
    asked = collector.asked()
    engine = engine_of(collector, clock, tmp_path)
    engine.run(200)
    assert engine.health()["status"] == "degraded"
    assert collector.asked() == asked + 1
    assert engine.flush(60).backlog <= 20
    engine.run(200)
    assert not engine.scheduler.backlog.is_there(None)
    collector.has_logs = True
    run(engine, clock, 240)
    assert engine.stats()["logs_recovered"] == 20


def test_without_a_disk_a_bounded_number_waits_in_memory(clock: FakeClock) -> None:
    """What is beyond it is dropped, and counted."""
    collector = Collector()
    engine = engine_of(collector, clock, None)
    for _ in range(MOST_IN_MEMORY + 70):
        log(engine, banyan_hp=SCORE)
    run(engine, clock, 10)
    stats = engine.stats()
    assert stats["drops"] == {"queue_full": 70}
    assert stats["in_flight"] == MOST_IN_MEMORY
    collector.has_logs = True
    run(engine, clock, 240)
    assert len(set(collector.scores)) == MOST_IN_MEMORY


def test_a_new_address_is_asked_at_once(clock: FakeClock, tmp_path: Path) -> None:
    """What was missing under the old one need not be missing under the new one."""
    collector = Collector()
    engine = engine_of(collector, clock, tmp_path)
    for _ in range(3):
        log(engine, banyan_hp=SCORE)
    run(engine, clock, 5)
    collector.has_logs = True
    engine.parts.reconfigure(engine.parts.setup.destination, engine.parts.settings)
    assert engine.health()["status"] == "ok"
    run(engine, clock, 5)
    assert len(collector.scores) == 3
