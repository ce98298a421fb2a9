"""What is in a spool's directory, seen from outside: changes nothing.

Made for people's eyes. While applications run, it is true for a moment only. Whether a segment has an owner
is asked by trying its lock for an instant; a process that wants to take it over in that very instant gets it
at its next look.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...files import open_file
from ...flock import is_leased
from .segment import FORMAT, SETTLED, Line, Segment, parse_line

_ANY_FORMAT = re.compile(r"^\d{13}-[0-9a-f]+-\d+\.(v\d+)\.jsonl$")


class State(enum.Enum):
    """What can be done with a segment."""

    HELD = "held"  # a live process owns it, and sends what is in it
    FREE = "free"  # its owner is gone: any process of the destination may take it over
    DAMAGED = "damaged"  # free, and some of its lines can't be read
    UNKNOWN = "unknown format"  # made by another version of this library: left alone


@dataclass(frozen=True, slots=True)
class Seen:
    """One segment.

    Attributes:
        unsettled: records that are neither delivered nor given up.
        total: records that were written to it, as far as they can be read.
        damaged: lines that can't be read.
        raw: unsettled records that `before_send` has not seen.
        size: bytes, acknowledgements not counted.
        created: the wall clock when it was begun, in seconds.
        newest: the time of the newest unsettled record; `created` if there is none.
    """

    path: Path
    state: State
    unsettled: int
    total: int
    damaged: int
    size: int
    created: float
    newest: float
    raw: int = 0


def destinations(base: Path) -> list[Path]:
    """The directories below a spool's base directory.

    Raises:
        OSError: it is there and can't be listed.
    """
    try:
        found = sorted((base / "spool").iterdir())
    except FileNotFoundError:
        return []
    return [path for path in found if path.is_dir() and not path.is_symlink()]


def segments(directory: Path) -> list[Seen]:
    """All segments of a destination, the oldest first.

    Raises:
        OSError: the directory or a segment can't be read.
    """
    found = (_seen(path) for path in sorted(directory.iterdir()))
    return [seen for seen in found if seen is not None]


def _seen(path: Path) -> Seen | None:
    match = _ANY_FORMAT.match(path.name)
    if match is None or path.is_symlink():
        return None
    if match[1] != FORMAT:
        created = int(path.name[:13]) / 1000
        return Seen(path, State.UNKNOWN, 0, 0, 0, path.stat().st_size, created, created)
    try:
        segment = look(path)
    except FileNotFoundError:
        return None  # sent and removed a moment ago
    try:
        return _counted(segment, held=is_leased(path))
    finally:
        segment.close()


def look(path: Path) -> Segment:
    """Open a segment without its lease, whoever owns it.

    Raises:
        OSError: it can't be opened.
    """
    fd = open_file(path, os.O_RDONLY)
    return Segment(path, fd, own=False, size=os.fstat(fd).st_size)


def _counted(segment: Segment, *, held: bool) -> Seen:
    torn = segment.index()
    damaged = 0 if held else len(torn)  # a live process may be in the middle of a line
    unsettled = total = unseen = 0
    newest = segment.created
    for line in _lines(segment):
        total += 1
        if segment.states[line.number] != SETTLED:
            unsettled += 1
            unseen += line.raw
            newest = max(newest, line.time)
    state = State.HELD if held else State.DAMAGED if damaged else State.FREE
    return Seen(segment.path, state, unsettled, total, damaged, segment.size, segment.created, newest, unseen)


def _lines(segment: Segment) -> Iterator[Line]:
    """The records that can be read, once the segment is indexed."""
    for end, raw in segment.lines_from(0):
        line = parse_line(raw)
        if line is not None and end - len(raw) - 1 not in segment.rejected:
            yield line


def unsettled_lines(path: Path) -> Iterator[Line]:
    """The records of a segment that are neither delivered nor given up; none if it is gone.

    Raises:
        OSError: it can't be read.
    """
    try:
        segment = look(path)
    except FileNotFoundError:
        return
    try:
        segment.index()
        for line in _lines(segment):
            if segment.states[line.number] != SETTLED:
                yield line
    finally:
        segment.close()
