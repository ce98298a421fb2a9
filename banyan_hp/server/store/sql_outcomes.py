"""The outcomes of experiments in SQLite or PostgreSQL: sums over the rows of users, which `sums` keeps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Float,
    Table,
    and_,
    case,
    cast,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.sql.elements import ColumnElement

from ..analysis.course import Times
from ..analysis.moments import Moments
from .calls import microseconds, time_of
from .database import Database
from .marks import exclude, note_stale, of_a_user
from .measured import over_steps, parts_of, put_together
from .observed import ALL
from .outcomes import Summary, VersionSummary
from .score_tables import dirty, owners, scores, users, values
from .scores import BOOL, CATEGORY
from .sums import Sums, pending
from .tables import calls, experiments

MOST_NAMES = 200
"""Of scores and their categories, that are metrics of an experiment; the first ones by their names."""
_MOMENTS = ("n", "x", "y", "xx", "xy", "yy")
_SUMMED = ("latency", "input_tokens", "output_tokens", "cost", "output_length")
# For each measure of calls: a user's numerator and denominator.
_MEASURES: Mapping[str, tuple[Any, Any]] = {
    **{name: (users.c[name], users.c[f"{name}_of"]) for name in _SUMMED},
    "latency_p50": (users.c.latency_p50, case((users.c.latency_p50.is_not(None), 1), else_=0)),
    "error_rate": (users.c.errors, users.c.calls),
}
_OF_FIRST_CALLS: Mapping[str, Any] = {
    **{name: users.c[f"first_{name}"] for name in _SUMMED},
    "latency_p50": users.c.first_latency,
    "error_rate": users.c.first_error,
}
# What of a metric, and of which version: its name, whether it is a category's, the category, the version.
_PART = (values.c.name, values.c.kind == CATEGORY, values.c.category, values.c.version)


class SqlOutcomes:
    """See `Outcomes`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sums = Sums(database)

    def summaries(
        self,
        project: str,
        experiment_id: str,
        metrics: Sequence[str],
        *,
        window: timedelta,
        start: datetime,
        until: datetime | None,
        now: datetime,
    ) -> Summary:
        """See `Outcomes.summaries`. It reads each user's row, and the values of the scores asked for."""
        with self._database.read() as connection:
            chosen = _Chosen(project, experiment_id, start, until, now)
            counts = _counts(connection, chosen, window)
            found = _measured(connection, chosen, [name for name in metrics if name in _MEASURES])
            found += _scored(connection, chosen, [name for name in metrics if name not in _MEASURES])
            by_version: dict[str, dict[str, Moments]] = {row.version: {} for row in counts}
            for version, name, moments in found:
                by_version.setdefault(version, {})[name] = moments
            return Summary(
                versions={
                    row.version: VersionSummary(
                        exposed=int(row.exposed),
                        closed=int(row.closed),
                        calls=int(row.calls),
                        metrics=by_version[row.version],
                    )
                    for row in counts
                },
                mixed=sum(int(row.mixed) for row in counts),
                ambiguous=_ambiguous(connection, project, experiment_id),
                next_closes=_soonest(row.next_closes for row in counts),
                removed_until=removed_until(connection, project, experiment_id),
                pending=pending(connection) + sum(int(row.outdated) for row in counts),
            )

    def over_time(
        self,
        project: str,
        experiment_id: str,
        metric: str,
        *,
        start: datetime,
        until: datetime | None,
        times: Times,
    ) -> Sequence[tuple[datetime, Mapping[str, Moments]]]:
        """See `Outcomes.over_time`. It reads each user's row, or each user's score of this name."""
        chosen = _Chosen(project, experiment_id, start, until, times.end)
        with self._database.read() as connection:
            steps = _stepped(connection, chosen, metric, times)
        return over_steps(metric, steps, times)

    def users_of(self, project: str, experiment_ids: Sequence[str]) -> Mapping[str, int]:
        """See `Outcomes.users_of`."""
        query = select(users.c.experiment_id, func.count()).group_by(users.c.experiment_id)
        query = query.where(users.c.project == project, users.c.experiment_id.in_(experiment_ids))
        with self._database.read() as connection:
            return {name: int(count) for name, count in connection.execute(query)}

    def first_assignments(
        self, project: str, experiment_id: str, *, start: datetime, until: datetime | None
    ) -> Mapping[str, int]:
        """See `Outcomes.first_assignments`."""
        chosen = _Chosen(project, experiment_id, start, until, start)
        query = select(users.c.version, func.count()).where(*chosen.of(users)).group_by(users.c.version)
        with self._database.read() as connection:
            return {version: int(count) for version, count in connection.execute(query)}

    def first_calls(
        self,
        project: str,
        experiment_id: str,
        metrics: Sequence[str],
        *,
        start: datetime,
        until: datetime | None,
    ) -> Mapping[str, Mapping[str, Moments]]:
        """See `Outcomes.first_calls`. It reads each user's row."""
        chosen = _Chosen(project, experiment_id, start, until, start)
        found: dict[str, dict[str, Moments]] = defaultdict(dict)
        with self._database.read() as connection:
            names = [name for name in metrics if name in _MEASURES]
            for version, name, moments in _of_first_calls(connection, chosen, names):
                found[version][name] = moments
        return found

    def metrics(self, project: str, experiment_id: str) -> Mapping[str, bool]:
        """See `Outcomes.metrics`. Goes from one name to the next, past their users."""
        with self._database.read() as connection:
            found = list(_names(connection, project, experiment_id))
        named = {name: kind == BOOL for name, kind, _ in sorted(found) if kind != CATEGORY}
        return named | {
            f"{name}={category}": True
            for name, kind, category in found
            if kind == CATEGORY and category != ALL
        }

    def rebuild(self, project: str, experiment_id: str) -> int:
        """See `Outcomes.rebuild`."""
        return self._database.write(lambda connection: _make_all_stale(connection, project, experiment_id))

    def step(self, limit: int) -> int:
        """See `Outcomes.step`."""
        return self._sums.step(limit)

    def pending(self, most: int | None = None) -> int:
        """See `Outcomes.pending`."""
        return self._sums.pending(most)


