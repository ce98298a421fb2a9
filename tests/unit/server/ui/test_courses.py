"""Intervals over time, drawn: where everything is, and what is cut."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from banyan_hp.server.analysis.comparison import Comparison, Interval
from banyan_hp.server.analysis.course import Course, Point
from banyan_hp.server.analysis.metrics import Metric
from banyan_hp.server.analysis.moments import Moments
from banyan_hp.server.analysis.verdicts import Finding
from banyan_hp.server.ui import courses

START = datetime(2026, 3, 1, tzinfo=UTC)
TOP, BOTTOM = 12.0, 122.0


def course(*intervals: tuple[float, float] | None) -> Course:
    """Of one version beside its control: its low and high, a day apart."""
    points = []
    for day, ends in enumerate(intervals):
        compared = None
        if ends is not None:
            interval = Interval(sum(ends) / 2, *ends)
            compared = Comparison(interval, None, 1.0)
        control = Finding("a", Moments(n=9), None)
        points.append(
            Point(START + timedelta(days=day), [control, Finding("b", Moments(n=9), None, compared)])
        )
    return Course(Metric("thumbs", proportion=True), "a", points)


def corners(text: str) -> list[tuple[float, ...]]:
    return [tuple(map(float, each.split(","))) for each in text.split()]


def test_time_goes_right_and_what_is_better_is_above() -> None:
    """The band goes along the upper ends and back along the lower ones; a day without one has no dot."""
    drawn = courses.drawn(course(None, (-1.0, 3.0), (0.5, 2.5)), {"b": "v-b"})
    assert drawn is not None
    (panel,) = drawn.panels
    (first, upper), (last, top), (_, low), (_, bottom) = corners(panel.band)
    assert first < last == courses.WIDTH - 20
    assert (upper, bottom) == (TOP, BOTTOM)
    assert upper < top < low < drawn.zero < bottom
    assert [x for x, _ in panel.dots] == [first, last]
    assert [each for each, _ in drawn.ends] == [-1.0, 3.0]
    assert drawn.versions == ["v-b"]
    assert [row.at for row in drawn.rows] == [START + timedelta(days=day) for day in (2, 1, 0)]
    assert drawn.rows[2].versions == [(9, None)]


def test_wide_intervals_of_the_first_days_are_cut() -> None:
    """Else nothing could be seen of the last ones. The table has them as they are."""
    drawn = courses.drawn(course((-100.0, 100.0), (-1.0, 3.0)), {})
    assert drawn is not None
    assert [each for each, _ in drawn.ends] == [-4.0, 6.0]
    (_, upper), *_, (_, lower) = corners(drawn.panels[0].band)
    assert (upper, lower) == (TOP, BOTTOM)
    assert drawn.rows[-1].versions == [(9, Interval(0.0, -100.0, 100.0))]


def test_one_day_is_in_the_middle_and_no_difference_at_all_too() -> None:
    drawn = courses.drawn(course((0.0, 0.0)), {})
    assert drawn is not None
    (panel,) = drawn.panels
    assert panel.dots == [((110 + 460) / 2, (TOP + BOTTOM) / 2)]
    assert (drawn.zero, drawn.ends, len(drawn.dates)) == ((TOP + BOTTOM) / 2, [], 1)


def test_without_intervals_there_is_only_the_table() -> None:
    """And without points nothing."""
    drawn = courses.drawn(course(None), {})
    assert drawn is not None
    assert (drawn.panels, len(drawn.rows)) == ([], 1)
    assert courses.drawn(course(), {}) is None
    assert courses.drawn(None, {}) is None
