"""Sums by hour: materialised views count each call as it is inserted, and what is removed is counted out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ..calls import microseconds, time_of
from ..hour_counts import BILLIONTH, added_by
from ..hours import Kind, Of, Period, Sums, bucket_of
from .client import ClickHouse, Row
from .conditions import Conditions
from .schema import HOUR_SUMS, KINDS, LATENCY_SUMS

HOUR_COLUMNS = ("latency_bucket", "counted_input", "counted_output", "nanos")
_DAY = 86_400_000_000
_WHOLE = ("calls", "errors", "input_tokens", "output_tokens", "priced")
_ADDED = ", ".join(f"sum(c.{name}) AS {name}" for name in _WHOLE)
_ADDED += ", sum(toInt128(c.nanos)) AS nanos"  # in 64 bits 9.2 billion USD would be the most


def hour_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """How much a call, given by its row, adds to the sums."""
    tokens = (row["input_tokens"], row["output_tokens"])
    *_, tokens_in, tokens_out, priced, nanos = added_by(failed=False, tokens=tokens, cost=row["cost"])
    latency = row["latency_ms"]
    return {
        "latency_bucket": bucket_of(latency) if latency is not None else None,
        "counted_input": tokens_in,
        "counted_output": tokens_out,
        "nanos": nanos if priced else None,
    }


def count_out(clickhouse: ClickHouse, asked: Conditions) -> None:
    """These calls are removed next."""
    of_them = {"sign": "-", "calls": "calls AS c FINAL", "chosen": f"AND {asked.sql}", "kinds": KINDS}
    for table, query in (("call_hours", HOUR_SUMS), ("call_latencies", LATENCY_SUMS)):
        clickhouse.do(f"INSERT INTO {table} {query.format(**of_them)}", asked.parameters)


class ClickHouseHours:
    """See `Hours`."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    def over_time(self, of: Of, period: Period, step: timedelta) -> Mapping[datetime, Sums]:
        """See `Hours.over_time`."""
        width = step // timedelta(microseconds=1)
        begun = f"c.start - positiveModulo(c.start, {width})"
        asked = _within(_of(of), _rounded(period.since, width), _rounded(period.until, width), width)
        rows = self._rows("call_hours", f"{begun} AS g, {_ADDED}", asked, "g")
        buckets = _buckets(
            self._rows("call_latencies", f"{begun} AS g, bucket, {_CALLS}", asked, "g, bucket")
        )
        return {time_of(row["g"]): _sums(row, buckets.get(row["g"], {})) for row in rows if row["calls"]}

    def total(self, of: Of, period: Period) -> Sums:
        """See `Hours.total`."""
        asked = _in(_of(of), period)
        rows = self._rows("call_hours", f"0 AS g, {_ADDED}", asked, "g")
        buckets = _buckets(self._rows("call_latencies", f"0 AS g, bucket, {_CALLS}", asked, "g, bucket"))
        return _sums(rows[0], buckets.get(0, {})) if rows and rows[0]["calls"] else Sums()

    def by(
        self, project: str, kind: Kind, period: Period, limit: int, names: Collection[str] | None = None
    ) -> Sequence[tuple[str, Sums]]:
        """See `Hours.by`."""
        asked = _in(_kind(project, kind), period)
        if names is not None:
            asked.add("c.name IN ?[Array(String)]", sorted(names))
        rows = self._rows(
            "call_hours",
            f"c.name AS g, {_ADDED}",
            asked,
            f"g HAVING calls > 0 ORDER BY calls DESC, g LIMIT {limit}",
        )
        asked.add("c.name IN ?[Array(String)]", [row["g"] for row in rows])
        buckets = _buckets(self._rows("call_latencies", f"c.name AS g, bucket, {_CALLS}", asked, "g, bucket"))
        return [(row["g"], _sums(row, buckets.get(row["g"], {}))) for row in rows]

    def uncounted(self) -> int:
        """See `Hours.uncounted`: each call is counted as it is stored."""
        return 0

    def rebuild(self) -> None:
        """See `Hours.rebuild`. Calls that are stored meanwhile may be counted twice."""
        whole = {"sign": "", "calls": "calls AS c FINAL", "chosen": "", "kinds": KINDS}
        for table, query in (("call_hours", HOUR_SUMS), ("call_latencies", LATENCY_SUMS)):
            self._clickhouse.do(f"TRUNCATE TABLE {self._clickhouse.local(table)}")
            self._clickhouse.do(f"INSERT INTO {table} {query.format(**whole)}")

    def _rows(self, table: str, columns: str, asked: Conditions, grouped: str) -> list[Row]:
        return self._clickhouse.rows(
            f"SELECT {columns} FROM {table} AS c WHERE {asked.sql} GROUP BY {grouped}", asked.parameters
        )


_CALLS = "sum(c.calls) AS calls"


def _kind(project: str, kind: Kind) -> Conditions:
    return Conditions().add("c.project = ?[String]", project).add("c.kind = ?[UInt8]", kind.value)


def _of(of: Of) -> Conditions:
    return _kind(of.project, of.kind).add("c.name = ?[String]", of.name)


def _in(asked: Conditions, period: Period) -> Conditions:
    return _within(asked, microseconds(period.since), microseconds(period.until), _DAY)


def _within(asked: Conditions, first: int, end: int, width: int) -> Conditions:
    """What begins between these times: the sums of whole days, and those of hours before and after them.

    Hours only, where a `width` less than a day is asked for.
    """
    day, next_day = (_rounded_up(first, _DAY), end // _DAY * _DAY) if width == _DAY else (end, end)
    asked.add(
        "(c.width = 1 AND c.start >= ?[Int64] AND c.start < ?[Int64] OR c.width = 0 AND ("
        "c.start >= ?[Int64] AND c.start < ?[Int64] OR c.start >= ?[Int64] AND c.start < ?[Int64]))",
        *(day, next_day, first, min(day, end), max(next_day, min(day, end)), end),
    )
    return asked


def _rounded(time: datetime, width: int) -> int:
    """The first step that begins at this time or later."""
    return _rounded_up(microseconds(time), width)


def _rounded_up(at: int, width: int) -> int:
    return -(-at // width) * width


def _buckets(rows: Sequence[Row]) -> dict[Any, dict[int, int]]:
    found: dict[Any, dict[int, int]] = {}
    for row in rows:
        if row["calls"]:
            found.setdefault(row["g"], {})[row["bucket"]] = row["calls"]
    return found


def _sums(row: Row, buckets: Mapping[int, int]) -> Sums:
    return Sums(**{name: row[name] for name in _WHOLE}, cost=row["nanos"] * BILLIONTH, latencies=buckets)
