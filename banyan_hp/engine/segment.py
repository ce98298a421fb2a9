"""One file of the spool: its format, its lease, and which of its records are settled.

A segment ``<created ms>-<process>-<number>.v1.jsonl`` holds one JSON object a line:

    {"crc":"89abcdef","n":0,"id":"…","t":1767225600.123456,"body":{…}}

`crc` is the CRC-32 of all that follows its comma, to the closing brace; `n` counts from 0; `t` is the UTC
time of the call in seconds; `body` holds the very bytes for the wire. Beside it ``….ack`` lists the numbers
of settled records, each as ``17;`` on a line; an entry cut short has no semicolon and counts for nothing.

Who holds the `flock` on a segment owns it; the kernel frees it when its owner dies.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no spool there
    fcntl = None  # type: ignore[assignment]

FORMAT = "v1"
SUFFIX = f".{FORMAT}.jsonl"
FREE, IN_MEMORY, SETTLED = 0, 1, 2
_CHUNK = 1024 * 1024
_NAME = re.compile(r"^(\d{13})-([0-9a-f]+)-(\d+)\.v1\.jsonl$")
_ACK = re.compile(rb"^(\d+);$", re.MULTILINE)
_LOCKABLE = fcntl is not None


@dataclass(frozen=True, slots=True)
class Line:
    """One record as it stands in a segment."""

    number: int
    id: str
    time: float
    body: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands on disk."""

    segment: Segment
    number: int


def format_line(number: int, record_id: str, time: float, body: bytes) -> bytes:
    rest = b'"n":%d,"id":%s,"t":%.6f,"body":%s}' % (number, json.dumps(record_id).encode(), time, body)
    return b'{"crc":"%08x",%s\n' % (zlib.crc32(rest), rest)


def parse_line(line: bytes) -> Line | None:
    """The record in a line without its line end; None if a single bit of it is wrong."""
    rest = line[18:]
    if line[:8] != b'{"crc":"' or line[16:18] != b'",' or b"%08x" % zlib.crc32(rest) != line[8:16]:
        return None
    head, _, body = rest.partition(b',"body":')
    try:
        fields = json.loads(b"{" + head + b"}")
        return Line(int(fields["n"]), str(fields["id"]), float(fields["t"]), body[:-1])
    except (ValueError, KeyError, TypeError):
        return None


