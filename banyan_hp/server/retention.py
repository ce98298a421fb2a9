"""Removing what is older than calls are kept: a thread, of which one in all processes works at a time.

Now and then it stands for election; who is elected removes what is old in small steps, and rests after each
as long as it took, so that intake gets its turn. Nothing is lost where it stops, at any point: the next one
goes on (see `store.removal` and, for what is kept elsewhere, `store.archive`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from .store.calls import Call, Calls, Keeper
from .store.database import BusyError, Database, SlowQueryError
from .store.election import elected
from .store.spans import SpanKeeper, Spans, StoredSpan

logger = logging.getLogger(__name__)

PERIOD_SECONDS = 3600.0
RETRY_SECONDS = 60.0
_LONGEST_REST = 1.0
_STOP_SECONDS = 10.0
_TROUBLE = (BusyError, SlowQueryError, SQLAlchemyError, OSError)


class _StoppedError(Exception):
    """The server stops in the middle of keeping calls."""


class Retention:
    """The thread. A context manager.

    Args:
        calls: to look after.
        database: theirs, where the election is held.
        retain: how long calls are kept, at least; whole days go at once.
        keeper: makes what gets calls before they are removed, anew for each run; None: nothing does.
        spans: to remove likewise.
    """

    def __init__(
        self,
        calls: Calls,
        database: Database,
        retain: timedelta,
        keeper: Callable[[], _Keepers] | None = None,
        spans: Spans | None = None,
    ) -> None:
        self._calls = calls
        self._database = database
        self._retain = retain
        self._keeper = keeper
        self._spans = spans
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="banyan_hp-retention", daemon=True)

    def __enter__(self) -> Retention:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(_STOP_SECONDS)

    def stop(self) -> None:
        """Have the thread end between two calls that it keeps, or two steps."""
        self._stop.set()

    def _run(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            pause = self._run_or_retry()

    def _run_or_retry(self) -> float:
        """How long to wait for the next run."""
        try:
            self.run_once()
        except _StoppedError:
            return 0.0
        except _TROUBLE as error:
            logger.error("old calls are still there, and will be removed later: %s", _line(error))
            return RETRY_SECONDS
        return PERIOD_SECONDS

    def run_once(self) -> int | None:
        """Remove what is old now; how many calls, or None where another process does it."""
        with elected(self._database) as still:
            if still is None:
                return None
            total = 0
            for removed in self._steps():
                total += removed
                if not still():
                    break
            if total:
                logger.info("removed %d calls older than %s", total, self._retain)
            return total

    def _steps(self) -> Iterator[int]:
        keeper = _Stoppable(self._keeper(), self._stop) if self._keeper is not None else None
        started = time.monotonic()
        for removed in self._removed(datetime.now(UTC) - self._retain, keeper):
            yield removed
            if self._stop.wait(min(_LONGEST_REST, time.monotonic() - started)):
                return
            started = time.monotonic()

    def _removed(self, before: datetime, keeper: _Stoppable | None) -> Iterator[int]:
        """How many calls each step removed; the spans that they were made of go after them."""
        yield from self._calls.trim(before, keeper)
        if self._spans is not None:
            yield from (0 for _ in self._spans.trim(before, keeper))


class _Keepers(Keeper, SpanKeeper, Protocol):
    """Takes both."""


class _Stoppable:
    """A keeper that gives up between two calls when the server stops."""

    def __init__(self, keeper: _Keepers, stop: threading.Event) -> None:
        self._keeper = keeper
        self._stop = stop

    def keep(self, project: str, day: date, numbers: Sequence[int], calls: Iterable[Call]) -> None:
        self._keeper.keep(project, day, numbers, self._until_stopped(calls))

    def keep_spans(self, project: str, day: date, spans: Sequence[StoredSpan]) -> None:
        if self._stop.is_set():
            raise _StoppedError
        self._keeper.keep_spans(project, day, spans)

    def _until_stopped(self, calls: Iterable[Call]) -> Iterator[Call]:
        for call in calls:
            if self._stop.is_set():
                raise _StoppedError
            yield call


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]
