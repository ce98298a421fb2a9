"""Records as spans, as opentelemetry-proto reads them: of both encodings, which must be the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banyan_hp.destinations import otlp_json, protobuf
from banyan_hp.destinations.otlp import SCOPE
from banyan_hp.destinations.spans import span_count, spans_of
from banyan_hp.engine.records.encode import encode
from banyan_hp.engine.records.freeze import freeze
from tests.support.otlp import attributes, parsed_body, spans_in

TIME = 1_767_225_600.25
RESOURCE = {"service.name": "web"}
AROUND = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}


def sent(body: dict[str, Any], *, ident: str = "r1", content: bool = True) -> list[dict[str, Any]]:
    """The spans that arrive; the same by JSON and by protobuf, from values and from JSON on disk."""
    frozen = freeze(body).value
    made = spans_of(ident, TIME, frozen, content=content)
    assert made == spans_of(ident, TIME, json.loads(encode(frozen)), content=content)
    assert span_count(frozen) == len(made)
    as_json = parsed_body("/v1/traces", "application/json", otlp_json.traces(RESOURCE, SCOPE, made))
    as_protobuf = parsed_body("/v1/traces", protobuf.TYPE, protobuf.traces(RESOURCE, SCOPE, made))
    assert as_json == as_protobuf
    return spans_in(as_json)


def messages(span: dict[str, Any], name: str) -> Any:
    return json.loads(attributes(span)[name])


BANYAN: dict[str, Any] = {
    "input": "why?",
    "output": "so",
    "model": "gpt-4o",
    "duration_ms": 1500,
    "prompt_name": "greeting",
    "version": "2.0",
    "experiment_id": "e1",
    "sticky_value": "u1",
    "metadata": {
        "input_tokens": 31,
        "output_tokens": 17,
        "cached_tokens": 16,
        "reasoning_tokens": 9,
        "finish_reason": "stop",
        "time_to_first_chunk_ms": 250.5,
        "session_id": "s1",
        "user_id": 7,
        "api": "openai.chat.completions",
        "plan": {"tier": "pro"},
    },
}


def test_a_record_is_a_span_by_the_conventions() -> None:
    """Times, model, provider, tokens, session; what has no attribute is JSON in the metadata."""
    (span,) = sent(BANYAN)
    assert (span["name"], span["kind"]) == ("chat gpt-4o", "SPAN_KIND_CLIENT")
    assert span["startTimeUnixNano"] == "1767225598750000000"
    assert span["endTimeUnixNano"] == "1767225600250000000"
    assert "parentSpanId" not in span
    assert "status" not in span
    found = attributes(span)
    assert json.loads(found.pop("banyan.metadata")) == {
        "api": "openai.chat.completions",
        "plan": {"tier": "pro"},
    }
    assert messages(span, "gen_ai.input.messages") == [
        {"role": "user", "parts": [{"type": "text", "content": "why?"}]}
    ]
    assert messages(span, "gen_ai.output.messages") == [
        {"role": "assistant", "parts": [{"type": "text", "content": "so"}], "finish_reason": "stop"}
    ]
    for name in ("gen_ai.input.messages", "gen_ai.output.messages"):
        del found[name]
    assert found == {
        "banyan.record.id": "r1",
        "banyan.record.kind": "record",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.provider.name": "openai",
        "gen_ai.usage.input_tokens": 31,
        "gen_ai.usage.output_tokens": 17,
        "gen_ai.usage.cache_read.input_tokens": 16,
        "gen_ai.usage.reasoning.output_tokens": 9,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.2505,
        "gen_ai.request.stream": True,
        "session.id": "s1",
        "gen_ai.conversation.id": "s1",
        "user.id": "7",
        "gen_ai.prompt.name": "greeting",
        "banyan.prompt.version": "2.0",
        "banyan.experiment.id": "e1",
        "banyan.sticky.value": "u1",
    }


def test_parameters_and_provider_have_attributes() -> None:
    """Numbers of the type that the conventions want; the rest stays in the metadata. Embeddings are such."""
    parameters = {"temperature": 1, "max_completion_tokens": 50, "stop": ["END"], "seed": True}
    details = {"api": "openai.embeddings", "provider": "azure.ai.openai", "parameters": parameters}
    (span,) = sent({"input": "q", "output": "", "metadata": {**details, "operation": "embeddings"}})
    found = attributes(span)
    assert (found["gen_ai.request.temperature"], found["gen_ai.request.max_tokens"]) == (1.0, 50)
    assert "gen_ai.request.seed" not in found
    assert found["gen_ai.provider.name"] == "azure.ai.openai"
    assert (found["gen_ai.operation.name"], span["kind"]) == ("embeddings", "SPAN_KIND_CLIENT")
    assert json.loads(found["banyan.metadata"])["parameters"] == parameters


def test_ids_derive_from_the_records_id() -> None:
    """A repeat has the same ones, another record has others."""
    one, again, other = sent(BANYAN)[0], sent(BANYAN)[0], sent(BANYAN, ident="r2")[0]
    assert (one["traceId"], one["spanId"]) == (again["traceId"], again["spanId"])
    assert one["traceId"] != other["traceId"]
    assert one["spanId"] != other["spanId"]


def test_inside_a_span_it_is_its_child() -> None:
    """With a span id of its own."""
    (span,) = sent({**BANYAN, "metadata": {**BANYAN["metadata"], **AROUND}})
    assert {"trace_id": span["traceId"], "span_id": span["parentSpanId"]} == AROUND
    assert span["spanId"] == sent(BANYAN)[0]["spanId"]
    assert AROUND["trace_id"] not in json.dumps(attributes(span))


@pytest.mark.parametrize("own", [{"trace_id": "of mine"}, {"span_id": 7}, {**AROUND, "trace_id": "0" * 32}])
def test_ids_that_are_not_opentelemetrys_stay_in_the_metadata(own: dict[str, Any]) -> None:
    """An application may call its own things so."""
    (span,) = sent({**BANYAN, "metadata": own})
    assert "parentSpanId" not in span
    assert json.loads(str(attributes(span)["banyan.metadata"])) == own


def test_an_error_is_the_spans_status() -> None:
    """With the error's type as the conventions name it."""
    (span,) = sent({"input": "q", "output": "", "metadata": {"error": "no", "error_type": "ValueError"}})
    assert span["status"] == {"message": "no", "code": "STATUS_CODE_ERROR"}
    assert attributes(span)["error.type"] == "ValueError"


