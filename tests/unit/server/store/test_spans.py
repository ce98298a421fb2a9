"""Spans in a database: by themselves, in any order, again and again; and the calls that are made of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from banyan_hp.destinations.spans import spans_of
from banyan_hp.server.deriving import rule_of
from banyan_hp.server.prices import bundled
from banyan_hp.server.store.archive import Archive
from banyan_hp.server.store.calls import Call, CallFilter, Stored, microseconds
from banyan_hp.server.store.database import BusyError, Database
from banyan_hp.server.store.spans import Neighbourhood, StoredEvent, StoredSpan
from banyan_hp.server.store.sql_calls import SqlCalls
from banyan_hp.server.store.sql_spans import SqlSpans
from banyan_hp.server.store.tables import span_bodies
from tests.support.senders import NAMES, neighbourhood_of, stored_of

from .samples import NOON, call

RULE = rule_of(bundled())
ALL = CallFilter(project="p")
START = microseconds(NOON)
TRACE = "a" * 32


@pytest.fixture
def spans(database: Database, store: SqlCalls) -> SqlSpans:
    return SqlSpans(database, store)


def span(number: int = 1, **changes: Any) -> StoredSpan:
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 31,
        "gen_ai.usage.output_tokens": 17,
        **changes.pop("attributes", {}),
    }
    made = StoredSpan(
        project="p",
        trace_id=TRACE,
        span_id=f"{number:016x}",
        parent_id=None,
        name="chat",
        role="call",
        counted=True,
        scope="s",
        start=START + number * 1_000_000,
        end=START + number * 1_000_000 + 500_000,
        status=0,
        received_at=START,
        body={"attributes": attributes, "resource": {"service.name": "demo"}},
    )
    return replace(made, **changes)


def derive(spans: SqlSpans) -> None:
    while spans.derive(50, RULE):
        pass
    assert spans.underived() == 0


def shown(store: SqlCalls) -> dict[str, Any]:
    """All calls of the project by their ids, without what depends on when they came."""
    calls: list[Call] = []
    cursor = None
    while True:
        page = store.page(ALL, 1000, cursor)
        calls += page.calls
        if (cursor := page.next) is None:
            return {each.id: replace(each, seq=0, received_at=NOON) for each in calls}


def mixed() -> Iterator[StoredSpan | StoredEvent]:
    """All recorded senders in one project, with traces of their own."""
    for number, name in enumerate(NAMES):
        yield from stored_of(name, trace=f"{number + 1:04x}")


def test_all_senders_together_in_any_order_give_the_same_calls(spans: SqlSpans, store: SqlCalls) -> None:
    """Span by span, with calls made in between: each call is there once, with its own tokens."""
    arriving = list(mixed())
    whole = {
        each.call.id: each.call
        for number, name in enumerate(NAMES)
        for each in RULE(neighbourhood_of(stored_of(name, trace=f"{number + 1:04x}")))
    }
    random.Random(7).shuffle(arriving)
    for first in range(0, len(arriving), 90):
        some = arriving[first : first + 90]
        spans.append(some[:60] + some[:5])
        derive(spans)
        spans.append(some[55:])
    derive(spans)
    found = shown(store)
    assert found == {name: replace(each, received_at=NOON) for name, each in whole.items()}
    before = [each.seq for each in store.page(ALL, 1000).calls]
    assert spans.rebuild("p") > 100
    derive(spans)
    assert [each.seq for each in store.page(ALL, 1000).calls] == before, "what stayed the same is left alone"


def test_a_span_is_known_by_its_ids(spans: SqlSpans, store: SqlCalls) -> None:
    """Of two tellings the one that ends later counts, whichever came first."""
    late = span(end=START + 1_900_000)
    assert spans.append([span(), span(2), span()]) == [Stored.NEW, Stored.NEW, Stored.REPEAT]
    assert spans.append([late]) == [Stored.NEW]
    assert spans.append([span(), late]) == [Stored.REPEAT, Stored.REPEAT]
    derive(spans)
    assert [each.latency_ms for each in store.page(ALL, 5).calls] == [500, 900]
    assert [each.end for each in spans.trace("p", TRACE)] == [late.end, span(2).end]
    assert spans.trace("q", TRACE) == []


def test_alike_calls_in_parallel_stay_as_many(spans: SqlSpans, store: SqlCalls) -> None:
    """Many, told by two instrumentations: each step looks at a part of what hangs together."""
    for number in range(60):
        start = START + number * 100_000
        outer = span(number, trace_id=f"{number:032x}", start=start, end=start + 1_000_000, scope="outer")
        inner = replace(outer, trace_id=f"{number + 1000:032x}", scope="inner")
        spans.append([replace(inner, start=start + 100, end=start + 999_900), outer])
        if number % 7 == 0:
            derive(spans)
    derive(spans)
    calls, _ = store.count(ALL)
    assert calls == 60


def test_what_is_around_a_call_lends_it_session_and_user(spans: SqlSpans, store: SqlCalls) -> None:
    """When it comes later, too: the call is made anew, and is found by its words once."""
    spans.append([span(parent_id="9" * 16, attributes={"gen_ai.output.messages": "lovely weather"})])
    derive(spans)
    store.index(10)
    agent = span(9, span_id="9" * 16, role="agent", counted=False, session="s-1", user="u-1", body={})
    spans.append([agent])
    derive(spans)
    (made,) = store.page(ALL, 5).calls
    assert (made.session, made.user) == ("s-1", "u-1")
    store.index(10)
    assert len(store.page(replace(ALL, text="lovely"), 5).calls) == 1


def test_a_record_of_our_own_counts_once(spans: SqlSpans, store: SqlCalls) -> None:
    """As a span and as what our client sent, in either order: the latter is kept."""
    spans.append([own_span("id-1")])
    derive(spans)
    assert [(each.id, each.source) for each in store.page(ALL, 5).calls] == [("id-1", "otlp")]
    native = call(1)
    assert store.append([native]) == [Stored.NEW]
    assert store.append([native]) == [Stored.REPEAT]
    spans.rebuild("p")
    derive(spans)
    assert [(each.id, each.source) for each in store.page(ALL, 5).calls] == [("id-1", "banyan")]


def own_span(ident: str, **changes: Any) -> StoredSpan:
    """As our own client exports a record."""
    (sent,) = spans_of(ident, NOON.timestamp(), {"input": "q", "output": "a"}, content=True)
    return span(span_id=sent.span, attributes=OWN | {"banyan.record.id": ident}, **changes)


OWN = {"banyan.record.kind": "record"}


@pytest.mark.parametrize("kind", ["record", "step"])
def test_a_borrowed_record_id_hides_no_call(spans: SqlSpans, store: SqlCalls, kind: str) -> None:
    """Attributes that a processor copied from another span: each call is there, whichever came last."""
    borrowed = {"banyan.record.id": "id-1", "banyan.record.kind": kind, "banyan.step.number": 1}
    spans.append([span(2, attributes=borrowed)])
    derive(spans)
    assert store.append([call(1)]) == [Stored.NEW]
    spans.append(
        [own_span("id-3"), span(4, trace_id="b" * 32, attributes=OWN | {"banyan.record.id": "id-3"})]
    )
    derive(spans)
    spans.append([span(5, trace_id="c" * 32, attributes=borrowed)])
    derive(spans)
    spans.rebuild("p")
    derive(spans)
    found = {each.id: each.source for each in store.page(ALL, 9).calls}
    others = {f"{trace * 32}-{number:016x}": "otlp" for trace, number in (("a", 2), ("b", 4), ("c", 5))}
    assert found == {"id-1": "banyan", "id-3": "otlp", **others}


def test_what_our_span_processor_sends_counts_instead_of_its_spans(spans: SqlSpans, store: SqlCalls) -> None:
    """An application that has both, the processor and an exporter to the backend; in either order."""
    first, second = span(1), span(2)
    record = call(1, id=f"otel-{TRACE}-{first.span_id}")
    spans.append([first, second])
    derive(spans)
    store.append([record, call(2, id=f"otel-{'b' * 32}-{first.span_id}")])
    derive(spans)
    found = {each.id: each.source for each in store.page(ALL, 5).calls if "b" * 32 not in each.id}
    assert found == {record.id: "banyan", f"{TRACE}-{second.span_id}": "otlp"}
    spans.append([replace(second, span_id="f" * 16)])
    derive(spans)
    assert record.id in {each.id for each in store.page(ALL, 5).calls}
    assert spans.trace("p", TRACE)[0].call_id == record.id
    assert sum(spans.delete("p", {"id": record.id})) == 1


def test_deleting_a_person_removes_the_spans_of_records_of_our_own(spans: SqlSpans, store: SqlCalls) -> None:
    """Though the span itself names nobody."""
    spans.append([span(1), replace(span(2), trace_id="b" * 32)])
    store.append([call(1, id=f"otel-{TRACE}-{span(1).span_id}", user="u-9")])
    derive(spans)
    assert sum(spans.delete("p", {"user": "u-9"})) == 1
    assert spans.trace("p", TRACE) == []


def test_spans_that_go_meanwhile_leave_no_call(spans: SqlSpans, store: SqlCalls) -> None:
    """Removed while a step decides: what it decided is not written."""
    spans.append([span(session="s-1")])

    def removing(found: Neighbourhood) -> Sequence[Any]:
        assert list(spans.delete("p", {"session": "s-1"})) == [1]
        return RULE(found)

    spans.derive(10, removing)
    derive(spans)
    assert store.page(ALL, 5).calls == []


def test_spans_that_go_meanwhile_take_no_others_along(spans: SqlSpans, store: SqlCalls) -> None:
    """Arrivals of the same step whose spans were not removed become calls all the same."""
    other = replace(span(3), trace_id="c" * 32)
    spans.append([span(session="s-1"), other])

    def removing(found: Neighbourhood) -> Sequence[Any]:
        assert list(spans.delete("p", {"session": "s-1"})) == [1]
        return RULE(found)

    spans.derive(10, removing)
    derive(spans)
    assert [each.id for each in store.page(ALL, 5).calls] == [f"{'c' * 32}-{other.span_id}"]


def test_a_twin_that_goes_meanwhile_does_not_come_back(spans: SqlSpans, store: SqlCalls) -> None:
    """A person's spans in a trace that was only looked at beside the one that has arrived."""
    named = span(1, attributes={"user.id": "u-1"}, user="u-1")
    twin = replace(named, trace_id="b" * 32, scope="other")
    spans.append([twin])
    derive(spans)
    spans.append([span(1)])

    def removing(found: Neighbourhood) -> Sequence[Any]:
        assert {each.trace_id for each in found.spans} == {TRACE, twin.trace_id}
        list(spans.delete("p", {"user": "u-1"}))
        list(store.delete(CallFilter(project="p", equal={"user": "u-1"})))
        return RULE(found)

    spans.derive(10, removing)
    derive(spans)
    assert [each.user for each in store.page(ALL, 5).calls] == [None]


