"""What one user did in an experiment, in the window after the first call: pure functions."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from math import fsum
from typing import Any

from .scores import BOOL, CATEGORY, NUMBER, place_of

ALL = ""
"""In place of a category: all of them, or no category at all."""
_SUMMED = ("latency", "input_tokens", "output_tokens", "cost", "output_length")
_COLUMN = {"latency": "latency_ms"}


def user_row(key: Mapping[str, Any], calls: Sequence[Any], ends_at: int) -> dict[str, Any]:
    """A user's sums.

    Args:
        key: who it is.
        calls: those in the window; at least one.
        ends_at: the end of the window.
    """
    first = min(calls, key=lambda call: (call.event_time, call.id))
    given = {name: _given(calls, _COLUMN.get(name, name)) for name in _SUMMED}
    return {
        **key,
        "version": first.experiment_version_id,
        "first_at": first.event_time,
        "ends_at": ends_at,
        "mixed": any(call.experiment_version_id != first.experiment_version_id for call in calls),
        "stale": False,
        "calls": len(calls),
        "latency_p50": statistics.median(given["latency"]) if given["latency"] else None,
        "errors": sum(call.error is not None for call in calls),
        **{name: fsum(values) for name, values in given.items()},
        **{f"{name}_of": len(values) for name, values in given.items()},
        **{f"first_{name}": getattr(first, _COLUMN.get(name, name)) for name in _SUMMED},
        "first_error": float(first.error is not None),
    }


def _given(calls: Sequence[Any], column: str) -> list[float]:
    return [value for call in calls if (value := getattr(call, column)) is not None]


def value_rows(
    user: Mapping[str, Any], calls: Sequence[Any], scores: Sequence[Any]
) -> Iterator[dict[str, Any]]:
    """What a user's scores amount to, for each name; nothing for who was seen in two versions.

    Args:
        user: the user's row.
        calls: those in the window. A score about one of them is never from before the exposure, whatever its
            time says: an interaction may be scored before it ends and is logged, and clocks differ.
        scores: those that lead to the user.
    """
    if user["mixed"]:
        return
    own = {
        name: user[name]
        for name in ("project", "experiment_id", "sticky_value", "version", "first_at", "ends_at")
    }
    made = {call.id for call in calls}
    within = [
        score
        for score in scores
        if score.at < user["ends_at"] and (score.at >= user["first_at"] or score.record_id in made)
    ]
    by_name: dict[str, list[Any]] = defaultdict(list)
    for score in _last_ones(within):
        by_name[score.name].append(score)
    for name, found in by_name.items():
        for kind, category, y, x in chain(_of_numbers(found), _of_categories(found)):
            yield {**own, "name": name, "kind": kind, "category": category, "y": y, "x": float(x)}


def _last_ones(scores: Sequence[Any]) -> list[Any]:
    """Of each name, from each rater about the same: the last one."""
    last: dict[tuple[object, ...], Any] = {}
    for score in sorted(scores, key=lambda score: place_of(score.at, score.id, score.seq)):
        last[score.name, score.rater, *_target(score)] = score
    return list(last.values())


def _target(score: Any) -> tuple[str, str | None]:
    for name in ("record_id", "session"):
        if (value := getattr(score, name)) is not None:
            return name, value
    return "sticky_value", score.sticky_value


def _of_numbers(scores: Sequence[Any]) -> Iterator[tuple[str, str, float, int]]:
    numbers = [score.number for score in scores if score.kind != CATEGORY]
    if numbers:
        kind = NUMBER if any(score.kind == NUMBER for score in scores) else BOOL
        yield kind, ALL, fsum(numbers), len(numbers)


def _of_categories(scores: Sequence[Any]) -> Iterator[tuple[str, str, float, int]]:
    texts = [score.text for score in scores if score.kind == CATEGORY]
    if texts:
        yield CATEGORY, ALL, 0.0, len(texts)
    for text in sorted(set(texts)):
        yield CATEGORY, text, float(texts.count(text)), len(texts)
