"""Traces in parts, on each database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from banyan_hp.server.store.database import Database
from banyan_hp.server.store.sql_spans import SqlSpans
from banyan_hp.server.store.sql_traces import SqlTraces
from banyan_hp.server.store.traces import Traces

from .test_spans import START, TRACE, derive, span, spans

__all__ = ["spans"]


@pytest.fixture
def traces(database: Database) -> Traces:
    return SqlTraces(database)


def test_parts_have_every_span_once_and_what_is_around_them(spans: SqlSpans, traces: Traces) -> None:
    """Nested deeply: each later part has all that its spans are inside of."""
    spans.append([span(number, parent_id=f"{number - 1:016x}" if number else None) for number in range(25)])
    seen: list[str] = []
    cursor = None
    while (part := traces.part("p", TRACE, 10, cursor)) is not None:
        assert {each.span_id for each in part.above} == {f"{number:016x}" for number in range(len(seen))}
        seen += [each.span_id for each in part.spans]
        assert (part.count, part.began, part.ended) == (25, span(0).start, span(24).end)
        if (cursor := part.next) is None:
            break
    assert seen == [f"{number:016x}" for number in range(25)]
    assert traces.part("q", TRACE, 10) is None


def test_spans_that_are_around_each_other_end(spans: SqlSpans, traces: Traces) -> None:
    """Ids may be anything."""
    spans.append([span(1, parent_id=f"{2:016x}"), span(2, parent_id=f"{1:016x}"), span(3, parent_id="x")])
    part = traces.part("p", TRACE, 1, None)
    assert part is not None
    assert [each.span_id for each in part.above] == [f"{2:016x}"]


def test_several_begin_with_their_first_spans(spans: SqlSpans, traces: Traces) -> None:
    other = "b" * 32
    given = [span(number, status=2 if number == 2 else 0, session="s") for number in range(1, 6)]
    spans.append([*given, replace(span(7), trace_id=other)])
    found = traces.beginnings("p", [TRACE, other, "c" * 32], 3)
    assert {name: (len(each.spans), each.count, each.failed) for name, each in found.items()} == {
        TRACE: (3, 5, 1),
        other: (1, 1, 0),
    }
    assert (found[TRACE].session, found[TRACE].next is None, found[other].next) == ("s", False, None)
    assert traces.beginnings("p", [], 3) == {}


def test_a_call_s_spans_lead_to_the_part_that_begins_with_them(spans: SqlSpans, traces: Traces) -> None:
    spans.append([span(number) for number in range(1, 30)])
    derive(spans)
    name = f"{TRACE}-{span(20).span_id}"
    (told,) = traces.of_calls("p", [name])
    assert (told.call_id, told.trace_id, told.span_id) == (name, TRACE, span(20).span_id)
    part = traces.part("p", TRACE, 5, told.before)
    assert part is not None
    assert part.spans[0].call_id == name
    assert part.calls == 29


def test_a_span_says_all_that_it_did(spans: SqlSpans, traces: Traces) -> None:
    spans.append([span(1)])
    found = traces.span("p", TRACE, span(1).span_id)
    assert found is not None
    assert (found.body, found.start) == (span(1).body, START + 1_000_000)
    assert traces.span("q", TRACE, span(1).span_id) is None
