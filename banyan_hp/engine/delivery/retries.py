"""Records that wait for another attempt: those that were tried in vain, and those that wait on disk.

Guarded by the engine's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...settings import Settings
from ..policy.classification import may_be_the_record
from ..policy.retry import backoff, chance
from ..records.ledger import Book, Term
from ..records.record import Record
from ..spool.spool import Spool
from .shared import Shared
from .tasks import NEVER, ReadBack

_READ_BACK_RECORDS = 200


class _Retry(NamedTuple):
    """A group that has failed, and the earliest moment to try it again."""

    at: float
    records: list[Record]


def any_of(book: Book | None, records: Iterable[Record]) -> bool:
    """Whether there is a record of this book; of any, if it is None."""
    return any(book is None or record.book is book for record in records)


class Retries:
    """Groups of records, in the order in which they failed. Isolated records go to the suspects."""

    def __init__(self, shared: Shared, settings: Settings) -> None:
        self._lock = shared.lock
        self._settings = settings
        self._breaker, _, _, self._suspects, _ = shared.policies
        self._groups: list[_Retry] = []

    def __len__(self) -> int:
        return len(self._groups)

    # -- what comes back ---------------------------------------------------------------------------------

    def to_isolate(self, records: Iterable[Record]) -> list[Record]:
        """Which of those that were not accepted fail on their own."""
        self._lock.assert_held()
        is_open = self._breaker.is_open
        return [record for record in records if self._suspects.must_be_isolated(record, is_open=is_open)]

    def are_better_on_disk(self, records: Iterable[Record]) -> bool:
        """Whether trying these again soon makes no sense."""
        self._lock.assert_held()
        return self._breaker.is_open or any(self._is_worn_out(record) for record in records)

    def _is_worn_out(self, record: Record) -> bool:
        """Tried often enough in vain; those that may fail on their own are tried until that is known."""
        return record.attempts > self._settings.max_retries and not _may_be_at_fault(record)

    def add(self, records: Sequence[Record], now: float) -> None:
        """Try these again, after a back-off of their own: they may fail while others are accepted."""
        self._lock.assert_held()
        isolated = [record for record in records if record.history is not None and record.history.isolated]
        for record in isolated:
            self._suspects.isolate(record, now)
        others = [record for record in records if record not in isolated]
        suspected = [record for record in others if _may_be_at_fault(record)]
        if len(suspected) > 1:
            self._add_halves(others, suspected, now)
        elif others:
            failures = max(record.attempts for record in others)
            wait = backoff(failures, self._settings.retry_delay, chance()) if failures else 0.0
            self._groups.append(_Retry(now + wait, others))

    def _add_halves(self, records: list[Record], suspected: list[Record], now: float) -> None:
        """One of several may be the cause: halves find out which. The destination's back-off is enough."""
        blamed = set(suspected)
        rest = [record for record in records if record not in blamed]
        middle = len(suspected) // 2
        parts = (suspected[:middle], suspected[middle:], rest)
        self._groups += [_Retry(now, part) for part in parts if part]

    # -- what is tried again -----------------------------------------------------------------------------

    def take_due(self, now: float, only: Book | None, *, at_once: bool, one: bool) -> list[Record] | None:
        """The first group that is due, or any `at_once`; if `one` is wanted, only its first record."""
        due = next((r for r in self._groups if (r.at <= now or at_once) and any_of(only, r.records)), None)
        if due is None:
            return None
        self._groups.remove(due)
        if one and len(due.records) > 1:
            self._groups.append(_Retry(due.at, due.records[1:]))
            return due.records[:1]
        return due.records

    def take_oldest(self) -> list[Record]:
        """Records go to disk in the order in which they were logged. There must be some."""
        oldest = min(self._groups, key=lambda retry: retry.records[0].queued_at)
        self._groups.remove(oldest)
        return oldest.records

    def due_in(self, now: float, only: Book | None) -> float:
        due = (retry.at for retry in self._groups if any_of(only, retry.records))
        return max(0.0, min(due, default=NEVER) - now)

    def records(self) -> list[Record]:
        self._lock.assert_held()
        return [record for group in self._groups for record in group.records]

    def clear(self) -> None:
        self._groups.clear()


def _may_be_at_fault(record: Record) -> bool:
    return record.verdict is not None and may_be_the_record(record.verdict)


class Backlog:
    """What the spool holds, read back a few records at a time, by one thread at a time."""

    def __init__(self, shared: Shared, spool: Spool | None) -> None:
        self._lock = shared.lock
        self._spool = spool
        self._suspects = shared.policies.suspects
        self._own = shared.ledger.own
        self.fetched: deque[Record] = deque()
        self.is_being_read = False

    def is_there(self, only: Book | None) -> bool:
        """Whether there is something on disk to send, of all or of one book's records."""
        if any_of(only, self.fetched):
            return True
        if self._spool is None or not self._spool.readable:
            return False
        if only is None or not self._spool.backlog:
            return self._spool.backlog
        in_memory_too = self._suspects.count_isolated(-NEVER, self._own, Term.SPOOLED)
        return self._own[Term.SPOOLED] > in_memory_too + self._spool.count_aside(own_only=True)

    def begin_to_read(self, only: Book | None, *, probe: bool) -> ReadBack:
        """The task whose records come to `add`. For a probe it is one: the others stay on disk meanwhile."""
        self.is_being_read = True
        return ReadBack(own_only=only is not None, max_records=1 if probe else _READ_BACK_RECORDS)

    def add(self, records: Sequence[Record], now: float) -> None:
        """These came from the disk."""
        self._lock.assert_held()
        self.is_being_read = False
        for record in records:
            if self._suspects.recognise(record):
                self._suspects.isolate(record, now, at_once=True)
            else:
                self.fetched.append(record)

    def take(self, count: int, only: Book | None) -> list[Record]:
        if only is None:
            return [self.fetched.popleft() for _ in range(min(count, len(self.fetched)))]
        taken = [record for record in self.fetched if record.book is only][:count]
        for record in taken:
            self.fetched.remove(record)
        return taken

    def take_all(self) -> list[Record]:
        return self.take(len(self.fetched), None)
