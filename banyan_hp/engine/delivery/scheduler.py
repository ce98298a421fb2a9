"""What a sending thread does next: the one place where it is decided, and the one place to wait.

Guarded by the engine's lock; decides, and leaves all I/O to whoever asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...settings import Settings
from ..policy.concurrency_limit import LOOK_AGAIN_SECONDS
from ..policy.jitter import chance
from ..policy.policies import Policies
from ..policy.retry import backoff, may_be_the_record
from ..records.ledger import Book, Term
from ..records.record import Record
from ..spool.spool import Spool
from ..sync import WakeUp
from .queue import SPILL_ABOVE, SPILL_TO, Load, Queue


class Send(NamedTuple):
    """Deliver these."""

    records: list[Record]
    probe: bool


class Spill(NamedTuple):
    """Write these to disk: they can't be sent now."""

    records: list[Record]


class OpenSpool:
    """Look what is on disk."""


class ReadBack(NamedTuple):
    """Fetch records from the disk, to be sent; see `Replay.read`."""

    own_only: bool
    several: bool


class SyncSpool:
    """Force the spool to the disk."""


class AskForBatches(NamedTuple):
    """Find out whether the destination takes batches."""

    probe: bool


class Wait(NamedTuple):
    """Nothing to do for so many seconds, unless a bell rings."""

    seconds: float
    on_watch: bool = False  # who waits so looks then whether those at work hang


class Retry(NamedTuple):
    """A group that has failed, and the earliest moment to try it again."""

    at: float
    records: list[Record]


Task = Send | Spill | OpenSpool | ReadBack | SyncSpool | AskForBatches | Wait
NEVER = float("inf")
_ANYTHING: Load = (1, NEVER)
_NOTHING: Load = (NEVER, NEVER)


