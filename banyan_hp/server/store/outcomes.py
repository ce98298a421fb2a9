"""What experiments amount to, for each version and metric: what a store has to offer for it.

The sums are kept for each user, behind intake: a call of an experiment and a score are marked when they are
stored, and a step recomputes the users whom they concern from what is stored. So the order in which calls and
scores arrive makes no difference, and `rebuild` gives the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from ..analysis.course import Times
from ..analysis.moments import Moments

DEFAULT_WINDOW_SECONDS = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSummary:
    """What there is of one version, over users who were seen in no other one.

    Attributes:
        exposed: users.
        closed: users whose window has closed; only they are in what follows.
        calls: in the users' windows.
        metrics: the sums over users, by the names asked for. A name that nobody has a value of has none.
    """

    exposed: int = 0
    closed: int = 0
    calls: int = 0
    metrics: Mapping[str, Moments] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What there is of an experiment.

    Attributes:
        versions: by `experiment_version_id`, of those that anybody was exposed to.
        mixed: users who were seen in two versions within their window, and are left out.
        ambiguous: scores that lead to several users, and are left out; of any time.
        next_closes: when the first of the windows that are open will close; None: none is open.
        removed_until: calls up to this time were removed for their age; None: none were.
        pending: calls and scores of all experiments that are not in it yet, and users who are computed anew.
    """

    versions: Mapping[str, VersionSummary]
    mixed: int
    ambiguous: int
    next_closes: datetime | None
    removed_until: datetime | None
    pending: int


class Outcomes(Protocol):
    """The outcomes of experiments. Safe for use by several threads."""

    def summaries(
        self,
        project: str,
        experiment_id: str,
        metrics: Sequence[str],
        *,
        window: timedelta,
        start: datetime,
        until: datetime | None,
        now: datetime,
    ) -> Summary:
        """Sums over users for each version.

        Args:
            project: of the experiment.
            experiment_id: its id.
            metrics: names of measures of calls, and of scores (see `metrics`).
            window: the experiment's, after each user's first call.
            start: users count whose first call in the experiment is at it or later,
            until: and before it; None: whenever.
            now: by which windows have closed, or not.
        """
        ...

    def over_time(
        self,
        project: str,
        experiment_id: str,
        metric: str,
        *,
        start: datetime,
        until: datetime | None,
        times: Times,
    ) -> Sequence[tuple[datetime, Mapping[str, Moments]]]:
        """What `summaries` has of a metric, by version, at each of these times; the users are read once.

        As long as nobody's window was over there is nothing, and nothing more after the last one's.
        """
        ...

    def users_of(self, project: str, experiment_ids: Sequence[str]) -> Mapping[str, int]:
        """How many users have ever been exposed to each of these experiments; left out where nobody was."""
        ...

    def first_assignments(
        self, project: str, experiment_id: str, *, start: datetime, until: datetime | None
    ) -> Mapping[str, int]:
        """How many users each version got first: all of them, whatever they did afterwards."""
        ...

    def first_calls(
        self,
        project: str,
        experiment_id: str,
        metrics: Sequence[str],
        *,
        start: datetime,
        until: datetime | None,
    ) -> Mapping[str, Mapping[str, Moments]]:
        """By version the sums over users of their first call alone, for measures of calls; not of scores.

        All users count from that call on, whatever they do afterwards: nothing of it changes later.
        """
        ...

    def metrics(self, project: str, experiment_id: str) -> Mapping[str, bool]:
        """The names of the scores that there are: ``name`` of numbers and of yes or no, ``name=category`` of
        each category; True: it is a proportion.
        """
        ...

    def rebuild(self, project: str, experiment_id: str) -> int:
        """Compute all users of an experiment anew; how many.

        Until that is done, here or by another process, `Summary.pending` says so.
        """
        ...

    def step(self, limit: int) -> int:
        """Bring the sums up to date with up to `limit` calls, scores and users; how many they were.

        0: there are none, or another process does it.
        """
        ...

    def pending(self, most: int | None = None) -> int:
        """How many calls and scores the sums lack, and how many users are stale; up to `most` each."""
        ...
