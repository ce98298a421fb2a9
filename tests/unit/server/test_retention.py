"""The thread that removes old calls: one of all, again after trouble, and gone when the server stops."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from banyan_hp.server import retention
from banyan_hp.server.retention import Retention
from banyan_hp.server.store.calls import Call, CallFilter, Keeper
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.election import elected
from banyan_hp.server.store.spans import StoredSpan
from banyan_hp.server.store.sql_calls import SqlCalls

from .store.samples import call, ids

ALL = CallFilter(project="p")
MONTH = timedelta(days=30)
SECONDS = 20.0


@pytest.fixture
def database(tmp_path: Any) -> Iterator[Database]:
    opened = Database(str(tmp_path / "calls.sqlite3"))
    yield opened
    opened.close()


@pytest.fixture
def calls(database: Database) -> SqlCalls:
    """One old call and one of today."""
    store = SqlCalls(database)
    now = datetime.now(UTC)
    old = now - 2 * MONTH
    store.append([call(1, event_time=old, received_at=old), call(2, event_time=now, received_at=now)])
    return store


def test_it_removes_what_is_old_at_its_start(calls: SqlCalls, database: Database) -> None:
    gone = threading.Event()

    class Noticing(SqlCalls):
        def trim(self, before: datetime, keeper: Keeper | None = None) -> Iterator[int]:
            yield from super().trim(before, keeper)
            gone.set()

    with Retention(Noticing(database), database, MONTH):
        assert gone.wait(SECONDS)
    assert ids(calls.page(ALL, 10).calls) == ["id-2"]


def test_who_is_not_elected_leaves_it_to_the_other(calls: SqlCalls, database: Database) -> None:
    idle = Retention(calls, database, MONTH)
    with elected(database) as still:
        assert still is not None
        assert idle.run_once() is None
    assert len(calls.page(ALL, 10).calls) == 2
    assert idle.run_once() == 1


def test_after_trouble_it_tries_again(
    calls: SqlCalls, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A keeper that can't write costs no call, and says why."""
    monkeypatch.setattr(retention, "RETRY_SECONDS", 0.01)
    done = threading.Event()
    tries: list[int] = []

    class Full:
        def keep(self, project: str, day: date, numbers: Sequence[int], calls: Iterable[Call]) -> None:
            tries.append(len(list(calls)))
            if len(tries) < 3:
                raise OSError(28, "No space left on device")
            done.set()

        def keep_spans(self, project: str, day: date, spans: Sequence[StoredSpan]) -> None:
            raise AssertionError("there are none")

    with Retention(calls, database, MONTH, Full):
        assert done.wait(SECONDS)
    assert tries == [1, 1, 1]
    assert ids(calls.page(ALL, 10).calls) == ["id-2"]
    assert "No space left on device" in caplog.text


def test_a_server_that_stops_waits_for_no_archive(calls: SqlCalls, database: Database) -> None:
    """It gives up between two calls; nothing has been removed."""
    begun, stopped = threading.Event(), threading.Event()

    class Slow:
        def keep(self, project: str, day: date, numbers: Sequence[int], calls: Iterable[Call]) -> None:
            begun.set()
            stopped.wait(SECONDS)
            for _ in calls:
                raise AssertionError("it went on")

        def keep_spans(self, project: str, day: date, spans: Sequence[StoredSpan]) -> None:
            raise AssertionError("it went on")

    with Retention(calls, database, MONTH, Slow) as running:
        assert begun.wait(SECONDS)
        running.stop()
        stopped.set()
    assert "banyan_hp-retention" not in [thread.name for thread in threading.enumerate()]
    assert len(calls.page(ALL, 10).calls) == 2
