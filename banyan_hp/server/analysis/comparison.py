"""A version beside the control: the difference of their means, absolute and relative, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from . import fixed, sequences
from .enough import variances
from .moments import Moments


class Method(Enum):
    """Which intervals."""

    ALWAYS = "always"
    """They may be looked at as often as one likes."""
    FIXED = "fixed"
    """They hold for one look, planned beforehand."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the bounds around it."""

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether there is a difference with certainty, as far as the level goes."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference of a version to the control.

    Attributes:
        relative: to the control's mean; None where that is not clearly above zero.
    """

    absolute: Interval
    relative: Interval | None
    p_value: float


def compare(control: Moments, other: Moments, alpha: float, method: Method = Method.ALWAYS) -> Comparison:
    """Compare two versions, each with at least two users.

    `alpha` is that of this comparison: of several, the level divided by their number (Bonferroni).
    """
    difference = other.mean - control.mean
    errors = standard_errors(control, other, method)
    error = math.hypot(*errors)
    if error == 0:  # all users have the same value in each of them
        exact = Interval(difference, difference, difference)
        return Comparison(exact, _relative(control, other, errors, 0.0), float(difference == 0))
    width = multiplier(control, other, alpha, method)
    half = width * error
    absolute = Interval(difference, difference - half, difference + half)
    z = difference / error
    return Comparison(
        absolute, _relative(control, other, errors, width), _p_value(z, control, other, alpha, method)
    )


def standard_errors(control: Moments, other: Moments, method: Method) -> tuple[float, float]:
    """Of both means. Always-valid intervals take neither variance for less than that of both together, see
    `enough`.
    """
    if method is Method.FIXED:
        return control.standard_error, other.standard_error
    one, two = variances(control, other)
    return math.sqrt(one / control.n), math.sqrt(two / other.n)


def multiplier(control: Moments, other: Moments, alpha: float, method: Method) -> float:
    """Half the width of an interval for the difference, in standard errors."""
    if method is Method.ALWAYS:
        return sequences.multiplier(control.n + other.n, alpha)
    return fixed.multiplier(fixed.degrees_of_freedom(control, other), alpha)


def _p_value(z: float, control: Moments, other: Moments, alpha: float, method: Method) -> float:
    if method is Method.ALWAYS:
        return sequences.p_value(z, control.n + other.n, alpha)
    return fixed.p_value(z, fixed.degrees_of_freedom(control, other))


def _relative(control: Moments, other: Moments, errors: tuple[float, float], width: float) -> Interval | None:
    """All ratios r for which `other - r * control` is not told from zero, less one.

    So it excludes zero exactly where the absolute difference does. Source: Fieller 1954, "Some problems in
    interval estimation", Journal of the Royal Statistical Society B 16.
    """
    a, b = control.mean, other.mean
    va, vb = ((width * each) ** 2 for each in errors)
    below = a * a - va
    if a <= 0 or below <= 0:
        return None
    root = math.sqrt(max(0.0, a * a * vb + b * b * va - va * vb))
    return Interval(b / a - 1, (a * b - root) / below - 1, (a * b + root) / below - 1)


def worse_by(control: Moments, other: Moments, bound: float, *, lower_is_better: bool) -> tuple[float, float]:
    """How far a version is worse than the control by more than `bound` of it.

    It needs no division by the control's mean, so that a version with errors can be told from a control
    without a single one.

    Returns:
        The distance beyond the bound (above zero: it is worse), and its standard error.
    """
    sign = 1 if lower_is_better else -1
    factor = 1 + sign * math.copysign(bound, control.mean)
    beyond = sign * (other.mean - factor * control.mean)
    one, two = standard_errors(control, other, Method.ALWAYS)
    return beyond, math.hypot(factor * one, two)
