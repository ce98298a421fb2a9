"""What one destination refused, and lines found damaged: kept with the reason, never sent unless asked.

Owns two files of the destination's directory, `quarantine.v1.jsonl` and, once that is full, its predecessor
`quarantine.v1.jsonl.old`; both together are bounded by size. `entries` describes their lines.

Any number of processes append to it. Each, for a moment, takes an exclusive `flock` on `quarantine.v1.jsonl`
and then makes sure that the path still is the file it has locked. So nothing is written to a file that was
rotated or rewritten away, the newer file becomes the older one exactly once, and what the rotation overwrites
is counted by the process that did it. An entry is one write; one that the disk takes in part only is cut off
again. What a crash tears is ended by the next writer and skipped by readers, who need no lock: they open the
newer file first, so that a rotation shows them entries of one file twice at the most, which they notice.

Another process may hold that `flock` for up to `LOCK_SECONDS`: nothing here is called with the spool's lock
held.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ...files import lock_file, open_file, replace_file, sync_directory, unlock_file
from ..records.encode import JSONValue, encode_somehow
from ..records.freeze import freeze
from ..records.outcome import DISCARDED, Verdict
from ..records.record import Record
from ..sync import Clock, WakeUp
from .disk import Disk
from .entries import LINE, RECORD, Entry, format_entry, parse_entry
from .layout import Directory, segment_name
from .lease import create
from .lines import format_line
from .segment import Segment

QUARANTINE_BYTES = 16 * 1024 * 1024
QUARANTINE_NAME = "quarantine.v1.jsonl"
COPIES_NAME = "discarded.v1.jsonl"
"""Copies of batches of which a collector threw a part away, in the same format; nothing sends them."""
COPIES_BYTES = 4 * 1024 * 1024
LOCK_SECONDS = 2.0
_POLL_SECONDS = 0.005


class Quarantine:
    """The entries of one destination. Any thread of any process may use it at any time.

    Adding and removing raises `OSError` if it could not be written, a `TimeoutError` if another process held
    the lock for `LOCK_SECONDS`.

    Args:
        directory: the destination's; it must exist when something is added.
        clock: time.
        sync: force each entry to the disk itself.
        max_bytes: the bound for all of it. An entry larger than half of it is not taken.
        name: of the newer file.
    """

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        *,
        sync: bool = False,
        max_bytes: int = QUARANTINE_BYTES,
        name: str = QUARANTINE_NAME,
    ) -> None:
        self._newer = directory / name
        self._older = directory / (name + ".old")
        self._clock = clock
        self._sync = sync
        self._file_bytes = max_bytes // 2
        self.evicted = 0  # how many entries this object has discarded for younger ones

    @property
    def size(self) -> int:
        return sum(path.lstat().st_size for path in (self._older, self._newer) if path.exists())

    # -- adding -----------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> bool:
        """Keep an entry, as of now. False if it is too large to be kept."""
        line = format_entry(entry._replace(at=self._clock.wall()))
        if len(line) > self._file_bytes:
            return False
        while True:
            with self._locked() as fd:
                if os.fstat(fd).st_size + len(line) <= self._file_bytes:
                    self._append(fd, line)
                    return True
                discarded = len(_parsed(_read(self._older)))  # a rotation makes room of half the bound
                self._newer.replace(self._older)
                self.evicted += discarded

    def add_damage(self, segment: str, lines: Sequence[bytes]) -> int:
        """Keep damaged lines of a segment; one that is here already stays alone.

        That the segment's ack log names what was dealt with is not enough: a crash between the two brings
        them here again. Returns how many are here now: less than all when some are too large.
        """
        known = {entry.body for entry in self.entries() if entry.segment == segment and entry.origin == LINE}
        kept = 0
        for line in lines:
            kept += line in known or self.add(Entry("corrupt", line, LINE, segment=segment))
        return kept

    def _append(self, fd: int, line: bytes) -> None:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            line = b"\n" + line
        try:
            if os.write(fd, line) != len(line):
                raise OSError("the disk took only a part of the quarantined record")
            if self._sync:
                os.fsync(fd)
        except OSError:
            os.ftruncate(fd, size)
            raise

    def entries(self) -> list[Entry]:
        """All of them, the oldest first; what is torn or damaged is left out. Raises `OSError`."""
        newer, inode = _read_with_inode(self._newer)
        older, older_inode = _read_with_inode(self._older)
        both = newer if inode == older_inode else older + newer
        return [entry for _, entry in _parsed(both)]

    def take(self, chosen: Callable[[Entry], bool], keep: Callable[[list[Entry]], object]) -> list[Entry]:
        """Remove the entries that `chosen` names, after `keep` has put them elsewhere; returns them.

        All under one lock, so that nobody else takes the same ones. If `keep` raises, or the process dies
        before its end, all stay; if it dies after that, some may be in both places, none in neither.
        """
        if not (self._newer.exists() or self._older.exists()):
            return []
        with self._locked():
            taken = [entry for entry in self.entries() if chosen(entry)]
            if taken:
                keep(taken)
            self._leave_out(self._older, chosen)
            self._leave_out(self._newer, chosen)  # last: from here on the path is not the locked file
        return taken

    def _leave_out(self, path: Path, chosen: Callable[[Entry], bool]) -> None:
        content = _read(path)
        parsed = _parsed(content)
        gone = {line for line, entry in parsed if chosen(entry)}
        if all(line in gone for line, _ in parsed):
            path.unlink(missing_ok=True)
        elif gone:
            kept = b"".join(line + b"\n" for line in content.split(b"\n") if line and line not in gone)
            replace_file(path, kept, sync=True)

    # -- the lock ---------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[int]:
        deadline = self._clock.monotonic() + LOCK_SECONDS
        while (fd := self._try_lock()) is None:
            if self._clock.monotonic() >= deadline:
                raise TimeoutError(f"another process has held {self._newer} for {LOCK_SECONDS:g} s")
            self._clock.wait(WakeUp(), _POLL_SECONDS)
        try:
            yield fd
        finally:
            unlock_file(fd)  # closing alone would leave it to a child that was forked meanwhile
            os.close(fd)

    def _try_lock(self) -> int | None:
        """The newer file, open, locked and still in its place; None if somebody else was faster."""
        fd = open_file(self._newer, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            lock_file(fd)
            if self._newer.lstat().st_ino == os.fstat(fd).st_ino:
                return fd
        except (BlockingIOError, FileNotFoundError):
            pass
        except OSError:
            os.close(fd)
            raise
        os.close(fd)
        return None


def _read(path: Path) -> bytes:
    return _read_with_inode(path)[0]


def _read_with_inode(path: Path) -> tuple[bytes, int]:
    try:
        fd = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        return b"", 0
    with os.fdopen(fd, "rb") as file:
        return file.read(), os.fstat(fd).st_ino


def _parsed(content: bytes) -> list[tuple[bytes, Entry]]:
    """The whole lines of a file, each with its entry."""
    parsed = ((line, parse_entry(line)) for line in content.split(b"\n"))
    return [(line, entry) for line, entry in parsed if entry is not None]


class QuarantineWriter:
    """What a spool puts into its destination's quarantine: refused records, and lines found damaged.

    Called without the spool's lock.
    """

    def __init__(self, disk: Disk, directory: Directory, *, sync: bool) -> None:
        self._disk = disk
        self._sync = sync
        self._directory = directory
        self._quarantine = Quarantine(directory.path, disk.clock, sync=sync)

    @property
    def evicted(self) -> int:
        """Entries that this process has discarded, to stay within the bound."""
        return self._quarantine.evicted

    def reconfigure(self, directory: Directory) -> None:
        evicted, self._directory = self.evicted, directory
        self._quarantine = Quarantine(directory.path, self._disk.clock, sync=self._sync)
        self._quarantine.evicted = evicted

    def record(self, record: Record, reason: str, status: int | None, detail: str) -> bool:
        """Keep a refused record; False if it could not be written."""
        entry = _entry(record, reason, status, detail)
        return bool(self._kept(lambda: self._quarantine.add(entry)))

    def copies(self, records: Sequence[Record], verdict: Verdict) -> bool:
        """Keep copies of records, as many as fit; False if they could not be written."""
        copies = Quarantine(self._directory.path, self._disk.clock, max_bytes=COPIES_BYTES, name=COPIES_NAME)
        entries = [_entry(record, DISCARDED, verdict.status, verdict.detail) for record in records]
        return bool(self._kept(lambda: sum([copies.add(entry) for entry in entries])))

    def damage(self, segment: Segment, lines: Sequence[bytes]) -> bool:
        """Keep damaged lines of a segment, and note there that they are dealt with; True if all are kept."""
        if not lines:
            return True
        kept = self._kept(lambda: self._quarantine.add_damage(segment.path.name, lines))
        self._disk.attempt(segment.damage_handled)
        return kept == len(lines)

    def _kept(self, add: Callable[[], int]) -> int:
        """What `add` returns; 0 if it can't write."""
        kept = 0

        def action() -> None:
            nonlocal kept
            self._directory.prepare()
            try:
                kept = add()
            except TimeoutError as error:  # somebody holds its lock: nothing is wrong with the disk
                self._disk.warn("a refused record could not be kept: %s", error)

        self._disk.attempt_to_write(action)
        return kept


