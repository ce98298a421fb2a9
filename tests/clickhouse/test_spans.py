"""Spans in ClickHouse, and the calls that are made of them: the other stores' tests, once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from banyan_hp.server.store.database import Database
from tests.unit.server.store import test_spans, test_traces

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
    from banyan_hp.server.store.clickhouse.client import ClickHouse
    from banyan_hp.server.store.clickhouse.spans import ClickHouseSpans
    from banyan_hp.server.store.clickhouse.traces import ClickHouseTraces

_OF_PARTITIONS = {
    "test_days_have_partitions_that_go_with_those_of_calls",
    "test_spans_that_move_are_not_taken_for_empty_ones",
}
for _module in (test_spans, test_traces):
    for _name, _test in vars(_module).items():
        if _name.startswith("test_") and _name not in _OF_PARTITIONS:
            globals()[_name] = _test


@pytest.fixture
def spans(clickhouse: ClickHouse, database: Database, store: ClickHouseCalls) -> ClickHouseSpans:
    from banyan_hp.server.store.clickhouse.spans import ClickHouseSpans

    return ClickHouseSpans(clickhouse, database, store)


@pytest.fixture
def traces(clickhouse: ClickHouse) -> ClickHouseTraces:
    from banyan_hp.server.store.clickhouse.traces import ClickHouseTraces

    return ClickHouseTraces(clickhouse)
