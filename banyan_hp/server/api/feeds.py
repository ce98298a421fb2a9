"""What has just arrived, for all who follow it: one look at the database for all listeners of a project.

A `Feed` holds a project's latest calls, up to a number and a size; one task looks for new ones while somebody
listens. A listener is nothing but a cursor. While the feed holds all that comes behind the cursor, it reads
from the feed; else (it begins in the past, or was slow) from the database, a few calls at its own pace. So a
slow listener neither holds up the others nor fills the memory, and misses nothing.

All of this belongs to the thread of the event loop. Reads of the database run in other threads, which touch
none of it, and nobody holds a connection between two reads.
"""

from __future__ import annotations

import asyncio
import json
import logging
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from fastapi import HTTPException
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from ..store.calls import Call, CallFilter, Calls, Page
from ..store.cursors import Cursor
from ..store.database import BusyError, SlowQueryError
from ..store.matching import Matcher
from .shown import as_json

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5  # between two looks at the database
MOST_LISTENERS = 100  # of a process
MOST_CALLS = 1000  # that a feed holds
MOST_BYTES = 8 * 1024 * 1024
_AT_ONCE = 10  # calls that a listener holds


@dataclass(frozen=True, slots=True)
class Arrived:
    """A call that a listener gets: its position, and itself as JSON; None if it is not meant."""

    position: Cursor
    text: str | None


class Feed:
    """The latest calls of a project."""

    def __init__(self, calls: Calls, project: str) -> None:
        self._calls = calls
        self._project = project
        self.listeners = 0
        self.begins = self.ends = Cursor(0, 0)
        self._positions: list[Cursor] = []  # of all behind `begins`, up to `ends`
        self.held: list[tuple[Call, str]] = []
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
                page = await run_in_threadpool(
                    self._calls.follow,
                    CallFilter(project=self._project, scores=True),
                    MOST_CALLS,
                    str(self.ends),
                )
                full = bool(page.calls)
                self._take(page)
            except (BusyError, SlowQueryError, SQLAlchemyError) as error:
                logger.warning("followers wait for the database: %s", str(error).partition("\n")[0])
            await asyncio.sleep(0 if full else LOOK_SECONDS)

    def _take(self, page: Page) -> None:
        if not page.calls:
            return
        self._positions += map(Cursor.parse, page.positions)
        self.held += [(call, json.dumps(as_json(call))) for call in page.calls]
        self._forget()
        self.ends = self._positions[-1]
        self._news.set()
        self._news = asyncio.Event()

    def _forget(self) -> None:
        """The oldest, which are too many: the first that stays is the last one that fits."""
        size, first = 0, len(self.held)
        while (
            first
            and len(self.held) - first < MOST_CALLS
            and size + len(self.held[first - 1][1]) <= MOST_BYTES
        ):
            first -= 1
            size += len(self.held[first][1])
        if first:
            self.begins = self._positions[first - 1]
            del self._positions[:first], self.held[:first]

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
            return self._next_held(matches, after)
        ends = self.ends
        # Texts are not left to the database, which indexes them only later.
        page = await run_in_threadpool(self._calls.follow, replace(chosen, text=None), _AT_ONCE, str(after))
        if not page.calls:
            return [Arrived(max(ends, after), None)]
        return [
            Arrived(Cursor.parse(position), json.dumps(as_json(call)) if matches(call) else None)
            for position, call in zip(page.positions, page.calls, strict=True)
        ]

    def _next_held(self, matches: Matcher, after: Cursor) -> Sequence[Arrived]:
        first = bisect_right(self._positions, after)
        found = zip(
            self._positions[first : first + _AT_ONCE], self.held[first : first + _AT_ONCE], strict=True
        )
        return [Arrived(position, text if matches(call) else None) for position, (call, text) in found]


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
