"""Where SQLite and PostgreSQL differ about calls: text search, days, and which calls are there for good."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import Connection, Date, Row, String, bindparam, column, func, select, table, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import ColumnElement

from .cursors import Cursor
from .database import Database
from .search import Phrase
from .tables import bodies, calls

Words = tuple[int, date, list[str]]
_DAYS_BEFORE, _DAYS_AHEAD = 1, 7
_VACUUM_PAGES = 2000
_PARTITIONED = (calls.name, bodies.name, "call_search")


_key = itemgetter("project", "day", "id")
_RETURNED = ("project", "day", "id", "seq", "deliveries")
_POSTGRES: Any = postgresql.dialect  # SQLAlchemy leaves it untyped
_POSTGRES_TYPES = {
    column.name: str(column.type.compile(_POSTGRES())) for column in calls.c if column.name != "xact"
}
_COLUMNS = ", ".join(json.dumps(name) for name in _POSTGRES_TYPES)
_ARRAYS = ", ".join(f"%s::{kind}[]" for kind in _POSTGRES_TYPES.values())
# One parameter a column: a statement with one for each value takes psycopg longer than PostgreSQL.
_INSERT_CALLS = (
    f"INSERT INTO calls ({_COLUMNS}) SELECT * FROM unnest({_ARRAYS}) "  # noqa: S608
    "ON CONFLICT (project, day, id) DO UPDATE SET deliveries = calls.deliveries + 1 "
    f"WHERE calls.digest = excluded.digest RETURNING {', '.join(f'calls.{name}' for name in _RETURNED)}"
)
_TAKE_NUMBERS = "SELECT nextval('calls_seq') FROM generate_series(1, %s)"
_INSERT_BODIES = (
    "INSERT INTO call_bodies (seq, day, body) SELECT * FROM unnest(%s::bigint[], %s::date[], %s::text[])"
)
_INSERT_TO_INDEX = "INSERT INTO calls_to_index (seq, day) SELECT * FROM unnest(%s::bigint[], %s::date[])"
_MAKE_DAY = """
CREATE TABLE {own} (LIKE {name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
WITH gone AS (DELETE FROM {name}_other WHERE day = '{day}' RETURNING *) INSERT INTO {own} SELECT * FROM gone;
ALTER TABLE {name} ATTACH PARTITION {own} FOR VALUES FROM ('{day}') TO ('{next_day}')
"""


class Dialect(Protocol):
    """What `SqlCalls` leaves to a database."""

    def numbered(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
        """The order in which to write rows; they are numbered in the order in which they were sent."""

    def insert_calls(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Row[Any]]:
        """Insert rows of different keys; a repeat counts a delivery, a row with another digest is left out.

        Returns project, day, id, seq and deliveries of the others.
        """

    def insert_bodies(self, connection: Connection, rows: Sequence[tuple[int, date, str]]) -> None:
        """Insert bodies of new calls, which are to be indexed."""

    def settled(self) -> tuple[ColumnElement[bool], ...]:
        """Conditions: no call will appear before one of these."""

    def end(self, connection: Connection) -> Cursor:
        """The position behind all calls that are there."""

    def has_text(self, phrases: Sequence[Phrase]) -> ColumnElement[bool]:
        """Condition: all phrases occur in the call."""

    def store_words(self, connection: Connection, found: Sequence[Words]) -> None:
        """Make calls findable."""

    def forget_words(self, connection: Connection, gone: Sequence[tuple[int, list[str]]]) -> None:
        """Undo it."""

    def prepare_days(self, database: Database, today: date) -> None:
        """Make room for the calls of the days to come."""

    def drop_days(self, database: Database, before: date) -> Iterator[int]:
        """Remove whole days, where that costs nothing; how many calls each had."""

    def reclaim(self, database: Database) -> None:
        """Give the space of removed calls back."""


def dialect_of(database: Database) -> Dialect:
    """The one of this database."""
    return _Postgres() if database.is_postgres else _Sqlite()


class _Sqlite:
    def numbered(self, _connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
        return list(range(len(rows)))  # as they are written

    def insert_calls(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Row[Any]]:
        statement = sqlite.insert(calls)
        statement = statement.on_conflict_do_update(
            index_elements=["project", "day", "id"],
            set_={"deliveries": calls.c.deliveries + 1},
            where=calls.c.digest == statement.excluded.digest,
        )
        returned = statement.returning(*(calls.c[name] for name in _RETURNED))
        return list(connection.execute(returned, list(rows)))

    def insert_bodies(self, connection: Connection, rows: Sequence[tuple[int, date, str]]) -> None:
        dated = [(seq, day.isoformat(), body) for seq, day, body in rows]
        connection.exec_driver_sql("INSERT INTO call_bodies (seq, day, body) VALUES (?, ?, ?)", dated)
        queued = [(seq, day) for seq, day, _ in dated]
        connection.exec_driver_sql("INSERT INTO calls_to_index (seq, day) VALUES (?, ?)", queued)

    def settled(self) -> tuple[ColumnElement[bool], ...]:
        return ()  # one writer at a time: numbers are the order of commits

    def end(self, connection: Connection) -> Cursor:
        return Cursor(0, connection.execute(select(func.coalesce(func.max(calls.c.seq), 0))).scalar_one())

    def has_text(self, phrases: Sequence[Phrase]) -> ColumnElement[bool]:
        found = table("call_search", column("rowid"))
        query = " ".join('"' + " ".join(words) + '"' for words in phrases)
        matches = text("call_search MATCH :words").bindparams(bindparam("words", query, unique=True))
        return calls.c.seq.in_(select(found.c.rowid).where(matches))

    def store_words(self, connection: Connection, found: Sequence[Words]) -> None:
        rows = [(seq, " ".join(words)) for seq, _, words in found]
        if rows:
            connection.exec_driver_sql("INSERT INTO call_search (rowid, words) VALUES (?, ?)", rows)

    def forget_words(self, connection: Connection, gone: Sequence[tuple[int, list[str]]]) -> None:
        rows = [(seq, " ".join(words)) for seq, words in gone]
        forget = "INSERT INTO call_search (call_search, rowid, words) VALUES ('delete', ?, ?)"
        if rows:
            connection.exec_driver_sql(forget, rows)

    def prepare_days(self, database: Database, today: date) -> None:
        """Nothing: days share a table."""

    def drop_days(self, _database: Database, _before: date) -> Iterator[int]:
        yield from ()

    def reclaim(self, database: Database) -> None:
        with database.outside_transactions() as connection:
            raw: Any = connection.connection.driver_connection
            raw.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()  # frees a page a step


class _Postgres:
    def numbered(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
        taken = connection.exec_driver_sql(_TAKE_NUMBERS, (len(rows),))
        for row, number in zip(rows, taken.scalars(), strict=True):
            row["seq"] = number
        # In one order in all processes, or two that store the same calls could wait for each other.
        return sorted(range(len(rows)), key=lambda index: _key(rows[index]))

    def insert_calls(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Row[Any]]:
        columns = [[row[name] for row in rows] for name in _POSTGRES_TYPES]
        return list(connection.exec_driver_sql(_INSERT_CALLS, tuple(columns)))

    def insert_bodies(self, connection: Connection, rows: Sequence[tuple[int, date, str]]) -> None:
        columns = tuple(map(list, zip(*rows, strict=True)))
        connection.exec_driver_sql(_INSERT_BODIES, columns)
        connection.exec_driver_sql(_INSERT_TO_INDEX, columns[:2])

    def settled(self) -> tuple[ColumnElement[bool], ...]:
        return (calls.c.xact < text("pg_snapshot_xmin(pg_current_snapshot())::text::bigint"),)

    def end(self, connection: Connection) -> Cursor:
        oldest = connection.exec_driver_sql("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        return Cursor(oldest.scalar_one() - 1, 2**63 - 1)

    def has_text(self, phrases: Sequence[Phrase]) -> ColumnElement[bool]:
        found = table("call_search", column("seq"), column("day", Date), column("words", String))
        query = " & ".join("(" + " <-> ".join(f"'{word}'" for word in words) + ")" for words in phrases)
        matches = found.c.words.op("@@")(text("CAST(:query AS tsquery)").bindparams(query=query))
        chosen = select(found.c.seq).where(matches, found.c.day == calls.c.day, found.c.seq == calls.c.seq)
        return chosen.exists()

    def store_words(self, connection: Connection, found: Sequence[Words]) -> None:
        rows = [(seq, day, _vector(words)) for seq, day, words in found]
        if rows:
            store = "INSERT INTO call_search (seq, day, words) VALUES (%s, %s, CAST(%s AS tsvector))"
            connection.exec_driver_sql(store, rows)

    def forget_words(self, connection: Connection, gone: Sequence[tuple[int, list[str]]]) -> None:
        numbers = [seq for seq, _ in gone]
        if numbers:
            connection.exec_driver_sql("DELETE FROM call_search WHERE seq = ANY(%s)", (numbers,))

    def prepare_days(self, database: Database, today: date) -> None:
        for ahead in range(-_DAYS_BEFORE, _DAYS_AHEAD + 1):
            day = today + timedelta(days=ahead)
            database.write(lambda connection, day=day: self._make_day(connection, day))  # type: ignore[misc]

    def _make_day(self, connection: Connection, day: date) -> None:
        """A partition for the day, with what has come for it already. One process does, the others wait."""
        if _exists(connection, _partition("calls", day)):
            return
        connection.exec_driver_sql("LOCK TABLE calls IN SHARE ROW EXCLUSIVE MODE")
        if _exists(connection, _partition("calls", day)):
            return
        for name in _PARTITIONED:
            script = _MAKE_DAY.format(
                name=name, own=_partition(name, day), day=day, next_day=day + timedelta(days=1)
            )
            connection.exec_driver_sql(script)

    def drop_days(self, database: Database, before: date) -> Iterator[int]:
        with database.read() as connection:
            days = _days(connection)
        for day in days:
            if day < before:
                yield database.write(lambda connection, day=day: self._drop_day(connection, day))  # type: ignore[misc]

    def _drop_day(self, connection: Connection, day: date) -> int:
        if not _exists(connection, _partition("calls", day)):
            return 0
        count = connection.exec_driver_sql(f"SELECT count(*) FROM {_partition('calls', day)}")  # noqa: S608
        removed = int(count.scalar_one())
        connection.exec_driver_sql("DELETE FROM calls_to_index WHERE day = %s", (day,))
        for name in _PARTITIONED:
            connection.exec_driver_sql(f"DROP TABLE {_partition(name, day)}")
        return removed

    def reclaim(self, database: Database) -> None:
        """Nothing: PostgreSQL's own vacuum does."""


def _vector(words: Sequence[str]) -> str:
    positions: dict[str, list[str]] = {}
    for position, word in enumerate(words, 1):
        positions.setdefault(word, []).append(str(position))
    return " ".join(f"'{word}':{','.join(places)}" for word, places in positions.items())


def _partition(name: str, day: date) -> str:
    return f"{name}_{day:%Y%m%d}"


def _exists(connection: Connection, name: str) -> bool:
    return connection.exec_driver_sql("SELECT to_regclass(%s)", (name,)).scalar_one() is not None


def _days(connection: Connection) -> list[date]:
    names = connection.exec_driver_sql(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
        "WHERE inhparent = 'calls'::regclass AND relname <> 'calls_other' ORDER BY relname"
    )
    return [datetime.strptime(row[0][-8:], "%Y%m%d").replace(tzinfo=UTC).date() for row in names]
