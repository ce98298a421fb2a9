"""PostgreSQL's partitions are made and dropped beside readers and writers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine, event

from banyan_hp.server.store import days
from banyan_hp.server.store.calls import CallFilter, Stored
from banyan_hp.server.store.database import BusyError, Database
from banyan_hp.server.store.partitions import days_of
from banyan_hp.server.store.sql_calls import SqlCalls
from tests.support.postgres import Postgres
from tests.unit.server.store.samples import NOON, call, ids

T = TypeVar("T")
ALL = CallFilter(project="p")
ANOTHER_DAY = NOON - timedelta(days=400)
SECONDS = 10.0


class CrashingDatabase(Database):
    """Gone before it has done a long piece of work, and all that was to follow."""

    crashed = False

    def write(self, work: Callable[[Connection], T], *, seconds: float | None = None) -> T:
        self.crashed = self.crashed or seconds is not None
        if self.crashed:
            raise KeyboardInterrupt
        return super().write(work, seconds=seconds)


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.new_database()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with closing(Database(url)) as opened:
        yield opened


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The partition of all other days is large."""
    monkeypatch.setattr(days, "LARGE", -1)


@contextmanager
def paused_before(engine: Engine, statement: str) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Hold the first such statement: when it is there, and when it may go on."""
    there, go_on = threading.Event(), threading.Event()

    def hold(_c: object, _cursor: object, sent: str, _p: object, _x: object, _many: object) -> None:
        if statement in sent and not there.is_set():
            there.set()
            assert go_on.wait(SECONDS)

    event.listen(engine, "before_cursor_execute", hold)
    try:
        yield there, go_on
    finally:
        event.remove(engine, "before_cursor_execute", hold)


def others(database: Database) -> list[date]:
    """The days of calls that have no partition."""
    with database.read() as connection:
        return list(connection.exec_driver_sql("SELECT DISTINCT day FROM calls_other ORDER BY day").scalars())


@pytest.mark.usefixtures("large")
def test_a_day_is_made_while_others_read_and_write(database: Database) -> None:
    """The long part, in which the calls of other days are searched, holds nobody up and refuses nothing."""
    store = SqlCalls(database)
    store.append([call(1), call(2, event_time=ANOTHER_DAY)])
    engine = database.write(lambda connection: connection.engine)
    with paused_before(engine, "ALTER TABLE calls ATTACH") as (there, go_on):
        maker = threading.Thread(target=store.maintain, args=(NOON + timedelta(days=1),))
        maker.start()
        assert there.wait(SECONDS)
        assert store.append([call(3, event_time=ANOTHER_DAY)]) == [Stored.NEW]
        assert ids(store.page(ALL, 10).calls) == ["id-1", "id-3", "id-2"]
        go_on.set()
        maker.join(SECONDS)
    assert others(database) == [ANOTHER_DAY.date()]
    assert store.append([call(1), call(4)]) == [Stored.REPEAT, Stored.NEW]
    assert others(database) == [ANOTHER_DAY.date()]


@pytest.mark.usefixtures("large")
def test_the_last_step_searches_nothing(database: Database) -> None:
    """PostgreSQL says itself that it needs no look at the calls of other days."""
    said: list[str] = []

    def listen(connection: Connection, _cursor: object, sent: str, *_: object) -> None:
        if "ATTACH PARTITION" in sent:
            raw: Any = connection.connection.driver_connection
            raw.add_notice_handler(lambda notice: said.append(notice.message_primary))
            raw.execute("SET LOCAL client_min_messages = debug1")

    engine = database.write(lambda connection: connection.engine)
    event.listen(engine, "before_cursor_execute", listen)
    SqlCalls(database).maintain(NOON)
    for name in days.CALLS:
        implied = f'updated partition constraint for default partition "{name}_other" is implied'
        assert sum(line.startswith(implied) for line in said) >= 9


@pytest.mark.usefixtures("large")
def test_what_a_crash_leaves_is_finished_by_the_next_run(database: Database, url: str) -> None:
    """Until then calls of the day come again, and those of other days are stored."""
    with closing(CrashingDatabase(url)) as crashing, pytest.raises(KeyboardInterrupt):
        SqlCalls(crashing).maintain(NOON + timedelta(days=1))
    store = SqlCalls(database)
    with pytest.raises(BusyError, match="moving_20260301"):
        store.append([call(1)])
    assert store.append([call(2, event_time=ANOTHER_DAY)]) == [Stored.NEW]
    store.maintain(NOON + timedelta(days=9))  # the day is no longer one of those that get a partition
    assert store.append([call(1)]) == [Stored.NEW]


def test_a_day_is_dropped_with_nothing_to_search_under_the_lock(database: Database) -> None:
    """Its calls are counted before; a look for late ones goes by the index."""
    store = SqlCalls(database)
    store.maintain(NOON)
    store.append([call(1), call(2), call(3, project="q")])
    with database.read() as connection:
        found = connection.exec_driver_sql("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        horizon = int(found.scalar_one())
    store.append([call(4, project="q")])
    assert days.drop(database, NOON.date(), horizon) == 0
    with database.read() as connection:
        assert NOON.date() in days_of(connection)
    assert days.drop(database, NOON.date(), horizon + 1_000) == 4
    assert store.unindexed() == 0
    with database.read() as connection:
        assert NOON.date() not in days_of(connection)


def test_a_day_that_is_dropped_lets_the_indexing_pass(database: Database) -> None:
    """What was to be indexed and is gone is taken off the list, with no entry left."""
    store = SqlCalls(database)
    store.append([call(1)])
    database.write(lambda connection: connection.exec_driver_sql("DELETE FROM call_bodies"))
    assert store.index(10) == 1
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM call_search").scalar_one() == 0
    assert store.unindexed() == 0
