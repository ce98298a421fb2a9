"""A batch is encoded as a whole where nothing needs its records one by one; else nothing changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.engine.http.transport import Request
from banyan_hp.engine.records.encode import encode
from banyan_hp.engine.records.ledger import Term
from banyan_hp.engine.records.record import Deferred, Record
from banyan_hp.engine.spool.quarantine import Quarantine
from tests.support.clock import FakeClock
from tests.support.stepped import Answer, FakeBackend, SteppedEngine, down, failing, json_answer

NAMES = ("a", "b", "c", "d")


def engine_of(backend: FakeBackend, directory: Path | None = None, **options: Any) -> SteppedEngine:
    return SteppedEngine(backend, FakeClock(), directory, batching="always", **{"batch_size": 4} | options)


def logged(engine: SteppedEngine, names: tuple[str, ...] = NAMES) -> list[Record]:
    records = [engine.log(name) for name in names]
    assert all(records)
    return [record for record in records if record is not None]


def bodies(request: Request) -> list[Any]:
    return [each["body"]["input"] for each in json.loads(request.body)["records"]]


def test_no_record_is_encoded_by_itself() -> None:
    """Delivered: there never was a body, and what the records held is freed, whoever holds a receipt."""
    engine = engine_of(FakeBackend())
    records = logged(engine)
    assert engine.flush(5)
    assert bodies(engine.backend.usage()[0]) == list(NAMES)
    assert {(record.body, record.value, record.term) for record in records} == {(None, None, Term.DELIVERED)}


def test_a_retry_has_the_same_bytes() -> None:
    """The batch failed as a whole: it is tried again as it was, and its records count their attempts."""
    backend = FakeBackend()
    backend.behaviour = down
    engine = engine_of(backend)
    records = logged(engine)
    engine.step()
    assert [record.attempts for record in records] == [1, 1, 1, 1]
    backend.behaviour = backend.well
    engine.clock.advance(60)
    engine.run(3)
    first, second = backend.usage()
    assert first.body == second.body
    assert engine.ledger.own[Term.DELIVERED] == 4
    assert engine.stats()["retries_attempted"] == 1


@pytest.mark.parametrize("status", [422, 413])
def test_a_refused_batch_is_bisected(tmp_path: Path, status: int) -> None:
    """Its neighbours are delivered, and the refused record is quarantined with the bytes it travelled in."""
    backend = FakeBackend()

    def behaviour(request: Request) -> Answer:
        names = bodies(request)
        return json_answer(status, {"error": "no"}) if "b" in names else backend.well(request)

    backend.behaviour = behaviour
    engine = engine_of(backend, tmp_path)
    logged(engine)
    engine.run(20)
    engine.flush(5)
    assert engine.spool is not None
    (entry,) = Quarantine(engine.spool.directory, engine.clock).entries()
    assert entry.body == encode({"input": "b"})
    assert engine.ledger.own[Term.DELIVERED] == 3
    assert engine.balanced()


def test_what_fails_for_good_goes_to_disk_record_by_record(tmp_path: Path) -> None:
    """An outage: the records are on disk, and sent from there when it is over."""
    backend = FakeBackend()
    backend.behaviour = failing(503)
    engine = engine_of(backend, tmp_path, max_retries=0)
    records = logged(engine)
    engine.run(5)
    assert {record.term for record in records} == {Term.SPOOLED}
    assert [record.body for record in records] == [encode({"input": name}) for name in NAMES]
    backend.behaviour = backend.well
    engine.clock.advance(600)
    engine.run(20)
    assert engine.ledger.own[Term.DELIVERED] == 4
    assert engine.balanced()


def test_one_refused_beside_accepted_ones_is_quarantined_alone(tmp_path: Path) -> None:
    """The response says which one: no second request, and no body but for the quarantine."""
    backend = FakeBackend()
    backend.refuses = lambda body: body["input"] == "c"
    engine = engine_of(backend, tmp_path)
    records = logged(engine)
    engine.flush(5)
    assert [record.term is Term.DELIVERED for record in records] == [True, True, False, True]
    assert records[2].term is Term.QUARANTINED
    assert len(backend.usage()) == 1
    assert {record.value for record in records} == {None}


def test_before_send_sees_each_record() -> None:
    """Then they are encoded one by one, as it has left them."""
    backend = FakeBackend()
    engine = engine_of(backend, before_send=lambda record: {"input": record["input"] * 2})
    logged(engine)
    assert engine.flush(5)
    assert bodies(backend.usage()[0]) == ["aa", "bb", "cc", "dd"]


def test_a_record_that_is_to_be_completed_is_completed() -> None:
    """Beside others, in the same request."""
    backend = FakeBackend()
    engine = engine_of(backend)
    engine.log("a")
    engine.submit({"input": "b"}, deferred=Deferred(lambda body: {"input": body["input"] + " and more"}))
    assert engine.flush(5)
    assert bodies(backend.usage()[0]) == ["a", "b and more"]


def test_large_records_are_measured_one_by_one() -> None:
    """What may be longer than `max_record_bytes` is encoded by itself, and shortened as before."""
    backend = FakeBackend()
    engine = engine_of(backend, max_record_bytes=20_000)
    engine.log("a")
    engine.log("\0" * 10_000)
    assert engine.flush(5)
    first, second = json.loads(backend.usage()[0].body)["records"]
    assert first["body"] == {"input": "a"}
    assert len(encode(second["body"])) <= 20_000
    assert engine.stats()["records_shortened"] == 1


def test_a_batch_that_grows_beyond_its_limit_is_split() -> None:
    """In memory it was within `max_batch_bytes`, as JSON it is not."""
    backend = FakeBackend()
    engine = engine_of(backend, max_batch_bytes=16_000, batch_size=6)
    for _ in range(6):
        engine.log("\0" * 1000)
    assert engine.flush(5)
    assert len(backend.usage()) == 3
    assert all(len(request.body) <= 16_000 for request in backend.usage())


def test_a_record_that_another_thread_settles_is_not_sent_as_null() -> None:
    """The final write prepares and settles records while a sender encodes the same ones."""
    engine = engine_of(FakeBackend())
    prepared, settled, untouched = logged(engine, ("prepared", "settled", "untouched"))
    preparer = engine.parts.preparer
    assert preparer.together([prepared, untouched]) == [{"input": "prepared"}, {"input": "untouched"}]
    preparer.prepare([prepared])
    assert preparer.together([prepared, untouched]) is None
    settled.value = None
    assert preparer.together([settled, untouched]) is None
    assert preparer.prepare([settled, untouched]) == [untouched]
    assert preparer.for_disk([settled, untouched]) == [untouched]
