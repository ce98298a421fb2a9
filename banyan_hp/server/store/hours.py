"""Sums of calls by hour and by day, which charts and overviews read: what a store of them has to offer.

Each call is in the sums of its project, of its prompt's name and of its model, each of the hour and of the
UTC day of its event. They follow behind intake, as searching does, and go along with every removal.

Latencies are counted in buckets, each of which ends `RATIO` times as far as the one before. A percentile is
the middle of the bucket that has it: within 5 % of the latency of that rank, from 0.1 ms to a day.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Protocol

RATIO = 1.1
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
_LOG = math.log(RATIO)
_FIRST, _LAST = -24, 192  # the buckets that end at 0.1 ms and at a day


class Kind(IntEnum):
    """What calls are summed by; the values are those in the database."""

    PROJECT = 0
    PROMPT = 1
    MODEL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """From `since` on and before `until`; both begin an hour, in UTC."""

    since: datetime
    until: datetime

    @property
    def before(self) -> Period:
        """The period of the same length before this one."""
        return Period(since=self.since - (self.until - self.since), until=self.since)


@dataclass(frozen=True, slots=True, kw_only=True)
class Of:
    """Whose sums are meant: a project's, or those of one name of a kind in it; "": of none."""

    project: str
    kind: Kind = Kind.PROJECT
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What calls amount to.

    Attributes:
        priced: how many of them have a known cost.
        cost: the sum of those, in USD.
        latencies: how many calls each bucket has.
    """

    calls: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    priced: int = 0
    cost: float = 0.0
    latencies: Mapping[int, int] = field(default_factory=dict)

    def __add__(self, other: Sums) -> Sums:
        buckets = dict(self.latencies)
        for bucket, calls in other.latencies.items():
            buckets[bucket] = buckets.get(bucket, 0) + calls
        return Sums(
            calls=self.calls + other.calls,
            errors=self.errors + other.errors,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            priced=self.priced + other.priced,
            cost=self.cost + other.cost,
            latencies=buckets,
        )

    @property
    def error_rate(self) -> float | None:
        """Which share of the calls failed; None without a call."""
        return self.errors / self.calls if self.calls else None

    def latency(self, share: float) -> float | None:
        """A percentile in milliseconds, by the nearest rank; None where no call has a latency."""
        left = math.ceil(share * sum(self.latencies.values()))
        for bucket in sorted(self.latencies):
            left -= self.latencies[bucket]
            if left <= 0:
                return middle_of(bucket)
        return None


def bucket_of(milliseconds: float) -> int:
    """The bucket of a latency."""
    if milliseconds <= 0:
        return _FIRST
    return min(_LAST, max(_FIRST, math.ceil(math.log(milliseconds) / _LOG)))


def middle_of(bucket: int) -> float:
    """The latency that stands for all of a bucket, in milliseconds."""
    return float(RATIO ** (bucket - 0.5))


def hour_of(time: datetime) -> datetime:
    """The beginning of its hour, in UTC."""
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def day_of(time: datetime) -> datetime:
    """The beginning of its day, in UTC."""
    return hour_of(time).replace(hour=0)


class Hours(Protocol):
    """A store of such sums. Safe for use by several threads."""

    def over_time(self, of: Of, period: Period, step: timedelta) -> Mapping[datetime, Sums]:
        """The sums of each `HOUR`, or of each `DAY`, that begins in the period, where there are any."""
        ...

    def total(self, of: Of, period: Period) -> Sums:
        """The sums of the whole period."""
        ...

    def by(
        self, project: str, kind: Kind, period: Period, limit: int, names: Collection[str] | None = None
    ) -> Sequence[tuple[str, Sums]]:
        """The names with the most calls in the period, of `names` if given, and their sums."""
        ...

    def uncounted(self) -> int:
        """How many stored calls are not in the sums yet."""
        ...

    def rebuild(self) -> None:
        """Have all calls counted anew, behind intake."""
        ...
