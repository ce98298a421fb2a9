"""What a client received, kept to be read later: bodies, events, encodings, tool calls and errors in them."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from banyan_hp.tracking.calls import Call, call_of
from banyan_hp.tracking.reading.chunks import DONE, Chunks
from banyan_hp.tracking.reading.received import (
    BROKEN_OFF,
    MOST_SEARCHED,
    Body,
    Copy,
    Encoded,
    decoded,
    events_in,
)
from banyan_hp.tracking.reading.responses import Reading, read_response
from tests.support import recorded


def sse(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def collected(*chunks: Any) -> Reading:
    together = Chunks()
    for chunk in chunks:
        together.add(chunk)
    return together.reading()


def delta(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}]}


# -- bodies --------------------------------------------------------------------------------------------------


def test_events_are_read_whatever_ends_their_lines() -> None:
    """By LF, CRLF or CR, over several lines, with comments; the last one also without its blank line."""
    content = b': hello\r\nevent: x\r\ndata: {"a":\r\ndata: 1}\r\n\r\n'
    content += b'data: nonsense\n\ndata:{"b": 2}\r\rdata: [DONE]'
    assert list(events_in(content)) == [{"a": 1}, {"b": 2}, DONE]


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("", bytes), ("gzip, identity", gzip.compress)],
)
def test_a_compressed_body_is_unpacked(encoding: str, encode: Any) -> None:
    """Also one that ends too soon, as far as it goes."""
    content = json.dumps(recorded.CHAT).encode()
    assert Body([encode(content)], encoding).read() == read_response(recorded.CHAT)
    assert content.startswith(decoded(encode(content)[:-12], encoding))


def test_an_unknown_encoding_is_not_read() -> None:
    """What can't be unpacked here has no text, and is no error."""
    assert Body([b"\x1b\x00"], "lzma", streamed=True).read() == Reading()


def test_a_body_in_zstd_is_read_by_the_package_that_the_client_has_loaded() -> None:
    """`httpx` asks for it where the package is installed."""
    zstandard = pytest.importorskip("zstandard")
    content = zstandard.ZstdCompressor().compress(sse(*recorded.MESSAGE_EVENTS))
    assert Body([content], "zstd", streamed=True).read().text == "Hello!"


def test_pieces_may_end_anywhere() -> None:
    """In the middle of a character, of an event, of a line's end."""
    content = sse(*recorded.CHAT_CHUNKS, delta(content=" ✓")).replace(b"\n", b"\r\n")
    whole = Body([content], streamed=True).read()
    for size in (1, 2, 3, 7):
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        assert Body(pieces, streamed=True).read() == whole
    assert whole.text == "Hello there! ✓"


def test_a_body_with_a_gap_tells_that_something_is_left_out() -> None:
    """Its end, with the tokens, is kept."""
    head, tail = sse(delta(content="Begin")), b'cut"}\n\n' + sse(recorded.CHAT_USAGE_CHUNK)
    reading = Body([head, tail], gap=1, streamed=True).read()
    assert (reading.text, reading.usage.total) == ("Begin… [cut]", 29)


def test_how_a_stream_ended() -> None:
    """Complete is complete, however it was left; what breaks off says so; an error is no breaking off."""
    complete = Body([sse(*recorded.MESSAGE_EVENTS)], streamed=True)
    assert [complete.ending(how) for how in (None, "closed early")] == [None, None]
    cut = Body([sse(*recorded.MESSAGE_EVENTS[:5])], streamed=True)
    assert [cut.ending(how) for how in (None, "closed early")] == [BROKEN_OFF, "closed early"]
    failed = Body(
        [sse({"type": "error", "error": {"type": "overloaded_error", "message": "!"}})], streamed=True
    )
    assert failed.ending(None) is None


# -- tool calls in pieces ------------------------------------------------------------------------------------


