"""Counting calls into the sums by hour and day, and out of them again; within the transactions of others.

A stored call is in the sums unless it is in one of two queues: `to_index`, as long as it can't be found by
text either, and `to_count`, which it comes to once its day is made anew. So whoever takes a call from a queue
counts it, in the same transaction, and whoever removes a call takes it from the queues first: only if it was
in none it is counted out. One process at a time works off the queues (`Dialect.may_index`).

What is summed are whole numbers, so that the sums don't depend on the order in which calls come and go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, NamedTuple

from sqlalchemy import Connection, Date, Table, and_, bindparam, delete, exists, insert, select, text
from sqlalchemy.sql.elements import ColumnElement

from .calls import UNDATED, microseconds
from .hour_tables import latencies, sums, to_count, to_recount
from .hours import DAY, HOUR, Kind, bucket_of
from .rows import these
from .scores import SCORE
from .tables import calls, to_index

BILLIONTH = 1e-9
HOUR_SPAN, DAY_SPAN = int(HOUR.total_seconds()), int(DAY.total_seconds())
_SECOND = 1_000_000
_HOUR, _DAY = HOUR_SPAN * _SECOND, DAY_SPAN * _SECOND
_MOST_TOKENS = 10**9  # of one call: more would let a sum outgrow its column
_MOST_COST = 10**6
_NAMES = ("seq", "day", "project", "event_time", "source", "prompt_name", "model")
_AMOUNTS = ("latency_ms", "input_tokens", "output_tokens", "cost")
_READ: list[ColumnElement[Any]] = [calls.c[name] for name in (*_NAMES, *_AMOUNTS)]
_READ.append(calls.c.error.is_not(None).label("failed"))
_NOTE = text("INSERT INTO days_to_recount (day) VALUES (:day) ON CONFLICT DO NOTHING")
_NOTE = _NOTE.bindparams(bindparam("day", type_=Date))

Key = tuple[str, int, int, int, str]


class Tally(NamedTuple):
    """What is added to each row of `call_sums`, and to each of `call_latencies`, by its key."""

    amounts: dict[Key, list[int]]
    buckets: Counter[tuple[Any, ...]]


def read(connection: Connection, rows: Sequence[Any]) -> list[Any]:
    """What is counted of these calls, given by `seq` and `day`."""
    return list(connection.execute(select(*_READ).where(*these(calls, rows)))) if rows else []


def tally(found: Sequence[Any]) -> Tally:
    """What was read of calls, as it is added to the sums."""
    counted = _of_hours(found)
    _add_days(counted)
    return counted


def count(connection: Connection, counted: Tally, sign: int = 1) -> None:
    """Add a tally to the sums; with a `sign` of -1: take it away."""
    amounts, buckets = counted
    # In one order in all processes, or two could wait for each other.
    _add(connection, sums, [(*key, *_signed(amounts[key], sign)) for key in sorted(amounts)])
    _add(connection, latencies, [(*key, sign * buckets[key]) for key in sorted(buckets)])
    if sign < 0:
        for table, keys in ((sums, amounts), (latencies, buckets)):
            _drop_empty(connection, table, keys)


def waiting(connection: Connection, limit: int) -> list[Any]:
    """The first calls that are to be counted anew: their `seq` and `day`."""
    return list(connection.execute(select(to_count).order_by(to_count.c.seq).limit(limit)))


def count_waiting(connection: Connection, found: Sequence[Any], numbers: Sequence[int]) -> None:
    """Count those that nobody has taken meanwhile; `numbers` are those of calls that are gone, too."""
    left = _taken(connection, to_count, numbers)
    count(connection, tally([row for row in found if row.seq in left]))


# -- removed -------------------------------------------------------------------------------------------------


def begin_removal(connection: Connection) -> None:
    """From here on no day is made anew until the transaction ends."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer
        connection.exec_driver_sql("LOCK TABLE call_sums IN ROW EXCLUSIVE MODE")


def count_out(connection: Connection, rows: Sequence[Any]) -> None:
    """These calls, which were in `to_index` no longer, are removed next."""
    if not rows:
        return
    left = _taken(connection, to_count, [row.seq for row in rows])
    count(connection, tally(read(connection, [row for row in rows if row.seq not in left])), -1)


def note_to_recount(connection: Connection, day: date) -> None:
    """Calls of a day are removed in this transaction without being counted out; `UNDATED`: of any day."""
    connection.execute(_NOTE, {"day": day})


def next_to_recount(connection: Connection) -> date | None:
    """A day that has to be made anew."""
    return connection.execute(select(to_recount.c.day).order_by(to_recount.c.day).limit(1)).scalar()


