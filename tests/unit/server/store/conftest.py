from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from banyan_hp.server.store.database import Database
from banyan_hp.server.store.sql_calls import SqlCalls
from tests.conftest import NewDatabase
from tests.support.postgres import Postgres


@pytest.fixture
def url(new_database: NewDatabase) -> Iterator[str]:
    """The URL of a fresh database, of each kind in turn."""
    made = new_database()
    yield made
    new_database.give_back(made)


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables, of each kind in turn."""
    if request.param == "postgres":
        running: Postgres = request.getfixturevalue("postgres")
        return running.new_database()
    return str(tmp_path / "backend.sqlite3")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(url)
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database) -> SqlCalls:
    return SqlCalls(database)
