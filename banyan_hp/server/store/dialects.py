"""Where SQLite and PostgreSQL differ about calls: text search, days, and which calls are there for good."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection, Date, String, and_, bindparam, column, func, or_, select, table, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.elements import ColumnElement

from . import days
from .calls import UNDATED
from .cursors import Cursor
from .database import Database
from .partitions import days_of
from .restored import mend_positions
from .search import Phrase
from .tables import calls

Words = tuple[int, date, list[str]]
_VACUUM_PAGES = 2000
_MERGE_PAGES = 500
_key = itemgetter("project", "day", "id")
_RETURNED = ("project", "day", "id", "seq", "deliveries")
_POSTGRES: Any = postgresql.dialect  # SQLAlchemy leaves it untyped
_POSTGRES_TYPES = {
    column.name: str(column.type.compile(_POSTGRES())) for column in calls.c if column.name != "xact"
}
_COLUMNS = ", ".join(json.dumps(name) for name in _POSTGRES_TYPES)
_row_values = itemgetter(*_POSTGRES_TYPES)
_ARRAYS = ", ".join(f"%s::{kind}[]" for kind in _POSTGRES_TYPES.values())
# One parameter a column: a statement with one for each value takes psycopg longer than PostgreSQL.
_INSERT_CALLS = (
    f"INSERT INTO calls ({_COLUMNS}) SELECT * FROM unnest({_ARRAYS}) "  # noqa: S608
    "ON CONFLICT (project, day, id) DO UPDATE SET deliveries = calls.deliveries + 1 "
    f"WHERE calls.digest = excluded.digest RETURNING {', '.join(f'calls.{name}' for name in _RETURNED)}"
)
_AT_ONCE = 100  # rows of one statement
_SQLITE_COLUMNS = [name for name in _POSTGRES_TYPES if name != "seq"]
_values = itemgetter(*_SQLITE_COLUMNS)
_SQLITE_ROW = f"({', '.join('?' * len(_SQLITE_COLUMNS))})"
_SQLITE_INSERT = (
    f"INSERT INTO calls ({', '.join(map(json.dumps, _SQLITE_COLUMNS))}) VALUES {{}} "  # noqa: S608
    "ON CONFLICT (project, day, id) DO UPDATE SET deliveries = deliveries + 1 "
    "WHERE digest = excluded.digest RETURNING project, day, id, seq, deliveries"
)
_TAKE_NUMBERS = "SELECT nextval('calls_seq') FROM generate_series(1, %s)"
_COPY_BODIES = "COPY call_bodies (seq, day, body) FROM STDIN"
_COPY_WORDS = "COPY call_search (seq, day, words) FROM STDIN"
_COPY_TO_INDEX = "COPY calls_to_index (seq, day) FROM STDIN"
_INDEXING = 0x62616E79616F  # an advisory lock
_RARE = 20_000  # calls that are found by text faster than their share of all others can be gone through
_WORTH_ANALYSIS = 10_000  # calls: statistics of few ones mislead when there are many
_ANALYSE = "PRAGMA analysis_limit = 1000; ANALYZE calls"
_BEYOND_RARE = "SELECT 1 FROM call_search WHERE call_search MATCH ? LIMIT 1 OFFSET ?"


_OLDEST_RUNNING = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"


class Inserted(NamedTuple):
    """What a row became: a new one, or a repeat, with more than one delivery."""

    project: str
    day: date
    id: str
    seq: int
    deliveries: int


class Dialect(Protocol):
    """What `SqlCalls` leaves to a database."""

    def numbered(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
        """The order in which to write rows; they are numbered in the order in which they were sent."""

    def insert_calls(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Inserted]:
        """Insert rows of different keys; a repeat counts a delivery, a row with another digest is left out.

        Returns project, day, id, seq and deliveries of the others.
        """

    def insert_bodies(self, connection: Connection, rows: Sequence[tuple[int, date, str]]) -> None:
        """Insert bodies of new calls, which are to be indexed."""

    def settled(self) -> tuple[ColumnElement[bool], ...]:
        """Conditions: no call will appear before one of these."""

    def end(self, connection: Connection) -> Cursor:
        """The position behind all calls that are there."""

    def within_days(self, since: date | None, until: date | None) -> tuple[ColumnElement[bool], ...]:
        """Conditions that save a look at days whose calls can't be of that time; both days are included."""

    def has_text(self, phrases: Sequence[Phrase], first_of: Connection | None, /) -> ColumnElement[bool]:
        """Condition: all phrases occur in the call.

        With `first_of`, a connection to look with, it is for the first calls in some order: where the
        phrases are common, calls are looked at in that order; else those with the phrases are sorted.
        """

    def may_index(self, connection: Connection) -> bool:
        """Whether no other process makes calls findable now, nor will during this transaction."""

    def store_words(self, connection: Connection, found: Sequence[Words]) -> None:
        """Make calls findable."""

    def forget_words(self, connection: Connection, gone: Sequence[Words]) -> None:
        """Undo it."""

    def maintain(self, database: Database, today: date) -> None:
        """Make room for the calls of the days to come, and mend what a restored copy needs mended."""

    def whole_days(self, database: Database, before: date) -> list[date]:
        """Days that can be removed at once."""

    def horizon(self, connection: Connection) -> int:
        """Calls of transactions below it are all there, or never will be."""

    def drop_day(self, database: Database, day: date, horizon: int | None) -> int:
        """Remove a whole day, unless it has calls of transactions from `horizon` on; how many it had."""

    def erase(self, database: Database) -> None:
        """See `Calls.erase`."""

    def reclaim(self, database: Database) -> None:
        """Give the space of removed calls back."""