class _Chosen:
    """The users of an experiment whose first call is in a period."""

    def __init__(
        self, project: str, experiment_id: str, start: datetime, until: datetime | None, now: datetime
    ) -> None:
        self.key = (project, experiment_id)
        self._first = microseconds(start)
        self._before = microseconds(until) if until is not None else None
        self._now = microseconds(now)

    def of(self, table: Table) -> list[ColumnElement[bool]]:
        """Conditions, for a table that has a user's first call."""
        project, experiment_id = self.key
        found = [table.c.project == project, table.c.experiment_id == experiment_id]
        found.append(table.c.first_at >= self._first)
        return [*found, table.c.first_at < self._before] if self._before is not None else found

    def closed(self, table: Table) -> ColumnElement[bool]:
        """Condition: the window has closed."""
        return table.c.ends_at <= self._now


def _counts(connection: Connection, chosen: _Chosen, window: timedelta) -> Sequence[Any]:
    """Users and calls of each version."""
    counted = and_(~users.c.mixed, chosen.closed(users))
    length = window // timedelta(microseconds=1)
    query = select(
        users.c.version,
        func.count().filter(~users.c.mixed).label("exposed"),
        func.count().filter(counted).label("closed"),
        func.count().filter(users.c.mixed).label("mixed"),
        func.count().filter(users.c.ends_at - users.c.first_at != length).label("outdated"),
        func.coalesce(func.sum(users.c.calls).filter(counted), 0).label("calls"),
        func.min(users.c.ends_at).filter(~users.c.mixed, ~chosen.closed(users)).label("next_closes"),
    )
    return connection.execute(query.where(*chosen.of(users)).group_by(users.c.version)).all()


def _soonest(times: Iterable[int | None]) -> datetime | None:
    known = [each for each in times if each is not None]
    return time_of(min(known)) if known else None


def _measured(
    connection: Connection, chosen: _Chosen, names: Sequence[str]
) -> list[tuple[str, str, Moments]]:
    """For each version the measures of calls: version, name, sums over users."""
    counted = [*chosen.of(users), ~users.c.mixed, chosen.closed(users)]
    return _summed(connection, counted, {name: _MEASURES[name] for name in names})


def _of_first_calls(
    connection: Connection, chosen: _Chosen, names: Sequence[str]
) -> list[tuple[str, str, Moments]]:
    """The same of each user's first call alone."""
    columns = {name: _OF_FIRST_CALLS[name] for name in names}
    pairs = {name: (each, case((each.is_not(None), 1), else_=0)) for name, each in columns.items()}
    return _summed(connection, chosen.of(users), pairs)


def _summed(
    connection: Connection, counted: Sequence[ColumnElement[bool]], measures: Mapping[str, tuple[Any, Any]]
) -> list[tuple[str, str, Moments]]:
    """Sums over the users that count, for each version and measure."""
    if not measures:
        return []
    sums = [each for pair in measures.values() for each in _moments(*pair)]
    query = select(users.c.version, *(each.label(f"m{number}") for number, each in enumerate(sums)))
    query = query.where(*counted).group_by(users.c.version)
    size = len(_MOMENTS)
    return [
        (row[0], name, found)
        for row in connection.execute(query)
        for number, name in enumerate(measures)
        if (found := _made(row[1 + number * size : 1 + (number + 1) * size])).n
    ]


def _moments(numerator: Any, denominator: Any) -> list[ColumnElement[Any]]:
    """The sums that moments consist of; a user without a denominator adds nothing to them."""
    y, x = func.coalesce(cast(numerator, Float), 0.0), cast(denominator, Float)
    number = func.sum(case((denominator > 0, 1), else_=0))
    return [number, *(func.sum(each) for each in (x, y, x * x, x * y, y * y))]


