"""One file of the spool: its format, its lease, and which of its records are settled.

A segment ``<created ms>-<process>-<number>.v1.jsonl`` holds one JSON object a line:

    {"crc":"89abcdef","n":0,"id":"…","t":1767225600.123456,"body":{…}}

`crc` is the CRC-32 of all that follows its comma, to the closing brace; `n` counts from 0; `t` is the UTC
time of the call in seconds; `body` holds the very bytes for the wire. Where a line has `raw` in place of
`body`, `before_send` has not seen the record: it must before the record leaves. (Versions that don't know
`raw` take the line for damaged, and send nothing of it.) Beside it ``….ack`` lists the numbers of settled
records, see `acks`. Who holds the `flock` on a segment owns it; the kernel frees it when its
owner dies. Only the process that made a segment appends to it.

What a crash leaves, by the step that it comes after:

    made as ``.….tmp``, leased        an empty file; deleted when it is old and nobody's
    renamed                           an empty segment; deleted by who adopts it
    a part of a line written          a torn line; the quarantine
    a line written                    the record; sent by who adopts it, also if its line end is missing
    sent                              the same: sent again, under the same id
    settled (`.ack` written)          not sent again
    segment deleted                   an `.ack` without a segment; deleted when it is old
"""

from __future__ import annotations

import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...files import open_file
from ...flock import forked_since, latest_fork
from .acks import AckLog, Ranges

try:
    import fcntl
except ImportError:  # Windows: no spool there
    fcntl = None  # type: ignore[assignment]

FORMAT = "v1"
SUFFIX = f".{FORMAT}.jsonl"
FREE, IN_MEMORY, SETTLED, _MISSING = 0, 1, 2, 3
_CHUNK = 1024 * 1024
_FORK_SECONDS = 0.001
_FORKS_AT_MOST = 100
_NAME = re.compile(r"(\d{13})-([0-9a-f]+)-(\d+)\.v1\.jsonl")
_HEAD = re.compile(rb'"n":(\d{1,18}),"id":"([\w.-]{1,256})","t":(\d{1,11}\.\d{6}),"(body|raw)":(?=\{)')
_CONTENT = re.compile(rb',"(body|raw)":(?=\{)')  # no JSON string before it can hold these bytes
_ID = re.compile(r"[!-~](?:[ -~]{0,254}[!-~])?")  # what travels in a header
_END_OF_TIME = 253_402_300_800.0  # the year 10000: dates end there
_ANY_JSON = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=len)  # numbers are not looked at
_PLAIN = re.compile(r"[\w.-]*", re.ASCII)
_LOCKABLE = fcntl is not None

Known = Callable[["Segment"], object]


@dataclass(frozen=True, slots=True)
class Line:
    """One record as it stands in a segment."""

    number: int
    id: str
    time: float
    body: bytes
    raw: bool = False  # `before_send` has not seen it

    @property
    def call(self) -> tuple[str, int]:
        """Which process logged it, and at which of its calls; from ids that are not ours, nothing."""
        try:
            process, number, *_time = self.id.split("-")
            return process, int(number, 16)
        except ValueError:
            return self.id, 0


@dataclass(frozen=True, slots=True)
class Straggler:
    """A record that is to be sent before others that stand before it: a thread had it in hand."""

    process: str
    call: int
    number: int
    offset: int


def format_line(number: int, record_id: str, time: float, body: bytes, *, raw: bool = False) -> bytes:
    quoted = f'"{record_id}"' if _PLAIN.fullmatch(record_id) else json.dumps(record_id)
    name = b"raw" if raw else b"body"
    rest = b'"n":%d,"id":%s,"t":%.6f,"%s":%s}' % (number, quoted.encode(), time, name, body)
    return b'{"crc":"%08x",%s\n' % (zlib.crc32(rest), rest)


def parse_line(line: bytes) -> Line | None:
    """The record in a line without its line end; None if a single bit of it is wrong, or it makes no sense.

    Of the body only the braces are looked at, see `is_body`.
    """
    rest = line[18:]
    if not _has_right_crc(line) or not rest.endswith(b"}}"):
        return None
    usual = _HEAD.match(rest)
    if usual is not None:
        body, raw = rest[usual.end() : -1], usual[4] == b"raw"
        return Line(int(usual[1]), usual[2].decode(), float(usual[3]), body, raw)
    return _parse_unusual(rest)


