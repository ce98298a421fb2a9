"""Two texts side by side: which lines differ, and within them which words. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import groupby, zip_longest
from operator import itemgetter
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
    found = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    changed = [tag != "equal" for tag, *_ in found]
    for index in range(1, len(found) - 1):
        # A space between two words that differ is nothing that both have: marked, the words are one piece.
        changed[index] |= all(word.isspace() for word in before[found[index][1] : found[index][2]])
    lefts = ("".join(before[start:end]) for _, start, end, _, _ in found)
    rights = ("".join(after[start:end]) for _, _, _, start, end in found)
    return Pair(_joined(zip(lefts, changed, strict=True)), _joined(zip(rights, changed, strict=True)))


def _joined(texts: Iterable[tuple[str, bool]]) -> Side:
    """Pieces, as few as they can be."""
    groups = groupby((each for each in texts if each[0]), key=itemgetter(1))
    return tuple(Piece("".join(text for text, _ in group), changed) for changed, group in groups)
