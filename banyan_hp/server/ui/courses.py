"""How intervals moved over time, drawn: a panel for each version, all on one scale. Numbers to places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..analysis.comparison import Interval
from ..analysis.course import Course
from ..analysis.metrics import Metric
from ..analysis.verdicts import Finding

WIDTH, HEIGHT = 480, 150  # of a panel, the dates below it included
LEFT, _RIGHT = 110, WIDTH - 20
_TOP, _BOTTOM = 12, 122
_BEYOND = 0.75  # of the last intervals' span: earlier, wider ones may reach so far beyond them, then are cut

Place = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Panel:
    """One version's difference to the control.

    Attributes:
        band: the corners of the area between the intervals' ends.
        line: the estimates.
        dots: the same, one by one.
        better: at the end, with certainty; False: worse; None: neither.
    """

    version: str
    band: str
    line: str
    dots: Sequence[tuple[float, float]]
    better: bool | None


@dataclass(frozen=True, slots=True)
class Row:
    """One time: of each version that is compared its users and its interval, if there is one."""

    at: datetime
    versions: Sequence[tuple[int, Interval | None]]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A metric's course.

    Attributes:
        metric: what its values are, as the results say it.
        zero: where there is no difference.
        ends: what the lower and the upper end of a panel stand for, and where they are.
        dates: the first and the last time, and where they are.
        panels: none as long as nothing can be compared.
        versions: of the rows, in their order.
        rows: newest first.
    """

    metric: Mapping[str, Any]
    zero: float
    ends: Sequence[tuple[float, float]]
    dates: Sequence[tuple[datetime, float]]
    panels: Sequence[Panel]
    versions: Sequence[str]
    rows: Sequence[Row]


def drawn(course: Course | None, names: Mapping[str, str]) -> Drawing | None:
    """The drawing of a course; None: nobody has a value of the metric yet."""
    if course is None or not course.points:
        return None
    lines = [
        [each.found[index] for each in course.points]
        for index, each in enumerate(course.points[0].found)
        if each.version != course.control
    ]
    times = [each.at for each in course.points]
    versions = [names.get(line[0].version, line[0].version) for line in lines]
    rows = [
        Row(at, [(line[index].moments.n, _interval(line[index])) for line in lines])
        for index, at in enumerate(times)
    ]
    intervals = [each for row in rows for _, each in row.versions if each is not None]
    if not intervals:
        return Drawing(_said(course.metric), 0.0, [], [], [], versions, rows[::-1])
    low, high = _scale(intervals, [each for each in map(_interval, _last(lines)) if each is not None])
    x, y = _along(times), _up(low, high)
    panels = [_panel(name, line, times, x, y) for name, line in zip(versions, lines, strict=True)]
    least, most = _ends(intervals)
    ends = [(each, y(each)) for each in (low, high) if each != 0 and least <= each <= most]
    dates = [(at, x(at.timestamp())) for at in dict.fromkeys((times[0], times[-1]))]
    return Drawing(_said(course.metric), y(0.0), ends, dates, panels, versions, rows[::-1])


def _interval(found: Finding) -> Interval | None:
    return found.comparison.absolute if found.comparison is not None else None


def _last(lines: Sequence[Sequence[Finding]]) -> list[Finding]:
    return [line[-1] for line in lines]


def _said(metric: Metric) -> Mapping[str, Any]:
    return {"name": metric.name, "unit": metric.unit, "proportion": metric.proportion}


# -- places --------------------------------------------------------------------------------------------------


def _scale(every: Sequence[Interval], last: Sequence[Interval]) -> tuple[float, float]:
    """What a panel reaches from and to; zero is within."""
    least, most = _ends(every)
    low, high = _ends(last or every)
    beyond = _BEYOND * (high - low)
    low, high = max(least, low - beyond), min(most, high + beyond)
    return (low, high) if low < high else (-1.0, 1.0)


def _ends(intervals: Sequence[Interval]) -> tuple[float, float]:
    return min(0.0, *(each.low for each in intervals)), max(0.0, *(each.high for each in intervals))


def _along(times: Sequence[datetime]) -> Place:
    first, last = times[0].timestamp(), times[-1].timestamp()
    if first == last:
        return lambda _at: (LEFT + _RIGHT) / 2
    return lambda at: round(LEFT + (at - first) / (last - first) * (_RIGHT - LEFT), 1)


def _up(low: float, high: float) -> Place:
    def place(value: float) -> float:
        within = min(high, max(low, value))
        return round(_BOTTOM - (within - low) / (high - low) * (_BOTTOM - _TOP), 1)

    return place


def _panel(version: str, line: Sequence[Finding], times: Sequence[datetime], x: Place, y: Place) -> Panel:
    there = [
        (x(at.timestamp()), interval)
        for at, found in zip(times, line, strict=True)
        if (interval := _interval(found)) is not None
    ]
    upper = [(at, y(each.high)) for at, each in there]
    lower = [(at, y(each.low)) for at, each in there]
    dots = [(at, y(each.estimate)) for at, each in there]
    return Panel(version, _corners([*upper, *reversed(lower)]), _corners(dots), dots, line[-1].better)


def _corners(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in places)
