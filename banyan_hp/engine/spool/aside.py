"""What a spool puts aside: refused records, and lines found damaged, into the destination's quarantine.

Needs no lock: the quarantine has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from ..records.encode import JSONValue, encode_somehow
from ..records.freeze import freeze
from ..records.record import Record
from ..sync import Clock
from .disk_health import DiskHealth
from .events import Events
from .layout import Directory
from .quarantine import Entry, Quarantine
from .segment import Segment


class Aside:
    """The way into the quarantine of one directory."""

    def __init__(
        self, directory: Directory, disk_health: DiskHealth, events: Events, clock: Clock, *, sync: bool
    ) -> None:
        self._directory = directory
        self._disk_health = disk_health
        self._events = events
        self._clock = clock
        self._sync = sync
        self._quarantine = Quarantine(directory.path, clock, sync=sync)

    @property
    def evicted(self) -> int:
        """Entries that this process has given up, to stay within the bound."""
        return self._quarantine.evicted

    def reconfigure(self, directory: Directory) -> None:
        evicted = self._quarantine.evicted
        self._directory = directory
        self._quarantine = Quarantine(directory.path, self._clock, sync=self._sync)
        self._quarantine.evicted = evicted

    def record(self, record: Record, reason: str, status: int | None, detail: str) -> bool:
        """Keep a refused record; False if it could not be written."""
        entry = Entry(
            reason,
            record.body or record.raw or encode_somehow(_value(record)),
            status=status,
            detail=detail,
            segment=record.place.segment.path.name if record.place is not None else None,
            id=record.id,
            time=record.time,
        )
        return bool(self._kept(lambda: self._quarantine.add(entry)))

    def damage(self, segment: Segment, lines: Sequence[bytes]) -> bool:
        """Keep damaged lines of a segment, and note there that they are seen to; True if all are kept."""
        if not lines:
            return True
        kept = self._kept(lambda: self._quarantine.add_damage(segment.path.name, lines))
        self._disk_health.attempt(segment.put_damage_aside)
        return kept == len(lines)

    def _kept(self, add: Callable[[], int]) -> int:
        """What `add` says it has kept; 0 if it can't write."""
        kept = 0

        def action() -> None:
            nonlocal kept
            self._directory.prepare()
            try:
                kept = add()
            except TimeoutError as error:  # somebody holds its lock: nothing is wrong with the disk
                self._events.warn("a refused record could not be kept: %s", error)

        self._disk_health.attempt_to_write(action)
        return kept


def _value(record: Record) -> JSONValue:
    """What it comes to; as far as it was worked out, where completing it fails."""
    value, deferred = record.value, record.deferred
    if deferred is not None:
        with suppress(Exception):  # its failure is counted where the record is prepared
            return freeze(deferred.complete(value)).value
    return value
