"""One embedded ClickHouse for all tests: a process has one. Each test begins with empty tables."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from banyan_hp.server.store.database import Database

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
    from banyan_hp.server.store.clickhouse.client import ClickHouse

# ClickHouse is a large package: elsewhere there is nothing to collect.
collect_ignore_glob = [] if find_spec("chdb") else ["test_*.py"]


@pytest.fixture(scope="session")
def embedded_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the embedded ClickHouse, with its tables; followers wait for no other process."""
    from banyan_hp.server.store.clickhouse import calls
    from banyan_hp.server.store.clickhouse.client import ClickHouse
    from banyan_hp.server.store.clickhouse.schema import make_tables

    calls.SETTLE_SECONDS = 0
    found = tmp_path_factory.mktemp("clickhouse")
    make_tables(ClickHouse(f"chdb://{found}"))
    return found


@pytest.fixture(scope="session")
def embedded(embedded_in: Path) -> ClickHouse:
    from banyan_hp.server.store.clickhouse.client import ClickHouse

    return ClickHouse(f"chdb://{embedded_in}")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "backend.sqlite3")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """What is edited stays in the database beside it."""
    opened = Database(url)
    yield opened
    opened.close()


@pytest.fixture
def clickhouse(embedded: ClickHouse) -> ClickHouse:
    from banyan_hp.server.store.clickhouse.schema import TABLES

    for table in TABLES:
        embedded.do(f"TRUNCATE TABLE {table}")
    return embedded


@pytest.fixture
def store(clickhouse: ClickHouse, database: Database) -> ClickHouseCalls:
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls

    return ClickHouseCalls(clickhouse, database)
