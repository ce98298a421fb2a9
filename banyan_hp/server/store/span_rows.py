"""Spans and log events, and the rows that hold them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from .calls import time_of
from .database import BusyError
from .rows import cut, json_of, these
from .spans import Key, StoredEvent, StoredSpan, processed_trace
from .tables import span_bodies, span_events, spans, to_derive

AT_ONCE = 500  # ids in one condition
_TEXTS = ("name", "role", "scope", "model", "response_id", "session", "user")
_SAME = ("project", "trace_id", "span_id", "parent_id", "status", "received_at", *_TEXTS)
NARROW = (*_SAME, "input_tokens", "output_tokens", "call_id")


def row_of(span: StoredSpan) -> dict[str, Any]:
    """A span as columns, its body as text among them."""
    text = json_of(span.body)
    row: dict[str, Any] = {name: getattr(span, name) for name in NARROW if name != "call_id"}
    for name in _TEXTS:
        row[name] = cut(row[name]) if row[name] is not None else None
    row["day"] = time_of(span.start).date()
    row["start_time"], row["end_time"] = span.start, span.end
    row["counted_at"] = span.start if span.counted else None
    row["digest"] = digest_of(text)
    row["bytes"] = len(text)
    row["body"] = text
    return row


def event_row_of(event: StoredEvent) -> dict[str, Any]:
    """A log event as columns."""
    text = json_of(event.body)
    return {
        "project": event.project,
        "day": time_of(event.time).date(),
        "trace_id": event.trace_id,
        "span_id": event.span_id,
        "name": cut(event.name),
        "time": event.time,
        "received_at": event.received_at,
        "digest": digest_of(f"{event.time} {event.name} {text}"),
        "body": text,
    }


def digest_of(text: str) -> bytes:
    """What tells two bodies apart."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def key_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What is unique about a span's row."""
    return row["project"], row["trace_id"], row["span_id"], row["day"]


def span_of(row: Row[Any], body: Mapping[str, Any]) -> StoredSpan:
    """The span of a row and its body."""
    plain: dict[str, Any] = {name: getattr(row, name) for name in NARROW}
    return StoredSpan(
        **plain, start=row.start_time, end=row.end_time, counted=row.counted_at is not None, body=body
    )


def with_bodies(connection: Connection, rows: Sequence[Row[Any]], *, all_of: bool) -> list[StoredSpan]:
    """The spans of rows, in their order; without `all_of` only those that count get their bodies.

    Raises:
        BusyError: some of them are being moved.
    """
    texts: dict[int, str] = {}
    wanted = [row for row in rows if all_of or row.counted_at is not None]
    for some in parts(wanted):
        query = select(span_bodies.c.seq, span_bodies.c.body).where(*these(span_bodies, some))
        texts |= {row.seq: row.body for row in connection.execute(query)}
    if len(texts) < len(wanted):  # they move to a partition, which this transaction is too old to see
        raise BusyError("spans are moving to their day's partition")
    return [span_of(row, json.loads(texts.get(row.seq, "{}"))) for row in rows]


def rows_of_traces(connection: Connection, project: str, traces: Iterable[str]) -> list[Row[Any]]:
    """The rows of whole traces."""
    found: list[Row[Any]] = []
    for some in parts(sorted(traces)):
        query = select(spans).where(spans.c.project == project, spans.c.trace_id.in_(some))
        found += connection.execute(query.order_by(spans.c.start_time, spans.c.span_id))
    return found


def events_of_traces(
    connection: Connection, project: str, traces: Iterable[str]
) -> dict[Key, list[Mapping[str, Any]]]:
    """The bodies of log events by span, in an order that does not depend on when they came."""
    found: dict[Key, list[Mapping[str, Any]]] = {}
    for some in parts(sorted(traces)):
        query = select(span_events).where(span_events.c.project == project, span_events.c.trace_id.in_(some))
        for row in connection.execute(query.order_by(span_events.c.time, span_events.c.digest)):
            found.setdefault((row.trace_id, row.span_id), []).append(json.loads(row.body))
    return found


def parts(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """A list, in pieces that one condition takes."""
    return (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))


def processed_in(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The traces of which records were made that are among these calls: projects and ids."""
    traces = {(row["project"], trace) for row in rows if (trace := processed_trace(row["id"])) is not None}
    return sorted(traces)


def note_processed(connection: Connection, traces: Sequence[tuple[str, str]]) -> None:
    """Records were made of spans: what the spans themselves tell counts no more."""
    if traces:
        listed = [{"project": project, "trace_id": trace} for project, trace in traces]
        connection.execute(insert(to_derive), listed)