def test_without_content_no_question_and_no_answer_leaves() -> None:
    """Not of the steps, either."""
    body = {**BANYAN, "metadata": {"step_data": [{"id": 1, "type": "a", "user_question": "why?"}]}}
    for span in sent(body, content=False):
        assert not {"gen_ai.input.messages", "gen_ai.output.messages"} & set(attributes(span))
        assert "why?" not in json.dumps(span)


def test_messages_become_messages() -> None:
    """Also tools' calls and results, and content in pieces."""
    given = [
        {"role": "system", "content": "be kind"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": "x"}],
        },
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
    ]
    (span,) = sent({"input": json.dumps(given), "output": "a", "metadata": {}})
    assert messages(span, "gen_ai.input.messages") == [
        {"role": "system", "parts": [{"type": "text", "content": "be kind"}]},
        {
            "role": "user",
            "parts": [{"type": "text", "content": "hi"}, {"type": "image_url", "image_url": "x"}],
        },
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "f", "arguments": "{}"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "ok"}]},
    ]


def step(number: int, tokens: int, **more: Any) -> dict[str, Any]:
    fields = {"id": number, "type": f"t{number}", "user_question": "q", "prompt_response": "a"}
    return {**fields, "input_tokens": tokens, "output_tokens": 1, "response_time": 0.5, **more}


