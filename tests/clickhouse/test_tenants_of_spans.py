"""Spans of one project never show in another, though both have the same traces, users and sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from banyan_hp.server.store.calls import CallFilter
from banyan_hp.server.store.spans import StoredEvent, StoredSpan
from tests.support.senders import stored_of

from .test_span_crashes import derive
from .test_spans import spans
from .test_tenants import watched

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
    from banyan_hp.server.store.clickhouse.client import ClickHouse
    from banyan_hp.server.store.clickhouse.spans import ClickHouseSpans

__all__ = ["spans"]

SENDER = "langwatch-1.4.0"  # it names users and sessions
EVENTS = "genai-openai-event-1.3b0"
Given = Sequence[StoredSpan | StoredEvent]


def given(project: str) -> Given:
    return [*stored_of(SENDER, project), *stored_of(EVENTS, project, trace="e")]


def seen(project: str, spans: ClickHouseSpans, calls: ClickHouseCalls, clickhouse: ClickHouse) -> Any:
    """By each way to read."""
    from banyan_hp.server.store.clickhouse.traces import ClickHouseTraces

    traces = ClickHouseTraces(clickhouse)
    names = sorted({each.trace_id for each in given(project)})
    page = calls.page(CallFilter(project=project), 1000).calls
    ids = [each.id for each in page]
    first = next(each for each in given(project) if isinstance(each, StoredSpan))
    return {
        "calls": [(each.id, each.user, each.body) for each in page],
        "trace": [sorted(each.span_id for each in spans.trace(project, name)) for name in names],
        "events": [sorted(map(repr, spans.events(project, name).items())) for name in names],
        "part": [traces.part(project, name, 100) for name in names],
        "beginnings": traces.beginnings(project, names, 5),
        "of_calls": sorted(each.span_id for each in traces.of_calls(project, ids)),
        "span": traces.span(project, first.trace_id, first.span_id),
        "logs": [traces.logs(project, each.trace_id, each.span_id) for each in given(project)],
    }


def test_spans_of_another_project_are_not_seen(
    spans: ClickHouseSpans,
    store: ClickHouseCalls,
    clickhouse: ClickHouse,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither before nor after the other's are stored, made calls of, and deleted."""
    nothing = seen("p", spans, store, clickhouse)
    spans.append(given("p"))
    derive(spans)
    alone = seen("p", spans, store, clickhouse)
    assert not [name for name, each in alone.items() if each == nothing[name]], "each sees something"
    assert not [each for each in alone["calls"] if each[1] not in ("u1", None)]
    for other in ("q", "P"):
        spans.append(given(other))
    derive(spans)
    statements = watched(clickhouse, monkeypatch)
    assert seen("p", spans, store, clickhouse) == alone
    for chosen in ({"user": "u1"}, {"session": "th1"}, {}):
        sum(spans.delete("q", chosen))
        sum(store.delete(CallFilter(project="q", equal=chosen)))
    assert seen("p", spans, store, clickhouse) == alone
    assert not store.page(CallFilter(project="q"), 10).calls
    for sql in statements:
        assert "project" in sql.partition("WHERE")[2], sql
