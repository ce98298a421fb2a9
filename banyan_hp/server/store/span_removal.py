"""Removing spans: a person's traces, and those that are older than they are kept.

What is old goes day by day, in steps. Where a keeper takes spans first, a step's spans are safe with it
before they are removed; after a crash between the two they come to it again, and it knows those that it has.
In PostgreSQL whole days go at once where nothing keeps them, and empty ones always.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, and_, delete, func, or_, select

from .calls import microseconds, time_of
from .database import Database
from .partitions import days_of, exists, lock_out, partition_of
from .rows import cut, these, within_bytes
from .span_rows import parts, with_bodies
from .spans import SpanKeeper
from .sql_derivation import CallsOfSpans
from .tables import span_bodies, span_events, spans, to_derive

STEP = 1000  # rows that one transaction removes
KEPT_AT_ONCE = 20_000
TABLES = (spans.name, span_bodies.name, span_events.name)
_TRACES = 100  # that one transaction removes
_DAY = timedelta(days=1)


class SpanRemoval:
    """Removes spans from a database."""

    def __init__(self, database: Database, calls_there: CallsOfSpans) -> None:
        self._database = database
        self._calls = calls_there

    def delete(self, project: str, equal: Mapping[str, str]) -> Iterator[int]:
        """See `Spans.delete`."""
        chosen = {name: cut(value) for name, value in equal.items()}
        if set(chosen) == {"id"}:
            one = (spans.c.project == project, spans.c.call_id == chosen["id"])
            yield from self._steps(lambda connection: _remove_some(connection, one))
            return
        yield from self._steps(lambda connection: self._remove_traces(connection, project, chosen))

    def trim(self, before: date, keeper: SpanKeeper | None) -> Iterator[int]:
        """See `Spans.trim`."""
        if keeper is None:
            yield from self._drop_days(before)
        limit = microseconds(datetime.combine(before, time(), UTC))
        old = (spans.c.start_time < limit, spans.c.received_at < limit)
        for project in self._projects():
            here = (spans.c.project == project, *old)
            if keeper is None:
                yield from self._steps(lambda connection, here=here: _remove_some(connection, here))  # type: ignore[misc]
            else:
                yield from self._kept(project, here, keeper)
        events = (span_events.c.time < limit, span_events.c.received_at < limit)
        yield from self._steps(lambda connection: _remove_events(connection, events))
        if keeper is not None:
            yield from self._drop_days(before)

    def _kept(self, project: str, old: Sequence[Any], keeper: SpanKeeper) -> Iterator[int]:
        """Remove old spans, day by day, once they are kept."""
        oldest = select(func.min(spans.c.start_time)).where(*old)
        while True:
            with self._database.read() as connection:
                first = connection.execute(oldest).scalar()
                if first is None:
                    return
                day = time_of(first).date()
                end = microseconds(datetime.combine(day, time(), UTC) + _DAY)
                query = select(spans).where(*old, spans.c.start_time < end).order_by(spans.c.start_time)
                rows = within_bytes(connection.execute(query.limit(KEPT_AT_ONCE)).all())
                found = with_bodies(connection, rows, all_of=True)
            keeper.keep_spans(project, day, found)
            for some in parts(rows):
                yield self._database.write(lambda connection, some=some: _remove(connection, some))  # type: ignore[misc]

    def _drop_days(self, before: date) -> Iterator[int]:
        """Drop old days as a whole: all that came before that day, or nothing at all."""
        if not self._database.is_postgres:
            return
        with self._database.read() as connection:
            days = [day for day in days_of(connection, spans.name) if day < before]
        limit = microseconds(datetime.combine(before, time(), UTC))
        for day in days:
            yield self._database.write(lambda connection, day=day: _drop_day(connection, day, limit))  # type: ignore[misc]

    def _projects(self) -> Iterator[str]:
        """All that have spans, from the index's one entry to the next project's first."""
        project: str | None = ""
        while project is not None:
            query = select(func.min(spans.c.project)).where(spans.c.project > project)
            with self._database.read() as connection:
                project = connection.execute(query).scalar()
            if project is not None:
                yield project

    def _remove_traces(self, connection: Connection, project: str, chosen: Mapping[str, str]) -> int:
        """Whole traces: what is around a person's calls repeats what was said in them."""
        own = [spans.c[name] == value for name, value in chosen.items() if name in ("session", "user")]
        named = self._calls.ids_of(project, chosen)
        here = or_(and_(*own), spans.c.call_id.in_(named)) if own else spans.c.call_id.in_(named)
        query = select(spans.c.trace_id).where(spans.c.project == project, here).distinct().limit(_TRACES)
        traces = list(connection.execute(query).scalars())
        if not traces:
            return 0
        of_traces = (spans.c.project == project, spans.c.trace_id.in_(traces))
        removed = 0
        while step := _remove_some(connection, of_traces):
            removed += step
        for table in (span_events, to_derive):
            connection.execute(delete(table).where(table.c.project == project, table.c.trace_id.in_(traces)))
        return removed

    def _steps(self, step: Callable[[Connection], int]) -> Iterator[int]:
        while removed := self._database.write(step):
            yield removed


def _drop_day(connection: Connection, day: date, limit: int) -> int:
    """Unless some of its spans came later."""
    own = partition_of(spans.name, day)
    if not exists(connection, own):
        return 0
    removed = int(connection.exec_driver_sql(f"SELECT count(*) FROM {own}").scalar_one())  # noqa: S608
    lock_out(connection, spans.name)
    late = f"SELECT EXISTS (SELECT FROM {own} WHERE received_at >= %s)"  # noqa: S608
    if connection.exec_driver_sql(late, (limit,)).scalar_one():
        return 0
    for name in TABLES:
        connection.exec_driver_sql(f"DROP TABLE {partition_of(name, day)}")
    return removed


def _remove_some(connection: Connection, chosen: Sequence[Any]) -> int:
    columns = (spans.c.seq, spans.c.day, spans.c.project, spans.c.trace_id, spans.c.span_id)
    rows = connection.execute(select(*columns).where(*chosen).limit(STEP)).all()
    for some in parts(rows):
        _remove(connection, some)
    return len(rows)


def _remove(connection: Connection, rows: Sequence[Any]) -> int:
    """These spans, with their bodies and the log events that joined them."""
    connection.execute(delete(span_bodies).where(*these(span_bodies, rows)))
    removed = connection.execute(delete(spans).where(*these(spans, rows))).rowcount
    for project in {row.project for row in rows}:
        connection.execute(
            delete(span_events).where(
                span_events.c.project == project,
                span_events.c.trace_id.in_({row.trace_id for row in rows}),
                span_events.c.span_id.in_({row.span_id for row in rows}),
            )
        )
    return removed


def _remove_events(connection: Connection, chosen: Sequence[Any]) -> int:
    """Log events whose span never came."""
    query = select(span_events.c.seq, span_events.c.day).where(*chosen).limit(STEP)
    rows = connection.execute(query).all()
    for some in parts(rows):
        connection.execute(delete(span_events).where(*these(span_events, some)))
    return len(rows)
