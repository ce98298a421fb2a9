"""The sums by hour and day are those of the calls that are there, whatever came and went in which order."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from banyan_hp.server.store import hour_counts, removal
from banyan_hp.server.store.calls import UNDATED, Call, CallFilter
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.hour_counts import count_out, tally
from banyan_hp.server.store.hour_tables import latencies, sums
from banyan_hp.server.store.hours import DAY, HOUR, Kind, Of, Period, Sums, bucket_of, hour_of, middle_of
from banyan_hp.server.store.sql_calls import SqlCalls
from banyan_hp.server.store.sql_hours import SqlHours

from .samples import NOON, call, go_back_to_0005, score

WEEK = Period(since=NOON - 3 * DAY, until=NOON + 4 * DAY)


@pytest.fixture
def hours(database: Database) -> SqlHours:
    return SqlHours(database)


def made(number: int, chance: random.Random) -> Call:
    """Of two projects and some prompts and models, within two days."""
    time = NOON + timedelta(minutes=chance.randrange(-1440, 1440))
    return call(
        number,
        project=chance.choice("pq"),
        event_time=time,
        received_at=time,
        day=UNDATED if number % 7 == 0 else time.date(),
        user=f"u{number % 5}",
        prompt_name=chance.choice([None, "greet", "ask"]),
        model=chance.choice([None, "m1", "m2"]),
        latency_ms=chance.choice([None, 0.0, chance.lognormvariate(6, 2)]),
        input_tokens=chance.choice([None, 7, 10**12]),
        output_tokens=chance.randrange(100),
        cost=chance.choice([None, 0.1, 0.2, 1e-7, 1e14]),
        error=chance.choice([None, None, "e"]),
    )


def index(store: SqlCalls) -> None:
    while store.index(10):
        pass


def rows(database: Database) -> list[list[Any]]:
    with database.read() as connection:
        return [sorted(map(tuple, connection.execute(each.select()))) for each in (sums, latencies)]


def of_fresh(new_database: Any, given: Iterable[Call]) -> list[list[Any]]:
    """The rows of a database that never had other calls than these, in one step."""
    database = Database(new_database())
    store = SqlCalls(database)
    store.append(list(given))
    while store.index(1000):
        pass
    try:
        return rows(database)
    finally:
        database.close()


def test_the_sums_are_those_of_the_calls(store: SqlCalls, hours: SqlHours) -> None:
    given = [made(number, random.Random(number)) for number in range(200)]
    store.append(given)
    assert hours.uncounted() == 200
    assert hours.total(Of(project="p"), WEEK) == Sums()
    index(store)
    assert hours.uncounted() == 0
    for kind, column in ((Kind.PROMPT, "prompt_name"), (Kind.MODEL, "model")):
        found = hours.by("p", kind, WEEK, 10)
        assert [each.calls for _, each in found] == sorted((each.calls for _, each in found), reverse=True)
        for name, counted in found:
            own = [each for each in given if each.project == "p" and (getattr(each, column) or "") == name]
            assert_sums_of(own, counted)
            assert hours.total(Of(project="p", kind=kind, name=name), WEEK) == counted
    of_project = [each for each in given if each.project == "p"]
    assert_sums_of(of_project, hours.total(Of(project="p"), WEEK))
    for step in (HOUR, DAY):
        series = hours.over_time(Of(project="p"), Period(since=NOON - 3 * DAY, until=NOON + 4 * DAY), step)
        assert sum(each.calls for each in series.values()) == len(of_project)
        for start, counted in series.items():
            assert_sums_of([each for each in of_project if start <= each.event_time < start + step], counted)


def assert_sums_of(given: list[Call], counted: Sums) -> None:
    assert counted.calls == len(given)
    assert counted.errors == sum(each.error is not None for each in given)
    assert counted.input_tokens == sum(min(each.input_tokens or 0, 10**9) for each in given)
    assert counted.output_tokens == sum(each.output_tokens or 0 for each in given)
    assert counted.priced == sum(each.cost is not None for each in given)
    assert counted.cost == pytest.approx(sum(min(each.cost or 0, 10**6) for each in given))
    timed = sorted(each.latency_ms for each in given if each.latency_ms is not None)
    for share in (0.5, 0.95):
        found = counted.latency(share)
        if not timed:
            assert found is None
            continue
        nearest = timed[-int(-share * len(timed) // 1) - 1]
        assert found == pytest.approx(max(nearest, 0.1), rel=0.05)


def test_a_period_may_begin_and_end_within_a_day(store: SqlCalls, hours: SqlHours) -> None:
    given = [made(number, random.Random(number)) for number in range(60)]
    store.append(given)
    index(store)
    for since in (NOON, NOON - 40 * HOUR, NOON - 12 * HOUR):
        for length in (HOUR, 5 * HOUR, DAY, 2 * DAY, 50 * HOUR):
            period = Period(since=since, until=since + length)
            own = [each for each in given if each.project == "p" and since <= each.event_time < period.until]
            assert hours.total(Of(project="p"), period).calls == len(own)
            assert period.before == Period(since=since - length, until=since)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_and_goes_in_which_order(
    store: SqlCalls, database: Database, new_database: Any, seed: int
) -> None:
    """Removals of people, of days and of what is old, counting anew, repeats; what is left tells the sums."""
    chance = random.Random(seed)
    if seed % 2:
        store.maintain(NOON)
    left = {number: made(number, chance) for number in range(120)}
    waiting = list(left.values())
    chance.shuffle(waiting)
    while waiting:
        step = chance.randrange(6)
        if step < 2:
            some, waiting = waiting[:15], waiting[15:]
            store.append(some)
        elif step == 2:
            store.append(chance.sample(sorted(left.values(), key=lambda each: each.id), 3))
            waiting = [each for each in waiting if store.get(each.project, each.id) is None]
        elif step == 3:
            SqlHours(database).rebuild()
        elif step == 4:
            user = f"u{chance.randrange(5)}"
            for _ in store.delete(CallFilter(project="p", equal={"user": user})):
                pass
            here = {each.id for each in waiting}
            left = {
                number: each
                for number, each in left.items()
                if each.id in here or each.user != user or each.project != "p"
            }
        for _ in range(chance.randrange(4)):
            store.index(10)
    for _ in store.trim(NOON + timedelta(seconds=1)):
        pass
    index(store)
    kept = [each for each in left.values() if store.get(each.project, each.id) is not None]
    assert 0 < len(kept) < len(left)
    assert rows(database) == of_fresh(new_database, kept)


def test_what_is_counted_anew_is_the_same(store: SqlCalls, database: Database, hours: SqlHours) -> None:
    """Calls that come, or are removed, in the middle of it are counted once, too."""
    kept = [made(number, random.Random(number)) for number in range(40)]
    more = [replace(made(number, random.Random(number)), user="gone") for number in range(40, 80)]
    store.append([*kept[:20], *more])
    index(store)
    hours.rebuild()
    store.index(20)
    assert hours.uncounted() == 60
    assert rows(database) == [[], []]
    store.index(20)
    store.append(kept[20:])
    for project in "pq":
        for _ in store.delete(CallFilter(project=project, equal={"user": "gone"})):
            pass
    index(store)
    before = rows(database)
    hours.rebuild()
    index(store)
    assert rows(database) == before
    assert sum(hours.total(Of(project=project), WEEK).calls for project in "pq") == 40


def test_nothing_is_counted_anew_in_the_middle_of_a_removal(
    store: SqlCalls, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would bring calls back into the sums that the removal has counted out already."""
    store.append([call(number, user="gone") for number in range(5)])
    index(store)
    looked, recounted, counted_out, finished = (threading.Event() for _ in range(4))
    remover = threading.local()

    def tallied(found: Any) -> Any:
        if hasattr(remover, "is_this"):
            looked.set()
            recounted.wait(0.3)
        return tally(found)

    def remove() -> int:
        remover.is_this = True
        return sum(store.delete(CallFilter(project="p", equal={"user": "gone"})))

    def slowly(connection: Connection, some: Any) -> None:
        count_out(connection, some)
        counted_out.set()
        finished.wait(0.3)

    def count_anew() -> None:
        SqlHours(database).rebuild()
        store.index(1)
        recounted.set()
        assert counted_out.wait(10)
        index(store)
        finished.set()

    monkeypatch.setattr(hour_counts, "tally", tallied)
    monkeypatch.setattr(removal, "count_out", slowly)
    with ThreadPoolExecutor(2) as pool:
        removing = pool.submit(remove)
        assert looked.wait(10)
        anew = pool.submit(count_anew)
        assert removing.result() == 5
        anew.result()
    assert rows(database) == [[], []]


