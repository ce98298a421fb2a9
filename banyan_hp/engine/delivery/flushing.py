"""Watermarks: what was accepted before a flush, and whether it has left memory.

A record belongs to the epoch in which it was accepted; each flush begins a new one. So a flush can tell
its own records from later ones, although senders settle them out of order. Guarded by the engine's lock.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FlushResult"]


class Epoch:
    """The records accepted between two flushes. `told` are the losses that a flush has reported."""

    __slots__ = ("in_memory", "lost", "reported")

    def __init__(self) -> None:
        self.in_memory = 0
        self.lost = 0
        self.reported = 0


class Epochs:
    """All epochs that a flush has to wait for, or to report losses of, the current one last."""

    def __init__(self) -> None:
        self.current = Epoch()
        self._live = [self.current]

    def close(self) -> list[Epoch]:
        """Begin a new epoch; returns those that a flush now has to wait for.

        With them those of which records were lost since the last flush.
        """
        closed = [epoch for epoch in self._live if epoch.in_memory or epoch.lost > epoch.reported]
        self.current = Epoch()
        self._live = [*(epoch for epoch in closed if epoch.in_memory), self.current]
        return closed


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
