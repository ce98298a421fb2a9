"""Spans stay in the database, and the calls that are made of them are in ClickHouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from banyan_hp.server.store.database import Database
from banyan_hp.server.store.sql_spans import SqlSpans
from tests.unit.server.store import test_spans

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls

for _name, _test in vars(test_spans).items():
    if {"spans", "store"} <= getattr(_test, "__annotations__", {}).keys():
        globals()[_name] = _test


@pytest.fixture
def spans(database: Database, store: ClickHouseCalls) -> SqlSpans:
    return SqlSpans(database, store)
