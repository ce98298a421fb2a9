"""What has just arrived, for all who follow it: one look at the database for all listeners of a project.

A `Feed` holds a project's latest calls, up to a number and a size; one task looks for new ones while somebody
listens. A listener is nothing but a cursor. While the feed holds all that comes behind the cursor, it reads
from the feed; else (it begins in the past, or was slow) from the database, a few calls at its own pace. So a
slow listener neither holds up the others nor fills the memory, and misses nothing.

All of this belongs to the thread of the event loop. What takes time runs in other threads, which touch none
of it: reads of the database, making JSON, looking for words. Nobody holds a connection between two reads.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from fastapi import HTTPException
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from ..store.calls import Call, CallFilter, Calls
from ..store.cursors import Cursor
from ..store.database import BusyError, SlowQueryError
from ..store.matching import Matcher
from .shown import as_json

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5  # between two looks at the database
MOST_LISTENERS = 100  # of a process
MOST_CALLS = 1000  # that a feed holds
MOST_BYTES = 8 * 1024 * 1024
STEP_SECONDS = 1.0  # that one look into the past takes, about, before it reports how far it has come
_AT_ONCE = 10  # calls that a listener holds


@dataclass(frozen=True, slots=True)
class _Held:
    position: Cursor
    call: Call
    text: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """A call that a listener gets: its position, itself, and as JSON; None: nothing up to there is meant."""

    position: Cursor
    text: str | None
    call: Call | None = None


class Feed:
    """The latest calls of a project."""

    def __init__(self, calls: Calls, project: str) -> None:
        self._calls = calls
        self._project = project
        self.listeners = 0
        self.begins = self.ends = Cursor(0, 0)
        self.held: list[_Held] = []  # all behind `begins`, up to `ends`
        self._news = asyncio.Event()
        self._started = asyncio.ensure_future(self._start())
        self._looking: asyncio.Task[None] | None = None

    async def started(self) -> None:
        """Wait until it holds what arrives.

        Raises:
            BusyError: the database can't be used now.
        """
        await asyncio.shield(self._started)

    async def _start(self) -> None:
        self.begins = self.ends = Cursor.parse(await run_in_threadpool(self._calls.end))
        self._looking = asyncio.create_task(self._look())

    def stop(self) -> None:
        """Look no more."""
        self._started.cancel()
        if self._looking is not None:
            self._looking.cancel()

    async def _look(self) -> None:
        while True:
            full = False
            try:
                arrived = await run_in_threadpool(_arrived, self._calls, self._project, self.ends)
                full = bool(arrived)
                self._take(arrived)
            except (BusyError, SlowQueryError, SQLAlchemyError) as error:
                logger.warning("followers wait for the database: %s", str(error).partition("\n")[0])
            await asyncio.sleep(0 if full else LOOK_SECONDS)

    def _take(self, arrived: Sequence[_Held]) -> None:
        if not arrived:
            return
        self.held += arrived
        self._forget()
        self.ends = self.held[-1].position
        self._news.set()
        self._news = asyncio.Event()

    def _forget(self) -> None:
        """The oldest, which are too many: the first that stays is the last one that fits."""
        size, first = 0, len(self.held)
        while (
            first
            and len(self.held) - first < MOST_CALLS
            and size + len(self.held[first - 1].text) <= MOST_BYTES
        ):
            first -= 1
            size += len(self.held[first].text)
        if first:
            self.begins = self.held[first - 1].position
            del self.held[:first]

    async def news(self, seconds: float) -> None:
        """Wait for calls behind `ends`, but no longer than this."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)

    def wake(self) -> None:
        """End all waiting."""
        self._news.set()

    async def next(self, chosen: CallFilter, matches: Matcher, after: Cursor) -> Sequence[Arrived]:
        """The next few behind a position; none: the position is the end."""
        if after >= self.begins:
            first = bisect_right(self.held, after, key=lambda each: each.position)
            held = self.held[first : first + _AT_ONCE]
            if chosen.text is None:
                return _matching(held, matches)
            return await run_in_threadpool(_matching, held, matches)
        ends = self.ends
        found = await run_in_threadpool(_past, self._calls, chosen, matches, after)
        return found or [Arrived(max(ends, after), None)]


def _arrived(calls: Calls, project: str, after: Cursor) -> list[_Held]:
    page = calls.follow(CallFilter(project=project, scores=True), MOST_CALLS, str(after))
    return [
        _Held(Cursor.parse(position), call, json.dumps(as_json(call)))
        for position, call in zip(page.positions, page.calls, strict=True)
    ]


def _matching(held: Sequence[_Held], matches: Matcher) -> list[Arrived]:
    return [
        Arrived(each.position, each.text, each.call) if matches(each.call) else Arrived(each.position, None)
        for each in held
    ]


def _past(calls: Calls, chosen: CallFilter, matches: Matcher, after: Cursor) -> list[Arrived]:
    """The next few behind a position that are meant, else how far it has looked; none: there are no more."""
    until = time.monotonic() + STEP_SECONDS
    limit, begin = _AT_ONCE, after
    while True:
        page = calls.follow(chosen, limit, str(after))
        found = [
            Arrived(Cursor.parse(position), json.dumps(as_json(call)), call)
            for position, call in zip(page.positions, page.calls, strict=True)
            if matches(call)
        ]
        before, after = after, Cursor.parse(page.next or str(after))
        if found or after == before or time.monotonic() > until:
            return [*found, Arrived(after, None)] if after > begin else []
        limit = min(2 * limit, MOST_CALLS)  # nothing was meant, so little of the next ones may be


class Feeds:
    """The feeds of a process, each as long as somebody listens."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.feeds: dict[str, Feed] = {}
        self.closed = False

    @asynccontextmanager
    async def joined(self, project: str) -> AsyncIterator[Feed]:
        """A project's feed, for one listener.

        Raises:
            HTTPException: there are too many.
            BusyError: the database can't be used now.
        """
        if sum(feed.listeners for feed in self.feeds.values()) >= MOST_LISTENERS:
            raise HTTPException(
                503, f"{MOST_LISTENERS} follow already, and no more can", {"Retry-After": "60"}
            )
        feed = self.feeds.get(project)
        if feed is None:
            feed = self.feeds[project] = Feed(self._calls, project)
        feed.listeners += 1
        try:
            await feed.started()
            yield feed
        finally:
            feed.listeners -= 1
            if not feed.listeners:
                feed.stop()
                if self.feeds.get(project) is feed:
                    del self.feeds[project]

    def close(self) -> None:
        """Have all listeners leave: the server stops."""
        self.closed = True
        for feed in self.feeds.values():
            feed.wake()
