"""What OTLP carries, as plain values, whichever encoding it came in: spans and log records.

Times are nanoseconds since 1970, ids lower-case hex, attributes what JSON can hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

ERROR = 2  # the status of a span that failed
TRACE_DIGITS, SPAN_DIGITS = 32, 16

Attributes = Mapping[str, Any]
T = TypeVar("T")


class UnreadableError(Exception):
    """A request is no OTLP. The text names the field, what is allowed, and what was there."""


@dataclass(frozen=True, slots=True)
class Source:
    """Who sent it: the attributes of the resource, and the instrumentation scope."""

    resource: Attributes = field(default_factory=dict)
    scope: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened within a span."""

    name: str
    time: int
    attributes: Attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span. `parent_id` is "" for the root of a trace."""

    trace_id: str
    span_id: str
    parent_id: str = ""
    name: str = ""
    kind: int = 0
    start: int
    end: int
    status: int = 0
    message: str = ""
    attributes: Attributes = field(default_factory=dict)
    events: Sequence[Event] = ()
    links: Sequence[tuple[str, str]] = ()
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """A log record. One that belongs to no span has ids of ""."""

    trace_id: str
    span_id: str
    name: str = ""
    time: int
    attributes: Attributes = field(default_factory=dict)
    body: Any = None
    source: Source = field(default_factory=Source)


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """The good ones of a request, how many were bad, and what was wrong with the first of these."""

    good: Sequence[T]
    rejected: int = 0
    reason: str | None = None


def sorted_out(spans: Sequence[Span]) -> Batch[Span]:
    """Spans that have a place, and those that have none: no ids, or no time."""
    good: list[Span] = []
    flaws: list[str] = []
    for span in spans:
        flaw = _flaw(span)
        if flaw is None:
            good.append(span)
        else:
            flaws.append(flaw)
    return Batch(good, len(flaws), flaws[0] if flaws else None)


def _flaw(span: Span) -> str | None:
    for name, value, digits in (
        ("traceId", span.trace_id, TRACE_DIGITS),
        ("spanId", span.span_id, SPAN_DIGITS),
    ):
        if len(value) != digits or not value.strip("0"):
            return f"span {span.name!r}: {name} must be {digits} hex digits, not all zero, was {value!r}"
    return f"span {span.name!r}: startTimeUnixNano is missing" if not span.start else None
