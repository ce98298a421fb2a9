"""Calls that are kept for a time: ClickHouse removes them itself, by a TTL of each table.

What is removed when is what the databases do (`Calls.trim`), to the day: the time of a call is that of its
event, but not before its arrival, and where the event's clock is ahead of its whole time here, its arrival.
Rows go when parts are merged, which is within hours. Hourly sums go with the hour that they are of.

`experiment_days` stays: by it, experiments say up to when their calls were removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from ..calls import microseconds
from ..database import Database
from ..marks import note_aged
from .cluster import local

if TYPE_CHECKING:
    from .client import ClickHouse, Row

_SPANS = ("spans", "span_events", "span_times", "span_calls", "spans_to_derive")
KEPT = ("schema_migrations", "experiment_days", *_SPANS)
"""Tables that have no TTL. Old spans are removed by `Spans.trim`, to the day."""
_DAY = 86_400_000_000
_ALWAYS = 36_500  # days, from which on nothing is old: times end with the 23rd century
_OF_CALL = f"if(event_time > received_at + {_DAY} * {{days}}, received_at, greatest(event_time, received_at))"
_OF_HOUR = "least(start, 4102444800000000)"  # 2100
_TIMES = {
    "calls": _OF_CALL,
    "call_ids": _OF_CALL,
    "experiment_calls": _OF_CALL,
    "call_scores": _OF_CALL,
    "call_repeats": "toInt64(toUnixTimestamp(noted)) * 1000000",
    "call_hours": _OF_HOUR,
    "call_latencies": _OF_HOUR,
}
_FOUND = re.compile(r" TTL .*\+ toIntervalDay\((\d+)\)")


def ttl(table: str, retain: timedelta) -> str:
    """When a row is old: at the end of its day, and as many days later as calls are kept."""
    days = retain.days + 1
    day = f"toDate32(fromUnixTimestamp64Micro({_TIMES[table].format(days=days)}, 'UTC'))"
    return f"toDateTime64({day}, 0, 'UTC') + toIntervalDay({days})"


def statements(retain: timedelta, cluster: str | None = None) -> Iterator[str]:
    """What gives all tables their TTL."""
    for table in _TIMES if retain.days < _ALWAYS else ():
        yield _statement(table, retain, cluster)


def _statement(table: str, retain: timedelta | None, cluster: str | None) -> str:
    changed = "REMOVE TTL" if retain is None else f"MODIFY TTL {ttl(table, retain)}"
    return f"ALTER TABLE {local(table, cluster)} {changed}"


def keep_for(clickhouse: ClickHouse, retain: timedelta | None) -> None:
    """Have calls kept for so long, or for ever; what is so already needs no rights."""
    if retain is not None and retain.days >= _ALWAYS:
        retain = None
    wanted = None if retain is None else retain.days + 1
    for table, days in _days(clickhouse).items():
        if days != wanted:
            clickhouse.do(_statement(table, retain, clickhouse.cluster))


def kept_for(clickhouse: ClickHouse) -> timedelta | None:
    """How long the calls are kept; None: for ever."""
    days = _days(clickhouse).get("calls")
    return None if days is None else timedelta(days=days - 1)


def _days(clickhouse: ClickHouse) -> dict[str, int | None]:
    """The days in each table's TTL."""
    suffix = "" if clickhouse.cluster is None else "_local"
    rows = clickhouse.rows(
        "SELECT name, engine_full FROM system.tables "
        "WHERE database = currentDatabase() AND name IN {names:Array(String)}",
        {"names": [f"{table}{suffix}" for table in _TIMES]},
    )
    found = {row["name"].removesuffix(suffix): _FOUND.search(row["engine_full"]) for row in rows}
    return {table: int(days[1]) if days else None for table, days in sorted(found.items())}


def note_old(clickhouse: ClickHouse, database: Database, before: datetime) -> Iterator[int]:
    """Have experiments say what of theirs is old; as `Calls.trim` it yields how many were removed: not known.

    `database` has the experiments.
    """
    limit = microseconds(datetime.combine(before, time(), UTC))
    rows = clickhouse.rows(
        "SELECT project, experiment_id, max(last) AS until FROM experiment_days "
        "WHERE last < {limit:Int64} GROUP BY project, experiment_id ORDER BY project, experiment_id",
        {"limit": limit},
    )
    database.write(partial(_note, rows=rows))
    yield 0


def _note(connection: Connection, rows: Sequence[Row]) -> None:
    for row in rows:
        note_aged(connection, row["project"], row["experiment_id"], row["until"])
