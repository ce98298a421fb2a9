"""A record: one log call on its way, and what its parts are.

Values only. What a record's place on disk is, only the spool knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from .encode import JSONValue
from .ledger import Book, Term
from .outcome import Verdict

RECORD_OVERHEAD = 500  # bytes: the Record, its id and its place in the queue
MADE_ID = "%s-%x-%x"  # process, number, microseconds since 1970; the backend's `place_of` reads it
BY_BEFORE_SEND = "before_send"  # the reason of records that the application had dropped
_IN_MEMORY = (Term.QUEUED, Term.IN_FLIGHT)
_NEVER = float("inf")


class Place(NamedTuple):
    """Where the spool keeps a record. Others compare places; only the spool looks inside."""

    segment: Any
    number: int


class Epoch:
    """The records accepted between two flushes: how many are in memory, were lost, and were reported lost."""

    __slots__ = ("in_memory", "lost", "reported")

    def __init__(self) -> None:
        self.in_memory = 0
        self.lost = 0
        self.reported = 0

    def report(self) -> None:
        """All losses so far are reported."""
        self.reported = self.lost


class Epochs:
    """Watermarks: the epochs that a flush waits for or reports losses of, the current one last.

    A record belongs to the epoch in which it was accepted; each flush begins a new one. So a flush can tell
    its own records from later ones, although senders settle them out of order. Guarded by the engine's lock.
    """

    def __init__(self) -> None:
        self.current = Epoch()
        self._live = [self.current]

    def close(self) -> list[Epoch]:
        """Begin a new epoch. Returns those with records in memory or losses not yet reported."""
        closed = [epoch for epoch in self._live if epoch.in_memory or epoch.lost > epoch.reported]
        self.current = Epoch()
        self._live = [*(epoch for epoch in closed if epoch.in_memory), self.current]
        return closed


class Deferred:
    """The part of a record that is worked out on our threads instead of the caller's.

    The record is completed before `before_send` sees it, and before it is encoded. Until then its size counts
    what is held for it.

    Attributes:
        complete: takes the frozen body and returns the completed one. It must not change what it is given,
            because two threads may complete one record at shutdown. If it raises, the record goes as it is.
        size: how many bytes are held for it.
        may_have_failed: whether the record may turn out to be an error's; a quick look, for sampling.
    """

    __slots__ = ("complete", "may_have_failed", "size")

    def __init__(
        self,
        complete: Callable[[dict[str, Any]], dict[str, Any]],
        size: int = 0,
        may_have_failed: Callable[[], bool] = lambda: True,
    ) -> None:
        self.complete = complete
        self.size = size
        self.may_have_failed = may_have_failed


@dataclass(slots=True)
class FailureHistory:
    """What is known of a record that fails on its own, see `policy.suspects`.

    Attributes:
        refused: the last attempt refused it.
        others_accepted: another record was accepted since it was refused.
        retest: the attempt under way began after such an acceptance.
        failures: attempts with it alone that were refused or failed.
        beside_others: it failed shortly after another record was accepted.
        counted: failures that others were accepted before and after.
        first_at: when the first counted one was.
        failed_at: `Record.failed_at`, while the record is on disk only.
        isolated: it waits, apart from the others, for its next attempt.
        epoch: the flush epoch to count a loss in, if the record is on disk and is lost after all.
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
    """Waits for records to settle."""

    def settled(self, record: Record) -> None:
        """The record has settled. Called on any thread, without a lock held; must not block."""


class Record:
    """One log call on its way. `value` is set until it is encoded, `body` from then on.

    What few records have is a default of the class: setting it at each call would cost the caller.
    """

    body: bytes | None = None
    raw: bytes | None = None  # encoded before `before_send` saw it: for the disk, never for the wire
    epoch: Epoch | None = None
    place: Place | None = None
    attempts = 0
    claimed = False
    with_caller = False  # accepted, but only the thread that logged it knows of it so far
    cut = 0  # values that were left out of it
    deferred: Deferred | None = None  # completes `value` before it is encoded
    shortened = False  # to `max_record_bytes`
    failed_at = float("inf")  # when an attempt last failed at the destination, on the monotonic clock
    maybe_stored = False  # an attempt may have delivered it, or it came from the disk
    drop_reason: str | None = None  # why it was dropped, if it was
    turned_away = False  # dropped on the spot: there was no room, or no time left
    verdict: Verdict | None = None  # the last one
    history: FailureHistory | None = None  # if it has failed on its own
    waiters: tuple[Waiter, ...] = ()  # notified when it settles: two event loops, or a thread and a loop

    def __init__(
        self,
        id: str | int,  # noqa: A002 - the word of the wire format
        time: float,
        value: JSONValue,
        size: int,
        queued_at: float,
        book: Book,
        term: Term = Term.IN_FLIGHT,
    ) -> None:
        self._ident = id  # a number becomes an id when that is asked for: the caller need not wait for it
        self.time = time
        self.value = value
        self.size = size
        self.queued_at = queued_at
        self.book = book
        self.term = term

    @classmethod
    def from_disk(
        cls,
        id: str,  # noqa: A002 - the word of the wire format
        time: float,
        body: bytes,
        place: Place,
        queued_at: float,
        book: Book,
        *,
        raw: bool,
    ) -> Record:
        """A record that was read from the spool; `raw`: `before_send` has not seen it."""
        record = cls(id, time, None, len(body), queued_at, book, Term.SPOOLED)
        if raw:
            record.raw = body
        else:
            record.body = body
        record.place = place
        record.maybe_stored = True
        return record

    @property
    def id(self) -> str:
        """What the backend knows it by; always the same.

        The time makes a number unique where copies of a memory snapshot go on with the same process and
        counter.
        """
        ident = self._ident
        if isinstance(ident, int):
            ident = self._ident = MADE_ID % (self.book.process, ident, int(self.time * 1e6))
        return ident

    @property
    def writable(self) -> bool:
        """Whether it can go to disk as it is."""
        return self.body is not None or self.raw is not None

    @property
    def settled(self) -> bool:
        """Whether it has left memory: delivered, on disk, quarantined or dropped."""
        return self.term not in _IN_MEMORY

    def is_first(self, waiter: Waiter) -> bool:
        """Add a waiter, unless there is one already. Needs no lock: `dict.setdefault` is atomic."""
        return bool(self.__dict__.setdefault("waiters", (waiter,))[0] is waiter)

    def __repr__(self) -> str:
        return f"<Record {self.id} {self.term.name.lower()}, {self.size} bytes, {self.attempts} attempts>"