def test_processes_at_once_count_each_call_once(
    store: SqlCalls, database: Database, url: str, new_database: Any
) -> None:
    """While some store, others index, remove and have all counted anew."""
    given = [made(number, random.Random(number)) for number in range(300)]
    others = [Database(url), Database(url)] if database.is_postgres else [database]

    def remove(user: str) -> None:
        for project in "pq":
            for _ in store.delete(CallFilter(project=project, equal={"user": user})):
                pass

    work: list[Callable[[], object]] = []
    work += [partial(store.append, given[start : start + 15]) for start in range(0, 300, 15)]
    work += [partial(remove, user) for user in ["u1", "u2"] * 6]
    work += [SqlHours(database).rebuild] * 6
    work += [partial(SqlCalls(each).index, 10) for each in others * 30]
    random.Random(1).shuffle(work)
    with ThreadPoolExecutor(5) as pool:
        for done in [pool.submit(each) for each in work]:
            done.result()
    index(store)
    left = [each for each in given if store.get(each.project, each.id) is not None]
    assert left
    assert rows(database) == of_fresh(new_database, left)
    for each in others:
        each.close()


def test_scores_are_no_calls(store: SqlCalls, database: Database) -> None:
    store.append([score("thumbs", 1, record_id="id-1")])
    index(store)
    assert rows(database) == [[], []]


