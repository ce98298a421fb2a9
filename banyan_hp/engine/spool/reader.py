"""Reads records back from the segments that are held: the oldest first, each once until it is released."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..records.record import Place
from ..sync import EngineLock
from .aside import Aside
from .disk_health import DiskHealth
from .events import Events
from .held_segments import HeldSegments, by_age
from .lease import Adoption
from .page import Page
from .retention import Retention
from .segment import FREE, SETTLED, Line, Segment, parse_line

_READ_AT_ONCE = 512 * 1024


@dataclass(frozen=True, slots=True)
class Replayed:
    """A record read back, and where it stands."""

    line: Line
    place: Place


class Reader:
    """Where reading goes on. One thread at a time: two would read the same lines."""

    def __init__(
        self,
        lock: EngineLock,
        held: HeldSegments,
        adoption: Adoption,
        retention: Retention,
        aside: Aside,
        disk_health: DiskHealth,
        events: Events,
    ) -> None:
        self._lock = lock
        self._held = held
        self._adoption = adoption
        self._retention = retention
        self._aside = aside
        self._disk_health = disk_health
        self._events = events

    def read(
        self, max_records: int, max_bytes: int, *, own_only: bool = False, several: bool = True
    ) -> list[Replayed]:
        """The oldest records that are on disk only, now in memory too. Call without the spool's lock.

        Args:
            max_records: so many at the most.
            max_bytes: about so many bytes.
            own_only: leave alone what others have left.
            several: go on with the next segment where one has less than that.
        """
        found: list[Replayed] = []
        try:
            while len(found) < max_records and max_bytes > 0:
                segment = self._next_segment(own_only=own_only, anew=not found)
                taken = (
                    self._read(segment, max_records - len(found), max_bytes) if segment is not None else []
                )
                found += taken
                max_bytes -= sum(len(each.line.body) for each in taken)
                if not taken or not several:
                    break
        except BaseException:  # nobody has them in memory
            self._put_back(found)
            raise
        return found

    def _put_back(self, found: list[Replayed]) -> None:
        with self._lock:
            for each in found:
                each.place.segment.set_state(each.place.number, FREE)
                each.place.segment.cursor = 0

    def _next_segment(self, *, own_only: bool, anew: bool) -> Segment | None:
        """The one to read from; candidates are adopted when their turn comes."""
        while True:
            with self._lock:
                found = self._next_readable(own_only=own_only, anew=anew)
            if not isinstance(found, Path):
                return found
            self._adoption.adopt(found)
            self._retention.recompute()

    def _next_readable(self, *, own_only: bool, anew: bool) -> Segment | Path | None:
        """The segment to read from, or a candidate to be adopted first, if there is one."""
        self._retention.expire()
        waiting = [segment for segment in self._held.waiting() if segment.own or not own_only]
        unread = [segment for segment in waiting if segment.cursor < segment.size]
        older = None if own_only else self._adoption.next_before(by_age(unread[0]) if unread else None)
        if older is not None:
            return older
        if waiting and not unread and anew:  # what was handed out has come back: from the start again
            for segment in waiting:
                segment.cursor = 0
            unread = waiting
        return next(iter(unread), None)

    def _read(self, segment: Segment, max_records: int, max_bytes: int) -> list[Replayed]:
        from_the_start = segment.cursor == 0
        usual = segment.size // max(1, len(segment.states)) + 64
        about = min(_READ_AT_ONCE, max_bytes + 4096, max_records * usual)
        try:
            while (page := self._page(segment, about)) is not None:
                lines = self._taken(segment, page, max_records, max_bytes)
                if lines is None:
                    return []
                if lines:
                    return [Replayed(line, Place(segment, line.number)) for line in lines]
        except OSError as error:
            self._can_t_read(segment, error)
            return []
        self._at_the_end(segment, from_the_start=from_the_start)
        return []

    def _page(self, segment: Segment, about: int) -> Page | None:
        """The next lines; None at the end, also of a segment that is no longer there.

        Raises:
            OSError: they can't be read.
        """
        with self._lock:
            if segment not in self._held.segments or self._held.notice_removal(segment):
                return None
            start = segment.cursor
            content = segment.whole_lines(start, about)
        return Page(segment, start, content) if content else None

    def _taken(self, segment: Segment, page: Page, max_records: int, max_bytes: int) -> list[Line] | None:
        """What of the page is on disk only; None if the segment was given up, or closed, meanwhile."""
        with self._lock:
            if segment not in self._held.segments:
                return None
            page.fetch_stragglers(max_records)
            return page.take(max_records, max_bytes)

    def _at_the_end(self, segment: Segment, *, from_the_start: bool) -> None:
        with self._lock:
            if segment not in self._held.segments:
                return
            segment.cursor = segment.size
            if from_the_start:
                self._disk_health.attempt(lambda: self._give_up_unreadable(segment))

    def _can_t_read(self, segment: Segment, error: OSError) -> None:
        with self._lock:
            segment.cursor = segment.size
            if not self._held.closed:
                self._disk_health.reading_failed(segment.path, error)

    def _give_up_unreadable(self, segment: Segment) -> None:
        """A whole pass found nothing of what should be there: the file was damaged since it was written."""
        numbers = {line.number for _, line in _whole(segment) if line is not None}
        lost = [n for n, state in enumerate(segment.states) if state == FREE and n not in numbers]
        damaged = [raw for raw, line in _whole(segment) if line is None]
        if not lost:
            return
        kept = self._aside.damage(segment, damaged) and bool(damaged)
        for number in lost:
            segment.set_state(number, SETTLED)
        if kept:
            self._events.damaged(segment, len(lost))
        else:
            self._events.lost(segment, len(lost), "corrupt")
        if not self._held.retire_if_settled(segment):
            self._disk_health.attempt(lambda: segment.acknowledge(lost))


def _whole(segment: Segment) -> Iterator[tuple[bytes, Line | None]]:
    for _, raw in segment.lines_from(0):
        yield raw, parse_line(raw)
