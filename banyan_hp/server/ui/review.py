"""Review: the calls of a filter one after the other, each rated with one key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, NamedTuple

from fastapi import APIRouter, Request, Response
from fastapi import Query as FromQuery
from pydantic import Field

from ..api.state import Backend, Stores
from ..store.calls import Call, CallFilter, microseconds
from ..store.cursors import Cursor
from ..store.shown import texts_of
from .conversation import said_in
from .filters import Wanted, address_with, filters_of
from .ratings import MOST_SHOWN, scores_about
from .rendering import PageRoute, page
from .visitors import Looking, Visitor

LOOKED_AT = 100  # calls, for the next one without a rating
AT_ONCE = 25
router = APIRouter(route_class=PageRoute, include_in_schema=False)


class Queue(Wanted):
    """Which calls are to be reviewed; `unrated`: those without a rating by the visitor, or by anybody."""

    unrated: Annotated[Literal["me", "anyone"], Field(description="me or anyone")] | None = None

    def given(self) -> dict[str, str]:
        """Those that are set, as the address has them."""
        return {**super().given(), **({"unrated": self.unrated} if self.unrated is not None else {})}


class _Next(NamedTuple):
    """The next call; None: there is none up to the cursor, beyond which there may be more.

    A search that took long has come to `searched_to`.
    """

    call: Call | None
    cursor: str | None
    searched_to: datetime | None = None


@router.get("/review")
def review(
    request: Request, query: Annotated[Queue, FromQuery()], visitor: Looking, backend: Backend
) -> Response:
    """The next call of the queue."""
    chosen, given = query.filter(visitor.caller), query.given()
    found = _next(chosen, query, visitor, backend)
    call = found.call
    texts = texts_of(call) if call is not None else {}
    following = {**given, "after": found.cursor} if found.cursor is not None else given
    return page(
        request,
        "review",
        visitor,
        filters=filters_of(query, "/review"),
        unrated=query.unrated,
        call=call,
        input=said_in(texts.get("input")),
        output=said_in(texts.get("output")),
        scores=scores_about(call.project, "record_id", call.id, backend) if call is not None else [],
        following=address_with("/review", following),
        more=call is None and found.cursor is not None,
        searched_to=found.searched_to,
        begun=query.after is not None,
        queues=_queues(visitor, backend),
    )


def _next(chosen: CallFilter, query: Queue, visitor: Visitor, backend: Stores) -> _Next:
    """The first call behind the cursor that is to be reviewed, among a bounded number of them."""
    cursor, seen = query.after, 0
    while seen < LOOKED_AT:
        found = backend.calls.page(chosen, 1 if query.unrated is None else AT_ONCE, cursor)
        for call in found.calls:
            if not _is_rated(call, query, visitor, backend):
                return _Next(call, str(Cursor(microseconds(call.event_time), call.seq)))
        seen, cursor = seen + len(found.calls), found.next
        if cursor is None or found.searched_to is not None:
            return _Next(None, cursor, found.searched_to)
    return _Next(None, cursor)


def _is_rated(call: Call, query: Queue, visitor: Visitor, backend: Stores) -> bool:
    if query.unrated is None:
        return False
    scores = backend.calls.scores(call.project, {"record_id": call.id}, MOST_SHOWN).scores
    return any(query.unrated == "anyone" or each.rater == visitor.name for each in scores)


def _queues(visitor: Visitor, backend: Stores) -> dict[str, str]:
    """Queues to begin with."""
    week = (datetime.now(UTC) - timedelta(days=7)).strftime("%Y-%m-%dT%H:%M:00")
    queues = {
        "the last week's errors": {"failed": "true", "since": week},
        "the last week's calls without a rating": {"since": week, "unrated": "anyone"},
        "all that I have not rated": {"unrated": "me"},
    }
    running = backend.experiments.page(visitor.caller.project, status="running", limit=5).items
    for experiment_id in (each.experiment.experiment_id for each in running):
        queues[f"experiment {experiment_id} without a rating"] = {
            "experiment_id": experiment_id,
            "unrated": "anyone",
        }
    return {name: address_with("/review", query) for name, query in queues.items()}
