"""A call, the one shape for whatever was logged, and what a store of calls has to offer.

A call is known by its project, its day and its id. The day is that of its event time in UTC, so it is the
same at every repeat of a delivery; a call that came without a time has the day `UNDATED`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any, Protocol

from .scores import ScorePage

UNDATED = date(1, 1, 1)
MAX_PAGE = 1000
FOLLOWED_AT_ONCE = 5000  # calls that one step of `follow` looks at, and few enough for any store
MAX_PAGE_BYTES = 8 * 1024 * 1024  # of bodies
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

JSONObject = Mapping[str, Any]


def microseconds(time: datetime) -> int:
    """A time with a zone, in microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def time_of(microseconds: int) -> datetime:
    """The UTC time of so many microseconds since 1970."""
    return _EPOCH + microseconds * _MICROSECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One logged call of a model, whichever client logged it.

    Attributes:
        project: it belongs to.
        id: unique within a project and a day.
        day: of `event_time`, or `UNDATED`.
        event_time: when it happened, UTC; its arrival if its sender did not say.
        received_at: when it first arrived, UTC.
        source: what logged it: ``banyan``, ``huggingplace``; or ``score``: it is one.
        latency_ms: how long the model took, in milliseconds.
        cost: in USD.
        error: the message of a call that failed.
        body: what was sent, as it was sent.
        deliveries: how often it arrived.
        seq: its number in this store; 0 before it is stored.
        text: the JSON of `body` on its way in, if it is known, in ASCII and one line, so that it need not be
            written again.

    The other fields are None where the sender did not say.
    """

    project: str
    id: str
    day: date
    event_time: datetime
    received_at: datetime
    source: str
    body: JSONObject
    session: str | None = None
    user: str | None = None
    prompt_id: str | None = None
    prompt_name: str | None = None
    version: str | None = None
    branch: str | None = None
    model: str | None = None
    latency_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    error: str | None = None
    experiment_id: str | None = None
    experiment_version_id: str | None = None
    sticky_key: str | None = None
    sticky_value: str | None = None
    deliveries: int = 1
    seq: int = 0
    text: str | None = field(default=None, repr=False, compare=False)


SHOWN = tuple(each.name for each in fields(Call) if each.name != "text")
"""What there is to a stored call."""


class Stored(Enum):
    """What became of a call on its way in."""

    NEW = "new"
    REPEAT = "repeat"
    CONFLICT = "conflict"
    """Not stored: the id belongs to a call with another body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Which calls are meant; None: any.

    Attributes:
        project: always given: nobody reads across projects.
        since: event times from this one on.
        until: event times before this one.
        failed: True: calls with an error; False: calls without one.
        equal: columns and the text that each must hold, of `FILTERS`.
        text: words of a search, all of which must occur; phrases in double quotes.
        scores: whether scores are meant, too, where `equal` names no source.
    """

    project: str
    since: datetime | None = None
    until: datetime | None = None
    failed: bool | None = None
    equal: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None
    scores: bool = False

    @property
    def with_scores(self) -> bool:
        """Whether scores may be among them: nobody who lists calls means them."""
        return self.scores or "source" in self.equal


FILTERS = (
    "id",
    "session",
    "user",
    "prompt_name",
    "version",
    "branch",
    "model",
    "experiment_id",
    "experiment_version_id",
    "source",
)


@dataclass(frozen=True, slots=True)
class Page:
    """Some calls, and the cursor to go on from; None: there are no more.

    A `follow` always has a cursor: more may come.
    """

    calls: Sequence[Call]
    next: str | None
    positions: Sequence[str] = ()
    """Of a `follow`: for each call, the cursor behind it."""
    searched_to: datetime | None = None
    """Of a search that has taken too long: all calls from this time on are searched, and `next` goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What calls with the same values of the columns asked for amount to.

    Attributes:
        by: those values, in the order asked for.
        latency_p50, latency_p95: in milliseconds, over calls with a latency.
        input_tokens, output_tokens, cost: the sums of the known ones, the last in USD; None: none is known.
    """

    by: tuple[str | None, ...]
    calls: int
    deliveries: int
    errors: int
    latency_p50: float | None
    latency_p95: float | None
    input_tokens: int | None
    output_tokens: int | None
    cost: float | None


class UnusableCursorError(ValueError):
    """A cursor that no page gave out."""


class Keeper(Protocol):
    """Takes calls that are about to be removed."""

    def keep(self, project: str, day: date, numbers: Sequence[int], calls: Iterable[Call]) -> None:
        """Keep calls of one project, whose event times are in one day; they may be removed once this returns.

        Args:
            project: theirs.
            day: theirs.
            numbers: the `seq` of each, and perhaps of some that are no longer there.
            calls: the calls themselves, to be read once.
        """
        ...


class Calls(Protocol):
    """A store of calls. Safe for use by several threads."""

    def append(self, calls: Sequence[Call]) -> list[Stored]:
        """Store all of them in one transaction, or none; for each, what became of it."""
        ...

    def rows(self, calls: Sequence[Call]) -> Sequence[dict[str, Any]]:
        """The first half of `append`, which needs no database: calls as this store's rows."""
        ...

    def append_rows(self, rows: Sequence[dict[str, Any]]) -> list[Stored]:
        """The second half; it may be done again with the same rows."""
        ...

    def get(self, project: str, call_id: str) -> Call | None:
        """The newest call of this id."""
        ...

    def page(self, chosen: CallFilter, limit: int, cursor: str | None = None) -> Page:
        """Up to `limit` calls, newest event first; fewer where their bodies are large, but always one.

        A search for a text may end before all calls are searched, perhaps without any: see `searched_to`.
        """
        ...

    def follow(self, chosen: CallFilter, limit: int, cursor: str | None = None) -> Page:
        """Calls in an order in which nothing is ever added before the cursor; without one: from the first.

        Looks at a bounded number of calls, so a page may be empty: `next` says how far it has looked, and is
        the cursor that was given where no call is behind it. A text is left to `Matcher`, as it is indexed
        later.
        """
        ...

    def arrived(
        self,
        chosen: CallFilter,
        limit: int,
        *,
        after: str | None = None,
        before: str | None = None,
        newest: bool = False,
    ) -> Page:
        """Calls in order of arrival, all that are there now: for reading back, not for following.

        The bounds are cursors of such pages, or the `seq` of a call.
        """
        ...

    def end(self) -> str:
        """The cursor from which `follow` gives what has arrived later than now."""
        ...

    def count(self, chosen: CallFilter) -> tuple[int, int]:
        """How many calls, and how many deliveries of them, repeats included."""
        ...

    def aggregate(self, chosen: CallFilter, by: Sequence[str] = ()) -> list[Group]:
        """Sums over the chosen calls, grouped by columns of `FILTERS`; one group without any."""
        ...

    def scores(
        self, project: str, equal: Mapping[str, str], limit: int, cursor: str | None = None
    ) -> ScorePage:
        """Up to `limit` scores, newest first, by `TARGETS` and the text that each must hold."""
        ...

    def delete(self, chosen: CallFilter, by: str | None = None) -> Iterator[int]:
        """Remove calls for good, with their bodies, search entries and scores, in small steps.

        Yields how many each step removed. The audit says so, if it is known `by` which key.
        """
        ...

    def erase(self) -> None:
        """Leave nothing of deleted calls readable in the files of the database, as far as it can be done."""
        ...

    def trim(self, before: datetime, keeper: Keeper | None = None) -> Iterator[int]:
        """Remove calls older than the day of `before`, in small steps: yields how many each step removed.

        The time of a call is that of its event, but not before its arrival, and not a day after it.
        A store may remove a whole day at once, late arrivals included. `keeper` gets to see each call before.
        """
        ...

    def maintain(self, now: datetime) -> None:
        """What has to be done about once an hour, whoever does it: making room for the days to come."""
        ...

    def index(self, limit: int) -> int:
        """Make up to `limit` stored calls findable by text; how many were."""
        ...

    def unindexed(self, most: int | None = None) -> int:
        """How many stored calls can't be found by text yet; counted up to `most`, if that is given."""
        ...