class Scheduler:
    """Who waits, what waits, and whose turn it is.

    Fresh records and the backlog on disk take turns, a request each, while there are both: neither holds
    up the other.
    """

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        policies: Policies,
        spool: Spool | None,
        own: Book,
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._breaker, self._batch_support, self._concurrency, self.suspects = policies
        self._spool = spool
        self._own = own
        self._retrying: list[Retry] = []
        self._replay: deque[Record] = deque()
        self.idle: list[WakeUp] = []
        self._wake_at: Load = _ANYTHING
        self._watch: WakeUp | None = None
        self._reading_back = False
        self._backlogs_turn = False
        self._spilled_last = False
        self._suspected_last = False
        self._probed_newest = False
        self.flush_waiters: set[object] = set()  # who waits for records to settle: no lingering meanwhile
        self.own_first: set[object] = set()  # who waits for this process's own records to settle first
        self.closing = False
        self._last_chance = 0
        self._sync_planned = False
        self.ending = False  # at exit: nothing is begun any more, only responses are awaited
        self.securing = False  # at exit: what waits is being written to disk, and nobody takes it meanwhile

    def close(self) -> None:
        """The end is near: nothing lingers, a backlog stays, and the destination gets one more chance."""
        self.closing = True
        self._last_chance = self._breaker.trips

    @property
    def gave_up(self) -> bool:
        """Closing, and the last attempt has failed: what is left goes to disk."""
        return self.closing and self._breaker.is_open and self._breaker.trips > self._last_chance

    # -- from the callers' side --------------------------------------------------------------------------

    def wake_for_record(self) -> None:
        """Wake a sleeping thread, if there is one and the new record gives it something to do."""
        queue = self._queue
        records, size = self._wake_at
        if len(queue.records) < records and queue.bytes < size:
            return
        if self._batch_support.batches or self._worth_another(queue.records[-1].queued_at):
            self.wake_one()

    def wake_for_sync(self) -> None:
        """Wake a sleeping thread, if the disk has become dirty since it went to sleep."""
        if self.idle and not self._sync_planned and self._spool is not None and self._spool.dirty:
            self._sync_planned = True
            self.wake_one()

    def _worth_another(self, now: float) -> bool:
        """Whether one more sender helps, be it to watch whether those at work hang."""
        return self._watch is None or not self._concurrency.enough(now)

    def wake_one(self) -> None:
        if self.idle:
            self.idle[-1].wake()  # before it is taken out: Ctrl-C between the two must not leave it asleep
            self._relieve(self.idle.pop())

    def wake_all(self) -> None:
        while self.idle:
            self.wake_one()

    def disturb(self) -> None:
        """Have sleeping threads look around, without a lock: the copy is atomic under the GIL."""
        for wake_up in tuple(self.idle):
            wake_up.wake()

    def sleep(self, wake_up: WakeUp, *, on_watch: bool = False) -> None:
        self.idle.append(wake_up)
        if on_watch:
            self._watch = wake_up

    def awake(self, wake_up: WakeUp) -> None:
        if wake_up in self.idle:
            self.idle.remove(wake_up)
        self._relieve(wake_up)

    def _relieve(self, wake_up: WakeUp) -> None:
        if wake_up is self._watch:
            self._watch = None

    # -- from the senders' side --------------------------------------------------------------------------

    def next_task(self, now: float, *, one_of_many: bool = False) -> Task:
        """What to do now. Records in the answer are in the hands of whoever asked.

        Args:
            now: by the monotonic clock.
            one_of_many: who asks may be told that others do enough.
        """
        if self.securing or self.ending:
            return Wait(NEVER)
        if self._spool is not None and self._look_due_in(now) <= 0:
            return OpenSpool()
        if self._spool is not None and self._spool.sync_due_in(now) <= 0:
            return SyncSpool()
        delay = NEVER if self.gave_up else self._breaker.delay(now)
        if delay > 0:
            return self._while_closed(now, delay)
        if one_of_many and not self._batch_support.batches and self._concurrency.enough(now):
            return Wait(LOOK_AGAIN_SECONDS, on_watch=True) if self._watch is None else Wait(NEVER)
        return self._while_open(now)

    def share(self, now: float) -> None:
        """Wake another sender, if it would find work."""
        if (self._queue.records or self._replay or self._retrying) and self._worth_another(now):
            self.wake_one()

    def _while_closed(self, now: float, delay: float) -> Task:
        """The destination must not be tried yet: bring to disk what should not wait in memory."""
        if self._spool is None:
            return self._wait(now, delay, _NOTHING)
        if self.gave_up and self._replay:
            return Spill(self._take_all_replay())
        if not self._spool.usable:
            return self._wait(now, min(delay, self._spool.usable_in()), _NOTHING)
        if self._breaker.is_open and self._retrying:
            return Spill(self._take_oldest_retry())
        may_spill = len(self._queue) - self._kept_for_the_probe()
        if self._breaker.is_open and self._lingered_in(now) <= 0 < may_spill:
            return Spill(self._take(min(self._settings.batch_size, may_spill)))
        if self._queue.above(SPILL_ABOVE):
            return self._spill_excess()
        if self._breaker.is_open and may_spill <= 0:
            return self._wait(now, delay, _ANYTHING)
        if self._breaker.is_open:
            return self._wait(now, min(delay, self._lingered_in(now)), self._first_or_batch())
        return self._wait(now, delay, self._queue.load_at(SPILL_ABOVE))

    def _kept_for_the_probe(self) -> int:
        """While everything seems refused, the newest record waits in memory: it is tried within seconds."""
        return int(self._breaker.refusing and not self.closing)

    def _while_open(self, now: float) -> Task:
        self._wake_at = _ANYTHING  # whatever the sleepers wanted while it was closed
        over = self.suspects.take_one_too_many()
        if over is not None:
            return Spill([over])
        if self._breaker.refusing or (self._breaker.broken and self._breaker.doubtful):
            return self._probe(now)
        self._probed_newest = False
        if self._is_a_suspect_s_turn(now):
            return self._send_suspect()
        fresh_due = self._fresh_due_in(now)
        if not self._better_try_another(fresh_due):
            retry = self._due_retry(now)
            if retry is not None:
                return self._send(retry)
        if fresh_due <= 0 or self._backlog():
            if self._batch_support.must_ask(now):
                return AskForBatches(probe=self._breaker.begin())
            if self._too_slow():
                return self._spill_excess()
            if self._backlog() and (fresh_due > 0 or self._backlogs_turn):
                return self._send_backlog(now, fresh_due)
            if fresh_due <= 0:
                self._backlogs_turn = True
                return self._send(self._take(self._per_request()))
        return self._wait_for_any(now, fresh_due)

    def _wait_for_any(self, now: float, fresh_due: float) -> Wait:
        due = min(fresh_due, self._retry_due_in(now), self._suspect_due_in(now))
        return self._wait(now, due, self._first_or_batch())

    def _probe(self, now: float) -> Task:
        """While every record seems to fail: the newest and the oldest one in turn, suspects last.

        Good records come in behind the bad ones, and bad ones behind good ones.
        """
        if len(self._queue) and not self._probed_newest:
            self._probed_newest = True
            return self._send(self._hand_over(self._queue.take_newest()))
        may_replay = self._may_go(self._replay)
        if self._backlog() and not may_replay and not self._reading_back:
            self._reading_back = True
            return ReadBack(own_only=self.own_only, several=False)
        self._probed_newest = False
        if may_replay:
            return self._send(self._take_replay(1))
        retry = self._due_retry(now)
        if retry is not None:
            return self._send(retry)
        if len(self._queue):
            return self._send(self._take(1))
        return (
            self._send_suspect() if self._suspect_due_in(now) < NEVER else self._wait(now, NEVER, _ANYTHING)
        )

    def _is_a_suspect_s_turn(self, now: float) -> bool:
        """Suspects that are due and the other records take turns."""
        self._suspected_last = not self._suspected_last and self._suspect_due_in(now) <= 0
        return self._suspected_last

    def _suspect_due_in(self, now: float) -> float:
        return self.suspects.due_in(now, self._own if self.own_only else None)

    def _send_suspect(self) -> Send:
        """Alone: only then it is known who fails."""
        record = self.suspects.take_due(self._own if self.own_only else None)
        record.book.move((record,), Term.IN_FLIGHT)
        return self._send([record])

    def _first_or_batch(self) -> Load:
        """The first record starts the time that it may linger; then a full batch is of interest."""
        return (self._settings.batch_size, self._settings.max_batch_bytes) if len(self._queue) else _ANYTHING

    def _better_try_another(self, fresh_due: float) -> bool:
        """After a failure, if there is anything else: it may be the record that fails, not the backend."""
        worth_it = (len(self._retrying) == 1 or self._breaker.doubtful) and not self.closing
        return worth_it and self._breaker.failures > 0 and not self._breaker.is_open and fresh_due <= 0

    def _too_slow(self) -> bool:
        """One by one, the queue fills faster than it empties: every other task brings some of it to disk."""
        self._spilled_last = (
            not self._spilled_last
            and self._queue.above(SPILL_ABOVE)
            and not self._batch_support.batches
            and self._spool is not None
            and self._spool.usable
        )
        return self._spilled_last

    def _send(self, records: list[Record]) -> Send:
        return Send(records, probe=self._breaker.begin())

    def _send_backlog(self, now: float, fresh_due: float) -> Task:
        if self._may_go(self._replay):
            self._backlogs_turn = False
            return self._send(self._take_replay(self._per_request()))
        if not self._reading_back:
            self._reading_back = True
            return ReadBack(own_only=self.own_only, several=not self._breaker.is_open)
        if fresh_due <= 0:
            return self._send(self._take(self._per_request()))
        return self._wait_for_any(now, fresh_due)

    def _per_request(self) -> int:
        """A probe is one record; else as many as a request takes."""
        if not self._batch_support.batches or self._breaker.is_open:
            return 1
        return int(min(self._settings.batch_size, self._batch_support.limit))

    def _take_oldest_retry(self) -> list[Record]:
        """Records go to disk in the order in which they were logged."""
        oldest = min(self._retrying, key=lambda retry: retry.records[0].queued_at)
        self._retrying.remove(oldest)
        return oldest.records

    def _take(self, count: int) -> list[Record]:
        return self._hand_over(self._queue.take(count, self._settings.max_batch_bytes))

    def _hand_over(self, records: list[Record]) -> list[Record]:
        self._own.hand_over(records)
        return records

    def _take_replay(self, count: int) -> list[Record]:
        if not self.own_only:
            return [self._replay.popleft() for _ in range(min(count, len(self._replay)))]
        taken = [record for record in self._replay if record.book is self._own][:count]
        for record in taken:
            self._replay.remove(record)
        return taken

    def _take_all_replay(self) -> list[Record]:
        records = list(self._replay)
        self._replay.clear()
        return records

    def _due_retry(self, now: float) -> list[Record] | None:
        """The first group whose time has come; of a probe only its first record."""
        hasty = self.closing or self._breaker.is_open
        due = next((r for r in self._retrying if (r.at <= now or hasty) and self._may_go(r.records)), None)
        if due is None:
            return None
        self._retrying.remove(due)
        if self._breaker.is_open and len(due.records) > 1:
            self._retrying.append(Retry(due.at, due.records[1:]))
            return due.records[:1]
        return due.records

    def _retry_due_in(self, now: float) -> float:
        due = (retry.at for retry in self._retrying if self._may_go(retry.records))
        return max(0.0, min(due, default=NEVER) - now)

    def _spill_excess(self) -> Spill:
        excess = max(1, len(self._queue) - int(SPILL_TO * self._queue.max_records))
        return Spill(self._take(min(excess, self._settings.batch_size)))

    def _batch_is_full(self) -> bool:
        return self._queue.full_batch(self._settings.batch_size, self._settings.max_batch_bytes)

    def _fresh_due_in(self, now: float) -> float:
        """Seconds until the queue's records should be sent: where they go one by one, at once."""
        if len(self._queue) and not self._batch_support.batches:
            return 0.0
        return self._lingered_in(now)

    def _lingered_in(self, now: float) -> float:
        """Seconds until a batch is full or has waited long enough for more."""
        oldest = self._queue.oldest_at()
        if oldest is None:
            return NEVER
        if self.flush_waiters or self.closing or self._batch_is_full():
            return 0.0
        return max(0.0, oldest + self._settings.flush_interval - now)

    def _backlog(self) -> bool:
        """Whether there is something on disk to send."""
        if self._may_go(self._replay):
            return True
        if self._spool is None or not self._spool.readable:
            return False
        return self._spool.backlog and (not self.own_only or self._own_on_disk_only() > 0)

    def _own_on_disk_only(self) -> int:
        """Suspects at rest are on disk, and in memory, too."""
        return self._own[Term.SPOOLED] - self.suspects.at_rest(-NEVER, self._own, Term.SPOOLED)

    @property
    def own_only(self) -> bool:
        """No request begins with others' records: at the end, and while a flush waits for our own ones."""
        return self.closing or bool(self.own_first)

    def _may_go(self, records: Iterable[Record]) -> bool:
        """Whether a request with some of these may begin."""
        own_only = self.own_only
        return any(not own_only or record.book is self._own for record in records)

    def _wait(self, now: float, seconds: float, wake_at: Load) -> Wait:
        """Sleep so long, or until the queue holds so much."""
        self._wake_at = wake_at
        if self._spool is None:
            return Wait(seconds)
        sync = self._spool.sync_due_in(now)
        self._sync_planned = sync < NEVER
        return Wait(min(seconds, sync, self._look_due_in(now)))

    def _look_due_in(self, now: float) -> float:
        """A look at the directory now and then, also of an idle process: a sibling may have died.

        Two wake-ups a minute are the price; without them the records of a dead sibling would wait until
        this process logs again. At the end only what is ours matters.
        """
        if self._spool is None or (self.closing and self._spool.opened):
            return NEVER
        return self._spool.look_due_in(now)

    @property
    def reading_back(self) -> bool:
        """Whether a thread is fetching records from the disk. Ask with the engine's lock held."""
        return self._reading_back

    # -- handing back ------------------------------------------------------------------------------------

    def to_rest(self, records: Iterable[Record]) -> list[Record]:
        """Which of those that were not accepted fail on their own."""
        is_open = self._breaker.is_open
        return [record for record in records if self.suspects.must_rest(record, is_open=is_open)]

    def are_better_on_disk(self, records: Iterable[Record], now: float) -> bool:
        """Whether trying these again soon makes no sense."""
        if self.closing and self._breaker.failures:
            self._breaker.break_now(now)
        return self._breaker.is_open or any(self._is_worn_out(record) for record in records)

    def _is_worn_out(self, record: Record) -> bool:
        """Tried often enough in vain; of those that may fail on their own it is to be found out."""
        on_its_own = record.verdict is not None and may_be_the_record(record.verdict)
        return record.attempts > self._settings.max_retries and not on_its_own

    def retry(self, records: Sequence[Record], now: float) -> None:
        """These are tried again, after a back-off of their own: they may fail while others are accepted."""
        others = []
        for record in records:
            if record.trial is not None and record.trial.resting:
                self.suspects.rest(record, now)
            else:
                others.append(record)
        to_blame = [r for r in others if r.verdict is not None and may_be_the_record(r.verdict)]
        if len(to_blame) > 1:
            self._retry_in_halves(others, to_blame, now)
        elif others:
            failures = max(record.attempts for record in others)
            self._retry_after(failures, others, now)

    def _retry_after(self, failures: int, records: list[Record], now: float) -> None:
        wait = backoff(failures, self._settings.retry_delay, chance()) if failures else 0.0
        self._retrying.append(Retry(now + wait, records))

    def _retry_in_halves(self, records: list[Record], to_blame: list[Record], now: float) -> None:
        """One of several may be the cause: halves find out which. The destination's back-off is enough."""
        blamed = set(to_blame)
        rest = [record for record in records if record not in blamed]
        middle = len(to_blame) // 2
        parts = (to_blame[:middle], to_blame[middle:], rest)
        self._retrying += [Retry(now, part) for part in parts if part]

    def read_back(self, records: Sequence[Record], now: float) -> None:
        """These came from the disk."""
        self._reading_back = False
        for record in records:
            if self.suspects.recall(record):
                self.suspects.rest(record, now, at_once=True)
            else:
                self._replay.append(record)
        self.wake_all()

    def retrying(self) -> list[Record]:
        """What waits for a retry. It stays here."""
        return [record for group in self._retrying for record in group.records]

    def waiting(self) -> list[Record]:
        """All that waits: in the queue, for a retry, or read from disk to be sent. It stays here."""
        return [*self.retrying(), *self._queue.records, *self._replay, *self.suspects.all()]

    def forget(self) -> None:
        """All that waits has another owner now. Ctrl-C in the middle: once more does no harm."""
        self._own.move([r for r in self._queue.records if r.term is Term.QUEUED], Term.IN_FLIGHT)
        self._queue.clear()
        self._retrying.clear()
        self._replay.clear()
        self.suspects.forget()
