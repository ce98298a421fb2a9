"""Lists that are too long for one parameter of a server's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.client import ClickHouse

ROWS = 20_000


def test_a_list_goes_in_as_many_pieces_as_a_server_takes() -> None:
    """Each below 128 KiB, whatever is escaped or not ASCII; other parameters stay as they are."""
    from banyan_hp.server.store.clickhouse.parameters import in_pieces

    keys = [("project", f"ключ-{number}", number) for number in range(ROWS)]
    sql = "a IN {keys:Array(Tuple(String, String, Int64))} AND b = {one:String} AND c IN {few:Array(UInt8)}"
    written, given = in_pieces(sql, {"keys": keys, "one": "x" * 300_000, "few": [1, 2]})
    pieces = [given[f"keys_{number}"] for number in range(len(given) - 2)]
    assert [each for piece in pieces for each in piece] == keys
    assert max(len(repr(piece).encode()) for piece in pieces) < 128 * 1024
    typed = [f"{{keys_{number}:Array(Tuple(String, String, Int64))}}" for number in range(len(pieces))]
    assert (
        written
        == f"a IN arrayConcat({', '.join(typed)}) AND b = {{one:String}} AND c IN {{few:Array(UInt8)}}"
    )
    assert in_pieces(sql, {"keys": keys[:5], "few": []}) == (sql, {"keys": keys[:5], "few": []})


def test_the_index_is_used_all_the_same(clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    from banyan_hp.server.store.clickhouse import parameters

    monkeypatch.setattr(parameters, "MOST_BYTES", 20)
    clickhouse.do(
        "INSERT INTO spans_to_derive (project, trace_id, number, waiting) "
        f"SELECT 'p', toString(number), number, 1 FROM numbers({ROWS})"
    )
    asked = "FROM spans_to_derive WHERE number IN {numbers:Array(UInt64)}"
    numbers = {"numbers": [5, 6, 7]}
    found = clickhouse.rows(f"SELECT number {asked} ORDER BY number", numbers)
    assert [row["number"] for row in found] == [5, 6, 7]
    rows = clickhouse.rows(f"EXPLAIN indexes=1 SELECT 1 {asked}", numbers)
    plan = "\n".join(row["explain"] for row in rows)
    assert "Granules: 1/2" in plan, plan
    clickhouse.do("DELETE FROM spans_to_derive WHERE number IN {numbers:Array(UInt64)}", numbers)
    (left,) = clickhouse.rows("SELECT count() AS n FROM spans_to_derive")
    assert left["n"] == ROWS - 3
