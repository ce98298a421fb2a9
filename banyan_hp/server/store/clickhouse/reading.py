"""The first rows of calls in an order, without reading all that a filter leaves."""

from __future__ import annotations

from .client import ClickHouse, Row
from .conditions import Conditions


def first_of(clickhouse: ClickHouse, columns: str, asked: Conditions, order: str, many: int) -> list[Row]:
    """So many rows in an order by `event_time` and `seq`, or by `seq`, each call once.

    `FINAL` reads and merges all that may be meant, whatever the limit. So the stretch of the first rows is
    found without it, by the first column of the order, and `FINAL` is asked about this stretch. Rows that
    it folds are counted each in the stretch, which is made longer where they leave too few.
    """
    by = order.partition(",")[0]
    looked_at = many
    while True:
        (ends,) = clickhouse.rows(
            "SELECT count() AS n, min(event_time) AS first, max(event_time) AS last, min(seq) AS lowest, "
            f"max(seq) AS highest FROM (SELECT event_time, seq FROM calls WHERE {asked.sql} "
            f"ORDER BY {by} LIMIT {looked_at})",
            asked.parameters,
        )
        if not ends["n"]:
            return []
        near = asked.copy().add("event_time >= ?[Int64]", ends["first"])
        near.add("event_time <= ?[Int64]", ends["last"])
        if by.startswith("seq"):
            near.add("seq >= ?[UInt64]", ends["lowest"]).add("seq <= ?[UInt64]", ends["highest"])
        rows = clickhouse.rows(
            f"SELECT {columns} FROM calls FINAL WHERE {near.sql} ORDER BY {order} LIMIT {many}",
            near.parameters,
        )
        if ends["n"] < looked_at or len(rows) == many:
            return rows
        looked_at *= 2
