"""Reads records back from the segments that are held: the oldest first, each once until it is released.

Lines are read and parsed without the spool's lock, from a descriptor of their own; two short sections of the
lock are around that. The first one notes where to begin. The second one takes those records that are still on
disk only, unless the segment was discarded, handed back or closed meanwhile. A crash at any point leaves all
as it was: reading changes no file.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..records.record import Place
from .adoption import Adoption
from .disk import Disk
from .held_segments import HeldSegments, by_age
from .index import IN_MEMORY, ON_DISK_ONLY
from .lines import Content, Line, parse_line
from .quarantine import QuarantineWriter
from .retention import Retention
from .segment import Segment

_READ_AT_ONCE = 512 * 1024


class Replayed(NamedTuple):
    """A record read back, and where it stands."""

    line: Line
    place: Place

    @property
    def own(self) -> bool:
        """Whether this process has written it."""
        return bool(self.place.segment.own)


class Reader:
    """Where reading goes on. One thread at a time: two would read the same lines. Takes the lock itself."""

    def __init__(
        self,
        disk: Disk,
        held: HeldSegments,
        adoption: Adoption,
        retention: Retention,
        quarantine: QuarantineWriter,
    ) -> None:
        self._lock = disk.lock
        self._disk = disk
        self._held = held
        self._adoption = adoption
        self._retention = retention
        self._quarantine = quarantine

    def read(self, max_records: int, max_bytes: int, *, own_only: bool = False) -> list[Replayed]:
        """The oldest records that are on disk only, now in memory too. Call without the spool's lock.

        Args:
            max_records: this many at the most.
            max_bytes: about this many bytes.
            own_only: leave alone what others have left.
        """
        found: list[Replayed] = []
        try:
            while len(found) < max_records and max_bytes > 0:
                segment = self._next_segment(own_only=own_only, anew=not found)
                if segment is None:
                    break
                taken = self._read(segment, max_records - len(found), max_bytes)
                found += [Replayed(line, Place(segment, line.number)) for line in taken]
                max_bytes -= sum(len(line.body) for line in taken)
                if not taken:
                    break
        except BaseException:  # nobody has them in memory
            with self._lock:
                for _, place in found:
                    place.segment.set_state(place.number, ON_DISK_ONLY)
                    place.segment.cursor = 0
            raise
        return found

    def _next_segment(self, *, own_only: bool, anew: bool) -> Segment | None:
        """The one to read from; candidates are adopted when their turn comes."""
        while True:
            with self._lock:
                found = self._next_readable(own_only=own_only, anew=anew)
            if not isinstance(found, Path):
                return found
            self._adoption.adopt(found)
            with self._lock:
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

    def _read(self, segment: Segment, max_records: int, max_bytes: int) -> list[Line]:
        from_the_start = segment.cursor == 0
        count = len(segment.states)  # before its size is asked for: these are in what is read
        usual = segment.size // max(1, count) + 64
        about = min(_READ_AT_ONCE, max_bytes + 4096, max_records * usual)
        try:
            with segment.opened() as content:
                while (page := self._page(segment, content, about)) is not None:
                    page.fetch_out_of_order(content, max_records)
                    with self._lock:
                        if segment not in self._held.segments:  # discarded, or closed, meanwhile
                            return []
                        lines = page.take(max_records, max_bytes)
                    if lines:
                        return lines
                self._at_the_end(segment, content, count if from_the_start else 0)
        except OSError as error:
            with self._lock:
                if segment in self._held.segments and not self._held.is_removed(segment):
                    segment.cursor = segment.size
                    self._disk.reading_failed(segment.path, error)
        return []

    def _page(self, segment: Segment, content: Content, about: int) -> Page | None:
        """The next lines; None at the end, also of a segment that is no longer there. Raises `OSError`."""
        with self._lock:
            if segment not in self._held.segments or self._held.notice_removal(segment):
                return None
            start = segment.cursor
        lines = content.whole_lines(start, about)
        return Page(segment, start, lines) if lines else None

    def _at_the_end(self, segment: Segment, content: Content, count: int) -> None:
        """All was read; of the first `count` records nothing was found, if it was read from the start."""
        with self._lock:
            if segment not in self._held.segments:
                return
            segment.cursor = content.size
        if count:
            self._disk.attempt(lambda: self._give_up_unreadable(segment, content, count))

    def _give_up_unreadable(self, segment: Segment, content: Content, count: int) -> None:
        """A whole pass found nothing of what should be there: the file was damaged since it was written."""
        found = [(raw, parse_line(raw)) for _, raw in content.lines()]
        readable = {line.number for _, line in found if line is not None}
        lost = [n for n in range(count) if segment.is_on_disk_only(n) and n not in readable]
        if not lost:
            return
        damaged = [raw for raw, line in found if line is None]
        kept = self._quarantine.damage(segment, damaged) and bool(damaged)
        with self._lock:
            if segment in self._held.segments:
                lost = list(filter(segment.is_on_disk_only, lost))
                segment.lost += lost
                if kept:
                    self._disk.damaged(segment, len(lost))
                else:
                    self._disk.lost(segment, len(lost), "corrupt")
                self._held.acknowledge(segment, lost)


class Page:
    """Whole lines of a segment from `start` on, and records out of order that belong before some of them.

    Only `take` needs the lock that guards the segment.
    """

    def __init__(self, segment: Segment, start: int, content: bytes) -> None:
        self._segment = segment
        self._start = start
        self._end = start + len(content)
        self._lines: list[tuple[int, Line]] = []
        self._late: list[Line] = []
        for raw in content[:-1].split(b"\n"):
            line = parse_line(raw)
            if line is not None and start not in segment.index.rejected:
                self._lines.append((start, line))
            start += len(raw) + 1

    def fetch_out_of_order(self, content: Content, at_most: int) -> None:
        """Read what stands further behind but was logged before some of this page. Raises `OSError`."""
        out_of_order = self._segment.index.out_of_order
        if not out_of_order:
            return
        last = dict(sorted(line.call for _, line in self._lines if line.call is not None))
        here = {line.number for _, line in self._lines}
        late = [
            each
            for each in out_of_order
            if each.call < last.get(each.process, -1)
            and each.number not in here
            and self._segment.is_on_disk_only(each.number)
        ]
        for each in sorted(late)[:at_most]:
            line = parse_line(content.whole_lines(each.offset, 4096).partition(b"\n")[0])
            if line is not None:
                self._late.append(line)

    def take(self, max_records: int, max_bytes: int) -> list[Line]:
        """The oldest records that are on disk only, up to these limits: now in memory, too.

        The segment's cursor moves to the first that is left, unless something was released meanwhile.
        """
        segment = self._segment
        lines = self._late + [line for _, line in self._lines]
        waiting = [line for line in lines if segment.is_on_disk_only(line.number)]
        taken = []
        for line in _in_order(waiting)[:max_records]:
            if max_bytes <= 0:
                break
            max_bytes -= len(line.body)
            segment.set_state(line.number, IN_MEMORY)
            taken.append(line)
        if segment.cursor == self._start:
            left = (offset for offset, line in self._lines if segment.is_on_disk_only(line.number))
            segment.cursor = next(left, self._end)
        return taken


def _in_order(lines: list[Line]) -> list[Line]:
    """As they were logged. A line whose id is not ours says nothing, and stays behind the one before it."""
    keyed, call = [], ("", 0)
    for line in lines:
        call = line.call or call
        keyed.append((call, line))
    return [line for _, line in sorted(keyed, key=lambda pair: pair[0])]
