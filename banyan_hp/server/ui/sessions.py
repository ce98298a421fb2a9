"""The sessions with recent calls, and one of them as a conversation: its turns, and what was inside each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi import Query as FromQuery

from ..api.models import Limit, Query, Words
from ..api.state import Backend
from ..store.calls import Call, CallFilter
from ..store.sessions import MOST_COUNTED, MOST_LOOKED_AT, MOST_SUMMED, MOST_TIMED
from ..store.shown import texts_of
from .conversation import Said, said_in
from .filters import address_with
from .ratings import scores_about
from .rendering import PageRoute, page
from .traces import traces_of_turns
from .visitors import Looking
from .waterfalls import Bar, around, name_of, started, waterfall

PAGE_TURNS = 50
_LAST = 1  # messages of an input that a turn shows: those before it are the turns before
router = APIRouter(route_class=PageRoute, include_in_schema=False)


class Listed(Query):
    """Which sessions, and which page of them."""

    user: Words | None = None
    limit: Limit = 50
    after: str | None = None

    @classmethod
    def _given(cls, value: object) -> object:
        """A form sends the field that was left empty, too."""
        given = super()._given(value)
        return {name: each for name, each in given.items() if each} if isinstance(given, dict) else given


@dataclass(frozen=True, slots=True)
class Turn:
    """A call of a session that is inside no other one.

    Attributes:
        pause: milliseconds from the end of the turn before to its start; None: it is the first one here.
        bars: its steps and the calls inside it, over time; empty: there are none.
    """

    call: Call
    question: Said
    answer: Said
    pause: float | None
    bars: Sequence[Bar]


@router.get("/sessions")
def listed(
    request: Request, query: Annotated[Listed, FromQuery()], visitor: Looking, backend: Backend
) -> Response:
    """Sessions, last active first."""
    found = backend.sessions.recent(visitor.caller.project, query.limit, query.after, query.user)
    given = {"user": query.user} if query.user is not None else {}
    return page(
        request,
        "sessions",
        visitor,
        sessions=found.sessions,
        user=query.user or "",
        next=address_with("/sessions", {**given, "after": found.next}) if found.next is not None else None,
        first=query.after is None,
        looked_at=MOST_LOOKED_AT,
        most_counted=MOST_COUNTED,
        base_url=str(request.base_url).rstrip("/"),
    )


@router.get("/sessions/{session_id:path}")
def one(
    request: Request, session_id: str, visitor: Looking, backend: Backend, after: str | None = None
) -> Response:
    """A session's latest turns in their order, or those before a cursor."""
    chosen = CallFilter(project=visitor.caller.project, equal={"session": session_id})
    found = backend.calls.page(chosen, PAGE_TURNS, after)
    if not found.calls:
        raise HTTPException(404, f"There is no call of session {session_id!r}.")
    turns = turns_of(found.calls)
    return page(
        request,
        "session",
        visitor,
        session_id=session_id,
        turns=turns,
        traces=traces_of_turns([turn.call for turn in turns], backend),
        sums=backend.sessions.totals(chosen.project, session_id),
        most_summed=MOST_SUMMED,
        most_timed=MOST_TIMED,
        users=sorted({each.user for each in found.calls if each.user is not None}),
        scores=scores_about(chosen.project, "session", session_id, backend),
        earlier=found.next,
        latest=after is None,
    )


def turns_of(calls: Sequence[Call]) -> list[Turn]:
    """The turns of a conversation, by their start. Calls inside another one belong to its turn."""
    named = {name: each for each in calls if (name := name_of(each)) is not None}
    inside: dict[str, list[Call]] = {}
    outermost = []
    for each in calls:
        parent = around(each)
        if parent is not None and parent in named and _ends(each, named):
            inside.setdefault(parent, []).append(each)
        else:
            outermost.append(each)
    turns: list[Turn] = []
    for call in sorted(outermost, key=started):
        turns.append(_turn(call, inside, turns[-1].call if turns else None))
    return turns


def _ends(call: Call, named: Mapping[str, Call]) -> bool:
    """Whether the way out of a call, to those around it, has an end: ids may be anything."""
    seen: set[str] = set()
    parent = around(call)
    while parent is not None and parent in named and parent not in seen:
        seen.add(parent)
        parent = around(named[parent])
    return parent not in seen


def _turn(call: Call, inside: Mapping[str, Sequence[Call]], before: Call | None) -> Turn:
    texts = texts_of(call)
    pause = max(0.0, started(call) - _ended(before)) if before is not None else None
    return Turn(
        call, said_in(texts["input"], _LAST), said_in(texts["output"]), pause, waterfall(call, inside)
    )


def _ended(call: Call) -> float:
    return started(call) + (call.latency_ms or 0.0)
