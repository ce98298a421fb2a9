"""A search that takes long ends its pages early; nothing is skipped, nothing comes twice, it has an end."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from banyan_hp.server.store.calls import Call, CallFilter, Page, microseconds, time_of
from banyan_hp.server.store.database import SlowQueryError
from tests.unit.server.store.samples import at, call, ids

from .watching import queries_of

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
    from banyan_hp.server.store.clickhouse.client import ClickHouse

PHRASE = CallFilter(project="p", text='"wanted phrase"')
WORD = CallFilter(project="p", text="wanted")
MINUTE = 60_000_000
Slow = Callable[[int], bool]
"""Whether the search of so many microseconds takes too long."""


class Clock:
    """A clock that goes on by a time with each look."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.now = 0.0
        self.seconds = seconds

    def __call__(self) -> float:
        self.now += self.seconds
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which searches go: it stands still unless it is told."""
    from banyan_hp.server.store.clickhouse import calls, searching

    found = Clock()
    monkeypatch.setattr(calls, "searched", partial(searching.searched, clock=found))
    return found


def slowed(clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch, slow: Slow) -> list[int]:
    """Have some windows take too long; the widths of all that are searched, in microseconds."""
    rows, widths = clickhouse.rows, []

    def run(sql: str, parameters: Any = None, seconds: float | None = None) -> Any:
        if seconds is not None and "BETWEEN" in sql:
            oldest, newest = _bounds(sql, parameters)
            widths.append(newest - oldest + 1)
            if slow(newest - oldest + 1):
                raise SlowQueryError("too wide")
        return rows(sql, parameters, seconds)

    monkeypatch.setattr(clickhouse, "rows", run)
    return widths


def _bounds(sql: str, parameters: dict[str, Any]) -> tuple[int, int]:
    between = sql.partition("event_time BETWEEN ")[2]
    oldest, newest = (part.partition(":")[0].strip("{ ") for part in between.split(" AND ")[:2])
    return parameters[oldest], parameters[newest]


def paged(store: ClickHouseCalls, chosen: CallFilter, limit: Callable[[], int], most: int) -> list[Page]:
    """All pages, which take no more requests than that; those that took too long are made again."""
    found: list[Page] = []
    cursor = None
    for _ in range(most):
        with suppress(SlowQueryError):
            found.append(store.page(chosen, limit(), cursor))
            if (cursor := found[-1].next) is None:
                return found
    raise AssertionError("it has no end")


def wanted(number: int, minutes: float) -> Call:
    return call(
        number, event_time=at(minutes), body={"input": "a wanted phrase", "output": "", "metadata": {}}
    )


def other(number: int, minutes: float) -> Call:
    return call(number, event_time=at(minutes), body={"input": "phrase wanted", "output": "", "metadata": {}})


def made(chance: random.Random) -> list[Call]:
    """Calls with the phrase and others: some at the same time, some after years without any."""
    times = [chance.choice((0.0, 1.0, chance.uniform(0, 300), chance.uniform(0, 3e6))) for _ in range(40)]
    return [chance.choice((wanted, other))(number, minutes) for number, minutes in enumerate(times)]


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_skipped_and_nothing_comes_twice(
    store: ClickHouseCalls,
    clickhouse: ClickHouse,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    """Whatever the windows, however long they take, and wherever a page ends."""
    from banyan_hp.server.store.clickhouse import searching

    chance = random.Random(seed)
    calls = made(chance)
    store.append(calls)
    chosen = chance.choice((PHRASE, WORD))
    expected = store.page(chosen, 100)
    assert (expected.next, expected.searched_to) == (None, None)
    matching = [each for each in calls if chosen is WORD or "a wanted phrase" in str(each.body)]
    assert sorted(ids(expected.calls)) == sorted(ids(matching))

    monkeypatch.setattr(searching, "FIRST_WIDTH", round(10 ** chance.uniform(0, 11)))
    clock.seconds = chance.choice((0.0, 0.1, 0.9, 6.0))
    slowed(clickhouse, monkeypatch, lambda width: width > 1 and chance.random() < 0.3)
    pages = paged(store, chosen, lambda: chance.randint(1, 12), 1_000)
    assert [each for page in pages for each in page.calls] == expected.calls
    _assert_told(pages, matching)


def _assert_told(pages: Sequence[Page], matching: Sequence[Call]) -> None:
    """What is found by a page's end is all from the time on that it says."""
    seen: set[str] = set()
    for page in pages:
        seen |= set(ids(page.calls))
        if page.searched_to is not None:
            assert page.next == f"{microseconds(page.searched_to)}.0"
            assert {each.id for each in matching if each.event_time >= page.searched_to} == seen


