"""Spans of OpenTelemetry's SDK as records, and stats as its metrics."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Status, StatusCode, Tracer

from banyan_hp import HuggingPlace, PromptStackLogger
from banyan_hp.integrations.opentelemetry import BanyanSpanProcessor, observe_stats
from banyan_hp.testing import capture

CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini-2024",
    "gen_ai.usage.input_tokens": 31,
    "gen_ai.usage.output_tokens": 17,
    "gen_ai.usage.cache_read.input_tokens": 16,
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.conversation.id": "s1",
    "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "why?"}]}]),
    "gen_ai.output.messages": json.dumps(
        [{"role": "assistant", "parts": [{"type": "text", "content": "so"}], "finish_reason": "stop"}]
    ),
}
OPENINFERENCE: dict[str, Any] = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "gpt-4o-mini",
    "llm.token_count.prompt": 31,
    "llm.token_count.completion": 17,
    "llm.token_count.prompt_details.cache_read": 16,
    "session.id": "s1",
    "input.value": '{"messages": []}',
    "llm.input_messages.0.message.role": "user",
    "llm.input_messages.0.message.content": "why?",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "so",
}
LANGFUSE: dict[str, Any] = {
    "langfuse.observation.type": "generation",
    "langfuse.observation.model.name": "gpt-4o-mini",
    "langfuse.observation.input": '[{"role": "user", "content": "why?"}]',
    "langfuse.observation.output": '{"role": "assistant", "content": "so"}',
}


@pytest.fixture
def logger() -> Iterator[PromptStackLogger]:
    with PromptStackLogger("psk_test", base_url="http://127.0.0.1:9", spool=False) as made:
        yield made


@pytest.fixture
def tracer(logger: PromptStackLogger) -> Tracer:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BanyanSpanProcessor(logger))
    return provider.get_tracer("some.instrumentation", "1.0")


def logged(tracer: Tracer, attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """What a span with these attributes becomes."""
    with capture() as captured, tracer.start_as_current_span("a span", attributes=attributes):
        pass
    return captured


def test_a_call_by_the_conventions_is_a_record(tracer: Tracer) -> None:
    """With question, answer, model, tokens and session."""
    (body,) = logged(tracer, CHAT)
    assert json.loads(body["input"]) == [{"role": "user", "content": "why?"}]
    assert (body["output"], body["model"]) == ("so", "gpt-4o-mini-2024")
    assert body["duration_ms"] >= 0
    metadata = body["metadata"]
    assert len(metadata.pop("trace_id")) == 32
    assert len(metadata.pop("span_id")) == 16
    assert metadata == {
        "input_tokens": 31,
        "output_tokens": 17,
        "cached_tokens": 16,
        "provider": "openai",
        "operation": "chat",
        "session_id": "s1",
        "finish_reason": "stop",
        "instrumentation": "some.instrumentation",
    }


def test_openinference_is_understood(tracer: Tracer) -> None:
    """Its numbered attributes are the messages."""
    (body,) = logged(tracer, OPENINFERENCE)
    assert json.loads(body["input"]) == [{"role": "user", "content": "why?"}]
    assert (body["output"], body["model"]) == ("so", "gpt-4o-mini")
    assert {name: body["metadata"][name] for name in ("input_tokens", "output_tokens", "cached_tokens")} == {
        "input_tokens": 31,
        "output_tokens": 17,
        "cached_tokens": 16,
    }


def test_langfuse_is_understood(tracer: Tracer) -> None:
    """Which has no attribute of the conventions."""
    (body,) = logged(tracer, LANGFUSE)
    assert body["model"] == "gpt-4o-mini"
    assert "so" in body["output"]


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"http.route": "/"},
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 62},
        {"gen_ai.operation.name": "execute_tool"},
        {"openinference.span.kind": "AGENT", "llm.token_count.prompt": 62},
    ],
)
def test_other_spans_are_no_records(tracer: Tracer, attributes: dict[str, Any]) -> None:
    """An agent's tokens are the sum of its calls."""
    assert logged(tracer, attributes) == []


def test_a_call_inside_an_open_call_counts_once(tracer: Tracer) -> None:
    """anthropic's SDK has spans of its own below any instrumentation's."""
    with capture() as captured:
        with (
            tracer.start_as_current_span("chat", attributes=CHAT),
            tracer.start_as_current_span("sdk") as own,
        ):
            own.set_attributes(CHAT)
        with tracer.start_as_current_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"}):
            tracer.start_span("chat", attributes=CHAT).end()
    assert len(captured) == 2


def test_a_span_that_is_named_a_call_at_its_end_repeats_the_one_inside(tracer: Tracer) -> None:
    """LlamaIndex's `LLM.predict`, which has no tokens. With tokens of its own it counts."""
    kind = {"openinference.span.kind": "LLM"}
    with capture() as captured:
        with tracer.start_as_current_span("predict") as around:
            tracer.start_span("chat", attributes=OPENINFERENCE).end()
            around.set_attributes({**kind, "output.value": "so"})
        tracer.start_span("complete", attributes=kind).end()
    assert [body["metadata"].get("input_tokens") for body in captured] == [31, None]


