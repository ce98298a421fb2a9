"""The backend's figures on each database: `python -m tests.benchmarks.server`.

    intake         records a second from one of our clients, in batches of 500 records of 1.5 KB
    one by one     requests a second of one record each, over 16 connections
    search lag     seconds from the last response of a burst until all of it can be found by text
    page, search   milliseconds, the median of some, over calls that were generated without a client
    memory         of the backend's process after all that, in MB; and its CPU for each record of the intake

Calls are generated narrow, with a body of a few words: what is measured are the indexes and the plans.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sqlite3
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import requests

from banyan_hp import PromptStackLogger
from tests.benchmarks.workload import make_records
from tests.support.backend import Backend
from tests.support.postgres import Postgres

CONNECTIONS = 16
BATCH = 500
DAY = datetime.now(UTC).date().isoformat()
START = int(datetime.now(UTC).replace(hour=0, minute=0, second=0).timestamp() * 1e6)
_COLUMNS = (
    'seq, xact, project, day, id, digest, event_time, received_at, source, session, "user", prompt_name, '
    "version, branch, model, latency_ms, error, deliveries, bytes"
)
_VALUES = (
    f"1000000000 + n, 0, 'default', '{DAY}', 'id-' || n, {{blob}}, {START} + n * 1000, {START} + n * 1000, "
    "'banyan', 's' || (n % 50000), 'u' || (n % 20000), 'n' || (n % 20), '1', 'main', 'm' || (n % 5), "
    "n % 1000, CASE WHEN n % 200 = 0 THEN 'e' END, 1, 30"
)
_SEARCHES = ("common", "rare", "common rare", '"common rare"')


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each."""

    records: int
    burst: int
    stored: int


def main() -> None:
    """Measure, and print a table for each database."""
    parser = argparse.ArgumentParser(description="The backend's figures.")
    parser.add_argument("--records", type=int, default=50_000, help="of the intake")
    parser.add_argument("--burst", type=int, default=100_000, help="before the lag of search")
    parser.add_argument("--stored", type=int, default=1_000_000, help="generated calls")
    parser.add_argument("--only", choices=("sqlite", "postgres"))
    given = parser.parse_args()
    sizes = Sizes(given.records, given.burst, given.stored)
    for kind in ("sqlite", "postgres"):
        if given.only in (None, kind):
            print(f"{kind} ({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})")
            for name, value in _measured(kind, sizes):
                print(f"  {name:<44} {value:>12,.1f}", flush=True)


