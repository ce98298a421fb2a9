"""Sessions: what the calls that name the same one amount to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .. import sessions as limits
from ..calls import CallFilter, time_of
from ..cursors import Cursor
from ..rows import cut
from ..scores import SCORE
from ..sessions import Session, SessionPage, Totals, at_rank
from .client import ClickHouse, Row
from .conditions import Conditions
from .reading import NEWEST_EVENT, folded, rows_of

_SUMS = ", ".join(
    f"if(count(c.{name}) = 0, NULL, sum(c.{name})) AS {name}"
    for name in ("input_tokens", "output_tokens", "cost")
)


class ClickHouseSessions:
    """See `Sessions`."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    def recent(
        self, project: str, limit: int, cursor: str | None = None, user: str | None = None
    ) -> SessionPage:
        """See `Sessions.recent`."""
        seen = self._looked_at(project, cursor, user)
        found = list(self._last_active(project, seen, user))
        shown = found[:limit]
        sessions = [_session(row) for row in shown]
        if len(found) > limit:
            return SessionPage(sessions, str(Cursor(shown[-1]["last"], shown[-1]["seq"])))
        more = len(seen) == limits.MOST_LOOKED_AT
        return SessionPage(sessions, str(Cursor(seen[-1]["event_time"], seen[-1]["seq"])) if more else None)

    def totals(self, project: str, session: str) -> Totals:
        """See `Sessions.totals`."""
        asked = Conditions().of(CallFilter(project=project, equal={"session": session}))
        latest = f"FROM calls FINAL WHERE {folded(asked)}"
        (row,) = self._clickhouse.rows(
            f"SELECT count() AS calls, count(error) AS errors, {_SUMS} "
            f"FROM (SELECT * EXCEPT (content) {latest} "
            f"ORDER BY event_time DESC, seq DESC LIMIT {limits.MOST_SUMMED}) AS c",
            asked.parameters,
        )
        timed = self._clickhouse.rows(
            f"SELECT latency_ms {latest} AND latency_ms IS NOT NULL "
            f"ORDER BY event_time DESC, seq DESC LIMIT {limits.MOST_TIMED}",
            asked.parameters,
        )
        latencies = sorted(each["latency_ms"] for each in timed)
        p50, p95 = (at_rank(latencies, share) for share in (0.5, 0.95))
        return Totals(**row, latency_p50=p50, latency_p95=p95, timed=len(latencies))

    def _looked_at(self, project: str, cursor: str | None, user: str | None) -> Sequence[Row]:
        asked = _of_user(Conditions().add("project = ?[String]", project), user)
        if cursor is not None:
            last = Cursor.parse(cursor)
            asked.add("event_time <= ?[Int64]", last.major)
            asked.add("(event_time, seq) < (?[Int64], ?[UInt64])", *last)
        columns = "event_time, seq, session, source"
        return rows_of(self._clickhouse, columns, asked, NEWEST_EVENT, limits.MOST_LOOKED_AT)

    def _last_active(self, project: str, seen: Sequence[Row], user: str | None) -> Iterator[Row]:
        """The sessions whose last calls are among these; of others an earlier page had them."""
        names = list(dict.fromkeys(row["session"] for row in seen if _is_of_a_session(row)))
        if not names:
            return
        known = {(row["event_time"], row["seq"]) for row in seen}
        asked = Conditions().add("project = ?[String]", project).add("session IN ?[Array(String)]", names)
        asked.add("source != ?[String]", SCORE)
        of_user = "1" if user is None else "c.user = {user:String}"
        given = asked.parameters | ({} if user is None else {"user": cut(user)})
        rows = self._clickhouse.rows(
            f"SELECT c.session AS id, min(c.event_time) AS began, maxIf(c.event_time, {of_user}) AS last, "
            f"argMaxIf(c.seq, (c.event_time, c.seq), {of_user}) AS seq, "
            f"argMaxIf(tuple(c.user), (c.event_time, c.seq), {of_user}).1 AS user, "
            f"count() AS calls, count(c.error) AS errors "
            f"FROM (SELECT * FROM calls FINAL WHERE {folded(asked)}) AS c "
            "GROUP BY c.session ORDER BY last DESC, seq DESC",
            given,
        )
        yield from (row for row in rows if (row["last"], row["seq"]) in known)


def _of_user(asked: Conditions, user: str | None) -> Conditions:
    return asked if user is None else asked.add("user = ?[String]", cut(user))


def _is_of_a_session(row: Row) -> bool:
    return row["session"] is not None and row["source"] != SCORE


def _session(row: Row) -> Session:
    return Session(
        id=row["id"],
        began=time_of(row["began"]),
        last=time_of(row["last"]),
        user=row["user"],
        calls=row["calls"],
        errors=row["errors"],
    )
