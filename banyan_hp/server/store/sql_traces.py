"""Traces in SQLite or PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, case, func, literal, select, tuple_

from .cursors import Cursor
from .database import Database
from .rows import cut
from .span_rows import parts, with_bodies
from .spans import StoredSpan
from .tables import span_events, spans
from .traces import FAILED, MOST_LOGS, MOST_TOLD, OUTLINE, Told, Trace, above, told, trace_of

_COLUMNS = [spans.c[name] for name in (*OUTLINE, "call_id")]
_in_time = (spans.c.start_time, spans.c.seq)


class SqlTraces:
    """See `Traces`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_calls(self, project: str, call_ids: Collection[str]) -> list[Told]:
        """See `Traces.of_calls`."""
        chosen = (spans.c.project == project, spans.c.call_id.in_(sorted(map(cut, call_ids))))
        query = select(*_COLUMNS).where(*chosen).order_by(*_in_time).limit(MOST_TOLD)
        with self._database.read() as connection:
            return [told(row) for row in connection.execute(query)]

    def part(self, project: str, trace_id: str, most: int, cursor: str | None = None) -> Trace | None:
        """See `Traces.part`."""
        after = Cursor.parse(cursor) if cursor is not None else None
        name = cut(trace_id)
        with self._database.read() as connection:
            sums = _sums(connection, project, [name]).get(name)
            if sums is None:
                return None
            rows = list(connection.execute(_first(project, [name], most + 1, after)))
            around = above(rows[:most], lambda ids: _named(connection, project, name, ids))
        return trace_of(sums, rows, around, most)

    def beginnings(self, project: str, trace_ids: Collection[str], most: int) -> dict[str, Trace]:
        """See `Traces.beginnings`."""
        names = sorted(map(cut, trace_ids))
        with self._database.read() as connection:
            sums = _sums(connection, project, names)
            rows: dict[str, list[Row[Any]]] = {name: [] for name in sums}
            for row in connection.execute(_first(project, names, most + 1, None)):
                rows[row.trace_id].append(row)
        return {name: trace_of(each, rows[name], [], most) for name, each in sums.items()}

    def span(self, project: str, trace_id: str, span_id: str) -> StoredSpan | None:
        """See `Traces.span`."""
        chosen = (spans.c.trace_id == cut(trace_id), spans.c.span_id == cut(span_id))
        query = select(spans).where(spans.c.project == project, *chosen).order_by(*_in_time).limit(1)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            return next(iter(with_bodies(connection, rows, all_of=True)), None)

    def logs(self, project: str, trace_id: str, span_id: str) -> list[Any]:
        """See `Traces.logs`."""
        chosen = (span_events.c.trace_id == cut(trace_id), span_events.c.span_id == cut(span_id))
        query = select(span_events.c.body).where(span_events.c.project == project, *chosen)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(span_events.c.time).limit(MOST_LOGS)).scalars()
            return [json.loads(body) for body in found]


def _sums(connection: Connection, project: str, traces: Sequence[str]) -> dict[str, Row[Any]]:
    query = select(
        spans.c.trace_id,
        func.count().label("many"),
        func.coalesce(func.sum(case((spans.c.status == FAILED, 1), else_=0)), 0).label("failed"),
        func.count(spans.c.call_id.distinct()).label("calls"),
        func.min(spans.c.start_time).label("began"),
        func.max(spans.c.end_time).label("ended"),
        func.min(spans.c.session).label("session"),
        func.min(spans.c.user).label("user"),
    ).where(spans.c.project == project, spans.c.trace_id.in_(traces))
    return {row.trace_id: row for row in connection.execute(query.group_by(spans.c.trace_id))}


def _first(project: str, traces: Sequence[str], most: int, after: Cursor | None) -> Select[Any]:
    """The first spans of each of some traces, behind the cursor if there is one."""
    place = func.row_number().over(partition_by=spans.c.trace_id, order_by=_in_time).label("place")
    query = select(*_COLUMNS, place).where(spans.c.project == project, spans.c.trace_id.in_(traces))
    if after is not None:
        query = query.where(tuple_(*_in_time) > tuple_(*map(literal, after)))
    numbered = query.subquery()
    return select(numbered).where(numbered.c.place <= most).order_by(numbered.c.trace_id, numbered.c.place)


def _named(connection: Connection, project: str, trace: str, ids: Sequence[str]) -> list[Row[Any]]:
    found: list[Row[Any]] = []
    for some in parts(ids):
        chosen = (spans.c.project == project, spans.c.trace_id == trace, spans.c.span_id.in_(some))
        found += connection.execute(select(*_COLUMNS).where(*chosen))
    return found
