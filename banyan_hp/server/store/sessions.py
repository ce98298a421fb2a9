"""Sessions: what the calls that name the same one amount to. They have no table of their own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, exists, func, literal, select, tuple_

from .calls import time_of
from .cursors import Cursor
from .database import Database
from .rows import cut, newest_first, these
from .scores import SCORE
from .tables import calls

MOST_LOOKED_AT = 2_000  # calls, for one page of sessions
MOST_COUNTED = 1_000  # calls of one session
MOST_SUMMED = 100_000  # the latest calls of a session that its totals are of
MOST_TIMED = 10_000  # the latest calls of a session that its latencies are of
_AT_ONCE = 50  # sessions
_SUMMED = ("input_tokens", "output_tokens", "cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session, as the list of them shows it.

    Attributes:
        began, last: the times of its first and its last call.
        user: of its last call.
        calls, errors: of its calls, at most of the first `MOST_COUNTED`.
    """

    id: str
    began: datetime
    last: datetime
    user: str | None
    calls: int
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a session's latest `MOST_SUMMED` calls amount to; None: of no call that is known.

    Attributes:
        latency_p50, latency_p95: in milliseconds, of the latest `MOST_TIMED` that have a latency.
        timed: how many these are.
    """

    calls: int
    errors: int
    input_tokens: int | None
    output_tokens: int | None
    cost: float | None
    latency_p50: float | None
    latency_p95: float | None
    timed: int


class SessionPage(NamedTuple):
    """Some sessions, and the cursor to go on from; None: there are no more."""

    sessions: Sequence[Session]
    next: str | None


class Sessions:
    """The sessions of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def recent(
        self, project: str, limit: int, cursor: str | None = None, user: str | None = None
    ) -> SessionPage:
        """Up to `limit` sessions, last active first.

        Looks at the newest `MOST_LOOKED_AT` calls from the cursor on, so a page may be short, or empty, and
        have a next one.
        """
        after = Cursor.parse(cursor) if cursor is not None else None
        with self._database.read() as connection:
            seen = connection.execute(_looked_at(project, after, user)).all()
            found = list(islice(_last_active(connection, seen, user), limit + 1))
        shown = [session for _, session in found[:limit]]
        if len(found) > limit:
            return SessionPage(shown, str(found[limit - 1][0]))
        more = len(seen) == MOST_LOOKED_AT
        return SessionPage(shown, str(Cursor(seen[-1].event_time, seen[-1].seq)) if more else None)

    def totals(self, project: str, session: str) -> Totals:
        """What the calls of a session amount to."""
        chosen = (calls.c.project == project, calls.c.session == cut(session), calls.c.source != SCORE)
        columns = [calls.c[name] for name in (*_SUMMED, "error")]
        summed = select(*columns).where(*chosen).order_by(*newest_first).limit(MOST_SUMMED).subquery()
        sums = [func.sum(summed.c[name]).label(name) for name in _SUMMED]
        counts = (func.count().label("calls"), func.count(summed.c.error).label("errors"))
        timed = select(calls.c.latency_ms).where(*chosen, calls.c.latency_ms.is_not(None))
        timed = timed.order_by(*newest_first).limit(MOST_TIMED)
        with self._database.read() as connection:
            row = connection.execute(select(*counts, *sums)).one()
            latencies = sorted(connection.execute(timed).scalars().all())
        return Totals(
            calls=row.calls,
            errors=row.errors,
            input_tokens=_whole(row.input_tokens),
            output_tokens=_whole(row.output_tokens),
            cost=row.cost,
            latency_p50=_at_rank(latencies, 0.5),
            latency_p95=_at_rank(latencies, 0.95),
            timed=len(latencies),
        )


def _whole(summed: Any) -> int | None:
    """PostgreSQL's sum of whole numbers is a decimal number."""
    return int(summed) if summed is not None else None


def _at_rank(ordered: Sequence[float], share: float) -> float | None:
    """The value of the nearest rank."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


def _looked_at(project: str, after: Cursor | None, user: str | None) -> Select[Any]:
    query = select(calls.c.seq, calls.c.day, calls.c.event_time, calls.c.session, calls.c.source)
    query = query.where(calls.c.project == project).order_by(*newest_first).limit(MOST_LOOKED_AT)
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
    counted = select(other.c.error).where(*same).limit(MOST_COUNTED).correlate(head).subquery()
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
