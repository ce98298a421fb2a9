"""Spans in ClickHouse without transactions: killed between any two writes, and several servers at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from banyan_hp.server.store.calls import CallFilter, Stored
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.spans import StoredEvent, StoredSpan
from tests.conftest import NewDatabase
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


def traces_of(number: int) -> tuple[str, str]:
    return f"{number:031x}a", f"{number:031x}b"


def calls_in(store: ClickHouseCalls, number: int) -> list[tuple[Any, ...]]:
    """Of the call in each of these traces: its trace, and what it says."""
    calls = store.page(CallFilter(project="p"), 100).calls
    found = ((each.id.partition("-")[0], each.user, each.input_tokens) for each in calls)
    return sorted(each for each in found if each[0] in traces_of(number))


def told_in(spans: ClickHouseSpans, number: int) -> list[tuple[str, bool]]:
    """The spans of these traces, and whether each tells of the call that is named after it."""
    found = (each for trace in traces_of(number) for each in spans.trace("p", trace))
    return sorted((each.span_id, each.call_id == f"{each.trace_id}-{each.span_id}") for each in found)


def in_two_parts(number: int) -> tuple[list[StoredSpan | StoredEvent], list[StoredSpan | StoredEvent]]:
    """A call in each of two traces; then what is around one names a user, and the other is told again."""
    first, second = traces_of(number)
    inner = span(1, trace_id=first, parent_id="9" * 16)
    other = span(2, trace_id=second)
    around = replace(
        inner, span_id="9" * 16, parent_id=None, role="agent", counted=False, user="u-1", body={}
    )
    longer = span(
        2,
        trace_id=second,
        end=other.end + 1,
        input_tokens=90,
        attributes={"gen_ai.usage.input_tokens": 90},
    )
    said = StoredEvent(
        project="p",
        trace_id=first,
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


@pytest.mark.parametrize("doing", ["append", "derive"])
def test_killed_between_any_two_writes_nothing_is_lost_and_nothing_is_twice(
    spans: ClickHouseSpans, store: ClickHouseCalls, monkeypatch: pytest.MonkeyPatch, doing: str
) -> None:
    """A sender without a response sends again; the next step finds what is missing."""
    spans.append([each for writes in range(MOST_WRITES) for each in in_two_parts(writes)[0]])
    derive(spans)
    for writes in range(MOST_WRITES):
        _, second = in_two_parts(writes)
        if doing == "derive":
            spans.append(second)
        with killed_after(writes, monkeypatch) as ended:
            spans.append(second) if doing == "append" else spans.derive(50, RULE)
        if doing == "append":
            spans.append(second)
        derive(spans)
        first, other = traces_of(writes)
        assert calls_in(store, writes) == [(first, "u-1", 31), (other, None, 90)], writes
        told = [(span(1).span_id, True), (span(2).span_id, True), ("9" * 16, False)]
        assert told_in(spans, writes) == told, writes
        if not ended:
            break
    assert writes >= 3
    assert not ended


def test_a_deletion_that_is_killed_goes_on_when_it_is_asked_again(
    spans: ClickHouseSpans, store: ClickHouseCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two writes: in the end there is neither a span of the person nor a call."""
    writes = 0
    ended = ["killed"]
    while ended:
        spans.append([each for some in in_two_parts(writes) for each in some])
        if writes % 2:
            derive(spans)
        with killed_after(writes, monkeypatch) as ended:
            list(spans.delete("p", {"user": "u-1"}))
        list(spans.delete("p", {"user": "u-1"}))
        list(store.delete(CallFilter(project="p", equal={"user": "u-1"})))
        writes += 1
    assert writes >= 3
    derive(spans)
    for number in range(writes):
        assert [name for name, _ in told_in(spans, number)] == [span(2).span_id], number
        assert [each[0] for each in calls_in(store, number)] == [traces_of(number)[1]], number


def test_servers_that_take_in_the_same_traces_at_once_agree(
    clickhouse: ClickHouse, new_database: NewDatabase
) -> None:
    """Each span comes to two of three servers, in any order, while all of them make calls."""
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
    from banyan_hp.server.store.clickhouse.spans import ClickHouseSpans

    sent = [stored_of(name, trace=f"{number + 1:04x}") for number, name in enumerate(NAMES[::4])]
    arriving = [each for some in sent for each in some]
    derived = [each.call for some in sent for each in RULE(neighbourhood_of(some))]
    url = new_database()

    def serve(who: int) -> None:
        mine = [each for number, each in enumerate(arriving) if number % SERVERS != who]
        random.Random(who).shuffle(mine)
        with closing(Database(url)) as database:
            own = ClickHouseSpans(clickhouse, database, ClickHouseCalls(clickhouse, database))
            for start in range(0, len(mine), 40):
                own.append(mine[start : start + 40])
                own.derive(20, RULE)

    with ThreadPoolExecutor(SERVERS) as servers:
        list(servers.map(serve, range(SERVERS)))
    with closing(Database(url)) as database:
        store = ClickHouseCalls(clickhouse, database)
        derive(ClickHouseSpans(clickhouse, database, store))
        found = store.page(CallFilter(project="p"), 1000).calls
    whole = {each.id: replace(each, received_at=NOON) for each in derived}
    assert {each.id: replace(each, seq=0, received_at=NOON) for each in found} == whole
    assert len(found) == len(whole)


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
