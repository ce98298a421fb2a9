"""Nothing of a project is seen from another one, whatever their calls have in common."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from banyan_hp.server.analysis.course import Times
from banyan_hp.server.store.calls import FILTERS, Call, CallFilter
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.hours import DAY, HOUR, Kind, Of, Period
from banyan_hp.server.store.scores import TARGETS
from tests.unit.server.store.samples import NOON, everything

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
    from banyan_hp.server.store.clickhouse.client import ClickHouse

WEEK = Period(since=NOON - 3 * DAY, until=NOON + 4 * DAY)
WINDOW = timedelta(days=1)
PERIOD: dict[str, Any] = {"start": NOON - DAY, "until": None}
LATER = NOON + timedelta(days=30)
SOME = ["r1", "r2", "r7"]
OF_ALL = {  # methods that read for nobody in particular, and what removes, which has a test of its own
    *("append", "append_rows", "calls_of", "delete", "end", "erase", "index", "maintain", "pending"),
    *("remove", "rebuild", "rows", "settled", "step", "trim", "unindexed", "uncounted"),
}
# Statements that no project is asked of: the clock, and whose calls may be old.
NEUTRAL = ("SELECT toUInt64(dateTime64ToSnowflakeID(now64", "SELECT DISTINCT project FROM calls")
Read = Callable[[str], Any]


def reads_of(store: ClickHouseCalls, clickhouse: ClickHouse, database: Database) -> dict[str, Read]:
    """Each way to read, for a project, by the names of class and method."""
    from banyan_hp.server.store.clickhouse.hours import ClickHouseHours
    from banyan_hp.server.store.clickhouse.outcomes import ClickHouseOutcomes
    from banyan_hp.server.store.clickhouse.sessions import ClickHouseSessions

    hours, sessions = ClickHouseHours(clickhouse), ClickHouseSessions(clickhouse)
    outcomes = ClickHouseOutcomes(clickhouse, database)
    times = Times.of(NOON - DAY, LATER)
    reads: Mapping[object, Mapping[str, Read]] = {
        store: {
            "get": lambda p: [store.get(p, name) for name in SOME],
            "page": lambda p: [store.page(each, 1000) for each in filters(p)],
            "follow": lambda p: store.follow(CallFilter(project=p, scores=True), 1000).calls,
            "arrived": lambda p: [
                store.arrived(CallFilter(project=p), 1000, newest=newest) for newest in (False, True)
            ],
            "count": lambda p: store.count(CallFilter(project=p)),
            "aggregate": lambda p: sorted(store.aggregate(CallFilter(project=p), ("model",)), key=repr),
            "scores": lambda p: [store.scores(p, given, 1000) for given in score_filters()],
            "named": lambda p: sorted(
                vars(each)["seq"] for each in store.named(p, SOME, (NOON.date() - DAY, LATER.date()))
            ),
        },
        hours: {
            "over_time": lambda p: [
                hours.over_time(Of(project=p, kind=kind, name=name), WEEK, step)
                for kind, name in ((Kind.PROJECT, ""), (Kind.PROMPT, "greet"), (Kind.MODEL, "m1"))
                for step in (HOUR, DAY)
            ],
            "total": lambda p: hours.total(Of(project=p), WEEK),
            "by": lambda p: [hours.by(p, kind, WEEK, 10) for kind in Kind],
        },
        sessions: {
            "recent": lambda p: [sessions.recent(p, 10, user=user) for user in (None, "u1")],
            "totals": lambda p: [sessions.totals(p, name) for name in ("s1", "s2", "s3")],
        },
        outcomes: {
            "summaries": lambda p: outcomes.summaries(
                p, "x", ["latency", "n"], window=WINDOW, now=LATER, **PERIOD
            ),
            "over_time": lambda p: [
                outcomes.over_time(p, "x", metric, times=times, **PERIOD) for metric in ("latency", "n")
            ],
            "users_of": lambda p: outcomes.users_of(p, ["x", "y"]),
            "first_assignments": lambda p: outcomes.first_assignments(p, "x", **PERIOD),
            "first_calls": lambda p: outcomes.first_calls(p, "x", ["latency", "error_rate"], **PERIOD),
            "metrics": lambda p: outcomes.metrics(p, "x"),
        },
    }
    for of, named in reads.items():
        methods = {name for name, _ in inspect.getmembers(of, inspect.ismethod) if name[0] != "_"}
        assert methods - OF_ALL == set(named), "each way to read has its line here"
    return {
        f"{type(of).__name__}.{name}": read for of, named in reads.items() for name, read in named.items()
    }


def filters(project: str) -> list[CallFilter]:
    """One for each column, with what calls of both projects hold, and those that are no column."""
    values = {"id": "r1", "session": "s1", "user": "u1", "source": "banyan", "experiment_id": "x"}
    values |= {"experiment_version_id": "a", "prompt_name": "greet", "model": "m1"}
    return [
        CallFilter(project=project),
        CallFilter(project=project, scores=True, failed=True),
        CallFilter(project=project, text="four"),
        CallFilter(project=project, since=NOON, until=NOON + HOUR),
        *(CallFilter(project=project, equal={name: values.get(name, "v")}) for name in FILTERS),
    ]


def score_filters() -> list[dict[str, str]]:
    return [{}, *({name: value} for name, value in zip(TARGETS, ("r1", "s1", "u1"), strict=False))]


def given() -> list[Call]:
    """Calls and scores that meet in all ways."""
    chance = random.Random(5)
    return [
        replace(
            each,
            user=each.sticky_value,
            prompt_name=chance.choice(["greet", None]),
            model=chance.choice(["m1", None]),
            version="v",
            branch="v",
            input_tokens=7,
            error=chance.choice([None, "e"]),
        )
        if each.source != "score"
        else each
        for each in everything(chance)
    ]


def theirs(calls: list[Call], project: str) -> list[Call]:
    """The same of another project: all but bodies and figures are alike."""
    return [
        replace(
            each,
            project=project,
            latency_ms=1e6,
            input_tokens=10**9,
            body=each.body if each.source == "score" else {**each.body, "input": "theirs four"},
        )
        for each in calls
    ]


def test_nothing_crosses_from_one_project_to_another(
    store: ClickHouseCalls, clickhouse: ClickHouse, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By no way to read; and each statement names the project whose rows it is about."""
    reads = reads_of(store, clickhouse, database)
    calls = given()
    nothing = {name: read("empty") for name, read in reads.items()}
    store.append(calls)
    alone = {name: read("p") for name, read in reads.items()}
    assert not [name for name in reads if alone[name] == nothing[name]], "each sees something"
    store.append(theirs(calls, "q"))
    store.append(theirs(calls, "P"))
    statements = watched(clickhouse, monkeypatch)
    for name, read in reads.items():
        assert read("p") == alone[name], name
        assert read("empty") == nothing[name], name
    for sql in statements:
        assert sql.startswith(NEUTRAL) or "project" in sql.partition("WHERE")[2], sql


def watched(clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements from now on."""
    statements: list[str] = []
    for name in ("rows", "do"):
        run = getattr(clickhouse, name)

        def noted(sql: str, *given: Any, run: Any = run) -> Any:
            statements.append(sql)
            return run(sql, *given)

        monkeypatch.setattr(clickhouse, name, noted)
    return statements


def test_removing_leaves_other_projects_alone(
    store: ClickHouseCalls, clickhouse: ClickHouse, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same ids, sessions and users, and scores about them; each statement names its project."""
    reads = reads_of(store, clickhouse, database)
    calls = given()
    store.append(calls)
    store.append(theirs(calls, "q"))
    store.append(calls[:5])
    before = {name: read("p") for name, read in reads.items()}
    statements = watched(clickhouse, monkeypatch)
    for chosen in ({"user": "u1"}, {"session": "s1"}, {}):
        assert sum(store.delete(CallFilter(project="q", equal=chosen))) > 0
    assert [sql for sql in statements if sql.startswith("DELETE")]
    for sql in statements:
        assert "project" in sql.partition("WHERE")[2], sql
    for name, read in reads.items():
        assert read("p") == before[name], name
    assert store.count(CallFilter(project="q", scores=True)) == (0, 0)
