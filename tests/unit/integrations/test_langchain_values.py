"""What LangChain's values say, by their shape: without LangChain."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from banyan_hp.integrations import langchain_values as values


def message(kind: str, content: Any, **more: Any) -> Any:
    return SimpleNamespace(type=kind, content=content, response_metadata={}, tool_calls=[], **more)


HI = {"role": "user", "content": "hi"}
TOOL = {"role": "tool", "content": "x", "tool_call_id": "c"}
USED = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


@pytest.mark.parametrize(
    ("given", "question"),
    [
        ("hi", "hi"),
        ({"question": "hi"}, "hi"),
        ({"question": "hi", "k": 3}, {"question": "hi", "k": 3}),
        ([("ai", "be"), ("human", "hi")], [{"role": "assistant", "content": "be"}, HI]),
        ({"messages": [message("human", "hi")]}, [HI]),
        (message("ai", "so"), [{"role": "assistant", "content": "so"}]),
        ([{"type": "tool_call", "name": "t", "args": {"a": 1}}], '[tool call] t({"a": 1})'),
        ({"tool_call": {"type": "tool_call", "name": "t", "args": {}}, "state": {}}, "[tool call] t({})"),
        ({"a": message("tool", "x", tool_call_id="c")}, {"a": TOOL}),
        (None, None),
        ([], []),
    ],
)  # fmt: skip
def test_a_question_is_a_text_messages_or_the_values(given: Any, question: Any) -> None:
    """Of messages role, content and what belongs to tools."""
    assert values.question_of(given) == question


@pytest.mark.parametrize(
    ("returned", "answer"),
    [
        ("so", "so"),
        (None, None),
        (message("ai", "so"), "so"),
        ({"messages": [message("human", "hi"), message("ai", "so")]}, "so"),
        ({"answer": "so", "sources": []}, "so"),
        ({"a": 1}, '{"a": 1}'),
        ([message("tool", "x")], "x"),
        ({"messages": [("ai", "so")]}, "so"),
        (7, "7"),
    ],
)
def test_an_answer_is_text(returned: Any, answer: str | None) -> None:
    """A graph's is its last message."""
    assert values.answer_of(returned) == answer


def result(*choices: Any, **counted: Any) -> Any:
    return SimpleNamespace(generations=[list(choices)], llm_output=counted)


def test_several_answers_are_numbered_and_their_tokens_count_once() -> None:
    """Each message may say what all of them took."""
    choices = [SimpleNamespace(message=message("ai", word, usage_metadata=None)) for word in ("a", "b")]
    reading = values.reading_of(result(*choices, token_usage=USED, model_name="m"))
    assert reading.text == "[choice 1] a\n\n[choice 2] b"
    assert (reading.model, reading.usage.total) == ("m", 5)


def test_texts_have_their_tokens_beside_them() -> None:
    """Those of models that are no chat models; none is fine, too."""
    text = SimpleNamespace(text="so", generation_info={"finish_reason": "length", "model_name": "m"})
    reading = values.reading_of(result(text, token_usage=USED))
    assert (reading.text, reading.model, reading.finish_reason) == ("so", "m", "length")
    assert values.reading_of(result(text)).usage.total is None
    assert values.reading_of(SimpleNamespace(generations=[], llm_output=None)).text == ""
    assert values.reading_of(None).text == ""


def test_what_is_langchain_s_own_is_left_out() -> None:
    """Of metadata and of tags."""
    metadata = {"ls_provider": "p", "langgraph_step": 1, "checkpoint_ns": "", "prompt_data": 1, "mine": 2}
    assert values.own_metadata(metadata) == {"mine": 2}
    assert values.own_tags(["seq:step:1", "langsmith:hidden", "mine"]) == ["mine"]


def test_only_langgraph_s_own_errors_are_control_flow() -> None:
    """By the module of the class."""
    inner = type("GraphInterrupt", (Exception,), {"__module__": "langgraph.errors"})
    assert values.is_interrupt(inner())
    assert not values.is_interrupt(type("GraphInterrupt", (Exception,), {})())
