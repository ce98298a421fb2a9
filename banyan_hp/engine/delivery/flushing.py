"""What a flush says at its end."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FlushResult"]


@dataclass(frozen=True, slots=True)
class FlushResult:
    """What `flush` and `shutdown` return; true only if all was delivered that this process has logged.

    Attributes:
        delivered: everything accepted before the call has been delivered.
        pending: this process's records still in memory, in the queue or under way.
        spooled: this process's records that are on disk and will be sent.
        lost: records refused or dropped since the last call, of those that it is about.
        ledger: this process's ledger at the end: accepted, queued, in_flight, delivered, spooled,
            quarantined, dropped.
        backlog: records of earlier processes that this one has taken over, and that are neither delivered
            nor given up.
        backlog_bytes: what other processes have on disk and is not read yet, as far as the last look found
            it; a part of it may belong to processes that live.
    """

    delivered: bool
    pending: int
    spooled: int
    lost: int
    ledger: dict[str, int]
    backlog: int = 0
    backlog_bytes: int = 0

    def __bool__(self) -> bool:
        return self.delivered
