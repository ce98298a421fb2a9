"""What was said to a model and what it said, out of all the forms in which senders write it.

A message is a role, its text, and the tools that it calls. Texts that a sender's limit has cut short are no
JSON any more, and are taken as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ... import semconv
from .attributes import Attributes, indexed, listed, mapping, parsed

MOST_NESTED = 20  # messages within messages
_ROLES = {
    "human": "user",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "model": "assistant",
    "tool-call": "assistant",
    "tool-response": "tool",
}
_MESSAGE = frozenset({"role", "parts", "content", "tool_calls"})
_HOLDERS = ("messages", "contents", "input", "output", "choices", "generations", "message", "raw_input")
_TEXTS = ("text", "content", "output", "result", "response")
_THOUGHTS = frozenset({"reasoning", "thinking", "redacted_thinking"})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that a model asks for."""

    name: str
    arguments: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """What one side said."""

    role: str
    text: str
    calls: tuple[ToolCall, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As chat APIs write it."""
        shown: dict[str, Any] = {"role": self.role, "content": self.text}
        if self.calls:
            shown["tool_calls"] = [
                {"id": each.id, "name": each.name, "arguments": each.arguments} for each in self.calls
            ]
        return shown

    def as_text(self) -> str:
        """The text, and tool calls as lines after it: the form in which our clients log an answer."""
        calls = [f"[tool call] {each.name}({each.arguments})" for each in self.calls]
        return "\n".join(filter(None, (self.text, *calls)))


def messages_in(value: object, role: str) -> list[Message]:
    """The messages of a value: a list of them, what holds one, JSON of either, or a mere text.

    Args:
        value: as a sender wrote it.
        role: of what says none.
    """
    return list(_messages(parsed(value), role, 0))


def system_in(value: object) -> list[Message]:
    """The system prompt that stands apart from messages."""
    said = _text_of(parsed(value), 0)
    return [Message("system", said)] if said else []


def _messages(value: Any, role: str, depth: int) -> Iterator[Message]:
    if depth > MOST_NESTED or value in (None, "", [], {}):
        return
    if isinstance(value, str):
        yield Message(role, value)
    elif isinstance(value, dict):
        yield from _of_object(value, role, depth)
    elif isinstance(value, list):
        yield from _of_list(value, role, depth)


_ASKING = frozenset({"system", "developer", "user", "tool"})
_SPEAKERS = frozenset({*_ROLES, "user", "system", "assistant"})


def _of_list(values: list[Any], role: str, depth: int) -> Iterator[Message]:
    if len(values) == 2 and all(isinstance(each, str) for each in values) and values[0] in _SPEAKERS:
        yield Message(_ROLES.get(values[0], values[0]), values[1])  # LangChain's short form
        return
    if values and all(isinstance(each, dict) and _is_part(each) for each in values):
        yield _said(values, role)
        return
    for each in values:
        yield from _messages(each, role, depth + 1)


def _of_object(value: dict[str, Any], role: str, depth: int) -> Iterator[Message]:
    if isinstance(inner := value.get("kwargs"), dict) and "lc" in value:  # a message as LangChain stores it
        yield from _of_object(inner, role, depth + 1)
        return
    if value.get("type") == "function_call_output":
        yield Message("tool", _text_of(value.get("output"), 0))
        return
    if _is_part(value):
        said = _said([value], role)
        yield Message("assistant", "", said.calls) if said.calls else said
        return
    speaker = _role_of(value, role)
    if value.keys() & _MESSAGE:
        yield _spoken(value, speaker)
        return
    if isinstance(instructions := value.get("instructions"), str):
        yield Message("system", instructions)
    for name in _HOLDERS:
        if value.get(name):
            yield from _messages(value[name], role, depth + 1)
            return


def _role_of(value: Mapping[str, Any], role: str) -> str:
    said = value.get("role") or value.get("type")
    if not isinstance(said, str) or (said == "message" and "role" not in value):
        return role
    return _ROLES.get(said, said)


def _spoken(value: Mapping[str, Any], role: str) -> Message:
    content = value.get("parts") if value.get("parts") else value.get("content")
    message = _said(content if isinstance(content, list) else [content], role)
    calls = tuple(_call(each) for each in listed(value.get("tool_calls")) if isinstance(each, dict))
    return Message(role, message.text, message.calls or calls)


def _said(parts: Iterable[Any], role: str) -> Message:
    texts: list[str] = []
    calls: list[ToolCall] = []
    for part in parts:
        if isinstance(part, dict) and (call := _called(part)) is not None:
            calls.append(call)
        elif said := _text_of(part, 0):
            texts.append(said)
    return Message(role, "\n".join(texts), tuple(calls))


def _is_part(value: Mapping[str, Any]) -> bool:
    """Whether it is a part of a message, and no message."""
    if "role" in value or "parts" in value:
        return False
    kind = value.get("type")
    known = ("text", "input_text", "output_text", "tool_call", "tool_use", "tool_result", "function_call")
    return kind in known or not value.keys().isdisjoint(("toolUse", "toolResult")) or value.keys() == {"text"}


def _called(part: Mapping[str, Any]) -> ToolCall | None:
    used = part.get("toolUse")
    if isinstance(used, dict):
        return _call({**used, "id": used.get("toolUseId")})
    if part.get("type") in ("tool_call", "tool_use", "function_call") or isinstance(
        part.get("function"), dict
    ):
        return _call(part)
    return None


def _call(value: Mapping[str, Any]) -> ToolCall:
    function = mapping(value.get("function") or value)
    given = next((function[name] for name in ("arguments", "args", "input") if name in function), None)
    identity = value.get("id") if value.get("type") != "function_call" else value.get("call_id")
    return ToolCall(
        str(function.get("name")), compact(given), identity if isinstance(identity, str) else None
    )


def compact(value: object) -> str:
    """JSON, in one form however it was written."""
    found = parsed(value)
    return found if isinstance(found, str) else json.dumps(found, sort_keys=True, ensure_ascii=False)


def _text_of(value: Any, depth: int) -> str:
    """All that was said in a part."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(filter(None, (_text_of(each, depth + 1) for each in value)))
    if not isinstance(value, dict) or depth > MOST_NESTED or _is_thought(value):
        return ""
    if "toolResult" in value:
        return _text_of(value["toolResult"], depth + 1)
    return next((_text_of(value[name], depth + 1) for name in _TEXTS if value.get(name)), "")


def _is_thought(part: Mapping[str, Any]) -> bool:
    kind = part.get("type")
    return isinstance(kind, str) and kind in _THOUGHTS


# -- spread over attributes, or in events --------------------------------------------------------------------


def flat_messages(attributes: Attributes, prefix: str, role: str = "user") -> list[Message]:
    """OpenInference's `llm.input_messages.N.message…`, and `gen_ai.prompt.N.…`; `role` of what says none."""
    return [_flat(mapping(each.get("message", each)), role) for each in indexed(attributes, prefix)]


def _flat(fields: Mapping[str, Any], speaker: str) -> Message:
    parts = [each.get("message_content") for each in listed(fields.get("contents")) if isinstance(each, dict)]
    content = fields.get("content")
    texts = [_text_of(each, 0) for each in parts] or [content if isinstance(content, str) else ""]
    called: list[Mapping[str, Any]] = [
        each for each in listed(fields.get("tool_calls")) if isinstance(each, dict)
    ]
    called += [mapping(fields.get("function_call"))] * ("function_call" in fields)  # LiteLLM's
    calls = tuple(_call(mapping(each.get("tool_call", each))) for each in called)
    role = fields.get("role", speaker)
    asked = mapping(content) if role == "assistant" and "tool_call_id" in fields else {}  # Netra's
    if asked.get("name"):
        return Message("assistant", "", (_call({**asked, "id": fields["tool_call_id"]}),))
    named = _ROLES.get(role, role) if isinstance(role, str) else speaker
    return Message(named, "\n".join(filter(None, texts)), calls)


def embedded_texts(attributes: Attributes) -> list[Message]:
    """The texts that OpenInference says were embedded."""
    found = (
        mapping(each.get("embedding")).get("text") for each in indexed(attributes, "embedding.embeddings.")
    )
    return [Message("user", each) for each in found if isinstance(each, str)]


_EVENTS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_CHOICE = "gen_ai.choice"
_PROMPT = "gen_ai.content.prompt"  # Langtrace's, as is the next: events of the conventions of 2024
_COMPLETION = "gen_ai.content.completion"


def event_messages(events: Iterable[tuple[str, Attributes]]) -> tuple[list[Message], list[Message]]:
    """What events of the earlier conventions say: input and output (strands)."""
    going_in: list[Message] = []
    coming_out: list[Message] = []
    for name, attributes in events:
        if name in _EVENTS:
            whole = {**attributes, "role": _EVENTS[name]}
            said = whole if attributes.get("tool_calls") else attributes.get("content")
            going_in += messages_in(said, _EVENTS[name])
        elif name == _PROMPT:
            going_in += messages_in(attributes.get("gen_ai.prompt"), "user")
        elif name == _COMPLETION:
            coming_out += messages_in(attributes.get("gen_ai.completion"), "assistant")
        elif name == _CHOICE:
            coming_out += messages_in(attributes.get("message"), "assistant")
    return going_in, coming_out


def input_of(attributes: Attributes, events: Iterable[tuple[str, Attributes]]) -> list[Message]:
    """What a model was asked, by the first form that has it; the system prompt first."""
    system = system_in(attributes.get(semconv.SYSTEM_INSTRUCTIONS))
    found = messages_in(attributes.get(semconv.INPUT_MESSAGES), "user")
    for prefix in ("llm.input_messages.", f"{semconv.INPUT_MESSAGES}."):  # the second: traceAI's
        found = found or flat_messages(attributes, prefix)
    found = found or embedded_texts(attributes)
    found = found or event_messages(events)[0] or flat_messages(attributes, "gen_ai.prompt.")
    for name in semconv.INPUTS[1:]:
        found = found or messages_in(attributes.get(name), "user")
    found = found or messages_in(attributes.get("raw_input"), "user")  # logfire's agents
    return found if found and found[0].role == "system" else [*system, *found]


def output_of(attributes: Attributes, events: Iterable[tuple[str, Attributes]]) -> list[Message]:
    """What a model said."""
    found = _answers(messages_in(attributes.get(semconv.OUTPUT_MESSAGES), "assistant"))
    for prefix in ("llm.output_messages.", f"{semconv.OUTPUT_MESSAGES}."):
        found = found or _answers(flat_messages(attributes, prefix))
    found = found or _answers(event_messages(events)[1])
    found = found or _answers(flat_messages(attributes, "gen_ai.completion.", "assistant"))
    for name in (*semconv.OUTPUTS[1:], "response"):
        found = found or _answers(messages_in(attributes.get(name), "assistant"))
    return found


def _answers(messages: Iterable[Message]) -> list[Message]:
    """Those of the model that say something: whole responses repeat what it was asked."""
    return [each for each in messages if each.role not in _ASKING and (each.text or each.calls)]


def plain_text(messages: Iterable[Message]) -> str | None:
    """The same text for the same words, however they are laid out; None: there are none."""
    return " ".join(" ".join(each.as_text() for each in messages).split()) or None
