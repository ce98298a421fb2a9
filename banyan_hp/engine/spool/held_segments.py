"""The segments that this process holds, its own and adopted ones, until they are settled, lost or given up.

Guarded by the spool's lock; `segments` may be copied without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .disk_health import DiskHealth
from .events import Events
from .segment import Known, Segment


class HeldSegments:
    """What is held.

    Attributes:
        segments: all of them, in no order.
        active: the one that is being written to, if there is one.
        taking: those whose lease is just being taken, and which are not in `segments` yet. Added to and
            discarded from without a lock, which is atomic.
        closed: nothing more is taken in.
    """

    def __init__(self, disk_health: DiskHealth, events: Events) -> None:
        self.segments: list[Segment] = []
        self.active: Segment | None = None
        self.taking: set[Segment] = set()
        self.closed = False
        self._disk_health = disk_health
        self._events = events

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(segment.size for segment in self.segments)

    @contextmanager
    def leasing(self) -> Iterator[Known]:
        """Around taking a lease: what is handed to `known` is closed in a child that is forked meanwhile."""
        known: list[Segment] = []

        def know(segment: Segment) -> None:
            known.append(segment)
            self.taking.add(segment)

        try:
            yield know
        finally:
            self.taking.difference_update(known)

    def waiting(self) -> list[Segment]:
        """Those with records that are on disk only, the oldest first."""
        return sorted((segment for segment in self.segments if segment.free), key=by_age)

    def idle(self) -> list[Segment]:
        """Finished segments of which no record is in hand, the oldest first."""
        idle = [s for s in self.segments if s is not self.active and not s.in_hand]
        return sorted(idle, key=by_age)

    def finish_active(self) -> None:
        finished, self.active = self.active, None
        if finished is not None:
            self.retire_if_settled(finished)

    def retire_if_settled(self, segment: Segment) -> bool:
        """True if nothing of it is left on disk; a deletion that fails is tried again at the end."""
        if segment.unsettled or segment is self.active or not self._disk_health.attempt(segment.remove):
            return False
        self._drop(segment)
        return True

    def notice_removal(self, segment: Segment) -> bool:
        """Whether somebody has deleted the segment under us: what was on disk only is lost, and counted.

        Raises:
            OSError: the file can't be asked.
        """
        if segment.gone or not segment.notice_removal():
            return segment.gone
        self._events.lost(segment, segment.free, "removed")
        segment.forget()
        self._drop(segment)
        segment.close()
        return True

    def is_removed(self, segment: Segment) -> bool:
        """The same; True if it can't be asked."""
        return not self._disk_health.attempt(lambda: self.notice_removal(segment)) or segment.gone

    def give_up(self, segment: Segment, reason: str) -> bool:
        """Delete an idle segment, whose records are lost. False if it is still there."""
        if self.is_removed(segment):
            return segment.gone
        if not self._disk_health.attempt(segment.remove):
            return False
        self._drop(segment)
        self._events.lost(segment, segment.free, reason)
        segment.forget()
        return True

    def _drop(self, segment: Segment) -> None:
        if segment is self.active:
            self.active = None
        if segment in self.segments:
            self.segments.remove(segment)

    def close(self, *, sync: bool) -> None:
        """Let go of all: another process may send what is left. `sync`: what is dirty is synced before."""
        self.active = None
        for segment in list(self.segments):
            if not self.is_removed(segment):
                self._leave(segment, sync=sync)
        self.closed = True
        self.segments.clear()

    def let_go(self, segment: Segment) -> None:
        """Let go of one: another process may send what is left."""
        self._leave(segment, sync=False)
        self._drop(segment)

    def _leave(self, segment: Segment, *, sync: bool) -> None:
        if sync and segment.dirty:
            self._disk_health.attempt(segment.sync)
        if not self.retire_if_settled(segment):
            self._disk_health.attempt(segment.catch_up)
            segment.close()

    def abandon(self) -> None:
        """In a forked child: close the parent's descriptors and touch nothing else."""
        self.closed = True
        for segment in {*self.segments, *self.taking}:
            segment.close()


def by_age(segment: Segment) -> str:
    """Names begin with the time of creation: their order is the segments' age."""
    return segment.path.name
