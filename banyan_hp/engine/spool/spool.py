"""Records on disk: what can't be sent now, kept until it can.

Owns one destination's directory as this process sees it, and the lock that guards its parts: what is held
(`held_segments`), written (`writer`), taken over from others (`adoption`), read back (`reader`), discarded to
stay within the caps (`retention`) and refused (`quarantine`). Counts nothing itself: an observer keeps the
ledger.

The lock is the spool's own, the one in the library that is held across I/O: single small file operations, see
`engine/README.md`. It is free while a segment is read, a directory is listed, or another process's `flock` is
waited for, and during every `fsync` but that of `fsync="always"` and that of a new segment's name.

    a record's state in its segment     it is also         what a crash leaves
    IN_MEMORY                           with the engine    the record, sent again by the next process
    ON_DISK_ONLY                        nowhere            the record
    SET_ASIDE                           nowhere            the record; whoever adopts it sends it
    ACKNOWLEDGED                        delivered, or      nothing, once the ack log says so or the segment is
                                        counted as lost    deleted; until then the record
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..records.outcome import Verdict
from ..records.record import Place, Record
from ..sync import Clock, EngineLock
from .adoption import HELD_AT_MOST, Adoption
from .disk import Disk, Observer
from .held_segments import HeldSegments, Mark
from .index import ON_DISK_ONLY, SET_ASIDE
from .layout import Address, Directory
from .lease import delete_leftovers
from .quarantine import QuarantineWriter
from .reader import Reader, Replayed
from .retention import Retention
from .segment import Segment
from .writer import Writer, is_on_disk, length_of, note_lost

LOOK_SECONDS = 30.0
FSYNC_INTERVAL = 0.5


class SpoolSettings(NamedTuple):
    """What of the settings concerns the disk."""

    directory: Path
    max_bytes: int
    max_age: float
    durable: bool
    fsync: str
    address: Address | None = None
    previous: tuple[Path, ...] = ()  # directories of keys that the application named as its previous ones
    leaves_raw: bool = False  # what `before_send` has not seen is somebody else's business


class Spool:
    """The on-disk queue of one destination, as one process sees it."""

    def __init__(self, settings: SpoolSettings, process: str, clock: Clock, observer: Observer) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = EngineLock()
        self._disk = disk = Disk(settings.directory, self._lock, clock, observer)
        self._directory = directory = self._directory_at(settings.directory, settings.address)
        self._held = held = HeldSegments(disk, durable=settings.durable)
        self._quarantine = quarantine = QuarantineWriter(disk, directory, sync=settings.fsync != "never")
        self._adoption = adoption = Adoption(
            disk, held, quarantine, directory, settings.previous, leaves_raw=settings.leaves_raw
        )
        self._retention = retention = Retention(
            disk, held, adoption, max_bytes=settings.max_bytes, max_age=settings.max_age
        )
        self._reader = Reader(disk, held, adoption, retention, quarantine)
        self._writer = Writer(disk, held, retention, directory, process=process, fsync=settings.fsync)
        self.opened = False  # `open` was called
        self._look_at = self._synced_at = float("-inf")

    def _directory_at(self, path: Path, address: Address | None) -> Directory:
        return Directory(path, durable=self._settings.fsync != "never", address=address)

    @property
    def locks(self) -> tuple[EngineLock, ...]:
        """What the methods here may take, see `releases_on_error`."""
        return self._lock, self._disk.report_lock

    # -- can it be used? --------------------------------------------------------------------------------

    @property
    def in_a_section(self) -> bool:
        """Whether the calling thread is in the middle of something here. Takes no lock."""
        return self._lock.is_mine()

    @property
    def usable(self) -> bool:
        return self.usable_in() <= 0

    def try_again(self) -> None:
        """Have the next write tried, even if one has just failed: there is no later."""
        self._disk.try_again()

    def usable_in(self) -> float:
        """Seconds until writing is tried again after a failure; for ever once the spool is closed."""
        return float("inf") if self._writer.closed else self._disk.writable_in()

    @property
    def readable(self) -> bool:
        """Whether what is on disk can be read: a full disk still can."""
        return not self._held.closed and self._disk.readable

    @property
    def problem(self) -> str | None:
        """What is wrong with the disk, for people."""
        return self._disk.problem

    @property
    def warning(self) -> str | None:
        """Something that people should know of, though all works."""
        return self._adoption.warning

    @property
    def directory(self) -> Path:
        return self._directory.path

    # -- what others have left --------------------------------------------------------------------------

    @property
    def backlog(self) -> bool:
        """Whether there may be something to replay now. Reads a few integers, takes no lock."""
        held = tuple(self._held.segments)
        if any(segment.readable for segment in held):
            return True
        in_hand = sum(not segment.own and not segment.is_left_alone for segment in held)
        return bool(self._adoption.candidates) and in_hand < HELD_AT_MOST

    @property
    def backlog_bytes(self) -> int:
        """What others may have left and is not read yet. Takes no lock."""
        return self._adoption.unread

    @property
    def size(self) -> int:
        """Bytes of the segments in the directory; others' as of the last look. Takes no lock."""
        return self._adoption.size + sum(segment.size for segment in tuple(self._held.segments))

    @property
    def oldest_at(self) -> float | None:
        """When the oldest segment held with records on disk only was begun, in Unix time. Takes no lock."""
        held = tuple(self._held.segments)
        return min((segment.created for segment in held if segment.on_disk_only), default=None)

    @property
    def emptied(self) -> bool:
        """Whether all that others have left is acknowledged, as far as the last look found it.

        False before the first look, and while a segment is being adopted. Takes the lock.
        """
        with self._lock:
            adoption = self._adoption
            left = any(not s.own and not s.is_left_alone for s in self._held.segments)
            return adoption.looked and not (left or adoption.candidates or adoption.under_way)

    def look_due_in(self, now: float) -> float:
        """Seconds until `open` should be called (again): a sibling may have died, or made room."""
        return max(0.0, self._look_at - now)

    def look_again(self) -> None:
        """Another engine of this process has given up leases in the same directory."""
        self._look_at = float("-inf")

    def open(self) -> None:
        """Make sure of the directory and look for segments whose owners are gone. Never raises."""
        with self._lock:
            if self._held.closed:
                return
            self.opened = True
            self._look_at = self._clock.monotonic() + LOOK_SECONDS
            self._disk.attempt(self._look_at_our_own)
        self._disk.attempt(self._look)
        self._disk.report()

    def _look_at_our_own(self) -> None:
        for segment in list(self._held.segments):
            if not self._held.notice_removal(segment):
                self._disk.attempt(segment.catch_up)
        self._retention.recompute()

    def _look(self) -> None:
        directory = self._directory.path
        self._adoption.look()
        with self._lock:
            self._retention.recompute()
        self._disk.in_passing(lambda: delete_leftovers(directory, self._clock.wall()))

    def reconfigure(self, path: Path, address: Address | None = None, previous: Sequence[Path] = ()) -> None:
        """From now on write there, under another key. What is held already stays where it is, and ours."""
        with self._lock:
            if path != self.directory:
                self._directory = self._directory_at(path, address)
                self._disk.where = path
                self._quarantine.reconfigure(self._directory)
                self._writer.reconfigure(self._directory)
            self._adoption.reconfigure(self._directory, previous)
            self.look_again()
        self._disk.report()

    # -- writing ----------------------------------------------------------------------------------------

    def chunks(self, records: Sequence[Record]) -> Iterator[Sequence[Record]]:
        """The same records, as many at a time as `append` writes by one write."""
        return self._writer.chunks(records)

    def is_too_large(self, record: Record) -> bool:
        """Whether this record alone is longer than `spool_max_bytes`."""
        return length_of((record,)) > self._settings.max_bytes

    def append(self, records: Sequence[Record]) -> int:
        """Write records, by few writes, and give each its place. They count as in memory until released.

        Returns how many of them, from the first on, were written; none when the garbage collector called in
        the middle of another write of the same thread.
        """
        written = 0
        for chunk in self._writer.chunks(records):
            if not self.usable or self._lock.is_mine() or not self._writer.append(chunk):
                break
            written += len(chunk)
        self._disk.report()
        return written

    def missing(self, records: Sequence[Record]) -> list[Record]:
        """Those that are not on disk; also because somebody has deleted their segment."""
        with self._lock:
            for segment in {place.segment for place in _places(records)} & set(self._held.segments):
                self._held.is_removed(segment)
        self._disk.report()
        return [record for record in records if not is_on_disk(record)]

    @property
    def dirty(self) -> bool:
        """Whether something waits for `sync`. Takes no lock."""
        held = tuple(self._held.segments)
        return self._settings.fsync == "interval" and any(segment.dirty for segment in held)

    def sync_due_in(self, now: float) -> float:
        """Seconds until `sync` should be called; infinite if there is nothing to sync."""
        return max(0.0, self._synced_at + FSYNC_INTERVAL - now) if self.dirty else float("inf")

    def sync(self) -> None:
        """Force the newest records to the disk itself (`fsync="interval"`). Callers can write meanwhile."""
        with self._lock:
            self._synced_at = self._clock.monotonic()
            dirty = [s for s in list(self._held.segments) if s.dirty and not self._held.is_removed(s)]
        for segment in dirty:
            self._disk.attempt(segment.sync)
        self._disk.report()

    # -- replay -----------------------------------------------------------------------------------------

    def read_back(self, max_records: int, max_bytes: int, *, own_only: bool = False) -> list[Replayed]:
        """`Reader.read`, which never raises. One thread at a time: two would read the same lines."""
        replayed = self._reader.read(max_records, max_bytes, own_only=own_only)
        self._disk.report()
        return replayed

    def release(self, records: Sequence[Record], *, in_order: bool = True, aside: bool = False) -> None:
        """These records are no longer in memory, only on disk.

        `in_order`: they are read again before younger ones; else only when the rest has been read, and what
        was adopted need not be held until then. `aside`: they are not read again before `bring_back`.
        """
        state = SET_ASIDE if aside else ON_DISK_ONLY
        places = _places(records)
        with self._lock:
            for record in records:
                place = record.place
                if place is not None and place.segment.gone:
                    note_lost(record)
                    self._disk.lost(place.segment, 1, "removed")
                elif place is not None:
                    place.segment.set_state(place.number, state)
                    if in_order and not aside:
                        place.segment.cursor = 0
                record.with_caller = False  # until here, an interrupted caller has it released again
            if not in_order:
                self._adoption.hand_back({place.segment for place in places} & set(self._held.segments))
        self._disk.report()

    def bring_back(self, most: int | None = None) -> None:
        """Have what is set aside read back again: this many of the oldest ones, or all."""
        with self._lock:
            self._held.bring_back(most)

    def count_aside(self, *, own_only: bool = False) -> int:
        """How many records are set aside. Takes no lock."""
        return sum(each.set_aside for each in tuple(self._held.segments) if each.own or not own_only)

    def acknowledge(self, records: Sequence[Record]) -> None:
        """These records need not be sent any more. Never raises."""
        by_segment: dict[Segment, list[int]] = {}
        for place in _places(records):
            by_segment.setdefault(place.segment, []).append(place.number)
        with self._lock:
            for segment, numbers in by_segment.items():
                self._held.acknowledge(segment, numbers)
        self._disk.report()

    # -- what a flush waits for -------------------------------------------------------------------------

    def mark(self) -> Mark:
        """The end of what this process has written so far."""
        with self._lock:
            own = [segment for segment in self._held.segments if segment.own]
            return Mark(tuple((segment, len(segment.states)) for segment in own))

    # -- quarantine -------------------------------------------------------------------------------------

    @property
    def quarantine_evicted(self) -> int:
        """Quarantined records and lines that this process has discarded, to stay within the bound."""
        return self._quarantine.evicted

    def keep_copies(self, records: Sequence[Record], verdict: Verdict) -> bool:
        """Keep copies of records of which some were discarded where they arrived; False if it can't."""
        return self._quarantine.copies(records, verdict)

    def quarantine(self, record: Record, reason: str, status: int | None, detail: str) -> bool:
        """Keep a refused record with the reason; it is not sent again. False if it could not be written."""
        if not self.usable or self._lock.is_mine():
            return False
        kept = self._quarantine.record(record, reason, status, detail)
        self._disk.report()
        return kept

    # -- the end ----------------------------------------------------------------------------------------

    def close(self, *, takes_late: bool = False) -> None:
        """Give up all leases: another process may send what is left. Never raises.

        `takes_late`: records can still be appended, to segments that are held until the process is gone.
        """
        with self._lock:
            dirty = [segment for segment in self._held.segments if segment.dirty]
            self._writer.takes_late = takes_late
            self._held.close()
            self._adoption.candidates = {}
        if self._settings.fsync == "interval":
            for segment in dirty:
                self._disk.attempt(segment.sync)
        self._disk.report()

    def abandon(self) -> None:
        """In a forked child: close the parent's descriptors and touch nothing else."""
        self._held.abandon()


def _places(records: Sequence[Record]) -> list[Place]:
    return [record.place for record in records if record.place is not None]
