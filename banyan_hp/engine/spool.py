"""Records on disk: what can't be sent now, kept until it can.

Owns the directory of one destination: which segments this process holds, what it reads from them next,
the caps, and the quarantine. Counts nothing itself: it tells an observer, which keeps the ledger.

Two locks' worth of state: everything here is guarded by the spool's own `Guard`, which is held across
writes, the one place in the engine where a lock is held across I/O. It is never taken the other way
round: nothing here takes the engine's lock while holding its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .clock import Clock
from .guard import Guard
from .log import warn
from .records import Record
from .retry import event_time
from .segment import (
    FREE,
    IN_MEMORY,
    SETTLED,
    Line,
    Place,
    Segment,
    format_line,
    is_segment,
    lockable,
    parse_line,
    segment_name,
)

SEGMENT_BYTES = 8 * 1024 * 1024
QUARANTINE_BYTES = 16 * 1024 * 1024
QUARANTINE_NAME = "quarantine.v1.jsonl"
TRY_AGAIN_SECONDS = 30.0
FSYNC_INTERVAL = 0.5
RESCAN_SECONDS = 1.0
_LINE_OVERHEAD = 128  # bytes of a line beside its body, at the most

Mark = list[tuple[Segment, int]]


class Observer(Protocol):
    """Who keeps the ledger. Called without any lock held."""

    def adopted(self, count: int, damaged: int) -> None: ...

    def lost_on_disk(self, count: int, reason: str, *, own: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """What of the settings concerns the disk."""

    directory: Path
    max_bytes: int
    max_age: float
    durable: bool
    fsync: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """A record read back, and where it stands."""

    line: Line
    place: Place


def destination_directory(base: Path, identity: Sequence[str], key: str) -> Path:
    """One directory a destination and key: a tenant's records must not leave under another's key.

    The key goes in as eight hex digits of a hash, from which it can't be had back.
    """
    where = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:16]
    fingerprint = hashlib.sha256(b"banyan_hp key\0" + key.encode()).hexdigest()[:8]
    return base / "spool" / f"{where}-{fingerprint}"


class Spool:
    """The on-disk queue of one destination, as one process sees it."""

    def __init__(self, settings: SpoolSettings, process: str, clock: Clock, observer: Observer) -> None:
        self._settings = settings
        self._process = process
        self._clock = clock
        self._observer = observer
        self._guard = Guard()
        self._news: deque[Callable[[], None]] = deque()
        self._held: list[Segment] = []
        self._active: Segment | None = None
        self._candidates: list[Path] = []
        self._foreign_bytes = 0
        self._made = 0
        self._opened = False
        self._closed = False
        self._retry_at = 0.0
        self._read_again_at = 0.0
        self._scanned_at = float("-inf")
        self._synced_at = 0.0
        self.problem: str | None = None

    # -- is it there? -----------------------------------------------------------------------------------

    @property
    def in_a_section(self) -> bool:
        """Whether the calling thread is in the middle of something here. Takes no lock."""
        return self._guard.mine

    @property
    def usable(self) -> bool:
        return not self._closed and (self.problem is None or self.usable_in() <= 0)

    def usable_in(self) -> float:
        """Seconds until writing is tried again after a failure."""
        return self._retry_at - self._clock.monotonic()

    @property
    def readable(self) -> bool:
        """Whether what is on disk can be read: a full disk still can."""
        return not self._closed and self._clock.monotonic() >= self._read_again_at

    @property
    def opened(self) -> bool:
        return self._opened

    @property
    def backlog(self) -> bool:
        """Whether there may be something to replay. Reads a few integers, takes no lock."""
        return bool(self._candidates) or any(segment.free for segment in self._held)

    def open(self) -> None:
        """Make sure of the directory and look for segments whose owners are gone. Never raises."""
        self._opened = True
        with self._guard:
            self._try_to_write(self._scan)
        self._tell()

    def look_again(self) -> None:
        """Another one in this process has let go of segments in the same directory."""
        self._opened = False

    @property
    def directory(self) -> Path:
        return self._settings.directory

    def _scan(self) -> None:
        self._scanned_at = self._clock.monotonic()
        directory = self._checked_directory()
        held = {segment.path for segment in self._held}
        found = sorted(path for path in directory.iterdir() if is_segment(path.name) and path not in held)
        self._candidates = found
        self._foreign_bytes = sum(_size(path) for path in found)

    def _checked_directory(self) -> Path:
        if not lockable():
            raise OSError("this system has no flock; the spool needs Linux or macOS")
        directory = self._settings.directory
        for path in (*reversed(directory.parents), directory):
            path.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise OSError(f"{directory} is not a directory of its own (a symbolic link?)")
        if status.st_uid != os.geteuid():
            raise OSError(f"{directory} belongs to another user")
        return directory

    def _try(self, action: Callable[[], object]) -> bool:
        """Run a file operation; a failure degrades the spool to memory only, for a while."""
        try:
            action()
        except OSError as error:
            self._degrade(error)
            return False
        return True

    def _try_to_write(self, action: Callable[[], object]) -> bool:
        """The same for a write, whose success shows that the disk is well again."""
        written = self._try(action)
        if written:
            self.problem = None
        return written

    def _degrade(self, error: OSError) -> None:
        self.problem = f"{type(error).__name__}: {error}"
        self._retry_at = self._clock.monotonic() + TRY_AGAIN_SECONDS
        where = self._settings.directory
        self._warn("the spool in %s can't be used, records stay in memory: %s", where, error)

    def _warn(self, message: str, *args: object) -> None:
        """Say it when our lock is free: a logging handler may call us."""
        self._news.append(lambda: warn("spool", message, *args))

    # -- writing ----------------------------------------------------------------------------------------

    def append(self, records: Sequence[Record]) -> int:
        """Write records, by few writes, and give each its place. They count as in memory until released.

        Returns:
            How many of them, from the first on, were written; none when the garbage collector called in
            the middle of another write of the same thread.
        """
        written = 0
        for chunk in self._chunks(records):
            if not self._append_chunk(chunk):
                break
            written += len(chunk)
        return written

    def _chunks(self, records: Sequence[Record]) -> Iterator[list[Record]]:
        """As many records as a segment takes by one write."""
        chunk: list[Record] = []
        room = self._segment_bytes()
        for record in records:
            if chunk and _line_length(record) > room:
                yield chunk
                chunk, room = [], self._segment_bytes()
            chunk.append(record)
            room -= _line_length(record)
        if chunk:
            yield chunk

    def _append_chunk(self, records: Sequence[Record]) -> bool:
        if not self.usable or self._guard.mine:
            return False
        with self._guard:
            if self._closed:
                return False
            length = sum(map(_line_length, records))
            written = self._make_room(length) and self._try_to_write(lambda: self._append(records, length))
        self._tell()
        return written

    def _append(self, records: Sequence[Record], length: int) -> None:
        segment = self._writable(length)
        first = len(segment.states)
        numbered = list(enumerate(records, first))
        lines = b"".join(format_line(number, r.id, r.time, r.body or b"null") for number, r in numbered)
        try:
            segment.write(lines, len(numbered), sync=self._settings.fsync == "always")
        finally:
            if segment.torn:
                self._active = None
        for number, record in numbered:
            record.place = Place(segment, number)

    def _writable(self, length: int) -> Segment:
        active = self._active
        if active is not None and active.size and active.size + length > self._segment_bytes():
            self._finish_active()
        if self._active is None:
            directory = self._checked_directory()
            name = segment_name(self._clock.wall(), self._process, self._made)
            self._made += 1
            self._active = Segment.create(directory, name)
            self._held.append(self._active)
            if self._settings.fsync != "never":
                _sync_directory(directory)
        return self._active

    def _finish_active(self) -> None:
        finished, self._active = self._active, None
        if finished is None:
            return
        if finished.dirty and self._settings.fsync != "never":
            self._try(finished.sync)
        self._retire_if_settled(finished)

    def _segment_bytes(self) -> int:
        return min(SEGMENT_BYTES, max(16 * 1024, self._settings.max_bytes // 8))

    def sync_due_in(self, now: float) -> float:
        """Seconds until `sync` should be called; infinite if there is nothing to sync."""
        active = self._active
        if self._settings.fsync != "interval" or active is None or not active.dirty:
            return float("inf")
        return max(0.0, self._synced_at + FSYNC_INTERVAL - now)

    def sync(self) -> None:
        """Force the newest records to the disk itself (`fsync="interval"`)."""
        with self._guard:
            self._synced_at = self._clock.monotonic()
            for segment in self._held:
                if segment.dirty:
                    self._try(segment.sync)
        self._tell()

    # -- caps -------------------------------------------------------------------------------------------

    def _make_room(self, length: int) -> bool:
        """Give up the oldest segments until so many bytes fit under the cap. False if they never will."""
        self._expire()
        if length > self._settings.max_bytes:
            return False
        if self._over_cap(length) and self._clock.monotonic() >= self._scanned_at + RESCAN_SECONDS:
            self._try(self._scan)  # others may have sent and deleted what we count
        while self._over_cap(length):
            oldest = self._oldest_evictable()
            if oldest is None or not self._evict(oldest, "spool_full"):
                return False
        return True

    def _over_cap(self, length: int) -> bool:
        held = sum(segment.size for segment in self._held)
        return self._foreign_bytes + held + length > self._settings.max_bytes

    def _expire(self) -> None:
        """Give up what is too old; a segment is written for an eighth of `max_age`, and kept as long more."""
        now, span = self._clock.wall(), self._settings.max_age / 8
        if self._active is not None and self._active.created < now - span:
            self._finish_active()
        for segment in [s for s in self._evictable() if s.created < now - self._settings.max_age - span]:
            self._evict(segment, "spool_expired")

    def _evictable(self) -> list[Segment]:
        """Finished segments of which no record is in hand, the oldest first."""
        idle = [s for s in self._held if s is not self._active and s.free == s.unsettled]
        return sorted(idle, key=_age)

    def _oldest_evictable(self) -> Segment | None:
        """The one to give up: abandoned segments first, the one being written last."""
        while self._candidates:
            adopted = self._adopt(self._candidates.pop(0))
            if adopted is not None and adopted.free:
                return adopted
        if not self._evictable():
            self._finish_active()
        return next(iter(self._evictable()), None)

    def _evict(self, segment: Segment, reason: str) -> bool:
        if not self._try(segment.remove):
            return False
        self._held.remove(segment)
        self._lose(segment, segment.free, reason)
        segment.forget()
        return True

    def _lose(self, segment: Segment, count: int, reason: str) -> None:
        self._news.append(lambda: self._observer.lost_on_disk(count, reason, own=segment.own))

    def _tell(self) -> None:
        """Hand the news to the observer, without our lock."""
        while True:
            try:
                news = self._news.popleft()
            except IndexError:
                return
            news()

    # -- replay -----------------------------------------------------------------------------------------

    def read_back(self, max_records: int, max_bytes: int) -> list[Replayed]:
        """The oldest records that are on disk only, now in memory too. Never raises.

        One thread at a time, please: two would read the same lines. Adopts the next segment whose owner
        is gone when those at hand hold nothing more.
        """
        with self._guard:
            segment = self._next_readable()
        replayed = self._read(segment, max_records, max_bytes) if segment is not None else []
        self._tell()
        return replayed

    def _next_readable(self) -> Segment | None:
        """The segment to read from, if there is one."""
        while True:
            self._expire()
            waiting = sorted((s for s in self._held if s.free), key=_age)
            unread = [segment for segment in waiting if segment.cursor < segment.size]
            if waiting and not unread:  # what was handed out has come back: from the start again
                for segment in waiting:
                    segment.cursor = 0
                unread = waiting
            if unread or not self._candidates:
                return next(iter(unread), None)
            self._adopt(self._candidates.pop(0))

    def _adopt(self, path: Path) -> Segment | None:
        self._foreign_bytes = max(0, self._foreign_bytes - _size(path))
        segment = None
        try:
            segment = Segment.adopt(path)
            damaged = segment.index() if segment is not None else []
        except OSError as error:
            self._warn("the spool's segment %s can't be read: %s", path, error)
            if segment is not None:
                segment.close()
            return None
        if segment is None:
            return None
        self._held.append(segment)
        for line in damaged:
            self._quarantine_damage(segment, line)
        found = segment.free
        self._news.append(lambda: self._observer.adopted(found, len(damaged)))
        self._retire_if_settled(segment)
        return segment

    def _read(self, segment: Segment, max_records: int, max_bytes: int) -> list[Replayed]:
        replayed: list[Replayed] = []
        whole_pass, released = segment.cursor == 0, segment.released
        try:
            for end, raw in segment.lines_from(segment.cursor):
                segment.cursor = end
                line = parse_line(raw)
                if line is not None and self._hand_out(segment, line.number):
                    replayed.append(Replayed(line, Place(segment, line.number)))
                    max_bytes -= len(line.body)
                if len(replayed) >= max_records or max_bytes <= 0:
                    return replayed
            segment.cursor = segment.size
        except OSError as error:
            segment.cursor = segment.size
            self._read_again_at = self._clock.monotonic() + TRY_AGAIN_SECONDS
            if not self._closed:
                self._warn("the spool's segment %s can't be read: %s", segment.path, error)
            return replayed
        if whole_pass and not replayed:
            self._give_up_unreadable(segment, released)
        return replayed

    def _give_up_unreadable(self, segment: Segment, released: int) -> None:
        """A whole pass found nothing of what should be there: the file was damaged since it was written."""
        with self._guard:
            lost = segment.free
            if not lost or segment.released != released or segment not in self._held:
                return
            for _, raw in segment.lines_from(0):
                if parse_line(raw) is None:
                    self._quarantine_damage(segment, raw)
            for number, state in enumerate(segment.states):
                if state == FREE:
                    segment.set_state(number, SETTLED)
            self._lose(segment, lost, "corrupt")
            self._retire_if_settled(segment)

    def _quarantine_damage(self, segment: Segment, line: bytes) -> None:
        self._write_quarantine({"reason": "corrupt", "segment": segment.path.name, "raw": _readable(line)})

    def _hand_out(self, segment: Segment, number: int) -> bool:
        with self._guard:
            if number >= len(segment.states) or segment.states[number] != FREE:
                return False
            segment.set_state(number, IN_MEMORY)
            return True

    def release(self, records: Sequence[Record], *, in_order: bool = True) -> None:
        """These records are no longer in memory, only on disk.

        Args:
            records: records with a place.
            in_order: read them again before younger ones; else only when the rest has been read.
        """
        with self._guard:
            for place in _places(records):
                place.segment.set_state(place.number, FREE)
                place.segment.released += 1
                if in_order:
                    place.segment.cursor = 0

    def acknowledge(self, records: Sequence[Record]) -> None:
        """These records are settled for good. Never raises."""
        by_segment: dict[Segment, list[int]] = {}
        for place in _places(records):
            by_segment.setdefault(place.segment, []).append(place.number)
        with self._guard:
            for segment, numbers in by_segment.items():
                self._settle(segment, numbers)
        self._tell()

    def _settle(self, segment: Segment, numbers: list[int]) -> None:
        for number in numbers:
            segment.set_state(number, SETTLED)
        if segment not in self._held:
            return
        if segment is self._active and not self._settings.durable and not segment.unsettled:
            self._active = None
        if not self._retire_if_settled(segment):
            self._try(lambda: segment.acknowledge(numbers))

    def _retire_if_settled(self, segment: Segment) -> bool:
        """True if nothing of it is left on disk; a deletion that fails is tried again at the end."""
        if segment.unsettled or segment is self._active or not self._try(segment.remove):
            return False
        self._held.remove(segment)
        return True

    # -- what a flush waits for -------------------------------------------------------------------------

    def mark(self) -> Mark:
        """The end of what this process has written so far."""
        with self._guard:
            return [(segment, len(segment.states)) for segment in self._held if segment.own]

    def unsettled(self, mark: Mark) -> int:
        """How many of the records before `mark` are not settled."""
        return sum(count - segment.states[:count].count(SETTLED) for segment, count in mark)

    # -- quarantine -------------------------------------------------------------------------------------

    def quarantine(self, record: Record, reason: str, status: int | None, detail: str) -> bool:
        """Keep a refused record with the reason; it is not sent again. False if it could not be written."""
        if not self.usable or self._guard.mine:
            return False
        entry = {
            "id": record.id,
            "t": event_time(record.time),
            "reason": reason,
            "status": status,
            "detail": detail,
            "body": _readable(record.body) if record.body is not None else record.value,
        }
        with self._guard:
            if self._closed:
                return False
            kept = self._write_quarantine(entry)
        self._tell()
        return kept

    def _write_quarantine(self, entry: dict[str, object]) -> bool:
        line = json.dumps({"at": event_time(self._clock.wall()), **entry}, default=str).encode() + b"\n"
        return self._try_to_write(lambda: self._append_quarantine(line))

    def _append_quarantine(self, line: bytes) -> None:
        path = self._checked_directory() / QUARANTINE_NAME
        if _size(path) + len(line) > QUARANTINE_BYTES:
            path.replace(path.with_name(path.name + ".old"))
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if not _ends_with_a_line(fd):
                line = b"\n" + line
            if os.write(fd, line) != len(line):
                raise OSError("the disk took only a part of the quarantined record")
        finally:
            os.close(fd)

    # -- the end ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of all segments: another process may send what is left. Never raises."""
        with self._guard:
            self._closed = True
            self._active = None
            for segment in list(self._held):
                if segment.dirty and self._settings.fsync == "interval":
                    self._try(segment.sync)
                if not self._retire_if_settled(segment):
                    segment.close()
            self._held.clear()
            self._candidates.clear()
        self._tell()

    def abandon(self) -> None:
        """In a forked child: close the parent's descriptors and touch nothing else."""
        self._closed = True
        for segment in self._held:
            segment.close()


def _age(segment: Segment) -> str:
    """Names begin with the time of creation: their order is the segments' age."""
    return segment.path.name


def _line_length(record: Record) -> int:
    return len(record.body or b"") + _LINE_OVERHEAD


def _sync_directory(directory: Path) -> None:
    """Make a new file's name survive a power cut, too."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _ends_with_a_line(fd: int) -> bool:
    """Whether a file is empty or its last write was whole."""
    size = os.fstat(fd).st_size
    return not size or os.pread(fd, 1, size - 1) == b"\n"


def _places(records: Sequence[Record]) -> list[Place]:
    return [record.place for record in records if record.place is not None]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _readable(raw: bytes) -> object:
    """Bytes as they go into the quarantine: as JSON if they are, else as text or base64."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        pass
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(raw).decode("ascii")
