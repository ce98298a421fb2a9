"""A record as OpenTelemetry has it: a span of a GenAI operation, with a child for each of its steps. Pure.

The dicts here are OTLP/JSON as the strictest collector takes it: ids in small hex letters, times and 64-bit
integers as texts, enums as numbers, and no field for what is absent.

Ids derive from the record's id: a repeat has the same ones. A record that was logged inside a span is its
child, by the field `traceparent` of its body (see `active_span`).

Tokens are on one span each: where a record's steps have reported theirs, its own span has the rest, if any.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from .. import semconv
from . import attributes as as_attribute
from .attributes import Attribute
from .calls import BANYAN, COUNTED, HUGGINGPLACE, STEP, TRACEPARENT, Call, seconds_of
from .messages import plain

Span = dict[str, Any]
_INTERNAL, _CLIENT = 1, 3
_ERROR = 2


class Place(NamedTuple):
    """Where a span is: in its trace, and in time (nanoseconds)."""

    trace: str
    span: str
    parent: str
    start: int
    end: int


def spans_of(ident: str, time: float, body: Mapping[str, Any], *, content: bool) -> list[Span]:
    """The record's span and those of its steps.

    Args:
        ident: the record's id.
        time: when it ended, in seconds.
        body: as the record's client has it; frozen, or read from JSON.
        content: whether questions and answers are on the spans.
    """
    metadata = body.get("metadata")
    details = dict(metadata) if isinstance(metadata, Mapping) else {}
    steps = _dicts(details.pop("step_data", None)) or _dicts(body.get("step_data"))
    more = (
        {plain(each.get("id")): each for each in _dicts(details.pop("step_details", None))} if steps else {}
    )
    call = Call(HUGGINGPLACE if HUGGINGPLACE.question in body else BANYAN, body, details)
    place = _place(ident, time, body, call)
    inside = _steps(ident, steps, more, call, place) if steps else []
    own = [
        as_attribute.text(semconv.RECORD_ID, ident),
        as_attribute.text(semconv.RECORD_KIND, semconv.RECORD),
    ]
    spans = [_span(call, place, own, content=content)]
    for number, (step, its_place) in enumerate(inside, 1):
        own = [
            as_attribute.text(semconv.RECORD_ID, ident),
            as_attribute.text(semconv.RECORD_KIND, semconv.STEP),
            as_attribute.whole(semconv.STEP_NUMBER, number),
        ]
        spans.append(_span(step, its_place, own, content=content))
    return spans


def span_count(body: Mapping[str, Any]) -> int:
    """How many spans `spans_of` makes of it."""
    metadata = body.get("metadata")
    own = metadata.get("step_data") if isinstance(metadata, Mapping) else None
    return 1 + len(_dicts(own) or _dicts(body.get("step_data")))


def parent_in(body: Mapping[str, Any]) -> tuple[str, str] | None:
    """Trace and span around a record, from its `traceparent`."""
    given = body.get(TRACEPARENT)
    return (given[3:35], given[36:52]) if type(given) is str and len(given) == 55 else None


def _place(ident: str, time: float, body: Mapping[str, Any], call: Call) -> Place:
    digest = _digest(ident)
    trace, parent = parent_in(body) or (digest[:32], "")
    end = int(time * 1_000_000) * 1000
    return Place(trace, digest[32:48], parent, end - int(call.seconds * 1e9), end)


def _digest(*parts: str) -> str:
    return sha256("\0".join(("banyan_hp", *parts)).encode("utf-8", "replace")).hexdigest()


def _steps(
    ident: str, steps: list[dict[str, Any]], more: Mapping[str, Any], root: Call, place: Place
) -> list[tuple[Call, Place]]:
    """Each step with its place; those made within another one are its children."""
    found: list[tuple[Call, Place]] = []
    by_id: dict[str, tuple[Call, str]] = {}
    parents = []
    for number, fields in enumerate(steps, 1):
        name = plain(fields.get("id"))
        details = {each: fields[each] for each in COUNTED if each in fields} | more.get(name, {})
        begins, parent = details.pop("start_ms", None), details.pop("parent", None)
        details.pop("id", None)
        call = Call(STEP, fields, details)
        start = place.start + int(seconds_of(begins, 1000.0) * 1e9)
        span = _digest(ident, "step", str(number))[:16]
        found.append((call, Place(place.trace, span, "", start, start + int(call.seconds * 1e9))))
        by_id[name] = call, span
        parents.append(None if parent is None else plain(parent))
    for number, parent in enumerate(parents):
        call, its_place = found[number]
        around, span = by_id.get(parent or "", (root, place.span))
        if around is call:
            around, span = root, place.span
        around.steps.append(call)
        found[number] = call, its_place._replace(parent=span)
    for call in (root, *(step for step, _ in found)):
        call.leave_to_steps()
    return found


def _span(call: Call, place: Place, own: list[Attribute], *, content: bool) -> Span:
    span: Span = {
        "traceId": place.trace,
        "spanId": place.span,
        "name": call.name,
        "kind": _CLIENT if call.operation == semconv.CHAT else _INTERNAL,
        "startTimeUnixNano": str(place.start),
        "endTimeUnixNano": str(place.end),
        "attributes": own + call.attributes(content=content),
    }
    if place.parent:
        span["parentSpanId"] = place.parent
    failure = call.failure
    if failure is not None:
        span["status"] = {"code": _ERROR, "message": failure}
    return span


def _dicts(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
