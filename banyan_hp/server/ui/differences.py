"""Two texts side by side: which lines differ, and within them which words. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import NamedTuple

MOST_WORDS = (
    2_000  # of a line, beyond which its words are not compared: that takes the square of their number
)
MOST_LINES = 5_000
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


class Piece(NamedTuple):
    """A part of a line."""

    text: str
    changed: bool


Side = tuple[Piece, ...]


class Pair(NamedTuple):
    """A line of the one text beside that of the other; None: there is none on that side."""

    left: Side | None
    right: Side | None


def side_by_side(left: str, right: str) -> list[Pair]:
    """All lines of both texts, equal ones included."""
    before, after = left.splitlines()[:MOST_LINES], right.splitlines()[:MOST_LINES]
    pairs: list[Pair] = []
    for tag, start, end, other_start, other_end in SequenceMatcher(
        None, before, after, autojunk=False
    ).get_opcodes():
        lines, others = before[start:end], after[other_start:other_end]
        pairs += map(_equal, lines) if tag == "equal" else _differing(lines, others)
    return pairs


def _equal(line: str) -> Pair:
    side = (Piece(line, changed=False),)
    return Pair(side, side)


def _differing(before: Sequence[str], after: Sequence[str]) -> Iterator[Pair]:
    for left, right in zip_longest(before, after):
        if left is None or right is None:
            yield Pair(_whole(left), _whole(right))
        else:
            yield _words(left, right)


def _whole(line: str | None) -> Side | None:
    return None if line is None else (Piece(line, changed=True),)


def _words(left: str, right: str) -> Pair:
    before, after = _WORD.findall(left), _WORD.findall(right)
    if max(len(before), len(after)) > MOST_WORDS:
        return Pair(_whole(left), _whole(right))
    sides: tuple[list[Piece], list[Piece]] = ([], [])
    for tag, start, end, other_start, other_end in SequenceMatcher(
        None, before, after, autojunk=False
    ).get_opcodes():
        for side, words in ((sides[0], before[start:end]), (sides[1], after[other_start:other_end])):
            if words:
                side.append(Piece("".join(words), tag != "equal"))
    return Pair(tuple(sides[0]), tuple(sides[1]))
