"""What the ledger and people must be told of the disk, kept until the spool's lock is free.

The ledger is told in order, with no lock held but one that keeps the order. Words go to a logging handler,
which may call us.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from ...logs import warn
from ..sync import EngineLock
from .segment import Segment


class Observer(Protocol):
    """Who keeps the ledger. Called without any lock held but one that keeps these calls in order."""

    def adopted(self, count: int, damaged: int) -> None:
        """A dead process's segment is ours now: so many records, and so many that are damaged."""

    def let_go(self, count: int) -> None:
        """So many adopted records were left to whoever adopts them next."""

    def lost_on_disk(self, count: int, reason: str, *, own: bool) -> None:
        """So many records that were on disk only are gone."""

    def damaged_on_disk(self, count: int, *, own: bool) -> None:
        """So many records that were on disk only can't be read; they are in the quarantine."""

    def disk_failed(self) -> None:
        """A file operation failed."""


class Events:
    """Collected under the spool's lock, told by `tell` without it."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.lock = EngineLock()  # never taken while holding the spool's
        self._events: deque[Callable[[], None]] = deque()
        self._words: deque[Callable[[], None]] = deque()

    def adopted(self, count: int, damaged: int) -> None:
        self._events.append(lambda: self._observer.adopted(count, damaged))

    def let_go(self, count: int) -> None:
        self._events.append(lambda: self._observer.let_go(count))

    def lost(self, segment: Segment, count: int, reason: str) -> None:
        self._events.append(lambda: self._observer.lost_on_disk(count, reason, own=segment.own))

    def damaged(self, segment: Segment, count: int) -> None:
        self._events.append(lambda: self._observer.damaged_on_disk(count, own=segment.own))

    def disk_failed(self) -> None:
        self._events.append(self._observer.disk_failed)

    def warn(self, message: str, *args: object, kind: str = "spool") -> None:
        """A log line; `kind` is what its rate is limited by."""
        self._words.append(lambda: warn(kind, message, *args))

    def report(self) -> None:
        """Call without the spool's lock."""
        if self._events:
            with self.lock:
                _run_all(self._events)
        if self._words:
            _run_all(self._words)


def _run_all(waiting: deque[Callable[[], None]]) -> None:
    while True:
        try:
            each = waiting.popleft()
        except IndexError:
            return
        each()
