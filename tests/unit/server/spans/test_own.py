"""What our own clients export, read by our own backend: the call that the record would have been."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from banyan_hp.destinations import otlp_json
from banyan_hp.destinations.spans import spans_of
from banyan_hp.server.api.shapes import call_of_banyan
from banyan_hp.server.deriving import rule_of
from banyan_hp.server.nesting import MAX_DEPTH
from banyan_hp.server.otlp import json_reader
from banyan_hp.server.prices import bundled
from banyan_hp.server.spans.arriving import stored_span
from banyan_hp.server.spans.attributes import parsed
from banyan_hp.server.store.calls import Call
from banyan_hp.server.store.spans import Neighbourhood

RULE = rule_of(bundled())
TIME = datetime(2026, 9, 21, 14, 13, 20, 500000, tzinfo=UTC)
STEPS = [
    {
        "id": 1,
        "type": "llm",
        "llm_model": "gpt-4o-mini",
        "input_tokens": 60,
        "output_tokens": 15,
        "token": 75,
        "response_time": 0.5,
    },
    {"id": 2, "type": "tool", "token": 0, "response_time": 0.1},
]
PLAIN: dict[str, Any] = {
    "session_id": "s",
    "user_id": "u",
    "input_tokens": 100,
    "output_tokens": 20,
    "k": "v",
}
METADATA: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "with steps that have some of its tokens": {**PLAIN, "step_data": STEPS},
    "with steps that have all of them": {
        **PLAIN,
        "input_tokens": 60,
        "output_tokens": 15,
        "step_data": STEPS,
    },
    "with a cost of its own": {**PLAIN, "cost": 0.5},
    "failed": {"error": "broken", "user_id": "u"},
}
COLUMNS = (
    *("id", "day", "event_time", "session", "user", "prompt_id", "prompt_name", "version", "branch", "model"),
    *("latency_ms", "input_tokens", "output_tokens", "error", "experiment_id", "experiment_version_id"),
    *("sticky_key", "sticky_value"),
)


def exported(body: dict[str, Any]) -> Call:
    sent = otlp_json.traces(
        {"service.name": "demo"},
        {"name": "banyan_hp"},
        spans_of("id-1", TIME.timestamp(), body, content=True),
    )
    spans = [stored_span("p", span, 1) for span in json_reader.spans_of(json.loads(sent))]
    (only,) = RULE(Neighbourhood("p", spans))
    assert len(only.spans) == len(spans)
    return only.call


@pytest.mark.parametrize("name", METADATA)
def test_a_record_by_otlp_is_the_call_that_it_is_without(name: str) -> None:
    """The same id, time, tokens and columns: its steps' tokens, which are on spans of their own, are its."""
    own = {
        "experiment_id": "tone",
        "experiment_version_id": "a",
        "sticky_key": "user_id",
        "sticky_value": "u",
    }
    about = {
        "prompt_id": "i",
        "prompt_name": "email",
        "version": "3",
        "branch_name": "main",
        "model": "gpt-4o-mini",
    }
    body = {"input": "q", "output": "a", "duration_ms": 1500, "metadata": METADATA[name], **about, **own}
    native = call_of_banyan("p", "id-1", TIME, body, bundled())
    found = exported(body)
    for column in COLUMNS:
        assert getattr(found, column) == getattr(native, column), column
    if "steps" not in name:
        assert found.cost == pytest.approx(native.cost)
    assert (found.body["input"], found.body["output"]) == ([{"role": "user", "content": "q"}], "a")
    assert found.body["metadata"].get("k") == METADATA[name].get("k")


def test_the_rate_of_a_sampled_record_is_where_the_records_own_is() -> None:
    """And no other mark is taken for one."""
    marks: list[object] = [{"sample_rate": 0.25}, {"sample_rate": "much"}, {"kind": "x", "sample_rate": 1}, 7]
    for mark in marks:
        body = {"input": "q", "output": "a", "metadata": {"banyan_hp": mark}}
        assert exported(body).body["metadata"]["banyan_hp"] == mark


def test_steps_are_shown_with_their_own_tokens() -> None:
    """And are no calls."""
    body = {"input": "q", "output": "a", "metadata": METADATA["with steps that have all of them"]}
    shown = exported(body).body["metadata"]["steps"]
    assert [(each.get("input_tokens"), each["duration_ms"]) for each in shown] in (
        [(60, 500.0), (None, 100.0)],
        [(None, 100.0), (60, 500.0)],
    )


def test_what_is_nested_too_deep_stays_a_text() -> None:
    """It becomes part of a call's body, and that must be read again, however deep its reader is."""
    deep = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)
    assert parsed(deep) == deep
    assert parsed(deep[1:-1]) != deep[1:-1]
    assert len(parsed(json.dumps(["[" * 500, *([] for _ in range(500))]))) == 501
