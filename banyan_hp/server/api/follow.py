"""`GET /api/calls/follow`: calls as they arrive, as server-sent events (see `feeds`).

    id: 123.45
    event: call
    data: {the call, as /api/calls shows it}

An event that has only an `id` says that nothing up to there was meant. One comes every few seconds, so that
proxies keep the connection, and more often while old calls are gone through, so that no look at them is lost
with a connection. A client that comes back sends the last `id` as `Last-Event-ID`, as browsers do,
and misses nothing. The event `end` is the last one; its data has the reason.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from operator import attrgetter
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi import Query as FromQuery
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ..store.calls import CallFilter
from ..store.cursors import Cursor
from ..store.database import BusyError, SlowQueryError
from ..store.keys import Role
from ..store.matching import Matcher
from .auth import Reading, authenticated
from .calls import Chosen
from .feeds import Arrived, Feed, Feeds
from .requests import JsonRoute, header
from .responses import told_of

KEY_SECONDS = 5.0  # between two looks at whether the key is still good
QUIET_SECONDS = 15.0
PROGRESS_SECONDS = 2.0  # between two reports of how far old calls were gone through
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the latter for nginx

router = APIRouter(route_class=JsonRoute, tags=["calls"])


class Followed(Chosen):
    """Which calls, and from where on."""

    after: Annotated[str | None, Field(description="the id of an event; without one: from now on")] = None


@router.get(
    "/api/calls/follow",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "events, without an end"}},
)
async def follow(query: Annotated[Followed, FromQuery()], caller: Reading, request: Request) -> Response:
    """Calls as they arrive. `Last-Event-ID` is the same as `after`, and wins over it."""
    after = position_of(request, query)

    def admitted() -> object:
        return authenticated(request, Role.READ)

    return EventStream(Listener(query.filter(caller), after, admitted), request.app.state.feeds)


def position_of(request: Request, query: Followed) -> Cursor | None:
    """From where on; None: from now on.

    Raises:
        UnusableCursorError: no event had this id.
    """
    last = header(request, "last-event-id")
    given = last or query.after
    return Cursor.parse(given, "Last-Event-ID" if last else "after") if given else None


class EventStream(StreamingResponse):
    """Events of a listener, who is counted as long as the response lasts, however it ends."""

    media_type = "text/event-stream"

    def __init__(self, listener: Listener, feeds: Feeds, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(iter(()), headers={**(headers or {}), **_HEADERS})
        self._listener = listener
        self._feeds = feeds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        async with self._feeds.joined(self._listener.chosen.project) as feed:
            self.body_iterator = self._listener.events(feed, self._feeds)
            await super().__call__(scope, receive, send)


class Listener:
    """One who follows.

    Args:
        chosen: which calls.
        after: from where on; None: from now on.
        admitted: asked now and then, in a thread; raises `HTTPException` if there is nothing more to come.
        data: what an event holds of a call, on one line.
    """

    def __init__(
        self,
        chosen: CallFilter,
        after: Cursor | None,
        admitted: Callable[[], object],
        data: Callable[[Arrived], str | None] = attrgetter("text"),
    ) -> None:
        self.chosen = chosen
        self._after = after
        self._admitted = admitted
        self._data = data
        self._matches = Matcher(chosen)
        self._key_at = self._said_at = time.monotonic()

    async def events(self, feed: Feed, feeds: Feeds) -> AsyncIterator[str]:
        """What it is sent, until there is a reason to end."""
        after = self._after or feed.ends
        yield self._event(after)
        while (reason := await self._end(feeds)) is None:
            try:
                arrived = await feed.next(self.chosen, self._matches, after)
            except (BusyError, SlowQueryError) as error:
                yield self._event(after)  # where a client goes on when it comes back
                yield _end(told_of(error) if isinstance(error, BusyError) else str(error))
                return
            for each in arrived:
                after = each.position
                if each.text is not None:
                    yield self._event(after, each)
            if not arrived:
                await feed.news(min(KEY_SECONDS, QUIET_SECONDS))
            if time.monotonic() >= self._said_at + (PROGRESS_SECONDS if arrived else QUIET_SECONDS):
                yield self._event(after)
        yield _end(reason)

    def _event(self, position: Cursor, arrived: Arrived | None = None) -> str:
        self._said_at = time.monotonic()
        if arrived is None:
            return f"id: {position}\n\n"
        return f"id: {position}\nevent: call\ndata: {self._data(arrived)}\n\n"

    async def _end(self, feeds: Feeds) -> str | None:
        """Why there is nothing more to come."""
        if feeds.closed:
            return "the backend stops"
        if time.monotonic() < self._key_at + KEY_SECONDS:
            return None
        self._key_at = time.monotonic()
        try:
            await run_in_threadpool(self._admitted)
        except HTTPException as error:
            return str(error.detail)
        except (BusyError, SlowQueryError):
            return None
        return None


def _end(reason: str) -> str:
    data: dict[str, Any] = {"reason": reason}
    return f"event: end\ndata: {json.dumps(data)}\n\n"
