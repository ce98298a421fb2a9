"""What can be measured of the versions of an experiment: measures of the calls, and scores by their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

LOWER, HIGHER = "lower", "higher"
DIRECTIONS = (LOWER, HIGHER)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        unit: of its values: ``ms``, ``USD``; empty for plain numbers.
        proportion: values lie between 0 and 1, and each single one is 0 or 1.
        lower_is_better: as for costs.
    """

    name: str
    unit: str = ""
    proportion: bool = False
    lower_is_better: bool = False


BUILT_IN: Mapping[str, Metric] = {
    each.name: each
    for each in (
        Metric("latency", "ms", lower_is_better=True),
        Metric("latency_p50", "ms", lower_is_better=True),
        Metric("input_tokens", lower_is_better=True),
        Metric("output_tokens", lower_is_better=True),
        Metric("cost", "USD", lower_is_better=True),
        Metric("error_rate", proportion=True, lower_is_better=True),
        Metric("output_length", lower_is_better=True),
    )
}
"""Measures of the calls. A score of one of these names can't be had as a metric."""


def metric(name: str, directions: Mapping[str, str], *, proportion: bool) -> Metric:
    """The metric of a name: a built-in one, else a score, of which more is better.

    `directions` has by name what the experiment says is better, ``lower`` or ``higher``; `proportion` is
    about a score of this name.
    """
    found = BUILT_IN.get(name) or Metric(name, proportion=proportion)
    said = directions.get(name)
    return found if said is None else replace(found, lower_is_better=said == LOWER)
