"""From which number of users on the intervals hold.

Both kinds of interval rest on means being nearly normal. That takes the more users the rarer or the more
heavy-tailed a metric is: 1,000 users with one conversion say next to nothing. `effective` counts the users
that a mean really rests on. And a version with few users may not have met one of the rare large values yet:
then its variance looks smaller than it is, just when its mean is off, too. So `variances` takes neither for
less than that of both versions together; without that, a tenth of simulated A/A experiments on lognormal
costs with a split of 10 to 90 called a winner, with it one in a thousand.

The numbers below were chosen by simulation, too (`tests/unit/server/analysis/test_false_alarms.py`): with
them metrics from lognormal costs to proportions of 0.2 % stay within the level, looked at every day.
"""

from __future__ import annotations

from .moments import Moments

LEAST_USERS = 50
"""Users with a value, in each version."""

LEAST_EFFECTIVE = 20
"""Effective users, in each version."""


def effective(moments: Moments, *, proportion: bool) -> float:
    """How many users with equal values would carry as much: (sum of y)^2 / (sum of y^2).

    For a proportion that is the number of successes, or of failures if they are fewer. For a heavy tail it is
    n / (1 + squared coefficient of variation). Source: Kish 1965, "Survey Sampling", section 11.7.
    """
    size = _kish(moments.y, moments.yy)
    if not proportion:
        return size
    failures = moments.xx - 2 * moments.xy + moments.yy  # of (x - y)^2
    return min(size, _kish(moments.x - moments.y, failures))


def enough(control: Moments, other: Moments, *, proportion: bool) -> bool:
    """Whether an interval for the difference of these two can be relied on.

    Effective users are counted in both versions together, and dealt out by their numbers of users: so a
    version without a single error can still be compared with one that has many.
    """
    fewest = min(control.n, other.n)
    if fewest < LEAST_USERS:
        return False
    both = control + other
    return effective(both, proportion=proportion) * fewest / both.n >= LEAST_EFFECTIVE


def variances(control: Moments, other: Moments) -> tuple[float, float]:
    """Of one user's value in each version, but no less than the pooled variance within both."""
    degrees = (control.n - 1, other.n - 1)
    pooled = (degrees[0] * control.variance + degrees[1] * other.variance) / sum(degrees)
    return max(control.variance, pooled), max(other.variance, pooled)


def _kish(total: float, squares: float) -> float:
    return total * total / squares if squares > 0 else 0.0
