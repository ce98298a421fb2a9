"""The overview over a million calls, on each database: `python -m tests.benchmarks.overview`.

    counting       calls a second that are counted anew, in the steps of indexing
    page           milliseconds at the server for each range, the median of some
    indexing       what counting takes of a step of indexing, in per cent

Calls are generated over 60 days, by 20 prompts and 5 models; each hour has some of each.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from banyan_hp.server.store import hour_counts
from banyan_hp.server.store.calls import Call
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.sql_calls import SqlCalls
from banyan_hp.server.store.sql_hours import SqlHours
from tests.benchmarks.generated import generate
from tests.support.app import LocalApp
from tests.support.browsing import Browser
from tests.support.postgres import Postgres

STEP = 500
INDEXED = 5000


def main() -> None:
    """Measure, and print a table for each database."""
    parser = argparse.ArgumentParser(description="The overview's figures.")
    parser.add_argument("--stored", type=int, default=1_000_000, help="generated calls")
    parser.add_argument("--only", choices=("sqlite", "postgres"))
    given = parser.parse_args()
    for kind in ("sqlite", "postgres"):
        if given.only in (None, kind):
            print(f"{kind} ({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})")
            for name, value in _measured(kind, given.stored):
                print(f"  {name:<44} {value:>12,.1f}", flush=True)


def _measured(kind: str, stored: int) -> Iterator[tuple[str, float]]:
    with ExitStack() as stack:
        if kind == "postgres":
            url = stack.enter_context(Postgres()).new_database()
        else:
            url = str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "calls.sqlite3")
        database = stack.enter_context(closing(Database(url)))
        SqlCalls(database).maintain(datetime.now(UTC))
        yield from _indexing(SqlCalls(database))
        generate(url, stored)
        SqlHours(database).rebuild()
        yield "counting anew, calls/s", stored / _timed(lambda: _caught_up(SqlCalls(database)))
        browser = Browser(stack.enter_context(LocalApp(url)))
        browser.log_in()
        for path in ("/?range=24h", "/?range=7d", "/?range=30d", "/?range=30d&model=model+1", "/prompts"):
            times = [_timed(lambda path=path: _loaded(browser, path)) for _ in range(9)]  # type: ignore[misc]
            yield f"{path}, ms", statistics.median(times) * 1000


def _loaded(browser: Browser, path: str) -> None:
    assert browser.get(path).status == 200


def _caught_up(store: SqlCalls) -> None:
    while store.index(STEP):
        pass


def _indexing(store: SqlCalls) -> Iterator[tuple[str, float]]:
    """A share of the time of all steps, as the counting's functions are called within them."""
    now = datetime.now(UTC)
    words = " ".join(f"word{number % 300}" for number in range(250))  # 1.5 KB or so
    sample = Call(
        project="indexed",
        id="",
        day=now.date(),
        event_time=now,
        received_at=now,
        source="banyan",
        body={},
    )
    for start in range(0, INDEXED, STEP):
        store.append(
            [
                replace(
                    sample,
                    id=f"own-{number}",
                    body={"input": f"{number} {words}"},
                    prompt_name=f"prompt {number % 20}",
                    model=f"model {number % 5}",
                    latency_ms=200.0 + number % 3000,
                )
                for number in range(start, start + STEP)
            ]
        )
    spent: list[float] = []
    kept = {name: getattr(hour_counts, name) for name in ("read", "tally", "count")}
    for name, work in kept.items():
        setattr(hour_counts, name, _watched(work, spent))
    try:
        seconds = _timed(lambda: _caught_up(store))
    finally:
        for name, work in kept.items():
            setattr(hour_counts, name, work)
    yield "indexing, ms a step", seconds / (INDEXED / STEP) * 1000
    yield "of which counting, %", 100 * sum(spent) / seconds


def _watched(work: Callable[..., object], spent: list[float]) -> Callable[..., object]:
    def run(*given: object) -> object:
        started = time.perf_counter()
        try:
            return work(*given)
        finally:
            spent.append(time.perf_counter() - started)

    return run


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
