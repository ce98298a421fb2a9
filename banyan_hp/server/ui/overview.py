"""The overview: what calls amount to over time, by prompt and by model, and against the period before.

All of it is read from the sums by hour and day, whose size doesn't depend on the number of calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi import Query as FromQuery
from pydantic import Field

from ..api.intake import time_of
from ..api.models import Query, Words, checked
from ..api.state import Backend, Stores
from ..store.calls import CallFilter
from ..store.hours import DAY, HOUR, Kind, Of, Period, Sums, day_of, hour_of
from .figures import charts_of, relative, tiles_of
from .rendering import PageRoute, page
from .visitors import Looking

MOST_NAMES = 20  # of a table
LONGEST = 366 * DAY
_HOURLY = 8 * DAY  # longer ones have a point a day
_KINDS = {Kind.PROMPT: "prompt_name", Kind.MODEL: "model"}
_MIDNIGHT = "T00:00:00"


def _begin_of(given: str) -> datetime | None:
    """The time, or the day's first one; None: it is neither."""
    return time_of(given) or time_of(given + _MIDNIGHT)


_Time = Annotated[str, Field(description="a day, 2026-03-01, or an ISO-8601 time"), checked(_begin_of)]
router = APIRouter(route_class=PageRoute, include_in_schema=False)


class Shown(Query):
    """What the address says: a range, or a time of one's own; a prompt, or a model."""

    range: Annotated[Literal["24h", "7d", "30d"], Field(description="24h, 7d or 30d")] = "7d"
    since: _Time | None = None
    until: _Time | None = None
    prompt_name: Words | None = None
    model: Words | None = None

    @classmethod
    def _given(cls, value: object) -> object:
        """A form sends the fields that were left empty, too."""
        given = super()._given(value)
        return {name: each for name, each in given.items() if each} if isinstance(given, dict) else given

    def of(self, project: str) -> Of:
        """Whose sums are meant.

        Raises:
            HTTPException: 400, those of a prompt with a model, which are not kept.
        """
        named = [(kind, name) for kind, column in _KINDS.items() if (name := getattr(self, column))]
        if len(named) > 1:
            raise HTTPException(400, "The overview is of one prompt, or of one model, not of both.")
        return Of(project=project, kind=named[0][0], name=named[0][1]) if named else Of(project=project)

    def period(self, now: datetime) -> Period:
        """Whole hours or days, the one under way included.

        Raises:
            HTTPException: 400, it has no length, or is too long.
        """
        ends = hour_of(now) + HOUR
        if not self.since and not self.until:
            begins = {"24h": ends - DAY, "7d": ends - 7 * DAY, "30d": day_of(now) - 29 * DAY}
            return Period(since=begins[self.range], until=ends)
        try:
            until = _end(self.until) if self.until else ends
            since = _start(self.since) if self.since else until - 7 * DAY
            if not since < until:
                raise HTTPException(400, "since must be before until.")
            if until - since > LONGEST:
                raise HTTPException(400, f"since must be at most {LONGEST.days} days before until.")
            return _within_calendar(Period(since=since, until=until))
        except OverflowError:
            raise HTTPException(400, "This time, or the one before it, is beyond the calendar.") from None


def _within_calendar(period: Period) -> Period:
    """The period, if the one before it is in the calendar, too, with a day to spare on each side.

    Raises:
        OverflowError: it is not.
    """
    _ = period.before.since - DAY, period.until + DAY
    return period


def _start(given: str) -> datetime:
    time = _begin_of(given)
    if time is None:
        raise AssertionError("the model has checked it")
    return hour_of(time)


def _end(given: str) -> datetime:
    """What begins with the hour behind it; a day without a time is meant as a whole."""
    if (day := time_of(given + _MIDNIGHT)) is not None:
        return day + DAY
    start = _start(given)
    return start if start == _begin_of(given) else start + HOUR


@router.get("/")
def shown(
    request: Request, query: Annotated[Shown, FromQuery()], visitor: Looking, backend: Backend
) -> Response:
    """The page."""
    now = datetime.now(UTC)
    project = visitor.caller.project
    of, period = query.of(project), query.period(now)
    step = HOUR if period.until - period.since <= _HOURLY else DAY
    points = list(_points(backend, of, period, step))
    total = backend.hours.total(of, period)
    newest = backend.calls.arrived(CallFilter(project=project), 1, newest=True).calls
    return page(
        request,
        "overview",
        visitor,
        given=query.model_dump(),
        of=of,
        of_calls={_KINDS[of.kind]: of.name} if of.name else {},
        prompt=backend.prompts.find(project, of.name) if of.kind is Kind.PROMPT else None,
        period=period,
        hourly=step == HOUR,
        total=total,
        tiles=tiles_of(total, backend.hours.total(of, period.before)),
        points=points,
        charts=charts_of(points, step),
        tables=list(_tables(backend, of, period)),
        arrived=newest[0].received_at if newest else None,
        ago=now - newest[0].received_at if newest else None,
        unindexed=backend.calls.unindexed(),
        uncounted=backend.hours.uncounted(),
        base_url=str(request.base_url).rstrip("/"),
        calls_of=calls_of,
        overview_of=overview_of,
        relative=relative,
    )


def _points(backend: Stores, of: Of, period: Period, step: timedelta) -> Iterator[tuple[datetime, Sums]]:
    """One for each step, without calls, too."""
    start = day_of(period.since) if step == DAY else period.since
    found = backend.hours.over_time(of, Period(since=start, until=period.until), step)
    while start < period.until:
        yield start, found.get(start, Sums())
        start += step


def _tables(backend: Stores, of: Of, period: Period) -> Iterator[dict[str, Any]]:
    """By prompt and by model; of the one that the page is about there are no such sums."""
    if of.kind is not Kind.PROJECT:
        return
    for kind, column in _KINDS.items():
        found = backend.hours.by(of.project, kind, period, MOST_NAMES + 1)
        names = [name for name, _ in found]
        before = dict(backend.hours.by(of.project, kind, period.before, len(names), names)) if names else {}
        rows = [(name, sums, before.get(name, Sums()).calls) for name, sums in found[:MOST_NAMES]]
        yield {"column": column, "rows": rows, "more": len(found) > MOST_NAMES}


def calls_of(period: Period, **chosen: str) -> str:
    """The list of calls of a period, with more filters."""
    times = {"since": period.since.isoformat(), "until": period.until.isoformat()}
    return f"/calls?{urlencode({**chosen, **times})}"


def overview_of(given: Mapping[str, Any], **chosen: str) -> str:
    """The page with other parameters than the given ones."""
    return f"/?{urlencode({name: each for name, each in {**given, **chosen}.items() if each})}"
