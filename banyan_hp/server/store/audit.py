"""Who changed what, and when: written in the transaction of the change itself."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from .calls import time_of
from .database import Database
from .parts import Part
from .rows import within_bytes
from .tables import audit


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change: a key, and the project that it may change."""

    project: str
    key_id: str


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    Attributes:
        seq: its number; later ones have larger numbers.
        key_id: of the key that made it.
        action: a verb and its object, like ``prompt.release``.
        subject: what was changed, like ``prompt:<id>``.
        detail: what a reader needs besides; for an experiment its whole configuration.
    """

    seq: int
    at: datetime
    key_id: str
    action: str
    subject: str
    detail: Mapping[str, Any]


def now() -> int:
    """The wall clock in microseconds since 1970."""
    return time.time_ns() // 1000


def note(
    connection: Connection, actor: Actor, action: str, subject: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Write a change down, in the transaction that makes it."""
    row = {"project": actor.project, "at": now(), "key_id": actor.key_id, "action": action}
    text = json.dumps(detail or {})
    connection.execute(insert(audit).values(**row, subject=subject, detail=text))


class Audit:
    """The list of changes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all_of(self, project: str, subject: str, action: str | None = None) -> list[Change]:
        """All changes of a subject, or those of one kind, oldest first."""
        query = select(audit).where(audit.c.project == project, audit.c.subject == subject)
        if action is not None:
            query = query.where(audit.c.action == action)
        with self._database.read() as connection:
            return [_change(row) for row in connection.execute(query.order_by(audit.c.seq))]

    def of(
        self, project: str, subject: str | None = None, limit: int = 100, before: int | None = None
    ) -> Part[Change]:
        """Changes of a project, newest first; of one subject, or older than number `before`, where given.

        Up to `limit`, and fewer where they are large, but always one.
        """
        chosen = [audit.c.project == project]
        chosen += [audit.c.subject == subject] if subject is not None else []
        chosen += [audit.c.seq < before] if before is not None else []
        sizes = select(audit.c.seq, func.length(audit.c.detail).label("bytes")).where(*chosen)
        with self._database.read() as connection:
            rows = connection.execute(sizes.order_by(audit.c.seq.desc()).limit(limit + 1)).all()
            shown = within_bytes(rows[:limit])
            these = select(audit).where(audit.c.seq.in_([row.seq for row in shown]))
            found = [_change(row) for row in connection.execute(these.order_by(audit.c.seq.desc()))]
        return Part(found, str(shown[-1].seq) if len(rows) > len(shown) else None)


def _change(row: Row[Any]) -> Change:
    return Change(row.seq, time_of(row.at), row.key_id, row.action, row.subject, json.loads(row.detail))