def _made(sums: Sequence[Any]) -> Moments:
    n, *others = (each or 0 for each in sums)
    return Moments(int(n), *map(float, others))


def _scored(connection: Connection, chosen: _Chosen, names: Sequence[str]) -> list[tuple[str, str, Moments]]:
    """For each version the scores of these names."""
    wanted = [part for name in names for part in parts_of(name)]
    if not wanted:
        return []
    query = (
        select(*_PART, *_moments(values.c.y, values.c.x))
        .where(*chosen.of(values), chosen.closed(values), _among(wanted))
        .group_by(*_PART)
    )
    found = {tuple(row[:4]): _made(row[4:]) for row in connection.execute(query)}
    return [each for name in names for each in put_together(name, found)]


def _among(parts: Sequence[tuple[str, tuple[str, ...], str]]) -> ColumnElement[bool]:
    return or_(
        *(
            and_(values.c.name == name, values.c.kind.in_(kinds), values.c.category == category)
            for name, kinds, category in dict.fromkeys(parts)
        )
    )


def _stepped(
    connection: Connection, chosen: _Chosen, metric: str, times: Times
) -> Mapping[int, Mapping[tuple[Any, ...], Moments]]:
    """Of a metric what is summed, by the step in which users' windows closed, and by its part and version."""
    table = users if metric in _MEASURES else values
    closed = table.c.ends_at - microseconds(times.origin) - 1  # at the end of a step is still in it
    step = (closed // (times.step // timedelta(microseconds=1))).label("step")
    if table is users:
        part: Sequence[Any] = (literal(metric), literal(value=False), literal(ALL), users.c.version)
        which, sums = ~users.c.mixed, _moments(*_MEASURES[metric])
        groups: Sequence[Any] = (users.c.version,)
    else:
        part = groups = _PART
        which, sums = _among(list(parts_of(metric))), _moments(values.c.y, values.c.x)
    query = select(step, *part, *sums).where(*chosen.of(table), chosen.closed(table), which)
    found: dict[int, dict[tuple[Any, ...], Moments]] = defaultdict(dict)
    for number, *row in connection.execute(query.group_by(step, *groups)):
        found[int(number)][tuple(row[:4])] = _made(row[4:])
    return found


def _names(connection: Connection, project: str, experiment_id: str) -> Iterator[tuple[str, str, str]]:
    """Name, kind and category of the values that there are; at most so many."""
    columns = (values.c.name, values.c.kind, values.c.category)
    same = (values.c.project == project, values.c.experiment_id == experiment_id)
    last: tuple[str, str, str] | None = None
    for _ in range(MOST_NAMES):
        query = select(*columns).where(*same)
        if last is not None:
            query = query.where(tuple_(*columns) > tuple_(*map(literal, last)))
        row = connection.execute(query.order_by(*columns).limit(1)).first()
        if row is None:
            return
        last = (row.name, row.kind, row.category)
        yield last


def _ambiguous(connection: Connection, project: str, experiment_id: str) -> int:
    same = (owners.c.project == project, owners.c.experiment_id == experiment_id)
    query = select(func.count()).select_from(owners).where(*same, owners.c.sticky_value.is_(None))
    return int(connection.execute(query).scalar_one())


def removed_until(connection: Connection, project: str, experiment_id: str) -> datetime | None:
    same = (experiments.c.project == project, experiments.c.experiment_id == experiment_id)
    found = connection.execute(select(experiments.c.removed_until).where(*same)).scalar()
    return time_of(found) if found is not None else None


def _make_all_stale(connection: Connection, project: str, experiment_id: str) -> int:
    """Also users who have no row, and should, and scores of whom nothing is known."""
    exclude(connection)
    note_stale(connection)
    same = (users.c.project == project, users.c.experiment_id == experiment_id)
    known = connection.execute(update(users).where(*same).values(stale=True)).rowcount
    has_row = select(users.c.project).where(*same, users.c.sticky_value == calls.c.sticky_value).exists()
    theirs = (calls.c.project == project, calls.c.experiment_id == experiment_id, of_a_user)
    number = func.row_number().over(partition_by=calls.c.sticky_value, order_by=calls.c.event_time)
    ranked = select(calls.c.seq, calls.c.day, number.label("number")).where(*theirs, ~has_row).subquery()
    unknown = select(ranked.c.seq, ranked.c.day).where(ranked.c.number == 1)
    about = (scores.c.project == project, or_(scores.c.record_id.is_not(None), scores.c.session.is_not(None)))
    given = select(scores.c.seq, scores.c.day).where(*about)
    marked = [
        connection.execute(
            insert(dirty).from_select(["seq", "day"], query), execution_options={"preserve_rowcount": True}
        ).rowcount
        for query in (unknown, given)
    ]
    return int(known + marked[0])
