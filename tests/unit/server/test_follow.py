"""Following calls: one look for all, nothing missed by the slow, an end when there is one."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException

from banyan_hp.server.api import feeds
from banyan_hp.server.api.feeds import Feed, Feeds
from banyan_hp.server.api.follow import Listener
from banyan_hp.server.store import calls as contract
from banyan_hp.server.store.calls import Call, CallFilter, Page
from banyan_hp.server.store.cursors import Cursor
from banyan_hp.server.store.database import BusyError, Database, SlowQueryError
from banyan_hp.server.store.matching import Matcher
from banyan_hp.server.store.sql_calls import SqlCalls

from .store.samples import call

ALL = CallFilter(project="p")


class CountingCalls(SqlCalls):
    """Counts looks; fails when told to."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.looks: list[tuple[str, int]] = []
        self.failures = 0
        self.slow_after: int | None = None

    def follow(self, chosen: CallFilter, limit: int, cursor: str | None = None) -> Page:
        self.looks.append((chosen.project, limit))
        if self.failures:
            self.failures -= 1
            raise BusyError("gone for a while")
        if self.slow_after is not None and limit != feeds.MOST_CALLS:
            self.slow_after -= 1
            if self.slow_after < 0:
                raise SlowQueryError("it took too long")
        return super().follow(chosen, limit, cursor)


@pytest.fixture
def calls(tmp_path: Path) -> Any:
    database = Database(str(tmp_path / "calls.sqlite3"))
    yield CountingCalls(database)
    database.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "LOOK_SECONDS", 0.02)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 20))


async def read(
    feed: Feed, number: int, after: Cursor | None = None, chosen: CallFilter = ALL
) -> tuple[list[str], Cursor]:
    """The ids of the next calls, as a listener gets them, and where it is then."""
    matches = Matcher(chosen)
    found: list[str] = []
    position = after if after is not None else feed.ends
    while len(found) < number:
        arrived = await feed.next(chosen, matches, position)
        for each in arrived:
            position = each.position
            if each.text is not None:
                found.append(json.loads(each.text)["id"])
                if len(found) == number:
                    break
        if not arrived:
            await feed.news(1)
    return found, position


def named(*numbers: int) -> list[str]:
    return [f"id-{number}" for number in numbers]


def test_all_listeners_get_what_arrives_from_one_look(calls: CountingCalls) -> None:
    """Ten listeners of a project cost as many looks as one."""

    async def follow() -> None:
        hub = Feeds(calls)
        async with hub.joined("p") as first, hub.joined("p") as second, hub.joined("q"):
            assert first is second
            readers = [asyncio.create_task(read(first, 3)) for _ in range(10)]
            await asyncio.sleep(0.05)
            await asyncio.to_thread(calls.append, [call(number) for number in range(3)])
            for reader in readers:
                assert (await reader)[0] == named(0, 1, 2)
            assert {limit for _, limit in calls.looks} == {feeds.MOST_CALLS}
        looks = len(calls.looks)
        await asyncio.sleep(0.1)
        assert len(calls.looks) <= looks + 2  # nobody listens any more

    run(follow())


def test_who_begins_in_the_past_reads_on_into_the_present(calls: CountingCalls) -> None:
    calls.append([call(number) for number in range(10, 35)])  # a batch is stored in the order of its ids

    async def follow() -> None:
        async with Feeds(calls).joined("p") as feed:
            past, position = await read(feed, 25, Cursor(-1, 0))
            assert past == named(*range(10, 35))
            await asyncio.to_thread(calls.append, [call(35)])
            assert (await read(feed, 1, position))[0] == named(35)

    run(follow())


