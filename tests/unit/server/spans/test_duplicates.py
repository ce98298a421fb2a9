"""The rule by which a call counts once: inside one another, beside one another, and what can't be told."""

from __future__ import annotations

import random
from typing import Any

import pytest

from banyan_hp.server.deriving import rule_of
from banyan_hp.server.prices import bundled
from banyan_hp.server.store.calls import Call
from banyan_hp.server.store.spans import Neighbourhood, StoredSpan

RULE = rule_of(bundled())
HERE = {"service.name": "demo", "service.instance.id": "1"}
SECOND = 1_000_000


def span(
    name: str,
    start: float,
    end: float,
    scope: str = "s",
    *,
    trace: str = "a",
    parent: str | None = None,
    role: str = "call",
    resource: dict[str, Any] = HERE,
    **attributes: Any,
) -> StoredSpan:
    """A span between two times in seconds; attributes by short names."""
    names = {
        "model": "gen_ai.request.model",
        "tokens": "gen_ai.usage.input_tokens",
        "out": "gen_ai.usage.output_tokens",
        "asked": "gen_ai.input.messages",
        "said": "gen_ai.output.messages",
        "id": "gen_ai.response.id",
    }
    operation = {"call": "chat", "embedding": "embeddings", "tool": "execute_tool", "agent": "invoke_agent"}
    given = {names.get(key, key): value for key, value in attributes.items() if value is not None}
    return StoredSpan(
        project="p",
        trace_id=trace * 32,
        span_id=name.rjust(16, "0"),
        parent_id=parent.rjust(16, "0") if parent is not None else None,
        name=name,
        role=role,
        counted=role in ("call", "embedding"),
        scope=scope,
        start=int(start * SECOND),
        end=int(end * SECOND),
        status=2 if "failure" in attributes else 0,
        received_at=0,
        body={
            "attributes": {
                "gen_ai.operation.name": operation.get(role, "x"),
                "gen_ai.request.model": "m",
                **given,
            },
            "resource": resource,
            "message": attributes.get("failure", ""),
        },
    )


def calls(*spans: StoredSpan) -> list[Call]:
    """The calls, which any order of the spans gives."""
    found = [each.call for each in RULE(Neighbourhood("p", spans))]
    for seed in range(5):
        other = random.Random(seed).sample(spans, len(spans))
        assert [each.call for each in RULE(Neighbourhood("p", other))] == found
    return found


def tokens(*spans: StoredSpan) -> list[int | None]:
    return [each.input_tokens for each in calls(*spans)]


TOLD: dict[str, Any] = {"tokens": 31, "out": 17, "asked": "why?", "said": "because"}


def test_the_innermost_counts_and_the_others_lend_what_it_lacks() -> None:
    inner = span("2", 1, 2, "sdk", parent="1", tokens=135, out=12)
    outer = span("1", 0, 3, "instrumentation", tokens=135, out=13, asked="why?", said="because")
    (only,) = calls(outer, inner)
    assert (only.output_tokens, only.body["output"], only.latency_ms) == (12, "because", 1000)
    assert only.id.endswith("2")


def test_tokens_that_only_the_outer_one_knows_count() -> None:
    assert tokens(span("1", 0, 3, "a", tokens=31, out=17), span("2", 1, 2, "b", parent="1")) == [31]


def test_a_sum_around_several_calls_counts_nothing() -> None:
    inner = [span(str(number), number, number + 0.5, parent="1", tokens=31, out=1) for number in (2, 3)]
    assert tokens(span("1", 0, 9, "wrapper", tokens=62, out=2), *inner) == [31, 31]


def test_an_agents_sum_counts_nothing_even_alone() -> None:
    assert tokens(span("1", 0, 9, role="agent", tokens=62, out=2)) == []


def test_calls_that_a_tool_makes_are_others() -> None:
    """Also with the same tokens, as in a model that calls a tool that calls a model."""
    outer = span("1", 0, 9, "a", **TOLD)
    tool = span("2", 1, 8, "a", parent="1", role="tool")
    inner = span("3", 2, 7, "b", parent="2", **TOLD)
    assert tokens(outer, tool, inner) == [31, 31]


def test_embeddings_within_a_call_are_others() -> None:
    assert tokens(
        span("1", 0, 9, tokens=31, out=17), span("2", 1, 2, parent="1", role="embedding", tokens=7)
    ) == [
        31,
        7,
    ]


def test_a_model_behind_another_ones_span_is_another_call() -> None:
    """A guard within a call, where only the guard's client is instrumented."""
    outer = span("1", 0, 9, "a", model="gpt-4o", tokens=31, out=17)
    guard = span("2", 1, 2, "b", parent="1", model="llama-guard", tokens=500, out=1)
    assert tokens(outer, guard) == [31, 500]


