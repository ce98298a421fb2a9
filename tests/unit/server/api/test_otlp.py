"""OTLP over HTTP: what is taken, what is refused and how, with which keys; and the tree of a trace."""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from banyan_hp.server.api import otlp
from banyan_hp.server.store.keys import Role
from tests.support.app import LocalApp
from tests.support.senders import Sent, as_protobuf, requests_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
START, END = "1790000000000000000", "1790000001000000000"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
TRACES = "/v1/traces"


def body(number: int = 1, **fields: Any) -> dict[str, Any]:
    """A request with the span of a chat."""
    span = {
        "traceId": TRACE,
        "spanId": f"{SPAN[:-2]}{number:02x}",
        "name": f"chat case{number}",
        "kind": 3,
        "startTimeUnixNano": START,
        "endTimeUnixNano": END,
        "attributes": [
            {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
            {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "31"}},
        ],
        "status": {},
        **fields,
    }
    return of_spans(span)


def of_spans(*spans: dict[str, Any]) -> dict[str, Any]:
    about = {"attributes": [{"key": "service.name", "value": {"stringValue": "demo"}}]}
    return {
        "resourceSpans": [{"resource": about, "scopeSpans": [{"scope": {"name": "x"}, "spans": list(spans)}]}]
    }


def span_of(request: dict[str, Any]) -> dict[str, Any]:
    span: dict[str, Any] = request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    return span


def tokens(value: object) -> list[dict[str, Any]]:
    return [{"key": "gen_ai.usage.input_tokens", "value": {"intValue": value}}]


def encoded(request: Any) -> bytes:
    return json.dumps(request).encode("ascii")


def in_base64() -> dict[str, Any]:
    ids = {
        name: base64.b64encode(bytes.fromhex(value)).decode()
        for name, value in (("traceId", TRACE), ("spanId", SPAN))
    }
    return body(9, **ids)


def in_snake_case() -> bytes:
    data = encoded(body(14))
    for name, snake in ((b"resourceSpans", b"resource_spans"), (b"traceId", b"trace_id")):
        data = data.replace(name, snake)
    return data


def with_zeros() -> dict[str, Any]:
    return of_spans(span_of(body(15)), span_of(body(16, traceId="0" * 32)))


LOG = {
    "timeUnixNano": START,
    "body": {"stringValue": "x"},
    "eventName": "gen_ai.client.inference.operation.details",
}
LOGS = {"resourceLogs": [{"scopeLogs": [{"logRecords": [LOG]}]}]}
protobuf = as_protobuf(Sent(TRACES, body(1)))

