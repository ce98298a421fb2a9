"""Records that fail on their own, in an engine: fake clock, fake backend, no threads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.engine.http.response import Response
from banyan_hp.engine.http.transport import NoResponse, Request
from banyan_hp.engine.policy.suspects import POISON_ATTEMPTS, POISON_SECONDS
from banyan_hp.engine.records.ledger import Term
from banyan_hp.engine.records.record import Record
from banyan_hp.engine.spool.spool import Spool
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine, failing, json_answer

PAGE = Response(400, {"content-type": "text/html"}, b"<h1>400 No required SSL certificate was sent</h1>")
MODES = pytest.mark.parametrize("mode", ["never", "always", "always, whole"])


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Model(FakeBackend):
    """Refuses or fails records by their first word; with `whole` one bad record costs the batch."""

    def __init__(self, mode: str) -> None:
        super().__init__(batches=mode != "never")
        self.whole = mode.endswith("whole")
        self.statuses = {"bad": 422, "poison": 503}
        self.everything: int | None = None
        self.as_page = False  # what fails, fails on the way to the API
        self.behaviour = self.judge

    def judge(self, request: Request) -> Response | NoResponse:
        if self.everything is not None:
            return PAGE if self.as_page else json_answer(self.everything, {"error": "everything"})
        statuses = {self.status_of(body) for body in bodies(request)} - {201}
        single = "Idempotency-Key" in request.headers
        if statuses and self.as_page:
            return PAGE
        if statuses and (self.whole or single or 503 in statuses):
            return json_answer(max(statuses), {"error": "one of these"})
        self.refuses = lambda body: self.status_of(body) != 201
        return self.well(request)

    def status_of(self, body: Any) -> int:
        return self.statuses.get(str(body["input"]).partition(" ")[0], 201)


def bodies(request: Request) -> list[Any]:
    if not request.body:
        return []
    body = json.loads(request.body)
    return [record["body"] for record in body["records"]] if "records" in body else [body]


def engine_for(model: Model, clock: FakeClock, tmp_path: Path | None, **options: Any) -> SteppedEngine:
    batching = "always" if model.batches else "never"
    return SteppedEngine(model, clock, tmp_path, batching=batching, **options)


def logged(engine: SteppedEngine, kind: str, count: int) -> list[Record]:
    records = [engine.log(f"{kind} {number}") for number in range(count)]
    return [record for record in records if record is not None]


def run_for(engine: SteppedEngine, seconds: float, done: Callable[[], bool] = lambda: False) -> float:
    """Steps until `done`, or for this many seconds; returns how many it took."""
    began = engine.clock.monotonic()
    while not done() and engine.clock.monotonic() < began + seconds:
        engine.step(longest_wait=max(0.0, began + seconds - engine.clock.monotonic()))
    return engine.clock.monotonic() - began


def arrived(engine: SteppedEngine, records: list[Record]) -> bool:
    return all(record.id in engine.backend.taken for record in records)


def all_in(term: Term, records: list[Record]) -> bool:
    return all(record.term is term for record in records)


# -- refused -------------------------------------------------------------------------------------------------


@MODES
@pytest.mark.parametrize("bad", [5, 12])
@pytest.mark.parametrize("on_disk", [True, False])
def test_good_records_follow_a_burst_of_refused_ones_within_seconds(
    clock: FakeClock, tmp_path: Path, mode: str, bad: int, *, on_disk: bool
) -> None:
    """The newest record is a probe, too; once it is accepted, the refused ones are put aside."""
    engine = engine_for(Model(mode), clock, tmp_path if on_disk else None)
    refused = logged(engine, "bad", bad)
    run_for(engine, 1.0)
    good = logged(engine, "good", 20)
    assert run_for(engine, 60.0, lambda: arrived(engine, good)) <= 25.0
    for _ in range(3):
        logged(engine, "good", 1)
        run_for(engine, 10.0)
    assert engine.ledger.own[Term.QUARANTINED if on_disk else Term.DROPPED] == len(refused)
    assert engine.balanced()


@MODES
def test_a_steady_flow_behind_a_burst_of_refused_records_is_delivered(
    clock: FakeClock, tmp_path: Path, mode: str
) -> None:
    """Twelve 400s in a row, then a good record a second: none of them waits for long."""
    engine = engine_for(Model(mode), clock, tmp_path)
    refused = logged(engine, "bad", 12)
    good: list[Record] = []
    for _ in range(60):
        good += logged(engine, "good", 1)
        run_for(engine, 1.0)
    assert sum(record.id in engine.backend.taken for record in good) >= 58
    assert engine.ledger.own[Term.QUARANTINED] == len(refused)


@MODES
@pytest.mark.parametrize("count", [1, 4, 40])
def test_an_outage_of_refusals_quarantines_nothing(
    clock: FakeClock, tmp_path: Path, mode: str, count: int
) -> None:
    """400 to everything, for an hour: all stays on disk, and is delivered when the backend takes it again."""
    model = Model(mode)
    engine = engine_for(model, clock, tmp_path)
    early = logged(engine, "good", 1)
    assert engine.flush(10)
    model.everything = 400
    logged(engine, "good", count)
    assert not engine.flush(10)
    run_for(engine, 3600.0)
    assert engine.ledger.own[Term.QUARANTINED] == 0
    model.everything = None
    run_for(engine, 300.0)
    assert engine.ledger.own[Term.DELIVERED] == count + len(early)
    assert max(model.taken.values()) == 1


def test_probes_are_seconds_apart_while_everything_is_refused(clock: FakeClock, tmp_path: Path) -> None:
    """A backend that refuses everything gets a request every two to five seconds."""
    model = Model("never")
    model.everything = 400
    engine = engine_for(model, clock, tmp_path)
    logged(engine, "good", 300)
    run_for(engine, 20.0)
    before = len(model.requests)
    run_for(engine, 300.0)
    assert 60 <= len(model.requests) - before <= 150


def test_what_is_refused_survives_the_process(clock: FakeClock, tmp_path: Path) -> None:
    """A shutdown leaves refused records on disk; the next process finds out which of them are bad."""
    model = Model("never")
    model.everything = 400
    engine = engine_for(model, clock, tmp_path)
    logged(engine, "good", 3)
    logged(engine, "bad", 3)
    assert not engine.shutdown(5)
    assert engine.ledger.own[Term.SPOOLED] == 6
    model.everything = None
    later = engine_for(model, clock, tmp_path)
    for _ in range(3):
        logged(later, "good", 1)
        run_for(later, 60.0)
    adopted = later.ledger.adopted
    assert (adopted[Term.DELIVERED], adopted[Term.QUARANTINED]) == (3, 3)


def test_a_flush_does_not_wait_for_refused_records(clock: FakeClock, tmp_path: Path) -> None:
    """It returns as soon as all that can be done is done, and says that something is left."""
    engine = engine_for(Model("never"), clock, tmp_path)
    logged(engine, "bad", 2)
    began = clock.monotonic()
    result = engine.flush(60)
    assert (bool(result), result.spooled, result.pending) == (False, 2, 0)
    assert clock.monotonic() - began < 1.0


# -- conflicts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batching", ["never", "always"])
def test_a_conflict_at_the_first_attempt_is_a_refusal(
    clock: FakeClock, tmp_path: Path, batching: str
) -> None:
    """ "project is archived": each such record is put aside, and nothing is held up."""
    backend = FakeBackend()
    backend.behaviour = failing(409)
    engine = SteppedEngine(backend, clock, tmp_path, batching=batching)
    refused = logged(engine, "any", 8)
    assert not engine.flush(10)
    assert all_in(Term.QUARANTINED, refused)
    assert not engine.breaker.is_open


def test_a_conflict_after_an_attempt_is_a_delivery(clock: FakeClock, tmp_path: Path) -> None:
    """The response was lost, the record was not: the backend knows its id."""
    backend = FakeBackend()
    backend.behaviour = failing(503)
    engine = SteppedEngine(backend, clock, tmp_path, batching="never", retry_delay=0.1)
    logged(engine, "any", 1)
    engine.run(3)
    backend.behaviour = failing(409)
    assert engine.flush(10)
    assert engine.ledger.own[Term.DELIVERED] == 1


def test_a_conflict_of_a_record_from_the_disk_is_a_delivery(clock: FakeClock, tmp_path: Path) -> None:
    """An earlier process may have sent it."""
    backend = FakeBackend()
    backend.behaviour = failing(503)
    earlier = SteppedEngine(backend, clock, tmp_path, batching="never")
    logged(earlier, "any", 3)
    earlier.shutdown(1)
    backend.behaviour = failing(409)
    engine = SteppedEngine(backend, clock, tmp_path, batching="never")
    engine.run()
    assert engine.ledger.adopted[Term.DELIVERED] == 3


def test_a_conflict_about_the_id_is_always_a_refusal(clock: FakeClock, tmp_path: Path) -> None:
    """Another record has that id: nothing of ours was stored, however often it was tried."""
    backend = FakeBackend()
    backend.behaviour = failing(503)
    engine = SteppedEngine(backend, clock, tmp_path, batching="never", retry_delay=0.1)
    logged(engine, "any", 1)
    engine.run(3)
    backend.behaviour = lambda _request: json_answer(409, {"error": "taken", "code": "id_conflict"})
    assert not engine.flush(10)
    assert engine.ledger.own[Term.QUARANTINED] == 1


# -- refused on the way to the API ---------------------------------------------------------------------------


@MODES
@pytest.mark.parametrize("on_disk", [True, False])
def test_a_page_of_a_proxy_quarantines_nothing_even_if_it_comes_and_goes(
    clock: FakeClock, tmp_path: Path, mode: str, *, on_disk: bool
) -> None:
    """One node of several answers 400 with HTML: all records stay, and arrive."""
    model = Model(mode)
    model.as_page = True
    engine = engine_for(model, clock, tmp_path if on_disk else None)
    logs = logged(engine, "good", 1)
    assert engine.flush(10)
    for _ in range(10):
        model.everything = 400
        logs += logged(engine, "good", 3)
        run_for(engine, 20.0)
        assert engine.breaker.state == "misconfigured"
        assert engine.notices.last_error is not None
        assert "400 an HTML page" in engine.notices.last_error
        assert "No required SSL certificate" in engine.notices.last_error
        model.everything = None
        run_for(engine, 20.0)
    run_for(engine, 60.0)
    assert arrived(engine, logs)
    assert engine.ledger.own[Term.DELIVERED] == len(logs)
    assert engine.balanced()


@MODES
def test_a_record_that_a_firewall_refuses_holds_up_no_other_one_and_is_kept(
    clock: FakeClock, tmp_path: Path, mode: str
) -> None:
    """The firewall may be told to let it pass: it rests like a record that always fails, and then arrives."""
    model = Model(mode)
    model.as_page = True
    engine = engine_for(model, clock, tmp_path)
    good = logged(engine, "good", 5)
    bad = logged(engine, "bad", 1)
    good += logged(engine, "good", 5)
    for _ in range(120):
        good += logged(engine, "good", 5)
        run_for(engine, 1.0)
    assert sum(record.id not in model.taken for record in good) <= 10
    run_for(engine, 3600.0)
    assert arrived(engine, good)
    assert engine.ledger.own[Term.QUARANTINED] == 0
    model.statuses = {}
    run_for(engine, 1000.0)
    assert engine.breaker.state == "online"
    assert arrived(engine, bad)
    assert engine.balanced()


# -- poison --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 100, 199])
@pytest.mark.parametrize("max_retries", [0, 3])
def test_one_record_that_always_fails_costs_its_batch_seconds(
    clock: FakeClock, tmp_path: Path, place: int, max_retries: int
) -> None:
    """A batch that fails is halved until the record stands alone; the other 199 are delivered."""
    engine = engine_for(Model("always"), clock, tmp_path, max_retries=max_retries)
    good = logged(engine, "good", place)
    logged(engine, "poison", 1)
    good += logged(engine, "good", 199 - place)
    assert run_for(engine, 120.0, lambda: arrived(engine, good)) <= 20.0


def test_a_tenth_of_failing_records_does_not_stop_the_rest(clock: FakeClock, tmp_path: Path) -> None:
    """Batches get smaller while they fail, and larger again."""
    engine = engine_for(Model("always"), clock, tmp_path)
    good: list[Record] = []
    for _ in range(20):
        logged(engine, "poison", 1)
        good += logged(engine, "good", 9)
    assert run_for(engine, 900.0, lambda: arrived(engine, good)) <= 400.0
    more = logged(engine, "good", 500)
    run_for(engine, 60.0, lambda: arrived(engine, more))
    assert arrived(engine, more)


def test_fresh_traffic_flows_beside_records_that_always_fail(clock: FakeClock, tmp_path: Path) -> None:
    """Twenty of them on a backend without batches, and 50 records a second: no backlog grows."""
    engine = engine_for(Model("never"), clock, tmp_path)
    logged(engine, "poison", 20)
    good: list[Record] = []
    for _ in range(120):
        good += logged(engine, "good", 25)
        run_for(engine, 0.5)
    waiting = sum(record.id not in engine.backend.taken for record in good)
    assert waiting <= 50


def test_poison_is_put_aside_after_a_day_of_failing_beside_others(clock: FakeClock, tmp_path: Path) -> None:
    """Twenty attempts over a day, each with acceptances around it; then it is in the quarantine."""
    model = Model("never")
    engine = engine_for(model, clock, tmp_path)
    logged(engine, "poison", 1)
    began = clock.monotonic()
    while not engine.ledger.own[Term.QUARANTINED]:
        logged(engine, "good", 1)
        run_for(engine, 30.0)
        assert clock.monotonic() - began < 3 * POISON_SECONDS
    assert clock.monotonic() - began >= POISON_SECONDS
    assert sum(b"poison" in request.body for request in model.requests) >= POISON_ATTEMPTS
    (kept,) = tmp_path.rglob("quarantine.v1.jsonl")
    assert '"reason":"poison","status":503' in kept.read_text()


def test_an_outage_of_days_quarantines_nothing(clock: FakeClock, tmp_path: Path) -> None:
    """Without acceptances around them attempts do not count."""
    model = Model("never")
    engine = engine_for(model, clock, tmp_path)
    logged(engine, "good", 1)
    assert engine.flush(5)
    model.everything = 503
    late = logged(engine, "good", 10)
    run_for(engine, 1.1 * POISON_SECONDS)
    assert engine.ledger.own[Term.QUARANTINED] == 0
    model.everything = None
    run_for(engine, 60.0)
    assert engine.ledger.own[Term.DELIVERED] == 1 + len(late)


def test_what_is_known_of_a_failing_record_outlasts_an_outage(clock: FakeClock, tmp_path: Path) -> None:
    """It goes to disk and comes back, and its attempts still count."""
    model = Model("never")
    engine = engine_for(model, clock, tmp_path, max_retries=0)
    logged(engine, "poison", 1)
    for _ in range(10):
        logged(engine, "good", 1)
        run_for(engine, 30.0)
    model.everything = 503
    run_for(engine, 600.0)
    model.everything = None
    logged(engine, "good", 1)
    run_for(engine, 30.0)
    suspects = engine.scheduler.suspects
    (suspect,) = suspects._due  # private: a suspect shows in nothing but what becomes of it
    assert suspect.history is not None
    assert suspect.history.counted >= 3


@MODES
def test_a_refused_record_on_disk_stays_there_while_the_quarantine_can_t_be_written(
    clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """It would be lost, in the end uncounted; it is put aside when there is room again."""
    model = Model(mode)
    engine = engine_for(model, clock, tmp_path, durability="disk")
    with monkeypatch.context() as full:
        full.setattr(Spool, "quarantine", lambda *_: False)
        logged(engine, "bad", 2)
        for _ in range(5):
            logged(engine, "good", 1)
            run_for(engine, 30.0)
        assert engine.ledger.own[Term.DROPPED] == engine.ledger.own[Term.QUARANTINED] == 0
        assert engine.ledger.own[Term.SPOOLED] == 2
        assert len(model.requests) < 200
    for _ in range(5):
        logged(engine, "good", 1)
        run_for(engine, 60.0)
    assert engine.ledger.own[Term.QUARANTINED] == 2
    assert engine.balanced()
