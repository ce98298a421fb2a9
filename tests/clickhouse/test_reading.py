"""What is read of ClickHouse's tables: the stretch that a page is from, and rows that are not folded yet."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from banyan_hp.server.store.calls import Call, CallFilter, Stored
from banyan_hp.server.store.database import UnfitValueError, refuses_values
from tests.unit.server.store.samples import at, call

from .watching import queries_of

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
    from banyan_hp.server.store.clickhouse.client import ClickHouse

ALL = CallFilter(project="p")
STORED = 20_000
MADE_AT = datetime(2026, 3, 1, tzinfo=UTC)
_NAMES = ("first", "second")
_MADE = f"""
INSERT INTO calls (project, day, id, digest, event_time, received_at, source, session, user, bytes,
    content)
SELECT 'p', toDate32('2026-03-01'), concat('id-', toString(number)), '', 1772366400000000 + number * 1000000,
    1772366400000000, 'banyan', concat('s', toString(intDiv(number, 8))),
    concat('u', toString(number % 5000)), 2, concat('{{}}\\n word', toString(number), ' common ')
FROM numbers({STORED})
"""
_GRANULES = re.compile(r"Granules: (\d+)/(\d+)")


def inserted_by_two(
    store: ClickHouseCalls,
    given: list[Call],
    monkeypatch: pytest.MonkeyPatch,
    other: list[Call] | None = None,
) -> None:
    """As if two servers had each looked for repeats before the other inserted the same, or `other` calls."""
    with monkeypatch.context() as blind:
        # private: two servers at the same moment are no thing that a test can wait for
        blind.setattr(store, "_held", lambda _rows: {})
        for each in (given, other or given):
            store.append(each)


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_what_two_servers_inserted_is_on_one_page_once(
    store: ClickHouseCalls, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Page by page, in both orders; calls of the same time among them."""
    given = [call(number, event_time=at(number // 3)) for number in range(20)]
    inserted_by_two(store, given, monkeypatch)
    newest: list[str] = []
    cursor = None
    while True:
        page = store.page(ALL, limit, cursor)
        newest += [each.id for each in page.calls]
        cursor = page.next
        if cursor is None:
            break
    assert sorted(newest) == sorted(each.id for each in given)
    assert [int(each[3:]) // 3 for each in newest] == sorted((n // 3 for n in range(20)), reverse=True)
    assert len(store.arrived(ALL, 50).calls) == len(store.follow(ALL, 50).calls) == len(given)
    assert store.count(ALL)[0] == len(given)


def test_what_two_servers_inserted_is_a_repeat_or_another(
    store: ClickHouseCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is folded already or not: told by the body that stays."""
    written = {"input": "a", "output": "b", "metadata": {}}
    inserted_by_two(store, [call(1, body=written)], monkeypatch)
    turned = call(1, body=dict(reversed(written.items())))
    other = call(1, body={**written, "output": "c"})
    assert store.append([call(1, body=written), turned, other]) == [Stored.REPEAT] * 2 + [Stored.CONFLICT]
    store.erase()
    assert store.append([turned, other]) == [Stored.REPEAT, Stored.CONFLICT]


def test_a_value_that_no_column_holds_is_that_records_fault(store: ClickHouseCalls) -> None:
    """As with the databases: the committer then stores its neighbours without it."""
    with pytest.raises(UnfitValueError) as raised:
        store.append([call(1), call(2, input_tokens=2**70)])
    assert refuses_values(raised.value)
    assert store.append([call(1)]) == [Stored.NEW]


def test_of_two_at_one_place_only_the_one_that_stays_is_found(
    store: ClickHouseCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers stored the same id with different sessions; the one that came first stays."""
    first, second = ([call(1, session=name)] for name in _NAMES)
    inserted_by_two(store, first, monkeypatch, second)
    found = {name: store.page(CallFilter(project="p", equal={"session": name}), 5).calls for name in _NAMES}
    assert [each.session for each in found["first"]] == ["first"]
    assert not found["second"]


def test_calls_of_one_time_are_on_pages_in_the_order_of_their_arrival(store: ClickHouseCalls) -> None:
    """However many of them a page may have."""
    store.append([call(number, event_time=at(0)) for number in range(40)])
    store.append([call(100, event_time=at(1))])
    seen: list[str] = []
    cursor = None
    while True:
        page = store.page(ALL, 7, cursor)
        seen += [each.id for each in page.calls]
        cursor = page.next
        if cursor is None:
            break
    numbers = [each.seq for each in store.page(ALL, 50).calls]
    assert len(seen) == len(set(seen)) == 41
    assert seen[0] == "id-100"
    assert numbers[1:] == sorted(numbers[1:], reverse=True)


@pytest.fixture
def asked(clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The queries of the test, as they come, over many calls in one part."""
    clickhouse.do(_MADE)
    clickhouse.do("OPTIMIZE TABLE calls FINAL")
    return queries_of(clickhouse, monkeypatch)


def plan_of(clickhouse: ClickHouse, how: str, query: tuple[str, Any]) -> str:
    return "\n".join(row["explain"] for row in clickhouse.rows(f"EXPLAIN {how} {query[0]}", query[1]))


@pytest.mark.parametrize(
    ("chosen", "most"),
    [
        (ALL, 3),
        (CallFilter(project="p", equal={"session": "s77"}), 2),
        (CallFilter(project="p", equal={"user": "u77"}), 5),
        (CallFilter(project="p", equal={"id": "id-777"}), 2),
        (CallFilter(project="p", since=at(100), until=at(110)), 12),
        (CallFilter(project="p", text="word777"), 2),
        (CallFilter(project="p", text="common"), 3),
    ],
    ids=["newest", "session", "user", "id", "times", "rare word", "common word"],
)
def test_a_page_reads_where_its_calls_are(
    store: ClickHouseCalls,
    clickhouse: ClickHouse,
    asked: list[tuple[str, Any]],
    chosen: CallFilter,
    most: int,
) -> None:
    """The places in the order of the table; of what is folded, and of the bodies, a few granules."""
    assert store.page(chosen, 100).calls
    places, *others = (each for each in asked if not each[0].startswith("SELECT event_time FROM"))
    folded, bodies, _repeats = (each for each in others if "event_time = {" not in each[0])
    assert "Read type: InReverseOrder" in plan_of(clickhouse, "actions=1", places)
    for query in (folded, bodies):
        plan = plan_of(clickhouse, "indexes=1", query)
        assert int(_GRANULES.findall(plan)[-1][0]) <= most, plan


def test_ids_are_looked_up_among_few_rows(
    store: ClickHouseCalls, clickhouse: ClickHouse, asked: list[tuple[str, Any]]
) -> None:
    """By the order of their table: intake stays as fast as it is, however many calls a day has."""
    given = [call(number, id=f"new-{number}", event_time=MADE_AT) for number in range(2)]
    assert store.append(given) == [Stored.NEW] * 2
    read, all_there = _GRANULES.findall(plan_of(clickhouse, "indexes=1", asked[0]))[-1]
    assert int(read) <= 2 < int(all_there)


def test_a_large_batch_is_looked_up_in_several_queries(store: ClickHouseCalls) -> None:
    """And the same batch again is a repeat, all of it."""
    given = [call(number, id=f"{number:0200d}", event_time=MADE_AT) for number in range(1_000)]
    assert store.append(given) == [Stored.NEW] * len(given)
    assert store.append(given) == [Stored.REPEAT] * len(given)
