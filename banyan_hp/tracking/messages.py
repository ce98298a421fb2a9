"""What was asked: of a provider's arguments, of messages, of anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine.records.encode import AsText
from .fields import as_text_later, field, first_of, items, text
from .responses import content_text


def question_in(arguments: Mapping[str, Any]) -> Any:
    """What the keyword arguments of a provider's method ask: the messages, with what instructs the model.

    A list is copied, for agents append to theirs while a stream still runs; anything that could be read
    only once (an iterator) is left alone.
    """
    asked = _first(arguments, _ASKED)
    if isinstance(asked, (list, tuple)):
        asked = list(asked)
    elif not isinstance(asked, (str, dict)):
        asked = None
    instructions = _first(arguments, _INSTRUCTIONS)
    if instructions is not None and isinstance(instructions, (str, list, tuple)) and instructions:
        return {"instructions": instructions, "input": asked}
    return asked


_ASKED = ("messages", "input", "prompt")
_INSTRUCTIONS = ("system", "instructions")


def _first(arguments: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """As `first_of`, at every wrapped call: without its guard, which keyword arguments do not need."""
    for name in names:
        found = arguments.get(name)
        if found is not None:
            return found
    return None


def question_text(asked: object) -> Any:
    """A question for people: of messages the last one that a user wrote, else `as_text_later`."""
    question = asked.value if isinstance(asked, AsText) else asked
    if isinstance(question, dict) and set(question) == {"instructions", "input"}:
        question = question["input"]
    for message in reversed(items(question)):
        if text(field(message, "role")) == "user":
            said = content_text(first_of(message, "content", "parts"))
            if said:
                return said
    if isinstance(asked, AsText) and question is asked.value:
        return asked
    return "" if question is None else as_text_later(question)
