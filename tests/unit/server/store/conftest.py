from __future__ import annotations

from collections.abc import Iterator

import pytest

from banyan_hp.server.store.database import Database
from banyan_hp.server.store.sql_calls import SqlCalls
from tests.conftest import NewDatabase


@pytest.fixture
def url(new_database: NewDatabase) -> str:
    """The URL of a fresh database, of each kind in turn."""
    return new_database()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(url)
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database) -> SqlCalls:
    return SqlCalls(database)
