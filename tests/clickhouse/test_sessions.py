"""Sessions in ClickHouse: the suite of the other stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.server.store import test_sessions

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.client import ClickHouse

for _name, _test in vars(test_sessions).items():
    if _name.startswith("test_"):
        globals()[_name] = _test


@pytest.fixture(autouse=True)
def theirs(clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite makes its store of a database; here of the ClickHouse beside it."""
    from banyan_hp.server.store.clickhouse.sessions import ClickHouseSessions

    def of(_database: Any) -> ClickHouseSessions:
        return ClickHouseSessions(clickhouse)

    monkeypatch.setattr(test_sessions, "SqlSessions", of)
