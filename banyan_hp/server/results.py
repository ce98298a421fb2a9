"""Results of experiments: segments from the audit, sums from the store, reckoned by `analysis`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from .analysis.comparison import Method
from .analysis.course import Course, Times, course
from .analysis.guarding import FIRST_CALLS, WINDOWS
from .analysis.metrics import BUILT_IN, Metric, metric
from .analysis.report import Material, VersionUsers, report
from .analysis.segments import Change, Segment, running_for, segments
from .analysis.verdicts import ALPHA, EFFECT, Question
from .store.audit import Audit
from .store.audit import Change as Entry
from .store.experiments import Experiment
from .store.outcomes import Outcomes, Summary, VersionSummary

GUARDED = "experiment.guard"
REWRITTEN = "prompt.rewrite"
OF = {FIRST_CALLS: " of users' first calls", WINDOWS: ""}
"""What a guard looked at, in words."""
_MANY_PENDING = 1_000
_AT = "%Y-%m-%d %H:%M"


class NoSegmentError(Exception):
    """There is no segment of this number; the message says which there are."""


class NoMetricError(Exception):
    """There is no metric of this name; the message says which there are."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What results are wanted.

    Attributes:
        metric: only this one; None: all.
        segment: the number of one; None: the last one.
        effect: the relative difference that is worth knowing.
    """

    metric: str | None = None
    segment: int | None = None
    method: Method = Method.ALWAYS
    alpha: float = ALPHA
    effect: float = EFFECT


class ResultsOf:
    """Reckons results.

    Args:
        outcomes: the sums over users.
        audit: the changes of experiments.
    """

    def __init__(self, outcomes: Outcomes, audit: Audit) -> None:
        self._outcomes = outcomes
        self._audit = audit

    def __call__(self, experiment: Experiment, asked: Asked, now: datetime) -> dict[str, Any]:
        """The results of an experiment as JSON.

        Raises:
            NoSegmentError: there is none of this number.
            NoMetricError: there is none of this name.
        """
        history = self._history(experiment)
        found = segments(_changes(history))
        head = {
            "experiment_id": experiment.experiment_id,
            "status": experiment.status,
            "window_seconds": experiment.analysis.window_seconds,
            "segments": [_segment(each) for each in found],
        }
        segment = _chosen(found, asked.segment, experiment, now)
        material = self._material(experiment, asked, segment, now)
        material = replace(material, warnings=[*_paused(experiment, history), *material.warnings])
        question = Question(material.control, asked.alpha, asked.method, asked.effect)
        number = segment.number if found else None
        return {**head, "segment": number, "pending": material.pending, **report(material, question)}

    def over_time(self, experiment: Experiment, asked: Asked, now: datetime) -> Course | None:
        """How the metric that is asked for has moved up to now, or else the primary one; None: there is none.

        Each point is what the results at its time are made of, by what is known now.

        Raises:
            NoSegmentError: there is none of this number.
            NoMetricError: there is none of this name.
        """
        segment = _chosen(self.segments(experiment), asked.segment, experiment, now)
        name = asked.metric or experiment.primary_metric
        scores = self._scores(experiment)
        wanted = next((each for each in _metrics(experiment, asked, scores) if each.name == name), None)
        if wanted is None:
            return None
        sums = self._outcomes.over_time(
            experiment.project,
            experiment.experiment_id,
            wanted.name,
            start=segment.start,
            until=segment.until,
            times=Times.of(segment.start, max(segment.start, now)),
        )
        question = Question(control_of(experiment), asked.alpha, asked.method, asked.effect)
        return course(wanted, sums, _names(experiment, segment), question)

    def running_for(self, experiment: Experiment, now: datetime) -> timedelta:
        """How long an experiment has been running, without its pauses."""
        return running_for(_changes(self._history(experiment)), now)

    def segments(self, experiment: Experiment) -> list[Segment]:
        """The experiment's segments, oldest first."""
        return segments(_changes(self._history(experiment)))

    def _history(self, experiment: Experiment) -> list[Entry]:
        """Of the experiment since it was made, and of rewritten versions of its prompt, oldest first."""
        own = self._audit.all_of(experiment.project, f"experiment:{experiment.experiment_id}")
        made = max((i for i, each in enumerate(own) if each.action == "experiment.create"), default=0)
        prompt = f"prompt:{experiment.prompt_id}"
        rewritten = self._audit.all_of(experiment.project, prompt, REWRITTEN)
        return sorted([*own[made:], *rewritten], key=lambda each: each.seq)

    def _material(self, experiment: Experiment, asked: Asked, segment: Segment, now: datetime) -> Material:
        project, name = experiment.project, experiment.experiment_id
        scores = self._scores(experiment)
        metrics = _metrics(experiment, asked, scores)
        summary = self._outcomes.summaries(
            project,
            name,
            [each.name for each in metrics],
            window=timedelta(seconds=experiment.analysis.window_seconds),
            start=segment.start,
            until=segment.until,
            now=now,
        )
        first = self._outcomes.first_assignments(project, name, start=segment.start, until=segment.until)
        versions = list(_versions(experiment, segment, summary, first))
        return Material(
            segment=segment,
            versions=versions,
            metrics=metrics,
            control=control_of(experiment),
            first_figures=None if any(each.closed for each in versions) else summary.next_closes,
            pending=summary.pending,
            primary=_primary(experiment, metrics, asked),
            left_out={"users_in_several_versions": summary.mixed, "ambiguous_scores": summary.ambiguous},
            warnings=[*_hidden(scores), *_warnings(experiment, segment, summary)],
        )

    def _scores(self, experiment: Experiment) -> Mapping[str, bool]:
        return self._outcomes.metrics(experiment.project, experiment.experiment_id)


