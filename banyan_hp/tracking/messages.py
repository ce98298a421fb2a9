"""What was asked: of a provider's arguments, of messages, of anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .fields import as_text, copied, field, first_of, items, text
from .responses import content_text


def question_in(arguments: Mapping[str, Any]) -> Any:
    """What the keyword arguments of a provider's method ask: the messages, with what instructs the model.

    They are copied, for agents append to theirs, and change them, while a stream still runs; anything that
    could be read only once (an iterator) is left alone.
    """
    return sized_question(arguments)[0]


def sized_question(arguments: Mapping[str, Any]) -> tuple[Any, int]:
    """`question_in`, and about how many bytes of memory the copy holds."""
    asked, size = _copy(_first(arguments, "messages", "input", "prompt"))
    instructions = _first(arguments, "system", "instructions")
    if not instructions:
        return asked, size
    instructions, more = _copy(instructions)
    if instructions is None:
        return asked, size
    return {"instructions": instructions, "input": asked}, size + more


def _first(arguments: Mapping[str, Any], *names: str) -> Any:
    for name in names:
        if (value := arguments.get(name)) is not None:
            return value
    return None


def _copy(asked: Any) -> tuple[Any, int]:
    if isinstance(asked, str):
        return asked, len(asked)
    if isinstance(asked, tuple):
        asked = list(asked)
    return copied(asked) if isinstance(asked, (list, dict)) else (None, 0)


def question_text(question: object) -> str:
    """A question as a line for people: of messages the last one that a user wrote."""
    if isinstance(question, str):
        return as_text(question)
    if isinstance(question, dict) and set(question) == {"instructions", "input"}:
        question = question["input"]
    for message in reversed(items(question)):
        if text(field(message, "role")) == "user":
            said = content_text(first_of(message, "content", "parts"))
            if said:
                return said
    return as_text(question)
