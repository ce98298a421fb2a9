"""The wire: what destinations send, and how they read any response."""

from __future__ import annotations

import json
from typing import Any

import pytest

from banyan_hp.destinations import envelope
from banyan_hp.destinations.banyan import (
    DEFAULT_BASE_URL,
    BanyanDestination,
    headers_for,
)
from banyan_hp.engine.http.response import Response
from banyan_hp.engine.records.ledger import Book, Term
from banyan_hp.engine.records.outcome import Outcome
from banyan_hp.engine.records.record import Record

NOW = 1_767_225_600.0
KEY = "sk-very-secret-key"
HTML = {"content-type": "text/html; charset=utf-8"}
JSON = {"content-type": "application/json"}


def record(ident: str, body: bytes = b"{}", time: float = NOW) -> Record:
    made = Record(id=ident, time=time, value=None, size=1, queued_at=0.0, book=Book(), term=Term.IN_FLIGHT)
    made.body = body
    return made


def response(value: Any, status: int = 200, **headers: str) -> Response:
    return Response(status, JSON | headers, json.dumps(value).encode())


THREE = [record("a"), record("b"), record("c")]


def outcomes(response: Response) -> list[Outcome]:
    return [verdict.outcome for verdict in envelope.verdicts(THREE, response, NOW)]


# -- bodies --------------------------------------------------------------------------------------------------


def test_an_empty_batch_asks() -> None:
    """No records at all ask whether batches are taken."""
    assert envelope.batch_body(()) == b'{"records":[]}'


def test_a_batch_holds_the_very_bytes_of_its_records() -> None:
    """Bodies go in as they were encoded, to the byte, with id and time beside them."""
    body = '{"input": "q",  "output":"é"}'.encode()
    assert envelope.batch_body([record("a-1", body), record("b", b"{}", NOW + 0.5)]) == (
        b'{"records":[{"id":"a-1","ts":"2026-01-01T00:00:00.000Z","body":' + body + b"},"
        b'{"id":"b","ts":"2026-01-01T00:00:00.500Z","body":{}}]}'
    )


def test_an_odd_id_does_not_break_a_batch() -> None:
    """An id from a file may hold anything; the batch stays JSON."""
    ident = 'a"\\\n\ud800é'
    assert json.loads(envelope.batch_body([record(ident)]))["records"][0]["id"] == ident


# -- does it take batches? -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "compress"),
    [
        (response({"accepted": 0}), False),
        (response({"accepted": 0}, 201), False),
        (response({"accepted": 0, "gzip": True}), True),
        (response({"accepted": 0, "gzip": 1}), False),
        (response({"accepted": 0, "gzip": "true"}), False),
    ],
)
def test_a_proper_response_means_batches(response: Response, compress: bool) -> None:
    """`{"accepted": 0}` with success, and `"gzip": true` for compression."""
    assert envelope.takes_batches(response) == (True, compress)


@pytest.mark.parametrize(
    "response",
    [
        response({"accepted": False}),
        response({"accepted": "0"}),
        response({"accepted": None}),
        response({"accepted": 1}),
        response({"accepted": []}),
        response({}),
        response({"success": True}),
        response([{"accepted": 0}]),
        response(0),
        response({"accepted": 0}, 404),
        response({"accepted": 0}, 302),
        response({"accepted": 0, "gzip": True}, 500),
        Response(204),
        Response(200, JSON, b""),
        Response(200, JSON, b"\xff"),
        Response(200, HTML, b"<html>OK</html>"),
        Response(201, HTML, b"<!doctype html><title>accepted: 0</title>"),
    ],
    ids=lambda response: f"{response.status} {response.body[:30]!r}",
)
def test_anything_else_means_one_by_one(response: Response) -> None:
    """A catch-all that says 200 to everything must not get batches."""
    assert envelope.takes_batches(response) == (False, False)


# -- one verdict for all -------------------------------------------------------------------------------------


def test_all_accepted_is_one_verdict() -> None:
    """`{"accepted": N}` with the number that was sent delivers them all."""
    assert outcomes(response({"accepted": 3})) == [Outcome.DELIVERED]
    assert outcomes(response({"accepted": 3}, 201)) == [Outcome.DELIVERED]