def _has_right_crc(line: bytes) -> bool:
    return line[:8] == b'{"crc":"' and line[16:18] == b'",' and b"%08x" % zlib.crc32(line[18:]) == line[8:16]


def _parse_unusual(rest: bytes) -> Line | None:
    """Where the id is not made of letters and digits, or somebody else has written the line."""
    content = _CONTENT.search(rest)
    if content is None:
        return None
    try:
        fields = json.loads(b"{" + rest[: content.start()] + b"}")
        number, ident, time = fields["n"], fields["id"], fields["t"]
    except (ValueError, KeyError, RecursionError):
        return None
    if not (is_count(number) and is_record_id(ident) and is_time(time)):
        return None
    return Line(number, ident, float(time), rest[content.end() : -1], content[1] == b"raw")


def is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 10**18


def is_record_id(ident: object) -> bool:
    """Whether it can be a record's id: printable ASCII that an HTTP header carries as it is."""
    return isinstance(ident, str) and _ID.fullmatch(ident) is not None


def is_time(seconds: object) -> bool:
    """Whether it is a UTC time that can be written as a date."""
    return isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds < _END_OF_TIME


def is_body(raw: bytes) -> bool:
    """Whether it is the body of a record: a JSON object in UTF-8."""
    try:
        return isinstance(_ANY_JSON.decode(raw.decode("utf-8")), dict)
    except (ValueError, RecursionError):
        return False


def _to_nobody(_segment: Segment) -> None:
    """Where nobody forks."""