def test_steps_are_children_and_each_token_is_on_one_span() -> None:
    """A step's tokens are in its parent's and in the record's, too: they are subtracted there."""
    metadata = {
        "input_tokens": 30,
        "output_tokens": 2,
        "token_count": 32,
        "step_data": [step(1, 20, llm_model="m"), step(2, 15), step(3, 10)],
        "step_details": [
            {"id": 1, "start_ms": 100.0, "cached_tokens": 4},
            {"id": 2, "parent": 1, "start_ms": 200.0, "error": "late"},
            {"id": 3, "start_ms": 700.0, "note": "n"},
        ],
    }
    record, one, two, three = sent({"input": "q", "output": "a", "duration_ms": 2000, "metadata": metadata})
    tokens = [attributes(each).get("gen_ai.usage.input_tokens") for each in (record, one, two, three)]
    assert tokens == [None, 5, 15, 10]
    assert attributes(record)["gen_ai.operation.name"] == "invoke_workflow"
    assert [each["parentSpanId"] for each in (one, two, three)] == [
        record["spanId"],
        one["spanId"],
        record["spanId"],
    ]
    assert [each["name"] for each in (one, two, three)] == ["chat m", "chat", "chat"]
    assert int(two["startTimeUnixNano"]) - int(record["startTimeUnixNano"]) == 200_000_000
    assert int(two["endTimeUnixNano"]) - int(two["startTimeUnixNano"]) == 500_000_000
    assert two["status"]["message"] == "late"
    assert json.loads(attributes(three)["banyan.metadata"]) == {"note": "n"}
    assert [attributes(each)["banyan.step.number"] for each in (one, two, three)] == [1, 2, 3]


def test_a_record_keeps_the_tokens_that_its_steps_have_not_reported() -> None:
    """It then is a call of a model itself."""
    metadata = {"input_tokens": 30, "output_tokens": 2, "step_data": [step(1, 20)]}
    record, _ = sent({"input": "q", "output": "a", "metadata": metadata})
    assert attributes(record)["gen_ai.usage.input_tokens"] == 10
    assert attributes(record)["gen_ai.operation.name"] == "chat"


def test_huggingplaces_records_are_spans_likewise() -> None:
    """Their own fields have attributes, the others are JSON."""
    body = {
        "user_prompt": "q",
        "response": "a",
        "llm_model": "m",
        "token_count": 5,
        "response_time": 1.5,
        "session_id": "s",
        "user_id": "u",
        "org_id": "o",
        "mode": "prod",
        "file_name": "f.pdf",
        "step_data": [{"type": "t", "user_question": "x", "token": 3}],
    }
    record, inner = sent(body)
    found = attributes(record)
    assert found["gen_ai.request.model"] == "m"
    assert found["banyan.usage.total_tokens"] == 5
    assert (found["session.id"], found["user.id"], found["banyan.mode"]) == ("s", "u", "prod")
    assert json.loads(found["banyan.fields"]) == {"file_name": "f.pdf"}
    assert int(record["endTimeUnixNano"]) - int(record["startTimeUnixNano"]) == 1_500_000_000
    assert inner["name"] == "t"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": None, "output": 3, "metadata": [1]},
        {"input": "[{]", "output": "[", "metadata": {"step_data": {"a": 1}, "input_tokens": "many"}},
        {
            "input": '[{"role": 1}]',
            "output": "a",
            "model": {"a": 1},
            "duration_ms": "x",
        },
        {"input": '[{"role":"tool"},{"role":"u","content":7}]', "metadata": {"step_data": [{}, {"id": [1]}]}},
        {"input": "q", "metadata": {"input_tokens": 2**70, "user_id": None, "error": {"a": 1}}},
        {"user_prompt": "q", "response_time": -1.0, "step_data": [{"id": 1}, {"id": 1}], "metadata": "text"},
        {"input": "\ud800 q", "output": "\x00", "metadata": {"\ud800": "\udfff"}},
    ],
)
def test_odd_shapes_are_spans_too(body: dict[str, Any]) -> None:
    """A before_send may make anything of a record: it must not stop the others."""
    assert sent(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([*BANYAN, *BANYAN["metadata"], "user_prompt", "step_data", "step_details", "id"])


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(FIELDS, JSON | st.dictionaries(FIELDS, JSON)))
def test_whatever_a_record_holds_both_encodings_say_the_same(body: dict[str, Any]) -> None:
    """And the standard's own package reads both."""
    sent(body)