def test_a_batch_of_one_is_not_accepted_by_a_boolean() -> None:
    """`true` equals 1 in Python, and is no number in JSON."""
    (verdict,) = envelope.verdicts([record("a")], response({"accepted": True}), NOW)
    assert verdict.outcome is Outcome.HOLD_CONFIG


@pytest.mark.parametrize(
    "response",
    [
        response({"accepted": 2}),
        response({"accepted": 4}),
        response({"accepted": "3"}),
        response({"success": True}),
        response({"results": {"a": 200}}),
        response([]),
        response(None),
        Response(204),
        Response(200, {}, b"OK"),
        Response(200, {}, b"\xff\xfe"),
        Response(200, HTML, b"<html>log in</html>"),
        Response(200, HTML, b'{"accepted": 3}'),
    ],
    ids=lambda response: repr(response.body[:30]),
)
def test_a_success_that_does_not_say_so_is_not_believed(response: Response) -> None:
    """A success without the word of the batch protocol acknowledges nothing: the address is wrong."""
    (verdict,) = envelope.verdicts(THREE, response, NOW)
    assert (verdict.outcome, verdict.reason, verdict.status) == (
        Outcome.HOLD_CONFIG,
        "bad_answer",
        response.status,
    )
    assert verdict.detail


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        (400, Outcome.REFUSED, "refused"),
        (413, Outcome.TOO_LARGE, "too_large"),
        (401, Outcome.HOLD_AUTH, "status"),
        (404, Outcome.HOLD_CONFIG, "status"),
        (503, Outcome.RETRY, "status"),
    ],
)
def test_a_failure_is_one_verdict_for_all(status: int, outcome: Outcome, reason: str) -> None:
    """A batch that is refused as a whole has one verdict, whatever its body claims."""
    (verdict,) = envelope.verdicts(THREE, response({"accepted": 3, "error": "no"}, status), NOW)
    assert (verdict.outcome, verdict.reason, verdict.status, verdict.detail) == (
        outcome,
        reason,
        status,
        "no",
    )


# -- one verdict each ----------------------------------------------------------------------------------------


def test_results_are_matched_by_id() -> None:
    """Each record has the outcome of its own status, in whatever order the response has them."""
    results = [
        {"id": "c", "status": 503, "error": "busy"},
        {"id": "a", "status": 201},
        {"id": "b", "status": 422, "error": "bad field"},
        {"id": "unknown", "status": 200},
    ]
    verdicts = envelope.verdicts(THREE, response({"accepted": 1, "results": results}, 207), NOW)
    assert [(v.outcome, v.detail, v.status, v.reason) for v in verdicts] == [
        (Outcome.DELIVERED, "", 201, "status"),
        (Outcome.REFUSED, "bad field", 422, "refused"),
        (Outcome.RETRY, "busy", 503, "status"),
    ]


@pytest.mark.parametrize(
    "results",
    [
        [],
        [{"id": "a", "status": 200}],
        [{"id": "a", "status": 200}, {"id": "b"}, {"id": "c", "status": None}],
        [{"id": "a", "status": 200}, {"id": "b", "status": "200"}, {"id": 3, "status": 200}],
        [{"id": "a", "status": 200}, "b", None, 200, ["c", 200]],
        [{"id": "a", "status": 200}, {"status": 200}, {"id": "B", "status": 200}],
    ],
    ids=str,
)
def test_a_record_that_is_not_mentioned_is_tried_again(results: list[Any]) -> None:
    """Only a status of its own acknowledges a record; without one it is sent again."""
    verdicts = envelope.verdicts(THREE, response({"results": results}), NOW)
    assert [verdict.outcome for verdict in verdicts[1:]] == [Outcome.RETRY, Outcome.RETRY]
    assert {verdict.reason for verdict in verdicts[1:]} == {"bad_answer"}
    if results:
        assert verdicts[0].outcome is Outcome.DELIVERED


def test_an_id_of_the_wrong_kind_is_not_ours() -> None:
    """A response with an id that is no text does not stop the sender."""
    results = [{"id": ["a"], "status": 200}, {"id": "b", "status": 200}]
    assert outcomes(response({"results": results})) == [Outcome.RETRY, Outcome.DELIVERED, Outcome.RETRY]


