"""Sums by hour and day in SQLite or PostgreSQL. `hour_counts` makes them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Connection, Float, Select, Table, cast, func, select, union_all
from sqlalchemy.sql.elements import ColumnElement

from .calls import UNDATED, microseconds, time_of
from .database import Database
from .hour_counts import BILLIONTH, DAY_SPAN, HOUR_SPAN, note_to_recount
from .hour_tables import latencies, sums, to_count
from .hours import DAY, Kind, Of, Period, Sums, day_of
from .tables import to_index

_WHOLE = ("calls", "errors", "input_tokens", "output_tokens", "priced")
_SUMMED = (*_WHOLE, "cost")


class SqlHours:
    """See `Hours`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def over_time(self, of: Of, period: Period, step: timedelta) -> Mapping[datetime, Sums]:
        """See `Hours.over_time`."""
        here = (int(step.total_seconds()), period.since, period.until)
        with self._database.read() as connection:
            query = select(sums).where(*_of(sums, of), *_in(sums, *here)).order_by(sums.c.start)
            rows = {row.start: row for row in connection.execute(query)}
            counted = select(latencies.c.start, latencies.c.bucket, latencies.c.calls)
            buckets = _buckets(connection, counted.where(*_of(latencies, of), *_in(latencies, *here)))
        return {time_of(start): _sums(row, buckets.get(start, {})) for start, row in rows.items()}

    def total(self, of: Of, period: Period) -> Sums:
        """See `Hours.total`."""
        with self._database.read() as connection:
            rows = _covering(sums, of.project, of.kind, period, sums.c.name == of.name)
            row = connection.execute(select(*_added(rows))).one()
            counted = _covering(latencies, of.project, of.kind, period, latencies.c.name == of.name)
            query = select(counted.c.kind, counted.c.bucket, _total(counted.c.calls))
            buckets = _buckets(connection, query.group_by(counted.c.kind, counted.c.bucket))
        return _sums(row, buckets.get(of.kind.value, {})) if row.calls else Sums()

    def by(
        self, project: str, kind: Kind, period: Period, limit: int, names: Collection[str] | None = None
    ) -> Sequence[tuple[str, Sums]]:
        """See `Hours.by`."""
        chosen = [sums.c.name.in_(names)] if names is not None else []
        rows = _covering(sums, project, kind, period, *chosen)
        query = select(rows.c.name, *_added(rows)).group_by(rows.c.name)
        with self._database.read() as connection:
            found = connection.execute(
                query.order_by(_total(rows.c.calls).desc(), rows.c.name).limit(limit)
            ).all()
            theirs = latencies.c.name.in_([row.name for row in found])
            counted = _covering(latencies, project, kind, period, theirs)
            of_names = select(counted.c.name, counted.c.bucket, _total(counted.c.calls))
            buckets = _buckets(connection, of_names.group_by(counted.c.name, counted.c.bucket))
        return [(row.name, _sums(row, buckets.get(row.name, {}))) for row in found]

    def uncounted(self) -> int:
        """See `Hours.uncounted`."""
        queues = [select(func.count()).select_from(each).scalar_subquery() for each in (to_index, to_count)]
        with self._database.read() as connection:
            return int(connection.execute(select(queues[0] + queues[1])).scalar_one())

    def rebuild(self) -> None:
        """See `Hours.rebuild`."""
        self._database.write(lambda connection: note_to_recount(connection, UNDATED))


def _of(table: Table, of: Of) -> tuple[ColumnElement[bool], ...]:
    return table.c.project == of.project, table.c.kind == of.kind.value, table.c.name == of.name


def _in(table: Table, span: int, since: datetime, until: datetime) -> tuple[ColumnElement[bool], ...]:
    start = table.c.start
    return table.c.span == span, start >= microseconds(since), start < microseconds(until)


def _covering(table: Table, project: str, kind: Kind, period: Period, *chosen: ColumnElement[bool]) -> Any:
    """The rows that make up a period: days, and hours where it begins and ends within one."""
    own = (table.c.project == project, table.c.kind == kind.value, *chosen)
    parts: list[Select[Any]] = [select(table).where(*own, *_in(table, *part)) for part in _parts(period)]
    return union_all(*parts).subquery()


def _parts(period: Period) -> Iterator[tuple[int, datetime, datetime]]:
    first = day_of(period.since) if period.since == day_of(period.since) else day_of(period.since) + DAY
    last = day_of(period.until)
    if first >= last:
        yield HOUR_SPAN, period.since, period.until
        return
    yield HOUR_SPAN, period.since, first
    yield DAY_SPAN, first, last
    yield HOUR_SPAN, last, period.until


def _added(rows: Any) -> list[ColumnElement[Any]]:
    whole = [_total(rows.c[name]).label(name) for name in _WHOLE]
    return [*whole, cast(func.coalesce(func.sum(rows.c.cost), 0), Float).label("cost")]


def _total(column: ColumnElement[Any]) -> ColumnElement[int]:
    """A sum of whole numbers, which PostgreSQL would make a decimal number."""
    return cast(func.coalesce(func.sum(column), 0), BigInteger)


def _buckets(connection: Connection, query: Any) -> dict[Any, dict[int, int]]:
    found: dict[Any, dict[int, int]] = {}
    for group, bucket, calls in connection.execute(query):
        found.setdefault(group, {})[bucket] = calls
    return found


def _sums(row: Any, buckets: Mapping[int, int]) -> Sums:
    amounts = {name: getattr(row, name) for name in _WHOLE}
    return Sums(**amounts, cost=row.cost * BILLIONTH, latencies=buckets)