# The nineteen requests that three receivers were asked: content, headers, status, spans or records stored,
# and what the response says.
ASKED: dict[str, tuple[bytes, Mapping[str, str], int, int, str]] = {
    "protobuf": (protobuf, {"Content-Type": PROTOBUF}, 200, 1, ""),
    "protobuf, gzip": (
        gzip.compress(protobuf),
        {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"},
        200,
        1,
        "",
    ),
    "ids in hex": (encoded(body(3)), {"Content-Type": JSON}, 200, 1, "{}"),
    "gzip": (
        gzip.compress(encoded(body(4))),
        {"Content-Type": JSON, "Content-Encoding": "gzip"},
        200,
        1,
        "{}",
    ),
    "charset": (encoded(body(5)), {"Content-Type": f"{JSON}; charset=utf-8"}, 200, 1, "{}"),
    "a number": (encoded(body(6, attributes=tokens(31))), {"Content-Type": JSON}, 200, 1, "{}"),
    "times as numbers": (
        encoded(body(7, startTimeUnixNano=int(START), endTimeUnixNano=int(END))),
        {"Content-Type": JSON},
        200,
        1,
        "{}",
    ),
    "kind by name": (encoded(body(8, kind="SPAN_KIND_CLIENT")), {"Content-Type": JSON}, 200, 1, "{}"),
    "ids in base64": (
        encoded(in_base64()),
        {"Content-Type": JSON},
        400,
        0,
        "spans[0].traceId must be 32 hex digits",
    ),
    "upper-case ids": (encoded(body(10, traceId=TRACE.upper())), {"Content-Type": JSON}, 200, 1, "{}"),
    "a new field": (encoded(body(11, somethingNew=1)), {"Content-Type": JSON}, 200, 1, "{}"),
    "parent null": (encoded(body(12, parentSpanId=None)), {"Content-Type": JSON}, 200, 1, "{}"),
    "parent empty": (encoded(body(13, parentSpanId="")), {"Content-Type": JSON}, 200, 1, "{}"),
    "snake case": (
        in_snake_case(),
        {"Content-Type": JSON},
        400,
        0,
        "resource_spans is no field of OTLP's JSON",
    ),
    "empty JSON": (b"{}", {"Content-Type": JSON}, 200, 0, "{}"),
    "empty protobuf": (b"", {"Content-Type": PROTOBUF}, 200, 0, ""),
    "one good, one of zeros": (encoded(with_zeros()), {"Content-Type": JSON}, 200, 1, '"rejectedSpans": "1"'),
    "text/plain": (encoded(body(17)), {"Content-Type": "text/plain"}, 415, 0, "Content-Type must be"),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_receivers_were_asked(app: LocalApp, name: str) -> None:
    """Lenient where senders differ without a doubt, a named field otherwise."""
    content, headers, status, stored, said = ASKED[name]
    answer = app.send(TRACES, content, headers)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    if status == 200:
        assert answer.headers["content-type"] == headers["Content-Type"].partition(";")[0]
    assert len(tree(app)) == stored


def test_a_log_record_that_belongs_to_no_span_is_counted(app: LocalApp) -> None:
    """The nineteenth: the standard's partial success."""
    answer = app.send("/v1/logs", encoded(LOGS), {"Content-Type": JSON})
    assert answer.json()["partialSuccess"]["rejectedLogRecords"] == "1"
    sent = as_protobuf(Sent("/v1/logs", LOGS))
    reply = ExportLogsServiceResponse.FromString(
        app.send("/v1/logs", sent, {"Content-Type": PROTOBUF}).content
    )
    assert reply.partial_success.rejected_log_records == 1
    assert "gen_ai" in reply.partial_success.error_message


def evaluation(**told: Any) -> bytes:
    names = {"name": "gen_ai.evaluation.name", "value": "gen_ai.evaluation.score.value"}
    names |= {
        "label": "gen_ai.evaluation.score.label",
        "about": "banyan.score.record_id",
        "id": "banyan.record.id",
    }
    kinds = {str: "stringValue", float: "doubleValue"}
    attributes = [{"key": names[key], "value": {kinds[type(value)]: value}} for key, value in told.items()]
    log = {"timeUnixNano": START, "eventName": "gen_ai.evaluation.result", "attributes": attributes}
    return encoded({"resourceLogs": [{"scopeLogs": [{"logRecords": [log]}]}]})


SCORES: list[tuple[dict[str, Any], object]] = [
    ({"name": "quality", "value": 4.5, "about": "call-1"}, 4.5),
    ({"name": "thumbs", "label": "true", "value": 1.0, "about": "call-1"}, True),
    ({"name": "tone", "label": "kind", "about": "call-1", "id": "score-1"}, "kind"),
    ({"name": "quality", "value": 4.5}, None),
    ({"value": 4.5, "about": "call-1"}, None),
]


@pytest.mark.parametrize(("told", "value"), SCORES)
def test_results_of_evaluations_are_scores(app: LocalApp, told: dict[str, Any], value: object) -> None:
    """As our own clients export them; what is about nothing, or has no name, is counted."""
    for _ in range(2):
        answer = app.send("/v1/logs", evaluation(**told), {"Content-Type": JSON})
        assert answer.status_code == 200
    found = app.get("/api/scores")["scores"]
    if value is None:
        assert found == []
        assert "gen_ai.evaluation.result" in answer.json()["partialSuccess"]["errorMessage"]
        return
    assert answer.text == "{}"
    assert [(each["name"], each["value"], each["record_id"]) for each in found] == [
        (told["name"], value, "call-1")
    ]


def test_a_score_of_others_with_a_borrowed_record_id_is_a_score(app: LocalApp) -> None:
    """A processor that copies attributes to log records must not make two scores one."""
    for name in ("quality", "tone"):
        told = {"name": name, "value": 4.5, "about": "call-1", "id": "call-1"}
        assert app.send("/v1/logs", evaluation(**told), {"Content-Type": JSON}).text == "{}"
    assert sorted(each["name"] for each in app.get("/api/scores")["scores"]) == ["quality", "tone"]


def tree(app: LocalApp) -> list[dict[str, Any]]:
    answer = app.call("GET", f"/api/traces/{TRACE}")
    spans: list[dict[str, Any]] = answer.json()["spans"] if answer.status_code == 200 else []
    return spans


def test_bad_spans_of_a_good_request_are_counted_in_protobuf(app: LocalApp) -> None:
    """Also ids of another length, and no time, which JSON's reader would name."""
    good, short, timeless = span_of(body(1)), span_of(body(2)), span_of(body(3))
    short["traceId"], timeless["startTimeUnixNano"] = "0af765", "0"
    answer = app.send(
        TRACES, as_protobuf(Sent(TRACES, of_spans(good, short, timeless))), {"Content-Type": PROTOBUF}
    )
    reply = ExportTraceServiceResponse.FromString(answer.content)
    assert reply.partial_success.rejected_spans == 2
    assert reply.partial_success.error_message.startswith("span 'chat case2': traceId must be 32 hex digits")
    assert [span["name"] for span in tree(app)] == ["chat case1"]


REFUSED: list[tuple[Any, str]] = [
    ([], "body must be an object, was []"),
    ({"resourceSpans": 1}, "resourceSpans must be a list, was 1"),
    ({"resourceLogs": [{}]}, "resourceLogs belong to /v1/logs, this is /v1/traces"),
    (body(name=5), "scopeSpans[0].spans[0].name must be a string, was 5"),
    (body(startTimeUnixNano="soon"), "startTimeUnixNano must be a whole number, was 'soon'"),
    (body(startTimeUnixNano=-1), "startTimeUnixNano must be nanoseconds since 1970, was -1"),
    (body(attributes=tokens("many")), "attributes[0].value.intValue must be a whole number, was 'many'"),
    (body(attributes=[{"key": "a", "value": {"boolValue": 1}}]), "boolValue must be true or false, was 1"),
    (body(attributes={"a": 1}), "attributes must be a list"),
    (body(parentSpanId="xyz"), "parentSpanId must be 16 hex digits, was 'xyz'"),
]


@pytest.mark.parametrize(("request_body", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_a_refusal_names_the_field(app: LocalApp, request_body: Any, said: str) -> None:
    """Where it is, what is allowed, and what was there."""
    answer = app.send(TRACES, encoded(request_body), {"Content-Type": JSON})
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert answer.json()["message"] == answer.json()["error"]


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"stringValue": "x"}
    for _ in range(levels):
        value = {"arrayValue": {"values": [value]}}
    return body(attributes=[{"key": "a", "value": value}])


NO_OTLP = {
    "no JSON": (b"{", {"Content-Type": JSON}, 400, "body isn't valid JSON"),
    "no protobuf": (
        b"\x01\x02",
        {"Content-Type": PROTOBUF},
        400,
        "body isn't a valid ExportTraceServiceRequest",
    ),
    "no gzip": (b"{}", {"Content-Type": JSON, "Content-Encoding": "gzip"}, 400, "body isn't valid gzip"),
    "brotli": (b"{}", {"Content-Type": JSON, "Content-Encoding": "br"}, 415, "Content-Encoding must be gzip"),
    "too deep": (encoded(deep(150)), {"Content-Type": JSON}, 400, "nested deeper than 100 values"),
    "a bomb": (
        gzip.compress(b"\0" * (33 * 1024 * 1024)),
        {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"},
        413,
        "body must be at most",
    ),
}


@pytest.mark.parametrize("name", NO_OTLP)
def test_what_is_no_otlp_is_refused_in_the_encoding_of_the_request(app: LocalApp, name: str) -> None:
    """A Status in protobuf, an object in JSON."""
    content, headers, status, said = NO_OTLP[name]
    answer = app.send(TRACES, content, headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == headers["Content-Type"]
    assert said in answer.text
    if headers["Content-Type"] == PROTOBUF:
        assert answer.content[:1] == b"\x12"  # field 2 of google.rpc.Status: the message


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


WAYS: dict[str, Callable[[str], dict[str, str]]] = {
    "bearer": lambda key: {"Authorization": f"Bearer {key}"},
    "x-api-key": lambda key: {"X-API-Key": key},
    "basic": lambda key: {"Authorization": basic("pk-lf-public", key)},
    "basic, alone": lambda key: {"Authorization": basic(key, "")},
    "api_key": lambda key: {"api_key": key},
}


@pytest.mark.parametrize("unreadable", ["Basic %%%", "Basic", "Basic YQ"])
def test_a_good_key_counts_beside_what_can_not_be_read(app: LocalApp, unreadable: str) -> None:
    """As a proxy on the way may put it there; without another key the refusal says what it is to be."""
    headers = {"Content-Type": JSON, "Authorization": unreadable}
    assert app.send(TRACES, encoded(body()), headers).status_code == 200
    without = {**headers, "X-API-Key": ""}
    assert app.send(TRACES, encoded(body()), {**without, "api_key": app.key}).status_code == 200
    refused = app.send(TRACES, encoded(body()), without)
    assert (refused.status_code, "must be the base64 of user:key" in refused.text) == (401, True)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", otlp.TRACES)
def test_a_key_may_come_as_any_exporter_sends_it(application: LocalApp, path: str, way: str) -> None:
    """With the role ingest; without a good one nothing is read."""
    app = application.in_new_project(Role.INGEST)
    key, app.key = app.key, ""
    headers = {"X-API-Key": "", "Content-Type": JSON}
    assert app.send(path, encoded(body()), headers | WAYS[way](key)).status_code == 200
    refused = app.send(path, b"no JSON", headers | WAYS[way]("another"))
    assert (refused.status_code, "not one of this backend's" in refused.text) == (401, True)
    assert app.send(path, b"no JSON", {"Content-Type": JSON}).status_code == 401


def calls_of(app: LocalApp, many: int) -> list[dict[str, Any]]:
    """The calls, once there are so many."""
    until = time.monotonic() + 20
    found: list[dict[str, Any]] = []
    while time.monotonic() < until:
        found = app.get("/api/calls", ("limit", "100"))["calls"]
        if len(found) >= many and not app.app.state.stores.spans.underived():
            break
        time.sleep(0.05)
    return found


def exported(app: LocalApp, name: str) -> list[httpx.Response]:
    return [app.send(sent.path, as_protobuf(sent), {"Content-Type": PROTOBUF}) for sent in requests_of(name)]


def test_spans_become_calls_and_the_others_of_their_trace_a_tree(app: LocalApp) -> None:
    """Of a recorded sender, in protobuf; sent again, nothing changes."""
    for _ in range(2):
        assert all(answer.content == b"" for answer in exported(app, "strands-1.62.0"))
        calls = calls_of(app, 3)
        assert [call["input_tokens"] for call in calls] == [None, 31, 31]
    assert {call["source"] for call in calls} == {"otlp"}
    spans = app.get(f"/api/traces/{calls[-1]['metadata']['trace_id']}")["spans"]
    assert [(span["depth"], span["role"], span["name"]) for span in spans] == [
        (0, "agent", "invoke_agent weather agent"),
        (1, "agent", "execute_event_loop_cycle"),
        (2, "call", "chat"),
        (2, "tool", "execute_tool get_weather"),
        (1, "agent", "execute_event_loop_cycle"),
        (2, "call", "chat"),
    ]
    assert [span["call_id"] for span in spans if span["role"] == "call"] == [calls[2]["id"], calls[1]["id"]]
    assert app.get(f"/api/calls/{calls[2]['id']}")["output"].startswith("[tool call] get_weather(")


def test_what_was_said_comes_as_log_events_before_the_spans(app: LocalApp) -> None:
    """As openai-v2 sends it."""
    exported(app, "oai2-latest-event-2.4b0")
    calls = calls_of(app, 8)
    assert len(calls) == 8
    assert {call["output"] for call in calls if call["output_tokens"]} >= {"Paris is the capital of France."}


def test_a_persons_calls_go_with_their_spans(app: LocalApp) -> None:
    """All that their traces hold; those of others stay."""
    exported(app, "strands-1.62.0")
    calls = calls_of(app, 3)
    trace_of = {call["user"]: call["metadata"]["trace_id"] for call in calls}
    answer = app.call("DELETE", "/api/calls", query=[("user", "user-7")])
    assert answer.json() == {"deleted": 2, "more": False}
    assert app.call("GET", f"/api/traces/{trace_of['user-7']}").status_code == 404
    assert app.get(f"/api/traces/{trace_of[None]}")["spans"]
    assert len(calls_of(app, 1)) == 1


def test_a_tree_holds_orphans_and_circles(app: LocalApp) -> None:
    """Each span once, whatever their parents say."""
    ids = {name: f"{SPAN[:-2]}{number:02x}" for number, name in enumerate("abcd", 1)}
    parents = {"a": "", "b": "f" * 16, "c": ids["d"], "d": ids["c"]}
    spans = [
        span_of(body(number, name=name, parentSpanId=parents[name])) for number, name in enumerate("abcd", 1)
    ]
    assert app.send(TRACES, encoded(of_spans(*spans)), {"Content-Type": JSON}).text == "{}"
    assert [(span["name"], span["depth"]) for span in tree(app)] == [("a", 0), ("b", 0), ("c", 0), ("d", 1)]


ASKS = "gen_ai.input.messages"
ODD = {
    "a part of no kind": {ASKS: '[{"role": "user", "content": [{"type": ["x"]}]}]'},
    "tool calls that are none": {ASKS: '[{"role": "user", "content": "", "tool_calls": 5}]'},
    "a position without end": {
        "gen_ai.prompt.0.role": "x",
        f"gen_ai.prompt.0.tool_calls.{'9' * 5000}.name": "x",
    },
}


@pytest.mark.parametrize("attributes", ODD.values(), ids=ODD)
def test_a_span_of_any_words_takes_no_others_along(app: LocalApp, attributes: Mapping[str, str]) -> None:
    """Whatever its attributes hold, it and the others of its request are stored and become calls."""
    given = [{"key": name, "value": {"stringValue": value}} for name, value in attributes.items()]
    odd = span_of(body(1))
    odd["attributes"] += given
    request = encoded(of_spans(odd, span_of(body(2))))
    assert app.send(TRACES, request, {"Content-Type": JSON}).text == "{}"
    assert len(calls_of(app, 2)) == 2
