"""Reading providers' responses and streams by their shape."""

from __future__ import annotations

import ast
import json
import sys
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banyan_hp import tracking
from banyan_hp.tracking.reading.chunks import Chunks
from banyan_hp.tracking.reading.fields import as_text
from banyan_hp.tracking.reading.pieces import CUT, MOST_CHARACTERS
from banyan_hp.tracking.reading.responses import Reading, question_in, question_text, read_response
from banyan_hp.tracking.reading.usage import NO_USAGE, Usage
from tests.support import recorded


def objects(value: Any) -> Any:
    """The same body as objects with attributes, as the providers' packages make them."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: objects(item) for name, item in value.items()})
    return [objects(item) for item in value] if isinstance(value, list) else value


def snake(value: Any) -> Any:
    """The same body with the names that Google's package has."""
    if isinstance(value, list):
        return [snake(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {
        "".join(f"_{c.lower()}" if c.isupper() else c for c in name): item for name, item in value.items()
    }
    return {name: snake(item) for name, item in renamed.items()}


TOOL = '[tool call] get_weather({"city": "Paris"})'
SHAPES: list[tuple[Any, Reading]] = [
    (recorded.CHAT, Reading("Hello! How can I help?", "gpt-4.1-2025", Usage(19, 10, 29, 8, None, 4), "stop")),
    (recorded.CHAT_TOOLS, Reading(TOOL, "gpt-4.1-2025", Usage(19, 10, 29, 8, None, 4), "tool_calls")),
    (
        recorded.CHAT_TWO,
        Reading(
            "[choice 1] Heads.\n\n[choice 2] Tails.", "gpt-4.1-2025", Usage(19, 10, 29, 8, None, 4), "stop"
        ),
    ),
    (
        recorded.RESPONSE,
        Reading("Under a blanket of stars.", "gpt-4.1-2025", Usage(36, 87, 123, 3, None, 64), "completed"),
    ),
    (recorded.RESPONSE_TOOLS, Reading(TOOL, "gpt-4.1-2025", Usage(36, 87, 123, 3, None, 64), "completed")),
    (
        recorded.MESSAGE,
        Reading("Hello, I'm Claude.", "claude-sonnet-4-5", Usage(117, 6, None, 100, 5), "end_turn"),
    ),
    (
        recorded.GOOGLE,
        Reading("Because of scattering.", "gemini-2.5-flash", Usage(9, 50, 59, 2, None, 30), "STOP"),
    ),
    (recorded.GOOGLE_TOOLS, Reading(TOOL, "gemini-2.5-flash", Usage(9, 5, 14), "STOP")),
    (recorded.MISTRAL, Reading("Bonjour", "mistral-large-latest", Usage(16, 34, 50), "stop")),
    (
        recorded.LANGCHAIN,
        Reading("Hello! How can I help?", "gpt-4.1-2025", Usage(19, 10, 29, 8, None, 4), "stop"),
    ),
    (
        recorded.LANGCHAIN_WITHOUT_USAGE,
        Reading("Hello! How can I help?", "gpt-4.1-2025", Usage(19, 10, 29, 8, None, 4), "stop"),
    ),
    (
        recorded.LANGCHAIN_BLOCKS,
        Reading("Under a blanket of stars.", "gpt-4.1-2025", Usage(36, 87, 123), "completed"),
    ),
]


@pytest.mark.parametrize("kind", ["dict", "objects"])
@pytest.mark.parametrize(("body", "expected"), SHAPES)
def test_each_provider_s_shape_is_read(body: Any, expected: Reading, kind: str) -> None:
    """Text, model, tokens and the reason of the end, of dicts and of objects."""
    if kind == "objects":
        body = objects(snake(body) if "candidates" in body else body)
        if expected.text == TOOL and "gemini" in str(expected.model):
            body.candidates[0].content.parts[0].function_call.args = {"city": "Paris"}  # a dict there, too
    assert read_response(body) == expected


def test_text_comes_before_tool_calls() -> None:
    """Both are kept, the calls as lines."""
    assert read_response(recorded.MESSAGE_TOOLS).text == f"Let me look.\n{TOOL}"


def test_a_tool_call_that_a_message_lists_twice_is_read_once() -> None:
    """LangChain's messages of Anthropic's models have it in the content and beside it."""
    usage = Usage(117, 6, 123, 100, 5)
    expected = Reading(f"Let me look.\n{TOOL}", "claude-sonnet-4-5", usage, "tool_use")
    assert read_response(recorded.LANGCHAIN_TOOLS) == expected
    lone = recorded.framework_message([{"name": "f", "input": {}, "type": "tool_use"}], {}, None)
    assert read_response(lone).text == "[tool call] f({})"


def test_a_message_s_refusal_is_its_text() -> None:
    """LangChain keeps it beside the empty content."""
    message = recorded.framework_message("", {}, None, additional_kwargs={"refusal": "No."})
    assert read_response(message).text == "No."


def test_totals_are_told_or_summed() -> None:
    """Anthropic tells no total: it is all that went in, cached tokens included, and all that came out."""
    assert read_response(recorded.MESSAGE).usage.total == 123
    assert read_response(recorded.GOOGLE).usage.total == 59
    assert NO_USAGE.total is None


def test_a_refusal_and_a_transcript_are_text() -> None:
    """What stands in for content is read where there is none."""
    assert read_response(recorded.chat(recorded.choice(None, refusal="No."))).text == "No."
    assert read_response(recorded.chat(recorded.choice(None, audio={"transcript": "Hi."}))).text == "Hi."


def test_an_enum_is_its_value() -> None:
    """Google's package has an enum for the reason."""

    class Finish(str, Enum):
        STOP = "STOP"

    body = {
        **recorded.GOOGLE,
        "candidates": [{**recorded.GOOGLE["candidates"][0], "finishReason": Finish.STOP}],
    }
    assert read_response(body).finish_reason == "STOP"


class Lying:
    """Every attribute raises."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name) if name.startswith("__") else RuntimeError(name)

    def __str__(self) -> str:
        raise RuntimeError("no text either")


class Plain:
    def __str__(self) -> str:
        return "plain"


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ("text", "text"),
        (None, None),
        (Plain(), "plain"),
        (Lying(), "<Lying>"),
        (42, "42"),
        ({"answer": 42}, {"answer": 42}),
        (["a", "b"], ["a", "b"]),
        ({"choices": "many", "usage": 3}, {"choices": "many", "usage": 3}),
        ({"choices": [1, None, "x"]}, {"choices": [1, None, "x"]}),
        ({"content": [], "type": "note"}, {"content": [], "type": "note"}),
        ({"output": "x", "object": "response"}, {"output": "x", "object": "response"}),
        ({"candidates": []}, {"candidates": []}),
    ],
)
def test_what_is_no_provider_s_is_taken_as_it_is(response: Any, text: Any) -> None:
    """Text by `str`, dicts and lists as they are, no tokens, no error."""
    assert read_response(response) == Reading(text)


def test_a_mock_is_no_provider_s() -> None:
    """A mock has every attribute, and none of the right type."""
    reading = read_response(MagicMock())
    assert reading.text.startswith("<MagicMock")
    assert reading == Reading(reading.text)


def test_wrong_types_inside_are_left_out() -> None:
    """Token counts that are no counts, texts that are no texts."""
    body = recorded.chat(
        recorded.choice("fine"), model=7, usage={"prompt_tokens": -1, "completion_tokens": True}
    )
    assert read_response(body) == Reading("fine", None, NO_USAGE, "stop")


def test_cyclic_arguments_are_no_error() -> None:
    """A tool call whose arguments contain themselves says so."""
    cyclic: dict[str, Any] = {}
    cyclic["self"] = cyclic
    block = {"type": "tool_use", "name": "f", "input": cyclic}
    assert (
        read_response({**recorded.MESSAGE, "content": [block]}).text == '[tool call] f({"self": "<cycle>"})'
    )


FIELDS = [
    *("choices", "message", "content", "type", "output", "object", "usage", "candidates", "parts", "delta"),
    *("text", "index", "tool_calls", "function", "name", "arguments", "input_tokens", "response", "data"),
]
WORDS = ["message", "response", "response.completed", "message_start", "chunk"]
json_values: st.SearchStrategy[Any] = st.deferred(
    lambda: (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=5)
        | st.lists(json_values, max_size=3)
        | st.dictionaries(st.sampled_from(FIELDS), json_values | st.sampled_from(WORDS), max_size=4)
    )
)


@settings(max_examples=150, deadline=None)
@given(json_values)
def test_no_shape_makes_it_raise(value: Any) -> None:
    """Whatever a response or a chunk is like, there is a reading with values of the right types."""
    chunks = Chunks()
    chunks.add(value)
    for reading in (read_response(value), read_response(objects(value)), chunks.reading()):
        assert reading.model is None or isinstance(reading.model, str)
        assert reading.usage.total is None or isinstance(reading.usage.total, int)


# -- streams -------------------------------------------------------------------------------------------------


def collected(chunks: list[Any]) -> Reading:
    together = Chunks()
    for chunk in chunks:
        together.add(chunk)
    return together.reading()


STREAMS: list[tuple[list[Any], Reading]] = [
    (
        recorded.LANGCHAIN_CHUNKS,
        Reading("Hello there!", "gpt-4.1-2025", Usage(19, 10, 29, 8, None, 4), "stop"),
    ),
    (
        recorded.LANGCHAIN_TOOL_CHUNKS,
        Reading(f"Let me look.\n{TOOL}", "claude-sonnet-4-5", Usage(117, 6, 123), "tool_use"),
    ),
    (
        [*recorded.CHAT_CHUNKS, recorded.CHAT_USAGE_CHUNK],
        Reading("Hello there!", "gpt-4.1-2025", Usage(19, 10, 29, 8, None, 4), "stop"),
    ),
    (recorded.CHAT_CHUNKS, Reading("Hello there!", "gpt-4.1-2025", NO_USAGE, "stop")),
    (recorded.CHAT_CHUNKS[:3], Reading("Hello there", "gpt-4.1-2025")),
    (recorded.CHAT_TOOL_CHUNKS, Reading(TOOL, "gpt-4.1-2025", NO_USAGE, "tool_calls")),
    (
        recorded.RESPONSE_EVENTS,
        Reading("Under a blanket of stars.", "gpt-4.1-2025", Usage(36, 87, 123, 3, None, 64), "completed"),
    ),
    (recorded.RESPONSE_EVENTS[:4], Reading("Under a blanket", "gpt-4.1-2025")),
    (
        recorded.MESSAGE_EVENTS,
        Reading("Hello!", "claude-sonnet-4-5", Usage(117, 15, None, 100, 5), "end_turn"),
    ),
    (
        recorded.MESSAGE_TOOL_EVENTS,
        Reading(f"Let me look.\n{TOOL}", "claude-sonnet-4-5", Usage(117, 15, None, 100, 5), "tool_use"),
    ),
    (
        [recorded.GOOGLE, recorded.GOOGLE],
        Reading("Because of scattering." * 2, "gemini-2.5-flash", Usage(9, 50, 59, 2, None, 30), "STOP"),
    ),
    (
        [{"data": each} for each in recorded.CHAT_CHUNKS],
        Reading("Hello there!", "gpt-4.1-2025", NO_USAGE, "stop"),
    ),
    (["Hel", "lo"], Reading("Hello")),
    ([Plain(), {"a": 1}], Reading('plain{"a": 1}')),
    ([], Reading(None)),
]


@pytest.mark.parametrize(("chunks", "expected"), STREAMS)
def test_streams_are_put_together(chunks: list[Any], expected: Reading) -> None:
    """By chunks that are dicts or objects, also where they end early."""
    assert collected(chunks) == expected
    if chunks and isinstance(chunks[0], dict) and "candidates" not in chunks[0]:
        assert collected([objects(chunk) if chunk != {"a": 1} else chunk for chunk in chunks]) == expected


def test_the_choices_of_a_stream_are_kept_apart() -> None:
    """`n=2`: chunks of both come mixed."""
    chunks = [
        {"choices": [{"index": index, "delta": {"content": text}}]}
        for index, text in ((0, "He"), (1, "Ta"), (0, "ads"), (1, "ils"))
    ]
    assert collected(chunks).text == "[choice 1] Heads\n\n[choice 2] Tails"


def test_a_stream_without_end_keeps_no_more_than_its_bound() -> None:
    """Beyond a million characters the rest is cut, with a marker."""
    together = Chunks()
    for _ in range(1_100):
        together.add("x" * 1_000)
    assert together.reading().text == "x" * MOST_CHARACTERS + CUT
    once = Chunks()
    once.add("x" * (MOST_CHARACTERS + 1))
    assert once.reading().text == "x" * MOST_CHARACTERS + CUT


def test_no_provider_is_imported() -> None:
    """Tracking knows responses by their shape: of other packages it imports none."""
    imported = set()
    for file in (Path(tracking.__file__).parent).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module).split(".")[0])
    assert imported <= sys.stdlib_module_names


# -- questions -----------------------------------------------------------------------------------------------

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {}}]},
    {"role": "tool", "content": "42"},
]


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("plain", "plain"),
        (MESSAGES, "Look"),
        ({"instructions": "Be brief.", "input": MESSAGES}, "Look"),
        ([{"role": "user", "parts": [{"text": "Google's"}]}], "Google's"),
        ([], "[]"),
        (None, ""),
        ({"q": 1}, '{"q":1}'),
    ],
)
def test_a_question_is_what_the_last_user_said(question: Any, text: str) -> None:
    """Of messages; anything else by its text."""
    assert as_text(question_text(question)) == text


def test_an_iterator_of_messages_is_left_alone() -> None:
    """It can be read only once, and not by us."""
    messages = iter(MESSAGES)
    assert question_in({"messages": messages}) is None
    assert len(list(messages)) == 3


def test_the_messages_are_those_of_the_call() -> None:
    """What an agent appends afterwards is no part of them; the system's part goes along."""
    messages = list(MESSAGES)
    asked = question_in({"messages": messages, "system": "Be brief."})
    messages.append({"role": "user", "content": "later"})
    assert asked == {"instructions": "Be brief.", "input": MESSAGES}


def test_text_of_anything() -> None:
    """JSON for containers, `str` for the rest."""
    number, stranger = json.loads(as_text({"a": [1, Plain()]}))["a"]
    assert number == 1
    assert stranger.startswith("<Plain: ")
    assert as_text(Lying()) == "<Lying>"
