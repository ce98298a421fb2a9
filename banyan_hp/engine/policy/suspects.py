"""Records that fail on their own: refused ones, and those whose requests always fail.

Is the record at fault, or the destination? Only the acceptance of another record decides:

- A refused record is quarantined if it is refused again after another one was accepted. Without an
  acceptance nothing is quarantined: an outage that looks like refusals must cost no record.
- A record that fails alone in its request (5xx, time-out, reset) is quarantined as poison after
  `POISON_ATTEMPTS` such attempts over at least `POISON_SECONDS`. An attempt counts only if another record
  was accepted within `NEAR_SECONDS` before and after it.

Until then a suspect is isolated: it waits apart from the others, in memory and on disk, and is tried alone,
after a back-off of its own. Its failures are kept in `Record.history`, and, while it is on disk only, by its
place. A restart begins anew. Guarded by the engine's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..records.ledger import Book, Term
from ..records.record import FailureHistory, Place, Record
from .retry import chance

REFUSALS_IN_A_ROW = 5  # this many without an acceptance between them: it is the backend, not the records
NEAR_SECONDS = 60.0
POISON = "poison"  # the reason in the quarantine
POISON_ATTEMPTS = 20
POISON_SECONDS = 24 * 3600.0
MAX_ISOLATED = 1000
MAX_ISOLATED_BYTES = 16 * 1024 * 1024
MAX_REMEMBERED = 10_000
LONGEST_BACKOFF = 900.0  # twenty attempts still fit in a day
LONGEST_BACKOFF_REFUSED = 60.0  # the first to notice that a backend no longer refuses everything
_NEVER = float("inf")


class Suspects:
    """All suspects of one engine. `refusals` counts the records refused since the last acceptance."""

    def __init__(self, max_retries: int, retry_delay: float, *, chance: Callable[[], float] = chance) -> None:
        self._max_retries = max_retries
        self._retry_delay = max(retry_delay, 0.1)
        self._chance = chance
        self._due: dict[Record, float] = {}  # until when, by the monotonic clock
        self._bytes = 0
        self._next_due = _NEVER
        self._without_acceptance: dict[Record, None] = {}
        self._unconfirmed: dict[Record, float] = {}
        self._remembered: dict[Place, FailureHistory] = {}
        self._accepted_at = float("-inf")
        self.refusals = 0

    def __len__(self) -> int:
        return len(self._due)

    @property
    def everything_is_refused(self) -> bool:
        return self.refusals >= REFUSALS_IN_A_ROW

    # -- results of attempts ----------------------------------------------------------------------------

    def accepted(self, now: float, group: Iterable[Record] = (), *, is_back: bool = False) -> list[Record]:
        """A request was accepted, if only in part. Returns the suspects that this proves poison.

        `group`: its records, which prove nothing of themselves. `is_back`: the circuit breaker was open, so
        all suspects are tried again.
        """
        self._accepted_at = now
        self.refusals = 0
        for record in self._without_acceptance:
            _history_of(record).others_accepted = True
            if record in self._due:
                self._due[record] = self._next_due = now
        self._without_acceptance = {}
        if is_back and self._due:
            self._due = dict.fromkeys(self._due, now)
            self._next_due = now
        return self._confirm(now, group) if self._unconfirmed else []

    def _confirm(self, now: float, group: Iterable[Record]) -> list[Record]:
        for record in group:
            self._unconfirmed.pop(record, None)
        near = {record: at for record, at in self._unconfirmed.items() if now - at <= NEAR_SECONDS}
        self._unconfirmed = {}
        proven = [record for record, at in near.items() if _is_poison(_history_of(record), at)]
        for record in proven:
            self._leave(record)
        return proven

    def refused(self, record: Record, *, beside_others: bool) -> bool:
        """A record was refused by itself. True if it is at fault, False if that is not known yet.

        `beside_others`: the same response accepted others.
        """
        if beside_others or _history_of(record).retest:
            return True
        self.refusals += record not in self._without_acceptance
        self._without_acceptance[record] = None
        _note_refusal(record)
        return False

    def quarantine_failed(self, record: Record) -> None:
        """It is at fault, but the quarantine can't be written: it is isolated once more."""
        self._without_acceptance[record] = None
        _note_refusal(record)

    def failed(self, group: Sequence[Record], now: float) -> bool:
        """A request failed as a whole. True if that says nothing new about the destination.

        That is so if its records failed before, and another one was accepted between the two attempts.
        """
        known = max(record.failed_at for record in group) < self._accepted_at
        for record in group:
            record.failed_at = now
        if len(group) == 1:
            self._failed_alone(group[0], now)
        return known

    def _failed_alone(self, record: Record, now: float) -> None:
        history = _history_of(record)
        history.refused = history.others_accepted = history.retest = False
        history.failures += 1
        history.beside_others = now - self._accepted_at <= NEAR_SECONDS
        if history.beside_others:
            self._unconfirmed[record] = now
        else:
            self._unconfirmed.pop(record, None)

    # -- isolation -------------------------------------------------------------------------------------------

    def must_be_isolated(self, record: Record, *, is_open: bool) -> bool:
        """Whether a record that was not accepted has to wait apart from the others."""
        history = record.history
        worn_out = history is not None and history.suspicious and history.failures > self._max_retries
        return history is not None and (history.refused or (worn_out and not is_open))

    def isolate(self, record: Record, now: float, *, at_once: bool = False) -> None:
        """Keep a suspect until its next attempt; `at_once`: it was read from disk and is due now."""
        history = _history_of(record)
        history.isolated = True
        due = now if at_once or (history.refused and history.others_accepted) else now + self._pause(history)
        self._bytes += 0 if record in self._due else record.size
        self._due[record] = due
        self._next_due = min(self._next_due, due)

    def _pause(self, history: FailureHistory) -> float:
        refused = history.refused
        longest, first = (LONGEST_BACKOFF_REFUSED, 5.0) if refused else (LONGEST_BACKOFF, self._retry_delay)
        return min(longest, first * 2.0 ** min(history.failures - 1, 32)) * (1 + self._chance()) / 2

    def due_in(self, now: float, only: Book | None = None) -> float:
        """Seconds until the next suspect is due, of all or of one book's."""
        due = self._next_due
        if only is not None:
            due = min([self._due[record] for record in self._of(only)], default=_NEVER)
        return max(0.0, due - now)

    def take_due(self, only: Book | None = None) -> Record:
        """The suspect that is due first; there must be one."""
        return self._take(min(self._of(only), key=self._due.__getitem__))

    def _of(self, book: Book | None) -> list[Record]:
        return [record for record in self._due if book is None or record.book is book]

    def take_excess(self) -> Record | None:
        """The one isolated for longest, if there are too many to keep in memory."""
        if len(self._due) <= MAX_ISOLATED and self._bytes <= MAX_ISOLATED_BYTES:
            return None
        record = self._take(next(iter(self._due)))
        self._without_acceptance.pop(record, None)
        _history_of(record).evicted = True
        return record

    def all(self) -> list[Record]:
        return list(self._due)

    def forget(self) -> None:
        """Another owner has taken all of them."""
        self._due.clear()
        self._bytes, self._next_due = 0, _NEVER

    def _take(self, record: Record) -> Record:
        self._leave(record)
        history = _history_of(record)
        history.isolated, history.retest, history.evicted = False, history.others_accepted, False
        return record

    def _leave(self, record: Record) -> None:
        if record in self._due:
            del self._due[record]
            self._bytes -= record.size
            self._next_due = min(self._due.values(), default=_NEVER)

    # -- on disk ----------------------------------------------------------------------------------------

    def remember(self, record: Record) -> None:
        """A record is on disk only from now on: keep its history by its place."""
        history, place = record.history, record.place
        if history is None or place is None or not history.suspicious:
            return
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        history.failed_at = record.failed_at
        self._remembered[place] = history

    def recognise(self, record: Record) -> bool:
        """A record was read from disk: give it its history back. True if it is a suspect."""
        if not self._remembered or record.place is None:
            return False
        record.history = self._remembered.pop(record.place, None)
        if record.history is not None:
            record.failed_at = record.history.failed_at
        return record.history is not None

    # -- what waiters need not wait for -----------------------------------------------------------------

    def count_isolated(self, now: float, book: Book, term: Term) -> int:
        """How many of a book's records in this term are not due yet. Needs no lock: the copy is atomic."""
        return sum(record.book is book and record.term is term for record in self._waiting(now))

    def isolated_places(self, now: float) -> list[Place]:
        """The places on disk of those that are not due yet. Needs no lock."""
        return [record.place for record in self._waiting(now) if record.place is not None]

    def _waiting(self, now: float) -> list[Record]:
        return [record for record, due in tuple(self._due.items()) if due > now]


def _history_of(record: Record) -> FailureHistory:
    if record.history is None:
        record.history = FailureHistory()
    return record.history


def _note_refusal(record: Record) -> None:
    history = _history_of(record)
    history.refused, history.others_accepted, history.retest = True, False, False
    history.failures += 1


def _is_poison(history: FailureHistory, failed_at: float) -> bool:
    """Count one more failure beside acceptances. True if that proves the record poison."""
    if not history.counted:
        history.first_at = failed_at
    history.counted += 1
    return history.counted >= POISON_ATTEMPTS and failed_at - history.first_at >= POISON_SECONDS
