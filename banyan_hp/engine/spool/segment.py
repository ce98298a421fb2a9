"""One file of the spool, and which of its records are acknowledged.

A segment ``<created ms>-<process>-<number>.v1.jsonl`` holds one record a line, see `lines`. Beside it
``….ack`` lists which of them are acknowledged: need not be sent any more. Whoever holds the lease on a
segment owns both files, see `lease`. Only the process that made a segment appends to it.

The ack log is append-only, and valid at every cut. Each line is an entry, written by one `write`:

    3d2a1f00 0-99,101        the records with these numbers are acknowledged
    77b01c2e @4096           damaged bytes from this offset on are dealt with: quarantined, or counted lost

The first eight digits are the CRC-32 of what follows the space: an entry that was cut short or damaged counts
for nothing, and its records are sent again. An entry begins with an empty line, which ends what a crash or a
full disk may have cut short before it.

An entry that can't be written (a full disk) is caught up with by the next one, which then names all that is
acknowledged. So a failure costs a repetition only if this process dies before that, and once for each such
death: a segment of which all is acknowledged is deleted, for which a full disk has room.

What a crash leaves, by the step that it comes after:

    made as ``.….tmp``, leased        an empty file; deleted when it is old and nobody's
    renamed                           an empty segment; deleted by whoever adopts it
    a part of a line written          a torn line; the quarantine
    a line written                    the record; sent by whoever adopts it, also if its line end is missing
    sent                              the same: sent again, under the same id
    acknowledged (`.ack` written)     not sent again
    segment deleted                   an `.ack` without a segment; deleted when it is old
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...files import open_file, read_file
from .index import ACKNOWLEDGED, IN_MEMORY, ON_DISK_ONLY, Index, Ranges, read_index
from .layout import created_at
from .lines import Content

_LONGEST = 64 * 1024 * 1024  # bytes of an ack log that are read; entries beyond count for nothing
_RANGE = rb"\d{1,18}(?:-\d{1,18})?"
_ENTRY = re.compile(rb"^([0-9a-f]{8}) (@?)(%b(?:,%b)*)$" % (_RANGE, _RANGE), re.MULTILINE)


# -- the ack log ---------------------------------------------------------------------------------------------


class AckLog:
    """The file `….ack` of one segment. Its owner is whoever holds the segment's lease."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.behind = False  # an entry is missing
        self._fd: int | None = None

    def read(self) -> tuple[Ranges, set[int]]:
        """The ranges of acknowledged numbers, last ones included, and the offsets of damage dealt with.

        Raises:
            OSError: it can't be read, and so nothing of its segment should be sent.
        """
        acknowledged: Ranges = []
        damage: Ranges = []
        try:
            content = read_file(self.path, _LONGEST)
        except FileNotFoundError:
            return [], set()
        for crc, offsets, text in _ENTRY.findall(content):
            if crc == b"%08x" % zlib.crc32(offsets + text):
                (damage if offsets else acknowledged).extend(_parsed(text))
        return acknowledged, {first for first, _ in damage}

    def acknowledge(self, numbers: Iterable[int]) -> None:
        """Note that these records need not be sent any more.

        Raises:
            OSError: it could not be written; `behind` is set.
        """
        self._append(format_ranges(numbers))

    def damage_handled(self, offsets: Iterable[int]) -> None:
        """Note that the damage at these offsets needs no more attention.

        Raises:
            OSError: it could not be written.
        """
        self._append(b"@" + b",".join(b"%d" % offset for offset in offsets))

    def _append(self, entry: bytes) -> None:
        if entry in (b"", b"@"):
            return
        self.behind = True
        if self._fd is None:
            self._fd = open_file(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        line = format_entry(entry)
        if os.write(self._fd, line) != len(line):
            raise OSError("the disk took only a part of the acknowledgement")
        self.behind = False

    def notice_removal(self) -> bool:
        """Whether somebody has deleted the file under us: the next entry makes it anew."""
        if self._fd is None or os.fstat(self._fd).st_nlink:
            return False
        self.close()
        self.behind = True
        return True

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def format_entry(text: bytes) -> bytes:
    return b"\n%08x %s\n" % (zlib.crc32(text), text)


def format_ranges(numbers: Iterable[int]) -> bytes:
    """Numbers as the text of an entry: `0-99,101`."""
    return b",".join(b"%d" % a if a == b else b"%d-%d" % (a, b) for a, b in _ranges(numbers))


def _ranges(numbers: Iterable[int]) -> Ranges:
    """Numbers as ranges, each with its last one: acknowledged records mostly follow each other."""
    ranges: Ranges = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] + 1 >= number:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def _parsed(text: bytes) -> Ranges:
    pairs = [part.split(b"-") for part in text.split(b",")]
    return [(int(pair[0]), int(pair[-1])) for pair in pairs]