@pytest.mark.parametrize("year", [1, 1969, 9998])
def test_calls_of_any_time_are_counted(store: SqlCalls, hours: SqlHours, year: int) -> None:
    """Clocks may be wrong by any amount."""
    time = datetime(year, 7, 20, 20, 17, tzinfo=UTC)
    store.append([call(1, event_time=time)])
    index(store)
    hour = Period(since=hour_of(time), until=hour_of(time) + HOUR)
    assert hours.total(Of(project="p"), hour).calls == 1


@pytest.mark.parametrize("latency", [0.1, 0.5, 1.0, 1.1, 2.0, 999.0, 1000.0, 123_456.0, 86_400_000.0])
def test_a_bucket_is_within_five_percent(latency: float) -> None:
    assert middle_of(bucket_of(latency)) == pytest.approx(latency, rel=0.05)


def test_no_latency_is_outside_the_buckets() -> None:
    assert bucket_of(0.0) == bucket_of(1e-9) < bucket_of(0.2)
    assert bucket_of(1e15) == bucket_of(86_400_001.0 * 2)


def test_an_earlier_database_is_counted_once_it_is_opened(url: str, database: Database) -> None:
    """The revision that makes the tables has all calls counted, in the steps of indexing."""
    store = SqlCalls(database)
    store.append([made(number, random.Random(number)) for number in range(30)])
    index(store)
    before = rows(database)

    def go_back(connection: Any) -> None:
        go_back_to_0005(connection)
        for name in ("call_sums", "call_latencies", "calls_to_count", "days_to_recount"):
            connection.exec_driver_sql(f"DROP TABLE {name}")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0004'")

    database.write(go_back)
    migrated = Database(url)
    index(SqlCalls(migrated))
    assert rows(migrated) == before
    migrated.close()