def _measured(kind: str, sizes: Sizes) -> Iterator[tuple[str, float]]:
    with ExitStack() as stack:
        running = stack.enter_context(Postgres()) if kind == "postgres" else None
        db = running.new_database() if running is not None else None
        backend = stack.enter_context(Backend(db=db, fresh=True))
        yield from _intake(backend, sizes.records, "")
        yield "one by one, requests/s", _one_by_one(backend, sizes.records // 10)
        yield from _search_lag(backend, sizes.burst)
        seconds = _timed(lambda: _generate(backend, sizes.stored))
        yield f"{sizes.stored:,} calls generated, s", seconds
        yield from _reads(backend)
        yield from _intake(backend, sizes.records, f" beside {sizes.stored:,}")
        yield "memory, MB", _status(backend, "VmRSS") / 1024
        yield "memory at its peak, MB", _status(backend, "VmHWM") / 1024


# -- intake --------------------------------------------------------------------------------------------------


def _intake(backend: Backend, count: int, where: str) -> Iterator[tuple[str, float]]:
    records = make_records(min(count, 5_000))
    before, cpu = backend.count(), cpu_of(backend)
    seconds = _timed(lambda: _log(backend, records, count))
    spent = cpu_of(backend) - cpu
    stored = backend.count() - before
    assert stored == count, f"{stored} of {count} are stored"
    yield f"intake{where}, records/s", count / seconds
    yield f"intake{where}, backend's CPU, us a record", spent / count * 1e6


def _log(backend: Backend, records: list[dict[str, Any]], count: int) -> None:
    with tempfile.TemporaryDirectory() as spool:
        logger = PromptStackLogger(
            base_url=backend.url,
            api_key=backend.api_key,
            spool_dir=spool,
            queue_size=count,
            batch_size=BATCH,
        )
        for number in range(count):
            logger.log_prompt(**records[number % len(records)])
        assert logger.flush(timeout=600)
        logger.shutdown(timeout=60)


def _one_by_one(backend: Backend, count: int) -> float:
    body = json.dumps(make_records(1)[0])
    each = max(1, count // CONNECTIONS)

    def send(_: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", backend.port, timeout=60)) as connection:
            for _number in range(each):
                headers = {"X-API-Key": backend.api_key, "Idempotency-Key": str(uuid.uuid4())}
                connection.request("POST", "/api/logs/prompt-usage", body, headers)
                response = connection.getresponse()
                response.read()
                assert response.status == 201

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        seconds = _timed(lambda: list(pool.map(send, range(CONNECTIONS))))
    return each * CONNECTIONS / seconds


def _search_lag(backend: Backend, count: int) -> Iterator[tuple[str, float]]:
    _log(backend, make_records(min(count, 5_000)), count)
    behind = _lag(backend)
    seconds = _timed(lambda: caught_up(backend))
    yield f"calls to index after a burst of {count:,}", behind
    yield f"search lag after a burst of {count:,}, s", seconds


def _lag(backend: Backend) -> int:
    return int(requests.get(f"{backend.url}/readyz", timeout=60).json()["search_lag"])


def caught_up(backend: Backend) -> None:
    while _lag(backend):
        time.sleep(0.1)


# -- at a size -----------------------------------------------------------------------------------------------


def _generate(backend: Backend, count: int) -> None:
    if isinstance(backend.db, Path):
        _generate_sqlite(backend.db, count)
    else:
        _generate_postgres(backend.db, count)


def _generate_sqlite(path: Path, count: int) -> None:
    numbers = f"WITH RECURSIVE g (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < {count})"
    words = "CASE WHEN n % 5000 = 0 THEN 'common rare' ELSE 'common other' END"
    with closing(sqlite3.connect(path, timeout=60)) as connection:
        for insert, values in (
            (f"calls ({_COLUMNS})", _VALUES.format(blob="x''")),
            ("call_bodies (seq, day, body)", f"1000000000 + n, '{DAY}', json_object('input', {words})"),
            ("call_search (rowid, words)", f"1000000000 + n, {words}"),
        ):
            connection.execute(f"INSERT INTO {insert} {numbers} SELECT {values} FROM g")
            connection.commit()


def _generate_postgres(url: str, count: int) -> None:
    words = "CASE WHEN n % 5000 = 0 THEN 'common rare' ELSE 'common other' END"
    day = f"'{DAY}'::date"
    with psycopg.connect(url, autocommit=True) as connection:
        for insert, values in (
            (f"calls ({_COLUMNS})", _VALUES.format(blob="''").replace(f"'{DAY}'", day)),
            ("call_bodies", f"1000000000 + n, {day}, json_build_object('input', {words})::text"),
            ("call_search", f"1000000000 + n, {day}, to_tsvector('simple', {words})"),
        ):
            source = f"generate_series(1::bigint, {count}) n"
            connection.execute(f"INSERT INTO {insert} SELECT {values} FROM {source}".encode())
        connection.execute("ANALYZE")


def _reads(backend: Backend) -> Iterator[tuple[str, float]]:
    asked: dict[str, dict[str, str | int]] = {
        "page": {"limit": 100},
        "page of a session": {"session": "s7"},
        "page of a user": {"user": "u7"},
        "page of a prompt and model": {"prompt_name": "n7", "model": "m2"},
        "page of failures": {"failed": "true"},
        **{f"search for {text}": {"text": text} for text in _SEARCHES},
    }
    for name, query in asked.items():
        found = backend.get("/api/calls", **query)["calls"]
        assert found, name
        times = [_timed(lambda query=query: backend.get("/api/calls", **query)) for _ in range(9)]  # type: ignore[misc]
        yield f"{name}, ms", statistics.median(times) * 1000


# -- measures ------------------------------------------------------------------------------------------------


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def cpu_of(backend: Backend) -> float:
    """Seconds that the backend's process has computed; PostgreSQL's own are not among them."""
    after_name = Path(f"/proc/{backend.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, after_name[11:13])) / os.sysconf("SC_CLK_TCK")


def _status(backend: Backend, name: str) -> int:
    lines = Path(f"/proc/{backend.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
