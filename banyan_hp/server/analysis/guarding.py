"""When a guard trips: a version is worse than the control beyond its bound, with certainty."""

from __future__ import annotations

from dataclasses import dataclass

from .comparison import Method, multiplier, worse_by
from .enough import enough
from .metrics import Metric
from .moments import Moments

ALPHA = 0.05
"""The probability that a guarded experiment ever has a version paused which is not beyond any bound."""


@dataclass(frozen=True, slots=True)
class Trip:
    """The numbers that decided.

    Attributes:
        beyond: how far the version's mean is beyond the bound, in the metric's unit.
        least: the least that it is beyond it with certainty: above zero.
    """

    metric: str
    worse_by: float
    control_mean: float
    version_mean: float
    control_users: int
    version_users: int
    beyond: float
    least: float
    alpha: float


def tripped(
    metric: Metric, bound: float, control: Moments, other: Moments, comparisons: int, alpha: float = ALPHA
) -> Trip | None:
    """Whether a version is beyond the bound, a part of the control's mean; None: it is not certain to be.

    `alpha` is divided by the number of comparisons that are made in the experiment: guards times versions.
    """
    if not enough(control, other, proportion=metric.proportion):
        return None
    each = alpha / comparisons
    beyond, error = worse_by(control, other, bound, lower_is_better=metric.lower_is_better)
    least = beyond - multiplier(control, other, each, Method.ALWAYS) * error
    if least <= 0:
        return None
    return Trip(metric.name, bound, control.mean, other.mean, control.n, other.n, beyond, least, each)
