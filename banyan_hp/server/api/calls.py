"""Reading calls back: whatever client logged them, or one client's only."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, HTTPException, Response
from fastapi import Query as FromQuery
from pydantic import Field

from ..store.calls import FILTERS, CallFilter, Group
from ..store.rows import MAX_INDEXED_TEXT
from ..store.search import phrases_of
from . import response_models
from .auth import Administering, Caller, Reading
from .intake import time_of
from .models import Limit, Query, Words, checked, is_storable
from .requests import JsonRoute
from .responses import BAD_QUERY, Json
from .scores import scores_of
from .shown import as_json
from .state import Backend

DELETE_SECONDS = 5.0  # of one request, after which its caller asks again
_Time = Annotated[str, Field(description="an ISO-8601 date and time"), checked(time_of)]
_Search = Annotated[
    str,
    Field(description='1 to 50 words and "phrases", of which all must occur'),
    checked(is_storable),
    checked(phrases_of),
]
_Whole = Annotated[
    str,
    Field(
        description=f"a string of 1 to {MAX_INDEXED_TEXT} characters",
        min_length=1,
        max_length=MAX_INDEXED_TEXT,
    ),
    checked(is_storable),
]

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
            since=time_of(self.since) if self.since is not None else None,
            until=time_of(self.until) if self.until is not None else None,
            failed=self.failed,
            equal=given,
            text=self.text,
        )


class Paged(Chosen):
    """Which calls, and which page of them."""

    limit: Limit = 100
    after: Annotated[str | None, Field(description="the `next` of an earlier page")] = None


class Removed(Query):
    """Whose calls are meant. Longer texts can't be told apart, so they are refused."""

    user: _Whole | None = None
    session: _Whole | None = None
    id: _Whole | None = None


class Grouped(Chosen):
    """Which calls, and the columns to sum them up by."""

    by: Annotated[str, Field(description=f"names of {', '.join(FILTERS)}, separated by commas")] = ""


@router.get("/api/calls", response_model=response_models.CallsPage)
def page(query: Annotated[Paged, FromQuery()], caller: Reading, backend: Backend) -> Response:
    """Calls, newest first. `next` of a page is `after` of the following one.

    A search for a text that takes long ends before the page is full, and `searched_to` says where.
    """
    found = backend.calls.page(query.filter(caller), query.limit, query.after)
    to = found.searched_to.isoformat(timespec="microseconds") if found.searched_to is not None else None
    return Json({"calls": [as_json(call) for call in found.calls], "next": found.next, "searched_to": to})


@router.get("/api/calls/summary", response_model=response_models.Summary)
def summary(query: Annotated[Grouped, FromQuery()], caller: Reading, backend: Backend) -> Response:
    """Sums over calls: how many, errors, latency, tokens, cost; grouped by columns."""
    by = [name.strip() for name in query.by.split(",") if name.strip()]
    for name in by:
        if name not in FILTERS:
            raise HTTPException(BAD_QUERY, f"by must be names of {', '.join(FILTERS)}, was {name!r}")
    groups = backend.calls.aggregate(query.filter(caller), by)
    return Json({"groups": [_group_as_json(group, by) for group in groups]})


@router.delete("/api/calls", response_model=response_models.RemovedCalls)
def remove(query: Annotated[Removed, FromQuery()], caller: Administering, backend: Backend) -> Response:
    """Remove the calls of a user or a session for good. `more` says whether to ask again: some are left."""
    given = {name: value for name, value in query.model_dump().items() if value is not None}
    if not given:
        raise HTTPException(BAD_QUERY, "user, session or id must say whose calls to remove")
    until = time.monotonic() + DELETE_SECONDS
    removed, more = 0, False
    for step in _steps(backend, caller, given):
        removed += step
        if more := time.monotonic() > until:
            break
    if not more:
        backend.calls.erase()
    return Json({"deleted": removed, "more": more})


def _steps(backend: Backend, caller: Caller, given: Mapping[str, str]) -> Iterator[int]:
    """How many calls each step removed. Spans go first: the calls say which they are."""
    yield from (0 for _ in backend.spans.delete(caller.project, given))
    yield from backend.calls.delete(CallFilter(project=caller.project, equal=given), caller.key_id)


@router.get("/api/calls/{call_id:path}", response_model=response_models.ScoredCall)
def one(call_id: str, caller: Reading, backend: Backend) -> Response:
    """One call by its id, with its scores."""
    found = backend.calls.get(caller.project, call_id)
    if found is None:
        raise HTTPException(404, f"call {call_id!r} not found in project {caller.project!r}")
    return Json({**as_json(found), "scores": scores_of(found.id, caller.project, backend)})


def _group_as_json(group: Group, by: Sequence[str]) -> Mapping[str, object]:
    shown = asdict(group)
    shown["by"] = dict(zip(by, group.by, strict=True))
    return shown
