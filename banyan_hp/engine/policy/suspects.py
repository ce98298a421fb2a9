"""Records that fail on their own: refused ones, and those that are always answered with an error.

Is the record at fault, or the destination? Only the acceptance of another record can decide:

- A refused record is quarantined if it is refused again after another one was accepted. Without an
  acceptance nothing is quarantined: an outage that looks like refusals must cost no record.
- A record that fails alone in its request (5xx, time-out, reset) is quarantined as poison after
  `POISON_ATTEMPTS` such attempts over at least `POISON_SECONDS`. An attempt counts only if another record
  was accepted within `NEAR_SECONDS` before and after it.

Until then a suspect rests, in memory and on disk, and is tried alone, after a back-off of its own. What is
known of it is kept in `Record.trial`, and, while it is on disk only, by its place. A restart begins anew.

Pure: no I/O and no clock. Guarded by the engine's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..records.ledger import Book, Term
from ..records.record import Place, Record, Trial
from .jitter import chance

REFUSALS_IN_A_ROW = 5  # this many without an acceptance between them: it is the backend, not the records
NEAR_SECONDS = 60.0
POISON = "poison"  # the reason in the quarantine
POISON_ATTEMPTS = 20
POISON_SECONDS = 24 * 3600.0
MAX_RESTING = 1000
MAX_RESTING_BYTES = 16 * 1024 * 1024
MAX_REMEMBERED = 10_000
LONGEST_REST = 900.0  # twenty attempts still fit in a day
LONGEST_REST_REFUSED = 60.0  # the first to notice that a backend no longer refuses everything
_NEVER = float("inf")


class Suspects:
    """All suspects of one engine. `refusals` counts the records refused since the last acceptance."""

    def __init__(self, max_retries: int, retry_delay: float, *, chance: Callable[[], float] = chance) -> None:
        self._max_retries = max_retries
        self._retry_delay = max(retry_delay, 0.1)
        self._chance = chance
        self._resting: dict[Record, float] = {}  # until when, by the monotonic clock
        self._bytes = 0
        self._next_due = _NEVER
        self._unheard: dict[Record, None] = {}
        self._unconfirmed: dict[Record, float] = {}
        self._remembered: dict[Place, Trial] = {}
        self._accepted_at = float("-inf")
        self.refusals = 0

    def __len__(self) -> int:
        return len(self._resting)

    @property
    def everything_is_refused(self) -> bool:
        return self.refusals >= REFUSALS_IN_A_ROW

    # -- what attempts tell -----------------------------------------------------------------------------

    def accepted(self, now: float, group: Iterable[Record] = (), *, is_back: bool = False) -> list[Record]:
        """A request was accepted, if only in part. Returns the suspects that this proves poison.

        Args:
            now: on the monotonic clock.
            group: the request's records, which prove nothing of themselves.
            is_back: the destination was not well before, so all suspects get another chance.
        """
        self._accepted_at = now
        if self.refusals or self._unheard:
            self._let_hear(now)
        if is_back and self._resting:
            self._resting = dict.fromkeys(self._resting, now)
            self._next_due = now
        return self._confirm(now, group) if self._unconfirmed else []

    def _let_hear(self, now: float) -> None:
        self.refusals = 0
        for record in self._unheard:
            _trial(record).heard = True
            if record in self._resting:
                self._resting[record] = self._next_due = now
        self._unheard = {}

    def _confirm(self, now: float, group: Iterable[Record]) -> list[Record]:
        for record in group:
            self._unconfirmed.pop(record, None)
        near = {record: at for record, at in self._unconfirmed.items() if now - at <= NEAR_SECONDS}
        self._unconfirmed = {}
        proven = [record for record, at in near.items() if _is_poison(_trial(record), at)]
        for record in proven:
            self._leave(record)
        return proven

    def refused(self, record: Record, *, beside_others: bool) -> bool:
        """A record was refused by itself. True if it is at fault, False if that is not known yet.

        `beside_others`: the same response accepted others.
        """
        trial = _trial(record)
        if beside_others or trial.retest:
            return True
        if record not in self._unheard:
            self.refusals += 1
            self._unheard[record] = None
        trial.refused, trial.heard = True, False
        trial.failures += 1
        return False

    def not_put_aside(self, record: Record) -> None:
        """It is at fault, but the quarantine can't be written: it is to rest once more."""
        trial = _trial(record)
        trial.refused, trial.heard, trial.retest = True, False, False
        trial.failures += 1
        self._unheard[record] = None

    def failed(self, group: Sequence[Record], now: float) -> bool:
        """A request failed as a whole. True if that tells nothing new of the destination.

        That is so if its records failed before, and another one was accepted between the two attempts.
        """
        known = max(record.failed_at for record in group) < self._accepted_at
        for record in group:
            record.failed_at = now
        if len(group) == 1:
            self._failed_alone(group[0], now)
        return known

    def _failed_alone(self, record: Record, now: float) -> None:
        trial = _trial(record)
        trial.refused = trial.heard = trial.retest = False
        trial.failures += 1
        trial.beside_others = now - self._accepted_at <= NEAR_SECONDS
        if trial.beside_others:
            self._unconfirmed[record] = now
        else:
            self._unconfirmed.pop(record, None)

    # -- rest -------------------------------------------------------------------------------------------

    def must_rest(self, record: Record, *, is_open: bool) -> bool:
        """Whether a record that was not accepted waits apart from the others."""
        trial = record.trial
        if trial is None:
            return False
        return trial.refused or (not is_open and trial.suspicious and trial.failures > self._max_retries)

    def rest(self, record: Record, now: float, *, at_once: bool = False) -> None:
        """Keep a suspect until it is to be tried again; `at_once`: it came from the disk."""
        trial = _trial(record)
        trial.resting = True
        due = now if at_once or (trial.refused and trial.heard) else now + self._pause(trial)
        self._bytes += 0 if record in self._resting else record.size
        self._resting[record] = due
        self._next_due = min(self._next_due, due)

    def _pause(self, trial: Trial) -> float:
        doublings = min(trial.failures - 1, 32)
        if trial.refused:
            return min(LONGEST_REST_REFUSED, 5.0 * 2.0**doublings) * (1 + self._chance()) / 2
        return min(LONGEST_REST, self._retry_delay * 2.0**doublings) * (1 + self._chance()) / 2

    def due_in(self, now: float, only: Book | None = None) -> float:
        """Seconds until a suspect is to be tried, of all or of one book's."""
        if only is None:
            return max(0.0, self._next_due - now)
        return max(0.0, min([self._resting[record] for record in self._of(only)], default=_NEVER) - now)

    def take_due(self, only: Book | None = None) -> Record:
        """The suspect that is due first; there must be one."""
        return self._take(min(self._of(only), key=self._resting.__getitem__))

    def _of(self, book: Book | None) -> list[Record]:
        return [record for record in self._resting if book is None or record.book is book]

    def take_one_too_many(self) -> Record | None:
        """The one longest at rest, if there is no room for all."""
        if len(self._resting) <= MAX_RESTING and self._bytes <= MAX_RESTING_BYTES:
            return None
        record = self._take(next(iter(self._resting)))
        self._unheard.pop(record, None)
        _trial(record).evicted = True
        return record

    def all(self) -> list[Record]:
        return list(self._resting)

    def forget(self) -> None:
        """Somebody else has all that rests. Once more does no harm."""
        self._resting.clear()
        self._bytes, self._next_due = 0, _NEVER

    def _take(self, record: Record) -> Record:
        self._leave(record)
        trial = _trial(record)
        trial.resting, trial.retest, trial.evicted = False, trial.heard, False
        return record

    def _leave(self, record: Record) -> None:
        if record in self._resting:
            del self._resting[record]
            self._bytes -= record.size
            self._next_due = min(self._resting.values(), default=_NEVER)

    # -- on disk ----------------------------------------------------------------------------------------

    def remember(self, record: Record) -> None:
        """A record is on disk only from now on: keep in mind what is known of it."""
        trial, place = record.trial, record.place
        if trial is None or place is None or not trial.suspicious:
            return
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        trial.failed_at = record.failed_at
        self._remembered[place] = trial

    def recall(self, record: Record) -> bool:
        """A record was read back from the disk. True if it is a suspect."""
        if not self._remembered or record.place is None:
            return False
        record.trial = self._remembered.pop(record.place, None)
        if record.trial is not None:
            record.failed_at = record.trial.failed_at
        return record.trial is not None

    # -- what waiters need not wait for -----------------------------------------------------------------

    def at_rest(self, now: float, book: Book, term: Term) -> int:
        """How many of a book's records in this term rest for longer. Needs no lock: the copy is atomic."""
        return sum(record.book is book and record.term is term for record in self._asleep(now))

    def at_rest_before(self, now: float, mark: Iterable[tuple[object, int]]) -> int:
        """How many before a mark on disk. Needs no lock."""
        ends = dict(mark)
        places = [record.place for record in self._asleep(now) if record.place is not None]
        return sum(place.number < ends.get(place.segment, 0) for place in places)

    def _asleep(self, now: float) -> list[Record]:
        return [record for record, due in tuple(self._resting.items()) if due > now]


def _trial(record: Record) -> Trial:
    if record.trial is None:
        record.trial = Trial()
    return record.trial


def _is_poison(trial: Trial, failed_at: float) -> bool:
    """Count one more failure beside acceptances. True if that proves the record poison."""
    if not trial.counted:
        trial.first = failed_at
    trial.counted += 1
    return trial.counted >= POISON_ATTEMPTS and failed_at - trial.first >= POISON_SECONDS
