"""Writes records to a spool's segments, each batch by one write, and gives each record its place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from ...files import sync_directory
from ..records.record import Place, Record
from ..sync import Clock
from .held_segments import HeldSegments
from .layout import Directory
from .retention import Retention
from .segment import Segment, format_line, segment_name

SEGMENT_BYTES = 8 * 1024 * 1024
_CHUNK_RECORDS = 500  # what an interrupted write repeats, at the most
_LINE_OVERHEAD = 128  # bytes of a line beside its body, at the most


class Writer:
    """What one process writes. Guarded by the spool's lock, but for `chunks`.

    Args:
        directory: where new segments go.
        process: what this process calls itself in their names.
        fsync: "never", "interval" or "always".
        max_bytes: the spool's cap; a segment takes an eighth of it at most.
    """

    def __init__(
        self,
        directory: Directory,
        process: str,
        clock: Clock,
        held: HeldSegments,
        retention: Retention,
        *,
        fsync: str,
        max_bytes: int,
    ) -> None:
        self._directory = directory
        self._process = process
        self._clock = clock
        self._held = held
        self._retention = retention
        self._fsync = fsync
        self._max_bytes = max_bytes
        self._made = 0
        self._named_at = 0.0

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

    def write(self, records: Sequence[Record], length: int) -> None:
        """Append a chunk, of so many bytes.

        Raises:
            OSError: nothing of it was written.
        """
        segment = self._written(records, length)
        if self._held.notice_removal(segment):  # written to a file without a name
            segment = self._written(records, length)
            if self._held.notice_removal(segment):
                raise OSError("segments are deleted as soon as they are made")
        first = len(segment.states) - len(records)
        for number, record in enumerate(records, first):
            record.place = Place(segment, number)
        self._retention.use(length)

    def _written(self, records: Sequence[Record], length: int) -> Segment:
        segment = self._writable(length)
        first = len(segment.states)
        lines = b"".join([_line(number, record) for number, record in enumerate(records, first)])
        try:
            segment.write(lines, len(records), sync=self._fsync == "always")
        finally:
            if segment.torn:
                self._held.active = None
        return segment

    def _writable(self, length: int) -> Segment:
        held = self._held
        active = held.active
        if active is not None and active.size and active.size + length > self._segment_bytes():
            held.finish_active()
        if held.active is None:
            held.active = self._new_segment()
        return held.active

    def _new_segment(self) -> Segment:
        """One that is held. Names sort as segments were made, whatever the wall clock does meanwhile."""
        directory = self._directory.prepare()
        self._named_at = max(self._clock.wall(), self._named_at + 0.001)
        process = self._process + os.urandom(4).hex()  # copies of a snapshot share what was drawn before
        name = segment_name(self._named_at, process, self._made)
        with self._held.leasing() as known:
            segment = Segment.create(directory, name, known)
            self._made += 1
            segment.made_at = self._clock.monotonic()
            self._sync_name(segment)
            self._held.segments.append(segment)
        return segment

    def _sync_name(self, segment: Segment) -> None:
        try:
            if self._fsync != "never":
                sync_directory(segment.path.parent)
        except OSError:
            segment.remove()
            raise

    def _segment_bytes(self) -> int:
        return min(SEGMENT_BYTES, max(16 * 1024, self._max_bytes // 8))


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
