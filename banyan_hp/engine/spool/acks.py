"""What of a segment is settled: an append-only file beside it, valid at every cut.

Each line is an entry, written by one `write` after its records were settled:

    3d2a1f00 0-99,101        the records with these numbers are settled
    77b01c2e @4096           the damaged bytes from this offset on are seen to: quarantined, or counted lost

The first eight digits are the CRC-32 of what follows the space: an entry that was cut short or damaged counts
for nothing, and its records are sent again. An entry begins with an empty line, which ends what a crash or a
full disk may have cut short before it.

An entry that can't be written (a full disk) is caught up with by the next one, which then names all that is
settled. So a failure costs a repetition only if this process dies before that, and once for each such death:
a segment of which all is settled is deleted, for which a full disk has room.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable
from pathlib import Path

from ...files import open_file, read_file

Ranges = list[tuple[int, int]]

_LONGEST = 64 * 1024 * 1024  # bytes that are read; entries beyond count for nothing
_RANGE = rb"\d{1,18}(?:-\d{1,18})?"
_ENTRY = re.compile(rb"^([0-9a-f]{8}) (@?)(%b(?:,%b)*)$" % (_RANGE, _RANGE), re.MULTILINE)


class AckLog:
    """The file `….ack` of one segment. Its owner is whoever holds the segment's lease."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.behind = False  # an entry is missing
        self._fd: int | None = None

    def read(self) -> tuple[Ranges, set[int]]:
        """The ranges of settled numbers, last ones included, and the offsets of damage put aside.

        Raises:
            OSError: it can't be read, and so nothing of its segment should be sent.
        """
        settled: Ranges = []
        damage: Ranges = []
        try:
            content = read_file(self.path, _LONGEST)
        except FileNotFoundError:
            return [], set()
        for crc, offsets, text in _ENTRY.findall(content):
            if crc == b"%08x" % zlib.crc32(offsets + text):
                (damage if offsets else settled).extend(_parsed(text))
        return settled, {first for first, _ in damage}

    def settled(self, numbers: Iterable[int]) -> None:
        """Note that these are settled.

        Raises:
            OSError: it could not be written; `behind` is set.
        """
        self._append(format_ranges(numbers))

    def put_aside(self, offsets: Iterable[int]) -> None:
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
    """Numbers as ranges, each with its last one: settled records mostly follow each other."""
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
