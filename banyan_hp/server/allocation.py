"""Which slots the versions of an experiment have, and what becomes of them when its percentages change.

Pure functions. What a slot is, and which users have it, is in `banyan_hp.experiments` (allocation 2). A
version that shrinks gives up the slots that it got last. One that grows gets those that were just given up,
then the lowest that no version has. All others stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import chain

from ..experiments import SLOTS, Range

Ranges = tuple[Range, ...]  # in the order in which they were given

_A_PERCENT = SLOTS // 100


def allocated(percentages: Mapping[str, float], before: Mapping[str, Ranges]) -> dict[str, Ranges]:
    """The slots by version for these percentages, with the least possible number of slots changing hands.

    Args:
        percentages: by version, in order, each rounded to a slot (0.0001 %); what they are together
            above 100, as rounded thirds may be, the last ones don't get.
        before: the slots that versions have had so far.
    """
    wanted = _numbers(percentages)
    kept: dict[str, Ranges] = {}
    given_up: list[Range] = []
    for version, ranges in before.items():
        kept[version], rest = _cut(ranges, wanted.get(version, 0))
        given_up.extend(rest)
    free: Ranges = (*given_up, *_unowned(chain.from_iterable(before.values())))
    after = {}
    for version, number in wanted.items():
        own = kept.get(version, ())
        taken, free = _cut(free, number - size(own))
        after[version] = _joined((*own, *taken))
    return after


def size(ranges: Iterable[Range]) -> int:
    """The number of slots."""
    return sum(end - start for start, end in ranges)


def _numbers(percentages: Mapping[str, float]) -> dict[str, int]:
    """How many slots each version is to have: together never more than there are."""
    left, numbers = SLOTS, {}
    for version, percentage in percentages.items():
        numbers[version] = min(left, round(Decimal(str(percentage)) * _A_PERCENT))
        left -= numbers[version]
    return numbers


def _cut(ranges: Sequence[Range], number: int) -> tuple[Ranges, Ranges]:
    """The first so many slots, and the others."""
    first: list[Range] = []
    for index, (start, end) in enumerate(ranges):
        if end - start > number:
            rest = ((start + number, end), *ranges[index + 1 :])
            return (*first, (start, start + number)) if number else tuple(first), rest
        first.append((start, end))
        number -= end - start
    return tuple(first), ()


def _unowned(owned: Iterable[Range]) -> Ranges:
    """The slots that are in none of the ranges, lowest first."""
    free, last = [], 0
    for start, end in sorted(owned):
        if last < start:
            free.append((last, start))
        last = end
    return (*free, (last, SLOTS)) if last < SLOTS else tuple(free)


def _joined(ranges: Iterable[Range]) -> Ranges:
    """The same slots in the same order; a range that goes on where the one before it ends is part of that."""
    joined: list[Range] = []
    for start, end in ranges:
        if joined and joined[-1][1] == start:
            start = joined.pop()[0]
        joined.append((start, end))
    return tuple(joined)
