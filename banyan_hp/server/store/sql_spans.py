"""Spans in SQLite or PostgreSQL. How calls are made of them is in `derivation.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from . import days
from .calls import Stored
from .database import Database
from .rows import cut, within_bytes
from .span_removal import TABLES, SpanRemoval
from .span_rows import (
    event_row_of,
    events_of_traces,
    key_of,
    row_of,
    rows_of_traces,
    span_of,
    with_bodies,
)
from .spans import Key, Rule, SpanKeeper, StoredEvent, StoredSpan
from .sql_derivation import CallsOfSpans, Derivation
from .tables import span_bodies, span_events, spans, to_derive

_REPLACED = (
    *("parent_id", "name", "role", "scope", "end_time", "counted_at", "status", "model"),
    *("input_tokens", "output_tokens", "response_id", "session", "user", "digest", "bytes"),
)


class SqlSpans:
    """See `Spans`."""

    def __init__(self, database: Database, calls_there: CallsOfSpans) -> None:
        self._database = database
        self._derivation = Derivation(database, calls_there)
        self._removal = SpanRemoval(database, calls_there)

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
        """See `Spans.trace`. Those that start last are without a body, where there is too much of them."""
        with self._database.read() as connection:
            rows = rows_of_traces(connection, project, [cut(trace_id)])
            shown = within_bytes(rows)
            left = [span_of(row, {}) for row in rows[len(shown) :]]
            return [*with_bodies(connection, shown, all_of=True), *left]

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

    def maintain(self, now: datetime) -> None:
        """See `Spans.maintain`."""
        if not self._database.is_postgres:
            return  # days share a table
        days.prepare(self._database, TABLES, now.date())

    # -- removed: see `span_removal` ---------------------------------------------------------------------

    def delete(self, project: str, equal: Mapping[str, str]) -> Iterator[int]:
        """See `Spans.delete`."""
        return self._removal.delete(project, equal)

    def trim(self, before: datetime, keeper: SpanKeeper | None = None) -> Iterator[int]:
        """See `Spans.trim`."""
        return self._removal.trim(before.date(), keeper)
