"""How many users it takes to see an effect: by the normal approximation, two-sided.

Source for one look: Chow, Shao, Wang 2008, "Sample Size Calculations in Clinical Research", sections 3.2 and
4.2. With always-valid intervals the same holds with their wider multiplier; the number is that at which the
last look alone has the power, so a stop comes earlier more often than not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from . import sequences
from .comparison import Method

_NORMAL = NormalDist()
_MOST = 10**12
POWER = 0.8
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Design:
    """Two versions that are to be compared.

    Attributes:
        control: the variance of one user's value in the control.
        other: likewise in the other version.
        share: of the users of both, the part that the other version has.
    """

    control: float
    other: float
    share: float = 0.5

    def error(self, users: float) -> float:
        """The standard error of the difference with so many users in both."""
        return math.sqrt((self.control / (1 - self.share) + self.other / self.share) / users)


def proportions(baseline: float, other: float, share: float = 0.5) -> Design:
    """The design for a proportion: of users who convert, say."""
    return Design(baseline * (1 - baseline), other * (1 - other), share)


def power(design: Design, effect: float, users: int, alpha: float = ALPHA) -> float:
    """The probability that one look at so many users, in both versions, sees the effect."""
    z, shift = _NORMAL.inv_cdf(1 - alpha / 2), abs(effect) / design.error(users)
    return _NORMAL.cdf(shift - z) + _NORMAL.cdf(-shift - z)


def users_needed(
    design: Design,
    effect: float,
    alpha: float = ALPHA,
    wanted: float = POWER,
    method: Method = Method.ALWAYS,
) -> int | None:
    """How many users both versions need together; None: more than there are."""
    extra = _NORMAL.inv_cdf(wanted)
    low, high = 2, _MOST
    if effect == 0 or not _seen(design, effect, alpha, extra, method, high):
        return None
    while low < high:
        middle = (low + high) // 2
        if _seen(design, effect, alpha, extra, method, middle):
            high = middle
        else:
            low = middle + 1
    return low


def _seen(design: Design, effect: float, alpha: float, extra: float, method: Method, users: int) -> bool:
    always = method is Method.ALWAYS
    width = sequences.multiplier(users, alpha) if always else _NORMAL.inv_cdf(1 - alpha / 2)
    return abs(effect) >= (width + extra) * design.error(users)
