"""What is discarded to stay within `spool_max_bytes` and `spool_max_age`.

The caps hold for a destination's directory. What this process holds is counted exactly. Of others' segments
the size at the last look counts; when the cap is reached, a look is taken, at most once a second, before
anything is discarded. So n processes exceed the cap by what they write within one look, at the most. Segments
of the living are theirs: when they alone fill the cap, this process keeps its records in memory.

A look, and the adoption of an abandoned segment that is to be discarded, take long. So `make_room` does
neither: it returns the step to take first, and its caller takes it without the spool's lock. One thread at a
time takes a step; others that need room meanwhile wait for it, at most `ROOM_SECONDS`, also without the lock,
and ask again: what is discarded, and in which order, is the same as if each had held the lock all the while.
Threads for which there is room wait for nobody. A writer keeps the lock from finding room to the
end of the write.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..sync import WakeUp
from .adoption import Adoption
from .disk import Disk
from .held_segments import HeldSegments, by_age
from .segment import Segment

RESCAN_SECONDS = 1.0
ROOM_SECONDS = 2.0  # the longest wait for another thread that makes room

Step = Callable[[], object]


class Retention:
    """Both caps of one spool. Guarded by its lock."""

    def __init__(
        self, disk: Disk, held: HeldSegments, adoption: Adoption, *, max_bytes: int, max_age: float
    ) -> None:
        self._lock = disk.lock
        self._clock = disk.clock
        self._disk = disk
        self._held = held
        self._adoption = adoption
        self.max_bytes = max_bytes
        self._max_age = max_age
        self._room = 0  # under the cap there are at least this many bytes
        self._expire_at = float("-inf")
        self._maker: int | None = None  # the thread that takes a step
        self._waiting: list[WakeUp] = []

    def recompute(self) -> None:
        """Segments have turned up or gone: what was computed before does not count."""
        self._lock.assert_held()
        self._room = 0
        self._expire_at = float("-inf")

    def use(self, length: int) -> None:
        self._lock.assert_held()
        self._room -= length

    def make_room(self, length: int, deadline: float) -> bool | Step:
        """Discard the oldest segments until this many bytes fit under the cap.

        Returns whether they fit; or what is to be done first, without the lock, before asking again. Other
        threads are waited for until the deadline, on the monotonic clock.
        """
        self._lock.assert_held()
        self.expire()
        if not self._exceeded_by(length):
            return True
        now = self._clock.monotonic()
        if self._maker is not None:
            return self._wait if self._maker != threading.get_ident() and now < deadline else False
        if now >= self._adoption.scanned_at + RESCAN_SECONDS:  # others may have sent what we count
            return partial(self._take, partial(self._disk.attempt, self._adoption.look))
        return self._discard_until(length)

    def _discard_until(self, length: int) -> bool | Step:
        while self._exceeded_by(length):
            oldest = self._oldest()
            if isinstance(oldest, Path):
                return partial(self._take, partial(self._adoption.adopt, oldest))
            if oldest is None:
                self._disk.problem = "spool_max_bytes is reached, and nothing there can be discarded now"
                return False
            if not self._discard(oldest, "spool_full"):
                return False
        return True

    def _exceeded_by(self, length: int) -> bool:
        if length > self._room:
            self._room = self.max_bytes - self._adoption.size - self._held.size
        return length > self._room

    def _discard(self, segment: Segment, reason: str) -> bool:
        self._room = 0
        return self._held.discard(segment, reason)

    def _oldest(self) -> Segment | Path | None:
        """The segment to discard: ours or adopted; the one being written, too, when it is the oldest.

        A path if it is abandoned, and to be adopted first.
        """
        active = self._held.active
        if active is not None and active.size:
            others = [*map(by_age, self._held.idle()), *(path.name for path in self._adoption.candidates)]
            if min(others, default=by_age(active)) >= by_age(active):
                self._held.finish_active()
        oldest = next(iter(self._held.idle()), None)
        return self._adoption.oldest_before(None if oldest is None else by_age(oldest)) or oldest

    def _take(self, step: Step) -> None:
        """Take a step, unless another thread takes one. An exception leaves the way free for others."""
        mine = False
        try:
            with self._lock:
                if self._maker is None:
                    mine, self._maker = True, threading.get_ident()
            if mine:
                step()
        finally:
            if mine:
                with self._lock:
                    self._maker = None
                    self.recompute()
                    waiting, self._waiting = self._waiting, []
                for wake_up in waiting:
                    wake_up.wake()

    def _wait(self) -> None:
        wake_up = WakeUp()
        with self._lock:
            if self._maker is None:
                return
            self._waiting.append(wake_up)
        self._clock.wait(wake_up, ROOM_SECONDS)

    def expire(self) -> None:
        """Discard what is too old; a segment is written for an eighth of `max_age`, and kept as long more.

        The age of our own segments follows the monotonic clock: that of the wall may jump.
        """
        self._lock.assert_held()
        now, span = self._clock.monotonic(), self._max_age / 8
        if now < self._expire_at:
            return
        self._expire_at = now + min(1.0, span)
        active = self._held.active
        if active is not None and active.made_at < now - span:
            self._held.finish_active()
        for segment in [s for s in self._held.idle() if s.made_at < now - self._max_age - span]:
            self._discard(segment, "spool_expired")