def call(ident: str | None, index: int | None, name: str | None, arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return delta(tool_calls=[{"id": ident, "index": index, "type": "function", "function": function}])


BOTH = '[tool call] f({"a": 1})\n[tool call] g({"b": 2})'


@pytest.mark.parametrize(
    "pieces",
    [
        [call("1", 0, "f", '{"a": 1}'), call("2", 0, "g", '{"b": 2}')],
        [call("1", None, "f", '{"a": 1}'), call("2", None, "g", '{"b": 2}')],
        [
            call("1", 0, "f", '{"a"'),
            call(None, 0, None, ": 1}"),
            call("2", 0, "g", '{"b"'),
            call("", 0, None, ": 2}"),
        ],
        [
            call("1", 0, "f", '{"a"'),
            call("2", 1, "g", '{"b"'),
            call(None, 0, None, ": 1}"),
            call(None, 1, None, ": 2}"),
        ],
        [
            call("1", 0, "f", '{"a"'),
            call("1", 0, "f", ": 1}"),
            call("2", 1, "g", '{"b"'),
            call("2", 1, "g", ": 2}"),
        ],
        [call(None, 0, "f", '{"a": 1}'), call(None, 0, "g", '{"b": 2}')],
        [call(None, None, "f", {"a": 1}), call(None, None, "g", {"b": 2})],
    ],
    ids=["index 0", "no index", "index 0, in pieces", "interleaved", "id repeated", "no ids", "whole values"],
)
def test_parallel_tool_calls_are_kept_apart(pieces: list[Any]) -> None:
    """A new id begins a new call, whatever index a gateway gives them."""
    assert collected(*pieces).text == BOTH


def test_pieces_of_old_and_other_kinds() -> None:
    """`function_call`, a refusal, a transcript, reasoning: as the whole answer has them."""
    old = [
        delta(function_call={"name": "f", "arguments": '{"a"'}),
        delta(function_call={"arguments": ": 1}"}),
    ]
    assert collected(*old).text == '[tool call] f({"a": 1})'
    assert collected(delta(refusal="N"), delta(refusal="o.")).text == "No."
    assert collected(delta(audio={"transcript": "Hi "}), delta(audio={"transcript": "you"})).text == "Hi you"
    assert collected(delta(reasoning_content="Hm."), delta(content="Yes.")).text == "Yes."


def test_the_finish_reason_is_that_of_the_first_choice() -> None:
    """As in the whole answer."""
    first = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "length"}]}
    second = {"choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"}]}
    assert collected(first, second).finish_reason == "length"


def test_tool_calls_without_a_name_are_told() -> None:
    """By their type, with what they are called with; whole and in events alike."""
    items = [
        {"type": "computer_call", "id": "1", "action": {"type": "click", "x": 1}},
        {"type": "shell_call", "id": "2", "action": {"commands": ["ls"]}},
        {"type": "apply_patch_call", "id": "3", "operation": {"type": "delete_file", "path": "a"}},
    ]
    lines = [
        '[tool call] computer({"type": "click", "x": 1})',
        '[tool call] shell({"commands": ["ls"]})',
        '[tool call] apply_patch({"path": "a", "type": "delete_file"})',
    ]
    whole = {**recorded.RESPONSE, "output": items}
    assert read_response(whole).text == "\n".join(lines)
    events = [{"type": "response.output_item.done", "item": item} for item in items]
    assert collected(*events).text == "\n".join(lines)


# -- answers without text ------------------------------------------------------------------------------------


def candidates(*candidates: Any, **more: Any) -> dict[str, Any]:
    usage = {"promptTokenCount": 9, "totalTokenCount": 9}
    return {"candidates": list(candidates), "usageMetadata": usage, "modelVersion": "g", **more}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (candidates({"finishReason": "SAFETY", "index": 0}), "SAFETY"),
        (candidates({"finishReason": "RECITATION", "content": {}}), "RECITATION"),
        (candidates({"finishReason": "MAX_TOKENS", "content": {"role": "model"}}), "MAX_TOKENS"),
        (candidates(promptFeedback={"blockReason": "PROHIBITED_CONTENT"}), "PROHIBITED_CONTENT"),
        ({"model": "g", "choices": [{"index": 0, "finish_reason": "content_filter"}]}, "content_filter"),
        ({"model": "g", "choices": [{"message": {"content": None}, "finish_reason": "length"}]}, "length"),
    ],
)
def test_an_answer_without_text_has_an_empty_one(answer: Any, reason: str) -> None:
    """With model and reason, streamed or whole; not the `repr` of an object."""
    for reading in (read_response(answer), collected(answer)):
        assert (reading.text, reading.model, reading.finish_reason) == ("", "g", reason)


def test_errors_in_good_answers_are_read() -> None:
    """In bodies and in events, in each API's words."""
    failed = {
        **recorded.RESPONSE,
        "status": "failed",
        "error": {"code": "server_error", "message": "It broke."},
    }
    assert read_response(failed).error == "server_error: It broke."
    assert collected({"type": "response.failed", "response": failed}).error_type == "server_error"
    assert collected({"type": "error", "code": "rate_limit", "message": "Slow."}).error == "rate_limit: Slow."
    chat = {"error": {"message": "Busy.", "type": "server_error", "code": 502}}
    assert collected(delta(content="Hi"), chat)[4:] == ("server_error: Busy.", "server_error")
    choice = {
        "message": {"content": ""},
        "finish_reason": "error",
        "error": {"code": 502, "message": "Gone."},
    }
    assert read_response({"choices": [choice]}).error == "502: Gone."


