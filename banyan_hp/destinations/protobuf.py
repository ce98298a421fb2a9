"""OTLP in protobuf: requests made of the dicts that are OTLP/JSON, and what is read of a response.

Requests need the extra `otlp` (`opentelemetry-proto`), which is imported when the first one is made. Of the
standard's responses only one field matters, which is read here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from ..errors import ConfigurationError

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


def traces(
    resource: Mapping[str, Any], scope: Mapping[str, Any], spans: Sequence[Mapping[str, Any]]
) -> bytes:
    """The request for `/v1/traces`."""
    trace = import_module("opentelemetry.proto.trace.v1.trace_pb2")
    service = import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    inside = trace.ScopeSpans(scope=_scope(scope), spans=[_span(trace, each) for each in spans])
    around = trace.ResourceSpans(resource=_resource(resource), scope_spans=[inside])
    return _bytes(service.ExportTraceServiceRequest(resource_spans=[around]))


def logs(
    resource: Mapping[str, Any], scope: Mapping[str, Any], log_records: Sequence[Mapping[str, Any]]
) -> bytes:
    """The request for `/v1/logs`."""
    log = import_module("opentelemetry.proto.logs.v1.logs_pb2")
    service = import_module("opentelemetry.proto.collector.logs.v1.logs_service_pb2")
    inside = log.ScopeLogs(scope=_scope(scope), log_records=[_log_record(log, each) for each in log_records])
    around = log.ResourceLogs(resource=_resource(resource), scope_logs=[inside])
    return _bytes(service.ExportLogsServiceRequest(resource_logs=[around]))


def _bytes(message: Any) -> bytes:
    made: bytes = message.SerializeToString()
    return made


def _span(trace: Any, span: Mapping[str, Any]) -> Any:
    made = trace.Span(
        trace_id=bytes.fromhex(span["traceId"]),
        span_id=bytes.fromhex(span["spanId"]),
        parent_span_id=bytes.fromhex(span.get("parentSpanId", "")),
        name=_clean(span["name"]),
        kind=span["kind"],
        start_time_unix_nano=int(span["startTimeUnixNano"]),
        end_time_unix_nano=int(span["endTimeUnixNano"]),
        attributes=_attributes(span["attributes"]),
    )
    status = span.get("status")
    if status is not None:
        made.status.code, made.status.message = status["code"], _clean(status["message"])
    return made


def _log_record(log: Any, record: Mapping[str, Any]) -> Any:
    return log.LogRecord(
        time_unix_nano=int(record["timeUnixNano"]),
        observed_time_unix_nano=int(record["observedTimeUnixNano"]),
        severity_number=record["severityNumber"],
        event_name=record["eventName"],
        attributes=_attributes(record["attributes"]),
        trace_id=bytes.fromhex(record.get("traceId", "")),
        span_id=bytes.fromhex(record.get("spanId", "")),
    )


def _scope(scope: Mapping[str, Any]) -> Any:
    common = import_module("opentelemetry.proto.common.v1.common_pb2")
    return common.InstrumentationScope(name=scope["name"], version=scope["version"])


def _resource(resource: Mapping[str, Any]) -> Any:
    made = import_module("opentelemetry.proto.resource.v1.resource_pb2")
    return made.Resource(attributes=_attributes(resource["attributes"]))


def _attributes(attributes: Sequence[Mapping[str, Any]]) -> list[Any]:
    common = import_module("opentelemetry.proto.common.v1.common_pb2")
    return [common.KeyValue(key=each["key"], value=_value(common, each["value"])) for each in attributes]


def _value(common: Any, value: Mapping[str, Any]) -> Any:
    ((kind, content),) = value.items()
    if kind == "stringValue":
        return common.AnyValue(string_value=_clean(content))
    if kind == "intValue":
        return common.AnyValue(int_value=int(content))
    if kind == "doubleValue":
        return common.AnyValue(double_value=content)
    if kind == "boolValue":
        return common.AnyValue(bool_value=content)
    values = [_value(common, each) for each in content["values"]]
    return common.AnyValue(array_value=common.ArrayValue(values=values))


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
