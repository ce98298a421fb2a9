"""Questions and answers as the GenAI conventions want them on a span: JSON text of messages made of parts.

    [{"role": "user", "parts": [{"type": "text", "content": "Why is the sky blue?"}]}]

A text that is itself JSON of chat messages, as our records carry lists of them, becomes those messages.
Pure, and total: what has another shape is one text of one message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..engine.records.encode import encode, encode_somehow, encode_text, text_of

_USER = '[{"role":"user","parts":[{"type":"text","content":'
_ASSISTANT = '[{"role":"assistant","parts":[{"type":"text","content":'
_TEXTS = frozenset({"text", "input_text", "output_text"})


def plain(value: object) -> str:
    """A frozen value as text: as it is, or its JSON."""
    if type(value) is str:
        return value
    if type(value) is dict:
        return encode_somehow(value).decode("utf-8", "replace")
    try:
        return text_of(value)
    except TypeError:
        return encode_somehow(value).decode("utf-8", "replace")


def input_messages(question: object) -> str:
    """What a model was given."""
    text = question if type(question) is str else plain(question)
    messages = _messages(text) if text[:1] == "[" else None
    if messages is not None:
        return _json(messages)
    return f"{_USER}{encode_text(text).decode()}}}]}}]"


def output_messages(answer: object, finish_reason: object = None) -> str:
    """What a model answered. The conventions want a `finish_reason`; an unknown one is left out."""
    reason = f',"finish_reason":{_json(finish_reason)}' if type(finish_reason) is str else ""
    text = answer if type(answer) is str else plain(answer)
    return f"{_ASSISTANT}{encode_text(text).decode()}}}]{reason}}}]"


def _json(value: object) -> str:
    return encode(value).decode("utf-8")


def _messages(text: str) -> list[dict[str, Any]] | None:
    """The messages in a text, or None if it is something else."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not given or not all(isinstance(each, dict) and isinstance(each.get("role"), str) for each in given):
        return None
    return [{"role": each["role"], "parts": _parts(each)} for each in given]


def _parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    if message["role"] == "tool":
        return [{"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content}]
    pieces = content if isinstance(content, list) else [] if content is None else [content]
    calls = message.get("tool_calls")
    return [*map(_part, pieces), *map(_call, calls if isinstance(calls, list) else [])]


def _part(piece: object) -> dict[str, Any]:
    """One piece of a message's content: text, a tool's call or result, or whatever else it says it is."""
    if not isinstance(piece, dict):
        return {"type": "text", "content": plain(piece)}
    kind = piece.get("type")
    if kind in _TEXTS:
        return {"type": "text", "content": plain(piece.get("text"))}
    if kind == "tool_use":
        return {
            "type": "tool_call",
            "id": piece.get("id"),
            "name": piece.get("name"),
            "arguments": piece.get("input"),
        }
    if kind == "tool_result":
        return {
            "type": "tool_call_response",
            "id": piece.get("tool_use_id"),
            "response": piece.get("content"),
        }
    return {**piece, "type": plain(kind)} if kind is not None else {"type": "json", "content": piece}


def _call(call: object) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(function, dict):
        return {"type": "tool_call", "arguments": call}
    named = {"id": call.get("id"), "name": function.get("name"), "arguments": function.get("arguments")}
    return {"type": "tool_call", **named}
