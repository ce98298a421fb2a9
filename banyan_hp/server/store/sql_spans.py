"""Spans in SQLite or PostgreSQL. How calls are made of them is in `derivation.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from .calls import Stored, microseconds
from .database import Database
from .derivation import Derivation
from .rows import cut, these
from .span_rows import (
    event_row_of,
    events_of_traces,
    key_of,
    parts,
    row_of,
    rows_of_traces,
    with_bodies,
)
from .spans import Key, Rule, StoredEvent, StoredSpan
from .sql_calls import SqlCalls
from .tables import calls, span_bodies, span_events, spans, to_derive

STEP = 1000  # rows that one transaction removes
_TRACES = 100  # that one transaction removes
_REPLACED = (
    *("parent_id", "name", "role", "scope", "end_time", "counted_at", "status", "model"),
    *("input_tokens", "output_tokens", "response_id", "session", "user", "digest", "bytes"),
)


class SqlSpans:
    """See `Spans`."""

    def __init__(self, database: Database, calls_there: SqlCalls) -> None:
        self._database = database
        self._derivation = Derivation(database, calls_there)

    # -- on their way in ---------------------------------------------------------------------------------

    def append(self, given: Sequence[StoredSpan | StoredEvent]) -> list[Stored]:
        """See `Spans.append`."""
        rows = [row_of(each) if isinstance(each, StoredSpan) else event_row_of(each) for each in given]
        of_spans = [number for number, each in enumerate(given) if isinstance(each, StoredSpan)]
        of_events = [number for number, each in enumerate(given) if not isinstance(each, StoredSpan)]

        def work(connection: Connection) -> list[Stored]:
            new = self._store_spans(connection, rows, of_spans) | self._store_events(
                connection, rows, of_events
            )
            arrived = sorted({(rows[number]["project"], rows[number]["trace_id"]) for number in new})
            if arrived:
                listed = [{"project": project, "trace_id": trace} for project, trace in arrived]
                connection.execute(insert(to_derive), listed)
            return [Stored.NEW if number in new else Stored.REPEAT for number in range(len(given))]

        return self._database.write(work)

    def _store_spans(self, connection: Connection, rows: list[dict[str, Any]], chosen: list[int]) -> set[int]:
        """The numbers of those that are new, or newer than what was there."""
        # In one order in all processes, or two that store the same spans could wait for each other.
        ordered = sorted(chosen, key=lambda number: key_of(rows[number]))
        columns = (spans.c.seq, spans.c.project, spans.c.trace_id, spans.c.span_id, spans.c.day)
        inserted = self._inserted(connection, spans, [rows[number] for number in ordered], columns)
        numbers = {tuple(row[1:]): row.seq for row in inserted}
        new: set[int] = set()
        texts = []
        for number in ordered:
            seq = numbers.pop(key_of(rows[number]), None)
            if seq is not None:
                new.add(number)
                texts.append({"seq": seq, "day": rows[number]["day"], "body": rows[number]["body"]})
            elif self._replaces(connection, rows[number]):
                new.add(number)
        if texts:
            connection.execute(insert(span_bodies), texts)
        return new

    def _replaces(self, connection: Connection, row: Mapping[str, Any]) -> bool:
        """Of two tellings of one span the one counts that ends later, whichever came first."""
        same = and_(*(spans.c[name] == row[name] for name in ("project", "trace_id", "span_id", "day")))
        held = connection.execute(select(spans.c.seq, spans.c.end_time, spans.c.digest).where(same)).one()
        if (row["end_time"], row["digest"]) <= (held.end_time, bytes(held.digest)):
            return False
        changed = {name: row[name] for name in _REPLACED}
        connection.execute(update(spans).where(same).values(changed))
        here = (span_bodies.c.seq == held.seq, span_bodies.c.day == row["day"])
        connection.execute(update(span_bodies).where(*here).values(body=row["body"]))
        return True

    def _store_events(
        self, connection: Connection, rows: list[dict[str, Any]], chosen: list[int]
    ) -> set[int]:
        ordered = sorted(chosen, key=lambda number: (*key_of(rows[number]), rows[number]["digest"]))
        columns = (span_events.c.project, span_events.c.trace_id, span_events.c.span_id, span_events.c.digest)
        inserted = self._inserted(connection, span_events, [rows[number] for number in ordered], columns)
        found = {(*row[:3], bytes(row[3])) for row in inserted}
        return {number for number in chosen if (*key_of(rows[number])[:3], rows[number]["digest"]) in found}

    def _inserted(
        self, connection: Connection, table: Any, rows: list[dict[str, Any]], columns: Sequence[Any]
    ) -> list[Any]:
        """Insert those that are not there yet; what these columns hold of them."""
        if not rows:
            return []
        dialect: Any = postgresql if self._database.is_postgres else sqlite
        statement = dialect.insert(table).on_conflict_do_nothing().returning(*columns)
        names = {column.name for column in table.c} - {"seq", "call_id"}
        listed = [{name: value for name, value in row.items() if name in names} for row in rows]
        return list(connection.execute(statement, listed))

    # -- read back ---------------------------------------------------------------------------------------

    def trace(self, project: str, trace_id: str) -> list[StoredSpan]:
        """See `Spans.trace`."""
        with self._database.read() as connection:
            return with_bodies(connection, rows_of_traces(connection, project, [cut(trace_id)]), all_of=True)

    def events(self, project: str, trace_id: str) -> Mapping[Key, Sequence[Mapping[str, Any]]]:
        """See `Spans.events`."""
        with self._database.read() as connection:
            return events_of_traces(connection, project, [cut(trace_id)])

    # -- made into calls ---------------------------------------------------------------------------------

    def derive(self, limit: int, rule: Rule) -> int:
        """See `Spans.derive`."""
        return self._derivation.derive(limit, rule)

    def underived(self) -> int:
        """See `Spans.underived`."""
        with self._database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(to_derive)).scalar_one())

    def rebuild(self, project: str) -> int:
        """See `Spans.rebuild`."""
        listed = select(spans.c.project, spans.c.trace_id).where(spans.c.project == project).distinct()
        again = insert(to_derive).from_select(["project", "trace_id"], listed)
        many = select(func.count()).select_from(listed.subquery())

        def work(connection: Connection) -> int:
            connection.execute(again)
            return int(connection.execute(many).scalar_one())

        return self._database.write(work)

    # -- removed -----------------------------------------------------------------------------------------

    def delete(self, project: str, equal: Mapping[str, str]) -> Iterator[int]:
        """See `Spans.delete`."""
        chosen = {name: cut(value) for name, value in equal.items()}
        if set(chosen) == {"id"}:
            one = (spans.c.project == project, spans.c.call_id == chosen["id"])
            yield from self._steps(lambda connection: self._remove(connection, one))
            return
        yield from self._steps(lambda connection: self._remove_traces(connection, project, chosen))

    def _remove_traces(self, connection: Connection, project: str, chosen: Mapping[str, str]) -> int:
        """Whole traces: what is around a person's calls repeats what was said in them."""
        own = [spans.c[name] == value for name, value in chosen.items() if name in ("session", "user")]
        theirs = [calls.c[name] == value for name, value in chosen.items()]
        named = select(calls.c.id).where(calls.c.project == project, calls.c.source == "otlp", *theirs)
        here = or_(and_(*own), spans.c.call_id.in_(named)) if own else spans.c.call_id.in_(named)
        query = select(spans.c.trace_id).where(spans.c.project == project, here).distinct().limit(_TRACES)
        traces = list(connection.execute(query).scalars())
        if not traces:
            return 0
        of_traces = (spans.c.project == project, spans.c.trace_id.in_(traces))
        removed = 0
        while step := self._remove(connection, of_traces):
            removed += step
        for table in (span_events, to_derive):
            connection.execute(delete(table).where(table.c.project == project, table.c.trace_id.in_(traces)))
        return removed

    def trim(self, before: datetime) -> Iterator[int]:
        """See `Spans.trim`. By the arrival, too: a sender's clock may be wrong."""
        limit = microseconds(datetime.combine(before, time(), UTC))
        old = (spans.c.start_time < limit, spans.c.received_at < limit)
        events = (span_events.c.time < limit, span_events.c.received_at < limit)
        for project in self._projects():
            here = (spans.c.project == project, *old)
            yield from self._steps(lambda connection, here=here: self._remove(connection, here))  # type: ignore[misc]
        yield from self._steps(lambda connection: self._remove_events(connection, events))

    def _projects(self) -> Iterator[str]:
        project: str | None = ""
        while project is not None:
            with self._database.read() as connection:
                query = select(func.min(spans.c.project)).where(spans.c.project > project)
                project = connection.execute(query).scalar()
            if project is not None:
                yield project

    def _steps(self, step: Callable[[Connection], int]) -> Iterator[int]:
        while removed := self._database.write(step):
            yield removed

    def _remove(self, connection: Connection, chosen: Sequence[Any]) -> int:
        """Some of the chosen spans, with their bodies and the log events that joined them."""
        columns = (spans.c.seq, spans.c.day, spans.c.project, spans.c.trace_id, spans.c.span_id)
        rows = connection.execute(select(*columns).where(*chosen).limit(STEP)).all()
        for some in parts(rows):
            connection.execute(delete(span_bodies).where(*these(span_bodies, some)))
            connection.execute(delete(spans).where(*these(spans, some)))
            events = span_events.c
            for project in {row.project for row in some}:
                connection.execute(
                    delete(span_events).where(
                        events.project == project,
                        events.trace_id.in_({row.trace_id for row in some}),
                        events.span_id.in_({row.span_id for row in some}),
                    )
                )
        return len(rows)

    def _remove_events(self, connection: Connection, chosen: Sequence[Any]) -> int:
        query = select(span_events.c.seq, span_events.c.day).where(*chosen).limit(STEP)
        rows = connection.execute(query).all()
        for some in parts(rows):
            connection.execute(delete(span_events).where(*these(span_events, some)))
        return len(rows)
