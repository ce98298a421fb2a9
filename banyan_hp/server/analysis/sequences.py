"""Intervals that may be looked at as often as one likes: asymptotic confidence sequences.

An ordinary 95 % interval holds for one look, planned beforehand. Who looks every day until it excludes zero
finds a difference sooner or later, also where there is none. A confidence sequence holds at all looks
together, for the price of being about 1.6 times as wide.

Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas 2021, "Time-uniform central limit theory and asymptotic
confidence sequences" (arXiv 2103.06476), theorem 2.2. It was chosen over a mixture SPRT, which has the same
boundary, because it asks for no model of the metric and no known variance: it holds asymptotically for
whatever has a mean and a little more than a variance. From how many users on it holds is in `enough.py`.
"""

from __future__ import annotations

import math

TUNED_FOR = 5_000
"""The number of users at which the interval is narrowest, as a multiple of the standard error.

It must be fixed before there are data. With ten times as many users the interval is 7 % wider than it could
be, with a tenth of them 27 %.
"""


def multiplier(users: int, alpha: float) -> float:
    """Half the width of the two-sided interval, in standard errors of the estimate.

    Args:
        users: those that the estimate rests on, in all versions that it compares.
        alpha: the probability that the interval is ever wrong.
    """
    scaled = users * _rho_squared(alpha)
    return math.sqrt(2 * (scaled + 1) / scaled * math.log(math.sqrt(scaled + 1) / alpha))


def p_value(z: float, users: int, alpha: float) -> float:
    """The least alpha whose interval would exclude zero, for an estimate of `z` standard errors.

    It is always valid, too. `alpha` is the level that was chosen beforehand: the boundary's shape.
    """
    scaled = users * _rho_squared(alpha)
    exponent = -z * z * scaled / (2 * (scaled + 1))
    return min(1.0, math.sqrt(scaled + 1) * math.exp(exponent))


def _rho_squared(alpha: float) -> float:
    """What makes the boundary narrowest at `TUNED_FOR` users: appendix B.2 of the source."""
    doubled = -2 * math.log(alpha)
    return (doubled + math.log(doubled + 1)) / TUNED_FOR
