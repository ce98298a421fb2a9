"""What was asked: of a provider's arguments, of messages, of anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .fields import as_text, field, first_of, items, text
from .responses import content_text


def question_in(arguments: Mapping[str, Any]) -> Any:
    """What the keyword arguments of a provider's method ask: the messages, with what instructs the model.

    A list is copied, for agents append to theirs while a stream still runs; anything that could be read
    only once (an iterator) is left alone.
    """
    asked = first_of(arguments, "messages", "input", "prompt")
    if isinstance(asked, (list, tuple)):
        asked = list(asked)
    elif not isinstance(asked, (str, dict)):
        asked = None
    instructions = first_of(arguments, "system", "instructions")
    if isinstance(instructions, (str, list, tuple)) and instructions:
        return {"instructions": instructions, "input": asked}
    return asked


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