@pytest.mark.parametrize("trace", ["a", "b"])
def test_two_instrumentations_beside_one_another_tell_of_one_call(trace: str) -> None:
    """In one trace or in two; the one within the other's time counts."""
    outer, inner = span("1", 0, 3, "langchain", **TOLD), span("2", 1, 2, "openai", trace=trace, **TOLD)
    (only,) = calls(outer, inner)
    assert only.body["metadata"]["also_told_by"] == [f"{'a' * 32}-{'1'.rjust(16, '0')}"]


def test_parallel_calls_that_are_alike_stay_as_many() -> None:
    """Which belongs to which can't be told, but how many there are can."""
    outer = [span(f"1{number}", 0.1 * number, 5 + 0.1 * number, "langchain", **TOLD) for number in range(6)]
    inner = [
        span(f"2{number}", 0.05 + 0.1 * number, 4.9 + 0.1 * number, "openai", trace="b", **TOLD)
        for number in range(6)
    ]
    assert tokens(*outer, *inner) == [31] * 6


def test_one_instrumentation_never_tells_twice() -> None:
    """Its parallel calls are several, however alike."""
    assert tokens(span("1", 0, 3, **TOLD), span("2", 1, 2, trace="b", **TOLD)) == [31, 31]


DIFFERENT: list[dict[str, Any]] = [
    {"tokens": 32},
    {"out": 18},
    {"said": "no idea"},
    {"asked": "how?"},
    {"model": "another"},
    {"failure": "broken"},
    {"resource": {"service.name": "demo", "service.instance.id": "2"}},
]


@pytest.mark.parametrize("difference", DIFFERENT, ids=lambda each: next(iter(each)))
def test_what_speaks_against_it_decides(difference: dict[str, Any]) -> None:
    """Tokens, texts, model, result, process."""
    found = calls(span("1", 0, 3, "a", **TOLD), span("2", 1, 2, "b", trace="b", **{**TOLD, **difference}))
    assert len(found) == 2
    assert not any("possible_duplicates" in each.body["metadata"] for each in found)


def test_another_time_is_another_call() -> None:
    assert tokens(span("1", 0, 2, "a", **TOLD), span("2", 1, 3, "b", trace="b", **TOLD)) == [31, 31]


def test_a_responses_id_decides_whatever_else_differs() -> None:
    """One sender adds up the output of a stream's events, and has 13 for 12."""
    outer = span("1", 0, 3, "a", tokens=135, out=13, id="msg_1")
    assert tokens(outer, span("2", 1, 2, "b", trace="b", tokens=135, out=12, id="msg_1")) == [135]
    assert tokens(outer, span("2", 1, 2, "b", trace="b", tokens=135, out=13, id="msg_2")) == [135, 135]


def test_without_texts_tokens_and_process_decide() -> None:
    """Content is off by default in most senders."""
    counts: dict[str, Any] = {"tokens": 31, "out": 17}
    outer = span("1", 0, 3, "a", **counts)
    assert tokens(outer, span("2", 1, 2, "b", trace="b", **counts)) == [31]
    elsewhere = calls(outer, span("2", 1, 2, "b", trace="b", resource={"service.name": "x"}, **counts))
    assert [each.body["metadata"]["possible_duplicates"] for each in elsewhere] == [
        [elsewhere[1].id],
        [elsewhere[0].id],
    ]


def test_what_cant_be_told_apart_is_shown_as_two_and_marked() -> None:
    """A stream without tokens, and without texts."""
    found = calls(span("1", 0, 3, "a", tokens=31, out=17), span("2", 1, 2, "b", trace="b"))
    assert [each.input_tokens for each in found] == [31, None]
    assert all(each.body["metadata"]["possible_duplicates"] for each in found)


def test_a_name_with_a_date_is_the_same_model() -> None:
    outer = span("1", 0, 3, "a", **{**TOLD, "model": "gpt-4o-mini"})
    for name, many in (
        ("gpt-4o-mini-2024-07-18", 1),
        ("openai/gpt-4o-mini", 1),
        ("gpt-4o", 2),
        ("gpt-4o-mini-audio", 2),
    ):
        assert len(calls(outer, span("2", 1, 2, "b", trace="b", **{**TOLD, "model": name}))) == many, name


def test_a_circle_of_parents_ends() -> None:
    assert tokens(span("1", 0, 3, parent="2", **TOLD), span("2", 0, 3, "b", parent="1", **TOLD)) == [31]
