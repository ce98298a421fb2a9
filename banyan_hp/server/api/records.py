"""One client's records in order of their arrival: Banyan's logs and HuggingPlace's interactions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from fastapi import Query as FromQuery
from pydantic import Field

from ..store.calls import Call, CallFilter
from . import response_models
from .auth import Caller, Reading
from .models import Limit, Query, Words
from .requests import JsonRoute
from .responses import Json
from .state import Backend

_OLDEST, _NEWEST = "oldest", "newest"
_Cursor = Annotated[Words, Field(description="the `next` of another page, or the `seq` of a record")]

router = APIRouter(route_class=JsonRoute, tags=["calls"])


class Counted(Query):
    """Which records."""

    id: Words | None = None

    def filter(self, caller: Caller, source: str) -> CallFilter:
        """The same for the store."""
        given = {"id": self.id, "source": source, **self._own()}
        equal = {name: value for name, value in given.items() if value is not None}
        return CallFilter(project=caller.project, equal=equal)

    def _own(self) -> dict[str, str | None]:
        return {}


class OfExperiment(Counted):
    """Which of Banyan's records."""

    experiment_id: Words | None = None

    def _own(self) -> dict[str, str | None]:
        return {"experiment_id": self.experiment_id}


class OfSession(Counted):
    """Which of HuggingPlace's records."""

    session_id: Words | None = None

    def _own(self) -> dict[str, str | None]:
        return {"session": self.session_id}


class Paged(Counted):
    """Which page of them."""

    limit: Limit = 100
    order: Annotated[str, Field(description="oldest or newest", pattern=f"^({_OLDEST}|{_NEWEST})$")] = _OLDEST
    after: _Cursor | None = None
    before: _Cursor | None = None


class Logs(Paged, OfExperiment):
    """Which of Banyan's records, and which page of them."""


class Interactions(Paged, OfSession):
    """Which of HuggingPlace's records, and which page of them."""


@router.get("/api/logs", response_model=response_models.LogsPage)
def logs(query: Annotated[Logs, FromQuery()], caller: Reading, backend: Backend) -> Response:
    """Banyan's usage records, in order of their arrival. `next` is `after` of the following page, or `before`
    where the newest come first.
    """
    return _page("logs", query, query.filter(caller, "banyan"), backend)


@router.get("/api/logs/count", response_model=response_models.Count)
def logs_count(query: Annotated[OfExperiment, FromQuery()], caller: Reading, backend: Backend) -> Response:
    """How many usage records there are, and how many deliveries of them, repeats included."""
    return _count(query.filter(caller, "banyan"), backend)


@router.get("/api/interactions", response_model=response_models.InteractionsPage)
def interactions(query: Annotated[Interactions, FromQuery()], caller: Reading, backend: Backend) -> Response:
    """HuggingPlace's interactions, in order of their arrival; pages as those of `/api/logs`."""
    return _page("interactions", query, query.filter(caller, "huggingplace"), backend)


@router.get("/api/interactions/count", response_model=response_models.Count)
def interactions_count(
    query: Annotated[OfSession, FromQuery()], caller: Reading, backend: Backend
) -> Response:
    """How many interactions there are, and how many deliveries of them, repeats included."""
    return _count(query.filter(caller, "huggingplace"), backend)


def _page(name: str, query: Paged, chosen: CallFilter, backend: Backend) -> Response:
    page = backend.calls.arrived(
        chosen, query.limit, after=query.after, before=query.before, newest=query.order == _NEWEST
    )
    return Json({name: [_as_json(call) for call in page.calls], "next": page.next})


def _count(chosen: CallFilter, backend: Backend) -> Response:
    calls, deliveries = backend.calls.count(chosen)
    return Json({"count": calls, "deliveries": deliveries})


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
