"""Records on disk: what can't be sent now, kept until it can.

Owns the segments that this process holds of one destination's directory: what is written, what is read next,
and what is given up to stay within the caps; the quarantine beside them has a module of its own. Counts
nothing itself: it tells an observer, which keeps the ledger.

All state is guarded by the spool's own `Guard`, which is held across single reads and writes, the one place
in the engine where a lock is held across I/O; never across a sync for `fsync="interval"`, nor while a segment
is read for the first time. It is never taken the other way round: nothing here takes the engine's lock while
holding it.

The caps hold for a destination's directory. What this process holds is counted exactly. Of others' segments
the size at the last look counts: a look is taken every `LOOK_SECONDS`, and, when the cap is reached, once a
second before anything is given up. So n processes exceed the cap by what they write within one look, at the
most. Segments of the living are theirs: when they alone fill the cap, this process keeps its records in
memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from .address import Address
from .clock import Clock
from .directory import ACCEPTED, REFUSED, Directory, is_refused, sizes
from .guard import Guard
from .log import warn
from .own_files import sync_directory
from .page import Page
from .quarantine import Entry, Quarantine
from .records import Record, encode
from .segment import FREE, SETTLED, Line, Place, Segment, format_line, parse_line, segment_name

SEGMENT_BYTES = 8 * 1024 * 1024
TRY_AGAIN_SECONDS = 30.0
LOOK_SECONDS = 30.0
FSYNC_INTERVAL = 0.5
RESCAN_SECONDS = 1.0
_LINE_OVERHEAD = 128  # bytes of a line beside its body, at the most
_READ_AT_ONCE = 512 * 1024

Mark = list[tuple[Segment, int]]


class Observer(Protocol):
    """Who keeps the ledger. Called without any lock held but one that keeps these calls in order."""

    def adopted(self, count: int, damaged: int) -> None:
        """A dead process's segment is ours now: so many records, and so many that are damaged."""

    def lost_on_disk(self, count: int, reason: str, *, own: bool) -> None:
        """So many records that were on disk only are gone."""

    def damaged_on_disk(self, count: int, *, own: bool) -> None:
        """So many records that were on disk only can't be read; they are in the quarantine."""

    def disk_failed(self) -> None:
        """A file operation failed."""


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """What of the settings concerns the disk."""

    directory: Path
    max_bytes: int
    max_age: float
    durable: bool
    fsync: str
    address: Address | None = None
    any_key: bool = False  # the directory is another key's: what is learnt of ours does not concern it


@dataclass(frozen=True, slots=True)
class Replayed:
    """A record read back, and where it stands."""

    line: Line
    place: Place


