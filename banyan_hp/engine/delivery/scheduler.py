"""What a sending thread does next: the one place where that is decided.

Guarded by the engine's lock. Decides only; the I/O is the runner's.

With nothing to do a thread sleeps. Where records travel in batches, waking it is seldom a caller's work:

    the queue       fresh records went  it sleeps             a record wakes it
    is empty        no                  without a time limit  if it is the first one
    is empty        since the last time for `flush_interval`  if it fills a batch
    holds records                       while they linger     if it fills a batch

*Second line*: a record that comes meanwhile lingers from then on, so the thread is back in time. If none has
come, it goes on with the first line: an idle process is not woken by a clock. Where nothing lingers (one by
one, during a flush, at the end) only the first line holds, and what is in the queue is sent at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...settings import Settings
from ..policy.concurrency_limit import LOOK_AGAIN_SECONDS
from ..records.ledger import Book, Term
from ..records.record import Record
from ..spool.spool import Spool
from .queue import SPILL_ABOVE, SPILL_TO, Load, Queue
from .retries import Backlog, Retries, any_of
from .shared import Shared
from .sleepers import ANYTHING, NOTHING, Sleepers
from .tasks import NEVER, AskForBatches, OpenSpool, Send, Spill, SyncSpool, Task, Wait


class Scheduler:
    """What waits, and whose turn it is.

    Fresh records and the backlog on disk take turns, a request each, while there are both: neither holds
    up the other.
    """

    def __init__(self, shared: Shared, settings: Settings, queue: Queue, spool: Spool | None) -> None:
        self._lock, _, ledger, policies, self._watchers = shared
        self._own = ledger.own
        self._settings = settings
        self._full_batch = (settings.batch_size, settings.max_batch_bytes)
        self._queue = queue
        self._breaker, self._batch_support, self._concurrency, self.suspects, _ = policies
        self._spool = spool
        self.retries = Retries(shared, settings)
        self.backlog = Backlog(shared, spool)
        self.sleepers = Sleepers(shared, queue, spool)
        self._backlogs_turn = False
        self._spilled_last = False
        self._suspected_last = False
        self._probed_newest = False
        self._expects_more = False  # fresh records went since this was asked last
        self._flushes = 0  # that wait for this process's own records first
        self._hurried = False
        self.closing = False
        self._last_chance = 0
        self._begins_nothing = False
        self._paused = False

    # -- haste, and the end ------------------------------------------------------------------------------

    @contextmanager
    def own_records_first(self) -> Iterator[None]:
        """A caller waits for this process's own records: meanwhile no request begins with others'."""
        with self._lock:
            self._flushes += 1
        try:
            yield
        finally:
            with self._lock:
                self._flushes -= 1
                self.sleepers.wake_all()

    def hurry(self) -> None:
        """The end is near: nothing lingers, and no backlog is sent. Takes no lock."""
        self._hurried = True
        self.sleepers.disturb()

    def close(self, *, in_vain: bool) -> None:
        """The end is near: nothing lingers, a backlog stays, one more chance for the destination or none."""
        self._lock.assert_held()
        self.closing = True
        self._last_chance = self._breaker.trips - in_vain

    @property
    def gave_up(self) -> bool:
        """Closing, and the last attempt has failed: what is left goes to disk."""
        return self.closing and self._breaker.is_open and self._breaker.trips > self._last_chance

    def pause(self) -> None:
        """Hand out nothing until `resume`: what waits is being written to disk."""
        self._lock.assert_held()
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self.sleepers.wake_all()

    def begin_nothing_more(self) -> None:
        """From now on only responses are awaited."""
        self._lock.assert_held()
        self._begins_nothing = True

    # -- from the senders' side --------------------------------------------------------------------------

    def next_task(self, now: float, *, one_of_many: bool = False) -> Task:
        """What to do now; `one_of_many` need do nothing if others do enough. The caller owns the records."""
        self._lock.assert_held()
        if self._paused or self._begins_nothing:
            return Wait(NEVER)
        if self._spool is not None:
            if self._look_due_in(now) <= 0:
                return OpenSpool()
            if self._spool.sync_due_in(now) <= 0:
                return SyncSpool()
        delay = NEVER if self.gave_up else self._breaker.delay(now)
        if delay > 0:
            return self._instead_of_sending(now, delay)
        if one_of_many and not self._batch_support.batches and self._concurrency.enough(now):
            return Wait(NEVER) if self.sleepers.is_watched else Wait(LOOK_AGAIN_SECONDS, on_watch=True)
        return self._next_to_send(now)

    def share(self, now: float) -> None:
        """Wake another sender, if it would find work."""
        self._lock.assert_held()
        anything = self._queue.records or self.backlog.fetched or self.retries
        if anything and self.sleepers.is_one_more_worthwhile(now):
            self.sleepers.wake_one()

    def _instead_of_sending(self, now: float, delay: float) -> Task:
        """The destination must not be tried yet: bring to disk what should not wait in memory."""
        if self._spool is None:
            return self._wait(now, delay, NOTHING)
        if self.gave_up and self.backlog.fetched:
            return Spill(self.backlog.take_all())
        if not self._spool.usable:
            return self._wait(now, min(delay, self._spool.usable_in()), NOTHING)
        if self._breaker.is_open and self.retries:
            return Spill(self.retries.take_oldest())
        # While everything seems refused, the newest record waits in memory: it is tried within seconds.
        may_spill = len(self._queue) - (self._breaker.refusing and not self.closing)
        if self._breaker.is_open and self._lingered_in(now) <= 0 < may_spill:
            return Spill(self._take(min(self._settings.batch_size, may_spill)))
        if self._queue.above(SPILL_ABOVE):
            return self._spill_excess()
        if self._breaker.is_open and may_spill <= 0:
            return self._wait(now, delay, ANYTHING)
        if self._breaker.is_open:
            return self._wait(now, min(delay, self._lingered_in(now)), self._first_or_batch())
        return self._wait(now, delay, self._queue.load_at(SPILL_ABOVE))

    def _next_to_send(self, now: float) -> Task:
        self.sleepers.wake_at = ANYTHING  # whatever the sleepers waited for while nothing could be sent
        over = self.suspects.take_excess()
        if over is not None:
            return Spill([over])
        if self._breaker.refusing or (self._breaker.broken and self._breaker.doubtful):
            return self._probe(now)
        self._probed_newest = False
        if self._is_suspects_turn(now):
            return self._send_suspect()
        fresh_due = self._fresh_due_in(now)
        if not self._better_try_another(fresh_due):
            retry = self._due_retry(now)
            if retry is not None:
                return self._send(retry)
        if fresh_due <= 0 or self.backlog.is_there(self._only):
            if self._batch_support.must_ask(now):
                return AskForBatches(probe=self._breaker.begin())
            if self._too_slow():
                return self._spill_excess()
            if self.backlog.is_there(self._only) and (fresh_due > 0 or self._backlogs_turn):
                return self._send_backlog(now, fresh_due)
            if fresh_due <= 0:
                self._backlogs_turn = self._expects_more = True
                return self._send(self._take(self._per_request()))
        return self._wait_for_any(now, fresh_due)

    def _wait_for_any(self, now: float, fresh_due: float) -> Wait:
        due = min(fresh_due, self.retries.due_in(now, self._only), self.suspects.due_in(now, self._only))
        if self._expects_more and fresh_due == NEVER and self._lingers and self._batch_support.batches:
            self._expects_more = False
            return self._wait(now, min(due, self._settings.flush_interval), self._full_batch)
        return self._wait(now, due, self._first_or_batch())

    def _probe(self, now: float) -> Task:
        """While every record seems to fail: the newest and the oldest one in turn, suspects last.

        Good records come in behind the bad ones, and bad ones behind good ones.
        """
        if len(self._queue) and not self._probed_newest:
            self._probed_newest = True
            newest = self._queue.take_newest()
            self._own.hand_over(newest)
            return self._send(newest)
        may_replay = any_of(self._only, self.backlog.fetched)
        if self.backlog.is_there(self._only) and not may_replay and not self.backlog.is_being_read:
            return self.backlog.begin_to_read(self._only, probe=True)
        self._probed_newest = False
        if may_replay:
            return self._send(self.backlog.take(1, self._only))
        retry = self._due_retry(now)
        if retry is not None:
            return self._send(retry)
        if len(self._queue):
            return self._send(self._take(1))
        if self.suspects.due_in(now, self._only) < NEVER:
            return self._send_suspect()
        return self._wait(now, NEVER, ANYTHING)

    def _is_suspects_turn(self, now: float) -> bool:
        """Suspects that are due and the other records take turns."""
        self._suspected_last = not self._suspected_last and self.suspects.due_in(now, self._only) <= 0
        return self._suspected_last

    def _send_suspect(self) -> Send:
        """Alone: only then it is known which record fails."""
        record = self.suspects.take_due(self._only)
        record.book.move((record,), Term.IN_FLIGHT)
        return self._send([record])

    def _first_or_batch(self) -> Load:
        """The first record starts the time that it may linger; then a full batch is of interest."""
        return self._full_batch if len(self._queue) else ANYTHING

    def _better_try_another(self, fresh_due: float) -> bool:
        """After a failure, if there is anything else: it may be the record that fails, not the backend."""
        worth_it = (len(self.retries) == 1 or self._breaker.doubtful) and not self.closing
        return worth_it and self._breaker.failures > 0 and not self._breaker.is_open and fresh_due <= 0

    def _due_retry(self, now: float) -> list[Record] | None:
        is_open = self._breaker.is_open
        return self.retries.take_due(now, self._only, at_once=self.closing or is_open, one=is_open)

    def _too_slow(self) -> bool:
        """One by one, the queue fills faster than it empties: every other task brings some of it to disk."""
        slow = not self._batch_support.batches and self._queue.above(SPILL_ABOVE)
        usable = self._spool is not None and self._spool.usable
        self._spilled_last = not self._spilled_last and slow and usable
        return self._spilled_last

    def _send(self, records: list[Record]) -> Send:
        return Send(records, probe=self._breaker.begin())

    def _send_backlog(self, now: float, fresh_due: float) -> Task:
        if any_of(self._only, self.backlog.fetched):
            self._backlogs_turn = False
            return self._send(self.backlog.take(self._per_request(), self._only))
        if not self.backlog.is_being_read:
            return self.backlog.begin_to_read(self._only, probe=self._breaker.is_open)
        if fresh_due <= 0:
            return self._send(self._take(self._per_request()))
        return self._wait_for_any(now, fresh_due)

    def _per_request(self) -> int:
        """A probe is one record; else as many as a request takes."""
        if not self._batch_support.batches or self._breaker.is_open:
            return 1
        return int(min(self._settings.batch_size, self._batch_support.limit))

    def _take(self, count: int) -> list[Record]:
        records = self._queue.take(count, self._settings.max_batch_bytes)
        self._own.hand_over(records)
        return records

    def _spill_excess(self) -> Spill:
        excess = max(1, len(self._queue) - int(SPILL_TO * self._queue.max_records))
        return Spill(self._take(min(excess, self._settings.batch_size)))

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
        if self._queue.full_batch(*self._full_batch) or not self._lingers:
            return 0.0
        return max(0.0, oldest + self._settings.flush_interval - now)

    @property
    def _lingers(self) -> bool:
        """Whether records wait for others, to fill a batch."""
        return not (self.closing or self._hurried or self._watchers)

    @property
    def own_only(self) -> bool:
        """No request begins with others' records: at the end, and while a flush waits for our own ones."""
        return self._only is not None

    @property
    def _only(self) -> Book | None:
        """The book whose records may begin a request; None for any."""
        return self._own if self.closing or self._hurried or self._flushes else None

    def _wait(self, now: float, seconds: float, wake_at: Load) -> Wait:
        """Sleep this long, or until the queue holds this much."""
        return Wait(self.sleepers.plan(now, min(seconds, self._look_due_in(now)), wake_at))

    def _look_due_in(self, now: float) -> float:
        """A look at the directory now and then, also of an idle process: a sibling may have died.

        Two wake-ups a minute are the price; without them the records of a dead sibling would wait until
        this process logs again. At the end only this process's own records matter.
        """
        if self._spool is None or (self.closing and self._spool.opened):
            return NEVER
        return self._spool.look_due_in(now)

    # -- all that waits -----------------------------------------------------------------------------------

    def waiting(self) -> list[Record]:
        """All that waits: in the queue, for a retry, or read from disk to be sent. It stays here."""
        self._lock.assert_held()
        ours = (self.retries.records(), self._queue.records, self.backlog.fetched, self.suspects.all())
        return [record for records in ours for record in records]

    def forget(self) -> None:
        """All that waits has another owner now. Ctrl-C in the middle: once more does no harm."""
        self._lock.assert_held()
        self._own.move([r for r in self._queue.records if r.term is Term.QUEUED], Term.IN_FLIGHT)
        self._queue.clear()
        self.retries.clear()
        self.backlog.fetched.clear()
        self.suspects.forget()
