"""What a sending thread can do next. The scheduler names a task, the runner carries it out."""

from __future__ import annotations

from typing import NamedTuple

from ..records.record import Record

NEVER = float("inf")


class Send(NamedTuple):
    """Send these records; `probe` is what the circuit breaker said when this attempt began."""

    records: list[Record]
    probe: bool


class Spill(NamedTuple):
    """Write these records to disk: they can't be sent now."""

    records: list[Record]


class OpenSpool:
    """Look at what is on disk."""


class ReadBack(NamedTuple):
    """Fetch records from the disk, to be sent; see `Reader.read`."""

    own_only: bool
    max_records: int


class SyncSpool:
    """Force the spool to the disk."""


class AskForBatches(NamedTuple):
    """Find out whether the destination takes batches."""

    probe: bool


class Wait(NamedTuple):
    """There is nothing to do for this many seconds, unless a wake-up ends the wait.

    `on_watch`: this thread then looks whether a request under way hangs.
    """

    seconds: float
    on_watch: bool = False


Task = Send | Spill | OpenSpool | ReadBack | SyncSpool | AskForBatches | Wait
