"""The formulas agree with scipy, statsmodels and numpy where these have the same method."""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import normal_power_het, normal_sample_size_one_tail

from banyan_hp.server.analysis import best, enough, fixed, mismatch, power, sequences
from banyan_hp.server.analysis.comparison import Method, compare, standard_errors, worse_by
from banyan_hp.server.analysis.moments import Moments

SIZES = ((12, 9), (150, 4_000), (50_000, 20_000))


def samples(sizes: tuple[int, int], seed: int = 7) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.lognormal(3.0, 0.7, sizes[0]), rng.lognormal(3.05, 0.9, sizes[1])


def moments(values: Any) -> Moments:
    return Moments.of((1.0, float(value)) for value in values)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("alpha", [0.5, 0.05, 0.0001])
def test_the_fixed_interval_is_welchs(sizes: tuple[int, int], alpha: float) -> None:
    """Its bounds and its p-value are scipy's."""
    one, other = samples(sizes)
    theirs = stats.ttest_ind(other, one, equal_var=False)
    bounds = theirs.confidence_interval(1 - alpha)
    ours = compare(moments(one), moments(other), alpha, Method.FIXED)
    assert (ours.absolute.low, ours.absolute.high) == pytest.approx((bounds.low, bounds.high), rel=1e-6)
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-6)


@given(st.floats(0.5, 1e7), st.floats(1e-6, 0.9))
def test_students_distribution_is_scipys(degrees: float, alpha: float) -> None:
    """From half a degree of freedom to millions."""
    quantile = float(stats.t.isf(alpha / 2, degrees))
    assert fixed.multiplier(degrees, alpha) == pytest.approx(quantile, rel=1e-6)
    assert fixed.p_value(quantile, degrees) == pytest.approx(alpha, rel=1e-6)


def test_the_variance_of_a_ratio_is_the_delta_methods() -> None:
    """As numpy's covariances give it; for a mean over users it is the sample variance."""
    rng = np.random.default_rng(3)
    x = rng.geometric(0.3, 400).astype(float)
    y = x * rng.gamma(2.0, 400.0, 400)
    ours = Moments.of(zip(x.tolist(), y.tolist(), strict=True))
    ratio, mean = y.sum() / x.sum(), x.mean()
    spread = np.cov(y, x)
    expected = (spread[0, 0] - 2 * ratio * spread[0, 1] + ratio**2 * spread[1, 1]) / mean**2
    assert (ours.mean, ours.variance) == pytest.approx((ratio, expected), rel=1e-9)
    assert moments(y).variance == pytest.approx(y.var(ddof=1), rel=1e-9)
    assert ours.standard_error == pytest.approx(math.sqrt(expected / 400), rel=1e-9)


def test_sums_can_be_added() -> None:
    """The sums of two halves are those of the whole; users without a value are in neither."""
    users = [(1.0, 2.0), (3.0, 4.0), (0.0, 0.0), (2.0, 5.0)]
    assert Moments.of(users[:2]) + Moments.of(users[2:]) == Moments.of(users)
    assert Moments.of(users).n == 3


