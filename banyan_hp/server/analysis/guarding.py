"""When a guard trips: a version is worse than the control beyond its bound, with certainty.

Always-valid intervals are about observations that come one after the other and stay what they are. What a
user has done up to now is none: it changes from look to look, the more the more often somebody comes back. So
a guard looks at two observations of each user that stay: the first call, which is there at once, and what the
user did in the window, once that is over. The first call tells a version that breaks everything within
minutes; the window also one that fails later in a conversation. Scores come after calls: of them there is the
window alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from .comparison import Method, multiplier, worse_by
from .enough import enough
from .metrics import BUILT_IN, Metric
from .moments import Moments

ALPHA = 0.05
"""The probability that a guarded experiment ever has a version paused which is not beyond any bound."""
FIRST_CALLS, WINDOWS = "first calls", "windows"
"""What of the users is looked at."""


def looks_at(name: str) -> tuple[str, ...]:
    """What a guard of this metric looks at."""
    return (FIRST_CALLS, WINDOWS) if name in BUILT_IN else (WINDOWS,)


@dataclass(frozen=True, slots=True)
class Trip:
    """The numbers that decided.

    Attributes:
        beyond: how far the version's mean is beyond the bound, in the metric's unit.
        least: the least that it is beyond it with certainty: above zero.
        of: `FIRST_CALLS` or `WINDOWS`.
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
    of: str = WINDOWS


def tripped(
    metric: Metric, bound: float, control: Moments, other: Moments, comparisons: int, alpha: float = ALPHA
) -> Trip | None:
    """Whether a version is beyond the bound, a part of the control's mean; None: it is not certain to be.

    `alpha` is divided by the number of comparisons that are made in the experiment: of each version by each
    guard, as many as the guard `looks_at`.
    """
    if not enough(control, other, proportion=metric.proportion):
        return None
    each = alpha / comparisons
    beyond, error = worse_by(control, other, bound, lower_is_better=metric.lower_is_better)
    least = beyond - multiplier(control, other, each, Method.ALWAYS) * error
    if least <= 0:
        return None
    return Trip(metric.name, bound, control.mean, other.mean, control.n, other.n, beyond, least, each)
