"""The first rows of calls in an order: first their places, read from few columns, then their other columns.

`FINAL` would read and merge every row that matches, whatever the limit. So places are found without it, and
rows that two servers inserted are folded here as a merge would fold them: of the rows at one place the one
that came first stays, if it matches itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..rows import within_bytes
from .client import ClickHouse, Row
from .conditions import AT_PLACES, PLACE, Conditions, place_of

_PLACED = f"{', '.join(PLACE)}, seq"
NEWEST_EVENT = "event_time DESC, seq DESC"


def first_of(
    clickhouse: ClickHouse,
    columns: str,
    asked: Conditions,
    order: str,
    many: int,
    seconds: float | None = None,
) -> list[Row]:
    """The first rows of an order, `NEWEST_EVENT` or one by `seq`; each call once.

    Rows that are folded leave too few: then more are looked at. Each look may take so many seconds.
    """
    looked_at = many
    while True:
        places = rows_of(clickhouse, _PLACED, asked, order, looked_at, seconds)
        rows = _in_order(_folded_at(clickhouse, columns, places), places)
        if len(places) < looked_at or len(rows) >= many:
            return rows[:many]
        looked_at *= 2


def rows_of(
    clickhouse: ClickHouse,
    columns: str,
    asked: Conditions,
    order: str,
    many: int,
    seconds: float | None = None,
) -> list[Row]:
    """The first rows of an order, not folded.

    ClickHouse reads the table in the order of events, and stops when it has enough; with `seq` in the order
    it would read every row that matches. So rows of the same time as the last one are asked for once more.
    """
    query = f"SELECT {columns} FROM calls WHERE "
    if order != NEWEST_EVENT:
        return clickhouse.rows(f"{query}{asked.sql} ORDER BY {order} LIMIT {many}", asked.parameters, seconds)
    newest = f"{query}{asked.sql} ORDER BY event_time DESC LIMIT {many}"
    found = clickhouse.rows(newest, asked.parameters, seconds)
    if len(found) == many:
        last = found[-1]["event_time"]
        same = asked.copy().add("event_time = ?[Int64]", last)
        tied = clickhouse.rows(f"{query}{same.sql} ORDER BY seq DESC LIMIT {many}", same.parameters, seconds)
        found = [*(row for row in found if row["event_time"] != last), *tied]
    return sorted(found, key=lambda row: (row["event_time"], row["seq"]), reverse=True)[:many]


def fitting(rows: Sequence[Row], limit: int) -> Sequence[Any]:
    """The first of them that are one page."""
    return within_bytes([_Sized(row) for row in rows[:limit]])


class _Sized(dict[str, Any]):
    """A row, with its size where `within_bytes` looks for it."""

    @property
    def bytes(self) -> int:
        return int(self["bytes"])


def folded(asked: Conditions) -> str:
    """The same conditions for a query with `FINAL`, where few rows match: it merges at their places only."""
    place = ", ".join(PLACE)
    return f"({place}) IN (SELECT {place} FROM calls WHERE {asked.sql}) AND {asked.sql}"


def _folded_at(clickhouse: ClickHouse, columns: str, places: Sequence[Row]) -> dict[int, Row]:
    """By its `seq`, of each place the row that stays."""
    if not places:
        return {}
    asked = Conditions().add(AT_PLACES, list(dict.fromkeys(map(place_of, places))))
    found = clickhouse.rows(f"SELECT {_PLACED}, {columns} FROM calls WHERE {asked.sql}", asked.parameters)
    first = {place_of(row): row for row in sorted(found, key=_seq, reverse=True)}
    return {_seq(row): row for row in first.values()}


def _in_order(staying: dict[int, Row], places: Sequence[Row]) -> list[Row]:
    return [staying[row["seq"]] for row in places if row["seq"] in staying]


def _seq(row: Row) -> int:
    return int(row["seq"])
