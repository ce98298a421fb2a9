"""How many calls wait to be indexed is asked often, and must not cost more the more they are."""

from __future__ import annotations

import time
from contextlib import closing
from typing import cast

import pytest
from fastapi.testclient import TestClient

from banyan_hp.server.api.health import COUNT_SECONDS, FEW, SearchLag
from banyan_hp.server.app import create_app
from banyan_hp.server.store.calls import Calls
from banyan_hp.server.store.database import Database


class Store:
    """Some calls wait; notes what was counted."""

    waiting = 0

    def __init__(self) -> None:
        self.counted: list[int | None] = []

    def unindexed(self, most: int | None = None) -> int:
        self.counted.append(most)
        return self.waiting if most is None else min(most, self.waiting)


def test_few_are_counted_at_each_request_and_many_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of many is that of the last count, until it is old."""
    store = Store()
    lag = SearchLag(cast("Calls", store))
    store.waiting = 3
    assert [lag.calls(), lag.calls()] == [3, 3]
    store.waiting = 10 * FEW
    assert [lag.calls(), lag.calls(), lag.calls()] == [10 * FEW] * 3
    assert store.counted == [FEW, FEW, FEW, None, FEW, FEW]
    store.waiting = 9 * FEW
    assert lag.calls() == 10 * FEW
    later = time.monotonic() + COUNT_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert lag.calls() == 9 * FEW


def test_strangers_are_not_told_where_the_database_is(caplog: pytest.LogCaptureFixture) -> None:
    """The log is: its address and role are for the operator."""
    pytest.importorskip("psycopg")
    with closing(Database("postgresql://their_role@127.0.0.1:1/theirs", migrated=False)) as database:
        client = TestClient(create_app(database, {}))
        for method, path in (("GET", "/readyz"), ("GET", "/api/calls"), ("POST", "/v1/traces")):
            refused = client.request(method, path, headers={"X-API-Key": "any"})
            assert refused.status_code == 503, path
            assert "the database can't be used now: there is no connection to it" in refused.text
            assert "127.0.0.1" not in refused.text
    assert 'connection to server at "127.0.0.1"' in caplog.text