def _entry(record: Record, reason: str, status: int | None, detail: str) -> Entry:
    body = record.body or record.raw or encode_somehow(_value(record))
    segment = record.place.segment.path.name if record.place is not None else None
    return Entry(reason, body, RECORD, status, detail, segment, record.id, record.time)


def _value(record: Record) -> JSONValue:
    """The completed value; what there is of it where completing it fails."""
    value, deferred = record.value, record.deferred
    if deferred is not None:
        with suppress(Exception):  # its failure is counted where the record is prepared
            return freeze(deferred.complete(value)).value
    return value


def requeue(
    directory: Path,
    chosen: Callable[[Entry], bool],
    clock: Clock,
    raw: Callable[[Entry], bool] = lambda _entry: False,
) -> list[Entry]:
    """Put the chosen records into a new segment, then take them out of the quarantine. Returns them.

    Those that `raw` names leave only when a `before_send` has seen them. The segment is on the disk itself
    before the quarantine is touched: a crash between the two leaves records in both places and none in
    neither. They keep their ids. Any process of the destination takes the segment over, at its next look.
    """
    return Quarantine(directory, clock).take(
        lambda entry: entry.sendable and chosen(entry),
        lambda entries: _write(directory, entries, clock, raw),
    )


def _write(directory: Path, entries: list[Entry], clock: Clock, raw: Callable[[Entry], bool]) -> None:
    segment = create(directory, segment_name(clock.wall(), os.urandom(8).hex(), 0))
    try:
        lines = (
            format_line(
                number, one.id or "", one.at if one.time is None else one.time, one.body, raw=raw(one)
            )
            for number, one in enumerate(entries)
        )
        segment.write(b"".join(lines), len(entries), sync=True)
        sync_directory(directory)
    except OSError:
        segment.remove()
        raise
    segment.close()
