"""What arrives in ClickHouse: in one order for all who follow, and whole, whatever stops an insert."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from banyan_hp.server.api.committer import Committer
from banyan_hp.server.store.calls import CallFilter, Calls, Stored
from banyan_hp.server.store.database import BusyError, Database
from tests.unit.server.store.samples import NOON, call, ids

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
    from banyan_hp.server.store.clickhouse.client import ClickHouse

ALL = CallFilter(project="p")
SETTLE_SECONDS = 2.0
SECONDS = 20.0


@contextmanager
def a_view(clickhouse: ClickHouse, name: str, computing: str) -> Iterator[None]:
    """A materialised view that computes something of each call: what is inserted waits for it, or fails."""
    clickhouse.do("CREATE TABLE IF NOT EXISTS nothing (x UInt8) ENGINE = Null")
    clickhouse.do(f"CREATE MATERIALIZED VIEW {name} TO nothing AS SELECT {computing} AS x FROM calls")
    try:
        yield
    finally:
        clickhouse.do(f"DROP TABLE {name}")


# -- followed --------------------------------------------------------------------------------------------


class Slow:
    """Inserts calls of one id only when it is released, with the numbers that they got before."""

    def __init__(self, clickhouse: ClickHouse, slow: str) -> None:
        self.numbered, self.released = threading.Event(), threading.Event()
        self._clickhouse, self._insert, self._slow = clickhouse, clickhouse.insert, slow

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if table == "calls" and rows[0][columns.index("id")] == self._slow:
            (got,) = self._clickhouse.rows("SELECT generateSnowflakeID() AS seq")
            columns, rows = [*columns, "seq"], [[*row, got["seq"]] for row in rows]
            self.numbered.set()
            assert self.released.wait(SECONDS)
        self._insert(table, columns, rows)


def test_an_insert_that_others_overtake_is_not_skipped(
    clickhouse: ClickHouse, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is numbered before others and seen after them: nobody is shown what is behind it before."""
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls

    slow = Slow(clickhouse, "slow")
    monkeypatch.setattr(clickhouse, "insert", slow.insert)
    by_one, by_other = (ClickHouseCalls(clickhouse, database, settle_seconds=SECONDS) for _ in range(2))
    with ThreadPoolExecutor() as pool:
        held: Future[Any] = pool.submit(by_one.append, [call(id="slow")])
        assert slow.numbered.wait(SECONDS)
        by_other.append([call(id="fast")])
        assert ids(by_other.page(ALL, 10).calls) == ["fast"]
        assert ids(by_other.follow(ALL, 10).calls) == []
        slow.released.set()
        assert held.result(SECONDS) == [Stored.NEW]
    settled = ClickHouseCalls(clickhouse, database, settle_seconds=0)
    assert followed(settled, 2) == ["slow", "fast"]


def followed(store: Calls, many: int) -> list[str]:
    """The ids that a follower gets, page by page, until there are so many."""
    found: list[str] = []
    cursor: str | None = None
    until = time.monotonic() + SECONDS
    while len(found) < many:
        assert time.monotonic() < until, found
        page = store.follow(ALL, 1, cursor)
        found += ids(page.calls)
        cursor = page.next
    return found


def test_many_who_insert_and_one_who_follows(clickhouse: ClickHouse, database: Database) -> None:
    """Each call once, in the order of arrival, whatever its sender's clock and ours say."""
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls

    store = ClickHouseCalls(clickhouse, database, settle_seconds=SETTLE_SECONDS)

    def insert(who: int) -> None:
        own = ClickHouseCalls(clickhouse, database)
        for number in range(10):
            off = timedelta(days=who - 1)
            own.append([replace(call(who * 100 + number, event_time=NOON + off), received_at=NOON - off)])

    with ThreadPoolExecutor() as pool:
        done = [pool.submit(insert, who) for who in range(3)]
        found = followed(store, 30)
        for each in done:
            each.result()
    assert sorted(found) == sorted(f"id-{who * 100 + number}" for who in range(3) for number in range(10))
    assert found == ids(store.arrived(ALL, 100).calls)