def test_deleting_removes_whole_traces_and_twins(spans: SqlSpans, store: SqlCalls) -> None:
    """A person's calls, what is around them, and what told of them in another trace; by an id its call."""
    around = span(8, role="", counted=False, user="u-1", body={"attributes": {"secret": 1}})
    inner = span(1, parent_id=around.span_id)
    twin = replace(span(1), trace_id="b" * 32, scope="other", start=inner.start + 10, end=inner.end - 10)
    other = replace(span(3), trace_id="c" * 32)
    spans.append([around, inner, twin, other])
    derive(spans)
    assert len(store.page(ALL, 5).calls) == 2
    assert sum(spans.delete("p", {"user": "u-1"})) == 3
    assert [len(spans.trace("p", name * 32)) for name in "abc"] == [0, 0, 1]
    assert sum(spans.delete("p", {"id": f"{'c' * 32}-{other.span_id}"})) == 1
    assert spans.trace("p", "c" * 32) == []


def test_old_spans_go_by_both_clocks(spans: SqlSpans) -> None:
    """With the log events that joined them, or never did; what came late stays."""
    day = microseconds(NOON + timedelta(days=1))
    late = replace(span(2), received_at=day)
    event = StoredEvent(
        project="p", trace_id=TRACE, span_id="7" * 16, name="gen_ai.x", time=START, received_at=START, body={}
    )
    spans.append([span(1), late, event])
    assert sum(spans.trim(NOON + timedelta(days=1))) == 2
    assert [each.span_id for each in spans.trace("p", TRACE)] == [late.span_id]
    assert spans.events("p", TRACE) == {}


