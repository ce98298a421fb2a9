"""How the comparisons of a metric moved while users came: the same intervals at one time after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .metrics import Metric
from .moments import Moments
from .verdicts import Finding, Question, comparisons

MOST_POINTS = 100
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
_HOURLY = 3 * DAY  # what lasts no longer is shown by the hour


@dataclass(frozen=True, slots=True)
class Times:
    """Times at even distances; the last one is at the end, however near the one before is.

    Attributes:
        origin: the whole hour or day at which the first step begins.
    """

    origin: datetime
    step: timedelta
    end: datetime

    @classmethod
    def of(cls, start: datetime, end: datetime) -> Times:
        """Whole hours or days, or so many of them that there are at most `MOST_POINTS`."""
        unit = HOUR if end - start <= _HOURLY else DAY
        start = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        origin = start if unit == HOUR else start.replace(hour=0)
        return cls(origin, unit * max(1, -(-(end - origin) // (unit * MOST_POINTS))), end)

    def at(self, number: int) -> datetime:
        """The end of a step; 0 is the first."""
        return min(self.end, self.origin + (number + 1) * self.step)


@dataclass(frozen=True, slots=True)
class Point:
    """What the results were at a time, as far as users' windows were over by then."""

    at: datetime
    found: Sequence[Finding]


@dataclass(frozen=True, slots=True)
class Course:
    """A metric's results over time, oldest first."""

    metric: Metric
    control: str
    points: Sequence[Point]


def course(
    metric: Metric,
    sums: Sequence[tuple[datetime, Mapping[str, Moments]]],
    versions: Sequence[str],
    question: Question,
) -> Course:
    """The course of a metric.

    Args:
        metric: which.
        sums: of all users up to each time, by version.
        versions: those that are compared, the control among them.
        question: how they are compared.
    """
    points = [
        Point(at, comparisons(metric, {each: by_version.get(each, Moments()) for each in versions}, question))
        for at, by_version in sums
    ]
    return Course(metric, question.control, points)
