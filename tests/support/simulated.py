"""Simulated experiments: users who come back, drawn by numpy, and the sums over them after each day."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from banyan_hp.server.analysis.moments import Moments

Array = Any  # of numpy
Drawn = tuple[Array, Array]  # of each user: the number of calls or scores, and the sum of their values
Draw = Callable[[np.random.Generator, tuple[int, ...]], Drawn]


def calls(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """How often users come: once to many times, 3.3 on average."""
    return rng.geometric(0.3, shape).astype(float)


def likes(share: float) -> Draw:
    """One yes or no of each user."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Drawn:
        return np.ones(shape), (rng.random(shape) < share).astype(float)

    return draw


def amounts(mean: float, sigma: float) -> Draw:
    """A value of each call: lognormal over users, and one user's calls vary around it."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Drawn:
        times = calls(rng, shape)
        own = mean * np.exp(sigma * rng.standard_normal(shape) - sigma**2 / 2)
        return times, own * rng.gamma(2 * times) / 2

    return draw


def errors(share: float) -> Draw:
    """Calls that fail, most of them of a few users."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Drawn:
        times = calls(rng, shape)
        return times, rng.binomial(times.astype(int), rng.beta(0.1, 0.1 / share - 0.1, shape)).astype(float)

    return draw


METRICS: Mapping[str, tuple[Draw, bool]] = {
    "thumbs": (likes(0.3), True),
    "conversion": (likes(0.002), True),
    "latency": (amounts(800, 0.5), False),
    "cost": (amounts(0.01, 1.5), False),
    "error_rate": (errors(0.01), True),
}
"""How each is drawn, and whether it is a proportion: from the tame to rare and heavy-tailed ones."""


def daily(
    rng: np.random.Generator, draw: Draw, experiments: int, days: int, users_a_day: int
) -> list[list[Moments]]:
    """Of each experiment, the sums of one version after each day."""
    found: list[list[Moments]] = []
    for start in range(0, experiments, 50):
        found += _summed(*draw(rng, (min(50, experiments - start), days, users_a_day)))
    return found


def _summed(x: Array, y: Array) -> list[list[Moments]]:
    """Of each experiment, the sums after each step."""
    parts = (np.ones_like(x), x, y, x * x, x * y, y * y)
    sums = np.stack([part.sum(axis=2).cumsum(axis=1) for part in parts], axis=2)
    return [[Moments(int(row[0]), *row[1:].tolist()) for row in each] for each in sums]


# -- what guards look at -------------------------------------------------------------------------------------

Journey = Callable[[np.random.Generator, tuple[int, ...]], tuple[Array, Drawn]]
"""Of each user: the value of the first call; and all calls of the window."""


def slow(mean: float, sigma: float) -> Journey:
    """As `amounts`."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, Drawn]:
        times = calls(rng, shape)
        own = mean * np.exp(sigma * rng.standard_normal(shape) - sigma**2 / 2)
        first = own * rng.gamma(2, size=shape) / 2
        return first, (times, first + own * rng.gamma(2 * (times - 1)) / 2)

    return draw


def failing(share: float) -> Journey:
    """As `errors`."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, Drawn]:
        times, own = calls(rng, shape), rng.beta(0.1, 0.1 / share - 0.1, shape)
        first = (rng.random(shape) < own).astype(float)
        return first, (times, first + rng.binomial((times - 1).astype(int), own))

    return draw


def guarded(
    rng: np.random.Generator, journey: Journey, experiments: int, days: int, looks_a_day: int, users: int
) -> Iterator[tuple[list[Moments], list[Moments]]]:
    """Of each experiment, the sums of one version at each look: of first calls, and of windows of a day.

    So many new users come between two looks.
    """
    shape = (days * looks_a_day, users)
    for start in range(0, experiments, 50):
        first, (x, y) = journey(rng, (min(50, experiments - start), *shape))
        open_still = [Moments()] * looks_a_day
        for of_first, of_all in zip(_summed(np.ones_like(first), first), _summed(x, y), strict=True):
            yield of_first, [*open_still, *of_all][: days * looks_a_day]
