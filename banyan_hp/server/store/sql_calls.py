"""Calls in SQLite or PostgreSQL: one adapter, whose differences by database are in `dialects.py`."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, delete, func, literal, select, tuple_, update
from sqlalchemy.sql.elements import ColumnElement

from .calls import MAX_PAGE_BYTES, Call, CallFilter, Group, Page, Stored, microseconds, time_of
from .cursors import Cursor
from .database import Database
from .dialects import dialect_of
from .search import phrases_of, words_in
from .tables import bodies, calls, to_index

MAX_INDEXED_TEXT = 500  # characters of a column: PostgreSQL's indexes take rows of 2.7 KB
STEP = 1000  # rows that one transaction removes
_TIMES = ("event_time", "received_at")
_STORED_LATER = ("body", "seq", "deliveries", *_TIMES)
_PLAIN = [each.name for each in fields(Call) if each.name not in _STORED_LATER]
_newest_first = (calls.c.event_time.desc(), calls.c.seq.desc())
_position = tuple_(calls.c.xact, calls.c.seq)


class SqlCalls:
    """See `Calls`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._dialect = dialect_of(database)

    # -- on their way in ---------------------------------------------------------------------------------

    def append(self, given: Sequence[Call]) -> list[Stored]:
        """See `Calls.append`."""
        rows = [_row(call) for call in given]
        return self._database.write(lambda connection: self._append(connection, rows))

    def _append(self, connection: Connection, rows: list[dict[str, Any]]) -> list[Stored]:
        stored: list[Stored] = [Stored.CONFLICT] * len(rows)
        waiting = self._dialect.numbered(connection, rows)
        while waiting:  # one statement takes a key only once
            first: dict[object, int] = {}
            again = [index for index in waiting if first.setdefault(_row_key(rows[index]), index) != index]
            for index, result in self._append_different(connection, rows, list(first.values())):
                stored[index] = result
            waiting = again
        return stored

    def _append_different(
        self, connection: Connection, rows: Sequence[dict[str, Any]], chosen: list[int]
    ) -> Iterator[tuple[int, Stored]]:
        narrow = [{name: value for name, value in rows[index].items() if name != "body"} for index in chosen]
        found = {tuple(row[:3]): row for row in self._dialect.insert_calls(connection, narrow)}
        new = []
        for index in chosen:
            row = found.get(_row_key(rows[index]))
            if row is None:
                yield index, self._reconsidered(connection, rows[index])
            elif row.deliveries > 1:
                yield index, Stored.REPEAT
            else:
                new.append((row.seq, row.day, rows[index]["body"]))
                yield index, Stored.NEW
        if new:
            self._dialect.insert_bodies(connection, new)

    def _reconsidered(self, connection: Connection, row: dict[str, Any]) -> Stored:
        """The same body may be written in another order of its fields, which means nothing."""
        same = and_(*(calls.c[name] == row[name] for name in ("project", "day", "id")))
        query = select(calls.c.seq, bodies.c.body).join(bodies, _belongs()).where(same)
        held = connection.execute(query).first()
        if held is None or _ordered(held.body) != _ordered(row["body"]):
            return Stored.CONFLICT
        connection.execute(
            update(calls)
            .where(calls.c.seq == held.seq, calls.c.day == row["day"])
            .values(deliveries=calls.c.deliveries + 1)
        )
        return Stored.REPEAT

    # -- read back ---------------------------------------------------------------------------------------

    def get(self, project: str, call_id: str) -> Call | None:
        """See `Calls.get`."""
        chosen = CallFilter(project=project, equal={"id": call_id})
        found = self.page(chosen, 1).calls
        return found[0] if found else None

    def page(self, chosen: CallFilter, limit: int, cursor: str | None = None) -> Page:
        """See `Calls.page`."""
        query = self._chosen(chosen).order_by(*_newest_first)
        if cursor is not None:
            last = Cursor.parse(cursor)
            query = query.where(tuple_(calls.c.event_time, calls.c.seq) < tuple_(*map(literal, last)))
        with self._database.read() as connection:
            rows = connection.execute(query.limit(limit + 1)).all()
            shown = _within_bytes(rows[:limit])
            found = _with_bodies(connection, shown)
        more = len(rows) > len(shown)
        return Page(found, str(Cursor(shown[-1].event_time, shown[-1].seq)) if more else None)

    def follow(self, chosen: CallFilter, limit: int, cursor: str | None = None) -> Page:
        """See `Calls.follow`."""
        last = Cursor.parse(cursor) if cursor is not None else Cursor(-1, 0)
        query = self._chosen(chosen).where(_position > tuple_(*map(literal, last)))
        query = query.where(*self._dialect.settled()).order_by(calls.c.xact, calls.c.seq)
        with self._database.read() as connection:
            shown = _within_bytes(connection.execute(query.limit(limit)).all())
            found = _with_bodies(connection, shown)
        reached = Cursor(shown[-1].xact, shown[-1].seq) if shown else last
        return Page(found, str(reached))

    def arrived(
        self,
        chosen: CallFilter,
        limit: int,
        *,
        after: str | None = None,
        before: str | None = None,
        newest: bool = False,
    ) -> Page:
        """See `Calls.arrived`."""
        query = self._chosen(chosen).order_by(
            *(column.desc() if newest else column for column in (calls.c.xact, calls.c.seq))
        )
        query = query if after is None else query.where(_bounded(operator.gt, "after", after))
        query = query if before is None else query.where(_bounded(operator.lt, "before", before))
        with self._database.read() as connection:
            rows = connection.execute(query.limit(limit + 1)).all()
            shown = _within_bytes(rows[:limit])
            found = _with_bodies(connection, shown)
        more = len(rows) > len(shown)
        return Page(found, str(Cursor(shown[-1].xact, shown[-1].seq)) if more else None)

    def end(self) -> str:
        """See `Calls.end`."""
        with self._database.read() as connection:
            return str(self._dialect.end(connection))

    def aggregate(self, chosen: CallFilter, by: Sequence[str] = ()) -> list[Group]:
        """See `Calls.aggregate`."""
        with self._database.read() as connection:
            return [_group(row, len(by)) for row in connection.execute(self._sums(chosen, by))]

    def _sums(self, chosen: CallFilter, by: Sequence[str]) -> Select[Any]:
        groups = [calls.c[name] for name in by]
        ranked = func.row_number().over(
            partition_by=[*groups, calls.c.latency_ms.is_(None)], order_by=calls.c.latency_ms
        )
        timed = func.count(calls.c.latency_ms).over(partition_by=groups or None)
        rows = self._chosen(chosen).add_columns(ranked.label("rank"), timed.label("timed")).subquery()

        def percentile(share: float) -> ColumnElement[Any]:
            # The nearest rank: a latency that occurred, and the same one on each database.
            nearest = func.ceil(rows.c.timed * share) if self._database.is_postgres else None
            rank = nearest if nearest is not None else -func.floor(-(rows.c.timed * share))
            return func.min(rows.c.latency_ms).filter(rows.c.rank >= rank, rows.c.latency_ms.is_not(None))

        columns = [rows.c[name] for name in by]
        return select(
            *columns,
            func.count().label("calls"),
            func.coalesce(func.sum(rows.c.deliveries), 0).label("deliveries"),
            func.count(rows.c.error).label("errors"),
            percentile(0.5).label("latency_p50"),
            percentile(0.95).label("latency_p95"),
            func.coalesce(func.sum(rows.c.input_tokens), 0).label("input_tokens"),
            func.coalesce(func.sum(rows.c.output_tokens), 0).label("output_tokens"),
            func.sum(rows.c.cost).label("cost"),
        ).group_by(*columns)

    def _chosen(self, chosen: CallFilter) -> Select[Any]:
        query = select(calls).where(calls.c.project == chosen.project)
        query = query.where(*(calls.c[name] == cut(value) for name, value in chosen.equal.items()))
        if chosen.since is not None:
            query = query.where(calls.c.event_time >= microseconds(chosen.since))
        if chosen.until is not None:
            query = query.where(calls.c.event_time < microseconds(chosen.until))
        if chosen.failed is not None:
            query = query.where(calls.c.error.is_not(None) if chosen.failed else calls.c.error.is_(None))
        if chosen.text is not None:
            query = query.where(self._dialect.has_text(phrases_of(chosen.text)))
        return query

    # -- removed -----------------------------------------------------------------------------------------

    def delete(self, chosen: CallFilter) -> int:
        """See `Calls.delete`."""
        return sum(self._remove(self._chosen(chosen)))

    def trim(self, before: datetime) -> Iterator[int]:
        """See `Calls.trim`."""
        yield from self._dialect.drop_days(self._database, before.date())
        # Both: a record whose clock is wrong is not older than its arrival.
        old = (calls.c.event_time < microseconds(before), calls.c.received_at < microseconds(before))
        yield from self._remove(select(calls).where(*old))

    def _remove(self, chosen: Select[Any]) -> Iterator[int]:
        step = chosen.with_only_columns(calls.c.seq, calls.c.day).limit(STEP)
        while removed := self._database.write(lambda connection: self._remove_step(connection, step)):
            self._dialect.reclaim(self._database)
            yield removed

    def _remove_step(self, connection: Connection, step: Select[Any]) -> int:
        rows = connection.execute(step).all()
        if not rows:
            return 0
        numbers = [row.seq for row in rows]
        texts = select(bodies.c.seq, bodies.c.body).where(*_these(bodies, rows))
        texts = texts.where(bodies.c.seq.not_in(select(to_index.c.seq)))
        self._dialect.forget_words(
            connection, [(row.seq, _words(row.body)) for row in connection.execute(texts)]
        )
        connection.execute(delete(to_index).where(to_index.c.seq.in_(numbers)))
        connection.execute(delete(bodies).where(*_these(bodies, rows)))
        connection.execute(delete(calls).where(*_these(calls, rows)))
        return len(rows)

    def maintain(self, now: datetime) -> None:
        """See `Calls.maintain`."""
        self._dialect.prepare_days(self._database, now.date())

    # -- found by text -----------------------------------------------------------------------------------

    def index(self, limit: int) -> int:
        """See `Calls.index`. Words are made outside the transaction: intake waits for none of it."""
        query = select(to_index.c.seq, to_index.c.day, bodies.c.body)
        query = query.outerjoin(
            bodies, and_(bodies.c.seq == to_index.c.seq, bodies.c.day == to_index.c.day)
        ).order_by(to_index.c.seq)
        with self._database.read() as connection:
            rows = connection.execute(query.limit(limit)).all()
        found = [(row.seq, row.day, _words(row.body)) for row in rows]
        if found:
            self._database.write(lambda connection: self._store_words(connection, found))
        return len(found)

    def _store_words(self, connection: Connection, found: list[tuple[int, Any, list[str]]]) -> None:
        """Only for those that nobody has indexed or removed meanwhile."""
        numbers = [seq for seq, _, _ in found]
        taken = delete(to_index).where(to_index.c.seq.in_(numbers)).returning(to_index.c.seq)
        left = {row.seq for row in connection.execute(taken)}
        self._dialect.store_words(connection, [each for each in found if each[0] in left])

    def unindexed(self) -> int:
        """See `Calls.unindexed`."""
        with self._database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(to_index)).scalar_one())


