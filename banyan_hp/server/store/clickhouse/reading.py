"""The first rows of calls in an order: where they are first, by few columns; then what else there is of them.

`FINAL` would read and merge all that may be meant, whatever the limit, and the other columns where a row is not
on the page. So places are found without it, and what two servers inserted is folded here, as a merge would:
of rows at one place the one that came first stays, and only if it is meant itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from .client import ClickHouse, Row
from .conditions import AT_PLACES, PLACE, Conditions, place_of

_PLACED = f"{', '.join(PLACE)}, seq"


def first_of(clickhouse: ClickHouse, columns: str, asked: Conditions, order: str, many: int) -> list[Row]:
    """The first rows of an order by `event_time` and `seq`, or by `seq`; each call once.

    Rows that are folded leave too few: then more are looked at.
    """
    looked_at = many
    while True:
        places = clickhouse.rows(
            f"SELECT {_PLACED} FROM calls WHERE {asked.sql} ORDER BY {order} LIMIT {looked_at}",
            asked.parameters,
        )
        rows = _in_order(folded_at(clickhouse, columns, places), places)
        if len(places) < looked_at or len(rows) >= many:
            return rows[:many]
        looked_at *= 2


def folded_at(clickhouse: ClickHouse, columns: str, places: Sequence[Row]) -> dict[int, Row]:
    """By its `seq`, of each place the row that stays."""
    if not places:
        return {}
    asked = Conditions().add(AT_PLACES, list(dict.fromkeys(map(place_of, places))))
    found = clickhouse.rows(f"SELECT {_PLACED}, {columns} FROM calls WHERE {asked.sql}", asked.parameters)
    first = {place_of(row): row for row in sorted(found, key=_seq, reverse=True)}
    return {_seq(row): row for row in first.values()}


def folded(asked: Conditions) -> str:
    """The same conditions behind `FINAL`, for what a skipping index finds: it then merges these places only."""
    place = ", ".join(PLACE)
    return f"({place}) IN (SELECT {place} FROM calls WHERE {asked.sql}) AND {asked.sql}"


def _in_order(staying: dict[int, Row], places: Sequence[Row]) -> list[Row]:
    return [staying[row["seq"]] for row in places if row["seq"] in staying]


def _seq(row: Row) -> int:
    return int(row["seq"])