def test_a_confidence_sequence_has_the_published_width() -> None:
    """Theorem 2.2, written down a second time; it is narrowest near the number of users it is tuned for."""
    alpha, t = 0.05, 1_000
    rho = math.sqrt((-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / sequences.TUNED_FOR)
    sigma, inner = 3.0, t * rho**2 + 1
    half = sigma * math.sqrt(2 * inner / (t**2 * rho**2) * math.log(math.sqrt(inner) / alpha))
    assert sequences.multiplier(t, alpha) * sigma / math.sqrt(t) == pytest.approx(half, rel=1e-12)
    tuned = sequences.multiplier(sequences.TUNED_FOR, alpha)
    others = [sequences.multiplier(int(sequences.TUNED_FOR * times), alpha) for times in (0.1, 0.3, 3, 10)]
    assert all(tuned < other < 1.3 * tuned for other in others)


@given(st.integers(2, 10**7), st.floats(0.001, 0.2), st.floats(0.1, 10))
def test_an_always_valid_p_value_goes_with_its_interval(users: int, alpha: float, z: float) -> None:
    """It is below alpha where the interval excludes zero."""
    excluded = z > sequences.multiplier(users, alpha)
    assert (sequences.p_value(z, users, alpha) < alpha) == excluded


@pytest.mark.parametrize("method", list(Method))
def test_relative_and_absolute_difference_agree_on_zero(method: Method) -> None:
    """At Fieller's bounds the difference to that multiple of the control is just not told from zero."""
    one, other = (moments(each) for each in samples((300, 500)))
    found = compare(one, other, 0.05, method)
    assert found.relative is not None
    assert found.relative.excludes_zero == found.absolute.excludes_zero
    width = fixed.multiplier(fixed.degrees_of_freedom(one, other), 0.05)
    if method is Method.ALWAYS:
        width = sequences.multiplier(800, 0.05)
    for bound in (found.relative.low, found.relative.high):
        errors = standard_errors(one, other, method)
        error = math.hypot((1 + bound) * errors[0], errors[1])
        assert abs(other.mean - (1 + bound) * one.mean) == pytest.approx(width * error, rel=1e-9)


def test_there_is_no_relative_difference_to_nothing() -> None:
    """Where the control's mean can't be told from zero, only the absolute difference is given."""
    none, some = moments([0.0] * 99 + [1.0]), moments([0.0, 1.0] * 50)
    found = compare(none, some, 0.05)
    assert found.relative is None
    assert found.absolute.low > 0


def test_worse_is_measured_in_the_metrics_direction() -> None:
    """By so much of the control's mean, whichever sign that has."""
    ten, eleven, minus = moments([10.0, 10.0]), moments([11.0, 11.0]), moments([-10.0, -10.0])
    assert worse_by(ten, eleven, 0.05, lower_is_better=True)[0] == pytest.approx(0.5)
    assert worse_by(eleven, ten, 0.05, lower_is_better=False)[0] == pytest.approx(0.45)
    assert worse_by(minus, moments([-12.0, -12.0]), 0.1, lower_is_better=False)[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("baseline", "effect", "wanted"), [(0.1, 0.02, 0.8), (0.3, -0.1, 0.9), (0.5, 0.01, 0.5)]
)
def test_power_is_statsmodels(baseline: float, effect: float, wanted: float) -> None:
    """Numbers of users, and the power that they give, for one look."""
    design = power.proportions(baseline, baseline + effect)
    spread = math.sqrt(baseline * (1 - baseline) + (baseline + effect) * (1 - baseline - effect))
    users = power.users_needed(design, effect, wanted=wanted, method=Method.FIXED)
    theirs = normal_sample_size_one_tail(abs(effect), wanted, 0.025, std_null=spread, std_alternative=spread)
    assert users == math.ceil(2 * theirs)
    for size in (100, 1_000, 10_000):
        expected = normal_power_het(effect, size, 0.05, std_null=spread, std_alternative=spread)
        assert power.power(design, effect, 2 * size) == pytest.approx(float(expected), abs=1e-6)


def test_looking_whenever_one_likes_takes_more_users() -> None:
    """About twice as many as one look; no difference at all is never seen."""
    design = power.proportions(0.1, 0.12)
    once = power.users_needed(design, 0.02, method=Method.FIXED)
    always = power.users_needed(design, 0.02)
    assert once is not None
    assert always is not None
    assert 1.5 * once < always < 2.5 * once
    assert power.users_needed(design, 0.0) is None


def test_of_two_versions_the_better_ones_probability_is_known() -> None:
    """It is the normal distribution of the difference, in both directions."""
    one, other = (moments(each) for each in samples((400, 300)))
    z = (other.mean - one.mean) / math.hypot(one.standard_error, other.standard_error)
    higher = best.probabilities([one, other], lower_is_better=False)
    assert higher == pytest.approx([stats.norm.sf(z), stats.norm.cdf(z)], abs=1e-6)
    assert higher is not None
    assert best.probabilities([one, other], lower_is_better=True) == pytest.approx(higher[::-1], abs=1e-9)


def test_of_many_versions_the_probabilities_are_those_of_drawing() -> None:
    """As numpy draws them; they add up to one."""
    versions = [moments(samples((90 + 40 * number, 5), seed=number)[0]) for number in range(4)]
    found = best.probabilities(versions, lower_is_better=False)
    assert found is not None
    drawn = np.random.default_rng(5).normal(
        [each.mean for each in versions], [each.standard_error for each in versions], (200_000, 4)
    )
    wins = np.bincount(drawn.argmax(axis=1), minlength=4) / 200_000
    assert found == pytest.approx(wins.tolist(), abs=0.005)
    assert sum(found) == pytest.approx(1)


def test_too_few_users_have_no_probability() -> None:
    """Nor has a single version."""
    assert best.probabilities([Moments(), moments([1.0, 2.0])], lower_is_better=False) is None
    assert best.probabilities([moments([1.0, 2.0])], lower_is_better=False) is None


def test_a_mismatchs_p_value_is_the_bayes_factors() -> None:
    """Against scipy's Dirichlet-multinomial and multinomial distributions."""
    counts, shares = [530, 470, 210], [0.4, 0.4, 0.2]
    factors = [
        stats.dirichlet_multinomial(np.array(shares) * concentration, sum(counts)).pmf(counts)
        / stats.multinomial(sum(counts), shares).pmf(counts)
        for concentration in (100.0, 10_000.0)
    ]
    assert mismatch.p_value(counts, shares) == pytest.approx(min(1, 1 / np.mean(factors)), rel=1e-6)
    assert mismatch.p_value([0, 0], [0.5, 0.5]) == pytest.approx(1)
    assert mismatch.p_value([50, 0], [1, 1]) < mismatch.LEVEL


def test_effective_users_are_successes_or_failures() -> None:
    """Of a proportion; a heavy tail counts for less than its number of users."""
    rare, common = moments([1.0] * 3 + [0.0] * 997), moments([1.0] * 997 + [0.0] * 3)
    assert enough.effective(rare, proportion=True) == pytest.approx(3)
    assert enough.effective(common, proportion=True) == pytest.approx(3)
    assert enough.effective(common, proportion=False) == pytest.approx(997)
    heavy = moments(np.random.default_rng(1).lognormal(0, 1.5, 1000))
    assert 20 < enough.effective(heavy, proportion=False) < 300
    assert not enough.enough(rare, rare, proportion=True)
    assert enough.enough(moments([0.0] * 1000), moments([0.0, 1.0] * 500), proportion=True)


@pytest.mark.parametrize("value", [0.1, 0.7, 3.3, 1e12 + 0.3])
@pytest.mark.parametrize("sizes", [(5_000, 5_100), (60, 1_000), (100, 101)])
def test_rounding_is_no_difference(value: float, sizes: tuple[int, int]) -> None:
    """Where all users have the same value their means differ in the last digits: nobody wins by that."""
    one, other = (_summed(value, size) for size in sizes)
    for method in Method:
        comparison = compare(one, other, 0.05, method)
        assert not comparison.absolute.excludes_zero
        assert comparison.p_value > 0.9
    real = compare(one, _summed(1.001 * value, sizes[1]), 0.05)
    assert real.absolute.low > 0
    chances = best.probabilities([one, other], lower_is_better=False)
    assert chances == pytest.approx([0.5, 0.5], abs=0.01)


def _summed(value: float, users: int) -> Moments:
    """The sums of as many users with this value, one after the other, as a database has them."""
    y, yy = (functools.reduce(operator.add, [each] * users) for each in (value, value * value))
    return Moments(users, float(users), y, float(users), y, yy)