def dialect_of(database: Database) -> Dialect:
    """The one of this database."""
    return _Postgres() if database.is_postgres else _Sqlite()


class _Sqlite:
    def numbered(self, _connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
        return list(range(len(rows)))  # as they are written

    def insert_calls(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Inserted]:
        try:
            # The driver's own cursor: SQLAlchemy takes as long over the parameters as SQLite over the rows.
            cursor = raw_of(connection).cursor()
            parts = (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))
            return [each for part in parts for each in _inserted(cursor, part)]
        except sqlite3.Error as error:
            raise DBAPIError.instance("INSERT INTO calls", None, error, sqlite3.Error) from error

    def insert_bodies(self, connection: Connection, rows: Sequence[tuple[int, date, str]]) -> None:
        dated = [(seq, day.isoformat(), body) for seq, day, body in rows]
        connection.exec_driver_sql("INSERT INTO call_bodies (seq, day, body) VALUES (?, ?, ?)", dated)
        queued = [(seq, day) for seq, day, _ in dated]
        connection.exec_driver_sql("INSERT INTO calls_to_index (seq, day) VALUES (?, ?)", queued)

    def settled(self) -> tuple[ColumnElement[bool], ...]:
        return ()  # one writer at a time: numbers are the order of commits

    def end(self, connection: Connection) -> Cursor:
        return Cursor(0, connection.execute(select(func.coalesce(func.max(calls.c.seq), 0))).scalar_one())

    def within_days(self, _since: date | None, _until: date | None) -> tuple[ColumnElement[bool], ...]:
        return ()  # days share a table

    def has_text(self, phrases: Sequence[Phrase], first_of: Connection | None, /) -> ColumnElement[bool]:
        found = table("call_search", column("rowid"))
        query = " ".join('"' + " ".join(words) + '"' for words in phrases)
        matches = text("call_search MATCH :words").bindparams(bindparam("words", query, unique=True))
        having = select(found.c.rowid).where(matches)
        if first_of is not None and self._is_common(first_of, query):
            return having.where(found.c.rowid == calls.c.seq).exists()
        return calls.c.seq.in_(having)

    def _is_common(self, connection: Connection, query: str) -> bool:
        return connection.exec_driver_sql(_BEYOND_RARE, (query, _RARE)).first() is not None

    def may_index(self, _connection: Connection) -> bool:
        return True  # one process has the file

    def store_words(self, connection: Connection, found: Sequence[Words]) -> None:
        rows = [(seq, " ".join(words)) for seq, _, words in found if words]
        if rows:
            connection.exec_driver_sql("INSERT INTO call_search (rowid, words) VALUES (?, ?)", rows)

    def forget_words(self, connection: Connection, gone: Sequence[Words]) -> None:
        rows = [(seq, " ".join(words)) for seq, _, words in gone if words]
        forget = "INSERT INTO call_search (call_search, rowid, words) VALUES ('delete', ?, ?)"
        if rows:
            connection.exec_driver_sql(forget, rows)

    def maintain(self, database: Database, _today: date) -> None:
        """Days share a table; but its planner learns what is in it, once there is something to learn."""
        with database.outside_transactions() as connection:
            largest = connection.execute(select(func.max(calls.c.seq))).scalar()
            if largest is not None and largest >= _WORTH_ANALYSIS:
                raw_of(connection).executescript(_ANALYSE)

    def whole_days(self, _database: Database, _before: date) -> list[date]:
        return []

    def horizon(self, _connection: Connection) -> int:
        return 1  # all have 0

    def drop_day(self, _database: Database, _day: date, _horizon: int | None) -> int:
        raise NotImplementedError("days share a table")

    def erase(self, database: Database) -> None:
        """Rewrite the index of words, which keeps those of deleted calls until then; empty the log.

        All else `PRAGMA secure_delete` has overwritten when it was deleted.
        """
        pages = -_MERGE_PAGES  # the first time: a negative number begins a rewriting of everything
        while database.write(lambda connection, pages=pages: _merge(connection, pages)):  # type: ignore[misc]
            pages = _MERGE_PAGES
        self.reclaim(database)
        with database.outside_transactions() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def reclaim(self, database: Database) -> None:
        with database.outside_transactions() as connection:
            raw: Any = connection.connection.driver_connection
            # A script, since `execute` takes one step of a statement without rows, which frees one page.
            raw.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")


