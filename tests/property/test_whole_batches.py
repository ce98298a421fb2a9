"""A batch that is encoded as a whole has the bytes that its records have one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banyan_hp.destinations import envelope
from banyan_hp.engine.delivery.prepare import MOST_GROWTH
from banyan_hp.engine.records import encode as encoders
from banyan_hp.engine.records.encode import encode, encode_with_json
from banyan_hp.engine.records.freeze import freeze
from banyan_hp.engine.records.ledger import Book
from banyan_hp.engine.records.record import RECORD_OVERHEAD, Record
from tests.property.test_freeze import ANYTHING
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine, failing

QUICK = settings(max_examples=80, deadline=None)
VALUES = st.dictionaries(st.text(max_size=8), ANYTHING, min_size=1, max_size=4)
TIMES = st.floats(0, 4e9)


def record_of(value: dict[str, Any], time: float, number: int) -> Record:
    return Record(number, time, freeze(value).value, 1, 0.0, Book("0123456789abcdef"))


@QUICK
@given(st.lists(st.tuples(VALUES, TIMES), max_size=5))
def test_whole_and_single_bytes_are_the_same(logged: list[tuple[dict[str, Any], float]]) -> None:
    """Whatever was logged: with orjson, where it can encode all of it, and without."""
    records = [record_of(value, time, number) for number, (value, time) in enumerate(logged)]
    values = [record.value for record in records]
    for record in records:
        record.body = encode(record.value)
    single = envelope.batch_body(records)
    with pytest.MonkeyPatch.context() as patch:
        for together in (encoders.encode_together, None):
            patch.setattr(envelope, "encode_together", together)
            try:
                assert envelope.batch_body_of_values(records, values) == single
            except TypeError:  # a lone surrogate, or a large integer: such a batch is encoded one by one
                assert together is not None


@settings(QUICK, max_examples=300)
@given(VALUES)
def test_a_record_grows_at_most_so_much(value: dict[str, Any]) -> None:
    """What a record takes in memory limits its bytes, so small ones need no look at each."""
    frozen = freeze(value)
    for encoded in (encode(frozen.value), encode_with_json(frozen.value)):
        assert len(encoded) <= MOST_GROWTH * (frozen.size + RECORD_OVERHEAD)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=2000)
STATUSES = st.sampled_from([200, 400, 413, 422, 500])


@QUICK
@given(st.lists(TEXTS, min_size=1, max_size=12), st.lists(STATUSES, max_size=6))
def test_no_limit_is_exceeded_and_no_record_lost(texts: list[str], statuses: list[int]) -> None:
    """However requests fail and batches are split: each one within its limit, each record at its end."""
    backend, clock = FakeBackend(), FakeClock()
    engine = SteppedEngine(
        backend, clock, batching="always", max_record_bytes=4096, max_batch_bytes=8192, max_retries=100
    )
    answers = iter(statuses)

    def behaviour(request: Any) -> Any:
        status = next(answers, 200)
        return backend.well(request) if status == 200 else failing(status)(request)

    backend.behaviour = behaviour
    for text in texts:
        assert engine.submit({"input": text})
    for _ in range(200):
        engine.step(1.0)
        clock.advance(1.0)
    assert engine.balanced()
    sent = [json.loads(request.body)["records"] for request in backend.usage()]
    assert all(
        len(request.body) <= 8192 or len(batch) == 1
        for request, batch in zip(backend.usage(), sent, strict=True)
    )
    bodies = [each["body"] for batch in sent for each in batch]
    assert all(body in [{"input": text} for text in texts] or len(encode(body)) <= 4096 for body in bodies)
    stats = engine.stats()
    assert stats["logs_sent"] + stats["logs_dropped"] == len(texts)
