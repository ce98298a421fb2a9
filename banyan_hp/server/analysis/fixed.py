"""Intervals for one look, planned beforehand: Welch's, by Student's distribution."""

from __future__ import annotations

import math
from statistics import NormalDist

from .moments import Moments

_NORMAL = NormalDist()
_TINY = 1e-300
_PRECISE = 1e-15
_STEPS = 100_000


def degrees_of_freedom(one: Moments, other: Moments) -> float:
    """Of the difference of two means whose variances differ.

    Source: Welch 1947, "The generalization of 'Student's' problem when several different population variances
    are involved", Biometrika 34.
    """
    parts = [(each.variance / each.n, each.n - 1) for each in (one, other)]
    total = sum(variance for variance, _ in parts)
    below = sum(variance * variance / degrees for variance, degrees in parts)
    return total * total / below if below > 0 else math.inf


def multiplier(degrees: float, alpha: float) -> float:
    """Half the width of the two-sided interval, in standard errors: the quantile of Student's distribution.

    Newton's method on `p_value`, from the expansion of Abramowitz and Stegun 1964, 26.7.5.
    """
    z = _NORMAL.inv_cdf(1 - alpha / 2)
    if math.isinf(degrees):
        return z
    t = z + (z**3 + z) / (4 * degrees)
    for _ in range(100):
        step = (p_value(t, degrees) - alpha) / (2 * _density(t, degrees))
        t = max(t / 2, t + step)
        if abs(step) < 1e-12 * t:
            break
    return t


def p_value(t: float, degrees: float) -> float:
    """The probability of a value at least as far from zero as `t`, where there is no difference."""
    if math.isinf(degrees):
        return math.erfc(abs(t) / math.sqrt(2))
    return _incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def _density(t: float, degrees: float) -> float:
    log_constant = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(degrees * math.pi) / 2
    return math.exp(log_constant - (degrees + 1) / 2 * math.log1p(t * t / degrees))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function I_x(a, b).

    Source: Press, Teukolsky, Vetterling, Flannery 2007, "Numerical Recipes", section 6.4.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    front = math.exp(log_front)
    if x < (a + 1) / (a + b + 2):
        return front * _continued_fraction(a, b, x) / a
    return 1 - front * _continued_fraction(b, a, 1 - x) / b


def _continued_fraction(a: float, b: float, x: float) -> float:
    """By the method of Lentz, as in the same section."""
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    h = d
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        change = 1.0
        for part in (even, odd):
            d = 1 / _not_zero(1 + part * d)
            c = _not_zero(1 + part / c)
            change = c * d
            h *= change
        if abs(change - 1) < _PRECISE:
            break
    return h


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