def test_a_status_that_is_a_boolean_is_none() -> None:
    """`"status": true` is no HTTP status, and says nothing about the address."""
    results = [{"id": each.id, "status": True} for each in THREE]
    assert outcomes(response({"results": results})) == [Outcome.RETRY] * 3


def test_an_error_of_null_is_no_error_text() -> None:
    """`"error": null` says nothing."""
    (verdict,) = envelope.verdicts(
        [record("a")], response({"results": [{"id": "a", "status": 200, "error": None}]}), NOW
    )
    assert verdict.detail == ""


def test_a_long_error_text_of_a_record_is_bounded() -> None:
    """A backend may send our record back to us as its error."""
    results = [{"id": "a", "status": 422, "error": "e" * 10_000}]
    (verdict,) = destination().verdicts([record("a")], response({"results": results}), NOW)
    assert len(verdict.detail) == 300


# -- single records ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "response",
    [Response(200), Response(201, JSON, b'{"success":true}'), Response(204), Response(200, {}, b"OK")],
)
def test_a_single_record_is_delivered_by_its_status(response: Response) -> None:
    """The single endpoint's body is not specified: success is success."""
    verdict = envelope.verdict(response, NOW)
    assert (verdict.outcome, verdict.detail) == (Outcome.DELIVERED, "")


@pytest.mark.parametrize("status", [200, 201, 409])
def test_a_page_is_not_a_response(status: int) -> None:
    """A login page or a proxy's portal says 200 to everything, and keeps nothing."""
    verdict = envelope.verdict(Response(status, {"content-type": "Text/HTML"}, b"<html>"), NOW)
    assert (verdict.outcome, verdict.reason) == (Outcome.HOLD_CONFIG, "bad_answer")
    assert "HTML" in verdict.detail


@pytest.mark.parametrize("status", [400, 422, 409])
@pytest.mark.parametrize(
    ("headers", "body", "named"),
    [
        (HTML, b"<html>The plain HTTP request was sent to HTTPS port</html>", "an HTML page"),
        ({}, b"\n<!DOCTYPE html>", "an HTML page"),
        (JSON, b"<html>", "an HTML page"),
        ({"content-type": "text/plain"}, b"Bad Request", "text/plain"),
        ({}, b"Client sent an HTTP request to an HTTPS server.", "a text without a type"),
        ({}, b"400", "a text without a type"),
        ({"content-type": "text/plain"}, b"\xff\xfe", "text/plain"),
    ],
)
def test_a_refusal_that_is_not_the_api_s_json_came_from_something_in_between(
    status: int, headers: dict[str, str], body: bytes, named: str
) -> None:
    """A proxy, a firewall or a TLS port responded: that says nothing about the record."""
    (verdict,) = envelope.verdicts(THREE, Response(status, headers, body), NOW)
    assert verdict == envelope.verdict(Response(status, headers, body), NOW)
    assert (verdict.outcome, verdict.reason, verdict.status) == (Outcome.HOLD_CONFIG, "bad_answer", status)
    assert verdict.detail.startswith(named)
    assert body.decode("utf-8", "replace").strip() in verdict.detail


@pytest.mark.parametrize(
    "response",
    [
        response({"error": "no"}, 400),
        response({"detail": [{"loc": ["body", "x"]}]}, 422),
        response({"results": []}, 400),
        response(["x is missing"], 400),
        response("x is missing", 400),
        Response(422, {"content-type": "text/plain"}, b'{"message": "no"}'),
        Response(400, {"content-type": "application/problem+json"}, b'{"title": "x is mis'),
        Response(400),
        Response(422, HTML, b" \n"),
    ],
    ids=lambda response: repr(response.body[:30]),
)
def test_a_refusal_that_is_json_or_empty_is_the_api_s(response: Response) -> None:
    """Even without the right type, or with one that a framework gives to every empty response."""
    assert envelope.verdict(response, NOW).outcome is Outcome.REFUSED


def test_a_page_with_an_error_status_means_its_status() -> None:
    """A gateway's 503 is a page as well, and an outage all the same."""
    assert envelope.verdict(Response(503, HTML, b"<html>"), NOW).outcome is Outcome.RETRY


