"""How often simulated experiments are wrong: looked at every day, with users who come back.

The small ones run with all tests; those of 1,000 experiments are marked `soak` and print their figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import NormalDist

import numpy as np
import pytest

from banyan_hp.server.analysis import mismatch, sequences
from banyan_hp.server.analysis.comparison import Method, compare
from banyan_hp.server.analysis.enough import enough
from banyan_hp.server.analysis.guarding import FIRST_CALLS, looks_at, tripped
from banyan_hp.server.analysis.metrics import Metric
from banyan_hp.server.analysis.moments import Moments
from banyan_hp.server.analysis.power import power, proportions
from banyan_hp.server.analysis.verdicts import judged
from tests.support.simulated import METRICS, Draw, Journey, daily, failing, guarded, likes, slow

DAYS = 30
# Users a day in each version: even, few and many; uneven; of three versions.
SPLITS = ((20, 20), (200, 200), (1000, 1000), (180, 20), (20, 180), (990, 10), (100, 100, 100))


def simulated(
    draws: Sequence[Draw], users: Sequence[int], experiments: int, seed: int
) -> list[list[list[Moments]]]:
    """By version, experiment and day."""
    rng = np.random.default_rng(seed)
    return [daily(rng, draw, experiments, DAYS, number) for draw, number in zip(draws, users, strict=True)]


def winners(
    versions: list[list[list[Moments]]], *, proportion: bool, method: Method = Method.ALWAYS
) -> list[bool | None]:
    """Of each experiment the first certainty about any version on any day: better, or worse; None: never."""
    metric, alpha = Metric("m", proportion=proportion), 0.05 / (len(versions) - 1)
    return [_first(metric, zip(*each, strict=True), alpha, method) for each in zip(*versions, strict=True)]


def _first(metric: Metric, days: Iterable[Sequence[Moments]], alpha: float, method: Method) -> bool | None:
    for control, *others in days:
        for other in others:
            _, better = judged(metric, control, other, alpha, method)
            if better is not None:
                return better
    return None


def called(found: Sequence[object]) -> float:
    return sum(each is not None for each in found) / len(found)


@pytest.mark.parametrize("metric", ["thumbs", "cost"])
def test_looking_every_day_makes_no_winners(metric: str) -> None:
    """Of 60 A/A experiments hardly one has a winner; by intervals for one look a quarter of them has."""
    draw, proportion = METRICS[metric]
    versions = simulated([draw, draw], (40, 40), 60, seed=11)
    assert called(winners(versions, proportion=proportion)) <= 0.05
    assert called(winners(versions, proportion=proportion, method=Method.FIXED)) > 0.1


@pytest.mark.soak
@pytest.mark.parametrize("metric", list(METRICS))
@pytest.mark.parametrize("users", SPLITS, ids=str)
def test_a_thousand_experiments_without_a_difference(metric: str, users: tuple[int, ...]) -> None:
    """At most 5 % ever have a winner, on any of 30 days, in whatever metric and split."""
    draw, proportion = METRICS[metric]
    versions = simulated([draw] * len(users), users, 1000, seed=1)
    share = called(winners(versions, proportion=proportion))
    print(f"A/A {metric} {users}: a winner in {share:.1%}")
    assert share <= 0.05


@pytest.mark.soak
def test_a_thousand_experiments_with_a_difference() -> None:
    """The true difference is in the intervals of all days at least as often as promised; power is printed."""
    versions = simulated([likes(0.30), likes(0.33)], (200, 200), 1000, seed=2)
    covered, once, ever = 0, 0, 0
    for control, other in zip(*versions, strict=True):
        looks = [
            compare(c, o, 0.05).absolute
            for c, o in zip(control, other, strict=True)
            if enough(c, o, proportion=True)
        ]
        covered += all(each.low <= 0.03 <= each.high for each in looks)
        ever += any(each.low > 0 for each in looks)
        once += compare(control[-1], other[-1], 0.05, Method.FIXED).absolute.low > 0
    users, design = 2 * 200 * DAYS, proportions(0.30, 0.33)
    theory = power(design, 0.03, users)
    at_last = NormalDist().cdf(0.03 / design.error(users) - sequences.multiplier(users, 0.05))
    print(
        f"A/B 30 % and 33 %, {200 * DAYS} users a version: all intervals cover in {covered / 10:.1f} % (95 %)"
    )
    print(f"power of one look: {once / 10:.1f} % (theory {100 * theory:.1f} %)")
    print(f"power looking daily: {ever / 10:.1f} % (theory of the last look alone {100 * at_last:.1f} %)")
    assert covered >= 950
    assert abs(once / 1000 - theory) < 0.03
    assert ever / 1000 > at_last


def mismatches(
    shares: Sequence[float], true: Sequence[float], users: int, experiments: int, seed: int
) -> float:
    """The part of experiments that is called a mismatch on any of 30 days."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(users, true, (experiments, DAYS)).cumsum(axis=1).tolist()
    return (
        sum(any(mismatch.p_value(day, shares) < mismatch.LEVEL for day in each) for each in counts)
        / experiments
    )


