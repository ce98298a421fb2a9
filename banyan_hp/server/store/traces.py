"""Traces as pages show them: their spans without what they say, a bounded number at a time."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, case, func, literal, select, tuple_

from .cursors import Cursor
from .database import Database
from .rows import cut
from .span_rows import parts, with_bodies
from .spans import StoredSpan
from .tables import span_events, spans

FAILED = 2  # the status of a span that failed
_MOST_ABOVE = 30  # spans around each other, that are looked for above a part of a trace
_MOST_TOLD = 1_000
_MOST_LOGS = 100
_COLUMNS = [
    spans.c[name]
    for name in (
        *("seq", "trace_id", "span_id", "parent_id", "name", "role", "model", "status", "call_id"),
        *("start_time", "end_time"),
    )
]
_in_time = (spans.c.start_time, spans.c.seq)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlined:
    """A span without what it says; the fields are those of a `StoredSpan`."""

    span_id: str
    parent_id: str | None
    name: str
    role: str
    model: str | None
    start: int
    end: int
    failed: bool
    call_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Some spans of a trace, and what all of them amount to. Times are microseconds since 1970.

    Attributes:
        spans: by their start.
        above: the spans around these that are not among them.
        next: the cursor of those that start later; None: there are none.
        count, failed: how many spans there are, and how many of them failed.
        calls: how many calls they tell of.
        session, user: that one of them names.
    """

    trace_id: str
    spans: Sequence[Outlined]
    above: Sequence[Outlined]
    next: str | None
    count: int
    failed: int
    calls: int
    began: int
    ended: int
    session: str | None
    user: str | None


class Told(NamedTuple):
    """A span that tells of a call; `before`: the cursor from which a part of its trace begins with it."""

    call_id: str
    trace_id: str
    span_id: str
    before: str


class Traces:
    """The traces of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_calls(self, project: str, call_ids: Collection[str]) -> list[Told]:
        """The spans that tell of calls, by their start."""
        chosen = (spans.c.project == project, spans.c.call_id.in_(sorted(map(cut, call_ids))))
        query = select(*_COLUMNS).where(*chosen).order_by(*_in_time).limit(_MOST_TOLD)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [
            Told(row.call_id, row.trace_id, row.span_id, str(Cursor(row.start_time, max(row.seq - 1, 0))))
            for row in rows
        ]

    def part(self, project: str, trace_id: str, most: int, cursor: str | None = None) -> Trace | None:
        """Up to `most` spans of a trace, by their start, with those around them; None: there is none.

        Raises:
            UnusableCursorError: the cursor is none of such a part.
        """
        after = Cursor.parse(cursor) if cursor is not None else None
        name = cut(trace_id)
        with self._database.read() as connection:
            sums = _sums(connection, project, [name]).get(name)
            if sums is None:
                return None
            rows = list(connection.execute(_first(project, [name], most + 1, after)))
            above = _above(connection, project, name, rows[:most])
        return _trace(sums, rows, above, most)

    def beginnings(self, project: str, trace_ids: Collection[str], most: int) -> dict[str, Trace]:
        """The first spans of several traces: up to `most` of each. Those that are not there are left out."""
        names = sorted(map(cut, trace_ids))
        with self._database.read() as connection:
            sums = _sums(connection, project, names)
            rows: dict[str, list[Row[Any]]] = {name: [] for name in sums}
            for row in connection.execute(_first(project, names, most + 1, None)):
                rows[row.trace_id].append(row)
        return {name: _trace(each, rows[name], [], most) for name, each in sums.items()}

    def span(self, project: str, trace_id: str, span_id: str) -> StoredSpan | None:
        """One span with all that it says.

        Raises:
            BusyError: it is being moved.
        """
        chosen = (spans.c.trace_id == cut(trace_id), spans.c.span_id == cut(span_id))
        query = select(spans).where(spans.c.project == project, *chosen).order_by(*_in_time).limit(1)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            return next(iter(with_bodies(connection, rows, all_of=True)), None)

    def logs(self, project: str, trace_id: str, span_id: str) -> list[Any]:
        """The bodies of the first log events that belong to a span."""
        chosen = (span_events.c.trace_id == cut(trace_id), span_events.c.span_id == cut(span_id))
        query = select(span_events.c.body).where(span_events.c.project == project, *chosen)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(span_events.c.time).limit(_MOST_LOGS)).scalars()
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


def _above(connection: Connection, project: str, trace: str, rows: Sequence[Row[Any]]) -> list[Row[Any]]:
    """The spans around these, and around those, that are not among them."""
    known = {row.span_id for row in rows}
    found: list[Row[Any]] = []
    inner = rows
    for _ in range(_MOST_ABOVE):
        wanted = sorted({row.parent_id for row in inner if row.parent_id is not None} - known)
        inner = []
        for some in parts(wanted):
            chosen = (spans.c.project == project, spans.c.trace_id == trace, spans.c.span_id.in_(some))
            inner = [*inner, *connection.execute(select(*_COLUMNS).where(*chosen))]
        known |= set(wanted)
        found += inner
        if not inner:
            break
    return found


def _trace(sums: Row[Any], rows: Sequence[Row[Any]], above: Sequence[Row[Any]], most: int) -> Trace:
    shown = rows[:most]
    more = len(rows) > most
    return Trace(
        trace_id=sums.trace_id,
        spans=[_outlined(row) for row in shown],
        above=[_outlined(row) for row in above],
        next=str(Cursor(shown[-1].start_time, shown[-1].seq)) if more else None,
        count=sums.many,
        failed=int(sums.failed),
        calls=sums.calls,
        began=sums.began,
        ended=sums.ended,
        session=sums.session,
        user=sums.user,
    )


def _outlined(row: Row[Any]) -> Outlined:
    return Outlined(
        span_id=row.span_id,
        parent_id=row.parent_id,
        name=row.name,
        role=row.role,
        model=row.model,
        start=row.start_time,
        end=row.end_time,
        failed=row.status == FAILED,
        call_id=row.call_id,
    )
