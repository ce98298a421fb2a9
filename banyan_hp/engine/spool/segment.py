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
acknowledged. So a failure costs a repetition only if this process dies before that.

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
from .index import ACKNOWLEDGED, IN_MEMORY, ON_DISK_ONLY, SET_ASIDE, Index, Ranges, read_index
from .layout import created_at
from .lines import Content

_ON_DISK = (ON_DISK_ONLY, SET_ASIDE)
_LONGEST = 64 * 1024 * 1024  # bytes of an ack log that are read; entries beyond count for nothing
_RANGE = rb"\d{1,18}(?:-\d{1,18})?"
_ENTRY = re.compile(rb"^([0-9a-f]{8}) (@?)(%b(?:,%b)*)$" % (_RANGE, _RANGE), re.MULTILINE)


class AckLog:
    """The file `….ack` of one segment. All methods raise `OSError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.behind = False  # an entry is missing
        self._fd = -1

    def read(self) -> tuple[Ranges, set[int]]:
        """The ranges of acknowledged numbers, last ones included, and the offsets of damage dealt with."""
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

    def append(self, entry: bytes) -> None:
        self.behind = True
        if self._fd < 0:
            self._fd = open_file(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        line = format_entry(entry)
        if os.write(self._fd, line) != len(line):
            raise OSError("the disk took only a part of the acknowledgement")
        self.behind = False

    def notice_removal(self) -> None:
        """If somebody has deleted the file under us, the next entry makes it anew."""
        if self._fd >= 0 and not os.fstat(self._fd).st_nlink:
            self.close()
            self.behind = True

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def format_entry(text: bytes) -> bytes:
    return b"\n%08x %s\n" % (zlib.crc32(text), text)


def format_ranges(numbers: Iterable[int]) -> bytes:
    """Numbers as the text of an entry, `0-99,101`: acknowledged records mostly follow each other."""
    ranges: Ranges = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] + 1 >= number:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return b",".join(b"%d" % a if a == b else b"%d-%d" % (a, b) for a, b in ranges)


def _parsed(text: bytes) -> Ranges:
    pairs = [part.split(b"-") for part in text.split(b",")]
    return [(int(pair[0]), int(pair[-1])) for pair in pairs]


class Segment:
    """A segment, and for each of its records a state: `ON_DISK_ONLY`, `IN_MEMORY` too, `ACKNOWLEDGED`, or
    `SET_ASIDE`, which is on disk only and not to be read for now. What touches the files raises `OSError`.
    """

    def __init__(self, path: Path, *, own: bool, fd: int = -1, size: int = 0) -> None:
        self.path = path
        self.own = own  # this process made it; else it was adopted
        self.fd = fd  # holds the lease; -1 without one
        self.size = size
        self.made_at = 0.0  # on this process's monotonic clock; its age counts from then
        self.states = bytearray()
        self.on_disk_only = 0  # how many records are in that state, or set aside
        self.set_aside = 0  # how many of these are
        self.unacknowledged = 0  # how many are not acknowledged
        self.left_raw = 0  # how many are not to be sent by us, see `leave_raw`
        self.lost: list[int] = []  # the numbers of those that were lost after they had left memory
        self.cursor = 0  # the offset from which on it is to be read
        self.torn = False  # a write failed half-way: nothing more is to be written to it
        self.gone = False  # somebody has deleted it under us: what is not in memory as well is lost
        self.dirty = False  # something written waits for `sync`
        self.index = Index()  # what `read_index` found; empty for a segment of our own
        self.ack_path = path.with_name(path.name + ".ack")
        self._acks = AckLog(self.ack_path)

    @property
    def created(self) -> float:
        """The wall clock when it was made, from its name, in seconds."""
        return created_at(self.path.name)

    # -- writing ----------------------------------------------------------------------------------------

    def write(self, lines: bytes, count: int, *, sync: bool = False) -> None:
        """Append whole lines by one write; their records count as IN_MEMORY.

        Where it fails, nothing is appended; if the file can't be restored either, it is `torn`.
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
        """Force what was written to the disk itself; a failure leaves it `dirty`. Needs no lock."""
        self.dirty = False
        try:
            with self.opened() as content:
                os.fsync(content.fd)
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
        """
        fd = open_file(self.path, os.O_RDONLY)
        try:
            yield Content(fd, self.size, lacks_end=self.index.lacks_end)
        finally:
            os.close(fd)

    @property
    def content(self) -> Content:
        """Its lines, readable as long as it is not closed."""
        return Content(self.fd, self.size, lacks_end=self.index.lacks_end)

    def read_index(self) -> Index:
        """Read it all once: which records there are, and which are acknowledged."""
        acknowledged, handled = self._acks.read()
        self.index = index = read_index(self.content, acknowledged, handled)
        self.size += index.lacks_end
        self.states = index.states
        self.on_disk_only = self.unacknowledged = index.states.count(ON_DISK_ONLY)
        return index

    def damage_handled(self) -> None:
        """Note that the damage in `index` has been dealt with: whoever adopts this later passes over it."""
        if self.index.damaged_at:
            self._acks.append(b"@" + b",".join(b"%d" % offset for offset in self.index.damaged_at))
        self.acknowledge(self.index.missing)

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
        self.on_disk_only += (state in _ON_DISK) - (before in _ON_DISK)
        self.set_aside += (state == SET_ASIDE) - (before == SET_ASIDE)
        self.unacknowledged += (state != ACKNOWLEDGED) - (before != ACKNOWLEDGED)

    def bring_back(self, most: int | None) -> int:
        """Have this many of those that are set aside read again. Returns how many there were."""
        if not self.set_aside:
            return 0
        numbers = [number for number, state in enumerate(self.states) if state == SET_ASIDE][:most]
        for number in numbers:
            self.set_state(number, ON_DISK_ONLY)
        self.cursor = 0 if numbers else self.cursor
        return len(numbers)

    def is_on_disk_only(self, number: int) -> bool:
        """Whether it is to be read."""
        return number < len(self.states) and self.states[number] == ON_DISK_ONLY

    @property
    def readable(self) -> int:
        """How many are on disk only, and not set aside."""
        return self.on_disk_only - self.set_aside

    @property
    def is_left_alone(self) -> bool:
        """Whether nothing in it is to be sent by us now."""
        return self.unacknowledged <= self.left_raw + self.set_aside

    @property
    def in_hand(self) -> int:
        """How many unacknowledged records are in memory, too."""
        return self.unacknowledged - self.on_disk_only - self.left_raw

    def forget(self) -> None:
        """It was deleted: what was on disk only is lost, and nothing in here is of interest any more."""
        self.lost += [number for number, state in enumerate(self.states) if state in _ON_DISK]
        self.states = bytearray([ACKNOWLEDGED]) * len(self.states)
        self.on_disk_only = self.set_aside = self.unacknowledged = self.left_raw = 0

    def acknowledge(self, numbers: Iterable[int]) -> None:
        """Note these on disk. A failure costs a repetition after a crash, no more."""
        if self._acks.behind:
            done = (number for number, state in enumerate(self.states) if state == ACKNOWLEDGED)
            numbers = {*numbers, *done}
        text = format_ranges(numbers)
        if text:
            self._acks.append(text)

    def catch_up(self) -> None:
        """Write the acknowledgements that could not be written before, or that somebody has deleted."""
        self._acks.notice_removal()
        if self._acks.behind:
            self.acknowledge(())

    # -- the end ----------------------------------------------------------------------------------------

    def notice_removal(self) -> bool:
        self.gone = self.gone or not os.fstat(self.fd).st_nlink
        return self.gone

    def remove(self) -> None:
        """Delete both files, the records first: an orphaned list of numbers harms nobody."""
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
