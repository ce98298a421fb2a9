"""What was said in a call, as messages, in whatever shape its client logged it. Pure functions.

Known are the messages of OpenAI's two APIs, Anthropic's and Gemini's, requests and responses, alone or in a
list, also as JSON inside a text. Anything else is one text.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .texts import MOST_SHOWN, as_text, opening

MOST_MESSAGES = 200
_MOST_PARSED = 4_000_000  # characters of a text that may be JSON
_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool", "model": "assistant"}
_TEXTS = ("text", "refusal", "thinking", "reasoning")
_LISTS = ("messages", "input", "output", "choices", "candidates")
_TOOL = "tool"
_ITEMS = ("function_call", "function_call_output", "reasoning")  # beside messages, in OpenAI's newer API


class Part(NamedTuple):
    """A part of a message; its `kind` is empty where it is plain text."""

    kind: str
    text: str


class Message(NamedTuple):
    """What one of those who talk has said."""

    role: str
    parts: Sequence[Part]


class Said(NamedTuple):
    """An input or an output, as far as a page shows it.

    Attributes:
        messages: without any it is no conversation, and `text` has it.
        left: how many earlier messages are not shown.
        characters: of all of it.
        whole: whether all of it is there.
    """

    messages: Sequence[Message]
    text: str
    left: int
    characters: int
    whole: bool

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said."""
        return not self.messages and not self.text


def said_in(value: object, most: int = MOST_MESSAGES) -> Said:
    """The last messages in a value, or its text."""
    if is_nothing(value):
        return Said((), "", 0, 0, whole=True)
    text = as_text(value)
    messages = list(messages_of(value))
    if not messages:
        return Said((), text[:MOST_SHOWN], 0, len(text), len(text) <= MOST_SHOWN)
    shown = messages[-most:]
    fitting = _within(shown, MOST_SHOWN)
    return Said(fitting, "", len(messages) - len(shown), len(text), fitting == shown)


def is_nothing(value: object) -> bool:
    """Whether nothing was said: spans of other senders may come without their texts."""
    return value is None or (isinstance(value, (str, list, dict)) and not value)


def gist(value: object) -> str:
    """The beginning of the last message, or of the text, on one line; empty: nothing was said."""
    if is_nothing(value):
        return ""
    last = deque(messages_of(value), maxlen=1)
    return opening(" ".join(part.text for part in last[0].parts) if last else value)


def messages_of(value: object) -> Iterator[Message]:
    """All messages in a value; none: it is not made of messages."""
    found = opened(value)
    if isinstance(found, Mapping) and not _is_message(found):
        if isinstance(found.get("system"), (str, list)):
            yield Message("system", list(_parts(found["system"])))
        name = next((each for each in _LISTS if isinstance(found.get(each), list)), None)
        listed = found[name] if name is not None else []
    else:
        listed = found if isinstance(found, list) else [found]
    messages = [_inner(each) for each in listed]
    if all(map(_is_message, messages)):
        yield from map(_message, messages)


def opened(value: object) -> object:
    """The value of a text that is JSON, or the value itself."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{") or len(value) > _MOST_PARSED:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _inner(entry: Any) -> Any:
    """The message of one of several choices, as responses have them."""
    if isinstance(entry, Mapping) and not _is_message(entry):
        inner = entry.get("message", entry.get("content"))
        return inner if isinstance(inner, Mapping) else entry
    return entry


def _is_message(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    kind = value.get("type") if isinstance(value.get("type"), str) else None
    named = isinstance(value.get("role"), str) or kind in _ROLES
    says = {"content", "parts", "tool_calls", "function_call"} & value.keys()
    return (named and bool(says)) or kind in _ITEMS


def _message(given: Mapping[str, Any]) -> Message:
    if given.get("type") == "function_call":
        return Message("assistant", [_called(given)])
    if given.get("type") == "function_call_output":
        return Message(_TOOL, [Part("", as_text(given.get("output")))])
    if given.get("type") == "reasoning":
        return Message("assistant", [Part("reasoning", part.text) for part in _parts(given.get("summary"))])
    role = as_text(given.get("role") or given.get("type"))
    parts = list(_parts(given.get("content", given.get("parts"))))
    calls = given.get("tool_calls")
    calls = (
        calls if isinstance(calls, list) else [given["function_call"]] if given.get("function_call") else []
    )
    return Message(_ROLES.get(role, role), [*parts, *(_called(each) for each in calls)])


def _parts(content: object) -> Iterator[Part]:
    for each in content if isinstance(content, list) else [content]:
        if isinstance(each, Mapping):
            yield _part(each)
        elif each is not None:
            yield Part("", as_text(each))


def _part(given: Mapping[str, Any]) -> Part:
    kind = as_text(given.get("type"))
    name = next((each for each in _TEXTS if isinstance(given.get(each), str)), None)
    if name is not None:
        return Part("" if name == "text" else name, given[name])
    if kind == "tool_use":
        return _called(given)
    if kind == "tool_result":
        inner = "\n".join(part.text for part in _parts(given.get("content")))
        return Part("result", inner)
    return Part(kind or "JSON", as_text(dict(given)))


def _called(given: Any) -> Part:
    """A tool's call: its name, and what it was given."""
    call = given.get("function", given) if isinstance(given, Mapping) else {"arguments": given}
    call = call if isinstance(call, Mapping) else {"arguments": call}
    arguments = as_text(call.get("arguments", call.get("input", call.get("args"))))
    return Part("calls", f"{as_text(call.get('name'))}({arguments})")


def _within(messages: Sequence[Message], most: int) -> list[Message]:
    """As many of them as have so many characters; the last one cut."""
    shown: list[Message] = []
    for message in messages:
        parts = []
        for part in message.parts:
            parts.append(Part(part.kind, part.text[:most]))
            most -= len(part.text)
            if most <= 0:
                break
        shown.append(Message(message.role, parts))
        if most <= 0:
            break
    return shown
