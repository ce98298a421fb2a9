"""What every store of calls does: one suite for each adapter."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection

from banyan_hp.server.store import calls as contract
from banyan_hp.server.store.calls import UNDATED, Call, CallFilter, Calls, Stored, UnusableCursorError
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.sql_calls import SqlCalls

from .samples import NOON, call, ids

T = TypeVar("T")
ALL = CallFilter(project="p")
FULL: dict[str, Any] = {
    "session": "s",
    "user": "u",
    "prompt_id": "i",
    "prompt_name": "n",
    "version": "1",
    "branch": "main",
    "model": "m",
    "latency_ms": 12.5,
    "input_tokens": 3,
    "output_tokens": 4,
    "cost": 0.25,
    "error": "e",
    "experiment_id": "x",
    "experiment_version_id": "xv",
    "sticky_key": "user_id",
    "sticky_value": "u",
}


def test_a_call_comes_back_as_it_was_stored(store: Calls) -> None:
    given = call(**FULL)
    assert store.append([given]) == [Stored.NEW]
    found = store.get("p", given.id)
    assert found is not None
    assert found.seq > 0
    assert replace(found, seq=0) == given


def test_every_column_is_filled_by_the_sample() -> None:
    assert None not in [getattr(call(**FULL), each.name) for each in fields(Call) if each.name != "text"]


def test_the_same_call_again_is_counted_not_stored_again(store: Calls) -> None:
    assert store.append([call()]) == [Stored.NEW]
    assert store.append([call()]) == [Stored.REPEAT]
    (found,) = store.page(ALL, 10).calls
    assert found.deliveries == 2


def test_repeats_and_conflicts_within_one_batch(store: Calls) -> None:
    other = call(body={"input": "other"})
    assert store.append([call(), call(), other, call(2)]) == [
        Stored.NEW,
        Stored.REPEAT,
        Stored.CONFLICT,
        Stored.NEW,
    ]


def test_the_order_of_a_bodys_fields_means_nothing(store: Calls) -> None:
    store.append([call(body={"a": 1, "b": 2})])
    assert store.append([call(body={"b": 2, "a": 1})]) == [Stored.REPEAT]
    assert store.append([call(body={"a": 1.0, "b": 2})]) == [Stored.CONFLICT]


def test_an_id_belongs_to_a_project_and_a_day(store: Calls) -> None:
    tomorrow = call(event_time=NOON + timedelta(days=1), body={"input": "other"})
    elsewhere = call(project="q", body={"input": "third"})
    assert store.append([call(), tomorrow, elsewhere]) == [Stored.NEW] * 3
    assert ids(store.page(ALL, 10).calls) == ["id-1", "id-1"]
    assert store.get("q", "id-1") is not None


def test_texts_that_a_database_refuses_are_kept_in_the_body(store: Calls) -> None:
    body = {"input": "a\x00b\ud800", "output": "x" * 2_000_000}
    odd = call(body=body, session="s\x00\ud800" + "y" * 5000, error="z" * 100_000)
    assert store.append([odd]) == [Stored.NEW]
    found = store.get("p", odd.id)
    assert found is not None
    assert found.body == body
    assert found.session is not None
    assert found.session.startswith("s\ufffd?y")


def test_pages_are_newest_first_and_lead_on(store: Calls) -> None:
    store.append([call(number) for number in range(25)])
    seen: list[str] = []
    cursor = None
    while True:
        page = store.page(ALL, 10, cursor)
        seen += ids(page.calls)
        if (cursor := page.next) is None:
            break
    assert seen == [f"id-{number}" for number in reversed(range(25))]


def test_a_page_is_bounded_in_bytes(store: Calls) -> None:
    store.append([call(number, body={"input": "x" * 3_000_000}) for number in range(6)])
    page = store.page(ALL, 10)
    assert len(page.calls) == 2
    assert ids(store.page(ALL, 10, page.next).calls) == ["id-3", "id-2"]


@pytest.mark.parametrize("cursor", ["", "x", "1", "1.2.3", "1.-1", "9" * 50 + ".1", "1.²"])
def test_a_cursor_that_no_page_gave_out_is_refused(store: Calls, cursor: str) -> None:
    with pytest.raises(UnusableCursorError):
        store.page(ALL, 1, cursor)


def test_filters(store: Calls) -> None:
    store.append([call(1, session="a"), call(2, session="b", error="e"), call(3, user="u", model="m")])

    def found(**chosen: object) -> list[str]:
        return ids(store.page(replace(ALL, **chosen), 10).calls)  # type: ignore[arg-type]

    assert found(equal={"session": "a"}) == ["id-1"]
    assert found(equal={"user": "u", "model": "m"}) == ["id-3"]
    assert found(failed=True) == ["id-2"]
    assert found(failed=False) == ["id-3", "id-1"]
    assert found(since=NOON + timedelta(seconds=2)) == ["id-3", "id-2"]
    assert found(until=NOON + timedelta(seconds=2)) == ["id-1"]
    assert ids(store.page(CallFilter(project="q"), 10).calls) == []


def index_all(store: Calls, calls: int) -> None:
    """Have them found by text, if they are not yet."""
    waiting = store.unindexed()
    assert waiting in (0, calls)
    assert store.index(100) == waiting
    assert store.unindexed() == 0


def test_a_search_finds_whole_words_and_phrases(store: Calls) -> None:
    store.append(
        [
            call(1, body={"input": "The Straße is CLOSED", "output": ["red-green", {"deep": "größe 12.5"}]}),
            call(2, body={"input": "closed the street", "metadata": {"tag": "हिन्दी ключ"}}),
        ]
    )
    index_all(store, 2)

    def found(text: str) -> list[str]:
        return ids(store.page(replace(ALL, text=text), 10).calls)

    assert found("closed") == ["id-2", "id-1"]
    assert found("STRASSE closed") == ["id-1"]
    assert found('"the street"') == ["id-2"]
    assert found('"street the"') == []
    assert found("red-green") == ["id-1"]
    assert found("green-red") == []
    assert found("12.5 GRÖSSE") == ["id-1"]
    assert found("हिन्दी Ключ") == ["id-2"]
    assert found("close") == []
    with pytest.raises(ValueError, match="at least one word"):
        found("...")


def test_huge_and_odd_texts_are_indexed(store: Calls) -> None:
    long = " ".join(f"слово{number}" for number in range(30_000))
    store.append([call(1, body={"input": long}), call(2, body={"input": "'\\ \x00 \ud800 it's"})])
    index_all(store, 2)
    assert ids(store.page(replace(ALL, text="слово7"), 10).calls) == ["id-1"]
    assert ids(store.page(replace(ALL, text="it's"), 10).calls) == ["id-2"]


def test_deleted_calls_are_gone_from_everywhere(store: SqlCalls, database: Database) -> None:
    store.append([call(1, user="u"), call(2, user="u"), call(3, user="v"), call(4, user="u", project="q")])
    store.index(2)
    assert sum(store.delete(CallFilter(project="p", equal={"user": "u"}))) == 2
    assert ids(store.page(ALL, 10).calls) == ["id-3"]
    store.index(10)
    assert ids(store.page(replace(ALL, text="question"), 10).calls) == ["id-3"]
    with database.read() as connection:
        for table in ("call_bodies", "calls", "call_search"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() == 2


def test_trim_removes_what_is_old_by_both_clocks(store: Calls) -> None:
    now = NOON + timedelta(days=40)
    old = call(1)
    wrong_clock = call(2, event_time=datetime(1999, 1, 1, tzinfo=UTC), received_at=now)
    undated = call(3, day=UNDATED, event_time=now, received_at=now)
    store.append([old, wrong_clock, undated, call(4, event_time=now, received_at=now)])
    assert sum(store.trim(now - timedelta(days=30))) == 1
    assert ids(store.page(ALL, 10).calls) == ["id-4", "id-3", "id-2"]


def test_days_get_room_ahead_and_take_what_came_before(store: Calls) -> None:
    store.append([call(1)])
    store.maintain(NOON)
    store.maintain(NOON)
    assert store.append([call(1), call(2)]) == [Stored.REPEAT, Stored.NEW]
    assert sum(store.trim(NOON + timedelta(days=30))) == 2
    assert store.page(ALL, 10).calls == []
    assert store.append([call(1)]) == [Stored.NEW]


def test_follow_gives_what_arrives_in_an_order_that_only_grows(store: Calls) -> None:
    store.append([call(1), call(2)])
    end = store.end()
    first = store.follow(ALL, 1)
    assert ids(first.calls) == ["id-1"]
    second = store.follow(ALL, 10, first.next)
    assert ids(second.calls) == ["id-2"]
    assert store.follow(ALL, 10, second.next).calls == []
    store.append([call(3)])
    assert ids(store.follow(ALL, 10, second.next).calls) == ["id-3"]
    assert ids(store.follow(ALL, 10, end).calls) == ["id-3"]


def test_follow_reports_how_far_it_has_looked(store: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step looks at a bounded number of calls, however few are meant; the last one leads to the end."""
    monkeypatch.setattr(contract, "FOLLOWED_AT_ONCE", 7)
    store.append([call(number, user="rare" if number in (20, 21, 38) else "u") for number in range(10, 40)])
    rare = CallFilter(project="p", equal={"user": "rare"})
    seen, steps, cursor = [], 0, "-1.0"
    while (page := store.follow(rare, 2, cursor)).next != cursor:
        assert page.next is not None
        seen += ids(page.calls)
        steps, cursor = steps + 1, page.next
    assert seen == ["id-20", "id-21", "id-38"]
    assert steps >= 30 // 7
    store.append([call(50, user="rare")])
    assert ids(store.follow(rare, 2, cursor).calls) == ["id-50"]