def _bounded(compare: Callable[[Any, Any], Any], name: str, bound: str) -> ColumnElement[bool]:
    """Condition: beyond a position, or a number."""
    condition: ColumnElement[bool]
    if "." in bound:
        condition = compare(_position, tuple_(*map(literal, Cursor.parse(bound, name))))
    else:
        condition = compare(calls.c.seq, Cursor.parse(f"0.{bound}", name).seq)
    return condition


def cut(text: str) -> str:
    """A text as a column holds it: without NUL and lone surrogates, and short enough for an index."""
    clean = text.replace("\x00", "\ufffd")
    return clean[:MAX_INDEXED_TEXT].encode("utf-8", "replace").decode("utf-8")


def _row(call: Call) -> dict[str, Any]:
    text = json.dumps(call.body)
    row: dict[str, Any] = {name: getattr(call, name) for name in _PLAIN}
    for name, value in row.items():
        if type(value) is str:
            row[name] = cut(value)
    row |= {name: microseconds(getattr(call, name)) for name in _TIMES}
    row |= {"digest": hashlib.sha256(text.encode("ascii")).digest()[:16], "deliveries": 1}
    return row | {"bytes": len(text), "body": text}


def _row_key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["project"], row["day"], row["id"]


def _belongs() -> ColumnElement[bool]:
    return and_(bodies.c.seq == calls.c.seq, bodies.c.day == calls.c.day)


