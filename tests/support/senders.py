"""What today's OTLP senders put on the wire: recorded requests, as OTLP/JSON, in `tests/fixtures/senders`.

Each is named after its sender and version. All made the same calls of one scripted model server, as far as
they can: so it is known how many tokens each call had.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from banyan_hp.server.otlp.json_reader import logs_of, spans_of
from banyan_hp.server.otlp.signals import LogRecord, Span
from banyan_hp.server.spans.arriving import stored_events, stored_span
from banyan_hp.server.store.spans import Neighbourhood, StoredEvent, StoredSpan

SENDERS = Path(__file__).parents[1] / "fixtures" / "senders"
NAMES = sorted(path.stem for path in SENDERS.glob("*.json"))


class Sent(NamedTuple):
    """A request."""

    path: str
    body: dict[str, Any]


@cache
def requests_of(name: str) -> list[Sent]:
    """The OTLP requests of a sender."""
    recorded = json.loads((SENDERS / f"{name}.json").read_text("utf-8"))
    return [
        Sent(each["path"], each["body"])
        for each in recorded["requests"]
        if isinstance(each["body"], dict) and {"resourceSpans", "resourceLogs"} & each["body"].keys()
    ]


def signals_of(name: str) -> Iterator[Span | LogRecord]:
    """Its spans and log records, in the order in which they were sent."""
    for sent in requests_of(name):
        yield from spans_of(sent.body) if "resourceSpans" in sent.body else logs_of(sent.body)


def stored_of(name: str, project: str = "p", trace: str | None = None) -> list[StoredSpan | StoredEvent]:
    """The same as they are stored. `trace`: first digits of its trace ids, which senders have in common."""
    spans, logs = [], []
    for signal in signals_of(name):
        own = signal if trace is None else replace(signal, trace_id=trace + signal.trace_id[len(trace) :])
        if isinstance(own, Span):
            spans.append(stored_span(project, own, 1))
        else:
            logs.append(own)
    events = stored_events(project, logs, 1)
    assert len(events) == len(logs)
    return [*spans, *events]


def neighbourhood_of(stored: list[StoredSpan | StoredEvent]) -> Neighbourhood:
    """What a store would find of them."""
    events: dict[tuple[str, str], list[Any]] = {}
    for event in sorted(
        (each for each in stored if isinstance(each, StoredEvent)), key=lambda each: each.time
    ):
        events.setdefault((event.trace_id, event.span_id), []).append(event.body)
    return Neighbourhood("p", [each for each in stored if isinstance(each, StoredSpan)], events)


def as_protobuf(sent: Sent) -> bytes:
    """A request as it was sent: protobuf's own reader of JSON takes ids for base64."""
    body = copy.deepcopy(sent.body)
    _encode_ids(body)
    message: Any = ExportTraceServiceRequest() if "resourceSpans" in body else ExportLogsServiceRequest()
    data: bytes = ParseDict(body, message, ignore_unknown_fields=True).SerializeToString()
    return data


def _encode_ids(value: Any) -> None:
    if isinstance(value, list):
        for each in value:
            _encode_ids(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name in ("traceId", "spanId", "parentSpanId") and isinstance(each, str):
                value[name] = base64.b64encode(bytes.fromhex(each)).decode("ascii")
            else:
                _encode_ids(each)
