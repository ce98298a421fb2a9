"""Guarded rollout: a version that is worse than the control beyond a bound loses its traffic to it, once.

The same always-valid intervals as in the results decide, over the users of the present segment: over their
first calls, and over what they did in their windows, once these are over (`analysis/guarding.py` says why).
Of all processes one looks at a time. A change that somebody makes meanwhile wins.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from .analysis.guarding import FIRST_CALLS, WINDOWS, Trip, looks_at, tripped
from .analysis.metrics import metric
from .analysis.moments import Moments
from .analysis.segments import Segment
from .api.experiments import with_slots
from .results import GUARDED, OF, ResultsOf, control_of
from .store.audit import Actor, Audit
from .store.database import Database
from .store.election import GUARDS, elected
from .store.experiments import Experiment, Experiments, OutdatedError, Variant
from .store.outcomes import Outcomes

logger = logging.getLogger(__name__)
Seen = Mapping[str, Mapping[str, Mapping[str, Moments]]]
"""By what is looked at, version and metric."""

BY = "guard"
"""What the audit has in the place of a key."""
SECONDS = 60.0  # between two looks


class Guards:
    """Looks at all running experiments that have guards, once in a while.

    Args:
        database: where the election is held.
        experiments: all of them.
        outcomes: the sums over their users.
        audit: their changes.
    """

    def __init__(
        self, database: Database, experiments: Experiments, outcomes: Outcomes, audit: Audit
    ) -> None:
        self._database = database
        self._experiments = experiments
        self._outcomes = outcomes
        self._segments_of = ResultsOf(outcomes, audit).segments
        self._look_at = 0.0  # on the monotonic clock

    def step(self, _limit: int) -> int:
        """Look, if it is time to; as a step of housekeeping, which has nothing more to do after it."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + SECONDS
            self.look(datetime.now(UTC))
        return 0

    def look(self, now: datetime) -> int:
        """Pause what has to be paused; how many versions that were."""
        guarded = self._experiments.guarded()
        if not guarded:
            return 0
        with elected(self._database, GUARDS) as still:
            if still is None:
                return 0
            return sum(self._paused(each, now) for each in guarded if still())

    def _paused(self, experiment: Experiment, now: datetime) -> int:
        found = self._segments_of(experiment)
        if not found or len(found[-1].shares) < 2 or now < found[-1].start:
            return 0
        seen = self._seen(experiment, found[-1], now)
        scores = self._outcomes.metrics(experiment.project, experiment.experiment_id)
        trips = dict(_trips(experiment, found[-1], seen, scores))
        if not trips:
            return 0
        changed = without(experiment, list(trips))
        numbers = {name: asdict(each) for name, each in trips.items()}
        reason = {"paused": numbers, "segment": found[-1].number}
        actor = Actor(experiment.project, BY)
        try:
            self._experiments.put(changed, actor, instead_of=experiment, action=GUARDED, reason=reason)
        except OutdatedError:  # the next look sees what it is now
            return 0
        for name, each in trips.items():
            logger.warning("%s", said(experiment, name, each))
        return len(trips)

    def _seen(self, experiment: Experiment, segment: Segment, now: datetime) -> Seen:
        of = (experiment.project, experiment.experiment_id)
        names = [each.metric for each in experiment.analysis.guards]
        start, until = segment.start, segment.until
        window = timedelta(seconds=experiment.analysis.window_seconds)
        summary = self._outcomes.summaries(*of, names, window=window, start=start, until=until, now=now)
        return {
            FIRST_CALLS: self._outcomes.first_calls(*of, names, start=start, until=until),
            WINDOWS: {name: each.metrics for name, each in summary.versions.items()},
        }


def _trips(
    experiment: Experiment, segment: Segment, seen: Seen, scores: Mapping[str, bool]
) -> Iterator[tuple[str, Trip]]:
    """Versions with traffic that are beyond a bound, each with the first guard that says so."""
    control = control_of(experiment)
    others = [each for each in segment.shares if each != control]
    looks = [(guard, of) for guard in experiment.analysis.guards for of in looks_at(guard.metric)]
    for name in others:
        for guard, of in looks:
            proportion = scores.get(guard.metric, False)
            measured = metric(guard.metric, experiment.analysis.directions, proportion=proportion)
            one, other = (_moments(seen[of], each, guard.metric) for each in (control, name))
            trip = tripped(measured, guard.worse_by, one, other, len(others) * len(looks))
            if trip is not None:
                yield name, replace(trip, of=of)
                break


def _moments(versions: Mapping[str, Mapping[str, Moments]], version: str, name: str) -> Moments:
    return versions.get(version, {}).get(name, Moments())


def without(experiment: Experiment, paused: list[str]) -> Experiment:
    """The same experiment, whose control has the traffic of these versions."""
    control = control_of(experiment)
    freed = sum(
        (_share(each) for each in experiment.variants if each.experiment_version_id in paused), Decimal(0)
    )
    variants = [
        replace(each, traffic_percentage=float(_share(each) + freed))
        if each.experiment_version_id == control
        else replace(each, traffic_percentage=0.0)
        if each.experiment_version_id in paused
        else each
        for each in experiment.variants
    ]
    return with_slots(replace(experiment, variants=variants), experiment)


def _share(variant: Variant) -> Decimal:
    return Decimal(str(variant.traffic_percentage))


def said(experiment: Experiment, version: str, trip: Trip) -> str:
    """What a guard did and why, in one line."""
    return (
        f"experiment {experiment.experiment_id}: {version} is paused, its traffic goes to the control: "
        f"{trip.metric}{OF[trip.of]} is {trip.version_mean:.4g} over {trip.version_users:,} users, and "
        f"{trip.control_mean:.4g} over {trip.control_users:,} in the control, worse by more than "
        f"{trip.worse_by:.4g} of it"
    )
