"""What is given up to stay within `spool_max_bytes` and `spool_max_age`.

The caps hold for a destination's directory. What this process holds is counted exactly. Of others' segments
the size at the last look counts; when the cap is reached, a look is taken, at most once a second, before
anything is given up. So n processes exceed the cap by what they write within one look, at the most. Segments
of the living are theirs: when they alone fill the cap, this process keeps its records in memory.
"""

from __future__ import annotations

from ..sync import Clock
from .disk_health import DiskHealth
from .held_segments import HeldSegments, by_age
from .lease import Adoption
from .segment import Segment

RESCAN_SECONDS = 1.0


class Retention:
    """Both caps of one spool. Guarded by its lock."""

    def __init__(
        self,
        max_bytes: int,
        max_age: float,
        clock: Clock,
        held: HeldSegments,
        adoption: Adoption,
        disk_health: DiskHealth,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._clock = clock
        self._held = held
        self._adoption = adoption
        self._disk_health = disk_health
        self._room = 0  # under the cap there are so many bytes at least
        self._expire_at = float("-inf")

    def recompute(self) -> None:
        """Segments have turned up or gone: what was reckoned before does not count."""
        self._room = 0
        self._expire_at = float("-inf")

    def use(self, length: int) -> None:
        """So many bytes have been written."""
        self._room -= length

    def make_room(self, length: int) -> bool:
        """Give up the oldest segments until so many bytes fit under the cap. False if they never will."""
        self.expire()
        if length > self._max_bytes:
            return False
        if self._exceeded_by(length) and self._may_look():
            self._disk_health.attempt(self._adoption.look)  # others may have sent and deleted what we count
            self.recompute()
        while self._exceeded_by(length):
            oldest = self._oldest()
            if oldest is None:
                self._disk_health.problem = (
                    "spool_max_bytes is reached, and nothing there can be given up now"
                )
                return False
            if not self._give_up(oldest, "spool_full"):
                return False
        return True

    def _may_look(self) -> bool:
        return self._clock.monotonic() >= self._adoption.scanned_at + RESCAN_SECONDS

    def _exceeded_by(self, length: int) -> bool:
        if length > self._room:
            self._room = self._max_bytes - self._adoption.size - self._held.size
        return length > self._room

    def _give_up(self, segment: Segment, reason: str) -> bool:
        given_up = self._held.give_up(segment, reason)
        self._room = 0
        return given_up

    def expire(self) -> None:
        """Give up what is too old; a segment is written for an eighth of `max_age`, and kept as long more.

        The age of our own segments follows the monotonic clock: that of the wall may jump.
        """
        now, span = self._clock.monotonic(), self._max_age / 8
        if now < self._expire_at:
            return
        self._expire_at = now + min(1.0, span)
        active = self._held.active
        if active is not None and active.made_at < now - span:
            self._held.finish_active()
        for segment in [s for s in self._held.idle() if s.made_at < now - self._max_age - span]:
            self._give_up(segment, "spool_expired")

    def _oldest(self) -> Segment | None:
        """The one to give up: ours or abandoned; the one being written, too, when it is the oldest."""
        active = self._held.active
        if active is not None and active.size and not self._older_than(by_age(active)):
            self._held.finish_active()
        oldest = next(iter(self._held.idle()), None)
        while path := self._adoption.oldest_before(None if oldest is None else by_age(oldest)):
            self._adoption.adopt(path)
            self.recompute()
            oldest = next(iter(self._held.idle()), None)
        return oldest

    def _older_than(self, name: str) -> bool:
        """Whether anything else could be given up before the segment of that name."""
        idle, candidates = self._held.idle(), self._adoption.candidates
        return any(by_age(segment) < name for segment in idle) or any(p.name < name for p in candidates)
