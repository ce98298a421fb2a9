"""The calls that the benchmark makes inside ClickHouse are what intake would have stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from banyan_hp.server.store.calls import CallFilter
from banyan_hp.server.store.hours import DAY, HOUR, Of, Period
from banyan_hp.server.store.search import words_in
from tests.unit.server.store.samples import NOON

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
    from banyan_hp.server.store.clickhouse.client import ClickHouse

MADE = 500


def test_made_calls_are_found_counted_and_repeated_as_stored_ones(
    store: ClickHouseCalls, clickhouse: ClickHouse
) -> None:
    from banyan_hp.server.store.clickhouse.hours import ClickHouseHours
    from tests.benchmarks.clickhouse_made import make_calls

    make_calls(clickhouse, MADE, NOON - 2 * DAY, NOON)
    rows = clickhouse.rows("SELECT body, words, bytes FROM calls WHERE source != 'score'")
    assert len(rows) == MADE
    for row in rows:
        assert row["words"].split() == words_in(json.loads(row["body"]))
        assert row["bytes"] == len(row["body"])
    hours, period = ClickHouseHours(clickhouse), Period(since=NOON - 2 * DAY, until=NOON + HOUR)
    counted = hours.total(Of(project="p"), period)
    assert counted.calls == store.count(CallFilter(project="p"))[0]
    hours.rebuild()
    assert hours.total(Of(project="p"), period) == counted
    (some,) = store.page(CallFilter(project="p", text="zanzibar"), 5).calls
    assert store.get("p", some.id) == some
