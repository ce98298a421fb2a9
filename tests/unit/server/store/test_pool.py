"""Connections are few: what happens to those who find none."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import text

from banyan_hp.server.store import database as module
from banyan_hp.server.store.database import BusyError, Database


def test_without_a_free_connection_it_is_busy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads and writes find the database busy, for callers to come again; it is no mistake of ours."""
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    database = Database(url)
    with ExitStack() as stack:
        with pytest.raises(BusyError, match="all connections"):
            for _ in range(100):
                stack.enter_context(database.read())
        with pytest.raises(BusyError, match="all connections"):
            database.write(_one)
    assert database.write(_one) == 1
    database.close()


def _one(connection: Any) -> int:
    return int(connection.execute(text("SELECT 1")).scalar_one())
