"""Quarantined records, back into the on-disk queue: what somebody has asked to be sent once more."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ...files import sync_directory
from ..sync import Clock
from .quarantine import Entry, Quarantine
from .segment import Segment, format_line, segment_name


def requeue(
    directory: Path,
    chosen: Callable[[Entry], bool],
    clock: Clock,
    raw: Callable[[Entry], bool] = lambda _entry: False,
) -> list[Entry]:
    """Put the chosen records into a new segment, then take them out of the quarantine. Returns them.

    Those that `raw` names leave only when a `before_send` has seen them.

    The segment is on the disk itself before the quarantine is touched: a crash between the two leaves
    records in both places and none in neither. They keep their ids, so a backend that knows ids stores a
    record that is sent twice once. Any process of the destination takes the segment over, at its next look.

    Raises:
        OSError: it could not be written; then nothing has changed.
    """
    return Quarantine(directory, clock).take(
        lambda entry: entry.sendable and chosen(entry),
        lambda entries: _write(directory, entries, clock, raw),
    )


def _write(directory: Path, entries: list[Entry], clock: Clock, raw: Callable[[Entry], bool]) -> None:
    segment = Segment.create(directory, segment_name(clock.wall(), os.urandom(8).hex(), 0))
    try:
        lines = (
            format_line(number, entry.id or "", _time_of(entry), entry.body, raw=raw(entry))
            for number, entry in enumerate(entries)
        )
        segment.write(b"".join(lines), len(entries), sync=True)
        sync_directory(directory)
    except OSError:
        segment.remove()
        raise
    segment.close()


def _time_of(entry: Entry) -> float:
    return entry.at if entry.time is None else entry.time