def test_the_archive_gets_spans_before_they_go(spans: SqlSpans, tmp_path: Path) -> None:
    """By project and day, in a folder beside the calls of the day; what a file holds is not written again."""
    duckdb = pytest.importorskip("duckdb")
    archive = Archive(tmp_path)
    given = [span(number, session="s-1") for number in range(3)]
    spans.append([*given, span(4, start=START + 86_400_000_000, end=START + 86_400_000_000)])
    archive.keep_spans("p", NOON.date(), given[:1])  # of a run that broke off before it removed anything
    assert sum(spans.trim(NOON + timedelta(days=9), archive)) == 4
    assert spans.trace("p", TRACE) == []
    files = f"'{tmp_path}/p/*/spans/*.parquet'"
    rows = duckdb.sql(f"SELECT span_id, session, input_tokens FROM {files} ORDER BY start").fetchall()
    assert [row[0] for row in rows] == [each.span_id for each in (*given, span(4))]
    told = duckdb.sql(f"SELECT DISTINCT json_extract(body, '$.resource') FROM {files}").fetchall()
    assert told == [('{"service.name":"demo"}',)]


def test_days_have_partitions_that_go_with_those_of_calls(
    database: Database, spans: SqlSpans, store: SqlCalls
) -> None:
    """In PostgreSQL; spans that came before their day had one are moved."""
    now = datetime.now(UTC)
    today = microseconds(now)
    spans.append([span(start=today, end=today, received_at=today)])
    spans.maintain(now)
    spans.append([replace(span(2), start=today, end=today, received_at=today)])
    derive(spans)
    assert len(store.page(ALL, 5).calls) == 2
    if database.is_postgres:
        with database.read() as connection:
            count = connection.exec_driver_sql("SELECT count(*) FROM spans_other").scalar_one()
        assert count == 0
    list(store.trim(now + timedelta(days=1)))
    list(spans.trim(now + timedelta(days=1)))
    assert spans.trace("p", TRACE) == []


def test_spans_that_move_are_not_taken_for_empty_ones(database: Database, spans: SqlSpans) -> None:
    """Neither shown nor archived: who asks is told to ask again."""
    spans.append([span(1), span(2)])
    database.write(lambda connection: connection.execute(delete(span_bodies).where(span_bodies.c.seq == 1)))
    with pytest.raises(BusyError, match="moving"):
        spans.trace("p", TRACE)
    with pytest.raises(BusyError, match="moving"):
        spans.derive(10, RULE)
