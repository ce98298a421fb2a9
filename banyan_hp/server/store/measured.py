"""What metrics of scores are made of, and how the sums of parts are put together: pure functions.

A part is a score's name, whether it is of a category, the category (`ALL`: all or none), and the version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..analysis.course import Times
from ..analysis.moments import Moments
from .observed import ALL
from .scores import BOOL, CATEGORY

Parts = Mapping[tuple[Any, ...], Moments]


def parts_of(name: str) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """The rows that a metric of this name may consist of: of numbers, or of a category and all categories."""
    yield name, (BOOL, "number"), ALL
    for at, char in enumerate(name):
        if char == "=" and 0 < at < len(name) - 1:
            yield name[:at], (CATEGORY,), name[at + 1 :]
            yield name[:at], (CATEGORY,), ALL


def put_together(name: str, found: Mapping[tuple[Any, ...], Moments]) -> Iterator[tuple[str, str, Moments]]:
    versions = dict.fromkeys(key[3] for key in found)
    for version in versions:
        numbers = found.get((name, False, ALL, version))
        if numbers is not None:
            yield version, name, numbers
            continue
        for part, _, category in parts_of(name):
            whole = found.get((part, True, ALL, version))
            if category != ALL and whole is not None:
                yield version, name, _of_category(whole, found.get((part, True, category, version)))


def _of_category(whole: Moments, part: Moments | None) -> Moments:
    """Of all users with a category of this name: how much of it is this category."""
    part = part or Moments()
    return Moments(n=whole.n, x=whole.x, y=part.y, xx=whole.xx, xy=part.xy, yy=part.yy)


def over_steps(
    metric: str, steps: Mapping[int, Parts], times: Times
) -> Sequence[tuple[datetime, Mapping[str, Moments]]]:
    """A metric by version at the end of each step, of what each step adds."""
    total: dict[tuple[Any, ...], Moments] = {}
    found = []
    for number in range(min(steps, default=0), max(steps, default=-1) + 1):
        for part, moments in steps.get(number, {}).items():
            total[part] = total.get(part, Moments()) + moments
        by_version = {version: each for version, _, each in put_together(metric, total)}
        found.append((times.at(number), by_version))
    return found