def test_retry_after_is_read() -> None:
    """In seconds or as a date, from the time of the response."""
    assert envelope.verdict(response({}, 503, **{"retry-after": "7"}), NOW).retry_after == 7.0
    date = "Thu, 01 Jan 2026 00:00:30 GMT"
    assert envelope.verdict(response({}, 503, **{"retry-after": date}), NOW).retry_after == 30.0
    assert envelope.verdict(response({}, 503), NOW).retry_after is None


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (response({"error": "Bad key"}, 401), "Bad key"),
        (response({"message": "Bad key"}, 401), "Bad key"),
        (response({"error": "", "message": "second"}, 400), "second"),
        (response({"error": {"code": 7}}, 400), "{'code': 7}"),
        (response({"detail": "x"}, 400), '{"detail": "x"}'),
        (response(["x"], 400), '["x"]'),
        (Response(502, HTML, b"<h1>Bad\n   gateway</h1>"), "<h1>Bad gateway</h1>"),
        (Response(500, {}, b""), ""),
        (Response(500, {}, b"\xff\xfe"), "\ufffd\ufffd"),
        (Response(500, {}, b"x" * 5000), "x" * 300),
        (response({"error": "e" * 5000}, 500), "e" * 300),
        (response({"error": "a\u001b]0;b\nc\ud800\u202e"}, 500), "a\\x1b]0;b c\\ud800\\u202e"),
        (Response(200, {}, b"fine"), ""),
    ],
)
def test_the_error_text_is_the_backend_s_own(response: Response, text: str) -> None:
    """`error` or `message` of the JSON, else the beginning of the text; bounded, on one line."""
    assert destination().verdict(response, NOW).detail == text


@pytest.mark.parametrize("status", [200, 500])
def test_a_response_nested_beyond_reason_is_no_json(status: int) -> None:
    """A broken or hostile response does not stop the sender."""
    response = Response(status, JSON, b"[" * 100_000)
    assert envelope.takes_batches(response) == (False, False)
    assert outcomes(response)


# -- the Banyan backend --------------------------------------------------------------------------------------


def destination(url: str = "https://host/base", project: str | None = "proj") -> BanyanDestination:
    return BanyanDestination(url, KEY, project)


def test_a_single_request_is_what_the_published_client_sends() -> None:
    """Path, headers and body of the wire protocol; id and time travel as headers."""
    request = destination().single(record("id-1", b'{"input":1}', NOW + 0.25))
    assert (request.method, request.url) == ("POST", "https://host/base/api/logs/prompt-usage")
    assert (request.body, request.compress) == (b'{"input":1}', False)
    headers = dict(request.headers)
    assert headers.pop("User-Agent").startswith("banyan-hp/")
    assert headers == {
        "X-API-Key": KEY,
        "X-Project-Id": "proj",
        "Content-Type": "application/json",
        "Idempotency-Key": "id-1",
        "X-Event-Time": "2026-01-01T00:00:00.250Z",
    }


@pytest.mark.parametrize("compress", [True, False])
def test_a_batch_request(compress: bool) -> None:
    """Batches have a path of their own; ids and times are in the body."""
    request = destination().batch([record("a")], compress=compress)
    assert (request.method, request.url) == ("POST", "https://host/base/api/logs/prompt-usage/batch")
    assert (request.body, request.compress) == (envelope.batch_body([record("a")]), compress)
    assert "Idempotency-Key" not in request.headers
    assert request.headers["X-API-Key"] == KEY


def test_the_key_check_writes_nothing() -> None:
    """It is a GET without a body."""
    request = destination().key_check()
    assert request is not None
    assert (request.method, request.body) == ("GET", b"")
    assert request.url == "https://host/base/api/auth/validate"
    assert request.headers["X-API-Key"] == KEY


def test_without_a_project_there_is_no_such_header() -> None:
    """An empty header is not the same as none."""
    assert "X-Project-Id" not in headers_for(KEY, None)
    assert "X-Project-Id" not in destination(project=None).single(record("a")).headers


