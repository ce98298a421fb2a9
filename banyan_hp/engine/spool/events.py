"""What the ledger and people learn of the disk, kept until the spool's lock is free.

The observer gets events in order, with no lock held but one that keeps the order. Warnings go to a logging
handler, which may call us.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from ...logs import warn
from ..sync import EngineLock
from .segment import Segment


class Observer(Protocol):
    """Keeps the ledger. Called without any lock held but one that keeps these calls in order."""

    def adopted(self, count: int, damaged: int) -> None:
        """A dead process's segment is ours now: `count` whole records, and `damaged` ones."""

    def handed_back(self, count: int) -> None:
        """`count` adopted records were left to whoever adopts them next."""

    def lost_on_disk(self, count: int, reason: str, *, own: bool) -> None:
        """`count` records that were on disk only are gone."""

    def damaged_on_disk(self, count: int, *, own: bool) -> None:
        """`count` records that were on disk only can't be read; they are in the quarantine."""

    def disk_failed(self) -> None:
        """A file operation failed."""


class Events:
    """Collected with or without the spool's lock, reported by `report` without it.

    Several threads may add at a time: `append` and `popleft` of a deque are atomic, with the GIL or without.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.lock = EngineLock()  # keeps the order; never taken while holding the spool's
        self._events: deque[Callable[[], object]] = deque()
        self._warnings: deque[Callable[[], object]] = deque()

    def adopted(self, count: int, damaged: int) -> None:
        self._events.append(lambda: self._observer.adopted(count, damaged))

    def handed_back(self, count: int) -> None:
        self._events.append(lambda: self._observer.handed_back(count))

    def lost(self, segment: Segment, count: int, reason: str) -> None:
        self._events.append(lambda: self._observer.lost_on_disk(count, reason, own=segment.own))

    def damaged(self, segment: Segment, count: int) -> None:
        self._events.append(lambda: self._observer.damaged_on_disk(count, own=segment.own))

    def disk_failed(self) -> None:
        self._events.append(self._observer.disk_failed)

    def warn(self, message: str, *args: object, kind: str = "spool") -> None:
        """A log line; `kind` is what its rate is limited by."""
        self._warnings.append(lambda: warn(kind, message, *args))

    def report(self) -> None:
        """Call without the spool's lock."""
        if self._events:
            with self.lock:
                _run_all(self._events)
        if self._warnings:
            _run_all(self._warnings)


def _run_all(waiting: deque[Callable[[], object]]) -> None:
    while True:
        try:
            each = waiting.popleft()
        except IndexError:
            return
        each()
