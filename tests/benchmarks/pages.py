"""Every page over a million calls: `python -m tests.benchmarks.pages`. Milliseconds at the server.

Beside the time the CPU's time of the process is shown, which depends less on what else the machine does.

The calls are generated over 60 days: 20 prompts, 5 models, 20,000 users, sessions of 8 calls, and one session
of 20,000 calls. A trace has 5,000 spans, a prompt 100 versions, an experiment 10,000 users. Searching by
words is measured by `tests.benchmarks.server`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from banyan_hp.server.deriving import rule_of
from banyan_hp.server.prices import bundled
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.keys import Keys, Role
from banyan_hp.server.store.spans import StoredSpan
from banyan_hp.server.store.sql_calls import SqlCalls
from banyan_hp.server.store.sql_hours import SqlHours
from banyan_hp.server.store.sql_spans import SqlSpans
from tests.benchmarks.generated import DAYS, LONG_SESSION, generate
from tests.support.app import LocalApp
from tests.support.browsing import Browser
from tests.support.postgres import Postgres

BOUND_MS = 300
LOADS = 9
SPANS = 5_000
VERSIONS = 100
EXPERIMENT_USERS = 10_000
KEYS = 500
TRACE = "a" * 32
_AT_ONCE = 500


class Load(NamedTuple):
    """How long a page took, in the middle of some loads, and how large it is."""

    path: str
    median_ms: float
    cpu_ms: float
    kilobytes: float


def main() -> None:
    """Fill a database of each kind, and print a table."""
    parser = argparse.ArgumentParser(description="Every page over many calls.")
    parser.add_argument("--stored", type=int, default=1_000_000, help="generated calls")
    parser.add_argument("--only", choices=("sqlite", "postgres"))
    given = parser.parse_args()
    for kind in ("sqlite", "postgres"):
        if given.only in (None, kind):
            print(f"{kind}, {given.stored:,} calls ({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})")
            print("| page | time | CPU | size |\n|---|---|---|---|")
            for load in _loads(kind, given.stored):
                slow = " **slow**" if load.median_ms > BOUND_MS else ""
                times = f"{load.median_ms:.0f} ms{slow} | {load.cpu_ms:.0f} ms"
                print(f"| `{load.path}` | {times} | {load.kilobytes:.0f} KB |", flush=True)


def _loads(kind: str, stored: int) -> Iterator[Load]:
    with ExitStack() as stack:
        if kind == "postgres":
            url = stack.enter_context(Postgres()).new_database()
        else:
            url = str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "calls.sqlite3")
        database = stack.enter_context(closing(Database(url)))
        _fill(database, url, stored)
        app = stack.enter_context(LocalApp(url))
        prompt = _make_prompt(app)
        _make_experiment(app)
        browser = Browser(app)
        browser.log_in()
        for path in _paths(prompt, stored):
            yield _load(browser, path)


def _fill(database: Database, url: str, stored: int) -> None:
    calls = SqlCalls(database)
    calls.maintain(datetime.now(UTC))
    generate(url, stored)
    SqlHours(database).rebuild()
    while calls.index(_AT_ONCE):
        pass
    spans = SqlSpans(database, calls)
    spans.maintain(datetime.now(UTC))
    made = [_span(number) for number in range(SPANS)]
    for start in range(0, SPANS, _AT_ONCE):
        spans.append(made[start : start + _AT_ONCE])
    while spans.underived():
        spans.derive(_AT_ONCE, rule_of(bundled()))
    for _ in range(KEYS):
        Keys(database).create("default", Role.INGEST)


def _span(number: int) -> StoredSpan:
    """The agent, then a call for every two tools."""
    start = int((datetime.now(UTC) - timedelta(hours=2)).timestamp() * 1e6) + number * 1000
    is_call = number > 0 and number % 3 == 0
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini"} if is_call else {}
    if is_call:
        attributes["session.id"] = "of-an-agent"
    return StoredSpan(
        project="default",
        trace_id=TRACE,
        span_id=f"{number + 1:016x}",
        parent_id=f"{1:016x}" if number else None,
        name=f"span {number}",
        role=("call" if is_call else "tool") if number else "agent",
        counted=is_call,
        scope="benchmark",
        start=start,
        end=start + (900 if number else SPANS * 1000),
        status=0,
        received_at=start,
        body={"attributes": attributes},
    )


def _make_prompt(app: LocalApp) -> str:
    """One of many versions; its id."""
    for number in range(VERSIONS):
        text = f"Answer {{{{question}}}} in {number} words.\n" * 20
        body = {"name": "prompt 0", "content": text, "version": f"1.{number}"}
        path = "/api/logs/cli/prompts" if number == 0 else "/api/logs/cli/prompts/version"
        _ask(app, "POST", path, body)
    return str(app.get("/api/logs/cli/prompts")["prompts"][0]["id"])


def _make_experiment(app: LocalApp) -> None:
    """A running one whose users have calls and scores, counted."""
    versions = [
        {"experiment_version_id": name, "version": f"1.{name}", "traffic_percentage": 50} for name in "01"
    ]
    body = {"prompt_name": "prompt 0", "sticky_type": "user_id", "experiment_id": "x", "control": "0"}
    _ask(app, "POST", "/api/experiments", {**body, "versions": versions})
    for start in range(0, EXPERIMENT_USERS, _AT_ONCE):
        records = [_record(number) for number in range(start, start + _AT_ONCE)]
        _ask(app, "POST", "/api/logs/prompt-usage/batch", {"records": records})
    stores = app.app.state.stores
    while stores.outcomes.pending() or stores.calls.unindexed():
        stores.outcomes.step(10 * _AT_ONCE)


def _record(number: int) -> dict[str, Any]:
    version = str(number % 2)
    body = {
        "input": "i",
        "output": "o",
        "metadata": {},
        "duration_ms": 100 + number % 400,
        "experiment_id": "x",
        "experiment_version_id": version,
        "sticky_key": "user_id",
        "sticky_value": f"user {number}",
    }
    return {"id": f"x-{number}", "ts": datetime.now(UTC).isoformat(), "body": body}


def _ask(app: LocalApp, method: str, path: str, body: object) -> None:
    answer = app.call(method, path, body)
    assert answer.is_success, answer.text


def _paths(prompt: str, stored: int) -> Iterator[str]:
    since = (datetime.now(UTC) - timedelta(days=7)).strftime("%Y-%m-%dT%H:%M:00")
    yield from ("/login", "/", "/?range=7d", f"/?range={DAYS // 2}d", "/?range=30d&model=model+1")
    yield from ("/calls", "/calls?failed=true", f"/calls?since={since}", "/calls?prompt_name=prompt+3")
    yield from ("/calls?user=u77", "/calls?model=none", f"/calls?session={LONG_SESSION}")
    yield from (f"/calls/id-{stored // 2}", f"/calls/{TRACE}-{1501:016x}")
    yield from ("/sessions", "/sessions?user=u77", f"/sessions/s{stored // 16}")
    yield from (f"/sessions/{LONG_SESSION}", "/sessions/of-an-agent")
    yield from (f"/traces/{TRACE}", f"/traces/{TRACE}/spans/{7:016x}")
    yield from ("/prompts", f"/prompts/{prompt}", f"/prompts/{prompt}?version=1.3&against=1.90")
    yield from ("/experiments", "/experiments/x", "/experiments-new")
    yield from ("/review", "/review?unrated=anyone", f"/review?failed=true&since={since}")
    yield from ("/settings", "/docs", "/docs/calls")


def _load(browser: Browser, path: str) -> Load:
    times, spent = [], []
    for _ in range(LOADS):
        started, begun = time.perf_counter(), time.process_time()
        page = browser.get(path)
        times.append((time.perf_counter() - started) * 1000)
        spent.append((time.process_time() - begun) * 1000)
        assert page.status == 200, (path, page.status)
    assert page.path.startswith(path.partition("?")[0]), page.path  # and not the login's
    medians = (statistics.median(times), statistics.median(spent))
    return Load(path, *medians, len(page.response.content) / 1000)


if __name__ == "__main__":
    main()
