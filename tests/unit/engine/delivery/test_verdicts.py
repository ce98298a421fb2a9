"""What becomes of records by what the backend says of them, step by step: fake clock, fake backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from banyan_hp.engine.http.response import Response
from banyan_hp.engine.http.transport import NoResponse, Request
from banyan_hp.engine.records.ledger import Term
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine, failing, json_answer


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


def test_per_record_verdicts_are_acted_on_one_by_one(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """One answer: delivered, refused, unwell, not mentioned. Each record goes its own way."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always")
    records = [engine.log(name) for name in ("fine", "refused", "unwell", "forgotten")]
    ids = [record.id for record in records if record is not None]

    def mixed(_request: Request) -> Response:
        statuses = zip(ids[:3], (201, 422, 503), strict=True)
        return json_answer(200, {"results": [{"id": ident, "status": status} for ident, status in statuses]})

    backend.behaviour = mixed
    clock.advance(5)
    engine.run(2)
    assert [record.term for record in records if record is not None] == [
        Term.DELIVERED,
        Term.QUARANTINED,
        Term.IN_FLIGHT,
        Term.IN_FLIGHT,
    ]
    backend.behaviour = backend.well
    result = engine.flush(30)
    assert (result.lost, result.pending, bool(result)) == (1, 0, False)
    assert backend.order == ids[2:]
    assert engine.flush(30)  # the refused one has been told of


