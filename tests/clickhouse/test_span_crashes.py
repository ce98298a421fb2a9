"""Spans in ClickHouse without transactions: killed between any two writes, and several servers at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from banyan_hp.server.store.calls import CallFilter, Stored
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.spans import StoredEvent, StoredSpan
from tests.support.senders import NAMES, neighbourhood_of, stored_of
from tests.unit.server.store.samples import NOON
from tests.unit.server.store.test_spans import RULE, TRACE, span

from .test_spans import spans

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
    from banyan_hp.server.store.clickhouse.client import ClickHouse
    from banyan_hp.server.store.clickhouse.spans import ClickHouseSpans

__all__ = ["spans"]

SERVERS = 3
MOST_WRITES = 14  # that one of these does


class KilledError(BaseException):
    """The process ends here: nothing that it would have done next is done."""


@contextmanager
def killed_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is done in here ends after so many writes; the list is empty if it came to its own end."""
    from banyan_hp.server.store.clickhouse.client import ClickHouse

    ended: list[str] = ["killed"]
    left = [writes]

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def write_or_end(*given: Any) -> Any:
            if not left[0]:
                raise KilledError
            left[0] -= 1
            return write(*given)

        return write_or_end

    with monkeypatch.context() as patched:
        for name in ("insert", "do"):
            patched.setattr(ClickHouse, name, counted(getattr(ClickHouse, name)))
        try:
            yield ended
        except KilledError:
            return
    ended.clear()


def calls_in(store: ClickHouseCalls, project: str) -> list[tuple[Any, ...]]:
    page = store.page(CallFilter(project=project), 100)
    return sorted((each.id, each.user, each.input_tokens, each.model) for each in page.calls)


def told_in(spans: ClickHouseSpans, project: str) -> list[tuple[str, str | None]]:
    found = (each for trace in "ab" for each in spans.trace(project, trace * 32))
    return sorted((each.span_id, each.call_id) for each in found)


def in_two_parts(project: str) -> tuple[list[StoredSpan | StoredEvent], list[StoredSpan | StoredEvent]]:
    """Calls in two traces; then what is around one of them names a user, and another one is told again."""
    inner = span(1, project=project, parent_id="9" * 16)
    other = span(2, project=project, trace_id="b" * 32)
    around = span(
        9, project=project, span_id="9" * 16, role="agent", counted=False, user="u-1", body={}, end=inner.end
    )
    more = {"gen_ai.usage.input_tokens": 90}
    longer = span(2, project=project, trace_id="b" * 32, end=other.end + 1, input_tokens=90, attributes=more)
    said = StoredEvent(
        project=project,
        trace_id=TRACE,
        span_id=inner.span_id,
        name="gen_ai.choice",
        time=inner.end,
        received_at=inner.received_at,
        body={"attributes": {}},
    )
    return [inner, other], [around, longer, said]


def derive(spans: ClickHouseSpans) -> None:
    while spans.underived():
        spans.derive(50, RULE)


@pytest.mark.parametrize(("doing", "most"), [("append", 5), ("derive", MOST_WRITES)])
def test_killed_between_any_two_writes_nothing_is_lost_and_nothing_is_twice(
    spans: ClickHouseSpans, store: ClickHouseCalls, monkeypatch: pytest.MonkeyPatch, doing: str, most: int
) -> None:
    """A sender without a response sends again; the next step finds what is missing."""
    projects = [f"p{writes}" for writes in range(most)]
    spans.append([each for project in projects for each in in_two_parts(project)[0]])
    derive(spans)
    for writes, project in enumerate(projects):
        _, second = in_two_parts(project)
        if doing == "derive":
            spans.append(second)
        with killed_after(writes, monkeypatch) as ended:
            spans.append(second) if doing == "append" else spans.derive(50, RULE)
        if doing == "append":
            spans.append(second)
        derive(spans)
        names = [f"{TRACE}-{span(1).span_id}", f"{'b' * 32}-{span(2).span_id}"]
        made = [(names[0], "u-1", 31, "gpt-4o-mini"), (names[1], None, 90, "gpt-4o-mini")]
        assert calls_in(store, project) == made, writes
        told = [(span(1).span_id, names[0]), (span(2).span_id, names[1]), ("9" * 16, None)]
        assert told_in(spans, project) == told, writes
        if not ended:
            break
    assert writes >= 3
    assert not ended


