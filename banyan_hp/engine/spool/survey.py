"""What is in a spool's directory, seen from outside: changes nothing. All functions raise `OSError`.

Made for people's eyes. While applications run, it is true for a moment only. Whether a segment has an owner
is asked by trying its lock for an instant; a process that wants to take it over in that very instant gets it
at its next look.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from ...files import is_locked, open_file
from .index import ACKNOWLEDGED
from .layout import FORMAT
from .lines import Line, parse_line
from .segment import Segment

_ANY_FORMAT = re.compile(r"^\d{13}-[0-9a-f]+-\d+\.(v\d+)\.jsonl$")


class State(enum.Enum):
    """What can be done with a segment."""

    HELD = "held"  # a live process owns it, and sends what is in it
    ABANDONED = "free"  # nobody holds it: any process of the destination may take it over
    DAMAGED = "damaged"  # the same, and some of its lines can't be read
    UNKNOWN = "unknown format"  # made by another version of this library: left alone


class Seen(NamedTuple):
    """One segment."""

    path: Path
    state: State
    unacknowledged: int  # records that are not acknowledged
    total: int  # records that were written to it, as far as they can be read
    damaged: int  # lines that can't be read
    size: int  # bytes, acknowledgements not counted
    created: float  # the wall clock when it was begun, in seconds
    newest: float  # the time of the newest unacknowledged record; `created` if there is none
    raw: int = 0  # unacknowledged records that `before_send` has not seen


def destinations(base: Path) -> list[Path]:
    """The directories below a spool's base directory."""
    try:
        found = sorted((base / "spool").iterdir())
    except FileNotFoundError:
        return []
    return [path for path in found if path.is_dir() and not path.is_symlink()]


def segments(directory: Path) -> list[Seen]:
    """All segments of a destination, the oldest first."""
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
    with closing(segment):
        return _counted(segment, held=is_locked(path))


def look(path: Path) -> Segment:
    """Open a segment without its lease, whoever owns it."""
    fd = open_file(path, os.O_RDONLY)
    return Segment(path, own=False, fd=fd, size=os.fstat(fd).st_size)


def _counted(segment: Segment, *, held: bool) -> Seen:
    index = segment.read_index()
    damaged = 0 if held else len(index.damaged)  # a live process may be in the middle of a line
    lines = list(_lines(segment))
    waiting = [line for line in lines if segment.states[line.number] != ACKNOWLEDGED]
    return Seen(
        segment.path,
        State.HELD if held else State.DAMAGED if damaged else State.ABANDONED,
        unacknowledged=len(waiting),
        total=len(lines),
        damaged=damaged,
        size=segment.size,
        created=segment.created,
        newest=max([segment.created, *(line.time for line in waiting)]),
        raw=sum(line.raw for line in waiting),
    )


def _lines(segment: Segment) -> Iterator[Line]:
    """The records that can be read, once the segment is indexed."""
    for end, raw in segment.content.lines():
        line = parse_line(raw)
        if line is not None and end - len(raw) - 1 not in segment.index.rejected:
            yield line


def unacknowledged_lines(path: Path) -> Iterator[Line]:
    """The records of a segment that are still to be sent; none if it is gone."""
    try:
        segment = look(path)
    except FileNotFoundError:
        return
    with closing(segment):
        segment.read_index()
        yield from (line for line in _lines(segment) if segment.states[line.number] != ACKNOWLEDGED)
