"""Connections are few and their time is limited: what happens to those who find none, or take too long."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Any

import pytest
from sqlalchemy import text

from banyan_hp.server.store import database as module
from banyan_hp.server.store.database import BusyError, Database

_FOR_EVER = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT count(*) FROM n"


def test_readers_without_a_free_connection_find_it_busy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are to come again, and meanwhile calls are stored: writers have connections of their own."""
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    with closing(Database(url)) as database, ExitStack() as stack:
        with pytest.raises(BusyError, match="all connections"):
            for _ in range(100):
                _one(stack.enter_context(database.read()))
        assert database.write(_one) == 1


def test_writers_without_a_free_connection_find_it_busy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise; SQLite has one writer."""
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    with closing(Database(url)) as database:

        def write_within(_connection: Any, depth: int = 100) -> None:
            database.write(lambda connection: write_within(connection, depth - 1))

        with pytest.raises(BusyError, match=r"all connections|another request"):
            database.write(write_within)
        assert database.write(_one) == 1


def test_a_write_has_a_time_limit(url: str) -> None:
    """What takes longer is broken off, and leaves nothing; its caller may come again."""
    with closing(Database(url, write_seconds=0.1)) as database:

        def write(connection: Any) -> None:
            connection.execute(text("INSERT INTO seeded (entry, digest) VALUES ('a', 'b')"))
            connection.execute(text(_FOR_EVER))

        with pytest.raises(BusyError, match=r"longer than 0\.1 s"):
            database.write(write)
        with database.read() as connection:
            assert connection.execute(text("SELECT count(*) FROM seeded")).scalar_one() == 0


def _one(connection: Any) -> int:
    return int(connection.execute(text("SELECT 1")).scalar_one())