def test_a_deletion_that_is_killed_goes_on_when_it_is_asked_again(
    spans: ClickHouseSpans, store: ClickHouseCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two writes: in the end there is neither a span of the person nor a call."""
    projects = [f"p{writes}" for writes in range(MOST_WRITES)]
    parts = [in_two_parts(project) for project in projects]
    spans.append([each for first, second in parts[::2] for each in (*first, *second)])
    derive(spans)  # of every other project
    spans.append([each for first, second in parts[1::2] for each in (*first, *second)])
    for writes, project in enumerate(projects):
        with killed_after(writes, monkeypatch) as ended:
            list(spans.delete(project, {"user": "u-1"}))
        list(spans.delete(project, {"user": "u-1"}))
        list(store.delete(CallFilter(project=project, equal={"user": "u-1"})))
        if not ended:
            break
    assert writes >= 3
    assert not ended
    derive(spans)
    for project in projects[: writes + 1]:
        assert [name for name, _ in told_in(spans, project)] == [span(2).span_id], project
        assert [each[0] for each in calls_in(store, project)] == [f"{'b' * 32}-{span(2).span_id}"], project


def test_servers_that_take_in_the_same_traces_at_once_agree(
    spans: ClickHouseSpans, clickhouse: ClickHouse, database: Database
) -> None:
    """Each span comes to two of three servers, in any order, while all of them make calls."""
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
    from banyan_hp.server.store.clickhouse.spans import ClickHouseSpans

    names = NAMES[::4]
    arriving = [
        each for number, name in enumerate(names) for each in stored_of(name, trace=f"{number + 1:04x}")
    ]
    whole = {
        each.call.id: replace(each.call, received_at=NOON)
        for number, name in enumerate(names)
        for each in RULE(neighbourhood_of(stored_of(name, trace=f"{number + 1:04x}")))
    }

    def serve(who: int) -> None:
        own = ClickHouseSpans(clickhouse, database, ClickHouseCalls(clickhouse, database))
        mine = [each for number, each in enumerate(arriving) if number % SERVERS != who]
        random.Random(who).shuffle(mine)
        for start in range(0, len(mine), 40):
            own.append(mine[start : start + 40])
            own.derive(20, RULE)

    with ThreadPoolExecutor(SERVERS) as servers:
        list(servers.map(serve, range(SERVERS)))
    derive(spans)
    page = ClickHouseCalls(clickhouse, database).page(CallFilter(project="p"), 1000)
    assert {each.id: replace(each, seq=0, received_at=NOON) for each in page.calls} == whole
    assert len(page.calls) == len(whole)


def test_of_two_tellings_that_two_servers_stored_all_see_the_same_one(
    spans: ClickHouseSpans, clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever was inserted first; also where both end at the same time."""
    long, short = span(1, end=span(1).end + 5), span(1)
    odd = span(1, attributes={"told": "otherwise"})
    orders = ([long, short], [short, long], [short, odd], [odd, short])
    with monkeypatch.context() as at_once:
        at_once.setattr(clickhouse, "rows", lambda *_: [])  # neither has found the other's
        for number, given in enumerate(orders):
            for each in given:
                assert spans.append([replace(each, project=f"p{number}")]) == [Stored.NEW]
    seen = [(each.end, each.body) for number in range(4) for each in spans.trace(f"p{number}", TRACE)]
    assert seen[:2] == [(long.end, long.body)] * 2
    assert seen[2:] == [seen[2]] * 2


def test_arrivals_that_are_done_leave_nothing_behind(spans: ClickHouseSpans, clickhouse: ClickHouse) -> None:
    """Once parts are merged."""
    spans.append([span(1), span(2)])
    derive(spans)
    clickhouse.do("OPTIMIZE TABLE spans_to_derive FINAL")
    assert clickhouse.rows("SELECT * FROM spans_to_derive") == []
