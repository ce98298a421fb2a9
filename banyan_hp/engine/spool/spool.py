"""Records on disk: what can't be sent now, kept until it can.

Owns one destination's directory as this process sees it, and the lock that guards its parts: what is held
(`holdings`), written (`writing`), taken over from others (`adoption`), read back (`replaying`), given up to
stay within the caps (`caps`) and put aside (`aside`). Counts nothing itself: it tells an observer, which
keeps the ledger.

The lock is the spool's own `Guard`. It is held across single reads and writes, the one place in the engine
where a lock is held across I/O; never across a sync for `fsync="interval"`, nor while a segment is read for
the first time. It is never taken the other way round: nothing here takes the engine's lock while holding it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..records.record import Place, Record
from ..sync import Clock, EngineLock
from .address import Address
from .aside import Aside
from .disk_health import DiskHealth
from .events import Events, Observer
from .held_segments import HeldSegments
from .layout import Directory
from .lease import HELD_AT_MOST, Adoption
from .reader import Reader, Replayed
from .retention import RESCAN_SECONDS, Retention
from .segment import FREE, SETTLED, Segment
from .writer import Writer, length_of

LOOK_SECONDS = 30.0
FSYNC_INTERVAL = 0.5

Mark = list[tuple[Segment, int]]


@dataclass(frozen=True, slots=True)
class SpoolSettings:
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
        self._directory = self._directory_at(settings.directory, settings.address)
        self._events = events = Events(observer)
        self._disk_health = disk_health = DiskHealth(settings.directory, clock, events)
        self._held = held = HeldSegments(disk_health, events)
        self._aside = aside = Aside(
            self._directory, disk_health, events, clock, sync=settings.fsync != "never"
        )
        self._adoption = Adoption(
            self._directory,
            settings.previous,
            self._lock,
            clock,
            held,
            aside,
            disk_health,
            events,
            leaves_raw=settings.leaves_raw,
        )
        self._retention = Retention(
            settings.max_bytes, settings.max_age, clock, held, self._adoption, disk_health
        )
        self._replay = Reader(self._lock, held, self._adoption, self._retention, aside, disk_health, events)
        self._writer = Writer(
            self._directory,
            process,
            clock,
            held,
            self._retention,
            fsync=settings.fsync,
            max_bytes=settings.max_bytes,
        )
        self._takes_late = False
        self._opened = False
        self._look_at = float("-inf")
        self._synced_at = float("-inf")

    def _directory_at(self, path: Path, address: Address | None) -> Directory:
        return Directory(path, durable=self._settings.fsync != "never", address=address)

    @property
    def locks(self) -> tuple[EngineLock, ...]:
        """What the methods here may take, see `lets_go`."""
        return self._lock, self._events.lock

    # -- is it there? -----------------------------------------------------------------------------------

    @property
    def in_a_section(self) -> bool:
        """Whether the calling thread is in the middle of something here. Takes no lock."""
        return self._lock.is_mine()

    @property
    def usable(self) -> bool:
        return self.usable_in() <= 0

    @property
    def _shut(self) -> bool:
        return self._held.closed and not self._takes_late

    def try_again(self) -> None:
        """Have the next write tried, even if one has just failed: there is no later."""
        self._disk_health.try_again()

    def usable_in(self) -> float:
        """Seconds until writing is tried again after a failure; for ever once the spool is closed."""
        return float("inf") if self._shut else self._disk_health.writable_in()

    @property
    def readable(self) -> bool:
        """Whether what is on disk can be read: a full disk still can."""
        return not self._held.closed and self._disk_health.readable

    @property
    def problem(self) -> str | None:
        """What is wrong with the disk, for people."""
        return self._disk_health.problem

    @property
    def remark(self) -> str | None:
        """Something that people should know of, though all works."""
        return self._adoption.remark

    @property
    def opened(self) -> bool:
        return self._opened

    @property
    def backlog(self) -> bool:
        """Whether there may be something to replay now. Reads a few integers, takes no lock."""
        held = tuple(self._held.segments)
        if any(segment.free for segment in held):
            return True
        in_hand = sum(not segment.own and segment.unsettled > segment.left for segment in held)
        return bool(self._adoption.candidates) and in_hand < HELD_AT_MOST

    @property
    def backlog_bytes(self) -> int:
        """What others may have left and is not read yet. Takes no lock."""
        return self._adoption.unread

    @property
    def emptied(self) -> bool:
        """Whether all that others have left is settled, as far as the last look found it.

        False before the first look. Waits for a write to end.
        """
        with self._lock:
            looked = self._adoption.scanned_at > float("-inf")
            held = [segment for segment in self._held.segments if not segment.own]
            left = any(segment.unsettled > segment.left for segment in held)
            return looked and not left and not self._adoption.candidates

    @property
    def directory(self) -> Path:
        return self._directory.path

    def look_due_in(self, now: float) -> float:
        """Seconds until `open` should be called (again): a sibling may have died, or made room."""
        return max(0.0, self._look_at - now)

    def look_again(self) -> None:
        """Another one in this process has let go of segments in the same directory."""
        self._look_at = float("-inf")

    def open(self) -> None:
        """Make sure of the directory and look for segments whose owners are gone. Never raises."""
        with self._lock:
            if not self._held.closed:
                self._opened = True
                self._look_at = self._clock.monotonic() + LOOK_SECONDS
                self._disk_health.attempt(self._look)
        self._events.report()

    def _look(self) -> None:
        for segment in list(self._held.segments):
            if not self._held.notice_removal(segment):
                self._disk_health.attempt(segment.catch_up)
        self._retention.recompute()
        self._adoption.look()
        self._disk_health.in_passing(lambda: self._directory.clean(self._clock.wall()))

    def reconfigure(self, path: Path, address: Address | None = None, previous: Sequence[Path] = ()) -> None:
        """From now on write there, under another key. What is held already stays where it is, and ours."""
        with self._lock:
            if path != self.directory:
                self._directory = self._directory_at(path, address)
                self._disk_health.where = path
                self._aside.reconfigure(self._directory)
                self._writer.reconfigure(self._directory)
            self._adoption.reconfigure(self._directory, previous)
            self.look_again()
        self._events.report()

    # -- writing ----------------------------------------------------------------------------------------

    def chunks(self, records: Sequence[Record]) -> Iterator[Sequence[Record]]:
        """The same records, as many at a time as `append` writes by one write."""
        return self._writer.chunks(records)

    def never_takes(self, record: Record) -> bool:
        """Whether this record alone is longer than `spool_max_bytes`."""
        return length_of((record,)) > self._settings.max_bytes

    def append(self, records: Sequence[Record]) -> int:
        """Write records, by few writes, and give each its place. They count as in memory until released.

        Returns:
            How many of them, from the first on, were written; none when the garbage collector called in
            the middle of another write of the same thread.
        """
        written = 0
        for chunk in self._writer.chunks(records):
            if not self._append(chunk):
                break
            written += len(chunk)
        return written

    def _append(self, records: Sequence[Record]) -> bool:
        if not self.usable or self._lock.is_mine():
            return False
        with self._lock:
            if self._shut:
                return False
            written = self._write([record for record in records if not _is_on_disk(record)])
        self._events.report()
        return written

    def _write(self, records: Sequence[Record]) -> bool:
        if not records:
            return True
        length = length_of(records)
        if length > self._settings.max_bytes:
            return False
        written = self._retention.make_room(length) and self._disk_health.attempt_to_write(
            lambda: self._writer.write(records, length)
        )
        if not written:
            self._disk_health.pause_writing(RESCAN_SECONDS)
        return written

    def not_there(self, records: Sequence[Record]) -> list[Record]:
        """Those that are not on disk; also because somebody has deleted their segment."""
        with self._lock:
            for segment in {place.segment for place in _places(records)} & set(self._held.segments):
                self._held.is_removed(segment)
        self._events.report()
        return [record for record in records if not _is_on_disk(record)]

    # -- fsync ------------------------------------------------------------------------------------------

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
        held = self._held
        with self._lock:
            self._synced_at = self._clock.monotonic()
            dirty = [s for s in list(held.segments) if s.dirty and not held.is_removed(s)]
        for segment in dirty:
            try:
                segment.sync()
            except OSError as error:
                with self._lock:
                    self._disk_health.failed(error)
        self._events.report()

    # -- replay -----------------------------------------------------------------------------------------

    def read_back(
        self, max_records: int, max_bytes: int, *, own_only: bool = False, several: bool = True
    ) -> list[Replayed]:
        """The oldest records that are on disk only, now in memory too. Never raises.

        One thread at a time, please: two would read the same lines. Segments whose owners are gone are
        adopted when their turn comes, by age. For `own_only` and `several` see `Replay.read`.
        """
        replayed = self._replay.read(max_records, max_bytes, own_only=own_only, several=several)
        self._events.report()
        return replayed

    def release(self, records: Sequence[Record], *, in_order: bool = True) -> None:
        """These records are no longer in memory, only on disk.

        Args:
            records: records with a place.
            in_order: read them again before younger ones; else only when the rest has been read, and what
                was adopted need not be held until then.
        """
        places = _places(records)
        with self._lock:
            for place in places:
                if place.segment.gone:
                    self._events.lost(place.segment, 1, "removed")
                    continue
                place.segment.set_state(place.number, FREE)
                if in_order:
                    place.segment.cursor = 0
            if not in_order:
                self._adoption.let_go({place.segment for place in places} & set(self._held.segments))
        self._events.report()

    def acknowledge(self, records: Sequence[Record]) -> None:
        """These records are settled for good. Never raises."""
        by_segment: dict[Segment, list[int]] = {}
        for place in _places(records):
            by_segment.setdefault(place.segment, []).append(place.number)
        with self._lock:
            for segment, numbers in by_segment.items():
                self._settle(segment, numbers)
        self._events.report()

    def _settle(self, segment: Segment, numbers: list[int]) -> None:
        held = self._held
        for number in numbers:
            segment.set_state(number, SETTLED)
        if segment not in held.segments:
            return
        if segment is held.active and not self._settings.durable and not segment.unsettled:
            held.active = None
        if not held.retire_if_settled(segment):
            self._disk_health.attempt(lambda: segment.acknowledge(numbers))

    # -- what a flush waits for -------------------------------------------------------------------------

    def mark(self) -> Mark:
        """The end of what this process has written so far."""
        with self._lock:
            return [(segment, len(segment.states)) for segment in self._held.segments if segment.own]

    def unsettled(self, mark: Mark) -> int:
        """How many of the records before `mark` are not settled."""
        return sum(count - segment.states[:count].count(SETTLED) for segment, count in mark)

    # -- quarantine -------------------------------------------------------------------------------------

    @property
    def quarantine_evicted(self) -> int:
        """Quarantined records and lines that this process has given up, to stay within the bound."""
        return self._aside.evicted

    def quarantine(self, record: Record, reason: str, status: int | None, detail: str) -> bool:
        """Keep a refused record with the reason; it is not sent again. False if it could not be written."""
        if not self.usable or self._lock.is_mine():
            return False
        kept = self._aside.record(record, reason, status, detail)
        self._events.report()
        return kept

    # -- the end ----------------------------------------------------------------------------------------

    def close(self, *, takes_late: bool = False) -> None:
        """Let go of all segments: another process may send what is left. Never raises.

        Args:
            takes_late: records can still be appended, to segments that are held until the process is gone.
        """
        with self._lock:
            self._takes_late = takes_late
            self._held.close(sync=self._settings.fsync == "interval")
            self._adoption.candidates.clear()
        self._events.report()

    def abandon(self) -> None:
        """In a forked child: close the parent's descriptors and touch nothing else."""
        self._held.abandon()


def _is_on_disk(record: Record) -> bool:
    return record.place is not None and not record.place.segment.gone


def _places(records: Sequence[Record]) -> list[Place]:
    return [record.place for record in records if record.place is not None]
