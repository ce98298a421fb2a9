"""Spans and log events as they are stored, and what a store of them has to offer.

A span is known by its project, trace and span id. It is stored by itself, whatever else of its trace is
there; trees are put together when they are read. Calls are made of spans by a step behind intake: whenever
something comes to a trace, its calls are made anew, together with those of other traces that may tell of the
same calls. So the calls follow from the spans that are there, in whatever order they came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import sha256
from typing import Any, Protocol

from ... import semconv
from .calls import Call, Stored

LONGEST = (
    300_000_000  # microseconds: a span around another one, in another trace, begins at most so much earlier
)
SLACK = 10_000  # microseconds by which the other may reach beyond it

SOURCE = "otlp"
"""The source of calls that are made of spans."""
_PROCESSED = "otel-"  # begins the ids of records that `BanyanSpanProcessor` makes of spans

Key = tuple[str, str]


def processed_id(key: Key) -> str:
    """The id of the record that our span processor makes of a span in the application."""
    return f"{_PROCESSED}{key[0]}-{key[1]}"


def processed_trace(record_id: str) -> str | None:
    """The trace of the span that a record was made of; None: it was made of none."""
    trace, _, span = record_id.removeprefix(_PROCESSED).partition("-")
    return trace if record_id.startswith(_PROCESSED) and (len(trace), len(span)) == (32, 16) else None


def record_of(span_id: str, attributes: Mapping[str, Any]) -> str | None:
    """The id of the record of our own client that a span is, or is a step of; None: it is no such span.

    The ids of such spans derive from the record's. A span that says otherwise has only been given another
    one's attributes, as processors do that copy them from span to span.
    """
    ident, kind = attributes.get(semconv.RECORD_ID), attributes.get(semconv.RECORD_KIND)
    if not isinstance(ident, str) or not ident:
        return None
    said = f"banyan_hp\0{ident}"
    part = slice(32, 48)
    if kind == semconv.STEP:
        said, part = f"{said}\0step\0{attributes.get(semconv.STEP_NUMBER)}", slice(16)
    is_own = sha256(said.encode("utf-8", "replace")).hexdigest()[part] == span_id
    return ident if is_own else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSpan:
    """A span as it is stored. Times are microseconds since 1970.

    Attributes:
        role: what it stands for; only those of calls and embeddings count tokens.
        counted: whether it is one of these.
        body: all that it says: attributes, events, links, resource.
        call_id: the call that it tells of; None: not made yet, or it tells of none.
    """

    project: str
    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    role: str
    counted: bool
    scope: str
    start: int
    end: int
    status: int
    received_at: int
    body: Mapping[str, Any]
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    response_id: str | None = None
    session: str | None = None
    user: str | None = None
    call_id: str | None = None

    @property
    def key(self) -> Key:
        """Within the project."""
        return self.trace_id, self.span_id


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """A log event that belongs to a span, which may come later or never."""

    project: str
    trace_id: str
    span_id: str
    name: str
    time: int
    received_at: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Whole traces of a project, with all others that may tell of the same calls."""

    project: str
    spans: Sequence[StoredSpan]
    events: Mapping[Key, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Bodies of the log events of a span, in an order that does not depend on when they came."""
    edge: frozenset[str] = frozenset()
    """Traces that others may belong to which are not here: their own calls stay as they are."""


@dataclass(frozen=True, slots=True)
class Derived:
    """A call, and the spans that tell of it."""

    call: Call
    spans: Sequence[Key]


Rule = Callable[[Neighbourhood], Sequence[Derived]]
"""Which calls spans tell of. Pure."""


class SpanKeeper(Protocol):
    """Takes spans that are about to be removed."""

    def keep_spans(self, project: str, day: date, spans: Sequence[StoredSpan]) -> None:
        """Keep spans of one project that began on one day; they may be removed once this returns."""
        ...


class Spans(Protocol):
    """A store of spans. Safe for use by several threads."""

    def append(self, given: Sequence[StoredSpan | StoredEvent]) -> list[Stored]:
        """Store all of them in one transaction, or none; for each, what became of it. None is a conflict."""
        ...

    def trace(self, project: str, trace_id: str) -> list[StoredSpan]:
        """The spans of a trace, by their start."""
        ...

    def events(self, project: str, trace_id: str) -> Mapping[Key, Sequence[Mapping[str, Any]]]:
        """The log events of a trace, by span."""
        ...

    def derive(self, limit: int, rule: Rule) -> int:
        """Make the calls of traces to which something came, up to `limit` arrivals; how many these were."""
        ...

    def underived(self) -> int:
        """How many arrivals calls are not made of yet."""
        ...

    def rebuild(self, project: str) -> int:
        """Have all calls of a project's spans made anew; of how many traces."""
        ...

    def delete(self, project: str, equal: Mapping[str, str]) -> Iterator[int]:
        """Remove the traces of a user, a session, or the spans of a call, in small steps."""
        ...

    def trim(self, before: datetime, keeper: SpanKeeper | None = None) -> Iterator[int]:
        """Remove spans that began, and came, before the day of `before`, in small steps.

        `keeper` gets to see each span before.
        """
        ...

    def maintain(self, now: datetime) -> None:
        """What has to be done about once an hour, whoever does it: making room for the days to come."""
        ...
