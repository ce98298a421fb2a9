"""A JSON value as a tree that a page can show, however deep and large it is. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from .texts import as_text

MOST_DEPTH = 6
MOST_NODES = 500
_MOST_TEXT = 2_000  # characters of one value


@dataclass(frozen=True, slots=True)
class Node:
    """A value under its name: with a text, or with what is inside it."""

    name: str
    text: str
    inside: Sequence[Node] = ()
    more: int = 0
    """How many values inside are not shown."""

    @property
    def is_leaf(self) -> bool:
        """Whether nothing is inside."""
        return not self.inside and not self.more


def tree_of(value: Mapping[str, Any]) -> Sequence[Node]:
    """What is in an object; beyond bounds of depth and number as JSON, cut."""
    return _Trees().inside(value, MOST_DEPTH)


class _Trees:
    def __init__(self) -> None:
        self._left = MOST_NODES

    def inside(self, value: object, depth: int) -> Sequence[Node]:
        pairs = islice(_pairs(value), self._left)
        return [self._node(name, each, depth - 1) for name, each in pairs if self._left > 0]

    def _node(self, name: str, value: object, depth: int) -> Node:
        self._left -= 1
        size = len(value) if isinstance(value, (list, dict)) else 0
        if not size or not depth:
            return Node(name, _text(value))
        inside = self.inside(value, depth)
        what = "entries" if isinstance(value, list) else "fields"
        return Node(name, f"{size} {what if size > 1 else _ONE[what]}", inside, size - len(inside))


_ONE = {"entries": "entry", "fields": "field"}


def _pairs(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from ((str(index), each) for index, each in enumerate(value))


def _text(value: object) -> str:
    text = "null" if value is None else as_text(value)
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"
