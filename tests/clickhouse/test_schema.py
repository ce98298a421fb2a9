"""The migrations: in order, once, by several servers at the same moment; and what a cluster makes of them."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from banyan_hp.server.opening import prepare_calls
from banyan_hp.server.starting import StartError

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.client import ClickHouse
    from banyan_hp.server.store.clickhouse.schema import Migration

NAMES = "SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name"
SECOND = "CREATE TABLE IF NOT EXISTS more (n Int64)\nENGINE = MergeTree\nORDER BY n;\n"
ALTERED = "ALTER TABLE calls ADD COLUMN IF NOT EXISTS more Int64;\n"


@pytest.fixture
def fresh(embedded: ClickHouse, embedded_in: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    name = f"fresh_{uuid.uuid4().hex}"
    embedded.do(f"CREATE DATABASE {name}")
    yield f"chdb://{embedded_in}?database={name}"
    embedded.do(f"DROP DATABASE {name} SYNC")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[Migration]:
    """The migrations that the program knows."""
    from banyan_hp.server.store.clickhouse import schema

    found = list(schema.migrations())
    monkeypatch.setattr(schema, "migrations", lambda: found)
    return found


def opened(url: str) -> ClickHouse:
    from banyan_hp.server.store.clickhouse.client import ClickHouse

    return ClickHouse(url)


def test_what_is_missing_is_applied_in_order_and_nothing_twice(
    fresh: str, known: list[Migration], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is applied already needs no rights to make tables."""
    from banyan_hp.server.store.clickhouse.schema import Migration, make_tables

    with closing(opened(fresh)) as clickhouse:
        make_tables(clickhouse)
        first = [(each.number, each.name) for each in known]
        known += [Migration(len(known) + 1, "more", SECOND), Migration(len(known) + 2, "altered", ALTERED)]
        done: list[str] = []
        run = clickhouse.do

        def noted_down(sql: str) -> None:
            done.append(sql.split("(")[0].strip())
            run(sql)

        monkeypatch.setattr(clickhouse, "do", noted_down)
        make_tables(clickhouse)
        noted = "INSERT INTO schema_migrations"
        assert [text for text in done if text != noted] == ["CREATE TABLE IF NOT EXISTS more", ALTERED[:-2]]
        applied = clickhouse.rows("SELECT number, name FROM schema_migrations ORDER BY number")
        assert [(row["number"], row["name"]) for row in applied] == [
            *first,
            (len(first) + 1, "more"),
            (len(first) + 2, "altered"),
        ]
        done.clear()
        make_tables(clickhouse)
        assert done == []


def test_several_servers_that_start_at_the_same_moment_make_the_same_tables(fresh: str) -> None:
    """Each statement can be run twice."""
    from banyan_hp.server.store.clickhouse.schema import make_tables, tables
    from banyan_hp.server.store.database import BusyError

    meet = threading.Barrier(3)
    failed: list[Exception] = []

    def start() -> None:
        with closing(opened(fresh)) as clickhouse:
            clickhouse.rows("SELECT 1")
            meet.wait(30)
            try:
                make_tables(clickhouse)
            except BusyError as error:
                failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with closing(opened(fresh)) as clickhouse:
        assert {row["name"] for row in clickhouse.rows(NAMES)} > set(tables())


def test_tables_of_a_newer_version_are_refused(fresh: str) -> None:
    prepare_calls(fresh)
    with closing(opened(fresh)) as clickhouse:
        clickhouse.do("INSERT INTO schema_migrations (number, name) VALUES (7, 'later')")
    with pytest.raises(
        StartError, match=r"migration 7 \(later\), and this version .* knows them up to \d+: start"
    ):
        prepare_calls(fresh)


def test_a_statement_that_cant_be_run_twice_is_no_migration() -> None:
    from banyan_hp.server.store.clickhouse.cluster import SchemaError
    from banyan_hp.server.store.clickhouse.schema import Migration

    with pytest.raises(SchemaError, match="can't be run twice: DROP TABLE calls"):
        list(Migration(2, "wrong", "-- why\nDROP TABLE calls;\n").statements())


# -- on a cluster --------------------------------------------------------------------------------------------


def test_a_cluster_has_a_replicated_table_on_each_shard_and_one_over_them() -> None:
    """Each statement is for the whole cluster."""
    from banyan_hp.server.store.clickhouse.schema import migrations, tables

    made = [text for each in migrations() for text in each.statements("banyan")]
    noted = [text for text in made if text.startswith("INSERT INTO schema_migrations ")]
    assert len(noted) == len(migrations())
    made = [text for text in made if text not in noted]
    assert all(" ON CLUSTER 'banyan'" in text for text in made)
    for table in tables():
        (local,) = [text for text in made if f"EXISTS {table}_local ON" in text]
        (over,) = [text for text in made if f"EXISTS {table} ON" in text]
        replicated = (
            r"^ENGINE = Replicated\w+MergeTree\('/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
        )
        assert re.search(replicated, local, re.MULTILINE)
        assert f"Distributed('banyan', currentDatabase(), '{table}_local', " in over
    for view in (text for text in made if "MATERIALIZED VIEW" in text):
        assert (
            len(re.findall(r" TO \w+_local AS\n", view))
            == len(re.findall(r"^FROM \w+_local\b", view, re.M))
            == 1
        )


def test_a_column_is_added_to_both_and_an_index_to_what_the_shards_have() -> None:
    from banyan_hp.server.store.clickhouse.cluster import SchemaError, on_cluster

    there = "ON CLUSTER 'c'"
    assert list(on_cluster("ALTER TABLE calls ADD COLUMN IF NOT EXISTS n Int64", "c")) == [
        f"ALTER TABLE calls_local {there} ADD COLUMN IF NOT EXISTS n Int64",
        f"ALTER TABLE calls {there} ADD COLUMN IF NOT EXISTS n Int64",
    ]
    assert list(on_cluster("ALTER TABLE calls ADD INDEX IF NOT EXISTS i n TYPE minmax", "c")) == [
        f"ALTER TABLE calls_local {there} ADD INDEX IF NOT EXISTS i n TYPE minmax"
    ]
    with pytest.raises(SchemaError, match="means nothing on a cluster"):
        list(on_cluster("DROP TABLE IF EXISTS calls", "c"))


def test_the_engine_takes_the_clusters_tables_and_their_ttl(embedded: ClickHouse, fresh: str) -> None:
    """With Keeper in memory, which makes replicated tables, and writes to none; not on other servers."""
    from datetime import timedelta

    from banyan_hp.server.store.clickhouse.ages import statements
    from banyan_hp.server.store.clickhouse.schema import migrations

    made = [text for each in migrations() for text in each.statements("two") if "INSERT" not in text]
    with closing(opened(fresh)) as clickhouse:
        for text in [*made, *statements(timedelta(days=30), "two")]:
            parsed = clickhouse.rows(f"EXPLAIN AST {text}")
            assert parsed
            if not text.startswith("ALTER"):
                clickhouse.do(text.replace(" ON CLUSTER 'two'", ""))
        engines = clickhouse.rows("SELECT engine FROM system.tables WHERE database = currentDatabase()")
    found = {row["engine"] for row in engines}
    assert found >= {
        "Distributed",
        "MaterializedView",
        "ReplicatedReplacingMergeTree",
        "ReplicatedSummingMergeTree",
    }
