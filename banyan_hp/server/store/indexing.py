"""What follows behind intake, in small steps: calls get findable by text, and counted into sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, select

from . import hour_counts
from .database import Database
from .dialects import Dialect
from .rows import words_of_body
from .tables import bodies, to_index

_RECOUNT_SECONDS = 3600.0


class Indexing:
    """Does the steps in a database; one process of all at a time."""

    def __init__(self, database: Database, dialect: Dialect) -> None:
        self._database = database
        self._dialect = dialect

    def index(self, limit: int) -> int:
        """See `Calls.index`. Words are made outside the transaction: intake waits for none of it."""
        with self._database.read() as reading:
            if not self._dialect.may_index(reading):
                return 0
            found = self._index(reading, limit)
            return found + self._count_anew(reading, limit - found)

    def _index(self, reading: Connection, limit: int) -> int:
        query = select(to_index.c.seq, to_index.c.day, bodies.c.body)
        query = query.outerjoin(
            bodies, and_(bodies.c.seq == to_index.c.seq, bodies.c.day == to_index.c.day)
        ).order_by(to_index.c.seq)
        rows = reading.execute(query.limit(limit)).all()
        found = [(row.seq, row.day, words_of_body(row.body)) for row in rows]
        if found:
            counted = hour_counts.read(reading, rows)
            tally = hour_counts.tally(counted)
            self._database.write(lambda connection: self._store_indexed(connection, found, counted, tally))
        return len(found)

    def _store_indexed(
        self,
        connection: Connection,
        found: list[tuple[int, Any, list[str]]],
        counted: Sequence[Any],
        tally: hour_counts.Tally,
    ) -> None:
        """Only for those that nobody has indexed or removed meanwhile."""
        numbers = [seq for seq, _, _ in found]
        taken = delete(to_index).where(to_index.c.seq.in_(numbers)).returning(to_index.c.seq)
        left = {row.seq for row in connection.execute(taken)}
        self._dialect.store_words(connection, [each for each in found if each[0] in left])
        if len(left) < len(found):
            tally = hour_counts.tally([each for each in counted if each.seq in left])
        hour_counts.count(connection, tally)

    def _count_anew(self, reading: Connection, limit: int) -> int:
        """A step of what is to be counted anew, if there is time for it."""
        if limit <= 0:
            return 0
        day = hour_counts.next_to_recount(reading)
        if day is not None:
            self._database.write(
                lambda connection: hour_counts.recount(connection, day), seconds=_RECOUNT_SECONDS
            )
            return limit
        rows = hour_counts.waiting(reading, limit)
        if rows:
            found, numbers = hour_counts.read(reading, rows), [row.seq for row in rows]
            self._database.write(lambda connection: hour_counts.count_waiting(connection, found, numbers))
        return len(rows)