def test_a_search_that_takes_long_says_how_far_it_has_come(
    store: ClickHouseCalls, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it has found nothing yet; with the next page it goes on from there."""
    from banyan_hp.server.store.clickhouse import searching

    store.append([*(other(number, number * 600) for number in range(1, 20)), wanted(0, 0)])
    clock.seconds = searching.PAGE_SECONDS
    page = store.page(PHRASE, 10)
    assert not page.calls
    assert page.searched_to == at(18 * 600) + (time_of(1) - time_of(0))
    pages = paged(store, PHRASE, lambda: 10, 30)
    assert ids(pages[-1].calls) == ["id-0"]
    assert len(pages) > 3
    told = [each.searched_to for each in pages[:-1] if each.searched_to is not None]
    assert told == sorted(told, reverse=True)
    assert len(set(told)) == len(pages) - 1


def test_windows_grow_where_they_are_quick_and_shrink_where_they_are_slow(
    store: ClickHouseCalls, clickhouse: ClickHouse, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the whole past of a quiet project is searched in few queries, and a busy hour at all."""
    from banyan_hp.server.store.clickhouse import searching

    store.append([other(number, number * 1_000) for number in range(300)])
    widths = slowed(clickhouse, monkeypatch, lambda _: False)
    assert store.page(PHRASE, 10).next is None
    assert widths[:3] == [searching.FIRST_WIDTH * 4**power for power in range(3)]
    assert len(widths) <= 10
    monkeypatch.undo()

    store.append([wanted(1_000, 299_999)])
    narrow = slowed(clickhouse, monkeypatch, lambda width: width > 2 * MINUTE)
    page = store.page(PHRASE, 10)
    assert ids(page.calls) == ["id-1000"]
    assert narrow[:3] == [60 * MINUTE, 60 * MINUTE // 8, 60 * MINUTE // 64]


@pytest.mark.parametrize("chosen", [PHRASE, WORD], ids=["phrase", "word"])
def test_what_can_t_be_searched_at_all_takes_too_long(
    store: ClickHouseCalls,
    clickhouse: ClickHouse,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    chosen: CallFilter,
) -> None:
    """It is tried with narrower windows, but not for ever, by their number and by the clock."""
    store.append([wanted(1, 1)])
    widths = slowed(clickhouse, monkeypatch, lambda _: True)
    with pytest.raises(SlowQueryError):
        store.page(chosen, 10)
    assert widths[-1] == 1
    assert len(widths) < 20
    clock.seconds, tried = 2.0, len(widths)
    with pytest.raises(SlowQueryError):
        store.page(chosen, 10)
    assert len(widths) - tried <= 10


def test_words_are_searched_at_once(
    store: ClickHouseCalls, clickhouse: ClickHouse, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their index has all of time; and each look is limited."""
    store.append([other(number, number * 100_000) for number in range(50)])
    seen = queries_of(clickhouse, monkeypatch)
    assert len(store.page(WORD, 100).calls) == 50
    assert len([sql for sql, _ in seen if "hasToken" in sql]) == 1
    widths = slowed(clickhouse, monkeypatch, lambda width: width > 10**15)
    assert len(store.page(WORD, 100).calls) == 50
    assert len(widths) > 2