class PausingDatabase(Database):
    """Waits before it commits."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.written, self.may_commit = threading.Event(), threading.Event()

    def write(self, work: Callable[[Connection], T], *, seconds: float | None = None) -> T:
        def and_wait(connection: Connection) -> T:
            result = work(connection)
            self.written.set()
            assert self.may_commit.wait(10)
            return result

        return super().write(and_wait, seconds=seconds)


def test_follow_never_skips_a_slow_writer(store: SqlCalls, url: str) -> None:
    """Two writers, one of them slow: its calls have lower numbers and are committed later."""
    if not url.startswith("postgresql:"):
        pytest.skip("SQLite has one writer at a time")
    with closing(PausingDatabase(url)) as slow:
        writer = threading.Thread(target=SqlCalls(slow).append, args=([call(1)],))
        writer.start()
        assert slow.written.wait(10)
        store.append([call(2)])
        before = store.follow(ALL, 10)
        slow.may_commit.set()
        writer.join(10)
    after = store.follow(ALL, 10, before.next)
    assert ids(before.calls) + ids(after.calls) == ["id-1", "id-2"]


def test_sums_by_columns(store: Calls) -> None:
    store.append(
        [
            call(number, model="m" if number % 2 else None, latency_ms=float(number))
            for number in range(1, 101)
        ]
        + [call(200, model="m", error="e", input_tokens=5, output_tokens=7, cost=0.5)]
    )
    (everything,) = store.aggregate(ALL)
    assert (everything.calls, everything.errors, everything.by) == (101, 1, ())
    assert (everything.latency_p50, everything.latency_p95) == (50.0, 95.0)
    groups = {group.by: group for group in store.aggregate(ALL, ["model"])}
    assert groups["m",].calls == 51
    assert (groups["m",].input_tokens, groups["m",].output_tokens, groups["m",].cost) == (5, 7, 0.5)
    assert (groups[None,].input_tokens, groups[None,].output_tokens, groups[None,].cost) == (None,) * 3
    assert groups[None,].latency_p50 == 50.0


def test_writers_that_store_the_same_calls_at_once_agree(store: Calls) -> None:
    batch = [call(number) for number in range(200)]
    results: list[list[Stored]] = []
    start = threading.Barrier(4)

    def write(calls: list[Call]) -> None:
        start.wait(10)
        results.append(store.append(calls))

    writers = [threading.Thread(target=write, args=(batch[::step],)) for step in (1, -1, 1, -1)]
    for each in writers:
        each.start()
    for each in writers:
        each.join(60)
    assert sorted(result.count(Stored.NEW) for result in results)[-1] <= 200
    assert sum(result.count(Stored.NEW) for result in results) == 200
    assert sum(each.deliveries for each in store.page(ALL, 1000).calls) == 800
