"""What is in a spool's directory, seen from outside: leases nothing, changes nothing.

Made for people's eyes. While applications run, it is true for a moment only.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .flock import is_leased
from .segment import FORMAT, Line, Segment, parse_line

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
        segment = Segment.look(path)
    except FileNotFoundError:
        return None  # sent and removed a moment ago
    try:
        return _counted(segment)
    finally:
        segment.close()


def _counted(segment: Segment) -> Seen:
    held = is_leased(segment.fileno())
    acknowledged = segment.acknowledged()
    created = newest = segment.created
    unsettled = total = damaged = end = 0
    for end, raw in segment.lines_from(0):  # noqa: B007 - where the last whole line ends
        line = parse_line(raw)
        if line is None:
            damaged += 1
            continue
        total += 1
        if line.number not in acknowledged:
            unsettled += 1
            newest = max(newest, line.time)
    damaged += end < segment.size and not held  # a live process may be in the middle of a line
    state = State.HELD if held else State.DAMAGED if damaged else State.FREE
    return Seen(segment.path, state, unsettled, total, damaged, segment.size, created, newest)


def unsettled_lines(path: Path) -> Iterator[Line]:
    """The records of a segment that are neither delivered nor given up; none if it is gone.

    Raises:
        OSError: it can't be read.
    """
    try:
        segment = Segment.look(path)
    except FileNotFoundError:
        return
    try:
        acknowledged = segment.acknowledged()
        for _, raw in segment.lines_from(0):
            line = parse_line(raw)
            if line is not None and line.number not in acknowledged:
                yield line
    finally:
        segment.close()
