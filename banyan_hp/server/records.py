"""Records of one kind: stored once each, counted as often as they come, read in order of arrival.

An id names one content: its body, and the project that it came for. The key that it came with is not part of
it, since a record of a key that was replaced may come again under the new one.
Whether a body is a good one is decided before it gets here (`validation.py`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from .database import Database
from .validation import text_in

MAX_PAGE_BYTES = 8 * 1024 * 1024  # of bodies


@dataclass(frozen=True, slots=True)
class Table:
    """Where records of one kind are kept, and the column that names the group each belongs to."""

    name: str
    group: str
    copied: tuple[str, ...] = ()
    """Fields of the body that have a column besides, to choose and count by."""


LOGS = Table("logs", "project", ("experiment_id", "experiment_version_id"))
INTERACTIONS = Table("interactions", "session_id")


@dataclass(frozen=True, slots=True)
class Record:
    """One checked record on its way into its table."""

    id: str
    event_time: str | None
    group: str | None
    body: dict[str, object]


@dataclass(frozen=True, slots=True)
class Span:
    """Which records, by their numbers, and in which order."""

    after: int
    before: int
    newest_first: bool = False


class Stored(Enum):
    """What became of a record on its way in."""

    NEW = "new"
    REPEAT = "repeat"
    CONFLICT = "conflict"
    """Not stored: the id belongs to another content."""


Filter = Mapping[str, str]
"""Columns of the table and what they must hold; without any, all records are chosen."""
ALL: Filter = {}


class Records:
    """The records of one table."""

    def __init__(self, database: Database, table: Table) -> None:
        self._database = database
        self._table = table

    def add(self, records: Iterable[Record]) -> list[Stored]:
        """Store all of `records` in one transaction; for each, what became of it."""
        received_at = now()
        # ASCII, because JSON may spell lone surrogates, which only an escape can hold.
        rows = [
            (each.id, each.event_time, received_at, each.group, json.dumps(each.body), *self._copies(each))
            for each in records
        ]
        with self._database.transaction():
            return [self._store(row) for row in rows]

    def _copies(self, record: Record) -> list[str | None]:
        return [text_in(record.body, name) for name in self._table.copied]

    def _store(self, row: tuple[str | None, ...]) -> Stored:
        table = self._table
        columns = ", ".join(("id", "event_time", "received_at", table.group, "body", *table.copied))
        insert = (
            f"INSERT INTO {table.name} ({columns}) "  # noqa: S608
            f"VALUES (?{', ?' * (len(row) - 1)}) ON CONFLICT (id) DO NOTHING"
        )
        if self._database.execute(insert, row).rowcount == 1:
            return Stored.NEW
        record_id, _, _, group, body, *_ = row
        if not self._holds(record_id, group, body):
            return Stored.CONFLICT
        repeat = f"UPDATE {table.name} SET deliveries = deliveries + 1 WHERE id = ?"  # noqa: S608
        self._database.execute(repeat, (record_id,))
        return Stored.REPEAT

    def _holds(self, record_id: str | None, group: str | None, body: str | None) -> bool:
        """Whether the id's content is this one; the order of a body's fields means nothing."""
        table = self._table
        stored = f"SELECT {table.group}, body FROM {table.name} WHERE id = ?"  # noqa: S608
        row = self._database.one(stored, (record_id,))
        return row is not None and row[0] == group and _ordered(row[1]) == _ordered(body)

    def page(self, span: Span, limit: int, where: Filter = ALL) -> tuple[list[dict[str, object]], int | None]:
        """Up to `limit` chosen records of `span`; the number to go on from if there are more.

        Fewer where their bodies would be more than `MAX_PAGE_BYTES` together, but always one.
        """
        chosen, values = _chosen(where)
        page = (
            f"SELECT seq, id, event_time, received_at, deliveries, {self._table.group}, body "  # noqa: S608
            f"FROM {self._table.name} WHERE {chosen} AND seq > ? AND seq < ? "
            f"ORDER BY seq {'DESC' if span.newest_first else 'ASC'} LIMIT ?"
        )
        with closing(self._database.execute(page, (*values, span.after, span.before, limit + 1))) as rows:
            return _page(rows, limit)

    def count(self, where: Filter = ALL) -> tuple[int, int]:
        """How many chosen records there are, and how many deliveries of them."""
        chosen, values = _chosen(where)
        count = (
            "SELECT count(*), coalesce(sum(deliveries), 0) "  # noqa: S608
            f"FROM {self._table.name} WHERE {chosen}"
        )
        row = self._database.one(count, values)
        return (row[0], row[1]) if row is not None else (0, 0)

    def count_by(self, column: str, where: Filter = ALL) -> dict[str, int]:
        """How many chosen records there are for each value that the column has."""
        chosen, values = _chosen(where)
        counts = (
            f"SELECT {column}, count(*) FROM {self._table.name} "  # noqa: S608
            f"WHERE {chosen} AND {column} IS NOT NULL GROUP BY {column}"
        )
        return dict(self._database.execute(counts, values).fetchall())


def _chosen(where: Filter) -> tuple[str, tuple[str, ...]]:
    return " AND ".join(["TRUE", *(f"{column} = ?" for column in where)]), tuple(where.values())


def _page(rows: Iterable[sqlite3.Row], limit: int) -> tuple[list[dict[str, object]], int | None]:
    shown: list[dict[str, object]] = []
    size, last = 0, None
    for row in rows:
        size += len(row["body"])
        if shown and (len(shown) == limit or size > MAX_PAGE_BYTES):
            return shown, last
        shown.append(_as_json(row))
        last = row["seq"]
    return shown, None


def _ordered(body: str | None) -> str:
    # As text, because Python holds 1, 1.0 and true for equal. A field that is null is not given.
    try:
        given = {name: value for name, value in json.loads(body or "").items() if value is not None}
        return json.dumps(given, sort_keys=True)
    except (
        ValueError,
        AttributeError,
    ):  # a damaged row is nobody's content
        return ""


def _as_json(row: sqlite3.Row) -> dict[str, object]:
    return {**dict(row), "body": json.loads(row["body"])}


def now() -> str:
    """The time of the wall clock, UTC, ISO-8601."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