def recount(connection: Connection, day: date) -> None:
    """Forget the sums of a day, or all, and have its calls counted anew.

    Only for the process that works off the queues.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE call_sums IN EXCLUSIVE MODE")
        # The queues' statistics are of another time, and mislead it into reading them once for each call.
        connection.exec_driver_sql("SET LOCAL enable_nestloop = off")
    connection.execute(delete(to_recount).where(to_recount.c.day == day))
    for project in list(_projects(connection, sums)):
        for table in (sums, latencies):
            connection.execute(delete(table).where(*_within(table, project, day)))
    for project in list(_projects(connection, calls)):
        queued = [exists().where(table.c.seq == calls.c.seq) for table in (to_index, to_count)]
        chosen = select(calls.c.seq, calls.c.day).where(*_at(project, day), *(~each for each in queued))
        connection.execute(insert(to_count).from_select(["seq", "day"], chosen))


def _projects(connection: Connection, table: Table) -> Iterator[str]:
    """All that the table has, by the first column of an index."""
    after = ""
    while True:
        query = select(table.c.project).where(table.c.project > after).order_by(table.c.project).limit(1)
        found = connection.execute(query).scalar()
        if found is None:
            return
        yield found
        after = found


def _within(table: Table, project: str, day: date) -> Iterator[Any]:
    yield table.c.project == project
    if day != UNDATED:
        first = microseconds(datetime.combine(day, time(), UTC))
        yield table.c.kind.in_([each.value for each in Kind])
        yield table.c.span.in_([HOUR_SPAN, DAY_SPAN])
        yield and_(table.c.start >= first, table.c.start < first + _DAY)


def _at(project: str, day: date) -> Iterator[Any]:
    yield calls.c.project == project
    if day != UNDATED:
        first = microseconds(datetime.combine(day, time(), UTC))
        yield and_(calls.c.event_time >= first, calls.c.event_time < first + _DAY)


# -- how much ------------------------------------------------------------------------------------------------


def _of_hours(found: Sequence[Any]) -> Tally:
    amounts: dict[Key, list[int]] = {}
    buckets: Counter[tuple[Any, ...]] = Counter()
    for row in found:
        if row.source == SCORE:
            continue
        start = row.event_time - row.event_time % _HOUR
        amount = _amount(row)
        bucket = bucket_of(row.latency_ms) if row.latency_ms is not None else None
        for kind, name in ((0, ""), (1, row.prompt_name or ""), (2, row.model or "")):
            key = (row.project, kind, HOUR_SPAN, start, name)
            held = amounts.get(key)
            amounts[key] = amount if held is None else [a + b for a, b in zip(held, amount, strict=True)]
            if bucket is not None:
                buckets[*key, bucket] += 1
    return Tally(amounts, buckets)


def _amount(row: Any) -> list[int]:
    cost, tokens = row.cost, (row.input_tokens, row.output_tokens)
    return added_by(failed=row.failed, tokens=tokens, cost=cost)


def added_by(*, failed: bool, tokens: tuple[int | None, int | None], cost: float | None) -> list[int]:
    """What one call adds: calls, errors, tokens in and out, those with a cost, and that in billionths."""
    counted = (min(each or 0, _MOST_TOKENS) for each in tokens)
    nanos = 0 if cost is None else round(min(cost, _MOST_COST) / BILLIONTH)
    return [1, int(failed), *counted, int(cost is not None), nanos]


def _add_days(counted: Tally) -> None:
    """Add those of days to those of hours."""
    amounts, buckets = counted
    for (project, kind, _, start, name), amount in list(amounts.items()):
        key = (project, kind, DAY_SPAN, start - start % _DAY, name)
        held = amounts.get(key)
        amounts[key] = amount if held is None else [a + b for a, b in zip(held, amount, strict=True)]
    for (project, kind, _, start, name, bucket), many in list(buckets.items()):
        buckets[project, kind, DAY_SPAN, start - start % _DAY, name, bucket] += many


def _signed(amount: list[int], sign: int) -> Iterator[float]:
    *whole, cost = (sign * each for each in amount)
    yield from whole
    yield float(cost)


# -- written -------------------------------------------------------------------------------------------------


def _taken(connection: Connection, queue: Table, numbers: Sequence[int]) -> set[int]:
    """Take calls from a queue; those that were in it."""
    return set(
        connection.execute(delete(queue).where(queue.c.seq.in_(numbers)).returning(queue.c.seq)).scalars()
    )


def _add(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    if not rows:
        return
    names = [column.name for column in table.columns]
    key = [column.name for column in table.primary_key.columns]
    grown = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in names if name not in key)
    into = f"INSERT INTO {table.name} ({', '.join(names)}) "
    ends = f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {grown}"
    if connection.dialect.name == "postgresql":
        arrays = ", ".join(f"%s::{column.type.compile(connection.dialect)}[]" for column in table.columns)
        columns = tuple(map(list, zip(*rows, strict=True)))
        connection.exec_driver_sql(f"{into}SELECT * FROM unnest({arrays}){ends}", columns)  # noqa: S608
    else:
        marks = ", ".join("?" * len(names))
        connection.exec_driver_sql(f"{into}VALUES ({marks}){ends}", list(rows))


def _drop_empty(connection: Connection, table: Table, keys: Any) -> None:
    groups: dict[tuple[Any, ...], set[int]] = {}
    for project, kind, span, start, *_ in keys:
        groups.setdefault((project, kind, span), set()).add(start)
    for (project, kind, span), starts in groups.items():
        here = (table.c.project == project, table.c.kind == kind, table.c.span == span)
        connection.execute(delete(table).where(*here, table.c.start.in_(starts), table.c.calls <= 0))