# -- the segment ---------------------------------------------------------------------------------------------


class Segment:
    """A segment, and for each of its records one of three states: `ON_DISK_ONLY`, `IN_MEMORY` too, or
    `ACKNOWLEDGED`.

    Attributes:
        own: whether this process made it; else it was adopted.
        fd: the descriptor that holds the lease; -1 without one.
        made_at: when it was made, on this process's monotonic clock; its age counts from then.
        on_disk_only: how many records are in that state.
        unacknowledged: how many records are in one of the other two.
        cursor: the offset from which on it is to be read.
        torn: a write failed half-way: nothing more is to be written to it.
        gone: somebody has deleted it under us; what is not in memory as well is lost.
        dirty: something written waits for `sync`.
        left_raw: how many records are not to be sent by us, see `leave_raw`.
        index: what `read_index` found; empty for a segment of our own.
    """

    def __init__(self, path: Path, *, own: bool, fd: int = -1, size: int = 0) -> None:
        self.path = path
        self.own = own
        self.fd = fd
        self.size = size
        self.made_at = 0.0
        self.states = bytearray()
        self.on_disk_only = 0
        self.unacknowledged = 0
        self.cursor = 0
        self.torn = False
        self.gone = False
        self.dirty = False
        self.left_raw = 0
        self.index = Index()
        self._acks = AckLog(self.ack_path)

    @property
    def created(self) -> float:
        """The wall clock when it was made, from its name, in seconds."""
        return created_at(self.path.name)

    @property
    def ack_path(self) -> Path:
        return self.path.with_name(self.path.name + ".ack")

    # -- writing ----------------------------------------------------------------------------------------

    def write(self, lines: bytes, count: int, *, sync: bool = False) -> None:
        """Append whole lines by one write; their records count as IN_MEMORY.

        Raises:
            OSError: nothing was appended; if the file could not be restored either, `torn` is set.
        """
        self.torn = True  # until the end: a signal handler may raise at any point
        try:
            if os.write(self.fd, lines) != len(lines):
                raise OSError("the disk took only a part of the record")
            if sync:
                os.fsync(self.fd)
        except OSError:
            os.ftruncate(self.fd, self.size)
            self.torn = False
            raise
        self.size += len(lines)
        self.unacknowledged += count
        self.states += bytes([IN_MEMORY]) * count
        self.dirty = not sync
        self.torn = False

    def sync(self) -> None:
        """Force what was written to the disk itself. Needs no lock, see `opened`.

        Raises:
            OSError: it could not be; it is still `dirty`.
        """
        self.dirty = False
        try:
            with self._opened() as fd:
                os.fsync(fd)
        except FileNotFoundError:
            return  # acknowledged and deleted meanwhile
        except OSError:
            self.dirty = True
            raise

    # -- reading ----------------------------------------------------------------------------------------

    @contextmanager
    def opened(self) -> Iterator[Content]:
        """The lines that it has now, readable without a lock.

        The descriptor is another one than that of the lease, so that the segment may be closed, deleted, or
        inherited by a fork meanwhile.

        Raises:
            OSError: it can't be opened; FileNotFoundError: it is deleted already.
        """
        with self._opened() as fd:
            yield Content(fd, self.size, lacks_end=self.index.lacks_end)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        fd = open_file(self.path, os.O_RDONLY)
        try:
            yield fd
        finally:
            os.close(fd)

    @property
    def content(self) -> Content:
        """Its lines, readable as long as it is not closed."""
        return Content(self.fd, self.size, lacks_end=self.index.lacks_end)

    def read_index(self) -> Index:
        """Read it all once: which records there are, and which are acknowledged.

        Raises:
            OSError: it can't be read.
        """
        acknowledged, handled = self._acks.read()
        self.index = index = read_index(self.content, acknowledged, handled)
        self.size += index.lacks_end
        self.states = index.states
        self.on_disk_only = self.unacknowledged = index.states.count(ON_DISK_ONLY)
        return index

    def damage_handled(self) -> None:
        """Note that the damage in `index` has been dealt with: whoever adopts this later passes over it.

        Raises:
            OSError: it could not be written.
        """
        self._acks.damage_handled(self.index.damaged_at)
        self._acks.acknowledge(self.index.missing)

    def leave_raw(self) -> None:
        """Don't read back what `before_send` has not seen: it stays on disk, for somebody who has one."""
        waiting = [number for number in self.index.raw if self.states[number] == ON_DISK_ONLY]
        for number in waiting:
            self.set_state(number, IN_MEMORY)
        self.left_raw = len(waiting)

    # -- states -----------------------------------------------------------------------------------------

    def set_state(self, number: int, state: int) -> None:
        before = self.states[number]
        self.states[number] = state
        self.on_disk_only += (state == ON_DISK_ONLY) - (before == ON_DISK_ONLY)
        self.unacknowledged += (state != ACKNOWLEDGED) - (before != ACKNOWLEDGED)

    def is_on_disk_only(self, number: int) -> bool:
        return number < len(self.states) and self.states[number] == ON_DISK_ONLY

    @property
    def in_hand(self) -> int:
        """How many unacknowledged records are in memory, too."""
        return self.unacknowledged - self.on_disk_only - self.left_raw

    def forget(self) -> None:
        """Nothing in here is of interest any more: it counts as acknowledged."""
        self.states = bytearray([ACKNOWLEDGED]) * len(self.states)
        self.on_disk_only = self.unacknowledged = self.left_raw = 0

    # -- acknowledging ----------------------------------------------------------------------------------

    def acknowledge(self, numbers: Iterable[int]) -> None:
        """Note these on disk. A failure costs a repetition after a crash, no more.

        Raises:
            OSError: it could not be written.
        """
        if self._acks.behind:
            done = (number for number, state in enumerate(self.states) if state == ACKNOWLEDGED)
            numbers = {*numbers, *done}
        self._acks.acknowledge(numbers)

    def catch_up(self) -> None:
        """Write the acknowledgements that could not be written before, or that somebody has deleted.

        Raises:
            OSError: it could not be written.
        """
        if self._acks.notice_removal() or self._acks.behind:
            self.acknowledge(())

    # -- the end ----------------------------------------------------------------------------------------

    def notice_removal(self) -> bool:
        """Whether somebody has deleted the file under us; then all of it counts as acknowledged.

        Raises:
            OSError: the file can't be asked.
        """
        if os.fstat(self.fd).st_nlink:
            return False
        self.gone = True
        return True

    def remove(self) -> None:
        """Delete both files, the records first: an orphaned list of numbers harms nobody.

        Raises:
            OSError: they can't be deleted.
        """
        self.path.unlink(missing_ok=True)
        self.ack_path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Give the lease up by closing, never by unlocking: a parent process may hold the same one.

        In a forked child a descriptor may be closed already, by a thread that the fork caught in this place.
        """
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)
        self._acks.close()

    def __repr__(self) -> str:
        counts = f"{self.unacknowledged} unacknowledged, {self.on_disk_only} on disk only"
        return f"<Segment {self.path.name}: {counts}, {self.size} bytes>"
