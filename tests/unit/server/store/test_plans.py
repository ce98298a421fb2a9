"""No statement reads a whole large table, whatever is asked, on either database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.server.analysis.course import Times
from banyan_hp.server.store.audit import Actor, Audit
from banyan_hp.server.store.calls import FILTERS, CallFilter
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.experiments import Experiments
from banyan_hp.server.store.keys import Keys, Projects, digest_of
from banyan_hp.server.store.prompts import Prompt, Prompts, Version
from banyan_hp.server.store.spans import StoredSpan
from banyan_hp.server.store.sql_calls import SqlCalls
from banyan_hp.server.store.sql_outcomes import SqlOutcomes
from banyan_hp.server.store.sql_sessions import SqlSessions
from banyan_hp.server.store.sql_spans import SqlSpans
from banyan_hp.server.store.sql_traces import SqlTraces
from tests.support.databases import fresh_sqlite
from tests.support.plans import engine_of, fill, flaws, pretend, statements_of
from tests.support.postgres import Postgres

from .samples import score, used

DAY = datetime(2026, 3, 1, tzinfo=UTC)
ALL = CallFilter(project="p")
SHORT: dict[str, Any] = {"since": DAY + timedelta(hours=1), "until": DAY + timedelta(hours=1, minutes=20)}
# A value that is found, for each filter. The others of `FILTERS` narrow what these and the time find.
FOUND = {
    "id": "id-7",
    "session": "s7",
    "user": "u7",
    "prompt_name": "n7",
    "model": "m3",
    "experiment_id": "x",
}
USUAL = {"version": "1", "branch": "main", "source": "banyan"}
SOURCE = replace(ALL, equal={"source": "banyan"})
NEWER, OLDER = "1772330000000000.77777", "1772323300000000.1000"
Ask = Callable[[Database], Any]


def _paged(cursor: str | None = None, **chosen: Any) -> Ask:
    return lambda database: SqlCalls(database).page(replace(ALL, **chosen), 100, cursor)


def _followed(**chosen: Any) -> Ask:
    return lambda database: SqlCalls(database).follow(replace(ALL, **chosen), 100, "1000.100000")


def _scored(name: str, value: str) -> Ask:
    return lambda database: SqlCalls(database).scores("p", {name: value}, 100)


def _summed(*by: str, **chosen: Any) -> Ask:
    return lambda database: SqlCalls(database).aggregate(replace(ALL, **chosen), by)


def _spans(database: Database) -> SqlSpans:
    return SqlSpans(database, SqlCalls(database))


def _span() -> StoredSpan:
    ids: dict[str, Any] = {"trace_id": "a" * 32, "span_id": "b" * 16, "parent_id": None}
    about: dict[str, Any] = {"name": "chat", "role": "call", "counted": True, "scope": "s", "status": 0}
    times: dict[str, Any] = {"start": 1772323200000000, "end": 1772323201000000, "received_at": 0}
    return StoredSpan(project="p", **ids, **about, **times, body={"attributes": {}})


ASKED: dict[str, Ask] = {
    "page": _paged(),
    "a later page": _paged(NEWER),
    "a page of a time": _paged(**SHORT),
    "the end of a time": _paged(OLDER, since=SHORT["since"] - timedelta(hours=1)),
    "failed": _paged(failed=True),
    "failed, of a time": _paged(failed=True, **SHORT),
    "good ones": _paged(failed=False),
    "get": lambda database: SqlCalls(database).get("p", "id-77"),
    "get what is not there": lambda database: SqlCalls(database).get("p", "none"),
    **{f"page by {name}": _paged(equal={name: value}) for name, value in FOUND.items()},
    **{f"later page by {name}": _paged(NEWER, equal={name: value}) for name, value in FOUND.items()},
    **{f"page by {name} and time": _paged(equal={name: value}, **SHORT) for name, value in FOUND.items()},
    **{f"page of the usual {name}": _paged(equal={name: value}) for name, value in USUAL.items()},
    "page by two filters": _paged(equal={"prompt_name": "n7", "model": "m2"}),
    "page by an experiment's version": _paged(equal={"experiment_version_id": "xv"}, **SHORT),
    "a rare word": _paged(text="rare"),
    "a common word": _paged(text="common"),
    "a rare and a common word": _paged(text="common rare"),
    "a rare phrase": _paged(text='"common rare"'),
    "a word that nothing has": _paged(text="nowhere"),
    "a common word of a time": _paged(text="common", **SHORT),
    "a rare word of a session": _paged(text="rare", equal={"session": "s0"}),
    "a later page of a common word": _paged(NEWER, text="common"),
    "follow": _followed(),
    "follow a source": _followed(equal={"source": "banyan"}),
    "follow a session": _followed(equal={"session": "s7"}),
    "follow a prompt": _followed(equal={"prompt_name": "n7"}),
    "follow what fails": _followed(failed=True),
    "follow nobody": _followed(equal={"user": "nobody"}),
    "records of a source": lambda database: SqlCalls(database).arrived(SOURCE, 100),
    "the newest records": lambda database: SqlCalls(database).arrived(SOURCE, 100, newest=True),
    "older records": lambda database: SqlCalls(database).arrived(SOURCE, 100, before="1000.1", newest=True),
    "later records": lambda database: SqlCalls(database).arrived(SOURCE, 100, after="1000.1"),
    "end": lambda database: SqlCalls(database).end(),
    "scores": lambda database: SqlCalls(database).scores("p", {}, 100),
    "later scores": lambda database: SqlCalls(database).scores("p", {}, 100, NEWER),
    **{
        f"scores of a {name}": _scored(name, value)
        for name, value in (("record_id", "id-9"), ("session", "s7"), ("sticky_value", "u8"))
    },
    "sums of users": lambda database: SqlOutcomes(database).summaries(
        "p", "x", ["latency", "cost", "thumbs", "mood=good"], window=DAY - DAY, start=DAY, until=None, now=DAY
    ),
    "sums over time": lambda database: SqlOutcomes(database).over_time(
        "p", "x", "thumbs", start=DAY, until=None, times=Times.of(DAY, DAY)
    ),
    "sums of a measure over time": lambda database: SqlOutcomes(database).over_time(
        "p", "x", "latency", start=DAY, until=None, times=Times.of(DAY, DAY)
    ),
    "sums of experiments: users": lambda database: SqlOutcomes(database).users_of("p", ["x", "y"]),
    "sums of first assignments": lambda database: SqlOutcomes(database).first_assignments(
        "p", "x", start=DAY, until=DAY
    ),
    "sums of first calls": lambda database: SqlOutcomes(database).first_calls(
        "p", "x", ["latency", "error_rate"], start=DAY, until=DAY
    ),
    "sums by name": lambda database: SqlOutcomes(database).metrics("p", "x"),
    "sums that are pending": lambda database: SqlOutcomes(database).pending(),
    "sums of a time": _summed(**SHORT),
    "sums of a time by model": _summed("model", **SHORT),
    "sums of a session": _summed(equal={"session": "s7"}),
    "sums of a user by prompt": _summed("prompt_name", "version", equal={"user": "u7"}),
    "sums of failures": _summed(failed=True),
    "sums of an experiment": _summed("experiment_version_id", equal={"experiment_id": "x"}),
    "sessions": lambda database: SqlSessions(database).recent("p", 50),
    "sessions of a user": lambda database: SqlSessions(database).recent("p", 50, user="u7"),
    "older sessions": lambda database: SqlSessions(database).recent("p", 50, NEWER),
    "totals of a session": lambda database: SqlSessions(database).totals("p", "s7"),
    "sums of a rare word": _summed(text="rare"),
}

CHANGED: dict[str, Ask] = {
    "a trace": lambda database: _spans(database).trace("p", "a" * 32),
    "a part of a trace": lambda database: SqlTraces(database).part("p", "a" * 32, 100),
    "a later part of a trace": lambda database: SqlTraces(database).part("p", "a" * 32, 100, NEWER),
    "the beginnings of traces": lambda database: SqlTraces(database).beginnings(
        "p", ["a" * 32, "b" * 32], 30
    ),
    "a span": lambda database: SqlTraces(database).span("p", "a" * 32, "b" * 16),
    "log events of a span": lambda database: SqlTraces(database).logs("p", "a" * 32, "b" * 16),
    "spans of calls": lambda database: SqlTraces(database).of_calls("p", ["id-7", "id-8"]),
    "events of a trace": lambda database: _spans(database).events("p", "a" * 32),
    "calls of spans": lambda database: _spans(database).derive(500, lambda found: []),
    "calls of spans anew": lambda database: _spans(database).rebuild("p"),
    "spans that come": lambda database: _spans(database).append([_span(), _span()]),
    "delete a user's spans": lambda database: list(_spans(database).delete("p", {"user": "u9"})),
    "delete a session's spans": lambda database: list(_spans(database).delete("p", {"session": "s9"})),
    "delete a call's spans": lambda database: list(_spans(database).delete("p", {"id": "id-7"})),
    "trim spans": lambda database: list(_spans(database).trim(DAY + timedelta(minutes=1))),
    "delete a user": lambda database: list(SqlCalls(database).delete(replace(ALL, equal={"user": "u9"}))),
    "delete a session": lambda database: list(
        SqlCalls(database).delete(replace(ALL, equal={"session": "s9"}))
    ),
    "trim": lambda database: list(SqlCalls(database).trim(DAY + timedelta(minutes=1))),
    "sums": lambda database: _step(database),
    "index": lambda database: SqlCalls(database).index(500),
    "a key of a secret": lambda database: Keys(database).find(digest_of("psk_x")),
    "keys of a project": lambda database: Keys(database).listed("p"),
    "a page of keys": lambda database: Keys(database).page("p", 50),
    "a later page of keys": lambda database: Keys(database).page("p", 50, NEWER),
    "newest keys of a project": lambda database: Keys(database).page("p", 50, newest=True),
    "older keys of a project": lambda database: Keys(database).page("p", 50, NEWER, newest=True),
    "revoke": lambda database: Keys(database).revoke("none", "p"),
    "a project": lambda database: Projects(database).get("p"),
    "changes": lambda database: Audit(database).of("p"),
    "older changes": lambda database: Audit(database).of("p", before=1000),
    "changes of a subject": lambda database: Audit(database).of("p", "prompt:7"),
    "prompts": lambda database: _prompts(database),
    "experiments": lambda database: Experiments(database).page("p", "n", "main", "running"),
    "later experiments": lambda database: Experiments(database).page("p", after=NEWER),
    "experiments of a prompt": lambda database: Experiments(database).on("p", "i"),
    "an experiment": lambda database: Experiments(database).get("p", "x"),
}


def _step(database: Database) -> None:
    """Calls and scores of one user, that are stored, counted and removed."""
    calls, outcomes = SqlCalls(database), SqlOutcomes(database)
    stored = [used("r-77", "u70", 0, session="s70"), score("thumbs", 1, record_id="r-77")]
    calls.append([*stored, score("thumbs", 2, session_id="s70"), score("thumbs", 3, sticky_value="u70")])
    assert outcomes.step(500)
    list(calls.delete(replace(ALL, equal={"id": "r-77"})))
    assert outcomes.step(500)
    list(calls.delete(replace(ALL, equal={"user": "u70"})))


def _prompts(database: Database) -> None:
    prompts, actor = Prompts(database), Actor("p", "k")
    if (prompt := prompts.find("p", "n")) is None:
        prompt = Prompt(project="p", name="n")
        prompts.create(prompt, Version(version="1", content="c"), actor)
    prompts.listed("p", "main", "n")
    prompts.version(prompt, "1")
    prompts.versions(prompt)
    prompts.versions(prompt, after=NEWER, newest=True)
    prompts.label(prompt, "staging", "1", actor)
    prompts.release(prompt, "1", actor)


@pytest.fixture(scope="module")
def filled(postgres: Postgres) -> Iterator[Database]:
    url = postgres.new_database()
    Database(url).close()
    fill(postgres, url)
    with closing(Database(url)) as opened:
        yield opened


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A SQLite file that is, by its statistics, large."""
    path = tmp_path_factory.mktemp("large") / "calls.sqlite3"
    fresh_sqlite(path)
    pretend(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.read_bytes()


@pytest.fixture
def large_sqlite(large: bytes, quick_path: Path) -> Iterator[Database]:
    path = quick_path / "calls.sqlite3"
    path.write_bytes(large)
    with closing(Database(str(path))) as opened:
        yield opened


@pytest.fixture
def new_sqlite(quick_path: Path) -> Iterator[Database]:
    with closing(Database(fresh_sqlite(quick_path / "calls.sqlite3"))) as opened:
        yield opened


@pytest.fixture(params=["new_sqlite", "large_sqlite", "filled"])
def database(request: pytest.FixtureRequest) -> Database:
    """SQLite decides by what statistics say, and has none before somebody asks for them."""
    found: Database = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("name", [*ASKED, *CHANGED])
def test_the_plan_reads_no_whole_table(database: Database, name: str) -> None:
    """Neither does a query, nor what a change looks up."""
    with statements_of(database) as seen:
        (ASKED | CHANGED)[name](database)
    assert seen
    with engine_of(database).connect() as connection:
        found = [(flaw, *each) for each in seen for flaw in flaws(connection, *each)]
    assert not found


@pytest.mark.parametrize("name", [name for name in ASKED if "sums" not in name and "get" not in name])
def test_a_page_is_not_sorted_out_of_everything(large_sqlite: Database, name: str) -> None:
    """SQLite reads pages in the order of an index, but where what it sorts is little.

    `follow` sorts what it looks at, which is bounded.
    """
    with statements_of(large_sqlite) as seen:
        ASKED[name](large_sqlite)
        with engine_of(large_sqlite).connect() as connection:
            steps = [
                row[3]
                for statement, parameters in list(seen)
                if "FROM calls" in statement or "FROM scores" in statement
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            ]
    sorted_out = any("TEMP B-TREE FOR ORDER BY" in step for step in steps)
    assert steps
    few = ("by id", "rare", "nothing", "follow")
    assert not sorted_out or any(each in name for each in few)


def test_every_filter_is_looked_at() -> None:
    """A filter that is new gets a plan, too."""
    assert {*FOUND, *USUAL, "experiment_version_id"} == set(FILTERS)


def test_a_scan_is_found(database: Database) -> None:
    """The check finds what it is there to find."""
    with engine_of(database).connect() as connection:
        assert flaws(connection, "SELECT sum(latency_ms) FROM calls", ())