# -- which requests ------------------------------------------------------------------------------------------


class Options:
    def __init__(self, method: str, url: str, **qualifiers: str) -> None:
        self.method = method
        self.url = url
        self.qualifiers = qualifiers


@pytest.mark.parametrize(
    ("provider", "options", "call"),
    [
        ("openai", Options("post", "/chat/completions"), Call("openai.chat.completions")),
        ("openai", Options("POST", "https://host/v1/chat/completions"), Call("openai.chat.completions")),
        ("openai", Options("post", "/deployments/d/chat/completions?v=1"), Call("openai.chat.completions")),
        ("openai", Options("post", "/completions"), Call("openai.completions")),
        ("openai", Options("post", "/responses"), Call("openai.responses")),
        ("openai", Options("post", "/responses?beta=true"), Call("openai.beta.responses")),
        ("openai", Options("get", "/responses/r1"), Call("openai.responses", "r1")),
        ("openai", Options("post", "/responses/r1/cancel"), Call("openai.responses", "r1")),
        ("openai", Options("get", "/chat/completions"), None),
        ("openai", Options("post", "/chat/completions/c1"), None),
        ("openai", Options("post", "/responses/compact"), None),
        ("openai", Options("post", "/responses/input_tokens"), None),
        ("openai", Options("get", "/responses/r1/input_items"), None),
        ("openai", Options("post", "/threads/t1/messages"), None),
        ("openai", Options("post", "/embeddings"), Call("openai.embeddings", media=True)),
        ("openai", Options("post", "/images/edits"), Call("openai.images.edit", media=True)),
        ("openai", Options("post", "/audio/speech"), Call("openai.audio.speech", media=True)),
        ("openai", Options("post", "/videos"), None),
        ("openai", Options("post", "/moderations"), None),
        ("openai", Options("post", "/messages"), None),
        ("anthropic", Options("post", "/v1/messages"), Call("anthropic.messages")),
        ("anthropic", Options("post", "/v1/messages?beta=true"), Call("anthropic.beta.messages")),
        ("anthropic", Options("post", "/v1/messages", beta="true"), Call("anthropic.beta.messages")),
        ("anthropic", Options("post", "/v1/messages/count_tokens"), None),
        ("anthropic", Options("post", "/v1/messages/batches"), None),
    ],
)
def test_which_requests_are_recorded(provider: str, options: Options, call: Call | None) -> None:
    """Those by which a model answers, by what they are called."""
    assert call_of(provider, options) == call


# -- whether it may be an error's ----------------------------------------------------------------------------

TELLING: list[Any] = [
    {"error": {"message": "no"}},
    {"choices": [{"error": {"code": 429, "message": "no"}}]},
    {"steps": [], "errors": [{"message": "no"}]},
    {"type": "error", "message": "no"},
    {"event_type": "error"},
]
CALM: list[Any] = [
    {"error": None, "errors": [], "output": []},
    {"content": 'the field "error": "x" within a text', "error_rate": 0.5},
]


@pytest.mark.parametrize("spaced", [True, False])
@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize(
    ("value", "telling"), [(each, True) for each in TELLING] + [(each, False) for each in CALM]
)
def test_a_search_tells_whether_a_response_may_be_an_errors(
    value: Any, telling: bool, encoding: str, spaced: bool
) -> None:
    """Of JSON, of events, of an SDK's object; what is certain once it was read is no question any more."""
    text = json.dumps(value, separators=(", ", ": ") if spaced else (",", ":"))
    for content in (text.encode(), b"event: x\ndata: " + text.encode() + b"\n\n"):
        packed = gzip.compress(content) if encoding else content
        body = Body([packed[:7], packed[7:]], encoding)
        assert body.may_have_failed() is telling
        assert Encoded(text).may_have_failed() is telling
        known = body.read().error is not None
        assert body.may_have_failed() is known
        assert telling or not known


def test_a_copy_is_read_for_that() -> None:
    """It is no text that could be searched."""
    assert Copy({"steps": [{"type": "model_output"}], "errors": [{"message": "no"}]}).may_have_failed()
    assert not Copy(recorded.CHAT).may_have_failed()


@pytest.mark.parametrize(("size", "encoding"), [(MOST_SEARCHED + 1, ""), (MOST_SEARCHED, "gzip")])
def test_what_is_large_is_not_searched(size: int, encoding: str) -> None:
    """A caller would wait for it."""
    assert Body([b"x" * size], encoding).may_have_failed()
