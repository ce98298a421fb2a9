"""What was said in a call, in whatever shape its client logged it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan_hp.server.ui.conversation import gist, messages_of, said_in
from banyan_hp.server.ui.texts import MOST_SHOWN

ASKED = {"role": "user", "content": "Hi"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "messages", "parts", "tool_calls", "function", "text", "choices"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


def shown(value: object) -> list[tuple[str, str]]:
    return [
        (each.role, " | ".join(filter(None, (*part,)))) for each in messages_of(value) for part in each.parts
    ]


@pytest.mark.parametrize(
    "value",
    [
        [ASKED],
        ASKED,
        {"messages": [ASKED]},
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
        {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]},
        {"choices": [{"index": 0, "message": ASKED}]},
        {"candidates": [{"content": {"role": "user", "parts": [{"text": "Hi"}]}}]},
        [{"type": "human", "content": "Hi"}],
        json.dumps({"messages": [ASKED]}),
    ],
)
def test_each_shape_is_a_chat(value: object) -> None:
    assert shown(value) == [("user", "Hi")]


def test_tools_are_called_and_answer() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"id": 7}'}}
    anthropic = [{"type": "tool_use", "name": "find", "input": {"id": 7}}]
    value: list[Any] = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "assistant", "content": anthropic},
        {
            "role": "user",
            "content": [{"type": "tool_result", "content": [{"type": "text", "text": "found"}]}],
        },
        {"type": "function_call", "name": "find", "arguments": "{}"},
        {"type": "function_call_output", "output": "none"},
    ]
    assert shown(value) == [
        ("assistant", 'calls | find({"id": 7})'),
        ("assistant", 'calls | find({\n  "id": 7\n})'),
        ("user", "result | found"),
        ("assistant", "calls | find({})"),
        ("tool", "none"),
    ]


@pytest.mark.parametrize(
    "value", ["plain", "[not JSON", "[1, 2]", [], {}, {"role": "user"}, [ASKED, "x"], 7, None, "[" * 100_000]
)
def test_anything_else_is_a_text(value: object) -> None:
    assert not said_in(value).messages


@given(JSON)
def test_no_value_is_too_odd(value: object) -> None:
    said_in(value)
    gist(value)


def test_long_ones_are_cut_and_say_so() -> None:
    text = said_in("x" * 1_000_000)
    assert (len(text.text), text.characters, text.whole) == (MOST_SHOWN, 1_000_000, False)
    chat = said_in([{"role": "user", "content": "x" * 70_000}] * 3)
    assert [len(each.parts[0].text) for each in chat.messages] == [70_000, 30_000]
    assert not chat.whole
    last = said_in([ASKED] * 5, 2)
    assert (len(last.messages), last.left, last.whole) == (2, 3, True)


def test_a_list_shows_the_last_message() -> None:
    assert gist(json.dumps([{"role": "system", "content": "Be kind."}, ASKED])) == "Hi"
    assert gist("a\n b") == "a b"