def test_one_request_s_headers_are_not_another_s() -> None:
    """The headers of one record don't leak into the next request."""
    subject = destination()
    subject.single(record("a"))
    assert "Idempotency-Key" not in subject.batch((), compress=False).headers


@pytest.mark.parametrize(
    ("url", "may_batch"),
    [
        (DEFAULT_BASE_URL, False),
        ("https://app.usebanyan.com", False),
        ("https://APP.UseBanyan.com:443/base", False),
        ("http://localhost:8080", True),
        ("https://usebanyan.com.evil.example", True),
    ],
)
def test_hosted_backends_are_not_asked_for_batches(url: str, may_batch: bool) -> None:
    """The two hosted addresses are known to have no batch endpoint; any other may have one."""
    assert destination(url).may_batch is may_batch


def test_what_makes_another_destination() -> None:
    """URL and project do; the key is apart, and is not part of the identity."""
    assert destination().identity != destination(project=None).identity
    assert destination().identity != destination("https://other").identity
    assert KEY not in "".join(destination().identity)
    assert destination().key == KEY


def test_a_destination_s_repr_has_no_key() -> None:
    """It names the backend only."""
    assert repr(destination()) == "<BanyanDestination https://host/base>"


def test_a_request_s_repr_has_no_key_and_no_payload() -> None:
    """A request that gets into a log or a traceback gives nothing away."""
    shown = repr(destination().single(record("a", b'{"input":"personal"}')))
    assert KEY not in shown
    assert "personal" not in shown


def test_a_backend_that_repeats_the_key_does_not_bring_it_into_logs_or_files() -> None:
    """Its words are kept, the key in them is not: for one record, for a batch, and for each in it."""
    subject = destination()
    refused = Response(401, {}, json.dumps({"error": f"key {KEY} is unknown"}).encode())
    result = {"id": "a", "status": 422, "error": f"not with {KEY}"}
    mixed = Response(200, {}, json.dumps({"results": [result]}).encode())
    reported = [
        subject.verdict(refused, 0.0),
        *subject.verdicts([record("a", b"{}")], refused, 0.0),
        *subject.verdicts([record("a", b"{}")], mixed, 0.0),
    ]
    assert [verdict.detail for verdict in reported] == [
        "key [secret] is unknown",
        "key [secret] is unknown",
        "not with [secret]",
    ]


@pytest.mark.parametrize(
    "ids, statuses, expected",
    [
        ("abc", [200, 201, 202], [Outcome.DELIVERED]),  # one for the whole batch
        ("bac", [200, 201, 202], [Outcome.DELIVERED] * 3),
        ("ab", [200, 200], [Outcome.DELIVERED, Outcome.DELIVERED, Outcome.RETRY]),
        ("abcd", [200] * 4, [Outcome.DELIVERED] * 3),
        ("abc", [200, 500, 200], [Outcome.DELIVERED, Outcome.RETRY, Outcome.DELIVERED]),
        ("abc", [200, True, 200.0], [Outcome.DELIVERED, Outcome.RETRY, Outcome.RETRY]),
        ("abc", [200, {}, 200], [Outcome.DELIVERED, Outcome.RETRY, Outcome.DELIVERED]),
    ],
)
def test_results_that_accept_every_record_in_its_order_are_one(
    ids: str, statuses: list[Any], expected: list[Outcome]
) -> None:
    """What most responses say is read at once; all others record by record."""
    results = [{"id": each, "status": status} for each, status in zip(ids, statuses, strict=True)]
    assert outcomes(response({"results": results})) == expected


def test_an_id_that_several_records_have_has_a_result_for_each() -> None:
    """Callers may give the same id twice: the results are in the batch's order; one result is for both."""
    twice = [record("a"), record("b"), record("a")]
    results = [{"id": "a", "status": 201}, {"id": "b", "status": 201}, {"id": "a", "status": 422}]
    found = envelope.verdicts(twice, response({"results": results}), NOW)
    assert [each.outcome for each in found] == [Outcome.DELIVERED, Outcome.DELIVERED, Outcome.REFUSED]
    found = envelope.verdicts(twice, response({"results": results[:2]}), NOW)
    assert [each.outcome for each in found] == [Outcome.DELIVERED] * 3
