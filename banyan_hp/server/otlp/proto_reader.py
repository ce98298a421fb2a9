"""Requests in protobuf, by the messages of the package opentelemetry-proto."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .json_reader import finite
from .signals import Event, LogRecord, Source, Span, UnreadableError

_MAX_NANOSECONDS = 2**63 - 1


def spans_of(data: bytes) -> list[Span]:
    """The spans of a request.

    Raises:
        UnreadableError: it is none.
    """
    request = _parsed(ExportTraceServiceRequest(), data)
    return [
        _span(span, source)
        for scopes, source in _scopes(request.resource_spans, "scope_spans")
        for span in scopes.spans
    ]


def logs_of(data: bytes) -> list[LogRecord]:
    """The log records of a request.

    Raises:
        UnreadableError: it is none.
    """
    request = _parsed(ExportLogsServiceRequest(), data)
    return [
        _log(log, source)
        for scopes, source in _scopes(request.resource_logs, "scope_logs")
        for log in scopes.log_records
    ]


def _parsed(message: Any, data: bytes) -> Any:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise UnreadableError(f"body isn't a valid {type(message).__name__}: {error}") from None
    return message


def _scopes(resources: Iterable[Any], inner: str) -> Iterator[tuple[Any, Source]]:
    for each in resources:
        about = _attributes(each.resource.attributes)
        for scopes in getattr(each, inner):
            yield scopes, Source(about, scopes.scope.name, scopes.scope.version)


def _span(span: Any, source: Source) -> Span:
    start = _time(span.start_time_unix_nano)
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=span.kind,
        start=start,
        end=max(start, _time(span.end_time_unix_nano)),
        status=span.status.code,
        message=span.status.message,
        attributes=_attributes(span.attributes),
        events=[
            Event(each.name, _time(each.time_unix_nano), _attributes(each.attributes)) for each in span.events
        ],
        links=[(each.trace_id.hex(), each.span_id.hex()) for each in span.links],
        source=source,
    )


def _log(log: Any, source: Source) -> LogRecord:
    return LogRecord(
        trace_id=log.trace_id.hex(),
        span_id=log.span_id.hex(),
        name=log.event_name,
        time=_time(log.time_unix_nano or log.observed_time_unix_nano),
        attributes=_attributes(log.attributes),
        body=_value(log.body),
        source=source,
    )


def _time(nanoseconds: int) -> int:
    return min(nanoseconds, _MAX_NANOSECONDS)


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    """What an AnyValue holds. Its depth is bounded by the parser."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    content = getattr(value, kind)
    if kind == "array_value":
        return [_value(each) for each in content.values]
    if kind == "kvlist_value":
        return _attributes(content.values)
    if kind == "bytes_value":
        return base64.b64encode(content).decode("ascii")
    return finite(content) if kind == "double_value" else content
