"""The same calls in ClickHouse and in SQLite give the same sums and results."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from banyan_hp.server.analysis.course import Times
from banyan_hp.server.analysis.moments import Moments
from banyan_hp.server.store.calls import Call, CallFilter, Calls
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.hours import DAY, HOUR, Hours, Kind, Of, Period
from banyan_hp.server.store.outcomes import Outcomes, Summary
from banyan_hp.server.store.sql_calls import SqlCalls
from banyan_hp.server.store.sql_hours import SqlHours
from banyan_hp.server.store.sql_outcomes import SqlOutcomes
from tests.unit.server.store.samples import NOON, at, everything
from tests.unit.server.store.test_hours import WEEK, made

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.client import ClickHouse

ALL = CallFilter(project="p")
MEASURES = ("latency", "latency_p50", "error_rate", "output_length", "cost", "input_tokens")
SUMS = ("n", "x", "y", "xx", "xy", "yy")
LATER = NOON + timedelta(days=30)
EARLIER = NOON - DAY


@pytest.fixture
def sql(database: Database) -> SqlCalls:
    return SqlCalls(database)


def fill(stores: tuple[Calls, ...], given: list[Call], removed: dict[str, str] | None = None) -> None:
    """Store the calls in all of them, in small batches, some of them twice, and remove some."""
    for store in stores:
        for start in range(0, len(given), 20):
            store.append(given[start : start + 20])
        store.append(given[:5])
        if removed is not None:
            assert sum(store.delete(CallFilter(project="p", equal=removed))) > 0
        while store.index(1000):
            pass


def hours_of(hours: Hours) -> Iterator[Any]:
    for of in (
        Of(project="p"),
        Of(project="q", kind=Kind.PROMPT, name="greet"),
        Of(project="p", kind=Kind.MODEL),
    ):
        for step in (HOUR, DAY):
            yield dict(hours.over_time(of, WEEK, step))
        for period in (WEEK, Period(since=NOON - 5 * HOUR, until=NOON + 30 * HOUR)):
            yield hours.total(of, period)
            yield hours.by("p", Kind.MODEL, period, 10)
            yield hours.by("p", Kind.PROMPT, period, 10, ["ask"])


def test_sums_by_hour_and_day_are_equal(
    store: Calls, sql: SqlCalls, clickhouse: ClickHouse, database: Database
) -> None:
    """With repeats and removals, and counted anew."""
    from banyan_hp.server.store.clickhouse.hours import ClickHouseHours

    fill((store, sql), [made(number, random.Random(number)) for number in range(300)], {"user": "u3"})
    expected = list(hours_of(SqlHours(database)))
    ours = ClickHouseHours(clickhouse)
    assert list(hours_of(ours)) == expected
    ours.rebuild()
    assert list(hours_of(ours)) == expected


@pytest.mark.parametrize("by", [(), ("model",), ("model", "prompt_name")])
def test_sums_of_chosen_calls_are_equal(store: Calls, sql: SqlCalls, by: tuple[str, ...]) -> None:
    """Percentiles, too, which are latencies that occurred; but for the last digit of a sum of costs."""
    fill((store, sql), [made(number, random.Random(number)) for number in range(100)])
    pairs = zip(*(sorted(each.aggregate(ALL, by), key=repr) for each in (store, sql)), strict=True)
    for ours, theirs in pairs:
        assert ours.cost == pytest.approx(theirs.cost, rel=1e-12)
        for name in ("by", "calls", "deliveries", "errors", "latency_p50", "latency_p95", "input_tokens"):
            assert getattr(ours, name) == getattr(theirs, name)


def outcomes_of(outcomes: Outcomes, experiment: str, **period: Any) -> tuple[Summary, Any, Any]:
    metrics = outcomes.metrics("p", experiment)
    summary = outcomes.summaries("p", experiment, [*MEASURES, *metrics], window=timedelta(days=1), **period)
    start, until = period["start"], period["until"]
    return summary, metrics, outcomes.first_assignments("p", experiment, start=start, until=until)


@pytest.mark.parametrize("seed", range(4))
def test_results_of_experiments_are_equal(
    store: Calls, sql: SqlCalls, clickhouse: ClickHouse, database: Database, seed: int
) -> None:
    """For each metric, to 1e-9; whatever calls and scores meet in whatever way, and whatever is removed."""
    from banyan_hp.server.store.clickhouse.outcomes import ClickHouseOutcomes

    removed = {"session": "s1"} if seed % 2 else None
    fill((store, sql), everything(random.Random(seed)), removed)
    theirs = SqlOutcomes(database)
    while theirs.step(100):
        pass
    ours = ClickHouseOutcomes(clickhouse, database)
    periods: list[tuple[datetime, datetime | None, datetime]] = [
        (EARLIER, None, LATER),
        (at(20), at(400), at(2000)),
        (EARLIER, None, at(1500)),
    ]
    for start, until, now in periods:
        for experiment in ("x", "y"):
            (a, *own), (b, *others) = (
                outcomes_of(each, experiment, start=start, until=until, now=now) for each in (ours, theirs)
            )
            assert own == others
            assert_equal(a, b)
            assert ours.users_of("p", [experiment]) == theirs.users_of("p", [experiment])
    times = Times.of(EARLIER, LATER)
    for metric in (*MEASURES, *theirs.metrics("p", "x")):
        asked: dict[str, Any] = {"start": EARLIER, "until": None, "times": times}
        pairs = (each.over_time("p", "x", metric, **asked) for each in (ours, theirs))
        for (at_ours, mine), (at_theirs, other) in zip(*pairs, strict=True):
            assert at_ours == at_theirs
            assert_alike(mine, other)


def assert_equal(ours: Summary, theirs: Summary) -> None:
    assert (ours.mixed, ours.ambiguous, ours.next_closes) == (
        theirs.mixed,
        theirs.ambiguous,
        theirs.next_closes,
    )
    assert ours.versions.keys() == theirs.versions.keys()
    for version, mine in ours.versions.items():
        other = theirs.versions[version]
        assert (mine.exposed, mine.closed, mine.calls) == (other.exposed, other.closed, other.calls)
        assert_alike(mine.metrics, other.metrics)


def assert_alike(ours: Mapping[str, Moments], theirs: Mapping[str, Moments]) -> None:
    assert ours.keys() == theirs.keys()
    for name, moments in ours.items():
        for each in SUMS:
            assert getattr(moments, each) == pytest.approx(getattr(theirs[name], each), rel=1e-9, abs=1e-9)
