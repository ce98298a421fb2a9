"""What is kept of a metric: six sums over users, from which mean, variance and intervals follow."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_PRECISION = 1e-12
"""What sums of floating-point numbers are off by, at most: no variance is known more closely than that, as a
part of the mean square. Where all users have the same value, 0.1 say, the means of two versions differ by
their rounding, which is no difference."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over users of a metric that is a ratio, y / x.

    Each user counts once, with a numerator y (the sum of the metric over the user's calls or scores) and a
    denominator x (their number). For a mean over users, or a proportion of users, every x is 1.

    Attributes:
        n: how many users have a value, so an x above 0.
        x: the sum of the denominators.
        y: the sum of the numerators.
        xx: the sum of x * x.
        xy: the sum of x * y.
        yy: the sum of y * y.
    """

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0

    @classmethod
    def of(cls, users: Iterable[tuple[float, float]]) -> Moments:
        """The sums over users, each given as (x, y); those without a value are left out."""
        pairs = [(x, y) for x, y in users if x > 0]
        return cls(
            len(pairs),
            math.fsum(x for x, _ in pairs),
            math.fsum(y for _, y in pairs),
            math.fsum(x * x for x, _ in pairs),
            math.fsum(x * y for x, y in pairs),
            math.fsum(y * y for _, y in pairs),
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.n + other.n,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.xy + other.xy,
            self.yy + other.yy,
        )

    @property
    def mean(self) -> float:
        """The ratio of the sums; NaN without users."""
        return self.y / self.x if self.x > 0 else math.nan

    @property
    def variance(self) -> float:
        """The variance of one user's part in the mean; divided by `n` it is the squared standard error.

        For a mean over users this is the sample variance. For a ratio it is the delta method's: with
        R = y / x, the variance over users of (y_i - R * x_i) / (x / n), so that users with more calls count
        for more. Source: Deng, Knoblich, Lu 2018, "Applying the Delta Method in Metric Analytics", 2.3.
        It is not below what rounding may have made of it.
        """
        if self.n < 2 or self.x <= 0:
            return math.nan
        ratio = self.y / self.x
        residuals = self.yy - 2 * ratio * self.xy + ratio * ratio * self.xx  # squared; their mean is 0
        return max(_PRECISION * self.yy, residuals) / (self.n - 1) * (self.n / self.x) ** 2

    @property
    def standard_error(self) -> float:
        """Of the mean."""
        return math.sqrt(self.variance / self.n) if self.n >= 2 else math.nan
