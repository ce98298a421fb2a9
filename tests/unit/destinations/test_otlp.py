"""A collector as destination: requests to its two endpoints, and what its responses mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from banyan_hp.destinations.collector import collector_of
from banyan_hp.destinations.otlp import OtlpDestination
from banyan_hp.destinations.protobuf import TYPE, partial_success, status_message
from banyan_hp.engine.http.response import Response
from banyan_hp.engine.records.encode import encode
from banyan_hp.engine.records.ledger import Book
from banyan_hp.engine.records.outcome import DISCARDED, Outcome, Verdict
from banyan_hp.engine.records.record import Record
from banyan_hp.errors import ConfigurationError
from banyan_hp.settings import Settings
from tests.support.otlp import attributes, log_records_in, parsed_body, spans_in

NOW = 1_767_225_600.0
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SCORE = {
    "kind": "score",
    "v": 1,
    "name": "thumbs",
    "value": True,
    "record_id": "r9",
    "session_id": "s",
    "comment": "good",
}


def destination(**options: Any) -> OtlpDestination:
    given = {"otlp_endpoint": "http://host:4318", "otlp_protocol": "http/json", **options}
    return OtlpDestination(collector_of(Settings(export_to="otlp", **given)))


def record(ident: str, **metadata: Any) -> Record:
    body = {"input": "q", "output": "a", "metadata": metadata}
    return Record(ident, NOW, body, 1, 0.0, Book())


def score(ident: str, **changes: Any) -> Record:
    made = record(ident, banyan_hp={**SCORE, **changes})
    made.value.update(input="", output="")
    return made


def encoded(made: Record) -> Record:
    made.body, made.value = encode(made.value), None
    return made


THREE = [record("a"), record("b"), record("c")]


def response(status: int = 200, body: Any = b"", kind: str = "application/json") -> Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status, {"content-type": kind}, content)


def verdicts(records: list[Record], given: Response, **options: Any) -> list[Verdict]:
    return destination(**options).verdicts(records, given, NOW)


# -- requests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["http/json", "http/protobuf"])
def test_a_batch_is_one_request_with_the_resource_and_the_headers(protocol: str) -> None:
    """The bytes are the same whether the records are encoded already."""
    collector = destination(otlp_protocol=protocol, otlp_headers={"X-Key": "k"})
    values = [each.value for each in THREE]
    request = collector.batch(THREE, compress=True, values=values)
    assert request.url == "http://host:4318/v1/traces"
    assert request.headers["x-key"] == "k"
    assert request.compress
    message = parsed_body("/v1/traces", request.headers["Content-Type"], request.body)
    assert [attributes(span)["banyan.record.id"] for span in spans_in(message)] == ["a", "b", "c"]
    (around,) = message["resourceSpans"]
    assert attributes(around["resource"])["service.name"]
    assert around["scopeSpans"][0]["scope"]["name"] == "banyan_hp"
    again = [encoded(record(each)) for each in "abc"]
    assert collector.batch(again, compress=True).body == request.body
    assert collector.single(THREE[0]).body == collector.batch(THREE[:1], compress=False).body


@pytest.mark.parametrize("protocol", ["http/json", "http/protobuf"])
def test_scores_are_log_records_of_their_own_endpoint(protocol: str) -> None:
    """With the record that they are about; a span only where they were given inside one."""
    inside = score("s2", value=4.5, comment=None)
    inside.value["metadata"] |= {"trace_id": TRACE, "span_id": SPAN}
    scores = [score("s1"), inside, score("s3", value="great")]
    request = destination(otlp_protocol=protocol).batch(scores, compress=False)
    assert request.url == "http://host:4318/v1/logs"
    one, two, three = log_records_in(parsed_body("/v1/logs", request.headers["Content-Type"], request.body))
    assert one["eventName"] == "gen_ai.evaluation.result"
    assert attributes(one) == {
        "banyan.record.id": "s1",
        "gen_ai.evaluation.name": "thumbs",
        "gen_ai.evaluation.score.value": 1.0,
        "gen_ai.evaluation.score.label": "true",
        "gen_ai.evaluation.explanation": "good",
        "banyan.score.record_id": "r9",
        "session.id": "s",
        "gen_ai.conversation.id": "s",
    }
    assert "traceId" not in one
    assert (two["traceId"], two["spanId"]) == (TRACE, SPAN)
    assert attributes(three)["gen_ai.evaluation.score.label"] == "great"
    assert "gen_ai.evaluation.score.value" not in attributes(three)


def test_spans_and_scores_go_apart() -> None:
    """In memory and encoded; a text that speaks of scores is no score."""
    text = record("t", note='{"banyan_hp":{"kind":"score"}}')
    for records in ([THREE[0], score("s"), text], [encoded(record("a")), encoded(score("s")), encoded(text)]):
        spans, scores = destination().separate(records)
        assert [each.id for each in spans] == [records[0].id, "t"]
        assert [each.id for each in scores] == ["s"]
    assert destination().separate(THREE) == (THREE,)
    with pytest.raises(ValueError, match="two endpoints"):
        destination().batch([THREE[0], score("s")], compress=False)


def test_a_records_deferred_text_is_text() -> None:
    """What a call left as values for our threads."""
    made = record("a")
    made.value = {"input": b"bytes", "output": "a", "metadata": {"raw": b"x"}}
    request = destination().batch([made], compress=False, values=[made.value])
    (span,) = spans_in(parsed_body("/v1/traces", "application/json", request.body))
    assert "bytes" in attributes(span)["gen_ai.input.messages"]
    assert json.loads(attributes(span)["banyan.metadata"]) == {"raw": "x"}


def test_the_headers_are_the_spools_key_and_are_shown_nowhere() -> None:
    """Any header may hold a credential; a collector may repeat what it refuses."""
    one = destination(otlp_headers="x-key=very-secret-value")
    assert one.key == "x-key=very-secret-value"
    assert one.key != destination(otlp_headers="x-key=another-secret").key
    said = one.verdicts(THREE, response(401, {"message": "no: very-secret-value"}), NOW)[0].detail
    assert "very-secret-value" not in said + repr(one)
    assert "[secret]" in said


def test_protobuf_without_its_extra_is_refused_at_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way to install it."""
    name = "opentelemetry.proto.collector.trace.v1.trace_service_pb2"
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ConfigurationError, match=r"pip install 'banyan-hp\[otlp\]'"):
        destination(otlp_protocol="http/protobuf")


