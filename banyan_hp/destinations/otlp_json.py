"""OTLP/JSON as the strictest collector takes it. Pure.

Ids are in small hex letters, times and 64-bit integers texts, enums numbers, and what is absent has no field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from ..engine.records.encode import encode, encode_together
from .attributes import Value
from .items import LogRecord, Span

JSON = dict[str, Any]
_AT_ONCE = 16  # items; the dicts of more would not stay in the processor's cache until they are encoded


def traces(resource: Mapping[str, str], scope: Mapping[str, str], spans: Iterable[Span]) -> bytes:
    """The request for `/v1/traces`."""
    head = _head(b"resourceSpans", b"scopeSpans", b"spans", resource, scope)
    return _joined(head, map(_span, spans))


def logs(resource: Mapping[str, str], scope: Mapping[str, str], records: Iterable[LogRecord]) -> bytes:
    """The request for `/v1/logs`."""
    head = _head(b"resourceLogs", b"scopeLogs", b"logRecords", resource, scope)
    return _joined(head, map(_log_record, records))


def _head(
    outer: bytes, inner: bytes, items: bytes, resource: Mapping[str, str], scope: Mapping[str, str]
) -> bytes:
    """All that stands before the items."""
    of_resource = encode({"attributes": _attributes(resource)})
    names = (outer, of_resource, inner, encode(scope), items)
    return b'{"%s":[{"resource":%s,"%s":[{"scope":%s,"%s":[' % names


def _joined(head: bytes, items: Iterator[JSON]) -> bytes:
    pieces = [head]
    while some := list(islice(items, _AT_ONCE)):
        pieces += (_encoded(some)[1:-1], b",")
    pieces[-1] = b"]}]}]}"
    return b"".join(pieces)


def _encoded(items: list[JSON]) -> bytes:
    try:
        return encode(items) if encode_together is None else encode_together(items)
    except TypeError:  # a lone surrogate
        return encode(items)


def _span(span: Span) -> JSON:
    trace, ident, parent, name, kind, start, end, attributes, failure = span
    made = {
        "traceId": trace,
        "spanId": ident,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(end),
        "attributes": _attributes(attributes),
    }
    if parent:
        made["parentSpanId"] = parent
    if failure is not None:
        made["status"] = {"code": 2, "message": failure}
    return made


def _log_record(record: LogRecord) -> JSON:
    made = {
        "timeUnixNano": str(record.time),
        "observedTimeUnixNano": str(record.time),
        "severityNumber": record.severity,
        "eventName": record.event,
        "attributes": _attributes(record.attributes),
    }
    if record.trace:
        made.update(traceId=record.trace, spanId=record.span)
    return made


def _attributes(attributes: Mapping[str, Value]) -> list[JSON]:
    return [
        {"key": key, "value": {"stringValue": value} if type(value) is str else _KINDS[type(value)](value)}
        for key, value in attributes.items()
    ]


_KINDS: dict[type, Callable[[Any], JSON]] = {
    int: lambda value: {"intValue": str(value)},
    float: lambda value: {"doubleValue": value},
    bool: lambda value: {"boolValue": value},
    list: lambda value: {"arrayValue": {"values": [{"stringValue": each} for each in value]}},
}
