"""What the API and the pages read of millions of calls in ClickHouse: `tests.benchmarks.clickhouse --stored`.

Wall clock and CPU of each read in this process, medians of some: beside other work only the second says much.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from banyan_hp.server.store.calls import CallFilter, Calls, time_of
from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
from banyan_hp.server.store.clickhouse.client import QUERY_SECONDS, ClickHouse
from banyan_hp.server.store.clickhouse.hours import ClickHouseHours
from banyan_hp.server.store.clickhouse.outcomes import ClickHouseOutcomes
from banyan_hp.server.store.clickhouse.schema import make_tables
from banyan_hp.server.store.clickhouse.sessions import ClickHouseSessions
from banyan_hp.server.store.cursors import Cursor
from banyan_hp.server.store.database import Database, SlowQueryError
from banyan_hp.server.store.hours import DAY, HOUR, Hours, Kind, Of, Period
from banyan_hp.server.store.outcomes import Outcomes
from banyan_hp.server.store.sessions import Sessions
from tests.benchmarks.clickhouse_made import make_calls

LOADS = 5
DAYS = 30
PAGE = 100
MEASURES = ("latency", "latency_p50", "input_tokens", "output_tokens", "cost", "error_rate", "output_length")

# As intake looks for repeats.
_HELD = """
SELECT project, day, id, event_time, digest, source, seq FROM call_ids FINAL
WHERE (project, day, id) IN {keys:Array(Tuple(String, Date32, String))}
"""
Reads = Iterator[tuple[str, Callable[[], object]]]


def measure_stored(many: int, directory: str | None) -> None:
    """Make so many calls, unless the directory has calls already, and print how long each read takes."""
    with ExitStack() as stack:
        kept = directory or stack.enter_context(TemporaryDirectory())
        beside = stack.enter_context(closing(Database(str(Path(kept) / "edited.sqlite3"))))
        opened = stack.enter_context(closing(ClickHouse(f"chdb://{Path(kept) / 'calls'}")))
        make_tables(opened)
        if not _calls_in(opened):
            started = time.perf_counter()
            end = datetime.fromtimestamp(time.time() // 3600 * 3600, tz=time_of(0).tzinfo)
            make_calls(opened, many, end - DAYS * DAY, end)
            print(f"made in {time.perf_counter() - started:,.0f} s")
        stored = _calls_in(opened)
        print(f"{stored:,} calls, {_disk(opened) / stored:,.0f} bytes each on disk, {os.cpu_count()} cores")
        print(f"  {'read':<46} {'ms':>9} {'CPU, ms':>9} {'load':>6}")
        for name, read in _reads(opened, beside):
            _print_one(name, read)


def _print_one(name: str, read: Callable[[], object]) -> None:
    walls, cpus = [], []
    for _ in range(LOADS):
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            read()
        except SlowQueryError:
            print(f"  {name:<46} over {QUERY_SECONDS} s, given up", flush=True)
            return
        walls.append((time.perf_counter() - wall) * 1000)
        cpus.append((time.process_time() - cpu) * 1000)
    load, wall, cpu = os.getloadavg()[0], statistics.median(walls), statistics.median(cpus)
    print(f"  {name:<46} {wall:>9,.0f} {cpu:>9,.0f} {load:>6.1f}", flush=True)


def _calls_in(opened: ClickHouse) -> int:
    return int(opened.rows("SELECT count() AS n FROM calls")[0]["n"])


def _disk(opened: ClickHouse) -> int:
    (row,) = opened.rows(
        "SELECT sum(bytes_on_disk) AS n FROM system.parts WHERE active AND database = currentDatabase()"
    )
    return int(row["n"])


# -- what is read --------------------------------------------------------------------------------------------


def _reads(opened: ClickHouse, beside: Database) -> Reads:
    calls = ClickHouseCalls(opened, beside)
    (ends,) = opened.rows("SELECT min(event_time) AS first, max(event_time) AS last FROM calls")
    start, now = time_of(ends["first"]), time_of(ends["last"])
    (one,) = opened.rows(
        "SELECT id, session, user FROM calls WHERE project = 'p' AND source != 'score' "
        "AND event_time > {at:Int64} ORDER BY event_time LIMIT 1",
        {"at": (ends["first"] + ends["last"]) // 2},
    )
    yield from _pages(calls, one)
    yield from _searches(calls, {"since": now - 2 * DAY, "until": now - DAY})
    yield from _sums(calls, ClickHouseSessions(opened), ClickHouseHours(opened), one, (start, now))
    yield from _followed(calls, opened)
    outcomes = ClickHouseOutcomes(opened, beside)
    for name, users in outcomes.users_of("p", ["x", "y"]).items():
        yield f"results of {users:,} users", _results(outcomes, name, start, now)


def _pages(calls: Calls, one: Any) -> Reads:
    first = calls.page(CallFilter(project="p"), PAGE)
    yield "page: newest", _page(calls)
    yield "page: newest, the next one", lambda: calls.page(CallFilter(project="p"), PAGE, first.next)
    yield "page: a session", _page(calls, equal={"session": one["session"]})
    yield "page: a user", _page(calls, equal={"user": one["user"]})
    yield "page: a busy user", _page(calls, equal={"user": "u1"})
    yield "page: a user who does not exist", _page(calls, equal={"user": "nobody"})
    yield "page: a prompt", _page(calls, equal={"prompt_name": "prompt 7"})
    yield "page: a prompt's version", _page(calls, equal={"prompt_name": "prompt 7", "version": "1.1"})
    yield "page: a model", _page(calls, equal={"model": "model 4"})
    yield "page: failures", _page(calls, failed=True)
    yield "page: failures of a prompt", _page(calls, failed=True, equal={"prompt_name": "prompt 7"})
    yield "page: an experiment", _page(calls, equal={"experiment_id": "x"})
    yield "a call by its id", lambda: calls.get("p", one["id"])


def _searches(calls: Calls, day: dict[str, Any]) -> Reads:
    for name, text in (
        ("a rare word", "zanzibar"),
        ("two common words", "customer invoice"),
        ("a phrase of two common words", '"customer invoice"'),
        ("a phrase that is rare", '"customer invoice refund account"'),
        ("a word that does not occur", "nowhere"),
    ):
        yield f"search of a day: {name}", _page(calls, text=text, **day)
        yield f"search of all, the first page: {name}", _page(calls, text=text)
    yield "search of a prompt: a rare word", _page(calls, text="zanzibar", equal={"prompt_name": "prompt 7"})


def _sums(
    calls: Calls, sessions: Sessions, hours: Hours, one: Any, between: tuple[datetime, datetime]
) -> Reads:
    every, day = CallFilter(project="p"), CallFilter(project="p", since=between[1] - DAY)
    period = Period(since=between[0], until=between[1] + HOUR)
    yield "list of sessions", lambda: sessions.recent("p", 50)
    yield "list of a user's sessions", lambda: sessions.recent("p", 50, user=one["user"])
    yield "sums of a session", lambda: sessions.totals("p", one["session"])
    yield "overview of 30 days", lambda: _overview(hours, period)
    yield "by hour, 30 days", lambda: hours.over_time(Of(project="p"), period, HOUR)
    yield "how many calls", lambda: calls.count(every)
    yield "sums of all calls by model", lambda: calls.aggregate(every, ["model"])
    yield "sums of a day by model", lambda: calls.aggregate(day, ["model"])
    of_x = CallFilter(project="p", equal={"experiment_id": "x"})
    yield "sums of an experiment's calls", lambda: calls.aggregate(of_x, ["experiment_version_id"])
    yield "newest scores", lambda: calls.scores("p", {}, PAGE)
    yield "scores of a call", lambda: calls.scores("p", {"record_id": one["id"]}, PAGE)


def _followed(calls: ClickHouseCalls, opened: ClickHouse) -> Reads:
    every = CallFilter(project="p")
    (found,) = opened.rows("SELECT max(seq) AS last, quantile(0.5)(seq) AS middle FROM calls")
    middle, last = (str(Cursor(0, int(found[name]))) for name in ("middle", "last"))
    yield "follow from the middle", lambda: calls.follow(every, PAGE, middle)
    yield "follow at the end", lambda: calls.follow(every, PAGE, last)
    yield "order of arrival: first", lambda: calls.arrived(every, PAGE)
    yield "order of arrival: last", lambda: calls.arrived(every, 1, newest=True)
    keys = opened.rows("SELECT project, day, id FROM call_ids WHERE cityHash64(id) % 1000 = 3 LIMIT 500")
    batch = {"keys": [(row["project"], row["day"], row["id"]) for row in keys]}
    yield "ids of a batch of 500", lambda: opened.rows(_HELD, batch)


def _page(calls: Calls, **chosen: Any) -> Callable[[], object]:
    return lambda: calls.page(CallFilter(project="p", **chosen), PAGE)


def _overview(hours: Hours, period: Period) -> None:
    of = Of(project="p")
    assert len(hours.over_time(of, period, DAY)) >= DAYS - 1
    for each in (period, period.before):
        hours.total(of, each)
        for kind in (Kind.PROMPT, Kind.MODEL):
            hours.by("p", kind, each, 20)


def _results(outcomes: Outcomes, name: str, start: datetime, now: datetime) -> Callable[[], object]:
    def read() -> None:
        names = [*MEASURES, *outcomes.metrics("p", name)]
        outcomes.summaries(
            "p", name, names, window=timedelta(days=1), start=start, until=None, now=now + 2 * DAY
        )
        outcomes.first_assignments("p", name, start=start, until=None)

    return read
