"""Writes records to a spool's segments, each batch by one write, and gives each record its place.

step                            the lock      a crash leaves
what is to make room first      free          see `retention`
room is found                   held          what was discarded is gone
the lines are written           held          whole lines: their records are sent by the next process
records get their places        held          the same
synced (`fsync="interval"`)     free          the same, also after a power cut; see `Spool.sync`
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from ...files import sync_directory
from ..records.record import Place, Record
from .disk import Disk
from .held_segments import HeldSegments
from .layout import Directory, segment_name
from .lease import create
from .lines import format_line
from .retention import RESCAN_SECONDS, ROOM_SECONDS, Retention, Step
from .segment import Segment

SEGMENT_BYTES = 8 * 1024 * 1024
_CHUNK_RECORDS = 500  # what an interrupted write repeats, at the most
_LINE_OVERHEAD = 128  # bytes of a line beside its body, at the most


class Writer:
    """What one process writes; `process` is what it calls itself in the segments' names."""

    def __init__(
        self,
        disk: Disk,
        held: HeldSegments,
        retention: Retention,
        directory: Directory,
        *,
        process: str,
        fsync: str,
    ) -> None:
        self._lock = disk.lock
        self._clock = disk.clock
        self._disk = disk
        self._held = held
        self._retention = retention
        self._directory = directory
        self._process = process
        self._fsync = fsync
        self._made = 0
        self._named_at = 0.0
        self.takes_late = False  # records are taken although the spool is closed

    @property
    def closed(self) -> bool:
        return self._held.closed and not self.takes_late

    def reconfigure(self, directory: Directory) -> None:
        self._directory = directory
        self._held.finish_active()

    def chunks(self, records: Sequence[Record]) -> Iterator[Sequence[Record]]:
        """As many records as a segment takes by one write, and not too many."""
        if len(records) == 1:
            yield records
            return
        chunk: list[Record] = []
        room = self._segment_bytes()
        for record in records:
            if chunk and (_line_length(record) > room or len(chunk) == _CHUNK_RECORDS):
                yield chunk
                chunk, room = [], self._segment_bytes()
            chunk.append(record)
            room -= _line_length(record)
        if chunk:
            yield chunk

    def append(self, records: Sequence[Record]) -> bool:
        """Write a chunk, as far as it is not on disk. False if none of it was written.

        Call without the lock. Never raises an `OSError`.
        """
        deadline = self._clock.monotonic() + ROOM_SECONDS
        while True:
            with self._lock:
                written = False if self.closed else self._append(records, deadline)
            if isinstance(written, bool):
                return written
            written()

    def _append(self, records: Sequence[Record], deadline: float) -> bool | Step:
        """True, False, or what is to be done first, without the lock."""
        new = [record for record in records if not is_on_disk(record)]
        if not new:
            return True
        length = length_of(new)
        if length > self._retention.max_bytes:
            return False
        room = self._retention.make_room(length, deadline)
        if not isinstance(room, bool):
            return room
        written = room and self._disk.attempt_to_write(lambda: self._write(new, length))
        if not written:
            self._disk.pause_writing(RESCAN_SECONDS)
        return written

    def _write(self, records: Sequence[Record], length: int) -> None:
        """Write these, this many bytes. Raises `OSError`: nothing of it was written."""
        for _ in range(2):
            segment = self._written(records, length)
            if not self._held.notice_removal(segment):  # else it was written to a file without a name
                break
        else:
            raise OSError("segments are deleted as soon as they are made")
        first = len(segment.states) - len(records)
        for number, record in enumerate(records, first):
            record.place = Place(segment, number)
        self._retention.use(length)

    def _written(self, records: Sequence[Record], length: int) -> Segment:
        held = self._held
        active = held.active
        if active is not None and active.size and active.size + length > self._segment_bytes():
            held.finish_active()
        segment = held.active = held.active or self._new_segment()
        first = len(segment.states)
        lines = b"".join([_line(number, record) for number, record in enumerate(records, first)])
        try:
            segment.write(lines, len(records), sync=self._fsync == "always")
        finally:
            if segment.torn:
                held.active = None
        return segment

    def _new_segment(self) -> Segment:
        """One that is held. Names sort as segments were made, whatever the wall clock does meanwhile."""
        directory = self._directory.prepare()
        self._named_at = max(self._clock.wall(), self._named_at + 0.001)
        process = self._process + os.urandom(4).hex()  # copies of a snapshot share what was drawn before
        name = segment_name(self._named_at, process, self._made)
        with self._held.leasing() as register:
            segment = create(directory, name, register)
            self._made += 1
            segment.made_at = self._clock.monotonic()
            try:
                if self._fsync != "never":
                    sync_directory(directory)
            except OSError:
                segment.remove()
                raise
            self._held.segments.append(segment)
        return segment

    def _segment_bytes(self) -> int:
        """A segment takes an eighth of the cap at most."""
        return min(SEGMENT_BYTES, max(16 * 1024, self._retention.max_bytes // 8))


def note_lost(record: Record) -> None:
    """For `Mark.lost`: the record is lost after it had left memory. Takes no lock."""
    if record.place is not None:
        record.place.segment.lost.append(record.place.number)


def is_on_disk(record: Record) -> bool:
    """Whether it has a place, and nobody has deleted the segment there."""
    return record.place is not None and not record.place.segment.gone


def _line(number: int, record: Record) -> bytes:
    """What `before_send` has not seen is marked so. It may see it this moment, in another thread."""
    raw = record.raw
    if raw is not None:
        return format_line(number, record.id, record.time, raw, raw=True)
    return format_line(number, record.id, record.time, record.body or b"null")


def length_of(records: Sequence[Record]) -> int:
    """The bytes that these take on disk, at the most."""
    return sum(map(_line_length, records))


def _line_length(record: Record) -> int:
    return len(record.raw or record.body or b"") + _LINE_OVERHEAD