def _metrics(experiment: Experiment, asked: Asked, scores: Mapping[str, bool]) -> list[Metric]:
    names = dict.fromkeys([*scores, *BUILT_IN])
    if asked.metric is not None and asked.metric not in (*names, experiment.primary_metric):
        raise NoMetricError(f"metric must be one of {', '.join(names)}, was {asked.metric!r}")
    if asked.metric is not None:
        names = {asked.metric: None}
    if experiment.primary_metric is not None:  # it decides in any case, also if nobody has a value yet
        names.setdefault(experiment.primary_metric)
    directions = experiment.analysis.directions
    return [metric(each, directions, proportion=scores.get(each, False)) for each in names]


def _changes(history: Sequence[Entry]) -> list[Change]:
    return [
        Change(each.at, rewritten=each.detail["version"])
        if each.action == REWRITTEN
        else Change(each.at, configuration=each.detail)
        for each in history
    ]


def _paused(experiment: Experiment, history: Sequence[Entry]) -> Iterator[str]:
    """What guards did to versions that are without traffic now."""
    versions = experiment.variants
    idle = {each.experiment_version_id: each.version for each in versions if not each.traffic_percentage}
    for each in history:
        reason = each.detail["reason"] if each.action == GUARDED else {"paused": {}}
        for name, trip in reason["paused"].items():
            if name in idle:
                yield (
                    f"Version {idle[name]} was paused by its guard at {each.at.strftime(_AT)} UTC: "
                    f"{trip['metric']}{OF[trip.get('of', WINDOWS)]} was "
                    f"{trip['version_mean']:.4g}, {trip['control_mean']:.4g} in the control; results up to "
                    f"then are in segment {reason['segment']}"
                )


def control_of(experiment: Experiment) -> str:
    """The `experiment_version_id` that the others are compared with: the first one where none is named."""
    return experiment.control or experiment.variants[0].experiment_version_id


def _primary(experiment: Experiment, metrics: Sequence[Metric], asked: Asked) -> str | None:
    """What decides; where the experiment says nothing, the one metric that is asked for."""
    if experiment.primary_metric is not None:
        return experiment.primary_metric
    return metrics[0].name if asked.metric is not None else None


def _chosen(found: Sequence[Segment], number: int | None, experiment: Experiment, now: datetime) -> Segment:
    if number is None:
        return found[-1] if found else Segment(0, now, now, "", {})
    if not 1 <= number <= len(found):
        there = f"from 1 to {len(found)}" if found else "none yet: it was never started"
        raise NoSegmentError(f"segment must be one of experiment {experiment.experiment_id!r}, {there}")
    return found[number - 1]


def _names(experiment: Experiment, segment: Segment) -> list[str]:
    """Those that had traffic in the segment, and the control, in the experiment's order."""
    names = [each.experiment_version_id for each in experiment.variants]
    there = [each for each in names if each in segment.shares or each == control_of(experiment)]
    return list(dict.fromkeys([*there, *segment.shares]))


def _versions(
    experiment: Experiment, segment: Segment, summary: Summary, first: Mapping[str, int]
) -> Iterator[VersionUsers]:
    names = {each.experiment_version_id: each.version for each in experiment.variants}
    for name in _names(experiment, segment):
        found = summary.versions.get(name, VersionSummary())
        yield VersionUsers(
            name,
            names.get(name, name),
            found.exposed,
            found.closed,
            found.calls,
            first.get(name, 0),
            found.metrics,
        )


def _hidden(scores: Iterable[str]) -> Iterator[str]:
    """Scores that can't be shown, as a measure of the calls has their name."""
    for name in scores:
        if name in BUILT_IN:
            yield (
                f"There are scores called '{name}', and they are not in these results: '{name}' here is "
                f"measured of the calls. Send these scores under another name, such as '{name}_score'; those "
                f"that are stored stay in the list of scores"
            )


def _warnings(experiment: Experiment, segment: Segment, summary: Summary) -> Iterator[str]:
    """What is missing from the data."""
    removed = summary.removed_until
    if removed is not None and removed >= segment.start:
        yield (
            f"Calls up to {removed.strftime(_AT)} UTC were removed for their age, and this segment began at "
            f"{segment.start.strftime(_AT)}: users who came before are missing, or count from a later call on"
        )
    if summary.pending >= _MANY_PENDING:
        yield f"{summary.pending:,} calls, scores and users are not reckoned in yet; ask again later"
    if experiment.control is None:
        first = experiment.variants[0].version
        yield f"The experiment names no control, so the others are compared with its first version, {first}"


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "number": segment.number,
        "start": segment.start.astimezone(UTC).isoformat(timespec="seconds"),
        "until": segment.until.astimezone(UTC).isoformat(timespec="seconds") if segment.until else None,
        "why": segment.why,
        "shares": dict(segment.shares),
    }
