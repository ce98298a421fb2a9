"""A dump that is restored into another cluster brings along positions which that cluster has yet to reach."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from banyan_hp.server.store.calls import CallFilter
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.sql_calls import SqlCalls
from tests.support.postgres import Postgres
from tests.unit.server.store.samples import NOON, call, ids

ALL = CallFilter(project="p")


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    with closing(Database(postgres.new_database())) as opened:
        yield opened


def test_restored_calls_are_followed(database: Database) -> None:
    """At the start they are found and moved to the beginning; those of this cluster stay where they are."""
    store = SqlCalls(database)
    store.append([call(1), call(2), call(3, project="q")])
    database.write(lambda connection: connection.exec_driver_sql("UPDATE calls SET xact = xact + 1000000000"))
    store.append([call(4)])
    assert ids(store.follow(ALL, 10).calls) == ["id-4"]
    before = store.end()
    workers = [threading.Thread(target=store.maintain, args=(NOON,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(10)
    assert ids(store.follow(ALL, 10).calls) == ["id-1", "id-2", "id-4"]
    assert ids(store.follow(CallFilter(project="q"), 10).calls) == ["id-3"]
    assert store.follow(ALL, 10, before).calls == []
    store.append([call(5)])
    assert ids(store.follow(ALL, 10, before).calls) == ["id-5"]
