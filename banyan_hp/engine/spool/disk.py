"""What every part of a spool is given: its lock, time, whether the disk can be used, and whom to tell.

A failed write, or a directory that can't be looked at, degrades the spool to memory only for a while. What
our own records don't depend on does not. This needs no lock: each field stands for itself, and the latest
finding wins.

What the ledger and people have to learn waits here until the spool's lock is free. The observer gets events
in order. Warnings go to a logging handler, which may call us.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ...logs import warn
from ...text import clean
from ..sync import Clock, EngineLock
from .segment import Segment

TRY_AGAIN_SECONDS = 30.0


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


class Disk:
    """The disk as file operations found it. `lock` is the spool's own."""

    def __init__(self, where: Path, lock: EngineLock, clock: Clock, observer: Observer) -> None:
        self.where = where  # the directory, for people
        self.lock = lock
        self.clock = clock
        self.report_lock = EngineLock()  # keeps the order; never taken while holding the spool's
        self.problem: str | None = None  # what is wrong, for people
        self._observer = observer
        # Several threads may add at a time: `append` and `popleft` are atomic, with the GIL or without.
        self._events: deque[Callable[[], object]] = deque()
        self._warnings: deque[Callable[[], object]] = deque()
        self._write_again_at = float("-inf")
        self._read_again_at = float("-inf")

    # -- can it be used? --------------------------------------------------------------------------------

    def writable_in(self) -> float:
        """Seconds until writing is tried again after a failure."""
        return self._write_again_at - self.clock.monotonic()

    @property
    def readable(self) -> bool:
        return self.clock.monotonic() >= self._read_again_at

    def try_again(self) -> None:
        """Forget the pause after a failed write: at the end every write is tried."""
        self._write_again_at = float("-inf")

    def pause_writing(self, seconds: float) -> None:
        self._write_again_at = max(self._write_again_at, self.clock.monotonic() + seconds)

    # -- file operations --------------------------------------------------------------------------------

    def attempt(self, action: Callable[[], object]) -> bool:
        """Run a file operation; a failure degrades the spool to memory only, for a while."""
        try:
            action()
        except OSError as error:
            self.problem = clean(f"{type(error).__name__}: {error}")
            self._write_again_at = self.clock.monotonic() + TRY_AGAIN_SECONDS
            self._failed("the spool in %s can't be used, records stay in memory: %s", self.where, error)
            return False
        return True

    def attempt_to_write(self, action: Callable[[], object]) -> bool:
        """The same for a write, whose success shows that the disk is well again."""
        written = self.attempt(action)
        if written:
            self.problem = None
        return written

    def in_passing(self, action: Callable[[], object]) -> None:
        """Run a file operation that our own records don't depend on; a failure is counted and logged."""
        try:
            action()
        except OSError as error:
            self._failed("in %s: %s", self.where, error)

    def segment_failed(self, path: Path, error: OSError) -> None:
        """One segment can't be read: the others may."""
        self._failed("the spool's segment %s can't be read: %s", path, error)

    def reading_failed(self, path: Path, error: OSError) -> None:
        """A segment of ours can't be read: nothing is read for a while."""
        self._read_again_at = self.clock.monotonic() + TRY_AGAIN_SECONDS
        self.segment_failed(path, error)

    def _failed(self, message: str, where: Path, error: OSError) -> None:
        self._events.append(self._observer.disk_failed)
        self.warn(message, where, error)

    # -- what the ledger and people learn ---------------------------------------------------------------

    def adopted(self, count: int, damaged: int) -> None:
        self._events.append(lambda: self._observer.adopted(count, damaged))

    def handed_back(self, count: int) -> None:
        self._events.append(lambda: self._observer.handed_back(count))

    def lost(self, segment: Segment, count: int, reason: str) -> None:
        self._events.append(lambda: self._observer.lost_on_disk(count, reason, own=segment.own))

    def damaged(self, segment: Segment, count: int) -> None:
        self._events.append(lambda: self._observer.damaged_on_disk(count, own=segment.own))

    def warn(self, message: str, *args: object, kind: str = "spool") -> None:
        """A log line; `kind` is what its rate is limited by."""
        self._warnings.append(lambda: warn(kind, message, *args))

    def report(self) -> None:
        """Call without the spool's lock."""
        if self._events:
            with self.report_lock:
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
