"""Removing calls, in small steps: those of a person, and those that are older than calls are kept.

What is old goes day by day. Where a `Keeper` takes calls first, this is the order, and what a crash leaves:

1. the numbers of up to 100,000 calls of one project and day are read        nothing has happened
2. the keeper takes these calls, and returns when they are safe              they are in both places
3. they are removed by their numbers, 1,000 a transaction                    some are in both places

Next time all calls that are still there come to the keeper again, who knows those that it has. A call that
arrives between 1 and 3 has another number, and stays. PostgreSQL drops a whole day instead of step 3, under a
lock and only if no call has come to it since step 1: otherwise the day waits for the next time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, delete, func, or_, select
from sqlalchemy.sql.elements import ColumnElement

from .audit import Actor, note
from .calls import Call, CallFilter, Keeper, microseconds, time_of
from .database import Database
from .dialects import Dialect
from .hour_counts import begin_removal, count_out
from .marks import left_alone, note_removed
from .rows import these, with_bodies, within_bytes, words_of_body
from .tables import bodies, calls, to_index

STEP = 1000  # rows that one transaction removes
KEPT_AT_ONCE = 100_000  # calls
_KEPT_BYTES = 512 * 1024 * 1024  # of bodies
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Deletion:
    """What the audit says of a deletion: not whose calls they were, which is personal, but its SHA-256."""

    chosen: CallFilter
    by: str

    def note(self, connection: Connection, removed: int) -> None:
        """Write down that so many were removed, in the transaction that does it."""
        hashed = {
            f"{name}_sha256": hashlib.sha256(value.encode("utf-8")).hexdigest()
            for name, value in self.chosen.equal.items()
        }
        actor = Actor(self.chosen.project, self.by)
        note(connection, actor, "calls.delete", "calls", {"calls": removed, **hashed})


class Removal:
    """Removes calls from a database."""

    def __init__(self, database: Database, dialect: Dialect) -> None:
        self._database = database
        self._dialect = dialect

    def delete(
        self, chosen: Select[Any], deletion: Deletion | None = None, *, aged: bool = False
    ) -> Iterator[int]:
        """See `Calls.delete`.

        Scores that are about these calls go with them, but for `aged` ones: scores have an age of their own.
        """
        step = chosen.with_only_columns(calls.c.seq, calls.c.day).limit(STEP)

        def remove(connection: Connection) -> int:
            rows = connection.execute(step).all()
            alone = left_alone(connection, rows, STEP) if rows and not aged else []
            # The scores first, as they are found by the calls.
            removed = self.remove(connection, alone if len(alone) == STEP else [*rows, *alone], aged=aged)
            if removed and deletion is not None:
                deletion.note(connection, removed)
            return removed

        while removed := self._database.write(remove):
            self._dialect.reclaim(self._database)
            yield removed

    def trim(self, before: datetime, keeper: Keeper | None = None) -> Iterator[int]:
        """See `Calls.trim`."""
        yield from self._trim_days(before.date(), keeper)
        for project in self._projects():
            for old in _old(project, datetime.combine(before, time(), UTC)):
                yield from (
                    self.delete(select(calls).where(*old), aged=True)
                    if keeper is None
                    else self._kept(project, old, keeper)
                )

    # -- whole days --------------------------------------------------------------------------------------

    def _trim_days(self, before: date, keeper: Keeper | None) -> Iterator[int]:
        for day in self._dialect.whole_days(self._database, before):
            horizon = self._keep_day(day, keeper) if keeper is not None else None
            yield self._dialect.drop_day(self._database, day, horizon)

    def _keep_day(self, day: date, keeper: Keeper) -> int:
        """Keep a day's calls; all but those of transactions from the horizon on, which is returned."""
        with self._database.read() as connection:
            horizon = self._dialect.horizon(connection)
        for project in self._projects():
            here = (*_within(project, day), calls.c.xact < horizon)
            after: tuple[int, int] | None = None
            while numbers := self._numbers(here, after):
                self._keep(project, day, numbers, keeper)
                after = numbers[-1].event_time, numbers[-1].seq
        return horizon

    # -- one call after the other ------------------------------------------------------------------------

    def _kept(self, project: str, old: tuple[ColumnElement[bool], ...], keeper: Keeper) -> Iterator[int]:
        """Remove old calls once they are kept."""
        while (oldest := self._oldest(old)) is not None:
            numbers = self._numbers((*old, *_within(project, oldest)), None)
            self._keep(project, oldest, numbers, keeper)
            for start in range(0, len(numbers), STEP):
                some = numbers[start : start + STEP]
                yield self._database.write(partial(self.remove, rows=some, aged=True))
                self._dialect.reclaim(self._database)

    def _oldest(self, old: tuple[ColumnElement[bool], ...]) -> date | None:
        with self._database.read() as connection:
            found = connection.execute(select(func.min(calls.c.event_time)).where(*old)).scalar()
        return time_of(found).date() if found is not None else None

    def _numbers(
        self, chosen: tuple[ColumnElement[bool], ...], after: tuple[int, int] | None
    ) -> Sequence[Any]:
        """The first calls, as many as are kept at once: number, day, time and size of each."""
        query = select(calls.c.seq, calls.c.day, calls.c.event_time, calls.c.bytes).where(*chosen)
        if after is not None:
            moment, seq = after
            later = or_(calls.c.event_time > moment, (calls.c.event_time == moment) & (calls.c.seq > seq))
            query = query.where(calls.c.event_time >= moment, later)
        query = query.order_by(calls.c.event_time, calls.c.seq).limit(KEPT_AT_ONCE)
        with self._database.read() as connection:
            return within_bytes(connection.execute(query).all(), _KEPT_BYTES)

    def _keep(self, project: str, day: date, numbers: Sequence[Any], keeper: Keeper) -> None:
        keeper.keep(project, day, [row.seq for row in numbers], self._calls(numbers))

    def _calls(self, numbers: Sequence[Any]) -> Iterator[Call]:
        """These calls, those that are still there, page after page."""
        left = numbers
        while left:
            some = within_bytes(left[:STEP])
            left = left[len(some) :]
            with self._database.read() as connection:
                rows = connection.execute(select(calls).where(*these(calls, some))).all()
                found = with_bodies(connection, rows)
            yield from found

    def remove(self, connection: Connection, rows: Sequence[Any], *, aged: bool) -> int:
        """Remove calls, their bodies and words; how many were still there."""
        if not rows:
            return 0
        begin_removal(connection)
        note_removed(connection, rows, aged=aged)
        numbers = [row.seq for row in rows]
        taken = delete(to_index).where(to_index.c.seq.in_(numbers)).returning(to_index.c.seq)
        waiting = set(connection.execute(taken).scalars())
        found = [row for row in rows if row.seq not in waiting]
        texts = select(bodies.c.seq, bodies.c.day, bodies.c.body).where(*these(bodies, found))
        gone = [(row.seq, row.day, words_of_body(row.body)) for row in connection.execute(texts)]
        self._dialect.forget_words(connection, gone)
        count_out(connection, found)
        connection.execute(delete(bodies).where(*these(bodies, rows)))
        return connection.execute(delete(calls).where(*these(calls, rows))).rowcount

    def _projects(self) -> Iterator[str]:
        """All that have calls, from the index's one entry to the next project's first."""
        project: str | None = ""
        while project is not None:
            query = select(func.min(calls.c.project)).where(calls.c.project > project)
            with self._database.read() as connection:
                project = connection.execute(query).scalar()
            if project is not None:
                yield project


def _old(project: str, before: datetime) -> Iterator[tuple[ColumnElement[bool], ...]]:
    """Conditions for calls that are older: by both clocks, or by ours where the sender's was a day ahead.

    The latter may come true later on, and is looked for where an index finds it: beyond now.
    """
    arrived = calls.c.received_at < microseconds(before)
    own = calls.c.project == project
    yield own, calls.c.event_time < microseconds(before), arrived
    yield own, calls.c.event_time > microseconds(datetime.now(UTC) + _DAY), arrived


def _within(project: str, day: date) -> tuple[ColumnElement[bool], ...]:
    start = datetime.combine(day, time(), UTC)
    first, end = microseconds(start), microseconds(start) + _DAY // timedelta(microseconds=1)
    return calls.c.project == project, calls.c.event_time >= first, calls.c.event_time < end
