"""One client's records in order of their arrival: Banyan's logs and HuggingPlace's interactions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from fastapi import Query as FromQuery
from pydantic import Field

from ..store.calls import MAX_PAGE, Call, CallFilter
from .auth import Caller, Reading
from .models import Query, Words
from .requests import JsonRoute
from .responses import Json
from .state import Backend

router = APIRouter(route_class=JsonRoute, tags=["calls"])


class Counted(Query):
    """Which records."""

    experiment_id: Words | None = None
    session_id: Words | None = None

    def filter(self, caller: Caller, source: str) -> CallFilter:
        """The same for the store."""
        given = {"experiment_id": self.experiment_id, "session": self.session_id, "source": source}
        equal = {name: value for name, value in given.items() if value is not None}
        return CallFilter(project=caller.project, equal=equal)


class Paged(Counted):
    """Which records, and which page of them."""

    limit: Annotated[int, Field(description=f"a whole number from 1 to {MAX_PAGE}", ge=1, le=MAX_PAGE)] = 100
    after: Annotated[str | None, Field(description="the `next` of an earlier page")] = None


@router.get("/api/logs")
def logs(query: Annotated[Paged, FromQuery()], caller: Reading, backend: Backend) -> Response:
    """Banyan's usage records, in order of their arrival."""
    return _page("logs", query, query.filter(caller, "banyan"), backend)


@router.get("/api/logs/count")
def logs_count(query: Annotated[Counted, FromQuery()], caller: Reading, backend: Backend) -> Response:
    """How many usage records there are, and how many deliveries of them, repeats included."""
    return _count(query.filter(caller, "banyan"), backend)


@router.get("/api/interactions")
def interactions(query: Annotated[Paged, FromQuery()], caller: Reading, backend: Backend) -> Response:
    """HuggingPlace's interactions, in order of their arrival."""
    return _page("interactions", query, query.filter(caller, "huggingplace"), backend)


@router.get("/api/interactions/count")
def interactions_count(query: Annotated[Counted, FromQuery()], caller: Reading, backend: Backend) -> Response:
    """How many interactions there are, and how many deliveries of them, repeats included."""
    return _count(query.filter(caller, "huggingplace"), backend)


def _page(name: str, query: Paged, chosen: CallFilter, backend: Backend) -> Response:
    page = backend.calls.follow(chosen, query.limit, query.after)
    # A full page, or one cut short by the size of its bodies, may have a next one; an empty page has none.
    following = page.next if page.calls and backend.calls.follow(chosen, 1, page.next).calls else None
    return Json({name: [_as_json(call) for call in page.calls], "next": following})


def _count(chosen: CallFilter, backend: Backend) -> Response:
    (every,) = backend.calls.aggregate(chosen)
    return Json({"count": every.calls, "deliveries": every.deliveries})


def _as_json(call: Call) -> dict[str, Any]:
    return {
        "seq": call.seq,
        "id": call.id,
        "event_time": call.event_time.isoformat(timespec="microseconds"),
        "received_at": call.received_at.isoformat(timespec="microseconds"),
        "deliveries": call.deliveries,
        "project": call.project,
        "session_id": call.session,
        "body": call.body,
    }
