"""How results moved, on each database: each point is what the results were at its time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from banyan_hp.server.analysis.comparison import Method
from banyan_hp.server.analysis.course import Course, Times
from banyan_hp.server.results import Asked, NoMetricError, ResultsOf
from banyan_hp.server.store.experiments import Experiment
from tests.support.app import LocalApp
from tests.support.experimented import ID, NOW, called, change, make, results, scored, send

Patch = pytest.MonkeyPatch
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
STARTED = NOW - 6 * DAY
USERS = 300


def visits(versions: str = "ab", since: datetime = STARTED) -> Iterator[dict[str, Any]]:
    """Users of each version, evenly until now; b is better, and slower."""
    for version in versions:
        for number in range(USERS):
            user, at = f"{version}{number}", since + (NOW - since) * (number + 0.5) / USERS
            yield called(user, version, at, duration_ms=100 + number % 7 + 2 * (version == "b"))
            yield scored(user, "thumbs", number % 10 < (7 if version == "b" else 4), at)
            yield scored(user, "mood", "good" if number % 3 else "bad", at + timedelta(minutes=1))


def stored(app: LocalApp) -> tuple[ResultsOf, Experiment]:
    stores = app.app.state.stores
    found = stores.experiments.get(app.project, ID)
    assert found is not None
    return ResultsOf(stores.outcomes, stores.audit), found


def over_time(app: LocalApp, **asked: Any) -> Course:
    of, experiment = stored(app)
    found = of.over_time(experiment, Asked(**asked), NOW)
    assert found is not None
    return found


def test_each_point_is_what_the_results_were_then(app: LocalApp, monkeypatch: Patch) -> None:
    """Of scores, categories and measures of calls; with intervals of either kind."""
    make(app, STARTED, monkeypatch, primary_metric="thumbs")
    send(app, visits())
    of, experiment = stored(app)
    for metric in (None, "mood=good", "latency_p50", "error_rate"):
        for method in Method:
            course = over_time(app, metric=metric, method=method)
            assert len(course.points) == 6
            for point in course.points:
                asked = Asked(metric=metric, method=method)
                (then, *_) = (
                    each
                    for each in of(experiment, asked, point.at)["metrics"]
                    if each["name"] == course.metric.name
                )
                assert [each.moments.n for each in point.found] == [
                    each["users"] for each in then["versions"]
                ]
                assert interval(point.found[1].comparison) == pytest.approx(then["versions"][1]["difference"])
                assert point.found[1].better == then["versions"][1]["better"]


def interval(comparison: Any) -> dict[str, float] | None:
    if comparison is None:
        return None
    found = comparison.absolute
    return {"estimate": found.estimate, "low": found.low, "high": found.high}


def test_it_ends_with_the_results_of_now(app: LocalApp, monkeypatch: Patch) -> None:
    """And gets there by days, or by hours where it has not lasted long."""
    make(app, STARTED, monkeypatch, primary_metric="thumbs")
    send(app, visits())
    last = over_time(app).points[-1]
    assert last.at == NOW
    assert interval(last.found[1].comparison) == pytest.approx(
        results(app)["metrics"][0]["versions"][1]["difference"]
    )


def test_a_segment_has_a_course_of_its_own(app: LocalApp, monkeypatch: Patch) -> None:
    """With alpha divided among the versions that it compares."""
    make(app, STARTED, monkeypatch, primary_metric="thumbs", shares={"a": 40, "b": 40, "c": 0})
    changed = [
        {"experiment_version_id": each, "version": f"v-{each}", "content": each, "traffic_percentage": share}
        for each, share in {"a": 30, "b": 30, "c": 30}.items()
    ]
    change(app, NOW - 3 * DAY, monkeypatch, versions=changed)
    send(app, visits())
    first, second = over_time(app, segment=1), over_time(app)
    assert [each.version for each in first.points[0].found] == ["a", "b"]
    assert [each.version for each in second.points[0].found] == ["a", "b", "c"]
    assert first.points[-1].found[0].moments.n < USERS > second.points[-1].found[0].moments.n


def test_without_a_metric_or_a_user_there_is_none(app: LocalApp, monkeypatch: Patch) -> None:
    make(app, STARTED, monkeypatch)
    of, experiment = stored(app)
    assert of.over_time(experiment, Asked(), NOW) is None
    assert over_time(app, metric="latency").points == []
    with pytest.raises(NoMetricError):
        of.over_time(experiment, Asked(metric="gone"), NOW)


def test_first_figures_are_announced_until_they_come(app: LocalApp, monkeypatch: Patch) -> None:
    """When the first user's window will be over; of a user who is in two versions it says nothing."""
    make(app, STARTED, monkeypatch)
    assert results(app)["first_figures_at"] is None
    at = NOW.replace(microsecond=0) - timedelta(hours=3)
    mixed = [called("m", each, at - HOUR) for each in "ab"]
    send(app, [*mixed, called("u", "a", at), called("w", "b", at + HOUR)])
    assert datetime.fromisoformat(results(app)["first_figures_at"]) == at + DAY
    send(app, [called("old", "b", NOW - 2 * DAY)])
    assert results(app)["first_figures_at"] is None


def test_how_long_it_ran_does_not_count_pauses(app: LocalApp, monkeypatch: Patch) -> None:
    make(app, NOW - 5 * DAY, monkeypatch)
    change(app, NOW - 4 * DAY, monkeypatch, status="paused")
    change(app, NOW - 2 * DAY, monkeypatch, status="running")
    of, experiment = stored(app)
    assert of.running_for(experiment, NOW) / DAY == pytest.approx(3)
    change(app, NOW - DAY, monkeypatch, status="finished")
    assert of.running_for(experiment, NOW) / DAY == pytest.approx(2)


@pytest.mark.parametrize(
    ("length", "step"),
    [
        (timedelta(hours=5), timedelta(hours=1)),
        (10 * DAY, DAY),
        (365 * DAY, 4 * DAY),
        (timedelta(0), timedelta(hours=1)),
    ],
)
def test_there_are_never_many_points(length: timedelta, step: timedelta) -> None:
    """Whole hours, whole days, or several days; the last one ends when the time does."""
    times = Times.of(NOW - length, NOW)
    assert times.step == step
    number = (NOW - times.origin) // step
    assert number <= 100
    assert times.at(number) == NOW >= times.at(number - 1)
