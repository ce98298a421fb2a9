"""The probability of each version to be the best one.

The mean of each version is taken as normal around its estimate. The prior is flat: before the data every mean
was as likely as any other. So the numbers say what the data alone say. They are for judging risks; they are
not corrected for repeated looks, and decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .moments import Moments

MOST_VERSIONS = 20
_FAR = 8.0  # standard errors, beyond which a normal density is nothing
_STEPS = 800


def probabilities(versions: Sequence[Moments], *, lower_is_better: bool) -> list[float] | None:
    """Of each version, in order; None where one of them has too few users, or there are too many versions.

    P(j is best) is the integral over j's density of the product of the others' distribution functions, here
    by the trapezoidal rule, so that the same data give the same numbers.
    """
    if not 2 <= len(versions) <= MOST_VERSIONS or any(each.n < 2 for each in versions):
        return None
    sign = -1 if lower_is_better else 1
    normals = [(sign * each.mean, each.standard_error) for each in versions]
    weights = [_best(index, normals) for index in range(len(normals))]
    total = sum(weights)
    return [each / total for each in weights] if total > 0 else None


def _best(index: int, normals: Sequence[tuple[float, float]]) -> float:
    mean, error = normals[index]
    others = [each for position, each in enumerate(normals) if position != index]
    step = 2 * _FAR / _STEPS
    total = 0.0
    for number in range(_STEPS + 1):
        z = -_FAR + number * step
        below = math.prod(_below(mean + z * error, *other) for other in others)
        total += math.exp(-z * z / 2) * below
    return total * step / math.sqrt(2 * math.pi)


def _below(value: float, mean: float, error: float) -> float:
    """The probability that a normal variable is below a value."""
    if error == 0:
        return 0.5 if value == mean else float(value > mean)
    return math.erfc((mean - value) / error / math.sqrt(2)) / 2