# -- responses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        response(body=b""),
        response(body={}),
        response(body={"partialSuccess": None}),
        response(body={"partialSuccess": {}}),
        response(body={"partialSuccess": {"errorMessage": "only a warning"}}),
        response(body={"partialSuccess": {"rejectedSpans": "0"}}),
        response(body=b'{"partialSuccess": {"rejectedSpans": 1e999}}'),
        response(body=b"", kind=TYPE),
        response(202, b"OK", "text/plain"),
    ],
    ids=lambda given: repr(given.body),
)
def test_what_collectors_say_to_a_success(given: Response) -> None:
    """Empty, null, in another encoding: all of it is taken."""
    assert [each.outcome for each in verdicts(THREE, given)] == [Outcome.DELIVERED]
    assert not verdicts(THREE, given)[0].discarded


@pytest.mark.parametrize("rejected", ["2", 2])
def test_a_part_rejected_is_delivered_and_counted(rejected: object) -> None:
    """Nobody says which they were: the batch must not be sent again."""
    given = response(body={"partialSuccess": {"rejectedSpans": rejected, "errorMessage": "too old"}})
    assert verdicts(THREE, given) == [Verdict(Outcome.DELIVERED, "too old", 200, discarded=2)]


def test_all_rejected_is_refused_for_good() -> None:
    """With the collector's words; spans of steps count, too."""
    given = response(body={"partialSuccess": {"rejectedSpans": "3", "errorMessage": "too old"}})
    assert verdicts(THREE, given) == [Verdict(Outcome.REFUSED, "too old", 200, reason=DISCARDED)] * 3
    with_step = [record("a", step_data=[{"id": 1}]), record("b"), record("c")]
    assert [each.outcome for each in verdicts(with_step, given)] == [Outcome.DELIVERED]
    scores = response(body={"partialSuccess": {"rejectedLogRecords": 1}})
    assert verdicts([score("s")], scores)[0].is_final


