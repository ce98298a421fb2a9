"""Sessions in SQLite or PostgreSQL: they have no table of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, Select, exists, func, literal, select, tuple_

from . import sessions
from .calls import time_of
from .cursors import Cursor
from .database import Database
from .rows import cut, newest_first, these
from .scores import SCORE
from .sessions import Session, SessionPage, Totals, at_rank
from .tables import calls

_AT_ONCE = 50  # sessions
_SUMMED = ("input_tokens", "output_tokens", "cost")


class SqlSessions:
    """See `Sessions`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def recent(
        self, project: str, limit: int, cursor: str | None = None, user: str | None = None
    ) -> SessionPage:
        """See `Sessions.recent`."""
        after = Cursor.parse(cursor) if cursor is not None else None
        with self._database.read() as connection:
            seen = connection.execute(_looked_at(project, after, user)).all()
            found = list(islice(_last_active(connection, seen, user), limit + 1))
        shown = [session for _, session in found[:limit]]
        if len(found) > limit:
            return SessionPage(shown, str(found[limit - 1][0]))
        more = len(seen) == sessions.MOST_LOOKED_AT
        return SessionPage(shown, str(Cursor(seen[-1].event_time, seen[-1].seq)) if more else None)

    def totals(self, project: str, session: str) -> Totals:
        """See `Sessions.totals`."""
        chosen = (calls.c.project == project, calls.c.session == cut(session), calls.c.source != SCORE)
        columns = [calls.c[name] for name in (*_SUMMED, "error")]
        summed = (
            select(*columns).where(*chosen).order_by(*newest_first).limit(sessions.MOST_SUMMED).subquery()
        )
        sums = [func.sum(summed.c[name]).label(name) for name in _SUMMED]
        counts = (func.count().label("calls"), func.count(summed.c.error).label("errors"))
        timed = select(calls.c.latency_ms).where(*chosen, calls.c.latency_ms.is_not(None))
        timed = timed.order_by(*newest_first).limit(sessions.MOST_TIMED)
        with self._database.read() as connection:
            row = connection.execute(select(*counts, *sums)).one()
            latencies = sorted(connection.execute(timed).scalars().all())
        return Totals(
            calls=row.calls,
            errors=row.errors,
            input_tokens=_whole(row.input_tokens),
            output_tokens=_whole(row.output_tokens),
            cost=row.cost,
            latency_p50=at_rank(latencies, 0.5),
            latency_p95=at_rank(latencies, 0.95),
            timed=len(latencies),
        )


def _whole(summed: Any) -> int | None:
    """PostgreSQL's sum of whole numbers is a decimal number."""
    return int(summed) if summed is not None else None


def _looked_at(project: str, after: Cursor | None, user: str | None) -> Select[Any]:
    query = select(calls.c.seq, calls.c.day, calls.c.event_time, calls.c.session, calls.c.source)
    query = query.where(calls.c.project == project).order_by(*newest_first).limit(sessions.MOST_LOOKED_AT)
    if user is not None:
        query = query.where(calls.c.user == cut(user))
    if after is not None:
        query = query.where(tuple_(calls.c.event_time, calls.c.seq) < tuple_(*map(literal, after)))
    return query


def _last_active(
    connection: Connection, seen: Iterable[Row[Any]], user: str | None
) -> Iterator[tuple[Cursor, Session]]:
    """The sessions whose last calls are among these, each with that call's position."""
    heads = iter(_first_of_each(seen))
    while part := list(islice(heads, _AT_ONCE)):
        rows = {row.seq: row for row in connection.execute(_details(part, user))}
        for head in part:
            if head.seq in rows:  # else there is a later call, and an earlier page had the session
                yield Cursor(head.event_time, head.seq), _session(rows[head.seq])


def _first_of_each(rows: Iterable[Row[Any]]) -> Iterator[Row[Any]]:
    """The newest call of each session."""
    met = set()
    for row in rows:
        if row.session is not None and row.session not in met and row.source != SCORE:
            met.add(row.session)
            yield row


def _details(heads: Sequence[Row[Any]], user: str | None) -> Select[Any]:
    """By one look at an index for each question, whatever number of calls there are."""
    head, other = calls.alias("head"), calls.alias("other")
    same = (other.c.project == head.c.project, other.c.session == head.c.session, other.c.source != SCORE)
    first = select(other.c.event_time).where(*same).order_by(other.c.event_time, other.c.seq).limit(1)
    counted = select(other.c.error).where(*same).limit(sessions.MOST_COUNTED).correlate(head).subquery()
    later = [tuple_(other.c.event_time, other.c.seq) > tuple_(head.c.event_time, head.c.seq)]
    later += [other.c.user == cut(user)] if user is not None else []
    return select(
        head.c.seq,
        head.c.session,
        head.c.user,
        head.c.event_time.label("last"),
        first.scalar_subquery().label("began"),
        select(func.count()).select_from(counted).scalar_subquery().label("calls"),
        select(func.count(counted.c.error)).scalar_subquery().label("errors"),
    ).where(*these(head, heads), ~exists().where(*same, *later))


def _session(row: Row[Any]) -> Session:
    return Session(
        id=row.session,
        began=time_of(row.began),
        last=time_of(row.last),
        user=row.user,
        calls=row.calls,
        errors=row.errors,
    )