def _these(table: Any, rows: Sequence[Row[Any]]) -> tuple[ColumnElement[bool], ...]:
    """These rows of a table; by day as well, so that PostgreSQL looks into their partitions only."""
    return (table.c.seq.in_([row.seq for row in rows]), table.c.day.in_({row.day for row in rows}))


def _within_bytes(rows: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
    """The first of them, as many as a page may be large, but always one."""
    size = 0
    for index, row in enumerate(rows):
        size += row.bytes
        if index and size > MAX_PAGE_BYTES:
            return rows[:index]
    return rows


def _with_bodies(connection: Connection, rows: Sequence[Row[Any]]) -> list[Call]:
    if not rows:
        return []
    query = select(bodies.c.seq, bodies.c.body).where(*_these(bodies, rows))
    texts = {row.seq: row.body for row in connection.execute(query)}
    return [_call(row, json.loads(texts[row.seq])) for row in rows]


def _call(row: Row[Any], body: dict[str, Any]) -> Call:
    plain: dict[str, Any] = {name: getattr(row, name) for name in _PLAIN}
    times: dict[str, Any] = {name: time_of(getattr(row, name)) for name in _TIMES}
    return Call(**plain, **times, body=body, deliveries=row.deliveries, seq=row.seq)


def _group(row: Row[Any], columns: int) -> Group:
    # PostgreSQL's sum of whole numbers is a Decimal.
    sums = [int(value) if isinstance(value, Decimal) else value for value in row[columns:]]
    return Group(by=tuple(row[:columns]), **dict(zip(_SUMS, sums, strict=True)))


def _words(body: str | None) -> list[str]:
    return words_in(json.loads(body)) if body is not None else []


def _ordered(body: str) -> str:
    return json.dumps(json.loads(body), sort_keys=True)  # as text: Python holds 1, 1.0 and true for equal


_SUMS = [each.name for each in fields(Group) if each.name != "by"]