class Segment:
    """A leased segment. `states` tells for each record: FREE (on disk only), IN_MEMORY too, or SETTLED."""

    def __init__(self, path: Path, fd: int, *, own: bool, size: int) -> None:
        self.path = path
        self.own = own
        self.size = size
        self.states = bytearray()
        self.free = 0
        self.unsettled = 0
        self.cursor = 0
        self.released = 0  # how often a record came back from memory
        self.torn = False
        self.dirty = False
        self._fd = fd
        self._ack_fd: int | None = None

    @classmethod
    def create(cls, directory: Path, name: str) -> Segment:
        """A new one, leased before anybody can see it.

        Raises:
            OSError: the directory does not take it.
        """
        temporary = directory / f".{name}.tmp"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(temporary, flags, 0o600)
        try:
            _lease(fd)
            path = directory / name
            temporary.rename(path)
        except OSError:
            os.close(fd)
            temporary.unlink(missing_ok=True)
            raise
        return cls(path, fd, own=True, size=0)

    @classmethod
    def adopt(cls, path: Path) -> Segment | None:
        """Lease a segment whose owner is gone; None if it has an owner or is no longer there.

        Raises:
            OSError: it can't be opened.
        """
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            _lease(fd)
            status = os.fstat(fd)  # only now: its owner may have written until it let go
            if path.lstat().st_ino != status.st_ino or status.st_uid != os.geteuid():
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError):
            os.close(fd)
            return None
        except OSError:
            os.close(fd)
            raise
        return cls(path, fd, own=False, size=status.st_size)

    @property
    def created(self) -> float:
        """The wall clock when it was made, from its name, in seconds."""
        return created_at(self.path.name)

    def write(self, lines: bytes, count: int, *, sync: bool = False) -> None:
        """Append whole lines by one write; their records count as IN_MEMORY.

        Raises:
            OSError: nothing was appended; if the file could not be restored either, `torn` is set.
        """
        length, states = len(lines), bytes([IN_MEMORY]) * count
        try:
            if os.write(self._fd, lines) != length:
                raise OSError("the disk took only a part of the record")
            if sync:
                os.fsync(self._fd)
        except BaseException:  # Ctrl-C, too, arrives behind the write or not at all: nothing below calls
            self._restore()
            raise
        self.size += length
        self.unsettled += count
        self.states += states
        self.dirty = not sync

    def _restore(self) -> None:
        try:
            os.ftruncate(self._fd, self.size)
        except OSError:
            self.torn = True
            raise

    def sync(self) -> None:
        self.dirty = False
        os.fsync(self._fd)

    def lines_from(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Complete lines from `offset` on, each with the offset behind it. A torn end is left out."""
        pending = b""
        position = offset
        while position < self.size:
            chunk = os.pread(self._fd, min(_CHUNK, self.size - position), position)
            if not chunk:
                return
            position += len(chunk)
            start = position - len(chunk) - len(pending)
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                start += len(line) + 1
                yield start, line

    def index(self) -> list[bytes]:
        """Read it all once: which records there are, which are settled. Returns damaged lines."""
        acknowledged = self._acknowledged()
        damaged = []
        end = 0
        for end, raw in self.lines_from(0):  # noqa: B007 - where the last whole line ends
            line = parse_line(raw)
            if line is None:
                damaged.append(raw)
            elif line.number not in acknowledged:
                self._know(line.number)
        if end < self.size:
            damaged.append(os.pread(self._fd, _CHUNK, end))
        return damaged

    def _know(self, number: int) -> None:
        if number >= len(self.states):
            self.states += bytes([SETTLED]) * (number + 1 - len(self.states))
        if self.states[number] == SETTLED:
            self.states[number] = FREE
            self.free += 1
            self.unsettled += 1

    def _acknowledged(self) -> set[int]:
        try:
            content = self.ack_path.read_bytes()
        except FileNotFoundError:
            return set()
        return set(map(int, _ACK.findall(content)))

    def set_state(self, number: int, state: int) -> None:
        before = self.states[number]
        self.states[number] = state
        self.free += (state == FREE) - (before == FREE)
        self.unsettled += (state != SETTLED) - (before != SETTLED)

    def forget(self) -> None:
        """Nothing in here is of interest any more: it counts as settled."""
        self.states = bytearray([SETTLED]) * len(self.states)
        self.free = self.unsettled = 0

    def acknowledge(self, numbers: Iterable[int]) -> None:
        """Note on disk that these are settled. A failure costs a repetition after a crash, no more.

        Raises:
            OSError: it could not be written.
        """
        if self._ack_fd is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._ack_fd = os.open(self.ack_path, flags, 0o600)
        entries = b"\n" + b"".join(b"%d;\n" % number for number in numbers)  # ends what was cut short
        if os.write(self._ack_fd, entries) != len(entries):
            raise OSError("the disk took only a part of the acknowledgement")

    @property
    def ack_path(self) -> Path:
        return self.path.with_name(self.path.name + ".ack")

    def remove(self) -> None:
        """Delete both files, the records first: an orphaned list of numbers harms nobody.

        Raises:
            OSError: they can't be deleted.
        """
        self.path.unlink(missing_ok=True)
        self.ack_path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the lease by closing, never by unlocking: a parent process may hold the same one.

        In a forked child a descriptor may be closed already, by a thread that the fork caught in this place.
        """
        for fd in (self._fd, self._ack_fd):
            if fd is not None and fd >= 0:
                with suppress(OSError):
                    os.close(fd)
        self._fd, self._ack_fd = -1, None

    def __repr__(self) -> str:
        return f"<Segment {self.path.name}: {self.unsettled} unsettled, {self.free} free, {self.size} bytes>"


def _lease(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lockable() -> bool:
    """Whether this system has the locks that a spool needs."""
    return _LOCKABLE


def is_segment(name: str) -> bool:
    return _NAME.match(name) is not None


def created_at(name: str) -> float:
    match = _NAME.match(name)
    return int(match[1]) / 1000 if match else 0.0


def segment_name(created: float, process: str, number: int) -> str:
    return f"{int(created * 1000):013d}-{process}-{number:04d}{SUFFIX}"
