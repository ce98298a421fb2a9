"""What the sums of experiments have to be told, in the transaction that stores calls or removes them.

Calls of users and scores that are stored are marked. Of what is removed the users are made stale, and there
is one mark for all of it. `sums` works off both. A removal and the writing of sums wait for each other
(`exclude`), so that sums of what was removed meanwhile are not written.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update

from .bulk import insert_rows
from .outcomes import DEFAULT_WINDOW_SECONDS
from .rows import these
from .score_rows import score_row
from .score_tables import dirty, owners, scores, users
from .scores import SCORE
from .tables import calls, experiments

USER = ("project", "experiment_id", "sticky_value")
of_a_user = and_(*(calls.c[name].is_not(None) for name in (*USER, "experiment_version_id")))
_SECOND = 1_000_000
_EXCLUDING = 0x62616E79616E06  # an advisory lock


def note_new(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of calls, with their bodies, were stored."""
    found = [row for row in rows if row["source"] == SCORE]
    insert_rows(connection, scores, [score_row(row) for row in found])
    found += [row for row in rows if row["experiment_id"] is not None and _is_of_a_user(row)]
    insert_rows(connection, dirty, [{"seq": row["seq"], "day": row["day"]} for row in found])


def _is_of_a_user(row: Mapping[str, Any]) -> bool:
    return row["sticky_value"] is not None and row["experiment_version_id"] is not None


def exclude(connection: Connection) -> None:
    """Wait until no other transaction removes anything that sums are made of, or writes sums."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_EXCLUDING,))


# -- before calls are removed --------------------------------------------------------------------------------


def note_removed(connection: Connection, rows: Sequence[Any], *, aged: bool) -> None:
    """These calls, given by seq and day, are removed next; `aged`: for their age, which experiments show."""
    columns = [calls.c[name] for name in (*USER, "id", "session", "event_time")]
    chosen = select(*columns).where(*these(calls, rows), of_a_user)
    gone = connection.execute(chosen.order_by(calls.c.project, calls.c.experiment_id)).all()
    found = connection.execute(select(scores).where(*these(scores, rows))).all()
    if not gone and not found:
        return
    exclude(connection)
    note_stale(connection)
    if found:
        _forget(connection, found)
    for (project, experiment_id), group in groupby(gone, lambda row: (row.project, row.experiment_id)):
        some = list(group)
        _make_stale(connection, project, experiment_id, {row.sticky_value for row in some})
        _resolve_anew(connection, project, some)
        if aged:
            note_aged(connection, project, experiment_id, max(row.event_time for row in some))


def note_stale(connection: Connection) -> None:
    """There are users to be computed anew, in this transaction, which excludes others."""
    connection.execute(insert(dirty).values(seq=None, day=None))


def window_of(connection: Connection, project: str, experiment_id: str) -> int:
    """How long each user of an experiment is looked at, in microseconds."""
    same = (experiments.c.project == project, experiments.c.experiment_id == experiment_id)
    stored = connection.execute(select(experiments.c.analysis).where(*same)).scalar()
    settings = json.loads(stored) if stored else {}
    return int(settings.get("window_seconds", DEFAULT_WINDOW_SECONDS) * _SECOND)


def note_changed(connection: Connection, project: str, experiment_id: str) -> None:
    """An experiment was made or changed; if its window was, its users are computed anew."""
    exclude(connection)
    note_stale(connection)
    same = (users.c.project == project, users.c.experiment_id == experiment_id)
    other = users.c.ends_at - users.c.first_at != window_of(connection, project, experiment_id)
    connection.execute(update(users).where(*same, other).values(stale=True))


def note_aged(connection: Connection, project: str, experiment_id: str, until: int) -> None:
    """Calls of an experiment up to this time were removed for their age."""
    connection.execute(
        update(experiments)
        .where(experiments.c.project == project, experiments.c.experiment_id == experiment_id)
        .where(func.coalesce(experiments.c.removed_until, 0) < until)
        .values(removed_until=until)
    )


def _make_stale(connection: Connection, project: str, experiment_id: str, values: Collection[str]) -> None:
    theirs = (users.c.project == project, users.c.experiment_id == experiment_id)
    connection.execute(update(users).where(*theirs, users.c.sticky_value.in_(values)).values(stale=True))


def _resolve_anew(connection: Connection, project: str, gone: Sequence[Any]) -> None:
    """Have scores that led to users by these calls find them anew."""
    ids, sessions = {row.id for row in gone}, {row.session for row in gone if row.session is not None}
    found = attached(connection, project, ids, sessions)
    insert_rows(connection, dirty, [{"seq": row.seq, "day": row.day} for row in found])


def _forget(connection: Connection, found: Sequence[Any]) -> None:
    """These scores count no longer."""
    gone = delete(owners).where(*these(owners, found)).returning(*(owners.c[name] for name in USER))
    for project, experiment_id, value in {tuple(row) for row in connection.execute(gone)}:
        if value is not None:
            _make_stale(connection, project, experiment_id, [value])
    for project, value in {(row.project, row.sticky_value) for row in found if row.sticky_value is not None}:
        named = (users.c.project == project, users.c.sticky_value == value)
        connection.execute(update(users).where(*named).values(stale=True))
    connection.execute(delete(scores).where(*these(scores, found)))


# -- which scores are about which calls ----------------------------------------------------------------------


def attached(
    connection: Connection, project: str, ids: Collection[str], sessions: Collection[str]
) -> list[Any]:
    """The scores about these records, and those about these sessions and no record."""
    own = scores.c.project == project
    conditions: list[tuple[ColumnElement[bool], ...]] = []
    if ids:
        conditions.append((scores.c.record_id.is_not(None), scores.c.record_id.in_(ids)))
    if sessions:
        about = (scores.c.session.is_not(None), scores.c.session.in_(sessions))
        conditions.append((*about, scores.c.record_id.is_(None)))
    return [row for each in conditions for row in connection.execute(select(scores).where(own, *each))]


def left_alone(connection: Connection, rows: Sequence[Any], limit: int) -> list[Any]:
    """The scores that are about nothing any more once these calls are gone, or the first of them."""
    chosen = select(calls.c.project, calls.c.id, calls.c.session).where(*these(calls, rows))
    gone = connection.execute(chosen.where(calls.c.source != SCORE).order_by(calls.c.project)).all()
    return list(_left_alone(connection, gone, [row.seq for row in rows]))[:limit]


def _left_alone(connection: Connection, gone: Sequence[Any], numbers: Sequence[int]) -> Iterator[Any]:
    for project, group in groupby(gone, lambda row: row.project):
        some = list(group)
        ids, sessions = {row.id for row in some}, {row.session for row in some if row.session is not None}
        for row in attached(connection, project, ids, sessions):
            if row.seq not in numbers and not _has_others(connection, row, numbers):
                yield row


def _has_others(connection: Connection, score: Any, numbers: Sequence[int]) -> bool:
    """Whether a score is about more than these calls: a user, or a session with other calls."""
    if score.record_id is not None or score.sticky_value is not None:
        return score.record_id is None
    others = select(calls.c.seq).where(calls.c.project == score.project, calls.c.session == score.session)
    others = others.where(calls.c.source != SCORE, calls.c.seq.not_in(numbers))
    return connection.execute(others.limit(1)).first() is not None