def test_a_late_answer_is_ignored_after_shutdown_took_the_record(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """A record is settled once: what shutdown has spooled stays spooled, whatever the socket says later."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always")
    record = engine.log()

    def shut_down_meanwhile(request: Request) -> Response | NoResponse:
        engine.shutdown(0)
        return backend.well(request)

    backend.behaviour = shut_down_meanwhile
    engine.run(1)
    clock.advance(2.0)
    engine.run(1)
    assert record is not None
    assert record.term is Term.SPOOLED
    assert engine.balanced()


def test_refusals_in_a_row_hold_and_a_good_record_ends_the_hold(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Six bad records look like a broken backend, and none is put aside before a good one is accepted."""
    backend.batches = False
    backend.refuses = lambda body: body["input"] == "bad"
    engine = SteppedEngine(backend, clock, tmp_path, batching="never")
    for _ in range(6):
        engine.log("bad")
    engine.flush(10)
    assert (engine.breaker.state, engine.ledger.own[Term.QUARANTINED]) == ("misconfigured", 0)
    engine.log("good")
    for _ in range(300):
        engine.step(longest_wait=100.0)
    own = engine.ledger.own
    assert (own[Term.DELIVERED], own[Term.QUARANTINED], own[Term.SPOOLED]) == (1, 6, 0)
    assert engine.balanced()


def test_a_discovery_that_meets_an_outage_is_asked_again(backend: FakeBackend, clock: FakeClock) -> None:
    """A 503 to the empty batch means one by one for now; after the recovery it is asked again."""
    engine = SteppedEngine(backend, clock, batch_size=10)
    backend.behaviour = failing(503)
    for _ in range(40):
        engine.log()
    engine.run(3)
    backend.behaviour = backend.well
    assert engine.flush(60)
    assert any(request.body.count(b'"id"') == 10 for request in backend.usage())


def test_a_delivery_goes_on_as_it_began_when_the_mode_changes_meanwhile(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Another thread learns that the batch endpoint is gone: a split batch must not go as single records."""
    engine = SteppedEngine(
        backend,
        clock,
        tmp_path,
        batch_size=40,
        max_batch_bytes=8192,
        max_record_bytes=8192,
        flush_interval=9.0,
    )
    engine.log()
    assert engine.flush(5)  # batches are found
    ids = {record.id for record in (engine.log("\x01" * 100) for _ in range(40)) if record is not None}

    def lose_the_endpoint_after_one(request: Request) -> Response | NoResponse:
        engine.parts.policies.batch_support.unlearn(404)
        return backend.well(request)

    backend.behaviour = lose_the_endpoint_after_one
    assert engine.flush(30)
    assert ids <= set(backend.taken)
    assert engine.ledger.own[Term.DELIVERED] == len(backend.taken)


TOO_MUCH: dict[str, Response | NoResponse] = {
    "413": Response(413),
    "502": Response(502, {}, b"bad gateway"),
    "time-out": NoResponse("timeout", "timed out"),
    "reset": NoResponse("bad_answer", "Connection reset by peer"),
    "400, not taken whole": Response(400, took_all=False),
    "400 with a page, not taken whole": Response(400, {"content-type": "text/html"}, b"<h1>", took_all=False),
    "400 with a page": Response(400, {"content-type": "text/html"}, b"<h1>no</h1>"),
}


@pytest.mark.parametrize("kind", TOO_MUCH)
@pytest.mark.parametrize("on_disk", [True, False])
def test_a_limit_of_something_in_between_is_found_without_a_413(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, kind: str, *, on_disk: bool
) -> None:
    """Batches get small enough for it, all records arrive, and hardly a request is wasted."""

    def limited(request: Request) -> Response | NoResponse:
        return TOO_MUCH[kind] if len(request.body) > 40_000 else backend.well(request)

    backend.behaviour = limited
    engine = SteppedEngine(backend, clock, tmp_path if on_disk else None, batching="always", batch_size=100)
    for _ in range(300):
        engine.log("x" * 1000)
    began = clock.monotonic()
    while sum(backend.taken.values()) < 300 and clock.monotonic() < began + 60:
        engine.step(longest_wait=5.0)
    assert len(backend.taken) == sum(backend.taken.values()) == 300
    assert engine.flush(10)
    before = len(backend.requests)
    for _ in range(20):
        for _ in range(100):
            engine.log("x" * 1000)
        engine.flush(60)
    assert engine.ledger.own[Term.DELIVERED] == 2300
    assert sum(len(request.body) > 40_000 for request in backend.requests[before:]) <= 8
    assert len(backend.requests) - before <= 20 * 5


def test_a_single_record_that_is_not_taken_whole_stays_while_no_other_one_is_accepted(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Then it is too large, and put aside as that."""
    backend.behaviour = lambda request: (
        Response(400, took_all=False) if len(request.body) > 2000 else backend.well(request)
    )
    engine = SteppedEngine(backend, clock, tmp_path, batching="always")
    engine.log("x" * 2000)
    engine.flush(30)
    assert engine.ledger.own[Term.QUARANTINED] == 0
    for _ in range(3):
        engine.log("small")
        engine.flush(30)
        clock.advance(60)
    assert engine.ledger.own[Term.QUARANTINED] == 1
    (kept,) = tmp_path.rglob("quarantine.v1.jsonl")
    assert '"reason":"too_large","status":400' in kept.read_text()


def refusing_gzip(
    backend: FakeBackend, status: int, *, html: bool
) -> Callable[[Request], Response | NoResponse]:
    """A proxy or firewall that dislikes compressed bodies."""

    def behave(request: Request) -> Response | NoResponse:
        if request.compress and request.body:
            headers, body = (
                ({"content-type": "text/html"}, b"<h1>no</h1>") if html else ({}, b'{"error":"no"}')
            )
            return Response(status, headers, body)
        return backend.well(request)

    return behave


@pytest.mark.parametrize("status", [400, 403, 415])
@pytest.mark.parametrize("html", [True, False])
def test_compression_that_is_refused_on_the_way_is_turned_off_and_said_once(
    backend: FakeBackend, clock: FakeClock, caplog: pytest.LogCaptureFixture, status: int, *, html: bool
) -> None:
    """The batch is accepted in plain text, at once; the next ones are not compressed any more."""
    engine = SteppedEngine(backend, clock, batching="always")
    engine.parts.policies.batch_support.compression.active = True
    backend.behaviour = refusing_gzip(backend, status, html=html)
    engine.log("x" * 2000)
    assert engine.flush(5)
    engine.log("x" * 2000)
    assert engine.flush(5)
    assert [request.compress for request in backend.usage()] == [True, False, False]
    assert max(backend.taken.values()) == 1
    assert engine.ledger.own[Term.DELIVERED] == 2
    lines = [line.getMessage() for line in caplog.records if "compressed" in line.getMessage()]
    assert len(lines) == 1
    assert str(status) in lines[0]


def test_what_is_refused_in_plain_text_too_leaves_compression_as_it_was(
    backend: FakeBackend, clock: FakeClock
) -> None:
    """The verdict is that of the plain request, and the records are kept."""
    engine = SteppedEngine(backend, clock, batching="always")
    engine.parts.policies.batch_support.compression.active = True
    backend.behaviour = failing(415)
    engine.log("x" * 2000)
    assert not engine.flush(5)
    assert [request.compress for request in backend.usage()[:2]] == [True, False]
    assert engine.parts.policies.batch_support.compression.active
    assert (engine.breaker.state, engine.ledger.own[Term.QUARANTINED]) == ("misconfigured", 0)


def test_a_backend_that_unpacks_batches_is_not_asked_twice_about_a_refused_one(
    backend: FakeBackend, clock: FakeClock
) -> None:
    """Its own refusal is one of the content: each half goes once."""
    engine = SteppedEngine(backend, clock, batching="always")
    engine.parts.policies.batch_support.compression.active = True
    engine.log("x" * 2000)
    assert engine.flush(5)
    backend.behaviour = failing(400)
    engine.log("x" * 2000)
    assert not engine.flush(5)
    assert all(request.compress for request in backend.usage())


def test_refusals_beside_acceptances_do_not_hold(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Ten bad records in a batch whose others are taken: ten in quarantine, and the destination is well."""
    backend.refuses = lambda body: body["input"] == "bad"
    engine = SteppedEngine(backend, clock, tmp_path, batching="always")
    for number in range(100):
        engine.log("bad" if number % 10 == 0 else "good")
    engine.flush(10)
    own = engine.ledger.own
    assert (engine.breaker.state, own[Term.DELIVERED], own[Term.QUARANTINED]) == ("online", 90, 10)


def test_a_record_that_always_gets_500_does_not_hold_up_the_others(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """One by one: it is retried after back-offs of its own while the others are delivered."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="never", retry_delay=1.0)
    poison = engine.log("poison")
    assert poison is not None

    def fail_on_poison(request: Request) -> Response | NoResponse:
        return failing(500)(request) if b"poison" in request.body else backend.well(request)

    backend.behaviour = fail_on_poison
    good = [engine.log() for _ in range(200)]
    began = clock.monotonic()
    while any(record is not None and record.term is not Term.DELIVERED for record in good):
        engine.step(longest_wait=1.0)
        assert clock.monotonic() - began < 30
    attempts = sum(b"poison" in request.body for request in backend.usage())
    assert attempts <= 10


@pytest.mark.parametrize("answer", [NoResponse("timeout", "hangs"), NoResponse("bad_answer", "garbage")])
def test_a_server_that_hangs_up_on_what_it_does_not_know_gets_single_records(
    backend: FakeBackend, clock: FakeClock, answer: NoResponse
) -> None:
    """No answer to the empty batch says nothing about the destination: records go one by one."""

    def no_batches(request: Request) -> Response | NoResponse:
        return answer if request.url.endswith("/batch") else backend.well(request)

    backend.behaviour = no_batches
    engine = SteppedEngine(backend, clock)
    for _ in range(10):
        engine.log()
    assert engine.flush(5)
    assert engine.ledger.counters.attempts_failed == 0