class Segment:
    """A leased segment. `states` tells for each record: FREE (on disk only), IN_MEMORY too, or SETTLED.

    Attributes:
        own: whether this process made it; else it was adopted.
        made_at: when it was made, on this process's monotonic clock; what its age is reckoned from.
        torn: a write failed half-way: nothing more is to be written to it.
        gone: somebody has deleted it under us; what is not in memory as well is lost.
        left: how many records are not to be sent by us, see `leave_raw`.
        stragglers: records that were logged before others that stand before them, as `index` found.
        rejected: the offsets of lines that `index` found damaged, or senseless; they are not to be sent.
        records_damaged: how many records `index` could not read, that had not been found damaged before.
    """

    def __init__(self, path: Path, fd: int, *, own: bool, size: int) -> None:
        self.path = path
        self.own = own
        self.size = size
        self.made_at = 0.0
        self.states = bytearray()
        self.free = 0
        self.unsettled = 0
        self.cursor = 0
        self.torn = False
        self.gone = False
        self.dirty = False
        self.records_damaged = 0
        self.left = 0
        self._raw: list[int] = []
        self.stragglers: list[Straggler] = []
        self.rejected: frozenset[int] = frozenset()
        self._fd = fd
        self._lacks_end = (
            False  # of the last line only the line end is missing: it is read as if it were there
        )
        self._acks = AckLog(self.ack_path)
        self._good_until = 0  # the end of the last whole line
        self._damage: tuple[list[int], list[int]] = ([], [])

    @classmethod
    def create(cls, directory: Path, name: str, known: Known = _to_nobody) -> Segment:
        """A new one, leased before anybody can see it.

        It is handed to `known` before its file is opened, see `flock`.

        Raises:
            OSError: the directory does not take it.
        """
        temporary = directory / f".{name}.tmp"
        segment = cls(directory / name, -1, own=True, size=0)
        known(segment)
        segment._open(temporary, os.O_CREAT | os.O_EXCL)
        try:
            _lease(segment._fd)
            temporary.rename(segment.path)
        except OSError:
            segment.close()
            temporary.unlink(missing_ok=True)
            raise
        return segment

    @classmethod
    def adopt(cls, path: Path, known: Known = _to_nobody) -> Segment | None:
        """Lease a segment whose owner is gone; None if it has an owner or is no longer there.

        It is handed to `known` before its file is opened, see `flock`.

        Raises:
            OSError: it can't be opened, or is not ours.
        """
        segment = cls(path, -1, own=False, size=0)
        known(segment)
        try:
            segment._open(path, 0)
            _lease(segment._fd)
            segment._make_sure_of_it()
        except (BlockingIOError, FileNotFoundError):
            segment.close()
            return None
        except BaseException:
            segment.close()
            raise
        return segment

    def _open(self, path: Path, flags: int) -> None:
        """Open the file, with a descriptor that no fork has copied before it was known here."""
        flags |= os.O_RDWR | os.O_APPEND
        for _ in range(_FORKS_AT_MOST):
            latest = latest_fork()
            self._fd = open_file(path, flags)
            if not forked_since(latest):
                return
            self.close()
            flags &= ~(os.O_CREAT | os.O_EXCL)
            time.sleep(_FORK_SECONDS)
        raise OSError("this process forks all the time: a child would share the lease")

    def _make_sure_of_it(self) -> None:
        """That the file still has its name. Its owner may have written until it let go."""
        status, named = os.fstat(self._fd), self.path.lstat()
        if (named.st_dev, named.st_ino) != (status.st_dev, status.st_ino):
            raise FileNotFoundError
        self.size = status.st_size

    @property
    def created(self) -> float:
        """The wall clock when it was made, from its name, in seconds."""
        return created_at(self.path.name)

    def write(self, lines: bytes, count: int, *, sync: bool = False) -> None:
        """Append whole lines by one write; their records count as IN_MEMORY.

        Raises:
            OSError: nothing was appended; if the file could not be restored either, `torn` is set.
        """
        self.torn = True  # until the end: a signal handler may raise at any point
        try:
            if os.write(self._fd, lines) != len(lines):
                raise OSError("the disk took only a part of the record")
            if sync:
                os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self.size)
            self.torn = False
            raise
        self.size += len(lines)
        self.unsettled += count
        self.states += bytes([IN_MEMORY]) * count
        self.dirty = not sync
        self.torn = False

    def notice_removal(self) -> bool:
        """Whether somebody has deleted the file under us; then all of it counts as settled.

        Raises:
            OSError: the file can't be asked.
        """
        if os.fstat(self._fd).st_nlink:
            return False
        self.gone = True
        return True

    def sync(self) -> None:
        """Force what was written to the disk itself. Needs no lock: it takes a descriptor of its own,
        without the lease, so that it may be closed, or inherited by a fork, at any time.

        Raises:
            OSError: it could not be; it is still `dirty`.
        """
        self.dirty = False
        try:
            fd = open_file(self.path, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except FileNotFoundError:
            return  # settled and deleted meanwhile
        except OSError:
            self.dirty = True
            raise

    def whole_lines(self, offset: int, about: int) -> bytes:
        """Complete lines from `offset` on, about so many bytes, at least one line; empty at the end.

        Raises:
            OSError: it can't be read.
        """
        found = b""
        while offset + len(found) < self.size:
            chunk = self._read_at(offset + len(found), min(about, self.size - offset - len(found)))
            if not chunk:
                break
            end = chunk.rfind(b"\n") + 1
            if end:
                return found + chunk[:end]
            found += chunk
        return b""

    def lines_from(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Complete lines from `offset` on, each with the offset behind it. A torn end is left out."""
        pending = b""
        position = offset
        while position < self.size:
            chunk = self._read_at(position, min(_CHUNK, self.size - position))
            if not chunk:
                return
            position += len(chunk)
            start = position - len(chunk) - len(pending)
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                start += len(line) + 1
                yield start, line

    def _read_at(self, offset: int, count: int) -> bytes:
        chunk = os.pread(self._fd, count, offset)
        at_the_end = self._lacks_end and offset + len(chunk) == self.size - 1
        return chunk + b"\n" if at_the_end else chunk

    def index(self) -> list[bytes]:
        """Read it all once: which records there are, which are settled.

        Returns:
            The damaged lines that have not been put aside before.

        Raises:
            OSError: it can't be read.
        """
        settled, put_aside = self._acks.read()
        found = self._read_all()
        self.rejected = frozenset(offset for offset, _ in found)
        damaged = [(offset, raw) for offset, raw in found if offset not in put_aside]
        beyond = self._apply(settled)
        missing = [number for number, state in enumerate(self.states) if state == _MISSING]
        for number in missing:
            self.states[number] = SETTLED
        self.free = self.unsettled = self.states.count(FREE)
        self._damage = ([offset for offset, _ in damaged], missing)
        at_the_end = sum(offset >= self._good_until for offset, _ in damaged)
        senseless = sum(_has_right_crc(raw) for _, raw in damaged)  # a record each, perhaps without a number
        self.records_damaged = max(len(missing) + max(0, at_the_end - beyond), senseless)
        return [raw for _, raw in damaged]

    def _read_all(self) -> list[tuple[int, bytes]]:
        """Find out which numbers there are; returns what is damaged, with its offset."""
        damaged = []
        end = self._good_until = 0
        self.states = bytearray()
        self.stragglers = []
        self._raw = []
        highest: dict[str, int] = {}
        for end, raw in self.lines_from(0):
            if not self._know(raw, end, highest):
                damaged.append((end - len(raw) - 1, raw))
        if end < self.size:
            torn = self._read_at(end, self.size - end)
            if self._know(torn, self.size + 1, highest):
                self.size += 1
                self._lacks_end = True
            else:
                damaged.append((end, torn))
        return damaged

    def _know(self, raw: bytes, end: int, highest: dict[str, int]) -> bool:
        """Take note of the record in a line that ends there; False if there is none that can be sent."""
        line = parse_line(raw)
        if line is None or line.number > self.size or self._is_known(line.number) or not is_body(line.body):
            return False
        if line.number >= len(self.states):
            self.states += bytes([_MISSING]) * (line.number + 1 - len(self.states))
        self.states[line.number] = FREE
        if line.raw:
            self._raw.append(line.number)
        self._good_until = end
        process, call = line.call
        if call < highest.get(process, -1):
            self.stragglers.append(Straggler(process, call, line.number, end - len(raw) - 1))
        highest[process] = max(call, highest.get(process, -1))
        return True

    def _is_known(self, number: int) -> bool:
        return number < len(self.states) and self.states[number] == FREE

    def _apply(self, settled: Ranges) -> int:
        """Mark what is settled; returns how many of the settled ones are beyond the last whole line."""
        known = len(self.states)
        beyond = 0
        for first, last in settled:
            end = min(last + 1, known)
            if first < end:
                self.states[first:end] = bytes([SETTLED]) * (end - first)
            beyond += last + 1 - max(first, end)
        return beyond

    def put_damage_aside(self) -> None:
        """Note that what `index` found damaged has been dealt with: who adopts this later passes over it.

        Raises:
            OSError: it could not be written.
        """
        offsets, missing = self._damage
        self._acks.put_aside(offsets)
        self._acks.settled(missing)

    def leave_raw(self) -> None:
        """Don't read back what `before_send` has not seen: it stays on disk, for somebody who has one."""
        waiting = [number for number in self._raw if self.states[number] == FREE]
        for number in waiting:
            self.set_state(number, IN_MEMORY)
        self.left = len(waiting)

    def set_state(self, number: int, state: int) -> None:
        before = self.states[number]
        self.states[number] = state
        self.free += (state == FREE) - (before == FREE)
        self.unsettled += (state != SETTLED) - (before != SETTLED)

    @property
    def in_hand(self) -> int:
        """How many unsettled records are in memory, too."""
        return self.unsettled - self.free - self.left

    def forget(self) -> None:
        """Nothing in here is of interest any more: it counts as settled."""
        self.states = bytearray([SETTLED]) * len(self.states)
        self.free = self.unsettled = self.left = 0

    def acknowledge(self, numbers: Iterable[int]) -> None:
        """Note on disk that these are settled. A failure costs a repetition after a crash, no more.

        Raises:
            OSError: it could not be written.
        """
        if self._acks.behind:
            settled = (number for number, state in enumerate(self.states) if state == SETTLED)
            numbers = {*numbers, *settled}
        self._acks.settled(numbers)

    def catch_up(self) -> None:
        """Write the acknowledgements that could not be written before, or that somebody has deleted.

        Raises:
            OSError: it could not be written.
        """
        if self._acks.notice_removal() or self._acks.behind:
            self.acknowledge(())

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
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)
        self._acks.close()

    def __repr__(self) -> str:
        return f"<Segment {self.path.name}: {self.unsettled} unsettled, {self.free} free, {self.size} bytes>"


def _lease(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lockable() -> bool:
    """Whether this system has the locks that a spool needs."""
    return _LOCKABLE


def is_segment(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def created_at(name: str) -> float:
    match = _NAME.fullmatch(name)
    return int(match[1]) / 1000 if match else 0.0


def segment_name(created: float, process: str, number: int) -> str:
    return f"{round(created * 1000):013d}-{process}-{number:04d}{SUFFIX}"