class _Postgres:
    def numbered(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
        taken = connection.exec_driver_sql(_TAKE_NUMBERS, (len(rows),))
        for row, number in zip(rows, taken.scalars(), strict=True):
            row["seq"] = number
        # In one order in all processes, or two that store the same calls could wait for each other.
        return sorted(range(len(rows)), key=lambda index: _key(rows[index]))

    def insert_calls(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Inserted]:
        columns = zip(*map(_row_values, rows), strict=True)
        arrays = tuple(array_of(values) for values in columns)
        return [Inserted(*row) for row in connection.exec_driver_sql(_INSERT_CALLS, arrays)]

    def insert_bodies(self, connection: Connection, rows: Sequence[tuple[int, date, str]]) -> None:
        # JSON holds no tabs and no line breaks, but as escapes.
        lines = [f"{seq}\t{day}\t{body}\n" for seq, day, body in rows]
        _copy(connection, _COPY_BODIES, "".join(lines).replace("\\", "\\\\"))
        _copy(connection, _COPY_TO_INDEX, "".join([f"{seq}\t{day}\n" for seq, day, _ in rows]))

    def settled(self) -> tuple[ColumnElement[bool], ...]:
        return (calls.c.xact < text("pg_snapshot_xmin(pg_current_snapshot())::text::bigint"),)

    def end(self, connection: Connection) -> Cursor:
        return Cursor(self.horizon(connection) - 1, 2**63 - 1)

    def within_days(self, since: date | None, until: date | None) -> tuple[ColumnElement[bool], ...]:
        bounds = [calls.c.day >= since] if since is not None else []
        bounds += [calls.c.day <= until] if until is not None else []
        return (or_(and_(*bounds), calls.c.day == UNDATED),) if bounds else ()

    def has_text(self, phrases: Sequence[Phrase], _first_of: Connection | None, /) -> ColumnElement[bool]:
        """Its planner knows how common words are."""
        found = table("call_search", column("seq"), column("day", Date), column("words", String))
        query = " & ".join("(" + " <-> ".join(f"'{word}'" for word in words) + ")" for words in phrases)
        matches = found.c.words.op("@@")(text("CAST(:query AS tsquery)").bindparams(query=query))
        chosen = select(found.c.seq).where(matches, found.c.day == calls.c.day, found.c.seq == calls.c.seq)
        return chosen.exists()

    def may_index(self, connection: Connection) -> bool:
        taken = connection.exec_driver_sql("SELECT pg_try_advisory_xact_lock(%s)", (_INDEXING,))
        return bool(taken.scalar_one())

    def store_words(self, connection: Connection, found: Sequence[Words]) -> None:
        lines = [f"{seq}\t{day}\t{_vector(words)}\n" for seq, day, words in found if words]
        if lines:
            _copy(connection, _COPY_WORDS, "".join(lines))

    def forget_words(self, connection: Connection, gone: Sequence[Words]) -> None:
        forget = "DELETE FROM call_search WHERE seq = ANY(%s) AND day = ANY(%s)"
        if gone:
            numbers, days = [seq for seq, _, _ in gone], list({day for _, day, _ in gone})
            connection.exec_driver_sql(forget, (numbers, days))

    def maintain(self, database: Database, today: date) -> None:
        mend_positions(database)
        days.prepare(database, days.CALLS, today)

    def whole_days(self, database: Database, before: date) -> list[date]:
        with database.read() as connection:
            return [day for day in days_of(connection) if day < before]

    def horizon(self, connection: Connection) -> int:
        return int(connection.exec_driver_sql(_OLDEST_RUNNING).scalar_one())

    def drop_day(self, database: Database, day: date, horizon: int | None) -> int:
        return days.drop(database, day, horizon)

    def erase(self, database: Database) -> None:
        """Nothing: PostgreSQL's own vacuum does, in its time; its log and its backups are its operator's."""

    def reclaim(self, database: Database) -> None:
        """Nothing: PostgreSQL's own vacuum does."""


def _inserted(cursor: sqlite3.Cursor, rows: Sequence[Mapping[str, Any]]) -> Iterator[Inserted]:
    flat = [value for row in rows for value in _values(row)]
    position = _SQLITE_COLUMNS.index("day")
    for index in range(position, len(flat), len(_SQLITE_COLUMNS)):
        flat[index] = flat[index].isoformat()
    cursor.execute(_SQLITE_INSERT.format(", ".join([_SQLITE_ROW] * len(rows))), flat)
    for project, day, call_id, seq, deliveries in cursor.fetchall():
        yield Inserted(project, date.fromisoformat(day), call_id, seq, deliveries)


def array_of(values: Sequence[Any]) -> str:
    """An array as PostgreSQL writes it: psycopg takes longer to make one than PostgreSQL takes to read it."""
    if values.count(values[0]) == len(values):
        return "{" + ",".join([_element(values[0])] * len(values)) + "}"
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Any) -> str:
    kind = type(value)
    if kind is str:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if value is None:
        return "NULL"
    return f'"\\\\x{value.hex()}"' if kind is bytes else str(value)


def _copy(connection: Connection, statement: str, lines: str) -> None:
    """Insert lines; PostgreSQL takes them in at once, and one by one where they are values of a statement."""
    errors: Any = connection.dialect.loaded_dbapi
    try:
        with raw_of(connection).cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(lines)
    except errors.Error as error:
        raise DBAPIError.instance(statement, None, error, errors.Error, dialect=connection.dialect) from error


def raw_of(connection: Connection) -> Any:
    """The driver's own connection."""
    return connection.connection.driver_connection


def _merge(connection: Connection, pages: int) -> bool:
    """Rewrite up to so many pages of SQLite's index of words; False: there was nothing to do."""
    raw: Any = connection.connection.driver_connection
    before = raw.total_changes
    raw.execute("INSERT INTO call_search (call_search, rank) VALUES ('merge', ?)", (pages,))
    return bool(raw.total_changes - before >= 2)  # fewer: see SQLite's documentation of FTS5, "merge"


def _vector(words: Sequence[str]) -> str:
    positions: dict[str, list[str]] = {}
    for position, word in enumerate(words, 1):
        positions.setdefault(word, []).append(str(position))
    return " ".join(f"'{word}':{','.join(places)}" for word, places in positions.items())