class Spool:
    """The on-disk queue of one destination, as one process sees it."""

    def __init__(self, settings: SpoolSettings, process: str, clock: Clock, observer: Observer) -> None:
        self._settings = settings
        self._directory = Directory(settings.directory, durable=settings.fsync != "never")
        self._process = process
        self._clock = clock
        self._observer = observer
        self._guard = Guard()
        self._telling = Guard()  # keeps the ledger's news in order; never taken while holding `_guard`
        self._news: deque[Callable[[], None]] = deque()
        self._quarantine = Quarantine(settings.directory, clock, sync=settings.fsync != "never")
        self._words: deque[Callable[[], None]] = deque()
        self._held: list[Segment] = []
        self._active: Segment | None = None
        self._candidates: list[Path] = []  # others' segments that have not been tried since the last look
        self._foreign_bytes = 0
        self._room = 0  # under the cap there are so many bytes at least
        self._made = 0
        self._named_at = 0.0
        self._opened = False
        self._closed = False
        self._key_accepted = False
        self._retry_at = float("-inf")
        self._read_again_at = float("-inf")
        self._look_at = float("-inf")
        self._scanned_at = float("-inf")
        self._expire_at = float("-inf")
        self._synced_at = float("-inf")
        self.problem: str | None = None
        self.remark: str | None = None  # something that people should know of, though all works

    # -- is it there? -----------------------------------------------------------------------------------

    @property
    def in_a_section(self) -> bool:
        """Whether the calling thread is in the middle of something here. Takes no lock."""
        return self._guard.mine

    @property
    def usable(self) -> bool:
        return not self._closed and self.usable_in() <= 0

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
        return bool(self._candidates) or any(segment.free for segment in tuple(self._held))

    @property
    def emptied(self) -> bool:
        """Whether a look at the disk found nothing, or all it found is settled. Waits for a write to end."""
        with self._guard:
            scanned = self._scanned_at > float("-inf")
            return scanned and not self._candidates and not any(s.unsettled for s in self._held)

    @property
    def directory(self) -> Path:
        return self._settings.directory

    def look_due_in(self, now: float) -> float:
        """Seconds until `open` should be called (again): a sibling may have died, or made room."""
        return max(0.0, self._look_at - now)

    def look_again(self) -> None:
        """Another one in this process has let go of segments in the same directory."""
        self._look_at = float("-inf")

    def open(self) -> None:
        """Make sure of the directory and look for segments whose owners are gone. Never raises."""
        with self._guard:
            if not self._closed:
                self._opened = True
                self._look_at = self._clock.monotonic() + LOOK_SECONDS
                self._try(self._look)
        self._tell()

    def turn_to(self, directory: Path, address: Address | None = None) -> None:
        """From now on write there, under another key. What is held already stays where it is, and ours."""
        with self._guard:
            if directory == self._settings.directory:
                return
            self._settings = replace(self._settings, directory=directory, address=address)
            self._directory = Directory(directory, durable=self._settings.fsync != "never")
            evicted = self._quarantine.evicted
            self._quarantine = Quarantine(directory, self._clock, sync=self._settings.fsync != "never")
            self._quarantine.evicted = evicted
            self._key_accepted = False
            self._finish_active()
            self._candidates.clear()
            self.look_again()
        self._tell()

    def _look(self) -> None:
        for segment in list(self._held):
            if not self._notice_removal(segment):
                self._try(segment.catch_up)
        self._scan()
        self._in_passing(lambda: self._directory.clean(self._clock.wall()))

    def _scan(self) -> None:
        self._scanned_at = self._clock.monotonic()
        self._room = 0
        listing = self._directory.listing()
        held = {segment.path for segment in self._held}
        found = [path for path in listing.segments if path not in held]
        self._foreign_bytes = sizes(found)
        self._candidates = found
        self._report(listing.unknown)
        if self._key_accepted:
            self._in_passing(lambda: self._candidates.extend(p for p in self._rotated() if p not in held))

    def _rotated(self) -> list[Path]:
        """Segments under an older key that was refused; ours has been accepted."""
        return [path for other in self._directory.with_refused_keys() for path in other.listing().segments]

    def _report(self, unknown: list[str]) -> None:
        self.remark = (
            f"{len(unknown)} segments of another format version are left alone: {unknown[0]}, …"
            if unknown
            else None
        )
        if self.remark is not None:
            self._say("unknown format", "in %s %s", self._settings.directory, self.remark)

    def _checked_directory(self) -> Path:
        directory = self._directory.check()
        if self._settings.address is not None:
            self._settings.address.write(directory)
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

    def _in_passing(self, action: Callable[[], object]) -> None:
        """Run a file operation that our own records don't depend on; a failure is counted and told."""
        try:
            action()
        except OSError as error:
            self._news.append(self._observer.disk_failed)
            self._warn("in %s: %s", self._settings.directory, error)

    def _degrade(self, error: OSError) -> None:
        self.problem = f"{type(error).__name__}: {error}"
        self._retry_at = self._clock.monotonic() + TRY_AGAIN_SECONDS
        self._news.append(self._observer.disk_failed)
        where = self._settings.directory
        self._warn("the spool in %s can't be used, records stay in memory: %s", where, error)

    def _warn(self, message: str, *args: object) -> None:
        self._say("spool", message, *args)

    def _say(self, kind: str, message: str, *args: object) -> None:
        """Say it when our lock is free: a logging handler may call us."""
        self._words.append(lambda: warn(kind, message, *args))

    # -- the key ----------------------------------------------------------------------------------------

    def key_accepted(self) -> None:
        """The destination takes records under our key: note it, and look for those of refused keys.

        Never raises.
        """
        if self._settings.any_key:
            return
        with self._guard:
            self._key_accepted = True
            self._try(lambda: self._directory.note_key(ACCEPTED))
        self.look_again()
        self._tell()

    def key_refused(self, *, for_good: bool) -> None:
        """The destination refuses our key; `for_good` lets a newer key have what lies here. Never raises."""
        if self._settings.any_key:
            return
        with self._guard:
            self._key_accepted = False
            if for_good:
                self._try(lambda: self._directory.note_key(REFUSED))
        self._tell()

    def key_was_accepted(self) -> bool:
        """Whether an earlier process has found the key good. True if in doubt."""
        try:
            return self._directory.key_standing() == ACCEPTED
        except OSError:
            return True

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

    def not_there(self, records: Sequence[Record]) -> list[Record]:
        """Those that are not on disk; also because somebody has deleted their segment."""
        with self._guard:
            for segment in {place.segment for place in _places(records)} & set(self._held):
                self._is_removed(segment)
        self._tell()
        return [record for record in records if record.place is None or record.place.segment.gone]

    def _chunks(self, records: Sequence[Record]) -> Iterator[Sequence[Record]]:
        """As many records as a segment takes by one write."""
        if len(records) == 1:
            yield records
            return
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
            if not written:
                self._retry_at = max(self._retry_at, self._clock.monotonic() + RESCAN_SECONDS)
        self._tell()
        return written

    def _append(self, records: Sequence[Record], length: int) -> None:
        segment = self._write(records, length)
        if self._notice_removal(segment):  # written to a file without a name
            segment = self._write(records, length)
            if self._notice_removal(segment):
                raise OSError("segments are deleted as soon as they are made")
        first = len(segment.states) - len(records)
        for number, record in enumerate(records, first):
            record.place = Place(segment, number)
        self._room -= length

    def _write(self, records: Sequence[Record], length: int) -> Segment:
        segment = self._writable(length)
        first = len(segment.states)
        lines = b"".join(
            [format_line(number, r.id, r.time, r.body or b"null") for number, r in enumerate(records, first)]
        )
        try:
            segment.write(lines, len(records), sync=self._settings.fsync == "always")
        finally:
            if segment.torn:
                self._active = None
        return segment

    def _writable(self, length: int) -> Segment:
        active = self._active
        if active is not None and active.size and active.size + length > self._segment_bytes():
            self._finish_active()
        if self._active is None:
            self._active = self._new_segment()
            self._held.append(self._active)
        return self._active

    def _new_segment(self) -> Segment:
        """Names sort as segments were made, whatever the wall clock does meanwhile."""
        directory = self._checked_directory()
        self._named_at = max(self._clock.wall(), self._named_at + 0.001)
        segment = Segment.create(directory, segment_name(self._named_at, self._process, self._made))
        self._made += 1
        segment.made_at = self._clock.monotonic()
        try:
            if self._settings.fsync != "never":
                sync_directory(directory)
        except OSError:
            segment.remove()
            raise
        return segment

    def _finish_active(self) -> None:
        finished, self._active = self._active, None
        if finished is not None:
            self._retire_if_settled(finished)

    def _segment_bytes(self) -> int:
        return min(SEGMENT_BYTES, max(16 * 1024, self._settings.max_bytes // 8))

    def _notice_removal(self, segment: Segment) -> bool:
        """Whether somebody has deleted the segment under us: what was on disk only is lost, and counted."""
        if segment.gone or not segment.notice_removal():
            return segment.gone
        self._lose(segment, segment.free, "removed")
        segment.forget()
        self._drop(segment)
        segment.close()
        return True

    def _drop(self, segment: Segment) -> None:
        if segment is self._active:
            self._active = None
        if segment in self._held:
            self._held.remove(segment)

    # -- fsync ------------------------------------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        """Whether something waits for `sync`. Takes no lock."""
        return self._settings.fsync == "interval" and any(segment.dirty for segment in tuple(self._held))

    def sync_due_in(self, now: float) -> float:
        """Seconds until `sync` should be called; infinite if there is nothing to sync."""
        return max(0.0, self._synced_at + FSYNC_INTERVAL - now) if self.dirty else float("inf")

    def sync(self) -> None:
        """Force the newest records to the disk itself (`fsync="interval"`). Callers can write meanwhile."""
        with self._guard:
            self._synced_at = self._clock.monotonic()
            dirty = [s for s in list(self._held) if s.dirty and not self._is_removed(s)]
        for segment in dirty:
            try:
                segment.sync()
            except OSError as error:
                with self._guard:
                    self._degrade(error)
        self._tell()

    def _is_removed(self, segment: Segment) -> bool:
        return not self._try(lambda: self._notice_removal(segment)) or segment.gone

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
            if oldest is None:
                self.problem = "spool_max_bytes is reached, and nothing there can be given up now"
                return False
            if not self._evict(oldest, "spool_full"):
                return False
        return True

    def _over_cap(self, length: int) -> bool:
        if length > self._room:
            held = sum(segment.size for segment in self._held)
            self._room = self._settings.max_bytes - self._foreign_bytes - held
        return length > self._room

    def _expire(self) -> None:
        """Give up what is too old; a segment is written for an eighth of `max_age`, and kept as long more.

        The age of our own segments follows the monotonic clock: that of the wall may jump.
        """
        now, span = self._clock.monotonic(), self._settings.max_age / 8
        if now < self._expire_at:
            return
        self._expire_at = now + min(1.0, span)
        if self._active is not None and self._active.made_at < now - span:
            self._finish_active()
        for segment in [s for s in self._evictable() if s.made_at < now - self._settings.max_age - span]:
            self._evict(segment, "spool_expired")

    def _evictable(self) -> list[Segment]:
        """Finished segments of which no record is in hand, the oldest first."""
        idle = [s for s in self._held if s is not self._active and s.free == s.unsettled]
        return sorted(idle, key=_age)

    def _oldest_evictable(self) -> Segment | None:
        """The one to give up: ours or abandoned; the one being written, too, when it is the oldest."""
        if self._active is not None and self._active.size and not self._older_than(_age(self._active)):
            self._finish_active()
        oldest = next(iter(self._evictable()), None)
        while self._candidates and (oldest is None or self._candidates[0].name < _age(oldest)):
            self._adopt(self._candidates.pop(0))
            oldest = next(iter(self._evictable()), None)
        return oldest

    def _older_than(self, name: str) -> bool:
        """Whether anything else could be given up before the segment of that name."""
        return any(_age(s) < name for s in self._evictable()) or any(p.name < name for p in self._candidates)

    def _evict(self, segment: Segment, reason: str) -> bool:
        if not self._try(lambda: self._notice_removal(segment)):
            return False
        if segment.gone:
            return True
        if not self._try(segment.remove):
            return False
        self._drop(segment)
        self._room = 0
        self._lose(segment, segment.free, reason)
        segment.forget()
        return True

    # -- what the ledger must know ----------------------------------------------------------------------

    def _lose(self, segment: Segment, count: int, reason: str) -> None:
        self._news.append(lambda: self._observer.lost_on_disk(count, reason, own=segment.own))

    def _tell(self) -> None:
        """Hand the news to the observer, without our lock and in order; then say what is to be said."""
        if self._news:
            with self._telling:
                _run_all(self._news)
        if self._words:
            _run_all(self._words)

    # -- replay -----------------------------------------------------------------------------------------

    def read_back(self, max_records: int, max_bytes: int) -> list[Replayed]:
        """The oldest records that are on disk only, now in memory too. Never raises.

        One thread at a time, please: two would read the same lines. Segments whose owners are gone are
        adopted when their turn comes, by age.
        """
        replayed: list[Replayed] = []
        while True:
            with self._guard:
                found = self._next_readable()
            if not isinstance(found, Path):
                break
            self._adopt(found)
        if found is not None:
            replayed = self._read(found, max_records, max_bytes)
        self._tell()
        return replayed

    def _next_readable(self) -> Segment | Path | None:
        """The segment to read from, or a candidate to be adopted first, if there is one."""
        self._expire()
        waiting = sorted((s for s in self._held if s.free), key=_age)
        unread = [segment for segment in waiting if segment.cursor < segment.size]
        if self._candidates and (not unread or self._candidates[0].name < _age(unread[0])):
            return self._candidates.pop(0)
        if waiting and not unread:  # what was handed out has come back: from the start again
            for segment in waiting:
                segment.cursor = 0
            unread = waiting
        return next(iter(unread), None)

    def _adopt(self, path: Path) -> None:
        """Take over a segment whose owner is gone, and read it for the first time."""
        segment = None
        try:
            segment = self._lease(path)
            damaged = segment.index() if segment is not None else []
        except OSError as error:
            with self._guard:
                self._news.append(self._observer.disk_failed)
                self._warn("the spool's segment %s can't be read: %s", path, error)
            if segment is not None:
                segment.close()
            return
        if segment is not None:
            self._take_over(segment, damaged)

    def _lease(self, path: Path) -> Segment | None:
        if path.parent != self._settings.directory and not is_refused(path.parent):
            return None  # its key has been accepted again
        return Segment.adopt(path)

    def _take_over(self, segment: Segment, damaged: list[bytes]) -> None:
        with self._guard:
            if self._closed:
                segment.close()
                return
            segment.made_at = self._clock.monotonic() - max(0.0, self._clock.wall() - segment.created)
            if segment.path.parent == self._settings.directory:
                self._foreign_bytes = max(0, self._foreign_bytes - segment.size)
            self._held.append(segment)
            self._expire_at = float("-inf")
            found, lost = segment.free, segment.records_damaged
            kept = self._put_aside(segment, damaged)
            if kept:
                self._news.append(lambda: self._observer.adopted(found, lost))
            else:
                self._news.append(lambda: self._observer.adopted(found + lost, 0))
                self._lose(segment, lost, "corrupt")
            self._retire_if_settled(segment)

    def _put_aside(self, segment: Segment, damaged: list[bytes]) -> bool:
        """Bring damaged lines to the quarantine; True if all of them are there."""
        if not damaged:
            return True
        kept = self._quarantine_damage(segment, damaged)
        self._try(segment.put_damage_aside)
        return kept == len(damaged)

    def _read(self, segment: Segment, max_records: int, max_bytes: int) -> list[Replayed]:
        from_the_start = segment.cursor == 0
        usual = segment.size // max(1, len(segment.states)) + 64
        about = min(_READ_AT_ONCE, max_bytes + 4096, max_records * usual)
        try:
            while True:
                with self._guard:
                    if segment not in self._held or self._notice_removal(segment):
                        return []
                    start = segment.cursor
                    content = segment.whole_lines(start, about)
                if not content:
                    break
                page = Page(segment, start, content)
                with self._guard:
                    if segment not in self._held:  # given up, or closed, meanwhile
                        return []
                    page.fetch_stragglers(max_records)
                    lines = page.take(max_records, max_bytes)
                if lines:
                    return [Replayed(line, Place(segment, line.number)) for line in lines]
        except OSError as error:
            self._can_t_read(segment, error)
            return []
        with self._guard:
            segment.cursor = segment.size
            if from_the_start:
                self._try(lambda: self._give_up_unreadable(segment))
        return []

    def _can_t_read(self, segment: Segment, error: OSError) -> None:
        with self._guard:
            segment.cursor = segment.size
            if self._closed:
                return
            self._read_again_at = self._clock.monotonic() + TRY_AGAIN_SECONDS
            self._news.append(self._observer.disk_failed)
            self._warn("the spool's segment %s can't be read: %s", segment.path, error)

    def _give_up_unreadable(self, segment: Segment) -> None:
        """A whole pass found nothing of what should be there: the file was damaged since it was written."""
        numbers = {line.number for _, line in _whole(segment) if line is not None}
        lost = [n for n, state in enumerate(segment.states) if state == FREE and n not in numbers]
        damaged = [raw for raw, line in _whole(segment) if line is None]
        if not lost:
            return
        kept = self._put_aside(segment, damaged) and bool(damaged)
        for number in lost:
            segment.set_state(number, SETTLED)
        if kept:
            self._news.append(lambda: self._observer.damaged_on_disk(len(lost), own=segment.own))
        else:
            self._lose(segment, len(lost), "corrupt")
        if not self._retire_if_settled(segment):
            self._try(lambda: segment.acknowledge(lost))

    def release(self, records: Sequence[Record], *, in_order: bool = True) -> None:
        """These records are no longer in memory, only on disk.

        Args:
            records: records with a place.
            in_order: read them again before younger ones; else only when the rest has been read.
        """
        with self._guard:
            for place in _places(records):
                if place.segment.gone:
                    self._lose(place.segment, 1, "removed")
                    continue
                place.segment.set_state(place.number, FREE)
                if in_order:
                    place.segment.cursor = 0
        self._tell()

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
        self._drop(segment)
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

    @property
    def quarantine_evicted(self) -> int:
        """Quarantined records and lines that this process has given up, to stay within the bound."""
        return self._quarantine.evicted

    def quarantine(self, record: Record, reason: str, status: int | None, detail: str) -> bool:
        """Keep a refused record with the reason; it is not sent again. False if it could not be written."""
        if not self.usable or self._guard.mine:
            return False
        entry = Entry(
            reason,
            record.body if record.body is not None else encode(record.value),
            status=status,
            detail=detail,
            segment=record.place.segment.path.name if record.place is not None else None,
            id=record.id,
            time=record.time,
        )
        kept = self._into_quarantine(lambda: self._quarantine.add(entry))
        self._tell()
        return bool(kept)

    def _quarantine_damage(self, segment: Segment, lines: list[bytes]) -> int:
        """How many of the lines were kept. Call with the lock held."""
        if not lines:
            return 0
        return self._into_quarantine(lambda: self._quarantine.add_damage(segment.path.name, lines))

    def _into_quarantine(self, add: Callable[[], int]) -> int:
        """What `add` says it has kept; 0 if it can't write. Needs no lock: the quarantine has its own."""
        kept = 0

        def action() -> None:
            nonlocal kept
            self._checked_directory()
            try:
                kept = add()
            except TimeoutError as error:  # somebody holds its lock: nothing is wrong with the disk
                self._warn("a refused record could not be kept: %s", error)

        self._try_to_write(action)
        return kept

    # -- the end ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of all segments: another process may send what is left. Never raises."""
        with self._guard:
            self._active = None
            for segment in list(self._held):
                if self._is_removed(segment):
                    continue
                if segment.dirty and self._settings.fsync == "interval":
                    self._try(segment.sync)
                if not self._retire_if_settled(segment):
                    self._try(segment.catch_up)
                    segment.close()
            self._closed = True
            self._held.clear()
            self._candidates.clear()
        self._tell()

    def abandon(self) -> None:
        """In a forked child: close the parent's descriptors and touch nothing else."""
        self._closed = True
        for segment in self._held:
            segment.close()


def _run_all(waiting: deque[Callable[[], None]]) -> None:
    while True:
        try:
            each = waiting.popleft()
        except IndexError:
            return
        each()


def _age(segment: Segment) -> str:
    """Names begin with the time of creation: their order is the segments' age."""
    return segment.path.name


def _whole(segment: Segment) -> Iterator[tuple[bytes, Line | None]]:
    for _, raw in segment.lines_from(0):
        yield raw, parse_line(raw)


def _line_length(record: Record) -> int:
    return len(record.body or b"") + _LINE_OVERHEAD


def _places(records: Sequence[Record]) -> list[Place]:
    return [record.place for record in records if record.place is not None]
