"""Whether users were dealt out as they should have been: a sequential test of a sample's ratio.

A split that is not the configured one means that users got lost, and seldom the same kind of users in each
version: such results can't be trusted, however clear they are. The test may be looked at at any time.

Source: Lindon, Malek 2020, "Anytime-Valid Inference for Multinomial Count Data" (arXiv 2011.03567): the Bayes
factor of a Dirichlet prior around the expected shares against these shares is a martingale if they are true,
so it ever exceeds 1 / alpha with a probability of at most alpha. The mean of several such factors is one,
too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

LEVEL = 0.01
"""Of honest splits, at most this part is ever called a mismatch."""

_CONCENTRATIONS = (100.0, 10_000.0)
"""Of the priors: the first sees a gross mismatch in dozens of users, the second a slight one in thousands."""


def p_value(counts: Sequence[int], shares: Sequence[float]) -> float:
    """The probability that so large a mismatch is ever seen, if the shares are true.

    Args:
        counts: users by version.
        shares: what each version should have, above zero; they are scaled to a sum of one.
    """
    total = sum(shares)
    expected = [share / total for share in shares]
    logs = [_log_factor(counts, expected, each) for each in _CONCENTRATIONS]
    largest = max(logs)
    log_mean = largest + math.log(sum(math.exp(each - largest) for each in logs) / len(logs))
    return math.exp(min(0.0, -log_mean))


def _log_factor(counts: Sequence[int], expected: Sequence[float], concentration: float) -> float:
    """The logarithm of the Bayes factor, equation 7 of the source."""
    known = math.lgamma(concentration) - math.lgamma(concentration + sum(counts))
    return known + sum(
        math.lgamma(concentration * share + count)
        - math.lgamma(concentration * share)
        - count * math.log(share)
        for count, share in zip(counts, expected, strict=True)
    )