def test_a_broken_split_is_a_mismatch_and_an_honest_one_is_none() -> None:
    """2 % of the users in the wrong version show within 30 days of 1,000 users."""
    assert mismatches((0.5, 0.5), (0.5, 0.5), 1_000, 50, seed=3) <= 0.02
    assert mismatches((0.5, 0.5), (0.52, 0.48), 1_000, 50, seed=4) > 0.9


@pytest.mark.soak
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.99, 0.01), (0.34, 0.33, 0.33)])
@pytest.mark.parametrize("users", [10, 300, 10_000])
def test_a_thousand_honest_splits(shares: tuple[float, ...], users: int) -> None:
    """At most 1 % are ever called a mismatch."""
    share = mismatches(shares, shares, users, 1000, seed=5)
    print(f"honest split {shares}, {users} users a day: a mismatch in {share:.1%}")
    assert share <= 0.01


# -- guards --------------------------------------------------------------------------------------------------

LATENCY = Metric("latency", lower_is_better=True)
ERROR_RATE = Metric("error_rate", proportion=True, lower_is_better=True)
LOOKS = 4  # a day
Guarded = Sequence[tuple[Metric, Journey, Journey]]


def first_trips(
    guards: Guarded, users: tuple[int, int], experiments: int, seed: int
) -> dict[int, tuple[int, str]]:
    """The experiments in which guards of 10 % trip in 30 days: at which look, by what is looked at.

    `users` come between two looks.
    """
    found: dict[int, tuple[int, str]] = {}
    comparisons = sum(len(looks_at(metric.name)) for metric, _, _ in guards)
    for number, (metric, *journeys) in enumerate(guards):
        rng = np.random.default_rng(seed + number)
        versions = [
            guarded(rng, journey, experiments, DAYS, LOOKS, count)
            for journey, count in zip(journeys, users, strict=True)
        ]
        for index, (control, other) in enumerate(zip(*versions, strict=True)):
            for of, one, two in zip(looks_at(metric.name), control, other, strict=True):
                looks = enumerate(zip(one, two, strict=True))
                at = next((at for at, (c, o) in looks if tripped(metric, 0.1, c, o, comparisons)), None)
                if at is not None:
                    found[index] = min(found.get(index, (at, of)), (at, of))
    return found


def test_guards_leave_harmless_versions_and_pause_bad_ones() -> None:
    """One that is the same as the control, and one that is 40 % slower."""
    same = slow(800, 0.5)
    assert len(first_trips([(LATENCY, same, same)], (12, 12), 50, seed=6)) <= 0.05 * 50
    assert len(first_trips([(LATENCY, same, slow(1120, 0.5))], (12, 12), 50, seed=7)) > 0.9 * 50


def test_a_version_that_breaks_everything_is_paused_on_the_first_day() -> None:
    """By the first calls, before any window is over."""
    trips = first_trips([(ERROR_RATE, failing(0.01), failing(0.9))], (100, 100), 50, seed=9)
    assert len(trips) == 50
    assert all(at < LOOKS and of == FIRST_CALLS for at, of in trips.values())


@pytest.mark.soak
@pytest.mark.parametrize("users", [(5, 5), (50, 50), (237, 13)], ids=str)
@pytest.mark.parametrize("worse", [1.0, 1.1])
def test_a_thousand_harmless_versions(worse: float, users: tuple[int, int]) -> None:
    """At most 5 % are paused in 30 days, by two guards: versions like the control, and such on the bound."""
    guards = [
        (LATENCY, slow(800, 0.5), slow(800 * worse, 0.5)),
        (ERROR_RATE, failing(0.01), failing(0.01 * worse)),
    ]
    share = len(first_trips(guards, users, 1000, seed=8)) / 1000
    print(f"harmless versions, worse by {worse - 1:.0%}, {users} users between looks: paused in {share:.1%}")
    assert share <= 0.05
