"""A record: one log call on its way, and what its parts are.

Values only. What a record's place on disk is, only the spool knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .encode import JSONValue
from .ledger import Book, Term
from .outcome import Verdict

RECORD_OVERHEAD = 500  # bytes: the Record, its id and its place in the queue
_IN_MEMORY = (Term.QUEUED, Term.IN_FLIGHT)
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the spool keeps a record. Others compare places; only the spool looks inside."""

    segment: Any
    number: int


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


class Deferred:
    """What completes a record.

    Attributes:
        complete: takes the frozen body and returns the completed one. It must not change what it is given,
            for two threads may complete the same record at shutdown. If it raises, the record goes as it is.
        size: how many bytes are held for it.
    """

    __slots__ = ("complete", "size")

    def __init__(self, complete: Callable[[dict[str, Any]], dict[str, Any]], size: int = 0) -> None:
        self.complete = complete
        self.size = size


@dataclass(slots=True)
class FailureHistory:
    """What is known of one suspect.

    Attributes:
        refused: the last attempt refused it.
        others_accepted: another record was accepted since it was refused.
        retest: the attempt under way began after that.
        failures: attempts with it alone that were refused or failed.
        beside_others: it failed within `NEAR_SECONDS` after another record was accepted.
        counted: failures that others were accepted before and after.
        first_at: when the first counted one was.
        failed_at: `Record.failed_at`, while the record is on disk only.
        isolated: it waits, apart from the others, for its next attempt.
        epoch: whose flush has to learn if it is lost after all, if it is on disk.
        evicted: there are too many suspects to keep it in memory.
    """

    refused: bool = False
    others_accepted: bool = False
    retest: bool = False
    failures: int = 0
    beside_others: bool = False
    counted: int = 0
    first_at: float = 0.0
    failed_at: float = _NEVER
    isolated: bool = False
    epoch: Epoch | None = None
    evicted: bool = False

    @property
    def suspicious(self) -> bool:
        """Whether anything speaks against the record, and not only against the destination."""
        return self.refused or self.beside_others or self.counted > 0


class Waiter(Protocol):
    """Who waits for records to settle."""

    def settled(self, record: Record) -> None:
        """It has settled. Called on any thread, without a lock held; must not block."""


class Record:
    """One log call on its way. `value` is set until it is encoded, `body` from then on.

    What few records have is a default of the class: setting it at each call would cost the caller.
    """

    body: bytes | None = None
    raw: bytes | None = None  # encoded, but `before_send` has not seen it: for the disk, never for the wire
    epoch: Epoch | None = None
    place: Place | None = None
    attempts = 0
    claimed = False
    with_caller = False  # accepted, and nobody but the thread that logged it knows of it yet
    cut = 0  # values that were left out of it
    deferred: Deferred | None = None  # what is to be added to `value` before it is encoded
    shortened = False  # to `max_record_bytes`
    failed_at = float("inf")  # when an attempt last failed at the destination, on the monotonic clock
    maybe_stored = False  # an attempt may have delivered it, or it came from the disk
    turned_away = False  # dropped on the spot: there was no room, or no time left
    verdict: Verdict | None = None  # the last one
    history: FailureHistory | None = None  # what is known of it, if it failed on its own
    waiter: Waiter | None = None  # who is told when it is settled

    def __init__(
        self,
        id: str,  # noqa: A002 - the word of the wire format
        time: float,
        value: JSONValue,
        size: int,
        queued_at: float,
        book: Book,
        term: Term = Term.IN_FLIGHT,
        body: bytes | None = None,
        place: Place | None = None,
    ) -> None:
        self.id = id
        self.time = time
        self.value = value
        self.size = size
        self.queued_at = queued_at
        self.book = book
        self.term = term
        if body is not None:
            self.body = body
        if place is not None:
            self.place = place

    @property
    def writable(self) -> bool:
        """Whether it can go to disk as it is."""
        return self.body is not None or self.raw is not None

    @property
    def settled(self) -> bool:
        """Whether it has left memory: delivered, on disk, put aside or dropped."""
        return self.term not in _IN_MEMORY

    def first_waiter(self, waiter: Waiter) -> Waiter:
        """Who is told when it is settled: `waiter`, unless there is one already. Atomic under the GIL."""
        first: Waiter = self.__dict__.setdefault("waiter", waiter)
        return first

    def __repr__(self) -> str:
        return f"<Record {self.id} {self.term.name.lower()}, {self.size} bytes, {self.attempts} attempts>"
