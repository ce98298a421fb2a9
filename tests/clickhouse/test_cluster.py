"""A cluster of two shards: the stores' suites over `Distributed` tables, and that each shard has its part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from banyan_hp.server.opening import prepare_calls
from banyan_hp.server.starting import StartError
from banyan_hp.server.store.calls import CallFilter
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.sql_calls import SqlCalls
from tests.support.app import LocalApp
from tests.unit.server.store.samples import call
from tests.unit.server.test_batches import post, written

from . import test_ages, test_conformance, test_equal, test_reading, test_sessions
from .sharded import CLUSTER, DATABASE
from .test_ages import kept as kept
from .test_equal import sql as sql
from .test_sessions import theirs as theirs

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
    from banyan_hp.server.store.clickhouse.client import ClickHouse

_RESULTS = test_equal.test_results_of_experiments_are_equal
_FOLDED = test_reading.test_what_two_servers_inserted_is_on_one_page_once
# What is put together of several shards; of the rest one server's suite says enough.
_OF_CALLS = {
    "test_a_call_comes_back_as_it_was_stored",
    "test_the_same_call_again_is_counted_not_stored_again",
    "test_repeats_and_conflicts_within_one_batch",
    "test_pages_are_newest_first_and_lead_on",
    "test_filters",
    "test_a_search_finds_whole_words_and_phrases",
    "test_follow_gives_what_arrives_in_an_order_that_only_grows",
    "test_sums_by_columns",
    "test_writers_that_store_the_same_calls_at_once_agree",
    "test_a_batch_arrives_in_the_order_in_which_it_was_sent",
    "test_pages_lead_on_in_both_orders",
    "test_calls_and_their_deliveries_are_counted",
    "test_what_is_old_comes_to_the_keeper_by_project_and_day",
}
for _module in (test_ages, test_equal, test_sessions):
    for _name, _test in vars(_module).items():
        if _name.startswith("test_") and callable(_test) and _test is not _RESULTS:
            globals()[_name] = _test
globals().update({name: getattr(test_conformance, name) for name in _OF_CALLS})
ALL = CallFilter(project="p")


@pytest.fixture(scope="session")
def embedded(embedded_in: Path) -> Iterator[ClickHouse]:
    from banyan_hp.server.store.clickhouse.schema import make_tables

    from .sharded import Sharded

    opened = Sharded(embedded_in)
    make_tables(opened)
    yield opened
    opened.close()


def test_results_of_experiments_are_equal(
    store: ClickHouseCalls, sql: SqlCalls, clickhouse: ClickHouse, database: Database
) -> None:
    """To 1e-9, though a user's calls and scores are on both shards."""
    _RESULTS(store, sql, clickhouse, database, seed=1)


def test_what_two_servers_inserted_is_on_one_page_once(
    store: ClickHouseCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its rows are on one shard."""
    _FOLDED(store, monkeypatch, limit=3)


def test_each_shard_has_a_part_of_the_calls_and_what_is_made_of_them(
    store: ClickHouseCalls, clickhouse: ClickHouse
) -> None:
    """A call and its entry among the ids are on the same shard."""
    store.append([call(number) for number in range(100)])
    found = clickhouse.rows(
        "SELECT _shard_num AS shard, count() AS n FROM calls GROUP BY shard ORDER BY shard"
    )
    assert [row["shard"] for row in found] == [1, 2]
    assert sum(row["n"] for row in found) == store.count(ALL)[0] == 100
    apart = clickhouse.rows(
        "SELECT count() AS n FROM (SELECT id, _shard_num AS shard FROM calls) AS c "
        "INNER JOIN (SELECT id, _shard_num AS shard FROM call_ids) AS i USING (id) WHERE c.shard != i.shard"
    )
    assert apart[0]["n"] == 0


def test_a_server_over_tables_that_are_there_needs_no_rights_to_make_any(
    clickhouse: ClickHouse, embedded_in: Path, tmp_path: Path
) -> None:
    """The process refuses any statement `ON CLUSTER`; calls come in and are read all the same."""
    url = f"chdb://{embedded_in}?database={DATABASE}"
    prepare_calls(url, CLUSTER)
    with LocalApp(tmp_path, calls=url, cluster=CLUSTER) as app:
        batch = written(*['{"input":"q","output":"a","metadata":{}}'] * 10)
        assert post(app, batch).json() == {"accepted": 10}
        found = app.get("/api/calls")["calls"]
    assert len(found) == 10
    assert {row["shard"] for row in clickhouse.rows("SELECT DISTINCT _shard_num AS shard FROM calls")} == {
        1,
        2,
    }
    with pytest.raises(StartError, match="can't use the ClickHouse of --calls"):
        prepare_calls(url, CLUSTER, timedelta(days=30))


def test_tables_are_used_as_they_were_made(embedded: ClickHouse, embedded_in: Path) -> None:
    """Without the cluster's settings an answered insert might not be on its shard yet."""
    own, sharded = f"chdb://{embedded_in}", f"chdb://{embedded_in}?database={DATABASE}"
    with pytest.raises(StartError, match="on the cluster two: start with --clickhouse-cluster two, or use"):
        prepare_calls(sharded)
    with pytest.raises(StartError, match="on the cluster two: start with --clickhouse-cluster two, or use"):
        prepare_calls(sharded, "other")
    with pytest.raises(StartError, match="on one server: start without --clickhouse-cluster, or use"):
        prepare_calls(own, CLUSTER)


def test_what_one_statement_removes_fits_into_keeper(
    store: ClickHouseCalls, clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys are in the statement, and Keeper has the statement."""
    from banyan_hp.server.store.clickhouse import removal

    store.append([call(number, user="u") for number in range(100)])
    monkeypatch.setattr(removal, "ENTRY_BYTES", 1000)
    statements: list[Mapping[str, Any]] = []
    do = clickhouse.do

    def noted(sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        if sql.startswith("DELETE FROM calls_local"):
            statements.append(parameters or {})
        do(sql, parameters)

    monkeypatch.setattr(clickhouse, "do", noted)
    assert sum(store.delete(CallFilter(project="p", equal={"user": "u"}))) == 100
    assert len(statements) == 7
    assert store.page(ALL, 10).calls == []
