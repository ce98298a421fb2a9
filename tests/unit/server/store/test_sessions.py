"""Sessions, of the calls that name them."""

from __future__ import annotations

import pytest

from banyan_hp.server.store import sessions
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.sessions import Session
from banyan_hp.server.store.sql_calls import SqlCalls
from banyan_hp.server.store.sql_sessions import SqlSessions

from .samples import NOON, call, score


def test_a_session_is_what_its_calls_amount_to(database: Database, store: SqlCalls) -> None:
    store.append(
        [call(number, session="s", user=f"u{number}", error="e" * (number % 2)) for number in (3, 1)]
    )
    store.append([call(9), call(5, session="s", user="u5")])
    store.append([call(6, session="s", project="q")])
    (found,) = SqlSessions(database).recent("p", 10).sessions
    began, last = (NOON.replace(second=each) for each in (1, 5))
    assert found == Session(id="s", began=began, last=last, user="u5", calls=3, errors=2)


def test_pages_have_each_session_once_last_active_first(
    database: Database, store: SqlCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever calls lie between them, and however few are looked at for a page."""
    store.append([call(number, session=f"s{number % 7}" if number % 3 else None) for number in range(60)])
    newest: list[str] = []
    for number in range(59, -1, -1):
        if number % 3 and f"s{number % 7}" not in newest:
            newest.append(f"s{number % 7}")
    for looked_at, limit in ((2000, 3), (5, 2), (1, 1)):
        monkeypatch.setattr(sessions, "MOST_LOOKED_AT", looked_at)
        found, cursor = [], None
        while True:
            page = SqlSessions(database).recent("p", limit, cursor)
            found += [each.id for each in page.sessions]
            if (cursor := page.next) is None:
                break
        assert found == newest


def test_a_user_s_sessions_have_a_call_of_this_user(database: Database, store: SqlCalls) -> None:
    store.append(
        [call(1, session="s", user="u"), call(2, session="s", user="v"), call(3, session="t", user="v")]
    )
    assert [each.id for each in SqlSessions(database).recent("p", 10, user="u").sessions] == ["s"]
    assert [each.id for each in SqlSessions(database).recent("p", 10, user="v").sessions] == ["t", "s"]


def test_totals_are_of_a_session_s_calls(
    database: Database, store: SqlCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not known is not counted as nothing; scores are no calls; long sessions are bounded."""
    given = [call(n, session="s", latency_ms=float(n), cost=None) for n in range(1, 101)]
    store.append([*given, call(200, session="s", error="e", input_tokens=3, output_tokens=None)])
    store.append([score("thumbs", 1, session_id="s"), call(300, session="t", input_tokens=9)])
    totals = SqlSessions(database).totals("p", "s")
    assert (totals.calls, totals.errors, totals.timed) == (101, 1, 100)
    assert (totals.input_tokens, totals.output_tokens, totals.cost) == (3, None, None)
    assert (totals.latency_p50, totals.latency_p95) == (50.0, 95.0)
    monkeypatch.setattr(sessions, "MOST_SUMMED", 10)
    monkeypatch.setattr(sessions, "MOST_TIMED", 5)
    latest = SqlSessions(database).totals("p", "s")
    assert (latest.calls, latest.input_tokens, latest.latency_p50, latest.timed) == (10, 3, 98.0, 5)
    nothing = SqlSessions(database).totals("q", "s")
    assert (nothing.calls, nothing.cost, nothing.latency_p50) == (0, None, None)
