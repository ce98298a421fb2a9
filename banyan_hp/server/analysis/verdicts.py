"""What the numbers of an experiment amount to: each version beside the control, and which one won, if any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from . import best
from .comparison import Comparison, Method, compare
from .enough import LEAST_EFFECTIVE, LEAST_USERS, effective, enough, variances
from .metrics import Metric
from .moments import Moments
from .power import Design, users_needed

ALPHA = 0.05
EFFECT = 0.1
"""The relative difference that "how many more users" is reckoned for, where none is asked about."""


@dataclass(frozen=True, slots=True)
class Question:
    """How a metric is to be looked at.

    Attributes:
        control: the `experiment_version_id` that the others are compared with.
        alpha: of all comparisons of one metric together.
        effect: the relative difference to the control that is worth knowing.
    """

    control: str
    alpha: float = ALPHA
    method: Method = Method.ALWAYS
    effect: float = EFFECT


@dataclass(frozen=True, slots=True)
class Finding:
    """One version in one metric.

    Attributes:
        comparison: with the control; None of the control itself, and where there are too few users.
        better: than the control with certainty; False: worse with certainty; None: neither.
    """

    version: str
    moments: Moments
    probability_best: float | None
    comparison: Comparison | None = None
    better: bool | None = None


def findings(metric: Metric, versions: Mapping[str, Moments], question: Question) -> list[Finding]:
    """Each version in a metric, in their order."""
    chances = best.probabilities(list(versions.values()), lower_is_better=metric.lower_is_better)
    found = comparisons(metric, versions, question)
    if chances is None:
        return found
    return [replace(each, probability_best=chance) for each, chance in zip(found, chances, strict=True)]


def comparisons(metric: Metric, versions: Mapping[str, Moments], question: Question) -> list[Finding]:
    """The same without the probabilities, which take the most time; `alpha` is divided among them."""
    alpha = _each(question, len(versions))
    found = []
    for name, moments in versions.items():
        compared: tuple[Comparison | None, bool | None] = (None, None)
        if name != question.control:
            compared = judged(metric, versions[question.control], moments, alpha, question.method)
        found.append(Finding(name, moments, None, *compared))
    return found


def _each(question: Question, versions: int) -> float:
    """The alpha of one comparison of several."""
    return question.alpha / max(1, versions - 1)


def judged(
    metric: Metric, control: Moments, other: Moments, alpha: float, method: Method
) -> tuple[Comparison | None, bool | None]:
    """A version beside the control, and whether it is better or worse with certainty; None: neither."""
    if not enough(control, other, proportion=metric.proportion):
        return None, None
    comparison = compare(control, other, alpha, method)
    difference = comparison.absolute
    better = (difference.high < 0) == metric.lower_is_better if difference.excludes_zero else None
    return comparison, better


@dataclass(frozen=True, slots=True)
class Decision:
    """What the primary metric says.

    Attributes:
        winner: None: there is none.
        enough: False: at least one comparison has too few users, and no version won.
        needed: how many times the present users it takes to see the effect asked about, at least 1; None: it
            can't be said yet.
    """

    winner: str | None
    enough: bool
    needed: float | None


def decide(metric: Metric, found: Sequence[Finding], question: Question) -> Decision:
    """Who won.

    A version that is better than the control wins; of several, the one with the best mean. The control wins
    once every other version is worse.
    """
    others = [each for each in found if each.version != question.control]
    needed = _needed(metric, found, question)
    better = [each for each in others if each.better]
    if better:
        sign = -1 if metric.lower_is_better else 1
        winner = max(better, key=lambda each: sign * each.moments.mean)
        return Decision(winner.version, enough=True, needed=needed)
    if others and all(each.better is False for each in others):
        return Decision(question.control, enough=True, needed=needed)
    compared = bool(others) and all(each.comparison is not None for each in others)
    return Decision(None, enough=compared, needed=needed)


def _needed(metric: Metric, found: Sequence[Finding], question: Question) -> float | None:
    """For all comparisons together: the largest."""
    alpha = _each(question, len(found))
    controls = [each.moments for each in found if each.version == question.control]
    others = [each.moments for each in found if each.version != question.control]
    times = [_times(metric, control, other, alpha, question) for control in controls for other in others]
    known = [each for each in times if each is not None]
    return max(known) if known and len(known) == len(times) else None


def _times(
    metric: Metric, control: Moments, other: Moments, alpha: float, question: Question
) -> float | None:
    """How many times the present users one comparison takes."""
    fewest, both = min(control.n, other.n), control + other
    carried = effective(both, proportion=metric.proportion) * fewest / both.n if fewest >= 2 else 0.0
    if carried == 0:
        return None
    design = Design(*variances(control, other), other.n / both.n)
    wanted = users_needed(design, question.effect * abs(control.mean), alpha, method=question.method)
    if wanted is None:
        return None
    return max(1.0, LEAST_USERS / fewest, LEAST_EFFECTIVE / carried, wanted / both.n)
