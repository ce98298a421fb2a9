"""Forest plots: where each version's difference to the control is drawn. Numbers to places, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from ..analysis.enough import LEAST_EFFECTIVE, LEAST_USERS
from .texts import NOTHING

WIDTH = 480
_ROW = 34
_SMALL = 0.01
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


# -- why there is nothing to see -----------------------------------------------------------------------------


def waiting(results: Mapping[str, Any]) -> str:
    """When the first figures come, as long as no user's window is over."""
    number = results["window_seconds"] / 3600
    hours = f"{number:g} hour{'s' * (number != 1)}"
    users = sum(each["exposed"] for each in results["versions"])
    if results["first_figures_at"] is None:
        return f"No user has come yet; the first figures come {hours} after the first one."
    at = datetime.fromisoformat(results["first_figures_at"]).strftime("%Y-%m-%d %H:%M")
    many = f"{users:,} users have come, and are" if users > 1 else "One user has come, and is"
    return f"{many} still within the {hours} for which a user counts. The first figures come at {at} UTC."


def lacking(metric: Mapping[str, Any]) -> str:
    """Why the versions are not compared in a metric."""
    users = [each["users"] for each in metric["versions"]]
    if min(users) < LEAST_USERS:
        return (
            f"Too few users to compare the versions in this metric: each needs {LEAST_USERS} with a value, "
            f"and one has {min(users):,}."
        )
    means = {each["mean"] for each in metric["versions"]}
    if means == {0.0} and metric["proportion"]:
        return f"{_none_of(metric)} {_AT_MOST.format(percent=_bound(min(users)))} {_WHY_NONE}"
    if means == {1.0} and metric["proportion"]:
        return f"All so far, in every version. {_WHY_NONE}"
    if means == {0.0}:
        return "Every value so far is 0, in every version: there is nothing to compare."
    few = "Too few users to compare the versions in this metric"
    if metric["proportion"]:
        return f"{few}. {_IT_TAKES[0].upper()}{_IT_TAKES[1:]}."
    return f"{few}: the values of a few users make up most of it."


_AT_MOST = "With 95 % (for one look) fewer than {percent} of the users of a version ever have one."
_IT_TAKES = f"it takes about {LEAST_EFFECTIVE} users in each version who have one, and as many who have none"
_WHY_NONE = f"There is no interval for a difference yet: {_IT_TAKES}."


def _none_of(metric: Mapping[str, Any]) -> str:
    if metric["name"] == "error_rate":
        return "No call has failed so far, in any version."
    return "None so far, in any version."


def _bound(users: int) -> str:
    """The share of users that would show none among so many in one of twenty cases: Clopper, Pearson 1934."""
    return f"{100 * (1 - 0.05 ** (1 / users)):.2g} %"


def _short(number: float) -> str:
    """Without an exponent, however small, as costs are."""
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.4g}" if abs(number) >= _SMALL or number == 0 else f"{Decimal(f'{number:.3g}'):f}"
