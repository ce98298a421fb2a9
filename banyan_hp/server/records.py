"""Records of one kind: stored once each, counted as often as they come, read in order of arrival.

Whether a body is a good one is decided before it gets here (`validation.py`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone

from banyan_hp.server.database import Database


@dataclass(frozen=True, slots=True)
class Table:
    """Where records of one kind are kept, and the column that names the group each belongs to."""

    name: str
    group: str


LOGS = Table("logs", "project")
INTERACTIONS = Table("interactions", "session_id")


@dataclass(frozen=True, slots=True)
class Record:
    """One checked record on its way into its table."""

    id: str
    event_time: str | None
    group: str | None
    body: dict[str, object]


class Records:
    """The records of one table."""

    def __init__(self, database: Database, table: Table) -> None:
        self._database = database
        self._table = table

    def add(self, records: Iterable[Record]) -> list[bool]:
        """Store all of `records` in one transaction; for each, whether it is new (False: a repeat)."""
        received_at = now()
        # ASCII, because JSON may spell lone surrogates, which only an escape can hold.
        rows = [
            (each.id, each.event_time, received_at, each.group, json.dumps(each.body)) for each in records
        ]
        with self._database.transaction():
            return [self._store(row) for row in rows]

    def _store(self, row: tuple[str, str | None, str, str | None, str]) -> bool:
        table = self._table
        insert = (
            f"INSERT INTO {table.name} (id, event_time, received_at, {table.group}, body) "  # noqa: S608
            "VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
        )
        if self._database.execute(insert, row).rowcount == 1:
            return True
        repeat = f"UPDATE {table.name} SET deliveries = deliveries + 1 WHERE id = ?"  # noqa: S608
        self._database.execute(repeat, row[:1])
        return False

    def page(
        self, after: int, limit: int, group: str | None = None
    ) -> tuple[list[dict[str, object]], int | None]:
        """Up to `limit` records after number `after`, and the number to go on from if there are more.

        Of one group, or of all without one.
        """
        chosen, values = self._of(group)
        page = f"SELECT * FROM {self._table.name} WHERE {chosen} AND seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
        rows = self._database.execute(page, (*values, after, limit + 1)).fetchall()
        shown = [_as_json(row) for row in rows[:limit]]
        return shown, rows[limit - 1]["seq"] if len(rows) > limit else None

    def count(self, group: str | None = None) -> tuple[int, int]:
        """How many records there are, of one group or of all, and how many deliveries of them."""
        chosen, values = self._of(group)
        count = (
            "SELECT count(*), coalesce(sum(deliveries), 0) "  # noqa: S608
            f"FROM {self._table.name} WHERE {chosen}"
        )
        row = self._database.one(count, values)
        return (row[0], row[1]) if row is not None else (0, 0)

    def _of(self, group: str | None) -> tuple[str, tuple[str, ...]]:
        return ("TRUE", ()) if group is None else (f"{self._table.group} = ?", (group,))


def _as_json(row: sqlite3.Row) -> dict[str, object]:
    return {**dict(row), "body": json.loads(row["body"])}


def now() -> str:
    """The time of the wall clock, UTC, ISO-8601."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")
