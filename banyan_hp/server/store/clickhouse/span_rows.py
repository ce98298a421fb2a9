"""Spans and log events, and the rows of ClickHouse that hold them.

A row has the columns of the databases' table `spans` as attributes. `FINAL` folds the tellings of one span.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ..span_rows import NARROW, parts, span_of
from ..spans import Key, StoredSpan
from .client import ClickHouse
from .conditions import Conditions

_NARROW = (
    *(name for name in NARROW if name != "call_id"),
    *("start_time", "end_time", "counted_at", "bytes", "seq"),
)
COLUMNS = ", ".join(_NARROW)


def rows_of(
    clickhouse: ClickHouse, project: str, columns: str, asked: Conditions, order: str = "start_time, span_id"
) -> list[Any]:
    """Rows of a project's spans that are asked for, with `call_id`."""
    found = clickhouse.rows(
        f"SELECT {columns} FROM spans FINAL WHERE {asked.sql} ORDER BY {order}", asked.parameters
    )
    told = calls_of(clickhouse, project, {row["trace_id"] for row in found})
    return [SimpleNamespace(**row, call_id=told.get((row["trace_id"], row["span_id"]))) for row in found]


def calls_of(clickhouse: ClickHouse, project: str, traces: Iterable[str]) -> dict[Key, str]:
    """Which calls the spans of traces tell of."""
    found: dict[Key, str] = {}
    for some in parts(sorted(traces)):
        asked = in_traces(project, some)
        rows = clickhouse.rows(
            f"SELECT trace_id, span_id, call_id FROM span_calls FINAL WHERE {asked.sql}", asked.parameters
        )
        found |= {
            (row["trace_id"], row["span_id"]): row["call_id"] for row in rows if row["call_id"] is not None
        }
    return found


def told_of(clickhouse: ClickHouse, project: str, call_ids: Sequence[str]) -> list[Key]:
    """The spans that tell of calls."""
    asked = Conditions().add("project = ?[String]", project)
    asked.add("call_id IN ?[Array(String)]", list(call_ids))
    rows = clickhouse.rows(f"SELECT trace_id, span_id FROM span_calls WHERE {asked.sql}", asked.parameters)
    # Of an earlier row of a span, too, which now tells of another call.
    now = calls_of(clickhouse, project, {row["trace_id"] for row in rows})
    keys = {(row["trace_id"], row["span_id"]) for row in rows}
    return sorted(key for key in keys if now.get(key) in call_ids)


def in_traces(project: str, traces: Sequence[str]) -> Conditions:
    """What belongs to some traces."""
    asked = Conditions().add("project = ?[String]", project)
    return asked.add("trace_id IN ?[Array(String)]", list(traces))


def are_spans(project: str, keys: Iterable[Key]) -> Conditions:
    """What belongs to some spans."""
    asked = Conditions().add("project = ?[String]", project)
    return asked.add("(trace_id, span_id) IN ?[Array(Tuple(String, String))]", list(keys))


def with_bodies(clickhouse: ClickHouse, project: str, rows: Sequence[Any]) -> list[StoredSpan]:
    """The spans of rows of one project, in their order, with all that they say."""
    texts: dict[Key, str] = {}
    for some in parts(rows):
        asked = are_spans(project, [(row.trace_id, row.span_id) for row in some])
        found = clickhouse.rows(
            f"SELECT trace_id, span_id, body FROM spans FINAL WHERE {asked.sql}", asked.parameters
        )
        texts |= {(row["trace_id"], row["span_id"]): row["body"] for row in found}
    # One that is removed between the two queries is not there any more.
    return [
        span_of(row, json.loads(texts[key])) for row in rows if (key := (row.trace_id, row.span_id)) in texts
    ]


def events_of(
    clickhouse: ClickHouse, project: str, traces: Iterable[str]
) -> dict[Key, list[Mapping[str, Any]]]:
    """The bodies of log events by span, in an order that does not depend on when they came."""
    found: dict[Key, list[Mapping[str, Any]]] = {}
    for some in parts(sorted(traces)):
        asked = in_traces(project, some)
        rows = clickhouse.rows(
            f"SELECT trace_id, span_id, body FROM span_events FINAL WHERE {asked.sql} ORDER BY time, digest",
            asked.parameters,
        )
        for row in rows:
            found.setdefault((row["trace_id"], row["span_id"]), []).append(json.loads(row["body"]))
    return found
