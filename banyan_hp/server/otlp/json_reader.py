"""Requests in OTLP's JSON.

It is not the usual JSON of protobuf: ids are hex and enums are numbers. Read leniently is what no sender
means differently: 64-bit numbers as texts or as numbers, kinds by name, ids in upper case, a parent that is
null or "", fields that are new. Refused is what would be read as something else, or as nothing: ids in
base64, and names in snake_case, which a reader that ignores unknown fields would take for an empty request.

Source: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .signals import SPAN_DIGITS, TRACE_DIGITS, Event, LogRecord, Source, Span, UnreadableError

MAX_NESTED = 100  # values within values; protobuf's own limit
_SHOWN = 80
_MOST_DIGITS = 30
_MAX_NANOSECONDS = 2**63 - 1
_HEX = re.compile("[0-9a-fA-F]*")
_WHOLE = re.compile("[+-]?[0-9]+")
_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUSES = ("UNSET", "OK", "ERROR")
_FIELDS = (
    *("resourceSpans", "scopeSpans", "traceId", "spanId", "parentSpanId", "startTimeUnixNano"),
    *("resourceLogs", "scopeLogs", "logRecords", "eventName", "timeUnixNano", "observedTimeUnixNano"),
    *("stringValue", "boolValue", "intValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue"),
    "endTimeUnixNano",
)
_SNAKE_CASE = {re.sub("([A-Z])", lambda found: f"_{found[1].lower()}", name): name for name in _FIELDS}
_ELSEWHERE = {"resourceSpans": "/v1/traces", "resourceLogs": "/v1/logs", "resourceMetrics": "/v1/metrics"}

Json = Mapping[str, Any]


def spans_of(value: object) -> list[Span]:
    """The spans of a request.

    Raises:
        UnreadableError: it is none.
    """
    return [
        _span(each, where, source)
        for scope, place, source in _scopes(value, "resourceSpans", "scopeSpans")
        for each, where in _objects(scope, "spans", place)
    ]


def logs_of(value: object) -> list[LogRecord]:
    """The log records of a request.

    Raises:
        UnreadableError: it is none.
    """
    return [
        _log(each, where, source)
        for scope, place, source in _scopes(value, "resourceLogs", "scopeLogs")
        for each, where in _objects(scope, "logRecords", place)
    ]


def _scopes(value: object, outer: str, inner: str) -> Iterator[tuple[Json, str, Source]]:
    """All scopes of all resources: the object, where it is, and who that is."""
    body = _object(value, "")
    for other in (name for name in _ELSEWHERE if name != outer and body.get(name)):
        raise UnreadableError(f"{other} belong to {_ELSEWHERE[other]}, this is {_ELSEWHERE[outer]}")
    for resource, place in _objects(body, outer, ""):
        about = _attributes(_object(resource.get("resource"), f"{place}.resource"), f"{place}.resource")
        for scope, where in _objects(resource, inner, place):
            named = _object(scope.get("scope"), f"{where}.scope")
            texts = [_text(named, name, f"{where}.scope") for name in ("name", "version")]
            yield scope, where, Source(about, *texts)


def _span(span: Json, where: str, source: Source) -> Span:
    status = _object(span.get("status"), f"{where}.status")
    start = _time(span, "startTimeUnixNano", where)
    return Span(
        trace_id=_id(span, "traceId", TRACE_DIGITS, where),
        span_id=_id(span, "spanId", SPAN_DIGITS, where),
        parent_id=_id(span, "parentSpanId", SPAN_DIGITS, where),
        name=_text(span, "name", where),
        kind=_enum(span, "kind", "SPAN_KIND_", _KINDS, where),
        start=start,
        end=max(start, _time(span, "endTimeUnixNano", where)),
        status=_enum(status, "code", "STATUS_CODE_", _STATUSES, f"{where}.status"),
        message=_text(status, "message", f"{where}.status"),
        attributes=_attributes(span, where),
        events=[_event(each, place) for each, place in _objects(span, "events", where)],
        links=[_link(each, place) for each, place in _objects(span, "links", where)],
        source=source,
    )


def _event(event: Json, where: str) -> Event:
    return Event(_text(event, "name", where), _time(event, "timeUnixNano", where), _attributes(event, where))


def _link(link: Json, where: str) -> tuple[str, str]:
    return _id(link, "traceId", TRACE_DIGITS, where), _id(link, "spanId", SPAN_DIGITS, where)


def _log(log: Json, where: str, source: Source) -> LogRecord:
    return LogRecord(
        trace_id=_id(log, "traceId", TRACE_DIGITS, where),
        span_id=_id(log, "spanId", SPAN_DIGITS, where),
        name=_text(log, "eventName", where),
        time=_time(log, "timeUnixNano", where) or _time(log, "observedTimeUnixNano", where),
        attributes=_attributes(log, where),
        body=_value(log.get("body"), f"{where}.body"),
        source=source,
    )


# -- fields --------------------------------------------------------------------------------------------------


def _object(value: object, where: str) -> Json:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _flaw(where or "body", "an object", value)
    for name in value.keys() & _SNAKE_CASE:
        meant = _SNAKE_CASE[name]
        raise UnreadableError(f"{_path(where, name)} is no field of OTLP's JSON: write {meant}")
    return value


def _objects(holder: Json, name: str, where: str) -> Iterator[tuple[Json, str]]:
    """The objects of a list, and where each is."""
    listed, path = holder.get(name), _path(where, name)
    if listed is None:
        return
    if not isinstance(listed, list):
        raise _flaw(path, "a list", listed)
    for number, each in enumerate(listed):
        yield _object(each, f"{path}[{number}]"), f"{path}[{number}]"


def _text(holder: Json, name: str, where: str) -> str:
    value = holder.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _flaw(_path(where, name), "a string", value)
    return value


def _id(holder: Json, name: str, digits: int, where: str) -> str:
    value = _text(holder, name, where)
    if value and (len(value) != digits or not _HEX.fullmatch(value)):
        raise _flaw(_path(where, name), f"{digits} hex digits", value)
    return value.lower()


def _time(holder: Json, name: str, where: str) -> int:
    value = holder.get(name)
    number = 0 if value is None else _whole(value, _path(where, name))
    if not 0 <= number <= _MAX_NANOSECONDS:
        raise _flaw(_path(where, name), "nanoseconds since 1970", value)
    return number


def _enum(holder: Json, name: str, prefix: str, names: Sequence[str], where: str) -> int:
    value = holder.get(name)
    if isinstance(value, str) and value.removeprefix(prefix) in names:
        return names.index(value.removeprefix(prefix))
    return 0 if value is None else _whole(value, _path(where, name))


def _whole(value: object, path: str) -> int:
    if isinstance(value, str) and len(value) <= _MOST_DIGITS and _WHOLE.fullmatch(value):
        return int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value):
        return int(value)
    raise _flaw(path, "a whole number", value)


# -- values of attributes ------------------------------------------------------------------------------------


def _attributes(holder: Json, where: str) -> dict[str, Any]:
    return _pairs(holder, "attributes", where, 0)


def _pairs(holder: Json, name: str, where: str, depth: int) -> dict[str, Any]:
    return {
        _text(each, "key", path): _value(each.get("value"), f"{path}.value", depth)
        for each, path in _objects(holder, name, where)
    }


def _value(value: object, where: str, depth: int = 0) -> Any:
    """What an AnyValue holds; None where it holds nothing that is known."""
    if depth > MAX_NESTED:
        raise UnreadableError(f"{where[:_SHOWN]}… is nested deeper than {MAX_NESTED} values")
    for name, content in _object(value, where).items():
        if name in _READERS and content is not None:
            return _READERS[name](content, f"{where}.{name}", depth)
    return None


def _string(content: object, where: str, _depth: int) -> str:
    if not isinstance(content, str):
        raise _flaw(where, "a string", content)
    return content


def _bool(content: object, where: str, _depth: int) -> bool:
    if not isinstance(content, bool):
        raise _flaw(where, "true or false", content)
    return content


def _int(content: object, where: str, _depth: int) -> int:
    return _whole(content, where)


def _double(content: object, where: str, _depth: int) -> float | str:
    try:
        number = float(content) if not isinstance(content, bool) else math.nan  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise _flaw(where, "a number", content) from None
    return finite(number)


def _array(content: object, where: str, depth: int) -> list[Any]:
    listed = _object(content, where).get("values") or []
    if not isinstance(listed, list):
        raise _flaw(f"{where}.values", "a list", listed)
    return [_value(each, f"{where}.values[{number}]", depth + 1) for number, each in enumerate(listed)]


def _kvlist(content: object, where: str, depth: int) -> dict[str, Any]:
    return _pairs(_object(content, where), "values", where, depth + 1)


_READERS: Mapping[str, Any] = {
    "stringValue": _string,
    "boolValue": _bool,
    "intValue": _int,
    "doubleValue": _double,
    "arrayValue": _array,
    "kvlistValue": _kvlist,
    "bytesValue": _string,
}


def finite(number: float) -> float | str:
    """A number that JSON can hold: others are their names."""
    return number if math.isfinite(number) else str(number)


def _path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _flaw(path: str, expected: str, value: object) -> UnreadableError:
    shown = repr(value)
    return UnreadableError(
        f"{path} must be {expected}, was {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '…'}"
    )
