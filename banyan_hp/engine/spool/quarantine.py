"""What one destination refused, and lines found damaged: kept with the reason, never sent unless asked.

Owns two files of the destination's directory, `quarantine.v1.jsonl` and, once that is full, its predecessor
`quarantine.v1.jsonl.old`; both together are bounded by size. One JSON object a line:

    {"crc":"89abcdef","at":1767225600.5,"from":"record","reason":"refused","status":422,"detail":"…",
     "segment":"…","id":"…","t":1767225599.25,"body":{…}}

`crc` is the CRC-32 of all that follows its comma, to the closing brace. `at` is when it was put aside, `t`
the record's own time, both UTC in seconds. `from` is "record", or "line" for a damaged line of the segment
named. The last field holds the very bytes: `body` as they are if they are JSON, else `text`, else `base64`.

Any number of processes append to it. Each, for a moment, takes an exclusive `flock` on `quarantine.v1.jsonl`
and then makes sure that the path still is the file it has locked. So nothing is written to a file that was
rotated or rewritten away, the newer file becomes the older one exactly once, and what the rotation overwrites
is counted by the process that did it. An entry is one write; one that the disk takes in part only is cut off
again. What a crash tears is ended by the next writer and skipped by readers, who need no lock: they open the
newer file first, so that a rotation shows them entries of one file twice at the most, which they notice.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...files import open_file, write_new_file
from ...flock import acquire, release
from ...text import clean
from ..sync import Clock, WakeUp
from .segment import is_body, is_count, is_record_id, is_time

QUARANTINE_BYTES = 16 * 1024 * 1024
QUARANTINE_NAME = "quarantine.v1.jsonl"
RECORD, LINE = "record", "line"
UNSCRUBBED = "before_send_failed"  # the reason of records that `before_send` has not seen to
LOCK_SECONDS = 2.0
DETAIL_LENGTH = 1000
_POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Entry:
    """One refused record or damaged line.

    Attributes:
        reason: a short stable word: refused, too_large, forbidden, before_send_failed, corrupt, …
        body: the record's body as it goes on the wire, or the damaged line; the very bytes.
        origin: `RECORD` or `LINE`.
        status: the HTTP status, or None where there was no answer.
        detail: the backend's words, at most `DETAIL_LENGTH` characters of them.
        segment: the name of the segment it was in, if it was on disk.
        id: the record's id; None for a line.
        time: the record's own time, UTC in seconds; None for a line.
        at: when it was put aside, UTC in seconds.
    """

    reason: str
    body: bytes
    origin: str = RECORD
    status: int | None = None
    detail: str = ""
    segment: str | None = None
    id: str | None = None
    time: float | None = None
    at: float = 0.0

    @property
    def sendable(self) -> bool:
        """Whether there is a record in it that could be sent."""
        return self.origin == RECORD and self.id is not None and is_body(self.body) and b"\n" not in self.body

    def readable_body(self) -> tuple[str, str]:
        """Under which name the body stands in a line, and its text: `body`, `text` or `base64`."""
        try:
            text = self.body.decode("utf-8")
        except UnicodeDecodeError:
            return "base64", base64.b64encode(self.body).decode("ascii")
        return ("body" if _is_json(self.body) else "text"), text


def format_entry(entry: Entry) -> bytes:
    """The entry as a line, with its line end."""
    head = {
        "at": round(entry.at, 6),
        "from": entry.origin,
        "reason": clean(entry.reason),
        "status": entry.status,
        "detail": clean(entry.detail, DETAIL_LENGTH),
        "segment": entry.segment,
        "id": entry.id,
        "t": entry.time if entry.time is None else round(entry.time, 6),
    }
    rest = json.dumps(head, separators=(",", ":"))[1:].encode()[:-1] + _body_field(entry) + b"}"
    return b'{"crc":"%08x",%s\n' % (zlib.crc32(rest), rest)


def parse_entry(line: bytes) -> Entry | None:
    """The entry in a line without its line end; None if the line is torn or damaged."""
    rest = line[18:]
    if line[:8] != b'{"crc":"' or line[16:18] != b'",' or b"%08x" % zlib.crc32(rest) != line[8:16]:
        return None
    head, is_body, body = rest.partition(b',"body":')  # no JSON before it can hold these bytes
    try:
        fields = json.loads(b"{" + head + b"}" if is_body else b"{" + rest)
        return _entry(fields, body[:-1] if is_body else _bytes_of(fields))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _entry(fields: dict[str, Any], body: bytes) -> Entry | None:
    """None if a field is not what it should be."""
    entry = Entry(
        reason=fields["reason"],
        body=body,
        origin=fields["from"],
        status=fields["status"],
        detail=fields["detail"],
        segment=fields["segment"],
        id=fields["id"],
        time=fields["t"],
        at=fields["at"],
    )
    return entry if _makes_sense(entry) else None


def _makes_sense(entry: Entry) -> bool:
    return (
        all(isinstance(text, str) for text in (entry.reason, entry.origin, entry.detail))
        and (entry.status is None or is_count(entry.status))
        and (entry.segment is None or isinstance(entry.segment, str))
        and (entry.id is None or is_record_id(entry.id))
        and (entry.time is None or is_time(entry.time))
        and is_time(entry.at)
    )


def _body_field(entry: Entry) -> bytes:
    name, text = entry.readable_body()
    value = entry.body if name == "body" else json.dumps(text).encode()
    return b',"%s":%s' % (name.encode(), value)


def _bytes_of(fields: dict[str, Any]) -> bytes:
    if "text" in fields:
        return str(fields["text"]).encode("utf-8")
    return base64.b64decode(fields["base64"], validate=True)


def _is_json(raw: bytes) -> bool:
    """Whether it is JSON in UTF-8, on one line."""
    try:
        json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        return False
    return b"\n" not in raw


class Quarantine:
    """The entries of one destination. Any thread of any process may use it at any time.

    Args:
        directory: the destination's; it must exist when something is added.
        clock: time.
        sync: force each entry to the disk itself.
        max_bytes: the bound for all of it. An entry larger than half of it is not taken.

    Attributes:
        evicted: how many entries this object has given up for younger ones.
    """

    def __init__(
        self, directory: Path, clock: Clock, *, sync: bool = False, max_bytes: int = QUARANTINE_BYTES
    ) -> None:
        self._newer = directory / QUARANTINE_NAME
        self._older = directory / (QUARANTINE_NAME + ".old")
        self._temporary = directory / f".{QUARANTINE_NAME}.tmp"
        self._clock = clock
        self._sync = sync
        self._file_bytes = max_bytes // 2
        self.evicted = 0

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.lstat().st_size for path in (self._older, self._newer) if path.exists())

    # -- adding -----------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> bool:
        """Keep an entry, as of now. False if it is too large to be kept.

        Raises:
            OSError: it could not be written, or another process held the lock for `LOCK_SECONDS`
                (a TimeoutError).
        """
        line = self._line(entry)
        if len(line) > self._file_bytes:
            return False
        while not self._added(line):
            pass  # each round has made room of half the bound
        return True

    def add_damage(self, segment: str, lines: Sequence[bytes]) -> int:
        """Keep damaged lines of a segment; one that is here already stays alone.

        That the segment's `.ack` names what was seen to is not enough: a crash between the two brings them
        here again.

        Returns:
            How many of them are here now; less than all when some are too large.

        Raises:
            OSError: as for `add`.
        """
        known = {entry.body for entry in self.entries() if entry.segment == segment and entry.origin == LINE}
        kept = 0
        for line in lines:
            kept += line in known or self.add(Entry("corrupt", line, LINE, segment=segment))
        return kept

    def _line(self, entry: Entry) -> bytes:
        return format_entry(replace(entry, at=self._clock.wall()))

    def _added(self, line: bytes) -> bool:
        """False if the file was full; then it has been rotated."""
        with self._locked() as fd:
            if os.fstat(fd).st_size + len(line) > self._file_bytes:
                self._rotate()
                return False
            self._append(fd, line)
            return True

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

    def _rotate(self) -> None:
        """Call with the lock held."""
        given_up = len(_parsed(_read(self._older)))
        self._newer.replace(self._older)
        self.evicted += given_up

    # -- reading ----------------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """All of them, the oldest first; what is torn or damaged is left out.

        Raises:
            OSError: a file is there and can't be read.
        """
        newer, inode = _read_with_inode(self._newer)
        older, older_inode = _read_with_inode(self._older)
        both = newer if inode == older_inode else older + newer
        return [entry for _, entry in _parsed(both)]

    # -- removing ---------------------------------------------------------------------------------------

    def take(self, chosen: Callable[[Entry], bool], keep: Callable[[list[Entry]], object]) -> list[Entry]:
        """Remove the entries that `chosen` names, after `keep` has put them elsewhere; returns them.

        All under one lock, so that nobody else takes the same ones. If `keep` raises, or the process dies
        before its end, all stay; if it dies after that, some may be in both places, none in neither.

        Raises:
            OSError: as for `add`; and what `keep` raises.
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
            self._replace(path, kept)

    def _replace(self, path: Path, content: bytes) -> None:
        self._temporary.unlink(missing_ok=True)  # of one who died here: only the lock's holder makes it
        write_new_file(self._temporary, content, sync=True)
        try:
            self._temporary.replace(path)
        except OSError:
            self._temporary.unlink(missing_ok=True)
            raise

    # -- the lock ---------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[int]:
        fd = self._lock()
        try:
            yield fd
        finally:
            release(fd)  # closing alone would leave it to a child that was forked meanwhile
            os.close(fd)

    def _lock(self) -> int:
        deadline = self._clock.monotonic() + LOCK_SECONDS
        while True:
            fd = self._try_lock()
            if fd is not None:
                return fd
            if self._clock.monotonic() >= deadline:
                raise TimeoutError(f"another process has held {self._newer} for {LOCK_SECONDS:g} s")
            self._clock.wait(WakeUp(), _POLL_SECONDS)

    def _try_lock(self) -> int | None:
        """The newer file, open, locked and still in its place; None if somebody else was faster."""
        fd = open_file(self._newer, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            acquire(fd)
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
