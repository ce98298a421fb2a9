"""Removing spans from ClickHouse: a person's traces, and those that are older than they are kept.

A step of making calls writes nothing while somebody's traces are deleted (`election.SPANS`): it would bring
calls back. Their arrivals are read before their spans are deleted: what comes to a trace in between is looked
at afterwards. What is old needs neither: a call that comes back goes with the next run.

Old spans go by day, log events by their own time. Where a keeper takes them first, all of a project's day
are with it before any of them is deleted; after a crash between the two they come to it again, and it knows
those that it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta

from ..calls import CallFilter, microseconds, time_of
from ..database import Database
from ..election import SPANS, elected_soon
from ..rows import cut, within_bytes
from ..span_rows import parts
from ..spans import Key, SpanKeeper
from .arrivals import Arrivals
from .client import ClickHouse
from .conditions import Conditions
from .span_rows import COLUMNS, are_spans, in_traces, rows_of, told_of, with_bodies

KEPT_AT_ONCE = 20_000
_TRACES = 500  # that one step removes
_DAY = timedelta(days=1)
_MILLISECOND = 1000  # microseconds
_SNOWFLAKE = 22  # bits of a number below its milliseconds


class SpanRemoval:
    """Removes spans. The election is held in `database`."""

    def __init__(self, clickhouse: ClickHouse, database: Database) -> None:
        self._clickhouse = clickhouse
        self._database = database
        self._arrivals = Arrivals(clickhouse)

    def delete(self, project: str, equal: Mapping[str, str]) -> Iterator[int]:
        """See `Spans.delete`."""
        chosen = {name: cut(value) for name, value in equal.items()}
        if set(chosen) == {"id"}:
            for some in parts(told_of(self._clickhouse, project, [chosen["id"]])):
                with elected_soon(self._database, SPANS):
                    removed = self._remove(are_spans(project, some))
                yield removed
            return
        while traces := self._by_own(project, chosen) or self._by_calls(project, chosen):
            with elected_soon(self._database, SPANS):
                arrivals = self._arrivals.of(project, traces)
                removed = self._remove(in_traces(project, traces))
                self._arrivals.done(arrivals)
            yield removed

    def _by_own(self, project: str, chosen: Mapping[str, str]) -> list[str]:
        """Whole traces: what is around a person's calls repeats what was said in them."""
        own = {name: value for name, value in chosen.items() if name in ("session", "user")}
        asked = Conditions().add("project = ?[String]", project)
        for name, value in own.items():
            asked.add(f"{name} = ?[String]", value)
        return self._traces("spans", asked.sql, asked.parameters) if own else []

    def _by_calls(self, project: str, chosen: Mapping[str, str]) -> list[str]:
        """Those that tell of calls, though their spans name nobody."""
        calls = Conditions().of(CallFilter(project=project, equal=chosen, scores=True))
        # In a cluster a call may be on another shard than its spans.
        told = f"project = {{own:String}} AND call_id GLOBAL IN (SELECT id FROM calls WHERE {calls.sql})"
        return self._traces("span_calls", told, {**calls.parameters, "own": project})

    def _traces(self, table: str, asked: str, parameters: Mapping[str, object]) -> list[str]:
        rows = self._clickhouse.rows(
            f"SELECT DISTINCT trace_id FROM {table} WHERE {asked} LIMIT {_TRACES}", parameters
        )
        return [row["trace_id"] for row in rows]

    def _remove(self, asked: Conditions) -> int:
        """All that is kept of some spans; how many these were. What leads to them goes last."""
        (row,) = self._clickhouse.rows(
            f"SELECT uniqExact(trace_id, span_id) AS n FROM spans WHERE {asked.sql}", asked.parameters
        )
        for table in ("span_events", "span_times", "spans", "span_calls"):
            self._clickhouse.do(
                f"DELETE FROM {self._clickhouse.local(table)} WHERE {asked.sql}", asked.parameters
            )
        return int(row["n"])

    # -- old ---------------------------------------------------------------------------------------------

    def trim(self, before: datetime, keeper: SpanKeeper | None) -> Iterator[int]:
        """See `Spans.trim`."""
        limit = microseconds(datetime.combine(before, time(), UTC))
        old = Conditions().add("received_at < ?[Int64]", limit).add("start_time < ?[Int64]", limit)
        while (first := self._oldest(old)) is not None:
            yield from self._trim_day(*first, old, keeper)
        events = Conditions().add("received_at < ?[Int64]", limit).add("time < ?[Int64]", limit)
        noted = Conditions().add("start_time < ?[Int64]", limit)
        noted.add("noted < ?[UInt64]", limit // _MILLISECOND << _SNOWFLAKE)
        yield self._delete("span_events", events)
        for table, asked in (("span_times", old), ("span_calls", noted)):
            self._delete(table, asked)

    def _oldest(self, old: Conditions) -> tuple[str, date] | None:
        """A project that has old spans, and the first day of these."""
        rows = self._clickhouse.rows(
            f"SELECT project, min(start_time) AS first FROM spans WHERE {old.sql} "
            "GROUP BY project ORDER BY project LIMIT 1",
            old.parameters,
        )
        return (rows[0]["project"], time_of(rows[0]["first"]).date()) if rows else None

    def _trim_day(self, project: str, day: date, old: Conditions, keeper: SpanKeeper | None) -> Iterator[int]:
        begins = datetime.combine(day, time(), UTC)
        asked = old.copy().add("project = ?[String]", project)
        asked.add("start_time >= ?[Int64]", microseconds(begins))
        asked.add("start_time < ?[Int64]", microseconds(begins + _DAY))
        if keeper is not None:
            for _ in self._keep(project, day, asked, keeper):
                yield 0
        yield self._delete("spans", asked)

    def _keep(self, project: str, day: date, asked: Conditions, keeper: SpanKeeper) -> Iterator[None]:
        """Have the spans of a day kept, some at a time. None can join them: they came before today."""
        last: Key = ("", "")
        while True:
            behind = asked.copy().add("(trace_id, span_id) > (?[String], ?[String])", *last)
            rows = rows_of(
                self._clickhouse, project, COLUMNS, behind, f"trace_id, span_id LIMIT {KEPT_AT_ONCE}"
            )
            some = within_bytes(rows)
            if not some:
                return
            keeper.keep_spans(project, day, with_bodies(self._clickhouse, project, some))
            last = (some[-1].trace_id, some[-1].span_id)
            yield

    def _delete(self, table: str, asked: Conditions) -> int:
        (row,) = self._clickhouse.rows(
            f"SELECT count() AS n FROM {table} WHERE {asked.sql}", asked.parameters
        )
        if row["n"]:
            self._clickhouse.do(
                f"DELETE FROM {self._clickhouse.local(table)} WHERE {asked.sql}", asked.parameters
            )
        return int(row["n"])
