"""What agents are shown: one line of JSON, no longer than an agent can use, which says where it was cut.

A text is cut first, to a length that lets all items fit; then items are left out, from the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...text import printable_json

MOST_CHARACTERS = 30_000
WHOLE = 20_000  # characters of a text that is what was asked for
_HEAD = 1_000  # of a text in the head: a cut cursor is no use
_LENGTHS = (WHOLE, 8_000, 3_000, 1_000, 400, 150, 40)

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """The text, and how many of the items are in it."""

    text: str
    shown: int


def answer(head: Fields, name: str, items: Sequence[Fields], longest: int = WHOLE) -> Answer:
    """The fields of `head`, and as `name` as many of the items as there is room for.

    Args:
        head: what belongs to all of them.
        name: the items' field.
        items: objects of few fields; fields that are null are left out.
        longest: characters of a text.
    """
    wholes = [_texts(each) for each in items]
    top = _texts(head)
    count = len(items)
    while True:
        for length in (each for each in _LENGTHS if each <= longest):
            fields = {**_cut(top, max(length, _HEAD)), name: [_cut(each, length) for each in wholes[:count]]}
            text = written(fields)
            if len(text) <= MOST_CHARACTERS or (not count and length == _LENGTHS[-1]):
                return Answer(text, count)
        count //= 2


def listed(head: Fields, name: str, items: Sequence[Fields], limit: int, longest: int = WHOLE) -> str:
    """The first items of a list that is known as a whole, which says how many there are in all."""
    found = answer({**head, "in_all": len(items)}, name, items[:limit], longest)
    if found.shown == min(limit, len(items)):
        return found.text
    note = f"only the first {found.shown} of {len(items)} fit here"
    return answer({**head, "in_all": len(items), "cut": note}, name, items[: found.shown], longest).text


def written(fields: Fields) -> str:
    """Fields as JSON in one line, without control characters."""
    return printable_json(json.dumps(fields, ensure_ascii=False))


def without(fields: Fields, *names: str) -> dict[str, Any]:
    """The other fields."""
    return {name: value for name, value in fields.items() if name not in names}


def _texts(fields: Fields) -> list[tuple[str, Any, str]]:
    """Each field's name, value and text."""
    return [(name, value, _text(value)) for name, value in fields.items() if value is not None]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(fields: Iterable[tuple[str, Any, str]], length: int) -> dict[str, Any]:
    return dict(_each_cut(fields, length))


def _each_cut(fields: Iterable[tuple[str, Any, str]], length: int) -> Iterator[tuple[str, Any]]:
    for name, value, text in fields:
        if len(text) <= length:
            yield name, value
        else:
            yield name, f"{text[:length]}… (cut: {length:,} of {len(text):,} characters)"
