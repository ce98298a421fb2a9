"""What is read of ClickHouse's tables of spans: a few granules, whatever is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.server.store.test_spans import RULE, START, span

from .test_spans import spans, traces
from .watching import queries_of

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.client import ClickHouse
    from banyan_hp.server.store.clickhouse.spans import ClickHouseSpans
    from banyan_hp.server.store.clickhouse.traces import ClickHouseTraces

__all__ = ["spans", "traces"]

STORED = 40_000
_TRACE = "lower(hex(MD5(toString(intDiv(number, 4)))))"
_SPAN = "leftPad(toString(number), 16, '0')"
_MADE = f"""
INSERT INTO spans (project, trace_id, span_id, version, name, role, scope, start_time, end_time, counted_at,
    received_at, status, session, user, bytes, body)
SELECT 'p', {_TRACE}, {_SPAN}, 1, 'chat', 'call', 's', {START} + number * 60000000 AS start,
    start + 1000000, start, {START}, 0, concat('s', toString(intDiv(number, 8))),
    concat('u', toString(number % 5000)), 2, '{{}}'
FROM numbers({STORED})
"""
_NOTED = f"""
INSERT INTO span_calls (project, trace_id, span_id, call_id, start_time)
SELECT 'p', {_TRACE}, {_SPAN}, concat({_TRACE}, '-', {_SPAN}), {START} FROM numbers({STORED})
"""
_CALLS = f"""
INSERT INTO calls (project, day, id, digest, event_time, received_at, source, user, bytes, content)
SELECT 'p', toDate32(fromUnixTimestamp64Micro(event_time)), concat({_TRACE}, '-', {_SPAN}), '',
    {START} + number * 60000000 AS event_time, {START}, 'otlp', concat('u', toString(number % 5000)), 2,
    '{{}}\\n'
FROM numbers({STORED})
"""
ONE = "cfcd208495d565ef66e7dff9f98764da"  # the first trace
_GRANULES = re.compile(r"Granules: (\d+)/\d+")
_READ = re.compile(r"FROM (spans|span_times|span_calls|calls|call_ids)\b")


@pytest.fixture
def asked(clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The queries of the test, as they come, over many spans in one part."""
    for made in (_MADE, _NOTED, _CALLS):
        clickhouse.do(made)
    for table in ("spans", "span_times", "span_calls", "calls", "call_ids"):
        clickhouse.do(f"OPTIMIZE TABLE {table} FINAL")
    return queries_of(clickhouse, monkeypatch)


ASKING: dict[str, Callable[[ClickHouseSpans, ClickHouseTraces], object]] = {
    "a trace": lambda spans, _: spans.trace("p", ONE),
    "a part of a trace": lambda _, traces: traces.part("p", ONE, 100),
    "the spans of a call": lambda _, traces: traces.of_calls("p", [f"{ONE}-{0:016}"]),
    "spans that come": lambda spans, _: spans.append([replace(span(0), trace_id=ONE)] * 2),
    "calls of spans": lambda spans, _: (
        spans.append([replace(span(1), trace_id=ONE)]),
        spans.derive(9, RULE),
    ),
    "a user's spans": lambda spans, _: list(spans.delete("p", {"user": "u77"})),
}


def test_a_few_granules_are_read(
    clickhouse: ClickHouse,
    spans: ClickHouseSpans,
    traces: ClickHouseTraces,
    asked: list[tuple[str, Any]],
) -> None:
    """Of each table; of a user's spans those of the skipping index, which is wrong now and then."""
    for name, ask in ASKING.items():
        asked.clear()
        assert ask(spans, traces), name
        looked = [query for query in asked if _READ.search(query[0])]
        assert looked, name
        for query in looked:
            rows = clickhouse.rows(f"EXPLAIN indexes=1 {query[0]}", query[1])
            plan = "\n".join(row["explain"] for row in rows)
            assert max(_left_of_each(plan), default=0) <= 16, f"{name}: {query[0]}\n{plan}"


def _left_of_each(plan: str) -> list[int]:
    """How many granules of each table are left by all of its indexes."""
    tables = plan.split("ReadFromMergeTree")[1:]
    return [int(found[-1]) for each in tables if (found := _GRANULES.findall(each))]
