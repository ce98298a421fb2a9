"""The same calls in SQLite, PostgreSQL and an embedded ClickHouse: `python -m tests.benchmarks.clickhouse`.

    stored     records a second through the store in batches, the same with all that follows behind intake
               (words, hours, users of experiments), and the CPU of a record, the database's own included
    disk       bytes a call; for ClickHouse as they come in, and after its parts are merged
    reads      milliseconds in this process, the median of some

Calls of about 1.5 KB over 30 days: 20 prompts, 5 models, sessions of 8 calls, 1,000 users for 20,000 calls.
One in `RARE` has a word that others don't have; the first 20,000 are those of an experiment's 10,000 users,
one in three of whom has a score beside.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from banyan_hp.server.store.calls import Call, CallFilter, Calls
from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
from banyan_hp.server.store.clickhouse.client import ClickHouse
from banyan_hp.server.store.clickhouse.hours import ClickHouseHours
from banyan_hp.server.store.clickhouse.outcomes import ClickHouseOutcomes
from banyan_hp.server.store.clickhouse.schema import make_tables
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.hours import DAY, HOUR, Hours, Kind, Of, Period
from banyan_hp.server.store.outcomes import Outcomes
from banyan_hp.server.store.rows import json_of
from banyan_hp.server.store.sql_calls import SqlCalls
from banyan_hp.server.store.sql_hours import SqlHours
from banyan_hp.server.store.sql_outcomes import SqlOutcomes
from tests.benchmarks.clickhouse_reads import measure_stored
from tests.benchmarks.workload import stream_records
from tests.support.postgres import Postgres

KINDS = ("sqlite", "postgres", "clickhouse")
BATCH = 500
STEP = 5_000
USERS = 10_000
RARE = 1_000
DAYS = 30
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
START = NOW - timedelta(days=DAYS)
MEASURES = ("latency", "latency_p50", "input_tokens", "output_tokens", "cost", "error_rate", "output_length")
LOADS = 9


class Stores(NamedTuple):
    """What is measured, and how much the disk and the CPU have of it."""

    calls: Calls
    hours: Hours
    outcomes: Outcomes
    disk: Callable[[], int]
    cpu: Callable[[], float]
    merge: Callable[[], None] | None = None


def main() -> None:
    """Measure one after the other, and print a table."""
    parser = argparse.ArgumentParser(description="The same calls on three databases.")
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=BATCH, help="calls that are stored at once")
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument(
        "--stored", type=int, help="instead: so many calls made in ClickHouse, and all that is read of them"
    )
    parser.add_argument("--directory", help="where these are made, and found the next time; else they go")
    given = parser.parse_args()
    if given.stored is not None:
        measure_stored(given.stored, given.directory)
        return
    for kind in KINDS:
        if given.only in (None, kind):
            print(f"{kind}, {given.calls:,} calls ({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})")
            with ExitStack() as stack:
                for name, value in _measured(_OPENED[kind](stack), given.calls, given.batch):
                    print(f"  {name:<44} {value:>12,.1f}", flush=True)


# -- the three -----------------------------------------------------------------------------------------------


def _sqlite(stack: ExitStack) -> Stores:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    database = stack.enter_context(closing(Database(str(directory / "calls.sqlite3"))))
    return Stores(
        *(SqlCalls(database), SqlHours(database), SqlOutcomes(database)),
        lambda: sum(each.stat().st_size for each in directory.iterdir() if each.suffix == ".sqlite3"),
        time.process_time,
    )


def _postgres(stack: ExitStack) -> Stores:
    running = stack.enter_context(Postgres())
    url = running.new_database()
    database = stack.enter_context(closing(Database(url)))

    def disk() -> int:
        with psycopg.connect(url) as connection:
            (size,) = connection.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
            return int(size)

    return Stores(
        *(SqlCalls(database), SqlHours(database), SqlOutcomes(database)),
        disk,
        lambda: time.process_time() + running.cpu(),
    )


def _clickhouse(stack: ExitStack) -> Stores:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    beside = stack.enter_context(closing(Database(str(directory / "edited.sqlite3"))))
    opened = stack.enter_context(closing(ClickHouse(f"chdb://{directory / 'calls'}")))
    make_tables(opened)

    def disk() -> int:
        parts = "FROM system.parts WHERE active AND database = currentDatabase()"
        return int(opened.rows(f"SELECT sum(bytes_on_disk) AS n {parts}")[0]["n"])

    def merge() -> None:
        for row in opened.rows("SELECT name FROM system.tables WHERE database = currentDatabase()"):
            if not row["name"].endswith("_of"):  # views
                opened.do(f"OPTIMIZE TABLE {row['name']} FINAL")

    return Stores(
        ClickHouseCalls(opened, beside),
        ClickHouseHours(opened),
        ClickHouseOutcomes(opened, beside),
        disk,
        time.process_time,
        merge,
    )


_OPENED = {"sqlite": _sqlite, "postgres": _postgres, "clickhouse": _clickhouse}


# -- measured ------------------------------------------------------------------------------------------------


def _measured(stores: Stores, many: int, at_once: int) -> Iterator[tuple[str, float]]:
    for day in range(DAYS + 1):
        stores.calls.maintain(START + timedelta(days=day))
    yield from _intake(stores, many, at_once)
    yield "bytes a call on disk", stores.disk() / many
    if stores.merge is not None:
        yield "merged, s", _timed(stores.merge)
        yield "bytes a call on disk, merged", stores.disk() / many
    for name, read in _reads(stores):
        yield f"{name}, ms", statistics.median(_timed(read) for _ in range(LOADS)) * 1000


def _intake(stores: Stores, many: int, at_once: int) -> Iterator[tuple[str, float]]:
    seconds = behind = cpu = size = 0.0
    made = _made(many)
    while batch := list(islice(made, at_once)):
        started = stores.cpu()
        seconds += _timed(lambda batch=batch: stores.calls.append(batch))  # type: ignore[misc]
        size += sum(len(call.text or "") for call in batch)
        behind += _timed(lambda: _catch_up(stores))
        cpu += stores.cpu() - started
    yield "bytes of JSON a call", size / many
    yield "stored, records/s", many / seconds
    yield "stored and found, records/s", many / (seconds + behind)
    yield "CPU, us a record", cpu / many * 1e6


def _catch_up(stores: Stores) -> None:
    while stores.calls.index(STEP):
        pass
    while stores.outcomes.step(STEP):
        pass


def _reads(stores: Stores) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "newest 100", _page(stores, 100)
    yield "page of a session", _page(stores, 8, equal={"session": "s77"})
    yield "page of a user", _page(stores, 20, equal={"user": "u77"})
    yield "page of a prompt", _page(stores, 100, equal={"prompt_name": "prompt 7"})
    yield "page of failures", _page(stores, 100, failed=True)
    day: dict[str, Any] = {"since": NOW - 2 * DAY, "until": NOW - DAY}
    yield "search of a day, a rare word", _page(stores, 1, text="zanzibar", **day)
    yield "search of a day, two common words", _page(stores, 100, text="customer invoice", **day)
    yield "search of all, a rare word", _page(stores, 5, text="zanzibar")
    yield "overview of 30 days", lambda: _overview(stores.hours)
    yield "sums of all calls by model", lambda: stores.calls.aggregate(CallFilter(project="p"), ["model"])
    yield f"results of {USERS:,} users", lambda: _results(stores.outcomes)


def _page(stores: Stores, least: int, **chosen: Any) -> Callable[[], None]:
    def read() -> None:
        found = len(stores.calls.page(CallFilter(project="p", **chosen), 100).calls)
        assert found >= least, f"{found} calls for {chosen}"

    return read


def _overview(hours: Hours) -> None:
    period = Period(since=START, until=NOW + HOUR)
    of = Of(project="p")
    assert len(hours.over_time(of, period, DAY)) >= DAYS
    assert hours.total(of, period).calls
    assert len(hours.by("p", Kind.PROMPT, period, 20)) == 20
    assert len(hours.by("p", Kind.MODEL, period, 20)) == 5


def _results(outcomes: Outcomes) -> None:
    window, later = timedelta(days=1), NOW + timedelta(days=2)
    names = [*MEASURES, *outcomes.metrics("p", "x")]
    assert names[-1] == "thumbs"
    found = outcomes.summaries("p", "x", names, window=window, start=START, until=None, now=later)
    assert sum(each.closed for each in found.versions.values()) == USERS


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# -- made ----------------------------------------------------------------------------------------------------


def _made(many: int) -> Iterator[Call]:
    for number, record in enumerate(stream_records(many)):
        call = _call(number, many, record)
        yield call
        if number < USERS and number % 3 == 0:
            yield _score(number, call)


def _score(number: int, call: Call) -> Call:
    mark = {"kind": "score", "v": 1, "name": "thumbs", "value": number % 2 == 0, "record_id": call.id}
    body = {"input": "", "output": "", "metadata": {"banyan_hp": mark}}
    return Call(
        project=call.project,
        id=f"score-{number}",
        day=call.day,
        event_time=call.event_time,
        received_at=call.received_at,
        source="score",
        body=body,
    )


def _call(number: int, many: int, record: dict[str, Any]) -> Call:
    at = START + number * ((NOW - START) / many)
    user = number * 7919 % (many // 20)
    body = {"input": record["input"], "output": record["output"], "metadata": record["metadata"]}
    if number % RARE == 0:
        body["input"] += " zanzibar"
    of_experiment: dict[str, Any] = {}
    if number < 2 * USERS:
        versions = "ab"
        of_experiment = {
            "experiment_id": "x",
            "experiment_version_id": versions[number % USERS % 2],
            "sticky_key": "user_id",
            "sticky_value": f"user-{number % USERS}",
        }
    return Call(
        project="p",
        id=f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}",  # in no order, as clients' ids are
        day=at.date(),
        event_time=at,
        received_at=at,
        source="banyan",
        body=body,
        text=json_of(body),
        session=f"s{number // 8}",
        user=f"u{user}",
        prompt_name=f"prompt {number % 20}",
        version=f"1.{number % 3}",
        branch="main",
        model=f"model {number % 5}",
        latency_ms=200.0 + number * 7919 % 3000,
        input_tokens=500,
        output_tokens=100,
        cost=0.001,
        error="e" if number % 100 == 0 else None,
        **of_experiment,
    )


if __name__ == "__main__":
    main()