def test_an_insert_is_ended_before_those_who_follow_have_passed_it(
    store: ClickHouseCalls, clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it might take; its sender is told to repeat it, and it is there once."""
    from banyan_hp.server.store.clickhouse import client

    monkeypatch.setattr(client, "INSERT_SECONDS", 1)
    given = [call(number) for number in range(4)]
    with a_view(clickhouse, "slow_view", "sleepEachRow(0.7)"):
        began = time.monotonic()
        with pytest.raises(BusyError, match="an insert took longer than 1 s"):
            store.append(given)
        assert time.monotonic() < began + 4 * 0.7
    store.append(given)
    assert sorted(ids(store.follow(ALL, 10).calls)) == sorted(ids(given))


# -- kept ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a_view_before_others", "z_view_after_others"])
def test_an_insert_that_fails_half_way_is_whole_when_it_is_repeated(
    store: ClickHouseCalls, clickhouse: ClickHouse, name: str
) -> None:
    """Whatever of it has been stored in which tables."""
    given = [call(number) for number in range(3)]
    with a_view(clickhouse, name, "throwIf(1)"), pytest.raises(BusyError, match="throwIf"):
        store.append(given)
    store.append(given)
    assert set(store.append(given)) == {Stored.REPEAT}
    assert sorted(ids(store.page(ALL, 10).calls)) == sorted(ids(given))
    assert store.count(ALL)[0] == len(given)


@pytest.mark.parametrize("other", [{}, {"body": {"input": "other", "output": "", "metadata": {}}}])
def test_an_id_without_its_call_is_no_repeat(
    store: ClickHouseCalls, clickhouse: ClickHouse, other: dict[str, Any]
) -> None:
    """A removal that was broken off leaves one: what comes under this id is stored."""
    store.append([call(1), call(2)])
    clickhouse.do("DELETE FROM calls WHERE id = 'id-1'")
    again = call(1, **other)
    assert store.append([again, call(2)]) == [Stored.NEW, Stored.REPEAT]
    assert store.append([again]) == [Stored.REPEAT]
    found = store.get("p", "id-1")
    assert found is not None
    assert found.body == again.body


def test_a_batch_may_be_of_many_months(store: Calls) -> None:
    """ClickHouse refuses more than a hundred by itself, each time they come."""
    given = [call(number, event_time=NOON - number * timedelta(days=31)) for number in range(105)]
    assert store.append(given) == [Stored.NEW] * len(given)
    assert store.count(ALL)[0] == len(given)


def test_a_value_that_no_column_holds_is_refused_alone(store: ClickHouseCalls) -> None:
    """Its neighbours are stored, and nobody repeats them for ever."""
    with Committer(store.append_rows, store.rows) as committer:
        verdicts = committer.store([call(1), call(2, input_tokens=2**63), call(3)]).result(SECONDS)
    assert [verdicts[0], verdicts[2]] == [Stored.NEW, Stored.NEW]
    assert isinstance(verdicts[1], Exception)
    assert "input_tokens" in str(verdicts[1])
    assert sorted(ids(store.page(ALL, 10).calls)) == ["id-1", "id-3"]


def test_a_call_that_is_removed_while_a_page_is_read_is_not_on_it(
    store: ClickHouseCalls, clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its place and its body; whoever follows gets the others, each with its own position."""
    store.append([call(number) for number in range(3)])
    rows = clickhouse.rows

    def removed_before_bodies(sql: str, *given: Any) -> Any:
        if "body FROM calls" in sql:
            clickhouse.do("DELETE FROM calls WHERE id = 'id-1'")
        return rows(sql, *given)

    for read in (store.page, store.follow):
        monkeypatch.setattr(clickhouse, "rows", removed_before_bodies)
        page = read(ALL, 10)
        assert sorted(ids(page.calls)) == ["id-0", "id-2"]
        assert not page.positions or page.positions == [f"0.{each.seq}" for each in page.calls]
        monkeypatch.setattr(clickhouse, "rows", rows)
        store.append([call(1)])


def test_long_lists_of_texts_that_look_like_sql_are_texts(clickhouse: ClickHouse) -> None:
    """Parameters that are written into a statement, where a text has the name of another one in it."""
    texts = ["{b:Array(String)}", "{c:String}", "'", "\\", "\\'", "'] OR 1 --", "\n\t\x00", "\\N", "é😀"]
    long = [f"{text}{number}" for number in range(3000) for text in texts]
    asked = {"a": long, "b": long[::-1], "c": "'{a:Array(String)}\\"}
    sql = "SELECT {a:Array(String)} AS a, {b:Array(String)} AS b, {c:String} AS c"
    assert [dict(row) for row in clickhouse.rows(sql, asked)] == [asked]
    assert [dict(row) for row in clickhouse.rows(sql, {**asked, "a": texts, "b": []})] == [
        {**asked, "a": texts, "b": []}
    ]
