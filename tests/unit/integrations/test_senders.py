"""What real instrumentations sent, replayed through OpenTelemetry's SDK: each call is one record."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context

from banyan_hp import PromptStackLogger
from banyan_hp.integrations.opentelemetry import BanyanSpanProcessor
from banyan_hp.testing import capture
from tests.support.otlp import plain

SENDERS = Path(__file__).parents[2] / "fixtures" / "senders"


def spans_of(sender: str) -> list[tuple[str, dict[str, Any]]]:
    """All spans of a recording, each with the name of its scope."""
    (path,) = SENDERS.glob(f"{sender}-[0-9]*.json")
    return [
        (scope.get("scope", {}).get("name", ""), span)
        for request in json.loads(path.read_text())["requests"]
        if request["path"].endswith("/v1/traces")
        for resource in request["body"].get("resourceSpans", [])
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def replayed(sender: str) -> list[dict[str, Any]]:
    """The records that its spans become, started and ended in the order in which they were."""
    spans = spans_of(sender)
    moments = [(int(span["startTimeUnixNano"]), 0, number) for number, (_, span) in enumerate(spans)]
    moments += [(int(span["endTimeUnixNano"]), 1, -number) for number, (_, span) in enumerate(spans)]
    provider = TracerProvider(shutdown_on_exit=False)
    started: dict[str, Span] = {}
    with PromptStackLogger(enabled=False) as logger, capture() as records:
        provider.add_span_processor(BanyanSpanProcessor(logger))
        for at, ends, number in sorted(moments):
            scope, span = spans[abs(number)]
            if ends:
                _finish(started[span["spanId"]], span, at)
                continue
            around = started.get(span.get("parentSpanId", ""))
            context = set_span_in_context(around) if around is not None else None
            tracer = provider.get_tracer(scope)
            made = tracer.start_span(span["name"], context, start_time=at, attributes=_attributes(span))
            started[span["spanId"]] = made
    return records


def _attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: plain(each["value"]) for each in span.get("attributes", []) if each["value"]}


def _finish(made: Span, span: dict[str, Any], at: int) -> None:
    if span.get("status", {}).get("code") == 2:
        made.set_status(Status(StatusCode.ERROR, span["status"].get("message")))
    made.end(at)


CHAT, EMPTY, EMBEDDING, RESPONSES, CLAUDE = (31, 17), (None, None), (7, None), (33, 19), (135, 12)
CONVERSATION = {CHAT: 4, EMPTY: 3, EMBEDDING: 1}  # two errors and a stream without usage
WITH_RESPONSES = {**CONVERSATION, RESPONSES: 2}


@pytest.mark.parametrize(
    ("sender", "wanted"),
    [
        ("oai2-default", CONVERSATION),
        ("oai2-latest-span", CONVERSATION),
        ("genai-openai-span", WITH_RESPONSES),
        ("genai-anthropic-span", {CLAUDE: 5, EMPTY: 2}),
        ("genai-agents-span", {}),
        ("google-genai-latest-both", {CHAT: 3, EMPTY: 1}),
        ("oi-openai", WITH_RESPONSES),
        ("oi-anthropic", {CLAUDE: 5, EMPTY: 2}),
        ("oi-langchain", {CHAT: 4, EMPTY: 1}),
        ("oi-agents", {RESPONSES: 3, EMPTY: 1}),
        ("openllmetry-openai", WITH_RESPONSES),
        ("traceloop", {**WITH_RESPONSES, CLAUDE: 3, (135, 13): 2, EMPTY: 5}),  # it adds one up in streams
        ("traceloop-langchain", {CHAT: 4, EMPTY: 1}),
        ("langfuse", {**WITH_RESPONSES, CHAT: 5}),  # an agent called once more
        ("mlflow", {CHAT: 4, EMPTY: 4, RESPONSES: 2}),  # it counts no embeddings
        ("lmnr", {CHAT: 4, (7, 0): 1, RESPONSES: 2, CLAUDE: 5, EMPTY: 5}),
        ("logfire-agents", {RESPONSES: 3}),
        ("pydantic-ai", {CHAT: 4, EMPTY: 1}),
        ("smolagents", {CHAT: 2}),
        ("strands", {CHAT: 2, EMPTY: 1}),
    ],
)
def test_each_call_is_one_record_with_the_usage_that_was_reported(
    sender: str, wanted: dict[tuple[int | None, int | None], int]
) -> None:
    """Whichever spelling, and whatever agents, tools and SDKs around and inside have noted of it."""
    found = [each["metadata"] for each in replayed(sender)]
    assert Counter((each.get("input_tokens"), each.get("output_tokens")) for each in found) == wanted
