"""Results of a large experiment on each database: `python -m tests.benchmarks.results`.

summed    users a second whose sums are computed from their calls and scores, as `experiments rebuild` does
results   seconds for the sums of all versions and metrics, and for the first assignments
CPU       of this process: with SQLite all of the work, with PostgreSQL next to nothing of it
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from banyan_hp.server.store.database import Database
from banyan_hp.server.store.sql_outcomes import SqlOutcomes
from tests.support.postgres import Postgres

DAYS = 14
END = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
START = END - timedelta(days=DAYS)
WINDOW = timedelta(days=1)
STEP = 500
MEASURES = ("latency", "latency_p50", "input_tokens", "output_tokens", "cost", "error_rate", "output_length")
_FIRST = int(START.timestamp() * 1e6)
_MICROSECONDS = int((END - START) / timedelta(microseconds=1))
# A user's calls are an hour apart; the users come one after the other.
_TIME = f"({_FIRST} + (n % {{users}}) * ({_MICROSECONDS} / {{users}}) + (n / {{users}}) * 3600000000)"
_COLUMNS = (
    "seq, xact, project, day, id, digest, event_time, received_at, source, latency_ms, input_tokens, "
    "output_tokens, cost, error, experiment_id, experiment_version_id, sticky_key, sticky_value, deliveries, "
    "bytes, output_length"
)
_VALUES = (
    "n, 0, 'p', {day}, 'id-' || n, {blob}, {time}, {time}, 'banyan', n % 1000, 10, 20, 0.01, "
    "CASE WHEN n % 50 = 0 THEN 'e' END, 'x', CASE WHEN n % {users} % 2 = 0 THEN 'a' ELSE 'b' END, 'user_id', "
    "'user-' || (n % {users}), 1, 10, 100"
)
# One of a user in three has been asked for a thumb, one in five for stars, by record.
_SCORES = (
    "3000000000 + n, {day}, 'p', 'score-' || n, {time} + 1000000, {name}, {kind}, {number}, "
    "'id-' || n FROM {numbers} WHERE n < {users} AND n % {part} = 0"
)
_SCORE_COLUMNS = "seq, day, project, id, at, name, kind, number, record_id"


def main() -> None:
    """Measure, and print a table for each database."""
    parser = argparse.ArgumentParser(description="Results of a large experiment.")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--only", choices=("sqlite", "postgres"))
    given = parser.parse_args()
    for kind in ("sqlite", "postgres"):
        if given.only in (None, kind):
            print(f"{kind} ({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})")
            for name, value in measured(kind, given.calls, given.users):
                print(f"  {name:<44} {value:>12,.2f}", flush=True)


def measured(kind: str, calls: int, users: int) -> Iterator[tuple[str, float]]:
    """Name and value of each figure."""
    with ExitStack() as stack:
        if kind == "postgres":
            url = stack.enter_context(Postgres()).new_database()
        else:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            url = str(directory / "calls.sqlite3")
        database = stack.enter_context(closing(Database(url)))
        outcomes = SqlOutcomes(database)
        yield f"{calls:,} calls generated, s", _timed(lambda: _generate(url, calls, users))
        yield "marked anew, s", _timed(lambda: outcomes.rebuild("p", "x"))
        summed = _timed(lambda: _catch_up(outcomes))
        yield "summed, users/s", users / summed
        yield from _results(outcomes, users)
        yield "marked anew, s", _timed(lambda: outcomes.rebuild("p", "x"))
        yield "summed again, users/s", users / _timed(lambda: _catch_up(outcomes))
        yield from _results(outcomes, users)


def _catch_up(outcomes: SqlOutcomes) -> None:
    while outcomes.step(STEP):
        pass


def _results(outcomes: SqlOutcomes, users: int) -> Iterator[tuple[str, float]]:
    for name in ("first", "again"):
        started, computed = time.perf_counter(), time.process_time()
        names = [*MEASURES, *outcomes.metrics("p", "x")]
        named = time.perf_counter()
        found = outcomes.summaries(
            "p", "x", names, window=WINDOW, start=START, until=None, now=END + 2 * WINDOW
        )
        summed = time.perf_counter()
        assigned = outcomes.first_assignments("p", "x", start=START, until=None)
        ended, computed = time.perf_counter(), time.process_time() - computed
        assert sum(assigned.values()) == users
        assert sum(each.closed for each in found.versions.values()) == users
        assert all(len(each.metrics) == len(names) for each in found.versions.values())
        yield f"results, s ({name})", ended - started
        yield "  of which names of scores, s", named - started
        yield "  of which sums, s", summed - named
        yield "  CPU, s", computed


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# -- generated -----------------------------------------------------------------------------------------------


def _generate(url: str, calls: int, users: int) -> None:
    moment = _TIME.format(users=users)
    if url.startswith("postgresql:"):
        numbers = f"generate_series(0::bigint, {calls - 1}) n"
        day = f"(to_timestamp({moment} / 1000000) AT TIME ZONE 'UTC')::date"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_days())
            for statement in _statements(numbers, day, "''", moment, users):
                connection.execute(statement.encode())
            connection.execute("ANALYZE")
    else:
        numbers = f"(WITH RECURSIVE g (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM g WHERE n < {calls - 1}) "
        day = f"date({moment} / 1000000, 'unixepoch')"
        with closing(sqlite3.connect(url)) as connection:
            for statement in _statements(f"{numbers} SELECT n FROM g)", day, "x''", moment, users):
                connection.execute(statement)
            connection.commit()


def _days() -> bytes:
    """A partition for each day, as the backend makes them."""
    days = [(START + timedelta(days=number)).date() for number in range(DAYS + 3)]
    tables = ("calls", "scores", "score_owners")
    return "; ".join(
        f"CREATE TABLE {table}_{day:%Y%m%d} PARTITION OF {table} "
        f"FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
        for day in days
        for table in tables
    ).encode()


def _statements(numbers: str, day: str, blob: str, moment: str, users: int) -> Iterator[str]:
    values = _VALUES.format(day=day, blob=blob, time=moment, users=users)
    yield f"INSERT INTO calls ({_COLUMNS}) SELECT {values} FROM {numbers}"
    for name, kind, number, part in (("thumbs", "bool", "n / 3 % 2", 3), ("stars", "number", "n % 5", 5)):
        chosen = _SCORES.format(
            day=day,
            time=moment,
            name=f"'{name}'",
            kind=f"'{kind}'",
            number=number,
            numbers=numbers,
            users=users,
            part=part,
        ).replace("3000000000", str(3_000_000_000 + part * 1_000_000_000))
        yield f"INSERT INTO scores ({_SCORE_COLUMNS}) SELECT {chosen}"


if __name__ == "__main__":
    main()