@pytest.mark.parametrize("large", [False, True])
def test_a_slow_listener_misses_nothing_and_holds_nobody_up(
    calls: CountingCalls, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    """The feed forgets what it has not read yet, by number or by size; it gets that from the database."""
    monkeypatch.setattr(feeds, "MOST_BYTES" if large else "MOST_CALLS", 10_000 if large else 5)
    body = {"input": "x" * (3000 if large else 1)}

    async def follow() -> None:
        async with Feeds(calls).joined("p") as feed:
            begin = feed.ends
            for number in range(40):
                await asyncio.to_thread(calls.append, [call(number, body=body)])
                if number % 10 == 9:
                    assert (await read(feed, 1, Cursor(0, number)))[0] == named(number)
            assert len(feed.held) <= 5
            assert (await read(feed, 40, begin))[0] == named(*range(40))

    run(follow())


def test_filters_and_words_choose_before_anything_is_indexed(calls: CountingCalls) -> None:
    calls.append([call(number, user=f"u{number % 2}") for number in range(6)])

    async def follow() -> None:
        async with Feeds(calls).joined("p") as feed:
            chosen = CallFilter(project="p", equal={"user": "u1"}, text="question")
            past, position = await read(feed, 3, Cursor(-1, 0), chosen)
            assert past == named(1, 3, 5)
            await asyncio.to_thread(calls.append, [call(number, user=f"u{number % 2}") for number in (6, 7)])
            assert (await read(feed, 1, position, chosen))[0] == named(7)

    run(follow())


def test_a_database_that_is_gone_for_a_while_is_looked_at_again(calls: CountingCalls) -> None:
    async def follow() -> None:
        async with Feeds(calls).joined("p") as feed:
            calls.failures = 3
            await asyncio.to_thread(calls.append, [call(1)])
            assert (await read(feed, 1))[0] == named(1)

    run(follow())


def test_a_rare_filter_gets_on_through_many_calls(
    calls: CountingCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From an old position: each look takes a bounded time and says how far it has come."""
    monkeypatch.setattr(feeds, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(contract, "FOLLOWED_AT_ONCE", 50)
    calls.append([call(number, user="rare" if number == 2900 else "u") for number in range(1000, 3000)])

    async def follow() -> None:
        async with Feeds(calls).joined("p") as feed:
            chosen = CallFilter(project="p", equal={"user": "rare"})
            position, looks = Cursor(-1, 0), 0
            while not (arrived := await feed.next(chosen, Matcher(chosen), position))[0].text:
                assert len(arrived) == 1
                assert arrived[-1].position > position
                position, looks = arrived[-1].position, looks + 1
            assert json.loads(arrived[0].text)["id"] == "id-2900"
            assert looks == 1900 // 50
            end = (await read(feed, 0, arrived[-1].position, chosen))[1]
            while end < feed.begins:
                end = (await feed.next(chosen, Matcher(chosen), end))[-1].position
            assert await feed.next(chosen, Matcher(chosen), end) == []

    run(follow())


def test_a_rare_word_is_looked_for_off_the_event_loop(calls: CountingCalls) -> None:
    """Words are made of whole bodies: that takes its time, in the past as in what a feed holds."""
    threads = set()

    class Noting(Matcher):
        def __call__(self, call: Call) -> bool:
            threads.add(threading.get_ident())
            return super().__call__(call)

    async def follow() -> None:
        async with Feeds(calls).joined("p") as feed:
            begin, chosen = feed.ends, CallFilter(project="p", text="nowhere")
            calls.append([call(number) for number in range(10)])
            await feed.news(5)
            for position in (Cursor(-1, 0), begin):
                assert not any(each.text for each in await feed.next(chosen, Noting(chosen), position))
            assert len(threads) >= 1
            assert threading.get_ident() not in threads

    run(follow())


def test_a_look_that_took_too_long_says_where_to_go_on(
    calls: CountingCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client comes back to where the last look ended, not to where it began."""
    monkeypatch.setattr(feeds, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(contract, "FOLLOWED_AT_ONCE", 50)
    calls.append([call(number) for number in range(1000, 1200)])

    async def follow() -> None:
        async with Feeds(calls).joined("p") as feed:
            chosen = CallFilter(project="p", equal={"user": "nobody"})
            hub = Feeds(calls)
            events = Listener(chosen, Cursor(-1, 0), lambda: None).events(feed, hub)
            assert await anext(events) == "id: -1.0\n\n"
            calls.slow_after = 2
            assert await anext(events) == "id: 0.100\n\n"
            assert "event: end" in await anext(events)

    run(follow())


def test_a_listener_is_not_told_what_only_the_log_may_say(
    calls: CountingCalls, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The event that ends its stream has the short text; the cause is for the operator."""

    def gone(_chosen: CallFilter, _limit: int, _cursor: str | None = None) -> Page:
        raise BusyError("Table of db-3.internal is gone", "ask again")

    async def follow() -> None:
        hub = Feeds(calls)
        async with hub.joined("p") as feed:
            monkeypatch.setattr(calls, "follow", gone)
            chosen = CallFilter(project="p", equal={"user": "nobody"})
            events = [each async for each in Listener(chosen, Cursor(-1, 0), lambda: None).events(feed, hub)]
        assert "the database can't be used now: ask again" in events[-1]
        assert "db-3" not in "".join(events)

    run(follow())
    assert "the database can't be used now: Table of db-3.internal is gone" in caplog.text


def test_there_is_a_limit_to_listeners(calls: CountingCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "MOST_LISTENERS", 1)

    async def follow() -> None:
        hub = Feeds(calls)
        async with hub.joined("p"):
            with pytest.raises(HTTPException) as refused:
                async with hub.joined("q"):
                    raise AssertionError("joined")
            assert refused.value.status_code == 503
        async with hub.joined("q"):
            pass

    run(follow())


def test_a_listener_that_is_cancelled_is_no_longer_counted(calls: CountingCalls) -> None:
    async def listen(hub: Feeds) -> None:
        async with hub.joined("p") as feed:
            await read(feed, 1)

    async def follow() -> None:
        hub = Feeds(calls)
        listener = asyncio.create_task(listen(hub))
        await asyncio.sleep(0.1)
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        assert hub.feeds == {}

    run(follow())
