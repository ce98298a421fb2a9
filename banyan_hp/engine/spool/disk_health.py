"""Whether a spool's disk can be used now, and what is wrong with it if not.

A failed write, or a directory that can't be looked at, degrades the spool to memory only for a while. What
our own records don't depend on does not. Needs no lock: each of its fields stands for itself, and the latest
finding wins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...text import clean
from ..sync import Clock, EngineLock
from .events import Events

TRY_AGAIN_SECONDS = 30.0


class DiskHealth:
    """The state of the disk, as file operations found it.

    Attributes:
        where: the directory, for people.
        problem: what is wrong, for people; None if nothing is.
    """

    def __init__(self, where: Path, clock: Clock, events: Events) -> None:
        self.where = where
        self.problem: str | None = None
        self._clock = clock
        self._events = events
        self._write_again_at = float("-inf")
        self._read_again_at = float("-inf")

    def writable_in(self) -> float:
        """Seconds until writing is tried again after a failure."""
        return self._write_again_at - self._clock.monotonic()

    @property
    def readable(self) -> bool:
        return self._clock.monotonic() >= self._read_again_at

    def attempt(self, action: Callable[[], object]) -> bool:
        """Run a file operation; a failure degrades the spool to memory only, for a while."""
        try:
            action()
        except OSError as error:
            self.failed(error)
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
            self._events.disk_failed()
            self._events.warn("in %s: %s", self.where, error)

    def failed(self, error: OSError) -> None:
        self.problem = clean(f"{type(error).__name__}: {error}")
        self._write_again_at = self._clock.monotonic() + TRY_AGAIN_SECONDS
        self._events.disk_failed()
        self._events.warn("the spool in %s can't be used, records stay in memory: %s", self.where, error)

    def segment_failed(self, path: Path, error: OSError) -> None:
        """One segment can't be read: the others may."""
        self._events.disk_failed()
        self._events.warn("the spool's segment %s can't be read: %s", path, error)

    def reading_failed(self, path: Path, error: OSError) -> None:
        """A segment of ours can't be read: nothing is read for a while."""
        self._read_again_at = self._clock.monotonic() + TRY_AGAIN_SECONDS
        self.segment_failed(path, error)

    def try_again(self) -> None:
        """Forget the pause after a failed write: at the end every write is tried."""
        self._write_again_at = float("-inf")

    def pause_writing(self, seconds: float) -> None:
        self._write_again_at = max(self._write_again_at, self._clock.monotonic() + seconds)


@dataclass(frozen=True, slots=True)
class Common:
    """What every part of a spool is given.

    Attributes:
        lock: the spool's own, see `spool`.
        clock: time.
        events: what the ledger and people learn once the lock is free.
        disk_health: what file operations found.
    """

    lock: EngineLock
    clock: Clock
    events: Events
    disk_health: DiskHealth
