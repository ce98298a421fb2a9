"""OTLP in protobuf: requests, and what is read of a response.

Requests need the extra `otlp` (`opentelemetry-proto`), which is imported when the first one is made. Of the
standard's responses only one field matters, which is read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

from ..errors import ConfigurationError
from .attributes import Value
from .items import LogRecord, Span

TYPE = "application/x-protobuf"
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def check_installed(name: str) -> None:
    """Raises `ConfigurationError`, with the way out, if the extra is not installed."""
    try:
        import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    except ImportError as error:
        raise ConfigurationError(
            f"{name}='http/protobuf' needs the extra: pip install 'banyan-hp[otlp]' (or use 'http/json', "
            f"which needs nothing). It said: {error}"
        ) from error


def traces(resource: Mapping[str, str], scope: Mapping[str, str], spans: Iterable[Span]) -> bytes:
    """The request for `/v1/traces`."""
    trace = import_module("opentelemetry.proto.trace.v1.trace_pb2")
    service = import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    common = _common()
    items = [_span(trace, common, each) for each in spans]
    inside = trace.ScopeSpans(scope=_scope(common, scope), spans=items)
    around = trace.ResourceSpans(resource=_resource(common, resource), scope_spans=[inside])
    return _bytes(service.ExportTraceServiceRequest(resource_spans=[around]))


def logs(resource: Mapping[str, str], scope: Mapping[str, str], records: Iterable[LogRecord]) -> bytes:
    """The request for `/v1/logs`."""
    log = import_module("opentelemetry.proto.logs.v1.logs_pb2")
    service = import_module("opentelemetry.proto.collector.logs.v1.logs_service_pb2")
    common = _common()
    items = [_log_record(log, common, each) for each in records]
    inside = log.ScopeLogs(scope=_scope(common, scope), log_records=items)
    around = log.ResourceLogs(resource=_resource(common, resource), scope_logs=[inside])
    return _bytes(service.ExportLogsServiceRequest(resource_logs=[around]))


def _bytes(message: Any) -> bytes:
    made: bytes = message.SerializeToString()
    return made


def _common() -> Any:
    return import_module("opentelemetry.proto.common.v1.common_pb2")


def _span(trace: Any, common: Any, span: Span) -> Any:
    made = trace.Span(
        trace_id=bytes.fromhex(span.trace),
        span_id=bytes.fromhex(span.span),
        parent_span_id=bytes.fromhex(span.parent),
        name=_clean(span.name),
        kind=span.kind,
        start_time_unix_nano=span.start,
        end_time_unix_nano=span.end,
        attributes=_attributes(common, span.attributes),
    )
    if span.failure is not None:
        made.status.code, made.status.message = 2, _clean(span.failure)
    return made


def _log_record(log: Any, common: Any, record: LogRecord) -> Any:
    return log.LogRecord(
        time_unix_nano=record.time,
        observed_time_unix_nano=record.time,
        severity_number=record.severity,
        event_name=record.event,
        attributes=_attributes(common, record.attributes),
        trace_id=bytes.fromhex(record.trace),
        span_id=bytes.fromhex(record.span),
    )


def _scope(common: Any, scope: Mapping[str, str]) -> Any:
    return common.InstrumentationScope(**scope)


def _resource(common: Any, attributes: Mapping[str, str]) -> Any:
    made = import_module("opentelemetry.proto.resource.v1.resource_pb2")
    return made.Resource(attributes=_attributes(common, attributes))


def _attributes(common: Any, attributes: Mapping[str, Value]) -> list[Any]:
    return [common.KeyValue(key=_clean(key), value=_value(common, each)) for key, each in attributes.items()]


def _value(common: Any, value: Value) -> Any:
    if isinstance(value, str):
        return common.AnyValue(string_value=_clean(value))
    if isinstance(value, bool):
        return common.AnyValue(bool_value=value)
    if isinstance(value, int):
        return common.AnyValue(int_value=value)
    if isinstance(value, float):
        return common.AnyValue(double_value=value)
    return common.AnyValue(array_value=common.ArrayValue(values=[_value(common, each) for each in value]))


def _clean(text: str) -> str:
    """Without lone surrogates, which protobuf refuses."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


# -- responses -----------------------------------------------------------------------------------------------


def partial_success(body: bytes) -> tuple[int, str]:
    """How many items an export's response says were refused, and why; of spans and log records alike.

    Raises:
        ValueError: the body is no such message.
    """
    for number, kind, partial in _fields(body):
        if (number, kind) == (1, _LENGTH):
            fields = {number: value for number, _, value in _fields(_as_bytes(partial))}
            refused = fields.get(1, 0)
            return refused if isinstance(refused, int) else 0, _text(fields.get(2, b""))
    return 0, ""


def status_message(body: bytes) -> str:
    """The message of a `google.rpc.Status`, with which a request is refused; empty if the body is none."""
    try:
        return _text({number: value for number, _, value in _fields(body)}.get(2, b""))
    except ValueError:
        return ""


def _as_bytes(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else b""


def _text(value: int | bytes) -> str:
    return _as_bytes(value).decode("utf-8", "replace")


def _fields(message: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Number, wire type and value of each field."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        value: int | bytes
        if kind == _VARINT:
            value, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if kind == _LENGTH else (_fixed(kind), at)
            if at + size > len(message):
                raise ValueError("a field is longer than the message")
            value, at = message[at : at + size], at + size
        yield number, kind, value


def _fixed(kind: int) -> int:
    sizes = {_FIXED64: 8, _FIXED32: 4}
    if kind not in sizes:
        raise ValueError(f"wire type {kind}")
    return sizes[kind]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("a number is cut short")
