"""Forest plots: where each version's difference to the control is drawn. Numbers to places, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .texts import NOTHING

WIDTH = 480
_ROW = 34
_EDGE = 30  # beside the plot, above it and below it


@dataclass(frozen=True, slots=True)
class Bar:
    """One version's interval.

    Attributes:
        better: with certainty; False: worse with certainty; None: neither.
    """

    version: str
    y: float
    low: float
    estimate: float
    high: float
    better: bool | None


@dataclass(frozen=True, slots=True)
class Forest:
    """One metric's plot.

    Attributes:
        zero: where there is no difference.
        ends: what the left and the right end of the axis stand for, and where they are.
    """

    height: float
    zero: float
    bars: Sequence[Bar]
    ends: Sequence[tuple[float, float]]


def forest(found: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Forest | None:
    """The plot of a metric's versions, as results have them; None: none can be compared yet."""
    compared = [each for each in found if each["difference"] is not None]
    if not compared:
        return None
    values = [0.0, *(each["difference"][end] for each in compared for end in ("low", "high"))]
    least, most = float(min(values)), float(max(values))
    if least == most:  # all of them the same, without a doubt: zero is in the middle
        least, most = -1.0, 1.0

    def place(value: float) -> float:
        return round(_EDGE + (value - least) / (most - least) * (WIDTH - 2 * _EDGE), 1)

    bars = [
        _bar(each, names, _EDGE + _ROW * index, [place(each["difference"][name]) for name in _PARTS])
        for index, each in enumerate(compared)
    ]
    ends = [(each, place(each)) for each in (least, most) if each in values and each != 0]
    return Forest(_ROW * len(bars) + 2 * _EDGE, place(0.0), bars, ends)


_PARTS = ("low", "estimate", "high")


def _bar(found: Mapping[str, Any], names: Mapping[str, str], y: float, places: Sequence[float]) -> Bar:
    low, estimate, high = places
    name = found["experiment_version_id"]
    return Bar(names.get(name, name), y, low, estimate, high, found["better"])


# -- values of a metric in words -----------------------------------------------------------------------------


def value(number: float | None, metric: Mapping[str, Any]) -> str:
    """A mean of a metric with its unit; a proportion in per cent."""
    if number is None:
        return NOTHING
    if metric["proportion"]:
        return f"{100 * number:.1f} %"
    return f"{_short(number)} {metric['unit']}".rstrip()


def difference(number: float | None, metric: Mapping[str, Any]) -> str:
    """A difference of means with its sign; of proportions in percentage points."""
    if number is None:
        return NOTHING
    sign = "−" if number < 0 else "+" if number > 0 else ""
    if metric["proportion"]:
        return f"{sign}{100 * abs(number):.1f} points"
    return f"{sign}{_short(abs(number))} {metric['unit']}".rstrip()


def change(number: float | None) -> str:
    """A relative difference with its sign."""
    if number is None:
        return NOTHING
    return f"{'−' if number < 0 else '+' if number > 0 else ''}{100 * abs(number):.1f} %"


def chance(number: float | None) -> str:
    """A probability; what isn't certain is never shown as if it were."""
    if number is None:
        return NOTHING
    if 0 < number < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if 0.999 < number < 1 else f"{100 * number:.1f} %"


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"
