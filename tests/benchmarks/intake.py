"""Intake through the whole server, from several clients at once: `python -m tests.benchmarks.intake`.

Each client is a process that posts batches of records of 1.5 KB, one after the other over one connection; the
server is a process of its own. For SQLite, PostgreSQL and an embedded ClickHouse, in turn:

    records/s          of all clients together, from the first request to the last response
    server's CPU       of a record, in us: user and system; an embedded database is part of it
    database's CPU     the same of PostgreSQL's processes
    behind intake      the server's CPU of a record from the last response until words and sums are up to date
    p50, p99           of a batch's response, in ms
    parts              that ClickHouse has of its tables at the end: those three that have most

Bodies are made before the clock starts.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tests.benchmarks.server import caught_up, cpu_of
from tests.benchmarks.workload import stream_records
from tests.support.backend import Backend
from tests.support.postgres import Postgres

KINDS = ("sqlite", "postgres", "clickhouse")
_SECONDS = 120
_DIFFERENT = 2_000  # texts of one client, each of which is sent under several ids
_FORK = multiprocessing.get_context("fork")


class Load(NamedTuple):
    """How much is sent, and how."""

    records: int
    clients: int
    batch: int


def main() -> None:
    """Measure one after the other, and print a table."""
    parser = argparse.ArgumentParser(description="Intake through the whole server.")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--batch", type=int, default=500, help="records of a request")
    parser.add_argument("--only", choices=KINDS)
    given = parser.parse_args()
    load = Load(given.records, given.clients, given.batch)
    for kind in KINDS:
        if given.only in (None, kind):
            print(f"{kind}, {load} ({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})")
            with ExitStack() as stack:
                for name, value in _measured(kind, load, stack):
                    print(f"  {name:<44} {value:>12,.1f}", flush=True)


def _measured(kind: str, load: Load, stack: ExitStack) -> Iterator[tuple[str, float]]:
    postgres = stack.enter_context(Postgres()) if kind == "postgres" else None
    db = postgres.new_database() if postgres is not None else None
    at = stack.enter_context(tempfile.TemporaryDirectory()) if kind == "clickhouse" else None
    options = ["--calls", f"chdb://{at}"] if at is not None else []
    backend = stack.enter_context(Backend(db=db, options=options, fresh=True))
    _sent(backend, load._replace(records=load.batch * load.clients))  # connections, caches
    there = backend.count()
    cpu, of_database = cpu_of(backend), postgres.cpu() if postgres is not None else 0.0
    seconds, latencies = _sent(backend, load)
    spent = cpu_of(backend) - cpu
    assert backend.count() - there == load.records
    yield "records/s", load.records / seconds
    yield "server's CPU, us a record", spent / load.records * 1e6
    if postgres is not None:
        yield "database's CPU, us a record", (postgres.cpu() - of_database) / load.records * 1e6
    caught_up(backend)
    behind = cpu_of(backend) - cpu - spent
    yield "server's CPU behind intake, us a record", behind / load.records * 1e6
    yield "p50 of a batch, ms", statistics.median(latencies) * 1e3
    yield "p99 of a batch, ms", statistics.quantiles(latencies, n=100)[-1] * 1e3
    if at is not None:
        assert backend.stop() == 0
        yield from _parts(at)


def _parts(directory: str) -> Iterator[tuple[str, float]]:
    """In a process of its own: one has one embedded ClickHouse."""
    with _FORK.Pool(1) as pool:
        yield from pool.apply(_parts_there, (directory,)).items()


def _parts_there(directory: str) -> dict[str, int]:
    from banyan_hp.server.store.clickhouse.client import ClickHouse

    with closing(ClickHouse(f"chdb://{directory}")) as opened:
        rows = opened.rows(
            "SELECT table, count() AS n FROM system.parts WHERE active AND database = currentDatabase() "
            "GROUP BY table ORDER BY n DESC LIMIT 3"
        )
        return {f"parts of {row['table']}": row["n"] for row in rows}


# -- clients -------------------------------------------------------------------------------------------------


def _sent(backend: Backend, load: Load) -> tuple[float, list[float]]:
    """Seconds from the first request to the last response, and those of each request."""
    ready = _FORK.Barrier(load.clients + 1)
    answers: Any = _FORK.SimpleQueue()
    clients = [
        _FORK.Process(target=_client, args=(backend.port, backend.api_key, load, seed, ready, answers))
        for seed in range(load.clients)
    ]
    for client in clients:
        client.start()
    ready.wait(_SECONDS)
    started = time.perf_counter()
    latencies = [each for _ in clients for each in answers.get()]
    seconds = time.perf_counter() - started
    for client in clients:
        client.join()
    return seconds, latencies


def _client(port: int, key: str, load: Load, seed: int, ready: Any, answers: Any) -> None:
    bodies = list(_bodies(load, seed))
    latencies = []
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)) as connection:
        ready.wait(_SECONDS)
        for body in bodies:
            started = time.perf_counter()
            connection.request("POST", "/api/logs/prompt-usage/batch", body, headers)
            said = json.loads(connection.getresponse().read())
            latencies.append(time.perf_counter() - started)
            assert said == {"accepted": load.batch}, said
    answers.put(latencies)


def _bodies(load: Load, seed: int) -> Iterator[bytes]:
    """As our clients write them."""
    made = [json.dumps(each, separators=(",", ":")) for each in stream_records(_DIFFERENT, seed)]
    mine = load.records // load.clients
    for start in range(0, mine, load.batch):
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        listed = ",".join(
            f'{{"id":"{uuid.uuid4()}","ts":"{now}","body":{made[number % _DIFFERENT]}}}'
            for number in range(start, min(start + load.batch, mine))
        )
        yield f'{{"records":[{listed}]}}'.encode("ascii")


if __name__ == "__main__":
    main()
