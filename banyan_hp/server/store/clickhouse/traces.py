"""Traces in ClickHouse."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from types import SimpleNamespace
from typing import Any

from ..cursors import Cursor
from ..rows import cut
from ..span_rows import parts
from ..spans import StoredSpan
from ..traces import FAILED, MOST_LOGS, MOST_TOLD, OUTLINE, Told, Trace, above, told, trace_of
from .client import ClickHouse
from .span_rows import COLUMNS, are_spans, in_traces, rows_of, told_of, with_bodies

_OUTLINE = ", ".join(OUTLINE)


class ClickHouseTraces:
    """See `Traces`."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    def of_calls(self, project: str, call_ids: Collection[str]) -> list[Told]:
        """See `Traces.of_calls`."""
        keys = told_of(self._clickhouse, project, sorted(map(cut, call_ids)))
        rows: list[Any] = []
        for some in parts(keys[:MOST_TOLD]):
            rows += rows_of(self._clickhouse, project, _OUTLINE, are_spans(project, some))
        return [told(row) for row in sorted(rows, key=lambda row: (row.start_time, row.seq))]

    def part(self, project: str, trace_id: str, most: int, cursor: str | None = None) -> Trace | None:
        """See `Traces.part`."""
        after = Cursor.parse(cursor) if cursor is not None else None
        name = cut(trace_id)
        sums = self._sums(project, [name]).get(name)
        if sums is None:
            return None
        rows = self._first(project, [name], most + 1, after)
        around = above(rows[:most], lambda ids: self._named(project, name, ids))
        return trace_of(sums, rows, around, most)

    def beginnings(self, project: str, trace_ids: Collection[str], most: int) -> dict[str, Trace]:
        """See `Traces.beginnings`."""
        names = sorted(map(cut, trace_ids))
        sums = self._sums(project, names)
        rows: dict[str, list[Any]] = {name: [] for name in sums}
        for row in self._first(project, names, most + 1, None):
            rows.setdefault(row.trace_id, []).append(row)
        return {name: trace_of(each, rows[name], [], most) for name, each in sums.items()}

    def span(self, project: str, trace_id: str, span_id: str) -> StoredSpan | None:
        """See `Traces.span`."""
        asked = are_spans(project, [(cut(trace_id), cut(span_id))])
        rows = rows_of(self._clickhouse, project, COLUMNS, asked)
        return next(iter(with_bodies(self._clickhouse, project, rows)), None)

    def logs(self, project: str, trace_id: str, span_id: str) -> list[Any]:
        """See `Traces.logs`."""
        asked = are_spans(project, [(cut(trace_id), cut(span_id))])
        rows = self._clickhouse.rows(
            f"SELECT body FROM span_events FINAL WHERE {asked.sql} ORDER BY time, digest LIMIT {MOST_LOGS}",
            asked.parameters,
        )
        return [json.loads(row["body"]) for row in rows]

    def _sums(self, project: str, traces: Sequence[str]) -> dict[str, Any]:
        asked = in_traces(project, traces)
        calls = self._clickhouse.rows(
            f"SELECT trace_id, uniqExact(call_id) AS calls FROM span_calls FINAL WHERE {asked.sql} "
            "GROUP BY trace_id",
            asked.parameters,
        )
        many = {row["trace_id"]: row["calls"] for row in calls}
        rows = self._clickhouse.rows(
            f"SELECT trace_id, count() AS many, countIf(status = {FAILED}) AS failed, "
            "min(start_time) AS began, max(end_time) AS ended, min(session) AS session, min(user) AS user "
            f"FROM spans FINAL WHERE {asked.sql} GROUP BY trace_id",
            asked.parameters,
        )
        return {row["trace_id"]: SimpleNamespace(**row, calls=many.get(row["trace_id"], 0)) for row in rows}

    def _first(self, project: str, traces: Sequence[str], most: int, after: Cursor | None) -> list[Any]:
        """The first spans of each of some traces, behind the cursor if there is one."""
        asked = in_traces(project, traces)
        if after is not None:
            asked.add("(start_time, seq) > (?[Int64], ?[UInt64])", *after)
        order = f"trace_id, start_time, seq LIMIT {most} BY trace_id"
        return rows_of(self._clickhouse, project, _OUTLINE, asked, order)

    def _named(self, project: str, trace: str, ids: Sequence[str]) -> list[Any]:
        found: list[Any] = []
        for some in parts(ids):
            found += rows_of(
                self._clickhouse, project, _OUTLINE, are_spans(project, [(trace, name) for name in some])
            )
        return found
