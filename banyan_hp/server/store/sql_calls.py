"""Calls in SQLite or PostgreSQL: one adapter, whose differences by database are in `dialects.py`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Row,
    Select,
    Subquery,
    and_,
    cast,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.sql.elements import ColumnElement

from . import calls as contract
from .calls import Call, CallFilter, Group, Keeper, Page, Stored, microseconds
from .cursors import Cursor
from .database import Database
from .dialects import dialect_of
from .indexing import Indexing
from .marks import note_new
from .removal import Deletion, Removal
from .rows import (
    belongs,
    cut,
    newest_first,
    ordered,
    row_key,
    row_of,
    with_bodies,
    within_bytes,
)
from .score_rows import scores_page
from .scores import SCORE, ScorePage
from .search import phrases_of
from .span_rows import note_processed, processed_in
from .spans import SOURCE
from .tables import bodies, calls, to_index

_position = tuple_(calls.c.xact, calls.c.seq)


class SqlCalls:
    """See `Calls`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._dialect = dialect_of(database)
        self._removal = Removal(database, self._dialect)
        self._indexing = Indexing(database, self._dialect)

    # -- on their way in ---------------------------------------------------------------------------------

    def append(self, given: Sequence[Call]) -> list[Stored]:
        """See `Calls.append`."""
        return self.append_rows(self.rows(given))

    def rows(self, given: Sequence[Call]) -> list[dict[str, Any]]:
        """See `Calls.rows`."""
        return [row_of(call) for call in given]

    def append_rows(self, rows: Sequence[dict[str, Any]]) -> list[Stored]:
        """See `Calls.append_rows`."""
        return self._database.write(lambda connection: self._append(connection, rows))

    def named_within(self, connection: Connection, project: str, ids: Sequence[str]) -> Sequence[Any]:
        """See `CallsOfSpans.named_within`."""
        return connection.execute(select(calls).where(calls.c.project == project, calls.c.id.in_(ids))).all()

    def ids_of(self, project: str, equal: Mapping[str, str]) -> Any:
        """See `CallsOfSpans.ids_of`."""
        theirs = [calls.c[name] == value for name, value in equal.items()]
        return select(calls.c.id).where(calls.c.project == project, *theirs)

    def append_within(self, connection: Connection, given: Sequence[Call]) -> list[Stored]:
        """The same in a transaction that is under way."""
        return self._append(connection, self.rows(given))

    def remove_within(self, connection: Connection, rows: Sequence[Any]) -> int:
        """Remove calls, by rows with `seq` and `day`, in a transaction that is under way; how many."""
        return self._removal.remove(connection, rows, aged=False)

    def _append(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> list[Stored]:
        stored: list[Stored] = [Stored.CONFLICT] * len(rows)
        waiting = self._dialect.numbered(connection, rows)
        while waiting:  # one statement takes a key only once
            first: dict[object, int] = {}
            again = [index for index in waiting if first.setdefault(row_key(rows[index]), index) != index]
            for index, result in self._append_different(connection, rows, list(first.values())):
                stored[index] = result
            waiting = again
        new = [row for row, each in zip(rows, stored, strict=True) if each is Stored.NEW]
        note_new(connection, new)
        note_processed(connection, processed_in(new))
        return stored

    def _append_different(
        self, connection: Connection, rows: Sequence[dict[str, Any]], chosen: list[int]
    ) -> Iterator[tuple[int, Stored]]:
        inserted = self._dialect.insert_calls(connection, [rows[index] for index in chosen])
        found = {row[:3]: row for row in inserted}
        new = []
        for index in chosen:
            row = found.get(row_key(rows[index]))
            if row is None and self._give_way(connection, rows[index]):
                self._dialect.numbered(connection, [rows[index]])
                yield from self._append_different(connection, rows, [index])
            elif row is None:
                yield index, self._reconsidered(connection, rows[index])
            elif row.deliveries > 1:
                yield index, Stored.REPEAT
            else:
                new.append((row.seq, row.day, rows[index]["body"]))
                rows[index]["seq"] = row.seq
                yield index, Stored.NEW
        if new:
            self._dialect.insert_bodies(connection, new)

    def _give_way(self, connection: Connection, row: dict[str, Any]) -> bool:
        """Remove what a span has told of the same record: what our own client sends says more."""
        told = select(calls.c.seq, calls.c.day).where(_is_of(row), calls.c.source == SOURCE)
        return row["source"] not in (SOURCE, SCORE) and bool(
            self.remove_within(connection, connection.execute(told).all())
        )

    def _reconsidered(self, connection: Connection, row: dict[str, Any]) -> Stored:
        """The same body may be written in another order of its fields, which means nothing."""
        query = select(calls.c.seq, bodies.c.body).join(bodies, belongs()).where(_is_of(row))
        held = connection.execute(query).first()
        if held is None or ordered(held.body) != ordered(row["body"]):
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
        chosen = CallFilter(project=project, equal={"id": call_id}, scores=True)
        found = self.page(chosen, 1).calls
        return found[0] if found else None

    def page(self, chosen: CallFilter, limit: int, cursor: str | None = None) -> Page:
        """See `Calls.page`."""
        last = Cursor.parse(cursor) if cursor is not None else None
        with self._database.read() as connection:
            query = self._chosen(chosen, connection).order_by(*newest_first)
            if last is not None:
                query = query.where(tuple_(calls.c.event_time, calls.c.seq) < tuple_(*map(literal, last)))
            rows = connection.execute(query.limit(limit + 1)).all()
            shown = within_bytes(rows[:limit])
            found = with_bodies(connection, shown)
        more = len(rows) > len(shown)
        return Page(found, str(Cursor(shown[-1].event_time, shown[-1].seq)) if more else None)

    def follow(self, chosen: CallFilter, limit: int, cursor: str | None = None) -> Page:
        """See `Calls.follow`."""
        last = Cursor.parse(cursor) if cursor is not None else Cursor(-1, 0)
        next_ones = self._next(
            chosen.project, last, contract.FOLLOWED_AT_ONCE if _is_picky(chosen) else limit
        )
        place = (next_ones.c.xact, next_ones.c.seq)
        query = select(next_ones).where(*_on_row(chosen, next_ones.c)).order_by(*place).limit(limit)
        furthest = select(*place).order_by(*(column.desc() for column in place)).limit(1)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            shown = within_bytes(rows)
            found = with_bodies(connection, shown)
            if len(rows) < limit and len(shown) == len(rows):
                seen = connection.execute(furthest).first()
            else:
                seen = shown[-1]
        positions = [str(Cursor(row.xact, row.seq)) for row in shown]
        return Page(found, str(Cursor(seen.xact, seen.seq) if seen is not None else last), positions)

    def _next(self, project: str, last: Cursor, most: int) -> Subquery:
        """The next calls of a project, whatever they are: a filter is asked about them only."""
        query = select(calls).where(calls.c.project == project, _position > tuple_(*map(literal, last)))
        query = query.where(*self._dialect.settled()).order_by(calls.c.xact, calls.c.seq)
        return query.limit(most).subquery()

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
        bounds = [] if after is None else [_bounded(operator.gt, "after", after)]
        bounds += [] if before is None else [_bounded(operator.lt, "before", before)]
        order = [column.desc() if newest else column for column in (calls.c.xact, calls.c.seq)]
        with self._database.read() as connection:
            query = self._chosen(chosen, connection).where(*bounds).order_by(*order)
            rows = connection.execute(query.limit(limit + 1)).all()
            shown = within_bytes(rows[:limit])
            found = with_bodies(connection, shown)
        more = len(rows) > len(shown)
        return Page(found, str(Cursor(shown[-1].xact, shown[-1].seq)) if more else None)

    def end(self) -> str:
        """See `Calls.end`."""
        with self._database.read() as connection:
            return str(self._dialect.end(connection))

    def count(self, chosen: CallFilter) -> tuple[int, int]:
        """See `Calls.count`."""
        sums = (func.count(), func.coalesce(func.sum(calls.c.deliveries), 0))
        with self._database.read() as connection:
            found = connection.execute(self._chosen(chosen).with_only_columns(*sums)).one()
        return int(found[0]), int(found[1])

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
        summed = [calls.c[name] for name in dict.fromkeys((*by, *_SUMMED))]
        extra = (ranked.label("rank"), timed.label("timed"))
        rows = self._chosen(chosen).with_only_columns(*summed, *extra).subquery()

        def percentile(share: float) -> ColumnElement[Any]:
            # The nearest rank: a latency that occurred, and the same one on each database.
            nearest = func.ceil(rows.c.timed * share) if self._database.is_postgres else None
            rank = nearest if nearest is not None else -func.floor(-(rows.c.timed * share))
            return func.min(rows.c.latency_ms).filter(rows.c.rank >= rank, rows.c.latency_ms.is_not(None))

        columns = [rows.c[name] for name in by]
        return select(
            *columns,
            func.count().label("calls"),
            _total(rows.c.deliveries).label("deliveries"),
            func.count(rows.c.error).label("errors"),
            percentile(0.5).label("latency_p50"),
            percentile(0.95).label("latency_p95"),
            func.sum(rows.c.input_tokens).label("input_tokens"),
            func.sum(rows.c.output_tokens).label("output_tokens"),
            func.sum(rows.c.cost).label("cost"),
        ).group_by(*columns)

    def _chosen(self, chosen: CallFilter, first_of: Connection | None = None) -> Select[Any]:
        """For the first calls in some order: `first_of`, the connection; see `Dialect.has_text`."""
        query = select(calls).where(calls.c.project == chosen.project)
        query = query.where(*_on_row(chosen, calls.c), *self._of_days(chosen))
        if chosen.text is not None:
            query = query.where(self._dialect.has_text(phrases_of(chosen.text), first_of))
        return query

    def _of_days(self, chosen: CallFilter) -> tuple[ColumnElement[bool], ...]:
        times = (chosen.since, chosen.until)
        return self._dialect.within_days(*(time.astimezone(UTC).date() if time else None for time in times))

    def scores(
        self, project: str, equal: Mapping[str, str], limit: int, cursor: str | None = None
    ) -> ScorePage:
        """See `Calls.scores`."""
        with self._database.read() as connection:
            return scores_page(connection, project, equal, limit, cursor)

    # -- removed -----------------------------------------------------------------------------------------

    def delete(self, chosen: CallFilter, by: str | None = None) -> Iterator[int]:
        """See `Calls.delete`."""
        noted = Deletion(chosen, by) if by is not None else None
        return self._removal.delete(self._chosen(replace(chosen, scores=True)), noted)

    def erase(self) -> None:
        """See `Calls.erase`."""
        self._dialect.erase(self._database)

    def trim(self, before: datetime, keeper: Keeper | None = None) -> Iterator[int]:
        """See `Calls.trim`."""
        return self._removal.trim(before, keeper)

    def maintain(self, now: datetime) -> None:
        """See `Calls.maintain`."""
        self._dialect.maintain(self._database, now.date())

    # -- found by text -----------------------------------------------------------------------------------

    def index(self, limit: int) -> int:
        """See `Calls.index`."""
        return self._indexing.index(limit)

    def unindexed(self, most: int | None = None) -> int:
        """See `Calls.unindexed`."""
        counted = select(to_index.c.seq).limit(most).subquery()
        with self._database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(counted)).scalar_one())


