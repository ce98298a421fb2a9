"""Calls that are kept for a time: what the tables' TTL removes is what the databases remove."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING

import pytest

from banyan_hp.server.store.calls import Call, CallFilter
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.sql_calls import SqlCalls
from banyan_hp.server.store.sql_outcomes import removed_until
from tests.unit.server.store.samples import call, ids
from tests.unit.server.store.test_outcomes import experiment

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
    from banyan_hp.server.store.clickhouse.client import ClickHouse

ALL = CallFilter(project="p")
RETAIN = timedelta(days=30)
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
DAYS = (-3000, -45, -31, -30, -29, -1, 0)
AHEAD = (2, 40, 3000)
OF_X = {"experiment_id": "x", "experiment_version_id": "a", "sticky_key": "user_id"}


@pytest.fixture
def kept(clickhouse: ClickHouse) -> Iterator[ClickHouse]:
    """For 30 days."""
    from banyan_hp.server.store.clickhouse.ages import keep_for

    keep_for(clickhouse, RETAIN)
    yield clickhouse
    keep_for(clickhouse, None)


def of_all_ages() -> list[Call]:
    """Each with a time of its event and one of its arrival; but for those that were removed long ago."""
    past = [(event, arrival) for event, arrival in product(DAYS, DAYS) if event - arrival < RETAIN.days]
    times = [*past, *product(AHEAD, DAYS)]
    return [
        call(number, event_time=NOON + timedelta(days=event), received_at=NOON + timedelta(days=arrival))
        for number, (event, arrival) in enumerate(times)
    ]


def merged(clickhouse: ClickHouse) -> None:
    """As ClickHouse does in the course of hours."""
    from banyan_hp.server.store.clickhouse.schema import tables

    for table in tables():
        clickhouse.do(f"OPTIMIZE TABLE {clickhouse.local(table)} FINAL")


def test_what_is_old_goes_as_from_the_databases(
    store: ClickHouseCalls, kept: ClickHouse, database: Database
) -> None:
    """Whatever the event's clock and the arrival say; from all tables that have something of each call."""
    given = of_all_ages()
    store.append(given)
    assert store.append(given[:1])
    sql = SqlCalls(database)
    sql.append(given)
    assert sum(sql.trim(datetime.now(UTC) - RETAIN)) > 0
    left = sorted(ids(sql.page(ALL, 100).calls))
    assert len(given) > len(left) > 0
    merged(kept)
    assert sorted(ids(store.page(ALL, 100).calls)) == left
    assert sorted(row["id"] for row in kept.rows("SELECT id FROM call_ids FINAL")) == left
    (oldest,) = kept.rows("SELECT min(start) AS hour FROM call_hours WHERE width = 0")
    assert oldest["hour"] >= (NOON - RETAIN).timestamp() * 1e6


def test_experiments_say_up_to_when_their_calls_were_removed(
    store: ClickHouseCalls, kept: ClickHouse, database: Database
) -> None:
    """Also where ClickHouse was faster than the one who looks hourly."""
    experiment(database)
    old = NOON - timedelta(days=45)
    store.append(
        [
            call(number, event_time=time, received_at=time, sticky_value=f"u{number}", **OF_X)
            for number, time in enumerate((old, NOON))
        ]
    )
    merged(kept)
    assert list(store.trim(datetime.now(UTC) - RETAIN)) == [0]
    with database.read() as connection:
        assert removed_until(connection, "p", "x") == old
    assert ids(store.page(ALL, 10).calls) == ["id-1"]


def test_the_time_changes_with_the_option_and_goes_with_it(
    store: ClickHouseCalls, kept: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is so already is asked for only, which needs no rights to alter a table."""
    from banyan_hp.server.store.clickhouse.ages import keep_for, kept_for

    time = NOON - timedelta(days=45)
    keep_for(kept, timedelta(days=60))
    store.append([call(1, event_time=time, received_at=time)])
    assert kept_for(kept) == timedelta(days=60)
    merged(kept)
    assert ids(store.page(ALL, 10).calls) == ["id-1"]
    with monkeypatch.context() as without:
        without.setattr(kept, "do", None)
        keep_for(kept, timedelta(days=60))
    keep_for(kept, None)
    assert kept_for(kept) is None
    merged(kept)
    assert sum(store.trim(datetime.now(UTC) - RETAIN)) == 1


def test_every_table_has_a_time_or_needs_none() -> None:
    from banyan_hp.server.store.clickhouse.ages import KEPT, statements
    from banyan_hp.server.store.clickhouse.schema import tables

    aged = [statement.split()[2] for statement in statements(RETAIN)]
    assert sorted([*aged, *KEPT]) == sorted(tables())
