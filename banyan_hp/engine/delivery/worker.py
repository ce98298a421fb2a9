"""The daemon threads that send: started at the first record, one where batches are taken, else a few.

They run the tasks that the scheduler names. A caller's thread can run them too, where there is no thread
to be had (`background_thread=False`, interpreter shutdown).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import partial

from ...logs import warn
from ...settings import Settings
from ..policy.batch_support import BatchSupport
from ..policy.circuit_breaker import CircuitBreaker
from ..policy.concurrency_limit import ConcurrencyLimit
from ..policy.retry import may_be_the_record
from ..policy.suspects import POISON
from ..process import lifecycle, uwsgi
from ..process.threads import ThreadStart
from ..records.ledger import Book, Ledger, Term
from ..records.record import Record
from ..spool.reader import Replayed
from ..spool.spool import Spool
from ..sync import Clock, EngineLock, WakeUp
from .batch import Delivery
from .callbacks import OwnThread
from .final_write import Job
from .notices import Notices
from .prepare import Preparer
from .scheduler import AskForBatches, OpenSpool, ReadBack, Scheduler, Send, Spill, SyncSpool, Task, Wait
from .settlement import Settlement

_AFTER_A_CRASH_SECONDS = 1.0
_NO_THREAD_SECONDS = 1.0
_READ_BACK_RECORDS = 200
_READ_BACK_BYTES = 2 * 1024 * 1024

# Those that were refused their only thread, and in which process; others' threads ask again for them, too.
_without_thread: dict[Worker, int] = {}


class Worker:
    """All sending threads of one engine."""

    def __init__(
        self,
        lock: EngineLock,
        clock: Clock,
        settings: Settings,
        ledger: Ledger,
        breaker: CircuitBreaker,
        batching: BatchSupport,
        concurrency: ConcurrencyLimit,
        scheduler: Scheduler,
        delivery: Delivery,
        preparer: Preparer,
        settlement: Settlement,
        notices: Notices,
        spool: Spool | None,
        final_write: Job,
    ) -> None:
        self._lock = lock
        self._clock = clock
        self._settings = settings
        self._ledger = ledger
        self._breaker = breaker
        self._batch_support = batching
        self._concurrency = concurrency
        self._scheduler = scheduler
        self._delivery = delivery
        self._preparer = preparer
        self._settlement = settlement
        self._notices = notices
        self._spool = spool
        self._final_write = final_write
        self.threads: list[threading.Thread] = []
        self.between_tasks: Callable[[], object] | None = None
        self._in_hand: list[list[Record]] = []  # one group for each task under way
        self._recoveries = 0
        self._own_threads: set[int] = set()  # each adds and discards only itself, which is atomic
        self._no_thread_until = float("-inf")
        self.failed_at = float("-inf")
        self.last_failure = ""
        self.stopping = False

    # -- threads ----------------------------------------------------------------------------------------

    @property
    def background(self) -> bool:
        """Whether threads are wanted, and can run at this moment."""
        return self._settings.background_thread and uwsgi.threads_can_run()

    @property
    def alive(self) -> bool:
        """Whether a thread is there: each takes itself off the list at its end.

        Asking a thread whether it is alive tries a lock, and under gevent that switches to another greenlet.
        This is asked inside guarded sections, where nothing may switch.
        """
        return bool(self.threads)

    def is_own_thread(self) -> bool:
        return threading.get_ident() in self._own_threads

    def start(self, wanted: int = 1) -> None:
        """Have at least so many threads. Where that is refused, callers do the work themselves.

        It is asked for again, at most once a second: at the next record, stats poll, or task of any
        worker of this process.
        """
        if len(self.threads) >= wanted or not self._may_start():
            return
        try:
            thread = OwnThread(target=self._run, daemon=True)
            with ThreadStart(thread, partial(self._forget, thread)) as begun:
                if self._noted(thread, wanted):
                    begun.make()
                    _without_thread.pop(self, None)
        except RuntimeError as error:  # in subinterpreters without daemon threads, one can't even be made
            self._refused(error)

    def _noted(self, thread: OwnThread, wanted: int) -> bool:
        """Put it on the list, unless there are so many by now."""
        with self._lock:
            number = len(self.threads)
            if number >= wanted or not self._may_start():
                return False
            thread.name = f"banyan_hp-{number}"
            self.threads.append(thread)
            return True

    def _refused(self, error: RuntimeError) -> None:
        """The system has no threads left, or the interpreter is shutting down: then all is as it should be.

        From 3.12 on Python says so before our end has begun: while it still waits for others' threads.
        """
        self._no_thread_until = self._clock.monotonic() + _NO_THREAD_SECONDS
        if not lifecycle.leaving() and "shutdown" not in str(error):
            _without_thread[self] = os.getpid()
            warn("no thread", "no background thread can be started: %s", error)

    @property
    def lacks_thread(self) -> bool:
        """Whether the only thread was refused."""
        return self in _without_thread and not self.threads

    def _may_start(self) -> bool:
        possible = self.background and not self.stopping and not sys.is_finalizing()
        possible = possible and not lifecycle.leaving()  # from 3.12 on Python refuses it then
        return possible and not lifecycle.newborn() and self._clock.monotonic() >= self._no_thread_until

    def stop(self) -> list[Record]:
        """Tell all threads to end after what they are doing; what they do it with is the caller's now.

        Call with the lock held. Again, after Ctrl-C in the middle, it returns the same.
        """
        self.stopping = True
        _without_thread.pop(self, None)
        self._preparer.stop()
        self._scheduler.wake_all()
        return self.in_hand()

    def join(self, deadline: float) -> None:
        """Wait for the threads to end, until `deadline` on the monotonic clock."""
        for thread in tuple(self.threads):
            if thread is not threading.current_thread() and thread.is_alive():
                thread.join(max(0.0, deadline - self._clock.monotonic()))

    def _run(self) -> None:
        try:
            self._as_own_thread(self._work)
        except BaseException as error:  # noqa: BLE001 - the outermost of a thread: nothing on stderr
            self._failed(error)
        finally:
            self._forget(threading.current_thread())
            self.start()  # another one, unless this is the end

    def _forget(self, gone: threading.Thread) -> None:
        with self._lock:
            self.threads = [thread for thread in self.threads if thread is not gone]

    def _work(self) -> None:
        wake_up = WakeUp()
        while not self.stopping:
            try:
                self.step(wake_up, NO_DEADLINE, one_of_many=True)
                if self.between_tasks is not None:
                    self.between_tasks()
                if _without_thread:
                    start_refused()
            except BaseException as error:  # noqa: BLE001 - a thread's loop
                self._failed(error)
        self._lock.run_deferred()  # the final write, perhaps

    def _failed(self, error: BaseException) -> None:
        with self._lock:
            self._ledger.counters.worker_restarts += 1
            self.failed_at, self.last_failure = self._clock.monotonic(), type(error).__name__
        warn("worker", "the worker failed and goes on: %s", self.last_failure, exc_info=True)
        self._clock.wait(WakeUp(), _AFTER_A_CRASH_SECONDS)

    def _as_own_thread(self, work: Callable[[], None]) -> None:
        """Run `work`; whoever leaves has another one look around.

        The others may sleep without a time, because we would have seen to a retry or to an open gate.
        """
        me = threading.get_ident()
        self._own_threads.add(me)
        try:
            work()
        finally:
            self._own_threads.discard(me)
            with self._lock:
                self._scheduler.wake_one()

    # -- tasks ------------------------------------------------------------------------------------------

    def drive(self, done: Callable[[], bool], deadline: float, wake_up: WakeUp) -> None:
        """Do the threads' work on the calling thread until `done` or the deadline; `bell` wakes it."""

        def work() -> None:
            while not done() and not self.stopping and self._clock.monotonic() < deadline:
                self.step(wake_up, deadline)

        self._settlement.watch(wake_up)
        try:
            self._as_own_thread(work)
        finally:
            self._settlement.unwatch(wake_up)

    def step(self, wake_up: WakeUp, deadline: float, *, one_of_many: bool = False) -> None:
        """One task, or one wait."""
        self._lock.run_deferred()
        if self._notices.pending:
            self._notices.report()
        with self._lock:
            if self.stopping:
                return
            now = self._clock.monotonic()
            task = self._scheduler.next_task(now, one_of_many=one_of_many)
            if isinstance(task, Wait):
                self._scheduler.sleep(wake_up, on_watch=task.on_watch)
            elif isinstance(task, (Send, Spill)):
                self._in_hand.append(task.records)
                if isinstance(task, Send):
                    self._concurrency.begin(id(task.records), now)
        if isinstance(task, Wait):
            self._wait(wake_up, min(task.seconds, deadline - now))
        else:
            self._carry_out(task, deadline)

    def _wait(self, wake_up: WakeUp, seconds: float) -> None:
        try:
            if not self._lock.deferred:  # what is deferred from now on rings
                self._clock.wait(wake_up, seconds)
        finally:  # Ctrl-C, too: a bell that nobody hears must not be rung in another one's stead
            with self._lock:
                self._scheduler.awake(wake_up)

    def _carry_out(self, task: Task, deadline: float) -> None:
        """Whatever goes wrong, the task's records stay with us, and its probe is over."""
        try:
            if not isinstance(task, AskForBatches) and not self._batch_support.batches:
                self._add_thread_if_useful()
            self._do(task, deadline)
        except BaseException:
            if isinstance(task, (Send, AskForBatches)):
                with self._lock:
                    self._breaker.end(probe=task.probe)
            raise
        finally:
            if isinstance(task, (Send, Spill)):
                self._hand_back(task.records)
        self._after_recovery()

    def _add_thread_if_useful(self) -> None:
        """One record a request needs more threads: one caps us at 20 records a second at 50 ms each.

        One more than is at work is there, to see to it if a request hangs.
        """
        with self._lock:
            self._scheduler.share(self._clock.monotonic())
            threads = len(self.threads)
            one_more = 0 < threads <= self._concurrency.at_work and threads < self._settings.max_connections
        if one_more:
            self.start(threads + 1)

    def _do(self, task: Task, deadline: float) -> None:
        if isinstance(task, Send):
            self._send(task, deadline)
        elif isinstance(task, Spill):
            self._spill(task.records)
        elif isinstance(task, ReadBack):
            self._read_back(task)
        elif isinstance(task, AskForBatches):
            self._delivery.ask_for_batches(probe=task.probe, deadline=deadline)
        elif self._spool is not None and isinstance(task, OpenSpool):
            self._spool.open()
            self._settlement.wake()  # who waits for a backlog looks whether there is one
        elif self._spool is not None and isinstance(task, SyncSpool):
            self._spool.sync()

    def _send(self, task: Send, deadline: float) -> None:
        left = self._delivery.deliver(task.records, probe=task.probe, deadline=deadline)
        if left:
            others = [record for record in self._without_suspects(left) if record.writable]
            if others and self._hopeless(others):
                self._settlement.spooled(others, in_order=not task.probe)

    def _without_suspects(self, records: list[Record]) -> list[Record]:
        """Those that do not fail on their own; the others are put to rest."""
        with self._lock:
            is_open = self._breaker.is_open
            suspects = [r for r in records if self._scheduler.suspects.must_rest(r, is_open=is_open)]
        if not suspects:
            return records
        self._settlement.put_to_rest(suspects)
        return [record for record in records if record not in suspects]

    def _spill(self, records: list[Record]) -> None:
        on_disk = [record for record in records if record.place is not None]  # as they are there
        others = [record for record in records if record.place is None]
        failed = self._settlement.spooled(on_disk + self._preparer.prepare(others))
        self._settlement.dropped([r for r in failed if r.trial is not None and r.trial.evicted], POISON)

    def _hopeless(self, records: list[Record]) -> bool:
        """Whether trying again soon makes no sense: the disk is the better place then."""
        with self._lock:
            if self._scheduler.closing and self._breaker.failures:
                self._breaker.break_now(self._clock.monotonic())
            return self._breaker.is_open or any(self._is_worn_out(record) for record in records)

    def _is_worn_out(self, record: Record) -> bool:
        """Tried often enough in vain; of those that may fail on their own it is to be found out."""
        on_its_own = record.verdict is not None and may_be_the_record(record.verdict)
        return record.attempts > self._settings.max_retries and not on_its_own

    def _hand_back(self, records: list[Record]) -> None:
        """What is not settled waits in memory. One step: shutdown finds a record in hand or waiting."""
        with self._lock:
            self._in_hand = [group for group in self._in_hand if group is not records]
            self._concurrency.end(id(records))
            left = [record for record in records if not record.claimed]
            stopping, closing = self.stopping, self._scheduler.closing
            if not stopping:
                self._scheduler.retry(left, self._clock.monotonic())
        if closing or any(record.trial is not None for record in left):
            self._settlement.wake()  # a flush does not wait for those at rest
        if stopping:
            self._final_write.take(left)  # whoever stopped us found them being written, in vain
            self._final_write.run()

    def _read_back(self, task: ReadBack) -> None:
        replayed: list[Replayed] = []
        try:
            if self._spool is not None:
                replayed = self._spool.read_back(
                    _READ_BACK_RECORDS, _READ_BACK_BYTES, own_only=task.own_only, several=task.several
                )
        finally:
            with self._lock:
                records = [self._record(found) for found in replayed]
                self._scheduler.read_back(records, self._clock.monotonic())
        if self.stopping:
            self._settlement.spooled(records)  # they stay where they are
        elif not records:
            self._settlement.wake()

    def _record(self, found: Replayed) -> Record:
        """A record from the disk: in memory again, in the book it belongs to. Call with the lock held."""
        book: Book = self._ledger.own if found.place.segment.own else self._ledger.adopted
        record = Record(
            id=found.line.id,
            time=found.line.time,
            value=None,
            body=None if found.line.raw else found.line.body,
            size=len(found.line.body),
            queued_at=self._clock.monotonic(),
            book=book,
            term=Term.SPOOLED,
            place=found.place,
        )
        if found.line.raw:
            record.raw = found.line.body
        record.maybe_stored = True
        book.move((record,), Term.IN_FLIGHT)
        return record

    def _after_recovery(self) -> None:
        """The destination is back: look again for what other processes left behind."""
        with self._lock:
            recovered = self._breaker.recoveries > self._recoveries
            self._recoveries = self._breaker.recoveries
            if recovered:
                self._batch_support.ask_soon()
                self._scheduler.wake_all()
        if recovered and self._spool is not None:
            self._spool.open()

    # -- what is under way ------------------------------------------------------------------------------

    def oldest_at(self) -> float | None:
        """When the oldest record under way was queued. Call with the lock held."""
        return min([group[0].queued_at for group in self._in_hand if group], default=None)

    @property
    def sends_backlog(self) -> bool:
        """Whether a request with others' records is under way. Takes no lock: the copy is atomic."""
        adopted = self._ledger.adopted
        return any(record.book is adopted for group in tuple(self._in_hand) for record in group)

    @property
    def sends(self) -> bool:
        """Whether somebody has records in hand. Takes no lock."""
        return bool(self._in_hand)

    def forget(self) -> None:
        """What is in hand has another owner now. Call with the lock held."""
        self._in_hand = []

    def in_hand(self) -> list[Record]:
        """Records that a thread tries to send, or writes. Call with the lock held."""
        return [record for group in self._in_hand for record in group]


def start_refused() -> None:
    """Ask again for the threads that were refused in this process."""
    for worker, process in tuple(_without_thread.items()):
        if worker.threads or process != os.getpid():
            _without_thread.pop(worker, None)
        else:
            worker.start()


NO_DEADLINE = float("inf")
