"""Spans and log events on their way in, as they are stored: all that they say, and columns to ask by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..otlp.signals import LogRecord, Span
from ..store.spans import StoredEvent, StoredSpan
from .attributes import text
from .facts import Told, facts_of
from .kinds import READ

_MICRO = 1000  # nanoseconds
_EVENTS = "gen_ai."
_MESSAGE = "logfire.msg"  # logfire's names are templates; this is one that is filled in


def stored_span(project: str, span: Span, received_at: int) -> StoredSpan:
    """A span as it is stored."""
    told = Told(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_id or None,
        name=span.name,
        start=span.start // _MICRO,
        end=span.end // _MICRO,
        status=span.status,
        message=span.message,
        scope=span.source.scope,
        resource=span.source.resource,
        attributes=span.attributes,
        events=[(each.name, each.time // _MICRO, each.attributes) for each in span.events],
        received_at=received_at,
    )
    facts = facts_of(told)
    return StoredSpan(
        project=project,
        trace_id=told.trace_id,
        span_id=told.span_id,
        parent_id=told.parent_id,
        name=text(told.attributes.get(_MESSAGE)) or told.name,
        role=facts.role.value,
        counted=facts.role in READ,
        scope=told.scope,
        start=told.start,
        end=told.end,
        status=told.status,
        received_at=received_at,
        body=_body(span, told),
        model=facts.model,
        input_tokens=facts.usage.input,
        output_tokens=facts.usage.output,
        response_id=facts.response_id,
        session=facts.session,
        user=facts.user,
    )


def _body(span: Span, told: Told) -> Mapping[str, Any]:
    return {
        "kind": span.kind,
        "message": span.message,
        "version": span.source.version,
        "attributes": span.attributes,
        "events": [
            {"name": name, "time": time, "attributes": attributes} for name, time, attributes in told.events
        ],
        "links": [{"trace_id": trace_id, "span_id": span_id} for trace_id, span_id in span.links],
        "resource": span.source.resource,
    }


def stored_events(project: str, logs: Iterable[LogRecord], received_at: int) -> list[StoredEvent]:
    """The log events of a request as they are stored, without those that are not about generative AI.

    A clock of milliseconds, as JavaScript has one, gives a whole conversation one time. So events of a span
    at one time get a microsecond each, in the order in which they were sent.
    """
    found: list[StoredEvent] = []
    same: Counter[tuple[str, str, int]] = Counter()
    for log in logs:
        if (event := _stored_event(project, log, received_at)) is not None:
            at = (event.trace_id, event.span_id, event.time)
            found.append(replace(event, time=event.time + same[at]))
            same[at] += 1
    return found


def _stored_event(project: str, log: LogRecord, received_at: int) -> StoredEvent | None:
    """None for what is not about generative AI, or belongs to no span."""
    name = log.name or log.attributes.get("event.name")
    belongs = log.trace_id.strip("0") and log.span_id.strip("0") and log.time
    if not isinstance(name, str) or not name.startswith(_EVENTS) or not belongs:
        return None
    body = {"name": name, "attributes": log.attributes, "body": log.body, "resource": log.source.resource}
    return StoredEvent(
        project=project,
        trace_id=log.trace_id,
        span_id=log.span_id,
        name=name,
        time=log.time // _MICRO,
        received_at=received_at,
        body=body,
    )