def test_messages_in_events_are_understood(tracer: Tracer) -> None:
    """strands', by both conventions; it names itself as the provider, which it is not."""
    call = {"gen_ai.operation.name": "chat", "gen_ai.system": "strands-agents"}
    details = "gen_ai.client.inference.operation.details"
    events = [
        [
            ("gen_ai.system.message", {"content": "Be brief."}),
            ("gen_ai.user.message", {"content": '[{"text": "why?"}]'}),
            ("gen_ai.choice", {"finish_reason": "end_turn", "message": '[{"text": "so"}]'}),
        ],
        [
            (details, {name: CHAT[name] for name in ("gen_ai.input.messages",)}),
            (details, {name: CHAT[name] for name in ("gen_ai.output.messages",)}),
        ],
    ]
    with capture() as captured:
        for each in events:
            with tracer.start_as_current_span("chat", attributes=call) as span:
                for name, attributes in each:
                    span.add_event(name, attributes)
    earlier, later = captured
    assert json.loads(earlier["input"])[-1] == {"role": "user", "content": "why?"}
    assert json.loads(earlier["input"])[0] == {"role": "system", "content": "Be brief."}
    assert json.loads(later["input"]) == [{"role": "user", "content": "why?"}]
    assert (earlier["output"], later["output"]) == ("so", "so")
    assert "provider" not in earlier["metadata"]


def test_a_text_that_is_there_twice_counts_once(tracer: Tracer) -> None:
    """OpenInference's instrumentation of OpenAI Agents writes a message as one text and in parts."""
    prefix = "llm.output_messages.0.message"
    parts = {f"{prefix}.role": "assistant", f"{prefix}.contents.0.message_content.text": "so"}
    (both,) = logged(tracer, {"openinference.span.kind": "LLM", **parts, f"{prefix}.content": "so"})
    (only,) = logged(tracer, {"openinference.span.kind": "LLM", **parts})
    assert (both["output"], only["output"]) == ("so", "so")


def test_a_whole_response_as_output_is_its_text(tracer: Tracer) -> None:
    """That of OpenAI Agents, streamed."""
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "so"}]}
    whole = json.dumps([{"object": "response", "model": "m", "output": [message]}])
    (body,) = logged(tracer, {"openinference.span.kind": "LLM", "output.value": whole})
    assert body["output"] == "so"


def test_a_failure_is_the_records(tracer: Tracer) -> None:
    """By status and exception, where there is no error type."""
    with capture() as captured, tracer.start_as_current_span("s", attributes=OPENINFERENCE) as span:
        span.record_exception(ValueError("no"))
        span.set_status(Status(StatusCode.ERROR, "ValueError: no"))
    metadata = captured[0]["metadata"]
    assert (metadata["error_type"], metadata["error"]) == ("ValueError", "ValueError: no")


def test_huggingplace_takes_them_as_well() -> None:
    """A span without content has words in place of it: the backend refuses empty ones."""
    with HuggingPlace("k", "o", base_url="http://127.0.0.1:9", spool=False) as client:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(BanyanSpanProcessor(client))
        tracer = provider.get_tracer("x")
        (body,) = logged(tracer, CHAT)
        assert (body["response"], body["llm_model"], body["session_id"]) == ("so", "gpt-4o-mini-2024", "s1")
        (empty,) = logged(tracer, {"gen_ai.operation.name": "embeddings"})
        assert (empty["user_prompt"], empty["response"]) == ("[empty]", "[empty]")


def test_nothing_reaches_the_application(tracer: Tracer, logger: PromptStackLogger) -> None:
    """Attributes of any shape, and a logger that has ended."""
    logged(tracer, {**CHAT, "gen_ai.input.messages": "[{", "gen_ai.response.finish_reasons": "stop"})
    logged(tracer, {**CHAT, "gen_ai.input.messages": "[1]", "gen_ai.output.messages": '[{"message": 3}]'})
    logger.shutdown(timeout=0)
    tracer.start_span("late", attributes=CHAT).end()


def test_stats_are_metrics() -> None:
    """Sums and gauges, as long as the logger is there."""
    reader = InMemoryMetricReader()
    logger = PromptStackLogger("psk_test", base_url="http://127.0.0.1:9", spool=False, max_retries=0)
    observe_stats(logger, MeterProvider([reader], shutdown_on_exit=False))
    logger.log_prompt("q", "a")
    values = _values(reader)
    assert values["banyan_hp.logs_queued"] == 1
    assert "banyan_hp.queue_size" in values
    assert "banyan_hp.last_success_age_s" not in values  # there was none
    logger.shutdown(timeout=0)
    del logger
    gc.collect()
    assert _values(reader) == {}


def _values(reader: InMemoryMetricReader) -> dict[str, float]:
    data = reader.get_metrics_data()
    found = {}
    for resource in data.resource_metrics if data is not None else []:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    found[metric.name] = getattr(point, "value", 0)
    return found