def test_a_partial_success_in_protobuf_is_read() -> None:
    """By the standard's own package, and cut short at any byte without an error."""
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    message = trace_service_pb2.ExportTraceServiceResponse()
    message.partial_success.rejected_spans = 300
    message.partial_success.error_message = "too old"
    whole = message.SerializeToString()
    assert partial_success(whole) == (300, "too old")
    assert verdicts(THREE, response(body=whole, kind=TYPE))[0].is_final
    for end in range(len(whole)):
        verdicts(THREE, response(body=whole[:end], kind=TYPE))


def test_a_status_in_protobuf_is_read() -> None:
    """The message of `google.rpc.Status`."""
    encoded = b"\x08\x03\x12\x08bad span"  # code 3, and the message
    assert status_message(encoded) == "bad span"
    given = response(400, encoded, TYPE)
    assert verdicts(THREE, given)[0].detail == "bad span"
    assert status_message(b"\xff\xff") == ""


@pytest.mark.parametrize(
    ("status", "outcome", "number"),
    [
        (400, Outcome.REFUSED, 1),  # one: bisected
        (413, Outcome.TOO_LARGE, 1),
        (422, Outcome.REFUSED, 3),  # one for each: not bisected
        (401, Outcome.HOLD_AUTH, 1),
        (403, Outcome.HOLD_AUTH, 1),
        (404, Outcome.HOLD_CONFIG, 1),
        (405, Outcome.HOLD_CONFIG, 1),
        (409, Outcome.HOLD_CONFIG, 1),
        (415, Outcome.HOLD_CONFIG, 1),
        (301, Outcome.HOLD_CONFIG, 1),
        (408, Outcome.RETRY, 1),
        (429, Outcome.RETRY, 1),
        (500, Outcome.RETRY, 1),
        (502, Outcome.RETRY, 1),
        (503, Outcome.RETRY, 1),
        (504, Outcome.RETRY, 1),
    ],
)
@pytest.mark.parametrize("body", [b"", b"no", b'{"code":3,"message":"no"}'])
def test_statuses(status: int, outcome: Outcome, number: int, body: bytes) -> None:
    """As for every destination; only 400 and 413 are worth halves."""
    found = verdicts(THREE, response(status, body, "text/plain"))
    assert [each.outcome for each in found] == [outcome] * number
    assert found[0].detail.startswith("no" if body else "")


def test_a_page_is_not_a_collectors_response() -> None:
    """A login page must acknowledge nothing."""
    for status in (200, 400):
        (verdict,) = verdicts(THREE, response(status, b"<html>log in</html>", "text/html"))
        assert (verdict.outcome, verdict.reason) == (Outcome.HOLD_CONFIG, "bad_answer")


def test_a_collector_without_logs_has_no_endpoint_for_scores_alone() -> None:
    """MLflow has no such path, Phoenix no such method; spans go on."""
    for status in (404, 405, 415, 501):
        found = verdicts([score("a"), score("b")], response(status, {"detail": "Not Found"}))
        assert [each.outcome for each in found] == [Outcome.NO_ENDPOINT] * 2
        assert found[0].detail.startswith("the collector takes no scores, which go to its logs pipeline: {")


def test_a_collector_that_takes_no_json_says_what_to_set() -> None:
    """Phoenix takes protobuf only."""
    assert "otlp_protocol='http/protobuf'" in verdicts(THREE, response(415, b"Unsupported"))[0].detail
    given = response(415, b"Unsupported")
    assert "otlp_protocol" not in verdicts(THREE, given, otlp_protocol="http/protobuf")[0].detail


def test_retry_after_is_read() -> None:
    """In both of its forms, as everywhere."""
    given = Response(429, {"retry-after": "7"}, b"")
    assert verdicts(THREE, given)[0].retry_after == 7.0
