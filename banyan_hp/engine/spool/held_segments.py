"""The segments that this process holds: its own, and adopted ones.

Held until all is acknowledged, lost or discarded, or until the segment is handed back.
Guarded by the spool's lock. `segments` may be copied without: a list's copy is atomic under the GIL, and a
list locks itself without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ..records.record import Place
from .disk import Disk
from .index import ACKNOWLEDGED, SET_ASIDE
from .lease import Register
from .segment import Segment


class HeldSegments:
    """What is held. `durable`: callers wait for their records to be written."""

    def __init__(self, disk: Disk, *, durable: bool) -> None:
        self.segments: list[Segment] = []  # in no order
        self.active: Segment | None = None  # the one that is being written to
        # Those whose lease is just being taken. Added to and discarded from without a lock, which is atomic:
        # a set locks itself, with the GIL or without.
        self.being_leased: set[Segment] = set()
        self.closed = False  # nothing more is held
        self._durable = durable
        self._lock = disk.lock
        self._disk = disk

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self.segments)

    @contextmanager
    def leasing(self) -> Iterator[Register]:
        """Around taking a lease: what is registered is closed in a child that is forked meanwhile."""
        registered: list[Segment] = []

        def register(segment: Segment) -> None:
            registered.append(segment)
            self.being_leased.add(segment)

        try:
            yield register
        finally:
            self.being_leased.difference_update(registered)

    def waiting(self) -> list[Segment]:
        """Those with records that are to be read, the oldest first."""
        self._lock.assert_held()
        return sorted((segment for segment in self.segments if segment.readable), key=by_age)

    def bring_back(self, most: int | None) -> None:
        """Have this many of the records that are set aside read again, the oldest first; None: all."""
        self._lock.assert_held()
        for segment in sorted(self.segments, key=by_age):
            brought = segment.bring_back(most)
            most = None if most is None else most - brought

    def idle(self) -> list[Segment]:
        """Finished segments of which no record is in hand, the oldest first."""
        self._lock.assert_held()
        return sorted((s for s in self.segments if s is not self.active and not s.in_hand), key=by_age)

    def acknowledge(self, segment: Segment, numbers: list[int]) -> None:
        """These records need not be sent any more. With its last one a segment is deleted.

        Not one that is being written, if `durable`: callers would wait for a new one at each record.
        """
        self._lock.assert_held()
        for number in numbers:
            segment.set_state(number, ACKNOWLEDGED)
        if segment not in self.segments:
            return
        if segment is self.active and not self._durable and not segment.unacknowledged:
            self.active = None
        if not self.remove_if_done(segment):
            self._disk.attempt(lambda: segment.acknowledge(numbers))

    def finish_active(self) -> None:
        self._lock.assert_held()
        finished, self.active = self.active, None
        if finished is not None:
            self.remove_if_done(finished)

    def remove_if_done(self, segment: Segment) -> bool:
        """Delete a segment of which all is acknowledged; a deletion that fails is tried again at the end."""
        self._lock.assert_held()
        if segment.unacknowledged or segment is self.active or not self._disk.attempt(segment.remove):
            return False
        self._drop(segment)
        return True

    def notice_removal(self, segment: Segment) -> bool:
        """Whether somebody has deleted the segment: what was on disk only is lost. Raises `OSError`."""
        self._lock.assert_held()
        if segment.gone or not segment.notice_removal():
            return segment.gone
        self._disk.lost(segment, segment.on_disk_only, "removed")
        segment.forget()
        self._drop(segment)
        segment.close()
        return True

    def is_removed(self, segment: Segment) -> bool:
        """The same; True if it can't be asked."""
        return not self._disk.attempt(lambda: self.notice_removal(segment)) or segment.gone

    def discard(self, segment: Segment, reason: str) -> bool:
        """Delete an idle segment, whose records are lost. False if it is still there."""
        self._lock.assert_held()
        if self.is_removed(segment):
            return segment.gone
        if not self._disk.attempt(segment.remove):
            return False
        self._drop(segment)
        self._disk.lost(segment, segment.on_disk_only, reason)
        segment.forget()
        return True

    def hand_back(self, segment: Segment) -> None:
        """Give up the lease on one: another process may send what is left."""
        self._lock.assert_held()
        if not self.remove_if_done(segment):
            self._disk.attempt(segment.catch_up)
            segment.close()
        self._drop(segment)

    def _drop(self, segment: Segment) -> None:
        if segment is self.active:
            self.active = None
        if segment in self.segments:
            self.segments.remove(segment)

    def close(self) -> None:
        """Hand all of them back."""
        self._lock.assert_held()
        self.active = None
        for segment in list(self.segments):
            if not self.is_removed(segment):
                self.hand_back(segment)
        self.closed = True
        self.segments.clear()

    def abandon(self) -> None:
        """In a forked child, which has no other thread: close the parent's descriptors, no more."""
        self.closed = True
        for segment in {*self.segments, *self.being_leased}:
            segment.close()


def by_age(segment: Segment) -> str:
    """Names begin with the time of creation: their order is the segments' age."""
    return segment.path.name


class Mark(NamedTuple):
    """The end of what a process had on disk at one moment: its segments, and how many records each had.

    Takes no lock.
    """

    ends: tuple[tuple[Segment, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ends)

    def unacknowledged(self) -> int:
        """How many of the records before it are not acknowledged."""
        return sum(count - segment.states[:count].count(ACKNOWLEDGED) for segment, count in self.ends)

    def set_aside(self) -> int:
        """How many of the records before it are set aside."""
        return sum(segment.states[:count].count(SET_ASIDE) for segment, count in self.ends)

    def lost(self) -> int:
        """How many of the records before it were lost after they had left memory."""
        return sum(number < count for segment, count in self.ends for number in segment.lost)

    def has(self, places: Iterable[Place]) -> int:
        """How many of the places are before it."""
        ends = dict(self.ends)
        return sum(place.number < ends.get(place.segment, 0) for place in places)
