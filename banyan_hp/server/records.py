"""The log of usage records: stored once each, counted as often as they come, read in order of arrival.

Whether a body is a good one is decided before it gets here (`validation.py`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone

from banyan_hp.server.database import Database

_INSERT = """
INSERT INTO logs (id, event_time, received_at, project, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING
"""
_REPEAT = "UPDATE logs SET deliveries = deliveries + 1 WHERE id = ?"
_PAGE = "SELECT * FROM logs WHERE seq > ? ORDER BY seq LIMIT ?"


@dataclass(frozen=True, slots=True)
class Record:
    """One checked record on its way into the log."""

    id: str
    event_time: str | None
    body: dict[str, object]


class Records:
    """The log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, records: Iterable[Record], project: str | None) -> list[bool]:
        """Store all of `records` in one transaction; for each, whether it is new (False: a repeat)."""
        # ASCII, because JSON may spell lone surrogates, which only an escape can hold.
        rows = [(each.id, each.event_time, json.dumps(each.body)) for each in records]
        received_at = now()
        with self._database.transaction():
            return [self._store(row, received_at, project) for row in rows]

    def _store(self, row: tuple[str, str | None, str], received_at: str, project: str | None) -> bool:
        record_id, event_time, body = row
        values = (record_id, event_time, received_at, project, body)
        if self._database.execute(_INSERT, values).rowcount == 1:
            return True
        self._database.execute(_REPEAT, (record_id,))
        return False

    def page(self, after: int, limit: int) -> tuple[list[dict[str, object]], int | None]:
        """Up to `limit` records after number `after`, and the number to go on from if there are more."""
        rows = self._database.execute(_PAGE, (after, limit + 1)).fetchall()
        shown = [_as_json(row) for row in rows[:limit]]
        return shown, rows[limit - 1]["seq"] if len(rows) > limit else None

    def count(self) -> tuple[int, int]:
        """How many records there are, and how many deliveries of them, repeats included."""
        row = self._database.one("SELECT count(*), coalesce(sum(deliveries), 0) FROM logs")
        return (row[0], row[1]) if row is not None else (0, 0)


def _as_json(row: sqlite3.Row) -> dict[str, object]:
    return {**dict(row), "body": json.loads(row["body"])}


def now() -> str:
    """The time of the wall clock, UTC, ISO-8601."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")
