"""The ledger: where every record is, as a sum that must hold, and the counters beside it.

    accepted = queued + in_flight + delivered + spooled + quarantined + dropped

Each record counts in exactly one term, memory before disk. Guarded by the engine's lock.
"""

from __future__ import annotations

import enum
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Term(enum.Enum):
    """Where a record can be."""

    __hash__ = object.__hash__  # Enum's own is a Python function, called several times a record

    QUEUED = "queued"
    IN_FLIGHT = "in_flight"
    DELIVERED = "delivered"
    SPOOLED = "spooled"
    QUARANTINED = "quarantined"
    DROPPED = "dropped"


class Counted(Protocol):
    """What a book moves: a record."""

    term: Term


class Book:
    """One sum: this process's own records, or those adopted from earlier processes.

    Attributes:
        process: begins the ids of the records that this process has numbered.
    """

    __slots__ = ("accepted", "counts", "drops", "process")

    def __init__(self, process: str = "") -> None:
        self.process = process
        self.accepted = 0
        self.counts = dict.fromkeys(Term, 0)
        self.drops: Counter[str] = Counter()

    def accept(self, term: Term, count: int = 1) -> None:
        self.accepted += count
        self.counts[term] += count

    def move(self, records: Iterable[Counted], to: Term) -> None:
        """Move records, from whatever term each is in, to another one."""
        counts = self.counts
        for record in records:
            counts[record.term] -= 1
            counts[to] += 1
            record.term = to

    def hand_over(self, queued: Sequence[Counted]) -> None:
        """Move the queue's records, all in one term, to those in flight."""
        self.shift(Term.QUEUED, Term.IN_FLIGHT, len(queued))
        in_flight = Term.IN_FLIGHT
        for record in queued:
            record.term = in_flight

    def shift(self, source: Term, to: Term, count: int) -> None:
        """Move records on disk, of which only the number is known."""
        self.counts[source] -= count
        self.counts[to] += count

    def balanced(self) -> bool:
        return (
            self.accepted == sum(self.counts.values())
            and self.counts[Term.DROPPED] == sum(self.drops.values())
            and min(self.counts.values()) >= 0
        )

    def __getitem__(self, term: Term) -> int:
        return self.counts[term]


class Tally:
    """A number that only grows, counted without a lock: a step of `itertools.count` is one under the GIL."""

    __slots__ = ("_asked", "_steps")

    def __init__(self) -> None:
        self._steps = itertools.count()
        self._asked = 0

    def add(self) -> None:
        next(self._steps)

    def read(self) -> int:
        """Asking is a step, too. Call with the engine's lock held."""
        found = next(self._steps) - self._asked
        self._asked += 1
        return found


@dataclass(slots=True)
class Counters:
    """Other events: numbers that only grow."""

    rejected: int = 0
    logs_not_durable: int = 0
    requests_sent: int = 0
    bytes_sent: int = 0
    attempts_failed: int = 0
    retries_attempted: int = 0
    values_cut: int = 0
    values_set_aside: int = 0
    scores_not_sent: int = 0
    records_shortened: int = 0
    records_unscrubbed: int = 0
    spool_errors: int = 0
    callback_errors: int = 0
    tracking_errors: int = 0
    worker_restarts: int = 0
    discarded: int = 0


@dataclass(slots=True)
class Ledger:
    """Both books and the counters.

    Attributes:
        sampled_out: calls whose records were not accepted, because sampling left them out.
    """

    own: Book = field(default_factory=Book)
    adopted: Book = field(default_factory=Book)
    counters: Counters = field(default_factory=Counters)
    sampled_out: Tally = field(default_factory=Tally)

    def book(self, *, own: bool) -> Book:
        return self.own if own else self.adopted
