"""Reading calls back: whatever client logged them, or one client's only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Response
from fastapi import Query as FromQuery
from pydantic import AfterValidator, Field

from ..store.calls import FILTERS, MAX_PAGE, Call, CallFilter, Group
from ..store.search import phrases_of
from .auth import Caller, Reading
from .intake import is_time, parse_time
from .models import Query, Words, checked
from .requests import JsonRoute
from .responses import BAD_QUERY, Json
from .state import Backend


def _searchable(text: str) -> str:
    phrases_of(text)
    return text


_Time = Annotated[str, Field(description="an ISO-8601 date and time"), checked(is_time)]
_Search = Annotated[
    Words,
    Field(description='words and "phrases" of letters and digits, all of which occur'),
    AfterValidator(_searchable),
]
_Limit = Annotated[int, Field(description=f"a whole number from 1 to {MAX_PAGE}", ge=1, le=MAX_PAGE)]
_OLD_NAMES = {"banyan": "logs", "huggingplace": "interactions"}

router = APIRouter(route_class=JsonRoute, tags=["calls"])


class Chosen(Query):
    """Which calls are meant."""

    since: _Time | None = None
    until: _Time | None = None
    failed: Annotated[bool | None, Field(description="true or false")] = None
    text: _Search | None = None
    id: Words | None = None
    session: Words | None = None
    user: Words | None = None
    prompt_name: Words | None = None
    version: Words | None = None
    branch: Words | None = None
    model: Words | None = None
    experiment_id: Words | None = None
    experiment_version_id: Words | None = None
    source: Words | None = None

    def filter(self, caller: Caller) -> CallFilter:
        """The same for the store."""
        given = {name: value for name in FILTERS if (value := getattr(self, name)) is not None}
        return CallFilter(
            project=caller.project,
            since=parse_time(self.since) if self.since is not None else None,
            until=parse_time(self.until) if self.until is not None else None,
            failed=self.failed,
            equal=given,
            text=self.text,
        )


class Paged(Chosen):
    """Which calls, and which page of them."""

    limit: _Limit = 100
    after: Annotated[str | None, Field(description="the `next` of an earlier page")] = None


class Grouped(Chosen):
    """Which calls, and the columns to sum them up by."""

    by: Annotated[str, Field(description=f"names of {', '.join(FILTERS)}, separated by commas")] = ""


@router.get("/api/calls")
def page(query: Annotated[Paged, FromQuery()], caller: Reading, backend: Backend) -> Response:
    """Calls, newest first. `next` of a page is `after` of the following one."""
    found = backend.calls.page(query.filter(caller), query.limit, query.after)
    return Json({"calls": [as_json(call) for call in found.calls], "next": found.next})


@router.get("/api/calls/summary")
def summary(query: Annotated[Grouped, FromQuery()], caller: Reading, backend: Backend) -> Response:
    """Sums over calls: how many, errors, latency, tokens, cost; grouped by columns."""
    by = [name.strip() for name in query.by.split(",") if name.strip()]
    for name in by:
        if name not in FILTERS:
            raise HTTPException(BAD_QUERY, f"by must be names of {', '.join(FILTERS)}, was {name!r}")
    groups = backend.calls.aggregate(query.filter(caller), by)
    return Json({"groups": [_group_as_json(group, by) for group in groups]})


@router.get("/api/calls/{call_id:path}")
def one(call_id: str, caller: Reading, backend: Backend) -> Response:
    """One call by its id."""
    found = backend.calls.get(caller.project, call_id)
    if found is None:
        raise HTTPException(404, f"call {call_id!r} not found in project {caller.project!r}")
    return Json(as_json(found))


def as_json(call: Call) -> dict[str, Any]:
    """A call as the API shows it: its columns, and what was sent under `body`."""
    shown = asdict(call)
    shown |= {
        "day": call.day.isoformat(),
        "event_time": call.event_time.isoformat(timespec="microseconds"),
        "received_at": call.received_at.isoformat(timespec="microseconds"),
    }
    return shown


def _group_as_json(group: Group, by: Sequence[str]) -> Mapping[str, object]:
    shown = asdict(group)
    shown["by"] = dict(zip(by, group.by, strict=True))
    return shown
