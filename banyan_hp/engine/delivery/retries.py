"""Records that have failed and wait for their next attempt. Guarded by the engine's lock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..policy.jitter import chance
from ..policy.retry import backoff
from ..records.ledger import Book
from ..records.record import Record
from .tasks import NEVER


class Retry(NamedTuple):
    """A group that has failed, and the earliest moment to try it again."""

    at: float
    records: list[Record]


def any_of(book: Book | None, records: Iterable[Record]) -> bool:
    """Whether there is a record of this book; of any, if it is None."""
    return any(book is None or record.book is book for record in records)


class Retries:
    """Groups of records, in the order in which they failed."""

    def __init__(self, retry_delay: float) -> None:
        self._retry_delay = retry_delay
        self._groups: list[Retry] = []

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, records: list[Record], now: float) -> None:
        """Try these again after a back-off of their own."""
        failures = max(record.attempts for record in records)
        wait = backoff(failures, self._retry_delay, chance()) if failures else 0.0
        self._groups.append(Retry(now + wait, records))

    def add_halves(self, records: list[Record], suspected: list[Record], now: float) -> None:
        """One of several may be the cause: halves find out which. The destination's back-off is enough."""
        blamed = set(suspected)
        rest = [record for record in records if record not in blamed]
        middle = len(suspected) // 2
        parts = (suspected[:middle], suspected[middle:], rest)
        self._groups += [Retry(now, part) for part in parts if part]

    def take_due(self, now: float, only: Book | None, *, at_once: bool, one: bool) -> list[Record] | None:
        """The first group that is due, or any `at_once`; if `one` is wanted, only its first record."""
        due = next((r for r in self._groups if (r.at <= now or at_once) and any_of(only, r.records)), None)
        if due is None:
            return None
        self._groups.remove(due)
        if one and len(due.records) > 1:
            self._groups.append(Retry(due.at, due.records[1:]))
            return due.records[:1]
        return due.records

    def take_oldest(self) -> list[Record]:
        """Records go to disk in the order in which they were logged. There must be some."""
        oldest = min(self._groups, key=lambda retry: retry.records[0].queued_at)
        self._groups.remove(oldest)
        return oldest.records

    def due_in(self, now: float, only: Book | None) -> float:
        """Seconds until the first group is due."""
        due = (retry.at for retry in self._groups if any_of(only, retry.records))
        return max(0.0, min(due, default=NEVER) - now)

    def records(self) -> list[Record]:
        return [record for group in self._groups for record in group.records]

    def clear(self) -> None:
        self._groups.clear()
