"""Removing calls: those of a person, and those that are older than calls are kept.

What is old goes day by day. Where a `Keeper` takes calls first, this is the order, and what a crash leaves:

1. the keys of up to 100,000 calls of one project and day are read       nothing has happened
2. the keeper takes these calls, and returns when they are safe          they are in both places
3. they are removed by their keys, in one mutation                       some are in both places

Next time all calls that are still there come to the keeper again, who knows those that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from ..calls import Call, CallFilter, Keeper, microseconds
from ..database import Database
from ..marks import note_aged
from ..removal import Deletion
from ..scores import SCORE
from .client import ClickHouse, Row
from .conditions import AT_PLACES, PLACE, Conditions, place_of
from .hours import count_out

STEP = 10_000  # calls that one mutation removes
KEPT_AT_ONCE = 100_000
_KEPT_BYTES = 512 * 1024 * 1024  # of bodies
ENTRY_BYTES = 256 * 1024  # Keeper takes 1 MiB, and a text may have two bytes for one where it is quoted
_ROW_BYTES = 64  # of a key's times and punctuation
_DAY = timedelta(days=1)


class Removal:
    """Removes calls. `database` has the audit and the experiments; `calls_of` gives the calls of rows."""

    def __init__(
        self, clickhouse: ClickHouse, database: Database, calls_of: Callable[[Sequence[Row]], list[Call]]
    ) -> None:
        self._clickhouse = clickhouse
        self._database = database
        self._calls_of = calls_of

    def delete(self, chosen: CallFilter, by: str | None = None) -> Iterator[int]:
        """See `Calls.delete`."""
        asked = Conditions().of(replace(chosen, scores=True))
        while rows := self._first(asked, STEP):
            gone = [*rows, *self._left_alone(rows)]
            if by is not None:
                deletion = Deletion(chosen, by)
                self._database.write(partial(deletion.note, removed=len(gone)))
            self.remove(gone)
            yield len(gone)

    def _first(self, asked: Conditions, limit: int) -> list[Row]:
        return self._clickhouse.rows(
            f"SELECT {', '.join(PLACE)}, session, source FROM calls FINAL WHERE {asked.sql} LIMIT {limit}",
            asked.parameters,
        )

    def remove(self, rows: Sequence[Row]) -> None:
        """Remove calls, given by their places, with what is kept of their repeats."""
        for some in _entries(rows) if self._clickhouse.cluster is not None else [rows]:
            self._remove(some)

    def _remove(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        asked = Conditions().add(AT_PLACES, [place_of(row) for row in rows])
        count_out(self._clickhouse, asked)
        for table in ("experiment_calls", "call_scores", "calls"):
            self._clickhouse.do(
                f"DELETE FROM {self._clickhouse.local(table)} WHERE {asked.sql}", asked.parameters
            )
        keys = {"keys": [(row["project"], row["day"], row["id"]) for row in rows]}
        same = "(project, day, id) IN {keys:Array(Tuple(String, Date32, String))}"
        for table in ("call_repeats", "call_ids"):
            self._clickhouse.do(f"DELETE FROM {self._clickhouse.local(table)} WHERE {same}", keys)

    def _left_alone(self, rows: Sequence[Row]) -> list[Row]:
        """The scores that are about nothing any more once these calls are gone."""
        found: dict[Any, Row] = {}
        for project in {row["project"] for row in rows}:
            gone = [row for row in rows if row["project"] == project and row["source"] != SCORE]
            own = {place_of(row) for row in rows}
            for score in self._about(project, gone):
                if place_of(score) not in own:
                    found[place_of(score)] = score
        return list(found.values())

    def _about(self, project: str, gone: Sequence[Row]) -> Iterator[Row]:
        ids = sorted({row["id"] for row in gone})
        sessions = sorted({row["session"] for row in gone if row["session"] is not None})
        yield from self._scores(project, Conditions().add("record_id IN ?[Array(String)]", ids))
        ended = sorted(set(sessions) - self._with_others(project, sessions, gone))
        if ended:
            alone = Conditions().add("session IN ?[Array(String)]", ended)
            alone.add("record_id IS NULL").add("sticky_value IS NULL")
            yield from self._scores(project, alone)

    def _with_others(self, project: str, sessions: Sequence[str], gone: Sequence[Row]) -> set[str]:
        """The sessions that have other calls than these."""
        if not sessions:
            return set()
        asked = Conditions().add("project = ?[String]", project).add("session IN ?[Array(String)]", sessions)
        asked.add("source != ?[String]", SCORE).add(f"NOT ({AT_PLACES})", [place_of(row) for row in gone])
        rows = self._clickhouse.rows(
            f"SELECT DISTINCT session FROM calls WHERE {asked.sql}", asked.parameters
        )
        return {row["session"] for row in rows}

    def _scores(self, project: str, asked: Conditions) -> list[Row]:
        asked.add("project = ?[String]", project)
        return self._clickhouse.rows(
            f"SELECT {', '.join(PLACE)} FROM call_scores FINAL WHERE {asked.sql} LIMIT {STEP}",
            asked.parameters,
        )

    # -- old ---------------------------------------------------------------------------------------------

    def trim(self, before: datetime, keeper: Keeper | None = None) -> Iterator[int]:
        """See `Calls.trim`."""
        limit = microseconds(datetime.combine(before, time(), UTC))
        for project in self._projects():
            while (day := self._oldest(project, limit)) is not None:
                yield self._trim_day(project, day, limit, keeper)

    def _trim_day(self, project: str, day: date, limit: int, keeper: Keeper | None) -> int:
        first = microseconds(datetime.combine(day, time(), UTC))
        asked = _old(project, limit).add("event_time >= ?[Int64]", first)
        asked.add("event_time < ?[Int64]", first + _DAY // timedelta(microseconds=1))
        rows = self._clickhouse.rows(
            f"SELECT * EXCEPT (content) FROM calls FINAL WHERE {asked.sql} ORDER BY event_time, seq "
            f"LIMIT {KEPT_AT_ONCE}",
            asked.parameters,
        )
        if keeper is not None:
            keeper.keep(project, day, [row["seq"] for row in rows], self._pages(rows))
        self._database.write(partial(_note_aged, rows=rows))
        self.remove(rows)
        return len(rows)

    def _pages(self, rows: Sequence[Row]) -> Iterator[Call]:
        for start in range(0, len(rows), 100):
            yield from self._calls_of(rows[start : start + 100])

    def _oldest(self, project: str, limit: int) -> date | None:
        asked = _old(project, limit)
        (row,) = self._clickhouse.rows(
            f"SELECT count() AS n, min(event_time) AS oldest FROM calls WHERE {asked.sql}", asked.parameters
        )
        return (
            (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row["oldest"])).date()
            if row["n"]
            else None
        )

    def _projects(self) -> list[str]:
        return [row["project"] for row in self._clickhouse.rows("SELECT DISTINCT project FROM calls")]


def _entries(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows in parts: on a cluster a mutation, with the keys in it, is one entry of Keeper's."""
    some: list[Row] = []
    size = 0
    for row in rows:
        size += len(row["project"].encode()) + len(row["id"].encode()) + _ROW_BYTES
        if some and size > ENTRY_BYTES:
            yield some
            some, size = [], 0
        some.append(row)
    yield some


def _old(project: str, limit: int) -> Conditions:
    """Older by both clocks, or by ours where the sender's was a day ahead."""
    ahead = microseconds(datetime.now(UTC) + _DAY)
    asked = Conditions().add("project = ?[String]", project).add("received_at < ?[Int64]", limit)
    return asked.add("(event_time < ?[Int64] OR event_time > ?[Int64])", limit, ahead)


def _note_aged(connection: Connection, rows: Sequence[Row]) -> None:
    """Experiments say up to when their calls were removed for their age."""
    until: dict[tuple[str, str], int] = {}
    for row in rows:
        if row["experiment_id"] is not None and row["sticky_value"] is not None:
            key = row["project"], row["experiment_id"]
            until[key] = max(row["event_time"], until.get(key, row["event_time"]))
    for (project, experiment_id), last in sorted(until.items()):
        note_aged(connection, project, experiment_id, last)