def _is_of(row: dict[str, Any]) -> ColumnElement[bool]:
    """Condition: the call of a row."""
    return and_(*(calls.c[name] == row[name] for name in ("project", "day", "id")))


def _on_row(chosen: CallFilter, columns: Any) -> Iterator[ColumnElement[bool]]:
    """What a filter asks of the narrow row, project and text aside."""
    yield from (columns[name] == cut(value) for name, value in chosen.equal.items())
    if not chosen.with_scores:
        yield columns.source != SCORE
    if chosen.since is not None:
        yield columns.event_time >= microseconds(chosen.since)
    if chosen.until is not None:
        yield columns.event_time < microseconds(chosen.until)
    if chosen.failed is not None:
        yield columns.error.is_not(None) if chosen.failed else columns.error.is_(None)


def _is_picky(chosen: CallFilter) -> bool:
    return bool(chosen.equal) or (chosen.since, chosen.until, chosen.failed) != (None, None, None)


def _total(column: ColumnElement[Any]) -> ColumnElement[int]:
    """A sum of whole numbers, which PostgreSQL would make a decimal number."""
    return cast(func.coalesce(func.sum(column), 0), BigInteger)


def _bounded(compare: Callable[[Any, Any], Any], name: str, bound: str) -> ColumnElement[bool]:
    """Condition: beyond a position, or a number."""
    condition: ColumnElement[bool]
    if "." in bound:
        condition = compare(_position, tuple_(*map(literal, Cursor.parse(bound, name))))
    else:
        condition = compare(calls.c.seq, Cursor.parse(f"0.{bound}", name).seq)
    return condition


def _group(row: Row[Any], columns: int) -> Group:
    # PostgreSQL's sum of whole numbers is a Decimal.
    sums = [int(value) if isinstance(value, Decimal) else value for value in row[columns:]]
    return Group(by=tuple(row[:columns]), **dict(zip(_SUMS, sums, strict=True)))


_SUMMED = ("latency_ms", "deliveries", "error", "input_tokens", "output_tokens", "cost")
_SUMS = [each.name for each in fields(Group) if each.name != "by"]
